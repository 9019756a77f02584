"""Bytes like others: changed where a format has its joints, so that no check sum stops the search."""

from __future__ import annotations

import contextlib
import io
import json
import random
import re
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence

import checks
from xegrad.problem_spec import FIELDS

Mutation = Callable[[bytes, random.Random], bytes]

TOKENS = re.compile(rb"[ \t]+|\r?\n|[+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?|[A-Za-z_]+|.", re.DOTALL)
NUMBERS = (
    b"0 -0 1 -1 0.5 -0.25 1e-7 2.5e+3 1e308 1.8e308 1e400 -1e400 5e-324 1e-400 1e310 0e999999 1e99999999 nan NaN "
    b"-Infinity inf 9007199254740993 9223372036854775807 9223372036854775808 18446744073709551616 -9223372036854775809 "
    b"0.1000 1.4000 00.5 .5 5. +1 0x1.8p3 0x1p99999 1_000 1f 1.5f0 0.30000000000000004 1.23456789012345678901"
).split()
TEXTS = [
    *b"true false null [] {} \"\" \"a\" \"\\u0000\" \"\\ud800\" \"\\u001b[31m\" \"\\u202e\" , : [ ] { } ; ' x".split(),
    b"\x1b]52;c;AAAA\x07", "\u202eevil".encode(), "猫🐈".encode(), b"\xff", b"\xef\xbb\xbf", b"\0", b"\r", b"\x85",
    b"\xc2\x85", b"\xe2\x80\xa8", "١".encode(), b"9" * 5000, b"[" * 980, b"a" * 400, b'"', b"\n", b" ",
]  # fmt: skip
KEYS = [f'"{key}"'.encode() for key in (*FIELDS, "schema", "gradients.W", "logits")]
PRINTED = [
    *b"array( tensor( ) dtype=float32 dtype=bfloat16 shape= [1] [1,] [,1] [[1]] ... e-05 * Float32Array(3) f F".split(),
    *b"float double {{ }} <tf.Tensor: numpy= grad = dL/dW W b X logits loss columns 1 through 3 Columns to and".split(),
    *b"[INFO] device='cuda:0' grad_fn= np.float32( ans = # ; Matrix{Float64}: 3\xc3\x975 none any".split(),
    *b"blocked= pairwise 2GiB 500MB kB NA TRUE".split(), b"1.0e-05 *\n", b"[[", b"]]", b"], [",
]  # fmt: skip
CSV = [*b'x bias label cat dog ,, " "" "a,b" ; =1+1 @a -b index'.split(), b"\t", b",\n", b'"\n"', b"\r\n"]
HEADERS = (
    "<f8",
    "<f4",
    "<f2",
    ">f8",
    "<i8",
    "<u8",
    ">i4",
    "|i1",
    "|b1",
    "<f16",
    "<c16",
    "|O",
    "<U3",
    "|S4",
    "<M8[s]",
    "|V8",
)
NAMES = (
    *FIELDS,
    "gradients.W",
    "gradients.b",
    "gradients",
    "a",
    "k",
    "weight",
    "bias",
    "0.weight",
    "x\x1b[2J",
    "",
    "W" * 300,
)


def of_tokens(words: Sequence[bytes]) -> Mutation:
    """Tokens changed, dropped, doubled, moved or put in."""

    def mutated(data: bytes, rng: random.Random) -> bytes:
        first, tokens = data[:1], TOKENS.findall(data[1:]) or [b""]
        for _ in range(rng.choice((1, 1, 2, 4))):
            at, end = sorted(rng.randrange(len(tokens) + 1) for _ in "ab")
            word = rng.choice(rng.choice((words, NUMBERS, TEXTS, tokens or [b"1"])))
            tokens[at:end] = rng.choice(
                (
                    [word, *tokens[at + 1 : end]],
                    [word, *tokens[at:end]],
                    [],
                    tokens[at:end] * 2,
                    [b"[" * (deep := rng.choice((1, 1, 2, 400, 980))), *tokens[at:end], b"]" * deep],
                    [(word * rng.choice((2, 10, 400)))[:6000], *tokens[at:end]],
                    [*tokens[at:end], b"\n", *tokens[at:end]],
                )
            )
        return (first if rng.random() < 0.8 else bytes([48 + rng.randrange(48)])) + b"".join(tokens)

    return mutated


class _Literal(str):
    """A number as JSON writes it."""


def of_json(data: bytes, rng: random.Random) -> bytes:
    """Values of JSON replaced, moved, doubled, nested or dropped; it is JSON still, where it was."""
    lines = data[1:].split(b"\n") if rng.random() < 0.5 else [data[1:]]
    at = rng.randrange(len(lines))
    root = [json.loads(lines[at], parse_int=_Literal, parse_float=_Literal, object_pairs_hook=_Pairs)]
    for _ in range(rng.choice((1, 1, 2, 4))):
        nodes = [root, *_nodes(root[0])]
        node, other = rng.choice(nodes), rng.choice(nodes)
        place = rng.randrange(len(node) + 1)
        new = rng.choice((_value(rng), _value(rng), other[rng.randrange(len(other))] if other else None))
        if isinstance(node, _Pairs) and not isinstance(new, tuple):
            new = (rng.choice((*FIELDS, *STRANGE, *(key for key, _ in node))), new)
        elif not isinstance(node, _Pairs) and isinstance(new, tuple):
            new = new[1]
        node[place : place + rng.choice((1, 1, 1, 0))] = (
            [] if rng.random() < 0.1 and node is not root else [new]
        )
    lines[at] = _text(root[0], rng).encode(errors="surrogatepass")
    if rng.random() < 0.1:
        lines.insert(rng.randrange(len(lines) + 1), rng.choice((lines[at], b"", b"{}", b"[1]", b" ")))
    return (data[:1] if rng.random() < 0.9 else bytes([48 + rng.randrange(48)])) + b"\n".join(lines)


class _Pairs(list[tuple[str, object]]):
    """The members of an object; a key may stand twice."""


STRANGE = ("", "a", "w" * 300, "\x1b[31m", "\u202e", "\0", "\ud800", "猫", "$.W[0]", "`", "W\n", "gradient ")


def _nodes(value: object) -> list[list[object]]:
    """Every list and object in a value."""
    if not isinstance(value, list):
        return []
    inner = [one for _, one in value] if isinstance(value, _Pairs) else value
    return [value, *(node for one in inner for node in _nodes(one))]


def _value(rng: random.Random) -> object:
    """A number, a word, a matrix or something deep."""
    kind = rng.randrange(8)
    if kind < 3:
        return _Literal(rng.choice((*NUMBERS, b"1", b"2", b"0.25")).decode())
    if kind < 5:
        return rng.choice((*STRANGE, *WORDS_OF_FIELDS))
    if kind < 7:
        rows, columns = rng.choice((1, 2, 3)), rng.choice((1, 2, 3, 5))
        row = [_Literal(rng.choice(("1", "0.5", "-2", "0.1000"))) for _ in range(columns)]
        return [[*row] for _ in range(rows)] if rng.random() < 0.6 else row
    if rng.random() < 0.5:
        return _Literal("[" * (depth := rng.choice((1, 2, 900, 975, 980, 1100))) + "]" * depth)
    return rng.choice((_Pairs(), _Pairs([("a", None)]), [], None, True, False))


WORDS_OF_FIELDS = tuple(word for field in FIELDS.values() for word in field.words)


def _text(value: object, rng: random.Random) -> str:
    if isinstance(value, _Pairs):
        members = (f"{json.dumps(key)}: {_text(one, rng)}" for key, one in value)
        return "{" + ", ".join(members) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_text(one, rng) for one in value) + "]"
    return value if isinstance(value, _Literal) else json.dumps(value, ensure_ascii=rng.random() < 0.5)


def _array(rng: random.Random) -> bytes:
    """An NPY file whose header may say too much, too little or nonsense."""
    descr = rng.choice(HEADERS)
    shape = rng.choice(
        (
            (2, 3),
            (3,),
            (1, 3),
            (3, 5),
            (15,),
            (),
            (0,),
            (2, 0),
            (1, 2, 3),
            (10**9, 10**9),
            (-1, 3),
            (2**62,),
            (2**40, 0),
        )
    )
    order = rng.choice(("False", "False", "True", "None"))
    head = f"{{'descr': {descr!r}, 'fortran_order': {order}, 'shape': {shape!r}, }}"
    if rng.random() < 0.2:
        words = of_tokens([b"'descr'", b"(", b")", b"L", b"**", b"__import__", b"{", b"[('a', '<f8')]"])
        head = words(b"0" + head.encode(), rng)[1:].decode("latin-1")
    version = rng.choice((1, 1, 1, 2, 3, 0, 9))
    text = (head + rng.choice((" " * 20, "")) + "\n").encode("latin-1")
    size = len(text) if rng.random() < 0.95 else rng.randrange(70000)
    lengths = struct.pack("<H" if version == 1 else "<I", size % (2**16 if version == 1 else 2**32))
    count = rng.choice((8, 24, 48, 120, 0, 7, 60))
    numbers = struct.pack(f"<{count // 8 + 1}d", *(rng.choice(DOUBLES) for _ in range(count // 8 + 1)))[
        :count
    ]
    if rng.random() < 0.3:
        numbers = rng.randbytes(count)
    return b"\x93NUMPY" + bytes((version, 0)) + lengths + text + numbers


DOUBLES = (0.0, -0.0, 1.0, -0.25, 0.1, 1e308, 5e-324, float("nan"), float("inf"), 2.0**53, 3e-7, 256.0)


def npy(data: bytes, rng: random.Random) -> bytes:
    """Another array."""
    return bytes([48 + rng.randrange(48)]) + _array(rng)


def npz(data: bytes, rng: random.Random) -> bytes:
    """Members of an archive added, renamed, dropped or changed; their check sums are right, most of the time."""
    members: list[tuple[str, bytes]] = []
    try:
        with zipfile.ZipFile(io.BytesIO(data[1:])) as archive:
            members = [
                (one.filename, archive.read(one)) for one in archive.infolist() if one.file_size < 10**5
            ]
    except Exception:
        members = [("W.npy", _array(rng)), ("x.npy", _array(rng)), ("label.npy", _array(rng))]
    for _ in range(rng.choice((1, 1, 2))):
        name = rng.choice(NAMES) + rng.choice((".npy", ".npy", ".npy", "", ".npy.npy", ".NPY"))
        at = rng.randrange(len(members) + 1)
        if at < len(members) and rng.random() < 0.3:
            members[at] = (name, members[at][1])
        elif at < len(members) and rng.random() < 0.2:
            del members[at]
        else:
            members[at : at + rng.randrange(2)] = [
                (name, rng.choice((_array(rng), _array(rng), b"", data[1:40])))
            ]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, body in members[:8]:
            archive.writestr(zipfile.ZipInfo(name), body)
    packed = bytearray(out.getvalue())
    if (
        rng.random() < 0.25 and len(packed) > 4
    ):  # a field of a header: sizes, flags, the method, the check sum
        where = rng.choice([match.start() for match in re.finditer(rb"PK[\x01\x03\x05]", packed)] or [0])
        packed[min(where + rng.randrange(4, 46), len(packed) - 1)] = rng.choice((0, 1, 8, 9, 12, 14, 99, 255))
    return (data[:1] if rng.random() < 0.7 else bytes([48 + rng.randrange(48)])) + bytes(packed)


def safetensors(data: bytes, rng: random.Random) -> bytes:
    """A header whose length is right, over tensors that may not be."""
    tensors: dict[str, object] = {}
    end = 0
    for name in rng.sample(NAMES, rng.choice((1, 2, 3))):
        shape = rng.choice(
            ([2, 3], [3, 2], [3], [], [0], [2, 0], [-1, -1], [2**40, 2**40], [1, 1, 1], [3, 5], [1.5], ["a"])
        )
        dtype = rng.choice(
            ("F64", "F32", "F16", "BF16", "I64", "U64", "U8", "BOOL", "F8_E4M3", "C64", "", "f\x1b")
        )
        numbers = [size for size in shape if isinstance(size, int)]
        size = 1
        for one in numbers:
            size *= one
        size = size * {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "F16": 2, "BF16": 2}.get(dtype, 1)
        begin, end = end, end + (size if 0 <= size < 500 else 8)
        offsets = rng.choice(
            ([begin, end], [begin, end], [begin, end], [end, begin], [-8, end], [begin, 2**64], [0])
        )
        tensors[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
    if rng.random() < 0.2:
        tensors["__metadata__"] = rng.choice([{"format": "pt"}, {}, None, 3])
    header = json.dumps(tensors).encode()
    if rng.random() < 0.3:
        header = of_tokens([b'"dtype"', b'"shape"', b'"data_offsets"', b'"F32"'])(b"0" + header, rng)[1:]
    size = len(header) if rng.random() < 0.95 else rng.choice((0, 2**63, 2**64 - 1, len(header) + 5))
    body = b"".join(struct.pack("<d", rng.choice(DOUBLES)) for _ in range(end // 8 + 1))[:end]
    return bytes([48 + rng.randrange(48)]) + struct.pack("<Q", size) + header + body


def option(data: bytes, rng: random.Random) -> bytes:
    """Another option, or another value."""
    first, _, value = data.partition(b"\n")
    if rng.random() < 0.3:
        command = rng.choice([name for name, of_one in checks.OPTIONS.items() if of_one])
        first = f"{command} {rng.choice(checks.OPTIONS[command])}".encode()
    words = [
        *PRINTED,
        *KEYS,
        b"W,b",
        b"svg",
        b"html",
        b"table",
        b"csv",
        b"npy",
        b"it.json",
        b"-",
        b"chain,exact",
        b"W[0,1]",
    ]
    return first + b"\n" + of_tokens(words)(b"0" + value, rng)[1:]


def claim(data: bytes, rng: random.Random) -> bytes:
    """Text, or the bytes of arrays."""
    other = (
        rng.choice((npy, npz, safetensors, json_text, json_text, json_text)) if rng.random() < 0.3 else None
    )
    return other(data, rng) if other else of_tokens([*PRINTED, *KEYS])(data, rng)


def json_text(data: bytes, rng: random.Random) -> bytes:
    """JSON where it is JSON, and now and then where it would not be; else text like it."""
    if rng.random() < 0.8:
        with contextlib.suppress(ValueError, RecursionError):
            return of_json(data, rng)
    return of_tokens(KEYS)(data, rng)


MUTATIONS: Mapping[str, Mutation] = {
    "json": json_text,
    "csv": of_tokens(CSV),
    "claim": claim,
    "npy": npy,
    "npz": npz,
    "safetensors": safetensors,
    "option": option,
}
