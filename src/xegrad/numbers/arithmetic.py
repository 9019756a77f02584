"""A floating-point arithmetic: its format, and how it forms its sums.

u is half the machine epsilon, eta the smallest subnormal, and gamma_n = n u / (1 - n u) bounds the relative error
of n roundings (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., lemma 3.1).  In mixed precision some
cells of the derivation are rounded to another format, and sums are formed in another than their results.

See docs/numerics.md, sections 2.1, 4.5, 4.12, 4.13 and 5.11.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from xegrad.errors import InputError, nearest, shown
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


def cascade(n: int) -> int:
    """Sixteen at a time, those sums again sixteen at a time, and at the end eight levels: nll_loss of torch's CPU."""
    return min(n, 16 * max(1, math.ceil(math.log(n, 16))) + 9)


def by_name(summation: str) -> Callable[[int], int]:
    """One of these, from any, pairwise or blocked=N.

    Raises
    ------
    InputError
        Another word.
    """
    summation = str(summation)
    kind, _, size = summation.partition("=")
    if kind == "blocked" and size.isdecimal() and float(size):
        return blocked(int(min(float(size), 2.0**53)))  # more terms than any sum has
    if summation not in ("any", "pairwise"):
        hint = nearest(summation, ("any", "pairwise", "blocked=N")) if kind != "blocked" else ""
        expected = "any, pairwise or blocked=N is expected, with N from 1, the terms of a block"
        raise InputError(f"summation is {shown(summation)}; {expected}{hint}")
    return any_order if summation == "any" else pairwise


class Arithmetic(msgspec.Struct, frozen=True):
    """What an error bound speaks of: a floating-point format, how sums are formed in it, and what is in another."""

    u: float  # half the distance from 1 to the next number
    eta: float  # the smallest positive number
    largest: float
    terms: Callable[[int], int] = any_order
    sums: Arithmetic | None = None  # the format of the sums, before their results are rounded to this one
    stored: tuple[tuple[str, Arithmetic], ...] = ()  # the cells that are rounded to another format
    # The format in which partial sums of a gradient are rounded and added, and how many there are.
    partial: tuple[Arithmetic, Callable[[Any, str], int]] | None = None
    dropped_below: float = 0.0  # a residual that is less than this part of q may count as 0
    is_careful: bool = False  # residuals are formed as in (3.4), where nothing cancels but what must
    failure: float = 0.0  # with which probability all roundings of one term may lead past its gamma

    @property
    def rounds(self) -> bool:
        """Whether errors are kept: not in `UNROUNDED`."""
        return self.u > 0

    @property
    def near_overflow(self) -> float:
        """What exceeds this may overflow on its way, and then there is no bound."""
        return min(self.largest, self.adding.largest) / 8

    @property
    def rounds_inputs(self) -> bool:
        """Whether float64 numbers are rounded on their way into it."""
        return self.u > PRECISIONS["float64"].u

    @property
    def adding(self) -> Arithmetic:
        """The format of its sums."""
        return self.sums or self

    def stores(self, cell: str) -> Arithmetic | None:
        """The other format to which a cell is rounded."""
        return next((other for name, other in self.stored if name == cell), None)

    def gamma(self, n: Any) -> Any:
        """gamma_n = n u / (1 - n u) of the sums; infinite where so many roundings may lose everything."""
        steps = n * self.adding.u
        if isinstance(n, int):
            worst = steps / (1 - steps) if steps < 1 else np.inf
        else:
            worst = np.where(steps < 1, steps / np.where(steps < 1, 1 - steps, 1), np.inf)
        return np.minimum(worst, self._probable(n)) if self.failure else worst

    def _probable(self, n: Any) -> Any:
        """What n independent roundings of mean 0 exceed with a probability of `failure` at most (4.23)."""
        u = self.adding.u
        deviations = math.sqrt(2 * math.log(2 / self.failure)) / (1 - u)
        return np.expm1(deviations * np.sqrt(n) * u + n * u**2 / (1 - u))

    def roundings(self, others: int, additions: int = 0) -> float:
        """What so many roundings of a result come to, to first order, so many of them those of a sum."""
        if self.sums is None and not self.failure:
            return (additions + others) * self.u
        added = additions * self.adding.u
        if self.failure:
            added = min(added, float(self._probable(additions)))
        return added + (others + (self.sums is not None)) * self.u

    def rounding(self, values: Array, error: Any) -> Any:
        """The error of numbers that are off by so much once they are rounded to this format."""
        return error + self.u * (np.abs(values) + error) + self.eta

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
