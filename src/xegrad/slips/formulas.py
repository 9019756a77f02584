"""The formulas of the catalogue that are longer than a line, and the forms that a slip has on a problem.

From the logits to what becomes of the gradient; see `Slip` for what each takes and returns.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from msgspec.structs import replace

from xegrad import bounds
from xegrad.derivation import Cells, effective_targets, residual
from xegrad.numbers import rounded
from xegrad.numbers.rounded import Rounded, entered, exact, softmax, through_softmax
from xegrad.problem import Problem
from xegrad.slips.entry import Indices, Parameters, each
from xegrad.slips.rows import counts
from xegrad.targets import ALL, Array, as_float

MOST_LABELS = 256  # wrong labels of single rows that are tried one by one; past these the candidate is asked
MOST_SHIFTS = 8
BLOCKS = 8, 16, 64, 128  # of which the columns of W are padded to a multiple
# Keras has the first.
CLIPPED_AT = 1e-7, 1e-8, 1e-12, 1e-10, 1e-6, 1e-5, 1e-9, 1e-15, 1e-4, 1e-3, 2.0**-23, 2.0**-52


def of_soft_targets(c: Cells, form: Parameters) -> bool:
    """Whether the targets are soft: those with another option are checked, and all of them then."""
    return c.problem.targets.soft is not None


# The logits, the probabilities and the targets.


def bias(c: Cells, form: Parameters) -> Rounded:
    if form["bias"] == "twice":
        return c.Z + c.b
    if form["bias"] == "left out":
        return c.X @ c.W
    labels = c.problem.targets.label_of_rows[c.rows, None]
    return c.X @ c.W + rounded.where(np.arange(c.problem.n_classes) == labels, c.b, 0.0)


def update_forms(c: Cells) -> list[Parameters]:
    """W alone, or with b; and of dL/dx W' alone, by which R from before the step is carried back."""
    forms = each("updated", "W") if c.problem.bias is None else each("updated", "W", "W and b")
    return each("updated", "W of R W'") + forms if c.name == "inputs" else forms


def after_update(c: Cells, form: Parameters) -> dict[str, Rounded]:
    """Z - eta X (X' R), or with b - eta (X (X' R) + the sum of R): from the right, so that nothing is B x B.

    Of dL/dx, R is carried back by (W - eta X' R)'.
    """
    step = c.X.T @ c.R
    cells: dict[str, Rounded] = {}
    if c.name == "inputs":
        cells["back"] = (c.W - form["eta"] * step).T
    if form["updated"] != "W of R W'":
        moved = c.X @ step
        if form["updated"] == "W and b":
            moved = moved + c.R.sum(axis=-2, keepdims=True)
        cells["Z"] = c.Z - form["eta"] * moved
    return cells


def softmax_forms(c: Cells) -> list[Parameters]:
    over_rows = ["rows", "rows, and differentiated so"] if c.problem.n_rows > 1 else []
    return each("axis", *over_rows, "one", "all")


def softmax_over(c: Cells, form: Parameters) -> Rounded | dict[str, Rounded]:
    """S' in the place of S; where -sum Q log S' is differentiated over the rows, n_t S' - Q with n_t = sum_b Q_bt."""
    if form["axis"] == "one":
        return exact(np.ones_like(c.Z.value), c.arithmetic)
    if form["axis"].startswith("rows"):
        probabilities = softmax(c.Z.T).T
        if form["axis"] == "rows":
            return probabilities
        return {"S": probabilities, "q": c.Q.sum(axis=-2, keepdims=True)}
    return softmax(c.Z.reshape(*c.Z.shape[:-2], 1, -1)).reshape(*c.Z.shape)


def cooled(c: Cells, form: Parameters) -> dict[str, Rounded]:
    """softmax(Z / tau); with its factor the residual over tau, which is the derivative of that loss."""
    probabilities = softmax(c.Z / form["tau"])
    if form["factor"] == "left out":
        return {"S": probabilities}
    residuals = residual(c.replace("S", probabilities))
    tau = form["tau"]
    return {"S": probabilities, "R": residuals * tau if form["factor"] == "tau" else residuals / tau}


def denominator_forms(c: Cells) -> list[Parameters]:
    """Columns up to the next power of two and multiples of blocks, each with a logit of 0; or 2, 4 or 8 shards.

    Or any constant: of columns with another logit, or one that is to keep the sum from 0.
    """
    n_classes = c.problem.n_classes
    widths = {2 ** (n_classes - 1).bit_length(), *(-(-n_classes // block) * block for block in BLOCKS)}
    columns = sorted(width - n_classes for width in widths if width > n_classes)
    fixed: list[Parameters] = [{"counted": "padding columns", "k": k} for k in columns]
    fixed += [{"counted": "times", "k": k} for k in (2, 4, 8)]
    return fixed + each("counted", "a constant", "a constant, beside a largest e^z of 1")


def other_denominator(c: Cells, form: Parameters) -> Rounded:
    """E / (sum E + k e^0), E / (sum E + k max E), or E / (k sum E)."""
    k, what = form["k"], form["counted"]
    if what == "times":
        return c.S / float(k)
    # One more logit of ln k: e^(ln k) is k.
    padding = exact(np.zeros((*c.Z.shape[:-1], 1)) + np.log(k), c.arithmetic).in_any_way(1)
    if what.endswith("1"):
        padding = padding + c.Z.moved(lambda array: array.max(axis=-1, keepdims=True))
    logits = c.Z.broadcast_to((*padding.shape[:-1], c.Z.shape[-1]))
    return softmax(rounded.concatenated([logits, padding], axis=-1))[..., : c.problem.n_classes]


def label_forms(c: Cells) -> list[Parameters]:
    """Another class for one row, each; or the next or the last class for every row of a batch."""
    labels, n_classes = c.problem.targets.label_of_rows, c.problem.n_classes
    rows = np.flatnonzero(labels >= 0).tolist()
    forms = each("shift", 1, -1) if c.problem.n_rows > 1 and rows else []
    if c.problem.targets.class_weights is None and c.problem.n_rows > 1:
        ends = (1, n_classes - 1), (-1, 0)
        forms += [{"shift": k, "ends": "no class"} for k, end in ends if (labels == end).any()]
    if len(rows) * (n_classes - 1) <= MOST_LABELS:
        for row in rows:
            others = (other for other in range(n_classes) if other != labels[row])
            forms += [{"row": row, "label": int(labels[row]), "instead": other} for other in others]
    orders = named_orders(n_classes, c.problem.classes)
    changing = (name for name, (_, number) in orders.items() if (number[labels[rows]] != labels[rows]).any())
    return forms + each("order", *changing)


def other_labels(c: Cells, form: Parameters) -> Rounded | dict[str, Rounded]:
    targets, labels, n_classes = c.problem.targets, c.problem.targets.label_of_rows, c.problem.n_classes
    if form.get("ends") == "no class":  # one beyond the last, so that its row has no 1
        share = targets.label_smoothing / n_classes if targets.label_smoothing else 0.0
        shifted = other_labels(c, {"shift": form["shift"]})
        assert isinstance(shifted, Rounded)
        has_none = (labels[c.rows] == (n_classes - 1 if form["shift"] > 0 else 0))[:, None]
        return {"Q": rounded.where(has_none, c.q * share, shifted), "q": c.q}
    if "shift" in form:
        changes, instead = labels >= 0, (labels + form["shift"]) % n_classes
    elif "order" in form:
        changes, instead = labels >= 0, _numbers(c, form["order"])[labels]
    else:
        changes, instead = np.arange(labels.size) == form["row"], form["instead"]
    if targets.soft is not None:
        one_hot = np.broadcast_to(instead, labels.shape)[:, None] == np.arange(n_classes)
        soft = np.where(changes[:, None], one_hot, targets.soft)
        return effective_targets(c, replace(targets, soft=soft))
    return effective_targets(c, replace(targets, labels=np.where(changes, instead, targets.labels)))


def _numbers(c: Cells, order: str) -> Indices:
    """The number of each class in an order that has a name, or in one that is spelled out: "0 as 2, 2 as 0"."""
    known, numbers = named_orders(c.problem.n_classes, c.problem.classes), np.arange(c.problem.n_classes)
    if order in known:
        return known[order][1]
    for pair in order.split(", "):
        label, number = pair.split(" as ")
        numbers[int(label)] = int(number)
    return numbers


def row_forms(c: Cells) -> list[Parameters]:
    """Q of row r + k, the last rows wrapping round to the first; or dropped, as x[:-k] beside y[k:]."""
    n_rows = c.problem.n_rows
    wrapped = [k if k <= n_rows / 2 else k - n_rows for k in range(1, n_rows)]
    dropped = [k for k in range(1 - n_rows, n_rows) if 0 < abs(k) <= MOST_SHIFTS]
    forms: list[Parameters] = [{"k": k, "ends": "wrapped"} for k in wrapped if abs(k) <= MOST_SHIFTS]
    forms += [{"k": k, "ends": "dropped"} for k in dropped]
    if c.problem.targets.reduction == "mean":
        rest = (k for k in dropped if counts(c)[_labels_left(n_rows, k)].any())
        forms += [{"k": k, "ends": "dropped, and the mean is over the rest"} for k in rest]
    return forms


def _labels_left(n_rows: int, k: int) -> slice:
    """The rows of the labels y[k:] or y[:k] that are beside a row of x."""
    return slice(max(k, 0), n_rows + min(k, 0))


def other_rows(c: Cells, form: Parameters) -> dict[str, Rounded]:
    """Q of row r + k, and with it q."""
    k, n_rows = form["k"], c.problem.n_rows
    first, last, _ = c.rows.indices(n_rows)
    begin, end = (first + k) % n_rows, (first + k) % n_rows + last - first
    several = (
        slice(begin, min(end, n_rows)),
        slice(0, max(0, end - n_rows)),
    )  # up to the last row, and from the first
    cells = {}
    for cell in ("Q", "q"):
        if c.rows == ALL:
            targets = getattr(c, cell).moved(lambda array: np.roll(array, -k, axis=-2))
        else:
            parts = [getattr(c.some(rows), cell) for rows in several if rows.start < rows.stop]
            targets = rounded.concatenated(parts)
        if form["ends"] != "wrapped":
            label_row = np.arange(first, last)[:, None] + k
            targets = rounded.where((label_row >= 0) & (label_row < n_rows), targets, 0.0)
        if form["ends"].endswith("the rest"):
            of_rows = counts(c)
            targets = targets * float(of_rows.sum() / of_rows[_labels_left(n_rows, k)].sum())
        cells[cell] = targets
    return cells


def option_forms(c: Cells) -> list[Parameters]:
    targets = c.problem.targets
    is_used = {
        "class_weights": targets.class_weights is not None,
        "label_smoothing": targets.label_smoothing > 0,
        "ignore_index": targets.ignore_index is not None and not targets.kept.all(),
    }
    forms = each("option", *(option for option, used in is_used.items() if used))
    if is_used["ignore_index"]:
        kinds = ["kept, in the mean over the others"] if targets.reduction == "mean" else []
        is_class = -c.problem.n_classes <= int(targets.ignore_index or 0) < c.problem.n_classes
        kinds += ["smoothed", "smoothed, with S"] if targets.label_smoothing else []
        if is_class:
            kinds += ["S", "S, in the mean over the others"] if targets.reduction == "mean" else ["S"]
        kinds.append("the only ones that count")
        forms += [{"option": "ignore_index", "ignored": kind} for kind in kinds]
    return forms


def without_option(c: Cells, form: Parameters) -> Rounded | dict[str, Rounded]:
    targets = c.problem.targets
    if form["option"] == "class_weights":
        return effective_targets(c, replace(targets, class_weights=None))
    if form["option"] == "label_smoothing":
        return effective_targets(c, replace(targets, label_smoothing=0.0))
    return _without_ignoring(c, form.get("ignored", ""))


def _without_ignoring(c: Cells, kind: str) -> dict[str, Rounded]:
    """Ignored rows that count: as any others, as S without a label, with eps/T for each class, or alone."""
    targets, n_classes = c.problem.targets, c.problem.n_classes
    kept, ignored = targets.kept, int(targets.ignore_index or 0)
    labels, weights = np.asarray(targets.labels), targets.class_weights
    # Like any other, counted from the end if it is negative.
    is_class = -n_classes <= ignored < n_classes and not kind.startswith(("S", "smoothed"))
    if is_class:
        labels = np.where(kept, labels, ignored % n_classes)
    added_up = replace(targets, labels=labels, reduction="sum", ignore_index=None if is_class else ignored)
    everything = effective_targets(c, added_up)
    mass = everything.sum(axis=-1, keepdims=True)
    of_rows = np.ones(kept.size) if weights is None else weights[np.where(kept | is_class, labels, 0)]
    if not is_class:
        # No class has that number, so its one-hot row is zero, but q S stays: the q of a row that counts.
        row = int(np.where(kept, of_rows, -1).argmax())
        largest = effective_targets(c.some(slice(row, row + 1)), added_up).sum(axis=-1, keepdims=True)
        of_rows = np.where(kept, of_rows, of_rows[kept].max(initial=0.0))
        if kind.startswith("smoothed"):
            share = largest * (targets.label_smoothing / n_classes)
            everything = rounded.where(kept[c.rows, None], everything, share)
            largest = largest if kind.endswith("S") else share * n_classes
        mass = rounded.where(kept[c.rows, None], mass, largest)
    counted = np.ones(kept.size, dtype=bool)
    if kind == "the only ones that count":
        counted = ~kept
        everything, mass = (rounded.where(counted[c.rows, None], part, 0.0) for part in (everything, mass))
    elif kind not in ("", "S"):
        counted = kept
    divisor = float(of_rows[counted].sum()) if targets.reduction == "mean" else 1.0
    return {"Q": everything / divisor, "q": mass / divisor}


def mass_forms(c: Cells) -> list[Parameters]:
    """Of the rows that count: an ignored one that is kept is another mistake."""
    divisor, mass_of_rows = c.problem.targets.divisor, c.q.value[c.q.value > 0]
    rows = as_float(1 / divisor) if divisor else 1.0
    return each("mass", *(mass for mass in dict.fromkeys((1.0, rows)) if (mass_of_rows != mass).any()))


class Smoothing(NamedTuple):
    """A formula of smoothed targets, (1 - a eps) y + d eps + d0, and what multiplies S."""

    taken: float  # a, from the label
    added: float  # d, to each class
    always: float = 0.0  # d0, to each class whatever eps is
    sums: float = 1.0  # whether S has the sum of the targets (1), or stands alone (0)


@functools.lru_cache(maxsize=8)
def smoothings(n_classes: int) -> dict[str, Smoothing]:
    """Formulas of smoothed targets by their names; the first is that of the loss, and none is another's double."""
    shards = {f"T/{k}": n_classes // k for k in (2, 4, 8) if n_classes % k == 0}
    counts = {"T - 1": n_classes - 1, "T - 2": n_classes - 2, **shards}
    rounded_up = {block: -(-n_classes // block) * block for block in (8, 64, 128)}
    counts |= {f"T rounded up to a multiple of {block}": count for block, count in rounded_up.items()}
    known: dict[str, Smoothing] = {}
    for name, count in counts.items():
        if count not in (0, n_classes):
            known[f"eps/({name}), on every class"] = Smoothing(1, 1 / count)
            known[f"eps/({name}), on the others"] = Smoothing(1 + 1 / count, 1 / count)
    for name, count in shards.items():  # the others of a shard
        if count > 1:
            known[f"eps/({name} - 1), on the others"] = Smoothing(1 + 1 / (count - 1), 1 / (count - 1))
    known["1/T, not eps/T"] = Smoothing(1, 0, 1 / n_classes)
    known["(1 - eps)/T, not eps/T"] = Smoothing(1, -1 / n_classes, 1 / n_classes)
    known["eps, not eps/T"] = Smoothing(1, 1)
    known["eps/T, and nothing off the label"] = Smoothing(0, 1 / n_classes)
    if n_classes > 1:
        off_the_label = n_classes / (n_classes - 1)
        known["eps/T, and eps T/(T - 1) off the label"] = Smoothing(off_the_label, 1 / n_classes)
    known["nothing, and eps off the label"] = Smoothing(1, 0)
    different: dict[Smoothing, str] = {Smoothing(1, 1 / n_classes): "eps/T"}
    for name, formula in known.items():
        different.setdefault(formula, name)
        sums_to_one = math.isclose(formula.added * n_classes, formula.taken) and not formula.always
        if not sums_to_one:
            different.setdefault(formula._replace(sums=0), f"{name}, with S")
    return {name: formula for formula, name in different.items()}


# With any eps these are other slips: eps/T for another eps, and a multiple of the gradient without smoothing.
OF_A_STATED_EPS = "eps/(T - 1), on the others", "nothing, and eps off the label"


def smoothed_forms(c: Cells) -> list[Parameters]:
    """Each formula; or another eps by that of the loss, which `smoothed-otherwise` does not have."""
    formulas = list(smoothings(c.problem.n_classes))
    if c.problem.targets.label_smoothing:
        return each("spread", formulas[0])
    return each("spread", *(name for name in formulas if name not in OF_A_STATED_EPS))


def another_eps(c: Cells) -> float:
    """One that is not the problem's."""
    stated = c.problem.targets.label_smoothing
    return stated / 2 if stated else 0.1


def smoothed_otherwise_forms(c: Cells) -> list[Parameters]:
    """Each formula but that of the loss, for the problem's eps; that too, where the row has the weight of its label."""
    if not c.problem.targets.label_smoothing:
        return []
    first, *others = smoothings(c.problem.n_classes)
    forms = each("spread", *others)
    if c.problem.targets.class_weights is not None and c.problem.targets.labels is not None:
        forms += [{"spread": name, "weights": "of the label"} for name in (first, *others)]
    return forms


def smoothed(c: Cells, form: Parameters) -> dict[str, Rounded]:
    """(1 - a eps) Q_0 + (d eps + d0) V: Q_0 are the targets without smoothing, and V is what a class gets of 1.

    V/T are the targets with a smoothing of 1.  Where no class has a weight, V is the sum of Q_0 in a row.
    """
    targets, n_classes = c.problem.targets, c.problem.n_classes
    formula = smoothings(n_classes)[form["spread"]]
    eps: Any = form["eps"] if "eps" in form else entered(np.asarray(targets.label_smoothing), c.arithmetic)
    plain = c.Q
    if targets.label_smoothing:
        plain = effective_targets(c, replace(targets, label_smoothing=0.0))
    of_each = mass = plain.sum(axis=-1, keepdims=True)
    if targets.label_smoothing and "weights" not in form:
        of_each = effective_targets(c, replace(targets, label_smoothing=1.0)) * n_classes
    smooth = plain * (1 - eps * formula.taken) + of_each * (eps * formula.added + formula.always)
    return {"Q": smooth, "q": smooth.sum(axis=-1, keepdims=True) if formula.sums else mass}


# The residual, and how it is carried back.


def twice(c: Cells, form: Parameters) -> Rounded:
    """P = softmax(S): S takes the place of the logits."""
    again = residual(c.replace("S", softmax(c.S)))
    return again if form["form"] == "the shortcut" else through_softmax(c.S, again)


def log_forgotten(c: Cells, form: Parameters) -> Rounded:
    """-sum Q S, whose derivative by S is -Q; or -sum Q Z, whose derivative by Z that is."""
    return through_softmax(c.S, -c.Q) if form["loss"] == "-sum Q S" else -c.Q


def clip_forms(c: Cells) -> list[Parameters]:
    """Each known constant that a probability is beyond, and what then becomes of the derivative.

    A floor where nothing is above 1 - eps is a clip; and of a derivative of 0 only where it is matters.  The others may
    have any other limit, but of one row the logarithm's is a multiple.
    """
    forms: list[Parameters] = []
    least, most, n_low, n_high, n_rows = _beyond_clips(c)
    zeros: set[tuple[int, int]] = set()
    for index, eps in enumerate(CLIPPED_AT):
        for floor, is_any, high in (
            ("", least < eps or most > 1 - eps, n_high[index]),
            (", of a floor", least < eps and most > 1 - eps, 0),
        ):
            if is_any:
                forms.append({"eps": eps, "derivative": f"S - y{floor}"})
            if is_any and n_low[index] + high:
                forms.append({"eps": eps, "derivative": f"of the logarithm{floor}"})
                # What a larger eps clips holds what a smaller one does: as many are the same.
                if (where := (n_low[index], high)) not in zeros:
                    forms.append({"eps": eps, "derivative": f"0{floor}"})
                    zeros.add(where)
    kinds = ["S - y", "of the logarithm"] if n_rows > 1 else ["S - y"]
    open_forms = each("derivative", *(f"{kind}{floor}" for kind in kinds for floor in ("", ", of a floor")))
    return sorted(forms, key=lambda form: form["derivative"][0], reverse=True) + open_forms


def _beyond_clips(c: Cells) -> tuple[float, float, list[int], list[int], int]:
    """The least and the largest probability, how many of targets are below each eps and above 1 - eps, and the rows
    that have a target."""
    eps = np.array(CLIPPED_AT)[:, None]
    several = []
    for few in (few for part in c.in_values().parts() for few in part.few()):
        is_target, value = few.Q.value != 0, few.S.value
        of_targets = value[is_target]
        counts = (np.count_nonzero(which, axis=-1) for which in (of_targets < eps, of_targets > 1 - eps))
        several.append((value.min(), value.max(), *counts, int(is_target.any(axis=-1).sum())))
    least, most, low, high, n_rows = zip(*several, strict=True)
    return min(least), max(most), sum(low).tolist(), sum(high).tolist(), sum(n_rows)


def _several_targets(c: Cells) -> bool:
    """Whether a row may have several: by the options, so that it is the same for some rows and for all."""
    targets = c.problem.targets
    return (
        bool(targets.label_smoothing)
        if targets.soft is None
        else bool(((c.Q.value != 0).sum(axis=-1) > 1).any())
    )


def clipped_probabilities(c: Cells, form: Parameters) -> Rounded:
    """By the derivative of clip(S): DS(-Q/S where S is not clipped); by its value: DS(-Q/clip(S)), or q clip(S) - Q.

    With one target c in each row the first is R or 0, and the second R S_c / clip(S_c).
    """
    eps, kind, value = form["eps"], form["derivative"], c.S.value
    highest = 1.0 if kind.endswith("of a floor") else 1 - eps
    inside = (value >= eps) & (value <= highest)
    clipped = rounded.where(inside, c.S, np.clip(value, eps, highest))
    if kind.startswith("S - y"):
        return residual(c.replace("S", clipped))
    factor = exact(inside * 1.0, c.arithmetic) if kind.startswith("0") else c.S / clipped
    is_target = c.Q.value != 0
    if _several_targets(c):
        return through_softmax(c.S, -(c.Q / c.S) * factor)
    return c.R * rounded.where(is_target, factor, 0.0).sum(axis=-1, keepdims=True)


def z_loss(c: Cells, form: Parameters) -> Rounded:
    """R + 2 lambda n lse S, for lambda (log sum e^Z)^2 of each row that counts, n of the mean."""
    targets = c.problem.targets
    each_row = 1 / targets.kept.sum() if targets.reduction == "mean" else 1.0
    lse = c.Z[..., :1] - c.log_S[..., :1]
    return c.R + c.S * lse * (2 * form["lambda"] * each_row * targets.kept[c.rows, None])


def weighted_logits(c: Cells, form: Parameters) -> Rounded:
    """The loss without class weights, of the logits w Z; its derivative by Z has another factor w."""
    targets, weights = c.problem.targets, c.problem.targets.class_weights
    assert weights is not None
    known = c.replace("Q", effective_targets(c, replace(targets, class_weights=None)))
    residuals = residual(known.replace("Z", c.Z * weights))
    return residuals * weights if form["factor"] == "kept" else residuals


def carried_forms(c: Cells) -> list[Parameters]:
    """W in the place of W', where it has the shape; or reshaped."""
    n_inputs, n_classes = c.problem.weights.shape
    if c.name != "inputs" or min(n_inputs, n_classes) == 1:
        return []
    return each("W", *(["as it is"] if n_inputs == n_classes else ["reshaped"]))


def logarithm(c: Cells, form: Parameters) -> Rounded:
    """d/dS of -Q log(S + eps) through the softmax: DS(-Q / (S + eps)).

    With one target c in each row that is R S_c / (S_c + eps), which loses nothing where S_c is near 1.
    """
    is_target = c.Q.value != 0
    if _several_targets(c):
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
    return rounded.where(np.arange(n_rows)[c.rows, None] == int(kind.split()[1]), c.R, 0.0)


# What becomes of the gradient.


def nothing(c: Cells, form: Parameters) -> Rounded:
    """0; or what rounding leaves of a Jacobian summed over its rows, DS(1) (q + Q/S), in the error."""
    if form.get("up to") != "rounding":
        return exact(np.zeros_like(c.G.value), c.arithmetic)
    rest = through_softmax(c.S, exact(np.ones_like(c.S.value), c.arithmetic)) * (c.q + c.Q / c.S)
    of_row = c.R.sum(axis=-1, keepdims=True)  # or R added up, over the classes or over everything
    left = sum(np.abs(one.value) + one.error for one in (rest, of_row))
    error = c.replace("R", exact(np.zeros_like(rest.value), c.arithmetic).less_certain(left)).G.error
    return Rounded(np.zeros_like(c.G.value), error, c.arithmetic)


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
    targets = c.problem.targets
    counts = {"all rows": float(c.problem.n_rows), "kept rows": float(targets.kept.sum())}
    if targets.class_weights is not None and targets.labels is not None:
        counts["the sum of weights"] = float(targets.weights_of_rows.sum())
    divisor = as_float(replace(targets, reduction="mean").divisor)
    return factors_by_name(c.problem, counts, divisor, gradient)


def factors_by_name(
    layer: Problem, counts: Mapping[str, float], divisor: float, gradient: Array
) -> dict[str, float]:
    """The same of a layer with so many rows of each kind, all of them first, and what their mean divides by."""
    B, N, T = next(iter(counts.values())), layer.n_inputs, layer.n_classes
    factors: dict[str, float] = {"B": B, "1/B": 1 / B, "1/B^2": 1 / B**2, "T": T, "1/T": 1 / T}
    factors |= {"1/(B T)": 1 / (B * T), "N": N, "1/N": 1 / N, "2": 2, "1/2": 0.5}
    for base in (2, 10):
        factors |= {f"ln {base}": math.log(base), f"1/ln {base}": 1 / math.log(base)}
    is_mean = layer.targets.reduction == "mean"
    if divisor:
        swapped = f"the sum in place of the mean (over {divisor:.12g})"
        factors[swapped if is_mean else "the mean in place of the sum"] = divisor if is_mean else 1 / divisor
    for (first, one), (second, two) in itertools.permutations(counts.items(), 2):
        if one and two:
            factors[f"the mean over {second} ({two:.12g}) in place of {first} ({one:.12g})"] = one / two
    norm = float(np.sqrt(np.square(gradient).sum()))
    if norm:
        factors["1/||G||"] = 1 / norm
    return {name: value for name, value in factors.items() if value != 1 and 0 < value < math.inf}


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
    upper = (bits + np.uint64(0x7FFF) + ((bits >> np.uint64(16)) & np.uint64(1))) & np.uint64(0xFFFF0000)
    return upper.astype(np.uint32).view(np.float32).astype(np.float64)
