"""W, X, b and the targets, checked once, then read-only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import msgspec
import numpy as np
from msgspec.structs import force_setattr, replace
from numpy.typing import ArrayLike

from xegrad import notebook
from xegrad.errors import InputError
from xegrad.targets import Array, Targets
from xegrad.vocabulary import AXES, COMPUTED_IN, count

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")


def once(
    function: Callable[Concatenate[Problem, Arguments], Result],
) -> Callable[Concatenate[Problem, Arguments], Result]:
    """A function of a problem that is evaluated once: a problem never changes, so the result is kept with it."""

    @wraps(function)
    def remembering(problem: Problem, /, *arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        results: dict[Any, Any] = problem.__dict__.setdefault("results", {})
        key = (function, arguments, *named.items())
        if key not in results:
            result = function(problem, *arguments, **named)
            if result is problem:  # a problem that holds itself waits for the garbage collector
                return result
            results[key] = result
        return results[key]

    return remembering


class Problem(msgspec.Struct, frozen=True, eq=False, dict=True):
    """One softmax layer with cross-entropy: Z = X W + b, S = softmax(Z), L = -sum(Q log S).

    Parameters
    ----------
    weights : (N, T)
        W; column t holds the weights of class t.
    inputs : (B, N)
        X; a row is an example.
    targets : Targets
        The labels (B,) or soft targets (B, T), with every option of the loss.
    bias : (T,), optional
        b.
    classes : T names, optional
    precision : "float64" or "float32", optional
        In which the float methods compute, if not in that of the arrays; the exact values are for W, x and b as
        they are here.

    The first three may have the same stack axes in front, and b with them: K problems of one shape
    are W (K, N, T), X (K, B, N), labels (K, B), and every formula is written over the last two axes.
    float32 arrays make a float32 problem when all are; anything else is float64.  The arrays are
    copied and read-only.

    Raises
    ------
    InputError
        Shapes that do not fit, empty arrays, numbers that are not finite or too large for the precision,
        labels out of range.
    """

    weights: Array
    inputs: Array
    targets: Targets
    bias: Array | None = None
    classes: tuple[str, ...] | None = None
    precision: str | None = None

    def __post_init__(self) -> None:
        arrays = [_array("W", self.weights), _array("x", self.inputs)]
        if self.bias is not None:
            arrays.append(_array("b", self.bias))
        single = all(part.dtype == np.float32 for part in arrays)
        dtype = np.dtype(np.float32 if single else np.float64)
        weights, inputs, *rest = (_sealed(part, dtype) for part in arrays)
        bias = rest[0] if rest else None
        _check_shapes(weights, inputs, bias)
        if self.precision is not None and self.precision != dtype:
            _check_precision(self.precision, {"W": weights, "x": inputs, "b": bias})
        force_setattr(self, "weights", weights)
        force_setattr(self, "inputs", inputs)
        force_setattr(self, "bias", bias)
        if not isinstance(self.targets, Targets):
            raise InputError("targets must be Targets(labels=...) or Targets(soft=...)", "label")
        self.targets.check(inputs.shape[:-1], self.n_classes)
        if self.classes is not None:
            force_setattr(self, "classes", _checked_classes(self.classes, self.n_classes))

    @property
    def n_rows(self) -> int:
        """B, the number of examples."""
        return self.inputs.shape[-2]

    @property
    def n_inputs(self) -> int:
        """N."""
        return self.weights.shape[-2]

    @property
    def n_classes(self) -> int:
        """T."""
        return self.weights.shape[-1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The precision in which the float methods compute."""
        return self.weights.dtype if self.precision is None else np.dtype(self.precision)

    @property
    def rounded(self) -> Problem:
        """What the float methods see: W, x and b rounded to the precision in which they compute."""
        return self.astype(self.dtype)

    def shape_of(self, name: str) -> tuple[int, ...]:
        """That of a gradient, which `AXES` names, of one problem."""
        sizes = {"row": self.n_rows, "input": self.n_inputs, "class": self.n_classes}
        return tuple(sizes[axis] for axis in AXES[name])

    def place(self, name: str, flat_index: Any) -> tuple[Any, ...]:
        """The indices of an entry of a gradient, which `AXES` names, or those of many."""
        if name == "bias":
            return (flat_index,)
        first, last = divmod(flat_index, self.n_inputs if name == "inputs" else self.n_classes)
        return first, last

    def _repr_html_(self) -> str:
        """W, with b below it, and the rows of x with their labels, for a notebook."""
        shape = " x ".join(map(str, self.weights.shape))
        caption = f"softmax layer: W {shape}, x {' x '.join(map(str, self.inputs.shape))}, {self.dtype.name}"
        if self.weights.ndim > 2 or max(self.weights.size, self.inputs.size) > notebook.MOST:
            return notebook.table([], caption=caption)
        names = self.classes or tuple(str(index) for index in range(self.n_classes))
        rows = [[f"input {j}", *row] for j, row in enumerate(self.weights.tolist())]
        if self.bias is not None:
            rows.append(["b", *self.bias.tolist()])
        labels = self.targets.label_of_rows.tolist()
        examples = [
            [f"row {index}", *row, names[label] if label >= 0 else "soft or ignored"]
            for index, (row, label) in enumerate(zip(self.inputs.tolist(), labels, strict=True))
        ]
        header = ["x", *(f"input {j}" for j in range(self.n_inputs)), "label"]
        return notebook.table(rows, ["W", *names], caption) + notebook.table(examples, header)

    def unstacked(self) -> Iterator[Problem]:
        """The problems of a stack, one by one; a problem that is no stack yields itself."""
        stack = self.weights.shape[:-2]
        for k in np.ndindex(stack):
            yield self.at(k)

    def at(self, index: Any) -> Problem:
        """One problem of a stack, or some of them."""
        return replace(
            self,
            weights=self.weights[index],
            inputs=self.inputs[index],
            targets=self.targets.at(index),
            bias=None if self.bias is None else self.bias[index],
        )

    @once
    def astype(self, dtype: np.dtype[Any]) -> Problem:
        """The problem whose W, x and b are these, rounded to `dtype`; the targets stay as they are."""
        if dtype == self.weights.dtype and self.precision is None:
            return self
        return replace(
            self,
            weights=self.weights.astype(dtype),
            inputs=self.inputs.astype(dtype),
            bias=None if self.bias is None else self.bias.astype(dtype),
            precision=None,
        )


class Layout(msgspec.Struct, frozen=True):
    """The layout of a problem in its file, which its gradients have too: that of W, and whether x has rows."""

    transpose: bool = False
    is_batch: bool = True

    def of(self, name: str, gradient: Array) -> Array:
        """A gradient of a problem, or of a stack, from the library's layout."""
        if name == "weights":
            return gradient.swapaxes(-1, -2) if self.transpose else gradient
        if name in ("inputs", "logits") and not self.is_batch:
            return gradient[..., 0, :]
        return gradient

    def to_library(self, name: str, gradient: Array) -> Array:
        """A gradient in this layout, in the library's: the inverse of `of`."""
        if name == "weights":
            return self.of(name, gradient)
        if name in ("inputs", "logits") and not self.is_batch:
            return gradient[..., None, :]
        return gradient

    def shape(self, problem: Problem, name: str) -> tuple[int, ...]:
        """That of a gradient in this layout."""
        return self.of(name, np.broadcast_to(0.0, problem.shape_of(name))).shape

    def wrong_length(self, size: int, n_inputs: int) -> str:
        """What is said of an x whose rows have another length than W has inputs."""
        rows, order = ("column", "(classes, inputs)") if self.transpose else ("row", "(inputs, classes)")
        entries = count(size, "entry", "entries") + (" in each row" if self.is_batch else "")
        return f"x has {entries} but W has {count(n_inputs, rows)}; W is read as {order}"


def _array(symbol: str, values: ArrayLike) -> Array:
    try:
        array = np.asarray(values)
    except (ValueError, TypeError) as error:
        raise InputError(f"{symbol} is not an array: {error}", symbol) from None
    if array.dtype.kind not in "fiu":
        raise InputError(f"{symbol} must be made of real numbers, not {array.dtype}", symbol)
    return array


def _sealed(values: Array, dtype: np.dtype[Any]) -> Array:
    with np.errstate(all="ignore"):
        array = np.array(values, dtype=dtype)
    array.flags.writeable = False
    return array


def _check_shapes(weights: Array, inputs: Array, bias: Array | None) -> None:
    if weights.ndim < 2:
        raise InputError(f"W must have two dimensions, (inputs, classes), not {weights.ndim}", "W")
    *stack, n_inputs, n_classes = weights.shape
    if 0 in stack:
        raise InputError("W is an empty stack", "W")
    if n_inputs == 0 or n_classes == 0:
        raise InputError(f"W is {n_inputs} x {n_classes}; a layer has at least one input and one class", "W")
    if inputs.ndim < 2 or list(inputs.shape[:-2]) != stack:
        raise InputError(f"inputs must be (B, N) beside W; their shape is {inputs.shape}", "x")
    if inputs.shape[-2] == 0:
        raise InputError("x has no rows", "x")
    if inputs.shape[-1] != n_inputs:
        raise InputError(Layout(is_batch=False).wrong_length(inputs.shape[-1], n_inputs), "x")
    if bias is not None and list(bias.shape) != [*stack, n_classes]:
        size = count(bias.size, "number") if bias.ndim == 1 else f"the shape {bias.shape}"
        raise InputError(f"b has {size} but W has {count(n_classes, 'class', 'classes')}", "b")
    for symbol, part in (("W", weights), ("x", inputs), ("b", bias)):
        if part is not None and not np.isfinite(part).all():
            where = np.argwhere(~np.isfinite(part))[0].tolist()
            value = float(part[tuple(where)])
            raise InputError(f"{symbol}{where} is {value}; every number must be finite", symbol)


def _check_precision(name: str, parts: Mapping[str, Array | None]) -> None:
    if name not in COMPUTED_IN:
        raise InputError(f"the precision is {name!r}; it is one of {', '.join(COMPUTED_IN)}", "dtype")
    largest = float(np.finfo(name).max)
    for symbol, part in parts.items():
        if part is not None and part.dtype == np.float64 and (np.abs(part) > largest).any():
            where = np.argwhere(np.abs(part) > largest)[0].tolist()
            raise InputError(
                f"{symbol}{where} is {float(part[tuple(where)])!r}, but the largest number of {name} is {largest:.2g}",
                symbol,
            )


def _checked_classes(names: tuple[str, ...], n_classes: int) -> tuple[str, ...]:
    names = (names,) if isinstance(names, str) else tuple(names)
    if not all(isinstance(name, str) for name in names):
        raise InputError("class names must be strings", "classes")
    if len(names) != n_classes:
        raise InputError(
            f"{count(len(names), 'class name')} for {count(n_classes, 'class', 'classes')}",
            "classes",
        )
    for index, name in enumerate(names):
        if not name:
            raise InputError(f"class {index} has no name: it is empty", "classes")
        first = names.index(name)
        if first != index:
            raise InputError(
                f"classes {first} and {index} are both named {name!r}; names must differ", "classes"
            )
    return names
