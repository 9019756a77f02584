"""Where the blocks of a data set are evaluated: one file an engine, and the table of them.

Each engine's module has `opened(workers, scheduler)`, a context whose value is a `Running`.  An engine only calls a
function of a run of blocks, again where a worker is lost; what comes out does not depend on it.

See docs/data-sets.md.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any, Protocol, TypeVar

import msgspec

Result = TypeVar("Result")
Shared = TypeVar("Shared")
Run = tuple[int, int]  # blocks first to last - 1


def n_processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Running(Protocol):
    """An engine that has been opened."""

    def map(
        self,
        function: Callable[..., Result],
        shared: Shared,
        runs: Sequence[Run],
        kept: Sequence[Any] | None = None,
    ) -> Iterator[Result]:
        """The function of what is shared, of each run, and of what is kept of it, in whatever order they come."""
        ...

    def keep(
        self, function: Callable[[Shared, int, int], Any], shared: Shared, runs: Sequence[Run]
    ) -> Sequence[Any]:
        """The function of each run, whose results stay in memory where they are made, for several calls of `map`."""
        ...

    @property
    def memory(self) -> int:
        """The bytes that may be kept."""
        ...

    @property
    def facts(self) -> Mapping[str, Any]:
        """What is said of it beside a result: workers, retries, and the fingerprint of what computed."""
        ...


class Engine(msgspec.Struct, frozen=True):
    """One entry of the table: what the user types, the module, and a summary in a few words."""

    name: str
    module: str
    summary: str

    def opened(
        self, workers: int | None = None, scheduler: str | None = None
    ) -> AbstractContextManager[Running]:
        """The engine, ready; closed at the end of the block."""
        opened: AbstractContextManager[Running] = import_module(self.module).opened(workers, scheduler)
        return opened


ENGINES: Mapping[str, Engine] = {
    engine.name: engine
    for engine in (
        Engine("local", "xegrad.engines.local", "this process"),
        Engine("dask", "xegrad.engines.dask", "a cluster of Dask: local workers, or a scheduler's"),
    )
}
