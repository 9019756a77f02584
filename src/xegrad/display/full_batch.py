"""The view of a data set: the loss and the gradients of all its rows, and what computed them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.text import Text

from xegrad.display import blocks
from xegrad.display.blocks import Paragraph, Section, Verdict, View
from xegrad.display.heatmap import gradient_map
from xegrad.display.matrix import gradient_matrix
from xegrad.display.numbers import with_digits
from xegrad.display.page import PageSettings
from xegrad.full_batch import Total
from xegrad.naming import layer_in_words, source_name
from xegrad.problem import Layout
from xegrad.vocabulary import SYMBOLS, count

LOSS_DIGITS = 12


def total_view(total: Total, layout: Layout, facts: Mapping[str, Any], page: PageSettings) -> View:
    """The loss, the layer and its rows, and each gradient."""
    problem = total.asked.layer
    view: View = [
        [Verdict(blocks.DONE, f"the loss is {with_digits(total.loss, LOSS_DIGITS)}: {_divided(total)}.")],
        [Paragraph(f"Softmax layer: {layer_in_words(problem, transpose=layout.transpose)}.")],
        of_data_set(total, facts),
    ]
    for name, gradient in total.gradients.items():
        values = layout.of(name, gradient) + 0.0
        shown = gradient_matrix(problem, name, values, page) or gradient_map(problem, name, values, page)
        view.append([Paragraph(Text(f"dL/d{SYMBOLS[name]}", style="title")), *shown])
    return view


def of_data_set(total: Total, facts: Mapping[str, Any]) -> Section:
    """How many rows of which files, in how many blocks, by what."""
    asked = total.asked
    paths = [source_name(path) for path in asked.data.paths]
    files = f"{len(paths)} files, from {paths[0]} to {paths[-1]}" if len(paths) > 1 else "".join(paths)
    where = (
        f"by {count(facts['workers'], 'worker')} of dask"
        if "workers" in facts
        else f"by the engine {facts['engine']}"
    )
    retries = f", {count(facts['retries'], 'task')} given to another worker" if facts.get("retries") else ""
    bad = f" {_rows(total.n_bad)} could not be read." if total.n_bad else ""
    computed = f"{_rows(total.n_rows)} in {count(asked.n_blocks, 'block')} of {asked.rows_of_block:,}, {where}{retries}"
    return [Paragraph(f"{computed}.{bad} {files}.")]


def _rows(n_rows: int) -> str:
    """1 row, 1,000,000 rows."""
    return f"{n_rows:,} row{'s' * (n_rows != 1)}"


def _divided(total: Total) -> str:
    """What the loss is of."""
    targets = total.asked.layer.targets
    kind = "mean" if targets.reduction == "mean" else "sum"
    ignored = total.n_rows - total.n_kept
    rows = (
        f"{total.n_kept:,} of {_rows(total.n_rows)} ({ignored:,} ignored)" if ignored else _rows(total.n_rows)
    )
    is_weighted_mean = total.asked.is_weighted and kind == "mean"
    weights = f", weights sum to {total.divisor:g}" if is_weighted_mean else ""
    return f"{kind} over {rows}{weights}"
