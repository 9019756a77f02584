"""The textbook Jacobians: each is what its definition says, at once or in blocks."""

from __future__ import annotations

import doctest
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from conftest import Run, one_line, problem_json
from strategies import problems
from xegrad import METHODS, Problem, Targets, layer, progress
from xegrad.computation import methods_for
from xegrad.methods import chain

PROBLEM = Problem(
    weights=np.array([[0.5, -1.0, 0.25], [2.0, 0.0, -0.5]]),
    inputs=np.array([[1.0, -2.0]]),
    targets=Targets(labels=np.array([1])),
)


def test_the_examples_in_the_docstrings_are_true() -> None:
    assert doctest.testmod(chain, extraglobs={"np": np}) == doctest.TestResults(failed=0, attempted=1)


def test_the_softmax_jacobian_is_that_of_the_softmax() -> None:
    probabilities = np.array([0.5, 0.25, 0.25])
    by_hand = [[0.25, -0.125, -0.125], [-0.125, 0.1875, -0.0625], [-0.125, -0.0625, 0.1875]]
    assert chain.softmax_jacobian(probabilities).tolist() == by_hand
    assert chain.softmax_jacobian(probabilities, slice(1, 3)).tolist() == by_hand[1:]


def test_the_cross_entropy_jacobian_is_minus_q_over_s_and_zero_where_q_is() -> None:
    jacobian = chain.cross_entropy_jacobian(np.array([[0.5, 0.0, 0.5]]), np.array([[0.25, 0.0, 0.75]]))
    assert jacobian.tolist() == [[-0.5, 0.0, -1.5]]


@given(problem=problems())
@settings(max_examples=50, deadline=None)
def test_the_layer_jacobian_is_the_matrix_product_to_the_bit(problem: Problem) -> None:
    """Multiplying with the zeros of the weighted sum's Jacobian changes no bit."""
    softmax = chain.softmax_jacobian(layer.forward(problem).probabilities)
    product = softmax @ chain.weighted_sum_jacobian(problem.inputs, problem.n_classes)
    assert np.array_equal(chain.layer_jacobian(softmax, problem.inputs), product)


def test_folding_puts_class_by_class_into_the_layout_of_w() -> None:
    """Entry i*N + j of the flat gradient is dL/dW[j, i]."""
    assert chain.fold(np.arange(6.0), 3).tolist() == [[0, 2, 4], [1, 3, 5]]


@pytest.mark.parametrize("budget", [1, 48, 100, 400])
@given(problem=problems())
@settings(max_examples=50, deadline=None)
def test_blocks_give_the_entries_that_all_at_once_gives(budget: int, problem: Problem) -> None:
    """The same terms, summed in another order: within what gamma_T allows a sum."""
    method = METHODS["chain"]
    names = ("weights", "bias", "inputs", "logits")
    whole, bound = method.evaluate(problem, names), method.bound(problem, names)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chain, "MEMORY_BUDGET", budget)
        parts = method.evaluate(problem, names)
    for name in names:
        bounded = np.isfinite(bound.gradients[name])
        distance = np.abs(parts.gradients[name][bounded] - whole.gradients[name][bounded])
        assert (distance <= 2 * bound.gradients[name][bounded]).all()


def test_blocks_of_one_example_are_reported_as_they_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "MEMORY_BUDGET", 8 * 3 * 2)  # one row of the layer Jacobian
    heard: list[tuple[str, int, int]] = []
    with progress.watched_by(lambda *step: heard.append(step)):
        METHODS["chain"].evaluate(PROBLEM)
    assert heard == [("chain", 1, 3), ("chain", 2, 3), ("chain", 3, 3)]
    monkeypatch.setattr(chain, "MEMORY_BUDGET", 8 * 3 * 2 * 2)
    with progress.watched_by(lambda *step: heard.append(step)):
        METHODS["chain"].evaluate(PROBLEM)
    assert heard[3:] == [("chain", 1, 2), ("chain", 2, 2)]


def test_a_large_problem_stays_within_the_memory_budget() -> None:
    """T * T * N numbers would be 320 MB; the peak is the budget, what it is made of, and W."""
    import tracemalloc

    random = np.random.default_rng(0)
    problem = Problem(
        weights=random.normal(size=(100, 632)),
        inputs=random.normal(size=(1, 100)),
        targets=Targets(labels=np.array([3])),
    )
    tracemalloc.start()
    METHODS["chain"].evaluate(problem)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.5 * chain.MEMORY_BUDGET


def test_minutes_of_work_are_said_before_they_begin(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """T = 60,000 with 100 inputs: 3.6e11 entries of the layer Jacobian."""
    assert chain.work(1, 100, 60_000) > 120
    monkeypatch.setattr(chain, "work", lambda *sizes: 227.4)
    outcome = run("compute", "-", "--method", "chain", stdin=problem_json())
    takes = "the method chain takes about 4 min by estimate; shortcut takes less than 1 s"
    assert outcome.err == f"xegrad: {takes}\n"
    assert run("compute", "-", "--method", "shortcut", stdin=problem_json()).err == ""


def test_a_chain_of_hours_is_left_out_unless_it_is_named(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The exact values, which take no longer than 10 s, are there all the same."""
    monkeypatch.setattr(chain, "work", lambda *sizes: 21_600.0)
    note = "the chain, which takes about 6 h by estimate, is left out; --method chain,shortcut computes it"
    outcome = run("compute", "-", "--json", stdin=problem_json())
    result = json.loads(outcome.out)
    assert (outcome.err, result["warnings"]) == ("", [note])
    assert "chain" not in result
    assert (result["method"], result["comparison"]) == ("exact", None)
    table = run("compute", "-", stdin=problem_json())
    assert table.err == f"xegrad: warning: {note}\n"
    assert "only the shortcut and exact were computed" in one_line(table)
    (tmp_path / "one.ndjson").write_text(problem_json())
    line = run("compute", str(tmp_path / "one.ndjson"))
    assert json.loads(line.out)["warnings"] == [note]


def test_a_stack_is_treated_as_its_problems_are() -> None:
    """Half the limit each, and ten times the limit together."""
    n_classes = next(size for size in range(0, 10**6, 1000) if chain.work(1, 1, size) > progress.LONG / 2)

    def stack(n_problems: int, n_classes: int) -> Problem:
        parts = np.zeros((n_problems, 1, n_classes)), np.zeros((n_problems, 1, 1))
        return Problem(*parts, Targets(np.zeros((n_problems, 1), int)))

    assert methods_for(stack(3, n_classes), exact=False) == ["chain", "shortcut"]
    assert methods_for(stack(3, 2 * n_classes), exact=False) == ["shortcut"]
