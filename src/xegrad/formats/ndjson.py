"""NDJSON: a stream of problems, an object as in JSON on each line.

Lines are taken as they come: whatever complete lines one read gave.  Those of one shape become one stack
of arrays, so that waiting for more never delays a line, and many are as fast as arrays are.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET

from xegrad import progress
from xegrad.errors import InputError
from xegrad.formats import json
from xegrad.formats.json import ProblemObject
from xegrad.formats.parts import Parts
from xegrad.problem import Layout, Problem
from xegrad.targets import Targets

READ = 2**20  # bytes asked for at a time; a pipe gives what it holds
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


def lines(descriptor: int) -> Iterator[list[Line]]:
    """The lines of an open file, as many at a time as one read completes; empty ones are counted and skipped."""
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            fcntl.fcntl(descriptor, SET_PIPE_SIZE, READ)
    size = os.fstat(descriptor).st_size if stat.S_ISREG(os.fstat(descriptor).st_mode) else 0
    number, read, begun = 0, 0, [b""]  # the pieces of a line whose end has not come
    while chunk := os.read(descriptor, READ):
        read += len(chunk)
        head, newline, tail = chunk.rpartition(b"\n")
        if not newline:
            begun.append(chunk)
            continue
        complete = b"".join([*begun, head]).split(b"\n")
        begun = [tail]
        yield [decoded(text, number + k) for k, text in enumerate(complete, start=1) if text and not text.isspace()]
        number += len(complete)
        progress.tell("lines", min(read, size - 1), size)
    if (last := b"".join(begun)).strip():
        yield [decoded(last, number + 1)]


def decoded(text: bytes, number: int) -> Line:
    """A line, or what is wrong with it."""
    if number == 1:
        text = text.removeprefix(b"\xef\xbb\xbf")
    try:
        stated = json.read_object(text, "")
    except InputError as error:
        return Line(number, None, shortened(error), _id_of(text))
    except UnicodeDecodeError:
        return Line(number, None, "the text is not UTF-8")
    return Line(number, stated, id=stated.id)


def shortened(error: InputError) -> str:
    """The sentence without the name of a source: the line is told apart from it."""
    return str(error).removeprefix(": ").replace("line 1, column", "column")


def parts(line: Line, options: Parts) -> Parts:
    """The parts of a line, below those of the command line."""
    assert line.stated is not None
    return options.over(json.parts_of(line.stated, ""))


def stacks(given: Sequence[Line], options: Parts) -> Iterator[Stack | tuple[int, str]]:
    """The lines as stacks, in no order; in place of one that is no problem its place and what is wrong with it."""
    groups: dict[Any, list[int]] = {}
    for place, line in enumerate(given):
        if line.stated is None:
            yield place, line.error
        else:
            groups.setdefault(_shape(line.stated), []).append(place)
    for places in groups.values():
        yield from _stacked(given, places, options)


def _stacked(given: Sequence[Line], places: Sequence[int], options: Parts) -> Iterator[Stack | tuple[int, str]]:
    """One stack, if it is one; else halves of it, down to the lines that are to blame."""
    if len(places) == 1:
        stated = parts(given[places[0]], options)
        try:
            problem = stated.problem()
        except InputError as error:
            yield places[0], shortened(error)
            return
        yield Stack(problem, places, stated.layout)
        return
    try:
        stack = _stack([given[place].stated for place in places], places, options)
    except (InputError, ValueError, TypeError, KeyError, IndexError, OverflowError):
        middle = len(places) // 2
        yield from _stacked(given, places[:middle], options)
        yield from _stacked(given, places[middle:], options)
        return
    problem = stack.problem
    size = problem.n_rows * problem.n_classes**2 * problem.n_inputs
    most = max(1, STACK // size)
    if len(places) <= most:
        yield stack
        return
    for start in range(0, len(places), most):
        some = slice(start, start + most)
        yield Stack(problem.at(some), places[some], stack.layout)


def _shape(stated: ProblemObject) -> Any:
    """Lines of which this is equal can be one stack: sizes, kinds, names and options."""
    weights, inputs, label, bias = stated.W, stated.x, stated.label, stated.b
    several = isinstance(label, list) and len(label)
    return (
        weights is UNSET or (len(weights), len(weights[0]) if weights else 0),
        inputs is UNSET or (len(inputs), len(inputs[0]) if inputs and isinstance(inputs[0], list) else 0),
        type(label),
        several and (len(label), type(label[0])),  # type: ignore[arg-type,index]
        bias is UNSET,
        stated.transpose,
        stated.dtype,
        stated.label_smoothing,
        stated.ignore_index,
        stated.reduction,
        stated.classes if stated.classes is UNSET else tuple(stated.classes),
        stated.class_weights if stated.class_weights is UNSET else tuple(stated.class_weights),
    )


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
