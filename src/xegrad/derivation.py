"""The derivation, cell by cell, over numbers that carry their error.

    Z = X W + b        S = softmax(Z)        R = q S - Q        G = X' R, the sum of R, R W', or R

and the same gradient by the chain, DXE = -Q / S, DS = dS/dZ, Dg = dZ/dW, DL = DS Dg, flat = DXE DL.  q is the sum of
the targets Q of a row.  As it stands this is the error bound of any stable computation.  With one cell replaced it
is what a mistake makes of the gradient, with a bound of its own; with a cell that someone claims put in, it is what
follows from that claim.

See docs/numerics.md, section 5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import replace

from xegrad import layer
from xegrad.arrays import blocks
from xegrad.numbers import rounded
from xegrad.numbers.arithmetic import PRECISIONS, UNROUNDED, Arithmetic, cascade
from xegrad.numbers.rounded import Rounded, concatenated, entered, exact, product, summed
from xegrad.numbers.sums import Products
from xegrad.problem import Problem
from xegrad.targets import ALL, Targets


class Cells(msgspec.Struct, eq=False):
    """The cells of one problem; each is computed when it is first asked for.

    `problem` holds W, X and b in float64, `name` says with respect to what G is.  All cells but W, b and Dg are
    (B, T) or larger, with any stack axes in front.
    """

    problem: Problem
    name: str = "weights"
    arithmetic: Arithmetic = PRECISIONS["float64"]
    known: dict[str, Any] = {}
    rows: slice = ALL  # of the batch: the cells may hold some of it, and then G is what these add to it
    passed: layer.Forward | None = None  # that of these rows

    def __post_init__(self) -> None:
        self.problem = self.problem.astype(np.dtype(np.float64))

    def __getattr__(self, cell: str) -> Any:
        if cell not in CELLS:
            raise AttributeError(cell)
        if cell not in self.known:
            self.known[cell] = self._stored(cell, CELLS[cell].formula(self))
        return self.known[cell]

    def _stored(self, cell: str, number: Any) -> Any:
        """A cell once it is rounded to the format in which it is kept, where that is another."""
        other = self.arithmetic.stores(cell) if self.arithmetic.stored else None
        return number if other is None else number.stored(other)

    def _known_without(self, cells: Set[str]) -> dict[str, Any]:
        return {cell: number for cell, number in self.known.items() if cell not in cells}

    def replace(self, cell: str, value: Rounded) -> Cells:
        """The derivation with something else in the place of a cell: what is made of it follows."""
        known = self._known_without(DOWNSTREAM[cell])
        known[cell] = self._stored(cell, value)
        return Cells(self.problem, self.name, self.arithmetic, known, self.rows)

    def of(self, name: str) -> Cells:
        """The same derivation with respect to something else."""
        if name == self.name:
            return self
        self.R  # noqa: B018 (computed here, it is the same for all of them)
        known = self._known_without(DOWNSTREAM["back"] | {"parameter"})
        return Cells(self.problem, name, self.arithmetic, known, self.rows)

    def some(self, rows: slice) -> Cells:
        """The same derivation for some rows of the batch."""
        known = {cell: number for cell, number in self.known.items() if cell in ("W", "b")}
        return Cells(self.problem, self.name, self.arithmetic, known, rows)

    def in_values(self) -> Cells:
        """The same derivation without errors, which cost a fraction of what values with errors do."""
        known = {cell: exact(self.known[cell].value, UNROUNDED) for cell in {"Z", "q"} & self.known.keys()}
        return Cells(self.problem, self.name, UNROUNDED, known)

    def parts(self) -> Iterator[Cells]:
        """The same derivation, for so many rows at a time that their products are quick."""
        several = blocks(self.problem.n_rows, AT_A_TIME // self.problem.n_classes)
        for rows in several:
            some = self.some(rows)
            if "Z" in self.known:
                some.known["Z"] = self.Z[rows]
            elif len(several) == 1:  # there is room to keep them
                self.known["Z"] = some.Z
            yield some

    def few(self) -> Iterator[Cells]:
        """Of cells of some rows, those of a few at a time, with the same Z: all else than products is quick there."""
        first, n_rows = self.rows.start, len(self.Z.value)
        for few in blocks(n_rows, IN_CACHE // self.problem.n_classes):
            fewer = self.some(slice(first + few.start, first + few.stop))
            fewer.known["Z"] = self.Z[few]
            fewer.passed = layer.softmax(fewer.Z.value, np.zeros(()))
            yield fewer

    @property
    def forward(self) -> layer.Forward | None:
        """The forward pass of the problem, if that is where these logits are from."""
        forward = layer.forward(self.problem) if self.rows == ALL else self.passed
        return forward if forward is not None and self.Z.value is forward.logits else None

    @property
    def shape(self) -> tuple[int, int]:
        """The rows and columns of G; that of b has one row."""
        *rows, columns = self.problem.shape_of(self.name)
        return rows[0] if rows else 1, columns

    def gradient(self, rows: Any = slice(None), columns: Any = slice(None)) -> Rounded:
        """G, or some of its rows and columns."""
        if self.name == "weights":
            return product(self.back[..., rows, :], self.R[..., columns], partial=self.partial)
        if self.name == "inputs":
            return product(self.R[..., rows, :], self.back[..., columns], partial=self.partial)
        if self.name == "bias":
            addends = self.R[..., columns].addends(axis=-2)
            return summed([addends], self.problem.n_rows, self.arithmetic, self.partial)
        return self.R[..., rows, :][..., columns]

    @property
    def partial(self) -> float:
        """gamma of the roundings of partial sums: so many, but the last, which is that of the result (5.16)."""
        if self.arithmetic.partial is None:
            return 0.0
        other, count = self.arithmetic.partial
        return float(other.gamma(count(self.problem, self.name) - 1))


# Logits that exist at a time: of the products, which are quick if they are large, and of all else, which is quick if
# it stays in the cache, and if its hundred calls are not too many.
AT_A_TIME, IN_CACHE = 2**22, 2**16


class FromRows:
    """G, from cells that hold some rows of the batch each, so that only these exist at a time.

    Beside the error in one arithmetic there may be that in float64, with the values.  There, R and R^ are off by dR
    and dR^, and p is no less than any (g^ |R| + (1 + g^) dR^) / (g |R| + (1 + g) dR): then |A| times the first is no
    more than p |A| times the second (4.8), and one product with |A| serves both.
    """

    def __init__(self, both: Sequence[Cells]) -> None:
        self.both = both
        self.products = [
            Products(one.problem.n_rows, one.arithmetic, partial=one.partial) for one in self.both
        ]
        self.parts: list[list[Any]] = [[] for _ in self.both]
        self.value: Any = 0.0
        self.part = 0.0  # p

    def add(self, both: Sequence[Cells]) -> None:
        """What these rows add to it, or are of it."""
        name = self.both[0].name
        if name != "weights":
            for parts, one in zip(self.parts, both, strict=True):
                of_name = one.of(name)
                parts.append(of_name.R.addends(axis=-2) if name == "bias" else of_name.G)
            return
        cells, *wide = both[0].of(name), *both[1:]
        self.products[0].add(cells.back, cells.R)
        if wide or cells.arithmetic.sums is not None:
            value = cells.back.value @ cells.R.value
            self.value = value if np.ndim(self.value) == 0 else np.add(self.value, value, out=self.value)

    def compare(self, both: Sequence[Rounded]) -> None:
        """p, of the residuals of a few rows."""
        moves, less = (one.moves(residual) for one, residual in zip(self.products, both, strict=True))
        part = np.divide(less, moves, out=np.where(less == 0, 0.0, np.inf), where=moves != 0).max()
        self.part = max(self.part, float(np.nan_to_num(part, nan=np.inf)))

    @property
    def gradients(self) -> list[Rounded]:
        """In one arithmetic, and in float64 if that is there; the values of dL/dW only then."""
        if self.both[0].name == "weights":
            for one in self.products[1:]:
                one.moved = self.part * self.products[0].moved
            return [Rounded(self.value, one.error(self.value), one.arithmetic) for one in self.products]
        pairs = list(zip(self.both, self.parts, strict=True))
        if self.both[0].name == "bias":
            return [summed(parts, one.problem.n_rows, one.arithmetic, one.partial) for one, parts in pairs]
        return [concatenated(parts) for _, parts in pairs]


def row_by_row(
    cells: Cells, names: Sequence[str], wide: Cells | None = None
) -> list[dict[str, Rounded]] | None:
    """The "loss", the "losses" and these G, the rows taken a few at a time; in float64 too, if these cells are there.

    Nothing if a sum may be near overflow, of which more must be known.
    """
    both = [cells] if wide is None else [cells, wide]
    begun = {name: FromRows([Cells(one.problem, name, one.arithmetic) for one in both]) for name in names}
    losses: list[list[Rounded]] = [[] for _ in both]
    for rows in blocks(cells.problem.n_rows, AT_A_TIME // cells.problem.n_classes):
        some = [one.some(rows) for one in both]
        if wide is not None:
            some[1].known["Z"] = logits_in(wide.arithmetic, some[0])
        residuals: list[list[Rounded]] = [[] for _ in both]
        is_asked = [
            one is some[0] or {*names} != {"weights"} for one in some
        ]  # of dL/dW p says enough in float64
        for few in blocks(rows.stop - rows.start, IN_CACHE // cells.problem.n_classes):
            passed = layer.softmax(some[0].Z.value[few], np.zeros(()))
            for k, one in enumerate(both):
                fewer = one.some(slice(rows.start + few.start, rows.start + few.stop))
                fewer.known["Z"], fewer.passed = some[k].Z[few], passed
                fewer.known["Z"].value = passed.logits  # the same in all arithmetics
                residuals[k] = [*(residuals[k] if is_asked[k] else ()), fewer.R]
                losses[k].append(fewer.stable_losses)
            if wide is not None and "weights" in begun:
                begun["weights"].compare([parts[-1] for parts in residuals])
        for of_rows, parts, is_needed in zip(some, residuals, is_asked, strict=True):
            del of_rows.known["Z"]  # before what comes after it
            if is_needed:
                of_rows.known["R"] = concatenated(parts)
        del residuals, parts, fewer, passed
        for sums in begun.values():
            sums.add(some)
        del some, of_rows
    if any(np.ndim(sums.products[0].size) for sums in begun.values()):
        return None
    results = []
    for one, parts in zip(both, losses, strict=True):
        together = concatenated(parts)
        of_all = Cells(one.problem, one.name, one.arithmetic, {"stable_losses": together})
        results.append({"losses": together, "loss": of_all.stable_loss})
    for name, sums in begun.items():
        for result, gradient in zip(results, sums.gradients, strict=True):
            result[name] = gradient
    return results


class Gathered:
    """G, or some of its rows and columns, from cells that hold some rows of the batch each.

    Of the gradients that have a row for each row of the batch, these are all rows of the cells.
    """

    def __init__(self, cells: Cells, rows: Any = ALL, columns: Any = ALL):
        self.name, self.rows, self.columns = cells.name, rows, columns
        self.n_rows, self.arithmetic, self.partial = cells.problem.n_rows, cells.arithmetic, cells.partial
        self.products = Products(self.n_rows, self.arithmetic, partial=self.partial)
        self.value: Any = 0.0
        self.several: list[Any] = []

    def add(self, back: Cells, residuals: Rounded) -> None:
        """What the residuals of some rows add to it, or are of it; `back` carries them back."""
        if self.name == "weights":
            residuals, carrying = residuals[..., self.columns], back.back[..., self.rows, :]
            self.value = self.value + carrying.value @ residuals.value
            if self.arithmetic.rounds:
                self.products.add(carrying, residuals)
        elif self.name == "bias":
            self.several.append(residuals[..., self.columns].addends(axis=-2))
        elif self.name == "inputs":
            carrying = back.back[..., self.columns]
            self.several.append(product(residuals, carrying, partial=self.partial))
        else:
            self.several.append(residuals[..., self.columns])

    @property
    def gradient(self) -> Rounded:
        """The sum, or one part after the other; without a bound where a sum may be near overflow."""
        if self.name == "bias":
            return summed(self.several, self.n_rows, self.arithmetic, self.partial)
        if self.name != "weights":
            return concatenated(self.several)
        if not self.arithmetic.rounds:
            return exact(self.value, self.arithmetic)
        gradient = Rounded(self.value, self.products.error(self.value), self.arithmetic)
        return gradient.less_certain(np.inf) if np.ndim(self.products.size) else gradient


def logits_in(arithmetic: Arithmetic, cells: Cells) -> Rounded:
    """Z in an arithmetic in which W, x and b are exact: its g is a part of the other's, and so is its error (4.8).

    Not if the other adds up in a wider format, and then rounds: it is g alone that is a part.
    """
    if cells.arithmetic.sums is not None:
        exactly = Cells(cells.problem, cells.name, arithmetic, {}, cells.rows)
        return product(exactly.X, exactly.W, exactly.b, cells.Z.value)
    g, of_cells = (Products(cells.problem.n_inputs, one, cells.b).g for one in (arithmetic, cells.arithmetic))
    underflow = cells.problem.n_inputs * arithmetic.adding.eta
    return Rounded(cells.Z.value, g / of_cells * cells.Z.errors + underflow, arithmetic)


class Cell(msgspec.Struct, frozen=True):
    """What a cell is made of, and how."""

    sources: tuple[str, ...]
    formula: Callable[[Cells], Any]


def effective_targets(cells: Cells, targets: Targets) -> Rounded:
    """Q of these targets, with what folding the options of the loss into it rounds.

    Where Q is kept in another format it is computed in that (5.15): one over a count that the format holds is rounded
    once, and not at all if it is a power of two; all else by its rules, with two roundings for the order.
    """
    n_classes, other, rows = cells.problem.n_classes, cells.arithmetic.stores("Q"), cells.rows

    def number(array: Any) -> Rounded:
        return entered(array, cells.arithmetic)

    if other is None and targets.soft is None and targets.class_weights is None:
        # All classes of a row but its label are alike.
        both = targets.folded(number, np.array([0.0, 1.0]), n_classes, rows)
        is_label = targets.is_label(n_classes, rows)
        return both.moved(lambda part: np.where(is_label, part[..., 1:], part[..., :1]))
    if other is None:
        return targets.over(number, n_classes, rows)
    counts = np.asarray(targets.kept.sum(axis=-1), dtype=np.float64)
    plain = targets.soft is None and not targets.label_smoothing and targets.class_weights is None
    if plain and other.holds(counts).all():
        return exact(targets.effective(n_classes, counts.dtype, rows), cells.arithmetic)
    narrow = targets.over(lambda array: entered(array, other), n_classes, rows)
    return Rounded(narrow.value, narrow.in_any_way(2, 2).error, cells.arithmetic)


def _mass(cells: Cells) -> Rounded:
    """The sum of the targets of each row, which needs not all of Q at a time."""
    n_classes = cells.problem.n_classes
    if "Q" not in cells.known and cells.rows == ALL and cells.problem.n_rows * n_classes > AT_A_TIME:
        return concatenated([part.q for part in cells.parts()])
    return cells.Q.sum(axis=-1, keepdims=True)


def _bias(cells: Cells) -> Rounded:
    bias = cells.problem.bias
    return exact(0.0, cells.arithmetic) if bias is None else entered(bias[..., None, :], cells.arithmetic)


def _logits(cells: Cells) -> Rounded:
    bias = None if cells.problem.bias is None else cells.b
    logits = layer.forward(cells.problem).logits if cells.rows == ALL else None
    if bias is None or (other := cells.arithmetic.stores("products")) is None:
        return product(cells.X, cells.W, bias, logits)
    with_bias = product(cells.X, cells.W).stored(other) + bias
    return Rounded(with_bias.value if logits is None else logits, with_bias.error, cells.arithmetic)


def residual(cells: Cells) -> Rounded:
    """q S - Q, or whatever comes to the same: q is added up and S multiplied in T + 4 roundings at most."""
    n_classes = cells.problem.n_classes
    if cells.arithmetic.is_careful:
        formed = _careful_residual(cells)
    else:
        formed = (cells.q * cells.S - cells.Q).in_any_way(4, 4 + (n_classes + 4) * cells.q.value, n_classes)
    if not cells.arithmetic.dropped_below:
        return formed
    # What is below a threshold may count as 0 (5.17).
    threshold = cells.arithmetic.dropped_below * (cells.q.value + cells.q.error)
    return formed.less_certain(np.minimum(np.abs(formed.value), threshold + formed.error))


def _careful_residual(cells: Cells) -> Rounded:
    """P S - Q (1 - S), P the sum of the other Q: only a target that is near its S is lost (7.2)."""
    arithmetic, Q = cells.arithmetic, cells.Q
    n_targets = (Q.value != 0).sum(axis=-1, keepdims=True)
    others = layer.other_targets(Q.value)
    error = layer.other_targets(Q.errors) + arithmetic.gamma(n_targets) * others
    others_have = Rounded(others, np.where(n_targets > 1, error, 0.0), arithmetic)
    # Of a log S that is rounded, 1 - S has no more digits than S.
    is_kept = arithmetic.stores("log_S") is None
    complements = rounded.complements(cells.Z, cells.E)
    complements = complements if is_kept else Rounded(complements.value, cells.S.error, arithmetic)
    return others_have * cells.S - Q * complements


def _probabilities(cells: Cells) -> Rounded:
    """softmax(Z), or exp of a log S that was rounded: S times exp of what its own roundings come to (5.13)."""
    probabilities, other = rounded.softmax(cells.Z, cells.E), cells.arithmetic.stores("log_S")
    if other is None:
        return probabilities
    logits = exact(cells.Z.value, cells.arithmetic)
    off = rounded.exponentials(logits, cells.E.forward)
    logarithm = _logarithm(cells, rounded.log_softmax(logits, off)).stored(other)
    # What is rounded is log S of logits that are off themselves.
    size = rounded.log_softmax(cells.Z, cells.E).error
    moved = np.expm1(logarithm.error + other.u * size + 8 * cells.arithmetic.u)
    return probabilities.less_certain((probabilities.value + probabilities.error) * moved)


def _logarithm(cells: Cells, log_probabilities: Rounded) -> Rounded:
    """log S of a sum of exponentials that is rounded to another format, as its logarithm is (5.14)."""
    other = cells.arithmetic.stores("log_sum")
    if other is None:
        return log_probabilities
    log_sum = -log_probabilities.value.max(axis=-1, keepdims=True)
    # A sum that is off by u of itself moves its logarithm by u / (1 - u), and then that is rounded.
    off = other.u / (1 - other.u)
    return log_probabilities.less_certain(other.rounding(log_sum, off) + other.u * log_probabilities.error)


def _losses(targets: Rounded, logarithms: Rounded) -> Rounded:
    """-sum Q log S of each row, over Q != 0."""
    return -rounded.where(_is_target(targets), targets * logarithms, 0.0).sum(axis=-1)


def _is_target(targets: Rounded) -> Any:
    """Which targets are not exactly 0: one that underflows is off by its error."""
    return (targets.value != 0) | (targets.error != 0)


def _stable_losses(cells: Cells) -> Rounded:
    """Those from the logits, in the format in which they are added up, sixteen at a time."""
    other = cells.arithmetic.stores("stable_loss")
    other = cells.arithmetic if other is None else replace(other, terms=cascade)
    parts = (Rounded(part.value, part.error, other) for part in _at_targets(cells))
    return _losses(*parts)


def _at_targets(cells: Cells) -> tuple[Rounded, Rounded]:
    """Q and log S; of rows that have one target each and no more, there alone, since all else adds an exact 0."""
    is_target = _is_target(cells.Q)
    is_formed = "log_S" in cells.known or cells.arithmetic.stored or cells.Q.shape != cells.Z.shape
    if is_formed or is_target.sum(axis=-1).max() > 1:
        return cells.Q, cells.log_S
    classes = is_target.argmax(axis=-1)[..., None]
    targets = cells.Q.moved(lambda array: np.take_along_axis(array, classes, axis=-1))
    return targets, rounded.log_softmax(cells.Z, cells.E, classes)


def _softmax_jacobian(cells: Cells) -> Rounded:
    """S_t (delta_ti - S_i), (..., T, T), of each row."""
    return cells.S[..., :, None] * (np.eye(cells.problem.n_classes) - cells.S[..., None, :])


def _weighted_sum_jacobian(cells: Cells) -> Rounded:
    """Row t holds x in columns t N to t N + N - 1, of the only row of X."""
    return cells.X.moved(lambda inputs: np.kron(np.eye(cells.problem.n_classes), inputs))


CELLS: Mapping[str, Cell] = {
    "X": Cell((), lambda cells: entered(cells.problem.inputs[..., cells.rows, :], cells.arithmetic)),
    "W": Cell((), lambda cells: entered(cells.problem.weights, cells.arithmetic)),
    "b": Cell((), _bias),
    "Q": Cell((), lambda cells: effective_targets(cells, cells.problem.targets)),
    "q": Cell(("Q",), _mass),
    "Z": Cell(("X", "W", "b"), _logits),
    "E": Cell(("Z",), lambda cells: rounded.exponentials(cells.Z, cells.forward)),
    "S": Cell(("Z", "E"), _probabilities),
    "R": Cell(("q", "S", "Q"), residual),
    # By what R is carried back: W' for X, X' for W, and nothing for b and the logits.
    "back": Cell(("X", "W"), lambda cells: cells.W.T if cells.name == "inputs" else cells.X.T),
    "G": Cell(("back", "R"), lambda cells: cells.gradient()),
    # What G updates: W or b, in the shape of G.
    "parameter": Cell(("W", "b"), lambda cells: cells.b[..., 0, :] if cells.name == "bias" else cells.W),
    # The loss from the logits, and from S; the chain of one row.
    "log_S": Cell(("Z", "E"), lambda cells: _logarithm(cells, rounded.log_softmax(cells.Z, cells.E))),
    "stable_losses": Cell(("Q", "Z", "E", "log_S"), _stable_losses),
    "stable_loss": Cell(("stable_losses",), lambda cells: cells.stable_losses.sum(axis=-1)),
    "loss": Cell(
        ("Q", "S"),
        lambda cells: _losses(cells.Q, rounded.log(rounded.where(_is_target(cells.Q), cells.S, 1.0))).sum(-1),
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
