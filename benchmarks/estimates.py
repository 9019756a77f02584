"""The time of each method, and of reading each format of data sets, beside its estimate, by which it is said, left out,
or computed unasked.

    OPENBLAS_NUM_THREADS=1 python benchmarks/estimates.py [SECONDS]

In CPU time, the least of five; sizes whose estimate is above SECONDS (2 by default) are left out.  The constants in
`work` were fitted so in November 2026, on two virtual cores that other programs used as well, and are 0.6 of what was
measured: before, on the same cores with little else to do, the same sizes had taken a third to a half of it.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet

from xegrad import METHODS, Problem, Targets, data_sets

SIZES = (
    (1, 3, 5),
    (150, 4, 3),
    (1, 20, 20),
    (1, 784, 10),
    (64, 784, 10),
    (4096, 784, 10),
    (20_000, 100, 50),
    (1, 100, 100),
    (64, 64, 100),
    (1, 100, 1000),
    (64, 128, 1000),
    (1, 1000, 1000),
    (1, 10, 4000),
    (1, 4096, 32_000),
    (512, 1024, 8192),
    (100_000, 1, 2),
    (1_000_000, 1, 2),
    (100_000, 20, 5),
    (20_000, 10, 10),
    (1000, 3, 300),
    (1, 1, 20_000),
    (1, 3000, 300),
    (1, 20_000, 100),
    (1, 20_000, 2),
    (1, 1_000_000, 2),
    (1, 1, 1_000_000),
)
FILES = ((200_000, 1), (100_000, 5), (30_000, 20), (2000, 400))  # rows and inputs
ROUNDS = 5


def problem(n_rows: int, n_inputs: int, n_classes: int) -> Problem:
    """Numbers of one size, and logits near one."""
    random = np.random.default_rng(0)
    return Problem(
        random.normal(size=(n_inputs, n_classes)) / np.sqrt(n_inputs),
        random.normal(size=(n_rows, n_inputs)),
        Targets(labels=random.integers(n_classes, size=n_rows)),
    )


def measured(method: str, sizes: tuple[int, int, int]) -> float:
    """The least CPU time of an evaluation, of a problem that nothing is known of."""
    times = []
    METHODS[method].evaluate(problem(1, 1, 2))  # imports what it needs
    for _ in range(ROUNDS):
        one = problem(*sizes)
        start = time.process_time()
        METHODS[method].evaluate(one)
        times.append(time.process_time() - start)
        if sum(times) > 1:
            break
    return min(times)


def write_csv(table: pa.Table, path: Path) -> None:
    csv.write_csv(table, path)


def write_npy(table: pa.Table, path: Path) -> None:
    np.save(path, np.column_stack([column.to_numpy() for column in table.columns]))


def write_ndjson(table: pa.Table, path: Path) -> None:
    path.write_bytes(msgspec.json.Encoder().encode_lines(table.to_pylist()))


WRITERS: dict[str, Callable[[pa.Table, Path], None]] = {
    "npy": write_npy,
    "parquet": parquet.write_table,
    "csv": write_csv,
    "ndjson": write_ndjson,
}


def of_files(suffix: str, n_rows: int, n_inputs: int) -> tuple[float, float]:
    """The estimate for reading such a file, and the least CPU time of it."""
    random, times = np.random.default_rng(0), []
    columns = {str(k): random.normal(size=n_rows) for k in range(n_inputs)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"rows.{suffix}"
        WRITERS[suffix](pa.table({**columns, str(n_inputs): random.integers(3, size=n_rows)}), path)
        data = data_sets.in_files([path], str(n_inputs), 3)
        for _ in range(ROUNDS):
            start = time.process_time()
            for _ in data.blocks(0, -(-n_rows // 4096), 4096):
                pass
            times.append(time.process_time() - start)
    return data.work, min(times)


def main() -> None:
    most = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    print("| method | B, N, T | estimate | measured | ratio |\n|---|---|---|---|---|")
    for method in METHODS:
        for sizes in SIZES:
            estimate = METHODS[method].work(problem(*sizes))
            if estimate <= most:
                time_taken = measured(method, sizes)
                figures = f"{1e3 * estimate:.3g} ms | {1e3 * time_taken:.3g} ms | {estimate / time_taken:.2f}"
                print(f"| {method} | {sizes} | {figures} |", flush=True)
    print("\n| format | B, N | estimate | measured | ratio |\n|---|---|---|---|---|")
    for suffix in WRITERS:
        for of_file in FILES:
            estimate, time_taken = of_files(suffix, *of_file)
            figures = f"{1e3 * estimate:.3g} ms | {1e3 * time_taken:.3g} ms | {estimate / time_taken:.2f}"
            print(f"| {suffix} | {of_file} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
