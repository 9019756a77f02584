"""The shortcut's loss and dL/dW, from arrays of numpy, against PyTorch with autograd and against plain numpy; and the
chain's dL/dW against the same with its layer Jacobian formed whole.

    XEGRAD_TORCH=/path/to/python python benchmarks/shortcut_speed.py [small] [large] [chain]

XEGRAD_TORCH is a Python that has torch; without one only numpy is compared.  Ours checks W, x and the labels each time.
Where calls dominate, there is a row of a `Problem` that is made already.  CPU time of one thread.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from side_by_side import Code, Measured, Row, measure, report

SMALL = (1, 3, 5), (1, 784, 10), (64, 784, 10)  # where calls dominate
LARGE = (4096, 784, 10), (1, 4096, 32000), (8192, 512, 1000), (1024, 1024, 8000)
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
FROM_TORCH, FROM_TORCH_SMALL, FROM_NUMPY = 0.8, 0.5, 1.3  # the goals

ARRAYS = """
import numpy as np
random = np.random.default_rng(0)
W = (random.normal(size=({N}, {T})) / {N} ** 0.5).astype("{dtype}")
X = random.normal(size=({B}, {N})).astype("{dtype}")
labels = random.integers(0, {T}, {B})
"""

OURS = f"""{ARRAYS}
from xegrad import METHODS, Problem, Targets
METHODS["shortcut"].evaluate_arrays([[1.0]], [[1.0]], Targets([0]))  # the first call imports
"""
MADE = f"{OURS}problem = Problem(W, X, Targets(labels))"
FROM_ARRAYS = """
evaluation = METHODS["shortcut"].evaluate_arrays(W, X, Targets(labels))
loss, gradient = evaluation.loss, evaluation.gradients["weights"]
"""
FROM_PROBLEM = FROM_ARRAYS.replace("evaluate_arrays(W, X, Targets(labels))", "evaluate(problem)")

NUMPY = f"""{ARRAYS}
rows = np.arange({{B}})
def layer(W, X, labels):
    Z = X @ W
    Z -= Z.max(axis=1, keepdims=True)
    at_label = Z[rows, labels]
    np.exp(Z, out=Z)
    total = Z.sum(axis=1)
    loss = (np.log(total) - at_label).mean()
    Z /= (total * len(rows))[:, None]
    Z[rows, labels] -= 1 / len(rows)
    return loss, X.T @ Z
"""

TORCH = f"""{ARRAYS}
import torch
torch.set_num_threads(1)
W, X, labels = map(torch.from_numpy, (W, X, labels))
W.requires_grad_()
"""
AUTOGRAD = """
W.grad = None
output = torch.nn.functional.cross_entropy(X @ W, labels)
output.backward()
loss, gradient = output.item(), W.grad
"""

CHAIN = """
evaluation = METHODS["chain"].evaluate(problem)
loss, gradient = evaluation.loss, evaluation.gradients["weights"]
"""
WHOLE = f"""{ARRAYS}
def chain(W, X, label):
    Z = (X @ W)[0]
    E = np.exp(Z - Z.max())
    S = E / E.sum()
    DXE = np.zeros_like(S)
    DXE[label] = -1 / S[label]
    DS = np.diag(S) - np.outer(S, S)
    DL = (DS[:, :, None] * X[0]).reshape(len(S), -1)
    return -np.log(S[label]), (DXE @ DL).reshape(W.T.shape).T
"""


def rows(shape: tuple[int, int, int]) -> Iterator[Row]:
    """Of one shape, in both precisions."""
    n_rows, n_inputs, n_classes = shape
    is_small, python = shape in SMALL, os.environ.get("XEGRAD_TORCH")
    for dtype in ("float64", "float32"):
        what = f"{shape} {dtype}"

        def code(name: str, setup: str, statement: str, python: str = sys.executable) -> Code:
            sizes = {"B": n_rows, "N": n_inputs, "T": n_classes, "dtype": dtype}  # noqa: B023
            return Code(name, setup.format(**sizes), statement, python, ONE_THREAD)

        kinds = {what: code("xegrad", OURS, FROM_ARRAYS)}
        if is_small:
            kinds[f"{what}, of a Problem"] = code("xegrad", MADE, FROM_PROBLEM)
        peers = [(code("numpy", NUMPY, "loss, gradient = layer(W, X, labels)"), FROM_NUMPY)]
        if is_small and n_rows == 1:
            peers = []
        if python:
            goal = FROM_TORCH_SMALL if is_small else FROM_TORCH
            peers.append((code("torch", TORCH, AUTOGRAD, python), goal))
        for peer, goal in peers:
            for kind, ours in kinds.items():
                yield Row(kind, *_both(ours, peer), goal, by="cpu")


def _both(ours: Code, peer: Code) -> tuple[Measured, Measured]:
    of_ours, of_peer = measure(ours, peer)
    return of_ours, of_peer


def main() -> None:
    chosen = sys.argv[1:] or ["small", "large", "chain"]
    for name, shapes in (("small", SMALL), ("large", LARGE)):
        if name in chosen:
            report(f"The shortcut, {name}", [row for shape in shapes for row in rows(shape)])
    if "chain" in chosen:
        sizes = {"B": 1, "N": 100, "T": 1000, "dtype": "float64"}
        ours = Code("xegrad", MADE.format(**sizes), CHAIN, environment=ONE_THREAD)
        whole = "loss, gradient = chain(W, X, labels[0])"
        peer = Code("numpy", WHOLE.format(**sizes), whole, environment=ONE_THREAD)
        row = Row("(1, 100, 1000) float64", *_both(ours, peer), 0.6, memory_goal=64, by="cpu")
        report("The chain", [row])


if __name__ == "__main__":
    main()
