"""The outcome of `xegrad verify`, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xegrad.comparison import Comparison
from xegrad.display.numbers import how_many_correct, with_digits
from xegrad.judgement import (
    DIGITS_LOST,
    RIGHT,
    UNDECIDED,
    WRONG,
    Judgement,
    Tolerance,
    cause_of_nonfinite,
    narrower,
)
from xegrad.naming import entry_of
from xegrad.problem import Problem
from xegrad.verification import Check, Verification
from xegrad.vocabulary import SYMBOLS, count

SHORT = 64  # inputs: where a sum this short is not resolved, the numbers are to blame
MISSHAPEN = (
    "WRONG: the gradient has a row where it should have a column; below, its numbers are read in order."
)
APART = {  # what a gradient and a loss say together, of which one is wrong: by the outcome of the gradient
    RIGHT: "right gradient with wrong loss: the mistake is in the loss alone, such as its sign or a constant.",
    WRONG: "right loss with wrong gradient: the forward pass is right, and the mistake comes after it.",
}


def sentences(verification: Verification) -> dict[str, str]:
    """One for each judgement, and "both" where a gradient and a loss say more together."""
    judgements = verification.judgements
    by_name = {
        name: outcome_sentence(verification.problem, judgement) for name, judgement in judgements.items()
    }
    if verification.misshapen:
        return by_name | dict.fromkeys(verification.misshapen, MISSHAPEN)
    good = {RIGHT: RIGHT, DIGITS_LOST: RIGHT}
    outcomes = [good.get(judgement.outcome, judgement.outcome) for judgement in judgements.values()]
    return by_name | {"both": APART[outcomes[0]]} if {*outcomes} == {RIGHT, WRONG} else by_name


def checks_sentence(checks: Sequence[Check]) -> str:
    """How xegrad's own methods did."""
    counting = [check for check in checks if not check.advisory]
    failed = [check.name for check in counting if not check.passed]
    if failed:
        return f"FAILED: {len(failed)} of {len(counting)} checks: {'; '.join(failed)}."
    return f"VERIFIED: all {len(counting)} checks passed."


def outcome_sentence(problem: Problem, judgement: Judgement) -> str:
    """The outcome of a gradient or of a loss, what was allowed, and why if that can be known."""
    word = judgement.outcome.upper().replace("-", " ")
    if (chance := judgement.tolerance.confidence) is not None and judgement.bound_kind == "probabilistic":
        word += f" if rounding errors are independent, with probability 1 - {_power(chance)}"
    of_one = _of_loss if judgement.name == "loss" else _of_gradient
    what, remark = of_one(problem, judgement, _why_undecided(problem, judgement))
    decimals = judgement.reading.decimals
    printed = "" if decimals is None else f", read as printed to {decimals} decimals"
    return f"{word}: {what} ({_allowed(judgement)}{printed}).{remark}{_of_long_sums(problem, judgement)}"


def _power(chance: float) -> str:
    return f"{chance:g}".replace("e-0", "e-")


def _of_long_sums(problem: Problem, judgement: Judgement) -> str:
    """What would narrow the bound, where that is wide because sums are long."""
    if judgement.outcome == WRONG or max(problem.n_inputs, problem.n_rows) < SHORT:
        return ""
    times = {option: many for option, many in narrower(problem, judgement).items() if many >= 2}
    if not times:
        return ""
    chance = times.pop("--confidence 1e-9", None)
    parts = [f"{option} narrows it {many:.0f} times" for option, many in times.items()]
    if chance is not None:
        parts.append(f"errors of random sign stay within 1/{chance:.0f} of it (--confidence 1e-9)")
    return f" The bound is that of long sums: {', '.join(parts)}."


def _of_gradient(problem: Problem, judgement: Judgement, undecided: str) -> tuple[str, str]:
    """What is so, and a remark on it."""
    comparison, tolerance, pattern = judgement.comparison, judgement.tolerance, judgement.pattern
    symbol, total = f"dL/d{SYMBOLS[judgement.name]}", comparison.reference.size
    wrong, lost = int(judgement.wrong.sum()), int(comparison.no_correct_digit.sum())
    broken = int((~np.isfinite(comparison.candidate)).sum())
    where = f", all in {pattern}" if pattern.startswith("one") else ""
    if pattern == "one entry":
        where = f", at {entry_of(problem, judgement.name, int(np.flatnonzero(judgement.wrong)[0]))}"
    limit = "what a stable computation can give" if tolerance.derived else "the tolerance"
    entries = "the only entry is" if total == 1 else f"all {total} entries of {symbol} are"
    have = "has" if lost == 1 else "have"
    what = {
        RIGHT: f"{entries} within {limit}; {digits_of(comparison)}",
        DIGITS_LOST: f"{entries} within {limit}, yet {count(lost, 'entry')} {have} no correct digit"
        + ("" if tolerance.is_mixed else ". (P_i E_i - Q_i O_i) / (1 + s) keeps them, where S - y cancels"),
        WRONG: f"{wrong} of {count(total, 'entry')} {'differs' if wrong == 1 else 'differ'} from {symbol}{where}",
        UNDECIDED: undecided,
    }[judgement.outcome]
    if judgement.outcome != WRONG or not broken:
        return what, ""
    cause = cause_of_nonfinite(problem, tolerance.precision)
    are = "is" if broken == 1 else "are"
    return what, f" {count(broken, 'entry')} {are} not finite{f': {cause}' if cause else ''}."


def _of_loss(problem: Problem, judgement: Judgement, undecided: str) -> tuple[str, str]:
    """What is so, and a remark on it."""
    yours, exact = float(judgement.comparison.candidate[0]), float(judgement.comparison.reference[0])
    negative = " A loss is never negative: log S is not positive, and the loss is its negative."
    return {
        RIGHT: f"the loss, {digits_of(judgement.comparison)}",
        DIGITS_LOST: f"the loss is {exact!r}, and {yours!r} has no digit of it",
        WRONG: f"the loss is {exact!r}, not {yours!r}",
        UNDECIDED: f"the loss is {exact!r}; {undecided}",
    }[judgement.outcome], negative if judgement.outcome == WRONG and yours < 0 else ""


def _why_undecided(problem: Problem, judgement: Judgement) -> str:
    decimals, precision = judgement.reading.decimals, judgement.tolerance.precision
    half = "may exceed half of every entry"
    if not np.all(judgement.certified):
        return "the exact value could not be certified"
    if decimals is not None:
        return f"{decimals} decimals resolve no entry, or rounding alone exceeds half of each"
    if problem.n_inputs < SHORT:
        return f"{precision} does not resolve numbers of this size: rounding {half}"
    logits = f"the sum of {problem.n_inputs} products in a logit is not resolved in {precision}"
    return f"{logits}: rounding alone {half}. --rtol decides, or --summation if you know how it was formed"


def _allowed(judgement: Judgement) -> str:
    """The bound that was used, as a part of the value for the entry where it is widest."""
    tolerance, kind = judgement.tolerance, "tolerance"
    if tolerance.derived:
        stored = "" if tolerance.stored_as is None else f" stored as {tolerance.stored_as}"
        kind = f"bound for {tolerance.recipe or computed_in(tolerance)}{'' if tolerance.recipe else stored}"
    if not judgement.comparison.reference.any():
        return f"{kind}: {with_digits(float(judgement.comparison.bound.max()), 2)}; every exact value is 0"
    return f"{kind}: {with_digits(judgement.relative_bound, 2)} of an entry at most"


def computed_in(tolerance: Tolerance) -> str:
    """The precision, and what was rounded to another on its way."""
    what = {"inputs_as": "inputs", "logits_as": "logits", "residual_as": "dL/dlogits"}
    parts = [f"{words} as {other}" for field, words in what.items() if (other := getattr(tolerance, field))]
    summed = [] if tolerance.accumulate_in is None else [f"sums in {tolerance.accumulate_in}"]
    return ", ".join([tolerance.precision, *parts, *summed])


def digits_of(comparison: Comparison) -> str:
    """How many digits of the worst entry are correct; past fifteen the last bit decides, and it may vary."""
    digits = int(comparison.correct_digits.min())
    return f"{how_many_correct(digits)} correct digit{'' if digits == 1 else 's'}"
