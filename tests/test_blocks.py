"""What views are made of, laid out for a terminal: wrapped text, columns side by side, lists, code."""

from __future__ import annotations

import pytest
from rich.text import Text

from xegrad.display import blocks
from xegrad.display.blocks import (
    Beside,
    Block,
    Column,
    Figure,
    Listing,
    Paragraph,
    Replacement,
    Table,
    Verdict,
)
from xegrad.display.pictures import drawn, fenced
from xegrad.display.terminal import Lines, bands, lines, of_block


def plain(block: Block, width: int = 80) -> list[str]:
    return [line.plain for line in of_block(block, width)]


def wrap(text: str, width: int, label: str = "") -> list[str]:
    return plain(Paragraph(text, label), width)


def test_wrapped_text_is_indented_as_far_as_its_beginning() -> None:
    assert (wrap("one two three four five six seven eight", 28, "how   ")) == [
        "how   one two three four",
        "      five six seven eight",
    ]
    assert wrap("dL/dW = x S", 26, "    ") == ["    dL/dW = x S"]


def test_wrapped_text_keeps_blanks_within_a_line_and_words_that_fit() -> None:
    assert (wrap("m = 1,  n = 2", 40)) == ["m = 1,  n = 2"]
    long = "W[input 0, class " + "x" * 50 + "]"
    assert (wrap(long, 30)) == ["W[input 0, class", "x" * 30, "x" * 20 + "]"]
    assert (wrap("two\nlines", 40)) == ["two lines"]
    assert (wrap("", 40, "    name     ")) == ["    name"]


def test_wide_characters_count_twice() -> None:
    assert (wrap("猫 猫 猫 猫 猫 猫 猫 猫", 20)) == ["猫 猫 猫 猫 猫 猫 猫", "猫"]
    assert plain(Table([Column(["猫", "b"]), Column(["1", "2"])])) == ["猫  1", " b  2"]


@pytest.mark.parametrize("width", [30, 47, 80])
def test_no_wrapped_line_is_wider_than_the_page(width: int) -> None:
    text = "The gradient is multiplied with a constant, binary-cross-entropy or not, by 1 / B. " * 3
    for block in (
        Paragraph(text),
        Paragraph(text, "slip  "),
        Verdict(blocks.WRONG, f"WRONG: {text}"),
        Listing([Column(["a", "bb"])], [text] * 2),
    ):
        laid_out = of_block(block, width)
        assert max(line.cell_len for line in laid_out) <= width
        words = " ".join(" ".join(line.plain for line in laid_out).split())
        assert words.count("binary-cross-entropy or not,") >= 3


def test_wrapped_text_keeps_its_styles() -> None:
    text = Text.assemble("one two three four ", ("five six", "bold"), " seven eight")
    styled = [
        line.plain[span.start : span.end]
        for line in of_block(Paragraph(text), 24)
        for span in line.spans
        if span.style == "bold"
    ]
    assert styled == ["five", "six"]


@pytest.mark.parametrize(("kind", "begins"), [(kind, sign) for kind, (sign, _) in blocks.SIGNS.items()])
def test_a_verdict_begins_with_a_sign_and_its_first_word_in_its_style(kind: str, begins: str) -> None:
    first, second = of_block(Verdict(kind, "RIGHT: all of it, and some more words"), 24)
    assert (first.plain[0], second.plain[:2]) == (begins, "  ")
    style = kind
    coloured = [first.plain[span.start : span.end] for span in first.spans if span.style == style]
    assert coloured == ["RIGHT", begins]
    assert of_block(Verdict(kind, "RIGHT: all"), 24, ascii=True)[0].plain.isascii()


def test_what_came_out_ends_at_a_colon_or_a_bracket() -> None:
    assert Verdict(blocks.RIGHT, "RIGHT: all of it (or so)").outcome == "RIGHT"
    assert (
        Verdict(blocks.NEARLY, "The loss is correct if so (1 digit): yes").outcome
        == "The loss is correct if so"
    )


def test_columns_stand_at_the_right_below_their_headings_and_labels_at_the_left() -> None:
    table = Table(
        [Column(["1", "-20"], "x"), Column(["3", "4"], "long")],
        [Column(["a", "bb"], "name", left=True)],
    )
    assert plain(table) == ["name    x  long", "a       1     3", "bb    -20     4"]


def test_what_is_wider_than_the_page_goes_on_in_bands_that_repeat_the_labels() -> None:
    columns = [Column(["1.25", "2.5"], f"c{k}") for k in range(5)]
    label = Column(["r0", "r1"])
    assert plain(Table(columns, [label]), 14) == [
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
    assert plain(Table([Column(["1", "2"]), Column(["3", ""])], [Column(["", ""])])) == [
        "  1  3",
        "  2   ",  # a view has no blanks at the end of a line
    ]


def test_lines_of_code_are_a_diff() -> None:
    assert plain(Replacement("a\n  b", "c"), 60) == [
        "    - a",
        "    -   b",
        "    + c",
    ]
    assert len(plain(Replacement("x = f(y)    # " + "word " * 20, "c"), 40)) > 2


def test_a_view_is_its_sections_with_an_empty_line_between() -> None:
    view: blocks.View = [[Paragraph("a"), Paragraph("b")], [], [Paragraph("c")]]
    assert drawn(view, "table", 80) == "a\nb\n\nc\n"
    assert drawn(view, "markdown", 80) == "```text\na\nb\n\nc\n```\n"


def test_a_picture_is_as_wide_as_its_longest_line() -> None:
    line = ("long " * 60).strip()
    assert line.replace(" ", "&#160;") in drawn([[Figure([Text(line)])]], "svg", 80)


def test_a_fence_is_longer_than_what_it_holds() -> None:
    assert fenced("a ``` b ```` c\n").splitlines()[0] == "`````text"
    assert fenced("a\n") == "```text\na\n```\n"


def test_a_style_ends_with_its_half_of_the_page() -> None:
    heading, aside = Figure([Text("a" * 50, style="heading")]), Figure([Text("b" * 50)])
    (line,) = of_block(Beside([[heading]], [[aside]]), 110)
    assert line.plain.endswith("b" * 50)
    assert [(span.start, span.end) for span in line.spans] == [(0, 50)]
    assert line.style == ""


def test_ascii_has_other_signs_for_ours() -> None:
    laid_out: Lines = lines([[Paragraph("Σ_j x · W …"), Paragraph("…")]], 80, ascii=True)
    assert [line.plain for line in laid_out] == ["Sum_j x * W ~", "~"]
