"""How far from zero a number is, as the ground behind it: blue below zero, orange above, nothing at zero."""

from __future__ import annotations

import math

from rich.text import Text

from xegrad.display.themes import QUARTERS


def shade(value: float, largest: float) -> str:
    """The style of a number's cell, by the quarter of the largest magnitude in which it lies; an end belongs to it."""
    if not math.isfinite(value):
        return "not-finite"
    if value == 0 or largest == 0:
        return "zero"
    quarter = math.ceil(4 * (abs(value) / largest))
    return f"{'above' if value > 0 else 'below'}-{min(max(quarter, 1), 4)}"


def legend(largest: float) -> Text:
    """What the grounds mean: four from the largest magnitude to zero, below it and above."""
    below = [("   ", f"below-{k}") for k in reversed(QUARTERS)]
    above = [("   ", f"above-{k}") for k in QUARTERS]
    return Text.assemble(f"{-largest:.2g} ", *below, " 0 ", *above, f" +{largest:.2g}")
