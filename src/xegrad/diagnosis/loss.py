"""What explains a loss: one number tells little."""

from __future__ import annotations

import math

import numpy as np
from msgspec.structs import replace

from xegrad import bounds
from xegrad.diagnosis.evidence import EVIDENCE
from xegrad.diagnosis.findings import Diagnosis, details_of, explained
from xegrad.diagnosis.search import Step
from xegrad.judgement import Tolerance
from xegrad.methods import Evaluation
from xegrad.numbers.rounded import Rounded
from xegrad.problem import Problem
from xegrad.slips import SLIPS
from xegrad.slips.gradients import named_factors
from xegrad.slips.making import with_slip

# Where the slip's own sentence speaks of a gradient.
SENTENCES = {
    "sign-flipped": "The loss has the opposite sign: log S is not positive, and the loss is its negative.",
    "scaled": "The loss is multiplied with {k}.",
    "squared-error": "This is the squared error of the probabilities, and not the cross-entropy.",
}


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
    if not math.isfinite(loss) or abs(loss - exact.loss) <= tolerance.allowed(exact.loss, bound, resolution):
        return Diagnosis()
    cells = bounds.cells_of(problem, tolerance.precision, tolerance.terms)
    right = Rounded(np.asarray(exact.loss), float(bound), cells.arithmetic)
    predictions: list[tuple[Step, Rounded]] = [((SLIPS["sign-flipped"], {}), -right)]
    for name, factor in named_factors(cells, np.zeros(1)).items():  # two logarithms' bases are among them
        predictions.append(((SLIPS["scaled"], {"k": factor, "named": name}), right * factor))
    for name in ("softmax-over-wrong-axis", "wrong-label", "option-ignored"):
        slip = SLIPS[name]
        predictions += [((slip, form), with_slip(cells, slip, form).loss) for form in slip.forms(cells)]
    apart, slip = cells.S - cells.Q, SLIPS["squared-error"]
    squared = (apart * apart).sum(axis=-1).sum(axis=-1)
    half, whole = slip.forms(cells)
    for form, factor in ((half, 0.5), (whole, 1.0), (whole, 1 / apart.value.size)):
        predictions.append(((slip, form), squared * factor))
    explanations = []
    for (slip, form), predicted in predictions:
        # Twice the bound of a slip, as for a gradient; the digits by one of them.
        allowed = float(tolerance.allowed(predicted.value, 2 * predicted.error, resolution))
        bits = np.log2(np.abs(loss) / tolerance.allowed(predicted.value, predicted.error, resolution))
        if math.isfinite(allowed) and abs(loss - predicted.value) <= allowed and bits >= EVIDENCE:
            one = explained(cells.problem, [(slip, details_of(cells, slip, form))], {}, 1)
            sentence = SENTENCES.get(slip.name, slip.sentence).format_map({"k": one.texts.get("k", "")})
            explanations.append(replace(one, happened=sentence, wrong="", right="", remedy=""))
    order = [*SLIPS]
    return Diagnosis(tuple(sorted(explanations, key=lambda one: order.index(one.slips[0]))))
