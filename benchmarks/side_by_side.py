"""Statements or whole commands, each in processes of its own, timed in turn: the ratio of their medians.

    ours = Code("xegrad", setup="...", statement="...")
    peer = Code("numpy", setup="...", statement="...")
    report("Shortcut", [Row("loss and dL/dW at (64, 784, 10)", *measure(ours, peer), goal=1.3)])

In turn, so that whatever else the machine does falls on both.  `report` prints the rows, and puts them in the place of
the section of that title in RESULTS.md.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

RESULTS = Path(__file__).parent / "RESULTS.md"
ROUNDS = 7
LEAST = 0.02  # seconds of one measurement: a shorter statement is repeated

# In the child.  Writing 5 to clear_refs makes the peak of resident memory count from there.
CHILD = """
import re, sys, time
def resident(name):
    return int(re.search(name + r":\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
def repeated(times):
    start, used = time.perf_counter(), time.process_time()
    for _ in range(times):
        exec(statement, scope)
    return (time.perf_counter() - start) / times, (time.process_time() - used) / times
setup, statement, least = {setup!r}, compile({statement!r}, "statement", "exec"), {least!r}
scope = {{}}
exec(setup, scope)
open("/proc/self/clear_refs", "w").write("5")
before, times = resident("VmRSS"), 1
repeated(1)  # what the first one imports says nothing of how long the others take
while repeated(times)[1] * times < least:  # CPU time, which no pause makes longer
    times *= 2
for _ in sys.stdin:
    print(*repeated(times), resident("VmHWM") - before, flush=True)
"""


class Code(NamedTuple):
    """A statement of Python, repeated where it is short; its memory is what it takes above that of its setup."""

    name: str
    setup: str
    statement: str
    python: str = sys.executable
    environment: Mapping[str, str] = {}


class Command(NamedTuple):
    """A whole process, which reads a file where one is given; its memory is all that it takes.

    What it imports is compiled already, as where it is installed.
    """

    name: str
    argv: Sequence[str]
    stdin: str | os.PathLike[str] = os.devnull
    environment: Mapping[str, str] = {}


class Measured(NamedTuple):
    """Medians of the rounds, in seconds, and the highest peak, in MiB."""

    name: str
    wall: float
    cpu: float
    memory: float


class Row(NamedTuple):
    """Two sides compared, in CPU time where that is asked for: it sees less of what else the machine does."""

    what: str
    ours: Measured
    peer: Measured
    goal: float
    memory_goal: float | None = None  # MiB
    by: str = "wall"

    @property
    def ratio(self) -> float:
        """How many times as long ours takes."""
        return float(getattr(self.ours, self.by) / getattr(self.peer, self.by))


def measure(*sides: Code | Command, rounds: int = ROUNDS) -> list[Measured]:
    """Each side once a round, and so many rounds."""
    children = [_child(side) if isinstance(side, Code) else None for side in sides]
    taken: list[list[tuple[float, ...]]] = [[] for _ in sides]
    for _ in range(rounds):
        for side, child, times in zip(sides, children, taken, strict=True):
            times.append(_asked(child) if child else _run(side))
    for child in filter(None, children):
        child.communicate()
    measured = []
    for side, times in zip(sides, taken, strict=True):
        wall, cpu, memory = zip(*times, strict=True)
        measured.append(Measured(side.name, statistics.median(wall), statistics.median(cpu), max(memory)))
    return measured


def _child(side: Code) -> subprocess.Popen[str]:
    source = CHILD.format(setup=side.setup, statement=side.statement, least=LEAST)
    return subprocess.Popen(
        [side.python, "-c", source],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **side.environment},
    )


def _asked(child: subprocess.Popen[str]) -> tuple[float, ...]:
    assert child.stdin is not None and child.stdout is not None
    child.stdin.write("\n")
    child.stdin.flush()
    return tuple(map(float, child.stdout.readline().split()))


def _run(command: Code | Command) -> tuple[float, ...]:
    assert isinstance(command, Command)
    with Path(command.stdin).open("rb") as source:
        start = time.perf_counter()
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", **command.environment}
        process = subprocess.Popen(
            command.argv,
            stdin=source,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode in (0, 1), (command.argv, process.returncode)
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def report(title: str, rows: Sequence[Row], rounds: int = ROUNDS) -> None:
    """Print the rows, and write them into RESULTS.md."""
    head = "| what | against | ours | peer | ratio | goal | memory | peer's |\n|---|---|---|---|---|---|---|---|\n"
    lines = [
        f"| {row.what} | {row.peer.name} | {_time(getattr(row.ours, row.by))} | {_time(getattr(row.peer, row.by))} "
        f"| {row.ratio:.2f} | {row.goal:g} | {row.ours.memory:.0f} MiB"
        f"{f' (goal {row.memory_goal:g})' if row.memory_goal else ''} | {row.peer.memory:.0f} MiB |\n"
        for row in rows
    ]
    cpus = f"{len(os.sched_getaffinity(0))} processors, load {os.getloadavg()[1]:.1f}"
    script = Path(sys.argv[0]).name
    body = f"`python benchmarks/{script}`, {cpus}, medians of {rounds} rounds.\n\n{head}{''.join(lines)}"
    print(body)
    text = RESULTS.read_text() if RESULTS.exists() else "# What was measured\n"
    section = f"## {title}\n\n{body}"
    pattern = re.compile(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    text, found = pattern.subn(lambda _: f"{section}\n", text)
    whole = text if found else f"{text}\n{section}"
    RESULTS.write_text(f"{whole.rstrip()}\n")


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"
