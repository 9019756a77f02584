"""Central differences: (L(W + h) - L(W - h)) / 2h, one number of W moved at a time.  Advisory.

They give about ten digits where logits are mild, and none of an entry that is small beside the loss.

See docs/numerics.md, section 6.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xegrad import bounds, layer, progress
from xegrad.bounds import Bound
from xegrad.methods import Evaluation, stacked
from xegrad.problem import Problem
from xegrad.targets import Array

STEP = 2.0**-17  # near eps ** (1/3), where truncation and the rounding of the loss balance
THIRD_DERIVATIVE = 1 / (6 * np.sqrt(3))  # the largest of log sum exp along a logit: S (1 - S)(1 - 2 S)
MEMORY_BUDGET = 32 * 2**20  # bytes for the moved logits that exist at a time


def memory(problem: Problem) -> int:
    """The bytes that are held at a time: how far each logit moves with each number of a line of the gradient, before
    the next line and with it, and a block of moved logits."""
    of_logits, n_classes = problem.nbytes_of(["logits"]), problem.n_classes
    lines = 2 * of_logits * n_classes + 2 * 8 * n_classes**2
    return lines + 12 * of_logits + 2 * MEMORY_BUDGET


def work(n_rows: int, n_inputs: int, n_classes: int, n_problems: int = 1) -> float:
    """An estimate of the seconds that the loss and dL/dW take (benchmarks/estimates.py).

    An input moves T problems, whose T B logits have B losses each: sums of T terms, which cost a call each.
    """
    of_input = 65e-6 + n_rows * n_classes * (0.2e-6 + 36e-9 * n_classes)
    return n_problems * (200e-6 + n_inputs * of_input)


@np.errstate(all="ignore")
def evaluate(problem: Problem, with_respect_to: Sequence[str]) -> Evaluation:
    """The loss, and each entry from the losses of two problems with that number moved."""
    if problem.weights.ndim > 2:
        return stacked(problem, [evaluate(one, with_respect_to) for one in problem.unstacked()])
    forward = layer.forward(problem)
    gradients = {name: _gradient(problem, forward, name) for name in with_respect_to}
    return Evaluation(forward.loss, forward.losses, gradients)


@np.errstate(all="ignore")
def bound(problem: Problem, with_respect_to: Sequence[str]) -> Bound:
    """h^2 / 6 times the largest third derivative (6.6), and what rounding does to two losses, over 2 h (6.7).

    A move h of one number moves the logits of row b by h d_b: d = x_bj for W_ji, 1 for b and the logits, and
    for x_bj at most the spread of W_j.  So the third derivative is at most sum_b q_b |d_b|^3 / (6 sqrt 3).
    """
    wide, precision = problem.astype(np.dtype(np.float64)), bounds.PRECISIONS[problem.dtype.name]
    forward = layer.forward(wide)
    rows = forward.targets.sum(axis=-1, keepdims=True)  # q (B, 1)
    mass = rows.sum(axis=(-2, -1), keepdims=True)
    size = np.abs(forward.logits).max(axis=(-2, -1), keepdims=True)
    loss = np.asarray(bounds.stable(problem, ()).loss)
    distances = {"weights": np.abs(wide.inputs), "inputs": np.ptp(wide.weights, axis=-1)[..., None, :]}
    moves = {**distances, "inputs": np.abs(wide.weights)}  # what all logits move by cancels, but is rounded
    gradients = {}
    for name in with_respect_to:
        distance, move = (one.get(name, np.ones((1, 1))) for one in (distances, moves))
        cubes = rows * distance**3
        if name == "weights":
            cubes = cubes.sum(axis=-2)[..., None]  # (N, 1)
        elif name == "bias":
            cubes = cubes.sum(axis=-2, keepdims=True)
        largest = size + STEP * move.max(axis=(-2, -1), keepdims=True)
        rounding = 2 * loss[..., None, None] + 2 * mass * precision.u * (2 * largest + 1)
        total = STEP**2 / 6 * THIRD_DERIVATIVE * cubes + rounding / STEP
        # A loss, and a difference of losses over h, may overflow; then nothing bounds the error.
        total = np.where(total <= precision.largest * STEP / 8, bounds.INFLATION * total, np.inf)
        total = total[..., 0, :] if name == "bias" else total
        gradients[name] = np.broadcast_to(total, wide.weights.shape[:-2] + problem.shape_of(name))
    return Bound(loss=loss, gradients=gradients)


def _gradient(problem: Problem, forward: layer.Forward, name: str) -> Array:
    """Every entry of one gradient, block by block."""
    gradient = np.empty(problem.shape_of(name), dtype=problem.dtype)
    step = problem.dtype.type(STEP)
    n_lines = {"weights": problem.n_inputs, "bias": 1}.get(name, problem.n_rows)
    for line in progress.track(range(n_lines), "finite differences"):
        place, rows, directions = _directions(problem, name, line)
        logits, targets = forward.logits[rows], forward.targets[rows]
        block = max(1, MEMORY_BUDGET // (4 * logits.nbytes))
        for start in range(0, len(directions), block):
            moves = step * directions[start : start + block]
            ends = [layer.softmax(logits + sign * moves, targets).loss for sign in (1, -1)]
            gradient[place][start : start + block] = (ends[0] - ends[1]) / (2 * step)
    return gradient


def _directions(problem: Problem, name: str, line: int) -> tuple[Any, slice, Array]:
    """Of one line of the gradient: where, the rows that move, and how far their logits do: (M, rows, T), M entries."""
    each_class = np.eye(problem.n_classes, dtype=problem.dtype)[:, None, :]
    everything = slice(None)
    if name == "weights":
        return line, everything, each_class * problem.inputs[:, line, None]
    if name == "bias":
        return everything, everything, np.repeat(each_class, problem.n_rows, axis=1)
    return line, slice(line, line + 1), each_class if name == "logits" else problem.weights[:, None, :]
