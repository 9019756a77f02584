"""What the commands print as JSON: the types, and how values become them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from xegrad import judgement
from xegrad.comparison import Comparison
from xegrad.computation import Computation
from xegrad.methods import METHODS
from xegrad.problem import SYMBOLS, Problem
from xegrad.targets import Array

Numbers = list[float | None]  # null stands for what is not finite

LARGEST_INTEGER = 2**53  # beyond it, readers of JSON that know only float64 lose integers


class EvaluationResult(msgspec.Struct):
    """What one method computed; the gradient is dL/dW in W's layout.

    Against the exact values, where these were computed: the ulps and the correct digits of the worst entry,
    and how many entries are not finite or have no digit.  `certified` is said of the exact ones.
    """

    loss: float | None
    gradient: list[Numbers]
    max_ulp_error: int | UnsetType | None = UNSET
    correct_digits: int | UnsetType = UNSET
    wrong_entries: int | UnsetType = UNSET
    certified: bool | UnsetType = UNSET


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
        ("verdict", str, "undecided"),
        ("warnings", list[str], msgspec.field(default_factory=list)),
    ],
)


def compute_result(
    computation: Computation,
    *,
    transpose: bool = False,
    id: Any = UNSET,
    warnings: Sequence[str] = (),
) -> msgspec.Struct:
    """What `compute --json` prints.

    `transpose` puts gradients into the layout (classes, inputs).  What JSON cannot hold is null, and a
    warning names it.
    """
    reported, from_exact = computation.reported, computation.from_exact
    results = {
        _key(name): EvaluationResult(
            loss=float(evaluation.loss),
            gradient=_rows(evaluation.gradients["weights"], transpose),
            certified=UNSET if evaluation.certified is None else evaluation.is_certified,
            **(_figures(from_exact[name]) if name in from_exact else {}),
        )
        for name, evaluation in computation.evaluations.items()
    }
    comparison = computation.comparison
    nulls = [f"{path} is null: {reason}" for path, reason in _unwritable(computation)]
    return ComputeResult(
        schema="xegrad/compute/1",
        id=id,
        loss=float(reported.loss),
        probabilities=computation.forward.probabilities[0].tolist(),
        gradient=_rows(reported.gradients["weights"], transpose),
        method=computation.method,
        comparison=None if comparison is None else _comparison(comparison, computation.problem),
        verdict=computation.verdict,
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


def _unwritable(computation: Computation) -> list[tuple[str, str]]:
    """The path and the reason of every null."""
    method, comparison = computation.method, computation.comparison
    probabilities = computation.forward.probabilities
    found = []
    if not np.isfinite(probabilities).all():
        found.append(("probabilities", _count_of_nonfinite(probabilities)))
    for name, evaluation in computation.evaluations.items():
        for prefix in ("", f"{_key(name)}.") if name == method else (f"{_key(name)}.",):
            if not np.isfinite(evaluation.loss):
                found.append((f"{prefix}loss", f"it is {float(evaluation.loss)}"))
            if not np.isfinite(evaluation.gradients["weights"]).all():
                found.append((f"{prefix}gradient", _count_of_nonfinite(evaluation.gradients["weights"])))
    if comparison is not None:
        if not np.isfinite(comparison.difference).all():
            found.append(("comparison.max_abs_difference", "it is not finite"))
        found += _unwritable_ulps("comparison.max_ulp_difference", comparison)
    for name, against in computation.from_exact.items():
        found += _unwritable_ulps(f"{_key(name)}.max_ulp_error", against)
    return found


def _unwritable_ulps(path: str, comparison: Comparison) -> list[tuple[str, str]]:
    if comparison.ulps is None:
        return [(path, "it is not a number")]
    ulps = int(comparison.ulps.max())
    return [(path, f"{ulps} is above 2**53")] if ulps > LARGEST_INTEGER else []


def _figures(comparison: Comparison) -> dict[str, Any]:
    return {
        "max_ulp_error": _ulps(comparison),
        "correct_digits": int(comparison.correct_digits.min()),
        "wrong_entries": int(comparison.digits_lost.sum()),
    }


def _count_of_nonfinite(array: Array) -> str:
    return f"{int((~np.isfinite(array)).sum())} of {array.size} entries are not finite"


class Check(msgspec.Struct):
    """One check of `verify`, with what it was measured by."""

    name: str
    passed: bool
    max_ulp_error: int | UnsetType | None = UNSET
    correct_digits: int | UnsetType = UNSET
    wrong_entries: int | UnsetType = UNSET
    advisory: bool | UnsetType = UNSET


class WorstEntry(msgspec.Struct):
    """The worst entry of a candidate; which of the indices there are depends on the gradient."""

    yours: float | None
    exact: float | None
    difference: float | None
    input: int | UnsetType = UNSET
    class_: int | UnsetType = msgspec.field(name="class", default=UNSET)
    class_name: str | UnsetType = UNSET


class CandidateResult(msgspec.Struct):
    """A gradient from outside, judged."""

    outcome: str
    max_ulp_error: int | None
    correct_digits: int
    bound: float | None
    worst: WorstEntry
    pattern: str
    wrong_entries: int


class VerifyResult(msgspec.Struct):
    """What `verify --json` prints."""

    schema: str
    verified: bool
    checks: list[Check]
    id: Any = UNSET
    candidate: CandidateResult | UnsetType = UNSET
    warnings: list[str] = msgspec.field(default_factory=list)


def verify_result(
    problem: Problem,
    checks: Sequence[judgement.Check],
    judgements: Mapping[str, judgement.Judgement],
    *,
    verified: bool,
    counted: Sequence[str],
    id: Any = UNSET,
    warnings: Sequence[str] = (),
) -> VerifyResult:
    """What `verify --json` prints: `counted` are the outcomes that count as verified."""
    listed = [
        Check(
            name=check.name,
            passed=check.passed,
            advisory=True if check.advisory else UNSET,
            **_figures(check.comparison),
        )
        for check in checks
    ]
    for name, judged in judgements.items():
        figures = _figures(judged.comparison) | {"wrong_entries": int(judged.wrong.sum())}
        listed.append(Check(name=_shown(name), passed=judged.outcome in counted, **figures))
    compared = [(check.name, check.comparison) for check in checks]
    compared += [(_shown(name), judged.comparison) for name, judged in judgements.items()]
    unwritable = [
        null
        for name, comparison in compared
        for null in _unwritable_ulps(f"max_ulp_error of {name}", comparison)
    ]
    gradient = next((name for name in judgements if name != "loss"), None)
    if gradient is not None:
        judged = judgements[gradient]
        if not np.isfinite(judged.relative_bound):
            unwritable.append(("candidate.bound", f"it is {judged.relative_bound}"))
        worst = candidate_result(judged, problem, gradient).worst
        unwritable += [
            (f"candidate.worst.{field}", "it is not finite")
            for field in ("yours", "exact", "difference")
            if not np.isfinite(getattr(worst, field))
        ]
    return VerifyResult(
        schema="xegrad/verify/1",
        id=id,
        verified=verified,
        checks=listed,
        candidate=UNSET if gradient is None else candidate_result(judgements[gradient], problem, gradient),
        warnings=[*warnings, *(f"{path} is null: {reason}" for path, reason in unwritable)],
    )


def _shown(name: str) -> str:
    return name if name == "loss" else f"dL/d{SYMBOLS[name]}"


def candidate_result(judged: judgement.Judgement, problem: Problem, with_respect_to: str) -> CandidateResult:
    """A judgement as data.  `wrong_entries` counts those that nothing explains."""
    comparison = judged.comparison
    worst = int(comparison.worst_first[0])
    row, column = indices(worst, problem, with_respect_to)
    return CandidateResult(
        outcome=judged.outcome,
        max_ulp_error=_ulps(comparison),
        correct_digits=int(comparison.correct_digits.min()),
        bound=judged.relative_bound,
        worst=WorstEntry(
            yours=float(comparison.candidate.flat[worst]),
            exact=float(comparison.reference.flat[worst]),
            difference=float(comparison.difference.flat[worst]),
            input=UNSET if row is None else row,
            class_=UNSET if column is None else column,
            class_name=UNSET if column is None or problem.classes is None else problem.classes[column],
        ),
        pattern=judged.pattern,
        wrong_entries=int(judged.wrong.sum()),
    )


def indices(flat_index: int, problem: Problem, with_respect_to: str) -> tuple[int | None, int | None]:
    """The input and the class of an entry of a gradient, where it has them."""
    if with_respect_to == "weights":
        return divmod(flat_index, problem.n_classes)
    if with_respect_to == "inputs":
        return flat_index % problem.n_inputs, None
    return None, flat_index % problem.n_classes
