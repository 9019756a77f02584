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
from xegrad.slips.gradients import named_factors
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
        The slips' own, by name; those that are missing are those of the slips' examples.

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
        cells = with_slip(cells, slip, chosen_form(cells, slip, parameters))
    return cells.G.value


def chosen_form(cells: Cells, slip: Slip, parameters: Parameters) -> Parameters:
    """The first form of a slip on this problem that has these parameters; a free number is that of the example."""
    forms = slip.forms(cells)
    if not forms or (slip.stage == "added W" and cells.G.shape != cells.parameter.shape):
        raise InputError(f"{slip.name} cannot be made on this problem, with respect to {cells.name}")
    names = {*slip.example}.union(*forms)
    fixed = {name: value for name, value in parameters.items() if name in names}
    matching = [
        form
        for asked in ({**slip.example, **fixed}, fixed)
        for form in forms
        if asked.items() <= form.items()
    ]
    if not matching:
        if slip.places is not None:  # an order of the classes that has no name
            return fixed
        raise InputError(f"{slip.name} has no form {fixed} on this problem")
    if slip.free is None:
        return matching[0]
    return {**matching[0], slip.free: _number(cells, slip, parameters.get(slip.free))}


def _number(cells: Cells, slip: Slip, number: float | str | None) -> float:
    """A free number as it is asked for, or that of the example; a factor may have a name."""
    if isinstance(number, str):
        factors = named_factors(cells, cells.G.value)
        if number not in factors:
            raise InputError(f"there is no factor {number!r} here; there are {', '.join(factors)}")
        return factors[number]
    if number is None:
        number = slip.number.example_on(cells)
        return 2.0 if number == slip.number.nothing else number  # 1/B of a single row
    return float(number)
