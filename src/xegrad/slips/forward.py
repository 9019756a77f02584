"""Slips on the way to the logits, the probabilities and the targets: Z, S and Q."""

from __future__ import annotations

import numpy as np
from msgspec.structs import replace

from xegrad.derivation import Cells, effective_targets, residual
from xegrad.numbers import rounded
from xegrad.numbers.rounded import Rounded, exact, sigmoid, softmax
from xegrad.slips.entry import FreeNumber, Parameters, Slip, each

MOST_LABELS = 256  # wrong labels of single rows that are tried one by one; past these the candidate is asked
MOST_SHIFTS = 8


# The logits.


def _bias(c: Cells, form: Parameters) -> Rounded:
    if form["bias"] == "twice":
        return c.Z + c.b
    if form["bias"] == "left out":
        return c.X @ c.W
    labels = c.problem.targets.label_of_rows[:, None]
    return c.X @ c.W + rounded.where(np.arange(c.problem.n_classes) == labels, c.b, 0.0)


def _update_forms(c: Cells) -> list[Parameters]:
    if c.name == "inputs":  # carried back with another W, which is no change of the logits
        return []
    return each("updated", "W") if c.problem.bias is None else each("updated", "W", "W and b")


def _logits_after_update(c: Cells, form: Parameters) -> Rounded:
    """Z - eta X (X' R), or with b - eta (X (X' R) + the sum of R): from the right, so that nothing is B x B."""
    moved = c.X @ (c.X.T @ c.R)
    if form["updated"] == "W and b":
        moved = moved + c.R.sum(axis=-2, keepdims=True)
    return c.Z - form["eta"] * moved


# The probabilities.


def _softmax_over(c: Cells, form: Parameters) -> Rounded:
    if form["axis"] == "one":
        return exact(np.ones_like(c.Z.value), c.arithmetic)
    if form["axis"] == "rows":
        return softmax(c.Z.T).T
    return softmax(c.Z.reshape(*c.Z.shape[:-2], 1, -1)).reshape(*c.Z.shape)


def _cooled(c: Cells, form: Parameters) -> dict[str, Rounded]:
    """softmax(Z / tau); with its factor the residual over tau, which is the derivative of that loss."""
    probabilities = softmax(c.Z / form["tau"])
    if form["factor"] == "left out":
        return {"S": probabilities}
    return {"S": probabilities, "R": residual(c.replace("S", probabilities)) / form["tau"]}


# The targets.


def _label_forms(c: Cells) -> list[Parameters]:
    """Another class for one row, each; or the next or the last class for every row of a batch."""
    labels, n_classes = c.problem.targets.label_of_rows, c.problem.n_classes
    rows = np.flatnonzero(labels >= 0).tolist()
    forms = each("shift", 1, -1) if c.problem.n_rows > 1 and rows else []
    if len(rows) * (n_classes - 1) <= MOST_LABELS:
        for row in rows:
            others = (other for other in range(n_classes) if other != labels[row])
            forms += [{"row": row, "label": int(labels[row]), "instead": other} for other in others]
    return forms


def _other_labels(c: Cells, form: Parameters) -> Rounded:
    targets, labels = c.problem.targets, c.problem.targets.label_of_rows
    hard = labels >= 0
    if "shift" in form:
        changed = (labels + form["shift"]) % c.problem.n_classes
    else:
        changed = np.where(np.arange(labels.size) == form["row"], form["instead"], labels)
    if targets.soft is not None:
        one_hot = np.eye(c.problem.n_classes)[changed]
        return effective_targets(c, replace(targets, soft=np.where(hard[:, None], one_hot, targets.soft)))
    assert targets.labels is not None
    return effective_targets(c, replace(targets, labels=np.where(hard, changed, targets.labels)))


def _row_forms(c: Cells) -> list[Parameters]:
    """Q of row r + k, the last rows wrapping round to the first; or dropped, as x[:-k] beside y[k:]."""
    n_rows = c.problem.n_rows
    wrapped = [k for k in range(1, n_rows) if k <= MOST_SHIFTS or n_rows - k <= MOST_SHIFTS]
    dropped = [k for k in range(1 - n_rows, n_rows) if 0 < abs(k) <= MOST_SHIFTS]
    forms: list[Parameters] = [
        {"k": k if k <= n_rows / 2 else k - n_rows, "ends": "wrapped"} for k in wrapped
    ]
    forms += [{"k": k, "ends": "dropped"} for k in dropped]
    if c.problem.targets.reduction == "mean":
        forms += [{"k": k, "ends": "dropped, and the mean is over the rest"} for k in dropped]
    return forms


def _other_rows(c: Cells, form: Parameters) -> Rounded:
    k, n_rows = form["k"], c.problem.n_rows
    targets = c.Q.moved(lambda array: np.roll(array, -k, axis=-2))
    if form["ends"] == "wrapped":
        return targets
    label_row = np.arange(n_rows)[:, None] + k
    targets = rounded.where((label_row >= 0) & (label_row < n_rows), targets, 0.0)
    return targets if form["ends"] == "dropped" else targets * (n_rows / (n_rows - abs(k)))


def _option_forms(c: Cells) -> list[Parameters]:
    targets = c.problem.targets
    is_used = {
        "class_weights": targets.class_weights is not None,
        "label_smoothing": targets.label_smoothing > 0,
        "ignore_index": targets.ignore_index is not None and not targets.kept.all(),
    }
    return each("option", *(option for option, used in is_used.items() if used))


def _without_option(c: Cells, form: Parameters) -> Rounded | dict[str, Rounded]:
    targets, n_classes = c.problem.targets, c.problem.n_classes
    if form["option"] == "class_weights":
        return effective_targets(c, replace(targets, class_weights=None))
    if form["option"] == "label_smoothing":
        return effective_targets(c, replace(targets, label_smoothing=0.0))
    kept, ignored = targets.kept, int(targets.ignore_index or 0)
    assert targets.labels is not None
    if -n_classes <= ignored < n_classes:  # a class like any other, counted from the end if it is negative
        labels = np.where(kept, targets.labels, ignored % n_classes)
        return effective_targets(c, replace(targets, labels=labels, ignore_index=None))
    # No class has that number, so its one-hot row is zero, but q S stays: the q of a row that counts.
    scale = kept.sum() / kept.size if targets.reduction == "mean" else 1.0
    largest = c.q.moved(lambda array: np.broadcast_to(array.max(axis=-2, keepdims=True), array.shape))
    return {"Q": c.Q * scale, "q": rounded.where(kept[:, None], c.q, largest) * scale}


def _sum_forms(c: Cells) -> list[Parameters]:
    rows = 1 / float(c.problem.targets.divisor or 1)
    return each("mass", *(mass for mass in dict.fromkeys((1.0, rows)) if (c.q.value != mass).any()))


SLIPS = {
    "softmax-over-wrong-axis": Slip(
        stage="probabilities",
        sentence="The softmax is normalised over another axis than the classes.",
        equation="S = exp(Z) / sum over axis {axis}",
        message="The softmax was normalised over the wrong axis ({axis}): for each example\n"
        "the {n_classes} probabilities no longer sum to one over the classes.",
        code=(
            "e / e.sum(axis=0)    # or e.sum(), or an axis of length one",
            "e / e.sum(axis=-1, keepdims=True)",
        ),
        remedy="Normalise over the classes: the last axis of Z.",
        cause="The default axis of a softmax is not always the last, and a row vector has an axis of length one.",
        formula=_softmax_over,
        forms=lambda c: each("axis", *(["rows"] if c.problem.n_rows > 1 else []), "one", "all"),
    ),
    "labels-misaligned": Slip(
        stage="target",
        sentence="Each row is compared with the label of another row.",
        equation="R_r = q S_r - Q_(r+k)",
        message="Row r was compared with the label of row r + ({k}); the ends are {ends}.\n"
        "The {n_rows} probabilities are right, and so are the labels, but not side by side.",
        code=("S - Y[r + k]", "S - Y[r]"),
        remedy="Shift, shuffle or drop rows of x and of the labels together.",
        cause="One of the two was shuffled, sorted or cut by itself.",
        formula=_other_rows,
        forms=_row_forms,
        example={"k": 1, "ends": "wrapped"},
    ),
    "wrong-label": Slip(
        stage="target",
        sentence="One row, or every row, has another class than its label.",
        equation="R = q S - Q', Q' of another class",
        message="{which}\nThe classes are counted from zero.",
        code=("S[label + 1] -= 1    # a label counted from one", "S[label] -= 1"),
        remedy="Count classes from zero, and look the label up in this problem's order of classes.",
        cause="Labels counted from one, or an order of classes that is not the problem's.",
        formula=_other_labels,
        forms=_label_forms,
    ),
    "option-ignored": Slip(
        stage="target",
        sentence="An option of the loss is left out.",
        equation="the gradient without {option}",
        message="This is the gradient of the same problem without its {option}:\n"
        "that option of the loss did not reach the backward pass.",
        code=("cross_entropy(Z, y)", "cross_entropy(Z, y, {option}=...)"),
        remedy="Apply {option} in the backward pass as in the loss.",
        cause="The option was added to the loss, and the gradient written by hand was not told.",
        formula=_without_option,
        forms=_option_forms,
    ),
    "label-smoothed": Slip(
        stage="target",
        sentence="The labels are smoothed though the problem does not say so.",
        equation="R = q S - ((1 - eps) Q + eps q/T)",
        message="The targets are smoothed by eps = {eps}, spread over all {n_classes} classes\n"
        "(or by {eps_of_others} over the other {n_others} alone); the problem does not say so.",
        code=("y = (1 - eps) * y + eps / T", "y = y"),
        remedy="Leave the smoothing out, or state it in the problem: label_smoothing {eps}.",
        cause="A default of the training code that the problem does not have.",
        formula=lambda c, form: c.Q * (1 - form["eps"]) + c.q * (form["eps"] / c.problem.n_classes),
        number=FreeNumber("eps", 0.1),
    ),
    "sigmoid-instead-of-softmax": Slip(
        stage="probabilities",
        sentence="Each class has a sigmoid of its own in the softmax's place.",
        equation="R = q sigma(Z) - Q",
        message="Each logit went through a sigmoid by itself;\nthe {n_classes} classes do not compete.",
        code=("p = 1 / (1 + np.exp(-z))", "p = np.exp(z - z.max()); p /= p.sum()"),
        remedy="Use the softmax over the classes.",
        cause="Code for two classes, or for many labels at once, used for one of many classes.",
        formula=lambda c, form: sigmoid(c.Z),
    ),
    "target-sum-ignored": Slip(
        stage="target",
        sentence="S - Q where the targets of a row do not sum to one.",
        equation="R = {mass} S - Q",
        message="S is multiplied with {mass} in every row, but a target's own sum belongs there:\n"
        "S - Q is right only where each row of Q sums to one.",
        code=("S - Q", "Q.sum(axis=1, keepdims=True) * S - Q"),
        remedy="Multiply S with the sum of the row's targets.",
        cause="The shortcut S - y is derived for targets that sum to one.",
        formula=lambda c, form: {"q": exact(np.full_like(c.q.value, form["mass"]), c.arithmetic)},
        forms=_sum_forms,
    ),
    "temperature": Slip(
        stage="probabilities",
        sentence="The logits are divided by a temperature.",
        equation="S = softmax(Z / tau); the factor 1/tau is {factor}",
        message="The softmax is that of Z / tau with tau = {tau};\nthe factor 1/tau of its derivative is {factor}.",
        code=("softmax(z / tau)", "softmax(z)"),
        remedy="Leave the temperature out of the training loss, or divide W and b by it in the problem.",
        cause="A temperature for sampling or distillation left in the loss.",
        formula=_cooled,
        forms=lambda c: each("factor", "left out", "kept"),
        number=FreeNumber("tau", 2.0, nothing=1.0, grid=np.geomspace(1 / 64, 64, 97)),
    ),
    "bias-wrong": Slip(
        stage="bias",
        sentence="b is left out of the logits, counted twice, or in the target's logit only.",
        equation="Z = X W + b, with b {bias}",
        message="The logits hold b {bias}:\nevery probability is that of other logits.",
        code=("z = x @ W    # or b added where W already holds it", "z = x @ W + b"),
        remedy="Add b once, to every logit.",
        cause="A bias folded into W as a row of ones, and added again; or lost in the fold.",
        formula=_bias,
        forms=lambda c: [] if c.problem.bias is None else each("bias", "left out", "twice", "target only"),
    ),
    "evaluated-after-update": Slip(
        stage="bias",
        sentence="The right gradient, of the weights after the step.",
        equation="G at W - eta G",
        message="This is the gradient at W - eta G with eta = {eta} ({updated} updated):\n"
        "right, but for the weights after a step.",
        code=("W -= eta * grad(W); g = grad(W)", "g = grad(W); W -= eta * g"),
        remedy="Take the gradient before the step, or copy W: an update in place changes it.",
        cause="An update in place before the gradient is read.",
        formula=_logits_after_update,
        forms=_update_forms,
        number=FreeNumber("eta", 0.1, grid=np.geomspace(1e-6, 1e3, 109)),
    ),
    "target-not-subtracted": Slip(
        stage="target",
        sentence="The target is never subtracted.",
        equation="R = q S",
        message="The residual is S alone:\n1 was not subtracted from the probability of the label.",
        code=("dz = p", "dz = p.copy(); dz[label] -= 1"),
        remedy="Subtract the target from the probabilities.",
        cause="The line that subtracts was lost, or changed a copy.",
        formula=lambda c, form: {"Q": exact(np.zeros_like(c.Q.value), c.arithmetic), "q": c.q},
    ),
    "softmax-missing": Slip(
        stage="probabilities",
        sentence="The logits stand where the probabilities belong.",
        equation="R = q Z - Q",
        message="The residual is Z - y: the logits were taken\nfor probabilities, without a softmax.",
        code=("dz = z - y", "dz = softmax(z) - y"),
        remedy="Put the logits through the softmax.",
        cause="A function that returns logits taken for one that returns probabilities.",
        formula=lambda c, form: c.Z,
    ),
}
