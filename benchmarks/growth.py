"""How time and memory grow with the classes T and with the rows B: the pictures of docs/performance.md.

    pip install -e '.[benchmarks]'
    python benchmarks/growth.py

Each point is a process of its own, on one thread, with a new problem each time: CPU time, and memory above that of W, x
and the imports.  The dashed lines are what is expected.  Of memory: what the method asks for before it begins
(`memory.check`), not fitted at all.  Of time: the `work` of the chain and of the exact method, and for the others the
B N T multiplications of X W and of X' R, each through the last point.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest import mock

import matplotlib as mpl
from matplotlib.figure import Figure
from side_by_side import Code, Measured, measure

from xegrad.errors import XegradError
from xegrad.methods import chain, exact

FOLDER = Path(__file__).parents[1] / "docs" / "performance"
N_INPUTS = 64
SIZES = {  # the rows and classes of each picture
    "classes": [(16, n_classes) for n_classes in (8, 32, 128, 256, 512, 1024, 2048, 4096, 8192, 32768)],
    "rows": [(n_rows, 128) for n_rows in (1, 4, 16, 64, 256, 1024, 4096, 16384)],
}
AXES = {"classes": "classes T (B = 16, N = 64)", "rows": "rows B (N = 64, T = 128)"}
MOST = 12.0  # seconds of the chain, by its estimate
COLOURS = {"chain": "#c1440e", "shortcut": "#0b6e99", "exact": "#6b3fa0", "verify": "#2e7d32"}
WORK = {"chain": chain.work, "exact": exact.work}
DRAWN = 5  # the last points, of which B N T is drawn: below them the time is that of the calls
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


def asked(name: str, n_rows: int, n_classes: int) -> float:
    """The MiB that it asks for before it begins."""
    scope: dict[str, Any] = {}
    exec(SETUP.format(n_inputs=N_INPUTS, n_rows=n_rows, n_classes=n_classes, run=RUNS[name]), scope)
    with mock.patch("xegrad.memory.check", side_effect=XegradError) as check, suppress(XegradError):
        scope["run"](scope["given"], scope["claimed"])
    return float(check.call_args.args[1]) / 2**20


def work(name: str, n_rows: int, n_classes: int) -> float:
    """How the time grows."""
    return WORK[name](n_rows, N_INPUTS, n_classes) if name in WORK else n_rows * N_INPUTS * n_classes


def drawn(
    axes: Any, name: str, sizes: Sequence[int], values: Sequence[float], expected: Sequence[float]
) -> None:
    """A line with its points, and what is expected of the last of them."""
    axes.plot(sizes, values, "o-", color=COLOURS[name], markersize=4, linewidth=1.5, label=name)
    some = sizes[-len(expected) :]
    axes.plot(some, expected, "--", color=COLOURS[name], linewidth=1, alpha=0.7)


def picture(what: str) -> Figure:
    """Time and memory side by side."""
    figure = Figure(figsize=(9, 4), layout="constrained", facecolor="white")  # legible on a dark page, too
    left, right = figure.subplots(1, 2)
    for name in RUNS:
        shapes = [shape for shape in SIZES[what] if name != "chain" or work(name, *shape) <= MOST]
        sizes = [shape[what == "classes"] for shape in shapes]
        points = [measured(name, *shape) for shape in shapes]
        for (n_rows, n_classes), one in zip(shapes, points, strict=True):
            print(f"{name} B={n_rows} T={n_classes}: {one.cpu:.3g} s, {one.memory:.3g} MiB")
        works = [work(name, *shape) for shape in (shapes if name in WORK else shapes[-DRAWN:])]
        drawn(
            left,
            name,
            sizes,
            [one.cpu for one in points],
            [points[-1].cpu * one / works[-1] for one in works],
        )
        seen = [k for k, one in enumerate(points) if one.memory >= LEAST]
        drawn(
            right,
            name,
            [sizes[k] for k in seen],
            [points[k].memory for k in seen],
            [asked(name, *shapes[k]) for k in seen],
        )
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
