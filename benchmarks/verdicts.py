"""Verdicts on right and on wrong gradients, computed with numpy in several orders of summation.

    python benchmarks/verdicts.py [GRADIENTS]

100,000 by default.  A right one must never be called wrong; one with an entry moved by eight times its bound must
always be.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from promises import random_problem

from candidates import ORDERS, gradient
from xegrad import METHODS, bounds
from xegrad.judgement import judge
from xegrad.tolerance import Tolerance


def main(gradients: int) -> None:
    random = np.random.default_rng(2027)
    right: Counter[str] = Counter()
    moved: Counter[str] = Counter()
    for index in range(gradients // len(ORDERS)):
        dtype = ("float64", "float32")[index % 2]
        problem = random_problem(random, np.float64)
        exact = METHODS["exact"].evaluate(problem)
        tolerance = Tolerance(precision=dtype)
        bound = bounds.stable(problem, arithmetic=bounds.PRECISIONS[dtype]).gradients["weights"]
        for dot in ORDERS.values():
            candidate = gradient(problem, dtype, dot).astype(np.float64)
            right[judge(problem, exact, candidate, tolerance).outcome] += 1
            entry = tuple(random.integers(size) for size in candidate.shape)
            candidate[entry] += random.choice([-8, 8]) * bound[entry]
            moved[judge(problem, exact, candidate, tolerance).outcome] += 1
    print("right gradients:", dict(right))
    print("one entry moved by eight bounds:", dict(moved))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
