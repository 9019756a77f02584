"""The page of a slip, as a linter has for its rules."""

from __future__ import annotations

import numpy as np
from rich.text import Text

from xegrad.display.numbers import decimals_for, in_column
from xegrad.display.text import Column, Section, View, code, listing, matrix, wrap
from xegrad.slip_page import Page
from xegrad.slips import SLIPS
from xegrad.targets import Array
from xegrad.vocabulary import SYMBOLS

DIGITS = 5
FIELD = 10  # columns of the name of a field


def slips_view(width: int) -> View:
    """The catalogue: the name of each slip, and what it is."""
    title = Text("what verify can name; xegrad slips NAME explains one", style="bold")
    return [[title, *listing([Column(list(SLIPS))], [slip.sentence for slip in SLIPS.values()], width)]]


def slip_view(page: Page, width: int) -> View:
    """What it is, how it comes about, the two lines of code, and what it does to a gradient."""
    slip, words = page.slip, page.explanation
    gradients = {f"dL/d{SYMBOLS[page.name]}": (page.right, page.wrong)}
    if page.residuals is not None:
        gradients = {"dL/dZ": page.residuals, **gradients}
    title = wrap(f"{slip.name}  {slip.sentence}", width)
    title[0].stylize("bold", 0, len(slip.name))
    fields = {"computed": page.formula, "how": slip.cause, "remedy": words.remedy}
    return [
        title,
        [line for name, text in fields.items() for line in wrap(text, width, f"{name:{FIELD}}")],
        code(words.wrong, words.right, width, label=12),
        wrap(f"On {page.problem_name}: {words.happened}", width),
        [
            line
            for name, pair in gradients.items()
            for heading, values in zip(("right", "with this mistake"), pair, strict=True)
            for line in (Text(f"{name}, {heading}"), *_matrix(values))
        ],
    ]


def _matrix(values: Array) -> Section:
    """The numbers, indented."""
    rows = np.atleast_2d(values)
    decimals = decimals_for(rows.ravel().tolist(), DIGITS)
    columns = [[in_column(value + 0.0, decimals, DIGITS) for value in column] for column in rows.T.tolist()]
    widest = max(len(cell) for column in columns for cell in column)
    return matrix([Column(column, least=widest) for column in columns], labels=[Column([""] * len(rows))])
