"""safetensors: the weight and bias of torch.nn.Linear, or W and b; FILE:KEY picks any tensor.

The length of a header in eight bytes, the header, which is JSON, and the numbers of all tensors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec
from numpy.typing import NDArray

from xegrad.errors import InputError
from xegrad.formats.raw import decoded
from xegrad.formats.raw_problem import RawProblem
from xegrad.formats.values import chosen, under_keys

# The names that a part may have, and whether W is then classes x inputs.
_NAMES: Mapping[str, Mapping[str, bool | None]] = {
    "W": {"weight": True, "W": False},
    "b": {"bias": None, "b": None},
}
# Their types of numbers, and the bytes of each.
_TYPES: Mapping[str, tuple[str, int]] = {
    "F64": ("float64", 8), "F32": ("float32", 4), "F16": ("float16", 2), "BF16": ("bfloat16", 2),
    "I64": ("int64", 8), "I32": ("int32", 4), "I16": ("int16", 2), "I8": ("int8", 1), "U8": ("uint8", 1),
    "U16": ("uint16", 2), "U32": ("uint32", 4), "U64": ("uint64", 8), "BOOL": ("bool", 1),
}  # fmt: skip


class _Entry(msgspec.Struct):
    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


def load(data: bytes, part: str | None = None, key: str | None = None) -> RawProblem:
    """W and b of a layer; or a part: a tensor by its key, else weight or W, bias or b, or the part's own name."""
    tensors = {name: array for name, (array, _) in read_tensors(data).items()}
    symbol = part or "W"
    names = _NAMES.get(symbol, {symbol: None})
    inner = [] if key else [name for name in tensors if _last(name) in names]
    name = chosen(tensors, symbol, [key] if key else [*names], inner)
    keys, layer = {symbol: name}, name.removesuffix(_last(name))
    if part is None:
        keys.update(("b", layer + bias) for bias in _NAMES["b"] if layer + bias in tensors)
    values = under_keys(tensors, keys)
    if (transpose := names.get(_last(name))) is not None:
        values["transpose"] = transpose
    if part is None:
        return RawProblem(values, {of: f":{tensor}" for of, tensor in keys.items()})
    of_layer = {layer + last for names in _NAMES.values() for last in names} - {name}
    return RawProblem(values, beside=frozenset(of_layer & tensors.keys()))


def read_tensors(data: bytes) -> Mapping[str, tuple[NDArray[Any], str]]:
    """Every tensor by its name, with its type of numbers; those of bfloat16 are in float32."""
    size = 8 + int.from_bytes(data[:8], "little")
    try:
        header = msgspec.json.decode(data[8:size], type=dict[str, msgspec.Raw])
        header.pop("__metadata__", None)
        entries = {name: msgspec.json.decode(entry, type=_Entry) for name, entry in header.items()}
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read as safetensors: {' '.join(str(error).split())}") from None
    tensors = {}
    for name, entry in sorted(entries.items()):
        if entry.dtype not in _TYPES:
            raise InputError(f":{name} holds {entry.dtype}, which cannot be read; save it as float32")
        (dtype, n_bytes), (begin, end) = _TYPES[entry.dtype], entry.data_offsets
        expected = math.prod(entry.shape) * n_bytes
        is_inside = min(entry.shape, default=0) >= 0 and 0 <= begin <= end <= len(data) - size
        if not is_inside or end - begin != expected:
            raise InputError(f"cannot be read as safetensors: {name} has no {expected} bytes in the file")
        tensors[name] = decoded(data[size + begin : size + end], dtype).reshape(entry.shape), dtype
    return tensors


def _last(name: str) -> str:
    return name.rpartition(".")[2]
