"""The steps of the chain, each with its rule, its formula and the numbers of a row."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from msgspec.structs import replace

from xegrad import layer
from xegrad.explanation import checks
from xegrad.explanation.row import WorkedRow, product, result, summed
from xegrad.explanation.values import MISTAKE_AT_STEP, WITHOUT_BIAS, CommonMistake, Corners, Step
from xegrad.methods import chain
from xegrad.targets import Array

BUDGET = 2**20  # numbers of a Jacobian that are built at once; of a larger one, its corners are
EDGE = 3  # rows and columns at each edge of a corner
KERAS_EPSILON = 1e-7  # what Keras adds within the logarithm


def _edges(size: int, target: int) -> tuple[int, ...]:
    """The first and the last indices, and the target's."""
    return tuple(sorted({*range(min(EDGE, size)), target, *range(max(0, size - EDGE), size)}))


def _with_matrix(step: Step, view: WorkedRow, width: int, rows_of: Callable[[slice], Array]) -> Step:
    """The step with the whole of its Jacobian, (T, width), or with the corners of one beyond the budget."""
    shape = (view.n_classes, width)
    if shape[0] * shape[1] <= BUDGET:
        return replace(step, shape=shape, value=rows_of(slice(0, shape[0])))
    rows = _edges(view.n_classes, view.target)
    columns = _edges(
        width, view.target if width == view.n_classes else view.target * view.n_inputs + view.input
    )
    parts = [rows_of(slice(row, row + 1))[:, list(columns)] for row in rows]
    return replace(step, shape=shape, corners=Corners(rows, columns, np.concatenate(parts)))


def _logits(view: WorkedRow) -> Step:
    problem, t = view.problem, view.target
    sizes = np.abs(view.x) @ np.abs(problem.weights)
    terms = [
        product(view.factor(x), view.factor(w)) for x, w in zip(view.x, problem.weights[:, t], strict=True)
    ]
    if problem.bias is not None:
        sizes = sizes + np.abs(problem.bias)
        terms.append(view.factor(problem.bias[t]))
        slip = CommonMistake(MISTAKE_AT_STEP["logits"], "b left out", view.x @ problem.weights, "Z")
    else:
        square = view.n_inputs == view.n_classes
        ending = "it runs, since W is square" if square else f"it would need {view.n_classes} inputs"
        numbers = problem.weights @ view.x if square else None
        slip = CommonMistake(WITHOUT_BIAS, f"W on the wrong side, W · x: {ending}", numbers, "Z")
    broken = np.flatnonzero(~np.isfinite(view.logits))
    lost = ""
    if broken.size:
        lost = f"Z[{broken[0]}] is {float(view.logits[broken[0]])}: the sum is larger than any float."
    return Step(
        name="logits",
        symbol="Z",
        rule="A logit for each class: the inputs, weighted by the column of W that belongs to the class, and "
        + ("added up with its b." if problem.bias is not None else "added up."),
        formula="Z[i] = Σ_j x[j] · W[j,i]" + (" + b[i]" if problem.bias is not None else ""),
        worked=(f"Z[{t}] = {summed(terms)} = {result(view.logits[t])}",),
        shape=(view.n_classes,),
        value=view.logits,
        noise=np.isfinite(sizes)
        & (np.abs(view.logits) <= (view.n_inputs + 1) * view.u * sizes)
        & (view.logits != 0),
        lost=lost,
        slip=slip,
    )


def _probabilities(view: WorkedRow) -> Step:
    t, forward = view.target, view.forward
    shift, total = float(forward.shifted[0, t]), float(1 + forward.others[0, 0])
    m = int(np.argmax(forward.is_maximum[0]))
    gone = np.flatnonzero((view.probabilities == 0) & np.isfinite(forward.shifted[0]))
    lost = ""
    if gone.size:
        k = t if t in gone else int(gone[0])
        power = (float(forward.shifted[0, k]) - math.log(total)) / math.log(10)
        others = f" So {'does' if gone.size == 2 else 'do'} {gone.size - 1} more." if gone.size > 1 else ""
        lost = (
            f"S[{k}] underflows: e^({view.factor(float(forward.shifted[0, k]))}) / {view.factor(total)} is about "
            f"10^{power:.1f}, below the smallest float, and becomes 0.{others}"
        )
    twice = layer.softmax(forward.probabilities, forward.targets).probabilities[0]
    return Step(
        name="probabilities",
        symbol="S",
        rule="e to the power of each logit, divided by their sum, so that all add up to 1. The largest logit m is "
        "subtracted first: that changes nothing, and no power overflows.",
        formula="S[i] = e^(Z[i] - m) / Σ_k e^(Z[k] - m)",
        worked=(
            f"m = Z[{m}] = {view.factor(view.logits[m])},  Σ_k e^(Z[k] - m) = {view.factor(total)}",
            f"S[{t}] = e^({view.factor(shift)}) / {view.factor(total)} = {result(view.probabilities[t])}",
        ),
        shape=(view.n_classes,),
        value=view.probabilities,
        lost=lost,
        slip=CommonMistake(
            MISTAKE_AT_STEP["probabilities"], "the softmax of what already is one", twice, "S"
        ),
    )


def _loss(view: WorkedRow) -> Step:
    loss = float(np.asarray(view.forward.loss))
    by_chain = float(np.asarray(view.computed.evaluations["chain"].loss))
    named = [int(t) for t in np.flatnonzero(view.targets)]
    terms = [
        f"{product(view.factor(-float(view.targets[t])), f'ln {view.factor(view.probabilities[t])}')}"
        for t in named
    ]
    lost = ""
    if not abs(by_chain - loss) <= 1e-6 * abs(loss):
        evaluation = view.computed.evaluations.get("exact")
        known = "" if evaluation is None else f"; the loss is exactly {float(evaluation.loss) + 0.0:.8g}"
        kept = (
            ", and ln(1 + s) - (Z[t] - m), with s the sum of all other powers, keeps it"
            if np.isfinite(loss)
            else ""
        )
        lost = f"The logarithm of a rounded S gives {result(by_chain)}{known}{kept}."
    with np.errstate(all="ignore"):
        logarithms = np.log(view.probabilities + KERAS_EPSILON)
        shifted = 0 - (view.targets * logarithms).sum()
    return Step(
        name="loss",
        symbol="L",
        rule="How surprised the layer is by what was asked for: minus the logarithm of the probability of the "
        "target. Classes with Q = 0 do not count.",
        formula="L = -Σ_t Q[t] · ln S[t]",
        worked=(f"L = {summed(terms) if terms else '0'} = {result(by_chain)}",),
        value=np.asarray(loss),
        lost=lost,
        slip=CommonMistake(
            MISTAKE_AT_STEP["loss"], "ln(S + 1e-7), against ln 0", np.atleast_1d(shifted), "L"
        ),
    )


def _cross_entropy_jacobian(view: WorkedRow) -> Step:
    t = view.target
    value = chain.cross_entropy_jacobian(view.probabilities, view.targets)
    infinite = np.flatnonzero(np.isinf(value))
    lost = ""
    if infinite.size:
        k = int(infinite[0])
        lost = (
            f"DXE[{k}] = -{view.factor(view.targets[k])} / {view.factor(view.probabilities[k])} is infinite."
        )
    return Step(
        name="cross_entropy_jacobian",
        symbol="DXE",
        rule="dL/dS: how the loss moves with each probability. Only those of the target count, and the smaller "
        "one is, the more it matters.",
        formula="DXE[t] = -Q[t] / S[t], and 0 where Q[t] = 0",
        worked=(
            f"DXE[{t}] = -{view.factor(view.targets[t])} / {view.factor(view.probabilities[t])} = "
            f"{result(value[t])}",
        ),
        shape=(view.n_classes,),
        value=value,
        lost=lost,
        slip=CommonMistake(
            MISTAKE_AT_STEP["cross_entropy_jacobian"],
            "the softmax forgotten: DXE taken for dL/dZ",
            value,
            "dL/dZ",
        ),
    )


def _softmax_jacobian(view: WorkedRow) -> Step:
    t, s = view.target, view.probabilities
    column = view.softmax_column(t)
    worked = [f"DS[{t},{t}] = {view.factor(s[t])} · (1 - {view.factor(s[t])}) = {result(column[t])}"]
    if view.n_classes > 1:
        rest = np.where(np.arange(view.n_classes) == t, -1, np.nan_to_num(s))
        i = int(np.argmax(rest))
        worked.append(f"DS[{t},{i}] = -{view.factor(s[t])} · {view.factor(s[i])} = {result(column[i])}")
    complement = layer.other_exponentials(view.forward)[0] / (1 + view.forward.others[0])
    gone = np.flatnonzero((np.abs((1 - s) - complement) >= complement / 2) & (complement != 0))
    lost = ""
    if gone.size:
        k = int(gone[0])
        lost = (
            f"S[{k}] is rounded so near to 1 that 1 - S[{k}] is {result(1 - s[k])}; it is {complement[k]:.5g}, the "
            f"sum of the other probabilities. DS[{k},{k}] = {result(view.softmax_column(k)[k])} has no digit of it."
        )
    diagonal = np.zeros_like(s)
    np.multiply(-view.targets, 1 - s, out=diagonal, where=view.targets != 0)
    step = Step(
        name="softmax_jacobian",
        symbol="DS",
        rule="dS/dZ: how each probability (a row) moves with each logit (a column): up with its own, down with every "
        "other. Every row and every column sums to 0.",
        formula="DS[t,i] = S[t] · (1 - S[t]) if i = t, else -S[t] · S[i]",
        worked=tuple(worked),
        structure="Symmetric, and no block is zero: positive on the diagonal, negative elsewhere.",
        lost=lost,
        slip=CommonMistake(MISTAKE_AT_STEP["softmax_jacobian"], "only the diagonal", diagonal, "dL/dZ"),
    )
    return _with_matrix(step, view, view.n_classes, lambda rows: chain.softmax_jacobian(s, rows))


def _weighted_sum_jacobian(view: WorkedRow) -> Step:
    n, t, j = view.n_inputs, view.target, view.input
    step = Step(
        name="weighted_sum_jacobian",
        symbol="Dg",
        rule="dZ/dW: how each logit moves with each weight: by the input that the weight multiplies, and not at all "
        f"with the weights of other classes. Column i·{n} + j is W[j,i]: class by class.",
        formula=f"Dg[t, i·{n} + j] = x[j] if i = t, else 0",
        worked=(f"Dg[{t}, {t}·{n} + {j}] = Dg[{t},{t * n + j}] = x[{j}] = {view.factor(view.x[j])}",),
        structure="Zero but for one block a row: row t holds x in "
        + (f"columns t·{n} to t·{n} + {n - 1}." if n > 1 else "column t."),
        slip=CommonMistake(
            MISTAKE_AT_STEP["weighted_sum_jacobian"],
            "x left out: the same in every row of W",
            view.residual,
            "dL/dW[j]",
        ),
    )
    index = np.arange(view.n_classes)
    # Its rows are those of DL where the softmax is left out: the identity in the place of DS.
    return _with_matrix(
        step,
        view,
        view.n_classes * n,
        lambda rows: chain.layer_jacobian((index[rows, None] == index).astype(view.x.dtype), view.x),
    )


def _layer_jacobian(view: WorkedRow) -> Step:
    n, t, j = view.n_inputs, view.target, view.input
    slope, x = float(view.softmax_column(t)[t]), float(view.x[j])
    step = Step(
        name="layer_jacobian",
        symbol="DL",
        rule="dS/dW = DS · Dg: how each probability moves with each weight. Since Dg is mostly zeros, one term is left "
        "of each sum.",
        formula=f"DL[t, i·{n} + j] = DS[t,i] · x[j]",
        worked=(
            f"DL[{t},{t * n + j}] = DS[{t},{t}] · x[{j}] = {product(view.factor(slope), view.factor(x))} = "
            f"{result(slope * x)}",
        ),
        structure="Each column of DS, times every x in turn: zero where that x is.",
        slip=CommonMistake(
            MISTAKE_AT_STEP["layer_jacobian"], "its rows added up without DXE, which gives 0 everywhere"
        ),
    )
    return _with_matrix(
        step,
        view,
        view.n_classes * n,
        lambda rows: chain.layer_jacobian(chain.softmax_jacobian(view.probabilities, rows), view.x),
    )


def _flat_gradient(view: WorkedRow) -> Step:
    n, t, j = view.n_inputs, view.target, view.input
    outer = chain.cross_entropy_jacobian(view.probabilities, view.targets)
    column = view.softmax_column(t) * view.x[j]
    terms = [
        product(view.factor(outer[k]), view.factor(column[k])) for k in np.flatnonzero(view.targets).tolist()
    ]
    return Step(
        name="flat_gradient",
        symbol="DXE·DL",
        rule="dL/dW as one row: DXE says how much each probability matters, DL how it moves with each weight. Still "
        f"class by class, {n} at a time.",
        formula=f"flat[i·{n} + j] = Σ_t DXE[t] · DL[t, i·{n} + j]",
        worked=(f"flat[{t * n + j}] = {summed(terms) if terms else '0'} = {view.outcome('chain', j, t)}",),
        shape=(view.n_classes * n,),
        value=view.chain.T.reshape(-1),
        noise=view.noise("chain").T.reshape(-1),
        lost=view.lost_entries("chain"),
        slip=CommonMistake(
            MISTAKE_AT_STEP["flat_gradient"],
            "its numbers put into W in the order in which they come; see the next step",
        ),
    )


def _gradient(view: WorkedRow) -> Step:
    n, t, j = view.n_inputs, view.target, view.input
    flat = np.where(view.noise("chain"), 0, view.chain).T.reshape(-1)
    scrambled = flat.reshape(n, view.n_classes)
    worked = [f"dL/dW[{j},{t}] = flat[{t}·{n} + {j}] = flat[{t * n + j}] = {view.outcome('chain', j, t)}"]
    instead = "here both folds are the same, since W has one row or one column"
    if n > 1 and view.n_classes > 1:
        cut = (
            f"reshape({n}, {n}) without .T takes the columns of W for its rows"
            if n == view.n_classes
            else f"reshape({n}, {view.n_classes}) cuts the row into pieces of {view.n_classes}, though it runs in "
            f"pieces of {n}"
        )
        instead = (
            f"{cut}: the right numbers in the wrong places. dL/dW[0,1] is flat[{n}] = {result(flat[n])}; there it "
            f"is flat[1] = {result(flat[1])}"
        )
    return Step(
        name="gradient",
        symbol="dL/dW",
        rule="The row folded into W's layout, a row for each input and a column for each class.",
        formula=f"dL/dW[j,i] = flat[i·{n} + j], which is flat.reshape({view.n_classes}, {n}).T",
        worked=tuple(worked),
        shape=(n, view.n_classes),
        value=view.chain,
        noise=view.noise("chain"),
        slip=CommonMistake(
            MISTAKE_AT_STEP["gradient"], instead, scrambled if n > 1 and view.n_classes > 1 else None, "dL/dW"
        ),
    )


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
