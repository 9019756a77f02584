"""The view of `xegrad compute`: the problem, its probabilities, and dL/dW by each method side by side."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import numpy as np
from msgspec.structs import replace
from rich.text import Text

from xegrad.comparison import Comparison
from xegrad.computation import AGREE_RIGHT, AGREE_WRONG, DIFFER, UNDECIDED, Computation
from xegrad.display import blocks, terminal
from xegrad.display.blocks import Beside, Column, Paragraph, Section, Table, Verdict, View
from xegrad.display.heatmap import gradient_map
from xegrad.display.matrix import gradient_matrix, target_classes
from xegrad.display.numbers import (
    SHOWS_ALL,
    alike,
    decimals_for,
    fraction,
    how_many_correct,
    in_column,
    in_short,
)
from xegrad.display.page import ALL_CLASSES, PageSettings
from xegrad.display.verdict import compute_verdict
from xegrad.naming import SHORTEST, class_in_full, class_in_short, class_within, input_within, layer_in_words
from xegrad.problem import Layout, Problem
from xegrad.targets import Array, Targets, as_float
from xegrad.vocabulary import AXES, SYMBOLS, count

ROW_HEADINGS = ("row", "label", "its S", "likeliest", "its S", "loss")
ALIKE = 12  # digits of a loss that every processor computes alike, where nothing is lost
UNCERTIFIED = "?"  # stands beside an exact value that may not be the nearest
KINDS = {
    AGREE_RIGHT: blocks.RIGHT,
    AGREE_WRONG: blocks.NEARLY,
    DIFFER: blocks.WRONG,
    UNDECIDED: blocks.UNDECIDED,
}


def computation_view(
    computation: Computation, layout: Layout, page: PageSettings, *, with_time: bool = False
) -> View:
    """The verdict; the problem and what the methods say of it beside each gradient; and the entries that differ."""
    by_row = _rows(computation, page) if layout.is_batch else _probabilities(computation, page)
    methods = _methods(computation, with_time=with_time)
    matrices = {name: _matrix(computation, name, layout, page) for name in computation.names}
    largest = [
        _largest_entries(computation, name, layout, page) for name, matrix in matrices.items() if not matrix
    ]
    problem: View = [[Paragraph(understood(computation.problem, layout))], by_row, methods, *largest]
    beside = replace(page, width=terminal.width_beside(problem, page.width))
    gradients = [
        [
            Paragraph(Text(f"dL/d{SYMBOLS[name]}", style="title")),
            *(
                matrix
                or gradient_map(computation.problem, name, _reported(computation, name, layout), beside)
            ),
        ]
        for name, matrix in matrices.items()
    ]
    entries = [_entries(computation, name, layout, page) for name in computation.names]
    is_unsure = any(mask.any() for mask in computation.uncertified.values())
    return [
        [Verdict(KINDS[computation.verdict], compute_verdict(computation))],
        [Beside(problem, gradients)],
        *entries,
        [Paragraph(_why_uncertified(computation), f"{UNCERTIFIED}  ")] if is_unsure else [],
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
        elif not problem.targets.kept[0]:
            classes = " The label is ignored, and Q is 0."
    elif problem.classes is not None and problem.n_classes <= ALL_CLASSES:
        names = (class_in_short(problem, index) for index in range(problem.n_classes))
        classes = f" The classes: {', '.join(names)}."
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
        weights = f"weights sum to {_sum_of_weights(targets)}" if divides else "with class weights"
        parts.append(weights)
    if targets.label_smoothing:
        parts.append(f"label smoothing {targets.label_smoothing:g}")
    return ", ".join(parts)


def _sum_of_weights(targets: Targets) -> str:
    total = as_float(targets.divisor)
    return f"{total:.6g}" if math.isfinite(total) else "more than float64 holds"


def _unscaled(losses: Array, divisor: Fraction) -> Array:
    """The losses of rows before they were divided, though the divisor may be larger than any float."""
    power = divisor.numerator.bit_length() - divisor.denominator.bit_length()
    with np.errstate(over="ignore"):
        return np.ldexp(losses * float(divisor / Fraction(2) ** power), power)


def _rows(computation: Computation, page: PageSettings) -> Section:
    """The rows: what each should be, with what probability it is, and its loss before the reduction."""
    problem, probabilities = computation.problem, computation.probabilities
    targets = problem.targets
    losses = _unscaled(computation.reported.losses.astype(np.float64), targets.divisor)
    shown = np.arange(problem.n_rows)
    title: Section = []
    if page.top is not None and problem.n_rows > page.top:
        # Six digits decide, so that rounding does not.
        rank = [float(f"{loss:.5e}") for loss in np.nan_to_num(losses, nan=np.inf)]
        shown = np.lexsort((shown, -np.array(rank)))[: page.top]
        several = "The row that loses" if page.top == 1 else f"The {page.top} rows that lose"
        title = [Paragraph(f"{several} most, of {problem.n_rows}:")]
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
    number, *others = (
        Column(cells, heading, names=cells is labels or cells is likeliest)
        for cells, heading in zip(columns, ROW_HEADINGS, strict=True)
    )
    return [*title, Table(others, [number])]


def _probabilities(computation: Computation, page: PageSettings) -> Section:
    """The classes side by side, in as many bands as the width asks for; of many, the most probable."""
    problem, forward = computation.problem, computation.forward
    probabilities, targets = forward.probabilities[0], forward.targets[0]
    shown = np.arange(problem.n_classes)
    title: Section = []
    if problem.n_classes > ALL_CLASSES:
        rank = np.lexsort((shown, -np.nan_to_num(probabilities), targets == 0))
        shown = np.sort(rank[: page.top])
        title = [Paragraph(f"The target and the most probable of {problem.n_classes} classes:")]
    rows = {"S": probabilities[shown], "Q": targets[shown]}
    if problem.targets.soft is None and _is_plain(problem):
        del rows["Q"]
    names = _class_names(problem, shown.tolist(), max(SHORTEST, page.width // 5))
    cells = zip(*(map(fraction, row.tolist()) for row in rows.values()), strict=True)
    columns = [Column(column, name) for column, name in zip(cells, names, strict=True)]
    return [*title, Table(columns, [Column(list(rows), "class", left=True)])]


def _methods(computation: Computation, *, with_time: bool) -> Section:
    """Each method's loss, the correct digits of its worst entry, how many entries differ, and the time it took."""
    columns: dict[str, list[Text | str]] = {"loss": [], "correct digits": [], "differ": [], "time": []}
    for method, evaluation in computation.evaluations.items():
        loss, by_name = float(evaluation.loss) + 0.0, computation.from_exact.get(method, {}).values()
        # Of the exact loss every digit is certain; the last ones of another depend on the processor.
        text = repr(loss) if method == "exact" else f"{loss:.{ALIKE}g}"
        sign = UNCERTIFIED if method == "exact" and np.any(computation.uncertified["loss"]) else ""
        columns["loss"].append(Text(text + sign, style="name" if method == computation.method else ""))
        digits = min((int(against.correct_digits.min()) for against in by_name), default=0)
        total = sum(against.reference.size for against in by_name)
        differ = sum(int(_differs(against).sum()) for against in by_name)
        columns["correct digits"].append(_or_wrong(how_many_correct(digits), digits == 0) if by_name else "")
        columns["differ"].append(_or_wrong(f"{differ} of {total}", differ > 0) if by_name else "")
        columns["time"].append(in_short(computation.seconds[method]))
    if not computation.from_exact:
        del columns["correct digits"], columns["differ"]
    if not with_time:
        del columns["time"]
    names = Column([*computation.evaluations], "method", left=True)
    cells = [Column(column, heading, left=heading == "loss") for heading, column in columns.items()]
    return [Table(cells, [names])]


def _or_wrong(text: str, is_wrong: bool) -> Text:
    return Text(text, style="wrong" if is_wrong else "")


def _differs(against: Comparison) -> Any:
    """The entries in which a method is further from another than rounding explains, or has no correct digit."""
    return ~(against.within | against.unbounded) | against.no_correct_digit


def _reported(computation: Computation, name: str, layout: Layout) -> Any:
    """A gradient of the most accurate method, as it is shown: that of one example's x is a row."""
    values = np.asarray(computation.reported.gradients[name], dtype=np.float64)
    return values if name != "inputs" or layout.is_batch else values.reshape(1, -1)


def _matrix(computation: Computation, name: str, layout: Layout, page: PageSettings) -> Section:
    """It as a matrix, where the page holds that."""
    return gradient_matrix(computation.problem, name, _reported(computation, name, layout), page)


def _largest_entries(computation: Computation, name: str, layout: Layout, page: PageSettings) -> Section:
    """Its largest entries."""
    values = _reported(computation, name, layout).ravel()
    shown = _largest(values, values.size if page.top is None else page.top)
    decimals = decimals_for(values[shown].tolist(), page.digits)
    numbers = [in_column(value, decimals, page.digits) for value in values[shown].tolist()]
    several = "The largest" if len(shown) == 1 else f"The {len(shown)} largest"
    symbol = f"dL/d{SYMBOLS[name]}"
    places = _places(computation.problem, name, shown, layout, page)
    return [
        Paragraph(f"{several} of {values.size} entries of {symbol}:"),
        Table([Column(numbers, symbol)], places),
    ]


def _entries(computation: Computation, name: str, layout: Layout, page: PageSettings) -> Section:
    """The entries in which methods differ, or of which it is not known, by each of them; or all of them."""
    several = [by[name] for by in computation.from_exact.values()]
    if name in computation.comparisons:
        several.insert(0, computation.comparisons[name])
    size = computation.reported.gradients[name].size
    nowhere = np.zeros(size, dtype=bool)
    differ = np.logical_or.reduce([nowhere, *(_differs(against).ravel() for against in several)])
    open_ = np.logical_or.reduce([nowhere, *(against.unbounded.ravel() for against in several)])
    open_ |= computation.uncertified.get(name, nowhere).ravel()
    is_shown = np.ones(size, dtype=bool) if page.entries else differ | open_
    if not is_shown.any():
        return []
    symbol = f"dL/d{SYMBOLS[name]}"
    kinds = {"in which the methods differ": differ, "that are open": open_}
    title = ", by each method" if page.entries else " " + " or ".join(k for k in kinds if kinds[k].any())
    shown = np.flatnonzero(is_shown)
    if several and not page.entries:
        shown = several[0].worst(page.top, is_shown)
    places = _places(computation.problem, name, shown, layout, page)
    section: Section = [
        Paragraph(f"Entries of {symbol}{title}:"),
        Table(_by_method(computation, name, shown, page), places),
    ]
    if more := int(is_shown.sum()) - shown.size:
        section.append(Paragraph(f"and {more} more; --entries shows them"))
    return section


def _by_method(computation: Computation, name: str, shown: Any, page: PageSettings) -> list[Column]:
    """Some entries by each method, and how far chain and shortcut are apart; digits that are not exact stand out."""
    comparison, digits = computation.comparisons.get(name), page.digits
    values = {
        method: evaluation.gradients[name].ravel()[shown].tolist()
        for method, evaluation in computation.evaluations.items()
    }
    decimals = decimals_for(itertools.chain.from_iterable(values.values()), digits)
    numbers = {method: [in_column(v, decimals, digits) for v in column] for method, column in values.items()}
    cells: dict[str, list[Text]] = {method: [*map(Text, column)] for method, column in numbers.items()}
    for method, by_name in computation.from_exact.items():
        differ = _differs(by_name[name]).ravel()[shown].tolist()
        for cell, exact, is_wrong in zip(cells[method], numbers["exact"], differ, strict=True):
            cell.stylize("wrong" if is_wrong else "caution", alike(cell.plain, exact))
    if "exact" in cells and (unsure := computation.uncertified[name].ravel()[shown]).any():
        for cell, is_unsure in zip(cells["exact"], unsure.tolist(), strict=True):
            cell.append(UNCERTIFIED if is_unsure else " ")  # digits stay below digits
    columns = [Column(column, method) for method, column in cells.items()]
    if comparison is not None:
        columns.append(Column(_differences(comparison, shown, digits), "difference"))
    return columns


def _places(problem: Problem, name: str, shown: Any, layout: Layout, page: PageSettings) -> list[Column]:
    """The indices of some entries, an index that is as above left out where all are shown."""
    axes = [axis for axis in AXES[name] if axis != "row" or layout.is_batch]
    indices = dict(zip(AXES[name], np.array(problem.place(name, shown)).tolist(), strict=True))
    places = {axis: list(map(Text, map(str, indices[axis]))) for axis in axes}
    if "input" in axes and problem.input_names is not None:
        most = max(SHORTEST, page.width // 4)
        places["input"] = [Text(input_within(problem, k, most)) for k in indices["input"]]
    if "class" in axes:
        names = _class_names(problem, indices["class"], max(SHORTEST, page.width // 4))
        places["class"] = [Text(name, style="name" if name[0] == ">" else "") for name in names]
    if len(axes) > 1 and page.entries:
        cells = places[axes[0]]
        places[axes[0]] = [Text() if k and cell == cells[k - 1] else cell for k, cell in enumerate(cells)]
    return [Column(column, axis) for axis, column in places.items()]


def _class_names(problem: Problem, classes: Iterable[int], width: int) -> list[str]:
    """Those of one example's target are marked, of a label that alone, however it is smoothed."""
    marks = [">" if is_marked else "" for is_marked in target_classes(problem)]
    return [marks[index] + class_within(problem, index, width - len(marks[index])) for index in classes]


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


def _differences(comparison: Comparison, shown: Any, digits: int) -> list[str]:
    """`rounding` where the bound explains it, `no digit` where it explains anything, else the number."""
    numbers = [f"{difference + 0.0:.4e}" for difference in comparison.difference.ravel()[shown].tolist()]
    if digits >= SHOWS_ALL:
        return numbers
    within, unresolved = comparison.within.ravel()[shown], comparison.unresolved.ravel()[shown]
    return np.select([unresolved, within], ["no digit", "rounding"], np.array(numbers, dtype=object)).tolist()
