"""What of a candidate is looked at first, how it is seen through layouts and signs, and what is allowed of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from small_batch import batch, exactly
from xegrad import METHODS, Problem, Targets, Tolerance, bounds
from xegrad.diagnosis import search as module
from xegrad.diagnosis.search import EVERYTHING, FLIPPED, NOTHING, Entries, Hypothesis, Search
from xegrad.numbers.arithmetic import PRECISIONS
from xegrad.numbers.rounded import Rounded
from xegrad.slips import SLIPS
from xegrad.slips.making import each_made_by_rows

U = 2.0**-53


def search_of(
    problem: Problem, candidate: Any = None, name: str = "weights", resolution: Any = 0.0, **options: Any
) -> Search:
    """Of twice what is right, where no candidate is named."""
    exact = exactly(problem, name)
    if candidate is None:
        candidate = 2 * exact.gradients[name]
    return Search(problem, exact, np.asarray(candidate), Tolerance(**options), resolution, name)


def step(name: str, **form: Any) -> Any:
    return SLIPS[name], form


TRANSPOSED, CUT = step("transposed"), step("scrambled-reshape", form="cut")


def test_steps_stand_in_the_order_in_which_they_act() -> None:
    decay, twice = (
        step("weight-decay-included", **{"lambda": 0.1}),
        step("softmax-twice", form="the shortcut"),
    )
    both = NOTHING.after(decay).after(FLIPPED, free=1).after(TRANSPOSED, twice, widths={"lambda": (0.0, 1.0)})
    assert both.names == ("softmax-twice", "transposed", "sign-flipped", "weight-decay-included")
    assert (both.free, both.widths, both.proved, both.sign) == (1, {"lambda": (0.0, 1.0)}, False, -1)
    assert (NOTHING.steps, NOTHING.free, NOTHING.sign, NOTHING.names) == ((), 0, 1, ())


# What is looked at first.


@pytest.mark.parametrize(
    ("n_rows", "n_inputs", "n_classes", "name", "shape"),
    [
        (2, 16, 16, "weights", None),  # 256 entries
        (2, 17, 16, "weights", (16, 16)),
        (2, 20, 20, "weights", (16, 16)),
        (2, 300, 3, "weights", (85, 3)),
        (2, 3, 300, "weights", (3, 85)),
        (2, 2, 400, "weights", (2, 128)),
        (2, 3, 300, "bias", (1, 256)),
        (90, 4, 3, "inputs", (64, 4)),
        (90, 3, 4, "logits", (64, 4)),
        (3, 2, 257, "logits", (3, 85)),
    ],
)
def test_256_entries_are_looked_at_first(
    n_rows: int, n_inputs: int, n_classes: int, name: str, shape: tuple[int, int] | None
) -> None:
    """Rows with the largest x, classes at equal distances, and first that which is furthest from right."""
    problem = batch(n_rows, n_inputs, n_classes)
    exact = exactly(problem, name).gradients[name]
    off = exact.copy()
    place = tuple(size // 2 - (size > 2) for size in exact.shape)
    off[place] += 1.0
    search = search_of(problem, off, name)
    if shape is None:
        assert search.screened is EVERYTHING
        return
    rows, columns = search.screened
    assert (rows[0], columns[0]) == (place if name != "bias" else (0, *place))
    for chosen, count, size in zip((rows, columns), shape, search.shape, strict=True):
        assert len({*chosen.tolist()}) == len(chosen)
        assert count <= len(chosen) <= count + 1  # that one more, where it is not among them
        assert chosen.min() >= 0 and chosen.max() < size
    even = np.linspace(0, search.shape[1] - 1, shape[1], dtype=int)
    assert {*columns.tolist()} == {*even.tolist(), int(columns[0])}
    sizes = np.abs(problem.inputs).sum(axis=0 if name == "weights" else 1)
    if name != "bias":
        largest = np.argsort(-sizes, kind="stable")[: shape[0]]
        assert {*rows.tolist()} == {*largest.tolist(), int(rows[0])}
    np.testing.assert_array_equal(search.right.value, search.exact.value[np.ix_(rows, columns)])


def test_of_another_shape_no_entry_is_furthest() -> None:
    problem = batch(2, 20, 30)
    exact = METHODS["exact"].evaluate(problem).gradients["weights"]
    rows, columns = search_of(problem, exact.T).screened
    assert (len(rows), len(columns)) == (16, 16)
    assert columns.tolist() == np.linspace(0, 29, 16, dtype=int).tolist()


def test_of_very_many_classes_half_of_the_columns_are_those_of_labels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    problem = replace(batch(4, 20, 40), targets=Targets([7, 31, -1, 7], ignore_index=-1))
    for huge, expected in ((159, {*np.linspace(0, 39, 16, dtype=int)[:8].tolist(), 7, 31}), (160, None)):
        monkeypatch.setattr(module, "HUGE", huge)
        for name in ("weights", "logits"):
            columns = search_of(problem, name=name).screened.columns
            if name == "weights" and expected is not None:
                assert {*columns[1:].tolist()} | {int(columns[0])} == {*expected, int(columns[0])}
            elif expected is None and name == "weights":
                assert {*columns.tolist()} >= {*np.linspace(0, 39, 16, dtype=int).tolist()}


@pytest.mark.parametrize("in_cache", [2**15, 10, 1])
@np.errstate(all="ignore")
def test_the_furthest_is_that_of_most_bounds_in_whatever_blocks(
    in_cache: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bound of an entry, and what printing left open of it; an entry that has neither, and is right, is not it."""
    monkeypatch.setattr(module, "IN_CACHE", in_cache)
    problem = batch(4, 7, 5)
    search = search_of(problem)
    search.exact = Rounded(
        search.exact.value, np.full((7, 5), 1.0) * (np.arange(5) > 0), search.cells.arithmetic
    )
    values, resolution = search.exact.value.copy(), np.zeros((7, 5))
    assert search._furthest(values, resolution) == (0, 0)
    values[3, 2] += 5
    assert search._furthest(values, resolution) == (3, 2)
    values[6, 4] -= 6
    assert search._furthest(values, resolution) == (6, 4)
    resolution[6, 4] = 0.5
    assert search._furthest(values, resolution) == (3, 2)
    values[1, 1] += 5  # as far: the first of them
    assert search._furthest(values, resolution) == (1, 1)


def test_entries_are_rows_and_columns_of_an_array_or_of_each_of_a_stack() -> None:
    array = np.arange(24).reshape(2, 3, 4)
    for entries, expected in (
        (EVERYTHING, array),
        (Entries(np.array([2, 0])), array[:, [2, 0]]),
        (Entries(columns=np.array([3, 1])), array[..., [3, 1]]),
        (Entries(slice(1, 3), np.array([3, 1])), array[:, 1:3, [3, 1]]),
        (Entries(np.array([2, 0]), np.array([3, 1])), array[:, [2, 0]][..., [3, 1]]),
    ):
        np.testing.assert_array_equal(entries.of(array), expected)


# How it is seen.


def test_layouts_and_signs_are_undone_in_the_candidate() -> None:
    problem = batch(2, 4, 4)
    candidate = np.arange(16.0).reshape(4, 4)
    search = search_of(problem, candidate, resolution=candidate / 100)
    some = Entries(np.array([3, 1]), np.array([0, 2]))
    flat = candidate.ravel()
    cut = np.array([[flat[k * 4 + i] for k in range(4)] for i in range(4)])
    for steps, seen in (
        ((), candidate),
        ((FLIPPED,), -candidate),
        ((TRANSPOSED,), candidate.T),
        ((CUT,), cut),
        ((TRANSPOSED, FLIPPED), -candidate.T),
        (
            (step("softmax-twice", form="the shortcut"), step("classes-permuted", order="reversed")),
            candidate[:, ::-1],
        ),
    ):
        for entries in (EVERYTHING, some):
            values, resolution = search.seen(Hypothesis(steps), entries)
            np.testing.assert_array_equal(values, entries.of(seen))
            np.testing.assert_allclose(resolution, np.abs(entries.of(seen)) / 100)
            weights = search.parameter_seen(Hypothesis(steps), entries)
            sign = -1 if FLIPPED in steps else 1
            moved = {candidate.tobytes(): problem.weights, candidate.T.tobytes(): problem.weights.T}
            expected = moved.get((sign * seen).tobytes(), problem.weights[:, ::-1])
            if CUT not in steps:
                np.testing.assert_array_equal(weights.value, sign * entries.of(expected))


def test_layouts_are_those_that_the_shape_may_have() -> None:
    def names(problem: Problem, candidate: Any = None, name: str = "weights") -> list[str]:
        return [
            " ".join([slip.name, *form.values()])
            for slip, form in search_of(problem, candidate, name).layouts
        ]

    narrow, square = batch(4, 3, 5), batch(5, 5, 5)
    assert names(narrow, np.ones((5, 3))) == ["transposed", "scrambled-reshape reshaped"]
    in_place = ["scrambled-reshape cut", "scrambled-reshape folded"]
    assert names(narrow) == ["classes-permuted reversed", *in_place]
    assert names(square) == ["classes-permuted reversed", "transposed", *in_place]
    assert names(narrow, name="bias") == ["classes-permuted reversed"]
    assert names(narrow, name="inputs") == []
    assert names(square, name="inputs") == ["transposed"]
    assert names(square, name="logits") == ["classes-permuted reversed", "transposed"]
    assert not search_of(square).has_transposed_shape
    assert not search_of(batch(1, 5, 1), np.ones((5, 1))).has_transposed_shape


def test_a_candidate_within_four_roundings_of_w_is_w() -> None:
    problem = batch()
    w, u = problem.weights, 2.0**-24
    one_off = np.where(np.arange(5) == 2, 1.0, 0.0)
    for candidate, expected in (
        (w, True),
        (w * (1 + 3.9 * u), True),
        (w * (1 + 4.1 * u * one_off), False),
        (w * (1 - 4.1 * u * one_off), False),
        (w.T, False),
        (2 * w, False),
    ):
        assert search_of(problem, candidate, precision="float32").is_parameter is expected
    assert search_of(problem, problem.bias, "bias").is_parameter
    assert not search_of(problem, np.zeros((3, 5))).is_parameter
    assert not search_of(replace(problem, weights=0 * w), np.zeros((3, 5))).is_parameter
    assert not search_of(replace(problem, bias=None), problem.bias, "bias").is_parameter
    assert not search_of(batch(1, 1, 1), [[1.0]]).is_parameter


def test_a_candidate_is_constant_if_all_its_entries_are_equal() -> None:
    problem = batch()
    assert search_of(problem, np.full((3, 5), 0.3)).is_constant
    for place in ((0, 0), (2, 4)):
        candidate = np.full((3, 5), 0.3)
        candidate[place] = 0.31
        assert not search_of(problem, candidate).is_constant


# What is allowed.


@pytest.mark.parametrize("is_large", [False, True])
def test_what_comes_near_is_within_so_many_bounds(is_large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """4096 bounds of the right entry, and u times the largest that is made; 64 of a large problem."""
    monkeypatch.setattr("xegrad.bounds.LARGE", 1 if is_large else 2**15)
    search = search_of(batch(), resolution=0.25)
    times = 2**6 if is_large else 2**12
    assert (search.excess, search.is_large) == (times, is_large)
    made = np.random.default_rng(0).normal(size=(2, 3, 5)) * np.array([1, 1e9])[:, None, None]
    largest = np.array([np.abs(one).max() for one in made])[:, None, None]
    expected = times * (search.right.error + U * largest) + 0.25
    np.testing.assert_allclose(search.slack(made), expected, rtol=1e-12)


def test_an_entry_fits_within_twice_its_bound_and_what_printing_left_open() -> None:
    search = search_of(batch())
    value, error = np.zeros((4, 1, 2)), np.array([0.25, 1.0]) * np.ones((4, 1, 2))
    error[3, 0, 0] = np.inf
    candidate = np.array([[[0.5, -2.0]], [[0.6, 0.0]], [[0.0, 2.5]], [[0.0, 0.0]]])
    made = Rounded(value, error, search.cells.arithmetic)
    assert search.fits(made, (candidate, np.zeros((4, 1, 2)))).tolist() == [True, False, False, False]
    assert search.fits(made, (candidate, np.full((4, 1, 2), 0.2))).tolist() == [True, True, False, False]
    np.testing.assert_array_equal(search.allowed(made[0], np.full((1, 2), 0.5), 3), [[1.25, 3.5]])


def test_the_right_gradient_is_off_by_its_bound_and_by_the_error_of_what_was_evaluated() -> None:
    problem = batch()
    exact = METHODS["exact"].evaluate(problem)
    bound = bounds.stable(problem, ("weights",)).gradients["weights"]
    wider = {"weights": np.full((3, 5), 0.5)}
    for errors, more in ((None, 0.0), (wider, 0.5), ({"bias": np.ones(5)}, 0.0)):
        evaluation = replace(exact, errors=errors)
        search = Search(problem, evaluation, exact.gradients["weights"], Tolerance(), 0.0, "weights")
        np.testing.assert_array_equal(search.exact.errors, bound + more)


def test_sizes_from_which_less_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million logits are huge."""
    search = search_of(batch())
    assert search.n_logits == 20
    assert module.HUGE == 2**20
    for most, is_more in ((20, False), (19, True)):
        monkeypatch.setattr(module, "HUGE", most)
        assert search.is_huge is is_more
    monkeypatch.setattr(module, "takes_all_cells", lambda cells, step: step)
    for most, takes_all, expected in (
        (20, True, True),
        (19, True, False),
        (19, False, True),
        (20, False, True),
    ):
        monkeypatch.setattr(module, "AT_A_TIME", most)
        assert search.is_affordable(takes_all) is expected  # type: ignore[arg-type]


# What a hypothesis predicts.


def test_a_prediction_is_what_was_there_before_the_layout_and_the_sign() -> None:
    problem = batch(4, 5, 5)
    search = search_of(problem)
    exact, w = search.exact.value, problem.weights
    decay = step("weight-decay-included", **{"lambda": 0.5})
    for steps, expected in (
        ((), exact),
        ((FLIPPED,), exact),
        ((TRANSPOSED, FLIPPED), exact),
        ((step("scaled", k=3.0),), 3 * exact),
        ((FLIPPED, step("scaled", k=3.0)), 3 * exact),
        ((decay,), exact + 0.5 * w),
        # The candidate is G' + W / 2, and -G + W / 2.
        ((TRANSPOSED, decay), exact + 0.5 * w.T),
        ((FLIPPED, decay), exact - 0.5 * w),
    ):
        for entries in (EVERYTHING, Entries(np.array([4, 0]), np.array([1, 3]))):
            made = search.predicted(Hypothesis(steps), entries)
            np.testing.assert_allclose(made.value, entries.of(expected), rtol=1e-14)
            assert (made.errors >= 0).all()


@pytest.mark.parametrize("is_large", [False, True])
def test_what_was_stored_is_off_by_half_of_what_that_rounds_away(
    is_large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice that is allowed.  What is float32 was computed in it, too."""
    monkeypatch.setattr("xegrad.bounds.LARGE", 1 if is_large else 2**15)
    problem = batch()
    search = search_of(problem)
    narrow = bounds.stable(problem, ("weights",), PRECISIONS["float32"]).gradients["weights"]
    exact = search.exact

    def stored(**form: Any) -> Hypothesis:
        return Hypothesis((step("low-precision", **form),))

    for entries in (EVERYTHING, Entries(np.array([2, 0]), np.array([1, 3]))):
        right = exact.moved(entries.of)

        for decimals in (2, 7):
            made = search.predicted(stored(decimals=decimals), entries)
            np.testing.assert_allclose(made.errors, right.errors + 0.25 * 10.0**-decimals, rtol=1e-12)
        for name in ("float16", "bfloat16"):
            expected = bounds.stored(right.value, right.errors, name)
            made = search.predicted(stored(format=name), entries)
            np.testing.assert_allclose(made.errors, expected, rtol=1e-12)
        made = search.predicted(stored(format="float32"), entries)
        least = bounds.stored(right.value, entries.of(narrow), "float32")
        assert (made.errors >= 0.5 * least).all() and (made.errors <= 2 * least).all()
        np.testing.assert_array_equal(made.value, right.value)


def test_what_is_made_of_a_large_problem_is_kept_for_the_entries_looked_at_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("xegrad.bounds.LARGE", 1)
    problem = batch(2, 20, 20)
    search = search_of(problem)
    passes: list[int] = []

    def counted(cells: Any, steps: Any, *entries: Any) -> Any:
        passes.append(len(steps))
        return each_made_by_rows(cells, steps, *entries)

    monkeypatch.setattr(module, "each_made_by_rows", counted)
    twice, cooled = step("softmax-twice", form="the shortcut"), step("temperature", tau=2.0, factor="kept")
    first, second = search.each_made([twice, cooled])
    assert search.made(twice, search.screened) is first and search.made(cooled, search.screened) is second
    assert passes == [2]
    hotter = search.made(step("temperature", tau=3.0, factor="kept"), search.screened)
    assert passes == [2, 1]
    several = step("temperature", tau=np.array([2.0, 3.0])[:, None, None], factor="kept")
    stack = search.made(several, search.screened)
    np.testing.assert_array_equal(stack.value, [second.value, hotter.value])
    everything = search.made(cooled, EVERYTHING)
    np.testing.assert_allclose(search.screened.of(everything.value), second.value, rtol=1e-12)
    assert everything.shape == (20, 20) and passes == [2, 1]
