"""The terminal itself: its width, its colours, and the progress bar on standard error."""

from __future__ import annotations

import io
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from xegrad import progress

if TYPE_CHECKING:
    from rich.text import Text

    from xegrad.display.text import View

# What takes the place of characters that an ASCII terminal lacks.
PLAIN = {"·": "*", "Σ": "Sum", "≤": "<=", "≈": "~", "≠": "!=", "…": "..", "×": "x", "—": "-"}

NARROWEST = 40
SECONDS_UNTIL_BAR = 1.0  # seconds before a bar appears


def width() -> int:
    """The columns to write for: COLUMNS, else the terminal's, else 80."""
    return max(NARROWEST, shutil.get_terminal_size((80, 24)).columns)


def show(view: View, *, color: bool) -> None:
    """Write a view to standard output, in plain text where it is no terminal."""
    from rich.console import Console

    # A line that is too long is folded by the terminal: that beats a number that is cut.
    Console(no_color=None if color else True).print(_joined(view), soft_wrap=True)


def as_text(view: View, form: str = "table") -> str:
    """A view as plain text, or as that in a block of Markdown, or as svg or html."""
    from rich.console import Console

    text = _joined(view)
    if form not in ("svg", "html"):
        plain = f"{text.plain}\n"
        return fenced(plain) if form == "markdown" else plain
    console = Console(
        file=io.StringIO(),
        width=max(width(), *(line.cell_len for section in view for line in section)),
        height=25,  # without it rich takes a dumb terminal to be of 80 columns
        record=True,
        force_terminal=True,
        color_system="truecolor",
        legacy_windows=False,
    )
    console.print(text, soft_wrap=True)
    if form == "html":
        return console.export_html(inline_styles=True)
    # Without the fonts that rich would load from elsewhere: any monospaced one will do.
    return re.sub(r"@font-face \{.*?\}\s*", "", console.export_svg(title="xegrad"), flags=re.DOTALL)


def _joined(view: View) -> Text:
    """The lines of all sections, with an empty line between two sections."""
    from rich.text import Text

    return Text("\n\n").join(Text("\n").join(section) for section in view if section)


def fenced(text: str) -> str:
    """The text as a block of Markdown, which shows it as it is; the fence is longer than any run of backticks in it."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}{fence}\n"


def in_ascii(view: View) -> View:
    """The view with what ASCII lacks spelled in ASCII, as far as it is ours."""
    from rich.text import Text

    def plain(line: Text) -> Text:
        for character, instead in PLAIN.items():
            if character in line.plain:
                line = Text(instead).join(line.split(character, allow_blank=True))
        return line

    return [list(map(plain, section)) for section in view]


def is_unicode() -> bool:
    """Whether standard output can write what ASCII cannot."""
    return (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")


def announce(sentence: str) -> None:
    """Say on standard error what will take long."""
    sys.stderr.write(f"xegrad: {sentence}\n")
    sys.stderr.flush()


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
