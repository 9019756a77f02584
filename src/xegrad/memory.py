"""How much memory a computation may take: one that needs more is refused before it begins.

Those that compute say what they need, and whoever calls them may set a limit; by default it is half of what there is.
"""

from __future__ import annotations

import os
import re
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

# Of mallopt, in malloc.h of glibc.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4


def keep_pages() -> None:
    """The process keeps what it frees for what it needs next, where its C library is glibc.

    Else each large array is given back to the kernel, which clears every page of the next: a quarter of a check.
    """
    import ctypes

    with suppress(AttributeError, TypeError, OSError):  # another library, or none that is found so
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(M_TOP_PAD, 2**26)


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
    import mmap

    try:
        mmap.mmap(-1, TO_BEGIN, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except OSError:
        needed = _size(TO_BEGIN + 2**25)
        raise XegradError(
            f"this process may have {_size(limit)} of addresses, and about {needed} are needed; raise ulimit -v"
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
    """Within the block, so many processes compute at a time, and each may take its part of what is allowed."""
    return having(_processes, n_processes)


def check(inputs: Sized, *steps: int, held: int = 0) -> None:
    """Raise XegradError where the inputs, what is held beside them and the largest step are more than is allowed.

    This is the one sum of a computation's memory: what a step takes is free again before the next one begins.
    """
    limit, beside, n_processes = _limit.get(), held + max(steps), _processes.get()
    if limit is None and beside < LITTLE:
        return
    needed, allowed = inputs.nbytes + beside, limit
    if allowed is None:
        if (free := available()) is None:
            return
        allowed = (free + inputs.nbytes) // 2
    if needed > allowed // n_processes:
        which = "is allowed" if limit is not None else "is half of what is available"
        each = f" to all {n_processes} processes" if n_processes > 1 else ""
        needs = f"this takes {_size(needed)} with W and x, and {_size(allowed)} {which}{each}"
        would_do = _size(needed * n_processes).replace(" ", "")
        raise XegradError(f"{needs}: give fewer rows, or --max-memory {would_do}")


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
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([kmgt]i?)?b?\s*", text.lower())
    if match is None:
        raise InputError(f"{shown(text)} is no size of memory; one such as 2GiB or 500MB is expected")
    return int(min(float(match[1]) * UNITS[match[2] or ""], 2.0**63))


def _size(n_bytes: int) -> str:
    """4 kB, 1.5 GB: rounded up, so that what is said would do."""
    unit = next((unit for unit in "tgmk" if n_bytes >= UNITS[unit]), "")
    tenths = -(-10 * n_bytes // UNITS[unit])
    tenths = -(-tenths // 10) * 10 if tenths >= 100 else tenths
    return f"{tenths / 10:g} {unit.upper().replace('K', 'k')}B"
