"""A view as a file: plain text, Markdown, or a picture of the terminal."""

from __future__ import annotations

import io
import re

from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME, SVG_EXPORT_THEME
from rich.text import Text
from rich.theme import Theme

from xegrad.display import terminal, themes, web
from xegrad.display.blocks import View

GROUNDS = {themes.DARK: SVG_EXPORT_THEME, themes.LIGHT: DEFAULT_TERMINAL_THEME}


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
    console.print(Text("\n").join(lines), soft_wrap=True)
    # Without the fonts that rich would load from elsewhere: any monospaced one will do.
    return re.sub(
        r"@font-face \{.*?\}\s*",
        "",
        console.export_svg(title="xegrad", theme=GROUNDS[theme or themes.DARK]),
        flags=re.DOTALL,
    )


def fenced(text: str) -> str:
    """The text as a block of Markdown, which shows it as it is; the fence is longer than any run of backticks in it."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}{fence}\n"
