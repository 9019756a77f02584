"""Arrays as text: JSON, CSV, and what numpy and torch print, with what the printing leaves open.

Text is understood whole or refused.  What is not finite is read as such: a wrong gradient is no bad input.

See docs/formats.md.
"""

from __future__ import annotations

import csv
import json
import re
from typing import Any

import msgspec
import numpy as np

from xegrad.claim import Claimed, Reading
from xegrad.errors import InputError
from xegrad.formats.values import check_doubled, check_real, is_number, short, why_ragged
from xegrad.targets import Array

LARGEST_POWER = 308  # of ten, in float64
FEWEST, MOST = 4, 12  # decimals that look like printing; fewer and more are taken as they stand

_NOTATION = re.compile(r"[-+]?([0-9]*)\.?([0-9]*)(?:[eE]([-+]?[0-9]+))?")  # of a number that is finite

# What numpy and torch print around the brackets of an array; anything else would be part of an expression.
_SCALAR = re.compile(r"(?<![\w.)+-])np\.float\d+\(([^()]*)\)(?![\w.(])")  # how numpy 2 prints its scalars
_NAME = r"[A-Za-z_][\w.]*(?:/[A-Za-z_][\w.]*)*"  # dL/dW, layer.weight.grad; G/4 is none
_WORD = re.compile(_NAME)
_CELL_NAME = re.compile(
    r"\w[^*=]*|."
)  # of a header with commas: cell names begin as words do; -a and *2 are none
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


class Token(str):
    """The text of a number."""

    __slots__ = ()


def of_array(array: Array) -> Claimed:
    """Numbers that are what they are, in the precision of their array."""
    check_real(array)
    return Claimed(array.astype(np.float64), dtype=array.dtype.name)


def without_comments(text: str) -> str:
    """The text without the lines that begin with #, and numpy 2's scalars as their numbers."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    return _SCALAR.sub(r"\1", "\n".join(lines))


def one_number(text: str, decimals: str | None = None) -> Claimed:
    """The text of a single number."""
    if not is_number(text):
        raise InputError(f" is {text[:30]!r}; a number is expected")
    return of_rows([Token(text)], decimals)


def of_text(text: str, decimals: str | None = None) -> Claimed:
    """A JSON array, what numpy and torch print, or lines of numbers.

    `decimals` says with how many they were printed, or "none": the text is exact.  By default the text tells.
    """
    if text.lstrip().startswith("["):
        try:
            return of_rows(parsed(text), decimals)
        except json.JSONDecodeError:
            pass
        except RecursionError:
            raise InputError("brackets are nested too deeply to be a matrix") from None
    return _from_print(text, decimals) if "[" in text else of_rows(_lines(text), decimals)


def _from_print(text: str, decimals: str | None) -> Claimed:
    """What numpy and torch print, understood whole: brackets, a name before them, what the array is after them."""
    if "..." in text:
        raise InputError(
            "the matrix is abbreviated with '...'; print all of it "
            "(numpy.set_printoptions(threshold=sys.maxsize), torch.set_printoptions(profile='full'))"
        )
    before = _BEFORE.match(text)
    assert before is not None  # each piece of it may be absent
    start = before.end()
    if not text.startswith("[", start):
        raise _not_understood(text[start:] or text)
    end = _end_of_brackets(text, start)
    array = of_rows(_rows(text[start + 1 : end - 1]), decimals)
    dtype = None
    if before["call"] is not None:
        while keyword := _KEYWORD.match(text, end):
            stored = _FLOAT.fullmatch(keyword["value"]) if keyword["name"] == "dtype" else None
            dtype, end = stored[1] if stored else dtype, keyword.end()
        closing = text[end:].lstrip()
        if not closing:
            raise InputError(f"the parenthesis after {before['call'].strip()[:-1]} does not close")
        if not closing.startswith(")"):
            raise _not_understood(closing)
        end = len(text) - len(closing) + 1
    if text[end:].strip():
        raise _not_understood(text[end:])
    scale = float(before["factor"] or 1)
    return msgspec.structs.replace(array.moved(lambda numbers: numbers * scale), dtype=dtype)


def _end_of_brackets(text: str, start: int) -> int:
    """Where the matrix ends that begins at `start`."""
    depth = 0
    for bracket in re.finditer(r"[\[\]]", text[start:]):
        depth += 1 if bracket[0] == "[" else -1
        if depth == 0:
            return start + bracket.end()
        if depth == 3:
            raise InputError("has three dimensions or more; one or two are expected")
    raise InputError("the brackets of the matrix do not close")


def _rows(inside: str) -> list[Any]:
    """The rows between the brackets of a matrix, or the cells between those of a vector."""
    if "[" not in inside:
        return _cells(inside)
    between = re.split(r"\[[^\[\]]*\]", inside)
    for index, text in enumerate(between):
        comma = "" if index == 0 else ","
        if text.strip().removeprefix(comma).strip():
            raise _not_understood(text)
    return [_cells(row) for row in re.findall(r"\[([^\[\]]*)\]", inside)]


def _cells(row: str) -> list[Token]:
    """Cells with commas or blanks between them; the last comma may have nothing after it."""
    row = row.strip().removesuffix(",").rstrip()
    return [Token(cell) for cell in re.split(r"\s*,\s*|\s+", row)] if row else []


def _not_understood(text: str) -> InputError:
    shown = short(" ".join(text.split()))
    return InputError(
        f"{shown!r} beside the numbers is not understood; an array is expected as numpy, torch or JSON "
        "print it, and nothing else"
    )


def _lines(text: str) -> list[Any]:
    """Lines of cells between commas, or else blanks; a first line of words, or of indices, is a header.

    A header has a cell for each column.  One without commas is made of words: "-G" and "1e-5 *" are none.
    """
    lines = [line.strip().rstrip(",") for line in text.splitlines() if line.strip()]
    has_commas = "," in text
    try:
        cells = csv.reader(lines, skipinitialspace=True) if has_commas else map(str.split, lines)
        rows = [[Token(cell.strip().strip('"')) for cell in row] for row in cells]
    except csv.Error as error:
        raise InputError(f"malformed CSV: {error}") from None
    if len(rows) > 1 and len(rows[0]) == len(rows[1]):
        header = rows[0]
        name = _CELL_NAME if has_commas else _WORD
        is_names = not any(map(is_number, header)) and all(map(name.fullmatch, header))
        if is_names or header == [str(index) for index in range(len(header))]:
            rows = rows[1:]
    if not rows:
        raise InputError("is empty; a gradient is expected")
    return rows


def of_rows(rows: Any, decimals: str | None = None) -> Claimed:
    """Rows of the texts of numbers, or one row, refused where they are ragged, and what these texts leave open."""
    if not isinstance(rows, list):
        kinds = {type(None): "null", dict: "an object", Token: "a number", str: "a string"}
        kind = kinds.get(type(rows), "no array")
        raise InputError(f"the gradient is {kind}; an array is expected")
    nested = any(isinstance(row, list) for row in rows)
    tokens = [
        _token(cell, f"row {index}, column {column}")
        for index, row in enumerate(rows if nested else [rows])
        for column, cell in enumerate(row if isinstance(row, list) else [row])
    ]
    if why := why_ragged(rows, "gradient"):
        raise InputError(why)
    if not tokens:
        raise InputError("the gradient is empty; numbers are expected")
    shape = (len(rows), len(rows[0])) if nested else (len(rows),)
    values = np.array(list(map(float, tokens))).reshape(shape)
    notations = list(map(_notation, tokens))
    most, digits = (max(getattr(notation, of) for notation in notations) for of in ("decimals", "digits"))
    if decimals == "none" or (decimals is None and not FEWEST <= most <= MOST):
        return Claimed(values, digits=digits)
    n_decimals = most if decimals is None else int(decimals)
    # A number may have lost the trailing zeros of its column.  Numbers printed to significant digits have each
    # its own last place: one with fewer decimals than the longest, but with as many digits as any, was cut there.
    most_digits = digits if decimals is None else None
    last_places = [
        notation.last_place(notation.decimals if notation.digits == most_digits else n_decimals)
        for notation in notations
    ]
    # A shade more than half a unit: what is read is itself rounded to a float.
    half = np.array([10.0**place for place in last_places]).reshape(shape) * (0.5 + 2.0**-40)
    return Claimed(values, Reading(half, decimals=n_decimals), digits=digits)


def _token(cell: Any, place: str) -> Token:
    if cell is None:
        return Token("nan")  # JSON's way to say that a number is none
    if isinstance(cell, list):
        raise InputError(f"{place} is a list; the gradient has three dimensions or more")
    if not isinstance(cell, Token) or not is_number(cell):
        raise InputError(f"{place} is {str(cell)[:30]!r}; a number is expected")
    return cell


class Notation(msgspec.Struct, frozen=True):
    """How a number is written: its digits from the first that is not zero, its decimals, its exponent."""

    digits: int = 0
    decimals: int = 0
    exponent: int | None = None

    def last_place(self, decimals: int) -> int:
        """The power of ten of its last digit, or of the last of so many decimals if it has no exponent."""
        return -decimals if self.exponent is None else min(self.exponent - self.decimals, LARGEST_POWER)


def _notation(token: str) -> Notation:
    match = _NOTATION.fullmatch(token)
    if match is None:
        return Notation()
    whole, decimals, exponent = match.groups()
    digits = len((whole + decimals).lstrip("0"))
    return Notation(digits, len(decimals), None if exponent is None else int(exponent))


def parsed(text: str) -> Any:
    """JSON with the texts of its numbers as `Token`."""
    return json.loads(
        text, parse_float=Token, parse_int=Token, parse_constant=Token, object_pairs_hook=_without_doubles
    )


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    check_doubled(key for key, _ in pairs)
    return dict(pairs)
