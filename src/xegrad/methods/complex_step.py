"""The complex step: the imaginary part of the loss at z + ih is h times its derivative.

Squire and Trapp, Using complex variables to estimate derivatives of real functions, SIAM Review 40
(1998) 110-112.  No difference is taken, so h can be small, and the loss is written so that a saturated
class keeps its digits.

See docs/numerics.md, section 6.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xegrad import bounds, layer, progress
from xegrad.methods import Evaluation
from xegrad.problem import Problem
from xegrad.targets import Array

# Im f(z + ih) = h f' - h^3 f''' / 6, and |f'''| <= |f'| for log sum exp in each logit: the relative error
# is h^2 / 6 < 2^-62, and h S underflows only where S is nearly subnormal.
STEP = 2.0**-30
MEMORY_BUDGET = 32 * 2**20  # bytes for the moved logits that exist at a time


def memory(problem: Problem) -> int:
    """The bytes that are held at a time: a few arrays like the logits, and a block of moved ones with what is made of
    it: how far they are from the largest, and exponentials."""
    return 4 * problem.nbytes_of(["logits"]) + 3 * MEMORY_BUDGET + MEMORY_BUDGET // 8


def work(n_rows: int, n_inputs: int, n_classes: int, n_problems: int = 1) -> float:
    """An estimate of the seconds that the loss and dL/dW take (benchmarks/estimates.py)."""
    products = 0.1e-9 * n_rows * n_inputs * n_classes + 1.3e-9 * n_inputs * (n_rows + n_classes)
    return 50e-6 + n_problems * (n_rows * (40e-6 + 19e-9 * n_classes**2) + products)


bound = partial(bounds.complex_step, step=STEP)


@np.errstate(all="ignore")
def evaluate(problem: Problem, with_respect_to: Sequence[str]) -> Evaluation:
    """The loss in real arithmetic, and dL/dZ from one loss for each logit moved by ih, pulled back."""
    bias = 0 if problem.bias is None else problem.bias[..., None, :]
    logits = problem.inputs @ problem.weights + bias
    targets = problem.targets.effective(problem.n_classes, problem.dtype)
    losses, residual = np.zeros(logits.shape[:-1]), np.zeros_like(logits)
    for row in progress.track(list(np.ndindex(logits.shape[:-1])), "complex step"):
        largest = int(logits[row].argmax())
        losses[row] = loss(logits[row], targets[row], largest)
        residual[row] = _derivatives(logits[row], targets[row], largest)
    gradients = {name: layer.pull_back(problem, residual, name) for name in with_respect_to}
    return Evaluation(losses.sum(axis=-1), losses, gradients)


def loss(logits: NDArray[Any], targets: Array, largest: int) -> Any:
    """sum_c Q_c log(sum_k exp(z_k - z_c)) for logits (..., T), real or complex.

    = q log1p(sum_{k != m} exp(z_k - z_m)) + sum_{c != m} Q_c (z_m - z_c), m the largest in its real part.
    """
    others = np.arange(len(targets)) != largest
    from_largest = logits[..., others] - logits[..., largest, None]
    return targets.sum() * np.log1p(np.exp(from_largest).sum(axis=-1)) - (targets[others] * from_largest).sum(
        axis=-1
    )


def _derivatives(logits: Array, targets: Array, largest: int) -> Array:
    """dL/dz of one row, (T,): block by block, the imaginary parts of the losses with one logit moved."""
    n_classes = len(logits)
    step = 1j * logits.dtype.type(STEP)
    block = max(1, MEMORY_BUDGET // (2 * logits.itemsize * n_classes))
    derivatives = np.empty_like(logits)
    for start in range(0, n_classes, block):
        classes = slice(start, start + block)
        moved = logits + step * (np.arange(n_classes)[classes, None] == np.arange(n_classes))
        derivatives[classes] = loss(moved, targets, largest).imag / STEP
    return derivatives
