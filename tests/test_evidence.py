"""What a diagnosis counts and fits, piece by piece: how many numbers are free, and between what one lies."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from small_batch import exactly
from xegrad import METHODS, Problem, Targets, Tolerance
from xegrad.diagnosis import diagnose, diagnose_loss
from xegrad.diagnosis.evidence import (
    _bits,
    _has_enough_numbers,
    _moved_residuals,
    is_proved,
    is_zero_but_for_rounding,
)
from xegrad.diagnosis.fitting import _roots, open_interval
from xegrad.diagnosis.search import EVERYTHING, FLIPPED, NOTHING, Entries, Hypothesis, Search
from xegrad.layer import pull_back
from xegrad.numbers.rounded import Rounded
from xegrad.slips import SLIPS

NAMES = ("weights", "bias", "inputs", "logits")


def problem_of(n_rows: int, n_inputs: int, n_classes: int, **options: Any) -> Problem:
    random = np.random.default_rng(1)
    labels = np.arange(n_rows) % n_classes
    return Problem(
        random.normal(size=(n_inputs, n_classes)),
        random.normal(size=(n_rows, n_inputs)),
        Targets(labels, **options),
        random.normal(size=n_classes),
    )


def search_of(problem: Problem, name: str = "weights") -> Search:
    exact = exactly(problem, name)
    return Search(problem, exact, 2 * exact.gradients[name], Tolerance(), 0.0, name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1, 2, 3), (3, 2, 4), (2, 5, 3), (4, 3, 2), (3, 4, 6)])
@pytest.mark.parametrize("options", [{}, {"ignore_index": 1}])
@pytest.mark.parametrize("x_is_of_one_row", [False, True])
def test_numbers_are_independent_as_many_as_residuals_can_make_of_them(
    name: str, shape: tuple[int, int, int], options: dict[str, int], x_is_of_one_row: bool
) -> None:
    """The dimension of all gradients: of residuals whose rows sum to 0, and are 0 where a row does not count."""
    problem = problem_of(*shape, **options)
    if x_is_of_one_row:
        problem = replace(problem, inputs=problem.inputs[:, :1] * problem.inputs[:1])
    n_rows, _, n_classes = problem.sizes
    random, carried = np.random.default_rng(2), []
    for _ in range(n_rows * n_classes):
        residual = random.normal(size=(n_rows, n_classes)) * problem.targets.kept[:, None]
        residual -= residual.mean(axis=1, keepdims=True)
        carried.append(pull_back(problem, residual, name).ravel())
    rank = int(np.linalg.matrix_rank(np.array(carried)))
    search, steps = search_of(problem, name), ((SLIPS["scaled"], {"k": 2.0}),)
    enough = [_has_enough_numbers(search, Hypothesis(steps, free=free)) for free in range(rank + 2)]
    assert enough == [free < rank for free in range(rank + 2)]


def test_a_free_number_lies_where_every_entry_allows_it() -> None:
    """|C - P - t D| <= 2 e + resolution, entry by entry; nowhere if one entry fits no t, or none depends on t."""
    search = search_of(problem_of(2, 2, 2))
    random = np.random.default_rng(3)
    shape = (200, 2, 2)
    slope = random.normal(size=shape) * (random.random(shape) < 0.8)
    slope[:5], slope[5:15], slope[15:25] = 0, 1, -1
    value, error = random.normal(size=shape), random.uniform(0.05, 0.3, shape)
    t = random.normal(size=(200, 1, 1))
    candidate = (
        value + t * slope + random.uniform(-1, 1, shape) * 2 * error * random.choice([0.9, 1.5], shape)
    )
    resolution = random.choice([0.0, 0.1], shape)
    at = Rounded(value, error, search.cells.arithmetic)
    with np.errstate(all="ignore"):
        lower, upper = open_interval(search, at, slope, (candidate, resolution))
    allowed = 2 * error + resolution

    def fits(k: int, number: float) -> bool:
        return bool((np.abs(candidate[k] - value[k] - number * slope[k]) <= allowed[k]).all())

    empty = 0
    for k in range(200):
        if lower[k] > upper[k] or not slope[k].any():
            empty += 1
            assert lower[k] > upper[k]
            assert not slope[k].any() or not any(fits(k, number) for number in np.linspace(-9, 9, 1001))
            continue
        width = upper[k] - lower[k]
        assert fits(k, (lower[k] + upper[k]) / 2)
        assert fits(k, lower[k] + 1e-9 * width) and not fits(k, lower[k] - 1e-6 * (1 + width))
        assert fits(k, upper[k] - 1e-9 * width) and not fits(k, upper[k] + 1e-6 * (1 + width))
    assert 10 < empty < 190


def test_a_root_is_found_between_two_numbers_of_which_one_is_too_small() -> None:
    wanted = np.array([1e-6, 0.3, 7.0, 900.0])
    low, high = wanted / np.array([3.0, 1.001, 40.0, 1.5]), wanted * np.array([2.0, 70.0, 1.2, 1.0])
    for error in (lambda x: x - wanted, lambda x: np.log(wanted) - np.log(x), lambda x: x**3 - wanted**3):
        np.testing.assert_allclose(_roots(error, low, high), wanted, rtol=1e-12)
    # Where nothing changes its sign: the end that is nearer.
    np.testing.assert_array_equal(_roots(lambda x: x, low, high), low)
    np.testing.assert_array_equal(_roots(lambda x: -1 / x, low, high), high)


LOSSES: dict[str, tuple[str, Callable[..., Any], dict[str, Any]]] = {
    "half of the squared error": ("squared-error", lambda S, Q, Z: ((S - Q) ** 2).sum() / 2, {"factor": 1}),
    "the squared error": ("squared-error", lambda S, Q, Z: ((S - Q) ** 2).sum(), {"factor": 2}),
    "its mean": ("squared-error", lambda S, Q, Z: ((S - Q) ** 2).mean(), {"factor": 2}),
    "no logarithm": ("log-forgotten", lambda S, Q, Z: -(Q * S).sum(), {"loss": "-sum Q S"}),
    "no softmax": ("log-forgotten", lambda S, Q, Z: -(Q * Z).sum(), {"loss": "-sum Q Z"}),
    "the negative": ("sign-flipped", lambda S, Q, Z: (Q * np.log(S)).sum(), {}),
    "in bits": ("scaled", lambda S, Q, Z: -(Q * np.log2(S)).sum(), {"k": 1 / np.log(2)}),
    "the sum of rows": ("scaled", lambda S, Q, Z: -3 * (Q * np.log(S)).sum(), {"k": 3.0}),
    "something else": ("", lambda S, Q, Z: -1.2345 * (Q * np.log(S)).sum(), {}),
}


@pytest.mark.parametrize("case", LOSSES)
def test_a_loss_is_named_by_its_formula(case: str) -> None:
    name, formula, parameters = LOSSES[case]
    problem = problem_of(3, 2, 4)
    Z = problem.inputs @ problem.weights + np.asarray(problem.bias)
    S = np.exp(Z) / np.exp(Z).sum(axis=1, keepdims=True)
    loss = float(formula(S, problem.targets.effective(4, np.dtype(float)), Z))
    diagnosis = diagnose_loss(problem, METHODS["exact"].evaluate(problem), loss)
    assert diagnosis.names == (((name,),) if name else ())
    for one in diagnosis.explanations:
        assert {key: one.parameters[key] for key in parameters} == pytest.approx(parameters)


@pytest.mark.parametrize(
    ("n_rows", "said", "wrong", "right"),
    [
        (1, "The label is taken to be class 2, but it is class 0.", "S[2] -= 1", "S[0] -= 1"),
        (2, "In row 1 the label is taken to be class 3, but it is class 1.", "S[1, 3] -= 1", "S[1, 1] -= 1"),
    ],
)
@pytest.mark.parametrize("name", ["weights", "logits"])
def test_one_wrong_label_is_told_by_its_row_if_there_are_several(
    n_rows: int, said: str, wrong: str, right: str, name: str
) -> None:
    problem = problem_of(n_rows, 3, 5)
    labels = np.array(problem.targets.labels)
    labels[-1] += 2
    other = Problem(problem.weights, problem.inputs, Targets(labels), problem.bias)
    candidate = METHODS["shortcut"].evaluate(other, (name,)).gradients[name]
    diagnosis = diagnose(problem, candidate, with_respect_to=name)
    assert diagnosis.names == (("wrong-label",),)
    [one] = diagnosis.explanations
    assert said in one.happened
    assert (one.wrong, one.right) == (wrong, right)


def test_what_a_row_and_an_input_explain_alike_is_said_of_neither() -> None:
    """A row that holds one input alone moves that line of dL/dW only, as whatever went wrong with the input does."""
    random = np.random.default_rng(5)
    inputs = random.normal(size=(4, 3))
    moved = {}
    for row in ([2.0, 0.0, 0.0], [2.0, 1.0, -1.0]):
        inputs[1] = row
        problem = Problem(random.normal(size=(3, 6)), inputs, Targets([0, 1, 2, 3]))
        apart = random.normal(size=6)
        exact = METHODS["exact"].evaluate(problem)
        wrong = exact.gradients["weights"] + np.outer(row, apart - apart.mean())
        moved[tuple(row)] = diagnose(problem, exact, wrong).where
    assert [bool(where) for where in moved.values()] == [False, True]
    assert "row 1" in moved[2.0, 1.0, -1.0].lower()


def seen_as(
    problem: Problem, candidate: Any, resolution: Any = 0.0, name: str = "weights", **tolerance: Any
) -> Search:
    exact = exactly(problem, name)
    return Search(problem, exact, candidate, Tolerance(**tolerance), resolution, name)


def hypothesis(*names: str, free: int = 0, **form: Any) -> Hypothesis:
    """The last of the slips has the form."""
    return Hypothesis(
        tuple((SLIPS[name], form if name == names[-1] else {}) for name in names),
        free=free,
    )


SQUARE = problem_of(3, 4, 4)
G = METHODS["exact"].evaluate(SQUARE).gradients["weights"]
LIMIT = float(np.sort(np.abs(G).ravel())[-4])
ZERO_LINE = np.array([[0.0], [1.0], [1.0], [1.0]])


@pytest.mark.parametrize(
    ("steps", "candidate", "telling"),
    [
        (hypothesis("scaled", k=3.0), 3 * G, np.abs(3 * G)),
        (hypothesis("scaled", free=1, k=3.0), 3 * G, np.abs(2 * G)),
        (hypothesis("scaled", free=1, k=0.5), 0.5 * G, np.abs(0.5 * G)),
        (hypothesis("sign-flipped"), -G, np.abs(G)),
        (hypothesis("sign-flipped", "scaled", free=1, k=3.0), -3 * G, np.abs(3 * G)),
        (hypothesis("sign-flipped", "scaled", free=1, k=0.2), -0.2 * G, np.abs(0.2 * G)),
        (hypothesis("transposed", "sign-flipped"), -G.T, np.minimum(np.abs(G), np.abs(G + G.T))),
        (
            hypothesis("transposed", "scaled", k=1.25),
            1.25 * G.T,
            np.minimum(np.abs(1.25 * G.T), np.abs(1.25 * G.T - G)).T,
        ),
        (hypothesis("clipped", free=1, limit=LIMIT, at_limit=4), np.clip(G, -LIMIT, LIMIT), "all of it"),
        (hypothesis("low-precision", format="float16"), G.astype(np.float16) * 1.0, "all of it"),
        (hypothesis("scaled", free=1, k=3.0), 3 * G * ZERO_LINE, np.abs(2 * G) * ZERO_LINE),
    ],
)
@pytest.mark.parametrize("resolution", [0.0, 1e-5])
def test_bits_are_the_logarithms_of_what_tells_over_the_bound(
    steps: Hypothesis, candidate: Any, telling: Any, resolution: float
) -> None:
    """The candidate, or its distance from the right one for a free number or a pair; each bit from 0 to 53."""
    search = seen_as(SQUARE, candidate, resolution)
    if isinstance(telling, str):
        telling = np.abs(candidate)
    with np.errstate(all="ignore"):
        bound = search.predicted(steps).errors + resolution
        if "low-precision" in steps.names:  # u of what is stored, half of a unit for each rounding
            bound = search.allowed(search.predicted(steps), np.asarray(resolution), 1)
        found = _bits(search, steps, EVERYTHING)
    each = [
        min(max(math.log2(part / allowed), 0.0), 53.0) if part else 0.0
        for part, allowed in zip(telling.ravel(), np.broadcast_to(bound, (4, 4)).ravel(), strict=True)
    ]
    assert found == pytest.approx(sum(each) - (max(each) if steps.free else 0.0), rel=1e-12)
    with np.errstate(all="ignore"):
        some = _bits(search, hypothesis("scaled", k=3.0), Entries(np.array([1, 3]), np.array([0, 2])))
    if steps.names == ("scaled",) and not steps.free:
        assert some == pytest.approx(sum(each[k] for k in (4, 6, 12, 14)), rel=1e-12)


def test_an_entry_holds_53_bits_at_most_and_what_is_right_none() -> None:
    twice = hypothesis("scaled", k=2.0)
    with np.errstate(all="ignore"):
        assert _bits(seen_as(SQUARE, 2 * G, rtol=0.0, atol=1e-60), twice, EVERYTHING) == 16 * 53
        barely = hypothesis("scaled", k=1 + 1e-9)
        for atol, is_right in ((0.9e-9, False), (1.1e-9, True)):
            search = seen_as(SQUARE, (1 + 1e-9) * G, atol=atol * np.abs(G).max())
            assert (_bits(search, barely, EVERYTHING) == 0) is is_right


def test_what_is_right_within_two_bounds_of_a_slip_in_every_entry_tells_nothing() -> None:
    with np.errstate(all="ignore"):
        bound = seen_as(SQUARE, G).predicted(hypothesis("scaled", k=1.0)).error
        for bounds, is_right in ((1.5, True), (2.5, False)):
            k = 1 + bounds / float((np.abs(G) / bound).max())
            assert (_bits(seen_as(SQUARE, k * G), hypothesis("scaled", k=k), EVERYTHING) == 0) is is_right


def test_an_entry_that_is_zero_and_has_no_bound_tells_nothing() -> None:
    """An input that is 0 in every row, to which nothing is added."""
    problem = Problem(SQUARE.weights, SQUARE.inputs * [0.0, 1.0, 1.0, 1.0], SQUARE.targets)
    gradient = METHODS["exact"].evaluate(problem).gradients["weights"]
    with np.errstate(all="ignore"):
        search, twice = seen_as(problem, 2 * gradient, rtol=1e-3), hypothesis("scaled", k=2.0)
        assert not search.allowed(search.predicted(twice), np.asarray(0.0), 1)[0].any()
        assert _bits(search, twice, EVERYTHING) == pytest.approx(12 * math.log2(1e3))


def resolution_for(bits: float, sizes: Any) -> float:
    """That with which these sizes hold so many bits together, each from 0."""
    low, high = 0.0, float(sizes.max())
    for _ in range(200):
        middle = (low + high) / 2
        enough = np.log2(np.maximum(sizes / middle, 1)).sum() >= bits
        low, high = (middle, high) if enough else (low, middle)
    return low


SHIFTED = "1 2 3 0"
OUT = problem_of(6, 4, 5)


@pytest.mark.parametrize(
    ("problem", "steps", "more"),
    [
        (SQUARE, hypothesis("sign-flipped"), 0.0),
        (SQUARE, hypothesis("classes-permuted", order=SHIFTED), math.log2(24)),
        (SQUARE, hypothesis("wrong-label", order="0 as 1, 1 as 0"), math.log2(24)),
        (SQUARE, hypothesis("wrong-label", order="reversed"), 0.0),
        (OUT, hypothesis("rows-left-out", rows="2", divisor="all rows"), 6.0),  # a bit for each row
        (problem_of(64, 4, 5), hypothesis("rows-left-out", rows="2 3", divisor="all rows"), 2 * 6 + 1.0),
    ],
)
def test_a_name_needs_24_bits_and_as_many_as_tell_it_from_others_of_its_kind(
    problem: Problem, steps: Hypothesis, more: float
) -> None:
    with np.errstate(all="ignore"):
        made = (
            seen_as(problem, METHODS["exact"].evaluate(problem).gradients["weights"]).predicted(steps).value
        )
        candidate = made
        if steps.names == ("classes-permuted",):
            candidate = made[:, [1, 2, 3, 0]]
        if steps.names == ("sign-flipped",):
            candidate = -made
        for apart, expected in ((0.1, True), (-0.1, False)):
            resolution = resolution_for(24 + more + apart, np.abs(made))
            assert is_proved(seen_as(problem, candidate, resolution), steps) is expected
        exactly = seen_as(problem, candidate)
        assert is_proved(exactly, steps)
        moved = candidate + 3 * exactly.predicted(steps).error.max() * (candidate == candidate[1, 1])
        assert not is_proved(seen_as(problem, moved), steps)
        assert is_proved(seen_as(problem, moved), steps._replace(proved=True))
        assert not is_proved(exactly, steps._replace(free=99))


def test_what_is_stored_as_classes_by_inputs_is_proved_by_a_layout_alone() -> None:
    problem = problem_of(3, 2, 4)
    gradient = METHODS["exact"].evaluate(problem).gradients["weights"]
    with np.errstate(all="ignore"):
        assert is_proved(seen_as(problem, gradient.T), hypothesis("transposed"))
        assert is_proved(seen_as(problem, -gradient.T), hypothesis("transposed", "sign-flipped"))
        as_it_lies = seen_as(problem, -gradient.reshape(4, 2))
        assert not is_proved(as_it_lies, hypothesis("sign-flipped"))


@pytest.mark.parametrize(
    ("steps", "moved"),
    [
        (hypothesis("wrong-label", row=1, label=1, instead=2), 1),  # two, whose sum stays
        (hypothesis("target-not-subtracted"), 3),  # one in each row, and the sum of the row
        (hypothesis("temperature", tau=2.0, factor="left out"), 3 * 3),
        (hypothesis("softmax-missing"), 3 * 4),
        (hypothesis("rows-left-out", rows="0 2", divisor="all rows"), 2 * 3),
        (hypothesis("input-missing"), math.inf),
        (hypothesis("softmax-missing", "input-missing"), math.inf),
        (NOTHING, 0),
    ],
)
def test_residuals_that_move_are_counted_with_one_less_in_a_row_whose_sum_stays(
    steps: Hypothesis, moved: float
) -> None:
    assert _moved_residuals(search_of(SQUARE), steps) == moved


def test_a_free_number_of_the_layer_must_move_more_residuals_than_there_are_free_numbers() -> None:
    search = search_of(SQUARE)
    one = hypothesis("wrong-label", row=1, label=1, instead=2)
    three = hypothesis("target-not-subtracted")
    for steps, n_moved in ((one, 1), (three, 3)):
        for free in range(1, 6):
            assert _has_enough_numbers(search, steps._replace(free=free)) is (free < n_moved)
    narrow = search_of(problem_of(3, 2, 4))  # it moves 9 residuals, of which X' makes 6 numbers
    cooled = hypothesis("temperature", tau=2.0, factor="left out")
    assert [_has_enough_numbers(narrow, cooled._replace(free=free)) for free in (5, 6)] == [True, False]
    outside = Hypothesis((*one.steps, (SLIPS["scaled"], {"k": 2.0})), free=8)
    assert _has_enough_numbers(search, outside) and not _has_enough_numbers(search, outside._replace(free=9))


def test_a_parameter_that_is_added_is_determined_by_all_entries() -> None:
    problem = problem_of(1, 2, 3)
    search, decay = search_of(problem), (SLIPS["weight-decay-included"], {"lambda": 0.1})
    for steps, least in (((decay,), 6), ((FLIPPED, decay), 2)):
        for free in (least - 1, least):
            assert _has_enough_numbers(search, Hypothesis(steps, free=free)) is (free < least)


def test_a_zero_but_for_rounding_is_within_its_bound_and_not_far_below() -> None:
    """At most 2**-10 of the largest right entry, and more than 2**-16 of the bound, with 24 bits in what is right."""
    zero = Hypothesis(((SLIPS["all-zero"], {"up to": "rounding"}),))
    largest = float(np.abs(G).max())
    place = np.arange(16).reshape(4, 4) == 6
    with np.errstate(all="ignore"):
        bound = 2 * seen_as(SQUARE, G).predicted(zero).error
        at = np.argwhere(bound == bound.max())[0]
        most = np.zeros((4, 4))
        most[tuple(at)] = bound.max()
        for factor, expected in (
            (0.99, True),
            (1.01, False),
            (1.01 * 2**-16, True),
            (0.99 * 2**-16, False),
            (0, False),
        ):
            assert is_zero_but_for_rounding(seen_as(SQUARE, factor * most)) is expected
        wide = 2.0**-8 * largest
        for size, expected in ((0.99 * 2**-10, True), (1.01 * 2**-10, False)):
            assert is_zero_but_for_rounding(seen_as(SQUARE, place * size * largest, wide)) is expected
        for apart, expected in ((0.1, True), (-0.1, False)):
            resolution = resolution_for(24 + apart, np.abs(G))
            assert (
                is_zero_but_for_rounding(seen_as(SQUARE, place * 2.0**-11 * largest, resolution)) is expected
            )
        narrow = problem_of(3, 2, 4)
        assert not is_zero_but_for_rounding(seen_as(narrow, np.full((4, 2), 1e-17)))
        assert is_zero_but_for_rounding(seen_as(narrow, np.full((2, 4), 1e-17)))
