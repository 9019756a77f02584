"""The shortcut's loss and dL/dW, from arrays of numpy, against PyTorch with autograd and against plain numpy; and the
chain's dL/dW against the same with its layer Jacobian formed whole.

    XEGRAD_TORCH=/path/to/python python benchmarks/shortcut_speed.py [--threads 1] [FIRST LAST]

XEGRAD_TORCH is a Python that has torch; without one only numpy is compared.  Ours makes a `Problem` each time, which
copies and checks W, x and the labels; a second row for small shapes is of a `Problem` made before.  FIRST and LAST
choose some of the shapes.  CPU time.
"""

from __future__ import annotations

import math
import os
import sys

from side_by_side import Code, Row, measure, report

SHAPES = (
    (1, 3, 5),
    (1, 784, 10),
    (64, 784, 10),
    (4096, 784, 10),
    (1, 4096, 32000),
    (8192, 512, 1000),
    (1024, 1024, 8000),
)
SMALL = 3  # shapes at which the cost of calls dominates
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
METHODS["shortcut"].evaluate(Problem([[1.0]], [[1.0]], Targets([0])))  # the first call imports
"""
MADE = f"{OURS}problem = Problem(W, X, Targets(labels))"
FROM_ARRAYS = """
evaluation = METHODS["shortcut"].evaluate(Problem(W, X, Targets(labels)))
loss, gradient = evaluation.loss, evaluation.gradients["weights"]
"""
FROM_PROBLEM = FROM_ARRAYS.replace("Problem(W, X, Targets(labels))", "problem")

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
torch.set_num_threads({{threads}})
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


def main() -> None:
    arguments = sys.argv[1:]
    threads = arguments.pop(1) if arguments[:1] == ["--threads"] and arguments.pop(0) else "1"
    first, last = map(int, arguments or (0, len(SHAPES)))
    python = os.environ.get("XEGRAD_TORCH")
    environment = {"OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
    rows = []
    for n_rows, n_inputs, n_classes in SHAPES[first:last]:
        for dtype in ("float64", "float32"):
            sizes = {"B": n_rows, "N": n_inputs, "T": n_classes, "dtype": dtype, "threads": threads}

            def code(name: str, setup: str, statement: str, python: str = sys.executable) -> Code:
                return Code(name, setup.format(**sizes), statement, python, environment)  # noqa: B023

            what = f"({n_rows}, {n_inputs}, {n_classes}) {dtype}"
            is_small = (n_rows, n_inputs, n_classes) in SHAPES[:SMALL]
            ours = code("xegrad", OURS, FROM_ARRAYS)
            made = code("xegrad", MADE, FROM_PROBLEM)

            def compare(ours: Code, peer: Code, goal: float, what: str = what) -> None:
                of_ours, of_peer = measure(ours, peer)
                rows.append(Row(what, of_ours, of_peer, goal, by="cpu"))

            if python:
                torch, goal = (
                    code("torch", TORCH, AUTOGRAD, python),
                    FROM_TORCH_SMALL if is_small else FROM_TORCH,
                )
                compare(ours, torch, goal)
                if is_small:
                    compare(made, torch, goal, f"{what}, of a Problem")
            plain = code("numpy", NUMPY, "loss, gradient = layer(W, X, labels)")
            compare(ours, plain, math.inf if is_small and n_rows == 1 else FROM_NUMPY)
    report("The shortcut", rows)
    sizes = {"B": 1, "N": 100, "T": 1000, "dtype": "float64"}
    ours = Code("xegrad", MADE.format(**sizes), CHAIN, environment=environment)
    whole = Code(
        "numpy", WHOLE.format(**sizes), "loss, gradient = chain(W, X, labels[0])", environment=environment
    )
    of_ours, of_whole = measure(ours, whole)
    report("The chain", [Row("(1, 100, 1000) float64", of_ours, of_whole, 0.6, memory_goal=64, by="cpu")])


if __name__ == "__main__":
    main()
