"""Softmax layers as public projects write them: the right ones are right, and the wrong ones get their name."""

from __future__ import annotations

import numpy as np
import pytest

from implementations import IMPLEMENTATIONS, RIGHT, WRONG, Implementation, narrowed, problem
from xegrad import METHODS, Diagnosis, Judgement, Tolerance, diagnose, judge
from xegrad.judgement import DIGITS_LOST
from xegrad.judgement import RIGHT as IS_RIGHT
from xegrad.judgement import WRONG as IS_WRONG

PROBLEMS = 5


def judged(one: Implementation, seed: int, dtype: str) -> tuple[Judgement, Diagnosis]:
    """The verdict on one random problem of its kind."""
    given, layer = problem(one.kind, np.random.default_rng(seed))
    candidate = one.make(narrowed(layer, dtype))
    assert candidate.dtype == dtype
    exact = METHODS["exact"].evaluate(given, ("weights", one.of))
    tolerance = Tolerance(precision=dtype)
    return (
        judge(given, exact, candidate, tolerance, 0.0, one.of),
        diagnose(given, exact, candidate, tolerance, 0.0, one.of),
    )


def test_forty_and_more_are_tried_and_each_names_its_source() -> None:
    assert len(IMPLEMENTATIONS) >= 40
    assert all(one.source for one in IMPLEMENTATIONS.values())


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_implementation_is_right_in_its_precision(name: str) -> None:
    for dtype in RIGHT[name].dtypes:
        for seed in range(PROBLEMS):
            judgement, _ = judged(RIGHT[name], seed, dtype)
            assert judgement.outcome in (IS_RIGHT, DIGITS_LOST), (dtype, seed)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_implementation_is_wrong_and_gets_its_name(name: str) -> None:
    """One of the names that its entry lists, or none, and the same on every problem that can tell."""
    for dtype in WRONG[name].dtypes:
        for seed in range(PROBLEMS):
            judgement, diagnosis = judged(WRONG[name], seed, dtype)
            assert judgement.outcome == IS_WRONG, (dtype, seed)
            assert {*(diagnosis.names or ((),))} & {*(WRONG[name].names or ())}, diagnosis.names
