"""The outcome of `xegrad verify`, in sentences: what it is, how many digits agree, what would have been caught."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from xegrad.claim import Reading
from xegrad.comparison import Comparison
from xegrad.display.numbers import MANY, agreeing, as_known, how_many_correct, with_digits
from xegrad.intermediates import Intermediates
from xegrad.judgement import DIGITS_LOST, RIGHT, UNDECIDED, WRONG, Judgement, narrower
from xegrad.naming import class_in_short, entry_of, input_in_short
from xegrad.nonfinite import cause_of_nonfinite
from xegrad.numbers.arithmetic import any_order
from xegrad.problem import Problem
from xegrad.targets import Array
from xegrad.tolerance import Tolerance
from xegrad.verification import Check, Verification
from xegrad.vocabulary import AXES, LOSS, SYMBOLS, count

SHORT = 64  # inputs: where a sum this short is not resolved, the numbers are to blame
COARSE = 3  # decimals: so few resolve nothing but a coarse error, which is said
# Digits fewer than in the median entry, and its part: the value of such an entry says why.
SMALL_BY, SMALL = 3, 0.1
SAMPLED = 2**16  # entries of many that the size of a median entry is taken from
MISSHAPEN = "WRONG: the gradient has another shape than it should have; below, its numbers are read in order."
APART = {  # what a gradient and a loss say together, of which one is wrong: by the outcome of the gradient
    RIGHT: "right gradient with wrong loss: the mistake is in the loss alone, such as its sign or a constant.",
    WRONG: "right loss with wrong gradient: the forward pass is right, and the mistake comes after it.",
}


def sentences(verification: Verification) -> dict[str, str]:
    """One for each judgement, and "both" where a gradient and a loss say more together."""
    problem, judgements = verification.problem, verification.judgements
    by_name = {name: outcome_sentence(problem, judgement) for name, judgement in judgements.items()}
    if verification.misshapen:
        return by_name | dict.fromkeys(verification.misshapen, MISSHAPEN)
    outcomes = [judgement.outcome for judgement in judgements.values()]
    outcomes = [RIGHT if outcome == DIGITS_LOST else outcome for outcome in outcomes]
    is_apart = len(outcomes) == 2 and LOSS in judgements and {*outcomes} == {RIGHT, WRONG}
    return by_name | {"both": APART[outcomes[0]]} if is_apart else by_name


def checks_sentence(checks: Sequence[Check]) -> str:
    """How xegrad's own methods did."""
    counting = [check for check in checks if not check.advisory]
    failed = [check.name for check in counting if not check.passed]
    if failed:
        return f"FAILED: {len(failed)} of {len(counting)} checks: {'; '.join(failed)}."
    return f"VERIFIED: all {len(counting)} checks passed."


def steps_sentence(steps: Intermediates) -> str:
    """The first step of the chain that is wrong, or that there is none, or of which steps nothing is known."""
    if steps.wrong is not None:
        return f"WRONG: {steps.wrong} is the first step that is wrong."
    if steps.undecided:
        named = ", ".join(steps.undecided)
        return f"UNDECIDED: no step is wrong, but rounding may exceed half of every entry of {named}, or has no bound."
    return f"RIGHT: {steps.right[0]} is right." if len(steps.right) == 1 else "RIGHT: all steps are right."


def outcome_sentence(problem: Problem, judgement: Judgement) -> str:
    """The outcome of a gradient or of a loss, how many digits agree, and what else can be known."""
    outcome = judgement.outcome
    parts = [_of_loss(judgement) if judgement.name == LOSS else _of_gradient(problem, judgement)]
    if outcome == UNDECIDED:
        is_loss = judgement.name == LOSS
        value = f"the loss is {_exact_loss(judgement)}; " if is_loss else ""
        parts = [f"{value}{_why_undecided(problem, judgement)}."]
    broken = int((~np.isfinite(judgement.comparison.candidate)).sum())
    if outcome == WRONG and broken and judgement.name != LOSS:
        cause = cause_of_nonfinite(judgement)
        are = "is" if broken == 1 else "are"
        parts.append(f"{count(broken, 'entry')} {are} not finite{f': {cause}' if cause else ''}.")
    is_known = bool(np.isfinite(judgement.comparison.error).all())
    if broken < judgement.comparison.candidate.size and (outcome == WRONG or is_known):
        parts.append(_agreement(problem, judgement))
    if outcome in (RIGHT, DIGITS_LOST):
        parts.append(_hidden(judgement))
        parts.append(_caught(judgement) if judgement.tolerance.derived else "")
    parts.append(_of_long_sums(problem, judgement))
    if judgement.name == LOSS and outcome == WRONG and float(judgement.comparison.candidate[0]) < 0:
        parts.append("A loss is never negative: log S is not positive, and the loss is its negative.")
    return f"{outcome.upper().replace('-', ' ')}{_if_independent(judgement)}: {' '.join(filter(None, parts))}"


def _if_independent(judgement: Judgement) -> str:
    """On what a probable bound depends."""
    if judgement.bound_kind != "probabilistic":
        return ""
    exact = float(judgement.tolerance.confidence or 0.0)
    chance = f"{exact:g}".replace("e-0", "e-")
    chance = chance if float(chance) == exact else repr(exact)  # 1 - 1e-16 is not 1
    return f" if rounding errors are independent, with probability 1 - {chance}"


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
    return f"The bound is that of long sums: {', '.join(parts)}."


def _of_gradient(problem: Problem, judgement: Judgement) -> str:
    """Whether a gradient is right, and how many of its entries are wrong."""
    comparison, tolerance = judgement.comparison, judgement.tolerance
    total = comparison.reference.size
    symbol = f"dL/d{SYMBOLS[judgement.name]}{_printed(judgement.reading)}"
    limit = _limit(tolerance)
    if judgement.outcome != WRONG:
        limit = limit.rstrip(",")
    else:
        wrong = int(judgement.wrong.sum())
        entries = f"in {wrong} of {count(total, 'entry')}"
        if wrong == total:
            entries = {1: "in its only entry", 2: "in both entries"}.get(total, f"in all {total} entries")
        is_wrong = f"is wrong {limit}" if tolerance.derived else f"is beyond {limit}"
        return f"{symbol} {is_wrong} {entries}{where(problem, judgement)}."
    if judgement.outcome == DIGITS_LOST:
        lost = int(judgement.lost.sum())
        within = f"the error bound {limit}" if tolerance.derived else limit
        have = "has" if lost == 1 else "have"
        return f"{symbol} is within {within}, but {lost} of {count(total, 'entry')} {have} no correct digit."
    return f"{symbol} is {'correct' if tolerance.derived else 'within'} {limit}."


def _of_loss(judgement: Judgement) -> str:
    """Whether a loss is right, and what it should be."""
    yours, exact = float(judgement.comparison.candidate[0]), _exact_loss(judgement)
    printed = _printed(judgement.reading)
    if judgement.outcome == WRONG:
        return f"the loss is {exact}, not {yours!r}{printed.rstrip(',')}."
    if judgement.outcome == DIGITS_LOST:
        return f"the loss is {exact}, and {yours!r} has no digit of it."
    is_right = "correct" if judgement.tolerance.derived else "within"
    return f"the loss{printed} is {is_right} {_limit(judgement.tolerance).rstrip(',')}."


def _exact_loss(judgement: Judgement) -> str:
    """The exact loss, with as many digits as are known of it."""
    comparison = judgement.comparison
    value = float(comparison.reference[0])
    return as_known(value, float(np.ravel(comparison.error)[0]), repr(value))


def where(problem: Problem, judgement: Judgement) -> str:
    """The entry, class, input or row that all wrong entries are in; nothing where they are in several."""
    pattern, indices = judgement.pattern, np.flatnonzero(judgement.wrong)
    if pattern == "one entry":
        return f", {entry_of(problem, judgement.name, int(indices[0]))}" if judgement.wrong.size > 1 else ""
    axis = {"one class": "class", "one input": "input", "one row of the batch": "row"}.get(pattern)
    if axis is None:
        return ""
    places = dict(zip(AXES[judgement.name], problem.place(judgement.name, int(indices[0])), strict=True))
    if axis == "input":
        return f", all in {input_in_short(problem, places[axis])}"
    name = class_in_short(problem, places[axis]) if axis == "class" else str(places[axis])
    return f", all in {axis} {name}"


def _so_many(reading: Reading) -> str:
    """To how many decimals or digits the text was printed: 8 decimals."""
    if reading.decimals is None:
        return "" if reading.digits is None else count(reading.digits, "digit")
    return count(reading.decimals, "decimal")


def _printed(reading: Reading) -> str:
    """How a text was read, between two commas."""
    printed = _so_many(reading)
    return f", read as printed to {printed}," if printed else ""


def _limit(tolerance: Tolerance) -> str:
    """For which precision it was judged, or by which tolerance."""
    if not tolerance.derived:
        rules = {"rtol": tolerance.rtol, "atol": tolerance.atol}
        said = " and ".join(f"{name} {value:g}" for name, value in rules.items() if value is not None)
        return f"the tolerance ({said})"
    if tolerance.recipe is not None:
        return f"for {tolerance.recipe}"
    what = {"inputs_as": "inputs", "logits_as": "logits", "residual_as": "dL/dlogits"}
    parts = [f", {words} as {other}" for field, words in what.items() if (other := getattr(tolerance, field))]
    summed = "" if tolerance.accumulate_in is None else f", sums in {tolerance.accumulate_in}"
    stored = (
        ""
        if tolerance.stored_as is None
        else f"{',' if parts or summed else ''} stored as {tolerance.stored_as}"
    )
    return f"for {tolerance.precision}{''.join(parts)}{summed}{stored}"


def _agreement(problem: Problem, judgement: Judgement) -> str:
    """How many digits agree: in the median entry, and in the worst of those that are wrong, or of all."""
    comparison = judgement.comparison
    digits, is_wrong = comparison.correct_digits.ravel(), judgement.wrong.ravel()
    # An exact 0 has no digits to agree in, and nobody knows in how many what is not known agrees.
    counted = ((comparison.reference != 0) & np.isfinite(comparison.error)).ravel() | is_wrong
    if not counted.any():
        return "Every exact value is 0."
    among = is_wrong if is_wrong.any() else counted
    n_with = np.cumsum([np.count_nonzero((digits == k) & counted) for k in range(int(digits.max()) + 1)])
    median, least = int(np.searchsorted(n_with, (n_with[-1] + 1) // 2)), int(digits[among].min())
    if n_with[-1] == 1:
        return f"{agreeing(least)}."
    if least >= MANY:
        return f"{agreeing(least)} in every entry."
    if median == 0:
        return f"{agreeing(median)} in the median entry."
    of_worst = "none" if least == 0 else str(least)
    if is_wrong.sum() == 1:
        return f"{agreeing(median)} in the median entry, {of_worst} in this one."
    worst = int(comparison.worst(1, among & (digits == least))[0])
    named, value = entry_of(problem, judgement.name, worst), float(comparison.reference.flat[worst])
    if median - least >= SMALL_BY and abs(value) < SMALL * median_size(comparison.reference):
        error = 0.0 if comparison.is_exact else float(np.ravel(comparison.error)[worst])
        named += f" (its value is {as_known(value, error, with_digits(value, 1))})"
    if median == least:
        return f"{agreeing(median)} in the median entry and in the worst, {named}."
    return f"{agreeing(median)} in the median entry, {of_worst} in the worst, {named}."


def _hidden(judgement: Judgement) -> str:
    """How many entries have no correct digit that no computation in this precision need have."""
    hidden, total = judgement.comparison.no_correct_digit & ~judgement.lost, judgement.lost.size
    if not hidden.any():
        return ""
    tolerance, which = judgement.tolerance, f"{int(hidden.sum())} of {count(total, 'entry')}"
    have, their = ("has", "its") if hidden.sum() == 1 else ("have", "their")
    arithmetic = "such mixed precision" if tolerance.is_mixed else tolerance.precision
    arithmetic = tolerance.recipe or arithmetic
    others = "more " if judgement.lost.any() else ""
    return f"{which} {have} no {others}correct digit: {arithmetic} does not resolve numbers of {their} size."


def median_size(values: Array) -> float:
    """The median magnitude of the entries; of many, that of a sample."""
    flat = values.ravel()
    return float(np.median(np.abs(flat[:: max(1, flat.size // SAMPLED)])))


def median_of(values: Array) -> float:
    """np.median of numbers; of many, only those near the median of a sample are put in order."""
    sample = np.sort(values[:: values.size // SAMPLED | 1])  # odd: of all classes
    low, high = sample[[49 * sample.size // 100, 51 * sample.size // 100]]
    near = values[(low <= values) & (values <= high)]
    before = np.count_nonzero(values < low)
    middle = [(values.size - 1) // 2 - before, values.size // 2 - before]
    if not 0 <= middle[0] <= middle[1] < near.size:
        return float(np.median(values))
    return float(np.partition(near, middle)[middle].mean())


def _caught(judgement: Judgement) -> str:
    """The error that is caught whatever rounding does, twice the bound: of the median entry and the largest."""
    comparison, decimals = judgement.comparison, judgement.reading.decimals
    if decimals is not None and decimals <= COARSE:
        return f"An error below {0.5 * 10.0**-decimals:g} could not have been caught."
    relative, n_entries = comparison.relative_bounds.ravel(), np.count_nonzero(comparison.reference)
    if not n_entries:
        return ""
    reference = comparison.reference.ravel()
    of_largest = relative[
        max(sorted((reference.argmax(), reference.argmin())), key=lambda k: abs(reference[k]))
    ]
    known = relative if n_entries == relative.size else relative[reference != 0]
    median, largest = (_part(2 * float(one)) for one in (median_of(known), of_largest))
    if n_entries == 1 and median:
        return f"An error of {median} would have been caught."
    both = "in the median entry and in the largest"
    if median == largest:
        if not median:
            return f"An error of its own size could have gone unnoticed {both}."
        return f"An error of {median} would have been caught {both}."
    if median and largest:
        return f"An error of {median} would have been caught in the median entry, and of {largest} in the largest."
    known, unknown = ("median entry", "largest") if median else ("largest entry", "median")
    unnoticed = f"in the {unknown} one of its own size could have gone unnoticed"
    return f"An error of {median or largest} would have been caught in the {known}; {unnoticed}."


def _part(relative: float) -> str:
    """1 in 10^6: the power of ten that a part does not exceed; nothing where it is more than the whole."""
    if not relative <= 1:
        return ""
    power = MANY if relative == 0 else min(MANY, math.floor(-math.log10(relative)))
    return {0: "its own size", 1: "1 in 10"}.get(power, f"1 in 10^{power}")


def _too_many_rows(judgement: Judgement) -> str:
    """Why nothing can be said of entries of a data set's gradient."""
    comparison, tolerance = judgement.comparison, judgement.tolerance
    exceeds = comparison.bound > np.abs(comparison.reference)
    n_exceeded, total = int((judgement.exceeded & exceeds).sum()), comparison.reference.size
    of_all = "the loss" if judgement.name == LOSS else f"{n_exceeded} of {count(total, 'entry')}"
    added = "in any order" if tolerance.terms is any_order else "in this order"
    because = f"the bound of a sum of {count(judgement.of_rows or 0, 'row')} {added} exceeds {of_all}"
    if not n_exceeded:
        hidden = int(judgement.exceeded.sum())
        have = "has" if hidden == 1 else "have"
        because = f"{hidden} of {count(total, 'entry')} {have} no digit that is sure"
    hint = (
        "; --summation pairwise or blocked=N narrows it, if it was formed so"
        if tolerance.terms is any_order
        else ""
    )
    return f"cannot tell at this size, because {because}{hint}"


def _unknown_sums(judgement: Judgement) -> str:
    """That nothing is known of some sums over the rows of a data set."""
    is_unknown = ~np.isfinite(judgement.comparison.error)
    n_unknown, size = np.count_nonzero(is_unknown), judgement.comparison.reference.size
    of_all = "the loss" if judgement.name == LOSS else f"{n_unknown} of {count(size, 'entry')}"
    return (
        f"cannot tell, because xegrad has no bound on its own sum over the rows for {of_all}: "
        "W or x is too large for that"
    )


def _why_undecided(problem: Problem, judgement: Judgement) -> str:
    """What leaves half of every entry open."""
    comparison, precision = judgement.comparison, judgement.tolerance.precision
    left_out = f": {judgement.reference.left_out}" if judgement.reference.left_out else ""
    if not np.isfinite(comparison.error).all():
        if judgement.of_rows is not None:
            return _unknown_sums(judgement)
        return f"the exact value could not be certified{left_out}"
    if judgement.exceeded.any():
        return _too_many_rows(judgement)
    if judgement.is_open:
        near = int(comparison.open.sum())
        if judgement.of_rows is not None:
            near_entries = f"{near} of {count(comparison.reference.size, 'entry')}"
            known = "as its own sum over the rows is not known that well"
            return f"cannot tell at this size, because xegrad cannot place {near_entries}, {known}"
        are = f"{count(near, 'entry')} {'is' if near == 1 else 'are'}" if near else "all entries are"
        return f"{are} so near the limit that the exact value would decide, and it is not known well enough{left_out}"
    is_loss = judgement.name == LOSS
    if unbounded := int(comparison.unbounded.sum()):
        there = "it" if is_loss else f"{unbounded} of {count(comparison.bound.size, 'entry')}"
        return f"in {precision} there is no error bound for {there}: --rtol decides"
    printed = _so_many(judgement.reading)
    if printed and (np.ravel(judgement.reading.resolution) > np.abs(comparison.reference).ravel() / 2).all():
        resolve = "resolves" if printed.startswith("1 ") else "resolve"
        return f"{printed} {resolve} no {'loss of this size' if is_loss else 'entry'}"
    if judgement.hides_digits:
        most, of_each = float(np.max(judgement.reading.resolution)), "the loss" if is_loss else "every entry"
        leave = "leaves" if not printed or printed.startswith("1 ") else "leave"
        opened = f"{printed or 'printing'} {leave} the first digit of {of_each} open"
        return f"{opened}: an error below {most:.2g} could not have been caught"
    if comparison.is_without_digits and not judgement.is_vacuous:
        return _hidden(judgement).rstrip(".")
    rounding = f"rounding{' and printing' if printed else ''} may exceed half of "
    half = rounding + ("the loss" if is_loss else "every entry")
    if problem.n_inputs < SHORT:
        return f"{precision} does not resolve numbers of this size: {half}"
    logits = f"the sum of {problem.n_inputs} products in a logit is not resolved in {precision}"
    return f"{logits}: {half}. --rtol decides, or --summation if you know how it was formed"


def digits_of(comparison: Comparison) -> str:
    """How many digits of the worst entry are correct; past fifteen the last bit decides, and it may vary."""
    digits = int(comparison.correct_digits.min())
    return f"{how_many_correct(digits)} correct digit{'' if digits == 1 else 's'}"
