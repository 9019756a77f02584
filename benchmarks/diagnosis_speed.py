"""How long a diagnosis takes: of small wrong gradients, and of a million entries as a multiple of the check.

    python benchmarks/diagnosis_speed.py [--rounds ROUNDS] [SOURCE_TREE [SECOND_SOURCE_TREE]]

A source tree is a folder with `src/xegrad`; the one that holds this file by default.  Of two trees each is measured in
processes of its own, in turn, and the ratio of the second to the first is printed.  Times are processor time of one
thread, and of each problem the shortest of the rounds, so that other work on the machine counts little.

Small: 100 random problems with N, T and B up to 7 (tests/mistakes.py), of which the gradient is noise, so that every
slip and every pair is tried.  Goals: 50 ms for the problem of the README, and for a million entries at most ten times
the check.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

PROBLEMS = 100
LARGE = ((1000, 1000), (10, 100_000))
Times = dict[str, float]  # seconds by what is measured


def shortest(problem: Any, call: Callable[[Any], object], calls: int = 2) -> float:
    """The seconds of the quickest of the calls, each on a problem of which nothing has been computed yet.

    The first also pays for what is imported.
    """
    from msgspec.structs import replace

    times = []
    for _ in range(calls):
        fresh = replace(problem)
        start = time.process_time()
        call(fresh)
        times.append(time.process_time() - start)
    return min(times)


def small() -> Times:
    from mistakes import mild_problem
    from xegrad import METHODS, diagnose

    random = np.random.default_rng(2030)
    times = {}
    for index in range(PROBLEMS):
        problem = mild_problem(random)
        exact = METHODS["exact"].evaluate(problem)
        noise = random.normal(size=problem.weights.shape)
        times[f"small {index}"] = shortest(problem, lambda fresh: diagnose(fresh, exact, noise))  # noqa: B023
    return times


def large() -> Times:
    """The check and five diagnoses of each large W; the shortcut stands for the exact gradient."""
    from msgspec.structs import replace

    from xegrad import METHODS, Problem, Targets, Tolerance, diagnose, judge

    random = np.random.default_rng(3)
    times = {}
    for n_inputs, n_classes in LARGE:
        problem = Problem(
            random.normal(size=(n_inputs, n_classes)) / np.sqrt(n_inputs),
            random.normal(size=(1, n_inputs)),
            Targets(labels=np.array([3])),
        )
        shortcut = METHODS["shortcut"].evaluate(problem)
        gradient = shortcut.gradients["weights"]
        certified = replace(shortcut, certified={"weights": np.array(True)})
        moved = gradient.copy()
        moved[2, 1] += 1
        size = f"{n_inputs} x {n_classes}"
        times[f"{size}, check"] = shortest(
            problem,
            lambda fresh: judge(fresh, certified, -gradient, Tolerance()),  # noqa: B023
            calls=5,
        )
        for name, candidate in {
            "sign flipped": -gradient,
            "scaled": 2.5 * gradient,
            "weight decay and sign": 0.01 * problem.weights - gradient,
            "one entry moved": moved,
            "noise": random.normal(size=gradient.shape),
        }.items():
            times[f"{size}, {name}"] = shortest(
                problem,
                lambda fresh: diagnose(fresh, certified, candidate),  # noqa: B023
            )
    return times


def measured(tree: Path) -> Times:
    """What a process of its own measures of the package in a source tree."""
    one_thread = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
    environment = {**os.environ, **one_thread, "PYTHONPATH": str(tree / "src")}
    command = [sys.executable, __file__, "--measure", str(tree)]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    times: Times = json.loads(done.stdout)
    return times


def summary(times: Times) -> Times:
    """The lines that are printed: milliseconds of the small ones, and multiples of the check of the large."""
    of_small = [1e3 * time for name, time in times.items() if name.startswith("small")]
    lines = {"small, median, ms": statistics.median(of_small), "small, slowest, ms": max(of_small)}
    for n_inputs, n_classes in LARGE:
        size = f"{n_inputs} x {n_classes}"
        check = times[f"{size}, check"]
        lines[f"{size}, check, ms"] = 1e3 * check
        multiples = {
            f"{name}, times the check": time / check
            for name, time in times.items()
            if name.startswith(f"{size}, ") and not name.endswith("check")
        }
        lines |= multiples
        lines[f"{size}, slowest, times the check"] = max(multiples.values())
        lines[f"{size}, slowest, ms"] = 1e3 * check * max(multiples.values())
    return lines


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("trees", nargs="*", type=Path, default=[Path(__file__).parent.parent])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", action="store_true", help="print the times of one tree as JSON")
    options = parser.parse_args()
    trees = [tree.resolve() for tree in options.trees]
    if options.measure:
        import xegrad

        assert Path(xegrad.__file__).is_relative_to(trees[0]), xegrad.__file__
        print(json.dumps(small() | large()))
        return
    rounds: list[list[Times]] = [[] for _ in trees]
    for _ in range(options.rounds):
        for times_of_tree, tree in zip(rounds, trees, strict=True):
            times_of_tree.append(measured(tree))
    columns = [
        summary({name: min(times[name] for times in of_tree) for name in of_tree[0]}) for of_tree in rounds
    ]
    print(f"{'':46}" + "".join(f"{name:>12}" for name in ("first", "second", "ratio")[: 2 * len(trees) - 1]))
    for name, first in columns[0].items():
        row = [first, *(column[name] for column in columns[1:])]
        row += [second / first for second in row[1:]]
        print(f"{name:46}" + "".join(f"{number:12.2f}" for number in row))


if __name__ == "__main__":
    main()
