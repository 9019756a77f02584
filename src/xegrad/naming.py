"""What classes, entries and files are called: indices from zero, and their ordinals."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from xegrad.errors import InputError, short, shown
from xegrad.vocabulary import ALIASES, AXES, NAMES, SYMBOLS, count

if TYPE_CHECKING:
    from xegrad.problem import Problem

LONGEST = 40  # characters of a name within a sentence

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
    if problem.input_names is None:
        return f"input {index}"
    return short(printable(problem.input_names[index]), LONGEST)


def class_within(problem: Problem, index: int, width: int) -> str:
    """The name of a class in so many characters: one that is cut has its index before it, which tells it apart."""
    if problem.classes is None:
        return str(index)
    name = printable(problem.classes[index])
    return name if len(name) <= width else f"{index} {name}"[: width - 1] + "…"


def source_name(path: object) -> str:
    """What messages call a file, or - for standard input."""
    return "standard input" if str(path) == "-" else str(path)


def printable(text: str) -> str:
    """The text with what a terminal would obey (control and format characters) spelled out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def entry_of(problem: Problem, name: str, flat_index: int, longest: int = LONGEST) -> str:
    """W[input 1, class cow], b[class cow], x[row 0, input 1] or logits[row 0, class cow] of a flat index.

    One example has no row to name; an input that has a name is called by it alone.  The name of a class has so many
    characters at most.
    """
    places = []
    for axis, index in zip(AXES[name], problem.place(name, flat_index), strict=True):
        if axis == "class":
            places.append(f"class {class_within(problem, index, longest)}")
        elif axis == "input":
            places.append(input_in_short(problem, index))
        elif problem.n_rows > 1:
            places.append(f"{axis} {index}")
    return f"{SYMBOLS[name]}[{', '.join(places)}]"


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
