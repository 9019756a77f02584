"""A command on a stream: NDJSON in, NDJSON out, in order, flushed as it comes."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import IO, TYPE_CHECKING

import msgspec
from msgspec import UNSET

from xegrad.cli import options, output
from xegrad.cli.inputs import Given
from xegrad.errors import InputError, UsageError

if TYPE_CHECKING:
    from xegrad.computation import Computation
    from xegrad.formats.ndjson import Line, Stack
    from xegrad.formats.parts import Parts

DONE, JUDGED_WRONG, TROUBLE = 0, 1, 2

# What a command makes of some lines: for each a line of output and its exit status.
Answer = tuple[bytes, int]
Work = Callable[["Sequence[Line]", "Parts"], list[Answer]]


def refuse(form: str | None, command: str) -> None:
    """A stream has one form."""
    if form not in (None, "json"):
        raise UsageError(f"{command}: a stream is answered in NDJSON, a line for each problem, not in {form}")


def run(given: Given, work: Work, path: str | None, *, quiet: bool) -> int:
    """Answer every line of every file; the worst of their statuses, and a summary on standard error."""
    from xegrad.display import screen

    given.check_stream()
    stated = given.parts()
    counts = {DONE: 0, JUDGED_WRONG: 0, TROUBLE: 0}
    first_bad = ""
    try:
        with _writer(path, given.files) as write, screen.progress_bar(beside_output=path is None and not quiet):
            for source, lines in _read(given.paths):
                answers = work(lines, stated)
                write(b"" if quiet and path is None else b"".join(text for text, _ in answers))
                for line, (_, status) in zip(lines, answers, strict=True):
                    counts[status] += 1
                    if status == TROUBLE:
                        first_bad = first_bad or f"; the first is line {line.number} of {source}"
    finally:
        if not quiet:
            wrong = f"{counts[JUDGED_WRONG]} wrong or undecided, " if counts[JUDGED_WRONG] else ""
            total = sum(counts.values())
            sys.stderr.write(
                f"xegrad: {total} line{'' if total == 1 else 's'}: {counts[DONE]} done, {wrong}"
                f"{counts[TROUBLE]} bad{first_bad}\n"
            )
    return max((status for status, count in counts.items() if count), default=DONE)


def computing(methods: Sequence[str], with_respect_to: list[str] | None) -> Work:
    """The loss and the gradients of each line, those of one shape together."""

    def work(lines: Sequence[Line], stated: Parts) -> list[Answer]:
        from xegrad.formats import ndjson

        answers: list[Answer] = [(b"", TROUBLE)] * len(lines)
        for found in ndjson.stacks(lines, stated):
            if isinstance(found, tuple):
                place, error = found
                answers[place] = bad(lines[place], error)
            else:
                try:
                    names = options.gradients(with_respect_to, found.problem.bias is not None)
                except UsageError as error:
                    for place in found.places:
                        answers[place] = bad(lines[place], str(error))
                    continue
                for place, text in _computed(found, lines, methods, names):
                    answers[place] = text, DONE
        return answers

    return work


def bad(line: Line, error: str) -> Answer:
    """What stands in the place of a line that is no problem."""
    from xegrad.formats import results

    return results.encode(results.ErrorResult(line=line.number, error=error, id=line.id)), TROUBLE


def _computed(
    stack: Stack, lines: Sequence[Line], methods: Sequence[str], names: Sequence[str]
) -> Iterator[tuple[int, bytes]]:
    from xegrad import computation
    from xegrad.formats import results

    computed = computation.compute(stack.problem, methods, names)
    if computed.n_problems > 1 and not computed.is_finite:
        # What is not finite is told problem by problem, and the rest together.
        finite = computed.finite
        for chosen in ([k] for k in (~finite).nonzero()[0].tolist()):
            yield from _computed(_some(stack, chosen), lines, methods, names)
        if finite.any():
            yield from _computed(_some(stack, finite.nonzero()[0].tolist()), lines, methods, names)
        return
    ids = [lines[place].id for place in stack.places]
    warnings = _warnings(computed)
    found = results.compute_results(computed, stack.layout, ids=ids, warnings=warnings)
    yield from zip(stack.places, map(results.encode, found), strict=True)


def _some(stack: Stack, chosen: list[int]) -> Stack:
    return msgspec.structs.replace(
        stack, problem=stack.problem.at(chosen), places=[stack.places[k] for k in chosen]
    )


def _warnings(computed: Computation) -> list[list[str]]:
    """Of each problem; looked for one by one only where there may be any."""
    from xegrad.display import verdict

    targets = computed.problem.targets
    warnings: list[list[str]] = [[] for _ in range(computed.n_problems)]
    if targets.soft is not None or targets.class_weights is not None:
        stack = computed.problem
        warnings = [one.targets.warnings for one in stack.unstacked()]
    if not computed.is_finite:
        warnings[0] = [*warnings[0], *verdict.nonfinite_warnings(computed)]
    return warnings


def _read(paths: Sequence[str]) -> Iterator[tuple[str, Sequence[Line]]]:
    from xegrad.formats import ndjson

    for path in paths:
        source = "standard input" if path == "-" else path
        try:
            descriptor = sys.stdin.fileno() if path == "-" else os.open(path, os.O_RDONLY)
        except (OSError, ValueError) as error:
            raise InputError(f"{source}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
        try:
            for lines in ndjson.lines(descriptor):
                yield source, lines
        except OSError as error:
            raise InputError(f"{source}: cannot be read: {error.strerror or error}") from None
        finally:
            if path != "-":
                os.close(descriptor)


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
    with output.whole(path) as file:
        yield file.write
