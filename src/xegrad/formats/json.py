"""JSON: a problem is an object, a part of one an array."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Literal, TypeVar

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from msgspec.structs import astuple

from xegrad.errors import InputError
from xegrad.formats.npy import refuse_key
from xegrad.formats.parts import Label, Parts, Table
from xegrad.targets import Array

Decoded = TypeVar("Decoded")


class ProblemObject(msgspec.Struct, forbid_unknown_fields=True):
    """A problem: W, x and label, with b, the classes' names and the options of the loss.

    x is one example, or rows; the label of one example is an index, a name or a target of T numbers, and
    those of rows are a list of indices or names, or a target for each row.
    """

    W: list[list[float]] | UnsetType = UNSET
    x: list[float | list[float]] | UnsetType = UNSET
    label: int | str | list[int | float | str | list[float]] | UnsetType = UNSET
    b: list[float] | UnsetType = UNSET
    classes: list[str] | UnsetType = UNSET
    transpose: bool | UnsetType = UNSET
    class_weights: list[float] | UnsetType = UNSET
    label_smoothing: float | UnsetType = UNSET
    ignore_index: int | UnsetType = UNSET
    reduction: Literal["mean", "sum", "none"] | UnsetType = UNSET
    dtype: Literal["float64", "float32"] | UnsetType = UNSET
    id: Any = UNSET
    # The candidate that a problem brings for `verify`, as it is written.
    gradient: msgspec.Raw | UnsetType = UNSET
    loss: msgspec.Raw | UnsetType = UNSET
    with_respect_to: Literal["W", "b", "x", "logits"] | UnsetType = UNSET  # of which the gradient is


KEYS = ProblemObject.__struct_fields__
# What people write for a key, for the hint on an unknown one.
ALIASES: Mapping[str, str] = {
    **{key.lower(): key for key in KEYS},
    "weight": "W", "weights": "W", "kernel": "W", "input": "x", "inputs": "x", "features": "x",
    "bias": "b", "labels": "label", "y": "label", "target": "label", "targets": "label",
    "class_names": "classes", "names": "classes", "transposed": "transpose", "smoothing": "label_smoothing",
    "ignore": "ignore_index", "weight_of_classes": "class_weights", "precision": "dtype",
}  # fmt: skip
_KINDS = {
    "float": "a number", "int": "a whole number", "str": "a string", "array": "a list",
    "object": "an object", "bool": "true or false", "null": "null",
}  # fmt: skip

# A candidate may be no number, which Python's json writes though JSON has no word for it.
_CANDIDATE = re.compile(rb'"(gradient|loss)"\s*:\s*(\[[^{}":]*\]|-?[A-Za-z]+)')
_KEY = re.compile(rb'"\s*:')
_BETWEEN = re.compile(rb"\}[ \t\r]*\n[ \t]*\{")  # one object ends its line, and the next begins its own
_NOT_FINITE = re.compile(rb"NaN|-?Infinity")

_problem_decoder = msgspec.json.Decoder(ProblemObject)
_array_decoder = msgspec.json.Decoder(list[float | list[float]])
_labels_decoder = msgspec.json.Decoder(list[int | float | str | list[float]])


def read_problem(data: bytes, source: str) -> Parts:
    """The parts of a problem.

    Raises
    ------
    InputError
        Malformed JSON by line and column; a wrong type, unknown or doubled key by its path.
    """
    return parts_of(read_object(data, source), source)


def read_object(data: bytes, source: str) -> ProblemObject:
    """The object as it stands, checked by its types alone.  Raises as `read_problem` does."""
    if b'"gradient"' in data and (b"NaN" in data or b"Infinity" in data):
        data = _CANDIDATE.sub(lambda match: _NOT_FINITE.sub(b"null", match[0]), data)
    stated = _decode(_problem_decoder, data, source)
    # Cheap to rule out: where no key is doubled, there are as many as were read.
    n_keys = len(KEYS) - astuple(stated).count(UNSET)
    if b"\\" in data or len(_KEY.findall(data)) != n_keys:
        _refuse_doubled_keys(data, source)
    return stated


def read_objects(text: bytes) -> list[ProblemObject] | None:
    """The objects on lines of which none is empty, or None where any of them must be looked at by itself."""
    if b"\\" in text or b"NaN" in text or b"Infinity" in text:
        return None
    try:
        objects: list[ProblemObject] = _problem_decoder.decode_lines(text)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    n_keys = sum(len(KEYS) - astuple(stated).count(UNSET) for stated in objects)
    n_breaks = text.count(b"\n")
    if n_breaks + 1 != len(objects) or len(_BETWEEN.findall(text)) != n_breaks:
        return None
    if len(_KEY.findall(text)) != n_keys:
        return None
    return objects


def parts_of(stated: ProblemObject, source: str) -> Parts:
    """Lists as arrays, refused where they are ragged."""
    given: dict[str, Any] = {
        name: value
        for name in (
            "transpose",
            "label",
            "label_smoothing",
            "ignore_index",
            "reduction",
            "dtype",
            "with_respect_to",
        )
        if (value := getattr(stated, name)) is not UNSET
    }
    for name, key in (("bias", "b"), ("class_weights", "class_weights")):
        if (value := getattr(stated, key)) is not UNSET:
            given[name] = np.array(value, dtype=np.float64)
    return Parts(
        weights=None if stated.W is UNSET else _array(stated.W, "$.W", source),
        inputs=None if stated.x is UNSET else _array(stated.x, "$.x", source),
        classes=None if stated.classes is UNSET else tuple(stated.classes),
        id=stated.id,
        gradient=None if stated.gradient is UNSET else bytes(stated.gradient),
        loss=None if stated.loss is UNSET else bytes(stated.loss),
        sources={"problem": source} | {key: source for key in KEYS if getattr(stated, key) is not UNSET},
        **given,
    )


def read_array(data: bytes, source: str, part: str, key: str | None) -> Table:
    """An array of one or two dimensions; JSON names no columns."""
    refuse_key(key, source, "JSON")
    return Table(values=_array(_decode(_array_decoder, data, source), "$", source))


def read_labels(data: bytes, source: str, key: str | None) -> Label:
    """A list of indices or names, or targets."""
    refuse_key(key, source, "JSON")
    return _decode(_labels_decoder, data, source)


def write_problem(parts: Parts) -> bytes:
    """The problem as an object, one key a line and one row of W or x a line, so that it can be edited."""
    lines = []
    for key, value in _written(parts).items():
        text = _encode(value)
        if isinstance(value, list) and value and isinstance(value[0], list):
            text = "[\n    " + ",\n    ".join(map(_encode, value)) + "\n  ]"
        lines.append(f'"{key}": {text}')
    return ("{\n  " + ",\n  ".join(lines) + "\n}\n").encode()


def _written(parts: Parts) -> dict[str, Any]:
    """The keys that there are, in the order of `ProblemObject`; arrays as lists."""
    names = {"W": "weights", "x": "inputs", "b": "bias"}
    written = {}
    for key in KEYS:
        value = getattr(parts, names.get(key, key))
        if isinstance(value, np.ndarray):
            value = value.tolist()
        elif isinstance(value, bytes):
            value = msgspec.Raw(value)
        if value is not None and value is not UNSET:
            written[key] = value
    return written


def _encode(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _decode(decoder: msgspec.json.Decoder[Decoded], data: bytes, source: str) -> Decoded:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputError(f"{source}: {_what_is_wrong(error, data)}") from None


def _what_is_wrong(error: Exception, data: bytes) -> str:
    """Malformed JSON before anything else: a bracket that is missing makes types wrong as well."""
    try:
        msgspec.json.decode(data)
    except RecursionError:
        return "brackets are nested too deeply to be a problem"
    except msgspec.DecodeError as malformed:
        if not isinstance(malformed, msgspec.ValidationError):
            return _malformed(str(malformed), data)
    return _invalid(str(error), data)


def _invalid(message: str, data: bytes) -> str:
    """Where, what was found, what was expected, out of msgspec's

    Expected `float`, got `str` - at `$.W[1][1]`
    """
    where = re.search(r" - at `(.*)`$", message)
    path = where[1] if where else "$"
    if unknown := re.search(r"unknown field `(.*)`", message, re.DOTALL):
        return unknown_key(unknown[1])
    if "out of range" in message:
        return f"{path} is too large for float64, whose largest number is 1.8e308"
    if kinds := re.match(r"Expected `(.*?)`, got `(.*?)`", message):
        expected = " or ".join(_KINDS.get(kind, kind) for kind in kinds[1].split(" | "))
        if path == "$":
            return f"holds {_KINDS.get(kinds[2], kinds[2])}; {expected} is expected"
        return f"{path} is {_found(path, data) or _KINDS.get(kinds[2], kinds[2])}; {expected} is expected"
    return f"{path}: {message}"


def _found(path: str, data: bytes) -> str:
    """The value at a path, in short."""
    try:
        value = msgspec.json.decode(data)
    except msgspec.DecodeError:
        return ""
    for key, index in re.findall(r"\.(\w+)|\[(\d+)\]", path):
        value = value[key] if key else value[int(index)]
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 30 else text[:29] + "…"


def unknown_key(key: str) -> str:
    """The keys that there are, and the nearest."""
    near = get_close_matches(key.lower(), ALIASES, n=1)
    hint = f"; did you mean {ALIASES[near[0]]!r}?" if near else ""
    return f"unknown key {key!r}; the keys of a problem are {', '.join(KEYS)}{hint}"


def _malformed(message: str, data: bytes) -> str:
    """Where by line and column, out of msgspec's "JSON is malformed: trailing characters (byte 17)"."""
    at = re.search(r"\(byte (\d+)\)", message)
    start = int(at[1]) if at else len(data.rstrip())
    if "trailing characters" in message:
        start -= 1  # msgspec counts the first of them as read
    if data[start - 1 : start] == b"-":
        start -= 1
    before = data[:start]
    line = before.count(b"\n") + 1
    column = len(before[before.rfind(b"\n") + 1 :].decode(errors="replace")) + 1
    place = f"line {line}, column {column}"
    rest = data[start:].lstrip()
    if "truncated" in message:
        return f"{place}: the JSON ends here, before it is complete"
    if "trailing characters" in message:
        what = "a second value begins" if rest[:1] in (b"{", b"[") else "there is more"
        return f"{place}: {what} after the end of the first; one is expected"
    if re.match(rb"-?(nan|inf)", rest, re.IGNORECASE):
        return f"{place}: every number must be finite, and JSON has neither NaN nor Infinity"
    reason = re.sub(r"^JSON is malformed: | \(byte \d+\)", "", message)
    character = rest[:1].decode(errors="replace")
    return f"{place}: malformed JSON: {reason}" + (f" {character!r}" if reason.endswith("character") else "")


def _refuse_doubled_keys(data: bytes, source: str) -> None:
    import json

    # The hook sees the outermost object last.
    pairs: list[tuple[str, Any]] = json.loads(data, object_pairs_hook=list)
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise InputError(f"{source}: the key {key!r} is given twice; which of them is meant?")
        seen.add(key)


def _array(rows: list[Any], path: str, source: str) -> Array:
    """Rows as an array, refused where they are ragged."""
    if any(isinstance(row, list) for row in rows):
        first = rows[0]
        for index, row in enumerate(rows):
            if not (isinstance(row, list) and isinstance(first, list)):
                raise InputError(f"{source}: {path} mixes numbers and lists; it is one or the other")
            if len(row) != len(first):
                raise InputError(
                    f"{source}: {path}[{index}] has {_numbers(len(row))}, but {path}[0] has "
                    f"{_numbers(len(first))}; all rows must be equally long"
                )
    elif not rows:
        raise InputError(f"{source}: {path} is empty; numbers are expected")
    return np.array(rows, dtype=np.float64)


def _numbers(count: int) -> str:
    return f"{count} number{'' if count == 1 else 's'}"
