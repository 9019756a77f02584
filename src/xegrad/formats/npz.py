"""NPZ: a problem, or parts of one, as arrays under the keys of JSON, each with its precision."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xegrad.errors import InputError
from xegrad.formats.npy import LONGEST_HEADER, unpacked
from xegrad.formats.raw_problem import RawProblem
from xegrad.formats.values import checked
from xegrad.problem_spec import FIELDS, unknown_key


def load(data: bytes, source: str, part: str | None = None, key: str | None = None) -> RawProblem:
    """A problem; or a part: what stands under the key, else under the part's own, else the only array there is.

    Raises
    ------
    InputError
        What is no NPZ, an unknown key, an array of another kind or shape than its key asks for.
    """
    arrays = read_arrays(data, source)
    if part is not None:
        name = _chosen(arrays, source, part, key)
        return RawProblem({part: checked(arrays[name], FIELDS[part], f"{source}:{name}")}, {part: source})
    for name in arrays:
        if name not in FIELDS:
            raise InputError(f"{source}: {unknown_key(name)}")
    values = {name: checked(array, FIELDS[name], f"{source}:{name}") for name, array in arrays.items()}
    return RawProblem(values, {"problem": source} | dict.fromkeys(arrays, source))


def read_arrays(data: bytes, source: str) -> Mapping[str, NDArray[Any]]:
    """Every array by its key."""
    if not data.startswith(b"PK"):
        raise InputError(f"{source}: cannot be read as NPZ: it is no ZIP file")
    return unpacked(_arrays, data, source, "NPZ")


def _arrays(data: bytes) -> dict[str, NDArray[Any]]:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False, max_header_size=LONGEST_HEADER) as archive:
            arrays = dict(archive)
    # zipfile raises NotImplementedError for a compression it does not know, and RuntimeError for a password.
    except (zipfile.BadZipFile, zlib.error, KeyError, NotImplementedError, RuntimeError) as error:
        raise ValueError(str(error)) from None
    for key, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise ValueError(f"{key} is no array that numpy saved")
    return arrays


def _chosen(arrays: Mapping[str, Any], source: str, part: str, key: str | None) -> str:
    wanted = key or part
    if wanted in arrays:
        return wanted
    if key is None and len(arrays) == 1:
        return next(iter(arrays))
    raise InputError(
        f"{source}: there is no array {wanted!r}; the arrays are {', '.join(arrays) or 'none'}, and FILE:KEY names one"
    )
