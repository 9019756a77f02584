"""Slips in what becomes of the gradient: its layout, sign and factor, W added to it, and how it is stored."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xegrad import bounds
from xegrad.slips.draft import Draft, Gradient
from xegrad.slips.entry import Line, Parameters, Slip
from xegrad.targets import Array

Indices = NDArray[np.intp]
CLIPPED_AT_LEAST = 2  # entries at the limit


def shape(draft: Draft) -> tuple[int, int]:
    """The gradient's rows and columns; one row for b."""
    problem = draft.problem
    rows, columns = problem.n_rows, problem.n_classes
    return {
        "weights": (problem.n_inputs, columns),
        "bias": (1, columns),
        "inputs": (rows, problem.n_inputs),
        "logits": (rows, columns),
    }[draft.name]


def parameter(draft: Draft) -> Array | None:
    """What the gradient updates: W or b."""
    return {"weights": draft.problem.weights, "bias": draft.problem.bias}.get(draft.name)


# The layout: where the entry of row i and column k is found, as a flat index.


def _transposed_choices(draft: Draft) -> list[Parameters]:
    return [{}] if min(shape(draft)) > 1 else []


def _transposed(draft: Draft, given: Parameters, i: Indices, k: Indices) -> Indices:
    return k * shape(draft)[0] + i


def _scrambled_choices(draft: Draft) -> list[Parameters]:
    if draft.name != "weights" or min(shape(draft)) == 1:
        return []
    return [{"form": "cut"}, {"form": "folded"}]


def _scrambled(draft: Draft, given: Parameters, i: Indices, k: Indices) -> Indices:
    """Cut: the flat gradient, class by class, has this entry at k N + i.  Folded: the place i T + k of W's
    own order was read as one of class by class, input place % N of class place // N."""
    n_rows, n_columns = shape(draft)
    if given["form"] == "cut":
        return k * n_rows + i
    place = i * n_columns + k
    return place if given["form"] == "reshaped" else place % n_rows * n_columns + place // n_rows


@functools.lru_cache(maxsize=8)
def named_orders(n_classes: int, names: tuple[str, ...] | None) -> dict[str, tuple[Indices, Indices]]:
    """Orders of classes that files and programs have by themselves, with the column of each class."""
    same = np.arange(n_classes)
    orders = {"reversed": same[::-1]}
    if names is not None:
        orders["alphabetical"] = np.array(sorted(range(n_classes), key=names.__getitem__))
    if n_classes > 10:
        orders["0 1 10 2"] = np.array(sorted(range(n_classes), key=str))
    known: dict[str, tuple[Indices, Indices]] = {}
    for name, order in orders.items():
        for said, one in ((name, order), (f"{name}, undone", np.argsort(order))):
            if not any((one == other).all() for other in (same, *(first for first, _ in known.values()))):
                known[said] = _with_inverse(one)
    return known


def _orders(draft: Draft) -> dict[str, tuple[Indices, Indices]]:
    return named_orders(draft.problem.n_classes, draft.problem.classes)


def _permuted_choices(draft: Draft) -> list[Parameters]:
    return [] if draft.name == "inputs" else [{"order": name} for name in _orders(draft)]


def _permuted(draft: Draft, given: Parameters, i: Indices, k: Indices) -> Indices:
    name = str(given["order"])
    known = _orders(draft).get(name)
    order, column = known if known is not None else _with_inverse(np.array(name.split(), dtype=np.intp))
    places: Indices = i * order.size + column[k]
    return places


def _with_inverse(order: Indices) -> tuple[Indices, Indices]:
    return order, np.argsort(order)


# The sign and the factor.


def _flipped(draft: Draft, gradient: Gradient, given: Parameters) -> Gradient:
    return Gradient(-gradient.values, gradient.bound)


def _scaled(draft: Draft, gradient: Gradient, given: Parameters) -> Gradient:
    factor: Any = given["k"]
    values = factor * gradient.values
    return Gradient(values, np.abs(factor) * gradient.bound + 2 * draft.u * np.abs(values))


def named_factors(draft: Draft, gradient: Array) -> dict[str, float]:
    """The constants by which gradients are off, by name; those that are 1 on this problem are no slip."""
    problem = draft.problem
    targets, B, N, T = problem.targets, problem.n_rows, problem.n_inputs, problem.n_classes
    factors: dict[str, float] = {"B": B, "1/B": 1 / B, "1/B^2": 1 / B**2, "T": T, "1/T": 1 / T}
    factors |= {"1/(B T)": 1 / (B * T), "N": N, "1/N": 1 / N, "2": 2, "1/2": 0.5}
    for base in ("2", "10"):
        factors |= {f"ln {base}": math.log(int(base)), f"1/ln {base}": 1 / math.log(int(base))}
    counts = {"all rows": float(B), "kept rows": float(targets.kept.sum())}
    if targets.class_weights is not None and targets.labels is not None:
        own = targets.class_weights[np.where(targets.kept, targets.labels, 0)]
        counts["the sum of weights"] = float(np.where(targets.kept, own, 0).sum())
    for first, one in counts.items():
        for second, two in counts.items():
            if one and two and one != two:
                name = f"the mean over {second} ({two:.12g}) in place of {first} ({one:.12g})"
                factors[name] = one / two
    norm = float(np.sqrt(np.square(gradient).sum()))
    if norm:
        factors["1/||G||"] = 1 / norm
    return {name: value for name, value in factors.items() if value != 1}


def _zero(draft: Draft, gradient: Gradient, given: Parameters) -> Gradient:
    return Gradient(np.zeros_like(gradient.values), np.zeros_like(gradient.values))


def _clipped(draft: Draft, gradient: Gradient, given: Parameters) -> Gradient:
    limit = float(given["limit"])
    return Gradient(np.clip(gradient.values, -limit, limit), gradient.bound)


# W added.


def _decay(draft: Draft, gradient: Gradient, given: Parameters) -> Gradient:
    return on_line(draft, _decaying(draft, gradient, _weights(draft)), given["lambda"])


def _decaying(draft: Draft, gradient: Gradient, parameter: Array) -> Line:
    added = Gradient(parameter, 4 * draft.u * np.abs(parameter))
    return Line(gradient, added)


def _update(draft: Draft, gradient: Gradient, given: Parameters) -> Gradient:
    return on_line(draft, _updating(draft, gradient, _weights(draft)), given["eta"])


def _updating(draft: Draft, gradient: Gradient, parameter: Array) -> Line:
    start = Gradient(parameter, 4 * draft.u * np.abs(parameter))
    return Line(start, Gradient(-gradient.values, gradient.bound))


def on_line(draft: Draft, line: Line, k: Any) -> Gradient:
    """offset + k direction, with two roundings of what is added."""
    values = line.offset.values + k * line.direction.values
    bound = line.offset.bound + np.abs(k) * line.direction.bound
    return Gradient(values, bound + 2 * draft.u * np.abs(k * line.direction.values))


def _weights(draft: Draft) -> Array:
    weights = parameter(draft)
    return np.zeros(()) if weights is None else weights


def _with_weights(draft: Draft) -> list[Parameters]:
    return [{}] if parameter(draft) is not None else []


# Storage.


def _store(draft: Draft, gradient: Gradient, given: Parameters) -> Gradient:
    if "decimals" in given:
        decimals = int(given["decimals"])
        return Gradient(np.round(gradient.values, decimals), gradient.bound + 0.5 * 10.0**-decimals)
    name = str(given["format"])
    return Gradient(in_format(gradient.values, name), bounds.stored(gradient.values, gradient.bound, name))


def in_format(values: Array, name: str) -> Array:
    """The values, rounded to nearest in another format and back."""
    if name != "bfloat16":
        return values.astype(name).astype(np.float64)
    # The upper half of a float32, rounded to nearest even.
    bits = values.astype(np.float32).view(np.uint32).astype(np.uint64)
    upper = (bits + 0x7FFF + ((bits >> np.uint64(16)) & np.uint64(1))) & np.uint64(0xFFFF0000)
    return upper.astype(np.uint32).view(np.float32).astype(np.float64)


FORMS_OF_STORAGE: tuple[Parameters, ...] = (
    *({"decimals": decimals} for decimals in range(1, 13)),
    {"format": "bfloat16"},
    {"format": "float16"},
    {"format": "float32"},
)


SLIPS = (
    Slip(
        name="scaled",
        stage="factor",
        sentence="The gradient is multiplied with a constant.",
        formula="k G",
        happened="Every entry is {k} times what it should be:\n{which}",
        wrong="dW = x.T @ dz    # or / B once more",
        right="dW = x.T @ dz / B    # once, for the mean; not at all for the sum",
        remedy="Divide by the number of rows once for a mean, and never for a sum; use the natural logarithm.",
        how="A mean taken twice or not at all, a factor of the loss, or gradients accumulated over two passes.",
        free="k",
        canonical={"k": "1/B"},
        gradient=_scaled,
    ),
    Slip(
        name="weight-decay-included",
        stage="added W",
        sentence="A multiple of W is added: the gradient of weight decay.",
        formula="G + lambda W",
        happened="{lambda} times the parameter itself is added to the gradient: lambda = {lambda} for\n"
        "lambda/2 ||W||^2, or lambda = {lambda_of_square} for lambda ||W||^2.",
        wrong="dW = x.T @ dz + lam * W",
        right="dW = x.T @ dz",
        remedy="Compare the gradient of the loss alone, or leave the decay to the optimiser.",
        how="Regularisation that is part of the training loss, not of the problem.",
        free="lambda",
        canonical={"lambda": 0.01},
        choices=_with_weights,
        gradient=_decay,
        line=_decaying,
    ),
    Slip(
        name="sign-flipped",
        stage="sign",
        sentence="Every entry has the opposite sign.",
        formula="-G",
        happened="Every entry has the right size and the opposite sign:\nthis is y - S in the place of S - y.",
        wrong="dz = y - p",
        right="dz = p - y",
        remedy="Subtract the target from the probabilities, not the other way round.",
        how="The step -G taken for the gradient, or the minus of -log lost.",
        gradient=_flipped,
    ),
    Slip(
        name="classes-permuted",
        stage="layout",
        sentence="The columns stand in another order of the classes.",
        formula="G[:, order]",
        happened="The columns are right, in another order of the classes ({order}):\n"
        "the columns from the left are the classes {columns}.",
        wrong="classes = sorted(set(names))",
        right="classes = the order of W's columns",
        remedy="Use one order of the classes everywhere.",
        how="An encoder that sorts the names, or sorts numbers as text.",
        canonical={"order": "reversed"},
        choices=_permuted_choices,
        places=_permuted,
    ),
    Slip(
        name="transposed",
        stage="layout",
        sentence="The gradient is transposed.",
        formula="G'",
        happened="Rows and columns have changed places: the numbers are right,\n"
        "for a W that is stored as {n_classes} classes x {n_inputs} inputs.",
        wrong="np.outer(s - y, x)",
        right="np.outer(x, s - y)",
        remedy="Transpose it, or say that W is stored as classes x inputs.",
        how="Libraries that store W as classes x inputs.",
        choices=_transposed_choices,
        places=_transposed,
    ),
    Slip(
        name="scrambled-reshape",
        stage="layout",
        sentence="The right numbers in the wrong places: a reshape where a transpose was meant.",
        formula="flat.reshape(N, T), where the flat gradient runs class by class",
        happened="The numbers are right, in the wrong places:\n{which}",
        wrong="flat.reshape(W.shape)",
        right="flat.reshape({n_classes}, {n_inputs}).T",
        remedy="Fold the flat gradient with reshape({n_classes}, {n_inputs}).T.",
        how="The Jacobian's columns run class by class, W's memory input by input.",
        canonical={"form": "cut"},
        choices=_scrambled_choices,
        places=_scrambled,
    ),
    Slip(
        name="weights-updated",
        stage="added W",
        sentence="The updated weights in the place of the gradient.",
        formula="W - eta G",
        happened="These are the weights after a step, W - eta G with eta = {eta}:\nnot the gradient.",
        wrong="return W - eta * dW",
        right="return dW",
        remedy="Return the gradient, not the updated weights.",
        how="The function updates W in place, and W is what was saved.",
        free="eta",
        canonical={"eta": 0.1},
        choices=_with_weights,
        gradient=_update,
        line=_updating,
    ),
    Slip(
        name="all-zero",
        stage="factor",
        sentence="Every entry is 0.",
        formula="0",
        happened="Every entry is 0.\n{why}",
        wrong="dW = (ds @ np.ones(T))    # rows of the Jacobian summed",
        right="dW = np.outer(x, s - y)",
        remedy="Keep the digits of 1 - S: add up the other exponentials; and do not sum R over the classes.",
        how="1 - S computed from a rounded S; a Jacobian summed over its rows; a gradient never written to.",
        gradient=_zero,
    ),
    Slip(
        name="clipped",
        stage="factor",
        sentence="The entries are clipped at a value.",
        formula="max(-limit, min(limit, G))",
        happened="No entry is larger than {limit}, and {at_limit} are exactly that:\nthe gradient was clipped.",
        wrong="np.clip(dW, -limit, limit)",
        right="dW",
        remedy="Compare the gradient before it is clipped.",
        how="Clipping is part of the training step.",
        free="limit",
        canonical={"limit": "half of the third largest"},
        gradient=_clipped,
    ),
    Slip(
        name="low-precision",
        stage="storage",
        sentence="The gradient went through a format with fewer digits.",
        formula="G rounded to {format}",
        happened="Every entry is the right one rounded to {format}:\nits other digits are gone.",
        wrong="dW.astype(np.float16)    # or print(dW)",
        right="dW, or np.save",
        remedy="Keep the gradient in the precision of the computation, or say what it was stored as.",
        how="Mixed precision, or numbers copied from what was printed.",
        canonical={"format": "float32"},
        choices=lambda draft: FORMS_OF_STORAGE,
        gradient=_store,
    ),
)
