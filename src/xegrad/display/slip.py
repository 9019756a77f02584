"""The page of a slip, as a linter has for its rules."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import numpy as np
from rich.console import Group, RenderableType
from rich.text import Text

from xegrad.display.computation import wrapped
from xegrad.display.numbers import decimals_for, in_column
from xegrad.slip_page import Page
from xegrad.targets import Array
from xegrad.vocabulary import SYMBOLS

DIGITS = 5


def slip_view(page: Page, width: int, own: str | None = None) -> RenderableType:
    """What it is, how it comes about, the two lines of code, and what it does to a gradient: that of an example, or
    of one's `own` problem, by what it is called."""
    slip, said = page.slip, page.explanation
    example = "the derivation's example (xegrad sample)" if page.is_seed else "a batch of four rows"
    example = example if own is None else own
    gradient = f"dL/d{SYMBOLS[page.name]}"
    return Group(
        Text.assemble((slip.name, "bold"), f"  {slip.sentence}")
        if len(slip.name) + len(slip.sentence) + 2 <= width
        else wrapped(f"{slip.name}  {slip.sentence}", width),
        "",
        _field("computed", page.formula, width),
        _field("how", slip.cause, width),
        _field("remedy", said.remedy, width),
        "",
        *_code("instead of", said.wrong),
        *_code("write", said.right),
        "",
        wrapped(f"On {example}: {' '.join(said.happened.split())}", width),
        "",
        *_beside("dL/dZ", page.residuals),
        Text(f"{gradient}, right"),
        *_matrix(page.right),
        Text(f"{gradient}, with this mistake"),
        *_matrix(page.wrong),
    )


def _beside(name: str, pair: tuple[Array, Array] | None) -> Iterator[Text]:
    if pair is not None:
        for heading, values in zip(("right", "with this mistake"), pair, strict=True):
            yield Text(f"{name}, {heading}")
            yield from _matrix(values)


def _field(name: str, text: str, width: int) -> Text:
    lines = textwrap.wrap(" ".join(text.split()), width - 10)
    return Text(f"{name:10}" + ("\n" + " " * 10).join(lines))


def _code(name: str, code: str) -> Iterator[Text]:
    for k, line in enumerate(code.splitlines()):
        yield Text(f"    {name if k == 0 else '':12}{line}")


def _matrix(values: Array) -> Iterator[Text]:
    rows = np.atleast_2d(values)
    decimals = decimals_for(rows.ravel().tolist(), DIGITS)
    cells = [[in_column(value + 0.0, decimals, DIGITS) for value in row] for row in rows.tolist()]
    size = max(len(cell) for row in cells for cell in row)
    for row in cells:
        yield Text("  " + "  ".join(f"{cell:>{size}}" for cell in row))
