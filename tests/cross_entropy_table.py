"""The table of what PyTorch makes of every option of the loss: how a problem stands in it, and is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from xegrad import Problem, Targets

TABLE = Path(__file__).parent / "data" / "torch_cross_entropy.json"
OPTIONS = ("class_weights", "label_smoothing", "ignore_index", "reduction")


def stated(problem: Problem) -> dict[str, Any]:
    """W, x, b, label and the options, by the keys of a problem in JSON; what is not given is left out."""
    targets = problem.targets
    parts: dict[str, Any] = {"W": problem.weights, "x": problem.inputs, "b": problem.bias}
    parts["label"] = targets.labels if targets.soft is None else targets.soft
    parts |= {name: getattr(targets, name) for name in OPTIONS}
    return {
        key: part.tolist() if isinstance(part, np.ndarray) else part
        for key, part in parts.items()
        if part is not None
    }


def read() -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Where the table is from, and its cases."""
    table = json.loads(TABLE.read_text(encoding="utf-8"))
    return table["origin"], table["cases"]


def problem_of(case: dict[str, Any]) -> Problem:
    """The problem that `stated` wrote."""
    label = np.array(case["label"])
    options = {name: case[name] for name in OPTIONS if name in case}
    return Problem(
        weights=np.array(case["W"]),
        inputs=np.array(case["x"]),
        bias=np.array(case["b"]) if "b" in case else None,
        targets=Targets(labels=label, **options) if label.ndim == 1 else Targets(soft=label, **options),
    )
