"""The view of `xegrad explain`: the chain step by step, each with its rule, formula, numbers and shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from rich.text import Text

from xegrad.display.heatmap import heatmap
from xegrad.display.numbers import MANY, NOTHING, aligned
from xegrad.display.page import EDGE, MATRIX_BANDS, MATRIX_ENTRIES, MATRIX_LINES, SLIP_NUMBERS, PageSettings
from xegrad.display.text import Column, Section, View, bands, matrix, wrap
from xegrad.explanation import Explanation
from xegrad.explanation.row import shown
from xegrad.explanation.values import CommonMistake, Step, WorkedEntry
from xegrad.naming import class_in_full, class_in_short, layer_in_words
from xegrad.problem import Problem
from xegrad.targets import Array

SLIP_DIGITS = 4
LEFT_OUT = "…"

Axis = tuple[Callable[[int], str], int]  # what each index is called, and the one that the worked lines follow


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
    view = [] if only is not None else [wrap(_understood(explanation, transpose), page.width)]
    for number, step in enumerate(explanation.steps, start=1):
        if only in (None, step.name):
            view += _step(explanation, number, step, page)
    return view


def _step(explanation: Explanation, number: int, step: Step, page: PageSettings) -> View:
    """Its name and shape, the rule, the formula, the numbers, what floats lose, and the slip it invites."""
    shape = " x ".join(map(str, step.shape))
    title = step.name if step.name == step.symbol else f"{step.name}   {step.symbol}"
    head = [
        Text(f"{number}. {title}{f'   {shape}' if shape else ''}", style="bold underline"),
        *wrap(step.rule, page.width),
        *_indented(step.formula, page.width, "cyan"),
        *(line for worked in step.worked for line in _indented(worked, page.width)),
    ]
    below = wrap(step.structure, page.width) if step.structure else []
    if step.lost:
        below += wrap(step.lost, page.width, "floats lose: ", style="yellow")
    if step.slip is not None:
        below += _slip(step.slip, explanation.followed[1], page)
    if step.value is None and step.corners is None:
        return [[*head, *below]]
    return [head, *_value(explanation, step, page), below]


def _indented(text: str, width: int, style: str = "") -> Section:
    return wrap(text, width, "    ", " " * 6, style)


def _value(explanation: Explanation, step: Step, page: PageSettings) -> View:
    """The value whole where it is small, else its edges and what the worked lines follow."""
    if step.value is not None and step.value.ndim == 0:
        return [[Text(f"    {step.symbol} = {shown(float(step.value), MANY)}")]]
    if step.value is not None:
        values = np.atleast_2d(step.value)
        indices = [list(range(size)) for size in values.shape]
    elif step.corners is not None:
        values, indices = step.corners.values, [list(step.corners.rows), list(step.corners.columns)]
    else:
        return []
    noise = np.zeros(values.shape, dtype=bool) if step.noise is None else np.atleast_2d(step.noise)
    axes = _axes(explanation, step)
    namers = [name for name, _ in axes]
    is_small = step.value is not None and values.size <= MATRIX_ENTRIES
    lines: Section = []
    for side in (None, EDGE, 2, 1) if is_small else (EDGE, 2, 1):
        kept = [
            list(range(len(axis))) if side is None else _kept(axis, least, at)
            for axis, least, (_, at) in zip(indices, (EDGE, side or 0), axes, strict=True)
        ]
        rows, columns = (
            [(axis[k], name(axis[k])) for k in keep]
            for axis, keep, name in zip(indices, kept, namers, strict=True)
        )
        texts = aligned(values[np.ix_(*kept)], page.digits, noise[np.ix_(*kept)])
        lines, n_bands = grid(*_with_gaps(texts, rows, columns), page.width)
        if n_bands == 1 or (side is None and len(lines) <= MATRIX_LINES and n_bands <= MATRIX_BANDS):
            break
    if (texts == NOTHING).any():
        lines.append(Text(f"{NOTHING}: only rounding is left"))
    if not page.heatmaps or step.value is None:
        return [lines]
    names = [list(map(name, axis)) for axis, name in zip(indices, namers, strict=True)]
    return [lines, heatmap(values, rows=names[0], columns=names[1], width=page.width, ascii=page.ascii)]


def grid(texts: Array, rows: Sequence[str], columns: Sequence[str], width: int) -> tuple[Section, int]:
    """A matrix of texts under its names, in as many bands as the width asks for; and how many these are."""
    row_names = [_cut(name, width // 4) for name in rows]
    for_name = max(4, (width - max(map(len, row_names))) // 4)
    label = Column([Text(name, style="bold") for name in row_names])
    cells = [
        Column(
            [Text(text, style="dim" if text in ("0", LEFT_OUT) else "") for text in column],
            _cut(name, for_name),
        )
        for name, column in zip(columns, texts.T, strict=True)
    ]
    return matrix(cells, labels=[label], width=width), len(list(bands(cells, [label], width)))


def _kept(indices: Sequence[int], side: int, at: int) -> list[int]:
    """The positions of so many indices at each end, and of the one at which something is to be seen."""
    size = len(indices)
    ends = {*range(min(side, size)), *range(max(0, size - side), size)}
    return sorted(ends | {k for k, index in enumerate(indices) if index == at})


def _with_gaps(
    cells: Array, rows: list[tuple[int, str]], columns: list[tuple[int, str]]
) -> tuple[Array, list[str], list[str]]:
    """The cells with a gap wherever an index does not follow the one before."""
    gaps = [[k for k in range(1, len(side)) if side[k][0] != side[k - 1][0] + 1] for side in (rows, columns)]
    cells = np.insert(np.insert(cells, gaps[0], LEFT_OUT, axis=0), gaps[1], LEFT_OUT, axis=1)
    row_names, column_names = (
        np.insert(np.array([name for _, name in side], dtype=object), gap, LEFT_OUT).tolist()
        for side, gap in zip((rows, columns), gaps, strict=True)
    )
    return cells, row_names, column_names


def _axes(explanation: Explanation, step: Step) -> tuple[Axis, Axis]:
    """The rows and the columns of a step's value; the label's class is marked >."""
    problem = explanation.problem
    label = int(problem.targets.label_of_rows[explanation.row])
    input, target = explanation.followed

    def classes(letter: str = "") -> Axis:
        return (
            lambda index: f"{letter}{'>' if index == label else ''}{class_in_short(problem, index)}"
        ), target

    def of_weight(column: int) -> str:
        return "W[{1},{0}]".format(*divmod(column, problem.n_inputs))

    weights = of_weight, target * problem.n_inputs + input
    match step.name:
        case "softmax_jacobian":
            return classes("S "), classes("Z ")
        case "weighted_sum_jacobian":
            return classes("Z "), weights
        case "layer_jacobian":
            return classes("S "), weights
        case "flat_gradient":
            return (lambda _: "flat", 0), weights
        case _ if len(step.shape) == 2:
            return (lambda index: f"input {index}", input), classes()
        case _:
            return (lambda _: step.symbol, 0), classes()


def _slip(slip: CommonMistake, target: int, page: PageSettings) -> Section:
    """What is done instead, and the numbers that come out."""
    lines = wrap(f"{slip.name}: {slip.instead}.", page.width, "slip  ", style="magenta")
    if slip.numbers is None or (slip.numbers.ndim > 1 and len(slip.numbers) >= SLIP_NUMBERS):
        return lines
    values = np.atleast_2d(slip.numbers)
    digits = page.digits + 2 if values.size == 1 else SLIP_DIGITS
    if len(values) > 1:
        blank = " "  # in the place of the names of columns
        _, *made = grid(
            aligned(values, digits), ["      "] * len(values), [blank] * values.shape[1], page.width
        )[0]
        return lines + (made if len(made) < SLIP_NUMBERS else [])
    texts = [shown(value, digits) for value in values[0].tolist()]
    if len(texts) > SLIP_NUMBERS:
        kept = _kept(range(len(texts)), EDGE, target)
        cells, *_ = _with_gaps(np.array([texts], dtype=object)[:, kept], [(0, "")], [(k, "") for k in kept])
        texts = cells[0].tolist()
    return lines + wrap(f"{slip.taken_for}: {'  '.join(texts)}", page.width, "      ", " " * 8, "magenta")


def _entry(problem: Problem, entry: WorkedEntry, page: PageSettings) -> View:
    place = class_in_full(problem, entry.class_)
    results = {"chain": entry.chain, "shortcut": entry.shortcut, "exact": entry.exact}
    return [
        wrap(f"dL/dW of input {entry.input} and {place}, through every factor:", page.width),
        [line for factor in entry.factors for line in _indented(factor, page.width)],
        [line for worked in entry.lines for line in _indented(worked, page.width)],
        [
            Text(f"{name:8}  {shown(value, page.digits + 2)}")
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


def _cut(name: str, length: int) -> str:
    return name if len(name) <= length else name[: length - 1] + LEFT_OUT
