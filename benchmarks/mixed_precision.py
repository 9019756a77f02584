"""Verdicts on gradients of mixed precision, recipe by recipe: right ones of any size, and mistakes at three sizes.

    python benchmarks/mixed_precision.py [PROBLEMS]

1,000 problems a recipe by default, of 1 to 64 rows, 4 to 512 inputs and 2 to 1,000 classes, as tests/mixed.py
emulates the recipe in numpy; where torch is installed, 400 also by torch itself.  None may be called wrong, but for a
loss that is not finite: torch's sum over the classes, of smoothing, overflows in float16.

Then the table of docs/recipes.md: the outcomes of right gradients of W, and how many of each mistake are caught.
"""

from __future__ import annotations

import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from mixed import BY_TORCH, EMULATED, MISTAKES, Candidate, random_problem, reference
from xegrad import Problem
from xegrad.judgement import DIGITS_LOST, RIGHT, UNDECIDED, WRONG, judge
from xegrad.recipes import HALF
from xegrad.tolerance import Tolerance

SIZES = {
    (8, 16, 10): 200,
    (64, 256, 100): 50,
    (256, 1024, 1000): 10,
}  # rows, inputs, classes: how many problems
NAMES = ("weights", "bias", "inputs", "loss")


def any_size(random: np.random.Generator, weighted: bool) -> Problem:
    ranges = ((1, 64), (4, 512), (2, 1000))
    sizes = (int(np.exp(random.uniform(np.log(least), np.log(most + 1)))) for least, most in ranges)
    return random_problem(random, *sizes, weighted=weighted)


def right_ones(table: dict[str, Candidate], problems: int, title: str) -> None:
    random = np.random.default_rng(2028)
    outcomes: dict[str, Counter[str]] = {}
    worst: dict[str, float] = {}
    for _ in range(problems):
        problem = any_size(random, weighted=table is BY_TORCH)
        exactly, rounding = reference(problem)
        for pattern, make in table.items():
            for short, half in HALF.items():
                recipe, found = pattern.format(short), make(problem, half)
                for name in (name for name in NAMES if name in rounding and name in found):
                    judged = judge(
                        problem, exactly, found[name], Tolerance.of_recipe(recipe), rounding[name], name
                    )
                    finite = bool(np.isfinite(found[name]).all())
                    outcome = judged.outcome if finite else "not finite"
                    outcomes.setdefault(recipe, Counter())[outcome] += 1
                    against = judged.comparison
                    known = np.isfinite(against.bound) & (against.bound > 0) & np.isfinite(against.difference)
                    ratio = np.abs(against.difference[known]) / against.bound[known]
                    worst[recipe] = max(worst.get(recipe, 0.0), float(ratio.max(initial=0.0)))
    print(f"{title}, {problems} problems; the worst error is so much of its bound")
    for recipe, counts in outcomes.items():
        print(f"{recipe:20} {worst[recipe]:.2f}  {dict(counts)}")


def at_sizes() -> None:
    print("| recipe | B x N x T | right | digits-lost | undecided | " + " | ".join(MISTAKES) + " |")
    for pattern, make in EMULATED.items():
        for short, half in HALF.items():
            recipe = pattern.format(short)
            for sizes, problems in SIZES.items():
                row = shares(recipe, make, half, sizes, problems)
                print(f"| `{recipe}` | {' x '.join(map(str, sizes))} | {' | '.join(row)} |")


def shares(recipe: str, make: Candidate, half: str, sizes: Any, problems: int) -> list[str]:
    """In percent: each outcome of right gradients, and of each mistake how many are wrong."""
    random = np.random.default_rng(2029)
    right: Counter[str] = Counter()
    caught: Counter[str] = Counter()
    tolerance = Tolerance.of_recipe(recipe)
    for _ in range(problems):
        problem = random_problem(random, *sizes, options=False)
        exactly, rounding = reference(problem)

        def outcome(weights: Any) -> str:
            return judge(problem, exactly, weights, tolerance, rounding["weights"]).outcome  # noqa: B023

        def weights(one: Problem) -> Any:
            return make(one, half)["weights"]

        right[outcome(weights(problem))] += 1
        for name, mistake in MISTAKES.items():
            caught[name] += outcome(mistake(problem, weights)) == WRONG
    assert right[WRONG] == 0, recipe
    counts = [right[one] for one in (RIGHT, DIGITS_LOST, UNDECIDED)] + [caught[name] for name in MISTAKES]
    return [f"{100 * count / problems:.0f} %" for count in counts]


def main(problems: int) -> None:
    at_sizes()
    right_ones(EMULATED, problems, "emulated in numpy")
    if find_spec("torch") is not None:
        right_ones(BY_TORCH, problems * 2 // 5, "by torch")
    else:
        print("by torch: left out, since torch is not installed")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
