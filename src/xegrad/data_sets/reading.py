"""Batches of columns, as a format reads them, become blocks of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xegrad.arrays import WHOLE, is_finite
from xegrad.data_sets import DataSet, File, Piece, Rows
from xegrad.data_sets.formats import Batch, Faults, Format, whole
from xegrad.data_sets.labels import Labels
from xegrad.data_sets.sources import opened
from xegrad.errors import InputError, short

FEW = 3  # rows of a block of which it is said why they cannot be read


class InFiles(DataSet, frozen=True, eq=False, kw_only=True):
    """A data set in files of one format, and which columns of theirs are what.  `listing.in_files` makes one."""

    format: Format
    inputs: tuple[str, ...]
    label: str
    weight: str | None
    labels: Labels

    @property
    def work(self) -> float:
        return self.format.seconds * self.n_rows * (self.n_inputs + 1 + self.has_weights)

    def blocks(self, first: int, last: int, n_rows: int) -> Iterator[Rows]:
        start, stop = first * n_rows, min(last * n_rows, self.n_rows)
        block = _Block(self, max(0, min(n_rows, stop - start)))
        for file, row, batch, faults, rows in self._batches(start, stop):
            labels, of_labels = self.labels.indices(batch.labels)
            numbers, faults = batch.numbers, {**of_labels, **faults}
            while rows:
                some = slice(rows.start, min(rows.stop, rows.start + block.room))
                block.take(file, row, numbers, labels, faults, some)
                rows = range(some.stop, rows.stop)
                if not block.room:
                    yield block.rows()
                    start += n_rows
                    block = _Block(self, max(0, min(n_rows, stop - start)))

    def read(self, file: File, pieces: Sequence[Piece], numbers: Sequence[str]) -> Iterator[Batch]:
        """Some columns of numbers, and the labels, of some pieces of a file."""
        with opened(file.path, self.format.name, file.mark) as stream:
            n_rows = 0
            for batch in self.format.load().read(stream, pieces, numbers, self.label):
                n_rows += batch.n_rows
                yield batch
            if n_rows != (expected := sum(piece.n_rows for piece in pieces)):
                raise InputError(
                    f"cannot be read as {self.format.name}: {n_rows} rows are where {expected} were listed"
                )

    def _batches(self, start: int, stop: int) -> Iterator[tuple[File, int, Batch, Faults, range]]:
        """The batches that hold these rows: the file, the first row's index in it, and which rows are asked for."""
        numbers = self.inputs if self.weight is None else (*self.inputs, self.weight)
        end = 0
        for file in self.files:
            begin, end = end, end + file.n_rows
            if end <= start or begin >= stop:
                continue
            row = begin
            pieces: list[Piece] = []
            for piece in file.pieces:
                if pieces or row + piece.n_rows > start:
                    pieces.append(piece)
                else:
                    row += piece.n_rows
            upto, is_cut = row, False
            for k, piece in enumerate(pieces):
                if upto >= stop:
                    del pieces[k:]
                    break
                is_cut = piece.n_rows > stop - upto
                pieces[k] = piece._replace(n_rows=min(piece.n_rows, stop - upto))
                upto += piece.n_rows
            for batch in self.read(file, pieces, numbers):
                if row + batch.n_rows > start:
                    rows = range(max(0, start - row), min(batch.n_rows, stop - row))
                    yield (
                        file,
                        row - begin,
                        batch,
                        {**_not_held(batch.numbers, numbers), **batch.faults},
                        rows,
                    )
                row += batch.n_rows
                if row >= stop and is_cut:  # else what reads the piece sees whether it ends here
                    break


class _Block:
    """A block that is filled, row by row of what is read."""

    def __init__(self, data: InFiles, n_rows: int) -> None:
        self._data = data
        self._inputs = np.empty((n_rows, data.n_inputs), data.dtype)
        self._labels = np.empty(n_rows, np.intp)
        self._weights = np.empty(n_rows) if data.has_weights else None
        self._faults: dict[int, str] = {}
        self._places: list[
            tuple[int, File, int]
        ] = []  # where rows of a file begin, the file, and which of its rows
        self._n = 0

    @property
    def room(self) -> int:
        """The rows that are still to come."""
        return len(self._labels) - self._n

    @np.errstate(invalid="ignore")  # of NaN that signal, as bytes may be
    def take(
        self,
        file: File,
        row: int,
        numbers: Sequence[NDArray[Any]] | NDArray[Any],
        labels: NDArray[np.intp],
        faults: Faults,
        some: slice,
    ) -> None:
        """Some rows of a batch, which begins at a row of a file."""
        here = slice(self._n, self._n + some.stop - some.start)
        if isinstance(numbers, np.ndarray):
            self._inputs[here] = numbers.T[some, : self._data.n_inputs]
        else:
            for k in range(self._data.n_inputs):
                self._inputs[here, k] = numbers[k][some]
        self._labels[here] = labels[some]
        if self._weights is not None:
            self._weights[here] = numbers[-1][some]
        self._places.append((self._n, file, row + some.start))
        if faults:
            self._faults |= {
                self._n + k - some.start: faults[k] for k in faults.keys() & range(some.start, some.stop)
            }
        self._n = here.stop

    @np.errstate(all="ignore")
    def rows(self) -> Rows:
        """The rows that can be read, and what is wrong with the first few others."""
        is_bad = np.zeros(self._n, bool)
        is_bad[[*self._faults]] = True
        if not is_finite(self._inputs):
            is_bad |= ~np.isfinite(self._inputs).all(axis=1)
        if self._weights is not None:
            is_bad |= ~((self._weights >= 0) & np.isfinite(self._weights))
        if not is_bad.any():
            return Rows(self._inputs, self._labels, self._weights)
        bad, good = np.flatnonzero(is_bad).tolist(), ~is_bad
        weights = None if self._weights is None else self._weights[good]
        return Rows(
            self._inputs[good], self._labels[good], weights, len(bad), [*map(self._why_bad, bad[:FEW])]
        )

    def _why_bad(self, k: int) -> str:
        """Where a row is, counted from 1, and what is wrong with it."""
        start, file, row = next(place for place in reversed(self._places) if place[0] <= k)
        return f"{file.path}: row {row + k - start + 1}{self._data.format.where}: {self._fault(k)}"

    def _fault(self, k: int) -> str:
        if k in self._faults:
            return self._faults[k]
        for name, value in zip(self._data.inputs, self._inputs[k].tolist(), strict=True):
            if not np.isfinite(value):
                return f"{short(name)} is {_not_finite(value)}; every number must be finite"
        assert self._weights is not None  # or nothing is wrong
        weight, name = float(self._weights[k]), short(self._data.weight or "")
        if np.isfinite(weight):
            return f"{name} is {weight!r}; a weight is 0 or more"
        return f"{name} is {_not_finite(weight)}; every number must be finite"


def _not_finite(value: float) -> str:
    return "NaN" if value != value else f"{'-' * (value < 0)}infinity"


def _not_held(numbers: Sequence[NDArray[Any]] | NDArray[Any], names: Sequence[str]) -> Faults:
    """The rows with a whole number that float64 does not hold."""
    faults: dict[int, str] = {}
    for name, column in () if isinstance(numbers, np.ndarray) else zip(names, numbers, strict=True):
        if column.dtype.kind not in "iu" or column.dtype.itemsize < 8 or not len(column):
            continue
        if column.max() > WHOLE or column.min() < -WHOLE:
            for row in np.flatnonzero((column > WHOLE) | (column < -WHOLE)).tolist():
                if isinstance(fault := whole(int(column[row])), str):
                    faults.setdefault(row, f"{short(name)} {fault}")
    return faults
