"""What `descend --json` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from xegrad.descent import Descent, accuracy
from xegrad.problem import Layout


class DescendResult(msgspec.Struct):
    """What `descend --json` prints."""

    schema: str
    id: Any | UnsetType
    loss_before: float
    loss_after: float
    losses: list[float]
    steps: int
    converged: bool
    W: list[list[float]]
    b: list[float] | None
    gradient_norm: float | None
    interrupted: bool
    diverged_at: int | None
    right_before: float | None  # the share of the labelled rows whose likeliest class is the label
    right_after: float | None
    warnings: list[str]


def descend_result(
    descent: Descent, layout: Layout, *, id: Any = UNSET, warnings: Sequence[str] = ()
) -> DescendResult:
    """A descent as data; W in its own layout."""
    end, norm = descent.end, descent.gradient_norm
    notes = [] if np.isfinite(norm) else ["gradient_norm is null: it is not finite"]
    if descent.diverged_at is not None:
        notes.append(
            f"step {descent.diverged_at} was not taken: the loss would grow past the start, or overflow"
        )
    return DescendResult(
        schema="xegrad/descend/1",
        id=id,
        loss_before=descent.losses[0],
        loss_after=descent.losses[-1],
        losses=list(descent.losses),
        steps=descent.steps,
        converged=descent.converged,
        W=layout.of("weights", end.weights).tolist(),
        b=None if end.bias is None else end.bias.tolist(),
        gradient_norm=norm if np.isfinite(norm) else None,
        interrupted=descent.interrupted,
        diverged_at=descent.diverged_at,
        right_before=accuracy(descent.start),
        right_after=accuracy(end),
        warnings=[*warnings, *notes],
    )
