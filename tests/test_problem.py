"""A Problem is checked once, is read-only, and keeps what was given."""

from __future__ import annotations

import contextlib
import copy
import gc
from typing import Any

import numpy as np
import pytest

from xegrad import METHODS, InputError, Problem, Targets, Tolerance, bounds, compute, diagnose, judge, layer
from xegrad.problem import Layout


def problem(**changed: Any) -> Problem:
    parts: dict[str, Any] = {
        "weights": np.ones((2, 3)),
        "inputs": np.ones((1, 2)),
        "targets": Targets(labels=np.array([0])),
    }
    return Problem(**(parts | changed))


def test_arrays_are_copied_and_read_only() -> None:
    weights = np.ones((2, 3))
    made = problem(weights=weights)
    weights[0, 0] = 7
    assert made.weights[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        made.weights[0, 0] = 7


def test_a_frozen_problem_has_no_new_parts() -> None:
    with pytest.raises(AttributeError):
        # mypy refuses it as well; that it fails when it runs is what is tested.
        problem().weights = np.zeros((2, 3))  # type: ignore[misc]


def test_what_holds_arrays_is_frozen_and_is_the_same_as_itself_alone() -> None:
    """Two arrays have no single ==.  `Rounded` is made at every operation, and so is not frozen, which takes time."""
    one = problem()
    exact = METHODS["exact"].evaluate(one)
    judgement = judge(one, exact, np.zeros((2, 3)), Tolerance())
    rounded = bounds.cells_of(one, Tolerance().arithmetic).Z
    kept = [one, one.targets, layer.forward(one), bounds.stable(one), exact, judgement, judgement.comparison]
    for thing in [*kept, diagnose(one, exact, np.zeros((2, 3))), rounded]:
        assert hash(thing) == hash(thing)
        assert thing == thing
        assert thing != copy.copy(thing)
        name = thing.__struct_fields__[0]
        with pytest.raises(AttributeError) if thing is not rounded else contextlib.nullcontext():
            setattr(thing, name, getattr(thing, name))


def test_sizes_are_those_of_the_last_two_axes() -> None:
    made = problem(
        weights=np.ones((4, 2, 3)), inputs=np.ones((4, 5, 2)), targets=Targets(np.zeros((4, 5), int))
    )
    assert (made.n_rows, made.n_inputs, made.n_classes) == (5, 2, 3)


def test_float32_stays_only_where_all_of_it_is() -> None:
    weights, inputs = np.ones((2, 3), np.float32), np.ones((1, 2), np.float32)
    assert problem(weights=weights, inputs=inputs).dtype == np.float32
    assert problem(weights=weights).dtype == np.float64
    assert problem(weights=np.ones((2, 3), int), inputs=inputs).dtype == np.float64


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"weights": np.ones(3)}, "W must have two dimensions"),
        ({"weights": np.ones((0, 3)), "inputs": np.ones((1, 0))}, "W is 0 x 3"),
        ({"weights": np.ones((2, 0))}, "W is 2 x 0"),
        ({"inputs": np.ones(2)}, r"inputs must be \(B, N\)"),
        ({"inputs": np.ones((0, 2))}, "x has no rows"),
        ({"inputs": np.ones((1, 3))}, "x has 3 entries but W has 2 rows"),
        ({"bias": np.ones(2)}, "b has 2 numbers but W has 3 classes"),
        ({"weights": np.full((2, 3), np.nan)}, r"W\[0, 0\] is nan"),
        ({"inputs": np.array([[1, np.inf]])}, r"x\[0, 1\] is inf"),
        ({"weights": np.full((2, 3), "a")}, "W must be made of real numbers"),
        ({"weights": np.ones((2, 3), complex)}, "W must be made of real numbers"),
        ({"targets": Targets(labels=np.array([3]))}, "label 3 is out of range"),
        ({"targets": Targets(labels=np.array([0, 1]))}, "label has 2 rows but x has 1"),
        ({"targets": Targets(soft=np.ones((1, 2)))}, "label has 2 numbers but W has 3 classes"),
        ({"weights": None}, "W must be made of real numbers"),
        ({"weights": [[1, 2], [3]]}, "W is not an array"),
        ({"weights": np.ones((0, 2, 3)), "inputs": np.ones((0, 1, 2))}, "W is an empty stack"),
        ({"targets": [0]}, r"targets must be Targets\(labels"),
        ({"targets": Targets(labels=np.array([[0]]))}, r"targets are for rows of shape \(1, 1\)"),
        ({"classes": (1, 2, 3)}, "class names must be strings"),
        ({"classes": ("a", "b")}, "2 class names for 3 classes"),
        ({"classes": ("a", "b", "a")}, "classes 0 and 2 are both named 'a'"),
        ({"input_names": ("a", "b", "c")}, "3 input names for 2 inputs"),
        ({"input_names": ("a", "a")}, "inputs 0 and 1 are both named 'a'"),
    ],
)
def test_what_does_not_fit_is_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        problem(**changed)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "either labels or soft"),
        ({"labels": [0], "soft": [[1.0]]}, "either labels or soft"),
        ({"labels": [0.5]}, "labels are whole numbers"),
        ({"labels": [True]}, "labels are whole numbers"),
        ({"soft": [[0.0, -0.5]]}, "the target of class 1 is -0.5"),
        ({"soft": [[1.0, 0.0], [0.5, -0.25]]}, "the target of class 1 in row 1 is -0.25"),
        ({"labels": []}, "there are no labels; each row of x has one"),
        ({"soft": np.ones((0, 2))}, "there are no targets; each row of x has one"),
        ({"soft": [[0.5, np.nan]]}, "finite"),
        ({"soft": [["a", "b"]]}, "real numbers"),
        ({"soft": [[1.0], [1.0, 2.0]]}, "label is not an array"),
        ({"labels": np.array([2**64 - 1], dtype=np.uint64)}, "label 18446744073709551615 is out of range"),
    ],
)
def test_targets_that_mean_nothing_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        Targets(**given)
    assert refused.value.part == "label"


def test_targets_keep_what_was_given_and_fold_it_on_demand() -> None:
    hard = Targets(labels=np.array([1, 0]), reduction="sum")
    soft = Targets(soft=np.array([[0.0, 1.0], [0.25, 0.5]]), reduction="sum")
    assert hard.effective(2, np.dtype(float)).tolist() == [[0, 1], [1, 0]]
    assert soft.effective(2, np.dtype(float)).tolist() == [[0, 1], [0.25, 0.5]]
    assert hard.label_of_rows.tolist() == [1, 0]
    assert soft.label_of_rows.tolist() == [1, -1]
    no_labels = Targets(soft=[[1.0, 0.5], [0.5, 0.0], [1.0, 1.0], [0.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    assert no_labels.label_of_rows.tolist() == [-1, -1, -1, -1, -1, 1]


@pytest.mark.parametrize(
    ("row", "warns"),
    [
        ([0.1] * 10, False),
        ([1 / 3] * 3, False),
        ([0.5, 0.25], True),
        ([0.0, 0.0], True),
        ([0.33333333] * 3, True),
        ([0.5 + 2.0**-53] * 2, False),  # each off by u of itself, and their sum too
        ([0.5 + 2.0**-52] * 2, True),
    ],
)
def test_a_sum_other_than_one_is_a_warning_and_rounding_is_none(row: list[float], warns: bool) -> None:
    assert bool(Targets(soft=np.array([row])).warnings) is warns


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("is_batch", [False, True])
def test_a_layout_there_and_back_is_the_same_gradient(transpose: bool, is_batch: bool) -> None:
    layout = Layout(transpose=transpose, is_batch=is_batch)
    n_rows = 2 if is_batch else 1
    problem = Problem(np.ones((3, 4)), np.ones((n_rows, 3)), Targets(labels=np.zeros(n_rows, dtype=int)))
    for name, shape in {
        "weights": (3, 4),
        "bias": (4,),
        "inputs": (n_rows, 3),
        "logits": (n_rows, 4),
    }.items():
        gradient = np.arange(float(np.prod(shape))).reshape(shape)
        in_layout = layout.of(name, gradient)
        assert in_layout.shape == layout.shape(problem, name)
        assert np.array_equal(layout.to_library(name, in_layout), gradient)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_problem_is_freed_when_its_last_user_is_done(dtype: Any) -> None:
    """What is kept with a problem does not hold it: nothing is left for the garbage collector."""
    gc.collect()
    gc.disable()
    try:
        before = sum(type(thing) is Problem for thing in gc.get_objects())
        one = problem(weights=np.ones((2, 3), dtype), inputs=np.ones((1, 2), dtype))
        compute(one)
        judge(one, METHODS["exact"].evaluate(one), np.ones((2, 3)), Tolerance())
        del one
        assert sum(type(thing) is Problem for thing in gc.get_objects()) == before
    finally:
        gc.enable()
