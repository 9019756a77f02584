"""What a value must be, whatever format it is from: one check of arrays, of labels and of single values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xegrad.errors import InputError
from xegrad.problem_spec import (
    ANYTHING,
    ARRAY,
    CLAIMED_ARRAY,
    CLAIMED_NUMBER,
    CLASS_NAMES,
    LABELS,
    Field,
)
from xegrad.targets import Array


def checked(array: NDArray[Any], field: Field, place: str) -> Any:
    """The value of a field from an array, as its kind asks; `place` is where it came from.

    Raises
    ------
    InputError
        Another type of number, shape or word.
    """
    kind = field.kind
    if kind in (ARRAY, CLAIMED_ARRAY):
        return _real_array(array, place)
    if kind is LABELS:
        return _labels(array, place)
    is_of_kind = array.dtype.kind in kind.numpy
    if kind is CLASS_NAMES and is_of_kind and array.ndim == 1:
        return tuple(array.tolist())
    if kind is ANYTHING and is_of_kind:
        return array.tolist()
    if kind in (ANYTHING, CLASS_NAMES) or not is_of_kind or array.size != 1:
        raise InputError(f"{place} is {_shown(array)}; {field.expected} is expected")
    return array.reshape(1) if kind is CLAIMED_NUMBER else array.item()


def _real_array(array: NDArray[Any], place: str) -> Array:
    """Real numbers in one or two dimensions."""
    if array.dtype.kind not in ARRAY.numpy:
        raise InputError(f"{place}: holds {array.dtype}; real numbers are expected")
    if array.ndim not in (1, 2):
        raise InputError(f"{place}: has {array.ndim} dimensions; one or two are expected")
    return array


def _labels(array: NDArray[Any], place: str) -> Any:
    """An index, a name, or a list of them; two dimensions are targets."""
    if array.dtype.kind == "U" and array.ndim < 2:
        return array.tolist()
    if array.ndim == 0 and array.dtype.kind in "iu":
        return int(array)
    return _real_array(array, place)


def array_of_rows(rows: list[Any], path: str, source: str) -> Array:
    """A list of numbers, or rows of them, as an array."""
    if not rows:
        raise InputError(f"{source}: {path} is empty; numbers are expected")
    if why := why_ragged(rows, path):
        raise InputError(f"{source}: {why}")
    return np.array(rows, dtype=np.float64)


def why_ragged(rows: Sequence[Any], path: str) -> str:
    """Which rows are no rows of a matrix, as a sentence; nothing of numbers, or of rows that are of one length."""
    are_rows = [isinstance(row, list) for row in rows]
    if not any(are_rows):
        return ""
    if not all(are_rows):
        return f"{path} mixes numbers and lists; it is one or the other"
    for index, row in enumerate(rows):
        if len(row) != len(rows[0]):
            return (
                f"{path}[{index}] has {count(len(row), 'number')}, but {path}[0] has "
                f"{count(len(rows[0]), 'number')}; all rows must be equally long"
            )
    return ""


def count(number: int, one: str, many: str | None = None) -> str:
    """How many there are of something, as a sentence has it."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def vector(array: Array, symbol: str) -> Array:
    """b or a target as (T,): a row or a column of numbers."""
    if array.ndim == 1:
        return array
    if 1 in array.shape:
        return array.ravel()
    shape = " x ".join(map(str, array.shape)) or "one number"
    raise InputError(f"{symbol} is {shape}; one number for each class is expected", symbol)


def _shown(array: NDArray[Any]) -> str:
    if array.size == 1:
        return repr(array.item())
    return f"an array of {' x '.join(map(str, array.shape))} {array.dtype}"
