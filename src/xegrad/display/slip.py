"""The page of a slip, as a linter has for its rules."""

from __future__ import annotations

from msgspec.structs import replace
from rich.text import Text

from xegrad.display.blocks import Beside, Column, Heading, Listing, Paragraph, Replacement, View
from xegrad.display.matrix import gradient_matrix
from xegrad.display.page import PageSettings
from xegrad.slip_page import Page
from xegrad.slips import SLIPS
from xegrad.targets import Array
from xegrad.vocabulary import SYMBOLS

DIGITS = 5


def slips_view() -> View:
    """The catalogue: the name of each slip, and what it is."""
    names = [Text(name, style="slip") for name in SLIPS]
    return [
        [
            Heading("slips", "what verify can name; xegrad slips NAME explains one"),
            Listing([Column(names)], [slip.sentence for slip in SLIPS.values()]),
        ]
    ]


def slip_view(slip_page: Page, page: PageSettings) -> View:
    """What it is, how it comes about, the two lines of code, and what it does to a gradient."""
    slip, words = slip_page.slip, slip_page.explanation
    gradients = {slip_page.name: (slip_page.right, slip_page.wrong)}
    if slip_page.residuals is not None:
        gradients = {"logits": slip_page.residuals, **gradients}
    fields = {"computed": slip_page.formula, "how": slip.cause, "remedy": words.remedy}
    names = [Text(name, style="name") for name in fields]

    def half(name: str, said: str, values: Array) -> View:
        symbol = "Z" if name == "logits" else SYMBOLS[name]
        title = Paragraph(Text(f"dL/d{symbol}, {said}", style="title"))
        return [[title, *gradient_matrix(slip_page.problem, name, values, replace(page, digits=DIGITS))]]

    view: View = [
        [Heading(slip.name), Paragraph(slip.sentence)],
        [Listing([Column(names)], list(fields.values()))],
        [Replacement(words.wrong, words.right)],
        [Paragraph(f"On {slip_page.problem_name}: {words.happened}")],
    ]
    for name, (right, wrong) in gradients.items():
        view.append([Beside(half(name, "right", right), half(name, "with this mistake", wrong))])
    return view
