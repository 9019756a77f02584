"""What problems and arrays are read from and written to: one file a format, and the table of them.

Whatever reads raises InputError for what cannot be read: the place, what was found, what was expected.

See docs/formats.md.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from xegrad import patience
from xegrad.errors import InputError, shown
from xegrad.naming import source_name

if TYPE_CHECKING:
    from xegrad.formats.raw_problem import RawProblem
    from xegrad.problem import Problem


class Format(msgspec.Struct, frozen=True):
    """A line of the table: its name, its suffixes, and what it is known by if it is no text."""

    name: str
    suffixes: tuple[str, ...]
    writes_problem: bool = False
    mark: tuple[bytes, int] | None = None  # bytes near the beginning, and where they are
    has_keys: bool = False  # so that FILE:KEY names one of its arrays

    @property
    def module(self) -> Any:
        """Its functions: `load`, and those that write what it can hold, `write_problem` and `write_array`.

        `load` names no file in its messages and sources: these go on from the name, as in `naming`.
        """
        return import_module(f"xegrad.formats.{self.name}")

    def load(self, data: bytes, source: str, part: str | None = None, key: str | None = None) -> RawProblem:
        """What is in these bytes: a problem, or the part "W", "x", "label", ..., or what stands under a key.

        `source` names them in messages.  A part may bring other values with it: the names of W's columns are
        classes, and a format may say how W is stored.
        """
        if key is not None and not self.has_keys:
            raise no_keys(source, key, self.name.upper())
        with naming(source), patience.at_once(0 if self.mark else len(data)):
            raw: RawProblem = self.module.load(data, part, key)
        return raw.read_from(source, is_whole=part is None)


FORMATS: Mapping[str, Format] = {
    entry.name: entry
    for entry in (
        Format("json", (".json",), writes_problem=True),
        Format("csv", (".csv",), writes_problem=True),
        Format("ndjson", (".ndjson", ".jsonl")),
        Format("npy", (".npy",), mark=(b"\x93NUMPY", 0)),
        Format("npz", (".npz",), mark=(b"PK\x03\x04", 0), has_keys=True),
        # The length of a header in eight bytes, four of them 0, and the header: an object in JSON.
        Format("safetensors", (".safetensors",), mark=(b"\0\0\0\0{", 4), has_keys=True),
    )
}

# How the numbers of a gradient lie in memory, little-endian, where a file has nothing else.
RAW: Mapping[str, str] = {f"raw:{dtype}": dtype for dtype in ("float64", "float32", "float16", "bfloat16")}

FIRST = 2**20  # bytes that are looked at first
UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # how such a text begins
UTF_32 = b"\xff\xfe\0\0"
_PICKLES = (".pt", ".pth", ".pkl", ".pickle")


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Errors begin with the name of what they are about, if it has one, and may go on with a blank or a colon."""
    try:
        yield
    except InputError as error:
        if not name:
            raise
        colon = "" if str(error).startswith((" ", ":")) else ": "
        raise InputError(f"{name}{colon}{error}", error.part) from None


def read(path: str | Path, input_format: str | None = None) -> Problem:
    """The problem in a file ("-" is standard input).

    Raises
    ------
    InputError
        The file cannot be read or is no problem: file, place, what was found, what was expected.

    Examples
    --------
    >>> with open("problem.json", "w") as file:
    ...     _ = file.write('{"W": [[1, -1]], "x": [3], "label": 0}')
    >>> read("problem.json").weights
    array([[ 1., -1.]])
    """
    return read_raw(path, input_format).problem()


def read_raw(path: str | Path, input_format: str | None = None, part: str | None = None) -> RawProblem:
    """What a file says of a problem, its values unchecked against each other; or a part, from FILE or FILE:KEY."""
    path, key = (path, None) if part is None else with_key(path)
    expected = {None: "a problem is expected: W, x and label", "label": "labels are expected"}
    data, source = read_bytes(path, expected.get(part, "numbers are expected"))
    return format_of(path, data, input_format).load(data, source, part, key)


def no_keys(source: str, key: str, kind: str) -> InputError:
    """FILE:KEY where the file has no keys."""
    return InputError(f"{source}: {kind} has no keys, so {source}:{key} names nothing")


def with_key(path: str | Path) -> tuple[str | Path, str | None]:
    """The path, and the key behind it in FILE:KEY, where FILE is there and FILE:KEY is not."""
    file, colon, key = str(path).rpartition(":")
    if colon and key and os.path.isfile(file) and not os.path.lexists(path):  # noqa: PTH113
        return file, key
    return path, None


def read_bytes(
    path: str | Path, expected: str, *, is_text: bool = True, is_claim: bool = False, or_else: str = ""
) -> tuple[bytes, str]:
    """The bytes of a file or of standard input, text as UTF-8 without a byte order mark, and its name.

    `or_else` is what can be done with what is no text.
    """
    from xegrad.formats.measured import bytes_of

    source = source_name(path)
    if not source:
        raise InputError("the path of a file is empty")
    try:
        with (
            nullcontext(sys.stdin.buffer) if str(path) == "-" else Path(path).open("rb") as file,
            naming(source),
        ):
            data = bytes_of(file, lambda first: not is_text or _is_binary(first), is_claim=is_claim)
    except FileNotFoundError:
        raise InputError(f"{source}: there is no such file") from None
    except IsADirectoryError:
        raise InputError(f"{source}: is a folder; a file is expected") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{source}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not is_text:
        return data, source
    _refuse_pickles(path, data, source)
    if binary_format(data) is not None:
        return data, source
    data = data.removeprefix(b"\xef\xbb\xbf")
    if (zero := data.find(b"\0", 0, FIRST)) >= 0 and data[:2] not in UTF_16:
        raise _unlike_its_suffix(path, data, source) or InputError(
            f"{source}: byte {zero} is 0, which no text has{or_else}"
        )
    if not data or data.isspace():
        raise InputError(f"{source}: is empty; {expected}")
    try:
        if not data.isascii():
            data.decode()
    except UnicodeDecodeError as error:
        kind = "UTF-32" if data[:4] == UTF_32 else "UTF-16" if data[:2] in UTF_16 else "not UTF-8"
        raise _unlike_its_suffix(path, data, source) or InputError(
            f"{source}: byte {error.start} cannot be read: the text is {kind}; save it as UTF-8"
            f"{or_else if kind == 'not UTF-8' else ''}"
        ) from None
    return data, source


def _unlike_its_suffix(path: str | Path, data: bytes, source: str) -> InputError | None:
    """What is said of bytes that are no text and not what the suffix says; nothing where that says they are text."""
    entry = by_suffix(path)
    if entry is None or entry.mark is None:
        return None
    kind = entry.name if entry.name == "safetensors" else entry.name.upper()
    begins = shown(data[:8])
    return InputError(f"{source}: is no {kind} file: it begins with {begins}; if it is another, rename it")


def _is_binary(first: bytes) -> bool:
    """Whether what begins so has one of the formats that are no text."""
    return binary_format(first) is not None or _is_pickle(first)


def _is_pickle(data: bytes) -> bool:
    is_of_torch = data.startswith(b"PK") and b"data.pkl" in data[:256]
    return is_of_torch or (data[:1] == b"\x80" and data[1:2] in (b"\2", b"\3", b"\4", b"\5"))


def _refuse_pickles(path: str | Path, data: bytes, source: str) -> None:
    """Raise InputError for what Python or torch pickled, which may run any program when it is read."""
    if _is_pickle(data) or Path(path).suffix.lower() in _PICKLES:
        # What a shell would take for more than a name does not go into a line that people paste.
        name = str(path) if re.fullmatch(r"[\w./]{1,40}", str(path), re.ASCII) else "FILE"
        of_pickle = f"numpy.save('gradient.npy', __import__('pickle').load(open('{name}', 'rb')))"
        of_torch = (
            f"numpy.save('gradient.npy', __import__('torch').load('{name}', 'cpu').detach().float().numpy())"
        )
        convert = of_pickle if Path(path).suffix.lower() in (".pkl", ".pickle") else of_torch
        raise InputError(
            f"{source}: is a pickle, which may run any program and is never read; "
            f'if you trust it, python -c "import numpy; {convert}" converts an array'
        )


def format_of(path: str | Path, data: bytes, input_format: str | None) -> Format:
    """By what it begins with, its suffix, the name in --input-format, or whether it begins as JSON does."""
    if input_format is not None and input_format not in (*FORMATS, *RAW):
        raise InputError(f"there is no format {input_format!r}; the formats are {', '.join(FORMATS)}")
    if (entry := binary_format(data) or by_suffix(path)) is not None:
        return entry
    if input_format is not None and input_format in FORMATS:
        return FORMATS[input_format]
    if input_format is not None and data.lstrip()[:1] not in (b"{", b"["):
        raise InputError(f"{path}: {input_format} says nothing of shapes; it is for --gradient alone")
    if suffix := Path(path).suffix.lower():
        known = ", ".join(suffix for entry in FORMATS.values() for suffix in entry.suffixes)
        raise InputError(
            f"{path}: the suffix {suffix} is none of {known}; say with --input-format which format it is"
        )
    return FORMATS["json" if data.lstrip()[:1] in (b"{", b"[") else "csv"]


def by_suffix(path: str | Path) -> Format | None:
    """The format that the suffix of a path names, if it names one."""
    suffix = Path(path).suffix.lower()
    return next((entry for entry in FORMATS.values() if suffix in entry.suffixes), None)


def binary_format(data: bytes) -> Format | None:
    """The format that is no text and has its mark in these bytes."""
    marked = (entry for entry in FORMATS.values() if entry.mark and data.startswith(*entry.mark))
    return next(marked, None)
