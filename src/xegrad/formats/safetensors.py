"""safetensors: the weight and bias of torch.nn.Linear, or W and b; FILE:KEY picks any tensor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from xegrad.errors import InputError
from xegrad.formats import npy
from xegrad.formats.parts import Label, Parts, Table

# The names that a part may have, and whether W is then classes x inputs.
_NAMES: Mapping[str, Mapping[str, bool | None]] = {
    "W": {"weight": True, "W": False},
    "b": {"bias": None, "b": None},
}


def read_problem(data: bytes, source: str) -> Parts:
    """W and b of a layer; x and the label come from elsewhere.

    Raises
    ------
    InputError
        What is no safetensors, a library that is missing, or no weight, or several.
    """
    tensors = _tensors(data, source)
    name, transpose = _chosen(tensors, source, "W", None)
    bias = next((key for key in tensors if _last(key) in _NAMES["b"] and _stem(key) == _stem(name)), None)
    sources = {"problem": source, "W": f"{source}:{name}", "b": f"{source}:{bias}"}
    return Parts(
        weights=npy.checked(tensors[name], sources["W"]),
        bias=None if bias is None else npy.checked(tensors[bias], sources["b"]),
        transpose=transpose,
        sources=sources,
    )


def read_array(data: bytes, source: str, part: str, key: str | None) -> Table:
    """A tensor: by its key, else weight or W, bias or b, or the part's own name."""
    tensors = _tensors(data, source)
    name, transpose = _chosen(tensors, source, part, key)
    return Table(values=npy.checked(tensors[name], f"{source}:{name}"), transpose=transpose)


def read_labels(data: bytes, source: str, key: str | None) -> Label:
    """Labels or targets under the key, else under label."""
    tensors = _tensors(data, source)
    name, _ = _chosen(tensors, source, "label", key)
    return npy.labels(tensors[name], f"{source}:{name}")


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
        found = [key] if key in tensors else []
    else:
        found = [name for name in names if name in tensors] or [
            name for name in tensors if _last(name) in names
        ]
    if len(found) == 1:
        return found[0], names.get(_last(found[0]))
    wanted = repr(key) if key is not None else " or ".join(names)
    problem = f"there is no tensor {wanted}" if not found else f"{' and '.join(found)} could each be {part}"
    raise InputError(
        f"{source}: {problem}; the tensors are {', '.join(tensors) or 'none'}, and FILE:KEY names one"
    )


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _stem(name: str) -> str:
    return name.rpartition(".")[0]
