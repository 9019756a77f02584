"""`xegrad verify`: anyone's gradient, in the forms that it comes in."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from candidates import ORDERS, gradient
from conftest import Outcome, Run, Shell, one_line
from seed import GRADIENT, LOSS
from xegrad import METHODS, Claim, Problem, Targets, check, judge, read
from xegrad.claim import Claimed
from xegrad.display.outcome import median_of, outcome_sentence
from xegrad.errors import InputError
from xegrad.nonfinite import cause_of_nonfinite
from xegrad.tolerance import Tolerance, tolerance_for
from xegrad.verification import verify

SEED = "sample_inputs/seed.json"
SATURATED = "sample_inputs/saturated.json"

# As the derivation prints it, with reshape(W.shape): the right numbers in the wrong places.
SCRAMBLED = """\
[[ 0.01909135  0.09545676  0.07636541  0.02035314  0.10176572]
 [ 0.08141258 -0.07830167 -0.39150833 -0.31320667  0.02313243]
 [ 0.11566214  0.09252971  0.01572474  0.07862371  0.06289897]]
"""
PRINTED = """\
array([[ 0.01909135,  0.02035314, -0.07830167,  0.02313243,  0.01572474],
       [ 0.09545676,  0.10176572, -0.39150833,  0.11566214,  0.07862371],
       [ 0.07636541,  0.08141258, -0.31320667,  0.09252971,  0.06289897]])
"""


def exact_gradient() -> Any:
    return METHODS["exact"].evaluate(read(SEED)).gradients["weights"]


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str, Any], str]:
    """file(name, content): a path; arrays are saved as NPY, the rest as JSON unless it is text."""

    def write(name: str, content: Any) -> str:
        path = tmp_path / name
        if isinstance(content, np.ndarray):
            np.save(path, content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    return write


@pytest.mark.parametrize("sample", [SEED, SATURATED, "sample_inputs/seed.csv"])
def test_the_methods_verify_themselves(run: Run, sample: str) -> None:
    outcome = run("verify", sample)
    assert outcome.status == 0
    assert outcome.out.startswith("✓ VERIFIED: all 7 checks passed.\n")


def test_a_chain_that_is_not_a_number_fails(run: Run) -> None:
    outcome = run("verify", "sample_inputs/underflow.json")
    assert outcome.status == 1
    assert "FAILED: 3 of 7 checks: chain; chain against shortcut; chain, loss." in one_line(outcome)


def test_the_printed_scrambled_matrix_is_wrong(run: Run, file: Any, golden: Any) -> None:
    outcome = run("verify", SEED, "--gradient", file("scrambled.txt", SCRAMBLED))
    assert outcome.status == 1
    golden("verify-scrambled-80", outcome.out)
    assert "is wrong for float64 in 12 of 15 entries." in one_line(outcome)
    assert "read as printed to 8 decimals" in one_line(outcome)


@pytest.mark.parametrize(
    "text",
    [
        PRINTED,
        PRINTED.replace("array(", "").replace(")", "").replace(",", ""),
        PRINTED.replace("array", "tensor"),
    ],
    ids=["repr", "str", "tensor"],
)
def test_the_right_matrix_as_numpy_prints_it_is_right(run: Run, file: Any, text: str) -> None:
    outcome = run("verify", SEED, "--gradient", file("printed.txt", text))
    assert outcome.status == 0
    assert outcome.out.startswith("✓ RIGHT: dL/dW, read as printed to 8 decimals, is correct")
    assert "read as printed to 8 decimals" in one_line(outcome)


@pytest.mark.parametrize("suffix", ["json", "csv", "txt"])
def test_the_right_numbers_with_eight_decimals_are_right_in_every_form(
    run: Run, file: Any, suffix: str
) -> None:
    separator = " " if suffix == "txt" else ","
    lines = "\n".join(separator.join(map(str, row)) for row in GRADIENT)
    content = GRADIENT if suffix == "json" else lines
    outcome = run("verify", SEED, "--gradient", file(f"printed.{suffix}", content), "--json")
    assert json.loads(outcome.out)["candidate"]["outcome"] == "right"


def test_a_number_beyond_floats_among_printed_ones_is_not_finite(run: Run, file: Any) -> None:
    lines = [["1e999", *row[1:]] if k == 0 else row for k, row in enumerate(GRADIENT)]
    text = "\n".join(",".join(map(str, row)) for row in lines)
    outcome = run("verify", SEED, "--gradient", file("printed.csv", text), "--json")
    assert outcome.status == 1
    assert json.loads(outcome.out)["candidate"]["worst"]["yours"] is None


def test_printing_can_be_told_apart_from_being_wrong(run: Run, file: Any) -> None:
    path = file("printed.json", GRADIENT)
    assert run("verify", SEED, "--gradient", path, "--decimals", "none", "-q").status == 1
    assert run("verify", SEED, "--gradient", path, "--decimals", "9", "-q").status == 1
    assert run("verify", SEED, "--gradient", path, "--decimals", "8", "-q").status == 0


def test_decimals_that_resolve_nothing_are_undecided(run: Run, file: Any) -> None:
    problem = json.dumps({"W": [[1, 2]], "x": [1e-9], "label": 0})
    outcome = run("verify", "-", "--gradient", "[[-0.0000, 0.0000]]", stdin=problem)
    assert outcome.status == 1
    assert outcome.out.startswith("? UNDECIDED: 4 decimals resolve no entry")


def test_numbers_in_exponent_notation_are_judged_to_their_own_last_digit(run: Run) -> None:
    assert run("verify", SATURATED, "--gradient", "[[-1.3702e-20, 1.0017e-20, 3.6851e-21]]", "-q").status == 0
    assert run("verify", SATURATED, "--gradient", "[[-1.3704e-20, 1.0017e-20, 3.6852e-21]]", "-q").status == 1


def test_a_float32_gradient_is_right_with_its_digits(run: Run, file: Any) -> None:
    path = file("g.npy", gradient(read(SEED), "float32", ORDERS["forward"]))
    outcome = run("verify", SEED, "--gradient", path)
    assert outcome.status == 0
    assert "RIGHT: dL/dW is correct for float32. 7 digits agree in the median entry" in one_line(outcome)
    assert (
        json.loads(run("verify", SEED, "--gradient", path, "--json").out)["candidate"]["correct_digits"] >= 6
    )
    assert run("verify", SEED, "--gradient", path, "--dtype", "float64", "-q").status == 1


def test_a_half_precision_file_was_computed_in_float32_and_stored(run: Run, file: Any) -> None:
    path = file("g.npy", exact_gradient().astype(np.float16))
    outcome = run("verify", SEED, "--gradient", path)
    assert outcome.status == 0
    assert "is correct for float32 stored as float16." in one_line(outcome)


def test_one_entry_off_by_a_millionth_is_wrong_and_located(run: Run, file: Any) -> None:
    wrong = exact_gradient()
    wrong[1, 3] *= 1 + 1e-6
    path = file("off.json", wrong.tolist())
    outcome = run("verify", SEED, "--gradient", path)
    assert outcome.status == 1
    assert "is wrong for float64 in 1 of 15 entries, W[input 1, class 3]." in one_line(outcome)
    candidate = json.loads(run("verify", SEED, "--gradient", path, "--json").out)["candidate"]
    assert candidate["outcome"] == "wrong"
    assert candidate["pattern"] == "one entry"
    assert candidate["wrong_entries"] == 1
    assert (candidate["worst"]["input"], candidate["worst"]["class"]) == (1, 3)
    assert candidate["worst"]["yours"] == wrong[1, 3]
    assert candidate["correct_digits"] == 6


def test_the_saturated_shortcut_has_lost_its_digits(run: Run) -> None:
    """S - y of a rounded S: the target entry is 0 in place of -1.37e-20."""
    problem = read(SATURATED)
    candidate = json.dumps(gradient(problem, "float64", ORDERS["forward"]).tolist())
    arguments = ("verify", SATURATED, "--gradient", candidate)
    outcome = run(*arguments)
    assert outcome.status == 0
    assert outcome.out.startswith("≈ DIGITS LOST: dL/dW is within the error bound for float64, but 1 of 3")
    assert "S_c - 1 from a rounded S_c keeps nothing below" in one_line(outcome)
    assert "W[input 0, class 0]" in outcome.out
    assert run(*arguments, "--strict", "-q") == Outcome(1, "", "")
    assert json.loads(run(*arguments, "--json").out)["candidate"]["outcome"] == "digits-lost"


def test_a_problem_brings_its_own_candidate(run: Run) -> None:
    problem = json.loads(Path(SEED).read_text())
    right = json.dumps(problem | {"gradient": exact_gradient().tolist(), "loss": LOSS})
    assert run("verify", stdin=right).status == 0
    wrong = json.dumps(problem | {"gradient": exact_gradient().tolist(), "loss": -LOSS})
    outcome = run("verify", stdin=wrong)
    assert outcome.status == 1
    assert "A loss is never negative" in one_line(outcome)
    assert "right gradient with wrong loss" in one_line(outcome)
    single = json.dumps(problem | {"gradient": np.float32(exact_gradient()).tolist(), "dtype": "float32"})
    assert "is correct for float32." in one_line(run("verify", stdin=single))


@pytest.mark.parametrize(
    ("value", "status"),
    [("1.5279347484961026", 0), ("1.5279347", 0), ("1.52793", 0), ("1.52794", 1), ("nan", 1)],
)
def test_a_loss_alone_is_checked(run: Run, value: str, status: int) -> None:
    assert run("verify", SEED, "--loss", value, "-q").status == status


def test_a_right_loss_with_a_wrong_gradient_is_said(run: Run) -> None:
    outcome = run("verify", SEED, "--loss", str(LOSS), "--gradient", json.dumps(np.ones((3, 5)).tolist()))
    assert outcome.status == 1
    assert "right loss with wrong gradient" in one_line(outcome)


def test_gradients_of_the_other_parts_are_checked(run: Run) -> None:
    problem = read(SEED)
    names = {"b": "bias", "x": "inputs", "logits": "logits"}
    exact = METHODS["exact"].evaluate(problem, tuple(names.values()))
    for symbol, name in names.items():
        text = json.dumps(exact.gradients[name].ravel().tolist())
        arguments = ("verify", SEED, "--with-respect-to", symbol, "--gradient")
        assert run(*arguments, text, "-q").status == 0
        wrong = exact.gradients[name].ravel()
        wrong[0] += 1
        outcome = run(*arguments, json.dumps(wrong.tolist()))
        assert outcome.status == 1
        assert f"dL/d{symbol} is wrong for float64 in 1 of {wrong.size} entries, {symbol}[" in one_line(
            outcome
        )


def test_a_transposed_problem_has_transposed_gradients(run: Run) -> None:
    turned = json.dumps(read(SEED).weights.T.tolist())
    arguments = ("verify", "-W", turned, "-x", "0.1,0.5,0.4", "-y", "2", "--transpose", "--gradient")
    assert run(*arguments, json.dumps(exact_gradient().T.tolist()), "-q").status == 0
    outcome = run(*arguments, json.dumps(exact_gradient().tolist()))
    assert outcome.status == 1
    assert "the gradient has another shape than it should have" in one_line(outcome)
    assert "MISTAKE transposed" in outcome.out


def test_what_is_not_finite_is_wrong_and_its_cause_is_named(run: Run) -> None:
    large = json.dumps({"W": [[800, 0]], "x": [1], "label": 0})
    outcome = run("verify", "-", "--gradient", "[[NaN, NaN]]", stdin=large)
    assert outcome.status == 1
    assert "the largest logit of a row is 800, and exp of it overflows in float64: subtract" in one_line(
        outcome
    )
    small = json.dumps({"W": [[-800, -900]], "x": [1], "label": 0})
    assert "not max(0, maximum)" in one_line(run("verify", "-", "--gradient", "[[null, null]]", stdin=small))
    apart = json.dumps({"W": [[-800, 0]], "x": [1], "label": 0})
    assert "the chain's Q/S is infinite" in one_line(
        run("verify", "-", "--gradient", "[[nan, nan]]", stdin=apart)
    )


@pytest.mark.parametrize(
    ("weights", "gradient", "cause"),
    [
        ([800, 0, 1], [np.nan, -1, 0], "exp of it overflows"),  # inf / inf beside 0 / inf
        ([800, 0, 1], [np.nan, np.nan, np.nan], "Q/S is infinite"),
        ([800, 0, 1], [np.inf, -1, 0], ""),  # no formula makes an infinity of it
        ([800, 0, 1], [0, -1, np.nan], ""),  # another class
        ([-800, -900, -850], [np.nan, np.nan, np.nan], "exp of it underflows to 0"),
        ([-800, -900, -850], [np.nan, 0, 0], ""),
        ([737, 0, 1], [np.inf, np.nan, np.inf], "Q/S is infinite"),  # though S is not 0
        ([709.5, 709.5, 1], [np.nan, np.nan, np.nan], "is 709.5, and the sum of the exponentials overflows"),
        (
            [-700, -760, -900],
            [np.nan, np.nan, np.nan],
            "of a target class is -760, and exp of it underflows to 0",
        ),
        ([1, 2, 3], [np.nan, np.nan, np.nan], ""),
    ],
)
def test_a_cause_is_named_only_if_it_makes_these_entries(
    weights: list[float], gradient: list[float], cause: str
) -> None:
    problem = Problem([weights], [[1.0]], Targets([1]))
    found = cause_of_nonfinite(judge(problem, [gradient], Tolerance("float64")))
    assert cause in found
    assert bool(cause) == bool(found)


def test_the_row_that_is_named_is_the_one_that_is_not_finite() -> None:
    """With max(0, maximum) no exp overflows, whatever other rows are."""
    problem = Problem(np.array([[800.0, 0], [-800, -810]]), np.eye(2), Targets([0, 0]))
    gradient = [[0.0, 0.0], [np.nan, np.nan]]
    found = cause_of_nonfinite(judge(problem, gradient, Tolerance("float64"), with_respect_to="logits"))
    assert found.startswith("the largest logit of a row is -800, and exp of it underflows to 0")


@pytest.mark.parametrize(
    ("weights", "x", "gradient", "tolerance", "cause"),
    [
        ([1e-38, 0], 1e38, [-np.inf, np.inf], Tolerance("float32"), "beyond the largest number of float32"),
        ([1e-7, 0], 1e6, [-np.inf, np.inf], Tolerance("float32", stored_as="float16"), "number of float16"),
        ([1e30, 0], 1e10, [np.nan, np.nan], Tolerance("float32"), "a logit is beyond the largest number"),
        ([800, 0], 1, [np.nan, np.nan], Tolerance("bfloat16"), "exp of it overflows"),
    ],
)
def test_what_overflows_after_finite_logits_is_no_logit(
    weights: list[float], x: float, gradient: list[float], tolerance: Tolerance, cause: str
) -> None:
    problem = Problem([weights], [[x]], Targets(soft=[[100.0, 0.0]]))
    found = cause_of_nonfinite(judge(problem, [gradient], tolerance))
    assert cause in found
    assert ("though the logits are not" in found) == (np.isinf(gradient).all())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--gradient", "[[1,2,3]]"), "the gradient is 1 x 3, but 3 x 5 is expected"),
        (("--gradient", json.dumps(list(range(14)))), "the gradient is 14 numbers, but 3 x 5 is expected"),
        (("--gradient", "[[1,2],[3]]"), "all rows must be equally long"),
        (("--gradient", '[["a",2]]'), "row 0, column 0 is 'a'; a number is expected"),
        (("--gradient", '{"grad": [1]}'), "'grad' is no gradient, loss or step"),
        (("--gradient", "no.json"), "there is no file 'no.json'"),
        (("--gradient", "[[0.1 0.2 ... 0.3]]"), "the matrix is abbreviated with '...'"),
        (("--gradient", "-", "-x", "-"), "standard input holds one thing"),
        (("--loss", "much"), "--loss is 'much'; a number is expected"),
        (("--dtype", "float8"), "there is no precision 'float8'"),
        (("--summation", "blocked=0"), "--summation is 'blocked=0'"),
        (("--decimals", "many"), "--decimals is 'many'"),
        (("--with-respect-to", "q"), "there is no gradient 'q'; the gradients are W, b, x, logits"),
        (("--rtol", "-1"), "--rtol is '-1'; a number from 0 is expected"),
    ],
)
def test_bad_candidates_are_refused_in_one_line(run: Run, arguments: tuple[str, ...], said: str) -> None:
    outcome = run("verify", SEED, *arguments)
    assert outcome.status == 2
    assert outcome.out == ""
    assert said in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_pickled_array_is_never_loaded(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "evil.npy"
    np.save(path, np.array([[object()]]), allow_pickle=True)
    outcome = run("verify", SEED, "--gradient", str(path))
    assert outcome.status == 2
    assert "holds Python objects, which may run any program and are never read" in outcome.err


def test_all_entries_are_shown_when_asked_for(run: Run) -> None:
    wrong = json.dumps(np.ones((3, 5)).tolist())
    assert "and 12 more; --all shows them" in run("verify", SEED, "--gradient", wrong, "--top", "3").out
    out = run("verify", SEED, "--gradient", wrong, "--all").out
    assert out.count("W[input") == 15


def test_another_programs_json_can_be_piped_in(shell: Shell) -> None:
    if shutil.which("jq") is None:
        pytest.skip("jq is not installed")
    line = f"xegrad compute {SEED} --method chain --json | xegrad verify {SEED} --gradient - --json | jq .verified"
    assert shell(line) == Outcome(0, "true\n", "")


def test_json_tells_every_check(run: Run) -> None:
    result = json.loads(run("verify", SEED, "--json").out)
    assert result["verified"] is True
    assert "candidate" not in result
    checks = {check["name"]: check for check in result["checks"]}
    assert checks["chain"]["passed"] is True
    assert checks["finite-difference"]["advisory"] is True
    assert result["warnings"] == []


def test_quiet_only_sets_the_status(run: Run) -> None:
    assert run("verify", SEED, "-q") == Outcome(0, "", "")
    assert run("verify", SEED, "-q", "--json", "--loss", "9") == Outcome(1, "", "")


@pytest.mark.parametrize(
    "text",
    [
        lambda rows: "\n".join(",".join(f"{entry:.6g}" for entry in row) for row in rows),
        lambda rows: "\n".join(" ".join(f"{entry:.5e}" for entry in row) for row in rows),
        lambda rows: (
            "tensor(1e-02 *\n" + str([[round(100 * entry, 6) for entry in row] for row in rows]) + ")"
        ),
        lambda rows: "# dL/dW [3x5]\n" + "\n".join(" ".join(map(str, row)) for row in rows),
        lambda rows: "class 0,class 1,c 2,c 3,c 4\n" + "\n".join(",".join(map(str, row)) for row in rows),
        lambda rows: "0,1,2,3,4\n" + "\n".join(",".join(f'"{entry}"' for entry in row) + "," for row in rows),
        lambda rows: "[INFO] grad = " + PRINTED,
        lambda rows: str([[f"np.float64({entry})" for entry in row] for row in rows]).replace("'", ""),
    ],
    ids=["%g", "%e", "factor", "comment", "header", "spreadsheet", "log", "scalars"],
)
def test_what_people_paste_is_read(run: Run, file: Any, text: Callable[[Any], str]) -> None:
    outcome = run("verify", SEED, "--gradient", file("pasted.txt", text(exact_gradient().tolist())))
    assert outcome.err == ""
    assert outcome.out.startswith("✓ RIGHT: dL/dW")


@pytest.mark.parametrize(
    "text",
    [
        lambda rows: f"tensor({rows}, device='cuda:0', dtype=torch.float64,\n       grad_fn=<MmBackward0>)",
        lambda rows: f"Parameter containing:\ntensor({rows}, dtype=torch.float64, requires_grad=True)",
        lambda rows: f"tf.Tensor(\n{np.array(rows)}, shape=(3, 5), dtype=float64)",
        lambda rows: f"dL/dW:\n{np.array(rows)}\n",
        lambda rows: "1.0e-02 *\n" + str([[round(100 * entry, 6) for entry in row] for row in rows]),
        lambda rows: str(rows).replace("]", ",]").replace("[", "[ "),
        lambda rows: str([entry for row in rows for entry in row]),
        lambda rows: '"a, b",c,d,e,f\n' + "\n".join(",".join(map(str, row)) for row in rows),
    ],
    ids=["keywords", "parameter", "tensorflow", "name", "factor", "blanks", "flat", "quoted"],
)
def test_what_libraries_print_around_an_array_is_read(
    run: Run, file: Any, text: Callable[[Any], str]
) -> None:
    outcome = run("verify", SEED, "--gradient", file("printed.txt", text(exact_gradient().tolist())))
    assert outcome.err == ""
    assert outcome.out.startswith("✓ RIGHT: dL/dW")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("-G", "'-[[0.019"),
        ("-array(G)", "'-array([[0.019"),
        ("G * 5", "'* 5'"),
        ("array(G) * 5", "'* 5'"),
        ("0.25 * np.array(G)", "'0.25 * np.array([[0.019"),
        ("5 * G", "'5 * [[0.019"),
        ("array(G) + 1", "'+ 1'"),
        ("array(G) / 4", "'/ 4'"),
        ("array(G).T", "'.T'"),
        ("G.T", "'.T'"),
        ("G\nG", "'[[0.019"),
        ("[1 2 3]\n[4 5 6]", "'[4 5 6]'"),
        ("abs(G)", "'abs([[0.019"),
        ("2*grad = G", "'2*grad = [[0.019"),
        ("G/4 = G", "= [[0.019"),
        ("array(G, ndmin=3)", "', ndmin=3)'"),
        ("array(G", "the parenthesis after array does not close"),
        ("[INFO] grad = ", "'[INFO] grad ='"),
        ("G)", "')'"),
        ("[[1 2]\n -[3 4]]", "'-'"),
        ("[[1 2]\n 7 8\n [3 4]]", "'7 8'"),
        ("[[1, 2], …, [3, 4]]", "'…'"),
        ("[[1 2]\n …\n [3 4]]", "'…'"),
        ("[[1,,2]]", "row 0, column 1 is ''"),
        ("[[1 2*3]]", "row 0, column 1 is '2*3'"),
        ("[[2*np.float64(3)]]", "row 0, column 0 is '2*3'"),
        ("grad/4 =\n1,2\n3,4", "row 0, column 0 is 'grad/4 ='"),
        ("-grad =\n1 2\n3 4", "row 0, column 0 is '-grad'"),
        ("1e-5*\n1\n2", "row 0, column 0 is '1e-5*'"),
        ("-a,-b\n1,2", "row 0, column 0 is '-a'"),
        ("*1e-5,b\n1,2", "row 0, column 0 is '*1e-5'"),
    ],
)
def test_text_around_a_matrix_is_refused_and_shown(run: Run, file: Any, text: str, shown: str) -> None:
    content = text.replace("G", str(exact_gradient().tolist()))
    outcome = run("verify", SEED, "--gradient", file("expression.txt", content))
    assert (outcome.status, outcome.out) == (2, "")
    assert shown in outcome.err
    assert outcome.err.count("\n") == 1
    assert "expected" in outcome.err or "close" in outcome.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ('{"gradient": [[1, 2]],}', ": malformed JSON"),
        ('{"gradient": [1], "gradient": [2]}', "the key 'gradient' is given twice"),
        ('{"gradient": null}', "the gradient is null; an array is expected"),
        ("[[1,2],[3", "the brackets of the matrix do not close"),
        ("[[[1 2]]]", "three dimensions or more"),
        ("[[[1, 2]]]", "three dimensions or more"),
        ("[[]]", "the gradient is empty"),
        ("[[1_5]]", "row 0, column 0 is '1_5'; a number is expected"),
        ("\x93NUMPY", "the gradient is"),
    ],
)
def test_what_is_no_matrix_is_refused(run: Run, file: Any, text: str, said: str) -> None:
    path = file("broken.txt", text)
    if text.startswith("\x93"):
        Path(path).write_bytes(b"\x93NUMPY\x01\x00v\x00" + b"(" * 117 + b"\n")
        said = "cannot be read as NPY"
    outcome = run("verify", SEED, "--gradient", path)
    assert outcome.status == 2
    assert said in outcome.err
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize(
    ("gradient", "loss"), [("NaN, -Infinity", "NaN"), ("Infinity, -Infinity", "Infinity")]
)
def test_a_candidate_that_python_wrote_as_nan_or_infinity_is_wrong(
    run: Run, gradient: str, loss: str
) -> None:
    problem = f'{{"W": [[1, 2]], "x": [1], "label": 0, "gradient": [[{gradient}]], "loss": {loss}}}'
    outcome = run("verify", stdin=problem)
    assert outcome.status == 1
    assert "is wrong for float64 in both entries. 2 entries are not finite." in one_line(outcome)


def test_an_infinite_loss_matches_a_loss_beyond_floats(run: Run) -> None:
    problem = ("verify", "-W", "[[1e308,-1e308]]", "-x", "10", "-y", "1")
    assert run(*problem, "--loss", "inf", "-q").status == 0
    assert run(*problem, "--loss", "1e308", "-q").status == 1


@pytest.mark.parametrize(
    "arguments",
    [("--with-respect-to", "W,b", "--gradient", "1,2"), ("--rtol", "nan"), ("--atol", "inf", "--loss", "3")],
)
def test_options_that_decide_nothing_are_refused(run: Run, arguments: tuple[str, ...]) -> None:
    outcome = run("verify", SEED, *arguments)
    assert outcome.status == 2
    assert outcome.err.count("\n") == 1


def test_nulls_of_the_worst_entry_are_named_where_they_stand(run: Run) -> None:
    result = json.loads(run("verify", SATURATED, "--gradient", "[[NaN, 0, 0]]", "--json").out)
    nulls = [warning.split(" is null")[0] for warning in result["warnings"]]
    assert result["candidate"]["worst"]["yours"] is None
    assert "candidate.worst.yours" in nulls
    assert "candidate.worst.difference" in nulls
    assert "candidate.worst.exact" not in nulls


def test_the_gradient_meant_is_that_of_the_symbol(run: Run) -> None:
    """W is square, so that dL/dW and dL/dx have one shape, and are not the same."""
    problem = json.dumps({"W": [[1, 2], [3, 5]], "x": [[1, 2], [0.5, -1]], "label": [0, 1]})
    for asked in ("W,x", "x"):
        computed = run("compute", "-", "--json", "--with-respect-to", asked, stdin=problem).out
        outcome = run("verify", "-", "--with-respect-to", "x", "--gradient", computed, stdin=problem)
        assert outcome.status == 0, outcome
    only = run("compute", "-", "--json", stdin=problem).out
    outcome = run("verify", "-", "--with-respect-to", "x", "--gradient", only, stdin=problem)
    assert outcome.status == 2
    assert "there is no gradient of x; there is W" in outcome.err


@pytest.mark.parametrize(
    ("candidate", "said"),
    [
        ('{"loss": [1, 2], "logits": [1, 2, 3, 4, 5]}', "loss"),
        ('{"logits": ["a", "b"]}', "a number is expected"),
        ('{"logits": {"a": 1}}', "a number is expected"),
    ],
)
def test_a_step_that_is_no_step_is_refused_in_one_line(run: Run, candidate: str, said: str) -> None:
    outcome = run("verify", SEED, "--gradient", candidate)
    assert outcome.status == 2
    assert said in outcome.err
    assert outcome.err.count("\n") == 1


def test_strict_needs_something_to_judge(run: Run) -> None:
    assert run("verify", SEED, "--strict").status == 2


def test_a_doubled_key_of_a_candidate_is_refused(run: Run) -> None:
    outcome = run("verify", SEED, "--gradient", '{"logits": [1], "logits": [2]}')
    assert outcome.status == 2
    assert "the key 'logits' is given twice" in outcome.err


def test_a_step_of_which_its_bound_says_nothing_is_not_verified(run: Run) -> None:
    apart = json.dumps({"W": [[-800, 0]], "x": [1], "label": 0})
    steps = json.dumps({"logits": [-800, 0], "cross_entropy_jacobian": [-5, 0]})
    outcome = run("verify", "-", "--gradient", steps, stdin=apart)
    assert outcome.status == 1
    assert "UNDECIDED: no step is wrong, but rounding may exceed half of every entry of" in one_line(outcome)
    assert [line.split()[:2] for line in outcome.out.splitlines()[-2:]] == [
        ["right", "logits"],
        ["open", "cross_entropy_jacobian"],
    ]
    result = json.loads(run("verify", "-", "--gradient", steps, "--json", stdin=apart).out)
    assert not result["verified"] and result["steps"]["undecided"] == ["cross_entropy_jacobian"]


def test_a_flat_gradient_among_the_steps_is_read_in_the_order_of_the_file(run: Run) -> None:
    turned = json.dumps(read(SEED).weights.T.tolist())
    arguments = ("verify", "-W", turned, "-x", "0.1,0.5,0.4", "-y", "2", "--transpose", "--gradient")
    steps = {"loss": LOSS, "gradient": exact_gradient().T.ravel().tolist()}
    assert run(*arguments, json.dumps(steps), "-q").status == 0


def test_a_gradient_without_a_certified_exact_value_is_undecided() -> None:
    problem = Problem(np.ones((1, 2)), np.ones((1, 1)), Targets(labels=np.array([0])))
    exact = METHODS["exact"].evaluate(problem)
    certified = {**(exact.certified or {}), "weights": np.array([[True, False]])}
    judgement = judge(problem, replace(exact, certified=certified), exact.gradients["weights"])
    sentence = outcome_sentence(problem, judgement)
    assert sentence.startswith("UNDECIDED: the exact value could not be certified.")


# Two logits of 0 that are sums of terms of 1e9: the loss is log 2, and float32 does not resolve it.
CANCELLING = {"x": [1, 1], "W": [[1e9, 0], [-1e9, 0]], "label": 0}
LONG = {"x": [1] * 64, "W": [[1e9, 0], [-1e9, 0]] * 32, "label": 0}


@pytest.mark.parametrize(
    ("problem", "arguments", "said"),
    [
        (
            CANCELLING,
            ("--dtype", "float32"),
            "float32 does not resolve numbers of this size: rounding may exceed half of the loss",
        ),
        (LONG, ("--dtype", "float32"), "the sum of 64 products in a logit is not resolved in float32"),
        (
            CANCELLING,
            ("--dtype", "float32", "--decimals", "1"),
            "float32 does not resolve numbers of this size: rounding and printing may exceed half of the loss",
        ),
    ],
    ids=["large terms", "a long sum", "few decimals"],
)
def test_a_loss_that_its_precision_does_not_resolve_is_undecided(
    run: Run, problem: Any, arguments: tuple[str, ...], said: str
) -> None:
    arguments = ("verify", "-", "--loss", "0.7", *arguments)
    outcome = run(*arguments, stdin=json.dumps(problem))
    assert outcome.status == 1
    assert f"UNDECIDED: the loss is {np.log(2)!s}; {said}" in one_line(outcome)
    (check,) = json.loads(run(*arguments, "--json", stdin=json.dumps(problem)).out)["checks"]
    assert (check["name"], check["passed"], check["wrong_entries"]) == ("loss", False, 0)


def test_a_loss_within_a_wide_tolerance_may_have_lost_its_digits(run: Run) -> None:
    outcome = run("verify", SEED, "--loss", "4", "--atol", "5")
    assert outcome.status == 0
    assert f"DIGITS LOST: the loss is {LOSS}, and 4.0 has no digit of it" in one_line(outcome)


def test_a_right_loss_beside_a_wrong_gradient_says_that_the_forward_pass_is_right(run: Run) -> None:
    outcome = run("verify", SEED, "--gradient", json.dumps(np.eye(3, 5).tolist()), "--loss", str(LOSS))
    assert outcome.status == 1
    said = "right loss with wrong gradient: the forward pass is right, and the mistake comes after it."
    assert said in one_line(outcome)


# What is said of a gradient and of a loss.


EIGHT_ROWS: dict[str, Any] = {
    "W": [[0.5, -0.25, 1], [1, 0.75, -0.5]],
    "x": [[1, 2], [0.5, -1], [0, 1], [2, 1], [-1, 1], [1, 0.25], [-0.5, 2], [1, 1]],
    "label": [0, 1, 2, 0, 1, 1, 2, 0],
}


def with_row_twice(row: int) -> Any:
    """dL/dW of the mean over all eight, in which one is counted twice."""
    rows = [*range(8), row]
    inputs, labels = np.array(EIGHT_ROWS["x"])[rows], np.array(EIGHT_ROWS["label"])[rows]
    problem = Problem(np.array(EIGHT_ROWS["W"]), inputs, Targets(labels=labels))
    return METHODS["exact"].evaluate(problem).gradients["weights"] * 9 / 8


def test_a_row_that_is_counted_twice_is_named(run: Run) -> None:
    candidate = json.dumps(with_row_twice(6).tolist())
    outcome = run("verify", "-", "--gradient", candidate, stdin=json.dumps(EIGHT_ROWS))
    assert outcome.status == 1
    assert outcome.out.endswith("\n\nRow 6 alone is wrong: it is counted twice.\n")
    result = run("verify", "-", "--gradient", candidate, "--json", stdin=json.dumps(EIGHT_ROWS))
    assert json.loads(result.out)["candidate"]["where"] == "Row 6 alone is wrong: it is counted twice."


def test_a_column_has_the_shape_of_the_gradient_of_b(run: Run) -> None:
    outcome = run("verify", SEED, "--gradient", "[[1], [2], [3], [4], [5]]")
    assert outcome.status == 2
    assert "--with-respect-to b" in outcome.err


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_what_a_right_gradient_would_have_caught_is_caught(run: Run, file: Any, dtype: str) -> None:
    """The part that is said of the largest entry, added to it on either side of what rounding did."""
    problem, gradients = read(SEED), exact_gradient().astype(dtype)
    outcome = run("verify", SEED, "--gradient", file("g.npy", gradients))
    power = int(one_line(outcome).split("would have been caught")[0].split("10^")[-1])
    assert power == {"float64": 14, "float32": 5}[dtype]
    largest = np.unravel_index(np.abs(gradients).argmax(), gradients.shape)
    for sign in (-1, 1):
        wrong = gradients.copy()
        wrong[largest] *= 1 + sign * 1.01 * 10.0**-power
        assert run("verify", SEED, "--gradient", file("wrong.npy", wrong), "-q").status == 1
    assert problem.weights.shape == gradients.shape


@pytest.mark.parametrize(
    ("entry", "name"), [((slice(None), 3), "class 3"), ((1, slice(None)), "input 1")], ids=["class", "input"]
)
def test_the_class_or_the_input_that_is_wrong_is_named(run: Run, entry: Any, name: str) -> None:
    wrong = exact_gradient()
    wrong[entry] += [0.1, -0.02, 0.3] if name == "class 3" else [0.1, -0.02, 0.3, 0.4, 0.5]
    outcome = run("verify", SEED, "--gradient", json.dumps(wrong.tolist()))
    assert f" of 15 entries, all in {name}. " in one_line(outcome)


def test_the_digits_that_agree_are_of_the_median_entry_and_of_the_worst(run: Run) -> None:
    candidate = exact_gradient() * (1 + 2e-9)
    candidate[2, 0] *= 1 + 1e-5
    out = one_line(run("verify", SEED, "--gradient", json.dumps(candidate.tolist())))
    assert "8 digits agree in the median entry, 4 in the worst, W[input 2, class 0]." in out
    assert "Central differences give so many digits" not in out  # the worst entry has not so many
    candidate[2, 0] = exact_gradient()[2, 0] * (1 - 2e-9)
    out = one_line(run("verify", SEED, "--gradient", json.dumps(candidate.tolist())))
    assert "Central differences give so many digits" in out


def test_a_gradient_twice_as_large_is_2_times_what_it_should_be_and_that_is_all(run: Run) -> None:
    out = one_line(run("verify", SEED, "--gradient", json.dumps((2 * exact_gradient()).tolist())))
    assert "2 times what it should be: one factor for all of them." in out and "that is 2 here" not in out


def test_a_probability_near_1_is_not_called_1(run: Run) -> None:
    gradient = json.dumps(exact_gradient().tolist())
    out = one_line(run("verify", SEED, "--gradient", gradient, "--confidence", "0.9999999999999999"))
    assert "with probability 1 - 0.9999999999999999:" in out


def test_the_sums_are_named_without_a_comma_at_the_end(run: Run) -> None:
    gradient = json.dumps(exact_gradient().tolist())
    out = one_line(run("verify", SEED, "--gradient", gradient, "--accumulate-in", "float64"))
    assert "dL/dW is correct for float32, sums in float64. " in out


def test_central_differences_give_the_digits_that_are_said_of_them(run: Run) -> None:
    """Of the loss in float64, with the step 1e-5, as a gradient check computes them."""
    problem = read(SEED)

    def loss(weights: Any) -> Any:
        logits = problem.inputs[0] @ weights
        return np.log(np.exp(logits).sum()) - logits[2]

    step, candidate = 1e-5, np.zeros((3, 5))
    for place in np.ndindex(3, 5):
        move = np.zeros((3, 5))
        move[place] = step
        candidate[place] = (loss(problem.weights + move) - loss(problem.weights - move)) / (2 * step)
    out = one_line(run("verify", SEED, "--gradient", json.dumps(candidate.tolist())))
    assert out.startswith("✗ WRONG: ") and "Central differences give so many digits" in out


def test_a_nan_whose_cause_is_known_needs_no_advice(run: Run) -> None:
    problem = json.dumps({"W": [[800, 0]], "x": [1], "label": 0})
    out = one_line(run("verify", "-", "--gradient", "[[NaN, NaN]]", stdin=problem))
    assert "overflows" in out and "known mistake" not in out and "Next:" not in out
    out = one_line(run("verify", SEED, "--gradient", json.dumps(np.full((3, 5), np.nan).tolist())))
    assert "The logits explain none of it" in out and "Next:" in out


def test_what_to_try_next_is_what_this_problem_has(run: Run) -> None:
    wrong = json.dumps([[1, 2, 3], [3, 4, 6]])
    steps, rows = "logits and probabilities", "a problem with one of these rows"
    out = one_line(run("verify", "-", "--gradient", wrong, stdin=json.dumps(EIGHT_ROWS)))
    assert rows in out and steps in out
    out = one_line(run("verify", SEED, "--gradient", json.dumps(np.eye(3, 5).tolist())))
    assert rows not in out and steps in out
    out = one_line(run("verify", "-", "--loss", "9", stdin=json.dumps(EIGHT_ROWS)))
    assert "makes this loss. Next: compare the loss of each row" in out and "entry" not in out


# Several judgements.


BATCH: dict[str, Any] = {
    "W": [[1, 2, 0.5], [3, 5, -1]],
    "x": [[1, 2], [0.5, -1], [0, 1], [2, 1]],
    "label": [0, 1, 2, 0],
    "b": [0, 0.5, 1],
}


def test_each_judgement_has_its_symbol_in_json(run: Run) -> None:
    computed = run("compute", "-", "--json", stdin=json.dumps(BATCH)).out
    arguments = ("verify", "-", "--with-respect-to", "W,b", "--gradient", computed, "--json")
    result = json.loads(run(*arguments, "--loss", "3", stdin=json.dumps(BATCH)).out)
    outcomes = {symbol: one["outcome"] for symbol, one in result["judgements"].items()}
    assert outcomes == {"W": "right", "b": "right", "loss": "wrong"}
    assert result["candidate"] == result["judgements"]["W"]
    assert result["diagnosis"] == result["judgements"]["loss"]["diagnosis"]
    assert result["judgements"]["loss"]["worst"]["of"] == "loss"
    assert [check["name"] for check in result["checks"]] == ["dL/dW", "dL/db", "loss"]
    assert result["verified"] is False


def test_one_wrong_gradient_of_two_is_not_verified(run: Run) -> None:
    gradients = json.loads(run("compute", "-", "--json", stdin=json.dumps(BATCH)).out)["gradients"]
    gradients["b"][0] += 1
    arguments = (
        "verify",
        "-",
        "--with-respect-to",
        "W,b",
        "--gradient",
        json.dumps({"gradients": gradients}),
    )
    outcome = run(*arguments, stdin=json.dumps(BATCH))
    assert outcome.status == 1
    assert "RIGHT" in outcome.out and "dL/db is wrong for float64 in 1 of 3 entries" in one_line(outcome)


def test_parts_of_a_file_are_each_judged_in_their_own_precision() -> None:
    """dL/db is off by more than float32 explains, and by less than bfloat16 does."""
    problem = read(SEED)
    exact = METHODS["exact"].evaluate(problem, ("weights", "bias"))
    claim = Claim(
        {
            "weights": Claimed(exact.gradients["weights"], dtype="bfloat16"),
            "bias": Claimed(exact.gradients["bias"] * (1 + 1e-4), dtype="float32"),
        },
        Claimed(np.array([exact.loss]), dtype="float64"),
    )
    verification = verify(problem, claim, tolerance_for(problem, claim.dtype))
    judged = verification.judgements
    assert {name: one.outcome for name, one in judged.items()} == {
        "weights": "right",
        "bias": "wrong",
        "loss": "right",
    }
    assert judged["bias"].tolerance.stored_as is None


# The shape says what it is.


@pytest.mark.parametrize(
    ("problem", "gradient", "said"),
    [
        (BATCH, np.ones((4, 3)), "dL/dlogits: --with-respect-to logits"),
        (BATCH, np.ones((4, 2)), "dL/dx: --with-respect-to x"),
        (BATCH, np.ones(3), "dL/db: --with-respect-to b"),
        (None, np.ones(5), "dL/db and dL/dlogits: --with-respect-to b or logits"),
        (None, np.ones((1, 5)), "dL/dlogits: --with-respect-to logits"),
        (None, np.ones(3), "dL/dx: --with-respect-to x"),
    ],
)
def test_a_gradient_with_the_shape_of_another_is_told_which(
    run: Run, problem: Any, gradient: Any, said: str
) -> None:
    text = Path(SEED).read_text() if problem is None else json.dumps(problem)
    outcome = run("verify", "-", "--gradient", json.dumps(gradient.tolist()), stdin=text)
    assert outcome.status == 2
    assert f"is expected; this has the shape of {said}" in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_transposed_gradient_with_the_shape_of_another_is_told_both(run: Run) -> None:
    """dL/dx is 3 x 2, as dL/dW is transposed."""
    problem = json.dumps(BATCH | {"x": BATCH["x"][:3], "label": [0, 1, 2]})
    computed = json.loads(run("compute", "-", "--json", "--with-respect-to", "x,W", stdin=problem).out)
    of_inputs, of_weights = computed["gradients"]["x"], np.transpose(computed["gradients"]["W"]).tolist()
    note = "this has the shape of dL/dx: --with-respect-to x"
    outcome = run("verify", "-", "--gradient", json.dumps(of_inputs), stdin=problem)
    assert outcome.status == 1 and note in one_line(outcome)
    outcome = run("verify", "-", "--gradient", json.dumps(of_weights), stdin=problem)
    assert "MISTAKE transposed" in outcome.out and note in one_line(outcome)
    right = run("verify", "-", "--gradient", json.dumps(np.transpose(of_weights).tolist()), stdin=problem)
    assert right.status == 0 and "shape" not in right.out


@pytest.mark.parametrize(
    "options", [("--recipe", "torch-bf16-linear"), ("--confidence", "1e-9"), ("--summation", "pairwise")]
)
def test_a_house_rule_and_what_derives_the_bound_exclude_each_other(
    run: Run, options: tuple[str, ...]
) -> None:
    outcome = run("verify", SEED, "--gradient", "0", "--rtol", "0.1", *options)
    assert outcome.status == 2
    assert f"{options[0]} is about the derived bound" in outcome.err


@pytest.mark.parametrize(
    "options", [{"recipe": "torch-bf16-linear"}, {"confidence": 1e-9}, {"summation": "pairwise"}], ids=str
)
def test_so_they_do_in_python(options: dict[str, Any]) -> None:
    problem = read(SEED)
    rules: list[dict[str, Any]] = [{"rtol": 0.1}, {"atol": 0.1}]
    for rule in rules:
        with pytest.raises(InputError, match=f"^{next(iter(options))} is about the derived bound"):
            check(problem.weights, problem.inputs, problem.targets.labels, loss=LOSS, **options, **rule)


def test_a_loss_that_is_wrong_has_the_pattern_of_a_loss(run: Run) -> None:
    result = json.loads(run("verify", SEED, "--loss", "3", "--json").out)
    assert result["judgements"]["loss"]["pattern"] == "the loss"


def test_blind_spots_are_told_of_a_batch_with_a_thousand_classes() -> None:
    """That it was rounded to float32, which a bound for float32 allows by what it is."""
    random = np.random.default_rng(0)
    weights, inputs = random.uniform(-0.1, 0.1, (2, 1000)), random.uniform(-1, 1, (64, 2))
    problem = Problem(
        weights.astype(np.float32), inputs.astype(np.float32), Targets(random.integers(1000, size=64))
    )
    gradient = METHODS["shortcut"].evaluate(problem).gradients["weights"]
    assert "low-precision" in verify(problem, gradient).blind_spots["weights"]


@pytest.mark.parametrize("size", [1, 2, 2**16, 2**17 + 1, 2**18])
def test_the_median_is_that_of_all_entries(size: int) -> None:
    random = np.random.default_rng(size)
    for values in (random.normal(size=size), np.round(random.normal(size=size)), np.arange(size) % 4.0):
        assert median_of(values) == np.median(values)


def test_all_verdicts_come_first_and_what_to_do_next_last(run: Run) -> None:
    wrong = json.dumps((-exact_gradient()).tolist())
    lines = run("verify", SEED, "--gradient", wrong, "--loss", "3").out.splitlines()
    assert lines[0].startswith("✗ WRONG: dL/dW") and lines[2].startswith("✗ WRONG: the loss")
    assert [line[:12] for line in lines if line.startswith("──")] == ["── dL/dW ───", "── the loss "]
    assert lines[-3] == "Next: xegrad slips sign-flipped explains it."
    assert lines[-2].startswith("Next: give your logits and probabilities too")
    assert "Next" not in "".join(lines[:-3])


def test_rows_and_columns_that_are_wrong_in_every_entry_are_named(run: Run) -> None:
    wrong = exact_gradient()
    wrong[1] *= 1.5
    wrong[:, 3:] += 0.125
    out = run("verify", SEED, "--gradient", json.dumps(wrong.tolist())).out
    assert "\n▸input 1 " in out
    assert "wrong in every entry: input 1; classes 3 to 4\n" in out


def test_an_error_is_told_to_four_digits_or_to_all(run: Run) -> None:
    wrong = exact_gradient()
    wrong[0, 0] += 2.0**-10
    arguments = ("verify", SEED, "--gradient", json.dumps(wrong.tolist()))
    assert run(*arguments).out.count(" 0.0009766\n") == 1
    assert f" {float(wrong[0, 0] - exact_gradient()[0, 0])!r}\n" in run(*arguments, "--digits", "17").out


@pytest.mark.parametrize("width", [60, 120])
def test_names_that_begin_alike_are_told_apart(run: Run, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    classes = ",".join(50 * "c" + end for end in "abc")
    out = run(
        "verify",
        "-W",
        "[[1,2,3],[4,5,6]]",
        "-x",
        "1,2",
        "-y",
        "0",
        "--classes",
        classes,
        "--gradient",
        "[[1,2,3],[4,5,6]]",
    ).out
    entries = [line.split("]")[0] for line in out.splitlines() if line.startswith("W[")]
    assert len(entries) == len({*entries}) == 6
    assert max(map(len, out.splitlines())) <= width


@pytest.mark.parametrize(
    ("gradient", "options", "said"),
    [
        # -1.4 and 1.4, of which one digit says -1 and 1: so does half of what mistakes make.
        ("[[-1e0, 1e0]]", ["--digits-printed", "1"], "? UNDECIDED: 1 digit leaves the first digit of every entry open"),
        # Nothing prints -1.4 as -1e0 beside 1.4000: these are numbers as they stand.
        ("[[-1e0, 1.4000]]", [], "✗ WRONG: dL/dW is wrong for float64 in 1 of 2 entries, W[input 0, class 0]"),
    ],
)  # fmt: skip
def test_what_has_no_correct_digit_is_not_right(
    run: Run, gradient: str, options: list[str], said: str
) -> None:
    outcome = run("verify", "-W", "[[0,0]]", "-x", "[2.8]", "-y", "0", "--gradient", gradient, *options)
    assert outcome.status == 1
    assert one_line(outcome).startswith(said)
