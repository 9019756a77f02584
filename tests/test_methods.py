"""Each method on small problems: every number within its bound of the exact one, however much is made at a time."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from importlib import import_module
from typing import Any

import mpmath
import numpy as np
import pytest

from xegrad import METHODS, Problem, Targets, progress
from xegrad.methods import Evaluation, chain, complex_step, exact_if_absent, finite_difference, shortcut
from xegrad.methods import exact as exact_method
from xegrad.methods.exact import doublewords, integers, nearest, residuals

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
        for one, rounded in results.items():
            assert rounded.certain.all(), one
            np.testing.assert_array_equal(rounded.values, truth(name)[one].values)
            assert not rounded.errors.any()


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

    rounded = inputs([1.0, 3.0, 2.0])
    assert rounded.certain.all() and rounded.values[0, 0] == 0
    s = 1 / (2 + np.exp(-5.0))
    for label in (3.0, 0.0):
        rounded = inputs([1.0, 3.0, label])
        expected = 4 * s + label * (1 - 2 * s) - label
        assert rounded.certain.all() and rounded.values[0, 0] == pytest.approx(expected, rel=1e-12)


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


def test_a_residual_that_rounds_to_0_is_within_the_bound_of_the_exact_method() -> None:
    """e^-1500 is not 0, though the float that is nearest to it is."""
    one = Problem([[0.0, -1500.0]], [[1.0]], Targets([0]))
    evaluation = METHODS["exact"].evaluate(one)
    assert evaluation.gradients["weights"].tolist() == [[0.0, 0.0]] and evaluation.is_certain_of("weights")
    assert (METHODS["exact"].bound(one).gradients["weights"] > 0).all()


def test_the_limits_of_the_exact_method_are_those_of_section_9() -> None:
    """And half an ulp is that of the number; of 0 it is 2^-1075, for which the next float stands."""
    assert (residuals.DEEPEST, residuals.DEEP, residuals.LOST) == (-640.0, 2.0**-923, 2.0**-1040)
    assert (residuals.LARGEST, nearest.FAINT) == (2.0**-20, 2.0**-1000)
    assert (integers.LAST_BIT, integers.MOST_DIGITS) == (1075, 32 * integers.DIGITS)
    assert (exact_method.FIRST, exact_method.FINER, exact_method.AT_ONCE) == (2, 3, 0.001)
    values = np.array([1.0, -1.0, 0.75, 0.0, np.inf, np.nan])
    assert nearest.half_ulp(values).tolist() == [2.0**-53, 2.0**-53, 2.0**-54, 2.0**-1074, np.inf, np.inf]
    rounded = nearest.Nearest.to(np.ones(3), np.zeros(3), np.array([0.0, 2.0**-40, np.inf]))
    assert rounded.certain.tolist() == [True, False, False]
    off = (2.0**-40 + 2.0**-52) * (1 + 2.0**-20) + 2.0**-1000
    assert rounded.errors.tolist() == [0.0, off, np.inf]
    assert rounded.every_error().tolist() == [2.0**-53, off, np.inf]
    rounded.vanish(np.array([False, True, False]))
    assert rounded.values[1] == 0 and rounded.certain[1] and rounded.errors[1] == 0
    targets = residuals.TargetWords(drawn(3, 2, 4))
    assert targets.off == 16 * 2.0**-106 + 2 * 3.001 * 2.0**-106  # a quotient, by a sum of three


@pytest.mark.parametrize("top", [3, 10**6, 2**60])
def test_a_logarithm_of_integers_is_enclosed_by_what_its_digits_leave(top: int) -> None:
    """Two units and 10**(-2 d - 7) at each end; of an s that is next to nothing between s / (1 + s) and s."""
    digits, bits = 12, 200
    one = 1 << bits
    lower, upper = one + (one * top // 7), one + (one * top // 7) + 5
    ends = integers._logarithm(lower, upper, digits, bits)
    margin = one // 10 ** (2 * digits + 7) + 2
    with mpmath.workprec(600):
        for end, of, sign in ((ends[0], lower, -1), (ends[1], upper, 1)):
            exact = mpmath.log(mpmath.mpf(of) / one) * one
            assert 0.5 * margin < sign * (end - exact) < 1.5 * margin
        tiny = one >> (bits // 2)
        below, above = integers._logarithm(one + tiny, one + tiny + 3, digits, bits)
        assert 0 <= mpmath.log1p(mpmath.mpf(tiny) / one) * one - below < tiny * mpmath.mpf(10) ** -digits
        assert above == tiny + 3
    assert integers._logarithm(one, one, digits, bits) == (0, 0)


@pytest.mark.parametrize("apart", [0.0, 1.0, 50.0, 700.0, 5000.0])
def test_the_smallest_exponential_that_matters_has_all_its_digits(apart: float) -> None:
    one = Problem(np.array([[0.0, -apart]]), np.ones((1, 1)), Targets([0]))
    digits = 20
    exponentials = integers.Exponentials(integers.IntegerProblem(one), digits)
    smallest = int(exponentials.lower.min())
    if apart > 2200 * np.log(2):
        assert smallest >= 0 and int(exponentials.upper.min()) == 1  # of which the sign is enough
        return
    assert 10**digits <= smallest <= 40 * 10**digits


@pytest.mark.parametrize(("part", "is_bounded"), [(0.99, True), (1.01, False)])
def test_finite_differences_have_no_bound_where_a_loss_over_h_may_overflow(
    part: float, is_bounded: bool
) -> None:
    """An eighth of the largest number, times h.  Bounds grow with targets as these do."""

    def bound(mass: float) -> Any:
        targets = Targets(soft=np.array([[mass, 0.0]]))
        one = Problem(np.array([[1e150, 0.0]]), np.array([[1.0]]), targets)
        return METHODS["finite-difference"].bound(one).gradients["weights"]

    limit = np.finfo(float).max * 2.0**-17 / 8
    found = bound(part * limit / (bound(1.0)[0, 0] / 1.01))
    assert np.isfinite(found).all() == is_bounded
    if is_bounded:
        assert found == pytest.approx(1.01 * part * limit, rel=1e-9)


@pytest.mark.parametrize("power", [30, 41, 52])
def test_finite_differences_of_x_round_the_move_that_all_logits_share(power: int) -> None:
    """With equal weights dL/dx is 0; but z + h W lies among coarser floats than z - h W, if h W is a power of two."""
    for bias in np.random.default_rng(0).uniform(0, 1, (5, 2)):
        one = Problem(np.full((1, 2), 2.0**power), np.zeros((1, 1)), Targets([0]), bias)
        [[found]] = METHODS["finite-difference"].evaluate(one, ("inputs",)).gradients["inputs"]
        [[bound]] = METHODS["finite-difference"].bound(one, ("inputs",)).gradients["inputs"]
        assert abs(found) <= bound


@pytest.mark.parametrize(("n_problems", "together"), [(3, True), (3, False)])
def test_problems_of_a_stack_are_computed_together_if_two_of_them_fit(
    n_problems: int, together: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(1)
    parts = random.normal(size=(n_problems, 4, 6)), random.normal(size=(n_problems, 3, 4))
    stack = Problem(parts[0], parts[1], Targets(random.integers(6, size=(n_problems, 3))))
    # Integers would do one of them at once, and two, but not three.
    monkeypatch.setattr(exact_method, "AT_ONCE", 2.5 * integers.work(3, 4, 6) if together else 0.0)
    monkeypatch.setattr(exact_method, "STACKED", 2 * (4 + 3) * 6 - (not together))
    sizes: list[tuple[int, ...]] = []
    layer = exact_method._layer

    def recorded(problem: Problem) -> Any:
        sizes.append(problem.weights.shape[:-2])
        return layer(problem)

    monkeypatch.setattr(exact_method, "_layer", recorded)
    evaluation = METHODS["exact"].evaluate(stack, NAMES)
    assert sizes == ([(2,), (1,)] if together else [(), (), ()])
    for k, one in enumerate(stack.unstacked()):
        expected = integers.nearest(one, ("loss", *NAMES))
        assert np.asarray(evaluation.loss)[k] == expected["loss"].values
        for name in NAMES:
            np.testing.assert_array_equal(evaluation.gradients[name][k], expected[name].values)


@pytest.mark.parametrize("is_stack", [False, True])
@pytest.mark.parametrize("elements", [1, 20, 2**15])
def test_the_outer_product_of_one_row_is_rounded_entry_by_entry(
    is_stack: bool, elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of inputs of any size: what underflows or overflows is not certain, beside what is."""
    monkeypatch.setattr(doublewords, "ELEMENTS", elements)
    x = np.array([1.0, 0.0, -0.3, 1e-300, 1e300, 7.0, 0.1])
    r = np.array([0.3, 1e-10, -0.7, 1e-200, 1e200])
    low = r * 2.0**-54 * np.array([0.3, -0.2, 0.7, 0.1, 0.4])
    off = np.abs(r) * 2.0**-100
    parts: list[Any] = [np.stack([part, part]) if is_stack else part for part in (x, r, low, off)]
    with np.errstate(all="ignore"):
        rounded = doublewords._outer_product(parts[0], (parts[1], parts[2]), parts[3])
    values, certain = rounded.values.reshape(-1, 7, 5), rounded.certain.reshape(-1, 7, 5)
    for j, i in np.ndindex(7, 5):
        exact = Fraction(float(x[j])) * (Fraction(float(r[i])) + Fraction(float(low[i])))
        is_sure = 2.0**-950 < abs(exact) < 2.0**1000
        assert certain[:, j, i].all() == is_sure, (j, i)
        if is_sure:
            assert (values[:, j, i] == float(exact)).all()


@pytest.mark.parametrize("shape", [(500, 2, 500), (2, 500, 500), (700, 400, 2)])
def test_double_words_take_no_more_than_they_say_and_two_thirds_of_that_at_least(
    shape: tuple[int, int, int],
) -> None:
    """Of logits, of W and of x."""
    one = drawn(*shape)
    tracemalloc.start()
    doublewords.Layer(one, 3).nearest({"weights": None}, 2)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most <= doublewords.memory(one) + one.nbytes_of(["weights"]) <= 1.5 * most


@pytest.mark.parametrize(
    ("known", "better", "expected"),
    [
        # value, whether it is certain, error
        ((1.0, True, 0.0), (2.0, True, 0.0), (1.0, True, 0.0)),
        ((1.0, False, 0.5), (2.0, True, 0.0), (2.0, True, 0.0)),
        ((1.0, False, 0.5), (2.0, False, 0.25), (2.0, False, 0.25)),
        ((1.0, False, 0.25), (2.0, False, 0.5), (1.0, False, 0.25)),
        ((1.0, True, 0.0), (2.0, False, 0.5), (1.0, True, 0.0)),
    ],
)
def test_what_is_open_gives_way_to_what_is_better_known(known: Any, better: Any, expected: Any) -> None:
    first, second = (nearest.Nearest(*(np.array([part]) for part in parts)) for parts in (known, better))
    exact_method._improve({"loss": first}, {"loss": second})
    assert (first.values[0], first.certain[0], first.errors[0]) == expected


def test_long_integers_are_told_before_they_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing else decides: S of the first class is e^-3000."""
    saturated = Problem(np.array([[0.0, 3000.0, 1500.0]]), np.ones((1, 1)), Targets([1]))
    monkeypatch.setattr(integers, "work", lambda *sizes: 11.0)
    heard: list[str] = []
    with progress.heard_by(heard.append), exact_method.affording(12.0):
        decided = METHODS["exact"].evaluate(saturated, ("logits",))
    assert heard == ["what is still open is decided by long integers, which takes about 11 s by estimate"]
    assert decided.is_certain_of("logits") and decided.seconds_left == 0
    with exact_method.affording(10.0):
        left = METHODS["exact"].evaluate(saturated, ("logits",))
    assert left.seconds_left == 11.0 and not left.is_certain_of("logits")
    assert (
        left.errors is not None and {*left.errors} == {"loss", "losses", "logits"} & {*left.errors} != set()
    )
    bound = METHODS["exact"].bound(saturated, ("logits",))
    assert (bound.gradients["logits"] <= 2.0**-53).all()
