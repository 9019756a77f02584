"""What someone says the answer is: a gradient, a loss, steps of the chain, read as the `Claim` that is judged.

Read from JSON (an array, or an object with the key gradient), CSV, NPY, NPZ, or what numpy and torch print.
What is not finite is read as such: a wrong gradient is no bad input.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import numpy as np

from xegrad import formats
from xegrad.errors import InputError
from xegrad.formats import npz
from xegrad.formats.npy import refuse_key
from xegrad.problem import Layout, Problem
from xegrad.targets import Array
from xegrad.verification import Claim
from xegrad.vocabulary import CHAIN, SYMBOLS

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


class Written(msgspec.Struct, frozen=True, eq=False):
    """A gradient or a loss that nobody has read yet: text or an array, where it is from, and KEY of FILE:KEY."""

    data: bytes | Array
    source: str
    key: str | None = None


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


def read(
    problem: Problem,
    layout: Layout,
    name: str,
    *,
    gradient: Written | None = None,
    loss: Written | None = None,
    decimals: str | None = None,
) -> Claim:
    """The claim in the library's layout.

    Parameters
    ----------
    layout : Layout
        That of the problem's file, which the gradient has too.
    name : str
        Of which gradient it is, as the library calls it.
    decimals : str, optional
        With how many the numbers were printed, or "none": the text is exact.  Found where it is not said.

    Raises
    ------
    InputError
        What is no array of numbers, or one of another size: where, what was found, what was expected.
    """
    arrays = {} if gradient is None else _arrays(gradient, name, decimals)
    judged: dict[str, PrintedArray] = {}
    if gradient is not None and "gradient" in arrays:
        in_file = _in_shape(arrays["gradient"], layout.shape(problem, name), gradient.source)
        arrays["gradient"] = judged[name] = in_file.moved(partial(layout.to_library, name))
    if loss is not None:
        judged["loss"] = _one_number(loss, decimals)
    elif "loss" in arrays:
        judged["loss"] = arrays["loss"]
    if "loss" in judged and judged["loss"].values.size != 1:
        raise InputError(f"the loss is made of {judged['loss'].values.size} numbers; one is expected")
    pairs = {step: (array.values, array.resolution) for step, array in arrays.items()}
    dtypes = [array.dtype for array in (*judged.values(), *arrays.values())]
    return Claim(
        gradient=pairs.get("gradient"),
        loss=(judged["loss"].values.item(), judged["loss"].resolution.item()) if "loss" in judged else None,
        steps=pairs if pairs.keys() - {"gradient"} else {},
        name=name,
        decimals={of: array.decimals for of, array in judged.items()},
        dtype=next(iter(dtypes), None),
    )


def _arrays(written: Written, name: str, decimals: str | None) -> dict[str, PrintedArray]:
    """The gradient; or the steps of the chain, where an object or a NPZ holds more of them than that of W."""
    data, source, key = written.data, written.source, written.key
    if isinstance(data, np.ndarray):
        return {"gradient": _of_array(data, source)}
    binary = formats.binary_format("-", data)
    if binary is not None:
        if binary.name == "npz" and key is None and name == "weights":
            saved = npz.read_arrays(data, source)
            steps = {step: _of_array(saved[step], source) for step in CHAIN if step in saved}
            if steps.keys() - {"gradient"}:
                return steps
        return {"gradient": _of_array(binary.read_array(data, source, "gradient", key).values, source)}
    refuse_key(key, source, "this file")
    text = "\n".join(line for line in data.decode().splitlines() if not line.lstrip().startswith("#"))
    text = _SCALAR.sub(r"\1", text)
    if text.lstrip().startswith("{"):
        return _from_object(text, source, name, decimals)
    return {"gradient": _from_text(text, source, decimals)}


def _of_array(array: Array, source: str) -> PrintedArray:
    """Numbers that are what they are, in the precision of their array."""
    if array.dtype.kind not in "fiu":
        raise InputError(f"{source}: holds {array.dtype}; real numbers are expected")
    return PrintedArray(array.astype(np.float64), np.broadcast_to(0.0, array.shape), dtype=array.dtype.name)


def _one_number(written: Written, decimals: str | None) -> PrintedArray:
    """A loss, as text or as an array; null is JSON's way to say that it is no number."""
    if isinstance(written.data, np.ndarray):
        return _of_array(written.data, written.source)
    text = written.data.decode().strip()
    text = "nan" if text == "null" else text
    if not _is_number(text):
        raise InputError(f"{written.source} is {text[:30]!r}; a number is expected")
    return _printed([Token(text)], written.source, decimals)


def _from_object(text: str, source: str, name: str, decimals: str | None) -> dict[str, PrintedArray]:
    """The steps; or what stands under `gradients`, by its symbol, or under `gradient`, which is then that of W."""
    try:
        value: dict[str, Any] = _parsed(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{source}: line {error.lineno}, column {error.colno}: malformed JSON: {error.msg.lower()}"
        ) from None
    except RecursionError:
        raise InputError(f"{source}: brackets are nested too deeply to be a gradient") from None
    if name == "weights":
        steps = {
            step: _printed(rows if isinstance(rows, list) else [rows], f"{source}: {step}", decimals)
            for step in CHAIN
            if (rows := value.get(step)) is not None
        }
        if steps.keys() - {"gradient"}:
            return steps
    several, symbol = value.get("gradients"), SYMBOLS[name]
    if isinstance(several, dict) and symbol in several:
        return {"gradient": _printed(several[symbol], source, decimals)}
    if "gradient" not in value or (isinstance(several, dict) and name != "weights"):
        keys = ", ".join([*value][:8]) + (", …" if len(value) > 8 else "")
        wanted = "'gradient'" if name == "weights" else f"'gradient', and none {symbol!r} in 'gradients'"
        raise InputError(f"{source}: the object has no key {wanted}; its keys are {keys or 'none'}")
    return {"gradient": _printed(value["gradient"], source, decimals)}


def _parsed(text: str) -> Any:
    return json.loads(
        text, parse_float=Token, parse_int=Token, parse_constant=Token, object_pairs_hook=_without_doubles
    )


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise InputError(f"the key {key!r} is given twice; which of them is meant?")
    return dict(pairs)


def _from_text(text: str, source: str, decimals: str | None) -> PrintedArray:
    """A JSON array, what numpy and torch print, or lines of numbers."""
    if text.lstrip().startswith("["):
        try:
            return _printed(_parsed(text), source, decimals)
        except json.JSONDecodeError:
            pass
        except RecursionError:
            raise InputError(f"{source}: brackets are nested too deeply to be a matrix") from None
    if "[" in text:
        return _from_print(text, source, decimals)
    return _printed(_lines(text, source), source, decimals)


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
    if text[start] != "[":
        raise _not_understood(text[start:], source)
    end = _end_of_brackets(text, start, source)
    array = _printed(_rows(text[start + 1 : end - 1], source), source, decimals)
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


def _printed(rows: Any, source: str, decimals: str | None) -> PrintedArray:
    """Rows of the texts of numbers, or one row, refused where they are ragged, and what these texts leave open."""
    if not isinstance(rows, list):
        kind = {type(None): "null", dict: "an object", Token: "a number", str: "a string"}.get(
            type(rows), "no array"
        )
        raise InputError(f"{source}: the gradient is {kind}; an array is expected")
    nested = any(isinstance(row, list) for row in rows)
    tokens: list[Token] = []
    for index, row in enumerate(rows if nested else [rows]):
        if not isinstance(row, list):
            raise InputError(
                f"{source}: row {index} is a number among lists; a matrix has rows of one length"
            )
        if nested and len(row) != len(rows[0]):
            raise InputError(
                f"{source}: row {index} has {len(row)} numbers, but row 0 has {len(rows[0])}; all rows must be "
                "equally long"
            )
        tokens += [_token(cell, source, f"row {index}, column {column}") for column, cell in enumerate(row)]
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


def _in_shape(array: PrintedArray, expected: tuple[int, ...], source: str) -> PrintedArray:
    """The numbers in the shape that the gradient has in the file's layout, or as many in another.

    A matrix that is transposed stays so, for the diagnosis; a flat one is read in the order of W's layout.

    Raises
    ------
    InputError
        More or fewer numbers: both shapes.
    """
    shape = array.values.shape
    if shape == expected or (len(expected) == 2 and shape == expected[::-1]):
        return array
    if array.values.size == np.prod(expected) and (len(shape) == 1 or 1 in shape):
        return array.moved(lambda numbers: numbers.reshape(expected))
    raise InputError(
        f"{source}: the gradient is {' x '.join(map(str, shape))}, but {' x '.join(map(str, expected))} is expected"
    )
