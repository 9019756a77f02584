"""A slip that is made a few rows at a time makes what it makes at once, and is named as it is in a small problem."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from mistakes import MISTAKES, plain, right
from xegrad import METHODS, SLIPS, Problem, Targets, bounds, derivation, diagnose
from xegrad.derivation import Cells
from xegrad.diagnosis import search
from xegrad.numbers.arithmetic import PRECISIONS
from xegrad.slips import making
from xegrad.slips.making import each_made_by_rows, made_by_rows, takes_all_cells, with_slip

GRADIENTS = ("weights", "bias", "inputs", "logits")
N_ROWS, N_INPUTS, N_CLASSES = 11, 4, 6


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four rows at a time, and of these two; what is larger than that is large, and huge."""
    monkeypatch.setattr(derivation, "AT_A_TIME", 4 * N_CLASSES)
    monkeypatch.setattr(making, "AT_A_TIME", 4 * N_CLASSES)
    monkeypatch.setattr(derivation, "IN_CACHE", 2 * N_CLASSES)
    monkeypatch.setattr(bounds, "IN_CACHE", 2 * N_CLASSES)


def problem(seed: int = 0, scale: float = 1.0, **options: Any) -> Problem:
    random = np.random.default_rng(seed)
    options = options or {"labels": random.integers(N_CLASSES, size=N_ROWS)}
    return Problem(
        scale * random.normal(size=(N_INPUTS, N_CLASSES)),
        random.normal(size=(N_ROWS, N_INPUTS)),
        Targets(**options),
        random.normal(size=N_CLASSES),
    )


LABELS = np.arange(N_ROWS) % (N_CLASSES - 1)
PROBLEMS = {
    "labels": problem(scale=8),
    "options": problem(
        1,
        labels=LABELS,
        ignore_index=2,
        label_smoothing=0.1,
        class_weights=np.arange(1.0, N_CLASSES + 1),
    ),
    "soft": problem(2, soft=np.random.default_rng(2).dirichlet(np.ones(N_CLASSES), N_ROWS)),
}


def steps_of(cells: Cells) -> list[making.Step]:
    """The first, the middle and the last form of every slip of the layer that can be made."""
    steps = []
    for slip in SLIPS.values():
        forms = slip.example_forms(cells) if slip.is_in_layer else []
        chosen = {0, len(forms) // 2, len(forms) - 1} if forms else set()
        steps += [(slip, forms[k]) for k in sorted(chosen)]
    return steps


def assert_same(made: Any, at_once: Any) -> None:
    """Up to roundings of float64, which are far below those of float32 that the errors speak of."""
    assert (np.abs(made.value - at_once.value) <= 1e-5 * at_once.errors + 1e-13 * np.abs(at_once.value)).all()
    np.testing.assert_allclose(made.errors, at_once.errors, rtol=1e-9)


@pytest.mark.parametrize(
    ("one", "name"),
    [
        *(("options", name) for name in GRADIENTS),
        ("labels", "weights"),
        ("soft", "weights"),
        ("soft", "bias"),
    ],
)
def test_every_slip_made_by_rows_is_what_it_is_at_once(one: str, name: str, in_parts: None) -> None:
    given = PROBLEMS[one]
    cells = Cells(given, name, PRECISIONS["float32"])
    rows = np.array([2, 0]) if name != "bias" else np.array([0])
    columns = np.array([3, 0, 1])
    steps = steps_of(cells)
    assert len(steps) > 30
    several = each_made_by_rows(cells, steps, rows, columns)
    quick = each_made_by_rows(cells.in_values(), steps, rows, columns)
    for step, some, values in zip(steps, several, quick, strict=True):
        at_once = with_slip(Cells(given, name, PRECISIONS["float32"]), *step).G
        assert_same(made_by_rows(cells, step), at_once)
        which = (columns,) if name == "bias" else (rows[:, None], columns)
        assert_same(some, at_once[which])
        assert (np.abs(values.value - at_once[which].value) <= 1e-5 * at_once[which].errors).all()


def test_only_a_softmax_over_everything_takes_all_cells() -> None:
    """Of labels; what is bounded in memory is tried however large a problem is."""
    cells = Cells(PROBLEMS["labels"])
    taken = {slip.name for slip, form in steps_of(cells) if takes_all_cells(cells, (slip, form))}
    assert taken == {"softmax-over-wrong-axis", "evaluated-after-update"}
    forms = [form["axis"] for form in SLIPS["softmax-over-wrong-axis"].forms(cells)]
    slip = SLIPS["softmax-over-wrong-axis"]
    assert [axis for axis in forms if takes_all_cells(cells, (slip, {"axis": axis}))] == ["all"]


def test_the_limits_of_probabilities_are_the_same_by_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those below 1e-7 and the like are counted, and not kept."""
    slip = SLIPS["probabilities-clipped"]
    several = [problem(seed, scale) for seed in range(4) for scale in (1, 8, 40)]
    at_once = [slip.forms(Cells(one)) for one in several]
    monkeypatch.setattr(derivation, "AT_A_TIME", 4 * N_CLASSES)
    monkeypatch.setattr(derivation, "IN_CACHE", N_CLASSES)
    assert [slip.forms(Cells(one)) for one in several] == at_once
    assert len({len(forms) for forms in at_once}) > 3


NOT_SOUGHT = {  # in a huge problem: numbers on a grid
    name for name, slip in SLIPS.items() if slip.number.grid is not None
}


@pytest.mark.parametrize("name", [name for name in MISTAKES if name not in NOT_SOUGHT])
def test_a_mistake_in_a_large_problem_is_named(
    name: str, in_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one of which pairs and numbers on a grid are sought, and in one of which they are not."""
    random = np.random.default_rng(5)
    one = problem(6, labels=LABELS)
    if name in ("option-ignored", "target-sum-ignored", "weights-on-logits", "first-row-factor"):
        one = problem(6, labels=LABELS, class_weights=np.arange(1.0, N_CLASSES + 1), reduction="sum")
    if name == "smoothed-otherwise":
        one = replace(one, targets=replace(one.targets, label_smoothing=0.1))
    exact = METHODS["exact"].evaluate(one)
    for make in MISTAKES[name]:
        candidate = make(plain(one), random)
        if np.array_equal(candidate, right(plain(one))):  # made of an option that this problem lacks
            continue
        assert (name,) in diagnose(replace(one), exact, candidate).names
        with monkeypatch.context() as patch:
            patch.setattr(search, "HUGE", 2 * N_CLASSES)
            assert (name,) in diagnose(replace(one), exact, candidate).names
