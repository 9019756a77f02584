"""The derivation cell by cell: what it comes to, and what follows when a cell is replaced."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from strategies import random_problem
from truth import exact as truth_of
from truth import misses, words
from xegrad import METHODS, Problem, Targets, bounds
from xegrad.derivation import CELLS, DOWNSTREAM, Cells
from xegrad.numbers.arithmetic import PRECISIONS
from xegrad.numbers.rounded import Rounded, exact, softmax


@pytest.fixture
def seed() -> Problem:
    return Problem(
        np.array([[0.1, 0.2, 0.3, 0.4, 0.5], [0.6, 0.7, 0.8, 0.9, 0.1], [0.11, 0.12, 0.13, 0.14, 0.15]]),
        np.array([[0.1, 0.5, 0.4]]),
        Targets(labels=np.array([2])),
    )


def assert_near(number: Rounded, values: Any) -> None:
    assert (np.abs(number.value - values) <= 2 * number.error).all()


@pytest.mark.parametrize("name", ["weights", "bias", "inputs", "logits"])
def test_every_gradient_is_that_of_mpmath_within_its_error(name: str) -> None:
    random = np.random.default_rng(8)
    for _ in range(50):
        problem = random_problem(random)
        with np.errstate(all="ignore"):
            gradient = Cells(problem, name).G
        assert not misses(words(truth_of(problem)[name]), gradient.value, 1.01 * gradient.error).any()


def test_the_chain_ends_where_the_shortcut_does(seed: Problem) -> None:
    cells = Cells(seed)
    flat = cells.flat
    assert flat.shape == (1, 15)
    assert_near(flat.reshape(5, 3).T, METHODS["exact"].evaluate(seed).gradients["weights"])
    assert_near(cells.loss, 1.5279347484961026)
    assert_near(cells.stable_loss, 1.5279347484961026)


def test_what_does_not_depend_on_a_replaced_cell_is_kept_and_the_rest_follows(seed: Problem) -> None:
    cells = Cells(seed)
    cells.G  # noqa: B018
    again = cells.replace("S", softmax(cells.S))
    assert again.Z is cells.Z
    assert again.Q is cells.Q
    assert_near(again.G, seed.inputs.T @ (again.S.value - cells.Q.value))
    assert not np.allclose(again.G.value, cells.G.value)


def test_a_stack_of_replaced_cells_is_a_stack_of_gradients(seed: Problem) -> None:
    cells = Cells(seed)
    taus = np.array([0.5, 1.0, 2.0])[:, None, None]
    cooled = cells.replace("Z", cells.Z / taus)
    assert cooled.G.shape == (3, 3, 5)
    assert_near(cooled.G[1], cells.G.value)
    assert_near(cooled.gradient(slice(1, 2))[2], seed.inputs[:, 1:2].T @ cooled.R[2].value)


def test_every_cell_is_made_of_cells_and_nothing_of_itself(seed: Problem) -> None:
    for name, cell in CELLS.items():
        assert {*cell.sources} <= {*CELLS}
        assert name not in cell.sources
    assert DOWNSTREAM["Z"] == {"Z", "E", "S", "R", "G", "log_S", "stable_losses", "stable_loss", "loss"} | {
        *("DXE", "DS", "DL", "flat"),
    }
    assert DOWNSTREAM["back"] == {"back", "G"}
    with pytest.raises(AttributeError):
        Cells(seed).no_cell  # noqa: B018


def test_a_problem_is_analysed_once(seed: Problem) -> None:
    assert bounds.cells_of(seed) is bounds.cells_of(seed, bounds.PRECISIONS["float64"])
    assert bounds.cells_of(seed, bounds.PRECISIONS["float32"]) is not bounds.cells_of(seed)


def test_what_may_overflow_takes_its_whole_row_along() -> None:
    problem = Problem(
        np.array([[1e38, 0.0]]),
        np.array([[1.0], [1e-38]]),
        Targets(labels=np.array([0, 0])),
        precision="float32",
    )
    with np.errstate(all="ignore"):
        cells = Cells(problem, "logits", PRECISIONS["float32"])
        assert np.isinf(cells.G.error).tolist() == [[True, True], [False, False]]


def test_inputs_that_are_rounded_on_their_way_widen_the_error(seed: Problem) -> None:
    narrow, wide = (Cells(seed, arithmetic=PRECISIONS[name]) for name in ("float64", "float32"))
    assert (wide.G.error > 2.0**28 * narrow.G.error).all()
    assert exact(1.0, wide.arithmetic).error == 0.0
