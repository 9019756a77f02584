"""Help: every option in a panel, short help on a screen, examples that run, and the manual page."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from conftest import ROOT, Run, Shell
from xegrad.cli import COMMANDS, app
from xegrad.cli.help import PANELS, command_and_context

SCREEN = 50  # lines
GROUP = typer.main.get_command(app)
CONTEXT = GROUP.make_context("xegrad", [], resilient_parsing=True)
# The examples of each command, without what is said of them.
EXAMPLES = [
    re.sub(r"\s+# .*", "", line.strip())
    for help in (GROUP.help, *(command_and_context(CONTEXT, name)[0].help for name in COMMANDS))
    for part in cleandoc(help or "").split("\n\n")
    if part.startswith("\b")
    for line in part.splitlines()[1:]
    if "xegrad" in line
]


def parameters(command: str) -> dict[str, Any]:
    """The options and arguments of a command."""
    chosen, context = command_and_context(CONTEXT, command)
    return {str(parameter.name): parameter for parameter in chosen.get_params(context)}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_in_a_panel_and_in_the_whole_help(run: Run, command: str) -> None:
    placed = [name for panel in PANELS.values() for part in panel for name in part]
    help = run(command, "--help").out
    for name, parameter in parameters(command).items():
        assert placed.count(name) == 1, name
        assert all(option in help for option in (*parameter.opts[:-1], *parameter.secondary_opts))


def test_a_panel_has_no_option_that_no_command_has() -> None:
    known = {name for command in COMMANDS for name in parameters(command)}
    assert {name for panel in PANELS.values() for part in panel for name in part} == known


@pytest.mark.parametrize("command", COMMANDS)
def test_short_help_fits_on_a_screen_with_a_line_for_each_option(run: Run, command: str) -> None:
    short, whole = run(command, "-h").out, run(command, "--help").out
    assert len(short.splitlines()) <= SCREEN - 2  # the prompts
    assert max(map(len, (short + whole).splitlines())) <= 80
    if left_out := re.search(r"(\d+) more options: xegrad \w+ --help\n$", short):
        options = len(re.findall(r"^  (?:-|\[)", short, flags=re.M))
        assert options + int(left_out[1]) == len(parameters(command))
        assert not re.search(r"^ {20}", short, flags=re.M)  # the second line of an option
    else:
        assert short == whole


def test_help_is_narrower_where_the_terminal_is(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    of_options = run("verify", "--help").out.partition("Problem:")[2]
    assert max(map(len, of_options.splitlines())) <= 60


def test_help_is_that_of_a_command(run: Run) -> None:
    assert run("help", "verify") == run("verify", "--help")
    assert run("help").out == run("--help").out
    outcome = run("help", "verfy")
    assert outcome.status == 2
    assert outcome.err.endswith("did you mean verify?\n")


def test_the_version_is_short(run: Run) -> None:
    assert run("-V") == run("--version")
    assert re.fullmatch(r"xegrad \d+\.\d+\S*\n", run("-V").out)


def test_help_has_colours_on_a_terminal_or_where_they_are_asked_for(shell: Shell) -> None:
    colored = shell("xegrad help", CLICOLOR_FORCE="1", TERM="xterm").out
    assert "\x1b[" in colored
    assert re.sub(r"\x1b\[\d*m", "", re.sub(r"\x1b\[[\d;]*m", "", colored)) == shell("xegrad help").out


# The examples.


def write_files(run: Run) -> None:
    """What the examples read, in the working directory."""
    samples = ROOT / "sample_inputs"
    names = {"seed.json": "problem.json", "layer.npz": "layer.npz", "iris.csv": "iris.csv"}
    names |= {"iris_W.csv": "W.csv", "linear.safetensors": "layer.safetensors", "batch.json": "a.json"}
    for sample, name in names.items():
        shutil.copy(samples / sample, name)
    shutil.copy("problem.json", "b.json")
    np.save("x.npy", np.ones((2, 4)))
    np.save("y.npy", [0, 2])
    gradients = json.loads(run("compute", "problem.json", "--json", "--with-respect-to", "W,b").out)[
        "gradients"
    ]
    right = np.array(gradients["W"], np.float32)
    np.save("mine.npy", right)
    Path("printed.txt").write_text(str(right))
    Path("all.json").write_text(json.dumps({"gradients": gradients}))
    candidate = json.loads(Path("problem.json").read_text()) | {"gradient": gradients["W"]}
    for name in ("candidates.ndjson", "log"):
        Path(name).write_text(json.dumps(candidate))


def answers(run: Run, line: str) -> Iterator[tuple[int, str]]:
    """The exit status and output of each stage of a line; programs of others are played here."""
    text = ""
    if line.startswith("tail -f log | "):  # a stream is read from a file, which standard input is not here
        line = line.removeprefix("tail -f log | ").replace(" - ", " log ")
    for stage in re.sub(r"source <\((.*)\)", r"\1", line).split(" | "):
        words = shlex.split(re.split(" >>? ", stage)[0])
        if words[0] == "xegrad":
            status, text, err = run(*words[1:], stdin=text)
            assert status != 2, err
            yield status, text
        elif words[0] == "jq":
            result = json.loads(text)
            assert result if words[-1] == ".[].name" else result[words[1].removeprefix(".")]
        else:
            assert stage in ("myprogram --json",)
            text = Path("all.json").read_text()


@pytest.mark.parametrize("line", EXAMPLES)
def test_an_example_runs(run: Run, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_files(run)
    is_wrong = "--slip softmax-twice | xegrad verify" in line
    assert [status for status, _ in answers(run, line)][-1] == int(is_wrong), line


# The manual page.


def test_the_manual_page_is_that_of_the_help(run: Run) -> None:
    """Where it is not: python docs/make.py man."""
    assert run("man").out == (ROOT / "docs" / "xegrad.1").read_text(encoding="utf-8")


def test_man_finds_nothing_to_warn_of() -> None:
    if shutil.which("man") is None:
        pytest.skip("man is not installed")
    done = subprocess.run(
        ["man", "--warnings", "-l", "-Tutf8", ROOT / "docs" / "xegrad.1"], capture_output=True, check=True
    )
    assert done.stderr == b""
    assert b"XEGRAD VERIFY" in re.sub(rb"\x1b\[\d*m|.\x08", b"", done.stdout)
