"""The steps of the chain, and the shortcut and the checks beside it: each its rule, and the numbers of a row."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from xegrad import bounds, layer
from xegrad.explanation.row import FACTOR, RESULT, WorkedRow, product, result, summed
from xegrad.explanation.values import CommonMistake, Jacobian, Step
from xegrad.methods import METHODS, finite_difference
from xegrad.vocabulary import count

FAR = 1e6  # an exponent with more digits than one reads
KERAS_EPSILON = 1e-7  # what Keras adds within the logarithm


def _logits(row: WorkedRow) -> Step:
    problem, number, t = row.problem, row.factor, row.target
    rule = (
        "The score of each class, its logit: each input times its weight in the column of the class, added up"
    )
    formula = "Z[i] = Σ_j x[j] · W[j,i]"
    terms = [product(number(x), number(w)) for x, w in zip(row.x, problem.weights[:, t], strict=True)]
    sizes = np.abs(row.x) @ np.abs(problem.weights)
    if problem.bias is not None:
        rule, formula = f"{rule}, and then the b of the class", f"{formula} + b[i]"
        terms.append(number(problem.bias[t]))
        sizes = sizes + np.abs(problem.bias)
        slip = CommonMistake("bias-wrong", "b is left out", "Z", row.x @ problem.weights)
    else:
        instead, mistaken = f"which fails here, since it takes {row.n_classes} inputs", None
        if row.n_inputs == row.n_classes:
            instead, mistaken = "which runs here, since W is square", problem.weights @ row.x
        slip = CommonMistake("transposed", f"W · x is computed, {instead}", "Z", mistaken)
    rounding = (row.n_inputs + 1) * float(np.finfo(problem.dtype).eps) / 2 * sizes
    broken = np.flatnonzero(~np.isfinite(row.logits))
    lost = ""
    if broken.size:
        lost = f"Z[{broken[0]}] is {float(row.logits[broken[0]])}: the sum is larger than any float."
    return Step(
        symbol="Z",
        rule=f"{rule}.",
        formula=formula,
        worked=[f"Z[{t}] = {summed(terms)} = {result(row.logits[t])}"],
        numbers=row.logits,
        noise=np.isfinite(sizes) & (np.abs(row.logits) <= rounding) & (row.logits != 0),
        lost=lost,
        slip=slip,
    )


def _probabilities(row: WorkedRow) -> Step:
    t, s, number = row.target, row.probabilities, row.factor
    shifted, total = row.forward.shifted[0], float(1 + row.forward.others[0, 0])
    m = int(np.argmax(row.forward.is_maximum[0]))
    gone = np.flatnonzero((s == 0) & np.isfinite(shifted))
    lost = ""
    if gone.size:
        k = t if t in gone else int(gone[0])
        power = (float(shifted[k]) - math.log(total)) / math.log(10)
        of_ten = f"{power:.1f}" if abs(power) < FAR else f"{power:.2e}"
        others = f" The same happens to {gone.size - 1} more." if gone.size > 1 else ""
        lost = (
            f"S[{k}] underflows: e^({number(shifted[k])}) / {number(total)} is about 10^{of_ten}, below the "
            f"smallest float, and becomes 0.{others}"
        )
    rule = "e to the power of each logit, divided by the sum of these powers, so that the probabilities add up to 1. "
    if np.isfinite(row.logits).all():
        rule += (
            "The largest logit, m, is subtracted first: it cancels in the fraction, and no power overflows."
        )
    else:
        rule += "The largest logit, m, is subtracted first: it cancels in the fraction."
        lost = "A logit is beyond the range of floats, and so there are no probabilities."
    twice = layer.softmax(row.forward.probabilities, row.forward.targets).probabilities[0]
    return Step(
        symbol="S",
        rule=rule,
        formula="S[i] = e^(Z[i] - m) / total\ntotal = Σ_k e^(Z[k] - m)",
        worked=[
            f"m = Z[{m}] = {number(row.logits[m])}",
            f"total = {number(total)}",
            f"S[{t}] = e^({number(shifted[t])}) / {number(total)} = {result(s[t])}",
        ],
        numbers=s,
        lost=lost,
        slip=CommonMistake("softmax-twice", "the softmax is taken again, of S", "S", twice),
    )


def _loss(row: WorkedRow) -> Step:
    loss, by_chain = (float(of) for of in (row.forward.loss, row.computed.evaluations["chain"].loss))
    terms = [
        product(row.factor(-row.targets[t]), f"ln {row.factor(row.probabilities[t])}") for t in row.named
    ]
    lost = ""
    if not abs(by_chain - loss) <= 1e-6 * abs(loss):
        exact = row.computed.evaluations.get("exact")
        known = "" if exact is None else f"; the loss is exactly {float(exact.loss) + 0.0:.8g}"
        if math.isfinite(loss):
            known += ". ln(1 + s) - (Z[t] - m), with s the sum of all other powers, keeps its digits"
        lost = f"The logarithm of a rounded S gives {result(by_chain)}{known}."
    shifted = 0 - (row.targets * np.log(row.probabilities + KERAS_EPSILON)).sum()
    return Step(
        symbol="L",
        rule="Minus the logarithm of the target's probability: 0 if the layer is sure of the target, and large if it "
        "finds it unlikely. A class with Q = 0 adds nothing.",
        formula="L = -Σ_t Q[t] · ln S[t]",
        worked=[f"L = {summed(terms)} = {result(by_chain)}"],
        numbers=np.asarray(loss),
        lost=lost,
        slip=CommonMistake("log-epsilon", "1e-7 is added to S, to avoid ln 0", "L", np.atleast_1d(shifted)),
    )


def _cross_entropy_jacobian(row: WorkedRow) -> Step:
    t, value = row.target, row.cross_entropy_jacobian

    def quotient(k: int) -> str:
        return f"DXE[{k}] = -{row.factor(row.targets[k])} / {row.factor(row.probabilities[k])}"

    infinite = np.flatnonzero(np.isinf(value))
    return Step(
        symbol="DXE",
        rule="dL/dS: how the loss changes with each probability. The derivative of -Q · ln S is -Q / S: the smaller "
        "the target's probability, the steeper the loss. Where Q is 0, the loss does not change.",
        formula="DXE[t] = -Q[t] / S[t], and 0 where Q[t] = 0",
        worked=[f"{quotient(t)} = {result(value[t])}"],
        numbers=value,
        lost=f"{quotient(infinite[0])} is infinite." if infinite.size else "",
        slip=CommonMistake(
            "jacobian-skipped", "the softmax is forgotten, and DXE taken for dL/dZ", "dL/dZ", value
        ),
    )


def _softmax_jacobian(row: WorkedRow) -> Step:
    t, s, number = row.target, row.probabilities, row.factor
    slope = row.softmax_jacobian(t, t)
    worked = [f"DS[{t},{t}] = {number(s[t])} · (1 - {number(s[t])}) = {result(slope)}"]
    if row.n_classes > 1:
        i = int(np.argmax(np.where(row.classes == t, -1, np.nan_to_num(s))))
        slope = row.softmax_jacobian(t, i)
        worked.append(f"DS[{t},{i}] = -{number(s[t])} · {number(s[i])} = {result(slope)}")
    complement = layer.other_exponentials(row.forward)[0] / (1 + row.forward.others[0])
    gone = np.flatnonzero((np.abs((1 - s) - complement) >= complement / 2) & (complement != 0))
    lost = ""
    if gone.size:
        k = int(gone[0])
        lost = (
            f"S[{k}] is rounded so near to 1 that 1 - S[{k}] is {result(1 - s[k])}; it is {complement[k]:.5g}, the "
            f"sum of the other probabilities. DS[{k},{k}] = {result(row.softmax_jacobian(k, k))} has no digit of it."
        )
    diagonal = np.where(row.targets != 0, -row.targets * (1 - s), 0)
    return Step(
        symbol="DS",
        rule="dS/dZ: how each probability (a row) changes with each logit (a column). It rises with its own logit and "
        "falls with every other. The probabilities always add up to 1, so every column sums to 0. So does every row.",
        formula="DS[t,i] = S[t] · (1 - S[t]) if i = t, else -S[t] · S[i]",
        worked=worked,
        numbers=Jacobian((row.n_classes, row.n_classes), row.softmax_jacobian),
        structure="The matrix is symmetric. Only the diagonal can be positive.",
        lost=lost,
        slip=CommonMistake("jacobian-diagonal", "only the diagonal is used", "dL/dZ", diagonal),
    )


def _weighted_sum_jacobian(row: WorkedRow) -> Step:
    n, t, j = row.n_inputs, row.target, row.input
    shape = row.n_classes, row.n_classes * n
    where = f"columns t·{n} to t·{n} + {n - 1}" if n > 1 else "column t"
    return Step(
        symbol="Dg",
        rule="dZ/dW: how each logit changes with each weight. A logit is a sum of inputs times weights, so the "
        "derivative with respect to a weight is its input. The weights of other classes change nothing. There is a "
        f"column for each weight, class after class: column i·{n} + j is W[j,i].",
        formula=f"Dg[t, i·{n} + j] = x[j] if i = t, else 0",
        worked=[f"Dg[{t}, {t}·{n} + {j}] = Dg[{t},{t * n + j}] = x[{j}] = {row.factor(row.x[j])}"],
        # Column k is W[k % n, k // n].
        numbers=Jacobian(shape, lambda t, k: (t == k // n) * row.x[k % n]),
        structure=f"Each row is zero outside one block: row t has x in {where}.",
        slip=CommonMistake(
            "input-missing", "x is left out, so that all rows of dL/dW are alike", "each row", row.residual
        ),
    )


def _layer_jacobian(row: WorkedRow) -> Step:
    n, t, j = row.n_inputs, row.target, row.input
    slope, x, shape = float(row.softmax_jacobian(t, t)), float(row.x[j]), (row.n_classes, row.n_classes * n)
    numbers = product(row.factor(slope), row.factor(x))
    return Step(
        symbol="DL",
        rule="dS/dW = DS · Dg, by the chain rule: how each probability changes with each weight. A column of Dg has "
        "only one number that can differ from 0, so each sum has one term.",
        formula=f"DL[t, i·{n} + j] = DS[t,i] · x[j]",
        worked=[f"DL[{t},{t * n + j}] = DS[{t},{t}] · x[{j}] = {numbers} = {result(slope * x)}"],
        numbers=Jacobian(shape, lambda t, k: row.softmax_jacobian(t, k // n) * row.x[k % n]),
        structure="Each column of DS is there once for every input, multiplied by that input.",
        slip=CommonMistake("all-zero", "its rows are added up without DXE, which gives 0 everywhere"),
    )


def _flat_gradient(row: WorkedRow) -> Step:
    n, t, j = row.n_inputs, row.target, row.input
    outer, column = row.cross_entropy_jacobian, row.softmax_jacobian(row.classes, t) * row.x[j]
    terms = [product(row.factor(outer[k]), row.factor(column[k])) for k in row.named]
    return Step(
        symbol="DXE·DL",
        rule="dL/dW as one row, by the chain rule: DXE says how the loss changes with each probability, and DL how "
        f"each probability changes with each weight. The row has {count(n, 'number')} for each class, class after "
        "class.",
        formula=f"flat[i·{n} + j] = Σ_t DXE[t] · DL[t, i·{n} + j]",
        worked=[f"flat[{t * n + j}] = {summed(terms)} = {row.outcome('chain', j, t)}"],
        numbers=row.gradients["chain"].T.reshape(-1),
        noise=row.noise("chain").T.reshape(-1),
        lost=row.lost_entries("chain"),
        slip=CommonMistake(
            "scrambled-reshape", "the row is cut without regard to this order; see the next step"
        ),
    )


def _gradient(row: WorkedRow) -> Step:
    n, n_classes, t, j = row.n_inputs, row.n_classes, row.target, row.input
    value, noise = row.gradients["chain"], row.noise("chain")
    instead, scrambled = "another reshape makes no difference here, since W has one row or one column", None
    if n > 1 and n_classes > 1:
        flat = np.where(noise, 0, value).T.reshape(-1)
        scrambled = flat.reshape(n, n_classes)
        cut = f"cuts the row into pieces of {n_classes}, though each class has {n}"
        if n == n_classes:
            cut = "without .T takes the columns of W for its rows"
        instead = f"reshape({n}, {n_classes}) {cut}"
        if np.isfinite(flat).all():
            instead += (
                ". The numbers are right, and in the wrong places: dL/dW[0,1] becomes flat[1] = "
                f"{result(flat[1])}, and is flat[{n}] = {result(flat[n])}"
            )
    return Step(
        symbol="dL/dW",
        rule=f"The same numbers in the layout of W. The row is cut into pieces of {n}, one for each class, and each "
        "piece becomes a column.",
        formula=f"dL/dW[j,i] = flat[i·{n} + j], which is flat.reshape({n_classes}, {n}).T",
        worked=[f"dL/dW[{j},{t}] = flat[{t}·{n} + {j}] = flat[{t * n + j}] = {row.outcome('chain', j, t)}"],
        numbers=value,
        noise=noise,
        slip=CommonMistake("scrambled-reshape", instead, "dL/dW", scrambled),
    )


def _shortcut(row: WorkedRow) -> Step:
    t, j, residual, number = row.target, row.input, row.residual, row.factor
    q, in_symbols, is_mass = "", "", ""
    if row.mass != 1:
        q, in_symbols, is_mass = f"{number(row.mass)} · ", "q · ", " q is the sum of Q."
    difference = f"{q}{number(row.probabilities[t])} - {number(row.targets[t])}"
    numbers = product(number(residual[t]), number(row.x[j]))
    return Step(
        symbol="dL/dW",
        rule="The same in one step. In DXE · DS nearly everything cancels, and what is left is dL/dZ: the "
        f"probabilities minus the targets. Each weight's derivative is this times its input.{is_mass}",
        formula=f"dL/dZ[i] = {in_symbols}S[i] - Q[i]\ndL/dW[j,i] = dL/dZ[i] · x[j]",
        worked=[
            f"dL/dZ[{t}] = {difference} = {result(residual[t])}",
            f"dL/dW[{j},{t}] = {numbers} = {row.outcome('shortcut', j, t)}",
        ],
        numbers=row.gradients["shortcut"],
        noise=row.noise("shortcut"),
        lost=row.lost_entries("shortcut"),
        slip=CommonMistake("sign-flipped", "Q - S is computed: the sign is flipped", "dL/dZ", 0 - residual),
    )


def _comparison(row: WorkedRow) -> Step:
    compared = row.computed.comparisons["weights"]
    total, apart = compared.reference.size, int((~compared.within).sum())
    everything = "the only entry" if total == 1 else f"all {total} entries"
    worked = [f"{everything}: no further apart than rounding explains"]
    if apart:
        worked = [f"{apart} of {total} entries: further apart than rounding explains, or not finite"]
    if lost := int(compared.unresolved.sum()):
        worked.append(f"{lost} of {total} entries: rounding may have taken every digit")
    for name, by in row.computed.from_exact.items():
        if gone := int(by["weights"].no_correct_digit.sum()):
            worked.append(f"{gone} of {total} entries: the {name} has no digit of the exact value")
        else:
            worked.append(f"{everything}: the {name} has digits of the exact value")
    return Step(
        symbol="chain = shortcut?",
        rule="The long way against the short way, entry by entry. Where they agree, both may still be wrong: they may "
        "have lost the same digits.",
        formula="|chain - shortcut| ≤ what rounding can do to both",
        worked=worked,
    )


def _check(row: WorkedRow) -> Step:
    i, j, residual = row.target, row.input, row.residual
    bound = bounds.stable(row.computed.problem, ("logits",)).gradients["logits"]
    largest = float(np.abs(residual).max())
    # In parts of the largest, since a sum of large numbers may overflow.
    total = largest * math.fsum(residual / largest) if 0 < largest < math.inf else largest
    came = "0, up to rounding" if largest and abs(total) <= float(bound.sum()) else result(total)
    worked = [
        f"Σ_i dL/dZ[i] = {summed([result(r) for r in residual])} = {came}",
        f"dL/dW[{j},{i}] ≈ {_slope(row, j, i)}, with h = 2^-17",
    ]
    if "exact" in row.gradients:
        exact = row.gradients["exact"][j, i] + 0.0
        worked.append(f"dL/dW[{j},{i}] = {exact:.{FACTOR}g}, exactly, to the digits shown")
    return Step(
        symbol="check",
        rule="Two things must hold. Where all logits grow by the same amount, no probability changes, so dL/dZ sums "
        "to 0. And an entry of dL/dW is the slope of the loss as that weight moves by a small h.",
        formula="Σ_i dL/dZ[i] = 0\ndL/dW[j,i] ≈ (L(W[j,i] + h) - L(W[j,i] - h)) / 2h",
        worked=worked,
    )


def _slope(row: WorkedRow, j: int, i: int) -> str:
    """The central difference in W[j, i], to the digits that it is good for."""
    step = finite_difference.STEP
    move = np.where(row.classes == i, step * row.x[j], 0).astype(row.x.dtype)
    above, below = (
        float(layer.softmax(row.forward.logits + sign * move, row.forward.targets).loss) for sign in (1, -1)
    )
    difference = (above - below) / (2 * step)
    unsure = float(METHODS["finite-difference"].bound(row.computed.problem).gradients["weights"][j, i])
    digits = math.log10(abs(difference) / unsure) if 0 < unsure < abs(difference) < math.inf else 0
    if digits >= 1:
        return f"{difference:.{min(RESULT, int(digits))}g}"
    return "no digit: the entry is too small for it" if math.isfinite(difference) else "no number"


# By their names, in the order of the chain.
STEPS: Mapping[str, Callable[[WorkedRow], Step]] = {
    "logits": _logits,
    "probabilities": _probabilities,
    "loss": _loss,
    "cross_entropy_jacobian": _cross_entropy_jacobian,
    "softmax_jacobian": _softmax_jacobian,
    "weighted_sum_jacobian": _weighted_sum_jacobian,
    "layer_jacobian": _layer_jacobian,
    "flat_gradient": _flat_gradient,
    "gradient": _gradient,
    "shortcut": _shortcut,
    "comparison": _comparison,
    "check": _check,
}
