"""The curve of a descent: in characters, and as a plot in SVG."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from conftest import Run
from xegrad.display import plot, svg
from xegrad.display.blocks import Plot

SVG = "{http://www.w3.org/2000/svg}"
SEED = "sample_inputs/seed.json"
VALUES = {
    "one": [2.5],
    "two": [2.0, 1.0],
    "three": [2.0, 1.0, 1.5],
    "equal": [0.7] * 5,
    "nothing": [0.0, 0.0],
    "large": [1e300, 3.0, 1e-300, 0.0],
    "largest": [1.7e308, -1.7e308],
    "all large": [1e300] * 3,
    "decades": [10.0**-k for k in range(40)],
    "denormal": [1e-323, 5e-324],
    "smallest": [5e-324, 0.0],
    "neighbours": [1.0, math.nextafter(1.0, 2.0)],
    "many": [2 + math.sin(k) for k in range(100_000)],
}


@pytest.mark.parametrize("name", VALUES)
def test_a_plot_lies_within_its_frame_whatever_the_values(name: str) -> None:
    values = VALUES[name]
    root = ElementTree.fromstring(svg.picture(Plot(values), "done: a sentence"))
    (line,) = root.iter(f"{SVG}polyline")
    points = [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]
    assert all(svg.LEFT <= x <= svg.WIDTH - svg.MARGIN for x, _ in points)
    assert all(0 < y <= svg.TALL - svg.BELOW for _, y in points)
    assert len(points) <= 2 * svg.WIDTH
    assert len([*root.iter(f"{SVG}circle")]) == (len(values) if len(values) <= svg.MOST_MARKED else 0)


@pytest.mark.parametrize("ascii", [False, True], ids=["braille", "ascii"])
@pytest.mark.parametrize("name", VALUES)
def test_a_drawing_fits_the_page_and_has_a_character_in_each_column(name: str, ascii: bool) -> None:
    for width in (40, 60, 80):
        lines = [line.plain for line in plot.drawn(Plot(VALUES[name]), width, ascii=ascii)]
        assert max(map(len, lines)) <= width
        assert all(map(str.isascii, lines)) or not ascii
        rows, frame = lines[1:-2], len(lines[-2])
        stem = lines[-2].index("+" if ascii else "└")
        for column in range(stem + 1, frame):
            assert any(row[column : column + 1].strip() for row in rows)


def test_one_loss_among_a_hundred_thousand_that_is_large_is_drawn() -> None:
    """No step is passed over, though there are more of them than columns."""
    values = [1.0] * 100_000
    values[54_321] = 2.0
    lines = [line.plain for line in plot.drawn(Plot(values), 80)]
    assert re.search("[\u2801-\u28ff]", lines[1])
    (line,) = ElementTree.fromstring(svg.picture(Plot(values), "done: it")).iter(f"{SVG}polyline")
    heights = {float(pair.split(",")[1]) for pair in line.attrib["points"].split()}
    assert len(heights) == 2


def test_a_power_law_is_a_straight_line_on_a_logarithmic_axis() -> None:
    (line,) = ElementTree.fromstring(svg.picture(Plot(VALUES["decades"]), "done: it")).iter(f"{SVG}polyline")
    heights = [float(pair.split(",")[1]) for pair in line.attrib["points"].split()]
    slopes = [after - before for before, after in itertools.pairwise(heights)]
    assert max(slopes) - min(slopes) <= 0.02  # a hundredth of a pixel is the last digit of each height


@pytest.mark.parametrize(
    ("least", "most", "texts"),
    [
        (0.0, 1.0, ["0", "0.25", "0.5", "0.75", "1"]),
        (0.043, 1.53, ["0.5", "1", "1.5"]),
        (-3.0, 2.0, ["-2", "0", "2"]),
        (1.0, 1.00042, ["1", "1.0002", "1.0004"]),
        (2e299, 1e300, ["2e+299", "4e+299", "6e+299", "8e+299", "1e+300"]),
    ],
)
def test_ticks_are_round_numbers_that_differ(least: float, most: float, texts: list[str]) -> None:
    assert [*plot.Axis(least, most).ticks(4).values()] == texts


def test_ticks_of_a_logarithmic_axis_are_powers_of_ten() -> None:
    assert [*plot.Axis(1e-12, 1.0, is_log=True).ticks(4).values()] == ["1e-12", "1e-8", "1e-4", "1e0"]
    assert [*plot.Axis(0.03, 4.0, is_log=True).ticks(8).values()] == ["0.05", "0.1", "0.2", "0.5", "1", "2"]


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (("--steps", "0"), 0, "after 0 steps"),
        (("--steps", "1"), 0, "after 1 step "),
        (("--steps", "30"), 0, "after 30 steps"),
        (("--learning-rate", "1e9", "--steps", "2"), 1, "diverged"),
    ],
)
def test_a_picture_of_a_descent_is_its_plot_with_the_verdict(
    run: Run, tmp_path: Path, options: tuple[str, ...], status: int, said: str
) -> None:
    path = tmp_path / "curve.svg"
    assert run("descend", "sample_inputs/batch.json", *options, "-o", str(path)).status == status
    root = ElementTree.parse(path).getroot()
    texts = [element.text or "" for element in root.iter(f"{SVG}text")]
    assert said in " ".join(texts)
    assert {"step", "loss in nats"} <= {text.removesuffix(" (logarithmic)") for text in texts}


def test_a_plot_is_in_the_readers_theme_or_in_the_one_that_is_asked_for(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "curve.svg"
    run("descend", SEED, "-o", str(path))
    assert "prefers-color-scheme: dark" in path.read_text()
    run("descend", SEED, "--theme", "light", "-o", str(path))
    assert "prefers-color-scheme" not in path.read_text()


def test_the_page_of_a_descent_has_the_plot(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "view.html"
    run("descend", SEED, "--steps", "5", "-o", str(path))
    text = path.read_text()
    assert "<polyline" in text
    assert not re.search("[\u2801-\u28ff]", text)
