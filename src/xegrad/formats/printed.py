"""Arrays as text: JSON, CSV, and what numpy and torch print, with what the printing leaves open.

Text is understood whole or refused.  What is not finite is read as such: a wrong gradient is no bad input.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from xegrad.errors import InputError
from xegrad.formats.values import why_ragged
from xegrad.targets import Array

FEWEST, MOST = 4, 12  # decimals that look like printing; fewer and more are taken as they stand

_FIXED = re.compile(r"[-+]?(?:[0-9]+\.?([0-9]*)|\.([0-9]+))(?:[eE]([-+]?[0-9]+))?")

# What numpy and torch print around the brackets of an array; anything else would be part of an expression.
_SCALAR = re.compile(r"(?<![\w.)+-])np\.float\d+\(([^()]*)\)(?![\w.(])")  # how numpy 2 prints its scalars
_NAME = r"[A-Za-z_][\w.]*(?:/[A-Za-z_][\w.]*)*"  # dL/dW, layer.weight.grad; G/4 is none
_WORD = re.compile(_NAME)
_BEFORE = re.compile(
    rf"""\s*
    (?: (?:\[[A-Z]+\]\s*)? {_NAME} \s*[=:]\s* )?                      # [INFO] grad =
    (?: Parameter\ containing:\s* )?
    (?P<call> (?:\w+\.)? (?:array|Array|tensor|Tensor|matrix) \(\s* )?
    (?: (?P<factor> [0-9]+\.?[0-9]*(?:[eE][-+]?[0-9]+)? ) [ ]*\*[ ]*\n\s* )?  # 1.0e-05 * on a line of its own
    """,
    re.VERBOSE,
)
_KEYWORD = re.compile(
    r"""\s*,\s* (?P<name>dtype|device|grad_fn|requires_grad|shape|size|layout|weak_type)
    = (?P<value> <[^<>]*> | \([^()]*\) | '[^']*' | [\w.]+ )""",
    re.VERBOSE,
)
_FLOAT = re.compile(r"(?:\w+\.)?(float\d+|bfloat16)")


class PrintedArray(msgspec.Struct, frozen=True, eq=False):
    """Numbers, with what their text leaves open."""

    values: Array
    resolution: Array  # half a unit of the last decimal, entry by entry; 0 where a number is what it is
    decimals: int | None = None  # None: taken exactly
    dtype: str | None = None  # of a file that has one

    def moved(self, move: Callable[[Array], Array]) -> PrintedArray:
        """The same numbers in other places."""
        return msgspec.structs.replace(self, values=move(self.values), resolution=move(self.resolution))


class Token(str):
    """The text of a number."""

    __slots__ = ()


def of_array(array: Array, source: str) -> PrintedArray:
    """Numbers that are what they are, in the precision of their array."""
    if array.dtype.kind not in "fiu":
        raise InputError(f"{source}: holds {array.dtype}; real numbers are expected")
    return PrintedArray(array.astype(np.float64), np.broadcast_to(0.0, array.shape), dtype=array.dtype.name)


def without_comments(text: str) -> str:
    """The text without the lines that begin with #, and numpy 2's scalars as their numbers."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    return _SCALAR.sub(r"\1", "\n".join(lines))


def one_number(text: str, source: str, decimals: str | None = None) -> PrintedArray:
    """The text of a single number."""
    if not _is_number(text):
        raise InputError(f"{source} is {text[:30]!r}; a number is expected")
    return of_rows([Token(text)], source, decimals)


def of_text(text: str, source: str, decimals: str | None = None) -> PrintedArray:
    """A JSON array, what numpy and torch print, or lines of numbers.

    `decimals` says with how many they were printed, or "none": the text is exact.  By default the text tells.

    Raises
    ------
    InputError
        What is no array of numbers, or has anything beside one: where, what was found, what was expected.
    """
    if text.lstrip().startswith("["):
        try:
            return of_rows(parsed(text), source, decimals)
        except json.JSONDecodeError:
            pass
        except RecursionError:
            raise InputError(f"{source}: brackets are nested too deeply to be a matrix") from None
    if "[" in text:
        return _from_print(text, source, decimals)
    return of_rows(_lines(text, source), source, decimals)


def _from_print(text: str, source: str, decimals: str | None) -> PrintedArray:
    """What numpy and torch print, understood whole: brackets, a name before them, what the array is after them."""
    if "..." in text:
        raise InputError(
            f"{source}: the matrix is abbreviated with '...'; print all of it "
            "(numpy.set_printoptions(threshold=sys.maxsize), torch.set_printoptions(profile='full'))"
        )
    before = _BEFORE.match(text)
    assert before is not None  # each piece of it may be absent
    start = before.end()
    if not text.startswith("[", start):
        raise _not_understood(text[start:] or text, source)
    end = _end_of_brackets(text, start, source)
    array = of_rows(_rows(text[start + 1 : end - 1], source), source, decimals)
    dtype = None
    if before["call"] is not None:
        while keyword := _KEYWORD.match(text, end):
            stored = _FLOAT.fullmatch(keyword["value"]) if keyword["name"] == "dtype" else None
            dtype, end = stored[1] if stored else dtype, keyword.end()
        closing = text[end:].lstrip()
        if not closing:
            raise InputError(f"{source}: the parenthesis after {before['call'].strip()[:-1]} does not close")
        if not closing.startswith(")"):
            raise _not_understood(closing, source)
        end = len(text) - len(closing) + 1
    if text[end:].strip():
        raise _not_understood(text[end:], source)
    scale = float(before["factor"] or 1)
    return msgspec.structs.replace(array.moved(lambda numbers: numbers * scale), dtype=dtype)


def _end_of_brackets(text: str, start: int, source: str) -> int:
    """Where the matrix ends that begins at `start`."""
    depth = 0
    for bracket in re.finditer(r"[\[\]]", text[start:]):
        depth += 1 if bracket[0] == "[" else -1
        if depth == 0:
            return start + bracket.end()
        if depth == 3:
            raise InputError(f"{source}: has three dimensions or more; one or two are expected")
    raise InputError(f"{source}: the brackets of the matrix do not close")


def _rows(inside: str, source: str) -> list[Any]:
    """The rows between the brackets of a matrix, or the cells between those of a vector."""
    if "[" not in inside:
        return _cells(inside)
    between = re.split(r"\[[^\[\]]*\]", inside)
    for index, text in enumerate(between):
        comma = "" if index == 0 else ","
        if text.strip().removeprefix(comma).strip():
            raise _not_understood(text, source)
    return [_cells(row) for row in re.findall(r"\[([^\[\]]*)\]", inside)]


def _cells(row: str) -> list[Token]:
    """Cells with commas or blanks between them; the last comma may have nothing after it."""
    row = row.strip().removesuffix(",").rstrip()
    return [Token(cell) for cell in re.split(r"\s*,\s*|\s+", row)] if row else []


def _not_understood(text: str, source: str) -> InputError:
    text = " ".join(text.split())
    shown = text if len(text) <= 30 else text[:29] + "…"
    return InputError(
        f"{source}: {shown!r} beside the numbers is not understood; an array is expected as numpy, torch or JSON "
        "print it, and nothing else"
    )


def _lines(text: str, source: str) -> list[Any]:
    """Lines of cells between commas, or else blanks; a first line of words, or of indices, is a header.

    A header has a cell for each column.  One without commas is made of words: "-G" and "1e-5 *" are none.
    """
    lines = [line.strip().rstrip(",") for line in text.splitlines() if line.strip()]
    if has_commas := "," in text:
        cells: Any = csv.reader(lines, skipinitialspace=True)
    else:
        cells = (line.split() for line in lines)
    try:
        rows = [[Token(cell.strip().strip('"')) for cell in row] for row in cells]
    except csv.Error as error:
        raise InputError(f"{source}: malformed CSV: {error}") from None
    if len(rows) > 1 and len(rows[0]) == len(rows[1]):
        header = rows[0]
        is_names = not any(map(_is_number, header)) and (has_commas or all(map(_WORD.fullmatch, header)))
        if is_names or header == [str(index) for index in range(len(header))]:
            rows = rows[1:]
    if not rows:
        raise InputError(f"{source}: is empty; a gradient is expected")
    return rows


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return cell.isascii() and "_" not in cell


def of_rows(rows: Any, source: str, decimals: str | None = None) -> PrintedArray:
    """Rows of the texts of numbers, or one row, refused where they are ragged, and what these texts leave open."""
    if not isinstance(rows, list):
        kind = {type(None): "null", dict: "an object", Token: "a number", str: "a string"}.get(
            type(rows), "no array"
        )
        raise InputError(f"{source}: the gradient is {kind}; an array is expected")
    nested = any(isinstance(row, list) for row in rows)
    tokens = [
        _token(cell, source, f"row {index}, column {column}")
        for index, row in enumerate(rows if nested else [rows])
        for column, cell in enumerate(row if isinstance(row, list) else [row])
    ]
    if why := why_ragged(rows, "gradient"):
        raise InputError(f"{source}: {why}")
    if not tokens:
        raise InputError(f"{source}: the gradient is empty; numbers are expected")
    shape = (len(rows), len(rows[0])) if nested else (len(rows),)
    values = np.array([float(token) for token in tokens]).reshape(shape)
    most_decimals = max(_decimals(token) for token in tokens)
    if decimals == "none" or (decimals is None and not FEWEST <= most_decimals <= MOST):
        return PrintedArray(values, np.broadcast_to(0.0, shape))
    if decimals is None:
        units = _printed_units(tokens, most_decimals)
    else:
        units = [_unit(token, int(decimals)) for token in tokens]
    # A shade more than half a unit: what is read is itself rounded to a float.
    half = np.array(units).reshape(shape) * (0.5 + 2.0**-40)
    return PrintedArray(values, half, most_decimals if decimals is None else int(decimals))


def _printed_units(tokens: list[Token], decimals: int) -> list[float]:
    """The unit of the last decimal that was printed, which trailing zeros may have left.

    Numbers printed to significant digits have each its own: a number with fewer decimals than the longest,
    but with as many digits as any, was cut where it ends.
    """
    digits = [_significant(token) for token in tokens]
    most = max(digits)
    return [
        _unit(token, _decimals(token) if count == most else decimals)
        for token, count in zip(tokens, digits, strict=True)
    ]


def _token(cell: Any, source: str, place: str) -> Token:
    if cell is None:
        return Token("nan")  # JSON's way to say that a number is none
    if isinstance(cell, list):
        raise InputError(f"{source}: {place} is a list; the gradient has three dimensions or more")
    if not isinstance(cell, Token) or not _is_number(cell):
        raise InputError(f"{source}: {place} is {str(cell)[:30]!r}; a number is expected")
    return cell


def _decimals(token: str) -> int:
    match = _FIXED.fullmatch(token)
    return len(match[1] or match[2] or "") if match else 0


def _significant(token: str) -> int:
    """How many digits a number has, from the first that is not zero."""
    mantissa = re.split("[eE]", token)[0]
    return len(re.sub("[^0-9]", "", mantissa).lstrip("0"))


def _unit(token: str, decimals: int) -> float:
    """The column's last decimal; of a number with an exponent its own last digit."""
    match = _FIXED.fullmatch(token)
    if match and match[3]:
        return 10.0 ** (int(match[3]) - _decimals(token))
    return 10.0**-decimals


def parsed(text: str) -> Any:
    """JSON with the texts of its numbers as `Token`."""
    return json.loads(
        text, parse_float=Token, parse_int=Token, parse_constant=Token, object_pairs_hook=_without_doubles
    )


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise InputError(f"the key {key!r} is given twice; which of them is meant?")
    return dict(pairs)
