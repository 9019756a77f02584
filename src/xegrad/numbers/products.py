"""Matrix products as double words: of slices whose products BLAS forms exactly, with a bound on what is left.

A is cut by rows and B by columns into slices of few bits, A = a_1 + a_2 + R.  A product of two slices is exact in any
order of its sum, with fused operations or without, on any number of threads.  So what is certain about the result is
the same on every machine, though the last bits of what is not exact may differ.  After Ozaki, Ogita, Oishi and Rump
(Numer. Algorithms 59, 2012) and Rump, Ogita and Oishi (SIAM J. Sci. Comput. 31, 2008).

See docs/numerics.md, section 9.6.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xegrad.arrays import blocks
from xegrad.numbers.doubleword import INFLATE, U
from xegrad.targets import Array

Words = tuple[Array, Array | None]  # high and low words; None where there are no low ones
_Factor = tuple[Array, NDArray[np.bool_]]  # and which of its rows or columns are not 0

LEFT_BITS, RIGHT_BITS = 26, 27  # of a slice, below the power of two above its norm: 53 together (9.21)
# Of a chunk of the sums, by the number of slices: short ones make the slices finer, long ones the additions few.
LENGTH = {2: 128, 3: 512}
GROUP = 4  # chunks after which the low word is cleared of what is not low
STRIP = 1 << 14  # numbers worked on at a time: 128 KiB an array stay in cache
WIDTH = 1024  # rows and columns of a tile of the result
LEAST_EXPONENT = -400  # of a slice: products of slices are no smaller than 2**-853
TINY, UNSEEN = 2.0**-450, 2.0**-340  # what is less than TINY is left out, and UNSEEN pays for it
# Of the norm of a row: between them no digit is lost and nothing overflows.
SMALL, LARGE = 2.0**-250, 2.0**400
UNBALANCED = 16  # how much larger a bound may be than with terms that are balanced
ZERO = -10_000  # the exponent of 0, less than any other


class Tile(NamedTuple):
    """A part of a product: A B there is high + low, off by left @ right at most."""

    rows: slice
    columns: slice
    high: Array
    low: Array
    left: Array  # (..., M, k)
    right: Array  # (..., k, C)


class Buffers:
    """Arrays that are used again, since the system clears the pages of fresh ones at every use."""

    def __init__(self) -> None:
        self._kept: dict[Any, Array] = {}

    def empty(self, name: Any, shape: tuple[int, ...], transposed: bool = False) -> Array:
        """The array of this name; with `transposed` its last axis is the outer one in memory."""
        size = math.prod(shape)
        if name not in self._kept or self._kept[name].size < size:
            self._kept[name] = np.empty(size)
        if transposed:
            return self._kept[name][:size].reshape(*shape[:-2], shape[-1], shape[-2]).swapaxes(-1, -2)
        return self._kept[name][:size].reshape(shape)


def tiles(a: Words, b: Words, slices: int) -> Iterator[Tile]:
    """A B in parts, the high and low words of which are overwritten by the next; stacks are not cut.

    A (..., M, K) and B (..., K, C) are floats, or double words with |low| <= 2 u |high|.  `slices` is 2 or 3.
    """
    buffers = Buffers()
    (*_, n_rows, _), (*stack, _, n_columns) = a[0].shape, b[0].shape
    for rows in blocks(n_rows, n_rows if stack else WIDTH):
        for columns in blocks(n_columns, n_columns if stack else WIDTH):
            left, right = _part(a, np.s_[..., rows, :]), _part(b, np.s_[..., columns])
            *computed, is_comfortable = _product(left, right, slices, buffers)
            if not is_comfortable:
                computed = [*_scaled_product(left, right, slices, buffers)]
            yield Tile(rows, columns, *computed)


def _part(words: Words, where: Any) -> Words:
    high, low = words
    return high[where], None if low is None else low[where]


@np.errstate(all="ignore")
def _product(a: Words, b: Words, slices: int, buffers: Buffers) -> tuple[Array, Array, Array, Array, bool]:
    """The product, (9.20) to (9.24), and whether it need not be formed again, of scaled rows and columns."""
    shape = (*b[0].shape[:-2], a[0].shape[-2], b[0].shape[-1])
    total, low, partial, whole = (buffers.empty(name, shape) for name in ("total", "low", "partial", "whole"))
    total[...] = low[...] = 0
    strips = [...] if len(shape) > 2 else blocks(shape[0], STRIP // max(shape[1], 1))
    ranges = blocks(a[0].shape[-1], LENGTH[slices])
    n_exact, n_groups, group = slices * (slices + 1) // 2, -(-len(ranges) // GROUP), min(GROUP, len(ranges))
    n_products = n_exact + slices + 1
    # (9.23): in a group of chunks, each product rounds the low word, in which there are so many errors by then.
    of_total = n_groups * n_products * (group + n_exact * group * (group + 1) / 2) * (1 + 2.0**-8) * U * U
    lefts, rights, sizes = [], [], []
    for index, k in enumerate(ranges):
        left = _sliced(_part(a, np.s_[..., k]), -1, LEFT_BITS, slices, buffers)
        right = _sliced(_part(b, np.s_[..., k, :]), -2, RIGHT_BITS, slices, buffers)
        sizes.append((left.norms[0], right.norms[0], left.across, right.across))
        of_exact = (n_products * group + 1) * U
        of_ordinary = of_exact + (k.stop - k.start + 8) * U  # its own additions, and low words left out
        for first_norm, off, second_norm in (
            (left.norms[0] + UNSEEN, of_total, right.norms[0] + UNSEEN),
            (left.norms[0], of_ordinary, right.norms[slices]),
            (left.norms[1], of_exact, right.norms[slices - 1]),
            *((left.norms[i], of_ordinary, right.norms[slices - i]) for i in range(2, slices + 1)),
            (left.norms[2], 1 + 2.0**-8, right.norms[slices]),  # not formed
        ):
            lefts.append(first_norm * off)
            rights.append(second_norm)
        for (first, rows), (second, columns), is_large in _pairs(left, right, slices):
            if not (rows.any() and columns.any()):
                continue
            if len(shape) == 2 and rows.mean() * columns.mean() < 0.6:
                # Of numbers with few digits, a few rows or columns are often all that is left.
                some, product = np.ix_(rows[:, 0], columns[0]), first[rows[:, 0]] @ second[:, columns[0]]
                new_total, new_low = np.empty_like(product), low[some]
                if is_large:
                    _accumulate(total[some], product, new_total, new_low, np.empty_like(product))
                    total[some], low[some] = new_total, new_low
                else:
                    low[some] = new_low + product
                continue
            np.matmul(first, second, out=partial)
            if is_large:
                for strip in strips:
                    work = buffers.empty("work", total[strip].shape)
                    _accumulate(total[strip], partial[strip], whole[strip], low[strip], work)
                total, whole = whole, total
            else:
                low += partial
        if (index + 1) % GROUP == 0 or k is ranges[-1]:
            for strip in strips:
                partial[strip] = 0
                work = buffers.empty("work", total[strip].shape)
                _accumulate(total[strip], low[strip], whole[strip], partial[strip], work)
            total, whole, low, partial = whole, total, partial, low
    left_error, right_error = np.concatenate(lefts, axis=-1) * INFLATE, np.concatenate(rights, axis=-2)
    return total, low, left_error, right_error, _is_comfortable(a[0], b[0], sizes)


def _pairs(left: _Sliced, right: _Sliced, slices: int) -> Iterator[tuple[_Factor, _Factor, bool]]:
    """The products of (9.22), and whether one word is not enough for their sum."""
    for i, first in enumerate(left.parts):
        for j, second in enumerate(right.parts[: slices + 1 - i]):
            whole = right.rests[j] if i + j == slices and i > 1 else second
            yield (first, left.has_rest(i)), (whole, right.has_rest(j)), i + j < slices
    if len(right.parts) == slices:
        yield (left.rests[0], left.has_rest(0)), (right.rests[slices], right.has_rest(slices)), False
    if len(left.parts) == slices:
        yield (left.rests[slices], left.has_rest(slices)), (right.rests[0], right.has_rest(0)), False


class _Sliced(NamedTuple):
    parts: list[Array]
    rests: list[Array]  # before each part, and after the last
    norms: list[Array]  # of the rests, along the axis of the sum
    across: Array  # of the whole, along the other axis

    def has_rest(self, i: int) -> NDArray[np.bool_]:
        """Rows or columns of which something is left."""
        return ~(self.norms[i] <= 2 * TINY)


def two_norms(a: Array, axis: int) -> Array:
    """At least the 2-norms along an axis: K squares and their sum are off by (K + 1) u of it; TINY is for squares below
    2**-1022."""
    letters = "...ij,...ij->...i" if axis == -1 else "...ij,...ij->...j"
    return np.expand_dims(np.sqrt(np.einsum(letters, a, a)) * INFLATE, axis) + TINY


def _sliced(words: Words, axis: int, bits: int, slices: int, buffers: Buffers) -> _Sliced:
    """A = a_1 + ... + R by rows (axis -1) or columns (axis -2).

    With 2**e > (1 + 2**-10) |R_i|_2, the part is R_i rounded to multiples of q = 2**(e - bits), by adding 3/2 2**52 q
    and taking it away.  |part|_2 <= |R_i|_2 + sqrt(K) q / 2 <= 2**e (9.20).  What is left is exact.
    """
    rest, low = words
    shape, is_transposed = rest.shape, rest.strides[-1] > rest.strides[-2]

    def buffer(kind: str, i: int) -> Array:
        return buffers.empty((kind, axis, i), shape, is_transposed)

    if rest.dtype != np.float64:
        rest = _copied(rest, buffer("float64", 0))
    if low is not None:
        low = _copied(low, buffer("low", slices))  # to be overwritten
    sliced = _Sliced([], [rest], [two_norms(rest, axis)], two_norms(rest, -3 - axis))
    for i in range(slices):
        norm, part, after = sliced.norms[i], buffer("part", i), buffer("rest", i)
        if (norm <= 2 * TINY).all():  # nothing is left
            sliced.norms.append(norm)
            continue
        exponent = np.maximum(np.frexp(norm * (1 + 2.0**-10))[1], LEAST_EXPONENT)
        sigma = np.ldexp(1.5, exponent + (52 - bits))
        np.add(rest, sigma, out=part)
        part -= sigma
        np.subtract(rest, part, out=after)
        if low is not None:
            high, error = buffer("sum", i), buffer("low", i)
            error[...] = 0
            _accumulate(after, low, high, error, buffer("work", 0))
            after, low = high, error
        rest = after
        sliced.parts.append(part)
        sliced.rests.append(rest)
        sliced.norms.append(two_norms(rest, axis))
    return sliced


def _copied(a: Array, copy: Array) -> Array:
    copy[...] = a
    return copy


def _accumulate(a: Array, b: Array, total: Array, error: Array, work: Array) -> None:
    """total = a + b rounded, and its error, which is a float, added to error (Knuth).  b is overwritten."""
    np.add(a, b, out=total)
    np.subtract(total, a, out=work)
    b -= work
    np.subtract(work, total, out=work)
    work += a
    work += b
    error += work


def _is_comfortable(a: Array, b: Array, sizes: Sequence[tuple[Array, ...]]) -> bool:
    """Whether no row or column is so small or large that digits are lost, and no balance would help: see (9.25)."""
    of_rows, of_columns, across_a, across_b = zip(*sizes, strict=True)
    for words, norms in ((a, np.maximum.reduce(of_rows)), (b, np.maximum.reduce(of_columns))):
        outside = ~((norms > SMALL) & (norms < LARGE))
        if outside.any() and ((words != 0) & outside).any():
            return False
    of_a, of_b = np.concatenate(across_a, axis=-1), np.concatenate(across_b, axis=-2)
    least = (of_a @ of_b).sum(axis=(-1, -2))
    most = np.sqrt((of_a * of_a).sum(axis=(-1, -2)) * (of_b * of_b).sum(axis=(-1, -2)))
    return bool((most <= UNBALANCED * least).all())


@np.errstate(all="ignore")
def _scaled_product(a: Words, b: Words, slices: int, buffers: Buffers) -> tuple[Array, Array, Array, Array]:
    """The product of A 2**shift and B / 2**shift, with rows and columns below 1: scaled before and after (9.25)."""
    a, b = (a[0].astype(np.float64), a[1]), (b[0].astype(np.float64), b[1])
    of_a, of_b = _exponents(a[0], 0, -2).swapaxes(-1, -2), _exponents(b[0], 0, -1)
    shift = (of_b - of_a) // 2  # where one is 0, this takes the other to 0
    of_rows, of_columns = _exponents(a[0], shift.swapaxes(-1, -2), -1), _exponents(b[0], -shift, -2)
    for_a, for_b = shift.swapaxes(-1, -2) - _used(of_rows), -shift - _used(of_columns)
    scaled_a: Words = np.ldexp(a[0], for_a), None if a[1] is None else np.ldexp(a[1], for_a)
    scaled_b: Words = np.ldexp(b[0], for_b), None if b[1] is None else np.ldexp(b[1], for_b)
    high, low, left, right, _ = _product(scaled_a, scaled_b, slices, buffers)
    back = _used(of_rows) + _used(of_columns)
    # The bounds may underflow by 2**-1074, and each word too, of which the last column and row take care.
    left, right = np.ldexp(left, _used(of_rows)) + 2.0**-1074, np.ldexp(right, _used(of_columns)) + 2.0**-1074
    left = np.concatenate([left, np.full_like(left[..., :1], 2.0**-537)], axis=-1)
    right = np.concatenate([right, np.full_like(right[..., :1, :], 2.0**-537)], axis=-2)
    return np.ldexp(high, back), np.ldexp(low, back), left, right


def _exponents(a: Array, shift: Any, axis: int) -> NDArray[np.intc]:
    """The least e with |a| 2**shift < 2**e along an axis, or `ZERO`."""
    exponents = np.where(a == 0, ZERO, np.frexp(a)[1] + shift)
    return exponents.max(axis=axis, keepdims=True, initial=ZERO)


def _used(exponents: NDArray[np.intc]) -> NDArray[np.intc]:
    return np.where(exponents <= ZERO, 0, exponents)
