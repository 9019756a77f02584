"""What the commands print as JSON: the types, and how values become them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from xegrad import judgement
from xegrad.comparison import Summary
from xegrad.computation import Computation
from xegrad.methods import METHODS
from xegrad.problem import Layout, Problem
from xegrad.vocabulary import AXES, SYMBOLS
from xegrad.targets import Array

Numbers = list[float | None]  # null stands for what is not finite
Gradients = dict[str, list[Any]]  # by the symbols W, b, x and logits

LARGEST_INTEGER = 2**53  # beyond it, readers of JSON that know only float64 lose integers


class EvaluationResult(msgspec.Struct):
    """What one method computed: the loss, dL/dW in W's layout as `gradient`, and all gradients by name.

    `losses` are those of the rows, under the reduction "none".  Against the exact values, where these were
    computed: the ulps and the correct digits of the worst entry, and how many entries are not finite or have
    no digit.  `certified` is said of the exact ones.
    """

    loss: float | None
    gradient: list[Numbers] | UnsetType = UNSET
    gradients: Gradients | UnsetType = UNSET
    losses: Numbers | UnsetType = UNSET
    max_ulp_error: int | UnsetType | None = UNSET
    correct_digits: int | UnsetType = UNSET
    wrong_entries: int | UnsetType = UNSET
    certified: bool | UnsetType = UNSET


class Entry(msgspec.Struct):
    """One entry of a gradient, by zero-based indices; which there are depends on the gradient."""

    of: str
    row: int | UnsetType = UNSET
    input: int | UnsetType = UNSET
    class_: int | UnsetType = msgspec.field(name="class", default=UNSET)
    class_name: str | UnsetType = UNSET


class ComparisonResult(msgspec.Struct):
    """The chain against the shortcut, over all gradients that were computed."""

    agree: bool
    max_abs_difference: float | None
    max_ulp_difference: int | None
    lost_entries: int
    opposite_signs: int
    worst: Entry


class ErrorResult(msgspec.Struct):
    """What stands in the place of a line of a stream that is no problem."""

    line: int
    error: str
    id: Any = UNSET


def _key(method: str) -> str:
    return method.replace("-", "_")


ComputeResult = msgspec.defstruct(
    "ComputeResult",
    [
        ("schema", str),
        ("id", Any),
        ("loss", float | None),
        ("losses", Numbers | UnsetType),
        ("probabilities", Numbers | list[Numbers]),
        ("gradient", list[Numbers] | UnsetType),
        ("gradients", Gradients),
        ("method", str),
        ("classes", list[str] | UnsetType),
        *((_key(name), EvaluationResult | UnsetType, UNSET) for name in METHODS),
        ("comparison", ComparisonResult | None, None),
        ("verdict", str, "undecided"),
        ("warnings", list[str], msgspec.field(default_factory=list)),
    ],
    namespace={"__doc__": "What `compute --json` prints."},
)


def compute_results(
    computation: Computation,
    layout: Layout,
    *,
    ids: Sequence[Any] = (UNSET,),
    warnings: Sequence[Sequence[str]] = ((),),
) -> Iterator[msgspec.Struct]:
    """What `compute --json` prints, of each problem of a stack; ids and warnings are one for each.

    What JSON cannot hold is null, and a warning names it.
    """
    n_problems, problem = computation.n_problems, computation.problem
    between = [against.summary(n_problems) for against in computation.comparisons.values()]
    from_exact = {
        method: [against.summary(n_problems) for against in by.values()]
        for method, by in computation.from_exact.items()
    }
    methods = [_evaluation_results(computation, name, layout, from_exact) for name in computation.evaluations]
    keys = [_key(name) for name in computation.evaluations]
    comparisons: Iterable[Any] = _comparison_results(computation, between) if between else [None] * n_problems
    probabilities = computation.forward.probabilities.reshape(n_problems, problem.n_rows, problem.n_classes)
    shown = (probabilities if layout.is_batch else probabilities[:, 0]).tolist()
    classes = UNSET if problem.classes is None else list(problem.classes)
    nulls = _unwritable(computation, between, from_exact)
    for k, (evaluations, comparison, verdict) in enumerate(
        zip(zip(*methods, strict=True), comparisons, computation.verdicts, strict=True)
    ):
        reported = evaluations[-1]
        yield ComputeResult(
            schema="xegrad/compute/1",
            id=ids[k],
            loss=reported.loss,
            losses=reported.losses,
            probabilities=shown[k],
            gradient=reported.gradient,
            gradients=reported.gradients,
            method=computation.method,
            classes=classes,
            comparison=comparison,
            verdict=verdict,
            warnings=[*warnings[k], *(text for index, text in nulls if index == k)],
            **dict(zip(keys, evaluations, strict=True)),
        )


def encode(result: msgspec.Struct) -> bytes:
    """One line of JSON; numbers are the shortest text that reads back to the same float64."""
    return msgspec.json.encode(result) + b"\n"


def _evaluation_results(
    computation: Computation, method: str, layout: Layout, from_exact: Mapping[str, Sequence[Summary]]
) -> Iterator[EvaluationResult]:
    """What a method computed of each problem."""
    evaluation, n_problems = computation.evaluations[method], computation.n_problems
    losses = np.reshape(evaluation.loss, n_problems).tolist()
    rows: Any = None
    if computation.problem.targets.reduction == "none":
        rows = evaluation.losses.reshape(n_problems, -1).tolist()
    gradients = {}
    for name, gradient in evaluation.gradients.items():
        shaped = layout.of(name, gradient) + 0.0  # an exact zero has no sign to tell
        n_axes = gradient.ndim - (computation.problem.weights.ndim - 2)
        n_axes -= name in ("inputs", "logits") and not layout.is_batch
        gradients[SYMBOLS[name]] = shaped.reshape(n_problems, *shaped.shape[shaped.ndim - n_axes :]).tolist()
    figures = _figures(from_exact[method]) if method in from_exact else None
    certified: Any = UNSET
    if evaluation.certified is not None:
        flags = [np.reshape(evaluation.certified[name], (n_problems, -1)) for name in ("loss", *evaluation.gradients)]
        certified = np.concatenate(flags, axis=1).all(axis=1).tolist()
    symbols, encode_numbers = [*gradients], msgspec.json.encode
    for k in range(n_problems):
        # Each gradient becomes text once, and stands in several places.
        texts: Any = {symbol: msgspec.Raw(encode_numbers(gradients[symbol][k])) for symbol in symbols}
        yield EvaluationResult(
            loss=losses[k],
            gradient=texts.get("W", UNSET),
            gradients=texts,
            losses=UNSET if rows is None else rows[k],
            certified=certified if certified is UNSET else certified[k],
            **({} if figures is None else {name: values[k] for name, values in figures.items()}),
        )


def _comparison_results(
    computation: Computation, summaries: Sequence[Summary]
) -> Iterator[ComparisonResult]:
    """The chain against the shortcut of each problem: the figures of all gradients together."""
    n_problems, names = computation.n_problems, [*computation.comparisons]
    agree = np.all([summary.agrees for summary in summaries], axis=0).tolist()
    differences = np.max([summary.max_difference for summary in summaries], axis=0)
    lost = np.sum([summary.lost for summary in summaries], axis=0).tolist()
    opposite = np.sum([summary.opposite_signs for summary in summaries], axis=0).tolist()
    ulps = _ulps(summaries, n_problems)
    # The gradient that disagrees, or else the first; of several, that which differs most.
    rank = [np.where(summary.agrees, -1, np.nan_to_num(summary.max_difference, nan=np.inf)) for summary in summaries]
    which = np.argmax(rank, axis=0).tolist()
    places = [summary.worst.tolist() for summary in summaries]
    largest = differences.tolist()
    for k in range(n_problems):
        yield ComparisonResult(
            agree=agree[k],
            max_abs_difference=largest[k],
            max_ulp_difference=ulps[k],
            lost_entries=lost[k],
            opposite_signs=opposite[k],
            worst=entry(computation.problem, names[which[k]], places[which[k]][k]),
        )


def entry(problem: Problem, name: str, flat_index: int) -> Entry:
    """An entry of a gradient by its flat index."""
    indices = dict(zip(AXES[name], problem.place(name, flat_index), strict=True))
    column = indices.get("class", UNSET)
    return Entry(
        of=SYMBOLS[name],
        row=indices.get("row", UNSET),
        input=indices.get("input", UNSET),
        class_=column,
        class_name=UNSET if column is UNSET or problem.classes is None else problem.classes[column],
    )


def _ulps(summaries: Sequence[Summary], n_problems: int) -> list[int | None]:
    """The largest of several, and None where any is no number or beyond what JSON can hold."""
    found = [summary.max_ulps for summary in summaries]
    known = [ulps for ulps in found if ulps is not None]
    if len(known) < len(found):
        return [None] * n_problems
    largest = np.max(known, axis=0)
    if (largest <= LARGEST_INTEGER).all():
        return largest.tolist()  # type: ignore[no-any-return]
    return [ulps if ulps <= LARGEST_INTEGER else None for ulps in largest.tolist()]


def _figures(summaries: Sequence[Summary]) -> dict[str, list[Any]]:
    """Of several gradients together, one for each problem."""
    n_problems = len(summaries[0].agrees)
    return {
        "max_ulp_error": _ulps(summaries, n_problems),
        "correct_digits": np.min([summary.correct_digits for summary in summaries], axis=0).tolist(),
        "wrong_entries": np.sum([summary.digits_lost for summary in summaries], axis=0).tolist(),
    }


def _unwritable(
    computation: Computation, between: Sequence[Summary], from_exact: Mapping[str, Sequence[Summary]]
) -> list[tuple[int, str]]:
    """Of every null the problem, and its path with the reason."""
    n_problems, method = computation.n_problems, computation.method
    found: list[tuple[int, str]] = []
    _add_nonfinite(found, "probabilities", computation.forward.probabilities, n_problems)
    for name, evaluation in computation.evaluations.items():
        for prefix in ("", f"{_key(name)}.") if name == method else (f"{_key(name)}.",):
            _add_nonfinite(found, f"{prefix}loss", evaluation.loss, n_problems)
            for of, gradient in evaluation.gradients.items():
                path = "gradient" if of == "weights" else f"gradients.{SYMBOLS[of]}"
                _add_nonfinite(found, f"{prefix}{path}", gradient, n_problems)
    if between:
        differences = np.max([summary.max_difference for summary in between], axis=0)
        for k in np.flatnonzero(~np.isfinite(differences)).tolist():
            found.append((k, "comparison.max_abs_difference is null: it is not finite"))
        _add_ulps(found, "comparison.max_ulp_difference", between)
    for name, summaries in from_exact.items():
        _add_ulps(found, f"{_key(name)}.max_ulp_error", summaries)
    return found


def _add_nonfinite(found: list[tuple[int, str]], path: str, values: Any, n_problems: int) -> None:
    values = np.reshape(values, (n_problems, -1))
    broken = (~np.isfinite(values)).sum(axis=1)
    for k in np.flatnonzero(broken).tolist():
        what = f"it is {float(values[k, 0])}"
        if values.shape[1] > 1:
            what = f"{broken[k]} of {values.shape[1]} entries are not finite"
        found.append((k, f"{path} is null: {what}"))


def _add_ulps(found: list[tuple[int, str]], path: str, summaries: Sequence[Summary]) -> None:
    if any(summary.max_ulps is None for summary in summaries):
        found.append((0, f"{path} is null: it is not a number"))
        return
    largest = np.max([summary.max_ulps for summary in summaries], axis=0)
    for k in np.flatnonzero(largest > LARGEST_INTEGER).tolist():
        found.append((k, f"{path} is null: {largest[k]} is above 2**53"))


class Check(msgspec.Struct):
    """One check of `verify`, with what it was measured by."""

    name: str
    passed: bool
    max_ulp_error: int | UnsetType | None = UNSET
    correct_digits: int | UnsetType = UNSET
    wrong_entries: int | UnsetType = UNSET
    advisory: bool | UnsetType = UNSET


class WorstEntry(Entry, kw_only=True):
    """The worst entry of a candidate."""

    yours: float | None
    exact: float | None
    difference: float | None


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
    compared = [(check.name, check.comparison.summary()) for check in checks]
    compared += [(_shown(name), judged.comparison.summary()) for name, judged in judgements.items()]
    figures = [{name: values[0] for name, values in _figures([summary]).items()} for _, summary in compared]
    listed = [
        Check(name=check.name, passed=check.passed, advisory=True if check.advisory else UNSET, **found)
        for check, found in zip(checks, figures, strict=False)
    ]
    for (name, judged), found in zip(judgements.items(), figures[len(checks) :], strict=True):
        found["wrong_entries"] = int(judged.wrong.sum())
        listed.append(Check(name=_shown(name), passed=judged.outcome in counted, **found))
    nulls: list[tuple[int, str]] = []
    for name, summary in compared:
        _add_ulps(nulls, f"max_ulp_error of {name}", [summary])
    gradient = next((name for name in judgements if name != "loss"), None)
    if gradient is not None:
        judged = judgements[gradient]
        if not np.isfinite(judged.relative_bound):
            nulls.append((0, f"candidate.bound is null: it is {judged.relative_bound}"))
        worst = candidate_result(judged, problem, gradient).worst
        nulls += [
            (0, f"candidate.worst.{field} is null: it is not finite")
            for field in ("yours", "exact", "difference")
            if not np.isfinite(getattr(worst, field))
        ]
    return VerifyResult(
        schema="xegrad/verify/1",
        id=id,
        verified=verified,
        checks=listed,
        candidate=UNSET if gradient is None else candidate_result(judgements[gradient], problem, gradient),
        warnings=[*warnings, *(text for _, text in nulls)],
    )


def _shown(name: str) -> str:
    return name if name == "loss" else f"dL/d{SYMBOLS[name]}"


def candidate_result(judged: judgement.Judgement, problem: Problem, with_respect_to: str) -> CandidateResult:
    """A judgement as data.  `wrong_entries` counts those that nothing explains."""
    comparison, summary = judged.comparison, judged.comparison.summary()
    worst = int(summary.worst[0])
    where = entry(problem, with_respect_to, worst)
    return CandidateResult(
        outcome=judged.outcome,
        max_ulp_error=_ulps([summary], 1)[0],
        correct_digits=int(summary.correct_digits[0]),
        bound=judged.relative_bound,
        worst=WorstEntry(
            **msgspec.structs.asdict(where),
            yours=float(comparison.candidate.flat[worst]),
            exact=float(comparison.reference.flat[worst]),
            difference=float(comparison.difference.flat[worst]),
        ),
        pattern=judged.pattern,
        wrong_entries=int(judged.wrong.sum()),
    )
