"""Which slip, or pair, explains a candidate.

A slip explains a candidate if its own gradient, computed here with a bound on what rounding does to it, is the
candidate in every entry within twice that bound, and if the candidate holds enough numbers and enough digits
for that to be no accident.  What does not fit is not named.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import replace

from xegrad import bounds
from xegrad.diagnosis.case import EVIDENCE, Case, Finding, Step
from xegrad.diagnosis.fixed import pairs_without_free, without_free
from xegrad.diagnosis.free import pairs_with_free, scaled, scaled_pairs, stored_pairs, with_free
from xegrad.diagnosis.words import Explanation as Explanation
from xegrad.diagnosis.words import details, explained, explained_finding, in_order, lost_digits
from xegrad.judgement import DIGITS_LOST, WRONG, Tolerance
from xegrad.methods import Evaluation
from xegrad.problem import Problem
from xegrad.slips import SLIPS
from xegrad.slips.draft import cross_entropy, right
from xegrad.slips.gradients import named_factors
from xegrad.targets import Array


class Diagnosis(msgspec.Struct, frozen=True, eq=False):
    """All explanations of the best rank: no free number before one, one slip before two."""

    explanations: tuple[Explanation, ...] = ()

    @property
    def names(self) -> tuple[tuple[str, ...], ...]:
        """The slips of each explanation."""
        return tuple(explanation.slips for explanation in self.explanations)


@np.errstate(all="ignore")
def diagnose(
    problem: Problem,
    exact: Evaluation,
    candidate: Array,
    tolerance: Tolerance | None = None,
    resolution: Array | float = 0.0,
    with_respect_to: str = "weights",
) -> Diagnosis:
    """What explains a gradient that is wrong, or that has lost its digits.

    Parameters
    ----------
    exact : Evaluation
        Of the exact method.
    candidate : (N, T), or (T, N), or flat (N T,) in W's own order
        For bias (T,), inputs (B, N) and logits (B, T).
    tolerance : Tolerance
        As for `judge`.
    resolution : array or number
        What printing left open: half a unit of the last decimal.

    Returns
    -------
    Diagnosis
        Without an explanation if the candidate is right, not finite, or no known slip.

    Raises
    ------
    ValueError
        The candidate has more or fewer numbers than the gradient.
    """
    tolerance = tolerance or Tolerance()
    case = Case(problem, exact, np.asarray(candidate), tolerance, resolution, with_respect_to)
    if case.values.size != case.exact.values.size:
        raise ValueError(f"{case.values.size} numbers for a gradient of {case.exact.values.size}")
    if not np.isfinite(case.values).all():
        return Diagnosis()
    if not case.turned:
        judged = case.judgement(exact.is_certain_of(with_respect_to))
        if judged.outcome == DIGITS_LOST:
            return Diagnosis(lost_digits(case, judged.comparison.no_correct_digit))
        if judged.outcome != WRONG:
            return Diagnosis()
    return Diagnosis(tuple(explained_finding(case, finding) for finding in _best(case)))


def _best(case: Case) -> list[Finding]:
    """Rank by rank; of the first that has any, all that fit, in the order of the table."""
    if not case.exact.values.any() and not case.values.any():
        return []  # it is right, whatever its shape
    weights = case.parameter
    if weights is not None and not case.turned and case.values.size > 1:
        own = weights.ravel()
        if own.any() and (np.abs(case.values - own) <= 4 * case.right.u * np.abs(own)).all():
            updated: Step = (SLIPS["weights-updated"], {"eta": 0.0})
            return [Finding((updated,), case.views[0], 1, case.exactly, {})]
    if not case.values.any():
        zero: Step = (SLIPS["all-zero"], {})
        return [Finding((zero,), case.views[0], 0, case.exactly, {})]
    singles = [*without_free(case), *scaled(case, case.exactly, ())]
    ranks: list[Callable[[], Iterator[Finding]]] = [
        lambda: (finding for finding in singles if not finding.free),
        lambda: (f for fs in ([f for f in singles if f.free], with_free(case)) for f in fs),
    ]
    below_float32 = case.tolerance.stored_as in ("float16", "bfloat16")
    below_float32 |= case.tolerance.precision in ("float16", "bfloat16")
    if not below_float32:
        paired: list[Finding] = []

        def pairs(free: int) -> Iterator[Finding]:
            if not paired:
                paired.extend(scaled_pairs(case))
            if not free:
                yield from pairs_without_free(case)
                yield from stored_pairs(case) if not case.turned else ()
            yield from (finding for finding in paired if bool(finding.free) == bool(free))
            if free:
                yield from pairs_with_free(case)

        ranks += [lambda: pairs(0), lambda: pairs(1)]
    order = {name: index for index, name in enumerate(SLIPS)}
    for rank in ranks:
        found = [finding for finding in rank() if case.has_evidence(finding)]
        if found:
            found.sort(key=lambda f: [order[slip.name] for slip, _ in in_order(f)])
            kept: dict[Any, Finding] = {}
            for finding in found:
                names = tuple(slip.name for slip, _ in in_order(finding))
                # The forms of one slip are listed; those of a pair are one.
                given = finding.steps[0][1].items()
                forms = () if len(names) > 1 else tuple((k, v) for k, v in given if k not in finding.widths)
                kept.setdefault((names, forms), finding)
            return list(kept.values())
    return []


@np.errstate(all="ignore")
def diagnose_loss(
    problem: Problem,
    exact: Evaluation,
    loss: float,
    tolerance: Tolerance | None = None,
    resolution: float = 0.0,
) -> Diagnosis:
    """What one number can tell: sign, named constants, another label or axis, squared error, an option left out.

    Nothing with a free number: one number always fits it.  A name needs the digits of any other.
    """
    tolerance = tolerance or Tolerance()
    bound = bounds.stable(problem, (), precision=tolerance.precision, terms=tolerance.terms).loss
    value = float(exact.loss)
    if not math.isfinite(loss) or abs(loss - value) <= tolerance.allowed(value, bound, resolution):
        return Diagnosis()
    draft = right(problem, "logits", tolerance.precision, tolerance.terms)
    found: list[tuple[Step, float, float]] = [((SLIPS["sign-flipped"], {}), -value, float(bound))]
    # Two logarithms' bases are among the constants.
    for name, factor in named_factors(draft, np.zeros(1)).items():
        step: Step = (SLIPS["scaled"], {"k": factor, "named": name})
        found.append((step, factor * value, abs(factor) * (float(bound) + 2 * draft.u * abs(value))))
    for name in ("softmax-over-wrong-axis", "wrong-label", "option-ignored"):
        slip = SLIPS[name]
        for given in slip.choices(draft):
            assert slip.draft is not None
            found.append(((slip, given), *cross_entropy(slip.draft(draft, given))))
    squared = ((draft.probabilities - draft.targets) ** 2).sum()
    moved = 2 * (np.abs(draft.probabilities - draft.targets) * draft.probabilities_error).sum()
    rounding = 2 * (draft.logits.size + 4) * draft.u * squared
    half, whole = SLIPS["squared-error"].choices(draft)
    for given, factor in ((half, 0.5), (whole, 1.0), (whole, 1 / draft.logits.size)):
        found.append(
            ((SLIPS["squared-error"], given), factor * float(squared), factor * float(moved + rounding))
        )
    explanations = []
    for step, predicted, error in found:
        # Twice the bound of a slip, as for a gradient; the digits by one of them.
        allowed = float(tolerance.allowed(predicted, 2 * error, resolution))
        digits = np.log2(np.abs(loss) / tolerance.allowed(predicted, error, resolution))
        if math.isfinite(allowed) and abs(loss - predicted) <= allowed and digits >= EVIDENCE:
            one = explained(draft.problem, [(step[0], details(draft, *step))], {}, 1)
            said = _OF_A_LOSS.get(step[0].name, step[0].sentence)
            happened = said.format_map({"k": one.texts.get("k", "")})
            explanations.append(replace(one, happened=happened, wrong="", right="", remedy=""))
    order = {name: index for index, name in enumerate(SLIPS)}
    return Diagnosis(tuple(sorted(explanations, key=lambda one: order[one.slips[0]])))


# What is said of a loss, where the sentence of the slip speaks of a gradient.
_OF_A_LOSS = {
    "sign-flipped": "The loss has the opposite sign: log S is not positive, and the loss is its negative.",
    "scaled": "The loss is multiplied with {k}.",
    "squared-error": "This is the squared error of the probabilities, and not the cross-entropy.",
}
