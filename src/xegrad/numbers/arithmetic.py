"""A floating-point arithmetic: its format, and how it forms its sums.

u is half the machine epsilon, eta the smallest subnormal, and gamma_n = n u / (1 - n u) bounds the relative error
of n roundings (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., lemma 3.1).

See docs/numerics.md, sections 2.1 and 4.5.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from xegrad.targets import Array


class Precision(msgspec.Struct, frozen=True):
    """A floating-point format: u is half the distance from 1 to the next number, eta the smallest positive."""

    u: float
    eta: float
    largest: float

    def holds(self, values: Array) -> NDArray[np.bool_]:
        """Which float64 numbers are numbers of this format: those of so many bits, in whole steps of eta."""
        if self == PRECISIONS["float32"]:  # the same, by numpy's own float32
            with np.errstate(all="ignore"):
                return values.astype(np.float32) == values
        fractions, _ = np.frexp(values)
        digits, steps = fractions / self.u, values / self.eta
        return (digits == np.rint(digits)) & (steps == np.rint(steps)) & (np.abs(values) <= self.largest)


PRECISIONS: Mapping[str, Precision] = {
    "float64": Precision(2.0**-53, 2.0**-1074, (2 - 2.0**-52) * 2.0**1023),
    "float32": Precision(2.0**-24, 2.0**-149, (2 - 2.0**-23) * 2.0**127),
    "float16": Precision(2.0**-11, 2.0**-24, 65504.0),
    "bfloat16": Precision(2.0**-8, 2.0**-133, (2 - 2.0**-7) * 2.0**127),
}


# How many roundings a term of a sum of n products goes through: one of its own, and those of the additions.


def any_order(n: int) -> int:
    """Whatever the order: at most n - 1 additions."""
    return n


def pairwise(n: int) -> int:
    """By halves: the depth of the tree, and one more for a product that is fused or not."""
    return min(n, math.ceil(math.log2(n)) + 1)


def blocked(block: int) -> Callable[[int], int]:
    """By blocks of so many terms, whose sums are then summed."""
    return lambda n: min(n, block + math.ceil(n / block))


class Arithmetic(msgspec.Struct, frozen=True):
    """What an error bound speaks of: a precision, and how sums are formed in it."""

    precision: Precision = PRECISIONS["float64"]
    terms: Callable[[int], int] = any_order

    @property
    def u(self) -> float:
        """Half the machine epsilon."""
        return self.precision.u

    @property
    def rounds(self) -> bool:
        """Whether errors are kept: not in `UNROUNDED`."""
        return self.precision.u > 0

    @property
    def eta(self) -> float:
        """The smallest positive number."""
        return self.precision.eta

    @property
    def near_overflow(self) -> float:
        """What exceeds this may overflow on its way, and then there is no bound."""
        return self.precision.largest / 8

    @property
    def rounds_inputs(self) -> bool:
        """Whether float64 numbers are rounded on their way into it."""
        return self.u > PRECISIONS["float64"].u

    def gamma(self, n: Any) -> Any:
        """gamma_n = n u / (1 - n u); infinite where so many roundings may lose everything."""
        steps = n * self.u
        if isinstance(n, int):
            return steps / (1 - steps) if steps < 1 else np.inf
        return np.where(steps < 1, steps / np.where(steps < 1, 1 - steps, 1), np.inf)


UNROUNDED = Arithmetic(Precision(0.0, 0.0, math.inf))  # values alone, where no error is asked for
