"""NPY: one array of numbers, with its precision."""

from __future__ import annotations

import ast
import io
import math
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xegrad.errors import InputError, shown
from xegrad.formats.raw_problem import RawProblem
from xegrad.formats.values import checked
from xegrad.problem_spec import FIELDS
from xegrad.targets import Array

LONGEST_HEADER = 10_000  # bytes: a longer one is no header that numpy wrote
MARK = b"\x93NUMPY"

# What Python, numpy and zipfile raise of what is broken: NotImplementedError for a compression that zipfile does not
# know, and RuntimeError for a password.
_BROKEN = (ValueError, TypeError, EOFError, OSError, SyntaxError, OverflowError, KeyError, IndexError)
_BROKEN_ZIP = (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, NotImplementedError, RuntimeError)


class Header(NamedTuple):
    """What stands before the numbers of an array: how they lie in memory."""

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """The bytes of its numbers."""
        return math.prod(self.shape) * self.dtype.itemsize

    def array(self, data: Any, start: int = 0) -> NDArray[Any]:
        """The array whose numbers are in these bytes, which are not copied."""
        return np.ndarray(self.shape, self.dtype, data, start, order="F" if self.is_fortran else "C")


def load(data: bytes, part: str | None = None, key: str | None = None) -> RawProblem:
    """The array as a part, in its own precision; nothing is ever unpickled."""
    if part is None:
        raise InputError("NPY holds one array, not a problem; give it as a part, with -W or -x")
    with reading("NPY"):
        stream = io.BytesIO(data)
        array = read_header(stream, len(data)).array(data, stream.tell())
    return RawProblem({part: checked(array, FIELDS[part])})


def read_header(stream: IO[bytes], size: int) -> Header:
    """What stands before the numbers, which are to fill the rest of these bytes.  Raises `_BROKEN` for what is none.

    Not by numpy's reader, which takes memory for as many numbers as a header claims, and warns.
    """
    if stream.read(len(MARK)) != MARK:
        raise ValueError(f"it does not begin with {shown(MARK)}, as NPY does")
    version = stream.read(2)
    n_digits = {b"\1\0": 2, b"\2\0": 4, b"\3\0": 4}.get(version)
    if n_digits is None:
        raise ValueError(f"there is no version {'.'.join(map(str, version))} of it")
    length = int.from_bytes(stream.read(n_digits), "little")
    if length > LONGEST_HEADER:
        raise ValueError(f"its header has {length} bytes, more than numpy writes")
    text = stream.read(length).decode("latin-1" if version < b"\3" else "utf-8")
    try:
        fields = ast.literal_eval(text.strip())
    except (MemoryError, RecursionError):  # of brackets within brackets: the text is short
        raise ValueError("its header is nested too deeply") from None
    except (ValueError, SyntaxError, TypeError):
        fields = None
    if not isinstance(fields, dict) or fields.keys() != {"descr", "fortran_order", "shape"}:
        raise ValueError(f"its header is {shown(text)}, which numpy does not write")
    shape, is_fortran = fields["shape"], fields["fortran_order"]
    if not isinstance(shape, tuple) or not all(type(axis) is int and axis >= 0 for axis in shape):
        raise ValueError(f"its shape is {shown(shape)}")
    if not isinstance(fields["descr"], str):
        raise InputError("holds records of several values; an array of numbers is expected")
    dtype = np.dtype(fields["descr"])
    if dtype.kind == "O":
        raise InputError("holds Python objects, which may run any program and are never read")
    if dtype.hasobject or dtype.itemsize == 0:
        raise ValueError(f"it holds {dtype}")
    header = Header(shape, bool(is_fortran), dtype)
    rest = size - 8 - n_digits - length
    if header.nbytes != rest:
        raise ValueError(f"{rest} bytes of numbers are there, not the {shown(header.nbytes)} of its shape")
    return header


def write_array(array: Array, names: tuple[str, ...] | None) -> bytes:
    """The array in its own precision; NPY names no columns."""
    out = io.BytesIO()
    np.lib.format.write_array(out, np.ascontiguousarray(array), allow_pickle=False)
    return out.getvalue()


@contextmanager
def reading(kind: str) -> Iterator[None]:
    """The many errors of what is broken become one, and no warning of it is heard."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (*_BROKEN, *_BROKEN_ZIP) as error:
        raise InputError(f"cannot be read as {kind}: {' '.join(str(error).split())}") from None
