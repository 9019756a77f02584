"""A problem as it is read: the values of its fields, where each came from, and the Problem that they make."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import replace

from xegrad.errors import InputError
from xegrad.formats import labels
from xegrad.formats.values import vector
from xegrad.naming import classes_in
from xegrad.problem import Layout, Problem
from xegrad.problem_spec import CLAIMS
from xegrad.targets import Array, Targets
from xegrad.vocabulary import count


class RawProblem(msgspec.Struct, frozen=True, eq=False):
    """What was read of a problem, perhaps not all of it.  Shapes and names are checked by `problem`.

    Parameters
    ----------
    values : by the keys of `problem_spec`
        W is in the layout of the file: (classes, inputs) if `transpose`, else (inputs, classes).  A label is an
        index, a class name, text that may be either, a list of these, or targets.  What
        a problem claims (`CLAIMS`) is text, or an array, or arrays by their symbols.
    sources : by the same keys
        Where each came from, and the whole as "problem", for messages.
    rows_are_inputs : bool
        Whether the format leaves no choice of W's layout.
    labels_are_a_column : bool
        Of a data set: their names in sorted order are the classes, if nothing else names them.
    beside : keys
        Of the file of a part: what else of a problem it holds.
    note : str
        What of a file was left out, for whoever gave it.
    """

    values: Mapping[str, Any] = {}
    sources: Mapping[str, str] = {}
    rows_are_inputs: bool = False
    labels_are_a_column: bool = False
    beside: frozenset[str] = frozenset()
    note: str = ""

    def read_from(self, source: str, *, is_whole: bool) -> RawProblem:
        """The same, its sources beginning with this one, which is that of the whole if it is a whole problem."""
        keys = ("problem", *self.values) if is_whole else self.values
        return replace(self, sources={key: source + self.sources.get(key, "") for key in keys})

    def over(self, other: RawProblem) -> RawProblem:
        """These values where there are any, the other's where not."""
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
        changed = {
            "W": self.layout.of("weights", problem.weights),
            "b": problem.bias,
            "class_weights": problem.targets.class_weights,
            "label": labels.as_written(self.values["label"], problem.classes)
            if "label" in self.values
            else None,
            "classes": problem.classes,
            "input_names": problem.input_names,
            "dtype": problem.dtype.name if problem.dtype == np.float32 else None,
        }
        present = {key: value for key, value in changed.items() if value is not None}
        values = {**self.without(*CLAIMS).values, **present}
        # Labels are indices now, or names of `classes`, wherever they came from.
        return replace(self, values=values, labels_are_a_column=False)

    @property
    def id(self) -> Any:
        """What a problem is called, where it says so."""
        return self.values.get("id", msgspec.UNSET)

    @property
    def is_batch(self) -> bool:
        """Whether x has two dimensions: rows, however many; a column of N > 1 numbers is one example."""
        inputs, weights = self.values.get("x"), self.values.get("W")
        if inputs is None or inputs.ndim == 1:
            return False
        if weights is None or weights.ndim != 2 or inputs.shape[1] > 1:
            return True
        n_inputs: int = weights.shape[1 if self.values.get("transpose") else 0]
        return not len(inputs) == n_inputs > 1

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
        values: dict[str, Any] = {
            key: vector(value) if key in ("b", "class_weights") else value
            for key, value in self.values.items()
        }
        weights, inputs, label = values["W"], values["x"], values["label"]
        transpose = values.get("transpose")
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
            raise InputError(self._why_no_fit(rows.shape[1], weights), "x")
        classes = values.get("classes")
        if classes is None and self.labels_are_a_column:
            classes = classes_in(label, weights.shape[1])
        options = {name: values[name] for name in Targets.__struct_fields__ if name in values}
        n_rows = len(rows) if self.is_batch else None
        return Problem(
            weights=weights,
            inputs=rows,
            targets=labels.targets(label, n_rows, weights.shape[1], classes, options),
            bias=values.get("b"),
            classes=classes,
            precision=values.get("dtype"),
            input_names=values.get("input_names"),
        )

    def _why_no_fit(self, size: int, weights: Array) -> str:
        """What is wrong with x, whose rows are of this size, and what may be meant."""
        n_inputs, n_classes = weights.shape
        if size == 0:
            return f"x has no numbers; each row of it needs one for each of {count(n_inputs, 'input')}"
        if self.is_batch and len(self.values["x"]) == n_inputs:
            hint = "x is rows x inputs, and yours seems to be the other way round"
        elif size != n_classes:
            hint = "x needs one number for each input"
        else:
            other = "(inputs, classes), add --no-" if self.layout.transpose else "(classes, inputs), add --"
            hint = f"If yours is {other}transpose"
        return f"{self.layout.wrong_length(size, n_inputs)}. {hint}"
