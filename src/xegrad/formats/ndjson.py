"""NDJSON: a stream of problems, an object as in JSON on each line.

Lines are taken as they come: whatever complete lines one read gave.  Those of one shape become one stack
of arrays, so that waiting for more never delays a line, and many are as fast as arrays are.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from itertools import count, repeat
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET

from xegrad.errors import InputError, XegradError
from xegrad.formats import json
from xegrad.formats.json import ProblemObject
from xegrad.formats.parts import Parts
from xegrad.problem import Layout, Problem
from xegrad.targets import Targets

READ = (
    2**18
)  # bytes asked for at a time: what arrays of a stack fit into a processor's cache; a pipe gives what it holds
SET_PIPE_SIZE = 1031  # of Linux's fcntl: a pipe that holds as much
STACK = 2**22  # numbers in the layer Jacobians of a stack, at most: what the chain has in memory at a time


class Line(msgspec.Struct, frozen=True, eq=False):
    """A line of a stream: its number, counted from one, and its problem as it stands, or why there is none."""

    number: int
    stated: ProblemObject | None
    error: str = ""
    id: Any = UNSET


class Stack(msgspec.Struct, frozen=True, eq=False):
    """K problems of one shape as one, where among the lines each stands, and how they were given."""

    problem: Problem
    places: Sequence[int]
    layout: Layout


def read_problem(data: bytes, source: str) -> Parts:
    """Never: a stream is many problems."""
    raise InputError(f"{source}: NDJSON is a stream of problems, and one is expected here; give it as .json")


def read_array(data: bytes, source: str, part: str, key: str | None) -> Any:
    """Never: a line is a problem."""
    raise InputError(f"{source}: NDJSON is a stream of problems, not a part of one")


def read_labels(data: bytes, source: str, key: str | None) -> Any:
    """Never: a line is a problem."""
    raise InputError(f"{source}: NDJSON is a stream of problems, not labels")


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


def lines(chunk: Chunk) -> list[Line]:
    """The lines of a chunk; empty ones are counted and skipped."""
    text, number = chunk.text, chunk.number
    if number == 1:
        text = text.removeprefix(b"\xef\xbb\xbf")
    if (objects := json.read_objects(text)) is not None:
        return list(map(Line, count(number), objects, repeat(""), [stated.id for stated in objects]))
    return [
        decoded(line, number)
        for number, line in enumerate(text.split(b"\n"), start=number)
        if line and not line.isspace()
    ]


def decoded(text: bytes, number: int) -> Line:
    """A line, or what is wrong with it."""
    try:
        stated = json.read_object(text, "")
    except InputError as error:
        return Line(number, None, shortened(error), _id_of(text))
    except UnicodeDecodeError:
        return Line(number, None, "the text is not UTF-8")
    return Line(number, stated, "", stated.id)


def shortened(error: XegradError) -> str:
    """The sentence without the name of a source: the line is told apart from it."""
    return str(error).lstrip(": ").replace("line 1, column", "column")


def parts(line: Line, options: Parts) -> Parts:
    """The parts of a line, below those of the command line."""
    assert line.stated is not None
    return options.over(json.parts_of(line.stated, ""))


# What is raised where the lines of a stack do not fit together, or one of them is no problem.
_UNFIT = (InputError, ValueError, TypeError, KeyError, IndexError, OverflowError)


def stacks(given: Sequence[Line], options: Parts) -> Iterator[Stack | tuple[int, str]]:
    """The lines as stacks, in no order; in place of one that is no problem its place and what is wrong with it."""
    whole = _all_of_them(given, options)
    if whole is not None:
        yield from _within_memory(whole)
        return
    groups: dict[Any, list[int]] = {}
    for place, line in enumerate(given):
        if line.stated is None:
            yield place, line.error
        else:
            groups.setdefault(_shape(line.stated), []).append(place)
    for places in groups.values():
        yield from _stacked(given, places, options)


def _all_of_them(given: Sequence[Line], options: Parts) -> Stack | None:
    """One stack of all lines, where their options are the same and their arrays fit: most streams are like that."""
    objects = [line.stated for line in given]
    if len(objects) < 2 or not all(objects):
        return None
    own = list(map(_options, objects))
    with_bias = [stated.b is not UNSET for stated in objects if stated is not None]
    if own.count(own[0]) < len(own) or with_bias.count(with_bias[0]) < len(own):
        return None
    try:
        return _stack(objects, range(len(objects)), options)
    except _UNFIT:
        return None


def _stacked(
    given: Sequence[Line], places: Sequence[int], options: Parts
) -> Iterator[Stack | tuple[int, str]]:
    """One stack, if it is one; else halves of it, down to the lines that are to blame."""
    if len(places) == 1:
        try:
            stated = parts(given[places[0]], options)
            problem = stated.problem()
        except InputError as error:
            yield places[0], shortened(error)
            return
        yield Stack(problem, places, stated.layout)
        return
    try:
        stack = _stack([given[place].stated for place in places], places, options)
    except _UNFIT:
        middle = len(places) // 2
        yield from _stacked(given, places[:middle], options)
        yield from _stacked(given, places[middle:], options)
        return
    yield from _within_memory(stack)


def _within_memory(stack: Stack) -> Iterator[Stack]:
    """The stack, or parts of it of which the chain has a bounded number of entries in memory."""
    problem, places = stack.problem, stack.places
    most = max(1, STACK // (problem.n_rows * problem.n_classes**2 * problem.n_inputs))
    if len(places) <= most:
        yield stack
        return
    for start in range(0, len(places), most):
        some = slice(start, start + most)
        yield Stack(problem.at(some), places[some], stack.layout)


_options = attrgetter(
    "transpose", "dtype", "label_smoothing", "ignore_index", "reduction", "classes", "class_weights"
)


def _shape(stated: ProblemObject) -> Any:
    """Lines of which this is equal can be one stack: sizes, kinds, names and options."""
    weights, inputs, label = stated.W, stated.x, stated.label
    options = _options(stated)
    if options[-2:] != (UNSET, UNSET):
        options = tuple(tuple(option) if isinstance(option, list) else option for option in options)
    return (
        _size(weights),
        _size(inputs),
        (len(label), type(label[0])) if isinstance(label, list) and label else type(label),
        stated.b is UNSET,
        options,
    )


def _size(rows: Any) -> Any:
    if not rows:
        return rows is UNSET
    first = rows[0]
    return (len(rows), len(first)) if type(first) is list else len(rows)


def _stack(objects: Sequence[Any], places: Sequence[int], options: Parts) -> Stack:
    """The arrays of all lines at once.  What does not fit raises something: which line it was, and why, is
    found by trying fewer."""
    first = options.over(json.parts_of(objects[0], ""))
    one = first.problem()
    shape = (len(objects),)

    def array(part: str, given: Any) -> Any:
        """The part of every line, or that of the command line for each."""
        if given is not None:
            return np.broadcast_to(given, shape + given.shape)
        return np.array([getattr(stated, part) for stated in objects], dtype=np.float64)

    weights = array("W", options.weights)
    return Stack(
        problem=Problem(
            weights=weights.swapaxes(1, 2) if first.transpose else weights,
            inputs=array("x", options.inputs).reshape(shape + one.inputs.shape),
            targets=_targets(objects, one, options, first),
            bias=None if one.bias is None else array("b", options.bias).reshape(shape + one.bias.shape),
            classes=one.classes,
            precision=one.precision,
        ),
        places=places,
        layout=first.layout,
    )


def _targets(objects: Sequence[Any], one: Problem, options: Parts, first: Parts) -> Targets:
    shape = (len(objects),)
    stated = one.targets
    if options.label is not None:
        labels, soft = stated.labels, stated.soft
        return msgspec.structs.replace(
            stated,
            labels=None if labels is None else np.broadcast_to(labels, shape + labels.shape),
            soft=None if soft is None else np.broadcast_to(soft, shape + soft.shape),
        )
    given = [line.label for line in objects]
    if stated.soft is not None:
        soft = np.array(given, dtype=np.float64).reshape(shape + stated.soft.shape)
        return msgspec.structs.replace(stated, soft=soft)
    if isinstance(first.label, str):
        index = {name: k for k, name in enumerate(one.classes or ())}
        given = [index[name] for name in given]
    elif isinstance(first.label, list) and isinstance(first.label[0], str):
        index = {name: k for k, name in enumerate(one.classes or ())}
        given = [[index[name] for name in names] for names in given]
    assert stated.labels is not None
    return msgspec.structs.replace(stated, labels=np.array(given).reshape(shape + stated.labels.shape))


def _id_of(text: bytes) -> Any:
    """The id of a line that is an object, though not a problem."""
    with contextlib.suppress(msgspec.DecodeError, RecursionError):
        value = msgspec.json.decode(text)
        if isinstance(value, dict) and "id" in value:
            return value["id"]
    return UNSET
