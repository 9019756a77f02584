"""The shortcut: softmax and cross-entropy collapse to a residual.

The logits become the residual in place: in chunks of rows, which BLAS multiplies as a whole, and within them in blocks
that stay in the cache.  The sizes of both follow from the shape and the type alone, so the results do too, to the bit.

See docs/numerics.md, sections 1.4 and 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xegrad import bounds, layer
from xegrad.arrays import blocks
from xegrad.methods import Evaluation
from xegrad.problem import Problem
from xegrad.targets import ALL, Array
from xegrad.vocabulary import AXES

CHUNK = 64 * 2**20  # bytes of the logits that exist at a time
FEWEST = 32  # rows in a chunk: with fewer, adding up what the chunks give takes as long as the products
PRODUCT = 16 * 2**20  # bytes of a product that is added to the rest
BLOCK = 256 * 2**10  # bytes of the logits that stay in the cache

bound = bounds.stable


@np.errstate(all="ignore")
def evaluate(problem: Problem, with_respect_to: Sequence[str]) -> Evaluation:
    """The loss, and dL/dZ = rowsum(Q) S - Q pulled back to each gradient."""
    *stack, n_rows, n_inputs = problem.inputs.shape
    bytes_of_class = math.prod(stack) * problem.dtype.itemsize
    chunks = blocks(n_rows, max(FEWEST, CHUNK // (bytes_of_class * problem.n_classes)))
    one_hot = _labels_and_masses(problem) if problem.targets.are_one_hot else None
    if len(chunks) == 1:
        losses, residual = _residual(problem, ALL, one_hot)
        gradients = {name: layer.pull_back(problem, residual, name) for name in with_respect_to}
        return Evaluation(losses.sum(axis=-1), losses, gradients)
    losses = np.empty((*stack, n_rows), dtype=problem.dtype)
    gradients = {name: np.zeros((*stack, *problem.shape_of(name)), problem.dtype) for name in with_respect_to}
    parts = blocks(problem.n_classes, max(FEWEST, PRODUCT // (bytes_of_class * n_inputs)))
    for rows in chunks:
        losses[..., rows], residual = _residual(problem, rows, one_hot)
        for name, gradient in gradients.items():
            if "row" in AXES[name]:
                gradient[..., rows, :] = layer.pull_back(problem, residual, name, rows)
                continue
            for classes in parts:
                gradient[..., classes] += layer.pull_back(problem, residual[..., classes], name, rows)
        del residual  # before the next one is made
    return Evaluation(losses.sum(axis=-1), losses, gradients)


def memory(problem: Problem) -> int:
    """The bytes that are held at a time: a chunk of logits, its targets, a product, a block, and some for each row."""
    of_rows = 8 * problem.inputs.size // problem.n_inputs
    of_logits = of_rows * problem.n_classes
    chunk = min(of_logits, max(CHUNK, of_logits // problem.n_rows * FEWEST))
    held = chunk * (1 if problem.targets.are_one_hot else 4) + PRODUCT * (chunk < of_logits)
    return held + 16 * (min(BLOCK, chunk) + of_rows) + 2**12


def work(n_rows: int, n_inputs: int, n_classes: int, n_problems: int = 1) -> float:
    """An estimate of the seconds that the loss and dL/dW take (benchmarks/estimates.py).

    Each row has a largest logit, a sum, a label and a loss, however few its classes are.
    """
    products, residuals = n_rows * n_inputs * n_classes, n_rows * n_classes
    factors = n_inputs * (n_rows + n_classes)
    of_problem = 0.075e-9 * products + 1.3e-9 * factors + 11e-9 * residuals + 60e-9 * n_rows
    return 50e-6 + n_problems * of_problem


def _labels_and_masses(problem: Problem) -> tuple[NDArray[np.intp], Array]:
    """The class of each row, any class if the row is ignored, and Q there."""
    targets = problem.targets
    labels = np.asarray(targets.labels)
    if targets.ignore_index is not None:
        labels = np.where(targets.kept, labels, 0)
    return labels, targets.masses(problem.dtype)


def _residual(
    problem: Problem, rows: slice, one_hot: tuple[NDArray[np.intp], Array] | None
) -> tuple[Array, Array]:
    """The losses (B,) and dL/dZ (B, T) of some rows."""
    residual = layer.logits(problem, rows)
    n_classes, dtype = problem.n_classes, problem.dtype
    logits_of_rows = residual.reshape(-1, n_classes)
    in_place: Callable[..., Array] = _in_place
    targets: list[NDArray[Any]]
    if one_hot is not None:
        targets = [part[..., rows].reshape(-1) for part in one_hot]
    else:
        in_place = _in_place_of_soft
        targets = [problem.targets.effective(n_classes, dtype, rows).reshape(-1, n_classes)]
    losses_of_blocks = [
        in_place(logits_of_rows[block], *[part[block] for part in targets])
        for block in blocks(len(logits_of_rows), BLOCK // (n_classes * dtype.itemsize))
    ]
    one = len(losses_of_blocks) == 1
    losses = (losses_of_blocks[0] if one else np.concatenate(losses_of_blocks)).reshape(residual.shape[:-1])
    if one_hot is not None and not problem.targets.count_all:
        losses[one_hot[1][..., rows] == 0] = 0  # also where the loss is infinite, or no number
    return losses, residual


def _in_place_of_soft(logits: Array, targets: Array) -> Array:
    """The losses (B,) of rows with targets Q (B, T); their logits become the residual."""
    forward = layer.softmax(logits, targets)
    logits[...] = layer.residual(forward)
    return forward.losses


def _in_place(logits: Array, labels: NDArray[np.intp], masses: Array) -> Array:
    """The losses (B,) of rows with one label c each, of mass q; their logits (B, T) become the residual.

    With m = argmax Z and E = exp(Z - Z_m), s is added up without E_m = 1, and keeps the digits of 1 - S_m (3.1):

        loss = q (log1p(s) - D_c)        R_i = (q / (1 + s)) E_i        R_c = -(q O_c) / (1 + s)        (3.5)

    with O_c = s + (1 - E_c), which needs no case for c = m.
    """
    n_classes = logits.shape[-1]
    flat = logits.reshape(-1)
    first = np.arange(0, flat.size, n_classes)
    largest, label = first + logits.argmax(axis=-1), first + labels
    logits -= flat[largest][:, None]
    from_largest = flat[label]
    np.exp(logits, out=logits)
    exponential, of_largest = flat[label], flat[largest]  # the second is 1, or NaN
    flat[largest] = 0
    others = logits.sum(axis=-1)
    flat[largest] = of_largest
    total = 1 + others
    logits *= (masses / total)[:, None]
    # Not times q / (1 + s), whose underflow O_c would magnify; and 0 - x is 0 where -x has a sign.
    flat[label] = 0 - masses * (others + (1 - exponential)) / total
    return masses * (np.log1p(others) - from_largest)
