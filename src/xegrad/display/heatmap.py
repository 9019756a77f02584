"""A matrix as a map: a cell for each entry or block of entries, with a sign, and a ground or a shade for its size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from rich.cells import cell_len
from rich.text import Text

from xegrad.display.blocks import Column, Figure, Paragraph, Section, Table
from xegrad.display.page import HEATMAP_ROWS, PageSettings
from xegrad.display.shading import legend, quarter, shade
from xegrad.display.terminal import of_block
from xegrad.display.themes import QUARTERS
from xegrad.inert import cut, in_ascii, inert
from xegrad.naming import class_in_short, input_in_short
from xegrad.problem import Problem
from xegrad.targets import Array
from xegrad.vocabulary import AXES, SYMBOLS

# The four shades, zero, infinity, the end of a name that is cut, and the marks of a row and of a column.
GLYPHS, ASCII_GLYPHS = ("░▒▓█", "·", "∞", "…", "▸", "▾"), (".:*#", ".", "!", "~", ">", "v")
WHOLE = "wrong in every entry"  # a row or column that is marked
LONGEST_LABEL = 20
CELL, WIDEST = 2, 6  # columns of a cell: a sign and a shade at least


def heatmap(
    values: Array,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    width: int,
    colored: bool = False,
    ascii: bool = False,
    marked: Any = False,
    zero: str = "zero",
) -> Section:
    """A cell for each entry: its sign, and a ground or a shade for each quarter of the largest magnitude.

    Of a matrix that is larger than the screen each cell is a block of entries, of which it shows the one of
    the largest magnitude; the last line says so.

    Parameters
    ----------
    values : (len(rows), len(columns))
    colored : bool
        Grounds of colours; else shades.
    marked : (len(rows), len(columns)) of booleans
        Rows and columns of which all entries are marked have a sign beside their names, and blocks with one of them.
    zero : str
        What it says of an entry that is zero.
    """
    values = np.atleast_2d(np.asarray(values, dtype=np.float64))
    glyphs = ASCII_GLYPHS if ascii else GLYPHS
    *_, ending, of_row, of_column = glyphs
    rows, columns = (list(map(in_ascii, names)) if ascii else names for names in (rows, columns))
    marked = np.broadcast_to(marked, values.shape)
    tall = -(-values.shape[0] // HEATMAP_ROWS)
    row_names = _with_marks(_blocks(rows, tall), _wholly_marked(marked, 1, tall), of_row)
    label, gap = min(LONGEST_LABEL, width // 4, max(map(cell_len, row_names))), 0 if colored else 1
    room = width - label - 1
    wide = -(-values.shape[1] // max(1, (room + gap) // (CELL + gap)))
    column_names, wholly = _blocks(columns, wide), _wholly_marked(marked, 0, wide)
    headings = _with_marks(column_names, wholly, of_row)
    span, above = max(CELL, *map(cell_len, headings)), []
    if (span + 1) * len(headings) <= room + 1:
        gap = 1
    else:
        span = min(WIDEST, (room + gap) // len(headings) - gap)
        headings = [""] * len(headings)
        above = [_ends(column_names, label, len(wholly) * (span + gap) - gap)]
        if any(wholly):
            marks = "".join(f"{of_column if is_wholly else '':{span + gap}}" for is_wholly in wholly)
            above.append(Text(f"{'':{label + 1}}{marks}", style="heading"))
    shown = _largest_of_blocks(values, tall, wide)
    largest = float(np.abs(values).max(initial=0, where=np.isfinite(values)))
    cells = [
        Column([_cell(value, largest, glyphs, colored=colored, span=span) for value in column], heading)
        for column, heading in zip(shown.T.tolist(), headings, strict=True)
    ]
    margin = " " * (1 - gap)
    names = Column([f"{cut(name, label, ending)}{margin}" for name in row_names])
    table = of_block(Table(cells, [names], gap=gap), width)
    scale = [legend(largest)] if colored and largest else []
    section: Section = [Figure([*above, *table, *scale])]
    section += map(Paragraph, _meanings(shown, largest, glyphs, zero, has_shades=not colored))
    if any(of_row in name for name in (*row_names, *headings)):
        section.append(Paragraph(f"{of_row} {WHOLE}"))
    if tall * wide > 1:
        most = f"{min(tall, values.shape[0])} x {min(wide, values.shape[1])}"
        section.append(Paragraph(f"each cell: the largest of {most} entries, by magnitude"))
    return section


def _cell(value: float, largest: float, glyphs: Sequence[str], *, colored: bool, span: int) -> Text:
    """The sign of a number, and how large it is."""
    shades, zero, infinite, *_ = glyphs
    sign = "+" if value > 0 else "-"
    if np.isnan(value):
        text = "??"
    elif value == 0:
        text = f"{zero} " if colored else zero
    elif np.isinf(value):
        text = sign + infinite
    else:
        text = sign + (" " if colored else shades[quarter(value, largest) - 1])
    return Text(f"{text:>{span}}", style=shade(value, largest))


def _meanings(
    shown: Array, largest: float, glyphs: Sequence[str], zero: str, *, has_shades: bool
) -> Iterator[str]:
    """What the shades say, if there are any, and the other signs that are there."""
    shades, nothing, infinite, *_ = glyphs
    if largest and has_shades:
        ends = zip(QUARTERS, shades, strict=True)
        yield "   ".join(f"{glyph} to {largest * k / 4:.3g}" for k, glyph in ends)
    signs = {
        f"{nothing} {zero}": shown == 0,
        f"{infinite} infinite": np.isinf(shown),
        "?? not a number": np.isnan(shown),
    }
    if known := [meaning for meaning, where in signs.items() if where.any()]:
        yield "   ".join(known)


def gradient_map(
    problem: Problem, name: str, values: Array, page: PageSettings, marked: Any = False, zero: str = "zero"
) -> Section:
    """A gradient as a map, its rows and columns named by what they count."""
    axes = AXES[name]
    sizes = {"input": problem.n_inputs, "class": problem.n_classes, "row": problem.n_rows}

    def names(axis: str) -> list[str]:
        if axis == "class":
            return [class_in_short(problem, index) for index in range(problem.n_classes)]
        if axis == "input" and (problem.input_names is not None or sizes[axis] <= HEATMAP_ROWS):
            return [input_in_short(problem, index) for index in range(problem.n_inputs)]
        name = f"{axis} " if sizes[axis] <= HEATMAP_ROWS else ""
        return [f"{name}{index}" for index in range(sizes[axis])]

    rows = names(axes[0]) if len(axes) > 1 else [SYMBOLS[name]]
    return heatmap(
        values,
        rows=rows,
        columns=names(axes[-1]),
        width=page.width,
        colored=page.heatmaps,
        ascii=page.ascii,
        marked=marked,
        zero=zero,
    )


def _blocks(names: Sequence[str], size: int) -> list[str]:
    """The names of blocks of so many: the first and the last of each."""
    ends = [(names[start], names[min(start + size, len(names)) - 1]) for start in range(0, len(names), size)]
    return [inert(first if first == last else f"{first}-{last}") for first, last in ends]


def _wholly_marked(marked: Any, axis: int, size: int) -> list[bool]:
    """Of the blocks of so many rows or columns, whether all entries of any of these are marked, but not of all."""
    wholly = marked.all(axis=axis)
    blocks = np.logical_or.reduceat(wholly & ~wholly.all(), np.arange(0, wholly.size, size))
    return [*map(bool, blocks)]


def _with_marks(names: Sequence[str], wholly: Sequence[bool], mark: str) -> list[str]:
    """The names, with a mark before those that are wholly marked."""
    return [f"{mark}{name}" if is_wholly else name for name, is_wholly in zip(names, wholly, strict=True)]


def _largest_of_blocks(values: Array, tall: int, wide: int) -> Array:
    """The entry of the largest magnitude of each block, and of two the positive one; NaN where there is any."""
    rows, columns = np.arange(0, values.shape[0], tall), np.arange(0, values.shape[1], wide)
    highest, lowest = (
        extreme.reduceat(extreme.reduceat(values, rows), columns, axis=1)
        for extreme in (np.maximum, np.minimum)
    )
    return np.where(-lowest > highest, lowest, highest)


def _ends(names: Sequence[str], label: int, room: int) -> Text:
    """The names of the first and the last column above these, as far as there is room."""
    first, last = names[0], names[-1]
    free = room - cell_len(first) - cell_len(last)
    between = f"{first}{' .. ':^{free}}{last}" if free >= len(" .. ") else cut(first, room, "~")
    return Text(f"{'':{label}} {between}", style="heading")
