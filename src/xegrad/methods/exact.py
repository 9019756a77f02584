"""The exact reference: every number correctly rounded to float64, for the problem as stated.

Floats are dyadic rationals, so logits and their differences are exact integers over a power of two.
Only exp and ln round: each is enclosed, by `decimal`, in an interval of integers over 2**P, and
everything after is integer arithmetic on the two ends.  Where both ends round to the same float64 that
is the correctly rounded answer; where they do not, the precision is doubled (Ziv, Fast evaluation of
elementary mathematical functions with correctly rounded last bit, ACM TOMS 17 (1991) 410-423).

It does its own forward pass and shares nothing with the float methods.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from typing import Any

import msgspec
import numpy as np

from xegrad import progress
from xegrad.bounds import Bound
from xegrad.methods import Evaluation
from xegrad.problem import Problem
from xegrad.targets import Array

DIGITS = 45  # of the first enclosure: 53 bits, and so many more that hardly anything needs a second
MOST_DIGITS = DIGITS * 2**5  # past these a number is reported as not certified

# x_j r_i with |x_j| < 2**1024 rounds to 0, or as its exact part plus or minus next to nothing, unless
# |r_i| exceeds 2**-2150.  So a probability below 2**-2200 need not be known, only that it is positive.
DEEPEST = 2200  # bits
BLOCK = 20_000  # numbers rounded between two reports of progress
LAST_BIT = 1075  # rounding to float64 changes only at multiples of 2**-1075
BITS_PER_DIGIT = math.log2(10)
BITS_PER_NAT = math.log2(math.e)

Integers = Any  # arrays of Python integers, dtype=object: as long as they need to be
Interval = tuple[Integers, Integers]  # lower and upper ends


class Row(msgspec.Struct, frozen=True, eq=False):
    """One example, exactly: integers over the scales that `Exactly` holds."""

    inputs: Integers  # (N,) over 2**inputs_scale
    shifted: Integers  # D = Z - Z_m (T,) over 2**logits_scale, none positive
    largest: int  # m
    targets: Integers  # Q (T,) over the common denominator
    mass: int  # q, likewise


class Exactly(msgspec.Struct, frozen=True, eq=False):
    """A problem in integers."""

    weights: Integers  # (N, T) over 2**weights_scale
    weights_scale: int
    inputs_scale: int
    logits_scale: int
    denominator: int  # of the targets; a multiple of T, so that S = 1 / T is exact too
    rows: list[Row]


class Enclosure(msgspec.Struct, frozen=True, eq=False):
    """The residual r = q S - Q of one example as an exact part A and an enclosed rest B, and ln(1 + s).

    r_m = (q - Q_m) - q (1 - S_m) and r_i = -Q_i + q S_i for the others: no cancellation in either part.
    """

    exact: Integers  # A (T,) over the targets' denominator
    rest: Interval  # B (T,) over the denominator and 2**bits
    signs: Integers  # of B (T,): 1 or -1 where it is not 0, however small, and not exact
    logarithm: tuple[int, int]  # over 2**bits; nothing is known of it where it is not asked for


def evaluate(problem: Problem, with_respect_to: Sequence[str] = ("weights",)) -> Evaluation:
    """Loss and gradients, correctly rounded where `certified` says so; the nearest known where not."""
    if problem.weights.ndim > 2:
        return _stacked([evaluate(one, with_respect_to) for one in problem.unstacked()], with_respect_to)
    stated = _state(problem)
    known: dict[str, tuple[Array, Any]] = {}
    digits = DIGITS
    while digits <= MOST_DIGITS:
        bits = _bits(stated, digits)
        open_loss = not all(name in known and known[name][1].all() for name in ("loss", "losses"))
        tracked = progress.track(stated.rows, "exact: probabilities")
        rows = [_enclose(row, stated, digits, bits, open_loss) for row in tracked]
        for name in ("loss", "losses", *with_respect_to):
            if name not in known or not known[name][1].all():
                lower, upper, denominator = _ENDS[name](stated, rows, bits)
                known[name] = _rounded(lower, upper, denominator)
        if all(certain.all() for _, certain in known.values()):
            break
        digits *= 2
    return Evaluation(
        loss=float(known["loss"][0]),
        losses=known["losses"][0],
        gradients={name: known[name][0] for name in with_respect_to},
        certified={name: known[name][1] for name in ("loss", "losses", *with_respect_to)},
    )


def bound(problem: Problem, with_respect_to: Sequence[str] = ("weights",)) -> Bound:
    """Half an ulp of each certified number, and no promise for the others."""
    evaluation = evaluate(problem, with_respect_to)
    assert evaluation.certified is not None

    def half_ulp(values: Any, certain: Any) -> Array:
        with np.errstate(all="ignore"):
            return np.where(certain & np.isfinite(values), np.spacing(np.abs(values)) / 2, np.inf)

    return Bound(
        loss=half_ulp(evaluation.loss, evaluation.certified["loss"]),
        gradients={
            name: half_ulp(evaluation.gradients[name], evaluation.certified[name]) for name in with_respect_to
        },
    )


def work(n_rows: int, n_inputs: int, n_classes: int) -> float:
    """An estimate of the seconds that dL/dW takes, from the sizes alone."""
    return n_rows * n_classes * (30e-6 + n_inputs * 1.5e-6)


def _state(problem: Problem) -> Exactly:
    """Every float as an integer over one power of two for each array, and the logits from these."""
    weights, weights_scale = _integers(problem.weights)
    inputs, inputs_scale = _integers(problem.inputs)
    scale = weights_scale + inputs_scale
    logits = inputs @ weights
    if problem.bias is not None:
        bias, bias_scale = _integers(problem.bias)
        # Both over the finer of the two scales.
        finer = max(scale, bias_scale)
        logits = logits * (1 << (finer - scale)) + bias * (1 << (finer - bias_scale))
        scale = finer
    fractions = problem.targets.fractions(problem.n_classes)
    denominator = problem.n_classes * math.lcm(*(entry.denominator for row in fractions for entry in row))
    rows = []
    for row, values, target in zip(inputs, logits, fractions, strict=True):
        largest = max(range(problem.n_classes), key=values.__getitem__)
        folded = _objects([int(entry * denominator) for entry in target])
        rows.append(
            Row(
                inputs=row,
                shifted=values - values[largest],
                largest=largest,
                targets=folded,
                mass=int(folded.sum()),
            )
        )
    return Exactly(weights, weights_scale, inputs_scale, scale, denominator, rows)


def _integers(values: Array) -> tuple[Integers, int]:
    """Integers n and one scale s >= 0 with values = n / 2**s, exactly."""
    fractions, exponents = np.frexp(values.astype(np.float64))
    mantissas = np.ldexp(fractions, 53).astype(np.int64)
    used = exponents[mantissas != 0] - 53
    scale = max(0, -int(used.min())) if used.size else 0
    shifts = np.where(mantissas == 0, 0, exponents - 53 + scale)
    pairs = zip(mantissas.ravel().tolist(), shifts.ravel().tolist(), strict=True)
    flat = [mantissa << shift for mantissa, shift in pairs]
    return _objects(flat).reshape(values.shape), scale


def _objects(values: list[int]) -> Integers:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _bits(stated: Exactly, digits: int) -> int:
    """P: so many that the smallest probability that matters has as many digits as the largest."""
    lowest = max(-int(row.shifted.min()) for row in stated.rows) >> stated.logits_scale
    return math.ceil(digits * BITS_PER_DIGIT) + min(
        DEEPEST, int((min(lowest, DEEPEST) + 1) * BITS_PER_NAT) + 1
    )


def _enclose(row: Row, stated: Exactly, digits: int, bits: int, with_logarithm: bool) -> Enclosure:
    n_classes, one = len(row.shifted), 1 << bits
    exact = -row.targets
    signs = np.zeros(n_classes, dtype=np.int64)
    if not row.shifted.any():
        # All logits are equal: r = q / T - Q is exact, so that no rest is left, and only the logarithm rounds.
        rest = _objects([0] * n_classes)
        exact += row.mass // n_classes
        logarithm = _logarithm(n_classes * one, n_classes * one, digits, bits) if with_logarithm else (0, 0)
        return Enclosure(exact, (rest, rest), signs, logarithm)
    lower, upper = _exponentials(row.shifted, stated.logits_scale, digits, bits)
    others = np.arange(n_classes) != row.largest
    others_lower, others_upper = int(lower[others].sum()), int(upper[others].sum())
    # Both quotients are monotone in what they are made of.
    rest_lower = (row.mass * lower << bits) // (one + others_upper)
    rest_upper = -((-row.mass * upper << bits) // (one + others_lower))
    exact[row.largest] += row.mass
    rest_lower[row.largest] = (-row.mass * others_upper << bits) // (one + others_upper)
    rest_upper[row.largest] = -((row.mass * others_lower << bits) // (one + others_lower))
    if row.mass:
        signs[:] = 1
        signs[row.largest] = -1
    logarithm = _logarithm(one + others_lower, one + others_upper, digits, bits) if with_logarithm else (0, 0)
    return Enclosure(exact, (rest_lower, rest_upper), signs, logarithm)


def _exponentials(shifted: Integers, scale: int, digits: int, bits: int) -> Interval:
    """exp(D) for D = shifted / 2**scale <= 0, over 2**bits.

    D is rounded to `digits` digits, off by |D| 10**(1 - digits) / 2, and exp, which `decimal` rounds to
    nearest whatever its rounding mode, by half a unit of its last digit.  |D| < 2000 for all that are not
    below one unit anyway, so the whole is off by a relative 10**(5 - digits) at most.
    """
    rounding = Context(prec=digits, Emin=MIN_EMIN, Emax=MAX_EMAX)
    roomy = Context(prec=digits + bits, Emin=MIN_EMIN, Emax=MAX_EMAX)
    one, unit = Decimal(1 << bits), Decimal(1 << scale)
    beyond = -(int((bits + 1) / BITS_PER_NAT) + 1) << scale  # exp of it is less than one unit
    margin = int((digits - 5) * BITS_PER_DIGIT)
    lower, upper = [], []
    for value in shifted:
        if value == 0:
            lower.append(1 << bits)
            upper.append(1 << bits)
        elif value < beyond:
            lower.append(0)
            upper.append(1)
        else:
            power = rounding.exp(rounding.divide(Decimal(value), unit))
            nearest = int(roomy.multiply(power, one))
            lower.append(max(0, nearest - (nearest >> margin) - 1))
            upper.append(nearest + (nearest >> margin) + 2)
    return _objects(lower), _objects(upper)


def _logarithm(lower: int, upper: int, digits: int, bits: int) -> tuple[int, int]:
    """ln of a number from 1 to T, given and enclosed over 2**bits."""
    one = 1 << bits
    if (upper - one).bit_length() < bits - digits * BITS_PER_DIGIT:
        # s / (1 + s) <= ln(1 + s) <= s, and these are equal to so many digits.
        return (lower - one << bits) // lower, upper - one
    # s > 10**-digits, so this many digits of ln(1 + s) hold `digits` of it.  The quotient and ln are each off
    # by half a unit of the last, of 1 + s and of ln T < 100: by 10**(-2 digits - 7) in all.
    rounding = Context(prec=2 * digits + 10, Emin=MIN_EMIN, Emax=MAX_EMAX)
    roomy = Context(prec=2 * digits + 10 + bits, Emin=MIN_EMIN, Emax=MAX_EMAX)
    ends = [
        int(roomy.multiply(rounding.ln(rounding.divide(Decimal(end), Decimal(one))), Decimal(one)))
        for end in (lower, upper)
    ]
    margin = one // 10 ** (2 * digits + 7) + 2
    return max(0, ends[0] - margin), ends[1] + margin


Ends = tuple[Integers, Integers, int]  # lower and upper ends of what is asked for, and their denominator


def _loss(stated: Exactly, rows: list[Enclosure], bits: int) -> Ends:
    """sum_b (q_b ln(1 + s_b) - sum_t Q_bt D_bt)."""
    return _loss_of(stated, list(zip(stated.rows, rows, strict=True)), bits)


def _losses(stated: Exactly, rows: list[Enclosure], bits: int) -> Ends:
    """The same for each row alone."""
    ends = [_loss_of(stated, [pair], bits) for pair in zip(stated.rows, rows, strict=True)]
    lower, upper = (np.stack([end[side] for end in ends]) for side in (0, 1))
    return lower, upper, ends[0][2]


def _loss_of(stated: Exactly, rows: list[tuple[Row, Enclosure]], bits: int) -> Ends:
    exact = -sum(int((row.targets * row.shifted).sum()) for row, _ in rows)
    ends = [sum(row.mass * enclosure.logarithm[end] for row, enclosure in rows) for end in (0, 1)]
    if ends[1] > 0 and bits > max(stated.logits_scale, LAST_BIT):
        # The logarithm is positive.  Between the exact part and the next number at which rounding changes
        # lies a multiple of 1 / (denominator 2**max(scale, 1075)): one unit decides as any less would.
        ends[0] = max(1, ends[0])
    scale = stated.logits_scale
    lower, upper = ((exact << bits) + (end << scale) for end in ends)
    return _objects([lower]).reshape(()), _objects([upper]).reshape(()), stated.denominator << (scale + bits)


def _logits(stated: Exactly, rows: list[Enclosure], bits: int) -> Ends:
    """r, one row for each example."""
    one = np.array([[1]], dtype=object)
    ends = [_combined(one, _stacked_rows([row]), bits) for row in rows]
    lower, upper = (np.concatenate([end[side] for end in ends]) for side in (0, 1))
    return lower, upper, stated.denominator << bits


def _weights(stated: Exactly, rows: list[Enclosure], bits: int) -> Ends:
    """sum_b x_bj r_bi."""
    inputs = np.stack([row.inputs for row in stated.rows])
    lower, upper = _combined(inputs.T, _stacked_rows(rows), bits)
    return lower, upper, stated.denominator << (stated.inputs_scale + bits)


def _bias(stated: Exactly, rows: list[Enclosure], bits: int) -> Ends:
    """sum_b r_bi."""
    lower, upper = _combined(_objects([1] * len(rows))[None, :], _stacked_rows(rows), bits)
    return lower[0], upper[0], stated.denominator << bits


def _inputs(stated: Exactly, rows: list[Enclosure], bits: int) -> Ends:
    """sum_i W_ji r_i = sum_i (W_ji - W_jm) r_i, since the residuals of a row sum to zero."""
    lower, upper = [], []
    for row, enclosure in zip(stated.rows, rows, strict=True):
        weights = stated.weights - stated.weights[:, row.largest, None]
        classes = tuple(part.T for part in _stacked_rows([enclosure]))
        low, high = (end[:, 0] for end in _combined(weights, classes, bits))
        for j in np.flatnonzero((low < 0) & (high > 0)):
            if _vanishes(stated.weights[j], row):
                low[j] = high[j] = 0
        lower.append(low)
        upper.append(high)
    return np.stack(lower), np.stack(upper), stated.denominator << (stated.weights_scale + bits)


def _stacked_rows(rows: list[Enclosure]) -> tuple[Integers, ...]:
    """The exact parts, the lower and upper ends of the rests, and their signs: (B, T) each."""
    return (
        np.stack([row.exact for row in rows]),
        np.stack([row.rest[0] for row in rows]),
        np.stack([row.rest[1] for row in rows]),
        np.stack([row.signs for row in rows]),
    )


def _combined(factors: Integers, residuals: tuple[Integers, ...], bits: int) -> Interval:
    """factors (M, K) times residuals (K, C), enclosed.

    Where all the rests that add up have one sign, so has their sum.  It may be too small to have digits;
    then one unit decides as any less would, as for the loss.
    """
    exact, lower, upper, signs = residuals
    positive, negative = np.maximum(factors, 0), np.minimum(factors, 0)
    low = positive @ lower + negative @ upper
    high = positive @ upper + negative @ lower
    above, below = (factors > 0).astype(np.int64), (factors < 0).astype(np.int64)
    up = above @ (signs > 0) + below @ (signs < 0)
    down = above @ (signs < 0) + below @ (signs > 0)
    low = np.where((up > 0) & (down == 0), np.maximum(low, 1), low)
    high = np.where((down > 0) & (up == 0), np.minimum(high, -1), high)
    whole = (factors @ exact) << bits
    return whole + low, whole + high


def _vanishes(weights: Integers, row: Row) -> bool:
    """Whether sum_i W_ji r_i is exactly zero.

    Times sum_k E_k it is sum_i (q W_ji - a) exp(D_i) with a = sum_k W_jk Q_k, and powers of e with
    different rational exponents are linearly independent over the rationals (Lindemann): it is zero only
    if the coefficients of each exponent are.
    """
    share = int((weights * row.targets).sum())
    coefficients: dict[int, int] = {}
    for exponent, coefficient in zip(row.shifted, row.mass * weights - share, strict=True):
        coefficients[exponent] = coefficients.get(exponent, 0) + coefficient
    return not any(coefficients.values())


_ENDS = {
    "loss": _loss,
    "losses": _losses,
    "weights": _weights,
    "bias": _bias,
    "inputs": _inputs,
    "logits": _logits,
}


def _rounded(lower: Integers, upper: Integers, denominator: int) -> tuple[Array, Any]:
    """The float64 nearest to what lies between the ends, and whether both ends agree on it."""
    values, certain = np.empty(lower.size), np.empty(lower.size, dtype=bool)
    lows, highs = lower.ravel().tolist(), upper.ravel().tolist()
    for start in progress.track(range(0, lower.size, BLOCK), "exact: rounding"):
        for index in range(start, min(start + BLOCK, lower.size)):
            low, high = lows[index], highs[index]
            values[index] = _nearest(low, denominator)
            certain[index] = low == high or values[index] == _nearest(high, denominator)
            if not certain[index]:
                values[index] = _nearest(low + high, 2 * denominator)
    return values.reshape(lower.shape), certain.reshape(lower.shape)


def _nearest(numerator: int, denominator: int) -> float:
    """Python's quotient of integers is correctly rounded, subnormal results too."""
    try:
        return numerator / denominator
    except OverflowError:
        return math.inf if numerator > 0 else -math.inf


def _stacked(evaluations: list[Evaluation], with_respect_to: Sequence[str]) -> Evaluation:
    certified = [evaluation.certified or {} for evaluation in evaluations]
    return Evaluation(
        loss=np.array([evaluation.loss for evaluation in evaluations]),
        losses=np.stack([evaluation.losses for evaluation in evaluations]),
        gradients={
            name: np.stack([evaluation.gradients[name] for evaluation in evaluations])
            for name in with_respect_to
        },
        certified={
            name: np.stack([flags[name] for flags in certified])
            for name in ("loss", "losses", *with_respect_to)
        },
    )
