"""Slips that multiply whole rows of the residual, each with a number of its own: R_b becomes f_b R_b.

See docs/numerics.md, section 8.1.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from xegrad.derivation import Cells
from xegrad.naming import nth
from xegrad.numbers.rounded import Rounded
from xegrad.slips.entry import Parameters
from xegrad.targets import Array

MOST_SIZES = 64  # of micro-batches that are tried: up to 16, then powers of two and round numbers
ONE_BY_ONE = 8  # rows that are left out one by one, for samples and blind spots

Mask = NDArray[np.bool_]


def counts(c: Cells) -> Array:
    """What each row counts in the divisor of the mean: 1, or the weight of its class, and 0 if it is ignored."""
    targets = c.problem.targets
    if targets.class_weights is None or targets.labels is None:
        return targets.kept.astype(np.float64)
    return targets.weights_of_rows


def counting(c: Cells) -> Mask:
    """The rows that have a residual at all."""
    return np.asarray(c.q.value[:, 0] != 0)


# The mean of the means of micro-batches.


def micro_batch_forms(c: Cells) -> list[Parameters]:
    """Each size that makes a difference: with equal parts the mean of the means is the mean.

    With one factor for all rows that count, some micro-batch may have none of them.  Then the sum of the means is a
    multiple, and the average may be the mean over all rows, which is simpler.
    """
    n_rows = c.problem.n_rows
    if c.problem.targets.reduction != "mean":
        return []
    rows, sizes = counting(c), (m for m in range(1, n_rows) if m <= 16 or m & (m - 1) == 0 or m % 10 == 0)
    forms: list[Parameters] = []
    for size in itertools.islice(sizes, MOST_SIZES):
        factors = micro_batches(c, {"size": size, "then": "averaged"})[rows]
        if factors.size and np.ptp(factors) > 1e-9 * np.abs(factors).max():
            forms += [{"size": size, "then": then} for then in ("averaged", "added up")]
        elif factors.size and min(abs(factors[0] - other) for other in (1.0, rows.mean())) > 1e-9:
            forms.append({"size": size, "then": "averaged"})
    return forms


def micro_batches(c: Cells, form: Parameters) -> Array:
    """Of all rows: the divisor of all over that of the row's own micro-batch, and over how many there are."""
    of_rows = counts(c)
    batch = np.arange(of_rows.size) // form["size"]
    divisors = np.bincount(batch, of_rows)[batch]
    factors = np.divide(of_rows.sum(), divisors, out=np.zeros_like(divisors), where=divisors != 0)
    return factors / (batch[-1] + 1) if form["then"] == "averaged" else factors


# Rows left out.


def left_out_forms(c: Cells) -> list[Parameters]:
    """One row, each of the first few; `left_out` takes any set of them."""
    rows = counting(c)
    one_by_one = (np.arange(rows.size) == row for row in np.flatnonzero(rows)[:ONE_BY_ONE])
    return _left_out(c, one_by_one, ["all rows"])


def _left_out(c: Cells, masks: Iterable[Mask], divisors: Sequence[str]) -> list[Parameters]:
    """The forms of these sets of rows, but for none and all."""
    rows, total = counting(c), counts(c)
    forms: dict[str, Parameters] = {}
    for mask in masks:
        missing = mask & rows
        if c.name == "bias" and (rows & ~mask).sum() == 1:  # that row alone, which is another slip
            continue
        if missing.any() and (total * (rows & ~mask)).any():
            text = " ".join(map(str, np.flatnonzero(missing).tolist()))
            forms |= {f"{text} {divisor}": {"rows": text, "divisor": divisor} for divisor in divisors}
    return list(forms.values())


def patterns(c: Cells, others: Sequence[Mask] = ()) -> list[Parameters]:
    """Sets of rows that programs leave out: one, the first or last few, every k-th and all but every k-th."""
    index = np.arange(c.problem.n_rows)
    few = range(1, min(index.size, 64))
    masks = [*others, *(index == row for row in index[:64])]
    masks += [index >= index.size - k for k in few] + [index < k for k in few]
    every = [index % k == first for k in range(2, min(index.size, 9)) for first in range(k)]
    divisors = ["all rows", "the rest"] if c.problem.targets.reduction == "mean" else ["all rows"]
    return _left_out(c, [*masks, *every, *(~mask for mask in every)], divisors)


def left_out(c: Cells, form: Parameters) -> Array:
    kept, of_rows = np.ones(c.problem.n_rows), counts(c)
    kept[[int(row) for row in form["rows"].split()]] = 0
    return kept if form["divisor"] == "all rows" else kept * (of_rows.sum() / (of_rows * kept).sum())


def description_bits(form: Parameters, n_rows: int) -> float:
    """How many bits tell this set of rows from the others: the ends of its runs, or a bit for each row."""
    rows = np.array(form["rows"].split(), dtype=np.intp)
    runs = 1 + int((np.diff(rows) > 1).sum())
    return float(min(n_rows, 2 * runs * np.log2(n_rows) + 1))


def in_words(form: Parameters, n_rows: int) -> str:
    """Row 2; rows 4 to 7, the last 4; every 2nd row, to the end or to row 8; or the rows one by one."""
    rows = [int(row) for row in form["rows"].split()]
    if len(rows) == 1:
        return f"Row {rows[0]}"
    steps = {*np.diff(rows).tolist()}
    if steps == {1}:
        which = ", the last" if rows[-1] == n_rows - 1 else ", the first" if rows[0] == 0 else ""
        return f"Rows {rows[0]} to {rows[-1]}" + (f"{which} {len(rows)}," if which else "")
    if len(rows) > 2 and len(steps) == 1:
        step = steps.pop()
        last = f" to row {rows[-1]}" if rows[-1] + step < n_rows else ""
        return f"Every {nth(step)} row, from row {rows[0]}{last},"
    shown = ", ".join(map(str, rows[:12])) + (" ..." if len(rows) > 12 else "")
    return f"Rows {shown} ({len(rows)} of {n_rows})"


# The factor of the first row.


def first_row_forms(c: Cells) -> list[Parameters]:
    factors = c.q.value[counting(c)]
    return [{}] if factors.size and c.q.value[0, 0] != 0 and (factors != c.q.value[0, 0]).any() else []


def first_row(c: Cells, form: Parameters) -> Array:
    of_rows, first = c.q.value[:, 0], c.some(slice(0, 1)).q.value[0, 0]
    return np.divide(first, of_rows, out=np.zeros_like(of_rows), where=of_rows != 0)


def times(factors: Array, c: Cells) -> Rounded:
    """f_b R_b, of factors of the rows that the cells hold, or of all."""
    return c.R * (factors if len(factors) == len(c.R.value) else factors[c.rows])[:, None]
