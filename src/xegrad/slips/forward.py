"""Slips on the way to the probabilities and the targets."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from msgspec.structs import replace

from xegrad.slips.draft import Draft, softmax
from xegrad.slips.entry import Parameters, Slip
from xegrad.targets import Array, Targets

MOST_LABELS = 256  # wrong labels of single rows that are tried one by one; past these the candidate is asked
MOST_SHIFTS = 8


def effective(draft: Draft, targets: Targets) -> Array:
    """Q of other targets."""
    return targets.effective(draft.problem.n_classes, np.dtype(np.float64))


# The bias.


def _bias_choices(draft: Draft) -> list[Parameters]:
    if draft.problem.bias is None:
        return []
    return [{"bias": "left out"}, {"bias": "twice"}, {"bias": "target only"}]


def _bias(draft: Draft, given: Parameters) -> Draft:
    bias = draft.problem.bias
    assert bias is not None
    change: Any = {"left out": -bias, "twice": bias}.get(str(given["bias"]))
    if change is None:
        labels = draft.problem.targets.label_of_rows[:, None]
        change = np.where(np.arange(bias.size) == labels, 0, -bias)
    # One more sum, and b has been added once to be taken away.
    error = draft.logits_error + 2 * draft.u * (np.abs(draft.logits) + np.abs(change))
    return draft.with_logits(draft.logits + change, error)


def _after_update_choices(draft: Draft) -> list[Parameters]:
    if draft.name == "inputs":  # carried back with another W, which is no change of the logits
        return []
    choices: list[Parameters] = [{"updated": "W"}]
    return choices if draft.problem.bias is None else [*choices, {"updated": "W and b"}]


def _after_update(draft: Draft, given: Parameters) -> Draft:
    """Z - eta X (X' R), or - eta (X X' + 1) R with b: each product off by |X| |X'| (dR + (N + B + 4) u |R|).

    From the right, so that nothing has B x B entries.
    """
    inputs = draft.problem.inputs
    with_bias = given["updated"] == "W and b"

    def through(factor: Array, values: Array) -> Array:
        product: Array = factor @ (factor.T @ values)
        return product + values.sum(axis=-2, keepdims=True) if with_bias else product

    eta: Any = given["eta"]
    count = (draft.problem.n_inputs + draft.problem.n_rows + 4) * draft.u
    shift = eta * through(inputs, draft.residual)
    rounded = draft.residual_error + count * np.abs(draft.residual)
    moved = np.abs(eta) * through(np.abs(inputs), rounded)
    logits = draft.logits - shift
    return draft.with_logits(logits, draft.logits_error + moved + 2 * draft.u * np.abs(logits))


# The probabilities.


def _axis_choices(draft: Draft) -> list[Parameters]:
    rows: list[Parameters] = [{"axis": "rows"}] if draft.problem.n_rows > 1 else []
    return [*rows, {"axis": "one"}, {"axis": "all"}]


def _axis(draft: Draft, given: Parameters) -> Draft:
    logits, error = draft.logits, draft.logits_error
    if given["axis"] == "one":
        return draft.with_probabilities(np.ones_like(logits), np.zeros_like(logits))
    if given["axis"] == "rows":
        over_rows = softmax(draft, logits.swapaxes(-1, -2), error.swapaxes(-1, -2))
        values, spread = (array.swapaxes(-1, -2) for array in over_rows)
    else:
        flat = (*logits.shape[:-2], 1, -1)
        over_all = softmax(draft, logits.reshape(flat), error.reshape(flat))
        values, spread = (array.reshape(logits.shape) for array in over_all)
    return draft.with_probabilities(values, spread)


def _sigmoid(draft: Draft, given: Parameters) -> Draft:
    """sigma(z), which moves by sigma (1 - sigma) expm1(e + 8u), and four roundings."""
    values = 1 / (1 + np.exp(-draft.logits))
    moved = values * (1 - values) * np.expm1(draft.logits_error + 8 * draft.u)
    return draft.with_probabilities(values, moved + 4 * draft.u * values)


def _no_softmax(draft: Draft, given: Parameters) -> Draft:
    return draft.with_probabilities(draft.logits, draft.logits_error)


def _temperature(draft: Draft, given: Parameters) -> Draft:
    """softmax(Z / tau); with its factor, the residual over tau, which is the derivative of that loss."""
    tau: Any = given["tau"]
    logits = draft.logits / tau
    cooled = draft.with_logits(logits, draft.logits_error / tau + draft.u * np.abs(logits))
    if given["factor"] == "left out":
        return cooled
    return cooled.with_residual(cooled.residual / tau, cooled.residual_error / tau)


# The targets.


def _label_choices(draft: Draft) -> list[Parameters]:
    """Another class for one row, each; or the next or the last class for every row of a batch."""
    problem, labels = draft.problem, draft.problem.targets.label_of_rows
    rows = [int(row) for row in np.flatnonzero(labels >= 0)]
    choices: list[Parameters] = []
    if problem.n_rows > 1 and rows:
        choices = [{"shift": 1}, {"shift": -1}]
    if len(rows) * (problem.n_classes - 1) <= MOST_LABELS:
        for row in rows:
            others = (c for c in range(problem.n_classes) if c != labels[row])
            choices += [{"row": row, "label": int(labels[row]), "instead": c} for c in others]
    return choices


def _label(draft: Draft, given: Parameters) -> Draft:
    problem, targets = draft.problem, draft.problem.targets
    labels = targets.label_of_rows.copy()
    if "shift" in given:
        moved = np.where(labels >= 0, (labels + int(given["shift"])) % problem.n_classes, labels)
    else:
        moved = labels.copy()
        moved[int(given["row"])] = int(given["instead"])
    if targets.labels is not None:
        kept = targets.labels.copy()
        kept[labels >= 0] = moved[labels >= 0]
        return draft.with_targets(effective(draft, replace(targets, labels=kept)))
    assert targets.soft is not None
    soft = targets.soft.copy()
    hard = labels >= 0
    soft[hard] = np.eye(problem.n_classes)[moved[hard]]
    return draft.with_targets(effective(draft, replace(targets, soft=soft)))


def _row_choices(draft: Draft) -> list[Parameters]:
    """Q of row r + k, the last rows wrapping round to the first; or dropped, as x[:-k] beside y[k:]."""
    n_rows = draft.problem.n_rows
    wrapped = [k for k in range(1, n_rows) if k <= MOST_SHIFTS or n_rows - k <= MOST_SHIFTS]
    dropped = [k for k in range(1 - n_rows, n_rows) if 0 < abs(k) <= MOST_SHIFTS]
    choices: list[Parameters] = [
        {"k": k if k <= n_rows / 2 else k - n_rows, "ends": "wrapped"} for k in wrapped
    ]
    choices += [{"k": k, "ends": "dropped"} for k in dropped]
    if draft.problem.targets.reduction == "mean":
        choices += [{"k": k, "ends": "dropped, and the mean is over the rest"} for k in dropped]
    return choices


def _rows(draft: Draft, given: Parameters) -> Draft:
    k, n_rows = int(given["k"]), draft.problem.n_rows
    targets = np.roll(draft.targets, -k, axis=-2)
    if given["ends"] != "wrapped":
        there = np.arange(n_rows) + k
        targets = np.where(((there >= 0) & (there < n_rows))[:, None], targets, 0)
        if given["ends"] != "dropped":
            targets = targets * (n_rows / (n_rows - abs(k)))
    return draft.with_targets(targets)


def _option_choices(draft: Draft) -> list[Parameters]:
    targets = draft.problem.targets
    choices: list[Parameters] = []
    if targets.class_weights is not None:
        choices.append({"option": "class_weights"})
    if targets.label_smoothing:
        choices.append({"option": "label_smoothing"})
    if targets.ignore_index is not None and not targets.kept.all():
        choices.append({"option": "ignore_index"})
    return choices


def _option(draft: Draft, given: Parameters) -> Draft:
    targets, option = draft.problem.targets, str(given["option"])
    if option != "ignore_index":
        nothing = {"class_weights": None, "label_smoothing": 0.0}[option]
        return draft.with_targets(effective(draft, msgspec.structs.replace(targets, **{option: nothing})))
    ignored, n_classes = int(targets.ignore_index or 0), draft.problem.n_classes
    assert targets.labels is not None
    if -n_classes <= ignored < n_classes:  # a class like any other, counted from the end if it is negative
        labels = np.where(targets.kept, targets.labels, ignored % n_classes)
        return draft.with_targets(effective(draft, replace(targets, labels=labels, ignore_index=None)))
    # No class has that number, so its one-hot row is zero, but q S stays: the q of a row that counts.
    scale = targets.kept.sum() / targets.kept.size if targets.reduction == "mean" else 1.0
    mass = np.where(targets.kept[:, None], draft.mass, draft.mass.max(axis=-2, keepdims=True)) * scale
    return draft.with_targets(draft.targets * scale, mass)


def _smoothed(draft: Draft) -> Draft:
    """(1 - eps) Q + eps q/T is Q less eps (Q - q/T), so the residual is R + eps (Q - q/T)."""
    even = draft.mass / draft.problem.n_classes
    return draft.with_residual(draft.targets - even, 2 * draft.u * (np.abs(draft.targets) + even))


def _smooth(draft: Draft, given: Parameters) -> Draft:
    eps: Any = given["eps"]
    line = _smoothed(draft)
    error = draft.residual_error + np.abs(eps) * line.residual_error
    return draft.with_residual(draft.residual + eps * line.residual, error)


def _no_target(draft: Draft, given: Parameters) -> Draft:
    return draft.with_targets(np.zeros_like(draft.targets), draft.mass)


def _sum_choices(draft: Draft) -> list[Parameters]:
    rows = 1 / float(draft.problem.targets.divisor or 1)
    return [{"mass": mass} for mass in dict.fromkeys((1.0, rows)) if (draft.mass != mass).any()]


def _sum_ignored(draft: Draft, given: Parameters) -> Draft:
    return draft.with_targets(draft.targets, np.full_like(draft.mass, float(given["mass"])))


SLIPS = (
    Slip(
        name="softmax-over-wrong-axis",
        stage="probabilities",
        sentence="The softmax is normalised over another axis than the classes.",
        formula="S = exp(Z) / sum over axis {axis}",
        happened="The softmax was normalised over the wrong axis ({axis}): for each example\n"
        "the {n_classes} probabilities no longer sum to one over the classes.",
        wrong="e / e.sum(axis=0)    # or e.sum(), or an axis of length one",
        right="e / e.sum(axis=-1, keepdims=True)",
        remedy="Normalise over the classes: the last axis of Z.",
        how="The default axis of a softmax is not always the last, and a row vector has an axis of length one.",
        canonical={"axis": "rows"},
        choices=_axis_choices,
        draft=_axis,
    ),
    Slip(
        name="labels-misaligned",
        stage="target",
        sentence="Each row is compared with the label of another row.",
        formula="R_r = q S_r - Q_(r+k)",
        happened="Row r was compared with the label of row r + ({k}); the ends are {ends}.\n"
        "The {n_rows} probabilities are right, and so are the labels, but not side by side.",
        wrong="S - Y[r + k]",
        right="S - Y[r]",
        remedy="Shift, shuffle or drop rows of x and of the labels together.",
        how="One of the two was shuffled, sorted or cut by itself.",
        canonical={"k": 1, "ends": "wrapped"},
        choices=_row_choices,
        draft=_rows,
    ),
    Slip(
        name="wrong-label",
        stage="target",
        sentence="One row, or every row, has another class than its label.",
        formula="R = q S - Q', Q' of another class",
        happened="{which}\nThe classes are counted from zero.",
        wrong="S[label + 1] -= 1    # a label counted from one",
        right="S[label] -= 1",
        remedy="Count classes from zero, and look the label up in this problem's order of classes.",
        how="Labels counted from one, or an order of classes that is not the problem's.",
        choices=_label_choices,
        draft=_label,
    ),
    Slip(
        name="option-ignored",
        stage="target",
        sentence="An option of the loss is left out.",
        formula="the gradient without {option}",
        happened="This is the gradient of the same problem without its {option}:\n"
        "that option of the loss did not reach the backward pass.",
        wrong="cross_entropy(Z, y)",
        right="cross_entropy(Z, y, {option}=...)",
        remedy="Apply {option} in the backward pass as in the loss.",
        how="The option was added to the loss, and the gradient written by hand was not told.",
        choices=_option_choices,
        draft=_option,
    ),
    Slip(
        name="label-smoothed",
        stage="target",
        sentence="The labels are smoothed though the problem does not say so.",
        formula="R = q S - ((1 - eps) Q + eps q/T)",
        happened="The targets are smoothed by eps = {eps}, spread over all {n_classes} classes\n"
        "(or by {eps_of_others} over the other {n_others} alone); the problem does not say so.",
        wrong="y = (1 - eps) * y + eps / T",
        right="y = y",
        remedy="Leave the smoothing out, or state it in the problem: label_smoothing {eps}.",
        how="A default of the training code that the problem does not have.",
        free="eps",
        canonical={"eps": 0.1},
        draft=_smooth,
        direction=_smoothed,
    ),
    Slip(
        name="sigmoid-instead-of-softmax",
        stage="probabilities",
        sentence="Each class has a sigmoid of its own in the softmax's place.",
        formula="R = q sigma(Z) - Q",
        happened="Each logit went through a sigmoid by itself;\nthe {n_classes} classes do not compete.",
        wrong="p = 1 / (1 + np.exp(-z))",
        right="p = np.exp(z - z.max()); p /= p.sum()",
        remedy="Use the softmax over the classes.",
        how="Code for two classes, or for many labels at once, used for one of many classes.",
        draft=_sigmoid,
    ),
    Slip(
        name="target-sum-ignored",
        stage="target",
        sentence="S - Q where the targets of a row do not sum to one.",
        formula="R = {mass} S - Q",
        happened="S is multiplied with {mass} in every row, but a target's own sum belongs there:\n"
        "S - Q is right only where each row of Q sums to one.",
        wrong="S - Q",
        right="Q.sum(axis=1, keepdims=True) * S - Q",
        remedy="Multiply S with the sum of the row's targets.",
        how="The shortcut S - y is derived for targets that sum to one.",
        choices=_sum_choices,
        draft=_sum_ignored,
    ),
    Slip(
        name="temperature",
        stage="probabilities",
        sentence="The logits are divided by a temperature.",
        formula="S = softmax(Z / tau); the factor 1/tau is {factor}",
        happened="The softmax is that of Z / tau with tau = {tau};\nthe factor 1/tau of its derivative is {factor}.",
        wrong="softmax(z / tau)",
        right="softmax(z)",
        remedy="Leave the temperature out of the training loss, or divide W and b by it in the problem.",
        how="A temperature for sampling or distillation left in the loss.",
        free="tau",
        canonical={"tau": 2.0, "factor": "left out"},
        choices=lambda draft: ({"factor": "left out"}, {"factor": "kept"}),
        draft=_temperature,
        grid=np.geomspace(1 / 64, 64, 97),
    ),
    Slip(
        name="bias-wrong",
        stage="bias",
        sentence="b is left out of the logits, counted twice, or in the target's logit only.",
        formula="Z = X W + b, with b {bias}",
        happened="The logits hold b {bias}:\nevery probability is that of other logits.",
        wrong="z = x @ W    # or b added where W already holds it",
        right="z = x @ W + b",
        remedy="Add b once, to every logit.",
        how="A bias folded into W as a row of ones, and added again; or lost in the fold.",
        canonical={"bias": "left out"},
        choices=_bias_choices,
        draft=_bias,
    ),
    Slip(
        name="evaluated-after-update",
        stage="bias",
        sentence="The right gradient, of the weights after the step.",
        formula="G at W - eta G",
        happened="This is the gradient at W - eta G with eta = {eta} ({updated} updated):\n"
        "right, but for the weights after a step.",
        wrong="W -= eta * grad(W); g = grad(W)",
        right="g = grad(W); W -= eta * g",
        remedy="Take the gradient before the step, or copy W: an update in place changes it.",
        how="An update in place before the gradient is read.",
        free="eta",
        canonical={"eta": 0.1, "updated": "W"},
        choices=_after_update_choices,
        draft=_after_update,
        grid=np.geomspace(1e-6, 1e3, 109),
    ),
    Slip(
        name="target-not-subtracted",
        stage="target",
        sentence="The target is never subtracted.",
        formula="R = q S",
        happened="The residual is S alone:\n1 was not subtracted from the probability of the label.",
        wrong="dz = p",
        right="dz = p.copy(); dz[label] -= 1",
        remedy="Subtract the target from the probabilities.",
        how="The line that subtracts was lost, or changed a copy.",
        draft=_no_target,
    ),
    Slip(
        name="softmax-missing",
        stage="probabilities",
        sentence="The logits stand where the probabilities belong.",
        formula="R = q Z - Q",
        happened="The residual is Z - y: the logits were taken\nfor probabilities, without a softmax.",
        wrong="dz = z - y",
        right="dz = softmax(z) - y",
        remedy="Put the logits through the softmax.",
        how="A function that returns logits taken for one that returns probabilities.",
        draft=_no_softmax,
    ),
)
