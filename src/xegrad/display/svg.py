"""A curve over steps as a plot in SVG."""

from __future__ import annotations

import textwrap
from html import escape

from xegrad.display.blocks import Plot
from xegrad.display.plot import OF_STEPS, OF_VALUES, Axis, axis_of, numbered_steps, spans_of
from xegrad.display.themes import DARK, LIGHT, PAGE
from xegrad.inert import inert

# Its size, what is beside its frame, the height of a line of text, and the characters of one.
WIDTH, TALL, LEFT, BELOW, MARGIN, LINE, LETTERS = 640, 400, 92, 56, 28, 18, 84
MOST_MARKED = 40  # points that have a mark each


def element(plot: Plot, above: int = MARGIN) -> str:
    """The same as the elements of an SVG in the colour of the text: a frame, ticks with their numbers, the curve."""
    n_steps, right, bottom = len(plot.values) - 1, WIDTH - MARGIN, TALL - BELOW
    vertical, horizontal = axis_of(plot.values), Axis(0, max(1, n_steps))

    def x(step: float) -> float:
        return LEFT + horizontal.place(step) * (right - LEFT)

    def y(place: float) -> float:
        return bottom - place * (bottom - above)

    ticks = {y(vertical.place(value)): text for value, text in vertical.ticks(6).items()}
    grid = "".join(f"M{LEFT} {at:.1f}H{right}" for at in ticks)
    marks = "".join(f"M{x(step):.1f} {bottom}v5" for step in numbered_steps(n_steps, 8))
    parts = [
        f'<path d="{grid}" stroke="currentColor" stroke-opacity=".2"/>',
        f'<path d="M{LEFT} {above}V{bottom}H{right}{marks}" stroke="currentColor" fill="none"/>',
        *(
            f'<text x="{LEFT - 8}" y="{at + 5:.1f}" text-anchor="end">{text}</text>'
            for at, text in ticks.items()
        ),
        *(
            f'<text x="{x(step):.1f}" y="{bottom + 21}" text-anchor="middle">{text}</text>'
            for step, text in numbered_steps(n_steps, 8).items()
        ),
        f'<text x="{(LEFT + right) / 2}" y="{TALL - 12}" text-anchor="middle">{OF_STEPS}</text>',
        f'<text transform="translate(20 {(bottom + above) / 2}) rotate(-90)" text-anchor="middle">'
        f"{OF_VALUES}{' (logarithmic)' if vertical.is_log else ''}</text>",
    ]
    places = [vertical.place(value) for value in plot.values]
    points = [(x(step), y(place)) for step, place in enumerate(places)]
    if len(points) > 2 * (columns := right - LEFT):
        spans = enumerate(spans_of(places, columns))
        points = [(LEFT + column, y(place)) for column, span in spans for place in reversed(span)]
        points.append((right, y(places[-1])))
    path = " ".join(f"{across:.2f},{down:.2f}" for across, down in points)
    parts.append(
        f'<polyline class="curve" points="{path}" fill="none" stroke="currentColor" stroke-width="2" '
        'stroke-linejoin="round"/>'
    )
    if len(points) <= MOST_MARKED:
        parts += (
            f'<circle class="curve" cx="{across:.2f}" cy="{down:.2f}" r="3.5" fill="currentColor"/>'
            for across, down in points
        )
    return "\n".join(parts)


def picture(plot: Plot, title: str, theme: str | None = None) -> str:
    """A plot as a file, below what is said of it; in the theme that the reader prefers, or in this one."""
    first, *rest = textwrap.wrap(inert(title), LETTERS)
    looks = _colours(theme or LIGHT)
    if theme is None:
        looks += f"\n@media (prefers-color-scheme: dark) {{\n{_colours(DARK)}\n}}"
    texts = "\n".join(
        f'<text x="{MARGIN}" y="{28 + LINE * k}">{escape(line)}</text>'
        for k, line in enumerate((first, *rest))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{TALL}" viewBox="0 0 {WIDTH} {TALL}" '
        f'font-family="system-ui, sans-serif" font-size="14" fill="currentColor">\n<style>\n{looks}\n</style>\n'
        f'<rect class="ground" width="{WIDTH}" height="{TALL}"/>\n{texts}\n'
        f"{element(plot, above=28 + LINE * (1 + len(rest)))}\n</svg>\n"
    )


def inline(plot: Plot) -> str:
    """A plot within a page, in the page's colours."""
    return (
        f'<svg class="plot" role="img" aria-label="{OF_VALUES} by {OF_STEPS}" '
        f'viewBox="0 0 {WIDTH} {TALL}" font-size="14" fill="currentColor">\n{element(plot)}\n</svg>\n'
    )


def _colours(theme: str) -> str:
    ground, ink, named = PAGE[theme]
    return f"svg {{ color: {ink}; }} .ground {{ fill: {ground}; }} .curve {{ color: {named['cyan']}; }}"
