"""The shortcut: softmax and cross-entropy collapse to a residual.

The logits become the residual in place: in chunks of rows, which BLAS multiplies as a whole, and within them in blocks
that stay in the cache.  The sizes of both follow from the shape and the type alone, so the results do too, to the bit.

See docs/numerics.md, sections 1.4 and 3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from xegrad import bounds, layer
from xegrad.methods import Evaluation
from xegrad.problem import Problem
from xegrad.targets import Array
from xegrad.vocabulary import AXES

CHUNK = 64 * 2**20  # bytes of the logits that exist at a time
FEWEST = 32  # rows in a chunk: with fewer, adding up what the chunks give takes as long as the products
PRODUCT = 16 * 2**20  # bytes of a product that is added to the rest
BLOCK = 256 * 2**10  # bytes of the logits that stay in the cache

bound = bounds.stable


@np.errstate(all="ignore")
def evaluate(problem: Problem, with_respect_to: Sequence[str] = ("weights",)) -> Evaluation:
    """The loss, and dL/dZ = rowsum(Q) S - Q pulled back to each gradient."""
    *stack, n_rows, n_inputs = problem.inputs.shape
    bytes_of_class = math.prod(stack) * problem.dtype.itemsize
    chunks = _slices(n_rows, max(FEWEST, CHUNK // (bytes_of_class * problem.n_classes)))
    residuals = _residuals(problem, chunks)
    if len(chunks) == 1:
        losses, residual = next(residuals)
        gradients = {name: layer.pull_back(problem, residual, name) for name in with_respect_to}
        return Evaluation(losses.sum(axis=-1), losses, gradients)
    losses = np.empty((*stack, n_rows), dtype=problem.dtype)
    gradients = {name: np.zeros((*stack, *problem.shape_of(name)), problem.dtype) for name in with_respect_to}
    parts = _slices(problem.n_classes, max(FEWEST, PRODUCT // (bytes_of_class * n_inputs)))
    for rows, (losses[..., rows], residual) in zip(chunks, residuals, strict=True):
        for name, gradient in gradients.items():
            if "row" in AXES[name]:
                gradient[..., rows, :] = layer.pull_back(problem, residual, name, rows)
                continue
            for classes in parts:
                gradient[..., classes] += layer.pull_back(problem, residual[..., classes], name, rows)
    return Evaluation(losses.sum(axis=-1), losses, gradients)


def _slices(size: int, step: int) -> list[slice]:
    return [slice(start, start + step) for start in range(0, size, step)]


def _residuals(problem: Problem, chunks: Sequence[slice]) -> Iterator[tuple[Array, Array]]:
    """The losses (B,) and dL/dZ (B, T) of each chunk of rows."""
    targets, n_classes, dtype = problem.targets, problem.n_classes, problem.dtype
    step = max(1, BLOCK // (n_classes * dtype.itemsize))
    if targets.are_one_hot:
        masses = targets.masses(dtype)
        labels = targets.labels if targets.ignore_index is None else np.maximum(targets.label_of_rows, 0)
    for rows in chunks:
        residual = layer.logits(problem, rows)
        shape = residual.shape
        losses = np.empty(shape[:-1], dtype)
        of_rows, losses_of_rows = residual.reshape(-1, n_classes), losses.reshape(-1)
        if targets.are_one_hot:
            labels_of_rows, masses_of_rows = labels[..., rows].reshape(-1), masses[..., rows].reshape(-1)
        else:
            soft = targets.effective(n_classes, dtype, rows).reshape(-1, n_classes)
        for block in _slices(len(of_rows), step):
            if targets.are_one_hot:
                losses_of_rows[block] = _in_place(of_rows[block], labels_of_rows[block], masses_of_rows[block])
            else:
                forward = layer.softmax(of_rows[block], soft[block])
                losses_of_rows[block] = forward.losses
                of_rows[block] = layer.residual(forward)
        if targets.are_one_hot and not targets.count_all:
            losses[masses[..., rows] == 0] = 0  # also where the loss is infinite, or no number
        yield losses, residual


def _in_place(logits: Array, labels: NDArray[np.intp], masses: Array) -> Array:
    """The losses (B,) of rows with one label c each, of mass q; their logits (B, T) become the residual.

    With m = argmax Z and E = exp(Z - Z_m), s is added up without E_m = 1, and keeps the digits of 1 - S_m (3.1):

        loss = q (log1p(s) - D_c)        R_i = q / (1 + s) E_i        R_c = -q / (1 + s) O_c

    O_c = s + (1 - E_c), without a case for c = m (3.4).
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
    scale = masses / (1 + others)
    logits *= scale[:, None]
    flat[label] = 0 - scale * (others + (1 - exponential))
    return masses * (np.log1p(others) - from_largest)
