"""The exact values in double words, at the speed of matrix products: each number with a bound on its error.

    Z = X W + b,  D = Z - Z_m,  E = exp(D),  s = sum of the others,  r = ((q - Q) E - Q O) / (1 + s),  dL/dW = X' R

O is the sum of the E of the other classes.  Where everything within the bound rounds to one float64, that is the
correctly rounded number.  It has its own forward pass, and stacks of problems are computed as one.

See docs/numerics.md, section 9.7.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from msgspec.structs import astuple
from numpy.typing import NDArray

from xegrad import progress
from xegrad.arrays import blocks
from xegrad.methods.exact.nearest import FAINT, Nearest
from xegrad.numbers import doubleword as dw
from xegrad.numbers.doubleword import ADDITION, EXPONENTIAL, INFLATE, PRODUCT, QUOTIENT, DoubleWord, U
from xegrad.numbers.products import Words, tiles, two_norms
from xegrad.problem import Problem
from xegrad.targets import Array

DEEPEST, DEEP = -640.0, 2.0**-923  # exp of less counts as 0, off by this; above it no low word underflows
LOST = 2.0**-1040  # more than what underflows at all
LARGEST = 2.0**-20  # a relative error that is more is none: bounds are linear in it
ELEMENTS = 1 << 15  # of a block of rows: 256 KiB an array
ROOM = 31 << 20  # bytes; see Layer
TILES = 1 << 27  # bytes that the slices and the sums of a part of a product take at most


class _Softmax(NamedTuple):
    """Of some rows, with the largest logit as the shift: all that residuals and losses are made of."""

    largest: NDArray[np.intp]  # m, (B,)
    shifted: DoubleWord  # D (B, T)
    powers: DoubleWord  # E (B, T)
    others: DoubleWord  # s, the sum of E but for m, (B, 1)
    whole: DoubleWord  # 1 + s
    off: Array  # of each D, absolutely, (B,)
    has_deep: bool  # whether an exponential was taken for 0


class Layer:
    """The residuals and the losses of a problem in double words, with their errors, from so many slices of X and W."""

    @np.errstate(all="ignore")
    def __init__(self, problem: Problem, slices: int) -> None:
        # glibc keeps for reuse what is smaller than the largest block it has freed; else temporaries fault their pages.
        np.empty(ROOM >> 3)
        self.problem, self.slices = problem, slices
        self.targets = targets = _Targets(problem)
        high, low, off = _logits(problem, slices)
        shape = high.shape
        # R takes the place of Z, block by block.
        self.residuals = high, low
        self.relative = np.empty(shape[:-1])  # error of a row's residuals, of themselves
        self.floor = np.empty(shape[:-1])  # and what may be missing of any
        self.absolute = np.empty(shape) if targets.labels is None else None  # or that of each residual
        rows = high.reshape(-1, shape[-1]), low.reshape(-1, shape[-1])
        absolute: Any = None if self.absolute is None else self.absolute.reshape(rows[0].shape)
        losses = []
        for block in progress.track(blocks(len(rows[0]), ELEMENTS // shape[-1]), "exact: probabilities"):
            softmax = _softmax((rows[0][block], rows[1][block]), off.reshape(-1)[block])
            factor = targets.factor(block)
            if targets.labels is not None:
                computed = _hard(softmax, targets.labels[block], factor, targets.off)
                self.relative.reshape(-1)[block] = computed.error
            else:
                computed = _dense(softmax, targets.dense(block), targets.off_dense, factor, targets.off)
                absolute[block] = computed.error
            rows[0][block], rows[1][block] = computed.residual
            self.floor.reshape(-1)[block] = computed.floor
            losses.append(computed.losses)
        self.losses: list[Array] = [
            np.concatenate(part).reshape(shape[:-1]) for part in zip(*losses, strict=True)
        ]

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
        if self.absolute is not None:
            return self.absolute[..., rows, classes] + self.floor[..., rows, None]
        high = np.abs(self.residuals[0][..., rows, classes])
        high *= self.relative[..., rows, None]
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
        progress.tell("exact: logits", tile.columns.stop, problem.n_classes)
    # The sum with the bias is off by ADDITION, and the difference of two logits by 6 u**2 of the larger (9.30).
    return high, low, (off + 12 * U * U * largest) * INFLATE


def _softmax(z: DoubleWord, off: Array) -> _Softmax:
    """Of rows of logits that are off by `off` at most."""
    high, low = z
    each = np.arange(len(high))
    # By the low words where the high ones are equal: at 1e20 a low word can be 8192.
    largest = np.where(high == high.max(axis=-1, keepdims=True), low, -np.inf).argmax(axis=-1)
    top = high[each, largest][:, None], low[each, largest][:, None]
    difference, error = dw.two_sum(high, -top[0])
    error += low - top[1]
    shifted = dw.two_sum(difference, error)
    exponent, deep = shifted, None
    if shifted[0].min() < DEEPEST:
        deep = shifted[0] < DEEPEST
        exponent = np.where(deep, 0.0, shifted[0]), np.where(deep, 0.0, shifted[1])
    powers = dw.exp(exponent)
    if deep is not None:
        powers[0][deep] = powers[1][deep] = 0
    powers[0][each, largest] = powers[1][each, largest] = 0
    others = dw.total(powers)
    powers[0][each, largest] = 1
    return _Softmax(largest, shifted, powers, others, dw.add_word(1.0, others), off, deep is not None)


class _Targets:
    """Q over the rows of all problems, times their divisor: labels where each row has one, and else all of Q (9.31)."""

    def __init__(self, problem: Problem) -> None:
        targets, n_classes = problem.targets, problem.n_classes
        kept, labels = targets.kept, targets.label_of_rows
        self.smoothing, self.class_weights = targets.label_smoothing, targets.class_weights
        is_hard = not self.smoothing and (targets.soft is None or bool((labels >= 0).all()))
        by_weight = (
            targets.reduction == "mean" and self.class_weights is not None and targets.labels is not None
        )
        weights = (
            kept * 1.0 if self.class_weights is None else np.where(kept, self.class_weights[labels], 0.0)
        )
        is_zero = weights == 0 if is_hard else ~kept
        # Only the ratios of weights to their sum count: near 1 no digit of them underflows.
        largest = weights.max(axis=-1, keepdims=True) * by_weight
        exponents = np.broadcast_to(-np.frexp(largest)[1], kept.shape)
        self.exponents, weights = exponents.reshape(-1, 1), np.ldexp(weights, exponents)
        divisor = dw.word(np.ones(kept.shape))
        self.off = QUOTIENT  # of the factors
        if targets.reduction == "mean":
            divisor = dw.total(dw.word(weights if by_weight else kept * 1.0))
            self.off += dw.depth(kept.shape[-1]) * ADDITION
        factors = dw.divide(dw.word(weights if is_hard else np.ones(kept.shape)), divisor)
        # One weight for each row, over the divisor; or one over the divisor.
        self.factors = factors[0].reshape(-1, 1), factors[1].reshape(-1, 1)
        self.labels = labels.reshape(-1) if is_hard else None
        self.kept, self.label_of_rows, self.n_classes = kept.reshape(-1, 1), labels.reshape(-1, 1), n_classes
        self.soft = None if targets.soft is None else targets.soft.reshape(-1, n_classes)
        # The rows of which all that follows is exactly 0.
        self.is_zero = is_zero | (n_classes == 1)
        # Smoothing: a quotient, a product and a sum; weights: a product.
        self.off_dense = (QUOTIENT + PRODUCT + ADDITION) * bool(self.smoothing)
        self.off_dense += PRODUCT * (self.class_weights is not None)

    def factor(self, rows: slice) -> DoubleWord:
        """(B, 1) of these rows."""
        return self.factors[0][rows], self.factors[1][rows]

    def dense(self, rows: slice) -> DoubleWord:
        """w_t ((1 - eps) y_t + eps / T) of these rows, off by `off_dense`; and `is_zero` learns of them."""
        labels = self.label_of_rows[rows]
        y = (labels == np.arange(self.n_classes)) * 1.0 if self.soft is None else self.soft[rows]
        targets, is_positive = dw.word(y), y > 0
        if self.smoothing:
            eps = np.array(self.smoothing)
            share = dw.divide(dw.word(eps), dw.word(self.n_classes))
            targets = dw.add_alike(dw.multiply(targets, dw.two_sum(np.array(1.0), -eps)), share)
            kept = self.kept[rows]
            targets, is_positive = (targets[0] * kept, targets[1] * kept), kept
        if self.class_weights is not None:
            weights = np.ldexp(self.class_weights, self.exponents[rows])
            targets = dw.multiply(targets, dw.word(weights))
            is_positive = is_positive & (self.class_weights > 0)
        self.is_zero.reshape(-1)[rows] |= ~is_positive.any(axis=-1)
        return targets


class _Rows(NamedTuple):
    """The residuals of some rows, and their losses."""

    residual: DoubleWord
    error: Array  # of residuals: relative, (B,), for labels; else (B, T)
    floor: Array  # what is missing of any residual beside that, (B,)
    losses: tuple[Array, Array, Array]  # high and low word, and error


def _relative(softmax: _Softmax) -> Array:
    """The relative error of S and of O / (1 + s), (B,), but for that of their division (9.32)."""
    power = np.expm1(softmax.off * INFLATE) + EXPONENTIAL
    n_classes = softmax.shifted[0].shape[-1]
    relative = 2 * power + (3 * dw.depth(n_classes) + 4) * ADDITION
    return np.where(relative < LARGEST, relative * INFLATE, np.inf)


def _loss_error(softmax: _Softmax, log_error: Array) -> tuple[Array, Array]:
    """How far ln(1 + s) is off, but for the errors of the logits, and the share of s in it, (B,)."""
    share = softmax.others[0][:, 0] / softmax.whole[0][:, 0]
    n_classes = softmax.shifted[0].shape[-1]
    missing = n_classes * DEEP if softmax.has_deep else 0.0
    return (EXPONENTIAL + dw.depth(n_classes) * ADDITION) * share * INFLATE + log_error + missing, share


def _hard(softmax: _Softmax, labels: NDArray[np.intp], factor: DoubleWord, off: float) -> _Rows:
    """r = E f / (1 + s), and of the label -O f / (1 + s); f ln(1 + s) - f D of the label (9.32)."""
    powers, each = softmax.powers, np.arange(len(labels))
    here = each, labels
    rest = dw.add((softmax.whole[0][:, 0], softmax.whole[1][:, 0]), (-powers[0][here], -powers[1][here]))
    is_largest = labels == softmax.largest
    powers[0][here] = -np.where(is_largest, softmax.others[0][:, 0], rest[0])
    powers[1][here] = -np.where(is_largest, softmax.others[1][:, 0], rest[1])
    share = dw.divide(factor, softmax.whole)
    residual = dw.multiply(powers, share, dw.split(share[0]))
    relative = _relative(softmax) + (off + QUOTIENT + PRODUCT) * INFLATE

    *log, log_error = (part[:, 0] for part in dw.log1p(softmax.others))
    loss = dw.add((log[0], log[1]), (-softmax.shifted[0][here], -softmax.shifted[1][here]))
    error, of_others = _loss_error(softmax, log_error)
    error = error + 2 * softmax.off * INFLATE * (of_others + ~is_largest) + ADDITION * loss[0]
    return _Rows(residual, relative, *_of_factor(softmax, loss, error, factor, off, 1.0))


def _of_factor(
    softmax: _Softmax, loss: DoubleWord, error: Array, factor: DoubleWord, off: float, mass: Any
) -> tuple[Array, tuple[Array, Array, Array]]:
    """What is missing of residuals, and the losses times f with their error."""
    f = factor[0][:, 0], factor[1][:, 0]
    n_classes = softmax.shifted[0].shape[-1]
    deep = 4 * DEEP if softmax.has_deep else 0.0
    floor = n_classes * (f[0] * (mass * (deep + FAINT) + LOST) + LOST * (1 + mass))
    high, low = dw.multiply(loss, f)
    # What underflows in f and Q counts as often as D says.
    lost = n_classes * LOST * (1 + f[0]) * (1 + mass) * (1 - softmax.shifted[0].min(axis=-1))
    error = np.where(softmax.off < LARGEST, error, np.inf) * f[0] + (off + PRODUCT) * high
    return floor, (high, low, error * INFLATE + FAINT * f[0] + lost)


def _dense(softmax: _Softmax, targets: DoubleWord, off_dense: float, factor: DoubleWord, off: float) -> _Rows:
    """r = ((q - Q) E - Q O) f / (1 + s), and f q ln(1 + s) - f sum Q D (9.33)."""
    powers, (n_rows, n_classes) = softmax.powers, softmax.shifted[0].shape
    each, depth = np.arange(n_rows), dw.depth(n_classes)
    here = each, softmax.largest
    mass = dw.total(targets)
    rest = dw.add(softmax.whole, dw.negative(powers))
    rest[0][here], rest[1][here] = softmax.others[0][:, 0], softmax.others[1][:, 0]
    gained = dw.multiply(dw.add(mass, dw.negative(targets)), powers)
    lost = dw.multiply(targets, rest)
    share = dw.divide(factor, softmax.whole)
    residual = dw.multiply(dw.add(gained, dw.negative(lost)), share, dw.split(share[0]))
    relative = (
        _relative(softmax)[:, None] + (off + off_dense + QUOTIENT + 2 * PRODUCT + 2 * ADDITION) * INFLATE
    )
    # q - Q is off by the sum's error of q, which is none if one term alone is not 0, and by those of Q.
    summed = (np.count_nonzero(targets[0], axis=-1) > 1) * depth * ADDITION + 2 * off_dense
    error = (np.abs(gained[0]) + lost[0]) * relative + summed[:, None] * INFLATE * mass[0] * powers[0]
    error *= share[0] * INFLATE
    error[~np.isfinite(relative[:, 0])] = np.inf

    *log, log_error = (part[:, 0] for part in dw.log1p(softmax.others))
    distance = dw.total(dw.multiply(targets, dw.negative(softmax.shifted)))
    q = mass[0][:, 0], mass[1][:, 0]
    loss = dw.add_alike(dw.multiply(q, (log[0], log[1])), (distance[0][:, 0], distance[1][:, 0]))
    of_log, of_others = _loss_error(softmax, log_error)
    elsewhere = np.where(np.arange(n_classes) == softmax.largest[:, None], 0, targets[0]).sum(axis=-1)
    loss_error = q[0] * of_log + 2 * softmax.off * INFLATE * (q[0] * of_others + elsewhere)
    loss_error += (off_dense + depth * ADDITION + PRODUCT + ADDITION) * loss[0]
    return _Rows(residual, error, *_of_factor(softmax, loss, loss_error, factor, off, q[0]))


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
        progress.tell("exact: gradient", tile.rows.stop * tile.columns.stop, rounded.values[..., 0].size)
    return rounded


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
    """An estimate of the seconds that dL/dW takes, from the sizes alone."""
    products, residuals = n_rows * n_inputs * n_classes, n_rows * n_classes
    factors = n_inputs * (n_rows + n_classes)  # they are cut into slices
    return 1e-3 + n_problems * (1e-6 + 0.7e-9 * products + 20e-9 * factors + 100e-9 * residuals)
