"""xegrad man: the manual page, from what the commands say of themselves."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

import typer

from xegrad import __version__
from xegrad.cli import COMMANDS
from xegrad.cli.help import by_panel, command_and_context, options_and_value, paragraphs, row

ENVIRONMENT = {
    "COLUMNS": "The width to write for.",
    "NO_COLOR": "No colours, as --color never.",
    "CLICOLOR_FORCE": "Colours in a pipe too, as --color always.",
    "XEGRAD_DEBUG": "With 1, a bug shows its traceback, which a report may need.",
    "COLORFGBG": "Whether the ground is light, where the terminal says so; --theme says it otherwise.",
}


def command(context: typer.Context) -> int:
    """Print the manual page.

    \b
    xegrad man > ~/.local/share/man/man1/xegrad.1
    """
    sys.stdout.write("".join(f"{line}\n" for line in page(context.parent)))
    return 0


def page(root: Any) -> Iterator[str]:
    """The lines of the page: each command with its examples and its options."""
    yield f'.TH XEGRAD 1 "" "xegrad {__version__}" "User Commands"'
    yield from (".SH NAME", r"xegrad \- gradients of the softmax layer with categorical cross-entropy")
    yield from (".SH SYNOPSIS", r".B xegrad", r"\fICOMMAND\fR [\fIOPTIONS\fR] [\fIPROBLEM\fR]...")
    yield from (".SH DESCRIPTION", *_text(root.command.help))
    yield ".SH OPTIONS"
    for option in root.command.get_params(root):
        yield from _described(*row(option, root))
    yield ".SH COMMANDS"
    for name, summary in COMMANDS.items():
        yield from (".TP", rf"\fBxegrad {name}\fR", escaped(summary))
    for name in COMMANDS:
        yield from _command(root, name)
    yield ".SH ENVIRONMENT"
    for name, what in ENVIRONMENT.items():
        yield from (".TP", rf"\fB{name}\fR", escaped(what))


def _command(root: Any, name: str) -> Iterator[str]:
    """What one command says of itself."""
    command, context = command_and_context(root, name)
    yield f".SH XEGRAD {name.upper()}"
    yield rf"\fBxegrad {name}\fR " + escaped(" ".join(command.collect_usage_pieces(context)))
    yield from _text(command.help)
    for panel, options in by_panel(command, context).items():
        yield f".SS {panel}"
        for names, help, _ in options:
            yield from _described(names, help)


def _text(help: str | None) -> Iterator[str]:
    """The paragraphs of a help text; its examples keep their lines."""
    for part in paragraphs(help):
        is_code = part.startswith("\b")
        lines = part.removeprefix("\b\n").splitlines()
        yield from (".PP", *([".RS 2", ".nf"] * is_code), *map(escaped, lines), *([".fi", ".RE"] * is_code))


def _described(names: str, help: str) -> Iterator[str]:
    """An option in bold, what it takes in italics, and what is said of it."""
    options, takes = options_and_value(names)
    yield from (
        ".TP",
        rf"\fB{escaped(options)}\fR" + (rf" \fI{escaped(takes)}\fR" if takes else ""),
        escaped(help),
    )


def escaped(text: str) -> str:
    """Text as troff shows it: its own signs taken literally, and no line that is a request."""
    text = re.sub(r"[\\\-]", lambda match: r"\e" if match[0] == "\\" else r"\-", text)
    return r"\&" + text if text[:1] in (".", "'") else text
