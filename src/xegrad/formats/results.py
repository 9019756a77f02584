"""What the commands print as JSON: the types, and how values become them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from xegrad.comparison import Comparison
from xegrad.methods import METHODS, Evaluation
from xegrad.problem import Problem
from xegrad.targets import Array

Numbers = list[float | None]  # null stands for what is not finite

LARGEST_INTEGER = 2**53  # beyond it, readers of JSON that know only float64 lose integers


class EvaluationResult(msgspec.Struct):
    """What one method computed; the gradient is dL/dW in W's layout."""

    loss: float | None
    gradient: list[Numbers]


class Entry(msgspec.Struct):
    """One entry of dL/dW, by zero-based indices."""

    input: int
    class_: int = msgspec.field(name="class")
    class_name: str | UnsetType = UNSET


class ComparisonResult(msgspec.Struct):
    """The chain against the shortcut."""

    agree: bool
    max_abs_difference: float | None
    max_ulp_difference: int | None
    lost_entries: int
    opposite_signs: int
    worst: Entry


def _key(method: str) -> str:
    return method.replace("-", "_")


ComputeResult = msgspec.defstruct(
    "ComputeResult",
    [
        ("schema", str),
        ("id", Any),
        ("loss", float | None),
        ("probabilities", Numbers),
        ("gradient", list[Numbers]),
        ("method", str),
        *((_key(name), EvaluationResult | UnsetType, UNSET) for name in METHODS),
        ("comparison", ComparisonResult | None, None),
        ("warnings", list[str], msgspec.field(default_factory=list)),
    ],
)


def compute_result(
    problem: Problem,
    probabilities: Array,
    evaluations: Mapping[str, Evaluation],
    comparison: Comparison | None,
    *,
    transpose: bool = False,
    id: Any = UNSET,
    warnings: Sequence[str] = (),
) -> msgspec.Struct:
    """What `compute --json` prints.  The last of the evaluations is the one reported.

    `transpose` puts gradients into the layout (classes, inputs).  What JSON cannot hold is null, and a
    warning names it.
    """
    method, reported = list(evaluations.items())[-1]
    results = {
        _key(name): EvaluationResult(
            loss=float(evaluation.loss),
            gradient=_rows(evaluation.gradients["weights"], transpose),
        )
        for name, evaluation in evaluations.items()
    }
    unwritable = _unwritable(method, evaluations, probabilities, comparison)
    nulls = [f"{path} is null: {reason}" for path, reason in unwritable]
    return ComputeResult(
        schema="xegrad/compute/1",
        id=id,
        loss=float(reported.loss),
        probabilities=probabilities[0].tolist(),
        gradient=_rows(reported.gradients["weights"], transpose),
        method=method,
        comparison=None if comparison is None else _comparison(comparison, problem),
        warnings=[*warnings, *nulls],
        **results,
    )


def encode(result: msgspec.Struct) -> bytes:
    """One line of JSON; numbers are the shortest text that reads back to the same float64."""
    return msgspec.json.encode(result) + b"\n"


def _rows(gradient: Array, transpose: bool) -> list[Numbers]:
    # An exact zero has no sign to tell.
    rows: list[Numbers] = ((gradient.T if transpose else gradient) + 0.0).tolist()
    return rows


def _comparison(comparison: Comparison, problem: Problem) -> ComparisonResult:
    row, column = np.unravel_index(int(comparison.worst_first[0]), comparison.reference.shape)
    return ComparisonResult(
        agree=comparison.agrees,
        max_abs_difference=float(np.abs(comparison.difference).max()),
        max_ulp_difference=_ulps(comparison),
        lost_entries=int(comparison.lost.sum()),
        opposite_signs=int(comparison.opposite_signs.sum()),
        worst=Entry(
            input=int(row),
            class_=int(column),
            class_name=UNSET if problem.classes is None else problem.classes[int(column)],
        ),
    )


def _ulps(comparison: Comparison) -> int | None:
    ulps = comparison.ulps
    if ulps is None or int(ulps.max()) > LARGEST_INTEGER:
        return None
    return int(ulps.max())


def _unwritable(
    method: str,
    evaluations: Mapping[str, Evaluation],
    probabilities: Array,
    comparison: Comparison | None,
) -> list[tuple[str, str]]:
    """The path and the reason of every null."""
    found = []
    if not np.isfinite(probabilities).all():
        found.append(("probabilities", _count_of_nonfinite(probabilities)))
    for name, evaluation in evaluations.items():
        for prefix in ("", f"{_key(name)}.") if name == method else (f"{_key(name)}.",):
            if not np.isfinite(evaluation.loss):
                found.append((f"{prefix}loss", f"it is {float(evaluation.loss)}"))
            if not np.isfinite(evaluation.gradients["weights"]).all():
                found.append((f"{prefix}gradient", _count_of_nonfinite(evaluation.gradients["weights"])))
    if comparison is not None:
        if not np.isfinite(comparison.difference).all():
            found.append(("comparison.max_abs_difference", "it is not finite"))
        if comparison.ulps is None:
            found.append(("comparison.max_ulp_difference", "it is not a number"))
        elif (ulps := int(comparison.ulps.max())) > LARGEST_INTEGER:
            found.append(("comparison.max_ulp_difference", f"{ulps} is above 2**53"))
    return found


def _count_of_nonfinite(array: Array) -> str:
    return f"{int((~np.isfinite(array)).sum())} of {array.size} entries are not finite"
