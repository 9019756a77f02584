"""Rows that lie in many files, read a block at a time.

A data set is a list of files in the order of their paths; its rows are theirs, one after the other.  What is what in
them is checked over all files before anything is computed.

    sources     paths, globs and folders, here or remote; whether a file is still what it was
    formats     what a format does, and the table of them: parquet, csv, npy, ndjson
    listing     the files, their columns and classes, checked
    reading     batches of columns become blocks of rows

See docs/data-sets.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from os import PathLike
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from xegrad.naming import source_name
from xegrad.targets import Array

if TYPE_CHECKING:
    from xegrad.data_sets.reading import InFiles

TASK = 2**20 * 20 * 8  # bytes of the numbers that a task reads: well over 100 ms


class Rows(msgspec.Struct, frozen=True, eq=False):
    """Some rows that can be read: X (B, N) in C order, the index of each label (B,), and a weight for each (B,).

    Those that cannot be read are none of these: `n_bad` counts them, and `bad` says of the first few where they are
    and why.
    """

    inputs: Array
    labels: NDArray[np.intp]
    weights: Array | None = None
    n_bad: int = 0
    bad: Sequence[str] = ()


class Piece(NamedTuple):
    """What is read of a file at a time, from where to where as its format counts, and the rows in it."""

    start: int
    stop: int
    n_rows: int


class File(msgspec.Struct, frozen=True):
    """A file as it was when it was listed."""

    path: str
    mark: str  # which changes with the file
    pieces: tuple[Piece, ...]

    @property
    def n_rows(self) -> int:
        """The rows in it, bad ones too."""
        return sum(piece.n_rows for piece in self.pieces)


class DataSet(msgspec.Struct, frozen=True, eq=False):
    """The files of a data set, with what was found in them.

    Of what is here `blocks` alone opens files, and it may be called in another process.
    """

    n_rows: int  # bad ones too
    n_inputs: int
    dtype: str  # float64, or float32 where all inputs are
    classes: tuple[str, ...] | None = None
    has_weights: bool = False
    files: tuple[File, ...] = ()

    def blocks(self, first: int, last: int, n_rows: int) -> Iterator[Rows]:
        """The rows of blocks first to last - 1, of so many rows each; the last of all may have fewer.

        Raises
        ------
        InputError
            A file that has changed or vanished, or cannot be read.
        """
        raise NotImplementedError  # each kind has its own; the cuts into tasks need none

    @property
    def nbytes(self) -> int:
        """Of all rows in memory."""
        return self.n_rows * (self.n_inputs * np.dtype(self.dtype).itemsize + 8 * (1 + self.has_weights))

    @property
    def work(self) -> float:
        """An estimate of the seconds that reading the rows takes once."""
        return 0.0  # of rows in memory

    @property
    def paths(self) -> tuple[str, ...]:
        """Those of the files."""
        return tuple(file.path for file in self.files)

    def places(self, start: int, stop: int) -> str:
        """The files that rows start to stop - 1 are in, for a message."""
        files, end = [], 0
        for file in self.files:
            begin, end = end, end + file.n_rows
            if begin < stop and end > start:
                files.append(file.path)
        more = f" and {len(files) - 1} more" if files[1:] else ""
        return f" of the data set, in {source_name(files[0])}{more}" if files else " of the data set"

    def pieces(self) -> Iterator[int]:
        """The rows of each piece that is read at a time, in their order."""
        for file in self.files:
            for piece in file.pieces:
                yield piece.n_rows

    def runs(self, n_rows: int, bytes_of_task: int = TASK) -> list[tuple[int, int]]:
        """Tasks of about so many bytes: each the first of its blocks, of so many rows, and the first of the next task.

        They are cut where a piece ends, or at the next end of a block: so a task reads less than one block of a piece
        that another reads too.

        Examples
        --------
        >>> in_memory(np.ones((10_000, 2)), np.zeros(10_000, int)).runs(64, bytes_of_task=2**16)
        [(0, 64), (64, 128), (128, 157)]
        """
        most = bytes_of_task // (self.n_inputs * np.dtype(self.dtype).itemsize)
        cuts, end = [0], 0
        for piece in self.pieces():
            cut = -(-end // n_rows)
            taken = end - cuts[-1] * n_rows
            if cut > cuts[-1] and 2 * taken >= most and taken + piece > most:
                cuts.append(cut)
            end += piece
        n_blocks = -(-end // n_rows)
        return [*pairwise(cuts if cuts[-1] == n_blocks else [*cuts, n_blocks])]


def in_files(
    paths: Sequence[str | PathLike[str]], label_column: str, n_classes: int, **options: Any
) -> InFiles:
    """The rows of files, as `listing.in_files` says."""
    from xegrad.data_sets import listing

    return listing.in_files(paths, label_column, n_classes, **options)


def in_memory(inputs: Any, labels: Any, weights: Any = None) -> DataSet:
    """The rows of arrays, as a data set."""
    sizes = len(inputs), inputs.shape[1], inputs.dtype.name
    return _InMemory(*sizes, has_weights=weights is not None, inputs=inputs, labels=labels, weights=weights)


class _InMemory(DataSet, frozen=True, eq=False):
    inputs: Any = None
    labels: Any = None
    weights: Any = None

    def blocks(self, first: int, last: int, n_rows: int) -> Iterator[Rows]:
        for block in range(first, last):
            some = slice(block * n_rows, (block + 1) * n_rows)
            w = None if self.weights is None else self.weights[some]
            yield Rows(np.ascontiguousarray(self.inputs[some]), self.labels[some], w)

    def pieces(self) -> Iterator[int]:
        for start in range(0, self.n_rows, 2**12):
            yield min(2**12, self.n_rows - start)
