"""A problem, or a stack of them, computed by several methods, and how they compare: what `xegrad compute` shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from xegrad import bounds, layer
from xegrad.comparison import Comparison, compare
from xegrad.methods import METHODS, Evaluation
from xegrad.problem import Problem

AGREE_RIGHT, AGREE_WRONG, DIFFER, UNDECIDED = "agree-right", "agree-wrong", "differ", "undecided"


class Computation(msgspec.Struct, frozen=True, eq=False):
    """The evaluations of a problem by the methods asked for, and their comparisons, gradient by gradient."""

    problem: Problem
    forward: layer.Forward
    evaluations: Mapping[str, Evaluation]  # in the order of the table
    comparisons: Mapping[str, Comparison]  # the chain against the shortcut, where both are there
    from_exact: Mapping[
        str, Mapping[str, Comparison]
    ]  # the other methods against the exact one, where it is there

    @property
    def method(self) -> str:
        """The most accurate of the methods, whose loss and gradients are reported."""
        return list(self.evaluations)[-1]

    @property
    def reported(self) -> Evaluation:
        """What that one computed."""
        return self.evaluations[self.method]

    @property
    def names(self) -> list[str]:
        """The gradients that were computed."""
        return list(self.reported.gradients)

    @property
    def n_problems(self) -> int:
        """K; 1 for a problem that is no stack."""
        return int(np.prod(self.problem.weights.shape[:-2], dtype=int))

    @property
    def finite(self) -> NDArray[np.bool_]:
        """(K,) whether every loss and every entry of every gradient is."""
        values = [
            value
            for evaluation in self.evaluations.values()
            for value in (evaluation.loss, *evaluation.gradients.values())
        ]
        return ~self._any(~np.isfinite(value) for value in values)

    @property
    def is_finite(self) -> bool:
        """Whether all of it is."""
        return bool(self.finite.all())

    @property
    def verdicts(self) -> list[str]:
        """Of each problem: whether chain and shortcut agree, and are right, or differ, or nothing is known."""
        if not self.comparisons:
            return [UNDECIDED] * self.n_problems
        compared = self.comparisons.values()
        differ = self._any(~against.within & ~against.unbounded for against in compared)
        unknown = self._any(~against.within for against in compared)
        exact = self.evaluations.get("exact")
        if exact is None or exact.certified is None:
            unknown[:] = True
        else:
            unknown |= self._any(~np.asarray(exact.certified[name]) for name in ("loss", *self.names))
        wrong = self._any(against.digits_lost for by in self.from_exact.values() for against in by.values())
        verdicts: list[str] = np.where(
            differ, DIFFER, np.where(unknown, UNDECIDED, np.where(wrong, AGREE_WRONG, AGREE_RIGHT))
        ).tolist()
        return verdicts

    @property
    def verdict(self) -> str:
        """That of the only problem, or of the first."""
        return self.verdicts[0]

    def _any(self, masks: Iterable[Any]) -> NDArray[np.bool_]:
        """(K,) whether any of the masks holds anywhere in a problem."""
        found = np.zeros(self.n_problems, dtype=bool)
        for mask in masks:
            found |= np.reshape(mask, (self.n_problems, -1)).any(axis=1)
        return found


def compute(
    problem: Problem,
    methods: Sequence[str] = ("chain", "shortcut", "exact"),
    with_respect_to: Sequence[str] | None = None,
) -> Computation:
    """The loss and the gradients by the methods of these names, in the order of the table.

    `with_respect_to` is weights, and bias where there is one, by default.  A stack of problems is computed
    as one.
    """
    names = with_respect_to or (("weights",) if problem.bias is None else ("weights", "bias"))
    evaluations = {name: METHODS[name].evaluate(problem, names) for name in METHODS if name in methods}
    comparisons = {}
    if {"chain", "shortcut"} <= evaluations.keys():
        between = bounds.chain_against_shortcut(problem, names)
        comparisons = {
            name: compare(evaluations["shortcut"], evaluations["chain"], between, name) for name in names
        }
    from_exact = {}
    if "exact" in evaluations:
        promises = {name: METHODS[name].bound(problem, names) for name in evaluations if name != "exact"}
        from_exact = {
            method: {
                name: compare(evaluations["exact"], evaluations[method], promise, name) for name in names
            }
            for method, promise in promises.items()
        }
    return Computation(problem, layer.forward(problem.rounded), evaluations, comparisons, from_exact)
