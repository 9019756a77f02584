"""Parquet: row groups, read a few pages at a time."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import IO, Any

from xegrad.data_sets import Piece
from xegrad.data_sets.arrow import batch, imported, type_name
from xegrad.data_sets.formats import Batch, Columns, rows_of_batch

BUFFER = 2**16  # bytes of a column that are read at a time, not the whole of its row group
REMOTE_BUFFER = 2**20  # of which each is a request


def listed(file: IO[bytes]) -> tuple[Columns, list[Piece]]:
    """Its columns, and its row groups."""
    parquet = _opened(file)
    metadata = parquet.metadata
    columns = [(field.name, type_name(imported("Parquet"), field.type)) for field in parquet.schema_arrow]
    n_groups = metadata.num_row_groups
    return columns, [Piece(k, k + 1, metadata.row_group(k).num_rows) for k in range(n_groups)]


def read(file: IO[bytes], pieces: Sequence[Piece], numbers: Sequence[str], label: str) -> Iterator[Batch]:
    """Row groups, by batches."""
    pa, parquet = imported("Parquet"), _opened(file)
    groups = [piece.start for piece in pieces]
    size = rows_of_batch(len(numbers))
    for some in parquet.iter_batches(size, groups, [*numbers, label], use_threads=False):
        yield batch(pa, some, numbers, label)


def _opened(file: IO[bytes]) -> Any:
    imported("Parquet")
    from pyarrow.parquet import ParquetFile

    # A file of this machine is read by Arrow itself, without a copy through Python.
    is_here = isinstance(file, io.BufferedReader)
    source, size = (file.name, BUFFER) if is_here else (file, REMOTE_BUFFER)
    return ParquetFile(source, buffer_size=size, pre_buffer=False, page_checksum_verification=True)
