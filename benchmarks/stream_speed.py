"""How many lines a second `xegrad compute` answers, against a plain loop: whole processes, in turn.

    python benchmarks/stream_speed.py [LINES ...]

10,000 and 1,000,000 by default: problems of the seed's size, 3 inputs x 5 classes.  The peer is what people write:
json.loads, numpy and json.dumps, the shortcut alone.  xegrad does both methods and their comparison, on every
processor.  The goal is a quarter of the loop's time, and as much memory for a million lines as for ten thousand.  On a
machine with two processors that is half of its CPU time, which says more where others use the machine too.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from side_by_side import Command, Row, measure, report

PEER = """
import sys, json
import numpy as np
for line in sys.stdin:
    problem = json.loads(line)
    W, x, label = np.array(problem["W"]), np.array(problem["x"]), problem["label"]
    z = x @ W
    e = np.exp(z - z.max())
    s = e / e.sum()
    loss = -np.log(s[label])
    s[label] -= 1
    print(json.dumps({"loss": loss, "gradient": np.outer(x, s).tolist()}))
"""
XEGRAD = str(Path(sys.executable).parent / "xegrad")


def write(path: Path, lines: int) -> None:
    """Random problems with three decimals; a thousand of them, again and again."""
    random = np.random.default_rng(6)
    texts = [
        json.dumps(
            {
                "id": index,
                "W": np.round(random.normal(scale=0.5, size=(3, 5)), 3).tolist(),
                "x": np.round(random.normal(size=3), 3).tolist(),
                "label": int(random.integers(5)),
            }
        )
        for index in range(1000)
    ]
    with path.open("w") as file:
        for start in range(0, lines, 1000):
            file.write("\n".join(texts[: lines - start]) + "\n")


def main(counts: list[int]) -> None:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stream.ndjson"
        for lines in counts:
            write(path, lines)
            ours, peer = measure(
                Command("xegrad", [XEGRAD, "compute", "-", "--input-format", "ndjson"], path),
                Command("loop of json.loads, numpy, json.dumps", [sys.executable, "-c", PEER], path),
            )
            rows.append(Row(f"NDJSON stream, {lines:,} lines", ours, peer, 0.25))
            rows.append(Row("the same, CPU time of all processes", ours, peer, 0.5, by="cpu"))
    report("Streams", rows)


if __name__ == "__main__":
    main([int(text) for text in sys.argv[1:]] or [10_000, 1_000_000])
