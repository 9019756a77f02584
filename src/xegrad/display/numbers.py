"""Numbers as text: so many significant digits, in columns that line up."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from xegrad.targets import Array

MANY = 15  # correct digits of a float64: beyond them the last bit decides, and that is the processor's
NOTHING = "~0"  # only rounding is left
UNKNOWN = "?"  # it may be off by any number
SHOWS_ALL = 17  # significant digits that tell any two float64 apart


def decimals_for(values: Iterable[float], digits: int) -> int:
    """The decimals that give the largest of the values so many significant digits."""
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    if largest == 0:
        return digits - 1
    return max(0, digits - 1 - math.floor(math.log10(largest)))


def in_column(value: float, decimals: int, digits: int) -> str:
    """A number of a column: fixed where the column's decimals show its digits, else with an exponent."""
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    if digits >= SHOWS_ALL:
        return repr(value)
    shown = decimals + 1 + math.floor(math.log10(abs(value)))  # significant digits, if fixed
    if shown >= max(1, digits // 2) and decimals <= digits + 4 and abs(value) < 10**digits:
        return f"{value:.{decimals}f}"
    return f"{value:.{digits - 1}e}"


def as_known(value: float, error: float, text: str) -> str:
    """The text of a number that may be off by an error: with fewer digits where that does not leave as many."""
    if not math.isfinite(error):
        return UNKNOWN
    if not error or not math.isfinite(value):
        return text
    ratio = min(abs(value) / (2 * error), sys.float_info.max)
    known = 1 + math.floor(math.log10(ratio)) if ratio > 1 else 0
    shown = f"{value:.{known - 1}e}" if known else NOTHING
    return shown if known < _digits_of(text) else text


def _digits_of(text: str) -> int:
    """How many significant digits it shows."""
    return len(text.partition("e")[0].replace(".", "").lstrip("-0"))


def with_digits(value: float, digits: int) -> str:
    """A number on its own."""
    return repr(value) if digits >= SHOWS_ALL else f"{value:.{digits}g}"


def alike(one: str, other: str) -> int:
    """With how many characters both begin, if they are of one power of ten."""
    if one.partition("e")[2] != other.partition("e")[2]:
        return 0
    pairs = enumerate(zip(one, other, strict=False))
    return next((k for k, (first, second) in pairs if first != second), min(len(one), len(other)))


def fraction(value: float) -> str:
    """A number between 0 and 1, to six digits where they show."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:.6f}" if 1e-3 <= value < 1e3 else f"{value:.3e}"


def in_short(seconds: float) -> str:
    """A time to three digits: 0.182 ms, 41.7 s."""
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def how_many_correct(digits: int) -> str:
    """So many correct digits, as far as they are the same on every processor."""
    return f"{MANY} or more" if digits >= MANY else str(digits)


def agreeing(digits: int, none: str = "No") -> str:
    """How many digits agree: 6 digits agree."""
    if digits == 0:
        return f"{none} digit agrees"
    return f"{how_many_correct(digits)} digit{' agrees' if digits == 1 else 's agree'}"


def aligned(values: Array, digits: int, noise: NDArray[np.bool_] | None = None) -> Array:
    """An array of texts: as many decimals for all, and `NOTHING` for noise."""
    flat = values.ravel() + 0.0
    nothing = np.zeros(flat.shape, dtype=bool) if noise is None else noise.ravel()
    known = np.where(nothing, 0, flat)
    most = decimals_for(known.tolist(), digits)
    fewest = _fewest_decimals(known, most)
    sizes = np.abs(known[np.isfinite(known) & (known != 0)])
    spread = sizes.size and sizes.min() < sizes.max() / 1000

    def text(value: float, is_nothing: bool) -> str:
        if is_nothing:
            return NOTHING
        if value != 0 and math.isfinite(value) and (spread or fewest < most):
            return f"{value:.{fewest}f}" if fewest < most else f"{value:.{max(1, digits - 3)}e}"
        return in_column(value, most, digits)

    return np.array(list(map(text, flat.tolist(), nothing.tolist())), dtype=object).reshape(values.shape)


def _fewest_decimals(values: Array, most: int) -> int:
    """As many as all of the values need, where they are short decimals: 0.1 and 0.25 need two."""
    finite = values[np.isfinite(values)]
    noise = 64 * np.finfo(values.dtype).eps * np.abs(finite)
    for decimals in range(min(most, MANY) if finite.size == values.size else 0):
        if (np.abs(np.round(finite, decimals) - finite) <= noise).all():
            return decimals
    return most
