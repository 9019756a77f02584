"""JSON: a problem is an object, a part of one an array."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, Raw
from msgspec.structs import astuple

from xegrad.errors import InputError, short
from xegrad.formats import tokens
from xegrad.formats.raw_problem import RawProblem
from xegrad.formats.values import array_of_rows
from xegrad.inert import in_json
from xegrad.problem_spec import ARRAY, CLAIMS, FIELDS, LISTED_LABELS, NUMBERS, ProblemObject, unknown_key

_KINDS = {
    "float": "a number", "int": "a whole number", "str": "a string", "array": "a list",
    "object": "an object", "bool": "true or false", "null": "null",
}  # fmt: skip

# A claim may be no number, which Python's json writes though JSON has no word for it.
_CLAIM = re.compile(rf'"({"|".join(CLAIMS)})"\s*:\s*(\[[^{{}}":]*\]|\{{[^{{}}]*\}}|-?[A-Za-z]+)'.encode())
_KEY = re.compile(rb'"\s*:')
_BETWEEN = re.compile(rb"\}[ \t\r]*\n[ \t]*\{")  # one object ends its line, and the next begins its own
_NOT_FINITE = re.compile(rb"NaN|-?Infinity")

Columns = Mapping[str, tuple[Any, ...]]  # by the keys of problems

_problem_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(ProblemObject)
_array_decoder: msgspec.json.Decoder[list[Any]] = msgspec.json.Decoder(NUMBERS)
_labels_decoder: msgspec.json.Decoder[list[Any]] = msgspec.json.Decoder(LISTED_LABELS)


def load(data: bytes, part: str | None = None, key: str | None = None) -> RawProblem:
    """A problem, an object; or a part: an array of one or two dimensions, or a list of labels."""
    if part is None:
        return raw_problem(read_object(data))
    if part == "label":
        return RawProblem({part: _decode(_labels_decoder, data)})
    return RawProblem({part: array_of_rows(_decode(_array_decoder, data), "$")})


def read_object(data: bytes) -> Any:
    """The ProblemObject as it stands, checked by its types alone, and that no key is doubled.

    Its id, which may be anything, is no deeper than can be written again.
    """
    try:
        fields = _decode(_problem_decoder, data)
    except InputError:
        if not (b"NaN" in data or b"Infinity" in data):
            raise
        data = _CLAIM.sub(lambda match: _NOT_FINITE.sub(b"null", match[0]), data)
        fields = _decode(_problem_decoder, data)
    if b"\\" in data or _has_more_keys(data, columns([fields])):
        tokens.parsed(data.decode())
    if fields.id is not UNSET:
        tokens.check_depth(fields.id)
    return fields


def id_of(text: bytes) -> Any:
    """The id of an object that is no problem; UNSET if it has none that can be repeated."""
    with contextlib.suppress(msgspec.DecodeError, RecursionError, UnicodeDecodeError, InputError):
        value = msgspec.json.decode(text, type=dict[str, Any]).get("id", UNSET)
        tokens.check_depth(value)
        return value
    return UNSET


def read_objects(text: bytes) -> tuple[list[Any], Columns] | None:
    """The objects on lines of which none is empty, and their columns; None where any must be looked at by itself."""
    if b"\\" in text or b"NaN" in text or b"Infinity" in text:
        return None
    try:
        objects: list[Any] = _problem_decoder.decode_lines(text)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    n_breaks = text.count(b"\n")
    if n_breaks + 1 != len(objects) or len(_BETWEEN.findall(text)) != n_breaks:
        return None
    of_objects = columns(objects)
    has_deep_ids = not {dict, list}.isdisjoint(map(type, of_objects["id"]))
    return None if has_deep_ids or _has_more_keys(text, of_objects) else (objects, of_objects)


def columns(objects: Sequence[Any]) -> Columns:
    """The values of each field, object by object, UNSET where there is none."""
    rows = [*map(astuple, objects)]  # first: what raises within the call of zip is never freed by Python 3.11
    return dict(zip(FIELDS, zip(*rows, strict=True), strict=True))


def _has_more_keys(text: bytes, columns: Columns) -> bool:
    """Whether there are more keys than were read, as where one is doubled: cheap to rule out.

    There are no more keys than colons, so that most texts need not be searched for keys.
    """
    n_read = sum(len(column) - column.count(UNSET) for column in columns.values())
    return text.count(b":") != n_read and len(_KEY.findall(text)) != n_read


def raw_problem(fields: Any) -> RawProblem:
    """Lists as arrays, refused where they are ragged."""
    return RawProblem(
        {key: _value(value, key) for key in FIELDS if (value := getattr(fields, key)) is not UNSET}
    )


def _value(value: Any, key: str) -> Any:
    if isinstance(value, Raw):
        return bytes(value)
    return array_of_rows(value, f"$.{key}", key) if FIELDS[key].kind is ARRAY else value


def write_problem(problem: RawProblem) -> bytes:
    """The problem as an object, one key a line and one row of W or x a line, so that it can be edited."""
    lines = []
    for key in FIELDS:
        value = problem.values.get(key)
        if value is None:
            continue
        value = value.tolist() if isinstance(value, np.ndarray) else value
        text = _encode(Raw(value) if isinstance(value, bytes) else value)
        if isinstance(value, list) and value and isinstance(value[0], list):
            text = "[\n    " + ",\n    ".join(map(_encode, value)) + "\n  ]"
        lines.append(f'"{key}": {text}')
    return in_json(("{\n  " + ",\n  ".join(lines) + "\n}\n").encode())


def _encode(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _decode(decoder: msgspec.json.Decoder[Any], data: bytes) -> Any:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputError(_what_is_wrong(error, data)) from None


def _what_is_wrong(error: Exception, data: bytes) -> str:
    """Malformed JSON before anything else: a bracket that is missing makes types wrong as well.

    Then a key that stands twice: which of its values is wrong?
    """
    try:
        msgspec.json.decode(data)
    except RecursionError:
        return tokens.TOO_DEEP
    except msgspec.DecodeError as malformed:
        if not isinstance(malformed, msgspec.ValidationError):
            return _malformed(str(malformed), data)
    return _invalid(str(error), tokens.parsed(data.decode()))


def _invalid(message: str, value: Any) -> str:
    """Where, what was found, what was expected, out of the value and of msgspec's

    Expected `float`, got `str` - at `$.W[1][1]`
    """
    where = re.search(r" - at `(.*)`$", message)
    path = where[1] if where else "$"
    if unknown := re.search(r"unknown field `(.*)`", message, re.DOTALL):
        return unknown_key(unknown[1])
    if "out of range" in message:
        return f"{path} is too large for float64, whose largest number is 1.8e308"
    kinds = re.match(r"Expected `(.*?)`, got `(.*?)`", message)
    if kinds is None:
        return f"{path}: {message}"
    names = kinds[1].split(" | ")
    expected = " or ".join(_KINDS.get(one, one) for one in names if one != "int" or "float" not in names)
    found = _KINDS.get(kinds[2], kinds[2])
    if path == "$":
        return f"holds {found}; {expected} is expected"
    for key, index in re.findall(r"\.(\w+)|\[(\d+)\]", path):
        value = value[key or int(index)]
    if not isinstance(value, dict | list):
        found = short(value if isinstance(value, tokens.Token) else _encode(value))
    return f"{path} is {found}; {expected} is expected"


_HALF = r"it has half of a character, \ud800 to \udfff without its other half; text is expected"


def _is_cut_off(data: bytes) -> bool:
    """Whether the JSON is not complete; msgspec says so too of the half of a character at the end of a string."""
    try:
        tokens.parsed(data.decode())
    except InputError:
        return True
    return False


def _malformed(message: str, data: bytes) -> str:
    """Where by line and column, out of msgspec's "JSON is malformed: trailing characters (byte 17)"."""
    at = re.search(r"\(byte (\d+)\)", message)
    start = int(at[1]) if at else len(data.rstrip())
    if "trailing characters" in message:
        start -= 1  # msgspec counts the first of them as read
    if data[start - 1 : start] == b"-":
        start -= 1
    *above, before = data[:start].split(b"\n")
    place = f"line {len(above) + 1}, column {len(before.decode(errors='replace')) + 1}"
    rest = data[start:].lstrip()
    if "truncated" in message:
        return f"{place}: the JSON ends here, before it is complete" if _is_cut_off(data) else _HALF
    if "trailing characters" in message:
        what = "a second value begins" if rest[:1] in (b"{", b"[") else "there is more"
        return f"{place}: {what} after the end of the first; one is expected"
    if re.match(rb"-?(nan|inf)", rest, re.IGNORECASE):
        return f"{place}: every number must be finite, and JSON has neither NaN nor Infinity"
    reason = re.sub(r"^JSON is malformed: | \(byte \d+\)", "", message)
    character = rest[:1].decode(errors="replace")
    return f"{place}: malformed JSON: {reason}" + (f" {character!r}" if reason.endswith("character") else "")
