"""A slip on a problem that shows it: what it does there, in numbers and words."""

from __future__ import annotations

import re

import msgspec
import numpy as np

from xegrad.blindness import problem_with_slips
from xegrad.diagnosis import Explanation, diagnose
from xegrad.errors import InputError
from xegrad.methods import METHODS
from xegrad.problem import Problem
from xegrad.slips import SLIPS, Slip
from xegrad.slips.making import apply
from xegrad.targets import Array, Targets


class Page(msgspec.Struct, frozen=True, eq=False):
    """The slip, the gradient that it changes on a problem, right and wrong, and what is said of it there."""

    slip: Slip
    name: str  # of the gradient
    right: Array
    wrong: Array
    explanation: Explanation
    residuals: tuple[Array, Array] | None  # dL/dZ right and wrong, where the slip is made before x comes in
    problem: Problem
    problem_name: str

    @property
    def formula(self) -> str:
        """That of the slip, with the parameters that it has here."""
        return re.sub(
            r"{(\w+)}", lambda match: self.explanation.texts.get(match[1], match[1]), self.slip.equation
        )


def seed() -> Problem:
    """The worked example of the derivation that this project follows."""
    return Problem(
        weights=np.array(
            [[0.1, 0.2, 0.3, 0.4, 0.5], [0.6, 0.7, 0.8, 0.9, 0.1], [0.11, 0.12, 0.13, 0.14, 0.15]]
        ),
        inputs=np.array([[0.1, 0.5, 0.4]]),
        targets=Targets(labels=np.array([2])),
    )


def page(name: str) -> Page:
    """The slip on the derivation's example, where it can be made and seen there, else on a random batch."""
    try:
        return page_on(seed(), name, problem_name="the derivation's example (xegrad sample)")
    except InputError:
        problem, of, _ = problem_with_slips([name], 4, 3, 4, 0)
        return page_on(problem, name, of, "a batch of four rows")


def page_on(problem: Problem, name: str, of: str = "weights", problem_name: str = "this problem") -> Page:
    """The slip on a problem.

    Raises
    ------
    InputError
        It cannot be made there, or cannot be told from what is right.
    """
    wrong, slip = apply(problem, [name], of), SLIPS[name]
    exact = METHODS["exact"].evaluate(problem, (of, "logits"))
    for explanation in diagnose(problem, exact, wrong, with_respect_to=of).explanations:
        if explanation.slips == (name,):
            residuals = None
            if slip.is_in_layer and slip.stage != "input":
                residuals = exact.gradients["logits"], apply(problem, [name], "logits")
            return Page(slip, of, exact.gradients[of], wrong, explanation, residuals, problem, problem_name)
    raise InputError(f"{name} cannot be told from the right gradient on this problem")
