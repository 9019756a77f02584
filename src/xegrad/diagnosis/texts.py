"""What is said of a slip that depends on its form: what happened, the lines of code, and the remedy.

Each function takes the derivation and the form, and returns words for the texts of the catalogue; these may hold names
of parameters in braces, as the catalogue's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from xegrad import layer
from xegrad.derivation import Cells
from xegrad.naming import class_in_short
from xegrad.slips import formulas, rows
from xegrad.slips.entry import Parameters

Words = Mapping[str, Any]

# What cross_entropy of PyTorch calls the options, where it is another name.
ARGUMENTS = {"class_weights": "weight"}

MOST_NAMED = 12  # classes in a sentence, or rows in a line of code
# Of orders that programs make by themselves: what they are, and the line that makes them.
ORDERS = {
    "reversed": ("the reverse order of the classes", "classes = names[::-1]"),
    "alphabetical": ("the alphabetical order of the classes", "classes = sorted(set(names))"),
    "0 1 10 2": ("the order of the classes' numbers as text", "classes = sorted(map(str, labels))"),
}


def _scaled(c: Cells, form: Parameters) -> Words:
    which = "one factor for all of them." if "named" in form else "no constant that is known."
    if named := [
        one for one in str(form.get("named", "")).split(", ") if one.strip("-") not in ("", "2", "1/2")
    ]:
        which = f"that is {', '.join(named)} here."
    signed = str(form.get("named", "")).split(",")[0]
    factor, sign = signed.removeprefix("-"), "-" if signed.startswith("-") else ""
    in_code, divisor = _divisor(c, form)
    right = "{d} = {carried}" + in_code
    powers = {"B": -1, "1/B": 1, "1/B^2": 2}
    if factor in powers:
        power = powers[factor]
        wrong = f"{right}{' * B' if power < 0 else ' / B' * power}".replace(" / B * B", "")
        wrong = wrong.replace("= ", f"= {sign}", 1)
        advice = "Divide by the number of rows once for a mean, and never for a sum."
        if in_code not in ("", " / B"):
            advice = f"Divide by {divisor} once, and not by the number of rows."
        return {"which": which, "wrong": wrong, "right": right, "advice": advice}
    if factor in ("1/ln 2", "1/ln 10"):
        wrong, right = f"{'' if sign else '-'}np.log{factor[5:]}(p[label])", "-np.log(p[label])"
        return {"which": which, "wrong": wrong, "right": right, "advice": "Use the natural logarithm."}
    counts = "Leave the sum over the rows as it is, and do not divide by the number of entries."
    if divisor:
        counts = f"Divide by {divisor}, and not by the number of entries."
    advices = {
        "T": "Look for a sum or mean over the {n_classes} classes.",
        "1/T": "Look for a mean over the {n_classes} classes; the loss of a row is a sum over them.",
        "1/(B T)": counts,
        "N": "Look for a sum over the {n_inputs} inputs.",
        "1/N": "Look for a mean over the {n_inputs} inputs.",
        "2": "Look for a loss that is counted twice, or for gradients added up over two passes.",
        "1/2": "Look for a factor 1/2 of the loss, or a mean over two passes.",
        "1/||G||": "Compare the gradient before it is divided by its norm.",
    }
    default = "Look for a factor of the loss, a loss scale, or passes that are added up."
    if factor.startswith("the "):
        default = "Divide by what the rows that count add up to under a mean, once, and never for a sum."
    return {"which": which, "wrong": "{d} *= {k}", "right": "{d}", "advice": advices.get(factor, default)}


def _divisor(c: Cells, form: Parameters) -> tuple[str, str]:
    """What a mean divides the sum over the rows by, in code and in words; nothing, of a sum."""
    targets = c.problem.targets
    if targets.reduction != "mean":
        return "", ""
    if "row_weights" in form or (targets.class_weights is not None and targets.labels is not None):
        return " / weights.sum()", "the sum of the rows' weights"
    if targets.ignore_index is not None and not targets.kept.all():
        return " / kept.sum()", "the number of rows that are not ignored"
    return " / B", "the number of rows"


def _wrong_label(c: Cells, form: Parameters) -> Words:
    zero = "The classes are counted from zero."
    takes = "S[{}] -= 1"
    if c.problem.targets.label_smoothing:  # which takes less of S
        takes = "y[{}] = 1"
    if "order" in form:
        return {
            "which": f"Every label is a number in another order of the classes ({form['order']}).",
            "advice": "The columns of W, and the probabilities, stand in this problem's order.",
            "wrong": "classes = sorted(set(names))",
            "right": "classes = the order of W's columns",
        }
    if (shift := form.get("shift")) is not None:
        sign, used, meant = ("+", "c + 1", "c") if shift == 1 else ("-", "c - 1", "c")
        which = f"Every label is off by one: class {used} was used where class {meant} was meant"
        end = "last" if shift == 1 else "first"
        rest = {"no class": f"; a row of the {end} class has no 1 at all"}.get(str(form.get("ends")), "")
        comments = "1 subtracted from a label that counts from zero", "a label counted from one"
        wrong = f"{takes.format(f'label {sign} 1')}    # {comments[shift == 1]}"
        return {"which": f"{which}{rest}.", "advice": zero, "wrong": wrong, "right": takes.format("label")}
    names = c.problem.classes or range(c.problem.n_classes)
    row = f"In row {form['row']} the" if c.problem.n_rows > 1 else "The"
    other, label = names[form["instead"]], names[form["label"]]
    which = f"{row} label is taken to be class {other}, but it is class {label}."
    index = f"{form['row']}, " if c.problem.n_rows > 1 else ""
    wrong, right = (takes.format(f"{index}{form[name]}") for name in ("instead", "label"))
    return {"which": which, "advice": zero, "wrong": wrong, "right": right}


def _option_ignored(c: Cells, form: Parameters) -> Words:
    option = str(form["option"])
    words = {
        "argument": ARGUMENTS.get(option, option),
        "wrong": "cross_entropy(z, y)",
        "advice": f"Apply {option} in the backward pass as in the loss.",
    }
    if form.get("ignored") == "the only ones that count":
        words["wrong"] = "dz[y != ignore_index] = 0"
        words["advice"] = "Set the residual of the ignored rows to 0: dz[y == ignore_index] = 0."
    which = {
        "": "that option of the loss did not reach the backward pass.",
        "kept, in the mean over the others": "the ignored rows are kept, and the sum is divided by the other rows.",
        "S": "an ignored row has no label, but its S is kept.",
        "S, in the mean over the others": "an ignored row has no label, but its S is kept, over the number of others.",
        "smoothed": "an ignored row has no label, but its smoothing eps/T is kept.",
        "smoothed, with S": "an ignored row has no label, but S - eps/T is kept.",
        "the only ones that count": "the mask is inverted, and the ignored rows alone count.",
    }[str(form.get("ignored", ""))]
    return {"which": which, **words}


def _rows_left_out(c: Cells, form: Parameters) -> Words:
    which = rows.in_words(form, c.problem.n_rows)
    verb = "contributes" if which.startswith(("Row ", "Every")) else "contribute"
    advice = "the sum is that of the other rows"
    if c.problem.targets.reduction == "mean":
        count = "counts" if form["divisor"] == "the rest" else "count"
        advice += f", and it is divided by what {form['divisor']} {count}"
    index = _index_of(form["rows"].split())
    wrong, right = f"dz[{index}] = 0", "dz"
    if form["divisor"] == "the rest":
        part = index if index.startswith("[") else f"np.s_[{index}]"
        wrong, right = (
            f"cross_entropy(np.delete(z, {part}, 0), np.delete(y, {part}, 0))",
            "cross_entropy(z, y)",
        )
    if "the last" in which:
        wrong = "for i in range(B // size):    # the rest is never reached"
        right = "for i in range(-(-B // size)):"
    return {"which": f"{which} {verb}", "advice": advice, "wrong": wrong, "right": right}


def _index_of(rows: list[str]) -> str:
    """Rows as numpy takes them: a slice of those that are evenly spaced, or a list, of many the first ones."""
    numbers = [int(row) for row in rows]
    steps = {*np.diff(numbers).tolist()}
    if steps == {1} or (len(steps) == 1 and len(rows) > 2):
        step = steps.pop()
        return f"{rows[0]}:{numbers[-1] + 1}" + (f":{step}" if step > 1 else "")
    return f"[{', '.join(rows[:MOST_NAMED])}{', ...' if len(rows) > MOST_NAMED else ''}]"


def _smoothed(c: Cells, form: Parameters) -> Words:
    n_classes, spread, stated = c.problem.n_classes, str(form["spread"]), c.problem.targets.label_smoothing
    advice, right, of_the_problem = (
        "Leave the smoothing out, or state it in the problem",
        "y = y",
        "does not say so",
    )
    if stated:
        advice, right = "Smooth by the problem's eps, or state the other one", f"eps = {stated:.6g}"
        of_the_problem = f"says {stated:.6g}"
    words = {"wrong": _smoothing_in_code(spread), "right": right, "advice": advice}
    if spread != "eps/T":
        which = (
            f"The targets are smoothed by eps = {{eps}}, with {{spread}}:\n"
            f"a formula of its own, after which they do not sum to one; the problem {of_the_problem}."
        )
        return {**words, "which": which}
    which = (
        "The targets are smoothed by eps = {eps}, spread over all {n_classes} classes\n"
        f"(or by {{eps_of_others}} over the other {{n_others}} alone); the problem {of_the_problem}."
    )
    eps_of_others = form["eps"] * (n_classes - 1) / n_classes
    if stated:
        words["wrong"] = f"eps = {form['eps']:.6g}"
    return {**words, "which": which, "eps_of_others": eps_of_others}


def _smoothed_otherwise(c: Cells, form: Parameters) -> Words:
    spread, stated = str(form["spread"]), c.problem.targets.label_smoothing
    which = f"{spread.removesuffix(', with S')}."
    if spread.endswith("with S"):
        which += " S stands alone, though the targets do not sum to one."
    words = {"stated": f"{stated:.6g}", "which": which, "wrong": _smoothing_in_code(spread)}
    if "weights" in form:
        words["which"] = f"{which} The weight of the label multiplies every class of its row."
        words["wrong"] += "; y *= weight[label]"
    return words


def _smoothing_in_code(spread: str) -> str:
    share, *where = spread.removesuffix(", with S").replace("/", " / ").split(", ")
    of_label = "(1 - eps) * y"
    if where == ["and eps T / (T - 1) off the label"]:
        of_label = "(1 - eps * T / (T - 1)) * y"
    elif where == ["and nothing off the label"]:
        of_label = "y"
    code = f"y = {of_label}" + (f" + {share}" if share != "nothing" else "")
    if where == ["on the others"]:
        code = f"y = np.where(y == 1, 1 - eps, {share})"
    return code + ("    # and dz = s - y" if spread.endswith("with S") else "")


def _clipped_probabilities(c: Cells, form: Parameters) -> Words:
    kind = str(form["derivative"])
    code = "p.clip({eps}, 1 - {eps})"
    if kind.endswith("of a floor"):
        code = "np.maximum(p, {eps})"
    if kind.startswith("0"):
        which = "the derivative there is that of the clip, 0. Other limits clip the same probabilities."
        return {"which": which, "wrong": f"-np.log({code})"}
    if kind.startswith("S - y"):
        return {"which": "S - y is formed of the clipped S.", "wrong": f"dz = {code} - y"}
    return {"which": "the derivative there is -y over the clipped S.", "wrong": f"dp = -y / {code}"}


def _temperature(c: Cells, form: Parameters) -> Words:
    factor = form["factor"]
    if factor == "tau":
        return {"which": "the gradient has the factor tau, which is tau^2 of a distillation times 1/tau."}
    return {"which": f"the factor 1/tau of its derivative is {factor}."}


def _denominator(c: Cells, form: Parameters) -> Words:
    if form["counted"] == "times":
        return {
            "which": "it has every class {k} times",
            "wrong": "e / all_reduce(all_reduce(e.sum(axis=-1, keepdims=True)))",
            "advice": "Add up the parts of the sum once.",
        }
    if form["counted"] == "padding columns":
        return {
            "which": "it has {k} padding columns with a logit of 0",
            "wrong": "softmax(np.pad(z, ((0, 0), (0, {k}))))[:, :{n_classes}]",
            "advice": "Give padding a logit of -inf.",
        }
    constant = {"wrong": "e / (e.sum(axis=-1, keepdims=True) + {k})"}
    if form["counted"] == "a constant":
        advice = "Give padding a logit of -inf, and add nothing to the sum."
        return {**constant, "which": "k = {k} is added to it", "advice": advice}
    advice = "Add nothing: with a largest exponential of 1 the sum is never 0."
    return {**constant, "which": "k = {k} is added, where the largest e^z is 1", "advice": advice}


def _after_update(c: Cells, form: Parameters) -> Words:
    which = "right, but for the weights after a step"
    if form["updated"] == "W of R W'":
        which = "the residuals are from before the step, and are carried back by W from after it"
    return {"which": which, "wrong": "{d} = {carried}"}


def _micro_batches(c: Cells, form: Parameters) -> Words:
    means = "sum(cross_entropy(part) for part in parts)"
    return {"wrong": f"loss = {means}{' / len(parts)' if form['then'] == 'averaged' else ''}"}


def _log_forgotten(c: Cells, form: Parameters) -> Words:
    return {"wrong": "nll_loss(softmax(z), y)" if form["loss"] == "-sum Q S" else "nll_loss(z, y)"}


def _not_transposed(c: Cells, form: Parameters) -> Words:
    return {"wrong": "dx = dz @ W" + ("" if form["W"] == "as it is" else ".reshape({n_classes}, {n_inputs})")}


def _summed(c: Cells, form: Parameters) -> Words:
    kind = str(form["sum"])
    if kind == "over the rows":
        return {"wrong": "dx[:] = dz.sum(axis=0) @ W.T"}
    if kind == "averaged once more":
        return {"wrong": "{d} = dz.mean(axis=0)" if c.name == "bias" else "{d} = {carried} / {n_rows}"}
    return {"wrong": f"db = dz[{kind.split()[1]}]"}


def _all_zero(c: Cells, form: Parameters) -> Words:
    largest = float(np.abs(layer.residual(layer.forward(c.problem))).max())
    advice = "Do not sum the residual, or the rows of the Jacobian, over the classes: each such sum is 0."
    words = {"rounding": "", "advice": advice, "wrong": "{d} = 0    # never written to"}
    if c.name == "weights":
        words["wrong"] = "dW = np.outer(x, ds.sum(axis=0))    # rows of the Jacobian summed"
    elif c.name == "bias":
        words["wrong"] = "db[:] = dz.sum()    # over the classes, too"
    if form.get("up to") == "rounding":
        why = "The residuals of a row sum to 0, and so do the rows of the softmax Jacobian: rounding alone is left."
        return {**words, "rounding": ", up to rounding", "why": why}
    if largest <= c.arithmetic.u * c.q.value.max():
        why = f"The largest exact residual is {largest:.3g}, below what S_c - 1 keeps of S_c = 1: saturated."
        advice = "Keep the digits of 1 - S: add up the other exponentials."
        return {**words, "why": why, "advice": advice, "wrong": "dz[label] = s[label] - 1"}
    why = "A Jacobian summed over its rows is 0, and so is an array never written to."
    if c.problem.n_rows == 1:
        why = f"{why[:-1]},\nand the derivative of a softmax over an axis of length one."
    return {**words, "why": why}


def _stored(c: Cells, form: Parameters) -> Words:
    which = "Every entry is a number of {format}."
    if form.get("rounded"):
        which = "Every entry is the right one rounded to {format}."
    if "decimals" in form:
        decimals = form["decimals"]
        wrong = f"np.round({{d}}, {decimals})    # or print({{d}})"
        return {"format": f"{decimals} decimals", "which": which, "wrong": wrong}
    name = form["format"]
    wrong = "{d}.to(torch.bfloat16)" if name == "bfloat16" else f"{{d}}.astype(np.{name})"
    return {"which": which, "wrong": wrong}


def _permuted(c: Cells, form: Parameters) -> Words:
    columns = np.arange(c.problem.n_classes)
    order = np.argsort(formulas.permuted(c, form, np.zeros_like(columns), columns)).tolist()
    known, undone, _ = form["order"].partition(", undone")
    which, wrong = ORDERS.get(known, ("another order of the classes", "classes = the names in another order"))
    if undone:
        which, wrong = f"the inverse of {which}", "{d}[:, order]    # where np.argsort(order) puts them back"
    names = ", ".join(class_in_short(c.problem, index) for index in order[:MOST_NAMED])
    names = names.replace("{", "{{").replace("}", "}}") + (", ..." if len(order) > MOST_NAMED else "")
    return {"columns": " ".join(map(str, order)), "which": which, "listed": names, "wrong": wrong}


def _transposed(c: Cells, form: Parameters) -> Words:
    if c.name == "weights":
        which = "for a W that is stored as {n_classes} classes x {n_inputs} inputs"
        return {"which": which, "advice": "Transpose it, or say that W is stored as classes x inputs."}
    columns = f"{c.shape[1]} {'inputs' if c.name == 'inputs' else 'classes'}"
    return {"which": f"in an array of {columns} x {{n_rows}} rows", "advice": "Transpose it."}


def _scrambled(c: Cells, form: Parameters) -> Words:
    if form["form"] == "folded":
        each = "they lie input by input, {n_classes} classes each,"
        return {"which": f"{each} and were folded as if they ran class by class."}
    each = "the flat gradient runs class by class, {n_inputs} inputs each,"
    return {"which": f"{each} and reshape({{n_inputs}}, {{n_classes}}) cuts it into rows of {{n_classes}}."}


TEXTS: Mapping[str, Callable[[Cells, Parameters], Words]] = {
    "scaled": _scaled,
    "wrong-label": _wrong_label,
    "option-ignored": _option_ignored,
    "all-zero": _all_zero,
    "rows-left-out": _rows_left_out,
    "low-precision": _stored,
    "label-smoothed": _smoothed,
    "smoothed-otherwise": _smoothed_otherwise,
    "probabilities-clipped": _clipped_probabilities,
    "temperature": _temperature,
    "wrong-denominator": _denominator,
    "evaluated-after-update": _after_update,
    "micro-batch-means": _micro_batches,
    "log-forgotten": _log_forgotten,
    "weights-not-transposed": _not_transposed,
    "summed-over-wrong-axis": _summed,
    "classes-permuted": _permuted,
    "transposed": _transposed,
    "scrambled-reshape": _scrambled,
    "squared-error": lambda c, form: {"wrong": "dp = p - y" if form["factor"] == 1 else "dp = 2 * (p - y)"},
    "weight-decay-included": lambda c, form: {"lambda_of_square": form["lambda"] / 2},
}
