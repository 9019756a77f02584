"""The engine dask: the same bits, whoever computes, and what is said when it breaks.  Skipped without distributed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xegrad import compute
from xegrad.data_sets import in_files, in_memory
from xegrad.engines import ENGINES, Running, dask
from xegrad.errors import InputError, XegradError
from xegrad.full_batch import FullBatch, Total, layer, total

pytest.importorskip("distributed")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
pytestmark = [pytest.mark.dask, pytest.mark.filterwarnings("ignore")]  # warnings of Dask are its own

N_ROWS, N_INPUTS, N_CLASSES = 60_000, 150, 3  # blocks of 2048 rows
SLOW = 0.3  # seconds


@pytest.fixture(scope="module")
def engine() -> Iterator[Running]:
    with ENGINES["dask"].opened(2) as running:
        yield running


@pytest.fixture(scope="module")
def arrays() -> dict[str, Any]:
    random = np.random.default_rng(18)
    return {
        "X": random.normal(size=(N_ROWS, N_INPUTS)),
        "y": random.integers(0, N_CLASSES, N_ROWS),
        "W": random.normal(size=(N_INPUTS, N_CLASSES)) / 8,
    }


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, arrays: dict[str, Any]) -> dict[int, Path]:
    """The rows as 1, 4 and 11 uneven files, one of them empty."""
    X, y = arrays["X"], arrays["y"]
    folders = {}
    for n_files in (1, 4, 11):
        folders[n_files] = folder = tmp_path_factory.mktemp(f"files{n_files}")
        cuts = np.sort(np.random.default_rng(n_files).integers(0, N_ROWS, n_files - 1)).tolist()
        if n_files > 2:
            cuts[1] = cuts[0]
        for k, (start, stop) in enumerate(zip([0, *cuts], [*cuts, N_ROWS], strict=True)):
            columns = {f"x{j}": X[start:stop, j] for j in range(N_INPUTS)} | {"label": y[start:stop]}
            pq.write_table(
                pa.table(columns), folder / f"part-{k:02}.parquet", row_group_size=5000 + 997 * n_files
            )
    return folders


def asked(arrays: dict[str, Any], folder: Path, **fields: Any) -> FullBatch:
    return FullBatch(in_files([str(folder)], "label", N_CLASSES), layer(arrays["W"]), **fields)


def bits(summed: Total) -> dict[str, bytes]:
    return {name: np.asarray(array).tobytes() for name, array in summed.sums.items()}


@pytest.fixture(scope="module")
def expected(arrays: dict[str, Any], folders: dict[int, Path]) -> dict[str, bytes]:
    """By the engine local, of one file."""
    one = asked(arrays, folders[1])
    with ENGINES["local"].opened() as local:
        summed = total(one, local.map(FullBatch.nodes, one, [(0, one.n_blocks)]))
    in_a_problem = compute(one_problem(arrays), ["shortcut"]).reported
    assert np.abs(summed.gradients["weights"] - in_a_problem.gradients["weights"]).max() < 1e-14
    return bits(summed)


def one_problem(arrays: dict[str, Any]) -> Any:
    from xegrad import Problem, Targets

    return Problem(arrays["W"], arrays["X"], Targets(arrays["y"]))


@pytest.mark.parametrize("n_files", [1, 4, 11])
@pytest.mark.parametrize("task", ["one block", "all", "as they come"])
def test_neither_files_nor_tasks_change_a_bit(
    engine: Running,
    arrays: dict[str, Any],
    folders: dict[int, Path],
    expected: dict[str, bytes],
    n_files: int,
    task: str,
) -> None:
    these = asked(arrays, folders[n_files])
    runs = {
        "one block": [(k, k + 1) for k in range(these.n_blocks)],
        "all": [(0, these.n_blocks)],
        "as they come": these.data.runs(these.rows_of_block, 2**23),
    }[task]
    assert bits(total(these, engine.map(FullBatch.nodes, these, runs))) == expected


@pytest.mark.parametrize(("n_workers", "threads"), [(1, 4), (2, 4), (1, 1)])
def test_neither_workers_nor_their_threads_change_a_bit(
    arrays: dict[str, Any], folders: dict[int, Path], expected: dict[str, bytes], n_workers: int, threads: int
) -> None:
    from distributed import LocalCluster

    these = asked(arrays, folders[4])
    runs = [(k, k + 1) for k in range(these.n_blocks)]
    with (
        LocalCluster(n_workers=n_workers, threads_per_worker=threads, dashboard_address=None) as cluster,
        ENGINES["dask"].opened(scheduler=cluster.scheduler_address) as foreign,
    ):
        assert bits(total(these, foreign.map(FullBatch.nodes, these, runs))) == expected
        assert foreign.facts["workers"] == n_workers


def pids(shared: Any, first: int, last: int) -> int:
    return os.getpid()


def slow_nodes(shared: FullBatch, first: int, last: int) -> Any:
    time.sleep(SLOW)
    return shared.nodes(first, last)


def test_a_worker_that_is_killed_costs_no_bit(
    engine: Running, arrays: dict[str, Any], folders: dict[int, Path], expected: dict[str, bytes]
) -> None:
    these = asked(arrays, folders[4])
    [pid, *_] = engine.map(pids, these, [(0, 1)])
    before = engine.facts["retries"]
    parts = engine.map(slow_nodes, these, [(k, k + 1) for k in range(these.n_blocks)])
    first = next(parts)
    os.kill(pid, signal.SIGKILL)
    assert bits(total(these, [first, *parts])) == expected
    assert engine.facts["retries"] > before


def test_rows_that_are_kept_are_those_that_are_read(
    engine: Running, arrays: dict[str, Any], folders: dict[int, Path], expected: dict[str, bytes]
) -> None:
    these = asked(arrays, folders[4])
    runs = these.data.runs(these.rows_of_block, 2**23)
    kept = engine.keep(FullBatch.load, these, runs)
    assert bits(total(these, engine.map(FullBatch.nodes, these, runs, kept))) == expected
    assert engine.memory > 2**20


def test_what_a_file_lacks_is_said_by_the_worker(
    engine: Running, arrays: dict[str, Any], tmp_path: Path
) -> None:
    columns = {f"x{j}": arrays["X"][:10, j] for j in range(N_INPUTS)} | {"label": arrays["y"][:10]}
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table(columns), path)
    these = asked(arrays, tmp_path)
    columns["x7"] = np.full(10, np.nan)
    pq.write_table(pa.table(columns), path)
    with pytest.raises(InputError, match="has changed since it was listed"):
        [*engine.map(FullBatch.nodes, these, [(0, 1)])]
    with pytest.raises(InputError, match=r"a\.parquet: row 1: x7 is NaN"):
        [*engine.map(FullBatch.nodes, asked(arrays, tmp_path), [(0, 1)])]
    these = asked(arrays, tmp_path)
    path.unlink()
    with pytest.raises(InputError, match=r"a\.parquet"):
        [*engine.map(FullBatch.nodes, these, [(0, 1)])]


def ends(shared: Any, first: int, last: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fills(shared: Any, first: int, last: int) -> None:
    raise MemoryError


def test_a_task_that_ends_its_workers_is_given_up(
    engine: Running, arrays: dict[str, Any], folders: dict[int, Path]
) -> None:
    these = asked(arrays, folders[1])
    with pytest.raises(
        XegradError, match=r"rows 2,049 to 4,096 of the data set, in .*part-00\.parquet: each of the"
    ):
        [*engine.map(ends, these, [(1, 2)])]
    with pytest.raises(XegradError, match="not enough memory"):
        [*engine.map(fills, these, [(1, 2)])]


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask, "WAIT", 0.5)
    opened = ENGINES["dask"].opened(scheduler="tcp://127.0.0.1:9")
    with pytest.raises(XegradError, match=r"no scheduler of Dask answers at tcp://127\.0\.0\.1:9"), opened:
        pass


def test_a_scheduler_that_goes_is_noticed(arrays: dict[str, Any], folders: dict[int, Path]) -> None:
    from distributed import LocalCluster

    these = asked(arrays, folders[4])
    with (
        LocalCluster(n_workers=1, dashboard_address=None) as cluster,
        ENGINES["dask"].opened(scheduler=cluster.scheduler_address) as foreign,
    ):
        parts = foreign.map(slow_nodes, these, [(k, k + 1) for k in range(these.n_blocks)])
        next(parts)
        cluster.close()
        with pytest.raises(XegradError, match="has gone"):
            list(parts)


def test_workers_that_differ_are_named() -> None:
    one = {"xegrad": "0.1.0", "kernel": "Haswell"}
    with pytest.raises(XegradError, match="the worker tcp://a has kernel 'Zen', and others have 'Haswell'"):
        dask._check_same({**one, "kernel": "Zen"}, one, "the worker tcp://a")

    class Client:
        def __init__(self, *found: Any) -> None:
            self.found = found

        def run(self, *_: Any, **__: Any) -> dict[str, Any]:
            return {f"tcp://{k}": of_worker for k, of_worker in enumerate(self.found)}

    with pytest.raises(XegradError, match=r"the worker tcp://0 has xegrad 0\.0\.1, and this is"):
        dask._checked(Client({**one, "xegrad": "0.0.1"}))
    with pytest.raises(XegradError, match="the worker tcp://0 cannot use xegrad"):
        dask._checked(Client(ModuleNotFoundError("No module named 'xegrad'")))


def test_data_sets_in_memory_travel(
    engine: Running, arrays: dict[str, Any], expected: dict[str, bytes]
) -> None:
    these = FullBatch(in_memory(arrays["X"], arrays["y"]), layer(arrays["W"]))
    assert bits(total(these, engine.map(FullBatch.nodes, these, [(0, these.n_blocks)]))) == expected
