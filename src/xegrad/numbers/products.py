"""Matrix products as double words: of slices whose products BLAS forms exactly, with a bound on what is left.

A is cut by rows and B by columns into slices of few bits, A = a_1 + a_2 + R.  A product of two slices is exact in any
order of its sum, with fused operations or without, on any number of threads.  So what is certain about the result is
the same on every machine, though the last bits of what is not exact may differ.  After Ozaki, Ogita, Oishi and Rump
(Numer. Algorithms 59, 2012) and Rump, Ogita and Oishi (SIAM J. Sci. Comput. 31, 2008).

See docs/numerics.md, section 9.6.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xegrad.numbers.doubleword import INFLATE, U
from xegrad.targets import Array

Words = tuple[Array, Array | None]  # high and low words; None where there are no low ones

LEFT_BITS, RIGHT_BITS = 26, 27  # of a slice, below the power of two above its norm: 53 together
LENGTH = 128  # of a chunk of the sums: short ones have small bounds and finer slices
STRIP = 1 << 15  # numbers worked on at a time: 256 KiB stay in cache
WIDTH = 1024  # rows and columns of a tile of the result
LEAST_EXPONENT = -400  # of a slice: products of slices are no smaller than 2**-853
TINY, UNSEEN = 2.0**-450, 2.0**-340  # what is less than TINY is left out, and UNSEEN pays for it
COMFORT = (-250, 400)  # exponents of the largest number of a row: nothing is lost and nothing overflows
SPREAD = 8  # bits by which terms of a sum may differ in scale before they are balanced


class Tile(NamedTuple):
    """A part of a product: A B there is high + low, off by left @ right at most."""

    rows: slice
    columns: slice
    high: Array
    low: Array
    left: Array
    right: Array


class Buffers:
    """Arrays that are used again, since the system clears the pages of fresh ones at every use."""

    def __init__(self) -> None:
        self._kept: dict[Any, Array] = {}

    def empty(self, name: Any, shape: tuple[int, ...], transposed: bool = False) -> Array:
        """The array of this name; with `transposed` its last axis is the outer one in memory."""
        size = int(np.prod(shape))
        if name not in self._kept or self._kept[name].size < size:
            self._kept[name] = np.empty(size)
        if transposed:
            return self._kept[name][:size].reshape(*shape[:-2], shape[-1], shape[-2]).swapaxes(-1, -2)
        return self._kept[name][:size].reshape(shape)


def product(a: Words, b: Words, slices: int) -> tuple[Array, Array, Array, Array]:
    """A B as high + low, off by left @ right at most, with left (..., M, k) and right (..., k, C).

    A (..., M, K) and B (..., K, C) are float64 or double words with |low| <= 2 u |high|.  `slices` is 2 or 3.
    """
    shape = (*b[0].shape[:-2], a[0].shape[-2], b[0].shape[-1])
    high, low = np.empty(shape), np.empty(shape)
    lefts: dict[int, Array] = {}
    rights: dict[int, Array] = {}
    for tile in tiles(a, b, slices):
        high[..., tile.rows, tile.columns], low[..., tile.rows, tile.columns] = tile.high, tile.low
        lefts[tile.rows.start], rights[tile.columns.start] = tile.left, tile.right
    return high, low, np.concatenate([*lefts.values()], axis=-2), np.concatenate([*rights.values()], axis=-1)


def tiles(a: Words, b: Words, slices: int) -> Iterator[Tile]:
    """The product in parts.  The high and low words of a part are overwritten by the next."""
    buffers = Buffers()
    for rows, columns in _parts(a[0].shape, b[0].shape):
        left = _part(a, np.s_[..., rows, :])
        right = _part(b, np.s_[..., columns])
        shifts = _shifts(left[0], right[0])
        if shifts is None:
            yield Tile(rows, columns, *_product(left, right, slices, buffers))
        else:
            yield Tile(rows, columns, *_scaled_product(left, right, shifts, slices, buffers))


def _part(words: Words, where: Any) -> Words:
    """A part of A or B, in float64."""
    high, low = words
    return np.asarray(high[where], dtype=np.float64), None if low is None else low[where]


def _parts(a_shape: tuple[int, ...], b_shape: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of the parts; stacks are not cut."""
    n_rows, n_columns = a_shape[-2], b_shape[-1]
    if len(b_shape) > 2:
        yield slice(0, n_rows), slice(0, n_columns)
        return
    # With few rows it is the slicing of B that takes the time, and a narrow part of it stays in cache.
    width = WIDTH if n_rows > 32 else max(STRIP // min(a_shape[-1], LENGTH), 1)
    for rows in chunks(n_rows, WIDTH):
        for columns in chunks(n_columns, width):
            yield rows, columns


def chunks(size: int, length: int) -> list[slice]:
    """0 to size, in slices of so many at most."""
    length = max(1, length)
    return [slice(start, min(start + length, size)) for start in range(0, size, length)]


def _product(a: Words, b: Words, slices: int, buffers: Buffers) -> tuple[Array, Array, Array, Array]:
    """The product of rows and columns of comfortable size: see (9.20) to (9.24)."""
    shape = (*b[0].shape[:-2], a[0].shape[-2], b[0].shape[-1])
    total, low, partial = (buffers.empty(name, shape) for name in ("total", "low", "partial"))
    total[...] = low[...] = 0
    ranges = chunks(a[0].shape[-1], LENGTH)
    n_chunks, n_exact = len(ranges), slices * (slices + 1) // 2
    n_products = n_exact + slices + 1
    # (9.23): each of the n m additions to the low word rounds what is in it, which after c chunks is x c errors.
    of_total = n_products * n_exact * n_chunks * (n_chunks + 1) / 2 * (1 + 2.0**-8) * U * U
    lefts, rights = [], []
    for k in ranges:
        left = _sliced(_part(a, np.s_[..., k]), -1, LEFT_BITS, slices, buffers)
        right = _sliced(_part(b, np.s_[..., k, :]), -2, RIGHT_BITS, slices, buffers)
        lefts.append((left.norms[0] + UNSEEN) * of_total)
        rights.append(right.norms[0] + UNSEEN)
        # (9.22): K additions, those to the low word, and the low words left out, 2 u each.
        gamma = (k.stop - k.start + n_products * n_chunks + 8) * U
        for i in range(slices + 1):
            lefts.append(left.norms[i] * gamma)
            rights.append(right.norms[slices - i])
            rows = ~(left.norms[i] <= 2 * TINY)
            if not rows.any():
                continue
            for j in range(slices - i + 1):
                columns = ~(right.norms[j] <= 2 * TINY)
                if not columns.any():
                    break
                is_exact = i + j < slices
                factors = (
                    left.parts[i] if i < slices else left.rests[i],
                    right.parts[j] if is_exact else right.rests[j],
                )
                if total.ndim > 2 or rows.mean() * columns.mean() > 0.6:
                    np.matmul(*factors, out=partial)
                    for tile in [...] if total.ndim > 2 else chunks(len(total), STRIP // total.shape[1]):
                        _accumulate(total[tile], low[tile], partial[tile], is_exact, buffers)
                else:  # of numbers with few digits, a few rows or columns are often all that is left
                    some = np.ix_(rows[:, 0], columns[0])
                    some_total, some_low = total[some], low[some]
                    some_partial = factors[0][rows[:, 0]] @ factors[1][:, columns[0]]
                    _accumulate(some_total, some_low, some_partial, is_exact, buffers)
                    total[some], low[some] = some_total, some_low
    for tile in [...] if total.ndim > 2 else chunks(len(total), STRIP // total.shape[1]):
        _normalize(total[tile], low[tile], buffers)
    return total, low, np.concatenate(lefts, axis=-1) * INFLATE, np.concatenate(rights, axis=-2)


class _Sliced(NamedTuple):
    parts: list[Array]
    rests: list[Array]  # before each part, and after the last
    norms: list[Array]  # of the rests, along the axis of the sum


def _norm(a: Array, axis: int) -> Array:
    """At least the 2-norm: K squares and their sum are off by (K + 1) u of it, and squares below 2**-1022 unseen."""
    letters = "...ij,...ij->...i" if axis == -1 else "...ij,...ij->...j"
    return np.expand_dims(np.sqrt(np.einsum(letters, a, a)) * INFLATE, axis) + TINY


def _sliced(words: Words, axis: int, bits: int, slices: int, buffers: Buffers) -> _Sliced:
    """A = a_1 + ... + R by rows (axis -1) or columns (axis -2).

    With 2**e > (1 + 2**-10) |R_i|_2, the part is R_i rounded to multiples of q = 2**(e - bits), by adding 3/2 2**52 q
    and taking it away.  |part|_2 <= |R_i|_2 + sqrt(K) q / 2 <= 2**e (9.20).  What is left is exact.
    """
    high, low = words
    shape, transposed = high.shape, high.strides[-1] > high.strides[-2]

    def buffer(kind: str, i: int = 0) -> Array:
        return buffers.empty((kind, axis, i), shape, transposed)

    parts = [buffer("part", i) for i in range(slices)]
    rests = [high, *(buffer("rest", i) for i in range(slices))]
    lows: list[Array] = [] if low is None else [low, *(buffer("low", i) for i in range(slices))]
    norm_shape = (*shape[:-1], 1) if axis == -1 else (*shape[:-2], 1, shape[-1])
    norms = [np.empty(norm_shape) for _ in range(slices + 1)]
    for strip in _strips(shape, axis):
        norms[0][strip] = _norm(high[strip], axis)
        for i in range(slices):
            norm, rest, part, after = norms[i][strip], rests[i][strip], parts[i][strip], rests[i + 1][strip]
            if (norm <= 2 * TINY).all():
                part[...] = after[...] = 0
                norms[i + 1][strip] = TINY
                continue
            exponent = np.maximum(np.frexp(norm * (1 + 2.0**-10))[1], LEAST_EXPONENT)
            sigma = np.ldexp(1.5, exponent + (52 - bits))
            np.add(rest, sigma, out=part)
            part -= sigma
            if lows:
                work = buffers.empty("difference", rest.shape, transposed)
                np.subtract(rest, part, out=work)
                _two_sum(
                    work,
                    lows[i][strip],
                    after,
                    lows[i + 1][strip],
                    buffers.empty("sum", rest.shape, transposed),
                )
            else:
                np.subtract(rest, part, out=after)
            norms[i + 1][strip] = _norm(after, axis)
    return _Sliced(parts, rests, norms)


def _strips(shape: tuple[int, ...], axis: int) -> list[Any]:
    """Rows (axis -1) or columns (axis -2) that stay in cache; stacks are not cut."""
    if len(shape) > 2:
        return [...]
    across, along = (shape[0], shape[1]) if axis == -1 else (shape[1], shape[0])
    return [
        np.s_[part, :] if axis == -1 else np.s_[:, part] for part in chunks(across, STRIP // max(along, 1))
    ]


def _two_sum(a: Array, b: Array, total: Array, error: Array, work: Array) -> None:
    """a + b = total + error, exactly, into arrays that are there."""
    np.add(a, b, out=total)
    np.subtract(total, a, out=error)
    np.subtract(total, error, out=work)
    np.subtract(a, work, out=work)
    np.subtract(b, error, out=error)
    error += work


def _accumulate(total: Array, low: Array, partial: Array, is_exact: bool, buffers: Buffers) -> None:
    """partial added to total, and its rounding error to low; or itself to low, where it is small."""
    if not is_exact:
        low += partial
        return
    whole, error, work = (buffers.empty(name, total.shape) for name in ("whole", "error", "work"))
    _two_sum(total, partial, whole, error, work)
    total[...] = whole
    low += error


def _normalize(total: Array, low: Array, buffers: Buffers) -> None:
    whole, error, work = (buffers.empty(name, total.shape) for name in ("whole", "error", "work"))
    _two_sum(total, low, whole, error, work)
    total[...], low[...] = whole, error


def _shifts(a: Array, b: Array) -> NDArray[np.intc] | None:
    """The power of two for each term of the sums that balances A and B; None if nothing must be scaled."""
    rows, of_a = _exponents(a, -1), _exponents(a, -2).swapaxes(-1, -2)
    columns, of_b = _exponents(b, -2), _exponents(b, -1)
    used = (of_a > ZERO) & (of_b > ZERO)
    shift = np.where(used, (of_b - of_a) // 2, 0)
    if used.any():
        shift = np.where(used, shift - int(np.median(shift[used])), 0)
    is_even = np.ptp(shift) <= SPREAD if shift.size else True
    least, most = COMFORT
    if is_even and all(((e == ZERO) | ((e > least) & (e < most))).all() for e in (rows, columns)):
        return None
    return shift if not is_even else np.zeros_like(shift)


ZERO = -10_000  # the exponent of 0


def _exponents(a: Array, axis: int) -> NDArray[np.intc]:
    """e with |a| < 2**e along an axis."""
    if not a.shape[axis]:
        return np.full_like(a.sum(axis=axis, keepdims=True), ZERO, dtype=np.intc)
    most = np.maximum(a.max(axis=axis, keepdims=True), -a.min(axis=axis, keepdims=True))
    return np.where(most == 0, ZERO, np.frexp(most)[1])


def _scaled_product(
    a: Words, b: Words, shifts: NDArray[np.intc], slices: int, buffers: Buffers
) -> tuple[Array, Array, Array, Array]:
    """The product of A 2**shift and B / 2**shift, with rows and columns below 1: scaled before and after (9.25)."""
    across = shifts.swapaxes(-1, -2)
    of_row = _most(a[0], across, -1)
    of_column = _most(b[0], -shifts, -2)
    scaled_a: Words = (
        np.ldexp(a[0], across - of_row),
        None if a[1] is None else np.ldexp(a[1], across - of_row),
    )
    scaled_b: Words = (
        np.ldexp(b[0], -shifts - of_column),
        None if b[1] is None else np.ldexp(b[1], -shifts - of_column),
    )
    high, low, left, right = _product(scaled_a, scaled_b, slices, buffers)
    back = of_row + of_column
    left, right = np.ldexp(left, of_row) + 2.0**-1074, np.ldexp(right, of_column) + 2.0**-1074
    floor = 2.0**-537  # what underflows on the way back is off by less than its square
    left = np.concatenate([left, np.full_like(left[..., :1], floor)], axis=-1)
    right = np.concatenate([right, np.full_like(right[..., :1, :], floor)], axis=-2)
    return np.ldexp(high, back), np.ldexp(low, back), left, right


def _most(a: Array, shifts: Any, axis: int) -> NDArray[np.intc]:
    """The exponent of the largest number along an axis after the shifts."""
    exponents = np.where(a == 0, ZERO, np.frexp(a)[1] + shifts)
    most = exponents.max(axis=axis, keepdims=True)
    return np.where(most <= ZERO, 0, most)
