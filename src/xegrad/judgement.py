"""What a gradient from outside is: right, right without digits, wrong, or not to be decided.

It is measured against the exact values, by what a stable computation in its precision can give.

See docs/numerics.md, section 7, and docs/verify.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import force_setattr, replace
from numpy.typing import NDArray

from xegrad import bounds, layer, notebook
from xegrad.arrays import array_of, check_shape, precision_of, type_name
from xegrad.claim import Reading
from xegrad.comparison import Comparison, numbers_of
from xegrad.errors import Faults, InputError, refuse, shown
from xegrad.methods import Evaluation, exact_if_absent
from xegrad.naming import gradient_name
from xegrad.problem import Problem
from xegrad.recipes import RECIPES
from xegrad.targets import Array
from xegrad.vocabulary import AXES, COMPUTED_IN, HALF

LARGEST = sys.float_info.max
CLEAR = 7  # numbers that match by chance once or twice in 1000 times

RIGHT, DIGITS_LOST, WRONG, UNDECIDED = "right", "digits-lost", "wrong", "undecided"


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
    def derived(self) -> bool:
        """Whether the bound is derived, or a house rule."""
        return self.rtol is None and self.atol is None

    def allowed(self, exact: Any, bound: Any, resolution: Any) -> Any:
        """The bound on |candidate - exact|, entry by entry; `resolution` is what printing left open."""
        if not self.derived:
            return (self.atol or 0.0) + (self.rtol or 0.0) * np.abs(exact) + resolution
        if self.stored_as is not None:
            bound = bounds.stored(exact, bound, self.stored_as)
        return bound + resolution


def _is_real(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


class Judgement(msgspec.Struct, frozen=True, eq=False):
    """A candidate against the exact values: the outcome follows from the comparison.

    Examples
    --------
    >>> judge(Problem([[1.0, -1.0]], [[3.0]], Targets([0])), [[1.0, 1.0]])
    Judgement(name='weights', outcome='wrong', comparison=Comparison(candidate=float64[1 x 2], agrees=False))
    """

    name: str  # of the gradient, or "loss"
    comparison: Comparison
    certified: NDArray[np.bool_] | bool  # whether each exact value is, or all of them
    tolerance: Tolerance
    reading: Reading = Reading()

    __repr__ = notebook.one_line("name", "outcome", "comparison")

    @property
    def wrong(self) -> Any:
        """Entries that nothing allowed explains, and whose exact values are certified where that is known of each."""
        wrong = ~self.comparison.within & ~self.comparison.unbounded
        return wrong if isinstance(self.certified, bool) else wrong & self.certified

    @property
    @np.errstate(all="ignore")
    def relative_bounds(self) -> Array:
        """Of each exact value that is not 0, the bound as a part of it."""
        reference = np.abs(self.comparison.reference)
        return self.comparison.bound[reference != 0] / reference[reference != 0]

    @property
    def relative_bound(self) -> float:
        """The widest of them; 0 where all values are 0."""
        return float(self.relative_bounds.max(initial=0))

    @property
    def bound_kind(self) -> str:
        """Whether it is derived, derived for roundings that are independent, or a house rule."""
        if not self.tolerance.derived:
            return "given"
        return "derived" if self.tolerance.confidence is None else "probabilistic"

    @property
    def outcome(self) -> str:
        """One of the four."""
        if self.wrong.any():
            return WRONG
        against, relative = self.comparison, self.relative_bounds
        # A bound that exceeds half of every entry that is not 0 could not catch a thing.
        is_vacuous = self.tolerance.derived and relative.size > 0 and relative.min() > 1 / 2
        if is_vacuous or against.unbounded.any() or not np.all(self.certified):
            return UNDECIDED
        return DIGITS_LOST if against.no_correct_digit.any() else RIGHT

    @property
    def pattern(self) -> str:
        """Where the wrong entries are: where, not why."""
        wrong = self.wrong
        count, total = int(wrong.sum()), wrong.size
        if count == 0:
            return "nowhere"
        if count == 1:
            return "one entry"
        if self._is_shuffled:
            return "the same numbers in other places"
        if count == total:
            return "everywhere"
        for axis, other in ((1, 0), (0, 1)) if wrong.ndim == 2 else ():
            # Of a gradient of one row or column that would be everywhere.
            if wrong.any(axis=other).sum() == 1 and wrong.shape[axis] > 1:
                what = AXES[self.name][axis]
                return "one row of the batch" if what == "row" else f"one {what}"
        return "several entries"

    @property
    def _is_shuffled(self) -> bool:
        """Whether the wrong entries hold each other's numbers: sorted, each is within the bound of its fellow.

        Where bounds are wide, other numbers would match too.  A number is clear if its bound and those of its
        neighbours do not overlap.  Of n others with the same distribution exactly one falls within a clear bound with
        a chance of at most (1 - 1/n)^(n - 1), which is 0.4 for n = 7 and less for more: 0.4^7 for `CLEAR` of them.
        """
        against, wrong = self.comparison, self.wrong
        parts = (against.candidate, against.reference, against.bound)
        candidate, reference, bound = (values[wrong] for values in parts)
        order = np.argsort(reference)
        reference, bound = reference[order], bound[order]
        if not (np.abs(np.sort(candidate) - reference) <= bound).all():
            return False
        gap = np.diff(reference)
        clear = (gap == 0) | (gap > bound[:-1] + bound[1:])  # the same number twice is one
        is_clear = np.append(True, clear) & np.append(clear, True)
        return bool(gap.any()) and int(is_clear.sum()) >= min(CLEAR, reference.size)


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


@exact_if_absent
def judge(
    problem: Problem,
    exact: Evaluation,
    candidate: Any,
    tolerance: Tolerance | None = None,
    resolution: Array | float = 0.0,
    with_respect_to: str = "weights",
) -> Judgement:
    """A candidate gradient, in the library's layout, or a "loss", against the exact one.

    Parameters
    ----------
    exact : Evaluation
        Of the exact method.  `judge(problem, candidate)` evaluates it.
    candidate : (N, T)
        For bias (T,), inputs (B, N) and logits (B, T), for a loss a number; a list, an array, or a tensor of torch.
    tolerance : Tolerance
        By default that of the precision of the candidate's array.
    resolution : array or number
        What printing left open.
    with_respect_to : "weights", "bias", "inputs", "logits" or "loss"
        Also "W", "b" or "x".

    Raises
    ------
    InputError
        A candidate that is no array of numbers, or one of another size.

    Examples
    --------
    >>> problem = Problem([[1.0, -1.0]], [[3.0]], Targets([0]))
    >>> judge(problem, [[-0.0074, 0.0074]]).outcome
    'wrong'
    >>> judge(problem, [[-0.0074, 0.0074]], Tolerance(rtol=0.01)).outcome
    'right'
    """
    is_loss = str(with_respect_to) == "loss"
    name = "loss" if is_loss else gradient_name(with_respect_to)
    tolerance = tolerance_of(problem, candidate, tolerance)
    what = f"the {'loss' if is_loss else 'gradient'}"
    candidate, names = np.atleast_1d(array_of(what, candidate)), () if is_loss else (name,)
    bound = bounds.stable(problem, names, arithmetic=tolerance.arithmetic)
    reference = numbers_of(exact, name)
    check_shape(what, candidate.shape, reference.shape)
    if np.ndim(resolution := array_of("the resolution", resolution)):
        check_shape("the resolution", resolution.shape, reference.shape)
    allowed = tolerance.allowed(reference, numbers_of(bound, name), resolution)
    allowed = np.where(np.isnan(allowed), np.inf, allowed)
    comparison = Comparison(reference, candidate.astype(np.float64), allowed)
    flags = exact.certified
    certified = flags is not None and np.broadcast_to(flags[name], reference.shape)
    return Judgement(name, comparison, certified, tolerance)


# What may narrow a bound, by the option that says so; the last is what errors of random sign would give.
NARROWER: Mapping[str, Mapping[str, Any]] = {
    "--summation pairwise": {"terms": bounds.pairwise},
    "--summation blocked=128": {"terms": bounds.blocked(128)},
    "--confidence 1e-9": {"confidence": 1e-9},
}


@np.errstate(all="ignore")
def narrower(problem: Problem, judgement: Judgement) -> dict[str, float]:
    """How many times narrower the derived bound of the median entry would be under each of these: 1 where it stays.

    Where there is no bound, or none would be narrower than by a tenth, nothing.
    """
    name, tolerance = judgement.name, judgement.tolerance
    names = () if name == "loss" else (name,)

    def of(one: Tolerance) -> Array:
        bound = bounds.stable(problem, names, arithmetic=one.arithmetic)
        reference, resolution = judgement.comparison.reference, judgement.reading.resolution
        return one.allowed(reference, numbers_of(bound, name), resolution)

    if not tolerance.derived or tolerance.terms is not bounds.any_order or tolerance.confidence is not None:
        return {}
    now = of(tolerance)
    if not np.isfinite(np.median(now)):
        return {}
    others = ((option, of(replace(tolerance, **fields))) for option, fields in NARROWER.items())
    times = {option: float(np.nanmedian(now / other)) for option, other in others}
    return {option: many for option, many in times.items() if many > 1.1}


def cause_of_nonfinite(problem: Problem, precision: str) -> str:
    """The mistake whose signature the logits show, for a candidate that is not finite; nothing if none."""
    largest, smallest = {"float64": (709.78, -745.13), "float32": (88.72, -103.97)}[precision]
    logits = layer.forward(problem).logits
    top = logits.max(axis=-1)
    if (top > largest).any():
        overflow = f"a logit is {top.max():.6g}, and exp of more than {largest} overflows in {precision}"
        return f"{overflow}: subtract the row's maximum before exp"
    if (top < smallest).any():
        underflow = f"all logits of a row are below {smallest}, where exp underflows to 0 in {precision}"
        return f"{underflow}, and 0/0 is no number: subtract the row's maximum, not max(0, maximum)"
    targets = problem.targets.effective(problem.n_classes, problem.dtype)
    shifted = logits - top[..., None]
    if not ((targets != 0) & (shifted < smallest)).any():
        return ""
    underflow = "the probability of a target class underflows to 0"
    return f"{underflow}, and the chain's 1/S times 0 is no number: use the shortcut"
