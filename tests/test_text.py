"""What views are made of: wrapped text, columns side by side, lists, code."""

from __future__ import annotations

import pytest
from rich.text import Text

from xegrad.display.screen import as_text, fenced, in_ascii
from xegrad.display.text import Column, Section, bands, code, headed, listing, matrix, wrap


def plain(lines: Section) -> list[str]:
    return [line.plain for line in lines]


def test_wrapped_text_is_indented_as_far_as_its_beginning() -> None:
    assert plain(wrap("one two three four five six seven eight", 28, "how   ")) == [
        "how   one two three four",
        "      five six seven eight",
    ]
    formula = wrap("dL/dW = x S", 26, "    ", "      ")
    assert plain(wrap("one two three four five six seven", 26, "    ", "      ")) == [
        "    one two three four",
        "      five six seven",
    ]
    assert plain(formula) == ["    dL/dW = x S"]


def test_wrapped_text_keeps_blanks_within_a_line_and_words_whole() -> None:
    assert plain(wrap("m = 1,  n = 2", 40)) == ["m = 1,  n = 2"]
    long = "W[input 0, class " + "x" * 50 + "]"
    assert plain(wrap(long, 30)) == ["W[input 0, class", "x" * 50 + "]"]
    assert plain(wrap("two\nlines", 40)) == ["two lines"]
    assert plain(wrap("", 40, "    name     ")) == ["    name"]


def test_wide_characters_count_twice() -> None:
    assert plain(wrap("猫 猫 猫 猫 猫 猫 猫 猫", 20)) == ["猫 猫 猫 猫 猫 猫 猫", "猫"]
    assert plain(matrix([Column(["猫", "b"]), Column(["1", "2"])])) == ["猫  1", " b  2"]


@pytest.mark.parametrize("width", [30, 47, 80])
def test_no_wrapped_line_is_wider_than_the_page(width: int) -> None:
    text = "The gradient is multiplied with a constant, binary-cross-entropy or not, by 1 / B. " * 3
    for lines in (
        wrap(text, width),
        wrap(text, width, "slip  "),
        listing([Column(["a", "bb"])], [text] * 2, width),
    ):
        assert max(line.cell_len for line in lines) <= width
        assert " ".join(" ".join(plain(lines)).split()).count("binary-cross-entropy or not,") >= 3


def test_a_sentence_begins_in_its_style() -> None:
    first, *_ = headed("RIGHT: all of it", "bold green", 40)
    assert [(first.plain[span.start : span.end], span.style) for span in first.spans] == [
        ("RIGHT", "bold green")
    ]


def test_columns_stand_at_the_right_below_their_headings_and_labels_at_the_left() -> None:
    lines = matrix(
        [Column(["1", "-20"], "x"), Column(["3", "4"], "long")],
        labels=[Column(["a", "bb"], "name", left=True)],
    )
    assert plain(lines) == ["name    x  long", "a       1     3", "bb    -20     4"]
    assert lines[0].plain == "name    x  long"


def test_what_is_wider_than_the_page_goes_on_in_bands_that_repeat_the_labels() -> None:
    columns = [Column(["1.25", "2.5"], f"c{k}") for k in range(5)]
    label = Column(["r0", "r1"])
    lines = plain(matrix(columns, labels=[label], width=14))
    assert lines == [
        "      c0    c1",
        "r0  1.25  1.25",
        "r1   2.5   2.5",
        "",
        "      c2    c3",
        "r0  1.25  1.25",
        "r1   2.5   2.5",
        "",
        "      c4",
        "r0  1.25",
        "r1   2.5",
    ]
    assert [len(band) for band in bands(columns, [label], 14)] == [2, 2, 1]
    assert [len(band) for band in bands(columns, [label], 3)] == [1] * 5
    assert [len(band) for band in bands(columns, [label])] == [5]


def test_without_headings_there_is_no_line_for_them() -> None:
    assert plain(matrix([Column(["1", "2"]), Column(["3", ""])], labels=[Column(["", ""])])) == [
        "  1  3",
        "  2",
    ]


def test_lines_of_code_stand_beside_what_they_are_for() -> None:
    assert plain(code("a\n  b", "c", 60)) == [
        "    instead of   a",
        "                   b",
        "    write        c",
    ]
    assert len(code("x = f(y)    # " + "word " * 20, "c", 40)) > 2


def test_a_view_is_its_sections_with_an_empty_line_between() -> None:
    view = [[Text("a"), Text("b")], [], [Text("c")]]
    assert as_text(view) == "a\nb\n\nc\n"
    assert as_text(view, "markdown") == "```text\na\nb\n\nc\n```\n"


def test_a_picture_is_as_wide_as_its_longest_line() -> None:
    line = "long " * 60
    assert line.replace(" ", "&#160;").strip("&#160;") in as_text([[Text(line.strip())]], "svg")


def test_a_fence_is_longer_than_what_it_holds() -> None:
    assert fenced("a ``` b ```` c\n").splitlines()[0] == "`````text"
    assert fenced("a\n") == "```text\na\n```\n"


def test_ascii_has_other_signs_for_ours() -> None:
    view = in_ascii([[Text("Σ_j x · W …"), Text("…")]])
    assert [line.plain for line in view[0]] == ["Sum_j x * W ..", ".."]
