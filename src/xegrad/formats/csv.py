"""CSV: a problem is one table that a spreadsheet can hold, a part of one a table of plain numbers.

x,    cat, dog, cow      a header: x, then the class names or indices
0.1,  0.2, 0.3, 0.4      a row for each input: x_j, then W[j, :]
bias, 0,   0.1, 0        b, if there is one
label, 0,  1,   0        the target, if it is here

A data set is a table with a header, one row for each example: columns of numbers, and one of labels.
"""

from __future__ import annotations

import csv
import io
import re
from difflib import get_close_matches
from typing import Any

import msgspec
import numpy as np

from xegrad.errors import InputError
from xegrad.formats.raw_problem import Label, LabelText, RawProblem
from xegrad.targets import Array, Targets

Line = tuple[int, list[str]]  # line number, cells

SEPARATORS = {";": "semicolons", "\t": "tabs"}  # that are not commas, though spreadsheets write them
HEADER = "the header is x, then the class names"
SPECIAL_ROWS = {"bias": "b", "label": "label"}  # by their first cell: the key that each is


class DataSet(msgspec.Struct, frozen=True, eq=False):
    """A table of examples: x and the labels, the columns that x is made of, and those that are neither."""

    problem: RawProblem
    columns: tuple[str, ...]
    left_out: tuple[str, ...]


def load(data: bytes, source: str, part: str | None = None, key: str | None = None) -> RawProblem:
    """A problem in one table; or a part: plain numbers, or labels.

    Raises
    ------
    InputError
        A cell that is no number, a ragged or doubled row, a missing header, by line and column.
    """
    if part is None:
        return _problem(data, source)
    if part == "label":
        return RawProblem({"label": _labels(data, source)}, {"label": source})
    return _array(data, source, part)


def _problem(data: bytes, source: str) -> RawProblem:
    """W is always (inputs, classes)."""
    lines = _lines(data, source)
    number, header = lines[0]
    if header[0] != "x":
        separator = next((mark for mark in ";\t" if header[0].startswith(f"x{mark}")), None)
        start = "cells separated by " + SEPARATORS[separator] if separator else _short(header[0])
        wanted = "commas are expected" if separator else HEADER
        if _is_number(header[0]):
            wanted += "; W alone is given with -W"
        elif len(lines) > 1 and len(header) > 1 and separator is None:
            wanted += "; a data set is given with -x FILE --label-column NAME"
        if header[0][0] in "{[":
            wanted += "; this looks like JSON"
        raise InputError(f"{source}: line {number}: found {start}; in a problem in CSV {wanted}")
    if len(header) == 1:
        raise InputError(f"{source}: line {number}: the header names no classes after x; {HEADER}")
    for column, name in enumerate(header[1:], start=2):
        if not name:
            raise InputError(f"{source}: line {number}, column {column}: a class without a name; {HEADER}")
    rows: dict[str, list[float]] = {}
    table: list[list[float]] = []
    for number, cells in lines[1:]:
        _check_width(cells, header, source, number)
        word = cells[0].lower()
        if word not in SPECIAL_ROWS:
            table.append(
                [_number(cell, source, number, column) for column, cell in enumerate(cells, start=1)]
            )
        elif word in rows:
            raise InputError(f"{source}: line {number}: a second row {word!r}; one is expected")
        else:
            rows[word] = [
                _number(cell, source, number, column) for column, cell in enumerate(cells[1:], start=2)
            ]
    if not table:
        raise InputError(f"{source}: there is no row of numbers; each input is a row: x_j, then W[j, :]")
    numbers = np.array(table)
    values = {"W": numbers[:, 1:], "x": numbers[:, 0], "classes": _names(header[1:])}
    values |= {key: np.array(rows[word]) for word, key in SPECIAL_ROWS.items() if word in rows}
    values = {key: value for key, value in values.items() if value is not None}
    return RawProblem(values, dict.fromkeys(("problem", *values), source), rows_are_inputs=True)


def _array(data: bytes, source: str, part: str) -> RawProblem:
    """A table of plain numbers; the names in the first row of W, if it holds any, are those of the classes.

    x in one line is one example: CSV cannot say that it is a batch of one.
    """
    try:
        array, names = _numbers(data, source)
    except InputError as error:
        hint = (
            "; if it is a data set, --label-column names the column that is the label" if part == "x" else ""
        )
        raise InputError(f"{error}{hint}") from None
    values: dict[str, Any] = {part: array.ravel() if part == "x" and len(array) == 1 else array}
    if part == "W" and names is not None:
        values["classes"] = names
    return RawProblem(values, dict.fromkeys(values, source))


def _labels(data: bytes, source: str) -> Label:
    """A column, or one line, of indices or names; a table of several columns and lines is targets.

    The first line of a column is a header if it alone is no index; one of names has a header where it has one
    line more than x has rows.
    """
    lines = _lines(data, source)
    if len(lines) > 1 and max(len(cells) for _, cells in lines) > 1:
        return _numbers(data, source)[0]
    cells = [cell for _, row in lines for cell in row]
    if len(lines) > 1 and not _is_number(cells[0]) and all(_is_number(cell) for cell in cells[1:]):
        cells = cells[1:]
    return [LabelText(cell) for cell in cells]


def read_data_set(data: bytes, source: str, label_column: str) -> DataSet:
    """The columns of numbers as X, and the named column as labels.

    Raises
    ------
    InputError
        A missing column, one that mixes numbers with anything else, no column of numbers; by line and column.
    """
    lines = _lines(data, source)
    number, header = lines[0]
    mark = next((mark for mark in ";\t" if len(header) == 1 and mark in header[0]), None)
    if mark is not None:
        raise InputError(
            f"{source}: line {number}: found cells separated by {SEPARATORS[mark]}; commas are expected"
        )
    if label_column not in header:
        near = get_close_matches(label_column, header, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise InputError(
            f"{source}: line {number}: there is no column {label_column!r} among {', '.join(header)}{hint}"
        )
    rows = lines[1:]
    if not rows:
        raise InputError(f"{source}: there are no rows below the header")
    for number, cells in rows:
        _check_width(cells, header, source, number)
    label = header.index(label_column)
    for number, cells in rows:
        if not cells[label]:
            raise InputError(f"{source}: line {number}, column {label + 1} is empty; a label is expected")
    numeric = [all(_is_number(cells[k]) for _, cells in rows) for k in range(len(header))]
    for k, name in enumerate(header):
        if k != label and not numeric[k] and any(_is_number(cells[k]) for _, cells in rows):
            number, cells = next((number, cells) for number, cells in rows if not _is_number(cells[k]))
            cell = _short(cells[k]) if cells[k] else "empty"
            raise InputError(
                f"{source}: line {number}, column {k + 1} is {cell} in {name}, a column of numbers"
            )
    chosen = [k for k in range(len(header)) if numeric[k] and k != label]
    if not chosen:
        raise InputError(f"{source}: no column holds numbers alone")
    inputs = [[_number(cells[k], source, number, k + 1) for k in chosen] for number, cells in rows]
    labels = [LabelText(cells[label]) for _, cells in rows]
    return DataSet(
        problem=RawProblem(
            {"x": np.array(inputs), "label": labels},
            {"x": source, "label": f"{source}: {label_column}"},
            labels_are_a_column=True,
        ),
        columns=tuple(header[k] for k in chosen),
        left_out=tuple(header[k] for k in range(len(header)) if k not in chosen and k != label),
    )


def _numbers(data: bytes, source: str) -> tuple[Array, tuple[str, ...] | None]:
    lines = _lines(data, source)
    names = None
    numeric = [_is_number(cell) for cell in lines[0][1]]
    if not all(numeric):
        if any(numeric):
            place = f"{source}: line {lines[0][0]}, column {numeric.index(False) + 1}"
            cell = _short(lines[0][1][numeric.index(False)])
            raise InputError(f"{place} is {cell} among numbers; a row holds numbers, a header only names")
        names, lines = _names(lines[0][1]), lines[1:]
        if not lines:
            raise InputError(f"{source}: there are no numbers below the header")
    first_number, first = lines[0]
    for number, cells in lines:
        if len(cells) != len(first):
            raise InputError(
                f"{source}: line {number} has {len(cells)} cells, but line {first_number} has {len(first)}"
            )
    table = [
        [_number(cell, source, number, column) for column, cell in enumerate(cells, start=1)]
        for number, cells in lines
    ]
    return np.array(table), names


def write_problem(raw: RawProblem) -> bytes:
    """The problem as one table; a label becomes a one-hot row.

    Raises
    ------
    InputError
        A batch, or options of the loss: they do not fit into the table.
    """
    problem = raw.problem()
    defaults = dict(zip(Targets.__struct_fields__, Targets.__struct_defaults__, strict=True)) | {
        "dtype": None
    }
    options = {name: raw.values[name] for name in defaults if name in raw.values}
    if raw.is_batch or any(
        isinstance(value, np.ndarray) or value != defaults[name] for name, value in options.items()
    ):
        raise InputError(
            "a batch, and options of the loss, do not fit into a problem in CSV; JSON holds them"
        )
    target = problem.targets.effective(problem.n_classes, problem.dtype)[0]
    names = problem.classes or tuple(str(index) for index in range(problem.n_classes))
    rows = [["x", *names]]
    for value, row in zip(problem.inputs[0].tolist(), problem.weights.tolist(), strict=True):
        rows.append([_shortest(value), *map(_shortest, row)])
    if problem.bias is not None:
        rows.append(["bias", *map(_shortest, problem.bias.tolist())])
    rows.append(["label", *map(_shortest, target.tolist())])
    return _text(rows)


def write_array(array: Array, names: tuple[str, ...] | None) -> bytes:
    """The numbers, the shortest that read back to the same float64, below the names if there are any."""
    rows = [list(map(_shortest, row)) for row in np.atleast_2d(array).tolist()]
    return _text(rows if names is None else [list(names), *rows])


def _text(rows: list[list[str]]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue().encode()


def _check_width(cells: list[str], header: list[str], source: str, number: int) -> None:
    if len(cells) != len(header):
        raise InputError(f"{source}: line {number} has {len(cells)} cells, but the header has {len(header)}")


def _lines(data: bytes, source: str) -> list[Line]:
    reader = csv.reader(io.StringIO(data.decode(), newline=""), strict=True, skipinitialspace=True)
    lines: list[Line] = []
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                lines.append((reader.line_num, stripped))
    except csv.Error as error:
        hint = "; this looks like JSON" if data.decode().lstrip()[:1] in ("{", "[") else ""
        raise InputError(f"{source}: line {reader.line_num}: malformed CSV: {error}{hint}") from None
    if not lines:
        raise InputError(f"{source}: has no cell that is not empty")
    return lines


def _names(header: list[str]) -> tuple[str, ...] | None:
    """Class names; a header that is 0..T-1 in order is indices, and names nothing."""
    return None if header == [str(index) for index in range(len(header))] else tuple(header)


_NUMBER = re.compile(
    r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?(nan|inf(inity)?)", re.IGNORECASE
)


def _is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell) is not None


def _number(cell: str, source: str, line: int, column: int) -> float:
    place = f"{source}: line {line}, column {column}"
    if not cell:
        raise InputError(f"{place} is empty; a number is expected")
    if not _is_number(cell):
        hint = " (a decimal comma? xegrad reads a point)" if _is_number(cell.replace(",", ".")) else ""
        if column == 1 and get_close_matches(cell.lower(), ("label", "bias", "target"), n=1):
            hint = " (the rows of the target and of b begin with label and bias)"
        raise InputError(f"{place} is {_short(cell)}; a number is expected{hint}")
    number = float(cell)
    if number - number != 0:
        if any(digit in cell for digit in "0123456789"):
            raise InputError(f"{place} is too large for float64, whose largest number is 1.8e308")
        raise InputError(f"{place} is {cell!r}; every number must be finite")
    return number


def _short(cell: str) -> str:
    return repr(cell if len(cell) <= 30 else cell[:29] + "…")


def _shortest(number: float) -> str:
    """The shortest text that reads back to the same float64; whole numbers without a point."""
    return str(int(number)) if float(number).is_integer() and abs(number) < 2**53 else repr(number)
