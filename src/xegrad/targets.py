"""Folds labels, soft targets, class weights, smoothing, ignored rows and the reduction into Q.

See docs/loss-options.md, and docs/numerics.md, section 5.3.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import force_setattr, replace
from numpy.typing import ArrayLike, NDArray

from xegrad.errors import InputError
from xegrad.vocabulary import REDUCTIONS, count

Array = NDArray[np.floating[Any]]

IGNORED_BY_TORCH = -100


class Targets(msgspec.Struct, frozen=True, eq=False):
    """What each row should be, with the options of the loss.

    The semantics are those of PyTorch's `cross_entropy`, but that no label is ignored by default.

    Parameters
    ----------
    labels : (B,) integers
        The class index of each row.
    soft : (B, T)
        The weight of each class in each row, none negative.  A row need not sum to one.
    class_weights : (T,), optional
        w.  Under the mean of labels they count as rows do: the divisor is the sum of the rows' own weights.
    label_smoothing : float
        eps, from 0 to 1: that part of a target is spread over all classes.
    ignore_index : int, optional
        Rows with this label do not count.
    reduction : "mean", "sum" or "none"
        The loss of a batch.  With none it is that of each row, and the gradient is that of their sum.

    Labels or soft targets, never both.  These may have stack axes in front.  They are kept as they are:
    `effective` folds them for the float methods, `fractions` for the exact one, which must not see a
    rounded third.

    Raises
    ------
    InputError
        Both or neither, labels that are not whole numbers, negative or non-finite targets or weights,
        a smoothing outside [0, 1], soft targets with an ignored label.
    """

    labels: NDArray[np.intp] | None = None
    soft: Array | None = None
    class_weights: Array | None = None
    label_smoothing: float = 0.0
    ignore_index: int | None = None
    reduction: str = "mean"

    def __post_init__(self) -> None:
        if (self.labels is None) == (self.soft is None):
            raise InputError("targets are either labels or soft targets", "label")
        if self.labels is not None:
            force_setattr(self, "labels", _checked_labels(self.labels))
        else:
            force_setattr(self, "soft", _checked_soft(self.soft))
            if self.ignore_index is not None:
                raise InputError(
                    f"ignore_index is {self.ignore_index}, but the targets are soft: only a label can be ignored",
                    "ignore_index",
                )
        if self.class_weights is not None:
            force_setattr(self, "class_weights", _checked_weights(self.class_weights))
        if self.ignore_index is not None and not isinstance(self.ignore_index, int | np.integer):
            raise InputError(
                f"ignore_index is {self.ignore_index!r}; a whole number is expected", "ignore_index"
            )
        if (
            not isinstance(self.label_smoothing, int | float | np.floating)
            or not 0 <= self.label_smoothing <= 1
        ):
            raise InputError(
                f"label_smoothing is {self.label_smoothing!r}; it goes from 0 to 1", "label_smoothing"
            )
        force_setattr(self, "label_smoothing", float(self.label_smoothing))
        if self.reduction not in REDUCTIONS:
            raise InputError(
                f"reduction is {self.reduction!r}; it is one of {', '.join(REDUCTIONS)}", "reduction"
            )

    def at(self, index: Any) -> Targets:
        """Those of one problem of a stack, or of some."""
        return replace(
            self,
            labels=None if self.labels is None else self.labels[index],
            soft=None if self.soft is None else self.soft[index],
        )

    @property
    def kept(self) -> NDArray[np.bool_]:
        """(B,) the rows that count: all that are not ignored."""
        if self.labels is None:
            assert self.soft is not None
            return np.ones(self.soft.shape[:-1], dtype=bool)
        if self.ignore_index is None:
            return np.ones(self.labels.shape, dtype=bool)
        return self.labels != self.ignore_index

    @property
    def label_of_rows(self) -> NDArray[np.intp]:
        """(B,) the class of each row that has one (a label, or one-hot), and -1 for soft and ignored rows."""
        if self.labels is not None:
            return self.labels if self.ignore_index is None else np.where(self.kept, self.labels, -1)
        assert self.soft is not None
        one_hot = ((self.soft == 1).sum(axis=-1) == 1) & ((self.soft != 0).sum(axis=-1) == 1)
        return np.where(one_hot, self.soft.argmax(axis=-1), -1)

    @property
    def divisor(self) -> Fraction:
        """What the sum over rows is divided by: sum of w_c over the labels kept, or B, under the mean; else 1.

        Of one problem, and no stack.
        """
        if self.reduction != "mean":
            return Fraction(1)
        if self.class_weights is None or self.labels is None:
            return Fraction(int(self.kept.sum()))
        counts = np.bincount(self.labels[self.kept], minlength=len(self.class_weights)).tolist()
        weights = self.class_weights.tolist()
        return sum((n * Fraction(w) for n, w in zip(counts, weights, strict=True) if n), Fraction(0))

    def effective(self, n_classes: int, dtype: np.dtype[Any]) -> Array:
        """Q, (B, T): everything the loss is told about the targets, so that L = -sum(Q * log S)."""
        with np.errstate(over="ignore", invalid="ignore"):
            targets = self.over(np.asarray, n_classes)
            if self.ignore_index is not None:  # 0 there, though a weight may be infinite beside the others
                targets = np.where(self.kept[..., None], targets, 0)
            return np.asarray(targets).astype(dtype, copy=False)

    def fractions(self, n_classes: int) -> list[list[Fraction]]:
        """Q without a rounding, B rows of T numbers: what `effective` is rounded from."""
        return self.over(np.vectorize(Fraction, otypes=[object]), n_classes, exact=True).tolist()

    def over(self, number: Callable[[Array], Any], n_classes: int, *, exact: bool = False) -> Any:
        """Q over any numbers, which `number` makes of an array of floats.

            Q_bt = w_t ((1 - eps) y_bt + eps / T) / divisor

        y is one-hot for a label, and 0 for an ignored row; the divisor is that of the mean, or 1.  Weights that are
        divided by their sum are taken over a power of two, which cancels, so that no sum of floats overflows; numbers
        that are `exact` need none.
        """
        y = number(self._one_hot(n_classes) if self.soft is None else self.soft)
        if self.label_smoothing:
            eps = number(np.asarray(self.label_smoothing))
            share = eps / n_classes
            y = (1 - eps) * y + (
                share if self.ignore_index is None else share * number(1.0 * self.kept[..., None])
            )
        if self.class_weights is None or self.labels is None or self.reduction != "mean":
            y = y if self.class_weights is None else y * number(self.class_weights)
            n_kept = self.kept.sum(axis=-1)[..., None, None]
            return y / n_kept if self.reduction == "mean" and (n_kept > 1).any() else y
        weights, of_rows = self.class_weights, self._weights_of_rows
        if not exact:
            power = -np.frexp(of_rows.max(axis=-1, keepdims=True))[1]
            weights, of_rows = np.ldexp(weights, power), np.ldexp(of_rows, power)
            if not self.label_smoothing:
                # A class that is no label of any row does not count, whatever its weight.
                weights = np.minimum(weights, 1)
        shares = number(weights) / number(of_rows).sum(axis=-1, keepdims=True)
        return y * shares[..., None, :]

    def _one_hot(self, n_classes: int) -> Array:
        """(B, T) 1 at the label of each row that counts, and 0 elsewhere."""
        assert self.labels is not None
        return ((self.labels[..., None] == np.arange(n_classes)) & self.kept[..., None]).astype(np.float64)

    @property
    def _weights_of_rows(self) -> Array:
        """(B,) the class weight of each row's label, and 0 for an ignored row."""
        assert self.labels is not None and self.class_weights is not None
        return np.where(self.kept, self.class_weights[np.where(self.kept, self.labels, 0)], 0)

    def check(self, rows: tuple[int, ...], n_classes: int) -> None:
        """Raise InputError unless these are targets for rows (B,), or stacks of them, and T classes."""
        if self.soft is not None and self.soft.shape[-1] != n_classes:
            raise InputError(
                f"label has {count(self.soft.shape[-1], 'number')} but W has "
                f"{count(n_classes, 'class', 'classes')}; a target holds one number for each class",
                "label",
            )
        shape = self.kept.shape
        if len(shape) == len(rows) == 1 and shape != rows:
            raise InputError(f"label has {count(shape[0], 'row')} but x has {rows[0]}", "label")
        if shape != rows:
            raise InputError(
                f"targets are for rows of shape {shape}, but x has rows of shape {rows}", "label"
            )
        if self.class_weights is not None and self.class_weights.size != n_classes:
            raise InputError(
                f"class_weights has {count(self.class_weights.size, 'number')} but W has "
                f"{count(n_classes, 'class', 'classes')}",
                "class_weights",
            )
        if self.labels is not None:
            self._check_labels(self.labels, n_classes)

    def _check_labels(self, labels: NDArray[np.intp], n_classes: int) -> None:
        kept = self.kept
        wrong = labels[kept & ((labels < 0) | (labels >= n_classes))]
        if wrong.size:
            allowed = f"0 to {n_classes - 1}" if n_classes > 1 else "only 0, since there is one class"
            hint = (
                "; to ignore such rows, as PyTorch does, say ignore_index -100"
                if IGNORED_BY_TORCH in wrong
                else ""
            )
            raise InputError(
                f"label {wrong.flat[0]} is out of range; labels are zero-based: {allowed}{hint}", "label"
            )
        if self.reduction != "mean":
            return
        if not kept.any(axis=-1).all():
            raise InputError(
                f"every row has the label {self.ignore_index}, which is ignored: the mean over no row is 0/0",
                "label",
            )
        if self.class_weights is not None and not self._weights_of_rows.any(axis=-1).all():
            raise InputError("the class weights of all labels are 0: their mean is 0/0", "class_weights")

    @property
    def warnings(self) -> list[str]:
        """What is allowed but hardly ever meant."""
        if self.soft is None:
            return self._weights_cancel()
        # Entries rounded from numbers that sum to one are each off by u of themselves at most, so
        # their exact sum (fsum) is off by u; fsum rounds once more.
        sums = [_sum(row) for row in self.soft.reshape(-1, self.soft.shape[-1]).tolist()]
        off = [(index, total) for index, total in enumerate(sums) if abs(total - 1) > 2 * 2.0**-53]
        if not off:
            return []
        index, total = off[0]
        if len(sums) == 1:
            return [f"the target sums to {total:.12g}, not to 1; it is used as it is"]
        return [
            f"{len(off)} of {len(sums)} targets do not sum to 1 (that of row {index} to {total:.12g}); they are used "
            "as they are"
        ]

    def _weights_cancel(self) -> list[str]:
        assert self.labels is not None
        labels = np.unique(self.labels[self.kept])
        if self.class_weights is None or self.reduction != "mean" or labels.size > 1 or self.label_smoothing:
            return []
        return [
            f"class weights cancel: under mean, the weight of class {labels.item()}, the only one among the labels, is "
            "divided by itself; the reduction sum keeps it"
        ]


def _array(values: Any, part: str = "label") -> NDArray[Any]:
    try:
        return np.asarray(values)
    except (ValueError, TypeError) as error:
        raise InputError(f"{part} is not an array: {error}", part) from None


def _sum(row: list[float]) -> float:
    try:
        return math.fsum(row)
    except OverflowError:
        return math.inf


def _checked_labels(values: ArrayLike) -> NDArray[np.intp]:
    labels = np.atleast_1d(_array(values))
    if labels.dtype.kind not in "iu":
        raise InputError("labels are whole numbers, one for each row", "label")
    if labels.size and labels.max() > np.iinfo(np.intp).max:
        raise InputError(f"label {labels.max()} is out of range; labels are zero-based indices", "label")
    labels = labels.astype(np.intp)
    labels.flags.writeable = False
    return labels


def _checked_soft(values: ArrayLike | None) -> Array:
    soft = np.atleast_2d(_array(values))
    if soft.dtype.kind not in "fiu":
        raise InputError("a soft target is made of real numbers, one for each class", "label")
    with np.errstate(all="ignore"):
        soft = soft.astype(np.float64)
    if not np.isfinite(soft).all():
        raise InputError("a soft target is made of finite numbers", "label")
    if (soft < 0).any():
        *_, row, index = np.argwhere(soft < 0)[0].tolist()
        where = f" in row {row}" if soft.shape[-2] > 1 else ""
        raise InputError(
            f"the target of class {index}{where} is {float(soft[soft < 0][0])!r}; targets are never negative",
            "label",
        )
    soft.flags.writeable = False
    return soft


def _checked_weights(values: ArrayLike) -> Array:
    weights = np.atleast_1d(_array(values, "class_weights"))
    if weights.dtype.kind not in "fiu" or weights.ndim != 1:
        raise InputError(
            f"class_weights is one real number for each class, not {weights.dtype} of the shape {weights.shape}",
            "class_weights",
        )
    weights = weights.astype(np.float64)
    for index, weight in enumerate(weights.tolist()):
        if not 0 <= weight < math.inf:
            raise InputError(
                f"the weight of class {index} is {weight!r}; weights are finite and never negative",
                "class_weights",
            )
    weights.flags.writeable = False
    return weights
