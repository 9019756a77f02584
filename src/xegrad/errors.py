"""Every error xegrad raises on purpose."""

from collections.abc import Iterator

Faults = Iterator[tuple[str, str]]  # what is wrong, in a sentence, and the part that it is about

LONGEST = 60  # characters of a value within a message


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


def shown(value: object) -> str:
    """A value within a message: in one line, and cut where it is long."""
    return short(" ".join(repr(value).split()), LONGEST)


def short(text: str, longest: int = 30) -> str:
    """The text, cut where it is too long for a message."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def refuse(faults: Faults) -> None:
    """Raise InputError of the first fault, if there is one."""
    for sentence, part in faults:
        raise InputError(sentence, part)
