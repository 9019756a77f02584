"""Labels, soft targets and every option of the loss fold into Q: as worked by hand, exactly, and to the rounding."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from xegrad import METHODS, InputError, Problem, Targets
from xegrad.numbers.arithmetic import PRECISIONS
from xegrad.numbers.rounded import entered
from xegrad.vocabulary import REDUCTIONS

FLOAT64, FLOAT32 = np.dtype(np.float64), np.dtype(np.float32)


def targets(**given: Any) -> Targets:
    """Targets from lists."""
    parts: dict[str, Any] = {
        k: np.array(part) if isinstance(part, list) else part for k, part in given.items()
    }
    return Targets(**parts)


def fit(given: Targets, n_classes: int = 3) -> Problem:
    """A problem with as many rows as the targets have."""
    return Problem(np.ones((2, n_classes)), np.ones((given.kept.size, 2)), given)


# By hand, from Q_t = w_t ((1 - eps) y_t + eps/T) / divisor.  All numbers are short in binary: nothing is rounded.
BY_HAND: dict[str, tuple[dict[str, Any], list[list[float]]]] = {
    "labels, sum": ({"labels": [1, 0], "reduction": "sum"}, [[0, 1], [1, 0]]),
    "labels, none: as the sum": ({"labels": [1, 0], "reduction": "none"}, [[0, 1], [1, 0]]),
    "labels, mean: over B": ({"labels": [1, 0]}, [[0, 1 / 2], [1 / 2, 0]]),
    # 1/2 of the target and 1/2 over two classes
    "smoothing": (
        {"labels": [1, 0], "label_smoothing": 0.5, "reduction": "sum"},
        [[1 / 4, 3 / 4], [3 / 4, 1 / 4]],
    ),
    "smoothing 0": ({"labels": [1], "label_smoothing": 0.0}, [[0, 1]]),
    "smoothing 1": ({"labels": [1], "label_smoothing": 1.0}, [[1 / 2, 1 / 2]]),
    "weights, sum": (
        {"labels": [1, 0], "class_weights": [1, 3], "reduction": "sum"},
        [[0, 3], [1, 0]],
    ),
    # The divisor is the labels' own weights: 3 + 1
    "weights, mean": ({"labels": [1, 0], "class_weights": [1, 3]}, [[0, 3 / 4], [1 / 4, 0]]),
    "weights, mean, one row: they cancel": ({"labels": [1], "class_weights": [1, 3]}, [[0, 1]]),
    # [1/4, 3/4] and [3/4, 1/4], each share times its own class's weight, over 3 + 1
    "weights, smoothing, mean": (
        {"labels": [1, 0], "class_weights": [1, 3], "label_smoothing": 0.5},
        [[1 / 16, 9 / 16], [3 / 16, 3 / 16]],
    ),
    "a weight of 0, mean": ({"labels": [1, 0, 1], "class_weights": [0, 3]}, [[0, 1 / 2], [0, 0], [0, 1 / 2]]),
    "ignored, mean: over the rows kept": (
        {"labels": [1, 7, 0], "ignore_index": 7},
        [[0, 1 / 2], [0, 0], [1 / 2, 0]],
    ),
    "ignored, weights, mean: over the weights of the rows kept": (
        {"labels": [1, -100, 0], "ignore_index": -100, "class_weights": [1, 3]},
        [[0, 3 / 4], [0, 0], [1 / 4, 0]],
    ),
    "ignored rows are not smoothed": (
        {"labels": [1, -100], "ignore_index": -100, "label_smoothing": 0.5},
        [[1 / 4, 3 / 4], [0, 0]],
    ),
    "a class that is ignored is smoothed over": (
        {"labels": [1, 0], "ignore_index": 0, "label_smoothing": 0.5},
        [[1 / 4, 3 / 4], [0, 0]],
    ),
    "all rows ignored, sum": (
        {"labels": [5, 5], "ignore_index": 5, "reduction": "sum"},
        [[0, 0], [0, 0]],
    ),
    "soft, mean: over B": ({"soft": [[1 / 4, 3 / 4], [0, 1]]}, [[1 / 8, 3 / 8], [0, 1 / 2]]),
    # 1/2 [1/4, 3/4] + 1/4 = [3/8, 5/8]; 1/2 [0, 2] + 1/4 = [1/4, 5/4]: the spread part is eps, whatever the sum
    "soft, smoothing, sum": (
        {"soft": [[1 / 4, 3 / 4], [0, 2]], "label_smoothing": 0.5, "reduction": "sum"},
        [[3 / 8, 5 / 8], [1 / 4, 5 / 4]],
    ),
    "soft, smoothing, weights, mean: over B, not the weights": (
        {"soft": [[1 / 4, 3 / 4], [0, 2]], "label_smoothing": 0.5, "class_weights": [1, 3]},
        [[3 / 16, 15 / 16], [1 / 8, 15 / 8]],
    ),
    "soft, weights of 0, mean": ({"soft": [[1 / 4, 3 / 4]], "class_weights": [0, 0]}, [[0, 0]]),
}


@pytest.mark.parametrize(("given", "by_hand"), BY_HAND.values(), ids=BY_HAND)
def test_targets_fold_into_the_effective_ones_worked_by_hand(
    given: dict[str, Any], by_hand: list[list[float]]
) -> None:
    stated = targets(**given)
    fit(stated, 2)
    assert stated.fractions(2) == [[Fraction(q) for q in row] for row in by_hand]
    assert stated.effective(2, FLOAT64).tolist() == by_hand
    assert stated.effective(2, FLOAT32).tolist() == by_hand


def test_a_mean_over_three_rows_divides_by_three_and_not_by_a_rounded_third() -> None:
    zero, third = Fraction(0), Fraction(1, 3)
    assert targets(labels=[0, 1, 1]).fractions(2) == [[third, zero], [zero, third], [zero, third]]
    assert targets(soft=[[0.5, 0.5]] * 3).fractions(2) == [[Fraction(1, 6)] * 2] * 3


def test_a_mean_over_the_rows_kept_divides_by_how_many_they_are() -> None:
    stated = targets(labels=[0, 9, 1, 1], ignore_index=9)
    assert stated.divisor == 3
    assert targets(labels=[0, 9, 1, 1], ignore_index=9, reduction="sum").divisor == 1
    assert stated.fractions(2)[0] == [Fraction(1, 3), Fraction(0)]


def test_smoothing_and_weights_are_the_exact_values_of_the_floats_that_were_given() -> None:
    """0.1 is not a tenth, and the sum of these weights is not a float."""
    tenth = Fraction(0.1)
    assert tenth != Fraction(1, 10)
    smoothed = targets(labels=[0], label_smoothing=0.1).fractions(3)
    assert smoothed == [[1 - tenth + tenth / 3, tenth / 3, tenth / 3]]
    weighted = targets(labels=[0, 1], class_weights=[1.0, 1e-20])
    assert weighted.divisor == 1 + Fraction(1e-20)
    assert weighted.fractions(2)[0] == [1 / (1 + Fraction(1e-20)), 0]


def test_every_row_under_the_mean_of_smoothed_labels_sums_to_its_share_exactly() -> None:
    stated = targets(labels=[0, 1, 2, 2, 1, 0, 0], label_smoothing=0.1)
    assert [sum(row) for row in stated.fractions(3)] == [Fraction(1, 7)] * 7


def test_each_problem_of_a_stack_has_a_divisor_of_its_own() -> None:
    stack = targets(labels=[[0, 1, 1], [0, 9, 9]], ignore_index=9, class_weights=[1.0, 1.5])
    alone = [targets(labels=row, ignore_index=9, class_weights=[1.0, 1.5]) for row in ([0, 1, 1], [0, 9, 9])]
    assert stack.effective(2, FLOAT64).tolist() == [one.effective(2, FLOAT64).tolist() for one in alone]
    assert stack.effective(2, FLOAT64).tolist() == [
        [[0.25, 0], [0, 0.375], [0, 0.375]],
        [[1, 0], [0, 0], [0, 0]],
    ]


def test_weights_near_overflow_have_a_mean() -> None:
    """Their sum is infinite, their shares are not."""
    stated = targets(labels=[0, 1], class_weights=[1.5e308, 1.5e308])
    assert stated.effective(2, FLOAT64).tolist() == [[0.5, 0], [0, 0.5]]
    assert stated.fractions(2) == [[Fraction(1, 2), 0], [0, Fraction(1, 2)]]


def test_a_weight_beside_one_that_is_next_to_nothing_is_infinite_and_exactly_a_fraction() -> None:
    stated = targets(labels=[0, 9], ignore_index=9, class_weights=[1e-300, 1e300], label_smoothing=0.5)
    assert stated.effective(2, FLOAT64).tolist() == [[0.75, np.inf], [0, 0]]
    ratio = Fraction(1e300) / Fraction(1e-300)
    assert stated.fractions(2) == [[Fraction(3, 4), ratio / 4], [0, 0]]


def random_targets(random: np.random.Generator) -> tuple[Targets, int]:
    """Many rows, weights over six decades and 0, smoothing near 0 and near 1, soft targets up to thousands."""
    n_rows, n_classes = int(random.choice([1, 2, 3, 10, 40])), int(random.integers(1, 9))
    options: dict[str, Any] = {"reduction": str(random.choice(REDUCTIONS))}
    if random.random() < 0.6:
        options["label_smoothing"] = float(
            random.choice([1e-10, 0.1, random.random(), 0.999, 1 - 1e-6, 1 - 1e-12, 1.0])
        )
    if random.random() < 0.6:
        options["class_weights"] = 10.0 ** random.uniform(-3, 3, size=n_classes)
        options["class_weights"][1:][random.random(n_classes - 1) < 0.2] = 0
    if random.random() < 0.5:
        soft = random.dirichlet(np.ones(n_classes), size=n_rows) * random.choice([1.0, 1.0, 5000.0])
        return Targets(soft=np.where(random.random(soft.shape) < 0.2, 0, soft), **options), n_classes
    labels = random.integers(n_classes, size=n_rows)
    labels[0] = 0  # whose weight is not 0
    if n_rows > 1 and random.random() < 0.5:
        labels[1:][random.random(n_rows - 1) < 0.4] = options["ignore_index"] = -100
    return Targets(labels=labels, **options), n_classes


def errors(stated: Targets, n_classes: int, dtype: np.dtype[Any]) -> Any:
    """How far from the exact ones the effective targets of a computation in this precision may be."""
    arithmetic = PRECISIONS[dtype.name]
    over = stated.over(lambda array: entered(array, arithmetic), n_classes)
    return np.broadcast_to(over.error, over.value.shape)


def assert_off_by_at_most(error: Any, computed: Any, exact: list[list[Fraction]]) -> None:
    """An error is a first-order bound, computed in float64 itself; what has none is exact."""
    for row, reference, limits in zip(computed.tolist(), exact, error.tolist(), strict=True):
        for q, p, limit in zip(row, reference, limits, strict=True):
            assert abs(Fraction(q) - p) <= Fraction(1.01) * Fraction(limit), (q, float(p), limit)


def test_effective_targets_are_off_by_no_more_than_their_error() -> None:
    """1,000 random targets, of which every entry that takes no rounding is exact."""
    random = np.random.default_rng(31)
    for _ in range(1000):
        stated, n_classes = random_targets(random)
        error = errors(stated, n_classes, FLOAT64)
        assert_off_by_at_most(error, stated.effective(n_classes, FLOAT64), stated.fractions(n_classes))


def test_targets_computed_in_float32_are_off_by_no_more_than_their_error() -> None:
    """eps, w and y are rounded first, and then Q: by this library, and by float32 arithmetic throughout."""
    random = np.random.default_rng(32)
    for _ in range(1000):
        stated, n_classes = random_targets(random)
        error = errors(stated, n_classes, FLOAT32)
        exact = stated.fractions(n_classes)
        assert_off_by_at_most(error, stated.effective(n_classes, FLOAT32), exact)
        rounded = in_float32(stated)
        assert_off_by_at_most(error, rounded.effective(n_classes, FLOAT32), exact)
        assert_off_by_at_most(error, folded_in_float32(rounded, n_classes), exact)


def in_float32(stated: Targets) -> Targets:
    """The same with every option rounded to float32."""
    return Targets(
        labels=stated.labels,
        soft=None if stated.soft is None else stated.soft.astype(FLOAT32),
        class_weights=None if stated.class_weights is None else stated.class_weights.astype(FLOAT32),
        label_smoothing=float(np.float32(stated.label_smoothing)),
        ignore_index=stated.ignore_index,
        reduction=stated.reduction,
    )


def folded_in_float32(stated: Targets, n_classes: int) -> Any:
    """Q as one would write it in float32, of options that are float32 already."""
    kept = stated.kept
    if stated.soft is None:
        assert stated.labels is not None
        y = (stated.labels[:, None] == np.arange(n_classes)).astype(FLOAT32)
        own = np.where(kept, stated.labels, 0)
    else:
        y = stated.soft.astype(FLOAT32)
    eps = np.float32(stated.label_smoothing)
    q = (np.float32(1) - eps) * y + eps / np.float32(n_classes) if eps else y
    divisor = np.float32(kept.sum())
    if stated.class_weights is not None:
        weights = stated.class_weights.astype(FLOAT32)
        q = weights * q
        if stated.soft is None:
            divisor = np.cumsum(np.where(kept, weights[own], np.float32(0)), dtype=FLOAT32)[-1]
    q = q * kept[:, None].astype(FLOAT32)
    q = q / divisor if stated.reduction == "mean" else q
    assert q.dtype == FLOAT32
    return q


@pytest.mark.parametrize(
    ("given", "count"),
    [
        ({"labels": [0, 1], "reduction": "sum"}, 0),
        ({"labels": [0]}, 0),
        ({"labels": [0, 1], "class_weights": [0.1, 0.3], "reduction": "sum"}, 0),
        ({"soft": [[0.1, 0.9]]}, 0),
        ({"labels": [0, 1, 1]}, 1),
        ({"labels": [0], "class_weights": [0.1, 0.3]}, 1),
        ({"soft": [[0.1, 0.9]], "class_weights": [0.1, 0.3]}, 1),
        ({"labels": [0], "label_smoothing": 0.1}, 3),
    ],
)
def test_what_is_not_computed_is_not_rounded(given: dict[str, Any], count: int) -> None:
    stated = targets(**given)
    error, values = errors(stated, 2, FLOAT64), stated.effective(2, FLOAT64)
    assert (error <= count * 2.0**-53 * values + count * 2.0**-1074).all()
    assert (error > 0).any() == (count > 0)
    assert_off_by_at_most(error, values, stated.fractions(2))


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "all rows ignored, mean": (
        {"labels": [-100, -100], "ignore_index": -100},
        "every row has the label -100, which is ignored: the mean over no row is 0/0",
    ),
    "all rows ignored, smoothing, mean": (
        {"labels": [1, 1], "ignore_index": 1, "label_smoothing": 0.1},
        "every row has the label 1, which is ignored",
    ),
    "weights sum to 0, mean": (
        {"labels": [0, 1], "class_weights": [0.0, 0.0, 1.0]},
        "the class weights of all labels are 0: their mean is 0/0",
    ),
    "weights of the rows kept sum to 0, mean": (
        {"labels": [0, 2], "class_weights": [0.0, 0.0, 1.0], "ignore_index": 2, "label_smoothing": 0.1},
        "the class weights of all labels are 0",
    ),
    "soft, ignored": (
        {"soft": [[0.5, 0.5, 0.0]], "ignore_index": 1},
        "ignore_index is 1, but the targets are soft: only a label can be ignored",
    ),
    "soft, ignored by torch's default": (
        {"soft": [[0.5, 0.5, 0.0]], "ignore_index": -100},
        "ignore_index is -100, but the targets are soft",
    ),
    "smoothing below 0": (
        {"labels": [0], "label_smoothing": -0.1},
        "label_smoothing is -0.1; it goes from 0",
    ),
    "smoothing above 1": (
        {"labels": [0], "label_smoothing": 1.1},
        "label_smoothing is 1.1; it goes from 0",
    ),
    "smoothing NaN": ({"labels": [0], "label_smoothing": np.nan}, "label_smoothing is nan"),
    "a negative weight": (
        {"labels": [0], "class_weights": [1.0, -2.0, 1.0]},
        "the weight of class 1 is -2.0; weights are finite and never negative",
    ),
    "an infinite weight": ({"labels": [0], "class_weights": [1.0, np.inf, 1.0]}, "class 1 is inf"),
    "a weight NaN": ({"labels": [0], "class_weights": [np.nan, 1.0, 1.0]}, "class 0 is nan"),
    "too few weights": (
        {"labels": [0], "class_weights": [1.0, 2.0]},
        "class_weights has 2 numbers but W has 3 classes",
    ),
    "weights by rows": (
        {"labels": [0], "class_weights": [[1.0, 2.0, 3.0]]},
        "one real number for each class",
    ),
    "weights that are words": (
        {"labels": [0], "class_weights": ["a", "b", "c"]},
        "class_weights is one real number for each class",
    ),
    "another reduction": (
        {"labels": [0], "reduction": "average"},
        "reduction is 'average'; it is one of mean, sum, none",
    ),
    "-100 unasked": ({"labels": [0, -100]}, "label -100 is out of range; .* say ignore_index -100"),
    "another label out of range": ({"labels": [0, -100], "ignore_index": 1}, "label -100 is out of range"),
}


# What a sentence about each option says; all others are about the labels or the soft targets.
ABOUT = {
    "ignore_index is": "ignore_index",
    "label_smoothing is": "label_smoothing",
    "reduction is": "reduction",
    "weight": "class_weights",
}


@pytest.mark.parametrize(("given", "said"), REFUSED.values(), ids=REFUSED)
def test_a_loss_that_is_no_number_or_means_nothing_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        fit(targets(**given))
    about = next((part for words, part in ABOUT.items() if words in str(refused.value)), "label")
    assert refused.value.part == about


def test_without_a_mean_nothing_is_divided_so_nothing_is_refused() -> None:
    for reduction in ("sum", "none"):
        for given in (
            {"labels": [-100, -100], "ignore_index": -100},
            {"labels": [0, 1], "class_weights": [0.0, 0.0, 1.0]},
        ):
            problem = fit(targets(**given, reduction=reduction))
            for method in METHODS.values():
                evaluation = method.evaluate(problem)
                assert evaluation.loss == 0
                assert not evaluation.gradients["weights"].any()


def test_weights_that_sum_to_zero_matter_only_to_the_mean_of_labels() -> None:
    problem = fit(targets(soft=[[0.5, 0.25, 0.25]], class_weights=[0.0, 0.0, 0.0]))
    assert METHODS["exact"].evaluate(problem).loss == 0


def test_weights_that_cancel_are_a_warning_that_names_the_class() -> None:
    said = (
        "class weights cancel: under mean, the weight of class 1, the only one among the labels, is divided by itself; "
        "the reduction sum keeps it"
    )
    weights = [1.0, 3.0, 2.0]
    assert targets(labels=[1], class_weights=weights).warnings == [said]
    assert targets(labels=[1, 1, 0], class_weights=weights, ignore_index=0).warnings == [said]


@pytest.mark.parametrize(
    "changed",
    [
        {"labels": [1, 0]},
        {"reduction": "sum"},
        {"reduction": "none"},
        {"label_smoothing": 0.1},
        {"class_weights": None},
        {"labels": None, "soft": [[0.0, 1.0, 0.0]]},
    ],
)
def test_weights_that_do_not_cancel_are_no_warning(changed: dict[str, Any]) -> None:
    given = {"labels": [1], "class_weights": [1.0, 3.0, 2.0]}
    assert targets(**given | changed).warnings == []


def test_an_ignored_row_has_no_label_and_does_not_count() -> None:
    stated = targets(labels=[1, 5, 0], ignore_index=5)
    assert stated.kept.tolist() == [True, False, True]
    assert stated.label_of_rows.tolist() == [1, -1, 0]


def test_one_soft_target_is_that_of_one_row() -> None:
    assert Targets(soft=[0.25, 0.75]).soft.tolist() == [[0.25, 0.75]]  # type: ignore[union-attr]


def test_the_class_of_a_row_is_its_label_or_the_only_one_of_its_targets() -> None:
    ignoring = Targets([[0, 2], [2, 1]], ignore_index=2)
    assert ignoring.label_of_rows.tolist() == [[0, -1], [-1, 1]]
    assert ignoring.kept.tolist() == [[True, False], [False, True]] and not ignoring.count_all
    soft = Targets(soft=[[0, 1, 0], [0.5, 0.5, 0], [1, 1, 0], [0, 0, 0], [2, 0, 0], [1, 0, 0.5], [0, 0, 1]])
    assert soft.label_of_rows.tolist() == [1, -1, -1, -1, -1, -1, 2]
    assert soft.kept.all() and not soft.are_one_hot
    stack = Targets(soft=[[[0, 1, 0], [1, 0, 0]], [[0.5, 0.5, 0], [0, 1, 1]]])
    assert stack.label_of_rows.tolist() == [[1, 0], [-1, -1]] and stack.kept.shape == (2, 2)
    assert Targets([1]).are_one_hot and not Targets([1], label_smoothing=0.1).are_one_hot
    assert Targets([1]).count_all and not Targets([1], class_weights=[1, 2]).count_all


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(
    "options",
    [
        {"labels": [0, 2, 2, 1]},
        {"labels": [0, 2, 2, 1], "ignore_index": 2},
        {"labels": [0, 2, 2, 0], "class_weights": [0.5, 4.0, 3.0]},
        {"labels": [0, 2, 2, 1], "class_weights": [0.5, 4.0, 3.0], "ignore_index": 1},
        {"labels": [0, 2, 2, 0], "class_weights": [1e308, 1e308, 5e307]},
        {"labels": [0, 2, 2, 1], "label_smoothing": 0.25},
        {"labels": [0, 2, 2, 1], "label_smoothing": 0.25, "ignore_index": 0},
        {"labels": [0, 2, 2, 1], "label_smoothing": 0.25, "class_weights": [0.5, 4.0, 3.0]},
        {"soft": [[0.25, 0.75, 0], [1, 0, 0]]},
        {"soft": [[0.25, 0.75, 0], [1, 0, 0]], "class_weights": [0.5, 4.0, 3.0], "label_smoothing": 0.5},
    ],
)
def test_q_is_its_formula_in_fractions(options: dict[str, Any], reduction: str, dtype: str) -> None:
    """w ((1 - eps) y + eps / T) / divisor, and for labels in one number a row; of all rows and of some."""
    targets, n_classes = Targets(**options, reduction=reduction), 3
    smoothing = Fraction(options.get("label_smoothing", 0.0))
    weights = [Fraction(w) for w in options.get("class_weights", [1, 1, 1])]
    is_weighed = "class_weights" in options and "labels" in options
    if "labels" in options:
        rows = [[Fraction(label == t) for t in range(n_classes)] for label in options["labels"]]
        kept = [label != options.get("ignore_index") for label in options["labels"]]
        of_rows = [weights[label] if is_weighed else Fraction(1) for label in options["labels"]]
    else:
        rows = [[Fraction(y) for y in row] for row in options["soft"]]
        kept, of_rows = [True] * len(rows), [Fraction(1)] * len(rows)
    total = sum((w for w, keep in zip(of_rows, kept, strict=True) if keep), Fraction(0))
    divisor = total if reduction == "mean" else Fraction(1)
    expected = [
        [
            keep * w * ((1 - smoothing) * y + smoothing / n_classes) / divisor
            for w, y in zip(weights, row, strict=True)
        ]
        for row, keep in zip(rows, kept, strict=True)
    ]
    assert targets.divisor == divisor
    assert targets.fractions(n_classes) == expected
    floats = np.array(expected).astype(float)
    rtol = 4 * float(np.finfo(dtype).eps)
    found = targets.effective(n_classes, np.dtype(dtype))
    if floats.max() < np.finfo(dtype).max:
        assert found.dtype == dtype
        np.testing.assert_allclose(found, floats, rtol=rtol, atol=0)
    some = targets.effective(n_classes, np.dtype(dtype), slice(1, 3))
    np.testing.assert_array_equal(some, found[1:3])
    if targets.are_one_hot:
        masses = targets.masses(np.dtype(dtype))
        assert masses.dtype == dtype
        np.testing.assert_allclose(masses, found.sum(axis=-1), rtol=rtol, atol=0)


@pytest.mark.parametrize(
    ("options", "rows", "n_classes", "said"),
    [
        ({"labels": [0, 1]}, (2,), 2, ""),
        ({"labels": [0, 2]}, (2,), 2, "label 2 is out of range; labels are zero-based: 0 to 1"),
        ({"labels": [0, 1]}, (2,), 1, "label 1 is out of range; labels are zero-based: only 0, since there is one "
         "class"),
        ({"labels": [-1]}, (1,), 2, "label -1 is out of range; labels are zero-based: 0 to 1"),
        ({"labels": [1, -100]}, (2,), 2, "label -100 is out of range; labels are zero-based: 0 to 1; to ignore such "
         "rows, as PyTorch does, say ignore_index -100"),
        ({"labels": [1, -100], "ignore_index": -100}, (2,), 2, ""),
        ({"labels": [0]}, (3,), 2, "label has 1 row but x has 3"),
        ({"labels": [[0]]}, (3,), 2, "targets are for rows of shape (1, 1), but x has rows of shape (3,)"),
        ({"labels": [[0]]}, (1, 3), 2, "targets are for rows of shape (1, 1), but x has rows of shape (1, 3)"),
        ({"soft": [[0.5, 0.5]]}, (1,), 3, "label has 2 numbers but W has 3 classes; a target holds one number for each "
         "class"),
        ({"soft": [[0.5, 0.5]]}, (1,), 2, ""),
        ({"labels": [0], "class_weights": [1]}, (1,), 2, "class_weights has 1 number but W has 2 classes"),
        ({"labels": [1], "ignore_index": 1}, (1,), 2, "every row has the label 1, which is ignored: the mean over no "
         "row is 0/0"),
        ({"labels": [1], "ignore_index": 1, "reduction": "sum"}, (1,), 2, ""),
        ({"labels": [[1], [0]], "ignore_index": 1}, (2, 1), 2, "every row has the label 1, which is ignored: the mean "
         "over no row is 0/0"),
        ({"labels": [1], "class_weights": [1, 0]}, (1,), 2, "the class weights of all labels are 0: their mean is 0/0"),
        ({"labels": [1, 0], "class_weights": [1, 0]}, (2,), 2, ""),
        ({"labels": [1], "class_weights": [1, 0], "reduction": "sum"}, (1,), 2, ""),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_rows_and_classes_is_told(
    options: dict[str, Any], rows: tuple[int, ...], n_classes: int, said: str
) -> None:
    assert next((sentence for sentence, _ in Targets(**options).faults(rows, n_classes)), "") == said


def test_weights_that_cancel_and_targets_that_do_not_sum_to_one_are_warned_of() -> None:
    weight = "the weight of class 1, the only one among the labels"
    cancel = f"class weights cancel: under mean, {weight}, is divided by itself"
    weighed: dict[str, Any] = {"class_weights": [1, 2]}
    for options, warned in [
        ({"labels": [1, 1]} | weighed, [f"{cancel}; the reduction sum keeps it"]),
        ({"labels": [1, 0], "ignore_index": 0} | weighed, [f"{cancel}; the reduction sum keeps it"]),
        ({"labels": [1, 0]} | weighed, []),
        ({"labels": [1, 1]}, []),
        ({"labels": [1, 1], "reduction": "sum"} | weighed, []),
        ({"labels": [1, 1], "label_smoothing": 0.1} | weighed, []),
        ({"soft": [[0.5, 0.5]]}, []),
        ({"soft": [[0.1] * 10]}, []),
        ({"soft": [[0.5, 0.5 + 2.0**-52]]}, []),
        ({"soft": [[0.5, 0.5 + 2.0**-51]]}, ["the target sums to 1, not to 1; it is used as it is"]),
        ({"soft": [[0.5, 1]]}, ["the target sums to 1.5, not to 1; it is used as it is"]),
        ({"soft": [[0.5, 0.5], [1e308, 1e308], [0, 0]]},
         ["2 of 3 targets do not sum to 1 (that of row 1 to inf); they are used as they are"]),
    ]:  # fmt: skip
        assert Targets(**options).warnings == warned


def test_a_smoothing_of_numpy_is_a_number_of_python() -> None:
    """In which float32 does not round what follows."""
    assert type(Targets([0], label_smoothing=np.float32(0.5)).label_smoothing) is float  # type: ignore[arg-type]
    assert type(Targets([0], label_smoothing=1).label_smoothing) is float
