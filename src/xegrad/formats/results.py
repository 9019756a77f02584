"""What the commands print as JSON: the types, and how values become them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from xegrad import judgement
from xegrad.comparison import Summary
from xegrad.computation import Computation
from xegrad.methods import METHODS
from xegrad.problem import Layout, Problem
from xegrad.vocabulary import AXES, SYMBOLS

if TYPE_CHECKING:
    from xegrad.descent import Descent
    from xegrad.explanation import Explanation

Numbers = list[float | None]  # null stands for what is not finite
RowsOrNumbers = list[float | Numbers | None]
Gradients = dict[str, RowsOrNumbers]  # by the symbols W, b, x and logits

LARGEST_INTEGER = 2**53  # beyond it, readers of JSON that know only float64 lose integers


class EvaluationResult(msgspec.Struct):
    """What one method computed: the loss, dL/dW in W's layout as `gradient`; all of them, where there are more.

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
        ("id", Any | UnsetType),
        ("loss", float | None),
        ("losses", Numbers | UnsetType),
        ("probabilities", RowsOrNumbers),
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
) -> list[msgspec.Struct]:
    """What `compute --json` prints, of each problem of a stack; ids and warnings are one for each.

    What JSON cannot hold is null, and a warning names it.  It goes column by column, so that the loops over
    problems are those of the interpreter.
    """
    n_problems, problem = computation.n_problems, computation.problem
    between = [against.summary(n_problems) for against in computation.comparisons.values()]
    from_exact = {
        method: [against.summary(n_problems) for against in by.values()]
        for method, by in computation.from_exact.items()
    }
    columns: dict[str, Iterable[Any]] = {_key(name): repeat(UNSET) for name in METHODS}
    for name in computation.evaluations:
        texts = _gradient_texts(computation, name, layout)
        columns[_key(name)] = _evaluation_results(computation, name, texts, from_exact.get(name))
    reported = list(columns[_key(computation.method)])
    columns[_key(computation.method)] = reported
    probabilities = computation.forward.probabilities.reshape(n_problems, problem.n_rows, problem.n_classes)
    notes: list[list[str]] = list(map(list, warnings))
    for k, text in _unwritable(computation, between, from_exact):
        notes[k].append(text)
    return list(
        map(
            ComputeResult,
            repeat("xegrad/compute/1"),
            ids,
            [evaluated.loss for evaluated in reported],
            [evaluated.losses for evaluated in reported],
            (probabilities if layout.is_batch else probabilities[:, 0]).tolist(),
            texts.get("W", repeat(UNSET)),
            [dict(zip(texts, row, strict=True)) for row in zip(*texts.values(), strict=True)],
            repeat(computation.method),
            repeat(UNSET if problem.classes is None else list(problem.classes)),
            *columns.values(),
            _comparison_results(computation, between) if between else repeat(None),
            computation.verdicts,
            notes,
        )
    )


def encode(*results: msgspec.Struct) -> bytes:
    """A line of JSON for each; numbers are the shortest text that reads back to the same float64."""
    return _encoder.encode_lines(results)


_encoder = msgspec.json.Encoder()


def _gradient_texts(computation: Computation, method: str, layout: Layout) -> dict[str, list[Any]]:
    """The gradients by symbol, each problem's as JSON: it becomes text once, and stands in several places."""
    stacked = computation.problem.weights.ndim > 2
    texts = {}
    for name, gradient in computation.evaluations[method].gradients.items():
        shaped = layout.of(name, gradient) + 0.0  # an exact zero has no sign to tell
        texts[SYMBOLS[name]] = list(
            map(msgspec.Raw, map(msgspec.json.encode, (shaped if stacked else shaped[None]).tolist()))
        )
    return texts


def _evaluation_results(
    computation: Computation,
    method: str,
    texts: Mapping[str, Sequence[Any]],
    from_exact: Sequence[Summary] | None,
) -> Iterable[EvaluationResult]:
    """What a method computed of each problem."""
    evaluation, n_problems = computation.evaluations[method], computation.n_problems
    losses: Iterable[Any] = repeat(UNSET)
    if computation.problem.targets.reduction == "none":
        losses = evaluation.losses.reshape(n_problems, -1).tolist()
    figures: list[Iterable[Any]] = (
        [repeat(UNSET)] * 3 if from_exact is None else [*_figures(from_exact).values()]
    )
    certified: Any = repeat(UNSET)
    if evaluation.certified is not None:
        flags = [
            np.reshape(evaluation.certified[name], (n_problems, -1))
            for name in ("loss", *evaluation.gradients)
        ]
        certified = np.concatenate(flags, axis=1).all(axis=1).tolist()
    several: Iterable[Any] = repeat(UNSET)
    if list(texts) != ["W"]:
        several = [dict(zip(texts, row, strict=True)) for row in zip(*texts.values(), strict=True)]
    return map(
        EvaluationResult,
        _listed(evaluation.loss, n_problems),
        texts.get("W", repeat(UNSET)),
        several,
        losses,
        *figures,
        certified,
    )


def _listed(values: Any, n_problems: int) -> list[Any]:
    listed: list[Any] = np.reshape(values, n_problems).tolist()
    return listed


def _comparison_results(computation: Computation, summaries: Sequence[Summary]) -> Iterable[ComparisonResult]:
    """The chain against the shortcut of each problem: the figures of all gradients together."""
    problem, names = computation.problem, [*computation.comparisons]
    agree = np.array([summary.agrees for summary in summaries])
    differences = np.array([summary.max_difference for summary in summaries])
    # The worst entry is of the gradient that disagrees, or else of the first; of several, that which differs most.
    which = np.where(agree, -1, np.nan_to_num(differences, nan=np.inf)).argmax(axis=0)
    worst = np.choose(which, [summary.worst for summary in summaries])
    if len(names) == 1:
        entries = _entries(problem, names[0], worst)
    else:
        entries = [
            entry(problem, names[k], index) for k, index in zip(which.tolist(), worst.tolist(), strict=True)
        ]
    return map(
        ComparisonResult,
        _listed(agree.all(axis=0), computation.n_problems),
        differences.max(axis=0).tolist(),
        _ulps(summaries, computation.n_problems),
        np.sum([summary.lost for summary in summaries], axis=0).tolist(),
        np.sum([summary.opposite_signs for summary in summaries], axis=0).tolist(),
        entries,
    )


def entry(problem: Problem, name: str, flat_index: int) -> Entry:
    """An entry of a gradient by its flat index."""
    (found,) = _entries(problem, name, np.array([flat_index]))
    return found


def _entries(problem: Problem, name: str, flat_indices: NDArray[np.intp]) -> Iterable[Entry]:
    """The entries of one gradient, one for each problem of a stack."""
    places: dict[str, Iterable[Any]] = {"row": repeat(UNSET), "input": repeat(UNSET), "class": repeat(UNSET)}
    places |= {
        axis: index.tolist()
        for axis, index in zip(AXES[name], problem.place(name, flat_indices), strict=True)
    }
    class_names: Iterable[Any] = repeat(UNSET)
    if problem.classes is not None and "class" in AXES[name]:
        class_names = [problem.classes[index] for index in places["class"]]
    return map(Entry, repeat(SYMBOLS[name], len(flat_indices)), *places.values(), class_names)


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
        broken = np.flatnonzero(~np.isfinite(differences)).tolist()
        found += [(k, "comparison.max_abs_difference is null: it is not finite") for k in broken]
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
    known = [ulps for summary in summaries if (ulps := summary.max_ulps) is not None]
    if len(known) < len(summaries):
        found.append((0, f"{path} is null: it is not a number"))
        return
    largest = np.max(known, axis=0)
    beyond = np.flatnonzero(largest > LARGEST_INTEGER).tolist()
    found += [(k, f"{path} is null: {largest[k]} is above 2**53") for k in beyond]


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


STEP_ARRAYS = (
    "logits",
    "probabilities",
    "loss",
    "cross_entropy_jacobian",
    "softmax_jacobian",
    "weighted_sum_jacobian",
    "layer_jacobian",
    "flat_gradient",
    "gradient",
    "scrambled_gradient",
)

ExplainResult = msgspec.defstruct(
    "ExplainResult",
    [
        ("schema", str),
        ("id", Any | UnsetType),
        ("row", int | UnsetType),
        *((name, float | RowsOrNumbers | UnsetType | None) for name in STEP_ARRAYS),
        ("warnings", list[str]),
    ],
    namespace={
        "__doc__": "What `explain --json` prints: every factor of one row's chain, null where too large."
    },
)


def explain_result(
    explanation: Explanation,
    layout: Layout,
    *,
    hidden: Sequence[str] = (),
    id: Any = UNSET,
    warnings: Sequence[str] = (),
) -> msgspec.Struct:
    """Every array by its name, but those of hidden steps; null where one is too large, or a number is not finite."""
    arrays: dict[str, Any] = {}
    notes = list(warnings)
    for name, array in explanation.arrays.items():
        if name in hidden:
            arrays[name] = UNSET
        elif array is None:
            size = " x ".join(map(str, explanation[name].shape))
            notes.append(f"{name} is null: {size} numbers are too many")
            arrays[name] = None
        else:
            if not np.isfinite(array).all():
                broken = int((~np.isfinite(array)).sum())
                notes.append(f"{name} holds null: {broken} of {array.size} are not finite")
            turned = array.T if layout.transpose and name in ("gradient", "scrambled_gradient") else array
            arrays[name] = (turned + 0.0).tolist()
    row = explanation.row if explanation.problem.n_rows > 1 else UNSET
    return ExplainResult(schema="xegrad/explain/1", id=id, row=row, warnings=notes, **arrays)


class DescendResult(msgspec.Struct):
    """What `descend --json` prints."""

    schema: str
    id: Any | UnsetType
    loss_before: float
    loss_after: float
    losses: list[float]
    steps: int
    converged: bool
    W: list[list[float]]
    b: list[float] | None
    gradient_norm: float | None
    interrupted: bool
    diverged_at: int | None
    right_before: float | None  # the share of the labelled rows whose likeliest class is the label
    right_after: float | None
    warnings: list[str]


def descend_result(
    descent: Descent, layout: Layout, *, id: Any = UNSET, warnings: Sequence[str] = ()
) -> DescendResult:
    """A descent as data; W in its own layout."""
    from xegrad.descent import share_right

    end, norm = descent.end, descent.gradient_norm
    notes = [] if np.isfinite(norm) else ["gradient_norm is null: it is not finite"]
    if descent.diverged_at is not None:
        notes.append(
            f"step {descent.diverged_at} was not taken: the loss would grow past the start, or overflow"
        )
    return DescendResult(
        schema="xegrad/descend/1",
        id=id,
        loss_before=descent.losses[0],
        loss_after=descent.losses[-1],
        losses=list(descent.losses),
        steps=descent.steps,
        converged=descent.converged,
        W=layout.of("weights", end.weights).tolist(),
        b=None if end.bias is None else end.bias.tolist(),
        gradient_norm=norm if np.isfinite(norm) else None,
        interrupted=descent.interrupted,
        diverged_at=descent.diverged_at,
        right_before=share_right(descent.start),
        right_after=share_right(end),
        warnings=[*warnings, *notes],
    )
