"""When a hypothesis is a name: enough numbers, enough digits, and every entry within twice its bound."""

from __future__ import annotations

import math

import numpy as np

from xegrad.diagnosis.search import EVERYTHING, Entries, Hypothesis, Search

EVIDENCE = 24.0  # bits
AT_MOST = 53.0  # bits of one entry


def is_proved(search: Search, hypothesis: Hypothesis) -> bool:
    """Enough numbers for the free ones, enough digits that they agree in, and no entry that does not fit."""
    if hypothesis.proved:
        return True
    if not _has_enough_numbers(search, hypothesis):
        return False
    needed = EVIDENCE
    if any(slip.name == "classes-permuted" for slip, _ in hypothesis.in_order):
        needed += math.lgamma(search.cells.problem.n_classes + 1) / math.log(2)
    # Entries that are added only add evidence, so those looked at first may be enough.
    if not any(_bits(search, hypothesis, entries) >= needed for entries in (search.screened, EVERYTHING)):
        return False
    seen = search.seen(hypothesis.arrangement, EVERYTHING)
    return bool(search.fits(search.predicted(hypothesis), seen))


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
    steps = hypothesis.in_order
    if any(slip.stage == "added W" for slip, _ in steps):
        return search.values.size > hypothesis.free and (len(steps) == 1 or independent > hypothesis.free)
    return independent > hypothesis.free


def _bits(search: Search, hypothesis: Hypothesis, entries: Entries) -> float:
    """The digits in which some entries agree, in bits, without the most telling entry for a free number."""
    gradient, arrangement = search.predicted(hypothesis, entries), hypothesis.arrangement
    values, resolution = search.seen(arrangement, entries)
    telling = np.abs(values)
    names = [slip.name for slip, _ in hypothesis.in_order]
    if "low-precision" not in names and not search.has_transposed_shape:
        # Two mistakes may cancel, and then the candidate is not wrong by them.
        right = arrangement.sign * search.rearranged(search.exact.value, arrangement, entries)
        if (np.abs(gradient.value - right) <= search.allowed(gradient, resolution, 2)).all():
            return 0.0
        # What is fitted must tell the candidate from the right one: of one that is right but for a few
        # bounds, a free number explains as much as chance would.
        if "clipped" not in names and (hypothesis.free or len(names) > 1):
            telling = np.minimum(telling, np.abs(values - right))
    bits = np.log2(telling / search.allowed(gradient, resolution, 1))
    bits = np.clip(np.where(telling == 0, 0, bits), 0, AT_MOST)
    return float(bits.sum() - (bits.max() if hypothesis.free else 0))
