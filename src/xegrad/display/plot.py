"""A curve over steps, drawn with characters or as a plot in SVG; its axis is logarithmic where values span decades."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from rich.text import Text

from xegrad.display.blocks import Figure
from xegrad.display.themes import PAGE

HEIGHT = 10  # lines
DECADES = 2  # that values span at least where their axis is logarithmic
LONGEST = 72  # characters
# The dots of a character in braille, from above, left and right; and what ASCII has.
BRAILLE = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
# Of a plot: its size, and what is beside its frame.
WIDTH, TALL, LEFT, BELOW, ABOVE, MARGIN = 720, 420, 84, 56, 46, 24
MOST_POINTS = 2000
TICKS = (1, 2, 2.5, 5, 10)  # steps between ticks, in powers of ten


class Axis:
    """Where a value stands between 0 and 1, and the ticks between."""

    def __init__(self, least: float, most: float, *, is_log: bool = False) -> None:
        self.is_log = is_log
        self.ends = (math.log10(least), math.log10(most)) if is_log else (least, most)
        if self.ends[0] == self.ends[1]:
            pad = abs(self.ends[0]) / 2 or 1.0
            self.ends = self.ends[0] - pad, self.ends[1] + pad

    def place(self, value: float) -> float:
        """From 0 to 1."""
        low, high = self.ends
        # Halves, since the spread of two large numbers may overflow.
        return ((math.log10(value) if self.is_log else value) / 2 - low / 2) / (high / 2 - low / 2)

    def ticks(self, most: int = 6) -> list[float]:
        """Round numbers between the ends; whole powers of ten of a logarithmic axis."""
        low, high = self.ends
        if self.is_log:
            first, last = math.ceil(low), math.floor(high)
            return [10.0**k for k in range(first, last + 1, max(1, math.ceil((last - first + 1) / most)))]
        width = (high / 2 - low / 2) / most * 2
        power = 10.0 ** math.floor(math.log10(width))
        step = next(power * k for k in TICKS if power * k >= width)
        return [k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def axis_of(values: Sequence[float]) -> Axis:
    """That of the values: logarithmic where they are positive and span decades."""
    least, most = min(values), max(values)
    return Axis(least, most, is_log=least > 0 and most / least >= 10.0**DECADES)


def curve(values: Sequence[float], width: int, *, ascii: bool = False) -> Figure:
    """The values from the first to the last: in braille, eight dots a character, or a star each."""
    axis, (across, down) = axis_of(values), (1, 1) if ascii else (2, 4)
    ends = [f"{value:.4g}" for value in (max(values), min(values))]
    label = max(map(len, ends))
    columns = max(1, min(width - label - 2, LONGEST))
    dots: dict[tuple[int, int], int] = {}  # what each character holds
    before: int | None = None
    n_across, n_down = columns * across, HEIGHT * down
    for x in range(n_across):
        value = values[round(x * (len(values) - 1) / max(1, n_across - 1))]
        y = round((1 - axis.place(value)) * (n_down - 1))
        low, high = sorted((y, y if before is None else before))
        for dot in range(low, high + 1):
            place = dot // down, x // across
            dots[place] = dots.get(place, 0) | BRAILLE[dot % down][x % across]
        before = y
    lines = []
    for row in range(HEIGHT):
        name = {0: ends[0], HEIGHT - 1: ends[1]}.get(row, "")
        drawn = (dots.get((row, column), 0) for column in range(columns))
        text = "".join("*" if ascii and dot else " " if not dot else chr(0x2800 + dot) for dot in drawn)
        lines.append(
            Text.assemble((f"{name:>{label}} ", "aside"), ("|" if ascii else "│", "aside"), (text, "curve"))
        )
    last = f"step {len(values) - 1}"
    steps = f"0{last:>{columns - 1}}" if columns > len(last) else last
    scale = "  (logarithmic)" if axis.is_log else ""
    lines.append(Text(f"{'':{label}}  {steps}{scale}", style="aside"))
    return Figure(lines)


def svg(
    values: Sequence[float], theme: str, *, title: str, of_steps: str = "step", of_values: str = "loss"
) -> str:
    """The same as a plot in SVG: a frame, ticks with their numbers, and what the axes are."""
    ground, ink, _ = PAGE[theme]
    vertical, horizontal = axis_of(values), Axis(0, max(1, len(values) - 1))

    def x(step: float) -> float:
        return LEFT + horizontal.place(step) * (WIDTH - LEFT - MARGIN)

    def y(value: float) -> float:
        return TALL - BELOW - vertical.place(value) * (TALL - BELOW - ABOVE)

    parts = [f'<text x="{LEFT}" y="{ABOVE - 14}" font-size="15">{escape(title)}</text>']
    for value in vertical.ticks():
        parts.append(f'<path d="M{LEFT} {y(value):.1f}H{WIDTH - MARGIN}" stroke-opacity=".15"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.6g}</text>')
    for step in (one for one in horizontal.ticks() if one == int(one)):
        parts.append(f'<path d="M{x(step):.1f} {TALL - BELOW}v5"/>')
        parts.append(
            f'<text x="{x(step):.1f}" y="{TALL - BELOW + 20}" text-anchor="middle">{step:.0f}</text>'
        )
    shown = range(0, len(values), max(1, len(values) // MOST_POINTS))
    points = " ".join(f"{x(k):.2f},{y(values[k]):.2f}" for k in sorted({*shown, len(values) - 1}))
    scale = " (logarithmic)" if vertical.is_log else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {TALL}" '
        f'font-family="sans-serif" font-size="12">\n'
        f'<rect width="{WIDTH}" height="{TALL}" fill="{ground}"/>\n<g fill="{ink}" stroke="none">\n'
        f'<g stroke="{ink}" fill="none"><path d="M{LEFT} {ABOVE}V{TALL - BELOW}H{WIDTH - MARGIN}"/></g>\n'
        + "\n".join(part.replace("<path", f'<path stroke="{ink}" fill="none"') for part in parts)
        + f'\n<text x="{(LEFT + WIDTH - MARGIN) / 2}" y="{TALL - 12}" text-anchor="middle">{escape(of_steps)}</text>\n'
        f'<text transform="translate(18 {(TALL - BELOW + ABOVE) / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(of_values)}{scale}</text>\n</g>\n"
        f'<polyline points="{points}" fill="none" stroke="#d9730d" stroke-width="2" stroke-linejoin="round"/>\n</svg>\n'
    )
