"""The samples, and the numbers that the derivation prints for its example."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import Run
from seed import GRADIENT, HALF_A_UNIT, INPUTS, LOSS, PROBABILITIES, WEIGHTS
from xegrad import METHODS, Problem, read

W, X = json.dumps(WEIGHTS), ",".join(map(str, INPUTS))


def assert_is_the_seed(result: dict[str, Any]) -> None:
    assert abs(result["loss"] - LOSS) <= math.ulp(LOSS)
    assert np.abs(np.array(result["gradient"]) - GRADIENT).max() <= HALF_A_UNIT
    assert np.abs(np.array(result["probabilities"]) - PROBABILITIES).max() <= HALF_A_UNIT
    for method in ("chain", "shortcut"):
        assert np.abs(np.array(result[method]["gradient"]) - GRADIENT).max() <= HALF_A_UNIT
        assert abs(result[method]["loss"] - LOSS) <= 2 * math.ulp(LOSS)
    assert result["comparison"]["agree"] is True
    assert result["warnings"] == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("sample_inputs/seed.json",),
        ("sample_inputs/seed.csv",),
        ("-W", W, "-x", X, "-y", "2"),
        ("-W", W, "-x", "[0.1,0.5,0.4]", "-y", "[0,0,1,0,0]"),
        ("sample_inputs/seed.json", "-x", "[[0.1],[0.5],[0.4]]"),
    ],
    ids=["json", "csv", "parts", "one-hot", "column"],
)
def test_every_form_of_the_seed_gives_its_numbers(run: Run, arguments: tuple[str, ...]) -> None:
    assert_is_the_seed(json.loads(run("compute", *arguments, "--json").out))


@pytest.mark.parametrize("sample", ["json", "csv"])
def test_the_seed_on_standard_input_gives_its_numbers(run: Run, sample: str) -> None:
    text = run("sample", "--format", sample).out
    assert_is_the_seed(json.loads(run("compute", "--json", stdin=text).out))
    assert_is_the_seed(json.loads(run("compute", "-", "--json", stdin=text).out))


def test_transposed_weights_give_the_transposed_gradient(run: Run) -> None:
    turned = json.dumps(np.array(json.loads(W)).T.tolist())
    result = json.loads(run("compute", "-W", turned, "-x", X, "-y", "2", "--transpose", "--json").out)
    result["gradient"] = np.array(result["gradient"]).T.tolist()
    for method in ("chain", "shortcut"):
        result[method]["gradient"] = np.array(result[method]["gradient"]).T.tolist()
    assert_is_the_seed(result)


def test_the_sample_files_are_what_sample_prints(run: Run) -> None:
    assert Path("sample_inputs/seed.json").read_text() == run("sample").out
    assert Path("sample_inputs/seed.csv").read_text() == run("sample", "--format", "csv").out


def evaluate(problem: Problem, method: str) -> tuple[float, np.ndarray[Any, Any]]:
    evaluation = METHODS[method].evaluate(problem)
    return float(evaluation.loss), evaluation.gradients["weights"]


def test_the_saturated_sample_keeps_its_digits_in_the_shortcut_and_loses_them_in_the_chain(run: Run) -> None:
    problem = read("sample_inputs/saturated.json")
    loss, gradient = evaluate(problem, "shortcut")
    # exp(-46.05) + exp(-47.05), of which 1e-40 is lost to log1p and to 1 / (1 + s): 1.3702e-20.
    exact = math.fsum([math.exp(-46.05), math.exp(-47.05)])
    assert abs(loss - exact) <= 1e-15 * exact
    assert abs(gradient[0, 0] + exact) <= 1e-15 * exact
    assert f"{loss:.4e}" == "1.3702e-20"
    chain_loss, chain_gradient = evaluate(problem, "chain")
    assert chain_loss == 0
    assert chain_gradient[0, 0] == 0
    result = json.loads(run("compute", "sample_inputs/saturated.json", "--json").out)
    assert result["comparison"]["agree"] is True
    assert result["comparison"]["lost_entries"] == 1
    assert result["comparison"]["worst"] == {"of": "W", "input": 0, "class": 0}
    verdict = run("compute", "sample_inputs/saturated.json").out
    assert (
        "agree within rounding, but the chain is wrong: 1 entry without a correct digit, W[input 0, class 0]"
        in " ".join(verdict.split())
    )
    assert result["verdict"] == "agree-wrong"
    assert result["chain"]["wrong_entries"] == 1
    assert result["shortcut"]["wrong_entries"] == 0
    unjudged = run("compute", "sample_inputs/saturated.json", "--no-exact").out
    assert "the chain keeps no digit of 1 entry, W[input 0, class 0]" in " ".join(unjudged.split())


def test_the_underflowing_sample_breaks_the_chain_and_says_why(run: Run) -> None:
    problem = read("sample_inputs/underflow.json")
    loss, gradient = evaluate(problem, "shortcut")
    # Logits -900, 1.5 and -0.25: S is (0, s, 1 - s) with s = 1 / (1 + exp(-1.75)), to 1e-390.
    common = 1 / (1 + math.exp(-1.75))
    assert loss == pytest.approx(901.5 + math.log1p(math.exp(-1.75)), rel=1e-15)
    assert np.allclose(gradient, [[-1, common, 1 - common]] * 2, rtol=1e-15, atol=0)
    chain_loss, chain_gradient = evaluate(problem, "chain")
    assert chain_loss == math.inf
    assert np.isnan(chain_gradient).all()
    outcome = run("compute", "sample_inputs/underflow.json")
    assert outcome.status == 0
    verdict = " ".join(outcome.out.partition("\n\n")[0].split())
    assert verdict == (
        "✗ differ: "
        'the chain is not finite in 6 of 6 entries: the probability S of class 0 "rare" (the first) '
        "underflows to 0, and the chain multiplies 1/S = infinity by 0."
    )
    result = json.loads(run("compute", "sample_inputs/underflow.json", "--json").out)
    assert result["comparison"]["agree"] is False
    assert result["verdict"] == "differ"
    assert result["chain"]["loss"] is None
    assert result["chain"]["gradient"] == [[None] * 3] * 2
    assert result["chain"]["wrong_entries"] == 6
    assert any("underflows" in warning for warning in result["warnings"])
    assert any(warning.startswith("chain.gradient is null") for warning in result["warnings"])
