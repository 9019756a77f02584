"""The view of `xegrad explain`: the chain step by step, each with its rule, formula, numbers and shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.text import Text

from xegrad.display.blocks import Column, Paragraph, Section, Table, View
from xegrad.display.heatmap import cut, heatmap
from xegrad.display.numbers import MANY, NOTHING, aligned
from xegrad.display.page import EDGE, MATRIX_BANDS, MATRIX_ENTRIES, MATRIX_LINES, SLIP_NUMBERS, PageSettings
from xegrad.display.terminal import bands
from xegrad.explanation import Explanation
from xegrad.explanation.row import shown
from xegrad.explanation.values import CommonMistake, Step, WorkedEntry
from xegrad.naming import class_in_full, class_in_short, layer_in_words
from xegrad.problem import Problem
from xegrad.targets import Array

SLIP_DIGITS = 4
LEFT_OUT = "…"

Indices = NDArray[np.intp]
Axis = tuple[Callable[[Any], str], int]  # what each index is called, and the one that the worked lines follow


def explanation_view(
    explanation: Explanation,
    page: PageSettings,
    *,
    only: str | None = None,
    entry: WorkedEntry | None = None,
    transpose: bool = False,
) -> View:
    """All steps, or `only` one, or one entry of dL/dW."""
    if entry is not None:
        return _entry(explanation.problem, entry, page)
    view: View = [] if only is not None else [[Paragraph(_understood(explanation, transpose))]]
    for number, step in enumerate(explanation.steps, start=1):
        if only in (None, step.name):
            view += _step(explanation, number, step, page)
    return view


def _step(explanation: Explanation, number: int, step: Step, page: PageSettings) -> View:
    """Its name and shape, the rule, the formula, the numbers, what floats lose, and the slip it invites."""
    shape = " x ".join(map(str, step.shape))
    title = step.name if step.name == step.symbol else f"{step.name}   {step.symbol}"
    head: Section = [
        Paragraph(f"{number}. {title}{f'   {shape}' if shape else ''}", style="bold underline"),
        Paragraph(step.rule),
        *_indented([step.formula], "cyan"),
        *_indented(step.worked),
    ]
    below: Section = [Paragraph(step.structure)] if step.structure else []
    if step.lost:
        below.append(Paragraph(step.lost, "floats lose: ", style="yellow"))
    if step.slip is not None:
        below += _slip(step.slip, explanation.followed[1], page)
    value = _value(explanation, step, page)
    return [head, *value, below] if value else [[*head, *below]]


def _indented(texts: Sequence[str], style: str = "") -> Section:
    return [Paragraph(text, "    ", 6, style) for text in texts]


def _value(explanation: Explanation, step: Step, page: PageSettings) -> View:
    """The value whole where it is small, else its edges and what the worked lines follow."""
    if step.numbers is None:
        return []
    if step.value is not None and step.value.ndim == 0:
        return [[Paragraph(f"{step.symbol} = {shown(float(step.value), MANY)}", "    ")]]
    height, width = (1, *step.shape)[-2:]
    (row_name, row), (column_name, column) = _axes(explanation, step)
    size = height * width
    for side in (size, EDGE, 2, 1) if size <= MATRIX_ENTRIES else (EDGE, 2, 1):
        rows, columns = kept(height, max(side, EDGE), row), kept(width, side, column)
        table = np.full((rows.size + 1, columns.size + 1), "", dtype=object)
        table[1:, 0], table[0, 1:] = list(map(row_name, rows)), list(map(column_name, columns))
        noise = None if step.noise is None else np.atleast_2d(step.noise)[np.ix_(rows, columns)]
        table[1:, 1:] = aligned(step.at(rows, columns), page.digits, noise)
        for axis, indices in enumerate((rows, columns)):
            table = np.insert(table, 1 + _gaps(indices), LEFT_OUT, axis=axis)
        matrix = grid(table, page.width)
        n_bands = len([*bands(matrix.columns, matrix.labels, page.width)])
        n_lines = n_bands * (len(table) + 1) - 1  # with an empty line between two of them
        if n_bands == 1 or (side == size and n_lines <= MATRIX_LINES and n_bands <= MATRIX_BANDS):
            break
    section: Section = [matrix]
    if (table == NOTHING).any():
        section.append(Paragraph(f"{NOTHING}: only rounding is left"))
    if not page.heatmaps or step.value is None:
        return [section]
    names = {"rows": list(map(row_name, range(height))), "columns": list(map(column_name, range(width)))}
    return [section, [heatmap(step.value, **names, width=page.width, ascii=page.ascii)]]


def grid(table: Array, width: int) -> Table:
    """A matrix of texts whose first row and column are names, in as many bands as the width asks for."""
    row_names = [cut(name, width // 4) for name in table[1:, 0]]
    for_name = max(4, (width - max(map(len, row_names))) // 4)
    columns = [
        Column(
            [Text(text, style="dim" if text in ("0", LEFT_OUT) else "") for text in column],
            cut(name, for_name),
        )
        for name, *column in table[:, 1:].T
    ]
    return Table(columns, [Column([Text(name, style="bold") for name in row_names])], is_banded=True)


def kept(size: int, side: int, followed: int) -> Indices:
    """Of so many indices, those at each end, and the one that is followed."""
    return np.array(sorted({*range(size)[:side], followed, *range(size)[-side:]}))


def _gaps(indices: Indices) -> Indices:
    """The places before which some indices are left out."""
    return np.flatnonzero(np.diff(indices) > 1) + 1


def _axes(explanation: Explanation, step: Step) -> tuple[Axis, Axis]:
    """The rows and the columns of a step's value; the label's class is marked >."""
    problem = explanation.problem
    label = int(problem.targets.label_of_rows[explanation.row])
    input, target = explanation.followed

    def classes(letter: str = "") -> Axis:
        return lambda k: f"{letter}{'>' if k == label else ''}{class_in_short(problem, k)}", target

    def of_weight(column: int) -> str:
        return "W[{1},{0}]".format(*divmod(column, problem.n_inputs))

    weights = of_weight, target * problem.n_inputs + input
    of_row: Axis = (lambda _: step.symbol), 0
    if len(step.shape) == 2:
        of_row = (lambda index: f"input {index}"), input
    axes: dict[str, tuple[Axis, Axis]] = {
        "softmax_jacobian": (classes("S "), classes("Z ")),
        "weighted_sum_jacobian": (classes("Z "), weights),
        "layer_jacobian": (classes("S "), weights),
        "flat_gradient": ((lambda _: "flat", 0), weights),
    }
    return axes.get(step.name, (of_row, classes()))


def _slip(slip: CommonMistake, target: int, page: PageSettings) -> Section:
    """What is done instead, and the numbers that come out."""
    section: Section = [Paragraph(f"{slip.name}: {slip.instead}.", "slip  ", style="magenta")]
    if slip.numbers is None or (slip.numbers.ndim > 1 and len(slip.numbers) >= SLIP_NUMBERS):
        return section
    values = np.atleast_2d(slip.numbers)
    digits = page.digits + 2 if values.size == 1 else SLIP_DIGITS
    if len(values) > 1:
        table = np.full((len(values) + 1, values.shape[1] + 1), " ", dtype=object)
        table[:, 0], table[1:, 1:] = " " * 6, aligned(values, digits)
        return [*section, grid(table, page.width)]
    texts = np.array([shown(value, digits) for value in values[0].tolist()], dtype=object)
    if texts.size > SLIP_NUMBERS:
        indices = kept(texts.size, EDGE, target)
        texts = np.insert(texts[indices], _gaps(indices), LEFT_OUT)
    return [*section, Paragraph(f"{slip.taken_for}: {'  '.join(texts)}", "      ", 8, "magenta")]


def _entry(problem: Problem, entry: WorkedEntry, page: PageSettings) -> View:
    place = class_in_full(problem, entry.class_)
    results = {"chain": entry.chain, "shortcut": entry.shortcut, "exact": entry.exact}
    return [
        [Paragraph(f"dL/dW of input {entry.input} and {place}, through every factor:")],
        _indented(entry.factors),
        _indented(entry.lines),
        [
            Paragraph(shown(value, page.digits + 2), f"{name:8}  ")
            for name, value in results.items()
            if value is not None
        ],
    ]


def _understood(explanation: Explanation, transpose: bool) -> str:
    problem, row = explanation.problem, explanation.row
    label = int(problem.targets.label_of_rows[row])
    target = f"the label is {class_in_full(problem, label)}" if label >= 0 else "the target is soft"
    layer = layer_in_words(problem, transpose=False)
    text = f"Softmax layer: {layer}; {target}. t and i count classes, j inputs, all from zero."
    if transpose:
        text += " Your W is classes x inputs; here it is turned."
    return f"{text} {explanation.rows_add_up}".rstrip()
