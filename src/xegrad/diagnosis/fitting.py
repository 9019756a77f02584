"""The free number of a slip, found from a candidate: on a line, between two values of a grid, or its largest entry."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xegrad.derivation import Cells, Gathered
from xegrad.diagnosis.search import EVERYTHING, NOTHING, Hypothesis, Search, Seen
from xegrad.numbers.rounded import Rounded, concatenated, stacked
from xegrad.slips import SLIPS, Slip
from xegrad.slips.entry import Parameters
from xegrad.slips.formulas import named_factors, smoothings
from xegrad.slips.making import Step, parts_of
from xegrad.targets import Array

CLIPPED_AT_LEAST = 2  # entries at the limit
NUMBERS = 100_000  # of the grid of a free number; larger problems have a coarser one
COARSEST = 13  # of its values


class Bases:
    """Hypotheses to which one more step may be added, and the derivation of each as a stack.

    Its G, (K, rows, columns), has the entries looked at first.
    """

    def __init__(self, search: Search, hypotheses: Sequence[Hypothesis], cells: Cells | None = None) -> None:
        self.search = search
        self.hypotheses = hypotheses
        if cells is None:
            right = search.right.broadcast_to((len(hypotheses), *search.right.shape))
            cells = search.cells.replace("G", right)
        self.cells = cells

    @staticmethod
    def together(several: Iterable[Bases]) -> Bases:
        """All hypotheses of several, for steps that follow from G alone."""
        parts = [(one.search, one.hypotheses, one.cells.G) for one in several]
        search, hypotheses, gradients = zip(*parts, strict=True)
        cells = search[0].cells.replace("G", concatenated(gradients))
        return Bases(search[0], [*itertools.chain(*hypotheses)], cells)

    def where(self, is_wanted: Callable[[Hypothesis], bool]) -> Bases:
        """The hypotheses that are wanted."""
        which = [k for k, hypothesis in enumerate(self.hypotheses) if is_wanted(hypothesis)]
        cells = self.cells.replace("G", self.cells.G[which])
        return Bases(self.search, [self.hypotheses[k] for k in which], cells)

    def with_step(self, step: Step) -> Cells:
        """The derivations with one more step in each."""
        cells = self.cells
        if step[0].stage == "added W":
            cells = cells.replace("parameter", self.parameter)
        return self.search.with_step(cells, step, self.search.screened)

    def after(self, step: Step, **fields: Any) -> Bases:
        """Each hypothesis with one more step."""
        hypotheses = [one.after(step, **fields) for one in self.hypotheses]
        return Bases(self.search, hypotheses, self.with_step(step))

    @cached_property
    def seen(self) -> Seen:
        """The candidate and what printing left open, with the arrangement of each undone."""
        parts = [self.search.seen(one, self.search.screened) for one in self.hypotheses]
        return np.stack([values for values, _ in parts]), np.stack([resolution for _, resolution in parts])

    @cached_property
    def parameter(self) -> Rounded:
        """W or b, as each hypothesis sees it."""
        search = self.search
        return stacked([search.parameter_seen(one, search.screened) for one in self.hypotheses])

    @property
    def fitting(self) -> Iterator[Hypothesis]:
        """The hypotheses that fit as they are."""
        fits = self.search.fits(self.cells.G, self.seen) if self.hypotheses else ()
        return itertools.compress(self.hypotheses, fits)


# On a line.


def open_interval(search: Search, at: Rounded, slope: Array, seen: Seen) -> tuple[Array, Array]:
    """Between what t lies if the candidate is `at` + t slope, for each of a stack; empty if lower > upper.

    |C - P - t D| <= allowed holds for t between (C - P - allowed) / D and (C - P + allowed) / D.
    """
    values, resolution = seen
    difference, allowed = values - at.value, search.allowed(at, resolution, 2)
    moves = slope != 0
    ends = (difference - allowed) / slope, (difference + allowed) / slope
    lower = np.where(moves, np.minimum(*ends), -np.inf).max(axis=(-2, -1))
    upper = np.where(moves, np.maximum(*ends), np.inf).min(axis=(-2, -1))
    fits = (np.isfinite(allowed) & (moves | (np.abs(difference) <= allowed))).all(axis=(-2, -1))
    fits &= np.isfinite(lower) & np.isfinite(upper)
    return np.where(fits, lower, np.inf), np.where(fits, upper, -np.inf)


def interval_on_line(bases: Bases, slip: Slip, form: Parameters) -> tuple[Array, Array]:
    """Between what the free number k lies if the candidate is f(k), linear in k, for each of a stack.

    f(0) and f(1) tell the slope, and the entry that knows k best about which k: there the bounds are those of f.
    """

    def formula(k: Any) -> Rounded:
        return bases.with_step((slip, {**form, str(slip.free): k})).G

    zero, one = formula(0.0), formula(1.0)
    slope = one.value - zero.value
    search, (values, resolution) = bases.search, bases.seen
    loose = search.allowed(zero, resolution, 2) + search.allowed(one, resolution, 2)
    sharp, quotient = np.broadcast_arrays(np.abs(slope) / loose, (values - zero.value) / slope)
    flat = (len(bases.hypotheses), -1)
    best = np.nan_to_num(np.where(slope != 0, sharp, -1), nan=-1).reshape(flat).argmax(axis=1)[:, None]
    guess = np.take_along_axis(quotient.reshape(flat), best, axis=1).ravel()
    lower, upper = open_interval(search, formula(guess[:, None, None]), slope, bases.seen)
    return guess + lower, guess + upper


def on_line(bases: Bases, slip: Slip, form: Parameters | None = None) -> Iterator[Hypothesis]:
    """Each of them with a slip more, whose free number is on a line; what is screened is fitted in all entries.

    A multiple by a constant that has a name has no free number.
    """
    name, search = str(slip.free), bases.search
    forms = slip.forms(search.cells)
    if search.is_constant or not forms:
        return
    kind = form or forms[0]
    if slip.is_in_layer and not search.is_affordable((slip, kind)):
        return
    for hypothesis, lower, upper in zip(bases.hypotheses, *interval_on_line(bases, slip, kind), strict=True):
        if _is_number(slip, lower, upper) and search.screened is not EVERYTHING:
            lower, upper = _in_all_entries(search, hypothesis, (slip, kind), (lower + upper) / 2)
        if _is_number(slip, lower, upper):
            named: Parameters = {}
            if slip.name == "scaled":
                factors = named_factors(search.cells, _if_its_norm_is_known(search.predicted(hypothesis)))
                named = _between(lower, upper, factors)
            number = float(lower + upper) / 2
            found = named or {**kind, name: min(number, slip.number.between[1])}
            widths = {name: (float(lower), float(upper))}
            yield hypothesis.after((slip, found), widths=widths, free=0 if named else 1)


def _if_its_norm_is_known(gradient: Rounded) -> Array:
    """The values, or 0 where errors are more than half of them: a norm that they may change is no constant."""
    is_known = np.linalg.norm(gradient.errors) <= np.linalg.norm(gradient.value) / 2
    return gradient.value if is_known else np.zeros(1)


def spreads(search: Search) -> list[Parameters]:
    """The formulas of smoothed targets that come near the candidate in values alone, for some eps: one or two of many.

    Each is on a line, m G(q S) - (1 - a eps) G(Q) - (d eps + d0) G(q) with m = 1, or the sum of the targets.
    """
    cells, slip = search.without_errors.cells, SLIPS["label-smoothed"]
    if len(forms := slip.forms(cells)) == 1:
        return [*forms]
    of_targets, of_ones = _targets_carried(search)
    of_s = search.right.value + of_targets
    known = smoothings(cells.problem.n_classes)
    taken, added, always, sums = np.array([known[form["spread"]] for form in forms]).T[..., None, None]
    n_classes = cells.problem.n_classes
    at_zero = of_s * (1 + sums * n_classes * always) - of_targets - of_ones * always
    slope = of_s * sums * (n_classes * added - taken) + of_targets * taken - of_ones * added
    return [*itertools.compress(forms, are_near(search, at_zero, slope))]


def _targets_carried(search: Search) -> tuple[Array, Array]:
    """Q and q carried back, without errors, to the entries looked at first."""
    cells, (rows, columns) = search.without_errors.cells, search.screened
    of_targets, of_ones = Gathered(cells, rows, columns), Gathered(cells, rows, columns)
    for part in parts_of(cells, rows):
        of_targets.add(part, part.Q)
        of_ones.add(part, part.q.broadcast_to(part.Q.shape))
    first, second = (search.rounded_twice_more(one.gradient).value for one in (of_targets, of_ones))
    return first, second


def are_near(search: Search, at_zero: Array, slope: Array) -> NDArray[np.bool_]:
    """Whether lines come near the candidate, in values alone."""
    values, resolution = search.seen(NOTHING, search.screened)
    slack = search.tolerance.allowed(values, search.excess * search.right.error, resolution)
    difference = values - at_zero
    ends = (difference - slack) / slope, (difference + slack) / slope
    lower, upper = np.minimum(*ends).max(axis=(-2, -1)), np.maximum(*ends).min(axis=(-2, -1))
    return np.asarray(~(lower > upper))


def z_losses(bases: Bases) -> Iterator[Hypothesis]:
    """Each of them with a z-loss, which is on a line from what is right: in a large problem if that comes near."""
    search, slip = bases.search, SLIPS["z-loss-included"]
    if search.is_large:
        at_one = search.without_errors.made((slip, {"lambda": 1.0}), search.screened).value
        if not are_near(search, search.right.value, at_one - search.right.value):
            return
    yield from on_line(bases, slip)


def _between(lower: float, upper: float, factors: Mapping[str, float]) -> Parameters:
    """The first of the constants in an interval, or of their negatives, and the names of all."""
    signed = {sign + name: -k if sign else k for sign in ("", "-") for name, k in factors.items()}
    named = {name: k for name, k in signed.items() if lower <= k <= upper}
    return {"k": next(iter(named.values())), "named": ", ".join(named)} if named else {}


def _is_number(slip: Slip, lower: float, upper: float) -> bool:
    """Whether an interval holds a number that the slip may have, and not the one that is no slip."""
    least, most = slip.number.between
    if not least < lower <= upper or lower > most:
        return False
    if slip.name == "scaled" and lower <= -1 <= upper:  # which is another
        return False
    nothing = slip.number.nothing
    return nothing is None or not lower <= nothing <= upper


def _in_all_entries(search: Search, hypothesis: Hypothesis, step: Step, k: float) -> tuple[float, float]:
    """What all entries leave of the interval around k."""
    slip, form = step
    forms = ({**form, str(slip.free): number} for number in (0.0, 1.0, k))
    at_zero, at_one, at_k = (hypothesis.after((slip, one)) for one in forms)
    slope = search.without_errors.predicted(at_one).value - search.without_errors.predicted(at_zero).value
    lower, upper = open_interval(search, search.predicted(at_k), slope, search.seen(hypothesis))
    return k + float(lower), k + float(upper)


# The largest entry.


def clipped(bases: Bases) -> Iterator[Hypothesis]:
    """Clipped at the largest entry, if there are two such, and in a pair one that is smaller."""
    search, size = bases.search, np.abs(bases.search.values)
    limit = float(size.max())
    at_limit = int((size == limit).sum())
    # With two classes the entries of a row differ in their sign alone: they count once.
    different = at_limit // 2 if search.cells.problem.n_classes == 2 else at_limit
    if different < CLIPPED_AT_LEAST or search.is_constant:
        return
    step = SLIPS["clipped"], {"limit": limit, "at_limit": at_limit}
    for hypothesis in bases.after(step, widths={"limit": (limit, limit)}, free=1).fitting:
        if at_limit < size.size or len(hypothesis.steps) == 1:
            yield hypothesis


# Between two values of a grid.


def on_grid(search: Search, slip: Slip, form: Parameters) -> Iterator[Hypothesis]:
    """Bracketed on the grid by every entry, refined at the one that tells most, and judged in all again.

    Brackets and roots are sought without errors, which cost as much again several times.
    """
    if search.is_constant or search.has_transposed_shape:  # the second only spares the time
        return
    name, grid = str(slip.free), slip.number.grid
    assert grid is not None
    most = max(COARSEST, NUMBERS // search.n_logits)
    grid = grid[:: max(1, math.ceil(grid.size / most))]

    def value_at(numbers: Array) -> Array:
        if search.is_large:
            search.without_errors.each_made([(slip, {**form, name: number}) for number in numbers.tolist()])
        hypothesis = Hypothesis(((slip, {**form, name: numbers[:, None, None]}),))
        return search.without_errors.predicted(hypothesis, search.screened).value

    values, resolution = search.seen(NOTHING, search.screened)
    right, made = search.right, value_at(grid)
    # Between two values of the grid each entry of one that fits lies between its two ends, give or take as
    # much again, what it curves (an entry need not be monotone there), and its error, in excess.
    steps_up = np.diff(made, axis=0)
    curved = np.zeros_like(made)
    curved[1:-1] = np.abs(np.diff(steps_up, axis=0))
    slack = np.abs(steps_up) + np.maximum(curved[1:], curved[:-1]) + search.excess * right.error + resolution
    low, high = np.minimum(made[1:], made[:-1]), np.maximum(made[1:], made[:-1])
    there = ((values >= low - slack) & (values <= high + slack)).all(axis=(-2, -1))
    # Where it does not differ from right it is no slip, and any number is as good.
    differs = (np.abs(made - right.value) > 4 * right.error).any(axis=(-2, -1))
    brackets = np.flatnonzero(there & (differs[1:] | differs[:-1]))
    if not brackets.size:
        return
    # The entry that tells most there: of the largest step, counted in bounds.
    telling = np.abs(steps_up) / (right.error + resolution)
    entries = np.nan_to_num(telling[brackets]).reshape(brackets.size, -1).argmax(axis=1)
    row, column = np.divmod(entries, values.shape[1])
    each = np.arange(brackets.size)

    def difference(numbers: Array) -> Array:
        return value_at(numbers)[each, row, column] - values[row, column]

    for root in _roots(difference, grid[brackets], grid[brackets + 1]).tolist():
        # Every entry lets the number move a little along its slope: what all allow, if it is not "no slip".
        ends = np.array([root, root * (1 + 2.0**-20)])
        first, second = value_at(ends)
        at = search.predicted(Hypothesis(((slip, {**form, name: root}),)), search.screened)
        slope = (second - first) / (ends[1] - ends[0])
        lower, upper = (root + float(end) for end in open_interval(search, at, slope, (values, resolution)))
        if _is_number(slip, lower, upper):
            step = slip, {**form, name: (lower + upper) / 2}
            yield Hypothesis((step,), widths={name: (lower, upper)}, free=1)


def _roots(error: Callable[[Array], Array], low: Array, high: Array) -> Array:
    """Where the error changes its sign between each two numbers, by the Illinois method on their logarithms;
    where it does not, the end at which it is smaller."""
    left, right = np.log(low), np.log(high)
    at_left, at_right = error(low), error(high)
    changes = np.signbit(at_left) != np.signbit(at_right)
    ends = np.where(np.abs(at_left) < np.abs(at_right), low, high)
    middle = right
    for _ in range(60):
        middle = right - at_right * (right - left) / (at_right - at_left)
        inside = (middle >= np.minimum(left, right)) & (middle <= np.maximum(left, right))
        middle = np.where(inside, middle, (left + right) / 2)
        value = error(np.exp(middle))
        crossed = np.signbit(value) != np.signbit(at_right)
        close = np.abs(middle - right) <= 2.0**-50 * np.abs(middle)
        left, at_left = np.where(crossed, right, left), np.where(crossed, at_right, at_left / 2)
        right, at_right = middle, value
        if (close | (value == 0) | ~changes).all():
            break
    return np.where(changes, np.exp(middle), ends)
