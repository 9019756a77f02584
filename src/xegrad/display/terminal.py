"""Blocks as lines of characters: wrapped text, columns side by side, bands where they are too wide."""

from __future__ import annotations

import itertools
import math
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from msgspec.structs import replace
from rich.cells import cell_len
from rich.text import Text

from xegrad import inert
from xegrad.display.blocks import (
    GAP,
    SIGNS,
    Beside,
    Block,
    Column,
    Figure,
    Formula,
    Heading,
    Listing,
    Paragraph,
    Plot,
    Replacement,
    Table,
    Verdict,
    View,
    with_texts,
)
from xegrad.display.plot import drawn
from xegrad.inert import cut
from xegrad.naming import SHORTEST

Lines = list[Text]

# What takes the place of characters that an ASCII terminal lacks.
PLAIN = str.maketrans(
    {"↳": "!", "·": "*", "Σ": "Sum", "≤": "<=", "≈": "~", "≠": "!=", "…": "~", "×": "x", "—": "-"}
)

NARROWEST, WIDEST = (
    20,
    100,
)  # columns of wrapped text: beside its indentation, and of lines that are easy to read
LONGEST_NUMBER = 25  # columns of one with all its digits, a sign, an exponent, and what stands behind it
WIDE, BETWEEN = 110, 4  # columns of a page that holds two views, and between them


def lines(view: View, width: int, *, ascii: bool = False) -> Lines:
    """A view for so many columns, with an empty line between two sections; texts from outside do nothing in it."""
    spelled = partial(_in_ascii if ascii else inert.inert, keeping="\n")
    return _laid_out(with_texts(view, spelled), width, ascii=ascii)


def _laid_out(view: View, width: int, *, ascii: bool) -> Lines:
    laid_out: Lines = []
    for section in view:
        if not section:
            continue
        laid_out += [Text()] * bool(laid_out)
        for block in section:
            laid_out += of_block(block, width, ascii=ascii)
    return list(map(_stripped, laid_out))


def _in_ascii(text: str, keeping: str) -> str:
    """The text with our signs as ASCII has them, and what else ASCII lacks spelled out, before it takes its columns."""
    return text if text.isascii() else inert.in_ascii(inert.inert(text, keeping).translate(PLAIN))


def of_block(block: Block, width: int, *, ascii: bool = False) -> Lines:
    """The lines of one block."""
    match block:
        case Verdict():
            return _verdict(block, width, ascii=ascii)
        case Heading():
            return _rule(block, width, ascii=ascii)
        case Paragraph():
            first, *rest = wrapped(block.styled, width, block.label, " " * cell_len(block.label))
            if block.label[:1].strip() and not block.style:
                first.stylize("title", 0, len(block.label.rstrip()))
            return [first, *rest]
        case Formula():
            return _formula(block, width)
        case Table():
            return _table(block, width, ascii=ascii)
        case Listing():
            return _listing(block, width)
        case Replacement():
            return _replacement(block, width)
        case Figure():
            return [*block.lines]
        case Plot():
            return drawn(block, width, ascii=ascii)
        case Beside():
            return _beside(block, width, ascii=ascii)


def wrapped(text: Text, width: int, first: str = "", rest: str = "") -> Lines:
    """The text in lines: the first begins with `first`, and the others with `rest`; styles are kept.

    A word that is longer than a line goes on in the next, and a number never.
    """
    width = max(min(width, WIDEST), cell_len(first) + NARROWEST)
    text = text.copy()
    text.plain = text.plain.replace("\n", " ")
    places: list[tuple[int, int]] = []  # of each line in the text
    taken = cell_len(first)
    for start, end in _words(text.plain, max(width - max(map(cell_len, (first, rest))), LONGEST_NUMBER)):
        if places and taken + cell_len(text.plain[places[-1][1] : end]) <= width:
            taken += cell_len(text.plain[places[-1][1] : end])
            places[-1] = places[-1][0], end
        else:
            taken = cell_len(rest if places else first) + cell_len(text.plain[start:end])
            places.append((start, end))
    lines = [text[start:end] for start, end in places] or [Text()]
    return [
        _stripped(Text.assemble((rest if k else first, text.style), line)) for k, line in enumerate(lines)
    ]


def _words(text: str, most: int) -> Iterator[tuple[int, int]]:
    """Where each word begins and ends, and each part of one that takes more columns."""
    for match in re.finditer(r"\S+", text):
        start, taken = match.start(), 0
        for k in range(*match.span()) if cell_len(match[0]) > most else ():
            taken += cell_len(text[k])
            if taken > most:
                yield start, k
                start, taken = k, cell_len(text[k])
        yield start, match.end()


def _stripped(line: Text) -> Text:
    """Without the blanks at its end, but for those that have a ground of their own."""
    end = len(line.plain.rstrip())
    shaded = (span.end for span in line.spans if str(span.style).startswith(("above", "below", "not-finite")))
    return line[: max([end, *shaded])]


def _verdict(verdict: Verdict, width: int, *, ascii: bool) -> Lines:
    """Its sign, its first word in colour, and the sentence below it aligned."""
    sign, plain = SIGNS[verdict.kind]
    text = Text(verdict.sentence)
    text.stylize(verdict.kind, 0, len(verdict.outcome))
    sign = plain if ascii else sign
    first, *rest = wrapped(text, width, f"{sign} ", "  ")
    first.stylize(verdict.kind, 0, len(sign))
    return [first, *rest]


def _rule(heading: Heading, width: int, *, ascii: bool) -> Lines:
    """A line across the page with the title in it, and the note, which stands below where the page is narrow."""
    line = "-" if ascii else "─"
    text = Text.assemble((line * 2, "aside"), " ", (heading.title, "title"))
    is_narrow = text.cell_len + 2 + cell_len(heading.note) > width
    if heading.note and not is_narrow:
        text.append(f"  {heading.note}")
    text.append(f" {line * (width - text.cell_len - 1)}", style="aside")
    return [text, *wrapped(Text(heading.note), width, "   ", "   ")] if is_narrow else [text]


def _formula(formula: Formula, width: int) -> Lines:
    """The equations, each wrapped to the right of its first sign of equality."""
    most = max((cell_len(left) for _, left, right in formula.lines if right), default=0)
    laid_out = []
    for style, left, right in formula.lines:
        if right and most <= width // 2 - NARROWEST // 2:
            sign, value = right[: right.index(" ", 1) + 1], right[right.index(" ", 1) + 1 :]
            start = f"    {' ' * (most - cell_len(left))}{left}{sign}"
            laid_out += wrapped(Text(value, style=style), width, start, " " * cell_len(start))
        else:
            laid_out += wrapped(Text(left + right, style=style), width, "    ", " " * 6)
    return laid_out


def _beside(pair: Beside, width: int, *, ascii: bool) -> Lines:
    """Both views beside each other if their tables fit so as they are, else one below the other."""
    for_left, for_right = map(_widest, (pair.left, pair.right))
    for_left = max(for_left, (width - BETWEEN - for_right) // 2)
    if width < WIDE or for_left + BETWEEN + for_right > width:
        return _laid_out([*pair.left, *pair.right], width, ascii=ascii)
    left = _laid_out(pair.left, for_left, ascii=ascii)
    taken = max(line.cell_len for line in left) + BETWEEN
    right = _laid_out(pair.right, width - taken, ascii=ascii)
    both = []
    for first, second in itertools.zip_longest(left, right, fillvalue=Text()):
        line = Text().append_text(first)  # whose style is not that of the whole line
        line.pad_right(taken - line.cell_len)
        both.append(_stripped(line.append_text(second)))
    return both


def width_beside(left: View, width: int) -> int:
    """The columns that a view has beside another, or below it where the page is too narrow for both."""
    beside = width - BETWEEN - _widest(left)
    return beside if width >= WIDE and beside >= 2 * NARROWEST else width


def _widest(view: View) -> int:
    """The columns of its widest table or figure, in one band."""
    widths = [
        max(line.cell_len for line in of_block(block, sys.maxsize))
        for section in view
        for block in section
        if isinstance(block, Table | Figure)
    ]
    return max(widths, default=0)


def _listing(listing: Listing, width: int) -> Lines:
    """Each row, and its remark beside it, or below it where there is no room."""
    starts = [
        Column(column.cells, column.heading, left=True, least=column.least) for column in listing.columns
    ]
    taken = sum(column.width + GAP for column in starts)
    lines: Lines = []
    for start, remark in zip(_rows(starts, GAP), listing.remarks, strict=True):
        if width - taken < NARROWEST:
            lines += [_stripped(start), *wrapped(Text(remark), width, " " * 4, " " * 4)]
            continue
        first, *rest = wrapped(Text(remark), min(width, WIDEST) - taken)
        start.pad_right(taken - start.cell_len)
        lines += [
            _stripped(Text.assemble(start, first)),
            *(Text(" " * taken).append_text(line) for line in rest),
        ]
    return lines


def _replacement(replacement: Replacement, width: int) -> Lines:
    """As a diff: what is taken out, and what is put in its place."""
    both = ("-", "removed", replacement.wrong), ("+", "added", replacement.right)
    return [
        part
        for sign, style, lines in both
        for line in lines.splitlines()
        for indent in [" " * (len(line) - len(line.lstrip()))]
        for part in wrapped(Text(line, style=style), width, f"    {sign} {indent}", f"      {indent}")
    ]


def _table(table: Table, width: int, *, ascii: bool) -> Lines:
    """The columns, in bands where they are wider than the width."""
    lines: Lines = []
    shortened = partial(cut, ending="~" if ascii else "…")
    numbers = max((Column(one.cells).width for one in table.columns if not one.names), default=0)
    labels = _narrowed(table.labels, width - numbers - table.gap * len(table.labels), shortened)
    room = width - sum(label.width + table.gap for label in labels)
    columns = [
        _narrowed([one], room, shortened)[0]
        if one.names
        else replace(one, heading=shortened(one.heading, max(room, numbers)))
        for one in table.columns
    ]
    for band in bands(columns, labels, width, table.gap):
        lines += [Text()] * bool(lines and any(column.heading for column in (*labels, *band)))
        lines += _rows([*labels, *band], table.gap)
    return lines


def _narrowed(labels: Sequence[Column], room: int, shortened: Callable[[str, int], str]) -> Sequence[Column]:
    """The labels cut to fit into the room together, the widest first; each keeps a few columns."""
    widths = [label.width for label in labels]
    if sum(widths) <= room:
        return labels
    most = next(
        (k for k in range(max(widths), SHORTEST, -1) if sum(min(k, w) for w in widths) <= room), SHORTEST
    )
    return [
        replace(
            label,
            cells=[
                cell if Column([cell]).width <= most else shortened(str(cell), most) for cell in label.cells
            ],
            heading=shortened(label.heading, most),
        )
        for label in labels
    ]


def _rows(columns: Sequence[Column], gap: int) -> Lines:
    """The headings, if there are any, and the rows below them."""
    header, *rows = zip(*map(_cells, columns), strict=True)
    if any(column.heading for column in columns):
        rows.insert(0, header)
    return [Text(" " * gap).join(row) for row in rows]


def _cells(column: Column) -> Lines:
    """The heading and the cells, each as wide as the column."""
    width = column.width
    texts = [Text(column.heading, style="heading")]
    texts += [cell.copy() if isinstance(cell, Text) else Text(cell) for cell in column.cells]
    for text in texts:
        (text.pad_right if column.left else text.pad_left)(width - text.cell_len)
    return texts


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
