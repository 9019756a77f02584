"""What a comparison says of two gradients."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from xegrad import Comparison
from xegrad import comparison as module


def comparison(reference: Any, candidate: Any, bound: Any = 0.0, dtype: Any = np.float64) -> Comparison:
    first, second = np.array([reference], dtype=dtype), np.array([candidate], dtype=dtype)
    return Comparison(reference=first, candidate=second, bound=np.broadcast_to(bound, first.shape))


def ulps(*arguments: Any) -> list[int]:
    result = comparison(*arguments).ulps
    assert result is not None
    counted: list[int] = result.ravel().tolist()
    return counted


def test_ulps_count_the_floats_from_one_to_the_other() -> None:
    one = np.nextafter(1.0, 2)
    assert ulps([1.0, 1.0, one, -1.0], [1.0, one, 1.0, -one]) == [0, 1, 1, 1]
    tiny = 5e-324
    assert ulps([0.0, -0.0, tiny, -tiny], [-0.0, tiny, -tiny, 0.0]) == [0, 1, 2, 1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ulps_reach_from_one_end_to_the_other(dtype: Any) -> None:
    info = np.finfo(dtype)
    end = comparison([-info.max], [info.max], 0.0, dtype).ulps
    assert end is not None
    # Every finite float but the one zero that is counted twice.
    assert int(end[0, 0]) == 2 * ((2**info.nexp - 1) * 2**info.nmant - 1)


def test_not_a_number_has_no_ulps_and_agrees_with_nothing() -> None:
    both = comparison([np.nan, 1.0], [np.nan, 1.0], np.inf)
    assert both.ulps is None
    assert not both.within[0, 0]
    assert not both.agrees


def test_an_infinite_bound_lets_nothing_pass() -> None:
    assert not comparison([1.0], [1.0], np.inf).agrees
    assert not comparison([1.0], [np.inf], np.inf).agrees


def test_an_infinity_is_matched_or_not_whatever_the_bound() -> None:
    one = comparison([np.inf, np.inf, -np.inf, np.inf, 1.0], [np.inf, -np.inf, 1e308, np.nan, np.inf], np.inf)
    assert one.within.tolist() == [[True, False, False, False, False]]
    assert one.no_correct_digit.tolist() == [[False, True, True, True, True]]
    assert not one.unbounded.any()
    assert one.correct_digits[0, 0] == 16


def test_an_entry_is_lost_when_its_bound_exceeds_half_of_it_and_zero_never_is() -> None:
    assert comparison([1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.5, 0.50001, 1.0]).unresolved.tolist() == [
        [False, True, False]
    ]


def test_what_is_out_of_bounds_is_not_lost_but_wrong() -> None:
    assert not comparison([1.0], [3.0], 0.75).unresolved.any()


def test_opposite_signs_do_not_count_zero() -> None:
    assert comparison([1.0, 0.0, -1.0], [-1.0, 1.0, -2.0]).opposite_signs.tolist() == [[True, False, False]]


def test_worst_first_is_nan_then_beyond_then_the_widest_bound() -> None:
    reference = [1.0, 1.0, 1.0, 1.0, 1.0, 0.0]
    candidate = [1.0, 3.0, np.nan, 2.0, 1.0, 0.0]
    bound = [0.1, 0.1, 0.1, 0.1, 0.2, 0.1]
    assert comparison(reference, candidate, bound).worst(None).tolist() == [2, 1, 3, 4, 0, 5]


def test_rounding_does_not_order_what_is_within_its_bounds() -> None:
    """Ratios that differ in their last digits are equal, and the order is that of the entries."""
    bound = [1e-16, np.nextafter(1e-16, 0), np.nextafter(1e-16, 1)]
    assert comparison([1.0, 1.0, 1.0], [1.0, 1.0, 1.0], bound).worst(None).tolist() == [0, 1, 2]


@pytest.mark.parametrize("is_exact", [True, False])
def test_pieces_say_what_all_entries_together_say(monkeypatch: pytest.MonkeyPatch, is_exact: bool) -> None:
    """Of pieces that are clear and of those that are not, with zeros, infinities and what is no number among them."""
    random = np.random.default_rng(0)
    reference = random.normal(size=(40, 8))
    candidate = reference * (1 + random.choice([0.0, 1e-8, 0.3, 2.0], (40, 8), p=[0.3, 0.6, 0.05, 0.05]))
    bound = np.abs(reference) * random.choice([1e-7, 1.0], (40, 8), p=[0.9, 0.1])
    for array in (reference, candidate, bound):
        array.flat[random.integers(320, size=4)] = [0.0, np.inf, -np.inf, np.nan]
    bound = np.where(np.isnan(bound), np.inf, np.abs(bound))
    error = 0.0 if is_exact else np.abs(reference) * random.choice([0.0, 1e-9, 1e-7, np.inf], (40, 8))
    with np.errstate(all="ignore"):
        together = Comparison(reference, candidate, bound, error)
        whole = {name: getattr(together, name) for name in (*module.CLEAR, *module.KEYS, "correct_digits")}
        monkeypatch.setattr(module, "PIECE", 4)
        parts = Comparison(reference, candidate, bound, error)
        are_clear = [piece.are_clear for _, piece in parts.pieces()]
        assert any(are_clear) and not all(are_clear)
        for name, expected in whole.items():
            assert np.array_equal(getattr(parts, name), expected, equal_nan=expected.dtype.kind == "f"), name
            assert parts.has_any(name) == Comparison(reference, candidate, bound, error).has_any(name)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("error", [0.0, 2e-4, 0.02, 0.21, 1.5])
def test_an_entry_is_said_to_be_what_it_is_beside_all_that_the_exact_value_may_be(
    sign: float, error: float
) -> None:
    """The definitions of section 7, word by word, beside 401 exact values from one end of the error to the other.

    The candidates lie outside of the reference: then the ends that decide are the same for all definitions.
    """
    apart = [0.0, 1e-9, 1.3e-3, 0.09, 0.13, 0.6, 2.0]
    bounds = [0.05, 0.2, 0.45, 0.7]
    values = sign * np.linspace(1 - error, 1 + error, 401 if error else 1)
    values = np.append(values, 0.0) if error > 1 else values
    cases = [(sign * (1 + part), bound) for part in apart for bound in bounds]
    candidate, bound = (np.array(column) for column in zip(*cases, strict=True))
    against = Comparison(
        np.full(len(cases), sign), candidate, bound, error if not error else np.full(28, error)
    )
    for k, (number, limit) in enumerate(cases):
        off = [abs(number - value) for value in values]
        within = [distance <= limit for distance in off]
        resolved = [bool(value) and 2 * limit <= abs(value) for value in values]
        lost = [
            number != value and bool(value) and distance > abs(value) / 10
            for distance, value in zip(off, values, strict=True)
        ]
        said = {
            "within": all(within),
            "beyond": not any(within),
            "open": any(within) and not all(within),
            "resolved": all(resolved),
            "perhaps_resolved": any(resolved),
            "nonzero": error < 1,
            "perhaps_nonzero": True,
            "no_correct_digit": all(lost),
            "perhaps_no_digit": any(lost),
            "unbounded": False,
        }
        assert {name: bool(getattr(against, name)[k]) for name in said} == said, (number, limit)
        relative = max(
            distance / abs(value) if value else np.inf for distance, value in zip(off, values, strict=True)
        )
        with np.errstate(divide="ignore"):
            assert against.correct_digits[k] == np.clip(np.floor(-np.log10(relative)), 0, 16)


def test_a_reference_that_is_off_by_nothing_is_exact() -> None:
    """Errors of 0, one for each entry, say what no errors say: of zeros, infinities and what is no number, too."""
    special = np.array([0.0, 1.0, -3.0, np.inf, -np.inf, np.nan, 1e308])
    reference, candidate, bound = (
        part.ravel() for part in np.meshgrid(special[:-1], special, [0.0, 0.01, 5.0, np.inf])
    )
    with np.errstate(all="ignore"):
        plain = Comparison(reference, candidate, bound)
        zeros = Comparison(reference, candidate, bound, np.zeros(reference.size))
        some = Comparison(reference, candidate, bound, np.where(np.arange(reference.size) % 2, 0.0, 1e-3))
        for name in (*module.CLEAR, *module.KEYS, "correct_digits", "perhaps_resolved", "perhaps_nonzero"):
            expected = getattr(plain, name)
            np.testing.assert_array_equal(getattr(zeros, name), expected, name)
            if name != "open":
                np.testing.assert_array_equal(getattr(some, name)[1::2], expected[1::2], name)
        assert not zeros.open.any() and not some.open[1::2].any()


def test_bounds_are_parts_of_what_is_not_zero() -> None:
    relative = comparison([2.0, 0.0, -4.0], [2.0, 0.0, -4.0], [1.0, 1.0, 1.0]).relative_bounds
    np.testing.assert_array_equal(relative, [[0.5, np.nan, 0.25]])


@pytest.mark.parametrize(("times", "order"), [(1.004, [0, 1]), (1.03, [1, 0])])
def test_what_bounds_leave_open_counts_to_three_digits(times: float, order: list[int]) -> None:
    assert comparison([1.0, 1.0], [1.0, 1.0], [1e-16, times * 1e-16]).worst(None).tolist() == order


def test_a_notebook_shows_the_worst_entries_with_all_that_is_known_of_them() -> None:
    page = comparison([1.0, 4.0], [1.0, 4.5], [0.25, 0.125])._repr_html_()
    cells = re.findall("<t[hd]>(.*?)</t[hd]>", page)
    assert cells[:6] == ["entry", "candidate", "reference", "difference", "bound", "within"]
    assert cells[6:] == [
        *("0, 1", "4.5", "4", "0.5", "0.125", "no"),
        *("0, 0", "1", "1", "0", "0.25", "yes"),
    ]


def test_a_distance_that_is_rounded_down_to_the_bound_is_not_within_it() -> None:
    """1 + 2**-54 is 1 in float64."""
    against = Comparison(np.array([100.0]), np.array([101.0]), np.array([1.0]), np.array([2.0**-54]))
    assert not against.within.any() and not against.beyond.any()


# An entry: reference, candidate, bound and error; and what is said of it, which is that of the limit itself.
AT_LIMITS: list[tuple[tuple[float, float, float, float], dict[str, bool]]] = [
    ((1.0, 1.25, 0.25, 0.0), {"within": True, "beyond": False, "resolved": True, "unresolved": False}),
    ((-1.0, -1.25, 0.25, 0.0), {"within": True, "beyond": False}),
    ((1.0, 1.5, 0.5, 0.0), {"within": True, "resolved": True, "unresolved": False, "no_correct_digit": True}),
    ((1.0, 1.5, 0.25, 0.0), {"within": False, "beyond": True, "unresolved": False}),
    ((1.0, 1.0, 0.75, 0.0), {"within": True, "resolved": False, "unresolved": True, "no_correct_digit": False}),
    ((10.0, 11.0, 2.0, 0.0), {"no_correct_digit": False, "perhaps_no_digit": False}),
    ((10.0, 11.5, 2.0, 0.0), {"no_correct_digit": True, "perhaps_no_digit": True}),
    ((0.0, 1.0, 2.0, 0.0), {"no_correct_digit": False, "nonzero": False, "perhaps_nonzero": False}),
    ((1.0, 1.0, 0.0, 1.0), {"nonzero": False, "perhaps_nonzero": True, "open": True}),
    ((0.0, 1.0, 2.0, 0.5), {"nonzero": False, "perhaps_nonzero": True, "resolved": False}),
    ((2.0, 2.0, 0.5, 1.0), {"resolved": True, "nonzero": True}),
    ((2.0, 2.0, 0.5, 1.25), {"resolved": False, "perhaps_resolved": True}),
    ((2.0, 2.0, 1.5, 1.0), {"resolved": False, "perhaps_resolved": True}),
    ((2.0, 2.0, 1.75, 1.0), {"perhaps_resolved": False}),
    ((1.0, 1.0, 0.25, 0.25), {"within": True, "open": False, "perhaps_no_digit": True}),
    ((1.0, 1.0, 0.25, np.inf), {"within": False, "beyond": False, "open": True, "unbounded": False}),
    ((1.0, 2.0, np.inf, 0.0), {"within": False, "beyond": False, "unbounded": True, "open": False}),
    ((1.0, np.inf, np.inf, 0.5), {"within": False, "beyond": True, "unbounded": False}),
    ((np.inf, np.inf, 1.0, 0.5), {"within": True, "beyond": False, "no_correct_digit": False}),
    ((np.inf, 1.0, 1.0, 0.5), {"within": False, "no_correct_digit": True}),
    ((np.inf, 1.0, 1.0, np.inf), {"no_correct_digit": False}),
]  # fmt: skip


@pytest.mark.parametrize(("entry", "said"), AT_LIMITS)
@pytest.mark.parametrize("beside", [0.0, 1.0])
def test_at_its_limit_an_entry_is_what_section_7_says(
    entry: tuple[float, ...], said: dict[str, bool], beside: float
) -> None:
    """Beside another one, that is exact or off by something; and alone, where errors of 0 are no array."""
    parts = [np.array([value, other]) for value, other in zip(entry, (3.0, 3.0, 1.0, beside), strict=True)]
    with np.errstate(all="ignore"):
        both = Comparison(*parts)
        alone = Comparison(*[part[:1] for part in (parts if entry[3] else parts[:3])])
        for against in (both, alone):
            assert {name: bool(getattr(against, name)[0]) for name in said} == said


@pytest.mark.parametrize(
    ("references", "candidates", "errors", "expected"),
    [
        ([1.0, 2.0], [2.0, 1.0], [0.0, 0.0], True),
        ([1.0, 2.0], [2.0, 2.0], [0.0, 0.0], False),
        ([1.0, 0.0], [2.0, 5.0], [0.0, 0.0], True),  # a zero has no digit that could be correct
        ([0.0, 0.0], [2.0, 5.0], [0.0, 0.0], False),
        ([1.0, 1e-9], [2.0, 0.0], [0.0, 1e-3], None),
        ([1e-9, 1e-9], [2.0, 2.0], [1e-3, 1e-3], None),
        ([1.0, 2.0], [2.0, 2.15], [0.1, 0.1], None),
        ([1.0, 2.0], [2.0, 2.01], [0.1, 0.01], False),
    ],
)
def test_no_digit_is_correct_where_all_that_may_have_one_have_none(
    references: list[float], candidates: list[float], errors: list[float], expected: bool | None
) -> None:
    against = Comparison(np.array(references), np.array(candidates), np.full(2, 9.0), np.array(errors))
    assert against.is_without_digits is expected


def test_what_is_looked_for_is_looked_for_until_it_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE", 4)
    reference = np.arange(1.0, 13.0)
    bound = np.where(np.arange(12) == 5, 0.0, 100.0)
    looked_at: list[int] = []
    formula = module.Comparison.pieces

    def counted(comparison: Comparison) -> Any:
        for piece in formula(comparison):
            looked_at.append(piece[0].start)
            yield piece

    monkeypatch.setattr(module.Comparison, "pieces", counted)
    assert Comparison(reference, reference, bound).has_any("resolved")
    assert looked_at == [0, 4]
    looked_at.clear()
    assert not Comparison(reference, reference, np.full(12, 100.0)).has_any("resolved")
    assert looked_at == [0, 4, 8]
    looked_at.clear()
    known = Comparison(reference, reference, bound)
    assert known.resolved.tolist() == (bound == 0).tolist() and known.has_any("resolved")
    assert looked_at == [0, 4, 8]  # what is known is not looked for again
    assert {*known.__dict__} == {"resolved"}
    assert known.within.all() and {*known.__dict__} == {"resolved", *module.CLEAR}
    uneven = Comparison(reference, reference, np.array(100.0))
    looked_at.clear()
    assert uneven.is_uneven and not uneven.has_any("resolved") and looked_at == []


@pytest.mark.parametrize(
    ("part", "value", "is_clear"),
    [
        ("candidate", 1.0, True),
        ("candidate", 1.05, True),
        ("candidate", 1.11, False),  # without a digit
        ("bound", 0.01, True),
        ("bound", 1e-9, False),
        ("bound", np.inf, False),
        ("error", 0.5, False),
        ("error", 1e-3, True),
        ("candidate", np.nan, False),
        ("reference", 0.0, False),
        ("reference", 0.92, True),
        ("error", 0.094, False),  # of an exact value that may be so much smaller
    ],
)
def test_an_entry_is_clear_if_it_is_within_its_bound_with_a_digit(
    part: str, value: float, is_clear: bool
) -> None:
    parts = {"reference": 1.0, "candidate": 1.005, "bound": 0.2, "error": 0.0} | {part: value}
    against = Comparison(**{name: np.array([one]) for name, one in parts.items()})
    assert against.are_clear == is_clear
    larger = Comparison(**{name: np.array([4 * one]) for name, one in parts.items()})
    assert larger.are_clear == is_clear
    if is_clear:
        assert {name: bool(getattr(against, name)[0]) for name in module.CLEAR} == module.CLEAR


def test_a_notebook_counts_what_is_beyond_its_bound() -> None:
    page = comparison([1.0, 4.0, 1.0], [1.0, 4.5, 3.0], [0.25, 0.125, 0.1])._repr_html_()
    assert "3 entries, 2 beyond their bound" in page


def test_of_a_stack_the_worst_of_each_problem_comes_first() -> None:
    parts = [[1.0, 1.0, 1.0, 1.0], [1.0, 2.0, 3.0, 1.0], [0.1, 0.1, 0.1, 0.1]]
    rows = Comparison(*(np.array([part]) for part in parts)).in_rows(2)
    assert rows.reference.shape == (2, 2)
    assert rows.row_by_row.tolist() == [[1, 0], [0, 1]]
    some = Comparison(*(np.array(part) for part in parts)).at(np.array([2, 0]))
    assert some.candidate.tolist() == [3.0, 1.0] and np.ndim(some.error) == 0
    whole = Comparison(*[*map(np.array, parts), np.full(4, 0.5)])
    assert whole.at(np.arange(4)) is whole and np.ravel(whole.at(np.array([1])).error).tolist() == [0.5]
    assert not whole.is_exact and whole.ulps is None


@pytest.mark.parametrize("most", [1, 2, 3, 4, 6, 9])
def test_the_worst_are_the_first_of_all(most: int) -> None:
    """However they are told apart: by what they are, by their difference, or by their bound."""
    reference, candidate = np.ones(6), np.array([1.0, np.nan, 3.0, 2.0, 1.0, 1.0])
    against = Comparison(reference, candidate, np.array([0.1, 0.1, 0.1, 0.1, 0.3, 0.2]))
    order = [1, 2, 3, 4, 5, 0]
    assert against.worst(most).tolist() == order[:most]
    among = np.array([True, False, False, True, False, True])
    assert against.worst(most, among).tolist() == [3, 5, 0][:most]


def test_a_gradient_that_is_not_there_is_told_with_those_that_are() -> None:
    from xegrad import METHODS, InputError, Problem, Targets

    evaluation = METHODS["shortcut"].evaluate(
        Problem([[1.0, -1.0]], [[3.0]], Targets([0])), ("weights", "bias")
    )
    assert module.numbers_of(evaluation, "loss").tolist() == [evaluation.loss]
    assert module.numbers_of(evaluation, "bias") is evaluation.gradients["bias"]
    with pytest.raises(
        InputError, match="there is no 'inputs' among the gradients weights, bias; evaluate it too"
    ):
        module.numbers_of(evaluation, "inputs")


def test_distances_are_widened_by_a_little_of_themselves() -> None:
    """2^-50 of |C - v| (7.1), beside what the reference may be off by."""
    against = Comparison(np.array([1.0]), np.array([3.0]), np.array([1.0]), np.array([0.25]))
    size, least, most = against._distances
    reach = 0.25 + 2.0**-50 * 2
    assert size == 2 and least == 2 - reach and most == 2 + reach
