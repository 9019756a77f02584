"""Arrays of what people have: lists, numpy, torch on any device, and what speaks `__array__` or DLPack.

See docs/python.md.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xegrad.errors import InputError, short
from xegrad.vocabulary import count

Array = NDArray[np.floating[Any]]

CPU = 1  # DLPack's number for it
LITTLE = 2**14  # bytes, which are copied sooner than lent
WHOLE = 2**53  # up to here float64 holds every whole number


def array_of(part: str, values: Any, kinds: str = "fiu", expected: str = "") -> NDArray[Any]:
    """What was given as this part, as an array of numbers of these kinds; bfloat16 becomes float32, which holds it.

    Raises
    ------
    InputError
        What is no array, or one of other things than these numbers; masked entries; where real numbers are asked
        for, one that is none of float64.
    """
    if type(values) is np.ndarray:
        dtype = values.dtype
        if dtype.char in "fdl" and dtype.isnative and dtype.kind in kinds:
            return _unrounded(part, values, kinds)
    try:
        array = _in_numpy(values)
    except ValueError:
        raise InputError(f"{part} is not an array: its rows are not equally long", part) from None
    except (TypeError, RuntimeError, BufferError) as error:
        first_line = str(error).partition("\n")[0]
        raise InputError(f"{part} is not an array: {first_line}", part) from None
    if "numpy.ma" in sys.modules and np.ma.is_masked(values):  # it is slow to import
        raise InputError(f"{part} has masked entries; fill them, or leave their rows out", part)
    if array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if (
        isinstance(values, list | tuple)
        and "f" in kinds
        and (whole := _whole_numbers(values, array)) is not None
    ):
        return in_float64(part, whole)
    if array.size and array.dtype.kind not in kinds:  # what is empty has no type of its own
        raise InputError(expected or f"{part} must be made of real numbers, not {_noun(array)}", part)
    return _unrounded(part, array, kinds)


def _unrounded(part: str, array: NDArray[Any], kinds: str) -> NDArray[Any]:
    """The array, whose numbers float64 holds; where names may stand whole numbers are labels, which are no floats."""
    if array.dtype.kind == "f":
        return array if array.dtype.itemsize <= 8 else in_float64(part, array)
    if array.dtype.kind in "iu" and kinds == "fiu":
        in_float64(part, array)
    return array


def in_float64(part: str, values: Any) -> Array:
    """The same numbers as float64, none of them rounded: of an array, or of Python's numbers in lists.

    This is the one rule for whole numbers and for floats that are wider than float64, wherever they come from.

    Raises
    ------
    InputError
        The first of them that float64 does not hold, and its place.

    Examples
    --------
    >>> in_float64("W", [[2**60, 0.5]])
    array([[1.15292150e+18, 5.00000000e-01]])
    >>> in_float64("W", [[2**53 + 1, 2**53]])
    Traceback (most recent call last):
        ...
    xegrad.errors.InputError: W[0, 0] is 9007199254740993, which float64 does not hold; the nearest that it does is \
9007199254740992
    """
    array = values if isinstance(values, np.ndarray) else np.array(values, dtype=object)
    if array.dtype.kind == "O":
        rounded = np.fromiter(map(_nearest, array.flat), np.float64, array.size).reshape(array.shape)
    elif array.dtype.kind == "f":
        with np.errstate(all="ignore"):
            rounded = array.astype(np.float64)
    else:
        rounded = array.astype(np.float64)
    if array.dtype.kind == "f":
        suspects = (rounded != array) & ~np.isnan(rounded)
    elif array.dtype.itemsize < 8 or not has_large(rounded):
        return rounded
    else:
        suspects = np.abs(rounded) >= WHOLE
    for index in np.argwhere(suspects) if suspects.any() else ():
        place = tuple(index.tolist())
        value, nearest = array[place], float(rounded[place])
        if isinstance(value, np.integer):
            value = int(value)
        if value != nearest:  # Python compares whole numbers with floats without rounding them
            where = f"{part}{' at ' if ' ' in part else ''}{list(place)}" if place else part
            if math.isinf(nearest):
                raise InputError(f"{where} is too large for float64, whose largest number is 1.8e308", part)
            shown, instead = f"{value!s} in {array.dtype}", "round it first"  # a format would round it
            if isinstance(value, int):
                shown, instead = (
                    short(str(value), 40),
                    f"the nearest that it does is {short(str(int(nearest)), 40)}",
                )
            raise InputError(f"{where} is {shown}, which float64 does not hold; {instead}", part)
    return rounded


def precision_of(values: Any) -> str | None:
    """The type of the numbers of an array, by its name, torch's bfloat16 too; None if they are Python's own."""
    return None if (dtype := getattr(values, "dtype", None)) is None else type_name(dtype)


def type_name(dtype: Any) -> str:
    """The name of a type of numbers: of "float32", numpy.float32 and torch.float32 alike."""
    if isinstance(dtype, str):
        return dtype
    try:
        return np.dtype(dtype).name
    except (TypeError, ValueError):
        return str(getattr(dtype, "name", dtype)).rpartition("torch.")[2]


def sealed(values: NDArray[Any], dtype: Any, n_axes: int = 0) -> NDArray[Any]:
    """These numbers as this type, of so many axes at least, read-only: a copy, unless nobody can change them."""
    if values.dtype == dtype and values.ndim >= n_axes:
        array = values if _is_read_only(values) else values.copy("K")
    else:
        with np.errstate(all="ignore"):
            array = np.array(values, dtype=dtype, ndmin=n_axes)
    array.setflags(write=False)
    return array


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """An array that nobody else has, read-only with all that it is a view of, so that `sealed` needs no copy."""
    part: Any = array
    while isinstance(part, np.ndarray):
        part.setflags(write=False)
        part = part.base
    return array


class _Lent:
    """The memory of an array that nobody changes as long as it is lent."""

    def __init__(self, array: NDArray[Any]) -> None:
        interface = array.__array_interface__
        self.array, self.__array_interface__ = array, {**interface, "data": (interface["data"][0], True)}


def lent(values: Any) -> Any:
    """An array that `sealed` does not copy, if it is large: whoever lends it changes nothing until it is back."""
    is_large = isinstance(values, np.ndarray) and values.nbytes > LITTLE and values.dtype.char in "fd"
    return np.asarray(_Lent(values)) if is_large else values


def blocks(size: int, most: int) -> list[slice]:
    """0 to size in slices, of so many at most, and of one at least."""
    step = max(1, most)
    if 0 < size <= step:
        return [slice(0, size)]
    return [slice(start, min(start + step, size)) for start in range(0, size, step)]


def is_finite(array: Array) -> bool:
    """Whether all numbers are: if none is very large their squares have a finite sum, which is quick to add up."""
    flat = array.ravel("K")
    return math.isfinite(np.vdot(flat, flat)) or bool(np.isfinite(array).all())


def has_large(array: Array) -> bool:
    """Whether a number is so large that it may have been rounded, if it was a whole one, whatever stands beside it; as
    `is_finite` is quick."""
    flat = array.ravel("K")
    return not np.vdot(flat, flat) < float(WHOLE**2) and bool((np.abs(array) >= WHOLE).any())


def check_shape(part: str, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Raise InputError where a part has another shape."""
    if shape != expected:
        raise InputError(f"{part} is {not_of_size(shape, expected)}", part)


def not_of_size(shape: tuple[int, ...], expected: tuple[int, ...]) -> str:
    """4 numbers, but 5 are expected; or 1 x 3, but 3 x 5 is expected."""
    if len(expected) == 1:
        return f"{size_of(shape)}, but {expected[0]}{' numbers' * (len(shape) > 1)} are expected"
    return f"{size_of(shape)}, but {size_of(expected)} is expected"


def size_of(shape: tuple[int, ...]) -> str:
    """3 x 5, or 14 numbers."""
    return " x ".join(map(str, shape)) if len(shape) > 1 else count(math.prod(shape), "number")


def _in_numpy(values: Any) -> NDArray[Any]:
    if hasattr(values, "detach"):  # a tensor of torch
        values = values.to_dense()
        try:
            return values.numpy(force=True)
        except TypeError:  # bfloat16, or a format of 8 bits
            return values.float().numpy(force=True)
    speaks_dlpack = hasattr(values, "__dlpack__")
    try:
        if hasattr(values, "__array__") or not speaks_dlpack:
            return np.asarray(values)
    except OverflowError:  # a whole number that is longer than any float
        return np.array(values, dtype=object)
    except (TypeError, RuntimeError, BufferError):
        if isinstance(values, list | tuple):  # of tensors
            return np.asarray([_in_numpy(value) for value in values])
        if not speaks_dlpack:
            raise
    is_here = values.__dlpack_device__()[0] == CPU
    return np.from_dlpack(values) if is_here else np.from_dlpack(values, device="cpu")


def _is_read_only(array: Any) -> bool:
    """Whether this is, and all that it is a view of."""
    while isinstance(array, np.ndarray):
        if array.flags.writeable:
            return False
        array = array.base
    return array is None or isinstance(array, bytes | _Lent)


def _noun(array: NDArray[Any]) -> str:
    """What an array is made of, where that is no number."""
    if array.dtype.kind == "O" and array.size:
        return f"objects ({type(array.flat[0]).__name__})"
    return "text" if array.dtype.kind in "US" else str(array.dtype)


def _whole_numbers(values: Any, array: NDArray[Any]) -> NDArray[Any] | None:
    """Python's numbers as they are, where numpy may have rounded one or found it too long; else None."""
    is_rounded = array.dtype.kind == "f" and has_large(array)
    if not (is_rounded or array.dtype.kind == "O"):
        return None
    numbers = np.array(values, dtype=object)
    are_numbers = all(isinstance(one, int | float | np.number) for one in numbers.flat)
    return numbers if numbers.shape == array.shape and are_numbers else None


def _nearest(value: Any) -> float:
    """The float that is nearest to a number; infinite where it is beyond the largest."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
