"""The chain of one row as values: the derivation's numbers, what floats lose, rows that add up, large layers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from msgspec.structs import replace
from numpy.testing import assert_allclose

from seed import GRADIENT, HALF_A_UNIT, LOSS, PROBABILITIES
from strategies import problems
from xegrad import METHODS, InputError, Problem, Targets, explain, read
from xegrad.display.matrix import kept
from xegrad.display.page import EDGE
from xegrad.explanation.steps import STEPS
from xegrad.explanation.values import BUDGET

# Typed from the derivation: dL/dW as it prints it, scrambled by reshape(3, 5).
SCRAMBLED = [
    [0.01909135, 0.09545676, 0.07636541, 0.02035314, 0.10176572],
    [0.08141258, -0.07830167, -0.39150833, -0.31320667, 0.02313243],
    [0.11566214, 0.09252971, 0.01572474, 0.07862371, 0.06289897],
]
CROSS_ENTROPY_JACOBIAN = [0, 0, -4.60864, 0, 0]
X = [0.1, 0.5, 0.4]
# The slip that each step invites, where there is a b.
INVITED = {
    "logits": "bias-wrong",
    "probabilities": "softmax-twice",
    "loss": "log-epsilon",
    "cross_entropy_jacobian": "jacobian-skipped",
    "softmax_jacobian": "jacobian-diagonal",
    "weighted_sum_jacobian": "input-missing",
    "layer_jacobian": "all-zero",
    "flat_gradient": "scrambled-reshape",
    "gradient": "scrambled-reshape",
    "shortcut": "sign-flipped",
}


def problem(n_inputs: int, n_classes: int, label: int = 0) -> Problem:
    """A mild one of any size."""
    random = np.random.default_rng(0)
    return Problem(
        weights=random.normal(size=(n_inputs, n_classes)) / math.sqrt(n_inputs),
        inputs=random.normal(size=(1, n_inputs)),
        targets=Targets(labels=np.array([label])),
    )


def arrays_of(given: Problem) -> dict[str, Any]:
    """Of a layer so small that all are there."""
    return dict(explain(given).arrays)


def value(given: Problem, step: str) -> Any:
    array = explain(given)[step].value
    assert array is not None
    return array


def test_the_steps_come_in_the_order_of_the_chain() -> None:
    assert [step.name for step in explain(read("sample_inputs/seed.json")).steps] == list(STEPS)


def test_the_arrays_of_the_seed_are_those_of_the_derivation() -> None:
    seed = read("sample_inputs/seed.json")
    arrays = arrays_of(seed)
    probabilities = np.array(PROBABILITIES)
    # 0.1 w_0 + 0.5 w_1 + 0.4 w_2, by hand.
    assert_allclose(arrays["logits"], [0.354, 0.418, 0.482, 0.546, 0.16], rtol=1e-15)
    assert_allclose(arrays["probabilities"], probabilities, atol=HALF_A_UNIT, rtol=0)
    assert abs(float(value(seed, "loss")) - LOSS) <= math.ulp(LOSS)
    # It prints five decimals and cuts them.
    assert_allclose(arrays["cross_entropy_jacobian"], CROSS_ENTROPY_JACOBIAN, atol=1e-5, rtol=0)
    # Each typed number is off by half a unit of the eighth decimal, a product of two by less than two units.
    softmax = np.diag(probabilities) - np.outer(probabilities, probabilities)
    assert_allclose(arrays["softmax_jacobian"], softmax, atol=4 * HALF_A_UNIT, rtol=0)
    assert_allclose(arrays["weighted_sum_jacobian"], np.kron(np.eye(5), X), rtol=0)
    assert_allclose(arrays["layer_jacobian"], softmax @ np.kron(np.eye(5), X), atol=4 * HALF_A_UNIT, rtol=0)
    assert_allclose(arrays["flat_gradient"], np.array(GRADIENT).T.ravel(), atol=HALF_A_UNIT, rtol=0)
    assert_allclose(arrays["gradient"], GRADIENT, atol=HALF_A_UNIT, rtol=0)
    assert_allclose(arrays["scrambled_gradient"], SCRAMBLED, atol=HALF_A_UNIT, rtol=0)
    assert_allclose(value(seed, "shortcut"), GRADIENT, atol=HALF_A_UNIT, rtol=0)


def test_an_entry_is_a_sum_that_a_pocket_calculator_confirms() -> None:
    entry = explain(read("sample_inputs/seed.json")).entry(1, 2)
    (line,) = entry.lines
    name, symbols, numbers, result = line.split(" = ")
    assert name == "dL/dW[1,2]"
    assert symbols == "DXE[2] · DS[2,2] · x[1]"
    first, second, third = (float(number) for number in numbers.split(" · "))
    assert numbers.startswith("-4.60864")
    assert result == "-0.39151"
    assert f"{first * second * third:.5f}" == result


def test_an_entry_of_a_soft_target_has_a_term_for_each_of_its_classes() -> None:
    soft = Problem(
        weights=np.array([[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]]),
        inputs=np.array([[0.5, -1.0]]),
        targets=Targets(soft=np.array([[0.5, 0.0, 0.5]])),
    )
    entry = explain(soft).entry(1, 2)
    assert sum(line.startswith("DXE[") for line in entry.lines) == 2
    # Z = 0.5, 0, 1.5: S_2 = e^1.5 / (e^0.5 + 1 + e^1.5), and (S_2 - 1/2) x_1.
    probability = math.exp(1.5) / (math.exp(0.5) + 1 + math.exp(1.5))
    assert entry.chain == pytest.approx((probability - 0.5) * -1, rel=1e-14)
    assert entry.exact == pytest.approx((probability - 0.5) * -1, rel=1e-14)
    assert entry.lines[-1].endswith(f" = {entry.chain:.5g}")


def test_many_terms_are_left_out_of_a_worked_sum() -> None:
    entry = explain(
        Problem(
            weights=np.zeros((1, 30)),
            inputs=np.ones((1, 1)),
            targets=Targets(labels=np.array([3]), label_smoothing=0.5),
        )
    ).entry(0, 0)
    assert len(entry.lines) < 10
    assert any("25 more terms" in line for line in entry.lines)


def test_the_slip_of_the_softmax_jacobian_is_its_diagonal_with_numbers() -> None:
    slip = explain(read("sample_inputs/seed.json"))["softmax_jacobian"].slip
    assert slip is not None
    assert slip.name == "jacobian-diagonal"
    assert slip.numbers is not None
    assert_allclose(slip.numbers, [0, 0, PROBABILITIES[2] - 1, 0, 0], atol=HALF_A_UNIT, rtol=0)


def test_every_step_but_the_last_two_invites_a_slip() -> None:
    seed = read("sample_inputs/seed.json")
    steps = explain(replace(seed, bias=np.zeros(5))).steps
    assert {step.name: step.slip.name for step in steps if step.slip is not None} == INVITED
    without = explain(seed)["logits"].slip
    assert without is not None
    assert without.name == "transposed"
    assert [step.name for step in steps if step.slip is None] == ["comparison", "check"]


def test_a_saturated_softmax_is_told_with_the_exact_value_beside() -> None:
    explanation = explain(read("sample_inputs/saturated.json"))
    # exp(-46.05) + exp(-47.05) = 1.3702e-20
    assert "1 - S[0] is 0; it is 1.3702e-20" in explanation["softmax_jacobian"].lost
    assert "dL/dW[0,0] comes out as 0, and is -1.3702e-20, exactly" in explanation["flat_gradient"].lost
    assert "exactly 1.3702" in explanation["loss"].lost
    assert explanation["shortcut"].lost == ""
    assert explanation["cross_entropy_jacobian"].lost == ""


def test_an_underflow_is_told_where_it_happens_and_what_comes_of_it() -> None:
    explanation = explain(read("sample_inputs/underflow.json"))
    # e^-901.5 / 1.17.. = 10^-391.6
    assert "about 10^-391.6" in explanation["probabilities"].lost
    assert "-1 / 0 is infinite" in explanation["cross_entropy_jacobian"].lost
    assert "6 of 6 entries have no number" in explanation["flat_gradient"].lost
    assert "is -1, exactly" in explanation["flat_gradient"].lost
    assert "exactly 901.66022" in explanation["loss"].lost


def test_what_is_only_rounding_is_said_to_be() -> None:
    """Uniform soft targets at W = 0: the exact gradient is 0, and the chain's need not be."""
    uniform = Problem(
        weights=np.zeros((2, 3)), inputs=np.array([[1.0, 2.0]]), targets=Targets(soft=np.full((1, 3), 0.25))
    )
    step = explain(uniform)["gradient"]
    assert step.value is not None
    assert step.noise is not None
    assert (step.noise == (step.value != 0)).all()


@settings(max_examples=60, deadline=None)
@given(given_problem=problems())
def test_the_rows_of_a_batch_add_up_to_the_gradient_by_the_chain(given_problem: Problem) -> None:
    rows = [explain(given_problem, row) for row in range(given_problem.n_rows)]
    gradients: list[Any] = [row["gradient"].value for row in rows]
    total = np.sum(gradients, axis=0, dtype=np.float64)
    whole = METHODS["chain"].evaluate(given_problem).gradients["weights"]
    # Both keep the bound of the chain.
    bound = 2 * METHODS["chain"].bound(given_problem).gradients["weights"]
    known = np.isfinite(bound) & np.isfinite(total)
    with np.errstate(all="ignore"):
        assert (np.abs(total - whole)[known] <= bound[known]).all()
    assert all(bool(row.rows_add_up) == (given_problem.n_rows > 1) for row in rows)


@settings(max_examples=60, deadline=None)
@given(given_problem=problems())
def test_each_jacobian_is_the_product_that_it_is_said_to_be(given_problem: Problem) -> None:
    arrays = arrays_of(given_problem)
    with np.errstate(all="ignore"):
        product = arrays["softmax_jacobian"] @ arrays["weighted_sum_jacobian"]
    # All but one of the terms are zero: not a bit may differ.
    assert np.array_equal(arrays["layer_jacobian"], product, equal_nan=True)
    flat, gradient = arrays["flat_gradient"], arrays["gradient"]
    n_inputs, n_classes = gradient.shape
    for input, index in np.ndindex(n_inputs, n_classes):
        assert np.array_equal(flat[index * n_inputs + input], gradient[input, index], equal_nan=True)


def test_of_a_large_layer_only_corners_are_built() -> None:
    explanation = explain(problem(40, 1100, label=700))
    step = explanation["layer_jacobian"]
    assert BUDGET < 1100 * 1100
    assert step.value is None
    assert step.shape == (1100, 1100 * 40)
    rows, columns = kept(1100, EDGE, 700), kept(1100 * 40, EDGE, 700 * 40 + explanation.followed[0])
    assert rows.tolist() == [0, 1, 2, 700, 1097, 1098, 1099]
    corners = step.at(rows, columns)
    s, x = explanation["probabilities"].value, explanation.computation.problem.inputs[0]
    assert s is not None
    for k, row in enumerate(rows.tolist()):
        for i, column in enumerate(columns.tolist()):
            index, input = divmod(column, 40)
            exact = s[row] * ((row == index) - s[index]) * x[input]
            assert corners[k, i] == pytest.approx(exact, rel=1e-14)
    zero = explanation["weighted_sum_jacobian"].at(rows, columns)
    assert [zero[0, 0], zero[0, -1], zero[-1, -1]] == [x[0], 0, x[39]]


def test_an_explanation_of_float32_is_in_float32() -> None:
    single = problem(3, 4).astype(np.dtype(np.float32))
    assert value(single, "softmax_jacobian").dtype == np.float32


def test_an_ignored_row_has_no_gradient() -> None:
    batch = Problem(
        weights=np.eye(2),
        inputs=np.array([[1.0, 2.0], [3.0, 4.0]]),
        targets=Targets(labels=np.array([-100, 1]), ignore_index=-100),
    )
    explanation = explain(batch, 0)
    assert not np.any(explanation["gradient"].value)
    assert explanation.entry(0, 0).lines == ("dL/dW[0,0] = 0, since Q is 0: this row does not count",)


@pytest.mark.parametrize(("input", "class_"), [(3, 0), (0, 5), (-1, 0)])
def test_an_entry_that_there_is_not_is_an_error(input: int, class_: int) -> None:
    with pytest.raises(InputError, match="there is no"):
        explain(read("sample_inputs/seed.json")).entry(input, class_)


def test_a_row_that_there_is_not_is_an_error() -> None:
    with pytest.raises(InputError, match="there is no row 1"):
        explain(read("sample_inputs/seed.json"), 1)


def test_exact_values_of_which_one_is_not_certified_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    seed = read("sample_inputs/seed.json")
    exact = METHODS["exact"].evaluate(seed)
    assert exact.certified is not None
    certified = {name: np.array(flags) for name, flags in exact.certified.items()}
    assert explain(seed).entry(1, 2).exact == exact.gradients["weights"][1, 2]
    certified["weights"][0, 0] = False
    unsure = replace(exact, certified=certified)
    monkeypatch.setattr("xegrad.methods.exact.evaluate", lambda problem, with_respect_to=(): unsure)
    explanation = explain(seed)
    assert [*explanation.computation.evaluations] == ["chain", "shortcut"]
    assert explanation.entry(1, 2).exact is None
    assert not any("exact" in line for step in explanation.steps for line in (*step.worked, step.lost))


def test_a_notebook_shows_a_table_with_the_numbers() -> None:
    table = explain(read("sample_inputs/seed.json"))._repr_html_()
    assert table.count("<table>") > 5
    assert "-4.6086" in table
    assert "DXE[t] = -Q[t] / S[t]" in table


def test_a_soft_target_over_very_many_classes_is_quick() -> None:
    """Nothing but the corners is of the order of T squared."""
    many = Problem(
        weights=np.zeros((1, 3_000)),
        inputs=np.ones((1, 1)),
        targets=Targets(labels=np.array([5]), label_smoothing=0.5),
    )
    explanation = explain(many)
    # S = 1/T and Q = 1/2 + 1/2T: the residual of the label is their difference.
    assert explanation.entry(0, 5).shortcut == pytest.approx(-0.5 + 0.5 / 3_000, rel=1e-12)


def test_a_narrower_precision_shows_what_it_computes() -> None:
    """W of 0.1 in float64, computed in float32: the logit is that of float32."""
    given = Problem(
        np.array([[0.1, 0.2]]), np.array([[1.0]]), Targets(labels=np.array([0])), precision="float32"
    )
    logits = value(given, "logits")
    assert logits.dtype == np.float32
    assert logits[0] == np.float32(0.1)


def test_the_chain_is_explained_however_long_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Problem([[1.0, -1.0]], [[3.0]], Targets([0]))
    expected = explain(problem)["flat_gradient"].value
    monkeypatch.setattr("xegrad.computation.LONG", 0.0)
    explanation = explain(Problem([[1.0, -1.0]], [[3.0]], Targets([0])))
    np.testing.assert_array_equal(explanation["flat_gradient"].value, expected)
