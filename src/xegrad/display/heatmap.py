"""A matrix as a heat map in text: blue below zero, orange above, and signs that need no colour."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.text import Text

from xegrad.display.blocks import Column, Figure, Table
from xegrad.display.page import HEATMAP_ROWS, PageSettings
from xegrad.display.terminal import of_block
from xegrad.naming import class_in_short, printable
from xegrad.problem import Problem
from xegrad.targets import Array
from xegrad.vocabulary import AXES, SYMBOLS

# The ends of a diverging palette that colour-blind people can tell apart (ColorBrewer's PuOr and RdBu), in
# tones that show on dark and on light ground; how far from zero a number is, is told by the glyph.
NEGATIVE, POSITIVE, NEUTRAL = "#2b83ba", "#e66101", "zero"
# The four shades, zero, infinity, and the end of a name that is cut.
GLYPHS, ASCII_GLYPHS = ("░▒▓█", "·", "∞", "…"), (".:*#", ".", "!", "~")
LONGEST_LABEL = 12
CELL = 2  # a sign and a shade


def heatmap(
    values: Array, *, rows: Sequence[str], columns: Sequence[str], width: int, ascii: bool = False
) -> Figure:
    """A cell for each entry: its sign, and a shade for each quarter of the largest magnitude.

    Of a matrix that is larger than the screen each cell is a block of entries, of which it shows the one of
    the largest magnitude; the last line says so.

    Parameters
    ----------
    values : (len(rows), len(columns))
    """
    values = np.atleast_2d(np.asarray(values, dtype=np.float64))
    tall = -(-values.shape[0] // HEATMAP_ROWS)
    row_names = _blocks(rows, tall)
    label = min(LONGEST_LABEL, max(map(len, row_names)))
    wide = -(-values.shape[1] // max(1, (width - label) // (CELL + 1)))
    column_names = _blocks(columns, wide)
    shades, zero, infinite, ending = ASCII_GLYPHS if ascii else GLYPHS
    finite = np.abs(values[np.isfinite(values)])
    largest = float(finite.max()) if finite.size else 0.0

    def glyph(value: float) -> Text:
        """A sign and a shade, in their colour."""
        if np.isnan(value):
            return Text("??", style="name")
        if value == 0:
            return Text(zero, style=NEUTRAL)
        sign, style = ("+", POSITIVE) if value > 0 else ("-", NEGATIVE)
        if np.isinf(value):
            return Text(sign + infinite, style=f"bold {style}")
        # A quarter's upper end belongs to it, as the legend says; next to nothing is still not zero.
        quarter = int(np.ceil(4 * (abs(value) / largest))) - 1
        return Text(sign + shades[min(max(quarter, 0), 3)], style=style)

    longest = max(map(len, column_names))
    span = max(CELL, longest) if (longest + 1) * len(column_names) <= width - label else CELL
    cells = _largest_of_blocks(values, tall, wide).T.tolist()
    columns_of_glyphs = [Column(list(map(glyph, column)), least=span) for column in cells]
    names = Column([cut(name, label, ending) for name in row_names], least=label)
    cells = of_block(Table(columns_of_glyphs, [names], gap=1), width)
    lines = [_header(column_names, label, span), *cells]
    legend = (
        ("-", NEGATIVE, "below 0", values < 0),
        ("+", POSITIVE, "above 0", values > 0),
        (zero, NEUTRAL, "0", values == 0),
        (infinite, "name", "infinite", np.isinf(values)),
        ("??", "name", "not a number", np.isnan(values)),
    )
    signs = [
        Text.assemble((sign, style), f" {meaning}") for sign, style, meaning, where in legend if where.any()
    ]
    lines.append(Text("   ").join(signs))
    if largest:
        ends = [f"{shade} to {largest * quarter / 4:.3g}" for quarter, shade in enumerate(shades, start=1)]
        lines.append(Text("   ".join(ends)))
    if tall * wide > 1:
        most = f"{min(tall, values.shape[0])} x {min(wide, values.shape[1])}"
        lines.append(Text(f"each cell: the largest of {most} entries, by magnitude"))
    return Figure(lines)


def gradient_map(problem: Problem, name: str, values: Array, page: PageSettings) -> Figure:
    """A gradient as a heat map, its rows and columns named by what they count."""
    axes = AXES[name]
    sizes = {"input": problem.n_inputs, "class": problem.n_classes, "row": problem.n_rows}

    def names(axis: str) -> list[str]:
        if axis == "class":
            return [class_in_short(problem, index) for index in range(problem.n_classes)]
        name = f"{axis} " if sizes[axis] <= HEATMAP_ROWS else ""
        return [f"{name}{index}" for index in range(sizes[axis])]

    rows = names(axes[0]) if len(axes) > 1 else [SYMBOLS[name]]
    return heatmap(values, rows=rows, columns=names(axes[-1]), width=page.width, ascii=page.ascii)


def _blocks(names: Sequence[str], size: int) -> list[str]:
    """The names of blocks of so many: the first and the last of each."""
    ends = [(names[start], names[min(start + size, len(names)) - 1]) for start in range(0, len(names), size)]
    return [printable(first if first == last else f"{first}-{last}") for first, last in ends]


def _largest_of_blocks(values: Array, tall: int, wide: int) -> Array:
    """The entry of the largest magnitude of each block, and of two the positive one; NaN where there is any."""
    rows, columns = np.arange(0, values.shape[0], tall), np.arange(0, values.shape[1], wide)
    highest, lowest = (
        extreme.reduceat(extreme.reduceat(values, rows), columns, axis=1)
        for extreme in (np.maximum, np.minimum)
    )
    return np.where(-lowest > highest, lowest, highest)


def _header(names: Sequence[str], label: int, span: int) -> Text:
    """Each name above its column; where they do not fit, the first and the last above the ends."""
    if max(map(len, names)) <= span:
        return Text(" " * label + "".join(f" {name:>{span}}" for name in names), style="name")
    room = len(names) * (span + 1) - 1
    first, last = names[0], names[-1]
    if len(first) + len(last) + 4 > room:
        return Text(f"{'':{label}} {cut(first, room, '~')}", style="name")
    return Text(f"{'':{label}} {first}{' .. ':^{room - len(first) - len(last)}}{last}", style="name")


def cut(name: str, length: int, ending: str = "…") -> str:
    """The name, or as much of it as fits."""
    return name if len(name) <= length else name[: length - 1] + ending
