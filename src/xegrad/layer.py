"""The forward pass in floats, and dL/dZ pulled back to W, b and X.

Everything here is accurate where its inputs are: no 1 - S is ever formed from a rounded S, and a
probability that underflows takes only itself along.  All arrays may have stack axes in front.

See docs/numerics.md, section 3.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from xegrad.problem import Problem, once
from xegrad.targets import ALL, Array


class Forward(msgspec.Struct, frozen=True, eq=False):
    """One forward pass.  With m = argmax Z of a row: D = Z - Z_m, E = exp(D), s = sum of E_k over k != m.

    Then S = E / (1 + s), and 1 + s is within rounding of sum E while s keeps the digits of 1 - S_m.
    """

    targets: Array  # Q (B, T)
    logits: Array  # Z (B, T)
    is_maximum: NDArray[np.bool_]  # (B, T), one True in each row: k = m
    shifted: Array  # D (B, T)
    exponentials: Array  # E (B, T)
    others: Array  # s (B, 1)

    @property
    def probabilities(self) -> Array:
        """S = E / (1 + s), (B, T)."""
        return self.exponentials / (1 + self.others)

    @property
    @np.errstate(all="ignore")
    def losses(self) -> Array:
        """-sum_t Q_t log S_t of each row, (B,), over the classes with Q_t != 0.

        -log S_t = log1p(s) - D_t keeps a loss of 1e-20, where the logarithm of a rounded S_t gives 0.
        """
        cost = np.log1p(self.others) - self.shifted
        terms = np.multiply(self.targets, cost, out=np.zeros_like(cost), where=self.targets != 0)
        return terms.sum(axis=-1)

    @property
    @np.errstate(all="ignore")
    def loss(self) -> float | Array:
        """The sum of the rows' losses: a scalar, or one for each problem of a stack."""
        return self.losses.sum(axis=-1)


@once
@np.errstate(all="ignore")
def forward(problem: Problem) -> Forward:
    """Z = X W + b and what follows from it.  A logit that overflows to infinity makes its class NaN."""
    return softmax(logits(problem), problem.targets.effective(problem.n_classes, problem.dtype))


def logits(problem: Problem, rows: slice = ALL) -> Array:
    """Z = X W + b, (B, T), of some rows."""
    logits: Array = problem.inputs[..., rows, :] @ problem.weights
    if problem.bias is not None:
        logits += problem.bias[..., None, :]
    return logits


@np.errstate(all="ignore")
def softmax(logits: Array, targets: Array) -> Forward:
    """What follows from Z and Q."""
    is_maximum = np.arange(logits.shape[-1]) == logits.argmax(axis=-1)[..., None]
    shifted = logits - logits.max(axis=-1, keepdims=True)
    exponentials = np.exp(shifted)
    others = np.where(is_maximum, 0, exponentials).sum(axis=-1, keepdims=True)
    return Forward(targets, logits, is_maximum, shifted, exponentials, others)


@np.errstate(all="ignore")
def probabilities(problem: Problem) -> Array:
    """S = E / (1 + s), (B, T), to the bit as `forward` has it, made in one array."""
    exponentials = logits(problem)
    flat = exponentials.reshape(-1)
    first = np.arange(0, flat.size, problem.n_classes).reshape(exponentials.shape[:-1])
    largest = first + exponentials.argmax(axis=-1)
    exponentials -= flat[largest][..., None]
    np.exp(exponentials, out=exponentials)
    of_largest = flat[largest]
    flat[largest] = 0
    total = 1 + exponentials.sum(axis=-1, keepdims=True)
    flat[largest] = of_largest
    exponentials /= total
    return exponentials


def other_targets(targets: Array) -> Array:
    """P_i = sum of Q_k over k != i, (B, T), added up: q - Q_i would cancel when Q is nearly one-hot."""
    before = np.zeros_like(targets)
    after = np.zeros_like(targets)
    np.cumsum(targets[..., :-1], axis=-1, out=before[..., 1:])
    np.cumsum(targets[..., :0:-1], axis=-1, out=after[..., -2::-1])
    return before + after


def other_exponentials(forward: Forward) -> Array:
    """O_i = sum of E_k over k != i, (B, T), as s + (1 - E_i): nothing cancels, since E_m = 1 and no E is above it."""
    return forward.others + (1 - forward.exponentials)


@np.errstate(all="ignore")
def residual(forward: Forward) -> Array:
    """dL/dZ = rowsum(Q) S - Q, (B, T), without its cancellation.

    q S_i - Q_i = (q E_i - Q_i (E_i + O_i)) / (1 + s)  since  E_i + O_i = 1 + s
                = ((q - Q_i) E_i - Q_i O_i) / (1 + s)
                = (P_i E_i - Q_i O_i) / (1 + s)
    """
    others = other_targets(forward.targets) * forward.exponentials
    class_itself = forward.targets * other_exponentials(forward)
    return (others - class_itself) / (1 + forward.others)


def pull_back(problem: Problem, residual: Array, with_respect_to: str, rows: slice = ALL) -> Array:
    """dL/dZ of some rows carried back: X' R for "weights", R summed over rows for "bias", R W' for "inputs".

    For "logits" it is R itself.
    """
    if with_respect_to == "weights":
        transposed = problem.inputs[..., rows, :].swapaxes(-1, -2)
        # One row: BLAS takes three times as long for an outer product as this does.
        return transposed * residual if residual.shape[-2] == 1 else transposed @ residual
    if with_respect_to == "bias":
        return residual.sum(axis=-2)
    if with_respect_to == "inputs":
        return residual @ problem.weights.swapaxes(-1, -2)
    return residual
