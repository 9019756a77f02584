"""Bounds in mixed precision, held by computations that round where they say, after each operation."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
from msgspec.structs import fields, replace

import mixed
from conftest import Run
from strategies import random_problem
from xegrad import METHODS, Evaluation, InputError, Problem, Targets, bounds
from xegrad.judgement import DIGITS_LOST, RIGHT, UNDECIDED, WRONG, judge, narrower
from xegrad.numbers.arithmetic import PRECISIONS, any_order, cascade
from xegrad.numbers.rounded import Rounded, entered, exact, product
from xegrad.recipes import HALF, RECIPES
from xegrad.slips.formulas import in_format
from xegrad.tolerance import ROUNDED, Tolerance

NAMES = ("weights", "inputs", "logits")
NOT_WRONG = {RIGHT, DIGITS_LOST, UNDECIDED}


class Computer:
    """Float64 numbers rounded after each operation: sums in one format, their results and all else in another."""

    def __init__(self, tolerance: Tolerance) -> None:
        self.tolerance = tolerance

    def __call__(self, values: Any, field: str = "") -> Any:
        """Rounded to its precision, and then to that of a field, where there is one."""
        with np.errstate(over="ignore"):
            values = in_format(np.asarray(values, dtype=np.float64), self.tolerance.precision)
            other = getattr(self.tolerance, field) if field else None
            return values if other is None else in_format(values, other)

    def summed(self, terms: Any) -> Any:
        """Over the last axis, one by one."""
        kept = self.tolerance.accumulate_in or self.tolerance.precision
        total = in_format(terms[..., 0], kept)
        for k in range(1, terms.shape[-1]):
            total = in_format(total + in_format(terms[..., k], kept), kept)
        return self(total)

    def dot(self, a: Any, b: Any) -> Any:
        return self.summed(a[:, None, :] * b.T[None, :, :])

    @np.errstate(all="ignore")
    def gradients(self, problem: Problem) -> dict[str, Any]:
        x, w = self(problem.inputs, "inputs_as"), self(problem.weights, "inputs_as")
        b = np.zeros(problem.n_classes) if problem.bias is None else problem.bias
        q = self(problem.targets.effective(problem.n_classes, np.dtype(np.float64)), "targets_as")
        if self.tolerance.products_as is None or problem.bias is None:
            ones = np.ones((problem.n_rows, 1))
            z = self.dot(np.hstack([x, ones]), np.vstack([w, self(b, "inputs_as")]))
        else:
            z = self(self(self.dot(x, w), "products_as") + self(b, "inputs_as"))
        z = self(z, "logits_as")
        shifted = self(z - z.max(axis=1, keepdims=True))
        e = self(np.exp(shifted))
        total = self.summed(e)[:, None]
        if self.tolerance.log_probabilities_as is None:
            s = self(e / total)
        else:
            log_sum = self(np.log(self(total, "log_sums_as")), "log_sums_as")
            s = self(np.exp(self(shifted - log_sum, "log_probabilities_as")))
        mass = self(self.summed(q)[:, None], "targets_as")
        r = self(self(mass * s) - q, "residual_as")
        return {"weights": self.dot(x.T, r), "inputs": self.dot(r, w.T), "logits": r}


OPTIONS: dict[str, dict[str, Any]] = {
    "bfloat16": {"precision": "bfloat16"},
    "float16": {"precision": "float16"},
    "bfloat16, accumulated in float32": {"precision": "bfloat16", "accumulate_in": "float32"},
    "float16, accumulated in float32": {"precision": "float16", "accumulate_in": "float32"},
    "float32, accumulated in bfloat16": {"precision": "float32", "accumulate_in": "bfloat16"},
    "float32, accumulated in float64": {"precision": "float32", "accumulate_in": "float64"},
    **{
        f"{field} {half}": {"precision": "float32", field: half}
        for field in ROUNDED
        if field not in ("losses_as", "log_sums_as")
        for half in HALF.values()
    },
    **{
        f"log_sums_as {half}": {
            "precision": "float32",
            "log_sums_as": half,
            "log_probabilities_as": half,
        }
        for half in HALF.values()
    },
    "all of bfloat16 in float32": {"precision": "float32"}
    | dict.fromkeys([field for field in ROUNDED if field != "losses_as"], "bfloat16"),
}


@pytest.fixture(scope="module")
def computed_in_float64() -> list[tuple[Problem, Evaluation, bounds.Bound]]:
    """150 problems, mild, saturated and underflowing, with options of the loss: the same for every option here."""
    random = np.random.default_rng(14)
    drawn = [random_problem(random) for _ in range(150)]
    return [(one, METHODS["shortcut"].evaluate(one, NAMES), bounds.stable(one, NAMES)) for one in drawn]


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_no_entry_is_beyond_its_bound_where_each_operation_rounds(
    computed_in_float64: list[tuple[Problem, Evaluation, bounds.Bound]], options: dict[str, Any]
) -> None:
    tolerance, bounded = Tolerance(**options), 0
    computer = Computer(tolerance)
    for problem, right, rounding in computed_in_float64:
        bound, computed = bounds.stable(problem, NAMES, tolerance.arithmetic), computer.gradients(problem)
        for name in NAMES:
            known = np.isfinite(bound.gradients[name]) & np.isfinite(computed[name])
            error = np.abs(computed[name] - right.gradients[name])[known]
            assert (error <= (bound.gradients[name] + rounding.gradients[name])[known]).all(), name
            bounded += int(known.sum())
    assert bounded > 3_000


@pytest.mark.parametrize("kept", ["float16", "bfloat16"])
def test_terms_that_are_added_up_in_a_narrower_format_are_rounded_to_it_first(kept: str) -> None:
    """np.sum(R, axis=0, dtype=float16) converts each residual, one that is alone or beside zeros, too."""
    tolerance, random = Tolerance(precision="float32", accumulate_in=kept), np.random.default_rng(3)
    for _ in range(50):
        problem = random_problem(random)
        bound = bounds.stable(problem, ("bias",), tolerance.arithmetic).gradients["bias"]
        residual = METHODS["shortcut"].evaluate(problem, ("logits",)).gradients["logits"].astype(np.float32)
        total: Any = np.zeros(problem.n_classes)
        for row in residual:
            total = in_format(total + in_format(row.astype(np.float64), kept), kept)
        exact = METHODS["exact"].evaluate(problem, ("bias",)).gradients["bias"]
        assert (np.abs(total - exact) <= bound).all()


def test_a_sum_that_overflows_the_narrower_format_has_no_bound() -> None:
    """70,000 is none of float16: the logit is infinite there, and the probability 0."""
    problem = Problem([[-70000.0, 0.0]], [[1.0]], Targets([1]))
    arithmetic = Tolerance(precision="float32", accumulate_in="float16").arithmetic
    assert np.isinf(bounds.stable(problem, ("weights",), arithmetic).gradients["weights"]).all()


def test_without_an_option_nothing_of_it_is_in_the_arithmetic() -> None:
    """So each bound is what it was."""
    for precision, arithmetic in PRECISIONS.items():
        assert Tolerance(precision=precision).arithmetic == arithmetic
        for n in (1, 2, 10, 1000):
            assert arithmetic.roundings(3, n) == (n + 3) * arithmetic.u
            steps = n * arithmetic.u
            assert arithmetic.gamma(n) == (steps / (1 - steps) if steps < 1 else np.inf)


def test_a_number_that_the_other_format_holds_is_not_rounded() -> None:
    arithmetic, half = PRECISIONS["float32"], PRECISIONS["bfloat16"]
    held = exact(np.array([1.0, -0.75, 0.0]), arithmetic).stored(half)
    assert not held.errors.any()
    assert exact(np.array([1 + 2.0**-9]), arithmetic).stored(half).error[0] >= 2.0**-9
    too_large = exact(np.array([7e4]), arithmetic).stored(PRECISIONS["float16"])
    assert np.isinf(too_large.errors).all()


def test_sums_in_float32_of_bfloat16_numbers_are_rounded_once() -> None:
    random = np.random.default_rng(3)
    arithmetic = replace(PRECISIONS["bfloat16"], sums=PRECISIONS["float32"])
    for _ in range(200):
        a, b = (
            in_format(random.normal(size=(3, 300)), "bfloat16"),
            in_format(random.normal(size=(300, 2)), "bfloat16"),
        )
        result = product(entered(a, arithmetic), entered(b, arithmetic))
        assert (result.errors < 2.0**-8 * np.abs(result.value) + 2.0**-23 * 300 * 300).all()
        computed = in_format(a.astype(np.float32) @ b.astype(np.float32), "bfloat16")
        assert (np.abs(computed - result.value) <= result.errors).all()
        total = Rounded(a, 0.0, arithmetic).sum(axis=-1)
        computed = in_format(a.astype(np.float32).sum(axis=-1, dtype=np.float32), "bfloat16")
        assert (np.abs(computed - total.value) <= total.errors).all()


# Probabilities.


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_probable_bound_is_that_of_higham_and_mary(precision: str) -> None:
    """gamma~_n = exp(lambda sqrt(n) u + n u^2 / (1 - u)) - 1, past which each of M products goes with 2 exp(-lambda^2
    (1 - u)^2 / 2) = p / M (2019, theorem 2.4)."""
    u, failure = PRECISIONS[precision].u, 1e-12
    arithmetic = replace(PRECISIONS[precision], failure=failure)
    with mpmath.workprec(100):
        deviations = mpmath.sqrt(2 * mpmath.log(2 / mpmath.mpf(failure))) / (1 - u)
        assert abs(2 * mpmath.exp(-((deviations * (1 - u)) ** 2) / 2) / failure - 1) < 1e-20
        for n in (1, 10, 100, 4096, 10**6):
            probable = mpmath.exp(deviations * mpmath.sqrt(n) * u + n * mpmath.mpf(u) ** 2 / (1 - u)) - 1
            worst = n * u / (1 - n * u) if n * u < 1 else mpmath.inf
            assert math.isclose(float(arithmetic.gamma(n)), float(min(probable, worst)), rel_tol=1e-12)


def test_the_failure_is_shared_by_all_terms_of_all_sums() -> None:
    problem = Problem(np.ones((3, 4)), np.ones((2, 3)), Targets(labels=np.array([0, 1])))
    assert bounds.terms_of(problem) >= 2 * 4 * (3 + 1) + 2 * 2 * 3 * 4 + 2 * 4 + 2  # Z; dW and dx; S; L
    cells = bounds.cells_of(problem, Tolerance(precision="float32", confidence=1e-9).arithmetic)
    assert cells.arithmetic.failure == 1e-9 / bounds.terms_of(problem)


def test_a_long_sum_is_judged_by_its_square_root_only_if_that_was_asked_for() -> None:
    random = np.random.default_rng(5)
    weights = random.normal(size=(4096, 10)) / 64
    problem = Problem(weights, random.normal(size=(1, 4096)), Targets(labels=np.array([3])))
    tolerances = [Tolerance(precision="float32", confidence=chance) for chance in (None, 1e-9)]
    worst, probable = (
        bounds.stable(problem, arithmetic=one.arithmetic).gradients["weights"] for one in tolerances
    )
    assert (5 * probable < worst).all()
    exactly = METHODS["exact"].evaluate(problem)
    computed = METHODS["shortcut"].evaluate(replace(problem, precision="float32")).gradients["weights"]
    moved = computed + 2 * probable
    assert judge(problem, exactly, computed, tolerances[1]).outcome == RIGHT
    assert [judge(problem, exactly, moved, one).outcome for one in tolerances] == [RIGHT, WRONG]


def test_the_command_says_what_narrows_a_bound_and_what_it_rests_on(run: Run, tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    weights, inputs = random.normal(size=(1024, 3)) / 32, random.normal(size=(2, 1024))
    problem = Problem(weights, inputs, Targets(labels=np.array([0, 2])))
    np.savez(tmp_path / "problem.npz", W=weights, x=inputs, label=[0, 2])
    computed = METHODS["shortcut"].evaluate(replace(problem, precision="float32")).gradients["weights"]
    np.save(tmp_path / "gradient.npy", computed.astype(np.float32))
    files = (str(tmp_path / "problem.npz"), "--gradient", str(tmp_path / "gradient.npy"))
    worst = " ".join(run("verify", *files).out.split())
    assert "--summation pairwise narrows it" in worst and "errors of random sign stay within 1/" in worst
    probable = run("verify", *files, "--confidence", "1e-9")
    assert probable.status == 0
    assert " ".join(probable.out.split()).startswith(
        "✓ RIGHT if rounding errors are independent, with probability 1 - 1e-9:"
    )
    for options, kind in (
        ((), "derived"),
        (("--confidence", "1e-9"), "probabilistic"),
        (("--rtol", "1"), "given"),
    ):
        candidate = json.loads(run("verify", *files, *options, "--json").out)["candidate"]
        assert candidate["bound_kind"] == kind and isinstance(candidate["bound"], float)
    assert run("verify", *files, "--confidence", "2").status == 2
    narrow = narrower(
        problem, judge(problem, METHODS["exact"].evaluate(problem), computed, Tolerance("float32"))
    )
    assert narrow["--summation pairwise"] > narrow["--summation blocked=128"] > 1
    assert not narrower(
        problem, judge(problem, METHODS["exact"].evaluate(problem), computed, Tolerance(rtol=1e-3))
    )


def test_the_command_takes_a_recipe_and_what_is_rounded(run: Run) -> None:
    half = "sample_inputs/half.npz"
    assert run("verify", half).status == 1
    assert run("verify", half, "--recipe", "torch-bf16-linear").status == 0
    rounded = ("--logits-as", "--inputs-as", "--residual-as", "--stored-as")
    result = run("verify", half, *(word for option in rounded for word in (option, "bfloat16")))
    assert "for float32, inputs as bfloat16, logits as bfloat16" in " ".join(result.out.split())
    unknown = run("verify", half, "--recipe", "torch")
    assert unknown.status == 2 and "there is no recipe 'torch'" in unknown.err


# Recipes.


def test_each_recipe_sets_fields_of_a_tolerance_and_names_its_source() -> None:
    known = {field.name for field in fields(Tolerance)} - {"rtol", "atol", "confidence"}
    page = Path("docs/recipes.md").read_text(encoding="utf-8")
    for name, recipe in RECIPES.items():
        assert recipe.fields.keys() <= known and "/" in recipe.source
        tolerance = Tolerance.of_recipe(name)
        assert tolerance.is_mixed and tolerance.precision == "float32"
        assert f"`{name}`" in page, name


def test_what_is_given_comes_before_the_recipe() -> None:
    tolerance = Tolerance.of_recipe("liger-bf16", stored_as="float32", precision="float64", rtol=None)
    assert (tolerance.stored_as, tolerance.precision) == ("float32", "float64")
    assert (tolerance.logits_as, tolerance.recipe) == ("bfloat16", "liger-bf16")
    assert Tolerance.of_recipe(None, rtol=1e-3).rtol == 1e-3
    with pytest.raises(InputError, match="there is no recipe 'liger'; the recipes are torch-bf16-linear"):
        Tolerance.of_recipe("liger")


@pytest.mark.parametrize("pattern", mixed.EMULATED)
def test_a_right_gradient_of_a_recipe_is_never_wrong(pattern: str) -> None:
    """40 problems in both formats; many more, and larger ones, in benchmarks/mixed_precision.py."""
    random = np.random.default_rng(7)
    for _ in range(40):
        rows, inputs, classes = (int(np.exp(random.uniform(0.7, np.log(most)))) for most in (40, 60, 40))
        problem = mixed.random_problem(random, rows, inputs, classes)
        for short, half in HALF.items():
            assert_not_wrong(problem, pattern.format(short), mixed.EMULATED[pattern](problem, half))


def assert_not_wrong(problem: Problem, recipe: str, candidate: mixed.Results) -> None:
    exactly, rounding = mixed.reference(problem)
    tolerance = Tolerance.of_recipe(recipe)
    for name, values in candidate.items():
        if name in rounding:
            judged = judge(problem, exactly, values, tolerance, rounding[name], name)
            assert judged.outcome in NOT_WRONG, (recipe, name)


@pytest.mark.parametrize("recipe", [p.format(short) for p in mixed.BY_TORCH for short in HALF])
def test_what_torch_made_is_never_wrong(recipe: str) -> None:
    """Of torch 2.13 on a CPU, as `python tests/mixed.py` saved it."""
    saved = np.load(mixed.SAVED)
    assert str(saved["origin"]).startswith("torch 2.13")
    for index in range(2):
        problem = Problem(saved[f"{index} W"], saved[f"{index} x"], Targets(labels=saved[f"{index} label"]))
        candidate = {name: saved[f"{index} {recipe} {name}"] for name in ("weights", "inputs", "loss")}
        assert_not_wrong(problem, recipe, candidate)
        exactly = METHODS["exact"].evaluate(problem)
        assert judge(problem, exactly, candidate["weights"], Tolerance(precision="float32")).outcome == WRONG
        # The roundings of the numpy that the other tests use are those of torch.
        pattern = recipe.replace("bf16", "{}").replace("f16", "{}")
        half = HALF["bf16" if "bf16" in recipe else "f16"]
        emulated = mixed.EMULATED[pattern](problem, half)["weights"]
        assert np.mean(emulated == candidate["weights"]) > 0.8


@pytest.mark.parametrize("pattern", mixed.BY_TORCH)
def test_torch_itself_is_never_wrong(pattern: str) -> None:
    """Runs where torch is installed; with class weights, smoothing and ignored rows."""
    pytest.importorskip("torch")
    random = np.random.default_rng(9)
    for _ in range(40):
        rows, inputs, classes = (int(np.exp(random.uniform(0.7, np.log(most)))) for most in (40, 60, 40))
        problem = mixed.random_problem(random, rows, inputs, classes, weighted=True)
        for short, half in HALF.items():
            assert_not_wrong(problem, pattern.format(short), mixed.BY_TORCH[pattern](problem, half))


@pytest.mark.parametrize("pattern", mixed.EMULATED)
@pytest.mark.parametrize("mistake", ["wrong label", "chunk left out"])
def test_a_mistake_is_caught_in_mixed_precision_too(pattern: str, mistake: str) -> None:
    """How often, and at which sizes, is in docs/recipes.md."""
    problem = mixed.random_problem(np.random.default_rng(8), 32, 64, 20, options=False)
    exactly, rounding = mixed.reference(problem)
    for short, half in HALF.items():

        def weights(one: Problem, half: str = half) -> Any:
            return mixed.EMULATED[pattern](one, half)["weights"]

        tolerance = Tolerance.of_recipe(pattern.format(short))
        mistaken = mixed.MISTAKES[mistake](problem, weights)
        assert judge(problem, exactly, mistaken, tolerance, rounding["weights"]).outcome == WRONG


def test_the_levels_of_a_cascade() -> None:
    """torch's nll_loss adds up in steps of 16 terms, on 8 levels."""
    assert cascade(1) == 1 and cascade(16) == 16 and cascade(256) == 41 and cascade(10**6) == 89
    assert any_order(10) == cascade(10)
