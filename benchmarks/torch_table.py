"""What PyTorch makes of every option of the loss, as a table that tests read without it.

    python benchmarks/torch_table.py

Rewrites tests/data/torch_cross_entropy.json: for each case W, x, b, label and options as a problem states them, and the
loss, the loss of each row and the four gradients.  Needs torch (the extra of that name); the same torch on the
same kind of machine writes the same bytes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from cross_entropy_table import TABLE, stated
from torch_layer import EVERY_COMBINATION, Options, draw, evaluate
from xegrad import Problem, Targets
from xegrad.vocabulary import SYMBOLS

SEED = 6
DECIMALS = 3  # of what is drawn, for a table that can be read


def cases(random: np.random.Generator) -> Iterator[tuple[str, Problem]]:
    """A name and a problem: each combination of the options once, then what deserves a case of its own."""
    for options in EVERY_COMBINATION:
        problem = draw(random, options, scale=1.0, decimals=DECIMALS)
        while not is_typical(problem, options):
            problem = draw(random, options, scale=1.0, decimals=DECIMALS)
        yield str(options), problem
    for name, given in remarkable().items():
        yield name, layer(random, given)
    yield "one-class", layer(random, targets(labels=[0, 0, 0], label_smoothing=0.1), n_classes=1)
    for name in ("labels", "soft"):
        yield f"{name}-saturated", layer(random, remarkable()[f"{name}-all-options"], scale=100.0)


def is_typical(problem: Problem, options: Options) -> bool:
    """Two rows that count and two classes at least, and a row that is ignored where some are to be."""
    kept = problem.targets.kept
    some_ignored = options.targets != "ignored" or not kept.all()
    return problem.n_classes > 1 and int(kept.sum()) > 1 and some_ignored


def remarkable() -> dict[str, Targets]:
    """Targets for three classes, named after what is remarkable about them."""
    weights = [0.5, 3.0, 1.25]
    labels, soft = [2, 0, 1], [[0.25, 0.5, 0.25], [0.0, 1.0, 0.0], [0.1, 0.2, 0.7]]
    return {
        "one-row-whose-weight-cancels": targets(labels=[1], class_weights=weights),
        "one-row-whose-weight-counts-with-smoothing": targets(
            labels=[1], class_weights=weights, label_smoothing=0.1
        ),
        "one-row-whose-weight-counts-in-the-sum": targets(labels=[1], class_weights=weights, reduction="sum"),
        "one-soft-row-whose-weights-count": targets(soft=soft[:1], class_weights=weights),
        "labels-smoothing-0": targets(labels=labels, label_smoothing=0.0),
        "labels-smoothing-1": targets(labels=labels, label_smoothing=1.0),
        "labels-weights-smoothing-1": targets(labels=labels, class_weights=weights, label_smoothing=1.0),
        "soft-smoothing-0": targets(soft=soft, label_smoothing=0.0),
        "soft-smoothing-1": targets(soft=soft, label_smoothing=1.0),
        "labels-a-weight-of-0": targets(labels=labels, class_weights=[0.0, 3.0, 1.25]),
        "labels-a-weight-of-0-smoothing": targets(
            labels=labels, class_weights=[0.0, 3.0, 1.25], label_smoothing=0.1
        ),
        "labels-weights-of-0-sum": targets(labels=labels, class_weights=[0.0, 0.0, 0.0], reduction="sum"),
        "soft-weights-of-0-mean": targets(soft=soft, class_weights=[0.0, 0.0, 0.0]),
        "minus-100-is-ignored": targets(labels=[2, -100, 1], ignore_index=-100),
        "a-class-is-ignored": targets(labels=labels, ignore_index=0, class_weights=weights),
        "ignored-rows-are-not-smoothed": targets(labels=[2, 255, 1], ignore_index=255, label_smoothing=0.1),
        "no-label-is-the-ignored-one": targets(labels=labels, ignore_index=-100),
        "all-rows-ignored-sum": targets(labels=[-100] * 3, ignore_index=-100, reduction="sum"),
        "all-rows-ignored-none": targets(labels=[-100] * 3, ignore_index=-100, reduction="none"),
        "soft-one-hot": targets(soft=np.eye(3)[labels], class_weights=weights),
        "soft-sums-to-2-and-0": targets(soft=[[1.0, 1.0, 0.0], [0.0] * 3, [0.5, 0.0, 0.5]]),
        "labels-all-options": targets(
            labels=[2, -100, 1], class_weights=weights, label_smoothing=0.1, ignore_index=-100
        ),
        "soft-all-options": targets(soft=soft, class_weights=weights, label_smoothing=0.1),
    }


def targets(**given: Any) -> Targets:
    """Targets from lists."""
    parts: dict[str, Any] = {
        k: np.array(part) if isinstance(part, list) else part for k, part in given.items()
    }
    return Targets(**parts)


def layer(random: np.random.Generator, targets: Targets, n_classes: int = 3, scale: float = 1.0) -> Problem:
    """Four inputs, and as many rows as the targets have."""
    return Problem(
        weights=(scale * random.normal(size=(4, n_classes))).round(DECIMALS),
        inputs=random.normal(size=(targets.kept.size, 4)).round(DECIMALS),
        bias=(scale * random.normal(size=n_classes)).round(DECIMALS),
        targets=targets,
    )


def row(name: str, problem: Problem) -> dict[str, Any]:
    """A line of the table.  Adding 0 turns PyTorch's -0 into 0, which says nothing."""
    computed = evaluate(problem)
    return {
        "name": name,
        **stated(problem),
        "loss": computed.loss + 0.0,
        "losses": (computed.losses + 0.0).tolist(),
        "gradients": {symbol: (computed.gradients[name] + 0.0).tolist() for name, symbol in SYMBOLS.items()},
    }


def main() -> None:
    origin = {
        "torch": torch.__version__,
        "function": "torch.nn.functional.cross_entropy(x @ W + b, label, ...) and autograd, float64, CPU",
        "loss": "after reduction; for none the sum of the losses",
        "losses": "by reduction none, whatever the case's",
        "gradients": "of loss; for b the sum over rows of that of the logits where there is no b",
        "made_by": f"benchmarks/torch_table.py, numpy.random.default_rng({SEED})",
    }
    lines = [json.dumps(row(name, problem)) for name, problem in cases(np.random.default_rng(SEED))]
    text = f'{{"origin": {json.dumps(origin)},\n"cases": [\n' + ",\n".join(lines) + "\n]}\n"
    TABLE.write_text(text, encoding="utf-8")
    print(f"{len(lines)} cases, {len(text)} bytes")


if __name__ == "__main__":
    main()
