"""NPY: one array of numbers, with its precision."""

from __future__ import annotations

import io
import tokenize

import numpy as np

from xegrad.errors import InputError
from xegrad.formats.parts import Parts
from xegrad.targets import Array


def read_problem(data: bytes, source: str) -> Parts:
    """Never: an array is a part of a problem."""
    raise InputError(f"{source}: NPY holds one array, not a problem; give it as a part, with -W or -x")


def read_array(data: bytes, source: str) -> tuple[Array, tuple[str, ...] | None]:
    """The array, in its own precision; nothing is ever unpickled."""
    try:
        array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except (
        ValueError,
        TypeError,
        EOFError,
        OSError,
        SyntaxError,
        OverflowError,
        tokenize.TokenError,
    ) as error:
        raise InputError(f"{source}: cannot be read as NPY: {' '.join(str(error).split())}") from None
    if array.dtype.kind not in "fiu":
        raise InputError(f"{source}: holds {array.dtype}; real numbers are expected")
    if array.ndim not in (1, 2):
        raise InputError(f"{source}: has {array.ndim} dimensions; one or two are expected")
    return array, None
