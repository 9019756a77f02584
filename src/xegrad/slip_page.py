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
    """The slip, the problem, the gradient that it changes, right and wrong, and what is said of it there."""

    slip: Slip
    problem: Problem
    name: str  # of the gradient
    right: Array
    wrong: Array
    explanation: Explanation
    is_seed: bool

    @property
    def formula(self) -> str:
        """That of the slip, with the parameters that it has here."""
        return re.sub(
            r"{(\w+)}", lambda match: self.explanation.texts.get(match[1], match[1]), self.slip.formula
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
    """The slip on the derivation's example, where it can be made and seen there, else on a random batch.

    Raises
    ------
    InputError
        There is no such slip.
    """
    if name not in SLIPS:
        raise InputError(f"there is no slip {name!r}; there are {', '.join(SLIPS)}")
    candidates = [(True, seed(), "weights", _on(seed(), name))]
    candidates.append((False, *problem_with_slips([name], 4, 3, 4, 0)))
    for is_seed, problem, of, wrong in candidates:
        if wrong is None:
            continue
        exact = METHODS["exact"].evaluate(problem, (of,))
        for said in diagnose(problem, exact, wrong, with_respect_to=of).explanations:
            if said.slips == (name,):
                return Page(SLIPS[name], problem, of, exact.gradients[of], wrong, said, is_seed)
    raise InputError(f"{name} shows neither on the derivation's example nor on a batch")


def _on(problem: Problem, name: str) -> Array | None:
    """dL/dW with the slip, where it can be made."""
    try:
        return apply(problem, [name])
    except InputError:
        return None
