"""JSON that is read slowly and exactly: the texts of its numbers, and no key twice, at any depth."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from xegrad.errors import InputError, shown

DEEPEST = 100  # brackets within brackets in what is read as it is, an `id`
TOO_DEEP = "brackets are nested too deeply; nothing that is read has so many within each other"


class Token(str):
    """The text of a number."""

    __slots__ = ()


def parsed(text: str) -> Any:
    """A value with its numbers as `Token`.

    Raises
    ------
    InputError
        What is no JSON, an object with a key twice, and too many brackets within each other.
    """
    try:
        return json.loads(
            text, parse_float=Token, parse_int=Token, parse_constant=Token, object_pairs_hook=_without_doubles
        )
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise NotJSONError(f"{where}: malformed JSON: {error.msg.lower()}") from None
    except RecursionError:
        raise InputError(TOO_DEEP) from None


class NotJSONError(InputError):
    """The text is no JSON; it may be another language."""


def check_depth(value: Any) -> None:
    """Raise InputError where lists and objects are nested deeper than whoever writes or shows them can follow."""
    level = [value]
    for _ in range(DEEPEST):
        parts = (
            one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)
        )
        level = [one for part in parts for one in part]
        if not level:
            return
    raise InputError(TOO_DEEP)


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        [(key, _)] = Counter(key for key, _ in pairs).most_common(1)
        raise InputError(f"the key {shown(key)} is given twice; which of them is meant?")
    return values
