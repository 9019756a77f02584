"""The view of `xegrad compute`: the problem, its probabilities, and dL/dW by each method side by side."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from xegrad.comparison import Comparison
from xegrad.computation import AGREE_RIGHT, AGREE_WRONG, DIFFER, Computation
from xegrad.display.heatmap import gradient_map
from xegrad.display.numbers import MANY, SHOWS_ALL, decimals_for, how_many_correct, in_column
from xegrad.display.page import Page
from xegrad.display.verdict import compute_verdict
from xegrad.naming import LONGEST, class_in_full, class_within, printable
from xegrad.problem import Layout, Problem
from xegrad.vocabulary import AXES, SYMBOLS

SMALL = 64  # entries of dL/dW that are shown one by one
SHORTEST_NAME = 6  # columns that the name of a class keeps
FEW = 12  # classes whose probabilities are all shown
UNCERTIFIED = "?"  # stands beside an exact value that may not be the nearest


def computation_view(computation: Computation, layout: Layout, page: Page) -> RenderableType:
    """What was understood, the probabilities and the loss, each gradient entry by entry, and the verdict last."""
    width, top, digits = page.width, page.top or 1, page.digits
    verdict = compute_verdict(computation)
    styles = {AGREE_RIGHT: "bold green", AGREE_WRONG: "bold yellow", DIFFER: "bold red"}
    style = styles.get(computation.verdict, "bold")
    sentence = wrapped(verdict, width)
    sentence.stylize(style, 0, verdict.index(":"))
    gradients: list[RenderableType] = []
    for name in computation.names:
        gradients += ["", *_gradient(computation, name, layout, width, top, digits)]
        if page.heatmaps:
            values = computation.reported.gradients[name]
            gradients += ["", gradient_map(computation.problem, name, values, width=width, ascii=page.ascii)]
    return Group(
        wrapped(understood(computation.problem, layout), width),
        "",
        *(_rows(computation, width, top) if layout.is_batch else _probabilities(computation, width, top)),
        *_losses(computation),
        *gradients,
        *_distances(computation.from_exact),
        *_legend(computation),
        "",
        sentence,
    )


def wrapped(text: str, width: int) -> Text:
    """Lines without the trailing blanks that a terminal's own wrapping leaves."""
    return Text("\n".join(textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)))


def understood(problem: Problem, layout: Layout) -> str:
    """The layer, its rows, and what the loss divides by, in sentences."""
    inputs = f"{problem.n_inputs} input{'' if problem.n_inputs == 1 else 's'}"
    classes = f"{problem.n_classes} class{'' if problem.n_classes == 1 else 'es'}"
    bias = " and b" if problem.bias is not None else ""
    layer = f"W {classes} x {inputs}{bias}" if layout.transpose else f"W {inputs} x {classes}{bias}"
    square = ""
    if problem.n_inputs == problem.n_classes > 1:
        square = (
            " W is square; it was read as classes x inputs, as --transpose says."
            if layout.transpose
            else " W is square; it was read as inputs x classes (--transpose reads it the other way)."
        )
    stated = problem.targets
    single = "" if problem.dtype == np.float64 else f", in {problem.dtype.name}"
    if layout.is_batch:
        names = (
            "" if problem.classes is None else f" The classes: {', '.join(map(printable, problem.classes))}."
        )
        if problem.n_classes > FEW:
            names = ""
        rows = f"{problem.n_rows} row{'' if problem.n_rows == 1 else 's'}"
        return f"Softmax layer: {layer}, {rows}{single}: {divisor(problem)}.{names}{square}"
    optional = "" if _is_plain(problem) else f": {divisor(problem)}"
    label = int(stated.label_of_rows[0])
    if label >= 0:
        target = f"The label is {class_in_full(problem, label)}, marked >."
    else:
        target = "The target is soft; its classes are marked >."
    return f"Softmax layer: {layer}, one example{single}{optional}. {target}{square}"


def _is_plain(problem: Problem) -> bool:
    stated = problem.targets
    return stated.class_weights is None and not stated.label_smoothing


def divisor(problem: Problem) -> str:
    """mean over 3 of 4 rows (1 ignored), weights sum to 7.5, label smoothing 0.1."""
    stated, n_rows = problem.targets, problem.n_rows
    kept = int(stated.kept.sum())
    rows = f"{n_rows} row{'' if n_rows == 1 else 's'}"
    if kept < n_rows:
        rows = f"{kept} of {rows} ({n_rows - kept} ignored)"
    parts = [f"{'mean' if stated.reduction == 'mean' else 'sum'} over {rows}"]
    if stated.class_weights is not None:
        if stated.reduction == "mean" and stated.labels is not None:
            parts.append(f"weights sum to {_as_float(stated.divisor):.6g}")
        else:
            parts.append("with class weights")
    if stated.label_smoothing:
        parts.append(f"label smoothing {stated.label_smoothing:g}")
    return ", ".join(parts)


def _as_float(number: Fraction) -> float:
    """A sum of weights may be larger than any float."""
    try:
        return float(number)
    except OverflowError:
        return math.inf


def _rows(computation: Computation, width: int, top: int) -> Iterator[RenderableType]:
    """The rows: what each should be, with what probability it is, and its loss before the reduction."""
    problem, forward = computation.problem, computation.forward
    weight = _as_float(problem.targets.divisor)
    losses = computation.reported.losses.astype(np.float64) * weight
    shown = np.arange(problem.n_rows)
    if problem.n_rows > max(top, 1):
        # Six digits decide, so that rounding does not.
        rank = [float(f"{loss:.5e}") for loss in np.nan_to_num(losses, nan=np.inf)]
        shown = np.sort(np.lexsort((shown, -np.array(rank)))[: max(top, 1)])
        yield Text(f"The {len(shown)} of {problem.n_rows} rows that lose most:")
    labels, probabilities = problem.targets.label_of_rows, forward.probabilities
    numbers = []
    for b in shown.tolist():
        label, likeliest = int(labels[b]), int(probabilities[b].argmax())
        own = _fraction(float(probabilities[b, label])) if label >= 0 else ""
        numbers.append((own, _fraction(float(probabilities[b, likeliest])), _fraction(float(losses[b]))))
    # The names get what the numbers leave.
    taken = (
        max(3, len(str(problem.n_rows)))
        + 10
        + sum(max(map(len, column)) for column in zip(*numbers, strict=True))
    )
    for_name = max(9, (width - taken) // 2)
    table = _plain_table(show_header=True)
    for heading in ("row", "label", "S of it", "likeliest", "its S", "loss"):
        table.add_column(heading, justify="right", no_wrap=True)
    for b, (own, most, loss) in zip(shown.tolist(), numbers, strict=True):
        label, likeliest = int(labels[b]), int(probabilities[b].argmax())
        name = "soft" if problem.targets.kept[b] else "ignored"
        name = class_within(problem, label, for_name) if label >= 0 else name
        table.add_row(str(b), name, own, class_within(problem, likeliest, for_name), most, loss)
    yield table


def _probabilities(computation: Computation, width: int, top: int) -> Iterator[RenderableType]:
    """The classes side by side, in as many bands as the width asks for; of many, the most probable."""
    problem, forward = computation.problem, computation.forward
    probabilities, targets = forward.probabilities[0], forward.targets[0]
    shown = np.arange(problem.n_classes)
    if problem.n_classes > FEW:
        rank = np.lexsort((shown, -np.nan_to_num(probabilities), targets == 0))
        shown = np.sort(rank[: max(top, 1)])
        yield Text(f"The target and the most probable of {problem.n_classes} classes:")
    soft = problem.targets.soft is not None or not _is_plain(problem)
    marks = _marks(problem)
    rows = {"class": [_marked(problem, marks, int(index)) for index in shown]}
    rows["probability"] = [Text(_fraction(float(probabilities[index]))) for index in shown]
    if soft:
        rows["target Q"] = [Text(_fraction(float(targets[index]))) for index in shown]
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


def _losses(computation: Computation) -> Iterator[RenderableType]:
    """The loss of the most accurate method, and any that has fewer than half of its digits in common with it."""
    *others, (name, reported) = computation.evaluations.items()
    loss = float(reported.loss)
    # Of the exact one every digit is certain; the last of another depends on the processor.
    sign = UNCERTIFIED if np.any(computation.uncertified.get("loss", False)) else ""
    yield Text(f"loss         {loss!r}{sign}" if name == "exact" else f"loss         {loss:.{MANY}g}")
    half = math.sqrt(np.finfo(computation.problem.dtype).eps)
    for name, evaluation in others:
        other = float(evaluation.loss)
        if repr(other) != repr(loss) and not abs(other - loss) <= half * abs(loss):
            yield Text(f"             {other + 0.0!r} by the {name}")


def _gradient(
    computation: Computation, name: str, layout: Layout, width: int, top: int, digits: int
) -> Iterator[RenderableType]:
    problem, comparison = computation.problem, computation.comparisons.get(name)
    gradients = {
        method: evaluation.gradients[name].ravel() for method, evaluation in computation.evaluations.items()
    }
    size = computation.reported.gradients[name].size
    if size <= SMALL:
        yield Text(f"dL/d{SYMBOLS[name]}")
        shown = np.arange(size)
    else:
        shown, order = _worst(gradients, comparison, top)
        which = "the one" if len(shown) == 1 else f"the {len(shown)}"
        yield Text(f"dL/d{SYMBOLS[name]} has {size} entries; {which} {order}:")
    values = {method: values[shown].tolist() for method, values in gradients.items()}
    decimals = decimals_for(itertools.chain.from_iterable(values.values()), digits)
    numbers = {method: [in_column(v, decimals, digits) for v in column] for method, column in values.items()}
    if comparison is not None:
        numbers["difference"] = _differences(comparison, shown, digits)
    axes = [axis for axis in AXES[name] if axis != "row" or layout.is_batch]
    narrow = max(7, sum(7 for axis in axes if axis != "class"))  # one layout for W and b
    if "exact" in numbers and len(numbers) > 2 and _width(numbers) > width - narrow - SHORTEST_NAME:
        del numbers["exact"]  # the block below tells how far from it the others are
    if name in computation.uncertified:
        beside = "exact" if "exact" in numbers else list(numbers)[-1]
        marked = computation.uncertified[name].ravel()[shown].tolist()
        numbers[beside] = _with_signs(numbers[beside], marked)
    taken = _width(numbers) + narrow
    for_class = max(SHORTEST_NAME, width - taken) if "class" in axes else 0
    table = _plain_table(show_header=True)
    if for_class + taken > width:
        # Seventeen digits need more than sixty columns: lines that the terminal folds beat cut numbers.
        table.width = for_class + taken
    for axis in axes:
        if axis == "class":
            table.add_column("class", justify="right", no_wrap=True, overflow="ellipsis", max_width=for_class)
        else:
            table.add_column(axis, justify="right", no_wrap=True)
    for method in numbers:
        table.add_column(method, justify="right", no_wrap=True)
    marks = _marks(problem)
    said = -1  # the first index, which is said once for the rows that share it
    for k, index in enumerate(shown.tolist()):
        place = dict(zip(AXES[name], problem.place(name, index), strict=True))
        cells = [
            _marked(problem, marks, place[axis], for_class) if axis == "class" else Text(str(place[axis]))
            for axis in axes
        ]
        if len(axes) > 1 and size <= SMALL and place[axes[0]] == said:
            cells[0] = Text("")
        said = place[axes[0]]
        table.add_row(*cells, *(column[k] for column in numbers.values()))
    yield table


def _marks(problem: Problem) -> NDArray[np.bool_]:
    """(T,) the classes of one example's target; those of a label alone, however it is smoothed."""
    if problem.n_rows > 1:
        return np.zeros(problem.n_classes, dtype=bool)
    label = int(problem.targets.label_of_rows[0])
    if label >= 0:
        own: NDArray[np.bool_] = np.arange(problem.n_classes) == label
        return own
    marks: NDArray[np.bool_] = problem.targets.effective(problem.n_classes, problem.dtype)[0] != 0
    return marks


def _width(columns: Mapping[str, list[str]]) -> int:
    return sum(2 + max(map(len, (name, *cells))) for name, cells in columns.items())


def _with_signs(cells: Sequence[str], marked: Sequence[bool]) -> list[str]:
    """The cells with the sign of what is not certified; digits stay below digits."""
    if not any(marked):
        return list(cells)
    return [cell + (UNCERTIFIED if sign else " ") for cell, sign in zip(cells, marked, strict=True)]


def _legend(computation: Computation) -> Iterator[RenderableType]:
    """What the sign means, where it stands."""
    if any(mask.any() for mask in computation.uncertified.values()):
        yield ""
        yield Text(f"{UNCERTIFIED}  not certified: the exact value may be another")


def _distances(from_exact: Mapping[str, Mapping[str, Comparison]]) -> Iterator[RenderableType]:
    """How far each method is from the exact values."""
    if not from_exact:
        return
    table = _plain_table(show_header=True)
    table.add_column("against exact", no_wrap=True)
    rows: dict[str, list[str]] = {"digits, worst entry": [], "entries without one": []}
    for name, by in from_exact.items():
        table.add_column(name, justify="right", no_wrap=True)
        digits = min(int(against.correct_digits.min()) for against in by.values())
        rows["digits, worst entry"].append(how_many_correct(digits))
        rows["entries without one"].append(
            str(sum(int(against.digits_lost.sum()) for against in by.values()))
        )
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


def _marked(problem: Problem, marks: NDArray[np.bool_], index: int, width: int = LONGEST) -> Text:
    name = class_within(problem, index, width - bool(marks[index]))
    return Text(f">{name}", style="bold") if marks[index] else Text(name)


def _fraction(value: float) -> str:
    """A number between 0 and 1, to six digits where they show."""
    if value == 0 or not np.isfinite(value):
        return f"{value:g}"
    return f"{value:.6f}" if 1e-3 <= value < 1e3 else f"{value:.3e}"


def _plain_table(show_header: bool = False) -> Table:
    return Table(box=None, show_header=show_header, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
