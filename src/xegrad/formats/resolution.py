"""How an array was printed, as its numbers tell: all to one last decimal, or all to p significant digits.

See docs/numerics.md, section 5.9.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from xegrad.claim import Reading
from xegrad.errors import InputError
from xegrad.targets import Array

FEWEST, MOST = 4, 12  # decimals that are taken for printing if nobody says so
EXACT = 13  # digits: one number with so many, and none was rounded
TELLS_ALL = 17  # digits with which every float64 has a text of its own
DISMISSED = 3  # dropped zeros more than the other format needs: it is less likely by 1000
LARGEST_POWER, LONGEST_EXPONENT = 308, 6  # of ten, in float64; in digits

_DECIMAL = re.compile(r"[-+]?([0-9]*+)\.?([0-9]*+)(?:[eE]([-+]?[0-9]+))?")  # of a number that is finite


class Written(msgspec.Struct, frozen=True, eq=False):
    """How the numbers of an array are written, entry by entry."""

    digits: NDArray[np.int64]  # from the first that is not 0; none of a 0
    significant: NDArray[np.int64]  # of them, without the zeros at their end
    decimals: NDArray[np.int64]
    power: NDArray[np.int64]  # of ten, that they are multiplied with
    has_power: NDArray[np.bool_]  # each its own
    keeps_zeros: NDArray[np.bool_]  # it ends in one that could have been dropped
    is_decimal: NDArray[np.bool_]  # not NaN, infinite or hexadecimal, which leave nothing open

    @property
    def last(self) -> NDArray[np.int64]:
        """The power of ten of the last digit."""
        return self.power - self.decimals

    @property
    def fixed(self) -> int:
        """The last place of all, if they have one; a 0 with an exponent has none."""
        has_one = self.is_decimal & ~((self.digits == 0) & self.has_power)
        return int(self.last[has_one].min(initial=0))

    @property
    def most_digits(self) -> int:
        """Of any number."""
        return int(self.digits.max())

    @property
    def most_significant(self) -> int:
        """Digits of any number, without the zeros at its end: 1500000000000000.0 has two."""
        return int(self.significant.max())

    @property
    def most_decimals(self) -> int:
        """Of any number as it is written: with an exponent, of the mantissa."""
        return int(self.decimals.max())

    def half_a_unit(self, last: Array | NDArray[np.int64] | int) -> Array:
        """Half of these powers of ten, and what is read is itself rounded to a float, as 10^k is."""
        largest = 10.0 ** np.minimum(self.last + self.digits, LARGEST_POWER)  # no number is larger
        half = 10.0 ** np.minimum(last, LARGEST_POWER) / 2 + 2.0**-52 * largest
        leaves_open = self.is_decimal & ((self.digits > 0) | ~self.has_power)
        return np.where(leaves_open, half, 0.0)

    def to_digits(self, n: int) -> Array:
        """Half a unit of the nth digit; a 0 has none."""
        return np.where(self.digits > 0, self.half_a_unit(self.last + self.digits - n), 0.0)

    def likely(self) -> list[Reading]:
        """One last place, or one number of digits: the likeliest first, without what is far less likely."""
        counted = self.digits > 0  # a 0 has its own reason to be there
        p, fixed = self.most_digits, self.fixed
        decimals = -fixed if self.has_power.any() else self.most_decimals
        formats = [(self.last - fixed, Reading(self.half_a_unit(fixed), decimals=decimals))]
        if p > 0:
            formats.append((p - self.digits, Reading(self.to_digits(p), digits=p)))
        dropped = [zeros[counted] for zeros, _ in formats]
        possible = [
            (int(zeros.sum()), reading)
            for zeros, (_, reading) in zip(dropped, formats, strict=True)
            if not (self.keeps_zeros.any() and zeros.any())
        ]
        possible.sort(key=lambda one: one[0])
        return [reading for zeros, reading in possible if zeros < possible[0][0] + DISMISSED]

    def accepted(self) -> Array:
        """The widest that is taken for printing: one last decimal, or the last of the numbers with most digits."""
        own = self.has_power | (self.digits == self.most_digits)
        return self.half_a_unit(self.power - np.where(own, self.decimals, self.most_decimals))

    def as_they_stand(self) -> Reading | None:
        """Each with its own last digit, where no column has dropped a zero, as R and pandas print them."""
        counted = self.digits > 0
        last = np.where(counted, self.last, self.last.max(axis=0, initial=-LARGEST_POWER, where=counted))
        decimals = np.where(counted, self.decimals, self.decimals.max(axis=0))
        if not (decimals == decimals[0]).all():
            return None
        if self.has_power.any():  # those of a mantissa say nothing of the last place
            return Reading(
                self.half_a_unit(last), digits=int(self.digits[counted].min(initial=self.most_digits))
            )
        return Reading(self.half_a_unit(last), decimals=int(decimals.min()))


def written(tokens: Sequence[str], shape: tuple[int, ...], power: int = 0) -> Written:
    """How these texts of numbers are written, where all stand behind a power of ten."""
    rows = np.array([_notation(token) for token in tokens], dtype=np.int64).T
    digits, significant, decimals, own, *flags = (row.reshape(shape) for row in rows)
    return Written(digits, significant, decimals, own + power, *(flag.astype(bool) for flag in flags))


def _notation(token: str) -> tuple[int, int, int, int, bool, bool, bool]:
    match = _DECIMAL.fullmatch(token)
    if match is None:  # hexadecimal, which tells all, or no finite number
        return 0, TELLS_ALL if "x" in token.lower() else 0, 0, 0, False, False, False
    whole, decimals, power = match.groups()
    if power is not None and len(power) > LONGEST_EXPONENT:
        raise InputError(f"a number has an exponent of {len(power)} digits; one of a float is expected")
    keeps_zeros = len(decimals) > 1 and decimals.endswith("0")
    digits = (whole + decimals).lstrip("0")
    sizes = len(digits), len(digits.rstrip("0")), len(decimals), int(power or 0)
    return *sizes, power is not None, keeps_zeros, True


def readings(
    text: Written, asked: Reading | None = None, *, by_column: bool = False
) -> tuple[Reading, tuple[Reading, ...]]:
    """How to read the numbers, and what else their text allows, the narrowest first.

    `asked` has the decimals or the digits with which they were printed, or neither: they are what they are.  Numbers
    with more than that were printed otherwise, and tell by themselves how.
    """
    d, p = text.most_decimals, text.most_digits
    if asked is not None:
        is_of_mantissa = text.has_power[text.digits > 0].all() or not text.has_power.any()
        if asked.decimals is not None and (d if is_of_mantissa else -text.fixed) <= asked.decimals:
            power = text.power if is_of_mantissa else np.zeros_like(text.power)
            return replace(asked, resolution=text.half_a_unit(power - asked.decimals)), ()
        if asked.digits is not None and p <= asked.digits:
            return replace(asked, resolution=text.to_digits(asked.digits)), ()
        if asked.decimals is None and asked.digits is None:
            return Reading(), ()
    own = text.as_they_stand() if by_column else None
    likely = [own] if own is not None else text.likely()
    likely = [one for one in likely if np.any(one.resolution > text.to_digits(TELLS_ALL))]
    if not likely or d == 0:
        return Reading(), ()
    narrowest_first = tuple(sorted(likely, key=lambda one: float(np.max(one.resolution))))
    fewest = d if own is None or own.decimals is None else own.decimals
    if text.most_significant >= EXACT or not FEWEST <= fewest <= d <= MOST:
        return Reading(), narrowest_first
    if own is not None:
        return own, ()
    widest = np.max([np.asarray(one.resolution) for one in likely], axis=0)
    accepted = np.minimum(widest, text.accepted())
    wider = tuple(one for one in narrowest_first if np.any(one.resolution > accepted))
    best = likely[0] if np.all(likely[0].resolution <= accepted) else Reading(decimals=d)
    return replace(best, resolution=accepted), wider
