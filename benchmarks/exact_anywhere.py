"""Are the certified values of the exact method the same on each kernel of OpenBLAS, with one thread and with two?

    python benchmarks/exact_anywhere.py

Each in a process of its own; a kernel that this processor does not have is replaced by one that it has.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

KERNELS = ("Prescott", "Nehalem", "Sandybridge", "Haswell", "SkylakeX")
SIZES = ((64, 784, 10), (200, 300, 1000), (512, 256, 2000), (1, 2000, 3000))
NAMES = ("weights", "inputs", "bias", "logits")

CHILD = """
import sys
import numpy as np
from xegrad import METHODS, Problem, Targets
random, arrays = np.random.default_rng(0), {{}}
for size in {sizes}:
    (B, N, T), peaked = size, random.normal(size=size[2])
    W, b = random.normal(size=(N, T)) / N**0.5 * np.exp(peaked), random.normal(size=T)
    problem = Problem(W, random.normal(size=(B, N)), Targets(labels=random.integers(0, T, size=B)), bias=b)
    evaluation = METHODS["exact"].evaluate(problem, {names})
    for name, values in evaluation.gradients.items():
        arrays[f"{{name}} {{size}}"] = values
        arrays[f"certified {{name}} {{size}}"] = evaluation.certified[name]
np.savez(sys.argv[1], **arrays)
"""


def main() -> None:
    source = CHILD.format(sizes=SIZES, names=NAMES)
    machines = [(kernel, threads) for kernel in KERNELS for threads in "12"]
    computed = {}
    with tempfile.TemporaryDirectory() as folder:
        for kernel, threads in machines:
            path = Path(folder, f"{kernel}{threads}.npz")
            environment = {"OPENBLAS_CORETYPE": kernel, "OPENBLAS_NUM_THREADS": threads}
            subprocess.run(
                [sys.executable, "-c", source, path], env={**os.environ, **environment}, check=True
            )
            computed[kernel, threads] = dict(np.load(path))
    first = computed[machines[0]]
    for machine, arrays in computed.items():
        n_values = n_certified = n_different = 0
        for key in first:
            if not key.startswith("certified"):
                certified = arrays[f"certified {key}"]
                both = certified & first[f"certified {key}"]
                n_values, n_certified = n_values + certified.size, n_certified + int(certified.sum())
                n_different += int((arrays[key] != first[key])[both].sum())
        print(f"{machine}: {n_certified:,} of {n_values:,} certified, {n_different} of them different")


if __name__ == "__main__":
    main()
