"""NPY: a table of numbers, whose columns are called by their indices, or records, whose fields are columns."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Iterator, Sequence
from tokenize import TokenError
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from xegrad.data_sets import Piece
from xegrad.data_sets.formats import SPAN, Batch, Columns, Names, rows_of_batch
from xegrad.errors import InputError

MOST_COLUMNS = 2**20


class _Header(NamedTuple):
    """How the numbers lie in the file, and where they begin."""

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype[Any]
    start: int

    @property
    def names(self) -> Sequence[str]:
        """Of the columns."""
        return self.dtype.names or [*map(str, range(self.shape[1]))]


def listed(file: IO[bytes]) -> tuple[Columns, list[Piece]]:
    """Its columns, and runs of rows."""
    header = _header(file)
    types = (
        [header.dtype[name] for name in header.dtype.names]
        if header.dtype.names
        else [header.dtype] * header.shape[1]
    )
    columns = [(name, _type_name(kind)) for name, kind in zip(header.names, types, strict=True)]
    of_row = max(1, header.dtype.itemsize * (header.shape[1] if len(header.shape) > 1 else 1))
    step, n_rows = max(1, SPAN // of_row), header.shape[0]
    starts = range(0, n_rows, step)
    return columns, [Piece(k, min(k + step, n_rows), min(step, n_rows - k)) for k in starts]


def read(file: IO[bytes], pieces: Sequence[Piece], numbers: Sequence[str], label: str) -> Iterator[Batch]:
    """Runs of rows, by batches."""
    header = _header(file)
    size = rows_of_batch(len(header.names))
    places: Sequence[Any] = (*numbers, label)
    if not header.dtype.names:
        places = [*map(int, places)]
    for piece in pieces:
        for start in range(piece.start, piece.stop, size):
            table = _table(file, header, start, min(size, piece.stop - start))
            *columns, labels = [table[place] if header.dtype.names else table[:, place] for place in places]
            yield Batch(len(table), columns, _labels(labels), {})


def _header(file: IO[bytes]) -> _Header:
    file.seek(0)
    with warnings.catch_warnings():  # of a header that Python 2 wrote, or that is none
        warnings.simplefilter("ignore")
        try:
            version = npy.read_magic(file)
            read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
            if read_header is None:
                raise InputError(f"is NPY of version {'.'.join(map(str, version))}; 1.0 or 2.0 is expected")
            header = _Header(*read_header(file), file.tell())
        except TokenError:  # of brackets that do not end
            raise InputError("cannot be read as NPY: its header ends within brackets") from None
        except ValueError as error:
            if not str(error).startswith("EOF"):
                raise
            raise InputError("ends within its header: it has been cut short") from None
    if header.dtype.hasobject:
        raise InputError("holds Python objects, which may run any program and are never read")
    n_axes = 1 if header.dtype.names else 2
    if len(header.shape) != n_axes:
        raise InputError(
            f"has the shape {header.shape}; rows of numbers (rows, columns), or of records (rows,), are expected"
        )
    if n_axes == 2 and header.shape[1] > MOST_COLUMNS:
        raise InputError(f"has {header.shape[1]} columns; at most {MOST_COLUMNS} are expected")
    if header.shape[0] and not math.prod(header.shape[1:]) * header.dtype.itemsize:
        raise InputError(f"has the shape {header.shape} of {header.dtype}, which are rows of nothing")
    expected = header.start + int(np.prod(header.shape, dtype=object)) * header.dtype.itemsize
    if (size := file.seek(0, 2)) != expected:
        raise InputError(
            f"has {size} bytes, not the {expected} that its header says: it has been cut short, or is not whole"
        )
    return header


def _table(file: IO[bytes], header: _Header, start: int, n_rows: int) -> NDArray[Any]:
    if not header.is_fortran or header.dtype.names:
        width = header.shape[1] if len(header.shape) > 1 else 1
        table = _values(file, header, start * width, n_rows * width)
        return table if header.dtype.names else table.reshape(n_rows, width)
    columns = [_values(file, header, k * header.shape[0] + start, n_rows) for k in range(header.shape[1])]
    return np.array(columns).T


def _values(file: IO[bytes], header: _Header, first: int, n: int) -> NDArray[Any]:
    file.seek(header.start + first * header.dtype.itemsize)
    data = file.read(n * header.dtype.itemsize)
    if len(data) != n * header.dtype.itemsize:
        raise InputError("has been cut short")
    return np.frombuffer(data, header.dtype)


def _labels(labels: NDArray[Any]) -> NDArray[Any] | Names:
    if labels.dtype.kind != "U":
        return labels
    labels = np.ascontiguousarray(labels, labels.dtype.newbyteorder("="))
    if (
        len(labels) and labels.view(np.uint32).max() > sys.maxunicode
    ):  # of which Python makes text that it cannot use
        raise InputError("cannot be read as NPY: a label has a character that is none of Unicode")
    texts, codes = np.unique(labels, return_inverse=True)
    return Names(codes, texts.tolist() or [""])


def _type_name(dtype: np.dtype[Any]) -> str:
    """Its name, whatever the order of its bytes."""
    return "text" if dtype.kind == "U" else dtype.newbyteorder("=").name
