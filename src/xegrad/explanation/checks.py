"""What is beside the chain: the shortcut, how far both are apart, and checks for a pocket calculator."""

from __future__ import annotations

import math

import numpy as np

from xegrad import bounds, layer
from xegrad.explanation.row import FACTOR, RESULT, WorkedRow, product, result, summed
from xegrad.explanation.values import CommonMistake, Step
from xegrad.methods import METHODS, finite_difference


def shortcut(row: WorkedRow) -> Step:
    t, j, residual, number = row.target, row.input, row.residual, row.factor
    q = "" if row.mass == 1 else f"{number(row.mass)} · "
    difference = f"{q}{number(row.probabilities[t])} - {number(row.targets[t])}"
    numbers = product(number(residual[t]), number(row.x[j]))
    return Step(
        name="shortcut",
        symbol="dL/dW",
        rule="All of it at once: in DXE · DS nearly everything cancels, and dL/dZ is what the layer says minus what "
        "was asked for, here without the rounding of 1 - S. q is the sum of Q.",
        formula="dL/dW[j,i] = (q · S[i] - Q[i]) · x[j]",
        worked=[
            f"dL/dZ[{t}] = {difference} = {result(residual[t])}",
            f"dL/dW[{j},{t}] = {numbers} = {row.outcome('shortcut', j, t)}",
        ],
        value=row.gradients["shortcut"],
        noise=row.noise("shortcut"),
        lost=row.lost_entries("shortcut"),
        slip=CommonMistake("sign-flipped", "Q - S, the sign flipped", "dL/dZ", 0 - residual),
    )


def comparison(row: WorkedRow) -> Step:
    compared = row.computed.comparisons["weights"]
    total, apart = compared.reference.size, int((~compared.within).sum())
    worked = [f"all of {total}: no further apart than rounding explains"]
    if apart:
        worked = [f"{apart} of {total}: further apart than rounding explains, or no numbers"]
    if lost := int(compared.unresolved.sum()):
        worked.append(f"{lost} of {total}: rounding explains so much that no digit is sure")
    for name, by in row.computed.from_exact.items():
        if gone := int(by["weights"].no_correct_digit.sum()):
            worked.append(f"{gone} of {total}: no digit of the exact value in the {name}")
        else:
            worked.append(f"all of {total}: the {name} has digits of the exact value")
    return Step(
        name="comparison",
        symbol="chain = shortcut?",
        rule="The long way and the short way, entry by entry. That they agree does not make them right: both may "
        "have lost the same digits.",
        formula="|chain - shortcut| ≤ what rounding can do to both",
        worked=worked,
    )


def check(row: WorkedRow) -> Step:
    i, j, residual = row.target, row.input, row.residual
    bound = bounds.stable(row.computed.problem, ("logits",)).gradients["logits"]
    largest = float(np.abs(residual).max())
    # In parts of the largest, since a sum of large numbers may overflow.
    total = largest * math.fsum(residual / largest) if 0 < largest < math.inf else largest
    came = "0, up to rounding" if largest and abs(total) <= float(bound.sum()) else result(total)
    worked = [
        f"Σ_i dL/dZ[i] = {summed([result(r) for r in residual])} = {came}",
        f"(L(W[{j},{i}] + h) - L(W[{j},{i}] - h)) / 2h = {_slope(row, j, i)}   (h = 2^-17)",
    ]
    if "exact" in row.gradients:
        exact = row.gradients["exact"][j, i] + 0.0
        worked.append(f"dL/dW[{j},{i}] = {exact:.{FACTOR}g}, exactly, to the digits shown")
    return Step(
        name="check",
        symbol="check",
        rule="Raising all logits alike changes no probability, so dL/dZ sums to 0. A weight that is moved by a "
        "little moves the loss by its entry of dL/dW.",
        formula="Σ_i dL/dZ[i] = 0;  dL/dW[j,i] ≈ (L(W[j,i] + h) - L(W[j,i] - h)) / 2h",
        worked=worked,
    )


def _slope(row: WorkedRow, j: int, i: int) -> str:
    """The central difference in W[j, i], to the digits that it is good for."""
    step = finite_difference.STEP
    move = np.where(row.classes == i, step * row.x[j], 0).astype(row.x.dtype)
    above, below = (
        float(layer.softmax(row.forward.logits + sign * move, row.forward.targets).loss) for sign in (1, -1)
    )
    difference = (above - below) / (2 * step)
    unsure = float(METHODS["finite-difference"].bound(row.computed.problem).gradients["weights"][j, i])
    digits = math.log10(abs(difference) / unsure) if 0 < unsure < abs(difference) < math.inf else 0
    if digits >= 1:
        return f"{difference:.{min(RESULT, int(digits))}g}"
    return "no digit: the entry is too small for it" if math.isfinite(difference) else "no number"
