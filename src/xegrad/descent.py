"""Steps downhill on a problem: gradient descent over the full batch.

See docs/numerics.md, section 11.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Literal, Protocol

import msgspec
import numpy as np
from msgspec.structs import replace

from xegrad import bounds, layer, memory, notebook, progress
from xegrad.computation import QUICK
from xegrad.errors import InputError
from xegrad.methods import METHODS, Evaluation
from xegrad.problem import Problem
from xegrad.targets import Array
from xegrad.vocabulary import count

LARGEST = 1e300  # step: one that may be halved
SUFFICIENT = 1e-4  # Armijo's part of the decrease that the slope foretells, as is customary
STEEPEST = 1e150  # a norm whose square is a float: beyond it no step is short enough to be one
LONGEST = 1e8  # times the step that is always short enough: a longer one is hardly ever right


class Descent(msgspec.Struct, frozen=True, eq=False):
    """Where W and b came from and went, and the losses on the way.

    Every step counted was taken, and every loss is finite: a step that let the loss grow past the start, or
    overflow, is not taken, and `diverged_at` says which it was, counted from one.

    Examples
    --------
    >>> descent = descend(Problem([[1.0, -1.0]], [[3.0]], Targets([1])), steps=3, learning_rate=0.5)
    >>> descent.steps, descent.losses[-1] < descent.losses[0]
    (3, True)
    """

    start: Problem
    end: Problem  # the same, with the new W and b
    losses: tuple[float, ...]  # before the first step, and after each
    gradient_norm: float  # at the end, of dL/dW (with its l2) and dL/db together; NaN where not finite
    converged: bool  # the norm is within the tolerance, or the loss can fall no further in floats
    interrupted: bool = False
    diverged_at: int | None = None
    diverged_to: float | None = None  # the loss there, or infinity; None where the gradient was not finite
    at_the_bottom: bool = False  # the loss can fall no further in floats
    in_memory: bool = True  # the problems hold the rows that the loss is of

    __repr__ = notebook.one_line("start", "losses", "converged")

    @property
    def steps(self) -> int:
        """How many were taken."""
        return len(self.losses) - 1

    @property
    def largest_change(self) -> float:
        """The largest change of an entry of W."""
        return float(np.abs(np.subtract(self.end.weights, self.start.weights, dtype=np.float64)).max())


class ExactLosses(msgspec.Struct, frozen=True):
    """The losses before the first step and after the last, correctly rounded if `certified`; without l2."""

    loss_before: float
    loss_after: float
    certified: bool


def are_exact(problem: Problem, exact: bool | Literal["auto"]) -> bool:
    """Whether a descent has exact losses: "auto" has them where dL/dW takes less than 50 ms by estimate."""
    return METHODS["exact"].work(problem) < QUICK if exact == "auto" else exact


def exact_losses(descent: Descent, exact: bool | Literal["auto"] = "auto") -> ExactLosses | None:
    """Those of a descent; None where they are left out, as `are_exact` tells.

    Examples
    --------
    >>> descent = descend(Problem([[1.0, -1.0]], [[3.0]], Targets([0])))
    >>> exact_losses(descent).loss_before
    0.0024756851377304495
    """
    if not are_exact(descent.start, exact):
        return None
    from xegrad.methods.exact import affording  # it is slow to import

    progress.foretell("the exact losses take", 2 * METHODS["exact"].work(descent.start))
    with affording(QUICK if exact == "auto" else math.inf):
        ends = [METHODS["exact"].evaluate(problem, ()) for problem in (descent.start, descent.end)]
    before, after = (float(end.loss) for end in ends)
    return ExactLosses(before, after, all(end.is_certain_of("loss") for end in ends))


class Rows(Protocol):
    """The rows that the loss is of, wherever they are; `problem` is what holds W and b, and the options of the loss."""

    def evaluate(self, problem: Problem, names: Sequence[str]) -> Evaluation:
        """The loss, and these gradients."""
        ...

    def gradients(self, problem: Problem, names: Sequence[str], of_loss: Evaluation) -> Mapping[str, Array]:
        """These gradients, of a problem whose loss is evaluated."""
        ...

    def squares(self, problem: Problem) -> float:
        """sum_b q_b (|x_b|^2 + 1), the 1 only where there is a b."""
        ...

    def rounding(self, problem: Problem) -> float:
        """How far rounding can move the loss."""
        ...


class InMemory(msgspec.Struct, frozen=True):
    """The rows that a problem holds itself; its gradients are those of a method, and its loss is that of the
    shortcut."""

    method: str

    def evaluate(self, problem: Problem, names: Sequence[str]) -> Evaluation:
        """By the shortcut, the gradient from the same forward pass unless another method gives it."""
        return METHODS["shortcut"].evaluate(problem, names if self.method == "shortcut" else ())

    def gradients(self, problem: Problem, names: Sequence[str], of_loss: Evaluation) -> Mapping[str, Array]:
        """Those of the method."""
        by = of_loss if self.method == "shortcut" else METHODS[self.method].evaluate(problem, names)
        return by.gradients

    def squares(self, problem: Problem) -> float:
        """Of the problem's rows."""
        mass = problem.targets.effective(problem.n_classes, np.dtype(np.float64)).sum(axis=-1)
        squares = np.square(problem.inputs, dtype=np.float64).sum(axis=-1) + (problem.bias is not None)
        return float((mass * squares).sum())

    def rounding(self, problem: Problem) -> float:
        """By the bound of any stable computation."""
        return float(bounds.stable(problem, ()).loss)


class _Point(msgspec.Struct, frozen=True, eq=False, dict=True):
    """Where a descent is after so many steps, and what there is to know of it, computed when it is asked for."""

    problem: Problem
    rows: Rows
    l2: float
    step: int = 0
    length: float = 0.0  # of the step that led here

    @property
    def penalty(self) -> float:
        """l2/2 sum W^2; without l2 there is none, though the sum of squares may overflow."""
        weights = self.problem.weights
        return self.l2 / 2 * float(np.square(weights, dtype=np.float64).sum()) if self.l2 else 0.0

    @property
    def names(self) -> Sequence[str]:
        """What moves: W, and b where there is one."""
        return ("weights",) if self.problem.bias is None else ("weights", "bias")

    @cached_property
    def evaluation(self) -> Evaluation:
        """The loss, with what comes from the same pass."""
        return self.rows.evaluate(self.problem, self.names)

    @cached_property
    def loss(self) -> float:
        """L + l2/2 sum W^2; infinite where it is no number."""
        loss = float(self.evaluation.loss) + self.penalty
        return math.inf if math.isnan(loss) else loss

    @cached_property
    def slope(self) -> dict[str, Array]:
        """dL/dW + l2 W, and dL/db where there is a b, in the precision of the problem."""
        problem, names = self.problem, self.names
        gradients = self.rows.gradients(problem, names, self.evaluation)
        slope = {name: gradients[name].astype(problem.dtype, copy=False) for name in names}
        if self.l2:
            slope["weights"] = slope["weights"] + self.l2 * problem.weights
        return slope

    @cached_property
    def norm(self) -> float:
        """Of all of the slope as one vector; its squares may overflow though it does not."""
        largest = float(np.max([np.abs(part).max() for part in self.slope.values()]))
        if not 0 < largest < math.inf:
            return largest
        parts = [part.astype(np.float64) / largest for part in self.slope.values()]
        return largest * math.hypot(*(float(np.linalg.norm(part)) for part in parts))

    @property
    def surely_short(self) -> float:
        """1 / (l2 + 1/2 sum_b q_b (|x_b|^2 + 1)), the 1 only where there is a b; 1 where all of that is 0."""
        most = self.l2 + self.rows.squares(self.problem) / 2
        return min(1 / most, LARGEST) if 0 < most < math.inf else 1.0

    def moved(self, length: float) -> _Point | None:
        """W - eta dL/dW, and b likewise; None where a number overflows."""
        moved = {name: getattr(self.problem, name) - length * part for name, part in self.slope.items()}
        if not all(np.isfinite(part).all() for part in moved.values()):
            return None
        for part in moved.values():
            part.setflags(write=False)  # they need no copy
        return _Point(replace(self.problem, **moved), self.rows, self.l2, self.step + 1, length)

    def lowered(self, length: float) -> _Point | None:
        """Where the first of length, length / 2, .. leads that lessens the loss enough.

        None where the fall that the slope foretells, eta |g|^2, is below what a loss in this precision can show.
        """
        least = float(np.finfo(self.problem.dtype).eps) / 2 * self.loss
        while (fall := length * self.norm * self.norm) > least:
            there = self.moved(length)
            if there is not None and there.loss <= self.loss - SUFFICIENT * fall:
                return there
            length /= 2
        return None

    def next_length(self, before: _Point) -> float:
        """s'y / y'y, with s the step and y the change of the slope; twice the last where rounding left no y.

        s = -eta g_before and y = g - g_before, so with c = g_before - g it is eta g_before'c / c'c.
        """
        along = square = 0.0
        for name, old in before.slope.items():
            change = old.astype(np.float64) - self.slope[name]
            along += float((old * change).sum())
            square += float((change * change).sum())
        quotient = along / square if 0 < along < math.inf and 0 < square < math.inf else 2.0
        return min(self.length * quotient, LONGEST * self.surely_short, LARGEST)

    def has_grown_since(self, start: _Point) -> bool:
        """Whether the loss exceeds that of the start by more than the rounding of both explains."""
        if self.loss <= start.loss:
            return False
        u = bounds.PRECISIONS["float64"].u
        rounding = sum(
            self.rows.rounding(point.problem) + (point.problem.weights.size + 3) * u * point.penalty
            for point in (start, self)
        )
        return not (math.isfinite(rounding) and self.loss - start.loss <= rounding)


def accuracy(problem: Problem) -> float | None:
    """The share of the labelled rows whose most probable class is the label; None if no row has a label.

    Of several classes that are equally probable the first counts, as numpy's argmax and torch's take it.
    """
    labels = problem.targets.label_of_rows
    labelled = labels >= 0
    if not labelled.any():
        return None
    guesses = layer.logits(problem.rounded).argmax(axis=-1)
    return float((guesses == labels)[labelled].mean())


@np.errstate(all="ignore")
def descend(
    problem: Problem,
    *,
    steps: int = 1,
    learning_rate: float | None = None,
    method: str = "shortcut",
    tolerance: float = 0.0,
    l2: float = 0.0,
    on_step: Callable[[int, float], None] | None = None,
    rows: Rows | None = None,
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
        By which the gradient is computed; the loss is always that of the shortcut.
    tolerance : float
        The norm of the gradient, over W and b together, at which to stop.
    on_step : callable, optional
        Hears after each step of its number and its loss.
    rows : Rows, optional
        Those that the loss is of, where they are not in the problem, which then holds W, b and the options alone.

    KeyboardInterrupt ends the descent after the step, with what there is.  An argument that means nothing, and a
    loss that is not finite at the start, is an InputError.

    Examples
    --------
    >>> descend(Problem([[1.0, -1.0]], [[3.0]], Targets([1])), steps=100, tolerance=0.001).converged
    True
    """
    _check(problem, steps, learning_rate, method, tolerance, l2)
    if rows is None:
        check_memory(problem.rounded, method, learning_rate)
        takes = f"{count(steps, 'step')} by --method {method} take"
        progress.foretell(takes, steps * METHODS[method].work(problem))
    here = start = _Point(problem.rounded, rows or InMemory(method), l2)
    if not math.isfinite(start.loss):
        raise InputError(f"the loss is {start.loss} before the first step: no step can be judged by it")
    losses = [start.loss]
    length, at_the_bottom, interrupted = start.surely_short, False, False
    diverged: tuple[int, float | None] | tuple[None, None] = None, None
    try:
        for step in progress.track(range(1, steps + 1), "descend"):
            if here.norm <= tolerance:
                break
            if not math.isfinite(here.norm):
                diverged = step, None
                break
            if learning_rate is None:
                there = here.lowered(length)
                if there is None:
                    at_the_bottom = here.norm < STEEPEST
                    break
                length = there.next_length(here)
            else:
                there = here.moved(learning_rate)
                if there is None or there.has_grown_since(start):
                    diverged = step, math.inf if there is None else there.loss
                    break
            losses.append(there.loss)
            here = there  # the step is taken: whatever interrupts now finds it whole
            if on_step is not None:
                on_step(step, here.loss)
    except KeyboardInterrupt:
        interrupted = True
    reached, converged = tuple(losses[: here.step + 1]), at_the_bottom or here.norm <= tolerance
    ends = start.problem, here.problem
    return Descent(
        *ends,
        reached,
        here.norm,
        converged,
        interrupted,
        diverged[0],
        diverged[1],
        at_the_bottom,
        in_memory=rows is None,
    )


def check_memory(problem: Problem, method: str, learning_rate: float | None, *others: int) -> None:
    """Refuse what takes too much memory: two points and the slope at both, and the largest step, of these or others."""
    names = _Point(problem, InMemory(method), 0.0).names
    of_slope = problem.nbytes_of(names)
    # What a step makes of two slopes, or the text of W; the squares of x and Q, of which the first step is made; and
    # the bound on a loss that has grown.
    steps = [METHODS[method].memory(problem, names), 4 * of_slope, problem.nbytes_of(["inputs", "logits"])]
    if learning_rate is not None:
        steps.append(METHODS["shortcut"].memory_of_bound(problem, ()))
    memory.check(problem, *steps, *others, held=4 * of_slope)


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
