"""The first wrong one of the chain's steps, and whether the later ones follow from it.

See docs/numerics.md, section 8.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from xegrad import bounds
from xegrad.arrays import array_of
from xegrad.bounds import Bound
from xegrad.derivation import Cells
from xegrad.diagnosis import Diagnosis, diagnose
from xegrad.errors import InputError
from xegrad.methods import Evaluation, exact_if_absent
from xegrad.numbers.rounded import Rounded, softmax
from xegrad.problem import Problem
from xegrad.slips import SLIPS
from xegrad.slips.making import with_slip
from xegrad.targets import Array
from xegrad.tolerance import Tolerance, tolerance_for
from xegrad.vocabulary import CHAIN, count

OF_A_BATCH = ("logits", "probabilities", "loss", "gradient")
CELLS = {
    "logits": "Z",
    "probabilities": "S",
    "loss": "loss",
    "cross_entropy_jacobian": "DXE",
    "softmax_jacobian": "DS",
    "weighted_sum_jacobian": "Dg",
    "layer_jacobian": "DL",
    "flat_gradient": "flat",
    "gradient": "G",
}


_NEGATED = ("sign-flipped", operator.neg)
# The slips that are looked for in one step alone, and what each makes of it.
MISTAKES: Mapping[str, Sequence[tuple[str, Callable[[Rounded], Rounded]]]] = {
    "probabilities": [("softmax-twice", softmax)],
    "loss": [_NEGATED],
    "cross_entropy_jacobian": [_NEGATED],
    "softmax_jacobian": [
        ("jacobian-diagonal", lambda step: step.moved(lambda array: np.diagonal(array, axis1=-2, axis2=-1))),
        ("jacobian-diagonal", lambda step: step * np.eye(step.shape[-1])),
        _NEGATED,
    ],
    # Input by input, as W's memory is laid out, where the columns run class by class.
    "weighted_sum_jacobian": [
        ("scrambled-reshape", lambda step: step.reshape(len(step.value), len(step.value), -1).T)
    ],
    "layer_jacobian": [_NEGATED],
}


class Intermediates(msgspec.Struct, frozen=True, eq=False):
    """What was found along the chain.  `wrong` is the first step that rounding does not explain, if any."""

    right: tuple[str, ...]  # the steps before it that are
    wrong: str | None
    slips: tuple[str, ...]  # that make this step as it is
    diagnosis: Diagnosis  # of the gradient, where that is the wrong step
    follows: Mapping[str, bool]  # of each later step, whether it is what the wrong one leads to
    right_later: tuple[str, ...] = ()  # the later steps that are right all the same
    undecided: tuple[str, ...] = ()  # the steps of which the bound says nothing

    @property
    def are_right(self) -> bool:
        """Whether every step is."""
        return self.wrong is None and not self.undecided


@exact_if_absent
@np.errstate(all="ignore")
def first_wrong_step(
    problem: Problem,
    exact: Evaluation,
    steps: Mapping[str, Any],
    tolerance: Tolerance | None = None,
    resolution: Mapping[str, Array | float] | None = None,
) -> Intermediates:
    """Check the steps that are there, some or all, in the order of the chain.

    Parameters
    ----------
    exact : Evaluation
        Of the exact method.  `first_wrong_step(problem, steps)` evaluates it.
    steps : by name
        logits and probabilities (B, T), or (T,) of one example; loss; gradient (N, T); and of one example
        cross_entropy_jacobian (T,), softmax_jacobian (T, T), weighted_sum_jacobian and layer_jacobian
        (T, T*N), flat_gradient (T*N,), the columns class by class.
    resolution : by name, optional
        What printing left open.

    Raises
    ------
    InputError
        A name that is no step of this chain, or a step of another size.

    Examples
    --------
    >>> problem = Problem([[1.0, -1.0]], [[2.0]], Targets([0]))
    >>> first_wrong_step(problem, {"logits": [2.0, -2.0], "probabilities": [0.9, 0.1]}).wrong
    'probabilities'
    """
    tolerance, resolution = tolerance or tolerance_for(problem, None), resolution or {}
    cells = bounds.cells_of(problem, tolerance.arithmetic)
    present = _in_order(problem, steps)
    expected = _expected(cells, bounds.stable(problem, arithmetic=tolerance.arithmetic), exact, present)
    claims = {
        name: _claimed(name, steps[name], expected[name], problem, resolution.get(name, 0.0))
        for name in present
    }

    def is_within(name: str, step: Rounded) -> bool:
        return _is_within(claims[name], step, tolerance)

    undecided = tuple(
        name
        for name in present
        if is_within(name, expected[name]) and not _is_telling(claims[name], expected[name], tolerance)
    )
    wrong = next((name for name in present if not is_within(name, expected[name])), None)
    index = len(present) if wrong is None else present.index(wrong)
    right = tuple(name for name in present[:index] if name not in undecided)
    if wrong is None:
        return Intermediates(right, None, (), Diagnosis(), {}, undecided=undecided)
    later, claim, diagnosis = present[index + 1 :], claims[wrong], Diagnosis()
    if wrong in ("gradient", "flat_gradient"):
        candidate = claim if wrong == "gradient" else claim.reshape(problem.n_classes, -1).T
        diagnosis = diagnose(problem, exact, candidate.value, tolerance, candidate.error)
        slips = [name for names in diagnosis.names for name in names]
    else:
        slips = [name for name, made in _with_slips(cells, wrong) if is_within(wrong, _step(made, wrong))]
    follows = {}
    if claim.value.size == expected[wrong].value.size:
        after = _with_claim(cells, wrong, claim, tolerance)
        made = {name: _step(after, name) for name in later}
        follows = {
            name: is_within(name, step) and _is_telling(claims[name], step, tolerance)
            for name, step in made.items()
        }
    right_later = tuple(name for name in later if name not in undecided and is_within(name, expected[name]))
    return Intermediates(right, wrong, (*dict.fromkeys(slips),), diagnosis, follows, right_later, undecided)


def _in_order(problem: Problem, steps: Collection[str]) -> list[str]:
    """Their names as they come in the chain of this problem; refused where one is no step of it."""
    known = CHAIN if problem.n_rows == 1 else OF_A_BATCH
    for name in steps:
        if name in CHAIN and name not in known:
            of_a_batch = f"of {count(problem.n_rows, 'row')} there are {', '.join(known)}"
            alone = "what xegrad explain prints is one of them: explain and judge a problem of that row alone"
            raise InputError(f"{name} is a step of one example; {of_a_batch}; {alone}")
        if name not in known:
            raise InputError(f"there is no step {name!r} here; there are {', '.join(known)}")
    return [name for name in known if name in steps]


def _expected(cells: Cells, bound: Bound, exact: Evaluation, steps: Sequence[str]) -> dict[str, Rounded]:
    """Each step as it should be: its exact value, where that is known."""
    gradient = Rounded(exact.gradients["weights"], bound.gradients["weights"], cells.arithmetic)
    known_exactly = {
        "loss": Rounded(np.asarray(exact.loss), bound.loss, cells.arithmetic),
        "gradient": gradient,
        "flat_gradient": gradient.T.reshape(-1),
    }
    return {name: known_exactly.get(name) or _step(cells, name) for name in steps}


def _claimed(name: str, step: Any, expected: Rounded, problem: Problem, resolution: Array | float) -> Rounded:
    """A step that is claimed; refused where it has not as many numbers as there should be."""
    values = array_of(name, step).astype(np.float64)
    n_numbers, n_expected = values.size, expected.value.size
    if n_numbers != n_expected and not (name == "softmax_jacobian" and n_numbers == problem.n_classes):
        hint = "; of a batch, xegrad explain shows one row" if problem.n_rows > 1 else ""
        raise InputError(f"{name} has {count(n_numbers, 'number')}, not {n_expected}{hint}")
    return Rounded(values, resolution, expected.arithmetic)


def _is_within(claim: Rounded, step: Rounded, tolerance: Tolerance) -> bool:
    """Whether what is claimed is the step, but for what is allowed; any number may be, where there is no bound."""
    if claim.value.size != step.value.size:
        return False
    claim, allowed = claim.reshape(*step.shape), _allowed(claim, step, tolerance)
    is_near = np.abs(claim.value - step.value) <= allowed
    return bool((is_near | (~np.isfinite(allowed) & ~np.isnan(claim.value))).all())


def _is_telling(claim: Rounded, step: Rounded, tolerance: Tolerance) -> bool:
    """Whether each entry has a bound, and that of some entry does not exceed half of it, if any is not 0."""
    allowed, size = _allowed(claim, step, tolerance), np.abs(step.value)
    is_vacuous = tolerance.derived and size.any() and not (2 * allowed <= size)[size > 0].any()
    return bool(np.isfinite(allowed).all() and not is_vacuous)


def _allowed(claim: Rounded, step: Rounded, tolerance: Tolerance) -> Array:
    """How far a claim may be from a step of its size."""
    return np.asarray(tolerance.allowed(step.value, step.error, claim.reshape(*step.shape).error))


def _with_claim(cells: Cells, step: str, claim: Rounded, tolerance: Tolerance) -> Cells:
    """The derivation from a step that is claimed, where what comes after was computed before that was stored."""
    error = tolerance.allowed(claim.value, cells.arithmetic.u * np.abs(claim.value), claim.error)
    claim = Rounded(claim.value, error, cells.arithmetic).reshape(*getattr(cells, CELLS[step]).shape)
    return cells.replace(CELLS[step], claim)


def _step(cells: Cells, name: str) -> Rounded:
    """A step, with what two computations of it can differ by.  The gradient of one example is the flat one folded."""
    step: Rounded = getattr(cells, CELLS[name])
    if name == "gradient" and cells.problem.n_rows == 1:
        step = cells.flat.reshape(cells.problem.n_classes, -1).T
    return Rounded(step.value, 2 * bounds.INFLATION * step.error, step.arithmetic)


def _with_slips(cells: Cells, step: str) -> Iterator[tuple[str, Cells]]:
    """The slips that may have made a step, and the derivation with each in it."""
    if step in ("logits", "probabilities", "loss"):
        for slip in SLIPS.values():
            if slip.stage in ("bias", "probabilities", "target"):
                yield from ((slip.name, with_slip(cells, slip, form)) for form in slip.fixed_forms(cells))
    for name, change in MISTAKES.get(step, ()):
        yield name, cells.replace(CELLS[step], change(getattr(cells, CELLS[step])))
