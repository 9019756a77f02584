"""Numbers as text: so many significant digits, in columns that line up."""

from __future__ import annotations

import math
from collections.abc import Iterable

MANY = 15  # correct digits of a float64: beyond them the last bit decides, and that is the processor's
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


def with_digits(value: float, digits: int) -> str:
    """A number on its own."""
    return repr(value) if digits >= SHOWS_ALL else f"{value:.{digits}g}"


def how_many_correct(digits: int) -> str:
    """So many correct digits, as far as they are the same on every processor."""
    return f"{MANY} or more" if digits >= MANY else str(digits)
