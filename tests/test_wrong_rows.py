"""The pieces of which rows are wrong: errors of residuals, what they make of a gradient, and how far they stand out."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest

from xegrad import METHODS, Evaluation, Problem, Targets, Tolerance
from xegrad.diagnosis import rows as rows_module
from xegrad.diagnosis.rows import (
    Apart,
    Made,
    _at_the_ends,
    _inverse,
    _listed,
    _multiplied,
    _Rows,
    wrong_rows,
)
from xegrad.diagnosis.search import EVERYTHING, Entries, Search
from xegrad.layer import forward, pull_back, residual
from xegrad.numbers.rounded import Rounded

NAMES = ("weights", "bias", "inputs", "logits")
LABELS = [1, 1, 1, 3, 0, 1, 0, 2]
ALONE = "A problem with such a row alone tells more."


@cache
def exactly(problem: Problem, name: str = "weights") -> Evaluation:
    return METHODS["exact"].evaluate(problem, (name,))


def batch(
    labels: Any = LABELS, n_inputs: int = 6, n_classes: int = 4, classes: Any = None, **options: Any
) -> Problem:
    random = np.random.default_rng(0)
    return Problem(
        random.normal(size=(n_inputs, n_classes)),
        random.normal(size=(len(labels), n_inputs)),
        Targets(np.array(labels), **options),
        random.normal(size=n_classes),
        classes,
    )


def carried(problem: Problem, error: Any, name: str = "weights") -> Any:
    """An error of the residuals, carried back."""
    return pull_back(problem, error, name)


def rows_of(
    problem: Problem, error: Any = 0.0, name: str = "weights", resolution: float = 0.0, **options: Any
) -> _Rows:
    """Of the candidate that is off by this error of the residuals."""
    exact = exactly(problem, name)
    wrong = residual(forward(problem)) + error
    return _Rows(
        Search(problem, exact, carried(problem, wrong, name), Tolerance(**options), resolution, name)
    )


def in_rows(problem: Problem, rows: Any) -> Any:
    """An error in these rows, of which each sums to 0."""
    error = np.zeros((problem.n_rows, problem.n_classes))
    error[rows] = np.random.default_rng(9).normal(size=error[rows].shape)
    return error - error.mean(axis=1, keepdims=True)


# In words.


def test_names_are_listed_eight_at_most() -> None:
    names = [str(k) for k in range(11)]
    for count, text in (
        (1, "0"),
        (2, "0 and 1"),
        (3, "0, 1 and 2"),
        (8, "0, 1, 2, 3, 4, 5, 6 and 7"),
        (9, "0, 1, 2, 3, 4, 5, 6, 7 and 1 more"),
        (11, "0, 1, 2, 3, 4, 5, 6, 7 and 3 more"),
    ):
        assert _listed(names[:count]) == text


def test_factors_have_names_or_twelve_digits() -> None:
    for factor, words in (
        (0.0, "contributes nothing"),
        (2.0, "is counted twice"),
        (-1.0, "has the opposite sign"),
        (1.0, "is multiplied with 1"),
        (0.1234567890123, "is multiplied with 0.123456789012"),
    ):
        assert _multiplied(factor) == words


def test_next_to_nothing_has_no_inverse() -> None:
    bounds = np.array([0.0, 2.0**-501, 2.0**-500, 2.0**-499, 4.0])
    np.testing.assert_array_equal(_inverse(bounds), [0, 0, 0, 2.0**499, 0.25])


@pytest.mark.parametrize("n_rows", [2, 5])
def test_runs_at_the_ends_begin_with_the_first_row_or_end_with_the_last(n_rows: int) -> None:
    starts, ends = _at_the_ends(n_rows)
    runs = [*zip(starts.tolist(), ends.tolist(), strict=True)]
    assert runs == [
        *((0, end) for end in range(1, n_rows)),
        *((start, n_rows) for start in range(1, n_rows)),
    ]


def test_several_rows_are_one_class_or_one_after_the_other() -> None:
    rows = rows_of(batch(classes=("a", "b", "c", "d")))
    for which, words in (
        ([0, 1, 2, 5], "Every row of class b"),
        ([4, 6], "Every row of class a"),
        ([0, 1], "Each of rows 0 and 1, the first 2,"),
        ([0, 1, 2], "Each of rows 0 to 2, the first 3,"),
        ([6, 7], "Each of rows 6 and 7, the last 2,"),
        ([2, 3, 4], "Each of rows 2 to 4"),
        ([3, 4], "Each of rows 3 and 4"),
        ([2, 4], ""),
        ([0, 1, 5], ""),
        ([1, 2, 5], ""),
    ):
        assert rows._together(np.array(which)) == words
    ignored = rows_of(batch([-1, -1, 0, 1], ignore_index=-1))
    assert ignored._together(np.array([0, 1])) == "Each of rows 0 and 1, the first 2,"
    assert rows._sentence([5], "is lost") == "Row 5 alone is wrong: it is lost."
    assert rows._sentence([5], "") == f"Row 5 alone is wrong. {ALONE}"
    assert rows._sentence([3, 4], "is lost") == "Each of rows 3 and 4 is lost; the others are right."
    assert rows._sentence([3, 4], "") == f"Each of rows 3 and 4 is wrong; the others are right. {ALONE}"


def test_classes_have_several_rows_and_not_all() -> None:
    for labels, expected in (
        (LABELS, {0: [4, 6], 1: [0, 1, 2, 5]}),
        ([2, 2, 2], {}),
        ([-1, 2, 0, 2, -1], {2: [1, 3]}),
    ):
        options = {"ignore_index": -1} if -1 in labels else {}
        found = {label: rows.tolist() for label, rows in rows_of(batch(labels, **options))._classes}
        assert found == expected


# Errors of the residuals.


@pytest.mark.parametrize("name", NAMES)
def test_an_error_of_residuals_makes_of_the_gradient_what_is_carried_back(name: str) -> None:
    problem = batch(label_smoothing=0.1)
    rows, r = rows_of(problem, name=name), residual(forward(problem))
    targets = problem.targets.effective(4, np.dtype(float))
    factors, relabelled, instead = np.zeros((8, 1)), np.zeros((8, 4)), in_rows(problem, [6, 2])
    factors[[1, 4]] = 2.5
    moved = targets[[0, 2], 1] - targets[[0, 2], 3]
    relabelled[[0, 2], 1], relabelled[[0, 2], 3] = moved, -moved
    both = Apart(np.where(np.arange(8) == 3, -1.0, 0.0), np.array([6, 2]), instead[[6, 2]])
    some = (
        Entries(np.array([0]), np.array([1, 3]))
        if name == "bias"
        else Entries(np.array([4, 1]), np.array([1, 3]))
    )
    for apart, error in (
        (rows.times([1, 4], 3.5), factors * r),
        (rows.times([], 3.5), 0 * r),
        (rows.instead([6, 2], instead[[6, 2]]), instead),
        (rows.relabelled(np.array([0, 2]), 1, 3), relabelled),
        (both, instead - r * (np.arange(8) == 3)[:, None]),
    ):
        effect = carried(problem, error, name).reshape(rows.search.shape)
        right = rows.search.exact.value
        for entries in (EVERYTHING, some):
            made = rows.made(apart, entries)
            assert made.entries is entries
            np.testing.assert_allclose(made.effect, entries.of(effect), rtol=1e-12, atol=1e-14)
            np.testing.assert_allclose(
                made.gradient.value, entries.of(right + effect), rtol=1e-12, atol=1e-14
            )
        np.testing.assert_allclose(rows.residuals(np.array([5, 0, 5])), r[[5, 0, 5]], rtol=1e-14)


def test_a_residual_is_off_by_as_much_of_itself_when_it_grows() -> None:
    """Ten times the residual has ten times its error, and less of it has the same; T + 4 roundings and two more."""
    rows = rows_of(batch(), name="logits")
    right, factors = rows.cells.R, np.array([0.0, 0.5, 1.0, -1.0, 3.0, -10.0, 100.0, 1000.0])
    for size in (0.01, 30.0):
        values, factor = np.array([[size, -size, 0.0, 0.0]]), factors.copy()
        changed = factors[:, None] * right.value
        changed[3] = right.value[3] + values
        factor[3] = np.abs(changed[3]).max() / np.abs(right.value[3]).max()
        growth = np.maximum(1, np.abs(factor))[:, None]
        expected = (
            Rounded(changed, growth * right.errors, right.arithmetic).in_any_way(4 + 4, 4).in_any_way(2)
        )
        factor[3] = 1.0
        made = rows.made(Apart(factor - 1, np.array([3]), values)).gradient
        np.testing.assert_allclose(made.errors, expected.errors, rtol=1e-6)


def test_a_fitted_error_is_off_by_printing_too() -> None:
    rows = rows_of(batch(), resolution=0.01)
    shape, arithmetic = rows.search.shape, rows.cells.arithmetic
    for off, fits, fits_fitted in (
        (0.0299, True, True),
        (0.0301, False, True),
        (0.0399, False, True),
        (0.0401, False, False),
    ):
        gradient = Rounded(rows.values + off, np.full(shape, 0.01), arithmetic)
        made = Made(EVERYTHING, gradient, gradient.value)
        assert bool(rows.fits(made).all()) is fits
        assert bool(rows.fits(made, fitted=True).all()) is fits_fitted
    unknown = Rounded(rows.values, np.full(shape, np.inf), arithmetic)
    assert not rows.fits(Made(EVERYTHING, unknown, unknown.value)).any()


EFFECT = 2.0 ** np.array([[3, -1, 5, 1], [2, 4, 60, 0], [1, 6, 1, 7.5]])
EFFECT[0, 0] = 0.0


@pytest.mark.parametrize(
    ("free", "of_each", "name", "bits"),
    [
        # Below 1 nothing counts, 53 is the most of one entry, and of the classes 59 is the most of a column.
        (0, 0, "weights", 2 + 1 + 4 + 6 + 1 + 7.5),
        (1, 0, "weights", 2 + 1 + 4 + 6 + 1),
        (0, 1, "weights", 1 + 4 + 1),
        (0, 2, "weights", 0.0),
        (0, 3, "weights", 0.0),
        (1, 4, "weights", 0.0),
        (1, 1, "weights", 1 + 1),
        (0, 0, "inputs", 2 + 1 + 4 + 6 + 1 + 7.5 + 5 + 53 + 1),
        (1, 0, "inputs", 2 + 1 + 4 + 6 + 1 + 7.5 + 5 + 1),
    ],
)
def test_bits_are_those_of_the_effect_without_a_class_and_without_what_is_fitted(
    free: int, of_each: int, name: str, bits: float
) -> None:
    problem = batch([0, 1, 2], n_inputs=3 if name == "weights" else 4)
    rows = rows_of(problem, name=name)
    made = Made(EVERYTHING, Rounded(-EFFECT, np.ones((3, 4)), rows.cells.arithmetic), -EFFECT)
    with np.errstate(all="ignore"):
        assert rows.bits(made, free, of_each) == pytest.approx(bits)
        thirds = made._replace(effect=np.full((3, 4), 8.0))
        assert rows.bits(thirds, 0, of_each) == pytest.approx(
            3 * max(0, 3 - of_each) * (4 - (name == "weights"))
        )


@pytest.mark.parametrize("choices", [1, 100])
def test_rows_are_proved_by_24_bits_and_the_logarithm_of_the_choices(choices: int) -> None:
    problem = batch()
    r = residual(forward(problem))
    error = np.where(np.arange(8)[:, None] == 3, r, 0.0)
    sizes = np.abs(carried(problem, error))

    def bits(resolution: float) -> float:
        each = np.log2(np.maximum(sizes / resolution, 1))
        return float(np.delete(each, each.sum(axis=0).argmax(), axis=1).sum())

    low, high = 0.0, float(sizes.max())
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if bits(middle) >= 24 + math.log2(choices) else (low, middle)
    for factor, expected in ((0.99, True), (1.01, False)):
        rows = rows_of(problem, error, resolution=low * factor)
        assert rows.is_proved(rows.times(3, 2.0), choices) is expected
    rows = rows_of(problem, error)
    assert not rows.is_proved(rows.times(3, 2.0 + 1e-9), choices)
    assert not rows.is_proved(rows.times(4, 2.0), choices)
    assert rows.all_fit(rows.times(3, 2.0)) and not rows.all_fit(rows.times(4, 2.0))


@pytest.mark.parametrize("name", NAMES)
def test_random_sums_of_the_error_are_those_of_the_rows(name: str) -> None:
    problem = batch()
    factors = np.array([0, 0.5, 0, -1, 0, 2, 0, 0])
    rows = rows_of(problem, factors[:, None] * residual(forward(problem)), name)
    sizes, sums, _ = rows._passed
    np.testing.assert_allclose(sizes, np.abs(residual(forward(problem))).max(axis=1), rtol=1e-14)
    np.testing.assert_allclose(rows._total, (sums * factors).sum(axis=1), rtol=1e-9)
    assert abs(rows._total[0] / rows._total[1] - 1) > 1e-3  # two sums, and not one twice
    assert rows._times_what(np.array([3])) is None
    several = rows_of(
        problem, np.where(np.isin(np.arange(8), [1, 3])[:, None], 0.3, 0) * residual(forward(problem)), name
    )
    assert several._times_what(np.array([1, 3])) == pytest.approx(1.3, rel=1e-12)
    assert several._times_what(np.array([1])) is None


def test_the_bound_of_a_right_entry_is_what_an_error_must_exceed() -> None:
    problem = batch()
    rows = rows_of(problem, resolution=1e-3)
    np.testing.assert_array_equal(rows.allowed, rows.search.exact.errors + 1e-3)
    rows = rows_of(problem, of_rows(problem, [2], 1 + 1e-3), "logits", 1e-4)
    error = np.abs(of_rows(problem, [2], 1 + 1e-3))
    np.testing.assert_array_equal(rows.is_wrong, error > 1e-4)
    assert rows_of(problem, 0.0, "logits").few() == ""


def test_a_row_that_does_not_count_is_off_by_nothing() -> None:
    """Its residual is 0, and so is its error."""
    problem = batch([1, 1, -1, 3, 0, -1, 0, 2], ignore_index=-1)
    with np.errstate(all="ignore"):
        for name in NAMES:
            found = rows_of(problem, of_rows(problem, [3], 2), name).group()
            assert found == "Row 3 alone is wrong: it is counted twice."


def test_one_row_that_is_seen_to_be_wrong_is_named_with_what_happened_to_it() -> None:
    problem = batch()
    error = np.zeros((8, 4))
    error[3] = np.array([-1, 0, 0, 1]) / 8
    with np.errstate(all="ignore"):
        found = rows_of(problem, error, "logits").few()
    assert found == "Row 3 alone is wrong: it has the label 3 and was given 0."


def test_a_factor_has_as_few_digits_as_fit() -> None:
    rows, two = rows_of(batch()), rows_of(batch([0, 1, 0], n_classes=2))
    asked: list[tuple[float, int]] = []

    def within(width: float) -> Any:
        def fits(factor: float, free: int) -> bool:
            asked.append((factor, free))
            return abs(factor - 0.34567) <= width

        return fits

    for width, factor in ((0.4, 0.0), (0.1, 0.3), (0.005, 0.35), (1e-4, 0.3457), (0.0, 0.34567)):
        assert rows._factor(0.34567, within(width)) == factor
    assert {one for one, free in asked if not free} == {0.0}
    assert rows._factor(0.34567 + 1e-13, within(1e-14)) == 0.34567
    assert rows._factor(0.5, lambda one, free: one == 0) is None
    assert rows._factor(-0.49, lambda one, free: one == 0) == 0
    assert rows._factor(1.9999, lambda one, free: (one, free) == (2.0, 0)) == 2
    assert rows._factor(math.nan, lambda one, free: True) is None
    # Of two classes any number would fit: only those that have a name are tried.
    assert two._factor(1.9999, lambda one, free: not free and one == 2) == 2
    assert two._factor(0.3, lambda one, free: one == 0.3) is None
    # Twelve digits, and no more.
    assert rows._factor(1 / 3, lambda one, free: one == 0.333333333333) == 0.333333333333
    assert rows._factor(1 / 3, lambda one, free: abs(one - 1 / 3) < 2e-13) is None


@pytest.mark.parametrize("name", NAMES)
def test_a_row_or_a_class_that_is_multiplied_with_a_number_is_found(name: str) -> None:
    problem = batch()
    for rows, factor, text in (
        ([3], 0.3, "Row 3 alone is wrong: it is multiplied with 0.3."),
        ([7], -1, "Row 7 alone is wrong: it has the opposite sign."),
        ([0, 1, 2, 5], 1.5, "Every row of class 1 is multiplied with 1.5; the others are right."),
        ([4, 6], 12.25, "Every row of class 0 is multiplied with 12.25; the others are right."),
        ([3, 7], 1.5, ""),
        (range(8), 1.5, ""),
    ):
        with np.errstate(all="ignore"):
            assert rows_of(problem, of_rows(problem, rows, factor), name).group() == text


def test_of_rows_that_fit_alike_none_is_named_as_multiplied() -> None:
    problem = batch([0, 1, 2, 0])
    twins = Problem(problem.weights, problem.inputs[[0, 1, 2, 0]], problem.targets)
    only = batch([1])
    with np.errstate(all="ignore"):
        assert rows_of(twins, of_rows(twins, [0], 1.5)).group() == ""
        assert (
            rows_of(twins, of_rows(twins, [1], 1.5)).group()
            == "Row 1 alone is wrong: it is multiplied with 1.5."
        )
        assert rows_of(only, of_rows(only, [0], 1.5)).group() == ""


def test_a_number_that_is_fitted_costs_the_entry_that_tells_most() -> None:
    """Two classes that count and two inputs: four entries, less one."""
    problem = batch([0, 1, 2], n_inputs=2, n_classes=3)
    error = of_rows(problem, [1], 1.5)
    effect = np.sort(np.abs(carried(problem, error)), axis=None)
    rows = rows_of(problem, error)
    with np.errstate(all="ignore"):
        made = rows.made(rows.times([1], 1.5))
        whole, free = rows.bits(made), rows.bits(made, 1)
        assert rows.is_proved(rows.times([1], 1.5), 2.0 ** (free - 24.5), free=1)
        assert not rows.is_proved(rows.times([1], 1.5), 2.0 ** (free - 23.5), free=1)
        assert rows.is_proved(rows.times([1], 1.5), 2.0 ** (whole - 24.5))
        for apart, expected in ((-24.5, True), (-23.5, False)):
            assert rows._is_group(np.array([1]), 2.0 ** (free + apart), 1.5, 0) is expected
    assert effect[0] > 0 and whole - free > 40


def test_what_is_fitted_may_be_off_by_twice_what_printing_left_open() -> None:
    problem = batch()
    rows = rows_of(problem, in_rows(problem, [2]), resolution=1e-6)
    apart = rows.instead([2], in_rows(problem, [2])[[2]])
    with np.errstate(all="ignore"):
        for off, fixed, fitted in ((0.9e-6, True, True), (1.5e-6, False, True), (2.1e-6, False, False)):
            rows.values = rows.search.values.reshape(6, 4) + off
            assert rows.is_proved(apart, 1) is fixed
            assert rows.is_proved(apart, 1, free_of_each=1) is fitted
            assert rows.all_fit(apart) is fitted


def test_an_entry_that_is_not_looked_at_first_must_fit_too() -> None:
    """400 entries, of which 256 are looked at first."""
    problem = batch(np.arange(6) % 20, 20, 20)
    for is_moved in (False, True):
        rows = rows_of(problem, of_rows(problem, [2], 2))
        seen = np.zeros((20, 20), dtype=bool)
        seen[np.ix_(*rows.search.screened)] = True
        if is_moved:
            rows.values = rows.values + 1e-9 * (np.cumsum(~seen).reshape(20, 20) == 50) * ~seen
        twice = rows.times([2], 2)
        with np.errstate(all="ignore"):
            first, *rest = rows.in_turn(twice)
            assert rows.fits(first).all() and [rows.fits(one).all() for one in rest] == [not is_moved]
            np.testing.assert_allclose(
                first.effect, rows.search.screened.of(rest[0].effect), rtol=1e-9, atol=1e-15
            )
            assert rows.is_proved(twice, 1) is not is_moved
            assert rows.all_fit(twice) is not is_moved


# Which rows are named.


def where(problem: Problem, error: Any, name: str = "weights", **options: Any) -> str:
    with np.errstate(all="ignore"):
        return wrong_rows(rows_of(problem, error, name, **options).search)


def of_rows(problem: Problem, rows: Any, factor: float) -> Any:
    error = np.zeros((problem.n_rows, problem.n_classes))
    error[rows] = (factor - 1) * residual(forward(problem))[rows]
    return error


@pytest.mark.parametrize("most", [8, 7])
def test_of_many_rows_a_run_is_sought_at_the_ends_alone(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "MOST_IN_RUNS", most)
    problem = batch()
    for run, text in (
        ([0, 1, 2], "Each of rows 0 to 2, the first 3, is counted twice; the others are right."),
        ([5, 6, 7], "Each of rows 5 to 7, the last 3, is counted twice; the others are right."),
        ([2, 3], "Each of rows 2 and 3 is counted twice; the others are right."),
    ):
        expected = text if most == 8 or run != [2, 3] else ""
        with np.errstate(all="ignore"):
            assert rows_of(problem, of_rows(problem, run, 2)).run() == expected
            nothing = expected.replace("is counted twice", "contributes nothing")
            assert rows_of(problem, of_rows(problem, run, 0)).run() == nothing
            if most == 8:
                row = rows_of(problem, of_rows(problem, run[:1], 2)).run()
                assert row == f"Row {run[0]} alone is wrong: it is counted twice."
    with np.errstate(all="ignore"):
        assert rows_of(problem, of_rows(problem, [2, 3], 3)).run() == ""
        assert rows_of(problem, of_rows(problem, range(8), 2)).run() == ""
        only = batch([1])
        assert rows_of(only, of_rows(only, [0], 2)).run() == ""


def test_the_shorter_of_two_runs_is_named_if_it_is_in_the_other() -> None:
    """A row of x = 0 makes no difference; and two rows of equal residuals and inputs cannot be told apart."""
    problem = batch()
    empty = Problem(problem.weights, problem.inputs * (np.arange(8) != 4)[:, None], problem.targets)
    with np.errstate(all="ignore"):
        found = rows_of(empty, of_rows(empty, [2, 3], 2)).run()
    assert found == "Each of rows 2 and 3 is counted twice; the others are right."
    twins = batch([0, 1, 2, 3, 0, 1])
    twins = Problem(twins.weights, twins.inputs[[0, 1, 2, 3, 0, 5]], twins.targets)
    with np.errstate(all="ignore"):
        assert rows_of(twins, of_rows(twins, [0], 2)).run() == ""


def test_every_row_of_a_class_with_another_label_is_named() -> None:
    problem = batch(classes=("a", "b", "c", "d"))
    hot = np.eye(4)[LABELS] / 8
    for label, other, name in ((1, 2, "weights"), (0, 3, "logits"), (1, 0, "weights")):
        error = np.where((np.array(LABELS) == label)[:, None], hot - np.roll(hot, other - label, axis=1), 0)
        with np.errstate(all="ignore"):
            found = rows_of(problem, error, name).other_label()
        assert (
            found
            == f"Every row of class {'abcd'[label]} was given the label {'abcd'[other]}; the others are right."
        )
    for name in ("bias", "inputs"):
        with np.errstate(all="ignore"):
            assert rows_of(problem, error, name).other_label() == ""


@pytest.mark.parametrize("n_classes", [4, 70])
def test_as_many_rows_are_named_as_there_are_inputs_but_one_four_at_most(n_classes: int) -> None:
    """And half of the rows at most."""
    labels = np.arange(12) % n_classes
    for n_inputs, rows, expected in (
        (6, [1, 4, 7, 9], "Rows 1, 4, 7 and 9 alone are wrong. "),
        (6, [1, 4, 7, 9, 10], ""),
        (3, [1, 4], "Rows 1 and 4 alone are wrong. "),
        (3, [1, 4, 7], ""),
        (3, [0], "Row 0 alone is wrong. "),
        (1, [0], ""),
    ):
        problem = batch(labels, n_inputs, n_classes)
        inputs = (
            problem.inputs.copy()
        )  # nearly at right angles, so that the row that takes most is one of them
        inputs[rows] = 3 * np.eye(len(rows), n_inputs) + inputs[rows] / 10
        problem = Problem(problem.weights, inputs, problem.targets)
        error = in_rows(problem, rows)
        error[rows] *= 10.0 ** -np.arange(len(rows))[:, None]
        assert where(problem, error) == (expected and expected + ALONE)
    few = batch([0, 1, 2], 6)
    assert where(few, in_rows(few, [1])) == f"Row 1 alone is wrong. {ALONE}"
    assert where(few, in_rows(few, [0, 1])) == ""


def test_a_row_that_was_taken_too_early_is_left_again() -> None:
    """One between the two takes most of an error that these have in common; the others are at right angles."""
    problem = batch(np.arange(6) % 4)
    inputs = np.eye(6)
    inputs[0] += inputs[1] + inputs[4]
    rotation = np.linalg.qr(problem.inputs)[0]
    between = Problem(problem.weights, inputs @ rotation, problem.targets)
    error = in_rows(between, [1, 4])
    error[4] = error[1] + error[4] / 10
    assert where(between, error) == f"Rows 1 and 4 alone are wrong. {ALONE}"


def test_rows_with_inputs_that_are_the_same_up_to_a_factor_are_not_named() -> None:
    problem = batch()
    for factor, off, expected in (
        (1.0, 0.0, ""),
        (-2.0, 0.0, ""),
        (1.0, 1e-3, f"Row 1 alone is wrong. {ALONE}"),
    ):
        inputs = problem.inputs.copy()
        inputs[5] = factor * inputs[1] + off * inputs[5]
        twins = Problem(problem.weights, inputs, problem.targets)
        assert where(twins, in_rows(twins, [1])) == expected


@pytest.mark.parametrize("name", ["inputs", "logits", "bias"])
def test_of_x_and_the_logits_half_of_the_rows_are_named_as_they_are_seen(name: str) -> None:
    problem = batch()
    for rows, expected in (
        ([0, 2, 5, 7], f"Rows 0, 2, 5 and 7 alone are wrong. {ALONE}"),
        ([0, 2, 3, 5, 7], ""),
        ([0, 1, 2], f"Each of rows 0 to 2, the first 3, is wrong; the others are right. {ALONE}"),
        ([3], ""),  # the pattern says as much
    ):
        assert where(problem, in_rows(problem, rows), name) == ("" if name == "bias" else expected)


def test_of_many_wrong_rows_eight_are_looked_at_and_named() -> None:
    problem = batch(np.arange(24) % 4)
    error = in_rows(problem, [*range(0, 20, 2)])
    found = where(problem, error, "logits")
    assert found == f"Rows 0, 2, 4, 6, 8, 10, 12, 14 and 2 more alone are wrong. {ALONE}"
    error[4] = residual(forward(problem))[4]
    found = where(problem, error, "logits")
    assert found == "Rows 0, 2, 4, 6, 8, 10, 12, 14 and 2 more alone are wrong: row 4 is counted twice."


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("nothing", "row 2 contributes nothing"),
        ("twice", "row 2 is counted twice"),
        ("sign", "row 2 has the opposite sign"),
        ("times", "row 2 is multiplied with 1.75"),
        ("label", "row 2 has the label b and was given d"),
        ("other", ""),
    ],
)
@pytest.mark.parametrize("name", ["weights", "logits"])
def test_what_happened_to_one_of_two_rows_is_told_beside_the_other(what: str, words: str, name: str) -> None:
    problem = batch(classes=("a", "b", "c", "d"))
    error = in_rows(problem, [2, 6])
    r = residual(forward(problem))[2]
    error[2] = {
        "nothing": -r,
        "twice": r,
        "sign": -2 * r,
        "times": 0.75 * r,
        "label": np.array([0, 1, 0, -1]) / 8,
        "other": error[2],
    }[what]
    rest = f": {words}." if words else f". {ALONE}"
    assert where(problem, error, name) == f"Rows 2 and 6 alone are wrong{rest}"


@pytest.mark.parametrize("name", ["inputs", "logits"])
def test_rows_to_which_the_same_happened_are_told_at_once_if_they_are_eight_at_most(name: str) -> None:
    """And one after the other, or all of a class."""
    problem = batch(np.arange(24) % 4)
    times = "is multiplied with 1.75"
    each = ", ".join(f"row {row} {times}" for row in range(8))
    for rows, expected in (
        ([2, 3], f"Each of rows 2 and 3 {times}; the others are right."),
        (range(8), f"Each of rows 0 to 7, the first 8, {times}; the others are right."),
        (range(9), f"Rows 0, 1, 2, 3, 4, 5, 6, 7 and 1 more alone are wrong: {each}."),
        ([2, 5], f"Rows 2 and 5 alone are wrong: row 2 {times}, row 5 {times}."),
        ([1, 5, 9, 13, 17, 21], f"Every row of class 1 {times}; the others are right."),
    ):
        with np.errstate(all="ignore"):
            assert rows_of(problem, of_rows(problem, rows, 1.75), name).few() == expected
    other = of_rows(problem, [2], 1.75) + in_rows(problem, [3])
    with np.errstate(all="ignore"):
        found = rows_of(problem, other, name).few()
    assert found == f"Rows 2 and 3 alone are wrong: row 2 {times}."


def test_what_happened_to_a_row_without_a_label_or_seen_in_the_inputs_is_no_label() -> None:
    problem = batch([1, 1, -1, 3, 0, 1, 0, 2], ignore_index=-1)
    error = np.zeros((8, 4))
    error[2] = error[6] = np.array([1, -1, 0, 0]) / 7  # row 6 has the label 0
    for name, expected in (
        ("logits", "Rows 2 and 6 alone are wrong: row 6 has the label 0 and was given 1."),
        ("inputs", f"Rows 2 and 6 alone are wrong. {ALONE}"),
    ):
        assert where(problem, error, name) == expected


def test_a_candidate_of_another_shape_or_without_a_bound_names_no_rows() -> None:
    problem = batch()
    error = of_rows(problem, [3], 2)
    assert where(problem, error) == "Row 3 alone is wrong: it is counted twice."
    exact = METHODS["exact"].evaluate(problem)
    wrong = carried(problem, residual(forward(problem)) + error)
    transposed = Search(problem, exact, wrong.T, Tolerance(), 0.0, "weights")
    assert wrong_rows(transposed) == ""
    rows = rows_of(problem, error)
    rows.search.exact = Rounded(rows.search.exact.value, np.full((6, 4), np.inf), rows.cells.arithmetic)
    with np.errstate(all="ignore"):
        assert wrong_rows(rows.search) == ""


def test_an_error_in_one_input_alone_is_no_row_and_with_one_input_it_is() -> None:
    for n_inputs, expected in ((6, ""), (1, "Row 3 alone is wrong: it is counted twice.")):
        problem = batch(n_inputs=n_inputs)
        inputs = problem.inputs.copy()
        inputs[3, 1:] = 0
        problem = Problem(problem.weights, inputs, problem.targets)
        assert where(problem, of_rows(problem, [3], 2)) == expected


def test_the_only_row_says_in_which_classes_its_residual_is_wrong() -> None:
    """By more than two bounds of an entry, over |x|."""
    problem = batch([1], 3, classes=("a", "b", "c", "d"))
    for error, classes in (
        ([0.1, 0, -0.1, 0], "class a and c"),
        ([0, 0.3, -0.1, -0.2], "class b, c and d"),
        ([0.3, 0.1, -0.1, -0.3], "every class"),
    ):
        assert where(problem, np.array([error])) == (
            f"The product with x is right: the residual S - y is wrong, in {classes}."
        )
    for name in ("bias", "inputs", "logits"):
        assert where(problem, np.array([[0.1, 0, -0.1, 0]]), name) == ""
    problem = batch([1], 30, classes=("a", "b", "c", "d"))
    resolution = 1e-3
    doubt = 2 * resolution / np.abs(problem.inputs).max()
    for size, classes in ((1.1 * doubt, "class a, b and d"), (0.9 * doubt, "class a and d")):
        found = where(problem, np.array([[0.5, size, 0, -0.5 - size]]), resolution=resolution)
        assert found == f"The product with x is right: the residual S - y is wrong, in {classes}."
