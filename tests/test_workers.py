"""A stream that several processes compute: what becomes of it when they end, and that it is the same as of one."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from conftest import Run
from test_hostile_lines import GOOD, LINES, WORK
from xegrad import XegradError, engines, memory
from xegrad.cli import processes, stream
from xegrad.formats import ndjson
from xegrad.formats.ndjson import Chunk
from xegrad.formats.raw_problem import RawProblem

LINE = '{"W": [[1, 2], [3, 4]], "x": [1, -1], "label": 0}\n'
on_linux = pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc to see processes in")


@pytest.fixture
def shared() -> Iterator[subprocess.Popen[bytes]]:
    """A run that shares what is written to it among two processes, from the first line on."""
    script = (
        "from xegrad.cli import stream; from xegrad.__main__ import run; stream.WORTHWHILE = 0; "
        "stream.engines.n_processors = lambda: 2; import sys; "
        "sys.argv = ['xegrad', 'compute', '-', '--input-format', 'ndjson']; run()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        yield process
        process.kill()


def children(process: int) -> list[int]:
    """The processes that one has started."""
    return [
        child
        for tasks in Path(f"/proc/{process}/task").glob("*/children")
        for child in map(int, tasks.read_text().split())
    ]


def kill(process: int) -> None:
    """End a process, and return when it has ended."""
    ended = os.pidfd_open(process)
    os.kill(process, signal.SIGKILL)
    select.select([ended], [], [])
    os.close(ended)


@on_linux
@pytest.mark.parametrize("work", ["that waits", "in hand"])
def test_the_lines_of_a_killed_process_are_computed_again(shared: subprocess.Popen[bytes], work: str) -> None:
    """Whether it was killed before it was sent lines, or with them."""
    assert shared.stdin is not None
    assert shared.stdout is not None
    assert shared.stderr is not None
    shared.stdin.write(LINE.encode())
    shared.stdin.flush()
    printed = shared.stdout.readline()
    processes = children(shared.pid)
    assert len(processes) == 2
    for process in processes:
        if work == "in hand":
            os.kill(process, signal.SIGSTOP)
        else:
            kill(process)
    shared.stdin.write(LINE.encode() * 5)
    shared.stdin.close()
    if work == "in hand":
        for process in processes:
            kill(process)
    assert shared.wait() == 0
    assert shared.stdout.read() == printed * 5
    *endings, summary = shared.stderr.read().decode().splitlines()
    assert summary == "xegrad: 6 lines: 6 done, 0 bad"
    had = "before it answered lines 2 to 6 of standard input; they are computed again"
    assert {*endings} == {f"xegrad: process {process} was killed (SIGKILL) {had}" for process in processes}


@on_linux
def test_a_stopped_process_does_not_hold_up_an_interruption(shared: subprocess.Popen[bytes]) -> None:
    """It hears no request to end."""
    assert shared.stdin is not None
    assert shared.stdout is not None
    shared.stdin.write(LINE.encode())
    shared.stdin.flush()
    assert json.loads(shared.stdout.readline())["loss"] > 0
    processes = children(shared.pid)
    for process in processes:
        os.kill(process, signal.SIGSTOP)
        while Path(f"/proc/{process}/stat").read_text().split()[2] != "T":
            os.sched_yield()
    shared.send_signal(signal.SIGINT)
    assert shared.wait() == 130


@on_linux
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_and_no_piece_of_a_file_is_left_behind(tmp_path: Path, ending: signal.Signals) -> None:
    """A killed parent cannot tidy up its file; its processes see that it is gone."""
    path, marker = tmp_path / "long.ndjson", str(tmp_path / "long.ndjson")
    path.write_text(LINE * 100_000)
    script = (
        "from xegrad import engines; from xegrad.__main__ import run; engines.n_processors = lambda: 2; "
        f"import sys; sys.argv = ['xegrad', 'compute', {str(path)!r}, '-o', {str(tmp_path / 'out.ndjson')!r}]; "
        "run()"
    )
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL) as process:
        while len(running(marker)) < 3 and process.poll() is None:
            time.sleep(0.02)
        assert len(running(marker)) == 3
        process.send_signal(ending)
        assert process.wait() == (-ending if ending == signal.SIGKILL else 128 + ending)
    deadline = time.monotonic() + 300  # reached only where a process is left behind
    while running(marker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert running(marker) == []
    if ending != signal.SIGKILL:
        assert [left.name for left in tmp_path.iterdir()] == ["long.ndjson"]


def running(marker: str) -> list[str]:
    """The processes whose command line has the marker."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if marker.encode() in (folder / "cmdline").read_bytes():
                found.append(folder.name)
        except OSError:
            continue
    return found


def killed_by(signs: list[bytes], chunk: Chunk) -> stream.Answered:
    """The answers to lines, of a process that some lines kill."""
    if any(sign in chunk.text for sign in signs):
        os.kill(os.getpid(), signal.SIGKILL)
    return stream.answered(chunk, WORK["compute"], RawProblem())


def answers(function: Any, lines: list[bytes], n_processes: int = 2, most: int = 1000) -> list[bytes]:
    """What several processes answer."""
    chunks = ndjson.split(Chunk(b"\n".join(lines), 1), most)
    of_chunks = processes.answers(function, [chunks], n_processes, lambda: True, stream._losses("it.ndjson"))
    return b"".join(bytes(text) for text, _ in of_chunks).splitlines(keepends=True)


def test_a_line_that_kills_its_process_again_and_again_is_told_in_its_place(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Lines beside it are answered, in order; it is found by halves."""
    lines = [f'{GOOD[0][:-1]}, "id": {k}}}'.encode() for k in range(9)]
    lines[4] = lines[4].replace(b'"id": 4', b'"id": "kills"')
    found = [json.loads(answer) for answer in answers(partial(killed_by, [b"kills"]), lines)]
    assert [answer.get("id") for answer in found] == [0, 1, 2, 3, None, 5, 6, 7, 8]
    assert found[4] == {
        "line": 5,
        "error": "each process that computed this line ended; was there enough memory?",
    }
    endings = capfd.readouterr().err.splitlines()
    assert len(endings) == 2 * 4  # of 9 lines, 5, 2 and 1
    assert (
        "was killed (SIGKILL) before it answered lines 1 to 9 of it.ndjson; they are computed" in endings[0]
    )
    assert endings[-2].endswith("line 5 of it.ndjson; it is computed again")
    assert endings[-1].endswith("line 5 of it.ndjson")


def test_where_every_process_ends_the_stream_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "MOST_ENDED", 5)
    with pytest.raises(XegradError, match=r"was killed .SIGKILL., as 5 before it: is there enough memory"):
        answers(partial(killed_by, [b"W"]), [b'{"W": 1}'] * 9)


def test_where_no_process_can_be_started_this_one_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a user may have no more: what the system says is the same as of a limit."""

    def refused(*_: Any) -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refused)
    assert len(answers(partial(killed_by, [b"none"]), [GOOD[0].encode()] * 3)) == 3


def ended_by(chunk: Chunk) -> stream.Answered:
    raise ValueError(chunk.number)


def test_an_answer_that_cannot_be_made_is_no_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    (answer,) = answers(ended_by, [b"{}"])
    assert json.loads(answer)["line"] == 1
    endings = capfd.readouterr().err.splitlines()
    assert [line.partition(" ended ")[2] for line in endings] == [
        "with status 1 before it answered line 1 of it.ndjson; it is computed again",
        "with status 1 before it answered line 1 of it.ndjson",
    ]


def bytes_of(run: Run, monkeypatch: pytest.MonkeyPatch, path: Path, n: int, *arguments: str) -> Any:
    """What is answered by so many processes, from the first line on."""
    monkeypatch.setattr(stream, "WORTHWHILE", 0)
    monkeypatch.setattr(engines, "n_processors", lambda: n)
    return run(*arguments, str(path))


def test_answers_are_the_same_bytes_by_any_number_of_processes_and_in_any_pieces(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And whatever the seed of hashes, the locale and the threads are."""
    path = tmp_path / "lines.ndjson"
    lines = [line for line in LINES if len(line) < 1000][::3]
    mixed = [other for line in lines for other in (line, GOOD[0].encode(), GOOD[1].encode())]
    path.write_bytes(b"\n".join(mixed))
    expected = bytes_of(run, monkeypatch, path, 1, "compute")
    for n, size in ((1, 1000), (2, 4096), (3, 10**6)):
        monkeypatch.setattr(ndjson, "READ", size)
        assert bytes_of(run, monkeypatch, path, n, "compute") == expected
    environment = {"PYTHONHASHSEED": "1", "LC_ALL": "C", "OPENBLAS_NUM_THREADS": "2"}
    again = subprocess.run(
        [sys.executable, "-m", "xegrad", "compute", str(path)],
        capture_output=True,
        check=False,
        env=os.environ | environment,
    )
    assert (again.returncode, again.stdout.decode(), again.stderr.decode()) == expected


def test_what_is_more_than_a_share_of_memory_is_computed_alone(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The limit is the same for every line, however many processes there are."""
    path = tmp_path / "lines.ndjson"
    line = json.dumps({"W": [[0.5] * 50] * 10, "x": [1] * 10, "label": 0})
    path.write_text(f"{line}\n{LINE}{line}\n")
    outcomes = {
        limit: [
            bytes_of(run, monkeypatch, path, n, "compute", "--method", "shortcut", "--max-memory", limit)
            for n in (1, 2, 3)
        ]
        for limit in ("60kB", "5kB")
    }
    for alone, *shared in outcomes.values():
        assert shared == [alone, alone]
    assert [alone.status for alone, *_ in outcomes.values()] == [0, 2]


def test_nothing_is_swallowed_of_what_is_crowded() -> None:
    """No code that mends what is refused may take it for that."""
    assert not issubclass(memory.CrowdedError, XegradError)
