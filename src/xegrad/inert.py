"""Text from outside as text that nothing obeys: what acts on a terminal, or is not seen, is spelled out.

Where text leaves the program it passes through here: messages, views, JSON, CSV.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
STACKED = 4  # marks above and below a letter that are taken for writing

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


def in_ascii(text: str) -> str:
    """The text with all that ASCII lacks spelled out."""
    return text if text.isascii() else "".join(c if c.isascii() else spelled(c) for c in text)


def _marks_spelled(text: str) -> Iterator[str]:
    """Its pieces: a run of marks stays as far as it is on a letter and no higher than writing goes."""
    from unicodedata import category

    letter = False
    for is_mark, run in itertools.groupby(text, lambda character: category(character) in ("Mn", "Me")):
        characters = [*run]
        stays = STACKED if letter or not is_mark else 0
        yield from characters[:stays] if is_mark else characters
        yield from map(spelled, characters[stays:]) if is_mark else ()
        letter = not is_mark and characters[-1] not in " \n"
