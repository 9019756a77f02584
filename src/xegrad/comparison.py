"""How far apart two gradients are, in absolute, relative and ulp terms, and whether the bound explains it.

See docs/numerics.md, section 7.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property, wraps
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from xegrad import notebook
from xegrad.arrays import blocks
from xegrad.bounds import Bound
from xegrad.errors import InputError
from xegrad.methods import Evaluation
from xegrad.targets import Array

ROUNDED = 2.0**-50
DIGIT = 0.1  # of the exact value: what is further off has no correct digit
PIECE = 2**15  # entries that stay in the cache, with all that is made of them


# What is said of each entry by how far it is from the exact value, and what of one that is clear (`are_clear`).
CLEAR = {"within": True} | dict.fromkeys(
    ("beyond", "open", "unbounded", "no_correct_digit", "perhaps_no_digit"), False
)


def kept(formula: Callable[[Comparison], Any]) -> Any:
    """What follows from each entry by itself: computed once, a piece at a time where there are many.

    What is known of all entries is known of a piece.  All that `CLEAR` lists is computed together.
    """

    @wraps(formula)
    def whole(comparison: Comparison) -> Any:
        name, size = formula.__name__, comparison.reference.size
        if size <= PIECE or comparison.is_uneven:
            return formula(comparison)
        names = (*CLEAR,) if name in CLEAR else (name,)
        found: dict[str, Array] = {}
        for some, piece in comparison.pieces():
            is_known = name in CLEAR and piece.are_clear
            for one in names:
                array = CLEAR[one] if is_known else getattr(piece, one)
                found.setdefault(one, np.empty(size, np.asarray(array).dtype))[some] = array
        shape = comparison.reference.shape
        comparison.__dict__.update({one: array.reshape(shape) for one, array in found.items()})
        return comparison.__dict__[name]

    return cached_property(whole)


# By what the worst come first, see below.
KEYS = ("is_number", "explained", "apart", "left_open")


class Comparison(msgspec.Struct, frozen=True, eq=False, dict=True):
    """A candidate gradient measured against a reference, entry by entry.  All arrays have one shape.

    Where the reference itself may be off, by `error`, only that is said of an entry which is so of all that its exact
    value may be.

    Examples
    --------
    >>> against = Comparison(np.array([1.0, 2.0]), np.array([1.0, 2.5]), np.array([0.1, 0.1]))
    >>> against.within
    array([ True, False])
    >>> against.difference
    array([0. , 0.5])
    """

    reference: Array
    candidate: Array
    bound: Array  # what rounding alone can explain
    error: Array | float = 0.0  # how far the reference may be from the exact value

    __repr__ = notebook.one_line("candidate", "agrees")

    @property
    def is_uneven(self) -> bool:
        """Whether the candidate or the bound has another shape than the reference."""
        parts = (self.candidate, self.bound)
        return any(np.shape(part) != self.reference.shape for part in parts)

    def pieces(self) -> Iterator[tuple[slice, Comparison]]:
        """The entries in order, some at a time, with what is known of them."""
        parts: list[Any] = [self.reference, self.candidate, self.bound, self.error]
        flat = [part if np.ndim(part) == 0 else np.ravel(part) for part in parts]
        known = {name: np.ravel(array) for name, array in self.__dict__.items()}
        for some in blocks(self.reference.size, PIECE):
            piece = Comparison(*(part if np.ndim(part) == 0 else part[some] for part in flat))
            piece.__dict__.update({name: array[some] for name, array in known.items()})
            yield some, piece

    def has_any(self, name: str) -> bool:
        """Whether any entry is so, looked for until one is found."""
        if name in self.__dict__ or self.is_uneven:
            return bool(getattr(self, name).any())
        return any(getattr(piece, name).any() for _, piece in self.pieces())

    @property
    @np.errstate(all="ignore")
    def are_clear(self) -> bool:
        """Whether every entry is within its bound, with a correct digit, as most are: that is soon seen.

        The distance is that of `_distances`, or a little more; then it is finite, as the bound is.
        """
        size = np.abs(self.candidate - self.reference)
        most = size + (self.error + ROUNDED * size)
        has_digits = most < DIGIT * (np.abs(self.reference) - self.error)
        return bool(has_digits.all() and (most <= self.bound).all() and np.isfinite(self.bound).all())

    @kept
    def difference(self) -> Array:
        """candidate - reference; NaN where either is NaN, and 0 where both are the same infinity."""
        with np.errstate(all="ignore"):
            difference: Array = self.candidate - self.reference
        difference[self.candidate == self.reference] = 0
        return difference

    @cached_property
    def _distances(self) -> tuple[Array, Any, Any]:
        """|candidate - reference|, and the least and the most that the candidate is from the exact value.

        There, the roundings of these and of what is compared with them count, which are less than `ROUNDED` of each.
        """
        size = np.abs(self.difference)
        if self.is_exact:
            return size, size, size
        with np.errstate(all="ignore"):
            reach = self.error + ROUNDED * size
            reach[np.broadcast_to(self.error == 0, reach.shape)] = 0
            return size, size - reach, size + reach

    @property
    def is_exact(self) -> bool:
        """Whether the reference is the exact value, rounded, in every entry."""
        return np.ndim(self.error) == 0 and self.error == 0

    @property
    def _is_no_number(self) -> Any:
        """Entries of the candidate that are NaN, or infinite where the exact value is known to be finite or another
        infinity."""
        return np.isnan(self.candidate) | (np.isinf(self.candidate) & np.isfinite(self.error))

    @kept
    def within(self) -> NDArray[np.bool_]:
        """Entries whose difference rounding explains: never NaN, and never by an infinite bound.

        A value beyond the largest float is infinite, and is matched or not.
        """
        *_, most = self._distances
        explained = np.isfinite(self.bound) & (most <= self.bound)
        return np.where(np.isinf(self.reference), self.candidate == self.reference, explained)

    @kept
    def beyond(self) -> NDArray[np.bool_]:
        """Entries that nothing allowed explains, whatever the exact value is."""
        beyond = ~self.within & ~self.unbounded
        if self.is_exact:
            return beyond
        _, least, _ = self._distances
        certain = self._is_no_number | (np.isfinite(self.error) & (least > self.bound))
        return np.where(self.error == 0, beyond, beyond & certain)

    @kept
    def open(self) -> NDArray[np.bool_]:
        """Entries of which a better reference would say more: whether they are within their bound."""
        if self.is_exact:
            return np.zeros(self.reference.shape, dtype=bool)
        return ~(self.within | self.beyond | self.unbounded) | ~np.isfinite(self.error)

    @property
    def agrees(self) -> bool:
        """Whether every entry is within its bound."""
        return bool(self.within.all())

    @property
    @np.errstate(all="ignore")
    def relative_bounds(self) -> Array:
        """The bound as a part of each value; NaN where that is 0."""
        relative = np.abs(self.reference)
        np.divide(self.bound, relative, out=relative)
        relative[self.reference == 0] = np.nan
        return relative

    @kept
    @np.errstate(all="ignore")
    def resolved(self) -> NDArray[np.bool_]:
        """Entries that are not 0 whose bound does not exceed half of them."""
        if self.is_exact:
            return (self.reference != 0) & ~(self.bound / np.abs(self.reference) > 1 / 2)
        return (self.reference != 0) & (2 * self.bound <= np.abs(self.reference) - self.error)

    @kept
    def perhaps_resolved(self) -> NDArray[np.bool_]:
        """Entries that are resolved for some exact value within the error of the reference."""
        if self.is_exact:
            return self.resolved
        return self.perhaps_nonzero & ~(2 * self.bound > np.abs(self.reference) + self.error)

    @property
    def nonzero(self) -> NDArray[np.bool_]:
        """Entries whose exact value is not 0."""
        nonzero: NDArray[np.bool_] = np.abs(self.reference) > self.error
        return nonzero

    @property
    def perhaps_nonzero(self) -> NDArray[np.bool_]:
        """Entries whose exact value may be other than 0."""
        perhaps: NDArray[np.bool_] = np.not_equal(self.reference, 0) | np.not_equal(self.error, 0)
        return perhaps

    @property
    def unresolved(self) -> NDArray[np.bool_]:
        """Entries within a bound that exceeds half the value: they need not have one digit in common.

        An exact zero is never lost: it is all there is to know.
        """
        too_wide: NDArray[np.bool_] = (self.bound > np.abs(self.reference) / 2) & (self.reference != 0)
        return self.within & too_wide

    @kept
    def unbounded(self) -> NDArray[np.bool_]:
        """Entries for which there is no bound, of two finite numbers."""
        return np.isfinite(self.difference) & ~np.isfinite(self.bound) & ~self.within

    @property
    def opposite_signs(self) -> NDArray[np.bool_]:
        """Entries of which one is positive and the other negative."""
        return np.sign(self.candidate) * np.sign(self.reference) < 0

    @kept
    def no_correct_digit(self) -> NDArray[np.bool_]:
        """Entries that differ from their reference, of which one is not finite, or that are off by more than `DIGIT` of
        it, if it is not 0."""
        _, least, _ = self._distances
        far: NDArray[np.bool_] = least > DIGIT * (np.abs(self.reference) + self.error)
        is_infinite = np.isinf(self.reference) & np.isfinite(self.error)
        differs = self.candidate != self.reference
        return differs & (self._is_no_number | is_infinite | (far & self.nonzero))

    @kept
    def perhaps_no_digit(self) -> NDArray[np.bool_]:
        """Entries that may have no correct digit, as far as the exact value is known."""
        if self.is_exact:
            return self.no_correct_digit
        *_, most = self._distances
        with np.errstate(all="ignore"):
            far = ~(most <= DIGIT * (np.abs(self.reference) - self.error)) & (self.error != 0)
        return self.no_correct_digit | far

    @cached_property
    def is_without_digits(self) -> bool | None:
        """Whether no entry that is not 0 has a correct digit; None if that is open."""
        if (self.nonzero & ~self.perhaps_no_digit).any() or not self.perhaps_nonzero.any():
            return False
        has_none = self.nonzero.any() and (self.no_correct_digit | ~self.perhaps_nonzero).all()
        return True if has_none else None

    @kept
    def correct_digits(self) -> NDArray[np.int8]:
        """floor(-log10 of the relative error), 0 to 16; of an exact zero 16 where within its bound, else 0.

        As many as are certain, where the reference may be off.
        """
        *_, most = self._distances
        with np.errstate(all="ignore"):
            digits = np.floor(-np.log10(most / np.maximum(np.abs(self.reference) - self.error, 0)))
        has_none = ~self.perhaps_nonzero | np.isinf(self.reference)
        digits[has_none] = np.where(self.within[has_none], 16, 0)
        return np.fmin(np.fmax(digits, 0), 16).astype(np.int8)

    @property
    def ulps(self) -> NDArray[np.uint64] | None:
        """How many floats of the candidate's type lie from one to the other; None if any is NaN, or the reference is
        off."""
        if not self.is_exact or np.isnan(self.candidate).any() or np.isnan(self.reference).any():
            return None
        with np.errstate(over="ignore"):
            reference = self.reference.astype(self.candidate.dtype)
        first, second = _position(self.candidate), _position(reference)
        return np.maximum(first, second) - np.minimum(first, second)

    def worst(self, most: int | None, among: NDArray[np.bool_] | None = None) -> NDArray[np.intp]:
        """The worst so many of all entries, or of some, by their flat indices; only these are sorted, or all if no
        number is given.

        First is what is not a number, then what rounding does not explain by its difference, then the rest by how much
        of the value the bound leaves open.  The last are in an order that does not depend on rounding: ratios count to
        three digits.
        """
        left = np.arange(self.reference.size) if among is None else np.flatnonzero(among)
        count = left.size if most is None else most
        before: list[NDArray[np.intp]] = []
        for name in KEYS:
            if count >= left.size:
                break
            # What comes before the last of them by this key is among them; its equals may be, by the next one.
            of_left = getattr(self.at(left), name)
            last = np.partition(of_left, count - 1)[count - 1]
            before.append(left[of_left < last])
            count, left = count - before[-1].size, left[of_left == last]
        which = np.sort(np.concatenate([*before, left]))
        order = np.lexsort(self.at(which)._reversed_keys)
        return which[order][:most]

    def at(self, which: NDArray[np.intp]) -> Comparison:
        """Some entries, by their flat indices."""
        if which.size == self.reference.size and self.reference.ndim == 1:
            return self
        return self.changed(lambda part: np.ravel(part)[which])

    def in_rows(self, n_problems: int) -> Comparison:
        """The entries of each problem of a stack as a row."""
        return self.changed(lambda part: part.reshape(n_problems, -1))

    def changed(self, change: Callable[[Array], Array]) -> Comparison:
        """The same change of every array."""
        parts: list[Any] = [self.reference, self.candidate, self.bound, self.error]
        return Comparison(*(part if np.ndim(part) == 0 else change(part) for part in parts))

    # `KEYS`: by what the worst come first, the smallest first.

    @kept
    def is_number(self) -> NDArray[np.bool_]:
        """Entries whose difference is one."""
        return ~np.isnan(self.difference)

    @kept
    def explained(self) -> NDArray[np.bool_]:
        """Entries within their bound, and those that are no number."""
        return self.within | ~self.is_number

    @kept
    def apart(self) -> Array:
        """The difference of those that are not, the largest first."""
        return np.where(self.explained, 0, -np.abs(self.difference))

    @kept
    def left_open(self) -> Array:
        """How much of the value the bound leaves open, to three digits, the most first."""
        with np.errstate(all="ignore"):
            part = np.where(self.reference == 0, 0, self.bound / np.abs(self.reference))
        steps = np.zeros_like(part)
        np.log10(part, out=steps, where=part > 0)
        return -np.where(part > 0, np.round(steps, 2), -np.inf)

    @property
    def _reversed_keys(self) -> list[Array]:
        return [getattr(self, name) for name in reversed(KEYS)]

    @property
    def row_by_row(self) -> NDArray[np.intp]:
        """The worst first in each row of (K, size) entries."""
        return np.lexsort(self._reversed_keys, axis=-1)

    def _repr_html_(self) -> str:
        """The worst entries, for a notebook."""
        header = ["entry", "candidate", "reference", "difference", "bound", "within"]
        rows = [
            [
                ", ".join(map(str, np.unravel_index(index, self.reference.shape))),
                *(float(getattr(self, name).flat[index]) for name in header[1:-1]),
                "yes" if self.within.flat[index] else "no",
            ]
            for index in self.worst(notebook.MOST).tolist()
        ]
        beyond = np.count_nonzero(~self.within)
        return notebook.table(rows, header, f"{self.reference.size} entries, {beyond} beyond their bound")


def numbers_of(part: Evaluation | Bound, name: str) -> Array:
    """A gradient, or the one number of a "loss"."""
    if name != "loss" and name not in part.gradients:
        raise InputError(
            f"there is no {name!r} among the gradients {', '.join(part.gradients)}; evaluate it too"
        )
    return np.array([part.loss], dtype=np.float64) if name == "loss" else part.gradients[name]


def compare(
    reference: Evaluation, candidate: Evaluation, bound: Bound, with_respect_to: str = "weights"
) -> Comparison:
    """One gradient of two evaluations, or their "loss", under a bound on how far apart they can be.

    Examples
    --------
    >>> problem = Problem([[1.0, -1.0]], [[3.0]], Targets([0]))
    >>> exact, chain = METHODS["exact"].evaluate(problem), METHODS["chain"].evaluate(problem)
    >>> compare(exact, chain, METHODS["chain"].bound(problem)).agrees
    True
    """
    return Comparison(*(numbers_of(part, with_respect_to) for part in (reference, candidate, bound)))


def _position(values: Array) -> NDArray[np.uint64]:
    """The place of each float among all floats of its type: neighbours differ by one, both zeros are one."""
    width = values.dtype.itemsize * 8
    bits = values.view(f"u{values.dtype.itemsize}").astype(np.uint64)
    middle = np.uint64(1 << (width - 1))
    return np.where(bits >= middle, middle - (bits - middle), middle + bits)
