"""What `explain --json` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from xegrad.explanation import Explanation
from xegrad.formats.results import RowsOrNumbers
from xegrad.problem import Layout
from xegrad.vocabulary import CHAIN

ExplainResult = msgspec.defstruct(
    "ExplainResult",
    [
        ("schema", str),
        ("id", Any | UnsetType),
        ("row", int | UnsetType),
        *((name, float | RowsOrNumbers | UnsetType | None) for name in (*CHAIN, "scrambled_gradient")),
        ("warnings", list[str]),
    ],
    namespace={
        "__doc__": "What `explain --json` prints: every factor of one row's chain, null where too large."
    },
)


def explain_result(
    explanation: Explanation,
    layout: Layout,
    *,
    id: Any = UNSET,
    warnings: Sequence[str] = (),
) -> msgspec.Struct:
    """Every array by its name; null where one is too large, or a number is not finite."""
    arrays: dict[str, Any] = {}
    notes = list(warnings)
    for name, array in explanation.arrays.items():
        if array is None:
            size = " x ".join(map(str, explanation[name].shape))
            notes.append(f"{name} is null: {size} numbers are too many")
            arrays[name] = None
        else:
            if not np.isfinite(array).all():
                broken = int((~np.isfinite(array)).sum())
                notes.append(f"{name} holds null: {broken} of {array.size} are not finite")
            turned = array.T if layout.transpose and name in ("gradient", "scrambled_gradient") else array
            arrays[name] = (turned + 0.0).tolist()
    row = explanation.row if explanation.problem.n_rows > 1 else UNSET
    return ExplainResult(schema="xegrad/explain/1", id=id, row=row, warnings=notes, **arrays)
