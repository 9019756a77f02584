"""The map of a matrix, and the grounds that say how large its numbers are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from rich.text import Text

from xegrad.display import themes
from xegrad.display.heatmap import heatmap
from xegrad.display.shading import shade
from xegrad.display.terminal import lines
from xegrad.inert import cut


def drawn_map(matrix: Any, **options: Any) -> Text:
    """The lines of a map as one text."""
    section = heatmap(np.asarray(matrix), **options)
    return Text("\n").join(lines([section], options["width"]))


def names(count: int) -> list[str]:
    return [str(index) for index in range(count)]


def test_a_shade_goes_up_to_its_quarter_and_a_sign_needs_no_colour() -> None:
    matrix = np.array([[-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0]])
    text = drawn_map(matrix, rows=["r"], columns=names(9), width=60)
    assert text.plain.splitlines()[1] == "r -█ -▓ -▒ -░  · +░ +▒ +▓ +█"
    assert text.plain.splitlines()[2:] == ["░ to 1   ▒ to 2   ▓ to 3   █ to 4", "· zero"]


def test_grounds_are_blue_below_zero_and_orange_above_and_darker_the_larger_the_number() -> None:
    styles = [shade(value, 4.0) for value in (-4.0, -1.0, 0.0, 1e-300, 4.0)]
    assert styles == ["below-4", "below-1", "zero", "above-1", "above-4"]
    for theme in (themes.DARK, themes.LIGHT):
        for k in themes.QUARTERS:
            below, above = (
                themes.styles(theme)[f"{side}-{k}"].split(" on #")[1] for side in ("below", "above")
            )
            assert int(below[4:], 16) > int(below[:2], 16), "more blue than red"
            assert int(above[:2], 16) > int(above[4:], 16), "more red than blue"
    text = drawn_map([[-1.0, 1.0]], rows=["r"], columns=names(2), width=60, colored=True)
    assert {text.plain[span.start : span.end]: span.style for span in text.spans}["- "] == "below-4"


def test_the_ink_of_a_ground_can_be_read() -> None:
    """The contrast of WCAG 2, relative luminance by relative luminance, is 4.5 at least."""
    for theme in (themes.DARK, themes.LIGHT):
        for look in (look for name, look in themes.styles(theme).items() if " on #" in look):
            bright, dim = sorted(map(luminance, look.split(" on ")), reverse=True)
            assert (bright + 0.05) / (dim + 0.05) >= 4.5, look


def luminance(colour: str) -> float:
    parts = (int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5))
    linear = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_rows_and_columns_of_which_all_is_marked_have_a_sign() -> None:
    marked = np.array([[True, True], [False, True]])
    plain = drawn_map(
        [[1.0, 2.0], [0.0, 3.0]], rows=["a", "b"], columns=["c", "d"], width=60, marked=marked
    ).plain
    assert plain.splitlines()[:3] == ["    c ▸d", "▸a +▒ +▓", " b  · +█"]
    everywhere = drawn_map([[1.0]], rows=["a"], columns=["c"], width=60, marked=np.array([[True]])).plain
    assert "▸" not in everywhere


def test_a_block_with_a_guilty_column_is_marked_above_it() -> None:
    values = np.zeros((2, 60))
    values[:, 31] = 1.0
    above, marks, first, *_ = drawn_map(
        values, rows=["a", "b"], columns=names(60), width=62, marked=values > 0
    ).plain.splitlines()
    assert above.split() == ["0-2", "..", "57-59"]
    assert marks.index("▾") == first.index("+█")  # that of columns 30 to 32


def test_a_name_of_wide_characters_is_cut_to_its_columns() -> None:
    assert cut("猫の名前", 8) == "猫の名前"
    assert cut("猫の名前", 7) == "猫の名…"
    assert cut("猫の名前", 6) == "猫の…"


def test_next_to_nothing_is_not_zero() -> None:
    assert "+░" in drawn_map(np.array([[1e-300, 1.0]]), rows=["r"], columns=names(2), width=60).plain


def test_a_matrix_of_zeros_has_no_shades() -> None:
    assert (
        drawn_map(np.zeros((1, 2)), rows=["r"], columns=names(2), width=60).plain
        == "   0  1\nr  ·  ·\n· zero"
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
