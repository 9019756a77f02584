"""The view of `xegrad explain`: the chain step by step, each with its rule, formula, numbers and shape."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xegrad.display.blocks import Column, Heading, Paragraph, Section, Table, View
from xegrad.display.matrix import LEFT_OUT, Names, kept, matrix
from xegrad.display.numbers import MANY, aligned
from xegrad.display.page import EDGE, SLIP_NUMBERS, PageSettings
from xegrad.explanation import Explanation
from xegrad.explanation.row import shown
from xegrad.explanation.values import CommonMistake, Step, WorkedEntry
from xegrad.naming import class_in_full, class_in_short, layer_in_words
from xegrad.problem import Problem

SLIP_DIGITS = 4

Axis = tuple[Names, int]  # what each index is called, and the one that the worked lines follow


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
        Heading(f"{number}. {title}", shape),
        Paragraph(step.rule),
        *_indented([step.formula], "formula"),
        *_indented(step.worked),
    ]
    below: Section = [Paragraph(step.structure)] if step.structure else []
    if step.lost:
        below.append(Paragraph(step.lost, "floats lose: ", style="caution"))
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
    (row_name, row), (column_name, column) = _axes(explanation, step)
    noise = None if step.noise is None else np.atleast_2d(step.noise)
    height, width = (1, *step.shape)[-2:]
    return [
        matrix(step.at, (height, width), (row_name, column_name), page, followed=(row, column), noise=noise)
    ]


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
    section: Section = [Paragraph(f"{slip.name}: {slip.instead}.", "slip  ", style="slip")]
    if slip.numbers is None or (slip.numbers.ndim > 1 and len(slip.numbers) >= SLIP_NUMBERS):
        return section
    values = np.atleast_2d(slip.numbers)
    digits = page.digits + 2 if values.size == 1 else SLIP_DIGITS
    if len(values) > 1:
        cells = aligned(values, digits)
        return [
            *section,
            Table([Column(column.tolist()) for column in cells.T], [Column([" " * 6] * len(cells))]),
        ]
    texts = np.array([shown(value, digits) for value in values[0].tolist()], dtype=object)
    if texts.size > SLIP_NUMBERS:
        indices = kept(texts.size, EDGE, target)
        texts = np.insert(texts[indices], np.flatnonzero(np.diff(indices) > 1) + 1, LEFT_OUT)
    return [*section, Paragraph(f"{slip.taken_for}: {'  '.join(texts)}", "      ", 8, "slip")]


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
