"""Slips put into the derivation, one or several, one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from xegrad import bounds
from xegrad.derivation import Cells
from xegrad.errors import InputError
from xegrad.numbers.rounded import Rounded
from xegrad.problem import Problem
from xegrad.slips import SLIPS, STAGES, Slip
from xegrad.slips.entry import Parameters
from xegrad.slips.formulas import named_factors
from xegrad.targets import Array


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
