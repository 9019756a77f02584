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
