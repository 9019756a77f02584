"""All blocks in this process, by one thread of BLAS."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from xegrad.engines import Result, Run, Shared, fingerprint


class Local:
    """This process."""

    def map(
        self, function: Callable[[Shared, int, int], Result], shared: Shared, runs: Sequence[Run]
    ) -> Iterator[Result]:
        """One after the other."""
        for first, last in runs:
            yield function(shared, first, last)

    @property
    def facts(self) -> Mapping[str, Any]:
        """Nothing is lost here."""
        return {"engine": "local", "fingerprint": fingerprint.fingerprint()}


@contextmanager
def opened(workers: int | None = None, scheduler: str | None = None) -> Iterator[Local]:
    """This process, whose BLAS keeps to one thread from here on."""
    fingerprint.one_thread()
    yield Local()
