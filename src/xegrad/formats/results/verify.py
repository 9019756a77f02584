"""What `verify --json` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from xegrad.diagnosis import Diagnosis
from xegrad.formats.results import Entry, add_ulps, entry, figures, ulps
from xegrad.judgement import Judgement
from xegrad.problem import Problem
from xegrad.verification import Verification
from xegrad.vocabulary import SYMBOLS


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


class ExplanationResult(msgspec.Struct):
    """A mistake that makes exactly this candidate: the slips in the order in which they act, and their numbers.

    `explains` is how many entries are within its bound; `texts` are the parameters for people, such as 1/B.
    """

    slips: list[str]
    parameters: dict[str, float | str]
    texts: dict[str, str]
    explains: int
    happened: str
    wrong: str
    right: str
    remedy: str


class CandidateResult(msgspec.Struct):
    """A gradient from outside, judged.

    `diagnosis` is there where it is wrong or has lost its digits, and empty where no known mistake makes it;
    `blind_spots` where it is right: the slips that this problem could not have caught.
    """

    outcome: str
    max_ulp_error: int | None
    correct_digits: int
    bound: float | None
    worst: WorstEntry
    pattern: str
    wrong_entries: int
    diagnosis: list[ExplanationResult] | UnsetType = UNSET
    blind_spots: list[str] | UnsetType = UNSET


class StepsResult(msgspec.Struct):
    """The steps of the chain that were given: those before the first wrong one, that, the slips that make it, and of
    each later one whether it follows from it."""

    right: list[str]
    wrong: str | None
    slips: list[str]
    follows: dict[str, bool]
    right_later: list[str]  # those later ones that are right all the same


class VerifyResult(msgspec.Struct):
    """What `verify --json` prints.  `diagnosis` is that of a loss."""

    schema: str
    verified: bool
    checks: list[Check]
    id: Any | UnsetType = UNSET
    candidate: CandidateResult | UnsetType = UNSET
    diagnosis: list[ExplanationResult] | UnsetType = UNSET
    steps: StepsResult | UnsetType = UNSET
    warnings: list[str] = msgspec.field(default_factory=list)


def verify_result(found: Verification, *, id: Any = UNSET, warnings: Sequence[str] = ()) -> VerifyResult:
    """A verification as data.  What JSON cannot hold is null, and a warning names it."""
    listed = [
        Check(
            name=check.name,
            passed=check.passed,
            advisory=True if check.advisory else UNSET,
            **{name: values[0] for name, values in figures([check.comparison.summary()]).items()},
        )
        for check in found.checks
    ]
    nulls: list[tuple[int, str]] = []
    for name, judged in found.judgements.items():
        summary = judged.comparison.summary()
        own: dict[str, Any] = {figure: values[0] for figure, values in figures([summary]).items()}
        own["wrong_entries"] = int(judged.wrong.sum())
        listed.append(Check(name=_shown(name), passed=found.accepts(name), **own))
    compared = [(check.name, check.comparison) for check in found.checks]
    compared += [(_shown(name), judged.comparison) for name, judged in found.judgements.items()]
    for shown, comparison in compared:
        add_ulps(nulls, f"max_ulp_error of {shown}", [comparison.summary()])
    gradient = next((name for name in found.judgements if name != "loss"), None)
    candidate: Any = UNSET
    if gradient is not None:
        judged = found.judgements[gradient]
        candidate = candidate_result(judged, found.problem, gradient)
        if gradient in found.diagnoses:
            candidate.diagnosis = explanations(found.diagnoses[gradient])
        if found.blind_spots is not None:
            candidate.blind_spots = list(found.blind_spots)
        if not np.isfinite(judged.relative_bound):
            nulls.append((0, f"candidate.bound is null: it is {judged.relative_bound}"))
        nulls += [
            (0, f"candidate.worst.{field} is null: it is not finite")
            for field in ("yours", "exact", "difference")
            if not np.isfinite(getattr(candidate.worst, field))
        ]
    steps: Any = UNSET
    if found.steps is not None:
        steps = StepsResult(
            list(found.steps.right),
            found.steps.wrong,
            list(found.steps.slips),
            dict(found.steps.follows),
            list(found.steps.right_later),
        )
    return VerifyResult(
        schema="xegrad/verify/1",
        id=id,
        verified=found.verified,
        checks=listed,
        candidate=candidate,
        diagnosis=explanations(found.diagnoses["loss"]) if "loss" in found.diagnoses else UNSET,
        steps=steps,
        warnings=[*warnings, *(text for _, text in nulls)],
    )


def _shown(name: str) -> str:
    return name if name == "loss" else f"dL/d{SYMBOLS[name]}"


def explanations(diagnosis: Diagnosis) -> list[ExplanationResult]:
    """Every explanation of the best rank that fits."""
    return [
        ExplanationResult(
            slips=list(one.slips),
            parameters=dict(one.parameters),
            texts=dict(one.texts),
            explains=one.explains,
            happened=one.happened,
            wrong=one.wrong,
            right=one.right,
            remedy=one.remedy,
        )
        for one in diagnosis.explanations
    ]


def candidate_result(judged: Judgement, problem: Problem, with_respect_to: str) -> CandidateResult:
    """A judgement as data.  `wrong_entries` counts those that nothing explains."""
    comparison, summary = judged.comparison, judged.comparison.summary()
    worst = int(summary.worst[0])
    where = entry(problem, with_respect_to, worst)
    return CandidateResult(
        outcome=judged.outcome,
        max_ulp_error=ulps([summary], 1)[0],
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
