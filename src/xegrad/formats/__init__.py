"""What problems and arrays are read from and written to: one file a format, and the table of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from xegrad.errors import InputError

if TYPE_CHECKING:
    from xegrad.formats.parts import Label, Parts, Table
    from xegrad.problem import Problem
    from xegrad.targets import Array


class Format(msgspec.Struct, frozen=True):
    """A line of the table: its name, module and suffixes, what it holds, what it begins with if it is no text.

    `writes` says what can be written in it: "problem", "gradient" (dL/dW alone), or nothing.
    """

    name: str
    module: str
    suffixes: tuple[str, ...]
    summary: str
    reads: tuple[str, ...] = ("problem", "part")
    writes: tuple[str, ...] = ()
    begins: bytes | None = None
    extra: str = ""  # of this package, that brings the library it needs

    def read_problem(self, data: bytes, source: str) -> Parts:
        """The parts of one problem; `source` names it in messages."""
        parts: Parts = import_module(self.module).read_problem(data, source)
        return parts

    def read_array(self, data: bytes, source: str, part: str, key: str | None = None) -> Table:
        """An array of one or two dimensions: the part "W", "x", "b", ..., or what stands under a key."""
        table: Table = import_module(self.module).read_array(data, source, part, key)
        return table

    def read_labels(self, data: bytes, source: str, key: str | None = None) -> Label:
        """Labels, a list of indices or names, or targets, an array of two dimensions."""
        labels: Label = import_module(self.module).read_labels(data, source, key)
        return labels

    def write_problem(self, parts: Parts) -> bytes:
        """A file that holds these parts."""
        written: bytes = import_module(self.module).write_problem(parts)
        return written

    def write_array(self, array: Array, names: tuple[str, ...] | None) -> bytes:
        """A file that holds an array; the names are those of its columns."""
        written: bytes = import_module(self.module).write_array(array, names)
        return written


FORMATS: Mapping[str, Format] = {
    entry.name: entry
    for entry in (
        Format(
            "json",
            "xegrad.formats.json",
            (".json",),
            "an object W, x, label, ...; a part is an array",
            writes=("problem",),
        ),
        Format(
            "csv",
            "xegrad.formats.csv",
            (".csv",),
            "a table x, W with a header; a part is plain numbers; a data set",
            writes=("problem", "gradient"),
        ),
        Format(
            "ndjson",
            "xegrad.formats.ndjson",
            (".ndjson", ".jsonl"),
            "a stream: an object as in JSON on each line",
            reads=("stream",),
        ),
        Format(
            "npy",
            "xegrad.formats.npy",
            (".npy",),
            "one array, with its precision",
            reads=("part",),
            writes=("gradient",),
            begins=b"\x93NUMPY",
        ),
        Format(
            "npz",
            "xegrad.formats.npz",
            (".npz",),
            "arrays under the keys of JSON, with their precision",
            begins=b"PK\x03\x04",
        ),
        Format(
            "safetensors",
            "xegrad.formats.safetensors",
            (".safetensors",),
            "weight and bias of torch.nn.Linear; FILE:KEY for another tensor",
            extra="safetensors",
        ),
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


def read_array(path: str | Path, part: str, input_format: str | None = None) -> tuple[Table, str]:
    """A part from FILE or FILE:KEY, and the file's name for messages."""
    path, key = with_key(path)
    data, source = load(path, "numbers are expected")
    return format_of(path, data, input_format).read_array(data, source, part, key), source


def read_labels(path: str | Path, input_format: str | None = None) -> tuple[Label, str]:
    """Labels or targets from FILE or FILE:KEY, and the file's name for messages."""
    path, key = with_key(path)
    data, source = load(path, "labels are expected")
    return format_of(path, data, input_format).read_labels(data, source, key), source


def with_key(path: str | Path) -> tuple[str | Path, str | None]:
    """The path, and the key behind it in FILE:KEY, where FILE is there and FILE:KEY is not."""
    file, colon, key = str(path).rpartition(":")
    if colon and key and os.path.isfile(file) and not os.path.lexists(path):  # noqa: PTH113
        return file, key
    return path, None


def load(path: str | Path, expected: str) -> tuple[bytes, str]:
    """The bytes of a file or of standard input, text as UTF-8 without a byte order mark, and its name."""
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
    if binary_format(path, data) is not None:
        return data, source
    data = data.removeprefix(b"\xef\xbb\xbf")
    if not data.strip():
        raise InputError(f"{source}: is empty; {expected}")
    try:
        data.decode()
    except UnicodeDecodeError as error:
        kind = "UTF-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "not UTF-8"
        raise InputError(
            f"{source}: byte {error.start} cannot be read: the text is {kind}; save it as UTF-8"
        ) from None
    return data, source


def format_of(path: str | Path, data: bytes, input_format: str | None) -> Format:
    """By what it begins with, its suffix, the name that was given, or whether it begins as JSON does."""
    if input_format is not None and input_format not in FORMATS:
        raise InputError(f"there is no format {input_format!r}; the formats are {', '.join(FORMATS)}")
    if (binary := binary_format(path, data)) is not None:
        return binary
    if (entry := by_suffix(path)) is not None:
        return entry
    if input_format is not None:
        return FORMATS[input_format]
    suffix = "" if str(path) == "-" else Path(path).suffix.lower()
    if suffix:
        known = ", ".join(suffix for entry in FORMATS.values() for suffix in entry.suffixes)
        raise InputError(
            f"{path}: the suffix {suffix} is none of {known}; say with --input-format which format it is"
        )
    return FORMATS["json" if data.lstrip()[:1] in (b"{", b"[") else "csv"]


def by_suffix(path: str | Path) -> Format | None:
    """The format that the suffix of a path names, if it names one."""
    suffix = "" if str(path) == "-" else Path(path).suffix.lower()
    return next((entry for entry in FORMATS.values() if suffix in entry.suffixes), None)


def binary_format(path: str | Path, data: bytes) -> Format | None:
    """A format that is no text: by its first bytes, or for safetensors by its length and its header's."""
    for entry in FORMATS.values():
        if entry.begins is not None and data.startswith(entry.begins):
            return entry
    named = by_suffix(path)
    if named is not None and named.name == "safetensors":
        return named
    if data[8:9] == b"{" and 0 < int.from_bytes(data[:8], "little") <= len(data) - 8:
        return FORMATS["safetensors"]
    return None
