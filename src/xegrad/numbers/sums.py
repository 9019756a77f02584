"""How far the sums of a matrix product are off, from any part of their terms at a time.

See docs/numerics.md, section 4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from xegrad.numbers.arithmetic import Arithmetic
from xegrad.targets import Array

if TYPE_CHECKING:
    from xegrad.numbers.rounded import Rounded

MANY = 2**28  # multiplications, of which half the time is worth the least and the largest of all factors
FEW = 2**11  # terms


class Products:
    """The error of A B, or A B + c, from some of the n products of each sum at a time; c is in any place of the sums.

    `partial` is gamma of the roundings of partial sums, where these are rounded to another format.
    With g = gamma of the n products of a sum (n + 1 terms with c) it is
    |A| (g |B| + (1 + g) dB) + (1 + g) dA (|B| + dB), with n underflows: two products, one where A or B is exact (4.7).
    All but g and what follows from it is a sum over the n, so that a few of them at a time come to the same.
    """

    def __init__(
        self, n_terms: int, arithmetic: Arithmetic, plus: Rounded | None = None, partial: float = 0.0
    ):
        self.n_terms, self.arithmetic, self.plus = n_terms, arithmetic, plus
        g = arithmetic.gamma(arithmetic.terms(n_terms) + (plus is not None))
        self.g = g + partial * (1 + g) if partial else g
        self.moved: Any = 0
        self.size: Any = 0  # of the sums, where these may be near overflow

    def add(self, first: Rounded, second: Rounded) -> None:
        """The products of columns of A and rows of B."""
        if first.is_exact and second.is_exact:
            moved = _no_less(first.value, second.value)
            moved *= self.g
        elif second.is_exact:
            moved = _no_less(self.moves(first), second.value)
        else:
            moved = _no_less(first.value, self.moves(second))
            if not first.is_exact:
                moved += (1 + self.g) * (first.errors @ (np.abs(second.value) + second.error))
        self.moved = moved if np.ndim(self.moved) == 0 else np.add(self.moved, moved, out=self.moved)
        if not _largest(first) * _largest(second) * self.n_terms <= self.arithmetic.near_overflow:
            self.size = self.size + (np.abs(first.value) + first.error) @ (
                np.abs(second.value) + second.error
            )

    def moves(self, factor: Rounded) -> Array:
        """g |A| + (1 + g) dA: how far the products with numbers that are exact move the sums."""
        moves = np.abs(factor.value)
        moves *= self.g
        return moves if factor.is_exact else np.add(moves, (1 + self.g) * factor.error, out=moves)

    def error(self, value: Array) -> Array:
        """The error of the sums, whose value is known."""
        arithmetic, size, plus = self.arithmetic, self.size, self.plus
        error = np.add(self.moved, self.n_terms * arithmetic.adding.eta, out=self.moved)
        if plus is not None:
            added = np.abs(plus.value)
            error = error + (1 + self.g) * plus.error + self.g * added
            if np.ndim(size) or not added.max(initial=0.0) <= arithmetic.near_overflow:
                size = np.abs(value) + added + size
        if arithmetic.sums is not None:
            error = arithmetic.rounding(value, error)
        return bounded(error, size, arithmetic) if np.ndim(size) else error


def _no_less(first: Array, second: Array) -> Array:
    """|A| |B|, or a little more: many of them in float32, where that holds them (4.9)."""
    n_terms = first.shape[-1]
    if first.ndim != 2 or second.ndim != 2 or n_terms > FEW or first.size * second.shape[-1] < MANY:
        return np.abs(first) @ np.abs(second)
    factors = []
    for factor in (first, second):  # far from where float32 or a product of two overflows or loses digits
        narrow = factor.astype(np.float32)
        np.abs(narrow, out=narrow)
        least = narrow.min() or narrow.min(initial=1.0, where=narrow != 0)
        is_held = np.count_nonzero(narrow) == np.count_nonzero(factor)
        if not (is_held and least >= 2.0**-60 and narrow.max() <= 2.0**50):
            return np.abs(first) @ np.abs(second)
        factors.append(narrow)
    steps = (n_terms + 2) * 2.0**-24
    product = (factors[0] @ factors[1]).astype(np.float64)
    product *= 1 / (1 - steps / (1 - steps))
    return product


def _largest(number: Rounded) -> float:
    """No entry and its error are more."""
    value = number.value
    return float(max(value.max(initial=0.0), -value.min(initial=0.0)) + np.max(number.error, initial=0.0))


def bounded(error: Any, size: Any, arithmetic: Arithmetic) -> Any:
    """The error, infinite where the size is near overflow."""
    if size.size and not size.max() <= arithmetic.near_overflow:  # a NaN is near nothing
        return np.where(size <= arithmetic.near_overflow, error, np.inf)
    return error
