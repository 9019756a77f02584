"""The steps of the chain, each with the numbers of a row."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from xegrad import layer
from xegrad.explanation import checks
from xegrad.explanation.row import WorkedRow, product, result, summed
from xegrad.explanation.texts import LOGITS_WITHOUT_BIAS
from xegrad.explanation.values import Corners, Step
from xegrad.methods import chain
from xegrad.targets import Array

BUDGET = 2**20  # numbers of a Jacobian that are built at once; of a larger one, its corners are
EDGE = 3  # rows and columns at each edge of a corner
KERAS_EPSILON = 1e-7  # what Keras adds within the logarithm


def _edges(size: int, target: int) -> tuple[int, ...]:
    """The first and the last indices, and the target's."""
    return tuple(sorted({*range(min(EDGE, size)), target, *range(max(0, size - EDGE), size)}))


def _matrix(view: WorkedRow, width: int, rows_of: Callable[[slice], Array]) -> Array | Corners:
    """The whole of a Jacobian, (T, width), or the corners of one beyond the budget."""
    shape = (view.n_classes, width)
    if shape[0] * shape[1] <= BUDGET:
        return rows_of(slice(0, shape[0]))
    rows = _edges(view.n_classes, view.target)
    columns = _edges(
        width, view.target if width == view.n_classes else view.target * view.n_inputs + view.input
    )
    parts = [rows_of(slice(row, row + 1))[:, list(columns)] for row in rows]
    return Corners(shape, rows, columns, np.concatenate(parts))


def _logits(view: WorkedRow) -> Step:
    problem, number, t = view.problem, view.factor, view.target
    terms = [product(number(x), number(w)) for x, w in zip(view.x, problem.weights[:, t], strict=True)]
    sizes = np.abs(view.x) @ np.abs(problem.weights)
    text, mistaken, instead = None, None, ""
    if problem.bias is not None:
        terms.append(number(problem.bias[t]))
        sizes = sizes + np.abs(problem.bias)
        mistaken = view.x @ problem.weights
    else:
        text, instead = LOGITS_WITHOUT_BIAS, f"it would need {view.n_classes} inputs"
        if view.n_inputs == view.n_classes:
            instead, mistaken = "it runs, since W is square", problem.weights @ view.x
    rounding = (view.n_inputs + 1) * float(np.finfo(problem.dtype).eps) / 2 * sizes
    broken = np.flatnonzero(~np.isfinite(view.logits))
    lost = ""
    if broken.size:
        lost = f"Z[{broken[0]}] is {float(view.logits[broken[0]])}: the sum is larger than any float."
    return view.step(
        "logits",
        [f"Z[{t}] = {summed(terms)} = {result(view.logits[t])}"],
        view.logits,
        noise=np.isfinite(sizes) & (np.abs(view.logits) <= rounding) & (view.logits != 0),
        lost=lost,
        mistaken=mistaken,
        text=text,
        instead=instead,
    )


def _probabilities(view: WorkedRow) -> Step:
    t, forward, number = view.target, view.forward, view.factor
    shifted, total = forward.shifted[0], float(1 + forward.others[0, 0])
    m = int(np.argmax(forward.is_maximum[0]))
    gone = np.flatnonzero((view.probabilities == 0) & np.isfinite(shifted))
    lost = ""
    if gone.size:
        k = t if t in gone else int(gone[0])
        power = (float(shifted[k]) - math.log(total)) / math.log(10)
        others = f" So {'does' if gone.size == 2 else 'do'} {gone.size - 1} more." if gone.size > 1 else ""
        lost = (
            f"S[{k}] underflows: e^({number(shifted[k])}) / {number(total)} is about 10^{power:.1f}, below the "
            f"smallest float, and becomes 0.{others}"
        )
    return view.step(
        "probabilities",
        [
            f"m = Z[{m}] = {number(view.logits[m])},  Σ_k e^(Z[k] - m) = {number(total)}",
            f"S[{t}] = e^({number(shifted[t])}) / {number(total)} = {result(view.probabilities[t])}",
        ],
        view.probabilities,
        lost=lost,
        mistaken=layer.softmax(forward.probabilities, forward.targets).probabilities[0],
    )


def _loss(view: WorkedRow) -> Step:
    loss, by_chain = (float(of) for of in (view.forward.loss, view.computed.evaluations["chain"].loss))
    terms = [
        product(view.factor(-view.targets[t]), f"ln {view.factor(view.probabilities[t])}") for t in view.named
    ]
    lost = ""
    if not abs(by_chain - loss) <= 1e-6 * abs(loss):
        exact = view.computed.evaluations.get("exact")
        known = "" if exact is None else f"; the loss is exactly {float(exact.loss) + 0.0:.8g}"
        if math.isfinite(loss):
            known += ", and ln(1 + s) - (Z[t] - m), with s the sum of all other powers, keeps it"
        lost = f"The logarithm of a rounded S gives {result(by_chain)}{known}."
    shifted = 0 - (view.targets * np.log(view.probabilities + KERAS_EPSILON)).sum()
    return view.step(
        "loss",
        [f"L = {summed(terms)} = {result(by_chain)}"],
        np.asarray(loss),
        lost=lost,
        mistaken=np.atleast_1d(shifted),
    )


def _cross_entropy_jacobian(view: WorkedRow) -> Step:
    t, value = view.target, view.cross_entropy_jacobian

    def quotient(k: int) -> str:
        return f"DXE[{k}] = -{view.factor(view.targets[k])} / {view.factor(view.probabilities[k])}"

    infinite = np.flatnonzero(np.isinf(value))
    lost = f"{quotient(infinite[0])} is infinite." if infinite.size else ""
    worked = [f"{quotient(t)} = {result(value[t])}"]
    return view.step("cross_entropy_jacobian", worked, value, lost=lost, mistaken=value)


def _softmax_jacobian(view: WorkedRow) -> Step:
    t, s, number = view.target, view.probabilities, view.factor
    column = view.softmax_column(t)
    worked = [f"DS[{t},{t}] = {number(s[t])} · (1 - {number(s[t])}) = {result(column[t])}"]
    if view.n_classes > 1:
        i = int(np.argmax(np.where(np.arange(view.n_classes) == t, -1, np.nan_to_num(s))))
        worked.append(f"DS[{t},{i}] = -{number(s[t])} · {number(s[i])} = {result(column[i])}")
    complement = layer.other_exponentials(view.forward)[0] / (1 + view.forward.others[0])
    gone = np.flatnonzero((np.abs((1 - s) - complement) >= complement / 2) & (complement != 0))
    lost = ""
    if gone.size:
        k = int(gone[0])
        lost = (
            f"S[{k}] is rounded so near to 1 that 1 - S[{k}] is {result(1 - s[k])}; it is {complement[k]:.5g}, the "
            f"sum of the other probabilities. DS[{k},{k}] = {result(view.softmax_column(k)[k])} has no digit of it."
        )
    diagonal = np.where(view.targets != 0, -view.targets * (1 - s), 0)
    value = _matrix(view, view.n_classes, lambda rows: chain.softmax_jacobian(s, rows))
    return view.step("softmax_jacobian", worked, value, lost=lost, mistaken=diagonal)


def _weighted_sum_jacobian(view: WorkedRow) -> Step:
    n, t, j, index = view.n_inputs, view.target, view.input, np.arange(view.n_classes)
    # Its rows are those of DL where the softmax is left out: the identity in the place of DS.
    value = _matrix(
        view,
        view.n_classes * n,
        lambda rows: chain.layer_jacobian((index[rows, None] == index).astype(view.x.dtype), view.x),
    )
    return view.step(
        "weighted_sum_jacobian",
        [f"Dg[{t}, {t}·{n} + {j}] = Dg[{t},{t * n + j}] = x[{j}] = {view.factor(view.x[j])}"],
        value,
        mistaken=view.residual,
        where=f"columns t·{n} to t·{n} + {n - 1}" if n > 1 else "column t",
    )


def _layer_jacobian(view: WorkedRow) -> Step:
    n, t, j = view.n_inputs, view.target, view.input
    slope, x = float(view.softmax_column(t)[t]), float(view.x[j])
    numbers = product(view.factor(slope), view.factor(x))
    return view.step(
        "layer_jacobian",
        [f"DL[{t},{t * n + j}] = DS[{t},{t}] · x[{j}] = {numbers} = {result(slope * x)}"],
        _matrix(
            view,
            view.n_classes * n,
            lambda rows: chain.layer_jacobian(chain.softmax_jacobian(view.probabilities, rows), view.x),
        ),
    )


def _flat_gradient(view: WorkedRow) -> Step:
    t, j = view.target, view.input
    outer, column = view.cross_entropy_jacobian, view.softmax_column(t) * view.x[j]
    terms = [product(view.factor(outer[k]), view.factor(column[k])) for k in view.named]
    return view.step(
        "flat_gradient",
        [f"flat[{t * view.n_inputs + j}] = {summed(terms)} = {view.outcome('chain', j, t)}"],
        view.gradients["chain"].T.reshape(-1),
        noise=view.noise("chain").T.reshape(-1),
        lost=view.lost_entries("chain"),
    )


def _gradient(view: WorkedRow) -> Step:
    n, n_classes, t, j = view.n_inputs, view.n_classes, view.target, view.input
    value, noise = view.gradients["chain"], view.noise("chain")
    instead, scrambled = "here both folds are the same, since W has one row or one column", None
    if n > 1 and n_classes > 1:
        flat = np.where(noise, 0, value).T.reshape(-1)
        scrambled = flat.reshape(n, n_classes)
        cut = f"cuts the row into pieces of {n_classes}, though it runs in pieces of {n}"
        if n == n_classes:
            cut = "without .T takes the columns of W for its rows"
        instead = (
            f"reshape({n}, {n_classes}) {cut}: the right numbers in the wrong places. dL/dW[0,1] is flat[{n}] = "
            f"{result(flat[n])}; there it is flat[1] = {result(flat[1])}"
        )
    worked = f"dL/dW[{j},{t}] = flat[{t}·{n} + {j}] = flat[{t * n + j}] = {view.outcome('chain', j, t)}"
    return view.step("gradient", [worked], value, noise=noise, mistaken=scrambled, instead=instead)


MAKERS: tuple[Callable[[WorkedRow], Step], ...] = (
    _logits,
    _probabilities,
    _loss,
    _cross_entropy_jacobian,
    _softmax_jacobian,
    _weighted_sum_jacobian,
    _layer_jacobian,
    _flat_gradient,
    _gradient,
    checks.shortcut,
    checks.comparison,
    checks.check,
)
