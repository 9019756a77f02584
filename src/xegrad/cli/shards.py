"""A command on streams whose answers go into a folder: a file for each of them, whole or not at all, by an engine."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from xegrad import progress
from xegrad.cli import places, stream
from xegrad.cli.tally import Tally
from xegrad.cli.writing import writer
from xegrad.errors import UsageError
from xegrad.formats.raw_problem import RawProblem
from xegrad.naming import source_name
from xegrad.vocabulary import count

if TYPE_CHECKING:
    from xegrad.cli.data_set import DataOptions
    from xegrad.cli.inputs import ProblemOptions
    from xegrad.cli.output import OutputOptions


class Shards(msgspec.Struct, frozen=True, eq=False):
    """The streams, the files that answer them, and what is made of their lines."""

    command: str
    pairs: Sequence[tuple[str, str]]  # what is read, and what is written
    work: stream.Work
    overrides: RawProblem

    def answer(self, first: int, last: int) -> tuple[int, Tally]:
        """Answer some of them, one after the other, in this process: the first, and what came of them."""
        tally = Tally()
        for path, written in self.pairs[first:last]:
            source = source_name(path)
            with writer(written) as write:
                lines = stream.in_order(self.command, path, source, self.work, self.overrides, n_processors=1)
                for text, (kinds, numbers) in lines:
                    write([text])
                    tally.add(kinds, numbers, source)
        return first, tally

    def described(self, first: int, last: int) -> str:
        """The streams that these are."""
        return source_name(self.pairs[first][0])


def run(
    command: str, request: ProblemOptions, output: OutputOptions, work: stream.Work, rows: DataOptions
) -> int:
    """Answer every stream; the worst of the statuses of their lines, and a summary on standard error."""
    from xegrad.display import screen

    shards = Shards(command, _pairs(request.paths, output.file or ""), work, request.parts())
    tallies: dict[int, Tally] = {}
    n_files = len(shards.pairs)
    try:
        with screen.watching(), rows.opened() as engine:
            several = engine.map(Shards.answer, shards, [(k, k + 1) for k in range(n_files)])
            for first, of_shard in several:
                tallies[first] = of_shard
                progress.tell("files", len(tallies), n_files)
            retries = engine.facts.get("retries", 0)
    except KeyboardInterrupt:
        answered = f"{len(tallies)} of {count(n_files, 'file')} answered"
        screen.announce(f"interrupted: {answered}; {_merged(tallies).summary(command)}")
        raise
    tally = _merged(tallies)
    again = f"; {count(retries, 'file')} given to another worker" if retries else ""
    if tally.n_bad or not output.quiet:
        screen.announce(tally.summary(command) + again)
    return tally.status


def _merged(tallies: Mapping[int, Tally]) -> Tally:
    """Those of all files, in the order of the files, whichever was answered first."""
    merged = Tally()
    for _, tally in sorted(tallies.items()):
        merged.merge(tally)
    return merged


def _pairs(paths: Sequence[str], folder: str) -> list[tuple[str, str]]:
    """Each stream, and the file in the folder that is called like it."""
    written: dict[str, str] = {}
    for path in paths:
        if path == "-":
            raise UsageError(f"-o {folder} is a folder, for streams that have names; standard input has none")
        name = Path(path).name
        if name in written:
            raise UsageError(
                f"{written[name]} and {path} would both be answered in {name} of {folder}; rename one"
            )
        written[name] = path
    pairs = [(path, os.path.join(folder, name)) for name, path in written.items()]  # noqa: PTH118 (as it was given)
    places.check(paths, [("-o", output) for _, output in pairs])
    return pairs
