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
from typing import IO, TYPE_CHECKING, Any

import msgspec

from xegrad import progress
from xegrad.cli import DONE, JUDGED_WRONG, TROUBLE, options, output
from xegrad.cli.inputs import ProblemOptions
from xegrad.errors import InputError, UsageError, XegradError

if TYPE_CHECKING:
    from xegrad.computation import Computation
    from xegrad.formats.ndjson import Chunk, Line, Stack
    from xegrad.formats.raw_problem import RawProblem

WORTHWHILE = 2**20  # bytes of a stream after which more processes pay for their start

# What a command makes of some lines: for each a line of output, as a value, and its exit status.
Answer = tuple["dict[str, Any] | msgspec.Raw", int]
Work = Callable[["Sequence[Line]", "RawProblem"], list[Answer]]


class Answered(msgspec.Struct, frozen=True):
    """The lines of output for a chunk, how many came out with each status, and the first that was bad."""

    text: bytes
    counts: Counter[int]
    first_bad: int | None


def refuse(form: str | None, command: str) -> None:
    """A stream has one form."""
    if form not in (None, "json"):
        raise UsageError(f"{command}: a stream is answered in NDJSON, a line for each problem, not in {form}")


def run(request: ProblemOptions, work: Work, path: str | None, *, quiet: bool) -> int:
    """Answer every line of every file; the worst of their statuses, and a summary on standard error."""
    from xegrad.display import screen

    request.check_stream()
    answer = partial(answered, work=work, overrides=request.parts())
    counts: Counter[int] = Counter()
    first_bad = ""
    silent = quiet and path is None
    try:
        with (
            _writer(path, request.files) as write,
            screen.progress_bar(beside_output=path is None and not quiet),
        ):
            for source in request.paths:
                for answered_chunk in _in_order(source, answer):
                    counts += answered_chunk.counts  # before: whoever reads may interrupt at once
                    try:
                        write(b"" if silent else answered_chunk.text)
                    except OSError:
                        counts -= answered_chunk.counts
                        raise
                    if answered_chunk.first_bad is not None:
                        name = "standard input" if source == "-" else source
                        first_bad = first_bad or f"; the first is line {answered_chunk.first_bad} of {name}"
    finally:
        if not quiet and (counts.total() or sys.exc_info()[0] is None):
            wrong = f"{counts[JUDGED_WRONG]} wrong or undecided, " if counts[JUDGED_WRONG] else ""
            total = counts.total()
            sys.stderr.write(
                f"xegrad: {total} line{'' if total == 1 else 's'}: {counts[DONE]} done, {wrong}"
                f"{counts[TROUBLE]} bad{first_bad}\n"
            )
    return max(counts, default=DONE)


def answered(chunk: Chunk, work: Work, overrides: RawProblem) -> Answered:
    """The answers to the lines of a chunk, in order."""
    from xegrad.formats import ndjson, results

    lines = ndjson.lines(chunk)
    answers = work(lines, overrides)
    counts = Counter(status for _, status in answers)
    bad = (line.number for line, (_, status) in zip(lines, answers, strict=True) if status == TROUBLE)
    return Answered(results.encode(*(result for result, _ in answers)), counts, next(bad, None))


def bad(line: Line, error: str) -> Answer:
    """What stands in the place of a line that is no problem."""
    from xegrad.formats import results

    return results.error_result(line.number, error, line.id), TROUBLE


def compute_lines(
    lines: Sequence[Line], overrides: RawProblem, *, methods: Sequence[str], with_respect_to: list[str] | None
) -> list[Answer]:
    """The loss and the gradients of each line, those of one shape together."""
    from xegrad.formats import ndjson

    answers: list[Any] = [None] * len(lines)
    for stack in ndjson.stacks(lines, overrides):
        if isinstance(stack, tuple):
            place, error = stack
            answers[place] = bad(lines[place], error)
            continue
        names = options.gradients(with_respect_to, stack.problem.bias is not None)
        for place, result in _computed(stack, lines, methods, names):
            answers[place] = result, DONE
    return answers


def _computed(
    stack: Stack, lines: Sequence[Line], methods: Sequence[str], names: Sequence[str]
) -> Iterator[tuple[int, msgspec.Raw]]:
    from xegrad import computation
    from xegrad.formats.results import compute_results

    computed = computation.compute(stack.problem, methods, names)
    if computed.n_problems > 1 and not computed.is_finite:
        # What is not finite is told problem by problem, and the rest together.
        finite = computed.finite
        for chosen in (*([k] for k in (~finite).nonzero()[0].tolist()), finite.nonzero()[0].tolist()):
            if chosen:
                yield from _computed(_some(stack, chosen), lines, methods, names)
        return
    ids = [lines[place].id for place in stack.places]
    warnings = _warnings(computed)
    results = compute_results(computed, stack.layout, ids=ids, warnings=warnings)
    yield from zip(stack.places, results, strict=True)


def _some(stack: Stack, chosen: list[int]) -> Stack:
    return msgspec.structs.replace(
        stack, problem=stack.problem.at(chosen), places=[stack.places[k] for k in chosen]
    )


def _warnings(computed: Computation) -> list[list[str]]:
    """Of each problem; looked for one by one only where there may be any."""
    targets = computed.problem.targets
    warnings: list[list[str]] = [[] for _ in range(computed.n_problems)]
    if targets.soft is not None or targets.class_weights is not None:
        warnings = [one.targets.warnings for one in computed.problem.unstacked()]
    if not computed.is_finite:
        warnings[0] = [*warnings[0], computed.cause_of_nonfinite]
    return warnings


def _in_order(path: str, answer: Callable[[Chunk], Answered]) -> Iterator[Answered]:
    """The answers to the chunks of a file, in their order; those of a long one by every processor."""
    source = "standard input" if path == "-" else path
    try:
        descriptor = sys.stdin.fileno() if path == "-" else os.open(path, os.O_RDONLY)
    except (OSError, ValueError) as error:
        raise InputError(f"{source}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    with contextlib.ExitStack() as stack:
        if path != "-":
            stack.callback(os.close, descriptor)
        done = 0
        chunks = _chunks(descriptor, source)
        for chunk in chunks:
            done += len(chunk.text) + 1
            if done > WORTHWHILE and _n_processors() > 1:
                yield from _shared(chain([chunk], chunks), answer, descriptor, source)
            else:
                yield answer(chunk)


def _shared(
    chunks: Iterable[Chunk], answer: Callable[[Chunk], Answered], descriptor: int, source: str
) -> Iterator[Answered]:
    """The answers by a process for each processor.

    Nothing waits for what has not come: where nothing more is there to be read, what was asked is answered first.
    """
    from xegrad.cli.processes import EndedProcessError, Processes

    with Processes(answer, _n_processors()) as processes:
        try:
            for chunk in chunks:
                if processes.all_busy:
                    yield processes.receive()
                processes.send(chunk)
                while processes.pending and not _is_ready(descriptor):
                    yield processes.receive()
            while processes.pending:
                yield processes.receive()
        except EndedProcessError:
            first, last = processes.pending[0], processes.pending[-1]
            last_line = last.number + last.text.count(b"\n")
            raise XegradError(
                f"{_lines(first.number, last_line, source)} read and not answered: "
                "a process that computed them ended; was there enough memory?"
            ) from None


def _lines(first: int, last: int, source: str) -> str:
    """Lines of a file, as the beginning of a sentence."""
    return f"line {last} of {source} was" if first == last else f"lines {first} to {last} of {source} were"


def _chunks(descriptor: int, source: str) -> Iterator[Chunk]:
    """The complete lines of an open file, as they come; the progress bar hears how far it is."""
    from xegrad.formats import ndjson

    status = os.fstat(descriptor)
    size = status.st_size if stat.S_ISREG(status.st_mode) else 0
    done = 0
    try:
        for chunk in ndjson.chunks(descriptor):
            yield chunk
            done += len(chunk.text) + 1
            progress.tell("lines", min(done, size - 1), size)
    except OSError as error:
        raise InputError(f"{source}: cannot be read: {error.strerror or error}") from None


def _is_ready(descriptor: int) -> bool:
    """Whether reading would not wait; a file never does."""
    return bool(select.select([descriptor], [], [], 0)[0])


def _n_processors() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _writer(path: str | None, inputs: Sequence[str]) -> Iterator[Callable[[bytes], object]]:
    """Standard output, flushed after each write, or a file that is there when all is done."""
    if path is None or path == "-":
        out: IO[bytes] = sys.stdout.buffer

        def write(data: bytes) -> None:
            out.write(data)
            out.flush()

        yield write
        return
    output.refuse_inputs(path, inputs)
    forms = (form for form, suffixes in output.FORMS.items() if Path(path).suffix.lower() in suffixes)
    if next(forms, "json") != "json":
        raise UsageError(
            f"-o {path}: a stream is answered in NDJSON, a line for each problem; call it .ndjson"
        )
    with output.whole(path) as file:
        yield file.write
