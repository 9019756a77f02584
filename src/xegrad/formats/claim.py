"""What someone says the answer is: gradients, a loss, steps of the chain, read as the `Claim` that is judged."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import replace

from xegrad import memory, patience
from xegrad.arrays import not_of_size
from xegrad.claim import Claim, Claimed, Reading
from xegrad.errors import InputError, listed, nearest, short, shown
from xegrad.formats import binary_format, csv, naming, npz, printed, raw, safetensors, tokens
from xegrad.formats.results import types as results
from xegrad.formats.values import chosen, plain
from xegrad.naming import GRADIENTS, gradient_meant, shape_of
from xegrad.numbers.arithmetic import PRECISIONS
from xegrad.problem import Layout, Problem
from xegrad.targets import Array
from xegrad.vocabulary import AXES, CHAIN, NAMES, SYMBOLS, count

LONG = 2**15  # bytes of a claim whose memory is measured


class Written(msgspec.Struct, frozen=True, eq=False):
    """What is claimed and nobody has read yet: text or an array, where it is from, and KEY of FILE:KEY.

    What a problem brings along is under its keys: JSON, an array, or the arrays of `gradients`.  `dtype` is that of
    numbers as they lie in memory, where these are the bytes; what does not say so itself is `of` this key.
    """

    data: bytes | Array | Mapping[str, Any]
    source: str
    key: str | None = None
    dtype: str | None = None
    of: str = "gradient"


def read(
    problem: Problem,
    layout: Layout,
    names: Sequence[str] | None = None,
    *claims: Written,
    asked: Reading | None = None,
    of_data_set: bool = False,
) -> Claim:
    """The claim in the library's layout: all that there is, or of the gradients those that are named.

    Parameters
    ----------
    layout : Layout
        That of the problem's file, which the gradients have too.
    names : gradients, as the library calls them, optional
        Which must be there.  One alone says of which a gradient is, that does not say so itself.
    claims : Written
        Of what two of them hold, that of the first counts.
    asked : Reading, optional
        With how many decimals or digits the numbers were printed, or neither: they are what they are.  By default
        the text tells.
    of_data_set : bool
        The problem is the layer of a data set, and a gradient with a row for each example is an error.

    Raises
    ------
    InputError
        What is no array of numbers, or one of another size, or nothing that can be judged: where, what was found,
        what was expected.
    """
    gradients: dict[str, Claimed] = {}
    steps: dict[str, Claimed] = {}
    there: list[str] = []
    shape = layout.shape(problem, names[0] if names and len(names) == 1 else "weights")
    for written in claims:
        with naming(written.source), patience.at_once(_size(written)):
            values = _values(written, problem.classes, shape, asked)
            by_symbol = _by_symbol(values, names)
            if of_data_set:
                _refuse_rows(by_symbol, names)
            there += [symbol for symbol, _, _ in by_symbol]
            in_this = _gradients(by_symbol, problem, layout, names, asked)
            steps_of_this = {name: _array(values[name], name, asked) for name in CHAIN[:-1] if name in values}
            if "loss" in steps_of_this and (size := steps_of_this["loss"].values.size) != 1:
                raise InputError(f"the loss is made of {size} numbers; one is expected")
            dtype = _word(values.get("dtype"))
            if dtype is not None and not (isinstance(dtype, str) and dtype in PRECISIONS):
                raise InputError(f"dtype is {shown(dtype)}; one of {', '.join(PRECISIONS)} is expected")
            if dtype is not None:
                in_this = {name: replace(claimed, dtype=dtype) for name, claimed in in_this.items()}
                steps_of_this = {name: replace(one, dtype=dtype) for name, one in steps_of_this.items()}
        gradients, steps = in_this | gradients, steps_of_this | steps
    if missing := [SYMBOLS[name] for name in names or () if name not in gradients]:
        those = ", ".join(dict.fromkeys(there)) or "none"
        raise InputError(f"there is no gradient of {' and '.join(missing)}; there is {those}")
    number = steps["loss"].moved(np.ravel) if "loss" in steps else None
    # The steps lead to dL/dW; what is named beside it is judged alone.
    is_chain = steps.keys() - {"loss"} and (names is None or "weights" in names)
    if is_chain and "weights" in gradients:
        steps["gradient"] = gradients["weights"]
    return Claim(gradients, number, steps if is_chain else {}, _passed_over(asked, gradients | steps))


def _passed_over(asked: Reading | None, parts: Mapping[str, Claimed]) -> list[str]:
    """A sentence on what shows more decimals or digits than were asked for: it was printed otherwise."""
    if asked is None or (asked.decimals, asked.digits) == (None, None):
        return []
    others = [
        f"dL/d{SYMBOLS[name]}" if name in SYMBOLS else name
        for name, one in parts.items()
        if one.digits is not None
        and (one.reading.decimals, one.reading.digits) != (asked.decimals, asked.digits)
    ]
    most = count(asked.digits or 0, "digit") if asked.decimals is None else count(asked.decimals, "decimal")
    return [f"{name} has numbers of more than {most}: it is read by what its text shows" for name in others]


# What is read; the rest of what `compute --json` and `explain --json` print is skipped.
_READ = tuple(dict.fromkeys(("gradients", "gradient", "loss", *CHAIN, "with_respect_to", "dtype")))
_OBJECT = re.compile(r'\s*\{\s*["}]')  # in JSON; a matrix in C begins with its numbers or its rows


def _size(written: Written) -> int:
    """The bytes of its text."""
    data = written.data.values() if isinstance(written.data, Mapping) else [written.data]
    return sum(len(one) for one in data if isinstance(one, bytes) and binary_format(one) is None)


def _values(
    written: Written, classes: tuple[str, ...] | None, shape: tuple[int, ...], asked: Reading | None
) -> Mapping[str, Any]:
    """What is written by the keys of JSON; what is only an array is a gradient.  Numbers are texts, or read already.

    Below the names of the classes, as xegrad writes them, stand numbers, whatever the names look like.
    """
    data, key = written.data, written.key
    if isinstance(data, Mapping):
        texts = {of: _parsed(one) for of, one in data.items() if isinstance(one, bytes)}
        return {**data, **texts}
    if isinstance(data, np.ndarray):
        return {written.of: printed.of_array(data)}
    if written.of == "loss":
        return {"loss": printed.one_number(data.decode().strip().replace("null", "nan"), asked)}
    if written.dtype is not None:
        return {"gradient": printed.of_array(raw.of_shape(data, written.dtype, shape), written.dtype)}
    binary = binary_format(data)
    if key is not None and not (binary and binary.has_keys):
        raise InputError(f"this file has no keys, so {key!r} names nothing")
    if binary is not None and not binary.has_keys:
        return {"gradient": printed.of_array(binary.load(data, "", "gradient").values["gradient"])}
    if binary is not None:
        return _known(*_arrays(data, binary.name, key))
    text = printed.without_comments(data.removeprefix(csv.header_of(classes)).decode())
    if _OBJECT.match(text):
        return _known(tokens.parsed(text))
    return {"gradient": printed.of_text(text, asked, math.prod(shape))}


def _parsed(data: bytes) -> Any:
    """The JSON of a claim that a problem brings, refused where it takes too much memory."""
    if len(data) > LONG:
        memory.Text("claim").add(data)
    return tokens.parsed(data.decode())


def _arrays(data: bytes, name: str, key: str | None) -> tuple[dict[str, Any], str]:
    """The arrays of a NPZ or of safetensors, `gradients.b` as that of b; or the one under the key, or the only one.

    Of those that are not judged there are the names alone.
    """
    keys = {of: of for of in (npz if name == "npz" else safetensors).names_in(data)}

    def read(names: Iterable[str]) -> Mapping[str, Any]:
        if name == "npz":
            return npz.read_arrays(data, names)
        tensors = safetensors.read_tensors(data, names)
        return {of: printed.of_array(array, dtype) for of, (array, dtype) in tensors.items()}

    if key is not None or (len(keys) == 1 and not keys.keys() & {*_READ}):
        only = chosen(keys, "gradient", [key] if key else [*keys], [])
        return {"gradient": read([only])[only]}, ""
    values, several = npz.with_gradients_apart(keys)
    arrays = read([*(of for of in values if of in _READ), *several.values()])
    others = {of: arrays.get(of) for of in values}
    gradients = {symbol: arrays[of] for symbol, of in several.items()}
    return others | ({"gradients": gradients} if gradients else {}), ", and FILE:KEY takes one array alone"


def _known(values: Mapping[str, Any], hint: str = "") -> Mapping[str, Any]:
    """The values, refused where one is neither read nor printed by xegrad beside those that are."""
    printed_beside = results.ComputeResult, results.DataSetResult, results.ExplainResult
    skipped = {field for result in printed_beside for field in result.__struct_fields__}
    for key in values:
        if key not in _READ and key not in skipped:
            known = f"what is read is {', '.join(_READ)}{hint}{nearest(key, _READ)}"
            raise InputError(f"{short(key)!r} is no gradient, loss or step; {gradient_meant(key) or known}")
    if not values.keys() & {*_READ} - {"with_respect_to", "dtype"}:
        raise InputError(f"there is no gradient, loss or step; the keys are {listed([*values]) or 'none'}")
    return values


def _by_symbol(values: Mapping[str, Any], names: Sequence[str] | None) -> list[tuple[str, Any, str]]:
    """The symbol, the value and the key of those under `gradients`, and of `gradient`, which is of W beside others."""
    several = values.get("gradients", {})
    if not isinstance(several, Mapping):
        raise InputError(f"gradients is no object; one of {', '.join(NAMES)} is expected")
    for symbol in several:
        _check_symbol(symbol, "gradients")
    of = _word(values.get("with_respect_to"))
    if of is not None:
        _check_symbol(of, "with_respect_to")
    elif names is not None and len(names) == 1 and "gradients" not in values:
        of = SYMBOLS[names[0]]
    keys = [(symbol, several[symbol], f"gradients.{symbol}") for symbol in NAMES if symbol in several]
    keys += [(of or "W", values["gradient"], "gradient")] if "gradient" in values else []
    return sorted(keys, key=lambda one: [*NAMES].index(one[0]))


def _refuse_rows(by_symbol: Sequence[tuple[str, Any, str]], names: Sequence[str] | None) -> None:
    """Raise InputError for a gradient with a row for each example, which nobody computes of a data set."""
    for symbol, _, key in by_symbol:
        if "row" in AXES[NAMES[symbol]] and (names is None or NAMES[symbol] in names):
            of_key = "" if key == f"gradients.{symbol}" else f" of {symbol}"
            raise InputError(
                f"{key}{of_key} has a row for each example; of a data set the gradients are those of W and b. "
                "Leave it out, or say --with-respect-to W"
            )


def _gradients(
    by_symbol: Sequence[tuple[str, Any, str]],
    problem: Problem,
    layout: Layout,
    names: Sequence[str] | None,
    asked: Reading | None,
) -> dict[str, Claimed]:
    """Those that are named, in the library's layout."""
    gradients: dict[str, Claimed] = {}
    for symbol, value, key in by_symbol:
        name = NAMES[symbol]
        if names is not None and name not in names:
            continue
        array = _array(value, key, asked)
        with naming("" if key == "gradient" else key):
            in_file = in_shape(array, problem, layout, name)
        claimed = in_file.moved(partial(layout.to_library, name))
        if name in gradients and not np.array_equal(gradients[name].values, claimed.values, equal_nan=True):
            raise InputError(f"gradient and gradients.{symbol} differ; which is meant?")
        gradients[name] = claimed
    return gradients


def _array(value: Any, key: str, asked: Reading | None) -> Claimed:
    """The numbers under a key; a loss is one, and a step may be."""
    if isinstance(value, Claimed):
        return value
    with naming("" if key == "gradient" else key):
        if isinstance(value, np.ndarray):
            return printed.of_array(value)
        return printed.of_rows([value] if key in CHAIN[:-1] and not isinstance(value, list) else value, asked)


def _word(value: Any) -> Any:
    """A word in JSON, or in an array of one."""
    return plain(value.reshape(())) if isinstance(value, np.ndarray) and value.size == 1 else value


def _check_symbol(symbol: Any, key: str) -> None:
    if not (isinstance(symbol, str) and symbol in NAMES):
        symbols = GRADIENTS.get(str(symbol).lower())
        hint = f"; did you mean {symbols!r}?" if symbols else nearest(str(symbol), NAMES)
        raise InputError(f"{key} names {shown(symbol)}; the gradients are {', '.join(NAMES)}{hint}")


def in_shape(array: Claimed, problem: Problem, layout: Layout, name: str) -> Claimed:
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
    hint = f"; {shape_of(fits)}" if fits else ""
    raise InputError(f"the gradient is {not_of_size(shape, expected)}{hint}")
