"""How far from zero a number is, as the ground behind it: blue below zero, orange above, nothing at zero."""

from __future__ import annotations

import math

from rich.text import Text

from xegrad.display.themes import QUARTERS


def quarter(value: float, largest: float) -> int:
    """In which quarter of the largest magnitude a number lies, from 1 to 4; an end belongs to the quarter below it."""
    return min(max(math.ceil(4 * (abs(value) / largest)), 1), 4)


def shade(value: float, largest: float) -> str:
    """The style of a number's cell."""
    if not math.isfinite(value):
        return "not-finite"
    if value == 0 or largest == 0:
        return "zero"
    return f"{'above' if value > 0 else 'below'}-{quarter(value, largest)}"


def legend(largest: float) -> Text:
    """What the grounds mean: four from the largest magnitude to zero, below it and above."""
    end = f"{largest:.0f}" if 10 <= largest < 1e6 else f"{largest:.2g}"
    return legend_of(f"-{end}", f"+{end}")


def legend_of(lowest: str, highest: str) -> Text:
    """The grounds between what the ends are called."""
    below = [("   ", f"below-{k}") for k in reversed(QUARTERS)]
    above = [("   ", f"above-{k}") for k in QUARTERS]
    return Text.assemble(f"{lowest} ", *below, " 0 ", *above, f" {highest}")
