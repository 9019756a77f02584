"""When a hypothesis is a name: enough numbers, enough digits, and every entry within twice its bound."""

from __future__ import annotations

import math

import numpy as np

from xegrad.diagnosis.search import EVERYTHING, NOTHING, Entries, Hypothesis, Search
from xegrad.slips import SLIPS
from xegrad.slips.making import with_slip
from xegrad.slips.rows import description_bits

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
    kept = int((search.cells.q.value > 0).sum())
    independent = {
        "weights": min(problem.n_inputs, kept) * others,
        "bias": min(1, kept) * others,
        "inputs": kept * min(problem.n_inputs, others),
        "logits": kept * others,
    }[search.cells.name]
    if [slip.stage for slip, _ in hypothesis.steps] == ["added W"]:
        return search.values.size > hypothesis.free
    if independent > hypothesis.free > 0 and all(slip.is_in_layer for slip, _ in hypothesis.steps):
        return _moved_residuals(search, hypothesis) > hypothesis.free
    return independent > hypothesis.free


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
    bits = np.clip(bits, 0, AT_MOST)
    return float(bits.sum() - (bits.max() if hypothesis.free else 0))


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
