"""What someone says the answer is: numbers, how their text was read, and what else it may mean.

See docs/verify.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from xegrad.targets import Array


class Reading(msgspec.Struct, frozen=True, eq=False):
    """What printing left open: half a unit of the last place, entry by entry, of so many decimals or digits.

    Without decimals or digits the numbers are what they are.
    """

    resolution: Array | float = 0.0
    decimals: int | None = None
    digits: int | None = None


class Claimed(msgspec.Struct, frozen=True, eq=False):
    """A gradient, a loss or a step of the chain from outside, in any shape that holds its numbers.

    `others` are wider readings that its text allows and that nobody asked for; `dtype` is that of a file that has one;
    `fits` are other gradients, whose shape it has, where it has not its own.
    """

    values: Array
    reading: Reading = Reading()
    others: Sequence[Reading] = ()
    dtype: str | None = None
    fits: tuple[str, ...] = ()

    def moved(self, move: Callable[[Array], Array]) -> Claimed:
        """The same numbers in other places."""

        def moved(reading: Reading) -> Reading:
            resolution = reading.resolution
            return reading if isinstance(resolution, float) else replace(reading, resolution=move(resolution))

        others = tuple(map(moved, self.others))
        return replace(self, values=move(self.values), reading=moved(self.reading), others=others)


class Claim(msgspec.Struct, frozen=True, eq=False):
    """What is claimed of a problem: gradients by their names, a loss, steps of the chain."""

    gradients: Mapping[str, Claimed] = {}
    loss: Claimed | None = None
    steps: Mapping[str, Claimed] = {}

    @property
    def dtype(self) -> str | None:
        """That of the file that holds them, if it has one."""
        claimed = [*self.gradients.values(), *([self.loss] if self.loss else ()), *self.steps.values()]
        return next((one.dtype for one in claimed if one.dtype), None)
