"""Why a claimed gradient is not finite: what the formulas that overflow make of this problem.

See docs/numerics.md, section 2.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from xegrad import layer
from xegrad.judgement import Judgement
from xegrad.numbers.arithmetic import PRECISIONS
from xegrad.targets import Array
from xegrad.vocabulary import COMPUTED_IN


def _residual(exponentials: Array, targets: Array) -> Array:
    """q S - Q of S = E / sum E."""
    q = targets.sum(axis=-1, keepdims=True)
    return q * (exponentials / exponentials.sum(axis=-1, keepdims=True)) - targets


def _without_maximum(logits: Array, targets: Array) -> Array:
    return _residual(np.exp(logits), targets)


def _less_maximum_or_0(logits: Array) -> Array:
    return np.exp(logits - np.maximum(0, logits.max(axis=-1, keepdims=True)))


def _with_maximum_of_0(logits: Array, targets: Array) -> Array:
    return _residual(_less_maximum_or_0(logits), targets)


def _chain(probabilities: Array, targets: Array) -> Array:
    """dS/dZ applied to dL/dS = -Q / S."""
    of_probabilities = np.where(targets == 0, 0, -targets / probabilities)
    mean = (of_probabilities * probabilities).sum(axis=-1, keepdims=True)
    return probabilities * (of_probabilities - mean)


def _chain_of_stable(logits: Array, targets: Array) -> Array:
    return _chain(layer.softmax(logits, targets).probabilities, targets)


def _chain_without_maximum(logits: Array, targets: Array) -> Array:
    exponentials = np.exp(logits)
    return _chain(exponentials / exponentials.sum(axis=-1, keepdims=True), targets)


def _stable(logits: Array, targets: Array) -> Array:
    return layer.residual(layer.softmax(logits, targets))


OVERFLOW = "a logit is beyond the largest number of {precision}: make W or x smaller"
SUBTRACT = "subtract the row's maximum before exp"

# dL/dZ as each of them makes it, the exponentials in which it is seen why, and what to do; the first that fits is told.
FORMULAS: tuple[tuple[Callable[[Array, Array], Array], Callable[[Array], Array] | None, str], ...] = (
    (
        _stable,
        None,
        "the gradient, or a number on the way to it, is beyond the largest number of {format}, though the logits are "
        "not: scale the loss",
    ),
    (_with_maximum_of_0, _less_maximum_or_0, "subtract the row's maximum, not max(0, maximum)"),
    (_without_maximum, np.exp, SUBTRACT),
    (
        _chain_of_stable,
        None,
        "a target class has a probability S so small that the chain's Q/S is infinite: use the shortcut",
    ),
    (_chain_without_maximum, np.exp, SUBTRACT),
)


def _out_of_range(exponentials: Array, logits: Array, targets: Array) -> str:
    """Which exponential is out of range, or the sum of which row: it makes infinity over infinity, 0/0, or 1/S of 0."""
    maxima, sums = logits.max(axis=-1), exponentials.sum(axis=-1)
    largest = "the largest logit of a row is {:.6g}, and ".format
    if np.isinf(exponentials).any():
        return f"{largest(maxima.max())}exp of it overflows"
    if not sums.all():
        return f"{largest(maxima[sums == 0].min())}exp of it underflows to 0"
    if np.isinf(sums).any():
        return f"{largest(maxima[np.isinf(sums)].max())}the sum of the exponentials overflows"
    lost = logits[(targets != 0) & (exponentials == 0)]
    return f"the logit of a target class is {lost.max():.6g}, and exp of it underflows to 0"


@np.errstate(all="ignore")
def cause_of_nonfinite(judgement: Judgement) -> str:
    """The formula that makes exactly these entries infinite or NaN, and what to do; nothing if none does."""
    problem, tolerance, candidate = judgement.problem, judgement.tolerance, judgement.comparison.candidate
    dtype = np.dtype(tolerance.precision if tolerance.precision in COMPUTED_IN else "float32")
    inputs, weights = problem.inputs.astype(dtype), problem.weights.astype(dtype)
    logits = inputs @ weights + (0 if problem.bias is None else problem.bias.astype(dtype)[..., None, :])
    targets, kept = problem.targets.effective(problem.n_classes, dtype), PRECISIONS[tolerance.kept_in]
    for formula, exponentials, advice in FORMULAS:
        made = layer.pull_back(problem, formula(logits, targets), judgement.name)
        made = np.where(np.abs(kept.nearest(made)) > kept.largest, np.inf, made)
        if all(np.array_equal(kind(made), kind(candidate)) for kind in (np.isnan, np.isinf)):
            if not np.isfinite(logits).all():
                return OVERFLOW.format(precision=dtype.name)
            if exponentials is None:
                return advice.format(format=tolerance.kept_in)
            return f"{_out_of_range(exponentials(logits), logits, targets)} in {dtype.name}: {advice}"
    return ""
