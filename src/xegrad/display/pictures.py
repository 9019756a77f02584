"""A view as a file: plain text, Markdown, or a picture of the terminal."""

from __future__ import annotations

import io
import re

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text
from rich.theme import Theme

from xegrad.display import terminal, themes, web
from xegrad.display.blocks import View

COLOURS = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")  # in the order of terminals


def drawn(view: View, form: str, width: int, theme: str | None = None, *, ascii: bool = False) -> str:
    """A view as plain text, or as that in a block of Markdown, or as svg or html."""
    if form == "html":
        return web.page(view, theme)
    lines = terminal.lines(view, width, ascii=ascii)
    if form in ("table", "markdown"):
        plain = "".join(f"{line.plain.rstrip()}\n" for line in lines)
        return fenced(plain) if form == "markdown" else plain
    console = Console(
        file=io.StringIO(),
        width=max(width, *(line.cell_len for line in lines)),
        height=25,  # without it rich takes a dumb terminal to be of 80 columns
        record=True,
        force_terminal=True,
        color_system="truecolor",
        legacy_windows=False,
        theme=Theme(themes.styles(theme or themes.DARK)),
    )
    # An empty line below the last leaves room for what hangs below its letters.
    console.print(Text("\n").join([*lines, Text()]), soft_wrap=True)
    # Without the fonts that rich would load from elsewhere: any monospaced one will do.
    return re.sub(
        r"@font-face \{.*?\}\s*",
        "",
        console.export_svg(title="xegrad", theme=_palette(theme or themes.DARK)),
        flags=re.DOTALL,
    )


def _palette(theme: str) -> TerminalTheme:
    """The page's ground, ink and colours as those of a terminal."""
    ground, ink, named = themes.PAGE[theme]

    def parts(colour: str) -> tuple[int, int, int]:
        return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)

    return TerminalTheme(parts(ground), parts(ink), [parts(named.get(name, ink)) for name in COLOURS])


def fenced(text: str) -> str:
    """The text as a block of Markdown, which shows it as it is; the fence is longer than any run of backticks in it."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}{fence}\n"
