"""The rows of a data set, as a descent asks them: a pass for each step, and the rows kept in memory where they fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import replace

from xegrad.full_batch import FullBatch, Total, total
from xegrad.full_batch.tree import Sums
from xegrad.methods import Evaluation
from xegrad.numbers.arithmetic import PRECISIONS
from xegrad.problem import Problem
from xegrad.targets import Array

Parts = Iterable[Iterable[tuple[tuple[int, int], Sums]]]


class OfDataSet(msgspec.Struct, eq=False):
    """All rows of a data set, whose blocks `summed` adds up: what `descent.Rows` expects.

    The problem of a descent holds W and b; `asked` has the data set, and what else is asked of it.
    """

    asked: FullBatch
    summed: Callable[[FullBatch], Parts]
    n_bad: int = 0  # rows that could not be read, as the last pass counts them

    def _total(self, problem: Problem, **fields: Any) -> Total:
        asked = replace(self.asked, layer=problem, **fields)
        whole = total(asked, self.summed(asked))
        self.n_bad = whole.n_bad
        return whole

    def evaluate(self, problem: Problem, names: Sequence[str]) -> Evaluation:
        """In one pass."""
        summed = self._total(problem, names=tuple(names))
        return Evaluation(summed.loss, np.array([summed.loss]), summed.gradients)

    def gradients(self, problem: Problem, names: Sequence[str], of_loss: Evaluation) -> Mapping[str, Array]:
        """Those of the pass of the loss."""
        return of_loss.gradients

    def squares(self, problem: Problem) -> float:
        """In a pass of its own, which is made once."""
        summed = self._total(problem, names=(), has_squares=True)
        return float(summed.sums["squares"]) / summed.divisor

    def rounding(self, problem: Problem) -> float:
        """By the bound on the sum of the losses, in another pass."""
        return float(self._total(problem, names=(), claimed_in=PRECISIONS["float64"]).error("loss"))
