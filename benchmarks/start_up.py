"""How long a command takes from start to end, against what it must import: whole processes, in turn.

    pip install dist/xegrad-*.whl && python benchmarks/start_up.py

Run it where xegrad is installed from a wheel: an editable installation starts slower.  The peer is python that imports
what the command cannot do without: measured against numpy alone, the ratio would vary with what typer takes here.
"""

from __future__ import annotations

import sys
from pathlib import Path

from side_by_side import Command, Row, measure, report

ROUNDS = 40
SEED = str(Path(__file__).parent.parent / "sample_inputs" / "seed.json")
XEGRAD = str(Path(sys.executable).parent / "xegrad")
# By the imports without which each cannot be: its arguments, and the goal.
COMMANDS = {
    "import typer, numpy": (["compute", SEED, "--json"], 1.05),
    "import typer, numpy, rich.table": (["compute", SEED], 1.05),
    "import typer": (["--help"], 0.9),
}


def main() -> None:
    rows = []
    for imports, (arguments, goal) in COMMANDS.items():
        command = Command("xegrad", [XEGRAD, *arguments])
        ours, peer = measure(command, Command(f"`{imports}`", [sys.executable, "-c", imports]), rounds=ROUNDS)
        what = " ".join(word for word in arguments if word != SEED)
        rows.append(Row(f"`{what}`", ours, peer, goal, by="cpu"))
    report("Start-up", rows, ROUNDS)


if __name__ == "__main__":
    main()
