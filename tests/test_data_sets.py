"""Data sets in files: what is read of each format, in which order, and what is said of what is wrong."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import socket
import sys
import zipfile
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain, combinations, pairwise
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from xegrad import data_sets
from xegrad.data_sets import DataSet, Piece, Rows, csv, formats, parquet, sources
from xegrad.data_sets.formats import FORMATS
from xegrad.data_sets.lines import count, spans
from xegrad.errors import InputError
from xegrad.formats import csv as whole_csv

ANIMALS = ("cat", "dog", "cow")
Columns = dict[str, list[Any]]


def write_parquet(path: Path, columns: Columns, **options: Any) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    write_table(pa.table(columns), path, **options)


def write_csv(path: Path, columns: Columns) -> None:
    pytest.importorskip("pyarrow")
    rows = zip(*columns.values(), strict=True)
    lines = [",".join(columns), *(",".join("" if x is None else str(x) for x in row) for row in rows)]
    path.write_text("\n".join(lines) + "\n")


def write_ndjson(path: Path, columns: Columns) -> None:
    rows = zip(*columns.values(), strict=True)
    path.write_text("".join(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows))


def write_npy(path: Path, columns: Columns) -> None:
    arrays = {name: np.array(values) for name, values in columns.items()}
    records = np.zeros(len(next(iter(arrays.values()))), [(name, a.dtype) for name, a in arrays.items()])
    for name, array in arrays.items():
        records[name] = array
    np.save(path, records)


WRITERS: dict[str, Callable[[Path, Columns], None]] = {
    "parquet": write_parquet,
    "csv": write_csv,
    "npy": write_npy,
    "ndjson": write_ndjson,
}
each_format = pytest.mark.parametrize("suffix", WRITERS)


def read(data: DataSet, n_rows: int = 64) -> Rows:
    """All rows, of blocks of so many."""
    blocks = [*data.blocks(0, -(-data.n_rows // n_rows), n_rows)]
    weights = [block.weights for block in blocks if block.weights is not None]
    return Rows(
        np.concatenate([block.inputs for block in blocks]),
        np.concatenate([block.labels for block in blocks]),
        np.concatenate(weights) if data.has_weights else None,
        sum(block.n_bad for block in blocks),
        [sentence for block in blocks for sentence in block.bad],
    )


def table(n_rows: int, seed: int = 0, **more: list[Any]) -> Columns:
    rng = np.random.default_rng(seed)
    numbers = {name: rng.normal(size=n_rows).tolist() for name in ("x1", "x2")}
    return {**numbers, "label": rng.integers(0, 3, n_rows).tolist(), **more}


def error_of(paths: Sequence[Any], label: str = "label", n_classes: int = 3, **options: Any) -> str:
    """What is said when these files are listed or read."""
    with pytest.raises(InputError) as caught:
        read(data_sets.in_files([*map(str, paths)], label, n_classes, **options))
    assert len(str(caught.value)) <= 300
    return str(caught.value)


def bad_of(path: Path, n_classes: int = 3, **options: Any) -> list[str]:
    """What is said of the rows that cannot be read, without the folder."""
    rows = read(data_sets.in_files([str(path)], "label", n_classes, **options))
    return [sentence.removeprefix(f"{path.parent}/") for sentence in rows.bad]


@each_format
def test_rows_are_those_of_the_files_in_the_order_of_their_paths(suffix: str, tmp_path: Path) -> None:
    parts = {f"part-{k}": table(n_rows, k) for k, n_rows in enumerate((5, 0, 70, 1))}
    for name in reversed(parts):
        if suffix != "ndjson" or parts[name]["x1"]:
            WRITERS[suffix](tmp_path / f"{name}.{suffix}", parts[name])
        else:
            (tmp_path / f"{name}.{suffix}").touch()
    data = data_sets.in_files([str(tmp_path / f"*.{suffix}")], "label", 3)
    rows = read(data)
    for k, name in enumerate(("x1", "x2")):
        assert rows.inputs[:, k].tolist() == [*chain(*(part[name] for part in parts.values()))]
    assert rows.labels.tolist() == [*chain(*(part["label"] for part in parts.values()))]
    assert [file.n_rows for file in data.files] == [5, 0, 70, 1]
    assert not rows.n_bad


@each_format
def test_blocks_are_cut_by_position_whatever_the_files_are(suffix: str, tmp_path: Path) -> None:
    whole = table(150)
    for name, cuts in {"one": [0, 150], "many": [0, 1, 64, 65, 149, 150]}.items():
        (tmp_path / name).mkdir()
        for k, (start, stop) in enumerate(pairwise(cuts)):
            part = {column: values[start:stop] for column, values in whole.items()}
            WRITERS[suffix](tmp_path / name / f"{k}.{suffix}", part)
    one, many = (data_sets.in_files([str(tmp_path / name)], "label", 3) for name in ("one", "many"))
    for block in range(3):
        (from_one,), (from_many,) = one.blocks(block, block + 1, 64), many.blocks(block, block + 1, 64)
        assert from_one.inputs.tobytes() == from_many.inputs.tobytes()
        assert from_one.inputs.flags.c_contiguous and from_many.inputs.flags.c_contiguous
        assert from_one.inputs[:, 0].tolist() == whole["x1"][64 * block : 64 * block + 64]
        assert from_many.labels.tolist() == whole["label"][64 * block : 64 * block + 64]


def test_a_format_ends_in_what_the_table_says_and_has_its_module() -> None:
    assert {suffix.lstrip(".") for suffix in FORMATS} == {*WRITERS, "pq", "jsonl"}
    for entry in FORMATS.values():
        assert callable(entry.load().read)


def test_a_data_set_is_small_and_goes_to_another_process(tmp_path: Path) -> None:
    write_ndjson(tmp_path / "a.ndjson", table(9))
    data = data_sets.in_files([str(tmp_path)], "label", 3)
    copy = pickle.dumps(data)
    assert len(copy) < 2000
    assert read(pickle.loads(copy)).inputs.tobytes() == read(data).inputs.tobytes()


# Columns.


@each_format
def test_columns_are_found_by_name_and_read_as_they_are_asked_for(suffix: str, tmp_path: Path) -> None:
    columns = {**table(4), "weight": [0.5, 1.0, 2.0, 0.0]}
    WRITERS[suffix](tmp_path / f"1.{suffix}", columns)
    WRITERS[suffix](tmp_path / f"2.{suffix}", dict(reversed(columns.items())))
    data = data_sets.in_files([str(tmp_path)], "label", 3, columns=["x2", "x1"], weight_column="weight")
    rows = read(data)
    assert rows.inputs.T.tolist() == [2 * columns["x2"], 2 * columns["x1"]]
    assert rows.weights is not None and rows.weights.tolist() == 2 * columns["weight"]
    by_default = data_sets.in_files([str(tmp_path)], "label", 3, weight_column="weight")
    assert read(by_default).inputs.T.tolist() == [2 * columns["x1"], 2 * columns["x2"]]


@each_format
def test_a_column_that_does_not_fit_is_named_with_its_file(suffix: str, tmp_path: Path) -> None:
    paths = tmp_path / f"1.{suffix}", tmp_path / f"2.{suffix}"
    WRITERS[suffix](paths[0], table(2))
    columns = table(2)
    WRITERS[suffix](paths[1], {"x1": columns["x1"], "label": columns["label"]})
    assert error_of(paths) == f"{paths[1]} has no column 'x2'; its columns are x1, label"
    WRITERS[suffix](paths[1], {**columns, "x2": ["far", "near"]})
    assert error_of(paths) == f"{paths[1]}: column 'x2' holds text; numbers are expected"
    WRITERS[suffix](paths[1], {**columns, "x3": [1.0, 2.0]})
    assert f"2.{suffix} has a column 'x3', which" in error_of(paths)
    assert error_of(paths[:1], "labels").endswith("has no column 'labels'; its columns are x1, x2, label")
    assert "'x1' is asked for twice" in error_of(paths[:1], columns=["x1", "x1"])
    assert "'label' is asked for twice" in error_of(paths[:1], columns=["x1", "label"])


def test_a_column_that_is_text_in_the_first_file_alone_is_no_input_in_silence(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "1.csv").write_text("x1,name,label\n1,a,0\n")
    (tmp_path / "2.csv").write_text("x1,name,label\n")
    assert data_sets.in_files([str(tmp_path)], "label", 3).n_inputs == 1
    (tmp_path / "2.csv").write_text("x1,name,label\n1,2,0\n")
    assert error_of([tmp_path]).startswith(
        f"{tmp_path}/2.csv: column 'name' holds numbers, and that of {tmp_path}/1.csv text; name the inputs"
    )


def test_a_label_that_is_a_float_is_refused_but_in_a_table_of_floats(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_parquet(path, {"x": [1.0], "label": [1.0]})
    assert error_of([path]) == f"{path}: column 'label' holds float64; whole numbers or text are expected"
    np.save(tmp_path / "a.npy", [[0.5, 1.5, 2.0], [3.0, -1.0, 1.5], [1.0, 1.0, np.nan]])
    rows = read(data_sets.in_files([str(tmp_path / "a.npy")], "-1", 3))
    assert (rows.inputs.tolist(), rows.labels.tolist()) == ([[0.5, 1.5]], [2])
    assert [sentence.partition(": ")[2] for sentence in rows.bad] == [
        "row 2: label 1.5 is out of range; labels are zero-based: 0 to 2",
        "row 3: label nan is out of range; labels are zero-based: 0 to 2",
    ]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f8", ">f8", "<f4", ">i2"])
def test_a_table_of_numpy_is_read_however_it_lies(order: Any, dtype: str, tmp_path: Path) -> None:
    numbers = np.arange(1, 61).reshape(20, 3) % 7
    np.save(tmp_path / "a.npy", np.asarray(numbers, dtype, order=order))
    data = data_sets.in_files([str(tmp_path / "a.npy")], "0", 7, columns=["2", "1"])
    rows = read(data)
    assert data.dtype == rows.inputs.dtype.name == ("float32" if dtype == "<f4" else "float64")
    assert rows.inputs.tolist() == numbers[:, [2, 1]].tolist()
    assert rows.labels.tolist() == numbers[:, 0].tolist()


def test_types_of_parquet_are_read_without_rounding_or_refused(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    path = tmp_path / "a.parquet"
    single, half = np.array([0.1, 0.2], np.float32), np.array([0.1, 0.2], np.float16)
    labels = pa.array(["dog", "cat"]).dictionary_encode()
    columns: Any = {
        "x": single,
        "h": half,
        "k": pa.array([2**53 + 1, None]),
        "w": [0.1, 0.2],
        "label": labels,
    }
    write_parquet(path, columns)
    rows = read(
        data_sets.in_files([path], "label", 3, classes=ANIMALS, columns=["x", "h"], weight_column="w")
    )
    assert rows.inputs.T.tolist() == [single.tolist(), half.tolist()]
    assert (rows.weights is not None and rows.weights.tolist(), rows.labels.tolist()) == ([0.1, 0.2], [1, 0])
    rows = read(data_sets.in_files([path], "label", 3, classes=ANIMALS, columns=["x"], weight_column="w"))
    assert (rows.inputs.dtype.name, rows.inputs.ravel().tolist()) == ("float32", single.tolist())
    assert bad_of(path, classes=ANIMALS, columns=["k"]) == [
        "a.parquet: row 1: k is 9007199254740993, which float64 does not hold",
        "a.parquet: row 2: k is null; a number is expected",
    ]
    for values, kind in ((pa.array([1, 2], pa.date32()), "date32[day]"), ([True, False], "bool")):
        write_parquet(path, {**columns, "d": values})
        message = error_of([path], classes=ANIMALS, columns=["d"])
        assert message == f"{path}: column 'd' holds {kind}; numbers are expected"


def test_inputs_are_float32_if_all_of_all_files_are(tmp_path: Path) -> None:
    x = np.array([0.1, 0.2], np.float32)
    write_parquet(tmp_path / "1.parquet", {"x": x, "label": [0, 1]})  # type: ignore[dict-item]
    assert data_sets.in_files([str(tmp_path)], "label", 2).dtype == "float32"
    write_parquet(tmp_path / "2.parquet", {"x": [0.1], "label": [0]})
    data = data_sets.in_files([str(tmp_path)], "label", 2)
    assert data.dtype == "float64"
    assert read(data).inputs.ravel().tolist() == [*x.tolist(), 0.1]


@pytest.mark.parametrize("name", ["", "__index_level_0__"])
def test_the_index_that_pandas_writes_is_no_input(name: str, tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", {name: [0, 1], **table(2)})
    assert data_sets.in_files([str(tmp_path)], "label", 3).n_inputs == 2


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "a.csv").write_text("x,label,label\n1,0,0\n")
    assert error_of([tmp_path]) == f"{tmp_path}/a.csv has two columns named 'label'"


# Labels.


@each_format
def test_labels_that_are_text_name_classes_in_their_order(suffix: str, tmp_path: Path) -> None:
    for k, labels in enumerate((["dog", "cow", "dog"], ["cat"])):
        WRITERS[suffix](tmp_path / f"{k}.{suffix}", {**table(len(labels)), "label": labels})
    path = str(tmp_path)
    found = data_sets.in_files([path], "label", 3)
    assert found.classes == ("cat", "cow", "dog")
    assert read(found).labels.tolist() == [2, 1, 2, 0]
    named = data_sets.in_files([path], "label", 3, classes=ANIMALS)
    assert read(named).labels.tolist() == [1, 2, 1, 0]
    assert error_of([path], n_classes=4).startswith("the labels name 3 classes (cat, cow, dog), but W has 4")


def test_text_is_a_name_if_it_equals_one_and_else_an_index(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", {**table(4), "label": ["1", "cat", "2", "00"]})
    data = data_sets.in_files([str(tmp_path)], "label", 3, classes=("cat", "2", "cow"))
    assert read(data).labels.tolist() == [1, 0, 1, 0]


@each_format
def test_a_label_that_is_out_of_range_makes_a_bad_row_unless_it_is_ignored(
    suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"a.{suffix}"
    WRITERS[suffix](path, {**table(4), "label": [0, 3, -100, 2]})
    below = " below the header" * (suffix == "csv")
    (sentence,) = bad_of(path, ignore_index=-100)
    assert sentence == f"a.{suffix}: row 2{below}: label 3 is out of range; labels are zero-based: 0 to 2"
    assert len(bad_of(path)) == 2
    assert read(data_sets.in_files([str(path)], "label", 3, ignore_index=-100)).labels.tolist() == [
        0,
        -100,
        2,
    ]


def test_a_name_that_is_no_class_makes_a_bad_row(tmp_path: Path) -> None:
    write_ndjson(tmp_path / "a.ndjson", {**table(2), "label": ["cat", "cart"]})
    assert bad_of(tmp_path / "a.ndjson", classes=ANIMALS) == [
        "a.ndjson: row 2: label 'cart' is not one of the classes cat, dog, cow"
    ]


@pytest.mark.parametrize(("suffix", "label", "index"), [
    ("ndjson", 2, 2), ("ndjson", "2", 0), ("parquet", 2, 2), ("parquet", "2", 0), ("npy", 2, 2), ("csv", 2, 0),
])  # fmt: skip
def test_a_number_is_an_index_where_a_text_may_be_the_name_of_another_class(
    suffix: str, label: int | str, index: int, tmp_path: Path
) -> None:
    path = tmp_path / f"a.{suffix}"
    WRITERS[suffix](path, {"x": [1.0], "label": [label]})
    assert read(data_sets.in_files([str(path)], "label", 3, classes=("2", "1", "0"))).labels.tolist() == [
        index
    ]


def test_names_in_one_file_and_indices_in_another_need_classes(tmp_path: Path) -> None:
    write_ndjson(tmp_path / "1.ndjson", table(2))
    write_ndjson(tmp_path / "2.ndjson", {**table(2), "label": ["cat", "dog"]})
    assert "2.ndjson: column 'label' holds text, and that of" in error_of([tmp_path])
    data = data_sets.in_files([str(tmp_path)], "label", 3, classes=ANIMALS)
    assert read(data).labels.tolist() == [*table(2)["label"], 0, 1]


@pytest.mark.parametrize("kind", ["decimal128(3, 1)", "complex128"])
def test_a_column_of_numbers_that_are_not_read_is_not_left_out_without_a_word(
    kind: str, tmp_path: Path
) -> None:
    if kind == "complex128":
        path = tmp_path / "a.npy"
        np.save(path, np.array([(1.5, 2.5j, 0)], [("x1", float), ("x2", complex), ("label", int)]))
    else:
        path = tmp_path / "a.parquet"
        write_parquet(path, {"x1": [1.5], "x2": [Decimal("12.5")], "label": [0]})
    assert f"a{path.suffix}: column 'x2' holds {kind}; float64, float32" in error_of([path])
    assert read(data_sets.in_files([str(path)], "label", 3, columns=["x1"])).inputs.tolist() == [[1.5]]


# Rows that cannot be read.


@each_format
def test_what_is_not_finite_is_bad_and_left_out(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "ndjson":
        path.write_text('{"x1": 1e999, "label": 0}\n{"x1": 1, "label": 0}\n')
        assert bad_of(path) == ["a.ndjson: row 1: it cannot be read as JSON"]
        return
    WRITERS[suffix](path, {"x1": [1.0, np.nan, 3.0], "x2": [1.0, 1.0, -np.inf], "label": [0, 1, 2]})
    below = " below the header" * (suffix == "csv")
    assert bad_of(path) == [
        f"a.{suffix}: row 2{below}: x1 is NaN; every number must be finite",
        f"a.{suffix}: row 3{below}: x2 is -infinity; every number must be finite",
    ]
    rows = read(data_sets.in_files([str(path)], "label", 3))
    assert (rows.inputs.tolist(), rows.labels.tolist(), rows.n_bad) == ([[1.0, 1.0]], [0], 2)


@pytest.mark.parametrize("suffix", ["parquet", "csv", "ndjson"])
def test_what_is_missing_is_bad(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    WRITERS[suffix](path, {"x1": [1.5, None, 3.0], "label": [0, 1, None]})
    found = [sentence.rpartition(": ")[2] for sentence in bad_of(path)]
    assert found == [
        "x1 is null; a number is expected",
        "label is null; a whole number or a class is expected",
    ]


@each_format
def test_weights_are_finite_and_not_negative(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    WRITERS[suffix](path, {**table(3), "w": [0.0, -0.5, 1.0]})
    (sentence,) = bad_of(path, weight_column="w")
    assert sentence.endswith("w is -0.5; a weight is 0 or more")


@each_format
def test_a_whole_number_that_float64_does_not_hold_is_never_rounded(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    WRITERS[suffix](path, {"x": [2**53 + 1, 2**60, -(2**53) - 1], "label": [0, 1, 2]})
    assert [sentence.partition("x is ")[2] for sentence in bad_of(path)] == [
        "9007199254740993, which float64 does not hold",
        "-9007199254740993, which float64 does not hold",
    ]
    assert read(data_sets.in_files([str(path)], "label", 3)).inputs.tolist() == [[2.0**60]]


def test_a_whole_number_is_not_rounded_beside_nan(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "a.csv").write_text("x,label\nnan,0\n9007199254740993,1\n")
    assert bad_of(tmp_path / "a.csv") == [
        "a.csv: row 1 below the header: x is NaN; every number must be finite",
        "a.csv: row 2 below the header: x is 9007199254740993, which float64 does not hold",
    ]


def test_digits_of_other_scripts_are_no_numbers(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "a.csv").write_text("x,label\n3,0\n٣,1\n", "utf-8")
    assert bad_of(tmp_path / "a.csv") == ["a.csv: row 2 below the header: x is '٣'; a number is expected"]


def test_cells_of_csv_are_read_one_by_one_where_one_is_no_number(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "a.csv"
    path.write_text('x,"a,b",label\n1,2,0\n\nNA,2,0\n"+3", .5 ,1\n1\r\n\r\n1,2,"c\nd"\n1e3,"4",2')
    assert bad_of(path) == [
        "a.csv: row 2 below the header: x is 'NA'; a number is expected",
        "a.csv: row 4 below the header: it has 1 cell; the header has 3",
        "a.csv: row 5 below the header: label 'c\\nd' is no index, and no classes are named",
    ]
    rows = read(data_sets.in_files([str(path)], "label", 3))
    assert rows.inputs.tolist() == [[1.0, 2.0], [3.0, 0.5], [1000.0, 4.0]]
    assert rows.labels.tolist() == [0, 1, 2]


def test_a_number_is_one_in_the_digits_that_every_language_reads(tmp_path: Path) -> None:
    """As in a table that is read whole."""
    pytest.importorskip("pyarrow")
    path = tmp_path / "a.csv"
    path.write_text("x,label\n1,0\n\u0661,0\n\uff11.5,0\n")
    assert [sentence.partition("x is ")[2] for sentence in bad_of(path)] == [
        "'\u0661'; a number is expected",
        "'\uff11.5'; a number is expected",
    ]


def test_blanks_before_a_quotation_mark_are_no_part_of_a_cell(tmp_path: Path) -> None:
    """As in a table that is read whole."""
    pytest.importorskip("pyarrow")
    path = tmp_path / "a.csv"
    path.write_text('x, "label"\n1,  "cat, wild"\n2, "dog"\n3,"cow"\n')
    data = data_sets.in_files([str(path)], "label", 3)
    assert data.classes == ("cat, wild", "cow", "dog")
    assert read(data).labels.tolist() == [0, 2, 1]


def texts(suffix: str, rows: Sequence[tuple[str, str]]) -> str:
    """Rows of one input and a label, as they stand in CSV or in NDJSON."""
    if suffix == "csv":
        return "\n".join(["x,label", *map(",".join, rows), ""])
    return "".join(f'{{"x": {number}, "label": {json.dumps(label)}}}\n' for number, label in rows)


@pytest.mark.parametrize("suffix", ["csv", "ndjson"])
@pytest.mark.parametrize("before", ["", "\n", "\r\n"])
def test_a_byte_order_mark_is_no_part_of_a_text(suffix: str, before: str, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / f"rows.{suffix}"
    path.write_text(before + texts(suffix, [("1.5", "0"), ("2", "1")]), encoding="utf-8-sig", newline="")
    rows = read(data_sets.in_files([str(path)], "label", 2))
    assert (rows.inputs.tolist(), rows.labels.tolist(), rows.n_bad) == ([[1.5], [2.0]], [0, 1], 0)
    path.write_bytes(b"\xef\xbb\xbf")
    assert error_of([path]) == f"no row is in {path}; a data set has one at least"


@pytest.mark.parametrize("suffix", ["csv", "ndjson"])
@pytest.mark.parametrize("kind", ["UTF-16", "UTF-32", "utf-16-le", "utf-16-be"])
def test_text_in_another_coding_is_told(suffix: str, kind: str, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / f"rows.{suffix}"
    path.write_text(texts(suffix, [("1", "0")]), encoding=kind)
    sentence = f"is text in {kind}" if kind.isupper() else "is no text: byte"
    assert error_of([path]).startswith(f"{path} {sentence}") and "save it as UTF-8" in error_of([path])


@pytest.mark.parametrize("suffix", ["csv", "ndjson"])
def test_a_row_that_is_not_utf_8_is_bad(suffix: str, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / f"rows.{suffix}"
    path.write_text(
        texts(suffix, [("1", "\xe9"), ("2", "cat")]).replace("\\u00e9", "\xe9"), encoding="latin-1"
    )
    (sentence,) = bad_of(path, 1, classes=["cat"])
    assert sentence.split(": ")[-1] == ("it is not UTF-8" if suffix == "csv" else "it cannot be read as JSON")
    if suffix == "csv":
        path.write_bytes(b"x\xe9,label\n1,0\n")
        assert error_of([path]) == f"{path} has a header that is not UTF-8; save it as UTF-8"


@pytest.mark.parametrize("more", ["", "none,0\n"])
def test_a_zero_keeps_its_sign_beside_a_row_that_cannot_be_read(more: str, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "rows.csv"
    path.write_text(f"x,label\n-0,0\n-0.0,0\n0,0\n{more}")
    rows = read(data_sets.in_files([str(path)], "label", 1))
    assert np.signbit(rows.inputs[:, 0]).tolist() == [True, True, False]


@pytest.mark.parametrize("cell", ['"cat"s', '"cat" ', '""s', '"c""at"s'])
@pytest.mark.parametrize("more", ["", "none,dog\n"])
def test_nothing_stands_behind_the_last_quotation_mark_of_a_cell(
    cell: str, more: str, tmp_path: Path
) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "rows.csv"
    path.write_text(f"x,label\n1,{cell}\n2,dog\n{more}")
    sentence = f"malformed CSV: a cell goes on after its last quotation mark, in the line 1,{cell}".rstrip()
    assert error_of([path], n_classes=2) == f"{path} cannot be read as CSV: {sentence}"
    with pytest.raises(InputError, match="a cell goes on after its last quotation mark"):
        whole_csv.read_data_set(path.read_bytes(), "rows.csv", "label")


@pytest.mark.parametrize(
    ("cell", "name"), [('c"a"t', 'c"a"t'), ('"c""at"', 'c"at'), ('"c,at"', "c,at"), ('""', "")]
)
def test_quotation_marks_are_read_as_of_a_file_that_is_read_whole(
    cell: str, name: str, tmp_path: Path
) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "rows.csv"
    path.write_text(f'x,label\n1,"dog"\n2,{cell}\n')
    rows = read(data_sets.in_files([str(path)], "label", 2, classes=["dog", name or "cat"]))
    if name:
        assert (rows.labels.tolist(), rows.n_bad) == ([0, 1], 0)
        whole = whole_csv.read_data_set(path.read_bytes(), "rows.csv", "label")
        assert whole.values["label"] == ["dog", name]
    else:
        assert (rows.labels.tolist(), rows.n_bad) == ([0], 1)


def test_cells_are_read_alike_at_once_and_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")
    numbers = (
        '1|-0|+1| 1.|.|.5|1e5|1e400|1e-400|-inf|NaN|0x10|1_0||" 1"|9007199254740993|1e|00012|--1|NULL|\xa01'
    )
    labels = '0|+1|-1|00|1.0|a| a |"a"||""|NA|null|a"b"|"a\nb"|\u0660|\xa0a'
    texts = [f"x,label\n2,b\n{cell},0\n" for cell in numbers.split("|")]
    texts += [f"x,label\n2,b\n1,{cell}\n" for cell in labels.split("|")]

    def rows_of(text: str) -> Any:
        (tmp_path / "a.csv").write_text(text)
        rows = read(data_sets.in_files([tmp_path / "a.csv"], "label", 2, columns=["x"], classes=["a", "b"]))
        return rows.inputs.tobytes(), rows.labels.tolist(), rows.bad

    at_once = [*map(rows_of, texts)]
    monkeypatch.setattr(csv, "_ends_at_quotes", lambda data: False)
    assert [*map(rows_of, texts)] == at_once


def test_a_mark_within_a_cell_that_is_not_in_quotes_hides_no_row(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "rows.csv"
    path.write_text('x,what,label\n1,5" pipe,0\n2,6" pipe,1\n3,"7"" pipe",0\n4,"a\nb",1\n5,8" pipe,0\n')
    rows = read(data_sets.in_files([path], "label", 2))
    assert (rows.inputs[:, 0].tolist(), rows.labels.tolist()) == ([1, 2, 3, 4, 5], [0, 1, 0, 1, 0])
    path.write_text(
        'x,what,label\n2,a",0\n1,",0\n3,"a""b",0\n'
    )  # the quotes are from the second row to the third
    assert "a cell goes on after its last quotation mark" in error_of([path])
    path.write_text('x,5" pipe,label\n1,6" pipe,0\n')
    assert "has a quotation mark within a name of its header" in error_of([path])


def test_many_columns_and_many_blank_lines_take_as_long_as_their_bytes(tmp_path: Path) -> None:
    """Were each column sought among all, or each line joined to those before it, it would take minutes."""
    pytest.importorskip("pyarrow")
    names = [str(k) for k in range(4_000)]
    np.save(tmp_path / "a.npy", np.ones((1, len(names))))
    with (tmp_path / "a.npy").open("rb") as file:
        (batch,) = FORMATS[".npy"].load().read(file, [Piece(0, 1, 1)], names[1:], "0")
    assert len(batch.numbers) == len(names) - 1
    header, row = ",".join(names), "1," * (len(names) - 1)
    csv = io.BytesIO(("\n" * 100_000 + header + "\n" + row + "\n1" * 10_000).encode())
    columns, _ = FORMATS[".csv"].load().listed(csv)
    assert columns == [*((name, "whole number") for name in names[:-1]), (names[-1], "nothing")]


def test_lines_of_ndjson_are_read_one_by_one_where_one_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    lines = ['{"x":1,"label":0}', "", "{", '{"x":"1","label":1}', '{"label":1}', '[1]', '{"x":true,"label":2}',
             '{"x":2,"label":1.5}', '{"x":2,"label":1}']  # fmt: skip
    path.write_text("\n".join(lines))
    data = data_sets.in_files([str(path)], "label", 3)
    rows = read(data, 2)
    assert [sentence.partition(": row ")[2] for sentence in rows.bad] == [
        "2: it cannot be read as JSON",
        "3: x is text; a number is expected",
        "4: x is null; a number is expected",
        "5: it is no object of columns",
        "6: x is True; a number is expected",
        "7: label is 1.5; a whole number or a class is expected",
    ]
    assert (rows.inputs.tolist(), rows.labels.tolist()) == ([[1.0], [2.0]], [0, 1])


def test_of_many_bad_rows_of_a_block_the_first_are_told_and_all_are_counted(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.full((50, 2), np.nan))
    (block,) = data_sets.in_files([str(tmp_path / "a.npy")], "1", 2).blocks(0, 1, 64)
    assert (block.n_bad, len(block.bad), len(block.inputs)) == (50, 3, 0)


# Files.


def test_what_names_no_file_or_one_twice_or_two_formats_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((2, 2)))
    (tmp_path / "b.ndjson").write_text('{"x": 1, "label": 0}\n')
    (tmp_path / "c.txt").touch()
    assert error_of([tmp_path / "z*.npy"]) == f"{tmp_path}/z*.npy: no file matches"
    assert error_of([tmp_path / "z.npy"]) == f"{tmp_path}/z.npy: no such file"
    twice = error_of([tmp_path / "a.npy", tmp_path / "*.npy"])
    assert twice == f"{tmp_path}/a.npy is named twice; each file of a data set is read once"
    (tmp_path / "link.npy").symlink_to("a.npy")
    for names in ([tmp_path / "*.npy"], [tmp_path / "link.npy", tmp_path / "a.npy"]):
        assert error_of(names) == (
            f"{tmp_path}/a.npy and {tmp_path}/link.npy are one file; each file of a data set is read once"
        )
    pytest.importorskip("fsspec")
    assert error_of([f"file://{tmp_path}/a.npy", tmp_path / "a.npy"]).startswith(
        f"{tmp_path}/a.npy and file://{tmp_path}/a.npy are one file"
    )
    (tmp_path / "link.npy").unlink()
    (tmp_path / "link.npy").hardlink_to(tmp_path / "a.npy")
    assert error_of([tmp_path / "*.npy"]) == (
        f"{tmp_path}/a.npy and {tmp_path}/link.npy are one file; each file of a data set is read once"
    )
    (tmp_path / "link.npy").unlink()
    assert error_of([tmp_path]) == (
        f"{tmp_path}/a.npy is NPY and {tmp_path}/b.ndjson is NDJSON; the files of a data set are of one format"
    )
    assert error_of([tmp_path / "c.txt"]).startswith(f"{tmp_path}/c.txt ends in none of .parquet, .pq, .csv")
    np.save(tmp_path / "d.npy", np.ones((0, 2)))
    assert error_of([tmp_path / "d.npy"]) == f"no row is in {tmp_path}/d.npy; a data set has one at least"


@each_format
def test_a_file_that_has_changed_or_vanished_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    WRITERS[suffix](path, table(4))
    data = data_sets.in_files([str(path)], "label", 3)
    os.utime(path, (1, 1))
    with pytest.raises(InputError, match=f"a.{suffix} has changed since it was listed$"):
        read(data)
    path.unlink()
    with pytest.raises(InputError, match=f"a.{suffix} has vanished since it was listed$"):
        read(data)


def test_rows_that_were_not_listed_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    write_ndjson(path, table(70))
    data = data_sets.in_files([path], "label", 3)
    file = data.files[0]
    fewer = replace(file, pieces=(file.pieces[0]._replace(n_rows=69),))
    with pytest.raises(InputError, match="70 rows are where 69 lines are not blank"):
        read(replace(data, files=(fewer,), n_rows=69))


@each_format
def test_a_file_that_is_cut_short_or_holds_something_else_is_one_line(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    WRITERS[suffix](path, table(300))
    whole = path.read_bytes()
    if suffix in ("parquet", "npy"):
        for size in (0, 1, 7, 20, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:size])
            assert error_of([path]).startswith(f"{path} ") and "it has been cut short" in error_of([path])
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    assert str(path) in error_of([path])


@pytest.mark.parametrize(("shape", "descr"), [((10**18, 0), "<f8"), ((10**18, 2), "<U0")])
def test_rows_of_nothing_are_refused_however_many_there_are(
    shape: tuple[int, int], descr: str, tmp_path: Path
) -> None:
    """In pieces they would take any memory."""
    header = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header)
    assert "which are rows of nothing" in error_of([path])


def test_text_of_numpy_that_is_no_unicode_is_refused(tmp_path: Path) -> None:
    write_npy(tmp_path / "a.npy", {"x": [1.0], "label": ["cat"]})
    data = bytearray((tmp_path / "a.npy").read_bytes())
    data[-1] = 255
    (tmp_path / "a.npy").write_bytes(data)
    assert error_of([tmp_path / "a.npy"]).endswith("a label has a character that is none of Unicode")


@pytest.mark.parametrize("text", ['{"x": 1,\n"label": 2}\n', '{"x": 1, "label": 2}{"x": 1, "label": 2}\n'])
def test_a_line_of_ndjson_is_one_object(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    path.write_text('{"x": 3, "label": 0}\n' + text)
    data = data_sets.in_files([str(path)], "label", 3)
    assert read(data).inputs.tolist() == [[3.0]]
    assert read(data).n_bad == data.n_rows - 1 == text.count("\n")


@pytest.mark.parametrize("more", ["", ', "c": "a: b", "d": {"x": 1}'])
@pytest.mark.parametrize("doubled", ["x", "label"])
def test_a_row_of_ndjson_with_a_key_twice_is_bad(more: str, doubled: str, tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    row = f'{{"x": 1, "label": 2{more}}}'
    path.write_text(f'{row}\n{{"{doubled}" : 0, {row[1:]}\n')
    assert bad_of(path) == [f"a.ndjson: row 2: it has the key '{doubled}' twice; which of them is meant?"]


# Of objects with the columns x and label, and with others that the first line may lack, or nest, or fill with colons.
OTHERS = [
    '"t": "12:30"',
    '"o": {"x": 1, "u": [":"]}',
    '"q": "a\\": 1"',
    '"n": null',
    '"a\\"b": 1',
    '"\\u0078": 9',
    '"x" : 9',
]


@pytest.mark.parametrize("first", [(), *combinations(OTHERS[:5], 1), *combinations(OTHERS[:5], 2)])
def test_columns_that_are_not_asked_for_hide_no_key_that_stands_twice(
    first: Sequence[str], tmp_path: Path
) -> None:
    path = tmp_path / "rows.ndjson"
    more = [first, *combinations(OTHERS, 1), *combinations(OTHERS, 2)]
    lines = ["{" + ", ".join(('"x": 1', *other, '"label": "0"')) + "}" for other in more]
    path.write_text("\n".join(lines))
    # Whether a key that is asked for stands twice, as Python's reader has all of them in a list.
    doubled = [[key for key, _ in json.loads(line, object_pairs_hook=list)].count("x") > 1 for line in lines]
    rows = read(data_sets.in_files([str(path)], "label", 1, columns=["x"]))
    assert rows.n_bad == sum(doubled) and not rows.labels.any() and (rows.inputs == 1).all()
    for line, is_doubled in zip(
        lines, doubled, strict=True
    ):  # each by itself, without another that is looked at
        path.write_text(f"{lines[0]}\n{line}\n")
        assert read(data_sets.in_files([str(path)], "label", 1, columns=["x"])).n_bad == is_doubled


def test_a_column_without_a_name_may_hold_the_labels_if_it_is_the_only_one(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "a.csv").write_text(",x,label\n2,1.5,0\n")
    assert read(data_sets.in_files([str(tmp_path)], "", 3, columns=["x"])).labels.tolist() == [2]
    (tmp_path / "a.csv").write_text(",,x\n2,0,1.5\n")
    assert "column '' holds several columns; whole numbers or text" in error_of([tmp_path], "")


@pytest.mark.parametrize("label", ["1.0", "1e0", "NaN"])
def test_a_label_is_no_float(label: str, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "a.csv").write_text(f"x,label\n1,{label}\n")
    assert error_of([tmp_path]).endswith("column 'label' holds floats; whole numbers or text are expected")


def test_columns_of_ndjson_may_have_any_names(tmp_path: Path) -> None:
    names = ['a"b', "C:\\x", "a\nb", "\x1b[2J"]
    write_ndjson(tmp_path / "a.ndjson", {**{name: [0.5, 1.5] for name in names}, "label": [1, 2]})
    data = data_sets.in_files([str(tmp_path)], "label", 3)
    assert data.inputs == tuple(names)
    assert read(data).inputs.tolist() == [[0.5] * 4, [1.5] * 4]
    assert read(data).labels.tolist() == [1, 2]


def test_a_header_with_a_carriage_return_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "a.csv").write_bytes(b"x\r1,label\n1,0\n")
    assert error_of([tmp_path]).startswith(
        f"{tmp_path}/a.csv has lines that end with a carriage return alone"
    )


def test_bytes_that_changed_within_a_page_are_noticed_by_its_checksum(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    columns = {"x": np.random.default_rng(0).normal(size=1000).tolist(), "label": 1000 * [0]}
    options = {"compression": "none", "use_dictionary": False, "write_page_checksum": True}
    write_parquet(path, columns, **options)
    data = bytearray(path.read_bytes())
    data[4000] ^= 1
    path.write_bytes(data)
    assert "crc" in error_of([path]).lower()


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_ndjson(tmp_path / "a.ndjson", table(1))

    def refused(*_: Any) -> None:  # as to anybody but root
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    assert error_of([tmp_path]) == f"{tmp_path}/a.ndjson may not be read: permission denied"


@each_format
def test_files_behind_a_url_are_read_as_those_that_are_here(suffix: str, tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    WRITERS[suffix](tmp_path / f"a.{suffix}", table(70))
    memory = fsspec.filesystem("memory")
    place = f"/{tmp_path.name}-{suffix}"
    for name in ("1", "2"):
        memory.pipe(f"{place}/{name}.{suffix}", (tmp_path / f"a.{suffix}").read_bytes())
    data = data_sets.in_files([f"memory://{place}/*.{suffix}"], "label", 3)
    assert read(data).inputs.T.tolist() == [2 * table(70)["x1"], 2 * table(70)["x2"]]
    assert data.files[0].path == f"memory://{place}/1.{suffix}"
    memory.rm(f"{place}/2.{suffix}")
    with pytest.raises(InputError, match="has vanished since it was listed"):
        read(data)
    assert error_of([f"memory://{place}/3.{suffix}"]).endswith("no such file")


def test_files_of_a_chain_of_file_systems_are_read(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    path = tmp_path / "a.parquet"
    write_parquet(path, table(70))
    with zipfile.ZipFile(archive := tmp_path / "a.zip", "w") as file:
        file.write(path, "in/a.parquet")
    for address in (f"simplecache::file://{path}", f"zip://in/*.parquet::file://{archive}"):
        data = data_sets.in_files([address], "label", 3)
        assert data.files[0].path == address.replace("*", "a")
        assert read(data).inputs.T.tolist() == [table(70)["x1"], table(70)["x2"]]
    archive.write_bytes(archive.read_bytes() + b" ")
    with pytest.raises(InputError, match="has changed since it was listed"):
        read(data)


class Server(SimpleHTTPRequestHandler):
    """Files of a folder, of which parts may be asked for."""

    def send_head(self) -> Any:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            return super().send_head()
        data = path.read_bytes()
        part = re.match(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        start, stop = (int(part[1]), min(len(data), int(part[2]) + 1)) if part else (0, len(data))
        self.send_response(206 if part else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        return io.BytesIO(data[start:stop])

    def log_message(self, *_: Any) -> None:
        pass


def test_files_behind_http_are_read_a_part_at_a_time(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    pytest.importorskip("aiohttp")
    for name in ("a", "b"):
        write_parquet(tmp_path / f"{name}.parquet", table(70), row_group_size=20)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Server, directory=str(tmp_path))) as server:
        Thread(target=server.serve_forever).start()
        try:
            place = f"http://127.0.0.1:{server.server_port}"
            data = data_sets.in_files([f"{place}/*.parquet"], "label", 3)
            assert data.paths == (f"{place}/a.parquet", f"{place}/b.parquet")
            assert read(data).inputs.T.tolist() == [2 * table(70)["x1"], 2 * table(70)["x2"]]
            (tmp_path / "b.parquet").unlink()
            with pytest.raises(InputError, match=r"/b\.parquet has vanished since it was listed$"):
                read(data)
            assert error_of([f"{place}/none.parquet"]).endswith("/none.parquet: no such file")
        finally:
            server.shutdown()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_no_file_of_a_data_set(tmp_path: Path) -> None:
    """Nobody writes to it: to open it would wait."""
    path = str(tmp_path / "rows.csv")
    os.mkfifo(path)
    told = f"^{re.escape(path)} is no ordinary file; those of a data set are read more than once$"
    with pytest.raises(InputError, match=told):
        sources.expanded([path], [".csv"])


def test_a_lack_of_memory_is_called_that(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.touch()
    told = f"^{re.escape(str(path))} cannot be read as CSV: there is not enough memory$"
    with pytest.raises(InputError, match=told), sources.opened(str(path), "CSV"):
        raise MemoryError


def test_a_server_of_http_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fsspec")
    pytest.importorskip("aiohttp")
    assert sources.WAIT == 30
    monkeypatch.setattr(sources, "WAIT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes calls, and says nothing
        path = f"http://127.0.0.1:{silent.getsockname()[1]}/a.parquet"
        assert error_of([path]) == f"{path} cannot be reached: there is no answer"
    assert error_of([path]) == f"{path} cannot be reached: Connection refused"


def test_what_is_missing_for_an_address_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fsspec")
    monkeypatch.setitem(sys.modules, "s3fs", None)
    assert error_of(["s3://a/b.parquet"]) == "s3://a/b.parquet cannot be reached: Install s3fs to access S3"
    told = "nonsense://a.parquet cannot be reached: Protocol not known: nonsense"
    assert error_of(["nonsense://a.parquet"]) == told


def test_what_is_missing_to_read_a_format_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_text("x,label\n1,0\n")
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    for suffix, name in (("csv", "CSV"), ("parquet", "Parquet")):
        assert error_of([tmp_path / f"a.{suffix}"]).endswith(
            f"a.{suffix} cannot be read: reading {name} needs pyarrow: pip install 'xegrad[data]'"
        )


# Spans and tasks.


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"a", b"a\n", b"\n\na\r\n\r\nb\n\n\nc", b'"\n\n",1\n"x""\n"\n\n', b'a\n"b\n\n"'),
        *(
            b'5" pipe,1\n6" pipe,2\n7,3',
            b'1,"a"\n, "\n" ,2" \n"b""\n""",5"\n',
            b'5"\n""\n"\n"\n',
            b'5"\n\n"a\n"',
        ),
    ],
)
def test_lines_are_counted_as_the_csv_module_counts_rows(data: bytes) -> None:
    import csv
    import io

    expected = sum(map(bool, csv.reader(io.StringIO(data.decode(), newline=""), skipinitialspace=True)))
    assert count(data, has_quotes=True) == expected
    if b'"' not in data:
        assert count(data, has_quotes=False) == expected


def test_spans_end_where_lines_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xegrad.data_sets.lines.SPAN", 16)
    path = tmp_path / "a.csv"
    path.write_bytes(b'head\n1,"a\nb"\n2,c\n\n' + b"3,d\n" * 20 + b'4,"' + 30 * b"\n" + b'"\n5')
    data = path.read_bytes()
    with path.open("rb") as file:
        pieces = [*spans(file, 5, has_quotes=True)]
    assert [piece.stop for piece in pieces[:-1]] == [piece.start for piece in pieces[1:]]
    assert (pieces[0].start, pieces[-1].stop) == (5, len(data))
    assert all(data[piece.stop - 1 : piece.stop] == b"\n" for piece in pieces[:-1])
    assert sum(piece.n_rows for piece in pieces) == 24
    assert all(data[piece.start : piece.stop].count(b'"') % 2 == 0 for piece in pieces)


@pytest.mark.parametrize("suffix", ["csv", "ndjson", "npy"])
def test_rows_are_the_same_however_files_are_cut_into_pieces(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"a.{suffix}"
    WRITERS[suffix](path, table(500))
    whole = read(data_sets.in_files([str(path)], "label", 3))
    monkeypatch.setattr(f"xegrad.data_sets.{'npy' if suffix == 'npy' else 'lines'}.SPAN", 1000)
    cut = data_sets.in_files([str(path)], "label", 3)
    assert len(cut.files[0].pieces) > 5
    assert read(cut).inputs.tobytes() == whole.inputs.tobytes()


@pytest.mark.parametrize("groups", [[1000], [100] * 10, [1, 63, 64, 500, 3, 3, 366], [7] * 100])
@pytest.mark.parametrize("rows_of_task", [1, 64, 300, 10**6])
def test_runs_are_all_blocks_once_and_begin_less_than_a_block_behind_a_piece(
    groups: list[int], rows_of_task: int
) -> None:
    file = data_sets.File("a", "", tuple(data_sets.Piece(k, k + 1, n) for k, n in enumerate(groups)))
    data = DataSet(sum(groups), 2, "float64", files=(file,))
    runs = data.runs(64, rows_of_task * 16)
    assert [block for first, last in runs for block in range(first, last)] == [*range(-(-sum(groups) // 64))]
    ends = np.cumsum([0, *groups])
    for first, _ in runs:
        assert any(0 <= first * 64 - end < 64 for end in ends)
    if rows_of_task == 1:
        assert len(runs) == len({-(-end // 64) for end in ends} - {-(-sum(groups) // 64)})
    if rows_of_task == 10**6:
        assert len(runs) == 1


@pytest.mark.parametrize("much", [0, parquet.MUCH])
def test_parquet_is_read_by_row_groups_across_blocks(
    much: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "MUCH", much)
    monkeypatch.setattr(parquet, "FEW", 2)
    monkeypatch.setattr(formats, "BATCH", 2**10)
    columns = table(1000)
    write_parquet(tmp_path / "a.parquet", columns, row_group_size=90)
    data = data_sets.in_files([str(tmp_path)], "label", 3)
    assert [piece.n_rows for piece in data.files[0].pieces] == [*[90] * 11, 10]
    for first, last in data.runs(64, 100 * 16):
        inputs = np.concatenate([block.inputs for block in data.blocks(first, last, 64)])
        assert inputs[:, 0].tolist() == columns["x1"][64 * first : 64 * last]


def test_of_many_columns_their_values_are_held_and_no_dictionary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pa = pytest.importorskip("pyarrow")
    monkeypatch.setattr(parquet, "MUCH", 0)
    monkeypatch.setattr(formats, "BATCH", 2**16)
    X = np.random.default_rng(0).normal(size=(1000, 200))  # each value is another, so each is in a dictionary
    write_parquet(tmp_path / "a.parquet", {"label": [0] * len(X), **{f"x{k}": x for k, x in enumerate(X.T)}})
    data = data_sets.in_files([str(tmp_path)], "label", 3)
    pool = pa.default_memory_pool()
    before, held = pool.bytes_allocated(), []
    for k, block in enumerate(data.blocks(0, 16, 64)):
        held.append(pool.bytes_allocated() - before)
        assert block.inputs.tobytes() == X[64 * k : 64 * k + 64].tobytes()
    # Before version 25, Arrow asks for eight times what a tensor takes, and touches an eighth of it.
    assert X.nbytes <= max(held) < X.nbytes + 9 * X[:64].nbytes


@pytest.mark.parametrize("weight", [None, "0"])
def test_a_nan_that_signals_is_told_without_a_warning(weight: str | None, tmp_path: Path) -> None:
    table = np.array([[1, 0.5, 0], [2, 1.5, 1]], np.float32)
    table.view(np.uint32)[0, 0] = 0x7F800001
    np.save(tmp_path / "a.npy", table)
    rows = read(data_sets.in_files([str(tmp_path)], "-1", 3, weight_column=weight))
    assert (rows.n_bad, rows.labels.tolist()) == (1, [1])
