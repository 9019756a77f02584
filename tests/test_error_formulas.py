"""The error of each operation, and each bound, is what the equations of docs/numerics.md come to in mpmath.

That no computation is further off is tested elsewhere; a bound that is wider than its equation would pass there.
Below, a pair is a number and its error, and both are arrays of mpmath's numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import mpmath
import numpy as np
import pytest
from mpmath import mpf
from msgspec.structs import replace

from xegrad import METHODS, InputError, Problem, Targets, bounds
from xegrad.numbers import rounded
from xegrad.numbers.arithmetic import PRECISIONS, UNROUNDED, blocked, by_name, pairwise
from xegrad.numbers.rounded import Rounded, exact, product

FLOAT32, FLOAT64, BFLOAT16 = (PRECISIONS[name] for name in ("float32", "float64", "bfloat16"))
FORMATS = {"float64": (53, 1074), "float32": (24, 149), "float16": (11, 24), "bfloat16": (8, 133)}
Pair = tuple[Any, Any]

precisely = np.vectorize(mpf, otypes=[object])
exp, expm1, log, log1p = (
    np.vectorize(one, otypes=[object]) for one in (mpmath.exp, mpmath.expm1, mpmath.log, mpmath.log1p)
)


@pytest.fixture(autouse=True)
def digits() -> Iterator[None]:
    with mpmath.workprec(300):
        yield


class Format:
    """u and eta of a format, and the equations of section 4 in it."""

    def __init__(self, name: str) -> None:
        bits, least = FORMATS[name]
        self.u, self.eta = mpf(2) ** -bits, mpf(2) ** -least
        self.largest = (1 - self.u) * mpf(2) ** (least - bits + 3)

    def gamma(self, n: Any) -> Any:
        """(2.2)"""
        return n * self.u / (1 - n * self.u)

    def enter(self, value: Any) -> Pair:
        """(5.2), of numbers that the format does not hold."""
        return precisely(value), self.u * abs(precisely(value)) + self.eta

    def add(self, a: Pair, b: Pair) -> Pair:
        """(4.3)"""
        value, moved = a[0] + b[0], a[1] + b[1]
        return value, moved + self.u * (abs(value) + moved)

    def multiply(self, a: Pair, b: Pair) -> Pair:
        """(4.4)"""
        value, moved = a[0] * b[0], abs(a[0]) * b[1] + a[1] * (abs(b[0]) + b[1])
        return value, moved + self.u * (abs(value) + moved) + self.eta

    def divide(self, a: Pair, b: Pair) -> Pair:
        """(4.5)"""
        value = a[0] / b[0]
        moved = (a[1] + abs(value) * b[1]) / (abs(b[0]) - b[1])
        return value, moved + self.u * (abs(value) + moved) + self.eta

    def sum(self, a: Pair, axis: int) -> Pair:
        """(4.6), of terms of which none is 0."""
        size = (abs(a[0]) + a[1]).sum(axis=axis)
        return a[0].sum(axis=axis), a[1].sum(axis=axis) + self.gamma(a[0].shape[axis]) * size

    def matmul(self, a: Pair, b: Pair, plus: Pair | None = None, g: Any = None) -> Pair:
        """(4.7)"""
        n = a[0].shape[-1]
        g = self.gamma(n + (plus is not None)) if g is None else g
        value = a[0] @ b[0]
        error = abs(a[0]) @ ((1 + g) * b[1] + g * abs(b[0])) + (1 + g) * (a[1] @ (abs(b[0]) + b[1]))
        error = error + n * self.eta
        if plus is not None:
            value, error = value + plus[0], error + (1 + g) * plus[1] + g * abs(plus[0])
        return value, error

    def store(self, a: Pair) -> Pair:
        """(5.12), and (4.22)"""
        return a[0], a[1] + self.u * (abs(a[0]) + a[1]) + self.eta

    def exponents(self, z: Pair) -> Any:
        """a of (4.10)"""
        return z[1] + self.u * abs(z[0] - largest(z[0])) + 8 * self.u

    def moved(self, z: Pair) -> Pair:
        """S, and dS of (4.14) as the distance of the ends of the interval (4.11)."""
        a, size = self.exponents(z), exp(z[0] - largest(z[0]))
        ends = []
        for sign in (1, -1):
            this, others = size * exp(sign * a), size * exp(-sign * a)
            ends.append(this / (this + total(others) - others))
        value = size / total(size)
        return value, np.minimum(np.maximum(ends[0] - value, value - ends[1]), 1)

    def softmax(self, z: Pair) -> Pair:
        """(4.15)"""
        value, moved = self.moved(z)
        return value, moved + (z[0].shape[-1] + 3) * (self.u * value + self.eta)

    def log_softmax(self, z: Pair) -> Pair:
        """(4.16) and (4.17)"""
        n, a = z[0].shape[-1], self.exponents(z)
        distance = z[0] - largest(z[0])
        probabilities = exp(distance) / total(exp(distance))
        moved = np.minimum(total(probabilities * expm1(a)), a.max(axis=-1, keepdims=True))
        error = moved + z[1] + (n + 9) * self.u * (1 + mpmath.log(n)) + n * self.eta
        return log(probabilities), error + 4 * self.u * (abs(distance) + mpmath.log(n))


def largest(z: Any) -> Any:
    return z.max(axis=-1, keepdims=True)


def total(z: Any) -> Any:
    return z.sum(axis=-1, keepdims=True)


def pair(number: Rounded) -> Pair:
    return precisely(number.value), precisely(number.errors)


def assert_is(number: Rounded, expected: Pair, rel: float = 1e-11) -> None:
    """The same error, but for the rounding of float64; the value is its own matter."""
    assert number.value.shape == expected[0].shape
    off = np.vectorize(lambda got, right: float(abs(mpf(got) / right - 1)), otypes=[float])
    assert off(number.errors, np.broadcast_to(expected[1], number.value.shape)).max() < rel
    np.testing.assert_allclose(number.value, expected[0].astype(float), rtol=1e-9)


def drawn(name: str, shape: tuple[int, ...], seed: int = 0) -> Rounded:
    """Numbers of both signs, none 0 or 1, with errors of some parts of them."""
    random = np.random.default_rng(seed)
    value = random.normal(size=shape) + 0.01
    return Rounded(value, abs(value) * 2.0 ** random.uniform(-20, -3, shape), PRECISIONS[name])


Operation = tuple[Callable[..., Rounded], Callable[..., Pair]]
OPERATIONS: dict[str, Operation] = {
    "sum of two (4.3)": (lambda a, b: a + b, Format.add),
    "difference (4.3)": (lambda a, b: a - b, lambda f, a, b: f.add(a, (-b[0], b[1]))),
    "product (4.4)": (lambda a, b: a * b, Format.multiply),
    "quotient (4.5)": (lambda a, b: a / b, Format.divide),
    "sum (4.6)": (lambda a, _: a.sum(axis=-1), lambda f, a, _: f.sum(a, -1)),
    "sum of columns (4.6)": (lambda a, _: a.sum(axis=0), lambda f, a, _: f.sum(a, 0)),
    "product of matrices (4.7)": (lambda a, b: a @ b.T, lambda f, a, b: f.matmul(a, (b[0].T, b[1].T))),
    "and a third (4.7)": (
        lambda a, b: product(a, b.T, a[:, :1]),
        lambda f, a, b: f.matmul(a, (b[0].T, b[1].T), (a[0][:, :1], a[1][:, :1])),
    ),
    "softmax (4.15)": (lambda a, _: rounded.softmax(a), lambda f, a, _: f.softmax(a)),
    "log softmax (4.17)": (lambda a, _: rounded.log_softmax(a), lambda f, a, _: f.log_softmax(a)),
    "logarithm (4.18)": (
        lambda a, _: rounded.log(a * a),
        lambda f, a, _: of_log(f, f.multiply(a, a)),
    ),
    "sigmoid (4.19)": (lambda a, _: rounded.sigmoid(a), lambda f, a, _: of_sigmoid(f, a)),
    "in any way (4.21)": (
        lambda a, _: a.in_any_way(3, 2),
        lambda f, a, _: (a[0], a[1] + 3 * f.u * abs(a[0]) + 2 * f.eta),
    ),
    "stored in bfloat16 (5.12)": (
        lambda a, _: a.stored(BFLOAT16),
        lambda f, a, _: Format("bfloat16").store(a),
    ),
}


def of_log(f: Format, a: Pair) -> Pair:
    return log(a[0]), a[1] / (a[0] - a[1]) + 2 * f.u * abs(log(a[0]))


def of_sigmoid(f: Format, a: Pair) -> Pair:
    value = 1 / (1 + exp(-a[0]))
    overflow = 2 / f.largest  # where e^-z overflows it counts as 0
    return value, value * (1 - value) * expm1(a[1] + 8 * f.u) + 4 * f.u * value + overflow


@pytest.mark.parametrize("name", ["float64", "float32", "float16"])  # in the last underflow is felt
@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_error_of_an_operation_is_its_equation(operation: str, name: str) -> None:
    computed, by_equation = OPERATIONS[operation]
    a, b = drawn(name, (3, 4)), drawn(name, (3, 4), seed=1)
    assert_is(computed(a, b), by_equation(Format(name), pair(a), pair(b)))


@pytest.mark.parametrize("operation", ["softmax (4.15)", "log softmax (4.17)"])
def test_logits_of_which_one_is_hardly_known_are_those_of_the_others(operation: str) -> None:
    """The ends of an interval of any width (4.11), where a difference of exponentials would lose digits."""
    computed, by_equation = OPERATIONS[operation]
    value = np.array([[0.0, 1.0, -800.0], [-2.0, 1.0, 0.5], [0.1, 0.3, -0.2]])  # exp(-800) is 0
    error = np.array([[1e-9, 1e-8, 795.0], [1e-9, 1e-12, 1.5], [1e-9, 2e-9, 0.0]])
    number = Rounded(value, error, FLOAT64)
    with np.errstate(all="ignore"):
        result = computed(number, number)
    assert_is(result, by_equation(Format("float64"), pair(number), pair(number)))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_where_nothing_is_rounded_nothing_is_off_and_no_error_is_spent(operation: str) -> None:
    computed, by_equation = OPERATIONS[operation]
    a, b = (exact(drawn("float64", (3, 4), seed).value, UNROUNDED) for seed in (0, 1))
    result = computed(a, b)
    assert result.arithmetic is UNROUNDED and not result.errors.any()
    assert result.is_exact or operation in ("logarithm (4.18)", "sigmoid (4.19)")  # which are hardly used
    expected, _ = by_equation(Format("float64"), pair(a), pair(b))
    np.testing.assert_allclose(result.value, expected.astype(float), rtol=1e-12)


def test_the_order_of_sums_has_a_name() -> None:
    orders = {"any": 100, "pairwise": 8, "blocked=4": 29, "blocked=1": 100, "blocked=" + "9" * 400: 100}
    assert {name: by_name(name)(100) for name in orders} == orders
    for name in ("blocked", "blocked=0", "blocked=-1", "blocked=x", "pairwise=2", "", "kahan"):
        with pytest.raises(InputError, match="any, pairwise or blocked=N is expected"):
            by_name(name)


def test_sums_in_another_format_are_rounded_once_more() -> None:
    """(4.22), where the sum has more than one term that is not 0."""
    mixed = replace(BFLOAT16, sums=FLOAT32)
    of_sums, of_results = Format("float32"), Format("bfloat16")
    a = drawn("float32", (2, 5))
    a = Rounded(a.value, a.error, mixed)
    assert_is(a.sum(axis=-1), of_results.store(of_sums.sum(pair(a), -1)))
    assert_is(a @ a.T, of_results.store(of_sums.matmul(pair(a), pair(a.T))))
    one = exact(np.array([[0.0, 3.0, 0.0], [0.5, 0.0, 0.0]]), mixed)
    assert one.sum(axis=-1).error.tolist() == [0.0, 0.0]
    # T u becomes T u'' + u: in (4.15) T + 3 roundings.
    value, moved = of_results.moved(pair(a))
    rounding = 5 * of_sums.u + 4 * of_results.u
    assert_is(rounded.softmax(a), (value, moved + rounding * value + 8 * of_results.eta))


@pytest.mark.parametrize("n", [1, 2, 3, 15, 16, 17, 1000])
def test_a_term_goes_through_as_many_roundings_as_the_order_makes(n: int) -> None:
    """The table of 4.5, counted on the sums themselves."""

    def depth_of_halves(size: int) -> int:
        return 0 if size == 1 else 1 + depth_of_halves((size + 1) // 2)

    assert pairwise(n) == min(n, depth_of_halves(n) + 1)
    for block in (1, 4, 16, 2000):
        assert blocked(block)(n) == min(n, block + -(-n // block))


def test_roundings_that_are_independent() -> None:
    """(4.23), and gamma where that is less."""
    p, f = 1e-9, Format("float32")
    deviations = mpmath.sqrt(2 * mpmath.log(2 / mpf(p))) / (1 - f.u)
    probable = replace(FLOAT32, failure=p)
    for n in (1, 60, 100, 4096):
        by_equation = mpmath.expm1(deviations * mpmath.sqrt(n) * f.u + n * f.u**2 / (1 - f.u))
        least = min(by_equation, f.gamma(n))
        assert float(probable.gamma(n)) == pytest.approx(float(least), rel=1e-12)
        assert float(probable.gamma(np.array([n]))[0]) == pytest.approx(float(least), rel=1e-12)
        assert probable.roundings(2, n) == pytest.approx(
            float(min(by_equation, n * f.u) + 2 * f.u), rel=1e-12
        )
    assert [float(FLOAT32.gamma(n)) for n in (2**24 - 1, 2**24, 2**25)] == [2.0**24 - 1, np.inf, np.inf]
    assert FLOAT32.gamma(np.array([2**24 - 1, 2**24])).tolist() == [2.0**24 - 1, np.inf]
    assert bounds.terms_of(problem_of("float32", "mean")) == 4 * 3 * (3 * 5 + 6) + 2 * 4  # (4.24)


# The bounds of section 5 and 6, of problems whose numbers no narrow format holds.


def problem_of(name: str, reduction: str, apart: float = 0.0) -> Problem:
    """The last of three classes is so far below the first."""
    random = np.random.default_rng(7)
    labels = Targets([2, 0, 1, 2], reduction=reduction)
    weights, inputs, bias = random.normal(size=(5, 3)), random.normal(size=(4, 5)), random.normal(size=3)
    bias -= apart * np.array([0, 0.5, 1])
    return Problem(weights, inputs, labels, bias, precision=name)


class Written:
    """The cells of (5.1) with their errors, as section 5 writes them."""

    def __init__(self, problem: Problem, name: str) -> None:
        self.problem, self.format = problem, Format(name)
        f, n_classes = self.format, problem.n_classes
        assert problem.bias is not None
        given = (problem.inputs, problem.weights, problem.bias)
        enter = f.enter if name != "float64" else (lambda a: (precisely(a), precisely(0 * a)))
        self.X, self.W, self.b = (enter(np.asarray(one)) for one in given)
        self.Z = f.matmul(self.X, self.W, self.b)  # (5.3)
        one_hot = np.eye(n_classes)[np.asarray(problem.targets.labels)]
        divisor = problem.n_rows if problem.targets.reduction == "mean" else 1
        self.is_target = one_hot == 1
        quotient = f.u / divisor + f.eta if divisor > 1 else mpf(0)
        self.Q = precisely(one_hot) / divisor, precisely(one_hot) * quotient  # 5.3
        self.q = total(self.Q[0]), total(self.Q[1])  # to add an exact 0 rounds nothing
        self.S = f.softmax(self.Z)
        q_times_S = f.multiply(self.q, self.S) if divisor > 1 else self.S  # a product with 1 rounds nothing
        value, error = f.add(q_times_S, (-self.Q[0], self.Q[1]))
        error = (
            error + (n_classes + 4) * f.u * abs(value) + (4 + (n_classes + 4) * self.q[0]) * f.eta
        )  # (5.5)
        self.R = value, error

    def gradient(self, name: str, residual: Pair) -> Pair:
        """(5.6)"""
        f, (X, dX), (W, dW) = self.format, self.X, self.W
        if name == "weights":
            return f.matmul((X.T, dX.T), residual)
        if name == "inputs":
            return f.matmul(residual, (W.T, dW.T))
        return f.sum(residual, 0) if name == "bias" else residual

    def loss(self) -> Pair:
        """5.6"""
        f, (value, error) = self.format, self.format.log_softmax(self.Z)
        at = np.argmax(self.is_target, axis=-1)[:, None]
        logarithms = np.take_along_axis(value, at, -1)[:, 0], np.take_along_axis(error, at, -1)[:, 0]
        masses = self.q[0][:, 0], self.q[1][:, 0]
        is_one = (masses[0] == 1).all()
        losses = logarithms if is_one else f.multiply(masses, logarithms)
        return f.sum((-losses[0], losses[1]), 0)


CASES = [(name, reduction) for name in ("float64", "float32") for reduction in ("mean", "sum")]
NAMES = ("weights", "bias", "inputs", "logits")


def assert_bound(bound: Any, expected: Any) -> None:
    expected = np.vectorize(float)(1.01 * np.asarray(expected))
    np.testing.assert_allclose(np.asarray(bound), expected, rtol=1e-11, atol=2.0**-1070)


@pytest.mark.parametrize(("name", "reduction"), CASES)
def test_the_bound_of_a_stable_computation_is_that_of_section_5(name: str, reduction: str) -> None:
    problem = problem_of(name, reduction)
    written, bound = Written(problem, name), METHODS["shortcut"].bound(problem, NAMES)
    for one in NAMES:
        assert_bound(bound.gradients[one], written.gradient(one, written.R)[1])
    assert_bound(bound.loss, written.loss()[1])


def v(written: Written) -> Any:
    """v of (6.1)"""
    value, error = written.S
    return total(np.where(written.is_target, written.Q[0] / (value - error), 0))


@pytest.mark.parametrize(("name", "apart"), [("float64", 0.0), ("float64", 700.0), ("float32", 82.0)])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_bound_of_the_chain_is_that_of_6_2(name: str, reduction: str, apart: float) -> None:
    """Where probabilities are near underflow, too: 1 / S magnifies it."""
    problem = problem_of(name, reduction, apart)
    written, bound = Written(problem, name), METHODS["chain"].bound(problem, NAMES)
    underflow = written.format.eta * (2 + problem.n_classes + v(written))
    residual = written.R[0], written.R[1] + underflow
    for one in NAMES:
        beside = underflow.sum() if one == "weights" else 0
        assert_bound(bound.gradients[one], written.gradient(one, residual)[1] + beside)
    assert_bound(bound.loss, written.loss()[1])


@pytest.mark.parametrize(("name", "apart"), [("float64", 0.0), ("float64", 700.0), ("float32", 82.0)])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_chain_against_the_shortcut_is_as_in_6_3(name: str, reduction: str, apart: float) -> None:
    problem = problem_of(name, reduction, apart)
    written, f = Written(problem, name), Format(name)
    bound = bounds.chain_against_shortcut(problem, NAMES)
    n_classes, n_rows = problem.n_classes, problem.n_rows
    Q, q, (S, dS) = written.Q[0], written.q[0], written.S
    spread = Q * (1 - S + dS) + (q - Q) * (S + dS)  # A of (6.2)
    apart = mpf(1.02) * (f.gamma(1 + n_classes + 10) * spread + f.gamma(n_classes + 3) * Q * (S + dS))
    underflow = f.eta * (2 + n_classes + v(written))
    size = abs(written.R[0]) + (q * dS if name == "float32" else 0)
    half = size, (apart + underflow) / 2
    written.X, written.W = (written.X[0], 0 * written.X[1]), (written.W[0], 0 * written.W[1])
    for one in NAMES:
        error = 2 * written.gradient(one, half)[1] + (underflow.sum() if one == "weights" else 0)
        assert_bound(bound.gradients[one], error)
    distance = abs(written.Z[0] - largest(written.Z[0]))
    terms = 2 * (2 * n_classes + n_rows + 6) * f.u * Q * (1 + distance + mpmath.log(n_classes))  # (6.4)
    assert_bound(bound.loss, terms.sum())


@pytest.mark.parametrize("apart", [0.0, 700.0])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_bound_of_the_complex_step_is_that_of_6_4(reduction: str, apart: float) -> None:
    problem = problem_of("float64", reduction, apart)
    written, f, n_classes = Written(problem, "float64"), Format("float64"), problem.n_classes
    bound = METHODS["complex-step"].bound(problem, NAMES)
    Q, q, S = written.Q[0], written.q[0], written.S[0]
    parts = np.where(written.Z[0] == largest(written.Z[0]), q - Q + q * (1 - S), q * S + Q)
    more = 4 * f.eta * 2**30 + (n_classes + 4) * f.u * parts
    for one in NAMES:
        assert_bound(bound.gradients[one], written.gradient(one, (written.R[0], written.R[1] + more))[1])
    assert_bound(bound.loss, written.loss()[1])


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_bound_of_finite_differences_is_that_of_6_5(reduction: str) -> None:
    problem = problem_of("float64", reduction)
    written, f, h = Written(problem, "float64"), Format("float64"), mpf(2) ** -17
    bound = METHODS["finite-difference"].bound(problem, NAMES)
    (X, _), (W, _), (q, _) = written.X, written.W, written.q
    ones = precisely(np.ones((4, 1)))
    spread = (W.max(axis=1) - W.min(axis=1))[None, :] * ones
    cubes = {
        "weights": (q * abs(X) ** 3).sum(axis=0)[:, None],
        "bias": q.sum() * precisely(np.ones(1)),
        "inputs": q * spread**3,
        "logits": q,
    }
    moves = {"weights": abs(X).max(), "bias": 1, "inputs": abs(W).max(), "logits": 1}
    loss = float(np.vectorize(float)(written.loss()[1]))
    for one in NAMES:
        truncation = h**2 / 6 * cubes[one] / (6 * mpmath.sqrt(3))  # (6.6)
        reach = abs(written.Z[0]).max() + h * moves[one]
        rounding = (2 * mpf(1.01) * loss + 2 * q.sum() * f.u * (2 * reach + 1)) / h  # (6.7)
        expected = np.broadcast_to(truncation + rounding, problem.shape_of(one))
        assert_bound(bound.gradients[one], expected)


@pytest.mark.parametrize(("name", "reduction"), CASES)
def test_the_error_of_a_careful_computation_is_that_of_7_2(name: str, reduction: str) -> None:
    problem = problem_of(name, reduction)
    written, f, n_classes = Written(problem, name), Format(name), problem.n_classes
    _, moved = f.moved(written.Z)
    S, Q, q = written.S, written.Q, written.q[0]
    rest = 1 - S[0]
    complements = rest, moved + (2 * n_classes + 4) * (f.u * rest + f.eta)
    # P is 0 or q, and exact; where it is 0, or 1, its product rounds nothing, and neither does that of a Q of 0 or 1.
    others = np.where(written.is_target, 0 * q, q + 0 * S[0])
    first = others * S[0], others * S[1] if reduction == "sum" else f.multiply((others, 0 * others), S)[1]
    first = first[0], np.where(written.is_target, mpf(0), first[1])
    second = complements if reduction == "sum" else f.multiply(Q, complements)
    second = Q[0] * rest, np.where(written.is_target, second[1], mpf(0))
    residual = f.add(first, (-second[0], second[1]))
    for one in NAMES:
        expected = np.ravel(written.gradient(one, residual)[1])
        *_, errors = bounds.of_careful(problem, one, PRECISIONS[name], np.arange(expected.size))
        assert_bound(errors, expected)
