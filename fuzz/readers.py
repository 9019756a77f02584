"""Look for bytes that break a reader: coverage-guided fuzzing, by atheris.

    pip install -e '.[fuzz]'
    python fuzz/readers.py --minutes 30            # each reader in turn
    python fuzz/readers.py --minutes 30 json csv

What breaks a reader is written to fuzz/found/READER-..., and so is every input that runs new code, to fuzz/seen/READER.
`--keep` makes the inputs that the tests try out of these, the fewest that run the same code, and ends.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

import atheris

HERE = Path(__file__).parent.resolve()
FOUND, SEEN = HERE / "found", HERE / "seen"
EXECUTIONS = 10_000_000
LONGEST = 6000  # bytes of an input
MOST_MEMORY = 1024  # MB

os.environ["OPENBLAS_NUM_THREADS"] = "1"
sys.setrecursionlimit(1000)
with atheris.instrument_imports(
    include=["xegrad.formats", "xegrad.cli.inputs", "xegrad.problem", "xegrad.targets", "xegrad.arrays", "xegrad.claim",
             "xegrad.naming", "zipfile", "numpy.lib.format", "numpy.lib._format_impl", "ast", "json"]
):  # fmt: skip
    import checks
    import xegrad

    for module in pkgutil.walk_packages(xegrad.__path__, "xegrad."):  # all at once: none while it is timed
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)

import contract  # noqa: E402
import corpus  # noqa: E402
import seeds  # noqa: E402
from contract import Broken  # noqa: E402
from mutations import MUTATIONS  # noqa: E402


def fuzz(reader: str, arguments: list[str]) -> None:
    """Run libFuzzer on one reader, in this process, which it ends."""
    mutate = MUTATIONS.get(checks.READERS[reader].kind)

    def mutated(data: bytes, max_size: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if mutate is None or rng.random() < 0.3:
            return atheris.Mutate(data, max_size)
        return mutate(data, rng)[:max_size]

    def test_one_input(data: bytes) -> None:
        try:
            checks.check(reader, data)
        except Exception as error:
            note(reader, data, error)

    resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30, 3 * 2**30))
    atheris.Setup([sys.argv[0], *arguments], test_one_input, custom_mutator=mutated)
    with contract.scratch():
        atheris.Fuzz()


def note(reader: str, data: bytes, error: Exception) -> None:
    """Write down what breaks a reader, the shortest for each place where it does, and go on."""
    where = place(error)
    path = FOUND / f"{reader}-{re.sub('[^A-Za-z0-9.]+', '-', where)[:80]}"
    if path.exists() and path.stat().st_size <= len(data):
        return
    if not path.exists():
        print(f"FOUND {reader}: {where}: {str(error)[:300]!r}: {path}", flush=True)
    path.write_bytes(data)


def place(error: BaseException) -> str:
    """What an error is and where it was raised, by which it is told from others."""
    cause = error.__context__ if isinstance(error, Broken) and error.__context__ else error
    frames = [one for one in traceback.extract_tb(cause.__traceback__) if "xegrad/" in one.filename]
    what = (
        type(error).__name__
        if cause is not error or not isinstance(error, Broken)
        else re.sub("[^A-Za-z ]+", "", str(error))[:40]
    )
    return f"{what} at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else what


def search(reader: str, minutes: float) -> bool:
    """Look for what breaks a reader, in a process of its own; whether nothing was found."""
    seen = SEEN / reader
    seen.mkdir(parents=True, exist_ok=True)
    FOUND.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, data in (
            *corpus.inputs(reader).items(),
            *((f"seed-{k}", one) for k, one in enumerate(seeds.of(reader))),
        ):
            (Path(folder) / name).write_bytes(data)
        return _run(
            reader,
            f"-max_total_time={round(60 * minutes)}",
            f"-runs={EXECUTIONS}",
            f"-artifact_prefix={FOUND}/{reader}-",
            "-print_final_stats=1",
            str(seen),
            folder,
        )


def keep(reader: str) -> None:
    """Keep the fewest inputs that run the same code as all that were seen."""
    with tempfile.TemporaryDirectory() as kept, tempfile.TemporaryDirectory() as before:
        for name, data in (
            *corpus.inputs(reader).items(),
            *((f"seed-{k}", one) for k, one in enumerate(seeds.of(reader))),
        ):
            (Path(before) / name).write_bytes(data)
        _run(reader, "-set_cover_merge=1", kept, str(SEEN / reader), before)
        corpus.keep(reader, [path.read_bytes() for path in Path(kept).iterdir()])


def _run(reader: str, *arguments: str) -> bool:
    limits = (f"-max_len={LONGEST}", f"-rss_limit_mb={MOST_MEMORY}", "-timeout=20", "-len_control=0")
    return (
        subprocess.run(
            [sys.executable, str(HERE / "readers.py"), "--inside", reader, *limits, *arguments], check=False
        ).returncode
        == 0
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("readers", nargs="*", metavar="READER", help=", ".join(checks.READERS))
    parser.add_argument("--minutes", type=float, default=30, help="of each reader (30)")
    parser.add_argument("--keep", action="store_true", help="keep for the tests what was seen")
    parser.add_argument(
        "--try", dest="inputs", nargs="+", metavar="FILE", help="give these to the one reader"
    )
    chosen = parser.parse_args()
    readers = chosen.readers or [*checks.READERS]
    if chosen.inputs:
        with contract.scratch():
            for path in chosen.inputs:
                checks.check(readers[0], Path(path).read_bytes())
        return 0
    for reader in readers:
        print(f"== {reader} {time.strftime('%H:%M:%S')}", flush=True)
        if chosen.keep:
            keep(reader)
        else:
            search(reader, chosen.minutes)
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        fuzz(sys.argv[2], sys.argv[3:])
    else:
        sys.exit(main())
