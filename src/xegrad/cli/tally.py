"""How many answers to a stream the reader has got, whatever ends the run, and how these came out."""

from __future__ import annotations

import os
import select
import stat
import sys
from collections import Counter
from collections.abc import Sequence

from xegrad import bugs
from xegrad.cli import DONE, TROUBLE, interruptions
from xegrad.cli.writing import Write
from xegrad.vocabulary import count

# How a line came out: its exit status, and what the summary calls it.
Kind = tuple[int, str]
DONE_LINE: Kind = (DONE, "done")
BAD_LINE: Kind = (TROUBLE, "bad")
BUG_LINE: Kind = (bugs.BUG, "bad")

PIECE = 4096  # bytes that a pipe takes whole once it takes any
LARGE_PIECE = 2**16  # of a file, which never waits for a reader


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

    def write(
        self,
        write: Write,
        text: bytes | memoryview,
        kinds: Sequence[Kind],
        numbers: Sequence[int],
        source: str,
    ) -> None:
        """Write the answers to these lines to standard output, and add those that were written, to the line.

        No interruption comes between the two: before it is written it is known that a piece will not have to wait.
        """
        start = n_lines = 0
        is_file = stat.S_ISREG(os.fstat(sys.stdout.fileno()).st_mode)
        size = LARGE_PIECE if is_file else PIECE
        try:
            with interruptions.held() as wait:
                while piece := bytes(text[start : start + size]):
                    piece = piece[: piece.rfind(b"\n") + 1] or piece  # whole lines, or a part of a long one
                    wait(_is_taken)
                    try:
                        write([piece])
                    except OSError as error:
                        n_lines += piece.count(b"\n", 0, getattr(error, "characters_written", 0))
                        raise
                    start += len(piece)
                    n_lines += piece.count(b"\n")
        finally:
            self.add(kinds[:n_lines], numbers[:n_lines], source)

    def summary(self, command: str) -> str:
        """Of a stream of 1000 lines: 1000 lines: 995 done, 5 bad; or of verify 3 judged: 1 right, 2 wrong."""
        n_lines, n_bad = self.counts.total(), self.n_bad
        if command != "verify":
            return f"{count(n_lines, 'line')}: {self.counts[DONE_LINE]} done, {n_bad} bad{self.first_bad}"
        outcomes = [f"{n} {name}" for (_, name), n in sorted(self.counts.items()) if name != BAD_LINE[1]]
        judged = ": ".join(filter(None, (f"{n_lines - n_bad} judged", ", ".join(outcomes))))
        return judged + (f"; {n_bad} bad" if n_bad else "") + self.first_bad


def _is_taken() -> None:
    """Wait until standard output takes a piece."""
    select.select([], [sys.stdout], [])
