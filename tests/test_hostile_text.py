"""Text that nobody means well with: JSON, CSV, printed matrices, labels and names are read, or refused in one line.

Whatever it is, it takes time in proportion to its length: where that could be squared, the texts here are so long that
squared would be minutes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from conftest import Run, problem_json
from xegrad import InputError, Problem, Targets, XegradError
from xegrad.formats import claim, csv, labels, printed
from xegrad.formats import json as json_format
from xegrad.formats.labels import LabelText
from xegrad.formats.raw_problem import RawProblem
from xegrad.problem import Layout

MANY = 40_000  # characters, names or keys, of which all pairs would take minutes
NINES = "9" * 5000  # more digits than Python makes a whole number of
ROWS = ("compute", "-W", "[[1, 2], [3, 4]]", "-x", "[[1, 2], [3, 4]]")
PAIR = ("-W", "[[1, 2]]", "-x", "1", "-y", "0")


def refused(run: Run, *arguments: str, stdin: str = "") -> str:
    """The one line with which a command is refused."""
    outcome = run(*arguments, stdin=stdin)
    assert outcome.status == 2, (arguments, outcome)
    assert outcome.out == ""
    assert outcome.err.count("\n") == 1
    assert len(outcome.err) <= len("xegrad: \n") + 300
    return outcome.err


CANDIDATES = {
    "an exponent of twelve digits": ("[[1e999999999999, 0.1]]", "an exponent of 12 digits"),
    "a product": ("v. * [[1, 2]]", "'v. * [[1, 2]]' beside the numbers is not understood"),
    "commas alone": (",,,\n,", "is empty"),
    "hexadecimal without a digit": ("[[0xp1, 1]]", "'0xp1'; a number is expected"),
    "hexadecimal of a point": ("[[0x.p1, 1]]", "'0x.p1'; a number is expected"),
    "an index of R of 5,000 digits": (f"[{NINES}] 1 2", "not understood"),
    "a column of R of 5,000 digits": (f"[,{NINES}]\n[1,] 1", "not understood"),
    "columns of 5,000 digits": (f"Columns 1 through {NINES}\n 1 2", "a number is expected"),
    "a shape of 5,000 digits": (f"array([[1, 2]], shape=({NINES},))", "and has 1 x 2 numbers"),
    "a whole number that float64 lacks": ("[[9007199254740993, 0]]", "9007199254740993, a whole number that float64"),
    "a whole number of 5,000 digits": (f"[[{NINES}, 0]]", "a whole number that float64 does not hold"),
    "lists nested deeply": ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
    "objects nested deeply": ('{"gradient":' * 100_000 + "1" + "}" * 100_000, "nested too deeply"),
    "a key twice": ('{"gradient": [[1, 2]], "gradient": [[1, 2]]}', "the key 'gradient' is given twice"),
    "a key twice within another": ('{"gradients": {"W": [[1, 2]], "W": [[3, 4]]}}', "the key 'W' is given twice"),
    "a half of a character": ('{"\\ud800": 1}', "is no gradient"),
    "a zero byte": ("[[\0, 1]]", "byte 2 is 0, which no text has"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), CANDIDATES.values(), ids=CANDIDATES)
def test_a_candidate_that_is_none_is_refused(run: Run, text: str, expected: str) -> None:
    assert expected in refused(run, "verify", *PAIR, "--gradient", "-", stdin=text)


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize("decimals", [None, "3", "none"])
def test_exponents_beyond_every_float_are_numbers_that_are_wrong(run: Run, decimals: str | None) -> None:
    options = () if decimals is None else ("--decimals", decimals)
    for text in (
        "1e400, 0.1234", "1e-400, 0.1234", "1e310, 0.1234", "1e-310, 0.1234", "[[1e400, 0.1234]]", "1e99999 -1e-99999",
        "0e400, 0.1234", "1.0e-400 *\n[[1.0, 0.1234]]", f"0.{'0' * 400}1 0.1234", f"{'1' * 400}.5 0.1234", "nan -inf",
    ):  # fmt: skip
        outcome = run("verify", *PAIR, "--gradient", "-", "-q", *options, stdin=text)
        assert (outcome.status, outcome.out) == (1, ""), text


@pytest.mark.parametrize(
    "label", [NINES, f"-{NINES}", f"+{NINES}", "0" * 5000 + "7", str(2**63), str(10**30)]
)
def test_no_label_is_too_long_to_refuse(run: Run, tmp_path: Path, label: str) -> None:
    (tmp_path / "labels.csv").write_text(f"0\n{label}\n")
    (tmp_path / "data.csv").write_text(f"a,b,y\n1,2,0\n3,4,{label}\n")
    of_data_set = ("-x", str(tmp_path / "data.csv"), "--label-column", "y")
    for arguments in (
        ("compute", "-W", "[[1, 2]]", "-x", "1", "-y", label),
        (*ROWS, "--labels", str(tmp_path / "labels.csv")),
        (*ROWS[:3], *of_data_set),
    ):
        assert "is out of range; labels are zero-based" in refused(run, *arguments)
    if label == str(10**30):
        assert "is out of range; labels are zero-based" in refused(run, *ROWS, "-y", f"[0, {label}]")


def test_zeros_before_an_index_are_nothing(run: Run) -> None:
    assert run(*PAIR[:0], "compute", *PAIR[:4], "-y", "0" * 5000 + "1", "-q").status == 0


def test_a_list_of_labels_and_targets_is_neither(run: Run) -> None:
    assert "label mixes numbers and lists" in refused(run, *ROWS, "-y", "[0, [1, 0]]")


@pytest.mark.parametrize("depth", [101, 500, *range(970, 980), 5000, MANY])
def test_brackets_in_an_id_are_bounded(run: Run, depth: int) -> None:
    """Python's own bound depends on who calls; this one does not."""
    for opening, closing in (("[", "]"), ('{"a":', "}"), ('{"\\u0061":', "}")):
        deep = f"{opening * depth}1{closing * depth}"
        assert "nested too deeply" in refused(run, "compute", stdin=problem_json()[:-1] + f', "id": {deep}}}')
    line = (problem_json()[:-1] + f', "id": {"[" * depth}{"]" * depth}}}').encode()
    assert json_format.read_objects(line) is None
    with pytest.raises(InputError, match="nested too deeply"):
        json_format.read_object(line)
    assert json_format.id_of(line) is UNSET


def test_an_id_of_a_hundred_brackets_is_repeated(run: Run) -> None:
    deep = "[" * 100 + "]" * 100
    out = run("compute", "--json", stdin=problem_json()[:-1] + f', "id": {deep}}}').out
    assert json.loads(out)["id"] == json.loads(deep)


@pytest.mark.parametrize("depth", [3, 970, 975, 976, 977, 5000])
def test_brackets_in_a_part_are_refused(run: Run, depth: int) -> None:
    deep = "[" * depth + "]" * depth
    for arguments in (("-W", deep, *PAIR[2:]), (*PAIR[:2], "-x", deep, "-y", "0"), (*PAIR[:4], "-y", deep)):
        refused(run, "compute", *arguments)
    for key in ("W", "x", "b", "transpose", "gradient", "gradients", "loss", "dtype", "classes"):
        refused(run, "verify", stdin=problem_json(**{key: None})[:-1] + f', "{key}": {deep}}}')


PROBLEMS = {
    "a key twice, of which the last fits no path": ('{"W": [[1, 2], 3], "W": 2}', "the key 'W' is given twice"),
    "a key twice in an id": (problem_json()[:-1] + ', "id": {"a": {"b": 1, "b": 2}}}', "the key 'b' is given twice"),
    "a key twice in gradients": (
        problem_json()[:-1] + ', "gradients": {"W": [[1]], "W": [[2]]}}', "the key 'W' is given twice",
    ),
    "half of a character": ('{"id": "\\ud800"}', "half of a character"),
    "a whole number that float64 lacks": (
        problem_json(W=[[2**53 + 1, 2**53, 0]] * 2), "W[0, 0] is 9007199254740993, which float64 does not hold",
    ),
    "one in x": (problem_json(x=[0.5, -(2**60) - 1]), "x[1] is -1152921504606846977, which float64 does not hold"),
    "one in b": (problem_json(b=[0, 0, 2**53 + 1]), "b[2] is 9007199254740993, which float64 does not hold"),
    "one in the weights of classes": (problem_json(class_weights=[1, 1, 2**53 + 1]), "float64 does not hold"),
    "one in a target": (problem_json(label=[0, 1, 2**53 + 1]), "float64 does not hold"),
    "one in a gradient": (problem_json(gradient=[[2**53 + 1, 0, 0]] * 2), "a whole number that float64 does not hold"),
    "one in a loss": (problem_json(loss=2**53 + 1), "a whole number that float64 does not hold"),
    "one in CSV": ("x,a,b\n1,2,9007199254740993\n", "line 2, column 3 is 9007199254740993, a whole number that"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), PROBLEMS.values(), ids=PROBLEMS)
def test_a_problem_is_not_changed_quietly(run: Run, text: str, expected: str) -> None:
    assert expected in refused(run, "verify", stdin=text)


def test_a_line_of_a_stream_is_not_rounded_either(run: Run, tmp_path: Path) -> None:
    right, large = problem_json(W=[[1, 2]], x=[1]), problem_json(W=[[2**53 + 1, 2]], x=[1])
    target = problem_json(W=[[1, 2]], x=[1], label=[2**53 + 1, 0])
    (tmp_path / "lines.ndjson").write_text("\n".join([right, large, right, target, target]))
    outcome = run("compute", str(tmp_path / "lines.ndjson"))
    answers = list(map(json.loads, outcome.out.splitlines()))
    assert ["error" in answer for answer in answers] == [False, True, False, True, True]
    assert all("float64 does not hold" in answer["error"] for answer in answers if "error" in answer)


def test_whole_numbers_that_float64_holds_are_exact_and_decimals_are_rounded() -> None:
    text = f'{{"W": [[{2**60}, {2**53 + 2}], [9007199254740993.0, 1e300]], "x": [1, 1], "label": 0}}'
    weights = json_format.load(text.encode()).values["W"]
    assert [int(value) for value in weights[0]] == [2**60, 2**53 + 2]
    assert weights.tolist()[1] == [2.0**53, 1e300]  # ties go to the even one
    table = csv.load(f"a,b\n{2**60},9007199254740993.0\n".encode(), "W").values["W"]
    assert table.tolist() == [[2.0**60, 2.0**53]]


@given(st.integers(-(2**70), 2**70))
@example(2**53 + 1)
@example(-(2**53) - 2)
def test_a_whole_number_is_read_as_it_is_or_refused(number: int) -> None:
    is_held = Fraction(float(number)) == number
    for read in (
        lambda: json_format.load(f"[[{number}]]".encode(), "W").values["W"],
        lambda: csv.load(f"a\n{number}\n".encode(), "W").values["W"],
        lambda: printed.of_text(f"[[{number}]]").values,
    ):
        if is_held:
            assert Fraction(float(read()[0, 0])) == number
        else:
            with pytest.raises(InputError, match="float64 does not hold"):
                read()


def test_class_names_that_are_no_text_are_refused(run: Run) -> None:
    for name in ("a\udc80", "\ud800"):  # what a shell makes of bytes that are no UTF-8
        line = refused(run, "compute", *PAIR[:4], "-y", "0", "--classes", f"{name},b")
        assert "the name of class 0 is" in line and "no text in UTF-8" in line
        assert "is not one of the classes" in refused(
            run, "compute", *PAIR[:4], "-y", name, "--classes", "a,b"
        )


@pytest.mark.parametrize("weights", [[1e308, 1e308], [5e-324, 5e-324], [1e308, 5e-324]])
@pytest.mark.parametrize("smoothing", [0, 0.5])
def test_class_weights_of_any_sum_are_computed_and_judged(
    run: Run, weights: list[float], smoothing: float
) -> None:
    """Under the mean only their ratios count: (1, 1), or 1 beside nothing."""
    problem = {"W": [[1, 2]], "x": [[1], [2]], "label": [0, 1], "label_smoothing": smoothing}
    whole = json.dumps(problem | {"class_weights": weights})
    outcome = run("compute", "--json", stdin=whole)
    assert outcome.status == 0, outcome.err
    ratio = [weight / max(weights) for weight in weights]
    of_ratio = json.loads(run("compute", "--json", stdin=json.dumps(problem | {"class_weights": ratio})).out)
    assert json.loads(outcome.out)["gradient"][0] == pytest.approx(of_ratio["gradient"][0], rel=1e-14)
    assert "inf" not in run("compute", stdin=whole).out
    assert run("verify", "--gradient", "[[0.1, 0.2]]", "-q", stdin=whole).status == 1


# --- CSV -------------------------------------------------------------------------------------------------------------


def test_the_index_of_pandas_is_left_out_and_that_is_said(run: Run, tmp_path: Path) -> None:
    def file(name: str, text: str) -> str:
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    note = "left out: the first column, which has no name, as the index of pandas"
    weights, inputs = file("W.csv", ",a,b\n0,1,2\n1,3,4\n"), file("x.csv", ",u,v\nr,1,2\ns,3,4\n")
    numbered = file("numbered.csv", ",0,1\n0,1,2\n1,3,4\n")  # of a DataFrame that names no columns
    labels_file, data = file("y.csv", ",y\n0,1\n1,0\n"), file("data.csv", ",u,v,y\n0,1,2,1\n1,3,4,0\n")
    expected = json.loads(run(*ROWS, "-y", "[1, 0]", "--json").out)["gradient"]
    for arguments in (
        ("-W", weights, *ROWS[3:], "-y", "[1, 0]"),
        ("-W", numbered, *ROWS[3:], "-y", "[1, 0]"),
        (*ROWS[1:3], "-x", inputs, "-y", "[1, 0]"),
        (*ROWS[1:], "--labels", labels_file),
        (*ROWS[1:3], "-x", data, "--label-column", "y"),
    ):
        outcome = run("compute", *arguments, "--json")
        assert json.loads(outcome.out)["gradient"] == expected
        assert note in outcome.err and outcome.err.count("\n") == 1
    gradient = file(
        "g.csv", ",a,b\n" + "".join(f"{k},{row[0]!r},{row[1]!r}\n" for k, row in enumerate(expected))
    )
    assert run("verify", *ROWS[1:], "-y", "[1, 0]", "--gradient", gradient, "-q").status == 0
    assert "to_csv(index=False)" in refused(run, "compute", stdin=",x,a,b\n0,1,2,3\n")


def test_two_columns_of_labels_are_an_error(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("label,a,label\n0,1,1\n1,2,0\n")
    line = refused(run, "compute", *PAIR[:2], "-x", str(tmp_path / "data.csv"), "--label-column", "label")
    assert "line 1: columns 1 and 3 are both named 'label'" in line


# Names that look like numbers, like what languages print, like comments, or like rows that mean something.
NAMES = (
    "a,b", 'say "hi"', "two\nlines", "\r\n", "label", "bias", "x", "7", "1e5", "-3", "=1+1", "+1", "@a", "-a", "#c",
    "'", "# a\n# b", "[", "]", "{", "1.5f", "np.float32(1.5)", "...", "array(", "a = ", "[1] 2", "Columns 1", "é",
    "日本", " a ", "a" * 40,
    "\u202e", "\x1b[31m", "\x0b", "\u2028", "\0", "nan", "inf", "0x1p3", "<tf.Tensor", ";", "\t",
)  # fmt: skip


def written_and_read(names: Sequence[str], n_inputs: int = 2) -> tuple[Any, Any]:
    """A gradient, and what is read of it where it was written as CSV below these names."""
    n = len(names)
    problem = Problem(np.zeros((n_inputs, n)), np.ones((1, n_inputs)), Targets([0]), classes=tuple(names))
    gradient = np.linspace(-1, 1, n_inputs * n).reshape(n_inputs, n) / 3
    data = csv.write_array(gradient, problem.classes)
    claimed = claim.read(problem, Layout(is_batch=False), None, claim.Written(data, "g.csv"))
    return gradient, claimed.gradients["weights"]


@given(
    st.lists(st.text(min_size=1, max_size=40) | st.sampled_from(NAMES), min_size=1, max_size=4, unique=True),
    st.integers(1, 3),
)
@example(["5", "7"], 1)
@example(["0", "1"], 2)
@settings(max_examples=20)
def test_a_gradient_comes_back_whatever_the_classes_are_called(names: list[str], n_inputs: int) -> None:
    if all(name.encode(errors="replace") == name.encode("utf-8", "surrogatepass") for name in names):
        gradient, claimed = written_and_read(names, n_inputs)
        assert claimed.values.tolist() == gradient.tolist()
        assert claimed.dtype is None


def test_all_names_at_once_come_back_and_so_by_the_command(run: Run, tmp_path: Path) -> None:
    for start in range(len(NAMES)):
        gradient, claimed = written_and_read(NAMES[start:] + NAMES[:start])
        assert claimed.values.tolist() == gradient.tolist()
    path = str(tmp_path / "g.csv")
    problem = problem_json(W=[[0.25 * k for k in range(len(NAMES))]] * 2, classes=NAMES)
    assert run("compute", "-o", path, stdin=problem).status == 0
    assert run("verify", "--gradient", path, "-q", stdin=problem).status == 0


def test_a_problem_in_csv_keeps_its_names_or_is_refused() -> None:
    for name in NAMES:
        raw = json_format.load(problem_json(W=[[1, 2]] * 2, classes=["first", name]).encode())
        try:
            written = csv.write_problem(raw)
        except InputError as error:
            assert name != name.strip() and "CSV loses the blanks around the class name" in str(error)
        else:
            assert csv.load(written).values["classes"] == ("first", name)


def test_decimals_that_a_text_exceeds_are_said_to_be_passed_over(run: Run) -> None:
    arguments = ("verify", *PAIR, "--gradient", "[[-0.731059, 0.731059]]", "--dtype", "float32")
    few = run(*arguments, "--decimals", "4")
    assert (
        few.err
        == "xegrad: warning: dL/dW has numbers of more than 4 decimals: it is read by what its text shows\n"
    )
    assert run(*arguments, "--decimals", "6").err == run(*arguments).err == ""
    of_json = json.loads(run(*arguments, "--digits-printed", "3", "--json").out)
    assert of_json["warnings"] == [
        "dL/dW has numbers of more than 3 digits: it is read by what its text shows"
    ]


READERS: tuple[Callable[[str], object], ...] = (
    printed.of_text,
    lambda text: csv.load(text.encode(errors="replace"), "W"),
    lambda text: json_format.load(text.encode(errors="replace")).problem(),
    printed.one_number,
    lambda text: json_format.load(text.encode(errors="replace"), "label"),
    lambda text: csv.load(text.encode(errors="replace")).problem(),
    lambda text: csv.load(text.encode(errors="replace"), "label"),
    lambda text: csv.read_data_set(text.encode(errors="replace"), "data.csv", "label"),
    lambda text: RawProblem(
        {"W": np.ones((1, 2)), "x": np.ones(1), "label": LabelText(text), "classes": ("a", text)}
    ).problem(),
)


# --- time ------------------------------------------------------------------------------------------------------------

PIECES = (
    "[",
    "]",
    "{",
    "(",
    "1",
    "1e",
    "0x1",
    ".",
    "-",
    " ",
    "\n",
    "\t",
    '"',
    "'",
    "\\",
    ",",
    ":",
    "=",
    "a",
    "a.",
    "a/",
)
BEFORE = (
    "",
    "[",
    "array([1]",
    "float g[",
    "<tf.Tensor: shape=(1,), dtype=float32, numpy=[1]",
    '{"gradient": [',
    "a =",
)


@pytest.mark.parametrize("before", BEFORE, ids=lambda text: text[:8] or "nothing")
def test_a_long_text_of_one_piece_takes_no_time(before: str) -> None:
    for piece in PIECES:
        text = before + piece * (MANY // len(piece))
        for read in (
            printed.of_text,
            lambda text: csv.load(text.encode(), "W"),
            lambda text: json_format.load(text.encode()),
        ):
            try:
                read(text)
            except XegradError as error:
                assert len(str(error)) <= 300


def test_many_names_are_found_in_no_time(run: Run) -> None:
    names = tuple(f"class {index}" for index in range(MANY))
    label: list[Any] = [LabelText(name) for name in reversed(names)]
    found = labels.targets(label, MANY, MANY, names, {}).labels
    assert found is not None and found.tolist() == [*reversed(range(MANY))]
    assert labels.as_written(label, names) == [*reversed(names)]
    with pytest.raises(InputError, match=r"is not one of the classes class 0, class 1, .* more"):
        labels.targets("classy", 1, MANY, names, {})


def test_many_keys_are_told_apart_in_no_time(run: Run) -> None:
    keys = ", ".join(f'"k{index}": 0' for index in range(MANY))
    assert "unknown key 'k0'" in refused(run, "compute", stdin=f"{{{keys}}}")
    assert "is no gradient" in refused(run, "verify", *PAIR, "--gradient", "-", stdin=f"{{{keys}}}")
    twice = problem_json()[:-1] + f', "id": {{{keys}, "k7": 1}}}}'
    assert "the key 'k7' is given twice" in refused(run, "compute", stdin=twice)


def test_many_columns_are_left_out_in_no_time() -> None:
    header, row = ",".join(f"c{k}" for k in range(MANY)), "w," * MANY
    raw = csv.read_data_set(f"{header},u,y\n{row}1,0\n{row}2,1\n".encode(), "wide.csv", "y")
    assert raw.values["x"].tolist() == [[1.0], [2.0]]
    assert len(raw.note) < 300 and "more" in raw.note
    with pytest.raises(InputError, match=r"there is no column 'z' among c0, c1, .* more") as error:
        csv.read_data_set(f"{header},u,y\n{row}1,0\n".encode(), "wide.csv", "z")
    assert len(str(error.value)) <= 300


# --- anything --------------------------------------------------------------------------------------------------------

SEEDS = (
    problem_json(id={"a": 1}, gradient=[[1, 2, 3]] * 2, loss=0.5, classes=["a", "b", "c"], b=[1, 2, 3]),
    "x,a,b\n1,2,3\nbias,1,2\nlabel,0,1\n", "a,b,label\n1,2,x\n3,4,y\n", ",a,b\n0,1,2\n", "[[1, 2], [3, 4]]",
    "array([[1., 2.],\n       [3., 4.]], dtype=float32)", "tensor([[1.0e-05, 2]], dtype=torch.bfloat16)",
    "1.0e-05 *\n[[1, 2]]", "a =\n\n   1.0e-05 *\n\n   1 2\n   3 4\n",
    "     [,1] [,2]\n[1,]  1.5    2\n[2,]    3    4\n", "[1] 1.5 2.5\n", "2×2 Matrix{Float32}:\n 1.0 2.0\n 3.0 4.0\n",
    "float g[2][2] = {{0x1.8p-2f, 1.5f}, {1, 2}};",
    "<tf.Tensor: shape=(1, 2), dtype=float32, numpy=array([[1., 2.]], dtype=float32)>", "Float32Array(2) [ 1, 2 ]",
    " Columns 1 through 2:\n 1 2\n Column 3:\n 3\n", "np.float64(1.5)", "[INFO] grad = [[1, 2]]",
    '{"gradients": {"W": [[1]]}}',
)  # fmt: skip
SPLICES = st.sampled_from(
    (*PIECES, *NAMES, "1e400", "1e-400", NINES, "9007199254740993", "\ud800", '"W": ', "null", ";")
)


@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 9), SPLICES), max_size=4))
@settings(max_examples=100)
def test_whatever_stands_in_a_text_is_read_or_refused(seed: str, edits: list[tuple[float, int, str]]) -> None:
    for place, removed, added in edits:
        start = int(place * len(seed))
        seed = seed[:start] + added + seed[start + removed :]
    for read in READERS:
        try:
            read(seed)
        except XegradError as error:
            assert len(str(error)) <= 300
