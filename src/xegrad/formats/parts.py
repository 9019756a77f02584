"""A problem as stated: its parts, where each came from, and the Problem that they make."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import msgspec
import numpy as np

from xegrad.errors import InputError
from xegrad.problem import Problem
from xegrad.targets import Array, Targets


class Text(str):
    """A label from a shell or a cell: a class name if it equals one, else an index."""

    __slots__ = ()


class Parts(msgspec.Struct, frozen=True, eq=False):
    """What was given of a problem; what was not is None.  Shapes and names are checked by `problem`.

    `weights` is in the layout of the file: (classes, inputs) if `transpose`, else (inputs, classes).
    `rows_are_inputs` where the format leaves no choice.
    `label` is an index, a class name, text that may be either, or a target of T numbers.
    `gradient`, `loss` and `dtype` are a candidate that the problem brings, as text.
    `sources` says where each part came from, by its symbol, and the whole as "problem", for messages.
    """

    weights: Array | None = None
    inputs: Array | None = None
    bias: Array | None = None
    label: int | str | Array | None = None
    classes: tuple[str, ...] | None = None
    transpose: bool | None = None
    id: Any = msgspec.UNSET
    rows_are_inputs: bool = False
    gradient: bytes | None = None
    loss: str | None = None
    dtype: str | None = None
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
        return Parts(
            weights=other.weights if self.weights is None else self.weights,
            inputs=other.inputs if self.inputs is None else self.inputs,
            bias=other.bias if self.bias is None else self.bias,
            label=other.label if self.label is None else self.label,
            classes=other.classes if self.classes is None else self.classes,
            transpose=other.transpose if self.transpose is None else self.transpose,
            id=other.id if self.id is msgspec.UNSET else self.id,
            gradient=other.gradient,
            loss=other.loss,
            dtype=other.dtype,
            sources={**other.sources, **self.sources},
        )

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
        weights, given_inputs, given_label = self.weights, self.inputs, self.label
        missing = [
            symbol
            for symbol, part in (("W", weights), ("x", given_inputs), ("label", given_label))
            if part is None
        ]
        if missing:
            raise InputError(
                f"there is no {' and no '.join(missing)}; a problem needs W, x and label, in a file, on standard "
                "input (-), or as -W, -x and -y"
            )
        assert weights is not None
        assert given_inputs is not None
        assert given_label is not None
        if weights.ndim != 2:
            raise InputError(
                f"W is a list of {_count(weights.size, 'number')}; it must have two dimensions, one list for each "
                f"{'class' if self.transpose else 'input'}: [[1, 2], [3, 4]]",
                "W",
            )
        if self.transpose:
            weights = weights.T
        n_classes = weights.shape[1]
        row = _one_example(given_inputs, weights.shape[0])
        if row.size != weights.shape[0]:
            raise InputError(self._length_of_x(row.size, weights), "x")
        return Problem(
            weights=weights,
            inputs=row[None, :],
            targets=self._targets(given_label, n_classes),
            bias=None if self.bias is None else _vector(self.bias, "b"),
            classes=self.classes,
        )

    def _length_of_x(self, size: int, weights: Array) -> str:
        n_inputs, n_classes = weights.shape
        side = "columns" if self.transpose else "rows"
        layout = "(classes, inputs)" if self.transpose else "(inputs, classes)"
        entries = "1 entry" if size == 1 else f"{size} entries"
        side = f"{n_inputs} {side[:-1]}" if n_inputs == 1 else f"{n_inputs} {side}"
        found = f"x has {entries} but W has {side}; W is read as {layout}."
        if size != n_classes:
            return f"{found} x needs one number for each input"
        other = (
            "(inputs, classes), add --no-transpose"
            if self.transpose
            else ("(classes, inputs), add --transpose")
        )
        return f"{found} If yours is {other}"

    def _targets(self, label: int | str | Array, n_classes: int) -> Targets:
        if isinstance(label, str):
            label = self._index(label, n_classes)
        if isinstance(label, int):
            if not -(2**63) <= label < 2**63:
                raise InputError(f"label {label} is out of range; labels are zero-based indices", "label")
            return Targets(labels=np.array([label]))
        return Targets(soft=_vector(label, "label")[None, :])

    def _index(self, name: str, n_classes: int) -> int:
        if self.classes and name in self.classes:
            return self.classes.index(name)
        if isinstance(name, Text) and re.fullmatch("[-+]?[0-9]+", name):
            return int(name)
        if isinstance(name, Text) and "," in name:
            raise InputError(f"label {name!r} is no class; a target is a JSON list: [{name}]", "label")
        if not self.classes:
            raise InputError(
                f"label {name!r} is a class name, but the problem names no classes; give an index from 0 to "
                f"{n_classes - 1}, or the names as classes",
                "label",
            )
        near = get_close_matches(name, self.classes, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        shown = ", ".join(self.classes[:8]) + (", …" if len(self.classes) > 8 else "")
        raise InputError(f"label {name!r} is not one of the classes {shown}{hint}", "label")


def _one_example(inputs: Array, n_inputs: int) -> Array:
    """x as (N,): a row, or a column of N > 1 numbers."""
    if inputs.ndim == 1 or inputs.shape[0] == 1 or (inputs.shape[1] == 1 and inputs.shape[0] == n_inputs):
        return inputs.ravel()
    rows, columns = inputs.shape
    raise InputError(
        f"x has {rows} rows of {columns}; one example is expected, {_count(n_inputs, 'number')}", "x"
    )


def _vector(array: Array, symbol: str) -> Array:
    """b or a target as (T,): a row or a column of numbers."""
    if array.ndim == 1:
        return array
    if 1 in array.shape:
        return array.ravel()
    rows, columns = array.shape
    raise InputError(f"{symbol} is {rows} x {columns}; one number for each class is expected", symbol)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
