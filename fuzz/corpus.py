"""The inputs that are kept of each reader: one ZIP each, the same bytes for the same inputs."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "tests" / "data" / "corpus"
FOUND = "found-"  # begins the names of inputs that broke a reader once: these are always kept


def inputs(reader: str) -> dict[str, bytes]:
    """What is kept of a reader, by name; nothing if there is none."""
    path = FOLDER / f"{reader}.zip"
    if not path.exists():
        return {}
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def keep(reader: str, data: Iterable[bytes], found: Iterable[bytes] = ()) -> None:
    """Write these inputs, and beside them those that were found to break the reader."""
    kept = {name: one for name, one in inputs(reader).items() if name.startswith(FOUND)}
    kept |= {FOUND + _digest(one): one for one in found}
    kept |= {_digest(one): one for one in data if one not in kept.values()}
    FOLDER.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(FOLDER / f"{reader}.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, one in sorted(kept.items()):
            archive.writestr(zipfile.ZipInfo(name), one, zipfile.ZIP_DEFLATED)


def _digest(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()[:8]
