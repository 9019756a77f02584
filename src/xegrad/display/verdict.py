"""What came out, in a sentence."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from xegrad.comparison import Comparison
from xegrad.display.naming import class_in_full, entry
from xegrad.display.numbers import with_digits
from xegrad.layer import Forward
from xegrad.methods import Evaluation
from xegrad.problem import Problem


def compute_verdict(
    problem: Problem, forward: Forward, evaluations: Mapping[str, Evaluation], comparison: Comparison | None
) -> str:
    """Whether chain and shortcut agree, and where and why not."""
    if comparison is None:
        (name,) = evaluations
        reason = "" if _is_finite(evaluations) else f", and it is not finite: {cause(problem, forward)}"
        return f"not compared: only the {name} was computed{reason}."
    total = comparison.reference.size
    lost = int(comparison.lost.sum())
    if comparison.agrees and not lost:
        equal = "the only entry is equal" if total == 1 else f"all {total} entries are equal"
        return f"agree: {equal}, up to what rounding explains."
    if comparison.agrees:
        what = "the only entry is" if total == 1 else f"all {total} entries are"
        first = int(np.flatnonzero(comparison.lost)[0])
        where = f", {entry(problem, first)}" if lost == 1 else ""
        return (
            f"agree: {what} within rounding, but the chain keeps no digit of {_entries(lost)}{where}: "
            f"{_why_lost(problem, first % problem.n_classes)}."
        )
    apart = int((~comparison.within & ~comparison.unbounded).sum())
    broken = int((~np.isfinite(comparison.candidate)).sum())
    if broken:
        return f"differ: the chain is not finite in {broken} of {_entries(total)}: {cause(problem, forward)}."
    if not apart:
        return (
            f"undecided: {comparison.unbounded.sum()} of {_entries(total)} have no bound, since 1/S of a "
            "target nearly overflows; they are equal to the digits shown at most."
        )
    worst = int(comparison.worst_first[0])
    difference = float(abs(comparison.difference.flat[worst]))
    return (
        f"differ: {apart} of {_entries(total)} are further apart than rounding explains, "
        f"at most {with_digits(difference, 3)}, at {entry(problem, worst)}."
    )


def cause(problem: Problem, forward: Forward) -> str:
    """Why a method gave what is not finite: overflowing logits, an underflowing S_t, or large products."""
    overflowing = np.argwhere(~np.isfinite(forward.logits))
    if overflowing.size:
        where = tuple(overflowing[0])
        return f"the logit of {class_in_full(problem, int(where[-1]))} overflows to {forward.logits[where]}"
    with np.errstate(all="ignore"):
        factors = forward.targets / forward.probabilities
    broken = np.argwhere((forward.targets != 0) & ~np.isfinite(factors))
    if not broken.size:
        return "the products with x overflow"
    where = tuple(broken[0])
    name, probability = class_in_full(problem, int(where[-1])), float(forward.probabilities[where])
    if probability == 0:
        return f"the probability S of {name} underflows to 0, and the chain multiplies 1/S = infinity by 0"
    if forward.targets[where] > 1:
        return f"the target Q of {name} is {float(forward.targets[where]):.3g}, so large that Q/S overflows"
    return f"the probability S of {name} is {probability:.1e}, so small that 1/S overflows"


def _why_lost(problem: Problem, index: int) -> str:
    targets = problem.targets.effective(problem.n_classes, problem.dtype)[0]
    if targets[index] != 0 and np.count_nonzero(targets) == 1:
        return "there, 1 - S is lost when S is rounded, and the shortcut keeps it"
    if np.count_nonzero(targets) > 1:
        return "there, the target nearly equals the probability, and the shortcut may have lost them too"
    return "there, the numbers are near the smallest that floats can hold"


def _is_finite(evaluations: Mapping[str, Evaluation]) -> bool:
    return all(
        np.isfinite(evaluation.loss) and np.isfinite(evaluation.gradients["weights"]).all()
        for evaluation in evaluations.values()
    )


def nonfinite_warnings(
    problem: Problem, forward: Forward, evaluations: Mapping[str, Evaluation]
) -> list[str]:
    """Why something is not finite, for those who do not see the verdict."""
    return [] if _is_finite(evaluations) else [cause(problem, forward)]


def _entries(count: int) -> str:
    return f"{count} {'entry' if count == 1 else 'entries'}"
