"""Parquet: row groups, read a few pages at a time."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import IO, Any

from xegrad.data_sets import Piece
from xegrad.data_sets.arrow import batch, imported, type_name
from xegrad.data_sets.formats import Batch, Columns, rows_of_batch
from xegrad.errors import InputError

MARK = b"PAR1"  # at the end of every file
BUFFER = 2**16  # bytes of a column that are read at a time, not the whole of its row group
REMOTE_BUFFER = 2**20  # of which each is a request
MUCH = 2**26  # bytes
FEW = 32  # columns


def listed(file: IO[bytes]) -> tuple[Columns, list[Piece]]:
    """Its columns, and its row groups."""
    size = file.seek(0, 2)
    file.seek(max(0, size - len(MARK)))
    if file.read() != MARK:
        raise InputError("does not end as Parquet does: it has been cut short, or is no Parquet")
    parquet = _opened(file)
    metadata = parquet.metadata
    columns = [(field.name, type_name(imported("Parquet"), field.type)) for field in parquet.schema_arrow]
    n_rows = [metadata.row_group(k).num_rows for k in range(metadata.num_row_groups)]
    if min(n_rows, default=0) < 0:
        raise InputError(f"is broken: it says that a row group has {min(n_rows)} rows")
    return columns, [Piece(k, k + 1, n) for k, n in enumerate(n_rows)]


def read(file: IO[bytes], pieces: Sequence[Piece], numbers: Sequence[str], label: str) -> Iterator[Batch]:
    """Row groups, by batches."""
    pa, parquet = imported("Parquet"), _opened(file)
    names, size = [*numbers, label], rows_of_batch(len(numbers))
    if any(_is_smaller_whole(pa, parquet, piece.start, names, _buffer(file)) for piece in pieces):
        for piece in pieces:
            whole = _whole(pa, parquet, piece, names)
            for start in range(0, piece.n_rows, size):
                yield batch(pa, whole.slice(start, size), numbers, label)
            del whole  # before the next
        return
    groups = [piece.start for piece in pieces]
    for some in parquet.iter_batches(size, groups, names, use_threads=False):
        yield batch(pa, some, numbers, label)


def _is_smaller_whole(pa: Any, parquet: Any, index: int, names: Sequence[str], buffer: int) -> bool:
    """Whether to read a row group row by row holds much, and more than all of its values: of each column a buffer, and
    its dictionary, packed and unpacked, which may have each of its values.

    What is held is measured, at the first row of a few columns at a time: the metadata of a column would say it, and
    where they are broken, to ask for them ends the process.
    """
    group = parquet.metadata.row_group(index)
    allowed = max(MUCH, 8 * group.num_rows * len(names))
    if len(names) * buffer + 2 * group.total_byte_size <= allowed:
        return False
    pool, held = pa.default_memory_pool(), 0
    for start in range(0, len(names), FEW):
        before = pool.bytes_allocated()
        rows = parquet.iter_batches(1, [index], names[start : start + FEW], use_threads=False)
        next(rows, None)
        held += pool.bytes_allocated() - before
        del rows  # and what it holds
    return held > allowed


def _whole(pa: Any, parquet: Any, piece: Piece, names: Sequence[str]) -> Any:
    """The rows that are asked of a row group, a few columns at a time: of the others no dictionary is held."""
    columns: dict[str, Any] = {}
    for start in range(0, len(names), FEW):
        few = names[start : start + FEW]
        some = next(parquet.iter_batches(piece.n_rows, [piece.start], few, use_threads=False))
        columns |= zip(some.schema.names, some.columns, strict=True)
    return pa.RecordBatch.from_pydict(columns)


def _opened(file: IO[bytes]) -> Any:
    imported("Parquet")
    from pyarrow.parquet import ParquetFile

    # A file of this machine is read by Arrow itself, without a copy through Python.
    return ParquetFile(
        file.name if _is_here(file) else file,
        buffer_size=_buffer(file),
        pre_buffer=False,
        page_checksum_verification=True,
    )


def _buffer(file: IO[bytes]) -> int:
    return BUFFER if _is_here(file) else REMOTE_BUFFER


def _is_here(file: IO[bytes]) -> bool:
    return isinstance(file, io.BufferedReader)
