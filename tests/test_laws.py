"""What holds of every method in the table, whatever the problem."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies import problem_of_any_size, problems, random_problem
from truth import HIGHEST, PRECISION, exact, misses
from xegrad import METHODS, Comparison, Problem, Targets, bounds
from xegrad.methods import Method
from xegrad.numbers.arithmetic import PRECISIONS

NAMES = ("weights", "bias", "inputs", "logits")
FLOAT_METHODS = list(METHODS.values())[:-1]
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=lambda method: method.name)
laws = settings(max_examples=100)


# Bits of the truth that the exact method is held to: what is exactly 0 then comes out below the smallest float.
BEYOND_FLOATS = 1200


def precision_for(problem: Problem) -> int:
    """Bits with which the fourth power of the smallest probability still has BEYOND_FLOATS bits beside 1."""
    logits = problem.inputs.astype(float) @ problem.weights.astype(float)
    if problem.bias is not None:
        logits += problem.bias
    spread = float(np.ptp(logits, axis=-1).max())
    return min(HIGHEST, BEYOND_FLOATS + math.ceil(4 * spread / math.log(2)))


def assert_keeps_its_bound(method: Method, problem: Problem, truth: dict[str, Any]) -> None:
    evaluation, bound = method.evaluate(problem, NAMES), method.bound(problem, NAMES)
    for distance, allowed in misses(truth["loss"], evaluation.loss, bound.loss):
        assert distance <= allowed, "loss"
    for name in NAMES:
        for distance, allowed in misses(truth[name], evaluation.gradients[name], bound.gradients[name]):
            assert distance <= allowed, name


def assert_within(first: Any, second: Any, bound: Any) -> None:
    """Everywhere there is a bound, the two are no further apart."""
    bounded = np.isfinite(bound)
    distance = np.abs(np.asarray(first)[bounded] - np.asarray(second)[bounded])
    assert (distance <= bound[bounded]).all()


@every_method
@given(problem=problems())
@laws
def test_every_entry_is_as_near_to_the_exact_value_as_its_bound_says(
    method: Method, problem: Problem
) -> None:
    truth = exact(problem, precision_for(problem) if method.name == "exact" else PRECISION)
    assert_keeps_its_bound(method, problem, truth)


@pytest.fixture(scope="module", params=[np.float64, np.float32], ids=["float64", "float32"])
def thousands(request: pytest.FixtureRequest) -> list[tuple[Problem, dict[str, Any]]]:
    """1,250 problems, and what is true of them: the same for every method."""
    random = np.random.default_rng(20)
    drawn = [random_problem(random, request.param) for _ in range(1250)]
    return [(problem, exact(problem)) for problem in drawn]


@pytest.mark.parametrize("method", FLOAT_METHODS, ids=lambda method: method.name)
def test_the_bound_holds_in_thousands_of_random_problems(
    method: Method, thousands: list[tuple[Problem, dict[str, Any]]]
) -> None:
    """1,250 problems for each float method and precision: 10,000 in all."""
    for problem, truth in thousands:
        assert_keeps_its_bound(method, problem, truth)


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
def test_the_promise_of_the_exact_method_holds_in_a_hundred_random_problems(dtype: Any) -> None:
    random = np.random.default_rng(20)
    for _ in range(100):
        problem = random_problem(random, dtype)
        assert_keeps_its_bound(METHODS["exact"], problem, exact(problem, precision_for(problem)))


@every_method
@given(problem=problems())
@laws
def test_each_row_of_the_gradient_sums_to_zero(method: Method, problem: Problem) -> None:
    """Shifting all logits of a row changes nothing."""
    gradient = method.evaluate(problem).gradients["weights"]
    limits = method.bound(problem).gradients["weights"]
    for row, limit in zip(gradient.tolist(), limits.tolist(), strict=True):
        if all(map(math.isfinite, limit)):
            assert abs(math.fsum(row)) <= math.fsum(limit)


@every_method
@given(problem=problems(), data=st.data())
@laws
def test_permuting_the_classes_permutes_the_columns(
    method: Method, problem: Problem, data: st.DataObject
) -> None:
    problem = folded(problem)
    order = data.draw(st.permutations(range(problem.n_classes)))
    permuted = Problem(
        weights=problem.weights[:, order],
        inputs=problem.inputs,
        targets=Targets(soft=effective(problem)[:, order], reduction="sum"),
        bias=None if problem.bias is None else problem.bias[order],
    )
    assert_within(
        method.evaluate(permuted).gradients["weights"],
        method.evaluate(problem).gradients["weights"][:, order],
        2 * method.bound(permuted).gradients["weights"],
    )


@every_method
@given(problem=problems())
@laws
def test_a_batch_is_the_sum_of_its_rows(method: Method, problem: Problem) -> None:
    problem = folded(problem)
    rows = [one_row(problem, row) for row in range(problem.n_rows)]
    parts = [method.evaluate(row) for row in rows]
    bounds_of_rows = [method.bound(row) for row in rows]
    whole, bound = method.evaluate(problem), method.bound(problem)
    for name in ("loss", "weights"):
        summands = np.stack([value(part, name) for part in parts]).reshape(len(parts), -1).T
        limits = np.sum([value(alone_bound, name) for alone_bound in bounds_of_rows], axis=0) + value(
            bound, name
        )
        for total, terms, limit in zip(value(whole, name).flat, summands, np.ravel(limits), strict=True):
            if np.isfinite(limit):
                assert abs(math.fsum([-total, *terms])) <= limit


@every_method
@given(problem=problems(), times=st.sampled_from([2, 4]))  # so that times Q is not rounded
@laws
def test_an_integer_weight_on_the_rows_equals_repeated_rows(
    method: Method, problem: Problem, times: int
) -> None:
    weighted = Problem(
        problem.weights,
        problem.inputs,
        Targets(soft=times * effective(problem), reduction="sum"),
        problem.bias,
    )
    repeated = Problem(
        problem.weights,
        np.repeat(problem.inputs, times, axis=0),
        Targets(soft=np.repeat(effective(problem), times, axis=0), reduction="sum"),
        problem.bias,
    )
    first, second = method.bound(weighted), method.bound(repeated)
    assert_within(
        method.evaluate(weighted).gradients["weights"],
        method.evaluate(repeated).gradients["weights"],
        first.gradients["weights"] + second.gradients["weights"],
    )


@every_method
@given(data=st.data(), seed=st.integers(0, 2**32 - 1), with_bias=st.booleans(), hard=st.booleans())
@laws
def test_a_stack_of_problems_is_computed_as_each_of_them(
    method: Method, data: st.DataObject, seed: int, with_bias: bool, hard: bool
) -> None:
    stack, rows, n_inputs, n_classes = (data.draw(st.integers(1, 4)) for _ in range(4))
    random = np.random.default_rng(seed)
    labels = random.integers(n_classes, size=(stack, rows))
    soft = random.dirichlet(np.ones(n_classes), size=(stack, rows))
    weights = 100 * random.normal(size=(stack, n_inputs, n_classes))
    inputs = random.normal(size=(stack, rows, n_inputs))
    bias = random.normal(size=(stack, n_classes)) if with_bias else None
    whole = Problem(weights, inputs, Targets(labels=labels) if hard else Targets(soft=soft), bias)
    evaluation, bound = method.evaluate(whole, NAMES), method.bound(whole, NAMES)
    for k in range(stack):
        one = Problem(
            weights[k],
            inputs[k],
            Targets(labels=labels[k]) if hard else Targets(soft=soft[k]),
            None if bias is None else bias[k],
        )
        alone, alone_bound = method.evaluate(one, NAMES), method.bound(one, NAMES)
        for name in NAMES:
            assert_within(
                evaluation.gradients[name][k], alone.gradients[name], 2 * alone_bound.gradients[name]
            )
            assert np.allclose(bound.gradients[name][k], alone_bound.gradients[name], rtol=1e-6, atol=0)
        assert_within(
            np.asarray(evaluation.loss)[k], np.asarray(alone.loss), 2 * np.asarray(alone_bound.loss)
        )


@given(problem=problems())
@laws
def test_chain_and_shortcut_are_within_their_common_bound(problem: Problem) -> None:
    bound = bounds.chain_against_shortcut(problem, NAMES)
    chain, shortcut = (METHODS[name].evaluate(problem, NAMES) for name in ("chain", "shortcut"))
    for name in NAMES:
        assert_within(chain.gradients[name], shortcut.gradients[name], bound.gradients[name])
    assert_within(np.asarray(chain.loss), shortcut.loss, np.asarray(bound.loss))


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
def test_the_common_bound_holds_in_ten_thousand_random_problems(dtype: Any) -> None:
    """Stacks of one shape: 20 shapes of 500 problems."""
    random = np.random.default_rng(7)
    for _ in range(20):
        rows, n_inputs, n_classes = random.integers(1, 6), random.integers(1, 9), random.integers(1, 10)
        scale = random.choice([0.1, 3.0, 30.0, 200.0], size=(500, 1, 1))
        problem = Problem(
            weights=(scale * random.normal(size=(500, n_inputs, n_classes))).astype(dtype),
            inputs=random.normal(size=(500, rows, n_inputs)).astype(dtype),
            targets=Targets(labels=random.integers(n_classes, size=(500, rows)))
            if random.random() < 0.5
            else Targets(soft=random.dirichlet(np.ones(n_classes), size=(500, rows))),
        )
        chain, shortcut = (METHODS[name].evaluate(problem) for name in ("chain", "shortcut"))
        bound = bounds.chain_against_shortcut(problem)
        assert_within(chain.gradients["weights"], shortcut.gradients["weights"], bound.gradients["weights"])


@given(problem=problems(dtypes=(np.float64,)), factor=st.sampled_from([3.0, -3.0]), data=st.data())
@laws
def test_an_entry_moved_by_three_times_its_bound_never_agrees(
    problem: Problem, factor: float, data: st.DataObject
) -> None:
    """The bound says no more than it must: what it cannot explain is seen."""
    chain, shortcut = (METHODS[name].evaluate(problem).gradients["weights"] for name in ("chain", "shortcut"))
    bound = bounds.chain_against_shortcut(problem).gradients["weights"]
    index = tuple(data.draw(st.integers(0, size - 1)) for size in chain.shape)
    moved = chain.copy()
    if np.isfinite(bound[index]):
        moved[index] += factor * max(bound[index], 2 * np.spacing(abs(moved[index])))
    comparison = Comparison(reference=shortcut, candidate=moved, bound=bound)
    assert not comparison.within[index]
    assert not comparison.agrees


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
def test_bounds_hold_near_overflow_and_underflow_and_for_any_mass(dtype: Any) -> None:
    """Against the exact method, which test_exact holds to mpmath: 500 problems of every size that floats have."""
    random = np.random.default_rng(11)
    for _ in range(500):
        problem = problem_of_any_size(random, dtype)
        truth = METHODS["exact"].evaluate(problem, NAMES)
        for method in FLOAT_METHODS:
            evaluation, bound = method.evaluate(problem, NAMES), method.bound(problem, NAMES)
            assert not np.isnan(bound.loss)
            assert_within(np.asarray(evaluation.loss), truth.loss, np.asarray(bound.loss))
            for name in NAMES:
                assert not np.isnan(bound.gradients[name]).any()
                assert_within(evaluation.gradients[name], truth.gradients[name], bound.gradients[name])


def effective(problem: Problem) -> Any:
    return problem.targets.effective(problem.n_classes, np.dtype(np.float64))


def folded(problem: Problem) -> Problem:
    """The problem whose soft targets are what the options of this one come to, as floats."""
    targets = Targets(soft=effective(problem), reduction="sum")
    return Problem(problem.weights, problem.inputs, targets, problem.bias)


def one_row(problem: Problem, row: int) -> Problem:
    targets = Targets(soft=effective(problem)[row : row + 1], reduction="sum")
    return Problem(problem.weights, problem.inputs[row : row + 1], targets, problem.bias)


def value(result: Any, name: str) -> Any:
    return np.asarray(result.loss if name == "loss" else result.gradients[name], dtype=np.float64)


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
def test_there_is_no_bound_for_a_sum_that_overflows_on_its_way(dtype: Any) -> None:
    """Eight rows of large x and eight of -x: dL/dW is 0, and every partial sum in float is infinite."""
    large = float(np.finfo(dtype).max) / 3
    inputs = np.array([[large]] * 8 + [[-large]] * 8, dtype=dtype)
    targets = Targets(labels=np.zeros(16, dtype=int), reduction="sum")
    problem = Problem(np.zeros((1, 2), dtype=dtype), inputs, targets)
    for method in FLOAT_METHODS:
        assert np.isinf(method.bound(problem).gradients["weights"]).all(), method.name
    assert np.isinf(bounds.chain_against_shortcut(problem).gradients["weights"]).all()


def test_so_many_roundings_that_nothing_is_left_are_no_bound() -> None:
    float32 = PRECISIONS["float32"]
    assert np.isinf(float32.gamma(2**25))
    assert float32.gamma(2**23) == 1.0
