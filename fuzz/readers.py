"""Look for bytes that break a reader: coverage-guided fuzzing, by atheris.

    pip install -e '.[fuzz]'
    python fuzz/readers.py                          # each: 30 minutes of the processor, or ten million executions
    python fuzz/readers.py --minutes 3 json csv
    python fuzz/readers.py --keep                   # what the tests try is made of what was seen
    python fuzz/readers.py --try FILE json          # one input

What breaks a reader is written to fuzz/found/READER-..., the shortest input for each place in the code that raises;
each input that runs code that others do not, to fuzz/seen/READER.  `--keep` keeps the fewest that run the same code,
and those that were found.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import checks
import corpus
import seeds

HERE = Path(__file__).parent.resolve()
FOUND, SEEN = HERE / "found", HERE / "seen"
EXECUTIONS = 10_000_000
# Bytes, MB, and seconds of the clock, which others may use: those of the processor are in checks.READERS.
LIMITS = ("-max_len=6000", "-len_control=0", "-rss_limit_mb=3000", "-timeout=300")


def search(reader: str, minutes: float) -> None:
    """Look for what breaks a reader."""
    with _begun(reader) as folder:
        _run(
            reader,
            minutes,
            f"-runs={EXECUTIONS}",
            f"-artifact_prefix={FOUND}/{reader}-",
            "-print_final_stats=1",
            str(SEEN / reader),
            folder,
        )


def keep(reader: str) -> None:
    """Keep the fewest inputs that run the same code as all that were seen, and those that were found."""
    with _begun(reader) as folder, tempfile.TemporaryDirectory() as fewest:
        _run(reader, math.inf, "-set_cover_merge=1", fewest, str(SEEN / reader), folder)
        found = [path.read_bytes() for path in FOUND.glob(f"{reader}-*")]
        kept = sorted((path.read_bytes() for path in Path(fewest).iterdir()), key=len)
        corpus.keep(reader, kept[: checks.READERS[reader].most], found)


@contextmanager
def _begun(reader: str) -> Iterator[str]:
    """A folder of what a search begins with: the inputs that are kept, and the seeds."""
    for folder in (FOUND, SEEN / reader):
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as begun:
        for number, data in enumerate((*corpus.inputs(reader).values(), *seeds.of(reader))):
            (Path(begun) / str(number)).write_bytes(data)
        yield begun


def _run(reader: str, minutes: float, *options: str) -> None:
    command = [sys.executable, str(HERE / "search.py"), reader, str(FOUND), str(minutes), *LIMITS, *options]
    if status := subprocess.run(command, check=False).returncode:
        print(f"== {reader}: libFuzzer ended with {status}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("readers", nargs="*", metavar="READER", help=", ".join(checks.READERS))
    parser.add_argument("--minutes", type=float, default=30, help="of the processor, for each reader (30)")
    parser.add_argument("--keep", action="store_true", help="make what the tests try")
    parser.add_argument(
        "--try", dest="input", metavar="FILE", type=Path, help="give these bytes to the readers"
    )
    asked = parser.parse_args()
    for reader in asked.readers or checks.READERS:
        print(f"== {reader}, {time.strftime('%H:%M:%S')}", flush=True)
        if asked.input:
            data = asked.input.read_bytes()
            checks.check_timed(reader, data)
        elif asked.keep:
            keep(reader)
        else:
            search(reader, asked.minutes)


if __name__ == "__main__":
    main()
