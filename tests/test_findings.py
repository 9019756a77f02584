"""What is found, and said: the best rank, each explanation once, digits that are lost, and what one loss tells."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from small_batch import batch
from xegrad import METHODS, InputError, Problem, Targets, Tolerance, bounds, diagnose
from xegrad.derivation import Cells
from xegrad.diagnosis import _is_the_same, _listed, diagnose_loss, memory
from xegrad.diagnosis.findings import Diagnosis, Explanation, _of_rows, _text, explained, lost_digits
from xegrad.diagnosis.search import FLIPPED, Hypothesis, Search
from xegrad.judgement import DIGITS_LOST, judge
from xegrad.numbers.arithmetic import PRECISIONS
from xegrad.slips import SLIPS


def cells_of(problem: Problem, name: str = "weights") -> Cells:
    return bounds.cells_of(problem, PRECISIONS["float64"]).of(name)


def one(*steps: tuple[str, dict[str, Any]], **widths: tuple[float, float]) -> Hypothesis:
    several = tuple((SLIPS[name], form) for name, form in steps)
    return Hypothesis(several, widths, len(widths))


# Each once.


@pytest.mark.parametrize(
    ("first", "second", "are_the_same"),
    [
        (one(("sign-flipped", {})), one(("transposed", {})), False),
        (one(("sign-flipped", {})), one(("sign-flipped", {})), True),
        (one(("scrambled-reshape", {"form": "cut"})), one(("scrambled-reshape", {"form": "folded"})), False),
        # The number alone, and no interval of it in common.
        (one(("scaled", {"k": 2.0}), k=(1.9, 2.1)), one(("scaled", {"k": 3.0}), k=(2.9, 3.1)), True),
        # Other forms: of intervals that overlap, that touch, and that do not.
        *(
            (
                one(("label-smoothed", {"spread": "eps/T", "eps": 0.2}), eps=(0.1, 0.3)),
                one(("label-smoothed", {"spread": "1/T, not eps/T", "eps": 0.4}), eps=ends),
                expected,
            )
            for ends, expected in (
                ((0.2, 0.5), True),
                ((0.3, 0.5), True),
                ((0.0, 0.1), True),
                ((0.31, 0.5), False),
                ((0.0, 0.09), False),
            )
        ),
        (
            one(("label-smoothed", {"spread": "eps/T", "eps": 0.2}), eps=(0.1, 0.3)),
            one(("label-smoothed", {"spread": "1/T, not eps/T", "eps": 0.2})),
            False,
        ),
        # A pair in any of its forms.
        (
            one(("softmax-twice", {"form": "the shortcut"}), ("sign-flipped", {})),
            one(("softmax-twice", {"form": "both derivatives"}), ("sign-flipped", {})),
            True,
        ),
        (
            one(("softmax-twice", {"form": "the shortcut"}), ("sign-flipped", {})),
            one(("sign-flipped", {})),
            False,
        ),
    ],
)
def test_two_explanations_are_the_same_if_only_a_number_tells_them_apart(
    first: Hypothesis, second: Hypothesis, are_the_same: bool
) -> None:
    assert _is_the_same(first, second) is are_the_same
    assert _is_the_same(second, first) is are_the_same


def test_explanations_stand_in_the_order_of_the_catalogue_and_the_first_of_the_same_is_kept() -> None:
    transposed, cut = one(("transposed", {})), one(("scrambled-reshape", {"form": "cut"}))
    narrow = one(("scaled", {"k": 2.0}), k=(1.9, 2.1))
    wide = one(("scaled", {"k": 2.5}), k=(1.0, 4.0))
    pair = Hypothesis((*cut.steps, FLIPPED))
    assert _listed([cut, wide, pair, transposed, narrow]) == [wide, transposed, cut, pair]
    assert [*SLIPS].index("scaled") < [*SLIPS].index("transposed") < [*SLIPS].index("scrambled-reshape")


# Digits.


@pytest.mark.parametrize(
    ("slip", "name", "value", "width", "text"),
    [
        ("scaled", "k", 2, None, "2"),
        ("scaled", "named", "1/B", None, "1/B"),
        ("scaled", "k", 1 / 3, None, "0.333333"),
        ("scaled", "k", 1 / 3, (1 / 3, 1 / 3), "0.333333333333"),
        # The interval is 1e-3 of the number wide, a little less, and 30 %.
        ("scaled", "k", 1 / 3, (1 / 3 - 1e-3 / 6, 1 / 3 + 1.001e-3 / 6), "0.33"),
        ("scaled", "k", 1 / 3, (1 / 3 - 1e-3 / 6, 1 / 3 + 0.999e-3 / 6), "0.333"),
        ("scaled", "k", -1 / 3, (-1 / 3 - 1e-5 / 6, -1 / 3 + 0.999e-5 / 6), "-0.33333"),
        ("scaled", "k", 1 / 3, (0.3, 0.4), "0.3"),
        ("scaled", "k", 1 / 3, (0.0, 9.0), "0.3"),
        ("scaled", "k", 1 / 3, (1 / 3, 1 / 3 + 1e-15), "0.333333333333"),
        ("weight-decay-included", "lambda", 0.0, (-1.0, 1.0), "0"),
        # As many more as tell it from no slip, of which a double has 17.
        ("scaled", "k", 1.003, (0.9, 1.1), "1.003"),
        ("scaled", "k", 1 + 2.0**-52, None, "1.0000000000000002"),
        ("scaled", "k", 1.0, None, "1"),
        ("label-smoothed", "eps", 1.0, None, "1"),
        ("label-smoothed", "eps_of_others", 1.00000001, None, "1"),
    ],
)
def test_a_number_has_the_digits_that_its_interval_determines(
    slip: str, name: str, value: Any, width: Any, text: str
) -> None:
    if value == 1.0 and slip == "scaled":
        text = f"{1.0:.17g}"
    assert _text(SLIPS[slip], name, value, width) == text


def test_a_parameter_of_two_slips_is_told_by_the_name_of_the_second() -> None:
    pair = one(("labels-misaligned", {"k": 1, "ends": "wrapped"}), ("scaled", {"k": 2.5}), k=(2.4, 2.6))
    found = explained(cells_of(batch()), pair, 15)
    assert found.parameters == {"k": 1, "ends": "wrapped", "k of scaled": 2.5}
    assert found.texts["k of scaled"] == "2"
    named = explained(cells_of(batch()), one(("scaled", {"k": 1 / 3, "named": "1/N"})), 15)
    assert named.texts == {"k": "1/N = 0.333333", "named": "1/N"}
    assert (named.explains, named.entries, named.slips) == (15, 15, ("scaled",))


def test_a_diagnosis_says_something_if_it_names_a_mistake_or_rows() -> None:
    (found,) = (explained(cells_of(batch()), one(("sign-flipped", {})), 1),)
    for diagnosis, says in (
        (Diagnosis(), False),
        (Diagnosis((found,)), True),
        (Diagnosis(where="Row 1"), True),
    ):
        assert diagnosis.says_something is says
    assert Diagnosis((found,)).names == (("sign-flipped",),)
    for struct in (found, Diagnosis()):
        with pytest.raises(AttributeError):
            struct.where = "elsewhere"  # type: ignore[union-attr, misc]
        assert struct != type(struct)(*(getattr(struct, name) for name in struct.__struct_fields__))


# Digits that went.


@pytest.mark.parametrize("at_a_time", [2**22, 10])
def test_what_is_left_of_one_minus_s_is_that_of_the_surest_row(
    at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xegrad.diagnosis.findings.AT_A_TIME", at_a_time)
    problem = batch(6, label_smoothing=0.0)
    z = problem.inputs @ problem.weights + np.asarray(problem.bias)
    s = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    of_labels = s[np.arange(6), np.asarray(problem.targets.labels)]
    spread = float(cells_of(problem).Z.error.max())
    carried = {
        "weights": np.abs(problem.inputs).T @ s / 6,
        "bias": s.sum(axis=0) / 6,
        "inputs": s @ np.abs(problem.weights).T / 6,
        "logits": s / 6,
    }
    for name, expected in carried.items():
        least, most, kept = _of_rows(cells_of(problem, name))
        assert least == pytest.approx(1 - of_labels.max(), rel=1e-12)
        assert most == pytest.approx(spread, rel=1e-12)
        np.testing.assert_allclose(kept.reshape(expected.shape), expected, rtol=1e-12)


def lost(problem: Problem, candidate: Any, **options: Any) -> list[Explanation]:
    exact = METHODS["exact"].evaluate(problem)
    tolerance = Tolerance(**options)
    assert judge(problem, exact, candidate, tolerance).outcome == DIGITS_LOST
    return [*diagnose(problem, exact, candidate, tolerance).explanations]


def test_lost_digits_are_those_of_a_narrow_format() -> None:
    problem = batch()
    small = replace(problem, inputs=problem.inputs * np.array([1e-6, 1.0, 1.0]))
    right = METHODS["exact"].evaluate(small).gradients["weights"]
    stored = right.astype(np.float16)
    below = int((np.abs(right) <= 2.0**-14).sum())
    (found,) = lost(small, stored, precision="float32", stored_as="float16")
    assert found.slips == ("low-precision",)
    assert 0 < found.explains <= below and found.entries == 15
    assert found.happened.startswith("The smallest normal number of float16 is 6.1e-05:")
    assert (found.wrong, found.right) == ("dW.astype(float16)", "dW.astype(float32)")


def test_lost_digits_are_those_of_one_minus_s() -> None:
    problem = Problem([[38.0, 0.0, -1.0]], [[1.0]], Targets([0]))
    s = np.exp(problem.weights - 38) / np.exp(problem.weights - 38).sum()
    (found,) = lost(problem, s - np.array([[1.0, 0.0, 0.0]]))
    assert (found.slips, found.explains, found.entries) == ((), 1, 3)
    assert found.happened == (
        "S_c is near 1: the exact 1 - S_c is 4.29e-17, and S_c - 1 from a rounded S_c keeps\n"
        "nothing below 1.11e-16, half the distance from 1 to the next number."
    )
    assert found.wrong == "s[label] - 1"


@pytest.mark.parametrize(("size", "is_lost"), [(1e15, True), (1e13, False)])
def test_lost_digits_are_those_of_logits_that_cancel(size: float, is_lost: bool) -> None:
    """1e15 - 1e15 + 1 in float64, of which each unit of rounding is 1/8."""
    problem = Problem([[size, 0.0], [-size, 0.0], [1.0, 0.0]], [[1.0, 1.0, 1.0]], Targets([0]))
    exact = METHODS["exact"].evaluate(problem)
    search = Search(problem, exact, 1.2 * exact.gradients["weights"], Tolerance(), 0.0, "weights")
    mask = np.array([[True, False], [True, True], [False, False]])
    found = [one for one in lost_digits(search, mask) if "cancel" in one.happened]
    assert [(one.slips, one.wrong, one.explains, one.entries) for one in found] == [
        ((), "x @ W", 3, 6)
    ] * is_lost
    for one in found:
        assert one.happened.endswith(
            "their sums cancel in float64,\nand what follows from them is not resolved."
        )
    assert not lost_digits(search, np.zeros((3, 2), dtype=bool))


# One number.


def test_a_loss_is_named_within_twice_the_bound_and_by_24_bits() -> None:
    problem = batch()
    exact: Any = METHODS["exact"].evaluate(problem)
    for bits, expected in ((24.1, True), (23.9, False)):
        resolution = exact.loss / 2**bits
        found = diagnose_loss(problem, exact, -exact.loss, resolution=resolution).names
        assert (("sign-flipped",) in found) is expected
    bound: Any = bounds.stable(problem, ()).loss
    for off, expected in ((1.9, True), (2.1, False)):
        found = diagnose_loss(problem, exact, -exact.loss + off * bound).names
        assert (("sign-flipped",) in found) is expected
        right = diagnose_loss(problem, exact, exact.loss + (off - 1) * bound)
        assert right.explanations == ()
    for number in (math.nan, math.inf, -math.inf):
        assert diagnose_loss(problem, exact, number).explanations == ()


@pytest.mark.parametrize(
    ("reduction", "factor", "words"),
    [
        ("mean", 4, "This is the sum in place of the mean: 4 times the loss."),
        ("sum", 0.25, "This is the mean in place of the sum: 0.25 times the loss."),
        ("mean", 5, "The loss is multiplied with T = 5."),
        ("mean", -1, "The loss has the opposite sign: log S is not positive, and the loss is its negative."),
    ],
)
def test_what_is_said_of_a_loss_is_of_the_loss_and_names_no_line(
    reduction: str, factor: float, words: str
) -> None:
    problem = batch(reduction=reduction)
    exact: Any = METHODS["exact"].evaluate(problem)
    (found,) = diagnose_loss(problem, exact, float(factor * exact.loss)).explanations
    assert found.happened == words
    assert (found.wrong, found.right, found.remedy) == ("", "", "")
    assert (found.explains, found.entries) == (1, 1)


@pytest.mark.parametrize(
    ("formula", "words"),
    [
        (
            lambda s, q, z: -(q * s).sum(),
            "This is -sum Q S: the logarithm of the probabilities was not taken.",
        ),
        (
            lambda s, q, z: -(q * z).sum(),
            "This is -sum Q Z: the logarithm of the probabilities was not taken.",
        ),
        *(
            (formula, "This is the squared error of the probabilities, and not the cross-entropy.")
            for formula in (
                lambda s, q, z: ((s - q) ** 2).sum() / 2,
                lambda s, q, z: ((s - q) ** 2).sum(),
                lambda s, q, z: ((s - q) ** 2).sum() / s.size,
            )
        ),
    ],
)
def test_a_loss_by_another_formula_is_told_by_that(formula: Any, words: str) -> None:
    problem = batch()
    z = problem.inputs @ problem.weights + np.asarray(problem.bias)
    s = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    (found,) = diagnose_loss(
        problem, METHODS["exact"].evaluate(problem), float(formula(s, np.eye(5)[:4] / 4, z))
    ).explanations
    assert found.happened == words


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("softmax-over-wrong-axis", {"axis": "rows"}),
        ("wrong-label", {"row": 2, "label": 2, "instead": 4}),
        ("option-ignored", {"option": "label_smoothing"}),
    ],
)
def test_a_loss_of_other_labels_axes_or_options_is_named(name: str, form: dict[str, Any]) -> None:
    problem = batch(label_smoothing=0.1)
    z = problem.inputs @ problem.weights + np.asarray(problem.bias)
    labels = np.arange(4)
    if name == "wrong-label":
        labels[2] = 4
    log_s = z - np.log(np.exp(z).sum(axis=0 if "axis" in form else 1, keepdims=True))
    eps = 0.0 if name == "option-ignored" else 0.1
    q = (1 - eps) * np.eye(5)[labels] + eps / 5
    exact: Any = METHODS["exact"].evaluate(problem)
    found = diagnose_loss(problem, exact, float(-(q * log_s).sum() / 4)).explanations
    assert [(one.slips, one.parameters) for one in found] == [((name,), form)]


def test_a_loss_that_is_a_multiple_by_several_names_has_all_of_them() -> None:
    """N = 2 is both."""
    problem = batch(4, 2)
    exact: Any = METHODS["exact"].evaluate(problem)
    (found,) = diagnose_loss(problem, exact, 2 * exact.loss).explanations
    assert found.parameters == {"k": 2, "named": "N, 2"}


# The whole.


def test_a_candidate_or_resolution_of_another_shape_is_refused() -> None:
    problem = batch()
    exact = METHODS["exact"].evaluate(problem)
    for arguments in ((problem, exact), (problem,)):
        with pytest.raises(InputError, match="the gradient is 4 x 4"):
            diagnose(*arguments, np.ones((4, 4)))
        with pytest.raises(InputError, match="the resolution is 4 x 4"):
            diagnose(*arguments, np.ones((3, 5)), None, np.ones((4, 4)))


@pytest.mark.parametrize("is_evaluated", [True, False])
def test_a_candidate_is_diagnosed_flat_too_and_by_a_resolution_for_each_entry(is_evaluated: bool) -> None:
    problem = batch()
    exact = METHODS["exact"].evaluate(problem)
    arguments: Any = (problem, exact) if is_evaluated else (problem,)
    right = exact.gradients["weights"]
    for candidate, resolution in ((-right, 0.0), (-right.ravel(), 0.0), (-right.ravel(), np.full(15, 1e-9))):
        assert diagnose(*arguments, candidate, None, resolution).names == (("sign-flipped",),)
    assert diagnose(*arguments, right + 1e-9, None, np.full((3, 5), 2e-9)).names == ()
    assert diagnose(*arguments, -right.T).names == (("transposed", "sign-flipped"),)


def test_what_is_zero_is_no_mistake_where_the_right_gradient_is_zero() -> None:
    """Of one class; and whatever its shape."""
    problem = batch(2, 3, 1)
    exact = METHODS["exact"].evaluate(problem)
    for candidate in (np.zeros((3, 1)), np.zeros((1, 3))):
        assert diagnose(problem, exact, candidate).names == ()
    other = batch()
    for candidate in (np.zeros((3, 5)), np.zeros((5, 3))):
        assert diagnose(other, METHODS["exact"].evaluate(other), candidate).names == (("all-zero",),)


@pytest.mark.parametrize(
    ("problem", "names", "least", "most"),
    [
        # Stacks of 500 kB for each logit, up to 100 MB; 16 copies of the gradient, and 3 of W and x.
        (batch(), ("weights",), 10.0e6, 10.1e6),
        (
            batch(4, 1000, 5),
            ("weights",),
            10e6 + 16 * 40_000 + 3 * 72_000 - 1e4,
            10e6 + 16 * 40_000 + 3 * 72_000 + 1e4,
        ),
        (batch(50, 3, 5), ("weights",), 100.0e6, 100.1e6),
    ],
)
def test_the_memory_of_a_small_problem_is_that_of_its_stacks_and_copies(
    problem: Problem, names: tuple[str, ...], least: float, most: float
) -> None:
    assert least <= memory(problem, names) <= most


def test_the_memory_of_a_large_problem_is_that_of_some_rows_and_of_copies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """26 or 32 times the cells of some rows, and 6 copies of the gradient, or 8 and 16; 3 of W and x."""
    monkeypatch.setattr("xegrad.bounds.LARGE", 1)
    monkeypatch.setattr("xegrad.diagnosis.AT_A_TIME", 5000)
    monkeypatch.setattr("xegrad.diagnosis.IN_CACHE", 1000)
    for problem, name, cells, copies in (
        (batch(1000, 3, 4), "weights", 26, 6),
        (batch(1000, 3, 4), "bias", 26, 6),
        (batch(1000, 3, 6), "logits", 32, 6),
        (batch(1000, 3, 6), "inputs", 32, 6),
        (batch(2, 100, 400), "weights", 8, 16),
    ):
        of_cells = 8 * min(problem.n_rows * problem.n_classes, 5000) + 8 * 1000
        of_given = 3 * (problem.weights.nbytes + problem.inputs.nbytes)
        expected = cells * of_cells + copies * problem.nbytes_of([name]) + of_given
        assert memory(problem, (name,)) == pytest.approx(expected, rel=0.02)
