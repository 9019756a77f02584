"""The exact method at the size of a kernel, against PyTorch's float64, and a stack of small problems.

    python benchmarks/exact_speed.py [PYTHON]

PYTHON is one that has torch, by default this one or XEGRAD_TORCH.  One thread each, in CPU time.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator

import numpy as np
from side_by_side import Code, Row, measure, report

from xegrad import METHODS, Problem, Targets
from xegrad.methods.exact import work

ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
TORCH = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("XEGRAD_TORCH", sys.executable)

NUMBERS = """
import numpy as np
random = np.random.default_rng(0)
def numbers(*shape):
    values = random.normal(size=shape)
    if {precision!r} == "float64":
        return values
    bits = values.astype(np.float32).view(np.uint32)
    if {precision!r} == "bfloat16":
        bits &= 0xFFFF0000
    return bits.view(np.float32)
B, N, T = {sizes}
W, X, labels = 2 * N**-0.5 * numbers(N, T), numbers(B, N), random.integers(0, T, size=B)
W = W.astype(X.dtype)
if {precision!r} == "bfloat16":
    W.view(np.uint32)[...] &= 0xFFFF0000
"""
OURS = """
from xegrad import METHODS, Problem, Targets
problem = Problem(W, X, Targets(labels=labels))
del W, X
exact = METHODS["exact"].evaluate
"""
# What is not certified would be an answer to another question.
EVALUATED = """
evaluation = None
evaluation = exact(problem)
assert all(np.all(certain) for certain in evaluation.certified.values())
"""
PEER = """
import torch
torch.set_num_threads(1)
W, X, labels = (torch.from_numpy(a) for a in (W.astype(float), X.astype(float), labels))
W.requires_grad_(True)
"""
DIFFERENTIATED = """
W.grad = None
torch.nn.functional.cross_entropy(X @ W, labels).backward()
"""
STACK = """
import numpy as np
from xegrad import METHODS, Problem, Targets
random = np.random.default_rng(0)
W, X = random.normal(size=(10_000, 3, 5)), random.normal(size=(10_000, 1, 3))
stack = Problem(W, X, Targets(labels=random.integers(0, 5, (10_000, 1))))
problems = [*stack.at(slice(100)).unstacked()]
exact = METHODS["exact"].evaluate
"""


def kernel_sized() -> Iterator[Row]:
    """dL/dW, the inputs float64, float32, and float32 that holds bfloat16 values."""
    for sizes, precision, goal, memory_goal in (
        ((512, 1024, 8192), "float64", 10, 256),
        ((512, 1024, 8192), "float32", 7.5, 256),
        ((512, 1024, 8192), "bfloat16", 5, 256),
        ((1, 4096, 32000), "float64", 6, None),
        ((1, 4096, 32000), "float32", 6, None),
    ):
        numbers = NUMBERS.format(sizes=sizes, precision=precision)
        ours = Code("exact", numbers + OURS, EVALUATED, environment=ONE_THREAD)
        peer = Code("torch float64", numbers + PEER, DIFFERENTIATED, TORCH, ONE_THREAD)
        exact, torch = measure(ours, peer)
        yield Row(f"dL/dW at {sizes}, {precision} values", exact, torch, goal, memory_goal, "cpu")


def stacked() -> Row:
    """10,000 of the smallest, at most 3 us each, where one alone took 462 us when the goal was set."""
    ours = Code("stacked", STACK, "exact(stack)", environment=ONE_THREAD)
    peer = Code("100 alone", STACK, "[exact(problem) for problem in problems]", environment=ONE_THREAD)
    stack, alone = measure(ours, peer)
    name = f"10,000 of (1, 3, 5): {1e6 * stack.cpu / 10_000:.1f} us each"
    return Row(name, stack, alone, round(10_000 * 3 / (100 * 462), 2), by="cpu")


def estimates() -> None:
    """The time beside the estimate, by which `compute` decides."""
    random = np.random.default_rng(0)
    for n_rows, n_inputs, n_classes in ((1, 3, 5), (1, 20, 20), (1, 100, 100), (1, 100, 1000), (64, 784, 10)):
        problem = Problem(
            random.normal(size=(n_inputs, n_classes)),
            random.normal(size=(n_rows, n_inputs)),
            Targets(labels=random.integers(0, n_classes, size=n_rows)),
        )
        METHODS["exact"].evaluate(problem)
        times = []
        for _ in range(5):
            start = time.perf_counter()
            METHODS["exact"].evaluate(problem)
            times.append(time.perf_counter() - start)
        estimate = work(n_rows, n_inputs, n_classes)
        print(
            f"({n_rows}, {n_inputs}, {n_classes}): {1000 * min(times):.2f} ms, estimate {1000 * estimate:.2f} ms"
        )


def main() -> None:
    estimates()
    report("Exact", [*kernel_sized(), stacked()])


if __name__ == "__main__":
    main()
