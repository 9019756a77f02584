"""Every mistake is named when it can be told, and nothing else is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from mistakes import (
    MISTAKES,
    PAIRS,
    independent_numbers,
    mild_problem,
    no_slip,
    permuted,
    plain,
    right,
    softmax,
    through,
)
from seed import PROBLEM as SEED
from strategies import problem_of_any_size, random_problem
from xegrad import METHODS, SLIPS, InputError, Problem, Targets, Tolerance, diagnose, judge
from xegrad.blindness import blind_spots
from xegrad.diagnosis import diagnose_loss, hypotheses, search
from xegrad.judgement import RIGHT, WRONG
from xegrad.slips import formulas
from xegrad.slips.formulas import in_format, smoothings
from xegrad.slips.making import apply

# As the derivation prints it: the flat gradient cut by reshape(W.shape).
PRINTED = [
    [0.01909135, 0.09545676, 0.07636541, 0.02035314, 0.10176572],
    [0.08141258, -0.07830167, -0.39150833, -0.31320667, 0.02313243],
    [0.11566214, 0.09252971, 0.01572474, 0.07862371, 0.06289897],
]


def exactly(problem: Problem, *names: str) -> Any:
    return METHODS["exact"].evaluate(problem, ("weights", *names))


def names_of(problem: Problem, candidate: Any, **options: Any) -> tuple[tuple[str, ...], ...]:
    extra = (options["with_respect_to"],) if "with_respect_to" in options else ()
    return diagnose(problem, exactly(problem, *extra), candidate, **options).names


def batch(seed: int = 0, n_rows: int = 4) -> Problem:
    random = np.random.default_rng(seed)
    return Problem(
        random.normal(size=(3, 5)),
        random.normal(size=(n_rows, 3)),
        Targets(labels=np.arange(n_rows) % 4),
        random.normal(size=5),
    )


def random_batch(n_rows: int, n_inputs: int, n_classes: int) -> Problem:
    random = np.random.default_rng(0)
    return Problem(
        random.normal(size=(n_inputs, n_classes)),
        random.normal(size=(n_rows, n_inputs)),
        Targets(labels=np.arange(n_rows) % n_classes),
    )


# The whole table.


def is_told_apart(name: str, problem: Problem) -> bool:
    """Whether there are more numbers than free ones."""
    free = SLIPS[name].free is not None or name == "low-precision"
    return independent_numbers(problem) >= 1 + free


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_wherever_it_can_be_told(name: str) -> None:
    """Ten random problems; two hundred in benchmarks/slips.py."""
    random = np.random.default_rng(11)
    told = 0
    for _ in range(10):
        problem = mild_problem(random)
        exact = exactly(problem)
        for make in MISTAKES[name]:
            candidate = make(plain(problem), random)
            same_shape = candidate.shape == problem.weights.shape
            if same_shape and judge(problem, exact, candidate, Tolerance()).outcome != WRONG:
                continue
            is_zero = name != "all-zero" and np.abs(candidate).max() < 1e-12  # whatever made it so
            if is_zero or not is_told_apart(name, problem):
                continue
            told += 1
            assert (name,) in diagnose(problem, exact, candidate).names
    assert told


@pytest.mark.parametrize("pair", PAIRS, ids=" + ".join)
def test_a_pair_that_was_seen_is_named(pair: tuple[str, str]) -> None:
    random, named = np.random.default_rng(12), 0
    for _ in range(12):
        problem = mild_problem(random)
        # With one row over the rows is an axis of length one, and a softmax of ones is even; a layout of one
        # row is none; with two classes a sign is a permutation, which is one slip.
        if min(problem.weights.shape) < 2 or problem.n_rows < 2 or problem.n_classes == 2:
            continue
        candidate = PAIRS[pair](plain(problem), random)
        found = names_of(problem, candidate)
        assert found
        if len(found[0]) == 2:  # else one slip makes the same
            named += 1
            assert {*pair} in [{*names} for names in found]
    assert named


def test_wrong_gradients_that_are_no_slip_get_no_name() -> None:
    """Sixty; ten thousand in benchmarks/slips.py."""
    random = np.random.default_rng(13)
    for _ in range(60):
        problem = mild_problem(random)
        _, candidate = no_slip(problem, random)
        assert names_of(problem, candidate) == ()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_right_gradients_get_no_name(dtype: str) -> None:
    random, n_right = np.random.default_rng(14), 0
    for _ in range(100):
        problem = mild_problem(random)
        parts = plain(problem)
        narrow = parts._replace(W=parts.W.astype(dtype), X=parts.X.astype(dtype), b=parts.b.astype(dtype))
        candidate = right(narrow).astype(dtype)
        tolerance = Tolerance(precision=dtype)
        if judge(problem, exactly(problem), candidate, tolerance).outcome == RIGHT:
            n_right += 1
            assert names_of(problem, candidate, tolerance=tolerance) == ()
    assert n_right > 50  # the others have lost their digits, or have a bound that says nothing


# As seen in the wild.


def smoothed_batch(**options: Any) -> Problem:
    problem = batch()
    return replace(problem, targets=replace(problem.targets, label_smoothing=0.1, **options))


def test_another_eps_than_the_problems_is_said_beside_it() -> None:
    problem = smoothed_batch()
    other = replace(problem, targets=replace(problem.targets, label_smoothing=0.25))
    (explanation,) = diagnose(problem, exactly(problem), right(plain(other))).explanations
    assert explanation.slips == ("label-smoothed",)
    assert explanation.texts["eps"] == "0.25"
    assert "the problem says 0.1" in explanation.happened
    assert (explanation.wrong, explanation.right) == ("eps = 0.25", "eps = 0.1")


def test_the_weight_of_the_label_for_its_whole_smoothed_row_is_named() -> None:
    """As w[label] * loss, where PyTorch has w of each class in the sum."""
    weights = np.array([1.0, 2.0, 3.0, 1.0, 0.5])
    problem = smoothed_batch(class_weights=weights)
    of_rows = weights[problem.targets.labels]
    targets = 0.9 * np.eye(5)[problem.targets.labels] + 0.1 / 5
    dz = of_rows[:, None] * (softmax(plain(problem).Z) - targets) / of_rows.sum()
    (explanation,) = diagnose(problem, exactly(problem), problem.inputs.T @ dz).explanations
    assert explanation.slips == ("smoothed-otherwise",)
    assert explanation.parameters["weights"] == "of the label"


# Rows.


@pytest.mark.parametrize("is_over_all", [False, True])
def test_an_ignored_row_that_keeps_its_probabilities_is_named_though_its_label_is_a_class(
    is_over_all: bool,
) -> None:
    problem = batch(n_rows=6)
    problem = replace(problem, targets=replace(problem.targets, ignore_index=0))
    assert problem.targets.labels is not None
    kept = problem.targets.labels != 0
    one_hot = np.eye(5)[problem.targets.labels] * kept[:, None]
    candidate = problem.inputs.T @ (softmax(plain(problem).Z) - one_hot) / (6 if is_over_all else kept.sum())
    (explanation,) = diagnose(problem, exactly(problem), candidate).explanations
    assert explanation.slips == ("option-ignored",)
    assert str(explanation.parameters["ignored"]).startswith("S")


def test_a_micro_batch_in_which_no_row_counts_is_averaged_too() -> None:
    """Micro-batches of two, with one row, one row and no row that counts: their mean is 2/3 of the mean."""
    problem = batch(n_rows=6)
    assert problem.targets.labels is not None
    labels = np.where(np.isin(np.arange(6), [0, 2]), problem.targets.labels, -100)
    problem = replace(problem, targets=replace(problem.targets, labels=labels, ignore_index=-100))
    (explanation,) = diagnose(problem, exactly(problem), right(plain(problem)) * 2 / 3).explanations
    assert explanation.slips == ("micro-batch-means",)
    assert explanation.parameters["size"] == 2


# Free numbers.


@pytest.mark.parametrize("is_new_before", [False, True])
def test_the_gradient_of_x_through_updated_weights_is_named(is_new_before: bool) -> None:
    """W -= eta dW comes before dx = dz W', and before dz, too."""
    problem = batch()
    parts = plain(problem)
    dz = parts.q * softmax(parts.Z) - parts.Q
    updated = parts._replace(W=parts.W - 0.1 * parts.X.T @ dz)
    if is_new_before:
        dz = updated.q * softmax(updated.Z) - updated.Q
    found = diagnose(problem, exactly(problem, "inputs"), dz @ updated.W.T, with_respect_to="inputs")
    (explanation,) = found.explanations
    assert explanation.slips == ("evaluated-after-update",)
    assert explanation.texts["eta"] == "0.1"
    assert explanation.parameters["updated"] == ("W" if is_new_before else "W of R W'")


def test_a_guard_in_the_sum_of_exponentials_is_named_with_its_size() -> None:
    problem = batch()
    parts = plain(problem)
    e = np.exp(parts.Z - parts.Z.max(axis=1, keepdims=True))
    s = e / (e.sum(axis=1, keepdims=True) + 1e-8)
    (explanation,) = diagnose(problem, exactly(problem), parts.X.T @ (parts.q * s - parts.Q)).explanations
    assert explanation.slips == ("wrong-denominator",)
    assert abs(float(explanation.parameters["k"]) / 1e-8 - 1) < 1e-4
    assert "where the largest e^z is 1" in explanation.happened


def test_a_limit_of_probabilities_that_is_no_known_constant_is_read_from_the_candidate() -> None:
    problem = batch()
    parts = plain(problem)
    s = softmax(parts.Z)
    limit = float(np.sort(s.ravel())[4] * 1.01)  # five are below
    candidate = parts.X.T @ (parts.q * np.maximum(s, limit) - parts.Q)
    (explanation,) = diagnose(problem, exactly(problem), candidate).explanations
    assert explanation.slips == ("probabilities-clipped",)
    assert abs(float(explanation.parameters["eps"]) / limit - 1) < 1e-9


def test_one_residual_that_is_off_is_no_limit_and_no_smoothing() -> None:
    """Any multiple of it fits one; the row is told instead."""
    problem = batch(n_rows=3)
    parts = plain(problem)
    for row, column in np.ndindex(3, 5):
        dz = parts.q * softmax(parts.Z) - parts.Q
        dz[row, column] *= 1.2
        assert names_of(problem, parts.X.T @ dz) == ()


@pytest.mark.parametrize("n_classes", [2, 3, 4, 8, 64, 100])
def test_no_formula_of_smoothing_is_another_by_a_second_name(n_classes: int) -> None:
    """At eps = 0.1 and 0.3, of one label: the targets, and what multiplies S."""

    def of(formula: Any, eps: float) -> tuple[float, ...]:
        label, other = ((1 - formula.taken * eps) * y + formula.added * eps + formula.always for y in (1, 0))
        mass = label + (n_classes - 1) * other if formula.sums else 1.0
        return tuple(round(one, 12) for one in (label, other, mass))

    formulas = smoothings(n_classes)
    assert next(iter(formulas)) == "eps/T"
    assert len({(of(one, 0.1), of(one, 0.3)) for one in formulas.values()}) == len(formulas)


def test_the_derivations_printed_matrix_is_a_scrambled_reshape() -> None:
    found = diagnose(SEED, exactly(SEED), np.array(PRINTED), resolution=np.full((3, 5), 0.5e-8))
    assert found.names == (("scrambled-reshape",),)
    (explanation,) = found.explanations
    assert (explanation.explains, explanation.entries) == (15, 15)
    assert explanation.right == "flat.reshape(5, 3).T"
    assert "reshape(3, 5)" in explanation.happened


def test_a_flat_gradient_class_by_class_is_scrambled_and_in_the_order_of_the_weights_right() -> None:
    gradient = exactly(SEED).gradients["weights"]
    assert names_of(SEED, gradient.T.ravel()) == (("scrambled-reshape",),)
    assert names_of(SEED, gradient.ravel()) == ()


def test_a_transposed_gradient_is_transposed_and_one_reshaped_to_that_is_scrambled() -> None:
    gradient = exactly(SEED).gradients["weights"]
    assert names_of(SEED, gradient.T) == (("transposed",),)
    assert names_of(SEED, gradient.reshape(5, 3)) == (("scrambled-reshape",),)
    assert names_of(SEED, -gradient.T) == (("transposed", "sign-flipped"),)


def test_a_candidate_of_another_size_is_no_candidate() -> None:
    with pytest.raises(InputError, match="the gradient is 14 numbers, but 3 x 5 is expected"):
        diagnose(SEED, exactly(SEED), np.zeros(14))


def test_a_gradient_of_the_diagonal_alone_is_named() -> None:
    s = softmax(SEED.inputs @ SEED.weights)[0]
    dxe = np.zeros(5)
    dxe[2] = -1 / s[2]
    candidate = np.outer(SEED.inputs[0], dxe * (s * (1 - s)))
    assert names_of(SEED, candidate) == (("jacobian-diagonal",),)


def test_a_float32_gradient_averaged_twice_is_scaled_by_one_over_b() -> None:
    problem = batch(n_rows=6)
    x, w, b = (
        part.astype(np.float32)
        for part in (problem.inputs, problem.weights, problem.bias)
        if part is not None
    )
    dz = softmax(x @ w + b)
    dz[np.arange(6), problem.targets.labels] -= 1
    candidate = x.T @ (dz / 6) / np.float32(6)
    (explanation,) = diagnose(
        problem, exactly(problem), candidate, Tolerance(precision="float32")
    ).explanations
    assert explanation.slips == ("scaled",)
    assert "1/B" in explanation.texts["named"].split(", ")
    assert abs(float(explanation.parameters["k"]) - 1 / 6) < 1e-12


def test_labels_shifted_by_one_row_are_misaligned_by_one() -> None:
    problem = batch()
    labels = np.roll(problem.targets.labels, -1) if problem.targets.labels is not None else None
    dz = softmax(plain(problem).Z)
    dz[np.arange(4), labels] -= 1
    (explanation,) = diagnose(problem, exactly(problem), problem.inputs.T @ dz / 4).explanations
    assert explanation.slips == ("labels-misaligned",)
    assert explanation.parameters["k"] == 1


def test_rows_dropped_at_the_end_are_misaligned_too() -> None:
    problem = batch()
    z = plain(problem).Z
    assert problem.targets.labels is not None
    dz = softmax(z[:-1])
    dz[np.arange(3), problem.targets.labels[1:]] -= 1
    (explanation,) = diagnose(problem, exactly(problem), problem.inputs[:-1].T @ dz / 3).explanations
    assert explanation.slips == ("labels-misaligned",)
    assert "dropped" in str(explanation.parameters["ends"])


def test_a_label_counted_from_one_is_a_wrong_label_and_says_which() -> None:
    s = softmax(SEED.inputs @ SEED.weights)
    s[0, 3] -= 1
    (explanation,) = diagnose(SEED, exactly(SEED), SEED.inputs.T @ s).explanations
    assert explanation.slips == ("wrong-label",)
    assert (explanation.parameters["label"], explanation.parameters["instead"]) == (2, 3)
    assert "class 3" in explanation.happened


def test_the_numbers_of_a_slip_are_found() -> None:
    gradient = exactly(SEED).gradients["weights"]
    z = SEED.inputs @ SEED.weights
    hot = np.eye(5)[[2]]
    for candidate, name, parameter, value in (
        (gradient + 0.05 * SEED.weights, "weight-decay-included", "lambda", 0.05),
        (SEED.weights - 0.25 * gradient, "weights-updated", "eta", 0.25),
        (SEED.inputs.T @ (softmax(z / 1.7) - hot), "temperature", "tau", 1.7),
        (SEED.inputs.T @ (softmax(z) - (0.9 * hot + 0.02)), "label-smoothed", "eps", 0.1),
        (np.clip(gradient, -0.05, 0.05), "clipped", "limit", 0.05),
    ):
        (explanation,) = diagnose(SEED, exactly(SEED), candidate).explanations
        assert explanation.slips == (name,)
        assert float(explanation.parameters[parameter]) == pytest.approx(value, rel=1e-9)
        assert explanation.texts[parameter] == f"{value:g}"


def test_a_factor_is_printed_with_the_digits_that_tell_it_from_one() -> None:
    """What printing leaves of 1.003 determines two digits, which would read 1."""
    candidate = 1.003 * exactly(SEED).gradients["weights"]
    resolution = np.full((3, 5), 2e-5)
    (explanation,) = diagnose(SEED, exactly(SEED), candidate, resolution=resolution).explanations
    assert explanation.slips == ("scaled",)
    assert explanation.texts["k"] == "1.003"
    assert "Every entry is 1.003 times" in explanation.happened


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("weight-decay-included", "lambda"),
        ("label-smoothed", "eps"),
        ("weights-updated", "eta"),
        ("scaled", "k"),
    ],
)
def test_a_number_on_a_line_is_found_in_what_was_printed_or_stored(name: str, number: str) -> None:
    parameters: dict[str, Any] = {number: 0.4}
    for seed in range(20):
        problem = batch(seed)
        wrong = apply(problem, [name], **parameters)
        assert (name,) in names_of(problem, np.round(wrong, 6), resolution=0.5e-6)
        stored = in_format(wrong, "bfloat16")
        assert (name,) in names_of(problem, stored, tolerance=Tolerance(stored_as="bfloat16"))


def test_smoothing_spread_over_the_other_classes_has_its_own_number() -> None:
    hot = np.eye(5)[[2]]
    targets = 0.9 * hot + 0.1 / 4 * (1 - hot)
    candidate = SEED.inputs.T @ (softmax(SEED.inputs @ SEED.weights) - targets)
    (explanation,) = diagnose(SEED, exactly(SEED), candidate).explanations
    assert float(explanation.parameters["eps_of_others"]) == pytest.approx(0.1, rel=1e-9)


def test_a_number_that_follows_from_another_has_six_digits() -> None:
    """1/3 over all seven classes is 2/7 over the other six."""
    problem = random_batch(3, 4, 7)
    other = replace(problem, targets=replace(problem.targets, label_smoothing=1 / 3))
    one = explained(problem, right(plain(other)))
    assert (one.slips, one.texts["eps_of_others"]) == (("label-smoothed",), f"{2 / 7:.6g}")


def test_weights_that_hardly_moved_are_updated_by_too_little_to_tell() -> None:
    (explanation,) = diagnose(SEED, exactly(SEED), SEED.weights).explanations
    assert explanation.slips == ("weights-updated",)
    assert explanation.parameters["eta"] == "too small to tell"


def test_ignored_rows_that_are_kept_are_an_option_ignored() -> None:
    plainly = batch()
    problem = Problem(
        plainly.weights,
        plainly.inputs,
        Targets(labels=np.array([0, -100, 2, 3]), ignore_index=-100),
        plainly.bias,
    )
    # Label -100 is no class, so its one-hot row is zero.
    hot = np.array([np.arange(5) == label for label in (0, -100, 2, 3)])
    dz = softmax(plain(problem).Z) - hot
    (explanation,) = diagnose(problem, exactly(problem), problem.inputs.T @ dz / 4).explanations
    assert explanation.parameters == {"option": "ignore_index"}


def test_a_mean_over_all_rows_in_place_of_those_kept_names_both_counts() -> None:
    plainly = batch()
    problem = Problem(
        plainly.weights,
        plainly.inputs,
        Targets(labels=np.array([0, -100, 2, 3]), ignore_index=-100),
        plainly.bias,
    )
    candidate = exactly(problem).gradients["weights"] * 3 / 4
    (explanation,) = diagnose(problem, exactly(problem), candidate).explanations
    assert "all rows (4)" in explanation.texts["named"]
    assert "kept rows (3)" in explanation.texts["named"]


def test_sorted_names_are_an_alphabetical_order() -> None:
    problem = Problem(SEED.weights, SEED.inputs, SEED.targets, None, ("dog", "cat", "eel", "ant", "bee"))
    candidate = exactly(problem).gradients["weights"][:, [3, 4, 1, 0, 2]]
    (explanation,) = diagnose(problem, exactly(problem), candidate).explanations
    assert explanation.slips == ("classes-permuted",)
    assert explanation.parameters == {"order": "alphabetical", "columns": "3 4 1 0 2"}


def test_an_order_of_its_own_is_spelled_out() -> None:
    candidate = exactly(SEED).gradients["weights"][:, [1, 0, 3, 2, 4]]
    (explanation,) = diagnose(SEED, exactly(SEED), candidate).explanations
    assert explanation.parameters["order"] == "1 0 3 2 4"


@pytest.mark.parametrize("n_rows", [1, 3])
def test_all_zero_names_the_softmax_over_one_row_where_there_is_one(n_rows: int) -> None:
    one = explained(random_batch(n_rows, 3, 4), np.zeros((3, 4)))
    assert ("the derivative of a softmax over an axis of length one" in one.happened) is (n_rows == 1)


def test_all_zero_says_that_the_problem_is_saturated() -> None:
    saturated = Problem(np.array([[46.05, 0.0, -1.0]]), np.array([[1.0]]), Targets(labels=np.array([0])))
    (explanation,) = diagnose(saturated, exactly(saturated), np.zeros((1, 3))).explanations
    assert explanation.slips == ("all-zero",)
    assert "saturated" in explanation.happened
    (explanation,) = diagnose(SEED, exactly(SEED), np.zeros((3, 5))).explanations
    assert "saturated" not in explanation.happened


def test_a_gradient_that_went_through_float16_is_of_low_precision() -> None:
    candidate = exactly(SEED).gradients["weights"].astype(np.float16).astype(np.float64)
    (explanation,) = diagnose(SEED, exactly(SEED), candidate).explanations
    assert (explanation.slips, explanation.parameters) == (("low-precision",), {"format": "float16"})


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        (lambda gradient: -gradient, "sign-flipped"),
        (lambda gradient: 2 * gradient, "scaled"),
        (lambda gradient: gradient[:, [1, 0, 3, 2, 4]], "classes-permuted"),
    ],
    ids=["sign-flipped", "scaled", "classes-permuted"],
)
@pytest.mark.parametrize(
    ("stored", "format_name"),
    [
        (lambda gradient: gradient.astype(np.float32).astype(np.float64), "float32"),
        (lambda gradient: np.round(gradient, 6), "6 decimals"),
    ],
    ids=["float32", "6 decimals"],
)
def test_a_mistake_whose_result_was_stored_in_fewer_digits_is_named_with_them(
    wrong: Any, name: str, stored: Any, format_name: str
) -> None:
    candidate = stored(wrong(exactly(SEED).gradients["weights"]))
    (explanation,) = diagnose(SEED, exactly(SEED), candidate).explanations
    assert explanation.slips == (name, "low-precision")
    assert explanation.parameters["format"] == format_name
    assert (explanation.explains, explanation.entries) == (15, 15)


def test_a_slip_of_the_layer_in_a_transposed_gradient_is_a_pair() -> None:
    s = softmax(SEED.inputs @ SEED.weights)
    candidate = (SEED.inputs.T @ (softmax(s) - np.eye(5)[[2]])).T
    assert names_of(SEED, candidate) == (("softmax-twice", "transposed"),)


def test_two_slips_of_the_layer_are_a_pair() -> None:
    parts = plain(batch())
    candidate = parts.X.T @ (parts.q * softmax(softmax(parts.X @ parts.W)) - parts.Q)
    assert names_of(batch(), candidate) == (("bias-wrong", "softmax-twice"),)


def test_another_denominator_is_in_no_pair() -> None:
    """Though it comes near by itself: it is one of those that have too many forms."""
    parts = plain(random_batch(3, 4, 5))
    targets = (1 - 1e-12) * parts.Q + 1e-12 / 5 * parts.q
    candidate = parts.X.T @ (parts.q * softmax(parts.Z) / 2 - targets)
    assert names_of(random_batch(3, 4, 5), candidate) == ()


def test_a_factor_of_a_transposed_gradient_is_a_pair() -> None:
    problem = batch()
    for factor in (2.5, -2.5):
        candidate = factor * exactly(problem).gradients["weights"].T
        assert names_of(problem, candidate) == (("transposed", "scaled"),)


def test_the_label_of_the_only_row_is_in_pairs_too() -> None:
    problem = batch(n_rows=1)
    other = replace(problem, targets=Targets(labels=np.array([3])))
    assert names_of(problem, exactly(other).gradients["weights"].T) == (("wrong-label", "transposed"),)


def explained(problem: Problem, candidate: Any, name: str = "weights") -> Any:
    """The first explanation."""
    return diagnose(problem, exactly(problem, name), candidate, with_respect_to=name).explanations[0]


def options_of(problem: Problem, **options: Any) -> Problem:
    return replace(problem, targets=replace(problem.targets, **options))


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ([2], "Row 2 contributes nothing"),
        ([6, 7], "Rows 6 to 7, the last 2, contribute nothing"),
        ([0, 1, 2], "Rows 0 to 2, the first 3, contribute nothing"),
        ([1, 3, 5, 7], "Every 2nd row, from row 1, contributes nothing"),
        ([0, 3, 4], "Rows 0, 3, 4 (3 of 8) contribute nothing"),
    ],
)
@pytest.mark.parametrize("divisor", ["all rows", "the rest"])
def test_rows_that_are_left_out_are_named_one_by_one_or_as_a_pattern(
    missing: list[int], words: str, divisor: str
) -> None:
    problem = batch(n_rows=8)
    r = softmax(plain(problem).Z) - np.eye(5)[problem.targets.labels]
    r[missing] = 0
    count = 8 if divisor == "all rows" else 8 - len(missing)
    for name, candidate in (("weights", problem.inputs.T @ r / count), ("logits", r / count)):
        found = explained(problem, candidate, name)
        assert (found.slips, found.parameters["divisor"]) == (("rows-left-out",), divisor)
        assert found.happened.startswith(words)


def test_rows_that_the_gradient_does_not_determine_are_found_by_their_pattern() -> None:
    """64 rows, and 12 numbers: the last 5 are tried, and 5 anywhere are not."""
    problem = batch(n_rows=64)
    r = (softmax(plain(problem).Z) - np.eye(5)[problem.targets.labels]) / 64
    last, anywhere = r.copy(), r.copy()
    last[-5:] = 0
    anywhere[[1, 17, 30, 31, 60]] = 0
    assert explained(problem, problem.inputs.T @ last).parameters["rows"] == "59 60 61 62 63"
    assert names_of(problem, problem.inputs.T @ anywhere) == ()


@pytest.mark.parametrize("name", ["weights", "bias", "logits"])
def test_of_many_labels_those_that_the_columns_point_to_are_tried(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (hypotheses, formulas):
        monkeypatch.setattr(module, "MOST_LABELS", 0)
    problem = batch(n_rows=5)
    other = replace(problem, targets=Targets(labels=np.array([0, 1, 4, 3, 0])))
    one = explained(problem, exactly(other, name).gradients[name], name)
    assert one.parameters == {"row": 2, "label": 2, "instead": 4}


def test_labels_counted_from_one_say_so_and_from_minus_one_do_not() -> None:
    problem = batch()
    s = softmax(plain(problem).Z)
    for shift, wrong in ((1, "S[label + 1] -= 1"), (-1, "S[label - 1] -= 1")):
        hot = np.eye(7)[np.array([0, 1, 2, 3]) + 1 + shift][:, 1:6]
        found = explained(problem, problem.inputs.T @ (s - hot) / 4)
        assert found.slips == ("wrong-label",)
        assert found.wrong.startswith(wrong)
        assert ("counted from one" in found.wrong) == (shift == 1)


def test_labels_in_the_order_of_sorted_names_are_renumbered_and_no_columns_moved() -> None:
    problem = replace(batch(), classes=("dog", "cat", "eel", "ant", "bee"))
    numbers = {name: k for k, name in enumerate(sorted(problem.classes or ()))}
    hot = np.eye(5)[[numbers[(problem.classes or ())[label]] for label in (0, 1, 2, 3)]]
    found = explained(problem, problem.inputs.T @ (softmax(plain(problem).Z) - hot) / 4)
    assert (found.slips, found.parameters) == (("wrong-label",), {"order": "alphabetical"})


def test_labels_in_an_order_of_their_own_are_spelled_out() -> None:
    problem = batch(n_rows=6)
    number = np.array([2, 4, 1, 0, 3])
    hot = np.eye(5)[number[np.arange(6) % 4]]
    found = explained(problem, problem.inputs.T @ (softmax(plain(problem).Z) - hot) / 6)
    assert (found.slips, found.parameters) == (("wrong-label",), {"order": "0 as 2, 1 as 4, 2 as 1, 3 as 0"})


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_what_becomes_of_ignored_rows_is_told(reduction: str) -> None:
    """In Targets ignored rows are 0; as S, smoothed, or alone they are another gradient each."""
    problem = options_of(
        batch(), labels=[0, -100, 2, 3], ignore_index=-100, label_smoothing=0.1, reduction=reduction
    )
    s, share = softmax(plain(problem).Z), 1 / 3 if reduction == "mean" else 1
    hot = np.array([np.arange(5) == label for label in (0, -100, 2, 3)])
    right_rows = share * (s - 0.9 * hot - 0.1 / 5)
    ignored = np.array([[False], [True], [False], [False]])
    for of_ignored, words in (
        (share * (s - 0.1 / 5), "S - eps/T is kept"),
        (share * 0.1 * (s - 1 / 5), "its smoothing eps/T is kept"),
    ):
        found = explained(problem, problem.inputs.T @ np.where(ignored, of_ignored, right_rows))
        assert found.slips == ("option-ignored",)
        assert words in found.happened
    inverted = np.where(ignored, s, 0)
    found = explained(problem, problem.inputs.T @ inverted)
    assert "the ignored rows alone count" in found.happened
    assert found.wrong == "dz[y != ignore_index] = 0"
    assert found.remedy == "Set the residual of the ignored rows to 0: dz[y == ignore_index] = 0."


def test_ignored_rows_kept_in_a_mean_over_the_others_are_not_called_a_sum_of_targets() -> None:
    problem = options_of(batch(), labels=[0, -100, 2, 3], ignore_index=-100)
    hot = np.array([np.arange(5) == label for label in (0, -100, 2, 3)])
    candidate = problem.inputs.T @ (softmax(plain(problem).Z) - hot) / 3
    assert names_of(problem, candidate) == (("option-ignored",),)
    assert "weight" not in explained(problem, candidate).right


def test_rounding_that_is_left_of_zero_is_all_zero_and_a_small_gradient_is_not() -> None:
    problem = batch()
    r = (softmax(plain(problem).Z) - np.eye(5)[problem.targets.labels]) / 4
    everything = np.full(5, r.sum())
    assert 0 < np.abs(everything).max() < 1e-15
    found = explained(problem, everything, "bias")
    assert found.slips == ("all-zero",)
    assert found.happened.startswith("Every entry is 0, up to rounding")
    assert found.wrong.startswith("db")
    gradient = exactly(problem).gradients["weights"]
    assert names_of(problem, 1e-12 * gradient) == (("scaled",),)


@pytest.mark.parametrize("form", ["as it is", "reshaped"])
def test_the_gradient_of_x_by_an_untransposed_w_is_named(form: str) -> None:
    problem = batch()
    if form == "as it is":
        problem = Problem(problem.weights[:, :3], problem.inputs, Targets(labels=np.array([0, 1, 2, 0])))
    n_inputs, n_classes = problem.weights.shape
    parts = plain(problem)
    candidate = (softmax(parts.Z) / 4 - parts.Q) @ problem.weights.reshape(n_classes, n_inputs)
    found = explained(problem, candidate, "inputs")
    assert (found.slips, found.parameters) == (("weights-not-transposed",), {"W": form})


def test_a_micro_batch_says_how_large_it_is_and_whether_the_means_were_added_up() -> None:
    problem = batch(n_rows=7)
    r = softmax(plain(problem).Z) - np.eye(5)[problem.targets.labels]
    means = [problem.inputs[part].T @ r[part] / len(r[part]) for part in (slice(3), slice(3, 6), slice(6, 7))]
    for then, candidate in (("averaged", sum(means) / 3), ("added up", sum(means))):
        found = explained(problem, candidate)
        assert found.parameters == {"size": 3, "then": then}
        assert found.wrong.endswith("/ len(parts)") == (then == "averaged")
    equal = batch(n_rows=6)  # two micro-batches of three: the mean of the means is the mean
    assert judge(equal, exactly(equal), right(plain(equal)), Tolerance()).outcome == RIGHT


# What is said is true of this candidate.


def test_the_remedy_of_a_factor_is_that_of_this_factor() -> None:
    problem = batch()
    gradient = exactly(problem).gradients["weights"]
    for factor, advice in ((4, "number of rows"), (1 / 5, "mean over the 5 classes"), (1.37, "loss scale")):
        assert advice in explained(problem, factor * gradient).remedy
    assert explained(problem, gradient / 4).wrong == "dW = x.T @ dz / B / B"
    assert explained(problem, gradient / np.log(2)).wrong == "-np.log2(p[label])"
    total = exactly(problem, "bias").gradients["bias"] * 4
    found = explained(problem, total, "bias")
    assert (found.wrong, found.right) == ("db = dz.sum(axis=0)", "db = dz.sum(axis=0) / B")


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("weights", "dW = x.T @ dz"),
        ("bias", "db = dz.sum(axis=0)"),
        ("inputs", "dx = dz @ W.T"),
        ("logits", "dz = (s - y)"),
    ],
)
def test_the_wrong_line_is_that_of_the_gradient(name: str, made: str) -> None:
    problem = batch()
    averaged_twice = exactly(problem, name).gradients[name] / problem.n_rows
    assert explained(problem, averaged_twice, name).wrong == f"{made} / B / B"


def test_a_half_precision_gets_its_own_line_and_not_that_of_another() -> None:
    problem = batch()
    gradient = exactly(problem).gradients["weights"]
    for name in ("bfloat16", "float16"):
        found = explained(problem, in_format(gradient, name))
        assert found.happened.startswith(f"Every entry is the right one rounded to {name}.")
        assert name in found.wrong
        assert {"float16", "bfloat16"} - {name} == {
            other for other in ("float16", "bfloat16") if not found.wrong.endswith((f".{other})", f"{other}"))
        } - {name}
    apart = in_format(gradient, "float16")
    apart[0, 0] = np.nextafter(np.float16(apart[0, 0]), np.float16(9))
    for found in diagnose(problem, exactly(problem), apart).explanations:
        assert "the right one rounded" not in found.happened


def test_the_options_are_those_of_cross_entropy() -> None:
    problem = options_of(batch(), class_weights=np.array([1.0, 2.0, 3.0, 1.0, 0.5]))
    bare = options_of(problem, class_weights=None)
    assert explained(problem, right(plain(bare))).right == "cross_entropy(z, y, weight=...)"


# What coincides, and what cannot be told.


def test_with_as_many_inputs_as_classes_a_transpose_comes_before_a_reshape() -> None:
    problem = Problem(SEED.weights[:, :3], SEED.inputs, SEED.targets)
    candidate = exactly(problem).gradients["weights"].T.copy()
    assert names_of(problem, candidate) == (("transposed",), ("scrambled-reshape",), ("scrambled-reshape",))


def test_with_two_classes_a_sign_is_a_permutation_too() -> None:
    problem = Problem(SEED.weights[:, :2], SEED.inputs, Targets(labels=np.array([1])))
    found = names_of(problem, -exactly(problem).gradients["weights"])
    assert found[0] == ("sign-flipped",)
    assert ("classes-permuted",) in found


def test_with_one_example_a_logarithm_with_epsilon_is_a_scale() -> None:
    s = softmax(SEED.inputs @ SEED.weights)
    candidate = SEED.inputs.T @ ((s - np.eye(5)[[2]]) * s[0, 2] / (s[0, 2] + 0.01))
    assert names_of(SEED, candidate) == (("scaled",), ("log-epsilon",))


def test_at_zero_weights_all_that_is_a_multiple_is_listed() -> None:
    """DS is 1/T there, on what sums to zero."""
    problem = Problem(np.zeros((3, 5)), SEED.inputs, SEED.targets)
    found = names_of(problem, exactly(problem).gradients["weights"] / 5)
    assert found == (("softmax-twice",), ("scaled",), ("log-forgotten",), ("squared-error",))


def test_with_two_classes_and_one_example_no_free_number_is_fitted() -> None:
    """G then has one independent number, which any k explains."""
    problem = Problem(SEED.weights[:, :2], SEED.inputs, Targets(labels=np.array([1])))
    random = np.random.default_rng(15)
    for _ in range(40):
        candidate = SEED.inputs.T * random.normal() @ np.array([[1.0, -1.0]])
        assert all(len(names) == 1 and SEED_FREE.isdisjoint(names) for names in names_of(problem, candidate))


SEED_FREE = {name for name, slip in SLIPS.items() if slip.free}


def test_nothing_is_fitted_to_what_is_all_equal_or_not_finite() -> None:
    assert names_of(SEED, np.full((3, 5), 0.25)) == ()
    assert names_of(SEED, np.full((3, 5), np.nan)) == ()
    assert names_of(SEED, np.full((3, 5), np.inf)) == ()


def test_too_few_digits_give_no_name() -> None:
    """Two decimals of fifteen entries hold fewer than 24 bits against a free number."""
    candidate = np.round(1.37 * exactly(SEED).gradients["weights"], 1)
    assert names_of(SEED, candidate, resolution=np.full((3, 5), 0.05)) == ()


# With respect to the others, and with options.


@pytest.mark.parametrize("name", ["bias", "inputs", "logits"])
def test_gradients_of_the_other_parts_are_diagnosed(name: str) -> None:
    problem = batch()
    q = problem.targets.effective(5, np.dtype(np.float64))
    z = plain(problem).Z

    def carried(r: Any) -> Any:
        return {"bias": r.sum(axis=0), "inputs": r @ problem.weights.T, "logits": r}[name]

    for slip, r in (
        ("sign-flipped", q - softmax(z) / 4),
        ("softmax-twice", softmax(softmax(z)) / 4 - q),
        ("softmax-over-wrong-axis", softmax(z, 0) / 4 - q),
        ("scaled", (softmax(z) / 4 - q) / 4),
    ):
        assert (slip,) in names_of(problem, carried(r), with_respect_to=name)


def test_the_first_rows_residual_in_the_place_of_their_sum_is_named() -> None:
    problem = batch()
    q = problem.targets.effective(5, np.dtype(np.float64))
    r = softmax(plain(problem).Z) / 4 - q
    (explanation,) = diagnose(problem, exactly(problem, "bias"), r[0], with_respect_to="bias").explanations
    assert explanation.parameters == {"sum": "row 0 alone"}


# Digits that went.


def test_digits_that_one_minus_s_lost_are_explained() -> None:
    problem = Problem(np.array([[38.0, 0.0, -1.0]]), np.array([[1.0]]), Targets(labels=np.array([0])))
    candidate = softmax(problem.weights) - np.array([[1.0, 0.0, 0.0]])
    (explanation,) = diagnose(problem, exactly(problem), candidate).explanations
    assert (explanation.slips, explanation.explains) == ((), 1)
    assert "S_c is near 1: the exact 1 - S_c is 4.29e-17" in explanation.happened


# One number.


def test_a_loss_tells_what_it_can() -> None:
    exact = exactly(SEED)
    s = softmax(SEED.inputs @ SEED.weights)[0]
    loss = -np.log(s[2])
    for value, name in (
        (-loss, "sign-flipped"),
        (-np.log2(s[2]), "scaled"),
        (-np.log10(s[2]), "scaled"),
        (-np.log(s[3]), "wrong-label"),
        (((s - np.eye(5)[2]) ** 2).sum() / 2, "squared-error"),
    ):
        assert (name,) in diagnose_loss(SEED, exact, float(value)).names
    assert diagnose_loss(SEED, exact, 1.2345).names == ()
    assert diagnose_loss(SEED, exact, float(loss)).names == ()
    assert diagnose_loss(SEED, exact, round(2 * loss, 2), resolution=0.005).names == ()


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_loss_that_was_added_up_or_averaged_says_so(reduction: str) -> None:
    problem = options_of(batch(), reduction=reduction)
    exact = exactly(problem)
    other = exact.loss * (4 if reduction == "mean" else 1 / 4)
    (explanation,) = diagnose_loss(problem, exact, float(other)).explanations
    words = "the sum in place of the mean" if reduction == "mean" else "the mean in place of the sum"
    assert words in explanation.happened


def test_a_loss_without_its_logarithm_is_named() -> None:
    problem = batch()
    s = softmax(plain(problem).Z)
    loss = -s[np.arange(4), problem.targets.labels].mean()
    assert diagnose_loss(problem, exactly(problem), float(loss)).names == (("log-forgotten",),)


# What is not tried one by one.


def test_when_everything_has_been_tried_noise_has_no_name() -> None:
    random = np.random.default_rng(16)
    exact = exactly(SEED)
    for _ in range(8):
        assert diagnose(SEED, exact, random.normal(size=(3, 5))).names == ()


def test_a_permutation_of_many_classes_is_found_among_all() -> None:
    random = np.random.default_rng(17)
    problem = Problem(
        random.normal(size=(4, 40)), random.normal(size=(3, 4)), Targets(labels=np.array([1, 2, 3]))
    )
    assert names_of(problem, permuted(plain(problem), random)) == (("classes-permuted",),)


def test_of_seventeen_inputs_and_twenty_classes_sixteen_are_looked_at_first() -> None:
    problem = random_batch(2, 17, 20)
    assert names_of(problem, -exactly(problem).gradients["weights"]) == (("sign-flipped",),)


@pytest.mark.parametrize("decimals", [5, 6, 7])
def test_decimals_of_small_numbers_are_decimals_of_float32_too(decimals: int) -> None:
    problem = random_batch(4, 3, 5)
    small = replace(problem, inputs=problem.inputs / 1000)
    candidate = np.round(exactly(small).gradients["weights"].astype(np.float32), decimals)
    assert names_of(small, candidate, tolerance=Tolerance(precision="float32")) == (("low-precision",),)


@pytest.mark.parametrize(("most", "names"), [(12, (("transposed", "scaled"),)), (11, ())])
def test_of_so_many_logits_no_pairs_are_sought(
    most: int, names: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "HUGE", most)
    problem = random_batch(3, 3, 4)
    candidate = 2.5 * exactly(problem).gradients["weights"].T
    assert names_of(problem, candidate) == names


@pytest.mark.parametrize("n_rows", [1, 5])
def test_a_large_candidate_is_named_by_what_is_looked_at_first_and_then_whole(n_rows: int) -> None:
    """40,000 entries, 800 classes: neither all entries nor all labels are tried one by one."""
    random = np.random.default_rng(19)
    labels = random.integers(800, size=n_rows)
    weights = random.normal(size=(50, 800)) / 7
    problem = Problem(weights, random.normal(size=(n_rows, 50)), Targets(labels=labels))
    exact = METHODS["exact"].evaluate(problem)
    parts = plain(problem)
    gradient, z = right(parts), parts.Z
    moved = gradient.copy()
    moved[7, 300] += 1e-3
    other = labels.copy()
    other[0] = (labels[0] + 5) % 800
    for candidate, names in (
        (-gradient, ("sign-flipped",)),
        (2.5 * gradient, ("scaled",)),
        (gradient[:, random.permutation(800)], ("classes-permuted",)),
        (gradient.T, ("transposed",)),
        (gradient + 0.01 * weights, ("weight-decay-included",)),
        (parts.X.T @ (parts.q * softmax(z / 2) - parts.Q), ("temperature",)),
        (right(plain(Problem(weights, problem.inputs, Targets(labels=other)))), ("wrong-label",)),
        (-parts.X.T @ (parts.q * softmax(softmax(z)) - parts.Q), ("softmax-twice", "sign-flipped")),
        (gradient.T.reshape(50, 800) / 3, ("scrambled-reshape", "scaled")),
    ):
        assert names in diagnose(problem, exact, candidate).names
    assert diagnose(problem, exact, moved).names == ()


def test_nothing_raises_near_underflow_and_overflow_and_noise_has_no_name() -> None:
    random = np.random.default_rng(20)
    for index in range(40):
        problem = random_problem(random) if index % 2 else problem_of_any_size(random, np.float64)
        exact = exactly(problem)
        assert diagnose(problem, exact, random.normal(size=problem.weights.shape)).names == ()
        with np.errstate(over="ignore"):
            diagnose(problem, exact, 1e300 * exact.gradients["weights"])
        diagnose_loss(problem, exact, 1.25)
        blind_spots(problem, exact)


def test_a_batch_in_which_no_row_counts_is_diagnosed() -> None:
    """All gradients are 0, and so is every divisor that a mistake could take."""
    problem = Problem([[1, 2], [3, 4]], [[1, 2], [1, 3]], Targets([1, 1], ignore_index=1, reduction="sum"))
    exact = METHODS["exact"].evaluate(problem)
    assert not exact.gradients["weights"].any()
    assert not diagnose(problem, exact, np.array([[0.5, 0], [0, 0]])).names


@pytest.mark.parametrize("name", ["weights", "inputs"])
def test_equal_columns_and_equal_rows_of_x_are_evidence_once(name: str) -> None:
    """Whatever the residual of one row is, x of ones gives equal rows: one number of 8 bits, many times."""
    problem = Problem([[0.1, -0.1]] * 8, np.ones((8, 8)), Targets([0] * 8))
    right = exactly(problem, name).gradients[name]
    candidate = in_format(0.96 * right, "bfloat16")
    tolerance = Tolerance(precision="float32", stored_as="bfloat16")
    assert judge(problem, exactly(problem, name), candidate, tolerance, with_respect_to=name).outcome == WRONG
    assert names_of(problem, candidate, tolerance=tolerance, with_respect_to=name) == ()


def test_a_norm_that_rounding_leaves_open_is_no_constant() -> None:
    """Labels of the row after the next leave S_0 x = 4e-95 and S_1 - 1, which rounding makes 0: that norm is not ||G||,
    and 1/||G|| makes no -1 and 1 of them, but -0.7 and 0.7."""
    inputs = [[-0.4903558], [-0.61371441], [-0.42160951], [-1.41914638]]
    inputs += [[0.5865914], [1.17276113], [-1.94225248], [1.62794375]]
    problem = Problem(
        [[140.71699207, -366.86361259]],
        inputs,
        Targets([255, 0, 255, 255, 1, 255, 255, 255], ignore_index=255, reduction="sum"),
        [0.28383034, 2.11612959],
    )
    explanations = diagnose(problem, exactly(problem), np.array([[-1.0, 1.0]])).explanations
    assert not any("||G||" in str(one.parameters.get("named")) for one in explanations)


OF_CLASSES = [0.5, 1.0, 2.0, 4.0, 1.0]


@pytest.mark.parametrize(
    ("options", "divisor", "words"),
    [
        ({}, 10.0, "the number of rows"),
        ({"ignore_index": 2}, 8.0, "the number of rows that are not ignored"),
        ({"class_weights": OF_CLASSES}, 20.0, "the sum of the rows' weights"),
        ({"class_weights": OF_CLASSES, "ignore_index": 2}, 16.0, "the sum of the rows' weights"),
        ({"reduction": "sum"}, 1.0, "never for a sum"),
    ],
    ids=["plain", "ignored", "weights", "both", "sum"],
)
@pytest.mark.parametrize("k", [10.0, 0.1, 0.01, -10.0, 0.02], ids=["B", "1/B", "1/B^2", "-B", "1/(B T)"])
def test_the_lines_about_a_factor_of_rows_make_the_candidate_and_what_is_right(
    options: dict[str, Any], divisor: float, words: str, k: float
) -> None:
    """By weight the labels count 2 0.5 + 2 1 + 2 2 + 3 4 + 1 = 20; without class 2, 16."""
    y = np.array([0, 1, 2, 3, 4, 0, 1, 2, 3, 3])
    random = np.random.default_rng(5)
    problem = Problem(random.normal(size=(3, 5)), random.normal(size=(10, 3)), Targets(y, **options))
    weights = np.array(options.get("class_weights", np.ones(5)))[y] * (y != options.get("ignore_index"))
    dz = (softmax(plain(problem).Z) - np.eye(5)[y]) * weights[:, None]
    gradient = problem.inputs.T @ dz / divisor
    explanation = diagnose(problem, exactly(problem), k * gradient).explanations[0]
    assert explanation.slips == ("scaled",)
    for line, expected in ((explanation.wrong, k * gradient), (explanation.right, gradient)):
        names = {"x": problem.inputs, "dz": dz, "B": 10, "kept": problem.targets.kept, "weights": weights}
        names["dW"] = gradient.copy()
        exec(line, names)
        np.testing.assert_allclose(names["dW"], expected, rtol=1e-12)
    if k == 0.02:
        words = "do not divide by the number of entries" if divisor == 1 else f"{words}, and not by the"
    assert words in explanation.remedy
    assert "number of rows once for a mean" not in explanation.remedy or divisor in (1.0, 10.0)


@pytest.mark.parametrize("rows", [[2], [1, 2], [0, 3], list(range(0, 26, 2)), [5, 7, 8, 20]], ids=str)
@pytest.mark.parametrize("divisor", [26, 0], ids=["of all", "of the rest"])
def test_the_lines_about_rows_left_out_leave_them_out(rows: list[int], divisor: int) -> None:
    problem = random_batch(26, 20, 5)
    x, y, z = problem.inputs, np.array(problem.targets.labels), plain(problem).Z

    def cross_entropy(z: Any, y: Any) -> Any:
        return -np.log(softmax(z)[np.arange(len(y)), y]).mean()

    dz = softmax(z) - np.eye(5)[y]
    left = np.delete(np.arange(26), rows)
    candidate = x[left].T @ dz[left] / (divisor or len(left))
    explanation = diagnose(problem, exactly(problem), candidate).explanations[0]
    assert explanation.slips == ("rows-left-out",)
    if divisor:
        names = {"dz": dz}
        exec(explanation.wrong, names)
        np.testing.assert_array_equal(np.flatnonzero((names["dz"] == 0).all(axis=1)), rows)
    else:
        loss = eval(explanation.wrong, {"cross_entropy": cross_entropy, "np": np, "z": z, "y": y})
        assert loss == pytest.approx(cross_entropy(z[left], y[left]))


@pytest.mark.parametrize("k", [1, 2, -1, -2])
@pytest.mark.parametrize(
    "options", [{}, {"ignore_index": 2}, {"class_weights": OF_CLASSES}], ids=["plain", "ignored", "weights"]
)
def test_labels_of_other_rows_count_in_the_mean_over_the_rest_as_they_do_in_the_loss(
    options: dict[str, Any], k: int
) -> None:
    """x[:-k] beside y[k:], and x[-k:] beside y[:k] for a negative k, as a problem of its own."""
    problem = random_batch(9, 6, 5)
    labels = np.array([0, 1, 2, 3, 4, 2, 1, 0, 4])
    problem = replace(problem, targets=Targets(labels, **options))
    of_x, of_y = (slice(0, -k), slice(k, None)) if k > 0 else (slice(-k, None), slice(0, k))
    rest = Problem(problem.weights, problem.inputs[of_x], Targets(labels[of_y], **options))
    explanation = diagnose(problem, exactly(problem), right(plain(rest))).explanations[0]
    assert explanation.slips == ("labels-misaligned",)
    assert explanation.parameters["k"] == k
    assert str(explanation.parameters["ends"]).endswith("the mean is over the rest")


@pytest.mark.parametrize(
    ("name", "array"), [("inputs", "6 inputs x 5 rows"), ("logits", "4 classes x 5 rows")]
)
def test_a_transposed_gradient_of_rows_is_not_said_to_be_about_how_w_is_stored(name: str, array: str) -> None:
    problem = random_batch(5, 6, 4)
    candidate = exactly(problem, name).gradients[name].T
    one = explained(problem, candidate, name)
    assert one.slips == ("transposed",)
    assert one.happened.endswith(f"the numbers are right,\nin an array of {array}.")
    assert one.remedy == "Transpose it."


@pytest.mark.parametrize("factor", [1, 2])
def test_the_line_of_a_squared_error_has_its_factor(factor: int) -> None:
    """d/dp of factor/2 (p - y)^2, through the softmax's Jacobian."""
    problem = random_batch(4, 3, 5)
    p, y = softmax(plain(problem).Z), np.eye(5)[np.array(problem.targets.labels)]
    candidate = problem.inputs.T @ through(p, factor * (p - y)) / 4
    one = explained(problem, candidate)
    assert one.slips == ("squared-error",)
    names = {"p": p, "y": y}
    exec(one.wrong, names)
    np.testing.assert_allclose(problem.inputs.T @ through(p, names["dp"]) / 4, candidate, rtol=1e-12)


def test_the_line_of_a_wrong_label_leaves_the_smoothing() -> None:
    """S - 1 at another class is the gradient without smoothing: the label changes before targets are smoothed."""
    problem = replace(random_batch(4, 3, 5), targets=Targets([0, 1, 2, 3], label_smoothing=0.1))
    other = replace(problem, targets=Targets([0, 4, 2, 3], label_smoothing=0.1))
    one = explained(problem, right(plain(other)))
    assert one.slips == ("wrong-label",)
    assert (one.wrong, one.right) == ("y[1, 4] = 1", "y[1, 1] = 1")


def test_equal_columns_of_w_leave_one_number_of_each_row_of_x() -> None:
    """R W' is then the sum of R times w: a change of that sum fits some eps of every formula that does not keep it."""
    weights = np.repeat(np.arange(1.0, 9.0)[:, None], 4, axis=1)
    problem = Problem(weights, np.full((1, 8), 0.01), Targets([1]))
    candidate = -0.0625 * weights[:, :1].T
    assert names_of(problem, candidate, with_respect_to="inputs") == ()
