"""What came out, in a sentence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xegrad.computation import Computation, Place
from xegrad.display.numbers import with_digits
from xegrad.naming import counted, entry_of
from xegrad.problem import Problem


def compute_verdict(computation: Computation) -> str:
    """Whether chain and shortcut agree, whether they are right, and where and why not."""
    problem, kind, places = computation.problem, computation.reason.kind, computation.reason.places
    total = sum(against.reference.size for against in computation.comparisons.values())
    of_all = f"{len(places)} of {counted(total, 'entry')}"
    match kind:
        case "not-compared":
            names = [
                f"the {name}" if name in ("chain", "shortcut") else name for name in computation.evaluations
            ]
            reason = (
                ""
                if computation.is_finite
                else f"; something is not finite: {computation.cause_of_nonfinite}"
            )
            was = "was" if len(names) == 1 else "were"
            return f"not compared: only {' and '.join(names)} {was} computed, not chain and shortcut{reason}."
        case "not-finite":
            return f"differ: the chain is not finite in {of_all}: {computation.cause_of_nonfinite}."
        case "apart":
            worst, difference = _furthest_apart(computation, places)
            return (
                f"differ: {of_all} are further apart than rounding explains, at most "
                f"{with_digits(difference, 3)}, at {entry_of(problem, *worst)}."
            )
        case "unbounded":
            return (
                f"undecided: {of_all} have no bound, since {computation.cause_of_unbounded}; they are equal to the "
                "digits shown at most."
            )
        case "no-exact" if places:
            what = "the only entry is" if total == 1 else f"all {total} entries are"
            return (
                f"agree: {what} within rounding, but the chain keeps no digit of {counted(len(places), 'entry')}"
                f"{_only(problem, places)}: {_why_lost(problem, *places[0])}."
            )
        case "no-exact":
            equal = "the only entry is equal" if total == 1 else f"all {total} entries are equal"
            return f"agree: {equal}, up to what rounding explains."
        case "uncertified":
            return _uncertified(problem, places)
        case "both-wrong":
            return (
                f"agree, but both wrong: {counted(len(places), 'entry')} without a correct digit"
                f"{_only(problem, places)}: {_why_both_lost(problem)}."
            )
        case "chain-wrong" | "shortcut-wrong":
            return (
                f"agree within rounding, but the {kind.removesuffix('-wrong')} is wrong: "
                f"{counted(len(places), 'entry')} without a correct digit{_only(problem, places)}: "
                f"{_why_lost(problem, *places[0])}."
            )
        case _:
            all_of = "the only entry" if total == 1 else f"all {total} entries"
            return f"agree and right: {all_of}, up to what rounding explains."


def _furthest_apart(computation: Computation, places: Sequence[Place]) -> tuple[Place, float]:
    """The entry of the largest difference, and that; what is no number counts as the largest."""
    differences = [abs(float(computation.comparisons[name].difference.flat[index])) for name, index in places]
    worst = int(np.argmax(np.nan_to_num(differences, nan=np.inf)))
    return places[worst], differences[worst]


def _uncertified(problem: Problem, places: Sequence[Place]) -> str:
    of_gradients = [place for place in places if place[0] != "loss"]
    parts = ["the loss"] if len(of_gradients) < len(places) else []
    if len(of_gradients) == 1:
        parts.append(entry_of(problem, *of_gradients[0]))
    elif of_gradients:
        parts.append(counted(len(of_gradients), "entry"))
    values = "value of" if len(places) == 1 else "values of"
    are = "is" if len(places) == 1 else "are"
    return f"undecided: chain and shortcut agree, but the exact {values} {' and '.join(parts)} {are} not certified."


def _only(problem: Problem, places: Sequence[Place]) -> str:
    return f", {entry_of(problem, *places[0])}" if len(places) == 1 else ""


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
