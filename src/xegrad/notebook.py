"""What a shell and a notebook show of a value: a line, or a table as HTML."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from xegrad.inert import inert

MOST = 64  # entries of an array that are all shown
DIGITS = 6
MOST_LISTED = 4  # of a list within a line


def table(rows: Iterable[Sequence[Any]], header: Sequence[Any] = (), caption: str = "") -> str:
    """Rows of cells; numbers to six digits."""
    head = f"<tr>{''.join(f'<th>{cell(one)}</th>' for one in header)}</tr>" if header else ""
    body = "".join(f"<tr>{''.join(f'<td>{cell(one)}</td>' for one in row)}</tr>" for row in rows)
    title = f"<caption>{cell(caption)}</caption>" if caption else ""
    return f"<table>{title}{head}{body}</table>"


def cell(value: Any) -> str:
    """A number or a text that HTML takes for nothing else, and that does nothing."""
    from html import escape  # it is slow to import, and few look at a notebook

    return escape(f"{value + 0.0:.{DIGITS}g}" if isinstance(value, float) else inert(str(value)))


def one_line(*names: str) -> Callable[[Any], str]:
    """A `__repr__` in one line: these attributes, or all fields, but those without a value; arrays as their sizes."""

    def line(record: Any) -> str:
        values = {name: getattr(record, name) for name in names or record.__struct_fields__}
        shown = (f"{name}={brief(value)}" for name, value in values.items() if not _is_nothing(value))
        return f"{type(record).__name__}({', '.join(shown)})"

    return line


def brief(value: Any) -> str:
    """A value within a line: float64[3 x 5] for an array."""
    if hasattr(value, "shape"):
        return f"{value.dtype}[{' x '.join(map(str, value.shape))}]" if value.shape else brief(value.item())
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {brief(one)}' for key, one in value.items())}}}"
    if isinstance(value, list | tuple):
        more = ", ..." if len(value) > MOST_LISTED else ""
        return f"({', '.join(map(brief, value[:MOST_LISTED]))}{more})"
    if callable(value):
        return getattr(value, "__name__", "function")
    return f"{value:.{DIGITS}g}" if isinstance(value, float) else inert(repr(value))


def _is_nothing(value: Any) -> bool:
    return value is None or (isinstance(value, str | Mapping | list | tuple) and not value)
