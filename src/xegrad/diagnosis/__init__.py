"""Which slip, or pair, explains a candidate.

A slip explains a candidate if its own gradient, computed here with a bound on what rounding does to it, is the
candidate in every entry within twice that bound, and if the candidate holds enough numbers and enough digits
for that to be no accident.  What does not fit is not named.

See docs/numerics.md, section 10.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec.structs import replace

from xegrad import bounds
from xegrad.arrays import array_of, check_shape
from xegrad.comparison import numbers_of
from xegrad.derivation import AT_A_TIME, IN_CACHE
from xegrad.diagnosis.evidence import EVIDENCE, is_proved, is_zero_but_for_rounding
from xegrad.diagnosis.findings import Diagnosis as Diagnosis
from xegrad.diagnosis.findings import Explanation as Explanation
from xegrad.diagnosis.findings import explained, lost_digits
from xegrad.diagnosis.hypotheses import ranks
from xegrad.diagnosis.rows import wrong_rows
from xegrad.diagnosis.search import Hypothesis, Search
from xegrad.judgement import DIGITS_LOST, WRONG, Judgement, judge, judge_by_cheapest
from xegrad.methods import Evaluation, without_exact
from xegrad.naming import gradient_name
from xegrad.numbers.rounded import Rounded
from xegrad.problem import Problem
from xegrad.slips import SLIPS
from xegrad.slips.entry import Parameters
from xegrad.slips.formulas import named_factors
from xegrad.slips.making import with_slip
from xegrad.targets import Array
from xegrad.tolerance import Tolerance, tolerance_of

MOST_STACKED, OF_A_LOGIT = 100_000_000, 500_000  # bytes

OF_ONE_LOSS = "rows, and differentiated so"  # the loss is that of "rows"

# Where the slip's own sentence speaks of a gradient.
OF_A_LOSS = {
    "sign-flipped": "The loss has the opposite sign: log S is not positive, and the loss is its negative.",
    "scaled": "The loss is multiplied with {k}.",
    "log-forgotten": "This is {loss}: the logarithm of the probabilities was not taken.",
    "squared-error": "This is the squared error of the probabilities, and not the cross-entropy.",
}


def memory(problem: Problem, names: Sequence[str]) -> int:
    """The bytes beside the problem that it takes to name a mistake, as measured (tests/test_memory.py).

    Of a large problem, the cells of some rows and a few copies of what is claimed, or more copies and fewer cells; of a
    small one stacks of gradients, one for each slip and each number of a grid.
    """
    of_each, of_names = problem.nbytes_of(["logits"]), problem.nbytes_of(names)
    if bounds.is_large(problem):
        of_cells = min(of_each, 8 * AT_A_TIME) + 8 * IN_CACHE
        # A softmax over the rows is made of some classes, but not of dL/dx and dL/dZ.
        n_held = 26 if {*names} <= {"weights", "bias"} else 32
        held = max(n_held * of_cells + 6 * of_names, 8 * of_cells + 16 * of_names)
    else:
        held = min(MOST_STACKED, OF_A_LOGIT * problem.n_rows * problem.n_classes) + 16 * of_names
    return held + 3 * problem.nbytes_of(["weights", "inputs"])


def _by_cheapest(
    problem: Problem,
    candidate: Any,
    tolerance: Tolerance | None = None,
    resolution: Array | float = 0.0,
    with_respect_to: str = "weights",
) -> Diagnosis:
    """The same by the cheapest values that decide whether the candidate is wrong."""
    name = gradient_name(with_respect_to)
    shape, values = problem.shape_of(name), array_of("the gradient", candidate)
    tolerance = tolerance_of(problem, candidate, tolerance)
    if values.size != math.prod(shape):
        check_shape("the gradient", values.shape, shape)
    if np.ndim(opened := array_of("the resolution", resolution)):
        check_shape("the resolution", opened.shape, values.shape)
        opened = opened.reshape(shape)
    judged = judge_by_cheapest(problem, values.reshape(shape), tolerance, opened, name)
    return diagnose(problem, judged.reference, candidate, tolerance, resolution, name, judged)


@without_exact(_by_cheapest)
@np.errstate(all="ignore")
def diagnose(
    problem: Problem,
    exact: Evaluation,
    candidate: Any,
    tolerance: Tolerance | None = None,
    resolution: Array | float = 0.0,
    with_respect_to: str = "weights",
    judgement: Judgement | None = None,
) -> Diagnosis:
    """What explains a gradient that is wrong, or that has lost its digits.

    Parameters
    ----------
    exact : Evaluation
        Of the exact method.  `diagnose(problem, candidate)` takes the cheapest values that decide.
    candidate : (N, T), or (T, N), or flat (N T,) in W's own order
        For bias (T,), inputs (B, N) and logits (B, T).
    tolerance, with_respect_to
        As for `judge`.
    resolution : array or number
        What printing left open: half a unit of the last decimal.
    judgement : Judgement, optional
        That of this candidate, where it has been judged already.

    Returns
    -------
    Diagnosis
        Without an explanation if the candidate is right, not finite, or no known slip.

    Raises
    ------
    InputError
        The candidate is no array of numbers, or has more or fewer than the gradient.

    Examples
    --------
    >>> problem = Problem([[1.0, 2.0, -1.0], [3.0, 4.0, 0.5]], [[1.0, -2.0]], Targets([0]))
    >>> diagnose(problem, -METHODS["exact"].evaluate(problem).gradients["weights"]).names
    (('sign-flipped',),)
    """
    name = gradient_name(with_respect_to)
    tolerance = tolerance_of(problem, candidate, tolerance)
    candidate, reference = array_of("the gradient", candidate), numbers_of(exact, name)
    if candidate.size != reference.size:
        check_shape("the gradient", candidate.shape, reference.shape)
    if np.ndim(resolution := array_of("the resolution", resolution)):
        check_shape("the resolution", resolution.shape, candidate.shape)
    search = Search(problem, exact, candidate, tolerance, resolution, name)
    if not np.isfinite(search.values).all():
        return Diagnosis()
    if not search.has_transposed_shape:
        if judgement is None:
            shaped, open_ = (part.reshape(reference.shape) for part in (candidate, search.resolution))
            judgement = judge(problem, exact, shaped, tolerance, open_, name)
        if judgement.outcome == DIGITS_LOST:
            return Diagnosis(lost_digits(search, judgement.lost))
        if judgement.outcome != WRONG:
            return Diagnosis()
    best = _best(search)
    if not best:
        return Diagnosis(where=wrong_rows(search))
    return Diagnosis(tuple(explained(search.cells, one, search.values.size) for one in best))


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
    bound = bounds.stable(problem, (), arithmetic=tolerance.arithmetic).loss
    if not math.isfinite(loss) or abs(loss - exact.loss) <= tolerance.allowed(exact.loss, bound, resolution):
        return Diagnosis()
    cells = bounds.cells_of(problem, tolerance.arithmetic)
    right = Rounded(np.asarray(exact.loss), float(bound), cells.arithmetic)
    apart = cells.S - cells.Q
    squared = (apart * apart).sum(axis=-1).sum(axis=-1)
    factors = (1, 0.5), (2, 1.0), (2, 1 / apart.value.size)
    constants: dict[float, list[str]] = {}
    for constant, k in named_factors(cells, np.zeros(1)).items():
        constants.setdefault(k, []).append(constant)
    predictions: dict[str, list[tuple[Parameters, Rounded]]] = {
        "sign-flipped": [({}, -right)],
        # Two logarithms' bases are among them.
        "scaled": [({"k": k, "named": ", ".join(names)}, right * k) for k, names in constants.items()],
        "squared-error": [({"factor": factor}, squared * k) for factor, k in factors],
        "log-forgotten": [
            ({"loss": f"-sum Q {cell}"}, -(cells.Q * getattr(cells, cell)).sum(axis=-1).sum(axis=-1))
            for cell in ("S", "Z")
        ],
    }
    explanations = []
    for name, slip in SLIPS.items():
        if name in ("softmax-over-wrong-axis", "wrong-label", "option-ignored"):
            forms = [form for form in slip.forms(cells) if form.get("axis") != OF_ONE_LOSS]
            predictions[name] = [(form, with_slip(cells, slip, form).loss) for form in forms]
        for form, predicted in predictions.get(name, ()):
            # Twice the bound of a slip, as for a gradient; the digits by one of them.
            allowed = float(tolerance.allowed(predicted.value, 2 * predicted.error, resolution))
            bits = np.log2(np.abs(loss) / tolerance.allowed(predicted.value, predicted.error, resolution))
            if math.isfinite(allowed) and abs(loss - predicted.value) <= allowed and bits >= EVIDENCE:
                one = explained(cells, Hypothesis(((slip, form),)), 1)
                sentence = OF_A_LOSS.get(name, slip.sentence).format_map(one.texts)
                for reduction in ("the sum in place of the mean", "the mean in place of the sum"):
                    if reduction in str(form.get("named", "")):
                        sentence = f"This is {reduction}: {one.parameters['k']:.6g} times the loss."
                explanations.append(replace(one, happened=sentence, wrong="", right="", remedy=""))
    return Diagnosis(tuple(explanations))


def _best(search: Search) -> list[Hypothesis]:
    """Of the first rank that has any, all that are proved, in the order of the catalogue."""
    if not search.values.any():
        is_right = not search.exact.value.any()  # whatever its shape
        return [] if is_right else [Hypothesis(((SLIPS["all-zero"], {}),))]
    if is_zero_but_for_rounding(search):
        return [Hypothesis(((SLIPS["all-zero"], {"up to": "rounding"}),))]
    if search.is_parameter:
        return [Hypothesis(((SLIPS["weights-updated"], {"eta": "too small to tell"}),), free=1)]
    for rank in ranks(search):
        proved = [hypothesis for hypothesis in rank if is_proved(search, hypothesis)]
        if proved:
            return _listed(proved)
    return []


def _listed(hypotheses: list[Hypothesis]) -> list[Hypothesis]:
    """In the order of the catalogue, and each once."""
    order = {name: index for index, name in enumerate(SLIPS)}
    kept: list[Hypothesis] = []
    for hypothesis in sorted(hypotheses, key=lambda one: [order[name] for name in one.names]):
        if not any(_is_the_same(hypothesis, other) for other in kept):
            kept.append(hypothesis)
    return kept


def _is_the_same(one: Hypothesis, other: Hypothesis) -> bool:
    """Forms of a pair, forms that differ in a free number alone, and two whose free numbers may be the same."""
    if one.names != other.names or len(one.names) > 1:
        return one.names == other.names
    first, second = ({k: v for k, v in h.steps[0][1].items() if k not in h.widths} for h in (one, other))
    both = one.widths.keys() & other.widths.keys()
    overlap = (
        one.widths[k][0] <= other.widths[k][1] and other.widths[k][0] <= one.widths[k][1] for k in both
    )
    return first == second or (bool(both) and all(overlap))
