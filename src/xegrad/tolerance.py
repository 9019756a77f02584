"""What is allowed of a candidate, and why: its precision, what was rounded where, how its sums were formed.

See docs/numerics.md, sections 5 and 7, and docs/recipes.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import force_setattr, replace

from xegrad import bounds, notebook
from xegrad.arrays import precision_of, type_name
from xegrad.errors import Faults, InputError, refuse, shown
from xegrad.problem import Problem
from xegrad.recipes import RECIPES
from xegrad.vocabulary import COMPUTED_IN, HALF

LARGEST = sys.float_info.max


# The cells that each field of a tolerance rounds to another format.
ROUNDED: Mapping[str, tuple[str, ...]] = {
    "inputs_as": ("X", "W", "b"),
    "targets_as": ("Q", "q"),
    "products_as": ("products",),
    "logits_as": ("Z",),
    "log_sums_as": ("log_sum",),
    "log_probabilities_as": ("log_S",),
    "residual_as": ("R",),
    "losses_as": ("stable_loss",),
}


class Tolerance(msgspec.Struct, frozen=True, eq=False):
    """What is allowed of a candidate, and why.

    Examples
    --------
    >>> Tolerance("float32")
    Tolerance(precision='float32', terms=any_order)
    >>> Tolerance(rtol=1e-6).derived
    False
    """

    precision: str = "float64"  # in which it was computed
    stored_as: str | None = None  # the format that the result was then rounded to
    terms: Callable[[int], int] = bounds.any_order  # how its sums were formed
    rtol: float | None = None  # these two override the derived bound
    atol: float | None = None
    recipe: str | None = None  # whose fields these are
    # Mixed precision: what was rounded to another format once it was formed.
    inputs_as: str | None = None  # W, x and b on their way in
    targets_as: str | None = None  # Q, computed in it
    products_as: str | None = None  # X W, before b is added
    logits_as: str | None = None
    log_sums_as: str | None = None  # the sum of the exponentials and its logarithm
    log_probabilities_as: str | None = None  # S is then exp of them
    residual_as: str | None = None
    losses_as: str | None = None  # those of the rows, added up in it
    accumulate_in: str | None = None  # in which products are added up, before the result is rounded
    partial_sums_as: str | None = None  # in which so many partial sums of a gradient are added up
    partial_sums: Callable[[Problem, str], int] | None = None
    dropped_below: float | None = None  # a residual below this part of q may count as 0
    confidence: float | None = None  # the probability with which it may fail, of independent roundings

    @staticmethod
    def of_recipe(recipe: str | None, **given: Any) -> Tolerance:
        """That of a recipe, in which the fields that are given and not None come first.

        Raises
        ------
        InputError
            There is no such recipe.
        """
        if recipe is not None and recipe not in RECIPES:
            raise InputError(f"there is no recipe {recipe!r}; the recipes are {', '.join(RECIPES)}")
        fields = {} if recipe is None else {"recipe": recipe, **RECIPES[recipe].fields}
        tolerance = Tolerance(**fields | {name: value for name, value in given.items() if value is not None})
        if "precision" not in given and tolerance.is_mixed:
            tolerance = replace(tolerance, precision="float32")
        return tolerance

    @property
    def is_mixed(self) -> bool:
        """Whether anything is rounded to another format on its way."""
        return any(getattr(self, field) for field in (*ROUNDED, "accumulate_in", "partial_sums_as"))

    __repr__ = notebook.one_line()

    def __post_init__(self) -> None:
        for name in self._formats:
            if (dtype := getattr(self, name)) is not None:
                force_setattr(self, name, type_name(dtype))
        refuse(self._faults())

    @property
    def _formats(self) -> list[str]:
        """The fields that name one."""
        return [name for name in self.__struct_fields__ if name.endswith(("precision", "_as", "_in"))]

    def _faults(self) -> Faults:
        for name in self._formats:
            if (dtype := getattr(self, name)) is not None and dtype not in bounds.PRECISIONS:
                yield f"{name} is {shown(dtype)}; it is one of {', '.join(bounds.PRECISIONS)}", "dtype"
        if not callable(self.terms):
            yield f"terms is {shown(self.terms)}; a function is expected, as bounds.pairwise", "summation"
        chance = self.confidence
        if chance is not None and not (_is_real(chance) and 0 < chance < 1):
            yield f"confidence is {shown(chance)}; a probability such as 1e-9 is expected", "confidence"
        for name in ("rtol", "atol"):
            size = getattr(self, name)
            number = size.item() if isinstance(size, np.generic) else size  # float32 has no such LARGEST
            if size is not None and not (_is_real(number) and 0 <= number <= LARGEST):
                yield f"{name} is {shown(size)}; a number from 0 is expected", name
        of_bound = [
            name for name in ("recipe", "confidence", *ROUNDED, "accumulate_in") if getattr(self, name)
        ]
        of_bound += [] if self.terms is bounds.any_order else ["summation"]
        if of_bound and not self.derived:
            instead = "in whose place rtol and atol are; leave one out"
            yield f"{of_bound[0]} is about the derived bound, {instead}", of_bound[0]

    @property
    def arithmetic(self) -> bounds.Arithmetic:
        """In which it was computed."""
        formats, partial = bounds.PRECISIONS, None
        stored = [
            (cell, formats[other])
            for field, cells in ROUNDED.items()
            if (other := getattr(self, field)) is not None
            for cell in cells
        ]
        if self.partial_sums_as is not None and self.partial_sums is not None:
            partial = (formats[self.partial_sums_as], self.partial_sums)
        return replace(
            formats[self.precision],
            terms=self.terms,
            sums=formats[self.accumulate_in] if self.accumulate_in else None,
            stored=tuple(stored),
            partial=partial,
            dropped_below=self.dropped_below or 0.0,
            failure=self.confidence or 0.0,
        )

    @property
    def kept_in(self) -> str:
        """The format of the numbers that come out."""
        return self.stored_as or self.precision

    @property
    def derived(self) -> bool:
        """Whether the bound is derived, or a house rule."""
        return self.rtol is None and self.atol is None

    @property
    def slope(self) -> float:
        """How much more is allowed where the exact value is larger, as a part of that."""
        if not self.derived:
            return self.rtol or 0.0
        return 0.0 if self.stored_as is None else bounds.PRECISIONS[self.stored_as].u

    def allowed(self, exact: Any, bound: Any, resolution: Any) -> Any:
        """The bound on |candidate - exact|, entry by entry; `resolution` is what printing left open."""
        if not self.derived:
            size = np.where(np.isinf(exact), 0.0, np.abs(exact))  # an infinity is matched or not
            return (self.atol or 0.0) + (self.rtol or 0.0) * size + resolution
        if self.stored_as is not None:
            bound = bounds.stored(exact, bound, self.stored_as)
        return bound + resolution if np.ndim(resolution) or resolution else bound


def _is_real(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def in_half(dtype: str | None, stored_as: str | None) -> tuple[str | None, str | None]:
    """float32, and what it was then stored as, of a type of half precision, in which nothing is computed."""
    if dtype not in HALF:
        return dtype, stored_as
    if stored_as not in (None, dtype):
        raise InputError(f"dtype {dtype} is float32, stored as {dtype}, and not as {stored_as}")
    return "float32", dtype


def tolerance_for(problem: Problem, dtype: str | None, tolerance: Tolerance | None = None) -> Tolerance:
    """In the precision that the problem asks for, else that of the candidate's type, else that of the problem's arrays.

    What is in half precision was computed in float32 and then stored so.  What mixed precision leaves open is float32.
    """
    tolerance = tolerance or Tolerance()
    mixed = "float32" if tolerance.is_mixed else None
    precision = problem.precision or mixed or dtype or problem.dtype.name
    if dtype in HALF and tolerance.stored_as is None:
        precision = problem.precision or "float32"
        tolerance = replace(tolerance, stored_as=dtype)
    return replace(tolerance, precision=precision if precision in COMPUTED_IN else "float64")


def tolerance_of(problem: Problem, candidate: Any, tolerance: Tolerance | None) -> Tolerance:
    """The tolerance, or else that of the precision of the candidate's array."""
    if tolerance is not None and not isinstance(tolerance, Tolerance):
        raise InputError(f"the tolerance is {shown(tolerance)}; one such as Tolerance('float32') is expected")
    return tolerance or tolerance_for(problem, precision_of(candidate))
