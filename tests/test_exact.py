"""The exact method rounds correctly where it certifies a number, and certifies all that can be decided."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest

from strategies import random_problem, random_targets, small_integers
from truth import HIGHEST
from truth import exact as truth
from xegrad import METHODS, Problem, Targets
from xegrad.errors import XegradError
from xegrad.memory import max_memory
from xegrad.methods import exact
from xegrad.methods.exact import doublewords, integers, residuals

NAMES = ("weights", "bias", "inputs", "logits")


def problem(weights: Any, inputs: Any, target: Any, bias: Any = None) -> Problem:
    """One example, or several; a target is a label, or rows of numbers."""
    rows = np.atleast_2d(np.array(inputs, dtype=float))
    hard = isinstance(target, int) or isinstance(target[0], int)
    targets = Targets(labels=np.atleast_1d(target)) if hard else Targets(soft=np.atleast_2d(target))
    return Problem(np.array(weights, dtype=float), rows, targets, None if bias is None else np.array(bias))


def rng_problem(scale: float, shape: tuple[int, int, int], soft: bool, seed: int) -> Problem:
    random = np.random.default_rng(seed)
    rows, n_inputs, n_classes = shape
    return Problem(
        scale * random.normal(size=(n_inputs, n_classes)),
        random.normal(size=(rows, n_inputs)),
        Targets(soft=random.dirichlet(np.ones(n_classes), size=rows))
        if soft
        else Targets(labels=random.integers(n_classes, size=rows)),
    )


# S of logits 0, 0.5 and -0.25, to more digits than floats have: a soft target next to it.
NEAR = (np.exp([0, 0.5, -0.25]) / np.exp([0, 0.5, -0.25]).sum()).tolist()

# What to compute, and the bits that mpmath needs to have digits of the least of it beside the largest.
ADVERSARIES: dict[str, tuple[Problem, int]] = {
    "the seed": (
        problem(
            [[0.1, 0.2, 0.3, 0.4, 0.5], [0.6, 0.7, 0.8, 0.9, 0.1], [0.11, 0.12, 0.13, 0.14, 0.15]],
            [0.1, 0.5, 0.4],
            2,
        ),
        400,
    ),
    "saturated": (problem([[46.05, 0, -1]], [1], 0), 400),
    "saturated, wrong label": (problem([[46.05, 0, -1]], [1], 1), 400),
    "far saturated": (problem([[700.5, 0, -1]], [1], 0), 3000),
    "underflowing": (problem([[-800, 0, -1]], [1], 0), 3000),
    "beyond what floats hold": (problem([[0, 5000, 3000]], [1], 1), 16000),
    "a huge offset": (problem([[1e15, 1e15 + 1, 1e15 - 2]], [1], 0), 400),
    "an offset that hides the rest": (problem([[2.0**60, 2.0**60 + 256, 2.0**60]], [1], 0), 2000),
    "an ill-conditioned dot": (problem([[1e16, 1.0], [1e16, 2.0], [1.0, 0.5]], [1, -1, 0.5], 0), 600),
    "overflow that cancels": (problem([[1e308, 1.5], [-1e308, 0.5]], [10, 10], 0), 9000),
    "subnormal numbers": (problem([[5e-324, 1e-310], [3.0, -2.0]], [1e-310, 5e-324], 1), 5000),
    "subnormal results": (problem([[710.0, 0, 1]], [1e-10], 0), 3000),
    "tiny probabilities times huge inputs": (problem([[0.0, -1000.0 / 1e200, 3 / 1e200]], [1e200], 2), 4000),
    "all logits equal": (problem([[1, 1, 1]], [0.1], 1), 400),
    "zero weights, soft": (problem(np.zeros((2, 5)), [0.1, 3], [0.1, 0.2, 0.3, 0.2, 0.2]), 400),
    "a tie for the largest": (problem([[3, 3, -5]], [1.1], 0), 400),
    "soft targets near S": (problem([[0, 0.5, -0.25]], [1], NEAR), 800),
    "targets that do not sum to one": (problem([[0, 50, -0.25]], [0.7], [0.1, 2.5, 0.0]), 800),
    "no target": (problem([[0, 0.5, -0.25]], [1], [0.0, 0.0, 0.0]), 400),
    "a tiny share": (problem([[40.0, 0, 0]], [1], [1 - 1e-10, 0.5e-10, 0.5e-10]), 800),
    "one class": (problem([[3.0], [4.0]], [1, 2], 0), 400),
    "a bias": (problem([[1, 2], [3, 4]], [0.1, -0.2], 0, bias=[0.3, -1e-20]), 800),
    "a row of zeros beside others": (problem([[1, 0]], [[1], [0]], [0, 0]), 400),
    "rows of zeros, soft": (
        problem([[3, 0, -1]], [[0], [1], [0]], [[0.1, 0.2, 0.7], [0.3, 0, 0.7], [0, 0, 0.5]]),
        400,
    ),
    "a row of zeros beside a saturated one": (problem([[1000, 0, -3000]], [[1], [0]], [0, 2]), 16000),
    "equal logits that do not move": (problem(np.zeros((1, 2)), [[2], [1]], [[0.5, 0.5], [1, 1]]), 400),
    "an input of zero": (problem([[1, 2], [3, 4]], [0.0, -0.2], 0), 400),
    "equal weights of an input": (problem([[7, 7, 7], [3, 4, 5]], [0.3, -0.2], 0), 400),
    "weights that cancel in x": (problem([[1, -1, 0], [2, 2, 0]], [0.0, 1.0], 2), 800),
    "many classes": (rng_problem(1, (1, 3, 300), False, 1), 600),
    "a batch": (rng_problem(1, (4, 3, 5), True, 2), 600),
    "a saturated batch": (rng_problem(300, (3, 2, 4), False, 3), 8000),
}


def nearest(number: Any) -> float:
    """The float64 nearest to an mpf, subnormal or not, by Python's correctly rounded quotient of integers."""
    sign, mantissa, exponent, _ = number._mpf_
    fraction = Fraction(int(mantissa)) * Fraction(2) ** int(exponent)
    try:
        return -float(fraction) if sign else float(fraction)
    except OverflowError:
        return -math.inf if sign else math.inf


def flat(values: Any) -> list[Any]:
    return [entry for row in values for entry in flat(row)] if isinstance(values, list) else [values]


@pytest.mark.parametrize(("adversary", "bits"), ADVERSARIES.values(), ids=ADVERSARIES.keys())
def test_every_number_is_the_nearest_float_to_that_of_mpmath(adversary: Problem, bits: int) -> None:
    expected = truth(adversary, bits)
    evaluation = METHODS["exact"].evaluate(adversary, NAMES)
    assert evaluation.certified is not None
    for name in NAMES:
        assert evaluation.certified[name].all(), name
        # What cancels exactly leaves mpmath with the rounding of its last bit.
        least = mpmath.mpf(2) ** (64 - bits)
        floats = [nearest(entry) if abs(entry) > least else 0.0 for entry in flat(expected[name])]
        assert evaluation.gradients[name].ravel().tolist() == floats, name
    assert float(evaluation.loss) == nearest(expected["loss"])


def assert_enclosed(drawn: Problem, expected: Any, bits: int, slices: int) -> None:
    """What double words certify is nearest to the number of mpmath, and the rest is as near to it as they say."""
    least = mpmath.mpf(2) ** (64 - bits)
    results = doublewords.Layer(drawn, slices).nearest(dict.fromkeys(("loss", *NAMES)), slices)
    for name, rounded in results.items():
        numbers = flat(expected[name]) if name != "loss" else [expected["loss"]]
        entries = zip(rounded.values.flat, rounded.certain.flat, rounded.errors.flat, numbers, strict=True)
        for value, certain, error, number in entries:
            exact_value = number if abs(number) > least else mpmath.mpf(0)
            if certain:
                assert value == nearest(exact_value), name
            elif math.isfinite(error):
                assert abs(mpmath.mpf(float(value)) - exact_value) <= mpmath.mpf(float(error)), name


@pytest.mark.parametrize(("adversary", "bits"), ADVERSARIES.values(), ids=ADVERSARIES.keys())
def test_double_words_enclose_every_number_and_certify_only_the_nearest(
    adversary: Problem, bits: int
) -> None:
    expected = truth(adversary, bits)
    for slices in (2, 3):
        assert_enclosed(adversary, expected, bits, slices)


def in_double_words(drawn: Problem, slices: int = 2, names: tuple[str, ...] = NAMES) -> dict[str, Any]:
    return doublewords.Layer(drawn, slices).nearest(dict.fromkeys(("loss", *names)), slices)


# Of the inputs, and of their weights the other way round.
SCALES = 2.0 ** np.array([[300.0, -300.0, 0.0, 7.0]])


def of_opposite_scales() -> Problem:
    mild = rng_problem(1, (3, 4, 5), False, 8)
    return Problem(mild.weights / SCALES.T, mild.inputs * SCALES, mild.targets)


def with_options(seed: int) -> Problem:
    """Rows that differ, with every option of the loss now and then, and scales from mild to saturated."""
    random = np.random.default_rng(seed)
    n_rows, n_inputs, n_classes = (int(random.integers(1, most)) for most in (8, 7, 9))
    scale = 10.0 ** random.uniform(-3, 1.3)
    weights = scale * random.normal(size=(n_inputs, n_classes))
    inputs = random.normal(size=(n_rows, n_inputs)) * (random.random((n_rows, n_inputs)) < 0.8)
    bias = 10 * random.normal(size=n_classes) if seed % 3 == 0 else None
    return Problem(weights, inputs, random_targets(random, n_rows, n_classes), bias)


# Problems that double words decide to the last entry, and the bits for mpmath.
DECIDED: dict[str, tuple[Problem, int]] = {
    "opposite scales": (of_opposite_scales(), 3000),
    "a mean over three rows": (rng_problem(1, (3, 4, 5), False, 9), 600),
    "one-hot rows": (problem([[1, 2, 0.5]], [[1], [-3]], [[0, 1, 0], [1, 0, 0]]), 600),
    "a row with no target": (problem([[1, 2, 0.5]], [[1], [-3]], [[0, 0, 0], [0.5, 0.25, 0]]), 600),
    "rows of zeros": (problem([[1, 2, 0.5], [0, 1, 1]], [[1, 0], [0, 0], [2, 0]], [0, 1, 2]), 600),
    "many rows": (rng_problem(2, (40, 3, 4), True, 10), 600),
}


@pytest.mark.parametrize(("decided", "bits"), DECIDED.values(), ids=DECIDED.keys())
def test_double_words_decide_every_entry_that_can_be_told(decided: Problem, bits: int) -> None:
    assert_enclosed(decided, truth(decided, bits), bits, 3)
    for name, rounded in in_double_words(decided, 3).items():
        assert rounded.certain.all(), name


def test_the_largest_logit_is_found_by_low_words_where_high_ones_are_equal() -> None:
    """At 1e20 a float has a unit of 16384, so that 1, 5000 and 2 are in the low words."""
    offset = problem([[1e20, 1e20, 1e20], [1, 5000, 2]], [1, 1], 0)
    assert_enclosed(offset, truth(offset, 16000), 16000, 2)
    loss = in_double_words(offset)["loss"]
    assert loss.values == pytest.approx(4999, abs=1e-9)
    assert loss.errors < 1e-8


@pytest.mark.parametrize("seed", range(60))
def test_double_words_are_right_for_every_option_of_the_loss(seed: int) -> None:
    drawn = with_options(seed)
    assert_enclosed(drawn, truth(drawn, 1500), 1500, 2 + seed % 2)


def test_what_underflows_is_never_certain_and_what_is_known_to_be_zero_is() -> None:
    """S_1 = exp(-700.5) = 2**-1010 could have lost digits on its way; an input of 0 has a gradient of 0."""
    saturated = problem([[700.5, 0, -1], [1, 2, 3]], [1, 0], 0)
    weights = in_double_words(saturated)["weights"]
    assert not weights.certain[0].any()
    assert weights.certain[1].all()
    assert (weights.values[1] == 0).all()


@pytest.mark.parametrize("scale", [2.0**500, 2.0**997, 1.7e308])
def test_what_overflows_on_its_way_is_not_certain(scale: float) -> None:
    large = problem([[scale, -scale / 2], [1, 0.5]], [[1.5, 1], [2**-20 / scale, 3]], [0, 1])
    assert_enclosed(large, truth(large, 3000), 3000, 2)
    infinite = in_double_words(problem([[scale, -scale]], [[2.0**600]], [1]))
    for name, rounded in infinite.items():
        assert not (rounded.certain & ~np.isfinite(rounded.values)).any(), name


def test_a_problem_that_overflows_hides_none_that_underflows_beside_it() -> None:
    """Logits of 1e616, and in the next problem of a stack of 1e9 and -1e9, where exp(-2e9) is as good as 0."""
    weights, inputs = np.array([[[1e308, -1e308]], [[1e9, -1e9]]]), np.array([[[1e308]], [[1.0]]])
    rounded = in_double_words(Problem(weights, inputs, Targets(labels=np.array([[0], [1]]))))
    assert not rounded["loss"].certain[0]
    assert rounded["loss"].certain[1] and rounded["loss"].values[1] == 2e9
    assert rounded["bias"].certain[1].all() and rounded["bias"].values[1].tolist() == [1, -1]


def test_a_stack_in_double_words_is_what_its_problems_are() -> None:
    random = np.random.default_rng(6)
    weights, inputs = random.normal(size=(30, 4, 5)), random.normal(size=(30, 3, 4))
    for targets in (
        Targets(labels=random.integers(5, size=(30, 3))),
        Targets(soft=random.random((30, 3, 5))),
    ):
        stack = Problem(weights, inputs, targets)
        together, alone = METHODS["exact"].evaluate(stack, NAMES), [*stack.unstacked()]
        for index, one in enumerate(alone):
            expected = integers.nearest(one, ("loss", *NAMES))
            assert np.asarray(together.loss)[index] == expected["loss"].values
            for name in NAMES:
                assert np.array_equal(together.gradients[name][index], expected[name].values), name
                assert together.certified is not None
                assert together.certified[name][index].all()


# Most probabilities are below exp(-640): only integers tell them.
SATURATED = problem(np.linspace(0, 3000, 600)[None], [1.0], 1)


def test_integers_that_take_too_long_are_left_out_and_what_is_open_is_enclosed() -> None:
    with exact.affording(0):
        evaluation = METHODS["exact"].evaluate(SATURATED)
    certified = METHODS["exact"].evaluate(SATURATED)
    assert evaluation.seconds_left > 0
    assert evaluation.certified is not None
    assert evaluation.errors is not None
    is_open = ~evaluation.certified["weights"]
    assert 0 < is_open.sum() < 600
    off = np.abs(evaluation.gradients["weights"] - certified.gradients["weights"])
    assert (off <= evaluation.errors["weights"]).all()
    assert evaluation.errors["weights"][is_open].max() < 1e-260
    assert certified.seconds_left == 0
    assert certified.errors is None
    assert certified.certified is not None
    assert certified.certified["weights"].all()


def test_integers_that_take_too_much_memory_are_left_out_or_refused_if_asked_for() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doublewords, "memory", lambda problem: 0)
        with max_memory(integers.memory(SATURATED)):
            assert METHODS["exact"].evaluate(SATURATED).seconds_left > 0
            with exact.affording(math.inf), pytest.raises(XegradError, match="is allowed"):
                METHODS["exact"].evaluate(SATURATED)
        with max_memory(integers.memory(SATURATED) + SATURATED.nbytes):
            assert METHODS["exact"].evaluate(SATURATED).seconds_left == 0


def test_the_limit_holds_for_a_stack_as_a_whole() -> None:
    stack = Problem(
        np.stack([SATURATED.weights] * 3),
        np.stack([SATURATED.inputs] * 3),
        Targets(labels=np.ones((3, 1), int)),
    )
    alone = integers.work(1, 1, 600)
    with exact.affording(2 * alone):
        assert METHODS["exact"].evaluate(stack).seconds_left == pytest.approx(3 * alone)
    with exact.affording(4 * alone):
        assert METHODS["exact"].evaluate(stack).seconds_left == 0


def test_a_row_of_equal_logits_adds_a_rational_number() -> None:
    """dL/db_0 = S_0(1) - 1 + 1/2 - 1 with S_0(1) = e / (e + 1), and dL/dZ of the row of zeros is +-1/2 exactly."""
    rows = problem([[1, 0]], [[1], [0]], [0, 0])
    rows = Problem(rows.weights, rows.inputs, Targets(labels=np.array([0, 0]), reduction="sum"))
    evaluation = METHODS["exact"].evaluate(rows, NAMES)
    total = mpmath.e / (mpmath.e + 1) - mpmath.mpf(3) / 2
    assert evaluation.gradients["bias"].tolist() == [nearest(total), nearest(-total)]
    assert evaluation.gradients["logits"][1].tolist() == [-0.5, 0.5]
    assert evaluation.certified is not None
    assert all(evaluation.certified[name].all() for name in NAMES)


@pytest.mark.parametrize(
    ("draw", "n_problems", "bits"),
    [(random_problem, 30, HIGHEST), (small_integers, 150, 1000)],
    ids=["any rows", "small integers"],
)
def test_every_number_of_random_problems_is_the_nearest_certified_or_not(
    draw: Any, n_problems: int, bits: int
) -> None:
    random = np.random.default_rng(5)
    for _ in range(n_problems):
        drawn = draw(random)
        expected, evaluation = truth(drawn, bits), METHODS["exact"].evaluate(drawn, NAMES)
        assert_enclosed(drawn, expected, bits, 2)
        least = mpmath.mpf(2) ** (128 - bits)
        for name in ("loss", *NAMES):
            values = evaluation.loss if name == "loss" else evaluation.gradients[name]
            entries = flat(expected[name])
            nearest_floats = [nearest(entry) if abs(entry) > least else 0.0 for entry in entries]
            assert np.ravel(values).tolist() == nearest_floats, name


def test_a_loss_between_two_floats_is_decided_by_what_is_beyond_them() -> None:
    """L = D + log1p(exp(-D)) where D lies halfway between two floats and exp(-D) has 4,343 zeros before it."""
    halfway = 10000 * (1 + 2.0**-52) + 2.0**-40
    below, above = 10000.0, math.nextafter(10000.0, math.inf)
    between = problem([[0.0, 10000.0], [0.0, 2.0**-41 * 1.0]], [1.0, (above - below) / 2 / 2.0**-41], 0)
    assert halfway > below
    evaluation = METHODS["exact"].evaluate(between)
    assert evaluation.certified is not None
    assert evaluation.certified["loss"].all()
    assert evaluation.loss == above  # a tie would go to the even neighbour below


def test_a_tie_goes_to_the_even_neighbour() -> None:
    """All logits are equal, so dL/dW = x (1/2 - 1): for x = 2**53 + 2 and 2**-1074 the half is representable or
    a tie between two subnormals."""
    evaluation = METHODS["exact"].evaluate(problem([[1.0, 1.0]] * 2, [5e-324, 1.5e-323], 0))
    # Half of one and of three times the least subnormal: both are ties, to 0 and to 2.
    assert evaluation.gradients["weights"].tolist() == [[0.0, 0.0], [-1e-323, 1e-323]]


def test_a_loss_too_large_for_a_float_is_infinite() -> None:
    evaluation = METHODS["exact"].evaluate(problem([[-1e308, 1e308]], [10], 0))
    assert evaluation.loss == math.inf
    assert evaluation.gradients["weights"].tolist() == [[-10.0, 10.0]]


# S(1) + S(-1) = 1 in each class, so that dL/db = S(1) + S(-1) - 1 is 0, which no float knows.
CANCELLING = Problem(
    np.array([[1.0, 2.0]]),
    np.array([[1.0], [-1.0]]),
    Targets(soft=np.array([[0.5, 0.5], [0.5, 0.5]])),
)


def test_what_cancels_exactly_is_zero() -> None:
    evaluation = METHODS["exact"].evaluate(CANCELLING, ("bias",))
    assert evaluation.certified is not None
    assert evaluation.certified["bias"].all()
    assert evaluation.gradients["bias"].tolist() == [0, 0]
    assert not np.signbit(evaluation.gradients["bias"]).any()


def test_what_the_cap_on_the_precision_leaves_open_is_not_certified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integers, "MOST_DIGITS", integers.DIGITS)
    evaluation = METHODS["exact"].evaluate(CANCELLING, ("weights", "bias"))
    assert evaluation.certified is not None
    assert evaluation.certified["weights"].all()
    assert not evaluation.certified["bias"].any()
    assert np.abs(evaluation.gradients["bias"]).max() < 1e-30
    assert evaluation.errors is not None
    assert evaluation.errors.keys() == {"bias"}
    bound = METHODS["exact"].bound(CANCELLING, ("bias",)).gradients["bias"]
    assert (np.abs(evaluation.gradients["bias"]) <= bound).all()
    assert bound.max() < 1e-30


@pytest.mark.parametrize("radius", [2**53 + 1, 2**60, 3])
def test_what_is_not_certain_is_as_near_as_is_said(radius: int) -> None:
    """Of 2**53 + 1 the nearest float is 2**53, so that its quotient alone would say too little."""
    rounded = integers.Enclosure(np.array([1], object), np.array([radius], object), 1, 0).nearest()
    assert rounded.values.tolist() == [1] and not rounded.certain.any()
    error = Fraction(rounded.errors[0])
    assert radius <= error <= 2 * (radius + Fraction(2) ** -52)


def test_what_lies_strictly_between_two_ties_is_the_float_between_them() -> None:
    """Half and one and a half times the smallest number; of one scale less the ends are 1 and 3 times."""
    between = np.array([2], object), np.array([1], object), 1
    rounded = integers.Enclosure(*between, 1075).nearest()
    assert rounded.values.tolist() == [5e-324] and rounded.certain.all()
    assert not integers.Enclosure(*between, 1074).nearest().certain.any()


def test_a_sum_of_terms_that_cancel_is_found_to_be_zero_without_more_digits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """S_0 - S_1 of equal logits, both known to so many digits only; the other entry is no such sum."""
    monkeypatch.setattr(integers, "MOST_DIGITS", integers.DIGITS)
    adversary, _ = ADVERSARIES["weights that cancel in x"]
    rounded = integers.nearest(adversary, ("inputs",))["inputs"]
    assert rounded.certain.all()
    assert rounded.values.tolist() == [[0, pytest.approx(4 * math.exp(2) / (2 * math.exp(2) + 1))]]


def test_it_shares_no_code_with_the_float_methods() -> None:
    for module in (exact, doublewords, residuals, integers):
        assert not {"layer", "bounds", "derivation", "chain", "shortcut", "Rounded"} & set(vars(module))


def test_the_first_precision_is_enough_for_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integers, "MOST_DIGITS", integers.DIGITS)
    seed, _ = ADVERSARIES["the seed"]
    certified = METHODS["exact"].evaluate(seed, NAMES).certified
    assert certified is not None
    assert all(certified[name].all() for name in ("loss", "losses", *NAMES))


@pytest.mark.parametrize("name", ["exact", "finite-difference"])
def test_a_stack_with_two_axes_keeps_both(name: str) -> None:
    random = np.random.default_rng(3)
    weights, inputs = random.normal(size=(2, 3, 4, 5)), random.normal(size=(2, 3, 1, 4))
    labels = random.integers(5, size=(2, 3, 1))
    whole = METHODS[name].evaluate(Problem(weights, inputs, Targets(labels=labels)), NAMES)
    alone = METHODS[name].evaluate(Problem(weights[1, 0], inputs[1, 0], Targets(labels=labels[1, 0])), NAMES)
    assert np.shape(whole.loss) == (2, 3)
    assert whole.losses.shape == (2, 3, 1)
    assert np.asarray(whole.loss)[1, 0] == alone.loss
    for gradient in NAMES:
        assert np.array_equal(whole.gradients[gradient][1, 0], alone.gradients[gradient]), gradient


def test_the_estimate_of_the_work_grows_with_the_sizes() -> None:
    assert exact.work(1, 3, 5) < 0.001
    assert 0.05 < integers.work(1, 100, 1000) < 1
    assert exact.work(1, 100, 1000) < 0.05
    assert 1 < exact.work(512, 1024, 8192) < 60
    assert exact.work(1, 3, 5, 10_000) < 10_000 * exact.work(1, 3, 5)


def test_problems_that_are_computed_one_by_one_take_the_sum_of_their_times() -> None:
    assert exact.work(64, 128, 1000, 10) == pytest.approx(10 * exact.work(64, 128, 1000))


@pytest.mark.parametrize("size", [1e-320, 1e-300, 1e300])
def test_under_the_mean_weights_may_be_as_small_or_as_large_as_floats_are(size: float) -> None:
    """Only their ratios count: what is certified is what integers say."""
    random = np.random.default_rng(0)
    for smoothing in (0.0, 0.1):
        weighted = Targets(np.arange(3), class_weights=np.full(3, size), label_smoothing=smoothing)
        layer = Problem(random.normal(size=(2, 3)), random.normal(size=(3, 2)), weighted)
        decided = integers.nearest(layer, NAMES)
        for name, nearest in doublewords.Layer(layer, 3).nearest(dict.fromkeys(NAMES), 3).items():
            certain = nearest.certain
            assert certain.any()
            np.testing.assert_array_equal(nearest.values[certain], decided[name].values[certain])


def test_the_ends_of_an_exponential_are_as_far_apart_as_its_digits_say() -> None:
    """Moved apart by a relative 10**(5 - d) each, and one or two units (9.2)."""
    digits, bits, scale = 12, 80, 20
    shifted = [0, -1, -(1 << 10), -(3 << 19), -(1 << 20), -(7 << 20), -(40 << 20), -(60 << 20), -(10**9)]
    ends = integers._exponentials(shifted, scale, digits, bits)
    assert ends[0] == (1 << bits, 1 << bits) and ends[-1] == (0, 1)
    for value, (lower, upper) in [*zip(shifted, ends, strict=True)][1:-1]:
        with mpmath.workprec(300):
            exact = mpmath.exp(mpmath.mpf(value) / 2**scale) * 2**bits
            apart = exact * mpmath.mpf(10) ** (5 - digits)
            assert max(0, exact - 2 * apart - 2) <= lower <= exact - apart
            assert exact + apart <= upper <= exact + 2 * apart + 3


@pytest.mark.parametrize("method", METHODS)
def test_the_bounds_of_a_stack_are_those_of_its_problems(method: str) -> None:
    random = np.random.default_rng(8)
    names = ("weights", "bias", "inputs", "logits")
    weights = random.normal(size=(3, 2, 4)) * np.array([1.0, 4.0, 9.0])[:, None, None]
    inputs, bias = random.normal(size=(3, 5, 2)), random.normal(size=(3, 4))
    stack = Problem(weights, inputs, Targets(random.integers(4, size=(3, 5))), bias)
    together = METHODS[method].bound(stack, names)
    for k, one in enumerate(stack.unstacked()):
        alone = METHODS[method].bound(one, names)
        for name in names:
            np.testing.assert_allclose(
                together.gradients[name][k], alone.gradients[name], rtol=1e-9, err_msg=name
            )
        np.testing.assert_allclose(np.asarray(together.loss)[k], alone.loss, rtol=1e-9)
