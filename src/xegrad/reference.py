"""The values that a claim is measured against: the cheapest that decide.

Whatever is known of the exact values, of an entry only that is said which is so of all that its exact value may be.
So it makes no difference which values decided.  They are, in this order,

1. of a large problem, whose claim was computed or stored below float64: those in float64, with their own error bound;
2. those of the exact method, if an entry is within reach of its limit.

See docs/numerics.md, section 7.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from xegrad import bounds, memory, progress
from xegrad.methods import METHODS, Evaluation
from xegrad.problem import Problem, once
from xegrad.tolerance import Tolerance


def references(problem: Problem, names: Sequence[str], tolerance: Tolerance) -> Iterator[Evaluation]:
    """The values of the loss and of these gradients, with their errors: each is evaluated when it is asked for."""
    quick = None if begins_with_exact(problem, tolerance) else in_float64(problem, names, tolerance)
    if quick is not None:
        yield quick
    yield exact(problem, tuple(names))


def begins_with_exact(problem: Problem, tolerance: Tolerance) -> bool:
    """Whether no others are asked first: of a small problem the exact values are as quick, and of a claim in float64
    others are as far off as the claim may be."""
    return not bounds.is_large(problem) or (tolerance.derived and tolerance.kept_in == "float64")


def in_float64(problem: Problem, names: Sequence[str], tolerance: Tolerance) -> Evaluation | None:
    """Those in float64; None where they may be near overflow."""
    numbers = bounds.enclosed(problem, names, tolerance.arithmetic)
    if numbers is None:
        return None
    loss, losses = numbers["loss"], numbers["losses"]
    gradients = {name: numbers[name].value for name in names}
    errors = {name: number.errors for name, number in numbers.items()}
    certified = {name: np.zeros(error.shape, dtype=bool) for name, error in errors.items()}
    return Evaluation(float(loss.value), losses.value, gradients, certified, errors)


@once
def exact(problem: Problem, names: tuple[str, ...]) -> Evaluation:
    """Those of the exact method, evaluated once; refused where they do not fit beside what is held already."""
    method = METHODS["exact"]
    memory.check(problem, memory_of_exact(problem, names))
    progress.foretell("the exact values take", method.work(problem))
    return method.evaluate(problem, names)


def memory_of_exact(problem: Problem, names: Sequence[str]) -> int:
    """The bytes beside the problem that these take, with the claim, other values and their bounds."""
    return METHODS["exact"].memory(problem, names) + 8 * problem.nbytes_of(names)
