"""Problems as hypothesis draws them: mild, saturated, underflowing, tied, padded, of one class or of many."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from hypothesis import strategies as st

from xegrad import Problem, Targets
from xegrad.vocabulary import REDUCTIONS

# What becomes of the inputs: rows as drawn, one of zeros, all the same, or the last ones zeros that do not count.
ROWS = ["any", "zero", "equal", "padding"]

# Scales of W and b: logits near one, saturated, underflowing (beyond -745), and tiny.
SCALES = [1e-8, 0.1, 1.0, 30.0, 400.0, 1500.0]


@cache  # hypothesis looks through a strategy once, not at each draw
def numbers(scale: float) -> st.SearchStrategy[float]:
    """Short decimals, so that ties and exact zeros are common, and any float between."""
    return st.one_of(
        st.integers(-10, 10).map(lambda tenths: scale * tenths / 10),
        st.floats(-scale, scale, allow_subnormal=False).filter(lambda x: x == 0 or abs(x) > 1e-30),
    )


@st.composite
def problems(draw: st.DrawFn, dtypes: tuple[Any, ...] = (np.float64, np.float32)) -> Problem:
    """W, X, b and targets of any kind, in one of the precisions."""
    n_rows = draw(st.integers(1, 3))
    n_inputs, n_classes = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    dtype = draw(st.sampled_from(dtypes))
    scale = draw(st.sampled_from(SCALES))
    rows = draw(st.sampled_from(ROWS))

    def array(shape: tuple[int, ...], size: float) -> Any:
        count = int(np.prod(shape))
        values = draw(st.lists(numbers(size), min_size=count, max_size=count))
        return np.array(values, dtype=dtype).reshape(shape)

    options: dict[str, Any] = {"reduction": draw(st.sampled_from(REDUCTIONS))}
    if draw(st.booleans()):
        options["label_smoothing"] = draw(st.sampled_from([1e-10, 0.1, 0.5, 0.999999, 1.0]))
    if draw(st.booleans()):
        # None is zero, so that no mean is 0/0.
        options["class_weights"] = np.abs(array((n_classes,), 1.0)) + 2.0**-7
    if draw(st.booleans()):
        labels = np.array(draw(st.lists(st.integers(0, n_classes - 1), min_size=n_rows, max_size=n_rows)))
        if n_rows > 1 and rows == "padding":
            labels[draw(st.integers(1, n_rows - 1)) :] = options["ignore_index"] = -100
        elif n_rows > 1 and draw(st.booleans()):
            labels[draw(st.integers(0, n_rows - 1))] = options["ignore_index"] = -100
        targets = Targets(labels=labels, **options)
    else:
        soft = np.abs(array((n_rows, n_classes), 1.0)).astype(np.float64)
        if n_rows > 1 and rows == "padding":
            soft[draw(st.integers(1, n_rows - 1)) :] = 0
        targets = Targets(soft=soft, **options)
    return Problem(
        weights=array((n_inputs, n_classes), scale),
        inputs=changed_rows(array((n_rows, n_inputs), 1.0), rows, draw(st.integers(0, n_rows - 1))),
        targets=targets,
        bias=array((n_classes,), scale) if draw(st.booleans()) else None,
    )


def changed_rows(inputs: Any, rows: str, row: int) -> Any:
    """The inputs with that row, or all rows after it, changed as `ROWS` says."""
    if rows == "zero":
        inputs[..., row, :] = 0
    elif rows == "equal":
        inputs[:] = inputs[..., row : row + 1, :]
    elif rows == "padding":
        inputs[..., row + 1 :, :] = 0
    return inputs


def random_problem(
    random: np.random.Generator, dtype: Any = np.float64, stack: tuple[int, ...] = ()
) -> Problem:
    """One problem by numpy's generator, for tests that want thousands; or a stack, each of a scale of its own."""
    n_rows, n_inputs, n_classes = (int(random.integers(1, most)) for most in (4, 6, 7))
    scale = random.choice([0.01, 1.0, 10.0, 100.0, 500.0], size=(*stack, 1, 1))
    inputs = random.normal(size=(*stack, n_rows, n_inputs)).astype(dtype)
    if random.random() < 0.4:
        inputs = changed_rows(inputs, str(random.choice(ROWS)), int(random.integers(n_rows)))
    return Problem(
        weights=(scale * random.normal(size=(*stack, n_inputs, n_classes))).astype(dtype),
        inputs=inputs,
        targets=random_targets(random, n_rows, n_classes, stack),
        bias=(scale[..., 0] * random.normal(size=(*stack, n_classes))).astype(dtype)
        if random.random() < 0.5
        else None,
    )


def random_targets(
    random: np.random.Generator, n_rows: int, n_classes: int, stack: tuple[int, ...] = ()
) -> Targets:
    """Hard or soft, half of them with options of the loss."""
    options: dict[str, Any] = {}
    labels = random.integers(n_classes, size=(*stack, n_rows))
    hard = bool(random.random() < 0.5)
    if random.random() < 0.5:
        options["reduction"] = str(random.choice(REDUCTIONS))
        options["label_smoothing"] = float(random.choice([0.0, 1e-3, 0.1, 0.9]))
        if random.random() < 0.5:
            options["class_weights"] = random.uniform(0.1, 3, size=n_classes)
        if hard and n_rows > 1 and random.random() < 0.5:
            labels[..., 0] = options["ignore_index"] = random.choice([-100, 255])
    if hard:
        return Targets(labels=labels, **options)
    return Targets(soft=random.dirichlet(np.ones(n_classes), size=(*stack, n_rows)), **options)


def small_integers(random: np.random.Generator) -> Problem:
    """Integers from -2 to 2, in which zero rows, equal rows, equal logits and exact zeros are common."""
    n_rows, n_inputs, n_classes = (int(random.integers(1, most)) for most in (5, 4, 5))

    def numbers(*shape: int) -> Any:
        return random.integers(-2, 3, size=shape).astype(np.float64)

    hard = random.random() < 0.6
    targets: dict[str, Any] = (
        {"labels": random.integers(n_classes, size=n_rows)}
        if hard
        else {"soft": random.integers(0, 3, size=(n_rows, n_classes)) / 2}
    )
    return Problem(
        weights=numbers(n_inputs, n_classes),
        inputs=numbers(n_rows, n_inputs),
        targets=Targets(reduction=str(random.choice(REDUCTIONS)), **targets),
        bias=numbers(n_classes) if random.random() < 0.4 else None,
    )


def problem_of_any_size(random: np.random.Generator, dtype: Any, stack: tuple[int, ...] = ()) -> Problem:
    """Each part of a size of its own, from near underflow to near overflow; or a stack of such problems."""
    most = 36 if dtype is np.float32 else 300
    n_rows, n_inputs, n_classes = (int(random.integers(1, most)) for most in (3, 4, 5))

    def numbers(*shape: int) -> Any:
        with np.errstate(all="ignore"):
            drawn = random.normal(size=(*stack, *shape))
            drawn *= 10.0 ** random.uniform(-most, most, size=(*stack, *[1] * len(shape)))
            return np.nan_to_num(drawn.astype(dtype))

    hard = random.random() < 0.5
    return Problem(
        weights=numbers(n_inputs, n_classes),
        inputs=numbers(n_rows, n_inputs),
        targets=Targets(labels=random.integers(n_classes, size=(*stack, n_rows)))
        if hard
        else Targets(
            soft=np.abs(numbers(n_rows, n_classes)).astype(np.float64),
            reduction=str(random.choice(REDUCTIONS)),
        ),
        bias=numbers(n_classes) if random.random() < 0.5 else None,
    )
