"""What is read of a file, value by value, with what is said of it; each row of a table is one file."""

from __future__ import annotations

import json as python_json
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from msgspec import UNSET

from xegrad import InputError, Problem, Targets, max_memory
from xegrad.claim import Claim, Reading
from xegrad.formats import FORMATS, claim, csv, json, labels, naming, ndjson, resolution, tokens, values
from xegrad.formats.labels import LabelText
from xegrad.formats.raw_problem import RawProblem
from xegrad.naming import classes_in
from xegrad.problem import Layout
from xegrad.problem_spec import FIELDS


def plain(value: Any) -> Any:
    """As Python writes it."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    return [*map(str, value)] if isinstance(value, list) and isinstance(value[0], str) else value


def read(text: str, part: str | None = None) -> Any:
    """The values of a table, and the note on it if there is one; or why it is refused."""
    try:
        raw = csv.load(text.encode(), part)
    except InputError as error:
        return str(error)
    assert raw.rows_are_inputs == (part is None)
    assert (raw.sources, raw.labels_are_a_column, raw.beside) == ({}, False, frozenset())
    found = plain({**raw.values})
    return found | ({"note": raw.note} if raw.note else {})


NOTE = "left out: the first column, which has no name, as the index of pandas"
W = {"W": [[1.0, 2.0], [3.0, 4.0]], "x": [0.5, -1.0]}
HINT = "; a data set is given with -x FILE --label-column NAME"
EXPECTED = "in a problem in CSV the header is x, then the class names"
TABLES: list[tuple[str, str | None, Any]] = [
    ("x,cat,dog\n0.5,1,2\n-1,3,4\n", None, W | {"classes": ("cat", "dog")}),
    ("x,0,1\n0.5,1,2\n-1,3,4\n", None, W),
    ("x,1,0\n0.5,1,2\n-1,3,4\n", None, W | {"classes": ("1", "0")}),
    ("x,0,1\n0.5,1,2\n-1,3,4\nBias,5,6\nLABEL,0,1", None, W | {"b": [5.0, 6.0], "label": [0.0, 1.0]}),
    ("x,0,1\nlabel,0,1\n0.5,1,2\nbias,5,6\n-1,3,4\n", None, W | {"b": [5.0, 6.0], "label": [0.0, 1.0]}),
    ("\n x , 0,1\n\n0.5, 1 ,2\n,,\n-1,3,4\n", None, W),
    ("x,0,1\n0.5,1,2\nbias,5,6\nbias,5,6\n", None, "line 4: a second row 'bias'; one is expected"),
    ("x,0,1\n0.5,1,2\n+1,3,4\n", None, {"W": [[1.0, 2.0], [3.0, 4.0]], "x": [0.5, 1.0]}),
    ("x,0\n9007199254740993,1\n", None, "line 2, column 1 is 9007199254740993, a whole number that float64 does not "
     "hold; if it may be rounded, write it with a point or an exponent"),
    ("x,0\n9007199254740993.0,1\n", None, {"W": [[1.0]], "x": [2.0**53]}),
    ("x,0,1\nbias,5\n0.5,1,2\n", None, "line 2 has 2 cells, but the header has 3"),
    ("a,0\n1,2\n", None, f"line 1: found 'a'; {EXPECTED}{HINT}"),
    ("a\n1\n", None, f"line 1: found 'a'; {EXPECTED}"),
    (",0\n1,2\n", None, f"line 1: found ''; {EXPECTED}; pandas leaves its index out with to_csv(index=False)"),
    ("1,0\n1,2\n", None, f"line 1: found '1'; {EXPECTED}; W alone is given with -W"),
    ("{1,0\n", None, f"line 1: found '{{1'; {EXPECTED}; this looks like JSON"),
    ("x,a,\n1,2,3\n", None, "line 1, column 3: a class without a name; the header is x, then the class names"),
    ("x,0\nlabel,1\n", None, "there is no row of numbers; each input is a row: x_j, then W[j, :]"),
    ("x,0\nlable,1\n", None, "line 2, column 1 is 'lable'; a number is expected (the rows of the target and of b "
     "begin with label and bias)"),
    ("x,0\ntargets,1\n", None, "line 2, column 1 is 'targets'; a number is expected (the rows of the target and of "
     "b begin with label and bias)"),
    ("x,0\nBias:,1\n", None, "line 2, column 1 is 'Bias:'; a number is expected (the rows of the target and of b "
     "begin with label and bias)"),
    ("x,0\n1,label\n", None, "line 2, column 2 is 'label'; a number is expected"),
    ('x,0\n1,"1,5"\n', None, "line 2, column 2 is '1,5'; a number is expected (a decimal comma? xegrad reads a point)"),
    ("x,0\n1,-inf\n", None, "line 2, column 2 is '-inf'; every number must be finite"),
    ("x,0\n1,1e999\n", None, "line 2, column 2 is too large for float64, whose largest number is 1.8e308"),
    ("", None, "has no cell that is not empty"),
    (",\n", "W", "has no cell that is not empty"),
    # W, with or without names.
    ("1,2\n3,4\n", "W", {"W": W["W"]}),
    ("1\t2\n3\t4\n", "W", "line 1: found cells separated by tabs; commas are expected"),
    ("1;2\n3;4\n", "W", "line 1: found cells separated by semicolons; commas are expected"),
    ("1;2,3\n4\n", "W", "line 2 has 1 cell, but the header has 2"),
    ("a,b\n1,2\n3,4\n", "W", {"W": W["W"], "classes": ("a", "b")}),
    ("0,1\n1,2\n3,4\n", "W", {"W": [[0.0, 1.0], [1.0, 2.0], [3.0, 4.0]]}),
    (",a,b\n0,1,2\n1,3,4\n", "W", {"W": W["W"], "classes": ("a", "b"), "note": NOTE}),
    (",a,b\nu,1,2\nv,3,4\n", "W", {"W": W["W"], "classes": ("a", "b"), "note": NOTE}),
    (",a\nu,1\nv,3\n", "W", {"W": [[1.0], [3.0]], "classes": ("a",), "note": NOTE}),
    ("a,b\n", "W", "there are no numbers below the header"),
    ("a,1\n1,2\n", "W", "line 1, column 1 is 'a' among numbers; a row holds numbers, a header only names"),
    ("1,2\n3\n", "W", "line 2 has 1 cell, but line 1 has 2"),
    ("a,b\n1,2\n3\n", "W", "line 3 has 1 cell, but the header has 2"),
    ("1,2\n", "W", {"W": [[1.0, 2.0]]}),
    # x: one line is one example, and a header names the inputs if it tells them apart.
    ("1,2\n3,4\n", "x", {"x": [[1.0, 2.0], [3.0, 4.0]]}),
    ("1,2\n", "x", {"x": [1.0, 2.0]}),
    ("1\n2\n", "x", {"x": [[1.0], [2.0]]}),
    ("a,b\n1,2\n3,4\n", "x", {"x": [[1.0, 2.0], [3.0, 4.0]], "input_names": ("a", "b")}),
    ("a,b\n1,2\n", "x", {"x": [1.0, 2.0], "input_names": ("a", "b")}),
    ("a\n1\n2\n", "x", {"x": [[1.0], [2.0]]}),
    ("a,a\n1,2\n3,4\n", "x", {"x": [[1.0, 2.0], [3.0, 4.0]]}),
    ("a\n1\nb\n", "x", "line 3, column 1 is 'b'; a number is expected; if it is a data set, --label-column names the "
     "column that is the label"),
    # Labels.
    ("cat\n", "label", {"label": ["cat"]}),
    ("cat\n1\n2\n", "label", {"label": ["1", "2"]}),
    ("cat\ndog\n2\n", "label", {"label": ["cat", "dog", "2"]}),
    ("cat,1,2\n", "label", {"label": ["cat", "1", "2"]}),
    (",kind\n0,cat\n1,dog\n", "label", {"label": ["cat", "dog"], "note": NOTE}),
    (",a,b\n0,1,0\n1,0,1\n", "label", {"label": [[1.0, 0.0], [0.0, 1.0]], "note": NOTE}),
    (",kind\n0,cat\n1\n", "label", "line 3 has 1 cell, but the header has 2"),
    ("1,0\n0.5,0.5\n", "label", {"label": [[1.0, 0.0], [0.5, 0.5]]}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "part", "expected"), TABLES)
def test_a_table_holds(text: str, part: str | None, expected: Any) -> None:
    """Whatever ends its lines, and whether or not a cell must be looked at by itself."""
    assert read(text, part) == expected
    if isinstance(expected, dict):
        assert read(text.replace("\n", "\r\n"), part) == expected
        assert read(text.strip("\n").replace("\n", "\r"), part) == expected
        quoted = re.sub(r"(?m)(?<![^,\n])([^,\n]+)", r'"\1"', text)
        assert read(quoted, part) == expected


ROWS = "".join(f"{k},{k + 1},{k + 2}\n" for k in range(50))
QUICK: list[tuple[str, str | None, int]] = [
    (f"x,a,b\n{ROWS}", None, 1),
    (f"x,a,b\n{ROWS}bias,1,2\nlabel,0,1\n", None, 3),
    (f"x,a,b\nlabel,0,1\n\n{ROWS}", None, 2),
    (ROWS, "W", 0),
    (f"a,b,c\n{ROWS}", "W", 1),
    (f"a,b,c\n{ROWS}".replace("\n", "\r\n"), "x", 1),
]


@pytest.mark.parametrize(("text", "part", "n_words"), QUICK)
def test_only_the_lines_with_words_are_read_cell_by_cell(
    text: str, part: str | None, n_words: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All else at once, which is ten times as fast."""
    lines, looked_at = csv._lines, []

    def counted(data: bytes) -> Any:
        looked_at.append(data.count(b"\n"))
        return lines(data)

    monkeypatch.setattr(csv, "_lines", counted)
    read(text, part)
    assert sum(looked_at) == n_words


@pytest.mark.parametrize(
    "text",
    [
        f"x,a,b\n{ROWS}bias,1\n",  # too short
        f"x,a,b\n{ROWS}bias,1,2\nlabel,0,1\nbias,1,2\n",
        f"x,a,b\n{ROWS}biased,1,2\n",
        f'x,"a",b\n{ROWS}',
        f"{ROWS}x,a,b\n",
        f"x,a,b\n{ROWS}.5,1,2\n",
        f"x,a,b\n{ROWS}9007199254740992,1,2\n",
        f"x,a,b\r{ROWS}",
    ],
)
def test_a_table_with_more_in_it_is_read_cell_by_cell(text: str) -> None:
    assert csv._apart(text.encode(), None)[1] is None


def data_set(text: str, column: str = "kind") -> Any:
    try:
        raw = csv.read_data_set(text.encode(), "d.csv", column)
    except InputError as error:
        return str(error)
    assert raw.sources == {key: "d.csv" + (": kind" if key == "label" else "") for key in raw.values}
    assert raw.labels_are_a_column and not raw.rows_are_inputs
    return plain({**raw.values}) | ({"note": raw.note} if raw.note else {})


DATA_SETS: list[tuple[str, Any]] = [
    ("a,b,kind\n1,2,u\n3,4,v\n", {"x": [[1.0, 2.0], [3.0, 4.0]], "label": ["u", "v"], "input_names": ("a", "b")}),
    ("kind,a\nu,1\nv,3\n", {"x": [[1.0], [3.0]], "label": ["u", "v"], "input_names": ("a",)}),
    ("a,kind,a\n1,u,2\n", {"x": [[1.0, 2.0]], "label": ["u"]}),
    ("a,kind,\n1,u,2\n", {"x": [[1.0, 2.0]], "label": ["u"]}),
    (",a,kind\n0,1,u\n1,3,v\n", {"x": [[1.0], [3.0]], "label": ["u", "v"], "input_names": ("a",), "note": NOTE}),
    ("a,w,kind,z\n1,p,u,q\n3,r,v,s\n", {"x": [[1.0], [3.0]], "label": ["u", "v"], "input_names": ("a",),
     "note": "x is a; left out, since not numbers: w, z"}),
    (",a,w,kind\n0,1,p,u\n", {"x": [[1.0]], "label": ["u"], "input_names": ("a",),
     "note": f"x is a; left out, since not numbers: w; {NOTE}"}),
    ("a,kind,kind\n1,u,2\n", "d.csv: line 1: columns 2 and 3 are both named 'kind'; which holds the labels? "
     "Rename the other"),
    ("a,b\n1,2\n", "d.csv: line 1: there is no column 'kind' among a, b"),
    ("a,,kimd\n1,2,3\n", "d.csv: line 1: there is no column 'kind' among a, kimd; did you mean kimd?"),
    ("a,kind\n", "d.csv: there are no rows below the header"),
    ("a,kind\n1,u\n2,\n", "d.csv: line 3, column 2 is empty; a label is expected"),
    ("a,kind\n1,u\nz,v\n", "d.csv: line 3, column 1 is 'z' in a, a column of numbers"),
    ("a,kind\n,u\n1,v\n", "d.csv: line 2, column 1 is empty in a, a column of numbers"),
    ("a,kind\nz,u\n", "d.csv: no column holds numbers alone"),
    ("a,kind\n1,u\n2\n", "d.csv: line 3 has 1 cell, but the header has 2"),
    ("a,kind\n1,u\ninf,v\n", "d.csv: line 3, column 1 is 'inf'; every number must be finite"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), DATA_SETS)
def test_a_data_set_holds(text: str, expected: Any) -> None:
    assert data_set(text) == expected


def test_the_column_without_a_name_may_be_the_label() -> None:
    """Then it is no index."""
    raw = csv.read_data_set(b",a\nu,1\nv,2\n", "d.csv", "")
    assert plain({**raw.values}) == {"x": [[1.0], [2.0]], "label": ["u", "v"], "input_names": ("a",)}
    assert raw.note == ""


def test_numbers_are_written_as_the_shortest_text_of_the_same_float() -> None:
    numbers = [0.0, -0.0, 1.0, -3.0, 0.1, 2.0**53 - 1, 2.0**53, 1e300, 5e-324, float("nan"), -float("inf")]
    texts = ["0", "-0.0", "1", "-3", "0.1", "9007199254740991", "9007199254740992.0", "1e+300", "5e-324"]
    assert csv._cells(np.array(numbers)) == [*texts, "nan", "-inf"]
    assert csv.write_array(np.array([1.0, 0.5]), None) == b"1,0.5\n"
    assert csv.write_array(np.array([[1.0], [0.5]]), ("a,b",)) == b'"a,b"\n1\n0.5\n'
    one = {"W": np.array([[1.0, 2.0]]), "x": np.array([0.5]), "label": 1, "b": np.array([3.0, 4.0])}
    assert csv.write_problem(RawProblem(one)) == b"x,0,1\n0.5,1,2\nbias,3,4\nlabel,0,1\n"
    del one["b"]
    named = RawProblem(one | {"classes": ("u", "v")})
    assert csv.write_problem(named) == b"x,u,v\n0.5,1,2\nlabel,0,1\n"
    for other in (
        {"x": np.array([[0.5]]), "label": [1]},
        {"label_smoothing": 0.1},
        {"class_weights": np.ones(2)},
        {"input_names": ("a",)},
        {"dtype": "float32"},
    ):
        with pytest.raises(InputError, match="do not fit into CSV"):
            csv.write_problem(RawProblem(one | other))
    with pytest.raises(InputError, match="loses the blanks around the class name 'u '"):
        csv.write_problem(RawProblem(one | {"classes": ("u ", "v")}))


# Problems as JSON has them.


def test_errors_begin_with_the_name_of_what_they_are_about_if_it_has_one() -> None:
    for name, message, expected in [
        ("f", "is bad", "f: is bad"),
        ("f", " is bad", "f is bad"),
        ("f", ": is bad", "f: is bad"),
        ("", "is bad", "is bad"),
        ("", " is bad", " is bad"),
    ]:
        with pytest.raises(InputError) as raised, naming(name):
            raise InputError(message, "W")
        assert (str(raised.value), raised.value.part) == (expected, "W")


@pytest.mark.parametrize(
    ("x", "w", "transpose", "is_batch"),
    [
        ((3,), (3, 2), None, False),
        ((2, 3), (3, 2), None, True),
        ((1, 3), (3, 2), None, True),
        ((3, 1), (3, 2), None, False),  # a column of as many numbers as W has inputs
        ((2, 1), (2, 3), None, False),
        ((2, 1), (3, 2), None, True),
        ((3, 1), (2, 3), True, False),
        ((2, 1), (2, 3), True, True),
        ((1, 1), (1, 2), None, True),
        ((2, 1), (1, 2), None, True),
        ((3, 1), None, None, True),
        ((3,), None, None, False),
        (None, (3, 2), None, False),
        ((3, 1), (3,), None, True),
    ],
)
def test_x_is_a_batch_or_one_example(x: Any, w: Any, transpose: bool | None, is_batch: bool) -> None:
    parts = {key: np.ones(shape) for key, shape in (("x", x), ("W", w)) if shape is not None}
    raw = RawProblem(parts if transpose is None else parts | {"transpose": transpose})
    assert raw.is_batch == is_batch
    assert raw.layout == Layout(transpose=transpose is True, is_batch=is_batch)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"x": np.ones((2, 2))}, "x has 2 entries in each row but W has 3 rows; W is read as (inputs, classes). "
         "If yours is (classes, inputs), add --transpose"),
        ({"x": np.ones((3, 2))}, "x has 2 entries in each row but W has 3 rows; W is read as (inputs, classes). "
         "x is rows x inputs, and yours seems to be the other way round"),
        ({"x": np.ones(4)}, "x has 4 entries but W has 3 rows; W is read as (inputs, classes). "
         "x needs one number for each input"),
        ({"x": np.ones(3), "transpose": True}, "x has 3 entries but W has 2 columns; W is read as (classes, inputs). "
         "If yours is (inputs, classes), add --no-transpose"),
        ({"x": np.ones((2, 0))}, "x has no numbers; each row of it needs one for each of 3 inputs"),
        ({"W": np.ones(2)}, "W is a list of 2 numbers; it must have two dimensions, one list for each input: "
         "[[1, 2], [3, 4]]"),
        ({"W": np.ones(1), "transpose": True}, "W is a list of 1 number; it must have two dimensions, one list for "
         "each class: [[1, 2], [3, 4]]"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_with_what_may_be_meant(fields: dict[str, Any], said: str) -> None:
    raw = RawProblem({"W": np.ones((3, 2)), "x": np.ones(3), "label": 0} | fields)
    with pytest.raises(InputError) as raised:
        raw.problem()
    assert str(raised.value) == said
    part = "x" if said.startswith("x ") else "W"
    assert raised.value.part == part
    sources = RawProblem(raw.values, {"problem": "all", "b": "of b"})
    with pytest.raises(InputError, match="all: "):
        sources.problem()
    of_part = RawProblem(raw.values, {"problem": "all", part: "its own"})
    with pytest.raises(InputError, match="its own: "):
        of_part.problem()


def test_values_over_others_have_their_sources() -> None:
    below = RawProblem({"W": 1, "x": 2}, {"W": "f", "x": "f"}, rows_are_inputs=True, labels_are_a_column=True)
    above = RawProblem({"x": 3}, {"x": "-x"}, note="n")
    both = above.over(below)
    assert (both.values, both.sources) == ({"W": 1, "x": 3}, {"W": "f", "x": "-x"})
    assert both.rows_are_inputs and both.labels_are_a_column
    assert not below.over(RawProblem()).rows_are_inputs
    assert below.over(RawProblem()).labels_are_a_column
    turned = RawProblem({"transpose": True}, {"transpose": "--transpose"})
    with pytest.raises(InputError, match="f: --transpose does not apply"):
        turned.over(below)
    assert RawProblem({"transpose": True, "W": 4}).over(below).values["W"] == 4
    assert RawProblem({"transpose": False}).over(below).values["W"] == 1
    assert turned.over(RawProblem({"W": 1})).values == {"W": 1, "transpose": True}
    read = RawProblem({"W": 1, "x": 2}, {"x": ":k"})
    assert read.read_from("f", is_whole=True).sources == {"problem": "f", "W": "f", "x": "f:k"}
    assert read.read_from("f", is_whole=False).sources == {"W": "f", "x": "f:k"}
    assert read.without("W", "b").values == {"x": 2}
    assert RawProblem({"id": 0}).id == 0 and RawProblem().id is UNSET


LINE = '{"W":[[1,2],[3,4]],"x":[5,6],"label":1'


@pytest.mark.parametrize(
    ("lines", "is_read"),
    [
        ([f"{LINE}}}"], True),
        ([f"{LINE}}}", f'{LINE},"id":7}}', f"  {LINE}}}\t"], True),
        ([f'{LINE},"id":[1]}}'], False),
        ([f'{LINE},"id":{{}}}}'], False),
        ([f'{LINE},"id":"a:b"}}'], True),  # more colons than keys
        ([f'{LINE},"x":[5,6]}}'], False),  # a key twice
        ([f'{LINE},"id":"\\u0061"}}'], False),
        ([f'{LINE},"gradient":NaN}}'], False),
        ([f'{LINE},"gradient":[Infinity]}}'], False),
        ([f'{LINE},"gradient":[1,2]}}'], True),
        ([f"{LINE}}}", "", f"{LINE}}}"], False),
        ([f"{LINE}}} {LINE}}}", f"{LINE}}}"], False),
        ([f"{LINE}}}", f"{LINE}"], False),
        (['{"W":[[1,2],', '"x":[3],"label":1}'], False),
        (["[1]"], False),
    ],
)
def test_lines_are_read_together_if_each_is_a_plain_problem(lines: list[str], is_read: bool) -> None:
    text = "\n".join(lines).encode()
    read = json.read_objects(text)
    assert (read is not None) == is_read
    if read is not None:
        objects, columns = read
        alone = [json.read_object(line.encode()) for line in lines]
        assert objects == alone
        assert columns == json.columns(alone)
        assert [*columns] == [*FIELDS]
        assert columns["label"] == (1,) * len(lines)


def test_lines_of_a_stream_are_read_together_or_one_by_one() -> None:
    """Their numbers count from the first line of the stream, of which some may be empty."""
    together = ndjson.lines(ndjson.Chunk(f'{LINE}}}\n{LINE},"id":7}}'.encode(), 4))
    assert [*together.numbers] == [4, 5] and [*together.ids] == [UNSET, 7]
    assert together.columns is not None and [one.label for one in together.fields] == [1, 1]
    apart = ndjson.lines(ndjson.Chunk(f'\n{LINE},"id":8}}\n \n{{\n{LINE}}}\n'.encode(), 3))
    assert apart.numbers == [4, 6, 7] and [*apart.ids] == [8, UNSET, UNSET] and apart.columns is None
    assert isinstance(apart.fields[1], InputError) and apart.fields[2].label == 1
    marked = ndjson.lines(ndjson.Chunk(f"\ufeff{LINE}}}".encode(), 1))
    assert marked.columns is not None
    later = ndjson.lines(ndjson.Chunk(f"\ufeff{LINE}}}".encode(), 2))
    assert isinstance(later.fields[0], InputError)
    refused = ndjson.lines(ndjson.Chunk(b"", 5, "it is too long"))
    assert (refused.numbers, refused.ids) == ([5], [UNSET]) and str(refused.fields[0]) == "it is too long"
    assert ndjson.lines(ndjson.Chunk(b"\n \n", 1)).numbers == []


@pytest.mark.parametrize(
    "depth", [tokens.DEEPEST - 2, tokens.DEEPEST - 1, tokens.DEEPEST, tokens.DEEPEST + 1]
)
@pytest.mark.parametrize("kind", ["[]", "{}"])
def test_brackets_are_nested_as_deeply_as_can_be_followed(depth: int, kind: str) -> None:
    """A hundred, the object of the problem among them; brackets in texts are none."""
    opening = "[" if kind == "[]" else '{"a":'
    claimed = opening * depth + "1" + kind[1] * depth
    chunk = ndjson.Chunk(f'{LINE},"gradient":{claimed},"id":"[[[{{{{"}}'.encode(), 1)
    (field,) = ndjson.lines(chunk).fields
    assert isinstance(field, InputError) == (depth >= tokens.DEEPEST)
    beside = ndjson.Chunk(f'{LINE},"gradient":{claimed}}}\n{LINE}}}'.encode(), 1)
    assert isinstance(ndjson.lines(beside).fields[0], InputError) == (depth >= tokens.DEEPEST)
    wide = ",".join(["[1]"] * 300)
    assert not isinstance(
        ndjson.lines(ndjson.Chunk(f'{LINE},"gradient":[{wide}]}}'.encode(), 1)).fields[0], Exception
    )


def test_an_id_is_as_deep_as_can_be_written_again() -> None:
    for depth, is_fine in ((tokens.DEEPEST - 1, True), (tokens.DEEPEST, False)):
        value: Any = 1
        for level in range(depth):
            value = [value] if level % 2 else {"a": value}
        text = f'{LINE},"id":{python_json.dumps(value)}}}'.encode()
        assert (json.id_of(text) is not UNSET) == is_fine
        if is_fine:
            assert json.read_object(text).id == value
        else:
            with pytest.raises(InputError, match="nested too deeply"):
                json.read_object(text)
    assert json.id_of(b'{"id":3,"W":"?"}') == 3
    assert json.id_of(b'{"W":"?"}') is UNSET and json.id_of(b"[1]") is UNSET and json.id_of(b"{") is UNSET


@pytest.mark.parametrize(
    ("text", "most", "chunks"),
    [
        (b"a\nb\nc\nd\ne", 2, [(b"a\nb", 3), (b"c\nd", 5), (b"e", 7)]),
        (b"a\nb", 2, [(b"a\nb", 3)]),
        (b"\n \na\n\n", 2, [(b"a\n", 5)]),
        (b"", 1, []),
    ],
)
def test_a_chunk_is_split_where_lines_end(text: bytes, most: int, chunks: list[tuple[bytes, int]]) -> None:
    parts = ndjson.split(ndjson.Chunk(text, 3), most)
    assert [(part.text, part.number) for part in parts] == chunks
    refused = ndjson.Chunk(b"", 3, "why")
    assert ndjson.split(refused, 1) == [refused]
    assert ndjson.Chunk(text, 3).n_lines == text.count(b"\n") + 1


def problems_of(*lines: str) -> ndjson.Lines:
    return ndjson.lines(ndjson.Chunk("\n".join(lines).encode(), 1))


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("", '"label":0', True),
        ("", '"b":[1,2]', False),
        ("", '"id":1', False),
        ('"id":2', '"id":1', True),
        ("", '"label_smoothing":0.1', False),
        ('"classes":["a","b"]', '"classes":["a","c"]', False),
        ('"classes":["a","b"]', '"label":"b","classes":["a","b"]', False),
        ("", '"x":[[5,6]],"label":[1]', False),
        ("", '"x":[5]', False),
        ("", '"label":[0.5,0.5]', False),
        ("", '"class_weights":[1,2]', False),
        ("", '"gradient":[1,2]', True),
    ],
)
def test_lines_of_one_shape_are_one_stack(one: str, other: str, is_same: bool) -> None:
    def line(more: str) -> str:
        fields = python_json.loads(f"{LINE}}}") | python_json.loads(f"{{{more}}}")
        return python_json.dumps(fields)

    lines = problems_of(line(one), line(other), line(one), line(other))
    parts = ndjson.parts(lines, [0, 1, 2, 3])
    assert parts == ([[0, 1], [2, 3]] if is_same else [[0, 2], [1, 3]])


@pytest.mark.parametrize("options", [{}, {"x": np.array([7.0, 8.0])}, {"label": 0}, {"transpose": True}])
def test_the_problems_of_a_stack_are_those_of_its_lines(options: dict[str, Any]) -> None:
    given = RawProblem(options)
    kinds = [
        [f'{{"W":[[{k},2],[3,4]],"x":[5,{k}],"label":{k % 2},"b":[1,{k}]}}' for k in range(5)],
        [f'{{"W":[[{k},2],[3,4]],"x":[5,{k}],"label":[0.5,{k}]}}' for k in range(5)],
        [f'{{"W":[[{k},2],[3,4]],"x":[[5,{k}],[1,2],[0,0]],"label":[1,{k % 2},0]}}' for k in range(5)],
        [f'{{"W":[[{k},2],[3,4]],"x":[5,1],"label":"{"ab"[k % 2]}","classes":["a","b"]}}' for k in range(5)],
    ]
    for texts in kinds[: 1 if "x" in options or "label" in options else None]:
        lines = problems_of(*texts)
        alone = [ndjson.raw_problem(lines, k, given).problem() for k in range(5)]
        for places in ([0, 1, 2, 3, 4], [3, 1]):
            stack = ndjson.stack(lines, places, given)
            assert stack.places == places and stack.layout == ndjson.stack(lines, [0], given).layout
            for k, place in enumerate(places):
                one = stack.problem.at(k)
                for part in ("weights", "inputs", "bias"):
                    np.testing.assert_array_equal(getattr(one, part), getattr(alone[place], part))
                first, second = (
                    problem.targets.effective(2, np.dtype(float)) for problem in (one, alone[place])
                )
                np.testing.assert_array_equal(first, second)
    single = ndjson.stack(lines, [2], given)
    assert single.problem.weights.ndim == 2


def test_a_stack_holds_as_many_lines_as_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """1 x 2^2 x 2 numbers in the layer Jacobian of each."""
    lines = problems_of(*[f'{{"W":[[{k},2],[3,4]],"x":[5,6],"label":1}}' for k in range(5)])
    whole = ndjson.stack(lines, range(5), RawProblem())
    assert [*ndjson.within_memory(whole)] == [whole]
    monkeypatch.setattr(ndjson, "STACK", 23)
    parts = [*ndjson.within_memory(whole)]
    assert [[*part.places] for part in parts] == [[0, 1], [2, 3], [4]]
    assert [part.problem.weights[:, 0, 0].tolist() for part in parts] == [[0.0, 1.0], [2.0, 3.0], [4.0]]


# Labels and arrays.


@pytest.mark.parametrize(
    ("label", "n_rows", "classes", "expected"),
    [
        (2, None, None, [2]),
        (LabelText("2"), None, None, [2]),
        (LabelText("+02"), None, ("a", "b", "c"), [2]),
        ("b", None, ("a", "b", "c"), [1]),
        (LabelText("2"), None, ("2", "1", "0"), [0]),
        ([0, 2], 2, None, [0, 2]),
        (["c", "a"], 2, ("a", "b", "c"), [2, 0]),
        ([LabelText("kind"), LabelText("c"), LabelText("a")], 2, ("a", "b", "c"), [2, 0]),
        ([LabelText("kind"), LabelText("2"), LabelText("0")], 2, None, [2, 0]),
        ([LabelText("a"), LabelText("c")], 2, ("a", "b", "c"), [0, 2]),
        (np.array([1, 0]), 2, None, [1, 0]),
        ([[0.5, 0.5, 0], [0, 0, 1]], 2, None, [[0.5, 0.5, 0], [0, 0, 1]]),
        (np.array([[0.5, 0.5, 0]]), 1, None, [[0.5, 0.5, 0]]),
        ([0.5, 0.5, 0], None, None, [[0.5, 0.5, 0]]),
        (np.array([[0.5, 0.5, 0]]), None, None, [[0.5, 0.5, 0]]),
        (["d", "a"], 2, ("a", "b", "c"), "label 'd' is not one of the classes a, b, c"),
        (["a", "c", "b"], 2, ("a", "b", "c"), [0, 2, 1]),
        ([LabelText("a"), LabelText("c"), LabelText("b")], 2, ("a", "b", "c"), [0, 2, 1]),
        (["1"], 1, None, "label '1' is a class name, but the problem names no classes; give an index from 0 to 2, or "
         "the names as classes"),
        (["a"], None, ("a",), "label is a list of names, but x is one example, which has one label; x of several has "
         "two dimensions: [[1, 2], [3, 4]]"),
        (LabelText("1,0"), None, None, "label '1,0' is no class; a target, or a list of labels, is a JSON list: [1,0]"),
        ("1,0", None, ("a", "b"), "label '1,0' is not one of the classes a, b"),
        (2**63, None, None, "label 9223372036854775808 is out of range; labels are zero-based indices"),
        (2**63 - 1, None, None, [2**63 - 1]),
        (-(2**63), None, None, [-(2**63)]),
        (-(2**63) - 1, None, None, "label -9223372036854775809 is out of range; labels are zero-based indices"),
        ([0, 2**63], 2, None, "label 9223372036854775808 is out of range; labels are zero-based indices"),
        ([-1, 2**63], 2, None, "label 9223372036854775808 is out of range; labels are zero-based indices"),
        ([0, 2**64], 2, None, "label 18446744073709551616 is out of range; labels are zero-based indices"),
        (LabelText("1" * 20), None, None, "label 11111111111111111111 is out of range; labels are zero-based indices"),
        (LabelText("0" * 30 + "1" * 18), None, None, [int("1" * 18)]),
    ],
)  # fmt: skip
def test_labels_are_targets(label: Any, n_rows: int | None, classes: Any, expected: Any) -> None:
    try:
        targets = labels.targets(label, n_rows, 3, classes, {"reduction": "sum"})
    except InputError as error:
        assert (str(error), error.part) == (expected, "label")
        return
    array = targets.soft if targets.labels is None else targets.labels
    assert np.asarray(array).tolist() == expected
    assert targets.reduction == "sum"
    assert (targets.soft is None) == isinstance(np.asarray(expected).ravel()[0].item(), int)


def test_names_in_a_column_are_sorted_and_as_many_as_the_classes() -> None:
    assert classes_in(["b", "a", "b", "1"], 3) == ("1", "a", "b")
    assert classes_in(["2", "+1", "-0"], 3) is None
    with pytest.raises(InputError, match=r"the labels name 2 classes \(a, b\), but W has 3; name all"):
        classes_in(["b", "a"], 3)
    classes = ("a", "2")
    assert labels.as_written([LabelText("a"), LabelText("2"), LabelText("3"), 4], classes) == ["a", "2", 3, 4]
    assert labels.as_written(LabelText("2"), None) == 2 and labels.as_written(1, classes) == 1


@pytest.mark.parametrize(
    ("array", "key", "expected"),
    [
        (np.array([1, 2]), "W", np.array([1, 2])),
        (np.array(3), "label", 3),
        (np.array(["a", "b"]), "label", ["a", "b"]),
        (np.array("a"), "label", "a"),
        (np.array([1, 2]), "label", np.array([1, 2])),
        (np.array([[0.5, 0.5]]), "label", np.array([[0.5, 0.5]])),
        (np.array(0.5), "label", " is 0.5; an index, a name, or a list of them is expected"),
        (np.array([["a"]]), "label", "holds <U1; real numbers are expected"),
        (np.array(2.0), "W", "has 0 dimensions; one or two are expected"),
        (np.ones((1, 1, 1)), "W", "has 3 dimensions; one or two are expected"),
        (np.array([True]), "W", "holds bool; real numbers are expected"),
        (np.array([0.1]), "label_smoothing", 0.1),
        (np.array(0.1), "label_smoothing", 0.1),
        (np.array(["a", "b"]), "classes", ["a", "b"]),
        (np.array("a"), "classes", " is 'a'; a list of names is expected"),
        (np.array([["a"]]), "classes", " is 'a'; a list of names is expected"),
        (np.array([[1, 2]]), "id", [[1, 2]]),
        (np.array("x"), "id", "x"),
        (np.array([[True, False]]), "transpose", " is an array of 1 x 2 bool; true or false is expected"),
        (np.array("yes"), "transpose", " is 'yes'; true or false is expected"),
        (np.array([True]), "transpose", True),
    ],
)
def test_an_array_is_the_value_of_a_field_or_refused(array: Any, key: str, expected: Any) -> None:
    if isinstance(expected, str) and expected.startswith((" ", "h")):
        with pytest.raises(InputError) as raised:
            values.checked(array, FIELDS[key])
        assert str(raised.value) == expected
    else:
        found = values.checked(array, FIELDS[key])
        assert type(found) is type(expected)
        np.testing.assert_array_equal(found, expected)


def test_a_list_of_nothing_takes_memory_too() -> None:
    """A million empty lists are refused where there is no room for them, and one is not."""
    with max_memory("1MB"):
        with pytest.raises(InputError, match="to read it takes"):
            values.checked(np.empty((10**6, 0)), FIELDS["id"])
        assert values.checked(np.empty((1, 0)), FIELDS["id"]) == [[]]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([1, 2.5], [1.0, 2.5]),
        ([[1], [2]], [[1.0], [2.0]]),
        ([2**53, 1], [2.0**53, 1.0]),
        ([], "$ is empty; numbers are expected"),
        ([1, [2]], "$ mixes numbers and lists; it is one or the other"),
        ([[1], [2], [3, 4]], "$[2] has 2 numbers, but $[0] has 1 number; all rows must be equally long"),
        ([[1, 2], []], "$[1] has 0 numbers, but $[0] has 2 numbers; all rows must be equally long"),
    ],
)
def test_rows_of_numbers_are_an_array(rows: Any, expected: Any) -> None:
    if isinstance(expected, str):
        with pytest.raises(InputError) as raised:
            values.array_of_rows(rows, "$", "W")
        assert (str(raised.value), raised.value.part) == (expected, "W")
    else:
        assert values.array_of_rows(rows, "$").tolist() == expected


def test_whole_numbers_that_float64_lacks_are_refused_and_others_are_numbers() -> None:
    assert values.number_of("9007199254740992") == 2.0**53
    assert values.number_of("-1" + "0" * 22) == -1e22
    assert values.number_of("9007199254740993.0") == 2.0**53
    assert values.number_of("1e999") == np.inf
    for text in ("9007199254740993", " +9007199254740993", "-9007199254740993"):
        with pytest.raises(
            InputError, match=r" is .*9007199254740993, a whole number that float64 does not hold"
        ):
            values.number_of(text)
    assert [values.is_number(text) for text in ("1", "-inf", " 2.5e3 ", "1_0", "१", "a", "")] == [
        True
    ] * 3 + [False] * 4


# How a claim was printed.


def written(*tokens: str) -> resolution.Written:
    return resolution.written([*tokens], (len(tokens),))


def test_the_last_place_of_whole_numbers_is_that_of_ones() -> None:
    assert written("1e5", "2e6").fixed == 0
    assert written("5", "100").fixed == 0
    assert written("0.25", "1e2").fixed == -2
    assert written("0e-9").fixed == 0 and written("nan").fixed == 0


def units(reading: Reading) -> Any:
    """Twice what is left open, in powers of ten."""
    with np.errstate(divide="ignore"):
        return np.log10(2 * np.asarray(reading.resolution)).round(6).tolist()


def test_columns_that_kept_all_zeros_are_read_each_to_its_last_place() -> None:
    """As R and pandas print them: by column one number of decimals."""
    table = resolution.written(["0.12", "10.5", "0.30", "2.5"], (2, 2))
    own, others = resolution.readings(table, by_column=True)
    assert others == () or own.decimals is None
    long = resolution.written(["0.12345", "10.5000", "0.30000", "2.2500"], (2, 2))
    own, others = resolution.readings(long, by_column=True)
    assert (own.decimals, own.digits, others) == (4, None, ())
    assert units(own) == [[-5, -4], [-5, -4]]
    mixed = resolution.written(["0.12345", "10.5", "0.3", "2.25"], (2, 2))
    assert mixed.as_they_stand() is None
    powers = resolution.written(["1.2345e-05", "2.5000e+00", "0.0000e+00", "3.1250e-02"], (2, 2))
    (own, others) = resolution.readings(powers, by_column=True)
    assert (own.digits, own.decimals) == (5, None)
    assert units(own) == [[-9, -4], [-np.inf, -6]]


@pytest.mark.parametrize(
    ("tokens", "decimals", "digits", "n_others"),
    [
        (["0.123", "0.456"], None, None, 2),  # few decimals, which may be exact
        (["0.1234", "0.4567"], 4, None, 0),
        (["0.123456789012", "0.4"], 12, None, 1),
        (["0.1234567890123", "0.4"], None, None, 2),  # 13 digits: none was rounded
        (["1.2345e-3", "4.5670e-1"], None, 5, 0),
        (["12", "15"], None, None, 0),
        (["0", "0"], None, None, 0),
        (["nan", "0.1234"], 4, None, 0),
    ],
)
def test_what_the_numbers_tell_of_how_they_were_printed(
    tokens: list[str], decimals: int | None, digits: int | None, n_others: int
) -> None:
    own, others = resolution.readings(written(*tokens))
    assert (own.decimals, own.digits) == (decimals, digits)
    assert len(others) <= n_others


SEED = Problem(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[0.5, 0.25]]), Targets([0]), np.zeros(2))
LAYOUT = Layout(transpose=False, is_batch=False)


def claimed(value: Any, names: Iterable[str] | None = None, asked: Reading | None = None) -> Claim:
    text = value if isinstance(value, str) else python_json.dumps(value)
    chosen = None if names is None else [*names]
    return claim.read(SEED, LAYOUT, chosen, claim.Written(text.encode(), "g"), asked=asked)


STEPS = {"weighted_sum": [1.25, 2.0], "probabilities": [0.25, 0.75]}


@pytest.mark.parametrize(
    ("value", "names", "gradients", "loss", "steps"),
    [
        ([[1, 2], [3, 4]], None, ["weights"], False, []),
        ([1, 2], ["bias"], ["bias"], False, []),
        ({"loss": 1}, None, [], True, []),
        ({"loss": 1, "gradient": [[1, 2], [3, 4]]}, None, ["weights"], True, []),
        ({"gradients": {"b": [1, 2], "x": [1, 2]}}, None, ["bias", "inputs"], False, []),
        ({"gradients": {"b": [1, 2], "x": [1, 2]}}, ["inputs"], ["inputs"], False, []),
        ({"gradient": [1, 2], "with_respect_to": "b"}, None, ["bias"], False, []),
        ({"probabilities": [0.25, 0.75], "gradient": [[1, 2], [3, 4]]}, None, ["weights"], False,
         ["probabilities", "gradient"]),
        ({"probabilities": [0.25, 0.75], "loss": 1}, None, [], True, ["probabilities", "loss"]),
        ({"probabilities": [0.25, 0.75], "gradients": {"b": [1, 2]}}, ["bias"], ["bias"], False, []),
        ({"probabilities": [0.25, 0.75], "gradients": {"b": [1, 2]}}, None, ["bias"], False, ["probabilities"]),
    ],
)  # fmt: skip
def test_a_claim_is_gradients_a_loss_and_steps(
    value: Any, names: Any, gradients: list[str], loss: bool, steps: list[str]
) -> None:
    read = claimed(value, names)
    assert [*read.gradients] == gradients
    assert (read.loss is not None) == loss
    assert {*read.steps} == {*steps}


@pytest.mark.parametrize(
    ("asked", "value", "said"),
    [
        (Reading(decimals=1), [[0.25, 1], [2, 3]], ["dL/dW has numbers of more than 1 decimal"]),
        (Reading(decimals=2), [[0.25, 1], [2, 3]], []),
        (Reading(digits=2), [[0.255, 1], [2, 3]], ["dL/dW has numbers of more than 2 digits"]),
        (Reading(digits=3), [[0.255, 1], [2, 3]], []),
        (Reading(), [[0.255, 1], [2, 3]], []),
        (None, [[0.255, 1], [2, 3]], []),
        (Reading(decimals=1), {"loss": 0.25, "gradients": {"b": [0.5, 1.5]}},
         ["loss has numbers of more than 1 decimal"]),
    ],
)  # fmt: skip
def test_numbers_of_more_than_was_asked_for_are_told(asked: Any, value: Any, said: list[str]) -> None:
    notes = claimed(value, asked=asked).notes
    assert notes == [f"{sentence}: it is read by what its text shows" for sentence in said]


def test_every_format_reads_by_its_own_name() -> None:
    """FILE:KEY is for those with keys."""
    assert {name for name, entry in FORMATS.items() if entry.has_keys} == {"npz", "safetensors"}
    assert {name for name, entry in FORMATS.items() if entry.writes_problem} == {"json", "csv"}
    with pytest.raises(InputError, match="f: CSV has no keys, so f:k names nothing"):
        FORMATS["csv"].load(b"1\n", "f", "W", "k")


@pytest.mark.parametrize(
    ("tokens", "likely"),
    [
        # To 5 decimals nothing is dropped; to 5 digits one zero of each number of four.
        (["0.12345", "0.54321", "0.01234"], [(5, None), (None, 5)]),
        (["0.12345", "0.01234", "0.04321"], [(5, None), (None, 5)]),
        (["0.12345", "0.01234", "0.04321", "0.09876"], [(5, None)]),
        # And the other way round: to 5 digits nothing is dropped, to 5 decimals a zero each.
        (["0.12345", "1.2345"], [(None, 5), (5, None)]),
        (["0.12345", "1.2345", "12.345"], [(None, 5)]),
        (["0.12345", "0.1230"], []),
        (["0.12345", "0.12300"], [(5, None), (None, 5)]),
        (["0", "0.0"], [(1, None)]),
        (["12345", "0"], [(0, None), (None, 5)]),
        # Of numbers with exponents the last decimal is that of 0.0015 and 0.0225.
        (["1.5e-3", "2.25e-2"], [(4, None), (None, 3)]),
    ],
)
def test_the_likelier_way_of_printing_dropped_fewer_zeros(
    tokens: list[str], likely: list[tuple[int | None, int | None]]
) -> None:
    """By three or more: less likely by a thousand.  A zero that was kept tells that none was dropped."""
    assert [(one.decimals, one.digits) for one in written(*tokens).likely()] == likely


def test_what_is_taken_for_printing_is_no_wider_than_the_last_place_of_what_has_most_digits() -> None:
    accepted = written("0.0190914", "62.9", "1e-3", "0").accepted()
    with np.errstate(divide="ignore"):
        assert np.log10(2 * accepted).round(6).tolist() == [-7, -7, -3, -7]


@pytest.mark.parametrize(
    ("tokens", "asked", "expected"),
    [
        (["0.12", "0.5"], Reading(decimals=2), (2, None, [-2, -2])),
        (
            ["0.12", "0.5"],
            Reading(decimals=1),
            (None, None, [-np.inf, -np.inf]),
        ),  # two decimals are taken for exact
        (["0.12", "0.5"], Reading(digits=2), (None, 2, [-2, -2])),
        (["0.12", "5.5"], Reading(digits=3), (None, 3, [-3, -2])),
        (["0.123", "5.5"], Reading(digits=2), (None, None, [-np.inf, -np.inf])),
        (["1.2e-3", "5.5e-1"], Reading(decimals=1), (1, None, [-4, -2])),
        (["1.2e-3", "0.5"], Reading(decimals=4), (4, None, [-4, -4])),
        (["0.12345", "0.5"], Reading(), (None, None, [-np.inf, -np.inf])),
    ],
)
def test_what_is_asked_for_is_what_is_read_unless_there_is_more(
    tokens: list[str], asked: Reading, expected: tuple[Any, ...]
) -> None:
    own, _ = resolution.readings(written(*tokens), asked)
    open_ = np.broadcast_to(units(own), len(tokens)).tolist()
    assert (own.decimals, own.digits, open_) == expected


@pytest.mark.parametrize(
    ("letter", "is_text"),
    [(0xD7FF, True), (0xD800, False), (0xDFFF, False), (0xE000, True), (0x10FFFF, True), (0x110000, False)],
)
def test_text_of_numpy_is_made_of_characters(letter: int, is_text: bool) -> None:
    array = np.array([letter], np.uint32).view("U1")
    if is_text:
        assert values.checked(array, FIELDS["classes"]) == [chr(letter)]
    else:
        with pytest.raises(InputError, match="holds half of a character, or what is none, which is no text"):
            values.checked(array, FIELDS["classes"])


@pytest.mark.parametrize(
    ("shape", "expected"), [((3,), (3,)), ((3, 1), (3,)), ((1, 3), (3,)), ((2, 3), (2, 3))]
)
def test_a_row_or_a_column_is_a_vector(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert values.vector(np.ones(shape)).shape == expected


def test_zeros_say_nothing_of_how_a_mantissa_was_printed() -> None:
    own, _ = resolution.readings(written("0", "1.2e-3"), Reading(decimals=1))
    assert (own.decimals, units(own)) == (1, [-1, -4])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"W": @}', "line 1, column 7: malformed JSON: invalid character '@'"),
        ("{1: 2}", "line 1, column 2: malformed JSON: object keys must be strings"),
        ('{"W": [[1,\n2]]} 3', "line 2, column 6: there is more after the end of the first; one is expected"),
        ('{"W": [[1]]}{', "line 1, column 13: a second value begins after the end of the first; one is expected"),
        ('{"W": [[1', "line 1, column 10: the JSON ends here, before it is complete"),
        ('{"W": [[-nan', "line 1, column 9: every number must be finite, and JSON has neither NaN nor Infinity"),
        ('{"id": "\\ud800"}', "it has half of a character, \\ud800 to \\udfff without its other half; "
         "text is expected"),
        ('{"W": 3}', "$.W is 3; a list is expected"),
        ('{"W": [[1], 2]}', "$.W[1] is 2; a list is expected"),
        ('{"label": {}}', "$.label is an object; a whole number or a string or a list is expected"),
        ('{"x": [true]}', "$.x[0] is true; a number or a list is expected"),
        ('{"classes": [1]}', "$.classes[0] is 1; a string is expected"),
        ("3", "holds a whole number; an object is expected"),
        ('{"W": [[1e999]]}', "$.W[0][0] is too large for float64, whose largest number is 1.8e308"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_json_is_told_with_its_place(text: str, said: str) -> None:
    with pytest.raises(InputError) as raised:
        json.load(text.encode())
    assert str(raised.value) == said


def test_numbers_that_json_has_no_word_for_may_stand_in_a_claim() -> None:
    text = f'{LINE},"gradient":[[NaN,1],[-Infinity,Infinity]],"loss":NaN}}'.encode()
    assert bytes(json.read_object(text).gradient) == b"[[null,1],[null,null]]"
    with pytest.raises(InputError, match="every number must be finite"):
        json.read_object(text.replace(b"[5,6]", b"[NaN,6]"))


def test_a_problem_that_has_moved_keeps_all_but_its_claim() -> None:
    """W in the layout of the file, labels by their names, and float32 if that is what it is in."""
    label = [LabelText("b"), LabelText("0")]
    given = RawProblem(
        {"W": np.zeros((3, 2)), "x": np.ones((2, 2)), "label": label, "transpose": True, "gradient": b"[1]"},
        {"W": "f"}, labels_are_a_column=True,
    )  # fmt: skip
    weights, bias = np.arange(6.0).reshape(2, 3), np.ones(3)
    one = Problem(
        weights, np.ones((2, 2)), Targets([1, 0], class_weights=np.ones(3)), bias, classes=("a", "b", "c")
    )
    moved = given.moved(one)
    found = {key: plain(value) for key, value in moved.values.items()}
    assert found == {
        "W": weights.T.tolist(), "x": [[1.0, 1.0]] * 2, "label": ["b", "0"], "transpose": True, "b": [1.0] * 3,
        "class_weights": [1.0] * 3, "classes": ("a", "b", "c"),
    }  # fmt: skip
    assert moved.values["label"] == ["b", 0] and not moved.labels_are_a_column and moved.sources == {"W": "f"}
    narrow = Problem(weights, np.ones((2, 2)), Targets([1, 0]), precision="float32", input_names=("p", "q"))
    again = RawProblem({"W": np.zeros((2, 3)), "b": np.zeros(3)}).moved(narrow)
    assert again.values["dtype"] == "float32" and again.values["input_names"] == ("p", "q")
    assert again.values["b"].tolist() == [0.0] * 3 and "label" not in again.values
    assert again.values["W"].tolist() == weights.tolist() and "dtype" not in moved.values


def test_a_problem_is_written_one_row_a_line() -> None:
    raw = RawProblem(
        {"W": np.array([[1.0, 2.0], [3.0, 4.0]]), "x": np.array([0.5, 1.5]), "label": 1, "gradient": b"[1]",
         "classes": ("a", "b")}
    )  # fmt: skip
    expected = (
        '{\n  "W": [\n    [1.0,2.0],\n    [3.0,4.0]\n  ],\n  "x": [0.5,1.5],\n  "label": 1,\n'
        '  "classes": ["a","b"],\n  "gradient": [1]\n}\n'
    )
    written = json.write_problem(raw).decode()
    assert written == expected
    again = json.load(written.encode())
    assert {key: plain(value) for key, value in again.values.items() if key != "gradient"} == {
        "W": [[1.0, 2.0], [3.0, 4.0]], "x": [0.5, 1.5], "label": 1, "classes": ["a", "b"],
    }  # fmt: skip
