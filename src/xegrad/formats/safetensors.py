"""safetensors: the weight and bias of torch.nn.Linear, or W and b; FILE:KEY picks any tensor.

The length of a header in eight bytes, the header, which is JSON, and the numbers of all tensors.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from numpy.typing import NDArray

from xegrad import memory
from xegrad.errors import LONGEST, InputError, short, shown
from xegrad.formats import naming, tokens
from xegrad.formats.raw import decoded
from xegrad.formats.raw_problem import RawProblem
from xegrad.formats.values import check_not_empty, chosen, under_keys
from xegrad.vocabulary import count

MOST_AXES = 32  # as many as every version of numpy has
OF_HEADER = 60  # bytes that reading takes at most for each byte of a header

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
    tensors = dict.fromkeys(names_in(data))
    symbol = part or "W"
    names = _NAMES.get(symbol, {symbol: None})
    inner = [] if key else [name for name in tensors if _last(name) in names]
    name = chosen(tensors, symbol, [key] if key else [*names], inner)
    keys, layer = {symbol: name}, name.removesuffix(_last(name))
    if part is None:
        keys.update(("b", layer + bias) for bias in _NAMES["b"] if layer + bias in tensors)
    arrays = {of: array for of, (array, _) in read_tensors(data, keys.values()).items()}
    values = under_keys(arrays, keys)
    if (transpose := names.get(_last(name))) is not None:
        values["transpose"] = transpose
    if part is None:
        return RawProblem(values, {of: f":{tensor}" for of, tensor in keys.items()})
    of_layer = {layer + last for names in _NAMES.values() for last in names} - {name}
    return RawProblem(values, beside=frozenset(of_layer & tensors.keys()))


def names_in(data: bytes) -> list[str]:
    """The names of the tensors, sorted."""
    return sorted(_entries(data)[0])


def read_tensors(data: bytes, names: Iterable[str]) -> dict[str, tuple[NDArray[Any], str]]:
    """The tensors of these names, with their types of numbers; those of bfloat16 are in float32."""
    entries, start = _entries(data)
    tensors = {}
    for name in names:
        entry = entries[name]
        if entry.dtype not in _TYPES:
            raise InputError(f":{name} holds {shown(entry.dtype)}, which cannot be read; save it as float32")
        (dtype, n_bytes), (begin, end) = _TYPES[entry.dtype], entry.data_offsets
        if end - begin != math.prod(entry.shape) * n_bytes or min(entry.shape, default=0) < 0:
            raise _broken(f"{shown(name)} has {end - begin} bytes, which are not those of its shape")
        if len(entry.shape) > MOST_AXES:
            raise _broken(f"{shown(name)} has {len(entry.shape)} dimensions")
        with naming(f":{name}"):
            check_not_empty(entry.shape)
        if dtype == "bfloat16":
            memory.check_reading(len(data) + 4 * (end - begin), len(data))
        tensors[name] = decoded(data, dtype, start + begin, start + end).reshape(entry.shape), dtype
    return tensors


def _entries(data: bytes) -> tuple[dict[str, _Entry], int]:
    """What the header says of each tensor, and where their bytes begin: one after the other, to the end of the file."""
    start = 8 + int.from_bytes(data[:8], "little")
    if len(data) < start:
        raise _broken(f"its header would end at byte {start}, and the file has {count(len(data), 'byte')}")
    memory.check_reading(len(data) + OF_HEADER * (start - 8), len(data))
    header = data[8:start]
    try:
        tokens.parsed(header.decode())  # which sees a key that stands twice
        entries = msgspec.json.decode(header, type=dict[str, msgspec.Raw])
    except tokens.NotJSONError as error:
        raise _broken(f"its header, {error}") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        expected = "an object in JSON is expected, without NaN and half characters"
        raise _broken(f"its header begins with {shown(header[:20])}; {expected}") from None
    entries.pop("__metadata__", None)
    tensors = {name: _entry(name, entry) for name, entry in entries.items()}
    place = 0
    for name, entry in sorted(tensors.items(), key=lambda one: one[1].data_offsets):
        begin, end = entry.data_offsets
        if begin != place or end < begin:
            raise _broken(
                f"the bytes of {shown(name)} begin at {begin} and end at {end}, and {place} is where they begin"
            )
        place = end
    if start + place != len(data):
        raise _broken(f"its tensors end at byte {start + place}, and the file has {count(len(data), 'byte')}")
    return tensors, start


def _entry(name: str, text: msgspec.Raw) -> _Entry:
    try:
        return msgspec.json.decode(text, type=_Entry)
    except msgspec.DecodeError:
        expected = "a dtype, a shape and two data_offsets are expected"
        raise _broken(
            f"its header says {short(bytes(text).decode(), LONGEST)} of {shown(name)}; {expected}"
        ) from None


def _broken(why: str) -> InputError:
    return InputError(f"cannot be read as safetensors: {why}")


def _last(name: str) -> str:
    return name.rpartition(".")[2]
