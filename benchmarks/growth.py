"""How time and memory grow with the classes T and with the rows B: the pictures of docs/performance.md.

    pip install -e '.[benchmarks]'
    python benchmarks/growth.py

Each point is a process of its own, on one thread, with a new problem each time: CPU time, and memory above that of W, x
and the imports.  The dashed lines are not fitted: they have the slope that is expected, through the last point.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from side_by_side import Code, Measured, measure

FOLDER = Path(__file__).parents[1] / "docs" / "performance"
N_INPUTS = 64
SIZES = {  # the rows and classes of each picture
    "classes": [(16, n_classes) for n_classes in (8, 32, 128, 512, 2048, 8192, 32768)],
    "rows": [(n_rows, 128) for n_rows in (1, 4, 16, 64, 256, 1024, 4096, 16384)],
}
AXES = {"classes": "classes T (B = 16, N = 64)", "rows": "rows B (N = 64, T = 128)"}
MOST = 4e9  # B N T^2 of the chain: some seconds
COLOURS = {"chain": "#c1440e", "shortcut": "#0b6e99", "exact": "#6b3fa0", "verify": "#2e7d32"}
SLOPES = {  # time and memory as a power of what grows
    "classes": {"chain": (2, 1), "shortcut": (1, 1), "exact": (1, 1), "verify": (1, 1)},
    "rows": {"chain": (1, 1), "shortcut": (1, 1), "exact": (1, 1), "verify": (1, 1)},
}
LEAST = 1.0  # MiB: less is that of the pages, not of the arrays
ROUNDS = 3

SETUP = """
import numpy as np
from xegrad import METHODS, Claim, Problem, Targets, verify
random = np.random.default_rng(0)
def arrays(n_rows, n_classes):
    W = random.normal(size=({n_inputs}, n_classes)) / {n_inputs} ** 0.5
    x = random.normal(size=(n_rows, {n_inputs}))
    labels = random.integers(n_classes, size=n_rows)
    return W.astype(np.float32).astype(float), x.astype(np.float32).astype(float), labels
def problem(W, x, labels):
    return Problem(W, x, Targets(labels))
def claim(problem):
    return Claim({{"W": METHODS["shortcut"].evaluate(problem).gradients["weights"].astype(np.float32)}})
def run(arrays, claimed):
    {run}
small = arrays(2, 3)
run(small, claim(problem(*small)))
given = arrays({n_rows}, {n_classes})
claimed = claim(problem(*given))
"""
RUNS = {name: f"METHODS[{name!r}].evaluate(problem(*arrays))" for name in ("chain", "shortcut", "exact")}
RUNS["verify"] = "assert verify(problem(*arrays), claimed).verified"


def measured(name: str, n_rows: int, n_classes: int) -> Measured:
    """One method, or the judgement of a right claim in float32, at one size."""
    setup = SETUP.format(n_inputs=N_INPUTS, n_rows=n_rows, n_classes=n_classes, run=RUNS[name])
    code = Code(name, setup, "run(given, claimed)", environment={"OPENBLAS_NUM_THREADS": "1"})
    return measure(code, rounds=ROUNDS)[0]


def drawn(axes: Any, name: str, points: list[tuple[int, float]], slope: float) -> None:
    """A line with its points, and the slope that is expected of it."""
    sizes, values = zip(*points, strict=True)
    axes.plot(sizes, values, "o-", color=COLOURS[name], markersize=4, linewidth=1.5, label=name)
    expected = [values[-1] * (size / sizes[-1]) ** slope for size in sizes[-4:]]
    axes.plot(sizes[-4:], expected, "--", color=COLOURS[name], linewidth=1, alpha=0.7)


def picture(what: str) -> Figure:
    """Time and memory side by side."""
    figure = Figure(figsize=(9, 4), layout="constrained", facecolor="white")  # legible on a dark page, too
    left, right = figure.subplots(1, 2)
    for name in RUNS:
        times, memories = [], []
        for n_rows, n_classes in SIZES[what]:
            if name == "chain" and n_rows * N_INPUTS * n_classes**2 > MOST:
                continue
            one = measured(name, n_rows, n_classes)
            print(f"{name} B={n_rows} T={n_classes}: {one.cpu:.3g} s, {one.memory:.3g} MiB", flush=True)
            size = n_classes if what == "classes" else n_rows
            times.append((size, one.cpu))
            memories.extend([(size, one.memory)] if one.memory >= LEAST else [])
        in_time, in_memory = SLOPES[what][name]
        drawn(left, name, times, in_time)
        drawn(right, name, memories, in_memory)
    for axes, title in ((left, "CPU seconds, one thread"), (right, "MiB beside W and x")):
        axes.set(xscale="log", yscale="log", title=title, xlabel=AXES[what])
        axes.grid(visible=True, which="major", color="#dddddd", linewidth=0.6)
        axes.set_xlim(SIZES[what][0][what == "classes"] / 1.5, SIZES[what][-1][what == "classes"] * 1.5)
    left.legend(frameon=False)
    return figure


if __name__ == "__main__":
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "growth", "font.family": "sans-serif"})
    FOLDER.mkdir(exist_ok=True)
    for what in sys.argv[1:] or SIZES:
        picture(what).savefig(FOLDER / f"{what}.svg", metadata={"Date": None, "Creator": None})
