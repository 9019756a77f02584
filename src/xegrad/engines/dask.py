"""A cluster of Dask: processes of this machine, or those of a scheduler that is there already.

Each run of blocks is a task, and so is what all of them share: the result of a task is made again where its worker is
lost, which what is scattered is not.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from typing import Any
from uuid import uuid4

from xegrad import memory
from xegrad.engines import Result, Run, Shared, fingerprint
from xegrad.errors import XegradError, one_line, shown

WAIT = 10  # seconds for a scheduler, and for its first worker
CLOSING = 3  # seconds
TOPIC = "xegrad"  # of what a scheduler is told: which tasks were begun
KEPT = 0.4  # of the memory of the workers, for rows that are kept: above 0.6 of it Dask writes to disk
QUIET = {
    "logging.distributed": "critical",
    "distributed.admin.large-graph-warning-threshold": "1TB",  # W may be large
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.daemon": True,
}


class Dask:
    """A client of a cluster, and what it has begun."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._name = f"xegrad-{uuid4().hex[:8]}"
        self._n_tasks = 0
        self._fingerprint = _checked(client)

    def map(
        self,
        function: Callable[..., Result],
        shared: Shared,
        runs: Sequence[Run],
        kept: Sequence[Any] | None = None,
    ) -> Iterator[Result]:
        """As they are done; what a worker had that is lost is computed again."""
        from distributed import as_completed

        futures = self._submitted(function, shared, runs, kept)
        try:
            with self._faults(shared, runs, futures):
                for future, answer in as_completed(futures, loop=self._client.loop, with_results=True):
                    if isinstance(answer, BaseException):  # of a task that is dropped
                        raise answer
                    of_worker, result = answer
                    _check_same(of_worker, self._fingerprint)
                    future.release()
                    yield result
        finally:
            with suppress(Exception):
                self._client.cancel(futures, force=True)

    def keep(
        self, function: Callable[[Shared, int, int], Any], shared: Shared, runs: Sequence[Run]
    ) -> Sequence[Any]:
        """In the memory of the workers, which load again what is lost."""
        from distributed import as_completed

        futures = self._submitted(function, shared, runs, None)
        with self._faults(shared, runs, futures):
            for future in as_completed(futures, loop=self._client.loop):
                if future.status == "error":
                    future.result()
        return futures

    def _submitted(
        self, function: Callable[..., Any], shared: Any, runs: Sequence[Run], kept: Sequence[Any] | None
    ) -> list[Any]:
        """A task for each run; what is shared is the result of a task."""
        of_all = self._client.submit(_same, shared, key=self._key("shared"))
        tasks = []
        for k, (first, last) in enumerate(runs):
            key, of_run = self._key(f"{first}-{last}"), [] if kept is None else [kept[k]]
            tasks.append(self._client.submit(_done, key, function, of_all, first, last, *of_run, key=key))
        return tasks

    def _key(self, what: str) -> str:
        self._n_tasks += 1
        return f"{self._name}-{self._n_tasks}-{what}"

    @contextmanager
    def _faults(self, shared: Any, runs: Sequence[Run], futures: Sequence[Any]) -> Iterator[None]:
        """What Dask raises within the block, in a sentence."""
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError
        from distributed.comm.core import CommClosedError

        try:
            yield
        except KilledWorker as error:
            of_keys = {future.key: run for future, run in zip(futures, runs, strict=True)}
            run = of_keys.get(error.task)
            what = "what all tasks share" if run is None else shared.described(*run)
            raise XegradError(
                f"{what}: each of the workers that computed this was lost; was there enough memory?"
            ) from None
        except MemoryError:
            raise XegradError(
                "a worker has not enough memory for its blocks; give it more, or more workers"
            ) from None
        except (FutureCancelledError, CommClosedError):
            raise XegradError("the scheduler of Dask has gone, or has dropped the tasks") from None

    @property
    def memory(self) -> int:
        """A part of what the workers may take."""
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        return int(KEPT * sum(worker["memory_limit"] for worker in workers))

    @property
    def facts(self) -> Mapping[str, Any]:
        """The workers that there are at the end, and how many tasks were begun more than once."""
        begun = [key for _, key in self._client.get_events(TOPIC) if key.startswith(self._name)]
        workers = self._client.scheduler_info(n_workers=-1)["workers"]
        return {
            "engine": "dask",
            "workers": len(workers),
            "retries": len(begun) - len({*begun}),
            "fingerprint": self._fingerprint,
        }


@contextmanager
def opened(workers: int | None = None, scheduler: str | None = None) -> Iterator[Dask]:
    """So many processes of this machine, one for each processor by default, or the cluster of a scheduler."""
    try:
        import dask
    except ImportError:
        raise XegradError("the engine dask needs distributed: pip install 'xegrad[dask]'") from None
    with ExitStack() as stack:
        stack.enter_context(dask.config.set(QUIET))
        try:
            from distributed import Client
        except ImportError:
            raise XegradError("the engine dask needs distributed: pip install 'xegrad[dask]'") from None
        logging.getLogger("distributed").setLevel(logging.CRITICAL + 1)
        cluster = _cluster(stack, workers) if scheduler is None else None
        try:
            client = Client(cluster or scheduler, timeout=WAIT, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            reason = "" if isinstance(error, OSError) else f": {one_line(str(error))}"
            raise XegradError(
                f"no scheduler of Dask answers at {scheduler}; {WAIT} s were waited{reason}"
            ) from None
        stack.callback(_closed, client)
        try:
            client.wait_for_workers(1, timeout=WAIT)
        except TimeoutError:
            raise XegradError(f"the scheduler at {scheduler} has no worker; {WAIT} s were waited") from None
        yield Dask(client)


def _cluster(stack: ExitStack, workers: int | None) -> Any:
    """Processes of this machine with one thread each, which leave nothing behind."""
    from distributed import LocalCluster

    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="xegrad-", ignore_cleanup_errors=True))
    n_processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cluster = LocalCluster(
        n_workers=workers or n_processors,
        threads_per_worker=1,
        dashboard_address=None,
        silence_logs=logging.CRITICAL + 1,
        local_directory=folder,
    )
    stack.callback(_closed, cluster)
    return cluster


def _closed(what: Any) -> None:
    """Close a client or a cluster, whatever has happened to it."""
    with suppress(Exception):
        what.close(timeout=CLOSING)


def _same(shared: Any) -> Any:
    return shared


@cache
def _prepare() -> None:
    """Of a worker, once: one thread of BLAS, and pages are kept for the next block."""
    fingerprint.one_thread()
    memory.keep_pages()


def _done(key: str, function: Callable[..., Any], shared: Any, first: int, last: int, *kept: Any) -> Any:
    """What a worker does, with what its bits depend on."""
    from distributed import get_worker

    _prepare()
    get_worker().log_event(TOPIC, key)
    return fingerprint.fingerprint(), function(shared, first, last, *(result for _, result in kept))


def _who() -> Mapping[str, Any]:
    return fingerprint.fingerprint()


def _checked(client: Any) -> Mapping[str, Any]:
    """The fingerprint of all workers.

    Raises
    ------
    XegradError
        Workers that differ, or that have not this version of xegrad.
    """
    found = client.run(_who, on_error="return")
    ours = fingerprint.fingerprint()["xegrad"]
    first = None
    for address, of_worker in found.items():
        if isinstance(of_worker, BaseException):
            raise XegradError(
                f"the worker {address} cannot use xegrad {ours}: {type(of_worker).__name__}: {of_worker}"
            )
        if of_worker["xegrad"] != ours:
            raise XegradError(f"the worker {address} has xegrad {of_worker['xegrad']}, and this is {ours}")
        first = first or of_worker
        _check_same(of_worker, first, f"the worker {address}")
    assert first is not None  # there is one
    return first


def _check_same(of_worker: Mapping[str, Any], of_others: Mapping[str, Any], worker: str = "a worker") -> None:
    """Raise XegradError where the bits of a worker may be others."""
    for name, value in of_others.items():
        if of_worker.get(name) != value:
            raise XegradError(
                f"{worker} has {name} {shown(of_worker.get(name))}, and others have {shown(value)}: their bits may "
                "differ"
            )
