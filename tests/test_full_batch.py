"""Sums over the rows of a data set: the tree, the bounds, and what is judged by them."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from xegrad import Claim, Problem, Targets, Tolerance, bounds, compute, max_memory
from xegrad.data_sets import Rows, in_files, in_memory
from xegrad.errors import InputError, XegradError
from xegrad.full_batch import EXACT_ROW, FullBatch, Total, bound, layer, total, tree, verdict
from xegrad.judgement import RIGHT, UNDECIDED, WRONG
from xegrad.methods import METHODS
from xegrad.numbers.arithmetic import PRECISIONS

Array = Any
BOTH = ("weights", "bias")


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(2026)


def whole(asked: FullBatch) -> Total:
    return total(asked, [asked.nodes(0, asked.n_blocks)])


def by_halves(values: list[Array]) -> Array:
    """The sum of n blocks: that of the first 2^m < n of them, by halves, and that of the rest."""
    if len(values) == 1:
        return values[0]
    first = 2 ** ((len(values) - 1).bit_length() - 1)
    return by_halves(values[:first]) + by_halves(values[first:])


@given(
    st.integers(1, 70),
    st.lists(st.integers(0, 70), max_size=6),
    st.randoms(use_true_random=False),
    st.integers(0, 99),
)
def test_neither_cuts_nor_order_change_a_bit_of_a_sum(n: int, cuts: list[int], order: Any, seed: int) -> None:
    blocks = [*np.random.default_rng(seed).normal(size=(n, 3)) * 10.0 ** np.arange(-8, 1, 4)]
    nodes: tree.Nodes = {}
    runs = [*pairwise(sorted({0, n, *(min(cut, n) for cut in cuts)}))]
    order.shuffle(runs)
    for first, last in runs:
        of_run: tree.Nodes = {}
        these = [*range(first, last)]
        order.shuffle(these)
        for block in these:
            tree.put(of_run, 0, block, {"G": blocks[block]})
        tree.merge(nodes, of_run.items())
    assert tree.total(nodes)["G"].tobytes() == by_halves(blocks).tobytes()
    assert len(nodes) == n.bit_count()


def test_a_block_without_rows_adds_nothing() -> None:
    nodes: tree.Nodes = {}
    tree.put(nodes, 0, 0, {"rows": np.array(0)})
    tree.put(nodes, 0, 1, {"rows": np.array(2), "loss": np.array(1.5)})
    assert tree.total(nodes) == {"rows": 2, "loss": 1.5}


class Data:
    """Rows, a layer and options, as numpy has them."""

    def __init__(
        self, random: np.random.Generator, sizes: tuple[int, int, int], scale: float = 1.0, **options: Any
    ) -> None:
        n_rows, n_inputs, n_classes = sizes
        self.W, self.b = random.normal(size=(n_inputs, n_classes)) * scale, random.normal(size=n_classes)
        self.X, self.y = random.normal(size=(n_rows, n_inputs)), random.integers(0, n_classes, n_rows)
        self.options = options
        self.weights: Array | None = None

    def asked(self, claimed_in: str | None = None, **fields: Any) -> FullBatch:
        data = in_memory(self.X, self.y, self.weights)
        arithmetic = None if claimed_in is None else PRECISIONS[claimed_in]
        return FullBatch(data, layer(self.W, self.b, **self.options), BOTH, arithmetic, **fields)

    @property
    def problem(self) -> Problem:
        if self.weights is None:
            return Problem(self.W, self.X, Targets(self.y, **self.options), self.b)
        is_label = self.y[:, None] == np.arange(self.W.shape[1])
        options = {**self.options, "reduction": "sum"}
        return Problem(self.W, self.X, Targets(soft=is_label * self.weights[:, None], **options), self.b)

    def residual(self, dtype: str) -> Array:
        """dL/dlogits of the mean, or the sum, as people write it: q S - Q."""
        W, X, b = (part.astype(dtype) for part in (self.W, self.X, self.b))
        Z = X @ W + b
        E = np.exp(Z - Z.max(axis=1, keepdims=True))
        S = E / E.sum(axis=1, keepdims=True)
        n_classes = W.shape[1]
        Y = (self.y[:, None] == np.arange(n_classes)).astype(dtype)
        eps = W.dtype.type(self.options.get("label_smoothing", 0.0))
        Y = (1 - eps) * Y + eps / n_classes
        w = np.ones(len(X), dtype)
        if (of_classes := self.options.get("class_weights")) is not None:
            w = np.asarray(of_classes, dtype)[self.y]
            Y = Y * np.asarray(of_classes, dtype) if eps else Y * w[:, None]
        w = w * (self.y != self.options.get("ignore_index"))
        Y = Y * (self.y != self.options.get("ignore_index"))[:, None]
        divisor = w.sum(dtype=dtype) if self.options.get("reduction", "mean") == "mean" else 1
        return (Y.sum(axis=1, keepdims=True) * S - Y) / divisor


# How people add up B products: by BLAS, in order, by halves, in blocks.
SUMS: dict[str, Callable[[Array, Array], Array]] = {
    "BLAS": lambda X, R: X.T @ R,
    "in order": lambda X, R: (X[:, :, None] * R[:, None, :]).cumsum(axis=0)[-1],
    "backwards": lambda X, R: (X[::-1, :, None] * R[::-1, None, :]).cumsum(axis=0)[-1],
    "by halves": lambda X, R: np.array([[(x * r).sum() for r in R.T.copy()] for x in X.T.copy()]),
    "blocks": lambda X, R: sum(
        (X[k : k + 100].T @ R[k : k + 100] for k in range(0, len(X), 100)), 0 * X[:1].T @ R[:1]
    ),
}
OPTIONS: list[dict[str, Any]] = [
    {},
    {"reduction": "sum"},
    {"label_smoothing": 0.1},
    {"class_weights": [0.25, 3.0, 1.0]},
    {"class_weights": [0.25, 3.0, 1.0], "label_smoothing": 0.3},
    {"ignore_index": 1},
    {"ignore_index": 0, "class_weights": [1.0, 0.1, 7.0], "reduction": "sum"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("scale", [0.1, 3.0])
def test_sums_are_those_of_the_problem_in_memory(
    random: np.random.Generator, options: dict[str, Any], scale: float
) -> None:
    data = Data(random, (5000, 4, 3), scale, **options)
    summed = whole(data.asked("float64"))
    exact = METHODS["exact"].evaluate(data.problem, BOTH)
    in_memory_bound = METHODS["shortcut"].bound(data.problem, BOTH)
    computed = compute(data.problem, ["shortcut"]).reported
    for name in BOTH:
        assert (np.abs(summed.gradients[name] - exact.gradients[name]) <= summed.error(name)).all()
        both = summed.error(name) + in_memory_bound.gradients[name]
        assert (np.abs(summed.gradients[name] - computed.gradients[name]) <= both).all()
        assert (summed.error(name) <= 1e-10 * np.abs(exact.gradients[name]).max()).all()
    assert abs(summed.loss - float(exact.loss)) <= float(summed.error("loss")) <= 1e-10 * float(exact.loss)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_no_order_of_a_sum_exceeds_the_bound(
    random: np.random.Generator, options: dict[str, Any], dtype: str
) -> None:
    data = Data(random, (700, 4, 3), 2.0, **options)
    summed = whole(data.asked(dtype))
    exact = METHODS["exact"].evaluate(data.problem, ("weights",)).gradients["weights"]
    bound = summed.bound("weights", 700, PRECISIONS[dtype])
    R, X = data.residual(dtype), data.X.astype(dtype)
    for name, add in SUMS.items():
        assert (np.abs(add(X, R) - exact) <= bound).all(), name
    pairwise_bound = summed.bound("weights", 11, PRECISIONS[dtype])
    assert (np.abs(SUMS["by halves"](X, R) - exact) <= pairwise_bound).all()
    stable = METHODS["shortcut"].bound(Problem(data.W, data.X, data.problem.targets, data.b, precision=dtype))
    # It is no narrower than the bound that is derived step by step, and not much wider.
    ratio = bound / stable.gradients["weights"]
    assert (ratio > 0.9).all() and (ratio < 5).all()


def test_where_rows_lie_in_memory_changes_no_bit(random: np.random.Generator) -> None:
    X, y = random.normal(size=(2048, 150)), random.integers(0, 3, 2048)
    asked = FullBatch(in_memory(X, y), layer(random.normal(size=(150, 3)) / 8), has_squares=True)
    elsewhere = np.empty(X.nbytes + 64, np.uint8)[5 : 5 + X.nbytes].view(np.float64).reshape(X.shape)
    elsewhere[:] = X
    assert not elsewhere.flags.aligned
    [(_, expected)] = asked.nodes(0, 1)
    for same in (elsewhere, np.asfortranarray(X)):
        [(_, sums)] = asked.nodes(0, 1, [Rows(same, y)])
        assert {name: value.tobytes() for name, value in sums.items()} == {
            name: value.tobytes() for name, value in expected.items()
        }


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_bound_of_a_block_is_the_sum_of_its_pieces(
    random: np.random.Generator, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of terms that are no less than 0, no order is off by more than a part 2 gamma_B of the sum."""
    asked = Data(random, (1000, 4, 3), **options).asked("float64")
    at_once = whole(asked).sums
    monkeypatch.setattr(bound, "PIECE", 8 * (4 + 2 * 3) * 7)  # bytes: of seven rows, and six at the end
    for name, of_pieces in whole(asked).sums.items():
        np.testing.assert_allclose(of_pieces, at_once[name], rtol=2 * 1000 * 2.0**-53, atol=0)


def test_weights_of_rows_are_those_of_their_targets(random: np.random.Generator) -> None:
    data = Data(random, (3000, 4, 3))
    data.weights = random.exponential(size=3000)
    summed = whole(data.asked("float64"))
    divisor = float(data.weights.sum())
    exact = METHODS["exact"].evaluate(data.problem, ("weights",))
    difference = summed.gradients["weights"] - exact.gradients["weights"] / divisor
    assert (np.abs(difference) <= summed.error("weights")).all()
    assert summed.divisor == pytest.approx(divisor, rel=1e-14)
    assert summed.loss == pytest.approx(exact.loss / divisor, rel=1e-13)


def test_blocks_follow_from_the_sizes_and_the_type_alone(random: np.random.Generator) -> None:
    sizes = [(20, 10), (784, 10), (1, 2), (10, 9000)]
    rows = [Data(random, (2, *size)).asked().rows_of_block for size in sizes]
    assert rows == [2**14, 2**9, 2**16, 2**6]
    single = Data(random, (2, 20, 10))
    single.W, single.X = single.W.astype(np.float32), single.X.astype(np.float32)
    single.b = single.b.astype(np.float32)
    assert single.asked().rows_of_block == 2**15 and single.asked().dtype == np.float32
    assert single.asked("float32").dtype == np.float64  # what judges a claim


@pytest.mark.parametrize("sizes", [(1, 2, 3), (16384, 20, 10), (16385, 20, 10), (1023, 784, 10)])
def test_the_runs_that_are_summed_change_no_bit(
    random: np.random.Generator, sizes: tuple[int, int, int]
) -> None:
    asked = Data(random, sizes).asked("float64")
    one = whole(asked).sums
    single = total(asked, (asked.nodes(k, k + 1) for k in reversed(range(asked.n_blocks)))).sums
    assert one.keys() == single.keys()
    assert all(one[name].tobytes() == single[name].tobytes() for name in one)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"names": ("inputs",)}, "dL/dx has a row for each of 5 rows"),
        ({"layer": layer(np.eye(3))}, "x has 2 entries in each row but W has 3 rows"),
        ({"layer": layer(np.eye(2), reduction="none")}, "the reduction none has a loss for each row"),
    ],
)
def test_what_no_data_set_has_is_refused(change: dict[str, Any], sentence: str) -> None:
    fields = {"data": in_memory(np.ones((5, 2)), np.zeros(5, int)), "layer": layer(np.eye(2)), **change}
    with pytest.raises(InputError, match=sentence):
        FullBatch(**fields)


@pytest.mark.parametrize(("n_rows", "seconds"), [(10**6, 0.524), (10**7, 5.04)])
def test_the_estimate_is_within_a_factor_of_three_of_what_was_measured(
    tmp_path: Path, n_rows: int, seconds: float
) -> None:
    """benchmarks/RESULTS.md has the measurements: a row of 20 inputs in Parquet, and 10 classes."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    write_table(pa.table({**{f"x{k}": [0.0] for k in range(20)}, "label": [0]}), tmp_path / "a.parquet")
    data = replace(in_files([tmp_path / "a.parquet"], "label", 10), n_rows=n_rows)
    asked = FullBatch(data, layer(np.zeros((20, 10))))
    assert seconds / 3 <= data.work + asked.work <= 3 * seconds
    assert replace(asked, has_exact=True).work > 10 * asked.work


def test_a_mean_of_nothing_is_refused(random: np.random.Generator) -> None:
    data = Data(random, (10, 2, 2), ignore_index=1)
    data.y[:] = 1
    with pytest.raises(InputError, match="no row counts"):
        _ = whole(data.asked()).loss


def judged(data: Data, gradient: Array, tolerance: Tolerance | None = None, **fields: Any) -> str:
    """The outcome of a dL/dW."""
    tolerance = tolerance or Tolerance()
    summed = whole(data.asked(tolerance.precision, **fields))
    verification = verdict.verify(summed, Claim({"W": gradient}), tolerance)
    return verification.judgements["weights"].outcome


@pytest.fixture(scope="module")
def many() -> Data:
    """A million rows in ten shards, the classes of which have weights."""
    return Data(np.random.default_rng(7), (1_000_000, 3, 3), class_weights=[0.5, 2.0, 1.0])


@pytest.fixture(scope="module")
def summed(many: Data) -> Total:
    return whole(many.asked("float64"))


def outcome(summed: Total, gradient: Array, tolerance: Tolerance | None = None) -> str:
    verification = verdict.verify(summed, Claim({"W": gradient}), tolerance or Tolerance())
    assert verification.verified == (verification.judgements["weights"].outcome == RIGHT)
    return verification.judgements["weights"].outcome


def test_no_planted_error_is_right(many: Data, summed: Total) -> None:
    R, X, n_shard = many.residual("float64"), many.X, len(many.X) // 10
    right = X.T @ R
    shifted = Data.__new__(Data)
    shifted.__dict__.update(many.__dict__)
    shifted.y = many.y.copy()
    shifted.y[:n_shard] = (shifted.y[:n_shard] + 1) % 3
    unweighted = Data.__new__(Data)
    unweighted.__dict__.update(many.__dict__, options={})
    masses = np.array(many.options["class_weights"])[many.y]
    planted = {
        "a file left out": X[n_shard:].T @ R[n_shard:] * masses.sum() / masses[n_shard:].sum(),
        "a file left out of the sum alone": X[n_shard:].T @ R[n_shard:],
        "a row doubled": right + np.outer(X[77], R[77]),
        "sum for mean": right * masses.sum(),
        "mean over rows": right * masses.sum() / len(X),
        "class weights ignored": X.T @ unweighted.residual("float64"),
        "the labels of a file shifted": X.T @ shifted.residual("float64"),
    }
    assert outcome(summed, right) == RIGHT
    assert {name: outcome(summed, gradient) for name, gradient in planted.items()} == dict.fromkeys(
        planted, WRONG
    )


# By what all entries are multiplied, of 3,000 rows of which 1 in 3 is ignored, and the name of that.
FACTORS: list[tuple[Callable[[float, float], float], str, str]] = [
    (lambda n_rows, divisor: divisor, "scaled", "the sum in place of the mean"),
    (lambda n_rows, divisor: -divisor, "scaled", "-the sum in place of the mean"),
    (
        lambda n_rows, divisor: divisor / n_rows,
        "scaled",
        "the mean over all rows (3000) in place of the sum of weights",
    ),
    (lambda n_rows, divisor: -1, "sign-flipped", ""),
    (lambda n_rows, divisor: 2, "scaled", "2"),
    (lambda n_rows, divisor: 1.375, "scaled", ""),
]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("factor, slip, name", FACTORS, ids=[name or slip for _, slip, name in FACTORS])
def test_a_number_that_all_entries_are_multiplied_with_is_named(
    random: np.random.Generator, factor: Any, slip: str, name: str, dtype: str
) -> None:
    data = Data(random, (3000, 4, 3), class_weights=[0.25, 3.0, 1.0], ignore_index=1)
    k = factor(3000, float(sum([0.25, 0, 1.0][label] for label in data.y)))
    R = data.residual(dtype)
    claimed = {
        "W": data.X.astype(dtype).T @ R * np.dtype(dtype).type(k),
        "b": R.sum(axis=0) * np.dtype(dtype).type(k),
    }
    verification = verdict.verify(whole(data.asked(dtype)), Claim(claimed), Tolerance(precision=dtype))
    # In float32 the one entry of b beside that which k is fitted to is no evidence of 24 bits.
    for part in BOTH if dtype == "float64" else ("weights",):
        [explanation] = verification.diagnoses[part].explanations
        assert explanation.slips == (slip,)
        assert explanation.parameters.get("k", -1) == pytest.approx(k, rel=1e-3)
        assert explanation.parameters.get("named", "").startswith(name)
        assert ("named" in explanation.parameters) == bool(name)


def test_no_weights_are_named_where_there_are_none(random: np.random.Generator) -> None:
    data = Data(random, (3000, 4, 3), ignore_index=1)
    n_kept = int((data.y != 1).sum())
    claimed = {"W": data.X.T @ data.residual("float64") * n_kept / 3000}
    verification = verdict.verify(whole(data.asked("float64")), Claim(claimed), Tolerance())
    [explanation] = verification.diagnoses["weights"].explanations
    named = f"the mean over all rows (3000) in place of kept rows ({n_kept})"
    assert explanation.parameters["named"] == named


@pytest.mark.parametrize("k", [3000, 1 / 3000], ids=["B", "1/B"])
def test_the_mean_of_weighted_rows_is_not_said_to_be_over_their_number(
    random: np.random.Generator, k: float
) -> None:
    data = Data(random, (3000, 4, 3))
    data.weights = random.exponential(size=3000)
    right = METHODS["exact"].evaluate(data.problem, ("weights",)).gradients["weights"] / data.weights.sum()
    verification = verdict.verify(whole(data.asked("float64")), Claim({"W": k * right}), Tolerance())
    [explanation] = verification.diagnoses["weights"].explanations
    assert explanation.right == "dW = x.T @ dz / weights.sum()"
    assert explanation.wrong == explanation.right + (" * B" if k > 1 else " / B")
    assert explanation.remedy == "Divide by the sum of the rows' weights once, and not by the number of rows."
    assert "row_weights" not in explanation.parameters


def test_what_no_number_makes_right_has_no_name(random: np.random.Generator) -> None:
    data = Data(random, (3000, 4, 3))
    summed, right = whole(data.asked("float64")), data.X.T @ data.residual("float64")
    for wrong in (
        right[:, ::-1],
        right + 0.1,
        2 * right + np.eye(4, 3) * 1e-9,
        2 * right * (1 - np.eye(4, 3)),
        0 * right,
        right * [[1], [1], [1], [2]],
    ):
        assert outcome(summed, wrong) == WRONG
        assert not verdict.verify(summed, Claim({"W": wrong}), Tolerance()).diagnoses
    data.X[:, 2] = 0  # what is exactly 0 is so whatever it is multiplied with
    claim = Claim({"W": 2 * data.X.T @ data.residual("float64")})
    doubled = verdict.verify(whole(data.asked("float64")), claim, Tolerance())
    assert doubled.diagnoses["weights"].names == (("scaled",),)
    # With two classes b has one number, which any factor fits.
    two = Data(random, (3000, 4, 2))
    verification = verdict.verify(
        whole(two.asked("float64")), Claim({"b": 3 * two.residual("float64").sum(axis=0)}), Tolerance()
    )
    assert not verification.verified and not verification.diagnoses


def test_no_order_of_a_right_sum_is_wrong(many: Data, summed: Total) -> None:
    X, R = many.X, many.residual("float64")
    products = {
        "in order": np.array([[np.cumsum(x * r)[-1] for r in R.T] for x in X.T]),
        "blocks": sum(X[k : k + 5000].T @ R[k : k + 5000] for k in range(0, len(X), 5000)),
        "by halves": np.array([[(x * r).sum() for r in R.T.copy()] for x in X.T.copy()]),
    }
    assert {outcome(summed, gradient) for gradient in products.values()} == {RIGHT}


def test_an_entry_that_the_bound_exceeds_is_never_right(random: np.random.Generator) -> None:
    data = Data(random, (50_000, 2, 2))
    data.X[1::2], data.y[1::2] = -data.X[::2], data.y[::2]  # rows cancel, almost
    data.b[:] = 0
    data.W *= 1e-7
    right = METHODS["exact"].evaluate(data.problem).gradients["weights"]
    summed = whole(data.asked("float32"))
    assert (summed.bound("weights", 50_000, PRECISIONS["float32"]) > np.abs(right)).all()
    tolerance = Tolerance("float32")
    assert judged(data, right, tolerance) == UNDECIDED
    assert judged(data, right + 1.0, tolerance) == WRONG


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_blocks_that_are_exact_decide_any_order(random: np.random.Generator, options: dict[str, Any]) -> None:
    data = Data(random, (900, 4, 3), 2.0, **options)
    data.X[:3] *= 100
    asked = data.asked("float64", has_exact=True)
    exact = METHODS["exact"].evaluate(data.problem, BOTH)
    summed = whole(asked)
    for name in BOTH:
        assert (np.abs(summed.gradients[name] - exact.gradients[name]) <= summed.error(name)).all()
        assert (summed.error(name) <= 4 * np.spacing(np.abs(exact.gradients[name]))).all()
    assert abs(summed.loss - float(exact.loss)) <= float(summed.error("loss")) <= 4 * np.spacing(summed.loss)
    by_halves = SUMS["by halves"](data.X, data.residual("float64"))
    assert outcome(summed, by_halves, Tolerance(terms=bounds.pairwise)) == RIGHT


def test_the_rounding_of_the_tree_is_in_the_error(
    random: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xegrad.full_batch.MOST", 8)
    monkeypatch.setattr("xegrad.full_batch.FEWEST", 1)
    data = Data(random, (700, 4, 3), 1e-3)
    data.X[350:], data.y[350:] = -data.X[:350], data.y[:350]  # blocks that cancel
    asked = data.asked("float64", has_exact=True)
    assert asked.n_blocks == 88
    summed, exact = whole(asked), METHODS["exact"].evaluate(data.problem, BOTH)
    off = np.abs(summed.gradients["weights"] - exact.gradients["weights"])
    assert (off <= summed.error("weights")).all()
    assert (off > 1.5 * np.spacing(np.abs(exact.gradients["weights"]))).any()  # more than a division explains


def test_the_sum_of_the_rows_weights_is_in_the_error(random: np.random.Generator) -> None:
    for weight, n_rows in ((1.1, 200), (0.3, 1000)):  # added up by numpy they are off by 3 u of their sum
        data = Data(random, (n_rows, 2, 2))
        data.weights = np.full(n_rows, weight)
        summed = whole(data.asked("float64", has_exact=True))
        of_sum, mass = METHODS["exact"].evaluate(data.problem, BOTH), Fraction(weight) * n_rows
        assert abs(Fraction(summed.of_mean) - mass) <= mass * Fraction(2.0**-53)
        for name in BOTH:
            parts = summed.gradients[name], of_sum.gradients[name], summed.error(name)
            values = zip(*(np.ravel(part).tolist() for part in parts), strict=True)
            assert all(abs(Fraction(g) - Fraction(right) / mass) <= error for g, right, error in values)


def test_some_rows_are_evaluated_exactly(random: np.random.Generator) -> None:
    data = Data(random, (40_000, 5, 3), 4.0)
    asked = data.asked("float64", n_exact=7)
    check = verdict.rows_check(whole(asked))
    assert check is not None and check.passed and "7 rows" in check.name
    rows = [(2 * k + 1) * 40_000 // 14 for k in range(7)]
    some = Problem(data.W, data.X[rows], Targets(data.y[rows], reduction="sum"), data.b)
    expected = METHODS["exact"].evaluate(some, ("logits",)).gradients["logits"]
    assert check.comparison.reference.tobytes() == expected.tobytes()
    assert verdict.rows_check(whole(data.asked("float64"))) is None


@pytest.mark.parametrize("n_exact", [3, 65, 500])
def test_each_block_holds_its_own_of_the_rows_that_are_evaluated_exactly(n_exact: int) -> None:
    """As many numbers as these rows have, whatever the other blocks are."""
    inputs = np.zeros((200, 8192))
    inputs[:, 0] = np.arange(200)
    asked = FullBatch(
        in_memory(inputs, np.zeros(200, int)), layer(np.full((8192, 2), [1e-3, -1e-3])), n_exact=n_exact
    )
    assert asked.n_blocks == 4
    of_blocks = [asked.nodes(block, block + 1) for block in range(4)]
    n_held = [sum(name.startswith(EXACT_ROW) for name in sums) for ((_, sums),) in of_blocks]
    rows = [(2 * k + 1) * 200 // (2 * min(n_exact, 200)) for k in range(min(n_exact, 200))]
    assert n_held == np.bincount(np.array(rows) // 64, minlength=4).tolist()
    check = verdict.rows_check(total(asked, of_blocks))
    assert check is not None
    probabilities = 1 / (1 + np.exp(-2e-3 * np.array(rows)))  # of class 0, which is the label
    np.testing.assert_allclose(check.comparison.reference[:, 1], 1 - probabilities, rtol=1e-12)


def test_rows_that_take_too_much_are_refused_before_any_is_evaluated() -> None:
    data = in_memory(np.broadcast_to(0.0, (10**6, 1)), np.broadcast_to(0, 10**6))
    asked = FullBatch(data, layer([[1.0, 2.0]]), n_exact=10**6)
    with max_memory("50MB"), pytest.raises(XegradError, match="this takes 97 MB with W and x, and 50 MB is"):
        total(asked, iter(()))


def test_a_row_that_cannot_be_read_ends_the_run_or_is_counted() -> None:
    asked = FullBatch(in_memory(np.ones((3, 1)), np.zeros(3, int)), layer([[1.0, 2.0]]))
    rows = Rows(np.ones((2, 1)), np.zeros(2, int), n_bad=1, bad=("a.csv: row 3: x is NaN",))
    with pytest.raises(InputError, match=r"a\.csv: row 3: x is NaN; --skip-bad leaves such rows out"):
        asked.sums(rows)
