"""The ways to compute the gradient: one file each, and the table of them.

The table imports nothing; a method is imported when it is first used.  Methods are independent: one never
imports another, because two that share code prove nothing about the code they share.

Examples
--------
>>> list(METHODS)
['finite-difference', 'chain', 'complex-step', 'shortcut', 'exact']
>>> METHODS["shortcut"].evaluate(Problem([[1.0, -1.0]], [[3.0]], Targets([0]))).gradients["weights"]
array([[-0.00741787,  0.00741787]])
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from xegrad import memory, notebook
from xegrad.naming import gradient_name
from xegrad.progress import duration

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from xegrad.bounds import Bound
    from xegrad.problem import Problem
    from xegrad.targets import Array, Targets


class Evaluation(msgspec.Struct, frozen=True, eq=False):
    """The loss, and its gradients by name, from one forward pass.

    Names and shapes: "weights" (N, T), "bias" (T,), "inputs" (B, N), "logits" (B, T).  `losses` (B,) holds what
    each row contributes to the loss.  `certified` marks, for "loss", "losses" and each gradient, the numbers that
    are proven to be the nearest float to the exact value; it is None if the method proves nothing.  `errors` says, by
    the same names, how far each number may be from the exact value, where some are not certified: half an ulp where
    they are.  `seconds_left` is about what it would take to decide these, where that was too long.

    Examples
    --------
    >>> METHODS["exact"].evaluate(Problem([[1.0, -1.0]], [[3.0]], Targets([0]))).loss
    0.0024756851377304495
    """

    loss: float | Array
    losses: Array
    gradients: Mapping[str, Array]
    certified: Mapping[str, NDArray[np.bool_]] | None = None
    errors: Mapping[str, Array] | None = None
    seconds_left: float = 0.0

    __repr__ = notebook.one_line("loss", "gradients")

    @property
    def left_out(self) -> str:
        """How numbers would be certified that are not because that takes too long; or ""."""
        takes = f"takes {duration(self.seconds_left)}" if self.seconds_left >= 1 else "decides it"
        return f"--exact {takes}" if self.seconds_left else ""

    def is_certain_of(self, name: str) -> bool:
        """Whether every number under this name is proven to be the nearest float to the exact value."""
        return self.certified is not None and bool(self.certified[name].all())


def stacked(problem: Problem, evaluations: Sequence[Evaluation]) -> Evaluation:
    """The floats of a stack of problems, from the evaluations of its problems one by one."""
    import numpy as np

    def gathered(values: Sequence[Any]) -> Any:
        return np.reshape(values, problem.weights.shape[:-2] + np.shape(values[0]))

    names = evaluations[0].gradients
    gradients = {name: gathered([one.gradients[name] for one in evaluations]) for name in names}
    loss, losses = (gathered([getattr(one, field) for one in evaluations]) for field in ("loss", "losses"))
    return Evaluation(loss, losses, gradients)


class Method(msgspec.Struct, frozen=True):
    """One entry of the table: what the user types, the module that computes, and a summary in a few words.

    A method that `rounds` sees W, x and b rounded to the precision of the problem.  Its error bound is still for the
    distance from the exact values, which are those of W, x and b before that rounding.
    """

    name: str
    module: str
    summary: str
    rounds: bool = True

    def evaluate(self, problem: Problem, with_respect_to: Sequence[str] = ("weights",)) -> Evaluation:
        """The loss and these gradients.  Results that are not finite are returned, not raised."""
        names = _names(with_respect_to)
        memory.check(problem, self.memory(problem, names))
        problem = problem.rounded if self.rounds else problem
        return import_module(self.module).evaluate(problem, names)

    def evaluate_arrays(
        self,
        weights: Any,
        inputs: Any,
        targets: Targets,
        bias: Any = None,
        with_respect_to: Sequence[str] = ("weights",),
    ) -> Evaluation:
        """The same of W (N, T), X (B, N) and b (T,), which are not copied, since nothing of them is kept.

        Examples
        --------
        >>> METHODS["shortcut"].evaluate_arrays(np.eye(2), np.ones((1, 2)), Targets([0])).gradients["weights"]
        array([[-0.5,  0.5],
               [-0.5,  0.5]])
        """
        from xegrad.arrays import lent
        from xegrad.problem import Problem

        return self.evaluate(Problem(lent(weights), lent(inputs), targets, lent(bias)), with_respect_to)

    def bound(self, problem: Problem, with_respect_to: Sequence[str] = ("weights",)) -> Bound:
        """The error bound: how far from the exact values those of this method are at most."""
        names = _names(with_respect_to)
        memory.check(problem, self.memory(problem, names), self.memory_of_bound(problem, names))
        return import_module(self.module).bound(problem, names)

    def work(self, problem: Problem) -> float:
        """An estimate of the seconds that the loss and dL/dW take, from the sizes alone (docs/numerics.md, 9.8)."""
        seconds: float = import_module(self.module).work(*problem.sizes, problem.n_problems)
        return seconds

    def memory(self, problem: Problem, names: Sequence[str]) -> int:
        """The bytes beside the problem that an evaluation takes, what it returns among them."""
        is_rounded = self.rounds and problem.precision is not None
        beside = problem.nbytes if is_rounded else 0
        return beside + problem.nbytes_of(names) + import_module(self.module).memory(problem)

    def memory_of_bound(self, problem: Problem, names: Sequence[str]) -> int:
        """The bytes that its error bound takes."""
        from xegrad import bounds

        return bounds.memory(problem, names, is_stable=self.name == "shortcut")


def _names(with_respect_to: str | Sequence[str]) -> tuple[str, ...]:
    """Of these gradients, or of one."""
    symbols = (with_respect_to,) if isinstance(with_respect_to, str) else with_respect_to
    return tuple(map(gradient_name, symbols))


# From the least to the most accurate.  If several are computed, the last is the one to report.
METHODS: Mapping[str, Method] = {
    method.name: method
    for method in (
        Method(
            "finite-difference", "xegrad.methods.finite_difference", "(L(W + h) - L(W - h)) / 2h, advisory"
        ),
        Method("chain", "xegrad.methods.chain", "dL/dS . dS/dZ . dZ/dW, every Jacobian formed"),
        Method("complex-step", "xegrad.methods.complex_step", "the imaginary part of L(W + ih), over h"),
        Method("shortcut", "xegrad.methods.shortcut", "(S_i - y_i) x_j, without cancellation"),
        Method(
            "exact", "xegrad.methods.exact", "every number correctly rounded, by enclosures", rounds=False
        ),
    )
}


Result = TypeVar("Result")


def without_exact(
    instead: Callable[..., Result],
) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Of a function of a problem, its exact values and more: called without these, it is the other function."""

    def of_both(function: Callable[..., Result]) -> Callable[..., Result]:
        @wraps(function)
        def call(problem: Problem, *arguments: Any, **named: Any) -> Result:
            has_exact = "exact" in named or isinstance(next(iter(arguments), None), Evaluation)
            return (function if has_exact else instead)(problem, *arguments, **named)

        return call

    return of_both


def exact_if_absent(function: Callable[..., Result]) -> Callable[..., Result]:
    """A function of a problem, its exact values and more, which evaluates these where they are not given."""
    others = function.__code__.co_varnames[2 : function.__code__.co_argcount]

    def evaluating(problem: Problem, *arguments: Any, **named: Any) -> Result:
        given = {**dict(zip(others, arguments, strict=False)), **named}
        exact = METHODS["exact"].evaluate(problem, (gradient_name(given.get("with_respect_to", "weights")),))
        return function(problem, exact, *arguments, **named)

    return without_exact(evaluating)(function)
