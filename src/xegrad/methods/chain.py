"""The chain: cross-entropy, softmax and weighted sum, each as its Jacobian, multiplied.

See docs/numerics.md, sections 1.3 and 6.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from xegrad import bounds, layer, progress
from xegrad.methods import Evaluation
from xegrad.problem import Problem
from xegrad.targets import Array

MEMORY_BUDGET = 8 * 2**20  # bytes of a layer Jacobian that exist at a time: they stay in the cache

bound = bounds.chain


def work(n_rows: int, n_inputs: int, n_classes: int, n_problems: int = 1) -> float:
    """An estimate of the seconds that the loss and dL/dW take (benchmarks/estimates.py).

    By whole rows DS is multiplied with all of Dg, which takes longer than leaving out its zeros, and numpy calls BLAS
    for each row.  Where the block of one class does not fit into the cache, memory is what it waits for.
    """
    softmax, layer = n_classes**2, n_classes**2 * n_inputs  # numbers in DS and DL of a row
    if 8 * layer <= MEMORY_BUDGET:
        of_row = 0.3e-6 + 12e-9 * softmax + (3e-9 + 0.055e-9 * n_classes) * layer
    else:
        is_in_cache = 8 * n_classes * n_inputs <= MEMORY_BUDGET
        of_row = 1.5e-9 * softmax + (1.4e-9 if is_in_cache else 2e-9) * layer
    return 120e-6 + n_problems * n_rows * of_row


def memory(problem: Problem) -> int:
    """The bytes that are held at a time: ten arrays like the logits, one like W, and the blocks."""
    return 10 * problem.nbytes_of(["logits"]) + problem.nbytes_of(["weights"]) + 3 * MEMORY_BUDGET


def cross_entropy_jacobian(probabilities: Array, targets: Array) -> Array:
    """dL/dS = -Q_t / S_t, (B, T), and 0 where Q_t is 0.  The seed's DXE.

    Infinite where S_t has underflowed to 0; what it is multiplied with is then 0, and the product NaN.
    """
    return np.divide(-targets, probabilities, out=np.zeros_like(probabilities), where=targets != 0)


def softmax_jacobian(probabilities: Array, classes: slice = slice(None)) -> Array:
    """dS/dZ: entry (t, i) is S_t (delta_ti - S_i), (B, T, T), or the rows of some classes.  The seed's DS."""
    index = np.arange(probabilities.shape[-1])
    identity = (index[classes, None] == index).astype(probabilities.dtype)
    return probabilities[..., classes, None] * (identity - probabilities[..., None, :])


def weighted_sum_jacobian(inputs: Array, n_classes: int) -> Array:
    """dZ/dW of each example of X (B, N), (B, T, T*N): how each logit moves with each weight.  The seed's Dg.

    Row i is logit i.  Column i*N + j is W[j, i]: class by class, because that makes each matrix block-diagonal.
    A row vector times it folds back with ``reshape(T, N).T``; ``reshape(W.shape)`` runs but scrambles it.

    Examples
    --------
    >>> weighted_sum_jacobian(np.array([[7.0, 8.0]]), 2)
    array([[[7., 8., 0., 0.],
            [0., 0., 7., 8.]]])
    """
    return layer_jacobian(np.eye(n_classes, dtype=inputs.dtype), inputs)


def layer_jacobian(softmax_jacobian: Array, inputs: Array) -> Array:
    """dS/dW = DS Dg with the zeros of Dg left out, (B, t, T*N) for t rows of DS.  The seed's DL.

    Entry (t, i*N + j) is S_t (delta_ti - S_i) x_j, the same number that the matrix product gives:
    of its T terms, all but one are zero.
    """
    # Of one example BLAS takes half the time for an outer product, but more where a factor is one number.
    if inputs.size == inputs.shape[-1] > 1:
        blocks = np.dot(softmax_jacobian.reshape(-1, 1), inputs.reshape(1, -1))
    else:
        blocks = softmax_jacobian[..., None] * inputs[..., None, None, :]
    return blocks.reshape(*inputs.shape[:-1], softmax_jacobian.shape[-2], -1)


def fold(flat: Array, n_classes: int) -> Array:
    """The flat gradient, (..., T*N) class by class, in W's layout (..., N, T)."""
    return flat.reshape(*flat.shape[:-1], n_classes, -1).swapaxes(-1, -2)


@np.errstate(all="ignore")
def evaluate(problem: Problem, with_respect_to: Sequence[str]) -> Evaluation:
    """-sum(Q log S) over Q != 0, and DXE DL for W, DXE DS for the logits, pulled back to b and X."""
    forward = layer.forward(problem)
    probabilities, targets = forward.probabilities, forward.targets
    logarithms = np.log(probabilities, out=np.zeros_like(probabilities), where=targets != 0)
    losses = 0 - (targets * logarithms).sum(axis=-1)
    gradients = {
        name: _weights_gradient(problem, probabilities, targets)
        if name == "weights"
        else layer.pull_back(problem, _logits_gradient(probabilities, targets), name)
        for name in with_respect_to
    }
    return Evaluation(losses.sum(axis=-1), losses, gradients)


def _weights_gradient(problem: Problem, probabilities: Array, targets: Array) -> Array:
    """DXE DL, summed over the rows and folded into W's layout, (N, T)."""

    def jacobian(softmax: Array, rows: Any, classes: slice) -> Array:
        if classes == slice(None):
            return softmax @ weighted_sum_jacobian(problem.inputs[rows], problem.n_classes)
        return layer_jacobian(softmax, problem.inputs[rows])

    columns = problem.n_classes * problem.n_inputs
    flat = np.zeros((*probabilities.shape[:-2], columns), dtype=problem.dtype)
    for rows, product in _products(probabilities, targets, jacobian, columns):
        flat[rows[:-2]] += product[..., 0, :] if product.shape[-2] == 1 else product.sum(axis=-2)
        del product  # before the next one is made
    return fold(flat, problem.n_classes)


def _logits_gradient(probabilities: Array, targets: Array) -> Array:
    """DXE DS, (B, T)."""
    gradient, n_classes = np.zeros_like(probabilities), probabilities.shape[-1]
    for rows, product in _products(probabilities, targets, lambda softmax, *_: softmax, n_classes):
        gradient[rows] += product
    return gradient


def _products(
    probabilities: Array, targets: Array, jacobian: Callable[[Array, Any, slice], Array], columns: int
) -> Iterator[tuple[Any, Array]]:
    """DXE times what `jacobian` makes of DS, which has so many columns, block by block.

    Yields the index of some rows and their products, (rows, columns); those of a row's blocks add up.
    """
    outer = cross_entropy_jacobian(probabilities, targets)
    blocks = _blocks(probabilities, columns)
    for rows, classes in progress.track(blocks, "chain") if len(blocks) > 1 else blocks:
        softmax = softmax_jacobian(probabilities[rows], classes)
        yield rows, _product(outer[rows][..., None, classes], jacobian(softmax, rows, classes))


def _product(factors: Array, block: Array) -> Array:
    """Of rows of DXE (.., 1, t) and a block of Jacobians (.., t, columns)."""
    # Of one class: numpy takes three times as long for a product of matrices that has one term.
    product = np.multiply(factors, block, out=block) if block.shape[-2] == 1 else factors @ block
    return product[..., 0, :]


def _blocks(probabilities: Array, columns: int) -> list[tuple[Any, slice]]:
    """Rows and classes, as many at a time as have Jacobians within the budget: whole rows, or a part of one."""
    n_rows, n_classes = probabilities.shape[-2:]
    bytes_of_class = columns * probabilities.itemsize
    n_fit = MEMORY_BUDGET * n_rows // (probabilities.size * bytes_of_class)
    if n_fit > 0:
        starts = range(0, n_rows, n_fit)
        return [((..., slice(start, start + n_fit), slice(None)), slice(None)) for start in starts]
    block = max(1, MEMORY_BUDGET // bytes_of_class)
    return [
        ((*stack, slice(row, row + 1), slice(None)), slice(start, start + block))
        for *stack, row in np.ndindex(probabilities.shape[:-1])
        for start in range(0, n_classes, block)
    ]
