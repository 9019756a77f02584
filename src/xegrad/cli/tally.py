"""How many answers to a stream the reader has got, whatever ends the run, and how these came out."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

from xegrad import bugs, patience
from xegrad.cli import DONE, TROUBLE, interruptions
from xegrad.vocabulary import count

# How a line came out: its exit status, and what the summary calls it.
Kind = tuple[int, str]
DONE_LINE: Kind = (DONE, "done")
BAD_LINE: Kind = (TROUBLE, "bad")
BUG_LINE: Kind = (bugs.BUG, "bad")

PIECE = 4096  # bytes that a pipe takes whole once it takes any
LARGE_PIECE = 2**16  # of what never waits for a reader, such as a file
SET_PIPE_SIZE, GET_PIPE_SIZE = 1031, 1032  # of Linux's fcntl


class Tally:
    """The answers that are written, counted as they are."""

    def __init__(self) -> None:
        self.counts: Counter[Kind] = Counter()
        self.first_bad = ""

    @property
    def n_bad(self) -> int:
        return self.counts[BAD_LINE] + self.counts[BUG_LINE]

    @property
    def status(self) -> int:
        """The worst of all lines."""
        return max(self.counts, default=DONE_LINE)[0]

    def add(self, kinds: Sequence[Kind], numbers: Sequence[int], source: str) -> None:
        """The answers to these lines of a source, whose numbers are counted from one, have been written."""
        self.counts.update(kinds)
        if self.n_bad and not self.first_bad:
            number = next(n for n, kind in zip(numbers, kinds, strict=True) if kind in (BAD_LINE, BUG_LINE))
            self.first_bad = f"; the first is line {number} of {source}"

    def merge(self, other: Tally) -> None:
        """Those that another has counted."""
        self.counts.update(other.counts)
        self.first_bad = self.first_bad or other.first_bad

    def write(
        self, text: bytes | memoryview, kinds: Sequence[Kind], numbers: Sequence[int], source: str
    ) -> None:
        """Write the answers to these lines to standard output, and add those that were written, to the line.

        No interruption comes between the two: before it is written it is known that a piece will not have to wait.
        """
        text, written = bytes(text), 0
        with _outlet() as outlet, interruptions.held() as wait:
            try:
                while written < len(text):
                    wait(partial(patience.wait, outlet.descriptor, to_write=True))
                    with contextlib.suppress(BlockingIOError):
                        written += os.write(outlet.descriptor, outlet.piece(text, written))
            except KeyboardInterrupt:
                written += outlet.end_line(text, written)
                raise
            finally:
                n_lines = len(kinds) if written == len(text) else text.count(b"\n", 0, written)
                self.add(kinds[:n_lines], numbers[:n_lines], source)

    def summary(self, command: str) -> str:
        """Of a stream of 1000 lines: 1000 lines: 995 done, 5 bad; or of verify 3 judged: 1 right, 2 wrong."""
        n_lines, n_bad = self.counts.total(), self.n_bad
        if command != "verify":
            return f"{count(n_lines, 'line')}: {self.counts[DONE_LINE]} done, {n_bad} bad{self.first_bad}"
        outcomes = [f"{n} {name}" for (_, name), n in sorted(self.counts.items()) if name != BAD_LINE[1]]
        judged = ": ".join(filter(None, (f"{n_lines - n_bad} judged", ", ".join(outcomes))))
        return judged + (f"; {n_bad} bad" if n_bad else "") + self.first_bad


class _Outlet(NamedTuple):
    """Where standard output goes, and how many bytes at a time; None where it never waits and takes what it can."""

    descriptor: int
    size: int | None

    def piece(self, text: bytes, start: int) -> memoryview:
        """What is written next: whole lines, or a part of a long one."""
        end = len(text) if self.size is None else start + self.size
        return memoryview(text)[start : text.rfind(b"\n", start, end) + 1 or end]

    def end_line(self, text: bytes, start: int) -> int:
        """Write the rest of a line that a pipe has a part of, and return how much of it the pipe took.

        It may be full, and its reader asleep: then it is made larger.
        """
        if self.size is not None or not start or text[start - 1 : start] == b"\n":
            return 0
        rest = text[start : text.find(b"\n", start) + 1]
        with contextlib.suppress(OSError):
            import fcntl

            size = fcntl.fcntl(self.descriptor, GET_PIPE_SIZE)
            fcntl.fcntl(self.descriptor, SET_PIPE_SIZE, size + PIECE + len(rest))
        with contextlib.suppress(OSError):
            return os.write(self.descriptor, rest)
        return 0


@contextlib.contextmanager
def _outlet() -> Iterator[_Outlet]:
    """Where standard output goes, as it is; a pipe is opened once more, where the system can do that (Linux).

    So it never waits for us, and still does for whoever else writes to it.
    """
    own = sys.stdout.fileno()
    mode = os.fstat(own).st_mode
    has_reader = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(own)
    outlet = _Outlet(own, PIECE if has_reader else LARGE_PIECE)
    if stat.S_ISFIFO(mode):
        with contextlib.suppress(OSError):
            outlet = _Outlet(os.open(f"/proc/self/fd/{own}", os.O_WRONLY | os.O_NONBLOCK), None)
    try:
        yield outlet
    finally:
        if outlet.descriptor != own:
            os.close(outlet.descriptor)
