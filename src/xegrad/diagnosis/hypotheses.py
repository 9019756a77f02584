"""What may have made a candidate, rank by rank: no free number before one, one slip before two."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np

from xegrad.derivation import Cells
from xegrad.diagnosis.evidence import is_proved
from xegrad.diagnosis.fitting import Bases, after, clipped, on_grid, on_line, scaled
from xegrad.diagnosis.search import AS_IT_IS, EVERYTHING, Entries, Hypothesis, Search, Step, arrangement
from xegrad.numbers.arithmetic import PRECISIONS
from xegrad.numbers.rounded import Rounded, concatenated, stacked
from xegrad.slips import SLIPS, STAGES
from xegrad.slips.entry import Parameters
from xegrad.slips.formulas import MOST_LABELS, named_factors, named_orders
from xegrad.slips.making import with_slip

PAIRED = 4096  # logits; beyond them slips of the layer are made one by one, and not in pairs
MOST_ROWS = 64  # rows of a batch whose label is tried, of those that the candidate points to

IN_LAYER = STAGES[: STAGES.index("layout")]


def ranks(search: Search) -> Iterator[Iterable[Hypothesis]]:
    """The hypotheses of each rank that fit where they were tried; each is made when it is asked for."""
    stages = _stages(search)
    arranged, in_layer = _arrangements(search, 1), _in_layer(search, stages)
    nothing, alone = _unarranged(_nothing(search)), _unarranged(in_layer)
    adding = SLIPS["weight-decay-included"], SLIPS["weights-updated"]
    # One slip: without a free number, and with one.
    multiples = [*scaled(nothing)]
    yield itertools.chain(
        arranged.fitting,
        _in_any_order(search, 1),
        alone.fitting,
        _stored(search),
        (one for one in multiples if not one.free),
    )
    yield itertools.chain(
        (one for one in multiples if one.free),
        *(after(nothing, slip) for slip in adding),
        _smoothed(nothing, search.cells),
        clipped(nothing),
        _on_grids(search),
    )
    if search.is_below_float32:
        return
    # Two slips: a layout and a sign, one of these and a step of the layer, two steps of the layer, a factor of any.
    in_layer = in_layer.where(lambda one: _is_paired(search, one.steps[0]))
    once = arranged + _unarranged(in_layer)
    multiples = [*scaled(once.where(lambda one: one.arrangement.sign > 0))]
    yield itertools.chain(
        _arrangements(search, 2).fitting,
        _in_any_order(search, -1),
        _arranged_after_layer(arranged, in_layer),
        _pairs_of_layer(search, stages),
        _stored_pairs(search),
        (one for one in multiples if not one.free),
    )
    # And one of two with a number on a line, or the largest entry.
    yield itertools.chain(
        (one for one in multiples if one.free),
        *(after(once, slip) for slip in adding),
        after(_named_multiples(nothing), SLIPS["weight-decay-included"]),
        clipped(once),
        _smoothed(arranged, search.cells),
        *(_smoothed_after(search, stage) for stage in stages if stage.name in ("bias", "probabilities")),
    )


# Hypotheses as stacks.


def _nothing(search: Search) -> Bases:
    """No slip yet."""
    return Bases(search, [Hypothesis()], search.right[None])


def _arrangements(search: Search, count: int) -> Bases:
    """So many of a layout and the sign."""
    hypotheses = [Hypothesis(arrangement=one) for one in search.arrangements if len(one.steps) == count]
    return Bases(search, hypotheses, search.right.broadcast_to((len(hypotheses), *search.right.shape)))


def _unarranged(bases: Bases) -> Bases:
    """Those of them that can be seen in the candidate as they are: none if it has another shape than W."""
    return bases.where(lambda one: not bases.search.has_transposed_shape)


class Stage(NamedTuple):
    """Slips of one stage of the layer, and the derivations with each of them as a stack."""

    name: str
    steps: list[Step]
    cells: Callable[[], Cells]


def _stages(search: Search) -> list[Stage]:
    """Every slip of the layer without a free number: a stack for each stage, or for each slip where that is large."""
    stages = []
    for name in IN_LAYER:
        steps = [*_steps(search, name)]
        if steps and _is_small(search):
            stages.append(Stage(name, steps, cache(partial(_with_each, search.cells, steps))))
        else:
            stages += [Stage(name, [step], partial(_with_each, search.cells, [step])) for step in steps]
    return stages


def _with_each(cells: Cells, steps: Sequence[Step]) -> Cells:
    """The derivation with each of these slips of one stage in it, as a stack in front of what is stacked already."""
    derivations = [with_slip(cells, *step) for step in steps]
    slip = steps[0][0]
    for cell in ("Q", "q") if slip.stage == "target" else (slip.cell,):
        cells = cells.replace(cell, stacked([getattr(one, cell) for one in derivations]))
    return cells


def _is_small(search: Search) -> bool:
    """Whether the problem is small enough for pairs; W may have 64 entries for each logit."""
    return search.cells.S.value.size <= PAIRED and search.values.size <= 64 * PAIRED


def _in_layer(search: Search, stages: Sequence[Stage]) -> Bases:
    """One slip of the layer."""
    hypotheses = [Hypothesis((step,)) for stage in stages for step in stage.steps]
    gradients = [search.gradient(stage.cells(), search.screened) for stage in stages]
    return Bases(search, hypotheses, concatenated(gradients))


def _steps(search: Search, stage: str) -> Iterator[Step]:
    for slip in SLIPS.values():
        if slip.stage == stage and slip.free is None:
            yield from ((slip, form) for form in slip.forms(search.cells))
            if slip.name == "wrong-label":
                yield from ((slip, form) for form in _labels_pointed_to(search))


def _labels_pointed_to(search: Search) -> list[Parameters]:
    """In a large problem: a wrong label of one row moves two columns and no other, and each of their
    rows with either label could be the one."""
    labels = search.cells.problem.targets.label_of_rows
    n_labels = int((labels >= 0).sum()) * (search.cells.problem.n_classes - 1)
    if search.has_transposed_shape or search.cells.name == "inputs" or n_labels <= MOST_LABELS:
        return []
    rows = search.screened.rows
    entries = Entries(rows if isinstance(rows, slice) else rows[: max(1, PAIRED // search.shape[1])])
    values, resolution = search.seen(AS_IT_IS, entries)
    exact = search.exact.moved(entries.of)
    moved = np.abs(values - exact.value) > search.allowed(exact, resolution, 1)
    columns = np.flatnonzero(moved.any(axis=0)).tolist()
    if len(columns) != 2:
        return []
    rows = np.flatnonzero(np.isin(labels, columns))[:MOST_ROWS].tolist()
    return [
        {"row": row, "label": int(labels[row]), "instead": columns[int(columns[0] == labels[row])]}
        for row in rows
    ]


# One slip.


def _in_any_order(search: Search, sign: int) -> Iterator[Hypothesis]:
    """Columns in any order: matched by a sum of their entries with generic positive weights, in sorted order."""
    if search.cells.name == "inputs" or search.has_transposed_shape:
        return
    generic = np.random.default_rng(1).uniform(1, 2, search.shape[0])
    values, resolution = search.seen(AS_IT_IS, EVERYTHING)
    right, candidate = generic @ search.exact.value, sign * (generic @ values)
    # Whatever the order and the sign, the sizes of these sums add up to the same.
    apart = abs(np.abs(right).sum() - np.abs(candidate).sum()) - 2.0**-30 * np.abs(candidate).sum()
    if apart > (generic @ search.allowed(search.exact, resolution, 2)).sum():
        return
    order = np.empty(search.shape[1], dtype=np.intp)
    order[np.argsort(candidate)] = np.argsort(right)
    slip, problem = SLIPS["classes-permuted"], search.cells.problem
    known = [one for one, _ in named_orders(problem.n_classes, problem.classes).values()]
    if any((order == one).all() for one in (np.arange(order.size), *known)):
        return
    i, k = search.indices(search.screened)
    places = i * order.size + np.argsort(order)[k]
    seen = sign * search.values[places], search.resolution.reshape(-1)[places]
    if search.fits(search.right, seen).all():
        step = slip, {"order": " ".join(map(str, order.tolist()))}
        yield Hypothesis(arrangement=arrangement(sign, step))


def _stored(search: Search) -> Iterator[Hypothesis]:
    """The right numbers, each rounded to a format with fewer digits: only if every entry is one of its values."""
    slip = SLIPS["low-precision"]
    for form in slip.forms(search.cells):
        if _is_stored(search, form):
            hypothesis = Hypothesis(((slip, form),))
            gradient = search.predicted(hypothesis, search.screened)
            if search.fits(gradient, search.seen(AS_IT_IS, search.screened)).all():
                yield hypothesis
                return


def _is_stored(search: Search, form: Parameters) -> bool:
    """Whether every entry is a value of the format, or of so many decimals; the first few are asked first."""
    if search.has_transposed_shape:
        return False
    u, formats = search.cells.arithmetic.u, list(PRECISIONS)
    if "decimals" in form and search.resolution.any():
        return False
    computed_in = search.tolerance.stored_as or search.tolerance.precision
    if "format" in form and formats.index(form["format"]) <= formats.index(computed_in):
        return False
    for values in (search.values[:PAIRED], search.values):
        if "format" in form:
            same = PRECISIONS[form["format"]].holds(values)
        else:
            same = np.abs(np.round(values, form["decimals"]) - values) <= 4 * u * np.abs(values)
        if not same.all():
            return False
    # Decimals finer than the floats themselves are those of any number.
    return "format" in form or 10.0 ** -form["decimals"] > 16 * u * np.abs(search.values).max()


def _smoothed(bases: Bases, cells: Cells) -> Iterator[Hypothesis]:
    """Targets smoothed by eps, in the derivations that the bases are made of."""
    slip = SLIPS["label-smoothed"]

    def formula(eps: Any) -> Rounded:
        return bases.search.gradient(with_slip(cells, slip, {"eps": eps}), bases.search.screened)

    return on_line(bases, slip, formula)


def _smoothed_after(search: Search, stage: Stage) -> Iterator[Hypothesis]:
    """Targets smoothed, where a slip was made before."""
    cells = stage.cells()
    bases = Bases(
        search, [Hypothesis((step,)) for step in stage.steps], search.gradient(cells, search.screened)
    )
    return _smoothed(_unarranged(bases), cells)


def _on_grids(search: Search) -> Iterator[Hypothesis]:
    """A temperature, eps of the logarithm, or eta of a later evaluation."""
    for slip in SLIPS.values():
        if slip.number.grid is not None:
            for form in slip.forms(search.cells):
                yield from on_grid(search, slip, form)


# Two slips.


def _is_paired(search: Search, step: Step) -> bool:
    """Not the label of one row of a batch: there are too many."""
    return search.cells.problem.n_rows == 1 or "row" not in step[1]


def _arranged_after_layer(arranged: Bases, in_layer: Bases) -> Iterator[Hypothesis]:
    """A slip of the layer, and then a layout or the sign."""
    seen = arranged.seen[0][:, None], arranged.seen[1][:, None]
    for index, k in np.argwhere(arranged.search.fits(in_layer.gradient, seen)).tolist():
        yield in_layer.hypotheses[k]._replace(arrangement=arranged.hypotheses[index].arrangement)


def _pairs_of_layer(search: Search, stages: Sequence[Stage]) -> Iterator[Hypothesis]:
    """Slips of two stages: the later one where the earlier one was made."""
    if search.has_transposed_shape or not _is_small(search):
        return
    earlier: list[tuple[list[Step], Cells]] = []
    for stage in stages:
        steps = [step for step in stage.steps if _is_paired(search, step)]
        if not steps:
            continue
        cells = stage.cells() if len(steps) == len(stage.steps) else _with_each(search.cells, steps)
        for first_steps, first_cells in earlier:
            if stage.name == "target":  # whatever became of S
                both = first_cells.replace("Q", cells.Q[:, None]).replace("q", cells.q[:, None])
            else:
                both = _with_each(first_cells, steps)
            gradient = search.gradient(both, search.screened)
            pairs = [Hypothesis((first, second)) for second in steps for first in first_steps]
            yield from Bases(search, pairs, gradient.reshape(len(pairs), *gradient.shape[-2:])).fitting
        earlier.append((steps, cells))


def _stored_pairs(search: Search) -> Iterator[Hypothesis]:
    """Of a candidate that is float32, or has so many decimals, in every entry: the singles by that measure."""
    slip = SLIPS["low-precision"]
    for form in slip.forms(search.cells):
        if form.get("format", "float32") != "float32" or not _is_stored(search, form):
            continue
        precision, resolution = search.tolerance.precision, search.resolution
        if "decimals" in form:
            resolution = np.full_like(resolution, 0.5 * 10.0 ** -form["decimals"])
        else:
            precision = "float32"
        other = search.by_other_measure(precision, resolution)
        for hypothesis in next(ranks(other)):
            if slip is not hypothesis.in_order[0][0] and is_proved(other, hypothesis):
                yield hypothesis.after((slip, form), proved=True)
        return


def _named_multiples(nothing: Bases) -> Bases:
    """The right gradient times each constant that has a name."""
    search = nothing.search
    factors = named_factors(search.cells, search.exact.value) if nothing.hypotheses else {}
    steps = [(SLIPS["scaled"], {"k": factor, "named": name}) for name, factor in factors.items()]
    gradient = search.right * np.array([*factors.values()]).reshape(-1, 1, 1)
    return Bases(search, [Hypothesis((step,)) for step in steps], gradient)
