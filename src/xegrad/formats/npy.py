"""NPY: one array of numbers, with its precision."""

from __future__ import annotations

import io
import tokenize
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from xegrad.errors import InputError
from xegrad.formats.parts import Label, Parts, Table
from xegrad.targets import Array

Loaded = TypeVar("Loaded")

LONGEST_HEADER = 10_000  # bytes: a longer one is no header that numpy wrote
_BROKEN = (ValueError, TypeError, EOFError, OSError, SyntaxError, OverflowError, tokenize.TokenError)


def read_problem(data: bytes, source: str) -> Parts:
    """Never: an array is a part of a problem."""
    raise InputError(f"{source}: NPY holds one array, not a problem; give it as a part, with -W or -x")


def read_array(data: bytes, source: str, part: str, key: str | None) -> Table:
    """The array, in its own precision; nothing is ever unpickled."""
    refuse_key(key, source, "NPY")
    return Table(values=checked(load(_array, data, source, "NPY"), source))


def read_labels(data: bytes, source: str, key: str | None) -> Label:
    """Labels as whole numbers or names, or targets."""
    refuse_key(key, source, "NPY")
    return labels(load(_array, data, source, "NPY"), source)


def write_array(array: Array, names: tuple[str, ...] | None) -> bytes:
    """The array in its own precision; NPY names no columns."""
    out = io.BytesIO()
    np.lib.format.write_array(out, np.ascontiguousarray(array), allow_pickle=False)
    return out.getvalue()


def load(reader: Callable[[bytes], Loaded], data: bytes, source: str, kind: str) -> Loaded:
    """What numpy's reader makes of the bytes; its many errors become one."""
    try:
        return reader(data)
    except _BROKEN as error:
        raise InputError(f"{source}: cannot be read as {kind}: {' '.join(str(error).split())}") from None


def checked(array: NDArray[Any], source: str) -> Array:
    """Real numbers in one or two dimensions."""
    if array.dtype.kind not in "fiu":
        raise InputError(f"{source}: holds {array.dtype}; real numbers are expected")
    if array.ndim not in (1, 2):
        raise InputError(f"{source}: has {array.ndim} dimensions; one or two are expected")
    return array


def labels(array: NDArray[Any], source: str) -> Label:
    """An index, a name, or a list of them; two dimensions are targets."""
    if array.dtype.kind == "U" and array.ndim < 2:
        names: Label = array.tolist()
        return names
    if array.ndim == 0 and array.dtype.kind in "iu":
        return int(array)
    return checked(array, source)


def refuse_key(key: str | None, source: str, kind: str) -> None:
    """FILE:KEY where the file has no keys."""
    if key is not None:
        raise InputError(f"{source}: {kind} has no keys, so {source}:{key} names nothing")


def _array(data: bytes) -> NDArray[Any]:
    stream = io.BytesIO(data)
    array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False, max_header_size=LONGEST_HEADER)
    return array
