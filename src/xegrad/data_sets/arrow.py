"""Batches of columns from those of pyarrow, which is imported late and is an extra."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xegrad.data_sets.formats import A_LABEL, A_NUMBER, Batch, Names
from xegrad.errors import InputError, short

_FLOATS = {"halffloat": "float16", "float": "float32", "double": "float64"}


def imported(kind: str) -> Any:
    """pyarrow."""
    try:
        import pyarrow
    except ImportError:
        raise InputError(
            f"cannot be read: reading {kind} needs pyarrow: pip install 'xegrad[data]'"
        ) from None
    return pyarrow


def type_name(pa: Any, kind: Any) -> str:
    """What a type of Arrow is called here."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return "text"
    if pa.types.is_null(kind):
        return "nothing"
    return _FLOATS.get(str(kind), str(kind))


def batch(pa: Any, record_batch: Any, numbers: Sequence[str], label: str) -> Batch:
    """The columns of a batch of records."""
    faults: dict[int, str] = {}
    columns: Any
    table = record_batch.select([*numbers])
    if numbers and all(
        column.type in (pa.float32(), pa.float64()) and not column.null_count for column in table.columns
    ):
        columns = table.to_tensor(row_major=True).to_numpy().T  # several times as fast as column by column
    else:
        columns = [
            _numbers(pa, column, name, faults) for name, column in zip(numbers, table.columns, strict=True)
        ]
    labels = _labels(pa, record_batch.column(label), label, faults)
    return Batch(record_batch.num_rows, columns, labels, faults)


def _numbers(pa: Any, column: Any, name: str, faults: dict[int, str]) -> NDArray[Any]:
    if pa.types.is_null(column.type):
        column = column.cast(pa.float64())
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if column.null_count:
        _note_nulls(column, name, A_NUMBER, faults)
        column = column.fill_null(0)
    return column.to_numpy(zero_copy_only=False)


def _labels(pa: Any, column: Any, name: str, faults: dict[int, str]) -> NDArray[Any] | Names:
    if column.null_count:
        _note_nulls(column, name, A_LABEL, faults)
    if pa.types.is_null(column.type):
        return np.zeros(len(column), np.intp)
    if type_name(pa, column.type) == "text":
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        codes = column.indices.fill_null(0).to_numpy(zero_copy_only=False)
        return Names(codes, [text or "" for text in column.dictionary.to_pylist()] or [""])
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column.fill_null(0).to_numpy(zero_copy_only=False)


def _note_nulls(column: Any, name: str, expected: str, faults: dict[int, str]) -> None:
    nulls = np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))
    sentence = f"{short(name)} is null; {expected}"
    for row in nulls.tolist():
        faults.setdefault(row, sentence)
