"""A problem as stated: its parts, where each came from, and the Problem that they make."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from xegrad.errors import InputError
from xegrad.problem import Layout, Problem
from xegrad.targets import Array, Targets


class Text(str):
    """A label from a shell or a cell: a class name if it equals one, else an index."""

    __slots__ = ()


class Table(msgspec.Struct, frozen=True, eq=False):
    """An array from a file, with what the file says of it: the names of its columns, and W's layout."""

    values: Array
    names: tuple[str, ...] | None = None
    transpose: bool | None = None


Label = int | str | list[Any] | NDArray[Any]


class Parts(msgspec.Struct, frozen=True, eq=False):
    """What was given of a problem; what was not is None.  Shapes and names are checked by `problem`.

    `weights` is in the layout of the file: (classes, inputs) if `transpose`, else (inputs, classes).
    `rows_are_inputs` where the format leaves no choice.
    `label` is an index, a class name, text that may be either, a list of these, or targets.
    `labels_are_a_column` of a data set: their names in sorted order are the classes, if nothing else names them.
    `gradient` and `loss` are a candidate that the problem brings, as text or as an array; `with_respect_to` says
    of which gradient, W's if not.
    `sources` says where each part came from, by its symbol, and the whole as "problem", for messages.
    """

    weights: Array | None = None
    inputs: Array | None = None
    bias: Array | None = None
    label: Label | None = None
    classes: tuple[str, ...] | None = None
    transpose: bool | None = None
    class_weights: Array | None = None
    label_smoothing: float | None = None
    ignore_index: int | None = None
    reduction: str | None = None
    dtype: str | None = None
    id: Any = msgspec.UNSET
    rows_are_inputs: bool = False
    labels_are_a_column: bool = False
    gradient: bytes | Array | None = None
    loss: bytes | Array | None = None
    with_respect_to: str | None = None
    sources: Mapping[str, str] = msgspec.field(default_factory=dict)

    def over(self, other: Parts) -> Parts:
        """These parts where there are any, the other's where not.

        Raises
        ------
        InputError
            A transposition asked of a W whose format settles its layout.
        """
        if self.transpose and self.weights is None and other.rows_are_inputs:
            raise InputError(
                f"{other.sources['W']}: --transpose does not apply, since each row of a problem in CSV is an "
                "input; leave it out, or give W apart with -W"
            )
        given = {
            name: value
            for name in Parts.__struct_fields__
            if (value := getattr(self, name)) is not None and value is not msgspec.UNSET
        }
        del given["rows_are_inputs"]
        return replace(other, **given | {"sources": {**other.sources, **self.sources}})

    @property
    def is_batch(self) -> bool:
        """Whether x has two dimensions: rows, however many; a column of N > 1 numbers is one example."""
        inputs = self.inputs
        if inputs is None or inputs.ndim == 1:
            return False
        return not (inputs.shape[1] == 1 and inputs.shape[0] == self._n_inputs > 1)

    @property
    def _n_inputs(self) -> int:
        if self.weights is None or self.weights.ndim != 2:
            return 0
        size: int = self.weights.shape[1 if self.transpose else 0]
        return size

    @property
    def layout(self) -> Layout:
        """How gradients go out: like W, and without rows where x was one vector."""
        return Layout(transpose=self.transpose is True, is_batch=self.is_batch)

    def problem(self) -> Problem:
        """The Problem that the parts make.

        Raises
        ------
        InputError
            A missing part, or parts that do not fit, with the place that the part came from.
        """
        try:
            return self._problem()
        except InputError as error:
            source = self.sources.get(error.part or "problem") or self.sources.get("problem")
            raise InputError(f"{source}: {error}" if source else str(error), error.part) from None

    def _problem(self) -> Problem:
        weights, inputs, given_label = self.weights, self.inputs, self.label
        missing = [
            symbol for symbol, part in (("W", weights), ("x", inputs), ("label", given_label)) if part is None
        ]
        if missing:
            raise InputError(
                f"there is no {' and no '.join(missing)}; a problem needs W, x and label, in a file, on standard "
                "input (-), or as -W, -x and -y"
            )
        assert weights is not None
        assert inputs is not None
        assert given_label is not None
        if weights.ndim != 2:
            raise InputError(
                f"W is a list of {_count(weights.size, 'number')}; it must have two dimensions, one list for each "
                f"{'class' if self.transpose else 'input'}: [[1, 2], [3, 4]]",
                "W",
            )
        if self.transpose:
            weights = weights.T
        rows = inputs if self.is_batch else inputs.reshape(1, -1)
        if rows.shape[1] != weights.shape[0]:
            raise InputError(self._length_of_x(rows.shape[1], weights), "x")
        classes = self.classes
        if classes is None and self.labels_are_a_column:
            classes = self._sorted_classes(given_label, weights.shape[1])
        return Problem(
            weights=weights,
            inputs=rows,
            targets=self._targets(given_label, weights.shape[1], classes),
            bias=None if self.bias is None else _vector(self.bias, "b"),
            classes=classes,
            precision=self.dtype,
        )

    def _length_of_x(self, size: int, weights: Array) -> str:
        n_inputs, n_classes = weights.shape
        side = "columns" if self.transpose else "rows"
        layout = "(classes, inputs)" if self.transpose else "(inputs, classes)"
        entries = "1 entry" if size == 1 else f"{size} entries"
        if self.is_batch:
            entries += " in each row"
        side = f"{n_inputs} {side[:-1]}" if n_inputs == 1 else f"{n_inputs} {side}"
        found = f"x has {entries} but W has {side}; W is read as {layout}."
        if self.is_batch and self.inputs is not None and self.inputs.shape[0] == n_inputs:
            return f"{found} x is rows x inputs, and yours seems to be the other way round"
        if size != n_classes:
            return f"{found} x needs one number for each input"
        other = (
            "(inputs, classes), add --no-transpose"
            if self.transpose
            else ("(classes, inputs), add --transpose")
        )
        return f"{found} If yours is {other}"

    def _targets(self, label: Label, n_classes: int, classes: tuple[str, ...] | None) -> Targets:
        options = {
            name: value
            for name in ("class_weights", "label_smoothing", "ignore_index", "reduction")
            if (value := getattr(self, name)) is not None
        }
        if "class_weights" in options:
            options["class_weights"] = _vector(options["class_weights"], "class_weights")
        if isinstance(label, int | str):
            return Targets(labels=np.array([_index(label, classes, n_classes)]), **options)
        nested = (isinstance(label, np.ndarray) and label.ndim == 2) or any(
            isinstance(row, list) for row in label
        )
        if not self.is_batch:
            if not nested and any(isinstance(entry, str) for entry in label):
                raise InputError(
                    "label is a list of names, but x is one example, which has one label; x of several has two "
                    "dimensions: [[1, 2], [3, 4]]",
                    "label",
                )
            return Targets(soft=_vector(_numbers(label, nested), "label")[None, :], **options)
        assert self.inputs is not None
        if (
            len(label) == len(self.inputs) + 1
            and isinstance(label[0], Text)
            and label[0] not in (classes or ())
        ):
            label = label[1:]  # a column of names below a header
        if nested:
            return Targets(soft=_numbers(label, nested), **options)
        if not isinstance(label, np.ndarray) and any(isinstance(entry, str) for entry in label):
            label = [
                _index(entry, classes, n_classes) if isinstance(entry, int | str) else entry
                for entry in label
            ]
        return Targets(labels=np.asarray(label), **options)

    def _sorted_classes(self, label: Label, n_classes: int) -> tuple[str, ...] | None:
        """The names in a column of labels, sorted, so that shuffled rows name the same columns of W."""
        assert isinstance(label, list)
        if all(_is_index(name) for name in label):
            return None
        names = tuple(sorted({str(name) for name in label}))
        if len(names) != n_classes:
            shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
            raise InputError(
                f"the labels name {_count(len(names), 'class', 'classes')} ({shown}), but W has {n_classes}; name all "
                "of them, in the order of W's columns, with --classes",
                "label",
            )
        return names


def _index(label: int | str, classes: tuple[str, ...] | None, n_classes: int) -> int:
    """The index of a class, from itself or from its name."""
    if isinstance(label, str):
        if classes and label in classes:
            return classes.index(label)
        if not (isinstance(label, Text) and _is_index(label)):
            raise InputError(_no_class(label, classes, n_classes), "label")
        label = int(label)
    if not -(2**63) <= label < 2**63:
        raise InputError(f"label {label} is out of range; labels are zero-based indices", "label")
    return label


def _is_index(text: str) -> bool:
    return re.fullmatch("[-+]?[0-9]+", text) is not None


def _no_class(name: str, classes: tuple[str, ...] | None, n_classes: int) -> str:
    if isinstance(name, Text) and "," in name:
        return f"label {name!r} is no class; a target, or a list of labels, is a JSON list: [{name}]"
    if not classes:
        return (
            f"label {name!r} is a class name, but the problem names no classes; give an index from 0 to "
            f"{n_classes - 1}, or the names as classes"
        )
    near = get_close_matches(name, classes, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    shown = ", ".join(classes[:8]) + (", …" if len(classes) > 8 else "")
    return f"label {name!r} is not one of the classes {shown}{hint}"


def _numbers(label: Iterable[Any], nested: bool) -> Array:
    """Targets as an array, refused where they are ragged or mix numbers with anything else."""
    rows = list(label)
    for index, row in enumerate(rows if nested else [rows]):
        if nested and not isinstance(row, list | np.ndarray):
            raise InputError(
                f"label mixes lists with {row!r}; targets are lists of {len(rows[0])} numbers", "label"
            )
        if nested and len(row) != len(rows[0]):
            raise InputError(
                f"label[{index}] has {_count(len(row), 'number')}, but label[0] has {_count(len(rows[0]), 'number')}",
                "label",
            )
        if wrong := next((entry for entry in row if isinstance(entry, str | list)), None):
            raise InputError(f"label holds {wrong!r} among numbers; a target is made of numbers", "label")
    return np.array(rows)


def _vector(array: Array, symbol: str) -> Array:
    """b or a target as (T,): a row or a column of numbers."""
    if array.ndim == 1:
        return array
    if 1 in array.shape:
        return array.ravel()
    shape = " x ".join(map(str, array.shape)) or "one number"
    raise InputError(f"{symbol} is {shape}; one number for each class is expected", symbol)


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
