"""Slips in how dL/dZ is formed from the probabilities and the targets, and in how it is carried back."""

from __future__ import annotations

import numpy as np

from xegrad.derivation import Cells, residual
from xegrad.numbers import rounded
from xegrad.numbers.rounded import Rounded, exact, softmax, through_softmax
from xegrad.slips.entry import FreeNumber, Parameters, Slip, each


def _twice(c: Cells, form: Parameters) -> Rounded:
    """P = softmax(S): S takes the place of the logits."""
    again = residual(c.replace("S", softmax(c.S)))
    return again if form["form"] == "the shortcut" else through_softmax(c.S, again)


def _logarithm(c: Cells, form: Parameters) -> Rounded:
    """d/dS of -Q log(S + eps) through the softmax: DS(-Q / (S + eps)).

    With one target c in each row that is R S_c / (S_c + eps), which loses nothing where S_c is near 1.
    """
    is_target = c.Q.value != 0
    if (is_target.sum(axis=-1) > 1).any():
        return through_softmax(c.S, -(c.Q / (c.S + form["eps"])))
    target = rounded.where(is_target, c.S, 0.0).sum(axis=-1, keepdims=True)
    target = rounded.where(is_target.any(axis=-1, keepdims=True), target, 1.0)  # R is 0 in a row without one
    return c.R / (1 + form["eps"] / target)


def _sum_forms(c: Cells) -> list[Parameters]:
    n_rows = c.problem.n_rows
    if c.name not in ("bias", "inputs") or n_rows == 1:
        return []
    alone = [f"row {row} alone" for row in range(min(n_rows, 16))]
    return each("sum", "averaged once more", *(alone if c.name == "bias" else ["over the rows"]))


def _summed(c: Cells, form: Parameters) -> Rounded:
    n_rows, kind = c.problem.n_rows, form["sum"]
    if kind == "averaged once more":
        return c.R / n_rows
    if kind == "over the rows":
        return c.R.sum(axis=-2, keepdims=True).broadcast_to(c.R.shape)
    return rounded.where(np.arange(n_rows)[:, None] == int(kind.split()[1]), c.R, 0.0)


SLIPS = {
    "softmax-twice": Slip(
        stage="residual",
        sentence="The probabilities go through a softmax again.",
        equation="P = softmax(S); R = q P - Q, or DS(q P - Q)",
        message="The loss took the probabilities for logits and applied a second softmax:\n"
        "its P = softmax(S) is never near one. The form here: {form}.",
        code=("cross_entropy(softmax(z), y)", "cross_entropy(z, y)"),
        remedy="Give the loss the logits, or take the logarithm of the probabilities yourself.",
        cause="A layer that ends in a softmax before a loss that contains one.",
        formula=_twice,
        forms=lambda c: each("form", "the shortcut", "both derivatives"),
    ),
    "jacobian-diagonal": Slip(
        stage="residual",
        sentence="The softmax's derivative is taken as its diagonal alone.",
        equation="R = -Q (1 - S), or -Q",
        message="Of the {n_classes} x {n_classes} softmax Jacobian only the diagonal S_i (1 - S_i) was used:\n"
        "the residual is {form}, which is 0 for every class but the label's.",
        code=("dz = dxe * s * (1 - s)", "dz = dxe @ (np.diag(s) - np.outer(s, s))"),
        remedy="Every probability depends on every logit: use the whole Jacobian, or s - y.",
        cause="The derivative of the sigmoid, s (1 - s), taken over to the softmax.",
        formula=lambda c, form: -c.Q if form["form"] == "-Q" else -(c.Q * (1 - c.S)),
        forms=lambda c: each("form", "-Q (1 - S)", "-Q"),
    ),
    "log-epsilon": Slip(
        stage="residual",
        sentence="A small number inside the logarithm changes the gradient.",
        equation="DS(-Q/(S + eps)); for a label c, R S_c / (S_c + eps)",
        message="The loss is -log(S + eps) with eps = {eps}:\n"
        "with a label c each row is multiplied with S_c / (S_c + eps).",
        code=("-np.log(p[label] + eps)", "logsumexp(z) - z[label]"),
        remedy="Take the loss from the logits, where no logarithm of 0 can occur.",
        cause="A guard against log 0.",
        formula=_logarithm,
        number=FreeNumber("eps", 0.01, grid=np.geomspace(1e-18, 1e3, 85)),
    ),
    "residual-times-derivative": Slip(
        stage="residual",
        sentence="The residual is multiplied with S (1 - S) once more.",
        equation="R S (1 - S)",
        message="S - y is already the derivative by the logits;\nit was multiplied with S (1 - S) once more.",
        code=("dz = (s - y) * s * (1 - s)", "dz = s - y"),
        remedy="Leave out the factor s (1 - s).",
        cause="The delta rule of a sigmoid with squared error.",
        formula=lambda c, form: c.R * c.S * (1 - c.S),
    ),
    "squared-error": Slip(
        stage="residual",
        sentence="The gradient is that of the squared error.",
        equation="DS(R), or twice that",
        message="This is the gradient of {factor}/2 times the sum of (S - y)^2:\nthe loss is not the cross-entropy.",
        code=("dp = p - y    # and then through the softmax", "dp = -y / p"),
        remedy="Start the chain with the derivative of the cross-entropy, -y / S.",
        cause="A network for regression with a softmax put at its end.",
        formula=lambda c, form: form["factor"] * through_softmax(c.S, c.R),
        forms=lambda c: each("factor", 1, 2),
    ),
    "binary-cross-entropy": Slip(
        stage="residual",
        sentence="Each class is counted as a yes-or-no question of its own.",
        equation="DS(-Q/S + (q - Q)/(1 - S))",
        message="The loss also counts -log(1 - S) for the {n_others} classes that are not the target's:\n"
        "the binary cross-entropy, summed over the classes.",
        code=("-(y * np.log(p) + (1 - y) * np.log(1 - p))", "-y * np.log(p)"),
        remedy="Use the categorical cross-entropy.",
        cause="The loss for many labels at once with the softmax for one of many.",
        formula=lambda c, form: through_softmax(c.S, (c.q - c.Q) / (1 - c.S) - c.Q / c.S),
    ),
    "jacobian-skipped": Slip(
        stage="residual",
        sentence="The softmax's Jacobian is left out of the chain.",
        equation="R = -Q/S",
        message="-y / S is the derivative by the probabilities;\nit was carried to W without the softmax Jacobian.",
        code=("dW = np.outer(x, -y / p)", "dW = np.outer(x, p - y)"),
        remedy="Multiply by the softmax Jacobian, or use p - y.",
        cause="One factor of the chain is forgotten.",
        formula=lambda c, form: -(c.Q / c.S),
    ),
    "summed-over-wrong-axis": Slip(
        stage="input",
        sentence="The gradient of b or x is summed over the wrong axis, or averaged again.",
        equation="dL/db = sum over rows of R; dL/dx = R W'",
        message="The sum over the {n_rows} rows is wrong: {sum}.\nThe residuals themselves are right.",
        code=("db = dz[0]    # or dz.mean(axis=0)", "db = dz.sum(axis=0)"),
        remedy="Sum the residuals over the rows for b, and not at all for x.",
        cause="A broadcast in the forward pass whose sum in the backward pass is forgotten.",
        formula=_summed,
        forms=_sum_forms,
    ),
    "input-missing": Slip(
        stage="input",
        sentence="x is left out: every row of dL/dW is the residual.",
        equation="G_ji = sum over rows of R_i",
        message="Every one of the {n_inputs} rows is the residual itself:\nx_j was left out of (S_i - y_i) x_j.",
        code=("dW[:] = s - y", "dW = np.outer(x, s - y)"),
        remedy="Multiply the residual with the inputs.",
        cause="A broadcast where an outer product was meant.",
        other_cell="back",
        formula=lambda c, form: exact(np.ones_like(c.back.value), c.arithmetic),
        forms=lambda c: [{}] if c.name == "weights" else [],
    ),
}
