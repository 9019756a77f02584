"""What the bits of a result depend on beside its numbers: numpy, its BLAS, the kernel of that, the processor."""

from __future__ import annotations

import importlib
import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from xegrad.errors import InputError


@cache
def one_thread() -> None:
    """From here on the BLAS of this process has one thread: with more, bits of some shapes change.

    It is set once, since tasks in other threads of the process may be in the middle of a product.
    """
    importlib.import_module("numpy")  # which brings its BLAS
    _threadpoolctl().threadpool_limits(limits=1, user_api="blas")


@cache
def fingerprint() -> Mapping[str, Any]:
    """Two processes with the same give the same bits."""
    import numpy as np

    blas = [info for info in _threadpoolctl().threadpool_info() if info["user_api"] == "blas"]
    # That of numpy is in its folder, or beside it in numpy.libs; other packages may have brought their own.
    folder = str(Path(np.__file__).parent)
    blas = [info for info in blas if info["filepath"].startswith(folder)] or blas
    libraries = [f"{info['internal_api']} {info['version']}" for info in blas]
    kernels = [str(info.get("architecture", "")) for info in blas]
    features = np.show_config(mode="dicts").get("SIMD Extensions", {}).get("found", [])
    return {
        "xegrad": importlib.import_module("xegrad").__version__,
        "numpy": np.__version__,
        "blas": ", ".join(libraries),
        "kernel": ", ".join(kernels),
        "machine": platform.machine(),
        "cpu_features": list(features),  # for which numpy has code that it chooses, as it starts
    }


def _threadpoolctl() -> Any:
    try:
        import threadpoolctl
    except ImportError:
        raise InputError("a data set needs threadpoolctl: pip install 'xegrad[data]'") from None
    return threadpoolctl
