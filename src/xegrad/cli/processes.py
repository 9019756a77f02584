"""A function applied by several processes, its results in the order of the items.

Its text, most of a result, comes by memory that both processes see: through a pipe it would be copied five times, which
took a third as long as to compute it.

Not a pool of concurrent.futures: its processes live on when the parent is killed, and a parent that is interrupted, or
whose reader has gone, waits for all work in hand (6 s of work: it ended after 5.8 s).  These end with the parent.
Nor does a pool outlive one of its processes: what this one had is given to another.
"""

from __future__ import annotations

import contextlib
import mmap
import multiprocessing
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Generic, NamedTuple, TypeVar

from xegrad import bugs, memory
from xegrad.cli import interruptions
from xegrad.errors import XegradError

Item = TypeVar("Item")
# A text, which holds until the next answer is asked for, and the rest.
Answer = tuple[bytes | memoryview, Any]

SHARED = 2**24  # bytes of a text at most that comes by shared memory; only those that are written take memory
ATTEMPTS = 2  # processes that an item may end before it is given out in parts
MOST_ENDED = 200  # processes one after the other that end without an answer: then none will give one

GONE = (EOFError, OSError)  # what reading from a process raises, and writing to it, when it has ended
PR_SET_PDEATHSIG = 1  # of Linux's prctl


class Process(NamedTuple):
    """Our ends of what connects us to a process; `shared` is memory that it shares, where it can share any."""

    connection: Connection
    shared: mmap.mmap | None
    process: BaseProcess | None = None  # None at its own end

    def receive(self) -> Answer:
        """The next answer; raises `CrowdedError` where there is none, for want of memory beside other processes."""
        text, rest = self.connection.recv()
        if text is None:
            raise memory.CrowdedError("")
        if isinstance(text, int):
            assert self.shared is not None
            text = memoryview(self.shared)[:text]
        return text, rest

    @property
    def ending(self) -> str:
        """How a process ended that is gone: process 123 was killed (SIGKILL)."""
        assert self.process is not None
        self.process.join()
        code = self.process.exitcode or 0
        how = f"was killed ({signal.Signals(-code).name})" if code < 0 else f"ended with status {code}"
        return f"process {self.process.pid} {how}"


class Losses(NamedTuple, Generic[Item]):
    """What is done where a process ends by itself that had an item."""

    tell: Callable[[str, Item], None]  # how the process ended, and what it had
    parts: Callable[[Item], Sequence[Item]]  # of an item that ends processes; none of one that has no parts
    give_up: Callable[[Item], Answer]  # the answer of that


def answers(
    function: Callable[[Item], Answer],
    batches: Iterable[Sequence[Item]],
    n_processes: int,
    more_is_ready: Callable[[], bool],
    losses: Losses[Item],
) -> Iterator[Answer]:
    """The function of each item of the batches, in order.

    Where no batch is ready, the items there are are answered before more are awaited.  Where a process ends by itself,
    its item is given to another one, and an item that ends several is given out in parts.
    """
    with contextlib.ExitStack() as stack:
        crew = _Crew(function, n_processes, losses, stack)
        with contextlib.suppress(OSError):  # fewer do, too
            for _ in range(n_processes):
                crew.free.append(crew.start())
        if not crew.free:
            yield from (function(item) for batch in batches for item in batch)
            return
        for batch in batches:
            for item in batch:
                if not crew.free:
                    yield from crew.answer(*crew.busy.popleft())
                crew.busy.append((item, crew.give(item)))
            while crew.busy and not more_is_ready():
                yield from crew.answer(*crew.busy.popleft())
        while crew.busy:
            yield from crew.answer(*crew.busy.popleft())


class _Crew(Generic[Item]):
    """Processes that apply a function, and others in the place of those that end; they end with the stack."""

    def __init__(
        self,
        function: Callable[[Item], Answer],
        n_processes: int,
        losses: Losses[Item],
        stack: contextlib.ExitStack,
    ) -> None:
        self.function, self.n_processes, self.losses, self.stack = function, n_processes, losses, stack
        self.free: deque[Process] = deque()
        self.busy: deque[tuple[Item, Process]] = deque()  # the items without an answer, the oldest first
        self.connections: list[Connection] = []  # our ends
        self.n_ended = 0  # without an answer in between

    def start(self) -> Process:
        """A new process."""
        ours, theirs = multiprocessing.Pipe()
        self.connections.append(self.stack.enter_context(ours))
        shared = _shared()
        arguments = (Process(theirs, shared), self.function, self.n_processes, self.connections)
        process = multiprocessing.Process(target=_serve, args=arguments, daemon=True)
        with interruptions.held():  # an exception in the middle of a fork would be lost
            process.start()
            self.stack.callback(process.join)
            self.stack.callback(process.kill)  # one that has just begun, or is stopped, would not hear an end
        theirs.close()
        return Process(ours, shared, process)

    def give(self, item: Item) -> Process:
        """The process that has got the item."""
        while True:
            process = self.free.popleft() if self.free else self.start()
            try:
                process.connection.send(item)
            except GONE:
                self._lose(process, item)
            else:
                return process

    def answer(self, item: Item, process: Process, attempt: int = 1) -> Iterator[Answer]:
        """The answer of the process that has the item, or of those that get it, or its parts, in its place."""
        try:
            answer = process.receive()
        except GONE:
            self._lose(process, item)
        except memory.CrowdedError:
            for _, other in self.busy:
                other.connection.poll(None)  # until it has computed
            self.free.append(process)
            yield self.function(item)
            return
        else:
            self.n_ended = 0
            self.free.append(process)
            yield answer
            return
        if attempt < ATTEMPTS:
            yield from self.answer(item, self.give(item), attempt + 1)
        elif parts := self.losses.parts(item):
            for part in parts:
                yield from self.answer(part, self.give(part))
        else:
            yield self.losses.give_up(item)

    def _lose(self, process: Process, item: Item) -> None:
        """A process has ended that had the item, or was to get it."""
        self.n_ended += 1
        if self.n_ended > MOST_ENDED:
            raise XegradError(f"{process.ending}, as {MOST_ENDED} before it: is there enough memory?")
        self.losses.tell(process.ending, item)


def _shared() -> mmap.mmap | None:
    """Memory that a process shares with those that it starts, if they inherit any and there is some."""
    if multiprocessing.get_start_method() == "fork":
        with contextlib.suppress(OSError):
            return mmap.mmap(-1, SHARED)
    return None


def _serve(
    parent: Process, function: Callable[[Any], Any], n_processes: int, parents_ends: Sequence[Connection]
) -> None:
    """Answer until the parent ends this process, or is gone.

    Only the parent may hold its ends of the pipes: else nobody would hear that it is gone.  An interruption is for the
    parent.
    """
    for number in interruptions.INTERRUPTIONS:
        signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)
    _end_with_parent()
    for end in parents_ends:
        end.close()
    try:
        with memory.shared_among(n_processes):
            while True:
                item = parent.connection.recv()
                try:
                    text, rest = function(item)
                except memory.CrowdedError:
                    text, rest = None, None
                if text is not None and parent.shared is not None and len(text) <= SHARED:
                    parent.shared[: len(text)] = text
                    text = len(text)
                parent.connection.send((text, rest))
    except GONE:
        return
    except Exception as error:  # such as no memory for an answer: the parent sees that this process ends
        bugs.sentence(error)
        sys.exit(1)


def _end_with_parent() -> None:
    """Where the system can do it, this process is killed when the parent ends, in the middle of its work too."""
    import ctypes

    with contextlib.suppress(AttributeError, TypeError, OSError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
