"""The numbers of one row, and how they are written in a worked line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xegrad import layer
from xegrad.comparison import Comparison
from xegrad.computation import Computation
from xegrad.explanation.values import WorkedEntry
from xegrad.methods import chain
from xegrad.targets import Array

TERMS = 5  # of a worked sum that are written out
FACTOR, RESULT = 8, 5  # significant digits of a factor, and of what a pocket calculator makes of them


class WorkedRow:
    """What the steps share: the numbers of the row, and the entry that the worked lines follow."""

    @np.errstate(all="ignore")
    def __init__(self, computed: Computation) -> None:
        self.computed = computed
        self.problem = computed.problem.rounded
        self.forward = layer.forward(self.problem)
        self.targets: Array = self.forward.targets[0]
        self.logits: Array = self.forward.logits[0]
        self.probabilities: Array = self.forward.probabilities[0]
        self.residual: Array = layer.residual(self.forward)[0]
        self.x: Array = self.problem.inputs[0]
        self.n_inputs, self.n_classes = self.problem.n_inputs, self.problem.n_classes
        self.classes = np.arange(self.n_classes)
        self.mass = float(self.targets.sum())
        self.target = int(np.argmax(self.targets if self.mass else np.nan_to_num(self.probabilities)))
        self.input = int(np.argmax(np.abs(self.x)))
        self.named: list[int] = np.flatnonzero(self.targets).tolist()  # the classes of the target
        self.cross_entropy_jacobian = chain.cross_entropy_jacobian(self.probabilities, self.targets)
        self.gradients: dict[str, Array] = {
            name: evaluation.gradients["weights"] for name, evaluation in computed.evaluations.items()
        }

    def comparison(self, method: str) -> Comparison | None:
        """The method's dL/dW against the exact one; where that is not there, the chain against the shortcut."""
        if method in self.computed.from_exact:
            return self.computed.from_exact[method]["weights"]
        return self.computed.comparisons["weights"] if method == "chain" else None

    def noise(self, method: str) -> NDArray[np.bool_]:
        """Entries of dL/dW, (N, T), of which only rounding is left: no digit is that of the exact value."""
        values, against = self.gradients[method], self.comparison(method)
        if against is None:
            return np.zeros(values.shape, dtype=bool)
        wrong = against.no_correct_digit | (against.reference == 0)
        return wrong & np.isfinite(values) & (values != 0)

    def outcome(self, method: str, j: int, i: int) -> str:
        """An entry of dL/dW at the end of a worked line."""
        return "0, up to rounding" if self.noise(method)[j, i] else result(self.gradients[method][j, i])

    def lost_entries(self, method: str) -> str:
        """What is not finite, or has no digit of the exact value (or else of the shortcut's), and the first of it."""
        values, against = self.gradients[method], self.comparison(method)
        gone = ~np.isfinite(values) if against is None else against.no_correct_digit
        if not gone.any():
            return ""
        j, i = np.argwhere(gone)[0].tolist()
        why = "no digit that is right"
        if not np.isfinite(values[j, i]):
            why = "no number"
            if method == "chain" and np.isfinite(self.logits).all():
                why += ", since infinity times 0 is none"
        known = ""
        if against is not None:
            source = ", exactly" if "exact" in self.gradients else " by the shortcut"
            known = f", and is {against.reference[j, i] + 0.0:.5g}{source}"
        return (
            f"{gone.sum()} of {gone.size} entries {'has' if gone.sum() == 1 else 'have'} {why}: dL/dW[{j},{i}] comes "
            f"out as {result(values[j, i])}{known}."
        )

    def factor(self, value: float) -> str:
        """A number that one calculates with."""
        return shown(float(value), FACTOR if self.problem.dtype == np.float64 else FACTOR - 2)

    def softmax_jacobian(self, t: Any, i: Any) -> Any:
        """S_t (delta_ti - S_i), as the chain forms it, of one entry or of arrays of them."""
        return self.probabilities[t] * (np.equal(t, i) - self.probabilities[i])


def follow(row: WorkedRow, j: int, i: int) -> WorkedEntry:
    """An entry of dL/dW, followed through every factor as a sum for a pocket calculator."""
    outer, column = row.cross_entropy_jacobian, row.softmax_jacobian(row.classes, i)
    named, number, probabilities = row.named, row.factor, row.probabilities
    products = outer * column * row.x[j]
    x, came, name = number(row.x[j]), row.outcome("chain", j, i), f"dL/dW[{j},{i}]"
    factors = [f"x[{j}] = {x}", f"S[{i}] = {number(probabilities[i])}"]
    worked = []
    for t in named[:TERMS]:
        quotient = f"-{number(row.targets[t])} / {number(probabilities[t])}"
        factors.append(f"DXE[{t}] = -Q[{t}] / S[{t}] = {quotient} = {number(outer[t])}")
        entry_of_ds = f"S[{t}] · (1 - S[{t}])" if t == i else f"-S[{t}] · S[{i}]"
        factors.append(f"DS[{t},{i}] = {entry_of_ds} = {number(column[t])}")
        numbers = product(number(outer[t]), number(column[t]), x)
        worked.append(f"DXE[{t}] · DS[{t},{i}] · x[{j}] = {numbers} = ")
    if len(named) == 1:
        lines = [f"{name} = {worked[0]}{came}"]
    elif named:
        lines = [f"{name} = Σ_t DXE[t] · DS[t,{i}] · x[{j}], over the {len(named)} t with Q[t] ≠ 0"]
        lines += [f"{line}{number(products[t])}" for line, t in zip(worked, named, strict=False)]
        if len(named) > TERMS:
            rest = number(products[named[TERMS:]].sum())
            lines.append(f"{len(named) - TERMS} more terms, together {rest}")
        lines.append(f"{name} = {summed([number(products[t]) for t in named])} = {came}")
    else:
        lines = [f"{name} = 0, since Q is 0: this row does not count"]
    values = {method: float(gradient[j, i]) for method, gradient in row.gradients.items()}
    return WorkedEntry(j, i, tuple(factors), tuple(lines), **values)


def shown(value: float, digits: int) -> str:
    """So many significant digits, and fewer where they are all there is: 0.5, but 0.16990."""
    text = f"{value + 0.0:.{digits}g}"
    if not math.isfinite(value) or abs(float(text) - value) <= 1e-14 * abs(value):
        return text
    return f"{value:#.{digits}g}".removesuffix(".")


def result(value: float) -> str:
    """What comes out of a worked line."""
    return shown(float(value), RESULT)


def product(*factors: str) -> str:
    """a · b · (-c)."""
    first, *rest = factors
    return " · ".join([first, *(f"({factor})" if factor.startswith("-") else factor for factor in rest)])


def summed(terms: Sequence[str]) -> str:
    """a + b - c; of many, the first ones, how many are left out, and the last; of none, 0."""
    if len(terms) > TERMS:
        terms = [*terms[: TERMS - 2], f"… ({len(terms) - TERMS + 1} more)", terms[-1]]
    return " + ".join(terms).replace(" + -", " - ") or "0"
