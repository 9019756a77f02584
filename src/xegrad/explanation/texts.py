"""What is said of each step, whatever its numbers are.

In the texts {N} and {T} are the numbers of inputs and classes, and {instead} and {where} what a step adds.
"""

from __future__ import annotations

from collections.abc import Mapping

from xegrad.explanation.values import CommonMistake, StepText

TEXTS: Mapping[str, StepText] = {
    "logits": StepText(
        "Z",
        "A logit for each class: the inputs, weighted by the column of W that belongs to the class, and added up with "
        "its b.",
        "Z[i] = Σ_j x[j] · W[j,i] + b[i]",
        CommonMistake("bias-wrong", "b left out", "Z"),
    ),
    "probabilities": StepText(
        "S",
        "e to the power of each logit, divided by their sum, so that all add up to 1. The largest logit m is "
        "subtracted first: that changes nothing, and no power overflows.",
        "S[i] = e^(Z[i] - m) / Σ_k e^(Z[k] - m)",
        CommonMistake("softmax-twice", "the softmax of what already is one", "S"),
    ),
    "loss": StepText(
        "L",
        "How surprised the layer is by what was asked for: minus the logarithm of the probability of the target. "
        "Classes with Q = 0 do not count.",
        "L = -Σ_t Q[t] · ln S[t]",
        CommonMistake("log-epsilon", "ln(S + 1e-7), against ln 0", "L"),
    ),
    "cross_entropy_jacobian": StepText(
        "DXE",
        "dL/dS: how the loss moves with each probability. Only those of the target count, and the smaller one is, the "
        "more it matters.",
        "DXE[t] = -Q[t] / S[t], and 0 where Q[t] = 0",
        CommonMistake("jacobian-skipped", "the softmax forgotten: DXE taken for dL/dZ", "dL/dZ"),
    ),
    "softmax_jacobian": StepText(
        "DS",
        "dS/dZ: how each probability (a row) moves with each logit (a column): up with its own, down with every other. "
        "Every row and every column sums to 0.",
        "DS[t,i] = S[t] · (1 - S[t]) if i = t, else -S[t] · S[i]",
        CommonMistake("jacobian-diagonal", "only the diagonal", "dL/dZ"),
        structure="Symmetric, and no block is zero: positive on the diagonal, negative elsewhere.",
    ),
    "weighted_sum_jacobian": StepText(
        "Dg",
        "dZ/dW: how each logit moves with each weight: by the input that the weight multiplies, and not at all with "
        "the weights of other classes. Column i·{N} + j is W[j,i]: class by class.",
        "Dg[t, i·{N} + j] = x[j] if i = t, else 0",
        CommonMistake("input-missing", "x left out: the same in every row of W", "dL/dW[j]"),
        structure="Zero but for one block a row: row t holds x in {where}.",
    ),
    "layer_jacobian": StepText(
        "DL",
        "dS/dW = DS · Dg: how each probability moves with each weight. Since Dg is mostly zeros, one term is left of "
        "each sum.",
        "DL[t, i·{N} + j] = DS[t,i] · x[j]",
        CommonMistake("all-zero", "its rows added up without DXE, which gives 0 everywhere"),
        structure="Each column of DS, times every x in turn: zero where that x is.",
    ),
    "flat_gradient": StepText(
        "DXE·DL",
        "dL/dW as one row: DXE says how much each probability matters, DL how it moves with each weight. Still class "
        "by class, {N} at a time.",
        "flat[i·{N} + j] = Σ_t DXE[t] · DL[t, i·{N} + j]",
        CommonMistake(
            "scrambled-reshape", "its numbers put into W in the order in which they come; see the next step"
        ),
    ),
    "gradient": StepText(
        "dL/dW",
        "The row folded into W's layout, a row for each input and a column for each class.",
        "dL/dW[j,i] = flat[i·{N} + j], which is flat.reshape({T}, {N}).T",
        CommonMistake("scrambled-reshape", "{instead}", "dL/dW"),
    ),
    "shortcut": StepText(
        "dL/dW",
        "All of it at once: in DXE · DS nearly everything cancels, and dL/dZ is what the layer says minus what was "
        "asked for, here without the rounding of 1 - S. q is the sum of Q.",
        "dL/dW[j,i] = (q · S[i] - Q[i]) · x[j]",
        CommonMistake("sign-flipped", "Q - S, the sign flipped", "dL/dZ"),
    ),
    "comparison": StepText(
        "chain = shortcut?",
        "The long way and the short way, entry by entry. That they agree does not make them right: both may have lost "
        "the same digits.",
        "|chain - shortcut| ≤ what rounding can do to both",
    ),
    "check": StepText(
        "check",
        "Raising all logits alike changes no probability, so dL/dZ sums to 0. A weight that is moved by a little moves "
        "the loss by its entry of dL/dW.",
        "Σ_i dL/dZ[i] = 0;  dL/dW[j,i] ≈ (L(W[j,i] + h) - L(W[j,i] - h)) / 2h",
    ),
}
STEPS = tuple(TEXTS)
# The slip that a step invites, by its identifier; where there is no b to go wrong, that of the logits is another.
MISTAKE_AT_STEP: Mapping[str, str] = {name: text.slip.name for name, text in TEXTS.items() if text.slip}
WITHOUT_BIAS = "transposed"

LOGITS_WITHOUT_BIAS = StepText(
    "Z",
    "A logit for each class: the inputs, weighted by the column of W that belongs to the class, and added up.",
    "Z[i] = Σ_j x[j] · W[j,i]",
    CommonMistake(WITHOUT_BIAS, "W on the wrong side, W · x: {instead}", "Z"),
)
