"""A problem with what claims to be its gradient, judged and diagnosed: what `xegrad verify` shows.

See docs/verify.md.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec
import numpy as np
from msgspec.structs import replace

from xegrad.blindness import blind_spots
from xegrad.claim import Claim
from xegrad.comparison import Comparison
from xegrad.computation import compute
from xegrad.diagnosis import Diagnosis, diagnose, diagnose_loss
from xegrad.intermediates import Intermediates, first_wrong_step
from xegrad.judgement import DIGITS_LOST, RIGHT, WRONG, Judgement, Tolerance, judge
from xegrad.methods import METHODS
from xegrad.problem import Problem
from xegrad.vocabulary import COMPUTED_IN, SYMBOLS

# Steps of work (losses of one row, class by class) past which a method is left out of the check.
MAX_WORK = {"finite-difference": 2e7, "complex-step": 1e8, "chain": 1e10}

HALF = ("bfloat16", "float16")  # in which a gradient is stored, and not computed


def in_precision_of(problem: Problem, claim: Claim, tolerance: Tolerance) -> Tolerance:
    """In the precision that the problem asks for, else that of the claim's file, else that of the problem's arrays.

    What is in a half-precision file was computed in float32 and then stored so.  What mixed precision leaves open is
    float32.
    """
    mixed = "float32" if tolerance.is_mixed else None
    precision = problem.precision or mixed or claim.dtype or problem.dtype.name
    if claim.dtype in HALF and tolerance.stored_as is None:
        precision = problem.precision or "float32"
        tolerance = replace(tolerance, stored_as=claim.dtype)
    return replace(tolerance, precision=precision if precision in COMPUTED_IN else "float64")


class Check(msgspec.Struct, frozen=True, eq=False):
    """One of xegrad's own methods against the exact values, or against another."""

    name: str
    comparison: Comparison
    advisory: bool = False  # reported, but not counted

    @property
    def passed(self) -> bool:
        """Whether every entry is within its bound, or has digits where there is none; never NaN."""
        comparison = self.comparison
        return bool((comparison.within | (comparison.unbounded & ~comparison.no_correct_digit)).all())


class Verification(msgspec.Struct, frozen=True, eq=False):
    """The outcome of what is claimed, or else of xegrad's own methods."""

    problem: Problem
    tolerance: Tolerance
    judgements: Mapping[str, Judgement] = {}  # of a gradient, by its name, and of a "loss"
    diagnoses: Mapping[str, Diagnosis] = {}  # of what is wrong, or has lost its digits
    steps: Intermediates | None = None
    blind_spots: Mapping[str, Sequence[str]] = {}  # the slips that a right gradient does not rule out
    misshapen: Collection[str] = ()  # the gradients that have a row where they should have a column
    strict: bool = False
    checks: Sequence[Check] = ()

    def accepts(self, name: str) -> bool:
        """Whether what is claimed under this name counts as verified."""
        counted = (RIGHT,) if self.strict else (RIGHT, DIGITS_LOST)
        return self.judgements[name].outcome in counted and name not in self.misshapen

    @property
    def verified(self) -> bool:
        """Whether every check passed, and everything that is claimed is right."""
        passed = all(check.passed for check in self.checks if not check.advisory)
        no_wrong_step = self.steps is None or self.steps.wrong is None
        return passed and no_wrong_step and all(map(self.accepts, self.judgements))


def verify(problem: Problem, claim: Claim, tolerance: Tolerance, *, strict: bool = False) -> Verification:
    """Judge what is claimed against the exact values, and say which mistake it is.

    Raises
    ------
    InputError
        A step of the chain that there is not, or of another size.
    """
    # Steps of the chain are those of dL/dW; a loss alone needs no gradient.
    exact = METHODS["exact"].evaluate(
        problem, [*dict.fromkeys((*claim.gradients, *(["weights"] * bool(claim.steps))))]
    )
    judgements: dict[str, Judgement] = {}
    diagnoses: dict[str, Diagnosis] = {}
    blind: dict[str, Sequence[str]] = {}
    misshapen, steps = [], None
    for name, claimed in claim.gradients.items():
        expected, resolution = exact.gradients[name].shape, claimed.reading.resolution
        whole = claimed.moved(lambda array, shape=expected: array.reshape(shape))  # type: ignore[misc]
        judged = judge(problem, exact, whole.values, tolerance, whole.reading.resolution, name)
        judgements[name] = replace(judged, reading=claimed.reading)
        if claimed.values.shape != expected:
            misshapen.append(name)
        if name in misshapen or judged.outcome in (WRONG, DIGITS_LOST):
            diagnoses[name] = diagnose(problem, exact, claimed.values, tolerance, resolution, name)
        elif judged.outcome == RIGHT and tolerance.derived:
            blind[name] = [*blind_spots(problem, exact, tolerance, name)]
    if claim.loss is not None:
        loss, reading = float(claim.loss.values.item()), claim.loss.reading
        left_open = float(np.max(reading.resolution))
        judged = replace(judge(problem, exact, loss, tolerance, left_open, "loss"), reading=reading)
        judgements["loss"] = judged
        if judged.outcome == WRONG:
            diagnoses["loss"] = diagnose_loss(problem, exact, loss, tolerance, left_open)
    if claim.steps:
        parts = {name: claimed.values for name, claimed in claim.steps.items()}
        opened = {name: claimed.reading.resolution for name, claimed in claim.steps.items()}
        steps = first_wrong_step(problem, exact, parts, tolerance, opened)
    return Verification(problem, tolerance, judgements, diagnoses, steps, blind, misshapen, strict)


def verify_methods(problem: Problem, with_respect_to: Sequence[str]) -> Verification:
    """Check every float method's gradients and loss against the exact ones, and the chain against the shortcut."""
    steps = problem.n_rows * problem.n_inputs * problem.n_classes**2
    methods = [name for name in METHODS if steps <= MAX_WORK.get(name, np.inf)]
    computed = compute(problem, methods, with_respect_to)

    def check(method: str, of: str, comparison: Comparison) -> Check:
        symbol = "" if of == "weights" else f", dL/d{SYMBOLS[of]}" if of in SYMBOLS else f", {of}"
        return Check(method + symbol, comparison, method == "finite-difference")

    checks = [
        *(check(method, of, one) for method, by in computed.from_exact.items() for of, one in by.items()),
        *(check("chain against shortcut", of, one) for of, one in computed.comparisons.items()),
        *(check(method, "loss", computed.against_exact(method, "loss")) for method in computed.error_bounds),
    ]
    return Verification(problem, Tolerance(), checks=checks)
