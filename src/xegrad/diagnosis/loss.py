"""What explains a loss: one number tells little."""

from __future__ import annotations

import math

import numpy as np
from msgspec.structs import replace

from xegrad import bounds
from xegrad.diagnosis.evidence import EVIDENCE
from xegrad.diagnosis.findings import Diagnosis, explained
from xegrad.diagnosis.search import Hypothesis
from xegrad.judgement import Tolerance
from xegrad.methods import Evaluation
from xegrad.numbers.rounded import Rounded
from xegrad.problem import Problem
from xegrad.slips import SLIPS
from xegrad.slips.entry import Parameters
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
    right = Rounded(float(exact.loss), float(bound), cells.arithmetic)
    apart = cells.S - cells.Q
    squared = (apart * apart).sum(axis=-1).sum(axis=-1)
    factors = (1, 0.5), (2, 1.0), (2, 1 / apart.value.size)
    predictions: dict[str, list[tuple[Parameters, Rounded]]] = {
        "sign-flipped": [({}, -right)],
        # Two logarithms' bases are among them.
        "scaled": [
            ({"k": k, "named": name}, right * k) for name, k in named_factors(cells, np.zeros(1)).items()
        ],
        "squared-error": [({"factor": factor}, squared * k) for factor, k in factors],
    }
    explanations = []
    for name, slip in SLIPS.items():
        if name in ("softmax-over-wrong-axis", "wrong-label", "option-ignored"):
            predictions[name] = [(form, with_slip(cells, slip, form).loss) for form in slip.forms(cells)]
        for form, predicted in predictions.get(name, ()):
            # Twice the bound of a slip, as for a gradient; the digits by one of them.
            allowed = float(tolerance.allowed(predicted.value, 2 * predicted.error, resolution))
            bits = np.log2(np.abs(loss) / tolerance.allowed(predicted.value, predicted.error, resolution))
            if math.isfinite(allowed) and abs(loss - predicted.value) <= allowed and bits >= EVIDENCE:
                one = explained(cells, Hypothesis(((slip, form),)), 1)
                sentence = SENTENCES.get(name, slip.sentence).format_map({"k": one.texts.get("k", "")})
                explanations.append(replace(one, happened=sentence, wrong="", right="", remedy=""))
    return Diagnosis(tuple(explanations))
