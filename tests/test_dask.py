"""The engine dask: the same bits, whoever computes, and what is said where it breaks.  Skipped without distributed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from multiprocessing import active_children
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("distributed")

import cloudpickle

from conftest import Run
from xegrad import max_memory
from xegrad.data_sets import Rows, in_files, in_memory
from xegrad.engines import ENGINES, Running, dask, workers
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
        folder = tmp_path_factory.mktemp(what)
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", code, *arguments],
                cwd=folder,
                stderr=log,
                env={**os.environ, **environment},
                text=True,
            )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def scheduler(start: Start, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, subprocess.Popen[str]]:
    """The address and the process of one that has no xegrad."""
    return started_scheduler(start, tmp_path_factory.mktemp("address") / "address.json")


def started_scheduler(start: Start, file: Path) -> tuple[str, subprocess.Popen[str]]:
    arguments = ("--port", "0", "--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(file))
    process = start("scheduler", *arguments, first=WITHOUT_XEGRAD)
    while not (file.exists() and (match := re.search(r'"address": "(\S+)",', file.read_text()))):
        time.sleep(0.05)
    return match[1], process


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


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[int, FullBatch]:
    """The same rows as 1, 4 and 11 files of any length, one of them empty, in row groups of any length."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    random = np.random.default_rng(11)
    X, y = random.normal(size=(200_000, 4)), random.integers(0, 3, 200_000)
    W = layer(random.normal(size=(4, 3)))
    asked = {0: FullBatch(in_memory(X, y), W)}
    for n_files in (1, 4, 11):
        folder = tmp_path_factory.mktemp("files")
        cuts = np.sort(random.integers(0, len(X), n_files - 1))
        cuts[1:2] = cuts[:1]
        for k, (rows, labels) in enumerate(zip(np.split(X, cuts), np.split(y, cuts), strict=True)):
            columns = {f"x{j}": rows[:, j] for j in range(4)} | {"label": labels}
            pq.write_table(
                pa.table(columns), folder / f"{k:02}.parquet", row_group_size=9973 + 1000 * n_files
            )
        asked[n_files] = FullBatch(in_files([str(folder)], "label", 3), W)
    return asked


@pytest.mark.parametrize("n_files", [1, 4, 11])
def test_neither_files_nor_the_size_of_tasks_change_a_bit(
    engine: Running, files: dict[int, FullBatch], n_files: int
) -> None:
    with ENGINES["local"].opened() as local:
        of_arrays = files[0]
        expected = bits(total(of_arrays, local.map(FullBatch.nodes, of_arrays, [(0, of_arrays.n_blocks)])))
    asked = files[n_files]
    assert len(asked.data.files) == n_files and asked.n_blocks == 4
    assert any(not file.n_rows for file in asked.data.files) == (n_files > 1)
    for runs in ([(k, k + 1) for k in range(4)], [(0, 4)], asked.data.runs(asked.rows_of_block, 2**20)):
        assert bits(total(asked, engine.map(FullBatch.nodes, asked, runs))) == expected
        with ENGINES["local"].opened() as local:
            assert bits(total(asked, local.map(FullBatch.nodes, asked, runs))) == expected


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
            r"^the worker tcp://\S+ cannot use xegrad \S+: No module named 'xegrad",
            r"^the worker tcp://\S+ cannot use xegrad \S+: ModuleNotFoundError\(",
        ),
        (
            "import xegrad; xegrad.__version__ = '0.0.1'",
            {},
            r"^the worker tcp://\S+ has xegrad 0\.0\.1, and this is ",
            r"^the worker tcp://\S+ has xegrad 0\.0\.1, and this is ",
        ),
        (
            "",
            {"OPENBLAS_CORETYPE": "Prescott"},
            r"^the worker tcp://\S+ has kernel '\w+', and others have '\w+': their bits may differ$",
            r"^the worker tcp://\S+ has kernel '\w+', and others have '\w+': their bits may differ$",
        ),
    ],
    ids=["none", "version", "kernel"],
)
def test_a_worker_that_differs_is_named(
    foreign: str, start: Start, first: str, environment: dict[str, str], late: str, early: str
) -> None:
    """Also where it gets rows that others keep."""

    def load(shared: Any, first: int, last: int) -> Rows:
        return Rows(np.ones((1, 1)), np.array([0]))

    def wait(shared: Any, first: int, last: int, kept: Rows | None = None) -> None:
        time.sleep(0.05)

    runs = [(k, k + 1) for k in range(64)]
    with ENGINES["dask"].opened(scheduler=foreign) as running:
        kept = running.keep(load, None, runs)
        arguments = (foreign, "--no-nanny", "--nthreads", "4", "--no-dashboard")
        process = start("worker", *arguments, first=first, **environment)
        try:
            wait_for_workers(foreign, 2)
            with pytest.raises(XegradError, match=late):
                [*running.map(wait, None, runs)]
            running._client.replicate(kept)  # type: ignore[attr-defined]
            with pytest.raises(XegradError, match=late):
                [*running.map(wait, None, runs, kept)]
            with pytest.raises(XegradError, match=early), ENGINES["dask"].opened(scheduler=foreign):
                pass
        finally:
            process.kill()
    wait_for_workers(foreign, 1)


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("tcp://127.0.0.1:9", "no scheduler of Dask answers at tcp://127.0.0.1:9; 0.5 s were waited"),
        ("nonsense://a", "--scheduler nonsense://a is no address of a scheduler"),
        ("inproc://127.0.0.1:9", "--scheduler inproc://127.0.0.1:9 is no address of a scheduler"),
        ("tls://127.0.0.1:9", "--scheduler tls://127.0.0.1:9: Dask has no certificates"),
    ],
)
def test_a_scheduler_that_does_not_answer_is_named(
    monkeypatch: pytest.MonkeyPatch, address: str, told: str
) -> None:
    assert dask.WAIT == 10
    monkeypatch.setattr(dask, "WAIT", 0.5)
    with pytest.raises(XegradError, match=told), ENGINES["dask"].opened(scheduler=address):
        pass


@pytest.fixture(scope="module")
def empty(start: Start, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a scheduler that has no worker."""
    return started_scheduler(start, tmp_path_factory.mktemp("address") / "address.json")[0]


def test_a_scheduler_that_has_no_worker_is_named(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed import Client

    wait: Any = Client.wait_for_workers
    monkeypatch.setattr(
        Client, "wait_for_workers", lambda client, n, timeout: wait(client, n, timeout / 1000)
    )
    told = f"^the scheduler at {empty} has no worker; 10 s were waited: start one$"
    with pytest.raises(XegradError, match=told), ENGINES["dask"].opened(scheduler=empty):
        pass


ENDS_AT_ITS_TASK = """
import os
from xegrad.full_batch import FullBatch
FullBatch.nodes = lambda *arguments: os._exit(1)
"""


def test_where_all_workers_are_lost_the_run_ends(
    empty: str, start: Start, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (dask.LOOK, dask.STARTING) == (5, 120)
    monkeypatch.setattr(dask, "LOOK", 0.1)
    monkeypatch.setattr(dask, "STARTING", 0.5)
    start("worker", empty, "--no-nanny", "--no-dashboard", first=ENDS_AT_ITS_TASK)
    wait_for_workers(empty, 1)
    np.save(tmp_path / "W.npy", np.ones((2, 3)))
    np.save(tmp_path / "rows.npy", np.ones((8, 3)))
    arguments = ("-W", tmp_path / "W.npy", "-x", tmp_path / "rows.npy", "--label-column", "-1")
    outcome = run("compute", *arguments, "--scheduler", empty, "-o", tmp_path / "G.npy")
    assert outcome == (2, "", "xegrad: no worker is left, and none has come for 0.5 s\n")
    assert not (tmp_path / "G.npy").exists()


def test_a_worker_that_takes_more_memory_than_it_may_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed import system

    asked = FullBatch(in_memory(np.ones((70_000, 1)), np.zeros(70_000, int)), layer([[1.0, 2.0]]))

    def fill(shared: Any, first: int, last: int) -> int:
        mark = tmp_path / "filled"
        if first or not mark.exists():
            mark.touch()
            kept = b"x" * 2**28
            time.sleep(1000)
            return len(kept)
        return first

    monkeypatch.setattr(system, "MEMORY_LIMIT", 2**28 * (os.cpu_count() or 1))  # of one worker 2**28
    with ENGINES["dask"].opened(1) as running:
        running._client.cluster.scheduler.allowed_failures = 1  # type: ignore[attr-defined]
        assert [*running.map(fill, asked, [(0, 1)])] == [0]
        assert running.facts["retries"] > 0
        told = (
            "^rows 65,537 to 70,000 of the data set: 2 workers ended, one after the other, at this task, "
            "since it takes more memory than they may; give them more, or take fewer workers$"
        )
        with pytest.raises(XegradError, match=told):
            [*running.map(fill, asked, [(1, 2)])]


@pytest.fixture
def starting(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], None]], None]:
    """What is done to the process of the first worker of this machine, before it imports anything."""
    from distributed import LocalCluster

    scale = LocalCluster.scale

    def begin(act: Callable[[int], None]) -> None:
        def scales(cluster: Any, n: int) -> None:
            scale(cluster, n)
            monkeypatch.setattr(LocalCluster, "scale", scale)
            while not (started := [nanny.pid for nanny in cluster._created if nanny.pid]):
                time.sleep(0.01)
            act(started[0])

        monkeypatch.setattr(LocalCluster, "scale", scales)

    return begin


def test_a_worker_that_ends_as_it_starts_is_started_again(
    starting: Any, asked: FullBatch, runs: Any, expected: dict[str, bytes]
) -> None:
    starting(lambda pid: os.kill(pid, signal.SIGKILL))
    with max_memory("2GB"), ENGINES["dask"].opened(2) as running:
        assert bits(total(asked, running.map(FullBatch.nodes, asked, runs))) == expected


def test_workers_that_all_end_as_they_start_are_told(starting: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert workers.MOST_ENDED == 2
    monkeypatch.setattr(workers, "MOST_ENDED", 0)
    starting(lambda pid: os.kill(pid, signal.SIGKILL))
    told = "^1 worker of this machine ended while starting; is there enough memory"
    with pytest.raises(XegradError, match=told), ENGINES["dask"].opened(1):
        pass


def test_a_worker_that_is_stopped_as_it_starts_holds_nobody_up(starting: Any) -> None:
    """Ctrl-C ends it: Python waits for the processes that it has started, and this one does not listen."""
    processes: list[BaseProcess] = []

    def stop(pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        processes.extend(process for process in active_children() if process.pid == pid)
        raise KeyboardInterrupt

    starting(stop)
    with pytest.raises(KeyboardInterrupt), ENGINES["dask"].opened(2):
        pass
    [process] = processes
    process.join(60)
    is_there = process.is_alive()
    process.kill()
    assert not is_there


def test_workers_share_the_memory_that_is_allowed() -> None:
    with max_memory("2GB"), ENGINES["dask"].opened(2) as running:
        assert running.memory == int(dask.KEPT * 2e9)


@pytest.mark.skipif(sys.platform == "win32", reason="the current folder cannot be removed there")
def test_no_workers_are_started_where_the_current_folder_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    told = "^workers need the current folder, which is gone; go to another one$"
    with pytest.raises(XegradError, match=told), ENGINES["dask"].opened(1):
        pass


def test_more_workers_than_memory_has_room_for_are_refused() -> None:
    told = "^1000000 processes take 68 TB at least, and .*: start fewer, or --max-memory 68TB$"
    with pytest.raises(XegradError, match=told), ENGINES["dask"].opened(10**6):
        pass


def test_more_workers_than_files_may_be_open_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    assert (workers.FILES, workers.FILES_OF_WORKER) == (32, 10)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (51, 51))
    told = "^2 workers need 52 open files, and 51 are allowed; take fewer, or raise ulimit -n$"
    with pytest.raises(XegradError, match=told), ENGINES["dask"].opened(2):
        pass


CLIENT = """
import os, pathlib, signal, sys, time
from xegrad.engines import ENGINES

def work(shared, first, last):
    if first == 3 and not pathlib.Path(shared).exists():
        pathlib.Path(shared).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if first > 17:
        time.sleep(1000)
    return os.getpid()

if __name__ == "__main__":
    signal.signal(signal.SIGHUP, signal.default_int_handler)
    try:
        with ENGINES["dask"].opened(2) as engine:
            for done, pid in enumerate(engine.map(work, sys.argv[1], [(k, k + 1) for k in range(20)])):
                if done == 17:
                    print(engine.facts["retries"], *(nanny.pid for nanny in engine._client.cluster.workers.values()))
                    sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
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
    if number != signal.SIGKILL:  # of a terminal, or of its end: all processes get it
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, err = process.communicate()
    assert err == ""
    assert process.returncode == (-number if number == signal.SIGKILL else 130)
    while any(Path(f"/proc/{one}").exists() for one in pids):
        time.sleep(0.05)
    assert [*folder.iterdir()] == []
    if number != signal.SIGKILL:
        assert [*temporary.iterdir()] == []


def test_a_scheduler_that_goes_is_noticed(foreign: str, scheduler: tuple[str, subprocess.Popen[str]]) -> None:
    """The last one, since it does."""

    def wait(shared: Any, first: int, last: int) -> None:
        time.sleep(0.1 * first)

    with ENGINES["dask"].opened(scheduler=foreign) as running:
        answers = running.map(wait, None, [(k, k + 1) for k in range(100)])
        next(answers)
        scheduler[1].kill()
        with pytest.raises(XegradError, match=rf"^the scheduler at {foreign} has gone"):
            deque(answers, maxlen=0)
