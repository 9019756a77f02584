"""What someone says the answer is: numbers, how their text was read, and what else it may mean.

See docs/verify.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from msgspec.structs import force_setattr, replace

from xegrad import notebook
from xegrad.arrays import Array, array_of, precision_of
from xegrad.errors import InputError
from xegrad.naming import gradient_name
from xegrad.numbers.arithmetic import PRECISIONS, Arithmetic


class Reading(msgspec.Struct, frozen=True, eq=False):
    """What printing left open: half a unit of the last place, entry by entry, of so many decimals or digits.

    Without decimals or digits the numbers are what they are.
    """

    resolution: Array | float = 0.0
    decimals: int | None = None
    digits: int | None = None


class Claimed(msgspec.Struct, frozen=True, eq=False):
    """A gradient, a loss or a step of the chain from outside, in any shape that holds its numbers.

    `others` are wider readings that its text allows and that nobody asked for; `dtype` is that of a file that has one,
    and `digits` the most that a number has in its text; `fits` are other gradients, whose shape it has and not its own.
    """

    values: Array
    reading: Reading = Reading()
    others: Sequence[Reading] = ()
    dtype: str | None = None
    digits: int | None = None
    fits: tuple[str, ...] = ()

    __repr__ = notebook.one_line("values", "dtype")

    def left_open(self, reading: Reading, stored_in: Arithmetic) -> Array | float:
        """How far the numbers of a format may be from their text.

        The shortest text that tells a number from its neighbours is up to half a unit of the format away from it, and
        that may be more than half a unit of the last digit (docs/numerics.md, 5.9).
        """
        enough = math.ceil(1 - math.log10(stored_in.u))  # digits: 9 tell every float32 from its neighbours
        if self.digits is None or self.digits > enough or stored_in.u <= PRECISIONS["float64"].u:
            return reading.resolution
        finite = np.where(np.isfinite(self.values), self.values, 0.0)
        return np.maximum(reading.resolution, stored_in.u * np.abs(finite) + stored_in.eta)

    def moved(self, move: Callable[[Array], Array]) -> Claimed:
        """The same numbers in other places."""

        def moved(reading: Reading) -> Reading:
            resolution = reading.resolution
            return reading if isinstance(resolution, float) else replace(reading, resolution=move(resolution))

        others = tuple(map(moved, self.others))
        return replace(self, values=move(self.values), reading=moved(self.reading), others=others)


class Claim(msgspec.Struct, frozen=True, eq=False):
    """What is claimed of a problem: gradients by their names, a loss, steps of the chain; and notes on how it was read.

    Each is a `Claimed`, or a list, an array, or a tensor of torch, whose numbers are what they are.

    Examples
    --------
    >>> Claim({"W": [[0.5, -0.5]]}, loss=0.25).gradients["weights"].values
    array([[ 0.5, -0.5]])
    """

    gradients: Mapping[str, Claimed] = {}
    loss: Claimed | None = None
    steps: Mapping[str, Claimed] = {}
    notes: Sequence[str] = ()

    if TYPE_CHECKING:

        def __init__(
            self,
            gradients: Mapping[str, Any] = {},
            loss: Any = None,
            steps: Mapping[str, Any] = {},
            notes: Sequence[str] = (),
        ) -> None: ...

    __repr__ = notebook.one_line()

    def __post_init__(self) -> None:
        for part in (self.gradients, self.steps):
            if not isinstance(part, Mapping):
                raise InputError("what is claimed is given by name: Claim({'W': gradient}, loss=loss)")
        gradients = by_name(self.gradients)
        force_setattr(
            self, "gradients", {name: claimed("the gradient", one) for name, one in gradients.items()}
        )
        if self.loss is not None:
            force_setattr(self, "loss", claimed("the loss", self.loss))
            if self.loss.values.size != 1:
                raise InputError(f"the loss is made of {self.loss.values.size} numbers; one is expected")
        force_setattr(self, "steps", {name: claimed(name, step) for name, step in self.steps.items()})

    @property
    def dtype(self) -> str | None:
        """The dtype of the file that holds the claim, if it has one."""
        claimed = [*self.gradients.values(), *([self.loss] if self.loss else ()), *self.steps.values()]
        return next((one.dtype for one in claimed if one.dtype), None)


def by_name(gradients: Mapping[Any, Any]) -> dict[str, Any]:
    """Gradients by what the library calls them; two of one would hide each other."""
    keys: dict[str, Any] = {}
    for key in gradients:
        if (first := keys.setdefault(gradient_name(key), key)) is not key:
            raise InputError(f"{first!r} and {key!r} are two names of one gradient; give one of them")
    return {name: gradients[key] for name, key in keys.items()}


def claimed(part: str, values: Any) -> Claimed:
    """Numbers from outside; in an array they are what they are, in its precision."""
    if isinstance(values, Claimed):
        return values
    return Claimed(np.atleast_1d(array_of(part, values)).astype(np.float64), dtype=precision_of(values))
