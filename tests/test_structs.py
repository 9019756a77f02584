"""What was made stays as it is, and what holds arrays, of which no two have one equality, equals itself alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from xegrad import METHODS, Problem, Targets, bounds, judge, layer
from xegrad.formats import by_suffix, claim, csv, ndjson, printed, resolution
from xegrad.formats.raw_problem import RawProblem
from xegrad.methods.exact import integers, nearest
from xegrad.numbers.arithmetic import PRECISIONS
from xegrad.numbers.rounded import exact

PROBLEM = Problem([[1.0, -1.0]], [[3.0]], Targets([0]))
LINE = b'{"W":[[1,2]],"x":[3],"label":0}'


def enclosure() -> integers.Enclosure:
    one = np.array([1], dtype=object)
    return integers.Enclosure.between(one, one, 1, 0)


# What makes one of each, and whether two that hold the same are equal.
MADE: dict[str, tuple[Callable[[], Any], bool]] = {
    "Bound": (lambda: bounds.stable(PROBLEM), False),
    "Targets": (lambda: Targets([0]).at(...), False),
    "Forward": (lambda: layer.forward(PROBLEM), False),
    "Evaluation": (lambda: METHODS["shortcut"].evaluate(PROBLEM), False),
    "Judgement": (lambda: judge(PROBLEM, [[1.0, 1.0]]), False),
    "Comparison": (lambda: judge(PROBLEM, [[1.0, 1.0]]).comparison.at(np.array([0])), False),
    "Enclosure": (enclosure, False),
    "Nearest": (lambda: nearest.Nearest.of_shape((1,)), False),
    "Rounded": (lambda: exact(np.ones(2), PRECISIONS["float32"]), False),
    "Written": (lambda: resolution.written(["1.5"], (1,)), False),
    "RawProblem": (lambda: RawProblem({"W": 1}).without("x"), False),
    "Lines": (lambda: ndjson.lines(ndjson.Chunk(LINE, 1)), False),
    "Stack": (lambda: ndjson.stack(ndjson.lines(ndjson.Chunk(LINE, 1)), [0], RawProblem()), False),
    "Claimed text": (lambda: (claim._size(claim.Written(b"1", "g")), claim.Written(b"1", "g"))[1], False),
    "Arithmetic": (lambda: replace(PRECISIONS["float32"], terms=bounds.by_name("pairwise")), True),
    "Format": (lambda: by_suffix("a.json"), True),
    "Chunk": (lambda: ndjson.split(ndjson.Chunk(b"a", 1), 1)[0], True),
    "Line": (lambda: csv._lines(b"1,2")[0], True),
    "Printed": (lambda: printed._with_groups([1], {}), True),
    "Enclosed": (lambda: (printed.without_comments(""), printed.ENCLOSED[0])[1], True),
    "Method": (lambda: (METHODS["chain"].work(PROBLEM), METHODS["chain"])[1], True),
}
CHANGES = {"Rounded"}


@pytest.mark.parametrize("name", MADE)
def test_what_was_made_stays_as_it_is_and_equals_what_holds_the_same_if_that_has_an_equality(
    name: str,
) -> None:
    make, has_equality = MADE[name]
    one = make()
    again = replace(one)
    assert (again == one) == has_equality and one == one
    field = one.__struct_fields__[0]
    if name in CHANGES:
        setattr(one, field, getattr(one, field))
    else:
        with pytest.raises(AttributeError):
            setattr(one, field, getattr(one, field))


# What holds of a field that nobody names.
DEFAULTS: dict[str, dict[str, Any]] = {
    "Targets": {"labels": None, "soft": None, "class_weights": None, "label_smoothing": 0.0, "ignore_index": None,
                "reduction": "mean"},
    "Evaluation": {"certified": None, "errors": None, "seconds_left": 0.0},
    "Comparison": {"error": 0.0},
    "RawProblem": {"values": {}, "sources": {}, "rows_are_inputs": False, "labels_are_a_column": False,
                   "beside": frozenset(), "note": ""},
    "Lines": {"columns": None},
    "Claimed text": {"key": None, "dtype": None, "of": "gradient"},
    "Arithmetic": {"terms": bounds.any_order, "sums": None, "stored": (), "partial": None, "dropped_below": 0.0,
                   "is_careful": False, "failure": 0.0},
    "Format": {"writes_problem": False, "mark": None, "has_keys": False},
    "Chunk": {"refusal": ""},
    "Printed": {"power": 0, "dtype": None, "shape": None, "by_column": False},
    "Enclosed": {"opens": r"\[", "after": "", "suffix": None},
    "Method": {"rounds": True},
}  # fmt: skip


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_field_that_nobody_names_has_its_default(name: str) -> None:
    one = MADE[name][0]()
    values = one.__struct_defaults__
    found = dict(zip(one.__struct_fields__[-len(values) :], values, strict=True))
    made = {field: value for field, value in found.items() if type(value).__name__ == "Factory"}
    assert found | {field: value.factory() for field, value in made.items()} == DEFAULTS[name]
