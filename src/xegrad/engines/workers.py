"""Workers of this machine: processes as a cluster of Dask, which leave nothing behind, whatever ends them."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import active_children, resource_tracker
from typing import Any

from xegrad import memory
from xegrad.engines import n_processors
from xegrad.errors import XegradError
from xegrad.vocabulary import count

STARTING = 120  # seconds for all of them
TICK = 0.005  # seconds
MOST_ENDED = 2  # times that a worker may end while it starts
CLOSING = 1  # seconds
FILES, FILES_OF_WORKER = 32, 10  # that this process has open, as measured with 1 to 4 workers
WORKER = "Dask Worker"  # begins the names of their processes


@contextmanager
def local_cluster(workers: int | None) -> Iterator[Any]:
    """Processes of this machine with one thread each, which leave nothing behind; work in hand ends with the block."""
    from dask import config
    from distributed import LocalCluster

    try:
        os.getcwd()  # noqa: PTH109
    except OSError:
        raise XegradError("workers need the current folder, which is gone; go to another one") from None
    n_workers = workers or n_processors()
    memory.check_starting(n_workers)
    _check_files(n_workers)
    limit, before = memory.limit(), active_children()
    with ExitStack() as stack:
        folder = tempfile.mkdtemp(prefix="xegrad-")
        stack.callback(_remove, folder)
        stack.enter_context(config.set({"temporary-directory": folder}))
        with _uninterrupted():
            started = LocalCluster(
                n_workers=0,
                threads_per_worker=1,
                memory_limit="auto" if limit is None else limit // n_workers,
                dashboard_address=None,
                silence_logs=logging.CRITICAL + 1,
                preload=[__name__],
            )
        try:
            started.scale(n_workers)
            yield started
        finally:
            for nanny in started.workers.values():
                nanny.auto_restart = False
            for process in active_children():
                if process.name.startswith(WORKER) and process not in before:
                    process.kill()  # it would wait for its task, and one that is stopped for ever
            close(started)
            with suppress(Exception):  # else one that is closing looks for its folder at exit, and says so
                scheduler: Any = started.scheduler
                scheduler._workdir.release()


def wait_for(cluster: Any) -> None:
    """Until all workers of this machine are there; one that ends as it starts is started again, a few times."""
    from distributed.core import Status

    n_workers, n_ended, end = len(cluster.worker_spec), 0, time.monotonic() + STARTING
    while len(cluster.scheduler.workers) < n_workers:
        ended = [name for name, nanny in cluster.workers.items() if nanny.status is Status.failed]
        n_ended += len(ended)
        if n_ended > MOST_ENDED * n_workers:
            raise XegradError(
                f"{count(n_ended, 'worker')} of this machine ended while starting; is there enough memory?"
            )
        if time.monotonic() > end:
            started = f"{len(cluster.scheduler.workers)} of {count(n_workers, 'worker')}"
            raise XegradError(f"{started} have started in {STARTING} s; take fewer workers")
        for name in ended:
            del cluster.workers[name]
        if ended:
            cluster.scale(n_workers)
        time.sleep(TICK)


def _check_files(n_workers: int) -> None:
    """Raise XegradError where so many workers need more open files than there may be: Dask would wait."""
    try:
        import resource
    except ImportError:  # Windows
        return
    most, needed = resource.getrlimit(resource.RLIMIT_NOFILE)[0], FILES + FILES_OF_WORKER * n_workers
    if most != resource.RLIM_INFINITY and needed > most:
        what = f"{count(n_workers, 'worker')} need {needed} open files, and {most} are allowed"
        raise XegradError(f"{what}; take fewer, or raise ulimit -n")


def dask_setup(worker: Any) -> None:
    """What Dask calls in each worker of `local_cluster`, which keeps the pages that a block frees for the next one."""
    memory.keep_pages()
    logging.disable()


def close(what: Any) -> None:
    """Close a client or a cluster, whatever has happened to it."""
    with suppress(Exception):
        what.close(timeout=CLOSING)


def _remove(folder: str) -> None:
    """Remove a folder in which processes that end may still write."""
    end = time.monotonic() + CLOSING
    while os.path.isdir(folder) and time.monotonic() < end:  # noqa: PTH112
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.05)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Threads that are started within the block, and processes of theirs, hear neither Ctrl-C nor that the terminal has
    ended, which are for the client: a worker that ends by itself would be started again meanwhile."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    _start_tracker()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_tracker() -> None:
    """Python's tracker of what processes share: it lets threads that start it hear Ctrl-C, warns as it ends, and ends
    where a terminal does, before the processes that tell it of theirs."""
    before = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = "ignore"
    heard = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        resource_tracker.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, heard)
        if before is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = before
