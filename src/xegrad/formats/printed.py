"""Arrays as text: JSON, CSV, and what languages print of a matrix, with what the printing leaves open.

Text is understood whole or refused.  What is not finite is read as such: a wrong gradient is no bad input.

See docs/formats.md.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import replace

from xegrad.arrays import in_float64
from xegrad.claim import Claimed, Reading
from xegrad.errors import InputError, malformed_csv, short
from xegrad.formats import naming, resolution
from xegrad.formats.tokens import NotJSONError, Token, parsed
from xegrad.formats.values import check_real, is_number, number_of, why_ragged
from xegrad.targets import Array


class Printed(msgspec.Struct, frozen=True):
    """What a text holds: the texts of its numbers, and what it says of them."""

    rows: Any
    power: int = 0  # of ten, that all of them are multiplied with
    dtype: str | None = None
    shape: str | None = None
    by_column: bool = False  # each column has its own number of decimals


_NAME = r"[A-Za-z_][\w.]*(?:/[A-Za-z_][\w.]*)*"  # dL/dW, layer.weight.grad; G/4 is none
_NAMED = rf"\s* (?: (?:\[[A-Z]+\]\s*)? {_NAME} \s*[=:]\s* )?"  # [INFO] grad =
_FACTOR = r"(?: 1(?:\.0*)?[eE](?P<power>[-+]?[0-9]{1,3}) [ ]*\*[ ]*\n\s* )?"  # 1.0e-05 * on a line of its own


class Enclosed(msgspec.Struct, frozen=True):
    """How numbers between brackets are printed: what is before them and after, and a suffix that says float32.

    The patterns have the groups `type`, `shape`, `power`, and `call` with the `closed` that it needs.
    """

    before: str
    opens: str = r"\["
    after: str = ""
    suffix: tuple[str, str] | None = None  # and what it stands for


# Nothing else may stand there: it would be part of an expression.
ENCLOSED = (
    # numpy, torch, JAX and TensorFlow, which print one number without brackets.
    Enclosed(
        rf"""{_NAMED} (?: Parameter\ containing:\s* )?
        (?P<call>(?:\w+\.)?(?:array|Array|tensor|Tensor|matrix)) \(\s* {_FACTOR}""",
        opens=r"[\[\w.+-]",
        after=r"""(?: \s*+,\s*+ (?: dtype=(?: '?(?:\w+\.)?(?P<type>float\d+|bfloat16)'? | [\w.]+ )
            | (?:shape|size)=(?P<shape>\([\d,\s]*\))
            | (?:device|grad_fn|requires_grad|layout|weak_type)=(?: <[^<>]*> | '[^']*' | [\w.]+ ) ) )*
            (?: \s*+(?:,\s*+)? (?P<closed>\)) )?""",
    ),
    # JSON, Python, MATLAB's mat2str, JavaScript, and Rust's {:?} of vectors and of ndarray.
    Enclosed(
        rf"{_NAMED} {_FACTOR}",
        after=r"""(?: ,\ shape=(?P<shape>\[[\d,\ ]+\]),\ strides=\[[-\d,\ ]+\],\ layout=\w+\ \(0x\w+\),
            \ (?:const|dynamic)\ ndim=\d+ )?""",
    ),
    Enclosed(rf"{_NAMED} (?P<type>Float32|Float64)Array\((?P<shape>\d+)\)\s*"),
    # Julia, where 1f-5 is a Float32.
    Enclosed(rf"{_NAMED} (?P<type>Float16|Float32|Float64)?", suffix=(r"(?<=[\d.])f(?=[-+]?\d)", "e")),
    # C, where 0.1f is a float.
    Enclosed(
        rf"""(?: \s* (?:(?:static|const|constexpr)\s+)* (?P<type>float|double)\s+ \w+
        (?P<shape>(?>(?:\s*+\[\s*+\d*+\s*+\])+)) \s*+=\s*+ | {_NAMED})""",
        opens=r"\{",
        after=r"\s*;?",
        suffix=(r"(?<=[\d.])[fF](?=\s*[,}])", ""),
    ),
    # TensorFlow, whose type is that of what numpy prints inside.
    Enclosed(
        rf"""{_NAMED} (?P<call><tf\.(?:Tensor|Variable)\b) [^<>()]*? \s shape=(?P<shape>\([\d,\s]*\)) ,?
        \s dtype=(?P<type>float\d+|bfloat16), \s numpy=\s* (?:array\(\s*)?""",
        opens=r"[\[\d.+-]",
        after=r"(?: \s*+,\s*+ dtype=\w+ )? (?: \s*+(?:,\s*+)? \)? (?P<closed>>) )?",
    ),
)

# What stands before lines of numbers.
TITLES = (
    # MATLAB and Octave, which say of an array in single what it is.
    rf"""\s* {_NAME} \s*=[ ]*\n \s* (?: (?: (?P<shape>\d+[x×]\d+)\ )?
        (?P<type>single) (?:\ matrix|\ row\ vector|\ column\ vector)? \s*\n )? \s* {_FACTOR}""",
    # Julia: 3×5 Matrix{Float64}:
    r"\s* (?P<shape>\d+×\d+|\d+(?=-element)) [^\n]{0,99}? (?P<type>Float16|Float32|Float64) [^\n]{0,99}:[ ]*\n",
    r"\s* (?=Columns?\ \d)",  # Octave's disp
)
# Lines of some columns: those of MATLAB and Octave, of R, and of R's vectors, whose lines begin with an index.
_COLUMNS = re.compile(r"Columns? (\d{1,9})(?: (?:through|to|and) (\d{1,9}))?:?")
_R_COLUMNS = re.compile(r"(?:\[,\d{1,9}\]\s*+)+")
_R_ROW, _R_VECTOR = re.compile(r"\[(\d{1,9}),\]\s(.*)"), re.compile(r"\[(\d{1,9})\]\s(.*)")

_TYPES = {"float": "float32", "double": "float64", "single": "float32"}
_ABBREVIATED = re.compile(r"\.\.\.|[…⋮⋱⋯]")
_SCALAR = re.compile(r"(?<![\w.)+-])np\.(float\d+)\(([^()]*)\)(?![\w.(])")  # how numpy 2 prints its scalars
_C_FLOAT = re.compile(  # a float of C, as 1.5f, or as %a prints it; 1.5f-3 is one of Julia
    r"(?<![\w.]) ((?:\d++\.?\d*+|\.\d++)(?:[eE][-+]?\d++)? | 0[xX][0-9a-fA-F]*+\.?[0-9a-fA-F]*+[pP][-+]?\d++)"
    r"[fF] (?![\w.+-])",
    re.VERBOSE,
)
_JS_ROW = re.compile(r"Float(?:32|64)Array\((\d+)\)\s*(?=\[)")
_NUMBER = re.compile(r"[-+]?(?:[\w.]|(?<=[eEpP])[-+])+")
_HEXADECIMAL = re.compile(
    r"[-+]?0[xX](?=\.?[0-9a-fA-F])[0-9a-fA-F]*+\.?[0-9a-fA-F]*+[pP][-+]?[0-9]{1,4}"
)  # %a
_NAMED_NUMBER = re.compile(rf"\s*{_NAME}\s*[=:]\s*({_NUMBER.pattern})\s*")
_WORD = re.compile(_NAME)
_CELL_NAME = re.compile(r"\w[^*=]*|.")  # of a header with commas: names begin as words do; -a and *2 are none


def of_array(array: Array, dtype: str | None = None) -> Claimed:
    """Numbers that are what they are, in the precision of their array, or in that of their file."""
    check_real(array)
    return Claimed(in_float64("", array), dtype=dtype or array.dtype.name)


def without_comments(text: str) -> str:
    """The text with nothing on the lines that begin with #, so that a message counts all lines.

    A text in JSON may hold other ends of lines than these.
    """
    lines = re.split("\r\n|\r|\n", text)
    return "\n".join("" if line.lstrip().startswith("#") else line for line in lines)


def one_number(text: str, asked: Reading | None = None) -> Claimed:
    """The text of a single number, or what a language prints of one."""
    if is_number(text):
        return of_rows([Token(text)], asked)
    try:
        return of_text(text, asked)
    except InputError:
        raise InputError(f" is {text[:30]!r}; a number is expected") from None


def of_text(text: str, asked: Reading | None = None, size: int | None = None) -> Claimed:
    """A JSON array, what languages print, or lines of numbers.

    `asked` says how they were printed, or that they are what they are.  By default the text tells.  `size` is how many
    are expected, by which 0,1,2 is a line of numbers or a header.
    """
    if text.lstrip().startswith("["):
        try:
            return of_rows(parsed(text), asked)
        except NotJSONError:
            pass
    if abbreviated := _ABBREVIATED.search(text):
        raise InputError(
            f"the matrix is abbreviated with {abbreviated[0]!r}; all of it is expected "
            "(numpy.set_printoptions(threshold=sys.maxsize), torch.set_printoptions(profile='full'))"
        )
    types = {scalar[1] for scalar in _SCALAR.finditer(text)}
    text = _SCALAR.sub(r"\2", text)
    if "{" not in text and _C_FLOAT.search(text):
        text = _C_FLOAT.sub(r"\1", text)
        types.add("float32")
    printed = _of_r(text) or _titled(text)
    if printed is None and (named := _NAMED_NUMBER.fullmatch(text)):
        printed = Printed([Token(named[1])])
    if printed is None:
        printed = _enclosed(text) if re.search(r"[\[{<]|\w\(", text) else _lines(text, size)
    if types:
        printed = replace(printed, dtype=printed.dtype or types.pop())
    return of_rows(printed.rows, asked, printed)


def _enclosed(text: str) -> Printed:
    """Numbers between brackets, with what is said before and after them."""
    rests = []
    for entry in ENCLOSED:
        before = re.match(entry.before, text, re.VERBOSE)
        if before is None or not re.match(entry.opens, text[before.end() :]):
            continue
        start, end = before.end(), _end_of_body(text, before.end())
        after = re.compile(entry.after, re.VERBOSE).match(text, end)
        assert after is not None  # each piece of it may be absent
        if rest := text[after.end() :].strip():
            rests.append(rest)
            continue
        groups = {**before.groupdict(), **after.groupdict()}
        if groups.get("call") and not groups["closed"]:
            raise InputError(f"the parenthesis after {groups['call']} does not close")
        inside, n_suffixes = re.subn(*entry.suffix, text[start:end]) if entry.suffix else (text[start:end], 0)
        return _with_groups(_between(inside), groups | ({"type": "float32"} if n_suffixes else {}))
    raise _not_understood(min(rests, key=len, default=text))


def _with_groups(rows: Any, groups: Mapping[str, str | None]) -> Printed:
    """Rows, with the groups of the pattern around them."""
    dtype, power, shape = (groups.get(group) for group in ("type", "power", "shape"))
    dtype = dtype and _TYPES.get(dtype, dtype.lower())
    return Printed(rows, int(power or 0), dtype, None if shape is None else shape.strip())


def _end_of_body(text: str, start: int) -> int:
    """Where the matrix ends, or the number, that begins at `start`."""
    if text[start] not in "[{":
        number = _NUMBER.match(text, start)
        return number.end() if number else start
    opening, closing = text[start], {"[": "]", "{": "}"}[text[start]]
    depth = 0
    for bracket in re.finditer(rf"[\{opening}\{closing}]", text[start:]):
        depth += 1 if bracket[0] == opening else -1
        if depth == 0:
            return start + bracket.end()
        if depth == 3:
            raise InputError("has three dimensions or more; one or two are expected")
    raise InputError("the brackets of the matrix do not close")


def _between(text: str) -> list[Any]:
    """The rows of a matrix in brackets, the cells of a vector, or a number."""
    if text.startswith("{"):
        if "[" in text:
            raise _not_understood(text)
        text = text.replace("{", "[").replace("}", "]")
    if not text.startswith("["):
        return [Token(text)]
    sizes = _JS_ROW.findall(text)
    rows = _rows(_JS_ROW.sub("", text)[1:-1])
    if sizes and sizes != [str(len(row)) for row in rows]:
        raise InputError(f"an array is said to have {sizes[0]} numbers, and has others")
    return rows


def _rows(inside: str) -> list[Any]:
    """The rows between the brackets of a matrix, or the cells between those of a vector."""
    if "[" not in inside:
        return [_cells(row) for row in inside.split(";")] if ";" in inside else _cells(inside)
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
        f"{shown!r} beside the numbers is not understood; an array is expected as numpy, torch or another language "
        "prints it, and nothing else"
    )


def _titled(text: str) -> Printed | None:
    """What MATLAB, Octave and Julia print: a title, and lines of numbers, perhaps some columns at a time."""
    for pattern in TITLES:
        title = re.match(pattern, text, re.VERBOSE)
        if title is None or re.search(r"[\[{(]", text[title.end() :]):
            continue
        blocks: list[tuple[int, int | None, list[Any]]] = []
        for line in filter(str.strip, text[title.end() :].splitlines()):
            if columns := _COLUMNS.fullmatch(line.strip()):
                blocks.append((int(columns[1]), int(columns[2] or columns[1]), []))
            else:
                blocks = blocks or [(1, None, [])]
                blocks[-1][2].append([Token(cell) for cell in line.split()])
        return _with_groups(_side_by_side(blocks), title.groupdict())
    return None


def _of_r(text: str) -> Printed | None:
    """What R prints: each line of a vector begins with its index, and a matrix has the indices of both."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if lines and (vector := [_R_VECTOR.fullmatch(line) for line in lines])[0]:
        cells: list[Token] = []
        for line, match in zip(lines, vector, strict=True):
            if match is None or int(match[1]) != len(cells) + 1:
                raise _not_understood(line)
            cells += map(Token, match[2].split())
        return Printed(cells)
    if not (lines and _R_COLUMNS.fullmatch(lines[0])):
        return None
    blocks: list[tuple[int, int | None, list[Any]]] = []
    for line in lines:
        if _R_COLUMNS.fullmatch(line):
            indices = [int(index) for index in re.findall(r"\d+", line)]
            if indices != [*range(indices[0], indices[-1] + 1)]:
                raise _not_understood(line)
            blocks.append((indices[0], indices[-1], []))
        elif (row := _R_ROW.fullmatch(line)) and int(row[1]) == len(blocks[-1][2]) + 1:
            blocks[-1][2].append([Token(cell) for cell in row[2].split()])
        else:
            raise _not_understood(line)
    return Printed(_side_by_side(blocks), by_column=True)


def _side_by_side(blocks: list[tuple[int, int | None, list[Any]]]) -> list[Any]:
    """The rows of a matrix from blocks of columns, each with its first, its last and its rows."""
    if not blocks:
        raise InputError("has a title and no numbers; a gradient is expected")
    rows: list[Any] = [[] for _ in blocks[0][2]]
    for first, last, block in blocks:
        width = last and last - first + 1
        is_next = first == len(rows[0] if rows else ()) + 1 and len(block) == len(rows)
        if not is_next or (width and any(len(row) != width for row in block)):
            raise InputError(
                f"the columns from {first} do not continue those before them, or have other numbers"
            )
        rows = [[*row, *more] for row, more in zip(rows, block, strict=True)]
    return rows


def _lines(text: str, size: int | None) -> Printed:
    """Lines of cells between commas, or else blanks; a first line, and a first column, of names or indices.

    Names without commas are words: "-G" and "1e-5 *" are none.  A first line of 0, 1, ... is one of numbers where
    the others are not as many as expected.
    """
    lines = [line.strip().rstrip(",") for line in text.splitlines() if line.replace(",", " ").strip()]
    has_commas = "," in text
    try:
        cells = csv.reader(lines, skipinitialspace=True) if has_commas else map(str.split, lines)
        rows = [[Token(cell.strip().strip('"')) for cell in row] for row in cells]
    except csv.Error as error:
        raise InputError(malformed_csv(error)) from None
    if not rows:
        raise InputError("is empty; a gradient is expected")

    def are_names(cells: list[Token]) -> bool:
        name = _CELL_NAME if has_commas else _WORD
        is_words = not any(map(is_number, cells)) and all(map(name.fullmatch, cells))
        return is_words or any(cells == [str(k) for k in range(a, a + len(cells))] for a in (0, 1))

    header, body = rows[0], rows[1:]
    width = len(body[0]) if body else 0
    if header[0] == "" or width == len(header) + 1:
        columns = header[1:] if header[0] == "" else header
        is_named = all(len(row) == width == len(columns) + 1 for row in body) and are_names(columns)
        if is_named and are_names([row[0] for row in body]):
            return Printed([row[1:] for row in body], by_column=not has_commas)
    elif width == len(header) and are_names(header):
        may_be_numbers = is_number(header[0]) and sum(map(len, rows)) == size
        return Printed(rows if may_be_numbers else body)
    return Printed(rows)


def of_rows(rows: Any, asked: Reading | None = None, printed: Printed | None = None) -> Claimed:
    """Rows of the texts of numbers, or one row, refused where they are ragged, and what these texts leave open.

    `printed` says what else the text tells of them.
    """
    printed = printed or Printed(rows)
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
    if printed.shape is not None:
        sizes = re.findall(r"\d+|(?<=\[)(?=\])", printed.shape.replace(" ", ""))
        pairs = zip(sizes, shape, strict=False)
        fits = len(sizes) == len(shape) and all(size in ("", str(n)) for size, n in pairs)
        if not fits and (sizes or len(tokens) > 1):
            raise InputError(f"the text says {printed.shape}, and has {' x '.join(map(str, shape))} numbers")
    values = np.array([_value(token, printed.power) for token in tokens]).reshape(shape)
    written = resolution.written(tokens, shape, printed.power)
    reading, others = resolution.readings(written, asked, by_column=printed.by_column)
    is_exact = asked is not None and asked.decimals is None and asked.digits is None
    return Claimed(values, reading, others, printed.dtype, None if is_exact else written.most_significant)


def _token(cell: Any, place: str) -> Token:
    if cell is None:
        return Token("nan")  # JSON's way to say that a number is none
    if isinstance(cell, list):
        raise InputError(f"{place} is a list; the gradient has three dimensions or more")
    if not isinstance(cell, Token) or not (is_number(cell) or _HEXADECIMAL.fullmatch(cell)):
        raise InputError(f"{place} is {short(str(cell))!r}; a number is expected")
    return cell


def _value(token: str, power: int) -> float:
    """The float nearest to a text times a power of ten."""
    if not _HEXADECIMAL.fullmatch(token):
        is_scaled = power != 0 and token.lstrip("+-")[0] in ".0123456789"
        if is_scaled and "e" in token.lower():
            raise InputError(f"{token!r} stands behind a power of ten and has one; which is meant?")
        if is_scaled:
            return float(f"{token}e{power}")
        with naming("the gradient"):
            return number_of(token)
    try:
        if power == 0:
            return float.fromhex(token)
    except OverflowError:
        pass
    raise InputError(f"{short(token)!r} is no number of float64; a number is expected")
