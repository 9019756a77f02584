"""Double words: numbers as unevaluated sums of two floats, with twice the digits, and the error of each operation.

A double word is a pair (high, low) of float64 arrays with |low| <= u |high| or nearly so, u = 2**-53.  Beside each
operation stands a bound on its relative error, after Joldes, Muller and Popescu (ACM TOMS 44, 2017).  They hold where
nothing overflows and no product is below `UNDERFLOWN`.  numpy has no fused operation, so products are Dekker's.
Nothing here depends on more than IEEE arithmetic that rounds to nearest.

See docs/numerics.md, section 9.5.
"""

from __future__ import annotations

import math
from decimal import Context, Decimal
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xegrad.targets import Array

DoubleWord = tuple[Array, Array]

U = 2.0**-53
ADDITION = 3.001 * U * U  # 3 u**2 + 13 u**3
PRODUCT = 7 * U * U
QUOTIENT = 16 * U * U  # (9.9)
EXPONENTIAL = 2.0**-96  # (9.11)

UNDERFLOWN = 2.0**-960  # the error of a product that is less may not be a float
INFLATE = 1 + 2.0**-20  # for the roundings of the error bounds themselves
SPLIT = 2.0**27 + 1
STEPS = 1 << 15  # of exp between two powers of 2: three times 5 bits
ROOM = 60  # digits of the constants before they are rounded


def two_sum(a: Array, b: Array) -> DoubleWord:
    """a + b = sum + error, exactly (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def ordered_sum(a: Array, b: Array) -> DoubleWord:
    """The same where |a| >= |b| or a = 0 (Dekker's Fast2Sum)."""
    total = a + b
    return total, b - (total - a)


def split(a: Array) -> DoubleWord:
    """a = high + low, 26 bits each (Veltkamp), for |a| < 2**996."""
    scaled = SPLIT * a
    high = scaled - (scaled - a)
    return high, a - high


def two_product(
    a: Array, b: Array, a_parts: DoubleWord | None = None, b_parts: DoubleWord | None = None
) -> DoubleWord:
    """a b = product + error, exactly (Dekker), if it is 0 or more than `UNDERFLOWN`; else off by 2**-1072 at most."""
    a_high, a_low = a_parts or split(a)
    b_high, b_low = b_parts or split(b)
    product = a * b
    error = a_high * b_high
    error -= product
    error += a_high * b_low
    error += a_low * b_high
    error += a_low * b_low
    return product, error


def add(a: DoubleWord, b: DoubleWord) -> DoubleWord:
    """a + b, off by `ADDITION` (AccurateDWPlusDW)."""
    high, error = two_sum(a[0], b[0])
    low, rest = two_sum(a[1], b[1])
    high, low = ordered_sum(high, error + low)
    return ordered_sum(high, low + rest)


def add_alike(a: Any, b: DoubleWord) -> DoubleWord:
    """The same for numbers of one sign (SloppyDWPlusDW)."""
    high, error = two_sum(a[0], b[0])
    return ordered_sum(high, error + (a[1] + b[1]))


def add_word(a: Any, b: DoubleWord) -> DoubleWord:
    """The same for a word a and a double word (DWPlusFP)."""
    high, error = two_sum(a, b[0])
    return ordered_sum(high, error + b[1])


def multiply(a: Any, b: DoubleWord, b_parts: DoubleWord | None = None) -> DoubleWord:
    """a b, off by `PRODUCT` (DWTimesDW1)."""
    product, error = two_product(a[0], b[0], None, b_parts)
    return ordered_sum(product, error + (a[0] * b[1] + a[1] * b[0]))


def divide(a: DoubleWord, b: DoubleWord) -> DoubleWord:
    """a / b, off by `QUOTIENT` (9.9)."""
    quotient = a[0] / b[0]
    product, error = two_product(quotient, b[0])
    rest = ((a[0] - product) - error + a[1]) - quotient * b[1]
    return ordered_sum(quotient, rest / b[0])


def negative(a: DoubleWord) -> DoubleWord:
    """-a, exactly."""
    return -a[0], -a[1]


def word(a: Any) -> DoubleWord:
    """A float as a double word."""
    return np.asarray(a, dtype=np.float64), np.zeros_like(a, dtype=np.float64)


def total(a: DoubleWord) -> DoubleWord:
    """The sum over the last axis, of numbers of one sign, (..., 1): off by `ADDITION` as often as `depth` says."""
    high, low = a[0].copy(), a[1].copy()
    size = high.shape[-1]
    while size > 1:
        half = (size + 1) // 2
        front, back = np.s_[..., : size - half], np.s_[..., half:size]
        high[front], low[front] = add_alike((high[front], low[front]), (high[back], low[back]))
        size = half
    return high[..., :1], low[..., :1]


def depth(size: int) -> int:
    """How many additions a term of such a sum goes through."""
    return (size - 1).bit_length()


class _Constants(NamedTuple):
    ln2: tuple[float, float, float]  # ln 2 / STEPS in parts of 28, 28 and 53 bits
    powers: DoubleWord  # 2**(k / STEPS) for k < STEPS, off by 18 u**2
    odd: dict[int, tuple[float, float]]  # 1 / n


@cache
def _constants() -> _Constants:
    context = Context(prec=ROOM)

    def rounded(number: Decimal) -> tuple[float, float]:
        return float(number), float(context.subtract(number, Decimal(float(number))))

    step = context.divide(context.ln(Decimal(2)), Decimal(STEPS))
    first = math.floor(context.multiply(step, Decimal(2**43))) / 2.0**43
    rest = context.subtract(step, Decimal(first))
    second = math.floor(context.multiply(rest, Decimal(2**71))) / 2.0**71
    third = float(context.subtract(rest, Decimal(second)))
    # 2**(i / 2**5 + j / 2**10 + k / 2**15)
    powers = word(np.ones(1))
    for n in (32, 32**2, 32**3):
        roots = [
            rounded(context.power(Decimal(2), context.divide(Decimal(k), Decimal(n)))) for k in range(32)
        ]
        high, low = np.array(roots).T
        powers = multiply((powers[0][:, None], powers[1][:, None]), (high, low))
        powers = powers[0].ravel(), powers[1].ravel()
    odd = {n: rounded(context.divide(Decimal(1), Decimal(n))) for n in range(1, 17, 2)}
    return _Constants((first, second, third), powers, odd)


def exp(a: DoubleWord) -> DoubleWord:
    """exp(a) for -641 <= a <= 1, off by `EXPONENTIAL` (9.11)."""
    ln2, powers, _ = _constants()
    high, low = a
    k = np.rint(high * (STEPS / math.log(2)))
    # a = k ln 2 / STEPS + r + rest, with the third part of ln 2 and low in the rest.
    r, rest = two_sum(high - k * ln2[0], k * -ln2[1])
    rest -= k * ln2[2]
    rest += low
    r, rest = two_sum(r, rest)
    # exp(r + rest) - 1 = y + z, from r + square/2 and what is less than 2**-51.
    r_high, r_low = split(r)
    square = r * r
    square_low = ((r_high * r_high - square) + 2 * r_high * r_low) + r_low * r_low
    series = r * (1 / 120)
    series += 1 / 24
    series *= r
    series += 1 / 6
    series *= square
    series *= r
    square *= 0.5
    y, z = ordered_sum(r, square)
    rest += rest * y
    square_low *= 0.5
    square_low += rest
    square_low += series
    z += square_low
    # 2**(k / STEPS) (1 + y + z)
    exponent = k.astype(np.int64)
    index = exponent & (STEPS - 1)
    exponent >>= STEPS.bit_length() - 1
    exponent += 1023
    exponent <<= 52
    scale: Array = exponent.view(np.float64)
    power, power_low = powers[0][index], powers[1][index]
    product, error = two_product(power, y)
    z *= power
    z += power_low * y
    z += power_low
    z += error
    high, error = ordered_sum(power, product)
    error += z
    high, low = ordered_sum(high, error)
    return high * scale, low * scale


def log1p(a: DoubleWord) -> tuple[Array, Array, Array]:
    """ln(1 + a) for a >= 0, as high and low word, and how far it is off (9.12)."""
    odd = _constants().odd
    # a < 2**-6: 2 (z + z**3/3 + ... + z**15/15) with z = a / (2 + a).
    z = divide(a, add_word(2.0, a))
    square = multiply(z, z)
    series: Any = odd[15]
    for n in range(13, 0, -2):
        series = add_alike(odd[n], multiply(series, square))
    series = multiply((2 * z[0], 2 * z[1]), series)
    # Else one step of Newton's from a float: with w = (1 + a) exp(-y) - 1, y + w - w**2/2.
    y: Any = np.log1p(a[0])
    power = multiply(add_word(1.0, a), exp((-y, np.zeros_like(y))))
    w = (power[0] - 1) + power[1]
    newton = ordered_sum(y, w - w * w / 2)
    is_small = a[0] < 2.0**-6
    beyond = np.where(np.abs(w) < 2.0**-45, 2.0**-95, np.inf)
    error = np.where(is_small, series[0] * (64 * U * U), beyond)
    return np.where(is_small, series[0], newton[0]), np.where(is_small, series[1], newton[1]), error


def nearest(high: Array, low: Array, error: Array) -> tuple[Array, NDArray[np.bool_]]:
    """The float64 nearest to high + low, and whether it is that of every number within `error` of it.

    Both ends of the enclosure round alike.  low - error and low + error are rounded themselves, and so is `reach`: for
    the three together it is larger by 2 u |low| (9.10).  What is below `UNDERFLOWN` may have lost digits on its way.
    """
    reach = error * (1 + 2.0**-50)
    reach += np.abs(low) * (2 * U)
    below, above = high + (low - reach), high + (low + reach)
    certain = np.equal(below, above)
    certain &= np.abs(below) > UNDERFLOWN
    certain &= np.isfinite(below)
    return high + low, certain
