"""A matrix of numbers with the names of its rows and columns: whole where it is small, else its edges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.cells import cell_len
from rich.text import Text

from xegrad.display.blocks import GAP, Column, Figure, Paragraph, Section, Table
from xegrad.display.numbers import NOTHING, aligned, decimals_for, in_column
from xegrad.display.page import EDGE, MATRIX_BANDS, MATRIX_ENTRIES, MATRIX_LINES, PageSettings
from xegrad.display.shading import legend, shade
from xegrad.display.terminal import bands
from xegrad.inert import cut
from xegrad.naming import class_within, input_within
from xegrad.problem import Problem
from xegrad.targets import Array
from xegrad.vocabulary import AXES, SYMBOLS

LEFT_OUT = "…"

Indices = NDArray[np.intp]
Names = Callable[[Any, int], str]  # what each index is called, in so many columns
LEAST = 8  # columns that the name of one has


def matrix(
    at: Callable[[Indices, Indices], Array],
    shape: tuple[int, int],
    names: tuple[Names, Names],
    page: PageSettings,
    *,
    corner: str = "",
    followed: tuple[int, int] = (0, 0),
    noise: NDArray[np.bool_] | None = None,
    with_legend: bool = True,
) -> Section:
    """The numbers `at` some rows and columns; of a matrix that is not shown whole its edges, and the place `followed`.

    Each is on a ground that says how large it is.
    """
    height, width = shape
    size = height * width
    for side in (size, EDGE, 2, 1) if size <= MATRIX_ENTRIES else (EDGE, 2, 1):
        rows, columns = kept(height, max(side, EDGE), followed[0]), kept(width, side, followed[1])
        values = at(rows, columns)
        open_ = None if noise is None else noise[np.ix_(rows, columns)]
        texts = aligned(values, page.digits, open_)
        table = _table(texts, values, rows, columns, names, page, corner)
        n_bands = len([*bands(table.columns, table.labels, page.width, table.gap)])
        if n_bands == 1 or (side == size and _is_short(table, page)):
            break
    section: Section = _with_legend(table, values, page) if with_legend else [table]
    if (texts == NOTHING).any():
        section.append(Paragraph(f"{NOTHING}: only rounding is left"))
    return section


def gradient_matrix(problem: Problem, name: str, values: Array, page: PageSettings) -> Section:
    """A gradient with its inputs, classes or rows; the classes of one example's target are marked >.

    Nothing of one that is too large for the page to be shown whole.
    """
    values = np.atleast_2d(values)
    if values.size > MATRIX_ENTRIES:
        return []
    down, across = AXES[name] if len(AXES[name]) > 1 else ("", AXES[name][0])
    marked = target_classes(problem)

    def of(axis: str) -> Names:
        if axis == "class":
            return lambda k, room: f"{'>' * int(marked[k])}{class_within(problem, k, room - int(marked[k]))}"
        if axis == "input":
            return lambda k, room: input_within(problem, k, room)
        return (lambda k, _: f"{axis} {k}") if axis else (lambda *_: SYMBOLS[name])

    every: tuple[Indices, Indices] = np.arange(values.shape[0]), np.arange(values.shape[1])
    decimals = decimals_for(values.ravel().tolist(), page.digits)
    texts = [[in_column(value, decimals, page.digits) for value in row] for row in values.tolist()]
    table = _table(np.array(texts, dtype=object), values, *every, (of(down), of(across)), page, "")
    return _with_legend(table, values, page) if _is_short(table, page) else []


def _is_short(table: Table, page: PageSettings) -> bool:
    """Whether it takes so few bands and lines that it can be taken in."""
    n_bands = len([*bands(table.columns, table.labels, page.width, table.gap)])
    n_lines = n_bands * (len(table.columns[0].cells) + 2) - 1  # with headings, and empty lines between
    return n_lines <= MATRIX_LINES and n_bands <= MATRIX_BANDS


def _with_legend(table: Table, values: Array, page: PageSettings) -> Section:
    """The table, and below its numbers what their grounds mean."""
    largest = _largest(values)
    if not (page.heatmaps and largest and values.size > 1):
        return [table]
    line = legend(largest)
    indent = min(table.labels[0].width + table.gap, page.width - line.cell_len)
    return [table, Figure([Text.assemble(" " * indent, line)])]


def target_classes(problem: Problem) -> NDArray[np.bool_]:
    """The classes of one example's target; of a label that alone, however it is smoothed; of a batch none."""
    label = int(problem.targets.label_of_rows[0])
    if problem.n_rows > 1:
        return np.zeros(problem.n_classes, dtype=bool)
    if label >= 0:
        return np.arange(problem.n_classes) == label
    return np.asarray(problem.targets.effective(problem.n_classes, problem.dtype)[0] != 0)


def _table(
    texts: Array,
    values: Array,
    rows: Indices,
    columns: Indices,
    names: tuple[Names, Names],
    page: PageSettings,
    corner: str,
) -> Table:
    """The texts on their ground, with names, and a sign where rows or columns are left out."""
    largest, is_shaded = _largest(values), page.heatmaps and values.size > 1
    margin = " " if is_shaded else ""

    def cell(row: int | None, column: int | None) -> Text:
        if row is None or column is None:
            return Text(LEFT_OUT, style="aside")
        text = texts[row, column]
        if not is_shaded or text == NOTHING:
            return Text(f"{margin}{text}{margin}", style="zero" if text in ("0", NOTHING) else "")
        return Text(f" {text} ", style=shade(float(values[row, column]), largest))

    shown = [_with_gaps(rows), _with_gaps(columns)]

    def called(axis: int, room: int) -> list[str]:
        return ["" if k is None else cut(names[axis](indices[axis][k], room), room) for k in shown[axis]]

    indices = rows, columns
    row_names = called(0, max(LEAST, page.width // 4))
    column_names = called(
        1, max(LEAST, min(page.width // 5, (page.width - max(map(cell_len, row_names))) // 4))
    )
    return Table(
        [
            Column([cell(row, column) for row in shown[0]], name + margin)
            for name, column in zip(column_names, shown[1], strict=True)
        ],
        [Column([Text(name, style="name") for name in row_names], corner)],
        gap=1 if is_shaded else GAP,
    )


def _with_gaps(indices: Indices) -> list[int | None]:
    """The places of the indices, and None where some are left out between two of them."""
    places: list[int | None] = []
    for k in range(indices.size):
        if k and indices[k] > indices[k - 1] + 1:
            places.append(None)
        places.append(k)
    return places


def kept(size: int, side: int, followed: int) -> Indices:
    """Of so many indices, those at each end, and the one that is followed."""
    return np.array(sorted({*range(size)[:side], followed, *range(size)[-side:]}))


def _largest(values: Array) -> float:
    sizes = np.abs(values[np.isfinite(values)])
    return float(sizes.max()) if sizes.size else 0.0
