"""The first wrong one of the chain's steps, and whether the later ones follow from it.

See docs/numerics.md, section 8.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec
import numpy as np

from xegrad import bounds
from xegrad.derivation import Cells
from xegrad.diagnosis import Diagnosis, diagnose
from xegrad.errors import InputError
from xegrad.judgement import Tolerance
from xegrad.methods import Evaluation
from xegrad.numbers.rounded import Rounded, softmax
from xegrad.problem import Problem
from xegrad.slips import SLIPS
from xegrad.slips.making import with_slip
from xegrad.targets import Array
from xegrad.vocabulary import CHAIN

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


class Intermediates(msgspec.Struct, frozen=True, eq=False):
    """What was found along the chain.  `wrong` is the first step that rounding does not explain, if any."""

    right: tuple[str, ...]  # the steps before it
    wrong: str | None
    slips: tuple[str, ...]  # that make this step as it is
    diagnosis: Diagnosis  # of the gradient, where that is the wrong step
    follows: Mapping[str, bool]  # of each later step, whether it is what the wrong one leads to
    right_later: tuple[str, ...] = ()  # the later steps that are right all the same


@np.errstate(all="ignore")
def first_wrong_step(
    problem: Problem,
    exact: Evaluation,
    steps: Mapping[str, Array],
    tolerance: Tolerance | None = None,
    resolution: Mapping[str, Array | float] | None = None,
) -> Intermediates:
    """Check the steps that are there, some or all, in the order of the chain.

    Parameters
    ----------
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
    """
    tolerance, resolution = tolerance or Tolerance(), resolution or {}
    cells = bounds.cells_of(problem, tolerance.precision, tolerance.terms)
    known = CHAIN if problem.n_rows == 1 else OF_A_BATCH
    for name in steps:
        if name not in known:
            raise InputError(f"there is no step {name!r} here; there are {', '.join(known)}")
    present = [name for name in known if name in steps]
    expected = {name: _expected(problem, exact, tolerance, name) for name in present}
    claims = {name: np.asarray(steps[name], dtype=np.float64) for name in present}
    for name, values in claims.items():
        size = expected[name].value.size
        if values.size != size and not (name == "softmax_jacobian" and values.size == problem.n_classes):
            hint = "; of a batch, xegrad explain shows one row" if problem.n_rows > 1 else ""
            raise InputError(f"{name} has {_count(values.size)}, not {size}{hint}")

    def is_within(name: str, step: Rounded) -> bool:
        values, open_ = claims[name], np.broadcast_to(resolution.get(name, 0.0), claims[name].shape)
        if values.size != step.value.size:
            return False
        allowed = tolerance.allowed(step.value, step.error, open_.reshape(step.shape))
        return bool((np.abs(values.reshape(step.shape) - step.value) <= allowed).all())

    wrong = next((name for name in present if not is_within(name, expected[name])), None)
    if wrong is None:
        return Intermediates(tuple(present), None, (), Diagnosis(), {})
    index = present.index(wrong)
    later, values = present[index + 1 :], claims[wrong]
    open_ = np.broadcast_to(resolution.get(wrong, 0.0), values.shape)
    diagnosis = Diagnosis()
    if wrong in ("gradient", "flat_gradient"):
        gradient = [values, open_]
        if wrong == "flat_gradient":
            gradient = [part.reshape(problem.n_classes, -1).T for part in gradient]
        diagnosis = diagnose(problem, exact, gradient[0], tolerance, gradient[1])
        slips = [name for names in diagnosis.names for name in names]
    else:
        slips = [name for name, step in _made_by_slips(cells, wrong) if is_within(wrong, step)]
    follows = {}
    if values.size == expected[wrong].value.size:
        # What came after it was computed from the number before it was stored.
        error = tolerance.allowed(values, cells.arithmetic.u * np.abs(values), open_)
        claim = Rounded(values, error, cells.arithmetic).reshape(*getattr(cells, CELLS[wrong]).shape)
        after = cells.replace(CELLS[wrong], claim)
        follows = {name: is_within(name, _step(after, name)) for name in later}
    right_later = tuple(name for name in later if is_within(name, expected[name]))
    before, made_by = tuple(present[:index]), tuple(dict.fromkeys(slips))
    return Intermediates(before, wrong, made_by, diagnosis, follows, right_later)


def _count(size: int) -> str:
    return f"{size} number{'' if size == 1 else 's'}"


def _expected(problem: Problem, exact: Evaluation, tolerance: Tolerance, name: str) -> Rounded:
    """A step as it should be: the exact values, where they are known."""
    cells = bounds.cells_of(problem, tolerance.precision, tolerance.terms)
    if name not in ("loss", "gradient", "flat_gradient"):
        return _step(cells, name)
    bound = bounds.stable(problem, precision=tolerance.precision, terms=tolerance.terms)
    if name == "loss":
        return Rounded(np.asarray(exact.loss), bound.loss, cells.arithmetic)
    gradient = Rounded(exact.gradients["weights"], bound.gradients["weights"], cells.arithmetic)
    return gradient if name == "gradient" else gradient.T.reshape(-1)


def _step(cells: Cells, name: str) -> Rounded:
    """A step, with what two computations of it can differ by.  The gradient of one example is the flat one folded."""
    step: Rounded = getattr(cells, CELLS[name])
    if name == "gradient" and cells.problem.n_rows == 1:
        step = cells.flat.reshape(cells.problem.n_classes, -1).T
    return Rounded(step.value, 2 * bounds.INFLATION * step.error, step.arithmetic)


def _made_by_slips(cells: Cells, name: str) -> Iterator[tuple[str, Rounded]]:
    """What slips make of a step, by name."""
    if name in ("logits", "probabilities", "loss"):
        for slip in SLIPS.values():
            if slip.free is None and slip.stage in ("bias", "probabilities", "target"):
                for form in slip.forms(cells):
                    yield slip.name, _step(with_slip(cells, slip, form), name)
    if name == "probabilities":
        yield "softmax-twice", _step(cells.replace("S", softmax(cells.S)), name)
    right = _step(cells, name)
    if name == "softmax_jacobian":
        diagonal = right.moved(lambda array: np.diagonal(array, axis1=-2, axis2=-1))
        yield "jacobian-diagonal", diagonal
        yield "jacobian-diagonal", diagonal.moved(lambda array: np.eye(array.size) * array)
    if name in ("cross_entropy_jacobian", "softmax_jacobian", "layer_jacobian", "loss"):
        yield "sign-flipped", -right
    if name == "weighted_sum_jacobian":
        # Laid out input by input, as W's memory is, where the columns run class by class.
        n_classes = cells.problem.n_classes
        yield (
            "scrambled-reshape",
            right.reshape(n_classes, n_classes, -1).moved(lambda array: array.swapaxes(-1, -2)),
        )
