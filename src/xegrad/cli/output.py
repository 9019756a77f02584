"""Where a result goes: to standard output or a file, in which form; a file is written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

import msgspec

from xegrad.cli import options
from xegrad.errors import UsageError, XegradError

if TYPE_CHECKING:
    from rich.console import RenderableType

# The views of a result: for people.
VIEWS = ("table", "json", "markdown", "svg", "html")
# The forms, and the suffixes that ask for them.
FORMS: Mapping[str, tuple[str, ...]] = {
    "table": (".txt",),
    "json": (".json",),
    "markdown": (".md",),
    "svg": (".svg",),
    "html": (".html",),
    "csv": (".csv",),
    "npy": (".npy",),
}


class Destination(msgspec.Struct, frozen=True):
    """A form, and a file; None is standard output."""

    form: str
    path: str | None = None

    def begin(self, warnings: Sequence[str], *, quiet: bool) -> bool:
        """Whether anything is to be written: with -q only a file is.  Warnings go to standard error first, unless JSON
        carries them."""
        writes = not quiet or self.path is not None
        if self.form != "json" or not writes:
            for warning in warnings:
                sys.stderr.write(f"xegrad: warning: {warning}\n")
        return writes

    def put(self, data: bytes) -> None:
        """Write the whole result.

        Raises
        ------
        XegradError
            The file cannot be written; what was there before still is.
        """
        if self.path is None:
            sys.stdout.flush()
            sys.stdout.buffer.write(data)
        else:
            write_whole(self.path, data)

    def show(self, view: RenderableType, *, color: bool) -> None:
        """Draw a view: as a table, as markdown, or as a picture."""
        from xegrad.display import screen

        if self.path is None and self.form == "table":
            screen.show(view, color=color)
        else:
            self.put(screen.as_text(view, self.form).encode())


def destination(
    form: str | None, json: bool, path: str | None, inputs: Sequence[str], forms: Sequence[str]
) -> Destination:
    """What --format, --json and -o come to; `inputs` are the files that must not be written over.

    Raises
    ------
    UsageError
        Two forms, one that this command does not have, a suffix that names none, an output over an input.
    """
    if json and form not in (None, "json"):
        raise UsageError(f"--json and --format {form} ask for two things")
    if form is not None:
        form = options.choice(form, forms, "format")
    form = "json" if json else form
    if path is None or path == "-":
        return Destination(form or "table")
    refuse_inputs(path, inputs)
    suffix = Path(path).suffix.lower()
    if form is None:
        form = next((name for name in forms if suffix in FORMS[name]), None)
    if form is None:
        known = ", ".join(known for name in forms for known in FORMS[name])
        raise UsageError(
            f"-o {path}: the suffix {suffix or 'is missing; it'} is none of {known}; --format decides, too"
        )
    return Destination(form, path)


def refuse_inputs(path: str, inputs: Sequence[str]) -> None:
    """Nothing is written over what is read."""
    for given in inputs:
        with contextlib.suppress(OSError, ValueError):
            read = os.fstat(sys.stdin.fileno()) if given == "-" else os.stat(given)  # noqa: PTH116
            if os.path.samestat(read, os.stat(path)) and stat.S_ISREG(read.st_mode):  # noqa: PTH116
                name = "standard input" if given == "-" else given
                raise UsageError(
                    f"-o {path} would be written over {name}, which is read; give it another name"
                )


def write_whole(path: str, data: bytes) -> None:
    """All of a file, or nothing of it."""
    with whole(path) as file:
        file.write(data)


@contextlib.contextmanager
def whole(path: str) -> Iterator[IO[bytes]]:
    """A file beside the one that is meant, which takes its place when the block is done.

    What is no regular file (a pipe, a device) is written to as it is.

    Raises
    ------
    XegradError
        It cannot be written; what was there before still is.
    """
    try:
        if Path(path).exists() and not Path(path).is_file():
            with Path(path).open("wb") as file:
                yield file
            return
        target = Path(path).resolve()
        mode = target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask()
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        try:
            with open(handle, "wb") as file:  # noqa: PTH123
                yield file
                os.fchmod(file.fileno(), mode)
            os.replace(name, target)  # noqa: PTH105
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise XegradError(f"{path}: cannot be written: {error.strerror or error}") from None


def _umask() -> int:
    """The process's mask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
