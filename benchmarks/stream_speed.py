"""How many lines a second `xegrad compute` answers, as a ratio to a plain loop, and its peak memory.

    python benchmarks/stream_speed.py [LINES ...]

1,000 and 1,000,000 by default: problems of the seed's size, 3 inputs x 5 classes.  The peer is what people write:
json.loads, numpy and json.dumps, the shortcut alone.  xegrad does both methods and their comparison.  Both are whole
processes that read one file and write to nowhere; the second ratio is without the time that each takes for one line.
Goal: at least three times the lines a second.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

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
COMMANDS = {
    "plain loop": [sys.executable, "-c", PEER],
    "xegrad": [XEGRAD, "compute", "-", "--input-format", "ndjson"],
}


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


def timed(command: list[str], path: Path) -> tuple[float, float]:
    """Seconds, and the peak memory in MiB of the largest of its processes."""
    with path.open("rb") as source:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=source, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return seconds, usage.ru_maxrss / 1024


def main(counts: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stream.ndjson"
        write(path, 1)
        least = {name: min(timed(command, path)[0] for _ in range(5)) for name, command in COMMANDS.items()}
        for lines in counts:
            write(path, lines)
            taken: dict[str, float] = {}
            for name, command in COMMANDS.items():
                rounds = [timed(command, path) for _ in range(5 if lines <= 10_000 else 1)]
                taken[name] = min(seconds for seconds, _ in rounds)
                peak = max(memory for _, memory in rounds)
                rate = f"{lines / taken[name]:12,.0f} a second"
                print(f"{lines:9,} lines  {name:12}{taken[name]:8.2f} s{rate}{peak:8.0f} MiB")
            whole = taken["plain loop"] / taken["xegrad"]
            alone = (taken["plain loop"] - least["plain loop"]) / (taken["xegrad"] - least["xegrad"])
            print(f"{lines:9,} lines  ratio {whole:.2f}; without the start {alone:.2f}")
    print(f"processors: {len(os.sched_getaffinity(0))}; of the children, the largest: ", end="")
    print(f"{resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main([int(text) for text in sys.argv[1:]] or [1_000, 1_000_000])
