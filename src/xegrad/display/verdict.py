"""What came out, in a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from xegrad.computation import Computation
from xegrad.display.naming import class_in_full, entries, entry_of
from xegrad.display.numbers import with_digits
from xegrad.problem import Problem


def compute_verdict(computation: Computation) -> str:
    """Whether chain and shortcut agree, whether they are right, and where and why not."""
    problem, compared, from_exact = computation.problem, computation.comparisons, computation.from_exact
    if not compared:
        names = [f"the {name}" if name in ("chain", "shortcut") else name for name in computation.evaluations]
        reason = "" if computation.is_finite else f"; something is not finite: {cause(computation)}"
        was = "was" if len(names) == 1 else "were"
        return f"not compared: only {' and '.join(names)} {was} computed, not chain and shortcut{reason}."
    agree = all(against.agrees for against in compared.values())
    total = sum(against.reference.size for against in compared.values())
    if agree and from_exact:
        lost = {
            method: _places({name: against.digits_lost for name, against in by.items()})
            for method, by in from_exact.items()
        }
        chain, shortcut = lost["chain"], lost["shortcut"]
        if not chain and not shortcut:
            all_of = "the only entry" if total == 1 else f"all {total} entries"
            return f"agree and right: {all_of}, up to what rounding explains."
        if chain and shortcut:
            count = len(set(chain) & set(shortcut)) or max(len(chain), len(shortcut))
            return (
                f"agree, but both wrong: {entries(count)} without a correct digit"
                f"{_only(problem, shortcut)}: {_why_both_lost(problem)}."
            )
        name = "chain" if chain else "shortcut"
        return (
            f"agree within rounding, but the {name} is wrong: {entries(len(lost[name]))} without a correct digit"
            f"{_only(problem, lost[name])}: {_why_lost(problem, *lost[name][0])}."
        )
    unsure = _places({name: against.lost for name, against in compared.items()})
    if agree and not unsure:
        equal = "the only entry is equal" if total == 1 else f"all {total} entries are equal"
        return f"agree: {equal}, up to what rounding explains."
    if agree:
        what = "the only entry is" if total == 1 else f"all {total} entries are"
        return (
            f"agree: {what} within rounding, but the chain keeps no digit of {entries(len(unsure))}"
            f"{_only(problem, unsure)}: {_why_lost(problem, *unsure[0])}."
        )
    broken = sum(int((~np.isfinite(against.candidate)).sum()) for against in compared.values())
    if broken:
        return f"differ: the chain is not finite in {broken} of {entries(total)}: {cause(computation)}."
    apart = {name: ~against.within & ~against.unbounded for name, against in compared.items()}
    count = len(_places(apart))
    if not count:
        unbounded = sum(int(against.unbounded.sum()) for against in compared.values())
        return (
            f"undecided: {unbounded} of {entries(total)} have no bound, since 1/S of a "
            "target nearly overflows; they are equal to the digits shown at most."
        )
    name = max(apart, key=lambda of: float(np.abs(compared[of].difference)[apart[of]].max(initial=0.0)))
    worst = int(compared[name].worst_first[0])
    difference = float(abs(compared[name].difference.flat[worst]))
    return (
        f"differ: {count} of {entries(total)} are further apart than rounding explains, "
        f"at most {with_digits(difference, 3)}, at {entry_of(problem, name, worst)}."
    )


Place = tuple[str, int]  # a gradient, and a flat index into it


def _places(masks: Mapping[str, Any]) -> list[Place]:
    return [(name, index) for name, mask in masks.items() for index in np.flatnonzero(mask).tolist()]


def _only(problem: Problem, places: list[Place]) -> str:
    return f", {entry_of(problem, *places[0])}" if len(places) == 1 else ""


def cause(computation: Computation) -> str:
    """Why a method gave what is not finite: overflowing logits, an underflowing S_t, or large products."""
    problem, forward = computation.problem, computation.forward
    overflowing = np.argwhere(~np.isfinite(forward.logits))
    if overflowing.size:
        where = tuple(overflowing[0])
        logit = f"the logit of {class_in_full(problem, int(where[-1]))}{_in_row(problem, where)}"
        return f"{logit} overflows to {forward.logits[where]}"
    with np.errstate(all="ignore"):
        factors = forward.targets / forward.probabilities
    broken = np.argwhere((forward.targets != 0) & ~np.isfinite(factors))
    if not broken.size:
        return "the products with x overflow"
    where = tuple(broken[0])
    name = f"{class_in_full(problem, int(where[-1]))}{_in_row(problem, where)}"
    probability = float(forward.probabilities[where])
    if probability == 0:
        return f"the probability S of {name} underflows to 0, and the chain multiplies 1/S = infinity by 0"
    if forward.targets[where] > 1:
        return f"the target Q of {name} is {float(forward.targets[where]):.3g}, so large that Q/S overflows"
    return f"the probability S of {name} is {probability:.1e}, so small that 1/S overflows"


def _why_both_lost(problem: Problem) -> str:
    if _is_soft(problem):
        return "the target nearly equals the probability, or the logits cancel, beyond what floats can tell"
    return "the logits cancel, or are larger than floats can resolve"


def _why_lost(problem: Problem, name: str, flat_index: int) -> str:
    if _is_soft(problem):
        return "there, the target nearly equals the probability, and the shortcut may have lost them too"
    *_, last = problem.place(name, flat_index)
    if name == "inputs" or (problem.targets.label_of_rows == last).any():
        return "there, 1 - S is lost when S is rounded, and the shortcut keeps it"
    return "there, the numbers are near the smallest that floats can hold"


def _is_soft(problem: Problem) -> bool:
    targets = problem.targets.effective(problem.n_classes, problem.dtype)
    return bool((np.count_nonzero(targets, axis=-1) > 1).any())


def _in_row(problem: Problem, where: tuple[Any, ...]) -> str:
    return f" in row {where[0]}" if problem.n_rows > 1 else ""


def nonfinite_warnings(computation: Computation) -> list[str]:
    """Why something is not finite, for those who do not see the verdict."""
    return [] if computation.is_finite else [cause(computation)]
