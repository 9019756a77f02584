"""The exact reference: every number correctly rounded to float64, for W, x, b and targets as they are given.

A ladder of three rungs, each for what the one before left open: double words, whose products are made of two slices;
the same with three; and integers, which decide everything but take long.  A number is certified where all that
its enclosure holds rounds to one float64, so it does not matter which rung found it.

It does its own forward pass and shares nothing with the float methods.

See docs/numerics.md, section 9.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any

import numpy as np
from msgspec.structs import astuple
from numpy.typing import NDArray

from xegrad import memory as memory_limit
from xegrad.arrays import blocks
from xegrad.bounds import Bound
from xegrad.errors import XegradError
from xegrad.methods import Evaluation
from xegrad.methods.exact import doublewords, integers
from xegrad.methods.exact.doublewords import Layer
from xegrad.methods.exact.nearest import Nearest, half_ulp
from xegrad.problem import Problem
from xegrad.progress import LONG, foretell, having

FIRST, FINER = 2, 3  # slices of the factors of a product in double words, and for what these leave open
AT_ONCE = 0.001  # seconds: what integers do in less needs no other rung
STACKED = 1 << 17  # numbers of W and of Z in the problems that are computed as one

Results = dict[str, Nearest]

_affordable: ContextVar[float] = ContextVar("affordable", default=LONG)


def affording(seconds: float) -> AbstractContextManager[None]:
    """Within the block, integers decide what is still open if that takes no longer, by estimate."""
    return having(_affordable, seconds)


def evaluate(problem: Problem, with_respect_to: Sequence[str]) -> Evaluation:
    """Loss and gradients, correctly rounded where `certified` is true, and with their `errors` where not."""
    names, stack = ("loss", "losses", *with_respect_to), problem.weights.shape[:-2]
    if not stack:
        results, seconds_left = _climbed(problem, names)
    else:
        each = np.unravel_index(np.arange(math.prod(stack)), stack)
        flat = problem if len(stack) == 1 else problem.at(each)
        results, seconds_left = _climbed_together(flat, names)
        results = {
            name: Nearest(*(part.reshape(stack + part.shape[1:]) for part in astuple(nearest)))
            for name, nearest in results.items()
        }
    loss = results["loss"].values
    return Evaluation(
        loss if stack else float(loss),
        results["losses"].values,
        {name: results[name].values for name in with_respect_to},
        certified={name: results[name].certain for name in names},
        errors={name: results[name].every_error() for name in _open(results)} or None,
        seconds_left=seconds_left,
    )


def bound(problem: Problem, with_respect_to: Sequence[str]) -> Bound:
    """Half an ulp of each certified number, and of the others as far as they are known."""
    evaluation = evaluate(problem, with_respect_to)
    errors = {
        name: (evaluation.errors or {}).get(name, half_ulp(values))
        for name, values in (("loss", evaluation.loss), *evaluation.gradients.items())
    }
    return Bound(errors.pop("loss"), errors)


def memory(problem: Problem) -> int:
    """The bytes that are held at a time.

    Integers take more: of small problems, and of others whose open numbers they decide only if it is there.
    """
    at_once = integers.memory(problem) if integers.work(*problem.sizes) < AT_ONCE else 0
    return max(at_once, doublewords.memory(problem))


def work(n_rows: int, n_inputs: int, n_classes: int, n_problems: int = 1) -> float:
    """An estimate of the seconds that the loss and dL/dW take, where double words decide everything."""
    at_once = n_problems * integers.work(n_rows, n_inputs, n_classes)
    if at_once < AT_ONCE:
        return at_once
    n_stacks = math.ceil(n_problems / max(1, _together(n_rows, n_inputs, n_classes)))
    return n_stacks * doublewords.work(n_rows, n_inputs, n_classes, math.ceil(n_problems / n_stacks))


def _climbed(problem: Problem, names: Sequence[str]) -> tuple[Results, float]:
    """Of one problem: what the rungs decide, and the seconds of integers that were left out."""
    if integers.work(*problem.sizes) < AT_ONCE:
        return integers.nearest(problem, names), 0.0
    layer = _layer(problem)
    results = layer.nearest(dict.fromkeys(names), FIRST)
    return results, _finish(problem, results, _affordable.get(), layer)


def _layer(problem: Problem) -> Layer:
    """The sum over rows cancels, so that with several the residuals need more digits than their products."""
    return Layer(problem, FIRST if problem.n_rows == 1 else FINER)


def _climbed_together(problem: Problem, names: Sequence[str]) -> tuple[Results, float]:
    """Of a stack with one axis: in double words together, as many as stay in cache, and what is left open singly."""
    n_problems, (n_rows, n_inputs, n_classes) = len(problem.weights), problem.sizes
    together = _together(n_rows, n_inputs, n_classes)
    if together < 2 or n_problems * integers.work(n_rows, n_inputs, n_classes) < AT_ONCE:
        alone = [_climbed(one, names) for one in problem.unstacked()]
        parts, seconds_left = [results for results, _ in alone], sum(seconds for _, seconds in alone)
        return {name: _gathered(np.stack, [part[name] for part in parts]) for name in names}, seconds_left
    some = blocks(n_problems, together)
    stacks = [problem] if len(some) == 1 else map(problem.at, some)
    parts = [_layer(stack).nearest(dict.fromkeys(names), FIRST) for stack in stacks]
    results = {name: _gathered(np.concatenate, [part[name] for part in parts]) for name in names}
    certain = [nearest.certain.reshape(n_problems, -1).all(axis=1) for nearest in results.values()]
    places = np.flatnonzero(~np.logical_and.reduce(certain))
    seconds_left = 0.0
    for place in places:
        one = {
            name: Nearest(*(part[place, ...] for part in astuple(nearest)))
            for name, nearest in results.items()
        }
        seconds_left += _finish(problem.at(place), one, _affordable.get() / len(places))
    return results, seconds_left


def _together(n_rows: int, n_inputs: int, n_classes: int) -> int:
    """How many problems of a stack are computed as one."""
    return STACKED // ((n_inputs + n_rows) * n_classes)


def _gathered(together: Callable[..., Any], parts: Sequence[Nearest]) -> Nearest:
    return Nearest(*map(together, zip(*map(astuple, parts), strict=True)))


def _finish(problem: Problem, results: Results, affordable: float, layer: Layer | None = None) -> float:
    """Decide, in place, what two slices left open; the seconds that integers would take where that is too long."""
    seconds = integers.work(*problem.sizes)
    if (still_open := _open(results)) and seconds > doublewords.work(*problem.sizes):
        if layer is None or layer.slices < FINER:
            layer = Layer(problem, FINER)
        _improve(results, layer.nearest(still_open, FINER))
        still_open = _open(results)
    if still_open and seconds <= affordable and _fits(problem, affordable):
        foretell("what is still open is decided by long integers, which takes", seconds)
        _improve(results, integers.nearest(problem, [*still_open]))
        return 0.0
    return seconds if still_open else 0.0


def _fits(problem: Problem, affordable: float) -> bool:
    """Whether integers have the memory that they need; if they may take any time, an error says how much."""
    try:
        memory_limit.check(problem, integers.memory(problem))
    except XegradError:
        if math.isinf(affordable):
            raise
        return False
    return True


def _open(results: Results) -> dict[str, NDArray[np.bool_]]:
    """Where a number is not certain, by name, if any is not."""
    return {name: ~nearest.certain for name, nearest in results.items() if not nearest.certain.all()}


def _improve(results: Results, better: Mapping[str, Nearest]) -> None:
    """What is open takes the place of what is better known, in place."""
    for name, other in better.items():
        known = results[name]
        is_open = ~known.certain & (other.certain | (other.errors < known.errors))
        for part, improved in zip(astuple(known), astuple(other), strict=True):
            part[is_open] = improved[is_open]
