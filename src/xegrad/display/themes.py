"""What each style of a view looks like, on dark ground and on light.

Views say what something is ("wrong", "formula", "above-3"); a terminal and an SVG take the look from here by rich, and
a web page by CSS.
"""

from __future__ import annotations

from collections.abc import Mapping

DARK, LIGHT = "dark", "light"
QUARTERS = (1, 2, 3, 4)  # of the largest magnitude

_COMMON = {
    # Verdicts, by what they say; and what is right, or not, in a table.
    "right": "bold green",
    "nearly": "bold yellow",
    "wrong": "bold red",
    "undecided": "bold yellow",
    "done": "bold",
    # Of what is read.
    "heading": "bold",
    "title": "bold",
    "name": "bold",
    "zero": "dim",
    "aside": "dim",
    "formula": "cyan",
    "slip": "not dim magenta",  # within an aside
    "caution": "yellow",
    "curve": "cyan",
    "removed": "red",
    "added": "green",
    "not-finite": "#ffffff on #b3261e",
}

# How far a number is from zero, below and above, by quarters of the largest magnitude: a diverging palette that
# colour-blind people can tell apart (ColorBrewer's RdBu and PuOr), from the ground outwards.
_SHADES = {
    DARK: {
        "below": ("#e8f1fa on #16283a", "#e8f1fa on #1d4468", "#ffffff on #2166ac", "#08131d on #6cb0e6"),
        "above": ("#fdf0e2 on #332211", "#fdf0e2 on #5c3510", "#ffffff on #a8560d", "#1d0f02 on #f9a13c"),
    },
    LIGHT: {
        "below": ("#11212f on #e4eff9", "#11212f on #b6d6f0", "#0b1722 on #77b0dc", "#ffffff on #2166ac"),
        "above": ("#2b1a08 on #fdeedd", "#2b1a08 on #fbd3a5", "#1d1005 on #f3a552", "#ffffff on #b35806"),
    },
}

# The page's ground and ink, and what rich calls colours by name.
PAGE = {
    DARK: (
        "#16181d",
        "#d8dbe2",
        {"green": "#7fd88f", "yellow": "#f0c674", "red": "#ff7b72", "cyan": "#7fd3e0", "magenta": "#d2a8ff"},
    ),
    LIGHT: (
        "#ffffff",
        "#24292f",
        {"green": "#1a7f37", "yellow": "#8a5b00", "red": "#c62828", "cyan": "#0b6b7a", "magenta": "#7b3fb5"},
    ),
}


def styles(theme: str) -> Mapping[str, str]:
    """The look of every style, as rich writes it."""
    shades = {
        f"{side}-{quarter}": look
        for side, looks in _SHADES[theme].items()
        for quarter, look in zip(QUARTERS, looks, strict=True)
    }
    return _COMMON | shades
