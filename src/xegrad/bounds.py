"""What rounding alone can do to a loss and to a gradient, derived.

Every bound is evaluated in float64, whatever the precision it speaks of, and inflated by 1.01 for its
own rounding.  Infinity is no promise.  u is half the machine epsilon, eta the smallest subnormal,
gamma_n = n u / (1 - n u) (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., lemma 3.1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from xegrad import layer
from xegrad.problem import Problem
from xegrad.targets import Array

INFLATION = 1.01
UNRESOLVED = 0.05  # logits known to no better than this: the first-order terms below say nothing


class Bound(msgspec.Struct, frozen=True, eq=False):
    """How far from the exact ones an evaluation's loss and gradients are at most, entry by entry."""

    loss: float | Array
    gradients: Mapping[str, Array]


class _Analysis(msgspec.Struct, frozen=True, eq=False):
    """What the bounds share: everything in float64, u and eta of the precision spoken of."""

    problem: Problem
    forward: layer.Forward
    residual: Array  # q S - Q (B, T)
    u: float
    eta: float
    largest: float  # of the finite numbers
    rounded: bool  # whether W, x, b and Q may have been rounded on their way into this precision
    logits: Array  # e (B, T): the error of the logits
    exponentials: Array  # rho (B, T): the relative error of the exponentials

    @property
    def complement(self) -> Array:
        """1 - S, (B, T), with its digits."""
        rest: Array = layer.other_exponentials(self.forward) / (1 + self.forward.others)
        return rest


def _gamma(n: int | Array, u: float) -> Array:
    return np.asarray(n * u / (1 - n * u))


def _analyse(problem: Problem) -> _Analysis:
    info = np.finfo(problem.dtype)
    rounded = problem.dtype != np.float64
    u, eta = float(info.eps) / 2, float(info.smallest_subnormal)
    wide = problem.astype(np.dtype(np.float64))
    forward = layer.forward(wide)
    # A logit is a sum of N products and b.  Each product is off by u |W x|, and by eta where it
    # underflows; each of N additions, in any order, by u of a partial sum.  In all at most
    # (N + 1) u (sum |W x| + |b|) + N eta.  W and x that were rounded first add u each, b adds u.
    terms = wide.n_inputs + (3 if rounded else 1)
    logits = terms * u * (np.abs(wide.inputs) @ np.abs(wide.weights)) + wide.n_inputs * eta
    if wide.bias is not None:
        logits = logits + (terms + rounded) * u * np.abs(wide.bias)[..., None, :]
    return _Analysis(
        problem=wide,
        forward=forward,
        residual=layer.residual(forward),
        u=u,
        eta=eta,
        largest=float(info.max),
        rounded=rounded,
        logits=logits,
        # exp(D): D is off by e from the logits (the maximum's own error is in every class of a row,
        # and cancels in S) and by u |D| from the subtraction, exp itself by a few u.
        exponentials=np.expm1(logits + u * np.abs(forward.shifted) + 8 * u),
    )


def _times(first: Array, second: Array) -> Array:
    """first times second, and 0 where first is 0: a Q or S of 0 has no error to magnify."""
    return np.multiply(first, second, out=np.zeros_like(second), where=first != 0)


def _pull_back(analysis: _Analysis, per_logit: Array, underflow: Array, sums: int, name: str) -> Array:
    """A bound on dL/dZ, (B, T), carried back to W, b or X, with what the products and sums add.

    For W: |sum_b x_bj (r_bi + d_bi) - sum_b x_bj r_bi| <= sum_b |x_bj| d_bi, and each of the `sums`
    that are compared adds gamma_{B+1} sum_b |x_bj r_bi| by its order, and eta for each product that
    underflows.  `underflow` (B, 1) is what the chain adds to each residual; it adds it to its products
    with x once more, since S_t (delta_ti - S_i) x_j underflows before 1 / S_t magnifies it.
    """
    per_logit = per_logit + underflow
    if name == "logits":
        return per_logit
    problem = analysis.problem
    sizes = replace(problem, weights=np.abs(problem.weights), inputs=np.abs(problem.inputs))
    n_terms = problem.n_classes if name == "inputs" else problem.n_rows
    bound = layer.pull_back(sizes, per_logit, name) + (n_terms + 1) * analysis.eta
    if n_terms > 1:
        order = sums * _gamma(n_terms + 1, analysis.u)
        bound = bound + order * layer.pull_back(sizes, np.abs(analysis.residual), name)
    return bound + underflow.sum(axis=-2, keepdims=True) if name == "weights" else bound


def _finished(bound: Array) -> Array:
    return np.where(np.isnan(bound), np.inf, INFLATION * bound)


def _stable(analysis: _Analysis, underflow: Array, names: Sequence[str]) -> dict[str, Array]:
    """dG of a stable computation, when `underflow` (B, 1) is added to the error of each residual.

    When each E_k moves by a relative rho_k, S_i moves by S_i ((1 - S_i) rho_i + sum_{k != i} S_k rho_k)
    to first order: no promise for a row whose logits are not resolved.  The sum of E and the quotient
    add (T + 3) u S_i; forming q S - Q, or better, adds (T + 4) u of itself.  Each E_k, and each product with
    a Q_k, may underflow by eta, and q scales it.
    """
    forward, u, n_classes = analysis.forward, analysis.u, analysis.problem.n_classes
    probabilities = forward.probabilities
    mass = forward.targets.sum(axis=-1, keepdims=True)
    moved = _times(probabilities, analysis.exponentials)  # S_k rho_k
    softmax = analysis.complement * moved + probabilities * layer.other_targets(moved)
    residual = (
        mass * (softmax + (n_classes + 3) * u * probabilities)
        + (n_classes + 4) * u * np.abs(analysis.residual)
        + (4 + (n_classes + 4) * mass) * analysis.eta
    )
    if analysis.rounded:
        residual = residual + 4 * u * (mass * probabilities + forward.targets)
    resolved = analysis.logits.max(axis=-1, keepdims=True) <= UNRESOLVED
    residual = np.where(resolved, residual, np.inf)
    storage = (4 if analysis.rounded else 2) * u
    return {
        name: _finished(
            _pull_back(analysis, residual, underflow, 1, name)
            + storage * np.abs(layer.pull_back(analysis.problem, analysis.residual, name))
        )
        for name in names
    }


def _chain_underflow(analysis: _Analysis) -> Array:
    """eta (2 + T + v), (B, 1), with v = sum_t |Q_t| / S_t.

    S_t (delta_ti - S_i) underflows by eta, and Q_t / S_t magnifies that; T products with it underflow
    themselves.  Infinite where Q_t / S_t overflows: the chain is then infinity times 0.
    """
    forward = analysis.forward
    ratios = np.zeros_like(forward.targets)
    np.divide(forward.targets, forward.probabilities, out=ratios, where=forward.targets != 0)
    magnified = ratios.sum(axis=-1, keepdims=True)
    underflow = analysis.eta * (2 + analysis.problem.n_classes + magnified)
    return np.where(magnified < analysis.largest / 4, underflow, np.inf)


def _logarithm_is_lost(analysis: _Analysis) -> NDArray[np.bool_]:
    """(B,) rows in which log S_t is needed of an S_t that is subnormal or 0, or nearly so."""
    normal = analysis.eta / analysis.u  # twice the smallest normal number
    needed = analysis.forward.targets != 0
    lost: NDArray[np.bool_] = (needed & ~(analysis.forward.probabilities >= normal)).any(axis=-1)
    return lost


def _stable_loss(analysis: _Analysis) -> Array:
    """q (sum_k S_k rho_k + (T+9) u (1 + ln T)) + sum_k |Q_k| (e_k + (T+4) u (|D_k| + ln T)) + 4 u L, by rows.

    log1p(s) moves by the exponentials' errors weighted with S, -D_k by e_k.  Summing B rows adds
    gamma_B of their losses; Q rounded on its way another 4 u.
    """
    forward, u = analysis.forward, analysis.u
    n_classes, n_rows = analysis.problem.n_classes, analysis.problem.n_rows
    log_classes = np.log(n_classes)
    spread = _times(forward.probabilities, analysis.exponentials).sum(axis=-1)
    shifts = analysis.logits + (n_classes + 4) * u * (np.abs(forward.shifted) + log_classes)
    rows = (
        forward.targets.sum(axis=-1)
        * (spread + (n_classes + 9) * u * (1 + log_classes) + n_classes * analysis.eta)
        + _times(forward.targets, shifts).sum(axis=-1)
        + ((8 if analysis.rounded else 4) * u + _gamma(n_rows - 1, u)) * forward.losses
    )
    rows = rows + (n_classes + 2) * analysis.eta
    resolved = analysis.logits.max(axis=-1) <= UNRESOLVED
    return _finished(np.where(resolved, rows, np.inf).sum(axis=-1))


@np.errstate(all="ignore")
def stable(problem: Problem, with_respect_to: Sequence[str] = ("weights",)) -> Bound:
    """The promise of any stable computation: maximum subtracted, sums in any order, q S - Q or better."""
    analysis = _analyse(problem)
    no_underflow = np.zeros_like(analysis.forward.others)
    return Bound(_stable_loss(analysis), _stable(analysis, no_underflow, with_respect_to))


@np.errstate(all="ignore")
def chain(problem: Problem, with_respect_to: Sequence[str] = ("weights",)) -> Bound:
    """The promise of the full Jacobian chain, which pays for 1 / S_t near underflow.

    Its loss takes the logarithm of S_t, of which nothing is known once S_t is subnormal.
    """
    analysis = _analyse(problem)
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
    analysis = _analyse(problem)
    forward, u = analysis.forward, analysis.u
    n_classes, n_rows = analysis.problem.n_classes, analysis.problem.n_rows
    probabilities = forward.probabilities
    n_targets = (forward.targets != 0).sum(axis=-1, keepdims=True)
    spread = forward.targets * analysis.complement + layer.other_targets(forward.targets) * probabilities
    per_logit = 1.02 * (
        _gamma(n_targets + n_classes + 10, u) * spread
        + _gamma(n_classes + 3, u) * forward.targets * probabilities
    )
    underflow = _chain_underflow(analysis)
    gradients = {
        name: _finished(_pull_back(analysis, per_logit, underflow, 2, name)) for name in with_respect_to
    }
    scale = 1 + np.log(n_classes) + np.abs(forward.shifted)
    losses = 2 * (2 * n_classes + n_rows + 6) * u * _times(forward.targets, scale).sum(axis=-1)
    lost = _logarithm_is_lost(analysis)
    return Bound(_finished(np.where(lost, np.inf, losses).sum(axis=-1)), gradients)
