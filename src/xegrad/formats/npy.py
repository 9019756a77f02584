"""NPY: one array of numbers, with its precision."""

from __future__ import annotations

import io
import tokenize
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from xegrad.errors import InputError
from xegrad.formats.raw_problem import RawProblem
from xegrad.formats.values import checked
from xegrad.problem_spec import FIELDS
from xegrad.targets import Array

Loaded = TypeVar("Loaded")

LONGEST_HEADER = 10_000  # bytes: a longer one is no header that numpy wrote
_BROKEN = (ValueError, TypeError, EOFError, OSError, SyntaxError, OverflowError, tokenize.TokenError)


def load(data: bytes, part: str | None = None, key: str | None = None) -> RawProblem:
    """The array as a part, in its own precision; nothing is ever unpickled."""
    if part is None:
        raise InputError("NPY holds one array, not a problem; give it as a part, with -W or -x")
    return RawProblem({part: checked(unpacked(_array, data, "NPY"), FIELDS[part])})


def write_array(array: Array, names: tuple[str, ...] | None) -> bytes:
    """The array in its own precision; NPY names no columns."""
    out = io.BytesIO()
    np.lib.format.write_array(out, np.ascontiguousarray(array), allow_pickle=False)
    return out.getvalue()


def unpacked(reader: Callable[[bytes], Loaded], data: bytes, kind: str) -> Loaded:
    """What numpy's reader makes of the bytes; its many errors become one."""
    try:
        return reader(data)
    except _BROKEN as error:
        raise InputError(f"cannot be read as {kind}: {' '.join(str(error).split())}") from None


def _array(data: bytes) -> NDArray[Any]:
    stream = io.BytesIO(data)
    return np.lib.format.read_array(stream, allow_pickle=False, max_header_size=LONGEST_HEADER)
