"""What rounding alone can do to a loss and to a gradient, derived.

Every bound is evaluated in float64, whatever the precision it speaks of, and inflated by 1.01 for its
own rounding.  Infinity is no promise.  u is half the machine epsilon, eta the smallest subnormal,
gamma_n = n u / (1 - n u) (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., lemma 3.1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from xegrad import layer
from xegrad.problem import Problem
from xegrad.targets import Array

INFLATION = 1.01


class Bound(msgspec.Struct, frozen=True, eq=False):
    """How far from the exact ones an evaluation's loss and gradients are at most, entry by entry."""

    loss: float | Array
    gradients: Mapping[str, Array]


class Precision(msgspec.Struct, frozen=True):
    """A floating-point format: u is half the distance from 1 to the next number, eta the smallest positive."""

    u: float
    eta: float
    largest: float


PRECISIONS: Mapping[str, Precision] = {
    "float64": Precision(2.0**-53, 2.0**-1074, (2 - 2.0**-52) * 2.0**1023),
    "float32": Precision(2.0**-24, 2.0**-149, (2 - 2.0**-23) * 2.0**127),
    "float16": Precision(2.0**-11, 2.0**-24, 65504.0),
    "bfloat16": Precision(2.0**-8, 2.0**-133, (2 - 2.0**-7) * 2.0**127),
}


def any_order(n: int) -> int:
    """How many roundings a term of a sum of n goes through, whatever the order."""
    return n


def pairwise(n: int) -> int:
    """The same for a sum by halves: the depth of the tree, and one for a product fused or not."""
    return min(n, math.ceil(math.log2(n)) + 1)


def blocked(block: int) -> Callable[[int], int]:
    """The same for sums of blocks of so many terms, which are then summed."""

    def terms(n: int) -> int:
        return min(n, block + math.ceil(n / block))

    return terms


class Analysis(msgspec.Struct, frozen=True, eq=False):
    """What the bounds share: everything in float64, u and eta of the precision spoken of."""

    problem: Problem
    forward: layer.Forward
    residual: Array  # q S - Q (B, T)
    precision: Precision
    rounded: bool  # whether W, x and b may have been rounded on their way into this precision
    options: float  # how many u each entry of Q is off by
    terms: Callable[[int], int]  # of sums over N inputs and B rows
    within_range: NDArray[np.bool_]  # (B, 1): no logit and no target is near overflow
    logits: Array  # e (B, T): the error of the logits
    exponents: Array  # a (B, T): the error of log E

    @property
    def complement(self) -> Array:
        """1 - S, (B, T), with its digits."""
        rest: Array = layer.other_exponentials(self.forward) / (1 + self.forward.others)
        return rest


def gamma(n: int | Array, u: float) -> Array:
    """gamma_n = n u / (1 - n u); no promise where so many roundings may lose everything."""
    steps = np.asarray(n * u, dtype=np.float64)
    return np.where(steps < 1, steps / np.where(steps < 1, 1 - steps, 1), np.inf)


def analyse(
    problem: Problem, precision: str | None = None, terms: Callable[[int], int] = any_order
) -> Analysis:
    name = precision or problem.dtype.name
    rounded = name != "float64"
    u, eta = PRECISIONS[name].u, PRECISIONS[name].eta
    wide = problem.astype(np.dtype(np.float64))
    forward = layer.forward(wide)
    # A logit is a sum of N products and b.  Each product is off by u |W x|, and by eta where it
    # underflows; each term goes through N additions in any order, or fewer where the order is known, and
    # each is off by u of a partial sum.  In all at most (N + 1) u (sum |W x| + |b|) + N eta.  W and x that
    # were rounded first add u each, b adds u.
    steps = terms(wide.n_inputs) + (3 if rounded else 1)
    logits = steps * u * (np.abs(wide.inputs) @ np.abs(wide.weights)) + wide.n_inputs * eta
    if wide.bias is not None:
        logits = logits + (steps + rounded) * u * np.abs(wide.bias)[..., None, :]
    if rounded:  # W and x may have underflowed by eta themselves
        sizes = np.abs(wide.inputs).sum(axis=-1)[..., None] + np.abs(wide.weights).sum(axis=-2)[..., None, :]
        logits = logits + eta * (sizes + wide.n_inputs * eta)
    # What comes near the largest number may overflow on its way, and then there is no promise.
    most = PRECISIONS[name].largest / 8
    within = (np.abs(wide.inputs) @ np.abs(wide.weights) + np.abs(forward.logits)).max(axis=-1) <= most
    within &= forward.targets.sum(axis=-1) <= most
    return Analysis(
        problem=wide,
        forward=forward,
        residual=layer.residual(forward),
        precision=PRECISIONS[name],
        rounded=rounded,
        options=wide.targets.roundings(wide.n_classes, terms, stored=rounded),
        terms=terms,
        within_range=within[..., None],
        logits=logits,
        # E = exp(D): D is off by e from the logits (the maximum's own error is in every class of a row,
        # and cancels in S) and by u |D| from the subtraction, exp itself by a few u.
        exponents=logits + u * np.abs(forward.shifted) + 8 * u,
    )


def _interval(forward: layer.Forward, exponents: Array) -> tuple[Array, Array]:
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
    up, down = _interval(forward, exponents)
    size, others = forward.exponentials, layer.other_exponentials(forward)
    total = 1 + forward.others
    highest, lowest = size + up, size - down
    upper = (up * others + size * layer.other_targets(down)) / (highest + layer.other_targets(lowest))
    lower = (down * others + size * layer.other_targets(up)) / (lowest + layer.other_targets(highest))
    error = np.fmax(upper, lower) / total
    return np.where(np.isfinite(error), np.minimum(error, 1), 1)


def _times(first: Array, second: Array) -> Array:
    """first times second, and 0 where first is 0: a Q or S of 0 has no error to magnify."""
    return np.multiply(first, second, out=np.zeros_like(second), where=first != 0)


def _pull_back(analysis: Analysis, per_logit: Array, underflow: Array, sums: int, name: str) -> Array:
    """A bound on dL/dZ, (B, T), carried back to W, b or X, with what the products and sums add.

    For W: |sum_b x_bj (r_bi + d_bi) - sum_b x_bj r_bi| <= sum_b |x_bj| d_bi, and each of the `sums`
    that are compared adds gamma_{B+1} sum_b |x_bj (r_bi + d_bi)| by its order, and eta for each product that
    underflows.  `underflow` (B, 1) is what the chain adds to each residual; it adds it to its products
    with x once more, since S_t (delta_ti - S_i) x_j underflows before 1 / S_t magnifies it.
    """
    per_logit = per_logit + underflow
    if name == "logits":
        return per_logit
    problem = analysis.problem
    sizes = replace(problem, weights=np.abs(problem.weights), inputs=np.abs(problem.inputs))
    n_terms = problem.n_classes if name == "inputs" else problem.n_rows
    bound = layer.pull_back(sizes, per_logit, name) + (n_terms + 1) * analysis.precision.eta
    if analysis.rounded and name != "bias":  # x and W may have underflowed by eta themselves
        ones = replace(sizes, weights=np.ones_like(sizes.weights), inputs=np.ones_like(sizes.inputs))
        moved = np.where(np.isfinite(per_logit), per_logit, 0) + np.abs(analysis.residual)
        bound = bound + analysis.precision.eta * layer.pull_back(ones, moved, name)
    # The residuals that are summed are off by d themselves; and what is added up may overflow on the way.
    total = layer.pull_back(sizes, np.abs(analysis.residual) + per_logit, name)
    if n_terms > 1:
        bound = bound + sums * gamma(analysis.terms(n_terms) + 1, analysis.precision.u) * total
    bound = np.where(total <= analysis.precision.largest / 8, bound, np.inf)
    return bound + underflow.sum(axis=-2, keepdims=True) if name == "weights" else bound


def _finished(bound: Array) -> Array:
    return np.where(np.isnan(bound), np.inf, INFLATION * bound)


def _stable(
    analysis: Analysis, underflow: Array, names: Sequence[str], parts: float = 0.0
) -> dict[str, Array]:
    """dG of a stable computation, when `underflow` (B, 1) is added to the error of each residual.

    S_i moves by dS_i; the sum of E and the quotient add (T + 3) u S_i; forming q S - Q, or better, adds
    (T + 4) u of itself.  Each E_k, and each product with a Q_k, may underflow by eta, and q scales it.
    """
    forward, u, n_classes = analysis.forward, analysis.precision.u, analysis.problem.n_classes
    probabilities = forward.probabilities
    mass = forward.targets.sum(axis=-1, keepdims=True)
    residual = (
        mass * (softmax_error(analysis.forward, analysis.exponents) + (n_classes + 3) * u * probabilities)
        + (n_classes + 4) * u * np.abs(analysis.residual)
        + (4 + (n_classes + 4) * mass) * analysis.precision.eta
    )
    if analysis.options:
        # r = sum_k Q_k (S_i - delta_ki): a relative error of each Q_k moves it by that of q S_i + Q_i.
        residual = residual + analysis.options * u * (mass * probabilities + forward.targets)
        residual = residual + (n_classes + 1) * analysis.precision.eta  # Q underflows
    if parts:
        # The parts of r_m = P_m - q (1 - S_m) and r_i = q S_i - Q_i, each a sum of T terms.
        largest = layer.other_targets(forward.targets) + mass * analysis.complement
        others = forward.targets + mass * probabilities
        residual = residual + parts * (n_classes + 4) * u * np.where(forward.is_maximum, largest, others)
    residual = np.where(analysis.within_range, residual, np.inf)
    storage = (4 if analysis.rounded else 2) * u
    bounds = {}
    for name in names:
        gradient = np.abs(layer.pull_back(analysis.problem, analysis.residual, name))
        bound = _pull_back(analysis, residual, underflow, 1, name) + storage * gradient
        bounds[name] = _finished(bound)
    return bounds


def _least_probabilities(analysis: Analysis) -> Array:
    """S - dS, or 0: a chain whose logits are not resolved may meet an underflow that is not here."""
    return np.maximum(analysis.forward.probabilities - softmax_error(analysis.forward, analysis.exponents), 0)


def _chain_underflow(analysis: Analysis) -> Array:
    """eta (2 + T + v), (B, 1), with v = sum_t |Q_t| / S_t.

    S_t (delta_ti - S_i) underflows by eta, and Q_t / S_t magnifies that; T products with it underflow
    themselves.  Infinite where Q_t / S_t overflows: the chain is then infinity times 0.
    """
    forward = analysis.forward
    ratios = np.zeros_like(forward.targets)
    least = _least_probabilities(analysis)
    least = np.where(least >= 2 * analysis.precision.eta, least, 0)  # what underflows in this precision
    np.divide(forward.targets, least, out=ratios, where=forward.targets != 0)
    magnified = ratios.sum(axis=-1, keepdims=True)
    underflow = analysis.precision.eta * (2 + analysis.problem.n_classes + magnified)
    return np.where(magnified < analysis.precision.largest / 4, underflow, np.inf)


def _logarithm_is_lost(analysis: Analysis) -> NDArray[np.bool_]:
    """(B,) rows in which log S_t is needed of an S_t that is subnormal or 0, or nearly so."""
    normal = analysis.precision.eta / analysis.precision.u  # twice the smallest normal number
    needed = analysis.forward.targets != 0
    lost: NDArray[np.bool_] = (needed & ~(_least_probabilities(analysis) >= normal)).any(axis=-1)
    return lost


def _stable_loss(analysis: Analysis) -> Array:
    """q (sum_k S_k (e^a_k - 1) + (T+9) u (1 + ln T)) + sum_k |Q_k| (e_k + (T+4) u (|D_k| + ln T)) + 4 u L, by rows.

    log sum E moves by at most log(1 + sum_k S_k (e^a_k - 1)), and by at most the largest a_k; -D_k by e_k.
    Summing B rows adds gamma_B of their losses; Q rounded on its way as many u as it is off by.
    """
    forward, u, eta = analysis.forward, analysis.precision.u, analysis.precision.eta
    n_classes, n_rows = analysis.problem.n_classes, analysis.problem.n_rows
    log_classes = np.log(n_classes)
    up, _ = _interval(forward, analysis.exponents)
    spread = np.fmin((up / (1 + forward.others)).sum(axis=-1), analysis.exponents.max(axis=-1))
    shifts = analysis.logits + (n_classes + 4) * u * (np.abs(forward.shifted) + log_classes)
    rows = (
        forward.targets.sum(axis=-1) * (spread + (n_classes + 9) * u * (1 + log_classes) + n_classes * eta)
        + _times(forward.targets, shifts).sum(axis=-1)
        + ((4 + analysis.options) * u + gamma(n_rows - 1, u)) * forward.losses
        + (n_classes + 2) * eta
    )
    if analysis.options:  # Q underflows
        rows = rows + eta * (np.abs(forward.shifted) + log_classes + 1).sum(axis=-1)
    within = analysis.within_range[..., 0] & (forward.losses <= analysis.precision.largest / 8)
    return _finished(np.where(within, rows, np.inf).sum(axis=-1))


@np.errstate(all="ignore")
def stable(
    problem: Problem,
    with_respect_to: Sequence[str] = ("weights",),
    *,
    precision: str | None = None,
    terms: Callable[[int], int] = any_order,
    underflow: float = 0.0,
    parts: float = 0.0,
) -> Bound:
    """The promise of any stable computation: maximum subtracted, sums in any order, q S - Q or better.

    Parameters
    ----------
    precision : a name in PRECISIONS, optional
        In which it computes; that of the problem by default.  W, x and b as stated stay the truth.
    terms : callable
        How the roundings of a sum count: `any_order`, `pairwise` or `blocked(n)`.
    underflow : float
        How many more etas each residual may be off by, for a target of mass one.
    parts : float
        How many times (T + 4) u of the parts of a residual are added: 0 where it is formed at the end.
    """
    analysis = analyse(problem, precision, terms)
    mass = analysis.forward.targets.sum(axis=-1, keepdims=True)
    more = underflow * analysis.precision.eta * np.maximum(mass, 1)
    return Bound(_stable_loss(analysis), _stable(analysis, more, with_respect_to, parts))


def stored(values: Array, bound: Array, format_name: str) -> Array:
    """The bound once the result is rounded to another format: + u (|G| + bound) + eta of that format."""
    precision = PRECISIONS[format_name]
    return bound + precision.u * (np.abs(values) + bound) + precision.eta


@np.errstate(all="ignore")
def chain(problem: Problem, with_respect_to: Sequence[str] = ("weights",)) -> Bound:
    """The promise of the full Jacobian chain, which pays for 1 / S_t near underflow.

    Its loss takes the logarithm of S_t, of which nothing is known once S_t is subnormal.
    """
    analysis = analyse(problem)
    lost = _logarithm_is_lost(analysis).any(axis=-1)
    return Bound(
        np.where(lost, np.inf, _stable_loss(analysis)),
        _stable(analysis, _chain_underflow(analysis), with_respect_to),
    )


@np.errstate(all="ignore")
def chain_against_shortcut(problem: Problem, with_respect_to: Sequence[str] = ("weights",)) -> Bound:
    """How far apart the chain and the accurate shortcut can be, both from the same logits.

    The errors of the logits and exponentials are in both, and cancel.  What is left, with
    A_i = sum_t |Q_t| |delta_ti - S_i| = Q_i (1 - S_i) + P_i S_i and n the number of Q_t that are not 0:
    gamma_{n+T+10} A_i for the products and their sum, and gamma_{T+3} Q_i S_i for the chain's 1 - S_i
    from a rounded S_i.  The second can exceed the residual itself: then the chain has no digit of it.

    For the losses: log S_t by the logarithm of S_t and by log1p(s) - D_t, |log S_t| <= |D_t| + ln T, each
    off by (T + 6) u of (1 + |D_t| + ln T), and two sums over T classes and B rows.
    """
    analysis = analyse(problem)
    forward, u = analysis.forward, analysis.precision.u
    n_classes, n_rows = analysis.problem.n_classes, analysis.problem.n_rows
    # In float32 the methods' S may differ from this one by dS.
    error = softmax_error(analysis.forward, analysis.exponents)
    probabilities, complement = forward.probabilities + error, analysis.complement + error
    n_targets = (forward.targets != 0).sum(axis=-1, keepdims=True)
    spread = forward.targets * complement + layer.other_targets(forward.targets) * probabilities
    per_logit = np.where(analysis.within_range, 1.02, np.inf) * (
        gamma(n_targets + n_classes + 10, u) * spread
        + gamma(n_classes + 3, u) * forward.targets * probabilities
    )
    underflow = _chain_underflow(analysis)
    if analysis.rounded:
        # The residuals that are summed are those of the rounded inputs, off by q dS.
        mass = forward.targets.sum(axis=-1, keepdims=True)
        analysis = replace(analysis, residual=np.abs(analysis.residual) + mass * error)
    gradients = {
        name: _finished(_pull_back(analysis, per_logit, underflow, 2, name)) for name in with_respect_to
    }
    scale = 1 + np.log(n_classes) + np.abs(forward.shifted)
    losses = 2 * (2 * n_classes + n_rows + 6) * u * _times(forward.targets, scale).sum(axis=-1)
    lost = _logarithm_is_lost(analysis) | ~analysis.within_range[..., 0]
    return Bound(_finished(np.where(lost, np.inf, losses).sum(axis=-1)), gradients)
