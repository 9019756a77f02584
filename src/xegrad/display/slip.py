"""The page of a slip, as a linter has for its rules."""

from __future__ import annotations

import numpy as np
from rich.text import Text

from xegrad.display.blocks import Block, Column, Listing, Paragraph, Replacement, Table, View
from xegrad.display.numbers import decimals_for, in_column
from xegrad.slip_page import Page
from xegrad.slips import SLIPS
from xegrad.targets import Array
from xegrad.vocabulary import SYMBOLS

DIGITS = 5
FIELD = 10  # columns of the name of a field


def slips_view() -> View:
    """The catalogue: the name of each slip, and what it is."""
    title = Text("what verify can name; xegrad slips NAME explains one", style="title")
    return [[Paragraph(title), Listing([Column(list(SLIPS))], [slip.sentence for slip in SLIPS.values()])]]


def slip_view(page: Page) -> View:
    """What it is, how it comes about, the two lines of code, and what it does to a gradient."""
    slip, words = page.slip, page.explanation
    gradients = {f"dL/d{SYMBOLS[page.name]}": (page.right, page.wrong)}
    if page.residuals is not None:
        gradients = {"dL/dZ": page.residuals, **gradients}
    title = Text.assemble((slip.name, "name"), f"  {slip.sentence}")
    fields = {"computed": page.formula, "how": slip.cause, "remedy": words.remedy}
    return [
        [Paragraph(title)],
        [Paragraph(text, f"{name:{FIELD}}") for name, text in fields.items()],
        [Replacement(words.wrong, words.right)],
        [Paragraph(f"On {page.problem_name}: {words.happened}")],
        [
            block
            for name, pair in gradients.items()
            for heading, values in zip(("right", "with this mistake"), pair, strict=True)
            for block in (Paragraph(f"{name}, {heading}"), _matrix(values))
        ],
    ]


def _matrix(values: Array) -> Block:
    """The numbers, indented."""
    rows = np.atleast_2d(values)
    decimals = decimals_for(rows.ravel().tolist(), DIGITS)
    columns = [[in_column(value + 0.0, decimals, DIGITS) for value in column] for column in rows.T.tolist()]
    widest = max(len(cell) for column in columns for cell in column)
    return Table([Column(column, least=widest) for column in columns], [Column([""] * len(rows))])
