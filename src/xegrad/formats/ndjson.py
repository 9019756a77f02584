"""NDJSON: a stream of problems, an object as in JSON on each line.

Lines are taken as they come: whatever complete lines one read gave.  Those of one shape become one stack
of arrays, so that waiting for more never delays a line, and many are as fast as arrays are.

See docs/recipes.md.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET
from msgspec.structs import replace

from xegrad.arrays import blocks
from xegrad.errors import InputError, XegradError
from xegrad.formats import json, labels
from xegrad.formats.raw_problem import RawProblem
from xegrad.problem import Layout, Problem
from xegrad.problem_spec import CLAIMS, FIELDS, ProblemObject
from xegrad.targets import Array, Targets
from xegrad.vocabulary import NAMES

# Bytes asked for at a time: with fewer, what a stack costs whatever its size counts, and with more, its arrays leave
# the cache.  A pipe gives what it holds.
READ = 2**19
SET_PIPE_SIZE = 1031  # of Linux's fcntl: a pipe that holds as much
STACK = 2**22  # numbers in the layer Jacobians of a stack, at most: what the chain has in memory at a time


class Lines(msgspec.Struct, frozen=True, eq=False):
    """Lines of a stream by their places: their numbers, counted from one, and their problems as they stand.

    Column by column, since an object for each line would take as long as to read it.
    """

    numbers: Sequence[int]
    fields: Sequence[Any]  # a ProblemObject each, or None
    ids: Sequence[Any]
    errors: Mapping[int, str] = {}  # by place, why there is no problem
    columns: json.Columns | None = None  # of the fields, where all lines are problems and were read together


class Stack(msgspec.Struct, frozen=True, eq=False):
    """K problems of one shape as one, where among the lines each stands, and their layout."""

    problem: Problem
    places: Sequence[int]
    layout: Layout


def load(data: bytes, part: str | None = None, key: str | None = None) -> RawProblem:
    """Never: a stream is many problems."""
    expected = "labels" if part == "label" else "a part of one"
    rest = "and one is expected here; give it as .json" if part is None else f"not {expected}"
    raise InputError(f"NDJSON is a stream of problems, {rest}")


class Chunk(msgspec.Struct, frozen=True):
    """Complete lines that came together, without the last newline, and the number of the first."""

    text: bytes
    number: int


def chunks(descriptor: int) -> Iterator[Chunk]:
    """The complete lines of an open file, as many at a time as one read gives."""
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            fcntl.fcntl(descriptor, SET_PIPE_SIZE, READ)
    number = 1
    begun: list[bytes] = []  # the pieces of a line whose end has not come
    while piece := os.read(descriptor, READ):
        head, newline, tail = piece.rpartition(b"\n")
        if not newline:
            begun.append(piece)
            continue
        text = b"".join([*begun, head])
        begun = [tail]
        yield Chunk(text, number)
        number += text.count(b"\n") + 1
    if last := b"".join(begun):
        yield Chunk(last, number)


def lines(chunk: Chunk) -> Lines:
    """The lines of a chunk; empty ones are counted and skipped."""
    text, first = chunk.text, chunk.number
    if first == 1:
        text = text.removeprefix(b"\xef\xbb\xbf")
    if (read := json.read_objects(text)) is not None:
        objects, columns = read
        return Lines(range(first, first + len(objects)), objects, columns["id"], {}, columns)
    texts = {
        number: line
        for number, line in enumerate(text.split(b"\n"), start=first)
        if line and not line.isspace()
    }
    fields, errors, ids = [*zip(*map(decoded, texts.values()), strict=True)] or [()] * 3
    return Lines([*texts], fields, ids, {place: error for place, error in enumerate(errors) if error})


def decoded(text: bytes) -> tuple[Any, str, Any]:
    """The problem of a line, or None and what is wrong with it; and its id."""
    try:
        fields = json.read_object(text)
    except InputError as error:
        return None, shortened(error), json.id_of(text)
    except UnicodeDecodeError:
        return None, "the text is not UTF-8", UNSET
    return fields, "", fields.id


def shortened(error: XegradError) -> str:
    """The sentence without the number of the line, which is told apart from it."""
    return str(error).lstrip().replace("line 1, column", "column")


def raw_problem(fields: Any, options: RawProblem) -> RawProblem:
    """The problem of a line, below what the command line says."""
    return options.over(json.raw_problem(fields))


# What is raised where the lines of a stack do not fit together, or one of them is no problem.
_UNFIT = (InputError, ValueError, TypeError, KeyError, IndexError, OverflowError)


def stacks(
    lines: Lines, options: RawProblem, places: Sequence[int] | None = None
) -> Iterator[Stack | tuple[int, str]]:
    """The lines as stacks, in no order; in place of one that is no problem its place and what is wrong with it.

    Most streams are one stack.  Where they are not, the lines of each shape are tried, and then halves of these,
    down to the lines that are to blame.
    """
    columns = lines.columns if places is None else None
    places = range(len(lines.fields)) if places is None else places
    if len(places) < 2:
        yield from (_alone(lines, place, options) for place in places)
        return
    try:
        stack = _stack(columns or json.columns([lines.fields[place] for place in places]), places, options)
    except _UNFIT:
        groups: dict[Any, list[int]] = {}
        for place in places:
            groups.setdefault(_shape(lines.fields[place]), []).append(place)
        middle = len(places) // 2
        for part in groups.values() if len(groups) > 1 else (places[:middle], places[middle:]):
            yield from stacks(lines, options, part)
    else:
        yield from _within_memory(stack)


def _alone(lines: Lines, place: int, options: RawProblem) -> Stack | tuple[int, str]:
    if lines.fields[place] is None:
        return place, lines.errors[place]
    try:
        raw = raw_problem(lines.fields[place], options)
        return Stack(raw.problem(), [place], raw.layout)
    except InputError as error:
        return place, shortened(error)


def _within_memory(stack: Stack) -> Iterator[Stack]:
    """The stack, or parts of it of which the chain has a bounded number of entries in memory."""
    problem, places = stack.problem, stack.places
    parts = blocks(len(places), STACK // (problem.n_rows * problem.n_classes**2 * problem.n_inputs))
    for some in parts:
        yield stack if len(parts) == 1 else Stack(problem.at(some), places[some], stack.layout)


_ARRAYS = {key: name for key, name in NAMES.items() if key in FIELDS and key not in CLAIMS}
_parts = attrgetter(*_ARRAYS, "label")
# The fields that are the same on every line of most streams.
_SHARED = [key for key, field in FIELDS.items() if field.options and key not in (*_ARRAYS, "label")]
_shared = attrgetter(*_SHARED)


def _shape(fields: Any) -> Any:
    """Lines of which this is equal can be one stack: sizes, kinds, names and options."""
    if fields is None:
        return None
    return (*map(_size, _parts(fields)), fields.id is UNSET, repr(_shared(fields)))


def _size(value: Any) -> Any:
    if not isinstance(value, list):
        return type(value)
    return (len(value), len(value[0])) if value and isinstance(value[0], list) else len(value)


def _stack(columns: json.Columns, places: Sequence[int], options: RawProblem) -> Stack:
    """The arrays of all lines at once.  What does not fit raises something: which line it was, and why, is
    found by trying fewer."""
    n_lines = len(places)
    if any(columns[key].count(columns[key][0]) < n_lines for key in _SHARED):
        raise ValueError("other options")
    if any(0 < columns[key].count(UNSET) < n_lines for key in ("b", "id")):
        raise ValueError("not all have b, or not all an id")
    first = raw_problem(ProblemObject(**{key: column[0] for key, column in columns.items()}), options)
    one = first.problem()
    arrays: dict[str, Any] = {}
    for key, name in _ARRAYS.items():
        if (of_one := getattr(one, name)) is None:
            continue
        if key in options.values:  # for each line that of the command line
            arrays[name] = np.broadcast_to(of_one, (n_lines, *of_one.shape))
        else:
            moved = first.layout.to_library(name, _array(columns[key]))
            arrays[name] = moved.reshape(n_lines, *of_one.shape)
    problem = replace(one, targets=_targets(columns["label"], one, options), **arrays)
    return Stack(problem, places, first.layout)


def _array(values: Sequence[Any]) -> Array:
    """Lists of lists as numpy.array makes of them, which looks at each number for its type: in half the time."""
    shape = [len(values)]
    while isinstance(values[0], list):
        (size,) = {*map(len, values)}  # a ValueError where there are several
        shape.append(size)
        values = [*chain.from_iterable(values)]
    return np.fromiter(values, np.float64, len(values)).reshape(shape)


def _targets(of_lines: Sequence[Any], one: Problem, options: RawProblem) -> Targets:
    """The targets of the labels of all lines, those of each as `one`, the problem of the first, has them."""
    name = "soft" if one.targets.labels is None else "labels"
    of_one = getattr(one.targets, name)
    shape = (len(of_lines), *of_one.shape)
    if "label" in options.values:
        return replace(one.targets, **{name: np.broadcast_to(of_one, shape)})
    if name == "soft":
        array: Any = np.array(of_lines)
    elif {*map(type, of_lines)} == {int}:  # one row each
        array = np.fromiter(of_lines, np.intp, len(of_lines))
    else:
        flat = np.array(of_lines, dtype=object).reshape(shape).ravel().tolist()
        array = labels.targets(flat, len(flat), one.n_classes, one.classes, {}).labels
    return replace(one.targets, **{name: array.reshape(shape)})
