"""CSV: a header, then a row a line, with commas; read by pyarrow, and cell by cell where that finds something."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import IO, Any

import numpy as np

from xegrad.arrays import has_large
from xegrad.data_sets import Piece, lines
from xegrad.data_sets.arrow import batch, imported
from xegrad.data_sets.formats import Batch, Columns, of_cells, rows_of_batch, type_of
from xegrad.errors import InputError, malformed_csv, short
from xegrad.inert import is_unicode
from xegrad.vocabulary import count

LONGEST_HEADER = 2**24  # bytes
SEEN = 2**20  # bytes in which the types of columns are looked for
BLOCK = 2**20  # bytes that pyarrow takes at a time


def listed(file: IO[bytes]) -> tuple[Columns, list[Piece]]:
    """Its columns, by its header and the first cell of each that is not empty, and spans of whole lines."""
    imported("CSV")
    names, start = _header(file)
    if not names:
        return [], []
    pieces = [*lines.spans(file, start, has_quotes=True)]
    file.seek(start)
    types = ["nothing"] * len(names)
    n_open = len(names)  # columns of which no cell has been seen
    for row in _rows(file.read(SEEN), is_cut=True):
        for k, cell in enumerate(row[: len(names)]):
            if types[k] == "nothing":
                types[k] = type_of(cell)
                n_open -= types[k] != "nothing"
        if not n_open:
            break
    return [*zip(names, types, strict=True)], pieces


def read(file: IO[bytes], pieces: Sequence[Piece], numbers: Sequence[str], label: str) -> Iterator[Batch]:
    """Spans, by batches."""
    names, _ = _header(file)
    for piece in pieces:
        file.seek(piece.start)
        data, n_rows = file.read(piece.stop - piece.start), 0
        try:
            for some in _by_arrow(data, names, numbers, label):
                n_rows += some.n_rows
                yield some
        except _DoubtError:
            for some in _by_cells(data, n_rows, names, numbers, label):
                n_rows += some.n_rows
                yield some
        if n_rows != piece.n_rows:
            raise InputError(
                f"cannot be read as CSV: {n_rows} rows are where {piece.n_rows} lines are not blank"
            )


class _DoubtError(Exception):
    """A cell must be looked at by itself."""


def _by_arrow(data: bytes, names: Sequence[str], numbers: Sequence[str], label: str) -> Iterator[Batch]:
    pa = imported("CSV")
    from pyarrow import csv as arrow_csv

    # What begins with blanks may be in quotes, of which pyarrow knows nothing, and it reads on behind the last quote.
    if b' "' in data or not _ends_at_quotes(data):
        raise _DoubtError
    types: dict[str, Any] = {**dict.fromkeys(numbers, pa.float64()), label: pa.string()}
    try:
        reader = arrow_csv.open_csv(
            pa.BufferReader(data),
            arrow_csv.ReadOptions(use_threads=False, block_size=BLOCK, column_names=[*names]),
            arrow_csv.ParseOptions(newlines_in_values=b'"' in data),
            arrow_csv.ConvertOptions(
                include_columns=[*numbers, label],
                column_types=types,
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
        for some in reader:
            columns = batch(pa, some, numbers, label)
            if any(map(has_large, columns.numbers)):  # whole numbers may have been rounded
                raise _DoubtError
            yield columns
    except pa.ArrowInvalid:
        raise _DoubtError from None


def _ends_at_quotes(data: bytes) -> bool:
    """Whether behind the end of quotes a cell ends, or others begin, as where one is doubled."""
    behind = lines.quotes(data)[1::2] + 1
    return bool(np.isin(np.frombuffer(data, np.uint8)[behind[behind < len(data)]], [*b'",\r\n']).all())


def _by_cells(
    data: bytes, first: int, names: Sequence[str], numbers: Sequence[str], label: str
) -> Iterator[Batch]:
    """From a row on, each cell by itself."""
    place_of = {name: place for place, name in enumerate(names)}
    places = [place_of[name] for name in (*numbers, label)]
    size, n_rows = rows_of_batch(10 * len(names)), 0
    rows: list[list[str | None] | str] = []
    for cells in _rows(data):
        n_rows += bool(cells)
        if not cells or n_rows <= first:
            continue
        if not is_unicode("".join(cells)):
            rows.append("it is not UTF-8")
        elif len(cells) == len(names):
            rows.append([cells[place] or None for place in places])
        else:
            rows.append(f"it has {count(len(cells), 'cell')}; the header has {len(names)}")
        if len(rows) == size:
            yield of_cells(rows, numbers, label)
            rows = []
    if rows:
        yield of_cells(rows, numbers, label)


def _header(file: IO[bytes]) -> tuple[list[str], int]:
    """The names in its first line that is not blank, and where that ends."""
    start = lines.begin(file)
    file.seek(start)
    pieces: list[bytes] = []
    n_quotes, is_blank = 0, True
    while start < LONGEST_HEADER and (more := file.readline(LONGEST_HEADER)):
        pieces.append(more)
        start += len(more)
        n_quotes, is_blank = n_quotes + more.count(b'"'), is_blank and not more.strip()
        if not is_blank and n_quotes % 2 == 0:
            break
    line = b"".join(pieces)
    if is_blank:
        return [], start
    lines.count(line, has_quotes=True)
    names, *others = filter(None, _rows(line))
    if others:
        raise InputError(
            "has a quotation mark within a name of its header; put the name in quotes, and double it"
        )
    if not is_unicode("".join(names)):
        raise InputError("has a header that is not UTF-8; save it as UTF-8")
    return [name.strip() for name in names], start


def _rows(data: bytes, *, is_cut: bool = False) -> Iterator[list[str]]:
    """The cells of each line; none of one that is blank."""
    try:
        text = io.StringIO(data.decode("utf-8", "surrogateescape"), newline="")
        yield from (reader := csv.reader(text, skipinitialspace=True, strict=not is_cut))
    except csv.Error as error:
        line = data.split(b"\n", reader.line_num)[reader.line_num - 1].decode(errors="replace")
        raise InputError(
            f"cannot be read as CSV: {malformed_csv(error)}, in the line {short(line.strip(), 60)}"
        ) from None
