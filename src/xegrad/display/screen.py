"""The terminal itself: its width, its colours, and the progress bar on standard error."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from xegrad import progress

if TYPE_CHECKING:
    from rich.text import Text

NARROWEST = 40
LONG = 10.0  # seconds worth announcing
SECONDS_UNTIL_BAR = 1.0  # seconds before a bar appears


def width() -> int:
    """The columns to write for: COLUMNS, else the terminal's, else 80."""
    return max(NARROWEST, shutil.get_terminal_size((80, 24)).columns)


def show(lines: Sequence[Text], theme: str, *, color: bool) -> None:
    """Write lines to standard output, in plain text where it is no terminal."""
    from rich.console import Console
    from rich.text import Text
    from rich.theme import Theme

    from xegrad.display.themes import styles

    # A line that is too long is folded by the terminal: that beats a number that is cut.
    console = Console(no_color=None if color else True, theme=Theme(styles(theme)))
    console.print(
        Text("\n").join(lines) if console.is_terminal else "\n".join(line.plain.rstrip() for line in lines),
        soft_wrap=True,
        markup=False,
        highlight=False,
        emoji=False,
    )


def is_unicode() -> bool:
    """Whether standard output can write what ASCII cannot."""
    return (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")


def announce(seconds: float, what: str = "the exact values take") -> None:
    """Say on standard error how long something will take, where that is long."""
    if seconds > LONG:
        sys.stderr.write(f"xegrad: {what} about {seconds:.0f} s\n")


@contextmanager
def progress_bar(*, beside_output: bool = False) -> Iterator[None]:
    """Within the block, what takes longer than a second shows a bar, if standard error is a terminal.

    Not `beside_output` that is a terminal too: the two would overwrite each other.
    """
    crowded = beside_output and sys.stdout.isatty()
    if crowded or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield
        return
    bar: Any = None
    start = time.monotonic()

    def watch(doing: str, done: int, steps: int) -> None:
        nonlocal bar
        if bar is None:
            if time.monotonic() - start < SECONDS_UNTIL_BAR or done == steps:
                return
            from rich.console import Console
            from rich.progress import Progress

            bar = Progress(console=Console(stderr=True), transient=True)
            bar.add_task(doing)
            bar.start()
        bar.update(bar.task_ids[0], completed=done, total=steps, description=doing)

    try:
        with progress.watched_by(watch):
            yield
    finally:
        if bar is not None:
            bar.stop()
