"""Each operation on double words beside the same in mpmath, and random operands: how far off is it, over its bound?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import mpmath
import numpy as np

from strategies import random_targets
from truth import exact as truth
from xegrad import Problem
from xegrad.methods.exact.doublewords import Layer
from xegrad.numbers import doubleword as dw

BITS = 300  # 90 digits
Operands = tuple[Any, ...]


def pairs(random: np.random.Generator, high: Any) -> dw.DoubleWord:
    """Double words with these high words, the low words of any size and often as large as they can be."""
    share = np.where(random.random(high.shape) < 0.3, 1.0, random.random(high.shape))
    share = (
        share * random.choice([-1.0, 1.0], high.shape) * 2.0 ** -random.choice([0, 0, 0, 3, 60], high.shape)
    )
    return dw.ordered_sum(high, np.spacing(np.abs(high)) / 2 * share * (1 - 2.0**-52))


def any_size(random: np.random.Generator, size: int) -> dw.DoubleWord:
    """Of either sign and of any size, often near to each other, with all bits or with few."""
    scale = 2.0 ** random.choice([0, 0, 1, 2, 53, -53, 100, -150], size).astype(float)
    bits = random.choice([2.0**3, 2.0**27, 2.0**53], size)
    return pairs(
        random, random.choice([-1.0, 1.0], size) * scale * np.ceil((1 + random.random(size)) * bits) / bits
    )


def positive(random: np.random.Generator, size: int) -> dw.DoubleWord:
    high, low = any_size(random, size)
    return np.abs(high), np.copysign(low, random.random(size) - 0.5)


def exponents(random: np.random.Generator, size: int) -> dw.DoubleWord:
    """From -640 to 1: of every size, and next to where the table changes."""
    high = -random.choice([640.0, 30.0, 1.0, 1e-4, 1e-10], size) * random.random(size)
    between = (np.rint(high * dw.STEPS / np.log(2)) + 0.5) * np.log(2) / dw.STEPS
    return pairs(random, np.where(random.random(size) < 0.2, np.maximum(between, -640.0), high))


def others(random: np.random.Generator, size: int) -> dw.DoubleWord:
    """The sum over the other classes: from 1e-200 to 1e6, and next to 2**-6, where the method changes."""
    high = 10.0 ** random.uniform(-200, 6, size)
    near = 2.0**-6 * (1 + random.choice([-1.0, 1.0], size) * 10.0 ** random.uniform(-16, 0, size) / 2)
    middle = 10.0 ** random.uniform(-4, 4, size)
    return pairs(random, random.choice([high, near, middle], axis=0))


def rows(random: np.random.Generator, size: int) -> dw.DoubleWord:
    """Numbers of one sign in rows, each the sum of many."""
    high, low = positive(random, 37 * size)
    return high.reshape(size, 37), low.reshape(size, 37)


def _log1p(a: dw.DoubleWord) -> tuple[dw.DoubleWord, Any]:
    high, low, error = dw.log1p(a)
    return (high, low), error


def _total(a: dw.DoubleWord) -> dw.DoubleWord:
    high, low = dw.total(a)
    return high[..., 0], low[..., 0]


Relative = Callable[..., tuple[dw.DoubleWord, Any]]


def _off_by(operation: Callable[..., dw.DoubleWord], relative: float) -> Relative:
    return lambda *operands: (operation(*operands), relative)


# Of each step: how its operands are drawn, the step with its bound (relative to what mpmath gives, or of log1p
# absolute), and the same in mpmath.
STEPS: dict[str, tuple[tuple[Any, ...], Relative, Callable[..., Any]]] = {
    "add": ((any_size, any_size), _off_by(dw.add, dw.ADDITION), lambda a, b: a + b),
    "add_alike": ((positive, positive), _off_by(dw.add_alike, dw.ADDITION), lambda a, b: a + b),
    "add_word": (
        (any_size, any_size),
        _off_by(lambda a, b: dw.add_word(a[0], b), dw.ADDITION),
        lambda a, b: a + b,
    ),
    "multiply": ((any_size, any_size), _off_by(dw.multiply, dw.PRODUCT), lambda a, b: a * b),
    "divide": ((any_size, any_size), _off_by(dw.divide, dw.QUOTIENT), lambda a, b: a / b),
    "total": (
        (rows,),
        _off_by(_total, dw.depth(37) * dw.ADDITION),
        lambda a: mpmath.fsum(a),
    ),
    "exp": ((exponents,), _off_by(dw.exp, dw.EXPONENTIAL), mpmath.exp),
    "log1p": ((others,), _log1p, mpmath.log1p),
}
ABSOLUTE = ("log1p",)


def ratios(step: str, random: np.random.Generator, size: int) -> Iterator[float]:
    """|error| / bound of each of so many results."""
    draws, operation, expected = STEPS[step]
    operands = [draw(random, size) for draw in draws]
    if step == "add_word":
        operands[0] = operands[0][0], np.zeros(size)
    (high, low), bounds = operation(*operands)
    bounds = np.broadcast_to(bounds, size)
    with mpmath.workprec(BITS):
        for index in range(size):
            exact = expected(*(_number(operand, index) for operand in operands))
            bound = mpmath.mpf(float(bounds[index])) * (1 if step in ABSOLUTE else abs(exact))
            error = abs(mpmath.mpf(float(high[index])) + mpmath.mpf(float(low[index])) - exact)
            yield float(error / bound) if bound else float(error > 0) * np.inf


def _number(operand: dw.DoubleWord, index: int) -> Any:
    """An operand as a number of mpmath, or a row of them as a list."""
    high, low = operand[0][index], operand[1][index]
    if np.ndim(high):
        return [mpmath.mpf(a) + mpmath.mpf(b) for a, b in zip(high.tolist(), low.tolist(), strict=True)]
    return mpmath.mpf(float(high)) + mpmath.mpf(float(low))


def layer_ratios(random: np.random.Generator, size: int) -> Iterator[float]:
    """The same of so many residuals or more: the double words of dL/dZ, before they are rounded."""
    while size > 0:
        n_rows, n_inputs, n_classes = (int(random.integers(1, most)) for most in (5, 20, 30))
        problem = Problem(
            10.0 ** random.uniform(-3, 1) * random.normal(size=(n_inputs, n_classes)),
            random.normal(size=(n_rows, n_inputs)),
            random_targets(random, n_rows, n_classes),
        )
        layer = Layer(problem, int(random.choice([2, 3])))
        (high, low), bounds = layer.residuals, layer.error()
        with mpmath.workprec(BITS):
            exact = [entry for row in truth(problem, BITS)["logits"] for entry in row]
            for h, e, bound, residual in zip(high.flat, low.flat, bounds.flat, exact, strict=True):
                yield float(
                    abs(mpmath.mpf(float(h)) + mpmath.mpf(float(e)) - residual) / mpmath.mpf(float(bound))
                )
        size -= high.size
