"""Slips in what becomes of the gradient: its layout, sign and factor, W added to it, and how it is stored."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np

from xegrad import bounds
from xegrad.derivation import Cells
from xegrad.numbers.rounded import Rounded, exact
from xegrad.slips.entry import FreeNumber, Indices, Parameters, Slip, each
from xegrad.targets import Array

# The layout: to which flat index the entry of row i and column k goes.


def _scrambled(c: Cells, form: Parameters, i: Indices, k: Indices) -> Indices:
    """Cut: the flat gradient, class by class, has this entry at k N + i.  Folded: the place i T + k of W's
    own order was read as one of class by class, input place % N of class place // N."""
    n_rows, n_columns = c.shape
    if form["form"] == "cut":
        return k * n_rows + i
    place = i * n_columns + k
    return place if form["form"] == "reshaped" else place % n_rows * n_columns + place // n_rows


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
        for order_name, one in ((name, order), (f"{name}, undone", np.argsort(order))):
            if not any((one == other).all() for other in (same, *(first for first, _ in known.values()))):
                known[order_name] = one, np.argsort(one)
    return known


def _permuted(c: Cells, form: Parameters, i: Indices, k: Indices) -> Indices:
    known = named_orders(c.problem.n_classes, c.problem.classes)
    name = form["order"]
    column = known[name][1] if name in known else np.argsort(np.array(name.split(), dtype=np.intp))
    return i * column.size + column[k]


# The factor.


def named_factors(c: Cells, gradient: Array) -> dict[str, float]:
    """The constants by which gradients are off, by name; those that are 1 on this problem are no slip."""
    targets, B, N, T = c.problem.targets, c.problem.n_rows, c.problem.n_inputs, c.problem.n_classes
    factors: dict[str, float] = {"B": B, "1/B": 1 / B, "1/B^2": 1 / B**2, "T": T, "1/T": 1 / T}
    factors |= {"1/(B T)": 1 / (B * T), "N": N, "1/N": 1 / N, "2": 2, "1/2": 0.5}
    for base in (2, 10):
        factors |= {f"ln {base}": math.log(base), f"1/ln {base}": 1 / math.log(base)}
    counts = {"all rows": float(B), "kept rows": float(targets.kept.sum())}
    if targets.class_weights is not None and targets.labels is not None:
        of_rows = targets.class_weights[np.where(targets.kept, targets.labels, 0)]
        counts["the sum of weights"] = float(np.where(targets.kept, of_rows, 0).sum())
    for (first, one), (second, two) in itertools.permutations(counts.items(), 2):
        if one and two:
            factors[f"the mean over {second} ({two:.12g}) in place of {first} ({one:.12g})"] = one / two
    norm = float(np.sqrt(np.square(gradient).sum()))
    if norm:
        factors["1/||G||"] = 1 / norm
    return {name: value for name, value in factors.items() if value != 1}


def _half_of_third_largest(c: Cells) -> float:
    """Below the entries of two inputs at least; with two classes an input has two of one size."""
    sizes = np.sort(np.abs(c.G.value).ravel())[::-1]
    return float(sizes[min(2 if c.problem.n_classes > 2 else 3, sizes.size - 1)]) / 2


# W added.


def _if_updated(c: Cells) -> list[Parameters]:
    """Where there is a parameter that the gradient updates."""
    return [{}] if c.name == "weights" or (c.name == "bias" and c.problem.bias is not None) else []


# Storage.


def _stored(c: Cells, form: Parameters) -> Rounded:
    value, error = c.G.value, c.G.error
    if "decimals" in form:
        decimals = form["decimals"]
        return Rounded(np.round(value, decimals), error + 0.5 * 10.0**-decimals, c.arithmetic)
    name = form["format"]
    return Rounded(in_format(value, name), bounds.stored(value, error, name), c.arithmetic)


def in_format(values: Array, name: str) -> Array:
    """The values, rounded to nearest in another format and back."""
    if name != "bfloat16":
        return values.astype(name).astype(np.float64)
    # The upper half of a float32, rounded to nearest even.
    bits = values.astype(np.float32).view(np.uint32).astype(np.uint64)
    upper = (bits + 0x7FFF + ((bits >> np.uint64(16)) & np.uint64(1))) & np.uint64(0xFFFF0000)
    return upper.astype(np.uint32).view(np.float32).astype(np.float64)


SLIPS = {
    "scaled": Slip(
        stage="factor",
        sentence="The gradient is multiplied with a constant.",
        equation="k G",
        message="Every entry is {k} times what it should be:\n{which}",
        code=(
            "dW = x.T @ dz    # or / B once more",
            "dW = x.T @ dz / B    # once, for the mean; not at all for the sum",
        ),
        remedy="Divide by the number of rows once for a mean, and never for a sum; use the natural logarithm.",
        cause="A mean taken twice or not at all, a factor of the loss, or gradients accumulated over two passes.",
        formula=lambda c, form: form["k"] * c.G,
        number=FreeNumber("k", lambda c: 1 / c.problem.n_rows, nothing=1.0),
    ),
    "weight-decay-included": Slip(
        stage="added W",
        sentence="A multiple of W is added: the gradient of weight decay.",
        equation="G + lambda W",
        message="{lambda} times the parameter itself is added to the gradient: lambda = {lambda} for\n"
        "lambda/2 ||W||^2, or lambda = {lambda_of_square} for lambda ||W||^2.",
        code=("dW = x.T @ dz + lam * W", "dW = x.T @ dz"),
        remedy="Compare the gradient of the loss alone, or leave the decay to the optimiser.",
        cause="Regularisation that is part of the training loss, not of the problem.",
        formula=lambda c, form: c.G + form["lambda"] * c.parameter,
        forms=_if_updated,
        number=FreeNumber("lambda", 0.01),
    ),
    "sign-flipped": Slip(
        stage="sign",
        sentence="Every entry has the opposite sign.",
        equation="-G",
        message="Every entry has the right size and the opposite sign:\nthis is y - S in the place of S - y.",
        code=("dz = y - p", "dz = p - y"),
        remedy="Subtract the target from the probabilities, not the other way round.",
        cause="The step -G taken for the gradient, or the minus of -log lost.",
        formula=lambda c, form: -c.G,
    ),
    "classes-permuted": Slip(
        stage="layout",
        sentence="The columns stand in another order of the classes.",
        equation="G[:, order]",
        message="The columns are right, in another order of the classes ({order}):\n"
        "the columns from the left are the classes {columns}.",
        code=("classes = sorted(set(names))", "classes = the order of W's columns"),
        remedy="Use one order of the classes everywhere.",
        cause="An encoder that sorts the names, or sorts numbers as text.",
        places=_permuted,
        forms=lambda c: (
            [] if c.name == "inputs" else each("order", *named_orders(c.problem.n_classes, c.problem.classes))
        ),
    ),
    "transposed": Slip(
        stage="layout",
        sentence="The gradient is transposed.",
        equation="G'",
        message="Rows and columns have changed places: the numbers are right,\n"
        "for a W that is stored as {n_classes} classes x {n_inputs} inputs.",
        code=("np.outer(s - y, x)", "np.outer(x, s - y)"),
        remedy="Transpose it, or say that W is stored as classes x inputs.",
        cause="Libraries that store W as classes x inputs.",
        places=lambda c, form, i, k: k * c.shape[0] + i,
        forms=lambda c: [{}] if min(c.shape) > 1 else [],
    ),
    "scrambled-reshape": Slip(
        stage="layout",
        sentence="The right numbers in the wrong places: a reshape where a transpose was meant.",
        equation="flat.reshape(N, T), where the flat gradient runs class by class",
        message="The numbers are right, in the wrong places:\n{which}",
        code=("flat.reshape(W.shape)", "flat.reshape({n_classes}, {n_inputs}).T"),
        remedy="Fold the flat gradient with reshape({n_classes}, {n_inputs}).T.",
        cause="The Jacobian's columns run class by class, W's memory input by input.",
        places=_scrambled,
        forms=lambda c: each("form", "cut", "folded") if c.name == "weights" and min(c.shape) > 1 else [],
    ),
    "weights-updated": Slip(
        stage="added W",
        sentence="The updated weights in the place of the gradient.",
        equation="W - eta G",
        message="These are the weights after a step, W - eta G with eta = {eta}:\nnot the gradient.",
        code=("return W - eta * dW", "return dW"),
        remedy="Return the gradient, not the updated weights.",
        cause="The function updates W in place, and W is what was saved.",
        formula=lambda c, form: c.parameter - form["eta"] * c.G,
        forms=_if_updated,
        number=FreeNumber("eta", 0.1, nothing=None),
    ),
    "all-zero": Slip(
        stage="factor",
        sentence="Every entry is 0.",
        equation="0",
        message="Every entry is 0.\n{why}",
        code=("dW = (ds @ np.ones(T))    # rows of the Jacobian summed", "dW = np.outer(x, s - y)"),
        remedy="Keep the digits of 1 - S: add up the other exponentials; and do not sum R over the classes.",
        cause="1 - S computed from a rounded S; a Jacobian summed over its rows; a gradient never written to.",
        formula=lambda c, form: exact(np.zeros_like(c.G.value), c.arithmetic),
    ),
    "clipped": Slip(
        stage="factor",
        sentence="The entries are clipped at a value.",
        equation="max(-limit, min(limit, G))",
        message="No entry is larger than {limit}, and {at_limit} are exactly that:\nthe gradient was clipped.",
        code=("np.clip(dW, -limit, limit)", "dW"),
        remedy="Compare the gradient before it is clipped.",
        cause="Clipping is part of the training step.",
        formula=lambda c, form: Rounded(
            np.clip(c.G.value, -form["limit"], form["limit"]), c.G.error, c.arithmetic
        ),
        number=FreeNumber("limit", _half_of_third_largest, nothing=None),
    ),
    "low-precision": Slip(
        stage="storage",
        sentence="The gradient went through a format with fewer digits.",
        equation="G rounded to {format}",
        message="Every entry is the right one rounded to {format}:\nits other digits are gone.",
        code=("dW.astype(np.float16)    # or print(dW)", "dW, or np.save"),
        remedy="Keep the gradient in the precision of the computation, or say what it was stored as.",
        cause="Mixed precision, or numbers copied from what was printed.",
        formula=_stored,
        forms=lambda c: each("decimals", *range(1, 13)) + each("format", "bfloat16", "float16", "float32"),
        example={"format": "float32"},
    ),
}
