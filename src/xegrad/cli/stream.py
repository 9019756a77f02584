"""A command on a stream: NDJSON in, NDJSON out, in order, flushed as it comes."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import UNSET

from xegrad import bugs, engines, memory, patience, progress
from xegrad.cli.inputs import ProblemOptions
from xegrad.cli.output import FORMS, OutputOptions
from xegrad.cli.tally import BAD_LINE, BUG_LINE, DONE_LINE, Kind, Tally
from xegrad.cli.writing import writer
from xegrad.errors import InputError, UsageError, XegradError
from xegrad.naming import source_name

if TYPE_CHECKING:
    from xegrad.cli import processes
    from xegrad.cli.data_set import DataOptions
    from xegrad.formats import ndjson
    from xegrad.formats.ndjson import Chunk, Lines
    from xegrad.formats.raw_problem import RawProblem
    from xegrad.formats.results import Line

AT_A_TIME = {
    "verify": 1
}  # lines that are computed before any is answered; of others as many as are read at a time
WORTHWHILE = 0.2  # seconds of computing after which more processes pay for their start

# By which the libraries of BLAS learn, when numpy is imported, how many threads they may start.
BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")

# What a command makes of the lines at some places, in any order: their places, the result of each, and how they came
# out.  What it raises is the answer of a line, or of one of several.
Answer = tuple["Sequence[int]", "Sequence[Line]", Kind]
Work = Callable[["ndjson.Lines", "Sequence[int]", "RawProblem"], Iterable[Answer]]

# The lines of output for a chunk, how each came out, and the numbers of the lines.
Answered = tuple[bytes | memoryview, tuple["Sequence[Kind]", "Sequence[int]"]]


def run(command: str, request: ProblemOptions, output: OutputOptions, work: Work, rows: DataOptions) -> int:
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
    rows.check_stream()
    if output.file is not None and os.path.isdir(output.file):  # noqa: PTH112
        from xegrad.cli import shards

        return shards.run(command, request, output, work, rows)
    if rows.has_engine:
        where = "give it with -o" if output.file is None else f"{output.file} is none; make it first"
        raise UsageError(f"an engine answers each stream in a file of its own, in a folder: {where}")
    tally, overrides = Tally(), request.parts()
    is_written = output.file is None  # a file is there when all of it is written
    try:
        with (
            writer(output.file) as write,
            screen.watching(beside_output=output.file is None and not output.quiet),
        ):
            for path in request.paths:
                source = source_name(path)
                for text, (kinds, numbers) in in_order(command, path, source, work, overrides):
                    if output.file is None and not output.is_silent:
                        tally.write(text, kinds, numbers, source)
                        continue
                    if output.file is not None:
                        write([text])
                    tally.add(kinds, numbers, source)
        is_written = True
    except BrokenPipeError:
        is_written = False  # nobody wants to know
        raise
    finally:
        is_said = tally.n_bad if output.quiet else tally.counts or sys.exc_info()[0] is None
        if is_said and is_written:
            screen.announce(tally.summary(command))
    return tally.status


def answered(chunk: Chunk, work: Work, overrides: RawProblem) -> Answered:
    """The answers to the lines of a chunk, in order."""
    from xegrad.formats import ndjson

    lines = ndjson.lines(chunk)
    places = range(len(lines.fields))
    answers: list[Line] = [()] * len(places)
    kinds = [DONE_LINE] * len(places)
    for of_places, of_lines, kind in _each(lines, places, work, overrides) if places else ():
        for place, result in zip(of_places, of_lines, strict=True):
            answers[place], kinds[place] = result, kind
    return b"".join(chain.from_iterable(answers)), (kinds, lines.numbers)


def _each(lines: Lines, places: Sequence[int], work: Work, overrides: RawProblem) -> Iterator[Answer]:
    """The answer of each line, whatever it holds: this is the one place where what is raised becomes one.

    Where it is raised for several lines, those without an answer are tried again, fewer at a time.
    """
    from xegrad.formats import ndjson, results

    waiting = dict.fromkeys(places)
    try:
        for answer in work(lines, places, overrides):
            yield answer
            for place in answer[0]:
                del waiting[place]
    except Exception as error:
        rest = [*waiting]
        if len(rest) > 1:
            for part in ndjson.parts(lines, rest):
                yield from _each(lines, part, work, overrides)
        elif rest and not isinstance(error, memory.CrowdedError):
            sentence, kind = _why(error)
            result = results.error_result(lines.numbers[rest[0]], sentence, lines.ids[rest[0]])
            yield rest, [results.encode(result)], kind
        else:
            raise


def _why(error: Exception) -> tuple[str, Kind]:
    """What is said of a line in whose place this was raised."""
    if isinstance(error, XegradError):
        # The number of the line is told apart from the sentence.
        return str(error).lstrip().replace("line 1, column", "column"), BAD_LINE
    if isinstance(error, UnicodeDecodeError):
        return "the text is not UTF-8", BAD_LINE
    if isinstance(error, MemoryError):
        return "there is not enough memory for a problem of this size", BAD_LINE
    return bugs.sentence(error), BUG_LINE


def in_order(
    command: str, path: str, source: str, work: Work, overrides: RawProblem, n_processors: int | None = None
) -> Iterator[Answered]:
    """The answers to the lines of a file, in their order; those of a long one by so many processors, or all."""
    from xegrad.formats import ndjson

    answer, at_a_time = partial(answered, work=work, overrides=overrides), AT_A_TIME.get(command)
    with contextlib.ExitStack() as stack:
        with _reading(source):
            descriptor = sys.stdin.fileno() if path == "-" else os.open(path, os.O_RDONLY)
        if path != "-":
            stack.callback(os.close, descriptor)
        n_processors, seconds = n_processors or engines.n_processors(), 0.0
        batches = (
            ndjson.split(chunk, at_a_time) if at_a_time else [chunk] for chunk in _chunks(descriptor, source)
        )
        for batch in batches:
            rest = deque(batch)
            while rest and (n_processors == 1 or seconds < WORTHWHILE):
                start = time.process_time()  # which other programs do not lengthen
                answers = answer(rest.popleft())
                seconds += time.process_time() - start
                yield answers
            if rest:
                from xegrad.cli import processes

                is_ready = partial(_is_ready, descriptor)
                more = chain([rest], batches)
                yield from processes.answers(answer, more, n_processors, is_ready, _losses(source))


def _losses(source: str) -> processes.Losses[Chunk]:
    """What is done where a process ends by itself that had lines of the source."""
    from xegrad.cli import processes
    from xegrad.display import screen
    from xegrad.formats import ndjson, results

    def lines(chunk: Chunk) -> str:
        start, end = chunk.number, chunk.number + chunk.n_lines - 1
        return f"line {start} of {source}" if start == end else f"lines {start} to {end} of {source}"

    def tell(ending: str, chunk: Chunk, is_tried_again: bool) -> None:
        again = "; they are computed again" if chunk.n_lines > 1 else "; it is computed again"
        sentence = f"{ending} before it answered {lines(chunk)}{again if is_tried_again else ''}"
        screen.announce(sentence)

    def parts(chunk: Chunk) -> Sequence[Chunk]:
        return ndjson.split(chunk, (chunk.n_lines + 1) // 2) if chunk.n_lines > 1 else []

    def give_up(chunk: Chunk) -> Answered:
        sentence = "each process that computed this line ended; was there enough memory?"
        result = results.error_result(chunk.number, sentence, UNSET)
        return b"".join(results.encode(result)), ([BAD_LINE], [chunk.number])

    return processes.Losses(tell, parts, give_up)


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
    return patience.wait(descriptor, seconds=0)
