"""NPZ: a problem, or parts of one, as arrays under the keys of JSON, each with its precision."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from xegrad.arrays import frozen
from xegrad.errors import InputError
from xegrad.formats.npy import LONGEST_HEADER, reading
from xegrad.formats.raw_problem import RawProblem
from xegrad.formats.values import chosen, under_keys
from xegrad.problem_spec import FIELDS, unknown_key

OF_GRADIENTS = "gradients."
Value = TypeVar("Value")


def load(data: bytes, part: str | None = None, key: str | None = None) -> RawProblem:
    """A problem; or a part: what stands under the key, else under the part's own, else the only array there is."""
    arrays = read_arrays(data)
    if part is not None:
        only = [*arrays] if key is None and len(arrays) == 1 else []
        name = chosen(arrays, part, [key or part], only)
        beside = frozenset(arrays.keys() & FIELDS.keys() - {name})
        return RawProblem(under_keys(arrays, {part: name}), beside=beside)
    arrays, gradients = with_gradients_apart(arrays)
    for name in arrays:
        if name not in FIELDS:
            raise InputError(unknown_key(name))
    values = under_keys(arrays, {name: name for name in arrays})
    return RawProblem(values | ({"gradients": gradients} if gradients else {}))


def with_gradients_apart(arrays: Mapping[str, Value]) -> tuple[dict[str, Value], dict[str, Value]]:
    """The others, and those called gradients.W, gradients.b, ... by their symbols."""
    if "gradients" in arrays:
        raise InputError("gradients is an array; of each gradient one is expected, as gradients.W")
    others = {key: array for key, array in arrays.items() if not key.startswith(OF_GRADIENTS)}
    return others, {
        key.removeprefix(OF_GRADIENTS): array for key, array in arrays.items() if key not in others
    }


@reading("NPZ")
def read_arrays(data: bytes) -> Mapping[str, NDArray[Any]]:
    """Every array by its key."""
    if not data.startswith(b"PK"):
        raise ValueError("it is no ZIP file")
    with np.load(io.BytesIO(data), allow_pickle=False, max_header_size=LONGEST_HEADER) as archive:
        arrays = dict(archive)
    for key, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise ValueError(f"{key} is no array that numpy saved")
        frozen(array)
    return arrays
