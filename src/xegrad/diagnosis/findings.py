"""What is said of an explanation."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from xegrad import bounds, layer, notebook
from xegrad.arrays import blocks
from xegrad.derivation import AT_A_TIME, Cells
from xegrad.diagnosis.search import Hypothesis, Search
from xegrad.diagnosis.texts import TEXTS
from xegrad.numbers.arithmetic import UNROUNDED
from xegrad.numbers.rounded import exact
from xegrad.slips import Slip
from xegrad.slips.entry import Parameters
from xegrad.targets import Array

# Words of the texts that are no parameters.
SENTENCES = (
    "which",
    "why",
    "advice",
    "wrong",
    "right",
    "rounding",
    "rounded",
    "argument",
    "listed",
    "row_weights",
)

# Of each gradient: what code calls it, and how it is made of dz.
IN_CODE = {
    "weights": ("dW", "x.T @ dz"),
    "bias": ("db", "dz.sum(axis=0)"),
    "inputs": ("dx", "dz @ W.T"),
    "logits": ("dz", "(s - y)"),
}


class Explanation(msgspec.Struct, frozen=True, eq=False):
    """One slip, or two, that make exactly this candidate."""

    slips: tuple[str, ...]  # in order of application; none where only digits are lost
    parameters: Parameters
    texts: Mapping[str, str]  # the parameters for people: "1/B", or the digits that the candidate determines
    explains: int  # entries within the bound
    entries: int
    happened: str  # two lines for each slip
    wrong: str
    right: str
    remedy: str


class Diagnosis(msgspec.Struct, frozen=True, eq=False):
    """All explanations of the best rank: no free number before one, one slip before two.

    Examples
    --------
    >>> problem = Problem([[1.0, 2.0], [3.0, 4.0]], [[1.0, -2.0]], Targets([0]))
    >>> [one.slips for one in diagnose(problem, [[0.0, 0.0], [0.0, 0.0]]).explanations]
    [('all-zero',)]
    """

    explanations: tuple[Explanation, ...] = ()
    where: str = ""  # which rows of the batch are wrong, if that is all that can be told

    @property
    def says_something(self) -> bool:
        """Whether a mistake is named, or the rows that are wrong."""
        return bool(self.explanations or self.where)

    __repr__ = notebook.one_line("names")

    @property
    def names(self) -> tuple[tuple[str, ...], ...]:
        """The slips of each explanation."""
        return tuple(explanation.slips for explanation in self.explanations)


def explained(cells: Cells, hypothesis: Hypothesis, entries: int) -> Explanation:
    """A hypothesis in words; every entry of what it explains is within its bound."""
    texts: dict[str, str] = {}
    parameters: dict[str, float | int | str] = {}
    parts = []
    n_rows, n_inputs, n_classes = cells.problem.n_rows, cells.problem.n_inputs, cells.problem.n_classes
    sizes = {"n_rows": n_rows, "n_inputs": n_inputs, "n_classes": n_classes, "n_others": n_classes - 1}
    in_code = dict(zip(("d", "carried"), IN_CODE[cells.name], strict=True))
    in_code["parameter"] = "b" if cells.name == "bias" else "W"
    for slip, form in hypothesis.steps:
        # The parameters, and what follows from them.
        details = {**form, **TEXTS[slip.name](cells, form)} if slip.name in TEXTS else form
        widths = hypothesis.widths
        words = {name: _text(slip, name, value, widths.get(name)) for name, value in details.items()}
        known = {**sizes, **in_code, **words}
        # What the details say holds names of parameters, too.
        words |= {name: words[name].format_map(known) for name in SENTENCES if name in words}
        lines = slip.message, *slip.code, slip.remedy
        parts.append([line.format_map({**known, **words}) for line in lines])
        if "named" in details:
            words["k"] = f"{words['named']} = {float(details['k']):.6g}"
        for name, value in details.items():
            if name not in SENTENCES:
                key = f"{name} of {slip.name}" if name in parameters else name
                parameters[key], texts[key] = value, words[name]
    sentences = ("\n".join(each) for each in zip(*parts, strict=True))
    return Explanation(hypothesis.names, parameters, texts, entries, entries, *sentences)


def _text(slip: Slip, name: str, value: float | int | str, width: tuple[float, float] | None) -> str:
    """A number with the digits that the candidate determines, at most 12, and as many as tell it from no slip."""
    if isinstance(value, str | int):
        return str(value)
    digits = 6 if width is None else 12
    if width is not None and width[1] > width[0] and value:
        digits = min(12, max(1, math.floor(-math.log10((width[1] - width[0]) / abs(value)))))
    while name == slip.free and float(f"{value:.{digits}g}") == slip.number.nothing and digits < 17:
        digits += 1
    return f"{value:.{digits}g}"


def _of_rows(cells: Cells) -> tuple[float, float, Array]:
    """The least 1 - S_c, the largest error of a logit, and an error of 1 in S_c, times q, carried back.

    u times the last is what S_c - 1 leaves of entries near 0.
    """
    problem, least, spread = cells.problem, 1.0, 0.0
    kept: list[Array] = []
    sizes = replace(problem, weights=np.abs(problem.weights), inputs=np.abs(problem.inputs))
    for rows in blocks(problem.n_rows, AT_A_TIME // problem.n_classes):
        some = cells.some(rows)
        forward = layer.softmax(some.Z.value, some.Q.value)
        complement = layer.other_exponentials(forward) / (1 + forward.others)
        least = min(least, float(np.where(forward.targets > 0, complement, 1).min()))
        spread = max(spread, float(np.max(some.Z.error)))
        residual = exact(some.q.value * forward.probabilities, UNROUNDED)
        kept.append(Cells(sizes, cells.name, UNROUNDED, {"R": residual}, rows).G.value)
    by_rows = cells.name in ("inputs", "logits")
    return least, spread, np.concatenate(kept) if by_rows else functools.reduce(np.add, kept)


def lost_digits(search: Search, lost: NDArray[np.bool_]) -> tuple[Explanation, ...]:
    """Why a candidate within its bound has no digit in some entries."""
    cells, u = search.cells, search.cells.arithmetic.u
    lost, gradient = lost.reshape(search.shape), IN_CODE[cells.name][0]
    right, format_name, precision = search.exact.value, search.tolerance.stored_as, search.tolerance.precision
    stored = bounds.PRECISIONS.get(format_name or "")
    smallest = stored.eta / (2 * stored.u) if stored else 0.0
    least, spread, kept = _of_rows(cells)
    cancelled = np.abs(search.values.reshape(search.shape) - right) <= 2 * u * kept.reshape(search.shape)
    causes: list[tuple[NDArray[np.bool_] | bool, tuple[str, ...], str, str, str, str]] = [
        (
            np.abs(right) <= smallest,
            ("low-precision",),
            f"The smallest normal number of {format_name} is {smallest:.3g}:\n"
            "what is smaller keeps fewer digits, or none.",
            f"{gradient}.astype({format_name})",
            f"{gradient}.astype(float32)",
            "Store the gradient in a wider format, or scale the loss before it is stored.",
        ),
        (
            cancelled & (least < 0.5),
            (),
            f"S_c is near 1: the exact 1 - S_c is {least:.3g}, and S_c - 1 from a rounded S_c keeps\n"
            f"nothing below {u:.3g}, half the distance from 1 to the next number.",
            "s[label] - 1",
            "-(e.sum() - e[label]) / e.sum()    # the other exponentials, added up",
            "Add up the other exponentials; never subtract S_c from 1.",
        ),
        (
            spread > 0.05,
            (),
            f"The logits are off by up to {spread:.3g}: their sums cancel in {precision},\n"
            "and what follows from them is not resolved.",
            "x @ W",
            "x.astype(float64) @ W.astype(float64)",
            "Compute the logits in a wider format.",
        ),
    ]
    return tuple(
        Explanation(slips, {}, {}, int((lost & where).sum()), lost.size, *sentences)
        for where, slips, *sentences in causes
        if (lost & where).any()
    )
