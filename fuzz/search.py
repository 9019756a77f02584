"""One search by libFuzzer, in this process, which it ends; readers.py starts it: READER FOLDER MINUTES OPTION..."""

from __future__ import annotations

import importlib
import inspect
import os
import random
import re
import resource
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import atheris
import numpy as np

SOURCE = Path(__file__).parent.resolve().parent / "src"
ADDRESSES = 3 * 2**30  # bytes: who asks for more gets a MemoryError, which is found

# What the search is led by: the code that reads, here and below it.  The rest would only be slower.
READ_BY = ("formats", "data_sets", "cli.inputs", "problem", "targets", "arrays", "claim", "naming")
files = (path.relative_to(SOURCE).with_suffix("") for path in SOURCE.rglob("*.py"))
modules = {".".join(path.parts).removesuffix(".__init__") for path in files} - {"xegrad.__main__"}
others = {name for name in modules if not name.removeprefix("xegrad.").startswith(READ_BY)}
with atheris.instrument_imports(include=["xegrad", "zipfile", "json"], exclude=others):
    import checks  # nothing of xegrad is imported before

    for name in modules:  # all at once: none while an input is timed
        importlib.import_module(name)
for function in filter(inspect.isfunction, vars(np.lib.format).values()):
    atheris.instrument_func(function)

from contract import Broken
from mutations import MUTATIONS


def search(reader: str, found: Path, minutes: float, options: list[str]) -> None:
    """Try inputs for so many minutes of the processor; those that break the reader are written to the folder."""
    mutate = MUTATIONS.get(checks.READERS[reader].kind)

    def mutated(data: bytes, max_size: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if mutate is None or rng.random() < 0.3:
            return atheris.Mutate(data, max_size)
        return mutate(data, rng)[:max_size]

    def test_one_input(data: bytes) -> None:
        try:
            checks.check_timed(reader, data)
        except Exception as error:
            _note(found / f"{reader}-{re.sub('[^A-Za-z0-9.]+', '-', _place(error))}", data, error)
        if time.process_time() > 60 * minutes:
            os.kill(os.getpid(), signal.SIGUSR1)  # at which libFuzzer says what it did, and ends

    warnings.simplefilter("ignore")  # of what makes the inputs; the contract has its own
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    # By which libFuzzer starts a merge.
    again = f"{sys.executable} {Path(__file__).resolve()} {reader} {found} {minutes}"
    atheris.Setup([again, *options], test_one_input, custom_mutator=mutated)
    atheris.Fuzz()


def _note(path: Path, data: bytes, error: Exception) -> None:
    """Keep the shortest of the inputs that break the reader in this way, and go on."""
    if not path.exists():
        print(f"FOUND {path}: {error!r:.400}", flush=True)
    if not path.exists() or path.stat().st_size > len(data):
        path.write_bytes(data)


def _place(error: Exception) -> str:
    """Which error it is, and where in xegrad it was raised: by this it is told from others."""
    cause: BaseException = error
    while isinstance(error, Broken) and cause.__context__ is not None:
        cause = cause.__context__
    frames = [one for one in traceback.extract_tb(cause.__traceback__) if "/xegrad/" in one.filename]
    what = (
        type(cause).__name__
        if cause is not error or not isinstance(error, Broken)
        else re.sub("[0-9]+", "", str(error))[:50]
    )
    return f"{what} at {Path(frames[-1].filename).name}-{frames[-1].lineno}" if frames else what


if __name__ == "__main__":
    search(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), sys.argv[4:])
