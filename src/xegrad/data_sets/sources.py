"""Where files are, here or behind a URL, and whether one is still what it was.

fsspec is imported for paths with :// alone.
"""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from xegrad.errors import InputError

MAGIC = "*?["
WAIT = 30  # seconds for a server of HTTP

# What Python, numpy and pyarrow raise of a file that is broken, or out of reach.
_BROKEN: tuple[type[Exception], ...] = (
    OSError, ValueError, TypeError, LookupError, ArithmeticError, NotImplementedError, RuntimeError, EOFError,
    SyntaxError, MemoryError,
)  # fmt: skip

_SILENT = {
    TimeoutError: "there is no answer",
    MemoryError: "there is not enough memory",
}  # errors without words


def expanded(paths: Sequence[str], suffixes: Iterable[str]) -> list[str]:
    """All files that paths, globs and folders name, sorted; of a folder those with one of these suffixes.

    Raises
    ------
    InputError
        What names no file, or a file that is named twice, by a link of any kind too.
    """
    ends = tuple(suffixes)
    files: list[str] = []
    for path in paths:
        if not path:
            raise InputError("the path of a file is empty")
        with _reaching(path):
            found = _remote(path, ends) if "://" in path else _local(path, ends)
        if not found:
            raise InputError(f"{path}: {'no file matches' if set(MAGIC) & set(path) else 'no such file'}")
        files += found
    files.sort()
    names: dict[object, str] = {}
    for name in files:
        with _reaching(name):
            path = name.removeprefix("file://")
            real = name if "://" in path else _identity(path)
        if (first := names.get(real)) is not None:
            twice = f"{name} is named twice" if first == name else f"{first} and {name} are one file"
            raise InputError(f"{twice}; each file of a data set is read once")
        names[real] = name
    return files


def _identity(path: str) -> tuple[int, int]:
    """What all names of a file have in common."""
    status = Path(path).stat()
    return status.st_dev, status.st_ino


def mark(path: str) -> str:
    """Text that changes when the file does: its size, and when it was written."""
    if archive := path.partition(named(path))[2].removeprefix(
        "::"
    ):  # of a file in it nobody says when it was written
        return mark(archive)
    if "://" in path:
        fs, name = _file_system(path)
        fs.invalidate_cache(name)
        return f"{fs.size(name)} {fs.ukey(name)}"
    status = Path(path).stat()
    return f"{status.st_size} {status.st_mtime_ns}"


@contextmanager
def opened(path: str, kind: str, listed_as: str | None = None) -> Iterator[IO[bytes]]:
    """The file, still as it was listed; what goes wrong with it in the block becomes an InputError that names it."""
    with _reaching(path, kind, "is not there" if listed_as is None else "has vanished since it was listed"):
        if listed_as is not None and mark(path) != listed_as:
            raise InputError("has changed since it was listed")
        if "://" in path:
            fs, name = _file_system(path)
            file = fs.open(name, "rb", cache_type="none")  # each reader asks for many bytes at a time
        else:
            file = Path(path).open("rb")  # noqa: SIM115 (closed below)
        with file:
            yield file


@contextmanager
def _reaching(path: str, kind: str = "", vanished: str = "is not there") -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise InputError(f"{path} {error}") from None
    except FileNotFoundError:
        raise InputError(f"{path} {vanished}") from None
    except PermissionError:
        raise InputError(f"{path} may not be read: permission denied") from None
    except ImportError as error:
        raise InputError(f"{path} cannot be reached: {_first_sentence(error)}") from None
    except (*_BROKEN, *_of_pyarrow()) as error:
        what = f"cannot be read as {kind}" if kind else "cannot be reached"
        raise InputError(f"{path} {what}: {_first_sentence(error)}") from None


def _of_pyarrow() -> tuple[type[Exception], ...]:
    return (sys.modules["pyarrow"].ArrowException,) if "pyarrow" in sys.modules else ()


def _first_sentence(error: Exception) -> str:
    """What an error of others says, as far as a line of ours may hold."""
    number = error.errno if isinstance(error, OSError) else None
    text = " ".join((os.strerror(number) if number and number > 0 else str(error)).split())
    silent = next((words for kind, words in _SILENT.items() if isinstance(error, kind)), type(error).__name__)
    return text.partition(". ")[0].rstrip(".") or silent


def _local(path: str, ends: tuple[str, ...]) -> list[str]:
    place = Path(path)
    if place.is_dir():
        inside = [file for file in place.rglob("*") if file.name.endswith(ends)]
        found = [
            file for file in inside if not any(part[0] in "._" for part in file.relative_to(place).parts)
        ]
    elif place.exists():
        if not place.is_file():  # a pipe, say, which waits for whoever writes to it
            raise InputError("is no ordinary file; those of a data set are read more than once")
        return [str(place)]
    else:
        found = [*map(Path, glob.glob(path, recursive=True))] if set(MAGIC) & set(path) else []  # noqa: PTH207
    return [str(file) for file in found if file.is_file()]


def _remote(path: str, ends: tuple[str, ...]) -> list[str]:
    fs, name = _file_system(path)
    if fs.isdir(name):
        names = [one for one in fs.find(name) if one.endswith(ends)]
        names = [one for one in names if one.rpartition("/")[2][0] not in "._"]
    elif set(MAGIC) & set(name):
        names = [one for one in fs.glob(name) if fs.isfile(one)]
    else:
        names = [name] if fs.exists(name) else []
    before, after = path.split(named(path), 1)
    return [f"{before}{fs.unstrip_protocol(one)}{after}" for one in names]


def named(path: str) -> str:
    """The address of the file itself, of a chain such as simplecache::s3://a.csv or zip://a.csv::s3://a.zip."""
    return next((link for link in path.split("::") if "://" in link), path)


def _file_system(path: str) -> tuple[Any, str]:
    try:
        import fsspec.core
    except ImportError:
        raise InputError("needs fsspec: pip install fsspec") from None
    fs, name = fsspec.core.url_to_fs(path, **_patience(path))
    return fs, name


def _patience(path: str) -> dict[str, Any]:
    """For HTTP, where fsspec waits five minutes."""
    if not path.startswith(("http://", "https://")):
        return {}
    try:
        from aiohttp import ClientTimeout
    except ImportError:  # which fsspec says
        return {}
    return {"client_kwargs": {"timeout": ClientTimeout(sock_connect=WAIT, sock_read=WAIT)}}
