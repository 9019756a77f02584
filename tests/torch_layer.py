"""The layer as PyTorch computes it, and problems with every combination of the loss's options.

Only `evaluate` needs torch, which it imports itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import replace

from xegrad import Evaluation, Problem, Targets
from xegrad.targets import Array
from xegrad.vocabulary import REDUCTIONS

NAMES = ("weights", "bias", "inputs", "logits")
TARGETS = ("labels", "ignored", "soft")  # ignored: labels, some of which do not count


class Options(msgspec.Struct, frozen=True):
    """What a drawn problem has; its numbers are still open."""

    targets: str
    weighted: bool
    smoothed: bool
    reduction: str
    biased: bool

    def __str__(self) -> str:
        given = (self.weighted, "weights"), (self.smoothed, "smoothing"), (self.biased, "b")
        return "-".join([self.targets, *(word for has, word in given if has), self.reduction])


EVERY_COMBINATION = [
    Options(*options) for options in product(TARGETS, (False, True), (False, True), REDUCTIONS, (False, True))
]


def draw(random: np.random.Generator, options: Options, scale: float, decimals: int | None = None) -> Problem:
    """A problem of up to 4 rows, 5 inputs and 6 classes; numbers of so many decimals, or any floats."""
    n_rows, n_inputs, n_classes = (int(random.integers(1, most)) for most in (5, 6, 7))

    def numbers(values: Array) -> Array:
        return values if decimals is None else values.round(decimals)

    return Problem(
        weights=numbers(scale * random.normal(size=(n_inputs, n_classes))),
        inputs=numbers(random.normal(size=(n_rows, n_inputs))),
        bias=numbers(scale * random.normal(size=n_classes)) if options.biased else None,
        targets=Targets(
            **_targets(random, options.targets, n_rows, n_classes),
            class_weights=numbers(random.uniform(0.1, 3, size=n_classes)) if options.weighted else None,
            label_smoothing=float(random.choice([1e-10, 1e-3, 0.1, 0.5, 0.9])) if options.smoothed else 0.0,
            reduction=options.reduction,
        ),
    )


def _targets(random: np.random.Generator, kind: str, n_rows: int, n_classes: int) -> dict[str, Any]:
    if kind == "soft":
        return {"soft": random.dirichlet(np.ones(n_classes), size=n_rows)}
    labels = random.integers(n_classes, size=n_rows)
    if kind == "labels":
        return {"labels": labels}
    # PyTorch's own -100, one that is no class either, or a class; and at least one row that counts.
    ignored = int(random.choice([-100, 255, int(random.integers(n_classes)) if n_classes > 1 else 1]))
    counted = np.setdiff1d(np.arange(n_classes), ignored)
    labels = np.where(random.random(n_rows) < 0.4, ignored, labels)
    labels[0] = random.choice(counted)
    return {"labels": labels, "ignore_index": ignored}


class Computed(msgspec.Struct, frozen=True, eq=False):
    """What PyTorch gives: the loss after reduction (summed where that is none), and each row's loss."""

    loss: float
    losses: Array  # (B,) by reduction="none", whatever the problem's
    gradients: dict[str, Array]  # in the library's layout, whatever the layer's


def evaluate(problem: Problem, precision: str = "float64", layer: str = "x @ W + b") -> Computed:
    """cross_entropy forward and autograd backward; W, x, b, class weights and soft targets in `precision`.

    `layer` is "x @ W + b", or "linear": F.linear with the transposed weight that torch.nn.Linear holds.
    """
    import torch

    dtype = getattr(torch, precision)
    targets = problem.targets

    def tensor(array: Array, *, variable: bool = True) -> Any:
        return torch.tensor(array.copy(), dtype=dtype, requires_grad=variable)

    inputs = tensor(problem.inputs)
    bias = None if problem.bias is None else tensor(problem.bias)
    if layer == "linear":
        weights = tensor(problem.weights.T)
        logits = torch.nn.functional.linear(inputs, weights, bias)
    else:
        weights = tensor(problem.weights)
        logits = inputs @ weights if bias is None else inputs @ weights + bias
    logits.retain_grad()
    loss = _cross_entropy(logits, targets, dtype, targets.reduction)
    total = loss.sum()
    total.backward()
    found = {"weights": weights, "inputs": inputs, "logits": logits} | (
        {} if bias is None else {"bias": bias}
    )
    gradients = {name: variable.grad.numpy() for name, variable in found.items()}
    if layer == "linear":
        gradients["weights"] = gradients["weights"].T
    # Where there is no b, what its gradient would be is the sum of that of the logits.
    gradients.setdefault("bias", logits.grad.sum(dim=0).numpy())
    losses = _cross_entropy(logits.detach(), targets, dtype, "none")
    return Computed(total.item(), losses.numpy(), gradients)


def _cross_entropy(logits: Any, targets: Targets, dtype: Any, reduction: str) -> Any:
    import torch

    options: dict[str, Any] = {"label_smoothing": targets.label_smoothing, "reduction": reduction}
    if targets.class_weights is not None:
        options["weight"] = torch.tensor(targets.class_weights.copy(), dtype=dtype)
    if targets.ignore_index is not None:
        options["ignore_index"] = targets.ignore_index
    if targets.soft is None:
        assert targets.labels is not None
        given = torch.tensor(targets.labels.copy())
    else:
        given = torch.tensor(targets.soft.copy(), dtype=dtype)
    return torch.nn.functional.cross_entropy(logits, given, **options)


def rows(problem: Problem) -> Iterator[Problem]:
    """Each row as a problem of its own, as under reduction="none"."""
    targets = problem.targets
    for row in range(problem.n_rows):
        yield replace(
            problem,
            inputs=problem.inputs[row : row + 1],
            targets=replace(
                targets,
                labels=None if targets.labels is None else targets.labels[row : row + 1],
                soft=None if targets.soft is None else targets.soft[row : row + 1],
                reduction="none",
            ),
        )


def unreduced(problem: Problem) -> Problem:
    """The same under reduction="none"."""
    return replace(problem, targets=replace(problem.targets, reduction="none"))


def certified(evaluation: Evaluation) -> Evaluation:
    """The evaluation, which must be certain of every number."""
    assert all(map(evaluation.is_certain_of, ("loss", *evaluation.gradients)))
    return evaluation
