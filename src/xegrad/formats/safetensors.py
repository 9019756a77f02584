"""safetensors: the weight and bias of torch.nn.Linear, or W and b; FILE:KEY picks any tensor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from xegrad.errors import InputError
from xegrad.formats.raw_problem import RawProblem
from xegrad.formats.values import under_keys

# The names that a part may have, and whether W is then classes x inputs.
_NAMES: Mapping[str, Mapping[str, bool | None]] = {
    "W": {"weight": True, "W": False},
    "b": {"bias": None, "b": None},
}


def load(data: bytes, part: str | None = None, key: str | None = None) -> RawProblem:
    """W and b of a layer; or a part: a tensor by its key, else weight or W, bias or b, or the part's own name."""
    tensors = _tensors(data)
    symbol = part or "W"
    name, transpose = _chosen(tensors, symbol, key)
    names = {symbol: name}
    if part is None:
        layer, _, _ = name.rpartition(".")
        for other in tensors:
            if _last(other) in _NAMES["b"] and other.rpartition(".")[0] == layer:
                names.setdefault("b", other)
    values = under_keys(tensors, names)
    if transpose is not None:
        values["transpose"] = transpose
    return RawProblem(values, {of: f":{tensor}" for of, tensor in names.items()} if part is None else {})


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


def _chosen(tensors: Mapping[str, Any], part: str, key: str | None) -> tuple[str, bool | None]:
    """The tensor of a part, and whether it is classes x inputs, if its name tells."""
    names = _NAMES.get(part, {part: None})
    if key is not None:
        fitting = [key] if key in tensors else []
    else:
        fitting = [name for name in names if name in tensors] or [
            name for name in tensors if _last(name) in names
        ]
    if len(fitting) == 1:
        return fitting[0], names.get(_last(fitting[0]))
    wanted = repr(key) if key is not None else " or ".join(names)
    problem = f"{' and '.join(fitting)} could each be {part}" if fitting else f"there is no tensor {wanted}"
    raise InputError(f"{problem}; the tensors are {', '.join(tensors) or 'none'}, and FILE:KEY names one")


def _last(name: str) -> str:
    return name.rpartition(".")[2]
