"""xegrad within rounding of what PyTorch gave for every option of the loss; the table is read, torch is not needed."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from cross_entropy_table import problem_of, read
from torch_layer import EVERY_COMBINATION, NAMES, rows, unreduced
from xegrad import METHODS, Problem, bounds, layer
from xegrad.vocabulary import SYMBOLS

ORIGIN, CASES = read()
each_case = pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])


def assert_within(table: Any, computed: Any, bound: Any, what: str) -> None:
    assert np.isfinite(bound).all(), what
    assert np.shape(table) == np.shape(computed), what
    assert (np.abs(np.asarray(table) - computed) <= bound).all(), what


@pytest.mark.parametrize("method", ["exact", "shortcut"])
@each_case
def test_loss_and_gradients_are_those_of_torch_within_both_bounds(case: dict[str, Any], method: str) -> None:
    """Each is within its own bound of the exact value; the exact method's is half a unit of the last digit."""
    problem = problem_of(case)
    evaluation = METHODS[method].evaluate(problem, NAMES)
    own, torch = METHODS[method].bound(problem, NAMES), bounds.stable(problem, NAMES)
    assert_within(case["loss"], evaluation.loss, np.add(own.loss, torch.loss), "loss")
    for name in NAMES:
        bound = own.gradients[name] + torch.gradients[name]
        assert_within(case["gradients"][SYMBOLS[name]], evaluation.gradients[name], bound, name)


@each_case
def test_the_loss_of_each_row_is_that_of_torch_without_reduction(case: dict[str, Any]) -> None:
    problem = problem_of(case)
    bound = 2 * np.array([bounds.stable(row).loss for row in rows(problem)])
    assert_within(case["losses"], layer.forward(unreduced(problem)).losses, bound, "floats")
    exact = [METHODS["exact"].evaluate(row).loss for row in rows(problem)]
    assert_within(case["losses"], exact, bound, "exact")


def test_names_of_cases_differ_and_cover_every_combination_of_the_options() -> None:
    names = [case["name"] for case in CASES]
    assert len(set(names)) == len(names)
    assert {str(options) for options in EVERY_COMBINATION} <= set(names)
    assert {combination(problem_of(case)) for case in CASES} >= set(
        product(
            ("labels", "ignored", "soft"),
            (False, True),
            (False, True),
            ("mean", "sum", "none"),
            (False, True),
        )
    )


def combination(problem: Problem) -> tuple[str, bool, bool, str, bool]:
    targets = problem.targets
    kind = "soft" if targets.soft is not None else "labels" if targets.kept.all() else "ignored"
    weighted, smoothed = targets.class_weights is not None, bool(targets.label_smoothing)
    return kind, weighted, smoothed, targets.reduction, problem.bias is not None


def test_the_table_says_which_torch_made_it_and_how() -> None:
    assert ORIGIN["torch"].startswith("2.")
    assert "cross_entropy" in ORIGIN["function"]
    assert "benchmarks/torch_table.py" in ORIGIN["made_by"]
