"""NDJSON in, NDJSON out: in order, whole, and not late."""

from __future__ import annotations

import fcntl
import gc
import json
import math
import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest

from conftest import Run, Shell
from xegrad import engines
from xegrad.cli import stream, tally
from xegrad.formats import ndjson
from xegrad.formats.raw_problem import RawProblem

STREAM = "sample_inputs/stream.ndjson"
BAD = [17, 251, 502, 503, 777]
LINE = '{"W": [[1, 2], [3, 4]], "x": [1, -1], "label": 0}\n'
XEGRAD = [sys.executable, "-m", "xegrad"]


@pytest.fixture
def live() -> Iterator[subprocess.Popen[bytes]]:
    """A run that reads what is written to it, as it comes."""
    command = [*XEGRAD, "compute", "-", "--input-format", "ndjson"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        yield process
        process.kill()


def answers(
    run: Run, text: str, tmp_path: Path, *arguments: str, command: str = "compute"
) -> tuple[Any, Any]:
    path = tmp_path / "stream.ndjson"
    path.write_text(text)
    outcome = run(command, str(path), *arguments)
    return [json.loads(line) for line in outcome.out.splitlines()], outcome


def test_each_line_is_answered_as_it_would_be_alone(run: Run) -> None:
    """In stacks or alone, whatever shapes are around it."""
    outcome = run("compute", STREAM)
    assert outcome.status == 2
    assert outcome.err == f"xegrad: 1000 lines: 995 done, 5 bad; the first is line 17 of {STREAM}\n"
    lines = Path(STREAM).read_text().splitlines()
    found = [json.loads(line) for line in outcome.out.splitlines()]
    assert len(found) == 1000
    for number in [*range(1, 60), *BAD]:
        alone = run("compute", "-", "--no-exact", "--json", stdin=lines[number - 1])
        answer = found[number - 1]
        if number in BAD:
            assert alone.status == 2
            assert answer["line"] == number
            continue
        expected = json.loads(alone.out)
        assert {key: answer[key] for key in ("id", "method", "verdict", "warnings")} == {
            key: expected[key] for key in ("id", "method", "verdict", "warnings")
        }
        for name in ("loss", "gradient", "probabilities"):
            # A stack's products may be summed in another order.
            assert flat(answer[name]) == pytest.approx(flat(expected[name]), rel=1e-13, abs=1e-15)


def flat(value: Any) -> list[float]:
    return [number for part in value for number in flat(part)] if isinstance(value, list) else [value]


def test_a_bad_line_is_told_in_its_place_with_its_id(run: Run) -> None:
    found = [json.loads(line) for line in run("compute", STREAM).out.splitlines()]
    errors = {answer["line"]: answer for answer in found if "error" in answer}
    assert list(errors) == BAD
    assert "id" not in errors[17]  # it could not be read
    assert errors[251] == {"line": 251, "error": '$.W[0][1] is "0.2"; a number is expected', "id": 251}
    assert "label 2 is out of range" in errors[502]["error"]
    assert "did you mean 'W'?" in errors[777]["error"]


def test_lines_count_from_one_and_empty_ones_are_skipped(run: Run, tmp_path: Path) -> None:
    found, outcome = answers(run, f"\n{LINE}  \n\n{{\n{LINE[:-1]}", tmp_path)
    assert [answer.get("line") for answer in found] == [None, 5, None]
    assert "3 lines: 2 done, 1 bad; the first is line 5" in outcome.err


def test_a_stream_with_no_bad_line_exits_with_0_and_an_empty_one_too(run: Run, tmp_path: Path) -> None:
    assert answers(run, LINE * 3, tmp_path)[1].status == 0
    assert answers(run, "", tmp_path)[1].status == 0


def test_what_is_not_finite_is_told_of_its_own_line(run: Run, tmp_path: Path) -> None:
    under = '{"W": [[-800, 0], [0, 0]], "x": [1, 1], "label": 0}\n'
    found, _ = answers(run, LINE + under + LINE, tmp_path)
    assert [answer["verdict"] for answer in found] == ["undecided", "differ", "undecided"]
    assert found[0] == found[2]
    assert "underflows to 0" in found[1]["warnings"][0]
    assert found[1]["chain"]["gradient"] == [[None, None], [None, None]]


def test_options_are_those_of_every_line(run: Run, tmp_path: Path) -> None:
    """A W of the command line serves lines that bring only x and a label; its options win over theirs."""
    bare = '{"x": [1, -1], "label": 0}\n{"x": [2, 0.5], "label": 1}\n'
    whole = '{"W": [[1, 2], [3, 4]], "x": [1, -1], "label": 0}\n{"W": [[1, 2], [3, 4]], "x": [2, 0.5], "label": 1}\n'
    expected, _ = answers(run, whole, tmp_path)
    assert answers(run, bare, tmp_path, "-W", "[[1, 2], [3, 4]]")[0] == expected
    smooth = whole.replace('"label"', '"label_smoothing": 0.2, "label"')
    assert answers(run, smooth, tmp_path, "--label-smoothing", "0")[0] == expected


def test_exact_is_computed_in_a_stream_only_when_it_is_asked_for(run: Run, tmp_path: Path) -> None:
    assert "exact" not in answers(run, LINE, tmp_path)[0][0]
    found = answers(run, LINE * 2, tmp_path, "--exact")[0]
    assert found[0]["exact"]["certified"] is True
    assert found[0]["method"] == "exact"


def test_the_exact_values_of_a_line_are_those_of_the_line_alone(run: Run, tmp_path: Path) -> None:
    """Bit for bit: every number is the nearest float, whatever is stacked with it."""
    lines = (
        Path(STREAM).read_text().splitlines(keepends=True)[:12] + [LINE.replace("}", ', "b": [5, -5]}')] * 2
    )
    found, _ = answers(run, "".join(lines), tmp_path, "--exact")
    for line, answer in zip(lines, found, strict=True):
        alone = json.loads(run("compute", "-", "--exact", "--json", stdin=line).out)
        assert answer["exact"] == alone["exact"]
        assert answer["gradients"] == alone["gradients"]
        assert answer["verdict"] == alone["verdict"]


def test_several_streams_are_read_one_after_the_other(run: Run, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.ndjson").write_text(LINE.replace("}", f', "id": "{name}"}}'))
    outcome = run("compute", str(tmp_path / "a.ndjson"), str(tmp_path / "b.ndjson"))
    assert [json.loads(line)["id"] for line in outcome.out.splitlines()] == ["a", "b"]
    mixed = run("compute", str(tmp_path / "a.ndjson"), "sample_inputs/seed.json")
    assert mixed.status == 2
    assert "seed.json is json, among streams" in mixed.err


def test_a_stream_is_answered_in_ndjson_alone(run: Run) -> None:
    outcome = run("compute", STREAM, "--format", "csv")
    assert outcome.status == 2
    assert "not in csv" in outcome.err


def unread(pipe: IO[bytes]) -> int:
    """How many bytes have been written to a pipe and not been read."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def test_a_line_is_answered_before_the_next_one_comes(live: subprocess.Popen[bytes]) -> None:
    assert live.stdin is not None
    assert live.stdout is not None
    for label in (0, 1):
        live.stdin.write(LINE.replace('"label": 0', f'"label": {label}').encode())
        live.stdin.flush()
        assert json.loads(live.stdout.readline())["loss"] > 0
    live.stdin.write(LINE.encode()[:20])
    live.stdin.flush()
    while unread(live.stdin):
        time.sleep(0.001)
    live.stdin.write(LINE.encode()[20:])
    live.stdin.close()
    assert json.loads(live.stdout.readline())["verdict"] == "undecided"
    assert live.wait() == 0


def test_an_interruption_loses_nothing_that_was_printed(live: subprocess.Popen[bytes]) -> None:
    assert live.stdin is not None
    assert live.stdout is not None
    assert live.stderr is not None
    live.stdin.write(LINE.encode() * 3)
    live.stdin.flush()
    printed = [live.stdout.readline() for _ in range(3)]
    live.send_signal(signal.SIGINT)
    assert live.wait() == 130
    assert all(json.loads(line)["loss"] for line in printed)
    assert live.stderr.read() == b"xegrad: 3 lines: 3 done, 0 bad\n"


def test_no_interruption_comes_between_what_is_written_and_its_count(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", sys.__stdout__)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    counted = tally.Tally()
    add = counted.add

    def interrupted(*arguments: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        add(*arguments)

    monkeypatch.setattr(counted, "add", interrupted)
    try:
        with pytest.raises(KeyboardInterrupt):
            counted.write(b"{}\n", [tally.DONE_LINE], [1], "it")
    finally:
        signal.signal(signal.SIGINT, before)
    assert counted.counts[tally.DONE_LINE] == capfd.readouterr().out.count("{}") == 1


def test_an_interruption_while_it_ends_is_silent() -> None:
    """Python's own tidying up would print a traceback."""
    script = (
        "import atexit, signal, sys; from xegrad.__main__ import run; "
        "atexit.register(signal.raise_signal, signal.SIGINT); sys.argv = ['xegrad', '--version']; run()"
    )
    outcome = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert outcome.returncode == -signal.SIGINT
    assert outcome.stderr == b""


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        ("", "0 lines: 0 done, 0 bad"),
        ("\n \n\t\r\n", "0 lines: 0 done, 0 bad"),
        ("\ufeff", "0 lines: 0 done, 0 bad"),
        ("\ufeff" + LINE.replace("\n", "\r\n"), "1 line: 1 done, 0 bad"),
        (LINE[:-1], "1 line: 1 done, 0 bad"),
    ],
)
def test_blank_lines_are_no_problems(run: Run, tmp_path: Path, text: str, summary: str) -> None:
    found, outcome = answers(run, text, tmp_path)
    assert outcome.status == 0
    assert outcome.err == f"xegrad: {summary}\n"
    assert len(found) == int(summary[0])


def test_blank_lines_are_given_to_nobody() -> None:
    """One line at a time, as `verify` takes them: a round of a process for each blank one took 4 s for 100,000."""
    text = b"\n \r\n{}\n" + b"\n" * 99_999 + b"[]"
    chunks = ndjson.split(ndjson.Chunk(text, 7), 1)
    assert [(chunk.text, chunk.number) for chunk in chunks] == [(b"{}", 9), (b"[]", 7 + 100_002)]
    assert [chunk.number for chunk in ndjson.split(ndjson.Chunk(text, 7), 60_000)] == [7, 60_007]
    too_long = ndjson.Chunk(b"", 3, "too long")
    assert ndjson.split(too_long, 1) == [too_long]


def test_lines_that_overflow_leave_those_beside_them_alone(run: Run, tmp_path: Path) -> None:
    """W that float64 or float32 cannot hold is refused; a logit that overflows has a result that says so."""
    large = [LINE.replace("[[1,", f"[[{number},") for number in ("1e400", "1e39", "1e308")]
    large[1] = large[1].replace("}", ', "dtype": "float32"}')
    large[2] = large[2].replace('"x": [1,', '"x": [100,')
    lines = [LINE, large[0], LINE, large[1], LINE, large[2], LINE]
    found, outcome = answers(run, "".join(lines), tmp_path, "--exact")
    assert outcome.status == 2
    assert "7 lines: 5 done, 2 bad; the first is line 2" in outcome.err
    assert found[0] == found[2] == found[4] == found[6]
    assert "too large for float64" in found[1]["error"]
    assert "the largest number of float32 is 3.4e+38" in found[3]["error"]
    assert found[5]["verdict"] == "differ"
    assert "overflows" in "".join(found[5]["warnings"])
    assert found[5]["exact"]["certified"] is True
    assert found[5]["gradient"] == [[0, 0], [0, 0]]


def test_lines_in_float32_are_computed_in_it(run: Run, tmp_path: Path) -> None:
    single = LINE.replace("}", ', "dtype": "float32"}').replace("[1, -1]", "[0.1, -0.7]")
    found, _ = answers(run, single * 2 + LINE + single, tmp_path, "--exact")
    assert found[0] == found[1] == found[3]
    gradient = np.array(found[0]["shortcut"]["gradient"])
    assert (gradient == gradient.astype(np.float32)).all()
    exact = np.array(found[0]["exact"]["gradient"])  # of the numbers as they are given
    assert (exact != exact.astype(np.float32)).any()


def test_a_long_line_is_whole(run: Run, tmp_path: Path) -> None:
    """One with 40,000 classes is longer than what is read at a time."""
    weights = (np.arange(40_000) % 97 / 8).tolist()
    long = json.dumps({"W": [weights, [0.015625 + w for w in weights]], "x": [1, 0.5], "label": 3}) + "\n"
    assert len(long) > ndjson.READ
    found, _ = answers(run, LINE + long + LINE, tmp_path, "--exact", "--method", "shortcut")
    assert found[0] == found[2]
    assert found[1]["exact"]["certified"] is True
    probabilities = np.array(found[1]["probabilities"])
    assert abs(math.fsum(probabilities) - 1) < 40_000 * 2.0**-53
    assert np.argmin(found[1]["gradient"][0]) == 3


def test_many_processes_answer_in_the_order_of_the_lines(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(stream, "WORTHWHILE", 0)
    monkeypatch.setattr(engines, "n_processors", lambda: 2)
    monkeypatch.setattr("xegrad.formats.ndjson.READ", 4096)
    text = "".join(LINE.replace("}", f', "id": {number}}}') for number in range(2000))
    found, outcome = answers(run, text.replace('"id": 1234', '"id": 1234, "W": 0'), tmp_path)
    assert [answer["id"] for answer in found] == list(range(2000))
    assert "1999 done, 1 bad; the first is line 1235" in outcome.err


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_away_ends_the_run_quietly(shell: Shell, unbuffered: str) -> None:
    streams = f"cat {STREAM} {STREAM} {STREAM}"  # beside the pipeline: that a signal ends cat is no failure
    compute = f"PYTHONUNBUFFERED={unbuffered} xegrad compute - --input-format ndjson"
    outcome = shell(f"set -o pipefail; {compute} < <({streams}) | head -n 1")
    assert outcome.out.count("\n") == 1
    assert outcome.status == 0
    assert "Traceback" not in outcome.err


def test_a_file_of_answers_is_whole_or_not_there(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "answers.ndjson"
    assert run("compute", STREAM, "-o", str(out)).status == 2  # some lines are bad, and all are answered
    assert len(out.read_text().splitlines()) == 1000
    source = tmp_path / "source.ndjson"
    source.write_text(LINE)
    assert "which is read" in run("compute", str(source), "-o", str(source)).err
    assert source.read_text() == LINE


def test_verify_judges_the_candidate_of_each_line(run: Run, tmp_path: Path) -> None:
    right = json.loads(run("compute", "-", "--json", stdin=LINE).out)["gradient"]
    lines = [
        LINE.replace("}", f', "gradient": {json.dumps(right)}}}'),
        LINE.replace("}", ', "gradient": [[1, -1], [-1, 1]], "id": "second"}'),
        LINE,
    ]
    found, outcome = answers(run, "".join(lines), tmp_path, command="verify")
    assert [answer.get("verified") for answer in found] == [True, False, None]
    assert found[1]["id"] == "second"
    assert "there is no gradient and no loss to judge" in found[2]["error"]
    assert outcome.status == 2
    assert f"xegrad: 2 judged: 1 right, 1 wrong; 1 bad; the first is line 3 of {tmp_path}" in outcome.err
    assert answers(run, "".join(lines[:2]), tmp_path, command="verify")[1].status == 1
    assert answers(run, lines[0], tmp_path, command="verify")[1].status == 0
    assert run("verify", STREAM, "--gradient", "1,2").status == 2


@pytest.mark.skipif(
    sys.platform != "linux", reason="Linux says what a process had at most, and not its parent"
)
def test_memory_does_not_grow_with_the_stream(tmp_path: Path) -> None:
    """Three times the lines: the peak may differ by what an allocator keeps, not by the 50 MB more of answers."""
    script = """
import atexit, re, sys
from xegrad import engines
from xegrad.__main__ import run
engines.n_processors = lambda: 1
peak = lambda: re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]
atexit.register(lambda: print(peak(), file=sys.stderr))
run()
"""
    peaks = []
    for lines in (50_000, 150_000):
        path = tmp_path / "long.ndjson"
        path.write_text(LINE * lines)
        command = [sys.executable, "-c", script, "compute", str(path)]
        done = subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        peaks.append(int(done.stderr.split()[-1]) / 1024)
    assert peaks[1] - peaks[0] < 32  # MiB


@pytest.mark.parametrize("command", ["compute", "verify"])
@pytest.mark.parametrize(
    "bad",
    [
        '{"W": [[1, 2], [3]], "x": [1, 2], "label": 0}',
        '{"W": [], "x": [1], "label": 0}',
        '{"W": [[1, 2]], "x": [1, [2]], "label": 0}',
        '{"W": [[1, 2]], "x": [1], "label": "cat"}',
        '{"W": [[1, 2]], "x": [1], "label": [0, 1], "class_weights": [1]}',
        '{"W": [[1e999, 2]], "x": [1], "label": 0}',
        '{"W": [[NaN, 2]], "x": [1], "label": 0}',
        '{"W": [[1, 2]], "W": [[1, 2]], "x": [1], "label": 0}',
        '[[1, 2]]',
        "nothing",
        '{"x": [1], "label": 0}',
        "[" * 3000,
    ],
)  # fmt: skip
def test_no_line_however_bad_ends_the_stream(run: Run, tmp_path: Path, command: str, bad: str) -> None:
    good = LINE.replace("}", ', "loss": 1.0}')
    found, outcome = answers(run, f"{good}{bad}\n{good}", tmp_path, command=command)
    assert [answer.get("line") for answer in found] == [None, 2, None]
    assert not found[1]["error"].startswith(":")
    assert outcome.status == 2


def test_an_object_that_spans_lines_is_none_whatever_is_around_it(run: Run, tmp_path: Path) -> None:
    span = '{"W":[[1,2,3],[4,5,6]],\n"x":[1,2],"label":0} {"W":[[1,2,3],[4,5,6]],"x":[1,2],"label":0}'
    for text in (span, f"{span}\n{{"):
        found, _ = answers(run, text, tmp_path)
        assert [answer["line"] for answer in found] == list(range(1, len(found) + 1))


def test_neighbours_that_nearly_fit_are_not_taken_for_each_other(run: Run, tmp_path: Path) -> None:
    """Lines of one size that differ in kind: with and without b, a label by index, by name and as a target."""
    variants = [
        LINE,
        LINE.replace("}", ', "b": [5, -5]}'),
        LINE.replace("}", ', "classes": ["no", "yes"]}').replace('"label": 0', '"label": "yes"'),
        LINE.replace('"label": 0', '"label": [0.5, 0.5]'),
        LINE.replace('"x": [1, -1], "label": 0', '"x": [[1, -1]], "label": [0]'),
        LINE.replace("}", ', "label_smoothing": 0.1}'),
        LINE.replace("}", ', "transpose": true}'),
        LINE.replace('"label": 0', '"label": 1'),
    ]
    alone = [json.loads(run("compute", "-", "--no-exact", "--json", stdin=line).out) for line in variants]
    for first in range(len(variants)):
        order = [*range(first, len(variants)), *range(first)]
        found, outcome = answers(run, "".join(variants[k] for k in order), tmp_path)
        assert outcome.status == 0
        for k, answer in zip(order, found, strict=True):
            assert flat(answer["loss"]) == pytest.approx(flat(alone[k]["loss"]), rel=1e-13)
            assert answer["gradients"].keys() == alone[k]["gradients"].keys()
            assert np.shape(answer["probabilities"]) == np.shape(alone[k]["probabilities"])


def test_a_summary_counts_what_each_line_was_judged(run: Run, tmp_path: Path) -> None:
    """Wrong is what is wrong in anything that the line claims."""
    right = json.loads(run("compute", "-", "--json", stdin=LINE).out)
    lines = [
        LINE.replace("}", f', "gradient": {json.dumps(right["gradient"])}, "loss": 9}}'),
        LINE.replace("}", f', "loss": {right["loss"]}}}'),
        LINE.replace("}", ', "logits": [9, 9]}'),
    ]
    _, outcome = answers(run, "".join(lines), tmp_path, command="verify")
    assert outcome.err == "xegrad: 3 judged: 1 right, 2 wrong\n"
    assert answers(run, "", tmp_path, command="verify")[1].err == "xegrad: 0 judged\n"


def test_a_quiet_stream_says_what_is_bad_and_nothing_else(run: Run) -> None:
    quiet = run("compute", STREAM, "-q")
    assert (quiet.status, quiet.out) == (2, "")
    assert "5 bad; the first is line 17" in quiet.err
    assert run("compute", "sample_inputs/seed.json", "-q") == (0, "", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_what_could_not_be_written_is_not_counted(run: Run, shell: Shell) -> None:
    for outcome in (run("compute", STREAM, "-o", "/dev/full"), shell(f"xegrad compute {STREAM} > /dev/full")):
        assert outcome.status == 2
        assert outcome.err.count("\n") == 1
        assert "cannot be written" in outcome.err
    assert shell(f"xegrad compute {STREAM} | head -1 > /dev/null").err == ""


def test_verify_answers_each_line_before_it_computes_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lines.ndjson"
    path.write_text(LINE * 3)
    computed: list[int] = []

    def answered(chunk: ndjson.Chunk, **_: Any) -> stream.Answered:
        computed.append(chunk.number)
        return b"{}\n", ([], [])

    monkeypatch.setattr(stream, "answered", answered)
    answers = stream.in_order("verify", str(path), "it", lambda *_: (), RawProblem())
    for n in (1, 2, 3):
        next(answers)
        assert computed == [*range(1, n + 1)]


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_ended_counts_what_its_reader_has_got(tmp_path: Path, ending: signal.Signals) -> None:
    """While it waits for the reader, who reads the rest after that: whole lines, as many as it says."""
    path = tmp_path / "long.ndjson"
    path.write_text(LINE * 3000)
    with subprocess.Popen(
        [*XEGRAD, "compute", str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stdout.readline()
        process.send_signal(ending)
        rest = process.stdout.read()
        assert process.wait() == 128 + ending
        assert rest.endswith(b"\n")
        lines = 1 + rest.count(b"\n")
        assert process.stderr.read().decode() == f"xegrad: {lines} lines: {lines} done, 0 bad\n"
    assert json.loads(first)["loss"] > 0
    assert 1 < lines < 3000


def test_a_full_disk_has_as_many_lines_as_the_summary(shell: Shell, tmp_path: Path) -> None:
    """A limit on the size of files says what a disk does that is full."""
    out = tmp_path / "out.ndjson"
    outcome = shell(f"ulimit -f 100; xegrad compute {STREAM} > {out}")
    assert outcome.status == 2
    assert out.stat().st_size == 100 * 1024
    summary, error = outcome.err.splitlines()
    n_lines, bad = out.read_bytes().count(b"\n"), sum(number <= 250 for number in BAD)
    assert (
        summary
        == f"xegrad: {n_lines} lines: {n_lines - bad} done, {bad} bad; the first is line 17 of {STREAM}"
    )
    assert error == "xegrad: standard output cannot be written: File too large"


def test_a_reader_that_is_gone_is_told_nothing(shell: Shell, tmp_path: Path) -> None:
    """Nor is what it has got counted."""
    (tmp_path / "long.ndjson").write_text(LINE * 3000)
    outcome = shell(f"set -o pipefail; xegrad compute {tmp_path}/long.ndjson | head -n 20 | wc -l")
    assert (outcome.status, outcome.out.strip(), outcome.err) == (0, "20", "")


@pytest.mark.skipif(sys.platform != "linux", reason="a pipe is made larger on Linux")
def test_an_interruption_leaves_no_part_of_a_line_in_a_full_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody reads before the end: what is counted is in the pipe, whole, and no other writer is made not to wait."""
    reader, writer = os.pipe()
    waited: list[int] = []

    def wait(*_: Any, **__: Any) -> None:
        waited.append(1)
        if len(waited) > 1:
            raise KeyboardInterrupt

    with open(writer, "w") as out, open(reader, "rb") as pipe:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr("xegrad.cli.tally.patience.wait", wait)
        counted = tally.Tally()
        with pytest.raises(KeyboardInterrupt):
            counted.write(b"0123456789\n" * 9000, [tally.DONE_LINE] * 9000, range(1, 9001), "it")
        assert os.get_blocking(writer)
        out.close()
        written = pipe.read()
    assert written == b"0123456789\n" * counted.counts[tally.DONE_LINE]
    assert 1000 < counted.counts[tally.DONE_LINE] < 9000


def test_nothing_of_the_lines_beside_a_bad_one_stays_in_memory() -> None:
    def read(lines: ndjson.Lines, places: Any, options: RawProblem) -> Iterator[stream.Answer]:
        yield places, [(b"{}",)] * len(ndjson.stack(lines, places, options).places), tally.DONE_LINE

    chunk = ndjson.Chunk(b'{"W": [[1, 2]], "x": [1], "label": 0}\n5\n' * 20, 1)

    def blocks() -> int:
        for _ in range(80):
            stream.answered(chunk, read, RawProblem())
        gc.collect()
        return sys.getallocatedblocks()

    blocks()  # what is made once
    before = blocks()
    assert (
        blocks() - before < 80 * 2
    )  # each of the 80 left two and more; what Python itself keeps is half a hundred
