"""Heat maps, files with pictures, and tables in a notebook."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from conftest import Run
from xegrad import METHODS, Problem, Targets, compare, explain, read
from xegrad.slips.making import apply

SEED = "sample_inputs/seed.json"
EVERY = [
    ("compute", SEED),
    ("compute", "sample_inputs/batch.json", "--no-exact"),
    ("explain", SEED),
    ("explain", SEED, "--slip", "softmax-twice"),
    ("verify", SEED, "--gradient", "sample_inputs/printed.txt"),
    ("descend", SEED),
]


@pytest.mark.parametrize("arguments", EVERY, ids=" ".join)
def test_every_view_is_written_as_a_picture_a_page_and_markdown(
    run: Run, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    for suffix in ("svg", "html", "md"):
        path = tmp_path / f"view.{suffix}"
        assert run(*arguments, "-o", str(path)).out == ""
        text = path.read_text(encoding="utf-8")
        if suffix == "svg":
            assert ElementTree.fromstring(text).tag.endswith("svg")
            assert "font-face" not in text  # nothing is loaded from elsewhere
        elif suffix == "html":
            HTMLParser().feed(text)
            assert "<table>" in text
            assert "<script" not in text
        else:
            assert text.startswith("```text\n")
            assert text.endswith("\n```\n")


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize("command", ["compute", "verify", "explain"])
def test_a_heat_map_fits_the_screen(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: str, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    arguments = ["--gradient", "sample_inputs/printed.txt"] if command == "verify" else []
    shown = run(command, SEED, "--color", "always", *arguments).out
    assert "\x1b[" in shown
    plain = re.sub("\x1b\\[[0-9;]*m", "", shown)
    assert re.search(r"^ *-\S+ +0 +\+\S+", plain, flags=re.MULTILINE)  # the legend
    assert all(len(line) <= columns for line in plain.splitlines())
    off = run(command, SEED, "--color", "always", "--no-heatmap", *arguments).out
    assert not re.search(r"^ *-\S+ +0 +\+\S+", re.sub("\x1b\\[[0-9;]*m", "", off), flags=re.MULTILINE)


def test_a_matrix_larger_than_the_screen_is_binned_and_says_so(run: Run, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    np.savez(tmp_path / "wide.npz", W=random.normal(size=(60, 500)), x=random.normal(size=60), label=3)
    shown = run("compute", str(tmp_path / "wide.npz"), "--method", "shortcut").out
    assert "each cell: the largest of" in shown
    assert all(len(line) <= 80 for line in shown.splitlines())


def test_a_notebook_shows_tables() -> None:
    problem = read("sample_inputs/underflow.json")
    exact, chain = (METHODS[name].evaluate(problem) for name in ("exact", "chain"))
    comparison = compare(exact, chain, METHODS["chain"].bound(problem))
    for shown in (problem, comparison, explain(read(SEED))):
        text = shown._repr_html_()
        HTMLParser().feed(text)
        assert text.count("<table>") == text.count("</table>") > 0
    assert "<th>rare</th>" in problem._repr_html_()
    assert "6 beyond their bound" in comparison._repr_html_()


def test_a_notebook_takes_no_name_for_a_tag() -> None:
    problem = Problem(np.ones((1, 2)), np.ones((1, 1)), Targets(labels=np.array([0])), classes=("<b>", "&"))
    assert "<b>" not in problem._repr_html_()


@pytest.mark.parametrize(
    ("step", "name"),
    [
        ("softmax_jacobian", "jacobian-diagonal"),
        ("cross_entropy_jacobian", "jacobian-skipped"),
        ("weighted_sum_jacobian", "input-missing"),
        ("shortcut", "sign-flipped"),
    ],
)
def test_the_numbers_of_a_slip_that_a_step_invites_are_those_of_the_catalogue(step: str, name: str) -> None:
    """Of the seed; the weighted sum's and the shortcut's are those of each row of dL/dW and of dL/dZ."""
    problem = read(SEED)
    slip = explain(problem)[step].slip
    assert slip is not None
    assert slip.numbers is not None
    assert slip.name == name
    gradient = "weights" if slip.name == "input-missing" else "logits"
    made = apply(problem, [slip.name], gradient)[0]
    assert np.allclose(slip.numbers, made, rtol=1e-14, atol=0)


def test_a_slip_that_this_problem_cannot_show_is_refused(run: Run) -> None:
    outcome = run("explain", SEED, "--slip", "labels-misaligned")
    assert outcome.status == 2
    assert outcome.err.count("\n") == 1


def test_descend_on_iris_reaches_the_optimum_from_the_shell(run: Run, tmp_path: Path) -> None:
    data = (
        "-x",
        "sample_inputs/iris.csv",
        "--label-column",
        "species",
        "-W",
        str([[0, 0, 0]] * 4),
        "-b",
        "0,0,0",
    )
    best = json.loads(Path("tests/data/iris_optimum.json").read_text())
    saved = tmp_path / "fitted.json"
    outcome = run("descend", *data, "--l2", "0.01", "--steps", "1000", "--save", str(saved), "--json")
    result = json.loads(outcome.out)
    assert abs(result["loss_after"] / best["loss"] - 1) < 1e-8
    assert round(result["right_after"] * 150) == best["right"]
    again = json.loads(run("compute", str(saved), "--json").out)
    assert again["classes"] == ["setosa", "versicolor", "virginica"]
    assert np.array(result["W"]).tolist() == json.loads(saved.read_text())["W"]


def test_a_saved_problem_keeps_its_layout_and_its_options(run: Run, tmp_path: Path) -> None:
    stated = json.loads(Path("sample_inputs/batch.json").read_text())
    stated |= {"W": np.transpose(stated["W"]).tolist(), "transpose": True}
    saved = json.loads(run("descend", "-", "--save", "-", "-q", stdin=json.dumps(stated)).out)
    assert saved.keys() == stated.keys()
    assert np.shape(saved["W"]) == (3, 2)
    for name in ("label", "class_weights", "label_smoothing", "ignore_index", "transpose", "classes"):
        assert saved[name] == stated[name]
