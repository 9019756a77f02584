"""Every operation on double words against 90 digits: the worst error of each, as a part of its bound.

    python benchmarks/doubleword_errors.py [VALUES]

100,000 values of each operation by default, of which a sum of 37 terms counts as 37, and as many residuals of layers.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from double_words import STEPS, layer_ratios, ratios


def main(values: int) -> None:
    for step in STEPS:
        size = values // (37 if step == "total" else 1)
        worst = max(ratios(step, np.random.default_rng(2026), size))
        print(f"{step:10} {size:8,} results, worst error {worst:.3f} of its bound")
    worst = max(layer_ratios(np.random.default_rng(2026), values))
    print(f"{'residuals':10} {values:8,} results, worst error {worst:.3f} of its bound")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
