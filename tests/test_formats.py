"""Problems and parts in every format, results in every form, and files that are whole or not there."""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import Run, Shell
from xegrad import METHODS, InputError, Problem, Targets, max_memory, read
from xegrad.formats import FIRST, FORMATS, csv, measured, safetensors
from xegrad.formats.results import _entry

SEED = "sample_inputs/seed.json"


@pytest.fixture
def seed_arrays() -> dict[str, Any]:
    stated = json.loads(Path(SEED).read_text())
    return {"W": np.array(stated["W"]), "x": np.array(stated["x"]), "label": stated["label"]}


def gradient_of(run: Run, *arguments: str) -> Any:
    outcome = run("compute", *arguments, "--json")
    assert outcome.status == 0, outcome.err
    return json.loads(outcome.out)["gradient"]


def test_a_problem_in_npz_is_the_same_problem(run: Run, tmp_path: Path, seed_arrays: dict[str, Any]) -> None:
    np.savez(tmp_path / "seed.npz", **seed_arrays)
    np.savez_compressed(tmp_path / "packed.npz", **seed_arrays)
    expected = gradient_of(run, SEED)
    assert gradient_of(run, str(tmp_path / "seed.npz")) == expected
    assert gradient_of(run, str(tmp_path / "packed.npz")) == expected
    options = {
        "b": np.zeros(5), "classes": np.array(list("abcde")), "label": np.array("c"), "transpose": np.array(True),
        "W": seed_arrays["W"].T, "label_smoothing": 0.0, "reduction": np.array("mean"), "id": np.array("seed"),
    }  # fmt: skip
    np.savez(tmp_path / "more.npz", **(seed_arrays | options))
    assert gradient_of(run, str(tmp_path / "more.npz")) == np.transpose(expected).tolist()


def test_parts_come_from_any_format_and_from_a_key(
    run: Run, tmp_path: Path, seed_arrays: dict[str, Any]
) -> None:
    np.savez(tmp_path / "all.npz", weights=seed_arrays["W"], x=seed_arrays["x"])
    np.save(tmp_path / "W.npy", seed_arrays["W"])
    (tmp_path / "x.csv").write_text("0.1,0.5,0.4\n")
    (tmp_path / "x.json").write_text("[0.1, 0.5, 0.4]")
    expected = gradient_of(run, SEED)
    for weights, inputs in (("all.npz:weights", "all.npz"), ("W.npy", "x.csv"), ("W.npy", "x.json")):
        assert (
            gradient_of(run, "-W", str(tmp_path / weights), "-x", str(tmp_path / inputs), "-y", "2")
            == expected
        )
    missing = run("compute", "-W", str(tmp_path / "all.npz:W"), "-x", "0.1,0.5,0.4", "-y", "2")
    assert "there is no array 'W'; the arrays are weights, x, and FILE:KEY names one" in missing.err
    keyless = run("compute", "-W", str(tmp_path / "W.npy:W"), "-x", "0.1,0.5,0.4", "-y", "2")
    assert "NPY has no keys" in keyless.err


def test_the_layout_of_a_safetensors_file_is_that_of_torch(run: Run, tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    weights = np.arange(6.0).reshape(3, 2)  # classes x inputs
    save_file({"weight": weights, "bias": np.ones(3)}, tmp_path / "linear.safetensors")
    save_file({"W": np.ascontiguousarray(weights.T), "b": np.ones(3)}, tmp_path / "plain.safetensors")
    save_file(
        {"head.weight": weights, "head.bias": np.ones(3), "tail": weights}, tmp_path / "deep.safetensors"
    )
    save_file({"a.weight": weights, "b.weight": weights}, tmp_path / "two.safetensors")
    rest = ("-x", "1,2", "-y", "0")
    plain = gradient_of(run, str(tmp_path / "plain.safetensors"), *rest)
    linear = gradient_of(run, str(tmp_path / "linear.safetensors"), *rest)
    assert np.shape(plain) == (2, 3)
    assert linear == np.transpose(plain).tolist()
    assert gradient_of(run, str(tmp_path / "deep.safetensors"), *rest) == linear
    options = ("-b", "1,1,1", *rest)
    assert gradient_of(run, "-W", str(tmp_path / "deep.safetensors:head.weight"), *options) == linear
    assert gradient_of(run, "-W", str(tmp_path / "two.safetensors:b.weight"), *options) == linear
    turned = gradient_of(run, "-W", str(tmp_path / "deep.safetensors:tail"), "--transpose", *options)
    assert turned == linear
    several = run("compute", str(tmp_path / "two.safetensors"), *rest)
    assert "a.weight and b.weight could each be W" in several.err


def test_the_type_of_a_file_is_the_precision_of_the_computation(
    run: Run, tmp_path: Path, seed_arrays: dict[str, Any]
) -> None:
    single = {"W": seed_arrays["W"].astype(np.float32), "x": seed_arrays["x"].astype(np.float32), "label": 2}
    np.savez(tmp_path / "single.npz", **single)
    assert read(tmp_path / "single.npz").dtype == np.float32
    shown = run("compute", str(tmp_path / "single.npz")).out
    assert "in float32" in shown
    assert "in float32" not in run("compute", str(tmp_path / "single.npz"), "--dtype", "float64").out


def test_a_layer_saved_by_torch_is_judged_in_its_own_precision(run: Run) -> None:
    for precision in ("float64", "float32"):
        path = f"tests/data/torch_layer_{precision}.npz"
        outcome = json.loads(run("verify", path, "--json").out)
        assert outcome["verified"]
        assert outcome["candidate"]["outcome"] == "right"
        assert [check["name"] for check in outcome["checks"]] == ["dL/dW", "loss"]
    assert run("verify", "tests/data/torch_layer_float32.npz", "--dtype", "float64", "-q").status == 1


def test_a_pickle_is_never_loaded(run: Run, tmp_path: Path) -> None:
    np.savez(tmp_path / "objects.npz", W=np.array([object()], dtype=object))
    outcome = run("compute", str(tmp_path / "objects.npz"))
    assert outcome.status == 2
    assert "holds Python objects, which may run any program and are never read" in outcome.err


def test_a_header_longer_than_numpy_writes_is_refused(run: Run, tmp_path: Path) -> None:
    text = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }" + b" " * 70_000 + b"\n"
    header = b"\x93NUMPY\x02\x00" + len(text).to_bytes(4, "little") + text + bytes(8)
    (tmp_path / "long.npy").write_bytes(header)
    with zipfile.ZipFile(tmp_path / "long.npz", "w") as archive:
        archive.writestr("W.npy", header)
    for arguments in (
        ("-W", str(tmp_path / "long.npy"), "-x", "1", "-y", "0"),
        (str(tmp_path / "long.npz"),),
    ):
        outcome = run("compute", *arguments)
        assert outcome.status == 2
        assert "cannot be read as NP" in outcome.err


def test_every_type_of_safetensors_is_read() -> None:
    from safetensors.numpy import save

    kinds = [f"{kind}{8 * size}" for kind in ("int", "uint") for size in (1, 2, 4, 8)]
    arrays = {
        kind: np.array([[0, 1, 100]], kind) for kind in (*kinds, "float16", "float32", "float64", "bool")
    }
    tensors = safetensors.read_tensors(save(arrays), arrays)
    for kind, array in arrays.items():
        tensor, dtype = tensors[kind]
        assert (dtype, tensor.dtype, tensor.tolist()) == (kind, array.dtype, array.tolist())


@pytest.mark.parametrize("name", ["cut.npz", "cut.npy", "cut.safetensors"])
def test_a_file_that_was_cut_is_refused_in_one_line(
    run: Run, tmp_path: Path, seed_arrays: dict[str, Any], name: str
) -> None:
    from safetensors.numpy import save

    out = io.BytesIO()
    np.savez(out, **seed_arrays)
    whole = {
        "cut.npz": out.getvalue(),
        "cut.npy": FORMATS["npy"].module.write_array(seed_arrays["W"], None),
        "cut.safetensors": save({"weight": seed_arrays["W"]}),
    }[name]
    for length in range(0, len(whole) - 1, 37):
        (tmp_path / name).write_bytes(whole[:length])
        outcome = run("compute", "-W", str(tmp_path / name), "-x", "1,2,3", "-y", "0")
        assert outcome.status == 2, length
        assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("name", ["csv", "npy"])
def test_a_gradient_that_was_written_is_verified(run: Run, tmp_path: Path, name: str) -> None:
    for problem in (SEED, "sample_inputs/batch.json"):
        path = tmp_path / f"gradient.{name}"
        assert run("compute", problem, "-o", str(path), "--method", "exact").out == ""
        assert run("verify", problem, "--gradient", str(path), "-q").status == 0


@pytest.mark.parametrize("command", [("compute", SEED), ("verify", SEED), ("explain", SEED)])
def test_markdown_is_the_text_in_a_fenced_block(run: Run, tmp_path: Path, command: tuple[str, ...]) -> None:
    table = run(*command).out
    assert run(*command, "--format", "markdown").out == f"```text\n{table}```\n"
    run(*command, "-o", str(tmp_path / "result.md"))
    assert (tmp_path / "result.md").read_text() == f"```text\n{table}```\n"


def test_a_fence_is_longer_than_any_run_of_backticks_inside(run: Run) -> None:
    problem = json.dumps({"W": [[1, 2]], "x": [1], "label": 0, "classes": ["a````b", "``"]})
    first, *_, last = run("compute", "--format", "markdown", stdin=problem).out.splitlines()
    assert (first, last) == ("`````text", "`````")


def test_the_suffix_names_the_form_and_format_wins(run: Run, tmp_path: Path) -> None:
    for suffix, start in (
        (".json", b"{"),
        (".csv", b"0.0190"),
        (".npy", b"\x93NUMPY"),
        (".md", "```text\n✓ agree and right".encode()),
        (".txt", "✓ agree and right".encode()),
    ):
        path = tmp_path / f"result{suffix}"
        assert run("compute", SEED, "-o", str(path)).out == ""
        assert path.read_bytes().startswith(start), suffix
    run("compute", SEED, "-o", str(tmp_path / "result.txt"), "--format", "json")
    assert json.loads((tmp_path / "result.txt").read_text())["verdict"] == "agree-right"
    unknown = run("compute", SEED, "-o", str(tmp_path / "result.xml"))
    assert unknown.status == 2
    assert "the suffix .xml is none of" in unknown.err


def test_what_was_there_stays_when_a_run_fails_and_no_piece_is_left(run: Run, tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"
    kept.write_text("kept")
    kept.chmod(0o640)
    assert run("compute", "-", "-o", str(kept), stdin="{").status == 2
    assert kept.read_text() == "kept"
    assert run("compute", SEED, "-o", str(tmp_path / "nowhere" / "out.json")).status == 2
    assert run("compute", SEED, "-o", str(kept)).status == 0
    assert kept.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["kept.json"]


def test_the_exact_gradient_of_a_float32_file_is_that_of_its_numbers(tmp_path: Path) -> None:
    """0.1 as float32 is another number than 0.1, and is taken exactly."""
    single = np.array([[0.1, 0.3]], dtype=np.float32)
    np.savez(tmp_path / "single.npz", W=single, x=np.ones(1, dtype=np.float32), label=0)
    double = single.astype(np.float64)
    np.savez(tmp_path / "double.npz", W=double, x=np.ones(1), label=0)
    first, second = (
        METHODS["exact"].evaluate(read(tmp_path / name)) for name in ("single.npz", "double.npz")
    )
    assert first.loss == second.loss


def test_the_files_of_a_run_are_closed(shell: Shell) -> None:
    assert shell(f"python -W error -X dev -m xegrad compute {SEED} -o {os.devnull} --format json").err == ""


def test_what_is_not_finite_is_written_in_csv(run: Run) -> None:
    written = run("compute", "sample_inputs/underflow.json", "--method", "chain", "--format", "csv")
    assert written.status == 0
    assert "nan,nan,nan" in written.out


def test_options_that_csv_cannot_hold_are_refused_and_not_lost(run: Run) -> None:
    for option in ({"reduction": "sum"}, {"dtype": "float32"}, {"ignore_index": 7}, {"label_smoothing": 0.1}):
        problem = json.dumps({"W": [[1, 2]], "x": [1], "label": 0} | option)
        outcome = run("descend", "-", "--save", "moved.csv", stdin=problem)
        assert outcome.status == 2, option
        assert not Path("moved.csv").exists()


def test_an_array_of_text_is_no_gradient(run: Run, tmp_path: Path) -> None:
    np.savez(tmp_path / "text.npz", logits=np.array(["a", "b"]))
    outcome = run("verify", SEED, "--gradient", str(tmp_path / "text.npz"))
    assert outcome.status == 2
    assert "real numbers are expected" in outcome.err


def test_nothing_is_written_over_standard_input(shell: Shell, tmp_path: Path) -> None:
    problem = tmp_path / "problem.json"
    problem.write_text(Path(SEED).read_text())
    outcome = shell(f"xegrad compute - -o {problem} < {problem}")
    assert outcome.status == 2
    assert "standard input, which is read" in outcome.err
    assert problem.read_text() == Path(SEED).read_text()


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"id": np.array([1, 2 + 3j])}, "text or a number is expected"),
        ({"W": np.ones((2, 3), dtype=complex)}, "holds complex128; real numbers are expected"),
        ({"W": np.ones((2, 3), dtype=bool)}, "holds bool; real numbers are expected"),
        ({"reduction": np.array(3)}, "one of mean, sum, none is expected"),
        ({"w": np.ones((2, 3))}, "unknown key 'w'"),
        ({"label": np.array(np.nan)}, ":label is nan; an index, a name, or a list of them is expected"),
    ],
)
def test_arrays_that_are_no_part_are_refused(
    run: Run, tmp_path: Path, arrays: dict[str, Any], said: str
) -> None:
    whole: dict[str, Any] = {"W": np.ones((2, 3)), "x": np.ones(2), "label": 1} | arrays
    np.savez(tmp_path / "odd.npz", **whole)
    outcome = run("compute", str(tmp_path / "odd.npz"), "--json")
    assert outcome.status == 2
    assert said in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_zip_of_something_else_and_a_text_called_npz_are_refused(run: Run, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "other.npz", "w") as archive:
        archive.writestr("W.npy", b"garbage")
    (tmp_path / "text.npz").write_text("hello")
    for name, said in (("other.npz", ":W: cannot be read as NPY"), ("text.npz", "it is no ZIP file")):
        outcome = run("compute", str(tmp_path / name))
        assert outcome.status == 2
        assert said in outcome.err
        assert "pickle" not in outcome.err


def test_what_is_not_used_of_a_file_is_said_only_where_all_goes_well(run: Run) -> None:
    layer = "sample_inputs/layer.npz"
    failed = run("compute", "-W", layer)
    assert failed.err.startswith("xegrad: there is no x and no label") and failed.err.count("\n") == 1
    well = run("compute", "-W", layer, "-x", f"{layer}:x", "--labels", layer, "--transpose")
    assert well.status == 0
    assert well.err == f"xegrad: {layer} also holds b, gradient, loss and transpose, not used here\n"


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
@pytest.mark.parametrize("data", [b"\0\1garbage", b"\xfe\xff\xfd\xfc"])
def test_bytes_that_are_no_text_are_said_not_to_be_what_their_suffix_says(
    run: Run, tmp_path: Path, suffix: str, data: bytes
) -> None:
    path = tmp_path / f"it{suffix}"
    path.write_bytes(data)
    kind = suffix[1:] if suffix == ".safetensors" else suffix[1:].upper()
    said = f"{path}: is no {kind} file: it begins with {data[:8]!r}; if it is another, rename it\n"
    for arguments in (("compute", str(path)), ("verify", "sample_inputs/seed.json", "--gradient", str(path))):
        outcome = run(*arguments)
        assert (outcome.status, outcome.err) == (2, f"xegrad: {said}")


# Cells that are no numbers of JSON, or no numbers; those that both ways of reading must take for the same.
CELLS = [
    "1",
    "-2.5",
    "1e3",
    "+1",
    ".5",
    "1.",
    "nan",
    "1e400",
    "label",
    "cat",
    '"a"',
    'a"b',
    "",
    " 3 ",
    "[1",
    "1\r",
    "1_0",
]


@given(
    rows=st.lists(st.lists(st.sampled_from(["1", "-2.5", "0.125"]), min_size=2, max_size=2), min_size=1, max_size=3),
    above=st.sampled_from([[], ["x,no"], ["no,yes"], ["", "x,no"]]),
    below=st.sampled_from([[], ["label,1"], ["bias,2", "label,1"]]),
    cell=st.tuples(st.integers(0, 2), st.integers(0, 1), st.sampled_from(CELLS)),
    end=st.sampled_from(["\n", "\r\n", "\n\n", "\r"]),
    part=st.sampled_from([None, "W", "x"]),
)  # fmt: skip
def test_rows_of_plain_numbers_are_read_as_cell_by_cell(
    rows: list[list[str]],
    above: list[str],
    below: list[str],
    cell: tuple[int, int, str],
    end: str,
    part: str | None,
) -> None:
    row, column, text = cell
    rows[row % len(rows)][column] = text
    data = end.join([*above, *map(",".join, rows), *below]).encode()

    def read() -> str:
        try:
            raw = csv.load(data, part)
        except InputError as error:
            return str(error)
        return repr({key: np.asarray(value).tolist() for key, value in raw.values.items()})

    quick = read()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv, "_apart", lambda data, part: (csv._lines(data), None))
        assert quick == read()


@pytest.mark.parametrize("text", ["0,2,1", "0\n2\n1", "label\n0\n2\n1"])
def test_labels_stand_in_one_line_or_in_one_column(text: str) -> None:
    assert [str(label) for label in csv.load(text.encode(), "label").values["label"]] == ["0", "2", "1"]


@pytest.mark.parametrize(("part", "is_told"), [("x", True), ("W", False)])
def test_a_table_with_words_in_it_may_be_a_data_set_and_says_how_to_give_one(
    part: str, is_told: bool
) -> None:
    with pytest.raises(InputError) as error:
        csv.load(b"a,kind\n1,red\n2,blue\n", part)
    assert ("--label-column names the column that is the label" in str(error.value)) == is_told


def test_a_long_file_of_bytes_is_read_whole(tmp_path: Path) -> None:
    """Its beginning too, by which its format was found."""
    path, data = tmp_path / "long.bin", np.random.default_rng(1).bytes(FIRST + 100)
    path.write_bytes(data)
    with path.open("rb") as file:
        assert measured.bytes_of(file, lambda first: first == data[:FIRST]) == data


def test_a_long_header_is_refused_before_it_is_read() -> None:
    """It may take a multiple of its length, and twice that is allowed."""
    header = b"{" + b" " * 500_000 + b"}"
    data = len(header).to_bytes(8, "little") + header
    with max_memory(2 * len(data)), pytest.raises(InputError, match="to read it takes"):
        safetensors.names_in(data)
    assert safetensors.names_in(data) == []


def test_an_entry_is_told_by_its_place_and_by_the_names_there() -> None:
    weights, inputs = np.ones((2, 3)), np.ones((2, 2))
    problem = Problem(weights, inputs, Targets([0, 1]), classes=("x", "y", "z"), input_names=("a", "b"))
    expected = {
        "weights": {"of": "W", "input": 1, "class": 2, "class_name": "z", "input_name": "b"},
        "bias": {"of": "b", "class": 2, "class_name": "z"},
        "inputs": {"of": "x", "row": 1, "input": 0, "input_name": "a"},
        "logits": {"of": "logits", "row": 1, "class": 2, "class_name": "z"},
        "loss": {"of": "loss"},
    }
    places = {"weights": 5, "bias": 2, "inputs": 2, "logits": 5, "loss": 0}
    assert {name: _entry(problem, name, place) for name, place in places.items()} == expected
