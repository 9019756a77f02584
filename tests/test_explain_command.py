"""`xegrad explain` and `xegrad descend`: what people and programs see of them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from conftest import Run, Shell, problem_json
from seed import GRADIENT, HALF_A_UNIT, LOSS
from xegrad import progress
from xegrad.explanation.steps import STEPS

SEED = "sample_inputs/seed.json"
IRIS = (
    "-x", "sample_inputs/iris.csv", "--label-column", "species", "-W", "sample_inputs/iris_W.csv",
    "-b", "sample_inputs/iris_b.csv",
)  # fmt: skip
WIDTHS = (60, 80, 120)
VIEWS = {
    "seed": (SEED,),
    "saturated": ("sample_inputs/saturated.json",),
    "underflow": ("sample_inputs/underflow.json",),
    "entry": (SEED, "--entry", "1,2"),
    "steps": (SEED, "--step", "layer_jacobian,loss", "--step", "check"),
    "named": (*IRIS, "--step", "gradient"),
    "soft": ("-W", "[[1,2,3],[0,1,0]]", "-x", "0.5,-1", "-y", "[0.5,0.25,0.25]", "-b", "0.5,0,0"),
}
Golden = Callable[[str, str], None]


def longest_step(out: str) -> int:
    """The lines of the longest of the steps, which begin with a rule and their numbers."""
    return max(step.count("\n") for step in re.split(r"^── \d+\. ", out, flags=re.MULTILINE)[1:])


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("view", VIEWS)
def test_the_view_is_the_golden_one(
    run: Run, golden: Golden, monkeypatch: pytest.MonkeyPatch, view: str, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    out = run("explain", *VIEWS[view]).out
    assert max(map(len, out.splitlines())) <= width
    assert all(line == line.rstrip() for line in out.splitlines())
    golden(f"explain-{view}-{width}", out)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_large_layer_is_shown_by_its_corners(
    run: Run, golden: Golden, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    weights = [[((3 * i + 5 * j) % 16 - 8) / 16 for i in range(40)] for j in range(12)]
    problem = json.dumps({"W": weights, "x": [0.5, -1, 0.25] * 4, "label": 17})
    out = run("explain", stdin=problem).out
    assert max(map(len, out.splitlines())) <= width
    assert longest_step(out) <= 30
    golden(f"explain-large-{width}", out)


def test_a_thousand_classes_do_not_flood_the_screen(run: Run) -> None:
    problem = run("sample", "--inputs", "50", "--classes", "1000").out
    outcome = run("explain", stdin=problem)
    assert outcome.status == 0
    assert longest_step(outcome.out) <= 30


def test_json_holds_every_array_by_its_name(run: Run) -> None:
    result = json.loads(run("explain", SEED, "--json").out)
    shapes = {
        "logits": (5,),
        "probabilities": (5,),
        "loss": (),
        "cross_entropy_jacobian": (5,),
        "softmax_jacobian": (5, 5),
        "weighted_sum_jacobian": (5, 15),
        "layer_jacobian": (5, 15),
        "flat_gradient": (15,),
        "gradient": (3, 5),
        "scrambled_gradient": (3, 5),
    }
    assert list(result) == ["schema", *shapes, "warnings"]
    assert {name: np.shape(result[name]) for name in shapes} == shapes
    assert np.abs(np.array(result["gradient"]) - GRADIENT).max() <= HALF_A_UNIT
    assert abs(result["loss"] - LOSS) <= math.ulp(LOSS)
    assert result["warnings"] == []


def test_json_has_null_where_there_is_no_number_or_there_are_too_many(run: Run) -> None:
    result = json.loads(run("explain", "sample_inputs/underflow.json", "--json").out)
    assert result["cross_entropy_jacobian"] == [None, 0, 0]
    assert "flat_gradient holds null: 6 of 6 are not finite" in result["warnings"]
    large = run("sample", "--inputs", "50", "--classes", "200").out
    result = json.loads(run("explain", "--json", stdin=large).out)
    assert result["layer_jacobian"] is None
    assert "layer_jacobian is null: 200 x 10000 numbers are too many" in result["warnings"]
    assert np.shape(result["softmax_jacobian"]) == (200, 200)


def test_json_turns_what_has_the_layout_of_w(run: Run) -> None:
    turned = run("explain", "-W", "[[1,3,5],[2,4,6]]", "-x", "1,-2,0", "-y", "0", "--transpose", "--json")
    straight = run("explain", "-W", "[[1,2],[3,4],[5,6]]", "-x", "1,-2,0", "-y", "0", "--json")
    first, second = json.loads(turned.out), json.loads(straight.out)
    assert np.array_equal(np.transpose(first["gradient"]), second["gradient"])
    assert first["flat_gradient"] == second["flat_gradient"]


@pytest.mark.parametrize("name", STEPS)
def test_one_step_is_shown_alone(run: Run, name: str) -> None:
    whole, alone = run("explain", SEED).out, run("explain", SEED, "--step", name).out
    assert alone.splitlines()[0].split()[2] == name
    assert alone.strip() in whole


def test_an_entry_is_named_by_its_input_and_its_class(run: Run) -> None:
    by_index = run("explain", *IRIS, "--entry", "2,0").out
    assert 'input 2 "petal_length" for class 0 "setosa" (the first)' in " ".join(by_index.split())
    for entry in ("petal_length,setosa", "2, setosa", "petal_length,0"):
        assert run("explain", *IRIS, "--entry", entry).out == by_index
    for entry, hint in (("petal_lenght,setosa", "petal_length"), ("2,sentosa", "setosa")):
        outcome = run("explain", *IRIS, "--entry", entry)
        assert outcome.status == 2
        assert outcome.err.count("\n") == 1
        assert f"did you mean {hint}?" in outcome.err


def test_a_name_with_a_comma_and_one_that_is_a_number_are_found(run: Run) -> None:
    """A name counts before an index."""
    problem = problem_json(label=0, classes=["2", "a,b", "c"])
    named = run("explain", "--entry", "1,a,b", stdin=problem).out
    assert named == run("explain", "--entry", "1,1", stdin=problem).out
    assert "dL/dW[1,0]" in run("explain", "--entry", "1,2", stdin=problem).out


def test_ascii_terminals_get_ascii(shell: Shell) -> None:
    for line in (f"xegrad explain {SEED}", f"xegrad descend {SEED} --steps 5"):
        outcome = shell(line, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
        assert outcome.out.isascii()
        assert "\\x" not in outcome.out
        assert "\\u" not in outcome.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--step", "softmax"), "there is no step 'softmax'"),
        (("--step", "logits,los"), "there is no step 'los'"),
        (("--step", "los"), "did you mean loss?"),
        (("--entry", "1"), "--entry is '1'; an input and a class are expected, as in 1,2"),
        (("--entry", "1,dog"), "--entry is '1,dog'; there is no class 'dog'"),
        (("--entry", "3,0"), "there is no input 3; they are 0 to 2"),
        (("--row", "1"), "there is no row 1"),
    ],
)
def test_what_there_is_not_is_said_in_one_line(run: Run, arguments: tuple[str, ...], message: str) -> None:
    outcome = run("explain", SEED, *arguments)
    assert outcome.status == 2
    assert outcome.err.count("\n") == 1
    assert message in outcome.err


@pytest.mark.parametrize("command", ["explain", "descend"])
def test_without_a_problem_there_is_a_hint(run: Run, command: str) -> None:
    outcome = run(command, terminal=True)
    assert outcome.status == 2
    assert f"no problem was given; see xegrad {command} -h" in outcome.err


@pytest.mark.parametrize("width", WIDTHS)
def test_the_report_of_a_descent_is_the_golden_one(
    run: Run, golden: Golden, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    out = run("descend", SEED, "--learning-rate", "0.5", "--steps", "100").out
    assert max(map(len, out.splitlines())) <= width
    golden(f"descend-seed-{width}", out)


def test_the_report_of_a_descent_that_diverges_is_the_golden_one(run: Run, golden: Golden) -> None:
    outcome = run(
        "descend", "-W", "[[0,0]]", "-x", "1", "-y", "[0.5,0.5]", "-b", "[1,-1]", "--learning-rate", "50"
    )
    assert outcome.status == 1
    golden("descend-diverged-80", outcome.out)


def test_json_of_a_descent_has_what_came_of_it(run: Run) -> None:
    outcome = run("descend", SEED, "--learning-rate", "0.5", "--json")
    result = json.loads(outcome.out)
    assert outcome.status == 0
    assert result["steps"] == 1
    assert result["losses"] == [result["loss_before"], result["loss_after"]]
    assert abs(result["loss_before"] - LOSS) <= math.ulp(LOSS)
    assert result["converged"] is False
    assert result["b"] is None
    assert result["gradient_norm"] > 0
    start = json.loads(Path(SEED).read_text())["W"]
    assert np.abs(np.array(result["W"]) - (np.array(start) - 0.5 * np.array(GRADIENT))).max() <= HALF_A_UNIT


def test_json_of_a_divergence_has_null_and_numbers_but_no_nan(run: Run) -> None:
    outcome = run(
        "descend", "sample_inputs/underflow.json", "--method", "chain", "--learning-rate", "1", "--json"
    )
    result = json.loads(outcome.out)
    assert outcome.status == 1
    assert result["gradient_norm"] is None
    assert result["diverged_at"] == 1
    assert len(result["warnings"]) == 2


def test_a_saved_problem_goes_on_where_the_descent_ended(run: Run, shell: Shell, tmp_path: Path) -> None:
    for name in ("after.json", "after.csv"):
        path = str(tmp_path / name)
        after = json.loads(run("descend", SEED, "--steps", "3", "--save", path, "--json").out)["loss_after"]
        assert json.loads(run("compute", path, "--json").out)["loss"] == pytest.approx(after, rel=1e-15)
    piped = shell(f"xegrad descend {SEED} --steps 3 --save - | xegrad compute - --json")
    assert json.loads(piped.out)["loss"] == pytest.approx(after, rel=1e-15)
    assert "loss after" in piped.err


def test_a_saved_problem_keeps_what_it_was_given(run: Run) -> None:
    problem = problem_json(label="b", classes=["a", "b", "c"], b=[0, 0, 1])
    saved = json.loads(run("descend", "--save", "-", stdin=problem).out)
    given = json.loads(problem)
    assert saved.keys() == given.keys()
    assert saved["W"] != given["W"]
    assert saved["b"] != given["b"]
    assert {key: saved[key] for key in ("x", "label", "classes")} == {
        key: given[key] for key in ("x", "label", "classes")
    }


def test_a_saved_problem_of_transposed_weights_computes_to_the_same_loss(run: Run, tmp_path: Path) -> None:
    path = str(tmp_path / "after.json")
    given = ("-W", "[[1,3,5],[2,4,6]]", "-x", "1,-2,0", "-y", "0", "--transpose")
    result = json.loads(run("descend", *given, "--save", path, "--json").out)
    assert np.shape(result["W"]) == (2, 3)
    assert json.loads(run("compute", path, "--json").out)["loss"] == pytest.approx(
        result["loss_after"], rel=1e-15
    )


def test_an_interrupted_descent_shows_and_saves_what_there_is(run: Run, tmp_path: Path) -> None:
    def interrupt(doing: str, done: int, steps: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    path = tmp_path / "after.json"
    with progress.watched_by(interrupt):
        outcome = run("descend", SEED, "--steps", "1000", "--save", str(path))
    assert outcome.status == 130
    assert "interrupted: after 3 steps; W and b are those reached." in outcome.out
    assert "W" in json.loads(path.read_text())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--learning-rate", "fast"), "--learning-rate is 'fast'; a positive number or auto is expected"),
        (("--learning-rate", "0"), "--learning-rate is '0'"),
        (("--method", "magic"), "there is no method 'magic'"),
        (("--json", "--save", "-"), "standard output holds one thing"),
        (("--save", "after.npy"), "a problem cannot be written as npy"),
        (("--save", "no/such/folder.json"), "cannot be written: there is no folder no/such"),
    ],
)
def test_what_a_descent_cannot_do_is_said_in_one_line(
    run: Run, arguments: tuple[str, ...], message: str
) -> None:
    outcome = run("descend", SEED, *arguments)
    assert outcome.status == 2
    assert outcome.err.count("\n") == 1
    assert message in outcome.err


@pytest.mark.parametrize("command", ["explain", "descend"])
def test_quiet_prints_nothing(run: Run, command: str) -> None:
    outcome = run(command, SEED, "-q")
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "")


@pytest.mark.parametrize("command", ["compute", "explain"])
def test_an_ignored_label_is_no_soft_target(run: Run, command: str) -> None:
    options = ("-W", "[[1, 2, 3]]", "-x", "2", "--label", "-100", "--ignore-index", "-100")
    shown = " ".join(run(command, *options, "--reduction", "sum").out.split())
    assert "The label is ignored, and Q is 0." in shown
    assert "soft" not in shown.split("Q is 0.")[0]


def test_one_entry_is_not_said_to_be_all_of_them(run: Run) -> None:
    outcome = run("explain", "-W", "[[1]]", "-x", "2", "--label", "0", "--step", "comparison")
    shown = " ".join(outcome.out.split())
    assert "the only entry: no further apart than rounding explains" in shown
    assert "all 1 entries" not in shown
