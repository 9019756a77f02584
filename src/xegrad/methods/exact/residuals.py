"""Residuals and losses of rows of logits, in double words: each number with a bound on its error.

    D = Z - Z_m,  E = exp(D),  s = sum of the others,  r = ((q - Q) E - Q O) / (1 + s)

O is the sum of the E of the other classes, and q that of Q.

See docs/numerics.md, section 9.7.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xegrad.methods.exact.nearest import FAINT
from xegrad.numbers import doubleword as dw
from xegrad.numbers.doubleword import ADDITION, EXPONENTIAL, INFLATE, PRODUCT, QUOTIENT, DoubleWord
from xegrad.problem import Problem
from xegrad.targets import Array

DEEPEST, DEEP = -640.0, 2.0**-923  # exp of less counts as 0, off by this; above it no low word underflows
LOST = 2.0**-1040  # more than what underflows at all
LARGEST = 2.0**-20  # a relative error that is more is none: bounds are linear in it


class TargetWords:
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


class Residuals(NamedTuple):
    """The residuals of some rows, and their losses."""

    residual: DoubleWord
    error: Array  # of residuals: relative, (B,), for labels; else (B, T)
    floor: Array  # what is missing of any residual beside that, (B,)
    losses: tuple[Array, Array, Array]  # high and low word, and error


def residuals(z: DoubleWord, off: Array, targets: TargetWords, rows: slice) -> Residuals:
    """Of these rows of logits, which are off by `off` at most."""
    softmax, factor = _softmax(z, off), targets.factor(rows)
    if targets.labels is not None:
        return _hard(softmax, targets.labels[rows], factor, targets.off)
    return _dense(softmax, targets.dense(rows), targets.off_dense, factor, targets.off)


class _Softmax(NamedTuple):
    """Of some rows, with the largest logit as the shift: all that residuals and losses are made of."""

    largest: NDArray[np.intp]  # m, (B,)
    shifted: DoubleWord  # D (B, T)
    powers: DoubleWord  # E (B, T)
    others: DoubleWord  # s, the sum of E but for m, (B, 1)
    whole: DoubleWord  # 1 + s
    off: Array  # of each D, absolutely, (B,)
    has_deep: bool  # whether an exponential was taken for 0


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
    if not shifted[0].min() >= DEEPEST:  # NaN in one row hides no other
        deep = shifted[0] < DEEPEST
        exponent = np.where(deep, 0.0, shifted[0]), np.where(deep, 0.0, shifted[1])
    powers = dw.exp(exponent)
    if deep is not None:
        powers[0][deep] = powers[1][deep] = 0
    powers[0][each, largest] = powers[1][each, largest] = 0
    others = dw.total(powers)
    powers[0][each, largest] = 1
    return _Softmax(largest, shifted, powers, others, dw.add_word(1.0, others), off, deep is not None)


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


def _hard(softmax: _Softmax, labels: NDArray[np.intp], factor: DoubleWord, off: float) -> Residuals:
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
    return Residuals(residual, relative, *_of_factor(softmax, loss, error, factor, off, 1.0))


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


def _dense(
    softmax: _Softmax, targets: DoubleWord, off_dense: float, factor: DoubleWord, off: float
) -> Residuals:
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
    return Residuals(residual, error, *_of_factor(softmax, loss, loss_error, factor, off, q[0]))
