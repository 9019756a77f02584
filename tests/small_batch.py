"""A small batch, and its exact values, for the tests of the diagnosis."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from xegrad import METHODS, Evaluation, Problem, Targets


@cache
def exactly(problem: Problem, name: str = "weights") -> Evaluation:
    return METHODS["exact"].evaluate(problem, (name,))


def batch(n_rows: int = 4, n_inputs: int = 3, n_classes: int = 5, **options: Any) -> Problem:
    random = np.random.default_rng(1)
    return Problem(
        random.normal(size=(n_inputs, n_classes)),
        random.normal(size=(n_rows, n_inputs)),
        Targets(np.arange(n_rows) % n_classes, **options),
        random.normal(size=n_classes),
    )
