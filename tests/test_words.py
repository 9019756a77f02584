"""What is said of each form of a slip: the golden sentences, and lines of code that do what they are said to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from xegrad import Problem, Targets, bounds
from xegrad.derivation import Cells
from xegrad.diagnosis.findings import Explanation, explained
from xegrad.diagnosis.search import Hypothesis
from xegrad.layer import forward
from xegrad.numbers.arithmetic import PRECISIONS
from xegrad.slips import SLIPS
from xegrad.slips.formulas import smoothings
from xegrad.slips.making import apply


def problem(n_rows: int, n_classes: int, classes: Any = None, **options: Any) -> Problem:
    random = np.random.default_rng(0)
    return Problem(
        random.normal(size=(3, n_classes)),
        random.normal(size=(n_rows, 3)),
        Targets(np.arange(n_rows) % n_classes, **options),
        random.normal(size=n_classes),
        classes,
    )


def cells_of(one: Problem, name: str = "weights") -> Cells:
    return bounds.cells_of(one, PRECISIONS["float64"]).of(name)


def words(one: Problem, slip: str, form: dict[str, Any], name: str = "weights") -> Explanation:
    return explained(cells_of(one, name), Hypothesis(((SLIPS[slip], form),)), 1)


BATCH = problem(4, 5)
SUMMED = problem(4, 5, reduction="sum")
ROW = problem(1, 4)
PETS = problem(4, 4, ("dog", "cat", "{eel}", "ant"))
MANY = problem(2, 14)
SMOOTHED = problem(4, 5, label_smoothing=0.1)
IGNORING = problem(4, 5, ignore_index=3, label_smoothing=0.1, class_weights=[1.0, 2.0, 3.0, 1.0, 0.5])
SATURATED = Problem([[46.05, 0.0, -1.0]], [[1.0]], Targets([0]))
# 1 - S_c is half a unit of rounding, and is multiplied with 4.
NEARLY = Problem([[-np.log(2.0**-54), 0.0]], [[1.0]], Targets([0], class_weights=[4.0, 1.0], reduction="sum"))

# The forms that a slip has on a problem, where no others are listed.
PROBLEMS: dict[str, Problem] = {
    "bias-wrong": BATCH,
    "option-ignored": IGNORING,
    "smoothed-otherwise": SMOOTHED,
}
FORMS: dict[str, list[tuple[Problem, str, dict[str, Any]]]] = {
    "scaled": [
        *((SUMMED, "bias", {"k": k, "named": name}) for name, k in (("1/B", 0.25), ("-1/B^2", -1 / 16))),
        (BATCH, "weights", {"k": 1.37}),
        *(
            (BATCH, "weights", {"k": k, "named": name})
            for name, k in (
                *(("T", 5.0), ("1/T", 0.2), ("1/(B T)", 0.05), ("-N", -3.0), ("1/N", 1 / 3), ("2", 2.0)),
                *(("1/2, the mean over all rows (4) in place of kept rows (2)", 0.5), ("ln 2", 0.693147)),
                *(("1/||G||", 1.25), ("the sum in place of the mean (over 4), B", 4.0)),
            )
        ),
    ],
    "wrong-label": [
        *(
            (BATCH, "weights", {"shift": shift, **ends})
            for shift in (1, -1)
            for ends in ({}, {"ends": "no class"})
        ),
        (BATCH, "weights", {"row": 2, "label": 2, "instead": 3}),
        (PETS, "weights", {"row": 2, "label": 3, "instead": 0}),
        (ROW, "weights", {"row": 0, "label": 0, "instead": 3}),
        (problem(2, 5), "weights", {"row": 1, "label": 1, "instead": 0}),
        (PETS, "weights", {"order": "alphabetical"}),
        (BATCH, "weights", {"order": "0 as 1, 1 as 0"}),
    ],
    "labels-misaligned": [(BATCH, "weights", {"k": -2, "ends": "dropped"})],
    "all-zero": [
        *((BATCH, name, {}) for name in ("weights", "bias", "inputs")),
        *((BATCH, name, {"up to": "rounding"}) for name in ("weights", "bias", "logits")),
        (ROW, "weights", {}),
        (SATURATED, "weights", {}),
        (NEARLY, "weights", {}),
    ],
    "rows-left-out": [
        *(
            (one, "weights", {"rows": rows, "divisor": divisor})
            for one, rows, divisor in (
                (BATCH, "2", "all rows"),
                (BATCH, "2", "the rest"),
                (SUMMED, "2", "all rows"),
                (BATCH, "1 2", "all rows"),
                (BATCH, "2 3", "all rows"),
                (problem(26, 5), " ".join(map(str, range(0, 26, 2))), "all rows"),
                (BATCH, "0 3", "the rest"),
            )
        )
    ],
    "low-precision": [
        (BATCH, "bias", {"decimals": 4}),
        (BATCH, "bias", {"decimals": 4, "rounded": True}),
        *(
            (BATCH, "weights", {"format": name, "rounded": name != "float32"})
            for name in ("bfloat16", "float16", "float32")
        ),
    ],
    "label-smoothed": [
        (BATCH, "weights", {"spread": "eps/T", "eps": 0.25}),
        (SMOOTHED, "weights", {"spread": "eps/T", "eps": 0.25}),
        (BATCH, "weights", {"spread": "1/T, not eps/T", "eps": 0.25}),
    ],
    "smoothed-otherwise": [
        (SMOOTHED, "weights", {"spread": "eps, not eps/T"}),
        (SMOOTHED, "weights", {"spread": "eps, not eps/T, with S"}),
        (IGNORING, "weights", {"spread": "eps/T", "weights": "of the label"}),
    ],
    "probabilities-clipped": [
        (BATCH, "weights", {"eps": 1e-7, "derivative": f"{kind}{floor}"})
        for kind in ("S - y", "of the logarithm", "0")
        for floor in ("", ", of a floor")
    ],
    "temperature": [
        (BATCH, "weights", {"tau": 2.0, "factor": factor}) for factor in ("left out", "kept", "tau")
    ],
    "wrong-denominator": [
        (BATCH, "weights", {"counted": counted, "k": k})
        for counted, k in (
            ("times", 2),
            ("padding columns", 3),
            ("a constant", 0.5),
            ("a constant, beside a largest e^z of 1", 1e-8),
        )
    ],
    "evaluated-after-update": [
        (BATCH, name, {"eta": 0.1, "updated": updated})
        for name, updated in (("weights", "W"), ("bias", "W and b"), ("inputs", "W of R W'"))
    ],
    "micro-batch-means": [(BATCH, "weights", {"size": 3, "then": then}) for then in ("averaged", "added up")],
    "weights-not-transposed": [(BATCH, "inputs", {"W": form}) for form in ("as it is", "reshaped")],
    "summed-over-wrong-axis": [
        (BATCH, name, {"sum": kind})
        for name, kind in (
            ("inputs", "over the rows"),
            ("inputs", "averaged once more"),
            ("bias", "averaged once more"),
            ("bias", "row 2 alone"),
        )
    ],
    "classes-permuted": [
        (problem(2, 12), "weights", {"order": "reversed"}),
        *((MANY, "weights", {"order": order}) for order in ("reversed", "0 1 10 2", "0 1 10 2, undone")),
        (PETS, "weights", {"order": "alphabetical"}),
        (PETS, "weights", {"order": "alphabetical, undone"}),
        (BATCH, "bias", {"order": "1 2 0 4 3"}),
    ],
    "scrambled-reshape": [(BATCH, "weights", {"form": form}) for form in ("cut", "folded", "reshaped")],
    "weight-decay-included": [(BATCH, name, {"lambda": 0.01}) for name in ("weights", "bias")],
    "weights-updated": [(BATCH, name, {"eta": 0.1}) for name in ("weights", "bias")],
    "clipped": [(BATCH, "weights", {"limit": 0.5, "at_limit": 2})],
}


def cases(name: str) -> list[tuple[Problem, str, dict[str, Any]]]:
    if name in FORMS:
        return FORMS[name]
    one = PROBLEMS.get(name, BATCH)
    return [(one, "weights", dict(form)) for form in SLIPS[name].example_forms(cells_of(one))]


def test_the_words_of_each_form_are_the_golden_ones(golden: Callable[[str, str], None]) -> None:
    parts = []
    for slip in SLIPS:
        for one, name, form in cases(slip):
            said = words(one, slip, form, name)
            of_form = ", ".join(f"{key} {value}" for key, value in form.items())
            parts += [f"{slip}, {name}: {of_form}", *said.happened.splitlines(), f"- {said.wrong}"]
            parts += [f"+ {said.right}", f"= {said.remedy}"]
            parts += [f"  {key}: {said.texts[key]}" for key in said.parameters if key not in form]
    golden("words", "\n".join(parts) + "\n")


def residuals(one: Problem) -> dict[str, Any]:
    """S - y without the mean, and what else lines of code speak of."""
    s = forward(one).probabilities
    y = np.eye(one.n_classes)[one.targets.labels]
    sizes = dict(zip("BNT", one.sizes, strict=True))
    return {"np": np, "x": one.inputs, "W": one.weights, "s": s, "y": y, "dz": s - y, **sizes}


@pytest.mark.parametrize("name", ["weights", "bias", "inputs", "logits"])
@pytest.mark.parametrize("one", [BATCH, SUMMED], ids=["mean", "sum"])
def test_the_line_of_a_factor_of_b_makes_the_gradient_with_that_factor(one: Problem, name: str) -> None:
    cells = cells_of(one, name)
    for sign in (1, -1):
        for factor, k in (("B", 4), ("1/B", 1 / 4), ("1/B^2", 1 / 16)):
            said = words(one, "scaled", {"k": sign * k, "named": "-" * (sign < 0) + factor}, name)
            for line, times in ((said.wrong, sign * k), (said.right, 1)):
                made = eval(line.partition(" = ")[2], residuals(one))
                np.testing.assert_allclose(made, times * cells.G.value, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("base", [2, 10])
def test_the_line_of_another_base_is_the_loss_times_that_factor(base: int) -> None:
    for sign in (1, -1):
        said = words(ROW, "scaled", {"k": sign / np.log(base), "named": "-" * (sign < 0) + f"1/ln {base}"})
        known = {"np": np, "p": np.array([0.2, 0.3, 0.5]), "label": 1}
        assert eval(said.wrong, known) == pytest.approx(sign / np.log(base) * eval(said.right, known))


@pytest.mark.parametrize("n_classes", [4, 5, 16])
def test_the_line_of_a_smoothing_makes_the_targets_of_its_formula(n_classes: int) -> None:
    one = problem(3, n_classes, label_smoothing=0.1)
    known = residuals(one)
    for spread in [*smoothings(n_classes)][1:]:
        line = words(one, "smoothed-otherwise", {"spread": spread}).wrong
        for block in (8, 64, 128):
            line = line.replace(f"T rounded up to a multiple of {block}", str(-(-n_classes // block) * block))
        y = eval(line.partition(" = ")[2], {**known, "eps": 0.1})
        mass = 1 if line.endswith("# and dz = s - y") else y.sum(axis=1, keepdims=True)
        made = apply(one, ["smoothed-otherwise"], spread=spread)
        np.testing.assert_allclose(
            made, one.inputs.T @ (mass * known["s"] - y) / 3, rtol=1e-10, err_msg=spread
        )
