"""An interruption ends a command within a fifth of a second, whatever code in C it meets.

Python hears of a signal when it is back from C, which may take minutes.  Code in C that lets other threads run (BLAS,
numpy, zlib) is watched by a thread, which ends the process if nothing moves while the processor is busy with it.  Code
that does not (whatever makes objects of a large text) is run with the signals as the system has them: they end the
process themselves.

A library never ends a process: all of this is for a command, which calls `watch`.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

PATIENCE = 0.1  # seconds of the processor that code in C may go on after a signal
NAP, NAPS = 0.05, 20  # seconds between two looks, and how many: other programs may have the processor
LARGE = 2**22  # bytes of text, of which objects are made in less than that
SHOW_CURSOR = b"\033[?25h"  # which a progress bar has hidden

_watched: list[int] = []  # the signals


def watch(signals: Sequence[int]) -> None:
    """From here on these signals, which have handlers in Python, end the process where Python does not hear them."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    _watched.extend(signals)
    with suppress(RuntimeError):  # where no thread can be had, there is little else, and it is said elsewhere
        _thread.start_new_thread(_wait, (reader, _thread.get_ident()))


@contextmanager
def at_once(size: int) -> Iterator[None]:
    """Within the block, if it is of so large a text, a signal ends the process at once: nothing may be half done."""
    handlers = {number: signal.getsignal(number) for number in _watched if size > LARGE}
    in_python = {number: handler for number, handler in handlers.items() if callable(handler)}
    try:
        for number in in_python:
            signal.signal(number, signal.SIG_DFL)
        yield
    finally:
        for number, handler in in_python.items():
            signal.signal(number, handler)


def wait(descriptor: int, *, to_write: bool = False, seconds: float | None = None) -> bool:
    """Whether an open file can be read, or written to, at once; waits until it can, or for so many seconds."""
    import select

    reading, writing = ([], [descriptor]) if to_write else ([descriptor], [])
    try:
        return any(select.select(reading, writing, [], seconds))
    except ValueError:  # its number is beyond the 1024 that select knows
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT if to_write else select.POLLIN)
        return bool(poll.poll(None if seconds is None else 1000 * seconds))


def _wait(reader: int, main: int) -> None:
    """End the process where a signal has come, and the main thread has not moved since."""
    import time

    while number := os.read(reader, 1):
        place, used = _place(main), time.process_time()
        for nap in range(NAPS):
            time.sleep(NAP)
            if _place(main) != place:
                break
            if time.process_time() - used > PATIENCE or nap == NAPS - 1:
                _end(128 + number[0])


def _end(status: int) -> None:
    with suppress(OSError):
        if os.isatty(2):
            os.write(2, SHOW_CURSOR)
    os._exit(status)


def _place(thread: int) -> tuple[int, int]:
    """Where a thread is: in which call of a function, and at which of its instructions."""
    frame = sys._current_frames()[thread]
    return id(frame), frame.f_lasti
