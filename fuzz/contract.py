"""What must hold of whatever reads bytes from outside.

A reader returns a value, or raises an XegradError whose message is one plain line.  It warns of nothing, takes less
than a second and little memory.  What was read and is written again reads back to the same bits.  No integer is
rounded.  A line of a stream is answered as it would be alone.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from zlib import crc32

import numpy as np
from msgspec.structs import astuple

from xegrad import formats, memory
from xegrad.cli import print_trouble
from xegrad.errors import XegradError
from xegrad.formats.raw_problem import RawProblem
from xegrad.problem import Problem

LONGEST = 300  # characters of a message
ALLOWED, MEMORY = "64MB", 2**27  # what it is told it may take, and what it takes, in bytes
SELDOM = 8  # of so many inputs one goes the whole way, by its check sum

Value = TypeVar("Value")


class Broken(AssertionError):  # noqa: N818  (it is said of the contract)
    """What must hold does not."""


class Printed(NamedTuple):
    """What a command printed, and its exit status."""

    status: int
    out: bytes
    notes: str


@contextlib.contextmanager
def scratch() -> Iterator[None]:
    """A new folder, in memory if there is one, to work in: what is read and written by its name alone lies there."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """What is done here warns of nothing, and may take little memory by its own estimate."""
    with warnings.catch_warnings(), memory.max_memory(ALLOWED):
        warnings.simplefilter("error")
        yield


@contextlib.contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """What is done here takes so many seconds of the processor at most, and little memory."""
    begun, before = time.process_time(), _most_memory()
    yield
    if (took := time.process_time() - begun) > seconds:
        raise Broken(f"it takes {took:.1f} s")
    if (taken := _most_memory() - before) > MEMORY:
        raise Broken(f"it takes {taken / 2**20:.0f} MB")


def _most_memory() -> int:
    """The bytes that this process has had at most."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def held(call: Callable[[], Value]) -> Value | None:
    """What is returned, or None where it is refused as it should be."""
    try:
        return call()
    except XegradError as error:
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            print_trouble(str(error))
        check_notes(said.getvalue())
        return None


def check_notes(text: str) -> None:
    """Each line on standard error is one that a terminal shows as it is."""
    for line in text.removesuffix("\n").split("\n") if text else ():
        check_message(line.removeprefix("xegrad: "))


def check_message(message: str) -> None:
    """One line that a terminal shows as it is."""
    if not message or not message.isprintable() or len(message) > LONGEST:
        raise Broken(f"a message of {len(message)} characters: {message[:400]!r}")


def goes_far(data: bytes) -> bool:
    """Whether this input, always the same ones, goes on to what takes long."""
    return crc32(data) % SELDOM == 0


def decoded(text: bytes) -> Any:
    """The value of JSON, in which no constant stands that JSON does not have."""
    return json.loads(text, parse_constant=_no_constant)


def _no_constant(word: str) -> None:
    raise Broken(f"{word} is no JSON")


def ran(command: Callable[[], int]) -> Printed:
    """What a command prints: into real files, since it may write to their descriptors."""
    before = sys.stdin, sys.stdout, sys.stderr
    out_file, notes_file = Path("out"), Path("notes")
    with out_file.open("w+b") as out, notes_file.open("w+b") as notes, Path(os.devnull).open() as nothing:
        streams = io.TextIOWrapper(out, "utf-8"), io.TextIOWrapper(notes, "utf-8", "backslashreplace")
        sys.stdin, (sys.stdout, sys.stderr) = nothing, streams
        try:
            status = command()
        finally:
            sys.stdin, sys.stdout, sys.stderr = before
            for stream in streams:
                stream.flush()
                stream.detach()
        out.seek(0)
        notes.seek(0)
        printed = Printed(status, out.read(), notes.read().decode())
    if status not in (0, 1, 2):
        raise Broken(f"the exit status is {status}: {printed.notes}")
    return printed


def check_array(value: Any) -> None:
    """An array in every format that writes one reads back to the same bits."""
    if not isinstance(value, np.ndarray) or value.dtype not in ("<f8", "<f4", "<f2") or not value.size:
        return
    if not np.isfinite(value).all():
        return
    for entry in formats.FORMATS.values():
        if hasattr(entry.module, "write_array"):
            path = Path(f"array{entry.suffixes[0]}")
            path.write_bytes(entry.module.write_array(value, None))
            again = formats.read_raw(path, None, "W").values["W"]
            if again.astype(value.dtype).tobytes() != value.tobytes():
                raise Broken(f"the array is another after it was written as {entry.name}")


def check_integers(raw: RawProblem, problem: Problem) -> None:
    """No number of the file is rounded to another."""
    for key, array in (("W", problem.weights), ("x", problem.inputs), ("b", problem.bias)):
        value = raw.values.get(key)
        if isinstance(value, np.ndarray) and array is not None:
            moved = value.T if key == "W" and raw.values.get("transpose") else value
            if any(a != b for a, b in zip(moved.ravel().tolist(), array.ravel().tolist(), strict=True)):
                raise Broken(f"{key} has other numbers than its file")


def check_written(raw: RawProblem, problem: Problem) -> None:
    """The problem in every format that writes one reads back to the same bits."""
    for entry in formats.FORMATS.values():
        if not entry.writes_problem:
            continue
        written = held(partial(entry.module.write_problem, raw.moved(problem)))
        if written is None:
            continue
        path = Path(f"again{entry.suffixes[0]}")
        path.write_bytes(written)
        again = formats.read_raw(path).problem()
        for one, other in zip(_bits(problem), _bits(again), strict=True):
            if one != other:
                raise Broken(f"written as {entry.name}, {one!r:.200} is read as {other!r:.200}")


def _bits(problem: Problem) -> list[Any]:
    """All that a problem is, so that it can be compared; the targets as the loss has them."""
    arrays = [problem.weights, problem.inputs, problem.bias]
    targets = problem.targets.effective(problem.n_classes, np.dtype(np.float64))
    return [
        *(None if one is None else one.astype(np.float64).tobytes() for one in (*arrays, targets)),
        *(None if one is None else one.shape for one in arrays),
        problem.classes,
        problem.input_names,
        problem.dtype,
        [value for value in astuple(problem.targets)[3:] if not isinstance(value, np.ndarray)],
    ]
