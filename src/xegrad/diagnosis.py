"""Which slip, or pair, explains a candidate.

A slip explains a candidate if its own gradient, computed here with a bound on what rounding does to it, is the
candidate in every entry within twice that bound, and if the candidate holds enough numbers and enough digits
for that to be no accident.  What does not fit is not named.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, NamedTuple

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from xegrad import bounds, layer
from xegrad.comparison import Comparison
from xegrad.judgement import DIGITS_LOST, WRONG, Judgement, Tolerance
from xegrad.methods import Evaluation
from xegrad.problem import Problem
from xegrad.slips import SLIPS, STAGES, Slip
from xegrad.slips.draft import Draft, Gradient, ratio, right, stack
from xegrad.slips.entry import Parameters
from xegrad.slips.gradients import CLIPPED_AT_LEAST, in_format, named_factors, parameter, shape
from xegrad.targets import Array

EVIDENCE = 24.0  # bits
AT_MOST = 53.0  # bits of one entry
PROBED = 4096  # entries looked at before all are
SMALL = 4096  # logits; beyond them two steps of the layer are not tried together
GRIDDED = 100_000  # numbers of the grid of a free number; larger problems have a coarser one
COARSEST = 13
SENTENCES = ("which", "why")  # words of the texts that are no parameters
MOST_ROWS = 64  # rows of a batch whose label is tried, of those that the candidate points to

Step = tuple[Slip, Parameters]
Bracket = tuple[float, float]


class Explanation(msgspec.Struct, frozen=True, eq=False):
    """One slip, or two, that make exactly this candidate."""

    slips: tuple[str, ...]  # in order of application; none where only digits are lost
    parameters: Parameters
    texts: Mapping[str, str]  # the parameters for people: "1/B", or the digits that the candidate determines
    explains: int  # entries within the bound
    entries: int
    happened: str  # two lines for each slip
    wrong: str
    right: str
    remedy: str


class Diagnosis(msgspec.Struct, frozen=True, eq=False):
    """All explanations of the best rank: no free number before one, one slip before two."""

    explanations: tuple[Explanation, ...] = ()

    @property
    def names(self) -> tuple[tuple[str, ...], ...]:
        """The slips of each explanation."""
        return tuple(explanation.slips for explanation in self.explanations)


class View(NamedTuple):
    """A layout and a sign, undone: where each entry of the gradient is found in the candidate."""

    steps: tuple[Step, ...]
    sign: int


class Finding(NamedTuple):
    """Steps that fit where they were tried; `predict` makes their gradient, before the view, for some rows."""

    steps: tuple[Step, ...]
    view: View
    free: int
    predict: Callable[[Any], Gradient]
    widths: Mapping[str, Bracket]  # between what the free number lies


class Group(NamedTuple):
    """Drafts of one stage, or of two, as a stack: what was done to each, how to make it, and the gradients of
    the inputs looked at first."""

    steps: Sequence[tuple[Step, ...]]
    draft: Callable[[int], Draft]
    gradient: Gradient


class Case:
    """A candidate, and all that is computed once to explain it."""

    def __init__(
        self,
        problem: Problem,
        exact: Evaluation,
        candidate: Array,
        tolerance: Tolerance,
        resolution: Array | float,
        with_respect_to: str,
    ) -> None:
        self.tolerance = tolerance
        self.right = right(problem, with_respect_to, tolerance.precision, tolerance.terms)
        self.shape = shape(self.right)
        bound = bounds.stable(
            problem, (with_respect_to,), precision=tolerance.precision, terms=tolerance.terms
        ).gradients[with_respect_to]
        reference = exact.gradients[with_respect_to]
        self.exact = Gradient(reference.reshape(self.shape), bound.reshape(self.shape))
        # A W of N != T that arrives as T x N is transposed, or reshaped; any other layout has W's shape.
        self.turned = candidate.shape == self.shape[::-1] != self.shape
        self.values = candidate.astype(np.float64).ravel()
        self.resolution = np.broadcast_to(np.asarray(resolution, dtype=np.float64), candidate.shape).ravel()
        self.rows = self._rows()
        self.everything = self.rows if isinstance(self.rows, slice) else slice(None)
        kept = int((self.right.mass > 0).sum())
        n_inputs, others = self.right.problem.n_inputs, self.right.problem.n_classes - 1
        self.numbers = {
            "weights": min(n_inputs, kept) * others,
            "bias": min(1, kept) * others,
            "inputs": kept * min(n_inputs, others),
            "logits": kept * others,
        }[with_respect_to]
        updated = parameter(self.right)
        self.grids: dict[Any, Draft] = {}  # drafts with a free number, for each of its grid
        self.parameter = None if updated is None else updated.reshape(self.shape)

    def judgement(self, certified: bool) -> Judgement:
        """As `judge` has it, from the bound that is here already."""
        values, resolution = self.seen(View((), 1), slice(None))
        allowed = self.allowed(self.exact, resolution, 1)
        comparison = Comparison(reference=self.exact.values, candidate=values, bound=allowed)
        return Judgement(comparison=comparison, certified=certified, derived=self.tolerance.derived)

    def _rows(self) -> Any:
        """The inputs looked at first: those with the largest x, or all."""
        size = self.values.size
        if self.right.name not in ("weights", "inputs") or size <= PROBED:
            return slice(None)
        problem = self.right.problem
        count = max(1, PROBED * problem.n_inputs // size)
        return np.sort(np.argsort(-np.abs(problem.inputs).sum(axis=0), kind="stable")[:count])

    def indices(self, rows: Any) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Row and column of the entries that belong to some inputs, as they broadcast."""
        first, second = np.arange(self.shape[0])[:, None], np.arange(self.shape[1])
        if self.right.name == "inputs":
            return first, second[rows]
        return (first[rows], second) if self.right.name == "weights" else (first, second)

    def places(self, view: View, rows: Any) -> NDArray[np.intp]:
        """The flat index of each of those entries in the candidate."""
        i, k = self.indices(rows)
        for slip, given in view.steps:
            if slip.places is not None:
                return slip.places(self.right, given, i, k)
        return i * self.shape[1] + k

    def seen(self, view: View, rows: Any) -> tuple[Array, Array]:
        """The candidate and its resolution with the view undone."""
        if not view.steps and isinstance(rows, slice):
            return self.values.reshape(self.shape), self.resolution.reshape(self.shape)
        places = self.places(view, rows)
        return view.sign * self.values[places], self.resolution[places]

    def allowed(self, gradient: Gradient, resolution: Array, times: int) -> Array:
        """So many times the bound, and what printing left open."""
        allowed: Array = self.tolerance.allowed(gradient.values, times * gradient.bound, resolution)
        return allowed

    def shaped(self, gradient: Gradient) -> Gradient:
        """With b as one row."""
        if self.right.name != "bias":
            return gradient
        return Gradient(gradient.values[..., None, :], gradient.bound[..., None, :])

    def exactly(self, rows: Any) -> Gradient:
        """The right gradient of some inputs."""
        if isinstance(rows, slice):
            return self.exact
        i, k = self.indices(rows)
        return Gradient(self.exact.values[i, k], self.exact.bound[i, k])

    def pulled(self, draft: Draft, rows: Any) -> Gradient:
        """A draft's gradient."""
        return self.shaped(draft.pull_back(rows))

    @cached_property
    def views(self) -> list[View]:
        """No layout, or one of those known; each with either sign."""
        layouts: list[tuple[Step, ...]] = []
        for slip in SLIPS.values():
            if slip.places is not None:
                layouts += [((slip, given),) for given in slip.choices(self.right)]
        transposed, scrambled = SLIPS["transposed"], SLIPS["scrambled-reshape"]
        if self.turned:
            layouts = [((transposed, {}),), ((scrambled, {"form": "reshaped"}),)]
        elif self.shape[0] != self.shape[1]:
            layouts = [steps for steps in layouts if steps[0][0] is not transposed]
        if not self.turned:
            layouts.insert(0, ())
        flipped: Step = (SLIPS["sign-flipped"], {})
        return [View((*steps, flipped) if sign < 0 else steps, sign) for sign in (1, -1) for steps in layouts]

    @cached_property
    def is_small(self) -> bool:
        """Whether two steps of the layer are tried together, and free numbers with another step."""
        return self.right.logits.size <= SMALL and self.values.size <= 64 * SMALL

    @cached_property
    def singles(self) -> list[Group]:
        """Every step of the layer gone wrong without a free number: a stack for each stage where that is small."""
        groups = []
        for stage in STAGES:
            made: dict[bool, list[tuple[Step, Draft]]] = {}
            for step in self._steps(stage):
                draft = self.made(step)
                if not self.is_small:
                    groups.append(self.group([(step,)], draft, partial(self._again, step)))
                else:
                    made.setdefault(draft.uses_inputs, []).append((step, draft))
            for drafts in made.values():
                steps = [(step,) for step, _ in drafts]
                groups += [self.group(steps, stack([draft for _, draft in drafts]))]
        return groups

    def _again(self, step: Step, k: int) -> Draft:
        return self.made(step)

    def made(self, step: Step, draft: Draft | None = None) -> Draft:
        """One step gone wrong, as a stack."""
        slip, given = step
        assert slip.draft is not None
        return stack([slip.draft(draft or self.right, given)])

    def group(
        self, steps: Sequence[tuple[Step, ...]], draft: Draft, one: Callable[[int], Draft] | None = None
    ) -> Group:
        """Drafts with their gradients; a large draft is made again when it is needed."""
        return Group(steps, one or (lambda k: draft.take(slice(k, k + 1))), self.pulled(draft, self.rows))

    def _steps(self, stage: str) -> Iterator[Step]:
        for slip in SLIPS.values():
            if slip.stage == stage and slip.draft is not None and slip.free is None:
                yield from ((slip, given) for given in slip.choices(self.right))
                if slip.name == "wrong-label":
                    yield from ((slip, given) for given in self._pointed_labels())

    def _pointed_labels(self) -> list[Parameters]:
        """In a large problem: a wrong label of one row moves two columns and no other, and each of their
        rows with either label could be the one."""
        labels = self.right.problem.targets.label_of_rows
        hard, n_classes = int((labels >= 0).sum()), self.shape[1]
        if self.turned or self.right.name == "inputs" or hard * (n_classes - 1) <= 256:
            return []
        values, resolution = self.seen(View((), 1), self.rows)
        exact = self.exactly(self.rows)
        moved = np.abs(values - exact.values) > self.allowed(exact, resolution, 1)
        columns = np.flatnonzero(moved.any(axis=0)).tolist()
        if len(columns) != 2:
            return []
        rows = np.flatnonzero(np.isin(labels, columns))[:MOST_ROWS].tolist()
        return [
            {"row": row, "label": int(labels[row]), "instead": columns[int(columns[0] == labels[row])]}
            for row in rows
        ]

    def pairs(self) -> Iterator[Group]:
        """Two steps of the layer gone wrong, neither with a free number."""
        done: list[tuple[Step, Draft]] = []
        for stage in STAGES:
            steps = [step for step in self._steps(stage) if self.is_paired(step)]
            if done:
                earlier = stack([draft for _, draft in done])
                for step in steps:
                    both = [(before, step) for before, _ in done]
                    yield self.group(both, self.made(step, earlier))
            done += [(step, self.made(step)) for step in steps]

    def is_paired(self, step: Step) -> bool:
        """Not the label of one row of a batch: there are too many."""
        return self.right.problem.n_rows == 1 or "row" not in step[1]

    def fits(self, gradient: Gradient, view: View, rows: Any) -> NDArray[np.bool_]:
        """Whether every entry is within twice the bound; one answer for each of a stack."""
        values, resolution = self.seen(view, rows)
        allowed = self.allowed(gradient, resolution, 2)
        within = np.isfinite(allowed) & (np.abs(values - gradient.values) <= allowed)
        return np.asarray(within.all(axis=(-2, -1)))

    def has_evidence(self, finding: Finding) -> bool:
        """Enough numbers for the free ones, and enough digits that they agree in."""
        slips = [slip for slip, _ in finding.steps]
        adds_weights = any(slip.stage == "added W" for slip in slips)
        if self.numbers <= finding.free and (not adds_weights or len(slips) > 1):
            return False
        if adds_weights and self.values.size <= finding.free:
            return False
        # Entries that are added only add evidence, so those looked at first may be enough.
        gradient = finding.predict(self.rows)
        values, resolution = self.seen(finding.view, self.rows)
        bits = np.log2(np.abs(values) / self.allowed(gradient, resolution, 1)).ravel()
        bits = np.clip(np.where(values.ravel() == 0, 0, bits), 0, AT_MOST)
        needed = EVIDENCE
        if any(slip.name == "classes-permuted" for slip in slips):
            needed += math.lgamma(self.right.problem.n_classes + 1) / math.log(2)
        if bits.sum() - (bits.max() if finding.free else 0) < needed:
            return False
        rows = self.everything
        return bool(self.fits(finding.predict(rows), finding.view, rows).all())


@np.errstate(all="ignore")
def diagnose(
    problem: Problem,
    exact: Evaluation,
    candidate: Array,
    tolerance: Tolerance | None = None,
    resolution: Array | float = 0.0,
    with_respect_to: str = "weights",
) -> Diagnosis:
    """What explains a gradient that is wrong, or that has lost its digits.

    Parameters
    ----------
    exact : Evaluation
        Of the exact method.
    candidate : (N, T), or (T, N), or flat (N T,) in W's own order
        For bias (T,), inputs (B, N) and logits (B, T).
    tolerance : Tolerance
        As for `judge`.
    resolution : array or number
        What printing left open: half a unit of the last decimal.

    Returns
    -------
    Diagnosis
        Without an explanation if the candidate is right, not finite, or no known slip.

    Raises
    ------
    ValueError
        The candidate has more or fewer numbers than the gradient.
    """
    tolerance = tolerance or Tolerance()
    case = Case(problem, exact, np.asarray(candidate), tolerance, resolution, with_respect_to)
    if case.values.size != case.exact.values.size:
        raise ValueError(f"{case.values.size} numbers for a gradient of {case.exact.values.size}")
    if not np.isfinite(case.values).all():
        return Diagnosis()
    if not case.turned:
        judged = case.judgement(exact.is_certain_of(with_respect_to))
        if judged.outcome == DIGITS_LOST:
            return Diagnosis(_lost_digits(case, judged.comparison.digits_lost))
        if judged.outcome != WRONG:
            return Diagnosis()
    return Diagnosis(tuple(_explained(case, finding) for finding in _best(case)))


def _best(case: Case) -> list[Finding]:
    """Rank by rank; of the first that has any, all that fit, in the order of the table."""
    if not case.values.any():
        zero: Step = (SLIPS["all-zero"], {})
        return [Finding((zero,), case.views[0], 0, case.exactly, {})]
    singles = [*_without_free(case), *_scaled(case, case.exactly, ())]
    ranks: list[Callable[[], Iterator[Finding]]] = [
        lambda: (finding for finding in singles if not finding.free),
        lambda: (f for fs in ([f for f in singles if f.free], _with_free(case)) for f in fs),
    ]
    below_float32 = case.tolerance.stored_as in ("float16", "bfloat16")
    below_float32 |= case.tolerance.precision in ("float16", "bfloat16")
    if not below_float32:
        paired: list[Finding] = []

        def pairs(free: int) -> Iterator[Finding]:
            if not paired:
                paired.extend(_scaled_pairs(case))
            if not free:
                yield from _pairs(case)
            yield from (finding for finding in paired if bool(finding.free) == bool(free))
            if free:
                yield from _pairs_with_free(case)

        ranks += [lambda: pairs(0), lambda: pairs(1)]
    order = {name: index for index, name in enumerate(SLIPS)}
    for rank in ranks:
        found = [finding for finding in rank() if case.has_evidence(finding)]
        if found:
            found.sort(key=lambda f: [order[slip.name] for slip, _ in _in_order(f)])
            kept: dict[Any, Finding] = {}
            for finding in found:
                names = tuple(slip.name for slip, _ in _in_order(finding))
                # The forms of one slip are listed; those of a pair are one.
                given = finding.steps[0][1].items()
                forms = () if len(names) > 1 else tuple((k, v) for k, v in given if k not in finding.widths)
                kept.setdefault((names, forms), finding)
            return list(kept.values())
    return []


def _in_order(finding: Finding) -> list[Step]:
    return sorted(finding.steps, key=lambda step: STAGES.index(step[0].stage))


# Without a free number.


def _without_free(case: Case) -> Iterator[Finding]:
    identity = View((), 1)
    for view in case.views:
        if len(view.steps) == 1 and case.fits(case.exactly(case.rows), view, case.rows).all():
            yield Finding(view.steps, view, 0, case.exactly, {})
    if case.turned:
        return
    yield from _any_order(case, case.exactly, 1)
    for group in case.singles:
        yield from _of_group(case, group, identity)
    yield from _stored(case, case.exactly, ())


def _of_group(case: Case, group: Group, view: View) -> Iterator[Finding]:
    for k in np.flatnonzero(case.fits(group.gradient, view, case.rows)).tolist():
        yield Finding((*group.steps[k], *view.steps), view, 0, _predict(case, group, k), {})


def _predict(case: Case, group: Group, k: int) -> Callable[[Any], Gradient]:
    here = Gradient(group.gradient.values[k], group.gradient.bound[k])
    return lambda rows: here if rows is case.rows else _first(case.pulled(group.draft(k), rows))


def _gradient_of(case: Case, draft: Draft) -> Callable[[Any], Gradient]:
    return lambda rows: _first(case.pulled(draft, rows))


def _first(gradient: Gradient) -> Gradient:
    return Gradient(gradient.values[0], gradient.bound[0])


def _any_order(case: Case, predict: Callable[[Any], Gradient], sign: int) -> Iterator[Finding]:
    """Columns in any order: matched by a sum of their entries with generic positive weights, in sorted order."""
    if case.right.name == "inputs":
        return
    generic = np.random.default_rng(1).uniform(1, 2, case.shape[0])
    values = sign * case.values.reshape(case.shape)
    mine, yours = generic @ predict(slice(None)).values, generic @ values
    order = np.empty(case.shape[1], dtype=np.intp)
    order[np.argsort(yours)] = np.argsort(mine)
    named = [
        view.steps[0][1] for view in case.views if view.steps and view.steps[0][0].name == "classes-permuted"
    ]
    slip = SLIPS["classes-permuted"]
    i, k = case.indices(slice(None))
    places = i * case.shape[1] + np.argsort(order)[k]
    if any((slip.places(case.right, given, i, k) == places).all() for given in named if slip.places):
        return
    given: Parameters = {"order": " ".join(map(str, order.tolist()))}
    flipped: tuple[Step, ...] = ((SLIPS["sign-flipped"], {}),) if sign < 0 else ()
    view = View(((slip, given), *flipped), sign)
    if (order != np.arange(order.size)).any() and case.fits(predict(case.rows), view, case.rows).all():
        yield Finding(view.steps, view, 0, predict, {})


def _stored(case: Case, predict: Callable[[Any], Gradient], steps: tuple[Step, ...]) -> Iterator[Finding]:
    """The right numbers, each rounded to a format with fewer digits: only if every entry is one of its values."""
    slip = SLIPS["low-precision"]
    for given in slip.choices(case.right):
        if not _is_stored(case, given):
            continue

        def rounded(rows: Any, given: Parameters = given) -> Gradient:
            gradient = predict(rows)
            if given.get("format") == "float32":  # computed in it, too
                bound = bounds.stable(case.right.problem, (case.right.name,), precision="float32")
                wide = bound.gradients[case.right.name].reshape(case.shape)[case.indices(rows)]
                gradient = Gradient(gradient.values, np.maximum(gradient.bound, wide))
            if "decimals" in given:
                return Gradient(gradient.values, gradient.bound + 0.25 * 10.0 ** -int(given["decimals"]))
            assert slip.gradient is not None
            return Gradient(gradient.values, slip.gradient(case.right, gradient, given).bound)

        view = View((), 1)
        if case.fits(rounded(case.rows), view, case.rows).all():
            yield Finding((*steps, (slip, given)), view, 0, rounded, {})
            return


def _is_stored(case: Case, given: Parameters) -> bool:
    """Whether every entry is a value of the format, or of so many decimals; the first few are asked first."""
    formats, own = list(bounds.PRECISIONS), case.tolerance.stored_as or case.tolerance.precision
    if "decimals" in given:
        if case.resolution.any():
            return False
    elif formats.index(str(given["format"])) <= formats.index(own):
        return False
    for values in (case.values[:PROBED], case.values):
        if "decimals" in given:
            same = np.abs(np.round(values, int(given["decimals"])) - values) <= 4 * 2.0**-53 * np.abs(values)
        else:
            same = in_format(values, str(given["format"])) == values
        if not same.all():
            return False
    return True


def _pairs(case: Case) -> Iterator[Finding]:
    for view in case.views:
        if len(view.steps) == 2 and case.fits(case.exactly(case.rows), view, case.rows).all():
            yield Finding(view.steps, view, 0, case.exactly, {})
    if not case.turned:
        yield from _any_order(case, case.exactly, -1)
    for group in case.singles:
        for view in case.views:
            if len(view.steps) == 1:
                yield from (f for f in _of_group(case, group, view) if case.is_paired(f.steps[0]))
    if case.turned:
        return
    if case.is_small:
        for group in case.pairs():
            yield from _of_group(case, group, View((), 1))
    yield from _stored_pairs(case)


def _stored_pairs(case: Case) -> Iterator[Finding]:
    """Of a candidate that is float32, or has so many decimals, in every entry: the singles by that measure."""
    slip = SLIPS["low-precision"]
    for given in slip.choices(case.right):
        if given.get("format", "float32") != "float32" or not _is_stored(case, given):
            continue
        other = Case.__new__(Case)
        other.__dict__.update(case.__dict__)
        if "decimals" in given:
            other.resolution = np.full_like(case.resolution, 0.5 * 10.0 ** -int(given["decimals"]))
        else:
            other.tolerance = replace(case.tolerance, precision="float32")
            name = case.right.name
            other.right = right(case.right.problem, name, "float32", case.tolerance.terms)
            bound = bounds.stable(case.right.problem, (name,), precision="float32").gradients[name]
            other.exact = Gradient(case.exact.values, bound.reshape(case.shape))
            other.__dict__.pop("singles", None)
            other.grids = {}
        for finding in (*_without_free(other), *_scaled(other, other.exactly, ())):
            if finding.free or not other.has_evidence(finding) or finding.steps[0][0] is slip:
                continue

            def widened(rows: Any, finding: Finding = finding, other: Case = other) -> Gradient:
                gradient = finding.predict(rows)
                open_ = other.seen(finding.view, rows)[1] / 2
                return Gradient(gradient.values, gradient.bound + open_)

            yield finding._replace(steps=(*finding.steps, (slip, given)), predict=widened)
        return


# With a free number on a line.


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


def _scaled(
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
    lower, upper = (
        float(end)
        for end in _interval(
            case, replace(zero, values=0 * full.values, bound=0 * full.bound), full, view, slice(None)
        )
    )
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

    def times(rows: Any) -> Gradient:
        made = predict(rows)
        return Gradient(k * made.values, abs(k) * made.bound + 2 * case.right.u * np.abs(k * made.values))

    yield Finding((*steps, (slip, given)), view, 0 if named else 1, times, {"k": (lower, upper)})


def _scaled_pairs(case: Case) -> Iterator[Finding]:
    for view in case.views:
        if len(view.steps) == 1 and view.sign > 0:
            yield from _scaled(case, case.exactly, view.steps, view)
    if case.turned:
        return
    zero = Gradient(np.zeros(()), np.zeros(()))
    for group in case.singles:
        lower, upper = _interval(case, zero, group.gradient, View((), 1), case.rows)
        for k in np.flatnonzero(lower <= upper).tolist():
            if case.is_paired(group.steps[k][0]):
                yield from _scaled(case, _predict(case, group, k), group.steps[k])


def _on_lines(
    case: Case, slip: Slip, predict: Callable[[Any], Gradient], steps: tuple[Step, ...], view: View
) -> Iterator[Finding]:
    """Weight decay and updated weights: a line through a gradient, or from W."""
    if case.parameter is None or slip.line is None or case.turned:
        return

    def lines(rows: Any) -> tuple[Gradient, Gradient]:
        assert slip.line is not None and case.parameter is not None
        # The layout and the sign come before W is added, so W is seen through them as the candidate is.
        made = (
            view.sign * case.parameter.ravel()[case.places(view, rows)]
            if view.steps
            else case.parameter[rows]
        )
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
            predict = _gradient_of(case, stack([slip.draft(one, {"eps": eps})]))
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


def _with_free(case: Case) -> Iterator[Finding]:
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


def _pairs_with_free(case: Case) -> Iterator[Finding]:
    if (case.values == case.values[0]).all():
        return
    adding = [SLIPS["weight-decay-included"], SLIPS["weights-updated"]]
    for view in case.views:
        if len(view.steps) == 1:
            for slip in adding:
                yield from _on_lines(case, slip, case.exactly, view.steps, view)
            yield from _with_view(_smoothed(case, case.right, (), view), view)
            yield from _clip(case, case.exactly, view.steps, view)
            if case.is_small:
                yield from _with_view(_between(case, [((), case.right)], view), view)
    if case.turned:
        return
    identity = View((), 1)
    for name, factor in named_factors(case.right, case.exact.values).items():
        step: Step = (SLIPS["scaled"], {"k": factor, "named": name})
        yield from _on_lines(case, adding[0], _times(case, factor), (step,), identity)
    bases: list[tuple[tuple[Step, ...], Draft]] = []
    for group in case.singles:
        before = STAGES.index(group.steps[0][0][0].stage) < STAGES.index("target")
        for k, steps in enumerate(group.steps):
            if not case.is_paired(steps[0]):
                continue
            predict = _predict(case, group, k)
            for slip in adding:
                yield from _on_lines(case, slip, predict, steps, identity)
            yield from _clip(case, predict, steps, identity)
            if before:
                yield from _smoothed(case, group.draft(k), steps, identity)
            if case.is_small:
                bases.append((steps, group.draft(k)))
    yield from _between(case, bases, identity)


def _with_view(findings: Iterator[Finding], view: View) -> Iterator[Finding]:
    for finding in findings:
        yield finding._replace(steps=(*finding.steps, *view.steps))


def _times(case: Case, factor: float) -> Callable[[Any], Gradient]:
    def times(rows: Any) -> Gradient:
        made = case.exactly(rows)
        return Gradient(
            factor * made.values, abs(factor) * made.bound + 2 * case.right.u * np.abs(made.values)
        )

    return times


# With a free number between two values of a grid.


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
    """Bracketed at the entry that is furthest from right, refined, and then judged in every entry."""
    free, grid = str(slip.free), slip.grid
    assert grid is not None
    most = max(COARSEST, GRIDDED // case.right.logits.size)
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
    there = ((values >= low - slack) & (values <= high + slack)).all(axis=(-2, -1))
    brackets = np.flatnonzero(there)
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
    number += min(max(0.0, lower), upper)
    predict = _gradient_of(case, stack([drafts(np.array([number]))]))
    here = (slip, {**given, str(slip.free): number})
    widths = {str(slip.free): (number + min(lower, 0), number + max(upper, 0))}
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


# What is said.


def _explained(case: Case, finding: Finding) -> Explanation:
    steps = _in_order(finding)
    texts: dict[str, str] = {}
    parameters: dict[str, float | int | str] = {}
    parts = []
    for slip, given in steps:
        own = _details(case, finding, slip, given)
        said = {name: _text(value, finding.widths.get(name)) for name, value in own.items()}
        if "named" in own:
            said["k"] = (
                f"{said['named']} = {float(own['k']):.6g}" if "mean" not in said["named"] else said["named"]
            )
        clash = {name for name in own if name in parameters}
        own = {name: value for name, value in own.items() if name not in SENTENCES}
        parameters |= {f"{name} of {slip.name}" if name in clash else name: v for name, v in own.items()}
        texts |= {f"{name} of {slip.name}" if name in clash else name: t for name, t in said.items()}
        words = {**_sizes(case.right.problem), **said}
        if "named" in own:
            words["k"] = f"{float(own['k']):.6g}"
        parts.append(
            [text.format_map(words) for text in (slip.happened, slip.wrong, slip.right, slip.remedy)]
        )
    happened, wrong, mended, remedy = ("\n".join(texts) for texts in zip(*parts, strict=True))
    return Explanation(
        tuple(slip.name for slip, _ in steps),
        parameters,
        texts,
        case.values.size,
        case.values.size,
        happened,
        wrong,
        mended,
        remedy,
    )


def _sizes(problem: Problem) -> dict[str, object]:
    return {
        "n_rows": problem.n_rows,
        "n_inputs": problem.n_inputs,
        "n_classes": problem.n_classes,
        "n_others": problem.n_classes - 1,
    }


def _text(value: float | int | str, width: Bracket | None) -> str:
    """A number with the digits that the candidate determines, at most 12."""
    if isinstance(value, str | int):
        return str(value)
    digits = 12
    if width is not None and width[1] > width[0] and value:
        digits = min(12, max(1, math.floor(-math.log10((width[1] - width[0]) / abs(value)))))
    return f"{value:.{digits}g}"


def _details(case: Case, finding: Finding, slip: Slip, given: Parameters) -> Parameters:
    """The parameters, and what follows from them and from the candidate."""
    if slip.name == "weights-updated" and case.parameter is not None:
        own = case.parameter.ravel()
        if (np.abs(case.values - own) <= 4 * case.right.u * np.abs(own)).all():
            return {"eta": "too small to tell"}
    if slip.name == "classes-permuted":
        _, k = case.indices(slice(None))
        assert slip.places is not None
        places = slip.places(case.right, given, np.zeros_like(k), k)
        return {**given, "columns": " ".join(map(str, np.argsort(places).tolist()))}
    return _details_of(case.right, slip, given)


def _details_of(draft: Draft, slip: Slip, given: Parameters) -> Parameters:
    """The parameters, and what follows from them."""
    problem = draft.problem
    if slip.name == "scaled":
        which = f"that is {given['named']} here." if "named" in given else "no constant that is known."
        return {**given, "which": which}
    if slip.name == "label-smoothed":
        n_classes = problem.n_classes
        return {**given, "eps_of_others": float(given["eps"]) * (n_classes - 1) / n_classes}
    if slip.name == "weight-decay-included":
        return {**given, "lambda_of_square": float(given["lambda"]) / 2}
    if slip.name == "wrong-label":
        if "shift" in given:
            return {**given, "which": f"Every label is taken for the class {int(given['shift']):+d} from it."}
        names = problem.classes or [str(c) for c in range(problem.n_classes)]
        row = f"In row {given['row']} the" if problem.n_rows > 1 else "The"
        said, true = (names[int(given[key])] for key in ("instead", "label"))
        return {**given, "which": f"{row} label is taken to be class {said}, but it is class {true}."}
    if slip.name == "low-precision":
        return {"format": f"{given['decimals']} decimals", **given} if "decimals" in given else given
    if slip.name == "all-zero":
        largest, mass = float(np.abs(draft.residual).max()), float(draft.mass.max())
        if largest <= draft.u * mass:
            why = f"The largest exact residual is {largest:.3g}, below what S_c - 1 keeps of S_c = 1: saturated."
        else:
            why = "A Jacobian summed over its rows is 0, and so is an array never written to."
        return {"why": why}
    return given


def _lost_digits(case: Case, lost: NDArray[np.bool_]) -> tuple[Explanation, ...]:
    """Why a candidate within its bound has no digit in some entries."""
    draft, u = case.right, case.right.u
    lost = lost.reshape(case.shape)
    # An error of u in S_c, times q, carried back: what S_c - 1 leaves of entries near 0.
    unit = replace(draft, residual=draft.mass * draft.probabilities, residual_error=0 * draft.residual)
    sizes = replace(
        unit,
        analysis=replace(
            draft.analysis,
            problem=replace(
                draft.problem, weights=np.abs(draft.problem.weights), inputs=np.abs(draft.problem.inputs)
            ),
        ),
    )
    kept = _first(case.pulled(sizes, slice(None))).values
    error = np.abs(case.values.reshape(case.shape) - case.exact.values)
    complement = layer.other_exponentials(draft.analysis.forward) / (1 + draft.analysis.forward.others)
    least = float(np.where(draft.targets[0] > 0, complement, 1).min())
    texts: list[tuple[tuple[str, ...], int, str, str, str, str]] = []
    if case.tolerance.stored_as is not None:
        stored = bounds.PRECISIONS[case.tolerance.stored_as]
        small = lost & (np.abs(case.exact.values) <= stored.eta / stored.u)
        texts.append(
            (
                ("low-precision",),
                int(small.sum()),
                f"The smallest normal number of {case.tolerance.stored_as} is {2 * stored.eta * 0.5 / stored.u:.3g}:\n"
                "what is smaller keeps fewer digits, or none.",
                f"dW.astype({case.tolerance.stored_as})",
                "dW.astype(float32)",
                "Store the gradient in a wider format, or scale the loss before it is stored.",
            )
        )
    cancelled = lost & (error <= 2 * u * kept)
    if least < 0.5:
        texts.append(
            (
                (),
                int(cancelled.sum()),
                f"S_c is near 1: the exact 1 - S_c is {least:.3g}, and S_c - 1 from a rounded S_c keeps\n"
                f"nothing below {u:.3g}, half the distance from 1 to the next number.",
                "s[label] - 1",
                "-(e.sum() - e[label]) / e.sum()    # the other exponentials, added up",
                "Add up the other exponentials; never subtract S_c from 1.",
            )
        )
    spread = float(draft.logits_error.max())
    if spread > 0.05:
        texts.append(
            (
                (),
                int(lost.sum()),
                f"The logits are off by up to {spread:.3g}: their sums cancel in {case.tolerance.precision},\n"
                "and what follows from them is not resolved.",
                "x @ W",
                "x.astype(float64) @ W.astype(float64)",
                "Compute the logits in a wider format.",
            )
        )
    return tuple(
        Explanation(slips, {}, {}, count, lost.size, happened, wrong, mended, remedy)
        for slips, count, happened, wrong, mended, remedy in texts
        if count
    )


# The loss.


@np.errstate(all="ignore")
def diagnose_loss(
    problem: Problem,
    exact: Evaluation,
    loss: float,
    tolerance: Tolerance | None = None,
    resolution: float = 0.0,
) -> Diagnosis:
    """What one number can tell: sign, named constants, another label or axis, squared error, an option left out.

    Nothing with a free number: one number always fits it.  A name needs the digits of any other.
    """
    tolerance = tolerance or Tolerance()
    bound = bounds.stable(problem, (), precision=tolerance.precision, terms=tolerance.terms).loss
    value = float(exact.loss)
    if not math.isfinite(loss) or abs(loss - value) <= tolerance.allowed(value, bound, resolution):
        return Diagnosis()
    draft = right(problem, "logits", tolerance.precision, tolerance.terms)
    found: list[tuple[Step, float, float]] = [((SLIPS["sign-flipped"], {}), -value, float(bound))]
    # Two logarithms' bases are among the constants.
    for name, factor in named_factors(draft, np.zeros(1)).items():
        step: Step = (SLIPS["scaled"], {"k": factor, "named": name})
        found.append((step, factor * value, abs(factor) * (float(bound) + 2 * draft.u * abs(value))))
    for name in ("softmax-over-wrong-axis", "wrong-label", "option-ignored"):
        slip = SLIPS[name]
        for given in slip.choices(draft):
            assert slip.draft is not None
            found.append(((slip, given), *_cross_entropy(slip.draft(draft, given))))
    squared = ((draft.probabilities - draft.targets) ** 2).sum()
    moved = 2 * (np.abs(draft.probabilities - draft.targets) * draft.probabilities_error).sum()
    rounding = 2 * (draft.logits.size + 4) * draft.u * squared
    half, whole = SLIPS["squared-error"].choices(draft)
    for given, factor in ((half, 0.5), (whole, 1.0), (whole, 1 / draft.logits.size)):
        found.append(
            ((SLIPS["squared-error"], given), factor * float(squared), factor * float(moved + rounding))
        )
    explanations = []
    for step, predicted, error in found:
        # Twice the bound of a slip, as for a gradient; the digits by one of them.
        allowed = tolerance.allowed(predicted, 2 * error, resolution)
        digits = (
            math.log2(abs(loss) / max(tolerance.allowed(predicted, error, resolution), 5e-324))
            if loss
            else 0.0
        )
        if abs(loss - predicted) <= allowed and digits >= EVIDENCE:
            explanations.append(_explained_loss(draft, step))
    order = {name: index for index, name in enumerate(SLIPS)}
    return Diagnosis(tuple(sorted(explanations, key=lambda one: order[one.slips[0]])))


def _cross_entropy(draft: Draft) -> tuple[float, float]:
    """-sum(Q log S) from S, and its error: Q dS / (S - dS), and (T + 4) u of every term and of their sum."""
    needed = np.broadcast_to(draft.targets != 0, draft.probabilities.shape)
    terms = np.where(needed, -draft.targets * np.log(np.where(needed, draft.probabilities, 1)), 0)
    _, error = ratio(
        draft, draft.targets * draft.probabilities, draft.probabilities, draft.probabilities_error
    )
    count = draft.logits.size + 4
    return float(terms.sum()), float((error + count * draft.u * (np.abs(terms) + draft.targets)).sum())


def _explained_loss(draft: Draft, step: Step) -> Explanation:
    slip, given = step
    own = _details_of(draft, slip, given)
    texts = {name: _text(value, None) for name, value in own.items()}
    words = {**_sizes(draft.problem), **texts}
    happened, wrong, mended, remedy = (
        text.format_map(words) for text in (slip.happened, slip.wrong, slip.right, slip.remedy)
    )
    return Explanation((slip.name,), own, texts, 1, 1, happened, wrong, mended, remedy)
