"""Spans of a file of lines, found in one pass that counts them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import IO

import numpy as np

from xegrad.data_sets import Piece
from xegrad.data_sets.formats import SPAN
from xegrad.errors import InputError

# A cell in quotes, whose end may be missing.
_QUOTED = re.compile(rb'(?:\A|(?<=[,\n\r])) *+(?P<begin>")[^"]*+(?>(?:""[^"]*+)*)(?:(?P<end>")|\Z)')

LONGEST = 2**26  # bytes of a line
FIRST = 2**20  # bytes that are looked at first
BOM = b"\xef\xbb\xbf"  # that a text in UTF-8 may begin with
UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # how such a text begins


def begin(file: IO[bytes]) -> int:
    """Where the text begins: behind the byte order mark, if there is one.

    Raises
    ------
    InputError
        What is no UTF-8 by how it begins, as of a text that is read whole.
    """
    file.seek(0)
    data = file.read(FIRST)
    if data.startswith(UTF_16):
        kind = "UTF-32" if data.startswith(b"\xff\xfe\0\0") else "UTF-16"
        raise InputError(f"is text in {kind}; save it as UTF-8")
    if (zero := data.find(b"\0")) >= 0:
        raise InputError(f"is no text: byte {zero} is 0; save it as UTF-8")
    return len(BOM) if data.startswith(BOM) else 0


def spans(file: IO[bytes], start: int, *, has_quotes: bool) -> Iterator[Piece]:
    """From an offset on: where lines begin and end, and how many of them are not blank.

    Within quotes, if there may be some, a line does not end.
    """
    file.seek(start)
    rest = b""
    while data := file.read(SPAN):
        data = rest + data
        end = _last_end(data, has_quotes)
        if end > 0:
            yield Piece(start, start + end, count(data[:end], has_quotes=has_quotes))
            start += end
        rest = data[end:]
        if len(rest) > LONGEST:
            raise InputError(
                f"has a line of more than {LONGEST >> 20} MiB{', or a quote that never ends' * has_quotes}"
            )
    if rest:
        if has_quotes and len(quotes(rest)) % 2:
            raise InputError("ends within quotes: it has been cut short, or a quote is missing")
        yield Piece(start, start + len(rest), count(rest, has_quotes=has_quotes))


def count(data: bytes, *, has_quotes: bool) -> int:
    """The lines that are not blank, of which the last may lack its end."""
    if b"\r" in data and data.count(b"\r") > data.count(b"\r\n"):
        raise InputError("has lines that end with a carriage return alone; \\n or \\r\\n is expected")
    if not (
        (has_quotes and b'"' in data) or b"\n\n" in data or b"\n\r" in data or data[:1] in (b"\n", b"\r")
    ):
        return data.count(b"\n") + (data[-1:] not in (b"", b"\n"))
    ends = _ends(data, has_quotes)
    edges = np.concatenate([[-1], ends, [len(data)]])
    lengths = np.diff(edges) - 1
    bytes_of = np.frombuffer(data, np.uint8)
    is_cr = (lengths == 1) & (bytes_of[np.minimum(edges[:-1] + 1, len(data) - 1)] == ord("\r"))
    return int(((lengths > 0) & ~is_cr).sum())


def _last_end(data: bytes, has_quotes: bool) -> int:
    """Just behind the last line that has its end."""
    if has_quotes and b'"' in data:
        ends = _ends(data, has_quotes)
        return int(ends[-1]) + 1 if len(ends) else 0
    return data.rfind(b"\n") + 1


def _ends(data: bytes, has_quotes: bool) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Where lines end."""
    bytes_of = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(bytes_of == ord("\n"))
    return ends[np.searchsorted(quotes(data), ends) % 2 == 0] if has_quotes else ends


def quotes(data: bytes) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Where quotes begin and end, in turn, of lines from the beginning of one: a quotation mark begins a cell, or it is
    a mark as any other, as in 5" pipe."""
    bytes_of = np.frombuffer(data, np.uint8)
    marks = np.flatnonzero(bytes_of == ord('"'))
    before = bytes_of[np.maximum(marks[::2], 1) - 1]
    if np.isin(before[marks[::2] > 0], [*b'",\r\n']).all():
        return marks
    edges: list[int] = []
    for cell in _QUOTED.finditer(data):
        edges += [cell.start("begin")] + [cell.start("end")] * (cell.start("end") >= 0)
    return np.array(edges, np.intp)
