"""Numbers as they lie in memory, little-endian: of raw files, which say nothing of them, and of safetensors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xegrad.errors import InputError
from xegrad.vocabulary import count


def decoded(data: bytes, dtype: str, start: int = 0, end: int | None = None) -> NDArray[Any]:
    """The numbers in these bytes, which are not copied; bfloat16, which numpy lacks, as the upper half of float32."""
    name = "uint16" if dtype == "bfloat16" else dtype
    stored = np.dtype(name).newbyteorder("<")
    n_numbers = ((len(data) if end is None else end) - start) // stored.itemsize
    numbers: NDArray[Any] = np.ndarray(n_numbers, stored, data, start)
    if dtype == "bfloat16":
        return (numbers.astype(np.uint32) << 16).view(np.float32)
    return numbers if numbers.flags.aligned and stored.isnative else numbers.astype(name)


def of_shape(data: bytes, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """An array of this shape, refused if it is of another size."""
    expected = math.prod(shape) * {"float64": 8, "float32": 4}.get(dtype, 2)
    if len(data) != expected:
        numbers = f"{' x '.join(map(str, shape))} numbers of {dtype} have {expected}"
        raise InputError(f"has {count(len(data), 'byte')}, but {numbers}")
    return decoded(data, dtype).reshape(shape)
