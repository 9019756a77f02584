"""What a diagnosis counts and fits, piece by piece: how many numbers are free, and between what one lies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from xegrad import METHODS, Problem, Targets, Tolerance
from xegrad.diagnosis import diagnose, diagnose_loss
from xegrad.diagnosis.evidence import _has_enough_numbers
from xegrad.diagnosis.fitting import _roots, open_interval
from xegrad.diagnosis.search import Hypothesis, Search
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
    exact = METHODS["exact"].evaluate(problem, (name,))
    return Search(problem, exact, 2 * exact.gradients[name], Tolerance(), 0.0, name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1, 2, 3), (3, 2, 4), (2, 5, 3), (4, 3, 2), (3, 4, 6)])
@pytest.mark.parametrize("options", [{}, {"ignore_index": 1}])
def test_numbers_are_independent_as_many_as_residuals_can_make_of_them(
    name: str, shape: tuple[int, int, int], options: dict[str, int]
) -> None:
    """The dimension of all gradients: of residuals whose rows sum to 0, and are 0 where a row does not count."""
    problem = problem_of(*shape, **options)
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
    slope[:5] = 0
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
