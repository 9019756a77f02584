"""Softmax layers as public projects write them: the right ones are right, and the wrong ones get their name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from implementations import IMPLEMENTATIONS, RIGHT, WRONG, Implementation, Layer, narrowed, problem
from xegrad import METHODS, Diagnosis, Judgement, Tolerance, diagnose, judge
from xegrad.judgement import DIGITS_LOST
from xegrad.judgement import RIGHT as IS_RIGHT
from xegrad.judgement import WRONG as IS_WRONG

PROBLEMS = 5


def judged(one: Implementation, seed: int, dtype: str) -> tuple[Judgement, Diagnosis]:
    """The verdict on one random problem of its kind."""
    given, layer = problem(one.kind, np.random.default_rng(seed))
    candidate = one.make(narrowed(layer, dtype))
    assert candidate.dtype == dtype
    exact = METHODS["exact"].evaluate(given, ("weights", one.of))
    tolerance = Tolerance(precision=dtype)
    return (
        judge(given, exact, candidate, tolerance, 0.0, one.of),
        diagnose(given, exact, candidate, tolerance, 0.0, one.of),
    )


def test_forty_and_more_are_tried_and_each_names_its_source() -> None:
    assert len(IMPLEMENTATIONS) >= 40
    assert all(one.source for one in IMPLEMENTATIONS.values())


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_implementation_is_right_in_its_precision(name: str) -> None:
    for dtype in RIGHT[name].dtypes:
        for seed in range(PROBLEMS):
            judgement, _ = judged(RIGHT[name], seed, dtype)
            assert judgement.outcome in (IS_RIGHT, DIGITS_LOST), (dtype, seed)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_implementation_is_wrong_and_gets_its_name(name: str) -> None:
    """One of the names that its entry lists, or none, and the same on every problem that can tell."""
    for dtype in WRONG[name].dtypes:
        for seed in range(PROBLEMS):
            judgement, diagnosis = judged(WRONG[name], seed, dtype)
            assert judgement.outcome == IS_WRONG, (dtype, seed)
            assert {*(diagnosis.names or ((),))} & {*(WRONG[name].names or ())}, diagnosis.names


def micro_batch_means(f: Any, z: Any, labels: Any) -> Any:
    means = [f.cross_entropy(part, some) for part, some in zip(z.split(3), labels.split(3), strict=True)]
    return sum(means) / len(means)


def smoothed(z: Any, one_hot: Any, label: float, share: float) -> Any:
    return -((label * one_hot + share) * z.log_softmax(1)).sum(1).mean()


# The losses of the threads in torch, of its functions, the logits, the labels, one-hot rows and the layer.
LOSSES: dict[str, Callable[[Any, Any, Any, Any, Layer], Any]] = {
    "log_softmax_twice": lambda f, z, y, one_hot, p: f.cross_entropy(z.log_softmax(1), y),
    "batch_axis_autograd": lambda f, z, y, one_hot, p: f.nll_loss(z.log_softmax(0), y),
    "softmax_twice": lambda f, z, y, one_hot, p: f.cross_entropy(z.softmax(1), y),
    "nll_of_probabilities": lambda f, z, y, one_hot, p: f.nll_loss(z.softmax(1), y),
    "nll_of_logits": lambda f, z, y, one_hot, p: f.nll_loss(z, y),
    "bce_after_softmax": lambda f, z, y, one_hot, p: f.binary_cross_entropy(z.softmax(1), one_hot),
    "squared_error": lambda f, z, y, one_hot, p: ((z.softmax(1) - one_hot) ** 2).sum() / 2,
    "log_of_s_plus_eps": lambda f, z, y, one_hot, p: f.nll_loss((z.softmax(1) + 1e-3).log(), y),
    "keras_clip": lambda f, z, y, one_hot, p: f.nll_loss(z.softmax(1).clamp(1e-7, 1 - 1e-7).log(), y),
    "z_loss": lambda f, z, y, one_hot, p: f.cross_entropy(z, y) + 0.01 * (z.logsumexp(1) ** 2).mean(),
    "weights_on_logits": lambda f, z, y, one_hot, p: f.cross_entropy(z * z.new_tensor(p.class_weights), y),
    "mean_of_means": lambda f, z, y, one_hot, p: micro_batch_means(f, z, y),
    "smoothing_rest": lambda f, z, y, one_hot, p: smoothed(z, one_hot, 1 - p.eps, (1 - p.eps) / p.W.shape[1]),
    "smoothing_one_over_c": lambda f, z, y, one_hot, p: smoothed(z, one_hot, 1 - p.eps, 1 / p.W.shape[1]),
    "padding_in_sum": lambda f, z, y, one_hot, p: f.cross_entropy(f.pad(z, (0, 2), value=-1.0), y),
}


@pytest.mark.parametrize("name", LOSSES)
def test_what_autograd_makes_of_such_a_loss_is_what_is_tried_here(name: str) -> None:
    """Where torch is installed: the formula in numpy is the derivative of the loss in the thread."""
    torch = pytest.importorskip("torch")
    _, layer = problem(IMPLEMENTATIONS[name].kind, np.random.default_rng(7))
    weights, labels, one_hot = torch.tensor(layer.W), torch.tensor(layer.y), torch.tensor(layer.Y)
    weights.requires_grad_()
    logits = torch.tensor(layer.X) @ weights + torch.tensor(layer.b)
    LOSSES[name](torch.nn.functional, logits, labels, one_hot, layer).backward()
    ours = IMPLEMENTATIONS[name].make(layer)
    assert np.abs(weights.grad.numpy() - ours).max() <= 1e-12 * np.abs(ours).max()
