"""How far apart two gradients are, in absolute, relative and ulp terms, and whether the bound explains it.

See docs/numerics.md, section 7.
"""

from __future__ import annotations

from functools import cached_property

import msgspec
import numpy as np
from numpy.typing import NDArray

from xegrad import notebook
from xegrad.bounds import Bound
from xegrad.errors import InputError
from xegrad.methods import Evaluation
from xegrad.targets import Array


class Comparison(msgspec.Struct, frozen=True, eq=False, dict=True):
    """A candidate gradient measured against a reference, entry by entry.  All arrays have one shape.

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

    __repr__ = notebook.one_line("candidate", "agrees")

    @property
    def difference(self) -> Array:
        """candidate - reference; NaN where either is NaN, and 0 where both are the same infinity."""
        with np.errstate(all="ignore"):
            difference = self.candidate - self.reference
        return np.where(self.candidate == self.reference, 0, difference)

    @cached_property
    def within(self) -> NDArray[np.bool_]:
        """Entries whose difference rounding explains: never NaN, and never by an infinite bound.

        A value beyond the largest float is infinite, and is matched or not.
        """
        explained = np.isfinite(self.bound) & (np.abs(self.difference) <= self.bound)
        return np.where(np.isinf(self.reference), self.candidate == self.reference, explained)

    @property
    def agrees(self) -> bool:
        """Whether every entry is within its bound."""
        return bool(self.within.all())

    @property
    def unresolved(self) -> NDArray[np.bool_]:
        """Entries within a bound that exceeds half the value: they need not have one digit in common.

        An exact zero is never lost: it is all there is to know.
        """
        too_wide: NDArray[np.bool_] = (self.bound > np.abs(self.reference) / 2) & (self.reference != 0)
        return self.within & too_wide

    @property
    def unbounded(self) -> NDArray[np.bool_]:
        """Entries for which there is no bound, of two finite numbers."""
        return np.isfinite(self.difference) & ~np.isfinite(self.bound) & ~self.within

    @property
    def opposite_signs(self) -> NDArray[np.bool_]:
        """Entries of which one is positive and the other negative."""
        return np.sign(self.candidate) * np.sign(self.reference) < 0

    @property
    def no_correct_digit(self) -> NDArray[np.bool_]:
        """Entries that differ from their reference and are not finite, or off by half of it or more, if it is not 0."""
        far: NDArray[np.bool_] = np.abs(self.difference) >= np.abs(self.reference) / 2
        differs = self.candidate != self.reference
        return differs & (~np.isfinite(self.candidate) | (far & (self.reference != 0)))

    @property
    def correct_digits(self) -> NDArray[np.intp]:
        """floor(-log10 of the relative error), 0 to 16; of an exact zero 16 where within its bound, else 0."""
        with np.errstate(all="ignore"):
            digits = np.floor(-np.log10(np.abs(self.difference) / np.abs(self.reference)))
        has_none = (self.reference == 0) | np.isinf(self.reference)
        digits = np.where(has_none, np.where(self.within, 16, 0), digits)
        return np.clip(np.where(np.isnan(digits), 0, digits), 0, 16).astype(np.intp)

    @property
    def ulps(self) -> NDArray[np.uint64] | None:
        """How many floats of the candidate's type lie from one to the other; None if any is NaN."""
        if np.isnan(self.candidate).any() or np.isnan(self.reference).any():
            return None
        with np.errstate(over="ignore"):
            reference = self.reference.astype(self.candidate.dtype)
        first, second = _position(self.candidate), _position(reference)
        return np.maximum(first, second) - np.minimum(first, second)

    @property
    def worst_first(self) -> NDArray[np.intp]:
        """Flat indices: what is not a number, then what rounding does not explain by its difference,
        then the rest by how much of the value the bound leaves open.

        The last are in an order that does not depend on rounding: ratios count to three digits.
        """
        return self.in_rows(1).row_by_row[0]

    @property
    def row_by_row(self) -> NDArray[np.intp]:
        """The same of each row of (K, size) entries."""
        size = np.abs(self.difference)
        not_a_number = np.isnan(size)
        beyond = ~self.within & ~not_a_number
        with np.errstate(all="ignore"):
            open_part = np.where(self.reference == 0, 0, self.bound / np.abs(self.reference))
        steps = np.zeros_like(open_part)
        np.log10(open_part, out=steps, where=open_part > 0)
        rest = np.where(open_part > 0, np.round(steps, 2), -np.inf)
        return np.lexsort((-rest, np.where(beyond, -size, 0), ~beyond, ~not_a_number), axis=-1)

    def _repr_html_(self) -> str:
        """The worst entries, for a notebook."""
        header = ["entry", "candidate", "reference", "difference", "bound", "within"]
        rows = [
            [
                ", ".join(map(str, np.unravel_index(index, self.reference.shape))),
                *(float(getattr(self, name).flat[index]) for name in header[1:-1]),
                "yes" if self.within.flat[index] else "no",
            ]
            for index in self.worst_first[: notebook.MOST].tolist()
        ]
        beyond = np.count_nonzero(~self.within)
        return notebook.table(rows, header, f"{self.reference.size} entries, {beyond} beyond their bound")

    def in_rows(self, n_problems: int) -> Comparison:
        """The entries of each problem of a stack as a row."""
        parts = (self.reference, self.candidate, self.bound)
        return Comparison(*(part.reshape(n_problems, -1) for part in parts))


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
