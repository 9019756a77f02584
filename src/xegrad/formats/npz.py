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
from xegrad.formats import npy
from xegrad.formats.json import KEYS, unknown_key
from xegrad.formats.parts import Label, Parts, Table
from xegrad.vocabulary import COMPUTED_IN, NAMES, REDUCTIONS


def read_problem(data: bytes, source: str) -> Parts:
    """The parts of a problem; its `gradient` and `loss` are a candidate, as in JSON.

    Raises
    ------
    InputError
        What is no NPZ, an unknown key, an array of another kind or shape than its key asks for.
    """
    arrays = read_arrays(data, source)
    for key in arrays:
        if key not in KEYS:
            raise InputError(f"{source}: {unknown_key(key)}")

    def numbers(key: str) -> Any:
        return npy.checked(arrays[key], f"{source}:{key}") if key in arrays else None

    def scalar(key: str, kinds: str, expected: str) -> Any:
        if key not in arrays:
            return None
        if arrays[key].size != 1 or arrays[key].dtype.kind not in kinds:
            raise InputError(f"{source}:{key} is {_short(arrays[key])}; {expected} is expected")
        return arrays[key].item()

    classes = arrays.get("classes")
    if classes is not None and (classes.dtype.kind != "U" or classes.ndim != 1):
        raise InputError(f"{source}:classes is {_short(classes)}; a list of names is expected")
    loss = scalar("loss", "fiu", "a number")
    identity = arrays["id"].tolist() if "id" in arrays else None
    if "id" in arrays and arrays["id"].dtype.kind not in "Uiufb":
        raise InputError(f"{source}:id is {_short(arrays['id'])}; text or a number is expected")
    reduction = scalar("reduction", "U", f"one of {', '.join(REDUCTIONS)}")
    symbol = scalar("with_respect_to", "U", f"one of {', '.join(NAMES)}")
    dtype = scalar("dtype", "U", f"one of {', '.join(COMPUTED_IN)}")
    given = {
        "weights": numbers("W"),
        "inputs": numbers("x"),
        "bias": numbers("b"),
        "label": npy.labels(arrays["label"], f"{source}:label") if "label" in arrays else None,
        "classes": None if classes is None else tuple(classes.tolist()),
        "transpose": scalar("transpose", "b", "true or false"),
        "class_weights": numbers("class_weights"),
        "label_smoothing": scalar("label_smoothing", "fiu", "a number"),
        "ignore_index": scalar("ignore_index", "iu", "a whole number"),
        "reduction": reduction,
        "dtype": dtype,
        "with_respect_to": symbol,
        "gradient": numbers("gradient"),
        "loss": None if loss is None else arrays["loss"].reshape(1),
    }
    if identity is not None:
        given["id"] = identity
    return Parts(**given, sources={"problem": source} | dict.fromkeys(arrays, source))


def read_array(data: bytes, source: str, part: str, key: str | None) -> Table:
    """What stands under the key, else under the part's own, else the only array there is."""
    arrays = read_arrays(data, source)
    name = _chosen(arrays, source, part, key)
    return Table(values=npy.checked(arrays[name], f"{source}:{name}"))


def read_labels(data: bytes, source: str, key: str | None) -> Label:
    """Labels or targets under the key, else under label."""
    arrays = read_arrays(data, source)
    name = _chosen(arrays, source, "label", key)
    return npy.labels(arrays[name], f"{source}:{name}")


def read_arrays(data: bytes, source: str) -> Mapping[str, NDArray[Any]]:
    """Every array by its key."""
    if not data.startswith(b"PK"):
        raise InputError(f"{source}: cannot be read as NPZ: it is no ZIP file")
    return npy.load(_unpacked, data, source, "NPZ")


def _unpacked(data: bytes) -> dict[str, NDArray[Any]]:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False, max_header_size=npy.LONGEST_HEADER) as arrays:
            found = dict(arrays)
    # zipfile raises NotImplementedError for a compression it does not know, and RuntimeError for a password.
    except (zipfile.BadZipFile, zlib.error, KeyError, NotImplementedError, RuntimeError) as error:
        raise ValueError(str(error)) from None
    for key, array in found.items():
        if not isinstance(array, np.ndarray):
            raise ValueError(f"{key} is no array that numpy saved")
    return found


def _chosen(arrays: Mapping[str, Any], source: str, part: str, key: str | None) -> str:
    wanted = key or part
    if wanted in arrays:
        return wanted
    if key is None and len(arrays) == 1:
        return next(iter(arrays))
    raise InputError(
        f"{source}: there is no array {wanted!r}; the arrays are {', '.join(arrays) or 'none'}, and FILE:KEY names one"
    )


def _short(array: NDArray[Any]) -> str:
    if array.size == 1:
        return repr(array.item())
    return f"an array of {' x '.join(map(str, array.shape))} {array.dtype}"
