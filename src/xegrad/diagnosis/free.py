"""Explanations with a number to find: on a line, or between two values of a grid."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from msgspec.structs import replace

from xegrad import bounds
from xegrad.diagnosis.case import GRIDDED, Case, Finding, Step, View, gradient_of, prediction
from xegrad.diagnosis.fixed import is_stored, without_free
from xegrad.slips import SLIPS, STAGES, Slip
from xegrad.slips.draft import Draft, Gradient, right, stack
from xegrad.slips.entry import Parameters
from xegrad.slips.gradients import CLIPPED_AT_LEAST, named_factors
from xegrad.targets import Array

NUMBERS = 100_000  # of the grid of a free number; larger problems have a coarser one
COARSEST = 13  # of its values


def stored_pairs(case: Case) -> Iterator[Finding]:
    """Of a candidate that is float32, or has so many decimals, in every entry: the singles by that measure."""
    slip = SLIPS["low-precision"]
    for given in slip.choices(case.right):
        if given.get("format", "float32") != "float32" or not is_stored(case, given):
            continue
        other = copy.copy(case)
        other._seen = {}
        if "decimals" in given:
            other.resolution = np.full_like(case.resolution, 0.5 * 10.0 ** -int(given["decimals"]))
        else:
            other.tolerance = replace(case.tolerance, precision="float32")
            name = case.right.name
            other.right = right(case.right.problem, name, "float32", case.tolerance.terms)
            bound = bounds.stable(
                case.right.problem, (name,), precision="float32", terms=case.tolerance.terms
            ).gradients[name]
            other.exact = Gradient(case.exact.values, bound.reshape(case.shape))
            other.__dict__.pop("singles", None)
            other.grids = {}
        for finding in (*without_free(other), *scaled(other, other.exactly, ())):
            if finding.free or not other.has_evidence(finding) or finding.steps[0][0] is slip:
                continue

            def widened(rows: Any, finding: Finding = finding, other: Case = other) -> Gradient:
                gradient = finding.predict(rows)
                open_ = other.seen(finding.view, rows)[1] / 2
                return Gradient(gradient.values, gradient.bound + open_)

            yield finding._replace(steps=(*finding.steps, (slip, given)), predict=widened)
        return


def _interval(
    case: Case, offset: Gradient, direction: Gradient, view: View, rows: Any
) -> tuple[Array, Array]:
    """Between what k lies if the candidate is offset + k direction, for each of a stack; empty if lower > upper.

    |C - P - k D| <= allowed holds for k between (C - P - allowed) / D and (C - P + allowed) / D.  The bound
    depends on k: it is taken at the k of the entry that knows it best, from which none that fits is far.
    """
    values, resolution = case.seen(view, rows)
    difference, slope = values - offset.values, direction.values
    open_ = offset.bound + direction.bound + resolution
    flat = (*np.broadcast_shapes(difference.shape, slope.shape)[:-2], -1)
    sharp = np.where(slope != 0, np.abs(slope) / open_, -1)
    sharp = np.broadcast_to(sharp, np.broadcast_shapes(difference.shape, slope.shape)).reshape(flat)
    best = np.nan_to_num(sharp, nan=-1).argmax(axis=-1)[..., None]
    quotient = np.broadcast_to(difference / slope, (*flat[:-1], *values.shape)).reshape(flat)
    guess = np.abs(np.take_along_axis(quotient, best, axis=-1))[..., None]
    size = offset.bound + guess * direction.bound + 2 * case.right.u * guess * np.abs(slope)
    allowed = case.allowed(Gradient(offset.values + guess * slope, size), resolution, 2)
    ends = (difference - allowed) / slope, (difference + allowed) / slope
    lower = np.where(slope != 0, np.minimum(*ends), -np.inf).max(axis=(-2, -1))
    upper = np.where(slope != 0, np.maximum(*ends), np.inf).min(axis=(-2, -1))
    fits = (np.isfinite(allowed) & ((slope != 0) | (np.abs(difference) <= allowed))).all(axis=(-2, -1))
    fits &= np.isfinite(lower) & np.isfinite(upper)
    return np.where(fits, lower, np.inf), np.where(fits, upper, -np.inf)


def scaled(
    case: Case,
    predict: Callable[[Any], Gradient],
    steps: tuple[Step, ...],
    view: View | None = None,
    gradient: Gradient | None = None,
) -> Iterator[Finding]:
    """k times a gradient, but for 1, which is no slip, and -1, which is another."""
    if case.turned and view is None:
        return
    view = view or View((), 1)
    gradient = gradient or predict(case.rows)
    zero = Gradient(np.zeros_like(gradient.values), np.zeros_like(gradient.values))
    lower, upper = (float(end) for end in _interval(case, zero, gradient, view, case.rows))
    values = case.values
    if not lower <= upper or lower <= 1 <= upper or lower <= -1 <= upper or (values == values[0]).all():
        return
    full = predict(case.everything)
    zero = Gradient(np.zeros_like(full.values), np.zeros_like(full.values))
    lower, upper = (float(end) for end in _interval(case, zero, full, view, case.everything))
    if not lower <= upper:
        return
    slip = SLIPS["scaled"]
    named = {
        ("-" if sign < 0 else "") + name: sign * value
        for sign in (1, -1)
        for name, value in named_factors(case.right, full.values).items()
        if lower <= sign * value <= upper
    }
    k = next(iter(named.values()), (lower + upper) / 2)
    given: Parameters = {"k": k, **({"named": ", ".join(named)} if named else {})}

    yield Finding(
        (*steps, (slip, given)), view, 0 if named else 1, _times(case, predict, k), {"k": (lower, upper)}
    )


def scaled_pairs(case: Case) -> Iterator[Finding]:
    """A multiple of what another slip makes."""
    for view in case.views:
        if len(view.steps) == 1 and view.sign > 0:
            yield from scaled(case, case.exactly, view.steps, view)
    if case.turned:
        return
    zero = Gradient(np.zeros(()), np.zeros(()))
    for group in case.singles:
        lower, upper = _interval(case, zero, group.gradient, View((), 1), case.rows)
        for k in np.flatnonzero(lower <= upper).tolist():
            if case.is_paired(group.steps[k][0]):
                yield from scaled(case, prediction(case, group, k), group.steps[k])


def _on_lines(
    case: Case, slip: Slip, predict: Callable[[Any], Gradient], steps: tuple[Step, ...], view: View
) -> Iterator[Finding]:
    """Weight decay and updated weights: a line through a gradient, or from W."""
    if case.parameter is None or slip.line is None or case.turned:
        return

    def lines(rows: Any) -> tuple[Gradient, Gradient]:
        assert slip.line is not None and case.parameter is not None
        # The layout and the sign come before W is added, so W is seen through them as the candidate is.
        made = view.sign * case.parameter.ravel()[case.places(view, rows)]
        line = slip.line(case.right, predict(rows), made)
        return line.offset, line.direction

    for rows in {id(rows): rows for rows in (case.rows, case.everything)}.values():
        lower, upper = (float(end) for end in _interval(case, *lines(rows), view, rows))
        if not lower <= upper or (lower <= 0 <= upper and slip.name != "weights-updated"):
            return
    k = (lower + upper) / 2

    def on_line(rows: Any) -> Gradient:
        offset, direction = lines(rows)
        values = offset.values + k * direction.values
        rounding = 2 * case.right.u * np.abs(k * direction.values)
        return Gradient(values, offset.bound + abs(k) * direction.bound + rounding)

    given = {str(slip.free): k}
    yield Finding((*steps, (slip, given)), view, 1, on_line, {str(slip.free): (lower, upper)})


def _smoothed(case: Case, draft: Draft, steps: tuple[Step, ...], view: View) -> Iterator[Finding]:
    """Targets smoothed by eps, which is between 0 and 1."""
    slip = SLIPS["label-smoothed"]
    assert slip.direction is not None and slip.draft is not None
    slope = slip.direction(draft)
    gradients = case.pulled(draft, case.rows), case.pulled(slope, case.rows)
    for k, (lower, upper) in enumerate(zip(*_interval(case, *gradients, view, case.rows), strict=True)):
        if 0 < lower <= upper and lower <= 1:
            eps = float(min((lower + upper) / 2, 1.0))
            one = stack([draft.take(slice(k, k + 1))])
            predict = gradient_of(case, stack([slip.draft(one, {"eps": eps})]))
            found = (slip, {"eps": eps})
            widths = {"eps": (float(lower), float(upper))}
            yield Finding((*(steps or ()), found), view, 1, predict, widths)


def _clip(
    case: Case, predict: Callable[[Any], Gradient], steps: tuple[Step, ...], view: View
) -> Iterator[Finding]:
    """Clipped at the largest entry, if there are two such, and in a pair one that is smaller."""
    size = np.abs(case.values)
    limit, slip = float(size.max()), SLIPS["clipped"]
    at_limit = int((size == limit).sum())
    # With two classes the entries of a row differ in their sign alone: they count once.
    different = at_limit // 2 if case.right.problem.n_classes == 2 else at_limit
    if (
        different < CLIPPED_AT_LEAST
        or (case.values == case.values[0]).all()
        or (steps and at_limit == size.size)
    ):
        return

    def clipped(rows: Any) -> Gradient:
        assert slip.gradient is not None
        return slip.gradient(case.right, predict(rows), {"limit": limit})

    if case.fits(clipped(case.rows), view, case.rows).all():
        given: Parameters = {"limit": limit, "at_limit": at_limit}
        yield Finding((*steps, (slip, given)), view, 1, clipped, {"limit": (limit, limit)})


def with_free(case: Case) -> Iterator[Finding]:
    """One slip with a free number, but for a scale."""
    identity = View((), 1)
    if case.turned or (case.values == case.values[0]).all():
        return
    for slip in SLIPS.values():
        yield from (
            _on_lines(case, slip, case.exactly, (), identity) if slip.line and slip.name != "scaled" else ()
        )
    yield from _smoothed(case, case.right, (), identity)
    yield from _clip(case, case.exactly, (), identity)
    yield from _between(case, [((), case.right)], identity)


def pairs_with_free(case: Case) -> Iterator[Finding]:
    """One slip with a free number and one without, but for a scale; a named scale under weight decay."""
    if (case.values == case.values[0]).all():
        return
    adding = [SLIPS["weight-decay-included"], SLIPS["weights-updated"]]
    for view in case.views:
        if len(view.steps) == 1:
            for slip in adding:
                yield from _on_lines(case, slip, case.exactly, view.steps, view)
            yield from _with_view(_smoothed(case, case.right, (), view), view)
            yield from _clip(case, case.exactly, view.steps, view)
            if case.has_at_most(GRIDDED):
                yield from _with_view(_between(case, [((), case.right)], view), view)
    if case.turned:
        return
    identity = View((), 1)
    for name, factor in named_factors(case.right, case.exact.values).items():
        step: Step = (SLIPS["scaled"], {"k": factor, "named": name})
        yield from _on_lines(case, adding[0], _times(case, case.exactly, factor), (step,), identity)
    bases: list[tuple[tuple[Step, ...], Draft]] = []
    for group in case.singles:
        before = STAGES.index(group.steps[0][0][0].stage) < STAGES.index("target")
        for k, steps in enumerate(group.steps):
            if not case.is_paired(steps[0]):
                continue
            predict = prediction(case, group, k)
            for slip in adding:
                yield from _on_lines(case, slip, predict, steps, identity)
            yield from _clip(case, predict, steps, identity)
            if before:
                yield from _smoothed(case, group.draft(k), steps, identity)
            if case.has_at_most(GRIDDED):
                bases.append((steps, group.draft(k)))
    yield from _between(case, bases, identity)


def _with_view(findings: Iterator[Finding], view: View) -> Iterator[Finding]:
    for finding in findings:
        yield finding._replace(steps=(*finding.steps, *view.steps))


def _times(case: Case, predict: Callable[[Any], Gradient], k: float) -> Callable[[Any], Gradient]:
    def times(rows: Any) -> Gradient:
        made = predict(rows)
        return Gradient(k * made.values, abs(k) * made.bound + 2 * case.right.u * np.abs(k * made.values))

    return times


def _between(case: Case, bases: Sequence[tuple[tuple[Step, ...], Draft]], view: View) -> Iterator[Finding]:
    """Temperature, eps of the logarithm, eta of a later evaluation; with one more step of the layer, or none."""
    for slip in SLIPS.values():
        if slip.grid is None or slip.draft is None:
            continue
        for given in slip.choices(case.right):
            for steps, base in bases:
                stages = [STAGES.index(step[0].stage) for step in steps]
                if STAGES.index(slip.stage) in stages:
                    continue
                before = not stages or stages[0] < STAGES.index(slip.stage)
                yield from _on_grid(case, slip, given, steps, base if before else None, view)


def _on_grid(
    case: Case, slip: Slip, given: Parameters, steps: tuple[Step, ...], base: Draft | None, view: View
) -> Iterator[Finding]:
    """Bracketed on the grid by every entry, refined at the one that tells most, and judged in all again."""
    free, grid = str(slip.free), slip.grid
    assert grid is not None
    most = max(COARSEST, NUMBERS // case.right.logits.size)
    grid = grid[:: max(1, math.ceil(grid.size / most))]

    def drafts(numbers: Array) -> Draft:
        assert slip.draft is not None
        values: Any = numbers[:, None, None]
        key = (slip.name, tuple(given.items()))
        if (base is not None and steps) or numbers is not grid:
            made = slip.draft(base or case.right, {**given, free: values})
        else:  # the same for every view and for every step after it
            if key not in case.grids:
                case.grids[key] = slip.draft(case.right, {**given, free: values})
            made = case.grids[key]
        if base is None:
            after, parameters = steps[0]
            assert after.draft is not None
            made = after.draft(made, parameters)
        return made

    def gradients(numbers: Array) -> Gradient:
        return case.pulled(drafts(numbers), case.rows)

    values, resolution = case.seen(view, case.rows)
    made = gradients(grid)
    if made.values.shape[:-2] != grid.shape:  # the step after it does not depend on what it changes
        return
    # Between two values of the grid each entry of one that fits lies between its two ends, give or take as
    # much again, and what it curves: an entry need not be monotone there.
    steps_up = np.diff(made.values, axis=0)
    curved = np.zeros_like(made.values)
    curved[1:-1] = np.abs(np.diff(steps_up, axis=0))
    slack = np.abs(steps_up) + np.maximum(curved[1:], curved[:-1])
    slack = slack + 2 * (made.bound[1:] + made.bound[:-1]) + resolution
    low, high = np.minimum(made.values[1:], made.values[:-1]), np.maximum(made.values[1:], made.values[:-1])
    exact = case.exactly(case.rows)
    apart = np.abs(made.values - exact.values) > 2 * (made.bound + exact.bound)
    told = np.asarray(apart.any(axis=(-2, -1)))  # else it is no slip, and any number is as good
    there = ((values >= low - slack) & (values <= high + slack)).all(axis=(-2, -1))
    brackets = np.flatnonzero(there & (told[1:] | told[:-1]))
    if not brackets.size:
        return
    # The entry that tells most there: of the largest step, counted in bounds.
    telling = np.abs(steps_up) / (made.bound[1:] + made.bound[:-1] + resolution)
    entries = np.nan_to_num(telling[brackets]).reshape(brackets.size, -1).argmax(axis=-1)
    row, column = np.divmod(entries, values.shape[1])
    each = np.arange(brackets.size)

    def error(numbers: Array) -> Array:
        difference: Array = gradients(numbers).values[each, row, column] - values[row, column]
        return difference

    for number in _roots(error, grid[brackets], grid[brackets + 1]):
        yield from _near(case, (slip, given), steps, drafts, float(number), view)


def _near(
    case: Case,
    found: Step,
    steps: tuple[Step, ...],
    drafts: Callable[[Array], Draft],
    number: float,
    view: View,
) -> Iterator[Finding]:
    """Every entry lets the number move a little along its slope: what all allow, if it is not "no slip"."""
    slip, given = found
    ends = np.array([number, number * (1 + 2.0**-20)])
    two = case.pulled(drafts(ends), case.rows)
    if not np.isfinite(two.values).all():
        return
    offset = Gradient(two.values[0], two.bound[0])
    slope = (two.values[1] - two.values[0]) / (ends[1] - ends[0])
    lower, upper = (
        float(end) for end in _interval(case, offset, Gradient(slope, np.zeros_like(slope)), view, case.rows)
    )
    nothing = 1.0 if slip.name == "temperature" else 0.0
    if not lower <= upper or number + lower <= nothing <= number + upper:
        return
    lower, upper = number + lower, number + upper
    number = (lower + upper) / 2
    predict = gradient_of(case, stack([drafts(np.array([number]))]))
    here = (slip, {**given, str(slip.free): number})
    widths = {str(slip.free): (lower, upper)}
    yield Finding((*steps, here), view, 1, predict, widths)


def _roots(error: Callable[[Array], Array], low: Array, high: Array) -> Array:
    """Where the error changes its sign between each two numbers, by the Illinois method on their logarithms;
    where it does not, the end at which it is smaller."""
    left, right_ = np.log(low), np.log(high)
    at_left, at_right = error(low), error(high)
    changes = np.signbit(at_left) != np.signbit(at_right)
    ends = np.where(np.abs(at_left) < np.abs(at_right), low, high)
    middle = right_
    for _ in range(60):
        middle = right_ - at_right * (right_ - left) / (at_right - at_left)
        inside = (middle >= np.minimum(left, right_)) & (middle <= np.maximum(left, right_))
        middle = np.where(inside, middle, (left + right_) / 2)
        value = error(np.exp(middle))
        crossed = np.signbit(value) != np.signbit(at_right)
        close = np.abs(middle - right_) <= 2.0**-50 * np.abs(middle)
        left, at_left = np.where(crossed, right_, left), np.where(crossed, at_right, at_left / 2)
        right_, at_right = middle, value
        if (close | (value == 0) | ~changes).all():
            break
    return np.where(changes, np.exp(middle), ends)
