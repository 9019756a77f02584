"""The files that a command line names: nothing is written over what is read, nor two things to one place."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Collection, Iterable
from typing import TextIO

from xegrad.cli import writing
from xegrad.errors import UsageError
from xegrad.naming import source_name

# What tells one file from another: its number on its disk, or where it will be; the kind of what has no end.
Identity = tuple["int | str", ...]


def check(inputs: Iterable[str], asked: Collection[tuple[str, str | None]]) -> None:
    """Raise where an output cannot be written to, is read, or is asked for twice.  `asked` are options and their files.

    A file is the same whatever it is called: by a link, through a descriptor, in capitals where these do not count.
    """
    outputs = {f"{option} {name}": name for option, name in asked if name is not None and name != "-"}
    if any(name == "-" or (option, name) == ("-o", None) for option, name in asked):
        outputs["standard output"] = "-"
    read = {identity: name for name in inputs if (identity := _regular(name, sys.stdin))}
    written: dict[Identity, str] = {}
    for output, name in outputs.items():
        if name != "-":
            writing.check_place(name)
        identity = _regular(name, sys.stdout)
        if identity in read:
            source = source_name(read[identity])
            raise UsageError(f"{output} would be written over {source}, which is read; give it another name")
        identity = identity or _without_number(name)
        if identity in written:
            raise UsageError(f"{written[identity]} and {output} are one place; give them two names")
        if identity:
            written[identity] = output


def _status(name: str, standard: TextIO) -> os.stat_result | None:
    """What the system says of a file, of standard input or of standard output."""
    try:
        return os.fstat(standard.fileno()) if name == "-" else os.stat(name)  # noqa: PTH116
    except (OSError, ValueError):  # there is none, or none that has a descriptor
        return None


def _regular(name: str, standard: TextIO) -> Identity | None:
    """The number of a file that has an end: what is read from a pipe or a device is not what is written there."""
    status = _status(name, standard)
    return (status.st_dev, status.st_ino) if status and stat.S_ISREG(status.st_mode) else None


def _without_number(name: str) -> Identity | None:
    """A pipe, or a file that is not there yet; nothing of a device, which takes two things."""
    status = _status(name, sys.stdout)
    if status is not None:
        return None if stat.S_ISCHR(status.st_mode) else (status.st_dev, status.st_ino)
    folder, last = os.path.split(writing.followed(name))
    of_folder = _status(folder or ".", sys.stdout)
    return (of_folder.st_dev, of_folder.st_ino, last.casefold()) if of_folder else None
