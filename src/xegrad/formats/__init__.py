"""What problems and arrays are read from and written to: one file a format, and the table of them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from xegrad.errors import InputError

if TYPE_CHECKING:
    from xegrad.formats.parts import Parts
    from xegrad.problem import Problem
    from xegrad.targets import Array


class Format(msgspec.Struct, frozen=True):
    """A line of the table: its name, module and suffixes, what it holds, and whether that can be a problem."""

    name: str
    module: str
    suffixes: tuple[str, ...]
    summary: str
    problems: bool = True

    def read_problem(self, data: bytes, source: str) -> Parts:
        """The parts of one problem; `source` names it in messages."""
        parts: Parts = import_module(self.module).read_problem(data, source)
        return parts

    def read_array(self, data: bytes, source: str) -> tuple[Array, tuple[str, ...] | None]:
        """An array of one or two dimensions, and the names of its columns if it has any."""
        array: tuple[Array, tuple[str, ...] | None] = import_module(self.module).read_array(data, source)
        return array

    def write_problem(self, parts: Parts) -> str:
        """The text of a file that holds these parts."""
        text: str = import_module(self.module).write_problem(parts)
        return text


FORMATS: Mapping[str, Format] = {
    entry.name: entry
    for entry in (
        Format("json", "xegrad.formats.json", (".json",), "an object W, x, label; a part is an array"),
        Format("csv", "xegrad.formats.csv", (".csv",), "a table x, W with a header; a part is plain numbers"),
        Format("npy", "xegrad.formats.npy", (".npy",), "one array, with its precision", problems=False),
    )
}


def read(path: str | Path, input_format: str | None = None) -> Problem:
    """The problem in a file ("-" is standard input).

    Raises
    ------
    InputError
        The file cannot be read or is no problem: file, place, what was found, what was expected.
    """
    return read_parts(path, input_format).problem()


def read_parts(path: str | Path, input_format: str | None = None) -> Parts:
    """What a file states of a problem, unchecked against each other."""
    data, source = load(path, "a problem is expected: W, x and label")
    return format_of(path, data, input_format).read_problem(data, source)


def read_array(
    path: str | Path, input_format: str | None = None
) -> tuple[Array, tuple[str, ...] | None, str]:
    """An array from a file, the names of its columns if it has any, and the file's name for messages."""
    data, source = load(path, "numbers are expected")
    array, names = format_of(path, data, input_format).read_array(data, source)
    return array, names, source


def load(path: str | Path, expected: str) -> tuple[bytes, str]:
    """The bytes of a file or of standard input, as UTF-8 without a byte order mark, and its name."""
    source = "standard input" if str(path) == "-" else str(path)
    if not source:
        raise InputError("the path of a file is empty")
    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"{source}: there is no such file") from None
    except IsADirectoryError:
        raise InputError(f"{source}: is a folder; a file is expected") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{source}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if data.startswith(b"\x93NUMPY"):
        return data, source
    data = data.removeprefix(b"\xef\xbb\xbf")
    if not data.strip():
        raise InputError(f"{source}: is empty; {expected}")
    try:
        data.decode()
    except UnicodeDecodeError as error:
        if data.startswith(b"PK"):
            raise InputError(f"{source}: is a ZIP file (.npz?); give one array as .npy") from None
        kind = "UTF-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "not UTF-8"
        raise InputError(
            f"{source}: byte {error.start} cannot be read: the text is {kind}; save it as UTF-8"
        ) from None
    return data, source


def format_of(path: str | Path, data: bytes, input_format: str | None) -> Format:
    """By its suffix, else by the name that was given, else by whether the text begins as JSON does."""
    if input_format is not None and input_format not in FORMATS:
        raise InputError(f"there is no format {input_format!r}; the formats are {', '.join(FORMATS)}")
    if data.startswith(b"\x93NUMPY"):
        return FORMATS["npy"]
    suffix = "" if str(path) == "-" else Path(path).suffix.lower()
    for entry in FORMATS.values():
        if suffix in entry.suffixes:
            return entry
    if input_format is not None:
        return FORMATS[input_format]
    if suffix:
        known = ", ".join(suffix for entry in FORMATS.values() for suffix in entry.suffixes)
        raise InputError(
            f"{path}: the suffix {suffix} is none of {known}; say with --input-format which format it is"
        )
    return FORMATS["json" if data.lstrip()[:1] in (b"{", b"[") else "csv"]
