"""Tables for a notebook, as HTML."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

MOST = 64  # entries of an array that are all shown
DIGITS = 6


def table(rows: Iterable[Sequence[Any]], header: Sequence[Any] = (), caption: str = "") -> str:
    """Rows of cells; numbers to six digits."""
    head = f"<tr>{''.join(f'<th>{cell(one)}</th>' for one in header)}</tr>" if header else ""
    body = "".join(f"<tr>{''.join(f'<td>{cell(one)}</td>' for one in row)}</tr>" for row in rows)
    title = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    return f"<table>{title}{head}{body}</table>"


def cell(value: Any) -> str:
    """A cell as text that HTML takes for nothing else."""
    return html.escape(f"{value + 0.0:.{DIGITS}g}" if isinstance(value, float) else str(value))
