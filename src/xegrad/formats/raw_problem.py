"""A problem as it is read: the values of its fields, where each came from, and the Problem that they make."""

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
from xegrad.formats.values import check_rows, count
from xegrad.problem import Layout, Problem
from xegrad.problem_spec import ARRAY, FIELDS
from xegrad.targets import Array, Targets


class LabelText(str):
    """A label from a shell or a cell: a class name if it equals one, else an index."""

    __slots__ = ()


Label = int | str | list[Any] | NDArray[Any]


class RawProblem(msgspec.Struct, frozen=True, eq=False):
    """What was read of a problem, perhaps not all of it.  Shapes and names are checked by `problem`.

    Parameters
    ----------
    values : by the keys of `problem_spec`
        W is in the layout of the file: (classes, inputs) if `transpose`, else (inputs, classes).  A label is an
        index, a class name, text that may be either, a list of these, or targets.  `gradient` and `loss` are a
        claim that the problem brings, as text or as an array.
    sources : by the same keys
        Where each came from, and the whole as "problem", for messages.
    rows_are_inputs : bool
        Whether the format leaves no choice of W's layout.
    labels_are_a_column : bool
        Of a data set: their names in sorted order are the classes, if nothing else names them.
    """

    values: Mapping[str, Any] = {}
    sources: Mapping[str, str] = {}
    rows_are_inputs: bool = False
    labels_are_a_column: bool = False

    def over(self, other: RawProblem) -> RawProblem:
        """These values where there are any, the other's where not.

        Raises
        ------
        InputError
            A transposition asked of a W whose format settles its layout.
        """
        if self.values.get("transpose") and "W" not in self.values and other.rows_are_inputs:
            raise InputError(
                f"{other.sources['W']}: --transpose does not apply, since each row of a problem in CSV is an "
                "input; leave it out, or give W apart with -W"
            )
        return RawProblem(
            {**other.values, **self.values},
            {**other.sources, **self.sources},
            other.rows_are_inputs,
            self.labels_are_a_column or other.labels_are_a_column,
        )

    def without(self, *keys: str) -> RawProblem:
        """All of it but some values."""
        return replace(self, values={key: value for key, value in self.values.items() if key not in keys})

    def moved(self, problem: Problem) -> RawProblem:
        """The same, without its claim, with the W and b of a problem, in the layout of the old W."""
        changed: dict[str, Any] = {"W": self.layout.of("weights", problem.weights), "b": problem.bias}
        label = self.values["label"]
        # Text from a shell or a cell may be a name or an index; a file says which.
        if isinstance(label, list):
            label = [_name_or_index(entry, problem.classes) for entry in label]
        changed |= {"label": _name_or_index(label, problem.classes), "classes": problem.classes}
        present = {key: value for key, value in changed.items() if value is not None}
        return replace(self, values={**self.without("gradient", "loss").values, **present})

    @property
    def id(self) -> Any:
        """What a problem is called, where it says so."""
        return self.values.get("id", msgspec.UNSET)

    @property
    def is_batch(self) -> bool:
        """Whether x has two dimensions: rows, however many; a column of N > 1 numbers is one example."""
        inputs = self.values.get("x")
        if inputs is None or inputs.ndim == 1:
            return False
        return not (inputs.shape[1] == 1 and inputs.shape[0] == self._n_inputs > 1)

    @property
    def _n_inputs(self) -> int:
        weights = self.values.get("W")
        if weights is None or weights.ndim != 2:
            return 0
        size: int = weights.shape[1 if self.values.get("transpose") else 0]
        return size

    @property
    def layout(self) -> Layout:
        """How gradients go out: like W, and without rows where x was one vector."""
        return Layout(transpose=self.values.get("transpose") is True, is_batch=self.is_batch)

    def problem(self) -> Problem:
        """The Problem that the values make.

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
        missing = [key for key in ("W", "x", "label") if key not in self.values]
        if missing:
            raise InputError(
                f"there is no {' and no '.join(missing)}; a problem needs W, x and label, in a file, on standard "
                "input (-), or as -W, -x and -y"
            )
        weights, inputs, label = (self.values[key] for key in ("W", "x", "label"))
        transpose = self.values.get("transpose")
        if weights.ndim != 2:
            raise InputError(
                f"W is a list of {count(weights.size, 'number')}; it must have two dimensions, one list for each "
                f"{'class' if transpose else 'input'}: [[1, 2], [3, 4]]",
                "W",
            )
        if transpose:
            weights = weights.T
        rows = inputs if self.is_batch else inputs.reshape(1, -1)
        if rows.shape[1] != weights.shape[0]:
            raise InputError(self._length_of_x(rows.shape[1], weights), "x")
        classes = self.values.get("classes")
        if classes is None and self.labels_are_a_column:
            classes = _sorted_classes(label, weights.shape[1])
        return Problem(
            weights=weights,
            inputs=rows,
            targets=self._targets(label, weights.shape[1], classes),
            bias=_vector(self.values["b"], "b") if "b" in self.values else None,
            classes=classes,
            precision=self.values.get("dtype"),
        )

    def _length_of_x(self, size: int, weights: Array) -> str:
        n_inputs, n_classes = weights.shape
        transpose = self.values.get("transpose")
        side = "columns" if transpose else "rows"
        layout = "(classes, inputs)" if transpose else "(inputs, classes)"
        entries = "1 entry" if size == 1 else f"{size} entries"
        if self.is_batch:
            entries += " in each row"
        side = f"{n_inputs} {side[:-1]}" if n_inputs == 1 else f"{n_inputs} {side}"
        sizes = f"x has {entries} but W has {side}; W is read as {layout}."
        if self.is_batch and self.values["x"].shape[0] == n_inputs:
            return f"{sizes} x is rows x inputs, and yours seems to be the other way round"
        if size != n_classes:
            return f"{sizes} x needs one number for each input"
        other = "(inputs, classes), add --no-transpose" if transpose else "(classes, inputs), add --transpose"
        return f"{sizes} If yours is {other}"

    def _targets(self, label: Label, n_classes: int, classes: tuple[str, ...] | None) -> Targets:
        options: dict[str, Any] = {
            name: _vector(self.values[name], name) if FIELDS[name].kind is ARRAY else self.values[name]
            for name in Targets.__struct_fields__
            if name in self.values
        }
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
            return Targets(soft=_vector(_target(label), "label")[None, :], **options)
        if (
            len(label) == len(self.values["x"]) + 1
            and isinstance(label[0], LabelText)
            and label[0] not in (classes or ())
        ):
            label = label[1:]  # a column of names below a header
        if nested:
            return Targets(soft=_target(label), **options)
        if not isinstance(label, np.ndarray) and any(isinstance(entry, str) for entry in label):
            label = [
                _index(entry, classes, n_classes) if isinstance(entry, int | str) else entry
                for entry in label
            ]
        return Targets(labels=np.asarray(label), **options)


def _sorted_classes(label: list[str], n_classes: int) -> tuple[str, ...] | None:
    """The names in a column of labels, sorted, so that shuffled rows name the same columns of W."""
    if all(_is_index(name) for name in label):
        return None
    names = tuple(sorted({str(name) for name in label}))
    if len(names) != n_classes:
        shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
        raise InputError(
            f"the labels name {count(len(names), 'class', 'classes')} ({shown}), but W has {n_classes}; name all "
            "of them, in the order of W's columns, with --classes",
            "label",
        )
    return names


def _name_or_index(label: Any, classes: tuple[str, ...] | None) -> Any:
    if not isinstance(label, str):
        return label
    return str(label) if classes and label in classes else int(label)


def _index(label: int | str, classes: tuple[str, ...] | None, n_classes: int) -> int:
    """The index of a class, from itself or from its name."""
    if isinstance(label, str):
        if classes and label in classes:
            return classes.index(label)
        if not (isinstance(label, LabelText) and _is_index(label)):
            raise InputError(_no_class(label, classes, n_classes), "label")
        label = int(label)
    if not -(2**63) <= label < 2**63:
        raise InputError(f"label {label} is out of range; labels are zero-based indices", "label")
    return label


def _is_index(text: str) -> bool:
    return re.fullmatch("[-+]?[0-9]+", text) is not None


def _no_class(name: str, classes: tuple[str, ...] | None, n_classes: int) -> str:
    if isinstance(name, LabelText) and "," in name:
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


def _target(rows: Iterable[Any]) -> Array:
    """Targets as an array, refused where they are ragged or mix numbers with anything else."""
    rows = list(rows)
    check_rows(rows, "label", "label")
    for row in rows if any(isinstance(row, list) for row in rows) else [rows]:
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
