"""How long the exact method takes, from the size of the derivation's problem to 100 inputs and 1000 classes.

    python benchmarks/exact_speed.py

Goals: 1 ms and 0.3 s.  `compute` decides by the estimate.
"""

from __future__ import annotations

import time

import numpy as np

from xegrad import METHODS, Problem, Targets
from xegrad.methods.exact import work


def main() -> None:
    random = np.random.default_rng(0)
    for n_inputs, n_classes in ((3, 5), (20, 20), (100, 100), (100, 1000)):
        problem = Problem(
            random.normal(size=(n_inputs, n_classes)),
            random.normal(size=(1, n_inputs)),
            Targets(labels=np.array([2])),
        )
        METHODS["exact"].evaluate(problem)
        times = []
        for _ in range(5):
            start = time.perf_counter()
            METHODS["exact"].evaluate(problem)
            times.append(time.perf_counter() - start)
        estimate = work(1, n_inputs, n_classes)
        print(
            f"N={n_inputs:4} T={n_classes:5} {1000 * min(times):9.2f} ms   estimate {1000 * estimate:9.2f} ms"
        )


if __name__ == "__main__":
    main()
