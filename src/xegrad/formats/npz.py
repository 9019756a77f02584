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
from xegrad.formats.values import under_keys
from xegrad.problem_spec import FIELDS, unknown_key


def load(data: bytes, part: str | None = None, key: str | None = None) -> RawProblem:
    """A problem; or a part: what stands under the key, else under the part's own, else the only array there is."""
    arrays = read_arrays(data)
    if part is not None:
        return RawProblem(under_keys(arrays, {part: _chosen(arrays, part, key)}))
    for name in arrays:
        if name not in FIELDS:
            raise InputError(unknown_key(name))
    return RawProblem(under_keys(arrays, {name: name for name in arrays}))


def read_arrays(data: bytes) -> Mapping[str, NDArray[Any]]:
    """Every array by its key."""
    if not data.startswith(b"PK"):
        raise InputError("cannot be read as NPZ: it is no ZIP file")
    return unpacked(_arrays, data, "NPZ")


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


def _chosen(arrays: Mapping[str, Any], part: str, key: str | None) -> str:
    wanted = key or part
    if wanted in arrays:
        return wanted
    if key is None and len(arrays) == 1:
        return next(iter(arrays))
    raise InputError(
        f"there is no array {wanted!r}; the arrays are {', '.join(arrays) or 'none'}, and FILE:KEY names one"
    )
