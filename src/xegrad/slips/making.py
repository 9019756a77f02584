"""Slips put into the derivation, one or several, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from xegrad import bounds
from xegrad.arrays import blocks
from xegrad.derivation import AT_A_TIME, Cells, Gathered
from xegrad.errors import InputError
from xegrad.numbers.rounded import Rounded, concatenated, exact, product
from xegrad.problem import Problem
from xegrad.slips import SLIPS, STAGES, Slip
from xegrad.slips.entry import Parameters
from xegrad.slips.formulas import named_factors
from xegrad.targets import ALL, Array


def with_slip(cells: Cells, slip: Slip, form: Parameters) -> Cells:
    """The derivation with one form of a slip in it."""
    if slip.formula is None:
        return cells.replace("G", _laid_out(cells, slip, form))
    value = slip.formula(cells, form)
    if slip.cell == "R" and isinstance(value, Rounded):  # as q S - Q, it may be formed in other ways
        value = value.in_any_way(cells.problem.n_classes + 4, 4)
    for cell, number in (value if isinstance(value, Mapping) else {slip.cell: value}).items():
        cells = cells.replace(cell, number)
    return cells


def _laid_out(cells: Cells, slip: Slip, form: Parameters) -> Rounded:
    """G with its entries in other places."""
    assert slip.places is not None
    n_rows, n_columns = cells.shape
    places = slip.places(cells, form, np.arange(n_rows)[:, None], np.arange(n_columns))
    shape = (n_columns, n_rows) if slip.name == "transposed" else cells.G.shape

    def placed(array: Array) -> Array:
        flat = np.empty(array.size)
        flat[places.ravel()] = array.ravel()
        return flat.reshape(shape)

    return cells.G.moved(placed)


Step = tuple[Slip, Parameters]


def made_by_rows(cells: Cells, step: Step, rows: Any = ALL, columns: Any = ALL) -> Rounded:
    """G, or some of its rows and columns, with one slip of the layer in it: so many rows at a time as products need."""
    slip, form = step
    if _kind(cells, step) == "classes" and slip.takes_all_rows(cells, form) and not cells.arithmetic.stored:
        several = (
            _made_of_classes(cells, step, one, rows)
            for one in blocks(cells.problem.n_classes, AT_A_TIME // 4 // cells.problem.n_rows)
        )
        return concatenated([*several], axis=-1)[..., columns]
    if not slip.takes_all_rows(cells, form):
        made = Gathered(cells, rows, columns)
        for part in parts_of(cells, rows):
            changed = with_slip(part, slip, form) if _is_of_products(slip) else part
            few = (one if _is_of_products(slip) else with_slip(one, slip, form) for one in changed.few())
            made.add(changed, concatenated([one.R for one in few]))
        return made.gradient
    return with_slip(with_all_rows(cells), slip, form).gradient(rows, columns)


def _made_of_classes(cells: Cells, step: Step, classes: slice, rows: Any) -> Rounded:
    """Some columns of G, with a slip that takes no others."""
    bias = None if cells.problem.bias is None else cells.b[..., classes]
    known = {
        "Z": product(cells.X, cells.W[..., classes], bias),
        "Q": concatenated([part.Q[..., classes] for part in cells.parts()]),
        "q": cells.q,
    }
    of_classes = Cells(cells.problem, cells.name, cells.arithmetic, known)
    return with_slip(of_classes, *step).gradient(rows if cells.name == "weights" else ALL)


def each_made_by_rows(cells: Cells, steps: Sequence[Step], rows: Any, columns: Any) -> list[Rounded]:
    """The same of many slips, one by one, and of a few rows and columns: all of them in one pass over the batch."""
    kinds = [_kind(cells, step) for step in steps]
    gathered = {
        k: Gathered(cells, rows, columns) for k, kind in enumerate(kinds) if kind in ("few", "product")
    }
    of_classes: list[list[Rounded]] = []
    right = Gathered(cells, rows, columns)
    for part in parts_of(cells, rows):
        for k in (k for k in gathered if kinds[k] == "product"):
            changed = with_slip(part, *steps[k])
            gathered[k].add(changed, concatenated([few.R for few in changed.few()]))
        for few in part.few():
            few.R  # noqa: B018 (computed here, it is the same for all slips, and so are S and Q)
            for k in (k for k in gathered if kinds[k] == "few"):
                gathered[k].add(few, with_slip(few, *steps[k]).R)
            if "factors" in kinds:
                right.add(few, few.R)
            if "classes" in kinds:
                of_classes.append([getattr(few, cell)[:, columns] for cell in "ZSQ"])
    known = dict(zip("ZSQ", map(concatenated, zip(*of_classes, strict=True)), strict=False))
    of_columns = Cells(cells.problem, cells.name, cells.arithmetic, known)
    ones = cells.replace("R", exact(np.ones((cells.problem.n_rows, 1)), cells.arithmetic))
    whole: Cells | None = None
    made = []
    for k, step in enumerate(steps):
        if k in gathered:
            made.append(gathered[k].gradient)
        elif kinds[k] == "factors":
            factors = with_slip(ones, *step).R.value[rows]
            made.append(exact(factors * right.gradient.value, cells.arithmetic))
        elif kinds[k] == "classes":
            of_columns.known["q"] = cells.q
            made.append(with_slip(of_columns, *step).gradient(rows))
        else:
            whole = whole or with_all_rows(cells)
            made.append(with_slip(whole, *step).gradient(rows, columns))
    return made


def takes_all_cells(cells: Cells, step: Step) -> bool:
    """Whether a slip of the layer needs the cells of all rows and all classes at a time."""
    return _kind(cells, step) == "all"


def _kind(cells: Cells, step: Step) -> str:
    """From what some entries of a large problem are made with a slip in it: from these "classes", from "all" cells, as
    the right gradient times "factors", from another "product" with the residuals, or from a "few" rows at a time."""
    slip, form = step
    if cells.name in ("weights", "bias") and not slip.takes_all_classes(form):
        return "classes"
    if slip.takes_all_rows(cells, form):
        return "all"
    if slip.stage == "rows" and not cells.arithmetic.rounds:
        return "factors"  # each row of the gradient is a multiple of what is right
    return "product" if _is_of_products(slip) else "few"


def with_all_rows(cells: Cells) -> Cells:
    """The derivation with the logits of all rows."""
    return cells.replace("Z", concatenated([part.Z for part in cells.parts()]))


def parts_of(cells: Cells, rows: Any) -> Iterator[Cells]:
    """Cells of all rows of the batch, so many at a time; of a gradient that has a row for each, these alone."""
    if cells.name in ("weights", "bias") or isinstance(rows, slice):
        return cells.parts()
    return (cells.some(slice(row, row + 1)) for row in rows.tolist())


def _is_of_products(slip: Slip) -> bool:
    """Whether a slip changes what enters a product, or all else is made of: not the residuals of a few rows."""
    return slip.stage == "bias" or slip.cell == "back"


@np.errstate(all="ignore")
def apply(
    problem: Problem, names: Sequence[str], with_respect_to: str = "weights", **parameters: float | int | str
) -> Array:
    """The gradient with these slips in it, in the shape that they give it.

    Parameters
    ----------
    names : identifiers in SLIPS
        Applied in the order of their stages.
    parameters
        In the place of those that the slips' examples have.

    Raises
    ------
    InputError
        There is no such slip, or it cannot be made on this problem: no bias, no option, no label.
    """
    for name in names:
        if name not in SLIPS:
            raise InputError(f"there is no slip {name!r}; there are {', '.join(SLIPS)}")
    cells = bounds.cells_of(problem).of(with_respect_to)
    for slip in sorted((SLIPS[name] for name in names), key=lambda slip: STAGES.index(slip.stage)):
        cells = with_slip(cells, slip, _example(cells, slip, parameters))
    return cells.G.value


def _example(cells: Cells, slip: Slip, parameters: Parameters) -> Parameters:
    """The form of a slip that stands for it on this problem, with these parameters; a factor may have a name."""
    forms = slip.example_forms(cells)
    if not forms or (slip.stage == "added W" and cells.G.shape != cells.parameter.shape):
        raise InputError(f"{slip.name} cannot be made on this problem, with respect to {cells.name}")
    form = slip.example or forms[0]
    if slip.free is not None and form[slip.free] == slip.number.nothing:  # 1/B of a single row
        form = {**form, slip.free: 2.0}
    form = {name: parameters.get(name, value) for name, value in form.items()}
    if isinstance(name := form.get("k"), str):
        factors = named_factors(cells, cells.G.value)
        if name not in factors:
            raise InputError(f"there is no factor {name!r} here; there are {', '.join(factors)}")
        return {"k": factors[name]}
    return form
