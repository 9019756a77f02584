"""Numbers as people read them."""

from __future__ import annotations

import math

import pytest

from xegrad.display.numbers import decimals_for, in_column
from xegrad.naming import ordinal
from xegrad.slips.rows import in_words


@pytest.mark.parametrize(
    ("largest", "digits", "decimals"), [(0.39, 8, 8), (1.0, 8, 7), (123.4, 8, 5), (0.0, 8, 7), (5e-5, 3, 7)]
)
def test_the_largest_of_a_column_gets_the_digits(largest: float, digits: int, decimals: int) -> None:
    assert decimals_for([largest, largest / 10, math.inf, math.nan], digits) == decimals


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (-0.3915083349812416, "-0.39150833"),
        (0.01572474, "0.01572474"),
        (1.37020936e-20, "1.3702094e-20"),
        (0.0, "0"),
        (-0.0, "0"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
    ],
)
def test_a_column_of_eight_decimals(value: float, text: str) -> None:
    assert in_column(value, 8, 8) == text


@pytest.mark.parametrize(
    ("index", "word"), [(0, "first"), (2, "third"), (9, "tenth"), (10, "11th"), (20, "21st"), (111, "112th")]
)
def test_ordinals_count_from_one(index: int, word: str) -> None:
    assert ordinal(index) == word


def test_rows_that_are_left_out_in_steps_are_counted_in_ordinals() -> None:
    assert in_words({"rows": "0 21 42"}, 63) == "Every 21st row, from row 0,"
    assert in_words({"rows": "0 21 42"}, 64) == "Every 21st row, from row 0 to row 42,"  # and not row 63
