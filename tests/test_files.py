"""What a file is taken for, what of it is read, and how results stand in JSON: function by function."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import UNSET

from xegrad import InputError, Problem, Targets, compute, max_memory, memory
from xegrad.comparison import Comparison
from xegrad.formats import (
    FORMATS,
    RAW,
    binary_format,
    by_suffix,
    format_of,
    measured,
    ndjson,
    npy,
    npz,
    read_bytes,
    read_raw,
    results,
    safetensors,
    with_key,
)
from xegrad.formats.raw_problem import RawProblem
from xegrad.formats.results import tree
from xegrad.problem import Layout

JSON, CSV, NPY, NPZ = (FORMATS[name] for name in ("json", "csv", "npy", "npz"))
NPY_MARK, NPZ_MARK, TENSORS = b"\x93NUMPY\x01\x00", b"PK\x03\x04data", b"\x02\0\0\0\0\0\0\0{}"


@pytest.mark.parametrize(
    ("path", "data", "asked", "expected"),
    [
        ("a.json", b"1,2", None, "json"),
        ("a.CSV", b"[1]", None, "csv"),
        ("a.ndjson", b"{}", None, "ndjson"),
        ("a.jsonl", b"{}", None, "ndjson"),
        ("a.json", NPY_MARK, None, "npy"),
        ("a", NPZ_MARK, "csv", "npz"),
        ("a.npy", TENSORS, None, "safetensors"),
        ("a", b" \n{}", None, "json"),
        ("a", b"[1]", None, "json"),
        ("a", b"1,2", None, "csv"),
        ("a", b"{}", "csv", "csv"),
        ("a.csv", b"{}", "json", "csv"),
        ("a.txt", b"1,2", "csv", "csv"),
        ("a.txt", b"1,2", None, "a.txt: the suffix .txt is none of .json, .csv, .ndjson, .jsonl, .npy, .npz, "
         ".safetensors; say with --input-format which format it is"),
        ("a", b"1,2", "xml", "there is no format 'xml'; the formats are json, csv, ndjson, npy, npz, safetensors"),
        ("a", b"\x01\x02", "raw:float32", "a: raw:float32 says nothing of shapes; it is for --gradient alone"),
        ("a", b" {}", "raw:float32", "json"),
        ("a.npy", b"\x01\x02", "raw:float32", "npy"),
    ],
)  # fmt: skip
def test_a_format_is_what_the_bytes_the_suffix_or_the_option_say(
    path: str, data: bytes, asked: str | None, expected: str
) -> None:
    try:
        found = format_of(path, data, asked).name
    except InputError as error:
        found = str(error)
    assert found == expected


def test_a_mark_is_where_the_format_has_it() -> None:
    marked = {"npy": NPY_MARK, "npz": NPZ_MARK, "safetensors": TENSORS}
    for name, data in marked.items():
        entry = binary_format(data)
        assert entry is not None and entry.name == name and binary_format(b"1" + data) is None
    assert binary_format(b"\x02\0\0\0\x01\0\0\0{}") is None and binary_format(b"") is None
    assert by_suffix("x/y.NPY") is NPY and by_suffix("npy") is None and by_suffix("a.npy.txt") is None


def test_a_key_stands_behind_a_file_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"")
    (tmp_path / "a.npz:real").write_bytes(b"")
    path = str(tmp_path / "a.npz")
    assert with_key(f"{path}:k") == (path, "k")
    for whole in (path, f"{path}:", f"{path}:real", f"{tmp_path}/b.npz:k", f"{tmp_path}:k"):
        assert with_key(whole) == (whole, None)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.csv", b"\xef\xbb\xbf1,2\n", b"1,2\n"),
        ("a.npy", NPY_MARK, NPY_MARK),
        ("a.txt", "ü".encode(), "ü".encode()),
        ("a.csv", b" \n\t", "is empty; numbers are expected"),
        ("a.csv", b"1,\0", "byte 2 is 0, which no text has; or else"),
        ("a.csv", b"1,\xff", "byte 2 cannot be read: the text is not UTF-8; save it as UTF-8; or else"),
        ("a.csv", b"\xff\xfe1\0", "byte 0 cannot be read: the text is UTF-16; save it as UTF-8"),
        ("a.npy", b"1,\xff", "is no NPY file: it begins with b'1,\\xff'; if it is another, rename it"),
        ("a.safetensors", b"1,\0", "is no safetensors file: it begins with b'1,\\x00'; if it is another, rename it"),
        ("a.npz", b"1,2\n", b"1,2\n"),
        *((f"a{suffix}", b"1,2", "is a pickle") for suffix in (".pt", ".pth", ".PKL", ".pickle")),
        *(("a", b"\x80" + version + b"}", "is a pickle") for version in (b"\2", b"\3", b"\4", b"\5")),
        ("a", b"\x80\6}", "the text is not UTF-8; save it as UTF-8; or else"),
        ("a", b"PK\x03\x04" + b" " * 200 + b"data.pkl", "is a pickle"),
    ],
)  # fmt: skip
def test_the_bytes_of_a_file_are_text_or_an_array_or_refused(
    tmp_path: Path, name: str, data: bytes, said: bytes | str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    if isinstance(said, bytes):
        assert read_bytes(path, "numbers are expected") == (said, str(path))
        return
    with pytest.raises(InputError) as raised:
        read_bytes(path, "numbers are expected", or_else="; or else")
    message = str(raised.value)
    assert message.startswith(f"{path}: ") and said in message
    assert message.endswith("or else") == said.endswith("or else")
    assert read_bytes(path, "", is_text=False) == (data, str(path))


@pytest.mark.parametrize("suffix", [".pkl", ".pt"])
def test_a_pickle_is_converted_by_what_wrote_it(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, shown in ((f"g{suffix}", f"g{suffix}"), (f"g h{suffix}", "FILE"), (f"g;{suffix}", "FILE")):
        Path(name).write_bytes(b"\x80\4}")
        with pytest.raises(InputError) as raised:
            read_bytes(name, "")
        opened = {".pkl": f"load(open('{shown}', 'rb'))", ".pt": f"load('{shown}', 'cpu')"}[suffix]
        assert opened in str(raised.value)


def test_a_folder_or_no_file_is_said_to_be_none(tmp_path: Path) -> None:
    for path, said in (
        (tmp_path, "is a folder; a file is expected"),
        (tmp_path / "x", "there is no such file"),
    ):
        with pytest.raises(InputError, match=f"{path}: {said}"):
            read_bytes(path, "")
    with pytest.raises(InputError, match="the path of a file is empty"):
        read_bytes("", "")


@pytest.mark.parametrize("size", [0, 7, 8, 9, 16, 40])
@pytest.mark.parametrize("kind", ["binary", "text", "stream"])
def test_a_file_is_read_whole_piece_by_piece(
    tmp_path: Path, size: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measured, "PIECE", 8)
    path, data = tmp_path / "f", bytes(range(1, size + 1))
    path.write_bytes(data)
    file = io.BytesIO(data) if kind == "stream" else path.open("rb")
    with file:
        assert measured.bytes_of(file, lambda first: kind != "text") == data


def test_a_text_with_a_zero_is_read_until_that_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "PIECE", 8)
    assert measured.bytes_of(io.BytesIO(b"1,2\0" + b"3" * 40), lambda first: False) == b"1,2\0" + b"3" * 4


@pytest.mark.parametrize(
    ("data", "is_claim", "kind"),
    [
        (b" [1,2,3,4", False, "json"),
        (b'{"a":1,2', False, "json"),
        (b"1,2,3,4,", False, "table"),
        (b"1,2,3,4,", True, "claim"),
    ],
)
def test_a_long_text_is_measured_as_what_it_is(
    data: bytes, is_claim: bool, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measured, "PIECE", 8)
    kinds: list[str] = []
    text = memory.Text

    def recorded(kind: Any, n_bytes: int) -> Any:
        kinds.append(kind)
        return text(kind, n_bytes)

    monkeypatch.setattr(memory, "Text", recorded)
    whole = data + b"5" * 9
    assert measured.bytes_of(io.BytesIO(whole), lambda first: False, is_claim=is_claim) == whole
    assert kinds == [kind]


def test_what_has_no_size_is_refused_where_two_copies_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "PIECE", 2**16)
    monkeypatch.setattr(memory, "FREE", 0)
    data = bytes(2**19)
    with max_memory("600kB"), pytest.raises(InputError):
        measured.bytes_of(io.BytesIO(data), lambda first: True)
    with max_memory("1.2MB"):
        assert measured.bytes_of(io.BytesIO(data), lambda first: True) == data


# Arrays in files.


def tensors(arrays: dict[str, Any]) -> bytes:
    from safetensors.numpy import save

    return save({name: np.ascontiguousarray(array) for name, array in arrays.items()})


ONE, TWO = np.arange(6.0).reshape(3, 2), np.ones((3, 2))


@pytest.mark.parametrize(
    ("names", "part", "key", "expected"),
    [
        (["weight", "bias"], None, None, ({"W": "weight", "b": "bias", "transpose": True}, set())),
        (["weight"], None, None, ({"W": "weight", "transpose": True}, set())),
        (["W", "b"], None, None, ({"W": "W", "b": "b", "transpose": False}, set())),
        (["a.weight", "a.bias", "c.bias"], None, None, ({"W": "a.weight", "b": "a.bias", "transpose": True}, set())),
        (["a.weight", "c.bias"], None, None, ({"W": "a.weight", "transpose": True}, set())),
        (["weight", "bias"], "W", None, ({"W": "weight", "transpose": True}, {"bias"})),
        (["a.weight", "a.b"], "W", None, ({"W": "a.weight", "transpose": True}, {"a.b"})),
        (["a.weight", "c.weight", "c.bias"], "W", "c.weight", ({"W": "c.weight", "transpose": True}, {"c.bias"})),
        (["weight", "bias"], "b", None, ({"b": "bias"}, {"weight"})),
        (["x", "weight"], "x", None, ({"x": "x"}, {"weight"})),
        (["tail", "weight"], "W", "tail", ({"W": "tail"}, {"weight"})),
        (["weight", "a.weight"], None, None, ({"W": "weight", "transpose": True}, set())),
        (["a.weight", "c.weight"], None, None, "a.weight and c.weight could each be W; the arrays are a.weight, "
         "c.weight, and FILE:KEY names one"),
        (["wight"], "W", None, "there is no array 'weight' or 'W'; the arrays are wight, and FILE:KEY names one; did "
         "you mean wight?"),
        (["a"], "W", "k", "there is no array 'k'; the arrays are a, and FILE:KEY names one"),
        ([], None, None, "there is no array 'weight' or 'W'; the arrays are none, and FILE:KEY names one"),
    ],
)  # fmt: skip
def test_a_layer_of_safetensors_has_the_names_of_torch_or_of_the_library(
    names: list[str], part: str | None, key: str | None, expected: Any
) -> None:
    arrays = {name: (ONE if "w" in name.lower() else np.arange(3.0)) + k for k, name in enumerate(names)}
    try:
        raw = safetensors.load(tensors(arrays), part, key)
    except InputError as error:
        assert str(error) == expected
        return
    values, beside = expected
    assert raw.values.keys() == values.keys() and raw.beside == beside
    for name, found in raw.values.items():
        if name == "transpose":
            assert found is values[name]
        else:
            np.testing.assert_array_equal(found, arrays[values[name]])
    sources = {name: f":{of}" for name, of in values.items() if name != "transpose"}
    assert raw.sources == (sources if part is None else {})


def zipped(arrays: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


@pytest.mark.parametrize(
    ("names", "part", "key", "expected"),
    [
        (["W", "x"], None, None, ({"W": "W", "x": "x"}, set())),
        (["W", "gradients.W", "gradients.b"], None, None, ({"W": "W", "gradients": ["W", "b"]}, set())),
        (["W", "x"], "W", None, ({"W": "W"}, {"x"})),
        (["a"], "W", None, ({"W": "a"}, set())),
        (["a", "x"], "W", "a", ({"W": "a"}, {"x"})),
        (["a", "b"], "W", None, "there is no array 'W'; the arrays are a, b, and FILE:KEY names one"),
        (["a"], "W", "c", "there is no array 'c'; the arrays are a, and FILE:KEY names one"),
        (["W", "q"], None, None, "unknown key 'q'"),
        (
            ["gradients"],
            None,
            None,
            "gradients is an array; of each gradient one is expected, as gradients.W",
        ),
    ],
)
def test_a_npz_holds_fields_by_their_keys(
    names: list[str], part: str | None, key: str | None, expected: Any
) -> None:
    arrays = {name: ONE + k for k, name in enumerate(names)}
    data = zipped(arrays)
    assert npz.names_in(data) == names
    try:
        raw = npz.load(data, part, key)
    except InputError as error:
        assert str(error).startswith(expected)
        return
    values, beside = expected
    assert raw.values.keys() == values.keys() and raw.beside == beside
    for name, of in values.items():
        if name == "gradients":
            assert [*raw.values[name]] == of
            np.testing.assert_array_equal(raw.values[name]["b"], arrays["gradients.b"])
        else:
            np.testing.assert_array_equal(raw.values[name], arrays[of])
            assert not raw.values[name].flags.writeable


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_of_npy_is_read(order: Any, version: tuple[int, int]) -> None:
    out = io.BytesIO()
    np.lib.format.write_array(out, np.asarray(ONE, order=order), version=version)
    array = npy.load(out.getvalue(), "W").values["W"]
    assert array.tolist() == ONE.tolist() and array.flags.f_contiguous == (order == "F")
    with pytest.raises(InputError, match="NPY holds one array, not a problem"):
        npy.load(out.getvalue())
    with pytest.raises(InputError, match="cannot be read as NPY: 48 bytes of numbers"):
        npy.load(out.getvalue().replace(b"(3, 2)", b"(3, 3)"), "W")
    assert npy.load(npy.write_array(ONE.T, None), "W").values["W"].tolist() == ONE.T.tolist()


@pytest.mark.parametrize("length", [10_000, 10_001])
def test_a_header_of_npy_has_ten_thousand_bytes_at_most(length: int) -> None:
    text = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }".ljust(length)
    data = b"\x93NUMPY\x02\x00" + length.to_bytes(4, "little") + text + np.ones(1).tobytes()
    if length <= 10_000:
        assert npy.load(data, "W").values["W"].tolist() == [1.0]
    else:
        with pytest.raises(InputError, match="its header has 10001 bytes, more than numpy writes"):
            npy.load(data, "W")


def test_a_part_of_a_file_is_told_what_is_expected(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text(" ")
    path = str(tmp_path / "e.csv")
    for part, said in ((None, "a problem is expected: W, x and label"), ("label", "labels are expected"),
                       ("W", "numbers are expected")):  # fmt: skip
        with pytest.raises(InputError, match=f"is empty; {said}"):
            read_raw(path, None, part)


# Lines of a stream as they come.


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 100])
@pytest.mark.parametrize("end", [b"", b"\n"])
def test_lines_come_as_many_at_a_time_as_were_read(
    size: int, end: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [b"ab", b"", b"cde", b"f", b"ghijklm"]
    out, into = os.pipe()
    os.write(into, b"\n".join(lines) + end)
    os.close(into)
    monkeypatch.setattr(ndjson, "READ", size)
    chunks = [*ndjson.chunks(out)]
    os.close(out)
    assert b"\n".join(chunk.text for chunk in chunks) == b"\n".join(lines)
    numbers = [number for chunk in chunks for number in range(chunk.number, chunk.number + chunk.n_lines)]
    assert numbers == [1, 2, 3, 4, 5]
    assert (len(chunks) == 1) == (size == 100 and end == b"\n")


def test_a_line_that_takes_too_much_is_refused_alone_and_the_next_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ndjson, "READ", 2**12)
    monkeypatch.setattr(memory, "FREE", 0)
    out, into = os.pipe()
    os.write(into, b"[1]\n" + b"1" * 40_000 + b"\n[2]\n[3]")
    os.close(into)
    with max_memory("100kB"):
        chunks = [*ndjson.chunks(out)]
    os.close(out)
    refused = [chunk for chunk in chunks if chunk.refusal]
    assert [(chunk.text, chunk.number) for chunk in refused] == [(b"", 2)]
    others = [(chunk.text, chunk.number) for chunk in chunks if not chunk.refusal]
    assert others == [(b"[1]", 1), (b"[2]", 3), (b"[3]", 4)]


# Results.


def test_a_tree_of_arrays_is_an_object_for_each_problem() -> None:
    same, names = np.array([2, 2]), tree.each(["a", "a"])
    other = np.array([1.5, np.nan])
    lines = tree.objects({"k": same, "of": {"n": names, "v": other, "w": other}, "m": np.eye(2)})
    assert b"".join(lines[0]) == b'{"k":2,"of":{"n":"a","v":1.5,"w":1.5},"m":[1.0,0.0]}\n'
    assert b"".join(lines[1]) == b'{"k":2,"of":{"n":"a","v":null,"w":null},"m":[0.0,1.0]}\n'
    assert [b"".join(line) for line in tree.objects({"a": 1})] == [b'{"a":1}\n']
    apart = tree.objects({"k": np.array([True, False]), "n": tree.each(["a", "b"])})
    assert [b"".join(line) for line in apart] == [b'{"k":true,"n":"a"}\n', b'{"k":false,"n":"b"}\n']
    assert tree.encode({"a": [1.0, 0.1]}) == (b'{"a":[1.0,0.1]}', b"\n") and tree.encode((b"x",)) == (b"x",)


@pytest.mark.parametrize("in_cache", [1, 2**14])
def test_numbers_are_written_as_json_has_them(in_cache: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "IN_CACHE", in_cache)
    assert tree._texts(np.array([1.0, np.inf, 0.1])) == [b"1.0", b"null", b"0.1"]
    assert tree._texts(np.array([2**53, 2**53 + 1], np.uint64)) == [b"9007199254740992", b"null"]
    assert tree._texts(np.array([[1.0, 2.0]])) == [b"[1.0,2.0]"]
    assert tree._texts(np.arange(4.0).reshape(1, 2, 2)) == [b"[[0.0,1.0],[2.0,3.0]]"]
    assert tree._texts(np.array(["a", "\u202e"], object)) == [b'"a"', b'"\\u202e"']
    assert tree._texts(np.array(["a", "b"])) == [b'"a"', b'"b"']


def test_what_json_cannot_hold_is_told_once_with_its_place() -> None:
    nan, many = np.array([1.0, np.nan]), np.array([[1.0, 2.0], [np.inf, np.nan]])
    ulps = np.array([2**53, 2**53 + 1], np.uint64)
    told = [*tree.nulls({"a": nan, "b": {"c": many, "d": nan}, "u": ulps, "n": tree.each(["x"])}, {"e": nan})]
    assert told == [
        (1, "a is null: it is nan"),
        (1, "b.c is null: 2 of 2 entries are not finite"),
        (1, "u is null: 9007199254740993 is above 2**53"),
        (1, "e is null: it is nan"),
    ]
    infinite = np.array([np.inf])
    paths = ("max_ulp_error", "worst.difference", "yours", "exact", "bound")
    reasons = ["it is not a number", "it is not finite", "it is not finite", "it is not finite", "it is inf"]
    assert [text for path in paths for _, text in tree.nulls({path: infinite.copy()})] == [
        f"{path} is null: {reason}" for path, reason in zip(paths, reasons, strict=True)
    ]


def test_several_gradients_are_compared_as_one() -> None:
    parts = [np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, 2.0], [3.0, 5.0]]), np.full((2, 2), 0.5)]
    first, second = Comparison(*parts), Comparison(*(part[:, :1] for part in parts))
    assert results._together([first]) is first
    both = results._together([first, second])
    assert both.candidate.tolist() == [[1.0, 2.0, 1.0], [3.0, 5.0, 3.0]]
    assert results._max_ulps(first).tolist() == [0, 2**50]
    assert np.isnan(results._max_ulps(Comparison(parts[0], parts[1] * np.nan, parts[2]))).all()
    assert results._max_ulps(Comparison(*[*parts, np.ones((2, 2))])) is None
    assert {key: np.asarray(value).tolist() for key, value in results._accuracy(first).items()} == {
        "max_ulp_error": [0, 2**50], "correct_digits": [16, 0], "wrong_entries": [0, 1],
    }  # fmt: skip


@pytest.mark.parametrize("names", [["weights"], ["weights", "bias"]])
def test_the_chain_is_compared_with_the_shortcut_entry_by_entry(names: list[str]) -> None:
    """The worst is of what disagrees, or of the first."""
    import json

    one = Problem(
        np.array([[1.0, 800.0], [0.5, 0.25]]), np.array([[1.0, 0.0]]), Targets([0]), np.zeros(2),
        classes=("u", "v"), input_names=("p", "q"),
    )  # fmt: skip
    computation = compute(one, methods=["chain", "shortcut"], with_respect_to=names)
    line = results.compute_results(computation, Layout(transpose=False, is_batch=False), ids=[7])
    result = json.loads(b"".join(line[0]))
    assert (result["id"], result["method"], result["classes"]) == (7, "shortcut", ["u", "v"])
    assert result["comparison"]["agree"] is False and result["comparison"]["max_abs_difference"] is None
    worst = result["comparison"]["worst"]
    assert worst == {"of": "W", "input": 0, "class": 0, "class_name": "u", "input_name": "p"}
    assert ("gradients" in result["chain"]) == (len(names) > 1)
    assert [*result["gradients"]] == (["W"] if len(names) == 1 else ["W", "b"])
    assert result["gradient"] == [[-1.0, 1.0], [0.0, 0.0]]
    assert result["probabilities"] == [0.0, 1.0]
    assert any(note.startswith("chain.gradient is null: ") for note in result["warnings"])
    plain = results.compute_results(computation, Layout(transpose=True, is_batch=True), warnings=[["w"]])
    turned = json.loads(b"".join(plain[0]))
    assert turned["gradient"] == [[-1.0, 0.0], [1.0, 0.0]] and turned["probabilities"] == [[0.0, 1.0]]
    assert "id" not in turned and turned["warnings"][0] == "w"
    assert "seconds" not in turned["chain"]
    timed = results.compute_results(computation, Layout(transpose=False, is_batch=False), with_time=True)
    assert json.loads(b"".join(timed[0]))["chain"]["seconds"] >= 0


def test_an_error_stands_in_the_place_of_a_line_or_of_a_file() -> None:
    assert tree.encode(results.error_result(3, "why", 5))[0] == b'{"line":3,"error":"why","id":5}'
    assert tree.encode(results.error_result("f.json", "why"))[0] == b'{"file":"f.json","error":"why"}'
    assert RawProblem().id is UNSET


def test_numbers_in_memory_have_four_types() -> None:
    assert {f"raw:{name}": name for name in ("float64", "float32", "float16", "bfloat16")} == {**RAW}
    for name in RAW:
        with pytest.raises(InputError, match=f"{name} says nothing of shapes"):
            format_of("a.bin", b"\x01", name)
