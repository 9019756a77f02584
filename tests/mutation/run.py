"""How many mutants of the code the tests catch.

    python tests/mutation/run.py [--sample 200] [--seed 1] [--seconds 20] [ROOM ...]
    python tests/mutation/run.py --again --seconds 300 [ROOM ...]

A room is a file or a folder of `src/xegrad`.  Of each room a sample is tried, always the same one for a seed; 0 is all
of them.  `--again` tries the survivors again that are not explained: longer, or by a test that was written since.
`--outside` tries only those of the sample that are outside of all functions, beside what was tried before.

What is printed: the survivors that `equivalent.txt` does not explain, and a line for each room.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import pickle
import random
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from mutants import SOURCE, Mutant, mutants
from trials import UNFINISHED, try_all, what_tests_reach

ROOMS = [
    "targets.py",
    "layer.py",
    "numbers",
    "methods",
    "bounds.py",
    "comparison.py",
    "judgement.py",
    "diagnosis",
    "formats",
]
ROOT = SOURCE.parents[1]
KEPT = ROOT / ".mutation"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("rooms", nargs="*", default=ROOMS)
    parser.add_argument("--sample", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--again", action="store_true")
    parser.add_argument(
        "--keep-map", action="store_true", help="which tests reach what is known, but of new tests"
    )
    parser.add_argument("--outside", action="store_true", help="of the sample those outside of all functions")
    options = parser.parse_args()
    os.chdir(ROOT)
    KEPT.mkdir(exist_ok=True)
    map_file = KEPT / "map.pickle"
    known, hashes = (
        pickle.loads(map_file.read_bytes()) if options.keep_map and map_file.exists() else ({}, {})
    )
    hashes = hashes or source_hashes()
    reached = what_tests_reach(known)
    map_file.write_bytes(pickle.dumps((reached, hashes)))
    changed = {file for file, now in source_hashes().items() if hashes.get(file) != now}
    print(f"{len(reached)} tests, {sum(one.seconds for one in reached.values()):.0f} s")
    every = {room: mutants(room) for room in options.rooms}
    chosen: list[Mutant] = []
    for room, these in every.items():
        if options.again:
            alive = {
                key for key, test in results(room).items() if test in ("", UNFINISHED)
            } - equivalent().keys()
            chosen += [one for one in these if one.key in alive]
        else:
            sample = random.Random(options.seed).sample(these, min(options.sample or len(these), len(these)))
            if options.outside:
                sample = [one for one in sample if not one.function]
            else:
                of_room(room).unlink(missing_ok=True)
            chosen += sample
    try_all(chosen, reached, options.seconds, told, changed)
    for room, these in every.items():
        report(
            room, {one.key: results(room)[one.key] for one in these if one.key in results(room)}, len(these)
        )


def source_hashes() -> dict[str, str]:
    """Of each file: the blocks of one that has changed since they were marked are elsewhere."""
    files = SOURCE.rglob("*.py")
    return {str(file.relative_to(SOURCE)): hashlib.sha1(file.read_bytes()).hexdigest() for file in files}


def told(mutant: Mutant, test: str) -> None:
    """Kept at once, so that little is lost if someone ends it."""
    of_room(mutant.room).write_text(json.dumps(results(mutant.room) | {mutant.key: test}, indent=0))


def of_room(room: str) -> Path:
    return KEPT / f"{room.removesuffix('.py')}.json"


def results(room: str) -> dict[str, str]:
    """By which test each mutant was caught, "" or `UNFINISHED` of one that was not."""
    return json.loads(of_room(room).read_text()) if of_room(room).exists() else {}


def report(room: str, caught: dict[str, str], of: int) -> None:
    reasons = equivalent()
    alive = [key for key, test in caught.items() if test in ("", UNFINISHED)]
    for key in sorted(alive):
        if key not in reasons:
            print(f"  {key}{'   ...' if caught[key] == UNFINISHED else ''}")
    explained = sum(key in reasons for key in alive)
    n, n_caught = len(caught), len(caught) - len(alive)
    low, high = interval(n_caught, n - explained)
    print(
        f"{room}: {of} mutants, {n} tried, {n_caught} caught, {explained} explained, {len(alive) - explained} not; "
        f"caught of those not explained: {100 * n_caught / (n - explained):.0f} % ({low:.0f} to {high:.0f} %)"
    )


def interval(caught: int, n: int) -> tuple[float, float]:
    """Percent, with a confidence of 95 % (Wilson)."""
    z, part = 1.96, caught / n
    middle, half = part + z * z / (2 * n), z * math.sqrt(part * (1 - part) / n + z * z / (4 * n * n))
    return 100 * (middle - half) / (1 + z * z / n), 100 * (middle + half) / (1 + z * z / n)


def equivalent() -> dict[str, str]:
    """Why nobody can notice a mutant, by its key: a reason, and the mutants it holds for below it, indented."""
    reasons, reason = {}, ""
    for line in (Path(__file__).parent / "equivalent.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("  "):
            reasons[line.strip()] = reason
        elif line:
            reason = line
    return reasons


if __name__ == "__main__":
    main()
