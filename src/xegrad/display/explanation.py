"""The view of `xegrad explain`: the chain step by step, each with its rule, formula, numbers and shape."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from rich.console import Group, RenderableType
from rich.text import Text

from xegrad.display.heatmap import heatmap
from xegrad.display.numbers import MANY, decimals_for, in_column
from xegrad.display.page import Page
from xegrad.explanation import Explanation
from xegrad.explanation.row import shown
from xegrad.explanation.values import Entry, Invitation, Step
from xegrad.naming import class_in_full, class_in_short
from xegrad.problem import Problem
from xegrad.targets import Array

TALLEST, LARGEST = 30, 512  # lines, and entries, of a matrix that is shown whole
EDGE = 3  # of a larger one, so many rows and columns at each end
MOST_BANDS = 5
FEW = 12  # numbers of a slip that are all shown
SLIP_DIGITS = 4
GAP, NOTHING = "…", "~0"
# What takes the place of characters that an ASCII terminal lacks.
PLAIN = {"·": "*", "Σ": "Sum", "≤": "<=", "≈": "~", "≠": "!=", "…": "..", "×": "x", "—": "-"}


def explanation_view(
    explanation: Explanation,
    of: Page,
    *,
    only: str | None = None,
    entry: Entry | None = None,
    transpose: bool = False,
) -> RenderableType:
    """All steps, or `only` one, or one entry of dL/dW."""
    page = _Page(explanation.problem, of.width, of.digits, of.heatmaps, of.ascii)
    parts: list[Text] = []
    if entry is not None:
        parts = list(_entry(page, entry))
    else:
        steps = [(k, step) for k, step in enumerate(explanation.steps, start=1) if only in (None, step.name)]
        if only is None:
            parts += page.wrapped(_understood(explanation, transpose))
        for number, step in steps:
            parts += [Text(), *_step(page, explanation, number, step)]
        if only is not None:
            parts = parts[1:]
    return Group(*(_in_ascii(part) if of.ascii else part for part in parts))


class _Page:
    """How wide it is, and how numbers stand on it."""

    def __init__(self, problem: Problem, width: int, digits: int, heatmaps: bool, ascii: bool) -> None:
        self.problem, self.width, self.digits = problem, width, digits
        self.heatmaps, self.ascii = heatmaps, ascii

    def wrapped(self, text: str, first: str = "", style: str = "") -> list[Text]:
        """The text in lines, all but the first indented as far as that."""
        lines = textwrap.wrap(
            text,
            self.width,
            initial_indent=first,
            subsequent_indent=" " * (len(first) if first.strip() else len(first) + 2 * bool(first)),
            break_long_words=False,
            break_on_hyphens=False,
        )
        return [Text(line, style=style) for line in lines]

    def cells(self, values: Array, noise: NDArray[np.bool_] | None) -> Array:
        """An array of texts: one number of decimals for all of them, and ~0 where only rounding is left."""
        flat = values.ravel()
        nothing = np.zeros(flat.shape, dtype=bool) if noise is None else noise.ravel()
        known = np.where(nothing, 0, flat)
        most = decimals_for(known.tolist(), self.digits)
        fewest = _fewest_decimals(known, most)
        sizes = np.abs(known[np.isfinite(known) & (known != 0)])
        spread = sizes.size and sizes.min() < sizes.max() / 1000

        def text(value: float) -> str:
            if value == 0 or not np.isfinite(value) or not (spread or fewest < most):
                return in_column(value, most, self.digits)
            return f"{value:.{fewest}f}" if fewest < most else f"{value:.{max(1, self.digits - 3)}e}"

        texts = [
            NOTHING if none else text(value)
            for value, none in zip((flat + 0.0).tolist(), nothing.tolist(), strict=True)
        ]
        return np.array(texts, dtype=object).reshape(values.shape)

    def grid(self, cells: Array, rows: Sequence[str], columns: Sequence[str]) -> list[Text]:
        """A matrix of texts under its names, in as many bands as the width asks for."""
        rows = [_cut(name, self.width // 4) for name in rows]
        label = max(map(len, rows))
        columns = [_cut(name, max(4, (self.width - label) // 4)) for name in columns]
        widths = [max(map(len, (name, *cells[:, k]))) + 2 for k, name in enumerate(columns)]
        lines: list[Text] = []
        start = 0
        while start < len(columns):
            stop = start + 1
            while stop < len(columns) and label + sum(widths[start : stop + 1]) <= self.width:
                stop += 1
            if start:
                lines.append(Text())
            head = "".join(
                f"{name:>{w}}" for name, w in zip(columns[start:stop], widths[start:stop], strict=True)
            )
            lines.append(Text(f"{'':{label}}{head}", style="bold"))
            for name, row in zip(rows, cells, strict=True):
                line = Text(f"{name:>{label}}", style="bold")
                for text, w in zip(row[start:stop], widths[start:stop], strict=True):
                    line.append(f"{text:>{w}}", style="dim not bold" if text in ("0", GAP) else "not bold")
                lines.append(line)
            start = stop
        return lines


def _step(page: _Page, explanation: Explanation, number: int, step: Step) -> Iterator[Text]:
    """Its name and shape, the rule, the formula, the numbers, what floats lose, and the slip it invites."""
    shape = " x ".join(map(str, step.shape))
    title = step.name if step.name == step.symbol else f"{step.name}   {step.symbol}"
    yield Text(f"{number}. {title}{f'   {shape}' if shape else ''}", style="bold underline")
    yield from page.wrapped(step.rule)
    yield from page.wrapped(step.formula, "    ", "cyan")
    for line in step.worked:
        yield from page.wrapped(line, "    ")
    yield from _values(page, explanation, step)
    if step.structure:
        yield from page.wrapped(step.structure)
    if step.lost:
        yield from page.wrapped(step.lost, "floats lose: ", "yellow")
    if step.slip is not None:
        yield from _slip(page, step.slip, explanation.followed[1])


def _values(page: _Page, explanation: Explanation, step: Step) -> Iterator[Text]:
    """The value whole where it is small, else its edges and what the worked lines follow."""
    if step.value is None and step.corners is None:
        return
    yield Text()
    if step.value is not None and step.value.ndim == 0:
        yield Text(f"    {step.symbol} = {shown(float(step.value), MANY)}")
        yield Text()
        return
    namers = _namers(explanation, step)
    if step.value is not None:
        values = np.atleast_2d(step.value)
        indices = [list(range(size)) for size in values.shape]
    else:
        assert step.corners is not None
        values, indices = step.corners.values, [list(step.corners.rows), list(step.corners.columns)]
    noise = np.zeros(values.shape, dtype=bool) if step.noise is None else np.atleast_2d(step.noise)
    place = _place(explanation, step)
    whole = step.value is not None and values.size <= LARGEST
    for side in (None, EDGE, 2, 1) if whole else (EDGE, 2, 1):
        kept = [
            list(range(len(axis))) if side is None else _kept(axis, least, at)
            for axis, least, at in zip(indices, (EDGE, side or 0), place, strict=True)
        ]
        cells = page.cells(values[np.ix_(*kept)], noise[np.ix_(*kept)])
        names = [
            [(axis[k], name(axis[k])) for k in keep]
            for axis, keep, name in zip(indices, kept, namers, strict=True)
        ]
        with_gaps = _with_gaps(cells, *names)
        lines = page.grid(*with_gaps)
        bands = -(-len(lines) // (len(with_gaps[0]) + 2))
        if bands == 1 or (side is None and len(lines) <= TALLEST and bands <= MOST_BANDS):
            break
    yield from lines
    if (cells == NOTHING).any():
        yield Text(f"{NOTHING}: only rounding is left")
    if page.heatmaps and step.value is not None:
        yield Text()
        row_names, column_names = (
            [name(index) for index in axis] for axis, name in zip(indices, namers, strict=True)
        )
        yield heatmap(values, rows=row_names, columns=column_names, width=page.width, ascii=page.ascii)
    yield Text()


def _place(explanation: Explanation, step: Step) -> tuple[int, int]:
    """The row and the column of what the worked lines follow."""
    input, target = explanation.followed
    flat = target * explanation.problem.n_inputs + input
    places = {
        "softmax_jacobian": (target, target),
        "weighted_sum_jacobian": (target, flat),
        "layer_jacobian": (target, flat),
        "flat_gradient": (0, flat),
    }
    return places.get(step.name, (input, target) if len(step.shape) == 2 else (0, target))


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
    cells = np.insert(np.insert(cells, gaps[0], GAP, axis=0), gaps[1], GAP, axis=1)
    row_names, column_names = (
        np.insert(np.array([name for _, name in side], dtype=object), gap, GAP).tolist()
        for side, gap in zip((rows, columns), gaps, strict=True)
    )
    return cells, row_names, column_names


def _namers(explanation: Explanation, step: Step) -> tuple[Callable[[int], str], Callable[[int], str]]:
    """What the rows and the columns of a step's value are called; the label's class is marked >."""
    problem = explanation.problem
    label = int(problem.targets.label_of_rows[explanation.row])

    def of_class(index: int) -> str:
        return f"{'>' if index == label else ''}{class_in_short(problem, index)}"

    def of_weight(column: int) -> str:
        return "W[{1},{0}]".format(*divmod(column, problem.n_inputs))

    row_letter = {"softmax_jacobian": "S", "weighted_sum_jacobian": "Z", "layer_jacobian": "S"}.get(step.name)
    if row_letter is not None:
        columns = (lambda index: f"Z {of_class(index)}") if step.name == "softmax_jacobian" else of_weight
        return lambda index: f"{row_letter} {of_class(index)}", columns
    if step.name == "flat_gradient":
        return lambda _: "flat", of_weight
    if len(step.shape) == 2:
        return lambda index: f"input {index}", of_class
    return lambda _: step.symbol, of_class


def _slip(page: _Page, slip: Invitation, target: int) -> Iterator[Text]:
    yield from page.wrapped(f"{slip.name}: {slip.instead}.", "slip  ", "magenta")
    if slip.numbers is None:
        return
    numbers = np.atleast_2d(slip.numbers)
    digits = page.digits + 2 if numbers.size == 1 else SLIP_DIGITS
    if len(numbers) > 1:
        cells = _Page(page.problem, page.width, digits, False, page.ascii).cells(numbers, None)
        lines = page.grid(cells, ["      "] * len(numbers), [""] * numbers.shape[1])
        if len(lines) <= FEW:
            yield from lines[1:]
        return
    values = numbers[0].tolist()
    texts = [shown(value, digits) for value in values]
    if len(texts) > FEW:
        kept = _kept(range(len(texts)), EDGE, target)
        cells, *_ = _with_gaps(np.array([texts], dtype=object)[:, kept], [(0, "")], [(k, "") for k in kept])
        texts = cells[0].tolist()
    yield from page.wrapped(f"{slip.of}: {'  '.join(texts)}", "      ", "magenta")


def _entry(page: _Page, entry: Entry) -> Iterator[Text]:
    place = class_in_full(page.problem, entry.class_)
    yield from page.wrapped(f"dL/dW of input {entry.input} and {place}, through every factor:")
    yield Text()
    for line in (*entry.factors, "", *entry.lines):
        yield from page.wrapped(line, "    ") if line else [Text()]
    yield Text()
    yield Text(f"chain     {shown(entry.chain, page.digits + 2)}")
    yield Text(f"shortcut  {shown(entry.shortcut, page.digits + 2)}")
    if entry.exact is not None:
        yield Text(f"exact     {shown(entry.exact, page.digits + 2)}")


def _understood(explanation: Explanation, transpose: bool) -> str:
    problem, row = explanation.problem, explanation.row
    label = int(problem.targets.label_of_rows[row])
    target = f"the label is {class_in_full(problem, label)}" if label >= 0 else "the target is soft"
    inputs = f"{problem.n_inputs} input{'' if problem.n_inputs == 1 else 's'}"
    classes = f"{problem.n_classes} class{'' if problem.n_classes == 1 else 'es'}"
    bias = " and b" if problem.bias is not None else ""
    text = f"Softmax layer: W {inputs} x {classes}{bias}; {target}. t and i count classes, j inputs, all from zero."
    if transpose:
        text += " Your W is classes x inputs; here it is turned."
    return f"{text} {explanation.rows_add_up}".rstrip()


def _fewest_decimals(values: Array, most: int) -> int:
    """As many as all of the values need, where they are short decimals: 0.1 and 0.25 need two."""
    finite = values[np.isfinite(values)]
    noise = 64 * np.finfo(values.dtype).eps * np.abs(finite)
    for decimals in range(min(most, MANY) if finite.size == values.size else 0):
        if (np.abs(np.round(finite, decimals) - finite) <= noise).all():
            return decimals
    return most


def _cut(name: str, length: int) -> str:
    return name if len(name) <= length else name[: length - 1] + GAP


def _in_ascii(text: Text) -> Text:
    for character, plain in PLAIN.items():
        if character in text.plain:
            text = Text(plain).join(text.split(character)) if text.plain != character else Text(plain)
    return text
