"""Rows of x, the options of the loss and the gradients of every part, as people ask for them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import Outcome, Run
from truth import exact as truth
from xegrad import METHODS, compute, read

BATCH = "sample_inputs/batch.json"
SMALL: dict[str, Any] = {"W": [[0.5, -0.5], [1.0, 0.25]], "x": [[1, 2], [3, -1], [0, 1]], "label": [0, 1, 1]}


def computed(run: Run, problem: dict[str, Any], *options: str) -> dict[str, Any]:
    outcome = run("compute", "-", "--json", *options, stdin=json.dumps(problem))
    assert outcome.status == 0, outcome.err
    result: dict[str, Any] = json.loads(outcome.out)
    return result


def refused(run: Run, problem: dict[str, Any], *options: str) -> str:
    outcome = run("compute", "-", *options, stdin=json.dumps(problem))
    assert outcome.status == 2
    assert outcome.err.count("\n") == 1
    return outcome.err


def test_a_batch_is_the_mean_of_its_rows(run: Run) -> None:
    whole = computed(run, SMALL)
    rows = [
        computed(run, SMALL | {"x": x, "label": c}) for x, c in zip(SMALL["x"], SMALL["label"], strict=True)
    ]
    assert math.isclose(whole["loss"], math.fsum(row["loss"] for row in rows) / 3, rel_tol=1e-15)
    mean = np.mean([row["gradient"] for row in rows], axis=0)
    # Correctly rounded values, summed and divided: three roundings and their own.
    assert np.allclose(whole["gradient"], mean, rtol=8 * 2.0**-53, atol=0)
    assert len(whole["probabilities"]) == 3


def test_a_mean_over_three_rows_divides_by_three_and_not_by_a_rounded_third() -> None:
    """All logits are equal, so each entry is rational: (1/2 - [t = c]) x / 3 with x = 3 is exact."""
    from xegrad import Problem, Targets

    problem = Problem(np.zeros((1, 2)), np.full((3, 1), 3.0), Targets(labels=np.array([0, 0, 0])))
    evaluation = METHODS["exact"].evaluate(problem, ("weights", "logits"))
    assert evaluation.gradients["weights"].tolist() == [[-1.5, 1.5]]
    assert evaluation.gradients["logits"].tolist() == [[-1 / 6, 1 / 6]] * 3


def test_none_keeps_the_sum_and_adds_the_loss_of_each_row(run: Run) -> None:
    none, total = (computed(run, SMALL, "--reduction", name) for name in ("none", "sum"))
    assert none["loss"] == total["loss"]
    assert none["gradient"] == total["gradient"]
    rows = [
        computed(run, SMALL | {"x": x, "label": c}) for x, c in zip(SMALL["x"], SMALL["label"], strict=True)
    ]
    assert none["losses"] == [row["loss"] for row in rows]
    assert "losses" not in total


def test_options_win_over_the_problem(run: Run) -> None:
    stated = SMALL | {"label_smoothing": 0.5, "reduction": "sum", "class_weights": [1, 9], "ignore_index": 1}
    options = (
        "--label-smoothing",
        "0",
        "--reduction",
        "mean",
        "--class-weights",
        "2,2",
        "--ignore-index",
        "-1",
    )
    assert computed(run, stated, *options) == computed(run, SMALL)


def test_class_weights_come_from_a_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "weights.csv").write_text("no,yes\n1,3\n")
    np.save(tmp_path / "weights.npy", np.array([1.0, 3.0]))
    expected = computed(run, SMALL | {"class_weights": [1, 3]})
    for name in ("weights.csv", "weights.npy"):
        assert computed(run, SMALL, "--class-weights", str(tmp_path / name)) == expected


def test_the_first_line_names_the_divisor(run: Run) -> None:
    stated = SMALL | {"x": [*SMALL["x"], [1, 1]], "label": [0, 1, 1, -100], "class_weights": [1.5, 3]}
    shown = run("compute", "-", "--ignore-index", "-100", stdin=json.dumps(stated)).out
    assert "mean over 3 of 4 rows (1 ignored), weights sum to 7.5" in " ".join(shown.split())


@pytest.mark.parametrize(
    ("changed", "options", "said"),
    [
        ({"label": [-100, 1, 1]}, (), "to ignore such rows, as PyTorch does, say ignore_index -100"),
        ({"label": [1, 1, 1]}, ("--ignore-index", "1"), "the mean over no row is 0/0"),
        ({"class_weights": [1, 0], "label": [1, 1, 1]}, (), "the class weights of all labels are 0"),
        ({"class_weights": [1, -2]}, (), "the weight of class 1 is -2.0"),
        ({"class_weights": [1, 2, 3]}, (), "class_weights has 3 numbers but W has 2 classes"),
        ({"label_smoothing": 1.5}, (), "label_smoothing is 1.5; it goes from 0 to 1"),
        ({"label": [[1, 0], [0, 1], [0, 1]]}, ("--ignore-index", "1"), "only a label can be ignored"),
        ({"label": [0, 1]}, (), "label has 2 rows but x has 3"),
        ({"label": [0, 1.5, 1]}, (), "labels are whole numbers"),
        ({"label": [[1, 0], [0, 1, 0], [0, 1]]}, (), "label[1] has 3 numbers, but label[0] has 2"),
        ({"label": ["no", "yes", "yes"]}, (), "the problem names no classes"),
        ({}, ("--reduction", "average"), "there is no reduction 'average'"),
        ({}, ("--dtype", "float16"), "the precision is 'float16'; it is one of float64, float32"),
        ({"x": [[1, 2, 3], [3, -1, 0]]}, (), "x has 3 entries in each row but W has 2 rows"),
        ({"W": [[1e300, 0], [0, 1]]}, ("--dtype", "float32"), "the largest number of float32 is 3.4e+38"),
    ],
)
def test_what_means_nothing_is_refused(
    run: Run, changed: dict[str, Any], options: tuple[str, ...], said: str
) -> None:
    assert said in refused(run, SMALL | changed, *options)


def test_class_weights_that_cancel_are_a_warning(run: Run) -> None:
    one = SMALL | {"x": [1, 2], "label": 1, "class_weights": [1, 5]}
    assert "class weights cancel" in computed(run, one)["warnings"][0]
    assert computed(run, one)["loss"] == computed(run, one | {"class_weights": [1, 1]})["loss"]
    assert computed(run, one, "--reduction", "sum")["warnings"] == []
    assert computed(run, SMALL | {"class_weights": [1, 5]})["warnings"] == []


def test_labels_are_indices_names_or_targets_alike(run: Run, tmp_path: Path) -> None:
    named = SMALL | {"classes": ["no", "yes"]}
    expected = computed(run, named)
    (tmp_path / "column.csv").write_text("answer\nno\nyes\nyes\n")
    (tmp_path / "indices.csv").write_text("label\n0\n1\n1\n")
    (tmp_path / "row.csv").write_text("no,yes,yes\n")
    (tmp_path / "list.json").write_text('["no", 1, "yes"]')
    np.save(tmp_path / "labels.npy", np.array([0, 1, 1]))
    np.savez(tmp_path / "labels.npz", label=np.array(["no", "yes", "yes"]))
    del named["label"]
    for name in ("indices.csv", "row.csv", "list.json", "labels.npy", "labels.npz", "labels.npz:label"):
        assert computed(run, named, "--labels", str(tmp_path / name)) == expected, name
    # One line more than x has rows.
    assert computed(run, named, "--labels", str(tmp_path / "column.csv")) == expected
    (tmp_path / "wrong.csv").write_text("maybe\nno\nyes\n")
    wrong = refused(run, named, "--labels", str(tmp_path / "wrong.csv"))
    assert "label 'maybe' is not one of the classes" in wrong
    assert computed(run, named, "-y", '["no", "yes", 1]') == expected
    targets = computed(run, named, "-y", "[[1, 0], [0, 1], [0, 1]]")
    (tmp_path / "targets.csv").write_text("no,yes\n1,0\n0,1\n0,1\n")
    assert computed(run, named, "--labels", str(tmp_path / "targets.csv")) == targets
    assert targets["loss"] == expected["loss"]
    assert "-y and --labels both give the labels" in refused(run, named, "-y", "0", "--labels", "x.csv")


def test_one_row_in_two_dimensions_is_a_batch_and_keeps_its_axis(run: Run) -> None:
    row = computed(run, SMALL | {"x": [[1, 2]], "label": [0]}, "--with-respect-to", "W,x,logits")
    vector = computed(run, SMALL | {"x": [1, 2], "label": 0}, "--with-respect-to", "W,x,logits")
    assert row["probabilities"] == [vector["probabilities"]]
    assert row["gradients"]["x"] == [vector["gradients"]["x"]]
    assert row["gradients"]["logits"] == [vector["gradients"]["logits"]]
    assert row["gradient"] == vector["gradient"]


@pytest.mark.parametrize("transpose", [False, True])
def test_every_gradient_is_what_mpmath_finds(run: Run, transpose: bool) -> None:
    problem = read(BATCH)
    wanted = truth(problem)
    stated = json.loads(Path(BATCH).read_text())
    if transpose:
        stated |= {"W": np.transpose(stated["W"]).tolist(), "transpose": True}
    result = computed(run, stated, "--with-respect-to", "W,b,x,logits")
    for symbol, name in (("W", "weights"), ("b", "bias"), ("x", "inputs"), ("logits", "logits")):
        expected = np.array(wanted[name], dtype=object).astype(np.float64)  # mpmath rounds to nearest
        if symbol == "W" and transpose:
            expected = expected.T
        assert result["gradients"][symbol] == expected.tolist(), symbol
    assert result["verdict"] == "agree-right"


def test_the_gradients_by_default_are_those_of_w_and_of_b_where_there_is_one(run: Run) -> None:
    assert list(computed(run, SMALL)["gradients"]) == ["W"]
    assert list(computed(run, SMALL | {"b": [0, 1]})["gradients"]) == ["W", "b"]
    only = computed(run, SMALL, "--with-respect-to", "logits,x")
    assert list(only["gradients"]) == ["x", "logits"]
    assert "gradient" not in only


def test_float32_is_computed_in_float32_and_judged_against_what_was_stated(run: Run) -> None:
    single = computed(run, SMALL, "--dtype", "float32", "--exact")
    assert single["exact"] == computed(run, SMALL)["exact"]
    shortcut = np.array(single["shortcut"]["gradient"])
    assert np.array_equal(shortcut, shortcut.astype(np.float32))
    assert single["shortcut"]["correct_digits"] < 12
    assert single["verdict"] == "agree-right"
    assert run("verify", "-", "--dtype", "float32", stdin=json.dumps(SMALL)).status == 0


def test_a_data_set_names_its_classes_in_sorted_order_whatever_the_order_of_its_rows(
    run: Run, tmp_path: Path
) -> None:
    header, *rows = Path("sample_inputs/iris.csv").read_text().splitlines()
    (tmp_path / "shuffled.csv").write_text("\n".join([header, *reversed(rows)]) + "\n")
    options = ("-W", "[[1,0,0],[0,0,2],[0,0,0],[0,1,0]]", "--label-column", "species", "--json")
    first = json.loads(run("compute", "-x", "sample_inputs/iris.csv", *options).out)
    second = json.loads(run("compute", "-x", str(tmp_path / "shuffled.csv"), *options).out)
    assert first["classes"] == second["classes"] == ["setosa", "versicolor", "virginica"]
    assert first["loss"] == second["loss"]
    assert first["gradient"] == second["gradient"]


def test_a_data_set_takes_the_columns_of_numbers_and_says_what_it_leaves_out(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "data.csv").write_text("name,a,kind,b\nann,1,no,2\nbob,3,yes,-1\n")
    options = ("-W", "[[1,2],[3,4]]", "--label-column", "kind")
    outcome = run("compute", "-x", str(tmp_path / "data.csv"), *options, "--json")
    assert "x is a, b; left out, since not numbers: name" in outcome.err
    assert json.loads(outcome.out)["classes"] == ["no", "yes"]
    (tmp_path / "gap.csv").write_text("a,kind\n1,no\n,yes\n")
    gap = run("compute", "-x", str(tmp_path / "gap.csv"), "-W", "[[1,2]]", "--label-column", "kind")
    assert "line 3, column 1 is empty in a, a column of numbers" in gap.err
    near = run("compute", "-x", str(tmp_path / "data.csv"), "-W", "[[1,2],[3,4]]", "--label-column", "kinds")
    assert "did you mean kind?" in near.err
    for text, said in (
        ("a,kind\n", "there are no rows below the header"),
        ("a,kind\nlong,no\nwide,yes\n", "no column holds numbers alone"),
        ("a,kind\n1,no\n2,\n", "line 3, column 2 is empty; a label is expected"),
    ):
        (tmp_path / "none.csv").write_text(text)
        none = run("compute", "-x", str(tmp_path / "none.csv"), *options)
        assert none.status == 2
        assert said in none.err


def test_a_saved_w_decides_the_order_of_the_classes(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("a,kind\n1,no\n3,yes\n")
    (tmp_path / "W.csv").write_text("yes,no,maybe\n1,2,0\n")
    options = ("-x", str(tmp_path / "data.csv"), "--label-column", "kind", "--json")
    saved = json.loads(run("compute", "-W", str(tmp_path / "W.csv"), *options).out)
    assert saved["classes"] == ["yes", "no", "maybe"]
    named = json.loads(run("compute", "-W", "[[1,2,0]]", *options, "--classes", "yes,no,maybe").out)
    assert named["gradient"] == saved["gradient"]
    unnamed = run("compute", "-W", "[[1,2,0]]", *options)
    assert unnamed.status == 2
    assert "the labels name 2 classes (no, yes), but W has 3" in unnamed.err


def test_the_names_of_the_inputs_are_kept_from_the_header_to_the_saved_problem(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "data.csv").write_text("width,petal \x1b[31m,kind\n1,2,no\n3,-1,yes\n")
    options = ("-x", str(tmp_path / "data.csv"), "--label-column", "kind", "-W", "[[1,2],[3,4]]")
    names = ["width", "petal \x1b[31m"]
    assert json.loads(run("compute", *options, "--json").out)["input_names"] == names
    for command in ("compute", "explain"):
        shown = run(command, *options).out
        assert "petal \\u001b[31m" in shown
        assert "\x1b" not in shown
        assert "input 0" not in shown
    judged = run("verify", *options, "--gradient", "[[9,9],[9,9]]").out
    assert "W[width, class no]" in judged
    saved = json.loads(run("descend", *options, "--save", "-").out)
    assert saved["input_names"] == names
    assert "input_names" not in json.loads(run("sample").out)


def test_the_rows_that_lose_most_come_first(run: Run) -> None:
    files = (
        "-x",
        "sample_inputs/iris.csv",
        "-W",
        "sample_inputs/iris_W.csv",
        "-b",
        "sample_inputs/iris_b.csv",
    )
    out = run("compute", *files, "--label-column", "species", "--top", "5").out
    below = out.partition("lose most, of 150:\n")[2].splitlines()[1:6]
    losses = [float(line.split()[-1]) for line in below]
    assert losses == sorted(losses, reverse=True)
    assert len({*losses}) > 1


def test_inputs_that_a_header_does_not_tell_apart_have_no_names(run: Run, tmp_path: Path) -> None:
    for header in ("a,a", "b,"):
        (tmp_path / "data.csv").write_text(f"{header},kind\n1,2,no\n3,-1,yes\n")
        options = ("-x", str(tmp_path / "data.csv"), "--label-column", "kind", "-W", "[[1,2],[3,4]]")
        assert "input_names" not in json.loads(run("compute", *options, "--json").out)
    wrong = run("compute", *options, "--input-names", "a,b,c")
    assert wrong.status == 2
    assert "3 input names for 2 inputs" in wrong.err


def test_the_header_of_rows_names_the_inputs_and_so_does_that_of_a_w_that_is_transposed(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "x.csv").write_text("wide,long\n1,2\n3,4\n")
    (tmp_path / "W.csv").write_text("wide,long\n1,2\n3,4\n0,1\n")
    for options in (
        ("-x", str(tmp_path / "x.csv"), "-W", "[[1,2],[3,4]]", "-y", "[0,1]"),
        ("-x", "1,2", "-W", str(tmp_path / "W.csv"), "-y", "0", "--transpose"),
    ):
        assert json.loads(run("compute", *options, "--json").out)["input_names"] == ["wide", "long"]


def test_a_candidate_of_a_batch_has_the_rows_of_the_batch(run: Run) -> None:
    problem = read(BATCH)
    names = ("weights", "bias", "inputs", "logits")
    exact = METHODS["exact"].evaluate(problem, names)
    for symbol, name in (("W", "weights"), ("b", "bias"), ("x", "inputs"), ("logits", "logits")):
        right = exact.gradients[name]
        arguments = ("verify", BATCH, "--with-respect-to", symbol, "--gradient")
        assert run(*arguments, json.dumps(right.tolist()), "-q").status == 0, symbol
        wrong = right.copy()
        wrong[..., 0] *= 2
        outcome: Outcome = run(*arguments, json.dumps(wrong.tolist()))
        assert outcome.status == 1, symbol


def test_the_library_computes_what_the_command_does(run: Run) -> None:
    together = compute(read(BATCH))
    result = json.loads(run("compute", BATCH, "--json").out)
    assert together.verdict == result["verdict"] == "agree-right"
    assert together.reported.gradients["weights"].tolist() == result["gradient"]
    assert list(together.comparisons) == ["weights", "bias"]


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_the_view_of_a_batch_is_the_golden_one(
    run: Run, golden: Any, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    outcome = run("compute", BATCH, "--with-respect-to", "W,b,x", "--no-exact", "--digits", "6")
    assert all(len(line) <= columns for line in outcome.out.splitlines())
    golden(f"compute-batch-{columns}", outcome.out)


def test_a_class_may_be_called_as_a_header_is(run: Run, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("y\nn\ny\n")
    stated = SMALL | {"classes": ["n", "y"]}
    del stated["label"]
    expected = computed(run, stated | {"label": [1, 0, 1]})
    assert computed(run, stated, "--labels", str(tmp_path / "labels.csv")) == expected


def test_numbers_of_numpy_are_options_too() -> None:
    from xegrad import Targets

    options: dict[str, Any] = {"label_smoothing": np.float32(0.5), "ignore_index": np.int64(7)}
    targets = Targets(labels=np.array([0]), **options)
    assert targets.fractions(2) == Targets(labels=np.array([0]), label_smoothing=0.5).fractions(2)


def test_a_label_that_is_missing_is_no_class(run: Run, tmp_path: Path) -> None:
    (tmp_path / "gap.csv").write_text("a,kind\n1,no\n2,\n")
    gap = run("compute", "-x", str(tmp_path / "gap.csv"), "-W", "[[1,2]]", "--label-column", "kind")
    assert gap.status == 2
    assert "line 3, column 2 is empty; a label is expected" in gap.err
    (tmp_path / "semicolons.csv").write_text("a;kind\n1;no\n")
    other = run("compute", "-x", str(tmp_path / "semicolons.csv"), "-W", "[[1,2]]", "--label-column", "kind")
    assert "found cells separated by semicolons; commas are expected" in other.err
    assert "class 1 has no name" in refused(run, SMALL, "--classes", "no,")


@pytest.mark.parametrize("columns", [60, 80])
def test_long_names_give_way_and_stay_apart(run: Run, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    names = [f"a rather long name of a class, number {index}" for index in range(12)]
    stated = {
        "W": [[0.1 * index for index in range(12)]],
        "x": [[1], [3]],
        "label": [0, 11],
        "classes": names,
    }
    shown = run("compute", "-", "--no-exact", "--entries", stdin=json.dumps(stated)).out
    assert all(len(line) <= columns for line in shown.splitlines())
    assert "row" in shown
    assert (
        len({line.split()[1] for line in shown.splitlines() if " a rather" in line and "rounding" in line})
        > 1
    )


def test_class_weights_whose_sum_is_beyond_floats_are_no_trouble(run: Run) -> None:
    outcome = run("compute", "-", "--class-weights", "1e308,1e308", stdin=json.dumps(SMALL))
    assert outcome.status == 0
    assert "weights sum to more than float64 holds" in " ".join(outcome.out.split())
