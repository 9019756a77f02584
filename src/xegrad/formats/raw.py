"""Numbers as they lie in memory, little-endian: of raw files, which say nothing of them, and of safetensors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xegrad.errors import InputError
from xegrad.vocabulary import count


def decoded(data: bytes, dtype: str) -> NDArray[Any]:
    """The numbers in these bytes; bfloat16, which numpy lacks, as the upper half of float32."""
    if dtype == "bfloat16":
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(data, np.dtype(dtype).newbyteorder("<")).astype(dtype)


def of_shape(data: bytes, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """An array of this shape, refused if it is of another size."""
    expected = int(np.prod(shape)) * {"float64": 8, "float32": 4}.get(dtype, 2)
    if len(data) != expected:
        numbers = f"{' x '.join(map(str, shape))} numbers of {dtype} have {expected}"
        raise InputError(f"has {count(len(data), 'byte')}, but {numbers}")
    return decoded(data, dtype).reshape(shape)
