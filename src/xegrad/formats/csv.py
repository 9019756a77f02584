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
import math
import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

import msgspec
import numpy as np

from xegrad.errors import InputError
from xegrad.formats.labels import Label, LabelText
from xegrad.formats.raw_problem import RawProblem
from xegrad.targets import Array, Targets

SEPARATORS = {";": "semicolons", "\t": "tabs"}  # that are not commas, though spreadsheets write them
HEADER = "the header is x, then the class names"
SPECIAL_ROWS = {"bias": "b", "label": "label"}  # by their first cell: the key that each is


class Line(msgspec.Struct, frozen=True):
    """The cells of a line, and its place in the file: what it comes from, and its number."""

    source: str
    number: int
    cells: list[str]

    @property
    def place(self) -> str:
        """The line, for messages."""
        return f"{self.source}: line {self.number}"

    def numbers(self, columns: Iterable[int]) -> list[float]:
        """The numbers in some columns, counted from 0."""
        return [self._number(k) for k in columns]

    def _number(self, k: int) -> float:
        cell = self.cells[k]
        if _is_number(cell) and math.isfinite(number := float(cell)):
            return number
        raise InputError(f"{self.place}, column {k + 1} is {_why_no_number(cell, is_first=k == 0)}")

    def check_width(self, first: Line, name: str) -> None:
        """Raise InputError unless it has as many cells as the first."""
        if len(self.cells) != len(first.cells):
            raise InputError(f"{self.place} has {len(self.cells)} cells, but {name} has {len(first.cells)}")


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
    header, *lines = _lines(data, source)
    _check_header(header, is_alone=not lines)
    n_cells = len(header.cells)
    special: dict[str, Array] = {}
    table: list[list[float]] = []
    for line in lines:
        line.check_width(header, "the header")
        word = line.cells[0].lower()
        if word not in SPECIAL_ROWS:
            table.append(line.numbers(range(n_cells)))
        elif SPECIAL_ROWS[word] in special:
            raise InputError(f"{line.place}: a second row {word!r}; one is expected")
        else:
            special[SPECIAL_ROWS[word]] = np.array(line.numbers(range(1, n_cells)))
    if not table:
        raise InputError(f"{source}: there is no row of numbers; each input is a row: x_j, then W[j, :]")
    numbers, names = np.array(table), _names(header.cells[1:])
    values = {"W": numbers[:, 1:], "x": numbers[:, 0], **special, **({"classes": names} if names else {})}
    return RawProblem(values, dict.fromkeys(("problem", *values), source), rows_are_inputs=True)


def _check_header(header: Line, *, is_alone: bool) -> None:
    """Raise InputError for what is not x and the names of the classes."""
    first, *names = header.cells
    if first != "x":
        separator = next((mark for mark in SEPARATORS if first.startswith(f"x{mark}")), None)
        start = f"cells separated by {SEPARATORS[separator]}" if separator else _short(first)
        wanted = "commas are expected" if separator else HEADER
        if _is_number(first):
            wanted += "; W alone is given with -W"
        elif names and not is_alone and separator is None:
            wanted += "; a data set is given with -x FILE --label-column NAME"
        if first[0] in "{[":
            wanted += "; this looks like JSON"
        raise InputError(f"{header.place}: found {start}; in a problem in CSV {wanted}")
    if not names:
        raise InputError(f"{header.place}: the header names no classes after x; {HEADER}")
    if "" in names:
        raise InputError(f"{header.place}, column {names.index('') + 2}: a class without a name; {HEADER}")


def _array(data: bytes, source: str, part: str) -> RawProblem:
    """A table of plain numbers; the names in the first row of W, if it holds any, are those of the classes.

    x in one line is one example: CSV cannot say that it is a batch of one.
    """
    try:
        array, names = _numbers(_lines(data, source))
    except InputError as error:
        hint = "; if it is a data set, --label-column names the column that is the label"
        raise InputError(f"{error}{hint if part == 'x' else ''}") from None
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
    if len(lines) > 1 and max(len(line.cells) for line in lines) > 1:
        return _numbers(lines)[0]
    cells = [cell for line in lines for cell in line.cells]
    if len(lines) > 1 and not _is_number(cells[0]) and all(map(_is_number, cells[1:])):
        cells = cells[1:]
    return [LabelText(cell) for cell in cells]


def read_data_set(data: bytes, source: str, label_column: str) -> DataSet:
    """The columns of numbers as x, and the named column as labels.

    Raises
    ------
    InputError
        A missing column, one that mixes numbers with anything else, no column of numbers; by line and column.
    """
    header, *lines = _lines(data, source)
    names = header.cells
    for mark, word in SEPARATORS.items():
        if len(names) == 1 and mark in names[0]:
            raise InputError(f"{header.place}: found cells separated by {word}; commas are expected")
    if label_column not in names:
        near = get_close_matches(label_column, names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise InputError(
            f"{header.place}: there is no column {label_column!r} among {', '.join(names)}{hint}"
        )
    if not lines:
        raise InputError(f"{source}: there are no rows below the header")
    for line in lines:
        line.check_width(header, "the header")
    label = names.index(label_column)
    for line in lines:
        if not line.cells[label]:
            raise InputError(f"{line.place}, column {label + 1} is empty; a label is expected")
    chosen = [k for k in range(len(names)) if k != label and _is_numeric(lines, k, names[k])]
    if not chosen:
        raise InputError(f"{source}: no column holds numbers alone")
    values = {
        "x": np.array([line.numbers(chosen) for line in lines]),
        "label": [LabelText(line.cells[label]) for line in lines],
    }
    return DataSet(
        problem=RawProblem(
            values, {"x": source, "label": f"{source}: {label_column}"}, labels_are_a_column=True
        ),
        columns=tuple(names[k] for k in chosen),
        left_out=tuple(name for k, name in enumerate(names) if k not in (*chosen, label)),
    )


def _is_numeric(lines: list[Line], k: int, name: str) -> bool:
    """Whether a column holds numbers alone; refused where it holds some."""
    other = next((line for line in lines if not _is_number(line.cells[k])), None)
    if other is not None and any(_is_number(line.cells[k]) for line in lines):
        cell = _short(other.cells[k]) if other.cells[k] else "empty"
        raise InputError(f"{other.place}, column {k + 1} is {cell} in {name}, a column of numbers")
    return other is None


def _numbers(lines: list[Line]) -> tuple[Array, tuple[str, ...] | None]:
    """A table of numbers, and the names above them."""
    first, *below = lines
    names = None
    other = next((k for k, cell in enumerate(first.cells) if not _is_number(cell)), None)
    if other is not None:
        if any(map(_is_number, first.cells)):
            raise InputError(
                f"{first.place}, column {other + 1} is {_short(first.cells[other])} among numbers; a row holds "
                "numbers, a header only names"
            )
        if not below:
            raise InputError(f"{first.source}: there are no numbers below the header")
        names, lines = _names(first.cells), below
    for line in lines:
        line.check_width(lines[0], f"line {lines[0].number}")
    return np.array([line.numbers(range(len(line.cells))) for line in lines]), names


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


def _lines(data: bytes, source: str) -> list[Line]:
    """The lines that have a cell that is not empty."""
    text = data.decode()
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
    lines: list[Line] = []
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                lines.append(Line(source, reader.line_num, stripped))
    except csv.Error as error:
        hint = "; this looks like JSON" if text.lstrip()[:1] in ("{", "[") else ""
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


def _why_no_number(cell: str, *, is_first: bool) -> str:
    if not cell:
        return "empty; a number is expected"
    if _is_number(cell):
        is_large = any(digit in cell for digit in "0123456789")
        return (
            "too large for float64, whose largest number is 1.8e308"
            if is_large
            else f"{cell!r}; every number must be finite"
        )
    hint = " (a decimal comma? xegrad reads a point)" if _is_number(cell.replace(",", ".")) else ""
    if is_first and get_close_matches(cell.lower(), ("label", "bias", "target"), n=1):
        hint = " (the rows of the target and of b begin with label and bias)"
    return f"{_short(cell)}; a number is expected{hint}"


def _short(cell: str) -> str:
    return repr(cell if len(cell) <= 30 else cell[:29] + "…")


def _shortest(number: float) -> str:
    """The shortest text that reads back to the same float64; whole numbers without a point."""
    return str(int(number)) if float(number).is_integer() and abs(number) < 2**53 else repr(number)
