"""A problem with what claims to be its gradient, judged and diagnosed: what `xegrad verify` shows.

See docs/verify.md.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence

import msgspec
import numpy as np
from msgspec.structs import replace

from xegrad.blindness import blind_spots
from xegrad.bounds import PRECISIONS
from xegrad.claim import Claim, Claimed, Reading
from xegrad.comparison import Comparison, numbers_of
from xegrad.computation import compute
from xegrad.diagnosis import Diagnosis, diagnose, diagnose_loss
from xegrad.intermediates import Intermediates, first_wrong_step
from xegrad.judgement import DIGITS_LOST, RIGHT, WRONG, Judgement, Tolerance, judge
from xegrad.methods import METHODS, Evaluation
from xegrad.problem import Problem
from xegrad.targets import Array
from xegrad.vocabulary import COMPUTED_IN, HALF, SYMBOLS

# Steps of work (losses of one row, class by class) past which a method is left out of the check.
MAX_WORK = {"finite-difference": 2e7, "complex-step": 1e8, "chain": 1e10}

LOSS = "loss"
READINGS = {"decimals": "decimals", "digits_printed": "digits"}  # what options call the fields of a Reading


def in_precision_of(problem: Problem, claim: Claim | Claimed, tolerance: Tolerance) -> Tolerance:
    """In the precision that the problem asks for, else that of the claim's file, else that of the problem's arrays.

    What is in a half-precision file was computed in float32 and then stored so.
    """
    precision = problem.precision or claim.dtype or problem.dtype.name
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


class RightIf(msgspec.Struct, frozen=True, eq=False):
    """Options that nobody gave, by the names that they have in JSON, and the judgement under them: right."""

    options: Mapping[str, str | int]
    judgement: Judgement

    @property
    def is_evidence(self) -> bool:
        """Whether the numbers say so themselves: which precision they have, but not that they are printed."""
        return self.options.keys().isdisjoint(READINGS)


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
    right_if: Mapping[str, RightIf] = {}  # of what is wrong, and would be right if it is said how it was made
    fits: Mapping[str, Sequence[str]] = {}  # of what is wrong, and has the shape of other gradients: which

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


def verify(
    problem: Problem, claim: Claim, tolerance: Tolerance, *, strict: bool = False, auto: bool = False
) -> Verification:
    """Judge what is claimed against the exact values, and say which mistake it is.

    Parameters
    ----------
    tolerance : Tolerance
        In the precision that `in_precision_of` says.
    strict : bool
        Lost digits count as wrong.
    auto : bool
        A precision that the numbers themselves show counts as if it was given.

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
    right_if: dict[str, RightIf] = {}
    misshapen, steps = [], None
    parts = {**claim.gradients, **({} if claim.loss is None else {LOSS: claim.loss})}
    for name, claimed in parts.items():
        shape = numbers_of(exact, name).shape
        if claimed.values.shape != shape and name != LOSS:
            misshapen.append(name)
        part = _Part(problem, exact, name, claimed, shape)
        judged = part.judged(claimed.reading, _tolerance_of(problem, claim, claimed, tolerance))
        if name in misshapen or judged.outcome == WRONG:
            diagnoses[name] = part.diagnosed(judged)
            is_open = (problem.precision or claimed.dtype or claim.dtype) is None
            if name not in misshapen and _names_no_mistake(diagnoses[name]):
                found = next(part.right_if(judged.tolerance, is_open), None)
                if found is not None and auto and found.is_evidence:
                    judged = found.judgement
                    del diagnoses[name]
                elif found is not None:
                    right_if[name] = found
        if name != LOSS and judged.outcome == DIGITS_LOST and name not in diagnoses:
            diagnoses[name] = part.diagnosed(judged)
        elif name not in (LOSS, *misshapen) and judged.outcome == RIGHT and judged.tolerance.derived:
            blind[name] = [*blind_spots(problem, exact, judged.tolerance, name)]
        judgements[name] = judged
    if claim.steps:
        values = {name: claimed.values for name, claimed in claim.steps.items()}
        opened = {name: claimed.reading.resolution for name, claimed in claim.steps.items()}
        of_gradient = judgements["weights"].tolerance if "weights" in judgements else tolerance
        steps = first_wrong_step(problem, exact, values, of_gradient, opened)
    return Verification(
        problem,
        tolerance,
        judgements,
        diagnoses,
        steps,
        blind,
        misshapen,
        strict,
        right_if=right_if,
        fits={name: parts[name].fits for name in diagnoses if parts[name].fits},
    )


def _tolerance_of(problem: Problem, claim: Claim, claimed: Claimed, tolerance: Tolerance) -> Tolerance:
    """Where the parts of a file differ in precision, that of this part; float64 may be what became of another."""
    if claimed.dtype in ("float64", claim.dtype) or claimed.dtype not in PRECISIONS:
        return tolerance
    of_file = tolerance.stored_as == claim.dtype
    return in_precision_of(problem, claimed, replace(tolerance, stored_as=None) if of_file else tolerance)


def _names_no_mistake(diagnosis: Diagnosis) -> bool:
    """But that there are fewer digits than float64 has."""
    return all(names == ("low-precision",) for names in diagnosis.names)


class _Part(msgspec.Struct, frozen=True, eq=False):
    """A gradient that is claimed, or a "loss", with what it is measured against."""

    problem: Problem
    exact: Evaluation
    name: str
    claimed: Claimed
    shape: tuple[int, ...]

    def judged(self, reading: Reading, tolerance: Tolerance) -> Judgement:
        """Its judgement, if it was read and computed so."""
        values, resolution = self.claimed.values.reshape(self.shape), np.asarray(reading.resolution)
        resolution = resolution.reshape(self.shape) if resolution.ndim else resolution
        judged = judge(self.problem, self.exact, values, tolerance, resolution, self.name)
        return replace(judged, reading=reading)

    def diagnosed(self, judged: Judgement) -> Diagnosis:
        """Which mistake it is, in the shape that it was claimed in."""
        resolution = judged.reading.resolution
        if self.name == LOSS:
            loss = float(self.claimed.values.item())
            return diagnose_loss(self.problem, self.exact, loss, judged.tolerance, float(np.max(resolution)))
        values = self.claimed.values
        return diagnose(self.problem, self.exact, values, judged.tolerance, resolution, self.name)

    def right_if(self, tolerance: Tolerance, is_open: bool) -> Iterator[RightIf]:
        """What would make it right: other readings, and other precisions if nobody said which it has."""
        for options, reading, other in self._others(tolerance, is_open and tolerance.derived):
            judged = self.judged(reading, other)
            if judged.outcome in (RIGHT, DIGITS_LOST):
                for option, field in READINGS.items():
                    if reading is not self.claimed.reading and (n := getattr(reading, field)) is not None:
                        options = {**options, option: n}
                yield RightIf(options, judged)

    def _others(
        self, tolerance: Tolerance, is_open: bool
    ) -> Iterator[tuple[Mapping[str, str | int], Reading, Tolerance]]:
        """The readings alone, then float32, then float32 stored as a format with fewer digits, and their readings."""
        for reading in self.claimed.others:
            yield {}, reading, tolerance
        if not is_open or tolerance.precision != "float64":
            return
        for stored_as in (None, *HALF) if tolerance.stored_as is None else (tolerance.stored_as,):
            options = {"dtype": "float32"} | ({"stored_as": stored_as} if stored_as else {})
            other = replace(tolerance, precision="float32", stored_as=stored_as)
            for reading in (self.claimed.reading, *self.claimed.others):
                if _are_of(stored_as or "float32", self.claimed.values, reading.resolution):
                    yield options, reading, other


def _are_of(format_name: str, values: Array, resolution: Array | float) -> bool:
    """Whether each number is one of a format, as far as its text tells, or is printed to no more digits than tell the
    numbers of that format apart: 9 of float32, 5 of float16, 4 of bfloat16 (docs/numerics.md, section 7)."""
    arithmetic = PRECISIONS[format_name]
    digits = math.ceil(1 - math.log10(arithmetic.u))
    with np.errstate(all="ignore"):
        is_one = np.abs(values - arithmetic.nearest(values)) <= resolution
        is_short = np.abs(values) <= 2 * resolution * 10.0**digits
    return bool((is_one | is_short).all())


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
