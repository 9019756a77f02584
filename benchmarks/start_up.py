"""How long `xegrad compute` takes to start, as a ratio to `python -c "import numpy"`, in one run.

    python benchmarks/start_up.py [ROUNDS]

Whole processes, in turn, so that whatever else the machine does falls on all of them.  The ratio is
that of the medians; that of the shortest times is beside it.  Run it where xegrad is installed from a
wheel: an editable installation starts slower.  Goals, on a quiet machine: 1.35 for --json, 1.7 for the table.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

SEED = str(Path(__file__).parent.parent / "sample_inputs" / "seed.json")
XEGRAD = str(Path(sys.executable).parent / "xegrad")
COMMANDS = {
    "import numpy": [sys.executable, "-c", "import numpy"],
    "compute --json": [XEGRAD, "compute", SEED, "--json"],
    "compute": [XEGRAD, "compute", SEED],
    "--help": [XEGRAD, "--help"],
}


def main(rounds: int) -> None:
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, command in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            times[name].append(time.perf_counter() - start)
    peer = times["import numpy"]
    print(f"{'':16}{'median':>10}{'ratio':>8}{'shortest':>12}{'ratio':>8}")
    for name, taken in times.items():
        median, shortest = statistics.median(taken), min(taken)
        print(
            f"{name:16}{1000 * median:7.1f} ms{median / statistics.median(peer):8.2f}"
            f"{1000 * shortest:9.1f} ms{shortest / min(peer):8.2f}"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
