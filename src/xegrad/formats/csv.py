"""CSV: a problem is one table that a spreadsheet can hold, a part of one a table of plain numbers.

x,    cat, dog, cow      a header: x, then the class names or indices
0.1,  0.2, 0.3, 0.4      a row for each input: x_j, then W[j, :]
bias, 0,   0.1, 0        b, if there is one
label, 0,  1,   0        the target, if it is here

A data set is a table with a header, one row for each example: columns of numbers, and one of labels.
"""

from __future__ import annotations

import contextlib
import csv
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import astuple

from xegrad.arrays import has_large
from xegrad.errors import InputError, listed, malformed_csv, nearest, short, shown
from xegrad.formats import naming
from xegrad.formats.labels import Label, LabelText
from xegrad.formats.raw_problem import RawProblem
from xegrad.formats.values import is_number, number_of
from xegrad.inert import from_cell, in_cell
from xegrad.targets import Array, Targets
from xegrad.vocabulary import count

SEPARATORS = {";": "semicolons", "\t": "tabs"}  # that are not commas, though spreadsheets write them
HEADER = "the header is x, then the class names"
SPECIAL_ROWS = {"bias": "b", "label": "label"}  # by their first cell: the key that each is
_PLAIN = b"-0123456789"  # a row of plain numbers begins with one of these

_row_decoder = msgspec.json.Decoder(list[float])


class Line(msgspec.Struct, frozen=True):
    """The cells of a line, and its number in the file."""

    number: int
    cells: list[str]

    def error(self, what: str, column: int | None = None) -> InputError:
        """What is wrong with the line, or with its cell in a column, counted from 0."""
        place = f"line {self.number}" if column is None else f"line {self.number}, column {column + 1}"
        return InputError(place + what)

    def number_in(self, column: int) -> float:
        """The number in a cell; it is finite."""
        cell = self.cells[column]
        try:
            if is_number(cell) and math.isfinite(number := number_of(cell)):
                return number
        except InputError as error:
            raise self.error(str(error), column) from None
        raise self.error(f" is {_why_no_number(cell, is_first=column == 0)}", column)


def load(data: bytes, part: str | None = None, key: str | None = None) -> RawProblem:
    """A problem in one table; or a part: plain numbers, or labels."""
    if part == "label":
        lines = _lines(data)
        return RawProblem({"label": _labels(lines)}, note=_note_of_index(lines))
    lines, plain = _apart(data, part)
    if part is None:
        return _problem(lines, plain)
    try:
        array, names = _numbers(lines, plain)
    except InputError as error:
        hint = "; if it is a data set, --label-column names the column that is the label"
        raise InputError(f"{error}{hint if part == 'x' else ''}") from None
    # x in one line is one example: CSV cannot say that it is a batch of one.
    values: dict[str, Any] = {part: array.ravel() if part == "x" and len(array) == 1 else array}
    if part == "W" and names is not None:
        values["classes"] = names
    if part == "x" and names is not None and len(names) > 1:  # above one column stands what x is called
        values |= _input_names(names)
    return RawProblem(values, note=_note_of_index(lines))


def _apart(data: bytes, part: str | None) -> tuple[list[Line], Array | None]:
    """The lines that begin with a word, and the numbers of the rows between; or else all lines, and None.

    Most rows are plain numbers, which brackets make a list in JSON: that is read ten times as fast as cell by cell.
    """
    words: list[Line] = []
    widths: set[int] = set()
    most = 1 if part else 1 + len(SPECIAL_ROWS)

    def rows() -> Iterator[list[float]]:
        for number, line in enumerate(io.BytesIO(data), start=1):
            if line[0] in _PLAIN:
                row = _row_decoder.decode(b"[%b]" % line)
                widths.add(len(row))
                yield row
            elif not line.isspace():
                (word,) = _lines(line)
                if len(words) == most or b'"' in line or (widths and not words) or is_number(word.cells[0]):
                    raise InputError("it has a cell that must be looked at by itself")
                words.append(Line(number, word.cells))

    with contextlib.suppress(msgspec.DecodeError, RecursionError, InputError):
        if b"\r" in data and data.count(b"\r") > data.count(b"\r\n"):
            raise InputError("it has lines that end otherwise")
        plain = np.fromiter(chain.from_iterable(rows()), np.float64)
        if has_large(plain):
            raise InputError("it has a number that may be a whole one, which float64 rounds")
        is_known = all(line.cells[0].lower() in SPECIAL_ROWS for line in words[1:])
        is_table = len(widths) == 1 and widths.issuperset(len(line.cells) for line in words)
        if is_known and is_table and (words or part):
            return words, plain.reshape(-1, *widths)
    return _lines(data), None


def _problem(lines: list[Line], plain: Array | None) -> RawProblem:
    """W is always (inputs, classes)."""
    header, *below = lines
    _check_header(header)
    _check_widths(lines)
    values: dict[str, Any] = {}
    for word, key in SPECIAL_ROWS.items():
        rows = [line for line in below if line.cells[0].lower() == word]
        if len(rows) > 1:
            raise rows[1].error(f": a second row {word!r}; one is expected")
        if rows:
            values[key] = _matrix(rows, range(1, len(header.cells)))[0]
    table = [line for line in below if line.cells[0].lower() not in SPECIAL_ROWS]
    if not table and plain is None:
        raise InputError("there is no row of numbers; each input is a row: x_j, then W[j, :]")
    numbers = _matrix(table, range(len(header.cells))) if plain is None else plain
    values |= {"W": numbers[:, 1:], "x": numbers[:, 0]}
    if names := _names(header.cells[1:]):
        values["classes"] = names
    return RawProblem(values, rows_are_inputs=True)


def _check_header(header: Line) -> None:
    """Raise InputError for what is not x and the names of the classes."""
    first, *names = header.cells
    if first != "x":
        hint = ""
        if not first:
            hint = "; pandas leaves its index out with to_csv(index=False)"
        elif is_number(first):
            hint = "; W alone is given with -W"
        elif first.startswith(("{", "[")):
            hint = "; this looks like JSON"
        elif names:
            hint = "; a data set is given with -x FILE --label-column NAME"
        raise header.error(f": found {short(first)!r}; in a problem in CSV {HEADER}{hint}")
    if not names:
        raise header.error(f": the header names no classes after x; {HEADER}")
    if "" in names:
        raise header.error(f": a class without a name; {HEADER}", names.index("") + 1)


def _labels(lines: list[Line]) -> Label:
    """A column, or one line, of indices or names; a table of several columns and lines is targets.

    The first line of a column is a header if it alone is no index; one of names has a header where it has one
    line more than x has rows.
    """
    if has_index(lines) and len(lines[0].cells) == 2:
        _check_widths(lines)
        return [LabelText(line.cells[1]) for line in lines[1:]]
    if len(lines) > 1 and max(len(line.cells) for line in lines) > 1:
        return _numbers(lines)[0]
    cells = [cell for line in lines for cell in line.cells]
    if len(lines) > 1 and not is_number(cells[0]) and all(map(is_number, cells[1:])):
        cells = cells[1:]
    return [LabelText(cell) for cell in cells]


def read_data_set(data: bytes, source: str, label_column: str) -> RawProblem:
    """The columns of numbers as x and the named one as labels, with a note on those that are neither."""
    with naming(source):
        header, *below = lines = _lines(data)
        names = header.cells
        if label_column not in names:
            hint = nearest(label_column, names)
            raise header.error(
                f": there is no column {shown(label_column)} among {listed(filter(None, names))}{hint}"
            )
        label = names.index(label_column)
        if label_column in names[label + 1 :]:
            second = names.index(label_column, label + 1)
            both = f"columns {label + 1} and {second + 1} are both named {shown(label_column)}"
            raise header.error(f": {both}; which holds the labels? Rename the other")
        if not below:
            raise InputError("there are no rows below the header")
        _check_widths(lines)
        for line in below:
            if not line.cells[label]:
                raise line.error(" is empty; a label is expected", label)
        first = int(has_index(lines) and label > 0)
        columns = [k for k in range(first, len(names)) if k != label and _is_numeric(below, k, names[k])]
        if not columns:
            raise InputError("no column holds numbers alone")
        inputs = [names[k] for k in columns]
        values = {"x": _matrix(below, columns), "label": [LabelText(line.cells[label]) for line in below]}
        values |= _input_names(inputs)
    taken = {*range(first), *columns, label}
    left_out = [name for k, name in enumerate(names) if k not in taken]
    notes = [f"x is {listed(inputs)}; left out, since not numbers: {listed(left_out)}"] if left_out else []
    if first:
        notes.append(_note_of_index(lines))
    raw = RawProblem(values, {"label": f": {label_column}"}, labels_are_a_column=True, note="; ".join(notes))
    return raw.read_from(source, is_whole=False)


def has_index(lines: list[Line]) -> bool:
    """Whether the first column is no part of the table: nothing stands above it, as above the index of pandas."""
    return bool(lines) and len(lines[0].cells) > 1 and not lines[0].cells[0]


def _note_of_index(lines: list[Line]) -> str:
    return "left out: the first column, which has no name, as the index of pandas" if has_index(lines) else ""


def _input_names(header: Sequence[str]) -> dict[str, Any]:
    """The names of the inputs, where they tell them apart; a data set may have columns without a name, or namesakes."""
    is_fit = all(header) and len({*header}) == len(header)
    return {"input_names": tuple(map(from_cell, header))} if is_fit else {}


def _is_numeric(lines: list[Line], k: int, name: str) -> bool:
    """Whether a column holds numbers alone; refused where it holds some."""
    others = [line for line in lines if not is_number(line.cells[k])]
    if 0 < len(others) < len(lines):
        cell = others[0].cells[k]
        found = repr(short(cell)) if cell else "empty"
        raise others[0].error(f" is {found} in {short(name)}, a column of numbers", k)
    return not others


def _numbers(lines: list[Line], plain: Array | None = None) -> tuple[Array, tuple[str, ...] | None]:
    """A table of numbers, and the names above them."""
    if plain is not None and not lines:
        return plain, None
    _check_widths(lines)
    first, *below = lines
    columns = range(len(first.cells))
    if has_index(lines) and (below or plain is not None):
        array = _matrix(below, columns[1:]) if plain is None else plain[:, 1:]
        return array, _names(first.cells[1:])
    words = [k for k in columns if not is_number(first.cells[k])]
    if not words:
        return _matrix(lines, columns), None
    if len(words) < len(columns):
        word = repr(short(first.cells[words[0]]))
        raise first.error(f" is {word} among numbers; a row holds numbers, a header only names", words[0])
    if not below and plain is None:
        raise InputError("there are no numbers below the header")
    return _matrix(below, columns) if plain is None else plain, _names(first.cells)


def _check_widths(lines: list[Line]) -> None:
    """Raise InputError unless all lines have as many cells as the first."""
    first = lines[0]
    name = f"line {first.number}" if is_number(first.cells[0]) else "the header"
    for line in lines:
        if len(line.cells) != len(first.cells):
            raise line.error(f" has {count(len(line.cells), 'cell')}, but {name} has {len(first.cells)}")


def _matrix(lines: list[Line], columns: Iterable[int]) -> Array:
    return np.array([[line.number_in(k) for k in columns] for line in lines])


def write_problem(raw: RawProblem) -> bytes:
    """The problem as one table; a label becomes a one-hot row."""
    problem = raw.problem()
    _, _, *options = zip(astuple(problem.targets), Targets.__struct_defaults__, strict=True)
    has_options = any(isinstance(value, np.ndarray) or value != default for value, default in options)
    if raw.is_batch or has_options or problem.precision is not None or problem.input_names is not None:
        raise InputError(
            "a batch, names of inputs, float32 and options of the loss do not fit into CSV; JSON holds them"
        )
    target = problem.targets.effective(problem.n_classes, problem.dtype)[0]
    names = problem.classes or tuple(str(index) for index in range(problem.n_classes))
    headings = list(map(in_cell, names))
    for name, heading in zip(names, headings, strict=True):
        if heading != heading.strip():
            raise InputError(f"CSV loses the blanks around the class name {shown(name)}; JSON holds them")
    rows = [["x", *headings], *map(_cells, np.column_stack([problem.inputs[0], problem.weights]))]
    if problem.bias is not None:
        rows.append(["bias", *_cells(problem.bias)])
    return _text([*rows, ["label", *_cells(target)]])


def write_array(array: Array, names: tuple[str, ...] | None) -> bytes:
    """The numbers, the shortest that read back to the same float64, below the names if there are any."""
    return header_of(names) + _text(list(map(_cells, np.atleast_2d(array))))


def header_of(names: tuple[str, ...] | None) -> bytes:
    """The line of names above an array, by which whoever reads it back tells it from numbers, whatever they are."""
    return b"" if names is None else _text([list(map(in_cell, names))])


def _text(rows: list[list[str]]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue().encode()


def _lines(data: bytes) -> list[Line]:
    """The lines that have a cell that is not empty."""
    text = data.decode()
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
    try:
        lines = [
            Line(reader.line_num, stripped)
            for cells in reader
            if any(stripped := [cell.strip() for cell in cells])
        ]
    except csv.Error as error:
        hint = "; this looks like JSON" if text.lstrip().startswith(("{", "[")) else ""
        raise InputError(f"line {reader.line_num}: {malformed_csv(error)}{hint}") from None
    if not lines:
        raise InputError("has no cell that is not empty")
    for mark, word in SEPARATORS.items():
        if len(lines[0].cells) == 1 and all(mark in "".join(line.cells) for line in lines):
            raise lines[0].error(f": found cells separated by {word}; commas are expected")
    return lines


def _names(header: list[str]) -> tuple[str, ...] | None:
    """Class names; a header that is 0..T-1 in order is indices, and names nothing."""
    return None if header == [str(index) for index in range(len(header))] else tuple(map(from_cell, header))


def _why_no_number(cell: str, *, is_first: bool) -> str:
    if not cell:
        return "empty; a number is expected"
    if is_number(cell):
        if any(map(str.isdigit, cell)):
            return "too large for float64, whose largest number is 1.8e308"
        return f"{short(cell)!r}; every number must be finite"
    hint = " (a decimal comma? xegrad reads a point)" if is_number(cell.replace(",", ".")) else ""
    if is_first and nearest(cell.lower(), ("label", "bias", "target")):
        hint = " (the rows of the target and of b begin with label and bias)"
    return f"{short(cell)!r}; a number is expected{hint}"


def _cells(row: Array) -> list[str]:
    """The shortest texts that read back to the same float64; whole numbers without a point, but for -0.0."""
    return [
        str(int(number))
        if number.is_integer() and abs(number) < 2**53 and (number or repr(number) == "0.0")
        else repr(number)
        for number in map(float, row.tolist())
    ]
