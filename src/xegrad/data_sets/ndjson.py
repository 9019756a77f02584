"""NDJSON: an object of columns a line, read by msgspec, and line by line where that finds something."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import IO, Any

import msgspec
import numpy as np
from msgspec.structs import astuple

from xegrad.arrays import has_large
from xegrad.data_sets import Piece
from xegrad.data_sets.formats import Batch, Columns, Names, of_cells, type_of
from xegrad.data_sets.lines import begin, count, spans
from xegrad.errors import InputError, short, shown

SEEN = 2**20  # bytes in which columns are looked for
CHUNK = 2**20  # bytes of lines that are read at a time

_ESCAPED = re.compile(
    r'["\\\x00-\x1f]'
)  # of a name that JSON writes with a backslash, which msgspec takes for none
_KEY_END = re.compile(rb'"[ \t\r\n]*:')


def listed(file: IO[bytes]) -> tuple[Columns, list[Piece]]:
    """The columns of its first line that can be read, and spans of whole lines."""
    start = begin(file)
    pieces = [*spans(file, start, has_quotes=False)]
    if not sum(piece.n_rows for piece in pieces):
        return [], []
    file.seek(start)
    for line in file.read(SEEN).split(b"\n"):
        try:
            row = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        if isinstance(row, dict):
            return [
                (name, type_of(value) if not isinstance(value, str) else "text")
                for name, value in row.items()
            ], pieces
    raise InputError(
        'cannot be read as NDJSON: no line of its beginning is an object of columns, such as {"x1": 0.5}'
    )


def read(file: IO[bytes], pieces: Sequence[Piece], numbers: Sequence[str], label: str) -> Iterator[Batch]:
    """Spans, by batches."""
    names = (*numbers, label)
    for piece in pieces:
        file.seek(piece.start)
        n_rows = 0
        for some in _chunks(file, piece.stop - piece.start):
            try:
                batch = _at_once(some, names)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, _DoubtError):
                batch = of_cells(
                    [_cells(line, names) for line in some.split(b"\n") if line.strip(b"\r")], numbers, label
                )
            n_rows += batch.n_rows
            yield batch
        if n_rows != piece.n_rows:
            raise InputError(
                f"cannot be read as NDJSON: {n_rows} rows are where {piece.n_rows} lines are not blank"
            )


class _DoubtError(Exception):
    """A line must be looked at by itself."""


def _at_once(data: bytes, names: tuple[str, ...]) -> Batch:
    """Lines, whose last name is that of the label."""
    if any(map(_ESCAPED.search, names)):
        raise _DoubtError
    keys = _keys(data, names)
    rows = _decoder(keys, names).decode_lines(data)
    if len(rows) != count(data, has_quotes=False):  # an object of two lines, or two on one
        raise _DoubtError
    columns = dict(
        zip(keys, zip(*map(astuple, rows), strict=True) if rows else [()] * len(keys), strict=True)
    )
    *numbers, labels = (columns.pop(name) for name in names)
    others = [value for column in columns.values() for value in column if value is not msgspec.UNSET]
    if not _are_single(data, len(rows) * len(names) + len(others), others):
        raise _DoubtError
    arrays = [np.array(column, np.float64) for column in numbers]
    if any(map(has_large, arrays)):  # whole numbers may have been rounded
        raise _DoubtError
    distinct: dict[str | int, int] = {}
    codes = [distinct.setdefault(label, len(distinct)) for label in labels]
    return Batch(len(rows), arrays, Names(np.array(codes, np.intp), [*distinct] or [""]), {})


def _keys(data: bytes, names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the first line, in whose order others are read fastest; the names where it lacks one, or has one that
    msgspec does not take."""
    try:
        row = msgspec.json.decode(data.partition(b"\n")[0])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return names
    is_readable = isinstance(row, dict) and row.keys() >= {*names} and not any(map(_ESCAPED.search, row))
    return tuple(row) if is_readable else names


@lru_cache(1)
def _decoder(keys: tuple[str, ...], names: tuple[str, ...]) -> Any:
    """Of rows with these columns, whose last is the label; what is under other keys is left as it is, and may lack."""
    types: dict[str, Any] = {**dict.fromkeys(names, float), names[-1]: int | str}
    fields = [
        (f"c{k}", types[key]) if key in types else (f"c{k}", msgspec.Raw | msgspec.UnsetType, msgspec.UNSET)
        for k, key in enumerate(keys)
    ]
    rename = {f"c{k}": key for k, key in enumerate(keys)}
    return msgspec.json.Decoder(msgspec.defstruct("Row", fields, rename=rename, kw_only=True, gc=False))


def _are_single(data: bytes, n_keys: int, others: Sequence[Any] = ()) -> bool:
    """Whether the objects in some lines, which have at least so many keys, have each of them once: by the colons that
    are not in the values `others`, or by the ends of keys. It may be that they do all the same, as beside a label with
    a quotation mark and a colon.
    """
    if data.count(b":") == n_keys:
        return True
    within = b"\n".join(others)
    if data.count(b":") - within.count(b":") == n_keys:
        return True
    n_ends = len(_KEY_END.findall(data))
    if n_ends - len(_KEY_END.findall(within)) == n_keys:
        return True
    rows = msgspec.json.Decoder(dict[str, Any]).decode_lines(data)
    return n_ends == sum(map(len, rows))


def _cells(line: bytes, names: Sequence[str]) -> list[Any] | str:
    pairs: list[tuple[str, Any]] = []
    try:
        row = msgspec.json.decode(line)
        if isinstance(row, dict) and not _are_single(line, len(row)):
            pairs = json.loads(line, object_pairs_hook=list)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "it cannot be read as JSON"
    if not isinstance(row, dict):
        return "it is no object of columns"
    for name, times in Counter(name for name, _ in pairs).items():
        if times > 1 and name in names:
            return f"it has the key {shown(name)} twice; which of them is meant?"
    for name in names[:-1]:
        if isinstance(row.get(name), str):
            return f"{short(name)} is text; a number is expected"
    return [row.get(name) for name in names]


def _chunks(file: IO[bytes], n_bytes: int) -> Iterator[bytes]:
    """So many bytes of a file, by whole lines."""
    rest = b""
    while n_bytes and (data := file.read(min(CHUNK, n_bytes))):
        n_bytes -= len(data)
        data = rest + data
        end = data.rfind(b"\n") + 1 if n_bytes else len(data)
        rest = data[end:]
        if end:
            yield data[:end]
