"""One right gradient as eight languages print it: right, or right with the option that is named; changed, never right.

The prints are in tests/data/prints, made by benchmarks/prints.py; table.json says what made each.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT, Run
from xegrad import bounds, read

pytestmark = pytest.mark.usefixtures("undiagnosed")

PRINTS = Path(__file__).parent / "data" / "prints"
TABLE: dict[str, dict[str, str]] = json.loads((PRINTS / "table.json").read_text())
PROBLEMS = {"seed": ROOT / "sample_inputs" / "seed.json", "batch": PRINTS / "batch.json"}

NUMBER = re.compile(r"(?<![\w.])-?(?:0x[0-9a-f.]+p[-+]\d+|\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)(?![\w.])")
DECIMAL = re.compile(r"(-?\d+)(?:\.(\d*))?(?:([eE])([-+]?\d+))?")
ASIDE = re.compile(
    r"""(?m)\[,\d\]|^(\[\d,\]|"?x?\d"?(?=[ ,]))|Float\d+Array\(\d\)|float\d+\(|Columns[ ].*""", re.VERBOSE
)
ROWS, COLUMNS = 3, 5


class Cell:
    """The text of an entry, where it stands, and the unit of its last place."""

    def __init__(self, match: re.Match[str], text: str) -> None:
        self.start, self.text = match.start() + match[0].index(text), text
        decimal = DECIMAL.fullmatch(text)
        self.is_decimal = decimal is not None
        self.decimals, self.letter, exponent = 0, "", 0
        if decimal is not None:
            self.decimals, self.letter = len(decimal[2] or ""), decimal[3] or ""
            exponent = int(decimal[4] or 0)
        self.unit = 10.0 ** (exponent - self.decimals) if self.is_decimal else 0.0
        self.value = float(text) if self.is_decimal else float.fromhex(text)

    def moved(self, distance: float) -> str:
        """So much more, away from zero, in the same format."""
        if not self.is_decimal:
            return float.hex(self.value + (distance if self.value > 0 else -distance))
        value = Decimal(self.text)
        value += Decimal(distance) if value >= 0 else -Decimal(distance)
        return f"{value:.{self.decimals}{self.letter or 'f'}}"


def cells_of(text: str) -> list[Cell]:
    """The entries row by row: headers and names stand before them; R and Octave print blocks of columns."""
    cells = [
        Cell(match, match[0]) for match in NUMBER.finditer(ASIDE.sub(lambda match: " " * len(match[0]), text))
    ]
    cells = cells[-ROWS * COLUMNS :]
    lines: dict[int, list[Cell]] = {}
    for cell in cells:
        lines.setdefault(text.count("\n", 0, cell.start), []).append(cell)
    if "Columns" in text or "[,1]" in text:
        cells = [cell for row in range(ROWS) for line in list(lines.values())[row::ROWS] for cell in line]
    return cells


def replaced(text: str, changes: dict[int, str], cells: list[Cell]) -> str:
    for index in sorted(changes, reverse=True):
        start = cells[index].start
        text = text[:start] + changes[index] + text[start + len(cells[index].text) :]
    return text


def judged(run: Run, problem: str, text: str, *options: str) -> tuple[int, dict[str, Any], str]:
    """The exit status; the result, or nothing if the text was refused; what a person sees instead."""
    arguments = "verify", str(PROBLEMS[problem]), "--gradient", "-", *options
    status, out, err = run(*arguments, "--json", stdin=text)
    return status, json.loads(out) if out else {}, err


def options_of(right_if: dict[str, Any] | None) -> list[str]:
    """{"dtype": "float32", "digits_printed": 6} as on the command line."""
    return [
        word for key, value in (right_if or {}).items() for word in ("--" + key.replace("_", "-"), str(value))
    ]


def test_every_print_says_where_it_is_from() -> None:
    assert {path.stem for path in PRINTS.glob("*.txt")} == TABLE.keys()
    assert all(row["origin"] and row["command"] for row in TABLE.values())


@pytest.mark.parametrize("name", TABLE)
def test_a_print_is_right_or_names_the_option_that_makes_it_right(run: Run, name: str) -> None:
    """And the sentence names it on the screen."""
    problem, text = TABLE[name]["problem"], (PRINTS / f"{name}.txt").read_text(encoding="utf-8")
    status, result, error = judged(run, problem, text)
    assert result, error
    if status != 0:
        options = options_of(result["candidate"].get("right_if") or result.get("right_if"))
        assert options, result["candidate"]["outcome"]
        shown = run("verify", str(PROBLEMS[problem]), "--gradient", "-", stdin=text).out
        assert all(
            " ".join(pair) in " ".join(shown.split())
            for pair in zip(options[::2], options[1::2], strict=True)
        )
        status, result, error = judged(run, problem, text, *options)
    assert status == 0, error
    assert result["candidate"]["outcome"] in ("right", "digits-lost")


# The same prints, changed.

Change = Callable[[str, list[Cell], Any, random.Random], Iterator[str]]


def _moved(text: str, cells: list[Cell], bound: Any, chance: random.Random) -> Iterator[str]:
    """One entry moved by eight times what rounding and printing leave open."""
    for index in chance.sample(range(len(cells)), 2):
        cell = cells[index]
        distance = 8 * (bound[index] + cell.unit / 2)
        yield replaced(text, {index: cell.moved(distance)}, cells)


def _digit(text: str, cells: list[Cell], bound: Any, chance: random.Random) -> Iterator[str]:
    """One digit replaced by another, where that changes more than rounding and printing leave open."""
    if not cells[0].is_decimal:
        return
    while True:
        index = chance.randrange(len(cells))
        cell = cells[index]
        place = chance.choice(
            [i for i, digit in enumerate(re.split("[eE]", cell.text)[0]) if digit.isdigit()]
        )
        changed = cell.text[:place] + chance.choice("0123456789") + cell.text[place + 1 :]
        if abs(float(changed) - cell.value) > 8 * (bound[index] + cell.unit / 2):
            yield replaced(text, {index: changed}, cells)
            return


def _cut(text: str, cells: list[Cell], bound: Any, chance: random.Random) -> Iterator[str]:
    """The last number is cut short, or is missing, or its row is."""
    last, end = cells[-1], cells[-1].start + len(cells[-1].text)
    shorter = last.text[:-2]
    if last.is_decimal and not last.letter and last.value - float(shorter) > 8 * (bound[-1] + last.unit / 2):
        yield text[: last.start] + shorter + text[end:]
    yield text[: last.start] + text[end:]
    yield text[: cells[-COLUMNS].start] + text[end:]
    yield text[: cells[-1].start]


def _swapped(text: str, cells: list[Cell], bound: Any, chance: random.Random) -> Iterator[str]:
    """Two rows stand in each other's place, or two columns."""
    rows = {i: cells[(i + COLUMNS) % (2 * COLUMNS)].text for i in range(2 * COLUMNS)}
    yield replaced(text, rows, cells)
    yield replaced(
        text,
        {i: cells[i + 1].text if i % COLUMNS == 0 else cells[i - 1].text for i in (0, 1, 5, 6, 10, 11)},
        cells,
    )


def _dropped(text: str, cells: list[Cell], bound: Any, chance: random.Random) -> Iterator[str]:
    """A column is missing."""
    yield replaced(text, dict.fromkeys((4, 9, 14), ""), cells)


def _words(text: str, cells: list[Cell], bound: Any, chance: random.Random) -> Iterator[str]:
    """Something stands around the numbers that may be part of an expression."""
    yield text.rstrip() + " * 2\n"
    yield text.rstrip() + " / 4\n"
    yield "- " + text.lstrip()
    yield "2 * " + text.lstrip()
    yield text.rstrip() + "\nall of it times 4\n"
    end = cells[7].start + len(cells[7].text)
    yield text[:end] + "?" + text[end:]


CHANGES: dict[str, Change] = {
    change.__name__.strip("_"): change for change in (_moved, _digit, _cut, _swapped, _dropped, _words)
}


EVERY = 1 if os.environ.get("CHANGED_PRINTS") == "all" else 8


@pytest.mark.parametrize("name", [*TABLE][::EVERY])
def test_a_changed_print_is_never_right(run: Run, name: str) -> None:
    """Of every eighth print one digit, and one other change; all changes of all prints where CHANGED_PRINTS=all."""
    row, text = TABLE[name], (PRINTS / f"{name}.txt").read_text(encoding="utf-8")
    problem = read(PROBLEMS[row["problem"]])
    _, result, _ = judged(run, row["problem"], text)
    options = options_of(result.get("candidate", {}).get("right_if"))
    precision = "float32" if "float32" in [row["dtype"], *options] else "float64"
    bound = bounds.stable(problem, arithmetic=bounds.PRECISIONS[precision]).gradients["weights"].ravel()
    cells, chance = cells_of(text), random.Random(name)
    changes = [
        (kind, changed) for kind, make in CHANGES.items() for changed in make(text, cells, bound, chance)
    ]
    if os.environ.get("CHANGED_PRINTS") != "all":
        changes = [change for change in changes if change[0] == "digit"] + [chance.choice(changes)]
    for kind, changed in changes:
        assert changed != text
        for given in ([], options) if options else ([],):
            status, result, _ = judged(run, row["problem"], changed, *given)
            assert status != 0, (kind, given, changed)
            assert not result or result["candidate"]["outcome"] in ("wrong", "undecided"), (
                kind,
                given,
                changed,
            )


@pytest.mark.parametrize(
    ("name", "number", "changed"),
    [
        ("batch-float64-octave-short-g", "-1.1449e-08", "-1.4149e-08"),  # 0 in float16
        ("batch-float32-cpp-scientific", "8.647e-13", "8.47e-13"),
        ("batch-float64-cpp-scientific", "-6.458e-07", "-6.485e-07"),  # between two numbers of bfloat16
    ],
)
def test_a_half_format_explains_no_number_that_it_does_not_hold(
    run: Run, name: str, number: str, changed: str
) -> None:
    text = (PRINTS / f"{name}.txt").read_text(encoding="utf-8")
    assert text.count(number) == 1
    text = text.replace(number, changed)
    status, result, _ = judged(run, TABLE[name]["problem"], text, "--dtype", "auto")
    assert status == 1 and result["candidate"]["outcome"] == "wrong"
    _, result, _ = judged(run, TABLE[name]["problem"], text)
    assert "stored_as" not in (result["candidate"].get("right_if") or {})
