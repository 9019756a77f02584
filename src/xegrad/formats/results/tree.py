"""Results of K problems as trees: dicts of arrays and dicts, which become K objects of JSON.

Arrays and lists have one value for each problem; anything else is of all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET

Tree = dict[str, Any]

LARGEST_INTEGER = 2**53  # beyond it, readers of JSON that know only float64 lose integers
NOT_SHOWN = ("difference", "yours", "exact", "gradient_norm")  # whose warning is without the value


def encode(*results: Tree | msgspec.Raw | list[Any]) -> bytes:
    """A line of JSON for each; numbers are the shortest text that reads back to the same float64."""
    return _encoder.encode_lines(results)


_encoder = msgspec.json.Encoder(enc_hook=np.ndarray.tolist)


Columns = list[list[bytes]]  # of each place in a template, the text for each problem
Texts = dict[int, list[bytes]]  # of an array that may stand in several places, by its identity


def objects(tree: Tree, n_problems: int) -> list[msgspec.Raw]:
    """The K objects of a tree, as text; a field but the last is absent where a list has UNSET.

    What all objects have in common is written once, and so is an array that stands in several places.
    """
    columns: Columns = []
    whole = _template(tree, columns, {})
    rows = zip(*columns, strict=True) if columns else [()] * n_problems
    return [msgspec.Raw(whole % row) for row in rows]


def _template(branch: Any, columns: Columns, texts: Texts) -> bytes:
    """The text of a part of a tree, with %b where the problems differ; what stands there is added to the columns."""
    if isinstance(branch, dict):
        members = [_member(name, value, columns, texts) for name, value in branch.items()]
        return b"{" + b"".join(members).removesuffix(b",") + b"}"
    if isinstance(branch, list):
        columns.append(list(map(_encoder.encode, branch)))
    elif isinstance(branch, np.ndarray):
        columns.append(texts.get(id(branch)) or texts.setdefault(id(branch), _texts(branch)))
    else:
        return _encoder.encode(branch).replace(b"%", b"%%")
    return b"%b"


def _member(name: str, branch: Any, columns: Columns, texts: Texts) -> bytes:
    """A field and its value, with the comma."""
    if isinstance(branch, list) and UNSET in branch:
        columns.append(
            [b"" if value is UNSET else _encoder.encode({name: value})[1:-1] + b"," for value in branch]
        )
        return b"%b"
    return _encoder.encode(name) + b":" + _template(branch, columns, texts) + b","


def _texts(array: Any) -> list[bytes]:
    """The numbers of each problem as JSON, null for what it cannot hold."""
    values: list[Any] = array.tolist()
    if array.ndim > 1:
        return list(map(_encoder.encode, values))
    if array.dtype.kind == "u":
        values = [value if value <= LARGEST_INTEGER else None for value in values]
    return _encoder.encode(values)[1:-1].split(b",")


def nulls(tree: Tree) -> Iterator[tuple[int, str]]:
    """The number of a problem and a sentence, for each value that JSON cannot hold, at its first place in the tree."""
    for path, array in _first_places(tree, "", set()):
        flat = array.reshape(len(array), -1)
        is_ulps = array.dtype.kind == "u"
        unwritable = flat > LARGEST_INTEGER if is_ulps else ~np.isfinite(flat.astype(float, copy=False))
        for k in np.flatnonzero(unwritable.any(axis=1)).tolist():
            reason = f"{np.count_nonzero(unwritable[k])} of {flat.shape[1]} entries are not finite"
            if flat.shape[1] == 1:
                reason = _reason(path, flat[k].tolist()[0])
            yield k, f"{path} is null: {reason}"


def _reason(path: str, value: float | None) -> str:
    """Why JSON cannot hold a number."""
    if value is None:
        return "it is not a number"
    if isinstance(value, int):
        return f"{value} is above 2**53"
    return "it is not finite" if path.endswith(NOT_SHOWN) else f"it is {value}"


def _first_places(tree: Tree, prefix: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """The path of each array."""
    for name, branch in tree.items():
        if isinstance(branch, dict):
            yield from _first_places(branch, f"{prefix}{name}.", seen)
        elif isinstance(branch, np.ndarray) and id(branch) not in seen:
            seen.add(id(branch))
            yield f"{prefix}{name}", branch
