"""The data of an explanation: the steps of the chain, the mistake that each invites, one worked entry."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from xegrad.targets import Array


class CommonMistake(msgspec.Struct, frozen=True, eq=False):
    """A mistake that a step invites: its identifier, what is done instead, and the numbers that come out."""

    name: str
    instead: str
    taken_for: str = ""  # the quantity that a reader mistakes the numbers for
    numbers: Array | None = None


class Corners(msgspec.Struct, frozen=True, eq=False):
    """The first and last rows and columns of a matrix too large to be built, and those of the target class."""

    shape: tuple[int, ...]  # of the full matrix
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    values: Array


class Step(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """One factor of the chain, or a product of factors."""

    name: str
    symbol: str
    rule: str  # in words
    formula: str  # in symbols
    worked: Sequence[str]  # in the problem's own numbers
    value: Array | None = None  # None if the step has none, or if it exceeds the budget
    corners: Corners | None = None  # shown if the value exceeds the budget
    noise: NDArray[np.bool_] | None = None  # entries that are nothing but rounding error
    structure: str = ""  # which parts of a matrix are zero, and why
    lost: str = ""  # what floating point loses here
    slip: CommonMistake | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the value, or of the full matrix if only its corners are there."""
        whole = self.corners if self.value is None else self.value
        return () if whole is None else whole.shape


class WorkedEntry(msgspec.Struct, frozen=True, eq=False):
    """One entry of dL/dW, followed through every factor."""

    input: int
    class_: int
    factors: tuple[str, ...]  # a worked line for each
    lines: tuple[str, ...]  # the terms of the sum over the classes t with Q_t != 0
    chain: float
    shortcut: float
    exact: float | None = None
