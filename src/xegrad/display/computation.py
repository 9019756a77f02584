"""The view of `xegrad compute`: the problem, its probabilities, and dL/dW by each method side by side."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from xegrad.comparison import Comparison
from xegrad.computation import AGREE_RIGHT, AGREE_WRONG, DIFFER, Computation
from xegrad.display.naming import class_in_full, class_in_short
from xegrad.display.numbers import SHOWS_ALL, decimals_for, how_many_correct, in_column
from xegrad.methods import Evaluation
from xegrad.problem import Problem

SMALL = 64  # entries of dL/dW that are shown one by one
SHORTEST_NAME = 6  # columns that the name of a class keeps
FEW = 12  # classes whose probabilities are all shown


def computation_view(
    computation: Computation,
    *,
    verdict: str,
    transpose: bool,
    width: int,
    top: int,
    digits: int,
) -> RenderableType:
    """What was understood, the loss and the probabilities, dL/dW entry by entry, and the verdict last."""
    styles = {AGREE_RIGHT: "bold green", AGREE_WRONG: "bold yellow", DIFFER: "bold red"}
    style = styles.get(computation.verdict, "bold")
    sentence = wrapped(verdict, width)
    sentence.stylize(style, 0, verdict.index(":"))
    return Group(
        wrapped(_understood(computation.problem, transpose), width),
        "",
        *_probabilities(computation, width, top),
        "",
        *_gradient(computation, width, top, digits),
        *_distances(computation.from_exact),
        "",
        sentence,
    )


def wrapped(text: str, width: int) -> Text:
    """Lines without the trailing blanks that a terminal's own wrapping leaves."""
    return Text("\n".join(textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)))


def _understood(problem: Problem, transpose: bool) -> str:
    inputs = f"{problem.n_inputs} input{'' if problem.n_inputs == 1 else 's'}"
    classes = f"{problem.n_classes} class{'' if problem.n_classes == 1 else 'es'}"
    bias = " and b" if problem.bias is not None else ""
    layer = f"W {classes} x {inputs}{bias}" if transpose else f"W {inputs} x {classes}{bias}"
    square = ""
    if problem.n_inputs == problem.n_classes > 1:
        square = (
            " W is square; it was read as classes x inputs, as --transpose says."
            if transpose
            else " W is square; it was read as inputs x classes (--transpose reads it the other way)."
        )
    label = int(problem.targets.label_of_rows[0])
    if label >= 0:
        target = f"The label is {class_in_full(problem, label)}, marked >."
    else:
        target = "The target is soft; its classes are marked >."
    return f"Softmax layer: {layer}, one example. {target}{square}"


def _probabilities(computation: Computation, width: int, top: int) -> Iterator[RenderableType]:
    """The classes side by side, in as many bands as the width asks for; of many, the most probable."""
    problem, forward = computation.problem, computation.forward
    probabilities, targets = forward.probabilities[0], forward.targets[0]
    shown = np.arange(problem.n_classes)
    if problem.n_classes > FEW:
        rank = np.lexsort((shown, -np.nan_to_num(probabilities), targets == 0))
        shown = np.sort(rank[: max(top, 1)])
        yield Text(f"The target and the most probable of {problem.n_classes} classes:")
    soft = bool((problem.targets.label_of_rows < 0).any())
    rows = {"class": [_marked(problem, targets, int(index)) for index in shown]}
    rows["probability"] = [Text(_fraction(float(probabilities[index]))) for index in shown]
    if soft:
        rows["target"] = [Text(_fraction(float(targets[index]))) for index in shown]
    cell = max(text.cell_len for row in rows.values() for text in row)
    cell = min(cell, max(8, width - 15))
    per_band = max(1, (width - 11) // (cell + 2))
    for start in range(0, len(shown), per_band):
        band = _plain_table()
        band.add_column(width=11, no_wrap=True)
        for _ in shown[start : start + per_band]:
            band.add_column(width=cell, justify="right", no_wrap=True, overflow="ellipsis")
        for name, row in rows.items():
            band.add_row(name, *row[start : start + per_band])
        yield band
    yield from _losses(computation.evaluations)


def _losses(evaluations: Mapping[str, Evaluation]) -> Iterator[RenderableType]:
    """The loss of the most accurate method, and any that has fewer than eight digits in common with it."""
    *others, (_, reported) = evaluations.items()
    loss = float(reported.loss)
    line = f"loss         {loss!r}"
    for name, evaluation in others:
        other = float(evaluation.loss)
        if repr(other) != repr(loss) and not abs(other - loss) <= 1e-8 * abs(loss):
            line += f"   (by the {name} {other + 0.0!r})"
    yield Text(line)


def _gradient(computation: Computation, width: int, top: int, digits: int) -> Iterator[RenderableType]:
    problem, comparison = computation.problem, computation.comparison
    gradients = {
        name: evaluation.gradients["weights"].ravel() for name, evaluation in computation.evaluations.items()
    }
    size = problem.weights.size
    if size <= SMALL:
        yield Text("dL/dW")
        shown = np.arange(size)
    else:
        shown, order = _worst(gradients, comparison, top)
        which = "the one" if len(shown) == 1 else f"the {len(shown)}"
        yield Text(f"dL/dW has {size} entries; {which} {order}:")
    rows, columns = np.divmod(shown, problem.n_classes)
    values = {name: values[shown].tolist() for name, values in gradients.items()}
    decimals = decimals_for(itertools.chain.from_iterable(values.values()), digits)
    numbers = {name: [in_column(v, decimals, digits) for v in column] for name, column in values.items()}
    if comparison is not None:
        numbers["difference"] = _differences(comparison, shown, digits)
    if "exact" in numbers and len(numbers) > 2 and _width(numbers) > width - 7 - SHORTEST_NAME:
        del numbers["exact"]  # the block below tells how far from it the others are
    taken = _width(numbers)
    for_class = max(SHORTEST_NAME, width - 7 - taken)
    table = _plain_table(show_header=True)
    if 7 + for_class + taken > width:
        # Seventeen digits need more than sixty columns: lines that the terminal folds beat cut numbers.
        table.width = 7 + for_class + taken
    table.add_column("input", justify="right", no_wrap=True)
    table.add_column("class", justify="right", no_wrap=True, overflow="ellipsis", max_width=for_class)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    targets = problem.targets.effective(problem.n_classes, problem.dtype)[0]
    for k, (row, column) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True)):
        label = "" if k and row == rows[k - 1] and size <= SMALL else str(row)
        table.add_row(label, _marked(problem, targets, column), *(cells[k] for cells in numbers.values()))
    yield table


def _width(columns: Mapping[str, list[str]]) -> int:
    return sum(2 + max(map(len, (name, *cells))) for name, cells in columns.items())


def _distances(from_exact: Mapping[str, Comparison]) -> Iterator[RenderableType]:
    """How far each method is from the exact values."""
    if not from_exact:
        return
    table = _plain_table(show_header=True)
    table.add_column("against exact", no_wrap=True)
    rows: dict[str, list[str]] = {"digits, worst entry": [], "entries without one": []}
    for name, against in from_exact.items():
        table.add_column(name, justify="right", no_wrap=True)
        rows["digits, worst entry"].append(how_many_correct(int(against.correct_digits.min())))
        rows["entries without one"].append(str(int(against.digits_lost.sum())))
    for name, cells in rows.items():
        table.add_row(name, *cells)
    yield ""
    yield table


def _worst(
    gradients: Mapping[str, np.ndarray[Any, Any]], comparison: Comparison | None, top: int
) -> tuple[Any, str]:
    if comparison is None:
        values = next(iter(gradients.values()))
        return np.lexsort((np.arange(values.size), -np.abs(values)))[: max(top, 1)], "largest"
    shown = comparison.worst_first[: max(top, 1)]
    if comparison.agrees:
        return shown, "in which rounding can hide most"
    return shown, "that differ most"


def _differences(comparison: Comparison, shown: Any, digits: int) -> list[str]:
    """`rounding` where the bound explains it, `no digit` where it explains anything, else the number."""
    differences = comparison.difference.ravel()[shown].tolist()
    if digits >= SHOWS_ALL:
        return [f"{difference + 0.0:.4e}" for difference in differences]
    within, lost = comparison.within.ravel()[shown].tolist(), comparison.lost.ravel()[shown].tolist()
    return [
        ("no digit" if lost[k] else "rounding") if within[k] else f"{difference + 0.0:.4e}"
        for k, difference in enumerate(differences)
    ]


def _marked(problem: Problem, targets: np.ndarray[Any, Any], index: int) -> Text:
    name = class_in_short(problem, index)
    return Text(f">{name}", style="bold") if targets[index] != 0 else Text(name)


def _fraction(value: float) -> str:
    """A number between 0 and 1, to six digits where they show."""
    if value == 0 or not np.isfinite(value):
        return f"{value:g}"
    return f"{value:.6f}" if 1e-3 <= value < 1e3 else f"{value:.3e}"


def _plain_table(show_header: bool = False) -> Table:
    return Table(box=None, show_header=show_header, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
