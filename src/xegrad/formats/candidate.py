"""A gradient from outside: its numbers, and how many decimals it was printed with.

Read from JSON (an array, or an object with the key gradient), CSV, NPY, or what numpy and torch print.
What is not finite is read as such: a wrong gradient is no bad input.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from xegrad import formats
from xegrad.errors import InputError
from xegrad.targets import Array

NPY = b"\x93NUMPY"
FEWEST, MOST = 4, 12  # decimals that look like printing; fewer and more are taken as they stand

_FIXED = re.compile(r"[-+]?(?:[0-9]+\.?([0-9]*)|\.([0-9]+))(?:[eE]([-+]?[0-9]+))?")


class Numbers(msgspec.Struct, frozen=True, eq=False):
    """An array, with what its text leaves open."""

    values: Array
    decimals: int | None = None  # None: taken exactly
    resolution: Array | float = 0.0  # half a unit of the last decimal, entry by entry
    dtype: str | None = None  # of a file that has one


class Token(str):
    """The text of a number."""

    __slots__ = ()


def read(data: bytes, source: str, decimals: int | str | None = None) -> Numbers:
    """The numbers; `decimals` says how many were printed ("none": the text is exact).

    Raises
    ------
    InputError
        What is no array of numbers: where, what was found, what was expected.
    """
    if data.startswith(NPY):
        array, _ = formats.FORMATS["npy"].read_array(data, source)
        return Numbers(values=array.astype(np.float64), dtype=array.dtype.name)
    text = data.decode()
    dtype = None
    if text.lstrip()[:1] in ("{", "["):
        try:
            rows = _from_json(text, source)
        except json.JSONDecodeError:
            rows, dtype = _from_print(text, source)
    elif "[" in text:
        rows, dtype = _from_print(text, source)
    else:
        rows = _from_lines(text, source)
    return _numbers(rows, source, decimals, dtype)


def one_number(text: str, source: str, decimals: int | str | None = None) -> Numbers:
    """A loss, as text."""
    if not _is_number(text.strip()):
        raise InputError(f"{source} is {text.strip()[:30]!r}; a number is expected")
    return _numbers([Token(text.strip())], source, decimals, None)


def _from_json(text: str, source: str) -> list[Any]:
    value = json.loads(text, parse_float=Token, parse_int=Token, parse_constant=Token)
    if isinstance(value, dict):
        if "gradient" not in value:
            raise InputError(
                f"{source}: the object has no key 'gradient'; its keys are {', '.join(value) or 'none'}"
            )
        value = value["gradient"]
    if not isinstance(value, list):
        raise InputError(f"{source}: a gradient is an array, not {type(value).__name__}")
    return value


def _from_print(text: str, source: str) -> tuple[list[Any], str | None]:
    """What numpy and torch print: brackets, blanks or commas, and a name around it perhaps."""
    if "..." in text:
        raise InputError(
            f"{source}: the matrix is abbreviated with '...'; print all of it "
            "(numpy.set_printoptions(threshold=sys.maxsize), torch.set_printoptions(profile='full'))"
        )
    inside = text[text.index("[") : text.rindex("]") + 1] if "]" in text else text
    rows = [
        [Token(cell) for cell in re.split(r"[\s,]+", row.strip(" \t\r\n,")) if cell]
        for row in re.findall(r"\[([^\[\]]*)\]", inside)
    ]
    if not rows:
        raise InputError(f"{source}: no row of numbers in brackets was found; a matrix is expected")
    named = re.search(r"dtype=(?:\w+\.)?(float\d+|bfloat16)", text[text.rindex("]") :])
    flat = inside.count("[") == 1
    return (rows[0] if flat else rows), named[1] if named else None


def _from_lines(text: str, source: str) -> list[Any]:
    """Lines of cells between commas or blanks; a first line of words is a header."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    rows = [[Token(cell.strip()) for cell in re.split(r"\s*,\s*|\s+", line.strip())] for line in lines]
    if len(rows) > 1 and not any(_is_number(cell) for cell in rows[0]):
        rows = rows[1:]
    if not rows:
        raise InputError(f"{source}: is empty; a gradient is expected")
    return rows


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _numbers(rows: list[Any], source: str, decimals: int | str | None, dtype: str | None) -> Numbers:
    nested = any(isinstance(row, list) for row in rows)
    tokens: list[Token] = []
    lengths = set()
    for index, row in enumerate(rows if nested else [rows]):
        if not isinstance(row, list):
            raise InputError(
                f"{source}: row {index} is a number among lists; a matrix has rows of one length"
            )
        lengths.add(len(row))
        tokens += [_token(cell, source, f"row {index}, column {column}") for column, cell in enumerate(row)]
    if len(lengths) > 1 or not tokens:
        raise InputError(f"{source}: rows of {sorted(lengths)} numbers; all rows must be equally long")
    shape = (len(rows), lengths.pop()) if nested else (len(rows),)
    values = np.array([float(token) for token in tokens]).reshape(shape)
    found = max((_decimals(token) for token in tokens), default=0)
    if decimals == "none" or (decimals is None and not FEWEST <= found <= MOST):
        return Numbers(values=values, dtype=dtype)
    shown = found if decimals is None else int(decimals)
    # A shade more than half a unit: what is read is itself rounded to a float.
    half = np.array([_half_unit(token, shown) for token in tokens]).reshape(shape) * (1 + 2.0**-40)
    return Numbers(values=values, decimals=shown, resolution=half, dtype=dtype)


def _token(cell: Any, source: str, place: str) -> Token:
    if cell is None:
        return Token("nan")  # JSON's way to say that a number is none
    if not isinstance(cell, Token) or not _is_number(cell):
        raise InputError(f"{source}: {place} is {str(cell)[:30]!r}; a number is expected")
    return cell


def _decimals(token: str) -> int:
    match = _FIXED.fullmatch(token)
    return len(match[1] or match[2] or "") if match else 0


def _half_unit(token: str, decimals: int) -> float:
    """Half a unit of the column's last decimal; of a number's own last digit where it has an exponent."""
    match = _FIXED.fullmatch(token)
    if match and match[3]:
        return 0.5 * 10.0 ** (int(match[3]) - _decimals(token))
    return 0.5 * 10.0**-decimals


def in_shape(numbers: Numbers, expected: Sequence[int], source: str) -> Numbers:
    """The numbers in the shape that the gradient has in the file's layout.

    Raises
    ------
    InputError
        Another shape: both, and whether it is the transposed or the flat one.
    """
    found, expected = numbers.values.shape, tuple(expected)
    if found == expected:
        return numbers
    if len(expected) == 1 and numbers.values.size == expected[0] and 1 in found:
        return reshaped(numbers, expected)
    hint = ""
    if len(expected) == 2:
        if found == expected[::-1]:
            hint = (
                "; it is transposed: give it in the layout of W, or say --transpose if W is stored like that"
            )
        elif len(found) == 1 and found[0] == expected[0] * expected[1]:
            hint = "; it is flat: reshape it into the layout of W, the way it was flattened"
    raise InputError(
        f"{source}: the gradient is {' x '.join(map(str, found))}, but {' x '.join(map(str, expected))} is "
        f"expected{hint}"
    )


def reshaped(numbers: Numbers, shape: tuple[int, ...]) -> Numbers:
    """The same numbers in another shape."""
    resolution = numbers.resolution
    return msgspec.structs.replace(
        numbers,
        values=numbers.values.reshape(shape),
        resolution=resolution.reshape(shape) if isinstance(resolution, np.ndarray) else resolution,
    )


def transposed(numbers: Numbers) -> Numbers:
    """The numbers of a gradient in the layout (classes, inputs), in that of the library."""
    resolution = numbers.resolution
    return msgspec.structs.replace(
        numbers,
        values=numbers.values.T,
        resolution=resolution.T if isinstance(resolution, np.ndarray) else resolution,
    )
