"""The gradient of all rows of a data set, against the plain loop of numpy in one process: whole passes, in turn.

    pip install 'xegrad[dask]'
    python benchmarks/data_sets.py [ROWS ...]

1,000,000 and 10,000,000 rows of 20 inputs by default, in Parquet, and 10 classes, from files in the cache.  The loop is
what people write: pyarrow's batches, numpy, one thread of BLAS.  The goals: this process 1.15 times the loop, two
workers of Dask 0.8 times on two processors, `verify` 1.8 times `compute`, with two workers killed 1.5 times what it
takes otherwise, and no more a row at ten times as many rows (1.1 times).  Memory: 300 MiB a worker for 20 inputs, 800
for 784, the same whatever the rows, and 400 MiB for the client.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from side_by_side import Code, Measured, Row, measure, report

N_CLASSES = 10
N_FILES = 10
GROUP = 2**24  # numbers in a row group
ROUNDS = 3

LAYER = """
import glob
import numpy as np
random = np.random.default_rng(1)
W, b = random.normal(size=({n}, 10)) / {n} ** 0.5, random.normal(size=10)
"""
LOOP = """
import pyarrow.parquet as pq
def loop():
    loss, G, g, rows = 0.0, np.zeros_like(W), np.zeros_like(b), 0
    for path in sorted(glob.glob({folder!r} + "/*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches(batch_size=2**16):
            X = np.column_stack([batch.column(k).to_numpy() for k in range({n})])
            y = batch.column({n}).to_numpy()
            Z = X @ W + b
            Z -= Z.max(axis=1, keepdims=True)
            E = np.exp(Z)
            total = E.sum(axis=1, keepdims=True)
            each = np.arange(len(y))
            loss += (np.log(total[:, 0]) - Z[each, y]).sum()
            S = E / total
            S[each, y] -= 1
            G += X.T @ S
            g += S.sum(axis=0)
            rows += len(y)
    return loss / rows, G / rows, g / rows
"""
OURS = """
from xegrad import Claim, Tolerance
from xegrad.data_sets import in_files
from xegrad.engines import ENGINES
from xegrad.full_batch import FullBatch, layer, total, verdict
from xegrad.numbers.arithmetic import PRECISIONS
opened = ENGINES[{engine!r}].opened({workers})
engine = opened.__enter__()
def asked(claimed_in=None):
    data = in_files([{folder!r}], "label", 10)
    return FullBatch(data, layer(W, b), ("weights", "bias"), claimed_in)
def compute():
    one = asked()
    return total(one, engine.map(FullBatch.nodes, one, one.data.runs(one.rows_of_block))).gradients
def verify(gradient):
    one = asked(PRECISIONS["float64"])
    summed = total(one, engine.map(FullBatch.nodes, one, one.data.runs(one.rows_of_block)))
    assert verdict.verify(summed, Claim({{"W": gradient}}), Tolerance()).verified
"""
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}
KILLED = """
import os, signal, threading
def of_this(shared, first, last):
    return os.getpid()
def killing():
    for wait in (1.0, 2.0):
        def kill():
            os.kill(next(engine.map(of_this, 0, [(0, 1)])), signal.SIGKILL)
        timer = threading.Timer(wait, kill)
        timer.daemon = True
        timer.start()
    return compute()
"""
# Not ru_maxrss: a process begins with that of the one that started it, as it was then.
PEAK = """
import re
def peak(shared, first, last):
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
"""


@contextmanager
def written(n_rows: int, n_inputs: int, n_files: int = N_FILES, group: int | None = None) -> Iterator[str]:
    """A folder of files with so many rows in all, and in a row group."""
    random = np.random.default_rng(n_rows)
    names = [*(f"x{k}" for k in range(n_inputs)), "label"]
    group = group or GROUP // n_inputs
    with tempfile.TemporaryDirectory() as folder:
        for number in range(n_files):
            count = n_rows // n_files
            schema = pa.schema([(name, pa.float64()) for name in names[:-1]] + [("label", pa.int64())])
            with pq.ParquetWriter(Path(folder) / f"part-{number}.parquet", schema) as file:
                for start in range(0, count, group):
                    size = min(group, count - start)
                    columns: dict[str, Any] = {name: random.normal(size=size) for name in names[:-1]}
                    columns["label"] = random.integers(0, N_CLASSES, size)
                    file.write_table(pa.table(columns), row_group_size=group)
        yield folder


def sides(folder: str, n_inputs: int) -> dict[str, Code]:
    """The loop, and what stands beside it."""
    layer, loop = LAYER.format(n=n_inputs), LOOP.format(n=n_inputs, folder=folder)
    local = layer + OURS.format(engine="local", workers="", folder=folder)
    dask = layer + OURS.format(engine="dask", workers=2, folder=folder)
    return {
        "loop": Code("loop of pyarrow and numpy", layer + loop, "loop()", environment=ONE_THREAD),
        "local": Code("local", local, "compute()", environment=ONE_THREAD),
        "verify": Code(
            "verify", local + "gradient = compute()['weights']\n", "verify(gradient)", environment=ONE_THREAD
        ),
        "dask": Code("dask, 2 workers", dask, "compute()", environment=ONE_THREAD),
        "killed": Code("dask, 2 workers killed", dask + KILLED, "killing()", environment=ONE_THREAD),
    }


def peaks(folder: str, n_inputs: int) -> tuple[float, float]:
    """The highest memory of a worker, and that of the client, in MiB."""
    import subprocess

    source = LAYER.format(n=n_inputs) + OURS.format(engine="dask", workers=2, folder=folder) + PEAK
    source += "compute()\nprint(max(engine.map(peak, 0, [(k, k + 1) for k in range(20)])), peak(0, 0, 0))\n"
    source += "opened.__exit__(None, None, None)\n"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    worker, client = map(float, done.stdout.split())
    return worker, client


def main(counts: list[int]) -> None:
    rows: list[Row] = []
    a_row: list[Measured] = []
    for n_rows in counts:
        with written(n_rows, 20) as folder:
            these = sides(folder, 20)
            names = ["loop", "local", "verify", "dask", *(["killed"] if n_rows == max(counts) else [])]
            measured = dict(zip(names, measure(*(these[name] for name in names), rounds=ROUNDS), strict=True))
            size = f"{n_rows:,} rows x 20"
            rows.append(Row(f"{size}, local", measured["local"], measured["loop"], 1.15))
            rows.append(Row(f"{size}, dask", measured["dask"], measured["loop"], 0.8))
            rows.append(Row(f"{size}, verify", measured["verify"], measured["local"], 1.8))
            if "killed" in measured:
                rows.append(Row(f"{size}, two workers killed", measured["killed"], measured["dask"], 1.5))
            one = measured["local"]
            a_row.append(one._replace(name=size, wall=one.wall / n_rows, cpu=one.cpu / n_rows))
            worker, client = peaks(folder, 20)
            print(
                f"{size}: a worker {worker:.0f} MiB (goal 300), the client {client:.0f} MiB (goal 400)",
                flush=True,
            )
    if len(a_row) > 1:
        rows.append(Row("a row, local", a_row[-1], a_row[0], 1.1))
    report("Data sets", rows, ROUNDS)
    with written(3 * 2**16, 784, n_files=3, group=2**16) as folder:
        worker, client = peaks(folder, 784)
        print(
            f"196,608 rows x 784, 65,536 in a row group: a worker {worker:.0f} MiB (goal 800), "
            f"the client {client:.0f} MiB (goal 400)"
        )


if __name__ == "__main__":
    os.environ.update(ONE_THREAD)
    main([int(text) for text in sys.argv[1:]] or [1_000_000, 10_000_000])
