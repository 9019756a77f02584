"""What a format of data sets does, and the table of them.

A format's module has two functions:

    listed(file)                          its columns, by name and type, and its pieces
    read(file, pieces, numbers, label)    some of its pieces, as batches of these columns of numbers and of the labels

Types are those of numpy by their names; "number", "whole number" and "text" where a format knows no more; "nothing"
where no cell says it; anything else is neither a number nor text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import IO, Any, Literal, NamedTuple, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from xegrad.data_sets import Piece
from xegrad.errors import short, shown

FLOATS = frozenset({"float16", "float32", "float64", "number"})
WHOLE = frozenset({"whole number", *(f"{sign}int{8 * n}" for sign in ("", "u") for n in (1, 2, 4, 8))})
NUMBERS = FLOATS | WHOLE | {"nothing"}
LABELS = WHOLE | {"text", "nothing"}

BATCH = 2**23  # bytes of the numbers that are read at a time: with fewer a table of many columns takes longer
SPAN = 2**25  # bytes of a piece of a file that has none of its own

# In the digits that every language reads.
_NUMBER = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_WHOLE = re.compile(r"[-+]?[0-9]+")
_NOT_FINITE = re.compile(r"[-+]?(nan|inf|infinity)", re.IGNORECASE)

# What is said of other cells.
A_NUMBER, A_LABEL = "a number is expected", "a whole number or a class is expected"

Columns = list[tuple[str, str]]  # names and types
Faults = Mapping[int, str]  # of rows of a batch that cannot be read: why


class Names(NamedTuple):
    """Labels that are text, or, as JSON tells them apart, whole numbers: an index into distinct ones for each row."""

    codes: NDArray[Any]
    distinct: Sequence[str | int]


class Batch(NamedTuple):
    """Some rows of a file by columns: of numbers, as they were asked for, and of the labels.

    Where the numbers are one array (columns, rows) it is of floats, and its transpose is in C order.
    """

    n_rows: int
    numbers: Sequence[NDArray[Any]] | NDArray[Any]
    labels: NDArray[Any] | Names
    faults: Faults


class Module(Protocol):
    """The module of a format."""

    def listed(self, file: IO[bytes]) -> tuple[Columns, list[Piece]]: ...

    def read(
        self, file: IO[bytes], pieces: Sequence[Piece], numbers: Sequence[str], label: str
    ) -> Iterator[Batch]: ...


class Format(msgspec.Struct, frozen=True):
    """One entry of the table: what it is called, its module, what its files end in, and what is in a file of it that
    is read whole: an array, or a table, whose columns are inputs and labels."""

    name: str
    module: str
    suffixes: tuple[str, ...]
    where: str = ""  # after the number of a row, which is counted from 1
    whole: Literal["array", "table", ""] = ""  # nothing: it holds rows alone
    seconds: float = 0.0  # that reading a cell takes, by estimate (benchmarks/estimates.py)

    def holds_rows(self, *, with_labels: bool) -> bool:
        """Whether a file of it is read as rows, where a column of it has the labels or not."""
        return self.whole == "" or (with_labels and self.whole == "array")

    def load(self) -> Module:
        """Its module."""
        module: Any = import_module(f"xegrad.data_sets.{self.module}")
        return module


FORMATS: Mapping[str, Format] = {
    suffix: entry
    for entry in (
        Format("Parquet", "parquet", (".parquet", ".pq"), seconds=15e-9),
        Format("CSV", "csv", (".csv",), " below the header", "table", 100e-9),
        Format("NPY", "npy", (".npy",), whole="array", seconds=8e-9),
        Format("NDJSON", "ndjson", (".ndjson", ".jsonl"), seconds=250e-9),
    )
    for suffix in entry.suffixes
}


def rows_of_batch(n_columns: int) -> int:
    """How many rows to read at a time."""
    return max(64, BATCH // (8 * max(1, n_columns)))


def of_cells(rows: Sequence[Any], numbers: Sequence[str], label: str) -> Batch:
    """A batch of rows that are looked at cell by cell.

    A row is a list of the numbers and then the label, or why there are none.  A number or a label may be text; None is
    a cell that is empty, or not there.
    """
    faults: dict[int, str] = {}
    columns = np.full((len(numbers), len(rows)), np.nan)
    distinct: dict[str | int, int] = {}
    codes = np.zeros(len(rows), np.intp)
    for k, row in enumerate(rows):
        if isinstance(row, str):
            faults[k] = row
            continue
        *cells, labelled = row
        for j, cell in enumerate(cells):
            number = number_in(cell)
            if isinstance(number, str):
                faults.setdefault(k, f"{short(numbers[j])} {number}")
            else:
                columns[j, k] = number
        if not isinstance(labelled, str | int) or isinstance(labelled, bool):
            faults.setdefault(k, f"{short(label)} is {_said(labelled)}; {A_LABEL}")
        else:
            codes[k] = distinct.setdefault(labelled, len(distinct))
    return Batch(len(rows), [*columns], Names(codes, [*distinct] or [""]), faults)


def number_in(cell: Any) -> float | str:
    """The number that a cell holds, without rounding a whole one; or what else it is."""
    value = cell
    if isinstance(cell, str):
        text = cell.strip()
        if _WHOLE.fullmatch(text) and len(text) < 400:
            value = int(text) or float(text)  # -0 is -0.0
        elif _NUMBER.fullmatch(text) or _NOT_FINITE.fullmatch(text):
            value = float(text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"is {_said(cell)}; {A_NUMBER}"
    if isinstance(value, int):
        return whole(value)
    return value


def whole(value: int) -> float | str:
    """A whole number as float64, or that this does not hold it."""
    try:
        if (number := float(value)) == value:
            return number
    except OverflowError:
        return "is too large for float64, whose largest number is 1.8e308"
    return f"is {short(str(value), 40)}, which float64 does not hold"


def type_of(value: Any) -> str:
    """The type of a cell's value, or of its text."""
    if isinstance(value, str) and value.strip():
        return (
            "whole number"
            if _WHOLE.fullmatch(value.strip())
            else (
                "number"
                if _NUMBER.fullmatch(value.strip()) or _NOT_FINITE.fullmatch(value.strip())
                else "text"
            )
        )
    if isinstance(value, bool | list | dict):
        return {bool: "bool", list: "list", dict: "object"}[type(value)]
    return "whole number" if isinstance(value, int) else "number" if isinstance(value, float) else "nothing"


def _said(cell: Any) -> str:
    return "null" if cell is None else "empty" if cell == "" else shown(cell)
