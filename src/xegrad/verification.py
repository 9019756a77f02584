"""A problem with what claims to be its gradient, judged and diagnosed: what `xegrad verify` shows.

See docs/verify.md.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import replace

from xegrad import memory, notebook, progress
from xegrad.arrays import check_shape
from xegrad.blindness import are_sought, blind_spots
from xegrad.blindness import memory as memory_of_blind_spots
from xegrad.bounds import PRECISIONS
from xegrad.claim import Claim, Claimed, Reading
from xegrad.comparison import Comparison
from xegrad.computation import compute
from xegrad.diagnosis import Diagnosis, diagnose, diagnose_loss
from xegrad.diagnosis import memory as memory_of_diagnosis
from xegrad.errors import InputError
from xegrad.intermediates import Intermediates, first_wrong_step
from xegrad.judgement import DIGITS_LOST, RIGHT, WRONG, Judgement, judge_by_cheapest
from xegrad.methods import METHODS, Evaluation
from xegrad.problem import Problem
from xegrad.reference import begins_with_exact, exact, memory_of_exact
from xegrad.tolerance import Tolerance, tolerance_for
from xegrad.vocabulary import HALF, LOSS, SYMBOLS

ADVISORY = "finite-difference"  # reported, and not counted
Options = Mapping[str, str | int]
READINGS = {"decimals": "decimals", "digits_printed": "digits"}  # what options call the fields of a Reading


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


class Supposition(msgspec.Struct, frozen=True, eq=False):
    """Options that nobody gave, by the names that they have in JSON, and the judgement under them."""

    options: Options
    judgement: Judgement

    @property
    def is_right(self) -> bool:
        """Whether they explain every entry, by a bound that says something."""
        return self.judgement.outcome in (RIGHT, DIGITS_LOST)

    @property
    def is_evidence(self) -> bool:
        """Whether the numbers say so themselves: which precision they have, but not that they are printed."""
        return self.options.keys().isdisjoint(READINGS)


class Verification(msgspec.Struct, frozen=True, eq=False):
    """The outcome of what is claimed, or else of xegrad's own methods.

    Examples
    --------
    >>> verdict = verify(Problem([[1.0, -1.0]], [[3.0]], Targets([0])), Claim(loss=0.0024756851377304495))
    >>> verdict.verified, verdict.judgements["loss"].outcome
    (True, 'right')
    """

    problem: Problem
    tolerance: Tolerance
    judgements: Mapping[str, Judgement] = {}  # of a gradient, by its name, and of a "loss"
    diagnoses: Mapping[str, Diagnosis] = {}  # of what is wrong, or has lost its digits
    steps: Intermediates | None = None
    blind_spots: Mapping[str, Sequence[str]] = {}  # the slips that a right gradient does not rule out
    misshapen: Collection[str] = ()  # the gradients that have another shape than they should
    strict: bool = False
    checks: Sequence[Check] = ()
    # Of what is wrong: how it must have been made to be right, or to be what a mistake makes; so of all steps.
    right_if: Mapping[str, Supposition] = {}
    diagnosed_if: Mapping[str, Supposition] = {}
    steps_right_if: Options | None = None
    fits: Mapping[str, Sequence[str]] = {}  # of what is wrong, and has the shape of other gradients: which
    notes: Sequence[str] = ()  # on how the claim was read

    __repr__ = notebook.one_line("verified", "judgements")

    def accepts(self, name: str) -> bool:
        """Whether what is claimed under this name counts as verified."""
        counted = (RIGHT,) if self.strict else (RIGHT, DIGITS_LOST)
        return self.judgements[name].outcome in counted and name not in self.misshapen

    @property
    def warnings(self) -> list[str]:
        """What is allowed but hardly ever meant, of the problem and of the claim."""
        return [*self.problem.targets.warnings, *self.notes]

    @property
    def verified(self) -> bool:
        """Whether every check passed, and everything that is claimed is right."""
        passed = all(check.passed for check in self.checks if not check.advisory)
        are_steps_right = self.steps is None or self.steps.are_right
        return passed and are_steps_right and all(map(self.accepts, self.judgements))


def verify(
    problem: Problem,
    claim: Any,
    tolerance: Tolerance | None = None,
    *,
    strict: bool = False,
    auto: bool = False,
) -> Verification:
    """Judge what is claimed against the exact values, and say which mistake it is.

    Parameters
    ----------
    claim : Claim
        Or a gradient with respect to W alone.
    tolerance : Tolerance
        By default that of the precision of the claim's array.
    strict : bool
        Lost digits count as wrong.
    auto : bool
        A precision that the numbers themselves show counts as if it was given.

    Raises
    ------
    InputError
        A gradient, or a step of the chain, of another size, or no such step, or nothing to judge.

    Examples
    --------
    >>> problem = Problem([[1.0, -1.0]], [[3.0]], Targets([0]))
    >>> verdict = verify(problem, Claim({"W": [[1.0, 1.0]]}, loss=0.0024756851377304495))
    >>> verdict.judgements["weights"].outcome, verdict.judgements["loss"].outcome, verdict.verified
    ('wrong', 'right', False)
    """
    claim = claim if isinstance(claim, Claim) else Claim({"weights": claim})
    if not (claim.gradients or claim.steps) and claim.loss is None:
        raise InputError("there is no gradient, loss or step to judge")
    tolerance = tolerance or tolerance_for(problem, claim.dtype)
    # Steps of the chain are those of dL/dW; a loss alone needs no gradient.
    names = tuple(dict.fromkeys((*claim.gradients, *(["weights"] if claim.steps else []))))
    memory.check(problem, *_steps_in_memory(problem, names, claim, tolerance))
    claimed_parts = {**claim.gradients, **({} if claim.loss is None else {LOSS: claim.loss})}
    parts = {name: _part(problem, names, name, claim, one, tolerance) for name, one in claimed_parts.items()}
    outcomes = {name: _outcome(part, auto=auto) for name, part in parts.items()}

    def of_parts(field: str) -> dict[str, Any]:
        fields = {name: getattr(one, field) for name, one in outcomes.items()}
        return {name: one for name, one in fields.items() if one is not None}

    judgements, diagnoses = of_parts("judgement"), of_parts("diagnosis")
    steps, steps_right_if = None, None
    if claim.steps:
        of_gradient = judgements["weights"].tolerance if "weights" in judgements else tolerance
        steps, steps_right_if = _judged_steps(problem, exact(problem, names), claim, of_gradient, auto=auto)
    return Verification(
        problem,
        tolerance,
        judgements,
        diagnoses,
        steps,
        of_parts("blind_spots"),
        [name for name, part in parts.items() if part.is_misshapen],
        strict,
        right_if=of_parts("right_if"),
        diagnosed_if=of_parts("diagnosed_if"),
        steps_right_if=steps_right_if,
        fits={name: parts[name].claimed.fits for name in diagnoses if parts[name].claimed.fits},
        notes=claim.notes,
    )


def _steps_in_memory(
    problem: Problem, names: Sequence[str], claim: Claim, tolerance: Tolerance
) -> Iterator[int]:
    """The bytes that each step of a verdict takes, as `memory.check` adds them up; a wrong claim is diagnosed, too."""
    yield METHODS["shortcut"].memory_of_bound(problem, names) + 2 * problem.nbytes_of(names)
    if claim.gradients:
        yield memory_of_diagnosis(problem, names)
    if are_sought(problem):
        yield memory_of_blind_spots(problem, names)
    # Who asks for exact values later asks for the memory then.
    if claim.steps or begins_with_exact(problem, tolerance):
        yield memory_of_exact(problem, names)


class _Part(msgspec.Struct, frozen=True, eq=False):
    """A gradient that is claimed, or a "loss", with what it is measured against, and by what."""

    problem: Problem
    names: tuple[str, ...]  # of all gradients that are claimed
    name: str
    claimed: Claimed
    shape: tuple[int, ...]
    tolerance: Tolerance
    is_open: bool  # nobody said in which precision it was computed

    @property
    def is_misshapen(self) -> bool:
        """Whether a gradient has another shape than it should."""
        return self.claimed.values.shape != self.shape and self.name != LOSS

    def judged(self, reading: Reading, tolerance: Tolerance) -> Judgement:
        """Its judgement, if it was read and computed so."""
        opened = self.claimed.left_open(reading, PRECISIONS[tolerance.kept_in])
        values = self.claimed.values.reshape(self.shape)
        in_shape = opened
        if np.ndim(opened):
            in_shape = np.broadcast_to(opened, self.claimed.values.shape).reshape(self.shape)
        judged = judge_by_cheapest(self.problem, values, tolerance, in_shape, self.name, self.names)
        return replace(judged, reading=replace(reading, resolution=opened))

    def diagnosed(self, judged: Judgement) -> Diagnosis:
        """Which mistake it is, in the shape that it was claimed in."""
        resolution, exact = judged.reading.resolution, judged.reference
        if self.name == LOSS:
            loss = float(self.claimed.values.item())
            return diagnose_loss(self.problem, exact, loss, judged.tolerance, float(np.max(resolution)))
        values = self.claimed.values
        return diagnose(self.problem, exact, values, judged.tolerance, resolution, self.name, judged)

    def suppositions(self) -> Iterator[Supposition]:
        """How it may have been made: printed with fewer digits, or in another precision if nobody said which.

        None of a gradient that has another shape.
        """
        if self.is_misshapen:
            return
        for reading in self.claimed.others:
            yield Supposition(_options_of(reading), self.judged(reading, self.tolerance))
        for options, other in _narrower(self.tolerance) if self.is_open else ():
            for reading in (self.claimed.reading, *self.claimed.others):
                if _are_of(other, self.claimed, reading):
                    of_reading = {} if reading is self.claimed.reading else _options_of(reading)
                    yield Supposition({**options, **of_reading}, self.judged(reading, other))


def _part(
    problem: Problem,
    names: tuple[str, ...],
    name: str,
    claim: Claim,
    claimed: Claimed,
    tolerance: Tolerance,
) -> _Part:
    """A part of the claim; refused where it has not as many numbers as there should be."""
    shape = (1,) if name == LOSS else problem.shape_of(name)
    if claimed.values.size != math.prod(shape):
        check_shape("the gradient", claimed.values.shape, shape)
    of_part = _tolerance_of(problem, claim, claimed, tolerance)
    return _Part(problem, names, name, claimed, shape, of_part, _is_open(problem, claim, claimed))


class _Outcome(msgspec.Struct, frozen=True, eq=False):
    """What `Verification` says of one part; what it does not say is None."""

    judgement: Judgement
    diagnosis: Diagnosis | None = None
    right_if: Supposition | None = None
    diagnosed_if: Supposition | None = None
    blind_spots: Sequence[str] | None = None


def _outcome(part: _Part, *, auto: bool) -> _Outcome:
    """A part judged; diagnosed where it is wrong or has lost its digits; and the blind spots of one that is right."""
    judged = part.judged(part.claimed.reading, part.tolerance)
    if judged.outcome == WRONG or part.is_misshapen:
        right, supposed, diagnosis = _supposed(part, part.diagnosed(judged))
        if right is None:
            return _Outcome(judged, diagnosis, diagnosed_if=supposed)
        if not (auto and right.is_evidence and names_no_mistake(diagnosis.names)):
            return _Outcome(judged, diagnosis, right_if=right)
        judged = right.judgement
    if part.name == LOSS:
        return _Outcome(judged)
    if judged.outcome == DIGITS_LOST:
        return _Outcome(judged, part.diagnosed(judged))
    if judged.outcome == RIGHT and judged.tolerance.derived and are_sought(part.problem):
        spots = blind_spots(part.problem, judged.reference, judged.tolerance, part.name)
        return _Outcome(judged, blind_spots=[*spots])
    return _Outcome(judged)


def _supposed(part: _Part, diagnosis: Diagnosis) -> tuple[Supposition | None, Supposition | None, Diagnosis]:
    """What explains every entry, if anything does; or else, of what is not understood, under what a mistake does."""
    tried = []
    for supposition in part.suppositions():
        if supposition.is_right:
            return supposition, None, diagnosis
        tried.append(supposition)
    for supposition in () if diagnosis.says_something else tried:
        if (other := part.diagnosed(supposition.judgement)).says_something:
            return None, supposition, other
    return None, None, diagnosis


def _judged_steps(
    problem: Problem, exact: Evaluation, claim: Claim, tolerance: Tolerance, *, auto: bool
) -> tuple[Intermediates, Options | None]:
    """The steps of the chain, and the options under which all of them are right where they are not."""
    steps = _steps(problem, exact, claim, tolerance)
    for options, other in _narrower(tolerance) if steps.wrong and _is_open(problem, claim) else ():
        if all(_are_of(other, claimed, claimed.reading) for claimed in claim.steps.values()):
            supposed = _steps(problem, exact, claim, other)
            if supposed.are_right:
                counts = auto and names_no_mistake([(slip,) for slip in steps.slips])
                return (supposed, None) if counts else (steps, options)
    return steps, None


def _steps(problem: Problem, exact: Evaluation, claim: Claim, tolerance: Tolerance) -> Intermediates:
    """The steps that are claimed, if they were computed so."""
    stored_in = PRECISIONS[tolerance.kept_in]
    values = {name: claimed.values for name, claimed in claim.steps.items()}
    opened = {name: claimed.left_open(claimed.reading, stored_in) for name, claimed in claim.steps.items()}
    return first_wrong_step(problem, exact, values, tolerance, opened)


def _tolerance_of(problem: Problem, claim: Claim, claimed: Claimed, tolerance: Tolerance) -> Tolerance:
    """Where the parts of a file differ in precision, that of this part; float64 may be what became of another."""
    if claimed.dtype in ("float64", claim.dtype) or claimed.dtype not in PRECISIONS:
        return tolerance
    of_file = tolerance.stored_as == claim.dtype
    tolerance = replace(tolerance, stored_as=None) if of_file else tolerance
    return tolerance_for(problem, claimed.dtype, tolerance)


def names_no_mistake(names: Iterable[Sequence[str]]) -> bool:
    """But that there are fewer digits than float64 has."""
    return all((*each,) == ("low-precision",) for each in names)


def _is_open(problem: Problem, claim: Claim, claimed: Claimed | None = None) -> bool:
    """Whether nobody said in which precision it was computed."""
    return (problem.precision or (claimed and claimed.dtype) or claim.dtype) is None


def _narrower(tolerance: Tolerance) -> Iterator[tuple[Options, Tolerance]]:
    """The precisions that are tried after float64, the widest first, and the options that say so."""
    if tolerance.precision != "float64" or not tolerance.derived:
        return
    for stored_as in (None, *HALF) if tolerance.stored_as is None else (tolerance.stored_as,):
        stored: Options = {"stored_as": stored_as} if stored_as else {}
        yield {"dtype": "float32", **stored}, replace(tolerance, precision="float32", stored_as=stored_as)


def _options_of(reading: Reading) -> dict[str, str | int]:
    """The options that say how it was printed."""
    fields = ((option, getattr(reading, field)) for option, field in READINGS.items())
    return {option: number for option, number in fields if number is not None}


def _are_of(tolerance: Tolerance, claimed: Claimed, reading: Reading) -> bool:
    """Whether each number is one of the format that it would be in, as far as its text tells: one that is printed to
    few digits may be (docs/numerics.md, section 7)."""
    stored_in = PRECISIONS[tolerance.kept_in]
    # Half a unit of a half format would open every number of few digits, even one that is 0 in it.
    opened = reading.resolution if tolerance.stored_as else claimed.left_open(reading, stored_in)
    # What is read is itself rounded, by less than the distance to the next float.
    opened = opened + PRECISIONS["float64"].u * np.abs(claimed.values)
    with np.errstate(all="ignore"):
        return bool((np.abs(claimed.values - stored_in.nearest(claimed.values)) <= opened).all())


def verify_methods(problem: Problem, with_respect_to: Sequence[str]) -> Verification:
    """Check every float method's gradients and loss against the exact ones, and the chain against the shortcut.

    A chain that takes more than 10 s by estimate is left out, and finite differences and the complex step past 1 s.
    """
    longest = {"chain": progress.LONG, "shortcut": math.inf, "exact": math.inf}  # seconds
    methods = [name for name in METHODS if METHODS[name].work(problem) <= longest.get(name, 1.0)]
    computed = compute(problem, methods, with_respect_to)

    def check(method: str, of: str, comparison: Comparison) -> Check:
        symbol = "" if of == "weights" else f", dL/d{SYMBOLS[of]}" if of in SYMBOLS else f", {of}"
        return Check(method + symbol, comparison, method == ADVISORY)

    checks = [
        *(check(method, of, one) for method, by in computed.from_exact.items() for of, one in by.items()),
        *(check("chain against shortcut", of, one) for of, one in computed.comparisons.items()),
        *(check(method, "loss", computed.against_exact(method, "loss")) for method in computed.error_bounds),
    ]
    return Verification(problem, Tolerance(), checks=checks)
