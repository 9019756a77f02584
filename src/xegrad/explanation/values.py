"""The data of an explanation: the steps of the chain, the mistake that each invites, one worked entry."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from xegrad.targets import Array

BUDGET = 2**20  # numbers of a Jacobian that are built at once


class CommonMistake(msgspec.Struct, frozen=True, eq=False):
    """A mistake that a step invites: its identifier, what is done instead, and the numbers that come out."""

    name: str
    instead: str
    taken_for: str = ""  # the quantity that a reader mistakes the numbers for
    numbers: Array | None = None


class Jacobian(msgspec.Struct, frozen=True, eq=False):
    """A matrix that may be too large to be built: its entries are a function of arrays of rows and of columns."""

    shape: tuple[int, int]
    entries: Callable[[Any, Any], Array]


class Step(msgspec.Struct, frozen=True, eq=False, kw_only=True, dict=True):
    """One factor of the chain, or a product of factors."""

    name: str = ""  # in the table of the steps
    symbol: str
    rule: str  # in words
    formula: str  # in symbols; of several, each on a line
    worked: Sequence[str]  # in the problem's own numbers
    numbers: Array | Jacobian | None = None
    noise: NDArray[np.bool_] | None = None  # entries that are nothing but rounding error
    structure: str = ""  # which parts of a matrix are zero, and why
    lost: str = ""  # what floating point loses here
    slip: CommonMistake | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the value, even where that is not built."""
        return () if self.numbers is None else self.numbers.shape

    @cached_property
    def value(self) -> Array | None:
        """All of the numbers; None if the step has none, or more than the budget."""
        if not isinstance(self.numbers, Jacobian):
            return self.numbers
        return self.at(*map(np.arange, self.shape)) if math.prod(self.shape) <= BUDGET else None

    @np.errstate(all="ignore")
    def at(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Array:
        """Some rows and columns of the numbers; those of a vector are one row."""
        places = np.ix_(rows, columns)
        if isinstance(self.numbers, Jacobian):
            return self.numbers.entries(*places)
        return np.atleast_2d(np.asarray(self.numbers))[places]


class WorkedEntry(msgspec.Struct, frozen=True, eq=False):
    """One entry of dL/dW, followed through every factor."""

    input: int
    class_: int
    factors: tuple[str, ...]  # a worked line for each
    lines: tuple[str, ...]  # the terms of the sum over the classes t with Q_t != 0
    chain: float
    shortcut: float
    exact: float | None = None
