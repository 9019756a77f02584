"""Files that are broken, or made to break: one line that names the file, nothing unpickled, and little memory."""

from __future__ import annotations

import io
import json
import tracemalloc
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import Run
from xegrad import formats, max_memory
from xegrad.errors import InputError

ODD = 2**53 + 1  # the first whole number that float64 lacks
TWO = np.array([1.5, -2.0]).tobytes()


def npy(
    shape: Any, descr: Any = "<f8", data: bytes = b"", *, header: str = "", version: bytes = b"\1\0"
) -> bytes:
    """NPY by its description (numpy.lib.format), whatever its header claims."""
    text = (header or repr({"descr": descr, "fortran_order": False, "shape": shape})).encode()
    return b"\x93NUMPY" + version + len(text).to_bytes(2 if version == b"\1\0" else 4, "little") + text + data


def npz(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return out.getvalue()


ARRAYS: Mapping[str, tuple[bytes, str]] = {
    "1e18 numbers": (
        npy((10**18,)),
        "0 bytes of numbers are there, not the 8000000000000000000 of its shape",
    ),
    "more than int64": (npy((10**9, 10**9, 10**9)), "0 bytes of numbers are there"),
    "a negative axis": (npy((-1, 2)), r"its shape is \(-1, 2\)"),
    "an axis that is no number": (npy((True, 2), data=TWO), r"its shape is \(True, 2\)"),
    "a list as its shape": (npy([1, 2], data=TWO), r"its shape is \[1, 2\]"),
    "70 axes": (npy((1,) * 70, data=TWO[:8]), "cannot be read as NPY"),
    "too few numbers": (npy((2, 2), data=TWO), "16 bytes of numbers are there, not the 32"),
    "too many": (npy((1, 2), data=TWO + b"0"), "17 bytes of numbers are there, not the 16"),
    "records": (npy((1,), [("a", "<f8")], TWO[:8]), "holds records"),
    "records of a list": (npy((1,), "f8,f8", TWO), "real numbers are expected"),
    "objects": (npy((1,), "O", TWO[:8]), "holds Python objects, .* never read"),
    "texts of any length": (npy((1,), "T", TWO), "cannot be read as NPY"),
    "nothing, many times": (npy((10**18,), "V0"), "cannot be read as NPY"),
    "rows of nothing": (npy((2**59, 0)), f"is {2**59} x 0 and holds no number; one at least is expected"),
    "a shape that float64 has not": (npy((0, 2**62), "|i1"), f"is 0 x {2**62} and holds no number"),
    "complex numbers": (npy((1,), "<c16", TWO), "holds complex128"),
    "dates": (npy((2,), "<M8[s]", TWO), "holds datetime64"),
    "a name that numpy gives up": (npy((2,), "a8", TWO), "(real numbers are expected|cannot be read as NPY)"),
    "a type that is none": (npy((2,), "<f9", TWO), "cannot be read as NPY"),
    "a number as its type": (npy((2,), 8, TWO), "holds records"),
    "brackets in brackets": (npy((), header="-" * 9000 + "1"), "nested too deeply"),
    "a program as header": (npy((), header="__import__('os').getpid()"), r"its header is .*os.*getpid\(\)"),
    "a sum in its header": (
        npy((), header="{'descr': '<f8', 'fortran_order': False, 'shape': (1 + 1,)}"),
        "its header is .*, which numpy does not write",
    ),
    "a header of another thing": (npy((), header="{'descr': '<f8'}"), "its header is"),
    "a header that is too long": (
        npy((2,), header=" " * 20_000, version=b"\2\0"),
        "its header has 20000 bytes",
    ),
    "a version that is none": (npy((2,), data=TWO, version=b"\x09\0"), "no version 9.0"),
    "its mark alone": (b"\x93NUMPY", "cannot be read as NPY"),
}


@pytest.mark.parametrize(("data", "why"), ARRAYS.values(), ids=ARRAYS)
def test_an_array_that_is_none_is_refused_in_npy_and_in_npz(data: bytes, why: str) -> None:
    for name, file in (("npy", data), ("npz", npz(W=data))):
        with pytest.raises(InputError, match=f"^f.{name}.*{why}"):
            formats.FORMATS[name].load(file, f"f.{name}", "W")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (npy((1, 2), ">f8", np.array([1.5, -2.0], ">f8").tobytes()), [[1.5, -2.0]]),
        (
            npy((2, 1), header="{'descr': '<f8', 'fortran_order': True, 'shape': (2, 1)}", data=TWO),
            [[1.5], [-2.0]],
        ),
        (npy((1, 2), "<f8", TWO, version=b"\3\0"), [[1.5, -2.0]]),
        (
            npy((2, 2), header='{"shape":(2,2),"fortran_order":True,"descr":"|i1"}', data=b"\1\2\3\4"),
            [[1, 3], [2, 4]],
        ),
    ],
)
def test_every_order_of_bytes_and_of_axes_is_read(data: bytes, expected: list[list[float]]) -> None:
    for name, file in (("npy", data), ("npz", npz(W=data))):
        assert formats.FORMATS[name].load(file, "f", "W").values["W"].tolist() == expected


def test_float32_is_float32_in_any_order_of_bytes(tmp_path: Path) -> None:
    for order in "<>":
        ones = np.ones((2, 2), order + "f4")
        np.savez(tmp_path / "problem.npz", W=ones, x=ones, label=np.array([0, 1]))
        assert formats.read(tmp_path / "problem.npz").dtype == np.float32


@pytest.mark.parametrize("field", ["classes", "id", "label", "reduction"])
@pytest.mark.parametrize("letter", [0xD800, 0xDFFF, 0x110000, 2**31])
def test_text_that_is_none_is_refused(field: str, letter: int) -> None:
    for order in ("little", "big"):
        descr, shape = f"{'<' if order == 'little' else '>'}U1", (1,) if field == "classes" else ()
        text = npy(shape, descr, letter.to_bytes(4, order))
        with pytest.raises(InputError, match="holds half of a character, or what is none"):
            formats.FORMATS["npz"].load(npz(**{field: text}), "f.npz")


def changed(data: bytes, place: int, *values: int) -> bytes:
    return data[:place] + bytes(values) + data[place + len(values) :]


def twice(name: str, other: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, pytest.warns(UserWarning) if name == other else io.BytesIO():
        for member in (name, other):
            archive.writestr(member, npy((1, 2), data=TWO))
    return out.getvalue()


WHOLE = npz(W=npy((1, 2), data=TWO))
LISTED = WHOLE.index(b"PK\1\2")
ARCHIVES: Mapping[str, tuple[bytes, str]] = {
    "a password": (changed(changed(WHOLE, 6, 1), LISTED + 8, 1), "password|encrypted"),
    "a compression that is none": (changed(changed(WHOLE, 8, 99), LISTED + 10, 99), "numpy does not write"),
    "LZMA": (changed(changed(WHOLE, 8, 14), LISTED + 10, 14), "numpy does not write"),
    "bzip2": (changed(changed(WHOLE, 8, 12), LISTED + 10, 12), "numpy does not write"),
    "a wrong sum": (changed(changed(WHOLE, 14, 1, 2, 3, 4), LISTED + 16, 1, 2, 3, 4), "Bad CRC-32"),
    "one array twice": (twice("W.npy", "W.npy"), "the key 'W' is given twice"),
    "one array twice, by two names": (twice("W.npy", "W"), "the key 'W' is given twice"),
    "no list of members": (WHOLE[:LISTED], "cannot be read as NPZ"),
    "half of it": (WHOLE[: len(WHOLE) // 2], "cannot be read as NPZ"),
    "a list that claims more": (changed(WHOLE, len(WHOLE) - 10, 255, 255), "cannot be read as NPZ"),
    # The list says that a member has ten bytes, or four gigabytes: it is unpacked no further, and never before.
    "fewer bytes than it has": (changed(WHOLE, LISTED + 24, 10, 0, 0, 0), ":W: cannot be read as NPY"),
    "more bytes than it has": (
        changed(WHOLE, LISTED + 24, 0, 0, 0, 255),
        "takes 4.3 GB|cannot be read as NPY",
    ),
    "no array": (npz(W=b"garbage"), ":W: cannot be read as NPY"),
}


@pytest.mark.parametrize(("data", "why"), ARCHIVES.values(), ids=ARCHIVES)
def test_an_archive_that_is_broken_is_refused(data: bytes, why: str) -> None:
    for part in ("W", None):
        with pytest.raises(InputError, match=f"^f.npz.*({why})"):
            formats.FORMATS["npz"].load(data, "f.npz", part)


def tensors(header: Any, data: bytes = b"", size: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if size is None else size).to_bytes(8, "little") + text + data


def tensor(dtype: str = "F64", shape: Any = (1, 2), begin: Any = 0, end: Any = 16) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


ONE = json.dumps(tensor())
TENSORS: Mapping[str, tuple[bytes, str]] = {
    "a header of a gigabyte": (
        tensors({"W": tensor()}, TWO, 10**9),
        "its header would end at byte 1000000008",
    ),
    "a header of 2^64 bytes": (tensors({"W": tensor()}, TWO, 2**64 - 1), "its header would end at byte"),
    "tensors that overlap": (
        tensors({"W": tensor(), "b": tensor(begin=8, end=24)}, TWO + TWO),
        "'b' begin at 8",
    ),
    "a hole": (tensors({"W": tensor(begin=8, end=24)}, TWO + TWO), "'W' begin at 8"),
    "a place before the first": (tensors({"W": tensor(begin=-16, end=0)}, TWO), "'W' begin at -16"),
    "an end before its beginning": (tensors({"W": tensor(begin=16, end=0)}, TWO), "'W' begin at 16"),
    "a place that is no whole number": (
        tensors({"W": tensor(begin=0.0)}, TWO),
        "cannot be read as safetensors",
    ),
    "bytes of nobody": (tensors({"W": tensor()}, TWO + b"0"), "its tensors end at byte"),
    "too few bytes": (tensors({"W": tensor()}, TWO[:-1]), "its tensors end at byte"),
    "another shape": (tensors({"W": tensor(shape=(1, 3))}, TWO), "not those of its shape"),
    "negative axes": (tensors({"W": tensor(shape=(-1, -2))}, TWO), "not those of its shape"),
    "2000 long axes": (tensors({"W": tensor(shape=[2**62] * 2000)}, TWO), "not those of its shape"),
    "100 axes": (tensors({"W": tensor(shape=[1] * 100 + [2])}, TWO), "101 dimensions"),
    "rows of nothing": (tensors({"W": tensor("F64", (2**62, 0), 0, 0)}), "holds no number"),
    "numbers of 8 bits": (
        tensors({"W": tensor("F8_E4M3", (1, 16))}, TWO),
        "holds 'F8_E4M3', which cannot be read",
    ),
    "a type of 900 letters": (tensors({"W": tensor("Q" * 900)}, TWO), "holds 'QQQ.*…"),
    "NaN in its metadata": (
        tensors(b'{"__metadata__":{"a":NaN},"W":' + ONE.encode() + b"}", TWO),
        "without NaN",
    ),
    "one name twice": (tensors(f'{{"W":{ONE},"W":{ONE}}}'.encode(), TWO), "the key 'W' is given twice"),
    "half a letter": (tensors(b'{"\\ud800":' + ONE.encode() + b"}", TWO), "half characters"),
    "half an object": (tensors(b'{"W":'), "its header, line 1, column 6: malformed JSON"),
    "a list": (tensors(b"[]"), r"its header begins with b.\[\].; an object"),
    "no place": (
        tensors(b'{"W":{"dtype":"F64","shape":[2]}}', TWO),
        r".\]} of .W.; a dtype, a shape and two data_offsets are expected",
    ),
    "what is no UTF-8": (tensors(b'{"\xff":' + ONE.encode() + b"}", TWO), "cannot be read as safetensors"),
    "a number of 5000 digits": (tensors(b'{"W":' + b"9" * 5000 + b"}"), "cannot be read as safetensors"),
    "brackets in brackets": (tensors(b'{"W":' + b"[" * 100_000), "nested too deeply"),
    "no object": (tensors({"W": 3}), "cannot be read as safetensors"),
    "nothing": (tensors({}), "there is no array 'weight' or 'W'"),
}


@pytest.mark.parametrize(("data", "why"), TENSORS.values(), ids=TENSORS)
def test_safetensors_that_are_broken_are_refused(data: bytes, why: str) -> None:
    for part in ("W", None):
        with pytest.raises(InputError, match=f"^f.*{why}") as raised:
            formats.FORMATS["safetensors"].load(data, "f", part)
        assert len(str(raised.value)) <= 300
        assert "`" not in str(raised.value)  # as msgspec quotes its types


def test_only_the_tensor_that_is_asked_for_is_looked_at() -> None:
    """A file of a quantised model has others beside it."""
    data = tensors({"W": tensor(), "scale": tensor("F8_E4M3", (16,), 16, 32)}, TWO + TWO)
    assert formats.FORMATS["safetensors"].load(data, "f").values["W"].tolist() == [[1.5, -2.0]]


@pytest.mark.parametrize("suffix", ["npy", "npz", "safetensors"])
def test_a_whole_number_that_float64_lacks_is_refused_in_every_file(
    run: Run, tmp_path: Path, suffix: str
) -> None:
    number = np.array([[0, ODD]]).tobytes()
    data = {
        "npy": npy((1, 2), "<i8", number),
        "npz": npz(W=npy((1, 2), "<i8", number)),
        "safetensors": tensors({"W": tensor("I64")}, number),
    }[suffix]
    path = tmp_path / f"W.{suffix}"
    path.write_bytes(data)
    for arguments in (
        ("-W", f"{path}", "-x", "1", "-y", "0", *(["--no-transpose"] if suffix == "safetensors" else [])),
        ("-W", "[[1,2]]", "-x", "1", "-y", "0", "--gradient", f"{path}"),
    ):
        outcome = run("verify", *arguments)
        assert (outcome.status, outcome.out) == (2, "")
        assert f"[0, 1] is {ODD}, which float64 does not hold" in outcome.err


@pytest.mark.parametrize("key", ["dtype", "with_respect_to"])
def test_a_word_beside_a_gradient_is_refused_where_it_is_no_text(run: Run, tmp_path: Path, key: str) -> None:
    word = npy((), "<U1", (0x110000).to_bytes(4, "little"))
    (tmp_path / "claim.npz").write_bytes(npz(gradient=npy((1, 2), data=TWO), **{key: word}))
    outcome = run("verify", "-W", "[[1,2]]", "-x", "1", "-y", "0", "--gradient", f"{tmp_path}/claim.npz")
    assert outcome.status == 2
    assert "holds half of a character, or what is none" in outcome.err


def test_what_is_not_asked_for_is_not_unpacked() -> None:
    """Twenty megabytes of zeros take 20 kB in the file."""
    zeros = npz(W=npy((1, 2), data=TWO), other=npy((2 * 10**7,), "|i1", bytes(2 * 10**7)))
    load = formats.FORMATS["npz"].load
    tracemalloc.start()
    assert load(zeros, "f", "W").values["W"].tolist() == [[1.5, -2.0]]
    with (
        max_memory("18MB"),
        pytest.raises(InputError, match="to read it takes 21 MB, and 18 MB is allowed: give less"),
    ):
        load(zeros, "f", "x", "other")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 2e6


class Endless(io.RawIOBase):
    """What always has more, as a pipe from `yes`, or /dev/zero."""

    def __init__(self, text: bytes) -> None:
        self.text, self.n_read = text, 0

    def read(self, size: int = -1) -> bytes:
        self.n_read += size
        return (self.text * (size // len(self.text) + 1))[:size]


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        (b"[1,2],\n", lambda file: formats.read_bytes("-", "")),
        (b"1,2\n", lambda file: formats.read_bytes("-", "")),
        (b"0.5 ", lambda file: formats.read_bytes("-", "", is_claim=True)),
        (b"\x93NUMPY", lambda file: formats.read_bytes("-", "")),
        (b"\0", lambda file: formats.read_bytes("-", "", is_text=False)),
    ],
)
def test_what_has_no_end_is_refused_where_it_passes_the_limit(
    monkeypatch: pytest.MonkeyPatch, text: bytes, reads: Callable[[Any], object]
) -> None:
    file = Endless(text)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
    monkeypatch.setattr("sys.stdin", type("Stdin", (), {"buffer": file})())
    with (
        max_memory("40MB"),
        pytest.raises(InputError, match=r"standard input: to read it takes .* 40 MB is allowed"),
    ):
        reads(file)
    assert file.n_read <= 40e6


def test_zeros_are_no_text(run: Run) -> None:
    outcome = run("compute", "/dev/zero")
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err == "xegrad: /dev/zero: byte 0 is 0, which no text has\n"
