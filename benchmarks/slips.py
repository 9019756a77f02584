"""Which slip is named for which mistake, and how often a wrong gradient that is no slip is given a name.

    python benchmarks/slips.py [PROBLEMS [WRONG]] > docs/slips-confusion.md

200 problems and 10,000 wrong gradients by default.  The mistakes are made in plain numpy (tests/mistakes.py).
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from mistakes import MISTAKES, PAIRS, independent_numbers, mild_problem, no_slip, plain
from xegrad import METHODS, SLIPS, Problem, diagnose
from xegrad.diagnosis import Diagnosis
from xegrad.judgement import RIGHT, judge
from xegrad.tolerance import Tolerance

NOT_TO_BE_SEEN = "no difference on this problem"


def matrix(problems: int) -> tuple[dict[str, Counter[str]], Counter[str], list[float]]:
    """For each mistake how often it was named, what else was, and the milliseconds of each diagnosis."""
    random = np.random.default_rng(2028)
    named: dict[str, Counter[str]] = {}
    seen: Counter[str] = Counter()
    milliseconds = []
    wanted: dict[str, Any] = {**MISTAKES}
    wanted |= {" + ".join(pair): (maker,) for pair, maker in PAIRS.items()}
    for _ in range(problems):
        problem = mild_problem(random)
        exact = METHODS["exact"].evaluate(problem)
        for name, makers in wanted.items():
            for make in makers:
                candidate = make(plain(problem), random)
                row = named.setdefault(name, Counter())
                same_shape = candidate.shape == problem.weights.shape
                if same_shape and judge(problem, exact, candidate, Tolerance()).outcome == RIGHT:
                    row[NOT_TO_BE_SEEN] += 1
                    continue
                start = time.process_time()
                diagnosis = diagnose(problem, exact, candidate)
                milliseconds.append(1e3 * (time.process_time() - start))
                seen[name] += 1
                row[_outcome(name, diagnosis, problem)] += 1
    return named, seen, milliseconds


def _outcome(name: str, diagnosis: Diagnosis, problem: Problem) -> str:
    names = [" + ".join(slips) for slips in diagnosis.names]
    wanted = set(name.split(" + "))
    for found in names:
        if set(found.split(" + ")) == wanted:
            return name if len(names) == 1 else f"{name}, and what coincides"
    if not names:
        free = any(SLIPS[part].free for part in name.split(" + ")) or "low-precision" in name
        few = independent_numbers(problem) < 2 and free
        return "no name: one number, and one is free" if few else "no name"
    return names[0]


def false_names(wrong: int) -> Counter[str]:
    """What was named though it is no slip."""
    random = np.random.default_rng(2029)
    found: Counter[str] = Counter()
    for _ in range(wrong):
        problem = mild_problem(random)
        exact = METHODS["exact"].evaluate(problem)
        kind, candidate = no_slip(problem, random)
        for names in diagnose(problem, exact, candidate).names[:1]:
            found[f"{' + '.join(names)}, of {kind}"] += 1
    return found


def main(problems: int, wrong: int) -> None:
    named, seen, milliseconds = matrix(problems)
    print("# Which slip is named for which mistake\n")
    print(
        "Made by `python benchmarks/slips.py > docs/slips-confusion.md`. The mistakes are made in plain numpy"
    )
    print(
        f"on {problems} random problems (N 1 to 6, T 2 to 7, B 1 to 6, hard and soft targets, options, with and"
    )
    print("without b); the names come from `diagnose`.\n")
    print("| mistake made | wrong | named | what was said |")
    print("|---|---|---|---|")
    total = right = 0
    for name, row in named.items():
        hits = sum(count for said, count in row.items() if said.split(",")[0] == name)
        total, right = total + seen[name], right + hits
        said = "; ".join(f"{what}: {count}" for what, count in row.most_common() if what != name)
        print(f"| {name} | {seen[name]} | {hits} | {said} |")
    print(f"\nNamed: {right} of {total}. A slip that makes no difference on a problem is not in the count.\n")
    middle, last = np.quantile(milliseconds, [0.5, 0.99])
    print(f"One diagnosis: {middle:.1f} ms in the middle, {last:.1f} ms in the slowest of a hundred.\n")
    found = false_names(wrong)
    print(f"## Wrong gradients that are no slip\n\n{found.total()} of {wrong} were given a name.\n")
    for what, count in found.most_common():
        print(f"- {what}: {count}")


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]]
    main(*(numbers + [200, 10_000][len(numbers) :]))
