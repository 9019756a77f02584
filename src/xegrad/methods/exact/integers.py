"""The exact values in integers: they decide everything, and take long.

Floats are dyadic rationals, so logits and their differences are exact integers over a power of two.
Only exp and ln round: each is enclosed, by `decimal`, between two integers over 2**bits, and everything
after is integer arithmetic on enclosures.  Where all that an enclosure holds rounds to one float64, that is
the correctly rounded answer; where not, the precision is doubled (Ziv, Fast evaluation of elementary
mathematical functions with correctly rounded last bit, ACM TOMS 17 (1991) 410-423).

See docs/numerics.md, sections 9.1 to 9.4.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from functools import cache, partial
from typing import Any

import msgspec
import numpy as np

from xegrad import progress
from xegrad.methods.exact.nearest import Nearest
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


class IntegerProblem:
    """A problem in integers, each array over a power of two or over the divisor."""

    def __init__(self, problem: Problem) -> None:
        self.weights, self.weights_scale = _scaled(problem.weights)  # (N, T) over 2**weights_scale
        self.inputs, self.inputs_scale = _scaled(problem.inputs)  # (B, N) over 2**inputs_scale
        logits, scale = self.inputs @ self.weights, self.inputs_scale + self.weights_scale
        if problem.bias is not None:
            bias, bias_scale = _scaled(problem.bias)
            finer = max(scale, bias_scale)
            logits = logits * (1 << (finer - scale)) + bias * (1 << (finer - bias_scale))
            scale = finer
        self.shifted = logits - logits.max(axis=1, keepdims=True)  # D = Z - Z_m (B, T), none positive
        self.logits_scale = scale  # D is over 2**logits_scale
        rows = problem.targets.fractions(problem.n_classes)
        # A multiple of T, so that q / T is an integer over it too.
        self.divisor = problem.n_classes * math.lcm(*(entry.denominator for row in rows for entry in row))
        targets = [[int(entry * self.divisor) for entry in row] for row in rows]
        self.targets = np.array(targets, dtype=object)  # Q (B, T) over the divisor
        self.masses = self.targets.sum(axis=1)  # q (B,) over the divisor


class Exponentials:
    """E = exp(D) (B, T), between two ends over 2**bits: equal where D is 0, and else strictly between them."""

    def __init__(self, problem: IntegerProblem, digits: int) -> None:
        # So many bits that the smallest probability that matters has as many digits as the largest.
        lowest = -int(problem.shifted.min()) >> problem.logits_scale
        deepest = min(DEEPEST, int((min(lowest, DEEPEST) + 1) * BITS_PER_NAT) + 1)
        self.digits, self.bits = digits, math.ceil(digits * BITS_PER_DIGIT) + deepest
        rows = progress.track(problem.shifted.tolist(), "exact: probabilities")
        ends = [_exponentials(row, problem.logits_scale, digits, self.bits) for row in rows]
        self.lower, self.upper = np.array(ends, dtype=object).transpose(2, 0, 1)


class Enclosure(msgspec.Struct, frozen=True, eq=False):
    """Numbers: each is its center where its radius is 0, and else lies strictly within the radius of it.

    Centers and radii are integers over divisor * 2**scale.
    """

    center: Integers
    radius: Integers
    divisor: int
    scale: int

    @classmethod
    def between(cls, lower: Integers, upper: Integers, divisor: int, scale: int) -> Enclosure:
        """From the two ends, which are equal where the number is exact."""
        return cls(lower + upper, upper - lower, divisor, scale + 1)

    def sum(self) -> Enclosure:
        """The sum over the rows."""
        return Enclosure(self.center.sum(axis=0), self.radius.sum(axis=0), self.divisor, self.scale)

    def times(self, factors: Integers, scale: int) -> Enclosure:
        """The matrix product of factors / 2**scale and these."""
        center, radius = factors @ self.center, np.abs(factors) @ self.radius
        return Enclosure(center, radius, self.divisor, self.scale + scale)

    def nearest(self) -> Nearest:
        """The float64 nearest to each number, and whether that is certain; where not, the nearest to the center.

        Between an end and the next integer there is no multiple of 2**-1075 if the scale is 1075 or more.
        Then half a unit inside the end rounds as everything strictly between the two does, and a number of
        which only the sign is known still decides a tie.
        """
        shape = np.shape(self.center)
        centers, radii = np.ravel(self.center).tolist(), np.ravel(self.radius).tolist()
        values, certain, errors = (
            np.empty(len(centers)),
            np.ones(len(centers), dtype=bool),
            np.zeros(len(centers)),
        )
        inward = int(self.scale >= LAST_BIT)
        whole, half = self.divisor << self.scale, self.divisor << (self.scale + 1)
        for start in progress.track(range(0, len(centers), BLOCK), "exact: rounding"):
            for index in range(start, min(start + BLOCK, len(centers))):
                center, radius = centers[index], radii[index]
                if radius == 0:
                    values[index] = _quotient(center, whole)
                    continue
                high = _quotient(2 * (center + radius) - inward, half)
                certain[index] = high == _quotient(2 * (center - radius) + inward, half)
                values[index] = high if certain[index] else _quotient(center, whole)
                if not certain[index]:  # the quotient is rounded, and so is the value
                    errors[index] = 2 * _quotient(radius, whole) + math.ulp(values[index])
        return Nearest(values.reshape(shape), certain.reshape(shape), errors.reshape(shape))


def nearest(problem: Problem, names: Sequence[str]) -> dict[str, Nearest]:
    """Each of "loss", "losses" and the gradients: correctly rounded where certain, and the nearest known where not."""
    integers = IntegerProblem(problem)
    rounded: dict[str, Nearest] = {}
    uncertain, digits = list(names), DIGITS
    while uncertain and digits <= MOST_DIGITS:
        enclosures = _enclosures(integers, digits)
        rounded |= {name: enclosures[name]().nearest() for name in uncertain}
        uncertain = [name for name in names if not rounded[name].certain.all()]
        digits *= 2
    return rounded


def memory(problem: Problem) -> int:
    """The bytes that are held at a time: integers, 60 times what the floats are that they are made of."""
    return 60 * problem.nbytes_of(["logits", "weights", "inputs"])


def work(n_rows: int, n_inputs: int, n_classes: int) -> float:
    """An estimate of the seconds that the loss and dL/dW take (benchmarks/estimates.py)."""
    factors = n_inputs * (n_rows + n_classes)
    residuals, products = n_rows * n_classes, n_rows * n_inputs * n_classes
    return 0.15e-3 + 90e-6 * n_rows + 17e-6 * residuals + 0.58e-6 * factors + 0.3e-6 * products


def _scaled(values: Array) -> tuple[Integers, int]:
    """Integers n and one scale s >= 0 with values = n / 2**s, exactly."""
    fractions, exponents = np.frexp(values.astype(np.float64))
    mantissas = np.ldexp(fractions, 53).astype(np.int64)
    used = exponents[mantissas != 0] - 53
    scale = max(0, -int(used.min())) if used.size else 0
    shifts = np.where(mantissas == 0, 0, exponents - 53 + scale)
    pairs = zip(mantissas.ravel().tolist(), shifts.ravel().tolist(), strict=True)
    integers = np.array([mantissa << shift for mantissa, shift in pairs], dtype=object)
    return integers.reshape(values.shape), scale


def _enclosures(problem: IntegerProblem, digits: int) -> Mapping[str, Callable[[], Enclosure]]:
    """The loss, the losses and the gradients, each made when it is called, from exponentials with so many digits."""
    exponentials = Exponentials(problem, digits)
    losses = cache(partial(_losses, problem, exponentials))
    residuals = cache(partial(_residuals, problem, exponentials))
    return {
        "losses": losses,
        "loss": lambda: losses().sum(),
        "logits": residuals,
        "bias": lambda: residuals().sum(),
        "weights": lambda: residuals().times(problem.inputs.T, problem.inputs_scale),
        "inputs": lambda: _inputs_gradient(problem, residuals()),
    }


def _exponentials(shifted: Sequence[int], scale: int, digits: int, bits: int) -> list[tuple[int, int]]:
    """The ends of exp(D) for D = shifted / 2**scale <= 0, over 2**bits.

    D and exp are each rounded to `digits` digits, by a relative 10**(5 - digits) at most in all (section 9.2).
    """
    rounding = Context(prec=digits, Emin=MIN_EMIN, Emax=MAX_EMAX)
    roomy = Context(prec=digits + bits, Emin=MIN_EMIN, Emax=MAX_EMAX)
    one, unit = Decimal(1 << bits), Decimal(1 << scale)
    beyond = -(int((bits + 1) / BITS_PER_NAT) + 1) << scale  # exp of it is less than one unit
    margin = int((digits - 5) * BITS_PER_DIGIT)
    ends = []
    for value in shifted:
        if value == 0:
            ends.append((1 << bits, 1 << bits))
        elif value < beyond:
            ends.append((0, 1))
        else:
            power = rounding.exp(rounding.divide(Decimal(value), unit))
            nearest = int(roomy.multiply(power, one))
            error = nearest >> margin
            ends.append((max(0, nearest - error - 1), nearest + error + 2))
    return ends


def _losses(problem: IntegerProblem, exponentials: Exponentials) -> Enclosure:
    """q ln(sum_t exp(D_t)) - sum_t Q_t D_t of each row, (B,)."""
    bits, scale = exponentials.bits, problem.logits_scale
    totals = zip(exponentials.lower.sum(axis=1), exponentials.upper.sum(axis=1), strict=True)
    logarithms = [_logarithm(lower, upper, exponentials.digits, bits) for lower, upper in totals]
    exact = -(problem.targets * problem.shifted).sum(axis=1) << bits
    lower, upper = exact + (problem.masses * np.array(logarithms, dtype=object).T << scale)
    return Enclosure.between(lower, upper, problem.divisor, scale + bits)


def _logarithm(lower: int, upper: int, digits: int, bits: int) -> tuple[int, int]:
    """The ends of ln(1 + s), from those of 1 + s, a number from 1 to T: all over 2**bits."""
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


def _residuals(problem: IntegerProblem, exponentials: Exponentials) -> Enclosure:
    """r = q S - Q, (B, T), with S = E / sum_k E_k.

    sum_k E_k is 1 + s with all the digits of s, so that q S_m - Q_m needs no other form: integers do not cancel.
    """
    bits, masses = exponentials.bits, problem.masses[:, None]
    low, high, targets = exponentials.lower, exponentials.upper, problem.targets << bits
    lower = (masses * low << bits) // high.sum(axis=1, keepdims=True)
    upper = -((-masses * high << bits) // low.sum(axis=1, keepdims=True))
    return Enclosure.between(lower - targets, upper - targets, problem.divisor, bits)


def _inputs_gradient(problem: IntegerProblem, residuals: Enclosure) -> Enclosure:
    """sum_i W_ji r_i = sum_i (W_ji - W_jm) r_i, (B, N), since the residuals of a row sum to zero."""
    center, radius = np.empty_like(problem.inputs), np.empty_like(problem.inputs)
    for b, largest in enumerate((problem.shifted == 0).argmax(axis=1)):
        factors = problem.weights - problem.weights[:, largest, None]
        center[b], radius[b] = factors @ residuals.center[b], np.abs(factors) @ residuals.radius[b]
        for j in np.flatnonzero(np.abs(center[b]) < radius[b]):
            if _vanishes(problem, b, int(j)):
                center[b, j] = radius[b, j] = 0
    return Enclosure(center, radius, residuals.divisor, residuals.scale + problem.weights_scale)


def _vanishes(problem: IntegerProblem, b: int, j: int) -> bool:
    """Whether sum_i W_ji r_i of row b is exactly zero.

    Times sum_k E_k it is sum_i (q W_ji - a) exp(D_i) with a = sum_k W_jk Q_k, which is zero only if the coefficients
    of each exponent are (Lindemann, section 9.3).
    """
    weights = problem.weights[j]
    coefficients = problem.masses[b] * weights - (weights * problem.targets[b]).sum()
    of_exponents: dict[int, int] = defaultdict(int)
    for exponent, coefficient in zip(problem.shifted[b], coefficients, strict=True):
        of_exponents[exponent] += coefficient
    return not any(of_exponents.values())


def _quotient(numerator: int, denominator: int) -> float:
    """Python's quotient of integers is correctly rounded, subnormal results too."""
    try:
        return numerator / denominator
    except OverflowError:
        return math.inf if numerator > 0 else -math.inf
