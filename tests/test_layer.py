"""The accurate forward pass and residual: digits where the textbook has none."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from truth import exact
from xegrad import METHODS, Problem, Targets, layer


def one(logits: list[float], target: int | list[float]) -> Problem:
    """A layer whose logits are exactly these: W is one row, x is 1."""
    targets = (
        Targets(labels=np.array([target])) if isinstance(target, int) else Targets(soft=np.array([target]))
    )
    return Problem(weights=np.array([logits]), inputs=np.array([[1.0]]), targets=targets)


def test_a_saturated_residual_keeps_its_digits() -> None:
    """46.05 ahead: 1 - S is 1.37e-20, which no rounded S can tell from 0."""
    evaluation = METHODS["shortcut"].evaluate(one([46.05, 0, -1], 0))
    assert f"{evaluation.loss:.4e}" == "1.3702e-20"
    assert f"{evaluation.gradients['weights'][0, 0]:.4e}" == "-1.3702e-20"


@given(
    logits=st.lists(st.floats(-700, 700), min_size=1, max_size=8),
    data=st.data(),
)
@settings(max_examples=300, deadline=None)
def test_hard_labels_keep_all_digits_whatever_the_logits(logits: list[float], data: st.DataObject) -> None:
    """Each entry within 4 T + 16 + |D| ulps: T for s and its sum, |D| u / 2 for D, a few for the rest.

    The exact value is of the same logits, so no error of a dot product is in it.  Entries below the
    normal range have fewer digits to keep.
    """
    problem = one(logits, data.draw(st.integers(0, len(logits) - 1)))
    truth = exact(problem)
    evaluation = METHODS["shortcut"].evaluate(problem)
    rtol = (4 * len(logits) + 16 + max(logits) - min(logits)) * 2.0**-53
    computed = [evaluation.loss, *evaluation.gradients["weights"][0].tolist()]
    for got, wanted in zip(computed, [truth["loss"], *truth["weights"][0]], strict=True):
        assert abs(mpmath.mpf(float(got)) - wanted) <= rtol * abs(wanted) + 2.0**-1040


def test_a_smoothed_target_does_not_cancel() -> None:
    """P_i added up: with 1 - 1e-10 on one class, q - Q_i would lose eight digits of the others' 1e-10."""
    smooth = [1 - 1e-10, 0.5e-10, 0.5e-10]
    problem = one([40.0, 0.0, 0.0], smooth)
    entry = METHODS["shortcut"].evaluate(problem).gradients["weights"][0, 0]
    wanted = exact(problem)["weights"][0][0]
    assert abs(mpmath.mpf(float(entry)) - wanted) <= 1e-14 * abs(wanted)


def test_one_class_has_no_loss_and_no_gradient() -> None:
    for method in METHODS.values():
        evaluation = method.evaluate(one([123.0], 0))
        assert evaluation.loss == 0
        assert math.copysign(1, float(evaluation.loss)) == 1
        assert evaluation.gradients["weights"].tolist() == [[0]]


@pytest.mark.parametrize("offset", [0.0, 2.0**40, -(2.0**40)])
def test_a_common_offset_changes_nothing(offset: float) -> None:
    plain = METHODS["shortcut"].evaluate(one([1.0, 2.0, 3.5], 1))
    moved = METHODS["shortcut"].evaluate(one([offset + z for z in (1.0, 2.0, 3.5)], 1))
    assert np.array_equal(moved.gradients["weights"], plain.gradients["weights"])


@pytest.mark.parametrize("stack", [(), (3,), (2, 3)])
def test_probabilities_in_one_array_are_those_of_the_forward_pass_to_the_bit(stack: tuple[int, ...]) -> None:
    random = np.random.default_rng(3)
    weights = np.round(3 * random.normal(size=(*stack, 2, 5)))  # so that logits tie
    problem = Problem(weights, np.ones((*stack, 4, 2)), Targets(random.integers(5, size=(*stack, 4))))
    probabilities = layer.probabilities(problem)
    assert np.array_equal(probabilities, layer.forward(problem).probabilities)
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, rtol=1e-15)


@pytest.mark.parametrize("stack", [(), (3,), (2, 3)])
def test_the_other_targets_add_up_to_all_but_one(stack: tuple[int, ...]) -> None:
    targets = np.random.default_rng(4).integers(100, size=(*stack, 4, 5)).astype(float)  # sums are exact
    expected = targets.sum(axis=-1, keepdims=True) - targets
    assert np.array_equal(layer.other_targets(targets), expected)


@pytest.mark.parametrize("stack", [(), (3,), (2, 3)])
def test_the_losses_are_one_of_each_row_and_the_loss_is_their_sum(stack: tuple[int, ...]) -> None:
    """log 5 where all logits are equal."""
    targets = Targets(np.zeros((*stack, 4), int), reduction="sum")
    problem = Problem(np.zeros((*stack, 2, 5)), np.ones((*stack, 4, 2)), targets)
    forward = layer.forward(problem)
    np.testing.assert_allclose(forward.losses, np.full((*stack, 4), math.log(5)), rtol=1e-15, strict=True)
    np.testing.assert_allclose(forward.loss, np.full(stack, 4 * math.log(5)), rtol=1e-15)
