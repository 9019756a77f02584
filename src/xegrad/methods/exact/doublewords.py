"""The exact values in double words, at the speed of matrix products: each number with a bound on its error.

    Z = X W + b        R = q softmax(Z) - Q        dL/dW = X' R

Where everything within the bound rounds to one float64, that is the correctly rounded number.  It has its own forward
pass, and stacks of problems are computed as one.

See docs/numerics.md, section 9.7.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from msgspec.structs import astuple
from numpy.typing import NDArray

from xegrad import progress
from xegrad.arrays import blocks
from xegrad.methods.exact.nearest import Nearest
from xegrad.methods.exact.residuals import TargetWords, residuals
from xegrad.numbers import doubleword as dw
from xegrad.numbers.doubleword import ADDITION, INFLATE, DoubleWord, U
from xegrad.numbers.products import LENGTH, WIDTH, Tile, Words, tiles, two_norms
from xegrad.problem import Problem
from xegrad.targets import Array

ELEMENTS = 1 << 15  # of a block of rows: 256 KiB an array
ROOM = 31 << 20  # bytes; see Layer
TILES = 1 << 27  # bytes that the slices and the sums of a part of a product take at most


class Layer:
    """The residuals and the losses of a problem in double words, with their errors, from so many slices of X and W."""

    @np.errstate(all="ignore")
    def __init__(self, problem: Problem, slices: int) -> None:
        # glibc keeps for reuse what is smaller than the largest block it has freed; else temporaries fault their pages.
        np.empty(ROOM >> 3)
        self.problem, self.slices, self.targets = problem, slices, TargetWords(problem)
        high, low, off = _logits(problem, slices)
        self.residuals = high, low  # R takes the place of Z, block by block
        self.floor = np.empty(off.shape)  # what may be missing of any residual of a row
        # And the relative error of a row's residuals; or the error of each.
        self.off = np.empty(off.shape if self.targets.labels is not None else high.shape)
        self.losses = self._block_by_block(off)

    def _block_by_block(self, off: Array) -> list[Array]:
        """The residuals, from logits that are so far off; and the losses, as high and low words and errors."""
        n_classes = self.problem.n_classes
        high, low = (part.reshape(-1, n_classes) for part in self.residuals)
        floor, errors = self.floor.reshape(-1), self.off.reshape(len(high), *self.off.shape[off.ndim :])
        losses = []
        for rows in progress.track(blocks(len(high), ELEMENTS // n_classes), "exact: probabilities"):
            computed = residuals((high[rows], low[rows]), off.reshape(-1)[rows], self.targets, rows)
            high[rows], low[rows] = computed.residual
            errors[rows], floor[rows] = computed.error, computed.floor
            losses.append(computed.losses)
        return [np.concatenate(part).reshape(off.shape) for part in zip(*losses, strict=True)]

    @np.errstate(all="ignore")
    def nearest(self, names: Mapping[str, NDArray[np.bool_] | None], slices: int) -> dict[str, Nearest]:
        """Each of "loss", "losses" and the gradients, where asked for or everywhere (None), from slices of R."""
        one_by_one: dict[str, Callable[[], Nearest]] = {
            "loss": self._loss,
            "losses": self._losses,
            "logits": self._logits,
            "inputs": partial(self._inputs, slices),
        }
        results = {name: one_by_one[name]() for name in names if name in one_by_one}
        if of_columns := {name: names[name] for name in ("weights", "bias") if name in names}:
            results |= self._columns(of_columns, slices)
        return results

    def error(self, rows: Any = np.s_[:], classes: Any = np.s_[:]) -> Array:
        """How far residuals are off."""
        if self.off.ndim > self.floor.ndim:
            return self.off[..., rows, classes] + self.floor[..., rows, None]
        high = np.abs(self.residuals[0][..., rows, classes])
        high *= self.off[..., rows, None]
        high += self.floor[..., rows, None]
        return high

    def _losses(self) -> Nearest:
        high, low, error = self.losses
        rounded = Nearest.to(high, low, error)
        rounded.vanish(self.targets.is_zero)
        return rounded

    def _loss(self) -> Nearest:
        high, low, error = self.losses
        sum_high, sum_low = (part[..., 0] for part in dw.total((high, low)))
        error = error.sum(axis=-1) * INFLATE + sum_high * (dw.depth(high.shape[-1]) * ADDITION)
        rounded = Nearest.to(sum_high, sum_low, error)
        rounded.vanish(self.targets.is_zero.all(axis=-1))
        return rounded

    def _logits(self) -> Nearest:
        high, low = self.residuals
        rounded = Nearest.of_shape(high.shape)
        for rows in blocks(high.shape[-2], high.shape[-2] if high.ndim > 2 else ELEMENTS // high.shape[-1]):
            where = (..., rows, slice(None))
            rounded.put(where, high[where], low[where], self.error(rows))
        rounded.vanish(self.targets.is_zero[..., None])
        return rounded

    def _inputs(self, slices: int) -> Nearest:
        """dL/dX = R W'."""
        rounded = _matrix_product(
            self.residuals, (self.problem.weights.swapaxes(-1, -2), None), self.error(), None, slices
        )
        rounded.vanish(self.targets.is_zero[..., None])
        return rounded

    def _columns(self, names: Mapping[str, NDArray[np.bool_] | None], slices: int) -> dict[str, Nearest]:
        """dL/dW = X' R and dL/db, the gradient of an input that is always 1, of the classes asked for."""
        inputs = np.asarray(self.problem.inputs, dtype=np.float64).swapaxes(-1, -2)
        ones = np.ones((*inputs.shape[:-2], 1, inputs.shape[-1]))
        factors = np.concatenate([{"weights": inputs, "bias": ones}[name] for name in names], axis=-2)
        high, low = self.residuals
        columns: Any = slice(None)
        masks = [np.atleast_2d(mask).any(axis=0) for mask in names.values() if mask is not None]
        if len(masks) == len(names) and high.ndim == 2:
            columns = np.flatnonzero(np.logical_or.reduce(masks))
            high, low = high[:, columns], low[:, columns]

        def off(classes: slice) -> Array:
            return self.error(classes=classes if isinstance(columns, slice) else columns[classes])

        if high.shape[-2] == 1:
            rounded = _outer_product(
                factors[..., 0], (high[..., 0, :], low[..., 0, :]), off(np.s_[:])[..., 0, :]
            )
        else:
            rounded = _matrix_product((factors, None), (high, low), None, off, slices)
        zero = (factors == 0) | self.targets.is_zero[..., None, :]
        rounded.vanish(zero.all(axis=-1, keepdims=True))
        if not isinstance(columns, slice):
            whole = Nearest.of_shape((*rounded.values.shape[:-1], self.problem.n_classes))
            for field in Nearest.__struct_fields__:
                getattr(whole, field)[..., columns] = getattr(rounded, field)
            rounded = whole
        split = {"weights": np.s_[..., : self.problem.n_inputs, :], "bias": np.s_[..., -1, :]}
        parts = astuple(rounded)
        return {name: Nearest(*(part[split[name]] for part in parts)) for name in names}


def _logits(problem: Problem, slices: int) -> tuple[Array, Array, Array]:
    """Z in double words, and how far the logits of each row are off at most."""
    inputs, bias = np.asarray(problem.inputs, dtype=np.float64), problem.bias
    high, low = (np.empty((*inputs.shape[:-1], problem.n_classes)) for _ in range(2))
    off, largest = (np.zeros(inputs.shape[:-1]) for _ in range(2))
    for tile in tiles((inputs, None), (problem.weights, None), slices):
        rows, where = (..., tile.rows), (..., tile.rows, tile.columns)
        z = tile.high, tile.low
        if bias is not None:
            z = dw.add_word(np.asarray(bias[..., None, tile.columns], dtype=np.float64), z)
        high[where], low[where] = z
        error = (tile.left @ tile.right.max(axis=-1, keepdims=True))[..., 0]
        off[rows] = np.maximum(off[rows], error)
        largest[rows] = np.maximum(largest[rows], np.abs(z[0]).max(axis=-1))
        _tell("exact: logits", tile, high.shape)
    # The sum with the bias is off by ADDITION, and the difference of two logits by 6 u**2 of the larger (9.30).
    return high, low, (off + 12 * U * U * largest) * INFLATE


def _matrix_product(
    a: Words, b: Words, a_off: Array | None, b_off: Callable[[slice], Array] | None, slices: int
) -> Nearest:
    """A B rounded, where A is off by `a_off`, or columns of B by `b_off`, entry by entry; None is exact (9.34)."""
    rounded = Nearest.of_shape((*a[0].shape[:-1], b[0].shape[-1]))
    a_norm = _norm(a[0] if a_off is None else a_off, -1)
    for tile in tiles(a, b, slices):
        b_norm = _norm(b[0][..., tile.columns] if b_off is None else b_off(tile.columns), -2)
        left = np.concatenate([tile.left, a_norm[..., tile.rows, :]], axis=-1)
        right = np.concatenate([tile.right, b_norm], axis=-2)
        n_rows = tile.high.shape[-2]
        for strip in blocks(n_rows, n_rows if left.ndim > 2 else ELEMENTS // tile.high.shape[-1]):
            error = left[..., strip, :] @ right
            error *= INFLATE
            rows = slice(tile.rows.start + strip.start, tile.rows.start + strip.stop)
            rounded.put((..., rows, tile.columns), tile.high[..., strip, :], tile.low[..., strip, :], error)
        _tell("exact: gradient", tile, rounded.values.shape)
    return rounded


def _tell(doing: str, tile: Tile, shape: tuple[int, ...]) -> None:
    """The watcher hears how many entries of a product are done: all columns of some rows, and then of the next."""
    n_rows, n_columns = shape[-2:]
    of_rows = (tile.rows.stop - tile.rows.start) * tile.columns.stop
    progress.tell(doing, tile.rows.start * n_columns + of_rows, n_rows * n_columns)


def _norm(a: Array, axis: int) -> Array:
    """At least the 2-norm along an axis, of numbers whose squares may overflow or underflow."""
    largest = np.maximum(a.max(axis=axis, keepdims=True), -a.min(axis=axis, keepdims=True)).astype(np.float64)
    return two_norms(a / np.where(largest > 0, largest, 1), axis) * largest


def _outer_product(x: Array, r: DoubleWord, off: Array) -> Nearest:
    """x_j r_i rounded, of one row: off by 8 u**2 of itself, and by x_j times the error of r_i (9.35)."""
    rounded = Nearest.of_shape((*x.shape, r[0].shape[-1]))
    is_stack = x.ndim > 1
    off = (off + np.abs(r[0]) * (8 * U * U)) * INFLATE
    high, low, off = r[0][..., None, :], r[1][..., None, :], off[..., None, :]
    x = x[..., None]
    x_parts, r_parts = dw.split(x), dw.split(high)
    sizes, factors = np.abs(high), np.abs(x[x != 0])
    is_safe = (
        factors.size > 0
        and factors.min() * sizes.min() > 2.0**-950
        and factors.max() * sizes.max() < 2.0**1000
    )
    n_inputs, n_classes = rounded.values.shape[-2:]
    columns = [slice(0, n_classes)] if is_stack else blocks(n_classes, ELEMENTS // 4)
    width = n_inputs if is_stack else max(4, ELEMENTS // n_classes)
    for i in columns:
        for j in blocks(n_inputs, width):
            where = (..., j, i)
            rows, classes = (..., j, slice(None)), (..., i)
            value, rest = dw.two_product(
                x[rows],
                high[classes],
                (x_parts[0][rows], x_parts[1][rows]),
                (r_parts[0][classes], r_parts[1][classes]),
            )
            rest += x[rows] * low[classes]
            error = np.abs(x[rows]) * off[classes]
            # As in doubleword.nearest, whose own roundings are among the 8 u**2.
            below, above = rest - error, rest + error
            below += value
            above += value
            value += rest
            certain = np.equal(below, above)
            if not is_safe:
                certain &= (np.abs(below) > dw.UNDERFLOWN) & np.isfinite(below)
            rounded.values[where], rounded.certain[where] = value, certain
            rounded.leave_open(where, error)
    return rounded


def memory(problem: Problem) -> int:
    """The bytes that are held at a time beside what is returned: R and its errors, X', and the slices of a part."""
    logits, weights, inputs = (problem.nbytes_of([name]) for name in ("logits", "weights", "inputs"))
    parts = min(2 * (logits + weights + inputs), TILES)
    return ROOM + (2 << 20) + 4 * logits + 2 * weights + 3 * inputs + parts


def work(n_rows: int, n_inputs: int, n_classes: int, n_problems: int = 1) -> float:
    """An estimate of the seconds that the loss and dL/dW take (benchmarks/estimates.py), of problems computed as one.

    A product is formed tile by tile, and in each chunk by chunk of its sums: however small these are, their slices are
    made by some hundred calls, and by twice as many where there are three.
    """

    def calls(sizes: tuple[int, int, int], slices: int) -> float:
        """Of the product of M x K and K x C."""
        n_tiles = math.ceil(sizes[0] / WIDTH) * math.ceil(sizes[2] / WIDTH) if n_problems == 1 else 1
        return n_tiles * math.ceil(sizes[1] / LENGTH[slices]) * {2: 0.5e-3, 3: 1e-3}[slices]

    of_calls = 0.5e-3 + calls((n_rows, n_inputs, n_classes), 2 if n_rows == 1 else 3)
    if n_rows > 1:
        of_calls += calls((n_inputs, n_rows, n_classes), 2)
    products, residuals = n_rows * n_inputs * n_classes, n_rows * n_classes
    factors = n_inputs * (n_rows + n_classes) * (12e-9 if n_rows == 1 else 20e-9)  # to cut them into slices
    return of_calls + n_problems * (1e-6 + 0.75e-9 * products + factors + 120e-9 * residuals)
