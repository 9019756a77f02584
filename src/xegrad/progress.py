"""How far a long computation is, told to whoever watches and to nobody by default."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

Item = TypeVar("Item")
Watcher = Callable[[str, int, int], None]  # what is being done, steps done, steps in all

_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextmanager
def watched_by(watcher: Watcher) -> Iterator[None]:
    """Within the block, `watcher` hears of every step of everything that is tracked."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


def track(items: Sequence[Item], doing: str) -> Iterator[Item]:
    """The items, one by one; the watcher hears after each that it is done."""
    watcher = _watcher.get()
    for done, item in enumerate(items, start=1):
        yield item
        if watcher is not None:
            watcher(doing, done, len(items))
