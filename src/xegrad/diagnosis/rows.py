"""Which rows of the batch are wrong, where a few of them explain the whole error, and what happened to them.

The error E of a gradient is the residuals' error D carried back: X' D for W, D W' for x, the sum of D for b, D itself
for the logits.  Rows are named only if D is zero in all others, every entry is then within its bound, and the entries
are enough to tell these rows from all others that were tried.

See docs/numerics.md, section 10.1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xegrad.derivation import Gathered
from xegrad.diagnosis.evidence import AT_MOST, EVIDENCE
from xegrad.diagnosis.search import EVERYTHING, Entries, Search
from xegrad.naming import class_in_short
from xegrad.numbers.arithmetic import UNROUNDED
from xegrad.numbers.rounded import Rounded, concatenated, exact
from xegrad.slips.making import parts_of
from xegrad.targets import ALL, Array

FEW = 4  # rows that are sought one after the other; more are no longer few
LISTED = 8  # rows that are named one by one
TRIED = 8  # of all runs, those that come nearest
SEEN = 64  # random sums of the classes in which rows are sought
MOST_IN_RUNS = 1024  # rows; of more only a run at the beginning or at the end is sought
CLOSE = 2.0**-30  # 1 - the cosine of two rows that cannot be told apart
ALONE = "A problem with such a row alone tells more."
LEAST = 2.0**-500  # a bound whose inverse has a square
FACTORS: Mapping[float, str] = {0: "contributes nothing", 2: "is counted twice", -1: "has the opposite sign"}


def wrong_rows(search: Search) -> str:
    """The rows that explain the error of a candidate, in a sentence; nothing if no few rows do."""
    if search.has_transposed_shape:
        return ""
    rows = _Rows(search)
    in_one_input = search.cells.name == "weights" and rows.is_wrong.any(axis=1).sum() == 1 < search.shape[0]
    if in_one_input or not np.isfinite(rows.allowed).all():  # an input alone is as good a reason
        return ""
    sentences = (find() for find in (rows.run, rows.group, rows.other_label, rows.few))
    return next(filter(None, sentences), "")


class Apart(NamedTuple):
    """An error D of the residuals: g_b R_b in each row b, but in a few rows these numbers."""

    factors: Array  # g, (B,)
    rows: NDArray[np.intp]
    values: Array  # one row for each of these


class Made(NamedTuple):
    """Some entries of the gradient of R + D, and what D is of them."""

    entries: Entries
    gradient: Rounded
    effect: Array


class _Rows:
    """A candidate's error, and what an error of the residuals makes of it."""

    def __init__(self, search: Search) -> None:
        self.search, self.cells, self.problem = search, search.cells, search.cells.problem
        self.values = search.values.reshape(search.shape)
        self.resolution = search.resolution.reshape(search.shape)
        self.allowed = search.allowed(search.exact, self.resolution, 1)
        self.error = self.values - search.exact.value
        self.labels = self.problem.targets.label_of_rows
        self.has_classes = self.cells.name != "inputs"  # in the columns
        self.is_wrong = np.abs(self.error) > self.allowed
        self._known: dict[int, Array] = {}  # R of single rows

    # Errors of the residuals.

    def times(self, rows: Any, factor: float) -> Apart:
        """(k - 1) R in these rows."""
        factors = np.zeros(self.problem.n_rows)
        factors[rows] = factor - 1
        return Apart(factors, np.empty(0, dtype=np.intp), np.empty((0, self.problem.n_classes)))

    def instead(self, rows: Any, values: Array) -> Apart:
        """These numbers in these rows, and 0 in the others."""
        return Apart(np.zeros(self.problem.n_rows), np.asarray(rows), values)

    def relabelled(self, rows: Any, label: int, other: int) -> Apart:
        """Q_c - Q_d, of rows with the label c that are given d."""
        of_both = np.concatenate([part.Q.value[:, [label, other]] for part in self.cells.parts()])[rows]
        values = np.zeros((len(of_both), self.problem.n_classes))
        values[:, label] = of_both[:, 0] - of_both[:, 1]
        values[:, other] = -values[:, label]
        return self.instead(rows, values)

    def residuals(self, rows: NDArray[np.intp]) -> Array:
        """R of a few rows, one by one."""
        for row in rows.tolist():
            if row not in self._known:
                self._known[row] = self.cells.some(slice(row, row + 1)).R.value
        return np.concatenate([self._known[row] for row in rows.tolist()])

    # What an error D of the residuals makes of the gradient.

    @cached_property
    def _generic(self) -> tuple[Array, Array]:
        """Two random numbers for each row of the gradient, and for each column, in units of the bounds there."""
        random = np.random.default_rng(0)
        sizes = [_inverse(self.allowed.mean(axis=axis)) for axis in (1, 0)]
        of_rows, of_columns = (random.normal(size=(2, size.size)) * size for size in sizes)
        return of_rows, of_columns

    @cached_property
    def _passed(self) -> tuple[Array, Array, Rounded | None]:
        """The largest |R| of each row, (B,); a random sum of what R of each row makes, twice, (2, B); and R in the
        columns that are looked at first, where these are sums over rows."""
        name, problem, (of_rows, of_columns) = self.cells.name, self.problem, self._generic
        back = problem.weights.T @ of_columns.T if name == "inputs" else of_columns.T
        sizes, sums, some = [], [], []
        for few in (few for part in self.cells.parts() for few in part.few()):
            sizes.append(np.abs(few.R.value).max(axis=1))
            sums.append(few.R.value @ back)
            if name in ("weights", "bias"):
                some.append(few.R[:, self.search.screened.columns])
        first = of_rows @ problem.inputs.T if name == "weights" else of_rows
        return np.concatenate(sizes), first * np.concatenate(sums).T, concatenated(some) if some else None

    def _changed(
        self, apart: Apart, residuals: Rounded, rows: slice, columns: Any
    ) -> tuple[Rounded, Rounded]:
        """D and R + D of some rows and columns: R + D is off by as much of itself as R."""
        first, last, _ = rows.indices(self.problem.n_rows)
        factors, size = apart.factors[rows], self._passed[0][rows]
        different, grown = residuals.value * factors[:, None], np.abs(1 + factors) * size
        inside = (first <= apart.rows) & (apart.rows < last)
        if inside.any():
            which, values = apart.rows[inside], apart.values[inside]
            different[which - first] = values[:, columns]
            grown[which - first] = np.abs(self.residuals(which) + values).max(axis=1)
        growth = np.maximum(1, np.divide(grown, size, out=np.ones_like(size), where=size > 0))
        changed = Rounded(
            residuals.value + different, growth[:, None] * residuals.errors, residuals.arithmetic
        )
        return exact(different, UNROUNDED), changed.in_any_way(self.problem.n_classes + 4, 4)

    def made(self, apart: Apart, entries: Entries = EVERYTHING) -> Made:
        """What R + D makes of some entries, with its bound."""
        rows, columns = entries
        some = self._passed[2] if entries is self.search.screened else None
        both = self.cells.in_values(), self.cells
        if some is not None:
            gathered = [Gathered(one, rows) for one in both]
            for sums, of_both in zip(gathered, self._changed(apart, some, ALL, columns), strict=True):
                sums.add(self.cells, of_both)
        else:
            gathered = [Gathered(one, rows, columns) for one in both]
            for part in parts_of(self.cells, rows):
                several = zip(
                    *(self._changed(apart, few.R, few.rows, ALL) for few in part.few()), strict=True
                )
                for sums, parts in zip(gathered, several, strict=True):
                    sums.add(part, concatenated(parts))
        right, arithmetic = self.search.exact.value, self.cells.arithmetic
        effect, bound = (self.search.rounded_twice_more(one.gradient) for one in gathered)
        return Made(entries, Rounded(entries.of(right) + effect.value, bound.error, arithmetic), effect.value)

    def fits(self, made: Made, *, fitted: bool = False) -> NDArray[np.bool_]:
        """Which entries are within twice the bound of what R + D makes; a D that is fitted is off by printing, too."""
        values, resolution = (made.entries.of(of) for of in (self.values, self.resolution))
        allowed = self.search.allowed(made.gradient, resolution * (1 + fitted), 2)
        return np.isfinite(allowed) & (np.abs(values - made.gradient.value) <= allowed)

    def in_turn(self, apart: Apart) -> Iterator[Made]:
        """What R + D makes of the entries that are looked at first, and then of all."""
        yield self.made(apart, self.search.screened)
        if self.search.screened is not EVERYTHING:
            yield self.made(apart)

    def all_fit(self, apart: Apart) -> bool:
        """Whether all entries fit a D that is fitted."""
        return all(self.fits(made, fitted=True).all() for made in self.in_turn(apart))

    def is_proved(self, apart: Apart, choices: float, *, free: int = 0, free_of_each: int = 0) -> bool:
        """Whether all entries fit, and tell this D from as many others as there were to choose from."""
        needed, is_told = EVIDENCE + math.log2(choices), False
        for made in self.in_turn(apart):
            if not self.fits(made, fitted=free_of_each > 0).all():
                return False
            # Entries that are added only add evidence, so those looked at first may be enough.
            is_told = is_told or self.bits(made, free, free_of_each) >= needed
        return is_told

    def bits(self, made: Made, free: int = 0, free_of_each: int = 0) -> float:
        """How far D stands out from the bound, without the most telling entry of all, and those of each class."""
        parts = np.abs(made.effect) / self.search.allowed(made.gradient, made.entries.of(self.resolution), 1)
        bits = np.minimum(np.log2(np.fmax(parts, 1)), AT_MOST)
        if self.has_classes:  # a row of an error of S sums to 0: one class follows from the others
            bits = np.delete(bits, bits.sum(axis=0).argmax(), axis=1)
        bits = np.sort(bits, axis=0)[: max(0, len(bits) - free_of_each)]
        return float(bits.sum() - (bits.max(initial=0.0) if free else 0.0))

    # Rows whose whole residual is left out, or counted twice, or multiplied.

    def run(self) -> str:
        """Rows one after the other that contribute nothing, or twice."""
        n_rows, total, of_rows = self.problem.n_rows, self._total, self._passed[1]
        sums = np.concatenate([[0], np.cumsum(of_rows[0])])
        starts, ends = np.triu_indices(n_rows + 1, 1) if n_rows <= MOST_IN_RUNS else _at_the_ends(n_rows)
        for factor in (0, 2):
            apart = np.abs((factor - 1) * (sums[ends] - sums[starts]) - total[0])
            runs = []
            for k in np.argsort(apart)[:TRIED].tolist():
                run = range(int(starts[k]), int(ends[k]))
                if len(run) < n_rows and self.is_proved(self.times(run, factor), n_rows * (n_rows + 1)):
                    runs.append(run)
            # A longer one that fits too has rows that make no difference; another one cannot be told apart.
            if runs and all({*min(runs, key=len)} <= {*run} for run in runs):
                return self._sentence(min(runs, key=len), _multiplied(factor))
        return ""

    def group(self) -> str:
        """One row, or every row of a class, multiplied with a number."""
        total, of_rows = self._total, self._passed[1]
        groups = [np.array([k]) for k in range(self.problem.n_rows)] if self.problem.n_rows > 1 else []
        groups += [rows for _, rows in self._classes]
        factors = np.array([total / of_rows[:, rows].sum(axis=1) for rows in groups]).reshape(-1, 2)
        differ = np.nan_to_num(np.abs(factors[:, 0] / factors[:, 1] - 1), nan=np.inf)
        fitting = []
        for k in np.argsort(differ)[:TRIED].tolist():
            number = self._times_what(groups[k])
            factor = (
                None
                if number is None
                else self._factor(number, partial(self._is_group, groups[k], len(groups)))
            )
            fitting += [] if factor is None else [(groups[k], factor)]
        if len(fitting) != 1:
            return ""
        rows, factor = fitting[0]
        return self._sentence(rows, _multiplied(factor))

    @cached_property
    def _total(self) -> Array:
        """The random sums of the error."""
        of_rows, of_columns = self._generic
        return np.asarray(((of_rows @ self.error) * of_columns).sum(axis=1))

    def _times_what(self, rows: NDArray[np.intp]) -> float | None:
        """The number with which these rows come nearest, by least squares; None if that is not near at first sight."""
        number = None
        for made in self.in_turn(self.times(rows, 2)):
            inverse, error = _inverse(made.entries.of(self.allowed)), made.entries.of(self.error)
            effect = made.effect * inverse
            number = 1 + float((effect * (error * inverse)).sum() / (effect * effect).sum())
            apart = np.abs(error * inverse - (number - 1) * effect)
            if not (apart <= self.search.excess).all():
                return None
        return number

    def _is_group(self, rows: NDArray[np.intp], choices: int, factor: float, _: int) -> bool:
        return self.is_proved(self.times(rows, factor), choices, free=1)

    def other_label(self) -> str:
        """Every row of a class that has another label."""
        if self.cells.name not in ("weights", "logits"):
            return ""
        columns = np.flatnonzero(self.is_wrong.any(axis=0))
        n_classes = self.problem.n_classes
        for label, rows in self._classes if columns.size == 2 else ():
            if label in columns:
                other = int(columns[columns != label][0])
                if self.is_proved(self.relabelled(rows, label, other), n_classes * (n_classes - 1)):
                    return self._sentence(rows, f"was given the label {class_in_short(self.problem, other)}")
        return ""

    # A few rows of which nothing else is known.

    def few(self) -> str:
        """Rows whose residuals may be anything: those that are seen to be wrong, or that explain the error of dL/dW."""
        n_rows, name = self.problem.n_rows, self.cells.name
        if name == "weights":
            apart = self._of_few_rows()
            return "" if apart is None else self._described(np.sort(apart.rows), apart)
        wrong = np.flatnonzero(self.is_wrong.any(axis=1))
        if name == "bias" or not 0 < wrong.size <= n_rows // 2:
            return ""
        return self._described(wrong, None)

    def _of_few_rows(self) -> Apart | None:
        """D of as few rows as explain E = X' D: those that take most of what is left, one after the other.

        Of many classes random sums are seen instead, in which a row takes as much of what is left, on average.
        """
        problem, n_rows, n_classes = self.problem, self.problem.n_rows, self.problem.n_classes
        scale = _inverse(self.allowed.mean(axis=1))  # the inputs that are known best count most
        inputs, error = problem.inputs * scale, self.error
        if n_classes > SEEN and n_rows > 1:
            error = error @ np.random.default_rng(2).normal(size=(n_classes, SEEN))
        error = error * scale[:, None]
        lengths = (inputs * inputs).sum(axis=1)
        chosen: list[int] = []
        for _ in range(min(problem.n_inputs - 1, FEW, max(1, n_rows // 2))):
            left = error - inputs[chosen].T @ np.linalg.lstsq(inputs[chosen].T, error, rcond=None)[0]
            taken = np.nan_to_num(((inputs @ left) ** 2).sum(axis=1) / lengths)
            taken[chosen] = -1
            chosen.append(int(taken.argmax()))
            if self.all_fit(self._solved(inputs, scale, chosen)):
                break
        else:
            return None
        for row in tuple(chosen):  # one that was taken too early
            others = [other for other in chosen if other != row]
            if others and self.all_fit(self._solved(inputs, scale, others)):
                chosen = others
        cosines = np.abs(inputs[chosen] @ inputs.T) / np.sqrt(lengths[chosen][:, None] * lengths)
        if (np.nan_to_num(cosines) > 1 - CLOSE).sum() > len(chosen):
            return None  # another row has the same inputs, up to a factor
        apart = self._solved(inputs, scale, chosen)
        choices = math.comb(n_rows, len(chosen))
        return apart if self.is_proved(apart, choices, free_of_each=len(chosen)) else None

    def _solved(self, inputs: Array, scale: Array, chosen: list[int]) -> Apart:
        """D in the chosen rows, by least squares, and 0 in the others."""
        return self.instead(chosen, (np.linalg.pinv(inputs[chosen].T) * scale) @ self.error)

    def _factor(self, number: float, fits: Callable[[float, int], bool]) -> float | None:
        """A number with as few digits as fit; `fits` is told how many free numbers that is.

        Of two classes each error of S is a multiple of R, and only the factors that have a name say anything.
        """
        if not math.isfinite(number):
            return None
        factors = [*FACTORS]
        if self.problem.n_classes > 2:
            factors = [float(f"{number:.{digits}g}") for digits in range(1, 13)]
            factors = [0.0, *factors] if abs(number) < 0.5 else factors
        return next((one for one in factors if fits(one, int(one not in FACTORS))), None)

    @property
    def _classes(self) -> Iterator[tuple[int, NDArray[np.intp]]]:
        """Each class with its rows, if these are several, and not all."""
        for label in np.unique(self.labels[self.labels >= 0]).tolist():
            rows = np.flatnonzero(self.labels == label)
            if 1 < rows.size < self.problem.n_rows:
                yield label, rows

    # In words.

    def _happened(self, row: int, apart: Apart | None) -> str:
        """What happened to a row: a factor or another label that fits as well as D does; nothing if none does."""
        rows = np.array([row])
        if apart is None:  # of x and the logits each row is seen by itself
            residual, error = self.made(self.times(rows, 2), Entries(rows)).effect[0], self.error[row]
        else:
            residual, error = self.residuals(rows)[0], apart.values[apart.rows == row][0]

        def fits(trial: Apart, free: int = 0) -> bool:
            if apart is None:
                made = self.made(trial, Entries(rows))
                return bool(self.fits(made).all()) and self.bits(made, free) >= EVIDENCE
            others = apart.rows != row
            instead = Apart(
                trial.factors,
                np.concatenate([apart.rows[others], trial.rows]),
                np.concatenate([apart.values[others], trial.values]),
            )
            is_told = any(self.bits(made, free) >= EVIDENCE for made in self.in_turn(trial))
            return is_told and self.all_fit(instead)

        if residual.any():
            number = 1 + float(error @ residual / (residual @ residual))
            factor = self._factor(number, lambda one, free: fits(self.times(rows, one), free))
            if factor is not None:
                return _multiplied(factor)
        label = int(self.labels[row])
        if label >= 0 and self.has_classes:
            other = int(error.argmin())
            if other != label and fits(self.relabelled(rows, label, other)):
                names = (class_in_short(self.problem, one) for one in (label, other))
                return "has the label {} and was given {}".format(*names)
        return ""

    def _described(self, rows: NDArray[np.intp], apart: Apart | None) -> str:
        """The rows one by one, with what happened to each where that is known."""
        if self.problem.n_rows == 1:
            return self._of_residual(apart)
        whats = [self._happened(row, apart) for row in rows[:LISTED].tolist()]
        if rows.size == 1 and apart is None and not whats[0]:
            return ""  # the pattern says as much
        are_alike = not any(whats) or (len({*whats}) == 1 and rows.size <= LISTED)
        if rows.size == 1 or (are_alike and self._together(rows)):
            return self._sentence(rows, whats[0])
        pairs = zip(rows.tolist(), whats, strict=False)
        remarks = ", ".join(f"row {row} {what}" for row, what in pairs if what)
        rest = f": {remarks}." if remarks else f". {ALONE}"
        return f"Rows {_listed([*map(str, rows.tolist())])} alone are wrong{rest}"

    def _of_residual(self, apart: Apart | None) -> str:
        """What the only row says: that it is no error of the product with x."""
        if apart is None:
            return ""
        doubt = 2 * (self.allowed / np.abs(self.problem.inputs).T).min(axis=0)
        classes = np.flatnonzero(np.abs(apart.values[0]) > doubt).tolist()
        which = f"class {_listed([class_in_short(self.problem, one) for one in classes])}"
        which = "every class" if len(classes) == self.problem.n_classes else which
        return f"The product with x is right: the residual S - y is wrong, in {which}."

    def _together(self, rows: NDArray[np.intp]) -> str:
        """Several rows as one: all of a class, or one after the other; nothing if they are neither."""
        label, first, last = int(self.labels[rows[0]]), int(rows[0]), int(rows[-1])
        if label >= 0 and np.array_equal(rows, np.flatnonzero(self.labels == label)):
            return f"Every row of class {class_in_short(self.problem, label)}"
        if last - first + 1 > rows.size:
            return ""
        ends = {0: f", the first {rows.size},", self.problem.n_rows - rows.size: f", the last {rows.size},"}
        return f"Each of rows {first} {'to' if rows.size > 2 else 'and'} {last}{ends.get(first, '')}"

    def _sentence(self, rows: Any, what: str) -> str:
        """What happened to these rows, and that nothing happened to the others."""
        rows = np.asarray(rows)
        if rows.size == 1:
            return f"Row {rows[0]} alone is wrong{f': it {what}.' if what else f'. {ALONE}'}"
        rest = "" if what else f" {ALONE}"
        return f"{self._together(rows)} {what or 'is wrong'}; the others are right.{rest}"


def _at_the_ends(n_rows: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The runs that begin with the first row, and those that end with the last."""
    inner = np.arange(1, n_rows)
    return np.concatenate([0 * inner, inner]), np.concatenate([inner, n_rows + 0 * inner])


def _listed(names: Sequence[str]) -> str:
    """2, 3 and 5; of many only the first."""
    shown, more = names[:LISTED], len(names) - LISTED
    if more <= 0:
        shown, last = shown[:-1], shown[-1]
    else:
        last = f"{more} more"
    return f"{', '.join(shown)} and {last}" if shown else last


def _multiplied(factor: float) -> str:
    """What is said of rows that are multiplied with a number."""
    return FACTORS.get(factor, f"is multiplied with {factor:.12g}")


def _inverse(bound: Array) -> Array:
    """1 / bound; 0 where that is next to nothing, as for an input that is 0 in every row."""
    return np.divide(1, bound, out=np.zeros_like(bound), where=bound > LEAST)
