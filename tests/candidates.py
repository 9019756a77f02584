"""Gradients as people compute them, in numpy, in one precision and several orders of summation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xegrad import Problem

Dot = Callable[[Any, Any], Any]


def forward(x: Any, w: Any) -> Any:
    return x @ w


def reversed_order(x: Any, w: Any) -> Any:
    return x[..., ::-1] @ w[::-1]


def one_by_one(x: Any, w: Any) -> Any:
    total = np.zeros((x.shape[0], w.shape[1]), dtype=x.dtype)
    for j in range(w.shape[0]):
        total = total + x[:, j, None] * w[j]
    return total


def halves(x: Any, w: Any) -> Any:
    if w.shape[0] == 1:
        return x * w
    middle = w.shape[0] // 2
    return halves(x[:, :middle], w[:middle]) + halves(x[:, middle:], w[middle:])


def in_blocks(block: int) -> Dot:
    def dot(x: Any, w: Any) -> Any:
        starts = range(0, w.shape[0], block)
        return one_by_one_sum([one_by_one(x[:, s : s + block], w[s : s + block]) for s in starts])

    return dot


def one_by_one_sum(parts: list[Any]) -> Any:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


ORDERS: dict[str, Dot] = {
    "forward": forward,
    "reversed": reversed_order,
    "one by one": one_by_one,
    "halves": halves,
}


@np.errstate(invalid="ignore")
def gradient(problem: Problem, dtype: Any, dot: Dot) -> Any:
    """dL/dW by the textbook's shortcut: softmax with the maximum subtracted, q S - Q, X' R."""
    w, x = problem.weights.astype(dtype), problem.inputs.astype(dtype)
    q = problem.targets.effective(problem.n_classes, np.dtype(np.float64)).astype(dtype)
    z = dot(x, w)
    if problem.bias is not None:
        z = z + problem.bias.astype(dtype)
    e = np.exp(z - z.max(axis=1, keepdims=True))
    s = e / e.sum(axis=1, keepdims=True)
    r = q.sum(axis=1, keepdims=True) * s - q
    return dot(x.T, r)


@np.errstate(invalid="ignore")  # some kernels of a BLAS compute beyond a row of one, and say so
def loss(problem: Problem, dtype: Any) -> float:
    """-sum(Q log S) by log-sum-exp."""
    w, x = problem.weights.astype(dtype), problem.inputs.astype(dtype)
    q = problem.targets.effective(problem.n_classes, np.dtype(np.float64)).astype(dtype)
    z = x @ w if problem.bias is None else x @ w + problem.bias.astype(dtype)
    shifted = z - z.max(axis=1, keepdims=True)
    return float((q * (np.log(np.exp(shifted).sum(axis=1, keepdims=True)) - shifted)).sum())
