"""Why a claimed gradient is not finite: what the formulas that overflow make of this problem.

See docs/numerics.md, section 2.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from xegrad import layer
from xegrad.judgement import Judgement
from xegrad.targets import Array


def _residual(exponentials: Array, targets: Array) -> Array:
    """q S - Q of S = E / sum E."""
    q = targets.sum(axis=-1, keepdims=True)
    return q * (exponentials / exponentials.sum(axis=-1, keepdims=True)) - targets


def _without_maximum(logits: Array, targets: Array) -> Array:
    return _residual(np.exp(logits), targets)


def _with_maximum_of_0(logits: Array, targets: Array) -> Array:
    return _residual(np.exp(logits - np.maximum(0, logits.max(axis=-1, keepdims=True))), targets)


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
OUT_OF_RANGE = "the largest logit of a row is {top:.6g}, and exp of it {leaves} in {precision}"
SUBTRACT = f"{OUT_OF_RANGE}: subtract the row's maximum before exp"

# dL/dZ as each of them makes it, and what is said of it; the first that fits is told.
FORMULAS: tuple[tuple[Callable[[Array, Array], Array], str], ...] = (
    (_stable, OVERFLOW),
    (_with_maximum_of_0, f"{OUT_OF_RANGE}: subtract the row's maximum, not max(0, maximum)"),
    (_without_maximum, SUBTRACT),
    (
        _chain_of_stable,
        "the probability of a target class underflows to 0, and the chain's 1/S times 0 is no number: "
        "use the shortcut",
    ),
    (_chain_without_maximum, SUBTRACT),
)


@np.errstate(all="ignore")
def cause_of_nonfinite(judgement: Judgement) -> str:
    """The formula that makes exactly these entries infinite or NaN, and what to do; nothing if none does."""
    problem, dtype = judgement.problem, np.dtype(judgement.tolerance.precision)
    inputs, weights = problem.inputs.astype(dtype), problem.weights.astype(dtype)
    logits = inputs @ weights + (0 if problem.bias is None else problem.bias.astype(dtype)[..., None, :])
    targets = problem.targets.effective(problem.n_classes, dtype)
    maxima, candidate = logits.max(axis=-1), judgement.comparison.candidate
    overflows = bool(np.isinf(np.exp(maxima.max())))
    top, leaves = (maxima.max(), "overflows") if overflows else (maxima.min(), "underflows to 0")
    for formula, seen in FORMULAS:
        made = layer.pull_back(problem, formula(logits, targets), judgement.name)
        if all(np.array_equal(kind(made), kind(candidate)) for kind in (np.isnan, np.isinf)):
            said = seen if np.isfinite(logits).all() else OVERFLOW
            return said.format(precision=dtype.name, top=top, leaves=leaves)
    return ""
