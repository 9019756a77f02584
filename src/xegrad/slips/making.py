"""The wrong gradient that a slip makes, or several, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xegrad.errors import InputError
from xegrad.problem import Problem
from xegrad.slips import SLIPS, STAGES, Slip
from xegrad.slips.draft import Draft, Gradient, right, stack
from xegrad.slips.entry import Parameters
from xegrad.slips.gradients import named_factors, shape
from xegrad.targets import Array


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
        The slips' own, by name; those not given are canonical.

    Raises
    ------
    InputError
        There is no such slip, or it cannot be made on this problem: no bias, no option, no label.
    """
    for name in names:
        if name not in SLIPS:
            raise InputError(f"there is no slip {name!r}; there are {', '.join(SLIPS)}")
    draft = right(problem, with_respect_to)
    slips = sorted((SLIPS[name] for name in names), key=lambda slip: STAGES.index(slip.stage))
    for slip in slips:
        if slip.draft is not None:
            draft = slip.draft(draft, form(draft, slip, parameters))
    made = stack([draft]).pull_back()
    gradient = Gradient(made.values[0], made.bound[0])
    for slip in slips:
        if slip.places is not None or slip.gradient is not None:
            gradient = changed(draft, slip, gradient, form(draft, slip, parameters, gradient))
    return gradient.values


def changed(draft: Draft, slip: Slip, gradient: Gradient, given: Parameters) -> Gradient:
    """What a slip of the gradient makes of it."""
    if slip.gradient is not None:
        return slip.gradient(draft, gradient, given)
    assert slip.places is not None
    n_rows, n_columns = shape(draft)
    places = slip.places(draft, given, np.arange(n_rows)[:, None], np.arange(n_columns))
    parts = []
    for part in (gradient.values, gradient.bound):
        flat = np.empty(part.size)
        flat[places.ravel()] = part.ravel()
        parts.append(flat.reshape(part.shape[::-1] if slip.name == "transposed" else part.shape))
    return Gradient(*parts)


def form(draft: Draft, slip: Slip, given: Parameters, gradient: Gradient | None = None) -> Parameters:
    """The first form of a slip on this problem that has the parameters given; a free number is canonical."""
    choices = slip.choices(draft)
    if not choices:
        raise InputError(f"{slip.name} cannot be made on this problem, with respect to {draft.name}")
    own = {name: value for name, value in given.items() if name in {*choices[0], *slip.canonical, slip.free}}
    if slip.free is None and not any(own.items() <= choice.items() for choice in choices):
        if slip.places is not None:
            return own
        raise InputError(f"{slip.name} has no form {own} on this problem")
    wanted = {**slip.canonical, **own}
    for asked in (wanted, own, {}):
        having = {name: value for name, value in asked.items() if name != slip.free}
        matching = [choice for choice in choices if having.items() <= choice.items()]
        if matching:
            break
    chosen: dict[str, Any] = {**matching[0]}
    if slip.free is not None:
        chosen[slip.free] = wanted[slip.free]
    if gradient is not None and slip.name == "scaled" and isinstance(chosen["k"], str):
        factors = named_factors(draft, gradient.values)
        if "k" in own and chosen["k"] not in factors:
            raise InputError(f"there is no factor {own['k']!r} here; there are {', '.join(factors)}")
        chosen["k"] = factors.get(chosen["k"], factors["2"])
    if gradient is not None and slip.name == "clipped" and isinstance(chosen["limit"], str):
        # Below the entries of two inputs at least; with two classes an input has two of one size.
        sizes = np.sort(np.abs(gradient.values).ravel())[::-1]
        chosen["limit"] = float(sizes[min(2 if draft.problem.n_classes > 2 else 3, sizes.size - 1)]) / 2
    return chosen
