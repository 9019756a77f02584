"""What came out, in a sentence."""

from __future__ import annotations

import numpy as np

from xegrad.computation import Computation
from xegrad.display.numbers import with_digits
from xegrad.naming import entry_of
from xegrad.problem import Problem
from xegrad.vocabulary import DEFAULT_METHODS, count


def compute_verdict(computation: Computation) -> str:
    """Whether chain and shortcut agree, whether they are right, and where and why not."""
    problem, (kind, blamed) = computation.problem, computation.reason
    places = [place for place in blamed if place[0] != "loss"]
    total = sum(against.reference.size for against in computation.comparisons.values())
    entries = count(len(places), "entry")
    of_all = f"{len(places)} of {count(total, 'entry')}"
    everything, are = ("the only entry", "is") if total == 1 else (f"all {total} entries", "are")
    only = entry_of(problem, *places[0]) if len(places) == 1 else ""
    those = f"{entries}, {only}" if only else entries
    without_digit = f"{entries} without a correct digit{f', {only}' if only else ''}"
    match kind:
        case "not-compared":
            names = [f"the {name}" if name in DEFAULT_METHODS else name for name in computation.evaluations]
            were = "was" if len(names) == 1 else "were"
            cause = computation.cause_of_nonfinite
            reason = f"; something is not finite: {cause}" if cause else ""
            only = f"only {' and '.join(names)} {were} computed"
            return f"not compared: {only}, not chain and shortcut{reason}."
        case "not-finite":
            shortcut = computation.evaluations["shortcut"].gradients
            broken = sum(not np.isfinite(shortcut[of].flat[k]) for of, k in places)
            too = f", nor the shortcut in {broken} of them" if broken else ""
            too = ", nor is the shortcut" if broken == len(places) else too
            return f"differ: the chain is not finite in {of_all}{too}: {computation.cause_of_nonfinite}."
        case "apart":
            differences = [abs(float(computation.comparisons[of].difference.flat[k])) for of, k in places]
            worst = int(np.argmax(np.nan_to_num(differences, nan=np.inf)))
            most = f"{with_digits(differences[worst], 3)}, at {entry_of(problem, *places[worst])}"
            where = f"in {of_all}, by at most {most}"
            return f"differ: chain and shortcut are further apart than rounding explains {where}."
        case "unbounded":
            reason = f"{of_all} have no bound, since {computation.cause_of_unbounded}"
            return f"undecided: {reason}; they are equal to the digits shown at most."
        case "no-exact" if places:
            lost = f"the chain keeps no digit of {those}: {_why_lost(problem, *places[0])}"
            return f"agree: {everything} {are} within rounding, but {lost}."
        case "no-exact":
            return f"agree: {everything} {are} equal by chain and shortcut, up to rounding."
        case "uncertified":
            what = " and ".join(["the loss"] * (places != blamed) + [only or entries] * bool(places))
            unsure = f"value of {what} is" if len(blamed) == 1 else f"values of {what} are"
            return f"undecided: chain and shortcut agree, but the exact {unsure} not certified."
        case "both-wrong":
            return f"agree, but both wrong: {without_digit}: {_why_both_lost(problem)}."
        case "chain-wrong" | "shortcut-wrong":
            wrong = f"the {kind.removesuffix('-wrong')} is wrong: {without_digit}"
            return f"agree within rounding, but {wrong}: {_why_lost(problem, *places[0])}."
        case _:
            return f"agree and right: {everything}, by chain and shortcut, up to rounding."


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
