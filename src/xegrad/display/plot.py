"""A curve over steps, drawn with characters; its axis is logarithmic where values span decades."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rich.text import Text

from xegrad.display.blocks import Plot

OF_STEPS, OF_VALUES = "step", "loss in nats"  # what the axes are
DECADES = 2  # that values span at least where their axis is logarithmic
SMALLEST = 1e-300  # a spread below which there are no ticks: powers of ten are no floats there
TICKS = (1, 2, 2.5, 5, 10)  # steps between ticks, in powers of ten
DENSER = (1, 2, 5)  # the ticks of a decade where there is room
# Of a drawing in characters: its lines, its columns at most, and the columns that a number below it takes.
HEIGHT, LONGEST, APART = 10, 72, 12
# The dots of a character in braille, from above, left and right.
BRAILLE = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))


class Axis:
    """Where a value stands between 0 and 1, and the ticks between."""

    def __init__(self, least: float, most: float, *, is_log: bool = False) -> None:
        self.is_log = is_log
        self.ends = (math.log10(least), math.log10(most)) if is_log else (least, most)
        if self.ends[0] == self.ends[1]:
            pad = abs(self.ends[0]) / 2 or 1.0
            self.ends = self.ends[0] - pad, self.ends[1] + pad
        self.largest = max(map(abs, self.ends))

    def place(self, value: float) -> float:
        """From 0 to 1."""
        # In parts of the largest, since the spread of two large numbers may overflow.
        low, high = (end / self.largest for end in self.ends)
        return ((math.log10(value) if self.is_log else value) / self.largest - low) / (high - low)

    def ticks(self, most: int) -> dict[float, str]:
        """So many round numbers between the ends at most, and how they are written."""
        low, high = self.ends
        if self.is_log:
            values = self._powers(most)
            is_wide = any("e" in f"{value:.3g}" for value in values)
            return {value: _in_powers(value) if is_wide else f"{value:.3g}" for value in values}
        width = (high / self.largest - low / self.largest) / most * self.largest
        if width < SMALLEST:
            return {}
        power = 10.0 ** math.floor(math.log10(width))
        step = next(power * k for k in TICKS if power * k >= width)
        values = [k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
        digits = 2 + math.floor(math.log10(self.largest)) - math.floor(math.log10(step))
        return {value: f"{value:.{max(3, digits)}g}" for value in values}

    def _powers(self, most: int) -> list[float]:
        """Powers of ten, and their multiples where there is room."""
        low, high = self.ends
        first, last = math.ceil(low), math.floor(high)
        denser = [float(f"{k}e{power}") for power in range(first - 1, last + 1) for k in DENSER]
        within = [value for value in denser if value and low <= math.log10(value) <= high]
        if len(within) <= most:
            return within
        return [float(f"1e{k}") for k in range(first, last + 1, math.ceil((last - first + 1) / most))]


def _in_powers(value: float) -> str:
    """5e-7."""
    digits, power = f"{value:.0e}".split("e")
    return f"{digits}e{int(power)}"


def axis_of(values: Sequence[float]) -> Axis:
    """That of the values: logarithmic where they are positive and span decades."""
    least, most = min(values), max(values)
    return Axis(least, most, is_log=least > 0 and most / least >= 10.0**DECADES)


def numbered_steps(n_steps: int, most: int) -> dict[int, str]:
    """The steps that are numbered below a curve."""
    ticks = Axis(0, max(1, n_steps)).ticks(most)
    return {int(step): f"{step:.0f}" for step in ticks if step == int(step)}


def spans_of(places: Sequence[float], columns: int) -> Iterator[tuple[float, float]]:
    """The lowest and the highest place of the curve in each column; between two values it is a straight line."""
    last = len(places) - 1

    def at(position: float) -> float:
        below = min(int(position), last - 1)
        return places[below] + (position - below) * (places[below + 1] - places[below])

    for column in range(columns):
        start, end = (last * (column + k) / columns for k in (0, 1))
        inside = [at(start), at(end), *places[math.ceil(start) : math.floor(end) + 1]]
        yield min(inside), max(inside)


def drawn(plot: Plot, width: int, *, ascii: bool = False) -> list[Text]:
    """The values from the first to the last: in braille, eight dots a character, or a star each."""
    axis, (across, down) = axis_of(plot.values), (1, 1) if ascii else (2, 4)
    ticks = {round((1 - axis.place(value)) * (HEIGHT - 1)): text for value, text in axis.ticks(4).items()}
    label = max(map(len, ticks.values()), default=0)
    columns = max(1, min(width - label - 2, LONGEST))
    dots: dict[tuple[int, int], int] = {}  # what each character holds
    spans = spans_of([axis.place(value) for value in plot.values], columns * across)
    for x, (lowest, highest) in enumerate(spans):
        first, last = (round((1 - place) * (HEIGHT * down - 1)) for place in (highest, lowest))
        for dot in range(first, last + 1):
            cell = dot // down, x // across
            dots[cell] = dots.get(cell, 0) | BRAILLE[dot % down][x % across]
    scale = ", logarithmic" if axis.is_log else ""
    lines = [Text(f"{OF_VALUES} by {OF_STEPS}{scale}", style="aside")]
    stem, tick, corner, line, mark = "|++-+" if ascii else "│┤└─┬"
    for row in range(HEIGHT):
        held = (dots.get((row, column), 0) for column in range(columns))
        text = "".join("*" if ascii and dot else " " if not dot else chr(0x2800 + dot) for dot in held)
        start = f"{ticks.get(row, ''):>{label}} {tick if row in ticks else stem}"
        lines.append(Text.assemble((start, "aside"), (text, "curve")))
    n_steps = len(plot.values) - 1
    rule, below = [line] * columns, ""
    for step, number in numbered_steps(n_steps, max(1, columns // APART)).items():
        at = round(step / max(1, n_steps) * (columns - 1))
        begin = min(max(0, at - len(number) // 2), columns - len(number))
        if not below or begin > len(below):
            rule[at], below = mark, f"{below:{begin}}{number}"
    return [
        *lines,
        Text(f"{'':{label}} {corner}{''.join(rule)}", style="aside"),
        Text(f"{'':{label}}  {below}", style="aside"),
    ]
