"""How far from zero a number is, as the colour behind it: blue below zero, orange above, nothing at zero."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.text import Text

# Of each theme, for each quarter of the largest magnitude, the ground and the ink: a diverging palette that
# colour-blind people can tell apart (ColorBrewer's RdBu and PuOr), from the page's own ground outwards.
SHADES: dict[str, dict[str, Sequence[str]]] = {
    "dark": {
        "-": ("#e8f1fa on #16283a", "#e8f1fa on #1d4468", "#ffffff on #2166ac", "#08131d on #6cb0e6"),
        "+": ("#fdf0e2 on #332211", "#fdf0e2 on #5c3510", "#ffffff on #a8560d", "#1d0f02 on #f9a13c"),
    },
    "light": {
        "-": ("#11212f on #e4eff9", "#11212f on #b6d6f0", "#0b1722 on #77b0dc", "#ffffff on #2166ac"),
        "+": ("#2b1a08 on #fdeedd", "#2b1a08 on #fbd3a5", "#1d1005 on #f3a552", "#ffffff on #b35806"),
    },
}
NOT_FINITE = "bold reverse"


def shade(value: float, largest: float, theme: str) -> str:
    """The style of a number's cell, by the quarter of the largest magnitude that it lies in; a quarter has its end."""
    if not math.isfinite(value):
        return NOT_FINITE
    if value == 0 or largest == 0:
        return ""
    quarter = math.ceil(4 * (abs(value) / largest)) - 1
    return SHADES[theme]["+" if value > 0 else "-"][min(max(quarter, 0), 3)]


def legend(largest: float, theme: str) -> Text:
    """What the colours mean: the ends of the quarters, below zero and above."""
    ends = [largest * quarter / 4 for quarter in range(1, 5)]
    below = [(f" {-end:.2g} ", style) for end, style in zip(ends, SHADES[theme]["-"], strict=True)]
    above = [(f" +{end:.2g} ", style) for end, style in zip(ends, SHADES[theme]["+"], strict=True)]
    return Text.assemble("colours up to ", *below[::-1], " 0 ", *above)
