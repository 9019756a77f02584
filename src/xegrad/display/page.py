"""How a view is to look: as wide as the screen, with so many digits, in ASCII where nothing else can be written."""

from __future__ import annotations

import msgspec


class Page(msgspec.Struct, frozen=True):
    """The columns, the significant digits, and how much is shown."""

    width: int = 80
    digits: int = 8
    top: int | None = 10  # rows of what is worst; None shows all
    heatmaps: bool = False
    ascii: bool = False
