"""Steps downhill on a problem: gradient descent over the full batch.

See docs/numerics.md, section 11.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import msgspec
import numpy as np
from msgspec.structs import replace

from xegrad import bounds, layer, progress
from xegrad.errors import InputError
from xegrad.methods import METHODS
from xegrad.problem import Problem
from xegrad.targets import Array

LARGEST = 1e300  # step: one that may be halved
SUFFICIENT = 1e-4  # Armijo's part of the decrease that the slope foretells, as is customary
STEEPEST = 1e150  # a norm whose square is a float: beyond it no step is short enough to be one
LONGEST = 1e8  # times the step that is always short enough: a longer one is hardly ever right


class Descent(msgspec.Struct, frozen=True, eq=False):
    """Where W and b came from and went, and the losses on the way.

    Every step counted was taken, and every loss is finite: a step that let the loss grow past the start, or
    overflow, is not taken, and `diverged_at` says which it was, counted from one.
    """

    start: Problem
    end: Problem  # the same, with the new W and b
    losses: tuple[float, ...]  # before the first step, and after each
    gradient_norm: float  # at the end, of dL/dW (with its l2) and dL/db together; NaN where not finite
    converged: bool  # the norm is within the tolerance, or the loss can fall no further in floats
    interrupted: bool = False
    diverged_at: int | None = None
    diverged_to: float | None = None  # the loss there, or infinity; None where the gradient was not finite

    @property
    def steps(self) -> int:
        """How many were taken."""
        return len(self.losses) - 1

    @property
    def largest_change(self) -> float:
        """The largest change of an entry of W."""
        return float(np.abs(np.subtract(self.end.weights, self.start.weights, dtype=np.float64)).max())


class _Point(msgspec.Struct, frozen=True, eq=False):
    """Where a descent is after so many steps."""

    step: int
    problem: Problem
    loss: float
    slope: Mapping[str, Array]  # of what is made small, by "weights" and "bias"

    @property
    @np.errstate(all="ignore")
    def norm(self) -> float:
        """Of all of the slope as one vector; its squares may overflow though it does not."""
        largest = float(np.max([np.abs(part).max() for part in self.slope.values()]))
        if not 0 < largest < math.inf:
            return largest
        parts = [part.astype(np.float64) / largest for part in self.slope.values()]
        return largest * math.hypot(*(float(np.linalg.norm(part)) for part in parts))


def accuracy(problem: Problem) -> float | None:
    """The share of the labelled rows whose most probable class is the label; None if no row has a label.

    Of several classes that are equally probable the first counts, as numpy's argmax and torch's take it.
    """
    labels = problem.targets.label_of_rows
    labelled = labels >= 0
    if not labelled.any():
        return None
    guesses = layer.forward(problem.rounded).logits.argmax(axis=-1)
    return float((guesses == labels)[labelled].mean())


def descend(
    problem: Problem,
    *,
    steps: int = 1,
    learning_rate: float | None = None,
    method: str = "shortcut",
    tolerance: float = 0.0,
    l2: float = 0.0,
    on_step: Callable[[int, float], None] | None = None,
) -> Descent:
    """W - eta (dL/dW + l2 W) and b - eta dL/db, `steps` times, where L is the loss of the problem's Q.

    What is made small is L + l2/2 sum W^2; b is not penalised, and moves only where the problem has one.

    Parameters
    ----------
    learning_rate : float, optional
        eta.  One step is that of torch.optim.SGD, with l2 as the weight decay of W.  Without it, each step
        begins at the shorter length of Barzilai and Borwein, s'y / y'y of the last step s and the change y of
        the slope, and is halved until the loss falls by 1e-4 of what the slope foretells (Armijo); a step
        that lets it grow is never taken.
    method : a name in METHODS
        By which the gradient is computed; the loss is always that of the accurate forward pass.
    tolerance : float
        The norm of the gradient, over W and b together, at which to stop.
    on_step : callable, optional
        Hears after each step of its number and its loss.

    KeyboardInterrupt ends the descent after the step, with what there is.  An argument that means nothing, and a
    loss that is not finite at the start, is an InputError.

    Notes
    -----
    J. Barzilai and J. M. Borwein, Two-point step size gradient methods, IMA J. Numer. Anal. 8 (1988) 141-148.
    L. Armijo, Pacific J. Math. 16 (1966) 1-3.  The first step is 1 / M, with M no less than any
    curvature: the softmax's is at most 1/2 (D. Böhning, Ann. Inst. Statist. Math. 44 (1992) 197-200), so
    M = l2 + 1/2 sum_b q_b (|x_b|^2 + 1), and a step of 1 / M always lessens the loss but for rounding.
    """
    _check(problem, steps, learning_rate, method, tolerance, l2)
    start = problem.rounded
    point = _Point(0, start, _objective(start, l2), _slope(start, method, l2))
    if not math.isfinite(point.loss):
        raise InputError(f"the loss is {point.loss} before the first step: no step can be judged by it")
    losses = [point.loss]
    length = _surely_short(start, l2) if learning_rate is None else learning_rate
    converged, interrupted = point.norm <= tolerance, False
    diverged: tuple[int, float | None] | tuple[None, None] = None, None
    try:
        for step in progress.track(range(1, steps + 1), "descend"):
            if converged:
                break
            if not math.isfinite(point.norm):
                diverged = step, None
                break
            if learning_rate is None:
                taken = _shortened(point, length, l2)
                if taken is None:
                    converged = point.norm < STEEPEST
                    break
                length, there, loss = taken
            else:
                moved = _moved(point, length)
                loss = math.inf if moved is None else _objective(moved, l2)
                if moved is None or _grew(start, losses[0], moved, loss, l2):
                    diverged = step, loss
                    break
                there = moved
            arrived = _Point(step, there, loss, _slope(there, method, l2))
            if learning_rate is None:
                length = _next_length(point, arrived, length, l2)
            losses.append(loss)
            point = arrived  # the step is taken: whatever interrupts now finds it whole
            converged = point.norm <= tolerance
            if on_step is not None:
                on_step(step, loss)
    except KeyboardInterrupt:
        interrupted = True
    reached = tuple(losses[: point.step + 1])
    return Descent(start, point.problem, reached, point.norm, converged, interrupted, *diverged)


def _check(
    problem: Problem, steps: int, learning_rate: float | None, method: str, tolerance: float, l2: float
) -> None:
    if problem.weights.ndim > 2:
        raise InputError("a descent is that of one problem, not of a stack")
    if method not in METHODS:
        raise InputError(f"there is no method {method!r}; the methods are {', '.join(METHODS)}")
    if steps < 0:
        raise InputError(f"{steps} steps cannot be taken; a whole number from 0 is expected")
    if learning_rate is not None and not 0 < learning_rate < math.inf:
        raise InputError(f"the learning rate is {learning_rate}; a positive number is expected")
    for name, value in (("tolerance", tolerance), ("l2", l2)):
        if not 0 <= value < math.inf:
            raise InputError(f"{name} is {value}; a number from 0 is expected")


@np.errstate(all="ignore")
def _objective(problem: Problem, l2: float) -> float:
    """L + l2/2 sum W^2; infinite where it is no number."""
    loss = float(layer.forward(problem).loss) + _penalty(problem, l2)
    return math.inf if math.isnan(loss) else loss


@np.errstate(all="ignore")
def _penalty(problem: Problem, l2: float) -> float:
    # Without l2 there is none, though the sum of squares may overflow.
    return l2 / 2 * float(np.square(problem.weights, dtype=np.float64).sum()) if l2 else 0.0


@np.errstate(all="ignore")
def _slope(problem: Problem, method: str, l2: float) -> dict[str, Array]:
    """dL/dW + l2 W, and dL/db where there is a b, in the precision of the problem."""
    names = ("weights",) if problem.bias is None else ("weights", "bias")
    gradients = METHODS[method].evaluate(problem, names).gradients
    slope = {name: gradient.astype(problem.dtype) for name, gradient in gradients.items()}
    if l2:
        slope["weights"] = slope["weights"] + l2 * problem.weights
    return slope


@np.errstate(all="ignore")
def _moved(point: _Point, length: float) -> Problem | None:
    """W - eta dL/dW, and b likewise; None where a number overflows."""
    problem, slope = point.problem, point.slope
    weights = problem.weights - length * slope["weights"]
    bias = None if problem.bias is None else problem.bias - length * slope["bias"]
    if not np.isfinite(weights).all() or not (bias is None or np.isfinite(bias).all()):
        return None
    return replace(problem, weights=weights, bias=bias)


def _shortened(point: _Point, length: float, l2: float) -> tuple[float, Problem, float] | None:
    """The first of length, length / 2, .. that lessens the loss enough, with the problem and the loss there.

    None where the fall that the slope foretells, eta |g|^2, is below what a loss in this precision can show.
    """
    norm = point.norm
    least = float(np.finfo(point.problem.dtype).eps) / 2 * point.loss
    while length * norm * norm > least:
        there = _moved(point, length)
        if there is not None:
            loss = _objective(there, l2)
            if loss <= point.loss - SUFFICIENT * length * norm * norm:
                return length, there, loss
        length /= 2
    return None


def _surely_short(problem: Problem, l2: float) -> float:
    """1 / (l2 + 1/2 sum_b q_b (|x_b|^2 + 1)), the 1 only where there is a b; 1 where all of that is 0."""
    mass = problem.targets.effective(problem.n_classes, np.dtype(np.float64)).sum(axis=-1)
    with np.errstate(over="ignore"):
        squares = np.square(problem.inputs, dtype=np.float64).sum(axis=-1) + (problem.bias is not None)
        most = l2 + float((mass * squares).sum()) / 2
    return min(1 / most, LARGEST) if 0 < most < math.inf else 1.0


@np.errstate(all="ignore")
def _next_length(before: _Point, after: _Point, length: float, l2: float) -> float:
    """s'y / y'y, with s the step and y the change of the slope; twice the last where rounding left no y.

    s = -eta g and y = g_after - g, so with c = g - g_after it is eta g'c / c'c.
    """
    along = square = 0.0
    for name, old in before.slope.items():
        change = old.astype(np.float64) - after.slope[name]
        along += float((old * change).sum())
        square += float((change * change).sum())
    quotient = along / square if 0 < along < math.inf and 0 < square < math.inf else 2.0
    return min(length * quotient, LONGEST * _surely_short(after.problem, l2), LARGEST)


def _grew(start: Problem, first: float, there: Problem, loss: float, l2: float) -> bool:
    """Whether a loss exceeds that of the start by more than the rounding of both explains."""
    if loss <= first:
        return False
    u = bounds.PRECISIONS["float64"].u
    rounding = sum(
        float(bounds.stable(problem, ()).loss) + (problem.weights.size + 3) * u * _penalty(problem, l2)
        for problem in (start, there)
    )
    return not (math.isfinite(rounding) and loss - first <= rounding)
