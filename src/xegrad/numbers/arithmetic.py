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

from xegrad.errors import InputError, shown
from xegrad.targets import Array

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


def by_name(summation: str) -> Callable[[int], int]:
    """One of these, from any, pairwise or blocked=N.

    Raises
    ------
    InputError
        Another word.
    """
    summation = str(summation)
    kind, _, size = summation.partition("=")
    if kind == "blocked" and size.isdecimal() and int(size):
        return blocked(int(size))
    if summation not in ("any", "pairwise"):
        expected = "any, pairwise or blocked=N is expected, N terms to a block"
        raise InputError(f"summation is {shown(summation)}; {expected}")
    return any_order if summation == "any" else pairwise


class Arithmetic(msgspec.Struct, frozen=True):
    """What an error bound speaks of: a floating-point format, and how sums are formed in it."""

    u: float  # half the distance from 1 to the next number
    eta: float  # the smallest positive number
    largest: float
    terms: Callable[[int], int] = any_order

    @property
    def rounds(self) -> bool:
        """Whether errors are kept: not in `UNROUNDED`."""
        return self.u > 0

    @property
    def near_overflow(self) -> float:
        """What exceeds this may overflow on its way, and then there is no bound."""
        return self.largest / 8

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

    def holds(self, values: Array) -> NDArray[np.bool_]:
        """Which float64 numbers are numbers of this format."""
        return (self.nearest(values) == values) & (np.abs(values) <= self.largest)

    def nearest(self, values: Array) -> Array:
        """The number of this format that is nearest to each float64 number, as if it had no largest one."""
        with np.errstate(all="ignore"):
            if self.u == PRECISIONS["float32"].u:  # the same, by numpy's own float32
                return values.astype(np.float32).astype(np.float64)
            _, exponents = np.frexp(values)
            step = np.maximum(np.ldexp(self.u, exponents), self.eta)
            return np.asarray(np.rint(values / step) * step)


PRECISIONS: Mapping[str, Arithmetic] = {
    "float64": Arithmetic(2.0**-53, 2.0**-1074, (2 - 2.0**-52) * 2.0**1023),
    "float32": Arithmetic(2.0**-24, 2.0**-149, (2 - 2.0**-23) * 2.0**127),
    "float16": Arithmetic(2.0**-11, 2.0**-24, 65504.0),
    "bfloat16": Arithmetic(2.0**-8, 2.0**-133, (2 - 2.0**-7) * 2.0**127),
}

UNROUNDED = Arithmetic(0.0, 0.0, math.inf)  # values alone, where no error is asked for
