"""What an explanation is made of: the steps of the chain, the slips that they invite, one entry followed."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from xegrad.targets import Array


class CommonMistake(msgspec.Struct, frozen=True, eq=False):
    """A mistake that a step invites: its identifier, what is done instead, and the numbers that come out."""

    name: str
    instead: str
    taken_for: str = ""  # what the numbers are taken for
    numbers: Array | None = None


class Corners(msgspec.Struct, frozen=True, eq=False):
    """The first and last rows and columns of a matrix too large to be built, and the target's."""

    shape: tuple[int, ...]  # of the whole
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    values: Array


class StepText(msgspec.Struct, frozen=True, eq=False):
    """What a step is, without its numbers."""

    symbol: str
    rule: str  # in words
    formula: str  # in symbols
    slip: CommonMistake | None = None
    structure: str = ""  # which parts of a matrix are zero, and why


class Step(StepText, frozen=True, eq=False, kw_only=True):
    """One factor of the chain, or one thing made of the factors."""

    name: str
    worked: tuple[str, ...]  # in the problem's own numbers
    value: Array | None = None  # None where there is none, or where it is beyond the budget
    corners: Corners | None = None  # then these
    noise: NDArray[np.bool_] | None = None  # entries of which only rounding is left
    lost: str = ""  # what floats lose here

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the value, even where only its corners are there."""
        whole = self.corners if self.value is None else self.value
        return () if whole is None else whole.shape


class WorkedEntry(msgspec.Struct, frozen=True, eq=False):
    """One entry of dL/dW, followed through every factor."""

    input: int
    class_: int
    factors: tuple[str, ...]  # each as a worked line
    lines: tuple[str, ...]  # the sum over t with Q_t != 0
    chain: float
    shortcut: float
    exact: float | None
