"""What is said of a candidate that is wrong: where, if no known mistake makes it, and what to try next."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from xegrad.bounds import PRECISIONS
from xegrad.diagnosis import Diagnosis
from xegrad.judgement import Judgement
from xegrad.nonfinite import cause_of_nonfinite
from xegrad.verification import Verification
from xegrad.vocabulary import HALF, LOSS

# Correct digits of the median entry: of central differences in float64, and of float32 (docs/verify.md).
OF_DIFFERENCES, OF_FLOAT32 = range(8, 12), range(5, 8)
LEAST_DIGITS = 7  # of the worst entry, where differences give so many of the median one
LEAST_OF_DIFFERENCES = 1e-13  # their error is u of the loss over the step, and steps are 1e-3 at most
PLACES = {
    "the same numbers in other places": "The wrong entries hold each other's numbers: look for a transpose, a reshape "
    "or an index.",
    "one entry": "An error of the formula is hardly ever in one entry: look at how this one is written.",
}
STEPS = "give your logits and probabilities too, in one JSON object; verify then names the first wrong step"


def what_was_seen(verification: Verification, name: str) -> str:
    """Where it is wrong; nothing where the logits tell why it is not finite."""
    judgement = verification.judgements[name]
    if not _is_nonfinite(judgement):
        return " ".join(_seen(verification, judgement))
    if cause_of_nonfinite(judgement):
        return ""
    return "The logits explain none of it: look for 0/0, log(0) or an array that was never written."


def what_to_try(verification: Verification, name: str) -> str:
    """What tells more; nothing where the logits tell why it is not finite."""
    judgement = verification.judgements[name]
    if _is_nonfinite(judgement) and cause_of_nonfinite(judgement):
        return ""
    return ", or ".join(_next(verification, judgement))


def _is_nonfinite(judgement: Judgement) -> bool:
    return judgement.name != LOSS and not np.isfinite(judgement.comparison.candidate).all()


def explained_by(diagnosis: Diagnosis) -> str:
    """Where the mistakes that were found are explained."""
    names = dict.fromkeys(name for one in diagnosis.explanations for name in one.slips)
    if not names:
        return ""
    return (
        f"xegrad slips {next(iter(names))} explains it"
        if len(names) == 1
        else "xegrad slips NAME explains each"
    )


def _seen(verification: Verification, judgement: Judgement) -> Iterator[str]:
    """Where it is wrong, or that nothing is known to make it and what so many digits look like."""
    if rows := verification.diagnoses[judgement.name].where:
        yield rows
        return
    yield f"No known mistake makes {'this loss' if judgement.name == LOSS else 'these numbers'}."
    if judgement.pattern in PLACES:
        yield PLACES[judgement.pattern]
    candidate = judgement.comparison.candidate
    half = next((half for half in HALF if PRECISIONS[half].holds(candidate).all()), None)
    if judgement.name != LOSS and half is not None and not judgement.tolerance.is_mixed:
        yield f"All of them are numbers of {half}: --recipe judges by what a framework rounds on its way."
    wrong = judgement.wrong
    if judgement.tolerance.precision != "float64" or 2 * int(wrong.sum()) < wrong.size:
        return
    digits = judgement.comparison.correct_digits[wrong]
    median = int(np.median(digits))
    if (
        median in OF_DIFFERENCES
        and digits.min() >= LEAST_DIGITS
        and np.abs(judgement.comparison.difference).max() > LEAST_OF_DIFFERENCES
    ):
        yield "Central differences give so many digits, and so does a small constant, as in log(S + 1e-9)."
    elif median in OF_FLOAT32:
        yield "Float32 gives so many digits (--dtype float32 judges by it), and so do finite differences."


def _next(verification: Verification, judgement: Judgement) -> Iterator[str]:
    """What tells more."""
    name, has_rows = judgement.name, verification.problem.n_rows > 1
    if has_rows and verification.diagnoses[name].where:
        return
    if judgement.pattern == "one entry":
        return
    if has_rows and name == LOSS:
        yield "compare the loss of each row, which xegrad compute --reduction none shows"
    elif has_rows and name in ("weights", "bias"):
        yield "judge a problem with one of these rows"
    if verification.steps is None:
        yield STEPS
    elif not has_rows:
        yield "look through xegrad slips, the mistakes that are known"
