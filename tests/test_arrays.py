"""No number is rounded silently on its way into float64: the expected values are Python's own whole numbers."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from xegrad import Problem, Targets, check, judge
from xegrad.arrays import array_of, in_float64
from xegrad.errors import InputError

ODD = 2**53 + 1  # the first whole number that float64 lacks


@pytest.mark.parametrize(
    "held",
    [
        [[2**53, -(2**53)]],
        [[2**70, 0.5]],
        [[2**63, -1]],  # numpy makes floats of these
        [[(2**53 - 1) * 2**900, 1]],
        np.array([[2**62, -(2**63)]]),
        np.array([[2**64 - 2**11, 0]], dtype=np.uint64),
        np.array([[-128, 127]], dtype=np.int8),
        np.array([[ODD - 1, 2]], dtype=">i8"),
        np.array([[1.5, 2.0**-1070]], dtype=np.longdouble),
        [[np.int64(2**60), 0.25]],
    ],
    ids=str,
)
def test_whole_and_wide_numbers_are_read_exactly_where_float64_holds_them(held: Any) -> None:
    array = in_float64("W", array_of("W", held))
    expected = held.tolist() if isinstance(held, np.ndarray) else held
    assert array.dtype == np.float64
    assert [*map(Fraction, array.ravel().tolist())] == [
        Fraction(float(one)) for row in expected for one in row
    ]
    assert all(float(one) == one for row in expected for one in row)


LOST = {
    "two": [[0, ODD]],
    "beside a float": [[0.5, ODD]],
    "negative": [[0, -ODD]],
    "too long for int64": [[0, 2**70 + 1]],
    "beside a negative one": [[-1, 2**63 + 1]],
    "scalars of numpy": [[np.float64(0.5), np.int64(ODD)]],
    "int64": np.array([[0, ODD]]),
    "the largest int64": np.array([[0, 2**63 - 1]]),  # rounded, it is beyond int64
    "uint64": np.array([[0, 2**64 - 1]], dtype=np.uint64),
    "big-endian": np.array([[0, ODD]], dtype=">i8"),
    "too large": [[0.0, 10**400]],
    "too large and negative": [[0, -(10**400)]],
}
if np.finfo(np.longdouble).eps < 2**-52:
    LOST |= {
        "wide": np.array([[0, 1]], np.longdouble) / 3,
        "wide and large": np.array([[0, ODD]], np.longdouble),
    }


@pytest.mark.parametrize("lost", LOST.values(), ids=LOST)
def test_what_float64_lacks_is_refused_with_its_place(lost: Any) -> None:
    for build in (
        lambda: Problem(lost, [[1.0]], Targets([0])),
        lambda: Problem([[1.0]], lost, Targets([0])),
        lambda: Targets(soft=lost),
        lambda: judge(Problem([[1.0, 2.0]], [[1.0]], Targets([0])), lost),
        lambda: check([[1.0, 2.0]], [1.0], 0, lost),
    ):
        with pytest.raises(InputError, match=r"\[0, 1\] is .*(float64 does not hold|too large for float64)"):
            build()
