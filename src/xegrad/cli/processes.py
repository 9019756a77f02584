"""A function applied by several processes, its results in the order of the items.

Its text, most of a result, comes by memory that both processes see: through a pipe it would be copied five times, which
took a third as long as to compute it.

Not a pool of concurrent.futures: its processes live on when the parent is killed, and a parent that is interrupted, or
whose reader has gone, waits for all work in hand (6 s of work: it ended after 5.8 s).  These end with the parent.
"""

from __future__ import annotations

import contextlib
import mmap
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, TypeVar

from xegrad.cli import interruptions

Item = TypeVar("Item")
# A text, which holds until the next answer is asked for, and the rest.
Answer = tuple[bytes | memoryview, Any]

SHARED = 2**24  # bytes of a text at most that comes by shared memory; only those that are written take memory


class Process(NamedTuple):
    """Our ends of what connects us to a process; `shared` is memory that it shares, where it can share any."""

    connection: Connection
    shared: mmap.mmap | None

    def receive(self) -> Answer:
        """The next answer."""
        text, rest = self.connection.recv()
        if isinstance(text, int):
            assert self.shared is not None
            text = memoryview(self.shared)[:text]
        return text, rest


def answers(
    function: Callable[[Item], Answer],
    items: Iterable[Item],
    n_processes: int,
    more_is_ready: Callable[[], bool],
    ended: Callable[[Item, Item], Exception],
) -> Iterator[Answer]:
    """The function of each item.  Where no more items are ready, those there are are answered before more are awaited.

    Where a process has ended by itself that had an item, or was to get one, raises what `ended` makes of the first and
    the last item without an answer.
    """
    # The items without an answer and who has them, the oldest first.
    busy: deque[tuple[Item, Process]] = deque()
    with _started(function, n_processes) as free:

        def receive() -> Answer:
            answer = busy[0][1].receive()
            free.append(busy.popleft()[1])
            return answer

        try:
            for item in items:
                if not free:
                    yield receive()
                busy.append((item, free.popleft()))
                busy[-1][1].connection.send(item)
                while busy and not more_is_ready():
                    yield receive()
            while busy:
                yield receive()
        except (EOFError, OSError):
            raise ended(busy[0][0], busy[-1][0]) from None


@contextlib.contextmanager
def _started(function: Callable[[Any], Any], n_processes: int) -> Iterator[deque[Process]]:
    """So many processes, which end with the block."""
    free: deque[Process] = deque()
    can_share = multiprocessing.get_start_method() == "fork"  # else nothing is inherited
    with contextlib.ExitStack() as stack:
        with interruptions.held():
            for _ in range(n_processes):
                ours, theirs = multiprocessing.Pipe()
                shared = mmap.mmap(-1, SHARED) if can_share else None
                free.append(Process(stack.enter_context(ours), shared))
                parents_ends = [process.connection for process in free]
                process = multiprocessing.Process(
                    target=_serve, args=(Process(theirs, shared), function, parents_ends), daemon=True
                )
                process.start()
                stack.callback(process.join)
                stack.callback(process.kill)  # one that has just begun, or is stopped, would not hear an end
                theirs.close()
        yield free


def _serve(parent: Process, function: Callable[[Any], Any], parents_ends: Sequence[Connection]) -> None:
    """Answer until the parent ends this process, or is gone.

    Only the parent may hold its ends of the pipes: else nobody would hear that it is gone.  An interruption is for the
    parent.
    """
    for number in interruptions.INTERRUPTIONS:
        signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)
    for end in parents_ends:
        end.close()
    with contextlib.suppress(EOFError, OSError):
        while True:
            text, rest = function(parent.connection.recv())
            if parent.shared is not None and len(text) <= SHARED:
                parent.shared[: len(text)] = text
                text = len(text)
            parent.connection.send((text, rest))
