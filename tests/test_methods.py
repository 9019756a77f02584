"""Each method on small problems: every number within its bound of the exact one, however much is made at a time."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import pytest

from xegrad import METHODS, Problem, Targets, progress
from xegrad.methods import Evaluation, chain, complex_step, exact_if_absent, finite_difference, shortcut
from xegrad.methods import exact as exact_method
from xegrad.methods.exact import doublewords, integers

NAMES = ("weights", "bias", "inputs", "logits")
FLOAT = ("chain", "complex-step", "finite-difference", "shortcut")


def drawn(n_rows: int, n_inputs: int, n_classes: int, kind: str = "labels", bias: bool = True) -> Problem:
    random = np.random.default_rng(n_rows + 10 * n_inputs + 100 * n_classes)
    labels = random.integers(n_classes, size=n_rows)
    targets = {
        "labels": lambda: Targets(labels),
        "sum": lambda: Targets(labels, reduction="sum", ignore_index=int(labels[0])),
        "weighed": lambda: Targets(labels, class_weights=np.arange(n_classes) + 0.5, label_smoothing=0.1),
        "soft": lambda: Targets(soft=random.random((n_rows, n_classes))),
    }[kind]()
    weights, inputs = random.normal(size=(n_inputs, n_classes)), random.normal(size=(n_rows, n_inputs))
    return Problem(weights, inputs, targets, random.normal(size=n_classes) if bias else None)


PROBLEMS: dict[str, Problem] = {
    "one row": drawn(1, 3, 4),
    "one number in a row": drawn(1, 1, 3, "soft"),
    "one number in each row": drawn(3, 1, 4, "weighed"),
    "a batch": drawn(3, 2, 4),
    "a batch without b": drawn(4, 3, 2, "soft", bias=False),
    "ignored rows": drawn(5, 2, 3, "sum"),
    "weights and smoothing": drawn(5, 2, 3, "weighed"),
    "one class": drawn(3, 2, 1),
}
# How much exists at a time: one row, one class, or a part of these; and as it is.
SIZES: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "as it is": lambda patch: None,
    "one number": lambda patch: small(patch, 1),
    "a class": lambda patch: small(patch, 8 * 2 * 3),
    "some rows": lambda patch: small(patch, 8 * 2 * 4 * 4 * 2 + 1),
}


def small(patch: pytest.MonkeyPatch, n_bytes: int) -> None:
    for module in (chain, complex_step, finite_difference):
        patch.setattr(module, "MEMORY_BUDGET", n_bytes)
    for name in ("CHUNK", "PRODUCT", "BLOCK"):
        patch.setattr(shortcut, name, n_bytes)
    patch.setattr(shortcut, "FEWEST", 1)
    patch.setattr(doublewords, "ELEMENTS", max(1, n_bytes // 8))


@cache
def truth(name: str) -> Any:
    return integers.nearest(PROBLEMS[name], ("loss", "losses", *NAMES))


def assert_right(evaluation: Evaluation, bound: Any, truth: Any) -> None:
    assert abs(evaluation.loss - truth["loss"].values) <= bound.loss
    assert (np.abs(evaluation.losses - truth["losses"].values) <= bound.loss).all()
    for name in NAMES:
        gradient = evaluation.gradients[name]
        assert gradient.shape == truth[name].values.shape and gradient.dtype == np.float64
        assert (np.abs(gradient - truth[name].values) <= bound.gradients[name]).all(), name


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("method", FLOAT)
def test_each_number_is_within_its_bound(
    method: str, name: str, size: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    SIZES[size](monkeypatch)
    problem = PROBLEMS[name]
    assert_right(METHODS[method].evaluate(problem, NAMES), METHODS[method].bound(problem, NAMES), truth(name))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", PROBLEMS)
def test_double_words_certify_the_nearest_floats(
    name: str, size: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    SIZES[size](monkeypatch)
    names = ("loss", "losses", *NAMES)
    for asked in (names, ("weights",), ("bias",), ("bias", "inputs")):
        results = doublewords.Layer(PROBLEMS[name], 3).nearest(dict.fromkeys(asked), 3)
        assert results.keys() == {*asked}
        for one, nearest in results.items():
            assert nearest.certain.all(), one
            np.testing.assert_array_equal(nearest.values, truth(name)[one].values)
            assert not nearest.errors.any()


@pytest.mark.parametrize("method", METHODS)
def test_a_stack_is_what_its_problems_are(method: str) -> None:
    random = np.random.default_rng(3)
    parts = random.normal(size=(2, 3, 2, 4)), random.normal(size=(2, 3, 5, 2)), random.normal(size=(2, 3, 4))
    labels = random.integers(4, size=(2, 3, 5))
    stack = Problem(parts[0], parts[1], Targets(labels), parts[2])
    together = METHODS[method].evaluate(stack, NAMES)
    assert np.shape(together.loss) == (2, 3) and together.losses.shape == (2, 3, 5)
    for k in np.ndindex(2, 3):
        one = Problem(parts[0][k], parts[1][k], Targets(labels[k]), parts[2][k])
        alone, bound = METHODS[method].evaluate(one, NAMES), METHODS[method].bound(one, NAMES)
        assert abs(np.asarray(together.loss)[k] - alone.loss) <= 2 * np.asarray(bound.loss)
        for name in NAMES:
            gradient, expected = together.gradients[name][k], alone.gradients[name]
            assert (np.abs(gradient - expected) <= 2 * bound.gradients[name]).all(), name


STEPS: dict[str, tuple[str, list[tuple[str, int, int]]]] = {
    "finite-difference": (
        "weights",
        [("finite differences", k, 2) for k in (1, 2)],
    ),
    "complex-step": ("weights", [("complex step", k, 3) for k in (1, 2, 3)]),
    "chain": ("logits", [("chain", k, 12) for k in range(1, 13)]),
    "shortcut": ("weights", []),
}


@pytest.mark.parametrize("method", STEPS)
def test_what_is_done_is_told_step_by_step(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line of the gradient, a row, or a row and class, where one number exists at a time."""
    small(monkeypatch, 1)
    name, expected = STEPS[method]
    steps: list[tuple[str, int, int]] = []
    with progress.watched_by(lambda *step: steps.append(step)):
        METHODS[method].evaluate(PROBLEMS["a batch"], (name,))
    assert steps == expected
    if method == "chain":  # of one block nothing is told
        monkeypatch.undo()
        steps.clear()
        with progress.watched_by(lambda *step: steps.append(step)):
            METHODS[method].evaluate(PROBLEMS["a batch"], (name,))
        assert steps == []


def test_exact_values_tell_what_is_done_of_each_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products in tiles, entry by entry; rows in blocks."""
    monkeypatch.setattr("xegrad.numbers.products.WIDTH", 3)
    monkeypatch.setattr(doublewords, "ELEMENTS", 8)
    steps: list[tuple[str, int, int]] = []
    with progress.watched_by(lambda *step: steps.append(step)):
        layer = doublewords.Layer(PROBLEMS["a batch"], 3)
        assert steps == [
            ("exact: logits", 9, 12),
            ("exact: logits", 12, 12),
            ("exact: probabilities", 1, 2),
            ("exact: probabilities", 2, 2),
        ]
        steps.clear()
        layer.nearest({"weights": None}, 2)
        assert steps == [("exact: gradient", 6, 8), ("exact: gradient", 8, 8)]
        steps.clear()
        doublewords.Layer(drawn(4, 2, 5), 3)
        done = [step for name, step, of in steps if (name, of) == ("exact: logits", 20)]
        assert done == [9, 15, 18, 20]  # of four tiles
        steps.clear()
        monkeypatch.setattr(integers, "BLOCK", 5)
        integers.nearest(PROBLEMS["a batch"], ("weights",))
        rows = [("exact: probabilities", k, 3) for k in (1, 2, 3)]
        assert steps == [*rows, ("exact: rounding", 1, 2), ("exact: rounding", 2, 2)]


# What takes the most of it: arrays like the logits, W, lines of a gradient, or what exists at a time, in bytes.
MEMORY: list[tuple[str, tuple[int, int, int], str, dict[str, int]]] = [
    ("chain", (40, 2, 60), "labels", {"MEMORY_BUDGET": 2**14}),
    ("chain", (2, 600, 50), "labels", {"MEMORY_BUDGET": 2**14}),
    ("chain", (50, 60, 2), "labels", {"MEMORY_BUDGET": 2**14}),
    ("chain", (8, 40, 20), "labels", {"MEMORY_BUDGET": 2**19}),
    ("complex-step", (40, 2, 60), "labels", {"MEMORY_BUDGET": 2**14}),
    ("complex-step", (1, 2, 300), "labels", {"MEMORY_BUDGET": 2**19}),
    ("finite-difference", (2, 60, 50), "labels", {"MEMORY_BUDGET": 2**16}),
    ("finite-difference", (20, 2, 30), "labels", {"MEMORY_BUDGET": 2**16}),
    ("finite-difference", (1, 2, 100), "labels", {"MEMORY_BUDGET": 2**18}),
    ("shortcut", (200, 2, 60), "labels", {"BLOCK": 2**9}),
    ("shortcut", (200, 2, 60), "soft", {"BLOCK": 2**9}),
    ("shortcut", (400, 2, 60), "labels", {"CHUNK": 2**15, "PRODUCT": 2**12, "BLOCK": 2**9}),
    ("shortcut", (400, 2, 60), "soft", {"CHUNK": 2**15, "PRODUCT": 2**12, "BLOCK": 2**9}),
    ("shortcut", (2000, 2, 3), "labels", {"CHUNK": 2**13, "PRODUCT": 2**10, "BLOCK": 2**9}),
]


@pytest.mark.parametrize(("method", "shape", "kind", "sizes"), MEMORY)
def test_an_evaluation_takes_no_more_than_it_says_and_a_third_of_that_at_least(
    method: str,
    shape: tuple[int, int, int],
    kind: str,
    sizes: dict[str, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """But for 20 kB of Python's own, and what numpy can use again of large arrays alone."""
    module = import_module(METHODS[method].module)
    for name, size in sizes.items():
        monkeypatch.setattr(module, name, size)

    def peak(problem: Problem) -> int:
        tracemalloc.start()
        METHODS[method].evaluate(problem, NAMES)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(drawn(2, 2, 2, kind))
    asked, most = METHODS[method].memory(drawn(*shape, kind), NAMES), peak(drawn(*shape, kind))
    assert most <= 1.05 * asked + 20_000 and asked <= 3 * most


def test_sums_of_weights_that_are_exactly_0_are_0() -> None:
    """S_0 = S_1 = s: 1 s + 3 s + 2 (1 - 2 s) is 2, the weight of the label; with 3 or 0 in its place it is not."""

    def inputs(weights: list[float]) -> Any:
        one = Problem(np.array([weights, [5.0, 5.0, 0.0]]), np.array([[0.0, 1.0]]), Targets([2]))
        return integers.nearest(one, ("inputs",))["inputs"]

    nearest = inputs([1.0, 3.0, 2.0])
    assert nearest.certain.all() and nearest.values[0, 0] == 0
    s = 1 / (2 + np.exp(-5.0))
    for label in (3.0, 0.0):
        nearest = inputs([1.0, 3.0, label])
        expected = 4 * s + label * (1 - 2 * s) - label
        assert nearest.certain.all() and nearest.values[0, 0] == pytest.approx(expected, rel=1e-12)


def test_a_loss_of_nothing_is_zero_with_its_sign() -> None:
    for method in METHODS.values():
        evaluation = method.evaluate(drawn(2, 2, 1), NAMES)
        assert not np.signbit(evaluation.loss) and evaluation.loss == 0
        assert not any(np.any(gradient) for gradient in evaluation.gradients.values())


def test_what_is_seen_and_what_is_judged_of_a_rounded_problem() -> None:
    """All but the exact method see W, x and b in the precision of the problem."""
    wide = drawn(2, 3, 4)
    narrow = Problem(wide.weights, wide.inputs, wide.targets, wide.bias, precision="float32")
    weights, inputs, bias = (
        np.float32(part).astype(float) for part in (wide.weights, wide.inputs, wide.bias)
    )
    seen = Problem(weights, inputs, wide.targets, bias)
    for name, method in METHODS.items():
        evaluation = method.evaluate(narrow)
        if name == "exact":
            same = method.evaluate(wide)
            assert evaluation.loss == same.loss
            continue
        assert evaluation.gradients["weights"].dtype == np.float32
        off = np.abs(evaluation.loss - METHODS["exact"].evaluate(seen).loss)
        assert off < (1e-2 if name == "finite-difference" else 1e-5)
        assert method.memory(narrow, NAMES) == (
            narrow.nbytes + narrow.nbytes_of(NAMES) + import_module(method.module).memory(narrow)
        )
        assert method.memory(wide, NAMES) == (
            wide.nbytes_of(NAMES) + import_module(method.module).memory(wide)
        )


def test_exact_values_are_evaluated_where_none_are_given() -> None:
    calls: list[tuple[Any, ...]] = []

    @exact_if_absent
    def function(
        problem: Problem, exact: Evaluation, candidate: Any = 0, with_respect_to: str = "weights"
    ) -> Any:
        calls.append((exact, candidate, with_respect_to))
        return exact

    one = PROBLEMS["a batch"]
    ours = METHODS["exact"].evaluate(one, ("bias",))
    assert function(one, ours, 3) is ours
    assert function(one, exact=ours) is ours
    assert [*function(one).gradients] == ["weights"]
    assert [*function(one, 5, "b").gradients] == ["bias"]
    assert [*function(one, 5, with_respect_to="x").gradients] == ["inputs"]
    assert [call[1:] for call in calls] == [
        (3, "weights"), (0, "weights"), (0, "weights"), (5, "b"), (5, "x")
    ]  # fmt: skip


@pytest.mark.parametrize("seconds", [0.0, 0.5, 7.0])
def test_what_was_left_out_is_told_with_what_it_takes(seconds: float) -> None:
    left_out = Evaluation(1.0, np.ones(1), {}, seconds_left=seconds).left_out
    assert left_out == {0.0: "", 0.5: "--exact decides it", 7.0: "--exact takes about 7 s"}[seconds]


def test_a_number_is_certain_if_all_under_its_name_are() -> None:
    flags = {"weights": np.array([True, False]), "loss": np.array(True)}
    some = Evaluation(1.0, np.ones(1), {}, flags)
    assert some.is_certain_of("loss") and not some.is_certain_of("weights")
    assert not Evaluation(1.0, np.ones(1), {}).is_certain_of("loss")


@pytest.mark.parametrize(("n_rows", "slices"), [(1, 2), (2, 3)])
def test_residuals_of_several_rows_need_a_slice_more(n_rows: int, slices: int) -> None:
    assert exact_method._layer(drawn(n_rows, 2, 3)).slices == slices
