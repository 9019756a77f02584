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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xegrad import layer
from xegrad.diagnosis.evidence import AT_MOST, EVIDENCE
from xegrad.diagnosis.search import EVERYTHING, Search
from xegrad.naming import class_in_short
from xegrad.numbers.rounded import Rounded
from xegrad.targets import Array

FEW = 4  # rows that are sought one after the other; more are no longer few
LISTED = 8  # rows that are named one by one
TRIED, TRIED_IN_HUGE = 8, 1  # of all runs, those that come nearest
MOST_IN_RUNS = 1024  # rows; of more only a run at the beginning or at the end is sought
CLOSE = 2.0**-30  # 1 - the cosine of two rows that cannot be told apart
ALONE = "A problem with such a row alone tells more."
EXCESS = 2.0**12  # bounds of the right gradient that an entry may be off at first sight
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


class _Rows:
    """A candidate's error, and what an error of the residuals makes of it."""

    def __init__(self, search: Search) -> None:
        self.search, self.cells, self.problem = search, search.cells, search.cells.problem
        self.values = search.values.reshape(search.shape)
        self.resolution = search.resolution.reshape(search.shape)
        self.allowed = search.allowed(search.exact, self.resolution, 1)
        self.error = self.values - search.exact.value
        self.residual, self.targets = self.cells.R.value, self.cells.Q.value
        self.labels = self.problem.targets.label_of_rows
        self.has_classes = self.cells.name != "inputs"  # in the columns
        self.is_wrong = np.abs(self.error) > self.allowed
        self.tried = TRIED_IN_HUGE if search.is_huge else TRIED

    # What an error D of the residuals makes of the gradient.

    def effect(self, apart: Array) -> Array:
        """D carried back, in the shape of the gradient."""
        return layer.pull_back(self.problem, apart, self.cells.name).reshape(self.search.shape)

    def made(self, apart: Array) -> Rounded:
        """The gradient of the residuals R + D, with its bound: R + D is off by as much of itself as R."""
        size, grown = (np.abs(array).max(axis=1) for array in (self.residual, self.residual + apart))
        growth = np.maximum(1, np.divide(grown, size, out=np.ones_like(size), where=size > 0))
        errors = growth[:, None] * self.cells.R.errors
        residual = Rounded(self.residual + apart, errors, self.cells.arithmetic)
        residual = residual.in_any_way(self.problem.n_classes + 4, 4)
        error = self.search.gradient(self.cells.replace("R", residual), EVERYTHING).error
        return Rounded(self.search.exact.value + self.effect(apart), error, self.cells.arithmetic)

    def fits(self, apart: Array, fitted: bool = False) -> NDArray[np.bool_]:
        """Which entries are within twice the bound of what R + D makes; a D that is fitted is off by printing, too."""
        made = self.made(apart)
        allowed = self.search.allowed(made, self.resolution * (1 + fitted), 2)
        return np.isfinite(allowed) & (np.abs(self.values - made.value) <= allowed)

    def is_near(self, apart: Array, error: Array) -> bool:
        """Whether D may make an error, at first sight: a closer look costs a few times as much."""
        return bool((np.abs(error - self.effect(apart)) <= EXCESS * self.allowed).all())

    def is_proved(self, apart: Array, choices: float, *, free: int = 0, free_of_each: int = 0) -> bool:
        """Whether all entries fit, and tell this D from as many others as there were to choose from."""
        needed = EVIDENCE + math.log2(choices)
        fitting = bool(self.fits(apart, free_of_each > 0).all())
        return fitting and self.bits(apart, free, free_of_each) >= needed

    def bits(self, apart: Array, free: int = 0, free_of_each: int = 0) -> float:
        """How far D stands out from the bound, without the most telling entries of all, and of each class."""
        parts = np.abs(self.effect(apart)) / self.search.allowed(self.made(apart), self.resolution, 1)
        bits = np.clip(np.log2(np.where(parts > 0, parts, 1)), 0, AT_MOST)
        if self.has_classes:  # a row of an error of S sums to 0: one class follows from the others
            bits = np.delete(bits, bits.sum(axis=0).argmax(), axis=1)
        bits = np.sort(bits, axis=0)[: bits.shape[0] - free_of_each]
        return float(np.sort(bits.ravel())[: bits.size - free].sum())

    # Rows whose whole residual is left out, or counted twice, or multiplied.

    @cached_property
    def _projections(self) -> tuple[Array, Array]:
        """Two random sums of E, (2,), and of what the residual of each row makes, (2, B), in units of the bound."""
        problem, name, shape = self.problem, self.cells.name, self.search.shape
        weights = np.random.default_rng(0).normal(size=(2, *shape)) * _inverse(self.allowed)
        back = {"weights": problem.inputs, "bias": np.ones((problem.n_rows, 1))}.get(name)
        of_residual = weights @ problem.weights if back is None and name == "inputs" else weights
        of_residual = of_residual if back is None else back @ weights
        return (weights * self.error).sum(axis=(1, 2)), (of_residual * self.residual).sum(axis=2)

    def run(self) -> str:
        """Rows one after the other that contribute nothing, or twice."""
        n_rows, (total, of_rows) = self.problem.n_rows, self._projections
        if n_rows == 1:
            return ""
        sums = np.concatenate([[0], np.cumsum(of_rows[0])])
        starts, ends = np.triu_indices(n_rows + 1, 1) if n_rows <= MOST_IN_RUNS else _at_the_ends(n_rows)
        for factor in (0, 2):
            apart = np.abs((factor - 1) * (sums[ends] - sums[starts]) - total[0])
            runs = []
            for k in np.argsort(apart)[: self.tried].tolist():
                run = range(int(starts[k]), int(ends[k]))
                of_run = self._only(run, (factor - 1) * self.residual)
                is_possible = len(run) < n_rows and self.is_near(of_run, self.error)
                if is_possible and self.is_proved(of_run, n_rows * (n_rows + 1)):
                    runs.append(run)
            # A longer one that fits too has rows that make no difference; another one cannot be told apart.
            if runs and all({*min(runs, key=len)} <= {*run} for run in runs):
                return self._sentence(min(runs, key=len), _multiplied(factor))
        return ""

    def group(self) -> str:
        """One row, or every row of a class, multiplied with a number."""
        total, of_rows = self._projections
        groups = [np.array([k]) for k in range(self.problem.n_rows)] if self.problem.n_rows > 1 else []
        groups += [rows for _, rows in self._classes]
        factors = np.array([total / of_rows[:, rows].sum(axis=1) for rows in groups]).reshape(-1, 2)
        differ = np.nan_to_num(np.abs(factors[:, 0] / factors[:, 1] - 1), nan=np.inf)
        fitting = []
        for k in np.argsort(differ)[: self.tried].tolist():
            part = self._only(groups[k], self.residual)
            effect, error = (array * _inverse(self.allowed) for array in (self.effect(part), self.error))
            number = 1 + float((effect * error).sum() / (effect * effect).sum())
            if self.is_near((number - 1) * part, self.error):
                factor = self._factor(number, partial(self._is_group, part, len(groups)))
                fitting += [] if factor is None else [(groups[k], factor)]
        if len(fitting) != 1:
            return ""
        rows, factor = fitting[0]
        return self._sentence(rows, _multiplied(factor))

    def _is_group(self, part: Array, choices: int, factor: float, _: int) -> bool:
        return self.is_proved((factor - 1) * part, choices, free=1)

    def other_label(self) -> str:
        """Every row of a class that has another label."""
        if self.cells.name not in ("weights", "logits"):
            return ""
        columns = np.flatnonzero(self.is_wrong.any(axis=0))
        n_classes = self.problem.n_classes
        for label, rows in self._classes if columns.size == 2 else ():
            if label in columns:
                other = int(columns[columns != label][0])
                apart = self._only(rows, self._relabelled(label, other))
                if self.is_proved(apart, n_classes * (n_classes - 1)):
                    return self._sentence(rows, f"was given the label {class_in_short(self.problem, other)}")
        return ""

    # A few rows of which nothing else is known.

    def few(self) -> str:
        """Rows whose residuals may be anything: those that are seen to be wrong, or that explain the error of dL/dW."""
        n_rows, name = self.problem.n_rows, self.cells.name
        if name == "weights":
            apart = self._of_few_rows()
            return "" if apart is None else self._described(np.flatnonzero(apart.any(axis=1)), apart)
        wrong = np.flatnonzero(self.is_wrong.any(axis=1))
        if name == "bias" or not 0 < wrong.size <= n_rows // 2:
            return ""
        return self._described(wrong, None)

    def _of_few_rows(self) -> Array | None:
        """D of as few rows as explain E = X' D: those that take most of what is left, one after the other."""
        problem, n_rows = self.problem, self.problem.n_rows
        scale = _inverse(self.allowed.mean(axis=1))  # the inputs that are known best count most
        inputs, error = problem.inputs * scale, self.error * scale[:, None]
        lengths = (inputs * inputs).sum(axis=1)
        chosen: list[int] = []
        for _ in range(min(problem.n_inputs - 1, FEW, max(1, n_rows // 2))):
            left = error - inputs[chosen].T @ self._solved(inputs, error, chosen)[chosen]
            taken = np.nan_to_num(((inputs @ left) ** 2).sum(axis=1) / lengths, nan=-1)
            taken[chosen] = -1
            chosen.append(int(taken.argmax()))
            if self.fits(self._solved(inputs, error, chosen), True).all():
                break
        else:
            return None
        for row in tuple(chosen):  # one that was taken too early
            others = [other for other in chosen if other != row]
            if others and self.fits(self._solved(inputs, error, others), True).all():
                chosen = others
        cosines = np.abs(inputs[chosen] @ inputs.T) / np.sqrt(lengths[chosen][:, None] * lengths)
        if (np.nan_to_num(cosines) > 1 - CLOSE).sum() > len(chosen):
            return None  # another row has the same inputs, up to a factor
        apart = self._solved(inputs, error, chosen)
        choices = math.comb(n_rows, len(chosen))
        return apart if self.is_proved(apart, choices, free_of_each=len(chosen)) else None

    def _solved(self, inputs: Array, error: Array, chosen: list[int]) -> Array:
        """D in the chosen rows, by least squares, and 0 in the others."""
        solved = np.zeros_like(self.residual)
        solved[chosen] = np.linalg.lstsq(inputs[chosen].T, error, rcond=None)[0]
        return solved

    def _only(self, rows: Any, apart: Array) -> Array:
        """D in these rows, and 0 in the others."""
        only = np.zeros_like(apart)
        only[rows] = apart[rows]
        return only

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

    def _relabelled(self, label: int, other: int) -> Array:
        """D of rows with this label that are given the other."""
        apart = np.zeros_like(self.residual)
        apart[:, label] = self.targets[:, label] - self.targets[:, other]
        apart[:, other] = -apart[:, label]
        return apart

    # In words.

    def _what(self, row: int, apart: Array | None) -> str:
        """What happened to a row: a factor or another label that fits as well as D does; nothing if none does."""
        only = self._only([row], self.residual)
        if apart is None:  # of x and the logits each row is seen by itself
            residual, error = self.effect(only)[row], self.error[row]
            of_row = np.where(np.arange(len(only))[:, None] == row, self.error, 0)
        else:
            residual, error, of_row = self.residual[row], apart[row], self.effect(self._only([row], apart))

        def fits(trial: Array, free: int = 0) -> bool:
            trial = self._only([row], trial)
            if not self.is_near(trial, of_row) or self.bits(trial, free) < EVIDENCE:
                return False
            if apart is None:
                return bool(self.fits(trial)[row].all())
            return bool(self.fits(apart - self._only([row], apart) + trial, True).all())

        if residual.any():
            number = 1 + float(error @ residual / (residual @ residual))
            factor = self._factor(number, lambda one, free: fits((one - 1) * self.residual, free))
            if factor is not None:
                return _multiplied(factor)
        label = int(self.labels[row])
        if label >= 0 and self.has_classes:
            other = int(error.argmin())
            if other != label and fits(self._relabelled(label, other)):
                names = (class_in_short(self.problem, one) for one in (label, other))
                return "has the label {} and was given {}".format(*names)
        return ""

    def _described(self, rows: NDArray[np.intp], apart: Array | None) -> str:
        """The rows one by one, with what happened to each where that is known."""
        if self.problem.n_rows == 1:
            return self._of_residual(apart)
        whats = [self._what(row, apart) for row in rows[:LISTED].tolist()]
        if rows.size == 1 and apart is None and not whats[0]:
            return ""  # the pattern says as much
        are_alike = not any(whats) or (len({*whats}) == 1 and rows.size <= LISTED)
        if rows.size == 1 or (are_alike and self._together(rows)):
            return self._sentence(rows, whats[0])
        pairs = zip(rows.tolist(), whats, strict=False)
        remarks = ", ".join(f"row {row} {what}" for row, what in pairs if what)
        rest = f": {remarks}." if remarks else f". {ALONE}"
        return f"Rows {_listed([*map(str, rows.tolist())])} alone are wrong{rest}"

    def _of_residual(self, apart: Array | None) -> str:
        """What the only row says: that it is no error of the product with x."""
        if apart is None:
            return ""
        doubt = 2 * (self.allowed / np.abs(self.problem.inputs).T).min(axis=0)
        classes = np.flatnonzero(np.abs(apart[0]) > doubt).tolist()
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
