"""Every operation on numbers that carry their error, held to its bound by the same operation in float32."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
from msgspec.structs import replace

from xegrad.numbers import rounded, sums
from xegrad.numbers.arithmetic import PRECISIONS, any_order, cascade, pairwise
from xegrad.numbers.rounded import Rounded, entered, exact, product, where

FLOAT32 = PRECISIONS["float32"]
SCALES = (1e-44, 1e-38, 1e-20, 1e-3, 1.0, 30.0, 1e20, 1e37)
SHAPE = (3, 4)


def drawn(random: np.random.Generator, scale: float) -> tuple[Rounded, Any]:
    """Numbers with an error, and float32 numbers that are no further from them than that."""
    value = scale * random.normal(size=SHAPE) * 10.0 ** random.uniform(-4, 0, size=SHAPE)
    value[random.random(SHAPE) < 0.1] = 0.0
    error = np.abs(value) * 10.0 ** random.uniform(-8, -1) * (random.random(SHAPE) < 0.7)
    computed = (value + error * random.uniform(-1, 1, size=SHAPE)).astype(np.float32)
    error = np.maximum(error, np.abs(computed.astype(np.float64) - value))
    return Rounded(value, error, FLOAT32), computed


def one_by_one(terms: Any) -> Any:
    """The sum over the last axis, each addition in float32."""
    total = terms[..., 0]
    for k in range(1, terms.shape[-1]):
        total = total + terms[..., k]
    return total


def with_third_axis(a: Any, b: Any) -> Any:
    """The first column of a beside each entry of a b'."""
    return np.repeat(a[:, None, :1], len(b), axis=1)


def fractions(array: Any) -> Any:
    return np.vectorize(Fraction, otypes=[object])(np.asarray(array, dtype=np.float64))


def softmax32(z: Any) -> Any:
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / one_by_one(e)[..., None]


# name: on numbers with an error, in float32, exactly
ARITHMETIC: dict[str, tuple[Callable[..., Rounded], Callable[..., Any], Callable[..., Any]]] = {
    "sum of two": (lambda a, b: a + b, lambda a, b: a + b, lambda a, b: a + b),
    "difference": (lambda a, b: a - b, lambda a, b: a - b, lambda a, b: a - b),
    "product": (lambda a, b: a * b, lambda a, b: a * b, lambda a, b: a * b),
    "quotient": (
        lambda a, b: a / b,
        lambda a, b: np.divide(a, b, out=np.zeros_like(a), where=a != 0),
        lambda a, b: np.vectorize(lambda x, y: x / y if y else Fraction(0), otypes=[object])(a, b),
    ),
    "sum over the last axis": (
        lambda a, _: a.sum(axis=-1),
        lambda a, _: one_by_one(a),
        lambda a, _: a.sum(axis=-1),
    ),
    "matrix product": (
        lambda a, b: a @ b.T,
        lambda a, b: one_by_one(a[:, None, :] * b[None, :, :]),
        lambda a, b: a.dot(b.T),
    ),
    "matrix product and a third, which is added first": (
        lambda a, b: product(a, b.T, a[:, :1]),
        lambda a, b: one_by_one(
            np.concatenate([with_third_axis(a, b), a[:, None, :] * b[None, :, :]], axis=-1)
        ),
        lambda a, b: a.dot(b.T) + a[:, :1],
    ),
}


@pytest.mark.parametrize("name", ARITHMETIC)
def test_an_operation_in_float32_is_within_the_error(name: str) -> None:
    operation, in_float32, exactly = ARITHMETIC[name]
    random = np.random.default_rng(3)
    finite = 0
    for _ in range(300):
        a, a32 = drawn(random, float(random.choice(SCALES)))
        b, b32 = drawn(random, float(random.choice(SCALES)))
        with np.errstate(all="ignore"):
            result, computed = operation(a, b), in_float32(a32, b32)
        truth = exactly(fractions(a.value), fractions(b.value))
        finite += assert_bounded(result, computed, truth)
    assert finite > 500


FUNCTIONS: dict[
    str, tuple[Callable[[Rounded], Rounded], Callable[[Any], Any], Callable[[list[Any]], list[Any]]]
] = {
    "softmax": (
        rounded.softmax,
        softmax32,
        lambda z: [mpmath.exp(x) / mpmath.fsum(map(mpmath.exp, z)) for x in z],
    ),
    "log_softmax": (
        rounded.log_softmax,
        lambda z: (
            (z - z.max(axis=-1, keepdims=True))
            - np.log(one_by_one(np.exp(z - z.max(axis=-1, keepdims=True))))[..., None]
        ),
        lambda z: [x - mpmath.log(mpmath.fsum(map(mpmath.exp, z))) for x in z],
    ),
    "sigmoid": (
        rounded.sigmoid,
        lambda z: 1 / (1 + np.exp(-z)),
        lambda z: [1 / (1 + mpmath.exp(-x)) for x in z],
    ),
    "softmax Jacobian": (
        lambda z: rounded.through_softmax(rounded.softmax(z), z),
        lambda z: softmax32(z) * (z - one_by_one(softmax32(z) * z)[..., None]),
        lambda z: [
            s * (x - mpmath.fdot(zip(softmax_of(z), z, strict=True)))
            for s, x in zip(softmax_of(z), z, strict=True)
        ],
    ),
    "logarithm": (
        lambda z: rounded.log(z * z + 1.0),
        lambda z: np.log(z * z + np.float32(1)),
        lambda z: [mpmath.log(x * x + 1) for x in z],
    ),
}


def softmax_of(z: list[Any]) -> list[Any]:
    total = mpmath.fsum(map(mpmath.exp, z))
    return [mpmath.exp(x) / total for x in z]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_in_float32_is_within_the_error(name: str) -> None:
    operation, in_float32, exactly = FUNCTIONS[name]
    random = np.random.default_rng(4)
    finite = 0
    for _ in range(200):
        z, z32 = drawn(random, float(random.choice([1e-3, 1.0, 30.0, 200.0])))
        with np.errstate(all="ignore"):
            result, computed = operation(z), in_float32(z32)
        with mpmath.workprec(800):
            truth = [exactly([mpmath.mpf(x) for x in row]) for row in z.value.tolist()]
            finite += assert_bounded(result, computed, np.array(truth, dtype=object))
    assert finite > 500


def assert_bounded(result: Rounded, computed: Any, truth: Any) -> int:
    """No entry that is off by more than its error, but for float64's own rounding; how many errors are finite."""
    errors = np.broadcast_to(result.error, result.value.shape).ravel().tolist()
    count = 0
    for value, error, right in zip(computed.ravel().tolist(), errors, truth.ravel().tolist(), strict=True):
        if math.isfinite(error):
            count += 1
            assert math.isfinite(value)
            off = value - right if not isinstance(right, Fraction) else Fraction(value) - right
            assert abs(off) <= 1.000001 * error
    return count


def test_an_exact_zero_that_is_added_rounds_nothing() -> None:
    terms = exact(np.array([[0.0, 1.0, 0.0], [0.5, 0.25, 0.0]]), FLOAT32)
    assert terms.sum(axis=-1).error.tolist() == [0.0, 2 * 2.0**-24 / (1 - 2 * 2.0**-24) * 0.75]


def test_partial_sums_that_are_rounded_are_in_the_error_of_a_sum() -> None:
    """2**-8 of all that is added up, and of that what the additions round (5.16)."""
    terms = [rounded.Addends(np.array(1.0), terms=3, size=np.array(5.0))]
    gamma = 3 * 2.0**-24 / (1 - 3 * 2.0**-24)  # of three additions in any order
    more = rounded.summed(terms, 3, FLOAT32, 2.0**-8).error - rounded.summed(terms, 3, FLOAT32).error
    assert more == pytest.approx(2.0**-8 * (1 + gamma) * 5.0, rel=1e-9)


def test_what_may_overflow_has_no_bound() -> None:
    large = exact(np.array([[1e38, 1.0]]), FLOAT32)
    assert np.isinf((large + large).error).tolist() == [[True, False]]
    assert np.isinf((large @ exact(np.array([[1.0], [1.0]]), FLOAT32)).error).all()
    with np.errstate(all="ignore"):
        assert np.isinf(rounded.softmax(large * 1e3).error).all()


def test_a_quotient_by_what_may_be_zero_has_no_bound_and_zero_over_it_is_zero() -> None:
    quotient = exact(np.array([1.0, 0.0]), FLOAT32) / Rounded(np.array([0.5, 0.0]), 0.75, FLOAT32)
    assert quotient.value.tolist() == [2.0, 0.0]
    assert quotient.error.tolist() == [np.inf, 0.0]


def test_numbers_enter_float64_as_they_are_and_other_formats_rounded_where_these_do_not_hold_them() -> None:
    assert entered(np.array([0.1, 0.0]), PRECISIONS["float64"]).error == 0.0
    assert entered(np.array([0.5, 0.0, 2.0**-149]), FLOAT32).error == 0.0
    assert entered(np.array([0.1, 0.5]), FLOAT32).error.tolist() == [0.1 * 2.0**-24 + 2.0**-149, 0.0]


@pytest.mark.parametrize("name", ["float32", "float16"])
def test_a_format_holds_what_survives_it(name: str) -> None:
    random = np.random.default_rng(5)
    values = random.normal(size=2000) * 2.0 ** random.uniform(-160, 140, size=2000)
    with np.errstate(all="ignore"):
        values[::2] = values[::2].astype(name)
        values = values[np.isfinite(values)]
        survives = values.astype(name).astype(np.float64) == values
    assert (PRECISIONS[name].holds(values) == survives).all()
    assert 200 < survives.sum() < values.size


def test_a_product_with_one_or_zero_rounds_nothing() -> None:
    factors = exact(np.array([0.0, 1.0, -1.0, 2.0]), FLOAT32)
    assert ((factors * Rounded(np.ones(4), 0.5, FLOAT32)).error > [0.0, 0.5, 0.5, 1.0]).tolist() == [
        False
    ] * 3 + [True]


def test_the_way_in_which_a_sum_is_formed_narrows_its_error() -> None:
    ones = np.ones((1, 1024))
    errors = [
        float((exact(ones, one) @ exact(ones.T, one)).error.item())
        for one in (FLOAT32, replace(FLOAT32, terms=pairwise))
    ]
    assert errors[0] / errors[1] == pytest.approx(any_order(1024) / pairwise(1024), rel=1e-3)


def test_arrays_on_the_left_and_choices_keep_the_error() -> None:
    one = Rounded(np.array([1.0, 2.0]), np.array([0.5, 0.25]), FLOAT32)
    assert (np.array([1.0, 1.0]) - one).value.tolist() == [0.0, -1.0]
    assert (2.0 / exact(np.array([2.0, 4.0]), FLOAT32)).value.tolist() == [1.0, 0.5]
    assert where([True, False], one, 0.0).error.tolist() == [0.5, 0.0]
    assert one[1].error == 0.25


def test_a_large_product_of_sizes_is_never_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32 with its inflation (4.9), against fractions; where float32 has no such numbers, in float64."""
    monkeypatch.setattr(sums, "MANY", 0)
    random = np.random.default_rng(0)
    for least in (-15, -70):  # powers of ten
        a = 10.0 ** random.uniform(least, 3, (4, 50)) * (random.random((4, 50)) < 0.8)
        b = 10.0 ** random.uniform(-3, 15, (50, 6))
        product = fractions(a).dot(fractions(b))
        a, b = (sizes * random.choice([-1, 1], sizes.shape) for sizes in (a, b))
        most = fractions(sums._no_less(a, b))
        steps = 52 * Fraction(1, 2**24)
        gamma, in_float64 = steps / (1 - steps), Fraction(51, 2**53)
        assert (most >= product * (1 - in_float64)).all()
        assert (most <= product * (1 + gamma) / (1 - gamma) * (1 + in_float64)).all()
        is_narrow = bool((most > product * (1 + 2 * in_float64)).any())
        assert is_narrow == (least == -15)


@pytest.mark.parametrize("name", ["float64", "float32", "float16"])
def test_a_format_is_that_of_numpy(name: str) -> None:
    info, one = np.finfo(name), PRECISIONS[name]
    assert [one.u, one.eta, one.largest] == [
        float(info.eps) / 2,
        float(info.smallest_subnormal),
        float(info.max),
    ]


def test_bfloat16_is_the_upper_half_of_float32() -> None:
    def number(bits: int) -> float:
        return float(np.array(bits << 16, np.uint32).view(np.float32))

    one = PRECISIONS["bfloat16"]
    assert (one.u, one.eta, one.largest) == ((number(0x3F81) - 1) / 2, number(0x0001), number(0x7F7F))


def test_a_cascade_adds_sixteen_at_a_time_and_at_the_end_eight_levels() -> None:
    """No more than n; of so many levels as n has digits to the base 16."""
    levels = {16: 1, 17: 2, 256: 2, 257: 3, 4096: 3, 4097: 4}
    assert {n: cascade(n) for n in levels} == {n: min(n, 16 * k + 9) for n, k in levels.items()}
    assert [cascade(n) for n in (1, 2, 16, 25, 41, 42)] == [1, 2, 16, 25, 41, 41]


@pytest.mark.parametrize("name", PRECISIONS)
def test_the_largest_number_is_one_of_its_format_and_twice_that_is_none(name: str) -> None:
    one = PRECISIONS[name]
    largest = np.array([one.largest, -one.largest, one.largest / 2, one.eta, one.eta / 2])
    assert one.holds(largest).tolist() == [True] * 4 + [name == "float64" and one.eta / 2 == 0]
    if name != "float64":
        assert one.holds(np.array([2 * one.largest, -2 * one.largest])).tolist() == [False] * 2


def test_numbers_are_rounded_to_the_nearest_and_ties_to_even() -> None:
    """As numpy rounds to float16, of subnormal ones too; beyond the largest on the same grid."""
    random = np.random.default_rng(3)
    values = random.normal(size=3000) * 2.0 ** random.uniform(-30, 15, size=3000)
    ties = (2 * random.integers(1, 2**12, size=1000) + 1) * 2.0 ** random.integers(-25, 2, size=1000)
    values = np.concatenate([values, ties, -ties, [0.0]])
    values = values[np.abs(values) < 65504]
    half = PRECISIONS["float16"].nearest(values)
    np.testing.assert_array_equal(half, values.astype(np.float16).astype(float))
    np.testing.assert_array_equal(
        FLOAT32.nearest(values * 2.0**-120), (values * 2.0**-120).astype(np.float32).astype(float)
    )
    assert PRECISIONS["float16"].nearest(np.array([70_000.0])).tolist() == [70_016.0]


def test_what_exceeds_an_eighth_of_the_largest_number_may_overflow() -> None:
    """Sums, products and what is added to them, entry by entry."""
    eighth = FLOAT32.largest / 8
    below, above = np.array([[0.99 * eighth, 1.0]]), np.array([[1.01 * eighth, 1.0]])
    zero = exact(np.zeros((1, 2)), FLOAT32)
    one = exact(np.ones((1, 1)), FLOAT32)
    for value, is_infinite in ((below, False), (above, True)):
        number = exact(value, FLOAT32)
        for result in (number + zero, number * 1.5 / 1.5 if is_infinite else number * 1.0, one @ number):
            assert np.isinf(result.errors).tolist() == [[is_infinite, False]]
        both = rounded.product(one, exact(np.ones((1, 2)), FLOAT32), number)
        assert np.isinf(both.errors).tolist() == [[is_infinite, False]]
        part = number.sum(axis=-1)
        assert np.isinf(part.errors).tolist() == [is_infinite]
        assert np.isinf(number.stored(FLOAT32).errors).tolist() == [[False, False]]
    # Terms of which each is far from it, and not their sum.
    terms = exact(np.full((1, 3), 0.4 * eighth), FLOAT32)
    assert np.isinf(terms.sum(axis=-1).errors).all()
    assert np.isinf((terms @ exact(np.ones((3, 1)), FLOAT32)).errors).all()
    assert np.isfinite((terms[:, :2] @ exact(np.ones((2, 1)), FLOAT32)).errors).all()


def test_a_sum_of_two_terms_is_rounded_and_one_of_one_term_is_not() -> None:
    u = 2.0**-24
    numbers = exact(np.array([[3.0, 5.0]]), FLOAT32)
    assert numbers.sum(axis=-1).errors.tolist() == [2 * u / (1 - 2 * u) * 8]
    assert numbers[:, :1].sum(axis=-1).errors.tolist() == [0.0]
    stored_sums = replace(PRECISIONS["bfloat16"], sums=FLOAT32)
    assert exact(np.array([[3.0]]), stored_sums).sum(axis=-1).errors.tolist() == [0.0]


def is_narrow(a: Any, b: Any) -> bool:
    """Whether the product of sizes was formed in float32, which makes it larger."""
    return bool((sums._no_less(a, b) > np.abs(a) @ np.abs(b) * (1 + 1e-8)).any())


def test_products_of_sizes_are_formed_in_float32_where_that_holds_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """4.4: 2^28 multiplications, 2048 terms at most, and factors that are 0 or between 2^-60 and 2^50."""
    one = np.ones((1, 1))
    assert not is_narrow(one, one)
    assert sums.MANY == 2**28
    monkeypatch.setattr(sums, "MANY", 6)
    assert [is_narrow(np.ones((2, 1)), np.ones((1, n))) for n in (2, 3)] == [False, True]
    monkeypatch.setattr(sums, "MANY", 0)
    for factor, expected in [
        (2.0**50, True),
        (2.0**50 * (1 + 2.0**-20), False),
        (2.0**-60, True),
        (2.0**-61, False),
        (0.0, False),
        (1e-60, False),  # which float32 does not hold
    ]:
        for array in (np.array([[factor, 0.0]]), np.array([[-factor, 1.0]])):
            assert is_narrow(array, np.ones((2, 1))) == (expected or (factor == 0 and array[0, 1] == 1))
            assert is_narrow(np.ones((1, 2)), array.T) == (expected or (factor == 0 and array[0, 1] == 1))
    assert [is_narrow(np.ones((1, n)), np.ones((n, 1))) for n in (2048, 2049)] == [True, False]
    assert not is_narrow(np.ones((2, 1, 1)), one) and not is_narrow(one, np.ones((2, 1, 1)))
    steps = 3 * 2.0**-24
    assert sums._no_less(np.array([[-2.0]]), np.array([[4.0]])) == pytest.approx(
        8 / (1 - steps / (1 - steps)), rel=1e-15
    )


def test_numbers_with_errors_are_changed_in_place_of_their_values_alone() -> None:
    """Two of them are never equal, whatever they hold; their arrays go where an index or a shape says."""
    one = Rounded(np.arange(6.0).reshape(2, 3), np.array([[0.5], [0.25]]), FLOAT32)
    assert one == one and one != Rounded(one.value, one.error, FLOAT32)
    assert replace(FLOAT32) == FLOAT32 and hash(FLOAT32)
    assert one.T.value.tolist() == [[0, 3], [1, 4], [2, 5]] and one.T.errors.tolist() == [[0.5, 0.25]] * 3
    assert one.reshape(3, 2).errors.tolist() == [[0.5, 0.5], [0.5, 0.25], [0.25, 0.25]]
    assert one.broadcast_to((2, 2, 3)).errors.shape == (2, 2, 3) and one.shape == (2, 3)
    both = rounded.stacked([one, exact(np.zeros(3), FLOAT32)])
    assert both.value[1].tolist() == [[0.0] * 3] * 2 and both.errors[:, 0, 0].tolist() == [0.5, 0.0]
    along = rounded.concatenated([one, one], axis=1)
    assert along.shape == (2, 6) and along.errors[1].tolist() == [0.25] * 6
    assert rounded.concatenated([one, one]).shape == (4, 3)
    assert (-one).value.tolist() == (-one.value).tolist() and (-one).errors is not None
    assert one.less_certain(1.0).errors.tolist() == [[1.5] * 3, [1.25] * 3]
    assert one.is_exact is False and exact(1.0, FLOAT32).is_exact
    assert not Rounded(np.ones(2), np.zeros(2), FLOAT32).is_exact  # entry by entry


def test_a_logarithm_of_what_may_be_zero_has_no_bound() -> None:
    number = Rounded(np.array([2.0, 1.0, 1.0, 1.0]), np.array([0.5, 1.0, 1.5, 0.0]), FLOAT32)
    errors = rounded.log(number).errors
    assert np.isinf(errors).tolist() == [False, True, True, False]
    u = 2.0**-24
    assert errors[[0, 3]] == pytest.approx([0.5 / 1.5 + 2 * u * math.log(2), 0.0], rel=1e-12)


def test_two_probabilities_are_no_further_apart_than_1_and_that_of_one_class_is_1() -> None:
    u, eta = 2.0**-24, 2.0**-149
    unknown = Rounded(np.array([[0.0, 1.0]]), np.array([[900.0, 900.0]]), FLOAT32)
    with np.errstate(all="ignore"):
        several = rounded.softmax(unknown)
    assert several.errors == pytest.approx(1 + 5 * (u * several.value + eta), rel=1e-12)
    alone = rounded.softmax(Rounded(np.array([[3.0]]), np.array([[0.5]]), FLOAT32))
    assert alone.value.tolist() == [[1.0]] and alone.errors == pytest.approx(4 * (u + eta), rel=1e-12)
    with np.errstate(all="ignore"):
        unknown = rounded.softmax(Rounded(np.array([[3.0]]), np.array([[900.0]]), FLOAT32))
    assert unknown.errors == pytest.approx(4 * (u + eta), rel=1e-12)
