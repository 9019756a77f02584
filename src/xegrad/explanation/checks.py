"""What is beside the chain: the shortcut, how far both are apart, and checks for a pocket calculator."""

from __future__ import annotations

import math

import numpy as np

from xegrad import bounds, layer
from xegrad.explanation.row import FACTOR, RESULT, WorkedRow, product, result, summed
from xegrad.explanation.values import MISTAKE_AT_STEP, CommonMistake, Step
from xegrad.methods import METHODS, finite_difference


def shortcut(view: WorkedRow) -> Step:
    t, j, residual = view.target, view.input, view.residual
    q = "" if view.mass == 1 else f"{view.factor(view.mass)} · "
    difference = f"{q}{view.factor(view.probabilities[t])} - {view.factor(view.targets[t])}"
    return Step(
        name="shortcut",
        symbol="dL/dW",
        rule="All of it at once: in DXE · DS nearly everything cancels, and dL/dZ is what the layer says minus what "
        "was asked for, here without the rounding of 1 - S. q is the sum of Q.",
        formula="dL/dW[j,i] = (q · S[i] - Q[i]) · x[j]",
        worked=(
            f"dL/dZ[{t}] = {difference} = {result(residual[t])}",
            f"dL/dW[{j},{t}] = {product(view.factor(residual[t]), view.factor(view.x[j]))} = "
            f"{view.outcome('shortcut', j, t)}",
        ),
        shape=view.shortcut.shape,
        value=view.shortcut,
        noise=view.noise("shortcut"),
        lost=view.lost_entries("shortcut"),
        slip=CommonMistake(MISTAKE_AT_STEP["shortcut"], "Q - S, the sign flipped", 0 - residual, "dL/dZ"),
    )


def comparison(view: WorkedRow) -> Step:
    compared = view.computed.comparisons["weights"]
    total, within = compared.reference.size, int(compared.within.sum())
    worked = [
        f"all of {total}: no further apart than rounding explains"
        if within == total
        else f"{total - within} of {total}: further apart than rounding explains, or no numbers"
    ]
    if lost := int(compared.unresolved.sum()):
        worked.append(f"{lost} of {total}: rounding explains so much that no digit is sure")
    for name, by in view.computed.from_exact.items():
        against = by["weights"]
        if gone := int(against.no_correct_digit.sum()):
            worked.append(f"{gone} of {total}: no digit of the exact value in the {name}")
        else:
            worked.append(f"all of {total}: the {name} has digits of the exact value")
    return Step(
        name="comparison",
        symbol="chain = shortcut?",
        rule="The long way and the short way, entry by entry. That they agree does not make them right: both may have "
        "lost the same digits.",
        formula="|chain - shortcut| ≤ what rounding can do to both",
        worked=tuple(worked),
    )


def check(view: WorkedRow) -> Step:
    i, j, residual = view.target, view.input, view.residual
    bound = bounds.stable(view.computed.problem, ("logits",)).gradients["logits"]
    largest = float(np.abs(residual).max())
    # In parts of the largest, since a sum of large numbers may overflow.
    total = largest * math.fsum(residual / largest) if 0 < largest < math.inf else largest
    came = "0, up to rounding" if largest and abs(total) <= float(bound.sum()) else result(total)
    step = finite_difference.STEP
    move = np.where(np.arange(view.n_classes) == i, step * view.x[j], 0).astype(view.x.dtype)
    above, below = (
        float(np.asarray(layer.softmax(view.forward.logits + sign * move, view.forward.targets).loss))
        for sign in (1, -1)
    )
    difference = (above - below) / (2 * step)
    unsure = float(METHODS["finite-difference"].bound(view.computed.problem).gradients["weights"][j, i])
    digits = math.log10(abs(difference) / unsure) if 0 < unsure < abs(difference) < math.inf else 0
    if digits >= 1:
        slope = f"{difference:.{min(RESULT, int(digits))}g}"
    else:
        slope = "no digit: the entry is too small for it" if math.isfinite(difference) else "no number"
    worked = [
        f"Σ_i dL/dZ[i] = {summed([result(r) for r in residual])} = {came}",
        f"(L(W[{j},{i}] + h) - L(W[{j},{i}] - h)) / 2h = {slope}   (h = 2^-17)",
    ]
    if view.exact is not None:
        worked.append(f"dL/dW[{j},{i}] = {view.exact[j, i] + 0.0:.{FACTOR}g}, exactly, to the digits shown")
    return Step(
        name="check",
        symbol="check",
        rule="Raising all logits alike changes no probability, so dL/dZ sums to 0. A weight that is moved by a little "
        "moves the loss by its entry of dL/dW.",
        formula="Σ_i dL/dZ[i] = 0;  dL/dW[j,i] ≈ (L(W[j,i] + h) - L(W[j,i] - h)) / 2h",
        worked=tuple(worked),
    )
