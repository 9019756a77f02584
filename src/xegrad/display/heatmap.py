"""A matrix as a map: a cell for each entry or block of entries, with a sign, and a ground or a shade for its size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.text import Text

from xegrad.display.blocks import Column, Figure, Paragraph, Section, Table
from xegrad.display.page import HEATMAP_ROWS, PageSettings
from xegrad.display.shading import legend, quarter, shade
from xegrad.display.terminal import of_block
from xegrad.display.themes import QUARTERS
from xegrad.naming import class_in_short, input_in_short, printable
from xegrad.problem import Problem
from xegrad.targets import Array
from xegrad.vocabulary import AXES, SYMBOLS

# The four shades, zero, infinity, and the end of a name that is cut.
GLYPHS, ASCII_GLYPHS = ("░▒▓█", "·", "∞", "…"), (".:*#", ".", "!", "~")
MEANINGS = ("zero", "infinite", "not a number")
LONGEST_LABEL = 12
CELL = 2  # a sign and a shade


def heatmap(
    values: Array,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    width: int,
    colored: bool = False,
    ascii: bool = False,
    marked: Any = None,
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
        Rows and columns of which all entries are marked have a sign beside their names.
    """
    values = np.atleast_2d(np.asarray(values, dtype=np.float64))
    tall = -(-values.shape[0] // HEATMAP_ROWS)
    row_names = _blocks(_with_signs(rows, marked, 1, ascii=ascii), tall)
    label = min(LONGEST_LABEL, max(map(len, row_names)))
    wide = -(-values.shape[1] // max(1, (width - label) // (CELL + 1)))
    column_names = _blocks(_with_signs(columns, marked, 0, ascii=ascii), wide)
    shades, zero, infinite, ending = ASCII_GLYPHS if ascii else GLYPHS
    finite = np.abs(values[np.isfinite(values)])
    largest = float(finite.max()) if finite.size else 0.0

    def cell(value: float) -> Text:
        """A sign, and how large it is."""
        if np.isnan(value):
            return Text("??", style="not-finite")
        if value == 0:
            return Text(zero, style="zero")
        sign = "+" if value > 0 else "-"
        if np.isinf(value):
            return Text(sign + infinite, style="not-finite")
        return Text(
            sign + (" " if colored else shades[quarter(value, largest) - 1]), style=shade(value, largest)
        )

    longest = max(map(len, column_names))
    span = max(CELL, longest) if (longest + 1) * len(column_names) <= width - label else CELL
    shown = _largest_of_blocks(values, tall, wide)
    cells = [list(map(cell, column)) for column in shown.T.tolist()]
    names = Column([cut(name, label, ending) for name in row_names], least=label)
    header = _header(column_names, label, span)
    table = of_block(Table([Column(column, least=span) for column in cells], [names], gap=1), width)
    below: list[Text] = [legend(largest)] if colored and largest else []
    if largest and not colored:
        ends = [f"{glyph} to {largest * k / 4:.3g}" for k, glyph in zip(QUARTERS, shades, strict=True)]
        below.append(Text("   ".join(ends)))
    signs = {zero: shown == 0, infinite: np.isinf(shown), "??": np.isnan(shown)}
    meanings = (f"{sign} {MEANINGS[k]}" for k, (sign, where) in enumerate(signs.items()) if where.any())
    if known := "   ".join(meanings):
        below.append(Text(known))
    section: Section = [Figure([header, *table, *below])]
    if tall * wide > 1:
        most = f"{min(tall, values.shape[0])} x {min(wide, values.shape[1])}"
        section.append(Paragraph(f"each cell: the largest of {most} entries, by magnitude"))
    return section


def _with_signs(names: Sequence[str], marked: Array | None, axis: int, *, ascii: bool) -> list[str]:
    """The names, with a sign before those of which all entries are marked, unless all of them are."""
    if marked is None:
        return [*names]
    guilty: list[bool] = [*np.all(marked, axis=axis)]
    sign = "!" if ascii else "▸"
    if all(guilty):
        return [*names]
    return [f"{sign if is_guilty else ''}{name}" for name, is_guilty in zip(names, guilty, strict=True)]


def gradient_map(
    problem: Problem, name: str, values: Array, page: PageSettings, marked: Any = None
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
        marked=None if marked is None else np.atleast_2d(marked),
    )


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
        return Text(" " * label + "".join(f" {name:>{span}}" for name in names), style="heading")
    room = len(names) * (span + 1) - 1
    first, last = names[0], names[-1]
    if len(first) + len(last) + 4 > room:
        return Text(f"{'':{label}} {cut(first, room, '~')}", style="heading")
    return Text(f"{'':{label}} {first}{' .. ':^{room - len(first) - len(last)}}{last}", style="heading")


def cut(name: str, length: int, ending: str = "…") -> str:
    """The name, or as much of it as fits."""
    return name if len(name) <= length else name[: length - 1] + ending
