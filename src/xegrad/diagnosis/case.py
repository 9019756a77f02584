"""A candidate, and all that is computed once to explain it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xegrad import bounds
from xegrad.comparison import Comparison
from xegrad.judgement import Judgement, Tolerance
from xegrad.methods import Evaluation
from xegrad.problem import Problem
from xegrad.slips import SLIPS, STAGES, Slip
from xegrad.slips.draft import Draft, Gradient, right, stack
from xegrad.slips.entry import Parameters
from xegrad.slips.gradients import parameter, shape
from xegrad.targets import Array

EVIDENCE = 24.0  # bits
AT_MOST = 53.0  # bits of one entry
PROBED = 4096  # entries looked at before all are
PAIRED = 4096  # logits; beyond them two steps of the layer are not tried together
GRIDDED = 256  # logits; beyond them no free number between two values is tried with another step or view
MOST_ROWS = 64  # rows of a batch whose label is tried, of those that the candidate points to

Step = tuple[Slip, Parameters]
Bracket = tuple[float, float]


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
        self._seen: dict[Any, tuple[Array, Array]] = {}  # of the inputs looked at first
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
        return Judgement(self.right.name, comparison, certified, self.tolerance.derived)

    def _rows(self) -> Any:
        """The inputs looked at first: those with the largest x, and the one that is furthest from right; or all."""
        size = self.values.size
        if self.right.name not in ("weights", "inputs") or size <= PROBED:
            return slice(None)
        problem = self.right.problem
        count = max(1, PROBED * problem.n_inputs // size)
        largest = np.argpartition(-np.abs(problem.inputs).sum(axis=0), count - 1)[:count]
        values = self.values if self.right.name == "weights" else self.values.reshape(self.shape).T.ravel()
        exact, bound = self.exact.values, self.exact.bound
        if self.right.name == "inputs":
            exact, bound = exact.T, bound.T
        off = (np.abs(values - exact.ravel()) / (bound.ravel() + self.resolution)).reshape(exact.shape)
        return np.union1d(largest, np.nanargmax(off) // exact.shape[1])

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
        key = (view.sign, *((slip.name, *given.values()) for slip, given in view.steps))
        if rows is not self.rows or key not in self._seen:
            places = self.places(view, rows)
            found = view.sign * self.values[places], self.resolution[places]
            if rows is not self.rows:
                return found
            self._seen[key] = found
        return self._seen[key]

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

    def has_at_most(self, logits: int) -> bool:
        """Whether the problem is small enough for what costs that much; W may have 64 entries for each logit."""
        return self.right.logits.size <= logits and self.values.size <= 64 * PAIRED

    @cached_property
    def singles(self) -> list[Group]:
        """Every step of the layer gone wrong without a free number: a stack for each stage where that is small."""
        groups = []
        for stage in STAGES:
            made: dict[bool, list[tuple[Step, Draft]]] = {}
            for step in self._steps(stage):
                draft = self.made(step)
                if not self.has_at_most(PAIRED):
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
        gradient = finding.predict(self.rows)
        values, resolution = self.seen(finding.view, self.rows)
        telling = np.abs(values)
        if slips[-1].name != "low-precision" and not self.turned:
            # Two mistakes may cancel, and then the candidate is not wrong by them.
            reference = self._exact_seen(finding.view)
            own = self.allowed(gradient, resolution, 2)
            if (np.abs(gradient.values - reference) <= own).all():
                return False
            # What is fitted must tell the candidate from the right one: of one that is right but for a few
            # bounds, a free number explains as much as chance would.
            if slips[-1].name != "clipped" and (finding.free or len(slips) > 1):
                telling = np.minimum(telling, np.abs(values - reference))
        # Entries that are added only add evidence, so those looked at first may be enough.
        bits = np.log2(telling / self.allowed(gradient, resolution, 1)).ravel()
        bits = np.clip(np.where(telling.ravel() == 0, 0, bits), 0, AT_MOST)
        needed = EVIDENCE
        if any(slip.name == "classes-permuted" for slip in slips):
            needed += math.lgamma(self.right.problem.n_classes + 1) / math.log(2)
        if bits.sum() - (bits.max() if finding.free else 0) < needed:
            return False
        rows = self.everything
        return bool(self.fits(finding.predict(rows), finding.view, rows).all())

    def _exact_seen(self, view: View) -> Array:
        """The right gradient where the candidate's entries are seen: what a view makes of it."""
        return view.sign * self.exact.values.ravel()[self.places(view, self.rows)]


def prediction(case: Case, group: Group, k: int) -> Callable[[Any], Gradient]:
    here = Gradient(group.gradient.values[k], group.gradient.bound[k])
    return lambda rows: here if rows is case.rows else first(case.pulled(group.draft(k), rows))


def gradient_of(case: Case, draft: Draft) -> Callable[[Any], Gradient]:
    return lambda rows: first(case.pulled(draft, rows))


def first(gradient: Gradient) -> Gradient:
    return Gradient(gradient.values[0], gradient.bound[0])
