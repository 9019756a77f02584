"""The shortcut: softmax and cross-entropy collapse to a residual.

See docs/numerics.md, section 1.4.
"""

from __future__ import annotations

from collections.abc import Sequence

from xegrad import bounds, layer
from xegrad.methods import Evaluation
from xegrad.problem import Problem


def evaluate(problem: Problem, with_respect_to: Sequence[str] = ("weights",)) -> Evaluation:
    """The loss, and dL/dZ = rowsum(Q) S - Q pulled back to each gradient."""
    forward = layer.forward(problem)
    residual = layer.residual(forward)
    gradients = {name: layer.pull_back(problem, residual, name) for name in with_respect_to}
    return Evaluation(forward.loss, forward.losses, gradients)


bound = bounds.stable
