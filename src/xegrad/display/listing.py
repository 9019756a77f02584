"""Lists of a program's own contents: names, and what they are."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.text import Text


def listing(groups: Mapping[str, Sequence[Sequence[str]]], width: int) -> RenderableType:
    """One block a group, below its heading; the last column is folded to the width."""
    parts: list[RenderableType] = []
    for heading, rows in groups.items():
        parts += ["", Text(heading, style="bold"), *map(Text, _lines(rows, width))]
    return Group(*parts[1:])


def _lines(rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    *first, _ = zip(*rows, strict=True)
    sizes = [max(map(len, column)) + 2 for column in first]
    taken = sum(sizes)
    for *cells, last in rows:
        start = "".join(f"{cell:{size}}" for cell, size in zip(cells, sizes, strict=True))
        lines = textwrap.wrap(last, max(20, width - taken)) or [""]
        yield (start + lines[0]).rstrip()
        yield from (" " * taken + line for line in lines[1:])
