"""A right gradient is never called wrong, and a wrong one that can be told is never called right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from candidates import ORDERS, gradient, in_blocks, loss
from strategies import random_problem
from xegrad import METHODS, Comparison, InputError, Problem, Targets, bounds, reference
from xegrad.display.outcome import outcome_sentence
from xegrad.judgement import (
    DIGITS_LOST,
    RIGHT,
    UNDECIDED,
    WRONG,
    Judgement,
    judge,
    judge_by_cheapest,
    narrower,
)
from xegrad.methods import Evaluation
from xegrad.tolerance import Tolerance
from xegrad.verification import verify_methods

NOT_WRONG = {RIGHT, DIGITS_LOST, UNDECIDED}


def mild_or_saturated(random: np.random.Generator) -> Problem:
    """Logits up to hundreds; inputs with zeros and tiny numbers among them."""
    problem = random_problem(random)
    inputs = problem.inputs * random.choice([0.0, 1e-30, 1.0, 1.0, 1.0], size=problem.inputs.shape)
    return Problem(problem.weights, inputs, problem.targets, problem.bias)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_right_gradient_in_any_order_of_summation_is_never_wrong(dtype: str) -> None:
    """600 problems, four orders each; a hundred thousand in benchmarks/verdicts.py."""
    random = np.random.default_rng(3)
    for _ in range(600):
        problem = mild_or_saturated(random)
        exact = METHODS["exact"].evaluate(problem)
        for name, dot in ORDERS.items():
            candidate = gradient(problem, dtype, dot)
            assert judge(problem, exact, candidate, Tolerance(precision=dtype)).outcome in NOT_WRONG, name
        judged = judge(problem, exact, loss(problem, dtype), Tolerance(precision=dtype), 0.0, "loss")
        assert judged.outcome in NOT_WRONG


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_an_entry_moved_by_eight_times_its_bound_is_always_wrong(dtype: str) -> None:
    random = np.random.default_rng(4)
    for _ in range(600):
        problem = mild_or_saturated(random)
        exact = METHODS["exact"].evaluate(problem)
        candidate = gradient(problem, dtype, ORDERS["forward"]).astype(np.float64)
        bound = bounds.stable(problem, arithmetic=bounds.PRECISIONS[dtype]).gradients["weights"]
        index = tuple(random.integers(size) for size in candidate.shape)
        candidate[index] += random.choice([-8, 8]) * bound[index]
        judged = judge(problem, exact, candidate, Tolerance(precision=dtype))
        assert judged.outcome == WRONG
        assert judged.wrong[index]


@pytest.mark.parametrize("stored_as", ["float16", "float32"])
def test_a_gradient_rounded_to_a_smaller_format_is_judged_as_stored(stored_as: str) -> None:
    random = np.random.default_rng(5)
    for _ in range(200):
        problem = mild_or_saturated(random)
        exact = METHODS["exact"].evaluate(problem)
        computed = gradient(problem, "float32", ORDERS["forward"])
        with np.errstate(over="ignore"):
            candidate = computed.astype(stored_as).astype(np.float64)
        if not np.isfinite(candidate).all():
            continue
        tolerance = Tolerance(precision="float32", stored_as=stored_as)
        assert judge(problem, exact, candidate, tolerance).outcome in NOT_WRONG


def to_bfloat16(values: Any) -> Any:
    """Rounded to nearest even by hand: numpy has no bfloat16."""
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def test_bfloat16_is_the_upper_half_of_a_float32() -> None:
    random = np.random.default_rng(6)
    for _ in range(200):
        problem = mild_or_saturated(random)
        rounded = to_bfloat16(gradient(problem, "float32", ORDERS["forward"]))
        exact = METHODS["exact"].evaluate(problem)
        tolerance = Tolerance(precision="float32", stored_as="bfloat16")
        assert judge(problem, exact, rounded, tolerance).outcome in NOT_WRONG


def long_problem(n_inputs: int) -> Problem:
    """W ~ N(0, 1 / N): the dot products stay near one, and only their length grows."""
    random = np.random.default_rng(7)
    weights = random.normal(size=(n_inputs, 10)) / np.sqrt(n_inputs)
    return Problem(weights, random.normal(size=(1, n_inputs)), Targets(labels=np.array([3])))


def test_sums_too_long_for_float32_are_undecided_unless_their_order_is_known() -> None:
    problem = long_problem(2**18)
    exact = METHODS["shortcut"].evaluate(problem)  # float64 is exact enough here, and takes no minutes
    exact = type(exact)(exact.loss, exact.losses, exact.gradients, {"weights": np.array(True)})
    candidate = gradient(problem, "float32", in_blocks(512))
    outcomes = {
        name: judge(problem, exact, candidate, Tolerance(precision="float32", terms=terms)).outcome
        for name, terms in (("any", bounds.any_order), ("blocked", bounds.blocked(512)))
    }
    assert outcomes == {"any": UNDECIDED, "blocked": RIGHT}
    house_rule = Tolerance(precision="float32", rtol=1e-2, atol=1e-6)
    assert judge(problem, exact, candidate, house_rule).outcome == RIGHT


def test_the_depth_of_a_sum_is_that_of_its_tree() -> None:
    assert [bounds.pairwise(n) for n in (1, 2, 1000, 1024)] == [1, 2, 11, 11]
    assert [bounds.blocked(128)(n) for n in (1, 128, 4096)] == [1, 128, 160]
    assert bounds.any_order(4096) == 4096


def judged(candidate: Any, tolerance: Tolerance | None = None) -> Any:
    problem = Problem(
        np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), np.array([[0.5, -0.25]]), Targets(labels=np.array([1]))
    )
    exact = METHODS["exact"].evaluate(problem)
    moved = exact.gradients["weights"] + np.array(candidate)
    return judge(problem, exact, moved, tolerance or Tolerance())


@pytest.mark.parametrize(
    ("error", "pattern"),
    [
        ([[0, 0, 0], [0, 0, 0]], "nowhere"),
        ([[0, 1, 0], [0, 0, 0]], "one entry"),
        ([[0, 1, 0], [0, 1, 0]], "one class"),
        ([[0, 1, 1], [0, 0, 0]], "one input"),
        ([[0, 1, 1], [1, 0, 0]], "several entries"),
        ([[1, 1, 1], [1, 1, 1]], "everywhere"),
        ([[np.nan, 0, 0], [0, 0, 0]], "one entry"),
    ],
)
def test_the_pattern_says_where(error: Any, pattern: str) -> None:
    assert judged(error).pattern == pattern


def judged_rows(error: Any, name: str) -> Any:
    problem = Problem(
        np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),
        np.array([[0.5, -0.25], [1.0, 2.0], [0.0, 0.3]]),
        Targets(labels=np.array([1, 0, 2])),
    )
    exact = METHODS["exact"].evaluate(problem, (name,))
    return judge(problem, exact, exact.gradients[name] + np.array(error), Tolerance(), with_respect_to=name)


def test_the_rows_of_other_gradients_are_those_of_the_batch() -> None:
    assert judged_rows([[0, 0, 0], [1, 2, 0], [0, 0, 0]], "logits").pattern == "one row of the batch"
    assert judged_rows([[0, 0], [1, 2], [0, 0]], "inputs").pattern == "one row of the batch"
    assert judged_rows([[0, 0], [1, 0], [1, 0]], "inputs").pattern == "one input"
    assert judged_rows([[0, 0, 0], [0, 1, 0], [0, 1, 0]], "logits").pattern == "one class"


def test_numbers_that_only_changed_places_are_said_to_be_the_same() -> None:
    exact = judged([[0, 0, 0], [0, 0, 0]]).comparison.reference
    turned = exact.ravel()[[3, 1, 2, 0, 5, 4]].reshape(2, 3)
    assert judged(turned - exact).pattern == "the same numbers in other places"
    turned[0, 1] += 1e-9
    assert judged(turned - exact).pattern == "several entries"


@pytest.mark.parametrize(
    ("values", "bound", "pattern"),
    [
        # Pairs of numbers that are twice the same, far apart: which of two came from where makes no difference.
        ([10.0 * (k // 2) for k in range(16)], 0.6, "the same numbers in other places"),
        # Pairs of neighbours whose bounds overlap: other numbers of the same range would match as well.
        ([10.0 * (k // 2) + k % 2 for k in range(16)], 0.6, "everywhere"),
        ([1e-9 * (10 * (k // 2) + k % 2) for k in range(16)], 0.6e-9, "everywhere"),
        ([10.0 * (k // 2) + 0.3 * (k % 2) for k in range(16)], 0.6, "everywhere"),
        # Two that no claim tells apart are one: a thousandth of a bound, or not much more.
        (
            [16.0 * (k // 2) + 0.5 * 2.0**-10 * (k % 2) for k in range(16)],
            1,
            "the same numbers in other places",
        ),
        ([16.0 * (k // 2) + 1.5 * 2.0**-10 * (k % 2) for k in range(16)], 1, "everywhere"),
        # Six are too few to be clear of all chance, where ten others are not clear.
        ([100.0 * k for k in range(6)] + [1000.0 + k for k in range(10)], 0.6, "everywhere"),
        (
            [100.0 * k for k in range(7)] + [1000.0 + k for k in range(9)],
            0.6,
            "the same numbers in other places",
        ),
    ],
)
def test_numbers_are_the_same_only_where_bounds_are_clear(
    values: list[float], bound: float, pattern: str
) -> None:
    judged = judged_rows([[0] * 3] * 3, "logits")
    reference = np.array(values)
    moved = Comparison(reference, np.roll(reference, 5), np.full(16, bound))
    assert replace(judged, comparison=moved).pattern == pattern


def test_one_row_alone_is_not_a_row_among_others() -> None:
    problem = Problem(np.ones((2, 3)), np.array([[0.5, -0.25]]), Targets(labels=np.array([1])))
    exact = METHODS["exact"].evaluate(problem, ("logits",))
    moved = exact.gradients["logits"] + np.array([[1, 1, 0]])
    assert judge(problem, exact, moved, Tolerance(), with_respect_to="logits").pattern == "several entries"


@pytest.mark.parametrize("certified", [None, [True, False, False]])
def test_values_that_are_not_certain_are_off_by_what_7_1_says(certified: list[bool] | None) -> None:
    """(1 + s)(E + 2 u |v|), s the u of the format in which the candidate is stored; 0 where they are certain."""
    problem = Problem(np.ones((1, 3)), np.ones((1, 1)), Targets(labels=np.array([1])))
    values, off = np.array([[0.25, -0.5, 0.125]]), np.array([[0.0, 1e-9, 1e-17]])
    flags = None if certified is None else {"weights": np.array([certified])}
    known = Evaluation(1.0, np.ones(1), {"weights": values}, flags, {"weights": off})
    tolerance = Tolerance(precision="float32", stored_as="bfloat16")
    expected = (1 + 2.0**-8) * (off + 2.0**-52 * np.abs(values))
    if certified is not None:
        expected = np.where(certified, 0.0, expected)
    np.testing.assert_allclose(
        judge(problem, known, values, tolerance).comparison.error, expected, rtol=1e-13
    )


def test_only_what_narrows_a_bound_by_a_tenth_is_advised() -> None:
    """Two terms have one order, whatever it is called; of 4,096 the orders differ by a factor of 100."""
    all_of_them = {"--summation pairwise", "--summation blocked=128", "--confidence 1e-9"}
    for n_inputs, advised in ((1, set()), (4096, all_of_them)):
        gradient = np.ones((n_inputs, 2))
        problem = Problem(gradient, np.ones((1, n_inputs)), Targets(labels=np.array([1])))
        judged = judge(problem, gradient, Tolerance(precision="float32"))
        assert narrower(problem, judged).keys() == advised


def stored_in_bfloat16(n_classes: int, change: Callable[[Any], Any]) -> Judgement:
    """A float32 gradient of 32 rows and 1024 inputs, changed and stored: bounds of neighbours overlap."""
    random = np.random.default_rng(5)
    weights, inputs = random.normal(size=(1024, n_classes)), random.normal(size=(32, 1024))
    problem = Problem(
        weights.astype("f4"), inputs.astype("f4"), Targets(labels=random.integers(n_classes, size=32))
    )
    exact = METHODS["shortcut"].evaluate(problem)  # float64 is exact enough here, and takes no minutes
    exact = type(exact)(exact.loss, exact.losses, exact.gradients, {"weights": np.array(True)})
    candidate = to_bfloat16(change(exact.gradients["weights"].astype(np.float64)).astype("f4"))
    return judge(problem, exact, candidate, Tolerance(precision="float32", stored_as="bfloat16"))


@pytest.mark.parametrize("index", [3, 8, 28])
def test_a_class_times_three_halves_is_in_no_other_place(index: int) -> None:
    """Sorted, all 102,400 numbers lie within the bounds of those that they should be."""
    factors = np.where(np.arange(100) == index, 1.5, 1.0)
    judged = stored_in_bfloat16(100, lambda gradient: gradient * factors)
    assert judged.pattern == "one class"


def test_other_numbers_in_the_same_range_are_not_the_same_numbers() -> None:
    random = np.random.default_rng(0)
    for change in (np.negative, lambda gradient: random.normal(size=gradient.shape) * gradient.std()):
        assert stored_in_bfloat16(10, change).pattern == "several entries"


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_a_class_in_the_place_of_another_is_found_among_many_numbers(precision: str) -> None:
    random = np.random.default_rng(1)
    for n_classes in (3, 10, 50):
        problem = Problem(
            random.normal(size=(64, n_classes)),
            random.normal(size=(8, 64)),
            Targets(labels=random.integers(n_classes, size=8)),
        )
        exact = METHODS["exact"].evaluate(problem)
        rolled = np.roll(exact.gradients["weights"], 1, axis=1)
        judged = judge(problem, exact, rolled, Tolerance(precision=precision))
        assert judged.pattern == "the same numbers in other places"


def test_a_house_rule_takes_the_place_of_the_bound() -> None:
    assert judged([[1e-9] * 3] * 2).outcome == WRONG
    assert judged([[1e-9] * 3] * 2, Tolerance(atol=1e-8)).outcome == RIGHT
    assert judged([[1e-9] * 3] * 2, Tolerance(rtol=1e-12)).outcome == WRONG


def test_an_infinite_candidate_is_wrong_and_nothing_raises() -> None:
    assert judged([[np.inf, 0, 0], [0, 0, -np.inf]]).outcome == WRONG


def test_methods_pass_their_own_check_and_a_chain_that_is_nan_does_not() -> None:
    mild = Problem(np.array([[1.0, 2.0]]), np.array([[0.5]]), Targets(labels=np.array([0])))
    assert all(check.passed for check in verify_methods(mild, ["weights"]).checks)
    dead = Problem(np.array([[1.0, 2000.0]]), np.array([[1.0]]), Targets(labels=np.array([0])))
    checks = verify_methods(dead, ["weights"]).checks
    failed = {check.name for check in checks if not check.passed and not check.advisory}
    assert failed == {"chain", "chain, loss", "chain against shortcut"}


def next_to_zero(epsilon: float) -> Problem:
    """W = 0, so that S = 1/2 and R = (-1/2, 1/2), (-1/2, 1/2), (1/2, -1/2): dL/dW is (-1 - epsilon, 1 + epsilon) / 2 of
    the first input, and (-epsilon, epsilon) / 2 of the second."""
    inputs = [[1.0, 1.0 + epsilon], [epsilon, 1.0], [0.0, 2.0]]
    return Problem(np.zeros((2, 2)), np.array(inputs), Targets([0, 0, 1], reduction="sum"))


def test_an_entry_that_its_own_sum_rounds_away_has_lost_nothing() -> None:
    problem = next_to_zero(2.0**-24)
    right = METHODS["exact"].evaluate(problem).gradients["weights"]
    assert right[1].tolist() == [-(2.0**-25), 2.0**-25]
    claim = right * [[1.0], [0.0]]
    one = judge(problem, claim, Tolerance("float32"))
    assert one.outcome == RIGHT
    assert one.comparison.no_correct_digit.tolist() == [[False, False], [True, True]]
    assert "2 of 4 entries have no correct digit: float32 does not resolve numbers of their size." in (
        outcome_sentence(problem, one)
    )
    assert judge(problem, claim, Tolerance("float32", rtol=1e-3, atol=1e-6)).outcome == RIGHT
    assert judge(problem, claim, Tolerance("float64", atol=1e-6)).outcome == DIGITS_LOST


def test_a_gradient_without_a_digit_that_its_precision_resolves_is_not_right() -> None:
    """W = 0, so that S = 1/2 and dL/dW = (-(2 + 2 epsilon) + 2, ...) / 2: what float32 rounds away."""
    epsilon = 2.0**-24
    inputs = np.array([[1.0 + epsilon], [1.0 + epsilon], [2.0]])
    problem = Problem(np.zeros((1, 2)), inputs, Targets([0, 0, 1], reduction="sum"))
    right = METHODS["exact"].evaluate(problem).gradients["weights"]
    assert right.tolist() == [[-epsilon, epsilon]]
    one = judge(problem, [[0.0, 0.0]], Tolerance("float32", atol=1.0))
    assert one.outcome == UNDECIDED
    assert outcome_sentence(problem, one).startswith(
        "UNDECIDED: 2 of 2 entries have no correct digit: float32 does not resolve numbers of their size. "
    )
    assert judge(problem, right, Tolerance("float32", atol=1.0)).outcome == RIGHT


@pytest.mark.parametrize(
    ("size", "claimed", "outcome"),
    [(2.8, "1", UNDECIDED), (0.9, "0", UNDECIDED), (4.2, "2", RIGHT), (2.8, "2", WRONG)],
)
def test_so_few_digits_that_none_is_correct_decide_nothing(size: float, claimed: str, outcome: str) -> None:
    """W = 0 and two classes: dL/dW is -x/2 and x/2, here -1.4, -0.45 and -2.1."""
    problem = Problem([[0.0, 0.0]], [[size]], Targets([0]))
    values = np.array([[-float(claimed), float(claimed)]])
    judged = judge(problem, values, Tolerance("float64"), resolution=0.5)
    assert judged.outcome == outcome
    if claimed == "1":
        assert "leaves the first digit of every entry open: an error below 0.5 could not" in (
            outcome_sentence(problem, judged)
        )


def test_whatever_is_right_has_a_digit() -> None:
    random = np.random.default_rng(17)
    outcomes = set()
    for _ in range(200):
        problem = Problem(
            random.normal(size=(2, 3)) * 10.0 ** random.integers(-3, 2),
            random.normal(size=(1, 2)) * 10.0 ** random.integers(-3, 2),
            Targets([0]),
        )
        exact = METHODS["exact"].evaluate(problem).gradients["weights"]
        decimals = int(random.integers(0, 5))
        rtol = float(10.0 ** random.uniform(-3, 0.5)) if random.integers(2) else None
        moved = exact * (1 + random.normal(size=exact.shape) * (rtol or 0.0))
        claim = np.round(moved, decimals)
        judged = judge(problem, claim, Tolerance("float64", rtol=rtol), resolution=0.5 * 10.0**-decimals)
        outcomes.add(judged.outcome)
        if judged.outcome == RIGHT:
            assert (np.abs(claim - exact) <= np.abs(exact) / 10)[exact != 0].any()
    assert outcomes == {RIGHT, DIGITS_LOST, WRONG, UNDECIDED}


@pytest.mark.parametrize(
    ("logits", "value", "tolerance"),
    [
        ([46.05, 0.0, -1.0], 0.0, Tolerance("float64")),  # S_c - 1 of an S_c that rounds to 1
        ([30.0, 0.0, -1.0], 0.0, Tolerance("float32")),
        ([30.0, 0.0, -1.0], -(2.0**-24), Tolerance("float32")),
        ([20.0, 0.0, -1.0], 0.0, Tolerance("float32", stored_as="float16")),  # 2.8e-9 underflows
    ],
)
def test_digits_that_a_careful_computation_keeps_are_lost(
    logits: list[float], value: float, tolerance: Tolerance
) -> None:
    problem = Problem(
        np.array([logits, [1.0, 0.5, 0.0]]), np.array([[1.0, 0.0], [0.0, 1.0]]), Targets([0, 0])
    )
    candidate = METHODS["exact"].evaluate(problem).gradients["weights"].copy()
    candidate[0, 0] = value
    judged = judge(problem, candidate, tolerance)
    assert judged.outcome == DIGITS_LOST
    assert judged.lost[0].tolist() == [True, False, False]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_careful_computation_is_within_its_error(dtype: Any) -> None:
    """The shortcut; in 3,000 problems its worst error was 0.68 of that."""
    random = np.random.default_rng(8)
    for _ in range(100):
        problem = random_problem(random, dtype)
        names = ["weights", "inputs", "logits"] + ["bias"] * (problem.bias is not None)
        exact, shortcut = (METHODS[name].evaluate(problem, names).gradients for name in ("exact", "shortcut"))
        for name in names:
            entries, arithmetic = np.arange(exact[name].size), bounds.PRECISIONS[problem.dtype.name]
            *_, error = bounds.of_careful(problem, name, arithmetic, entries)
            assert (np.abs(shortcut[name] - exact[name]).ravel() <= error).all(), name


def test_a_gradient_is_decided_though_the_loss_could_not_be_certified() -> None:
    problem = Problem(np.array([[1.0, 2.0]]), np.array([[0.5]]), Targets(labels=np.array([0])))
    exact = METHODS["exact"].evaluate(problem)
    flags = {"loss": np.array(False), "weights": np.array([[True, True]])}
    unsure = type(exact)(exact.loss, exact.losses, exact.gradients, flags)
    assert judge(problem, unsure, exact.gradients["weights"], Tolerance()).outcome == RIGHT
    assert judge(problem, unsure, float(exact.loss), Tolerance(), 0.0, "loss").outcome == UNDECIDED


def test_an_entry_whose_exact_value_is_not_certified_is_never_wrong() -> None:
    problem = Problem(np.array([[1.0, 2.0]]), np.array([[0.5]]), Targets(labels=np.array([0])))
    exact = METHODS["exact"].evaluate(problem)
    flags = {"loss": np.array(True), "weights": np.array([[True, False]])}
    unsure = type(exact)(exact.loss, exact.losses, exact.gradients, flags)
    right = exact.gradients["weights"]
    assert judge(problem, unsure, right + np.array([[0.0, 1.0]]), Tolerance()).outcome == UNDECIDED
    judged = judge(problem, unsure, right + np.array([[1.0, 1.0]]), Tolerance())
    assert judged.outcome == WRONG
    assert judged.pattern == "one entry"


def test_a_logit_that_is_lost_to_cancellation_moves_every_probability_of_its_row() -> None:
    """The logit of class 0 is 4 or 0, as its sum is ordered: S is near one-hot or uniform, and neither is wrong."""
    problem = Problem(
        np.array([[4.0, 0, 0], [1e19, 0, 0], [-1e19, 0, 0]]), np.ones((1, 3)), Targets(labels=np.array([1]))
    )
    exact = METHODS["exact"].evaluate(problem, ("logits",))
    uniform = np.array([[1 / 3, -2 / 3, 1 / 3]])
    assert judge(problem, exact, uniform, Tolerance(), with_respect_to="logits").outcome == UNDECIDED
    checks = {check.name: check.passed for check in verify_methods(problem, ["logits"]).checks}
    assert checks["shortcut, dL/dlogits"] and checks["complex-step, dL/dlogits"]


def test_a_logit_may_fall_below_those_whose_exponentials_underflow() -> None:
    """Class 0 is 1e20 above the others, and uncertain by more than that."""
    problem = Problem(
        np.array([[1e20, 0, 0], [1e37, 0, 0], [-1e37, 0, 0]]), np.ones((1, 3)), Targets(labels=np.array([0]))
    )
    exact = METHODS["exact"].evaluate(problem, ("logits",))
    uniform = np.array([[-2 / 3, 1 / 3, 1 / 3]])
    assert judge(problem, exact, uniform, Tolerance(), with_respect_to="logits").outcome != WRONG


def said_of(reference: Any, candidate: Any, bound: Any, error: Any = 0.0, **fields: Any) -> Judgement:
    """A judgement of numbers as they are given, of some gradient of logits."""
    judged = judged_rows([[0] * 3] * 3, "logits")
    parts: list[Any] = [np.array(part, dtype=float) for part in (reference, candidate, bound)]
    error = error if np.ndim(error) == 0 else np.array(error, dtype=float)
    return replace(judged, comparison=Comparison(*[*parts, error]), **fields)


GIVEN = Tolerance(atol=0.5)
OF_ROWS: dict[str, Any] = {"of_rows": 5}
OUTCOMES: list[tuple[dict[str, Any], str, bool]] = [
    ({"reference": [1, 2], "candidate": [1, 2], "bound": [0.1, 0.1]}, RIGHT, False),
    ({"reference": [1, 2], "candidate": [1, 3], "bound": [0.1, 0.1]}, WRONG, False),
    ({"reference": [0, 0], "candidate": [0, 0], "bound": [0.1, 0.1]}, RIGHT, False),
    # A bound that is derived and exceeds half of all that is not 0 says nothing; one that is given says what it says.
    ({"reference": [1, 0], "candidate": [1, 0], "bound": [0.6, 0.1]}, UNDECIDED, False),
    ({"reference": [1, 2], "candidate": [1, 2], "bound": [0.6, 0.1]}, RIGHT, False),
    ({"reference": [1, 0], "candidate": [1, 0], "bound": [0.6, 0.1], "tolerance": GIVEN}, RIGHT, False),
    ({"reference": [1, 2], "candidate": [1, 2], "bound": [np.inf, 0.1]}, UNDECIDED, False),
    # What is off by something is open where that would tell.
    ({"reference": [1, 2], "candidate": [1, 2.05], "bound": [0.1, 0.1], "error": [0.0, 0.1]}, UNDECIDED, True),
    ({"reference": [1, 2], "candidate": [3, 2.05], "bound": [0.1, 0.1], "error": [0.0, 0.1]}, WRONG, True),
    ({"reference": [1, 2], "candidate": [3, 2.01], "bound": [0.1, 0.1], "error": [0.0, 0.01]}, WRONG, False),
    ({"reference": [1, 2], "candidate": [1, 2.01], "bound": [0.1, 0.1], "error": [0.0, 0.01]}, RIGHT, False),
    ({"reference": [1, 0.4], "candidate": [1, 0.4], "bound": [0.9, 0.19], "error": [0.0, 0.1]}, UNDECIDED, True),
    # Of a data set no careful computation is known: what is not sure is undecided.
    ({"reference": [1, 2], "candidate": [1, 2], "bound": [0.1, 0.1], **OF_ROWS}, RIGHT, False),
    ({"reference": [1, 2], "candidate": [1, 2], "bound": [0.1, 2.5], **OF_ROWS}, UNDECIDED, False),
    ({"reference": [1, 2], "candidate": [1, 2], "bound": [1.0, 0.1], **OF_ROWS}, RIGHT, False),
    ({"reference": [1, 2], "candidate": [1, 2.5], "bound": [0.1, 0.9], **OF_ROWS}, UNDECIDED, False),
    ({"reference": [1, 2], "candidate": [1, 2], "bound": [0.1, 2.5], "tolerance": GIVEN, **OF_ROWS}, RIGHT, False),
    ({"reference": [1, 0], "candidate": [1, 0], "bound": [0.1, 2.5], **OF_ROWS}, RIGHT, False),
]  # fmt: skip


@pytest.mark.parametrize(("entries", "outcome", "is_open"), OUTCOMES)
def test_the_outcome_is_that_of_the_table_in_section_7(
    entries: dict[str, Any], outcome: str, is_open: bool
) -> None:
    judged = said_of(**entries)
    assert (judged.outcome, judged.is_open) == (outcome, is_open)


@pytest.mark.parametrize(
    ("entries", "is_vacuous"),
    [
        # 1 and 1.5 have 0.6 as more than half, and as less; 0 is no entry of which a bound catches something.
        ({"reference": [1.25], "candidate": [1], "bound": [0.6], "error": [0.25]}, None),
        ({"reference": [0.75], "candidate": [1], "bound": [0.6], "error": [0.25]}, True),
        ({"reference": [1.75], "candidate": [1], "bound": [0.6], "error": [0.25]}, False),
        ({"reference": [0.25], "candidate": [0], "bound": [0.6], "error": [0.25]}, None),
        ({"reference": [0], "candidate": [0], "bound": [0.6]}, False),
    ],
)
def test_a_bound_is_vacuous_where_it_catches_nothing_whatever_the_exact_value_is(
    entries: dict[str, Any], is_vacuous: bool | None
) -> None:
    assert said_of(**entries).is_vacuous is is_vacuous


def test_the_bound_of_a_verdict_is_the_widest_part_of_what_is_not_zero() -> None:
    assert said_of([2, -4, 0], [2, -4, 0], [0.5, 2, 9]).relative_bound == 0.5
    assert said_of([2, -4, 0], [2, -4, 0], [3, 2, 9]).relative_bound == 1.5
    assert said_of([0, 0], [0, 0], [3, 2]).relative_bound == 0
    kinds = {"derived": Tolerance(), "given": GIVEN, "probabilistic": Tolerance(confidence=1e-9)}
    assert {said_of([1], [1], [1], tolerance=one).bound_kind for one in kinds.values()} == kinds.keys()
    assert all(said_of([1], [1], [1], tolerance=one).bound_kind == kind for kind, one in kinds.items())


def test_a_loss_that_is_wrong_has_no_place() -> None:
    problem = Problem([[1.0, -1.0]], [[3.0]], Targets([0]))
    wrong, right = (judge(problem, value, with_respect_to="loss") for value in (1.0, 0.00247568513773045))
    assert (wrong.name, wrong.outcome, wrong.pattern) == ("loss", WRONG, "the loss")
    assert (right.outcome, right.pattern) == (RIGHT, "nowhere")
    # A loss without a digit has lost its digits, whatever a careful computation would keep.
    assert judge(problem, 1.0, Tolerance(atol=2.0), with_respect_to="loss").outcome == DIGITS_LOST
    infinite = Problem([[1e308, -1e308]], [[10.0]], Targets([1]))
    allowed = judge(infinite, np.inf, Tolerance(atol=1.0), with_respect_to="loss")
    assert allowed.comparison.reference == np.inf and allowed.comparison.within.all()
    unknown = judge(problem, Evaluation(np.nan, np.ones(1), {}), 1.0, Tolerance(rtol=0.1), 0.0, "loss")
    assert unknown.comparison.bound == np.inf and unknown.outcome == UNDECIDED


def test_a_candidate_and_its_resolution_have_the_shape_of_the_gradient() -> None:
    problem = Problem([[1.0, -1.0]], [[3.0]], Targets([0]))
    cases: list[tuple[Any, Any, str]] = [
        ([[1.0]], 0.0, "the gradient is 1 x 1, but 1 x 2 is expected"),
        ([[1.0, 2.0]], [[0.5]], "the resolution is 1 x 1, but 1 x 2 is expected"),
    ]
    for candidate, resolution, said in cases:
        with pytest.raises(InputError) as raised:
            judge(
                problem, candidate, Tolerance(), np.array(resolution) if np.ndim(resolution) else resolution
            )
        assert said in str(raised.value)
    judged = judge(problem, [[1.0, 2.0]], Tolerance(), np.array([[0.5, 0.25]]))
    plain = judge(problem, [[1.0, 2.0]], Tolerance())
    added = judged.comparison.bound - plain.comparison.bound
    np.testing.assert_allclose(added, [[0.5, 0.25]], rtol=1e-12)
    assert judged.reading.resolution is not None and np.ravel(judged.reading.resolution).tolist() == [
        0.5,
        0.25,
    ]
    with pytest.raises(InputError, match="the loss"):
        judge(problem, [1.0, 2.0], with_respect_to="loss")


def test_the_cheapest_values_that_decide_are_asked_first_and_those_beside_are_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bounds, "LARGE", 0)
    problem = judged_rows([[0] * 3] * 3, "logits").problem
    right = METHODS["exact"].evaluate(problem, ("weights",)).gradients["weights"]
    asked: list[Evaluation] = []
    references = reference.references

    def recorded(*arguments: Any) -> Any:
        for values in references(*arguments):
            asked.append(values)
            yield values

    monkeypatch.setattr("xegrad.judgement.references", recorded)
    quick = judge_by_cheapest(problem, right, Tolerance("float32"), beside=("bias", "weights"))
    assert quick.outcome == RIGHT and len(asked) == 1
    assert [*asked[0].gradients] == ["bias", "weights"]
    asked.clear()
    # Of a number that is stored in float32, next to its limit.
    tolerance = Tolerance("float32")
    limit = bounds.stable(problem, arithmetic=tolerance.arithmetic).gradients["weights"]
    slow = judge_by_cheapest(problem, right + limit * (1 - 1e-13), tolerance)
    assert len(asked) > 1 and slow.reference is asked[-1] and not slow.comparison.open.any()
    asked.clear()
    loss = judge_by_cheapest(problem, 1.0, Tolerance("float32"), with_respect_to="loss")
    assert loss.outcome == WRONG and [*asked[0].gradients] == []


@pytest.mark.parametrize(
    ("fields", "is_advised"),
    [
        ({}, True),
        ({"tolerance": Tolerance("float32", rtol=1e-3)}, False),
        ({"tolerance": Tolerance("float32", confidence=1e-9)}, False),
        ({"tolerance": Tolerance("float32", terms=bounds.pairwise)}, False),
        ({"of_rows": 7}, False),
    ],
)
def test_a_narrower_bound_is_advised_where_none_was_asked_for(
    fields: dict[str, Any], is_advised: bool
) -> None:
    gradient = np.ones((4096, 2))
    problem = Problem(gradient, np.ones((1, 4096)), Targets(labels=np.array([1])))
    judged = judge(problem, gradient, Tolerance(precision="float32"))
    assert bool(narrower(problem, replace(judged, **fields))) == is_advised


def test_where_there_is_no_bound_nothing_narrower_is_advised() -> None:
    problem = Problem(np.array([[1e308, -1e308]]), np.array([[1.0], [1.0]]), Targets([0, 1]))
    judged = judge(problem, np.zeros((1, 2)), Tolerance("float64"))
    assert np.isinf(judged.comparison.bound).all() and narrower(problem, judged) == {}


def test_an_order_of_sums_narrows_a_bound_by_what_its_depth_says() -> None:
    """In the median entry, by as much as the bounds themselves: of a gradient that was printed, and of a loss."""
    problem = Problem(np.ones((4096, 2)), np.ones((1, 4096)), Targets(labels=np.array([1])))
    for candidate, name, resolution in ((np.ones((4096, 2)), "weights", 1e-3), (0.7, "loss", 0.0)):
        judged = judge(problem, candidate, Tolerance("float32"), resolution, name)
        others = {
            "--summation pairwise": Tolerance("float32", terms=bounds.pairwise),
            "--summation blocked=128": Tolerance("float32", terms=bounds.blocked(128)),
            "--confidence 1e-9": Tolerance("float32", confidence=1e-9),
        }
        allowed = {
            option: judge(problem, candidate, one, resolution, name).comparison.bound
            for option, one in others.items()
        }
        expected = {
            option: float(np.median(judged.comparison.bound / bound)) for option, bound in allowed.items()
        }
        assert narrower(problem, judged) == pytest.approx(expected, rel=1e-12)
        assert min(expected.values()) > 1.1


@pytest.mark.parametrize(
    ("error", "careful", "is_lost", "is_open"),
    [
        (0.0, [0.05], True, False),
        (0.0, [0.1], True, False),
        (0.0, [0.11], False, False),
        (0.2, [0.07], True, False),
        (0.2, [0.1], False, True),
        (0.2, [0.13], False, False),
        (0.0, [0.01, 0.05], True, False),  # what the first rows make of it, and all of them
        (0.0, [0.01, 0.5], False, False),
        (0.0, [0.5, 0.01], False, False),  # the first tell enough
    ],
)
def test_an_entry_has_lost_its_digits_if_a_careful_computation_has_one(
    error: float, careful: list[float], is_lost: bool, is_open: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """(7.3), with E on the safe side; of a loss, or of rows that nobody has, all that has none is lost."""
    monkeypatch.setattr(bounds, "of_careful", lambda *arguments: (np.array([one, one]) for one in careful))
    errors = np.array([0.0, error, error]) if error else 0.0
    judged = said_of([1, 1, -1], [1, 2, -2], [5, 5, 5], errors)
    assert judged.lost.tolist() == [False, is_lost, is_lost]
    assert judged._perhaps_lost.tolist() == [False, is_open, is_open]
    for fields in ({"of_rows": 3}, {"name": "loss"}):
        assert replace(judged, **fields).lost.tolist() == [False, True, True]
    assert not said_of([1, 1], [1, 1], [5, 5]).lost.any()


@pytest.mark.parametrize(
    ("reference", "bound", "error", "exceeded"),
    [
        (1.0, 1.0, 0.0, False),
        (1.0, 1.1, 0.0, True),
        (0.0, 1.1, 0.0, False),
        (1.0, 0.9, 0.1, False),
        (1.0, 0.95, 0.1, True),
        (0.0, 0.0, 0.1, True),
    ],
)
def test_the_bound_of_a_data_set_exceeds_an_entry_that_may_be_no_larger(
    reference: float, bound: float, error: float, exceeded: bool
) -> None:
    """12.3; an entry that is known to be 0 is not exceeded."""
    judged = said_of([reference], [reference], [bound], [error], of_rows=4)
    assert judged.exceeded.tolist() == [exceeded or error == 0.1]  # which may be without a digit
    assert not replace(judged, of_rows=None).exceeded.any()
    assert not replace(judged, tolerance=GIVEN).exceeded.any()
    plain = said_of([reference], [reference], [bound], of_rows=4)
    assert plain.exceeded.tolist() == [reference != 0 and bound > abs(reference)]
