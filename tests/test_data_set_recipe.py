"""The recipe of the README: a scheduler and two workers, started by a shell, judge a gradient."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from conftest import ROOT

pytest.importorskip("distributed")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

pytestmark = pytest.mark.dask

N_ROWS = 3000


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def test_a_scheduler_and_two_workers_judge_a_gradient(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    W, X, y = random.normal(size=(3, 4)), random.normal(size=(N_ROWS, 3)), random.integers(0, 4, N_ROWS)
    Z = X @ W
    S = np.exp(Z - Z.max(axis=1, keepdims=True))
    S /= S.sum(axis=1, keepdims=True)
    S[np.arange(N_ROWS), y] -= 1
    np.save(tmp_path / "W.npy", W)
    np.save(tmp_path / "mine.npy", X.T @ S / N_ROWS)
    (tmp_path / "rows").mkdir()
    for k in range(3):
        rows = slice(k * N_ROWS // 3, (k + 1) * N_ROWS // 3)
        columns = {f"x{j}": X[rows, j] for j in range(3)} | {"label": y[rows]}
        pq.write_table(pa.table(columns), tmp_path / "rows" / f"{k}.parquet")
    (recipe,) = re.findall(r"^```bash\n(.*?)^```$", (ROOT / "README.md").read_text(), flags=re.M | re.S)
    assert recipe.count("8786") == 3
    script = recipe.replace("8786", str(free_port())).replace("--nworkers 2", "--nworkers 2 --no-dashboard")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    bash = shutil.which("bash")
    assert bash is not None
    shell = subprocess.Popen(
        [bash, "-c", f"set -m\n{script.replace('kill %1 %2', '')}\nstatus=$?\nkill %1 %2\nexit $status"],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = shell.communicate(timeout=120)
    finally:
        if shell.poll() is None:
            os.killpg(shell.pid, signal.SIGKILL)
    assert "RIGHT: dL/dW is correct for float64" in " ".join(out.split()), err
    # On a busy machine the second worker may come when all is done.
    assert re.search("by (1 worker|2 workers) of dask", " ".join(out.split()))
    assert shell.returncode == 0
