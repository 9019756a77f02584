"""A problem computed by several methods, and how they compare: what `xegrad compute` shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from xegrad import bounds, layer
from xegrad.comparison import Comparison, compare
from xegrad.methods import METHODS, Evaluation
from xegrad.problem import Problem

AGREE_RIGHT, AGREE_WRONG, DIFFER, UNDECIDED = "agree-right", "agree-wrong", "differ", "undecided"


class Computation(msgspec.Struct, frozen=True, eq=False):
    """The evaluations of a problem by the methods asked for, and their comparisons in dL/dW."""

    problem: Problem
    forward: layer.Forward
    evaluations: Mapping[str, Evaluation]  # in the order of the table
    comparison: Comparison | None  # the chain against the shortcut, where both are there
    from_exact: Mapping[str, Comparison]  # each of the others against the exact values, where these are there

    @property
    def method(self) -> str:
        """The most accurate of the methods, whose loss and gradient are reported."""
        return list(self.evaluations)[-1]

    @property
    def reported(self) -> Evaluation:
        """What that one computed."""
        return self.evaluations[self.method]

    @property
    def is_finite(self) -> bool:
        """Whether every loss and every entry of dL/dW is."""
        return all(
            bool(np.isfinite(evaluation.loss) and np.isfinite(evaluation.gradients["weights"]).all())
            for evaluation in self.evaluations.values()
        )

    @property
    def verdict(self) -> str:
        """Whether chain and shortcut agree and are right, agree and are not, or differ; or nothing is known."""
        if self.comparison is None:
            return UNDECIDED
        if (~self.comparison.within & ~self.comparison.unbounded).any():
            return DIFFER
        if not self.comparison.agrees or "exact" not in self.evaluations:
            return UNDECIDED
        if not self.evaluations["exact"].is_certified:
            return UNDECIDED
        wrong = any(against.digits_lost.any() for against in self.from_exact.values())
        return AGREE_WRONG if wrong else AGREE_RIGHT


def compute(problem: Problem, methods: Sequence[str] = ("chain", "shortcut", "exact")) -> Computation:
    """The loss and dL/dW by the methods of these names, in the order of the table."""
    evaluations = {name: METHODS[name].evaluate(problem) for name in METHODS if name in methods}
    comparison = None
    if {"chain", "shortcut"} <= evaluations.keys():
        comparison = compare(
            reference=evaluations["shortcut"],
            candidate=evaluations["chain"],
            bound=bounds.chain_against_shortcut(problem),
        )
    from_exact = {
        name: compare(evaluations["exact"], evaluation, METHODS[name].bound(problem))
        for name, evaluation in evaluations.items()
        if name != "exact" and "exact" in evaluations
    }
    return Computation(problem, layer.forward(problem), evaluations, comparison, from_exact)
