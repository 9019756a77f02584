"""Where a result goes: to standard output or a file, in which form; a file is written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from xegrad.cli import options
from xegrad.display.page import PageSettings
from xegrad.errors import UsageError, XegradError

if TYPE_CHECKING:
    from xegrad.display.text import View

# The views of a result: for people.
VIEWS = ("table", "json", "markdown", "svg", "html")
ARRAYS = ("csv", "npy")  # forms that hold one gradient
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
DEFAULT_PAGE = PageSettings()


class Destination(msgspec.Struct, frozen=True):
    """A form, and a file; None is standard output, or standard error where `is_report`."""

    form: str
    path: str | None = None
    quiet: bool = False  # nothing on standard output
    color: bool = True
    is_report: bool = False  # standard output is for something else

    def write(
        self,
        *,
        result: Callable[[], Any],
        view: Callable[[PageSettings], View],
        page: PageSettings = DEFAULT_PAGE,
        array: Callable[[str], bytes] | None = None,
        warnings: Sequence[str] = (),
    ) -> None:
        """What the form asks for: the `result` as JSON, the `array` in a format, or else the `view` on the page.

        Warnings go to standard error first, unless JSON carries them.

        Raises
        ------
        XegradError
            The file cannot be written; what was there before still is.
        """
        silent = self.quiet and self.path is None
        if self.form != "json" or silent:
            for warning in warnings:
                sys.stderr.write(f"xegrad: warning: {warning}\n")
        if silent:
            return
        if self.form == "json":
            from xegrad.formats.results import encode

            self.put(encode(result()))
        elif array is not None and self.form in ARRAYS:
            self.put(array(self.form))
        else:
            self._draw(view, page)

    def _draw(self, view: Callable[[PageSettings], View], page: PageSettings) -> None:
        """A view as wide as the screen."""
        from xegrad.display import screen

        ascii = self.path is None and not screen.is_unicode()
        shown = view(replace(page, width=screen.width(), ascii=ascii))
        if ascii:
            shown = screen.in_ascii(shown)
        if self.path is None and self.form == "table" and not self.is_report:
            screen.show(shown, color=self.color)
        else:
            self.put(screen.as_text(shown, self.form).encode())

    def put(self, data: bytes) -> None:
        """Write all of it."""
        if self.path is not None:
            with whole(self.path) as file:
                file.write(data)
            return
        stream = sys.stderr if self.is_report else sys.stdout
        stream.flush()
        stream.buffer.write(data)
        stream.flush()


def destination(
    form: str | None,
    json: bool,
    path: str | None,
    inputs: Sequence[str],
    forms: Sequence[str] = VIEWS,
    *,
    quiet: bool,
    no_color: bool,
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
        return Destination(form or "table", None, quiet, not no_color)
    refuse_inputs(path, inputs)
    suffix = Path(path).suffix.lower()
    if form is None:
        form = next((name for name in forms if suffix in FORMS[name]), None)
    if form is None:
        known = ", ".join(known for name in forms for known in FORMS[name])
        raise UsageError(
            f"-o {path}: the suffix {suffix or 'is missing; it'} is none of {known}; --format decides, too"
        )
    return Destination(form, path, quiet, not no_color)


def refuse_inputs(path: str, inputs: Sequence[str]) -> None:
    """Nothing is written over what is read."""
    for name in inputs:
        with contextlib.suppress(OSError, ValueError):
            read = os.fstat(sys.stdin.fileno()) if name == "-" else os.stat(name)  # noqa: PTH116
            if os.path.samestat(read, os.stat(path)) and stat.S_ISREG(read.st_mode):  # noqa: PTH116
                source = "standard input" if name == "-" else name
                raise UsageError(
                    f"-o {path} would be written over {source}, which is read; give it another name"
                )


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
