"""All blocks in this process, by one thread of BLAS."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from xegrad import memory
from xegrad.engines import Result, Run, Shared, fingerprint


class Local:
    """This process."""

    def map(
        self,
        function: Callable[..., Result],
        shared: Shared,
        runs: Sequence[Run],
        kept: Sequence[Any] | None = None,
    ) -> Iterator[Result]:
        """One after the other."""
        for k, (first, last) in enumerate(runs):
            yield function(shared, first, last, *([] if kept is None else [kept[k]]))

    def keep(
        self, function: Callable[[Shared, int, int], Any], shared: Shared, runs: Sequence[Run]
    ) -> Sequence[Any]:
        """In the memory of this process."""
        return [function(shared, first, last) for first, last in runs]

    @property
    def memory(self) -> int:
        """Half of what a computation may take."""
        return memory.allowed() // 2

    @property
    def facts(self) -> Mapping[str, Any]:
        """Nothing is lost here."""
        return {"engine": "local", "fingerprint": fingerprint.fingerprint()}


@contextmanager
def opened(workers: int | None = None, scheduler: str | None = None) -> Iterator[Local]:
    """This process, whose BLAS keeps to one thread from here on."""
    fingerprint.one_thread()
    yield Local()
