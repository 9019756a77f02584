"""NDJSON: a stream of problems, an object as in JSON on each line.

Lines are taken as they come: whatever complete lines one read gave.  Those of one shape become one stack
of arrays, so that waiting for more never delays a line, and many are as fast as arrays are.

See docs/recipes.md.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET
from msgspec.structs import replace

from xegrad import memory, patience
from xegrad.arrays import blocks, has_large
from xegrad.errors import InputError
from xegrad.formats import json, labels, tokens
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


_TEXT = re.compile(
    rb'"(?>(?:[^"\\]++|\\.)*)(?:"|\\?$)'
)  # in JSON; one that does not end goes to the end of the line


class Lines(msgspec.Struct, frozen=True, eq=False):
    """Lines of a stream by their places: their numbers, counted from one, and their problems as they stand.

    Column by column, since an object for each line would take as long as to read it.
    """

    numbers: Sequence[int]
    fields: Sequence[Any]  # a ProblemObject each, or the error that reading it raised
    ids: Sequence[Any]
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
    """Complete lines that came together, without the last newline, and the number of the first.

    A line that takes too much memory is alone, and has a `refusal` in place of its text.
    """

    text: bytes
    number: int
    refusal: str = ""

    @property
    def n_lines(self) -> int:
        return self.text.count(b"\n") + 1


class _Begun:
    """A line whose end has not come."""

    def __init__(self, piece: bytes = b"") -> None:
        self.text, self.refusal = memory.Text("json"), ""
        self.add(piece)

    def add(self, piece: bytes) -> None:
        """One more piece, which is forgotten at once where all of them take too much."""
        if self.refusal or not piece:
            return
        try:
            self.text.add(piece)
        except InputError as error:
            self.refusal = str(error)
            self.text.pieces.clear()

    def with_end(self, end: bytes) -> bytes:
        return b"".join([*self.text.pieces, end])


def chunks(descriptor: int) -> Iterator[Chunk]:
    """The complete lines of an open file, as many at a time as one read gives."""
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            fcntl.fcntl(descriptor, SET_PIPE_SIZE, READ)
    number, begun = 1, _Begun()
    while piece := _read(descriptor):
        end, newline, rest = piece.partition(b"\n")
        begun.add(end)
        if not newline:
            continue
        if begun.refusal:
            yield Chunk(b"", number, begun.refusal)
            number += 1
        else:
            rest = begun.with_end(newline + rest)
        text, newline, tail = rest.rpartition(b"\n")
        if newline:
            yield Chunk(text, number)
            number += text.count(b"\n") + 1
        begun = _Begun(tail)
    if (last := begun.with_end(b"")) or begun.refusal:
        yield Chunk(last, number, begun.refusal)


def _read(descriptor: int) -> bytes:
    """What there is, or comes first."""
    while True:
        try:
            return os.read(descriptor, READ)
        except BlockingIOError:
            patience.wait(descriptor)


def split(chunk: Chunk, most: int) -> list[Chunk]:
    """The lines of a chunk in chunks of so many at most, without those of which all lines are empty."""
    if chunk.refusal:
        return [chunk]
    lines = chunk.text.split(b"\n")
    starts = range(0, len(lines), most)
    texts = (b"\n".join(lines[start : start + most]) for start in starts)
    return [
        replace(chunk, text=text, number=chunk.number + start)
        for start, text in zip(starts, texts, strict=True)
        if text and not text.isspace()
    ]


def lines(chunk: Chunk) -> Lines:
    """The lines of a chunk; empty ones are counted and skipped."""
    text, first = chunk.text, chunk.number
    if first == 1:
        text = text.removeprefix(b"\xef\xbb\xbf")
    if chunk.refusal:
        return Lines([first], [InputError(chunk.refusal)], [UNSET])
    read = json.read_objects(text) if len(text) <= 2 * READ else None  # else a line is long, and is measured
    if read is not None and _is_flat(read[1]):
        objects, columns = read
        return Lines(range(first, first + len(objects)), objects, columns["id"], columns)
    texts = {
        number: line
        for number, line in enumerate(text.split(b"\n"), start=first)
        if line and not line.isspace()
    }
    fields, ids = [*zip(*map(_decoded, texts.values()), strict=True)] or [()] * 2
    return Lines([*texts], fields, ids)


def _decoded(text: bytes) -> tuple[Any, Any]:
    """The problem of a line, or whatever was raised in its place; and its id."""
    if _depth(text) > tokens.DEEPEST:
        return InputError(tokens.TOO_DEEP), UNSET
    try:
        if len(text) > READ:
            memory.Text("json").add(text)  # this may be one of several processes
        fields = json.read_object(text)
    except Exception as error:  # whatever it is, it is the answer of this line
        return error, json.id_of(text)
    return fields, fields.id


def _is_flat(columns: json.Columns) -> bool:
    """Whether no claim, which may be anything, is nested deeply."""
    return all(
        _n_brackets(bytes(value)) < tokens.DEEPEST  # the line is an object around it
        for column in map(columns.__getitem__, CLAIMS)
        if column.count(UNSET) < len(column)
        for value in column
        if value is not UNSET
    )


def _n_brackets(text: bytes) -> int:
    return text.count(b"[") + text.count(b"{")


def _depth(text: bytes) -> int:
    """How deeply brackets are nested outside of texts; only an upper bound where that is small."""
    if (n_brackets := _n_brackets(text)) <= tokens.DEEPEST:
        return n_brackets
    characters = np.frombuffer(_TEXT.sub(b"", text), np.uint8)
    steps = np.isin(characters, [*b"[{"]).astype(np.int8) - np.isin(characters, [*b"]}"])
    return int(np.cumsum(steps).max(initial=0))


def raw_problem(lines: Lines, place: int, options: RawProblem) -> RawProblem:
    """The problem of a line, below what the command line says; raises what was raised when it was read."""
    fields = lines.fields[place]
    if isinstance(fields, Exception):
        raise fields
    return options.over(json.raw_problem(fields))


def stack(lines: Lines, places: Sequence[int], options: RawProblem) -> Stack:
    """The lines as one problem; raises something where they are not of one shape, or one of them is no problem."""
    if len(places) == 1:
        raw = raw_problem(lines, places[0], options)
        return Stack(raw.problem(), places, raw.layout)
    columns = lines.columns if len(places) == len(lines.fields) else None
    return _stack(columns or json.columns([lines.fields[place] for place in places]), places, options)


def parts(lines: Lines, places: Sequence[int]) -> Sequence[Sequence[int]]:
    """What is tried where several lines cannot be one stack: those of each shape, or halves of these."""
    groups: dict[Any, list[int]] = {}
    for place in places:
        groups.setdefault(_shape(lines.fields[place]), []).append(place)
    middle = len(places) // 2
    return [*groups.values()] if len(groups) > 1 else [places[:middle], places[middle:]]


def within_memory(stack: Stack) -> Iterator[Stack]:
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
    if isinstance(fields, Exception):
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
    fields = ProblemObject(**{key: column[0] for key, column in columns.items()})
    first = options.over(json.raw_problem(fields))
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
    flat = np.fromiter(values, np.float64, len(values))
    if has_large(flat):
        raise ValueError("each line says by itself whether it has a whole number that float64 rounds")
    return flat.reshape(shape)


def _targets(of_lines: Sequence[Any], one: Problem, options: RawProblem) -> Targets:
    """The targets of the labels of all lines, those of each as `one`, the problem of the first, has them."""
    name = "soft" if one.targets.labels is None else "labels"
    of_one = getattr(one.targets, name)
    shape = (len(of_lines), *of_one.shape)
    if "label" in options.values:
        return replace(one.targets, **{name: np.broadcast_to(of_one, shape)})
    if name == "soft":
        array: Any = _array(of_lines)
    elif {*map(type, of_lines)} == {int}:  # one row each
        array = np.fromiter(of_lines, np.intp, len(of_lines))
    else:
        flat = np.array(of_lines, dtype=object).reshape(shape).ravel().tolist()
        array = labels.targets(flat, len(flat), one.n_classes, one.classes, {}).labels
    return replace(one.targets, **{name: array.reshape(shape)})
