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

# Why a verdict is what it is, and the verdict that follows; of those that hold the first counts.
VERDICT_OF: Mapping[str, str] = {
    "not-compared": UNDECIDED,  # the chain or the shortcut was not computed
    "not-finite": DIFFER,
    "apart": DIFFER,  # by more than rounding explains
    "unbounded": UNDECIDED,
    "no-exact": UNDECIDED,  # they agree, and the exact values were not computed
    "uncertified": UNDECIDED,
    "both-wrong": AGREE_WRONG,  # wrong: no correct digit in some entries
    "chain-wrong": AGREE_WRONG,
    "shortcut-wrong": AGREE_WRONG,
    "right": AGREE_RIGHT,
}

Place = tuple[str, int]  # a gradient, or "loss", and a flat index into it


class Reason(msgspec.Struct, frozen=True):
    """Why a verdict is what it is, one of `VERDICT_OF`, and the entries to blame."""

    kind: str
    places: tuple[Place, ...] = ()


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
        return [VERDICT_OF[kind] for kind in self._kinds()]

    @property
    def verdict(self) -> str:
        """That of the only problem, or of the first."""
        return self.verdicts[0]

    @property
    def reason(self) -> Reason:
        """Why the verdict on one problem is what it is."""
        kind = self._kinds()[0]
        masks = self._masks()
        if kind == "no-exact":  # they agree, and where they need not have a digit in common they may be wrong
            masks = {kind: {name: against.lost for name, against in self.comparisons.items()}}
        places = [
            (name, k) for name, mask in masks.get(kind, {}).items() for k in np.flatnonzero(mask).tolist()
        ]
        return Reason(kind, tuple(places))

    @property
    def uncertified(self) -> dict[str, NDArray[np.bool_]]:
        """Where the exact loss, and each entry of each exact gradient, may not be the nearest; none without them."""
        exact = self.evaluations.get("exact")
        if exact is None:
            return {}
        values: dict[str, Any] = {"loss": exact.loss, **exact.gradients}
        certified = exact.certified or dict.fromkeys(values, np.array(False))
        return {name: np.broadcast_to(~certified[name], np.shape(value)) for name, value in values.items()}

    def _kinds(self) -> list[str]:
        """Of each problem, why the verdict is what it is."""
        if not self.comparisons:
            return ["not-compared"] * self.n_problems
        masks = {kind: self._any(mask.values()) for kind, mask in self._masks().items()}
        if "exact" not in self.evaluations:
            masks["no-exact"] = np.ones(self.n_problems, dtype=bool)
        masks["both-wrong"] = masks["chain-wrong"] & masks["shortcut-wrong"]
        kinds = [kind for kind in VERDICT_OF if kind in masks]
        chosen: list[str] = np.select([masks[kind] for kind in kinds], kinds, "right").tolist()
        return chosen

    def _masks(self) -> dict[str, dict[str, NDArray[np.bool_]]]:
        """By reason and gradient, the entries for which it holds, where chain and shortcut were compared."""
        compared = self.comparisons.items()
        chain, shortcut = (
            {name: against.digits_lost for name, against in self.from_exact.get(method, {}).items()}
            for method in ("chain", "shortcut")
        )
        common = {name: chain[name] & shortcut[name] for name in chain}
        return {
            "not-finite": {
                name: ~np.isfinite(against.candidate) & ~against.within for name, against in compared
            },
            "apart": {name: ~against.within & ~against.unbounded for name, against in compared},
            "unbounded": {name: against.unbounded for name, against in compared},
            "uncertified": self.uncertified,
            "both-wrong": common if self._any(common.values()).any() else shortcut,
            "chain-wrong": chain,
            "shortcut-wrong": shortcut,
        }

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
