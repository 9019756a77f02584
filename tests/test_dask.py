"""The engine dask: the same bits, whoever computes, and what is said where it breaks.  Skipped without distributed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("distributed")

import cloudpickle

from xegrad.data_sets import in_memory
from xegrad.engines import ENGINES, Running, dask
from xegrad.errors import InputError, XegradError
from xegrad.full_batch import FullBatch, Total, layer, total

pytestmark = [pytest.mark.dask, pytest.mark.filterwarnings("default")]  # those of Dask are its own

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import this file

N_ROWS, N_INPUTS, N_CLASSES = 60_000, 150, 3  # 30 blocks of 2048 rows
WITHOUT_XEGRAD = "import sys; sys.modules['xegrad'] = None"
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def asked() -> FullBatch:
    random = np.random.default_rng(18)
    X, y = random.normal(size=(N_ROWS, N_INPUTS)), random.integers(0, N_CLASSES, N_ROWS)
    return FullBatch(in_memory(X, y), layer(random.normal(size=(N_INPUTS, N_CLASSES)) / 8))


@pytest.fixture(scope="module")
def runs(asked: FullBatch) -> list[tuple[int, int]]:
    return [(k, k + 1) for k in range(asked.n_blocks)]


def bits(summed: Total) -> dict[str, bytes]:
    return {name: np.asarray(array).tobytes() for name, array in summed.sums.items()}


@pytest.fixture(scope="module")
def expected(asked: FullBatch, runs: list[tuple[int, int]]) -> dict[str, bytes]:
    with ENGINES["local"].opened() as local:
        return bits(total(asked, local.map(FullBatch.nodes, asked, runs)))


@pytest.fixture(scope="module")
def engine() -> Iterator[Running]:
    """Two workers of this machine, with one thread each."""
    with ENGINES["dask"].opened(2) as running:
        yield running


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """A scheduler, or a worker of one, as a process."""
    started = []

    def run(what: str, *arguments: str, first: str = "", **environment: str) -> subprocess.Popen[str]:
        code = f"{first}\nfrom distributed.cli.dask_{what} import main\nmain()"
        process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            cwd=tmp_path_factory.mktemp(what),
            stderr=subprocess.PIPE,
            env={**os.environ, **environment},
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


@pytest.fixture(scope="module")
def scheduler(start: Start) -> tuple[str, subprocess.Popen[str]]:
    """The address and the process of one that has no xegrad."""
    arguments = ("--port", "0", "--host", "127.0.0.1", "--no-dashboard")
    process = start("scheduler", *arguments, first=WITHOUT_XEGRAD)
    assert process.stderr is not None
    for line in process.stderr:
        if match := re.search(r"Scheduler at: +(tcp://\S+)", line):
            return match[1], process
    raise AssertionError


@pytest.fixture(scope="module")
def foreign(start: Start, scheduler: tuple[str, Any]) -> str:
    """The address of a scheduler that has a worker with four threads, whose BLAS may have two."""
    start("worker", scheduler[0], "--no-nanny", "--nthreads", "4", "--no-dashboard", OPENBLAS_NUM_THREADS="2")
    wait_for_workers(scheduler[0], 1)
    return scheduler[0]


def wait_for_workers(address: str, n: int) -> None:
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        while len(client.nthreads()) != n:
            time.sleep(0.05)


@pytest.mark.parametrize("whole", [False, True], ids=["one block", "all blocks"])
def test_two_workers_give_the_same_bits(
    engine: Running, asked: FullBatch, runs: Any, expected: dict[str, bytes], whole: bool
) -> None:
    runs = [(0, asked.n_blocks)] if whole else runs
    assert bits(total(asked, engine.map(FullBatch.nodes, asked, runs))) == expected


@pytest.mark.parametrize("whole", [False, True], ids=["one block", "all blocks"])
def test_four_threads_and_a_scheduler_without_xegrad_give_the_same_bits(
    foreign: str, asked: FullBatch, runs: Any, expected: dict[str, bytes], whole: bool
) -> None:
    runs = [(0, asked.n_blocks)] if whole else runs
    with ENGINES["dask"].opened(scheduler=foreign) as running:
        assert bits(total(asked, running.map(FullBatch.nodes, asked, runs))) == expected
        assert running.facts["workers"] == 1
    with ENGINES["dask"].opened(scheduler=foreign) as running:  # it was left running
        assert [*running.map(pid, None, [(0, 1)])] != [os.getpid()]


def pid(shared: Any, first: int, last: int) -> int:
    return os.getpid()


def test_one_worker_gives_the_same_bits(asked: FullBatch, runs: Any, expected: dict[str, bytes]) -> None:
    with ENGINES["dask"].opened(1) as running:
        assert bits(total(asked, running.map(FullBatch.nodes, asked, runs))) == expected
        assert running.facts["workers"] == 1
        assert running.facts["retries"] == 0


def test_a_worker_that_is_killed_costs_no_bit(
    engine: Running, asked: FullBatch, runs: Any, expected: dict[str, bytes], tmp_path: Path
) -> None:
    def nodes(shared: FullBatch, first: int, last: int) -> Any:
        mark = tmp_path / "killed"
        if first == 11 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return shared.nodes(first, last)

    before = engine.facts["retries"]
    assert bits(total(asked, engine.map(nodes, asked, runs))) == expected
    assert (tmp_path / "killed").exists()
    assert engine.facts["retries"] > before


def test_rows_that_are_kept_are_those_that_are_read(
    engine: Running, asked: FullBatch, runs: Any, expected: dict[str, bytes]
) -> None:
    kept = engine.keep(FullBatch.load, asked, runs)
    assert bits(total(asked, engine.map(FullBatch.nodes, asked, runs, kept))) == expected
    [killed] = {*engine.map(pid, None, [(0, 1)])}
    os.kill(killed, signal.SIGKILL)
    assert bits(total(asked, engine.map(FullBatch.nodes, asked, runs, kept))) == expected
    assert engine.memory > asked.data.nbytes


def test_a_task_that_ends_its_workers_is_given_up(engine: Running, asked: FullBatch) -> None:
    def end(shared: Any, first: int, last: int) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    scheduler = engine._client.cluster.scheduler  # type: ignore[attr-defined]
    assert scheduler.allowed_failures == 3
    scheduler.allowed_failures = 1  # to start a worker takes a second
    try:
        with pytest.raises(
            XegradError, match="rows 2,049 to 4,096 of the data set: 2 workers ended, one after the"
        ):
            [*engine.map(end, asked, [(1, 2)])]
    finally:
        scheduler.allowed_failures = 3


def test_what_a_task_raises_is_what_the_caller_gets(engine: Running, asked: FullBatch) -> None:
    def refuse(shared: Any, first: int, last: int) -> None:
        raise InputError(f"row {first} has no label", "label")

    def fill(shared: Any, first: int, last: int) -> None:
        raise MemoryError

    def fail(shared: Any, first: int, last: int) -> float:
        return 1 / (last - first - 1)

    runs = [(k, k + 1) for k in range(20)]
    with pytest.raises(InputError, match=r"^row \d+ has no label$") as refusal:
        [*engine.map(refuse, None, runs)]
    assert refusal.value.part == "label"
    with pytest.raises(InputError, match=r"^row \d+ has no label$"):
        engine.keep(refuse, None, runs)
    with pytest.raises(XegradError, match=r"^a worker has not enough memory"):
        [*engine.map(fill, None, runs)]
    with pytest.raises(ZeroDivisionError):  # a bug
        [*engine.map(fail, None, runs)]


def test_files_that_only_this_process_sees_are_named_with_the_worker(foreign: str) -> None:
    def read(shared: int, first: int, last: int) -> int:
        if os.getpid() != shared:
            raise InputError("a.parquet: no such file", "x")
        return first

    with ENGINES["dask"].opened(scheduler=foreign) as running:
        told = r"^the worker tcp://\S+: a\.parquet: no such file; this process can read it: give paths that"
        with pytest.raises(InputError, match=told) as refusal:
            [*running.map(read, os.getpid(), [(0, 1)])]
        assert refusal.value.part == "x"
        with pytest.raises(InputError, match=r"^a\.parquet: no such file$"):
            [*running.map(read, 0, [(0, 1)])]


@pytest.mark.parametrize(
    ("first", "environment", "late", "early"),
    [
        (
            WITHOUT_XEGRAD,
            {},
            "^a worker cannot use this version of xegrad: ",
            r"^the worker tcp://\S+ cannot use xegrad \S+: ModuleNotFoundError: ",
        ),
        (
            "import xegrad; xegrad.__version__ = '0.0.1'",
            {},
            "^a worker has xegrad '0.0.1', and others have ",
            r"^the worker tcp://\S+ has xegrad 0\.0\.1, and this is ",
        ),
        (
            "",
            {"OPENBLAS_CORETYPE": "Prescott"},
            "^a worker has kernel 'Prescott', and others have ",
            r"^the worker tcp://\S+ has kernel '\w+', and others have '\w+': their bits may differ$",
        ),
    ],
    ids=["none", "version", "kernel"],
)
def test_a_worker_that_differs_is_named(
    foreign: str, start: Start, first: str, environment: dict[str, str], late: str, early: str
) -> None:
    def wait(shared: Any, first: int, last: int) -> None:
        time.sleep(0.05)

    with ENGINES["dask"].opened(scheduler=foreign) as running:
        arguments = (foreign, "--no-nanny", "--nthreads", "4", "--no-dashboard")
        process = start("worker", *arguments, first=first, **environment)
        wait_for_workers(foreign, 2)
        with pytest.raises(XegradError, match=late):
            [*running.map(wait, None, [(k, k + 1) for k in range(64)])]
    with pytest.raises(XegradError, match=early), ENGINES["dask"].opened(scheduler=foreign):
        pass
    process.kill()
    wait_for_workers(foreign, 1)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense://a"])
def test_a_scheduler_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    assert dask.WAIT == 10
    monkeypatch.setattr(dask, "WAIT", 0.5)
    told = f"no scheduler of Dask answers at {address}; 0.5 s were waited"
    with pytest.raises(XegradError, match=told), ENGINES["dask"].opened(scheduler=address):
        pass


CLIENT = """
import os, pathlib, signal, sys, time
from xegrad.engines import ENGINES

def work(shared, first, last):
    if first == 3 and not pathlib.Path(shared).exists():
        pathlib.Path(shared).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if first > 9:
        time.sleep(1000)
    return os.getpid()

if __name__ == "__main__":
    try:
        with ENGINES["dask"].opened(2) as engine:
            for done, pid in enumerate(engine.map(work, sys.argv[1], [(k, k + 1) for k in range(20)])):
                if done == 9:
                    print(engine.facts["retries"], *(nanny.pid for nanny in engine._client.cluster.workers.values()))
                    sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_of_local_workers(number: signal.Signals, tmp_path: Path) -> None:
    """One of which is killed before: nothing is written about that either."""
    folder, temporary = tmp_path / "here", tmp_path / "temporary"
    folder.mkdir()
    temporary.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", CLIENT, str(tmp_path / "killed")],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
        start_new_session=True,
    )
    assert process.stdout is not None
    retries, *pids = map(int, process.stdout.readline().split())
    assert retries > 0
    assert len(pids) == 2
    if number == signal.SIGINT:  # of a terminal: all processes get it
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, err = process.communicate()
    assert err == ""
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    while any(Path(f"/proc/{one}").exists() for one in pids):
        time.sleep(0.05)
    assert [*folder.iterdir()] == []
    if number == signal.SIGINT:
        assert [*temporary.iterdir()] == []


def test_a_scheduler_that_goes_is_noticed(foreign: str, scheduler: tuple[str, subprocess.Popen[str]]) -> None:
    """The last one, since it does."""

    def wait(shared: Any, first: int, last: int) -> None:
        time.sleep(0.1 * first)

    with ENGINES["dask"].opened(scheduler=foreign) as running:
        answers = running.map(wait, None, [(k, k + 1) for k in range(100)])
        next(answers)
        scheduler[1].kill()
        with pytest.raises(XegradError, match=r"^the scheduler of Dask has gone"):
            list(answers)
        with pytest.raises(XegradError, match=r"^the scheduler of Dask has gone"):
            list(running.map(wait, None, [(0, 1)]))
