"""The formulas of the catalogue that are longer than a line, and the forms that a slip has on a problem.

From the logits to what becomes of the gradient; see `Slip` for what each takes and returns.
"""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
from msgspec.structs import replace

from xegrad import bounds
from xegrad.derivation import Cells, effective_targets, residual
from xegrad.numbers import rounded
from xegrad.numbers.rounded import Rounded, exact, softmax, through_softmax
from xegrad.slips.entry import Indices, Parameters, each
from xegrad.targets import Array

MOST_LABELS = 256  # wrong labels of single rows that are tried one by one; past these the candidate is asked
MOST_SHIFTS = 8


# The logits, the probabilities and the targets.


def bias(c: Cells, form: Parameters) -> Rounded:
    if form["bias"] == "twice":
        return c.Z + c.b
    if form["bias"] == "left out":
        return c.X @ c.W
    labels = c.problem.targets.label_of_rows[:, None]
    return c.X @ c.W + rounded.where(np.arange(c.problem.n_classes) == labels, c.b, 0.0)


def update_forms(c: Cells) -> list[Parameters]:
    if c.name == "inputs":  # carried back with another W, which is no change of the logits
        return []
    return each("updated", "W") if c.problem.bias is None else each("updated", "W", "W and b")


def logits_after_update(c: Cells, form: Parameters) -> Rounded:
    """Z - eta X (X' R), or with b - eta (X (X' R) + the sum of R): from the right, so that nothing is B x B."""
    moved = c.X @ (c.X.T @ c.R)
    if form["updated"] == "W and b":
        moved = moved + c.R.sum(axis=-2, keepdims=True)
    return c.Z - form["eta"] * moved


def softmax_over(c: Cells, form: Parameters) -> Rounded:
    if form["axis"] == "one":
        return exact(np.ones_like(c.Z.value), c.arithmetic)
    if form["axis"] == "rows":
        return softmax(c.Z.T).T
    return softmax(c.Z.reshape(*c.Z.shape[:-2], 1, -1)).reshape(*c.Z.shape)


def cooled(c: Cells, form: Parameters) -> dict[str, Rounded]:
    """softmax(Z / tau); with its factor the residual over tau, which is the derivative of that loss."""
    probabilities = softmax(c.Z / form["tau"])
    if form["factor"] == "left out":
        return {"S": probabilities}
    return {"S": probabilities, "R": residual(c.replace("S", probabilities)) / form["tau"]}


def label_forms(c: Cells) -> list[Parameters]:
    """Another class for one row, each; or the next or the last class for every row of a batch."""
    labels, n_classes = c.problem.targets.label_of_rows, c.problem.n_classes
    rows = np.flatnonzero(labels >= 0).tolist()
    forms = each("shift", 1, -1) if c.problem.n_rows > 1 and rows else []
    if len(rows) * (n_classes - 1) <= MOST_LABELS:
        for row in rows:
            others = (other for other in range(n_classes) if other != labels[row])
            forms += [{"row": row, "label": int(labels[row]), "instead": other} for other in others]
    return forms


def other_labels(c: Cells, form: Parameters) -> Rounded:
    targets, labels, n_classes = c.problem.targets, c.problem.targets.label_of_rows, c.problem.n_classes
    if "shift" in form:
        changes, instead = labels >= 0, (labels + form["shift"]) % n_classes
    else:
        changes, instead = np.arange(labels.size) == form["row"], form["instead"]
    if targets.soft is not None:
        soft = np.where(changes[:, None], np.eye(n_classes)[instead], targets.soft)
        return effective_targets(c, replace(targets, soft=soft))
    return effective_targets(c, replace(targets, labels=np.where(changes, instead, targets.labels)))


def row_forms(c: Cells) -> list[Parameters]:
    """Q of row r + k, the last rows wrapping round to the first; or dropped, as x[:-k] beside y[k:]."""
    n_rows = c.problem.n_rows
    wrapped = [k if k <= n_rows / 2 else k - n_rows for k in range(1, n_rows)]
    dropped = [k for k in range(1 - n_rows, n_rows) if 0 < abs(k) <= MOST_SHIFTS]
    forms: list[Parameters] = [{"k": k, "ends": "wrapped"} for k in wrapped if abs(k) <= MOST_SHIFTS]
    forms += [{"k": k, "ends": "dropped"} for k in dropped]
    if c.problem.targets.reduction == "mean":
        forms += [{"k": k, "ends": "dropped, and the mean is over the rest"} for k in dropped]
    return forms


def other_rows(c: Cells, form: Parameters) -> Rounded:
    k, n_rows = form["k"], c.problem.n_rows
    targets = c.Q.moved(lambda array: np.roll(array, -k, axis=-2))
    if form["ends"] == "wrapped":
        return targets
    label_row = np.arange(n_rows)[:, None] + k
    targets = rounded.where((label_row >= 0) & (label_row < n_rows), targets, 0.0)
    return targets if form["ends"] == "dropped" else targets * (n_rows / (n_rows - abs(k)))


def option_forms(c: Cells) -> list[Parameters]:
    targets = c.problem.targets
    is_used = {
        "class_weights": targets.class_weights is not None,
        "label_smoothing": targets.label_smoothing > 0,
        "ignore_index": targets.ignore_index is not None and not targets.kept.all(),
    }
    return each("option", *(option for option, used in is_used.items() if used))


def without_option(c: Cells, form: Parameters) -> Rounded | dict[str, Rounded]:
    targets, n_classes = c.problem.targets, c.problem.n_classes
    if form["option"] == "class_weights":
        return effective_targets(c, replace(targets, class_weights=None))
    if form["option"] == "label_smoothing":
        return effective_targets(c, replace(targets, label_smoothing=0.0))
    kept, ignored = targets.kept, int(targets.ignore_index or 0)
    assert targets.labels is not None
    if -n_classes <= ignored < n_classes:  # a class like any other, counted from the end if it is negative
        labels = np.where(kept, targets.labels, ignored % n_classes)
        return effective_targets(c, replace(targets, labels=labels, ignore_index=None))
    # No class has that number, so its one-hot row is zero, but q S stays: the q of a row that counts.
    scale = kept.sum() / kept.size if targets.reduction == "mean" else 1.0
    largest = c.q.moved(lambda array: np.broadcast_to(array.max(axis=-2, keepdims=True), array.shape))
    return {"Q": c.Q * scale, "q": rounded.where(kept[:, None], c.q, largest) * scale}


def mass_forms(c: Cells) -> list[Parameters]:
    rows = 1 / float(c.problem.targets.divisor or 1)
    return each("mass", *(mass for mass in dict.fromkeys((1.0, rows)) if (c.q.value != mass).any()))


# The residual, and how it is carried back.


def twice(c: Cells, form: Parameters) -> Rounded:
    """P = softmax(S): S takes the place of the logits."""
    again = residual(c.replace("S", softmax(c.S)))
    return again if form["form"] == "the shortcut" else through_softmax(c.S, again)


def logarithm(c: Cells, form: Parameters) -> Rounded:
    """d/dS of -Q log(S + eps) through the softmax: DS(-Q / (S + eps)).

    With one target c in each row that is R S_c / (S_c + eps), which loses nothing where S_c is near 1.
    """
    is_target = c.Q.value != 0
    if (is_target.sum(axis=-1) > 1).any():
        return through_softmax(c.S, -(c.Q / (c.S + form["eps"])))
    target = rounded.where(is_target, c.S, 0.0).sum(axis=-1, keepdims=True)
    target = rounded.where(is_target.any(axis=-1, keepdims=True), target, 1.0)  # R is 0 in a row without one
    return c.R / (1 + form["eps"] / target)


def sum_forms(c: Cells) -> list[Parameters]:
    n_rows = c.problem.n_rows
    if c.name not in ("bias", "inputs") or n_rows == 1:
        return []
    alone = [f"row {row} alone" for row in range(min(n_rows, 16))]
    return each("sum", "averaged once more", *(alone if c.name == "bias" else ["over the rows"]))


def summed(c: Cells, form: Parameters) -> Rounded:
    n_rows, kind = c.problem.n_rows, form["sum"]
    if kind == "averaged once more":
        return c.R / n_rows
    if kind == "over the rows":
        return c.R.sum(axis=-2, keepdims=True).broadcast_to(c.R.shape)
    return rounded.where(np.arange(n_rows)[:, None] == int(kind.split()[1]), c.R, 0.0)


# What becomes of the gradient.


def scrambled(c: Cells, form: Parameters, i: Indices, k: Indices) -> Indices:
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


def permuted(c: Cells, form: Parameters, i: Indices, k: Indices) -> Indices:
    known = named_orders(c.problem.n_classes, c.problem.classes)
    name = form["order"]
    column = known[name][1] if name in known else np.argsort(np.array(name.split(), dtype=np.intp))
    return i * column.size + column[k]


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


def half_of_third_largest(c: Cells) -> float:
    """Below the entries of two inputs at least; with two classes an input has two of one size."""
    sizes = np.sort(np.abs(c.G.value).ravel())[::-1]
    return float(sizes[min(2 if c.problem.n_classes > 2 else 3, sizes.size - 1)]) / 2


def if_updated(c: Cells) -> list[Parameters]:
    """Where there is a parameter that the gradient updates."""
    return [{}] if c.name == "weights" or (c.name == "bias" and c.problem.bias is not None) else []


def stored(c: Cells, form: Parameters) -> Rounded:
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
