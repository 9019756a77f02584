"""Names are cut before numbers, and by columns, at every width; numbers are shown whole."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from rich.cells import cell_len
from rich.color import Color, ColorSystem
from rich.style import Style

from conftest import Run, problem_json
from xegrad import Problem, Targets, check, compute, descend, explain
from xegrad.display import screen, themes
from xegrad.display.blocks import Column, Heading, Listing, Paragraph, Table, View
from xegrad.display.computation import computation_view
from xegrad.display.descent import descent_view
from xegrad.display.explanation import explanation_view
from xegrad.display.page import PageSettings
from xegrad.display.pictures import drawn
from xegrad.display.terminal import WIDEST, lines
from xegrad.display.verification import verification_view
from xegrad.problem import Layout
from xegrad.verification import verify_methods

NUMBER = re.compile(r"(?<![\w.])-?\d+\.?\d*(?:e[+-]?\d+)?(?![\w.]*\w)")
# What a column is filled with: the letters of names, of one and two columns, none, and those that are spelled out.
LETTERS = {"latin": "a", "wide": "猫", "emoji": "🐱", "combining": "e\u0301", "control": "\x1b"}
WIDTHS, EVERY = (40, 97), range(30, 141)

Views = dict[str, Callable[[PageSettings], View]]


@cache
def views(letter: str, length: int) -> Views:
    """Every view of a problem whose names have so many letters, of small and large numbers, by what shows it."""
    chance = random.Random(1)
    weights = [[chance.uniform(-30, 30) for _ in range(3)] for _ in range(2)]
    classes, input_names = (tuple(letter * length + other for other in others) for others in ("xyz", "uv"))
    inputs, labels = [[0.5, -0.25], [1e-3, 2.0]], [1, 2]
    batch = Problem(weights, inputs, Targets(labels), classes=classes, input_names=input_names)
    one = Problem(weights, inputs[:1], Targets(labels[:1]), classes=classes, input_names=input_names)
    claim = np.array(
        [[chance.uniform(-1, 1) * 10.0 ** -chance.randrange(22) for _ in range(3)] for _ in range(2)]
    )
    judged = check(weights, inputs[0], 1, claim, classes=classes)
    computed, of_batch, methods = compute(one), compute(batch), verify_methods(one, ["weights"])
    explained, descent = explain(one), descend(one, steps=3)

    def with_all(page: PageSettings) -> View:
        all_entries = PageSettings(page.width, entries=True, ascii=page.ascii, heatmaps=False)
        return computation_view(computed, Layout(is_batch=False), all_entries)

    return {
        "compute": lambda page: computation_view(computed, Layout(is_batch=False), page),
        "compute --entries": with_all,
        "compute, a batch": lambda page: computation_view(of_batch, Layout(), page),
        "verify": lambda page: verification_view(judged, page),
        "verify, its methods": lambda page: verification_view(methods, page),
        "explain": lambda page: explanation_view(explained, page),
        "descend": lambda page: descent_view(descent, 0.1, page),
    }


def shown(letter: str, length: int, name: str, width: int, *, ascii: bool = False) -> str:
    page = PageSettings(width, heatmaps=False, ascii=ascii)
    return drawn(views(letter, length)[name](page), "table", width, ascii=ascii)


def numbers(text: str) -> set[str]:
    return {number for number in NUMBER.findall(text) if "." in number or "e" in number}


@pytest.fixture(autouse=True)
def not_explained(undiagnosed: None) -> None:
    """Which mistake it is takes long to find."""


@pytest.mark.parametrize("name", views("a", 1))
@pytest.mark.parametrize("length", [13, 60])
def test_a_number_is_shown_whole_whatever_names_and_width_are(name: str, length: int) -> None:
    whole = numbers(shown("a", 1, name, 400))
    for width in EVERY[length % 25 :: 25]:
        text = shown("a", length, name, width)
        assert numbers(text) <= whole, width
        assert not re.search(r"\d…", text), width
        if name == "verify":  # all that is shown where there is room
            assert numbers(text) == whole, width


def test_the_numbers_of_a_table_are_those_that_were_claimed() -> None:
    chance = random.Random(7)
    claim = [[chance.uniform(-1, 1) * 10.0 ** -chance.randrange(22) for _ in range(3)] for _ in range(2)]
    judged = check([[1, 2, 3], [4, 5, 6]], [0.5, -0.25], 1, claim, classes=["n" * 40, "m" * 40, "o" * 40])
    for width in EVERY[::10]:
        text = drawn(verification_view(judged, PageSettings(width, heatmaps=False)), "table", width)
        table = {float(number) for number in numbers(text.split("worst entries")[1])}
        for value in np.ravel(claim):
            assert min(abs(number - value) for number in table) <= 5e-4 * abs(value), width


@pytest.mark.parametrize("name", views("a", 1))
@pytest.mark.parametrize("letter", LETTERS.values(), ids=LETTERS)
@pytest.mark.parametrize("ascii", [False, True])
def test_no_line_is_wider_than_the_page(name: str, letter: str, ascii: bool) -> None:
    for length, width in zip((60, 7), WIDTHS, strict=True):
        text = shown(letter, length, name, width, ascii=ascii)
        assert max(map(cell_len, text.splitlines())) <= width, (length, width)
        assert text.isascii() or not ascii


@pytest.mark.parametrize("letter", LETTERS.values(), ids=LETTERS)
def test_columns_stand_below_each_other_whatever_names_are_written_with(letter: str) -> None:
    for ascii in (False, True):
        text = shown(letter, 4, "compute --entries", 140, ascii=ascii)
        table = text.split("by each method:\n")[1].split("\n\n")[0].splitlines()
        assert len({*map(cell_len, table)}) == 1


def test_two_names_that_are_cut_are_told_apart() -> None:
    table = shown("a", 60, "verify", 40).split("worst entries")[1].split("worst entries")[0]
    names = [re.sub(r"-?\d+\.\d+.*", "", line) for line in table.splitlines()[1:] if line.strip()]
    assert len({*names}) == len(names) == 6


def test_what_has_no_room_beside_stands_below() -> None:
    listing = Listing([Column(["a" * 25])], ["some words that go on"])
    assert [line.plain for line in lines([[listing]], 40)] == ["a" * 25, "    some words that go on"]
    assert [line.plain for line in lines([[listing]], 60)] == [f"{'a' * 25}  some words that go on"]


def test_labels_are_cut_and_numbers_are_not() -> None:
    table = Table([Column(["-1.2345678e-21"], "a" * 60)], [Column(["n" * 60], left=True)])
    heading, row = (line.plain for line in lines([[table]], 40))
    assert row.endswith("  -1.2345678e-21") and row.startswith("nnnnnn") and len(row) <= 40
    assert heading.rstrip().endswith("…")


def test_sentences_keep_to_a_width_that_is_read_easily() -> None:
    words = "some words and more of them " * 20
    view: View = [[Heading("title")], [Paragraph(words)], [Listing([Column(["name"])], [words])]]
    prose = lines(view, 200)[2:]
    assert max(line.cell_len for line in prose) <= WIDEST
    wide = Table([Column([f"{k}.25"]) for k in range(30)])
    assert max(line.cell_len for line in lines([[wide]], 200)) > WIDEST


@pytest.mark.parametrize("theme", [themes.DARK, themes.LIGHT])
def test_grounds_of_a_map_are_told_apart_where_they_are_shown(theme: str) -> None:
    """In 256 colours each quarter has its own; in 16 it has not, and shades of characters stand for them."""
    styles = [Style.parse(look) for name, look in themes.styles(theme).items() if name[-1:].isdigit()]
    assert len({style.bgcolor.downgrade(ColorSystem.EIGHT_BIT) for style in styles if style.bgcolor}) == len(
        styles
    )
    assert Color.parse("red").system is ColorSystem.STANDARD


def test_sixteen_colours_have_shades_in_place_of_grounds(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_json(W=[[k % 7 - j for k in range(40)] for j in range(40)], x=[0.1] * 40)
    for term, colorterm, has_grounds in (
        ("xterm", "", False),
        ("xterm-256color", "", True),
        ("xterm", "truecolor", True),
    ):
        monkeypatch.setenv("TERM", term)
        monkeypatch.setenv("COLORTERM", colorterm)
        out = run("compute", "--color", "always", stdin=problem).out
        grounds = re.findall(r"\x1b\[(?:\d+;)*(?:4[0-8]|10[0-7])[;m]", out)
        assert bool(grounds) is has_grounds
        assert ("█" in out) is not has_grounds


def test_what_is_in_brackets_among_the_checks_is_explained(run: Run) -> None:
    out = run("verify", stdin=problem_json()).out
    counted = [line for line in out.splitlines() if line.startswith("passed")]
    aside = [line for line in out.splitlines() if line.startswith("(passed)")]
    assert f"all {len(counted)} checks passed" in out
    assert aside and "In brackets: not counted" in out


@pytest.mark.parametrize("columns", ["9" * 5000, "²", "-5", "0", "x", "\x1b[31m"])
def test_no_width_that_is_no_number_ends_a_command(
    run: Run, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    for name in ("COLUMNS", "LINES"):
        monkeypatch.setenv(name, columns)
        for arguments in (("compute",), ("compute", "--color", "always"), ("compute", "--help"), ("--help",)):
            outcome = run(*arguments, stdin=problem_json())
            assert (outcome.status, outcome.err) == (0, "")
            assert outcome.out


def test_a_width_beyond_any_is_the_widest(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "9" * 12)
    outcome = run("explain", stdin=problem_json())
    assert (outcome.status, outcome.err) == (0, "")
    assert max(map(len, outcome.out.splitlines())) <= screen.WIDEST
