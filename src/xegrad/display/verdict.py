"""What came out, in a sentence."""

from __future__ import annotations

import numpy as np

from xegrad.comparison import Comparison
from xegrad.computation import Computation
from xegrad.display.naming import class_in_full, entries, entry
from xegrad.display.numbers import with_digits
from xegrad.problem import Problem


def compute_verdict(computation: Computation) -> str:
    """Whether chain and shortcut agree, whether they are right, and where and why not."""
    problem, comparison, from_exact = computation.problem, computation.comparison, computation.from_exact
    if comparison is None:
        names = [f"the {name}" if name in ("chain", "shortcut") else name for name in computation.evaluations]
        reason = "" if computation.is_finite else f"; something is not finite: {cause(computation)}"
        was = "was" if len(names) == 1 else "were"
        return f"not compared: only {' and '.join(names)} {was} computed, not chain and shortcut{reason}."
    if comparison.agrees and from_exact:
        lost = {name: int(against.digits_lost.sum()) for name, against in from_exact.items()}
        chain, shortcut = lost["chain"], lost["shortcut"]
        total = int(comparison.reference.size)
        if not chain and not shortcut:
            all_of = "the only entry" if total == 1 else f"all {total} entries"
            return f"agree and right: {all_of}, up to what rounding explains."
        if chain and shortcut:
            count = int((from_exact["chain"].digits_lost & from_exact["shortcut"].digits_lost).sum())
            return (
                f"agree, but both wrong: {entries(count or max(chain, shortcut))} without a correct digit"
                f"{_first(problem, from_exact['shortcut'])}: {_why_both_lost(problem)}."
            )
        name = "chain" if chain else "shortcut"
        first = int(np.flatnonzero(from_exact[name].digits_lost)[0])
        return (
            f"agree within rounding, but the {name} is wrong: {entries(lost[name])} without a correct digit"
            f"{_first(problem, from_exact[name])}: {_why_lost(problem, first % problem.n_classes)}."
        )
    total = int(comparison.reference.size)
    unsure = int(comparison.lost.sum())
    if comparison.agrees and not unsure:
        equal = "the only entry is equal" if total == 1 else f"all {total} entries are equal"
        return f"agree: {equal}, up to what rounding explains."
    if comparison.agrees:
        what = "the only entry is" if total == 1 else f"all {total} entries are"
        first = int(np.flatnonzero(comparison.lost)[0])
        where = f", {entry(problem, first)}" if unsure == 1 else ""
        return (
            f"agree: {what} within rounding, but the chain keeps no digit of {entries(unsure)}{where}: "
            f"{_why_lost(problem, first % problem.n_classes)}."
        )
    apart = int((~comparison.within & ~comparison.unbounded).sum())
    broken = int((~np.isfinite(comparison.candidate)).sum())
    if broken:
        return f"differ: the chain is not finite in {broken} of {entries(total)}: {cause(computation)}."
    if not apart:
        return (
            f"undecided: {comparison.unbounded.sum()} of {entries(total)} have no bound, since 1/S of a "
            "target nearly overflows; they are equal to the digits shown at most."
        )
    worst = int(comparison.worst_first[0])
    difference = float(abs(comparison.difference.flat[worst]))
    return (
        f"differ: {apart} of {entries(total)} are further apart than rounding explains, "
        f"at most {with_digits(difference, 3)}, at {entry(problem, worst)}."
    )


def cause(computation: Computation) -> str:
    """Why a method gave what is not finite: overflowing logits, an underflowing S_t, or large products."""
    problem, forward = computation.problem, computation.forward
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


def _first(problem: Problem, against: Comparison) -> str:
    lost = np.flatnonzero(against.digits_lost)
    return f", {entry(problem, int(lost[0]))}" if len(lost) == 1 else ""


def _why_both_lost(problem: Problem) -> str:
    targets = problem.targets.effective(problem.n_classes, problem.dtype)[0]
    if np.count_nonzero(targets) > 1:
        return "the target nearly equals the probability, or the logits cancel, beyond what floats can tell"
    return "the logits cancel, or are larger than floats can resolve"


def _why_lost(problem: Problem, index: int) -> str:
    targets = problem.targets.effective(problem.n_classes, problem.dtype)[0]
    if targets[index] != 0 and np.count_nonzero(targets) == 1:
        return "there, 1 - S is lost when S is rounded, and the shortcut keeps it"
    if np.count_nonzero(targets) > 1:
        return "there, the target nearly equals the probability, and the shortcut may have lost them too"
    return "there, the numbers are near the smallest that floats can hold"


def nonfinite_warnings(computation: Computation) -> list[str]:
    """Why something is not finite, for those who do not see the verdict."""
    return [] if computation.is_finite else [cause(computation)]
