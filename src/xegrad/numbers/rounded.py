"""Numbers with a bound on their error, through every operation: running error analysis.

A `Rounded` has a value, computed in float64, and an error: no computation of the same formula in the arithmetic
spoken of, in any order of its sums, is further from the exact value.  Each operation propagates the errors of its
operands and adds its own rounding, u of the result, and an underflow of eta where it can underflow (Higham, Accuracy
and Stability of Numerical Algorithms, 2nd ed., section 3.3).  The error is infinite where a result may overflow.
In an arithmetic that rounds nothing (`UNROUNDED`) it stays 0.0, and nothing is spent on it.

Arrays may have any stack axes in front, so that one operation serves many problems, or many values of a parameter.

See docs/numerics.md, section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xegrad import layer
from xegrad.numbers.arithmetic import Arithmetic
from xegrad.targets import Array


class Rounded:
    """An array with a bound on the error of each entry; an error of 0.0 is that of an exact array."""

    __slots__ = ("arithmetic", "error", "value")
    __array_ufunc__ = None  # array * Rounded is for `__rmul__`

    def __init__(self, value: Any, error: Any, arithmetic: Arithmetic) -> None:
        self.value: Array = np.asarray(value, dtype=np.float64)
        self.error: Any = error
        self.arithmetic = arithmetic

    def __repr__(self) -> str:
        return f"Rounded({self.value}, error={self.error})"

    # One rounding more.

    def _result(self, value: Array, moved: Any, *, underflows: int = 0) -> Rounded:
        """The operands' errors move it by `moved`; what is then rounded is at most |value| + moved."""
        if not self.arithmetic.rounds:
            return exact(value, self.arithmetic)
        size = np.abs(value) + moved
        error = moved + self.arithmetic.u * size + underflows * self.arithmetic.eta
        return Rounded(value, _bounded(error, size, self.arithmetic), self.arithmetic)

    def _lifted(self, other: Any) -> Rounded:
        return other if isinstance(other, Rounded) else Rounded(other, 0.0, self.arithmetic)

    def in_any_way(self, roundings: int, underflows: Any = 0) -> Rounded:
        """The same, however it is formed: with so many roundings of the result more, and so many underflows."""
        if not self.arithmetic.rounds:
            return self
        error = self.error + roundings * self.arithmetic.u * np.abs(self.value)
        return Rounded(self.value, error + underflows * self.arithmetic.eta, self.arithmetic)

    def less_certain(self, error: Any) -> Rounded:
        """The same, off by so much more."""
        return Rounded(self.value, self.error + error, self.arithmetic)

    # Arithmetic.

    def __neg__(self) -> Rounded:
        return Rounded(-self.value, self.error, self.arithmetic)

    def __add__(self, other: Any) -> Rounded:
        other = self._lifted(other)
        return self._result(self.value + other.value, self.error + other.error)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Rounded:
        return self + -self._lifted(other)

    def __rsub__(self, other: Any) -> Rounded:
        return self._lifted(other) - self

    def __mul__(self, other: Any) -> Rounded:
        """|a b - (a + da)(b + db)| <= |a| db + da (|b| + db); a product with an exact 0, 1 or -1 rounds nothing."""
        other = self._lifted(other)
        if not self.arithmetic.rounds:
            return exact(self.value * other.value, self.arithmetic)
        moved = np.abs(self.value) * other.error + self.error * (np.abs(other.value) + other.error)
        result = self._result(self.value * other.value, moved, underflows=1)
        for factor in (self, other):
            if np.ndim(factor.error) == 0 and factor.error == 0:
                size = np.abs(factor.value)
                result.error = np.where((size == 0) | (size == 1), moved, result.error)
        return result

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Rounded:
        """|a / b - (a + da)/(b + db)| <= (da + |a / b| db) / (|b| - db); 0, and not formed, where a is exactly 0."""
        other = self._lifted(other)
        shape = np.broadcast_shapes(
            self.value.shape, np.shape(self.error), other.value.shape, np.shape(other.error)
        )
        needed = np.broadcast_to((self.value != 0) | (self.error != 0), shape)
        value = np.divide(self.value, other.value, out=np.zeros(shape), where=needed)
        if not self.arithmetic.rounds:
            return exact(value, self.arithmetic)
        least = np.broadcast_to(np.abs(other.value) - other.error, shape)
        moved = np.divide(
            self.error + np.abs(value) * other.error, least, out=np.full(shape, np.inf), where=least > 0
        )
        result = self._result(value, moved, underflows=1)
        result.error = np.where(needed, result.error, 0.0)
        return result

    def __rtruediv__(self, other: Any) -> Rounded:
        return self._lifted(other) / self

    def __matmul__(self, other: Any) -> Rounded:
        return product(self, self._lifted(other))

    def __rmatmul__(self, other: Any) -> Rounded:
        return product(self._lifted(other), self)

    def sum(self, axis: int, keepdims: bool = False) -> Rounded:
        """gamma of the additions times what is added up; to add an exact 0 rounds nothing."""
        value = self.value.sum(axis=axis, keepdims=keepdims)
        if not self.arithmetic.rounds:
            return exact(value, self.arithmetic)
        n_terms = self.value.shape[axis]
        added: Any = 0
        if n_terms > 1:
            terms = ((self.value != 0) | (self.error != 0)).sum(axis=axis, keepdims=keepdims)
            added = np.where(terms > 1, np.minimum(terms, self.arithmetic.terms(n_terms)), 0)
        size = (np.abs(self.value) + self.error).sum(axis=axis, keepdims=keepdims)
        error = np.broadcast_to(self.error, self.value.shape).sum(axis=axis, keepdims=keepdims)
        error = error + self.arithmetic.gamma(added) * size
        return Rounded(value, _bounded(error, size, self.arithmetic), self.arithmetic)

    # Entries in other places; nothing is rounded.

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the value."""
        return self.value.shape

    @property
    def T(self) -> Rounded:  # noqa: N802 (what numpy calls it)
        """The last two axes exchanged."""
        return self.moved(lambda array: array.swapaxes(-1, -2))

    def moved(self, change: Any) -> Rounded:
        """The same change of places for values and errors."""
        error = (
            self.error if np.ndim(self.error) == 0 else change(np.broadcast_to(self.error, self.value.shape))
        )
        return Rounded(change(self.value), error, self.arithmetic)

    def __getitem__(self, index: Any) -> Rounded:
        return self.moved(lambda array: array[index])

    def broadcast_to(self, shape: tuple[int, ...]) -> Rounded:
        """The same for each of a stack."""
        return self.moved(lambda array: np.broadcast_to(array, shape))

    def reshape(self, *shape: int) -> Rounded:
        """In C order."""
        return self.moved(lambda array: array.reshape(shape))


def _bounded(error: Any, size: Array, arithmetic: Arithmetic) -> Any:
    """The error, infinite where the size is near overflow."""
    if size.size and not size.max() <= arithmetic.near_overflow:  # a NaN is near nothing
        return np.where(size <= arithmetic.near_overflow, error, np.inf)
    return error


def exact(value: Any, arithmetic: Arithmetic) -> Rounded:
    """A number that nobody rounds."""
    return Rounded(value, 0.0, arithmetic)


def entered(value: Any, arithmetic: Arithmetic) -> Rounded:
    """Float64 numbers as they enter the arithmetic: rounded, where its precision does not hold them."""
    if not arithmetic.rounds_inputs:
        return exact(value, arithmetic)
    value = np.asarray(value, dtype=np.float64)
    held = arithmetic.precision.holds(value)
    if held.all():
        return exact(value, arithmetic)
    return Rounded(value, np.where(held, 0, arithmetic.u * np.abs(value) + arithmetic.eta), arithmetic)


def product(
    first: Rounded, second: Rounded, plus: Rounded | None = None, value: Array | None = None
) -> Rounded:
    """A B, or A B + c, with c in any place of the sums; `value` is what that is, where it is known already.

    With g = gamma of the n products of a sum (n + 1 terms with c),
    |A B - (A + dA)(B + dB)| <= |A| dB + dA (|B| + dB) =: M, and the sum is off by M + g (|A| |B| + M), so by
    |A| (g |B| + (1 + g) dB) + (1 + g) dA (|B| + dB), with n underflows: two products, one where A is exact.
    """
    arithmetic = first.arithmetic
    if value is None:
        value = first.value @ second.value
        value = value if plus is None else value + plus.value
    if not arithmetic.rounds:
        return exact(value, arithmetic)
    n_terms = first.value.shape[-1]
    g = arithmetic.gamma(arithmetic.terms(n_terms) + (plus is not None))
    a, b = np.abs(first.value), np.abs(second.value)
    error = a @ (g * b + (1 + g) * second.error) if _has_error(second) else g * (a @ b)
    error += n_terms * arithmetic.eta
    most = b + second.error
    if _has_error(first):
        error += (1 + g) * (np.broadcast_to(first.error, a.shape) @ most)
        a = a + first.error
    size: Array | None = None  # of the sums, and of nothing where it cannot be near overflow
    if not a.max(initial=0.0) * most.max(initial=0.0) * n_terms <= arithmetic.near_overflow:
        size = a @ most
    if plus is not None:
        added = np.abs(plus.value)
        error = error + (1 + g) * plus.error + g * added
        if size is not None or not added.max(initial=0.0) <= arithmetic.near_overflow:
            size = np.abs(value) + added + (0 if size is None else size)
    return Rounded(value, error if size is None else _bounded(error, size, arithmetic), arithmetic)


def _has_error(number: Rounded) -> bool:
    return bool(np.ndim(number.error) or number.error)


def where(condition: Any, first: Any, second: Any) -> Rounded:
    """Entries of one or of the other."""
    one = first if isinstance(first, Rounded) else second
    first, second = one._lifted(first), one._lifted(second)
    return Rounded(
        np.where(condition, first.value, second.value),
        np.where(condition, first.error, second.error),
        one.arithmetic,
    )


def stacked(several: Sequence[Rounded]) -> Rounded:
    """(K, ...) of K whose shapes broadcast to one."""
    shape = np.broadcast_shapes(*(one.value.shape for one in several))
    return Rounded(
        np.stack([np.broadcast_to(one.value, shape) for one in several]),
        np.stack([np.broadcast_to(one.error, shape) for one in several]),
        several[0].arithmetic,
    )


def concatenated(several: Sequence[Rounded]) -> Rounded:
    """Stacks one after the other."""
    return Rounded(
        np.concatenate([one.value for one in several]),
        np.concatenate([np.broadcast_to(one.error, one.value.shape) for one in several]),
        several[0].arithmetic,
    )


# The functions of the layer.


def softmax(logits: Rounded, forward: layer.Forward | None = None) -> Rounded:
    """S over the last axis; `forward` is the forward pass of these logits, where it is there already.

    The sum of E and the quotient add (T + 3) u S.
    """
    forward = forward or layer.softmax(logits.value, np.zeros(()))
    probabilities = forward.probabilities
    if not logits.arithmetic.rounds:
        return exact(probabilities, logits.arithmetic)
    exponents = _exponents(logits, forward)
    count = logits.value.shape[-1] + 3
    error = softmax_error(forward, exponents)
    error = error + count * (logits.arithmetic.u * probabilities + logits.arithmetic.eta)
    return Rounded(probabilities, _none_near_overflow(error, exponents), logits.arithmetic)


def log_softmax(logits: Rounded, forward: layer.Forward | None = None) -> Rounded:
    """log S = D - log1p(s), from the logits and not from S.

    log sum E moves by at most log(1 + sum_k S_k (e^a_k - 1)), and by at most the largest a_k; D_k by e_k.  The sum
    of E and its logarithm add (T + 9) u (1 + ln T), what is formed of them 4 u (|D_k| + ln T).
    """
    forward = forward or layer.softmax(logits.value, np.zeros(()))
    exponents = _exponents(logits, forward)
    n_classes, u = logits.value.shape[-1], logits.arithmetic.u
    up, _ = exponentials_error(forward, exponents)
    moved = (up / (1 + forward.others)).sum(axis=-1, keepdims=True)
    moved = np.fmin(moved, exponents.max(axis=-1, keepdims=True))
    log_classes = np.log(n_classes)
    error = moved + (n_classes + 9) * u * (1 + log_classes) + n_classes * logits.arithmetic.eta
    error = error + logits.error + 4 * u * (np.abs(forward.shifted) + log_classes)
    value = forward.shifted - np.log1p(forward.others)
    return Rounded(value, _none_near_overflow(error, exponents), logits.arithmetic)


def _exponents(logits: Rounded, forward: layer.Forward) -> Array:
    """a, the error of log E, (B, T).

    E = exp(Z - Z_m) is off by e from the logits (the maximum's own error is in every class of a row, and cancels in
    S), by u |Z - Z_m| from the subtraction, and exp itself by a few u.
    """
    u = logits.arithmetic.u
    return logits.error + u * np.abs(forward.shifted) + 8 * u


def _none_near_overflow(error: Array, exponents: Array) -> Array:
    """The error, infinite in rows of which a logit may overflow: a softmax of infinity is no number."""
    resolved = np.isfinite(exponents)
    return error if resolved.all() else np.where(resolved.all(axis=-1, keepdims=True), error, np.inf)


def exponentials_error(forward: layer.Forward, exponents: Array) -> tuple[Array, Array]:
    """E (e^a - 1) and E (1 - e^-a), (B, T): how far each exponential moves up and down.

    Where a is large, E may have underflowed though E e^a has not: then from the exponent itself.
    """
    up = np.where(
        exponents < 1,
        forward.exponentials * np.expm1(exponents),
        np.exp(forward.shifted + exponents) - forward.exponentials,
    )
    return up, forward.exponentials * -np.expm1(-exponents)


def softmax_error(forward: layer.Forward, exponents: Array) -> Array:
    """dS, (B, T): S_i is largest where E_i is and the other E_k are smallest, and the other way round.

    With O_i = sum_{k != i} E_k and tot = sum E, from the quotients, without taking their difference:
    E_i e^a_i / (E_i e^a_i + sum_{k != i} E_k e^-a_k) - E_i / tot
      = (E_i (e^a_i - 1) O_i + E_i sum_{k != i} E_k (1 - e^-a_k)) / (tot (E_i e^a_i + sum_{k != i} E_k e^-a_k))
    and its mirror.  Two probabilities are never further apart than 1.
    """
    up, down = exponentials_error(forward, exponents)
    size, others = forward.exponentials, layer.other_exponentials(forward)
    total = 1 + forward.others
    highest, lowest = size + up, size - down
    upper = (up * others + size * layer.other_targets(down)) / (highest + layer.other_targets(lowest))
    lower = (down * others + size * layer.other_targets(up)) / (lowest + layer.other_targets(highest))
    error = np.fmax(upper, lower) / total
    return np.where(np.isfinite(error), np.minimum(error, 1), 1)


def through_softmax(probabilities: Rounded, vector: Rounded) -> Rounded:
    """DS(v)_i = S_i (v_i - sum_k S_k v_k): the softmax Jacobian applied to each row."""
    return probabilities * (vector - (probabilities * vector).sum(axis=-1, keepdims=True))


def sigmoid(logits: Rounded) -> Rounded:
    """1 / (1 + e^-z), which moves by sigma (1 - sigma) expm1(e + 8 u), and four roundings; 0 where e^-z overflows."""
    arithmetic = logits.arithmetic
    values = 1 / (1 + np.exp(-logits.value))
    moved = values * (1 - values) * np.expm1(logits.error + 8 * arithmetic.u)
    return Rounded(values, moved + 2 / arithmetic.precision.largest, arithmetic).in_any_way(4)


def log(number: Rounded) -> Rounded:
    """ln, whose error is that of the number over the least that it may be; infinite where it may be 0."""
    least = number.value - number.error
    moved = np.divide(number.error, least, out=np.full_like(number.value, np.inf), where=least > 0)
    return Rounded(np.log(number.value), moved, number.arithmetic).in_any_way(2)
