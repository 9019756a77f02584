"""What may have made a candidate, rank by rank: no free number before one, one slip before two."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from xegrad.derivation import Cells
from xegrad.diagnosis.evidence import is_proved
from xegrad.diagnosis.fitting import Bases, are_near, clipped, on_grid, on_line, spreads, z_losses
from xegrad.diagnosis.search import FLIPPED, NOTHING, Entries, Hypothesis, Search
from xegrad.numbers.arithmetic import PRECISIONS, UNROUNDED
from xegrad.numbers.rounded import exact, stacked
from xegrad.slips import SLIPS, STAGES, rows
from xegrad.slips.entry import Parameters
from xegrad.slips.formulas import MOST_LABELS, named_factors, named_orders
from xegrad.slips.making import Step, with_slip
from xegrad.targets import Array

PAIRED = 4096  # logits; beyond them slips of the layer are made one by one, and not in pairs
MOST_ROWS = 64  # rows of a batch whose label is tried, of those that the candidate points to
MOST_RESIDUALS = 2_000_000  # numbers of a stack of them, in values alone

SCALED, SMOOTHED, STORED = SLIPS["scaled"], SLIPS["label-smoothed"], SLIPS["low-precision"]
Z_LOSS, LEFT_OUT, WRONG_LABEL = SLIPS["z-loss-included"], SLIPS["rows-left-out"], SLIPS["wrong-label"]
ADDING = SLIPS["weight-decay-included"], SLIPS["weights-updated"]


def ranks(search: Search) -> Iterator[Iterable[Hypothesis]]:
    """The hypotheses of each rank that fit where they were tried; each is made when it is asked for."""
    steps = _fixed_steps(search)
    groups = _groups(search, steps)
    stages = [_in_layer(search, steps) for steps in groups] if _is_small(search) else []
    in_layer = Bases.together(stages or [_in_layer(search, steps) for steps in groups] or [Bases(search, [])])
    nothing = Bases(search, [NOTHING])
    arranged = Bases(search, [Hypothesis((step,)) for step in (*search.layouts, FLIPPED)])
    # One slip: without a free number, and with one.
    multiples = [*on_line(nothing, SCALED)]
    stored = (one for form in _forms_stored(search) for one in nothing.after((STORED, form)).fitting)
    yield itertools.chain(
        arranged.fitting,
        _in_any_order(search),
        in_layer.fitting,
        itertools.islice(stored, 1),
        (one for one in multiples if not one.free),
    )
    on_grids = (slip for slip in SLIPS.values() if slip.number.grid is not None)
    grids = [(slip, form) for slip in on_grids for form in slip.open_forms(search.cells)]
    yield itertools.chain(
        (one for one in multiples if one.free),
        *(on_line(nothing, slip) for slip in ADDING),
        z_losses(nothing),
        *(_in_layer(search, [(WRONG_LABEL, form)]).fitting for form in _renumbered(search)),
        *(on_line(nothing, SMOOTHED, form) for form in spreads(search)[: 2 if search.is_huge else None]),
        clipped(nothing),
        *(on_grid(search, slip, form) for slip, form in grids if not search.is_huge),
    )
    if not {search.tolerance.stored_as, search.tolerance.precision}.isdisjoint(("float16", "bfloat16")):
        return  # too few digits for two slips
    if search.is_huge:
        return
    # Two slips: a layout and a sign, one of these and a step of the layer, two steps of the layer, a factor of any.
    if search.is_large:
        in_layer = _in_layer(search, _near_in_pairs(search, arranged, steps))
    else:
        in_layer = in_layer.where(lambda one: _is_paired(search, one.steps[0]))
    once = Bases.together([arranged, in_layer])
    multiples = [one for one in on_line(once, SCALED) if FLIPPED not in one.steps]
    yield itertools.chain(
        Bases(search, [Hypothesis((step, FLIPPED)) for step in search.layouts]).fitting,
        _in_any_order(search, FLIPPED),
        _arranged_after_layer(arranged, in_layer),
        _pairs_of_layer(search, stages),
        _stored_pairs(search),
        (one for one in multiples if not one.free),
    )
    # And one of two with a number on a line, or the largest entry.
    factors = named_factors(search.cells, search.exact.value).items()
    named = Bases.together(nothing.after((SCALED, {"k": k, "named": name})) for name, k in factors)
    yield itertools.chain(
        (one for one in multiples if one.free),
        *(on_line(once, slip) for slip in ADDING),
        on_line(named, SLIPS["weight-decay-included"]),
        clipped(once),
        on_line(arranged, SMOOTHED),
        *(
            on_line(_in_layer(search, steps), SMOOTHED)
            for steps in groups
            if steps[0][0].stage in ("bias", "probabilities") and _is_paired(search, steps[0])
            if not search.is_large
        ),
    )


# Slips of the layer.


def _fixed_steps(search: Search) -> list[Step]:
    """Slips of the layer without a free number, in the order of their stages."""
    steps = [
        (slip, form)
        for stage in STAGES
        for slip in SLIPS.values()
        if slip.stage == stage and slip.is_in_layer and slip.paired
        for form in slip.fixed_forms(search.cells)
    ]
    steps += [(WRONG_LABEL, form) for form in _labels_pointed_to(search)]
    return [step for step in steps if not search.is_large or search.is_affordable(step)]


def _groups(search: Search, steps: list[Step]) -> list[list[Step]]:
    """These and those that are not paired, by their stages, labels of single rows apart; of a large problem those that
    come near, one after the other where it is not small."""
    if search.is_large:
        return [steps] if (steps := _near_one_by_one(search, steps)) else []
    steps = steps + _near_in_values(search)
    groups: dict[Any, list[Step]] = {}
    for step in steps:
        slip = step[0]
        key = (slip.stage, slip.cell, _is_paired(search, step)) if _is_small(search) else len(groups)
        groups.setdefault(key, []).append(step)
    return list(groups.values())


def _is_small(search: Search) -> bool:
    """Whether the problem is small enough for pairs; W may have 64 entries for each logit."""
    return search.n_logits <= PAIRED and search.values.size <= 64 * PAIRED


def _is_paired(search: Search, step: Step) -> bool:
    """Not the label of one row of a batch, nor another numbering: there are too many; and not what is rarer."""
    slip, form = step
    if slip is WRONG_LABEL and form.keys() != {"shift"}:
        return search.cells.problem.n_rows == 1 and "row" in form
    return slip.paired


def _in_layer(search: Search, steps: Sequence[Step]) -> Bases:
    """One slip, of one stage; of any stage in a large problem, where only the gradients are kept."""
    if not steps:
        return Bases(search, [])
    if search.is_large:
        cells = search.cells.replace("G", stacked(search.each_made(steps)))
    else:
        cells = _with_each(search.cells, steps)
        cells = cells.replace("G", search.gradient(cells, search.screened))
    return Bases(search, [Hypothesis((step,)) for step in steps], cells)


def _with_each(cells: Cells, steps: Sequence[Step]) -> Cells:
    """The derivation with each of these slips of one stage in it, as a stack in front of what is stacked already."""
    derivations = [with_slip(cells, *step) for step in steps]
    slip = steps[0][0]
    for cell in (slip.cell, "q") if slip.stage == "target" else (slip.cell,):
        cells = cells.replace(cell, stacked([getattr(one, cell) for one in derivations]))
    if slip.stage == "probabilities":  # of which one changes q, too
        cells = cells.replace("q", stacked([one.q.broadcast_to(one.S.shape) for one in derivations]))
    return cells


def _labels_pointed_to(search: Search) -> list[Parameters]:
    """In a large problem: a wrong label of one row moves two columns and no other, and each of their
    rows with either label could be the one."""
    labels = search.cells.problem.targets.label_of_rows
    n_labels = int((labels >= 0).sum()) * (search.cells.problem.n_classes - 1)
    if search.cells.name == "inputs" or n_labels <= MOST_LABELS:
        return []
    places = np.arange(search.shape[0])[search.screened.rows]
    entries = Entries(places[: max(1, PAIRED // search.shape[1])])
    values, resolution = search.seen(NOTHING, entries)
    exact = search.exact.moved(entries.of)
    moved = np.abs(values - exact.value) > search.allowed(exact, resolution, 1)
    columns = np.flatnonzero(moved.any(axis=0)).tolist()
    if len(columns) != 2:
        return []
    return [
        {"row": row, "label": int(labels[row]), "instead": columns[int(columns[0] == labels[row])]}
        for row in np.flatnonzero(np.isin(labels, columns))[:MOST_ROWS].tolist()
    ]


def _renumbered(search: Search) -> list[Parameters]:
    """Labels in any order of the classes: the columns of X' Q in another order, matched as below.

    Those of the candidate C are X' q S - C, which is X' Q + G - C.
    """
    cells, targets = search.cells, search.cells.problem.targets
    if cells.name != "weights" or search.has_transposed_shape or targets.soft is not None:
        return []
    if targets.class_weights is not None or cells.problem.n_rows == 1:
        return []
    generic = np.random.default_rng(1).uniform(1, 2, search.shape[0])
    carried = generic @ cells.problem.inputs.T
    values, resolution = search.seen(NOTHING)
    right = sum(carried[part.rows] @ part.Q.value for part in search.without_errors.cells.parts())
    made = right + generic @ (search.exact.value - values)
    first, second = np.argsort(right), np.argsort(made)
    slack = search.tolerance.allowed(values, search.excess * search.exact.error, resolution)
    if not (np.abs(right[first] - made[second]) <= (generic @ slack).max()).all():
        return []
    number = np.empty_like(first)
    number[first] = second
    classes = np.unique(targets.label_of_rows[targets.kept])
    known = [one for _, one in named_orders(cells.problem.n_classes, cells.problem.classes).values()]
    known += [np.roll(np.arange(number.size), shift) for shift in (-1, 1)]
    is_known = any((number[classes] == one[classes]).all() for one in known)
    if is_known or (number[classes] != classes).sum() < 2:
        return []
    return [{"order": ", ".join(f"{label} as {number[label]}" for label in classes.tolist())}]


def _near_one_by_one(search: Search, steps: list[Step]) -> list[Step]:
    """Of a large problem, those of all slips that come near the candidate in values alone."""
    if search.has_transposed_shape:
        return []
    steps = [*steps, *(step for step in _not_paired(search) if search.is_affordable(step))]
    # A number on a line is asked for later, and made in the same pass.
    several = search.without_errors.each_made([*steps, (Z_LOSS, {"lambda": 1.0})])
    made = np.stack([one.value.reshape(search.right.shape) for one in several])
    near = np.abs(search.seen(NOTHING, search.screened)[0] - made) <= search.slack(made)
    return [*itertools.compress(steps, np.asarray(near.all(axis=(-2, -1))))]


def _near_in_pairs(search: Search, arranged: Bases, steps: list[Step]) -> list[Step]:
    """Of a large problem, those that come near with one step more: a layout, the sign, or a number on a line."""
    steps = [step for step in steps if _is_paired(search, step)]
    if search.has_transposed_shape or not steps:
        return steps
    made = np.stack([one.value for one in search.without_errors.each_made(steps)])
    values, slack = search.seen(NOTHING, search.screened)[0], search.slack(made)
    limit = np.abs(search.values).max()
    near = (np.abs(np.clip(made, -limit, limit) - values) <= slack).all(axis=(-2, -1))
    near |= are_near(search, np.zeros_like(values), made)
    for seen in arranged.seen[0]:
        near |= (np.abs(made - seen) <= slack).all(axis=(-2, -1))
    if ADDING[0].forms(search.cells):
        weights = search.parameter_seen(NOTHING, search.screened).value
        near |= are_near(search, made, weights) | are_near(search, weights, made)
    return [*itertools.compress(steps, near)]


def _not_paired(search: Search) -> list[Step]:
    """The slips that are not paired, which have many forms."""
    cells = search.cells
    slips = [slip for slip in SLIPS.values() if not (slip.paired or slip is LEFT_OUT)]
    steps = [(slip, form) for slip in slips for form in slip.fixed_forms(cells)]
    return steps + [(LEFT_OUT, form) for form in rows.patterns(cells, _rows_pointed_to(search))]


def _near_in_values(search: Search) -> list[Step]:
    """Of the slips that are not paired those that come near the candidate in values alone."""
    cells = search.cells
    if search.has_transposed_shape:
        return []
    steps = _not_paired(search)[: MOST_RESIDUALS // cells.R.value.size]
    if not steps:
        return []
    unrounded = search.without_errors.cells.replace("R", exact(cells.R.value, UNROUNDED))
    stack = stacked([with_slip(unrounded, *step).R for step in steps])
    made = search.without_errors.gradient(unrounded.replace("R", stack), search.screened).value
    values, resolution = search.seen(NOTHING, search.screened)
    near = np.abs(values - made) <= search.tolerance.allowed(
        values, search.excess * search.right.error, resolution
    )
    return [*itertools.compress(steps, near.all(axis=(-2, -1)))]


def _rows_pointed_to(search: Search) -> list[NDArray[np.bool_]]:
    """The rows without which the candidate is what it is, if its entries determine how much of each row it holds.

    With the sum of f_b G_b for a candidate, G_b the gradient of one row, least squares give the f_b.
    """
    problem, name = search.cells.problem, search.cells.name
    if problem.n_rows > MOST_LABELS:
        return []
    residuals = search.cells.R.value
    candidate = search.values.reshape(search.shape)
    if name == "weights":
        products = (problem.inputs @ problem.inputs.T) * (residuals @ residuals.T)
        sums = ((problem.inputs @ candidate) * residuals).sum(axis=1)
    elif name == "bias":
        products, sums = residuals @ residuals.T, residuals @ candidate[0]
    else:
        of_rows = search.exact.value
        products, sums = np.diag(np.square(of_rows).sum(axis=1)), (of_rows * candidate).sum(axis=1)
    sizes = np.sqrt(np.diag(products))
    if not (np.isfinite(products).all() and np.isfinite(sums).all() and sizes.all()):
        return []
    solved = np.linalg.lstsq(products / np.outer(sizes, sizes), sums / sizes, rcond=None)[0] / sizes
    return [solved < solved.max() / 2]


def _arranged_after_layer(arranged: Bases, in_layer: Bases) -> Iterator[Hypothesis]:
    """A slip of the layer, and then a layout or the sign."""
    seen = arranged.seen[0][:, None], arranged.seen[1][:, None]
    for index, k in np.argwhere(arranged.search.fits(in_layer.cells.G, seen)).tolist():
        yield in_layer.hypotheses[k].after(*arranged.hypotheses[index].steps)


def _pairs_of_layer(search: Search, stages: Sequence[Bases]) -> Iterator[Hypothesis]:
    """Slips of two stages: the later one where the earlier one was made."""
    paired = [stage for stage in stages if _is_paired(search, stage.hypotheses[0].steps[0])]
    for first, second in itertools.combinations(paired, 2):
        steps = [one.steps[0] for one in second.hypotheses]
        if steps[0][0].stage == "target":  # whatever became of S
            both = first.cells.replace("Q", second.cells.Q[:, None]).replace("q", second.cells.q[:, None])
        else:
            both = _with_each(first.cells, steps)
        gradient = search.gradient(both, search.screened)
        pairs = [one.after(step) for step in steps for one in first.hypotheses]
        gradient = gradient.reshape(len(pairs), *gradient.shape[-2:])
        yield from Bases(search, pairs, search.cells.replace("G", gradient)).fitting


# Orders of the classes, and storage.


def _in_any_order(search: Search, *sign: Step) -> Iterator[Hypothesis]:
    """Columns in any order: matched by a sum of their entries with generic positive weights, in sorted order."""
    if search.cells.name == "inputs" or search.has_transposed_shape:
        return
    generic = np.random.default_rng(1).uniform(1, 2, search.shape[0])
    values, _ = search.seen(Hypothesis(sign))
    right, candidate = generic @ search.exact.value, generic @ values
    order = np.empty(search.shape[1], dtype=np.intp)
    order[np.argsort(candidate)] = np.argsort(right)
    problem = search.cells.problem
    known = [one for one, _ in named_orders(problem.n_classes, problem.classes).values()]
    if not any((order == one).all() for one in (np.arange(order.size), *known)):
        step = SLIPS["classes-permuted"], {"order": " ".join(map(str, order.tolist()))}
        yield from Bases(search, [Hypothesis((step, *sign))]).fitting


def _forms_stored(search: Search) -> Iterator[Parameters]:
    """The formats, and the decimals, of which every entry is a value; the first few are asked first."""
    if search.has_transposed_shape:
        return
    u, formats = search.cells.arithmetic.u, list(PRECISIONS)
    computed_in = search.tolerance.kept_in
    # Decimals finer than the floats themselves are those of any number.
    finest = np.inf if search.resolution.any() else 16 * u * np.abs(search.values).max()
    for form in STORED.forms(search.cells):
        if "format" in form:
            is_coarser = formats.index(form["format"]) > formats.index(computed_in)
        else:
            is_coarser = 10.0 ** -form["decimals"] > finest
        if is_coarser and all(_holds(form, values, u) for values in (search.values[:PAIRED], search.values)):
            right = with_slip(search.cells.replace("G", search.exact), STORED, form).G.value
            yield {**form, "rounded": bool((right.ravel() == search.values).all())}


def _holds(form: Parameters, values: Array, u: float) -> bool:
    """Whether all of them are values of the format, or of so many decimals."""
    if "format" in form:
        return bool(PRECISIONS[form["format"]].holds(values).all())
    return bool((np.abs(np.round(values, form["decimals"]) - values) <= 4 * u * np.abs(values)).all())


def _stored_pairs(search: Search) -> Iterator[Hypothesis]:
    """Of a candidate that is float32, or has so many decimals, in every entry: the singles by that measure."""
    forms = (form for form in _forms_stored(search) if form.get("format", "float32") == "float32")
    for form in itertools.islice(forms, 1):
        tolerance, resolution = search.tolerance, search.resolution
        if "decimals" in form:
            resolution = np.full_like(resolution, 0.5 * 10.0 ** -form["decimals"])
        else:
            tolerance = replace(tolerance, precision="float32")
        problem, exact, name = search.cells.problem, search.exact_evaluation, search.cells.name
        other = Search(problem, exact, search.candidate, tolerance, resolution, name)
        for hypothesis in next(ranks(other)):
            if hypothesis.steps[0][0] is not STORED and is_proved(other, hypothesis):
                yield hypothesis.after((STORED, {**form, "rounded": False}), proved=True)
