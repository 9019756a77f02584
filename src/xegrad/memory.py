"""How much memory a computation may take: one that needs more is refused before it begins.

Those that compute say what they need, and whoever calls them may set a limit; by default it is half of what there is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from contextvars import ContextVar
from typing import Protocol

from xegrad.errors import InputError, XegradError, shown
from xegrad.progress import having

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12} | {
    unit: 2 ** (10 * power) for power, unit in enumerate(("ki", "mi", "gi", "ti"), start=1)
}
GROUPS = (  # of processes: the files that say what they may take, and what they take
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
LITTLE = 2**28  # bytes that nobody is asked for
TO_BEGIN = 160 * 2**20  # bytes of addresses that numpy, its BLAS and a small problem take
FOR_THREADS = 2**32  # bytes of addresses, of which the threads of a BLAS may take a good part
FREE = 2**24  # bytes that any file may take
OF_PROCESS = 2**26  # bytes that numpy and little else take in one more process, of what is not shared


# Of mallopt, in malloc.h of glibc.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8


def keep_pages() -> None:
    """The process keeps what it frees for what it needs next, where its C library is glibc.

    Else each large array is given back to the kernel, which clears every page of the next: a quarter of a check.
    """
    _mallopt({M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: 2**26})


def _mallopt(values: Mapping[int, int]) -> None:
    import ctypes

    with suppress(AttributeError, TypeError, OSError):  # another library, or none that is found so
        for parameter, value in values.items():
            ctypes.CDLL(None).mallopt(parameter, value)


def check_start() -> None:
    """Raise XegradError where the process may not have the addresses that numpy takes, as by ulimit -v.

    A BLAS that gets none ends the process itself, with a line and a status of its own.
    """
    try:
        import resource
    except ImportError:  # Windows
        return
    limits = [resource.getrlimit(which)[0] for which in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
    if all(limit == resource.RLIM_INFINITY for limit in limits):
        return
    limit = min(limit for limit in limits if limit != resource.RLIM_INFINITY)
    if limit < FOR_THREADS:
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
        _mallopt({M_ARENA_MAX: 1})  # each takes 64 MB of addresses, and pyarrow aborts where it gets none
    import mmap

    try:
        mmap.mmap(-1, TO_BEGIN, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except OSError:
        raise XegradError(
            f"this process may have {_size(limit)} of addresses, too few for numpy; raise ulimit -v"
        ) from None
    import numpy as np

    square = np.ones((64, 64))
    square @ square  # the BLAS takes what it needs once


class Sized(Protocol):
    """What holds so many bytes of arrays."""

    @property
    def nbytes(self) -> int: ...


_limit: ContextVar[int | None] = ContextVar("limit", default=None)
_processes: ContextVar[int] = ContextVar("processes", default=1)


def max_memory(limit: int | str | None) -> AbstractContextManager[None]:
    """Within the block, what would take more than this is refused; None is half of what is available.

    Examples
    --------
    >>> with max_memory("1kB"):
    ...     METHODS["shortcut"].evaluate(Problem(np.ones((100, 9)), np.ones((1, 100)), Targets([0])))
    Traceback (most recent call last):
        ...
    xegrad.errors.XegradError: this takes 21 kB with W and x, and 1 kB is allowed: give fewer rows, or --max-memory 21kB
    """
    return having(_limit, _bytes(limit) if isinstance(limit, str) else limit)


def shared_among(n_processes: int) -> AbstractContextManager[None]:
    """Within the block, so many processes compute at a time; more than the part of one raises `CrowdedError`."""
    return having(_processes, n_processes)


class CrowdedError(Exception):
    """This takes more than the part of one of several processes, though not more than is allowed to one alone."""


def check(inputs: Sized, *steps: int, held: int = 0) -> None:
    """Raise XegradError where the inputs, what is held beside them and the largest step are more than is allowed.

    This is the one sum of a computation's memory: what a step takes is free again before the next one begins.
    """
    needed, there = inputs.nbytes + held + max(steps), inputs.nbytes
    if refusal := _refusal(needed, there, "this takes {} with W and x", "give fewer rows"):
        raise XegradError(refusal)


def check_making(n_bytes: int) -> None:
    """Raise XegradError where to make a problem takes more than is allowed."""
    if refusal := _refusal(n_bytes, 0, "this problem takes {}", "ask for fewer rows, inputs or classes"):
        raise XegradError(refusal)


def check_starting(n_processes: int) -> None:
    """Raise XegradError where to start so many processes takes more than is allowed."""
    what = f"{n_processes} processes take {{}} at least"
    if refusal := _refusal(n_processes * OF_PROCESS, 0, what, "start fewer"):
        raise XegradError(refusal)


def check_reading(n_bytes: int, there: int = 0, whole: int = 0) -> None:
    """Raise InputError where reading a file takes more than is allowed; so much of it is in memory already.

    Text is measured by `Text`, and what has a header by that, before any of its numbers is read.  What was measured
    may be a beginning alone; about `whole` is what all of it takes, which is what the message says.
    """
    words = "to read it takes {}", "give less"
    if n_bytes > FREE and _refusal(n_bytes, there, *words):
        raise InputError(_refusal(max(n_bytes, whole), there, *words))


def limit() -> int | None:
    """The bytes that `max_memory` allows; None where it is not said."""
    return _limit.get()


def allowed() -> int:
    """The bytes that may be taken beside what is taken already; all that there may be where nobody knows."""
    limit = _allowed(0)
    return 2**62 if limit is None else limit


def _refusal(needed: int, there: int, what: str, instead: str) -> str:
    """Why this is more than is allowed, of which so much is taken already; or ""."""
    limit, n_processes = _limit.get(), _processes.get()
    if limit is None and needed - there < LITTLE:
        return ""
    allowed = _allowed(there)
    if allowed is None or needed <= allowed // n_processes:
        return ""
    what = what.format(_size(needed))
    if needed <= allowed:
        raise CrowdedError(f"{what}, and {_size(allowed)} is for all {n_processes} processes")
    which = "is allowed" if limit is not None else "is half of what is available"
    return (
        f"{what}, and {_size(allowed)} {which}: {instead}, or --max-memory {_size(needed).replace(' ', '')}"
    )


def _allowed(there: int) -> int | None:
    """The bytes that all processes may take, of which so much is taken already."""
    if (limit := _limit.get()) is not None or (free := available()) is None:
        return limit
    return (free + there) // 2


# Bytes that reading takes at most for each byte, word, list, object and key of a text, as measured
# (tests/test_memory.py): "json" of a problem, "table" of one in CSV, "claim" of what is printed.
OF_TEXT: Mapping[str, tuple[int, int, int, int, int]] = {
    "json": (3, 60, 110, 320, 350),
    "table": (8, 300, 0, 0, 0),
    "claim": (24, 400, 110, 320, 350),
}
_IN_WORDS = bytes(ord(" " if chr(code) in ' \t\n\v\f\r,;:[]{}()"' else "a") for code in range(256))


class Text:
    """The pieces of a text that is read, as they come; refused as soon as reading them takes more than is allowed.

    `n_bytes` are those of the whole text where they are known: the message says about what it all takes.

    Examples
    --------
    >>> text = Text("json")
    >>> with max_memory("20MB"):
    ...     for piece in 300 * [1000 * b"[0],"]:
    ...         text.add(piece)
    Traceback (most recent call last):
        ...
    xegrad.errors.InputError: to read it takes 21 MB, and 20 MB is allowed: give less, or --max-memory 21MB
    """

    def __init__(self, kind: str, n_bytes: int = 0) -> None:
        self.pieces: list[bytes] = []
        self._n_bytes = n_bytes
        self._of_byte, self._of_word, self._of_list, self._of_object, self._of_key = OF_TEXT[kind]
        self._size = self._n_counted = self._counted = self._at_most = 0

    def add(self, piece: bytes) -> None:
        """One more piece.  Words are only counted where there is not enough for as many as it may have."""
        self.pieces.append(piece)
        self._size += len(piece)
        # ,,,, has a cell in each byte, and [[[[ a list.
        most_of_byte = self._of_byte + max(self._of_word, self._of_list)
        self._at_most += most_of_byte * len(piece) + self._keyed(piece)
        allowed = _allowed(self._size)
        if self._counted + self._at_most <= (allowed if allowed is not None else LITTLE) // _processes.get():
            return
        for counted in self.pieces[self._n_counted :]:
            n_words = counted.translate(_IN_WORDS).count(b" a") + 1
            n_cells = counted.count(b",") + counted.count(b";")  # empty ones, too
            self._counted += self._of_byte * len(counted) + self._of_word * max(n_words, n_cells)
            self._counted += self._of_list * counted.count(b"[") + self._keyed(counted)
        self._n_counted, self._at_most = len(self.pieces), 0
        check_reading(self._counted, self._size, self._counted * self._n_bytes // max(1, self._size))

    def _keyed(self, piece: bytes) -> int:
        """Bytes for its objects and their keys, each of which has a colon behind it."""
        return self._of_object * piece.count(b"{") + self._of_key * piece.count(b":")


def available() -> int | None:
    """The bytes that this process may still get: of the machine, and of its group of processes; None if nobody says."""
    amounts = []
    if match := re.search(r"MemAvailable:\s+(\d+)", _text("/proc/meminfo")):
        amounts.append(1024 * int(match[1]))
    elif hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        amounts.append(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for most, used in GROUPS:
        with suppress(ValueError):  # "max", or nothing
            amounts.append(int(_text(most)) - int(_text(used)))
    return max(0, min(amounts)) if amounts else None


def _text(path: str) -> str:
    try:
        with open(path) as file:  # noqa: PTH123 (pathlib is slow to import)
            return file.read()
    except OSError:
        return ""


def _bytes(text: str) -> int:
    """2GiB, 500 MB, or a number of bytes."""
    match = re.fullmatch(r"\s*+([0-9]++(?:\.[0-9]*+)?)\s*+([kmgt]i?)?b?\s*+", text.lower())
    if match is None:
        raise InputError(f"{shown(text)} is no size of memory; one such as 2GiB or 500MB is expected")
    return int(min(float(match[1]) * UNITS[match[2] or ""], 2.0**63))


def _size(n_bytes: int) -> str:
    """4 kB, 1.5 GB: rounded up, so that what is said would do."""
    unit = next((unit for unit in "tgmk" if n_bytes >= UNITS[unit]), "")
    tenths = -(-10 * n_bytes // UNITS[unit])
    tenths = -(-tenths // 10) * 10 if tenths >= 100 else tenths
    return f"{tenths / 10:.15g} {unit.upper().replace('K', 'k')}B"
