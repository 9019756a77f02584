"""A function applied by several processes, its results in the order of the items.

Not a pool of concurrent.futures: its processes live on when the parent is killed, and a parent that is interrupted, or
whose reader has gone, waits for all work in hand (6 s of work: it ended after 5.8 s).  These end with the parent.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class EndedProcessError(Exception):
    """A process has ended that had an item, or was to get one: its answer will not come."""


class Processes(Generic[Item, Answer]):
    """Each of them has one item at a time; they end with the `with` block."""

    def __init__(self, function: Callable[[Item], Answer], n_processes: int) -> None:
        self.pending: deque[Item] = deque()  # the items without an answer, the oldest first
        self._asked: deque[Connection] = deque()  # who has them
        self._free: deque[Connection] = deque()
        self._processes = []
        for _ in range(n_processes):
            ours, theirs = multiprocessing.Pipe()
            arguments = (theirs, function, [*self._free, ours])
            process = multiprocessing.Process(target=_serve, args=arguments, daemon=True)
            self._processes.append(process)
            self._free.append(ours)
            process.start()
            theirs.close()

    def __enter__(self) -> Processes[Item, Answer]:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            if process.pid is not None:
                process.kill()  # one that is stopped would not hear an end
                process.join()
        for connection in (*self._free, *self._asked):
            connection.close()

    @property
    def all_busy(self) -> bool:
        """Whether an answer must be received before the next item can be sent."""
        return not self._free

    def send(self, item: Item) -> None:
        """Give an item to a process that has none."""
        self.pending.append(item)
        self._asked.append(self._free.popleft())
        try:
            self._asked[-1].send(item)
        except OSError:
            raise EndedProcessError from None

    def receive(self) -> Answer:
        """The answer to the oldest item."""
        try:
            answer: Answer = self._asked[0].recv()
        except (EOFError, OSError):
            raise EndedProcessError from None
        self.pending.popleft()
        self._free.append(self._asked.popleft())
        return answer


def _serve(
    connection: Connection, function: Callable[[Item], Answer], parents_ends: Sequence[Connection]
) -> None:
    """Answer until the parent ends this process, or is gone.

    Only the parent may hold its ends of the pipes: else nobody would hear that it is gone.  An interruption is for the
    parent.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for end in parents_ends:
        end.close()
    with contextlib.suppress(EOFError, OSError):
        while True:
            connection.send(function(connection.recv()))
