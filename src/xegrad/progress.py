"""How long a computation will take, and how far it is, told to whoever listens or watches and to nobody by default."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")
Watcher = Callable[[str, int, int], None]  # what is being done, steps done, steps in all
Listener = Callable[[str], None]  # to a sentence

LONG = 10.0  # seconds, by estimate: what takes longer is said before it begins, or is not begun unasked

_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)
_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


def duration(seconds: float) -> str:
    """How long an estimate is: less than 1 s, about 27 s, about 3 min, about 6 h, about 40 days."""
    for size, unit in (86400, "days"), (3600, "h"), (60, "min"), (1, "s"):
        if seconds >= (2 if size > 1 else 1) * size:
            return f"about {seconds / size:,.0f} {unit}"
    return "less than 1 s"


@contextmanager
def having(variable: ContextVar[Value], value: Value) -> Iterator[None]:
    """Within the block, the variable has this value."""
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def heard_by(listener: Listener) -> AbstractContextManager[None]:
    """Within the block, `listener` hears what takes long before it begins."""
    return having(_listener, listener)


def foretell(what: str, seconds: float, instead: str = "") -> None:
    """Where that is long, the listener hears that this takes so long by estimate, and what could be done instead."""
    listener = _listener.get()
    if listener is not None and seconds > LONG:
        listener(f"{what} {duration(seconds)} by estimate{instead and f'; {instead}'}")


def watched_by(watcher: Watcher) -> AbstractContextManager[None]:
    """Within the block, `watcher` hears of every step of everything that is tracked."""
    return having(_watcher, watcher)


def tell(doing: str, done: int, steps: int) -> None:
    """The watcher, if there is one, hears that so many steps are done."""
    watcher = _watcher.get()
    if watcher is not None and steps:
        watcher(doing, done, steps)


def track(items: Sequence[Item], doing: str) -> Iterator[Item]:
    """The items, one by one; the watcher hears after each that it is done."""
    for done, item in enumerate(items, start=1):
        yield item
        tell(doing, done, len(items))
