"""`xegrad compute`: what it understands, and what people and programs see of it."""

from __future__ import annotations

import itertools
import json
import math
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from rich.text import Text

from conftest import Outcome, Run, Shell, one_line, problem_json
from strategies import problems
from xegrad import METHODS, Computation, Evaluation, InputError, Problem, Targets, compute, progress, read
from xegrad.computation import methods_for
from xegrad.display.blocks import Table
from xegrad.display.computation import _largest, computation_view
from xegrad.display.page import PageSettings
from xegrad.display.pictures import drawn
from xegrad.formats.results import compute_results, encode
from xegrad.methods import Method
from xegrad.problem import Layout

WIDTHS = (60, 80, 120)
VIEWS = {
    "seed": ("sample_inputs/seed.json",),
    "saturated": ("sample_inputs/saturated.json",),
    "underflow": ("sample_inputs/underflow.json",),
    "bias": ("-W", "[[1,2],[3,4]]", "-x", "1,-2", "-y", "0", "-b", "0.5,0"),
    "transposed": ("-W", "[[1,2],[3,4],[5,6]]", "-x", "1,-2", "-y", "0", "--transpose"),
    "soft": ("-W", "[[1,2,3]]", "-x", "0.5", "-y", "[0.5,0.25,0.25]"),
    "shortcut": ("sample_inputs/seed.json", "--method", "shortcut", "--digits", "3"),
}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("view", VIEWS)
def test_the_view_is_the_golden_one(
    run: Run,
    golden: Callable[[str, str], None],
    monkeypatch: pytest.MonkeyPatch,
    view: str,
    width: int,
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    out = run("compute", *VIEWS[view]).out
    assert max(map(len, out.splitlines())) <= width
    golden(f"compute-{view}-{width}", out)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_large_problem_is_summed_up_by_its_worst_entries(
    run: Run, golden: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    """Class 0 is certain, so that the chain loses column 0 and the order does not hang on rounding."""
    monkeypatch.setenv("COLUMNS", str(width))
    names = [f"class-{index:02d}" for index in range(20)]
    weights = [[60.0 if i == 0 else (i + j) / 8 for i in range(20)] for j in range(8)]
    problem = json.dumps({"W": weights, "x": [1] + [0.5] * 7, "label": "class-00", "classes": names})
    out = run("compute", "--top", "4", stdin=problem).out
    assert max(map(len, out.splitlines())) <= width
    golden(f"compute-large-{width}", out)


def test_colour_is_for_terminals_and_can_be_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b[" not in run("compute", "sample_inputs/seed.json").out
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[1;32magree" in run("compute", "sample_inputs/seed.json").out
    assert "\x1b[1;32m" not in run("compute", "sample_inputs/seed.json", "--no-color").out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[1;32m" not in run("compute", "sample_inputs/seed.json").out


def test_markup_in_a_class_name_is_text(run: Run) -> None:
    problem = problem_json(classes=["[bold]a", ":smile:", "c[/]"])
    out = run("compute", stdin=problem).out
    assert "[bold]a" in out
    assert ":smile:" in out
    assert "c[/]" in out


def test_json_is_one_object_whose_gradient_is_the_most_accurate_computed(run: Run) -> None:
    result = json.loads(run("compute", "sample_inputs/seed.json", "--json").out)
    assert list(result) == [
        "schema",
        "loss",
        "probabilities",
        "gradient",
        "gradients",
        "method",
        "chain",
        "shortcut",
        "exact",
        "comparison",
        "verdict",
        "warnings",
    ]
    assert result["method"] == "exact"
    assert result["gradient"] == result["exact"]["gradient"] == result["gradients"]["W"]
    assert result["exact"]["certified"] is True
    assert result["verdict"] == "agree-right"
    without = json.loads(run("compute", "sample_inputs/seed.json", "--json", "--no-exact").out)
    assert without["method"] == "shortcut"
    assert without["gradient"] == without["shortcut"]["gradient"]
    assert without["verdict"] == "undecided"
    assert "exact" not in without


def test_numbers_in_json_read_back_to_the_same_floats(run: Run) -> None:
    result = json.loads(run("compute", "sample_inputs/seed.json", "--json").out)
    problem = read("sample_inputs/seed.json")
    for name in ("chain", "shortcut"):
        gradient = METHODS[name].evaluate(problem).gradients["weights"]
        assert np.array_equal(np.array(result[name]["gradient"]), gradient)


def test_one_method_has_nothing_to_be_compared_with(run: Run) -> None:
    result = json.loads(run("compute", "sample_inputs/seed.json", "--method", "chain", "--json").out)
    assert result["method"] == "chain"
    assert result["comparison"] is None
    assert "shortcut" not in result
    assert "only the chain was computed" in run("compute", "sample_inputs/seed.json", "--method", "chain").out


@pytest.mark.parametrize(
    "spelling", [("--method", "chain,shortcut"), ("--method", "shortcut", "--method", "chain")]
)
def test_a_list_option_takes_commas_and_repeats(run: Run, spelling: tuple[str, ...]) -> None:
    both = run("compute", "sample_inputs/seed.json", "--json", "--no-exact").out
    assert run("compute", "sample_inputs/seed.json", *spelling, "--json").out == both


@pytest.mark.parametrize("given", ['"a b"', "17", "12345678901234567890123", "null", '{"k": [1, 2.5]}'])
def test_the_id_is_echoed(run: Run, given: str) -> None:
    out = run("compute", "--json", stdin=problem_json()[:-1] + f', "id": {given}}}').out
    assert json.loads(out).get("id") == json.loads(given)


def test_a_target_that_does_not_sum_to_one_is_a_warning(run: Run) -> None:
    problem = problem_json(label=[0.5, 0.25, 0])
    said = "the target sums to 0.75, not to 1; it is used as it is"
    assert json.loads(run("compute", "--json", stdin=problem).out)["warnings"] == [said]
    outcome = run("compute", stdin=problem)
    assert outcome.status == 0
    assert outcome.err == f"xegrad: warning: {said}\n"


def test_quiet_prints_nothing(run: Run) -> None:
    for arguments in ((), ("--json",)):
        assert run("compute", "sample_inputs/seed.json", "-q", *arguments) == Outcome(0, "", "")


def test_a_part_overrides_that_part_of_the_problem(run: Run) -> None:
    whole = run("compute", "--json", stdin=problem_json(label=2, x=[1, 1])).out
    assert run("compute", "-", "-y", "2", "-x", "1,1", "--json", stdin=problem_json()).out == whole


def test_parts_come_from_files_values_and_standard_input(run: Run, tmp_path: Path) -> None:
    (tmp_path / "W.csv").write_text("cat,dog,cow\n1,2,3\n4,5,6\n")
    (tmp_path / "x.json").write_text("[0.5, -0.25]")
    (tmp_path / "b.csv").write_text("0\n0\n0\n")
    whole = json.loads(run("compute", "--json", stdin=problem_json()).out)
    weights, inputs, bias = (str(tmp_path / name) for name in ("W.csv", "x.json", "b.csv"))
    arguments = ("compute", "-W", weights, "-x", inputs, "-b", bias, "--json")
    for label in ("dog", "1"):
        parts = json.loads(run(*arguments, "-y", label).out)
        assert parts["gradient"] == whole["gradient"]
    piped = run("compute", "-W", "-", "-x", inputs, "-y", "1", "--json", stdin="1,2,3\n4,5,6\n").out
    assert json.loads(piped)["gradient"] == whole["gradient"]


def test_a_name_that_looks_like_an_index_is_a_name_first(run: Run) -> None:
    """On the command line, as in CSV; in JSON a string is a name and a number an index."""
    problem = problem_json(classes=["2", "1", "0"])
    assert 'The label is class 0 "2" (the first)' in one_line(run("compute", "-", "-y", "2", stdin=problem))
    for label, said in ((2, 'class 2 "0" (the third)'), ("2", 'class 0 "2" (the first)')):
        problem = problem_json(classes=["2", "1", "0"], label=label)
        assert said in one_line(run("compute", stdin=problem))


def test_a_csv_header_of_indices_in_order_names_nothing(run: Run) -> None:
    for header, said in (("x,0,1", "label is class 1 (the"), ("x,1,0", 'label is class 1 "0" (the')):
        assert said in one_line(run("compute", stdin=f"{header}\n1,2,3\nlabel,0,1\n"))


def test_a_square_w_is_told_which_way_it_was_read(run: Run) -> None:
    arguments = ("compute", "-W", "[[1,2],[3,4]]", "-x", "1,-2", "-y", "0")
    assert "it was read as inputs x classes" in one_line(run(*arguments))
    assert "it was read as classes x inputs" in one_line(run(*arguments, "--transpose"))


@pytest.mark.parametrize(
    "data", [b"\xef\xbb\xbf" + problem_json().encode(), problem_json().encode() + b"\r\n"]
)
def test_a_byte_order_mark_and_windows_lines_are_read(run: Run, data: bytes) -> None:
    assert run("compute", "--json", stdin=data).out == run("compute", "--json", stdin=problem_json()).out


def test_csv_from_a_spreadsheet_is_read(run: Run) -> None:
    plain = run("compute", "--json", stdin="x,a,b\n1,2,3\nbias,0,1\nlabel,0,1\n").out
    windows = "\ufeffx,a,b\r\n1,2,3\r\n\r\nbias,0,1\r\nlabel,0,1\r\n"
    assert run("compute", "--json", stdin=windows).out == plain


def test_logits_that_overflow_are_named(run: Run) -> None:
    problem = problem_json(W=[[1e308, 0, 0], [-1e308, 0, 0]], x=[10, -10])
    out = one_line(run("compute", stdin=problem))
    assert "differ: the chain is not finite in 6 of 6 entries, nor the shortcut in 2 of them" in out
    assert "the logit of class 0 (the first) overflows to inf" in out


@pytest.mark.parametrize(
    ("weights", "arguments", "said"),
    [
        (
            "[[0,0]]",  # the sum overflows in the first half and is finite in the end, in whatever order
            ("-x", json.dumps([[1.7e308]] * 79), "-y", json.dumps([0] * 40 + [1] * 39)),
            ", nor is the shortcut: the products with x overflow",
        ),
        (
            "[[-50,0]]",
            ("-x", "1", "-y", "0", "--class-weights", "1e300,1"),
            ": the target Q of class 0 (the first) is 1e+300, so large that Q/S overflows",
        ),
        (
            "[[-740,0]]",
            ("-x", "1", "-y", "0"),
            ": the probability S of class 0 (the first) is 4.2e-322, so small that 1/S overflows",
        ),
    ],
    ids=["large x", "large Q", "small S"],
)
def test_a_chain_that_is_not_finite_says_why(
    run: Run, weights: str, arguments: tuple[str, ...], said: str
) -> None:
    out = one_line(run("compute", "-W", weights, *arguments, "--reduction", "sum"))
    assert f"differ: the chain is not finite in 2 of 2 entries{said}." in out


def test_the_same_infinity_everywhere_is_right(run: Run) -> None:
    """The exact entries of input 0 are 3 x 1.7e308 and minus that: beyond the largest float."""
    problem = problem_json(W=[[0, 0], [1, 1]], x=[[1.7e308, 1]] * 3, label=[1, 1, 1], reduction="sum")
    result = json.loads(run("compute", "--json", stdin=problem).out)
    assert result["verdict"] == "agree-right"
    assert result["shortcut"]["wrong_entries"] == 0
    assert run("verify", "-q", stdin=problem).status == 0


def test_a_real_shell_pipes_json_through_jq(shell: Shell) -> None:
    if shutil.which("jq") is None:
        pytest.skip("jq is not installed")
    outcome = shell("xegrad sample | xegrad compute --json | jq -c '.gradient | length, (.[0] | length)'")
    assert outcome == Outcome(0, "3\n5\n", "")


def test_a_reader_that_goes_away_is_no_trouble(shell: Shell) -> None:
    line = "set -o pipefail; xegrad sample --inputs 300 --classes 300 | xegrad compute --method shortcut"
    outcome = shell(f"{line} --json | head -c 1")
    assert outcome == Outcome(0, "{", outcome.err)
    assert "Traceback" not in outcome.err


def test_a_terminal_without_utf8_is_no_trouble(shell: Shell) -> None:
    problem = problem_json(classes=["né", "猫", "ordinary"])
    outcome = shell(f"echo '{problem}' | xegrad compute", PYTHONIOENCODING="ascii")
    assert outcome.status == 0
    assert "agree and right: all 6 entries" in outcome.out


def test_the_library_reads_what_the_command_reads(tmp_path: Path) -> None:
    problem = read("sample_inputs/seed.csv")
    assert problem.weights.shape == (3, 5)
    assert problem.inputs.shape == (1, 3)
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "no.json")


def test_a_random_sample_depends_on_its_seed_alone(run: Run) -> None:
    arguments = ("sample", "--inputs", "4", "--classes", "3", "--seed", "5")
    first = msgspec.json.decode(run(*arguments).out)
    assert first == msgspec.json.decode(run(*arguments).out)
    assert np.shape(first["W"]) == (4, 3)
    assert first != msgspec.json.decode(run(*arguments[:-1], "6").out)
    table = run(*arguments, "--format", "csv").out
    same = json.loads(run("compute", "--json", stdin=table).out)
    assert same["gradient"] == json.loads(run("compute", "--json", stdin=run(*arguments).out).out)["gradient"]


def test_seventeen_digits_are_never_cut(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    out = run("compute", "sample_inputs/seed.json", "--digits", "17", "--entries").out
    for name in ("chain", "shortcut"):
        gradient = METHODS[name].evaluate(read("sample_inputs/seed.json")).gradients["weights"]
        assert all(repr(entry) in out for entry in gradient.ravel().tolist())
    assert "…" not in out


def test_long_names_give_way_to_numbers(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    names = [f"a class whose name is rather long, number {index}" for index in range(3)]
    out = run("compute", "--entries", stdin=problem_json(classes=names)).out
    assert max(map(len, out.splitlines())) <= 60
    assert out.count("rounding") == 6 + 1  # six entries, and the verdict


def test_control_characters_in_names_are_spelled_out(run: Run) -> None:
    problem = problem_json(classes=["red\x1b[31m", "two\nlines", "ok"])
    out = run("compute", stdin=problem).out
    assert "\x1b" not in out
    assert "red\\u001b[31m" in out
    assert "two\\nlines" in out


def test_without_a_bound_the_verdict_is_open(run: Run) -> None:
    """1/S is near overflow: both methods give 1, and there is no bound, of the chain or between them."""
    arguments = ("compute", "-W", "[[0,708.5]]", "-x", "1", "-y", "0")
    view = one_line(run(*arguments))
    assert view.startswith("? undecided: 2 of 2 entries have no bound")
    assert "Entries of dL/dW that are open:" in view
    assert json.loads(run(*arguments, "--json").out)["comparison"]["agree"] is False


@pytest.mark.parametrize(
    ("weights", "arguments", "cause"),
    [
        ("[[0,708.5]]", ("-x", "1", "-y", "0"), "1/S of a target nearly overflows"),
        ("[[0,300]]", ("-x", "1", "-y", "0", "--class-weights", "3e177,1"), "Q/S of a target nearly overflows"),
        ("[[1e20,1e20]]", ("-x", "[[1],[-1]]", "-y", "[0,0]"), "the logits cancel, or are larger than"),
        ("[[3e307,3e307]]", ("-x", "1", "-y", "0"), "the logits cancel, or are larger than"),
        ("[[1e9,1e9]]", ("-x", "1", "-y", "0", "--dtype", "float32"), "the logits cancel, or are larger than"),
        ("[[0,0]]", ("-x", "1e308", "-y", "0"), "the products with x nearly overflow"),
        ("[[0,0],[1e308,0]]", ("-x", "[[1,0]]", "-y", "[0]", "--with-respect-to", "x"), "the products with W nearly"),
    ],
)  # fmt: skip
def test_where_there_is_no_bound_the_verdict_says_why(
    run: Run, weights: str, arguments: tuple[str, ...], cause: str
) -> None:
    """Of logits at 1e20 that are equal S is 1/2, and no 1/S is near overflow."""
    out = one_line(run("compute", "-W", weights, *arguments, "--reduction", "sum"))
    assert re.search(rf"undecided: \d of \d entries have no bound, since {cause}", out)


def test_every_null_in_json_is_named_by_a_warning(run: Run) -> None:
    arguments = ("compute", "-W", "[[1e308,-1e308]]", "-x", "10", "-y", "0", "--json", "--no-exact")
    result = json.loads(run(*arguments).out)
    named = {warning.split(" is null")[0] for warning in result["warnings"]}
    for path in ("loss", "gradient", "probabilities", "chain.loss", "chain.gradient", "shortcut.loss"):
        assert path in named
    assert {"comparison.max_abs_difference", "comparison.max_ulp_difference"} < named


def test_no_transpose_overrides_the_problem(run: Run) -> None:
    problem = problem_json(W=[[1, 2], [3, 4]], transpose=True)
    plain = run("compute", "--json", stdin=problem_json(W=[[1, 2], [3, 4]])).out
    assert run("compute", "-", "--no-transpose", "--json", stdin=problem).out == plain
    assert run("compute", "-", "--json", stdin=problem).out != plain


PIPES = {
    "a reader that is gone": ("exec 3> >(:); wait $!; xegrad {} >&3", 0, ""),
    "a full disk": ("xegrad {} > /dev/full", 2, "xegrad: standard output cannot be written: No space left"),
    "no standard output": (
        "xegrad {} >&-",
        2,
        "xegrad: standard output cannot be written: Bad file descriptor",
    ),
}


@pytest.mark.parametrize(
    "arguments", ["compute sample_inputs/seed.json", "compute --json", "sample", "--help"]
)
@pytest.mark.parametrize(("line", "status", "said"), PIPES.values(), ids=PIPES.keys())
def test_output_that_cannot_be_written_is_no_traceback(
    shell: Shell, line: str, status: int, said: str, arguments: str
) -> None:
    outcome = shell("exec < sample_inputs/seed.json; " + line.format(arguments))
    assert outcome.status == status
    assert outcome.err.startswith(said)
    assert outcome.err.count("\n") == bool(said)


def test_an_interrupt_ends_with_130() -> None:
    """A pipe holds 64 KiB: when 1 MiB is written, the command has begun to read, and waits for the end."""
    command = [sys.executable, "-m", "xegrad", "compute", "-"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        process.stdin.write(b" " * 2**20)
        process.stdin.flush()
        process.send_signal(signal.SIGINT)
        assert process.communicate() == (b"", b"xegrad: interrupted\n")
        assert process.returncode == 130


def test_soft_targets_next_to_the_probabilities_agree_and_are_both_wrong(run: Run) -> None:
    """S of logits 0.1, 0.2 and 0.3 to the last digit: what is left of S - y is below what floats resolve."""
    target = "[0.3006096053557273,0.33222499353334728,0.3671654011109255]"
    arguments = ("compute", "-W", "[[0.1,0.2,0.3]]", "-x", "1", "-y", target)
    result = json.loads(run(*arguments, "--json").out)
    assert result["verdict"] == "agree-wrong"
    assert result["shortcut"]["wrong_entries"] > 0
    assert result["gradient"] == result["exact"]["gradient"]
    assert "agree, but both wrong: 3 entries without a correct digit" in one_line(run(*arguments))


def test_exact_is_computed_by_default_only_where_it_is_quick() -> None:
    """By the sizes alone: 3,000,000 x 2 takes longer than 50 ms and than the chain, and 200 x 200 does not."""
    for n_inputs, n_classes, computed in ((200, 200, True), (3_000_000, 2, False)):
        problem = Problem(
            np.zeros((n_inputs, n_classes)), np.ones((1, n_inputs)), Targets(labels=np.array([0]))
        )
        assert ("exact" in methods_for(problem)) is computed


@pytest.mark.parametrize("method", METHODS.values(), ids=lambda method: method.name)
def test_an_estimate_grows_with_each_size_and_with_the_problems(method: Method) -> None:
    def work(*shape: int) -> float:
        weights, inputs = np.zeros((*shape[:1], *shape[2:])), np.zeros(shape[:3])
        return method.work(Problem(weights, inputs, Targets(np.zeros(shape[:2], int))))

    sizes = (3, 40, 200, 30)
    larger = [(*sizes[:axis], 2 * sizes[axis], *sizes[axis + 1 :]) for axis in range(4)]
    assert all(0 < work(*sizes) < work(*each) for each in larger)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.3, "less than 1 s"),
        (27.4, "about 27 s"),
        (119.9, "about 120 s"),
        (150, "about 2 min"),
        (7199, "about 120 min"),
        (7200, "about 2 h"),
        (4e8, "about 4,630 days"),
    ],
)
def test_a_duration_has_the_unit_that_people_use(seconds: float, said: str) -> None:
    assert progress.duration(seconds) == said


@given(problem=problems())
@settings(max_examples=50, deadline=None)
def test_the_probabilities_that_are_shown_are_those_of_the_forward_pass_to_the_bit(problem: Problem) -> None:
    computed = compute(problem, ("shortcut",))
    np.testing.assert_array_equal(computed.probabilities, computed.forward.probabilities)


@given(values=st.lists(st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, math.inf, math.nan]), min_size=1))
@settings(max_examples=100, deadline=None)
def test_the_largest_entries_are_the_first_of_all_sorted_by_size(values: list[float]) -> None:
    entries = np.array(values)
    everything = np.lexsort((np.arange(entries.size), -np.abs(entries)))
    for n in range(1, len(values) + 2):
        assert _largest(entries, n).tolist() == everything[:n].tolist()


def test_long_integers_are_said_before_they_begin_and_exact_is_what_asks_for_them(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xegrad.methods.exact.integers.work", lambda *sizes: 80.0)
    saturated = json.dumps({"W": [list(range(0, 3000, 10))], "x": [1], "label": 299})
    outcome = run("compute", "--json", "--exact", stdin=saturated)
    said = "what is still open is decided by long integers, which takes about 80 s by estimate"
    assert outcome.err == f"xegrad: {said}\n"
    assert json.loads(outcome.out)["exact"]["certified"] is True
    assert run("compute", "--json", stdin=saturated).err == ""


def test_what_only_long_integers_decide_is_said_to_be_open_and_exact_decides_it(run: Run) -> None:
    """Probabilities from exp(-2999) to 1: integers would take 95 ms, which nobody asked for."""
    saturated = json.dumps({"W": [list(range(3000))], "x": [1], "label": 2999})
    view = one_line(run("compute", stdin=saturated))
    assert "? not certified: the exact value may be another; --exact decides it" in view
    result = json.loads(run("compute", "--json", stdin=saturated).out)
    assert result["exact"]["certified"] is False
    assert "not every exact value is certified; --exact decides it" in result["warnings"]
    decided = json.loads(run("compute", "--json", "--exact", stdin=saturated).out)
    assert decided["exact"]["certified"] is True
    assert not any("certified" in warning for warning in decided["warnings"])


def test_verify_takes_exact_too(run: Run) -> None:
    with_gradient = problem_json(gradient=[[0.0] * 3] * 2)
    assert run("verify", "--exact", "--json", stdin=with_gradient).status == 1


@pytest.mark.parametrize("method", ["chain", "shortcut", "complex-step"])
def test_one_method_beside_the_exact_one_is_not_compared(run: Run, method: str) -> None:
    outcome = run("compute", "sample_inputs/seed.json", "--method", f"exact,{method}", "--json")
    assert json.loads(outcome.out)["verdict"] == "undecided" and outcome.status == 0


def test_every_method_can_be_asked_for(run: Run) -> None:
    result = json.loads(
        run("compute", "sample_inputs/seed.json", "--method", ",".join(METHODS), "--json").out
    )
    for name in METHODS:
        assert np.shape(result[name.replace("-", "_")]["gradient"]) == (3, 5)
    assert result["finite_difference"]["correct_digits"] >= 7
    assert result["complex_step"]["correct_digits"] >= 14


def test_an_exact_loss_beyond_floats_of_a_layer_that_overflows(run: Run) -> None:
    """The logits overflow as floats and are exact as integers: the probabilities are 1 and 0."""
    arguments = ("compute", "-W", "[[1e308,-1e308]]", "-x", "10", "-y", "0", "--json")
    result = json.loads(run(*arguments).out)
    assert result["loss"] == 0
    assert result["gradient"] == [[0, 0]]
    assert result["verdict"] == "differ"


def test_a_method_that_another_option_takes_away_is_refused(run: Run) -> None:
    outcome = run("compute", "sample_inputs/seed.json", "--method", "exact", "--no-exact")
    assert outcome.status == 2
    assert "--no-exact leaves nothing" in outcome.err


def without_certainty(problem: Problem, places: Mapping[str, Sequence[int]]) -> Computation:
    """The chain, the shortcut and exact values, of which these entries are not certified."""
    computed = compute(problem)
    exact = computed.evaluations["exact"]
    assert exact.certified is not None
    certified = {name: np.array(flags) for name, flags in exact.certified.items()}
    for name, flat_indices in places.items():
        certified[name].flat[flat_indices] = False
    unsure = Evaluation(exact.loss, exact.losses, exact.gradients, certified)
    return replace(computed, evaluations={**computed.evaluations, "exact": unsure})


def shown(computed: Computation, width: int = 80) -> str:
    view = computation_view(computed, Layout(is_batch=False), PageSettings(width=width))
    return drawn(view, "table", width)


@pytest.mark.parametrize("width", [60, 80])
def test_an_entry_that_is_not_certified_is_marked_and_no_verdict_says_right(
    monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    computed = without_certainty(read("sample_inputs/seed.json"), {"weights": [7]})
    out = shown(computed, width)
    (marked,) = [line for line in out.splitlines() if "?" in line and not line.startswith("?")]
    assert "-0.39150833?" in marked
    assert "Entries of dL/dW that are open:" in out
    assert "?  not certified: the exact value may be another" in out.splitlines()
    assert (
        "undecided: chain and shortcut agree, but the exact value of W[input 1, class 2] is not certified."
        in " ".join(out.split())
    )
    assert "right" not in out
    assert max(map(len, out.splitlines())) <= width


def test_the_table_and_json_tell_one_verdict() -> None:
    seed, saturated = read("sample_inputs/seed.json"), read("sample_inputs/saturated.json")
    cases = (
        (without_certainty(seed, {}), "agree-right", "agree and right"),
        (without_certainty(seed, {"weights": [0, 7]}), "undecided", "the exact values of 2 entries are"),
        (
            without_certainty(seed, {"loss": [0]}),
            "undecided",
            "the exact value of the loss is not certified",
        ),
        (
            without_certainty(seed, {"loss": [0], "weights": [7]}),
            "undecided",
            "the exact values of the loss and W[input 1, class 2]",
        ),
        (without_certainty(saturated, {}), "agree-wrong", "but the chain is wrong"),
        (
            without_certainty(saturated, {"weights": [0]}),
            "undecided",
            "the exact value of W[input 0, class 0] is not",
        ),
        (compute(seed, ("chain", "shortcut")), "undecided", "agree: all 15 entries are equal"),
    )
    for computed, verdict, sentence in cases:
        (result,) = compute_results(computed, Layout(is_batch=False))
        assert json.loads(b"".join(encode(result)))["verdict"] == computed.verdict == verdict
        assert sentence in " ".join(shown(computed).split())


def test_a_loss_that_is_not_certified_is_marked() -> None:
    out = shown(without_certainty(read("sample_inputs/seed.json"), {"loss": [0]}))
    assert "exact     1.5279347484961026?\n" in out
    assert "?  not certified" in out


def test_a_third_method_without_a_digit_does_not_change_the_verdict(run: Run) -> None:
    """It is that of chain and shortcut: the table and JSON say so alike."""
    problem = problem_json(W=[[1, 2]], x=[1e-20], label=0)
    methods = ("--method", "chain,shortcut,finite-difference,exact")
    result = json.loads(run("compute", *methods, "--json", stdin=problem).out)
    assert result["finite_difference"]["wrong_entries"] == 2
    assert result["verdict"] == "agree-right"
    assert "agree and right: all 2 entries" in run("compute", *methods, stdin=problem).out


def test_the_library_computes_the_exact_values_where_they_are_quick_or_asked_for() -> None:
    def computed(size: int, methods: list[str] | None, exact: Any) -> list[str]:
        problem = Problem(np.zeros((size, 2)), np.ones((1, size)), Targets(labels=np.array([0])))
        return list(methods_for(problem, methods, exact))

    assert computed(20, None, "auto") == ["chain", "shortcut", "exact"]
    assert computed(3_000_000, None, "auto") == ["chain", "shortcut"]
    assert computed(3_000_000, None, True) == ["chain", "shortcut", "exact"]
    assert computed(20, None, False) == ["chain", "shortcut"]
    assert computed(20, ["shortcut"], "auto") == ["shortcut"]
    assert computed(20, ["exact", "shortcut"], "auto") == ["shortcut", "exact"]
    with pytest.raises(InputError, match="no method is left"):
        computed(20, ["exact"], False)


def test_the_library_says_why_something_is_not_finite() -> None:
    problem = Problem(np.array([[0.0, 2000.0]]), np.array([[0.0], [1.0]]), Targets(labels=np.array([1, 0])))
    cause = "the probability S of class 0 (the first) in row 1 underflows to 0, and the chain multiplies 1/S"
    assert compute(problem).warnings[0].startswith(cause)
    assert compute(problem, ("shortcut",)).warnings == []


def moved(computed: Computation, index: int, by: float) -> Computation:
    """The computation, with one entry of the chain's dL/dW moved as far."""
    compared = computed.comparisons["weights"]
    candidate = compared.candidate.copy()
    candidate.flat[index] += by
    return replace(computed, comparisons={"weights": replace(compared, candidate=candidate)})


def without_digit(computed: Computation, method: str, index: int) -> Computation:
    """The computation, with one entry of a method's dL/dW twice what it is, as far as the exact values tell."""
    evaluation = computed.evaluations[method]
    candidate = evaluation.gradients["weights"].copy()
    candidate.flat[index] *= 2
    doubled = replace(evaluation, gradients={**evaluation.gradients, "weights": candidate})
    return replace(computed, evaluations={**computed.evaluations, method: doubled})


def test_each_verdict_has_its_sentence() -> None:
    computed = compute(read("sample_inputs/seed.json"))
    both = without_digit(without_digit(computed, "chain", 3), "shortcut", 3)
    cases = {
        "rounding explains in 1 of 15 entries, by at most 0.5, at W[input 1, class 2].": (
            moved(computed, 7, 0.5),
            "differ",
        ),
        "differ: the chain is not finite in 1 of 15 entries": (moved(computed, 7, np.nan), "differ"),
        "agree within rounding, but the shortcut is wrong: 1 entry without a correct digit, W[input 0, class 3]": (
            without_digit(computed, "shortcut", 3),
            "agree-wrong",
        ),
        "agree within rounding, but the chain is wrong: 1 entry without": (
            without_digit(computed, "chain", 3),
            "agree-wrong",
        ),
        "agree, but both wrong: 1 entry without a correct digit, W[input 0, class 3]": (both, "agree-wrong"),
    }
    for sentence, (case, verdict) in cases.items():
        assert case.verdict == verdict
        assert sentence in " ".join(shown(case).split())


@pytest.mark.parametrize("options", [(), ("--no-exact",)], ids=["exact", "no exact"])
def test_a_chain_that_is_further_off_than_rounding_explains_differs(
    run: Run, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    """No chain of ours is: its bound is proven.  So one entry of its gradient is moved here."""
    chain = METHODS["chain"].evaluate(read("sample_inputs/seed.json"))
    gradient = chain.gradients["weights"].copy()
    gradient[1, 3] += 2.0**-10
    moved = msgspec.structs.replace(chain, gradients={"weights": gradient})
    monkeypatch.setattr("xegrad.methods.chain.evaluate", lambda problem, with_respect_to=(): moved)
    arguments = ("compute", "sample_inputs/seed.json", *options)
    said = (
        "differ: chain and shortcut are further apart than rounding explains in 1 of 15 entries, by at most "
    )
    said += "0.000977, at W[input 1, class 3]."
    assert said in one_line(run(*arguments))
    result = json.loads(run(*arguments, "--json").out)
    assert result["verdict"] == "differ"
    assert result["comparison"]["agree"] is False
    assert result["comparison"]["worst"] == {"of": "W", "input": 1, "class": 3}


def test_time_is_told_only_where_it_is_asked_for(run: Run) -> None:
    seed = "sample_inputs/seed.json"
    heading = re.compile(r"^method .* differ +time$", flags=re.MULTILINE)
    assert heading.search(run("compute", seed, "--time").out)
    assert "time" not in run("compute", seed).out
    result = json.loads(run("compute", seed, "--time", "--json").out)
    assert all(result[method]["seconds"] > 0 for method in ("chain", "shortcut", "exact"))
    assert "seconds" not in run("compute", seed, "--json").out


def test_digits_that_are_not_those_of_the_exact_value_stand_out() -> None:
    """In the style of what is wrong, since rounding does not explain it."""
    layout, page = Layout(is_batch=False), PageSettings(entries=True)
    computed = compute(read("sample_inputs/seed.json"))
    chain = computed.evaluations["chain"]
    gradient = chain.gradients["weights"].copy()
    gradient[1, 2] += 2.0**-10
    chain = replace(chain, gradients={"weights": gradient})
    computed = replace(computed, evaluations={**computed.evaluations, "chain": chain})
    cells = {
        cell.plain: [(str(span.style), cell.plain[span.start : span.end]) for span in cell.spans]
        for block in itertools.chain.from_iterable(computation_view(computed, layout, page))
        if isinstance(block, Table)
        for column in block.columns
        for cell in column.cells
        if column.heading == "chain" and isinstance(cell, Text)
    }
    assert cells["-0.39053177"] == [("wrong", "053177")]  # 2^-10 from -0.39150833
    assert cells["-0.07830167"] == []


def test_two_views_stand_side_by_side_from_110_columns_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for columns, is_beside in ((109, False), (110, True)):
        monkeypatch.setenv("COLUMNS", str(columns))
        lines = run("compute", "sample_inputs/underflow.json").out.splitlines()
        assert any("Softmax layer" in line and line.endswith("dL/dW") for line in lines) is is_beside
        assert max(map(len, lines)) <= columns


def test_a_gradient_that_does_not_fit_is_a_map_and_its_largest_entries(run: Run) -> None:
    """A matrix in bands that nobody can take in shows less."""
    wide = json.dumps({"W": [[k / 64 for k in range(60)]] * 4, "x": [1, 2, 3, 4], "label": 0})
    out = run("compute", stdin=wide).out
    assert "each cell: the largest of 1 x 3 entries, by magnitude" in out
    assert "The 10 largest of 240 entries of dL/dW:" in out
    assert "…" not in out


@pytest.mark.parametrize("methods", [["chain", "chian"], ["chian"], [["chain"]], [None]], ids=str)
def test_a_method_that_there_is_none_of_is_not_passed_over(methods: Any) -> None:
    with pytest.raises(InputError, match="there is no method"):
        compute(Problem([[1.0, -1.0]], [[3.0]], Targets([0])), methods)
