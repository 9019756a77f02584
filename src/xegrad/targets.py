"""Folds labels and soft targets into Q, the effective targets."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import force_setattr
from numpy.typing import ArrayLike, NDArray

from xegrad.errors import InputError

Array = NDArray[np.floating[Any]]


class Targets(msgspec.Struct, frozen=True, eq=False):
    """What each row should be, as it was given: labels or soft targets, never both.

    Parameters
    ----------
    labels : (B,) integers
        The class index of each row.
    soft : (B, T)
        The weight of each class in each row, none negative.  A row need not sum to one.

    Both may have stack axes in front.  What was given is kept: `effective` folds it for the float
    methods, and an exact method can fold the same without their rounding.  Rows are summed.

    Raises
    ------
    InputError
        Both or neither given, labels that are not whole numbers, negative or non-finite targets.
    """

    labels: NDArray[np.intp] | None = None
    soft: Array | None = None

    def __post_init__(self) -> None:
        if (self.labels is None) == (self.soft is None):
            raise InputError("targets are either labels or soft targets", "label")
        if self.labels is not None:
            force_setattr(self, "labels", _checked_labels(self.labels))
        else:
            force_setattr(self, "soft", _checked_soft(self.soft))

    @property
    def label_of_rows(self) -> NDArray[np.intp]:
        """(B,) the class of each row whose target is one class (a label, or one-hot), and -1 elsewhere."""
        if self.labels is not None:
            return self.labels
        assert self.soft is not None
        one_hot = ((self.soft == 1).sum(axis=-1) == 1) & ((self.soft != 0).sum(axis=-1) == 1)
        return np.where(one_hot, self.soft.argmax(axis=-1), -1)

    def effective(self, n_classes: int, dtype: np.dtype[Any]) -> Array:
        """Q, (B, T): everything the loss is told about the targets, so that L = -sum(Q log S)."""
        if self.soft is not None:
            return self.soft.astype(dtype, copy=False)
        assert self.labels is not None
        one_hot: Array = (self.labels[..., None] == np.arange(n_classes)).astype(dtype)
        return one_hot

    def fractions(self, n_classes: int) -> list[list[Fraction]]:
        """Q, B rows of T numbers, without a rounding: what `effective` is rounded from."""
        if self.soft is not None:
            return [[Fraction(entry) for entry in row] for row in self.soft.tolist()]
        assert self.labels is not None
        zero, one = Fraction(0), Fraction(1)
        return [[one if c == label else zero for c in range(n_classes)] for label in self.labels.tolist()]

    def check(self, rows: tuple[int, ...], n_classes: int) -> None:
        """Raise InputError unless these are targets for rows (B,), or stacks of them, and T classes."""
        if self.soft is not None and self.soft.shape[-1] != n_classes:
            count = self.soft.shape[-1]
            raise InputError(
                f"label has {count} number{'' if count == 1 else 's'} but W has {n_classes} classes; "
                "a target holds one number for each class",
                "label",
            )
        if self.labels is not None and self.labels.size:
            wrong = self.labels[(self.labels < 0) | (self.labels >= n_classes)]
            if wrong.size:
                allowed = f"0 to {n_classes - 1}" if n_classes > 1 else "only 0, since there is one class"
                raise InputError(
                    f"label {wrong.flat[0]} is out of range; labels are zero-based: {allowed}", "label"
                )
        given = self.label_of_rows.shape
        if len(given) == len(rows) == 1 and given != rows:
            raise InputError(f"label has {given[0]} rows but x has {rows[0]}", "label")
        if given != rows:
            raise InputError(
                f"targets are for rows of shape {given}, but x has rows of shape {rows}", "label"
            )

    @property
    def warnings(self) -> list[str]:
        """What is allowed but hardly ever meant."""
        if self.soft is None:
            return []
        # Entries rounded from numbers that sum to one are each off by u of themselves at most, so
        # their exact sum (fsum) is off by u; fsum rounds once more.
        sums = [_sum(row) for row in self.soft.reshape(-1, self.soft.shape[-1]).tolist()]
        off = [total for total in sums if abs(total - 1) > 2 * 2.0**-53]
        return [f"the target sums to {off[0]:.12g}, not to 1; it is used as it is"] if off else []


def _array(given: Any) -> NDArray[Any]:
    try:
        return np.asarray(given)
    except (ValueError, TypeError) as error:
        raise InputError(f"label is not an array: {error}", "label") from None


def _sum(row: list[float]) -> float:
    try:
        return math.fsum(row)
    except OverflowError:
        return math.inf


def _checked_labels(given: ArrayLike) -> NDArray[np.intp]:
    labels = np.atleast_1d(_array(given))
    if labels.dtype.kind not in "iu":
        raise InputError("labels are whole numbers, one for each row", "label")
    if labels.size and labels.max() > np.iinfo(np.intp).max:
        raise InputError(f"label {labels.max()} is out of range; labels are zero-based indices", "label")
    labels = labels.astype(np.intp)
    labels.flags.writeable = False
    return labels


def _checked_soft(given: ArrayLike | None) -> Array:
    soft = np.atleast_2d(_array(given))
    if soft.dtype.kind not in "fiu":
        raise InputError("a soft target is made of real numbers, one for each class", "label")
    with np.errstate(all="ignore"):
        soft = soft.astype(np.float64)
    if not np.isfinite(soft).all():
        raise InputError("a soft target is made of finite numbers", "label")
    if (soft < 0).any():
        index = int(np.argwhere(soft < 0)[0][-1])
        raise InputError(
            f"the target of class {index} is {float(soft[soft < 0][0])!r}; targets are never negative",
            "label",
        )
    soft.flags.writeable = False
    return soft
