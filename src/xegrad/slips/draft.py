"""A gradient on its way from the logits, right or wrong, with what rounding can do at every step.

A slip changes one step and leaves the steps after it as they are.  All arrays are (..., B, T) with any stack
axes in front, so that one call makes a slip for many drafts, or for many values of its free number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import replace

from xegrad import bounds, layer
from xegrad.problem import Problem
from xegrad.targets import Array


class Gradient(msgspec.Struct, frozen=True, eq=False):
    """A gradient in the library's layout, or some rows of it, and how far from the exact one it may be."""

    values: Array
    bound: Array


class Draft(msgspec.Struct, frozen=True, eq=False):
    """One layer, example by example, up to dL/dZ."""

    analysis: bounds.Analysis
    name: str  # with respect to what
    logits: Array  # Z
    logits_error: Array  # e
    probabilities: Array  # S
    probabilities_error: Array  # dS, with the (T + 3) u S of its sum and quotient
    targets: Array  # Q
    mass: Array  # q (..., B, 1), what S is multiplied with
    residual: Array  # q S - Q, or what stands in its place
    residual_error: Array
    uses_inputs: bool = True

    @property
    def problem(self) -> Problem:
        """W, X and b in float64."""
        return self.analysis.problem

    @property
    def u(self) -> float:
        """Half the machine epsilon of the precision spoken of."""
        return self.analysis.precision.u

    @property
    def complement(self) -> Array:
        """1 - S as people form it; its error, dS + u, is within that of S."""
        return 1 - self.probabilities

    def with_logits(self, logits: Array, error: Array) -> Draft:
        """Other logits, and what follows from them."""
        probabilities, spread = softmax(self, logits, error)
        return replace(self, logits=logits, logits_error=error).with_probabilities(probabilities, spread)

    def with_probabilities(self, probabilities: Array, error: Array) -> Draft:
        """Something else in the place of S: q S - Q follows."""
        draft = replace(self, probabilities=probabilities, probabilities_error=error)
        return draft.with_residual(draft.mass * probabilities - draft.targets, draft.mass * error)

    def with_targets(self, targets: Array, mass: Array | None = None) -> Draft:
        """Other Q, and q their sum unless it is given: q S - Q follows."""
        draft = replace(
            self, targets=targets, mass=targets.sum(axis=-1, keepdims=True) if mass is None else mass
        )
        return draft.with_probabilities(draft.probabilities, draft.probabilities_error)

    def with_residual(self, residual: Array, error: Array) -> Draft:
        """Something else in the place of q S - Q.  Forming it adds (T + 4) u of itself and an underflow for
        each product, and a Q that was rounded moves it by as much of its parts, as in `bounds.stable`."""
        count = self.problem.n_classes + 4
        error = (
            error + count * self.u * np.abs(residual) + (4 + count * self.mass) * self.analysis.precision.eta
        )
        if self.analysis.options:
            parts = np.abs(residual) + np.abs(self.targets) + self.mass * np.abs(self.probabilities)
            error = error + self.analysis.options * self.u * parts
        return replace(self, residual=residual, residual_error=error)

    def take(self, index: Any) -> Draft:
        """One draft of a stack (or some), as a stack."""
        return replace(self, **{field: getattr(self, field)[index] for field in STEPS})

    def pull_back(self, rows: Any = slice(None)) -> Gradient:
        """dL/dZ carried back, to the inputs `rows` of W alone where it has inputs, with the bound of NUMERICS:
        |x| (dr) + gamma_{n+1} |x| (|r| + dr) for a sum of n > 1 terms + 2u of the result (4u below float64)."""
        problem, precision = self.problem, self.analysis.precision
        residual, error = self.residual, self.residual_error
        front: Callable[[Array, Array], Array]
        if self.name == "weights":
            inputs = problem.inputs[:, rows].T
            inputs = inputs if self.uses_inputs else np.ones_like(inputs)
            factor, terms = inputs, problem.n_rows
            front = np.matmul
        elif self.name == "inputs":
            weights = problem.weights[rows].T
            factor, terms = weights, problem.n_classes

            def front(matrix: Array, r: Array) -> Array:
                product: Array = r @ matrix
                return product

        elif self.name == "bias":
            factor, terms = np.ones((1, problem.n_rows)), problem.n_rows
            front = np.matmul
        else:
            storage = 2 * (1 + self.analysis.rounded) * self.u
            return Gradient(residual, bounds.INFLATION * (error + storage * np.abs(residual)))
        values = front(factor, residual)
        size = np.abs(factor)
        moved = error
        if terms > 1:
            steps = self.analysis.terms(terms) + 1
            moved = error + bounds.gamma(steps, self.u) * (np.abs(residual) + error)
        bound = front(size, moved) + 2 * (1 + self.analysis.rounded) * self.u * np.abs(values)
        bound = bounds.INFLATION * (bound + (terms + 1) * precision.eta)
        if self.analysis.rounded and self.name != "bias":  # x and W may have underflowed by eta themselves
            bound = bound + precision.eta * front(np.ones_like(size), np.abs(residual) + error)
        if self.name == "bias":
            return Gradient(values[..., 0, :], bound[..., 0, :])
        return Gradient(values, bound)


STEPS = (
    "logits",
    "logits_error",
    "probabilities",
    "probabilities_error",
    "targets",
    "mass",
    "residual",
    "residual_error",
)


@np.errstate(all="ignore")
def right(
    problem: Problem,
    with_respect_to: str,
    precision: str | None = None,
    terms: Callable[[int], int] = bounds.any_order,
) -> Draft:
    """The draft without a slip, a stack of one, (1, B, T)."""
    analysis = bounds.analyse(problem, precision, terms)
    forward = analysis.forward
    mass = forward.targets.sum(axis=-1, keepdims=True)
    count = analysis.problem.n_classes + 3
    error = (
        bounds.softmax_error(forward, analysis.exponents)
        + count * analysis.precision.u * forward.probabilities
    )
    draft = Draft(
        analysis=analysis,
        name=with_respect_to,
        logits=forward.logits,
        logits_error=analysis.logits,
        probabilities=forward.probabilities,
        probabilities_error=error,
        targets=forward.targets,
        mass=mass,
        residual=analysis.residual,
        residual_error=error,
    )
    return draft.with_residual(analysis.residual, mass * error).take(None)


def softmax(draft: Draft, logits: Array, error: Array) -> tuple[Array, Array]:
    """S over the last axis and dS, from logits that are off by `error`, as `bounds` derives it."""
    forward = layer.softmax(logits, draft.targets)
    exponents = error + draft.u * np.abs(forward.shifted) + 8 * draft.u
    probabilities = forward.probabilities
    spread = bounds.softmax_error(forward, exponents)
    return probabilities, spread + (logits.shape[-1] + 3) * draft.u * probabilities


def through_softmax(draft: Draft, vector: Array, error: Array) -> tuple[Array, Array]:
    """DS(v)_i = S_i (v_i - sum_k S_k v_k), the softmax Jacobian applied to v, and its error.

    With m = sum_k S_k |v_k|: S_i moves by dS_i, which multiplies at most |v_i| + m; v_i moves by dv_i, and the
    sum by sum_k (S_k dv_k + dS_k |v_k|); T products and sums and two more steps add (T + 6) u S_i (|v_i| + m).
    """
    probabilities, spread = draft.probabilities, draft.probabilities_error
    size, part = np.abs(vector), np.abs(probabilities)  # a logit in the place of S may be negative
    sizes = size + (part * size).sum(axis=-1, keepdims=True)
    moved = (part * error + spread * size).sum(axis=-1, keepdims=True)
    values = probabilities * (vector - (probabilities * vector).sum(axis=-1, keepdims=True))
    rounding = (draft.problem.n_classes + 6) * draft.u * part * sizes
    return values, spread * sizes + part * (error + moved) + rounding


def ratio(draft: Draft, numerator: Array, denominator: Array, error: Array) -> tuple[Array, Array]:
    """numerator / denominator, 0 where the numerator is, and its error; infinite where the denominator may be 0.

    |1 / (d - delta) - 1 / d| = delta / (d (d - delta)), and four roundings.
    """
    values, bound = np.zeros_like(denominator + numerator), np.zeros_like(denominator + numerator)
    needed = np.broadcast_to(numerator != 0, values.shape)
    np.divide(numerator, denominator, out=values, where=needed)
    apart = np.broadcast_to(denominator - error, values.shape)
    np.divide(error, apart, out=bound, where=needed)
    bound = np.abs(values) * np.where(apart > 0, bound + 4 * draft.u, np.inf)
    return values, np.where(needed, bound, 0)


def stack(drafts: Sequence[Draft]) -> Draft:
    """Drafts that differ in their steps as one stack, (K, B, T)."""
    parts: dict[str, list[Array]] = {field: [] for field in STEPS}
    for draft in drafts:
        fields = {field: getattr(draft, field) for field in STEPS}
        above = np.broadcast_shapes(*{array.shape[:-2] for array in fields.values()})
        for field, array in fields.items():
            if array.shape[:-2] != above:
                array = np.broadcast_to(array, (*above, *array.shape[-2:]))
            parts[field].append(array.reshape(-1, *array.shape[-2:]))
    whole = {field: each[0] if len(each) == 1 else np.concatenate(each) for field, each in parts.items()}
    return replace(drafts[0], **whole)


def cross_entropy(draft: Draft) -> tuple[float, float]:
    """-sum(Q log S) from S, and its error: Q dS / (S - dS), and (T + 4) u of every term and of their sum."""
    needed = np.broadcast_to(draft.targets != 0, draft.probabilities.shape)
    terms = np.where(needed, -draft.targets * np.log(np.where(needed, draft.probabilities, 1)), 0)
    _, error = ratio(
        draft, draft.targets * draft.probabilities, draft.probabilities, draft.probabilities_error
    )
    count = draft.logits.size + 4
    return float(terms.sum()), float((error + count * draft.u * (np.abs(terms) + draft.targets)).sum())
