"""What the catalogue says of a slip."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from xegrad.slips.draft import Draft, Gradient
from xegrad.targets import Array

Parameters = Mapping[str, float | int | str]

# In the order in which they act; a pair is two of them.  "residual" is how dL/dZ is formed from S and Q, and
# "input" how it is carried back.
STAGES = (
    "bias",
    "probabilities",
    "target",
    "residual",
    "input",
    "layout",
    "sign",
    "factor",
    "added W",
    "storage",
)


class Line(msgspec.Struct, frozen=True, eq=False):
    """Gradients linear in a free number: offset + k direction."""

    offset: Gradient
    direction: Gradient


def _once(draft: Draft) -> Sequence[Parameters]:
    return ({},)


class Slip(msgspec.Struct, frozen=True, eq=False):
    """A mistake that people make with this gradient: what it is, what it makes, and how it is mended.

    The texts may hold the names of parameters and of the problem's sizes in braces.  What it makes is one of
    `draft` (a step of the layer), `places` (where each entry goes) or `gradient` (what becomes of dL/dW).
    """

    name: str
    stage: str
    sentence: str
    formula: str
    happened: str  # two lines
    wrong: str  # the line of code
    right: str
    remedy: str
    how: str  # how it comes about
    free: str | None = None  # the free number, if it has one
    canonical: Parameters = {}  # for samples and blind spots
    choices: Callable[[Draft], Sequence[Parameters]] = _once  # all its forms on this problem
    draft: Callable[[Draft, Parameters], Draft] | None = None
    places: Callable[[Draft, Parameters, NDArray[np.intp], NDArray[np.intp]], NDArray[np.intp]] | None = None
    gradient: Callable[[Draft, Gradient, Parameters], Gradient] | None = None
    # How the free number is found: on a line, between two values of a grid, or from the candidate's own numbers.
    direction: Callable[[Draft], Draft] | None = None  # a line of drafts: the residual that k multiplies
    line: Callable[[Draft, Gradient, Array], Line] | None = None  # a line of gradients; the array is W
    grid: Array | None = None
