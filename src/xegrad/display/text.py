"""What every view is made of: sections of lines, wrapped text, and columns side by side."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence

import msgspec
from rich.cells import cell_len
from rich.text import Text

Section = list[Text]  # lines
View = list[Section]  # with an empty line between two of them

NARROWEST = 20  # columns of wrapped text beside its indentation
GAP = 2  # columns between two columns


def wrap(text: str, width: int, first: str = "", rest: str | None = None, style: str = "") -> Section:
    """The text in lines: the first begins with `first`, and the others with `rest` or as many blanks.

    A word that is longer than a line stays whole.
    """
    rest = " " * cell_len(first) if rest is None else rest
    width = max(width, cell_len(first) + NARROWEST)
    lines, line = [], first
    for blanks, word in re.findall(r"(\s*)(\S+)", text):
        longer = f"{line}{' ' * len(blanks)}{word}"
        if cell_len(longer) > width and line not in (first, rest):
            lines.append(line)
            line = rest + word
        else:
            line = longer
    return [Text(line.rstrip(), style=style) for line in (*lines, line)]


def headed(sentence: str, style: str, width: int) -> Section:
    """A sentence whose beginning, up to the colon, is in a style."""
    first, *rest = wrap(sentence, width)
    first.stylize(style, 0, sentence.index(":"))
    return [first, *rest]


def listing(columns: Sequence[Column], remarks: Sequence[str], width: int) -> Section:
    """Columns side by side, and beside them remarks that are wrapped."""
    starts = [Column(column.cells, column.heading, left=True, least=column.least) for column in columns]
    taken = sum(column.width + GAP for column in starts)
    lines = []
    for start, remark in zip(matrix(starts), remarks, strict=True):
        first, *rest = wrap(remark, width - taken)
        start.pad_right(taken - start.cell_len)
        start.append(first)
        start.rstrip()
        lines += [start, *(Text(" " * taken).append(line) for line in rest)]
    return lines


def code(wrong: str, right: str, width: int, label: int = 13) -> Section:
    """The lines that are wrong, and those to write instead of them, each beside a label of so many columns."""
    return [
        part
        for name, lines in (("instead of", wrong), ("write", right))
        for k, line in enumerate(lines.splitlines())
        for part in wrap(line, width, f"    {name if k == 0 else '':{label}}")
    ]


class Column(msgspec.Struct, frozen=True):
    """The cells of a column and its heading; numbers stand at the right."""

    cells: Sequence[Text | str]
    heading: str = ""
    left: bool = False
    least: int = 0  # columns that it takes at least

    @property
    def width(self) -> int:
        """Columns of the longest cell."""
        cells = (cell.cell_len if isinstance(cell, Text) else cell_len(cell) for cell in self.cells)
        return max(self.least, cell_len(self.heading), *cells)

    @property
    def lines(self) -> list[Text]:
        """The heading and the cells, each as wide as the column."""
        width, left = self.width, self.left
        texts = [Text(self.heading, style="bold")]
        texts += [cell.copy() if isinstance(cell, Text) else Text(cell) for cell in self.cells]
        for text in texts:
            (text.pad_right if left else text.pad_left)(width - text.cell_len)
        return texts


def matrix(
    columns: Sequence[Column], *, labels: Sequence[Column] = (), width: float = math.inf, gap: int = GAP
) -> Section:
    """Columns below their headings; where they are wider than `width`, in bands that each begin with the labels."""
    lines: Section = []
    for band in bands(columns, labels, width, gap):
        shown = [*labels, *band]
        header, *rows = zip(*(column.lines for column in shown), strict=True)
        if any(column.heading for column in shown):
            lines += [Text()] * bool(lines)
            rows.insert(0, header)
        for row in rows:
            line = Text(" " * gap).join(row)
            line.rstrip()
            lines.append(line)
    return lines


def bands(
    columns: Sequence[Column], labels: Sequence[Column] = (), width: float = math.inf, gap: int = GAP
) -> Iterator[Sequence[Column]]:
    """As many columns at a time as fit beside the labels, and at least one."""
    taken = sum(column.width + gap for column in labels) - gap
    start, used = 0, taken
    for k, column in enumerate(columns):
        used += column.width + gap
        if used > width and k > start:
            yield columns[start:k]
            start, used = k, taken + column.width + gap
    yield columns[start:]
