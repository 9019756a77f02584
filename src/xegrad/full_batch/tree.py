"""Sums of blocks, added up in one fixed tree over their indices, whoever adds up what and when.

Block k is node (0, k); nodes (l, 2 k) and (l, 2 k + 1) add up to node (l + 1, k).  What has no sibling at the end is
added from the right: as the binary digits of the number of blocks say.  So neither files, nor tasks, nor workers, nor
the order in which they answer change a bit.

See docs/numerics.md, section 12.1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

# What is added up of a block, by its names: floats in float64, counts as whole numbers.
Sums = Mapping[str, NDArray[Any]]
Nodes = dict[tuple[int, int], Sums]  # by their level and their index in it


def put(nodes: Nodes, level: int, index: int, sums: Sums) -> None:
    """Add a node to some; with its sibling it becomes their parent.

    Examples
    --------
    >>> nodes = {}
    >>> for block in (2, 0, 1):
    ...     put(nodes, 0, block, {"loss": np.array(float(block))})
    >>> sorted(nodes)
    [(0, 2), (1, 0)]
    """
    while (sibling := nodes.pop((level, index ^ 1), None)) is not None:
        sums = added(sums, sibling) if index % 2 == 0 else added(sibling, sums)
        level, index = level + 1, index // 2
    nodes[level, index] = sums


def merge(nodes: Nodes, others: Iterable[tuple[tuple[int, int], Sums]]) -> None:
    """Add the nodes of others to some."""
    for (level, index), sums in others:
        put(nodes, level, index, sums)


def total(nodes: Nodes) -> Sums:
    """The sum of all blocks, once they are all there."""
    sums: Sums | None = None
    for key in sorted(nodes, reverse=True, key=_first_block):
        sums = nodes[key] if sums is None else added(nodes[key], sums)
    assert sums is not None, "a data set has a block"
    return sums


def depth(n_blocks: int) -> int:
    """How many additions a block goes through at most."""
    return math.ceil(math.log2(n_blocks)) if n_blocks > 1 else 0


def _first_block(key: tuple[int, int]) -> int:
    level, index = key
    return index << level


@np.errstate(all="ignore")  # what is not finite is told of the whole
def added(left: Sums, right: Sums) -> Sums:
    """The sums of two sets of rows; what only one of them has is 0 in the other."""
    return {**left, **right, **{name: left[name] + right[name] for name in left.keys() & right.keys()}}
