"""How a view is to look, and how much of what is large it shows."""

from __future__ import annotations

import msgspec

ALL_CLASSES = 12  # of which each has its probability shown
# Of a matrix in an explanation: the lines, the entries and the bands of one that is shown whole; of a larger one
# so many rows and columns at each end.
MATRIX_LINES, MATRIX_ENTRIES, MATRIX_BANDS = 30, 512, 5
EDGE = 3
SLIP_NUMBERS = 12  # numbers of a slip that are all shown
HEATMAP_ROWS = 24  # of a taller matrix each cell stands for several


class PageSettings(msgspec.Struct, frozen=True):
    """The columns, the significant digits, and how much is shown."""

    width: int = 80
    digits: int = 8
    top: int | None = 10  # rows of what is worst; None shows all
    entries: bool = False  # all of them, by each method
    heatmaps: bool = True
    theme: str = "dark"
    ascii: bool = False
