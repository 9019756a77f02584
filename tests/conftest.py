"""Fixtures: the command in this process and in a real shell, and golden files."""

from __future__ import annotations

import gc
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, settings

from xegrad.cli import main

ROOT = Path(__file__).parent.parent

# Numpy starts a thread for each core otherwise, which takes longer than most of the commands that the tests run.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Else each process that a test starts compiles all that it imports of xegrad, which takes a third of its time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# No test fails because the machine is busy.
settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")


class Outcome(NamedTuple):
    status: int
    out: str
    err: str


def one_line(outcome: Outcome) -> str:
    """What was printed, without the line ends that the width makes."""
    return " ".join(outcome.out.split())


Run = Callable[..., Outcome]
Shell = Callable[..., Outcome]


# A shell that runs the tests in the background has them, and all that they start, ignore interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """The thousands of tests stay to the end: whatever looks for garbage need not look at them each time."""
    gc.freeze()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--regenerate", action="store_true", help="rewrite the golden files")


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eighty columns, no colour, and the samples in reach by the names that the README uses."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    """run("compute", "-", stdin="...") in this process."""

    def call(*arguments: str, stdin: str | bytes = b"", terminal: bool = False) -> Outcome:
        data = stdin.encode() if isinstance(stdin, str) else stdin
        source = io.TextIOWrapper(io.BytesIO(data))
        # A stream that says it is a terminal: the only way to ask for one without a pseudo-terminal.
        source.isatty = lambda: terminal  # type: ignore[method-assign]
        monkeypatch.setattr(sys, "stdin", source)
        capfdbinary.readouterr()
        status = main([*map(str, arguments)])
        sys.stdout.flush()
        sys.stderr.flush()
        out, err = capfdbinary.readouterr()
        return Outcome(status, out.decode(), err.decode())

    return call


@pytest.fixture
def shell() -> Shell:
    """A line run by a real shell, with this environment's xegrad first on the path."""

    def call(line: str, **environment: str) -> Outcome:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", line],
            capture_output=True,
            check=False,
            text=True,
            encoding="utf-8",
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PATH": path, **environment},
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture
def undiagnosed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which mistake it is takes long to find, and has no say in whether a gradient is right, or would be."""
    from xegrad import Diagnosis, verification

    monkeypatch.setattr(verification, "diagnose", lambda *_: Diagnosis())


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """golden(name, text): the text is what the file holds; --regenerate writes it instead."""

    def check(name: str, text: str) -> None:
        path = Path(__file__).parent / "golden" / f"{name}.txt"
        if request.config.getoption("--regenerate"):
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8")

    return check


def problem_json(**parts: Any) -> str:
    """A small problem in JSON, with parts changed, added, or left out by None."""
    import json

    whole = {"W": [[1, 2, 3], [4, 5, 6]], "x": [0.5, -0.25], "label": 1} | parts
    return json.dumps({key: value for key, value in whole.items() if value is not None})
