"""What is beside the chain: the shortcut, how far both are apart, and checks for a pocket calculator."""

from __future__ import annotations

import math

import numpy as np

from xegrad import bounds, layer
from xegrad.explanation.row import FACTOR, RESULT, WorkedRow, product, result, summed
from xegrad.explanation.values import Step
from xegrad.methods import METHODS, finite_difference


def shortcut(view: WorkedRow) -> Step:
    t, j, residual, number = view.target, view.input, view.residual, view.factor
    q = "" if view.mass == 1 else f"{number(view.mass)} · "
    difference = f"{q}{number(view.probabilities[t])} - {number(view.targets[t])}"
    numbers = product(number(residual[t]), number(view.x[j]))
    return view.step(
        "shortcut",
        [
            f"dL/dZ[{t}] = {difference} = {result(residual[t])}",
            f"dL/dW[{j},{t}] = {numbers} = {view.outcome('shortcut', j, t)}",
        ],
        view.gradients["shortcut"],
        noise=view.noise("shortcut"),
        lost=view.lost_entries("shortcut"),
        mistaken=0 - residual,
    )


def comparison(view: WorkedRow) -> Step:
    compared = view.computed.comparisons["weights"]
    total, apart = compared.reference.size, int((~compared.within).sum())
    worked = [f"all of {total}: no further apart than rounding explains"]
    if apart:
        worked = [f"{apart} of {total}: further apart than rounding explains, or no numbers"]
    if lost := int(compared.unresolved.sum()):
        worked.append(f"{lost} of {total}: rounding explains so much that no digit is sure")
    for name, by in view.computed.from_exact.items():
        if gone := int(by["weights"].no_correct_digit.sum()):
            worked.append(f"{gone} of {total}: no digit of the exact value in the {name}")
        else:
            worked.append(f"all of {total}: the {name} has digits of the exact value")
    return view.step("comparison", worked)


def check(view: WorkedRow) -> Step:
    i, j, residual = view.target, view.input, view.residual
    bound = bounds.stable(view.computed.problem, ("logits",)).gradients["logits"]
    largest = float(np.abs(residual).max())
    # In parts of the largest, since a sum of large numbers may overflow.
    total = largest * math.fsum(residual / largest) if 0 < largest < math.inf else largest
    came = "0, up to rounding" if largest and abs(total) <= float(bound.sum()) else result(total)
    worked = [
        f"Σ_i dL/dZ[i] = {summed([result(r) for r in residual])} = {came}",
        f"(L(W[{j},{i}] + h) - L(W[{j},{i}] - h)) / 2h = {_slope(view, j, i)}   (h = 2^-17)",
    ]
    if "exact" in view.gradients:
        exact = view.gradients["exact"][j, i] + 0.0
        worked.append(f"dL/dW[{j},{i}] = {exact:.{FACTOR}g}, exactly, to the digits shown")
    return view.step("check", worked)


def _slope(view: WorkedRow, j: int, i: int) -> str:
    """The central difference in W[j, i], to the digits that it is good for."""
    step = finite_difference.STEP
    move = np.where(np.arange(view.n_classes) == i, step * view.x[j], 0).astype(view.x.dtype)
    above, below = (
        float(layer.softmax(view.forward.logits + sign * move, view.forward.targets).loss) for sign in (1, -1)
    )
    difference = (above - below) / (2 * step)
    unsure = float(METHODS["finite-difference"].bound(view.computed.problem).gradients["weights"][j, i])
    digits = math.log10(abs(difference) / unsure) if 0 < unsure < abs(difference) < math.inf else 0
    if digits >= 1:
        return f"{difference:.{min(RESULT, int(digits))}g}"
    return "no digit: the entry is too small for it" if math.isfinite(difference) else "no number"
