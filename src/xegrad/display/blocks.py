"""What every view is made of, whatever it is written on: verdicts, paragraphs, tables, lines of code, figures.

`terminal` lays them out in columns, and `web` as elements of a page.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import msgspec
from rich.cells import cell_len
from rich.text import Text

GAP = 2  # columns between two columns

# Of a verdict: a sign that needs no colour, and the one that ASCII has; its kind is the style of its first word.
RIGHT, NEARLY, WRONG, UNDECIDED, DONE = "right", "nearly", "wrong", "undecided", "done"
SIGNS = {
    RIGHT: ("✓", "+"),
    NEARLY: ("≈", "~"),
    WRONG: ("✗", "x"),
    UNDECIDED: ("?", "?"),
    DONE: ("•", "*"),
}


class Verdict(msgspec.Struct, frozen=True):
    """A sentence whose beginning, up to a colon or what is in brackets, says what came out."""

    kind: str  # one of SIGNS
    sentence: str

    @property
    def outcome(self) -> str:
        """Its beginning."""
        return re.split(r":| \(", self.sentence, maxsplit=1)[0]


class Heading(msgspec.Struct, frozen=True):
    """The title of a part, and beside it what is said of it in short."""

    title: str
    note: str = ""


class Paragraph(msgspec.Struct, frozen=True):
    """Wrapped text: its first line begins with the label, the others are indented by as much."""

    text: Text | str
    label: str = ""
    style: str = ""

    @property
    def styled(self) -> Text:
        """The text in its style."""
        if isinstance(self.text, Text):
            return self.text
        return Text(self.text, style=self.style)


class Column(msgspec.Struct, frozen=True):
    """The cells of a column and its heading; numbers stand at the right, and names are cut where there is no room."""

    cells: Sequence[Text | str]
    heading: str = ""
    left: bool = False
    least: int = 0  # columns that it takes at least
    names: bool = False

    @property
    def width(self) -> int:
        """Columns of the longest cell."""
        cells = (cell.cell_len if isinstance(cell, Text) else cell_len(cell) for cell in self.cells)
        return max(self.least, cell_len(self.heading), *cells)


class Table(msgspec.Struct, frozen=True):
    """Columns below their headings; where they are too wide, the others go on below, with the labels again.

    Numbers are shown whole: what is cut, where even one column is too wide, is labels and headings.
    """

    columns: Sequence[Column]
    labels: Sequence[Column] = ()
    gap: int = GAP


class Formula(msgspec.Struct, frozen=True):
    """Equations, aligned at their signs of equality: those in symbols, each on a line, and then those in numbers."""

    symbols: str
    numbers: Sequence[str] = ()

    @property
    def lines(self) -> list[tuple[str, str, str]]:
        """Of each equation its style, what is to the left of its sign, and the rest; or all of it, and nothing."""
        symbols = self.symbols.splitlines()
        equations = [("formula", line) for line in symbols] + [("", line) for line in self.numbers]
        split = ((style, *re.split("(?= (?:[=≈≤~]|<=) )", line, maxsplit=1)) for style, line in equations)
        return [(style, left, "".join(right)) for style, left, *right in split]


class Listing(msgspec.Struct, frozen=True):
    """Columns side by side, and beside them remarks that are wrapped."""

    columns: Sequence[Column]
    remarks: Sequence[str]


class Replacement(msgspec.Struct, frozen=True):
    """The lines of code that are wrong, and those to write instead of them."""

    wrong: str
    right: str


class Figure(msgspec.Struct, frozen=True):
    """Lines that are drawn with characters."""

    lines: Sequence[Text]


class Plot(msgspec.Struct, frozen=True):
    """Losses, one for each step, as a curve."""

    values: Sequence[float]


class Beside(msgspec.Struct, frozen=True):
    """Two views side by side where the page is wide enough for both, else one below the other."""

    left: View
    right: View


Block: TypeAlias = (
    Verdict | Heading | Paragraph | Formula | Table | Listing | Replacement | Figure | Plot | Beside
)
Section: TypeAlias = "list[Block]"
View: TypeAlias = "list[Section]"  # with an empty line between two of them


def with_texts(part: Any, change: Callable[[str], str]) -> Any:
    """A view, or a part of one, with all its texts changed; styles stay where they are."""
    match part:
        case str():
            return change(part)
        case Text():
            return part if change(part.plain) == part.plain else _changed(part, change)
        case Plot():
            return part
        case msgspec.Struct():
            fields = part.__struct_fields__
            return type(part)(**{name: with_texts(getattr(part, name), change) for name in fields})
        case list() | tuple():
            return [with_texts(one, change) for one in part]
    return part


def _changed(text: Text, change: Callable[[str], str]) -> Text:
    """Its pieces between the ends of styles, each changed by itself."""
    edges = sorted({0, len(text), *(edge for span in text.spans for edge in (span.start, span.end))})
    pieces = [change(text.plain[start:end]) for start, end in itertools.pairwise(edges)]
    moved = dict(zip(edges, itertools.accumulate(map(len, pieces), initial=0), strict=True))
    spans = [span._replace(start=moved[span.start], end=moved[span.end]) for span in text.spans]
    return Text("".join(pieces), style=text.style, spans=spans)
