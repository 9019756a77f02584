"""What is written is whole: standard output and error to the last byte, and a file whole or not at all.

A file is written beside the one that is meant and takes its place when it is whole.  Until then it has no name, where
the system can do that (Linux, on most file systems): whatever ends the process, it is gone with it.  Elsewhere it is
called .xegrad-HEX, and is removed when the run ends; only `kill -9` leaves it.  To take the place of a file that is
there it needs a name on Linux too, for as long as a rename takes.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import shutil
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TextIO

from xegrad import patience
from xegrad.cli import interruptions
from xegrad.errors import XegradError

Write = Callable[[Iterable["bytes | memoryview"]], object]

# An open file by its number, and by its process if that is said; a pattern that most runs do not compile.
_OPEN_FILE = r"(?:/dev|/proc/(\d+)(?:/task/\d+)?)/fd/(\d+)"
_MOST_LINKS = 40  # as many as Linux follows
_EFFECTIVE = os.access in os.supports_effective_ids


class Whole(io.RawIOBase):
    """An open file that is read and written to the end: where it does not wait by itself, we do."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            try:
                return os.readv(self._descriptor, [buffer])
            except BlockingIOError:
                patience.wait(self._descriptor)

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                patience.wait(self._descriptor, to_write=True)
            except OSError as error:
                error.characters_written = size - len(rest)  # type: ignore[attr-defined]
                raise
        return size


class Notes(Whole):
    """Standard error.  What cannot be written there stops nothing; `is_lost` tells of it at the end."""

    is_lost = False

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            # A reader that is gone lacks nothing.
            self.is_lost = self.is_lost or not isinstance(error, BrokenPipeError)
            return len(data)


def open_streams() -> Notes:
    """Standard streams that can be used: what an encoding lacks is spelled out.

    A closed one holds nothing; what is written to standard output is lost then, and whoever writes learns of it.
    """
    sys.stdin = _text(sys.stdin, io.BufferedReader(Whole(_descriptor(sys.stdin))))
    sys.stdout = _text(sys.stdout, io.BufferedWriter(Whole(_descriptor(sys.stdout))))
    notes = Notes(_descriptor(sys.stderr, os.O_WRONLY))
    sys.stderr = _text(sys.stderr, io.BufferedWriter(notes), line_buffering=True)
    return notes


def _descriptor(stream: TextIO | None, closed_as: int = os.O_RDONLY) -> int:
    return os.open(os.devnull, closed_as) if stream is None else stream.fileno()


def _text(like: TextIO | None, buffer: Any, *, line_buffering: bool = False) -> TextIO:
    encoding, by_lines = getattr(like, "encoding", None), getattr(like, "line_buffering", False)
    try:
        "✓".encode(encoding or "utf-8", "backslashreplace")
    except UnicodeError:  # as idna, in which not all can be spelled out
        encoding = "utf-8"
    return io.TextIOWrapper(
        buffer, encoding, errors="backslashreplace", line_buffering=line_buffering or by_lines
    )


@contextlib.contextmanager
def writer(path: str | None, *, is_report: bool = False) -> Iterator[Write]:
    """What writes to a file that is there when the block is done, or at once to standard output or error."""
    if path is None:
        stream = sys.stderr if is_report else sys.stdout
        stream.flush()

        def write(pieces: Iterable[bytes | memoryview]) -> None:
            stream.buffer.writelines(pieces)
            stream.flush()

        yield write
        return
    with _naming(path), _opened(path) as descriptor:
        whole = Whole(descriptor)
        # Nothing is kept back: what an interruption leaves would be written after it.
        yield lambda pieces: [whole.write(piece) for piece in pieces]


def check_place(path: str) -> None:
    """Raise XegradError where nothing can be written; nothing is there afterwards that was not there before."""
    if not path:
        raise XegradError("the name of the file to write to is empty")
    with _naming(path):
        place = followed(path)
        if (own := _own_descriptor(place)) is not None:
            os.write(own, b"")
        elif _is_replaced(place):
            with contextlib.suppress(FileNotFoundError):
                os.close(os.open(place, os.O_WRONLY))
            with _beside(place):
                pass
        elif stat.S_ISSOCK(os.stat(place).st_mode) or not os.access(place, os.W_OK, effective_ids=_EFFECTIVE):  # noqa: PTH116
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))


@contextlib.contextmanager
def _naming(path: str) -> Iterator[None]:
    """What the system refuses in the block is to write to this path; a reader that is gone is no trouble."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise XegradError(f"{path}: cannot be written: {error.strerror or error}") from None


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    """The descriptor to write to: what is open already from where it is, a pipe or a device as it is, or a new file.

    A new file takes its place when the block is done.
    """
    place = followed(path)
    if (own := _own_descriptor(place)) is not None:
        sys.stdout.flush()
        sys.stderr.flush()
        yield own
    elif _is_replaced(place):
        with _beside(place) as (descriptor, with_name):
            yield descriptor
            _allow_as_before(descriptor, place)
            os.fsync(descriptor)  # some disks say only now that they are full
            with interruptions.held():
                _replace(with_name(), place)
    else:
        descriptor = os.open(place, os.O_WRONLY | os.O_APPEND | os.O_NOCTTY)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def followed(path: str) -> str:
    """Where links lead, but for those to open files."""
    for _ in range(_MOST_LINKS):
        if not os.path.islink(path) or _open_file(path):  # noqa: PTH114
            return path
        path = os.path.join(os.path.dirname(path), os.readlink(path))  # noqa: PTH115, PTH118, PTH120
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _open_file(place: str) -> re.Match[str] | None:
    """The process and the number of an open file, where the place names one that there is."""
    folder, name = os.path.split(place)
    match = re.fullmatch(_OPEN_FILE, f"{os.path.realpath(folder)}/{name}")
    return match if match and os.path.lexists(place) else None


def _own_descriptor(place: str) -> int | None:
    """The number of an open file of this process, where the place names one."""
    match = _open_file(place)
    return int(match[2]) if match and match[1] in (None, str(os.getpid())) else None


def _is_replaced(place: str) -> bool:
    """Whether it is a file, or is to be one; raise IsADirectoryError where it cannot be one."""
    if os.path.isdir(place):  # noqa: PTH112
        raise IsADirectoryError(errno.EISDIR, "it is a folder; a file is expected")
    if not os.path.basename(place):  # noqa: PTH119
        raise IsADirectoryError(
            errno.EISDIR, f"a name with {os.sep} at its end is a folder's; a file is expected"
        )
    return not _open_file(place) and (not os.path.exists(place) or os.path.isfile(place))  # noqa: PTH110, PTH113


@contextlib.contextmanager
def _beside(place: str) -> Iterator[tuple[int, Callable[[], str]]]:
    """A new file in the folder of that place, and what gives it a name if it has none; it is gone after the block."""
    folder = os.path.dirname(place) or "."  # noqa: PTH120
    if not os.path.isdir(folder):  # noqa: PTH112
        raise FileNotFoundError(errno.ENOENT, f"there is no folder {folder}")
    # A name of its own, for that of the place may be as long as a name can be.
    name = os.path.join(folder, f".xegrad-{os.urandom(8).hex()}")  # noqa: PTH118
    descriptor = None
    try:
        descriptor = _without_name(folder)
        has_name = descriptor is None
        if descriptor is None:
            descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)

        def with_name() -> str:
            if not has_name:
                # A descriptor of a folder, which says nothing here, is what makes Python follow the link.
                os.link(f"/proc/self/fd/{descriptor}", name, src_dir_fd=descriptor, follow_symlinks=True)
            return name

        yield descriptor, with_name
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)  # noqa: PTH108
        if descriptor is not None:
            os.close(descriptor)


def _without_name(folder: str) -> int | None:
    """A new file in a folder, or None where the system has no files without a name."""
    if not (hasattr(os, "O_TMPFILE") and os.path.isdir("/proc/self/fd")):  # noqa: PTH112
        return None
    try:
        return os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o666)
    except OSError:  # whatever else is wrong is said of a file with a name, too
        return None


def _allow_as_before(descriptor: int, place: str) -> None:
    """What may be done with the file that is there, and by whom, holds for the new one."""
    with contextlib.suppress(FileNotFoundError):
        status = os.stat(place)  # noqa: PTH116
        with contextlib.suppress(PermissionError):
            os.fchown(descriptor, status.st_uid, status.st_gid)
        os.fchmod(descriptor, status.st_mode & 0o777)


def _replace(new: str, place: str) -> None:
    """The new file in the place of the old; what cannot be replaced, as a file lent to a container, is written over."""
    try:
        os.replace(new, place)  # noqa: PTH105
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        shutil.copyfile(new, place)
