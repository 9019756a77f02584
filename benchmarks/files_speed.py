"""How long `xegrad compute` takes from a file to JSON, against what people write with orjson and numpy.

    python benchmarks/files_speed.py [PYTHON]

W is 1000 x 1000, from JSON and from CSV; the shortcut alone.  Whole processes, in turn, each with one thread for BLAS.
PYTHON is one that has orjson and numpy: by default this one.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from side_by_side import Command, Row, measure, report

XEGRAD = str(Path(sys.executable).parent / "xegrad")
SHORTCUT = """
z = x @ W
e = np.exp(z - z.max())
s = e / e.sum()
loss = -np.log(s[label])
s[label] -= 1
result = {"loss": float(loss), "gradient": np.outer(x, s)}
sys.stdout.buffer.write(orjson.dumps(result, option=orjson.OPT_SERIALIZE_NUMPY))
"""
FROM_JSON = f"""
import sys, orjson, numpy as np
problem = orjson.loads(open(sys.argv[1], "rb").read())
W, x, label = np.array(problem["W"]), np.array(problem["x"]), problem["label"]
{SHORTCUT}"""
FROM_CSV = f"""
import sys, orjson, numpy as np
W, x, label = np.loadtxt(sys.argv[1], delimiter=","), np.loadtxt(sys.argv[2], delimiter=","), 3
{SHORTCUT}"""
GOALS = {"JSON": 1.2, "CSV": 1.0}


def main(python: str) -> None:
    random = np.random.default_rng(15)
    weights, inputs = random.normal(size=(1000, 1000)).tolist(), random.normal(size=1000).tolist()
    with tempfile.TemporaryDirectory() as folder:
        problem, table, row = (f"{folder}/{name}" for name in ("problem.json", "W.csv", "x.csv"))
        Path(problem).write_text(json.dumps({"W": weights, "x": inputs, "label": 3}))
        Path(table).write_text("".join(f"{','.join(map(repr, one))}\n" for one in weights))
        Path(row).write_text(f"{','.join(map(repr, inputs))}\n")
        sides = {
            "JSON": ([problem], Command("orjson + numpy", [python, "-c", FROM_JSON, problem])),
            "CSV": (
                ["-W", table, "-x", row, "-y", "3"],
                Command("numpy.loadtxt + orjson", [python, "-c", FROM_CSV, table, row]),
            ),
        }
        rows = []
        for form, (arguments, peer) in sides.items():
            command = Command("xegrad", [XEGRAD, "compute", *arguments, "--method", "shortcut", "--json"])
            one_thread = {"OPENBLAS_NUM_THREADS": "1"}
            ours, theirs = measure(
                command._replace(environment=one_thread), peer._replace(environment=one_thread)
            )
            rows.append(Row(f"W 1000 x 1000, {form} in, JSON out", ours, theirs, GOALS[form], by="cpu"))
        report("Files", rows)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else sys.executable)
