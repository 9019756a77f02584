"""What ends a run from outside, and a block that it does not cut in two."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Interruptions within the block come at its end: an exception in the middle of a fork would be lost."""
    waiting: list[int] = []
    handlers = {
        number: signal.signal(number, lambda number, _: waiting.append(number)) for number in INTERRUPTIONS
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in waiting:
            signal.raise_signal(number)
