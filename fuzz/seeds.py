"""What a search begins with: the samples, what languages print, and arrays in every format."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import checks
from xegrad.formats import FORMATS, by_suffix

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "sample_inputs"
PRINTS = ROOT / "tests" / "data" / "prints"


def of(reader: str) -> Iterator[bytes]:
    """Inputs of a reader."""
    kind = checks.READERS[reader].kind
    if reader == "option":
        for command, options in checks.OPTIONS.items():
            for option in options:
                yield from (
                    f"{command} {option}\n{value}".encode() for value in ("1", "none", "W", "[[1,2],[3,4]]")
                )
    elif reader in ("claim", "value"):
        for path in sorted(PRINTS.glob("seed-float*.txt")):
            yield b"\0" + path.read_bytes()
        yield from (
            b"\0" + _npy(),
            b"\0" + _npz(gradient=np.ones((3, 5))),
            b"\x80" + bytes(120),
            b"\x90" + bytes(60),
        )
        yield b'\0{"gradients": {"W": [[1, 2, 3, 4, 5]]}, "loss": 1.5, "logits": [1, 2, 3, 4, 5], "dtype": "float32"}'
        yield from (b"%c1,2" % which + b"" for which in range(10))
        yield from (b"%c[[1,2],[3,4]]" % which for which in range(10))
    elif reader == "ndjson":
        lines = (SAMPLES / "stream.ndjson").read_bytes().splitlines()[:4]
        yield from (b"0" + b"\n".join(lines), b"1" + b"\n".join(lines))
        yield b'1{"W": [[1, 2]], "x": [1], "label": 0, "gradient": [[1, -1]], "id": "a"}\n{}\n[1]\n'
    elif reader == "data-set":
        yield b"1" + b"\n".join((SAMPLES / "iris.csv").read_bytes().splitlines()[::30])
        yield b"0label,a,b\n0,1,2\n1,3,4\n"
    elif reader.startswith("rows-"):
        yield from (bytes([which]) + _rows(reader) for which in (0, 64 + 4 * 3))
        if reader == "rows-npy":
            yield from (bytes([which]) + _npy() for which in (1, 2, 64 + 4 * 1 + 2))
    else:
        for path in sorted(SAMPLES.iterdir()):
            if by_suffix(path) is FORMATS[reader] and path.stat().st_size < 4000:
                yield from (b"%c" % which + path.read_bytes() for which in range(48, 54))
        if kind == "npy":
            yield from (b"%c" % which + _npy() for which in range(48, 54))
        if kind == "npz":
            yield b"0" + _npz(
                W=np.ones((2, 3)), x=np.ones(2), label=np.array(1), classes=np.array(["a", "b", "c"])
            )
        if kind in ("json", "csv"):
            yield from (
                b"%c" % which + (b"[[1, 2], [3, 4]]" if kind == "json" else b"1,2\n3,4\n")
                for which in range(49, 54)
            )


def _rows(reader: str) -> bytes:
    """Five rows of two inputs, a label and a weight."""
    columns = {
        "x": [1.5, -2.0, 3.0, 0.25, 0.0],
        "b": [1, 2, 3, 4, 5],
        "label": [0, 2, 1, 1, 0],
        "a": [1.0] * 5,
    }
    rows = [*zip(*columns.values(), strict=True)]
    out = io.BytesIO()
    if reader == "rows-parquet":
        pq.write_table(pa.table(columns), out, row_group_size=3, write_page_checksum=False)
    elif reader == "rows-npy":
        np.save(out, np.array(rows, [("x", "f8"), ("b", "i8"), ("label", "i8"), ("a", "f4")]))
    elif reader == "rows-csv":
        out.write("\n".join(",".join(map(str, row)) for row in [tuple(columns), *rows]).encode())
    else:
        out.write("\n".join(json.dumps(dict(zip(columns, row, strict=True))) for row in rows).encode())
    return out.getvalue()


def _npy() -> bytes:
    out = io.BytesIO()
    np.save(out, np.ones((3, 5)))
    return out.getvalue()


def _npz(**arrays: Any) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()
