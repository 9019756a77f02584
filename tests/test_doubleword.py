"""Every operation on double words keeps its bound, against 90 digits of mpmath; what is certified is right."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest

from double_words import STEPS, any_size, layer_ratios, pairs, ratios
from xegrad import Problem, Targets
from xegrad.methods.exact.residuals import TargetWords, residuals
from xegrad.numbers import doubleword as dw


@pytest.mark.parametrize("step", STEPS)
def test_each_step_keeps_its_bound(step: str) -> None:
    size = 100 if step == "total" else 1000
    assert max(ratios(step, np.random.default_rng(1), size)) <= 1


def test_the_residuals_of_a_layer_keep_their_bounds() -> None:
    assert max(layer_ratios(np.random.default_rng(4), 1000)) <= 1


def test_sums_and_products_of_words_are_exact() -> None:
    random = np.random.default_rng(2)
    a, b = any_size(random, 500)[0], any_size(random, 500)[0]
    for operation, exact in ((dw.two_sum, Fraction.__add__), (dw.two_product, Fraction.__mul__)):
        high, low = operation(a, b)
        for x, y, h, e in zip(a.tolist(), b.tolist(), high.tolist(), low.tolist(), strict=True):
            assert Fraction(h) + Fraction(e) == exact(Fraction(x), Fraction(y))


def test_the_parts_of_ln_2_leave_room_for_their_multiples() -> None:
    """k c1 and k c2 are exact for |k| < 2**25 if both have 28 bits, and c1 is below c by more than 2**-50 of it."""
    first, second, third = dw._constants().ln2
    for part, last_bit in ((first, 43), (second, 71)):
        assert (part * 2.0**last_bit).is_integer()
        assert part * 2.0**last_bit < 2**28
    with mpmath.workprec(300):
        step = mpmath.log(2) / dw.STEPS
        assert mpmath.mpf(first) * (1 + mpmath.mpf(2) ** -50) < step
        assert abs(mpmath.mpf(first) + second + third - step) < mpmath.mpf(2) ** -124
    assert 641 * dw.STEPS / math.log(2) < 2**25


def test_the_table_of_powers_of_two_is_off_by_eighteen_squares_of_u() -> None:
    high, low = dw._constants().powers
    with mpmath.workprec(300):
        for k in range(0, dw.STEPS, 41):
            exact = mpmath.mpf(2) ** (mpmath.mpf(k) / dw.STEPS)
            off = abs(mpmath.mpf(float(high[k])) + mpmath.mpf(float(low[k])) - exact)
            assert off < 18 * dw.U**2 * exact


def test_a_sum_of_n_goes_through_so_many_additions_as_its_depth_says() -> None:
    assert [dw.depth(n) for n in (1, 2, 3, 4, 5, 8, 9)] == [0, 1, 2, 2, 3, 3, 4]


def test_what_is_certified_is_nearest_to_both_ends_and_a_tie_is_not() -> None:
    random = np.random.default_rng(3)
    high, low = pairs(random, 1 + random.random(2000))
    error = 2.0 ** -random.uniform(53, 110, 2000)
    values, certain = dw.nearest(high, low, error)
    assert 0 < certain.sum() < 2000
    for index in np.flatnonzero(certain):
        middle = Fraction(high[index]) + Fraction(low[index])
        for end in (middle - Fraction(error[index]), middle + Fraction(error[index])):
            assert float(end) == values[index]
    halfway = np.array([2.0**-53])
    assert not dw.nearest(np.array([1.0]), halfway, np.array([2.0**-200]))[1].any()


def test_what_underflows_or_overflows_or_is_no_number_is_not_certified() -> None:
    values = np.array([2.0**-961, 0.0, 5e-324, np.inf, -np.inf, np.nan, 1.0])
    with np.errstate(invalid="ignore"):
        certain = dw.nearest(values, np.zeros(7), np.zeros(7))[1]
    assert certain.tolist() == [False] * 6 + [True]


def test_a_logarithm_that_the_library_gets_wrong_is_off_by_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Newton's step mends an error of 2**-45 at most, so that a worse log1p of numpy's leaves no bound."""
    right = np.log1p
    monkeypatch.setattr(np, "log1p", lambda x: right(x) * (1 + 2.0**-30))
    assert np.isinf(dw.log1p((np.array([3.0]), np.array([0.0])))[2]).all()


@pytest.mark.parametrize("off", [0.0, 2.0**-60])
@pytest.mark.parametrize(
    "options",
    [{"labels": [2, 0, 4]}, {"labels": [2, 0, 4], "label_smoothing": 0.1}, {"soft": 3}, {"soft": 1}],
    ids=["labels", "smoothed", "soft", "one target of two"],
)
def test_the_errors_of_residuals_and_losses_are_their_formulas(options: dict[str, Any], off: float) -> None:
    """(9.32) and (9.33), and what 9.7 says of losses, but for some 2**-20 of them."""
    random = np.random.default_rng(6)
    z, u2 = 2 * random.normal(size=(3, 5)), 2.0**-106
    z[0] -= np.array([4, 30, 0, 70, 9])
    if "soft" in options:
        several = options["soft"] > 1
        options = {"soft": 1.5 * random.dirichlet(np.ones(5), size=3) if several else 2.0 * np.eye(5)[:3]}
    problem = Problem(np.ones((2, 5)), np.ones((3, 2)), Targets(**options))
    computed = residuals((z.copy(), np.zeros_like(z)), np.full(3, off), TargetWords(problem), slice(0, 3))

    addition, product, quotient, depth = 3.001 * u2, 7 * u2, 16 * u2, 3  # of five classes
    Q = 3 * problem.targets.effective(5, np.dtype(float))
    q, f = Q.sum(axis=1), 1 / 3
    of_f = quotient + 2 * addition  # of a sum of three
    of_Q = quotient + product + addition if "label_smoothing" in options else 0.0
    D = z - z.max(axis=1, keepdims=True)
    E = np.exp(D)
    s, is_largest = E.sum(axis=1) - 1, D == 0
    others = np.where(is_largest, s[:, None], 1 + s[:, None] - E)
    relative = 2 * (np.expm1(off) + 2.0**-96) + (3 * depth + 4) * addition
    is_hard = options.keys() == {"labels"}
    if is_hard:
        expected = np.full(3, relative + of_f + quotient + product)
    else:
        relative += of_f + of_Q + quotient + 2 * product + 2 * addition
        parts = (q[:, None] - Q) * E + Q * others
        of_q = (np.count_nonzero(Q, axis=1) > 1)[:, None] * depth * addition + 2 * of_Q
        expected = (parts * relative + of_q * q[:, None] * E) * f / (1 + s[:, None])
    np.testing.assert_allclose(computed.error, expected, rtol=1e-5)
    np.testing.assert_allclose(computed.floor, 5 * (f * (q * 2.0**-1000 + 2.0**-1040) + 2.0**-1040 * (1 + q)))

    loss = q * np.log1p(s) - (Q * D).sum(axis=1)
    of_log1p = np.where(s < 2.0**-6, 64 * u2 * np.log1p(s), 2.0**-95)
    of_log = (2.0**-96 + depth * addition) * s / (1 + s) + of_log1p
    moved = 2 * off * (q * s / (1 + s) + np.where(is_largest, 0, Q).sum(axis=1))
    of_sum = addition if is_hard else of_Q + depth * addition + product + addition
    error = f * (q * of_log + moved + of_sum * loss) + (of_f + product) * f * loss
    np.testing.assert_allclose(computed.losses[2], error, rtol=1e-5)


def test_what_underflows_in_losses_is_counted_as_often_as_logits_say() -> None:
    """2**-1040 T (1 + f)(1 + q)(1 + max |D|), beside a loss that is next to nothing."""
    z = np.array([[0.0, -600.0, -500.0]])
    targets = Targets([0], class_weights=[2.0**-950, 1, 1], reduction="sum")
    problem = Problem(np.ones((2, 3)), np.ones((1, 2)), targets)
    computed = residuals((z.copy(), np.zeros_like(z)), np.zeros(1), TargetWords(problem), slice(0, 1))
    np.testing.assert_allclose(computed.losses[2], 2.0**-1040 * 3 * 2 * 601, rtol=1e-5)


def test_exponentials_that_count_as_nothing_are_missing_from_residuals_and_losses() -> None:
    """Below e^-640: 4 times 2**-923 of each residual (9.32), and T times that of the logarithm."""
    z = np.array([[0.0, -700.0, -701.0]])
    problem = Problem(
        np.ones((2, 3)), np.ones((1, 2)), Targets([0], class_weights=[0.5, 1, 1], reduction="sum")
    )
    computed = residuals((z.copy(), np.zeros_like(z)), np.zeros(1), TargetWords(problem), slice(0, 1))
    deep = 2.0**-923
    np.testing.assert_allclose(computed.floor, 3 * 0.5 * 4 * deep, rtol=1e-9)
    np.testing.assert_allclose(computed.losses[2], 0.5 * 3 * deep, rtol=1e-5)


def test_the_errors_of_double_words_are_those_of_9_5() -> None:
    u = 2.0**-53
    assert dw.add(dw.word([1.0]), dw.word([u]))[1] == u == dw.U
    assert 3 * u**2 + 13 * u**3 < dw.ADDITION <= 3.001 * u**2
    assert [7 * u**2, 16 * u**2] == [dw.PRODUCT, dw.QUOTIENT]
    assert (dw.EXPONENTIAL, dw.UNDERFLOWN, dw.INFLATE) == (2.0**-96, 2.0**-960, 1 + 2.0**-20)
    assert (dw.SPLIT, dw.STEPS) == (2.0**27 + 1, 2**15)
    high, low = dw.split(np.array([1 + 2.0**-27 + 2.0**-52]))
    assert high + low == 1 + 2.0**-27 + 2.0**-52 and high * 2.0**26 % 1 == low * 2.0**52 % 1 == 0


@pytest.mark.parametrize("s", [2.0**-7, 2.0**-6 * (1 - 2.0**-50), 2.0**-6, 3.0, 1e6])
def test_a_logarithm_is_as_far_off_as_9_12_says(s: float) -> None:
    high, _, error = dw.log1p((np.array([s]), np.array([0.0])))
    assert error == (high * 64 * dw.U**2 if s < 2.0**-6 else 2.0**-95)


def test_certain_rounding_reaches_as_far_as_9_10_says() -> None:
    """(1 + 2^-50) of the error, and 2 u of the low word: to the half of a unit and not beyond."""
    half = 2.0**-53
    for low, error, expected in [
        (half / 2, half / 2 * (1 - 2.0**-49), True),
        (half / 2, half / 2 * (1 + 2.0**-49), False),
        (half * (1 - 2.0**-30), half * 2.0**-30 * (1 - 2.0**-20), True),
        (half * (1 - 2.0**-30), half * 2.0**-30 * (1 + 2.0**-20), False),
    ]:
        for sign in (1, -1):
            numbers = (np.array([number]) for number in (sign * 1.5, sign * low, error))
            assert dw.nearest(*numbers)[1].item() == expected, (low / half, error / half)


def test_what_is_certain_is_more_than_what_may_have_underflowed() -> None:
    values = 2.0**-960 * np.array([1.0, 1 + 2.0**-50, -1.0, -(1 + 2.0**-50)])
    assert dw.nearest(values, np.zeros(4), np.zeros(4))[1].tolist() == [False, True, False, True]


@pytest.mark.parametrize(
    ("smoothing", "class_weights", "off"),
    [
        (0.0, None, 0),
        (0.0, [1.0, 3.0], dw.PRODUCT),
        (0.1, None, dw.QUOTIENT + dw.PRODUCT + dw.ADDITION),
        (0.1, [1.0, 3.0], dw.QUOTIENT + 2 * dw.PRODUCT + dw.ADDITION),
    ],
)
def test_targets_are_off_by_what_they_are_made_of(
    smoothing: float, class_weights: list[float] | None, off: float
) -> None:
    """As (9.31) counts: a quotient, a product and a sum for smoothing, a product for weights."""
    options: Any = {"label_smoothing": smoothing, "class_weights": class_weights}
    targets = Targets(soft=[[0.25, 0.75]], **options)
    assert TargetWords(Problem(np.ones((2, 2)), np.ones((1, 2)), targets)).off_dense == pytest.approx(
        off, rel=1e-12
    )
