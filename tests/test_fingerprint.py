"""What bits depend on: the threads of a BLAS, which are held to one, and what the fingerprint says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

pytest.importorskip("threadpoolctl")

SHAPES = """
import hashlib, itertools, json
import numpy as np
from threadpoolctl import threadpool_limits
from xegrad.engines import fingerprint

SHAPES = [*itertools.product((64, 1000, 2048, 8192), (8, 20, 100, 784), (3, 10, 32))]

def bits():
    random = np.random.default_rng(18)
    products = [random.normal(size=(B, N)).T @ random.normal(size=(B, T)) for B, N, T in SHAPES]
    return [hashlib.sha256(product.tobytes()).hexdigest() for product in products]

with threadpool_limits(1):
    by_one = bits()
with threadpool_limits(2):
    by_two = bits()
as_started = bits()
fingerprint.one_thread()
print(json.dumps({"one": by_one, "two": by_two, "as started": as_started, "limited": bits()}))
"""


def printed(code: str, **environment: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, env={**os.environ, **environment}
    )
    return json.loads(done.stdout)


def test_some_shapes_depend_on_the_threads_and_none_once_they_are_limited() -> None:
    """The table of B, N and T over which X' R is formed: so the limit is needed, and it holds."""
    alone = printed(SHAPES, OPENBLAS_NUM_THREADS="1")
    among = printed(SHAPES, OPENBLAS_NUM_THREADS="2")
    assert alone["one"] == among["one"] == alone["limited"] == among["limited"]
    assert among["as started"] in (among["one"], among["two"])  # of one processor, or of more
    if alone["one"] == alone["two"]:
        pytest.skip("this BLAS has one thread, or gives the same bits with two")
    assert sum(one != two for one, two in zip(alone["one"], alone["two"], strict=True)) < len(alone["one"])


FINGERPRINT = (
    "import json; from xegrad.engines import fingerprint; print(json.dumps(fingerprint.fingerprint()))"
)


def test_the_fingerprint_says_which_code_numpy_and_its_blas_have_chosen() -> None:
    usual = printed(FINGERPRINT)
    assert [*usual] == ["xegrad", "numpy", "blas", "kernel", "machine", "cpu_features"]
    if usual["machine"] != "x86_64" or "openblas" not in usual["blas"]:
        pytest.skip("what can be chosen is known here of OpenBLAS on x86-64")
    other = printed(FINGERPRINT, OPENBLAS_CORETYPE="Nehalem")
    assert {name for name in usual if usual[name] != other[name]} == {"kernel"}
    [*_, last] = usual["cpu_features"]
    other = printed(FINGERPRINT, NPY_DISABLE_CPU_FEATURES=last)
    assert other["cpu_features"] == usual["cpu_features"][:-1]


def test_a_blas_of_another_package_is_not_that_of_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    import threadpoolctl

    from xegrad.engines import fingerprint

    of_numpy = fingerprint.fingerprint()
    infos = [*threadpoolctl.threadpool_info()]
    other = {**infos[0], "filepath": "/elsewhere/libblas.so", "version": "0.0", "user_api": "blas"}
    monkeypatch.setattr(threadpoolctl, "threadpool_info", lambda: [other, *infos])
    assert fingerprint.fingerprint.__wrapped__() == of_numpy
