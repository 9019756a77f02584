"""The bounds where no test of their formulas looks: at thresholds, of problems that are large, and what is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from xegrad import METHODS, Problem, Targets, bounds, derivation
from xegrad.bounds import PRECISIONS
from xegrad.derivation import Cells
from xegrad.numbers.arithmetic import Arithmetic

NAMES = ("weights", "bias", "inputs", "logits")
FLOAT32, FLOAT64 = PRECISIONS["float32"], PRECISIONS["float64"]


def drawn(n_rows: int, n_inputs: int, n_classes: int, **options: Any) -> Problem:
    random = np.random.default_rng(n_rows)
    labels = random.integers(n_classes, size=n_rows)
    weights, inputs = random.normal(size=(n_inputs, n_classes)), random.normal(size=(n_rows, n_inputs))
    return Problem(weights, inputs, Targets(labels, **options), random.normal(size=n_classes))


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every problem is large."""
    monkeypatch.setattr(bounds, "LARGE", 0)


@pytest.mark.parametrize(("n_rows", "n_classes", "is_large"), [(32, 1024, False), (9, 3641, True)])
def test_a_problem_of_more_than_32768_logits_is_large(n_rows: int, n_classes: int, is_large: bool) -> None:
    """7.1; 9 times 3,641 is 32,769.  A stack is none."""
    weights, inputs = np.zeros((1, n_classes)), np.zeros((n_rows, 1))
    one = Problem(weights, inputs, Targets(np.zeros(n_rows, int)))
    assert bounds.is_large(one) == is_large
    stack = Problem(weights[None], inputs[None], Targets(np.zeros((1, n_rows), int)))
    assert not bounds.is_large(stack)


def test_what_a_large_problem_comes_to_is_computed_once(large: None, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[list[str], bool]] = []
    row_by_row = derivation.row_by_row

    def recorded(cells: Cells, names: Sequence[str], wide: Cells | None = None) -> Any:
        calls.append(([*names], wide is not None))
        return row_by_row(cells, names, wide)

    monkeypatch.setattr(bounds, "row_by_row", recorded)
    one = drawn(7, 4, 5)

    def new_calls(compute: Any, *names: str) -> list[tuple[list[str], bool]]:
        calls.clear()
        compute(one, names, FLOAT32)
        return [*calls]

    assert new_calls(bounds.stable, "weights") == [(["weights"], False)]
    assert new_calls(bounds.stable, "weights") == []
    assert new_calls(bounds.stable) == []
    assert new_calls(bounds.enclosed, "weights") == [(["weights"], True)]
    assert new_calls(bounds.enclosed, "weights", "bias") == [(["bias"], True)]
    assert new_calls(bounds.enclosed, "bias") == []
    assert new_calls(bounds.stable, "bias", "weights") == []
    assert bounds.cells_of(one, FLOAT32) is bounds.cells_of(one, FLOAT32)
    small = drawn(2, 2, 2)
    monkeypatch.setattr(bounds, "LARGE", 2**15)
    assert bounds.cells_of(small) is bounds.cells_of(small, FLOAT64)
    assert bounds.enclosed(small, ("weights",), FLOAT32) is None


@pytest.mark.parametrize("name", [*NAMES, "loss"])
def test_the_bound_of_a_large_problem_is_that_of_a_small_one(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was asked for before."""
    one = drawn(7, 4, 5, label_smoothing=0.1)
    names = () if name == "loss" else (name,)

    def number(bound: bounds.Bound) -> Any:
        return bound.loss if name == "loss" else bound.gradients[name]

    expected = number(bounds.stable(one, names, FLOAT32))
    monkeypatch.setattr(bounds, "LARGE", 0)
    alone, after = replace(one), replace(one)
    bounds.enclosed(after, ("bias", "logits"), FLOAT32)
    for problem in (alone, after):
        np.testing.assert_allclose(number(bounds.stable(problem, names, FLOAT32)), expected, rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_errors_of_a_careful_computation_are_those_of_some_entries(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a large dL/dW first what two rows of seven make of it: (4.7), with gamma of all rows."""
    one = drawn(7, 4, 5)
    size = int(np.prod(one.shape_of(name)))
    entries = np.array([size - 1, 0, size // 2, size // 2, 1])
    *before, expected = bounds.of_careful(one, name, FLOAT32, entries)
    assert before == []
    cells = Cells(one, name, replace(FLOAT32, is_careful=True))
    monkeypatch.setattr(bounds, "LARGE", 0)
    monkeypatch.setattr(bounds, "IN_CACHE", 11)  # logits: two rows
    *before, errors = bounds.of_careful(replace(one), name, FLOAT32, entries)
    np.testing.assert_allclose(errors, expected, rtol=1e-12)
    if name != "weights":
        assert before == []
        return
    g, X, R = 7 * 2.0**-24 / (1 - 7 * 2.0**-24), cells.X[:2], cells.R[:2]
    moved = np.abs(X.value).T @ (g * np.abs(R.value) + (1 + g) * R.errors)
    moved += (1 + g) * X.errors.T @ (np.abs(R.value) + R.errors)
    (first,) = before
    np.testing.assert_allclose(first, moved.ravel()[entries], rtol=1e-12)
    monkeypatch.setattr(bounds, "IN_CACHE", 1)  # one row, however few logits that is
    first, _ = bounds.of_careful(replace(one), name, FLOAT32, entries)
    assert (first < moved.ravel()[entries]).all() and (first > 0).all()


SEVERAL = [FLOAT32, replace(FLOAT32, terms=bounds.pairwise), replace(FLOAT32, failure=1e-9)]


@pytest.mark.parametrize("name", [*NAMES, "loss"])
@pytest.mark.parametrize("held", ["", "W", "x", "b", "Wxb"])
def test_the_bound_of_some_rows_is_that_of_all_where_every_third_row_is_another(
    name: str, held: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 42 rows and 33 inputs those that are 3 apart, which are 14 and 11 of them: no more than 16.  Some of W, x and
    b are numbers of float32."""
    one = drawn(14, 33, 3)
    rows = np.repeat(np.arange(14), 3)
    parts = {"W": one.weights, "x": one.inputs[rows], "b": one.bias}
    weights, inputs, bias = (
        np.float32(part).astype(float) if key in held else part for key, part in parts.items()
    )
    labels = np.asarray(one.targets.labels)[rows]
    repeated = Problem(weights, inputs, Targets(labels), bias)
    entries, whole = bounds.of_some(repeated, name, SEVERAL)
    assert entries is ...
    monkeypatch.setattr(bounds, "LARGE", 0)
    entries, some = bounds.of_some(replace(repeated), name, SEVERAL)
    assert entries == (... if name in ("bias", "loss") else slice(0, None, 3))
    for part, of_all in zip(some, whole, strict=True):
        np.testing.assert_allclose(np.broadcast_to(part, of_all[entries].shape), of_all[entries], rtol=1e-6)


def lost_and_near(name: str, times: Sequence[float]) -> list[float]:
    """S - dS as so many times eta, and the sum of Q / (S - dS) as far as the bound of the chain shows it."""
    arithmetic = PRECISIONS[name]
    seen = []
    for many in times:
        target = 2.0**-60
        # dS of two classes is 5 eta beside what S itself is off by, which is next to nothing here.
        logit = np.log((many + 5) * arithmetic.eta)
        soft = np.array([[1.0, target]])
        one = Problem(np.array([[0.0, logit]]), np.ones((1, 1)), Targets(soft=soft), precision=name)
        bound = METHODS["chain"].bound(one, ("logits",)).gradients["logits"]
        seen.append(float(bound[0, 0] / arithmetic.u))
    return seen


def test_a_probability_below_twice_the_smallest_number_counts_as_0_and_the_chain_has_no_bound() -> None:
    """6.2, of a target so small that Q / S itself does not overflow."""
    near, far = lost_and_near("float32", [1.9, 2.1])
    assert np.isinf(near) and np.isfinite(far)


@pytest.mark.parametrize(("times", "is_bounded"), [(3.8, False), (4.2, True)])
def test_the_chain_has_no_bound_where_q_over_s_exceeds_a_quarter_of_the_largest_number(
    times: float, is_bounded: bool
) -> None:
    """6.2: 1 / S, of an S that is so many times 1 / largest, in float32."""
    logit = np.log(times / FLOAT32.largest)
    one = Problem(np.array([[0.0, logit]]), np.ones((1, 1)), Targets([1]), precision="float32")
    assert np.isfinite(METHODS["chain"].bound(one).gradients["weights"]).all() == is_bounded


@pytest.mark.parametrize(("times", "is_bounded"), [(1.9, False), (2.1, True)])
@pytest.mark.parametrize("bound", [METHODS["chain"].bound, bounds.chain_against_shortcut])
def test_the_loss_of_the_chain_has_no_bound_where_s_may_be_below_twice_the_smallest_normal_number(
    times: float, is_bounded: bool, bound: Any
) -> None:
    """6.2, in float32."""
    logit = np.log(times * 2.0**-126)
    one = Problem(np.array([[0.0, logit]]), np.ones((1, 1)), Targets([1]), precision="float32")
    assert np.isfinite(bound(one).loss) == is_bounded


def test_targets_that_overflow_leave_the_chain_without_a_bound_beside_the_shortcut() -> None:
    weights = np.array([1e308, 1.0])
    one = Problem(np.ones((1, 2)), np.ones((2, 1)), Targets([0, 1], class_weights=weights, reduction="sum"))
    assert np.isinf(bounds.chain_against_shortcut(one).loss)


def test_several_targets_and_a_large_mass_count_in_the_bounds_of_6_3_and_6_4() -> None:
    """S = 1/4 of four classes; the logits are 0, and so is what was rounded before them."""
    soft = np.array([[0.5, 0.25, 0.25, 0.0]])
    u, eta = 2.0**-53, 2.0**-1074
    one = Problem(np.zeros((1, 4)), np.zeros((1, 1)), Targets(soft=soft))
    spread = soft * 0.75 + (1 - soft) * 0.25  # (6.2)
    g = [n * u / (1 - n * u) for n in (3 + 4 + 10, 4 + 3)]
    expected = 1.01 * 1.02 * (g[0] * spread + g[1] * soft * 0.25)
    apart = bounds.chain_against_shortcut(one, ("logits",)).gradients["logits"]
    np.testing.assert_allclose(apart, expected, rtol=1e-12)
    for mass in (0.5, 4.0):
        weights = np.array([mass, 1.0, 1.0, 1.0])
        weighed = Problem(
            np.zeros((1, 4)), np.zeros((1, 1)), Targets([0], class_weights=weights, reduction="sum")
        )
        plain = bounds.stable(weighed, ("logits",)).gradients["logits"]
        for step in (2.0**-30, 2.0**-1020):
            bound = bounds.complex_step(weighed, ("logits",), step=step).gradients["logits"]
            parts = mass * np.array([0.75, 0.25, 0.25, 0.25])  # all are the largest
            more = 4 * (eta / step) * max(mass, 1) + 8 * u * parts
            np.testing.assert_allclose(bound, plain + 1.01 * more, rtol=1e-12)


def test_what_is_no_number_is_no_bound_and_the_rest_is_inflated() -> None:
    error = np.array([1.0, np.nan, np.inf, 0.0])
    expected = [1.01, np.inf, np.inf, 0.0]
    assert bounds._inflated(error).tolist() == expected
    assert error[0] == 1
    assert bounds._inflated(error, in_place=True).tolist() == expected
    assert error[0] == 1.01
    assert bounds._inflated(np.array(np.nan), in_place=True) == np.inf


def test_bounds_are_those_of_the_precision_of_the_problem() -> None:
    one = replace(drawn(3, 2, 4), precision="float32")
    assert bounds.cells_of(one).arithmetic is FLOAT32
    for names in ((), ("bias", "logits")):
        both = [bounds.stable(one, names, *arithmetic) for arithmetic in ((), (FLOAT32,))]
        assert both[0].loss == both[1].loss
        assert [*both[0].gradients] == [*names]
        for name in names:
            np.testing.assert_array_equal(both[0].gradients[name], both[1].gradients[name])


def test_a_chance_of_failure_is_shared_among_all_terms() -> None:
    one = drawn(3, 2, 4)
    arithmetic: Arithmetic = replace(FLOAT32, failure=1e-9)
    assert bounds.cells_of(one, arithmetic).arithmetic.failure == 1e-9 / bounds.terms_of(one)
    assert bounds.cells_of(one, FLOAT32).arithmetic is FLOAT32


def test_a_target_that_underflows_leaves_a_loss_that_large_logits_show() -> None:
    """Q = 1e-20 times 1e-310 is 0 in float64; with log S = -1e150 the loss is 1e-180 all the same."""
    targets = Targets(soft=[[1e-20, 0.0]], class_weights=[1e-310, 1.0], reduction="sum")
    one = Problem([[0.0, 1e150]], [[1.0]], targets)
    exact = float(METHODS["exact"].evaluate(one).loss)
    assert exact == pytest.approx(1e-180)
    for name in ("shortcut", "chain"):
        found, bound = (float(part(one).loss) for part in (METHODS[name].evaluate, METHODS[name].bound))
        assert abs(found - exact) <= bound < 1e-170
