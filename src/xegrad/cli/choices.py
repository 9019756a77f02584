"""Options, and words that are one of those known: completed, checked, and refused with the nearest."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from itertools import chain
from typing import Annotated, Any, TypeAlias

import typer
from typer._click.types import FloatParamType, IntParamType, ParamType

from xegrad.errors import UsageError, listed, nearest, shown
from xegrad.naming import GRADIENTS
from xegrad.vocabulary import NAMES

LARGEST = 2**63 - 1  # of whole numbers: that of C, of numpy and of a list

# Words, or what finds them when a shell asks.
Words: TypeAlias = "Collection[str] | Callable[[typer.Context | None], Collection[str]]"
LISTED = 8  # words that a message lists although it knows the one that is meant


def slip_names(ctx: typer.Context | None) -> Collection[str]:
    """The names of the mistakes."""
    from xegrad.slips import SLIPS

    return SLIPS.keys()


def class_names(ctx: typer.Context | None) -> Collection[str]:
    """The class names in the files on the line."""
    from xegrad.cli import completion

    return completion.class_names(ctx)


def option(usage: str, help: str, *, values: Words = (), noun: str = "", **limits: Any) -> Any:
    """An option by what --help says of it: "-o, --output FILE", or FILE where its parameter is called like it.

    The values, if there are any, complete it; where a noun says what they are, it takes no other.  -h shows the first
    sentence of the help.
    """
    names = [word.rstrip(",") for word in usage.split() if word.startswith("-")]
    metavar = next((word for word in usage.split() if not word.startswith("-")), None)
    if values:
        limits["autocompletion"] = completing(values)
    if noun:
        limits["parser"] = lambda text: choice(text, values(None) if callable(values) else values, noun)
    return typer.Option(*names, metavar=metavar, help=help, **limits)


MaxMemory = Annotated[
    str | None,
    option(
        "--max-memory SIZE", "The most memory to take, such as 2GiB. By default half of what is available."
    ),
]


def number_in(text: str, kind: Callable[[str], float] = float) -> float:
    """The number that a text is, or NaN: Python alone takes 1_0 for 10, and the digits of every script."""
    try:
        return kind(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        return math.nan


class Number(ParamType):
    """A number as an option takes it: finite, whole where it counts something, and within its limits."""

    name = "number"

    def __init__(self, of: ParamType) -> None:
        self.is_whole = isinstance(of, IntParamType)
        self.least, self.most = getattr(of, "min", None), getattr(of, "max", None)

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        number = number_in(value, int if self.is_whole else float) if isinstance(value, str) else value
        largest = LARGEST if self.is_whole else sys.float_info.max
        if (-largest if self.least is None else self.least) <= number <= (self.most or largest):
            return number
        what = "a whole number" if self.is_whole else "a number"
        if self.most is not None:
            what += f" from {self.least} to {self.most}"
        elif number > largest:
            what = "a smaller number"
        elif self.least is not None:
            what += f" from {self.least}"
        option = max(param.opts, key=len)
        raise UsageError(f"{ctx.info_name}: {option} is {shown(value)}; {what} is expected")


def of_numbers(parameter: Any) -> None:
    """Where the values of an option or argument are numbers, let it take them as such."""
    if isinstance(parameter.type, (IntParamType, FloatParamType)):
        parameter.type = Number(parameter.type)


def completing(values: Words) -> Callable[[typer.Context, str], list[str]]:
    """What completes a word that is one of these, or several between commas."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        known = values(ctx) if callable(values) else values
        return [before + comma + name for name in known if name.startswith(last)]

    return complete


def names_in(texts: Iterable[str]) -> tuple[str, ...]:
    """The names in a list option, which takes commas and may repeat.  A JSON list has them as they are, with commas and
    blanks.

    Examples
    --------
    >>> names_in(["cat, dog", '["a,b", " c "]'])
    ('cat', 'dog', 'a,b', ' c ')
    """
    return tuple(chain.from_iterable(map(_names_of, texts)))


def _names_of(text: str) -> list[str]:
    if text.lstrip().startswith("["):
        import msgspec

        with suppress(msgspec.DecodeError, UnicodeEncodeError):  # a name may begin so
            return msgspec.json.decode(text, type=list[str])
    return [name.strip() for name in text.split(",")]


def choices(
    texts: Iterable[str], known: Iterable[str], what: str, aliases: Mapping[str, str] = {}
) -> list[str]:
    """The names in a list option, which takes commas and may repeat, in the order of the known ones.

    `aliases`, in lower case, are what people write for them.
    """
    known = list(known)
    names = [name.strip() for text in texts for name in text.split(",")]
    chosen = [aliases.get(name.lower(), name) for name in names]
    for name in chosen:
        if name not in known:
            hint = nearest(name, [*known, *aliases])
            those = "" if hint and len(known) > LISTED else f"; the {what}s are {listed(known)}"
            raise UsageError(f"there is no {what} {shown(name)}{those}{hint}")
    return [name for name in known if name in chosen]


def choice(text: str, known: Iterable[str], what: str) -> str:
    """One of the known names."""
    chosen = choices([text], known, what)
    if len(chosen) != 1:
        raise UsageError(f"one {what} is expected, not {shown(text)}")
    return chosen[0]


def gradients(symbols: list[str] | None, has_bias: bool) -> list[str]:
    """The names in --with-respect-to, as the library calls them: W, and b where there is one, by default."""
    chosen = choices(symbols or (["W", "b"] if has_bias else ["W"]), NAMES, "gradient", GRADIENTS)
    return [NAMES[symbol] for symbol in chosen]
