"""CSV: a problem is one table that a spreadsheet can hold, a part of one a table of plain numbers.

x,    cat, dog, cow      a header: x, then the class names or indices
0.1,  0.2, 0.3, 0.4      a row for each input: x_j, then W[j, :]
bias, 0,   0.1, 0        b, if there is one
label, 0,  1,   0        the target, if it is here
"""

from __future__ import annotations

import csv
import io
import re
from difflib import get_close_matches

import numpy as np

from xegrad.errors import InputError
from xegrad.formats.parts import Parts
from xegrad.targets import Array

Line = tuple[int, list[str]]  # line number, cells

HEADER = "the header is x, then the class names"


def read_problem(data: bytes, source: str) -> Parts:
    """The parts of a problem in one table; W is always (inputs, classes).

    Raises
    ------
    InputError
        A cell that is no number, a ragged or doubled row, a missing header, by line and column.
    """
    lines = _lines(data, source)
    number, header = lines[0]
    if header[0] != "x":
        separator = next((mark for mark in ";\t" if header[0].startswith(f"x{mark}")), None)
        found = (
            "cells separated by " + {";": "semicolons", "\t": "tabs"}[separator]
            if separator
            else _short(header[0])
        )
        wanted = "commas are expected" if separator else HEADER
        if _is_number(header[0]):
            wanted += "; W alone is given with -W"
        if header[0][0] in "{[":
            wanted += "; this looks like JSON"
        raise InputError(f"{source}: line {number}: found {found}; in a problem in CSV {wanted}")
    if len(header) == 1:
        raise InputError(f"{source}: line {number}: the header names no classes after x; {HEADER}")
    for column, name in enumerate(header[1:], start=2):
        if not name:
            raise InputError(f"{source}: line {number}, column {column}: a class without a name; {HEADER}")
    rows: dict[str, list[float]] = {}
    table: list[list[float]] = []
    for number, cells in lines[1:]:
        if len(cells) != len(header):
            raise InputError(
                f"{source}: line {number} has {len(cells)} cells, but the header has {len(header)}"
            )
        word = cells[0].lower()
        if word not in ("label", "bias"):
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
    return Parts(
        weights=numbers[:, 1:],
        inputs=numbers[:, 0],
        bias=np.array(rows["bias"]) if "bias" in rows else None,
        label=np.array(rows["label"]) if "label" in rows else None,
        classes=_names(header[1:]),
        rows_are_inputs=True,
        sources=dict.fromkeys(("problem", "W", "x", "b", "label", "classes"), source),
    )


def read_array(data: bytes, source: str) -> tuple[Array, tuple[str, ...] | None]:
    """A table of plain numbers, and the names in its first row if that holds something that is no number."""
    lines = _lines(data, source)
    names = None
    numeric = [_is_number(cell) for cell in lines[0][1]]
    if not all(numeric):
        if any(numeric):
            place = f"{source}: line {lines[0][0]}, column {numeric.index(False) + 1}"
            found = _short(lines[0][1][numeric.index(False)])
            raise InputError(f"{place} is {found} among numbers; a row holds numbers, a header only names")
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


def write_problem(parts: Parts) -> str:
    """The problem as one table; a label becomes a one-hot row."""
    assert parts.weights is not None
    assert parts.inputs is not None
    problem = parts.problem()
    target = problem.targets.effective(problem.n_classes, problem.dtype)[0]
    names = parts.classes or tuple(str(index) for index in range(problem.n_classes))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["x", *names])
    for value, row in zip(problem.inputs[0].tolist(), problem.weights.tolist(), strict=True):
        writer.writerow([_shortest(value), *map(_shortest, row)])
    if problem.bias is not None:
        writer.writerow(["bias", *map(_shortest, problem.bias.tolist())])
    writer.writerow(["label", *map(_shortest, target.tolist())])
    return out.getvalue()


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
    return str(int(number)) if number == int(number) and abs(number) < 2**53 else repr(number)
