"""The options that several commands share: the same name means the same in every one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Annotated

import typer

from xegrad.errors import UsageError
from xegrad.formats import FORMATS

_VALUE = "A value (0.1,-0.5 or JSON in brackets) or a file."

Problem = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[PROBLEM]", help="A JSON or CSV file, or - for standard input.", show_default=False
    ),
]
Weights = Annotated[
    str | None, typer.Option("-W", "--weights", metavar="VALUE|FILE", help=f"W, inputs x classes. {_VALUE}")
]
Inputs = Annotated[str | None, typer.Option("-x", "--inputs", metavar="VALUE|FILE", help=f"x. {_VALUE}")]
Bias = Annotated[str | None, typer.Option("-b", "--bias", metavar="VALUE|FILE", help=f"b. {_VALUE}")]
Label = Annotated[
    str | None,
    typer.Option(
        "-y",
        "--label",
        metavar="INDEX|NAME|LIST",
        help="A zero-based index, a class name, or a target as a JSON list.",
    ),
]
Transpose = Annotated[
    bool | None,
    typer.Option(
        "--transpose/--no-transpose",
        help="W is stored classes x inputs (or not, whatever the problem says); gradients come out like it.",
    ),
]
InputFormat = Annotated[
    str | None,
    typer.Option("--input-format", metavar="|".join(FORMATS), help="Where the suffix does not say it."),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
Top = Annotated[int, typer.Option("--top", metavar="K", min=1, help="How many of the worst entries.")]
Digits = Annotated[
    int,
    typer.Option("--digits", metavar="D", min=1, max=17, help="Significant digits; 17 shows raw numbers."),
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Nothing on standard output.")]
NoColor = Annotated[bool, typer.Option("--no-color", help="No colours; NO_COLOR does the same.")]


def summation(text: str) -> Callable[[int], int]:
    """How many roundings a term of a sum goes through, from any, pairwise or blocked=N."""
    from xegrad import bounds

    if text in ("any", "pairwise"):
        return bounds.any_order if text == "any" else bounds.pairwise
    kind, _, size = text.partition("=")
    if kind != "blocked" or not size.isdecimal() or int(size) == 0:
        raise UsageError(
            f"--summation is {text!r}; any, pairwise or blocked=N is expected, N terms to a block"
        )
    return bounds.blocked(int(size))


def choices(given: Iterable[str], known: Iterable[str], what: str) -> list[str]:
    """The names in a list option, which takes commas and may repeat, in the order of the known ones."""
    known = list(known)
    asked = [name.strip() for text in given for name in text.split(",")]
    for name in asked:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UsageError(f"there is no {what} {name!r}; the {what}s are {', '.join(known)}{hint}")
    return [name for name in known if name in asked]
