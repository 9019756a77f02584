"""The loss and the gradients by mpmath, to hundreds of bits: what the tests compare with.

With E = exp(Z) of a row, dL/dZ_i = sum_k (Q_k E_i - Q_i E_k) / sum_k E_k: the k = i term vanishes by
itself, so nothing is lost when a probability is near one.
"""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np

from xegrad import Problem

PRECISION = 400  # bits: products of the floats that tests draw are exact, and so are their sums
# Beside 1, the smallest probability that they draw is exp(-5000), of 7200 bits.
HIGHEST = 8000


def exact(problem: Problem, precision: int = PRECISION) -> dict[str, Any]:
    """The loss as a number, and each gradient as rows of numbers, all mpf."""
    with mpmath.workprec(precision):
        weights = _numbers(problem.weights)
        inputs = _numbers(problem.inputs)
        bias = [mpmath.mpf(0)] * problem.n_classes if problem.bias is None else _numbers(problem.bias)
        targets = effective_targets(problem)
        classes = range(problem.n_classes)
        loss = mpmath.mpf(0)
        residuals = []
        for row, target in zip(inputs, targets, strict=True):
            logits = [
                mpmath.fdot(zip(row, (line[i] for line in weights), strict=True)) + bias[i] for i in classes
            ]
            largest = max(logits)
            powers = [mpmath.exp(logit - largest) for logit in logits]
            total = mpmath.fsum(powers)
            others = mpmath.fsum(power for i, power in enumerate(powers) if i != logits.index(largest))
            loss += mpmath.fsum(target[i] * (_log1p(others) + (largest - logits[i])) for i in classes)
            residuals.append(
                [
                    mpmath.fsum(target[k] * powers[i] - target[i] * powers[k] for k in classes) / total
                    for i in classes
                ]
            )
        columns = range(problem.n_inputs)
        rows = range(problem.n_rows)
        return {
            "loss": loss,
            "logits": residuals,
            "bias": [mpmath.fsum(residuals[b][i] for b in rows) for i in classes],
            "weights": [
                [mpmath.fsum(inputs[b][j] * residuals[b][i] for b in rows) for i in classes] for j in columns
            ],
            "inputs": [
                [mpmath.fsum(weights[j][i] * residuals[b][i] for i in classes) for j in columns] for b in rows
            ],
        }


def effective_targets(problem: Problem) -> Any:
    """Q, as PyTorch's documentation of CrossEntropyLoss has it, by rows."""
    options, classes = problem.targets, range(problem.n_classes)
    eps = mpmath.mpf(options.label_smoothing)
    weights = [mpmath.mpf(1)] * problem.n_classes
    if options.class_weights is not None:
        weights = _numbers(options.class_weights)
    if options.soft is not None:
        rows, divisor = _numbers(options.soft), mpmath.mpf(problem.n_rows)
    else:
        assert options.labels is not None
        rows, divisor = [], mpmath.mpf(0)
        for label in options.labels.tolist():
            if label == options.ignore_index:
                rows.append(None)
            else:
                rows.append([mpmath.mpf(int(t == label)) for t in classes])
                divisor += weights[label]
    if options.reduction != "mean":
        divisor = mpmath.mpf(1)
    return [
        [
            mpmath.mpf(0)
            if row is None
            else weights[t] * ((1 - eps) * row[t] + eps / problem.n_classes) / divisor
            for t in classes
        ]
        for row in rows
    ]


def _log1p(number: Any) -> Any:
    # mpmath's own works with twice the bits where the number is tiny; a series is enough below 2**-200.
    return number - number * number / 2 if number < mpmath.mpf(2) ** -200 else mpmath.log(1 + number)


def _numbers(array: Any) -> Any:
    """mpf in the shape of the array: every float is taken exactly."""
    if isinstance(array, np.ndarray) and array.ndim:
        return [_numbers(part) for part in array]
    return mpmath.mpf(float(array))


Words = tuple[Any, Any]


def words(exact_values: Any) -> Words:
    """The nearest float to each exact value, and what is beyond it, in the shape of its rows."""
    numbers = np.array(exact_values, dtype=object)
    high = np.reshape([float(number) for number in numbers.flat], numbers.shape)
    low = [
        float(number - nearest) if np.isfinite(nearest) else 0.0
        for number, nearest in zip(numbers.flat, high.flat, strict=True)
    ]
    return high, np.reshape(low, numbers.shape)


def misses(exact_values: Words, computed: Any, bound: Any) -> Any:
    """Which computed values are further from the exact ones than they may be, where there is a bound.

    The difference of the nearest floats is exact up to a factor of two and rounded once beyond it, so the distance is
    right to a unit of its own last place or two.
    """
    high, low = exact_values
    computed, bound = np.asarray(computed, dtype=np.float64), np.asarray(bound)
    with np.errstate(all="ignore"):
        distance = np.abs((computed - high) - low)
    return np.isfinite(bound) & ~(distance <= bound)
