"""What each method gets right: the table in docs/numerics.md.

    python benchmarks/witnesses.py

Each cell counts the entries of dL/dW that are not finite or have lost their digits (an error of half the
value or more) against the exact ones, in one problem of that kind.
"""

from __future__ import annotations

import numpy as np

from xegrad import METHODS, Problem, Targets, compare

SEED = [[0.1, 0.2, 0.3, 0.4, 0.5], [0.6, 0.7, 0.8, 0.9, 0.1], [0.11, 0.12, 0.13, 0.14, 0.15]]


def problem(
    weights: list[list[float]],
    inputs: list[float],
    target: int | list[float],
    bias: list[float] | None = None,
) -> Problem:
    targets = (
        Targets(labels=np.array([target])) if isinstance(target, int) else Targets(soft=np.array([target]))
    )
    return Problem(
        weights=np.array(weights, dtype=float),
        inputs=np.array([inputs], dtype=float),
        targets=targets,
        bias=None if bias is None else np.array(bias),
    )


# S of logits 0.1, 0.2 and 0.3, to the last digit.
NEAR = [0.3006096053557273, 0.33222499353334728, 0.3671654011109255]

KINDS = {
    "the derivation's example": problem(SEED, [0.1, 0.5, 0.4], 2),
    "S near 1: logits 46.05, 0, -1": problem([[46.05, 0, -1]], [1], 0),
    "S underflows: logits -800, 0, -1": problem([[-800, 0, -1]], [1], 0),
    "1/S overflows: logits -740, 0, -1": problem([[-740, 0, -1]], [1], 0),
    "a soft target within rounding of S": problem([[0.1, 0.2, 0.3]], [1], NEAR),
    "a logit that cancels: (2^30 + 2)(2^30 - 2) - 2^60": problem(
        [[2.0**30 + 2, 0]], [2.0**30 - 2], 1, bias=[-(2.0**60), 0]
    ),
    "logits that overflow: 1e309, -1e309": problem([[1e308, -1e308]], [10], 1),
}


def main() -> None:
    others = [name for name in METHODS if name != "exact"]
    print("| entries without a digit | of |", " | ".join([*others, "exact"]), "|")
    print("|---|---|" + "---|" * (len(others) + 1))
    for kind, stated in KINDS.items():
        exact = METHODS["exact"].evaluate(stated)
        cells = [str(stated.weights.size)]
        for name in others:
            method = METHODS[name]
            lost = compare(exact, method.evaluate(stated), method.bound(stated)).no_correct_digit.sum()
            cells.append(str(int(lost)))
        print(f"| {kind} |", " | ".join([*cells, "0"]), "|")


if __name__ == "__main__":
    main()
