"""Explanations without a free number: the slips themselves, and their layouts, signs and formats."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from xegrad import bounds
from xegrad.diagnosis.case import PAIRED, PROBED, Case, Finding, Group, Step, View, prediction
from xegrad.slips import SLIPS
from xegrad.slips.draft import Gradient
from xegrad.slips.entry import Parameters
from xegrad.slips.gradients import in_format


def without_free(case: Case) -> Iterator[Finding]:
    """One slip without a free number."""
    identity = View((), 1)
    for view in case.views:
        if len(view.steps) == 1 and case.fits(case.exactly(case.rows), view, case.rows).all():
            yield Finding(view.steps, view, 0, case.exactly, {})
    if case.turned:
        return
    yield from _any_order(case, case.exactly, 1)
    for group in case.singles:
        yield from _of_group(case, group, identity)
    yield from _stored(case, case.exactly, ())


def _of_group(case: Case, group: Group, view: View) -> Iterator[Finding]:
    for k in np.flatnonzero(case.fits(group.gradient, view, case.rows)).tolist():
        yield Finding((*group.steps[k], *view.steps), view, 0, prediction(case, group, k), {})


def _any_order(case: Case, predict: Callable[[Any], Gradient], sign: int) -> Iterator[Finding]:
    """Columns in any order: matched by a sum of their entries with generic positive weights, in sorted order."""
    if case.right.name == "inputs":
        return
    generic = np.random.default_rng(1).uniform(1, 2, case.shape[0])
    values = sign * case.values.reshape(case.shape)
    mine, yours = generic @ predict(slice(None)).values, generic @ values
    order = np.empty(case.shape[1], dtype=np.intp)
    order[np.argsort(yours)] = np.argsort(mine)
    named = [
        view.steps[0][1] for view in case.views if view.steps and view.steps[0][0].name == "classes-permuted"
    ]
    slip = SLIPS["classes-permuted"]
    i, k = case.indices(slice(None))
    places = i * case.shape[1] + np.argsort(order)[k]
    if any((slip.places(case.right, given, i, k) == places).all() for given in named if slip.places):
        return
    given: Parameters = {"order": " ".join(map(str, order.tolist()))}
    flipped: tuple[Step, ...] = ((SLIPS["sign-flipped"], {}),) if sign < 0 else ()
    view = View(((slip, given), *flipped), sign)
    if (order != np.arange(order.size)).any() and case.fits(predict(case.rows), view, case.rows).all():
        yield Finding(view.steps, view, 0, predict, {})


def _stored(case: Case, predict: Callable[[Any], Gradient], steps: tuple[Step, ...]) -> Iterator[Finding]:
    """The right numbers, each rounded to a format with fewer digits: only if every entry is one of its values."""
    slip = SLIPS["low-precision"]
    for given in slip.choices(case.right):
        if not is_stored(case, given):
            continue

        def rounded(rows: Any, given: Parameters = given) -> Gradient:
            gradient = predict(rows)
            if given.get("format") == "float32":  # computed in it, too
                bound = bounds.stable(
                    case.right.problem, (case.right.name,), precision="float32", terms=case.tolerance.terms
                )
                wide = bound.gradients[case.right.name].reshape(case.shape)[case.indices(rows)]
                gradient = Gradient(gradient.values, np.maximum(gradient.bound, wide))
            if "decimals" in given:
                return Gradient(gradient.values, gradient.bound + 0.25 * 10.0 ** -int(given["decimals"]))
            assert slip.gradient is not None
            return Gradient(gradient.values, slip.gradient(case.right, gradient, given).bound)

        view = View((), 1)
        if case.fits(rounded(case.rows), view, case.rows).all():
            yield Finding((*steps, (slip, given)), view, 0, rounded, {})
            return


def is_stored(case: Case, given: Parameters) -> bool:
    """Whether every entry is a value of the format, or of so many decimals; the first few are asked first."""
    formats, own = list(bounds.PRECISIONS), case.tolerance.stored_as or case.tolerance.precision
    if "decimals" in given:
        # Decimals finer than the floats themselves are those of any number.
        step = 10.0 ** -int(given["decimals"])
        if case.resolution.any() or step <= 16 * case.right.u * np.abs(case.values).max():
            return False
    elif formats.index(str(given["format"])) <= formats.index(own):
        return False
    for values in (case.values[:PROBED], case.values):
        if "decimals" in given:
            same = np.abs(np.round(values, int(given["decimals"])) - values) <= 4 * case.right.u * np.abs(
                values
            )
        else:
            same = in_format(values, str(given["format"])) == values
        if not same.all():
            return False
    return True


def pairs_without_free(case: Case) -> Iterator[Finding]:
    """Two of them: a layout and a sign, one of these and a step of the layer, two steps of the layer."""
    for view in case.views:
        if len(view.steps) == 2 and case.fits(case.exactly(case.rows), view, case.rows).all():
            yield Finding(view.steps, view, 0, case.exactly, {})
    if not case.turned:
        yield from _any_order(case, case.exactly, -1)
    for group in case.singles:
        for view in case.views:
            if len(view.steps) == 1:
                yield from (f for f in _of_group(case, group, view) if case.is_paired(f.steps[0]))
    if case.turned:
        return
    if case.has_at_most(PAIRED):
        for group in case.pairs():
            yield from _of_group(case, group, View((), 1))
