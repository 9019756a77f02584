"""What ends a run from outside, and a block that it does not cut in two."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))

Wait = Callable[[Callable[[], object]], object]


@contextlib.contextmanager
def held() -> Iterator[Wait]:
    """Interruptions within the block come at its end: an exception in the middle of a fork would be lost.

    What the block waits for it gives to `wait`, which they do interrupt.  They come in the main thread alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda until: until()
        return
    handlers = {number: signal.getsignal(number) for number in INTERRUPTIONS}
    is_open = False
    came: list[int] = []

    def hear(number: int, frame: FrameType | None) -> None:
        came.append(number)
        if is_open:
            let_in()

    def let_in() -> None:
        while came:
            number = came.pop()
            if callable(handler := handlers[number]):
                handler(number, None)

    def wait(until: Callable[[], object]) -> None:
        nonlocal is_open
        is_open = True
        try:
            let_in()
            until()
        finally:
            is_open = False

    for number, handler in handlers.items():
        if callable(handler):  # not one that is ignored, or ends the process at once
            signal.signal(number, hear)
    try:
        yield wait
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        let_in()
