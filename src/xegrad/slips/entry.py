"""What the catalogue says of a mistake: its text, and beside it the formula of what it makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from xegrad.derivation import Cells
from xegrad.numbers.rounded import Rounded
from xegrad.targets import Array

Parameters = Mapping[str, Any]  # numbers and names; a free number may be a stack of them
Indices = NDArray[np.intp]

# In the order in which they act; a pair is two of them.  "residual" is how dL/dZ is formed from S and Q, and
# "input" how it is carried back.
STAGES = (
    "bias",
    "probabilities",
    "target",
    "residual",
    "input",
    "layout",
    "sign",
    "factor",
    "added W",
    "storage",
)


def _one_form(cells: Cells) -> Sequence[Parameters]:
    return ({},)


class Slip(msgspec.Struct, frozen=True, eq=False):
    """A mistake that people make with this gradient: what it is, what it makes, and how it is mended.

    The texts may hold the names of parameters and of the problem's sizes in braces.  `formula` gives what stands in
    the place of a cell of the derivation, from the other cells and the parameters of one form; of several cells
    where it returns a mapping.  A layout has `places` instead: the flat index to which the entry of row i and
    column k goes.
    """

    name: str
    stage: str
    sentence: str
    equation: str
    message: str  # what happened, in two lines
    wrong: str  # the line of code
    right: str
    remedy: str
    cause: str
    cell: str = "G"
    formula: Callable[[Cells, Parameters], Rounded | Mapping[str, Rounded]] | None = None
    places: Callable[[Cells, Parameters, Indices, Indices], Indices] | None = None
    forms: Callable[[Cells], Sequence[Parameters]] = _one_form  # all that it has on this problem
    example: Parameters = {}  # for samples and blind spots
    # The free number, if it has one.  It is sought between two values of the grid, or on a line where there is no grid:
    # the formula is linear in it, and its values at 0 and 1 tell the rest.  That of `clipped` is the largest entry.
    free: str | None = None
    nothing: float | None = 0.0  # its value that is no slip, if there is one
    grid: Array | None = None

    @property
    def is_in_layer(self) -> bool:
        """Whether it is made before there is a gradient."""
        return self.cell != "G"
