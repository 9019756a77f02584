"""What the commands print as JSON: one file a command, and here what they share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from xegrad.comparison import Summary
from xegrad.problem import Problem
from xegrad.vocabulary import AXES, SYMBOLS

Numbers = list[float | None]  # null stands for what is not finite
RowsOrNumbers = list[float | Numbers | None]
Gradients = dict[str, RowsOrNumbers]  # by the symbols W, b, x and logits

LARGEST_INTEGER = 2**53  # beyond it, readers of JSON that know only float64 lose integers


class Entry(msgspec.Struct):
    """One entry of a gradient, by zero-based indices; which there are depends on the gradient."""

    of: str
    row: int | UnsetType = UNSET
    input: int | UnsetType = UNSET
    class_: int | UnsetType = msgspec.field(name="class", default=UNSET)
    class_name: str | UnsetType = UNSET


class ErrorResult(msgspec.Struct):
    """What stands in the place of a line of a stream that is no problem."""

    line: int
    error: str
    id: Any = UNSET


def encode(*results: msgspec.Struct | list[Any]) -> bytes:
    """A line of JSON for each; numbers are the shortest text that reads back to the same float64."""
    return _encoder.encode_lines(results)


_encoder = msgspec.json.Encoder()


def entry(problem: Problem, name: str, flat_index: int) -> Entry:
    """An entry of a gradient by its flat index."""
    (found,) = entries(problem, name, np.array([flat_index]))
    return found


def entries(problem: Problem, name: str, flat_indices: NDArray[np.intp]) -> Iterable[Entry]:
    """The entries of one gradient, one for each problem of a stack."""
    places: dict[str, Iterable[Any]] = {"row": repeat(UNSET), "input": repeat(UNSET), "class": repeat(UNSET)}
    places |= {
        axis: index.tolist()
        for axis, index in zip(AXES[name], problem.place(name, flat_indices), strict=True)
    }
    class_names: Iterable[Any] = repeat(UNSET)
    if problem.classes is not None and "class" in AXES[name]:
        class_names = [problem.classes[index] for index in places["class"]]
    return map(Entry, repeat(SYMBOLS[name], len(flat_indices)), *places.values(), class_names)


def ulps(summaries: Sequence[Summary], n_problems: int) -> list[int | None]:
    """The largest of several, and None where any is no number or beyond what JSON can hold."""
    found = [summary.max_ulps for summary in summaries]
    known = [ulps for ulps in found if ulps is not None]
    if len(known) < len(found):
        return [None] * n_problems
    largest: list[int] = np.max(known, axis=0).tolist()
    return [ulps if ulps <= LARGEST_INTEGER else None for ulps in largest]


def figures(summaries: Sequence[Summary]) -> dict[str, list[Any]]:
    """Of several gradients together, one for each problem."""
    n_problems = len(summaries[0].agrees)
    return {
        "max_ulp_error": ulps(summaries, n_problems),
        "correct_digits": np.min([summary.correct_digits for summary in summaries], axis=0).tolist(),
        "wrong_entries": np.sum([summary.no_correct_digit for summary in summaries], axis=0).tolist(),
    }


def add_ulps(found: list[tuple[int, str]], path: str, summaries: Sequence[Summary]) -> None:
    known = [ulps for summary in summaries if (ulps := summary.max_ulps) is not None]
    if len(known) < len(summaries):
        found.append((0, f"{path} is null: it is not a number"))
        return
    largest = np.max(known, axis=0)
    beyond = np.flatnonzero(largest > LARGEST_INTEGER).tolist()
    found += [(k, f"{path} is null: {largest[k]} is above 2**53") for k in beyond]
