"""Every error xegrad raises on purpose, and what a message says of long values and of many."""

from collections.abc import Iterable, Iterator
from itertools import islice

from xegrad.inert import inert

Faults = Iterator[tuple[str, str]]  # what is wrong, in a sentence, and the part that it is about

LONGEST = 60  # characters of a value within a message
LONGEST_MESSAGE, ITS_END = 300, 60  # characters of a message, and of its end where it is cut
LISTED = 120  # characters of a list within a message
MOST_COMPARED = 1000  # words, for the one that is meant

# What Python's reader of CSV says, and what is meant.
_OF_CSV = {
    "field larger than": "a cell has more than 131,072 characters; is a quotation mark missing?",
    "unexpected end": "a quotation mark begins a cell, and none ends it",
    "expected after": "a cell goes on after its last quotation mark",
}


class XegradError(Exception):
    """Something the caller can mend.  The command prints it as one line and exits with 2.

    Examples
    --------
    >>> try:
    ...     Targets([0], reduction="max")
    ... except XegradError as error:
    ...     print(error)
    reduction is 'max'; it is one of mean, sum, none
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class InputError(XegradError):
    """The problem cannot be read, or its parts do not fit together.

    `part` names the part that the sentence is about, by its symbol ("W", "x", "b", "label",
    "classes"), so that whoever read the parts can say where that one came from.

    Examples
    --------
    >>> Problem([[1.0, -1.0]], [[3.0]], Targets([2]))
    Traceback (most recent call last):
        ...
    xegrad.errors.InputError: label 2 is out of range; labels are zero-based: 0 to 1
    """

    def __init__(self, message: str, part: str | None = None) -> None:
        super().__init__(message)
        self.part = part


class UsageError(XegradError):
    """The command was called in a way that means nothing, or two things."""


def one_line(message: str) -> str:
    """A message as it is shown: inert, in one line, and of one that is too long its beginning and its end.

    Whatever says something to a person passes through here: errors do so when they are raised.
    """
    message = inert(message)
    if len(message) <= LONGEST_MESSAGE:
        return message
    end = message[-ITS_END:]
    start = LONGEST_MESSAGE - ITS_END - len(f" … ({len(message):,} more characters) … ")
    more = f" … ({len(message) - start - ITS_END:,} more characters) … "
    return f"{message[:start]}{more}{end}"


def shown(value: object) -> str:
    """A value within a message: in one line, and cut where it is long."""
    return short(" ".join(repr(value).split()), LONGEST)


def short(text: str, longest: int = 30) -> str:
    """The text, inert, cut where it is too long for a message."""
    text = inert(text)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def listed(words: Iterable[str], room: int = LISTED, last: str = ", ") -> str:
    """The words as a list within a message; of many the first, and how many more there are.

    Examples
    --------
    >>> listed(["cat", "dog", "cow"], last=" and ")
    'cat, dog and cow'
    >>> listed(map(str, range(100_000)), room=20)
    '0, 1, 2, 3, 4, 5 and 99,994 more'
    """
    words = [*words]
    texts, taken = [], 0
    for word in words:
        texts.append(short(word))
        taken += len(texts[-1]) + 2
        if taken > room and len(texts) > 1:
            texts.pop()
            break
    if more := len(words) - len(texts):
        return f"{', '.join(texts)} and {more:,} more"
    return last.join(filter(None, (", ".join(texts[:-1]), *texts[-1:])))


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint at the known word that is nearest, if one is near: of few words, none long, or it takes long to say.

    Examples
    --------
    >>> nearest("exat", ["chain", "shortcut", "exact"])
    '; did you mean exact?'
    """
    from difflib import get_close_matches

    near = get_close_matches(word, islice(known, MOST_COMPARED), n=1) if len(word) <= LONGEST else []
    return f"; did you mean {short(near[0], LONGEST)}?" if near else ""


def malformed_csv(error: Exception) -> str:
    """What is said of a table that Python's reader refuses: not its words, where these are a programmer's."""
    words = str(error)
    return "malformed CSV: " + next((said for part, said in _OF_CSV.items() if part in words), words)


def refuse(faults: Faults) -> None:
    """Raise InputError of the first fault, if there is one."""
    for sentence, part in faults:
        raise InputError(sentence, part)
