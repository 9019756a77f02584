"""A cluster of Dask: processes of this machine, or those of a scheduler that is there already.

Each run of blocks is a task, and so is what all of them share: the result of a task is made again where its worker is
lost, which what is scattered is not.  All travels as bytes, which any process can pass on: a scheduler needs no xegrad,
and a worker that has none can say so.
"""

from __future__ import annotations

import logging
import pickle
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache, partial
from typing import Any
from uuid import uuid4

from xegrad.engines import Result, Run, Shared, fingerprint
from xegrad.engines.workers import TICK, close, local_cluster, wait_for
from xegrad.errors import InputError, XegradError, shown

WAIT = 10  # seconds for a scheduler, and for its first worker
STARTING = 120  # seconds for another worker where all are lost
LOOK = 5  # seconds, after which it is asked whether there are workers
KEPT = 0.4  # of the memory of the workers, for rows that are kept: above 0.6 of it Dask writes to disk
TAKEN = 8  # results that come here at a time
OF_MEMORY = "worker-restart-memory"  # events, which nannies write
QUIET = ("distributed", "tornado", "asyncio")  # their loggers: what is wrong is raised
CONFIG = {
    "distributed.admin.large-graph-warning-threshold": "1TB",  # W may be large
    "distributed.worker.memory.target": False,  # no worker writes to disk,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,  # or waits for memory that rows keep
    "distributed.deploy.lost-worker-timeout": "1 day",  # else one that takes 15 s to start again is given up
}


class Dask:
    """A client of a cluster, and what it has begun."""

    def __init__(self, client: Any, *, is_foreign: bool) -> None:
        self._client, self._is_foreign = client, is_foreign
        self._address = client.scheduler.address
        self._name = f"xegrad-{uuid4().hex[:8]}"
        self._n_calls = 0
        self._fingerprint, self._memory = _checked(client)

    def map(
        self,
        function: Callable[..., Result],
        shared: Shared,
        runs: Sequence[Run],
        kept: Sequence[Any] | None = None,
    ) -> Iterator[Result]:
        """As they are done; what a worker had that is lost is computed again."""
        futures = self._submitted(function, shared, runs, kept)
        with self._faults(futures, function, shared, runs):
            for some in self._completed(futures):
                yield from self._client.gather(some)
                for future in some:
                    future.release()

    def keep(
        self, function: Callable[[Shared, int, int], Any], shared: Shared, runs: Sequence[Run]
    ) -> Sequence[Any]:
        """In the memory of the workers, which load again what is lost."""
        futures = self._submitted(partial(_keep, function), shared, runs)
        with self._faults(futures, function, shared, runs):
            for some in self._completed(futures):
                for future in some:
                    if future.status != "finished":
                        future.result()
        return futures

    def _submitted(
        self,
        function: Callable[..., Any],
        shared: Any,
        runs: Sequence[Run],
        kept: Sequence[Any] | None = None,
    ) -> list[Any]:
        """A task for each run, of what they share as the result of a task."""
        import cloudpickle

        self._n_calls += 1
        name = f"{self._name}-{self._n_calls}"
        pickled = cloudpickle.dumps((function, shared, self._fingerprint))
        of_all = self._client.submit(bytes, pickled, key=f"{name}-shared")
        of_runs = [[of_all] * len(runs), *zip(*runs, strict=True), *([] if kept is None else [kept])]
        # Of keys that are one group, sent at once, Dask makes a queue; else all would go where what is shared is.
        task = _task(self._fingerprint["xegrad"])
        return self._client.map(task, *of_runs, key=[(name, k) for k in range(len(runs))])

    def _completed(self, futures: Sequence[Any]) -> Iterator[Sequence[Any]]:
        """A few at a time, in the order in which they are done."""
        from distributed import as_completed
        from distributed.scheduler import NoWorkerError

        done = as_completed(futures, loop=self._client.loop)
        looked = has_workers = time.monotonic()
        while not done.is_empty():
            if batch := done.next_batch(block=False):
                for start in range(0, len(batch), TAKEN):
                    yield batch[start : start + TAKEN]
                continue
            time.sleep(TICK)
            if (now := time.monotonic()) - looked > LOOK:
                looked = now
                if self._has_workers():
                    has_workers = now
                elif now - has_workers > STARTING:
                    raise NoWorkerError("", STARTING)

    def _has_workers(self) -> bool:
        try:
            return bool(self._client.nthreads())
        except OSError:  # of a scheduler that does not answer
            raise CancelledError from None

    @contextmanager
    def _faults(
        self, futures: Sequence[Any], function: Callable[..., Any], shared: Any, runs: Sequence[Run]
    ) -> Iterator[None]:
        """Whatever ends the block cancels the tasks; what Dask raises is said in a sentence."""
        try:
            yield
        except BaseException as error:
            if self._client.status == "running":
                with suppress(Exception):
                    self._client.cancel(futures)
            if isinstance(error, _RefusedError):
                raise self._refusal(error, function, shared) from None
            of_keys = {str(future.key): run for future, run in zip(futures, runs, strict=True)}
            if sentence := self._sentence(error, of_keys, shared):
                raise XegradError(sentence) from None
            raise

    def _sentence(self, error: BaseException, of_keys: Mapping[str, Run], shared: Any) -> str | None:
        """What has happened, if it is one of those things that happen."""
        from distributed import KilledWorker
        from distributed.comm.core import CommClosedError
        from distributed.scheduler import NoWorkerError

        if isinstance(error, KilledWorker):
            run = of_keys.get(str(error.task))
            what = "what all tasks share" if run is None else shared.described(*run)
            n_workers = error.allowed_failures + 1
            ended = f"{what}: {n_workers} workers ended, one after the other, at this task"
            if self._had_no_memory(error.last_worker.address):
                return f"{ended}, since it takes more memory than they may; give them more, or take fewer workers"
            return f"{ended}; was there enough memory?"
        if isinstance(error, MemoryError):
            return "a worker has not enough memory for its blocks; give it more, or take fewer workers"
        if isinstance(error, ImportError) and error.name == "xegrad":
            return str(error)
        if isinstance(error, NoWorkerError):
            return _no_worker(error.timeout)
        if isinstance(error, CancelledError | CommClosedError):
            return f"the scheduler at {self._address} has gone, or has dropped the tasks; start it again, and then this"
        return None

    def _had_no_memory(self, worker: str) -> bool:
        """Whether a worker was ended because of its memory: its nanny notes that."""
        with suppress(OSError):
            return any(event["worker"] == worker for _, event in self._client.get_events(OF_MEMORY))
        return False

    def _refusal(self, refused: _RefusedError, function: Callable[..., Any], shared: Any) -> Exception:
        """What a task says of its rows; of files that this process can read and a worker cannot, that, too."""
        error, worker, first, last = refused.args
        if self._is_foreign:
            with suppress(Exception):
                function(shared, first, last)
                here = "this process can read it: give paths that lead all workers to the same files"
                return InputError(f"the worker {worker}: {error}; {here}", getattr(error, "part", None))
        return error

    @property
    def memory(self) -> int:
        """A part of what the workers may take."""
        return self._memory

    @property
    def facts(self) -> Mapping[str, Any]:
        """The workers that there are at the end, and how many tasks were given to another since theirs was lost."""
        events = [event for _, event in self._client.get_events("all") if event["action"] == "remove-worker"]
        lost = ("processing-tasks", "lost-computed-tasks")
        keys = [key for event in events for name in lost for key in event.get(name, ())]
        return {
            "engine": "dask",
            "workers": len(self._client.nthreads()),
            "retries": sum(self._name in str(key) for key in keys),
            "fingerprint": self._fingerprint,
        }


@contextmanager
def opened(workers: int | None = None, scheduler: str | None = None) -> Iterator[Dask]:
    """So many processes of this machine, one for each processor by default, or the cluster of a scheduler."""
    try:
        import dask
        from distributed import Client
    except ImportError:
        raise XegradError("the engine dask needs distributed: pip install 'xegrad[dask]'") from None
    with ExitStack() as stack:
        stack.enter_context(dask.config.set(CONFIG))
        stack.enter_context(_quiet())
        if scheduler is not None:
            _check_address(scheduler)
        cluster = stack.enter_context(local_cluster(workers)) if scheduler is None else None
        try:
            client = Client(cluster or scheduler, timeout=WAIT, set_as_default=False)
        except OSError:
            raise XegradError(f"no scheduler of Dask answers at {scheduler}; {WAIT} s were waited") from None
        except (ValueError, TypeError):
            raise XegradError(_no_address(scheduler)) from None
        stack.callback(close, client)
        if cluster is not None:
            wait_for(cluster)
        else:
            try:
                client.wait_for_workers(1, timeout=WAIT)
            except TimeoutError:
                raise XegradError(
                    f"the scheduler at {scheduler} has no worker; {WAIT} s were waited: start one"
                ) from None
        yield Dask(client, is_foreign=scheduler is not None)


def _check_address(scheduler: str) -> None:
    """Raise XegradError where no client can be made: one that fails while it is made is closed by nobody."""
    from dask import config
    from distributed.comm.addressing import parse_address
    from distributed.comm.registry import get_backend

    try:
        scheme, _ = parse_address(scheduler)
        get_backend(scheme)
    except (ValueError, ImportError):
        raise XegradError(_no_address(scheduler)) from None
    if scheme == "inproc":  # of one process
        raise XegradError(_no_address(scheduler))
    if scheme in ("tls", "wss") and config.get("distributed.comm.tls.ca-file") is None:
        raise XegradError(
            f"--scheduler {scheduler}: Dask has no certificates; its setting distributed.comm.tls takes them"
        )


def _no_address(scheduler: str | None) -> str:
    return (
        f"--scheduler {scheduler} is no address of a scheduler; one such as tcp://127.0.0.1:8786 is expected"
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Within the block, Dask writes no line of its own."""
    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] in QUIET]
    levels = {logger: logger.level for logger in map(logging.getLogger, {*QUIET, *names})}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"distributed(\.|$)")
        try:
            for logger in levels:
                logger.setLevel(logging.CRITICAL + 1)
            yield
        finally:
            for logger, level in levels.items():
                logger.setLevel(level)


class _RefusedError(Exception):
    """Of a task: what it raised that is for the user, its worker, and its run."""


def _task(version: str) -> Callable[..., Any]:
    """What a worker calls, as a function within another: such a one travels as its code, and not by its name."""

    def answer(*arguments: Any) -> Any:
        from distributed import get_worker

        try:
            from xegrad.engines import dask, fingerprint

            its = fingerprint.fingerprint()["xegrad"]
            if its == version:
                return dask._answer(*arguments)
            fault = f"has xegrad {its}, and this is {version}"
        except ImportError as error:
            fault = f"cannot use xegrad {version}: {error}"
        raise ImportError(f"the worker {get_worker().address} {fault}", name="xegrad")

    return answer


def _keep(function: Callable[..., Any], shared: Any, first: int, last: int) -> _Kept:
    return _Kept(function(shared, first, last))


class _Kept:
    """A result that stays where it is made; to another worker it goes as bytes."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __reduce__(self) -> tuple[Any, ...]:
        return bytes, (pickle.dumps(self.value),)


@lru_cache(maxsize=1)
def _loaded(pickled: bytes) -> Any:
    return pickle.loads(pickled)


def _answer(pickled: bytes, first: int, last: int, kept: Any = None) -> Any:
    """What a worker does: the function of a run, if the bits are those of the other workers."""
    from distributed import get_worker

    fingerprint.one_thread()
    function, shared, of_others = _loaded(pickled)
    address = get_worker().address
    _check_same(fingerprint.fingerprint(), of_others, f"the worker {address}")
    try:
        if kept is None:
            return function(shared, first, last)
        return function(shared, first, last, pickle.loads(kept) if isinstance(kept, bytes) else kept.value)
    except XegradError as error:
        raise _RefusedError(error, address, first, last) from None


def _of_worker(dask_worker: Any) -> tuple[Mapping[str, Any], int]:
    """What the bits of a worker depend on, and the bytes that it may take."""
    fingerprint.one_thread()
    return fingerprint.fingerprint(), dask_worker.memory_manager.memory_limit or 0


def _checked(client: Any) -> tuple[Mapping[str, Any], int]:
    """The fingerprint of all workers, and the bytes that they may keep.

    Raises
    ------
    XegradError
        Workers that differ, or that have not this version of xegrad; none where there were some.
    """
    from distributed.comm.core import CommClosedError

    ours, end = fingerprint.fingerprint()["xegrad"], time.monotonic() + STARTING
    answers: Mapping[str, Any] = {}
    while not answers:  # those that have gone since they came may come again
        if time.monotonic() > end:
            raise XegradError(_no_worker(STARTING))
        answers = {
            address: answer
            for address, answer in client.run(_of_worker, on_error="return").items()
            if not isinstance(answer, CommClosedError)
        }
    of_all, room = None, 0
    for address, of_worker in sorted(answers.items()):
        if isinstance(of_worker, Exception):
            raise XegradError(f"the worker {address} cannot use xegrad {ours}: {of_worker}")
        its, limit = of_worker
        if its["xegrad"] != ours:
            raise XegradError(f"the worker {address} has xegrad {its['xegrad']}, and this is {ours}")
        of_all, room = of_all or its, room + limit
        _check_same(its, of_all, f"the worker {address}")
    assert of_all is not None  # there is one
    return of_all, int(KEPT * room)


def _no_worker(seconds: float) -> str:
    return f"no worker is left, and none has come for {seconds:g} s"


def _check_same(its: Mapping[str, Any], of_others: Mapping[str, Any], worker: str) -> None:
    """Raise XegradError where the bits of a worker may be others."""
    for name, value in of_others.items():
        if its.get(name) != value:
            here, there = shown(its.get(name)), shown(value)
            raise XegradError(f"{worker} has {name} {here}, and others have {there}: their bits may differ")
