"""The heat map and the sparkline, as text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from rich.text import Text

from xegrad.display.descent import sparkline
from xegrad.display.heatmap import NEGATIVE, POSITIVE, heatmap


def drawn_map(matrix: Any, **options: Any) -> Text:
    """The lines of a heat map as one text."""
    return Text("\n").join(heatmap(np.asarray(matrix), **options).lines)


def names(count: int) -> list[str]:
    return [str(index) for index in range(count)]


def test_a_shade_goes_up_to_its_quarter_and_a_sign_needs_no_colour() -> None:
    matrix = np.array([[-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0]])
    text = drawn_map(matrix, rows=["r"], columns=names(9), width=60)
    assert text.plain.splitlines()[1] == "r -█ -▓ -▒ -░  · +░ +▒ +▓ +█"
    assert text.plain.splitlines()[2:] == [
        "- below 0   + above 0   · 0",
        "░ to 1   ▒ to 2   ▓ to 3   █ to 4",
    ]


def test_blue_is_below_zero_and_orange_above() -> None:
    text = drawn_map(np.array([[-1.0, 1.0]]), rows=["r"], columns=names(2), width=60)
    colours = {text.plain[span.start : span.end]: span.style for span in text.spans}
    assert colours["-█"] == NEGATIVE
    assert colours["+█"] == POSITIVE


def test_next_to_nothing_is_not_zero() -> None:
    assert "+░" in drawn_map(np.array([[1e-300, 1.0]]), rows=["r"], columns=names(2), width=60).plain


def test_a_matrix_of_zeros_has_no_shades() -> None:
    assert (
        drawn_map(np.zeros((1, 2)), rows=["r"], columns=names(2), width=60).plain == "   0  1\nr  ·  ·\n· 0"
    )


def test_ascii_is_ascii() -> None:
    matrix = np.random.default_rng(0).normal(size=(40, 90))
    matrix[3, 4], matrix[20, 60] = np.nan, np.inf
    text = drawn_map(matrix, rows=["a long name of a row"] * 40, columns=names(90), width=60, ascii=True)
    assert text.plain.isascii()


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (5, 15), (30, 20), (100, 1000)])
def test_it_fits_and_says_when_a_cell_is_many_entries(width: int, shape: tuple[int, int]) -> None:
    matrix = np.random.default_rng(0).normal(size=shape)
    columns = [f"class {index}" for index in range(shape[1])]
    lines = drawn_map(matrix, rows=names(shape[0]), columns=columns, width=width).plain.splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) <= 24 + 4
    binned = "each cell: the largest of" in lines[-1]
    assert binned == (shape[0] > 24 or 3 * shape[1] > width - 2)


def test_a_block_shows_its_entry_of_the_largest_magnitude() -> None:
    matrix = np.zeros((48, 1))
    matrix[0, 0], matrix[1, 0], matrix[2, 0] = 1.0, -2.0, 0.5
    lines = drawn_map(matrix, rows=names(48), columns=["c"], width=60).plain.splitlines()
    assert lines[1:4] == ["  0-1 -█", "  2-3 +░", "  4-5  ·"]
    assert lines[-1] == "each cell: the largest of 2 x 1 entries, by magnitude"


def test_what_is_no_number_is_shown_as_such() -> None:
    matrix = np.array([[np.nan, np.inf, -np.inf, 1.0]])
    plain = drawn_map(matrix, rows=["r"], columns=names(4), width=60).plain
    assert plain.splitlines()[1] == "r ?? +∞ -∞ +█"
    assert "∞ infinite   ?? not a number" in plain


@pytest.mark.parametrize(
    ("values", "drawn"),
    [
        ([7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0], "█▇▆▅▄▃▂▁"),
        ([1.0, 1.0], "▁▁"),
        ([3.0], "▁"),
        ([1e308, -1e308], "█▁"),
    ],
)
def test_a_sparkline_is_higher_for_larger(values: list[float], drawn: str) -> None:
    assert sparkline(values) == drawn


def test_a_long_sparkline_keeps_the_first_and_the_last() -> None:
    line = sparkline([100.0, *([0.0] * 998), 50.0], width=20, ascii=True)
    assert line == "#" + "_" * 18 + "="
