"""NPY: one array of numbers, with its precision."""

from __future__ import annotations

import io
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from xegrad.arrays import frozen
from xegrad.errors import InputError
from xegrad.formats.raw_problem import RawProblem
from xegrad.formats.values import checked
from xegrad.problem_spec import FIELDS
from xegrad.targets import Array

LONGEST_HEADER = 10_000  # bytes: a longer one is no header that numpy wrote
_BROKEN = (ValueError, TypeError, EOFError, OSError, SyntaxError, OverflowError, tokenize.TokenError)
# NotImplementedError for a compression that zipfile does not know, and RuntimeError for a password.
_BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, KeyError, NotImplementedError, RuntimeError)


def load(data: bytes, part: str | None = None, key: str | None = None) -> RawProblem:
    """The array as a part, in its own precision; nothing is ever unpickled."""
    if part is None:
        raise InputError("NPY holds one array, not a problem; give it as a part, with -W or -x")
    with reading("NPY"):
        stream = io.BytesIO(data)
        array = frozen(np.lib.format.read_array(stream, allow_pickle=False, max_header_size=LONGEST_HEADER))
    return RawProblem({part: checked(array, FIELDS[part])})


def write_array(array: Array, names: tuple[str, ...] | None) -> bytes:
    """The array in its own precision; NPY names no columns."""
    out = io.BytesIO()
    np.lib.format.write_array(out, np.ascontiguousarray(array), allow_pickle=False)
    return out.getvalue()


@contextmanager
def reading(kind: str) -> Iterator[None]:
    """The many errors of numpy's readers become one."""
    try:
        yield
    except (*_BROKEN, *_BROKEN_ZIP) as error:
        raise InputError(f"cannot be read as {kind}: {' '.join(str(error).split())}") from None
