"""Rows that lie in many files, read a block at a time.

A data set is a list of files in the order of their paths; its rows are theirs, one after the other.  What is what in
them is checked over all files before anything is computed.

See docs/data-sets.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from xegrad.targets import Array


class Rows(msgspec.Struct, frozen=True, eq=False):
    """Some rows that can be read: X (B, N) in C order, the index of each label (B,), and a weight for each (B,).

    `bad` says of each row that cannot be read where it is and why; it is none of these.
    """

    inputs: Array
    labels: NDArray[np.intp]
    weights: Array | None = None
    bad: Sequence[str] = ()


class DataSet(msgspec.Struct, frozen=True, eq=False):
    """The files of a data set, with what was found in them.

    Of what is here `blocks` alone opens files, and it may be called in another process.
    """

    n_rows: int
    n_inputs: int
    dtype: str  # float64, or float32 where all inputs are
    classes: tuple[str, ...] | None = None
    has_weights: bool = False

    def blocks(self, first: int, last: int, n_rows: int) -> Iterator[Rows]:
        """The rows of blocks first to last - 1, of so many rows each; the last of all may have fewer.

        Raises
        ------
        InputError
            A file that has changed or vanished, or cannot be read.
        """
        raise NotImplementedError


def in_memory(inputs: Any, labels: Any, weights: Any = None) -> DataSet:
    """The rows of arrays, as a data set."""
    return _InMemory(
        len(inputs), inputs.shape[1], inputs.dtype.name, None, weights is not None, inputs, labels, weights
    )


class _InMemory(DataSet, frozen=True, eq=False):
    def runs(self, R):
        return [(k, min(k + 8, -(-self.n_rows // R))) for k in range(0, -(-self.n_rows // R), 8)]

    inputs: Any = None
    labels: Any = None
    weights: Any = None

    def blocks(self, first: int, last: int, n_rows: int) -> Iterator[Rows]:
        for block in range(first, last):
            some = slice(block * n_rows, (block + 1) * n_rows)
            w = None if self.weights is None else self.weights[some]
            yield Rows(np.ascontiguousarray(self.inputs[some]), self.labels[some], w)


ROWS_ALONE = (".parquet", ".pq", ".ndjson", ".jsonl")


def opened(
    paths, *, label_column, columns=None, weight_column=None, classes=None, n_classes=None, ignore_index=None
):
    import glob

    import pyarrow.parquet as pq

    files = sorted(f for p in paths for f in glob.glob(p))
    tables = [pq.read_table(f) for f in files]
    names = columns or [n for n in tables[0].column_names if n not in (label_column, weight_column)]
    X = np.concatenate([np.column_stack([t[n].to_numpy() for n in names]) for t in tables])
    y = np.concatenate([t[label_column].to_numpy() for t in tables])
    d = in_memory(X, y)
    d.__class__.paths = tuple(files)
    return d
