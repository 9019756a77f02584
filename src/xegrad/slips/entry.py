"""What the catalogue says of a mistake: its text, and beside it the formula of what it makes."""

from __future__ import annotations

import math
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

# In the order in which they act; a pair is two of them.  Those in the layer change the cell that stands beside them:
# "residual" how R is formed from S and Q, "rows" what its rows are multiplied with, "input" how it is carried back.
# The others change G.
_IN_LAYER = {"bias": "Z", "probabilities": "S", "target": "Q", "residual": "R", "rows": "R", "input": "R"}
STAGES = (*_IN_LAYER, "layout", "sign", "factor", "added W", "storage")


class FreeNumber(msgspec.Struct, frozen=True, eq=False):
    """A number that is read from the candidate, if a slip has one: in its open forms, which have no value for it.

    It is sought between two values of the grid, or on a line where there is no grid: the formula is linear in it, and
    its values at 0 and 1 tell the rest.  That of `clipped` is the largest entry.
    """

    name: str | None = None
    # For samples and blind spots; None: fixed forms only.
    example: float | Callable[[Cells], float] | None = 0.0
    nothing: float | None = 0.0  # its value that is no slip, if there is one
    between: tuple[float, float] = (-math.inf, math.inf)  # above the first, up to the second
    grid: Array | None = None

    def example_on(self, cells: Cells) -> float:
        """The free number that stands for the slip on a problem."""
        assert self.example is not None
        return self.example(cells) if callable(self.example) else self.example


class Slip(msgspec.Struct, frozen=True, eq=False):
    """A mistake that people make with this gradient: what it is, what it makes, and how it is mended.

    The texts may hold the names of parameters and of the problem's sizes in braces.  `formula` gives what stands in
    the place of the stage's cell of the derivation, from the other cells and the parameters of one form; of other
    cells, or several, where it returns a mapping.  A layout has `places` instead: the flat index to which the entry
    of row i and column k goes.
    """

    stage: str
    sentence: str
    equation: str
    message: str  # what happened, in two lines
    code: tuple[str, str]  # the wrong line and the right one
    remedy: str
    cause: str
    name: str = ""  # that of the table
    other_cell: str | None = None  # where it is not the stage's
    formula: Callable[[Cells, Parameters], Rounded | Mapping[str, Rounded]] | None = None
    places: Callable[[Cells, Parameters, Indices, Indices], Indices] | None = None
    forms: Callable[[Cells], Sequence[Parameters]] = lambda cells: [{}]  # all that it has on this problem
    example: Parameters = {}  # for samples and blind spots, where it is not the first form
    paired: bool = True  # sought with another slip of the layer
    number: FreeNumber = FreeNumber()
    # Of the cells of a residual, whether a form takes those of all rows, or those of its own and what the problem says;
    # and those of all classes, or those of its own and q.
    takes_all_rows: Callable[[Cells, Parameters], bool] = lambda cells, form: False
    takes_all_classes: Callable[[Parameters], bool] = lambda form: True

    @property
    def cell(self) -> str:
        """The cell that it replaces."""
        return self.other_cell or _IN_LAYER.get(self.stage, "G")

    @property
    def is_in_layer(self) -> bool:
        """Whether it is made before there is a gradient."""
        return self.stage in _IN_LAYER

    @property
    def free(self) -> str | None:
        """The name of its free number, if it has one."""
        return self.number.name

    def fixed_forms(self, cells: Cells) -> list[Parameters]:
        """Its forms in which no number is free."""
        return [form for form in self.forms(cells) if self.free is None or self.free in form]

    def open_forms(self, cells: Cells) -> list[Parameters]:
        """Its forms in which a number is free."""
        return [form for form in self.forms(cells) if self.free is not None and self.free not in form]

    def example_forms(self, cells: Cells) -> list[Parameters]:
        """Those that samples and blind spots have, with a number where one is free."""
        fixed = self.fixed_forms(cells)
        if self.free is None or self.number.example is None:
            return fixed
        number = self.number.example_on(cells)
        return fixed + [{**form, self.free: number} for form in self.open_forms(cells)]


def each(name: str, *values: Any) -> list[Parameters]:
    """A form for each value of a parameter."""
    return [{name: value} for value in values]
