"""What the commands print as JSON, with the fields that `types` declares.

See docs/json.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from msgspec import UNSET

from xegrad.formats.results import types
from xegrad.formats.results.tree import Tree, nulls, objects
from xegrad.formats.results.tree import encode as encode
from xegrad.formats.results.types import key
from xegrad.vocabulary import AXES, SYMBOLS

if TYPE_CHECKING:
    from xegrad.comparison import Summary
    from xegrad.computation import Computation
    from xegrad.descent import Descent
    from xegrad.explanation import Explanation
    from xegrad.problem import Layout, Problem
    from xegrad.slips import Slip
    from xegrad.verification import Verification


def _result(declared: Any, source: object = None, **values: Any) -> Tree:
    """The fields of a declared type, in its order: values, else attributes of the source; none that is UNSET."""
    fields = {
        name: values[name] if name in values else getattr(source, name, UNSET)
        for name in declared.__struct_fields__
    }
    return {name: value for name, value in fields.items() if value is not UNSET}


def _entry(problem: Problem, name: str, flat_index: Any) -> Tree:
    """An entry of a gradient by its flat index, or one for each problem."""
    indices = dict(zip(AXES[name], problem.place(name, flat_index), strict=True))
    if problem.classes is not None and "class" in indices:
        indices["class_name"] = np.take(problem.classes, indices["class"]).tolist()
    return {"of": SYMBOLS[name], **indices}


def _max_ulps(summaries: Sequence[Summary]) -> Any:
    """(K,) the largest over several gradients; None where any of them has a NaN."""
    ulps: list[Any] = [summary.max_ulps for summary in summaries]
    if any(of_one is None for of_one in ulps):
        return np.full(summaries[0].n_problems, None)
    return np.max(ulps, axis=0)


def _accuracy(summaries: Sequence[Summary]) -> Tree:
    """How far several gradients together are from the exact ones."""
    return {
        "max_ulp_error": _max_ulps(summaries),
        "correct_digits": np.min([summary.correct_digits for summary in summaries], axis=0),
        "wrong_entries": np.sum([summary.no_correct_digit for summary in summaries], axis=0),
    }


def compute_results(
    computation: Computation,
    layout: Layout,
    *,
    ids: Sequence[Any] = (UNSET,),
    warnings: Sequence[Sequence[str]] = ((),),
) -> list[msgspec.Raw]:
    """What `compute --json` prints, of each problem of a stack; ids and warnings are one for each."""
    n_problems, problem = computation.n_problems, computation.problem
    probabilities = computation.forward.probabilities.reshape(n_problems, problem.n_rows, problem.n_classes)
    values = {key(name): _values(computation, name, layout) for name in computation.evaluations}
    accuracy = {
        key(name): _accuracy([compared.summary(n_problems) for compared in from_exact.values()])
        for name, from_exact in computation.from_exact.items()
    }
    if "exact" in values:
        accuracy["exact"] = {"certified": _certified(computation)}
    comparison = _comparison(computation) if computation.comparisons else None
    *others, last = values
    reported = values[last]
    notes = [list(of_one) for of_one in warnings]
    for part in (
        {"probabilities": probabilities, **{name: values[name] for name in others}},
        reported,
        {last: reported},
        {"comparison": comparison},
        accuracy,
    ):
        for k, sentence in nulls(part):
            notes[k].append(sentence)
    # dL/dW alone needs no second name.
    hidden = {"gradients": UNSET} if computation.names == ["weights"] else {}
    evaluations = {
        name: _result(types.EvaluationResult, **of_one | hidden | accuracy.get(name, {}))
        for name, of_one in values.items()
    }
    tree = _result(
        types.ComputeResult,
        schema="xegrad/compute/1",
        id=list(ids),
        **reported,
        probabilities=probabilities if layout.is_batch else probabilities[:, 0],
        method=computation.method,
        classes=UNSET if problem.classes is None else problem.classes,
        **evaluations,
        comparison=comparison,
        verdict=computation.verdicts,
        warnings=notes,
    )
    return objects(tree, n_problems)


def _values(computation: Computation, method: str, layout: Layout) -> Tree:
    """The loss and the gradients by one method, in the layout of the problem."""
    evaluation, n_problems = computation.evaluations[method], computation.n_problems
    stacked = computation.problem.weights.ndim > 2
    gradients = {}
    for name, gradient in evaluation.gradients.items():
        shown = layout.of(name, gradient) + 0.0  # an exact zero has no sign to tell
        gradients[SYMBOLS[name]] = shown if stacked else shown[None]
    values: Tree = {"loss": np.reshape(evaluation.loss, n_problems)}
    if "W" in gradients:
        values["gradient"] = gradients["W"]
    values["gradients"] = gradients
    if computation.problem.targets.reduction == "none":
        # As a list: the warning that names their sum is enough.
        values["losses"] = evaluation.losses.reshape(n_problems, -1).tolist()
    return values


def _certified(computation: Computation) -> Any:
    """(K,) whether every exact value is."""
    exact = computation.evaluations["exact"]
    certified: Any = exact.certified
    flags = [np.reshape(certified[name], (computation.n_problems, -1)) for name in ("loss", *exact.gradients)]
    return np.concatenate(flags, axis=1).all(axis=1)


def _comparison(computation: Computation) -> Tree:
    """The chain against the shortcut: the figures of all gradients together."""
    names = [*computation.comparisons]
    summaries = [compared.summary(computation.n_problems) for compared in computation.comparisons.values()]
    agree = np.array([summary.agrees for summary in summaries])
    differences = np.array([summary.max_difference for summary in summaries])
    # The worst entry is of the gradient that disagrees, or else of the first; of several, that which differs most.
    which = np.where(agree, -1, np.nan_to_num(differences, nan=np.inf)).argmax(axis=0)
    worst = np.choose(which, [summary.worst for summary in summaries])
    problem = computation.problem
    places: Any = _entry(problem, names[0], worst)
    if len(names) > 1:
        pairs = zip(which.tolist(), worst.tolist(), strict=True)
        places = [_entry(problem, names[of], index) for of, index in pairs]
    return {
        "agree": agree.all(axis=0),
        "max_abs_difference": differences.max(axis=0),
        "max_ulp_difference": _max_ulps(summaries),
        "lost_entries": np.sum([summary.unresolved for summary in summaries], axis=0),
        "opposite_signs": np.sum([summary.opposite_signs for summary in summaries], axis=0),
        "worst": places,
    }


def verify_result(verification: Verification, *, id: Any = UNSET, warnings: Sequence[str] = ()) -> Tree:
    """What `verify --json` prints."""
    checks = [
        _result(
            types.Check,
            check,
            **_accuracy([check.comparison.summary()]),
            advisory=True if check.advisory else UNSET,
        )
        for check in verification.checks
    ]
    candidate: Tree = {}
    for name, judged in verification.judgements.items():
        accuracy = _accuracy([judged.comparison.summary()]) | {"wrong_entries": int(judged.wrong.sum())}
        shown = name if name == "loss" else f"dL/d{SYMBOLS[name]}"
        checks.append(_result(types.Check, name=shown, passed=verification.accepts(name), **accuracy))
        if name != "loss" and not candidate:
            candidate = _candidate(verification, name, accuracy)
    ulps = {f"max_ulp_error of {check['name']}": check["max_ulp_error"] for check in checks}
    reasons = [sentence for _, sentence in nulls({**ulps, "candidate": candidate})]
    return _result(
        types.VerifyResult,
        schema="xegrad/verify/1",
        verified=verification.verified,
        checks=[objects(check, 1)[0] for check in checks],
        id=id,
        candidate=objects(candidate, 1)[0] if candidate else UNSET,
        diagnosis=_explanations(verification, "loss"),
        steps=UNSET if verification.steps is None else _result(types.StepsResult, verification.steps),
        warnings=[*warnings, *reasons],
    )


def _candidate(verification: Verification, name: str, accuracy: Tree) -> Tree:
    """A gradient from outside, judged; `wrong_entries` counts those that nothing explains."""
    judged = verification.judgements[name]
    comparison = judged.comparison
    worst = comparison.summary().worst
    explanations, blind_spots = _explanations(verification, name), verification.blind_spots.get(name)
    return _result(
        types.CandidateResult,
        judged,
        **accuracy,
        bound=np.array([judged.relative_bound]),
        worst={
            **_entry(verification.problem, name, worst),
            "yours": comparison.candidate.flat[worst],
            "exact": comparison.reference.flat[worst],
            "difference": comparison.difference.flat[worst],
        },
        diagnosis=UNSET if explanations is UNSET else [explanations],
        blind_spots=UNSET if blind_spots is None else [blind_spots],
    )


def _explanations(verification: Verification, name: str) -> Any:
    """Every explanation of the best rank that fits a candidate, if any was looked for."""
    if name not in verification.diagnoses:
        return UNSET
    return [
        _result(types.ExplanationResult, explanation)
        for explanation in verification.diagnoses[name].explanations
    ]


def explain_result(
    explanation: Explanation, layout: Layout, *, id: Any = UNSET, warnings: Sequence[str] = ()
) -> Tree:
    """What `explain --json` prints: every array by its name."""
    arrays: Tree = {}
    notes = list(warnings)
    for name, array in explanation.arrays.items():
        if array is None:
            size = " x ".join(map(str, explanation[name].shape))
            notes.append(f"{name} is null: {size} numbers are too many")
            arrays[name] = None
            continue
        if not np.isfinite(array).all():
            broken = np.count_nonzero(~np.isfinite(array))
            notes.append(f"{name} holds null: {broken} of {array.size} are not finite")
        shown = layout.of("weights", array) if name in ("gradient", "scrambled_gradient") else array
        arrays[name] = (shown + 0.0).tolist()
    row = explanation.row if explanation.problem.n_rows > 1 else UNSET
    return _result(types.ExplainResult, schema="xegrad/explain/1", id=id, row=row, **arrays, warnings=notes)


def descend_result(
    descent: Descent, layout: Layout, *, id: Any = UNSET, warnings: Sequence[str] = ()
) -> Tree:
    """What `descend --json` prints; W in its own layout."""
    from xegrad.descent import accuracy

    notes = [sentence for _, sentence in nulls({"gradient_norm": np.array([descent.gradient_norm])})]
    if descent.diverged_at is not None:
        notes.append(
            f"step {descent.diverged_at} was not taken: the loss would grow past the start, or overflow"
        )
    return _result(
        types.DescendResult,
        descent,
        schema="xegrad/descend/1",
        id=id,
        loss_before=descent.losses[0],
        loss_after=descent.losses[-1],
        W=layout.of("weights", descent.end.weights),
        b=descent.end.bias,
        right_before=accuracy(descent.start),
        right_after=accuracy(descent.end),
        warnings=[*warnings, *notes],
    )


def error_result(line: int, error: str, id: Any) -> Tree:
    """What stands in a stream in the place of a line that is no problem."""
    return _result(types.ErrorResult, line=line, error=error, id=id)


def slip_result(slip: Slip) -> Tree:
    """What `slips NAME --json` prints."""
    from xegrad.slip_page import page

    shown = page(slip.name)
    return _result(
        types.SlipResult,
        slip,
        formula=shown.formula,
        how=slip.cause,
        wrong=shown.explanation.wrong,
        right=shown.explanation.right,
        remedy=shown.explanation.remedy,
        of=SYMBOLS[shown.name],
        right_gradient=shown.right,
        wrong_gradient=shown.wrong,
    )
