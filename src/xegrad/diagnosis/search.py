"""A candidate, what explains it perhaps, and what that makes of the entries that are looked at."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from xegrad import bounds
from xegrad.arrays import blocks
from xegrad.derivation import AT_A_TIME, IN_CACHE, Cells
from xegrad.methods import Evaluation
from xegrad.numbers.arithmetic import UNROUNDED
from xegrad.numbers.rounded import Rounded, exact, stacked
from xegrad.problem import Problem
from xegrad.slips import SLIPS, STAGES
from xegrad.slips.entry import Parameters
from xegrad.slips.making import Step, each_made_by_rows, made_by_rows, takes_all_cells, with_slip
from xegrad.targets import Array
from xegrad.tolerance import Tolerance

HUGE = 2**20  # logits
SCREENED = 256  # entries that are looked at before all are

Seen = tuple[Array, Array]  # some entries of a candidate, and what printing left open of them

FLIPPED: Step = (SLIPS["sign-flipped"], {})


class Hypothesis(NamedTuple):
    """Slips that may have made a candidate, with their parameters.

    A layout and a sign are undone in the candidate, and not made in what is predicted.
    """

    steps: tuple[Step, ...] = ()  # in the order in which they act
    widths: Parameters = MappingProxyType({})  # between which two values a free number lies
    free: int = 0  # how many numbers were fitted
    proved: bool = False  # by a measure of its own

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its slips."""
        return tuple(slip.name for slip, _ in self.steps)

    @property
    def sign(self) -> int:
        """-1 if the candidate has the opposite sign, else 1."""
        return -1 if FLIPPED in self.steps else 1

    def after(self, *steps: Step, **fields: Any) -> Hypothesis:
        """The same with more steps."""
        in_order = sorted((*self.steps, *steps), key=lambda step: STAGES.index(step[0].stage))
        return self._replace(steps=tuple(in_order), **fields)


NOTHING = Hypothesis()


class Entries(NamedTuple):
    """Some rows and columns of a gradient."""

    rows: Any = slice(None)
    columns: Any = slice(None)

    def of(self, array: Any) -> Any:
        """These entries of an array, or of a stack of arrays."""
        if isinstance(self.rows, slice) or isinstance(self.columns, slice):
            return array[..., self.rows, self.columns]
        return array[..., self.rows[:, None], self.columns]


EVERYTHING = Entries()


def _key(step: Step) -> Any:
    slip, form = step
    return slip.name, *form.items()


class Search:
    """A candidate, and all that is computed once to explain it."""

    def __init__(
        self,
        problem: Problem,
        exact_evaluation: Evaluation,
        candidate: Array,
        tolerance: Tolerance,
        resolution: Array | float,
        name: str,
    ) -> None:
        self.tolerance = tolerance
        self.exact_evaluation = exact_evaluation
        cells = bounds.cells_of(problem, tolerance.arithmetic)
        if bounds.is_large(problem):  # not all cells exist at a time
            cells = Cells(cells.problem, name, cells.arithmetic, {"W": cells.W, "b": cells.b})
        self.cells = cells.of(name)
        self.shape = self.cells.shape
        bound = bounds.stable(problem, (name,), arithmetic=tolerance.arithmetic)
        value, error = exact_evaluation.gradients[name], bound.gradients[name]
        if exact_evaluation.errors is not None and name in exact_evaluation.errors:
            error = error + exact_evaluation.errors[name]
        self.exact = Rounded(value, error, self.cells.arithmetic).reshape(*self.shape)
        # A W of N != T that arrives as T x N is transposed, or reshaped; any other layout has W's shape.
        self.has_transposed_shape = candidate.shape == self.shape[::-1] != self.shape
        self.candidate = candidate
        self.values = candidate.astype(np.float64, copy=False).ravel()
        self._screened: dict[Any, Rounded] = {}
        self.resolution = np.broadcast_to(np.asarray(resolution, dtype=np.float64), candidate.shape)

    @property
    def right(self) -> Rounded:
        """The right gradient in the entries looked at first."""
        return self.exact.moved(self.screened.of)

    @property
    def n_logits(self) -> int:
        """B T."""
        return self.cells.problem.n_rows * self.cells.problem.n_classes

    @property
    def is_large(self) -> bool:
        """Whether slips are made a few rows at a time, and those that do not come near the candidate in values alone
        are left."""
        return bounds.is_large(self.cells.problem)

    @property
    def is_huge(self) -> bool:
        """Whether pairs, and numbers on a grid, are not sought."""
        return self.n_logits > HUGE

    def is_affordable(self, step: Step) -> bool:
        """Whether not all cells are needed for a slip of the layer, or these are not too many."""
        return self.n_logits <= AT_A_TIME or not takes_all_cells(self.cells, step)

    @property
    def excess(self) -> float:
        """How many bounds of the right gradient an entry may be off what a slip makes, in values alone."""
        return 2.0**6 if self.is_large else 2.0**12

    def slack(self, made: Array) -> Array:
        """How far these entries may be off what slips make of them, in values alone, (K, ...): what is large has errors
        that are as much larger."""
        values, resolution = self.seen(NOTHING, self.screened)
        size = self.cells.arithmetic.u * np.abs(made).max(axis=(-2, -1), keepdims=True)
        return np.asarray(self.tolerance.allowed(values, self.excess * (self.right.error + size), resolution))

    @cached_property
    def is_constant(self) -> bool:
        """Whether all entries are equal: any number can be fitted to them."""
        return bool((self.values == self.values[0]).all())

    @cached_property
    def without_errors(self) -> Search:
        """The same search for values alone, which cost a fraction of what their errors do."""
        self.screened  # noqa: B018 (chosen by errors, it is the same for both)
        other = copy.copy(self)
        other.cells = self.cells.in_values()
        other.exact, other._screened = exact(self.exact.value, UNROUNDED), {}
        return other

    @property
    def is_parameter(self) -> bool:
        """Whether the candidate is W itself, or has moved from it by next to nothing."""
        is_updated = SLIPS["weights-updated"].forms(self.cells)  # by this gradient
        if not is_updated or self.has_transposed_shape or self.values.size == 1:
            return False
        weights = self.cells.parameter.value.ravel()
        near = np.abs(self.values - weights) <= 4 * self.cells.arithmetic.u * np.abs(weights)
        return bool(weights.any() and near.all())

    # What of it is looked at.

    @cached_property
    def screened(self) -> Entries:
        """The entries looked at first: that which is furthest from right, before the inputs with the largest x and
        classes all over."""
        n_rows, n_columns = self.shape
        if self.values.size <= SCREENED:
            return EVERYTHING
        count = min(n_columns, max(int(math.sqrt(SCREENED)), SCREENED // n_rows))
        columns = np.linspace(0, n_columns - 1, count, dtype=np.intp)
        if self.is_huge and n_columns == self.cells.problem.n_classes:  # entries of labels are large
            labels = np.unique(self.cells.problem.targets.label_of_rows)
            columns = np.unique([*columns[: count // 2], *labels[labels >= 0][: count - count // 2]])
        rows = np.arange(n_rows)
        if n_rows * count > SCREENED:
            count = max(1, SCREENED // count)
            size = np.abs(self.cells.problem.inputs)
            size = size.sum(axis=0 if self.cells.name == "weights" else 1)
            rows = np.argpartition(-size, count - 1)[:count]
        if not self.has_transposed_shape:
            values, resolution = self.seen(NOTHING)
            row, column = self._furthest(values, resolution)
            rows = np.concatenate([[row], rows[rows != row]])
            columns = np.concatenate([[column], columns[columns != column]])
        return Entries(rows, columns)

    def _furthest(self, values: Array, resolution: Array) -> tuple[int, int]:
        """The row and the column of the entry that is most bounds from right."""
        most, place = -1.0, (0, 0)
        for rows in blocks(len(values), IN_CACHE // self.shape[1]):
            right = self.exact[rows]
            off = np.nan_to_num(np.abs(values[rows] - right.value) / (right.errors + resolution[rows]))
            row, column = divmod(int(off.argmax()), self.shape[1])
            if off[row, column] > most:
                most, place = float(off[row, column]), (rows.start + row, column)
        return place

    def rearranged(self, array: Array, hypothesis: Hypothesis, entries: Entries) -> Array:
        """Some entries of an array of the candidate's size with the layout undone, and not the sign."""
        for slip, form in hypothesis.steps:
            if slip.places is not None:
                rows, columns = (np.arange(size)[of] for size, of in zip(self.shape, entries, strict=True))
                return array.reshape(-1)[slip.places(self.cells, form, rows[:, None], columns)]
        return entries.of(array.reshape(self.shape))

    def seen(self, hypothesis: Hypothesis, entries: Entries = EVERYTHING) -> Seen:
        """The candidate and its resolution with the layout and the sign undone."""
        values = hypothesis.sign * self.rearranged(self.values, hypothesis, entries)
        return values, self.rearranged(self.resolution, hypothesis, entries)

    def parameter_seen(self, hypothesis: Hypothesis, entries: Entries) -> Rounded:
        """W, which is added after the layout and the sign, and so is seen through them as the candidate is."""
        seen = self.cells.parameter.moved(lambda array: self.rearranged(array, hypothesis, entries))
        return -seen if FLIPPED in hypothesis.steps else seen

    @property
    def layouts(self) -> list[Step]:
        """Those that are known and that the candidate's shape may have."""
        if self.has_transposed_shape:
            return [(SLIPS["transposed"], {}), (SLIPS["scrambled-reshape"], {"form": "reshaped"})]
        return [
            (slip, form)
            for slip in SLIPS.values()
            if slip.places is not None and (slip.name != "transposed" or self.shape[0] == self.shape[1])
            for form in slip.forms(self.cells)
        ]

    # What a hypothesis predicts.

    def gradient(self, cells: Cells, entries: Entries) -> Rounded:
        """Some entries of the derivation's gradient, or of those of a stack; a result is rounded twice more."""
        return self.rounded_twice_more(cells.gradient(*entries))

    def rounded_twice_more(self, gradient: Rounded) -> Rounded:
        """A result that is rounded twice more, in two axes."""
        if self.cells.name == "bias":
            gradient = gradient.moved(lambda array: array[..., None, :])
        return gradient.in_any_way(2)

    def predicted(self, hypothesis: Hypothesis, entries: Entries = EVERYTHING) -> Rounded:
        """What it makes of these entries, before the layout and the sign."""
        cells = self.cells.replace("G", self.exact.moved(entries.of))
        for step in hypothesis.steps:
            if step[0].stage == "added W":
                cells = cells.replace("parameter", self.parameter_seen(hypothesis, entries))
            if step[0].stage not in ("layout", "sign"):
                cells = self.with_step(cells, step, entries)
        return cells.G

    def with_step(self, cells: Cells, step: Step, entries: Entries) -> Cells:
        """The derivation of some entries of G, or a stack of such, with one more slip."""
        slip, form = step
        if slip.stage == "storage":
            return cells.replace("G", self._stored(cells.G, form, entries))
        if slip.is_in_layer and self.is_large:
            return cells.replace("G", self.made(step, entries))
        cells = with_slip(cells, slip, form)
        return cells.replace("G", self.gradient(cells, entries)) if slip.is_in_layer else cells

    # What slips of the layer make of a large problem: not all cells exist at a time.

    def each_made(self, steps: Sequence[Step]) -> list[Rounded]:
        """What each of these slips makes of the entries looked at first; they are asked for again."""
        made = map(self.rounded_twice_more, each_made_by_rows(self.cells, steps, *self.screened))
        several = dict(zip(map(_key, steps), made, strict=True))
        self._screened |= several
        return [several[_key(step)] for step in steps]

    def made(self, step: Step, entries: Entries) -> Rounded:
        """What one of them makes, or a stack, one for each of its free numbers."""
        slip, form = step
        number = form.get(slip.free or "", None)
        if isinstance(number, np.ndarray):
            forms = [{**form, str(slip.free): one} for one in number.ravel().tolist()]
            return stacked([self.made((slip, one), entries) for one in forms])
        if entries is not self.screened:
            return self.rounded_twice_more(made_by_rows(self.cells, step, *entries))
        return self._screened[_key(step)] if _key(step) in self._screened else self.each_made([step])[0]

    def _stored(self, gradient: Rounded, form: Parameters, entries: Entries) -> Rounded:
        """The numbers as they were before they were stored, off by half of what that rounds away."""
        if "decimals" in form:
            return gradient.less_certain(0.25 * 10.0 ** -form["decimals"])
        error = gradient.error
        if form["format"] == "float32":  # computed in it, too
            narrow = replace(self.tolerance, precision="float32").arithmetic
            if self.is_large:
                of_narrow = bounds.stable(self.cells.problem, (self.cells.name,), narrow)
                narrow_error = entries.of(of_narrow.gradients[self.cells.name].reshape(self.shape))
            else:
                narrow_cells = bounds.cells_of(self.cells.problem, narrow).of(self.cells.name)
                narrow_error = self.gradient(narrow_cells, entries).error
            error = np.maximum(error, narrow_error)
        error = bounds.stored(gradient.value, error, form["format"])
        return Rounded(gradient.value, error, gradient.arithmetic)

    # Whether it fits.

    def allowed(self, gradient: Rounded, resolution: Array, times: int) -> Array:
        """So many times the bound, and what printing left open."""
        return np.asarray(self.tolerance.allowed(gradient.value, times * gradient.error, resolution))

    def fits(self, gradient: Rounded, seen: Seen) -> NDArray[np.bool_]:
        """Whether every entry is within twice the bound; one answer for each of a stack."""
        values, resolution = seen
        allowed = self.allowed(gradient, resolution, 2)
        within = np.isfinite(allowed) & (np.abs(values - gradient.value) <= allowed)
        return np.asarray(within.all(axis=(-2, -1)))
