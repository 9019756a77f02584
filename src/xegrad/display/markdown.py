"""A view as Markdown: its tables become pipe tables, its text stays as it is."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text


def markdown(view: RenderableType) -> str:
    """The text of a view made of groups, tables and text."""
    lines: list[str] = []
    for part in _parts(view):
        if isinstance(part, Table):
            if lines and lines[-1]:
                lines.append("")
            lines += _table(part)
        else:
            lines += _escaped(_plain(part)).split("\n")
    return "\n".join(lines) + "\n"


def _parts(view: RenderableType) -> Iterator[RenderableType]:
    if isinstance(view, Group):
        for part in view.renderables:
            yield from _parts(part)
    else:
        yield view


def _table(table: Table) -> list[str]:
    """A header of blanks where there is none: Markdown knows no table without."""
    columns = [[_cell(cell) for cell in column.cells] for column in table.columns]
    header = [_cell(column.header) for column in table.columns]
    ends = ["---:" if column.justify == "right" else "---" for column in table.columns]
    rows = [header, ends, *map(list, zip(*columns, strict=True))]
    return [f"| {' | '.join(row)} |" for row in rows]


def _cell(cell: RenderableType) -> str:
    return _escaped(_plain(cell)).replace("|", "\\|")


def _plain(part: RenderableType) -> str:
    return part.plain if isinstance(part, Text) else str(part)


def _escaped(text: str) -> str:
    """What Markdown would take for a quotation or a tag."""
    return text.replace("<", "&lt;").replace(">", "&gt;")
