"""What classes, entries and files are called: indices from zero, and their ordinals."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from xegrad.errors import InputError, listed, shown
from xegrad.inert import cells, cut, inert
from xegrad.vocabulary import ALIASES, AXES, NAMES, SYMBOLS, count

if TYPE_CHECKING:
    from xegrad.problem import Problem

LONGEST = 40  # columns of a name within a sentence
SHORTEST = 6  # columns that are left of it in a table
LONGEST_PATH, ITS_START = 120, 40  # characters of a path, and of its beginning where it is cut

INDEX = re.compile("([-+]?)(?>(?:0(?=[0-9]))*)([0-9]++)")  # of a class, as text
LONGEST_INDEX = 19  # digits of the largest integer that numpy has

_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


# The symbols by what people call them, in lower case; and what people call a gradient: dW, dL/dW, grad_W, weight.grad.
GRADIENTS = {alias: key for key, aliases in ALIASES.items() for alias in (key.lower(), *aliases)}
_OF_GRADIENT = re.compile(
    rf"(?:.*[./])? (?:d_? | (?:dl)?[/_]?d | grad(?:ient)?s?[._]?)? ({'|'.join(GRADIENTS)}) (?:[._]grad(?:ient)?s?)?",
    re.VERBOSE,
)


def gradient_name(text: Any) -> str:
    """What the library calls the gradient with respect to W, "b", "bias", "weight" or the like.

    Raises
    ------
    InputError
        Another word, with those that there are.
    """
    symbol = GRADIENTS.get(str(text).lower())
    if symbol is None:
        raise InputError(f"there is no gradient with respect to {shown(text)}; there are {', '.join(NAMES)}")
    return NAMES[symbol]


def gradient_meant(key: str) -> str:
    """Under which key the gradient is read that a key such as dW or weight.grad means; nothing if it means none."""
    match = _OF_GRADIENT.fullmatch(key.lower())
    if match is None:
        return ""
    symbol = GRADIENTS[match[1]]
    return f"dL/d{symbol} is read as {symbol} under gradients, which is gradients.{symbol} in NPZ"


def index_in(text: str) -> int | None:
    """The number that the text of an index is; None of one that no integer of numpy is, and of any other text."""
    match = INDEX.fullmatch(text)
    return int(match[1] + match[2]) if match and len(match[2]) <= LONGEST_INDEX else None


def classes_in(labels: Collection[str], n_classes: int) -> tuple[str, ...] | None:
    """The names in a column of labels, sorted, so that shuffled rows name the same columns of W; None if all are
    indices.

    Raises
    ------
    InputError
        Not as many names as W has classes.
    """
    if all(map(INDEX.fullmatch, labels)):
        return None
    names = tuple(sorted(set(map(str, labels))))
    if len(names) != n_classes:
        raise InputError(
            f"the labels name {count(len(names), 'class')} ({listed(names)}), but W has {n_classes}; "
            "name all of them, in the order of W's columns, with --classes",
            "label",
        )
    return names


def ordinal(index: int) -> str:
    """The ordinal of a zero-based index: 2 is "third", 20 is "21st"."""
    return _ORDINALS[index] if index < len(_ORDINALS) else nth(index + 1)


def nth(number: int) -> str:
    """2nd, 21st."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def class_in_full(problem: Problem, index: int) -> str:
    """class 2 "cow" (the third)."""
    name = "" if problem.classes is None else f' "{class_in_short(problem, index)}"'
    return f"class {index}{name} (the {ordinal(index)})"


def class_in_short(problem: Problem, index: int) -> str:
    """The name of a class, or its index where classes have no names."""
    return class_within(problem, index, LONGEST)


def input_in_short(problem: Problem, index: int) -> str:
    """The name of an input, or "input 2" where inputs have no names."""
    return input_within(problem, index, LONGEST)


def class_within(problem: Problem, index: int, columns: int) -> str:
    """The name of a class in so many columns: one that is cut has its index before it, which tells it apart."""
    return str(index) if problem.classes is None else _within(problem.classes[index], index, columns)


def input_within(problem: Problem, index: int, columns: int) -> str:
    """The name of an input in so many columns, as that of a class, or "input 2"."""
    if problem.input_names is None:
        return f"input {index}"
    return _within(problem.input_names[index], index, columns)


def _within(name: str, index: int, columns: int) -> str:
    """The name, or its index and the beginning of the name, or where there is no room for that the index, whole."""
    name = inert(name)
    if cells(name) <= columns:
        return name
    room = columns - len(f"{index} ")
    return f"{index} {cut(name, room)}" if room > 1 else str(index)


def source_name(path: object) -> str:
    """What messages call a file, or - for standard input; of a long path the beginning and the end."""
    if str(path) == "-":
        return "standard input"
    text = inert(str(path))
    if len(text) <= LONGEST_PATH:
        return text
    return f"{text[:ITS_START]}…{text[ITS_START + 1 - LONGEST_PATH :]}"


def entry_of(problem: Problem, name: str, flat_index: int, room: int = 0) -> str:
    """W[input 1, class cow], b[class cow], x[row 0, input 1] or logits[row 0, class cow] of a flat index.

    One example has no row to name; an input that has a name is called by it alone.  Where it has `room`, in columns,
    names are cut to fit into it.
    """
    places = dict(zip(AXES[name], problem.place(name, flat_index), strict=True))
    if problem.n_rows == 1:
        places.pop("row", None)
    known = {"input": problem.input_names or (), "class": problem.classes or ()}
    names = {axis: inert(known[axis][index]) for axis, index in places.items() if known.get(axis)}

    def written(names: Mapping[str, str]) -> str:
        texts = {axis: names.get(axis, str(index)) for axis, index in places.items()}
        starts = {axis: "" if axis == "input" and axis in names else f"{axis} " for axis in places}
        return f"{SYMBOLS[name]}[{', '.join(starts[axis] + texts[axis] for axis in places)}]"

    shares = dict.fromkeys(names, LONGEST)
    if room and names:
        free = room - cells(written(dict.fromkeys(names, "")))
        half = max(SHORTEST, free // len(names))
        taken = {axis: min(cells(name), half) for axis, name in names.items()}
        shares = {axis: max(half, free - sum(taken.values()) + taken[axis]) for axis in names}
    return written({axis: _within(name, places[axis], shares[axis]) for axis, name in names.items()})


def layer_in_words(problem: Problem, *, transpose: bool) -> str:
    """W 3 inputs x 5 classes and b."""
    sizes = [count(problem.n_inputs, "input"), count(problem.n_classes, "class")]
    bias = " and b" if problem.bias is not None else ""
    return f"W {' x '.join(reversed(sizes) if transpose else sizes)}{bias}"


def shape_of(names: Sequence[str]) -> str:
    """What is said of a gradient that has the shape of others: which these are, and the option that says so."""
    symbols = [SYMBOLS[name] for name in names]
    gradients = " and ".join(f"dL/d{symbol}" for symbol in symbols)
    return f"this has the shape of {gradients}: --with-respect-to {' or '.join(symbols)}"
