"""Wrong gradients as people make them, in plain numpy: one function for each slip, with no map of ours in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from msgspec.structs import replace

from xegrad import Problem, Targets

Array = Any
Random = np.random.Generator


class Plain(NamedTuple):
    """The parts of a problem as a person has them, and what they compute first."""

    W: Array
    X: Array
    b: Array
    Q: Array  # with every option and the mean in it
    problem: Problem

    @property
    def Z(self) -> Array:  # noqa: N802
        return self.X @ self.W + self.b

    @property
    def q(self) -> Array:
        return self.Q.sum(axis=1, keepdims=True)


def plain(problem: Problem) -> Plain:
    bias = np.zeros(problem.n_classes) if problem.bias is None else problem.bias
    targets = problem.targets.effective(problem.n_classes, np.dtype(np.float64))
    return Plain(problem.weights, problem.inputs, bias, targets, problem)


def softmax(z: Array, axis: int | None = 1) -> Array:
    e = np.exp(z - z.max())
    return e / e.sum(axis=axis, keepdims=True)


def through(s: Array, v: Array) -> Array:
    """Row by row v times the whole softmax Jacobian."""
    return np.stack([(np.diag(p) - np.outer(p, p)) @ u for p, u in zip(s, v, strict=True)])


def right(p: Plain) -> Array:
    return p.X.T @ (p.q * softmax(p.Z) - p.Q)


def over_wrong_axis(p: Plain, random: Random) -> Array:
    axis = [0, None][random.integers(2)]
    return p.X.T @ (p.q * softmax(p.Z, axis) - p.Q)


def over_axis_of_length_one(p: Plain, random: Random) -> Array:
    return p.X.T @ (p.q * np.ones_like(p.Q) - p.Q)


def twice(p: Plain, random: Random) -> Array:
    return p.X.T @ (p.q * softmax(softmax(p.Z)) - p.Q)


def twice_both_derivatives(p: Plain, random: Random) -> Array:
    s = softmax(p.Z)
    return p.X.T @ through(s, p.q * softmax(s) - p.Q)


def over_rows_and_differentiated_so(p: Plain, random: Random) -> Array:
    """What autograd makes of -(Q * softmax(Z, dim=0).log()).sum(): n S' - Q with the sums n of the columns of Q."""
    return p.X.T @ (p.Q.sum(axis=0) * softmax(p.Z, 0) - p.Q)


def mean_of_means(p: Plain, random: Random) -> Array:
    """Each micro-batch by itself, as a problem of its own."""
    size = int(random.integers(1, max(2, p.problem.n_rows)))
    if p.problem.targets.reduction != "mean":
        return right(p)
    parts = []
    for start in range(0, p.problem.n_rows, size):
        part = slice(start, start + size)
        targets = p.problem.targets
        if not targets.kept[part].any():
            parts.append(np.zeros_like(p.W))  # its mean is 0/0, which programs guard against
            continue
        parts.append(right(plain(replace(p.problem, inputs=p.X[part], targets=targets.at(part)))))
    return sum(parts) / len(parts)


def left_out(p: Plain, random: Random) -> Array:
    """A loop over rows that misses some, or ends early."""
    dz, n_rows = p.q * softmax(p.Z) - p.Q, p.problem.n_rows
    kept = np.arange(n_rows) < random.integers(1, n_rows + 1)
    if random.random() < 0.5:
        kept = np.arange(n_rows) != random.integers(n_rows)
    gradient = np.zeros_like(p.W)
    for row in np.flatnonzero(kept):
        gradient += np.outer(p.X[row], dz[row])
    return gradient


def factor_of_row_zero(p: Plain, random: Random) -> Array:
    dz = softmax(p.Z) - np.divide(p.Q, p.q, out=np.zeros_like(p.Q), where=p.q != 0)
    return p.X.T @ (np.where(p.q > 0, dz, 0) * p.q[0])


def log_forgotten(p: Plain, random: Random) -> Array:
    return p.X.T @ through(softmax(p.Z), -p.Q)


def clip_of_probabilities(p: Plain, random: Random) -> Array:
    s, eps = softmax(p.Z), 1e-3
    inside = (s >= eps) & (s <= 1 - eps)
    clipped = np.clip(s, eps, 1 - eps)
    kind = random.integers(3)
    if kind == 0:
        return p.X.T @ through(s, np.where(inside, -p.Q / s, 0))
    if kind == 1:
        return p.X.T @ through(s, -p.Q / clipped)
    return p.X.T @ (p.q * clipped - p.Q)


def clip_at_another_limit(p: Plain, random: Random) -> Array:
    """In two rows at least: in one, any change of a residual fits some limit."""
    s, eps = softmax(p.Z), 0.07
    clipped = [np.clip(s, eps, 1 - eps), np.maximum(s, eps)][random.integers(2)]
    changed, of_logarithm = clipped != s, random.random() < 0.5
    if (changed & ((p.Q > 0) if of_logarithm else (p.q > 0))).any(axis=1).sum() < 2:
        return right(p)
    if of_logarithm:
        return p.X.T @ through(s, -p.Q / clipped)
    return p.X.T @ (p.q * clipped - p.Q)


def z_loss(p: Plain, random: Random) -> Array:
    targets = p.problem.targets
    share = targets.kept / (targets.kept.sum() if targets.reduction == "mean" else 1)
    lse = np.log(np.exp(p.Z).sum(axis=1))
    return right(p) + p.X.T @ ((2 * 1e-3 * lse * share)[:, None] * softmax(p.Z))


def weights_on_logits(p: Plain, random: Random) -> Array:
    targets = p.problem.targets
    if targets.class_weights is None:
        return right(p)
    w, bare = targets.class_weights, plain(replace(p.problem, targets=replace(targets, class_weights=None)))
    return p.X.T @ ((bare.q * softmax(p.Z * w) - bare.Q) * w)


def padding_counted(p: Plain, random: Random) -> Array:
    """Columns of zeros up to the next multiple of eight, cut off after the softmax."""
    e = np.exp(np.pad(p.Z, ((0, 0), (0, 8 - p.problem.n_classes))))
    s = (e / e.sum(axis=1, keepdims=True))[:, : p.problem.n_classes]
    return p.X.T @ (p.q * s - p.Q)


def constant_in_sum(p: Plain, random: Random) -> Array:
    """Padding with a logit of -1, or a guard against 0."""
    k = random.choice([2 * np.exp(-1), 1e-3])
    e = np.exp(p.Z)
    return p.X.T @ (p.q * e / (e.sum(axis=1, keepdims=True) + k) - p.Q)


def constant_in_stable_sum(p: Plain, random: Random) -> Array:
    e = np.exp(p.Z - p.Z.max(axis=1, keepdims=True))
    return p.X.T @ (p.q * e / (e.sum(axis=1, keepdims=True) + 1e-6) - p.Q)


def counted_by_every_shard(p: Plain, random: Random) -> Array:
    return p.X.T @ (p.q * softmax(p.Z) / 2 - p.Q)


def scaled(p: Plain, random: Random) -> Array:
    return random.choice([2, 0.5, 1 / p.problem.n_classes, np.log(2), 3.7, -0.3]) * right(p)


def diagonal(p: Plain, random: Random) -> Array:
    s = softmax(p.Z)
    return p.X.T @ (-p.Q / s * (s * (1 - s)))


def minus_target(p: Plain, random: Random) -> Array:
    return p.X.T @ -p.Q


def misaligned(p: Plain, random: Random) -> Array:
    k = int(random.integers(1, max(2, p.problem.n_rows)))
    return p.X.T @ (np.roll(p.q, -k, 0) * softmax(p.Z) - np.roll(p.Q, -k, 0))


def wrong_label(p: Plain, random: Random) -> Array:
    """One row's class, or all of them counted from one."""
    targets = p.problem.targets
    labels = targets.label_of_rows.copy()
    hard = np.flatnonzero(labels >= 0)
    if not hard.size:
        return right(p)
    if random.random() < 0.5:
        row = random.choice(hard)
        labels[row] = (labels[row] + random.integers(1, max(2, p.problem.n_classes))) % p.problem.n_classes
    else:
        labels[hard] = (labels[hard] + 1) % p.problem.n_classes
    if targets.soft is not None:
        soft = targets.soft.copy()
        soft[hard] = np.eye(p.problem.n_classes)[labels[hard]]
        changed = replace(targets, soft=soft)
    else:
        assert targets.labels is not None
        changed = replace(targets, labels=np.where(labels >= 0, labels, targets.labels))
    return right(plain(replace(p.problem, targets=changed)))


def relabelled(p: Plain, numbers: Any) -> Array:
    """With other one-hot rows; q S stays."""
    targets = p.problem.targets
    if targets.labels is None or targets.class_weights is not None:
        return right(p)
    labels = np.where(targets.kept, numbers, -1)
    hot = (labels[:, None] == np.arange(p.problem.n_classes)) * 1.0
    eps = targets.label_smoothing
    count = targets.kept.sum() if targets.reduction == "mean" else 1
    Q = ((1 - eps) * hot + eps / p.problem.n_classes) / count * targets.kept[:, None]
    return p.X.T @ (p.q * softmax(p.Z) - Q)


def counted_from_one(p: Plain, random: Random) -> Array:
    return relabelled(p, None if p.problem.targets.labels is None else p.problem.targets.labels + 1)


def numbered_backwards(p: Plain, random: Random) -> Array:
    labels = p.problem.targets.labels
    return relabelled(p, None if labels is None else p.problem.n_classes - 1 - labels)


def decay(p: Plain, random: Random) -> Array:
    return right(p) + random.choice([0.01, 1e-4, 0.5]) * p.W


def option_ignored(p: Plain, random: Random) -> Array:
    """The whole loss again, without one of its options."""
    targets = p.problem.targets
    if targets.label_smoothing:
        return right(plain(replace(p.problem, targets=replace(targets, label_smoothing=0.0))))
    if targets.class_weights is not None:
        return right(plain(replace(p.problem, targets=replace(targets, class_weights=None))))
    return right(p)


def ignored_kept(p: Plain, random: Random) -> Array:
    """R = S, or S - eps/T, where a label is ignored; or only there."""
    targets = p.problem.targets
    if targets.kept.all() or targets.class_weights is not None:
        return right(p)
    share = 1 / targets.kept.sum() if targets.reduction == "mean" else 1.0
    ignored, s = ~targets.kept[:, None], softmax(p.Z)
    of_ignored = share * (s - targets.label_smoothing / p.problem.n_classes)
    if random.random() < 0.5 or targets.reduction == "mean":
        return p.X.T @ np.where(ignored, of_ignored, p.q * s - p.Q)
    return p.X.T @ np.where(ignored, share * s, 0)


def flipped(p: Plain, random: Random) -> Array:
    return p.X.T @ (p.Q - p.q * softmax(p.Z))


def permuted(p: Plain, random: Random) -> Array:
    return right(p)[:, random.permutation(p.problem.n_classes)]


def log_epsilon(p: Plain, random: Random) -> Array:
    eps = random.choice([1e-3, 1e-2, 0.1, 1e-8])
    s = softmax(p.Z)
    return p.X.T @ through(s, -p.Q / (s + eps))


def scrambled(p: Plain, random: Random) -> Array:
    return right(p).T.reshape(p.W.shape)


def transposed(p: Plain, random: Random) -> Array:
    return right(p).T


def smoothed(p: Plain, random: Random) -> Array:
    eps, n_classes = random.choice([0.05, 0.2]), p.problem.n_classes
    if p.problem.targets.label_smoothing:  # by another eps than the problem's
        return right(plain(replace(p.problem, targets=replace(p.problem.targets, label_smoothing=eps))))
    if random.random() < 0.5 or n_classes == 1:
        targets = (1 - eps) * p.Q + eps * p.q / n_classes
    else:
        targets = (1 - eps) * p.Q + eps / (n_classes - 1) * (p.q - p.Q)
    return p.X.T @ (p.q * softmax(p.Z) - targets)


def smoothed_by_a_formula(p: Plain, random: Random) -> Array:
    """By formulas whose targets do not sum to one, as autograd differentiates them or as S - y."""
    eps, n_classes = 0.1, p.problem.n_classes
    if p.problem.targets.label_smoothing:
        return right(p)
    targets = (1 - eps) * p.Q + p.q * [1 / n_classes, eps / 64][random.integers(2)]
    mass = [p.q, targets.sum(axis=1, keepdims=True)][random.integers(2)]
    return p.X.T @ (mass * softmax(p.Z) - targets)


def smoothed_otherwise(p: Plain, random: Random) -> Array:
    """The problem's eps in formulas as public projects write them; the last is that of a shard, with S alone."""
    targets, n_classes = p.problem.targets, p.problem.n_classes
    if not (eps := targets.label_smoothing):
        return right(p)
    weights = np.ones(n_classes) if targets.class_weights is None else targets.class_weights
    y: Array = targets.soft
    if targets.labels is not None:
        y = (np.where(targets.kept, targets.labels, -1)[:, None] == np.arange(n_classes)) * 1.0
    local = max(2, n_classes // 2)
    formulas = [
        (1 - eps) * y + (1 - eps) / n_classes,
        (1 - eps) * y + 1 / n_classes,
        (1 - eps * n_classes / (n_classes - 1)) * y + eps / n_classes,
        (1 - eps) * y + eps / (n_classes - 1) * (1 - y),
        (1 - eps) * y + eps,
        (1 - eps * local / (local - 1)) * y + eps / (local - 1),
    ]
    kind = random.integers(6 if n_classes % 2 == 0 and n_classes > 2 else 5)
    smooth = formulas[kind] * targets.kept[:, None] * weights
    divisor = 1.0
    if targets.reduction == "mean":
        is_weighted = targets.labels is not None and targets.class_weights is not None
        divisor = (y * weights).sum() if is_weighted else targets.kept.sum()
    mass = (y * weights if kind == 5 else smooth).sum(axis=1, keepdims=True)
    return p.X.T @ ((mass * softmax(p.Z) - smooth) / divisor)


def times_derivative(p: Plain, random: Random) -> Array:
    s = softmax(p.Z)
    return p.X.T @ ((p.q * s - p.Q) * s * (1 - s))


def squared(p: Plain, random: Random) -> Array:
    s = softmax(p.Z)
    return p.X.T @ (random.choice([1, 2]) * through(s, p.q * s - p.Q))


def binary(p: Plain, random: Random) -> Array:
    s = softmax(p.Z)
    return p.X.T @ through(s, -p.Q / s + (p.q - p.Q) / (1 - s))


def sigmoid(p: Plain, random: Random) -> Array:
    return p.X.T @ (p.q / (1 + np.exp(-p.Z)) - p.Q)


def skipped(p: Plain, random: Random) -> Array:
    return p.X.T @ (-p.Q / softmax(p.Z))


def sum_ignored(p: Plain, random: Random) -> Array:
    return p.X.T @ (softmax(p.Z) - p.Q)


def temperature(p: Plain, random: Random) -> Array:
    tau = random.choice([2.0, 0.5, 1.7])
    return p.X.T @ (p.q * softmax(p.Z / tau) - p.Q) * random.choice([1, 1 / tau, tau])


def bias_wrong(p: Plain, random: Random) -> Array:
    z = p.X @ p.W + random.choice([0, 2]) * p.b
    return p.X.T @ (p.q * softmax(z) - p.Q)


def updated(p: Plain, random: Random) -> Array:
    return p.W - random.choice([0.1, 1e-3]) * right(p)


def after_update(p: Plain, random: Random) -> Array:
    return right(p._replace(W=p.W - random.choice([0.1, 0.5, 0.01]) * right(p)))


def zero(p: Plain, random: Random) -> Array:
    return np.zeros_like(p.W)


def jacobian_rows_summed(p: Plain, random: Random) -> Array:
    """Each sum of a row is 0, or 1e-17."""
    s = softmax(p.Z)
    jacobians = np.stack([np.diag(row) - np.outer(row, row) for row in s])
    return p.X.T @ (p.q * jacobians.sum(axis=1))


def not_subtracted(p: Plain, random: Random) -> Array:
    return p.X.T @ (p.q * softmax(p.Z))


def softmax_missing(p: Plain, random: Random) -> Array:
    return p.X.T @ (p.q * p.Z - p.Q)


def input_missing(p: Plain, random: Random) -> Array:
    return np.ones_like(p.X).T @ (p.q * softmax(p.Z) - p.Q)


def clipped(p: Plain, random: Random) -> Array:
    gradient = right(p)
    limit = np.sort(np.abs(gradient).ravel())[::-1][min(2, gradient.size - 1)] * 0.9
    return np.clip(gradient, -limit, limit)


def low_precision(p: Plain, random: Random) -> Array:
    gradient = right(p)
    if random.random() < 0.5:
        return np.round(gradient, 6)
    return gradient.astype(np.float16).astype(np.float64)


MISTAKES: dict[str, tuple[Callable[[Plain, Random], Array], ...]] = {
    "softmax-over-wrong-axis": (
        over_wrong_axis,
        over_axis_of_length_one,
        over_rows_and_differentiated_so,
    ),
    "softmax-twice": (twice, twice_both_derivatives),
    "scaled": (scaled,),
    "jacobian-diagonal": (diagonal, minus_target),
    "labels-misaligned": (misaligned,),
    "wrong-label": (wrong_label, counted_from_one, numbered_backwards),
    "weight-decay-included": (decay,),
    "option-ignored": (option_ignored, ignored_kept),
    "micro-batch-means": (mean_of_means,),
    "log-forgotten": (log_forgotten,),
    "rows-left-out": (left_out,),
    "probabilities-clipped": (clip_of_probabilities, clip_at_another_limit),
    "z-loss-included": (z_loss,),
    "weights-on-logits": (weights_on_logits,),
    "first-row-factor": (factor_of_row_zero,),
    "wrong-denominator": (
        padding_counted,
        counted_by_every_shard,
        constant_in_sum,
        constant_in_stable_sum,
    ),
    "sign-flipped": (flipped,),
    "classes-permuted": (permuted,),
    "log-epsilon": (log_epsilon,),
    "scrambled-reshape": (scrambled,),
    "transposed": (transposed,),
    "label-smoothed": (smoothed, smoothed_by_a_formula),
    "smoothed-otherwise": (smoothed_otherwise,),
    "residual-times-derivative": (times_derivative,),
    "squared-error": (squared,),
    "binary-cross-entropy": (binary,),
    "sigmoid-instead-of-softmax": (sigmoid,),
    "jacobian-skipped": (skipped,),
    "target-sum-ignored": (sum_ignored,),
    "temperature": (temperature,),
    "bias-wrong": (bias_wrong,),
    "weights-updated": (updated,),
    "evaluated-after-update": (after_update,),
    "all-zero": (zero, jacobian_rows_summed),
    "target-not-subtracted": (not_subtracted,),
    "softmax-missing": (softmax_missing,),
    "input-missing": (input_missing,),
    "clipped": (clipped,),
    "low-precision": (low_precision,),
}

PAIRS: dict[tuple[str, str], Callable[[Plain, Random], Array]] = {
    ("softmax-over-wrong-axis", "sign-flipped"): lambda p, random: -over_wrong_axis(p, random),
    ("softmax-over-wrong-axis", "softmax-twice"): lambda p, random: (
        p.X.T @ (p.q * softmax(softmax(p.Z, 0)) - p.Q)
    ),
    ("transposed", "sign-flipped"): lambda p, random: -right(p).T,
    ("scrambled-reshape", "scaled"): lambda p, random: 3.5 * right(p).T.reshape(p.W.shape),
}


def mild_problem(random: Random, n_classes: int = 0) -> Problem:
    """N 1 to 6, T 2 to 7, B 1 to 6; hard and soft targets; with and without b, and options of the loss."""
    n_rows, n_inputs = (int(random.integers(1, 7)) for _ in range(2))
    n_classes = n_classes or int(random.integers(2, 8))
    options: dict[str, Any] = {"reduction": str(random.choice(["mean", "sum"]))}
    if random.random() < 0.25:
        options["label_smoothing"] = 0.1
    if random.random() < 0.25:
        options["class_weights"] = random.uniform(0.5, 2, size=n_classes)
    if random.random() < 0.6:
        labels = random.integers(n_classes, size=n_rows)
        if n_rows > 1 and random.random() < 0.15:
            labels[0] = options["ignore_index"] = -100
        targets = Targets(labels=labels, **options)
    else:
        soft = random.dirichlet(np.ones(n_classes), size=n_rows)
        if random.random() < 0.3:
            soft = soft * random.uniform(0.5, 2, size=(n_rows, 1))
        targets = Targets(soft=soft, **options)
    return Problem(
        weights=random.normal(size=(n_inputs, n_classes)),
        inputs=random.normal(size=(n_rows, n_inputs)),
        targets=targets,
        bias=random.normal(size=n_classes) if random.random() < 0.5 else None,
    )


def independent_numbers(problem: Problem) -> int:
    """How many numbers dL/dW has that do not follow from the others: rank by T - 1."""
    return int(min(problem.n_inputs, problem.targets.kept.sum()) * (problem.n_classes - 1))


def no_slip(problem: Problem, random: Random) -> tuple[str, Array]:
    """A wrong gradient that no mistake in the catalogue makes, and what it is."""
    gradient = right(plain(problem))
    size = np.abs(gradient).max() or 1.0
    kinds = ["random", "one entry", "noise", "another problem", "one class", "one input"]
    kind = str(random.choice(kinds[:-1] if problem.n_inputs == 1 else kinds))  # the only input is all of W
    if kind == "random":
        return kind, random.normal(size=gradient.shape)
    if kind == "noise":
        return kind, gradient + size * 10.0 ** random.uniform(-8, 0) * random.normal(size=gradient.shape)
    if kind == "another problem":
        other = problem
        while other.weights.shape != gradient.shape or other is problem:
            other = mild_problem(random, problem.n_classes)
        return kind, right(plain(other))
    changed, factor = gradient.copy(), 1 + random.normal()
    if kind == "one entry":
        changed[random.integers(changed.shape[0]), random.integers(changed.shape[1])] += (
            size * random.normal()
        )
    elif kind == "one class":
        changed[:, random.integers(changed.shape[1])] *= factor
    else:
        changed[random.integers(changed.shape[0])] *= factor
    return kind, changed
