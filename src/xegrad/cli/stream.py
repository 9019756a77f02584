"""A command on a stream: NDJSON in, NDJSON out, in order, flushed as it comes."""

from __future__ import annotations

import contextlib
import os
import select
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xegrad import memory, progress
from xegrad.cli import DONE, TROUBLE
from xegrad.cli.inputs import ProblemOptions
from xegrad.cli.output import FORMS, OutputOptions
from xegrad.cli.writing import writer
from xegrad.errors import InputError, UsageError, XegradError
from xegrad.naming import source_name
from xegrad.vocabulary import count

if TYPE_CHECKING:
    from xegrad.formats import ndjson
    from xegrad.formats.ndjson import Chunk
    from xegrad.formats.raw_problem import RawProblem
    from xegrad.formats.results import Line

WORTHWHILE = 2**20  # bytes of a stream after which more processes pay for their start

# By which the libraries of BLAS learn, when numpy is imported, how many threads they may start.
BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")

# How a line came out: its exit status, and what the summary calls it.
Kind = tuple[int, str]
DONE_LINE: Kind = (DONE, "done")
BAD_LINE: Kind = (TROUBLE, "bad")

# What a command makes of some lines, in any order: their places, the result of each or what is wrong with it, and how
# they came out.
Answer = tuple["Sequence[int]", "Sequence[Line | str]", Kind]
Work = Callable[["ndjson.Lines", "RawProblem"], Iterable[Answer]]


# The lines of output for a chunk; how many came out how, and the number of the first that was bad.
Answered = tuple[bytes | memoryview, tuple[Counter[Kind], int | None]]


def run(command: str, request: ProblemOptions, output: OutputOptions, work: Work) -> int:
    """Answer every line of every file; the worst of their statuses, and a summary on standard error."""
    for name in BLAS_THREADS:  # each process has a processor: more threads would wait for each other
        os.environ.setdefault(name, "1")

    from xegrad.display import screen

    ndjson = "a stream is answered in NDJSON, a line for each problem"
    if output.form not in (None, "json"):
        raise UsageError(f"{command}: {ndjson}, not in {output.form}")
    if output.file is not None and Path(output.file).suffix.lower() in {*FORMS.values()} - {FORMS["json"]}:
        raise UsageError(f"-o {output.file}: {ndjson}; call it .ndjson")
    request.check_readers()
    answer = partial(answered, work=work, overrides=request.parts())
    counts: Counter[Kind] = Counter()
    first_bad = ""
    is_written = output.file is None  # a file is there when all of it is written
    try:
        with (
            writer(output.file) as write,
            screen.watching(beside_output=output.file is None and not output.quiet),
        ):
            for path in request.paths:
                source = source_name(path)
                for text, (of_chunk, bad) in _in_order(path, source, answer):
                    counts += of_chunk  # before: whoever reads may interrupt at once
                    try:
                        write([] if output.is_silent else [text])
                    except OSError:
                        counts -= of_chunk
                        raise
                    if bad and not first_bad:
                        first_bad = f"; the first is line {bad} of {source}"
        is_written = True
    finally:
        is_said = counts[BAD_LINE] if output.quiet else counts or sys.exc_info()[0] is None
        if is_said and is_written:
            sys.stderr.write(f"xegrad: {summary(command, counts)}{first_bad}\n")
    return max(counts, default=DONE_LINE)[0]


def summary(command: str, counts: Counter[Kind]) -> str:
    """How many lines came out how: "1000 lines: 995 done, 5 bad", or "3 judged: 1 right, 2 wrong"."""
    n_bad = counts[BAD_LINE]
    if command != "verify":
        return f"{count(counts.total(), 'line')}: {counts[DONE_LINE]} done, {n_bad} bad"
    outcomes = [f"{number} {name}" for (_, name), number in sorted(counts.items()) if name != BAD_LINE[1]]
    judged = ": ".join(filter(None, (f"{counts.total() - n_bad} judged", ", ".join(outcomes))))
    return judged + (f"; {n_bad} bad" if n_bad else "")


def answered(chunk: Chunk, work: Work, overrides: RawProblem) -> Answered:
    """The answers to the lines of a chunk, in order."""
    from xegrad.formats import ndjson, results

    lines = ndjson.lines(chunk)
    answers: list[Any] = [None] * len(lines.fields)
    counts: Counter[Kind] = Counter()
    bad: list[int] = []
    for places, of_places, kind in work(lines, overrides):
        counts[kind] += len(places)
        for place, result in zip(places, of_places, strict=True):
            answers[place] = result
        if kind == BAD_LINE:
            bad += places
    for place in bad:
        error = results.error_result(lines.numbers[place], answers[place], lines.ids[place])
        answers[place] = results.encode(error)
    return b"".join(chain.from_iterable(answers)), (counts, lines.numbers[min(bad)] if bad else None)


def _in_order(path: str, source: str, answer: Callable[[Chunk], Answered]) -> Iterator[Answered]:
    """The answers to the chunks of a file, in their order; those of a long one by every processor."""
    with contextlib.ExitStack() as stack:
        with _reading(source):
            descriptor = sys.stdin.fileno() if path == "-" else os.open(path, os.O_RDONLY)
        if path != "-":
            stack.callback(os.close, descriptor)
        done = 0
        chunks = _chunks(descriptor, source)
        for chunk in chunks:
            done += len(chunk.text) + 1
            if done <= WORTHWHILE or _n_processors() == 1:
                yield answer(chunk)
            else:
                from xegrad.cli import processes

                more, is_ready = chain([chunk], chunks), partial(_is_ready, descriptor)
                with memory.shared_among(_n_processors()):
                    yield from processes.answers(
                        answer, more, _n_processors(), is_ready, partial(_lost, source)
                    )


def _lost(source: str, first: Chunk, last: Chunk) -> XegradError:
    """What is wrong where nobody answers chunks, from this one to that one."""
    start, end = first.number, last.number + last.text.count(b"\n")
    lines = f"line {end} of {source} was" if start == end else f"lines {start} to {end} of {source} were"
    return XegradError(
        f"{lines} read and not answered: a process that computed them ended; was there enough memory?"
    )


def _chunks(descriptor: int, source: str) -> Iterator[Chunk]:
    """The complete lines of an open file, as they come; the progress bar hears how far it is."""
    from xegrad.formats import ndjson

    status = os.fstat(descriptor)
    size = status.st_size if stat.S_ISREG(status.st_mode) else 0
    done = 0
    with _reading(source):
        for chunk in ndjson.chunks(descriptor):
            yield chunk
            done += len(chunk.text) + 1
            progress.tell("lines", min(done, size - 1), size)


@contextlib.contextmanager
def _reading(source: str) -> Iterator[None]:
    """What goes wrong in the block is that the source cannot be read."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise InputError(f"{source}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _is_ready(descriptor: int) -> bool:
    """Whether reading would not wait; a file never does."""
    return bool(select.select([descriptor], [], [], 0)[0])


def _n_processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
