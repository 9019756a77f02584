"""The step where a chain went wrong, and whether the later ones follow from it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from seed import INPUTS, WEIGHTS
from seed import PROBLEM as SEED
from xegrad import METHODS, InputError, Problem, Targets, Tolerance
from xegrad.blindness import blind_spots
from xegrad.intermediates import Intermediates, first_wrong_step
from xegrad.vocabulary import CHAIN

W, X = np.array(WEIGHTS), np.array(INPUTS)


def by_hand(dtype: Any = np.float64, **changed: Any) -> dict[str, Any]:
    """The chain as a person writes it; a step that is given takes the place of the right one."""
    w, x = W.astype(dtype), X.astype(dtype)
    steps: dict[str, Any] = {}

    def step(name: str, value: Any) -> Any:
        steps[name] = changed.get(name, value)
        return steps[name]

    z = step("logits", x @ w)
    e = np.exp(z)
    s = step("probabilities", e / e.sum())
    step("loss", -np.log(s[2]))
    dxe = np.zeros(5, dtype)
    dxe[2] = -1 / s[2]
    dxe = step("cross_entropy_jacobian", dxe)
    ds = step("softmax_jacobian", np.diag(s) - np.outer(s, s))
    dg = step("weighted_sum_jacobian", np.kron(np.eye(5, dtype=dtype), x))
    dl = step("layer_jacobian", ds @ dg)
    flat = step("flat_gradient", dxe @ dl)
    step("gradient", flat.reshape(5, 3).T)
    return steps


def found(steps: dict[str, Any], problem: Problem = SEED, **options: Any) -> Intermediates:
    return first_wrong_step(problem, METHODS["exact"].evaluate(problem), steps, **options)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_right_chain_has_no_wrong_step(dtype: str) -> None:
    report = found(by_hand(np.dtype(dtype)), tolerance=Tolerance(precision=dtype))
    assert (report.right, report.wrong) == (CHAIN, None)


@pytest.mark.parametrize("name", CHAIN)
def test_the_first_wrong_step_is_found_and_the_later_ones_follow(name: str) -> None:
    right = by_hand()
    wrong = by_hand(**{name: right[name] * 1.25})
    report = found(wrong)
    assert report.wrong == name
    assert report.right == CHAIN[: CHAIN.index(name)]
    # The chain goes on from what it has: nothing else of it is wrong.
    assert report.follows == dict.fromkeys(CHAIN[CHAIN.index(name) + 1 :], True)


def test_a_second_mistake_does_not_follow_from_the_first() -> None:
    steps = by_hand(probabilities=np.full(5, 0.2))
    steps["gradient"] = steps["flat_gradient"].reshape(3, 5)
    report = found(steps)
    assert report.wrong == "probabilities"
    assert report.follows["flat_gradient"]
    assert not report.follows["gradient"]


def test_the_derivations_own_chain_goes_wrong_at_the_last_step() -> None:
    steps = by_hand()
    steps["gradient"] = steps["flat_gradient"].reshape(3, 5)
    report = found(steps)
    assert (report.wrong, report.slips) == ("gradient", ("scrambled-reshape",))


def test_only_the_diagonal_of_the_softmax_jacobian_is_named() -> None:
    s = by_hand()["probabilities"]
    report = found(by_hand(softmax_jacobian=np.diag(s * (1 - s))))
    assert (report.wrong, report.slips) == ("softmax_jacobian", ("jacobian-diagonal",))
    flat = by_hand()
    flat["softmax_jacobian"] = s * (1 - s)
    assert found(flat).slips == ("jacobian-diagonal",)


def test_a_bias_left_out_is_seen_in_the_logits() -> None:
    problem = Problem(W, X[None], Targets(labels=np.array([2])), np.array([0.1, 0.2, -0.3, 0.0, 0.5]))
    report = found({"logits": X @ W}, problem)
    assert (report.wrong, report.slips) == ("logits", ("bias-wrong",))


def test_a_batch_is_checked_from_logits_to_gradient() -> None:
    x = np.array([[0.1, 0.5, 0.4], [-0.3, 0.2, 0.9]])
    problem = Problem(W, x, Targets(labels=np.array([2, 0])))
    z = x @ W
    s = np.exp(z) / np.exp(z).sum(axis=0)  # over the rows
    q = np.eye(5)[[2, 0]] / 2
    steps = {"logits": z, "probabilities": s, "loss": -(q * np.log(s)).sum(), "gradient": x.T @ (s / 2 - q)}
    report = found(steps, problem)
    assert (report.right, report.wrong) == (("logits",), "probabilities")
    assert report.slips == ("softmax-over-wrong-axis",)
    assert report.follows == {"loss": True, "gradient": True}
    with pytest.raises(
        InputError, match="flat_gradient is a step of one example; of 2 rows there are logits"
    ):
        found({"flat_gradient": np.zeros(15)}, problem)


def test_printed_steps_are_read_to_their_decimals() -> None:
    steps = {name: np.round(values, 6) for name, values in by_hand().items()}
    assert found(steps).wrong == "probabilities"  # the logits have three decimals
    assert found(steps, resolution=dict.fromkeys(steps, 0.5e-6)).wrong is None


def test_a_step_of_another_size_is_no_step() -> None:
    with pytest.raises(InputError, match="logits has 4 numbers, not 5"):
        found({"logits": np.zeros(4)})


def test_a_right_chain_in_float64_is_right_on_many_problems() -> None:
    random = np.random.default_rng(18)
    for _ in range(100):
        n_inputs, n_classes = int(random.integers(1, 6)), int(random.integers(2, 7))
        w, x = random.normal(size=(n_inputs, n_classes)) * 3, random.normal(size=n_inputs)
        label = int(random.integers(n_classes))
        problem = Problem(w, x[None], Targets(labels=np.array([label])))
        z = x @ w
        s = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
        dxe = np.where(np.arange(n_classes) == label, -1 / s, 0)
        ds, dg = np.diag(s) - np.outer(s, s), np.kron(np.eye(n_classes), x)
        steps = {"logits": z, "probabilities": s, "loss": -np.log(s[label]), "softmax_jacobian": ds}
        steps |= {"cross_entropy_jacobian": dxe, "weighted_sum_jacobian": dg, "layer_jacobian": ds @ dg}
        assert found(steps, problem).wrong is None


def test_exact_values_that_are_not_given_are_evaluated_with_respect_to_what_is_asked() -> None:
    problem = Problem([[1.0, -1.0], [0.5, 2.0]], [[2.0, 3.0]], Targets([0]))
    exact = METHODS["exact"].evaluate(problem, ("weights", "inputs"))
    step = {"gradient": exact.gradients["weights"], "logits": problem.inputs @ problem.weights}
    for steps in (step, {**step, "logits": step["logits"] + 1}):
        alone, beside = first_wrong_step(problem, steps), first_wrong_step(problem, exact, steps)
        assert alone.wrong == beside.wrong == first_wrong_step(problem, steps=steps, exact=exact).wrong
    for name in ("weights", "inputs"):
        assert blind_spots(problem, with_respect_to=name) == blind_spots(problem, exact, None, name)
    assert blind_spots(problem) == blind_spots(problem, exact)


@pytest.mark.parametrize("value", [-5.0, -1e300, -np.inf])
def test_a_step_without_a_bound_is_not_right_whatever_it_is(value: float) -> None:
    """-1/S of S = e^-800 is beyond the largest float: nothing bounds how far what is computed is from it."""
    problem = Problem([[-800.0, 0.0]], [[1.0]], Targets([0]))
    report = found({"logits": [-800.0, 0.0], "cross_entropy_jacobian": [value, 0.0]}, problem)
    assert (report.right, report.wrong, report.undecided) == (("logits",), None, ("cross_entropy_jacobian",))
    assert not report.are_right
    assert found({"cross_entropy_jacobian": [np.nan, 0.0]}, problem).wrong == "cross_entropy_jacobian"


def test_a_step_whose_bound_exceeds_half_of_every_entry_is_not_right() -> None:
    random = np.random.default_rng(0)
    problem = Problem(random.normal(size=(512, 10)) / 16, random.normal(size=(1, 512)), Targets([0]))
    steps = {"softmax_jacobian": np.zeros((10, 10)), "gradient": np.zeros((512, 10))}
    report = found(steps, problem, tolerance=Tolerance("bfloat16"))
    assert (report.right, report.wrong, report.undecided) == ((), None, (*steps,))
    # A tolerance that somebody gives is nobody else's to doubt.
    assert found(steps, problem, tolerance=Tolerance(atol=1e3)).right == (*steps,)


def test_a_later_step_without_a_bound_neither_follows_nor_is_right() -> None:
    problem = Problem([[-800.0, 0.0]], [[1.0]], Targets([0]))
    report = found({"logits": [-801.0, 0.0], "cross_entropy_jacobian": [-5.0, 0.0]}, problem)
    assert (report.wrong, report.follows) == ("logits", {"cross_entropy_jacobian": False})
    assert (report.right_later, report.undecided) == ((), ("cross_entropy_jacobian",))
