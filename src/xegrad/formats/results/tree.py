"""Results of K problems as one tree of structs and dicts, which becomes K objects of JSON.

An array has one value for each problem; anything else is of all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, repeat
from typing import Any

import msgspec
import numpy as np

from xegrad.inert import in_json

LARGEST_INTEGER = 2**53  # beyond it, readers of JSON that know only float64 lose integers
IN_CACHE = 2**14  # numbers, of which there may be a list beside their text
NOT_SHOWN = ("difference", "yours", "exact")  # whose warning is without the value
PLACE = b"\0"  # stands for an array in the text of a tree: no JSON holds this byte

Line = tuple[bytes, ...]  # of JSON in pieces, so that an array that stands in several places is one in memory


def _as_list(array: Any) -> list[Any]:
    """The numbers of an array, or of a large one its rows, which become numbers one after the other."""
    values: list[Any] = [*array] if array.ndim > 1 and array.size > IN_CACHE else array.tolist()
    return values


_encoder = msgspec.json.Encoder(enc_hook=_as_list)


def encode(result: Any) -> Line:
    """A line of JSON; numbers are the shortest text that reads back to the same float64."""
    return result if isinstance(result, tuple) else (in_json(_encoder.encode(result)), b"\n")


def each(values: Iterable[Any]) -> Any:
    """An array of what is no number, a value for each problem."""
    return np.fromiter(values, dtype=object)


def objects(tree: Any) -> list[Line]:
    """The K objects of a tree, a line each; a tree without an array is one.

    What all objects have in common is written once, and so is an array that stands in several places.
    """

    def is_common(array: Any) -> bool:
        of_one_type = array.dtype.kind in "bi" or (array.dtype.kind == "O" and isinstance(array[0], str))
        return array.ndim == 1 and of_one_type and bool((array == array[0]).all())

    columns: list[Iterable[bytes]] = []
    texts: dict[int, list[bytes]] = {}  # of an array, by its identity

    def place(array: Any) -> Any:
        if is_common(array):
            return array.tolist()[0]
        if id(array) not in texts:
            texts[id(array)] = _texts(array)
        columns.append(texts[id(array)])
        return msgspec.Raw(PLACE)

    first, *others = map(in_json, (msgspec.json.encode(tree, enc_hook=place) + b"\n").split(PLACE))
    if not others:
        return [(first,)]
    pieces = [repeat(first), *chain.from_iterable(zip(columns, map(repeat, others), strict=True))]
    return [*zip(*pieces)]  # noqa: B905 -- what is repeated has no end


def _texts(array: Any) -> list[bytes]:
    """The value of each problem as JSON, null for a number that it cannot hold."""
    if array.ndim > 2 and array[0].size > IN_CACHE:
        return list(map(_encoder.encode, array))
    values: list[Any] = array.tolist()
    if array.dtype.kind in "OU":
        texts = list(map(_encoder.encode, values))
        whole = b"".join(texts)  # of most nothing is spelled out, which is seen of all of them at once
        return texts if in_json(whole) is whole else list(map(in_json, texts))
    if array.ndim > 1:
        return list(map(_encoder.encode, values))
    if array.dtype.kind == "u":
        values = [value if value <= LARGEST_INTEGER else None for value in values]
    return _encoder.encode(values)[1:-1].split(b",")


def nulls(*trees: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    """The number of a problem and a sentence, for each number that JSON cannot hold, at its first place in a tree."""
    for tree in trees:
        seen: set[int] = set()
        for path, array in _arrays(tree):
            if id(array) in seen or array.dtype == object:
                continue
            seen.add(id(array))
            flat = array.reshape(len(array), -1)
            unwritable = flat > LARGEST_INTEGER if array.dtype.kind == "u" else ~np.isfinite(flat)
            if not unwritable.any():
                continue
            for k in np.flatnonzero(unwritable.any(axis=1)).tolist():
                reason = f"{np.count_nonzero(unwritable[k])} of {flat.shape[1]} entries are not finite"
                if flat.shape[1] == 1:
                    reason = _reason(path, flat[k].tolist()[0])
                yield k, f"{path} is null: {reason}"


def _reason(path: str, value: float) -> str:
    """Why JSON cannot hold a number."""
    if isinstance(value, int):
        return f"{value} is above 2**53"
    if "ulp" in path:
        return "it is not a number"
    return "it is not finite" if path.endswith(NOT_SHOWN) else f"it is {value}"


def _arrays(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The path of each array."""
    for name, branch in tree.items():
        if isinstance(branch, msgspec.Struct):
            branch = msgspec.structs.asdict(branch)
        if isinstance(branch, dict):
            yield from _arrays(branch, f"{prefix}{name}.")
        elif isinstance(branch, np.ndarray):
            yield f"{prefix}{name}", branch
