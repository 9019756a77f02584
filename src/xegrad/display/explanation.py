"""The view of `xegrad explain`: the chain step by step, each with its rule, formula, numbers and shape."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from rich.text import Text

from xegrad.display.blocks import Column, Figure, Formula, Heading, Listing, Paragraph, Section, Table, View
from xegrad.display.matrix import LEFT_OUT, Names, kept, matrix
from xegrad.display.numbers import MANY, aligned
from xegrad.display.page import EDGE, SLIP_NUMBERS, PageSettings
from xegrad.display.shading import legend_of
from xegrad.explanation import Explanation
from xegrad.explanation.row import shown
from xegrad.explanation.values import CommonMistake, Step, WorkedEntry
from xegrad.naming import class_in_full, class_within, input_in_short, input_within, layer_in_words
from xegrad.problem import Problem
from xegrad.targets import Array

SLIP_DIGITS = 4
MARK = "  ↳ slip  "
LETTERS = {
    "Z": "the logits",
    "S": "the probabilities: the softmax of Z",
    "Q": "the targets: what S should be",
    "L": "the loss: the cross-entropy of S and Q",
    "DXE": "the cross-entropy Jacobian, dL/dS",
    "DS": "the softmax Jacobian, dS/dZ",
    "Dg": "the weighted-sum Jacobian, dZ/dW",
    "DL": "the layer Jacobian, dS/dW = DS · Dg",
}
JACOBIAN = (
    "A Jacobian is a table of derivatives: a row for each number that depends, and a column for each that it "
    "depends on. By the chain rule, dL/dW = DXE · DS · Dg."
)
SLIPS = (
    f"{MARK.split()[0]} marks a slip: a mistake that people make at this step, and what comes out. "
    "xegrad slips NAME explains it."
)

Axis = tuple[Names, int]  # what each index is called, and the one that the worked lines follow


def explanation_view(
    explanation: Explanation,
    page: PageSettings,
    *,
    only: Collection[str] = (),
    entry: WorkedEntry | None = None,
    transpose: bool = False,
) -> View:
    """What is given and all steps, or `only` some of them, or one entry of dL/dW."""
    if entry is not None:
        return _entry(explanation.problem, entry, page)
    view: View = [] if only else _given(explanation, page, transpose=transpose)
    for number, step in enumerate(explanation.steps, start=1):
        if not only or step.name in only:
            view += _step(explanation, number, step, page, with_legend=bool(only))
    return view


def _given(explanation: Explanation, page: PageSettings, *, transpose: bool) -> View:
    """The layer in words, where the letters come from, and x, W, b and Q as numbers."""
    problem, forward = explanation.problem, explanation.computation.forward
    of_classes = _axes(explanation, explanation.steps[0])[1][0]
    input, target = explanation.followed
    view: View = [
        [Paragraph(_understood(explanation, transpose))],
        [
            Heading("letters", "of the derivation in docs/glossary.md"),
            Listing([Column([Text(letter, style="name") for letter in LETTERS])], [*LETTERS.values()]),
        ],
        [Paragraph(JACOBIAN), Paragraph(SLIPS)],
        [Heading("given")],
    ]

    def of_input(index: int, room: int) -> str:
        return input_within(problem, index, room)

    given: list[tuple[Array, Names, Names, tuple[int, int]]] = [
        (np.atleast_2d(problem.inputs[explanation.row]), lambda *_: "x", of_input, (0, input)),
        (problem.weights, of_input, of_classes, (input, target)),
        (np.atleast_2d(forward.targets[0]), lambda *_: "Q", of_classes, (0, target)),
    ]
    if problem.bias is not None:
        given.insert(2, (np.atleast_2d(problem.bias), lambda *_: "b", of_classes, (0, target)))
    for values, down, across, followed in given:
        shape: Any = values.shape
        at = _entries_of(values)
        corner = "W" if values is problem.weights else ""
        view.append(
            matrix(at, shape, (down, across), page, corner=corner, followed=followed, with_legend=False)
        )
    if page.heatmaps:
        view.append([Figure([legend_of("-largest", "+largest of each table")])])
    return view


def _entries_of(values: Array) -> Callable[[Any, Any], Array]:
    return lambda rows, columns: np.asarray(values[np.ix_(rows, columns)], dtype=np.float64)


def _step(
    explanation: Explanation, number: int, step: Step, page: PageSettings, *, with_legend: bool
) -> View:
    """Its name and shape, the rule, the formula, the numbers, what floats lose, and the slip it invites."""
    symbol = "" if step.symbol == step.name else step.symbol
    shape = " x ".join(map(str, (1, *step.shape)[-2:])) if step.shape else ""
    head: Section = [
        Heading(f"{number}. {step.name}", ", ".join(filter(None, (symbol, shape)))),
        Paragraph(step.rule),
        Formula(step.formula, step.worked),
    ]
    below: Section = [Paragraph(step.structure)] if step.structure else []
    if step.lost:
        below.append(Paragraph(step.lost, "floats lose: ", style="caution"))
    if step.slip is not None:
        below += _slip(step.slip, explanation.followed[1], page)
    value = _value(explanation, step, page, with_legend=with_legend)
    return [head, *value, below] if value else [[*head, *below]]


def _value(explanation: Explanation, step: Step, page: PageSettings, *, with_legend: bool) -> View:
    """The value whole where it is small, else its edges and what the worked lines follow."""
    if step.numbers is None:
        return []
    if step.value is not None and step.value.ndim == 0:
        return [[Formula("", [f"{step.symbol} = {shown(float(step.value), MANY)}"])]]
    (row_name, row), (column_name, column) = _axes(explanation, step)
    noise = None if step.noise is None else np.atleast_2d(step.noise)
    height, width = (1, *step.shape)[-2:]
    return [
        matrix(
            step.at,
            (height, width),
            (row_name, column_name),
            page,
            corner=step.symbol if height > 1 else "",
            followed=(row, column),
            noise=noise,
            with_legend=with_legend,
        )
    ]


def _axes(explanation: Explanation, step: Step) -> tuple[Axis, Axis]:
    """The rows and the columns of a step's value; the label's class is marked >."""
    problem = explanation.problem
    label = int(problem.targets.label_of_rows[explanation.row])
    input, target = explanation.followed

    def classes(letter: str = "") -> Axis:
        def called(k: int, room: int) -> str:
            start = f"{letter}{'>' if k == label else ''}"
            return start + class_within(problem, k, room - len(start))

        return called, target

    def of_weight(column: int, _: int) -> str:
        return "W[{1},{0}]".format(*divmod(column, problem.n_inputs))

    weights = of_weight, target * problem.n_inputs + input
    of_row: Axis = (lambda *_: step.symbol), 0
    if len(step.shape) == 2:
        of_row = (lambda index, room: input_within(problem, index, room)), input
    axes: dict[str, tuple[Axis, Axis]] = {
        "softmax_jacobian": (classes("S "), classes("Z ")),
        "weighted_sum_jacobian": (classes("Z "), weights),
        "layer_jacobian": (classes("S "), weights),
        "flat_gradient": ((lambda *_: "flat", 0), weights),
    }
    return axes.get(step.name, (of_row, classes()))


def _slip(slip: CommonMistake, target: int, page: PageSettings) -> Section:
    """What is done instead, and the numbers that come out."""
    said = Text.assemble((slip.name, "slip"), f": {slip.instead}.", style="aside")
    section: Section = [Paragraph(said, MARK)]
    if slip.numbers is None or (slip.numbers.ndim > 1 and max(slip.numbers.shape) >= SLIP_NUMBERS):
        return section
    values = np.atleast_2d(slip.numbers)
    digits = page.digits + 2 if values.size == 1 else SLIP_DIGITS
    if len(values) > 1:
        columns = [
            Column([Text(cell, style="aside") for cell in column]) for column in aligned(values, digits).T
        ]
        return [*section, Table(columns, [Column([" " * (len(MARK) - 2)] * len(values))])]
    texts = np.array([shown(value, digits) for value in values[0].tolist()], dtype=object)
    if texts.size > SLIP_NUMBERS:
        indices = kept(texts.size, EDGE, target)
        texts = np.insert(texts[indices], np.flatnonzero(np.diff(indices) > 1) + 1, LEFT_OUT)
    numbers = f"{slip.taken_for} becomes {'  '.join(texts)}"
    return [*section, Paragraph(numbers, " " * len(MARK), style="aside")]


def _entry(problem: Problem, entry: WorkedEntry, page: PageSettings) -> View:
    j, i = entry.input, entry.class_
    input = f"input {j}" if problem.input_names is None else f'input {j} "{input_in_short(problem, j)}"'
    results = {"chain": entry.chain, "shortcut": entry.shortcut, "exact": entry.exact}
    known = {name: shown(value, page.digits + 2) for name, value in results.items() if value is not None}
    return [
        [
            Heading(f"dL/dW[{j},{i}]", "through every factor"),
            Paragraph(f"How the loss changes with the weight of {input} for {class_in_full(problem, i)}:"),
            Formula("dL/dW[j,i] = Σ_t DXE[t] · DS[t,i] · x[j]", (*entry.factors, *entry.lines)),
        ],
        [Listing([Column([Text(name, style="name") for name in known])], [*known.values()])],
    ]


def _understood(explanation: Explanation, transpose: bool) -> str:
    problem, row = explanation.problem, explanation.row
    label = int(problem.targets.label_of_rows[row])
    target = "The target is soft"
    if label >= 0:
        target = f"The label, marked >, is {class_in_full(problem, label)}"
    elif not problem.targets.kept[row]:
        target = "The label is ignored, and Q is 0"
    input, class_ = explanation.followed
    text = f"Softmax layer: {layer_in_words(problem, transpose=False)}. {target}."
    if transpose:
        text += " Your W is classes x inputs; here it is turned."
    text = f"{text} {explanation.rows_add_up}".rstrip()
    return (
        f"{text} t and i count classes, and j inputs, from zero. The numbers below each formula follow "
        f"W[{input},{class_}]."
    )
