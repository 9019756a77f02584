"""Products of slices are exact; what is left is within its bound, against integers; threads and kernels agree."""

from __future__ import annotations

import io
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from xegrad.numbers import products
from xegrad.numbers.doubleword import U, nearest
from xegrad.numbers.products import Words
from xegrad.targets import Array

LAST_BIT = 1074  # every float is a multiple of 2**-1074
Family = Callable[[np.random.Generator, tuple[int, int], tuple[int, int]], tuple[Array, Array]]


def integers(a: Array | None) -> Any:
    """The same over 2**1074, in Python's integers; 0 for low words that are not there."""

    def integer(value: float) -> int:
        numerator, denominator = value.as_integer_ratio()
        return numerator * (2**LAST_BIT // denominator)

    return (
        0 if a is None else np.array([integer(x) for x in a.ravel().tolist()], dtype=object).reshape(a.shape)
    )


def exact_product(a: Words, b: Words) -> Any:
    """A B over 2**2148."""
    return (integers(a[0]) + integers(a[1])) @ (integers(b[0]) + integers(b[1]))


def check(a: Words, b: Words, slices: int) -> None:
    """Every error is within its bound."""
    exact = exact_product(a, b)
    for tile in products.tiles(a, b, slices):
        computed = (integers(tile.high) + integers(tile.low)) * 2**LAST_BIT
        errors = abs(computed - exact[..., tile.rows, tile.columns])
        assert np.all(errors <= integers(tile.left) @ integers(tile.right))
        assert np.all(np.abs(tile.low) <= U * np.abs(tile.high) + 2.0**-1074)


def normal(random: np.random.Generator, a: tuple[int, int], b: tuple[int, int]) -> tuple[Array, Array]:
    return random.normal(size=a), random.normal(size=b)


def of_few_digits(random: np.random.Generator, a: tuple[int, int], b: tuple[int, int]) -> tuple[Array, Array]:
    """float32 times bfloat16."""
    x, y = normal(random, a, b)
    return x.astype(np.float32).astype(float), np.rint(y * 2**6) / 2**6


def sparse(random: np.random.Generator, a: tuple[int, int], b: tuple[int, int]) -> tuple[Array, Array]:
    """Rows and columns of few numbers, and some of none."""
    x, y = normal(random, a, b)
    return x * (random.random(a) < 0.02), y * (random.random(b) < 0.1)


def unlike(random: np.random.Generator, a: tuple[int, int], b: tuple[int, int]) -> tuple[Array, Array]:
    """Each number of a scale of its own."""
    x, y = normal(random, a, b)
    return x * np.exp(30 * random.normal(size=a)), y * np.exp(3 * random.normal(size=b))


def opposite(random: np.random.Generator, a: tuple[int, int], b: tuple[int, int]) -> tuple[Array, Array]:
    """Columns of A and rows of B of opposite scales."""
    x, y = normal(random, a, b)
    scale = 2.0 ** random.integers(-400, 400, size=a[1])
    return x * scale, y / scale[:, None]


def cancelling(random: np.random.Generator, a: tuple[int, int], b: tuple[int, int]) -> tuple[Array, Array]:
    """Sums 10**20 times smaller than their terms, as half of them are the others with the other sign."""
    x, y = normal(random, a, b)
    half = a[1] // 2
    x[:, half : 2 * half], y[half : 2 * half] = x[:, :half], -y[:half]
    return x * (1 + U * random.integers(0, 3, size=a)), y


def huge(random: np.random.Generator, a: tuple[int, int], b: tuple[int, int]) -> tuple[Array, Array]:
    """Numbers whose splitting overflows, against numbers whose products are then of any size."""
    x, y = normal(random, a, b)
    return x * 2.0**1010, y * 2.0**-900


def with_squares_that_overflow(
    random: np.random.Generator, a: tuple[int, int], b: tuple[int, int]
) -> tuple[Array, Array]:
    x, y = normal(random, a, b)
    return x * 2.0**520, y * 2.0 ** random.integers(-560, 400, size=(1, b[1]))


def subnormal(random: np.random.Generator, a: tuple[int, int], b: tuple[int, int]) -> tuple[Array, Array]:
    x, y = normal(random, a, b)
    return x * 2.0**-1060, y * 2.0**1000


def faint_rows(random: np.random.Generator, a: tuple[int, int], b: tuple[int, int]) -> tuple[Array, Array]:
    """Rows and columns of every scale at once."""
    x, y = normal(random, a, b)
    return x * 2.0 ** random.integers(-700, 400, size=(a[0], 1)), y * 2.0 ** random.integers(
        -300, 500, size=(1, b[1])
    )


def at_the_edge(random: np.random.Generator, a: tuple[int, int], b: tuple[int, int]) -> tuple[Array, Array]:
    """Numbers next to powers of two, of all digits: slices as large as they can be."""
    near = 1 - U * random.integers(0, 3, size=a), 1 + 2 * U * random.integers(0, 3, size=b)
    return near[0] * random.choice([-1, 1], size=a), near[1] * random.choice([-1, 1], size=b)


def with_subnormal_products(
    random: np.random.Generator, a: tuple[int, int], b: tuple[int, int]
) -> tuple[Array, Array]:
    """A few times 2**-1074, of which half is lost."""
    return np.full(a, 1.5 * 2.0**-537), 2.0**-537 * random.choice([-1, 0, 1], size=b)


FAMILIES: list[Family] = [
    normal, of_few_digits, sparse, unlike, opposite, cancelling, huge, with_squares_that_overflow, subnormal,
    faint_rows, at_the_edge, with_subnormal_products,
]  # fmt: skip
SHAPES = [((2, 1), (1, 3)), ((3, 128), (128, 2)), ((2, 300), (300, 3))]


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(20)


@pytest.mark.parametrize("slices", [2, 3])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_errors_are_within_their_bounds(family: Family, slices: int, random: np.random.Generator) -> None:
    for shape in SHAPES:
        a, b = family(random, *shape)
        check((a, None), (b, None), slices)
        low = a * U * random.uniform(-2, 2, size=a.shape), b * U * random.uniform(-2, 2, size=b.shape)
        check((a, low[0]), (b, low[1]), slices)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_bounds_are_small(family: Family, random: np.random.Generator) -> None:
    """No more than 2**-90 of the product of the norms: balanced for `opposite`, where the plain ones are of no use."""
    a, b = family(random, (3, 128), (128, 2))
    [(*_, left, right)] = products.tiles((a, None), (b, None), 2)
    if family is opposite:
        scale = np.ldexp(1.0, -np.frexp(np.abs(a).max(axis=0))[1])
        a, b = a * scale, b / scale[:, None]
    bounds, size = integers(left) @ integers(right), 2 ** (2 * LAST_BIT)
    for i, row in enumerate(integers(a)):
        for j, column in enumerate(integers(b).T):
            norms = math.isqrt(sum(x * x for x in row)) * math.isqrt(sum(x * x for x in column))
            assert bounds[i, j] <= norms // 2**90 + size // 2**530


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_products_of_slices_are_exact(family: Family, random: np.random.Generator) -> None:
    a, b = family(random, (9, 128), (128, 7))
    a, b = a / np.abs(a).max(initial=1e-300), b / np.abs(b).max(initial=1e-300)
    left, right = (
        products._sliced((x, None), axis, bits, 3, products.Buffers())
        for x, axis, bits in ((a, -1, products.LEFT_BITS), (b, -2, products.RIGHT_BITS))
    )
    for x, cut in ((a, left), (b, right)):
        parts = sum(integers(part) for part in cut.parts)
        assert (parts + integers(cut.rests[-1]) == integers(x)).all()
    for i, first in enumerate(left.parts):
        for j, second in enumerate(right.parts):
            exact = integers(first) @ integers(second)
            assert (integers(first @ second) * 2**LAST_BIT == exact).all(), (i, j)
            backwards = first[:, ::-1] @ second[::-1]
            one_by_one = np.sum([np.outer(*pair) for pair in zip(first.T, second, strict=True)], axis=0)
            assert np.array_equal(first @ second, backwards) and np.array_equal(first @ second, one_by_one)


def test_a_slice_is_no_larger_than_leaves_room_for_every_sum(random: np.random.Generator) -> None:
    """sum |a| |b| <= 2**53 units (9.21), for rows as long as can be with all their norm in one number, or in all."""
    rows = [np.r_[size, np.zeros(127)] for size in (1 - U, 1 - 2.0**-9.5, 1 - 2.0**-10.5, 1 - 2.0**-11.5)]
    for row in (np.ones(128), np.full(128, 1 - U), *rows, random.normal(size=128)):
        norms, units = [], []
        for bits in (products.LEFT_BITS, products.RIGHT_BITS):
            part = products._sliced((row[None], None), -1, bits, 2, products.Buffers()).parts[0][0]
            exponent = np.frexp(np.linalg.norm(row) * (1 + 2.0**-10))[1]
            units.append(2.0 ** (int(exponent) - bits))
            assert (part / units[-1] == np.rint(part / units[-1])).all()
            norms.append(math.isqrt(sum(int(x) ** 2 for x in part / units[-1])) + 1)
        assert norms[0] * norms[1] <= 2**53


def test_stacks_are_formed_as_one(random: np.random.Generator) -> None:
    a, b = random.normal(size=(4, 3, 20)), random.normal(size=(4, 20, 5))
    a[0] *= 2.0**600
    check((a, None), (b, b * U), 2)
    [tile] = products.tiles((a, None), (b, None), 2)
    assert (tile.high.shape, tile.left.shape[:-1], tile.right.shape[-1]) == ((4, 3, 5), (4, 3), 5)


def test_large_products_are_formed_in_parts(
    random: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = random.normal(size=(50, 40)), random.normal(size=(40, 70)) * np.exp(random.normal(size=70) * 200)
    monkeypatch.setattr(products, "WIDTH", 32)
    assert len([*products.tiles((a, None), (b, None), 2)]) == 6
    check((a, None), (b, None), 2)


def test_operands_stay_as_they_are_and_may_be_float32(random: np.random.Generator) -> None:
    a, b = random.normal(size=(5, 200)).astype(np.float32), random.normal(size=(200, 6))
    low = b * U
    given: list[Any] = [a, b, low]
    before = [array.copy() for array in given]
    for array in given:
        array.flags.writeable = False
    [computed] = products.tiles((a, None), (b, low), 3)
    for array, was in zip(given, before, strict=True):
        np.testing.assert_array_equal(array, was)
    [widened] = products.tiles((a.astype(float), None), (b, low), 3)
    for one, other in zip(computed[2:], widened[2:], strict=True):
        np.testing.assert_array_equal(one, other)


def test_nothing_is_certain_of_what_overflows(random: np.random.Generator) -> None:
    a, b = random.normal(size=(3, 5)), random.normal(size=(5, 4))
    a[0, 0], a[1, 0], a[2], b[:, 3] = np.inf, np.nan, 2.0**600, 2.0**600
    [(*_, high, low, left, right)] = products.tiles((a, None), (b, None), 2)
    with np.errstate(all="ignore"):
        certain = nearest(high, low, left @ right)[1]
    assert not certain[:2].any() and not certain[2, 3] and certain[2, :3].all()


CHILD = """
import io, sys, numpy as np
from xegrad.numbers import products, doubleword
a, b = np.load(io.BytesIO(sys.stdin.buffer.read())).values()
*_, high, low, left, right = next(products.tiles((a, None), (b, None), 2))
np.savez(sys.stdout.buffer, *doubleword.nearest(high, low, left @ right))
"""
MACHINES = [
    {"OPENBLAS_NUM_THREADS": "1"},
    {"OPENBLAS_NUM_THREADS": "2"},
    # Without fused operations, with them, and with 8 numbers at a time.  A kernel that the processor lacks is not
    # chosen, or, by an old OpenBLAS, ends the process.
    *({"OPENBLAS_CORETYPE": kernel} for kernel in ("Nehalem", "Haswell", "SkylakeX")),
]


def test_certain_values_do_not_depend_on_threads_or_kernels(random: np.random.Generator) -> None:
    a, b = normal(random, (90, 300), (300, 100))
    sent = io.BytesIO()
    np.savez(sent, a, b)
    exact = exact_product((a[:5], None), (b, None)).ravel()
    nearest_floats = np.reshape(
        [x / 2 ** (2 * LAST_BIT) for x in exact], (5, 100)
    )  # Python rounds these correctly
    computed = []
    for machine in MACHINES:
        child = subprocess.run(
            [sys.executable, "-c", CHILD],
            input=sent.getvalue(),
            capture_output=True,
            env={**os.environ, **machine},
            check=False,
        )
        if child.returncode == -signal.SIGILL and machine == MACHINES[-1]:
            continue
        child.check_returncode()
        values, certain = np.load(io.BytesIO(child.stdout)).values()
        assert certain.mean() > 0.999
        assert (values[:5] == nearest_floats)[certain[:5]].all()
        computed.append((values, certain))
    for values, certain in computed[1:]:
        assert (values == computed[0][0])[certain & computed[0][1]].all()


def rests(a: Array, bits: int, slices: int) -> list[Any]:
    """2-norms of R_0 to R_p of the rows of A, each R what the multiples of 2**(e - bits) next to the last leave."""
    norms = [np.linalg.norm(a, axis=1)]
    for _ in range(slices):
        unit = np.ldexp(1.0, np.frexp(norms[-1] * (1 + 2.0**-10))[1] - bits)[:, None]
        a = a - np.rint(a / unit) * unit
        norms.append(np.linalg.norm(a, axis=1))
    return norms


@pytest.mark.parametrize("slices", [2, 3])
@pytest.mark.parametrize("n_chunks", [1, 3, 6])
def test_the_bound_is_its_formula(slices: int, n_chunks: int, random: np.random.Generator) -> None:
    """(9.23), but for 2**-20 of it and of each norm."""
    length = {2: 128, 3: 512}[slices]
    a, b = normal(random, (3, length * n_chunks), (length * n_chunks, 2))
    [(*_, left, right)] = products.tiles((a, None), (b, None), slices)
    group, of_total = min(4, n_chunks), slices * (slices + 1) // 2
    each = of_total + slices + 1
    exact = (each * group + 1) * U
    ordinary = exact + (length + 8) * U
    bound: Any = 0
    size: Any = 0
    more = 1 + 2.0**-8
    for k in range(n_chunks):
        chunk = slice(k * length, (k + 1) * length)
        R, S = rests(a[:, chunk], 26, slices), rests(b[chunk].T, 27, slices)
        pairs = [(0, slices, ordinary), (slices, 0, ordinary), (1, slices - 1, exact), (2, slices, more)]
        pairs += [(2, 1, ordinary)] if slices == 3 else []
        size = size + np.outer(R[0], S[0])
        bound = bound + sum(weight * np.outer(R[i], S[j]) for i, j, weight in pairs)
    n_groups = math.ceil(n_chunks / group)
    bound = bound + n_groups * each * (group + of_total * group * (group + 1) / 2) * U**2 * size * more
    np.testing.assert_array_less(1, left @ right / bound)
    np.testing.assert_allclose(left @ right, bound, rtol=2.0**-17)


@pytest.mark.parametrize(("n_chunks", "n_groups"), [(1, 1), (4, 1), (5, 2), (8, 2), (9, 3)])
def test_the_low_word_is_cleared_after_four_chunks_and_at_the_end(
    n_chunks: int, n_groups: int, random: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """(9.23): beside the three products of each chunk that go to the running sum."""
    accumulate, calls = products._accumulate, []

    def counted(*arrays: Array) -> None:
        calls.append(arrays)
        accumulate(*arrays)

    monkeypatch.setattr(products, "_accumulate", counted)
    a, b = normal(random, (2, 128 * n_chunks), (128 * n_chunks, 3))
    list(products.tiles((a, None), (b, None), 2))
    assert len(calls) == 3 * n_chunks + n_groups


def test_arrays_are_used_again_if_they_are_large_enough() -> None:
    buffers = products.Buffers()
    first = buffers.empty("a", (3, 4))
    assert first.shape == (3, 4) and np.shares_memory(first, buffers.empty("a", (2, 5)))
    assert not np.shares_memory(first, buffers.empty("b", (3, 4)))
    larger = buffers.empty("a", (13,))
    assert larger.shape == (13,) and not np.shares_memory(first, larger)
    turned = buffers.empty("a", (2, 3, 2), transposed=True)
    assert turned.shape == (2, 3, 2) and turned.swapaxes(-1, -2).flags.c_contiguous
    assert np.shares_memory(larger, turned)


@pytest.mark.parametrize(
    ("scale", "is_comfortable"), [(2.0**-249, True), (2.0**-251, False), (2.0**399, True)]
)
@pytest.mark.parametrize("side", [0, 1])
def test_rows_and_columns_are_scaled_where_their_norm_is_small_or_large(
    scale: float, is_comfortable: bool, side: int
) -> None:
    """9.6: beyond 2^-250 to 2^400; a row of zeros is none of them."""
    a, b = np.array([[1.0], [0.0]]), np.array([[1.0, 0.0]])
    for size, expected in ((scale, is_comfortable), (2.0**401, False), (0.0, True)):
        factors = (a * size, b) if side == 0 else (a, b * size)
        *_, found = products._product((factors[0], None), (factors[1], None), 2, products.Buffers())
        assert found == expected


@pytest.mark.parametrize(("unlike", "is_comfortable"), [(31.9, True), (32.1, False)])
def test_terms_are_balanced_where_that_makes_the_bound_sixteen_times_better(
    unlike: float, is_comfortable: bool
) -> None:
    """9.6: |alpha| |beta| > 16 sum alpha beta; of (1, x) and (1, 1/x) that is x + 1/x > 32."""
    a, b = np.array([[1.0, unlike]]), np.array([[1.0], [1 / unlike]])
    *_, found = products._product((a, None), (b, None), 2, products.Buffers())
    assert found == is_comfortable


def test_the_sizes_of_slices_and_norms_are_those_of_9_6() -> None:
    assert (products.LEFT_BITS, products.RIGHT_BITS) == (26, 27)
    assert ({**products.LENGTH}, products.GROUP) == ({2: 128, 3: 512}, 4)
    assert (products.TINY, products.UNSEEN, products.LEAST_EXPONENT) == (2.0**-450, 2.0**-340, -400)
    assert (products.SMALL, products.LARGE, products.UNBALANCED) == (2.0**-250, 2.0**400, 16)
    tiny = np.array([[3.0, 4.0], [0.0, 0.0]])
    norms = products.two_norms(tiny, -1)
    assert norms.tolist() == [[5 * (1 + 2.0**-20)], [2.0**-450]]
    assert products.two_norms(tiny, -2)[0].tolist() == [3 * (1 + 2.0**-20), 4 * (1 + 2.0**-20)]
    zero = products._exponents(np.array([[0.0, 1.0], [0.0, 0.0]]), 0, -1)
    assert zero.tolist() == [[1], [products.ZERO]] and products._used(zero).tolist() == [[1], [0]]
    # No exponent of a float, and what it may be scaled with, is as small.
    assert products.ZERO < 2 * -1074


def test_a_rest_of_twice_what_is_left_out_is_nothing() -> None:
    """9.24: what is left is dropped if its norm is below 2^-449."""
    for size, is_left in ((2.0**-451, False), (2.0**-440, True)):
        cut = products._sliced((np.array([[size]]), None), -1, 26, 2, products.Buffers())
        assert (len(cut.parts) > 0, bool(cut.has_rest(0).any())) == (is_left, is_left)
    # No slice is deeper than 2^-400: a part is a multiple of 2^-426.
    cut = products._sliced((np.array([[1.7 * 2.0**-420]]), None), -1, 26, 1, products.Buffers())
    assert (cut.parts[0] / 2.0**-426 % 1 == 0).all()
