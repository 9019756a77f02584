"""The catalogue: every entry whole, every map the gradient that a person's numpy makes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from mistakes import MISTAKES, mild_problem, plain, right
from seed import INPUTS, WEIGHTS
from xegrad import METHODS, SLIPS, InputError, Problem, Targets, diagnose
from xegrad.blindness import blind_spots, problem_without_blind_spots
from xegrad.slips import STAGES
from xegrad.slips.making import apply

NOT_OF_W = {"summed-over-wrong-axis", "weights-not-transposed"}

CLASSIC = Problem(
    np.array(WEIGHTS),
    np.array([INPUTS, [0.3, -0.2, 0.7], [-0.6, 0.1, 0.2]]),
    Targets(labels=np.array([2, 0, 2]), class_weights=np.array([1.0, 2.0, 3.0, 1.0, 0.5])),
    np.array([0.3, -0.1, 0.2, 0.05, -0.4]),
)


def hidden_by(problem: Problem, name: str = "weights") -> Any:
    return blind_spots(problem, METHODS["exact"].evaluate(problem, ("weights", name)), None, name)


def hard(weights: Any, inputs: Any, labels: list[int], bias: Any = None) -> Problem:
    return Problem(np.array(weights), np.array(inputs), Targets(labels=np.array(labels)), bias)


@pytest.mark.parametrize("slip", SLIPS.values(), ids=lambda slip: slip.name)
def test_every_entry_says_what_happens_and_how_it_is_mended(slip: Any) -> None:
    assert slip.stage in STAGES
    assert all((slip.sentence, slip.equation, *slip.code, slip.remedy, slip.cause))
    assert slip.sentence.endswith(".")
    assert slip.message.count("\n") == 1 or slip.name in {"label-smoothed"}
    assert sum(map(bool, (slip.formula, slip.places))) == 1


def test_every_slip_has_a_mistake_made_in_numpy() -> None:
    assert {*MISTAKES, *NOT_OF_W} == {*SLIPS}


def test_the_order_of_the_table_is_that_of_coincidences() -> None:
    order = [*SLIPS]
    for earlier, later in (
        ("transposed", "scrambled-reshape"),
        ("sign-flipped", "classes-permuted"),
        ("scaled", "option-ignored"),
        ("scaled", "log-epsilon"),
        ("probabilities-clipped", "rows-left-out"),
    ):
        assert order.index(earlier) < order.index(later)


@pytest.mark.parametrize("name", [name for name in SLIPS if name not in NOT_OF_W])
def test_what_a_slip_makes_is_named_by_it(name: str) -> None:
    problem = CLASSIC
    if name == "target-sum-ignored":
        problem = Problem(CLASSIC.weights, CLASSIC.inputs, Targets(soft=np.full((3, 5), 0.3)), CLASSIC.bias)
    if name == "probabilities-clipped":
        problem = replace(CLASSIC, weights=40 * CLASSIC.weights)
    if name == "smoothed-otherwise":
        problem = replace(CLASSIC, targets=replace(CLASSIC.targets, label_smoothing=0.1))
    exact = METHODS["exact"].evaluate(problem)
    assert (name,) in diagnose(problem, exact, apply(problem, [name])).names


@pytest.mark.parametrize("name", ["bias", "inputs"])
def test_what_is_summed_over_the_wrong_axis_is_named(name: str) -> None:
    exact = METHODS["exact"].evaluate(CLASSIC, (name,))
    candidate = apply(CLASSIC, ["summed-over-wrong-axis"], name)
    assert ("summed-over-wrong-axis",) in diagnose(CLASSIC, exact, candidate, with_respect_to=name).names


def test_two_slips_are_made_in_the_order_of_their_stages() -> None:
    made = apply(CLASSIC, ["sign-flipped", "softmax-over-wrong-axis"], axis="rows")
    e = np.exp(plain(CLASSIC).Z)
    targets = CLASSIC.targets.effective(5, np.dtype(np.float64))
    mass = targets.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(made, CLASSIC.inputs.T @ (targets - mass * e / e.sum(axis=0)), rtol=1e-12)


def test_a_slip_that_cannot_be_made_says_so() -> None:
    bare = hard([[1.0, 2.0]], [[0.5]], [0])
    for name in ("bias-wrong", "option-ignored", "labels-misaligned"):
        with pytest.raises(InputError, match="cannot be made"):
            apply(bare, [name])
    with pytest.raises(InputError, match="cannot be made"):  # W is no longer of the gradient's shape
        apply(CLASSIC, ["transposed", "weight-decay-included"])
    with pytest.raises(InputError, match="there is no slip 'nothing'"):
        apply(bare, ["nothing"])
    with pytest.raises(InputError, match="no factor '1/Q'"):
        apply(bare, ["scaled"], k="1/Q")


def test_the_own_bound_of_a_slip_covers_what_numpy_rounds() -> None:
    """Fifty problems in float64: every deterministic mistake is within its bound of ours."""
    random = np.random.default_rng(8)
    for _ in range(50):
        problem = mild_problem(random)
        for name in ("sign-flipped", "residual-times-derivative", "target-not-subtracted", "softmax-missing"):
            (make,) = MISTAKES[name]
            here, there = make(plain(problem), random), apply(problem, [name])
            scale = np.abs(problem.inputs).sum() * (1 + np.abs(plain(problem).Z).max())
            assert np.abs(here - there).max() <= 100 * 2.0**-53 * scale


# Blind spots: the classic ones.


def test_at_zero_weights_a_second_softmax_changes_nothing() -> None:
    found = hidden_by(hard(np.zeros((3, 4)), np.ones((2, 3)), [1, 2]))
    assert found["softmax-twice"] == ({"form": "the shortcut"},)
    assert "weight-decay-included" in found
    assert "temperature" in found


def test_with_one_example_a_mean_and_the_whole_array_are_hidden() -> None:
    found = hidden_by(hard(CLASSIC.weights, [[0.1, 0.5, 0.4]], [2]))
    assert {"scaled", "softmax-over-wrong-axis", "labels-misaligned"} <= {*found}
    assert found["softmax-over-wrong-axis"] == ({"axis": "all"},)


def test_with_one_example_class_weights_are_hidden_under_a_mean() -> None:
    targets = Targets(labels=np.array([2]), class_weights=np.array([1.0, 2.0, 3.0, 1.0, 0.5]))
    found = hidden_by(Problem(CLASSIC.weights, np.array([[0.1, 0.5, 0.4]]), targets))
    assert found["option-ignored"] == ({"option": "class_weights"},)


def test_equal_labels_hide_that_they_are_misaligned() -> None:
    assert "labels-misaligned" in hidden_by(hard(CLASSIC.weights, CLASSIC.inputs, [1, 1, 1]))
    assert "labels-misaligned" not in hidden_by(hard(CLASSIC.weights, CLASSIC.inputs, [1, 0, 3]))


def test_inputs_of_one_hide_that_they_are_missing() -> None:
    assert "input-missing" in hidden_by(hard(CLASSIC.weights, np.ones((2, 3)), [1, 0]))


@pytest.mark.parametrize("bias", [np.zeros(5), np.full(5, 0.25)])
def test_a_bias_that_is_the_same_for_every_class_hides_the_bias(bias: Any) -> None:
    found = hidden_by(hard(CLASSIC.weights, CLASSIC.inputs, [1, 0, 3], bias))
    assert {"bias": "left out"} in found["bias-wrong"]


def test_weight_decay_is_hidden_where_the_parameter_is_zero() -> None:
    for bias, is_hidden in ((np.zeros(5), True), (np.full(5, 0.25), False)):
        found = hidden_by(hard(CLASSIC.weights, CLASSIC.inputs, [1, 0, 3], bias), "bias")
        assert ("weight-decay-included" in found) == is_hidden


def test_a_symmetric_gradient_hides_a_transpose() -> None:
    found = hidden_by(hard(np.zeros((2, 2)), [[-0.5, 0.5]], [0]))
    assert {"transposed", "scrambled-reshape"} <= {*found}


def test_a_sample_of_several_rows_hides_nothing_and_of_one_row_what_it_must() -> None:
    problem, remaining = problem_without_blind_spots(4, 3, 5, seed=1)
    assert remaining == ()
    assert (np.round(problem.weights, 2) == problem.weights).all()
    _, remaining = problem_without_blind_spots(1, 3, 5, seed=1)
    assert {*remaining} == {"scaled", "softmax-over-wrong-axis", "labels-misaligned"}
    again, _ = problem_without_blind_spots(4, 3, 5, seed=1)
    assert (again.weights == problem.weights).all()


def test_nothing_is_hidden_that_numpy_shows_to_differ() -> None:
    random = np.random.default_rng(9)
    for _ in range(30):
        problem = mild_problem(random)
        found = hidden_by(problem)
        reference = right(plain(problem))
        for name in ("sign-flipped", "target-not-subtracted", "softmax-missing", "residual-times-derivative"):
            (make,) = MISTAKES[name]
            differs = np.abs(make(plain(problem), random) - reference).max() > 1e-9
            assert not (differs and name in found)
