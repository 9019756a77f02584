"""A problem that brings what is claimed of it: every gradient, the loss and every step is judged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import Run, one_line
from seed import LOSS

PROBLEM: dict[str, Any] = json.loads(Path("sample_inputs/seed.json").read_text()) | {"b": [0.0] * 5}
# dL/dW = x' R, dL/db = R, dL/dx = R W' of the one row, of what the softmax leaves (plain numpy).
W, X = np.array(PROBLEM["W"]), np.array(PROBLEM["x"])
R = np.exp(X @ W) / np.exp(X @ W).sum() - np.eye(5)[PROBLEM["label"]]
RIGHT: dict[str, Any] = {"W": np.outer(X, R), "b": R, "x": R @ W.T, "logits": R}
LISTS = {symbol: gradient.tolist() for symbol, gradient in RIGHT.items()}
STEPS = {
    "logits": (X @ W).tolist(),
    "probabilities": (R + np.eye(5)[PROBLEM["label"]]).tolist(),
    "loss": LOSS,
}


def judged(run: Run, text: str, *options: str) -> dict[str, str]:
    """The outcome of each that is judged."""
    result = json.loads(run("verify", "-", "--json", *options, stdin=text).out)
    return {symbol: one["outcome"] for symbol, one in result["judgements"].items()}


def test_every_gradient_and_the_loss_of_a_problem_are_judged(run: Run) -> None:
    text = json.dumps(PROBLEM | {"gradients": LISTS, "loss": LOSS})
    assert judged(run, text) == dict.fromkeys(("W", "b", "x", "logits", "loss"), "right")
    for symbol, gradient in RIGHT.items():
        wrong = json.dumps(PROBLEM | {"gradients": LISTS | {symbol: (gradient + 1).tolist()}})
        outcomes = judged(run, wrong)
        assert outcomes.pop(symbol) == "wrong"
        assert {*outcomes.values()} == {"right"}
        assert run("verify", "-", "-q", stdin=wrong).status == 1


def test_the_gradients_that_are_asked_for_are_judged_and_must_be_there(run: Run) -> None:
    gradients = LISTS | {"x": [9, 9, 9]}
    text = json.dumps(PROBLEM | {"gradients": gradients})
    assert [*judged(run, text, "--with-respect-to", "W,b")] == ["W", "b"]
    del gradients["b"]
    outcome = run(
        "verify", "-", "--with-respect-to", "W,b", stdin=json.dumps(PROBLEM | {"gradients": gradients})
    )
    assert outcome.status == 2
    assert "there is no gradient of b; there is W, x, logits" in outcome.err


def test_the_steps_that_a_problem_brings_are_judged(run: Run) -> None:
    text = json.dumps(PROBLEM | STEPS | {"gradient": LISTS["W"]})
    shown = run("verify", "-", stdin=text).out
    assert shown.startswith("✓ RIGHT: all steps are right.\n✓ RIGHT: dL/dW is correct")
    assert "\n\nright     logits\nright     probabilities\nright     loss\n" in shown
    twice = np.exp(STEPS["probabilities"])
    wrong = {"probabilities": (twice / twice.sum()).tolist()}
    outcome = run("verify", "-", stdin=json.dumps(PROBLEM | STEPS | wrong))
    assert outcome.status == 1
    assert "WRONG     probabilities  the first that is wrong" in outcome.out
    assert "MISTAKE softmax-twice" in outcome.out


def test_a_npz_brings_as_much_as_json_does(run: Run, tmp_path: Path) -> None:
    path = str(tmp_path / "layer.npz")
    arrays = {f"gradients.{symbol}": gradient for symbol, gradient in RIGHT.items()}
    np.savez(path, **PROBLEM, **STEPS, **arrays, gradient=RIGHT["W"])
    result = json.loads(run("verify", path, "--json").out)
    assert [*result["judgements"]] == ["W", "b", "x", "logits", "loss"]
    assert result["steps"]["right"] == ["logits", "probabilities", "loss", "gradient"]
    assert result["verified"] is True
    np.savez(path, **PROBLEM, **arrays | {"gradients.x": RIGHT["x"] * 2})
    assert run("verify", path, "-q").status == 1
    assert run("compute", path, "-q").status == 0


def test_every_line_of_a_stream_is_judged_by_all_that_it_brings(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "lines.ndjson"
    claims: list[dict[str, Any]] = [
        {"gradients": LISTS},
        {"gradients": LISTS | {"b": [1, 2, 3, 4, 5]}},
        {"logits": STEPS["logits"]},
    ]
    path.write_text("".join(json.dumps(PROBLEM | claim) + "\n" for claim in claims))
    answers = [json.loads(line) for line in run("verify", str(path)).out.splitlines()]
    assert [answer["verified"] for answer in answers] == [True, False, True]
    computed = run("compute", str(path)).out.splitlines()
    assert len(set(computed)) == 1  # what is claimed changes nothing that is computed


def test_options_come_before_what_the_problem_brings(run: Run) -> None:
    """--gradient stands for every gradient and step of the problem, and its loss before that of the problem."""
    text = json.dumps(PROBLEM | {"gradients": {"b": [9] * 5}, "logits": [0] * 5, "loss": 9})
    assert judged(run, text, "--gradient", json.dumps(LISTS["W"])) == {"W": "right", "loss": "wrong"}
    both = json.dumps({"gradient": LISTS["W"], "loss": LOSS})
    assert judged(run, text, "--gradient", both) == {"W": "right", "loss": "right"}
    assert judged(run, text, "--gradient", both, "--loss", "3") == {"W": "right", "loss": "wrong"}
    assert judged(run, text, "--loss", str(LOSS)) == {"b": "wrong", "loss": "right"}


@pytest.mark.parametrize(
    ("claim", "said"),
    [
        ({"gradients": {"b": [1, 2]}}, "gradients.b: the gradient is 2 numbers, but 5 are expected"),
        ({"gradients": {"w": [1, 2]}}, "gradients names 'w'; the gradients are W, b, x, logits"),
        ({"gradients": [1, 2]}, "gradients is no object"),
        ({"gradients": {"W": LISTS["W"]}, "gradient": [[9] * 5] * 3}, "gradient and gradients.W differ"),
        ({"gradient": None}, "the gradient is null; an array is expected"),
        ({"gradient": {"W": [1]}}, "the gradient is an object; an array is expected"),
        ({"logits": [1, "2"]}, "logits: row 0, column 1 is '2'; a number is expected"),
        ({"logits": [1, 2]}, "logits has 2 numbers, not 5"),
        ({"loss": [1, 2]}, "the loss is made of 2 numbers; one is expected"),
        ({"loss": "low"}, "loss: row 0, column 0 is 'low'; a number is expected"),
        ({"gradients": {"b": [1], "b ": [1]}}, "gradients names 'b '"),
    ],
)
def test_what_is_no_claim_is_refused_by_its_key(run: Run, claim: dict[str, Any], said: str) -> None:
    outcome = run("verify", "-", stdin=json.dumps(PROBLEM | claim))
    assert outcome.status == 2
    assert f"standard input: {said}" in outcome.err
    assert outcome.err.count("\n") == 1


def test_numbers_that_are_none_are_judged_wrong_wherever_they_are_claimed(run: Run) -> None:
    """And of W itself they are refused, though a gradient of W has its name."""
    text = json.dumps(PROBLEM | {"gradients": {"b": [np.nan] * 5, "W": LISTS["W"]}, "logits": [np.inf] * 5})
    outcome = run("verify", "-", stdin=text)
    assert outcome.status == 1
    assert "5 entries are not finite" in one_line(outcome)
    assert "WRONG     logits" in outcome.out
    broken = json.dumps(PROBLEM | {"W": [[np.nan] * 5] * 3, "gradients": {"W": LISTS["W"]}})
    assert "every number must be finite" in run("verify", "-", stdin=broken).err


def test_an_array_called_gradients_is_refused_in_a_problem_too(run: Run, tmp_path: Path) -> None:
    path = str(tmp_path / "layer.npz")
    np.savez(path, **PROBLEM, gradients=RIGHT["W"])
    outcome = run("verify", path)
    assert outcome.status == 2
    assert "gradients is an array; of each gradient one is expected, as gradients.W" in outcome.err


# What is meant by the keys that people write.


@pytest.mark.parametrize(
    ("key", "symbol"),
    [
        ("dW", "W"),
        ("dL/dW", "W"),
        ("grad_W", "W"),
        ("W_grad", "W"),
        ("fc.weight.grad", "W"),
        ("gradients.W", "W"),
        ("db", "b"),
        ("bias.grad", "b"),
        ("grad_input", "x"),
        ("dlogits", "logits"),
    ],
)
def test_another_name_of_a_gradient_is_told_its_key(run: Run, key: str, symbol: str) -> None:
    said = f"dL/d{symbol} is read as {symbol} under gradients, which is gradients.{symbol} in NPZ"
    for claim, problem in ({key: LISTS[symbol]}, PROBLEM), (None, PROBLEM | {key: LISTS[symbol]}):
        options = () if claim is None else ("--gradient", json.dumps(claim))
        outcome = run("verify", "-", *options, stdin=json.dumps(problem))
        assert outcome.status == 2
        assert said in outcome.err
        assert outcome.err.count("\n") == 1


def test_a_part_of_a_problem_by_another_name_is_no_gradient(run: Run) -> None:
    outcome = run("verify", "-", stdin=json.dumps(PROBLEM | {"weights": LISTS["W"]}))
    assert "did you mean 'W'?" in outcome.err


@pytest.mark.parametrize(("word", "symbol"), [("bias", "b"), ("Weights", "W"), ("inputs", "x")])
def test_the_long_names_of_gradients_are_taken_on_the_command_line(run: Run, word: str, symbol: str) -> None:
    text = json.dumps(PROBLEM | {"gradients": LISTS})
    assert [*judged(run, text, "--with-respect-to", word)] == [symbol]
    computed = json.loads(run("compute", "-", "--json", "--with-respect-to", word, stdin=text).out)
    assert [*computed["gradients"]] == [symbol] if symbol != "W" else "gradient" in computed


def test_an_explanation_of_one_row_of_a_batch_says_what_to_do(run: Run) -> None:
    batch = "sample_inputs/batch.json"
    explained = run("explain", batch, "--json").out
    outcome = run("verify", batch, "--gradient", explained)
    assert outcome.status == 2
    assert "explain and judge a problem of that row alone" in outcome.err
    fields = json.loads(Path(batch).read_text())
    row = json.dumps(fields | {"x": fields["x"][0], "label": fields["label"][0]})
    explained = run("explain", "-", "--json", stdin=row).out
    assert run("verify", "-", "--gradient", explained, "-q", stdin=row).status == 0


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"x": [[1, 2, 3]], "label": []}, "there are no labels; each row of x has one"),
        ({"x": [[]], "label": []}, "x has no numbers; each row of it needs one for each of 3 inputs"),
        ({"x": [], "label": []}, "$.x is empty; numbers are expected"),
    ],
)
def test_a_problem_without_rows_says_what_is_missing(run: Run, part: dict[str, Any], said: str) -> None:
    outcome = run("compute", "-", stdin=json.dumps(PROBLEM | part))
    assert outcome.status == 2
    assert f"standard input: {said}" in outcome.err
