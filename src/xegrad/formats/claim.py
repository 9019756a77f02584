"""What someone says the answer is: a gradient, a loss, steps of the chain, read as the `Claim` that is judged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import replace

from xegrad.claim import Claim, Claimed
from xegrad.errors import InputError
from xegrad.formats import binary_format, naming, no_keys, npz, printed
from xegrad.formats.values import listed
from xegrad.naming import shape_of
from xegrad.problem import Layout, Problem
from xegrad.targets import Array
from xegrad.vocabulary import CHAIN, SYMBOLS


class Written(msgspec.Struct, frozen=True, eq=False):
    """A gradient or a loss that nobody has read yet: text or an array, where it is from, and KEY of FILE:KEY."""

    data: bytes | Array
    source: str
    key: str | None = None


def read(
    problem: Problem,
    layout: Layout,
    names: Sequence[str] | None,
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
    names : names of the library, optional
        Of which gradients it is: by default of W, or of all that an object holds under "gradients".
    decimals : str, optional
        With how many the numbers were printed, or "none": the text is exact.  By default the text tells.

    Raises
    ------
    InputError
        What is no array of numbers, or one of another size: where, what was found, what was expected.
    """
    arrays: dict[str, Claimed] = {}
    gradients: dict[str, Claimed] = {}
    for name in (names or ("weights",)) if gradient is not None else ():
        assert gradient is not None
        of_one = _arrays(gradient, name, decimals)
        if "gradient" in of_one:
            with naming(gradient.source):
                in_file = _in_shape(of_one["gradient"], problem, layout, name)
            of_one["gradient"] = gradients[name] = in_file.moved(partial(layout.to_library, name))
        arrays = arrays or of_one
    number = arrays.get("loss")
    if loss is not None:
        with naming(loss.source):
            number = _one_number(loss.data, decimals)
    if number is not None:
        if number.values.size != 1:
            raise InputError(f"the loss is made of {number.values.size} numbers; one is expected")
        number = number.moved(np.ravel)
    return Claim(gradients, number, arrays if arrays.keys() - {"gradient"} else {})


def _arrays(written: Written, name: str, decimals: str | None) -> dict[str, Claimed]:
    """The gradient; or the steps of the chain, where an object or a NPZ holds more of them than that of W."""
    data, source, key = written.data, written.source, written.key
    if isinstance(data, bytes) and (binary := binary_format(data)) is not None:
        if binary.name == "npz" and key is None and name == "weights":
            with naming(source):
                saved = npz.read_arrays(data)
                steps = {step: printed.of_array(saved[step]) for step in CHAIN if step in saved}
            if steps.keys() - {"gradient"}:
                return steps
        data = binary.load(data, source, "gradient", key).values["gradient"]
    elif key is not None:
        raise no_keys(source, key, "this file")
    with naming(source):
        if isinstance(data, np.ndarray):
            return {"gradient": printed.of_array(data)}
        text = printed.without_comments(data.decode())
        if text.lstrip().startswith("{"):
            return _from_object(text, name, decimals)
        return {"gradient": printed.of_text(text, decimals)}


def _one_number(data: bytes | Array, decimals: str | None) -> Claimed:
    """A loss; null is JSON's way to say that it is no number."""
    if isinstance(data, np.ndarray):
        return printed.of_array(data)
    text = data.decode().strip()
    return printed.one_number("nan" if text == "null" else text, decimals)


def _from_object(text: str, name: str, decimals: str | None) -> dict[str, Claimed]:
    """The steps; or what stands under `gradients`, by its symbol, or under `gradient`, which is then that of W."""
    try:
        value: dict[str, Any] = printed.parsed(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"line {error.lineno}, column {error.colno}: malformed JSON: {error.msg.lower()}"
        ) from None
    except RecursionError:
        raise InputError("brackets are nested too deeply to be a gradient") from None
    steps = {}
    for step in CHAIN if name == "weights" else ():
        if (rows := value.get(step)) is not None:
            with naming(step):
                steps[step] = printed.of_rows(rows if isinstance(rows, list) else [rows], decimals)
    if steps.keys() - {"gradient"}:
        return steps
    several, symbol = value.get("gradients"), SYMBOLS[name]
    if isinstance(several, dict) and symbol in several:
        return {"gradient": printed.of_rows(several[symbol], decimals)}
    if "gradient" not in value or (isinstance(several, dict) and name != "weights"):
        keys = listed([*value])
        wanted = "'gradient'" if name == "weights" else f"'gradient', and none {symbol!r} in 'gradients'"
        raise InputError(f"the object has no key {wanted}; its keys are {keys or 'none'}")
    return {"gradient": printed.of_rows(value["gradient"], decimals)}


def _in_shape(array: Claimed, problem: Problem, layout: Layout, name: str) -> Claimed:
    """The numbers in the shape that the gradient has in the file's layout, or as many in another.

    A matrix that is transposed stays so, for the diagnosis; a flat one is read in the order of W's layout.
    """
    shape, expected = array.values.shape, layout.shape(problem, name)
    if shape == expected:
        return array
    fits = layout.of_shape(problem, shape)
    if len(expected) == 2 and shape == expected[::-1]:
        return replace(array, fits=fits)
    if array.values.size == np.prod(expected) and (len(shape) == 1 or 1 in shape):
        return replace(array.moved(lambda numbers: numbers.reshape(expected)), fits=fits)
    found, wanted = (" x ".join(map(str, sizes)) for sizes in (shape, expected))
    hint = f"; {shape_of(fits)}" if fits else ""
    raise InputError(f"the gradient is {found}, but {wanted} is expected{hint}")
