"""What an explanation is made of: the steps of the chain, the slips that they invite, one entry followed."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from xegrad.targets import Array

# The slip that a step invites, by its identifier.
MISTAKE_AT_STEP: Mapping[str, str] = {
    "logits": "bias-wrong",
    "probabilities": "softmax-twice",
    "loss": "log-epsilon",
    "cross_entropy_jacobian": "jacobian-skipped",
    "softmax_jacobian": "jacobian-diagonal",
    "weighted_sum_jacobian": "input-missing",
    "layer_jacobian": "all-zero",
    "flat_gradient": "scrambled-reshape",
    "gradient": "scrambled-reshape",
    "shortcut": "sign-flipped",
}
WITHOUT_BIAS = "transposed"  # that of the logits, where there is no b to go wrong
STEPS = (*MISTAKE_AT_STEP, "comparison", "check")


class CommonMistake(msgspec.Struct, frozen=True, eq=False):
    """A mistake that a step invites: its identifier, what is done instead, and the numbers that come out."""

    name: str
    instead: str
    numbers: Array | None = None
    of: str = ""  # what the numbers are taken for


class Corners(msgspec.Struct, frozen=True, eq=False):
    """The first and last rows and columns of a matrix too large to be built, and the target's."""

    rows: tuple[int, ...]
    columns: tuple[int, ...]
    values: Array


class Step(msgspec.Struct, frozen=True, eq=False):
    """One factor of the chain, or one thing made of the factors."""

    name: str
    symbol: str
    rule: str  # in words
    formula: str  # in symbols
    worked: tuple[str, ...]  # in the problem's own numbers
    shape: tuple[int, ...] = ()
    value: Array | None = None  # None where there is none, or where it is beyond the budget
    corners: Corners | None = None  # then these
    structure: str = ""  # which parts of a matrix are zero, and why
    noise: NDArray[np.bool_] | None = None  # entries of which only rounding is left
    lost: str = ""  # what floats lose here
    slip: CommonMistake | None = None


class WorkedEntry(msgspec.Struct, frozen=True, eq=False):
    """One entry of dL/dW, followed through every factor."""

    input: int
    class_: int
    factors: tuple[str, ...]  # each as a worked line
    lines: tuple[str, ...]  # the sum over t with Q_t != 0
    chain: float
    shortcut: float
    exact: float | None
