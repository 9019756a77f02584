"""safetensors: the weight and bias of torch.nn.Linear, or W and b; FILE:KEY picks any tensor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from xegrad.errors import InputError
from xegrad.formats.raw_problem import RawProblem
from xegrad.formats.values import chosen, under_keys

# The names that a part may have, and whether W is then classes x inputs.
_NAMES: Mapping[str, Mapping[str, bool | None]] = {
    "W": {"weight": True, "W": False},
    "b": {"bias": None, "b": None},
}


def load(data: bytes, part: str | None = None, key: str | None = None) -> RawProblem:
    """W and b of a layer; or a part: a tensor by its key, else weight or W, bias or b, or the part's own name."""
    tensors = _tensors(data)
    symbol = part or "W"
    names = _NAMES.get(symbol, {symbol: None})
    inner = [] if key else [name for name in tensors if _last(name) in names]
    name = chosen(tensors, symbol, [key] if key else [*names], inner)
    keys = {symbol: name}
    if part is None:
        layer = name.removesuffix(_last(name))
        for bias in _NAMES["b"]:
            if layer + bias in tensors:
                keys["b"] = layer + bias
    values = under_keys(tensors, keys)
    if (transpose := names.get(_last(name))) is not None:
        values["transpose"] = transpose
    return RawProblem(values, {of: f":{tensor}" for of, tensor in keys.items()} if part is None else {})


def _tensors(data: bytes) -> Mapping[str, NDArray[Any]]:
    try:
        import safetensors
        from safetensors.numpy import load
    except ImportError:
        raise InputError(
            "reading safetensors needs a library that is not installed: pip install 'xegrad[safetensors]'"
        ) from None
    try:
        tensors: Mapping[str, NDArray[Any]] = load(data)
    except safetensors.SafetensorError as error:
        raise InputError(f"cannot be read as safetensors: {' '.join(str(error).split())}") from None
    except (KeyError, TypeError, AttributeError) as error:  # a type of number that numpy lacks, such as BF16
        raise InputError(
            f"holds a type of number that cannot be read ({error}); save it as float32"
        ) from None
    return dict(sorted(tensors.items()))  # the library has them in no order


def _last(name: str) -> str:
    return name.rpartition(".")[2]
