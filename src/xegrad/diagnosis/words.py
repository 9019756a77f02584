"""What is said of an explanation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from xegrad import bounds, layer
from xegrad.diagnosis.case import Bracket, Case, Finding, Step, first
from xegrad.problem import Problem
from xegrad.slips import STAGES, Slip
from xegrad.slips.draft import Draft
from xegrad.slips.entry import Parameters

SENTENCES = ("which", "why")  # words of the texts that are no parameters


class Explanation(msgspec.Struct, frozen=True, eq=False):
    """One slip, or two, that make exactly this candidate."""

    slips: tuple[str, ...]  # in order of application; none where only digits are lost
    parameters: Parameters
    texts: Mapping[str, str]  # the parameters for people: "1/B", or the digits that the candidate determines
    explains: int  # entries within the bound
    entries: int
    happened: str  # two lines for each slip
    wrong: str
    right: str
    remedy: str


def in_order(finding: Finding) -> list[Step]:
    return sorted(finding.steps, key=lambda step: STAGES.index(step[0].stage))


def explained_finding(case: Case, finding: Finding) -> Explanation:
    """A finding in words; every entry of a candidate that it explains is within its bound."""
    steps = [(slip, _details_seen(case, slip, given)) for slip, given in in_order(finding)]
    return explained(case.right.problem, steps, finding.widths, case.values.size)


def explained(
    problem: Problem, steps: Sequence[Step], widths: Mapping[str, Bracket], entries: int
) -> Explanation:
    """Slips with their details in words, which explain all entries."""
    texts: dict[str, str] = {}
    parameters: dict[str, float | int | str] = {}
    parts = []
    for slip, given in steps:
        said = {name: _text(value, widths.get(name)) for name, value in given.items()}
        parts.append(
            [
                text.format_map({**_sizes(problem), **said})
                for text in (slip.happened, slip.wrong, slip.right, slip.remedy)
            ]
        )
        if "named" in given:
            said["k"] = f"{said['named']} = {float(given['k']):.6g}"
        for name, value in given.items():
            if name not in SENTENCES:
                key = f"{name} of {slip.name}" if name in parameters else name
                parameters[key], texts[key] = value, said[name]
    happened, wrong, right, remedy = ("\n".join(each) for each in zip(*parts, strict=True))
    names = tuple(slip.name for slip, _ in steps)
    return Explanation(names, parameters, texts, entries, entries, happened, wrong, right, remedy)


def _sizes(problem: Problem) -> dict[str, object]:
    return {
        "n_rows": problem.n_rows,
        "n_inputs": problem.n_inputs,
        "n_classes": problem.n_classes,
        "n_others": problem.n_classes - 1,
    }


def _text(value: float | int | str, width: Bracket | None) -> str:
    """A number with the digits that the candidate determines, at most 12."""
    if isinstance(value, str | int):
        return str(value)
    digits = 6 if width is None else 12
    if width is not None and width[1] > width[0] and value:
        digits = min(12, max(1, math.floor(-math.log10((width[1] - width[0]) / abs(value)))))
    return f"{value:.{digits}g}"


def _details_seen(case: Case, slip: Slip, given: Parameters) -> Parameters:
    """The parameters, and what follows from them and from the candidate."""
    if slip.name == "weights-updated" and case.parameter is not None:
        own = case.parameter.ravel()
        if (np.abs(case.values - own) <= 4 * case.right.u * np.abs(own)).all():
            return {"eta": "too small to tell"}
    if slip.name == "classes-permuted":
        _, k = case.indices(slice(None))
        assert slip.places is not None
        places = slip.places(case.right, given, np.zeros_like(k), k)
        return {**given, "columns": " ".join(map(str, np.argsort(places).tolist()))}
    return details(case.right, slip, given)


def details(draft: Draft, slip: Slip, given: Parameters) -> Parameters:
    """The parameters, and what follows from them."""
    problem = draft.problem
    if slip.name == "scaled":
        which = f"that is {given['named']} here." if "named" in given else "no constant that is known."
        return {**given, "which": which}
    if slip.name == "scrambled-reshape":
        n, t = problem.n_inputs, problem.n_classes
        cut = f"the flat gradient runs class by class, {n} inputs each, and reshape({n}, {t}) cuts it into rows of {t}."
        fold = f"they lie input by input, {t} classes each, and were folded as if they ran class by class."
        return {**given, "which": fold if given["form"] == "folded" else cut}
    if slip.name == "label-smoothed":
        n_classes = problem.n_classes
        return {**given, "eps_of_others": float(given["eps"]) * (n_classes - 1) / n_classes}
    if slip.name == "weight-decay-included":
        return {**given, "lambda_of_square": float(given["lambda"]) / 2}
    if slip.name == "wrong-label":
        if "shift" in given:
            return {**given, "which": f"Every label is taken for the class {int(given['shift']):+d} from it."}
        names = problem.classes or [str(c) for c in range(problem.n_classes)]
        row = f"In row {given['row']} the" if problem.n_rows > 1 else "The"
        said, true = (names[int(given[key])] for key in ("instead", "label"))
        return {**given, "which": f"{row} label is taken to be class {said}, but it is class {true}."}
    if slip.name == "low-precision":
        return {"format": f"{given['decimals']} decimals", **given} if "decimals" in given else given
    if slip.name == "all-zero":
        largest, mass = float(np.abs(draft.residual).max()), float(draft.mass.max())
        if largest <= draft.u * mass:
            why = f"The largest exact residual is {largest:.3g}, below what S_c - 1 keeps of S_c = 1: saturated."
        else:
            why = "A Jacobian summed over its rows is 0, and so is an array never written to."
        return {"why": why}
    return given


def lost_digits(case: Case, lost: NDArray[np.bool_]) -> tuple[Explanation, ...]:
    """Why a candidate within its bound has no digit in some entries."""
    draft, u = case.right, case.right.u
    lost = lost.reshape(case.shape)
    # An error of u in S_c, times q, carried back: what S_c - 1 leaves of entries near 0.
    unit = replace(draft, residual=draft.mass * draft.probabilities, residual_error=0 * draft.residual)
    sizes = replace(
        unit,
        analysis=replace(
            draft.analysis,
            problem=replace(
                draft.problem, weights=np.abs(draft.problem.weights), inputs=np.abs(draft.problem.inputs)
            ),
        ),
    )
    kept = first(case.pulled(sizes, slice(None))).values
    error = np.abs(case.values.reshape(case.shape) - case.exact.values)
    complement = layer.other_exponentials(draft.analysis.forward) / (1 + draft.analysis.forward.others)
    least = float(np.where(draft.targets[0] > 0, complement, 1).min())
    texts: list[tuple[tuple[str, ...], int, str, str, str, str]] = []
    if case.tolerance.stored_as is not None:
        stored = bounds.PRECISIONS[case.tolerance.stored_as]
        small = lost & (np.abs(case.exact.values) <= stored.eta / stored.u)
        texts.append(
            (
                ("low-precision",),
                int(small.sum()),
                f"The smallest normal number of {case.tolerance.stored_as} is {2 * stored.eta * 0.5 / stored.u:.3g}:\n"
                "what is smaller keeps fewer digits, or none.",
                f"dW.astype({case.tolerance.stored_as})",
                "dW.astype(float32)",
                "Store the gradient in a wider format, or scale the loss before it is stored.",
            )
        )
    cancelled = lost & (error <= 2 * u * kept)
    if least < 0.5:
        texts.append(
            (
                (),
                int(cancelled.sum()),
                f"S_c is near 1: the exact 1 - S_c is {least:.3g}, and S_c - 1 from a rounded S_c keeps\n"
                f"nothing below {u:.3g}, half the distance from 1 to the next number.",
                "s[label] - 1",
                "-(e.sum() - e[label]) / e.sum()    # the other exponentials, added up",
                "Add up the other exponentials; never subtract S_c from 1.",
            )
        )
    spread = float(draft.logits_error.max())
    if spread > 0.05:
        texts.append(
            (
                (),
                int(lost.sum()),
                f"The logits are off by up to {spread:.3g}: their sums cancel in {case.tolerance.precision},\n"
                "and what follows from them is not resolved.",
                "x @ W",
                "x.astype(float64) @ W.astype(float64)",
                "Compute the logits in a wider format.",
            )
        )
    return tuple(
        Explanation(slips, {}, {}, count, lost.size, happened, wrong, mended, remedy)
        for slips, count, happened, wrong, mended, remedy in texts
        if count
    )
