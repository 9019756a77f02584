"""What `compute --json` prints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from xegrad.comparison import Summary
from xegrad.computation import Computation
from xegrad.formats.results import (
    Entry,
    Gradients,
    Numbers,
    RowsOrNumbers,
    add_ulps,
    entries,
    entry,
    figures,
    ulps,
)
from xegrad.methods import METHODS
from xegrad.problem import Layout
from xegrad.vocabulary import SYMBOLS


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


class ComparisonResult(msgspec.Struct):
    """The chain against the shortcut, over all gradients that were computed."""

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
            _by_symbol(texts),
            repeat(computation.method),
            repeat(UNSET if problem.classes is None else list(problem.classes)),
            *columns.values(),
            _comparison_results(computation, between) if between else repeat(None),
            computation.verdicts,
            notes,
        )
    )


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


def _by_symbol(texts: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """The gradients of each problem."""
    if len(texts) == 1:
        ((symbol, alone),) = texts.items()
        return [{symbol: text} for text in alone]
    return [dict(zip(texts, row, strict=True)) for row in zip(*texts.values(), strict=True)]


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
    measured: list[Iterable[Any]] = [repeat(UNSET)] * 3
    if from_exact is not None:
        measured = [*figures(from_exact).values()]
    certified: Any = repeat(UNSET)
    if evaluation.certified is not None:
        flags = [
            np.reshape(evaluation.certified[name], (n_problems, -1))
            for name in ("loss", *evaluation.gradients)
        ]
        certified = np.concatenate(flags, axis=1).all(axis=1).tolist()
    several: Iterable[Any] = repeat(UNSET)
    if list(texts) != ["W"]:
        several = _by_symbol(texts)
    return map(
        EvaluationResult,
        _listed(evaluation.loss, n_problems),
        texts.get("W", repeat(UNSET)),
        several,
        losses,
        *measured,
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
    places: Iterable[Entry] = entries(problem, names[0], worst)
    if len(names) > 1:
        pairs = zip(which.tolist(), worst.tolist(), strict=True)
        places = [entry(problem, names[k], index) for k, index in pairs]
    return map(
        ComparisonResult,
        _listed(agree.all(axis=0), computation.n_problems),
        differences.max(axis=0).tolist(),
        ulps(summaries, computation.n_problems),
        np.sum([summary.unresolved for summary in summaries], axis=0).tolist(),
        np.sum([summary.opposite_signs for summary in summaries], axis=0).tolist(),
        places,
    )


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
        add_ulps(found, "comparison.max_ulp_difference", between)
    for name, summaries in from_exact.items():
        add_ulps(found, f"{_key(name)}.max_ulp_error", summaries)
    return found


def _add_nonfinite(found: list[tuple[int, str]], path: str, values: Any, n_problems: int) -> None:
    values = np.reshape(values, (n_problems, -1))
    broken = (~np.isfinite(values)).sum(axis=1)
    for k in np.flatnonzero(broken).tolist():
        what = f"it is {float(values[k, 0])}"
        if values.shape[1] > 1:
            what = f"{broken[k]} of {values.shape[1]} entries are not finite"
        found.append((k, f"{path} is null: {what}"))
