"""The shortcut in chunks of rows and in blocks: the same numbers as at once, and as from the dense Q."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.testing import assert_array_equal

from strategies import problems
from xegrad import METHODS, Problem, Targets, arrays
from xegrad.arrays import sealed
from xegrad.methods import shortcut

GRADIENTS = ("weights", "bias", "inputs", "logits")


@pytest.mark.parametrize("chunk_rows", [1, 3])
@given(problem=problems())
@settings(max_examples=60)
def test_chunks_and_blocks_give_what_all_at_once_gives(chunk_rows: int, problem: Problem) -> None:
    """Rows are the same to the bit, as are their losses; sums over rows are within the bound of their order."""
    method = METHODS["shortcut"]
    whole, bound = method.evaluate(problem, GRADIENTS), method.bound(problem, GRADIENTS)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"CHUNK": 1, "FEWEST": chunk_rows, "PRODUCT": 1, "BLOCK": 1}.items():
            patch.setattr(shortcut, name, value)
        parts = method.evaluate(problem, GRADIENTS)
    for name in GRADIENTS:
        bounded = np.isfinite(bound.gradients[name])
        distance = np.abs(parts.gradients[name] - whole.gradients[name])[bounded]
        assert (distance <= 2 * bound.gradients[name][bounded]).all()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"reduction": "sum"},
        {"ignore_index": 2},
        {"ignore_index": -100},
        {"class_weights": [0.5, 0.0, 3.0, 1e300]},
        {"class_weights": [0.5, 0.25, 3.0, 1.0], "reduction": "sum", "ignore_index": 0},
    ],
)
def test_the_mass_of_a_label_is_all_there_is_of_q(options: dict[str, Any]) -> None:
    labels = np.array([[0, 2, 1, 2, 0], [2, 3, 0, 1, 0]])
    if options.get("ignore_index") == -100:
        labels[0, 1] = -100
    for dtype in (np.dtype(np.float64), np.dtype(np.float32)):
        targets = Targets(labels, **options)
        masses, dense = targets.masses(dtype), targets.effective(4, dtype)
        assert masses.dtype == dtype
        assert_array_equal(masses, dense.sum(axis=-1))


@given(problem=problems())
@settings(max_examples=60)
def test_labels_give_what_the_same_targets_written_out_give(problem: Problem) -> None:
    """R = q E / (1 + s) with the label corrected, against (P E - Q O) / (1 + s): a few roundings apart."""
    targets = problem.targets
    if not targets.are_one_hot:
        return
    soft = Targets(soft=targets.effective(problem.n_classes, np.dtype(np.float64)), reduction="sum")
    dense = Problem(problem.weights, problem.inputs, soft, problem.bias, precision=problem.precision)
    ours, theirs = (METHODS["shortcut"].evaluate(one, ["logits"]) for one in (problem, dense))
    finfo = np.finfo(problem.dtype)
    few = 4 * (problem.n_classes + 4) * finfo.eps
    for one, other in ((ours.gradients["logits"], theirs.gradients["logits"]), (ours.losses, theirs.losses)):
        finite = np.isfinite(other)
        assert_array_equal(np.isfinite(one), finite)
        assert (np.abs(one - other)[finite] <= few * np.abs(other)[finite] + 4 * finfo.tiny).all()


def test_an_ignored_row_has_no_loss_whatever_its_label_and_its_logits() -> None:
    """The row's logits are 1e309 and -1e309: infinite, so the loss of either class is no number."""
    weights, inputs = np.array([[1e300, -1e300]]), np.array([[1e9], [0.0]])
    made = Problem(weights, inputs, Targets(np.array([-100, 1]), ignore_index=-100))
    evaluation = METHODS["shortcut"].evaluate(made)
    assert evaluation.losses.tolist() == [0, np.log(2)]


def test_many_stacked_problems_in_chunks_are_those_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(2)
    parts = random.normal(size=(3, 4, 5)), random.normal(size=(3, 7, 4))
    stack = Problem(*parts, Targets(random.integers(0, 5, (3, 7)), label_smoothing=0.1))
    alone = [METHODS["shortcut"].evaluate(one, GRADIENTS) for one in stack.unstacked()]
    for name, value in {"CHUNK": 1, "FEWEST": 2, "PRODUCT": 1}.items():
        monkeypatch.setattr(shortcut, name, value)
    together = METHODS["shortcut"].evaluate(stack, GRADIENTS)
    for k, one in enumerate(alone):
        for name in GRADIENTS:
            np.testing.assert_allclose(together.gradients[name][k], one.gradients[name], rtol=1e-13)


def test_an_array_that_nobody_can_change_is_not_copied() -> None:
    """Bytes, or an array made read-only; one that is read-only in one place and not in another is copied."""
    weights = np.frombuffer(np.arange(6.0).tobytes()).reshape(2, 3)
    inputs = np.ones((1, 2))
    window = inputs[:]
    window.flags.writeable = False
    made = Problem(weights, window, Targets(np.array([0])))
    assert np.shares_memory(made.weights, weights)
    assert not np.shares_memory(made.inputs, inputs)


def test_a_mass_that_nearly_underflows_costs_no_more_than_the_bound() -> None:
    """q / (1 + s) underflows: its product with O_c = 63 would be off by 63 times as much."""
    weights = Targets(np.array([1]), class_weights=np.full(64, 5 * 2.0**-1074), reduction="sum")
    made = Problem(np.zeros((1, 64)), np.ones((1, 1)), weights)
    truth = METHODS["exact"].evaluate(made).gradients["weights"]
    method = METHODS["shortcut"]
    distance = np.abs(method.evaluate(made).gradients["weights"] - truth)
    assert (distance <= method.bound(made).gradients["weights"]).all()
    assert distance.max() <= 2.0**-1074


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_arrays_give_what_their_problem_gives_and_stay_as_they_are(dtype: str) -> None:
    random = np.random.default_rng(0)
    weights, inputs = (random.normal(size=size).astype(dtype) for size in ((400, 30), (70, 400)))
    bias, targets = random.normal(size=30).astype(dtype), Targets(random.integers(0, 30, 70))
    given = [part.copy() for part in (weights, inputs)]
    of_arrays = METHODS["shortcut"].evaluate_arrays(weights, inputs, targets, bias, GRADIENTS)
    of_problem = METHODS["shortcut"].evaluate(Problem(weights, inputs, targets, bias), GRADIENTS)
    assert of_arrays.loss == of_problem.loss
    for name in GRADIENTS:
        assert_array_equal(of_arrays.gradients[name], of_problem.gradients[name])
        assert not np.shares_memory(of_arrays.gradients[name], weights)
    assert weights.flags.writeable and inputs.flags.writeable
    assert_array_equal(weights, given[0])
    assert_array_equal(inputs, given[1])


@pytest.mark.parametrize("change", [lambda part: part, lambda part: part[:, ::2], lambda part: part[::-1].T])
def test_what_is_lent_is_not_copied_and_a_problem_is(change: Callable[[Any], Any]) -> None:
    part = change(np.ones((300, 50)))
    lent = sealed(arrays.lent(part), np.float64)
    assert np.shares_memory(lent, part) and not lent.flags.writeable
    assert_array_equal(lent, part)
    assert not np.shares_memory(sealed(part, np.float64), part)
