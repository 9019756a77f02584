"""When a hypothesis is a name: enough numbers, enough digits, and every entry within twice its bound."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from xegrad.arrays import blocks
from xegrad.derivation import AT_A_TIME
from xegrad.diagnosis.search import EVERYTHING, NOTHING, Entries, Hypothesis, Search
from xegrad.slips import SLIPS
from xegrad.slips.making import with_slip
from xegrad.slips.rows import description_bits
from xegrad.targets import Array

EVIDENCE = 24.0  # bits
AT_MOST = 53.0  # bits of one entry
ROUNDING_AT_LEAST = 2.0**-16  # of its bound: what is far smaller is something else
ROUNDED_AWAY = 2.0**-10  # of the right entries: what is larger is not looked at as a zero


def is_proved(search: Search, hypothesis: Hypothesis) -> bool:
    """Enough numbers for the free ones, enough digits that they agree in, and no entry that does not fit."""
    if hypothesis.proved:
        return True
    # Seen as it is, a candidate of another shape than W is nothing.
    if search.has_transposed_shape and all(slip.places is None for slip, _ in hypothesis.steps):
        return False
    if not _has_enough_numbers(search, hypothesis):
        return False
    needed = EVIDENCE
    for slip, form in hypothesis.steps:
        if slip.name == "classes-permuted" or " as " in str(form.get("order", "")):
            needed += math.lgamma(search.cells.problem.n_classes + 1) / math.log(2)
        if slip.name == "rows-left-out":
            needed += description_bits(form, search.cells.problem.n_rows)
    # Entries that are added only add evidence, so those looked at first may be enough.
    if not any(_bits(search, hypothesis, entries) >= needed for entries in (search.screened, EVERYTHING)):
        return False
    return bool(search.fits(search.predicted(hypothesis), search.seen(hypothesis)))


def _has_enough_numbers(search: Search, hypothesis: Hypothesis) -> bool:
    """More than are free: independent ones of the gradient, all entries where W is added to nothing else."""
    problem, others = search.cells.problem, search.cells.problem.n_classes - 1
    is_kept = search.cells.q.value[:, 0] > 0
    kept = int(is_kept.sum())
    n_inputs = min(problem.n_inputs, kept)
    if n_inputs > 1 and _is_of_one_row(problem.inputs, is_kept, search.cells.arithmetic.u):
        n_inputs = 1
    n_carried = problem.n_inputs
    if _is_of_one_row(problem.weights, np.ones(n_carried, dtype=bool), search.cells.arithmetic.u):
        n_carried = 1
    independent = {
        "weights": n_inputs * others,
        "bias": min(1, kept) * others,
        "inputs": kept * min(n_carried, others),
        "logits": kept * others,
    }[search.cells.name]
    if [slip.stage for slip, _ in hypothesis.steps] == ["added W"]:
        return search.values.size > hypothesis.free
    if independent > hypothesis.free > 0 and all(slip.is_in_layer for slip, _ in hypothesis.steps):
        return _moved_residuals(search, hypothesis) > hypothesis.free
    return independent > hypothesis.free


def _is_of_one_row(array: Array, is_kept: NDArray[np.bool_], u: float) -> bool:
    """Whether the rows of x that count, or those of W, are multiples of one, up to what a few roundings leave."""
    one: Array | None = None
    for some in blocks(len(array), max(1, AT_A_TIME // array.shape[1])):
        rows = array[some][is_kept[some]].astype(np.float64)
        sizes = np.abs(rows).max(axis=1, keepdims=True)
        rows = rows[sizes[:, 0] > 0] / sizes[sizes > 0, None]
        if one is None and len(rows):
            one = rows[0]
        if one is not None and (np.abs(rows - (rows @ one / (one @ one))[:, None] * one) > 2**10 * u).any():
            return False
    return True


def _moved_residuals(search: Search, hypothesis: Hypothesis) -> float:
    """How many residuals the hypothesis moves, and one less in a row whose sum stays: one follows from the others.

    With one free number any multiple of a single residual fits.  No limit where it is not R that moves.
    """
    right = search.cells
    back, cells = right.back, right
    for step in hypothesis.steps:
        cells = with_slip(cells, *step)
    if cells.back is not back:
        return math.inf
    apart, error = cells.R.value - right.R.value, cells.R.error + right.R.error
    moved = np.abs(apart) > error
    is_sum_kept = np.abs(apart.sum(axis=1)) <= error.sum(axis=1)
    return int((moved.sum(axis=1) - (is_sum_kept & moved.any(axis=1))).sum())


def _bits(search: Search, hypothesis: Hypothesis, entries: Entries) -> float:
    """The digits in which some entries agree, in bits, without the most telling entry for a free number."""
    gradient, names = search.predicted(hypothesis, entries), hypothesis.names
    values, resolution = search.seen(hypothesis, entries)
    telling = np.abs(values)
    if "low-precision" not in names and not search.has_transposed_shape:
        # Two mistakes may cancel, and then the candidate is not wrong by them.
        right = hypothesis.sign * search.rearranged(search.exact.value, hypothesis, entries)
        if (np.abs(gradient.value - right) <= search.allowed(gradient, resolution, 2)).all():
            return 0.0
        # What is fitted must tell the candidate from the right one: of one that is right but for a few
        # bounds, a free number explains as much as chance would.
        if "clipped" not in names and (hypothesis.free or len(names) > 1):
            telling = np.minimum(telling, np.abs(values - right))
    bits = np.nan_to_num(np.log2(telling / search.allowed(gradient, resolution, 1)))  # 0 of 0 tells nothing
    bits = _without_copies(search, hypothesis, entries, np.clip(bits, 0, AT_MOST))
    return float(bits.sum() - (bits.max() if hypothesis.free else 0))


def _without_copies(search: Search, hypothesis: Hypothesis, entries: Entries, bits: Array) -> Array:
    """Those of rows and columns that follow from no other.

    Whatever the residuals are, equal columns of x give equal rows of dL/dW, equal rows of W give equal columns of
    dL/dx, and equal rows of x with equal targets give equal rows of dL/dx and of the residuals.
    """
    if search.is_large or search.cells.name == "bias":
        return bits
    problem = search.cells.problem
    if search.cells.name == "weights":
        adds_weights = any(slip.stage == "added W" for slip, _ in hypothesis.steps)
        made_of = [problem.inputs.T, *[problem.weights] * adds_weights]
    else:
        made_of = [problem.inputs, search.cells.Q.value]
    if search.cells.name == "inputs":
        bits = bits[:, _first_of_equals(problem.weights[entries.columns])]
    return bits[_first_of_equals(np.hstack(made_of)[entries.rows])]


def _first_of_equals(rows: Array) -> NDArray[np.intp]:
    """The first of each set of equal rows."""
    return np.unique(rows, axis=0, return_index=True)[1]


def is_zero_but_for_rounding(search: Search) -> bool:
    """Whether no entry is more than what rounding leaves of a sum that is 0, and the right ones are."""
    largest = np.abs(search.values).max()
    if search.has_transposed_shape or largest > ROUNDED_AWAY * np.abs(search.exact.value).max():
        return False
    step = SLIPS["all-zero"], {"up to": "rounding"}
    nothing = search.predicted(Hypothesis((step,)))
    values, resolution = search.seen(NOTHING)
    allowed = search.allowed(nothing, resolution, 2)
    bits = np.clip(np.log2(np.abs(search.exact.value) / allowed), 0, AT_MOST)
    is_rounding = (np.abs(values) <= allowed).all() and largest >= ROUNDING_AT_LEAST * allowed.max()
    return bool(is_rounding and bits.sum() >= EVIDENCE)
