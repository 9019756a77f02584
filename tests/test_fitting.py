"""Free numbers read from a candidate: on a line, between two values of a grid, at the largest entry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from small_batch import batch, exactly
from xegrad import Problem, Tolerance
from xegrad.diagnosis import fitting
from xegrad.diagnosis.fitting import (
    Bases,
    _between,
    _is_number,
    are_near,
    clipped,
    interval_on_line,
    on_grid,
    on_line,
    spreads,
    z_losses,
)
from xegrad.diagnosis.search import EVERYTHING, FLIPPED, NOTHING, Hypothesis, Search
from xegrad.slips import SLIPS
from xegrad.slips.formulas import OF_A_STATED_EPS, smoothings
from xegrad.slips.making import apply

INF, NAN = float("inf"), float("nan")


def search_of(
    problem: Problem, candidate: Any, name: str = "weights", resolution: float = 0.0, **options: Any
) -> Search:
    exact = exactly(problem, name)
    return Search(problem, exact, np.asarray(candidate), Tolerance(**options), resolution, name)


def right(problem: Problem, name: str = "weights") -> Any:
    return exactly(problem, name).gradients[name]


def filled(search: Search, hypothesis: Hypothesis) -> Any:
    """How much of what is allowed the most of all entries takes, at each end of the free number's interval."""
    [(name, ends)] = hypothesis.widths.items()
    values, resolution = search.seen(hypothesis)
    for end in ends:
        steps = tuple(
            (slip, {**form, name: end} if name in form else form) for slip, form in hypothesis.steps
        )
        made = search.predicted(hypothesis._replace(steps=steps))
        yield float((np.abs(values - made.value) / search.allowed(made, resolution, 2)).max())


# Which intervals hold a number.


@pytest.mark.parametrize(
    ("name", "holds", "holds_none"),
    [
        (
            "label-smoothed",
            [(0.1, 0.2), (0.2, 0.2), (0.9, 1.1), (1, 1.5)],
            [(-0.1, 0.2), (0, 0.2), (1.1, 1.2)],
        ),
        (
            "scaled",
            [(1.1, 1.2), (0.5, 0.9), (-3, -1.1), (-0.9, 0.9)],
            [(0.9, 1.1), (1, 2), (0, 1), (-1, 0), (-2, -1)],
        ),
        ("weight-decay-included", [(0.1, 0.2), (-2, -0.5), (-1, -1)], [(-1, 1), (0, 1), (-1, 0)]),
        ("weights-updated", [(-1, 1), (-1, -1), (1, 1)], []),
        ("z-loss-included", [(0.1, 0.2), (5, 6)], [(-0.1, 0.1), (-2, -1), (0, 1)]),
    ],
)
def test_an_interval_holds_a_number_that_is_a_slip_or_none(name: str, holds: Any, holds_none: Any) -> None:
    for ends, expected in (*((one, True) for one in holds), *((one, False) for one in holds_none)):
        assert _is_number(SLIPS[name], *ends) is expected, ends
    for nothing in ((0.3, 0.2), (INF, -INF), (NAN, NAN)):
        assert not _is_number(SLIPS[name], *nothing)


def test_a_number_is_named_by_every_constant_that_its_interval_holds() -> None:
    factors = {"2": 2.0, "T": 2.0, "1/2": 0.5, "3": 3.0}
    for ends, named in (
        ((1.9, 2.1), {"k": 2.0, "named": "2, T"}),
        ((2.0, 2.1), {"k": 2.0, "named": "2, T"}),
        ((1.9, 2.0), {"k": 2.0, "named": "2, T"}),
        ((-2.1, -1.9), {"k": -2.0, "named": "-2, -T"}),
        ((0.4, 4.0), {"k": 2.0, "named": "2, T, 1/2, 3"}),
        ((-0.5, 0.5), {"k": 0.5, "named": "1/2, -1/2"}),
        ((2.1, 2.9), {}),
    ):
        assert _between(*ends, factors) == named


# On a line.


LINES: dict[str, tuple[dict[str, Any], float]] = {
    "scaled": ({}, 1.37),
    "weight-decay-included": ({}, -0.03),
    "weights-updated": ({}, 0.3),
    "label-smoothed": ({"spread": "eps/T"}, 0.15),
    "z-loss-included": ({}, 0.2),
}


@pytest.mark.parametrize("name", ["weights", "bias"])
@pytest.mark.parametrize("slip", LINES)
def test_the_interval_of_a_number_on_a_line_ends_where_an_entry_is_at_its_bound(slip: str, name: str) -> None:
    problem, (form, number) = batch(), LINES[slip]
    free = str(SLIPS[slip].free)
    wrong = apply(problem, [slip], name, **form, **{free: number})
    search = search_of(
        problem, wrong + np.random.default_rng(2).uniform(-1e-3, 1e-3, wrong.shape), name, 1e-3
    )
    (found,) = on_line(Bases(search, [NOTHING]), SLIPS[slip])
    assert (found.names, found.free) == ((slip,), 1)
    lower, upper = found.widths[free]
    assert lower < number < upper
    assert found.steps[0][1] == {**form, free: pytest.approx((lower + upper) / 2)}
    assert [*filled(search, found)] == pytest.approx([1, 1], rel=1e-4)


@pytest.mark.parametrize("k", [-2.5, 0.3])
def test_each_hypothesis_has_an_interval_of_its_own(k: float) -> None:
    """A factor of what is right, of its transpose, and of its negative, for a candidate that is one of these."""
    problem = batch(n_inputs=5)
    arranged = [NOTHING, Hypothesis(((SLIPS["transposed"], {}),)), Hypothesis((FLIPPED,))]
    for which, candidate in enumerate((right(problem), right(problem).T, -right(problem))):
        search = search_of(problem, k * candidate + 1e-4, resolution=1e-3)
        with np.errstate(all="ignore"):
            lower, upper = interval_on_line(Bases(search, arranged), SLIPS["scaled"], {})
        fits = lower <= upper
        expected = np.isin(np.arange(3), [[0, 2], [1], [0, 2]][which])
        np.testing.assert_array_equal(fits, expected)
        middles = ((lower + upper) / 2)[fits]
        np.testing.assert_allclose(np.abs(middles), abs(k), rtol=2e-2)
        if which != 1:
            assert middles[0] == pytest.approx(-middles[1])


@pytest.mark.parametrize("place", [(0, 0), (1, 2), (2, 4)])
def test_the_number_is_first_read_where_it_is_known_best(place: tuple[int, int]) -> None:
    """Elsewhere W is next to nothing, and its quotients are those of roundings; the bound grows with the number."""
    problem = batch()
    weights = np.full((3, 5), 1e-9)
    weights[place], weights[2 - place[0], 4 - place[1]] = 1.0, 0.5
    problem = replace(problem, weights=weights)
    bound = search_of(problem, weights, precision="float32").exact.error
    noise = np.random.default_rng(2).uniform(-1, 1, (3, 5)) * bound
    search = search_of(problem, right(problem) + 1000 * weights + noise, precision="float32")
    with np.errstate(all="ignore"):
        (found,) = on_line(Bases(search, [NOTHING]), SLIPS["weight-decay-included"])
        lower, upper = found.widths["lambda"]
        assert lower < 1000 < upper and upper - lower < 1e-2
        assert [*filled(search, found)] == pytest.approx([1, 1], rel=1e-2)


def test_entries_that_do_not_depend_on_the_number_must_fit_as_they_are() -> None:
    """W is 0 in its first line, and so is what decay adds."""
    problem = batch()
    problem = replace(problem, weights=problem.weights * np.array([[0.0], [1.0], [1.0]]))
    wrong = right(problem) + 0.25 * problem.weights
    moved = wrong + np.array([[1e-9], [0.0], [0.0]])
    slip = SLIPS["weight-decay-included"]
    with np.errstate(all="ignore"):
        (found,) = on_line(Bases(search_of(problem, wrong), [NOTHING]), slip)
        assert [*on_line(Bases(search_of(problem, moved), [NOTHING]), slip)] == []
    assert found.steps[0][1]["lambda"] == pytest.approx(0.25, rel=1e-12)


def test_a_number_beyond_its_last_is_the_last() -> None:
    """The interval of eps holds 1, which is the most that it may be."""
    problem = batch()
    wrong = apply(problem, ["label-smoothed"], spread="eps/T", eps=1.01)
    (found,) = on_line(
        Bases(search_of(problem, wrong + 1e-5, resolution=1e-2), [NOTHING]), SLIPS["label-smoothed"]
    )
    lower, upper = found.widths["eps"]
    assert lower < 1 < (lower + upper) / 2
    assert found.steps[0][1]["eps"] == 1


@pytest.mark.parametrize(
    ("k", "named", "free"),
    [
        (5.0, "T", 0),
        (-5.0, "-T", 0),
        (1 / 3, "1/N", 0),
        (1.37, None, 1),
        (-1.37, None, 1),
        (1.0, "", 0),
        (-1.0, "", 0),
    ],
)
def test_a_factor_with_a_name_leaves_no_number_free(k: float, named: str | None, free: int) -> None:
    search = search_of(batch(), k * right(batch()))
    found = [*on_line(Bases(search, [NOTHING]), SLIPS["scaled"])]
    if named == "":  # no slip, and another one
        assert not found
        return
    assert found[0].free == free
    assert found[0].steps[0][1].get("named") == named
    assert found[0].steps[0][1]["k"] == pytest.approx(k, rel=1e-12)


def test_nothing_is_fitted_where_all_entries_are_equal_or_no_form_is_there() -> None:
    problem = batch()
    with np.errstate(all="ignore"):
        assert not [*on_line(Bases(search_of(problem, np.full((3, 5), 0.1)), [NOTHING]), SLIPS["scaled"])]
        inputs = search_of(problem, 2 * right(problem, "inputs"), "inputs")
        assert not [*on_line(Bases(inputs, [NOTHING]), SLIPS["weight-decay-included"])]


def test_a_number_that_fits_what_is_looked_at_first_is_fitted_to_all() -> None:
    """400 entries, of which 256 are looked at first; one of the others is off, or narrows the interval."""
    problem = batch(2, 20, 20)
    wrong = 1.37 * right(problem)
    search = search_of(problem, wrong + 1e-5, resolution=1e-3)
    assert search.screened is not EVERYTHING
    (found,) = on_line(Bases(search, [NOTHING]), SLIPS["scaled"])
    assert [*filled(search, found)] == pytest.approx([1, 1], rel=1e-4)
    seen = np.zeros((20, 20), dtype=bool)
    seen[np.ix_(search.screened.rows, search.screened.columns)] = True
    row, column = np.argwhere(~seen)[np.abs(wrong[~seen]).argmax()]
    moved = wrong + 1e-5
    moved[row, column] += 1.5e-3 * np.sign(wrong[row, column])
    narrowed = search_of(problem, moved, resolution=1e-3)
    (other,) = on_line(Bases(narrowed, [NOTHING]), SLIPS["scaled"])
    assert other.widths["k"][0] > found.widths["k"][0]
    assert [*filled(narrowed, other)] == pytest.approx([1, 1], rel=1e-4)
    moved[row, column] += 1
    assert not [*on_line(Bases(search_of(problem, moved, resolution=1e-3), [NOTHING]), SLIPS["scaled"])]


def test_weight_decay_is_fitted_to_all_entries_too() -> None:
    problem = batch(2, 20, 20)
    wrong = right(problem) + 0.03 * problem.weights
    search = search_of(problem, wrong + 1e-5, resolution=1e-3)
    (found,) = on_line(Bases(search, [NOTHING]), SLIPS["weight-decay-included"])
    assert found.widths["lambda"][0] < 0.03 < found.widths["lambda"][1]
    assert [*filled(search, found)] == pytest.approx([1, 1], rel=1e-4)


@pytest.mark.parametrize("is_large", [False, True])
def test_lines_are_near_where_one_number_brings_all_entries_within_the_slack(
    is_large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slack is 4096 bounds of the right gradient, or 64 of a large problem, and what printing left open."""
    monkeypatch.setattr("xegrad.bounds.LARGE", 1 if is_large else 2**15)
    problem = batch()
    random = np.random.default_rng(4)
    at_zero, slope = random.normal(size=(2, 3, 5))
    for resolution in (0.0, 0.1):
        search = search_of(problem, at_zero + 0.7 * slope, resolution=resolution)
        slack = (2**6 if is_large else 2**12) * search.exact.error + resolution
        off = np.zeros((5, 3, 5))
        off[1, 0, 1], off[2, 2, 3] = 1.9, -1.9  # one number makes up for some of that
        off[3, :2, 2], off[4, :, 0] = [1.1, -1.1], [2.5, -2.5, 2.5]
        slopes = np.where(off == 0, np.abs(slope), np.sign(off) * 1e-9)
        lines = at_zero + 0.7 * slope - 0.7 * slopes + off * slack
        near = are_near(search, lines, slopes)
        np.testing.assert_array_equal(near, [True, False, False, False, False])
        within = are_near(search, at_zero + 0.9 * slack, slope * 1.0)
        assert within.all()
        # Equal slopes everywhere: it is the spread of the errors that counts.
        flat = np.ones((3, 5))
        for spread, expected in ((0.9, True), (1.1, False)):
            error = np.zeros((3, 5))
            error[0, 0], error[2, 4] = spread, -spread
            assert bool(are_near(search, at_zero + 0.7 * slope - 0.7 + error * slack, flat)) is expected


SPREADS = [name for name in smoothings(4) if name not in OF_A_STATED_EPS]


@pytest.mark.parametrize("spread", SPREADS)
@np.errstate(all="ignore")
def test_of_all_smoothings_those_that_come_near_are_kept(spread: str) -> None:
    problem = batch(n_classes=4)
    kept = spreads(search_of(problem, apply(problem, ["label-smoothed"], spread=spread, eps=0.3)))
    assert {"spread": spread} in kept and len(kept) < len(SPREADS) / 2


@np.errstate(all="ignore")
def test_no_smoothing_comes_near_noise_and_a_stated_eps_has_one() -> None:
    assert not spreads(search_of(batch(), np.random.default_rng(3).normal(size=(3, 5))))
    assert spreads(search_of(batch(label_smoothing=0.1), np.zeros((3, 5)))) == [{"spread": "eps/T"}]


@pytest.mark.parametrize("is_large", [False, True])
def test_a_z_loss_is_fitted_where_it_comes_near(is_large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xegrad.bounds.LARGE", 1 if is_large else 2**15)
    problem = batch()
    parameters: Any = {"lambda": 0.3}
    wrong = apply(problem, ["z-loss-included"], **parameters)
    (found,) = z_losses(Bases(search_of(problem, wrong), [NOTHING]))
    assert found.steps[0][1]["lambda"] == pytest.approx(0.3, rel=1e-12)
    negative = 2 * right(problem) - wrong
    for other in (negative, wrong + 1e-3):
        assert not [*z_losses(Bases(search_of(problem, other), [NOTHING]))]


# The largest entry.


def clips(
    problem: Problem, candidate: Any, hypotheses: Sequence[Hypothesis] = (NOTHING,)
) -> list[Hypothesis]:
    return [*clipped(Bases(search_of(problem, candidate), hypotheses))]


def test_a_clip_needs_two_entries_at_the_limit_and_says_how_many_there_are() -> None:
    problem = batch()
    gradient = right(problem)
    sizes = np.sort(np.abs(gradient).ravel())[::-1]
    for at_limit in (2, 3, 14):
        limit = (sizes[at_limit - 1] + sizes[at_limit]) / 2
        (found,) = clips(problem, np.clip(gradient, -limit, limit))
        assert found == Hypothesis(
            ((SLIPS["clipped"], {"limit": limit, "at_limit": at_limit}),), {"limit": (limit, limit)}, 1
        )
    limit = (sizes[0] + sizes[1]) / 2
    assert not clips(problem, np.clip(gradient, -limit, limit))
    # All of them at the limit: each sign has been kept.
    (found,) = clips(problem, np.sign(gradient) * sizes[-1])
    assert found.steps[0][1]["at_limit"] == 15
    assert not clips(problem, np.full((3, 5), sizes[-1]))
    assert not clips(problem, np.clip(gradient, -0.05, 0.05) + 1e-9 * (np.arange(5) == 0))


def test_with_two_classes_the_two_entries_of_a_row_count_once() -> None:
    problem = batch(n_classes=2)
    gradient = right(problem)
    sizes = np.sort(np.abs(gradient).ravel())[::-1]
    for at_limit, n_found in ((2, 0), (4, 1)):
        limit = (sizes[at_limit - 1] + sizes[at_limit]) / 2
        found = clips(problem, np.clip(gradient, -limit, limit))
        assert len(found) == n_found
        assert all(one.steps[0][1]["at_limit"] == at_limit for one in found)


def test_a_clip_of_two_slips_needs_an_entry_below_the_limit() -> None:
    problem = batch(n_inputs=5)
    transposed = [Hypothesis(((SLIPS["transposed"], {}),))]
    gradient = right(problem).T
    sizes = np.sort(np.abs(gradient).ravel())[::-1]
    limit = (sizes[3] + sizes[4]) / 2
    (found,) = clips(problem, np.clip(gradient, -limit, limit), transposed)
    assert (found.names, found.free) == (("transposed", "clipped"), 1)
    assert not clips(problem, np.sign(gradient) * sizes[-1], transposed)


# Between two values of a grid.


GRIDS = [
    *(("temperature", {"factor": factor}, (0.2, 0.5, 3.7, 50.0)) for factor in ("left out", "kept", "tau")),
    ("log-epsilon", {}, (1e-9, 1e-3, 0.2, 30.0)),
    ("wrong-denominator", {"counted": "a constant"}, (1e-9, 0.4, 1e3)),
    ("evaluated-after-update", {"updated": "W"}, (1e-4, 0.03, 2.5)),
]


@pytest.mark.parametrize(("slip", "form", "numbers"), GRIDS)
def test_a_number_between_two_values_of_a_grid_is_found(
    slip: str, form: dict[str, Any], numbers: Any
) -> None:
    """Or at one of them, where it is found from both sides."""
    problem, entry, name = batch(), SLIPS[slip], str(SLIPS[slip].free)
    assert entry.number.grid is not None
    for number in (*numbers, float(entry.number.grid[40])):
        step = (entry, {**form, name: number})
        candidate = search_of(problem, right(problem)).predicted(Hypothesis((step,))).value
        with np.errstate(all="ignore"):
            found = [*on_grid(search_of(problem, candidate), entry, form)]
        assert found
        for one in found:
            assert (one.names, one.free) == ((slip,), 1)
            lower, upper = one.widths[name]
            assert lower <= number <= upper
            assert one.steps[0][1] == {**form, name: (lower + upper) / 2}
            assert upper - lower < 1e-3 * number


def test_the_interval_of_a_number_on_a_grid_ends_where_an_entry_is_at_its_bound() -> None:
    problem = batch()
    wrong = apply(problem, ["temperature"], tau=1.7, factor="left out")
    search = search_of(
        problem, wrong + np.random.default_rng(2).uniform(-1e-6, 1e-6, wrong.shape), resolution=1e-6
    )
    (found,) = on_grid(search, SLIPS["temperature"], {"factor": "left out"})
    lower, upper = found.widths["tau"]
    assert lower < 1.7 < upper
    assert [*filled(search, found)] == pytest.approx([1, 1], rel=1e-3)


@pytest.mark.parametrize("moved", [1e-3, -1e-3])
def test_a_candidate_with_one_entry_off_is_on_no_grid(moved: float) -> None:
    problem = batch()
    wrong = apply(problem, ["temperature"], tau=1.7, factor="left out")
    for place in ((0, 0), (2, 4)):
        off = wrong.copy()
        off[place] += moved
        with np.errstate(all="ignore"):
            assert not [*on_grid(search_of(problem, off), SLIPS["temperature"], {"factor": "left out"})]
    for other in (right(problem), np.full((3, 5), 0.2), wrong.T):
        assert not [*on_grid(search_of(problem, other), SLIPS["temperature"], {"factor": "left out"})]


def test_a_coarser_grid_of_a_larger_problem_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = batch()
    wrong = apply(problem, ["temperature"], tau=1.7, factor="kept")
    calls = []
    usual = Search.predicted

    def counted(self: Search, hypothesis: Hypothesis, *entries: Any) -> Any:
        calls.append(np.size(hypothesis.steps[0][1]["tau"]))
        return usual(self, hypothesis, *entries)

    monkeypatch.setattr(Search, "predicted", counted)
    for numbers, first in ((100_000, 97), (20 * 97, 97), (20 * 50, 49), (0, 13)):
        monkeypatch.setattr(fitting, "NUMBERS", numbers)
        calls.clear()
        (found,) = on_grid(search_of(problem, wrong), SLIPS["temperature"], {"factor": "kept"})
        assert found.steps[0][1]["tau"] == pytest.approx(1.7, rel=1e-12)
        assert calls[0] == first


# Bases.


def test_the_stack_of_several_bases_is_that_of_all_hypotheses() -> None:
    problem = batch()
    search = search_of(problem, 2 * right(problem))
    first = Bases(search, [NOTHING])
    second = first.after((SLIPS["scaled"], {"k": 2.0}))
    third = first.after((SLIPS["scaled"], {"k": 3.0}))
    every = Bases.together([first, second, third])
    assert every.hypotheses == [NOTHING, *second.hypotheses, *third.hypotheses]
    np.testing.assert_array_equal(every.cells.G.value, np.multiply.outer([1, 2, 3], search.right.value))
    assert [*every.fitting] == second.hypotheses
    some = every.where(lambda one: one.steps[:1] != second.hypotheses[0].steps)
    assert some.hypotheses == [NOTHING, *third.hypotheses]
    np.testing.assert_array_equal(some.cells.G.value, np.multiply.outer([1, 3], search.right.value))
    assert [*Bases(search, []).fitting] == []
