"""Slips in how dL/dZ is formed from the probabilities and the targets, and in how it is carried back."""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec.structs import replace

from xegrad.slips.draft import Draft, ratio, softmax, through_softmax
from xegrad.slips.entry import Parameters, Slip
from xegrad.targets import Array


def _twice(draft: Draft, given: Parameters) -> Draft:
    """P = softmax(S): S takes the place of the logits, and dS that of their error."""
    values, error = softmax(draft, draft.probabilities, draft.probabilities_error)
    residual: Array = draft.mass * values - draft.targets
    error = draft.mass * error + (draft.problem.n_classes + 4) * draft.u * np.abs(residual)
    if given["form"] == "both derivatives":
        residual, error = through_softmax(draft, residual, error)
    return draft.with_residual(residual, error)


def _diagonal(draft: Draft, given: Parameters) -> Draft:
    if given["form"] == "-Q":
        return draft.with_residual(-draft.targets, np.zeros_like(draft.residual))
    return draft.with_residual(-draft.targets * draft.complement, draft.targets * draft.probabilities_error)


def _logarithm(draft: Draft, given: Parameters) -> Draft:
    """d/dS of -Q log(S + eps) through the softmax: DS(-Q / (S + eps)).

    With one target c in each row that is R S_c / (S_c + eps), which loses nothing where S_c is near 1:
    S_c / (S_c + eps) moves by eps dS_c / ((S_c + eps) (S_c - dS_c + eps)).
    """
    eps: Any = given["eps"]
    target = draft.targets != 0
    if (target.sum(axis=-1) > 1).any():
        around = draft.probabilities + eps
        quotient, spread = ratio(
            draft, draft.targets, around, draft.probabilities_error + draft.u * np.abs(around)
        )
        return draft.with_residual(*through_softmax(draft, -quotient, spread))
    probability = np.where(target, draft.probabilities, 0).sum(axis=-1, keepdims=True)
    spread = np.where(target, draft.probabilities_error, 0).sum(axis=-1, keepdims=True)
    part = probability / (probability + eps)
    moved = eps * spread / ((probability + eps) * (np.maximum(probability - spread, 0) + eps))
    error = np.abs(part) * draft.residual_error
    error = error + np.abs(draft.residual) * (moved + 4 * draft.u * np.abs(part))
    return draft.with_residual(draft.residual * part, error)


def _times_derivative(draft: Draft, given: Parameters) -> Draft:
    """R S (1 - S): dR S (1 - S) + |R| dS |1 - 2S|, |R| dS at most, and four roundings."""
    derivative = draft.probabilities * draft.complement
    values = draft.residual * derivative
    error = draft.residual_error * np.abs(derivative) + np.abs(draft.residual) * draft.probabilities_error
    return draft.with_residual(values, error + 4 * draft.u * np.abs(draft.residual * draft.probabilities))


def _squared(draft: Draft, given: Parameters) -> Draft:
    factor = int(given["factor"])
    values, error = through_softmax(draft, draft.residual, draft.residual_error)
    return draft.with_residual(factor * values, factor * error)


def _binary(draft: Draft, given: Parameters) -> Draft:
    """d/dS of -Q log S - (q - Q) log(1 - S), through the softmax; 1 - S is off by dS + u."""
    error = draft.probabilities_error
    own, own_error = ratio(draft, draft.targets, draft.probabilities, error)
    rest, rest_error = ratio(draft, draft.mass - draft.targets, draft.complement, error + draft.u)
    vector = rest - own
    moved = own_error + rest_error + 2 * draft.u * np.abs(vector)
    return draft.with_residual(*through_softmax(draft, vector, moved))


def _no_jacobian(draft: Draft, given: Parameters) -> Draft:
    values, error = ratio(draft, draft.targets, draft.probabilities, draft.probabilities_error)
    return draft.with_residual(-values, error)


def _no_inputs_choices(draft: Draft) -> list[Parameters]:
    return [{}] if draft.name == "weights" else []


def _no_inputs(draft: Draft, given: Parameters) -> Draft:
    return replace(draft, uses_inputs=False)


def _sum_choices(draft: Draft) -> list[Parameters]:
    n_rows = draft.problem.n_rows
    if draft.name not in ("bias", "inputs") or n_rows == 1:
        return []
    choices: list[Parameters] = [{"sum": "averaged once more"}]
    if draft.name == "bias":
        return choices + [{"sum": f"row {row} alone"} for row in range(min(n_rows, 16))]
    return [*choices, {"sum": "over the rows"}]


def _sum(draft: Draft, given: Parameters) -> Draft:
    residual, error, kind = draft.residual, draft.residual_error, str(given["sum"])
    if kind == "averaged once more":
        return draft.with_residual(residual / draft.problem.n_rows, error / draft.problem.n_rows)
    if kind == "over the rows":
        added = draft.problem.n_rows * draft.u * np.abs(residual).sum(axis=-2, keepdims=True)
        total, spread = (array.sum(axis=-2, keepdims=True) for array in (residual, error))
        return draft.with_residual(total + 0 * residual, spread + added + 0 * error)
    here = np.arange(draft.problem.n_rows)[:, None] == int(kind.split()[1])
    return draft.with_residual(np.where(here, residual, 0), np.where(here, error, 0))


SLIPS = (
    Slip(
        name="softmax-twice",
        stage="residual",
        sentence="The probabilities go through a softmax again.",
        formula="P = softmax(S); R = q P - Q, or DS(q P - Q)",
        happened="The loss took the probabilities for logits and applied a second softmax:\n"
        "its P = softmax(S) is never near one. The form here: {form}.",
        wrong="cross_entropy(softmax(z), y)",
        right="cross_entropy(z, y)",
        remedy="Give the loss the logits, or take the logarithm of the probabilities yourself.",
        how="A layer that ends in a softmax before a loss that contains one.",
        canonical={"form": "the shortcut"},
        choices=lambda draft: ({"form": "the shortcut"}, {"form": "both derivatives"}),
        draft=_twice,
    ),
    Slip(
        name="jacobian-diagonal",
        stage="residual",
        sentence="The softmax's derivative is taken as its diagonal alone.",
        formula="R = -Q (1 - S), or -Q",
        happened="Of the {n_classes} x {n_classes} softmax Jacobian only the diagonal S_i (1 - S_i) was used:\n"
        "the residual is {form}, which is 0 for every class but the label's.",
        wrong="dz = dxe * s * (1 - s)",
        right="dz = dxe @ (np.diag(s) - np.outer(s, s))",
        remedy="Every probability depends on every logit: use the whole Jacobian, or s - y.",
        how="The derivative of the sigmoid, s (1 - s), taken over to the softmax.",
        canonical={"form": "-Q (1 - S)"},
        choices=lambda draft: ({"form": "-Q (1 - S)"}, {"form": "-Q"}),
        draft=_diagonal,
    ),
    Slip(
        name="log-epsilon",
        stage="residual",
        sentence="A small number inside the logarithm changes the gradient.",
        formula="DS(-Q/(S + eps)); for a label c, R S_c / (S_c + eps)",
        happened="The loss is -log(S + eps) with eps = {eps}:\n"
        "with a label c each row is multiplied with S_c / (S_c + eps).",
        wrong="-np.log(p[label] + eps)",
        right="logsumexp(z) - z[label]",
        remedy="Take the loss from the logits, where no logarithm of 0 can occur.",
        how="A guard against log 0.",
        free="eps",
        canonical={"eps": 0.01},
        draft=_logarithm,
        grid=np.geomspace(1e-18, 1e3, 85),
    ),
    Slip(
        name="residual-times-derivative",
        stage="residual",
        sentence="The residual is multiplied with S (1 - S) once more.",
        formula="R S (1 - S)",
        happened="S - y is already the derivative by the logits;\nit was multiplied with S (1 - S) once more.",
        wrong="dz = (s - y) * s * (1 - s)",
        right="dz = s - y",
        remedy="Leave out the factor s (1 - s).",
        how="The delta rule of a sigmoid with squared error.",
        draft=_times_derivative,
    ),
    Slip(
        name="squared-error",
        stage="residual",
        sentence="The gradient is that of the squared error.",
        formula="DS(R), or twice that",
        happened="This is the gradient of {factor}/2 times the sum of (S - y)^2:\nthe loss is not the cross-entropy.",
        wrong="dp = p - y    # and then through the softmax",
        right="dp = -y / p",
        remedy="Start the chain with the derivative of the cross-entropy, -y / S.",
        how="A network for regression with a softmax put at its end.",
        canonical={"factor": 1},
        choices=lambda draft: ({"factor": 1}, {"factor": 2}),
        draft=_squared,
    ),
    Slip(
        name="binary-cross-entropy",
        stage="residual",
        sentence="Each class is counted as a yes-or-no question of its own.",
        formula="DS(-Q/S + (q - Q)/(1 - S))",
        happened="The loss also counts -log(1 - S) for the {n_others} classes that are not the target's:\n"
        "the binary cross-entropy, summed over the classes.",
        wrong="-(y * np.log(p) + (1 - y) * np.log(1 - p))",
        right="-y * np.log(p)",
        remedy="Use the categorical cross-entropy.",
        how="The loss for many labels at once with the softmax for one of many.",
        draft=_binary,
    ),
    Slip(
        name="jacobian-skipped",
        stage="residual",
        sentence="The softmax's Jacobian is left out of the chain.",
        formula="R = -Q/S",
        happened="-y / S is the derivative by the probabilities;\nit was carried to W without the softmax Jacobian.",
        wrong="dW = np.outer(x, -y / p)",
        right="dW = np.outer(x, p - y)",
        remedy="Multiply by the softmax Jacobian, or use p - y.",
        how="One factor of the chain is forgotten.",
        draft=_no_jacobian,
    ),
    Slip(
        name="summed-over-wrong-axis",
        stage="input",
        sentence="The gradient of b or x is summed over the wrong axis, or averaged again.",
        formula="dL/db = sum over rows of R; dL/dx = R W'",
        happened="The sum over the {n_rows} rows is wrong: {sum}.\nThe residuals themselves are right.",
        wrong="db = dz[0]    # or dz.mean(axis=0)",
        right="db = dz.sum(axis=0)",
        remedy="Sum the residuals over the rows for b, and not at all for x.",
        how="A broadcast in the forward pass whose sum in the backward pass is forgotten.",
        canonical={"sum": "averaged once more"},
        choices=_sum_choices,
        draft=_sum,
    ),
    Slip(
        name="input-missing",
        stage="input",
        sentence="x is left out: every row of dL/dW is the residual.",
        formula="G_ji = sum over rows of R_i",
        happened="Every one of the {n_inputs} rows is the residual itself:\nx_j was left out of (S_i - y_i) x_j.",
        wrong="dW[:] = s - y",
        right="dW = np.outer(x, s - y)",
        remedy="Multiply the residual with the inputs.",
        how="A broadcast where an outer product was meant.",
        choices=_no_inputs_choices,
        draft=_no_inputs,
    ),
)
