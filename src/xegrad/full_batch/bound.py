"""How far rounding can move a loss and a gradient of many rows, from sums over these rows.

`bounds.stable` says it entry by entry of every step, which takes eight times as long as the gradient.  Here one number
a row holds for all of its classes.  With s = sum_j |x_j| max_i |W_ji| + max |b|, no logit, and no sum of the sizes of
its terms, is larger than s, and

    e = 2 h + 4 u s, h = gamma_{N+1} s    no Z_i - log sum exp Z is off by more                      (12.2)
    a = expm1(e + (T + c) u + k_q)        no q S_i is off by more than this part of it               (12.3)
    dR_i = a |R_i| + (a + k) Q_i          since q S_i = R_i + Q_i, with k what Q is off              (12.4)

What is left are two sums over the rows, which serve any order of the additions, and two arithmetics of which one is
finer than the other:

    A = sum_b |x_b|' |R_b|    D = sum_b |x_b|' dR_b    |G^ - G| <= g A + (1 + 2 g) D, g = gamma_B     (12.5)

See docs/numerics.md, section 12.2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property, reduce
from typing import Any

import msgspec
import numpy as np

from xegrad.full_batch import tree
from xegrad.full_batch.tree import Sums
from xegrad.methods import Evaluation
from xegrad.numbers.arithmetic import Arithmetic
from xegrad.problem import Problem
from xegrad.targets import Array

PIECE = 2**20  # bytes of |x| and of what it is multiplied by, which stay in the cache
INFLATION = 1.01  # for the rounding of the bound itself
OF_EXP = 8  # u: what exp is off at most (4.10), and log
# Before the name of a gradient: A, D, sum |x|, and how far exact values are off.
SIZE, MOVED, FACTORS, OFF = "size of ", "move of ", "factors of ", "error of "


def off_targets(problem: Problem, arithmetic: Arithmetic, n_rows: int, *, is_weighted: bool) -> float:
    """k: which part of itself each Q is off, in a batch of so many rows whose mean may be taken.

    A label has no rounding; its mean has one, smoothing five, a weight two, and the sum of all weights, by which the
    mean of weights divides, as many as there are rows.  Below float64 1 - eps loses what eps lost.
    """
    targets = problem.targets
    n = 2 + 5 * bool(targets.label_smoothing) + 3 * is_weighted
    if is_weighted and targets.reduction == "mean":
        n += arithmetic.terms(n_rows)
    k = float(arithmetic.gamma(n))
    if arithmetic.rounds_inputs and 0 < targets.label_smoothing < 1:
        k += arithmetic.u / (1 - targets.label_smoothing)
    return k


def of_block(
    problem: Problem, evaluation: Evaluation, names: Sequence[str], arithmetic: Arithmetic, k: float
) -> Sums:
    """A and D of each gradient and of the loss, of a block whose R (B, T) is evaluated, with what its Q are off."""
    block = _Block(problem, evaluation, arithmetic, k)
    n_rows = max(1, PIECE // (8 * (problem.n_inputs + 2 * problem.n_classes)))
    pieces = (slice(first, first + n_rows) for first in range(0, problem.n_rows, n_rows))
    return reduce(tree.added, (block.sums(rows, names) for rows in pieces))


class _Block(msgspec.Struct, frozen=True, eq=False, dict=True):
    """What the bounds of all rows of a block need, and the sums of some of them."""

    problem: Problem
    evaluation: Evaluation
    arithmetic: Arithmetic
    k: float

    @cached_property
    def largest_weights(self) -> Array:
        """(N,) max_i |W_ji|."""
        return np.abs(self.problem.weights).max(axis=1)

    @cached_property
    def largest_bias(self) -> float:
        """max |b|, 0 without one."""
        return 0.0 if self.problem.bias is None else float(np.abs(self.problem.bias).max())

    @cached_property
    def masses(self) -> Array:
        """(B,) the sum of each row's Q."""
        targets, float64 = self.problem.targets, np.dtype(np.float64)
        one_hot = targets.are_one_hot
        return (
            targets.masses(float64)
            if one_hot
            else targets.effective(self.problem.n_classes, float64).sum(axis=-1)
        )

    @np.errstate(all="ignore")
    def sums(self, rows: slice, names: Sequence[str]) -> Sums:
        """A and D of some rows."""
        problem, arithmetic, k, targets = self.problem, self.arithmetic, self.k, self.problem.targets
        n_inputs, n_classes, u = problem.n_inputs, problem.n_classes, arithmetic.u
        masses, sizes = self.masses[rows], np.abs(problem.inputs[rows])
        of_logits = sizes @ self.largest_weights + self.largest_bias  # s (B,)
        g = arithmetic.gamma(arithmetic.terms(n_inputs) + 1 + 2 * arithmetic.rounds_inputs)
        exponents = (2.02 * g + 4.02 * u) * of_logits + n_inputs * arithmetic.eta  # e
        exponents[of_logits > arithmetic.near_overflow] = np.inf
        of_sum = (arithmetic.terms(n_classes) + 2 * OF_EXP + 4) * u
        of_masses = 0.0 if targets.are_one_hot else float(arithmetic.gamma(arithmetic.terms(n_classes)))
        part = np.expm1(exponents + 1.01 * (of_sum + k + (1 + k) * of_masses))[:, None]  # a
        both = np.empty((len(sizes), 2 * n_classes))  # |R|, and dR
        residual, moves = both[:, :n_classes], both[:, n_classes:]
        np.abs(self.evaluation.gradients["logits"][rows], out=residual)
        np.multiply(residual, part, out=moves)
        if targets.are_one_hot:
            labels = np.where(masses == 0, 0, np.asarray(targets.labels)[rows])
            moves[np.arange(len(labels)), labels] += (part[:, 0] + k) * masses
        else:
            moves += (part + k) * targets.effective(n_classes, np.dtype(np.float64), rows)
        one, n_rows = np.ones(len(sizes)), np.asarray(float(len(sizes)))
        sums: dict[str, Any] = {}
        if "weights" in names:
            of_weights = sizes.T @ both
            sums[SIZE + "weights"], sums[MOVED + "weights"] = (
                of_weights[:, :n_classes],
                of_weights[:, n_classes:],
            )
            sums[FACTORS + "weights"] = (one @ sizes)[:, None]
        if "bias" in names:
            of_bias = one @ both
            sums[SIZE + "bias"], sums[MOVED + "bias"] = of_bias[:n_classes], of_bias[n_classes:]
            sums[FACTORS + "bias"] = n_rows
        # Of the loss: Q (log sum exp Z - Z_i), of which no factor is more than 2 s + log T.
        most = 2 * of_logits + math.log(n_classes)
        of_terms = 2 * u if targets.are_one_hot else float(arithmetic.gamma(arithmetic.terms(n_classes) + 2))
        off = exponents + of_sum + (2.02 * u + k + of_terms) * most
        sums[SIZE + "loss"] = np.abs(self.evaluation.losses[rows]).sum(dtype=np.float64)
        sums[MOVED + "loss"] = np.asarray((off * masses)[masses != 0].sum())
        sums[FACTORS + "loss"] = n_rows
        return sums


@np.errstate(all="ignore")
def from_sums(
    sums: Mapping[str, Any], name: str, arithmetic: Arithmetic, n_terms: int, part: float = 1.0
) -> Array:
    """The bound (12.5), of sums with so many roundings a term, where D is this part of what `sums` have.

    A finer arithmetic has D in the ratio of the two u at most, as a is convex in u and 0 where u is 0.
    """
    g = float(arithmetic.gamma(n_terms))
    error = g * sums[SIZE + name] + (1 + 2 * g) * part * sums[MOVED + name]
    factors = sums[FACTORS + name]
    # Of what is 0 in each row, none.
    underflow = np.where(factors == 0, 0, 4 * arithmetic.eta * (1 + factors))
    error = INFLATION * (error + underflow)
    is_known = (sums[SIZE + name] <= arithmetic.near_overflow) & ~np.isnan(error)
    return np.where(is_known, error, np.inf)
