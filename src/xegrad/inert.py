"""Text from outside as text that nothing obeys: what acts on a terminal, or is not seen, is spelled out.

Where text leaves the program it passes through here: messages, views, JSON, CSV.  It also says how many columns of a
terminal a text takes.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from functools import lru_cache

SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_LONG = {short: character for character, short in SHORT.items()}
STACKED = 4  # marks above and below a letter that are taken for writing

# The number, or the beginning of one, that a text ends in.
_NUMBER_AT_END = r"[-+.,]*(?:\d[\d.,]*(?:[eE][-+]?\d*)?)?[-+.,]*$"

# Of a cell of CSV: what a spreadsheet computes unless it is a number, what `in_cell` has written, and how it escapes.
# Patterns are compiled where they are used: most runs use none.
_FORMULA = r"[=@\t\r]|[+\-](?!(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?$)"
_MARKED = r"'(?:'*[=+\-@]|.*\\(?:u[0-9a-f]{4}|[\\nrt]))"
_ESCAPED = r"\\(?:u([0-9a-f]{4})|[\\nrt])"

# What counts as printable and is not seen (Unicode: Default_Ignorable_Code_Point): fillers, and selectors of variants,
# which can hide a text of any length.
_UNSEEN = frozenset(
    map(
        chr,
        (
            *(0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180F, 0x3164, 0xFFA0),
            *range(0x180B, 0x180E),
            *range(0xFE00, 0xFE10),
            *range(0xE0100, 0xE01F0),
        ),
    )
)


def inert(text: str, keeping: str = "") -> str:
    r"""The text with controls, format characters, separators, surrogates and what is not seen as \u....

    A character of `keeping` stays.  Marks that stand on no letter, or pile up on one, are spelled out too.

    Examples
    --------
    >>> print(inert("cat\x1b[2J \u202etac"))
    cat\u001b[2J \u202etac
    """
    if text.isascii() and text.isprintable():
        return text
    text = without_hidden(text, keeping)
    return text if text.isascii() else "".join(_marks_spelled(text))


def without_hidden(text: str, keeping: str = "") -> str:
    r"""As `inert`, in text whose marks may stand on any letter, such as JSON, which reads \u.... back."""
    hidden = {
        ord(character): spelled(character)
        for character in {*text}
        if character not in keeping and (character in _UNSEEN or not character.isprintable())
    }
    return text.translate(hidden) if hidden else text


def is_unicode(text: str) -> bool:
    """Whether a text can be written in UTF-8: one with bytes that are none of it, or half a character, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def spelled(character: str) -> str:
    r"""A character as \u...., and one beyond the first 65,536 as two of them, as in JSON."""
    if character in SHORT:
        return SHORT[character]
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[k : k + 2].hex()}" for k in range(0, len(units), 2))


def in_json(text: bytes) -> bytes:
    r"""JSON that reads back to the same, with \u.... for what UTF-8 may hold and nobody should obey."""
    if text.isascii() and b"\x7f" not in text:
        return text
    return without_hidden(text.decode(), keeping="\n").encode()


def in_cell(name: str) -> str:
    """A name as a cell of CSV, which no spreadsheet takes for a formula; `from_cell` reads it back.

    What begins as a formula, or holds what would be obeyed, has an apostrophe before it, and its backslashes doubled.
    """
    if not (re.match(_FORMULA, name) or re.match(_MARKED, name) or without_hidden(name) != name):
        return name
    return f"'{without_hidden(name.replace(chr(92), 2 * chr(92)))}"


def from_cell(cell: str) -> str:
    """The name that `in_cell` wrote; any other cell is what it is."""
    if not re.match(_MARKED, cell):
        return cell
    units = re.sub(_ESCAPED, _unescaped, cell[1:])
    return units.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def _unescaped(match: re.Match[str]) -> str:
    return chr(int(match[1], 16)) if match[1] else _LONG.get(match[0], "\\")


def in_ascii(text: str) -> str:
    """The text with all that ASCII lacks spelled out."""
    return text if text.isascii() else "".join(c if c.isascii() else spelled(c) for c in text)


def cells(text: str) -> int:
    """The columns that it takes on a terminal: two for a letter of Chinese, none for a mark on a letter."""
    if text.isascii():
        return len(text)
    return sum(map(_columns_of, text))


def cut(text: str, columns: int, ending: str = "…") -> str:
    """The text, or as much of it as fits into so many columns; no number in it is cut."""
    if cells(text) <= columns:
        return text
    widths = itertools.accumulate(map(_columns_of, text))
    fitting = text[: sum(width <= columns - len(ending) for width in widths)]
    return f"{re.sub(_NUMBER_AT_END, '', fitting).rstrip()}{ending}"


@lru_cache(2**12)
def _columns_of(character: str) -> int:
    from unicodedata import east_asian_width

    return 0 if _is_mark(character) else 2 if east_asian_width(character) in "WF" else 1


def _is_mark(character: str) -> bool:
    """Whether it stands on the letter before it, as an accent does, or a vowel within a syllable of Hangul."""
    from unicodedata import category

    return (
        category(character)[0] == "M" or "\u1160" < character <= "\u11ff" or "\ud7b0" <= character <= "\ud7ff"
    )


def _marks_spelled(text: str) -> Iterator[str]:
    """Its pieces: a run of marks stays as far as it is on a letter and no higher than writing goes."""
    letter = False
    for is_mark, run in itertools.groupby(text, _is_mark):
        characters = [*run]
        stays = STACKED if letter or not is_mark else 0
        yield from characters[:stays] if is_mark else characters
        yield from map(spelled, characters[stays:]) if is_mark else ()
        letter = not is_mark and characters[-1] not in " \n"
