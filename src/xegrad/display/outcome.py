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


def sentences(verification: Verification, decimals: Mapping[str, int | None]) -> dict[str, str]:
    """One for each judgement, and "both" where they say more together."""
    problem, tolerance = verification.problem, verification.tolerance
    by_name = {}
    for name, judgement in verification.judgements.items():
        if name == "loss":
            by_name[name] = loss_sentence(problem, judgement, tolerance, decimals[name])
        elif verification.misshapen:
            by_name[name] = MISSHAPEN
        else:
            by_name[name] = gradient_sentence(problem, name, judgement, tolerance, decimals[name])
    if len(by_name) == 2 and not verification.misshapen:
        gradient, loss = (judgement.outcome for judgement in verification.judgements.values())
        if both := both_sentence(gradient, loss):
            by_name["both"] = both
    return by_name


MISSHAPEN = (
    "WRONG: the gradient has a row where it should have a column; below, its numbers are read in order."
)


def checks_sentence(checks: Sequence[Check]) -> str:
    """How xegrad's own methods did."""
    counted = [check for check in checks if not check.advisory]
    failed = [check.name for check in counted if not check.passed]
    if failed:
        return f"FAILED: {len(failed)} of {len(counted)} checks: {'; '.join(failed)}."
    return f"VERIFIED: all {len(counted)} checks passed."


def gradient_sentence(
    problem: Problem, name: str, judgement: Judgement, tolerance: Tolerance, decimals: int | None
) -> str:
    """The outcome, how many entries, what was allowed, and why if that can be known."""
    comparison, symbol = judgement.comparison, f"dL/d{SYMBOLS[name]}"
    total = int(comparison.reference.size)
    printed = f", read as printed to {decimals} decimals" if decimals is not None else ""
    if judgement.outcome == WRONG:
        count = int(judgement.wrong.sum())
        where = {"everywhere": "", "one entry": f", at {_worst(problem, name, judgement)}"}.get(
            judgement.pattern, f", all in {judgement.pattern}" if judgement.pattern.startswith("one") else ""
        )
        sentence = (
            f"WRONG: {count} of {counted(total, 'entry')} {'differs' if count == 1 else 'differ'} from {symbol}{where} "
            f"({_allowed(judgement, tolerance)}{printed})."
        )
        broken = int((~np.isfinite(comparison.candidate)).sum())
        if broken:
            cause = cause_of_nonfinite(problem, tolerance.precision)
            sentence += (
                f" {counted(broken, 'entry').capitalize()} {'is' if broken == 1 else 'are'} not finite"
            )
            sentence += f": {cause}." if cause else "."
        return sentence
    if judgement.outcome == UNDECIDED:
        why = _why_undecided(problem, judgement, tolerance, decimals)
        return f"UNDECIDED: {why} ({_allowed(judgement, tolerance)}{printed})."
    what = "the only entry is" if total == 1 else f"all {total} entries of {symbol} are"
    within = f"{what} within {'what a stable computation can give' if tolerance.derived else 'the tolerance'}"
    if judgement.outcome == DIGITS_LOST:
        count = int(comparison.no_correct_digit.sum())
        return (
            f"DIGITS LOST: {within}, yet {counted(count, 'entry')} {'has' if count == 1 else 'have'} no correct digit. "
            f"(P_i E_i - Q_i O_i) / (1 + s) keeps them, where S - y cancels "
            f"({_allowed(judgement, tolerance)}{printed})."
        )
    return f"RIGHT: {within}; {digits_of(judgement.comparison)} ({_allowed(judgement, tolerance)}{printed})."


def loss_sentence(problem: Problem, judgement: Judgement, tolerance: Tolerance, decimals: int | None) -> str:
    """The same for a loss."""
    yours, exact = float(judgement.comparison.candidate[0]), float(judgement.comparison.reference[0])
    printed = f", read as printed to {decimals} decimals" if decimals is not None else ""
    allowed = f"{_allowed(judgement, tolerance)}{printed}"
    if judgement.outcome == WRONG:
        impossible = ""
        if yours < 0:
            impossible = " A loss is never negative: log S is not positive, and the loss is its negative."
        return f"WRONG: the loss is {exact!r}, not {yours!r} ({allowed}).{impossible}"
    if judgement.outcome == UNDECIDED:
        why = _why_undecided(problem, judgement, tolerance, decimals)
        return f"UNDECIDED: the loss is {exact!r}; {why} ({allowed})."
    if judgement.outcome == DIGITS_LOST:
        return f"DIGITS LOST: the loss is {exact!r}, and {yours!r} has no digit of it ({allowed})."
    return f"RIGHT: the loss, {digits_of(judgement.comparison)} ({allowed})."


def both_sentence(gradient: str, loss: str) -> str:
    """What a right gradient with a wrong loss means, and the reverse; nothing where they are alike."""
    good = (RIGHT, DIGITS_LOST)
    if gradient in good and loss == WRONG:
        return "right gradient with wrong loss: the mistake is in the loss alone, such as its sign or a constant."
    if gradient == WRONG and loss in good:
        return "right loss with wrong gradient: the forward pass is right, and the mistake comes after it."
    return ""


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


def _worst(problem: Problem, name: str, judgement: Judgement) -> str:
    return entry_of(problem, name, int(np.flatnonzero(judgement.wrong)[0]))
