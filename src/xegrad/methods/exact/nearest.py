"""Floats that are the nearest to exact numbers, where that is certain."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from xegrad.numbers import doubleword as dw
from xegrad.numbers.doubleword import INFLATE
from xegrad.targets import Array

FAINT = 2.0**-1000  # more than what underflows of numbers that are 1 at most


class Nearest(msgspec.Struct, frozen=True, eq=False):
    """Floats, which of them are certain to be the nearest to the exact numbers, and how far off the others may be."""

    values: Array
    certain: NDArray[np.bool_]
    errors: Array  # 0 where it is certain

    @classmethod
    def of_shape(cls, shape: tuple[int, ...]) -> Nearest:
        """Nothing yet.  `errors` takes memory only where it is written."""
        return cls(np.empty(shape), np.zeros(shape, dtype=bool), np.zeros(shape))

    @classmethod
    def to(cls, high: Array, low: Array, error: Array) -> Nearest:
        """Those nearest to high + low, which is off by `error` at most."""
        rounded = cls.of_shape(high.shape)
        rounded.put(..., high, low, error)
        return rounded

    def put(self, where: Any, high: Array, low: Array, error: Array) -> None:
        """A part of it, a slice."""
        values, certain = dw.nearest(high, low, error)
        self.values[where], self.certain[where] = values, certain
        self.leave_open(where, error)

    def leave_open(self, where: Any, error: Array) -> None:
        """The errors of what is not certain there: with the rounding, and what underflowed in the error itself."""
        is_open = ~self.certain[where]
        if is_open.any():
            values = self.values[where][is_open]
            error = np.broadcast_to(error, is_open.shape)[is_open]
            off = (error + np.spacing(np.abs(values))) * INFLATE + FAINT
            self.errors[where][is_open] = np.where(np.isfinite(off), off, np.inf)

    def vanish(self, zero: Any) -> None:
        """What is known to be exactly 0."""
        if zero.any():
            zero = np.broadcast_to(zero, self.values.shape)
            self.values[zero], self.certain[zero], self.errors[zero] = 0, True, 0

    def every_error(self) -> Array:
        """How far each may be from the exact number."""
        return np.where(self.certain, half_ulp(self.values), self.errors)


def half_ulp(values: Any) -> Array:
    """How far the exact number may be from the float nearest to it; infinite where that is no finite number.

    Half of the smallest float is none, so next to 0 it is a whole one.
    """
    with np.errstate(all="ignore"):
        half = np.maximum(np.spacing(np.abs(values)) / 2, 2.0**-1074)
        return np.where(np.isfinite(values), half, np.inf)
