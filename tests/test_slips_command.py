"""Mistakes by their names, from the command line: verify, slips and sample."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from conftest import Run, one_line
from xegrad import METHODS, SLIPS, explain, read

SEED = "sample_inputs/seed.json"
BATCH = "sample_inputs/batch.json"
IRIS = (
    "-x", "sample_inputs/iris.csv", "--label-column", "species", "-W", "sample_inputs/iris_W.csv",
    "-b", "sample_inputs/iris_b.csv",
)  # fmt: skip
# The derivation's own matrix, as its page prints it.
PRINTED = """[[ 0.01909135  0.09545676  0.07636541  0.02035314  0.10176572]
 [ 0.08141258 -0.07830167 -0.39150833 -0.31320667  0.02313243]
 [ 0.11566214  0.09252971  0.01572474  0.07862371  0.06289897]]"""


def verified(run: Run, *arguments: str, gradient: Any, stdin: str = "") -> dict[str, Any]:
    text = gradient if isinstance(gradient, str) else json.dumps(np.asarray(gradient).tolist())
    outcome = run("verify", *arguments, "--gradient", text, "--json", stdin=stdin)
    assert outcome.status in (0, 1), outcome.err
    result: dict[str, Any] = json.loads(outcome.out)
    return result


def names(result: dict[str, Any]) -> list[list[str]]:
    return [one["slips"] for one in result["candidate"]["diagnosis"]]


def softmax(z: Any) -> Any:
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("name", SLIPS)
def test_a_sample_with_a_slip_comes_back_by_its_name(run: Run, name: str) -> None:
    sample = run("sample", "--slip", name).out
    outcome = run("verify", stdin=sample)
    assert outcome.status == 1
    assert f"MISTAKE {name} (explains " in outcome.out


def test_two_slips_come_back_together(run: Run) -> None:
    sample = run("sample", "--slip", "softmax-twice,sign-flipped").out
    assert "MISTAKE softmax-twice + sign-flipped (explains" in run("verify", stdin=sample).out


def test_the_matrix_that_the_derivation_prints_is_a_scrambled_reshape(run: Run, golden: Any) -> None:
    outcome = run("verify", SEED, "--gradient", "-", stdin=PRINTED)
    assert outcome.status == 1
    assert "MISTAKE scrambled-reshape (explains all 15 entries)" in outcome.out
    assert "write        flat.reshape(5, 3).T" in outcome.out
    golden("verify-mistake-80", outcome.out)


def test_only_the_diagonal_of_the_softmax_is_named(run: Run) -> None:
    problem = read(SEED)
    s = softmax(problem.inputs @ problem.weights)[0]
    wrong = np.zeros((3, 5))
    wrong[:, 2] = problem.inputs[0] * (-1 / s[2]) * s[2] * (1 - s[2])
    result = verified(run, SEED, gradient=wrong)
    assert names(result) == [["jacobian-diagonal"]]
    assert result["candidate"]["diagnosis"][0]["explains"] == 15


def test_a_float32_gradient_divided_by_the_rows_twice_is_scaled(run: Run, tmp_path: Path) -> None:
    single = "sample_inputs/layer.npz"
    stated = np.load(single)
    z = stated["x"] @ stated["W"].T + stated["b"]
    residual = softmax(z) - np.eye(4, dtype=np.float32)[stated["label"]]
    np.save(tmp_path / "gradient.npy", (residual.T @ stated["x"] / 5 / 5).astype(np.float32))
    outcome = run("verify", single, "--gradient", str(tmp_path / "gradient.npy"), "--json")
    (found,) = json.loads(outcome.out)["candidate"]["diagnosis"]
    assert found["slips"] == ["scaled"]
    assert "1/B" in found["texts"]["k"]


def test_labels_shifted_by_one_row_are_misaligned_by_one(run: Run) -> None:
    result = json.loads(run("compute", *IRIS, "--json").out)
    x = read_iris()
    labels = np.repeat([0, 1, 2], 50)
    residual = softmax(logits(x)) - np.eye(3)[np.roll(labels, -1)]
    assert not np.allclose(x.T @ residual / 150, result["gradient"])
    found = verified(run, *IRIS, gradient=x.T @ residual / 150)["candidate"]["diagnosis"]
    assert ["labels-misaligned"] in [one["slips"] for one in found]
    misaligned = next(one for one in found if one["slips"] == ["labels-misaligned"])
    assert misaligned["parameters"]["k"] == 1


def read_iris() -> Any:
    return np.loadtxt("sample_inputs/iris.csv", delimiter=",", skiprows=1, usecols=range(4))


def logits(x: Any) -> Any:
    w = np.loadtxt("sample_inputs/iris_W.csv", delimiter=",", skiprows=1)
    return x @ w + np.loadtxt("sample_inputs/iris_b.csv", delimiter=",")


def test_a_flat_gradient_is_read_in_the_order_of_w(run: Run) -> None:
    right = METHODS["exact"].evaluate(read(SEED)).gradients["weights"]
    assert verified(run, SEED, gradient=right.ravel())["verified"]
    assert names(verified(run, SEED, gradient=right.T.ravel())) == [["scrambled-reshape"]]


def test_a_transposed_gradient_is_named_and_not_refused(run: Run) -> None:
    right = METHODS["exact"].evaluate(read(SEED)).gradients["weights"]
    result = verified(run, SEED, gradient=right.T)
    assert not result["verified"]
    assert names(result) == [["transposed"]]


@pytest.mark.parametrize("symbol", ["b", "x", "logits"])
def test_gradients_of_the_other_parts_are_diagnosed_too(run: Run, symbol: str) -> None:
    name = {"b": "bias", "x": "inputs", "logits": "logits"}[symbol]
    right = METHODS["exact"].evaluate(read(BATCH), (name,)).gradients[name]
    result = verified(run, BATCH, "--with-respect-to", symbol, gradient=-right)
    assert ["sign-flipped"] in names(result)


@pytest.mark.parametrize(
    ("loss", "slip"),
    [
        (-1.5279347484961026, "sign-flipped"),
        (1.5279347484961026 / np.log(2), "scaled"),
        (2 * 1.5279347484961026, "scaled"),
    ],
)
def test_a_loss_is_diagnosed_by_what_one_number_can_tell(run: Run, loss: float, slip: str) -> None:
    result = json.loads(run("verify", SEED, "--loss", repr(float(loss)), "--json").out)
    assert [slip] in [one["slips"] for one in result["diagnosis"]]


def test_a_loss_that_is_no_slip_gets_no_name(run: Run) -> None:
    outcome = run("verify", SEED, "--loss", "1.2345678901234567")
    assert outcome.status == 1
    assert "No known mistake makes this loss." in outcome.out


def test_where_nothing_fits_the_pattern_is_said_and_no_name(run: Run) -> None:
    wrong = METHODS["exact"].evaluate(read(SEED)).gradients["weights"].copy()
    wrong[1, 3] += 0.01
    outcome = run("verify", SEED, "--gradient", json.dumps(wrong.tolist()))
    assert (
        "No known mistake makes these numbers. An error of the formula is hardly ever in one entry"
        in one_line(outcome)
    )
    assert "MISTAKE" not in outcome.out


def test_a_right_gradient_comes_with_the_blind_spots_of_its_problem(run: Run) -> None:
    right = METHODS["exact"].evaluate(read(SEED)).gradients["weights"]
    blind = verified(run, SEED, gradient=right)["candidate"]["blind_spots"]
    assert {"scaled", "labels-misaligned"} <= set(blind)  # B = 1 hides both
    assert "Not ruled out by this problem: " in one_line(
        run("verify", SEED, "--gradient", json.dumps(right.tolist()))
    )


def steps(run: Run) -> dict[str, Any]:
    chain: dict[str, Any] = json.loads(run("explain", SEED, "--json").out)
    return {name: chain[name] for name in chain if name not in ("schema", "warnings", "scrambled_gradient")}


def test_every_step_of_the_chain_is_right_where_it_is(run: Run) -> None:
    outcome = run("verify", SEED, "--gradient", json.dumps(steps(run)))
    assert outcome.status == 0
    assert outcome.out.count("right     ") == 9


def test_the_first_wrong_step_is_named_with_its_slip_and_what_follows_from_it(run: Run) -> None:
    chain = steps(run)
    diagonal = np.diag(np.diag(chain["softmax_jacobian"]))
    chain["softmax_jacobian"] = diagonal.tolist()
    layer = diagonal @ np.array(chain["weighted_sum_jacobian"])
    chain["layer_jacobian"] = layer.tolist()
    flat = np.array(chain["cross_entropy_jacobian"]) @ layer
    chain["flat_gradient"], chain["gradient"] = flat.tolist(), flat.reshape(5, 3).T.tolist()
    result = verified(run, SEED, gradient=json.dumps(chain))
    assert result["steps"]["wrong"] == "softmax_jacobian"
    assert result["steps"]["slips"] == ["jacobian-diagonal"]
    assert result["steps"]["follows"] == dict.fromkeys(
        ("weighted_sum_jacobian", "layer_jacobian", "flat_gradient", "gradient"), True
    )
    assert names(result) == [["jacobian-diagonal"]]
    shown = run("verify", SEED, "--gradient", json.dumps(chain)).out
    assert "WRONG     softmax_jacobian        the first that is wrong" in shown
    assert "follows   gradient                what the wrong one leads to" in shown


def test_steps_come_from_an_npz_too(run: Run, tmp_path: Path) -> None:
    chain: dict[str, Any] = {name: np.array(value) for name, value in steps(run).items()}
    np.savez(tmp_path / "steps.npz", **chain)
    assert run("verify", SEED, "--gradient", str(tmp_path / "steps.npz"), "-q").status == 0
    np.savez(tmp_path / "wrong.npz", **(chain | {"probabilities": chain["probabilities"][::-1]}))
    outcome = run("verify", SEED, "--gradient", str(tmp_path / "wrong.npz"))
    assert "WRONG     probabilities" in outcome.out


def test_one_step_that_someone_worked_out_is_marked(run: Run) -> None:
    answer = json.dumps({"probabilities": [0.19091352, 0.20353145, 0.21698333, 0.23132428, 0.15724743]})
    assert run("verify", SEED, "--gradient", answer).status == 0
    wrong = json.dumps({"probabilities": [0.19091352, 0.20353145, 0.21698333, 0.23132428, 0.16]})
    outcome = run("verify", SEED, "--gradient", wrong)
    assert outcome.status == 1
    assert "WRONG     probabilities" in outcome.out


def test_the_list_of_slips_is_the_catalogue(run: Run) -> None:
    shown, listed = run("slips").out, json.loads(run("slips", "--json").out)
    assert [entry["name"] for entry in listed] == list(SLIPS)
    assert all(name in shown for name in SLIPS)


@pytest.mark.parametrize("name", SLIPS)
def test_a_page_shows_both_lines_and_what_the_slip_does(run: Run, name: str) -> None:
    shown = run("slips", name).out
    assert "instead of" in shown
    assert "with this mistake" in shown
    assert "{" not in shown  # every place in the texts is filled
    assert all(len(line) <= 80 for line in shown.splitlines())
    page = json.loads(run("slips", name, "--json").out)
    assert page["right_gradient"] != page["wrong_gradient"]


def test_an_unknown_slip_is_refused_with_the_nearest(run: Run) -> None:
    outcome = run("slips", "softmax-twise")
    assert outcome.status == 2
    assert "did you mean softmax-twice?" in outcome.err


def test_the_slips_that_a_step_invites_are_in_the_catalogue() -> None:
    seed = read(SEED)
    steps = [step for bias in (None, np.zeros(5)) for step in explain(replace(seed, bias=bias)).steps]
    assert {step.slip.name for step in steps if step.slip is not None} <= {*SLIPS}


def test_a_random_sample_says_what_it_cannot_catch(run: Run) -> None:
    one, many = run("sample", "--seed", "1"), run("sample", "--rows", "6", "--seed", "1")
    assert "scaled" in one.err
    assert many.err == ""
    problem = json.loads(many.out)
    assert np.shape(problem["x"]) == (6, 3)
    right = json.loads(run("compute", "--json", stdin=many.out).out)["gradient"]
    result = json.loads(run("verify", "-", "--gradient", json.dumps(right), "--json", stdin=many.out).out)
    assert result["candidate"]["blind_spots"] == []


def test_a_stream_names_mistakes_line_by_line(run: Run, tmp_path: Path) -> None:
    lines = [
        json.dumps(json.loads(run("sample", "--slip", name).out))
        for name in ("sign-flipped", "input-missing")
    ]
    (tmp_path / "wrong.ndjson").write_text("\n".join(lines))
    outcome = run("verify", str(tmp_path / "wrong.ndjson"))
    found = [json.loads(line) for line in outcome.out.splitlines()]
    assert [names(one) for one in found] == [[["sign-flipped"]], [["input-missing"]]]


def test_weights_in_the_place_of_a_gradient_of_zeros_are_no_decay(run: Run) -> None:
    """One class: every exact entry is 0, and so W - eta G is W."""
    sample = run("sample", "--inputs", "2", "--classes", "1", "--slip", "weights-updated").out
    assert names(json.loads(run("verify", "--json", stdin=sample).out)) == [["weights-updated"]]


def test_zeros_that_are_right_have_no_name_in_any_shape(run: Run) -> None:
    problem = json.dumps({"W": [[1], [2]], "x": [3, 4], "label": 0})
    outcome = run("verify", "-", "--gradient", "[[0, 0]]", stdin=problem)
    assert "MISTAKE" not in outcome.out
