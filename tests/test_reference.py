"""Which values decided a verdict makes no difference to it; some rows at a time come to the bound of all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from candidates import ORDERS, gradient, loss
from strategies import random_problem
from xegrad import METHODS, Problem, Targets, bounds, derivation, judgement, reference, verification
from xegrad.comparison import Comparison
from xegrad.derivation import Cells, row_by_row
from xegrad.diagnosis import diagnose
from xegrad.display.numbers import as_known
from xegrad.judgement import DIGITS_LOST, RIGHT, UNDECIDED, WRONG, judge, judge_by_cheapest
from xegrad.methods import Evaluation
from xegrad.methods.exact import affording
from xegrad.recipes import RECIPES
from xegrad.slips import SLIPS
from xegrad.slips.making import with_slip
from xegrad.tolerance import Tolerance

NAMES = ("weights", "bias", "inputs", "logits")
CHANGES: dict[str, dict[str, Any]] = {
    "float64": {},
    "float32": {"precision": "float32"},
    "pairwise": {"precision": "float32", "terms": bounds.pairwise},
    "in float64": {"precision": "float32", "accumulate_in": "float64"},
    "confidence": {"precision": "float32", "confidence": 1e-9},
    **{name: {"recipe": name} for name in RECIPES},
}


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every problem is a large one, of which one row is looked at at a time."""
    monkeypatch.setattr(bounds, "LARGE", 0)
    monkeypatch.setattr(derivation, "IN_CACHE", 0)
    monkeypatch.setattr(derivation, "AT_A_TIME", 12)


def problem_of_rows(random: np.random.Generator) -> Problem:
    """Several rows, with and without options."""
    options: list[dict[str, Any]] = [
        {},
        {"label_smoothing": 0.1},
        {"ignore_index": 2},
        {"reduction": "sum"},
        {"class_weights": np.array([0.5, 1.0, 2.0, 0.25, 1.5])},
    ]
    targets = Targets(np.array([0, 1, 2, 3, 4, 0, 1]), **options[random.integers(len(options))])
    if random.random() < 0.2:
        targets = Targets(soft=random.dirichlet(np.ones(5), size=7))
    bias = random.normal(size=5) if random.random() < 0.7 else None
    inputs = random.normal(size=(7, 4)) * random.choice([0.0, 1.0, 1.0], size=4)
    return Problem(random.normal(size=(4, 5)), inputs, targets, bias)


def at_once(problem: Problem, arithmetic: Any) -> dict[str, Any]:
    """The errors of all cells together."""
    cells = bounds.cells_of(problem, arithmetic)
    return {"loss": cells.stable_loss.error, **{name: cells.of(name).G.errors for name in NAMES}}


@pytest.mark.parametrize("change", CHANGES)
def test_rows_at_a_time_come_to_the_bound_of_all(change: str, large: None) -> None:
    """Up to the rounding of the bounds themselves."""
    random = np.random.default_rng(0)
    arithmetic = Tolerance.of_recipe(**{"recipe": None, **CHANGES[change]}).arithmetic
    for _ in range(8):
        problem = problem_of_rows(random)
        wide = problem.astype(np.dtype(np.float64))
        shared = replace(arithmetic, failure=arithmetic.failure / bounds.terms_of(problem))
        results = row_by_row(Cells(wide, arithmetic=shared), NAMES)
        assert results is not None
        for name, expected in at_once(problem, arithmetic).items():
            np.testing.assert_allclose(results[0][name].error, expected, rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("change", CHANGES)
def test_values_in_float64_are_within_their_error_of_the_exact_ones(change: str, large: None) -> None:
    random = np.random.default_rng(1)
    arithmetic = Tolerance.of_recipe(**{"recipe": None, **CHANGES[change]}).arithmetic
    for _ in range(4):
        problem = problem_of_rows(random)
        exact = METHODS["exact"].evaluate(problem, NAMES)
        numbers = bounds.enclosed(problem, NAMES, arithmetic)
        assert numbers is not None
        other = bounds.stable(problem, NAMES, arithmetic).gradients
        part = 1.001 if change == "float64" else 1e-6
        for name in NAMES:
            error = numbers[name].errors
            assert (np.abs(numbers[name].value - exact.gradients[name]) <= error).all(), name
            assert (error <= part * other[name]).all(), name
        # What is 0 whatever is rounded: where an input is 0 in every row, and in rows that do not count.
        assert not numbers["weights"].errors[~problem.inputs.any(axis=0)].any()
        for name in ("inputs", "logits"):
            assert not numbers[name].errors[~problem.targets.kept].any()
            assert (numbers[name].errors[problem.targets.kept] > 0).any(axis=1).all()
        assert abs(float(numbers["loss"].value) - float(exact.loss)) <= numbers["loss"].error


def test_where_sums_may_overflow_all_cells_are_needed(large: None) -> None:
    problem = Problem(np.array([[1.0, -1.0]]), np.array([[1e308], [1e308]]), Targets(np.array([0, 1])))
    assert bounds.enclosed(problem, ("weights",), bounds.PRECISIONS["float64"]) is None
    assert np.isinf(bounds.stable(problem).gradients["weights"]).all()


def claims(problem: Problem, tolerance: Tolerance, random: np.random.Generator) -> list[Any]:
    """A right one, one that is rounded from the exact one, and some of which an entry is near its limit."""
    right = gradient(problem, "float32", ORDERS["forward"]).astype(np.float64)
    exact = METHODS["exact"].evaluate(problem).gradients["weights"]
    bound = bounds.stable(problem, arithmetic=tolerance.arithmetic).gradients["weights"]
    allowed = tolerance.allowed(exact, bound, 0.0)
    near = []
    for part in (1 - 1e-3, 1 - 1e-12, 1, 1 + 1e-12, 1 + 1e-3):
        moved = exact.copy()
        index = tuple(random.integers(size) for size in exact.shape)
        moved[index] += random.choice([-1, 1]) * part * allowed[index]
        near.append(moved)
    return [right, exact.astype(np.float32).astype(np.float64), exact / 2, exact * 0, exact + np.nan, *near]


TOLERANCES = [
    Tolerance(precision="float32"),
    Tolerance(precision="float32", stored_as="bfloat16"),
    Tolerance(rtol=1e-5),
    Tolerance(atol=1e-9),
    Tolerance.of_recipe("torch-bf16-linear"),
]


@pytest.mark.parametrize("tolerance", TOLERANCES, ids=str)
def test_the_outcome_does_not_depend_on_the_values_that_decided(tolerance: Tolerance, large: None) -> None:
    """Nor does what is wrong or lost."""
    random, n_quick = np.random.default_rng(2), 0
    for _ in range(25):
        problem = problem_of_rows(random) if random.random() < 0.5 else random_problem(random)
        if problem.n_rows * problem.n_classes == 0:
            continue
        exact = METHODS["exact"].evaluate(problem)
        for candidate in claims(problem, tolerance, random):
            by_exact = judge(problem, exact, candidate, tolerance)
            judged = judge_by_cheapest(problem, candidate, tolerance, 0.0, "weights")
            n_quick += not judged.comparison.is_exact
            assert judged.outcome == by_exact.outcome
            assert judged.pattern == by_exact.pattern
            np.testing.assert_array_equal(judged.wrong, by_exact.wrong)
            np.testing.assert_array_equal(judged.comparison.unbounded, by_exact.comparison.unbounded)
            if judged.outcome != WRONG:
                np.testing.assert_array_equal(judged.lost, by_exact.lost)
            fewer = judged.comparison.correct_digits <= by_exact.comparison.correct_digits
            assert fewer[exact.gradients["weights"] != 0].all()
    assert n_quick > 50


@pytest.mark.parametrize("tolerance", TOLERANCES, ids=str)
def test_a_mistake_has_one_name_whatever_values_decided(tolerance: Tolerance, large: None) -> None:
    """Planted, stored as the tolerance says, and within its bound by chance: then the digits that it loses have one
    cause."""
    random = np.random.default_rng(14)
    outcomes = set()
    n_slips = 1 if tolerance.is_mixed else 3  # where bounds are wide every grid is tried, some rows at a time
    problem = problem_of_rows(random)
    for slip in random.choice([*SLIPS], size=n_slips, replace=False).tolist():
        name = str(random.choice(["weights", "inputs"]))
        cells = bounds.cells_of(problem, bounds.PRECISIONS["float64"]).of(name)
        made = [with_slip(cells, SLIPS[slip], form).G.value for form in SLIPS[slip].example_forms(cells)[:1]]
        for candidate in made:
            if candidate.shape != problem.shape_of(name):
                continue
            stored = bounds.PRECISIONS[tolerance.kept_in].nearest(candidate)
            judged = judge(problem, stored, tolerance, with_respect_to=name)
            exact = reference.exact(problem, (name,))
            outcomes.add(judged.outcome)
            found = [
                diagnose(problem, one, stored, tolerance, 0.0, name) for one in (judged.reference, exact)
            ]
            assert judged.outcome == judge(problem, exact, stored, tolerance, 0.0, name).outcome
            assert found[0].names == found[1].names, (slip, name)
            assert found[0].where == found[1].where, (slip, name)
    assert WRONG in outcomes


def test_lost_digits_have_one_cause_whatever_values_decided(large: None) -> None:
    problem = Problem(np.array([[20.0, 0, -1], [1, 2, 3]]), np.array([[1.0, 0], [0, 1]]), Targets([0, 1]))
    exact, tolerance = reference.exact(problem, ("weights",)), Tolerance(precision="float32")
    candidate = exact.gradients["weights"] * [[0, 1, 1], [1, 1, 1]]
    judged = judge(problem, candidate, tolerance)
    assert judged.outcome == DIGITS_LOST
    assert not judged.comparison.is_exact
    for values in (judged.reference, exact):
        (cause,) = diagnose(problem, values, candidate, tolerance).explanations
        assert cause.happened.startswith("S_c is near 1: the exact 1 - S_c is 2.82e-09")


def test_an_entry_has_one_bound_whatever_stands_beside_it(large: None) -> None:
    """Of numbers that float16 holds, beside one that it does not hold; of one class."""
    inputs = np.array([[1.0, 0.5], [2.0, 0.1], [0.0, -1.0]])
    targets = Targets(soft=np.array([[1.0], [0.7], [1.0]]), label_smoothing=0.1)
    problem = Problem(np.array([[1.0], [-1.0]]), inputs, targets)
    tolerances = Tolerance("float16"), Tolerance("float32", confidence=1e-9), Tolerance.of_recipe("cce-f16")
    for arithmetic in (tolerance.arithmetic for tolerance in tolerances):
        blocks = bounds.stable(problem, NAMES, arithmetic).gradients
        expected = at_once(problem, arithmetic)
        for name in NAMES:
            np.testing.assert_allclose(blocks[name], bounds.INFLATION * expected[name], rtol=1e-12)


def test_a_row_that_underflows_leaves_a_claim_in_float32_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of e^-700 double words say that it is 0, or next to nothing."""
    monkeypatch.setattr("xegrad.methods.exact.AT_ONCE", 0.0)
    problem = Problem(np.array([[700.0, 0, 1], [1, 2, 3]]), np.array([[1.0, 0], [0, 1]]), Targets([0, 1]))
    with affording(0.0):
        exact = METHODS["exact"].evaluate(problem, ("logits",))
    assert not exact.is_certain_of("logits")
    claim = exact.gradients["logits"] * [[0], [1]]
    outcomes = [
        judge(problem, exact, claim, Tolerance(precision), with_respect_to="logits").outcome
        for precision in ("float32", "float64")
    ]
    assert outcomes == [RIGHT, UNDECIDED]


def test_what_is_no_number_is_decided_only_where_the_exact_value_is_finite() -> None:
    against = Comparison(
        np.zeros(4),
        np.array([np.nan, np.inf, np.nan, np.inf]),
        np.ones(4),
        np.array([0.1, 0.1, np.inf, np.inf]),
    )
    assert against.beyond.tolist() == [True, True, True, False]
    assert against.open.tolist() == [False, False, True, True]


def test_a_value_that_may_be_zero_may_have_all_its_digits() -> None:
    against = Comparison(np.array([1e-16, 1e-16]), np.array([0.5, 0.5]), np.ones(2), np.array([1e-15, 0.0]))
    assert against.no_correct_digit.tolist() == [False, True]
    assert against.perhaps_no_digit.tolist() == [True, True]


def test_each_reference_alone_says_the_same_or_nothing(large: None) -> None:
    """Of float64 claims, too, where the values in float64 leave most entries open."""
    random = np.random.default_rng(3)
    for _ in range(25):
        problem = problem_of_rows(random)
        for precision in ("float32", "float64"):
            tolerance = Tolerance(precision=precision)
            quick = reference.in_float64(problem, ("weights",), tolerance)
            assert quick is not None
            exact = METHODS["exact"].evaluate(problem)
            for candidate in claims(problem, tolerance, random):
                judged = judge(problem, quick, candidate, tolerance)
                truth = judge(problem, exact, candidate, tolerance)
                assert not (judged.wrong & ~truth.wrong).any()
                assert not (judged.comparison.within & truth.wrong).any()
                assert judged.outcome in (truth.outcome, UNDECIDED)


def test_a_loss_is_judged_by_the_same_values(large: None) -> None:
    random = np.random.default_rng(4)
    for _ in range(20):
        problem, tolerance = problem_of_rows(random), Tolerance(precision="float32")
        for candidate in (loss(problem, "float32"), 2 * loss(problem, "float32")):
            exact = METHODS["exact"].evaluate(problem, ())
            judged = judge_by_cheapest(problem, candidate, tolerance, 0.0, "loss")
            assert judged.outcome == judge(problem, exact, candidate, tolerance, 0.0, "loss").outcome


def test_an_enclosure_decides_what_lies_outside_it() -> None:
    """An exact value that is not certified, but known up to an error."""
    problem = Problem(np.array([[1.0, -1.0]]), np.array([[3.0]]), Targets(np.array([0])))
    right = METHODS["exact"].evaluate(problem)
    value = right.gradients["weights"]
    unsure = replace(
        right,
        certified={**(right.certified or {}), "weights": np.array([[False, True]])},
        errors={"weights": np.array([[1e-4, 0.0]])},
    )
    tolerance = Tolerance(rtol=1e-3)

    def outcome(moved: float) -> str:
        return judge(problem, unsure, value + np.array([[moved, 0.0]]), tolerance).outcome

    allowed = 1e-3 * abs(value[0, 0])
    assert outcome(allowed / 2) == UNDECIDED
    assert outcome(2e-4) == WRONG
    assert judge(problem, unsure, value, Tolerance(atol=1e-3)).outcome == RIGHT


def test_what_is_said_of_an_entry_is_so_of_all_that_its_exact_value_may_be() -> None:
    random = np.random.default_rng(5)
    reference, error = random.normal(size=2000), np.abs(random.normal(size=2000)) / 4
    candidate, bound = reference + random.normal(size=2000), np.abs(random.normal(size=2000))
    against = Comparison(reference, candidate, bound, error)
    for part in (-1.0, -0.5, 0.0, 0.5, 1.0):
        truth = Comparison(reference + part * error, candidate, bound)
        assert not (against.within & ~truth.within).any()
        assert not (against.beyond & truth.within).any()
        assert not (against.no_correct_digit & ~truth.no_correct_digit).any()
        assert not (truth.no_correct_digit & ~against.perhaps_no_digit).any()
        known = ~against.open
        np.testing.assert_array_equal(against.within[known], truth.within[known])
        assert (against.correct_digits <= truth.correct_digits)[known].all()
    assert 0 < against.open.sum() < 2000


def test_many_entries_are_looked_at_in_pieces_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(6)
    parts = [random.normal(size=(30, 40)) for _ in range(2)]
    parts += [np.abs(random.normal(size=(30, 40))), np.full((30, 40), 0.01)]
    whole = Comparison(*parts)
    at_once = {name: getattr(whole, name) for name in ("within", "beyond", "open", "correct_digits")}
    monkeypatch.setattr("xegrad.comparison.PIECE", 7)
    in_pieces = Comparison(*parts)
    for name, expected in at_once.items():
        np.testing.assert_array_equal(getattr(in_pieces, name), expected)


def test_the_worst_of_many_are_the_first_of_all_sorted() -> None:
    random = np.random.default_rng(7)
    for _ in range(50):
        reference = np.round(random.normal(size=200), 1)
        candidate = reference + np.round(random.normal(size=200), 1)
        candidate[random.integers(200, size=3)] = np.nan
        bound = random.choice([0.0, 0.5, 2.0, 30.0], size=200)
        against, among = Comparison(reference, candidate, bound), random.random(200) < 0.7
        everything = against.worst(None)
        for count in (1, 2, 5, 50, 300):
            assert against.worst(count).tolist() == everything[:count].tolist()
            assert against.worst(count, among).tolist() == everything[among[everything]][:count].tolist()


def wide_problem() -> Problem:
    """33,000 logits: more than exist at a time."""
    random = np.random.default_rng(8)
    weights = random.normal(size=(3, 3300)).astype(np.float32)
    return Problem(weights, random.normal(size=(10, 3)).astype(np.float32), Targets(np.arange(10) * 17))


def test_a_large_claim_in_float32_needs_no_exact_values(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = wide_problem()
    candidate = METHODS["shortcut"].evaluate(problem.astype(np.dtype(np.float64))).gradients["weights"]
    candidate = candidate.astype(np.float32)

    def never(*_: Any) -> Evaluation:
        raise AssertionError("the exact values were evaluated")

    monkeypatch.setattr(reference, "exact", never)
    assert verification.verify(problem, candidate).verified
    wrong = verification.verify(problem, -candidate)
    assert wrong.judgements["weights"].outcome == WRONG
    assert wrong.diagnoses["weights"].names == (("sign-flipped",),)


def test_the_bound_of_long_sums_is_narrowed_by_as_much_in_some_rows_as_in_all(large: None) -> None:
    """The advice of a large problem is taken from some of its rows and inputs."""
    random = np.random.default_rng(9)
    problem = Problem(
        random.normal(size=(80, 6)) / 9, random.normal(size=(90, 80)), Targets(random.integers(6, size=90))
    )
    tolerance = Tolerance(precision="float32")
    exact = METHODS["shortcut"].evaluate(problem)
    judged = judge(problem, exact, exact.gradients["weights"], tolerance)
    some = judgement.narrower(problem, judged)
    whole = replace(problem)
    arithmetics = {"now": tolerance.arithmetic, "then": replace(tolerance, confidence=1e-9).arithmetic}
    errors = {name: at_once(whole, one)["weights"] for name, one in arithmetics.items()}
    expected = np.median(errors["now"] / errors["then"])
    assert some["--confidence 1e-9"] == pytest.approx(expected, rel=0.2)


@pytest.mark.parametrize(
    ("value", "error", "text", "shown"),
    [
        (6.25218e-12, 0.0, "6.2521800e-12", "6.2521800e-12"),
        (6.25218e-12, 7e-16, "6.2521800e-12", "6.252e-12"),
        (-0.0129934958, 1e-13, "-0.012993496", "-0.012993496"),
        (1e-20, 1e-19, "1.0000000e-20", "~0"),
        (9.123456789012345, 1e-11, "9.123456789012345", "9.12345678901e+00"),
        (-1e299, 1e-17, "-1.0000000e+299", "-1.0000000e+299"),
        (1.7e308, 1.7e308, "1.7000000e+308", "~0"),
        (0.5, np.inf, "0.50000000", "?"),
        (np.inf, np.inf, "inf", "?"),
    ],
)
def test_a_number_shows_the_digits_that_are_known(value: float, error: float, text: str, shown: str) -> None:
    assert as_known(value, error, text) == shown


@pytest.mark.parametrize("name", [*NAMES, "loss"])
@pytest.mark.parametrize("change", ["float64", "float32"])
def test_of_rows_that_are_alike_some_tell_the_bound_of_all(
    name: str, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(2)
    inputs = np.repeat(random.normal(size=(1, 20)), 40, axis=0)
    alike = Problem(random.normal(size=(20, 3)), inputs, Targets(np.full(40, 1)), random.normal(size=3))
    arithmetic = Tolerance.of_recipe(**{"recipe": None, **CHANGES[change]}).arithmetic
    entries, [whole] = bounds.of_some(alike, name, [arithmetic])
    assert entries is ...
    monkeypatch.setattr(bounds, "LARGE", 0)
    entries, [some] = bounds.of_some(alike, name, [arithmetic])
    expected = whole[entries]
    np.testing.assert_allclose(np.broadcast_to(some, expected.shape), expected, rtol=1e-6)


def test_the_chain_has_no_bound_of_its_loss_where_a_target_underflows_and_only_there() -> None:
    """6.2: it takes the logarithm of S, and of an S of another class nothing is taken."""
    far, near = [[0.0, -740.0]], [[0.0, -7.0]]
    labels = [[0, 0], [0, 1], [1, 0], [1, 0]]
    stack = Problem(np.array([far, far, far, near]), np.ones((4, 2, 1)), Targets(labels))
    expected = [True, False, False, True]
    assert np.isfinite(METHODS["chain"].bound(stack).loss).tolist() == expected
    assert np.isfinite(bounds.chain_against_shortcut(stack).loss).tolist() == expected
    beside = Problem(np.array([[0.0, -800.0]]), np.ones((1, 1)), Targets([0]))
    for bound in (METHODS["chain"].bound(beside), bounds.chain_against_shortcut(beside)):
        assert np.isfinite(bound.gradients["weights"]).all() and np.isfinite(bound.loss)
