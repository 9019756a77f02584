"""Mistakes as PyTorch's users make them, differentiated by PyTorch, and the name that each is given.

Runs where torch is installed: pip install 'xegrad[test,torch]'.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from xegrad import METHODS, Problem, Targets, diagnose

torch = pytest.importorskip("torch")
F: Any = torch.nn.functional

ROWS, INPUTS, CLASSES, IGNORED = 7, 4, 5, -100
Loss = Callable[[Any, Any], Any]
WEIGHTS = [0.5, 1.0, 2.0, 1.5, 3.0]


def mean_of_means(z: Any, y: Any, **options: Any) -> Any:
    parts = [F.cross_entropy(z[k : k + 3], y[k : k + 3], **options) for k in range(0, ROWS, 3)]
    return sum(parts) / len(parts)


def chunks_but_the_last(z: Any, y: Any) -> Any:
    n = ROWS // 3 * 3
    return F.cross_entropy(z[:n], y[:n], reduction="sum") / ROWS


def smoothed(z: Any, y: Any, share: float, everywhere: bool) -> Any:
    target = torch.full_like(z, share)
    target.scatter_(1, y[:, None], 0.9 + share * everywhere)
    return -(target * F.log_softmax(z, 1)).sum(1).mean()


def clipped(z: Any, y: Any) -> Any:
    return F.nll_loss(F.softmax(8 * z, 1).clamp(1e-7, 1 - 1e-7).log(), y)


def padded(z: Any, y: Any) -> Any:
    return F.cross_entropy(F.pad(z, (0, 64 - CLASSES)), y)


def with_z_loss(z: Any, y: Any) -> Any:
    return F.cross_entropy(z, y) + 1e-4 * z.logsumexp(1).square().mean()


def from_one(z: Any, y: Any) -> Any:
    hot = F.one_hot(y + 1, CLASSES + 1)[:, :CLASSES].double()
    return (F.softmax(z, 1).detach() * z - hot * z).sum(1).mean()


LOSSES: dict[str, tuple[str, Loss, dict[str, Any]]] = {
    "softmax over the rows": (
        "softmax-over-wrong-axis", lambda z, y: F.nll_loss(F.log_softmax(z, 0), y), {},
    ),
    "mean of means": ("micro-batch-means", mean_of_means, {}),
    "mean of means, weighted": (
        "micro-batch-means",
        lambda z, y: mean_of_means(z, y, weight=torch.tensor(WEIGHTS, dtype=torch.double)),
        {"class_weights": np.array(WEIGHTS)},
    ),
    "mean of means, ignoring": (
        "micro-batch-means",
        lambda z, y: mean_of_means(z, torch.where(torch.arange(ROWS) == 1, IGNORED, y)),
        {"ignore_index": IGNORED},
    ),
    "no log": ("log-forgotten", lambda z, y: F.nll_loss(F.softmax(z, 1), y), {}),
    "of logits": ("log-forgotten", lambda z, y: F.nll_loss(z, y), {}),
    "chunks but the last": ("rows-left-out", chunks_but_the_last, {}),
    "1/T": ("label-smoothed", lambda z, y: smoothed(z, y, 1 / CLASSES, True), {}),
    "eps/64": ("label-smoothed", lambda z, y: smoothed(z, y, 0.1 / 64, True), {}),
    "eps/(T - 2)": ("label-smoothed", lambda z, y: smoothed(z, y, 0.1 / 3, False), {}),
    "padding": ("wrong-denominator", padded, {}),
    "z-loss": ("z-loss-included", with_z_loss, {}),
    "weights on logits": (
        "weights-on-logits",
        lambda z, y: F.cross_entropy(z * torch.tensor(WEIGHTS, dtype=torch.double), y),
        {"class_weights": np.array(WEIGHTS)},
    ),
    "distillation": ("temperature", lambda z, y: 4 * F.cross_entropy(z / 2, y), {}),
    "from one": ("wrong-label", from_one, {}),
}  # fmt: skip


@pytest.mark.parametrize("made", LOSSES)
def test_what_autograd_makes_of_a_mistake_is_named(made: str) -> None:
    name, loss, options = LOSSES[made]
    random = np.random.default_rng(4)
    weights, inputs = random.normal(size=(INPUTS, CLASSES)), random.normal(size=(ROWS, INPUTS))
    labels = np.array([0, 3, 4, 1, 2, 4, 0])
    w = torch.tensor(weights, requires_grad=True)
    loss(torch.tensor(inputs) @ w, torch.tensor(labels)).backward()
    if "ignore_index" in options:
        labels[1] = IGNORED
    problem = Problem(weights, inputs, Targets(labels=labels, **options))
    assert w.grad is not None
    found = diagnose(problem, METHODS["exact"].evaluate(problem), w.grad.numpy()).names
    assert (name,) in found


def test_a_clamp_of_probabilities_is_named_by_what_autograd_makes_of_it() -> None:
    random = np.random.default_rng(5)
    weights, inputs = random.normal(size=(INPUTS, CLASSES)), random.normal(size=(ROWS, INPUTS))
    labels = np.array([0, 3, 4, 1, 2, 4, 0])
    w = torch.tensor(weights, requires_grad=True)
    clipped(torch.tensor(inputs) @ w, torch.tensor(labels)).backward()
    problem = Problem(8 * weights, inputs, Targets(labels=labels))
    assert w.grad is not None
    (explanation, *_) = diagnose(problem, METHODS["exact"].evaluate(problem), w.grad.numpy() / 8).explanations
    assert explanation.slips == ("probabilities-clipped",)
    assert explanation.parameters["derivative"] == "0"
