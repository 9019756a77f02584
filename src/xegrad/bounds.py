"""How far rounding alone can move a loss and a gradient: the derivation over numbers that carry their error.

Every bound is evaluated in float64, whatever the precision it speaks of, and inflated by 1.01 for its own rounding.
Where it is infinite there is no bound.

See docs/numerics.md, sections 5 and 6.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from xegrad import layer, notebook
from xegrad.derivation import AT_A_TIME, IN_CACHE, Cells, logits_in, row_by_row
from xegrad.numbers.arithmetic import PRECISIONS as PRECISIONS
from xegrad.numbers.arithmetic import Arithmetic as Arithmetic
from xegrad.numbers.arithmetic import any_order as any_order
from xegrad.numbers.arithmetic import blocked as blocked
from xegrad.numbers.arithmetic import by_name as by_name
from xegrad.numbers.arithmetic import pairwise as pairwise
from xegrad.numbers.rounded import Rounded, exact
from xegrad.numbers.sums import Products
from xegrad.problem import Problem, once
from xegrad.targets import Array

INFLATION = 1.01
SOME = 16  # rows and inputs
LARGE = 2**15  # logits: of more than these, the cells do not all exist at a time


class Bound(msgspec.Struct, frozen=True, eq=False):
    """How far from the exact ones an evaluation's loss and gradients are at most, entry by entry.

    Examples
    --------
    >>> problem = Problem([[1.0, -1.0]], [[3.0]], Targets([0]))
    >>> METHODS["chain"].bound(problem)
    Bound(loss=3.97084e-15, gradients={weights: float64[1 x 2]})
    """

    loss: float | Array
    gradients: Mapping[str, Array]

    __repr__ = notebook.one_line()


def memory(problem: Problem, names: Sequence[str], *, is_stable: bool) -> int:
    """The bytes beside the problem that a bound takes: of the cells, each a value and an error, and what makes them.

    The bound of a stable computation holds those of some rows at a time, and may have its gradients in float64, too.
    """
    of_each = problem.nbytes_of(["logits"])
    held = 24 * of_each
    if is_stable and is_large(problem):
        held = 16 * min(of_each, 8 * AT_A_TIME) + 28 * min(of_each, 8 * IN_CACHE)
    return held + 3 * problem.nbytes_of(["weights", "inputs"]) + 4 * problem.nbytes_of(names)


def cells_of(problem: Problem, arithmetic: Arithmetic | None = None) -> Cells:
    """The derivation of a problem in some arithmetic, that of its precision by default; its cells are computed once."""
    arithmetic = arithmetic or PRECISIONS[problem.dtype.name]
    return _kept(problem, arithmetic)[0] if is_large(problem) else _cells(problem, arithmetic)


@once
def _cells(problem: Problem, arithmetic: Arithmetic) -> Cells:
    """Cells of a twin: a problem that keeps cells that hold it waits for the garbage collector."""
    wide = problem.astype(np.dtype(np.float64))
    layer.forward(wide)
    twin = copy(wide)
    twin.__dict__["results"] = dict(wide.__dict__["results"])
    return Cells(twin, arithmetic=_of_each_term(problem, arithmetic))


def _of_each_term(problem: Problem, arithmetic: Arithmetic) -> Arithmetic:
    """The arithmetic, with the chance of a failure shared among all terms (4.24)."""
    if not arithmetic.failure:
        return arithmetic
    return replace(arithmetic, failure=arithmetic.failure / terms_of(problem))


def terms_of(problem: Problem) -> int:
    """How many terms all sums of a loss and of its gradients have: each is a product of roundings of its own (4.24)."""
    rows, inputs, classes = problem.n_rows, problem.n_inputs, problem.n_classes
    return rows * classes * (3 * inputs + 6) + 2 * rows


@np.errstate(all="ignore")
def stable(
    problem: Problem,
    with_respect_to: Sequence[str] = ("weights",),
    arithmetic: Arithmetic | None = None,
) -> Bound:
    """That of any stable computation: maximum subtracted, sums in any order, q S - Q or better.

    Parameters
    ----------
    arithmetic : Arithmetic, optional
        In which it computes, one of PRECISIONS or a variant: that of the problem by default.  The exact values are for
        W, x and b in float64.
    """
    arithmetic = arithmetic or PRECISIONS[problem.dtype.name]
    results = _from_rows(problem, with_respect_to, arithmetic, 1) if is_large(problem) else None
    if results is not None:
        of_loss, *errors = (results[0][name].error for name in ("loss", *with_respect_to))
        return Bound(of_loss, dict(zip(with_respect_to, errors, strict=True)))
    return _bound(cells_of(problem, arithmetic), with_respect_to)


@np.errstate(all="ignore")
def complex_step(problem: Problem, with_respect_to: Sequence[str] = ("weights",), *, step: float) -> Bound:
    """That of a stable computation with two changes: what underflows loses eta / h, and the imaginary part is a sum of
    T parts before it is a residual, of size P_m + q (1 - S_m) for the largest class m, q S_i + Q_i for the others."""
    cells = cells_of(problem)
    arithmetic, targets, mass = cells.arithmetic, cells.Q.value, cells.q.value
    forward = layer.forward(cells.problem)
    largest = layer.other_targets(targets) + mass * _complement(forward)
    parts = np.where(forward.is_maximum, largest, targets + mass * cells.S.value)
    error = 4 / step * arithmetic.eta * np.maximum(mass, 1) + (problem.n_classes + 4) * arithmetic.u * parts
    return _bound(cells.replace("R", cells.R.less_certain(error)), with_respect_to)


def stored(values: Array, bound: Array, format_name: str) -> Array:
    """The bound once the result is rounded to another format: + u (|G| + bound) + eta of that format."""
    return np.asarray(PRECISIONS[format_name].rounding(values, bound))


@np.errstate(all="ignore")
def chain(problem: Problem, with_respect_to: Sequence[str] = ("weights",)) -> Bound:
    """That of the full Jacobian chain, which pays for 1 / S_t near underflow.

    Its loss takes the logarithm of S_t, of which nothing is known once S_t is subnormal.
    """
    cells = cells_of(problem)
    underflow = _chain_underflow(cells)
    loss = np.where(_logarithm_is_lost(cells).any(axis=-1), np.inf, cells.stable_loss.error)
    cells = cells.replace("R", cells.R.less_certain(underflow))
    return Bound(_inflated(loss), _with_products(cells, with_respect_to, underflow))


@np.errstate(all="ignore")
def chain_against_shortcut(problem: Problem, with_respect_to: Sequence[str] = ("weights",)) -> Bound:
    """How far apart the chain and the accurate shortcut can be, both from the same logits.

    The errors of the logits and exponentials are in both, and cancel.  What is left (6.3), with
    A_i = Q_i (1 - S_i) + P_i S_i and n the number of Q_t that are not 0: gamma_{n+T+10} A_i for the products and
    their sum, and gamma_{T+3} Q_i S_i for the chain's 1 - S_i from a rounded S_i.  The second can exceed the residual
    itself: then the chain has no digit of it.  For the losses: 2 (2 T + B + 6) u sum_t Q_t (1 + |D_t| + ln T) (6.4).
    """
    cells = cells_of(problem)
    arithmetic, n_classes, n_rows = cells.arithmetic, problem.n_classes, problem.n_rows
    targets, forward = cells.Q.value, layer.forward(cells.problem)
    # In float32 the methods' S may differ from this one by dS; and dS is infinite where a logit may overflow.
    probabilities = cells.S.value + cells.S.error
    complement = _complement(forward) + cells.S.error
    n_targets = (targets != 0).sum(axis=-1, keepdims=True)
    spread = targets * complement + layer.other_targets(targets) * probabilities
    apart = 1.02 * (
        arithmetic.gamma(n_targets + n_classes + 10) * spread
        + arithmetic.gamma(n_classes + 3) * targets * probabilities
    )
    underflow = _chain_underflow(cells)
    # Each of the two is off by half, and by its own sum over rows or classes; W and x are the same in both.
    residual = np.abs(cells.R.value) + (cells.q.value * cells.S.error if arithmetic.rounds_inputs else 0)
    sides = cells.replace("X", exact(cells.X.value, arithmetic))
    sides = sides.replace("W", exact(cells.W.value, arithmetic))
    sides = sides.replace("R", Rounded(residual, (apart + underflow) / 2, arithmetic))
    gradients = _with_products(sides, with_respect_to, underflow, sums=2)
    scale = 1 + np.log(n_classes) + np.abs(forward.shifted)
    losses = 2 * (2 * n_classes + n_rows + 6) * arithmetic.u * (targets * scale).sum(axis=-1)
    lost = _logarithm_is_lost(cells) | ~np.isfinite(cells.R.error).all(axis=-1)
    return Bound(_inflated(np.where(lost, np.inf, losses).sum(axis=-1)), gradients)


def _complement(forward: layer.Forward) -> Array:
    """1 - S, (B, T), with its digits."""
    return layer.other_exponentials(forward) / (1 + forward.others)


def _least_probabilities(cells: Cells) -> Array:
    """S - dS, if that is positive: a chain whose logits are not resolved may meet an underflow that is not here."""
    return cells.S.value - cells.S.error


def _chain_underflow(cells: Cells) -> Array:
    """eta (2 + T + v), (B, 1), with v = sum_t Q_t / S_t (6.1).

    Infinite where Q_t / S_t overflows: the chain is then infinity times 0.
    """
    targets, arithmetic = cells.Q.value, cells.arithmetic
    least = _least_probabilities(cells)
    least = np.where(least >= 2 * arithmetic.eta, least, 0)  # what underflows in this precision
    magnified = np.divide(targets, least, out=np.zeros_like(targets), where=targets != 0)
    magnified = magnified.sum(axis=-1, keepdims=True)
    underflow = arithmetic.eta * (2 + cells.problem.n_classes + magnified)
    return np.where(magnified < arithmetic.largest / 4, underflow, np.inf)


@np.errstate(all="ignore")
def enclosed(
    problem: Problem, with_respect_to: Sequence[str], arithmetic: Arithmetic
) -> Mapping[str, Rounded] | None:
    """The "loss", the "losses" and these gradients in float64, each with the error of that.

    Of a large problem, at little more than the cost of the bound in this arithmetic; None where that cannot be had.
    """
    results = _from_rows(problem, with_respect_to, arithmetic, 2) if is_large(problem) else None
    if results is None:
        return None
    numbers = {}
    for name in ("loss", "losses", *with_respect_to):
        numbers[name] = copy(results[1][name])
    is_zero: dict[str, Any] = {  # an input that is 0 in every row, a row that does not count
        "weights": ~np.asarray(problem.inputs.any(axis=0)),
        "inputs": ~problem.targets.kept,
        "logits": ~problem.targets.kept,
    }
    for name in numbers.keys() & is_zero:
        number = numbers[name]
        nothing = is_zero[name][:, None] & (number.value == 0)
        if nothing.any():
            number.error = np.where(nothing, 0, number.error)
    return numbers


def is_large(problem: Problem) -> bool:
    """Whether the cells of a problem do not all exist at a time."""
    return problem.weights.ndim == 2 and problem.n_rows * problem.n_classes > LARGE


def _from_rows(
    problem: Problem, with_respect_to: Sequence[str], arithmetic: Arithmetic, how_many: int
) -> list[dict[str, Rounded]] | None:
    """What a large problem comes to, in the arithmetic, and in float64 if two are asked for; kept with the problem."""
    cells, results = _kept(problem, arithmetic)
    known = results[how_many - 1].keys() if len(results) >= how_many else ()
    names = [name for name in with_respect_to if name not in known]
    if names or not known:
        wide = Cells(cells.problem, arithmetic=PRECISIONS["float64"]) if how_many > 1 else None
        more = row_by_row(cells, names, wide)
        if more is None:
            return None
        for number in (number for one in more for number in one.values()):
            number.error = _inflated(number.error, in_place=True)
        results[:] = [{**(results[k] if k < len(results) else {}), **new} for k, new in enumerate(more)]
    return results


@once
def _kept(problem: Problem, arithmetic: Arithmetic) -> tuple[Cells, list[dict[str, Rounded]]]:
    """Cells with W and b alone, and results that are empty at first."""
    twin = copy(problem.astype(np.dtype(np.float64)))
    twin.__dict__["results"] = {}
    cells = Cells(twin, arithmetic=_of_each_term(problem, arithmetic))
    cells.W, cells.b  # noqa: B018 (they are the same for all rows)
    return cells, []


@np.errstate(all="ignore")
def of_careful(
    problem: Problem, name: str, arithmetic: Arithmetic, entries: NDArray[np.intp]
) -> Iterator[Array]:
    """The error of some entries of a gradient, by their flat indices, if only that cancels which must (7.2).

    Of a large dL/dW first what the first rows make of it, which is less and often tells enough; then all of it.
    """
    careful = replace(arithmetic, is_careful=True)
    if is_large(problem):
        whole, _ = _kept(problem, arithmetic)
        known = {"W": whole.W, "b": whole.b}
        cells = Cells(whole.problem, name, _of_each_term(problem, careful), known)
        if name == "weights":
            few = cells.some(slice(0, max(1, IN_CACHE // problem.n_classes)))
            rows, columns = (
                np.unique(of, return_inverse=True) for of in np.divmod(entries, problem.n_classes)
            )
            products = Products(problem.n_rows, few.arithmetic, partial=few.partial)
            products.add(few.back[rows[0]], few.R[:, columns[0]])
            yield products.moved[rows[1], columns[1]]
        if (results := row_by_row(cells, (name,))) is not None:
            yield _inflated(np.ravel(results[0][name].error)[entries])
            return
    yield stable(problem, (name,), careful).gradients[name].ravel()[entries]


@np.errstate(all="ignore")
def of_some(problem: Problem, name: str, arithmetics: Sequence[Arithmetic]) -> tuple[Any, list[Array]]:
    """Bounds of a gradient, or a "loss", in several arithmetics of one format; of a large problem that which some rows
    make of some entries, and which entries these are."""
    if not is_large(problem):
        names = () if name == "loss" else (name,)
        several = [stable(problem, names, one) for one in arithmetics]
        return ..., [np.asarray(one.loss if name == "loss" else one.gradients[name]) for one in several]
    rows, inputs = (slice(0, None, -(-size // SOME)) for size in (problem.n_rows, problem.n_inputs))
    whole, _ = _kept(problem, arithmetics[0])
    first = whole.some(rows)
    bounds = []
    for arithmetic in (_of_each_term(problem, one) for one in arithmetics):
        cells = Cells(whole.problem, name, arithmetic, {}, rows)
        cells.known["W"] = first.W
        if first.W.is_exact and first.X.is_exact and first.b.is_exact:
            cells.known["Z"] = logits_in(arithmetic, first)
        if name in ("inputs", "logits"):
            bounds.append(cells.G.error)
        elif name == "loss":
            every = np.arange(problem.n_rows) % cells.R.shape[0]  # as if all rows were like these
            known = {"stable_losses": cells.stable_losses[..., every]}
            bounds.append(Cells(whole.problem, name, arithmetic, known).stable_loss.error)
        else:
            sums = Products(problem.n_rows, arithmetic, partial=cells.partial)
            sums.add(
                cells.back[inputs] if name == "weights" else exact(np.ones(cells.R.shape[:1]), arithmetic),
                cells.R,
            )
            sums.moved *= problem.n_rows / cells.R.shape[0]
            bounds.append(sums.error(np.zeros(())))
    entries = {"weights": inputs, "inputs": rows, "logits": rows}
    return entries.get(name, ...), [_inflated(bound) for bound in bounds]


def _bound(cells: Cells, with_respect_to: Sequence[str]) -> Bound:
    """What these cells come to."""
    gradients = {name: _inflated(cells.of(name).G.error) for name in with_respect_to}
    return Bound(_inflated(cells.stable_loss.error), gradients)


def _with_products(
    cells: Cells, with_respect_to: Sequence[str], underflow: Array, sums: int = 1
) -> Mapping[str, Array]:
    """Those of G, in so many sums over rows or classes.  For W the chain's products with x underflow once more:
    S_t (delta_ti - S_i) x_j, before 1 / S_t magnifies it."""
    errors = {name: sums * cells.of(name).G.error for name in with_respect_to}
    if "weights" in errors:
        errors["weights"] += underflow.sum(axis=-2, keepdims=True)
    return {name: _inflated(error) for name, error in errors.items()}


def _logarithm_is_lost(cells: Cells) -> NDArray[np.bool_]:
    """(B,) rows in which log S_t is needed of an S_t that is subnormal or 0, or nearly so."""
    normal = cells.arithmetic.eta / cells.arithmetic.u  # twice the smallest normal number
    needed = cells.Q.value != 0
    return (needed & ~(_least_probabilities(cells) >= normal)).any(axis=-1)


def _inflated(error: Array, *, in_place: bool = False) -> Array:
    inflated = np.multiply(error, INFLATION, out=error if in_place and np.ndim(error) else None)
    unknown = np.isnan(inflated)
    return np.where(unknown, np.inf, inflated) if unknown.any() else inflated
