"""What the commands print as JSON, with the fields that `types` declares.

See docs/json.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import UNSET

from xegrad.comparison import Comparison
from xegrad.formats.results import types
from xegrad.formats.results.tree import Line as Line
from xegrad.formats.results.tree import each, nulls, objects
from xegrad.formats.results.tree import encode as encode
from xegrad.formats.results.types import key
from xegrad.inert import inert
from xegrad.vocabulary import AXES, SYMBOLS

if TYPE_CHECKING:
    from xegrad.computation import Computation
    from xegrad.descent import Descent, ExactLosses
    from xegrad.explanation import Explanation
    from xegrad.full_batch import FullBatch, Total
    from xegrad.judgement import Judgement
    from xegrad.problem import Layout, Problem
    from xegrad.slip_page import Page
    from xegrad.verification import Verification

Fields = dict[str, Any]


def _result(declared: Any, source: object, **values: Any) -> Any:
    """An object of a declared type: its fields are the values, else the attributes of the source that have its name."""
    names = [name for name in declared.__struct_fields__ if name not in values]
    return declared(**{name: getattr(source, name, UNSET) for name in names}, **values)


def _entry(problem: Problem, name: str, flat_index: Any) -> Fields:
    """An entry of a gradient by its flat index, or one for each problem; a loss is one number."""
    if name == "loss":
        return {"of": name}
    indices = dict(zip(AXES[name], problem.place(name, flat_index), strict=True))
    for axis, names in (("class", problem.classes), ("input", problem.input_names)):
        if names is not None and axis in indices:
            indices[f"{axis}_name"] = np.array(names, dtype=object)[indices[axis]]
    return {"of": SYMBOLS[name], **indices}


def _in_rows(comparisons: Mapping[str, Comparison], n_problems: int) -> list[Comparison]:
    """Gradients of K problems, (K, entries) each."""
    return [one.in_rows(n_problems) for one in comparisons.values()]


def _together(rows: Sequence[Comparison]) -> Comparison:
    """Several gradients as one."""
    if len(rows) == 1:
        return rows[0]
    parts = zip(*((one.reference, one.candidate, one.bound) for one in rows), strict=True)
    return Comparison(*(np.concatenate(arrays, axis=1) for arrays in parts))


def _max_ulps(rows: Comparison) -> Any:
    """(K,) the largest; NaN where any number of any problem is none, and nothing beside values that are not exact."""
    if not rows.is_exact:
        return None
    ulps = rows.ulps
    return np.full(len(rows.reference), np.nan) if ulps is None else ulps.max(axis=1)


def _accuracy(rows: Comparison) -> Fields:
    """How far from the exact values, (K,) each."""
    return {
        "max_ulp_error": _max_ulps(rows),
        "correct_digits": rows.correct_digits.min(axis=1),
        "wrong_entries": np.count_nonzero(rows.no_correct_digit, axis=1),
    }


def compute_results(
    computation: Computation,
    layout: Layout,
    *,
    ids: Sequence[Any] = (UNSET,),
    warnings: Sequence[Sequence[str]] = ((),),
    with_time: bool = False,
) -> list[Line]:
    """What `compute --json` prints, of each problem of a stack; ids and warnings are one for each."""
    problem = computation.problem
    probabilities = _of_each(computation, layout, "logits", computation.probabilities)
    values = {key(name): _values(computation, name, layout) for name in computation.evaluations}
    accuracy: Fields = {
        key(name): _accuracy(_together(_in_rows(from_exact, computation.n_problems)))
        for name, from_exact in computation.from_exact.items()
    }
    if "exact" in values:
        unsure = [mask.reshape(computation.n_problems, -1) for mask in computation.uncertified.values()]
        accuracy["exact"] = {"certified": ~np.concatenate(unsure, axis=1).any(axis=1)}
    if with_time:
        for name, seconds in computation.seconds.items():
            accuracy.setdefault(key(name), {})["seconds"] = each([seconds])
    comparison = _comparison(computation) if computation.comparisons else None
    last = key(computation.method)
    reported = values[last]
    notes = [[*of_one] for of_one in warnings]
    for k, sentence in nulls(
        {"probabilities": probabilities, **values, last: None},
        reported,
        {last: reported, "comparison": comparison},
        accuracy,
    ):
        notes[k].append(sentence)
    # dL/dW alone needs no second name.
    hidden = {"gradients": UNSET} if computation.names == ["weights"] else {}
    evaluations = {
        name: types.EvaluationResult(**of_one | hidden | accuracy.get(name, {}))
        for name, of_one in values.items()
    }
    tree = types.ComputeResult(
        schema="xegrad/compute/1",
        id=UNSET if ids[0] is UNSET else each(ids),
        **reported,
        probabilities=probabilities,
        method=computation.method,
        classes=UNSET if problem.classes is None else problem.classes,
        input_names=UNSET if problem.input_names is None else problem.input_names,
        **evaluations,
        comparison=comparison,
        verdict=each(computation.verdicts),
        warnings=each(notes) if any(notes) else [],
    )
    return objects(tree)


def _of_each(computation: Computation, layout: Layout, name: str, array: Any) -> Any:
    """A gradient of each problem, in its layout."""
    return layout.of(name, array if computation.problem.weights.ndim > 2 else array[None])


def _values(computation: Computation, method: str, layout: Layout) -> Fields:
    """The loss and the gradients by one method, in the layout of the problem."""
    evaluation, n_problems = computation.evaluations[method], computation.n_problems
    gradients = {  # + 0.0, since an exact zero has no sign to tell
        SYMBOLS[name]: _of_each(computation, layout, name, gradient if gradient.all() else gradient + 0.0)
        for name, gradient in evaluation.gradients.items()
    }
    values: Fields = {"loss": np.reshape(evaluation.loss, n_problems)}
    if "W" in gradients:
        values["gradient"] = gradients["W"]
    values["gradients"] = gradients
    if computation.problem.targets.reduction == "none":
        # The warning that names their sum is enough.
        values["losses"] = each(evaluation.losses.reshape(n_problems, -1).tolist())
    return values


def _comparison(computation: Computation) -> Fields:
    """The chain against the shortcut: the figures of all gradients together."""
    problem, n_problems, compared = computation.problem, computation.n_problems, computation.comparisons
    each_gradient = _in_rows(compared, n_problems)
    together = _together(each_gradient)
    agree = np.array([one.within.all(axis=1) for one in each_gradient])
    differences = np.array([np.abs(one.difference).max(axis=1) for one in each_gradient])
    # The worst entry is of the gradient that disagrees, or else of the first; of several, that which differs most.
    which = np.where(agree, -1, np.nan_to_num(differences, nan=np.inf)).argmax(axis=0)
    worst = np.choose(which, [one.row_by_row[:, 0] for one in each_gradient])
    names = list(compared)
    entries: Any = _entry(problem, names[0], worst)
    if len(names) > 1:
        pairs = zip(which.tolist(), worst.tolist(), strict=True)
        entries = each(_entry(problem, names[of], index) for of, index in pairs)
    return {
        "agree": agree.all(axis=0),
        "max_abs_difference": differences.max(axis=0),
        "max_ulp_difference": _max_ulps(together),
        "lost_entries": np.count_nonzero(together.unresolved, axis=1),
        "opposite_signs": np.count_nonzero(together.opposite_signs, axis=1),
        "worst": entries,
    }


def of_data_set(asked: FullBatch, n_bad: int, facts: Mapping[str, Any]) -> Fields:
    """What is said of a data set beside a result."""
    counts = {"rows": asked.data.n_rows - n_bad, "bad_rows": n_bad or UNSET, "blocks": asked.n_blocks}
    return {**counts, "files": [*map(inert, asked.data.paths)], **facts}


def data_set_result(total: Total, layout: Layout, facts: Mapping[str, Any], *, id: Any) -> Line:
    """What `compute --json` prints of a data set."""
    problem = total.asked.layer
    of_names = total.gradients.items()
    gradients = {SYMBOLS[name]: layout.of(name, gradient[None]) + 0.0 for name, gradient in of_names}
    values: Fields = {
        "loss": np.array([total.loss]),
        "gradient": gradients.get("W", UNSET),
        "gradients": gradients,
    }
    notes = [sentence for _, sentence in nulls(values)]
    tree = types.DataSetResult(
        schema="xegrad/data-set/1",
        id=id,
        **values,
        method="shortcut",
        classes=UNSET if problem.classes is None else [*problem.classes],
        warnings=notes,
        **of_data_set(total.asked, total.n_bad, facts),
    )
    return objects(tree)[0]


def verify_result(verification: Verification, *, id: Any, beside: Mapping[str, Any] = {}) -> Line:
    """What `verify --json` prints; `beside` is what is said of a data set."""
    checks = [
        _result(types.Check, one, **_accuracy(one.comparison.in_rows(1)), advisory=one.advisory or UNSET)
        for one in verification.checks
    ]
    judgements: dict[str, types.CandidateResult] = {}
    off: list[str] = []  # those that are measured against values which are not exact
    for name, judged in verification.judgements.items():
        accuracy = _accuracy(judged.comparison.in_rows(1)) | {"wrong_entries": int(judged.wrong.sum())}
        shown = name if name == "loss" else f"dL/d{SYMBOLS[name]}"
        checks.append(types.Check(name=shown, passed=verification.accepts(name), **accuracy))
        if not judged.comparison.is_exact:
            off.append(shown)
        judgements[SYMBOLS.get(name, name)] = _candidate(verification, judged, accuracy)
    of_gradients = [one for symbol, one in judgements.items() if symbol != "loss"]
    candidate = of_gradients[0] if of_gradients else UNSET
    ulps = {f"max_ulp_error of {check.name}": check.max_ulp_error for check in checks}
    ulps_of = "is null: it takes the exact value, and less was needed to judge it"
    reasons = [f"max_ulp_error of {shown} {ulps_of}" for shown in off]
    reasons += [sentence for _, sentence in nulls({**ulps, "candidate": candidate, "judgements": judgements})]
    tree = types.VerifyResult(
        schema="xegrad/verify/1",
        verified=verification.verified,
        checks=checks,
        id=id,
        candidate=candidate,
        judgements=judgements or UNSET,
        diagnosis=judgements["loss"].diagnosis if "loss" in judgements else UNSET,
        steps=UNSET
        if verification.steps is None
        else _result(types.StepsResult, verification.steps, right_if=verification.steps_right_if or UNSET),
        warnings=[*verification.warnings, *reasons],
        **beside,
    )
    return objects(tree)[0]


def _candidate(verification: Verification, judged: Judgement, accuracy: Fields) -> types.CandidateResult:
    """A gradient or a loss from outside, judged; `wrong_entries` counts those that nothing explains."""
    comparison, name = judged.comparison, judged.name
    diagnosis = verification.diagnoses.get(name)
    supposed = {"right_if": verification.right_if, "diagnosed_if": verification.diagnosed_if}
    worst = comparison.worst(1)
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
            **({} if comparison.is_exact else {"exact_error": np.ravel(comparison.error)[worst]}),
        },
        # Every explanation of the best rank that fits.
        diagnosis=UNSET
        if diagnosis is None
        else [_result(types.ExplanationResult, one) for one in diagnosis.explanations],
        blind_spots=verification.blind_spots.get(name, UNSET),
        **{field: of_each[name].options for field, of_each in supposed.items() if name in of_each},
        where=(diagnosis and diagnosis.where) or UNSET,
    )


def explain_result(explanation: Explanation, layout: Layout, *, id: Any) -> Any:
    """What `explain --json` prints: every array by its name."""
    arrays: Fields = dict(explanation.arrays)
    notes = list(explanation.problem.targets.warnings)
    for name, array in explanation.arrays.items():
        if array is None:
            size = " x ".join(map(str, explanation[name].shape))
            notes.append(f"{name} is null: {size} numbers are too many")
            continue
        if broken := np.count_nonzero(~np.isfinite(array)):
            notes.append(f"{name} holds null: {broken} of {array.size} are not finite")
        shown = layout.of("weights", array) if name in ("gradient", "scrambled_gradient") else array
        arrays[name] = (shown + 0.0).tolist()
    row = explanation.row if explanation.problem.n_rows > 1 else UNSET
    return types.ExplainResult(schema="xegrad/explain/1", id=id, row=row, **arrays, warnings=notes)


def descend_result(
    descent: Descent, losses: ExactLosses | None, layout: Layout, *, id: Any, beside: Mapping[str, Any] = {}
) -> types.DescendResult:
    """What `descend --json` prints; W in its own layout; `beside` is what is said of a data set."""
    from xegrad.descent import accuracy

    notes = list(descent.start.targets.warnings)
    right = [accuracy(end) if descent.in_memory else None for end in (descent.start, descent.end)]
    if not np.isfinite(descent.gradient_norm):
        notes.append("gradient_norm is null: it is not finite")
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
        right_before=right[0],
        right_after=right[1],
        exact=UNSET if losses is None else _result(types.ExactLossesResult, losses),
        warnings=notes,
        **beside,
    )


def error_result(place: int | str, error: str, id: Any = UNSET) -> Any:
    """What stands in the place of a line of a stream, or of one of several files, that is no problem."""
    line, file = (place, UNSET) if isinstance(place, int) else (UNSET, place)
    return types.ErrorResult(line=line, file=file, error=error, id=id)


def slip_result(page: Page) -> types.SlipResult:
    """What `slips NAME --json` prints."""
    return _result(
        types.SlipResult,
        page.slip,
        formula=page.formula,
        how=page.slip.cause,
        wrong=page.explanation.wrong,
        right=page.explanation.right,
        remedy=page.explanation.remedy,
        of=SYMBOLS[page.name],
        right_gradient=page.right,
        wrong_gradient=page.wrong,
    )
