"""The loss of all rows of a data set and its gradients: block by block, added up in one fixed tree.

Rows 0 to R - 1 are block 0, and so on.  R follows from the sizes and the type alone, each block is evaluated by the
shortcut as any problem is, under the reduction sum, and the mean divides once, at the end, by counts that are exact.

See docs/data-sets.md, and docs/numerics.md, section 12.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from fractions import Fraction
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import replace

from xegrad import memory
from xegrad.arrays import array_of, is_finite, lent
from xegrad.data_sets import DataSet, Rows
from xegrad.errors import Faults, InputError, refuse
from xegrad.full_batch import bound, tree
from xegrad.full_batch.tree import Nodes, Sums
from xegrad.methods import METHODS, exact, shortcut
from xegrad.methods.exact import affording
from xegrad.methods.exact.nearest import half_ulp
from xegrad.numbers.arithmetic import PRECISIONS, Arithmetic
from xegrad.problem import Layout, Problem
from xegrad.progress import foretell
from xegrad.targets import Array, Targets, as_float, sum_of
from xegrad.vocabulary import AXES, LOSS, SYMBOLS, count

BLOCK = 2**22  # bytes of X and Z in a block, which stay in the cache
FEWEST, MOST = 2**6, 2**16  # rows of a block
OF_EXACT_ROW = 6 * 8  # bytes of each logit of a row that is evaluated exactly, until it is checked
EXACT_ROW = "exact row "  # before the number of one, among the sums


class FullBatch(msgspec.Struct, frozen=True, eq=False, dict=True):
    """What is asked of a data set: gradients of a layer, with the options of its loss.

    Parameters
    ----------
    data : DataSet
    layer : Problem
        Of any two rows: it holds W, b and the options.  `full_batch.layer` makes one.
    names : gradients of W and b
    claimed_in : Arithmetic, optional
        That of a claim: then bounds are summed beside the gradients.
    has_exact : bool
        Blocks are evaluated exactly, so that their sums are off by the rounding of the tree alone.
    n_exact : int
        Of so many rows, evenly spaced, dL/dlogits is evaluated exactly, too.
    has_squares : bool
        sum_b q_b (|x_b|^2 + 1) is added up, the 1 only where there is a b.
    skip_bad : bool
        Rows that cannot be read are left out and counted, and are no error.
    """

    data: DataSet
    layer: Problem
    names: tuple[str, ...] = ("weights",)
    claimed_in: Arithmetic | None = None
    skip_bad: bool = False
    n_exact: int = 0
    has_squares: bool = False
    has_exact: bool = False

    def __post_init__(self) -> None:
        refuse(self._faults())

    def _faults(self) -> Faults:
        if self.data.n_inputs != self.layer.n_inputs:
            yield Layout().wrong_length(self.data.n_inputs, self.layer.n_inputs), "x"
        for name in self.names:
            if "row" in AXES[name]:
                has_rows = f"dL/d{SYMBOLS[name]} has a row for each of {count(self.data.n_rows, 'row')}"
                yield f"{has_rows}; of a data set the gradients are those of W and b", "with_respect_to"
        if self.layer.targets.reduction == "none":
            yield "the reduction none has a loss for each row; of a data set it is mean or sum", "reduction"
        if self.data.has_weights and self.layer.targets.label_smoothing:
            yield (
                "label smoothing is not defined for rows with weights; leave one of them out",
                "label_smoothing",
            )

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """That in which blocks are evaluated: of claims always float64."""
        is_single = self.data.dtype == self.layer.weights.dtype == np.float32
        asked = self.layer.precision or ("float32" if is_single else "float64")
        return np.dtype(asked if self.claimed_in is None else "float64")

    @cached_property
    def rows_of_block(self) -> int:
        """R: a power of two, from N, T and the type of the numbers alone."""
        of_row = self.dtype.itemsize * (self.layer.n_inputs + self.layer.n_classes)
        return min(MOST, max(FEWEST, 2 ** ((BLOCK // of_row).bit_length() - 1)))

    @property
    def n_blocks(self) -> int:
        """How many blocks there are."""
        return -(-self.data.n_rows // self.rows_of_block)

    @property
    def work(self) -> float:
        """An estimate of the seconds that the blocks take, without reading their rows."""
        method, n_rows = exact if self.has_exact else shortcut, min(self.rows_of_block, self.data.n_rows)
        return self.n_blocks * method.work(n_rows, self.layer.n_inputs, self.layer.n_classes)

    @cached_property
    def _plain(self) -> Problem:
        """The layer in this precision."""
        return self.layer.astype(self.dtype)

    def described(self, first: int, last: int) -> str:
        """Which rows those of blocks first to last - 1 are."""
        start, stop = first * self.rows_of_block, min(last * self.rows_of_block, self.data.n_rows)
        return f"rows {start + 1:,} to {stop:,}{self.data.places(start, stop)}"

    def load(self, first: int, last: int) -> list[Rows]:
        """The rows of blocks first to last - 1, where they are kept in memory for several passes."""
        return [*self.data.blocks(first, last, self.rows_of_block)]

    def nodes(
        self, first: int, last: int, loaded: Iterable[Rows] | None = None
    ) -> list[tuple[tuple[int, int], Sums]]:
        """The sums of blocks first to last - 1, as nodes of the tree: what a worker does."""
        nodes: Nodes = {}
        blocks = self.data.blocks(first, last, self.rows_of_block) if loaded is None else loaded
        for index, rows in enumerate(blocks, start=first):
            tree.put(nodes, 0, index, {**self.sums(rows), **self._exact(index, rows)})
        return [*nodes.items()]

    @np.errstate(all="ignore")
    def sums(self, rows: Rows) -> Sums:
        """The loss and the gradients of some rows under the reduction sum, what is counted, and what bounds need."""
        if rows.n_bad and not self.skip_bad:
            raise InputError(f"{rows.bad[0]}; --skip-bad leaves such rows out, and counts them")
        sums: dict[str, Any] = {"rows": np.array(len(rows.inputs)), "bad": np.array(rows.n_bad)}
        if not len(rows.inputs):
            return sums
        problem = self._problem(rows)
        kept = rows.labels if self.layer.targets.ignore_index is None else rows.labels[self._is_kept(rows)]
        sums["labels"] = np.bincount(kept, minlength=problem.n_classes)
        if self.has_squares:
            squares = np.square(problem.inputs, dtype=np.float64).sum(axis=-1) + (problem.bias is not None)
            masses = problem.targets.effective(problem.n_classes, np.dtype(np.float64)).sum(axis=-1)
            sums["squares"] = np.asarray((masses * squares).sum())
        if rows.weights is not None:
            of_classes = self.layer.targets.class_weights
            masses = rows.weights[self._is_kept(rows)] * (1.0 if of_classes is None else of_classes[kept])
            sums["mass"] = np.array(sum_of(masses.tolist()))
        has_bounds = self.claimed_in is not None
        shortcut = METHODS["shortcut"].evaluate(problem, (*self.names, *(["logits"] if has_bounds else [])))
        evaluation = shortcut
        if self.has_exact:
            with affording(0.0):
                evaluation = METHODS["exact"].evaluate(problem, self.names)
        loss = evaluation.loss if self.has_exact else evaluation.losses.sum(dtype=np.float64)
        for name, value in {**evaluation.gradients, LOSS: loss}.items():
            if name in (*self.names, LOSS):
                sums[name] = np.asarray(value, dtype=np.float64)
            if self.has_exact:
                sums[bound.OFF + name] = (evaluation.errors or {}).get(name, half_ulp(sums[name]))
        if self.claimed_in is not None:
            off = self.off_targets(self.claimed_in)
            sums |= bound.of_block(problem, shortcut, self.names, self.claimed_in, off)
        return sums

    def _exact(self, index: int, rows: Rows) -> Sums:
        """Of each row in a block that is evaluated exactly: dL/dlogits, that of the shortcut, and its bound (3, T)."""
        if not self.n_exact or not len(rows.inputs):
            return {}
        n_rows, n_exact = self.data.n_rows, min(self.n_exact, self.data.n_rows)
        start = index * self.rows_of_block
        stop = min(start + self.rows_of_block, n_rows)
        # Row k of K is at (2 k + 1) n / 2 K, rounded down.
        first, last = (-(-2 * n_exact * edge // n_rows) // 2 for edge in (start, stop))
        places = ((2 * k + 1) * n_rows // (2 * n_exact) - start for k in range(first, last))
        chosen = [min(place, len(rows.inputs) - 1) for place in places]
        if not chosen:
            return {}
        weights = None if rows.weights is None else rows.weights[chosen]
        problem = self._problem(Rows(rows.inputs[chosen], rows.labels[chosen], weights))
        by = [METHODS[name].evaluate(problem, ("logits",)).gradients for name in ("exact", "shortcut")]
        by.append(METHODS["shortcut"].bound(problem, ("logits",)).gradients)
        by_row = np.stack([gradients["logits"] for gradients in by], axis=1)
        return {f"{EXACT_ROW}{first + k}": of_row for k, of_row in enumerate(by_row)}

    def off_targets(self, arithmetic: Arithmetic) -> float:
        """Which part of itself each Q is off in an arithmetic."""
        return bound.off_targets(self.layer, arithmetic, self.data.n_rows, is_weighted=self.is_weighted)

    @property
    def is_weighted(self) -> bool:
        """Whether rows count by weights of their own, or of their classes."""
        return self.data.has_weights or self.layer.targets.class_weights is not None

    def _is_kept(self, rows: Rows) -> Any:
        ignored = self.layer.targets.ignore_index
        return slice(None) if ignored is None else rows.labels != ignored

    def _problem(self, rows: Rows) -> Problem:
        """Rows of the layer; the label of one with a weight is a target."""
        plain, targets = self._plain, self.layer.targets
        if rows.weights is None:
            of_rows = replace(targets, labels=lent(rows.labels), reduction="sum")
        else:
            is_label = rows.labels[:, None] == np.arange(plain.n_classes)
            if targets.ignore_index is not None:
                is_label &= (rows.labels != targets.ignore_index)[:, None]
            soft = np.where(is_label, rows.weights[:, None], 0.0)
            of_rows = Targets(soft=lent(soft), class_weights=targets.class_weights, reduction="sum")
        # What came from another process may lie at any address, and BLAS would take it in another order.
        inputs = np.require(rows.inputs, self.dtype, ["C_CONTIGUOUS", "ALIGNED"])
        if inputs.dtype != rows.inputs.dtype and not is_finite(inputs):
            raise InputError(f"x has a number that is larger than {self.dtype.name} holds", "x")
        return replace(plain, inputs=lent(inputs), targets=of_rows)


class Total(msgspec.Struct, frozen=True, eq=False, dict=True):
    """The loss of all rows and its gradients, with what was counted on the way."""

    asked: FullBatch
    sums: Sums

    @property
    def n_rows(self) -> int:
        """The rows that could be read."""
        return int(self.sums["rows"])

    @property
    def n_bad(self) -> int:
        """The rows that could not be read."""
        return int(self.sums["bad"])

    @property
    def n_kept(self) -> int:
        """The rows that count: not those that are ignored."""
        return int(self.sums["labels"].sum()) if "labels" in self.sums else 0

    @property
    def divisor(self) -> float:
        """What the sums are divided by: that of the mean, or 1.

        Raises
        ------
        InputError
            The mean of nothing, or of weights whose sum overflows, or is so small that they lose digits: a row's term
            is then off by the smallest float, which is no smaller part of it than rounding.
        """
        if self.asked.layer.targets.reduction != "mean":
            return 1.0
        if not self.of_mean:
            raise InputError(
                "no row counts: all are ignored, bad, or of weight 0, and their mean is 0/0", "label"
            )
        limits, name = np.finfo(self.asked.dtype), self.asked.dtype.name
        if not self.of_mean <= float(limits.max):
            raise InputError(
                f"the weights of the rows add up to more than {name} holds; divide all of them by a number"
            )
        if self.of_mean < float(limits.smallest_normal):
            raise InputError(
                f"the weights of the rows add up to {self.of_mean:.2g}, and {name} loses digits below "
                f"{float(limits.smallest_normal):.2g}; multiply all of them by a number"
            )
        return self.of_mean

    @cached_property
    def of_mean(self) -> float:
        """What the mean divides by: the rows that count, or their weights."""
        targets = self.asked.layer.targets
        if self.asked.data.has_weights:
            return float(self.sums.get("mass", 0.0))
        if targets.class_weights is None:
            return float(self.n_kept)
        weighed = zip(self.sums["labels"].tolist(), targets.class_weights.tolist(), strict=True)
        return as_float(sum((n * Fraction(weight) for n, weight in weighed if n), Fraction(0)))

    @property
    def loss(self) -> float:
        """The loss."""
        return float(self.sums["loss"]) / self.divisor

    @cached_property
    def gradients(self) -> Mapping[str, Array]:
        """By their names, in the precision that was asked for."""
        with np.errstate(all="ignore"):
            of_names = {name: self.sums[name] / self.divisor for name in self.asked.names}
            return {name: one.astype(self.asked.dtype) for name, one in of_names.items()}

    @property
    def warnings(self) -> list[str]:
        """What is not finite, and which numbers may be too large."""
        is_mean = self.asked.layer.targets.reduction == "mean"
        of_sum = f"a sum over the rows{' before the mean divides it' if is_mean else ''}"
        too_large = f"a logit, or {of_sum}, is beyond the largest number of {self.asked.dtype.name}"
        of_names = {f"dL/d{SYMBOLS[name]}": values for name, values in self.gradients.items()}
        whats = [] if math.isfinite(self.loss) else ["the loss is"]
        for symbol, values in of_names.items():
            if n_broken := int((~np.isfinite(values)).sum()):
                are = "is" if n_broken == 1 else "are"
                whats.append(f"{n_broken} of {count(values.size, 'entry')} of {symbol} {are}")
        return [f"{what} not finite: {too_large}; make W or x smaller" for what in whats]

    def bound(self, name: str, terms: int, arithmetic: Arithmetic) -> Array:
        """How far a gradient, or a "loss", may be from the exact one that was computed in an arithmetic, with so many
        roundings for each term of its sum."""
        claimed_in = self.asked.claimed_in
        assert claimed_in is not None
        part = 1.0 if arithmetic.u == claimed_in.u else arithmetic.u / claimed_in.u
        return bound.from_sums(self.sums, name, arithmetic, terms, part) / self.divisor

    def error(self, name: str) -> Array:
        """How far what is here may be from the exact one: blocks, their tree, and the division."""
        asked, depth, here = self.asked, tree.depth(self.asked.n_blocks), PRECISIONS["float64"]
        if asked.has_exact:
            of_tree = bound.from_sums(self.sums, name, here, depth, 0.0)
            error = (self.sums[bound.OFF + name] + of_tree) / self.divisor
        else:
            error = self.bound(name, min(asked.rows_of_block, asked.data.n_rows) + depth, here)
        size = np.abs(self.loss if name == LOSS else self.gradients[name])
        # Of the divisor and the division; weights of rows by those of classes, their sums in blocks and in the tree.
        rounded = error
        for _ in range(2 + (1 + depth) * asked.data.has_weights):
            rounded = here.rounding(size, rounded)
        # Of an input that is 0 in all rows the gradient is 0, and divided without a rounding.
        return np.where(self.sums[bound.FACTORS + name] == 0, 0, rounded)


def total(asked: FullBatch, parts: Iterable[Iterable[tuple[tuple[int, int], Sums]]]) -> Total:
    """Of the nodes of all blocks, as they come.

    Raises
    ------
    InputError
        No row that can be read.
    XegradError
        The rows that are evaluated exactly take more memory than is allowed.
    """
    if n_exact := min(asked.n_exact, asked.data.n_rows):
        memory.check(asked.layer, OF_EXACT_ROW * n_exact * asked.layer.n_classes)
        seconds = exact.work(n_exact, asked.layer.n_inputs, asked.layer.n_classes)
        foretell("the exact rows take", seconds, "ask for fewer with --exact-rows")
    nodes: Nodes = {}
    for part in parts:
        tree.merge(nodes, part)
    whole = Total(asked, tree.total(nodes))
    if not whole.n_rows:
        n_rows = count(whole.n_bad, "row")
        raise InputError(
            f"no row of the data set is left: {n_rows} cannot be read; without --skip-bad the first says why"
        )
    return whole


def layer(
    weights: Any, bias: Any = None, classes: Any = None, precision: Any = None, **options: Any
) -> Problem:
    """W (N, T), b (T,) and the options of `Targets`, as a problem of two rows that stand for any.

    Examples
    --------
    >>> layer([[1.0, -1.0]], ignore_index=0).targets.labels
    array([1, 1])
    """
    weights = array_of("W", weights)
    label = label_that_counts(weights.shape[-1], options.get("class_weights"), options.get("ignore_index"))
    inputs = np.zeros((2, len(weights)), weights.dtype)
    return Problem(weights, inputs, Targets([label, label], **options), bias, classes, precision)


def label_that_counts(n_classes: int, class_weights: Any = None, ignore_index: int | None = None) -> int:
    """The first label that is not ignored, and has a weight that is not 0; 0 if there is none."""
    weights = np.ones(n_classes) if class_weights is None else np.ravel(class_weights)
    counting = (
        label for label in range(n_classes) if label != ignore_index and weights[label : label + 1].any()
    )
    return next(counting, 0)
