"""W, X, b and the targets, checked once, then read-only."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec
import numpy as np
from msgspec.structs import force_setattr, replace
from numpy.typing import NDArray

from xegrad import notebook
from xegrad.arrays import array_of, is_finite, sealed, type_name
from xegrad.errors import Faults, refuse, shown
from xegrad.inert import is_unicode
from xegrad.targets import Array, Targets
from xegrad.vocabulary import AUTO, AXES, COMPUTED_IN, HALF, SYMBOLS, count

Function = TypeVar("Function", bound=Callable[..., Any])


def once(function: Function) -> Function:
    """A function of a problem that is evaluated once: a problem never changes, so the result is kept with it."""

    @wraps(function)
    def remembering(problem: Problem, /, *arguments: Any, **named: Any) -> Any:
        results: dict[Any, Any] = problem.__dict__.setdefault("results", {})
        key = (function, arguments, *named.items())
        if key not in results:
            result = function(problem, *arguments, **named)
            if result is problem:  # a problem that holds itself waits for the garbage collector
                return result
            results[key] = result
        return results[key]

    return cast(Function, remembering)


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
    input_names : N names, optional
    precision : "float64" or "float32", optional
        In which the float methods compute, if not in that of the arrays; the exact values are for W, x and b as
        they are here.

    The first three may have the same stack axes in front, and b with them: K problems of one shape
    are W (K, N, T), X (K, B, N), labels (K, B), and every formula is written over the last two axes.
    float32 arrays make a float32 problem when all are; anything else is float64.  The arrays are read-only:
    copies, but of what nobody can change.

    Raises
    ------
    InputError
        Shapes that do not fit, empty arrays, numbers that are not finite or too large for the precision,
        labels out of range.

    Examples
    --------
    >>> Problem([[1.0, -1.0], [0.5, 2.0]], [[3.0, 4.0]], Targets([0]))
    Problem(weights=float64[2 x 2], inputs=float64[1 x 2], targets=Targets(labels=int64[1],
            label_smoothing=0, reduction='mean'))
    """

    weights: Array
    inputs: Array
    targets: Targets
    bias: Array | None = None
    classes: tuple[str, ...] | None = None
    precision: str | None = None
    input_names: tuple[str, ...] | None = None

    if TYPE_CHECKING:  # lists and tensors are taken too, and become arrays

        def __init__(
            self,
            weights: Any,
            inputs: Any,
            targets: Targets,
            bias: Any = None,
            classes: Iterable[str] | None = None,
            precision: Any = None,
            input_names: Iterable[str] | None = None,
        ) -> None: ...

    __repr__ = notebook.one_line()

    def __post_init__(self) -> None:
        arrays = {name: array_of(SYMBOLS[name], part) for name, part in self._parts.items()}
        single = all(array.dtype == np.float32 for array in arrays.values())
        for name, array in arrays.items():
            force_setattr(self, name, sealed(array, np.float32 if single else np.float64))
        for key in ("classes", "input_names"):
            if (names := getattr(self, key)) is not None:
                force_setattr(self, key, names_in(names))
        if self.precision is not None:
            force_setattr(self, "precision", type_name(self.precision))
        refuse(self._faults())

    def _faults(self) -> Faults:
        weights, inputs, bias = self.weights, self.inputs, self.bias
        if weights.ndim < 2:
            yield f"W must have two dimensions, (inputs, classes), not {weights.ndim}", "W"
        *stack, n_inputs, n_classes = weights.shape
        if 0 in stack:
            yield "W is an empty stack", "W"
        if n_inputs == 0 or n_classes == 0:
            yield f"W is {n_inputs} x {n_classes}; a layer has at least one input and one class", "W"
        if inputs.ndim < 2 or list(inputs.shape[:-2]) != stack:
            yield f"inputs must be (B, N) beside W; their shape is {inputs.shape}", "x"
        if inputs.shape[-2] == 0:
            yield "x has no rows; a problem has one at least", "x"
        if inputs.shape[-1] != n_inputs:
            yield Layout(is_batch=False).wrong_length(inputs.shape[-1], n_inputs), "x"
        if bias is not None and list(bias.shape) != [*stack, n_classes]:
            size = count(bias.size, "number") if bias.ndim == 1 else f"the shape {bias.shape}"
            yield f"b has {size} but W has {count(n_classes, 'class')}", "b"
        if self.precision not in (None, *COMPUTED_IN):
            known = f"it is one of {', '.join(COMPUTED_IN)}"
            rest = f", and of {', '.join((*HALF, AUTO))} where verify judges a gradient or a loss"
            yield f"the precision is {shown(self.precision)}; {known}{rest}", "dtype"
        for name, part in self._parts.items():
            if not is_finite(part):
                first = _first_entry(name, part, ~np.isfinite(part))
                yield f"{first}; every number must be finite", SYMBOLS[name]
            if self.precision != "float32":
                continue
            largest = float(np.finfo(np.float32).max)
            if (np.abs(part) > largest).any():
                first = _first_entry(name, part, np.abs(part) > largest)
                yield f"{first}, but the largest number of float32 is {largest:.2g}", SYMBOLS[name]
        if not isinstance(self.targets, Targets):
            yield "targets must be Targets(labels=...) or Targets(soft=...)", "label"
        yield from self.targets.faults(inputs.shape[:-1], n_classes)
        yield from _faults_of_names(self.classes, "class", n_classes, "classes")
        yield from _faults_of_names(self.input_names, "input", n_inputs, "input_names")

    @property
    def _parts(self) -> dict[str, Array]:
        """W, X, and b where there is one."""
        parts = {"weights": self.weights, "inputs": self.inputs}
        return parts if self.bias is None else parts | {"bias": self.bias}

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
    def sizes(self) -> tuple[int, int, int]:
        """B, N and T."""
        return self.n_rows, self.n_inputs, self.n_classes

    @property
    def n_problems(self) -> int:
        """K; 1 for a problem that is no stack."""
        return math.prod(self.weights.shape[:-2])

    @property
    def dtype(self) -> np.dtype[Any]:
        """The precision in which the float methods compute."""
        return self.weights.dtype if self.precision is None else np.dtype(self.precision)

    @property
    def nbytes(self) -> int:
        """The bytes of all its arrays."""
        targets = self.targets
        arrays = (self.weights, self.inputs, self.bias, targets.labels, targets.soft, targets.class_weights)
        return sum(array.nbytes for array in arrays if array is not None)

    def nbytes_of(self, names: Sequence[str]) -> int:
        """The bytes of gradients with respect to these, in float64."""
        return 8 * self.n_problems * sum(math.prod(self.shape_of(name)) for name in names)

    @property
    def rounded(self) -> Problem:
        """What the float methods see: W, x and b rounded to the precision in which they compute."""
        return self if self.precision is None else self.astype(self.dtype)

    def shape_of(self, name: str) -> tuple[int, ...]:
        """That of a gradient, which `AXES` names, of one problem."""
        sizes = {"row": self.n_rows, "input": self.n_inputs, "class": self.n_classes}
        return tuple(sizes[axis] for axis in AXES[name])

    def place(self, name: str, flat_index: Any) -> tuple[Any, ...]:
        """The indices of an entry of a gradient, which `AXES` names, or those of many."""
        if name == "bias":
            return (flat_index,)
        return divmod(flat_index, self.n_inputs if name == "inputs" else self.n_classes)

    def _repr_html_(self) -> str:
        """W, with b below it, and the rows of x with their labels, for a notebook."""
        shape = " x ".join(map(str, self.weights.shape))
        caption = f"softmax layer: W {shape}, x {' x '.join(map(str, self.inputs.shape))}, {self.dtype.name}"
        if self.weights.ndim > 2 or max(self.weights.size, self.inputs.size) > notebook.MOST:
            return notebook.table([], caption=caption)
        names = self.classes or tuple(str(index) for index in range(self.n_classes))
        inputs = self.input_names or tuple(f"input {index}" for index in range(self.n_inputs))
        rows = [[name, *row] for name, row in zip(inputs, self.weights.tolist(), strict=True)]
        if self.bias is not None:
            rows.append(["b", *self.bias.tolist()])
        labels = self.targets.label_of_rows.tolist()
        examples = [
            [f"row {index}", *row, names[label] if label >= 0 else "soft or ignored"]
            for index, (row, label) in enumerate(zip(self.inputs.tolist(), labels, strict=True))
        ]
        header = ["x", *inputs, "label"]
        return notebook.table(rows, ["W", *names], caption) + notebook.table(examples, header)

    def unstacked(self) -> Iterator[Problem]:
        """The problems of a stack, one by one; a problem that is no stack yields itself."""
        yield from map(self.at, np.ndindex(self.weights.shape[:-2]))

    def at(self, index: Any) -> Problem:
        """One problem of a stack, or some of them."""
        parts = {name: part[index] for name, part in self._parts.items()}
        return replace(self, targets=self.targets.at(index), **parts)

    @once
    def astype(self, dtype: np.dtype[Any]) -> Problem:
        """The problem whose W, x and b are these, rounded to `dtype`; the targets stay as they are."""
        if dtype == self.weights.dtype and self.precision is None:
            return self
        parts = {name: part.astype(dtype) for name, part in self._parts.items()}
        for part in parts.values():
            part.setflags(write=False)  # they need no copy
        return replace(self, precision=None, **parts)


class Layout(msgspec.Struct, frozen=True):
    """The layout of a problem in its file, which its gradients have too: that of W, and whether x has rows."""

    transpose: bool = False
    is_batch: bool = True

    def of(self, name: str, gradient: Array) -> Array:
        """A gradient of a problem, or of a stack, from the library's layout."""
        if name == "weights" and self.transpose:
            return gradient.swapaxes(-1, -2)
        return gradient[..., 0, :] if "row" in AXES[name] and not self.is_batch else gradient

    def to_library(self, name: str, gradient: Array) -> Array:
        """A gradient in this layout, in the library's: the inverse of `of`."""
        has_no_row = "row" in AXES[name] and not self.is_batch
        return gradient[..., None, :] if has_no_row else self.of(name, gradient)

    def shape(self, problem: Problem, name: str) -> tuple[int, ...]:
        """The shape of a gradient in this layout."""
        return self.of(name, np.broadcast_to(0.0, problem.shape_of(name))).shape

    def of_shape(self, problem: Problem, shape: tuple[int, ...]) -> tuple[str, ...]:
        """The gradients that have this shape in this layout; one row, or one column, may have an axis of its own."""
        column = shape[:1] if shape[1:] == (1,) else shape
        return tuple(
            name
            for name, axes in AXES.items()
            if {shape, column}
            & {self.shape(problem, name), *([problem.shape_of(name)] if "row" in axes else ())}
        )

    def wrong_length(self, size: int, n_inputs: int) -> str:
        """What is said of an x whose rows have another length than W has inputs."""
        rows, order = ("column", "(classes, inputs)") if self.transpose else ("row", "(inputs, classes)")
        entries = count(size, "entry") + (" in each row" if self.is_batch else "")
        return f"x has {entries} but W has {count(n_inputs, rows)}; W is read as {order}"


def names_in(names: Any) -> tuple[Any, ...]:
    """The names of classes or inputs that are given as a list of them, or the only one."""
    try:
        return (names,) if isinstance(names, str) else tuple(names)
    except TypeError:
        return (names,)


def _faults_of_names(names: tuple[str, ...] | None, noun: str, size: int, key: str) -> Faults:
    """What is wrong with the names of classes or inputs: each is there, and is another's as little as empty."""
    if names is None:
        return
    if not all(isinstance(name, str) for name in names):
        yield f"{noun} names must be strings", key
    if not is_unicode("".join(names)):
        index = next(index for index, name in enumerate(names) if not is_unicode(name))
        yield f"the name of {noun} {index} is {shown(names[index])}, which is no text in UTF-8", key
    if len(names) != size:
        yield f"{count(len(names), f'{noun} name')} for {count(size, noun)}", key
    first: dict[str, int] = {}
    for index, name in enumerate(names):
        if not name:
            yield f"{noun} {index} has no name: it is empty", key
        if (same := first.setdefault(name, index)) != index:
            both = count(2, noun).removeprefix("2 ")
            yield f"{both} {same} and {index} are both named {shown(name)}; names must differ", key


def _first_entry(name: str, part: Array, which: NDArray[np.bool_]) -> str:
    """W[0, 1] is nan: the first of those entries."""
    where = np.argwhere(which)[0].tolist()
    return f"{SYMBOLS[name]}{where} is {float(part[tuple(where)])!r}"
