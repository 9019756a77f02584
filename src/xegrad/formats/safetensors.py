"""safetensors: the weight and bias of torch.nn.Linear, or W and b; FILE:KEY picks any tensor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from xegrad.errors import InputError
from xegrad.formats.raw_problem import RawProblem
from xegrad.formats.values import checked
from xegrad.problem_spec import FIELDS

# The names that a part may have, and whether W is then classes x inputs.
_NAMES: Mapping[str, Mapping[str, bool | None]] = {
    "W": {"weight": True, "W": False},
    "b": {"bias": None, "b": None},
}


def load(data: bytes, source: str, part: str | None = None, key: str | None = None) -> RawProblem:
    """W and b of a layer; or a part: a tensor by its key, else weight or W, bias or b, or the part's own name.

    Raises
    ------
    InputError
        What is no safetensors, a library that is missing, or no weight, or several.
    """
    tensors = _tensors(data, source)
    symbol = part or "W"
    name, transpose = _chosen(tensors, source, symbol, key)
    names = {symbol: name}
    if part is None:
        for other in tensors:
            if _last(other) in _NAMES["b"] and _stem(other) == _stem(name):
                names.setdefault("b", other)
    places = {symbol: f"{source}:{tensor}" for symbol, tensor in names.items()}
    values = {symbol: checked(tensors[names[symbol]], FIELDS[symbol], places[symbol]) for symbol in names}
    if transpose is not None:
        values["transpose"] = transpose
    return RawProblem(values, {"problem": source, **places} if part is None else {part: source})


def _tensors(data: bytes, source: str) -> Mapping[str, NDArray[Any]]:
    try:
        import safetensors
        from safetensors.numpy import load
    except ImportError:
        raise InputError(
            f"{source}: reading safetensors needs a library that is not installed: pip install 'xegrad[safetensors]'"
        ) from None
    try:
        tensors: Mapping[str, NDArray[Any]] = load(data)
    except safetensors.SafetensorError as error:
        raise InputError(f"{source}: cannot be read as safetensors: {' '.join(str(error).split())}") from None
    except (KeyError, TypeError, AttributeError) as error:  # a type of number that numpy lacks, such as BF16
        raise InputError(
            f"{source}: holds a type of number that cannot be read ({error}); save it as float32"
        ) from None
    return dict(sorted(tensors.items()))  # the library has them in no order


def _chosen(tensors: Mapping[str, Any], source: str, part: str, key: str | None) -> tuple[str, bool | None]:
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
    raise InputError(
        f"{source}: {problem}; the tensors are {', '.join(tensors) or 'none'}, and FILE:KEY names one"
    )


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _stem(name: str) -> str:
    return name.rpartition(".")[0]
