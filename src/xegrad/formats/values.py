"""What a value must be, whatever format it is from: one check of arrays, of labels and of single values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from msgspec import Raw
from numpy.typing import NDArray

from xegrad import memory
from xegrad.arrays import WHOLE, has_large, in_float64
from xegrad.errors import InputError, listed, nearest, short, shown
from xegrad.formats import naming
from xegrad.problem_spec import ANYTHING, ARRAY, FIELDS, LABELS, LIST_OF_NAMES, Field
from xegrad.targets import Array
from xegrad.vocabulary import count


def under_keys(arrays: Mapping[str, NDArray[Any]], keys: Mapping[str, str]) -> dict[str, Any]:
    """The values of fields, each from the array under its key, which messages name."""
    values = {}
    for name, key in keys.items():
        with naming(f":{key}"):
            values[name] = checked(arrays[key], FIELDS[name])
    return values


def chosen(arrays: Mapping[str, Any], part: str, names: Sequence[str], others: Sequence[str]) -> str:
    """The key of a part's array: the one of its names that is there, or else the only other that it may have."""
    fitting = [name for name in names if name in arrays] or others
    if len(fitting) == 1:
        return fitting[0]
    wanted = " or ".join(map(repr, names))
    problem = (
        f"{listed(fitting, last=' and ')} could each be {part}" if fitting else f"there is no array {wanted}"
    )
    hint = "" if fitting else nearest(names[0], arrays)
    raise InputError(f"{problem}; the arrays are {listed(arrays) or 'none'}, and FILE:KEY names one{hint}")


def checked(array: NDArray[Any], field: Field) -> Any:
    """The value of a field from an array, as its kind asks; refused if its numbers, shape or word are others."""
    kind = field.kind
    if kind is LABELS and array.ndim < 2 and array.dtype.kind in ("U" if array.ndim else "iuU"):
        return plain(array)
    if kind in (ARRAY, LABELS):
        check_real(array)
        if kind is LABELS and array.ndim == 0:
            raise InputError(f" is {shown(plain(array))}; {field.expected} is expected")
        if array.ndim not in (1, 2):
            raise InputError(f"has {array.ndim} dimensions; one or two are expected")
        return array
    fits = array.ndim == 1 if kind is LIST_OF_NAMES else array.size == 1 or kind is ANYTHING
    if array.dtype.kind not in kind.numpy or not fits:
        found = f"an array of {' x '.join(map(str, array.shape))} {short(str(array.dtype))}"
        if array.size == 1 and array.dtype.kind in ANYTHING.numpy:
            found = shown(plain(array.reshape(())))
        raise InputError(f" is {found}; {field.expected} is expected")
    if field.json is Raw:
        return array
    return plain(array) if kind in (LIST_OF_NAMES, ANYTHING) else plain(array.reshape(()))


def check_real(array: NDArray[Any]) -> None:
    """Raise InputError unless the array holds real numbers, and there is memory for them as float64."""
    if array.dtype.kind not in ARRAY.numpy:
        raise InputError(f"holds {short(str(array.dtype))}; real numbers are expected")
    check_not_empty(array.shape)
    memory.check_reading(array.nbytes + 8 * array.size, array.nbytes)


def check_not_empty(shape: Sequence[int]) -> None:
    """Raise InputError for a shape without numbers, which may claim any size in a few bytes."""
    if not math.prod(shape):
        raise InputError(f"is {' x '.join(map(str, shape))} and holds no number; one at least is expected")


def plain(array: NDArray[Any]) -> Any:
    """The values of an array as Python has them; refused where its text is none."""
    n_values = math.prod(max(axis, 1) for axis in array.shape)  # there are lists of nothing, too
    memory.check_reading(5 * array.nbytes + 100 * n_values, array.nbytes)
    if array.dtype.kind == "U":
        letters = np.ascontiguousarray(array).view(array.dtype.str[0] + "u4")
        # numpy stores any number as a character, and half of a pair, too.
        if ((letters > 0x10FFFF) | ((letters >= 0xD800) & (letters < 0xE000))).any():
            raise InputError("holds half of a character, or what is none, which is no text")
    return (array if array.dtype.kind != "f" else in_float64("", array)).tolist()


def array_of_rows(rows: list[Any], path: str, part: str | None = None) -> Array:
    """A list of numbers, or rows of them, as an array."""
    if not rows:
        raise InputError(f"{path} is empty; numbers are expected", part)
    if why := why_ragged(rows, path):
        raise InputError(why, part)
    shape = (len(rows), len(rows[0])) if isinstance(rows[0], list) else (len(rows),)
    try:
        # Twice as quick as numpy.array, which looks at each number for its type.
        flat = np.fromiter(
            rows if len(shape) == 1 else chain.from_iterable(rows), np.float64, math.prod(shape)
        )
    except OverflowError:  # a whole number
        return in_float64(part or path, rows)
    return in_float64(part or path, rows) if has_large(flat) else flat.reshape(shape)


def number_of(text: str) -> float:
    """The float64 nearest to the text of a number, infinite ones too; a whole number is read exactly or refused."""
    number = float(text)
    if abs(number) >= WHOLE and text.strip().lstrip("+-").isdigit():
        from decimal import Decimal

        if Decimal(text) != Decimal(number):
            raise InputError(
                f" is {short(text)}, a whole number that float64 does not hold; if it may be rounded, write it with a "
                "point or an exponent"
            )
    return number


def why_ragged(rows: Sequence[Any], path: str) -> str:
    """Which rows are no rows of a matrix, as a sentence; nothing of numbers, or of rows that are of one length."""
    sizes = [len(row) for row in rows if isinstance(row, list)]
    if 0 < len(sizes) < len(rows):
        return f"{path} mixes numbers and lists; it is one or the other"
    for index, size in enumerate(sizes):
        if size != sizes[0]:
            return (
                f"{path}[{index}] has {count(size, 'number')}, but {path}[0] has {count(sizes[0], 'number')}; "
                "all rows must be equally long"
            )
    return ""


def is_number(text: str) -> bool:
    """Whether a text is a number, finite or not, in the digits that every language reads."""
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii() and "_" not in text


def vector(array: Array) -> Array:
    """b or a target as (T,): a row or a column of numbers."""
    return array.ravel() if 1 in array.shape else array
