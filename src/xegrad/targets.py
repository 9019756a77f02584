"""Folds labels, soft targets, class weights, smoothing, ignored rows and the reduction into Q.

See docs/loss-options.md, and docs/numerics.md, section 5.3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from msgspec.structs import force_setattr, replace
from numpy.typing import NDArray

from xegrad import notebook
from xegrad.arrays import Array as Array
from xegrad.arrays import array_of, sealed
from xegrad.errors import Faults, InputError, refuse, shown
from xegrad.vocabulary import REDUCTIONS, count

IGNORED_BY_TORCH = -100
ALL = slice(None)


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

    Examples
    --------
    >>> Targets([2, 0], label_smoothing=0.25).effective(4, np.dtype(float))
    array([[0.03125, 0.03125, 0.40625, 0.03125],
           [0.40625, 0.03125, 0.03125, 0.03125]])
    """

    labels: NDArray[np.intp] | None = None
    soft: Array | None = None
    class_weights: Array | None = None
    label_smoothing: float = 0.0
    ignore_index: int | None = None
    reduction: str = "mean"

    if TYPE_CHECKING:  # lists and tensors are taken too, and become arrays

        def __init__(
            self,
            labels: Any = None,
            soft: Any = None,
            class_weights: Any = None,
            label_smoothing: float = 0.0,
            ignore_index: int | None = None,
            reduction: str = "mean",
        ) -> None: ...

    __repr__ = notebook.one_line()

    def __post_init__(self) -> None:
        if (self.labels is None) == (self.soft is None):
            raise InputError("targets are either labels or soft targets", "label")
        for name, (kinds, dtype, n_axes, expected) in _ARRAYS.items():
            part, values = name if name == "class_weights" else "label", getattr(self, name)
            if values is None:
                continue
            array = array_of(part, values, kinds, expected)
            if part == "label" and not array.size:
                raise InputError(
                    f"there are no {name if name == 'labels' else 'targets'}; each row of x has one", part
                )
            if kinds == "iu" and array.dtype != dtype and array.max() > np.iinfo(dtype).max:
                raise InputError(f"label {array.max()} is out of range; labels are zero-based indices", part)
            force_setattr(self, name, sealed(array, dtype, n_axes))
        refuse(self._faults())
        force_setattr(self, "label_smoothing", float(self.label_smoothing))

    def _faults(self) -> Faults:
        if self.soft is not None:
            if not np.isfinite(self.soft).all():
                yield "a soft target is made of finite numbers", "label"
            for *_, row, index in np.argwhere(self.soft < 0).tolist():
                where = f"class {index} in row {row}" if self.soft.shape[-2] > 1 else f"class {index}"
                value = float(self.soft[self.soft < 0][0])
                yield f"the target of {where} is {value!r}; targets are never negative", "label"
            if self.ignore_index is not None:
                because = "but the targets are soft: only a label can be ignored"
                yield f"ignore_index is {self.ignore_index}, {because}", "ignore_index"
        if self.class_weights is not None:
            if self.class_weights.ndim != 1:
                shape = self.class_weights.shape
                yield f"{_ARRAYS['class_weights'][-1]}, not an array of the shape {shape}", "class_weights"
            for index, weight in enumerate(self.class_weights.tolist()):
                if not 0 <= weight < math.inf:
                    wrong = f"the weight of class {index} is {weight!r}"
                    yield f"{wrong}; weights are finite and never negative", "class_weights"
        if self.ignore_index is not None and not isinstance(self.ignore_index, int | np.integer):
            yield f"ignore_index is {shown(self.ignore_index)}; a whole number is expected", "ignore_index"
        smoothing = self.label_smoothing
        if not isinstance(smoothing, int | float | np.floating) or not 0 <= smoothing <= 1:
            yield f"label_smoothing is {shown(smoothing)}; it goes from 0 to 1", "label_smoothing"
        if not isinstance(self.reduction, str) or self.reduction not in REDUCTIONS:
            yield f"reduction is {shown(self.reduction)}; it is one of {', '.join(REDUCTIONS)}", "reduction"

    def at(self, index: Any) -> Targets:
        """The targets of one problem of a stack, or of some."""
        name = "labels" if self.soft is None else "soft"
        return replace(self, **{name: getattr(self, name)[index]})

    @property
    def kept(self) -> NDArray[np.bool_]:
        """(B,) the rows that count: all that are not ignored."""
        if self.ignore_index is not None:
            return np.asarray(self.labels) != self.ignore_index
        return np.ones(self._rows, dtype=bool)

    @property
    def _rows(self) -> tuple[int, ...]:
        """(B,), with any stack axes in front."""
        return np.asarray(self.labels).shape if self.soft is None else self.soft.shape[:-1]

    @property
    def label_of_rows(self) -> NDArray[np.intp]:
        """(B,) the class of each row that has one (a label, or one-hot), and -1 for soft and ignored rows."""
        if self.soft is None:
            return np.where(self.kept, np.asarray(self.labels), -1)
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

    @property
    def are_one_hot(self) -> bool:
        """Whether there is one class in each row, and `masses` are all there is of Q."""
        return self.soft is None and not self.label_smoothing

    @property
    def count_all(self) -> bool:
        """Whether all rows count alike: none is ignored, and no class has a weight of its own."""
        return self.ignore_index is None and self.class_weights is None

    def masses(self, dtype: np.dtype[Any]) -> Array:
        """(B,) Q of the only class of each row, where the targets are one-hot: w_c, or 1, over the divisor."""
        if self.count_all:
            return np.full(self._rows, 1 / self._rows[-1] if self.reduction == "mean" else 1, dtype)
        of_rows: Array = 1.0 * self.kept if self.class_weights is None else self.weights_of_rows
        if self.reduction == "mean":
            scaled = of_rows if self.class_weights is None else np.ldexp(of_rows, self._power)
            of_rows = scaled / scaled.sum(axis=-1, keepdims=True)
        with np.errstate(over="ignore"):
            return of_rows.astype(dtype, copy=False)

    def effective(self, n_classes: int, dtype: np.dtype[Any], rows: slice = ALL) -> Array:
        """Q, (B, T) or of some rows: everything the loss is told about the targets, so that L = -sum(Q * log S)."""
        with np.errstate(over="ignore", invalid="ignore"):
            targets = self.over(np.asarray, n_classes, rows)
            if self.ignore_index is not None:  # 0 there, though a weight may be infinite beside the others
                targets = np.where(self.kept[..., rows, None], targets, 0)
            return np.asarray(targets).astype(dtype, copy=False)

    def fractions(self, n_classes: int) -> list[list[Fraction]]:
        """Q without a rounding, B rows of T numbers: what `effective` is rounded from."""
        return self.over(np.vectorize(Fraction, otypes=[object]), n_classes, exact=True).tolist()

    def over(
        self, number: Callable[[Array], Any], n_classes: int, rows: slice = ALL, *, exact: bool = False
    ) -> Any:
        """Q, or some of its rows, over any numbers, which `number` makes of an array of floats."""
        y = self.is_label(n_classes, rows) * 1.0 if self.soft is None else self.soft[..., rows, :]
        return self.folded(number, y, n_classes, rows, exact=exact)

    def is_label(self, n_classes: int, rows: slice = ALL) -> NDArray[np.bool_]:
        """(B, T), or some rows of it: y, of labels."""
        return self.label_of_rows[..., rows, None] == np.arange(n_classes)

    def folded(
        self,
        number: Callable[[Array], Any],
        y: Array,
        n_classes: int,
        rows: slice = ALL,
        *,
        exact: bool = False,
    ) -> Any:
        """Q of some rows with these y.

            Q_bt = w_t ((1 - eps) y_bt + eps / T) / divisor

        y is one-hot for a label, and 0 for an ignored row; the divisor is that of the mean, or 1.  Weights that are
        divided by their sum are taken over a power of two, which cancels, so that no sum of floats overflows; numbers
        that are `exact` need none.
        """
        y = number(y)
        if self.label_smoothing:
            eps = number(np.asarray(self.label_smoothing))
            share = eps / n_classes
            if self.ignore_index is not None:
                share = share * number(1.0 * self.kept[..., rows, None])
            y = (1 - eps) * y + share
        if self.class_weights is None or self.labels is None or self.reduction != "mean":
            y = y if self.class_weights is None else y * number(self.class_weights)
            n_kept = self.kept.sum(axis=-1)[..., None, None]
            return y / n_kept if self.reduction == "mean" and (n_kept > 1).any() else y
        weights, of_rows = self.class_weights, self.weights_of_rows
        if not exact:
            weights, of_rows = np.ldexp(weights, self._power), np.ldexp(of_rows, self._power)
            if not self.label_smoothing:
                # A class that is no label of any row does not count, whatever its weight.
                weights = np.minimum(weights, 1)
        shares = number(weights) / number(of_rows).sum(axis=-1, keepdims=True)
        return y * shares[..., None, :]

    @property
    def weights_of_rows(self) -> Array:
        """(B,) the class weight of each row's label, and 0 for an ignored row."""
        assert self.class_weights is not None
        return np.where(self.kept, self.class_weights[self.label_of_rows], 0)

    @property
    def _power(self) -> NDArray[np.intc]:
        """Times two to this power, the largest of the rows' class weights is below 1."""
        return -np.frexp(self.weights_of_rows.max(axis=-1, keepdims=True))[1]

    def faults(self, rows: tuple[int, ...], n_classes: int) -> Faults:
        """Why these are no targets for rows (B,), or stacks of them, and T classes."""
        of_targets, classes = self._rows, count(n_classes, "class")
        if self.soft is not None and self.soft.shape[-1] != n_classes:
            unlike = f"label has {count(self.soft.shape[-1], 'number')} but W has {classes}"
            yield f"{unlike}; a target holds one number for each class", "label"
        if of_targets != rows and len(of_targets) == len(rows) == 1:
            yield f"label has {count(of_targets[0], 'row')} but x has {rows[0]}", "label"
        if of_targets != rows:
            yield f"targets are for rows of shape {of_targets}, but x has rows of shape {rows}", "label"
        if self.class_weights is not None and self.class_weights.size != n_classes:
            numbers = count(self.class_weights.size, "number")
            yield f"class_weights has {numbers} but W has {classes}", "class_weights"
        if self.labels is None:
            return
        labels = self.labels if self.ignore_index is None else self.labels[self.kept]
        if labels.view(np.uintp).max(initial=0) >= n_classes:  # what is negative is large without a sign
            wrong = labels[(labels < 0) | (labels >= n_classes)]
            allowed = f"0 to {n_classes - 1}" if n_classes > 1 else "only 0, since there is one class"
            if IGNORED_BY_TORCH in wrong:
                allowed += "; to ignore such rows, as PyTorch does, say ignore_index -100"
            yield f"label {wrong.flat[0]} is out of range; labels are zero-based: {allowed}", "label"
        if self.reduction != "mean":
            return
        if self.ignore_index is not None and not self.kept.any(axis=-1).all():
            ignored = f"every row has the label {self.ignore_index}, which is ignored"
            yield f"{ignored}: the mean over no row is 0/0", "label"
        if self.class_weights is not None and not self.weights_of_rows.any(axis=-1).all():
            yield "the class weights of all labels are 0: their mean is 0/0", "class_weights"

    @property
    def warnings(self) -> list[str]:
        """What is allowed but hardly ever meant."""
        if self.labels is not None:
            if self.class_weights is None or self.reduction != "mean" or self.label_smoothing:
                return []
            labels = self.labels[self.kept]
            if (labels != labels[0]).any():
                return []
            weight = f"under mean, the weight of class {labels[0]}, the only one among the labels"
            return [f"class weights cancel: {weight}, is divided by itself; the reduction sum keeps it"]
        assert self.soft is not None
        # Entries rounded from numbers that sum to one are each off by u of themselves at most, so
        # their exact sum (fsum) is off by u; fsum rounds once more.
        sums = [sum_of(row) for row in self.soft.reshape(-1, self.soft.shape[-1]).tolist()]
        off = [(index, total) for index, total in enumerate(sums) if abs(total - 1) > 2 * 2.0**-53]
        if not off:
            return []
        index, total = off[0]
        if len(sums) == 1:
            return [f"the target sums to {total:.12g}, not to 1; it is used as it is"]
        those = f"{len(off)} of {len(sums)} targets do not sum to 1 (that of row {index} to {total:.12g})"
        return [f"{those}; they are used as they are"]


# Of each array: the kinds of its numbers, its type, its axes at least, and what is expected.
_ARRAYS: Mapping[str, tuple[str, Any, int, str]] = {
    "labels": ("iu", np.intp, 1, "labels are whole numbers, one for each row"),
    "soft": ("fiu", np.float64, 2, "a soft target is made of real numbers, one for each class"),
    "class_weights": ("fiu", np.float64, 1, "class_weights is one real number for each class"),
}


def sum_of(numbers: list[float]) -> float:
    """Rounded once; infinite where that overflows."""
    try:
        return math.fsum(numbers)
    except OverflowError:
        return math.inf


def as_float(number: Fraction) -> float:
    """The nearest float; infinite where a sum of weights is larger than any."""
    try:
        return float(number)
    except OverflowError:
        return math.inf
