"""The view of `xegrad compute`: the problem, its probabilities, and dL/dW by each method side by side."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from rich.text import Text

from xegrad.comparison import Comparison
from xegrad.computation import AGREE_RIGHT, AGREE_WRONG, DIFFER, UNDECIDED, Computation
from xegrad.display.heatmap import gradient_map
from xegrad.display.numbers import MANY, SHOWS_ALL, decimals_for, fraction, how_many_correct, in_column
from xegrad.display.page import ALL_CLASSES, ALL_ENTRIES, PageSettings
from xegrad.display.text import Column, Section, View, headed, matrix, wrap
from xegrad.display.verdict import compute_verdict
from xegrad.naming import LONGEST, class_in_full, class_within, layer_in_words, printable
from xegrad.problem import Layout, Problem
from xegrad.vocabulary import AXES, SYMBOLS, count

ROW_HEADINGS = ("row", "label", "S of it", "likeliest", "its S", "loss")
SHORTEST_NAME = 6  # columns that the name of a class keeps
UNCERTIFIED = "?"  # stands beside an exact value that may not be the nearest
STYLES = {AGREE_RIGHT: "bold green", AGREE_WRONG: "bold yellow", DIFFER: "bold red", UNDECIDED: "bold"}


def computation_view(computation: Computation, layout: Layout, page: PageSettings) -> View:
    """What was understood, the probabilities and the loss, each gradient entry by entry, and the verdict last."""
    by_row = _rows(computation, page) if layout.is_batch else _probabilities(computation, page)
    gradients = []
    for name in computation.names:
        gradients.append(_gradient(computation, name, layout, page))
        if page.heatmaps:
            values = computation.reported.gradients[name]
            gradients.append(gradient_map(computation.problem, name, values, page))
    is_unsure = any(mask.any() for mask in computation.uncertified.values())
    return [
        wrap(understood(computation.problem, layout), page.width),
        [*by_row, *_losses(computation)],
        *gradients,
        _distances(computation.from_exact, page.width),
        wrap(f"{UNCERTIFIED}  {_why_uncertified(computation)}", page.width) if is_unsure else [],
        headed(compute_verdict(computation), STYLES[computation.verdict], page.width),
    ]


def _why_uncertified(computation: Computation) -> str:
    """What the sign beside an exact value says, and what would certify it."""
    unsure = "not certified: the exact value may be another"
    return "; ".join(filter(None, (unsure, computation.evaluations["exact"].left_out)))


def understood(problem: Problem, layout: Layout) -> str:
    """The layer, its rows, and what the loss divides by, in sentences."""
    layer = layer_in_words(problem, transpose=layout.transpose)
    square = ""
    if problem.n_inputs == problem.n_classes > 1:
        read_as = "inputs x classes (--transpose reads it the other way)"
        if layout.transpose:
            read_as = "classes x inputs, as --transpose says"
        square = f" W is square; it was read as {read_as}."
    single = "" if problem.dtype == np.float64 else f", in {problem.dtype.name}"
    rows = count(problem.n_rows, "row") if layout.is_batch else "one example"
    options = f": {divisor(problem)}" if layout.is_batch or not _is_plain(problem) else ""
    label, classes = int(problem.targets.label_of_rows[0]), ""
    if not layout.is_batch:
        classes = " The target is soft; its classes are marked >."
        if label >= 0:
            classes = f" The label is {class_in_full(problem, label)}, marked >."
    elif problem.classes is not None and problem.n_classes <= ALL_CLASSES:
        classes = f" The classes: {', '.join(map(printable, problem.classes))}."
    return f"Softmax layer: {layer}, {rows}{single}{options}.{classes}{square}"


def _is_plain(problem: Problem) -> bool:
    return problem.targets.class_weights is None and not problem.targets.label_smoothing


def divisor(problem: Problem) -> str:
    """mean over 3 of 4 rows (1 ignored), weights sum to 7.5, label smoothing 0.1."""
    targets, n_rows = problem.targets, problem.n_rows
    kept = int(targets.kept.sum())
    rows = count(n_rows, "row")
    if kept < n_rows:
        rows = f"{kept} of {rows} ({n_rows - kept} ignored)"
    parts = [f"{'mean' if targets.reduction == 'mean' else 'sum'} over {rows}"]
    if targets.class_weights is not None:
        divides = targets.reduction == "mean" and targets.labels is not None
        weights = f"weights sum to {_as_float(targets.divisor):.6g}" if divides else "with class weights"
        parts.append(weights)
    if targets.label_smoothing:
        parts.append(f"label smoothing {targets.label_smoothing:g}")
    return ", ".join(parts)


def _as_float(number: Fraction) -> float:
    """A sum of weights may be larger than any float."""
    try:
        return float(number)
    except OverflowError:
        return math.inf


def _rows(computation: Computation, page: PageSettings) -> Section:
    """The rows: what each should be, with what probability it is, and its loss before the reduction."""
    problem, probabilities = computation.problem, computation.probabilities
    targets = problem.targets
    losses = computation.reported.losses.astype(np.float64) * _as_float(targets.divisor)
    shown = np.arange(problem.n_rows)
    title: Section = []
    if page.top is not None and problem.n_rows > page.top:
        # Six digits decide, so that rounding does not.
        rank = [float(f"{loss:.5e}") for loss in np.nan_to_num(losses, nan=np.inf)]
        shown = np.sort(np.lexsort((shown, -np.array(rank)))[: page.top])
        title = wrap(f"The {len(shown)} of {problem.n_rows} rows that lose most:", page.width)
    rows, of_loss = shown.tolist(), [fraction(loss) for loss in losses[shown].tolist()]
    classes = [targets.label_of_rows[shown].tolist(), probabilities.argmax(axis=-1)[shown].tolist()]
    of_label, of_likeliest = (
        [fraction(float(probabilities[b, c])) if c >= 0 else "" for b, c in zip(rows, column, strict=True)]
        for column in classes
    )
    # The names get what the numbers leave.
    taken = 10 + max(3, len(str(problem.n_rows)))
    taken += sum(max(map(len, cells)) for cells in (of_label, of_likeliest, of_loss))
    for_name = max(9, (page.width - taken) // 2)
    no_label = "ignored" if targets.soft is None else "soft"
    labels, likeliest = (
        [class_within(problem, c, for_name) if c >= 0 else no_label for c in column] for column in classes
    )
    columns = [list(map(str, rows)), labels, of_label, likeliest, of_likeliest, of_loss]
    return title + matrix(list(map(Column, columns, ROW_HEADINGS)))


def _probabilities(computation: Computation, page: PageSettings) -> Section:
    """The classes side by side, in as many bands as the width asks for; of many, the most probable."""
    problem, forward = computation.problem, computation.forward
    probabilities, targets = forward.probabilities[0], forward.targets[0]
    shown = np.arange(problem.n_classes)
    title: Section = []
    if problem.n_classes > ALL_CLASSES:
        rank = np.lexsort((shown, -np.nan_to_num(probabilities), targets == 0))
        shown = np.sort(rank[: page.top])
        title = wrap(f"The target and the most probable of {problem.n_classes} classes:", page.width)
    rows: dict[str, Sequence[Text | str]] = {
        "class": _class_cells(problem, shown.tolist(), min(LONGEST, max(8, page.width - 15))),
        "probability": list(map(fraction, probabilities[shown].tolist())),
        "target Q": list(map(fraction, targets[shown].tolist())),
    }
    if problem.targets.soft is None and _is_plain(problem):
        del rows["target Q"]
    classes = list(zip(*rows.values(), strict=True))
    widest = max(Column(cells).width for cells in classes)
    columns = [Column(cells, least=widest) for cells in classes]
    headings = Column(list(rows), left=True, least=len("probability"))
    return title + matrix(columns, labels=[headings], width=page.width)


def _losses(computation: Computation) -> Iterator[Text]:
    """The loss of the most accurate method, and any that has fewer than half of its digits in common with it."""
    *others, (name, reported) = computation.evaluations.items()
    loss = float(reported.loss)
    # Of the exact one every digit is certain; the last of another depends on the processor.
    text = repr(loss) if name == "exact" else f"{loss:.{MANY}g}"
    sign = UNCERTIFIED if np.any(computation.uncertified.get("loss", False)) else ""
    yield Text(f"loss         {text}{sign}")
    half = math.sqrt(np.finfo(computation.problem.dtype).eps)
    for name, evaluation in others:
        other = float(evaluation.loss)
        if repr(other) != repr(loss) and not abs(other - loss) <= half * abs(loss):
            yield Text(f"             {other + 0.0!r} by the {name}")


def _gradient(computation: Computation, name: str, layout: Layout, page: PageSettings) -> Section:
    """The entries of a gradient by each method, and how far chain and shortcut are apart."""
    problem, comparison = computation.problem, computation.comparisons.get(name)
    evaluations, digits = computation.evaluations.items(), page.digits
    gradients = {method: evaluation.gradients[name].ravel() for method, evaluation in evaluations}
    size = computation.reported.gradients[name].size
    title = f"dL/d{SYMBOLS[name]}"
    if size <= ALL_ENTRIES:
        shown = np.arange(size)
    else:
        shown, order = _worst(next(iter(gradients.values())), comparison, page.top)
        which = "the one" if len(shown) == 1 else f"the {len(shown)}"
        title += f" has {size} entries; {which} {order}:"
    values = {method: entries[shown].tolist() for method, entries in gradients.items()}
    decimals = decimals_for(itertools.chain.from_iterable(values.values()), digits)
    numbers = {method: [in_column(v, decimals, digits) for v in column] for method, column in values.items()}
    if comparison is not None:
        numbers["difference"] = _differences(comparison, shown, digits)
    axes = [axis for axis in AXES[name] if axis != "row" or layout.is_batch]
    narrow = max(7, sum(7 for axis in axes if axis != "class"))  # one layout for W and b
    if "exact" in numbers and len(numbers) > 2 and _width(numbers) > page.width - narrow - SHORTEST_NAME:
        del numbers["exact"]  # the block below tells how far from it the others are
    unsure = computation.uncertified.get(name, np.zeros(size, dtype=bool)).ravel()[shown]
    if unsure.any():  # digits stay below digits
        beside = "exact" if "exact" in numbers else list(numbers)[-1]
        signs = np.where(unsure, UNCERTIFIED, " ").tolist()
        numbers[beside] = list(map(str.__add__, numbers[beside], signs))
    for_class = max(SHORTEST_NAME, page.width - narrow - _width(numbers))
    indices = dict(zip(AXES[name], np.array(problem.place(name, shown)).tolist(), strict=True))
    places = {axis: list(map(Text, map(str, indices[axis]))) for axis in axes}
    if "class" in axes:
        places["class"] = _class_cells(problem, indices["class"], for_class)
    if len(axes) > 1 and size <= ALL_ENTRIES:  # an index like that above it is left out
        cells = places[axes[0]]
        places[axes[0]] = [Text() if k and cell == cells[k - 1] else cell for k, cell in enumerate(cells)]
    columns = [Column(column, heading) for heading, column in (places | numbers).items()]
    return [*wrap(title, page.width), *matrix(columns)]


def _class_cells(problem: Problem, classes: Iterable[int], width: int) -> list[Text]:
    """Names of classes: those of one example's target are marked, of a label that alone, however it is smoothed."""
    label = int(problem.targets.label_of_rows[0])
    is_marked = np.arange(problem.n_classes) == label
    if label < 0 and problem.n_rows == 1:
        is_marked = problem.targets.effective(problem.n_classes, problem.dtype)[0] != 0
    cells = []
    for index in classes:
        mark = ">" if is_marked[index] and problem.n_rows == 1 else ""
        name = class_within(problem, index, width - len(mark))
        cells.append(Text(mark + name, style="bold" if mark else ""))
    return cells


def _width(columns: Mapping[str, list[str]]) -> int:
    return sum(2 + max(map(len, (name, *cells))) for name, cells in columns.items())


def _distances(from_exact: Mapping[str, Mapping[str, Comparison]], width: int) -> Section:
    """How far each method is from the exact values."""
    columns = []
    for name, by in from_exact.items():
        digits = min(int(against.correct_digits.min()) for against in by.values())
        without = sum(int(against.no_correct_digit.sum()) for against in by.values())
        columns.append(Column([how_many_correct(digits), str(without)], name))
    labels = Column(["digits, worst entry", "entries without one"], "against exact", left=True)
    return matrix(columns, labels=[labels], width=width) if columns else []


def _largest(values: Any, n: int) -> Any:
    """The flat indices of the n largest entries, the first of equal ones first; of many, only these are sorted."""
    keys = np.abs(values)
    np.negative(keys, out=keys)
    last = np.partition(keys, n - 1)[n - 1] if n < keys.size else np.nan
    if np.isnan(last):
        return np.argsort(keys, kind="stable")[:n]
    before, equal = np.flatnonzero(keys < last), np.flatnonzero(keys == last)
    largest = np.sort(np.concatenate([before, equal[: n - before.size]]))
    return largest[np.argsort(keys[largest], kind="stable")]


def _worst(values: Any, comparison: Comparison | None, top: int | None) -> tuple[Any, str]:
    """Which entries to show of many, and what they have in common."""
    if comparison is None:
        return _largest(values, values.size if top is None else top), "largest"
    order = "in which rounding can hide most" if comparison.agrees else "that differ most"
    return comparison.worst(top), order


def _differences(comparison: Comparison, shown: Any, digits: int) -> list[str]:
    """`rounding` where the bound explains it, `no digit` where it explains anything, else the number."""
    numbers = [f"{difference + 0.0:.4e}" for difference in comparison.difference.ravel()[shown].tolist()]
    if digits >= SHOWS_ALL:
        return numbers
    within, unresolved = comparison.within.ravel()[shown], comparison.unresolved.ravel()[shown]
    return np.select([unresolved, within], ["no digit", "rounding"], np.array(numbers, dtype=object)).tolist()
