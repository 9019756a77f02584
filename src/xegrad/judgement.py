"""What a gradient from outside is: right, right without digits, wrong, or not to be decided.

It is measured against the exact values, by what a stable computation in its precision can give.

See docs/numerics.md, section 7, and docs/verify.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from xegrad import bounds, notebook
from xegrad.arrays import array_of, check_shape
from xegrad.claim import Reading
from xegrad.comparison import DIGIT, Comparison, numbers_of
from xegrad.methods import Evaluation, without_exact
from xegrad.naming import gradient_name
from xegrad.problem import Problem
from xegrad.reference import references
from xegrad.targets import Array
from xegrad.tolerance import Tolerance, tolerance_of
from xegrad.vocabulary import AXES

SAME = 2.0**-10  # of a bound: numbers that are no further apart
CLEAR = 7  # numbers that match by chance once or twice in 1000 times

RIGHT, DIGITS_LOST, WRONG, UNDECIDED = "right", "digits-lost", "wrong", "undecided"


class Judgement(msgspec.Struct, frozen=True, eq=False, dict=True):
    """A candidate against the exact values, or against what is known of them: the outcome follows from the comparison.

    Examples
    --------
    >>> judge(Problem([[1.0, -1.0]], [[3.0]], Targets([0])), [[1.0, 1.0]])
    Judgement(name='weights', outcome='wrong', comparison=Comparison(candidate=float64[1 x 2], agrees=False))
    """

    problem: Problem
    name: str  # of the gradient, or "loss"
    comparison: Comparison
    tolerance: Tolerance
    reference: Evaluation  # the exact values, or those that decided in their place
    reading: Reading = Reading()
    # The rows of a data set, of which `problem` is the layer alone: then nobody knows what a careful computation keeps,
    # and an entry that the bound leaves open is not right.
    of_rows: int | None = None

    __repr__ = notebook.one_line("name", "outcome", "comparison")

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Entries that nothing allowed explains."""
        wrong: NDArray[np.bool_] = self.comparison.beyond
        return wrong

    @property
    def relative_bound(self) -> float:
        """Of each exact value that is not 0, the bound as a part of it: the widest; 0 where all values are 0."""
        relative = self.comparison.relative_bounds
        return float(relative.max(initial=0, where=self.comparison.reference != 0))

    @property
    def bound_kind(self) -> str:
        """Whether it is derived, derived for roundings that are independent, or a house rule."""
        if not self.tolerance.derived:
            return "given"
        return "derived" if self.tolerance.confidence is None else "probabilistic"

    @property
    def is_open(self) -> bool:
        """Whether exact values that are known better could say more, of any entry or of the bound."""
        if self.comparison.open.any() or self.is_vacuous is None:
            return True
        if self.wrong.any():
            return False
        return bool(self._perhaps_lost.any()) or self.comparison.is_without_digits is None

    @cached_property
    def is_vacuous(self) -> bool | None:
        """Whether the bound exceeds half of every entry that is not 0, and catches nothing; None if that is open."""
        against = self.comparison
        if not self.tolerance.derived or against.has_any("resolved") or not against.perhaps_nonzero.any():
            return False
        return None if against.has_any("perhaps_resolved") or not against.nonzero.any() else True

    @property
    def lost(self) -> NDArray[np.bool_]:
        """Entries without a correct digit, though a careful computation in this precision has one (7.2)."""
        return self._lost[0]

    @property
    def _perhaps_lost(self) -> NDArray[np.bool_]:
        return self._lost[1]

    @cached_property
    def _lost(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Entries that are lost, and others that may be."""
        against = self.comparison
        lost, perhaps = against.no_correct_digit, against.perhaps_no_digit
        if self.name == "loss" or self.of_rows is not None or not perhaps.any():
            return lost, perhaps & ~lost
        entries = np.flatnonzero(perhaps)
        some = against.at(entries)
        size = np.abs(some.reference)
        for error in bounds.of_careful(self.problem, self.name, self.tolerance.arithmetic, entries):
            is_hidden = error > DIGIT * (size + some.error)
            if is_hidden.all():
                break
        is_lost = some.no_correct_digit & (error <= DIGIT * (size - some.error))
        lost, perhaps = np.zeros_like(lost), np.zeros_like(lost)
        lost.ravel()[entries], perhaps.ravel()[entries] = is_lost, ~(is_lost | is_hidden)
        return lost, perhaps

    @cached_property
    def hides_digits(self) -> bool:
        """Whether no entry has a correct digit, and printing left the first digit of each of them open."""
        against, resolution = self.comparison, self.reading.resolution
        if not np.any(resolution) or not against.is_without_digits:
            return False
        return bool((resolution > DIGIT * (np.abs(against.reference) + against.error)).all())

    @cached_property
    def exceeded(self) -> NDArray[np.bool_]:
        """Entries of the gradient of a data set whose bound exceeds them, or of which no digit is sure."""
        against = self.comparison
        if self.of_rows is None or not self.tolerance.derived:
            return np.zeros(against.reference.shape, dtype=bool)
        exceeds = against.perhaps_nonzero & ~(against.bound <= np.abs(against.reference) - against.error)
        exceeded: NDArray[np.bool_] = exceeds | against.perhaps_no_digit
        return exceeded

    @cached_property
    def outcome(self) -> str:
        """RIGHT, DIGITS_LOST, WRONG or UNDECIDED."""
        if self.wrong.any():
            return WRONG
        if self.exceeded.any():
            return UNDECIDED
        if self.is_vacuous or self.comparison.unbounded.any() or self.is_open or self.hides_digits:
            return UNDECIDED
        if self.lost.any():
            return DIGITS_LOST
        return UNDECIDED if self.comparison.is_without_digits else RIGHT

    @cached_property
    def pattern(self) -> str:
        """Where the wrong entries are: where, not why."""
        wrong = self.wrong
        count, total = int(wrong.sum()), wrong.size
        if count == 0:
            return "nowhere"
        if self.name == "loss":
            return "the loss"
        if count == 1:
            return "one entry"
        if self._is_shuffled:
            return "the same numbers in other places"
        if count == total:
            return "everywhere"
        for axis, other in ((1, 0), (0, 1)) if wrong.ndim == 2 else ():
            # Of a gradient of one row or column that would be everywhere.
            if wrong.any(axis=other).sum() == 1 and wrong.shape[axis] > 1:
                what = AXES[self.name][axis]
                return "one row of the batch" if what == "row" else f"one {what}"
        return "several entries"

    @property
    @np.errstate(invalid="ignore")  # of a NaN that signals, which bytes may hold
    def _is_shuffled(self) -> bool:
        """Whether the wrong entries hold each other's numbers: sorted, each is within the bound of its fellow.

        Where bounds are wide, other numbers would match too.  A number is clear if its bound and those of its
        neighbours do not overlap.  Of n others with the same distribution exactly one falls within a clear bound with
        a chance of at most (1 - 1/n)^(n - 1), which is 0.4 for n = 7 and less for more: 0.4^7 for `CLEAR` of them.
        """
        against, wrong = self.comparison, self.wrong
        parts = (against.candidate, against.reference, against.bound)
        candidate, reference, bound = (values[wrong] for values in parts)
        for end in (np.max, np.min):  # seen at once of most
            if not abs(end(candidate) - end(reference)) <= bound.max():
                return False
        order = np.argsort(reference)
        reference, bound = reference[order], bound[order]
        if not (np.abs(np.sort(candidate) - reference) <= bound).all():
            return False
        gap = np.diff(reference)
        # The same number twice is one; so are two that no claim tells apart, however well they are known.
        clear = (gap <= SAME * bound[1:]) | (gap > bound[:-1] + bound[1:])
        is_clear = np.append(True, clear) & np.append(clear, True)
        return bool((gap > SAME * bound[1:]).any()) and int(is_clear.sum()) >= min(CLEAR, reference.size)


def judge_by_cheapest(
    problem: Problem,
    candidate: Any,
    tolerance: Tolerance | None = None,
    resolution: Array | float = 0.0,
    with_respect_to: str = "weights",
    beside: Sequence[str] = (),
) -> Judgement:
    """A candidate judged by the cheapest values that decide; those of the gradients `beside` it are evaluated too."""
    of_candidate = () if str(with_respect_to) == "loss" else (gradient_name(with_respect_to),)
    tolerance = tolerance_of(problem, candidate, tolerance)
    for values in references(problem, tuple(dict.fromkeys((*beside, *of_candidate))), tolerance):
        judgement = judge(problem, values, candidate, tolerance, resolution, with_respect_to)
        if not judgement.is_open:
            break
    return judgement


@without_exact(judge_by_cheapest)
def judge(
    problem: Problem,
    exact: Evaluation,
    candidate: Any,
    tolerance: Tolerance | None = None,
    resolution: Array | float = 0.0,
    with_respect_to: str = "weights",
) -> Judgement:
    """A candidate gradient, in the library's layout, or a "loss", against the exact one.

    Parameters
    ----------
    exact : Evaluation
        Of the exact method.  `judge(problem, candidate)` takes the cheapest values that decide.
    candidate : (N, T)
        For bias (T,), inputs (B, N) and logits (B, T), for a loss a number; a list, an array, or a tensor of torch.
    tolerance : Tolerance
        By default that of the precision of the candidate's array.
    resolution : array or number
        What printing left open.
    with_respect_to : "weights", "bias", "inputs", "logits" or "loss"
        Also "W", "b" or "x".

    Raises
    ------
    InputError
        A candidate that is no array of numbers, or one of another size.

    Examples
    --------
    >>> problem = Problem([[1.0, -1.0]], [[3.0]], Targets([0]))
    >>> judge(problem, [[-0.0074, 0.0074]]).outcome
    'wrong'
    >>> judge(problem, [[-0.0074, 0.0074]], Tolerance(rtol=0.01)).outcome
    'right'
    """
    is_loss = str(with_respect_to) == "loss"
    name = "loss" if is_loss else gradient_name(with_respect_to)
    tolerance = tolerance_of(problem, candidate, tolerance)
    what = f"the {'loss' if is_loss else 'gradient'}"
    candidate, names = np.atleast_1d(array_of(what, candidate)), () if is_loss else (name,)
    bound = bounds.stable(problem, names, arithmetic=tolerance.arithmetic)
    reference = numbers_of(exact, name)
    check_shape(what, candidate.shape, reference.shape)
    if np.ndim(resolution := array_of("the resolution", resolution)):
        check_shape("the resolution", resolution.shape, reference.shape)
    allowed = tolerance.allowed(reference, numbers_of(bound, name), resolution)
    if (unknown := np.isnan(allowed)).any():
        allowed = np.where(unknown, np.inf, allowed)
    candidate = candidate.astype(np.float64, copy=False)
    comparison = Comparison(reference, candidate, allowed, _error(exact, name, tolerance))
    return Judgement(problem, name, comparison, tolerance, exact, Reading(resolution))


def _error(reference: Evaluation, name: str, tolerance: Tolerance) -> Any:
    """How far values may be from the exact ones as they are compared: rounded to float64, and what is allowed of a
    candidate may follow them (7.1); 0 where they are these, and infinite where nothing is known of it."""
    if reference.is_certain_of(name):
        return 0.0
    values = numbers_of(reference, name)
    error = np.abs(values)
    error *= 2 * bounds.PRECISIONS["float64"].u
    error += (reference.errors or {}).get(name, np.inf)
    error *= 1 + tolerance.slope
    flags = False if reference.certified is None else reference.certified[name]
    return np.where(flags, 0.0, error) if np.any(flags) else error


# What may narrow a bound, by the option that says so; the last is what errors of random sign would give.
NARROWER: Mapping[str, Mapping[str, Any]] = {
    "--summation pairwise": {"terms": bounds.pairwise},
    "--summation blocked=128": {"terms": bounds.blocked(128)},
    "--confidence 1e-9": {"confidence": 1e-9},
}


@np.errstate(all="ignore")
def narrower(problem: Problem, judgement: Judgement) -> dict[str, float]:
    """How many times narrower the derived bound of the median entry would be under each of these: 1 where it stays.

    Where there is no bound, or none would be narrower than by a tenth, nothing.  Of a large problem it is that of some
    rows and inputs.
    """
    name, tolerance = judgement.name, judgement.tolerance
    if not tolerance.derived or tolerance.terms is not bounds.any_order or tolerance.confidence is not None:
        return {}
    if judgement.of_rows is not None:
        return {}
    others = {option: replace(tolerance, **fields) for option, fields in NARROWER.items()}
    several = (tolerance, *others.values())
    entries, of_each = bounds.of_some(problem, name, [one.arithmetic for one in several])
    of_all: tuple[Any, Any] = judgement.comparison.reference, judgement.reading.resolution
    reference, resolution = (of[entries] if np.ndim(of) else of for of in of_all)
    now, *narrow = (
        one.allowed(reference, bound, resolution) for one, bound in zip(several, of_each, strict=True)
    )
    if not np.isfinite(np.median(now)):
        return {}
    times = {option: float(np.nanmedian(now / other)) for option, other in zip(others, narrow, strict=True)}
    return {option: many for option, many in times.items() if many > 1.1}
