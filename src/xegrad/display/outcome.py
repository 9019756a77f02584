"""The outcome of `xegrad verify`, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from xegrad.comparison import Comparison
from xegrad.display.numbers import how_many_correct, with_digits
from xegrad.judgement import (
    DIGITS_LOST,
    RIGHT,
    UNDECIDED,
    WRONG,
    Check,
    Judgement,
    Tolerance,
    cause_of_nonfinite,
)
from xegrad.naming import counted, entry_of
from xegrad.problem import Problem
from xegrad.verification import Verification
from xegrad.vocabulary import SYMBOLS

SHORT = 64  # inputs: where a sum this short is not resolved, the numbers are to blame
MISSHAPEN = (
    "WRONG: the gradient has a row where it should have a column; below, its numbers are read in order."
)


def sentences(verification: Verification, decimals: Mapping[str, int | None]) -> dict[str, str]:
    """One for each judgement, and "both" where a gradient and a loss say more together."""
    problem, tolerance, judgements = verification.problem, verification.tolerance, verification.judgements
    by_name = {
        name: outcome_sentence(problem, judgement, tolerance, decimals[name])
        for name, judgement in judgements.items()
    }
    if verification.misshapen:
        return by_name | {name: MISSHAPEN for name in judgements if name != "loss"}
    if len(by_name) == 2:
        gradient, loss = (judgement.outcome for judgement in judgements.values())
        good = (RIGHT, DIGITS_LOST)
        if gradient in good and loss == WRONG:
            by_name["both"] = (
                "right gradient with wrong loss: the mistake is in the loss alone, such as its sign or a constant."
            )
        if gradient == WRONG and loss in good:
            by_name["both"] = (
                "right loss with wrong gradient: the forward pass is right, and the mistake comes after it."
            )
    return by_name


def checks_sentence(checks: Sequence[Check]) -> str:
    """How xegrad's own methods did."""
    counting = [check for check in checks if not check.advisory]
    failed = [check.name for check in counting if not check.passed]
    if failed:
        return f"FAILED: {len(failed)} of {len(counting)} checks: {'; '.join(failed)}."
    return f"VERIFIED: all {len(counting)} checks passed."


def outcome_sentence(
    problem: Problem, judgement: Judgement, tolerance: Tolerance, decimals: int | None
) -> str:
    """The outcome of a gradient or of a loss, what was allowed, and why if that can be known."""
    word = judgement.outcome.upper().replace("-", " ")
    undecided = judgement.outcome == UNDECIDED
    why = _why_undecided(problem, judgement, tolerance, decimals) if undecided else ""
    if judgement.name == "loss":
        what, remark = _of_loss(judgement, why)
    else:
        what, remark = _of_gradient(problem, judgement, tolerance, why)
    printed = "" if decimals is None else f", read as printed to {decimals} decimals"
    return f"{word}: {what} ({_allowed(judgement, tolerance)}{printed}).{remark}"


def _of_gradient(problem: Problem, judgement: Judgement, tolerance: Tolerance, why: str) -> tuple[str, str]:
    """What is so, and a remark on it."""
    comparison, symbol = judgement.comparison, f"dL/d{SYMBOLS[judgement.name]}"
    total = comparison.reference.size
    if judgement.outcome == WRONG:
        count, pattern = int(judgement.wrong.sum()), judgement.pattern
        where = f", all in {pattern}" if pattern.startswith("one") else ""
        if pattern == "one entry":
            where = f", at {entry_of(problem, judgement.name, int(np.flatnonzero(judgement.wrong)[0]))}"
        differ = "differs" if count == 1 else "differ"
        what = f"{count} of {counted(total, 'entry')} {differ} from {symbol}{where}"
        broken = int((~np.isfinite(comparison.candidate)).sum())
        if not broken:
            return what, ""
        cause = cause_of_nonfinite(problem, tolerance.precision)
        are = "is" if broken == 1 else "are"
        return what, f" {counted(broken, 'entry')} {are} not finite{f': {cause}' if cause else ''}."
    if judgement.outcome == UNDECIDED:
        return why, ""
    all_entries = "the only entry is" if total == 1 else f"all {total} entries of {symbol} are"
    limit = "what a stable computation can give" if tolerance.derived else "the tolerance"
    if judgement.outcome == RIGHT:
        return f"{all_entries} within {limit}; {digits_of(comparison)}", ""
    count = int(comparison.no_correct_digit.sum())
    return (
        f"{all_entries} within {limit}, yet {counted(count, 'entry')} {'has' if count == 1 else 'have'} no correct "
        "digit. (P_i E_i - Q_i O_i) / (1 + s) keeps them, where S - y cancels"
    ), ""


def _of_loss(judgement: Judgement, why: str) -> tuple[str, str]:
    """What is so, and a remark on it."""
    yours, exact = float(judgement.comparison.candidate[0]), float(judgement.comparison.reference[0])
    negative = " A loss is never negative: log S is not positive, and the loss is its negative."
    return {
        WRONG: (f"the loss is {exact!r}, not {yours!r}", negative if yours < 0 else ""),
        UNDECIDED: (f"the loss is {exact!r}; {why}", ""),
        DIGITS_LOST: (f"the loss is {exact!r}, and {yours!r} has no digit of it", ""),
        RIGHT: (f"the loss, {digits_of(judgement.comparison)}", ""),
    }[judgement.outcome]


def _why_undecided(problem: Problem, judgement: Judgement, tolerance: Tolerance, decimals: int | None) -> str:
    if not np.all(judgement.certified):
        return "the exact value could not be certified"
    if decimals is not None:
        return f"{decimals} decimals resolve no entry, or rounding alone exceeds half of each"
    if problem.n_inputs < SHORT:
        return f"{tolerance.precision} does not resolve numbers of this size: rounding may exceed half of every entry"
    return (
        f"the sum of {problem.n_inputs} products in a logit is not resolved in {tolerance.precision}: rounding alone "
        "may exceed half of every entry. --rtol decides, or --summation if you know how it was formed"
    )


def _allowed(judgement: Judgement, tolerance: Tolerance) -> str:
    """The bound that was used, as a part of the value for the entry where it is widest."""
    kind = f"bound for {tolerance.precision}" if tolerance.derived else "tolerance"
    if tolerance.derived and tolerance.stored_as is not None:
        kind += f" stored as {tolerance.stored_as}"
    if not judgement.comparison.reference.any():
        return f"{kind}: {with_digits(float(judgement.comparison.bound.max()), 2)}; every exact value is 0"
    return f"{kind}: {with_digits(judgement.relative_bound, 2)} of an entry at most"


def digits_of(comparison: Comparison) -> str:
    """How many digits of the worst entry are correct; past fifteen the last bit decides, and it may vary."""
    digits = int(comparison.correct_digits.min())
    return f"{how_many_correct(digits)} correct digit{'' if digits == 1 else 's'}"
