"""Any command with any options on any files: it ends with a status that is documented, and says why in one line.

What is drawn comes from the commands themselves, so that a new option is covered by being there.  By default this takes
seconds; XEGRAD_ANY=100000 draws so many runs, which takes hours:

    XEGRAD_ANY=100000 python -m pytest tests/test_any_command.py
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import typer
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from conftest import Outcome, problem_json
from xegrad.cli import COMMANDS, app, main

RUNS = int(os.environ.get("XEGRAD_ANY", "200"))
RUNS_EACH = 5  # after one another, on the same files

HUGE = "9" * 5000
HOSTILE = (
    *(
        "",
        " ",
        "-",
        ",",
        "[",
        "[]",
        "{}",
        "[[1,2]]",
        "=",
        "0",
        "1",
        "-1",
        "1,2",
        "2.5",
        "none",
        "auto",
        "any",
        "3",
    ),
    *(
        "nan",
        "inf",
        "-inf",
        "1e400",
        "1e5000",
        "1_0",
        "0x1p-3",
        "٣",
        "²",
        "9" * 23,
        HUGE,
        f"-{HUGE}",
        f"{HUGE},{HUGE}",
    ),
    *(
        "blocked=0",
        f"blocked={HUGE}",
        "a\0b",
        "\udcff",
        "\x1b]52;c;x\x07",
        "\u202e",
        "x" * 70_000,
        "/",
        ".",
        "--",
    ),
    *(
        "-h",
        "[" * 2000,
        '{"W": [[1]]}',
        "f.json:W",
        ":",
        ":::",
        "$",
        "1kB",
        "1" * 400 + "GiB",
        "raw:float32",
        "ndjson",
    ),
)
SANE = (
    "W",
    "x",
    "b",
    "0",
    "1",
    "2",
    "0.1",
    "float32",
    "json",
    "csv",
    "chain",
    "shortcut",
    "exact",
    "mean",
    "sum",
    "-",
)
# Of these, much is asked for by a number that is right: that is another test's.
COSTLY = {"--steps", "--rows", "--inputs", "--classes"}


@cache
def zoo() -> dict[str, bytes]:
    """Files, by their names: good ones, and others."""
    archive, array = io.BytesIO(), io.BytesIO()
    np.savez(archive, W=np.ones((2, 3)), x=np.ones(2), label=1, gradient=np.zeros((2, 3)))
    np.save(array, np.zeros((2, 3)))
    good = problem_json().encode()
    deep = b'{"W": ' + b"[" * 980 + b"]" * 980 + b', "x": [1], "label": 0}'
    return {
        "good.json": good,
        "claim.json": problem_json(gradient=[[0.1, 0.2, -0.3]] * 2, loss=1.5).encode(),
        "batch.json": problem_json(
            x=[[1, 2], [3, 4]], label=[0, 2], classes=["=a", "b\x1b[31m", "c"]
        ).encode(),
        "good.csv": b"x,a,b\n1,2,3\n4,5,6\nlabel,1,0\n",
        "table.csv": b"1,2,3\n4,5,6\n",
        "data.csv": b",one,two,kind\n0,1,2,a\n1,3,4,b\n",
        "good.npz": archive.getvalue(),
        "good.npy": array.getvalue(),
        "stream.ndjson": good + b"\n{}\n[\n" + good + b'\n{"W": [[1, 2], 3], "W": 2}\n',
        "cut.json": good[:-9],
        "cut.npz": archive.getvalue()[:-30],
        "cut.npy": array.getvalue()[:70],
        "noise.safetensors": bytes(range(256)),
        "noise.npz": b"PK\3\4" + bytes(range(255, -1, -1)),
        "noise.json": bytes(range(255)),
        "empty.json": b"",
        "empty.csv": b"",
        "deep.json": deep,
        "huge.json": f'{{"W": [[{HUGE}, 1e{HUGE}]], "x": [1], "label": {HUGE}}}'.encode(),
        "text.txt": b"array([[0.1, 0.2, -0.3], [0.1, 0.2, -0.3]])",
        "\udcff\x1b.json": good,
    }


def fill(folder: Path) -> list[str]:
    """The zoo in a folder; the names of what is there, and of what is not."""
    for name, data in zoo().items():
        (folder / name).write_bytes(data)
    (folder / "folder.json").mkdir()
    (folder / "loop.json").symlink_to("loop.json")
    (folder / "link.json").symlink_to("good.json")
    return [
        *zoo(),
        "folder.json",
        "loop.json",
        "link.json",
        "missing.json",
        "no/such.json",
        "n" * 300 + ".json",
        "-",
    ]


@cache
def parameters(command: str) -> list[tuple[str, str, bool]]:
    """The parameters of a command: the option, or nothing; its name; and whether it is a flag."""
    root: Any = typer.main.get_command(app)
    return [
        (name, parameter.name, parameter.is_flag if parameter.param_type_name == "option" else False)
        for parameter in root.get_command(None, command).params
        for name in (
            (*parameter.opts, *parameter.secondary_opts) if parameter.param_type_name == "option" else ("",)
        )
    ]


def is_costly(option: str, value: str) -> bool:
    with contextlib.suppress(ValueError):
        return option in COSTLY and 1000 < int(value) < 2**63
    return False


@st.composite
def command_lines(draw: Any, files: Sequence[str]) -> list[str]:
    """A command, and options with values, among them files and what other commands take."""
    command = draw(st.sampled_from([*COMMANDS]))
    arguments = [command]
    values = st.one_of(*map(st.sampled_from, (SANE, HOSTILE, files)), st.text(max_size=5))
    options = st.lists(st.sampled_from(parameters(command) or [("", "problem", False)]), max_size=5)
    for option, name, is_flag in draw(options):
        value = draw(st.sampled_from(files) if name == "problem" else values)
        if not is_costly(option, value):
            arguments += [option] if is_flag else [*filter(None, [option]), value]
    return arguments


def run(arguments: Sequence[str], stdin: bytes) -> Outcome:
    """The command in this process."""
    streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", errors="backslashreplace") for _ in range(2)]
    before = sys.stdin, sys.stdout, sys.stderr
    sys.stdin, (sys.stdout, sys.stderr) = io.TextIOWrapper(io.BytesIO(stdin)), streams
    try:
        status = main(arguments)
    finally:
        sys.stdin, sys.stdout, sys.stderr = before
    for stream in streams:
        stream.flush()
    out, err = (stream.buffer.getvalue().decode() for stream in streams)
    return Outcome(status, out, err)


def check(arguments: Sequence[str], outcome: Outcome) -> None:
    """It ended as it should."""
    status, out, err = outcome
    lines = err.splitlines()
    assert status in (0, 1, 2)
    if err.startswith("Usage: "):
        assert status == 2
        return
    assert all(line.startswith("xegrad: ") and len(line) <= 308 for line in lines)
    n_files = sum(argument == "-" or "." in argument or "," in argument for argument in arguments)
    is_one = n_files < 2 and not any("ndjson" in argument for argument in arguments)
    if status == 2:
        assert lines
        assert not out or not is_one
    assert not any(ord(character) < 32 and character not in "\n\t" for character in err)
    if "--json" in arguments and "-q" not in arguments and status < 2 and out.startswith("{"):
        for line in out.splitlines() if "--pretty" not in arguments else [out]:
            json.loads(line)


class AnyCommand(RuleBasedStateMachine):
    """Commands after one another in a folder: what one writes the next may read."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.before = Path.cwd()
        os.chdir(self.folder.name)
        self.files = fill(Path())

    @rule(data=st.data())
    def command(self, data: st.DataObject) -> None:
        arguments = data.draw(command_lines(self.files))
        stdin = zoo()[data.draw(st.sampled_from([*zoo()]))]
        check(arguments, run(arguments, stdin))

    def teardown(self) -> None:
        os.chdir(self.before)
        self.folder.cleanup()


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What Python warns of is shown to nobody, as in the command."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def test_any_command_with_any_options_on_any_files_ends_as_documented() -> None:
    run_state_machine_as_test(
        AnyCommand,
        settings=settings(
            max_examples=RUNS // RUNS_EACH,
            stateful_step_count=RUNS_EACH,
            deadline=None,
            suppress_health_check=[*HealthCheck],
            derandomize=RUNS <= 200,  # the same in every ordinary run
            database=None,
        ),
    )


PLACE = {
    "compute": ["good.json"],
    "verify": ["claim.json"],
    "explain": ["good.json"],
    "descend": ["good.json"],
    "completion": ["bash"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_an_absurd_value_of_any_option_is_read_or_refused_in_one_line(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fill(tmp_path)
    for option, name, is_flag in parameters(command):
        for value in (
            () if is_flag else ("", HUGE, f"-{HUGE}", "nan", "\udcff\0", f"blocked={HUGE}", f"{HUGE},1")
        ):
            arguments = [command, *(PLACE.get(command, []) if name != "problem" else [])]
            arguments += [*filter(None, [option]), value]
            check(arguments, run(arguments, b""))
