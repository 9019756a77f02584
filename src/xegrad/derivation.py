"""The derivation, cell by cell, over numbers that carry their error.

    Z = X W + b        S = softmax(Z)        R = q S - Q        G = X' R, the sum of R, R W', or R

and the same gradient by the chain, DXE = -Q / S, DS = dS/dZ, Dg = dZ/dW, DL = DS Dg, flat = DXE DL.  q is the sum of
the targets Q of a row.  As it stands this is the error bound of any stable computation.  With one cell replaced it
is what a mistake makes of the gradient, with a bound of its own; with a cell that someone claims put in, it is what
follows from that claim.

See docs/numerics.md, section 5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from typing import Any

import msgspec
import numpy as np

from xegrad import layer
from xegrad.numbers import rounded
from xegrad.numbers.arithmetic import PRECISIONS, Arithmetic
from xegrad.numbers.rounded import Rounded, entered, exact, product
from xegrad.problem import Problem
from xegrad.targets import Targets


class Cells(msgspec.Struct, eq=False):
    """The cells of one problem; each is computed when it is first asked for.

    `problem` holds W, X and b in float64, `name` says with respect to what G is.  All cells but W, b and Dg are
    (B, T) or larger, with any stack axes in front.
    """

    problem: Problem
    name: str = "weights"
    arithmetic: Arithmetic = PRECISIONS["float64"]
    known: dict[str, Rounded] = {}

    def __post_init__(self) -> None:
        self.problem = self.problem.astype(np.dtype(np.float64))

    def __getattr__(self, cell: str) -> Rounded:
        if cell not in CELLS:
            raise AttributeError(cell)
        if cell not in self.known:
            self.known[cell] = CELLS[cell].formula(self)
        return self.known[cell]

    def _known_without(self, cells: Set[str]) -> dict[str, Rounded]:
        return {cell: number for cell, number in self.known.items() if cell not in cells}

    def replace(self, cell: str, value: Rounded) -> Cells:
        """The derivation with something else in the place of a cell: what is made of it follows."""
        known = self._known_without(DOWNSTREAM[cell])
        return Cells(self.problem, self.name, self.arithmetic, known | {cell: value})

    def of(self, name: str) -> Cells:
        """The same derivation with respect to something else."""
        if name == self.name:
            return self
        self.R  # noqa: B018 (computed here, it is the same for all of them)
        known = self._known_without(DOWNSTREAM["back"] | {"parameter"})
        return Cells(self.problem, name, self.arithmetic, known)

    @property
    def forward(self) -> layer.Forward | None:
        """The forward pass of the problem, if that is where these logits are from."""
        forward = layer.forward(self.problem)
        return forward if self.Z.value is forward.logits else None

    @property
    def shape(self) -> tuple[int, int]:
        """The rows and columns of G; that of b has one row."""
        *rows, columns = self.problem.shape_of(self.name)
        return rows[0] if rows else 1, columns

    def gradient(self, rows: Any = slice(None), columns: Any = slice(None)) -> Rounded:
        """G, or some of its rows and columns."""
        if self.name == "weights":
            return product(self.back[..., rows, :], self.R[..., columns])
        if self.name == "inputs":
            return product(self.R[..., rows, :], self.back[..., columns])
        if self.name == "bias":
            return self.R[..., columns].sum(axis=-2)
        return self.R[..., rows, :][..., columns]


class Cell(msgspec.Struct, frozen=True):
    """What a cell is made of, and how."""

    sources: tuple[str, ...]
    formula: Callable[[Cells], Rounded]


def effective_targets(cells: Cells, targets: Targets) -> Rounded:
    """Q of these targets, with what folding the options of the loss into it rounds."""
    return targets.over(lambda array: entered(array, cells.arithmetic), cells.problem.n_classes)


def _bias(cells: Cells) -> Rounded:
    bias = cells.problem.bias
    return exact(0.0, cells.arithmetic) if bias is None else entered(bias[..., None, :], cells.arithmetic)


def _logits(cells: Cells) -> Rounded:
    bias = None if cells.problem.bias is None else cells.b
    return product(cells.X, cells.W, bias, layer.forward(cells.problem).logits)


def residual(cells: Cells) -> Rounded:
    """q S - Q, or whatever comes to the same: q is added up and S multiplied in T + 4 roundings at most."""
    count = cells.problem.n_classes + 4
    return (cells.q * cells.S - cells.Q).in_any_way(count, 4 + count * cells.q.value)


def _loss(targets: Rounded, logarithms: Rounded) -> Rounded:
    """-sum Q log S, over rows and classes, and over Q != 0."""
    terms = rounded.where(targets.value != 0, targets * logarithms, 0.0)
    return -terms.sum(axis=-1).sum(axis=-1)


def _softmax_jacobian(cells: Cells) -> Rounded:
    """S_t (delta_ti - S_i), (..., T, T), of each row."""
    return cells.S[..., :, None] * (np.eye(cells.problem.n_classes) - cells.S[..., None, :])


def _weighted_sum_jacobian(cells: Cells) -> Rounded:
    """Row t holds x in columns t N to t N + N - 1, of the only row of X."""
    return cells.X.moved(lambda inputs: np.kron(np.eye(cells.problem.n_classes), inputs))


CELLS: Mapping[str, Cell] = {
    "X": Cell((), lambda cells: entered(cells.problem.inputs, cells.arithmetic)),
    "W": Cell((), lambda cells: entered(cells.problem.weights, cells.arithmetic)),
    "b": Cell((), _bias),
    "Q": Cell((), lambda cells: effective_targets(cells, cells.problem.targets)),
    "q": Cell(("Q",), lambda cells: cells.Q.sum(axis=-1, keepdims=True)),
    "Z": Cell(("X", "W", "b"), _logits),
    "S": Cell(("Z",), lambda cells: rounded.softmax(cells.Z, cells.forward)),
    "R": Cell(("q", "S", "Q"), residual),
    # By what R is carried back: W' for X, X' for W, and nothing for b and the logits.
    "back": Cell(("X", "W"), lambda cells: cells.W.T if cells.name == "inputs" else cells.X.T),
    "G": Cell(("back", "R"), lambda cells: cells.gradient()),
    # What G updates: W or b, in the shape of G.
    "parameter": Cell(("W", "b"), lambda cells: cells.b[..., 0, :] if cells.name == "bias" else cells.W),
    # The loss from the logits, and from S; the chain of one row.
    "log_S": Cell(("Z",), lambda cells: rounded.log_softmax(cells.Z, cells.forward)),
    "stable_loss": Cell(("Q", "log_S"), lambda cells: _loss(cells.Q, cells.log_S)),
    "loss": Cell(
        ("Q", "S"), lambda cells: _loss(cells.Q, rounded.log(rounded.where(cells.Q.value != 0, cells.S, 1.0)))
    ),
    "DXE": Cell(("Q", "S"), lambda cells: -(cells.Q / cells.S)),
    "DS": Cell(("S",), _softmax_jacobian),
    "Dg": Cell(("X",), _weighted_sum_jacobian),
    "DL": Cell(("DS", "Dg"), lambda cells: cells.DS[..., 0, :, :] @ cells.Dg),
    "flat": Cell(("DXE", "DL"), lambda cells: cells.DXE @ cells.DL),
}


def _downstream(cell: str) -> frozenset[str]:
    """All that is made of a cell, itself among it."""
    reached = {cell}
    for name, cell_after in CELLS.items():
        if reached & {*cell_after.sources}:
            reached.add(name)
    return frozenset(reached)


DOWNSTREAM: Mapping[str, frozenset[str]] = {cell: _downstream(cell) for cell in CELLS}
