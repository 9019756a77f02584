"""Which rows of a batch are wrong: what was done to the residuals of some rows is said of these rows, and no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from xegrad import METHODS, Problem, Targets, Tolerance, diagnose
from xegrad.diagnosis.rows import wrong_rows
from xegrad.diagnosis.search import Search
from xegrad.layer import forward, pull_back, residual

LABELS = [1, 1, 1, 3, 0, 1, 0, 2]
ALONE = "A problem with such a row alone tells more."
GRADIENTS = ("weights", "bias", "inputs", "logits")

Change = Callable[[Any, Any], None]  # of the residuals R and the targets Q, in place


def batch(labels: Any = LABELS, n_inputs: int = 6, n_classes: int = 4, seed: int = 0) -> Problem:
    random = np.random.default_rng(seed)
    return Problem(
        random.normal(size=(n_inputs, n_classes)),
        random.normal(size=(len(labels), n_inputs)),
        Targets(labels=np.array(labels)),
        random.normal(size=n_classes),
    )


def said(problem: Problem, change: Change, name: str = "weights", dtype: Any = np.float64) -> str:
    """What is said of the gradient that numpy makes of changed residuals, by its name or by its rows."""
    changed = residual(forward(problem)).copy()
    change(changed, problem.targets.effective(problem.n_classes, problem.dtype))
    candidate = pull_back(problem, changed, name).astype(dtype)
    tolerance = Tolerance(precision=np.dtype(dtype).name)
    exact = METHODS["exact"].evaluate(problem, (name,))
    diagnosis = diagnose(problem, exact, candidate, tolerance, 0.0, name)
    if diagnosis.names == (("rows-left-out",),):
        return diagnosis.explanations[0].happened.partition(":")[0]
    assert not diagnosis.names
    return diagnosis.where


def times(rows: Any, factor: float) -> Change:
    def change(residuals: Any, _: Any) -> None:
        residuals[rows] *= factor

    return change


def moved(rows: Any) -> Change:
    """By anything whose rows sum to 0."""

    def change(residuals: Any, _: Any) -> None:
        error = np.random.default_rng(9).normal(size=residuals[rows].shape)
        residuals[rows] += error - error.mean(axis=-1, keepdims=True)

    return change


def relabelled(rows: Any, label: int, other: int) -> Change:
    def change(residuals: Any, targets: Any) -> None:
        residuals[rows, label] += targets[rows, label]
        residuals[rows, other] -= targets[rows, label]

    return change


def both(*changes: Change) -> Change:
    def change(residuals: Any, targets: Any) -> None:
        for one in changes:
            one(residuals, targets)

    return change


@pytest.mark.parametrize("name", GRADIENTS)
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (times(7, 0), "Row 7 contributes nothing"),
        (times(7, 2), "Row 7 alone is wrong: it is counted twice."),
        (times(3, -1), "Row 3 alone is wrong: it has the opposite sign."),
        (times(3, 0.3), "Row 3 alone is wrong: it is multiplied with 0.3."),
        (
            times([5, 6, 7], 0),
            "Rows 5 to 7, the last 3, contribute nothing",
        ),
        (
            times([0, 1], 2),
            "Each of rows 0 and 1, the first 2, is counted twice; the others are right.",
        ),
        (times([0, 1, 2, 5], 1.5), "Every row of class 1 is multiplied with 1.5; the others are right."),
    ],
)
def test_rows_that_are_left_out_or_multiplied_are_named(name: str, change: Change, sentence: str) -> None:
    assert said(batch(), change, name) == sentence


@pytest.mark.parametrize(
    ("rows", "by_name", "of_bias"),
    [
        ([2, 3, 4], "Rows 2 to 4 contribute nothing", "Each of rows 2 to 4 contributes nothing"),
        ([4, 6], "Rows 4, 6 (2 of 8) contribute nothing", "Every row of class 0 contributes nothing"),
    ],
)
def test_a_bias_holds_too_few_numbers_for_the_name(rows: list[int], by_name: str, of_bias: str) -> None:
    for name in GRADIENTS:
        of_one = f"{of_bias}; the others are right." if name == "bias" else by_name
        assert said(batch(), times(rows, 0), name) == of_one


def test_one_input_is_enough_for_a_factor() -> None:
    assert said(batch(n_inputs=1), times(7, 2)) == "Row 7 alone is wrong: it is counted twice."


def test_a_row_is_found_among_larger_ones() -> None:
    """What a row takes of the error counts, and not how large it is."""
    problem = batch()
    sizes = np.where(np.isin(np.arange(8), [0, 1, 3, 4]), 100, 1)
    uneven = Problem(problem.weights, problem.inputs * sizes[:, None], problem.targets, problem.bias)
    assert said(uneven, moved(2)) == f"Row 2 alone is wrong. {ALONE}"


def test_what_is_fitted_to_a_number_proves_nothing() -> None:
    """Of two inputs and two classes one number is left, and one of float32 has too few digits."""
    problem = batch([0, 1, 1, 0], n_inputs=2, n_classes=2)
    assert said(problem, moved(2)) == f"Row 2 alone is wrong. {ALONE}"
    assert said(problem, moved(2), dtype=np.float32) == ""


def test_in_float32_too() -> None:
    assert said(batch(), times(7, 2), dtype=np.float32) == "Row 7 alone is wrong: it is counted twice."


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (moved(2), f"Row 2 alone is wrong. {ALONE}"),
        (moved([2, 6]), f"Rows 2 and 6 alone are wrong. {ALONE}"),
        (
            both(times(2, 0), relabelled(3, 3, 0)),
            "Rows 2 and 3 alone are wrong: row 2 contributes nothing, row 3 has the label 3 and was given 0.",
        ),
        (relabelled([0, 1, 2, 5], 1, 2), "Every row of class 1 was given the label 2; the others are right."),
    ],
)
def test_rows_that_went_wrong_in_another_way_are_named(change: Change, sentence: str) -> None:
    assert said(batch(), change) == sentence


def test_the_label_of_one_class_is_no_order_of_its_own() -> None:
    """Class 2 is the label of no row, so that only one of those that are moves."""
    every = "Every row of class 1 was given the label 2; the others are right."
    assert said(batch([1, 1, 1, 3, 0, 1, 0, 3]), relabelled([0, 1, 2, 5], 1, 2)) == every


def test_the_only_row_clears_the_product_with_x() -> None:
    sentence = "The product with x is right: the residual S - y is wrong, in every class."
    assert said(batch([1], 3, 3), moved(0)) == sentence
    sentence = "The product with x is right: the residual S - y is wrong, in class 0 and 2."
    assert said(batch([1], 3, 4), relabelled(0, 0, 2)) == ""  # no target there: it did not move
    problem = batch([1], 3, 4)
    assert said(problem, lambda residuals, _: residuals[0].__iadd__([0.1, 0, -0.1, 0])) == sentence


def test_rows_that_cannot_be_told_apart_are_not_named() -> None:
    problem = batch()
    twins = Problem(problem.weights, problem.inputs[[0, 0, *range(2, 8)]], problem.targets, problem.bias)
    assert said(twins, times(1, 2)) == ""
    assert said(twins, moved(1)) == ""
    assert said(twins, times(4, 2)) == "Row 4 alone is wrong: it is counted twice."


def test_two_classes_have_a_factor_for_every_error_and_none_is_named() -> None:
    problem = batch([0, 1, 1, 0], n_classes=2)
    assert said(problem, moved(2)) == f"Row 2 alone is wrong. {ALONE}"
    assert said(problem, moved(2), "bias") == ""


@pytest.mark.parametrize("name", GRADIENTS)
@pytest.mark.parametrize("seed", range(4))
def test_an_error_of_every_row_names_none(name: str, seed: int) -> None:
    assert said(batch(seed=seed), moved(slice(None)), name) == ""


@pytest.mark.parametrize("of", ["entry", "class", "input", "everything", "product"])
def test_an_error_that_is_not_of_rows_names_none(of: str) -> None:
    """40 of each, over rows of the usual kind, one-hot rows and rows with few numbers."""
    random = np.random.default_rng(3)
    for k in range(40):
        problem = batch(random.integers(4, size=random.integers(1, 9)), int(random.integers(2, 6)), seed=k)
        shape = problem.inputs.shape
        kinds: list[Any] = [problem.inputs, np.eye(shape[1])[random.integers(shape[1], size=shape[0])]]
        kinds.append(random.integers(-1, 2, shape))
        problem = Problem(problem.weights, kinds[k % 3], problem.targets)
        exact = METHODS["exact"].evaluate(problem)
        right = exact.gradients["weights"]
        error = random.normal(size=right.shape)
        places: dict[str, Any] = {
            "entry": (random.integers(shape[1]), 2),
            "class": (slice(None), 1),
            "input": random.integers(shape[1]),
        }
        kept = np.zeros(right.shape)
        kept[places.get(of, slice(None))] = 1
        if of == "product":
            error = np.outer(error[:, 0], error[0])
        search = Search(problem, exact, right + kept * error, Tolerance(), np.zeros(()), "weights")
        with np.errstate(all="ignore"):
            assert wrong_rows(search) == "", k
