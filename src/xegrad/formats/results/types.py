"""What the commands print as JSON, field by field, for the published schemas.

A result is an object of these types, with arrays in the place of numbers; nothing checks what it holds.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from xegrad.methods import METHODS
from xegrad.vocabulary import CHAIN

Numbers = list[float | None]  # null stands for what is not finite
RowsOrNumbers = list[float | Numbers | None]
Gradients = dict[str, RowsOrNumbers]  # by the symbols W, b, x and logits


def key(method: str) -> str:
    """The field of a method."""
    return method.replace("-", "_")


class Entry(msgspec.Struct):
    """One entry of a gradient, by zero-based indices; which there are depends on the gradient."""

    of: str
    row: int | UnsetType = UNSET
    input: int | UnsetType = UNSET
    class_: int | UnsetType = msgspec.field(name="class", default=UNSET)
    class_name: str | UnsetType = UNSET
    input_name: str | UnsetType = UNSET


class ErrorResult(msgspec.Struct, kw_only=True):
    """What stands in the place of a line of a stream, or of one of several files, that is no problem."""

    line: int | UnsetType = UNSET
    file: str | UnsetType = UNSET
    error: str
    id: Any = UNSET


class EvaluationResult(msgspec.Struct):
    """What one method computed: the loss, dL/dW in W's layout as `gradient`; all of them, where there are more.

    `losses` are those of the rows, under the reduction "none".  Against the exact values, where these were
    computed: the ulps and the correct digits of the worst entry, and how many entries are not finite or have
    no digit.  `certified` is said of the exact ones, and `seconds` where it was asked how long a method took.
    """

    loss: float | None
    gradient: list[Numbers] | UnsetType = UNSET
    gradients: Gradients | UnsetType = UNSET
    losses: Numbers | UnsetType = UNSET
    max_ulp_error: int | UnsetType | None = UNSET
    correct_digits: int | UnsetType = UNSET
    wrong_entries: int | UnsetType = UNSET
    certified: bool | UnsetType = UNSET
    seconds: float | UnsetType = UNSET


class ComparisonResult(msgspec.Struct):
    """The chain against the shortcut, over all gradients that were computed."""

    agree: bool
    max_abs_difference: float | None
    max_ulp_difference: int | None
    lost_entries: int
    opposite_signs: int
    worst: Entry


ComputeResult: Any = msgspec.defstruct(
    "ComputeResult",
    [
        ("schema", str),
        ("id", Any, UNSET),
        ("loss", float | None),
        ("losses", Numbers | UnsetType, UNSET),
        ("probabilities", RowsOrNumbers),
        ("gradient", list[Numbers] | UnsetType, UNSET),
        ("gradients", Gradients),
        ("method", str),
        ("classes", list[str] | UnsetType, UNSET),
        ("input_names", list[str] | UnsetType, UNSET),
        *((key(name), EvaluationResult | UnsetType, UNSET) for name in METHODS),
        ("comparison", ComparisonResult | None, None),
        ("verdict", str, "undecided"),
        ("warnings", list[str], msgspec.field(default_factory=list)),
    ],
    namespace={"__doc__": "What `compute --json` prints."},
    kw_only=True,
)


class Check(msgspec.Struct):
    """One check of `verify`, with what it was measured by."""

    name: str
    passed: bool
    max_ulp_error: int | UnsetType | None = UNSET
    correct_digits: int | UnsetType = UNSET
    wrong_entries: int | UnsetType = UNSET
    advisory: bool | UnsetType = UNSET


class WorstEntry(Entry, kw_only=True):
    """The worst entry of a candidate."""

    yours: float | None
    exact: float | None
    difference: float | None
    exact_error: float | UnsetType = UNSET


class ExplanationResult(msgspec.Struct):
    """A mistake that makes exactly this candidate: the slips in the order in which they act, and their numbers.

    `explains` is how many entries are within its bound; `texts` are the parameters for people, such as 1/B.
    """

    slips: list[str]
    parameters: dict[str, float | str]
    texts: dict[str, str]
    explains: int
    happened: str
    wrong: str
    right: str
    remedy: str


class CandidateResult(msgspec.Struct):
    """A gradient or a loss from outside, judged.

    `diagnosis` is there where it is wrong or has lost its digits, and empty where no known mistake makes it;
    `blind_spots` where it is right: the slips that this problem could not have caught.  `right_if` has the options
    under which what is wrong is right, `diagnosed_if` those under which the mistakes explain it.  `where` says which
    rows of the batch are wrong, and how, where that is known.
    """

    outcome: str
    max_ulp_error: int | None
    correct_digits: int
    bound: float | None
    bound_kind: str  # derived, probabilistic or given
    worst: WorstEntry
    pattern: str
    wrong_entries: int
    diagnosis: list[ExplanationResult] | UnsetType = UNSET
    blind_spots: list[str] | UnsetType = UNSET
    right_if: dict[str, str | int] | UnsetType = UNSET
    diagnosed_if: dict[str, str | int] | UnsetType = UNSET
    where: str | UnsetType = UNSET


class StepsResult(msgspec.Struct):
    """The steps of the chain that were given: those before the first wrong one, that, the slips that make it, of each
    later one whether it follows from it, and those of which the error bound says nothing."""

    right: list[str]
    wrong: str | None
    slips: list[str]
    follows: dict[str, bool]
    right_later: list[str]  # those later ones that are right all the same
    undecided: list[str]
    right_if: dict[str, str | int] | UnsetType = UNSET  # the options under which all of them are


class OfDataSet(msgspec.Struct, kw_only=True):
    """What is said of a data set beside a result: its rows, its files, and what computed its blocks; two results with
    the same fingerprint, rows and layer have the same bits."""

    schema: str
    rows: int | UnsetType = UNSET
    bad_rows: int | UnsetType = UNSET
    blocks: int | UnsetType = UNSET
    engine: str | UnsetType = UNSET
    workers: int | UnsetType = UNSET
    retries: int | UnsetType = UNSET
    files: list[str] | UnsetType = UNSET
    fingerprint: dict[str, str | list[str]] | UnsetType = UNSET


class DataSetResult(OfDataSet, kw_only=True):
    """What `compute --json` prints of a data set: the loss and the gradients of all rows."""

    id: Any = UNSET
    loss: float | None
    gradient: list[Numbers] | UnsetType = UNSET
    gradients: Gradients
    method: str
    classes: list[str] | UnsetType = UNSET
    warnings: list[str] = msgspec.field(default_factory=list)


class VerifyResult(OfDataSet, kw_only=True):
    """What `verify --json` prints.  `judgements` are of everything that is judged, by W, b, x, logits and loss;
    `candidate` is the first of a gradient, and `diagnosis` that of a loss."""

    verified: bool
    checks: list[Check]
    id: Any = UNSET
    candidate: CandidateResult | UnsetType = UNSET
    judgements: dict[str, CandidateResult] | UnsetType = UNSET
    diagnosis: list[ExplanationResult] | UnsetType = UNSET
    steps: StepsResult | UnsetType = UNSET
    warnings: list[str] = msgspec.field(default_factory=list)


ExplainResult: Any = msgspec.defstruct(
    "ExplainResult",
    [
        ("schema", str),
        ("id", Any, UNSET),
        ("row", int | UnsetType, UNSET),
        *((name, float | RowsOrNumbers | UnsetType | None, UNSET) for name in (*CHAIN, "scrambled_gradient")),
        ("warnings", list[str]),
    ],
    namespace={
        "__doc__": "What `explain --json` prints: every factor of one row's chain, null where too large."
    },
    kw_only=True,
)


class ExactLossesResult(msgspec.Struct):
    """The losses at the two ends of a descent, without l2; `certified` if both are known to be correctly rounded."""

    loss_before: float | None
    loss_after: float | None
    certified: bool


class DescendResult(OfDataSet, kw_only=True):
    """What `descend --json` prints."""

    id: Any = UNSET
    loss_before: float
    loss_after: float
    losses: list[float]
    steps: int
    converged: bool
    W: list[list[float]]
    b: list[float] | None
    gradient_norm: float | None
    interrupted: bool
    diverged_at: int | None
    right_before: float | None  # the share of the labelled rows whose likeliest class is the label
    right_after: float | None
    exact: ExactLossesResult | UnsetType = UNSET
    warnings: list[str]


class SlipResult(msgspec.Struct):
    """A known mistake, with what it does to a gradient: that of the derivation's example where it shows there."""

    name: str
    stage: str
    sentence: str
    formula: str
    how: str
    wrong: str
    right: str
    remedy: str
    free: str | None
    of: str
    right_gradient: list[Any]
    wrong_gradient: list[Any]
