"""The terminal itself: its width, its colours, and the progress bar on standard error."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from xegrad import progress
from xegrad.display.themes import DARK, LIGHT
from xegrad.errors import one_line

if TYPE_CHECKING:
    from xegrad.display.blocks import View
    from xegrad.display.page import PageSettings

NARROWEST, WIDEST = 40, 10_000
SECONDS_UNTIL_BAR = 1.0  # seconds before a bar appears

_notes: ContextVar[list[str] | None] = ContextVar("notes", default=None)  # that wait


def width() -> int:
    """The columns to write for: COLUMNS, else the terminal's, else 80."""
    return min(max(NARROWEST, shutil.get_terminal_size((80, 24)).columns), WIDEST)


def _console(**settings: Any) -> Any:
    """A console of rich, which would otherwise take COLUMNS and LINES for numbers whatever they are."""
    from rich.console import Console

    return Console(**{"width": width(), "height": 24, **settings})


def theme() -> str:
    """That of the terminal, where it says so in COLORFGBG, as "15;0": a ground of 7 or 15 is light."""
    ground = os.environ.get("COLORFGBG", "").rpartition(";")[2]
    return LIGHT if ground in ("7", "15") else DARK


def has_color(when: str) -> bool:
    """Whether standard output is coloured: always, never, or where it is a terminal that has colours."""
    if when == "auto" and "NO_COLOR" in os.environ:
        return False
    if when == "auto" and os.environ.get("CLICOLOR_FORCE", "0") != "0":
        return True
    return when == "always" or (when == "auto" and _console().color_system is not None)


def has_grounds() -> bool:
    """Whether the colours of standard output are enough for grounds that say how large a number is: 16 are not."""
    return _console(force_terminal=True).color_system in (None, "256", "truecolor")


def show(view: View, page: PageSettings, *, color: bool) -> None:
    """Write a view to standard output, in colours or as plain text."""
    from rich.text import Text
    from rich.theme import Theme

    from xegrad.display.terminal import lines
    from xegrad.display.themes import styles

    laid_out = lines(view, page.width, ascii=page.ascii)
    if not color:
        laid_out = [Text(line.plain.rstrip()) for line in laid_out]
    # Colours that are asked for are written to what has none, too.
    has_none = _console(force_terminal=True).color_system is None
    console = _console(
        force_terminal=True if color else None,
        color_system="truecolor" if color and has_none else "auto",
        no_color=not color,
        theme=Theme(styles(page.theme)),
        width=page.width,
    )
    # A line that is too long is folded by the terminal: that beats a number that is cut.
    console.print(Text("\n").join(laid_out), soft_wrap=True)


def is_unicode() -> bool:
    """Whether standard output can write what ASCII cannot."""
    return (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")


def announce(sentence: str) -> None:
    """Say something on standard error, in a line of its own: all that is said there passes through here."""
    with suppress(OSError):
        sys.stderr.write(f"xegrad: {one_line(sentence)}\n")
        sys.stderr.flush()


def note(sentence: str) -> None:
    """Say it when all has gone well."""
    announce(sentence) if (waiting := _notes.get()) is None else waiting.append(sentence)


@contextmanager
def keeping_notes() -> Iterator[None]:
    """Within the block notes wait for its end, and are forgotten where it fails: that is said in one line."""
    waiting: list[str] = []
    with progress.having(_notes, waiting):
        yield
    for sentence in waiting:
        announce(sentence)


@contextmanager
def watching(*, beside_output: bool = False) -> Iterator[None]:
    """Within the block, what takes long is said before it begins, and shows a bar if standard error is a terminal."""
    with progress.heard_by(announce), progress_bar(beside_output=beside_output):
        yield


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
            from rich.progress import Progress

            bar = Progress(console=_console(stderr=True), transient=True)
            bar.add_task(doing)
            bar.start()
        bar.update(bar.task_ids[0], completed=done, total=steps, description=doing)

    try:
        with progress.watched_by(watch):
            yield
    finally:
        if bar is not None:
            bar.stop()
