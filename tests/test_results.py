"""What the commands print as JSON of one problem with W = 0, whose numbers are known: S = 1/2, R = (1/4, -1/4)."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from xegrad import Claim, Problem, Targets, compute, descend, explain, verify
from xegrad.claim import Claimed
from xegrad.descent import exact_losses
from xegrad.formats import results
from xegrad.problem import Layout
from xegrad.slip_page import page
from xegrad.verification import verify_methods

X = np.array([[1.0, 2.0], [0.5, 1.0]])
ZERO = Problem(np.zeros((2, 2)), X, Targets([1, 1]), np.zeros(2))
RIGHT = np.array([[0.375, -0.375], [0.75, -0.75]])  # X' R
LAYOUT, TURNED = (Layout(transpose=turned, is_batch=True) for turned in (False, True))


def read(result: Any) -> Any:
    return json.loads(b"".join(results.encode(result)))


@pytest.mark.parametrize("is_exact", [True, False])
def test_a_descent_is_told_from_its_start_to_its_end(is_exact: bool) -> None:
    """Both labels are the second class: no row is right before, and all are after."""
    descent = descend(ZERO, steps=3, learning_rate=0.5)
    losses = exact_losses(descent, True) if is_exact else None
    told = read(results.descend_result(descent, losses, TURNED, id=3, beside={"rows": 2}))
    assert told["schema"] == "xegrad/descend/1" and told["id"] == 3 and told["rows"] == 2
    assert told["losses"] == [*descent.losses] and len(told["losses"]) == 4
    assert (told["loss_before"], told["loss_after"]) == (np.log(2), descent.losses[-1])
    assert (told["right_before"], told["right_after"]) == (0.0, 1.0)
    assert told["W"] == descent.end.weights.T.tolist() and told["W"][0][0] < 0
    assert told["b"] == descent.end.bias.tolist() if descent.end.bias is not None else False
    assert (told["steps"], told["converged"], told["interrupted"], told["diverged_at"]) == (
        3,
        False,
        False,
        None,
    )
    assert told["warnings"] == []
    if not is_exact:
        assert "exact" not in told
        return
    exact = told["exact"]
    assert exact["loss_before"] == np.log(2) and exact["certified"]
    assert exact["loss_after"] == pytest.approx(descent.losses[-1], rel=1e-14) != exact["loss_before"]


def test_a_step_that_was_not_taken_is_told() -> None:
    away = Problem(np.array([[5.0, 0.0]]), np.array([[1.0], [-1.0]]), Targets([0, 0]))
    descent = descend(away, steps=9, learning_rate=1e300)
    told = read(results.descend_result(descent, None, LAYOUT, id=1))
    assert told["diverged_at"] == descent.diverged_at and descent.diverged_at is not None
    assert told["warnings"][-1].startswith(f"step {descent.diverged_at} was not taken")


def test_a_chain_is_told_array_by_array() -> None:
    told = read(results.explain_result(explain(ZERO, 1), LAYOUT, id=5))
    assert told == {
        "schema": "xegrad/explain/1",
        "id": 5,
        "row": 1,
        "logits": [0.0, 0.0],
        "probabilities": [0.5, 0.5],
        "loss": pytest.approx(np.log(2) / 2),
        "cross_entropy_jacobian": [0.0, -1.0],
        "softmax_jacobian": [[0.25, -0.25], [-0.25, 0.25]],
        "weighted_sum_jacobian": [[0.5, 1.0, 0.0, 0.0], [0.0, 0.0, 0.5, 1.0]],
        "layer_jacobian": [[0.125, 0.25, -0.125, -0.25], [-0.125, -0.25, 0.125, 0.25]],
        "flat_gradient": [0.125, 0.25, -0.125, -0.25],
        "gradient": [[0.125, -0.125], [0.25, -0.25]],
        "scrambled_gradient": [[0.125, 0.25], [-0.125, -0.25]],
        "warnings": [],
    }
    turned = read(results.explain_result(explain(ZERO, 1), TURNED, id=5))
    assert turned["gradient"] == [[0.125, 0.25], [-0.125, -0.25]]
    alone = Problem(np.zeros((1, 2)), np.array([[0.0]]), Targets([0]))
    assert "row" not in read(results.explain_result(explain(alone), LAYOUT, id=1))
    assert "-0.0" not in json.dumps(read(results.explain_result(explain(alone), LAYOUT, id=1)))


def test_what_is_not_finite_or_too_large_of_a_chain_is_null(monkeypatch: pytest.MonkeyPatch) -> None:
    dead = Problem(np.array([[0.0, 2000.0]]), np.ones((1, 1)), Targets([0]))
    told = read(results.explain_result(explain(dead), LAYOUT, id=1))
    assert told["cross_entropy_jacobian"][0] is None
    assert "cross_entropy_jacobian holds null: 1 of 2 are not finite" in told["warnings"]
    monkeypatch.setattr("xegrad.explanation.values.BUDGET", 99)
    wide = Problem(np.zeros((4, 6)), np.ones((1, 4)), Targets([0]))
    told = read(results.explain_result(explain(wide), LAYOUT, id=1))
    assert told["layer_jacobian"] is None
    assert "layer_jacobian is null: 6 x 24 numbers are too many" in told["warnings"]


def test_a_claim_is_told_part_by_part() -> None:
    wrong = RIGHT + np.array([[0, 0], [0, 1]])
    claim = Claim({"weights": wrong, "bias": np.array([0.5, -0.5])}, np.array([0.7]))
    told = read(results.verify_result(verify(ZERO, claim), id=4, beside={"rows": 2}))
    assert (told["schema"], told["id"], told["rows"], told["verified"]) == ("xegrad/verify/1", 4, 2, False)
    names = [(check["name"], check["passed"], check["wrong_entries"]) for check in told["checks"]]
    assert names == [("dL/dW", False, 1), ("dL/db", True, 0), ("loss", False, 1)]
    assert [*told["judgements"]] == ["W", "b", "loss"] and told["candidate"] == told["judgements"]["W"]
    of_w, of_b, of_loss = told["judgements"].values()
    assert of_w["worst"] == {
        "of": "W",
        "input": 1,
        "class": 1,
        "yours": 0.25,
        "exact": -0.75,
        "difference": 1.0,
    }
    assert (of_w["outcome"], of_w["pattern"], of_w["wrong_entries"]) == ("wrong", "one entry", 1)
    assert of_w["diagnosis"] == [] and "blind_spots" not in of_w and 0 < of_w["bound"] < 1e-14
    assert (of_b["outcome"], of_b["correct_digits"], of_b["max_ulp_error"]) == ("right", 16, 0)
    assert "softmax-twice" in of_b["blind_spots"] and "diagnosis" not in of_b
    assert of_loss["worst"]["exact"] == np.log(2) and of_loss["correct_digits"] == 2
    assert told["diagnosis"] == of_loss["diagnosis"] == [] and "steps" not in told
    alone = read(results.verify_result(verify(ZERO, Claim(loss=0.7)), id=4))
    assert "candidate" not in alone and [*alone["judgements"]] == ["loss"]
    assert "rows" not in alone


def test_a_mistake_is_told_with_its_slips() -> None:
    told = read(results.verify_result(verify(ZERO, -RIGHT), id=1))
    explains = {tuple(one["slips"]): one["explains"] for one in told["candidate"]["diagnosis"]}
    assert explains[("sign-flipped",)] == 4
    assert "diagnosis" not in told
    methods = read(results.verify_result(verify_methods(ZERO, ["weights"]), id=1))
    assert "judgements" not in methods and methods["verified"]
    advisory = {check["name"] for check in methods["checks"] if check.get("advisory")}
    assert all(name.startswith("finite-difference") for name in advisory) and advisory


def test_a_value_that_less_was_needed_to_judge_has_no_ulps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xegrad.bounds.LARGE", 0)
    told = read(results.verify_result(verify(ZERO, RIGHT.astype(np.float32)), id=1))
    assert told["verified"] and told["candidate"]["max_ulp_error"] is None
    assert told["candidate"]["worst"]["exact_error"] > 0
    assert (
        "max_ulp_error of dL/dW is null: it takes the exact value, and less was needed to judge it"
        in (told["warnings"])
    )


def test_steps_of_a_chain_are_told_to_the_first_wrong_one() -> None:
    steps = {"logits": np.zeros(2), "probabilities": np.array([0.25, 0.75])}
    one = Problem(np.zeros((2, 2)), X[:1], Targets([1]))
    claim = Claim(steps={name: Claimed(array) for name, array in steps.items()})
    told = read(results.verify_result(verify(one, claim), id=1))
    assert told["steps"]["right"] == ["logits"] and told["steps"]["wrong"] == "probabilities"
    assert not told["verified"] and "right_if" not in told["steps"]


def test_a_slip_is_told_with_what_it_does_to_a_gradient() -> None:
    shown = page("sign-flipped")
    told = read(results.slip_result(shown))
    assert (told["name"], told["of"]) == ("sign-flipped", "W")
    assert told["right_gradient"] == shown.right.tolist() and told["wrong_gradient"] == shown.wrong.tolist()
    np.testing.assert_allclose(told["wrong_gradient"], -shown.right, rtol=1e-14)
    assert told["how"] == shown.slip.cause and told["formula"] == shown.formula
    assert {told["wrong"], told["right"], told["remedy"]} == {
        shown.explanation.wrong, shown.explanation.right, shown.explanation.remedy,
    }  # fmt: skip


def test_a_data_set_is_told_with_its_rows_and_files() -> None:
    layer = Problem(np.zeros((2, 2)), X, Targets([1, 1]), classes=("u", "v"))
    asked = SimpleNamespace(data=SimpleNamespace(n_rows=7, paths=("p", "q")), n_blocks=3, layer=layer)
    gradients = {"weights": RIGHT, "bias": np.array([0.0, -0.0])}
    total: Any = SimpleNamespace(asked=asked, gradients=gradients, loss=0.5, n_bad=2)
    told = read(results.data_set_result(total, TURNED, {"engine": "local", "workers": 4}, id=6))
    assert told == {
        "schema": "xegrad/data-set/1",
        "id": 6,
        "rows": 5,
        "bad_rows": 2,
        "blocks": 3,
        "files": ["p", "q"],
        "engine": "local",
        "workers": 4,
        "loss": 0.5,
        "gradient": RIGHT.T.tolist(),
        "gradients": {"W": RIGHT.T.tolist(), "b": [0.0, 0.0]},
        "method": "shortcut",
        "classes": ["u", "v"],
        "warnings": [],
    }
    assert not np.signbit(told["gradients"]["b"]).any()
    whole: Any = SimpleNamespace(asked=asked, gradients={"bias": gradients["bias"]}, loss=np.inf, n_bad=0)
    asked.layer = ZERO
    told = read(results.data_set_result(whole, LAYOUT, {}, id=6))
    assert told["rows"] == 7 and not {"bad_rows", "gradient", "classes", "engine"} & told.keys()
    assert told["loss"] is None and told["warnings"] == ["loss is null: it is inf"]


def test_results_of_a_stack_are_one_for_each_problem() -> None:
    """With the losses of their rows where nothing is added up, and a verdict each."""
    weights = np.array([[[0.0, 0.0]], [[0.0, 64.0]]])
    stack = Problem(weights, np.ones((2, 2, 1)), Targets([[0, 1], [0, 0]], reduction="none"))
    computation = compute(stack, exact=False)
    lines = results.compute_results(computation, LAYOUT, ids=["a", "b"], warnings=[[], ["w"]])
    first, second = (read(line) for line in lines)
    assert (first["id"], second["id"]) == ("a", "b")
    assert first["loss"] == pytest.approx(2 * np.log(2)) and first["losses"] == pytest.approx([np.log(2)] * 2)
    assert (second["loss"], second["losses"]) == (128.0, [64.0, 64.0])
    assert first["gradient"] == [[0.0, 0.0]] and second["gradient"] == [[-2.0, 2.0]]
    assert first["warnings"] == [] and second["warnings"] == ["w"]
    assert (first["comparison"]["agree"], second["comparison"]["agree"]) == (True, True)
    assert "exact" not in first and first["verdict"] == second["verdict"] == "undecided"
    assert first["chain"]["gradient"] == [[0.0, 0.0]] and "gradients" not in first["chain"]


def test_exact_values_are_told_with_how_far_the_others_are() -> None:
    computation = compute(ZERO, exact=True)
    (line,) = results.compute_results(computation, LAYOUT)
    told = read(line)
    assert told["method"] == "exact" and told["exact"]["certified"] is True
    for method in ("chain", "shortcut"):
        assert told[method]["max_ulp_error"] <= 4 and told[method]["correct_digits"] >= 15
        assert told[method]["wrong_entries"] == 0 and "certified" not in told[method]
    assert "max_ulp_error" not in told["exact"]
    assert told["comparison"]["lost_entries"] == told["comparison"]["opposite_signs"] == 0
