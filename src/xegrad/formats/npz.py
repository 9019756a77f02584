"""NPZ: a problem, or parts of one, as arrays under the keys of JSON, each with its precision.

What an array takes is known from the list of members and from its header, before any of its numbers is read.  Only the
arrays that are asked for are.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from xegrad import memory
from xegrad.arrays import frozen
from xegrad.errors import InputError, shown
from xegrad.formats import naming
from xegrad.formats.npy import read_header, reading
from xegrad.formats.raw_problem import RawProblem
from xegrad.formats.values import chosen, under_keys
from xegrad.problem_spec import FIELDS, unknown_key

OF_GRADIENTS = "gradients."
OF_MEMBER = 1000  # bytes that Python's list of members takes for each of them, at most
PIECE = 2**20  # bytes that are unpacked at a time
# As numpy does it; by other ways a few bytes may ask for a gigabyte to unpack them.
COMPRESSED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
Value = TypeVar("Value")


def load(data: bytes, part: str | None = None, key: str | None = None) -> RawProblem:
    """A problem; or a part: what stands under the key, else under the part's own, else the only array there is."""
    keys = {name: name for name in names_in(data)}
    if part is not None:
        only = [*keys] if key is None and len(keys) == 1 else []
        name = chosen(keys, part, [key or part], only)
        beside = frozenset(keys.keys() & FIELDS.keys() - {name})
        return RawProblem(under_keys(read_arrays(data, [name]), {part: name}), beside=beside)
    others, gradients = with_gradients_apart(keys)
    for name in others:
        if name not in FIELDS:
            raise InputError(unknown_key(name))
    arrays = read_arrays(data, keys)
    values = under_keys(arrays, others)
    several = {symbol: arrays[name] for symbol, name in gradients.items()}
    return RawProblem(values | ({"gradients": several} if several else {}))


def with_gradients_apart(arrays: Mapping[str, Value]) -> tuple[dict[str, Value], dict[str, Value]]:
    """The others, and those called gradients.W, gradients.b, ... by their symbols."""
    if "gradients" in arrays:
        raise InputError("gradients is an array; of each gradient one is expected, as gradients.W")
    others = {key: array for key, array in arrays.items() if not key.startswith(OF_GRADIENTS)}
    return others, {
        key.removeprefix(OF_GRADIENTS): array for key, array in arrays.items() if key not in others
    }


def names_in(data: bytes) -> list[str]:
    """The keys of the arrays."""
    with reading("NPZ"), _opened(data) as archive:
        return [*_members(archive)]


def read_arrays(data: bytes, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """The arrays under these keys, which are there."""
    with reading("NPZ"), _opened(data) as archive:
        members = _members(archive)
        memory.check_reading(len(data) + sum(members[name].file_size for name in names), len(data))
        return {name: _read(archive, members[name], name) for name in names}


def _opened(data: bytes) -> zipfile.ZipFile:
    if not data.startswith(b"PK"):
        raise ValueError("it is no ZIP file")
    memory.check_reading(len(data) + OF_MEMBER * data.count(b"PK\1\2"), len(data))
    return zipfile.ZipFile(io.BytesIO(data))


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The members by the keys of their arrays."""
    members: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        if members.setdefault(name, member) is not member:
            raise InputError(f"the key {shown(name)} is given twice; which of them is meant?")
    return members


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> NDArray[Any]:
    """An array, unpacked piece by piece to the end of the member, where its sum is checked."""
    if not member.filename.endswith(".npy"):
        raise InputError(f":{name} is no array that numpy saved")
    if member.compress_type not in COMPRESSED:
        raise InputError(f":{name} is compressed in a way that numpy does not write; save it by numpy.savez")
    with naming(f":{name}"), reading("NPY"), archive.open(member) as stream:
        header = read_header(stream, member.file_size)
        unpacked = np.empty(header.nbytes, np.uint8)
        place = 0
        while piece := stream.read(PIECE):
            unpacked.data[place : place + len(piece)] = piece
            place += len(piece)
        if place < header.nbytes:
            raise ValueError("it ends before its numbers do")
        return frozen(header.array(unpacked))
