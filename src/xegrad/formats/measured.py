"""The bytes of a file, measured as they come: one that has no end, or takes too much memory, is refused in time."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import BinaryIO

from xegrad import memory
from xegrad.formats import FIRST as PIECE


def bytes_of(file: BinaryIO, is_binary: Callable[[bytes], bool], *, is_claim: bool = False) -> bytes:
    """All bytes of an open file; of text with a byte 0, which is none, as many as show that.

    Raises
    ------
    InputError
        To read it, and to make numbers of its text, takes more memory than is allowed.
    """
    first = file.read(PIECE)
    if len(first) < PIECE:
        return first
    if is_binary(first):
        size = _size(file)
        if size > len(first):
            memory.check_reading(size)
            file.seek(0)
            return file.read(size)
        pieces = [first]
        while piece := file.read(PIECE):
            pieces.append(piece)
            so_far = PIECE * len(pieces)
            memory.check_reading(2 * so_far, so_far)
        return b"".join(pieces)
    if b"\0" in first:
        return first
    is_json = first.lstrip()[:1] in (b"{", b"[")
    text = memory.Text("claim" if is_claim else "json" if is_json else "table", _size(file))
    text.add(first)
    while piece := file.read(PIECE):
        text.add(piece)
    return b"".join(text.pieces)


def _size(file: BinaryIO) -> int:
    """The size of a file that has one and is read from its beginning; else 0."""
    try:
        status = os.fstat(file.fileno())
        is_whole = stat.S_ISREG(status.st_mode) and file.tell() == PIECE
    except (OSError, ValueError):
        return 0
    return status.st_size if is_whole else 0
