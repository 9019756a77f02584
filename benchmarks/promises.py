"""Every float method held to its promise, against the exact values, in many random problems.

    python benchmarks/promises.py [PROBLEMS]

100,000 by default, half in float64 and half in float32: sizes, scales from 1e-3 to 1e3 and beyond, hard and
soft targets, half of them with options of the loss, with and without b.

Prints, for each method and precision, the worst ratio of an error to its bound
and how many entries exceed it, and the same for the chain against the shortcut.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from strategies import random_targets
from xegrad import METHODS, Problem, bounds

FLOATS = ("chain", "complex-step", "shortcut")


def random_problem(random: np.random.Generator, dtype: Any) -> Problem:
    rows, n_inputs, n_classes = (int(random.integers(1, most)) for most in (4, 9, 10))
    scale = 10.0 ** random.uniform(-3, 3)
    return Problem(
        weights=(scale * random.normal(size=(n_inputs, n_classes))).astype(dtype),
        inputs=random.normal(size=(rows, n_inputs)).astype(dtype),
        targets=random_targets(random, rows, n_classes),
        bias=(scale * random.normal(size=n_classes)).astype(dtype) if random.random() < 0.5 else None,
    )


def main(problems: int) -> None:
    random = np.random.default_rng(2026)
    worst: dict[tuple[str, str], float] = defaultdict(float)
    exceeded: dict[tuple[str, str], int] = defaultdict(int)
    for index in range(problems):
        dtype = np.float64 if index % 2 == 0 else np.float32
        problem = random_problem(random, dtype)
        exact = METHODS["exact"].evaluate(problem).gradients["weights"]
        gradients = {name: METHODS[name].evaluate(problem).gradients["weights"] for name in FLOATS}
        pairs = [(name, exact, METHODS[name].bound(problem).gradients["weights"]) for name in FLOATS]
        between = bounds.chain_against_shortcut(problem).gradients["weights"]
        pairs.append(("chain against shortcut", gradients["shortcut"], between))
        gradients["chain against shortcut"] = gradients["chain"]
        for name, reference, bound in pairs:
            promised = np.isfinite(bound)
            error = np.abs(gradients[name].astype(np.float64) - reference)[promised]
            ratio = float((error / bound[promised]).max(initial=0.0))
            key = name, np.dtype(dtype).name
            worst[key] = max(worst[key], ratio)
            exceeded[key] += int((error > bound[promised]).sum())
    for (name, dtype_name), ratio in sorted(worst.items()):
        print(f"{name:24}{dtype_name:10} worst ratio {ratio:.2f}   beyond {exceeded[name, dtype_name]}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
