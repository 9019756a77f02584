"""Numbers with a bound on their error, through every operation: running error analysis.

A `Rounded` has a value, computed in float64, and an error: no computation of the same formula in the arithmetic
spoken of, in any order of its sums, is further from the exact value.  Each operation propagates the errors of its
operands and adds its own rounding, u of the result, and an underflow of eta where it can underflow (Higham, Accuracy
and Stability of Numerical Algorithms, 2nd ed., section 3.3).  The error is infinite where a result may overflow.
In an arithmetic that rounds nothing (`UNROUNDED`) it stays 0.0, and nothing is spent on it.

Arrays may have any stack axes in front, so that one operation serves many problems, or many values of a parameter.

See docs/numerics.md, section 4, for the equations that are cited by number.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from xegrad import layer
from xegrad.arrays import blocks
from xegrad.numbers.arithmetic import Arithmetic
from xegrad.numbers.sums import Products, bounded
from xegrad.targets import Array


class Rounded(msgspec.Struct, eq=False):
    """An array with a bound on the error of each entry, which broadcasts to it; 0.0 is that of an exact array."""

    value: Array
    error: Any
    arithmetic: Arithmetic

    __array_ufunc__ = None  # array * Rounded is for `__rmul__`

    def __post_init__(self) -> None:
        self.value = np.asarray(self.value, dtype=np.float64)

    @property
    def errors(self) -> Array:
        """The error of each entry, in the shape of the value."""
        return np.broadcast_to(self.error, self.value.shape)

    @property
    def is_exact(self) -> bool:
        """Whether no entry has an error."""
        return np.ndim(self.error) == 0 and self.error == 0

    def _lifted(self, other: Any) -> Rounded:
        return other if isinstance(other, Rounded) else exact(other, self.arithmetic)

    # One rounding more.

    def _result(self, value: Array, moved: Any, underflows: int = 0) -> Rounded:
        """The operands' errors move it by `moved`; what is then rounded is at most |value| + moved (4.2)."""
        if not self.arithmetic.rounds:
            return exact(value, self.arithmetic)
        size = np.abs(value)
        size += moved
        error = self.arithmetic.u * size
        error += moved
        if underflows:
            error += underflows * self.arithmetic.eta
        return Rounded(value, bounded(error, size, self.arithmetic), self.arithmetic)

    def in_any_way(self, roundings: int, underflows: Any = 0, additions: int = 0) -> Rounded:
        """The same, however it is formed: with so many roundings of the result more, so many underflows, and a sum of
        so many terms."""
        if not self.arithmetic.rounds:
            return self
        rounding = self.arithmetic.roundings(roundings, additions) * np.abs(self.value)
        return self.less_certain(rounding).less_certain(underflows * self.arithmetic.eta)

    def less_certain(self, error: Any) -> Rounded:
        """The same value, off by so much more."""
        return Rounded(self.value, self.error + error, self.arithmetic)

    def stored(self, other: Arithmetic) -> Rounded:
        """The same once it is rounded to another format; an exact number that the format holds is not rounded
        (5.12)."""
        if not self.arithmetic.rounds:
            return self
        error = other.rounding(self.value, self.error)
        if not np.all(self.error):
            error = np.where(np.equal(self.error, 0) & other.holds(self.value), 0.0, error)
        fits = np.abs(self.value) + self.error <= other.largest
        return Rounded(self.value, np.where(fits, error, np.inf), self.arithmetic)

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
        value = self.value * other.value
        if not self.arithmetic.rounds:
            return exact(value, self.arithmetic)
        moved = np.abs(self.value) * other.error + self.error * (np.abs(other.value) + other.error)
        result = self._result(value, moved, underflows=1)
        for factor in (self, other):
            if not np.all(factor.error):  # entry by entry: it does not matter what else is in the array
                size = np.abs(factor.value)
                is_kept = ((size == 0) | (size == 1)) & np.equal(factor.error, 0)
                result.error = np.where(is_kept, moved, result.error)
        return result

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Rounded:
        """|a / b - (a + da)/(b + db)| <= (da + |a / b| db) / (|b| - db); 0, and not formed, where a is exactly 0."""
        other = self._lifted(other)
        shape = np.broadcast_shapes(self.value.shape, other.value.shape)
        needed = (self.value != 0) | (self.error != 0)
        value = np.divide(self.value, other.value, out=np.zeros(shape), where=needed)
        if not self.arithmetic.rounds:
            return exact(value, self.arithmetic)
        moved, least = self.error + np.abs(value) * other.error, np.abs(other.value) - other.error
        moved = np.divide(moved, least, out=np.full(shape, np.inf), where=least > 0)
        result = self._result(value, moved, underflows=1)
        result.error = np.where(needed, result.error, 0.0)
        return result

    def __rtruediv__(self, other: Any) -> Rounded:
        return self._lifted(other) / self

    def __matmul__(self, other: Rounded) -> Rounded:
        return product(self, other)

    def sum(self, axis: int, keepdims: bool = False) -> Rounded:
        """The sum over an axis (4.6)."""
        return summed([self.addends(axis, keepdims)], self.value.shape[axis], self.arithmetic)

    def addends(self, axis: int, keepdims: bool = False) -> Addends:
        """What these numbers add to a sum."""

        def total(array: Array) -> Array:
            return array.sum(axis=axis, keepdims=keepdims)

        if not self.arithmetic.rounds:
            return Addends(total(self.value))
        terms = total((self.value != 0) | (self.error != 0))
        return Addends(total(self.value), terms, total(np.abs(self.value) + self.error), total(self.errors))

    # Entries in other places; nothing is rounded.

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the value."""
        return self.value.shape

    @property
    def T(self) -> Rounded:  # noqa: N802 (what numpy calls it)
        """The last two axes exchanged."""
        return self.moved(lambda array: array.swapaxes(-1, -2))

    def moved(self, change: Callable[[Array], Any]) -> Rounded:
        """Values and errors, with their places changed alike."""
        error = self.error if np.ndim(self.error) == 0 else change(self.errors)
        return Rounded(change(self.value), error, self.arithmetic)

    def __getitem__(self, index: Any) -> Rounded:
        return self.moved(lambda array: array[index])

    def broadcast_to(self, shape: tuple[int, ...]) -> Rounded:
        """The same number for each of a stack."""
        return self.moved(lambda array: np.broadcast_to(array, shape))

    def reshape(self, *shape: int) -> Rounded:
        """In C order."""
        return self.moved(lambda array: array.reshape(shape))


def exact(value: Any, arithmetic: Arithmetic) -> Rounded:
    """A number that nobody rounds."""
    return Rounded(value, 0.0, arithmetic)


def entered(value: Any, arithmetic: Arithmetic) -> Rounded:
    """Float64 numbers as they enter the arithmetic: rounded, where its precision does not hold them."""
    value = np.asarray(value, dtype=np.float64)
    flat = value.ravel("K")
    if not arithmetic.rounds_inputs or all(
        arithmetic.holds(flat[some]).all() for some in blocks(flat.size, 2**15)
    ):
        return exact(value, arithmetic)
    held = arithmetic.holds(value)
    return Rounded(value, np.where(held, 0, arithmetic.u * np.abs(value) + arithmetic.eta), arithmetic)


class Addends(NamedTuple):
    """What some terms add to a sum: to its value, to the count of those that are not exactly 0, to the sum of their
    sizes, and to that of their errors."""

    value: Array
    terms: Any = 0
    size: Any = 0
    error: Any = 0


def summed(parts: Sequence[Addends], n_terms: int, arithmetic: Arithmetic, partial: float = 0.0) -> Rounded:
    """A sum of n terms in all, in any order: gamma of the additions times what is added up; to add an exact 0 rounds
    nothing (4.6).  `partial` as in a product."""
    value, terms, size, error = (functools.reduce(np.add, column) for column in zip(*parts, strict=True))
    if not arithmetic.rounds:
        return exact(value, arithmetic)
    # A term that is added up in a narrower format is rounded to it first, if it is the only one, too (4.22).
    enters, underflows = arithmetic.adding.u > arithmetic.u, arithmetic.adding.eta > arithmetic.eta
    added: Any = 0
    if n_terms > 1 or enters:
        added = np.minimum(terms * ((terms > 1) | enters), arithmetic.terms(n_terms))
    error = error + arithmetic.gamma(added) * size
    if underflows:
        error = error + terms * arithmetic.adding.eta
    if arithmetic.sums is not None:
        error = np.where(np.equal(added, 0), error, arithmetic.rounding(value, error))
    if partial:
        error = error + partial * (1 + arithmetic.gamma(arithmetic.terms(n_terms))) * size
    return Rounded(value, bounded(error, size, arithmetic), arithmetic)


def product(
    first: Rounded,
    second: Rounded,
    plus: Rounded | None = None,
    value: Array | None = None,
    partial: float = 0.0,
) -> Rounded:
    """A B, or A B + c; `value` is what that is, where it is known already, and `partial` as in `Products`."""
    arithmetic = first.arithmetic
    if value is None:
        value = first.value @ second.value
        value = value if plus is None else value + plus.value
    if not arithmetic.rounds:
        return exact(value, arithmetic)
    products = Products(first.value.shape[-1], arithmetic, plus, partial)
    products.add(first, second)
    return Rounded(value, products.error(value), arithmetic)


# Several numbers in one.


def _joined(join: Callable[[list[Array]], Array], several: Sequence[Rounded]) -> Rounded:
    values, arithmetic = [one.value for one in several], several[0].arithmetic
    if not arithmetic.rounds:
        return exact(join(values), arithmetic)
    return Rounded(join(values), join([one.errors for one in several]), arithmetic)


def where(condition: Any, first: Any, second: Any) -> Rounded:
    """Entries of one or of the other."""
    one = first if isinstance(first, Rounded) else second
    return _joined(lambda arrays: np.where(condition, *arrays), [one._lifted(first), one._lifted(second)])


def stacked(several: Sequence[Rounded]) -> Rounded:
    """(K, ...) of K whose shapes broadcast to one."""
    return _joined(lambda arrays: np.stack(np.broadcast_arrays(*arrays)), several)


def concatenated(several: Sequence[Rounded], axis: int = 0) -> Rounded:
    """Stacks one after the other."""
    return _joined(lambda arrays: np.concatenate(arrays, axis=axis), several)


# The functions of the layer.


class Exponentials(NamedTuple):
    """exp of logits less the largest of their row, and how far each moves with the errors of the logits."""

    forward: layer.Forward
    exponents: Array  # a (4.10), the error of log E
    moves: Array  # (2, B, T): up, E (e^a - 1), and down, E (1 - e^-a)

    @property
    def moved(self) -> Array:
        """dS (4.14), how far these move S: up (4.12) and down (4.13), times sum E, where each E_i moves one way and the
        others the other way."""
        forward, moves = self.forward, self.moves
        size = forward.exponentials
        apart = _of_others(moves[::-1])
        apart *= size
        apart += moves * layer.other_exponentials(forward)
        ends = np.empty_like(moves)
        np.add(size, moves[0], out=ends[0])
        np.subtract(size, moves[1], out=ends[1])
        others = _of_others(ends[::-1])
        others += ends
        apart /= others
        moved: Array = apart.max(axis=0)
        moved /= 1 + forward.others
        return np.fmin(moved, min(size.shape[-1] - 1, 1), out=moved)


def exponentials(logits: Rounded, forward: layer.Forward | None = None) -> Exponentials:
    """Those of logits; `forward` is the forward pass of these, where it is there already.

    Down is up / e^a.  Where a is large, E may have underflowed though E e^a has not: then from the exponent itself.
    """
    forward = forward or layer.softmax(logits.value, np.zeros(()))
    if not logits.arithmetic.rounds:
        return Exponentials(forward, np.zeros(()), np.zeros(2))
    shifted, size, u = forward.shifted, forward.exponentials, logits.arithmetic.u
    exponents = logits.error + u * np.abs(shifted) + 8 * u
    grown = np.expm1(exponents)
    moves = np.empty((2, *np.broadcast_shapes(grown.shape, size.shape)))
    np.multiply(size, grown, out=moves[0])
    if exponents.max(initial=0.0) < 1:
        np.divide(moves[0], 1 + grown, out=moves[1])
    else:
        moves[0] = np.where(exponents < 1, moves[0], np.exp(shifted + exponents) - size)
        moves[1] = size * -np.expm1(-exponents)
    return Exponentials(forward, exponents, moves)


def softmax(logits: Rounded, known: Exponentials | None = None) -> Rounded:
    """S over the last axis, from exponentials that are known, or not.

    Its error is (4.15).  The probability of one class is 1, and exact.  A quotient of what overflows or
    underflows is NaN: then nothing more is known than that two probabilities are never further apart than 1.
    """
    known = known or exponentials(logits)
    arithmetic, probabilities = logits.arithmetic, known.forward.probabilities
    if not arithmetic.rounds:
        return exact(probabilities, arithmetic)
    count = (n_classes := logits.value.shape[-1]) + 3
    error = known.moved
    rounding = arithmetic.roundings(3, n_classes) / count * probabilities
    rounding += arithmetic.eta
    rounding *= count
    error += rounding
    return Rounded(probabilities, _none_near_overflow(error, known.exponents), arithmetic)


def complements(logits: Rounded, known: Exponentials) -> Rounded:
    """1 - S = O / (1 + s), the other exponentials added up (3.3): off by as much as S is but for the roundings, which
    are of 1 - S: T of each of the two sums, and four more."""
    arithmetic, n_classes, forward = logits.arithmetic, logits.value.shape[-1], known.forward
    value = layer.other_exponentials(forward) / (1 + forward.others)
    error = (
        known.moved + arithmetic.roundings(4, 2 * n_classes) * value + (2 * n_classes + 4) * arithmetic.eta
    )
    return Rounded(value, _none_near_overflow(error, known.exponents), arithmetic)


def log_softmax(logits: Rounded, known: Exponentials | None = None, classes: Any = None) -> Rounded:
    """log S = D - log1p(s), from the logits and not from S; of all classes, or of the (B, 1) that are wanted.

    log sum E moves as (4.16) says, and D_k by e_k; what is formed of them adds its roundings (4.17).
    """
    forward, exponents, (up, _) = known or exponentials(logits)
    of_logits, shifted, arithmetic = logits.errors, forward.shifted, logits.arithmetic
    if classes is not None:
        of_logits, shifted = (np.take_along_axis(of, classes, axis=-1) for of in (of_logits, shifted))
    value = shifted - np.log1p(forward.others)
    if not arithmetic.rounds:
        return exact(value, arithmetic)
    n_classes = logits.value.shape[-1]
    moved = up.sum(axis=-1, keepdims=True) / (1 + forward.others)
    moved = np.fmin(moved, exponents.max(axis=-1, keepdims=True))
    log_classes = np.log(n_classes)
    error = moved + arithmetic.roundings(9, n_classes) * (1 + log_classes) + n_classes * arithmetic.eta
    error = error + of_logits + 4 * arithmetic.u * (np.abs(shifted) + log_classes)
    return Rounded(value, _none_near_overflow(error, exponents), arithmetic)


def _of_others(sizes: Array) -> Array:
    """The sum of all other numbers of a row, none negative: the whole less the number, but for the largest."""
    where = sizes.argmax(axis=-1)[..., None]
    largest = np.take_along_axis(sizes, where, axis=-1)
    np.put_along_axis(sizes, where, 0, axis=-1)  # for the while of a sum
    rest = sizes.sum(axis=-1, keepdims=True)
    np.put_along_axis(sizes, where, largest, axis=-1)
    others: Array = largest + rest - sizes
    np.put_along_axis(others, where, rest, axis=-1)
    return others


def _none_near_overflow(error: Array, exponents: Array) -> Array:
    """The error, infinite in rows of which a logit may overflow: a softmax of infinity is no number."""
    return np.where(np.isfinite(exponents).all(axis=-1, keepdims=True), error, np.inf)


def through_softmax(probabilities: Rounded, vector: Rounded) -> Rounded:
    """DS(v)_i = S_i (v_i - sum_k S_k v_k): the softmax Jacobian applied to each row."""
    return probabilities * (vector - (probabilities * vector).sum(axis=-1, keepdims=True))


def sigmoid(logits: Rounded) -> Rounded:
    """1 / (1 + e^-z), which moves by sigma (1 - sigma) expm1(e + 8 u), and four roundings; 0 where e^-z overflows."""
    arithmetic = logits.arithmetic
    values = 1 / (1 + np.exp(-logits.value))
    moved = values * (1 - values) * np.expm1(logits.error + 8 * arithmetic.u)
    return Rounded(values, moved + 2 / arithmetic.largest, arithmetic).in_any_way(4)


def log(number: Rounded) -> Rounded:
    """ln, whose error is that of the number over the least that it may be; infinite where it may be 0."""
    least = number.value - number.error
    moved = np.divide(number.error, least, out=np.full_like(number.value, np.inf), where=least > 0)
    return Rounded(np.log(number.value), moved, number.arithmetic).in_any_way(2)
