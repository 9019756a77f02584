"""A problem, or a stack of them, computed by several methods, and how they compare: what `xegrad compute` shows.

See docs/json.md.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from xegrad import bounds, layer, memory, notebook, progress
from xegrad.bounds import Bound
from xegrad.comparison import Comparison, compare
from xegrad.errors import InputError, shown
from xegrad.methods import METHODS, Evaluation
from xegrad.naming import class_in_full
from xegrad.problem import Problem
from xegrad.progress import LONG, duration
from xegrad.vocabulary import DEFAULT_METHODS

QUICK = 0.05  # seconds that the exact values may take where nobody asked for them, or as long as the chain, up to LONG

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


class Computation(msgspec.Struct, frozen=True, eq=False, dict=True):
    """The evaluations of a problem by the methods asked for, and their comparisons, gradient by gradient.

    Examples
    --------
    >>> together = compute(Problem([[1.0, -1.0]], [[3.0]], Targets([0])))
    >>> together.method, together.verdict
    ('exact', 'agree-right')
    """

    problem: Problem
    evaluations: Mapping[str, Evaluation]  # in the order of the table
    comparisons: Mapping[str, Comparison]  # the chain against the shortcut, where both are there
    error_bounds: Mapping[str, Bound]  # of all but the exact method, where that is there
    seconds: Mapping[str, float] = {}  # that each of the methods took
    left_out: str = ""  # that the chain, which nobody named, takes too long, and how to have it

    __repr__ = notebook.one_line("problem", "names", "verdicts")

    @property
    def forward(self) -> layer.Forward:
        """The forward pass in the precision of the problem."""
        return layer.forward(self.problem.rounded)

    @cached_property
    def probabilities(self) -> Any:
        """S (B, T), in the precision of the problem."""
        return layer.probabilities(self.problem.rounded)

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

    @cached_property
    def from_exact(self) -> dict[str, dict[str, Comparison]]:
        """By method and gradient, the others against the exact method, where it is there."""
        return {
            method: {name: self.against_exact(method, name) for name in self.names}
            for method in self.error_bounds
        }

    def against_exact(self, method: str, name: str) -> Comparison:
        """A gradient by a method, or its "loss", against the exact one."""
        return compare(self.evaluations["exact"], self.evaluations[method], self.error_bounds[method], name)

    @property
    def n_problems(self) -> int:
        """K; 1 for a problem that is no stack."""
        return self.problem.n_problems

    @property
    def finite(self) -> NDArray[np.bool_]:
        """(K,) whether every loss and every entry of every gradient is."""
        return ~self._any(
            ~np.isfinite(value)
            for evaluation in self.evaluations.values()
            for value in (evaluation.loss, *evaluation.gradients.values())
        )

    @property
    def cause_of_nonfinite(self) -> str:
        """Why a method gave what is not finite: overflowing logits, an underflowing S_t, or large products; or ""."""
        if self.finite.all():
            return ""
        logits, probabilities, targets = self.forward.logits, self.forward.probabilities, self.forward.targets
        with np.errstate(all="ignore"):
            broken = (targets != 0) & ~np.isfinite(targets / probabilities)
        overflowing = ~np.isfinite(logits)
        places = np.argwhere(overflowing if overflowing.any() else broken)
        if not places.size:
            return "the products with x overflow"
        place = tuple(places[0])
        name = class_in_full(self.problem, int(place[-1]))
        if self.problem.n_rows > 1:
            name += f" in row {place[-2]}"
        if overflowing.any():
            return f"the logit of {name} overflows to {logits[place]}"
        probability = f"the probability S of {name}"
        if probabilities[place] == 0:
            return f"{probability} underflows to 0, and the chain multiplies 1/S = infinity by 0"
        if targets[place] > 1:
            return f"the target Q of {name} is {targets[place]:.3g}, so large that Q/S overflows"
        return f"{probability} is {probabilities[place]:.1e}, so small that 1/S overflows"

    @property
    @np.errstate(all="ignore")
    def cause_of_unbounded(self) -> str:
        """Why there is no bound on how far chain and shortcut may be apart, of entries that both are numbers."""
        cells = bounds.cells_of(self.problem)
        targets, probabilities = cells.Q.value, cells.S.value
        largest, needed = cells.arithmetic.near_overflow, targets != 0
        for factor, size in ("1/S", np.ones_like(targets)), ("Q/S", targets):
            if (np.where(needed, size / probabilities, 0).sum(axis=-1) >= largest).any():
                return f"{factor} of a target nearly overflows"
        unresolved = needed & (cells.S.error > probabilities / 2)
        if (unresolved | np.isinf(cells.S.error)).any():
            return "the logits cancel, or are larger than floats can resolve"
        name = next(name for name, against in self.comparisons.items() if against.unbounded.any())
        if name in ("weights", "inputs"):
            return f"the products with {'x' if name == 'weights' else 'W'} nearly overflow"
        return "the sum over the rows nearly overflows"

    @property
    def warnings(self) -> list[str]:
        """What is odd about the targets, why something is not finite, not certified or not there, of one problem."""
        integers = self.evaluations["exact"].left_out if "exact" in self.evaluations else ""
        unsure = integers and f"not every exact value is certified; {integers}"
        notes = filter(None, (self.left_out, self.cause_of_nonfinite, unsure))
        return [*self.problem.targets.warnings, *notes]

    @property
    def verdicts(self) -> list[str]:
        """Of each problem: whether chain and shortcut agree, and are right, or differ, or nothing is known."""
        return [VERDICT_OF[kind] for kind in self._kinds()]

    @property
    def verdict(self) -> str:
        """The verdict on the only problem, or on the first."""
        return self.verdicts[0]

    @property
    def reason(self) -> tuple[str, list[Place]]:
        """Why the verdict on one problem is what it is, one of `VERDICT_OF`, and the entries to blame."""
        kind, masks = self._kinds()[0], self._masks()
        if kind == "no-exact":  # they agree, and where they need not have a digit in common they may be wrong
            masks = {kind: {name: against.unresolved for name, against in self.comparisons.items()}}
        blamed = masks.get(kind, {}).items()
        return kind, [(name, k) for name, mask in blamed for k in np.flatnonzero(mask).tolist()]

    @property
    def uncertified(self) -> dict[str, NDArray[np.bool_]]:
        """Where the exact loss, and each entry of each exact gradient, may not be the nearest; none without them."""
        if "exact" not in self.evaluations:
            return {}
        exact = self.evaluations["exact"]
        values: dict[str, Any] = {"loss": exact.loss, **exact.gradients}
        certified = exact.certified or dict.fromkeys(values, np.array(False))
        return {name: np.broadcast_to(~certified[name], np.shape(value)) for name, value in values.items()}

    def _kinds(self) -> list[str]:
        """Of each problem, why the verdict is what it is."""
        if not self.comparisons:
            return ["not-compared"] * self.n_problems
        masks = {kind: self._any(mask.values()) for kind, mask in self._masks().items()}
        masks["no-exact"] = np.full(self.n_problems, "exact" not in self.evaluations)
        masks["both-wrong"] = masks["chain-wrong"] & masks["shortcut-wrong"]
        kinds = np.full(self.n_problems, "right", dtype=object)
        for kind in reversed([kind for kind in VERDICT_OF if kind in masks]):
            kinds[masks[kind]] = kind
        return kinds.tolist()

    def _masks(self) -> dict[str, dict[str, NDArray[np.bool_]]]:
        """By reason and gradient, the entries for which it holds, where chain and shortcut were compared."""
        compared = self.comparisons.items()
        chain, shortcut = (
            {name: against.no_correct_digit for name, against in self.from_exact.get(method, {}).items()}
            for method in ("chain", "shortcut")
        )
        common = {name: chain[name] & shortcut[name] for name in chain.keys() & shortcut}
        return {
            # The same infinity three times is right.
            "not-finite": {
                name: ~np.isfinite(of.candidate) & (chain.get(name, True) | ~of.within)
                for name, of in compared
            },
            "apart": {name: ~(of.within | of.unbounded) for name, of in compared},
            "unbounded": {name: of.unbounded for name, of in compared},
            "uncertified": self.uncertified,
            "both-wrong": common if self._any(common.values()).any() else shortcut,
            "chain-wrong": chain,
            "shortcut-wrong": shortcut,
        }

    def _any(self, masks: Iterable[Any]) -> NDArray[np.bool_]:
        """(K,) whether any of the masks holds anywhere in a problem."""
        holds = np.zeros(self.n_problems, dtype=bool)
        for mask in masks:
            if np.any(mask):  # it seldom does, and this is quicker than row by row
                holds |= np.reshape(mask, (self.n_problems, -1)).any(axis=1)
        return holds


def methods_for(
    problem: Problem, methods: Sequence[str] | None = None, exact: bool | Literal["auto"] = "auto"
) -> list[str]:
    """The methods to compute by, in the order of the table: chain and shortcut where none is named.

    The chain that nobody named is left out where it takes more than 10 s a problem.  `exact` adds the exact values or
    leaves them out; "auto" adds them to no methods that are named, and else where they take less than 50 ms, or less
    than the chain and 10 s.  All of that by the estimates of `Method.work`, which know the sizes alone.

    Raises
    ------
    InputError
        There is no such method, or none is left.
    """
    for name in methods or ():
        if not isinstance(name, str) or name not in METHODS:
            raise InputError(f"there is no method {shown(name)}; the methods are {', '.join(METHODS)}")
    chosen = {*DEFAULT_METHODS} if methods is None else {*methods}
    if methods is None and _takes_too_long(problem, "chain"):
        chosen.remove("chain")
    if exact == "auto":
        exact = "exact" in chosen
        if methods is None:
            exact = METHODS["exact"].work(problem) < _unasked(problem)
    chosen = chosen | {"exact"} if exact else chosen - {"exact"}
    if not chosen:
        raise InputError("no method is left to compute by")
    return [name for name in METHODS if name in chosen]


def _affording(
    problem: Problem, methods: Sequence[str] | None, exact: bool | Literal["auto"]
) -> AbstractContextManager[None]:
    """What integers may take: anything if the exact values are asked for, and little if nobody named them."""
    from xegrad.methods.exact import affording

    if exact is True:
        return affording(math.inf)
    return affording(_unasked(problem)) if methods is None else nullcontext()


def _unasked(problem: Problem) -> float:
    """The seconds that the exact values may take beside chain and shortcut where nobody asked for them."""
    return max(QUICK, min(METHODS["chain"].work(problem), LONG))


def _takes_too_long(problem: Problem, method: str) -> bool:
    """To be computed unasked: so that a stack is treated as its problems are."""
    return METHODS[method].work(problem) > LONG * problem.n_problems


def compute(
    problem: Problem,
    methods: Sequence[str] | None = None,
    with_respect_to: Sequence[str] | None = None,
    *,
    exact: bool | Literal["auto"] = "auto",
) -> Computation:
    """The loss and the gradients by the methods of these names, in the order of the table.

    For `methods` and `exact` see `methods_for`; with `exact` they take as long as they need, and else numbers that long
    integers alone decide may stay open.  `with_respect_to` is weights, and bias where there is one, by
    default.  A stack of problems is computed as one.

    Examples
    --------
    >>> compute(Problem([[1.0, -1.0]], [[3.0]], Targets([0]))).reported.gradients["weights"]
    array([[-0.00741787,  0.00741787]])
    """
    names = with_respect_to or (("weights",) if problem.bias is None else ("weights", "bias"))
    chosen = methods_for(problem, methods, exact)
    check_memory(problem, chosen, names)
    with _affording(problem, methods, exact) if "exact" in chosen else nullcontext():
        timed = {name: _evaluated(problem, name, names) for name in chosen}
    evaluations = {name: evaluation for name, (evaluation, _) in timed.items()}
    seconds = {name: took for name, (_, took) in timed.items()}
    comparisons = {}
    if {"chain", "shortcut"} <= evaluations.keys():
        between = bounds.chain_against_shortcut(problem, names)
        for name in names:
            comparisons[name] = compare(evaluations["shortcut"], evaluations["chain"], between, name)
    others = chosen[:-1] if "exact" in chosen else []  # it is the last of the table
    error_bounds = {name: METHODS[name].bound(problem, names) for name in others}
    left_out = ""
    if methods is None and "chain" not in chosen:
        takes = duration(METHODS["chain"].work(problem))
        left_out = (
            f"the chain, which takes {takes} by estimate, is left out; --method chain,shortcut computes it"
        )
    return Computation(problem, evaluations, comparisons, error_bounds, seconds, left_out)


def _evaluated(problem: Problem, name: str, names: Sequence[str]) -> tuple[Evaluation, float]:
    """By one method, and the seconds that it took; what takes long is said before it begins."""
    by, instead = METHODS[name], ""
    if name != "shortcut":
        instead = f"shortcut takes {duration(METHODS['shortcut'].work(problem))}"
    progress.foretell(f"the method {name} takes", by.work(problem), instead)
    start = time.perf_counter()
    return by.evaluate(problem, names), time.perf_counter() - start


def check_memory(problem: Problem, methods: Sequence[str], names: Sequence[str], *others: int) -> None:
    """Refuse what takes too much memory: all results and bounds, and the largest step, of these or of others."""
    steps = [METHODS[name].memory(problem, names) for name in methods]
    held = len(methods) * problem.nbytes_of(names)
    if {"chain", "shortcut"} <= {*methods} or "exact" in methods:
        steps += [METHODS[name].memory_of_bound(problem, names) for name in methods if name != "exact"]
        held *= 2
    if {*methods} - {"shortcut", "exact"}:
        held += 5 * problem.nbytes_of(["logits"])  # the problem keeps its forward pass
    memory.check(problem, *steps, *others, held=held)
