"""compute, verify and descend of a data set, and streams that are answered into a folder, as from a shell."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import validate

from conftest import Outcome, Run, one_line
from xegrad import Problem, Targets, progress
from xegrad.cli import stream
from xegrad.display.full_batch import _rows
from xegrad.methods import METHODS

pytest.importorskip("threadpoolctl")

N_ROWS, N_INPUTS, N_CLASSES = 900, 4, 3

Call = Callable[..., Outcome]


class Files:
    """Rows in three tables of NPY, the label in the last column, and a layer."""

    def __init__(self, folder: Path) -> None:
        random = np.random.default_rng(3)
        self.folder = folder
        self.W, self.b = random.normal(size=(N_INPUTS, N_CLASSES)), random.normal(size=N_CLASSES)
        self.X, self.y = random.normal(size=(N_ROWS, N_INPUTS)), random.integers(0, N_CLASSES, N_ROWS)
        self.write()

    def write(self) -> None:
        np.save(self.folder / "W.npy", self.W)
        np.save(self.folder / "b.npy", self.b)
        for k, rows in enumerate(np.array_split(np.column_stack([self.X, self.y]), 3)):
            np.save(self.folder / f"part-{k}.npy", rows)

    @property
    def exact(self) -> Any:
        problem = Problem(self.W, self.X, Targets(self.y), self.b)
        return METHODS["exact"].evaluate(problem, ("weights", "bias"))

    @property
    def arguments(self) -> list[str]:
        of_layer = ["-W", str(self.folder / "W.npy"), "-b", str(self.folder / "b.npy")]
        return [*of_layer, "-x", str(self.folder / "part-*.npy"), "--label-column", "-1"]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture
def call(run: Run, files: Files) -> Call:
    def of_data_set(command: str, *options: Any) -> Outcome:
        return run(command, *files.arguments, *options)

    return of_data_set


def schema(run: Run, name: str) -> Any:
    return json.loads(run("schema", name).out)


def test_compute_prints_the_loss_and_the_gradients_of_all_rows(call: Call, run: Run, files: Files) -> None:
    outcome = call("compute", "--json")
    assert (outcome.status, outcome.err) == (0, "")
    result = json.loads(outcome.out)
    validate(result, schema(run, "data-set"))
    exact = files.exact
    assert result["loss"] == pytest.approx(exact.loss, rel=1e-14)
    np.testing.assert_allclose(result["gradient"], exact.gradients["weights"], rtol=1e-12)
    np.testing.assert_allclose(result["gradients"]["b"], exact.gradients["bias"], rtol=1e-12)
    facts = {
        "rows": N_ROWS,
        "blocks": 1,
        "engine": "local",
        "files": sorted(map(str, files.folder.glob("part*"))),
    }
    assert facts.items() <= result.items()
    assert {"numpy", "blas", "kernel", "cpu_features"} <= result["fingerprint"].keys()
    assert "workers" not in result and "bad_rows" not in result


def test_the_table_says_what_was_read_and_how(call: Call) -> None:
    text = one_line(call("compute"))
    assert f"mean over {N_ROWS} rows." in text
    assert f"{N_ROWS} rows in 1 block of 65,536, by the engine local. 3 files, from" in text
    assert _rows(1) == "1 row" and _rows(0) == "0 rows" and _rows(1_000_000) == "1,000,000 rows"
    assert "W 4 inputs x 3 classes" in text and "dL/db" in text and ">" not in text


def test_a_gradient_goes_to_a_file_and_is_judged(call: Call, files: Files) -> None:
    path = files.folder / "g.npy"
    assert call("compute", "-o", path).status == 0
    outcome = call("verify", "--gradient", path, "--loss", float(files.exact.loss), "--exact-rows", "20")
    assert outcome.status == 0, outcome.out
    text = one_line(outcome)
    assert "RIGHT: dL/dW is correct for float64." in text and "RIGHT: the loss is correct" in text
    assert "passed dL/dlogits of 20 rows, evenly spaced" in text
    assert "would have been caught" in text
    np.save(path, np.load(path) * (1 + 1e-9))
    outcome = call("verify", "--gradient", path)
    assert outcome.status == 1 and "WRONG: dL/dW is wrong for float64 in all 12 entries" in one_line(outcome)


@pytest.mark.parametrize("in_order", [True, False])
def test_a_gradient_of_another_shape_is_wrong_whatever_its_numbers_are(
    call: Call, files: Files, in_order: bool
) -> None:
    path, G = files.folder / "g.npy", files.exact.gradients["weights"]
    np.save(path, G.reshape(G.T.shape) if in_order else G.T)
    outcome = call("verify", "--gradient", path)
    assert outcome.status == 1
    assert one_line(outcome).startswith("✗ WRONG: the gradient has another shape than it should have")
    assert not json.loads(call("verify", "--gradient", path, "--json").out)["verified"]
    np.save(path, G.ravel())
    assert call("verify", "--gradient", path).status == 0


@pytest.mark.parametrize("options", [[], ["--exact"], ["--reduction", "sum"], ["--dtype", "float32"]])
def test_an_input_that_is_0_in_all_rows_leaves_nothing_open(
    call: Call, files: Files, options: list[str]
) -> None:
    files.X[:, 1] = 0  # as a pixel at the edge of an image: its gradient is exactly 0
    files.write()
    path = files.folder / "g.npy"
    G = files.exact.gradients["weights"] * (N_ROWS if "sum" in options else 1)
    np.save(path, G.astype(np.float32) if "float32" in options else G)
    outcome = call("verify", "--gradient", path, *options)
    assert outcome.status == 0 and "RIGHT: dL/dW is correct" in one_line(outcome)
    G[1, 0] = 1e-300
    np.save(path, G)
    assert "in 1 of 12 entries, W[input 1, class 0]" in one_line(
        call("verify", "--gradient", path, *options[:2])
    )


def test_the_mean_of_weights_whose_sum_overflows_is_refused(run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", [[1.0, 1e308, 0], [2.0, 1e308, 1]])
    asked = [
        "-W",
        "[[1, 2]]",
        "-x",
        str(tmp_path / "rows.npy"),
        "--label-column",
        "2",
        "--weight-column",
        "1",
    ]
    for command in (["compute"], ["descend"], ["verify", "--gradient", "[[0, 0]]"]):
        outcome = run(*command, *asked)
        assert outcome.status == 2 and "the weights of the rows add up to more than" in outcome.err


@pytest.mark.parametrize(
    ("weight", "dtype", "sentence"),
    [
        (5e-324, "float64", "add up to 9.9e-324, and float64 loses digits below 2.2e-308; multiply"),
        (1e-45, "float32", "add up to 2e-45, and float32 loses digits below 1.2e-38; multiply"),
        (1e39, "float32", "add up to more than float32 holds; divide"),
        (1e-300, "float64", ""),
        (1e-30, "float32", ""),
    ],
)
def test_the_mean_of_weights_that_lose_digits_is_refused(
    run: Run, tmp_path: Path, weight: float, dtype: str, sentence: str
) -> None:
    np.save(tmp_path / "rows.npy", [[1.0, weight, 0], [2.0, weight, 1]])
    asked = ["-W", "[[1, 2]]", "-x", tmp_path / "rows.npy", "--label-column", "2", "--weight-column", "1"]
    outcome = run("compute", *asked, "--dtype", dtype, "--json")
    assert outcome.status == (2 if sentence else 0) and sentence in outcome.err
    if not sentence:  # Z = (1, 2) and (2, 4), of which the losses are log(1 + e) and log(1 + 1/e^2)
        loss = (math.log1p(math.e) + np.log1p(np.exp(-2))) / 2
        assert json.loads(outcome.out)["loss"] == pytest.approx(
            loss, rel=1e-6 if dtype == "float32" else 1e-14
        )


def test_sums_that_overflow_are_told_and_judge_nothing(run: Run, tmp_path: Path) -> None:
    # All S are 1/2, so each row adds x / 2 to one class and takes it from the other: the mean is 1e308 / 2.
    np.save(tmp_path / "rows.npy", [[1e308, 1.0, 0]] * 8)
    asked = ["-W", "[[0, 0], [0, 0]]", "-x", tmp_path / "rows.npy", "--label-column", "2"]
    outcome = run("compute", *asked)
    assert outcome.status == 0
    assert outcome.err == (
        "xegrad: warning: 2 of 4 entries of dL/dW are not finite: a logit, or a sum over the rows before the mean "
        "divides it, is beyond the largest number of float64; make W or x smaller\n"
    )
    outcome = run("verify", *asked, "--gradient", "[[-5e307, 5e307], [-0.5, 0.5]]")
    text = one_line(outcome)
    assert outcome.status == 1 and "agree" not in text
    assert (
        "UNDECIDED: cannot tell, because xegrad has no bound on its own sum over the rows for 2 of 4" in text
    )
    outcome = run("verify", *asked, "--gradient", "[[-5e307, 5e307], [-0.5, 0.6]]")
    assert "in 1 of 4 entries" in one_line(outcome)
    outcome = run("compute", *asked, "--dtype", "float32")
    assert outcome.status == 2 and "x has a number that is larger than float32 holds" in outcome.err


def test_a_path_is_named_in_json_whatever_its_bytes_are(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "rows\udcff.npy"
    try:
        np.save(path, [[1.0, 0]])
    except (OSError, UnicodeError):
        pytest.skip("names of files are Unicode here")
    outcome = run("compute", "-W", "[[1, 2]]", "-x", str(path), "--label-column", "1", "--json")
    assert outcome.status == 0
    assert json.loads(outcome.out)["files"] == [f"{tmp_path}/rows\\udcff.npy"]


def test_the_name_of_a_column_may_be_empty(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "rows.ndjson"
    path.write_text('{"": 1, "x": 1, "label": 0}\n')
    asked = ["-W", "[[0, 1]]", "-x", str(path), "--columns", "x", "--json"]
    # Z = (0, 1): the loss of class 1 is log(1 + 1/e), and that of class 0 is larger by 1.
    losses = [
        json.loads(run("compute", *asked, *label).out)["loss"] for label in (["--label-column", ""], [])
    ]
    assert losses == pytest.approx([np.log1p(np.exp(-1)), 1 + np.log1p(np.exp(-1))], rel=1e-14)


def test_names_with_commas_and_blanks_are_given_as_a_json_list(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "rows.ndjson"
    path.write_text('{"a, b": 1, " c ": 2, "d": 3, "label": "x, y"}\n')
    asked = ["-W", "[[0, 1], [0, 0]]", "-x", str(path), "--classes", '["x, y", "z"]', "--json"]
    outcome = run("compute", *asked, "--columns", '["a, b", " c "]')
    # Z = (0, 1): the loss of class 0 is log(1 + e).
    assert json.loads(outcome.out)["loss"] == pytest.approx(math.log1p(math.e), rel=1e-14)
    outcome = run("compute", *asked, "--columns", "d", "--columns", '[" c "]')
    assert json.loads(outcome.out)["loss"] == pytest.approx(1 * np.log1p(np.exp(3)), rel=1e-14)
    outcome = run("compute", *asked, "--columns", "[d, c]")  # no JSON
    assert outcome.status == 2 and 'has no column "[d"' in outcome.err.replace("'", '"')


def test_a_path_that_is_empty_is_no_folder(run: Run) -> None:
    outcome = run("compute", "-W", "[[1, 2]]", "-x", "", "--label-column", "1", "--engine", "local")
    assert outcome.status == 2 and "the path of a file is empty" in outcome.err


def test_numbers_as_large_as_floats_are_shown(call: Call, files: Files) -> None:
    path = files.folder / "g.npy"
    np.save(path, files.exact.gradients["weights"] * 1e300)
    outcome = call("verify", "--gradient", path)
    assert outcome.status == 1 and "WRONG: dL/dW is wrong for float64 in all 12 entries" in one_line(outcome)


def test_bare_numbers_are_judged(call: Call, files: Files) -> None:
    path, G = files.folder / "g.bin", files.exact.gradients["weights"]
    for dtype in ("float64", "float32"):
        G.astype(np.dtype(dtype).newbyteorder("<")).tofile(path)
        outcome = call("verify", "--gradient", path, "--input-format", f"raw:{dtype}")
        assert outcome.status == 0 and f"RIGHT: dL/dW is correct for {dtype}" in one_line(outcome)


def test_verify_prints_json(call: Call, run: Run, files: Files) -> None:
    path = files.folder / "g.npy"
    np.save(path, files.exact.gradients["weights"])
    outcome = call("verify", "--gradient", path, "--json", "--exact-rows", "2")
    result = json.loads(outcome.out)
    validate(result, schema(run, "verify"))
    assert result["verified"] and result["candidate"]["outcome"] == "right"
    assert result["rows"] == N_ROWS and result["engine"] == "local"
    assert result["checks"][0]["name"] == "dL/dlogits of 2 rows, evenly spaced"


@pytest.mark.parametrize(
    ("command", "what"),
    [
        (["compute"], f"{N_ROWS} rows take"),
        (["verify", "--loss", "1"], f"{N_ROWS} rows take"),
        (["descend", "--steps", "3"], f"3 steps of {N_ROWS} rows take"),
    ],
)
def test_what_takes_long_is_said_before_it_begins(
    call: Call, monkeypatch: pytest.MonkeyPatch, command: list[str], what: str
) -> None:
    assert "by estimate" not in call(*command).err
    monkeypatch.setattr(progress, "LONG", 0.0)
    said = f"xegrad: {what} less than 1 s by estimate; --workers N shares them among processes\n"
    assert call(*command).err.startswith(said)


def test_what_nobody_can_tell_is_undecided(call: Call, files: Files) -> None:
    # Rows that cancel: the sum of 900 products in float32, in any order, may be off by more than the gradient.
    files.X[1::2], files.y[1::2] = -files.X[::2], files.y[::2]
    files.W *= 1e-9
    files.b *= 0
    files.write()
    path = files.folder / "g.npy"
    np.save(path, files.exact.gradients["weights"])
    outcome = call("verify", "--gradient", path, "--dtype", "float32")
    assert outcome.status == 1
    text = one_line(outcome)
    assert (
        "UNDECIDED: cannot tell at this size, because the bound of a sum of 900 rows in any order exceeds 12"
        in text
    )
    assert "--summation pairwise or blocked=N narrows it" in text and "RIGHT" not in text
    assert call("verify", "--gradient", path).status == 0


def test_a_gradient_in_half_precision_was_computed_in_float32(call: Call, files: Files) -> None:
    path = files.folder / "g.npy"
    np.save(path, files.exact.gradients["weights"].astype(np.float16))
    outcome = call("verify", "--gradient", path, "--dtype", "float16")
    assert outcome.status == 0 and "correct for float32 stored as float16" in one_line(outcome)


@pytest.mark.parametrize("command", ["compute", "descend"])
def test_nothing_is_said_of_the_labels_before_they_are_read(call: Call, command: str) -> None:
    outcome = call(command, "--class-weights", "1,2,3")  # of labels that are not all one class
    assert (outcome.status, outcome.err) == (0, "")


def test_descend_saves_the_layer_alone(call: Call, run: Run, files: Files) -> None:
    saved = files.folder / "new.json"
    outcome = call("descend", "--steps", "3", "--save", saved, "--json")
    assert outcome.status == 0
    result = json.loads(outcome.out)
    validate(result, schema(run, "descend"))
    assert (
        result["losses"][0] == pytest.approx(files.exact.loss) and result["losses"][-1] < result["losses"][0]
    )
    assert result["right_before"] is None and result["rows"] == N_ROWS
    assert json.loads(saved.read_text()).keys() == {"W", "b"}
    after = run("compute", saved, *files.arguments[4:], "--json")
    assert json.loads(after.out)["loss"] == pytest.approx(result["loss_after"], rel=1e-12)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--label-column", "9"], "has no column '9'"),
        (["--columns", "0,1"], "x has 2 entries in each row but W has 4 rows"),
        (["--columns", "3,1"], "W is read as (inputs, classes). x is 3, 1; --columns says what it is"),
        (["-y", "1"], "the labels of a data set are a column of its files; --label-column names it"),
        (["--with-respect-to", "x"], "dL/dx has a row for each of 900 rows"),
        (["--reduction", "none"], "the reduction none has a loss for each row"),
        (["--engine", "local", "--workers", "2"], "--engine local is one process; --workers is for dask"),
        (["--engine", "sparc"], "there is no engine 'sparc'"),
        (["--workers", "2", "--scheduler", "tcp://a:1"], "give one"),
        (["--columns", "[]"], "the inputs are no columns; name one at least"),
        (["-x", "none-*.npy"], "none-*.npy: no file matches"),
        (["--method", "chain,shortcut"], "--method chain,shortcut is of a problem in memory"),
        (["--exact"], "--exact is of a problem in memory; a data set is computed by the shortcut"),
        (["--time"], "--time is of a problem in memory"),
    ],
)
def test_what_makes_no_sense_is_said_in_a_line(call: Call, options: list[str], sentence: str) -> None:
    outcome = call("compute", *options)
    assert outcome.status == 2 and outcome.out == "" and outcome.err.count("\n") == 1
    assert sentence in outcome.err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "of a data set a gradient or a loss is judged"),
        (["--loss", "1", "--confidence", "1e-9"], "xegrad: of a data set there is no bound for a confidence"),
        (["--gradient", "[1]", "--with-respect-to", "x"], "of a data set the gradients are those of W and b"),
        (
            ["--gradient", '{"gradients": {"x": [[1, 2, 3, 4]]}}'],
            "gradients.x has a row for each example; of a data set the gradients are those of W and b",
        ),
        (
            ["--gradient", '{"gradient": [[1, 2, 3]], "with_respect_to": "logits"}'],
            "gradient of logits has a row for each example",
        ),
        (["--gradient", '{"probabilities": [[1]], "loss": 1}'], "and no probabilities; leave them out"),
        (["--loss", "1", "--dtype", "auto"], "--dtype auto is of a problem in memory"),
        (["--loss", "1", "--inputs-as", "bfloat16"], "of a data set there is no bound for mixed precision"),
        (["--gradient", "[[1, 2]]"], "the gradient is 1 x 2, but 4 x 3 is expected"),
    ],
)
def test_what_cannot_be_judged_is_said_in_a_line(call: Call, options: list[str], sentence: str) -> None:
    outcome = call("verify", *options)
    assert outcome.status == 2 and outcome.out == "" and outcome.err.count("\n") == 1
    assert sentence in outcome.err


def test_what_to_install_for_workers_is_said(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    for options in (("--engine", "dask"), ("--workers", "2"), ("--scheduler", "tcp://127.0.0.1:9")):
        outcome = call("compute", *options, "-o", tmp_path / "G.npy")
        told = "xegrad: the engine dask needs distributed: pip install 'xegrad[dask]'\n"
        assert outcome == (2, "", told)
    assert not (tmp_path / "G.npy").exists()


def test_options_of_data_sets_need_one(run: Run) -> None:
    outcome = run("compute", "sample_inputs/seed.json", "--workers", "2")
    assert outcome.status == 2 and "--workers is about a data set; give its files with -x" in outcome.err
    outcome = run("verify", "sample_inputs/seed.json", "--exact-rows", "2")
    assert outcome.status == 2 and "--exact-rows is about a data set" in outcome.err
    outcome = run("explain", "-W", "[[1]]", "-x", "a.npy", "-x", "b.npy")
    assert outcome.status == 2 and "is for compute, verify and descend" in outcome.err


def test_a_file_with_its_labels_is_a_data_set_or_refused(run: Run, files: Files) -> None:
    one = str(files.folder / "part-0.npy")
    options = ("-W", str(files.folder / "W.npy"), "--label-column", "-1")
    assert json.loads(run("compute", "-x", one, *options, "--json").out)["rows"] == N_ROWS // 3
    outcome = run("explain", "-x", one, *options)
    assert outcome.status == 2 and "is for compute, verify and descend" in outcome.err
    archive = str(files.folder / "rows.npz")
    np.savez(archive, x=files.X)
    outcome = run("compute", "-x", archive, *options)
    assert outcome.status == 2 and "this is NPZ; a data set in CSV is expected" in outcome.err


def test_what_is_of_files_read_whole_is_refused(call: Call, run: Run) -> None:
    outcome = call("compute", "--input-format", "csv")
    assert outcome.status == 2 and "--input-format is of files read whole" in outcome.err
    outcome = run("compute", "-W", "[[1]]", "-x", "-", "--columns", "a")
    assert outcome.status == 2 and "-x -: a data set is read from files" in outcome.err
    outcome = call("compute", "--scheduler", "tcp://127.0.0.1:9", "--max-memory", "1GB")
    assert outcome.status == 2 and "--max-memory is of this machine" in outcome.err


def test_a_layer_that_does_not_fit_is_told_in_its_own_layout(call: Call, files: Files) -> None:
    np.save(files.folder / "W.npy", files.W[:-1].T)
    outcome = call("compute", "--transpose")
    assert outcome.status == 2
    assert (
        "x has 4 entries in each row but W has 3 columns; W is read as (classes, inputs). x is 0, 1, 2, 3;"
        in outcome.err
    )


def test_what_compute_prints_of_a_data_set_is_judged(call: Call, files: Files) -> None:
    path = files.folder / "ours.json"
    path.write_text(call("compute", "--json").out)
    assert call("verify", "--gradient", path).status == 0


def test_a_pattern_that_the_shell_has_taken_is_told(run: Run) -> None:
    outcome = run("compute", "-W", "[[1]]", "-x", "a.parquet", "b.parquet")
    assert outcome.status == 2
    assert "b.parquet holds rows, and no problem: put a pattern in quotes, as -x '*.parquet'" in outcome.err


def test_a_row_that_cannot_be_read_is_named_or_counted(call: Call, files: Files) -> None:
    path = files.folder / "part-1.npy"
    rows = np.load(path)
    rows[7, 2], rows[9, -1] = np.nan, N_CLASSES
    np.save(path, rows)
    outcome = call("compute", "--json")
    assert outcome.status == 2 and outcome.out == ""
    assert (
        "part-1.npy: row 8: 2 is NaN; every number must be finite; --skip-bad leaves such rows out"
        in outcome.err
    )
    outcome = call("compute", "--json", "--skip-bad")
    assert outcome.status == 0
    result = json.loads(outcome.out)
    assert (result["rows"], result["bad_rows"]) == (N_ROWS - 2, 2)
    bad = [N_ROWS // 3 + 7, N_ROWS // 3 + 9]
    X, y = np.delete(files.X, bad, axis=0), np.delete(files.y, bad)
    exact = METHODS["exact"].evaluate(Problem(files.W, X, Targets(y), files.b))
    assert result["loss"] == pytest.approx(exact.loss, rel=1e-14)
    table = call("compute", "--skip-bad")
    assert "2 rows of 900 cannot be read and were left out" in table.err
    assert call("verify", "--loss", float(exact.loss), "--skip-bad").status == 0
    assert "2 rows of 900 cannot be read and were left out" in call("descend", "--skip-bad").err


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("command", ["compute", "verify", "descend"])
def test_a_data_set_of_which_no_row_can_be_read_is_refused(
    run: Run, command: str, reduction: str, tmp_path: Path
) -> None:
    np.save(tmp_path / "rows.npy", [[1.0, 7], [np.nan, 0]])  # a label that is no class, and what is no input
    claim = ["--gradient", "[[0, 0]]"] if command == "verify" else []
    asked = ["-W", "[[1, 2]]", "-x", str(tmp_path / "rows.npy"), "--label-column", "1", "--skip-bad"]
    outcome = run(command, *asked, "--reduction", reduction, *claim)
    assert (outcome.status, outcome.out) == (2, "")
    assert "no row of the data set is left: 2 rows cannot be read" in outcome.err


def test_nothing_is_written_over_a_file_of_the_data_set(call: Call, files: Files) -> None:
    before = (files.folder / "part-1.npy").read_bytes()
    (files.folder / "link.json").symlink_to(files.folder / "part-1.npy")
    for command, option, name in [("compute", "-o", "part-1.npy"), ("descend", "--save", "link.json")]:
        outcome = call(command, option, files.folder / name)
        assert outcome.status == 2 and "which is read; give it another name" in outcome.err
        assert (files.folder / "part-1.npy").read_bytes() == before


STREAMS = {"a.ndjson": 3, "b.ndjson": 2}


@pytest.fixture
def streams(tmp_path: Path, run: Run) -> list[str]:
    line = run("sample", "--json").out
    for name, n_lines in STREAMS.items():
        (tmp_path / name).write_text(line * n_lines)
    return [str(tmp_path / name) for name in STREAMS]


def test_streams_are_answered_into_a_folder(run: Run, streams: list[str], tmp_path: Path) -> None:
    (folder := tmp_path / "out").mkdir()
    outcome = run("compute", *streams, "-o", folder)
    assert (outcome.status, outcome.out) == (0, "") and "5 lines: 5 done, 0 bad" in outcome.err
    assert {path.name for path in folder.iterdir()} == STREAMS.keys()
    together = b"".join((folder / name).read_bytes() for name in STREAMS)
    assert together.decode() == run("compute", *streams).out


def test_an_interruption_says_how_many_streams_are_answered(
    run: Run,
    streams: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    in_order = stream.in_order

    def interrupted(command: str, path: str, *arguments: Any, **options: Any) -> Any:
        if path == streams[1]:
            raise KeyboardInterrupt
        return in_order(command, path, *arguments, **options)

    monkeypatch.setattr(stream, "in_order", interrupted)
    (folder := tmp_path / "out").mkdir()
    outcome = run("compute", *streams, "-o", folder)
    assert outcome.status == 130
    assert outcome.err == "xegrad: interrupted: 1 of 2 files answered; 3 lines: 3 done, 0 bad\n"
    assert [path.name for path in folder.iterdir()] == ["a.ndjson"]


def test_a_stream_that_cannot_be_read_leaves_no_answer(run: Run, streams: list[str], tmp_path: Path) -> None:
    (folder := tmp_path / "out").mkdir()
    Path(streams[1]).unlink()
    outcome = run("compute", *streams, "-o", folder)
    assert outcome.status == 2 and outcome.err.count("\n") == 1 and "b.ndjson: cannot be read" in outcome.err
    assert [path.name for path in folder.iterdir()] == ["a.ndjson"]


def test_streams_need_names_of_their_own(run: Run, streams: list[str], tmp_path: Path) -> None:
    (folder := tmp_path / "out").mkdir()
    (tmp_path / "more").mkdir()
    (other := tmp_path / "more" / "a.ndjson").write_text("")
    for arguments, sentence in {
        (*streams, str(other), "-o", str(folder)): "would both be answered in a.ndjson",
        (*streams, streams[0], "-o", str(folder)): "would both be answered in a.ndjson",
        ("-", *streams, "-o", str(folder)): "standard input has none",
        (*streams, "-o", str(tmp_path)): "which is read; give it another name",
        (*streams, "--workers", "2"): "in a file of its own, in a folder: give it with -o",
        (*streams, "--workers", "2", "-o", str(tmp_path / "new")): "new is none; make it first",
        (*streams, "--columns", "a"): "--columns is about a data set, and this is a stream of problems",
    }.items():
        outcome = run("compute", "--input-format", "ndjson", *arguments)
        assert outcome.status == 2 and sentence in outcome.err, outcome.err
    assert not [*folder.iterdir()]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_file_whose_name_is_no_text_is_spelled_in_json(run: Run, files: Files) -> None:
    path = (files.folder / "part-0.npy").rename(files.folder / os.fsdecode(b"\xff.npy"))
    outcome = run(
        "compute", "-W", str(files.folder / "W.npy"), "-x", str(path), "--label-column", "-1", "--json"
    )
    assert outcome.status == 0
    assert json.loads(outcome.out)["files"] == [f"{files.folder}/\\udcff.npy"]
