"""What holds of every method in the table, whatever the problem."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies import problem_of_any_size, problems, random_problem
from truth import HIGHEST, Words, exact, misses, words
from xegrad import METHODS, Comparison, Problem, Targets, bounds
from xegrad.methods import Method
from xegrad.numbers.arithmetic import PRECISIONS

NAMES = ("weights", "bias", "inputs", "logits")
FLOAT_METHODS = list(METHODS.values())[:-1]
every_precision = pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
laws = settings(max_examples=100)  # drawn once for all methods: to draw one takes longer than to compute it


# Bits of the truth that the exact method is held to: what is exactly 0 then comes out below the smallest float.
BEYOND_FLOATS = 1200


def precision_for(problem: Problem) -> int:
    """Bits with which the fourth power of the smallest probability still has BEYOND_FLOATS bits beside 1."""
    logits = problem.inputs.astype(float) @ problem.weights.astype(float)
    if problem.bias is not None:
        logits += problem.bias
    spread = float(np.ptp(logits, axis=-1).max())
    return min(HIGHEST, BEYOND_FLOATS + math.ceil(4 * spread / math.log(2)))


def truth_of(problem: Problem, *precision: int) -> dict[str, Words]:
    """With the problems of a stack, or the only one, along the first axis."""
    each = [exact(one, *precision) for one in problem.unstacked()]
    return {name: words([one[name] for one in each]) for name in each[0]}


def assert_keeps_its_bound(method: Method, problem: Problem, truth: dict[str, Words]) -> Any:
    """Whether there is a bound, of the loss and then of each entry."""
    evaluation, bound = method.evaluate(problem, NAMES), method.bound(problem, NAMES)
    for name in ("loss", *NAMES):
        assert not misses(truth[name], part(evaluation, name), part(bound, name)).any(), (method.name, name)
    return np.isfinite(np.concatenate([np.ravel(part(bound, name)) for name in ("loss", *NAMES)]))


def assert_within(first: Any, second: Any, bound: Any, method: str = "") -> None:
    """Everywhere there is a bound, the two are no further apart."""
    bounded = np.isfinite(bound)
    distance = np.abs(np.asarray(first)[bounded] - np.asarray(second)[bounded])
    assert (distance <= bound[bounded]).all(), method


@given(problem=problems())
@laws
def test_every_entry_is_as_near_to_the_exact_value_as_its_bound_says(problem: Problem) -> None:
    truth = truth_of(problem, precision_for(problem))
    for method in METHODS.values():
        assert_keeps_its_bound(method, problem, truth)


@every_precision
def test_the_bound_holds_in_thousands_of_random_problems(dtype: Any) -> None:
    """1,250 problems for each float method and precision, in stacks of five: 10,000 in all."""
    random = np.random.default_rng(20)
    bounded: dict[str, list[bool]] = {method.name: [] for method in FLOAT_METHODS}
    for _ in range(250):
        stack = random_problem(random, dtype, (5,))
        truth = truth_of(stack)
        for method in FLOAT_METHODS:
            bounded[method.name].extend(assert_keeps_its_bound(method, stack, truth))
    # Nothing here overflows, so only the chain, where a probability underflows, may have no bound.
    assert np.mean(bounded.pop("chain")) > 0.5
    assert all(map(all, bounded.values()))


@every_precision
def test_the_promise_of_the_exact_method_holds_in_a_hundred_random_problems(dtype: Any) -> None:
    random = np.random.default_rng(20)
    for _ in range(100):
        problem = random_problem(random, dtype)
        assert_keeps_its_bound(METHODS["exact"], problem, truth_of(problem, precision_for(problem)))


@given(problem=problems())
@laws
def test_each_row_of_the_gradient_sums_to_zero(problem: Problem) -> None:
    """Shifting all logits of a row changes nothing."""
    for method in METHODS.values():
        gradient = method.evaluate(problem).gradients["weights"]
        limits = method.bound(problem).gradients["weights"]
        for row, limit in zip(gradient.tolist(), limits.tolist(), strict=True):
            if all(map(math.isfinite, limit)):
                assert abs(math.fsum(row)) <= math.fsum(limit), method.name


@given(problem=problems(), data=st.data())
@laws
def test_permuting_the_classes_permutes_the_columns(problem: Problem, data: st.DataObject) -> None:
    problem = folded(problem)
    order = data.draw(st.permutations(range(problem.n_classes)))
    permuted = Problem(
        weights=problem.weights[:, order],
        inputs=problem.inputs,
        targets=Targets(soft=effective(problem)[:, order], reduction="sum"),
        bias=None if problem.bias is None else problem.bias[order],
    )
    for method in METHODS.values():
        assert_within(
            method.evaluate(permuted).gradients["weights"],
            method.evaluate(problem).gradients["weights"][:, order],
            2 * method.bound(permuted).gradients["weights"],
            method.name,
        )


@given(problem=problems())
@laws
def test_a_batch_is_the_sum_of_its_rows(problem: Problem) -> None:
    problem = folded(problem)
    rows = [one_row(problem, row) for row in range(problem.n_rows)]
    for method in METHODS.values():
        parts = [method.evaluate(row) for row in rows]
        limits_of_rows = [method.bound(row) for row in rows]
        whole, bound = method.evaluate(problem), method.bound(problem)
        for name in ("loss", "weights"):
            summands = np.stack([part(one, name) for one in parts]).reshape(len(parts), -1).T
            limits = np.sum([part(one, name) for one in (*limits_of_rows, bound)], axis=0)
            for total, terms, limit in zip(part(whole, name).flat, summands, np.ravel(limits), strict=True):
                if np.isfinite(limit):
                    assert abs(math.fsum([-total, *terms])) <= limit, method.name


@given(problem=problems(), times=st.sampled_from([2, 4]))  # so that times Q is not rounded
@laws
def test_an_integer_weight_on_the_rows_equals_repeated_rows(problem: Problem, times: int) -> None:
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
    for method in METHODS.values():
        first, second = method.bound(weighted), method.bound(repeated)
        assert_within(
            method.evaluate(weighted).gradients["weights"],
            method.evaluate(repeated).gradients["weights"],
            first.gradients["weights"] + second.gradients["weights"],
            method.name,
        )


@given(data=st.data(), seed=st.integers(0, 2**32 - 1), with_bias=st.booleans(), hard=st.booleans())
@laws
def test_a_stack_of_problems_is_computed_as_each_of_them(
    data: st.DataObject, seed: int, with_bias: bool, hard: bool
) -> None:
    stack, rows, n_inputs, n_classes = (data.draw(st.integers(1, 4)) for _ in range(4))
    random = np.random.default_rng(seed)
    labels = random.integers(n_classes, size=(stack, rows))
    soft = random.dirichlet(np.ones(n_classes), size=(stack, rows))
    weights = 100 * random.normal(size=(stack, n_inputs, n_classes))
    inputs = random.normal(size=(stack, rows, n_inputs))
    bias = random.normal(size=(stack, n_classes)) if with_bias else None
    whole = Problem(weights, inputs, Targets(labels=labels) if hard else Targets(soft=soft), bias)
    alone = [
        Problem(
            weights[k],
            inputs[k],
            Targets(labels=labels[k]) if hard else Targets(soft=soft[k]),
            None if bias is None else bias[k],
        )
        for k in range(stack)
    ]
    for method in METHODS.values():
        evaluation, limits = method.evaluate(whole, NAMES), method.bound(whole, NAMES)
        for k, one in enumerate(alone):
            evaluation_alone, limits_alone = method.evaluate(one, NAMES), method.bound(one, NAMES)
            for name in ("loss", *NAMES):
                limit = part(limits_alone, name)
                assert_within(part(evaluation, name)[k], part(evaluation_alone, name), 2 * limit, method.name)
                if name != "loss":
                    assert np.allclose(part(limits, name)[k], limit, rtol=1e-6, atol=0), method.name


@given(problem=problems())
@laws
def test_chain_and_shortcut_are_within_their_common_bound(problem: Problem) -> None:
    bound = bounds.chain_against_shortcut(problem, NAMES)
    chain, shortcut = (METHODS[name].evaluate(problem, NAMES) for name in ("chain", "shortcut"))
    for name in NAMES:
        assert_within(chain.gradients[name], shortcut.gradients[name], bound.gradients[name])
    assert_within(np.asarray(chain.loss), shortcut.loss, np.asarray(bound.loss))


@every_precision
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


@every_precision
def test_bounds_hold_near_overflow_and_underflow_and_for_any_mass(dtype: Any) -> None:
    """Against the exact method, which test_exact holds to mpmath: 500 problems of every size that floats have,
    in stacks of five."""
    random = np.random.default_rng(11)
    for _ in range(100):
        problem = problem_of_any_size(random, dtype, (5,))
        truth = METHODS["exact"].evaluate(problem, NAMES)
        for method in FLOAT_METHODS:
            evaluation, bound = method.evaluate(problem, NAMES), method.bound(problem, NAMES)
            for name in ("loss", *NAMES):
                assert not np.isnan(part(bound, name)).any(), method.name
                assert_within(part(evaluation, name), part(truth, name), part(bound, name), method.name)


def effective(problem: Problem) -> Any:
    return problem.targets.effective(problem.n_classes, np.dtype(np.float64))


def folded(problem: Problem) -> Problem:
    """The problem whose soft targets are what the options of this one come to, as floats."""
    targets = Targets(soft=effective(problem), reduction="sum")
    return Problem(problem.weights, problem.inputs, targets, problem.bias)


def one_row(problem: Problem, row: int) -> Problem:
    targets = Targets(soft=effective(problem)[row : row + 1], reduction="sum")
    return Problem(problem.weights, problem.inputs[row : row + 1], targets, problem.bias)


def part(result: Any, name: str) -> Any:
    """A gradient, or the loss, or the bound of one."""
    return np.asarray(result.loss if name == "loss" else result.gradients[name], dtype=np.float64)


@every_precision
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
