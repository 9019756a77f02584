"""A wrong outcome that says what would make it right, where nobody said how the numbers were made."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from candidates import ORDERS, gradient, loss
from conftest import Run, one_line
from xegrad import METHODS, Claim, Problem, Targets, Tolerance, read
from xegrad.claim import Claimed, Reading
from xegrad.display.right_if import right_if_sentence
from xegrad.judgement import DIGITS_LOST, RIGHT, WRONG
from xegrad.numbers.arithmetic import PRECISIONS
from xegrad.tolerance import tolerance_for
from xegrad.verification import Verification, verify

SEED = "sample_inputs/seed.json"
FORMATS = ("float32", "float16", "bfloat16")


def random_batch(seed: int, n_inputs: int = 4, n_classes: int = 5) -> Problem:
    random = np.random.default_rng(seed)
    return Problem(
        random.normal(size=(n_inputs, n_classes)),
        random.normal(size=(3, n_inputs)),
        Targets(labels=random.integers(n_classes, size=3)),
    )


def in_bfloat16(values: Any) -> Any:
    """Rounded to nearest even by hand: numpy has no bfloat16."""
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def judged(problem: Problem, claimed: Claimed, **options: Any) -> Verification:
    claim = Claim({"weights": claimed})
    return verify(problem, claim, tolerance_for(problem, claim.dtype), **options)


def text_of(form: str, values: Any) -> str:
    return "[" + ", ".join("[" + ", ".join(form % value for value in row) + "]" for row in values) + "]"


# What is told, and what counts.


@pytest.mark.parametrize(
    ("stored", "options"),
    [
        (np.asarray, {"dtype": "float32"}),
        (lambda values: values.astype(np.float16), {"dtype": "float32", "stored_as": "float16"}),
        (in_bfloat16, {"dtype": "float32", "stored_as": "bfloat16"}),
    ],
    ids=FORMATS,
)
def test_a_precision_that_the_numbers_show_is_told_and_counts_if_it_may(
    stored: Callable[[Any], Any], options: Any
) -> None:
    for seed in range(8):
        problem = random_batch(seed)
        values = stored(gradient(problem, "float32", ORDERS["forward"])).astype(np.float64)
        told = judged(problem, Claimed(values))
        assert told.judgements["weights"].outcome == WRONG and not told.verified
        assert told.right_if["weights"].options == options
        counted = judged(problem, Claimed(values), auto=True)
        assert counted.verified and not counted.right_if and not counted.diagnoses
        assert counted.judgements["weights"].tolerance.precision == "float32"
        assert counted.judgements["weights"].tolerance.stored_as == options.get("stored_as")


def test_a_float32_loss_says_so_too() -> None:
    problem = random_batch(1)
    claim = Claim(loss=Claimed(np.array([loss(problem, "float32")], dtype=np.float64)))
    assert verify(problem, claim, Tolerance()).right_if["loss"].options == {"dtype": "float32"}
    assert verify(problem, claim, Tolerance(), auto=True).verified


def test_a_precision_that_was_given_is_the_only_one() -> None:
    problem = random_batch(2)
    values = gradient(problem, "float32", ORDERS["forward"]).astype(np.float64)
    assert not judged(replace(problem, precision="float64"), Claimed(values)).right_if
    assert not judged(problem, Claimed(values, dtype="float64")).right_if
    assert not judged(replace(problem, precision="float64"), Claimed(values), auto=True).verified
    house_rule = verify(problem, Claim({"weights": Claimed(values)}), Tolerance(rtol=1e-12))
    assert house_rule.judgements["weights"].outcome == WRONG and not house_rule.right_if


def test_a_mistake_that_is_named_is_what_is_told() -> None:
    problem = random_batch(3)
    values = -gradient(problem, "float32", ORDERS["forward"]).astype(np.float64)
    verification = judged(problem, Claimed(values), auto=True)
    assert not verification.verified and not verification.right_if
    assert "sign-flipped" in verification.diagnoses["weights"].names[0]


SATURATED = {"W": [[3, 0, -9]], "x": [[-2], [1], [3]], "label": [2, 1, 0]}  # probabilities down to 1e-15


def test_float32_is_told_first_where_a_mistake_makes_the_same_numbers_and_counts_only_if_it_is_given(
    run: Run,
) -> None:
    """Printed to six digits, the right gradient in float32 is also what two mistakes make."""
    problem = Problem(
        np.array(SATURATED["W"]), np.array(SATURATED["x"]), Targets(labels=np.array(SATURATED["label"]))
    )
    text = text_of("%g", gradient(problem, "float32", ORDERS["forward"]))
    arguments, stdin = ("verify", "-", "--gradient", text), json.dumps(SATURATED)
    outcome = run(*arguments, stdin=stdin)
    told = one_line(outcome)
    first, wrong, otherwise, mistake = (
        told.index(words)
        for words in (
            "≈ dL/dW is correct if it was computed in float32",
            "WRONG: ",
            "If it was made otherwise",
            "MISTAKE",
        )
    )
    assert 0 == first < wrong < otherwise < mistake
    for option, status in (("float64", 1), ("auto", 1), ("float32", 0)):
        assert run(*arguments, "--dtype", option, "-q", stdin=stdin).status == status
    candidate = json.loads(run(*arguments, "--dtype", "auto", "--json", stdin=stdin).out)["candidate"]
    assert (candidate["outcome"], candidate["right_if"]) == ("wrong", {"dtype": "float32"})
    assert ["rows-left-out"] in [one["slips"] for one in candidate["diagnosis"]]


@pytest.mark.usefixtures("undiagnosed")
def test_an_entry_that_float32_does_not_explain_is_wrong_in_every_precision() -> None:
    for seed in range(20):
        problem = random_batch(seed)
        values = gradient(problem, "float32", ORDERS["forward"])
        values[1, 2] *= np.float32(1 + 1e-3)
        verification = judged(problem, Claimed(values.astype(np.float64)), auto=True)
        assert not verification.verified and not verification.right_if


def test_a_bound_that_says_nothing_explains_nothing() -> None:
    """In float32 the logits of 1e9 - 1e9 are not resolved: right is no more than undecided."""
    problem = Problem(np.array([[1e9, 0], [-1e9, 0]]), np.ones((1, 2)), Targets(labels=np.array([0])))
    verification = judged(problem, Claimed(np.array([[0.25, 0.5], [-0.5, 0.5]])))
    narrow = judged(replace(problem, precision="float32"), Claimed(np.array([[-0.5, 0.5]] * 2)))
    assert not verification.right_if
    assert narrow.judgements["weights"].outcome != WRONG


def test_lost_digits_are_not_called_correct() -> None:
    """Of a probability within 1e-9 of 1, S - 1 is 0 in float32: within the bound, and no digit is correct."""
    problem = Problem(np.array([[20.0, 0.0]]), np.ones((1, 1)), Targets(labels=np.array([0])))
    exact = METHODS["exact"].evaluate(problem).gradients["weights"]
    values = np.array([[0.0, np.float64(np.float32(exact[0, 1]))]])
    verification = judged(problem, Claimed(values))
    assert verification.right_if["weights"].judgement.outcome == DIGITS_LOST
    sentence = right_if_sentence(verification.right_if["weights"])
    assert sentence.startswith("dL/dW is within its error bound if it was computed in float32 (")


# Full-precision numbers that agree to 8 to 11 digits.


def with_weight_decay(problem: Problem, exact: Any) -> Any:
    return exact + 1e-8 * problem.weights


def with_a_log_of_s_plus_epsilon(problem: Problem, exact: Any) -> Any:
    """The derivative of -log(S_c + 1e-8), which is the right one times S_c / (S_c + 1e-8) in each row."""
    logits = problem.inputs @ problem.weights
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    S = exponentials / exponentials.sum(axis=1, keepdims=True)
    labels = problem.targets.labels
    S_c = S[np.arange(len(S)), labels][:, None]
    residual = (S - np.eye(S.shape[1])[labels]) * S_c / (S_c + 1e-8)
    return problem.inputs.T @ residual / len(S)


def by_central_differences(problem: Problem, exact: Any) -> Any:
    step, moved = 1e-5, np.zeros_like(exact)
    for place in np.ndindex(exact.shape):
        ends = []
        for sign in (1, -1):
            weights = problem.weights.copy()
            weights[place] += sign * step
            ends.append(float(loss(replace(problem, weights=weights), "float64")))
        moved[place] = (ends[0] - ends[1]) / (2 * step)
    return moved


@pytest.mark.parametrize(
    "made",
    [with_weight_decay, with_a_log_of_s_plus_epsilon, by_central_differences],
    ids=lambda f: f.__name__,
)
@pytest.mark.usefixtures("undiagnosed")
def test_full_precision_that_agrees_to_eight_digits_is_never_right(made: Callable[..., Any]) -> None:
    """Each would be within the bound of float32."""
    would_be_right = 0
    for seed in range(15):
        problem = random_batch(seed)
        exact = METHODS["exact"].evaluate(problem).gradients["weights"]
        values = made(problem, exact)
        verification = judged(problem, Claimed(values), auto=True)
        assert verification.judgements["weights"].outcome == WRONG
        assert not verification.verified and not verification.right_if
        in_float32 = judged(replace(problem, precision="float32"), Claimed(values))
        would_be_right += in_float32.verified
    assert would_be_right >= 10


def test_so_many_digits_tell_the_numbers_of_a_format_apart() -> None:
    """9, 5 and 4, as C's DECIMAL_DIG has them; and one fewer does not."""
    for name, digits in zip(FORMATS, (9, 5, 4), strict=True):
        arithmetic = PRECISIONS[name]
        assert digits == math.ceil(1 - math.log10(arithmetic.u))
        starts = [
            start * (1 + k * 2 * arithmetic.u) for start in (1.0, 2.0**-10, 2.0**10) for k in range(100)
        ]
        ends = [start * (1 + 2 * arithmetic.u) for start in starts]
        pairs = [(f"{a:.{digits - 1}e}", f"{b:.{digits - 1}e}") for a, b in zip(starts, ends, strict=True)]
        assert all(a != b for a, b in pairs)


@pytest.mark.parametrize("name", ["float32", "float16"])
def test_the_nearest_number_of_a_format_is_what_numpy_rounds_to(name: str) -> None:
    random = np.random.default_rng(5)
    values = random.normal(size=2000) * 2.0 ** random.uniform(-40, 14, size=2000)
    assert (PRECISIONS[name].nearest(values) == values.astype(name).astype(np.float64)).all()
    bfloat = random.normal(size=2000).astype(np.float32)
    assert (PRECISIONS["bfloat16"].nearest(bfloat.astype(np.float64)) == in_bfloat16(bfloat)).all()


# Readings.


def rounded(values: Any, decimals: int) -> Claimed:
    reading = Reading(0.5 * 10.0**-decimals * (1 + 2.0**-40), decimals=decimals)
    return Claimed(np.round(values, decimals), others=(reading,))


def test_a_reading_that_nobody_asked_for_is_told_and_never_counts() -> None:
    problem = random_batch(4)
    values = METHODS["exact"].evaluate(problem).gradients["weights"]
    for auto in (False, True):
        verification = judged(problem, rounded(values, 3), auto=auto)
        assert verification.right_if["weights"].options == {"decimals": 3}
        assert not verification.verified


def test_a_reading_and_a_precision_are_told_together() -> None:
    """Nine decimals resolve more than float32 does."""
    problem = random_batch(5)
    values = gradient(problem, "float32", ORDERS["forward"]).astype(np.float64)
    options = judged(problem, rounded(values, 9), auto=True).right_if["weights"].options
    assert options == {"dtype": "float32", "decimals": 9}


def test_float32_is_seen_through_sixteen_decimals() -> None:
    """As R prints with digits = 15: half a unit of the last place is less than what reading it rounds away."""
    problem = read(SEED)
    values = gradient(problem, "float32", ORDERS["forward"]).astype(np.float64)
    printed = np.array([[float(f"{value:.16f}") for value in row] for row in values])
    reading = Reading(0.5e-16 * (1 + 2.0**-40), decimals=16)
    verification = judged(problem, Claimed(printed, others=(reading,)))
    assert verification.right_if["weights"].options == {"dtype": "float32", "decimals": 16}
    next_floats = np.nextafter(values, 1)
    assert not judged(problem, Claimed(next_floats)).right_if


# Mistakes, and steps.


@pytest.mark.parametrize("form", ["%.17g", "%.9g", "%.8f", "%.6g"])
def test_a_mistake_in_float32_is_named_however_it_is_printed(run: Run, form: str) -> None:
    problem = random_batch(6)
    single = problem.astype(np.dtype(np.float32))
    softened = single.inputs @ single.weights / np.float32(2)
    exponentials = np.exp(softened - softened.max(axis=1, keepdims=True))
    S = exponentials / exponentials.sum(axis=1, keepdims=True)
    residual = S - np.eye(5, dtype=np.float32)[problem.targets.labels]
    text = text_of(form, single.inputs.T @ (residual / np.float32(3)))
    written = json.dumps(
        {
            "W": problem.weights.tolist(),
            "x": problem.inputs.tolist(),
            "label": problem.targets.label_of_rows.tolist(),
        }
    )
    result = json.loads(run("verify", "-", "--gradient", text, "--json", stdin=written).out)["candidate"]
    assert result["outcome"] == WRONG and "right_if" not in result
    assert [one["slips"] for one in result["diagnosis"]] == [["temperature"]]
    assert result["diagnosed_if"] == {"dtype": "float32"}
    outcome = run("verify", "-", "--gradient", text, stdin=written)
    assert "If it was computed in float32 (`--dtype float32`), its mistake is known:" in one_line(outcome)
    assert "MISTAKE temperature (explains all 20 entries)" in outcome.out


def test_steps_in_float32_say_so(run: Run) -> None:
    problem = read(SEED)
    single = problem.astype(np.dtype(np.float32))
    logits = single.inputs @ single.weights
    probabilities = np.exp(logits) / np.exp(logits).sum()
    steps = {"logits": logits[0], "probabilities": probabilities[0]}
    text = json.dumps({name: step.astype(np.float64).tolist() for name, step in steps.items()})
    outcome = run("verify", SEED, "--gradient", text)
    assert outcome.status == 1
    said = "≈ The steps are correct if they were computed in float32: `--dtype float32` says so. ✗ WRONG: logits is "
    assert one_line(outcome).startswith(said)
    result = json.loads(run("verify", SEED, "--gradient", text, "--json").out)
    assert result["steps"]["right_if"] == {"dtype": "float32"}
    for dtype in ("auto", "float32"):
        assert run("verify", SEED, "--gradient", text, "--dtype", dtype, "-q").status == 0


# On the command line.


def test_the_sentence_comes_first_and_the_options_that_it_names_make_it_right(run: Run) -> None:
    problem = read(SEED)
    values = gradient(problem, "float32", ORDERS["forward"])
    for text in (json.dumps(values.astype(np.float64).tolist()), text_of("%.9g", values)):
        arguments = ("verify", SEED, "--gradient", text)
        outcome = run(*arguments)
        assert outcome.status == 1
        # exp in float32 differs by an ulp between processors, and with it how many digits the worst entry has.
        start = (
            r"≈ dL/dW is correct if it was computed in float32 \(7 digits agree( in the median entry)?\): "
        )
        assert re.match(f"{start}`--dtype float32` says so. ✗ WRONG: ", one_line(outcome))
        candidate = json.loads(run(*arguments, "--json").out)["candidate"]
        assert candidate["outcome"] == WRONG
        assert candidate["right_if"] == {"dtype": "float32"}
        assert run(*arguments, "--dtype", "float32", "-q").status == 0
        automatic = run(*arguments, "--dtype", "auto", "--json")
        assert automatic.status == 0
        assert json.loads(automatic.out)["candidate"]["outcome"] == RIGHT
        assert run(*arguments, "--dtype", "float64", "-q").status == 1


def test_a_half_precision_is_float32_that_was_stored_so(run: Run) -> None:
    values = in_bfloat16(gradient(read(SEED), "float32", ORDERS["forward"]))
    arguments = ("verify", SEED, "--gradient", json.dumps(values.astype(np.float64).tolist()))
    assert "computed in float32 and stored as bfloat16 (2 digits agree)" in one_line(run(*arguments))
    assert run(*arguments, "--dtype", "bfloat16", "-q").status == 0
    assert run(*arguments, "--dtype", "float32", "--stored-as", "bfloat16", "-q").status == 0
    assert run(*arguments, "--dtype", "float16", "-q").status == 1
    assert run(*arguments, "--dtype", "float16", "--stored-as", "bfloat16").status == 2


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "auto"])
def test_nothing_is_computed_in_what_verify_alone_knows(run: Run, dtype: str) -> None:
    for command in (("compute",), ("verify",), ("explain",), ("descend",)):
        outcome = run(*command, SEED, "--dtype", dtype)
        assert outcome.status == 2 and outcome.out == ""
        assert f"the precision is '{dtype}'; it is one of float64, float32" in outcome.err
        assert outcome.err.count("\n") == 1


def test_a_line_of_a_stream_has_its_own_precision(run: Run, tmp_path: Path) -> None:
    problem = json.loads(Path(SEED).read_text())
    values = gradient(read(SEED), "float32", ORDERS["forward"]).astype(np.float64)
    brought = [{"dtype": "auto"}, {}, {"dtype": "float32"}, {"dtype": "bfloat16"}]
    lines = [json.dumps(problem | {"gradient": values.tolist()} | line) for line in brought]
    path = tmp_path / "lines.ndjson"
    path.write_text("\n".join(lines))
    outcome = run("verify", str(path))
    results = [json.loads(line) for line in outcome.out.splitlines()]
    assert [one["judgements"]["W"]["outcome"] for one in results] == [RIGHT, WRONG, RIGHT, RIGHT]
    assert [one["candidate"].get("right_if") for one in results] == [None, {"dtype": "float32"}, None, None]
    assert outcome.status == 1
