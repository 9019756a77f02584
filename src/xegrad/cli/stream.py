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
from xegrad.cli import DONE, JUDGED_WRONG, TROUBLE
from xegrad.cli.inputs import ProblemOptions
from xegrad.cli.output import FORMS, OutputOptions, refuse_inputs, writer
from xegrad.errors import InputError, UsageError, XegradError
from xegrad.vocabulary import count

if TYPE_CHECKING:
    from xegrad.formats import ndjson
    from xegrad.formats.ndjson import Chunk
    from xegrad.formats.raw_problem import RawProblem
    from xegrad.formats.results import Line

WORTHWHILE = 2**20  # bytes of a stream after which more processes pay for their start

# By which the libraries of BLAS learn, when numpy is imported, how many threads they may start.
BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")

# What a command makes of some lines, in any order: their places, the result of each or what is wrong with it, and their
# exit status, which is TROUBLE for what is wrong.
Answer = tuple["Sequence[int]", "Sequence[Line | str]", int]
Work = Callable[["ndjson.Lines", "RawProblem"], Iterable[Answer]]


# The lines of output for a chunk; how many came out with each status, and the number of the first that was bad.
Answered = tuple[bytes | memoryview, tuple[Counter[int], int | None]]


def run(command: str, request: ProblemOptions, output: OutputOptions, work: Work) -> int:
    """Answer every line of every file; the worst of their statuses, and a summary on standard error."""
    for name in BLAS_THREADS:  # each process has a processor: more threads would wait for each other
        os.environ.setdefault(name, "1")

    from xegrad.display import screen

    ndjson = "a stream is answered in NDJSON, a line for each problem"
    if output.form not in (None, "json"):
        raise UsageError(f"{command}: {ndjson}, not in {output.form}")
    if output.file is not None:
        refuse_inputs(output.file, request.files)
        if Path(output.file).suffix.lower() in {*FORMS.values()} - {FORMS["json"]}:
            raise UsageError(f"-o {output.file}: {ndjson}; call it .ndjson")
    request.check_readers()
    answer = partial(answered, work=work, overrides=request.parts())
    counts: Counter[int] = Counter()
    first_bad = ""
    try:
        with (
            writer(output.file) as write,
            screen.watching(beside_output=output.file is None and not output.quiet),
        ):
            for path in request.paths:
                source = "standard input" if path == "-" else path
                for text, (of_chunk, bad) in _in_order(path, source, answer):
                    counts += of_chunk  # before: whoever reads may interrupt at once
                    try:
                        write([] if output.is_silent else [text])
                    except OSError:
                        counts -= of_chunk
                        raise
                    if bad and not first_bad:
                        first_bad = f"; the first is line {bad} of {source}"
    finally:
        if not output.quiet and (counts or sys.exc_info()[0] is None):
            wrong = f"{counts[JUDGED_WRONG]} wrong or undecided, " if counts[JUDGED_WRONG] else ""
            outcomes = f"{counts[DONE]} done, {wrong}{counts[TROUBLE]} bad{first_bad}"
            sys.stderr.write(f"xegrad: {count(counts.total(), 'line')}: {outcomes}\n")
    return max(counts, default=DONE)


def answered(chunk: Chunk, work: Work, overrides: RawProblem) -> Answered:
    """The answers to the lines of a chunk, in order."""
    from xegrad.formats import ndjson, results

    lines = ndjson.lines(chunk)
    answers: list[Any] = [None] * len(lines.fields)
    counts: Counter[int] = Counter()
    bad: list[int] = []
    for places, of_places, status in work(lines, overrides):
        counts[status] += len(places)
        for place, result in zip(places, of_places, strict=True):
            answers[place] = result
        if status == TROUBLE:
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
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
