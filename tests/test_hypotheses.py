"""What is tried for a candidate, and in which rank: each way of finding a slip on candidates that hold it."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from small_batch import exactly
from xegrad import Problem, Targets, Tolerance
from xegrad.diagnosis import hypotheses as module
from xegrad.diagnosis.evidence import is_proved
from xegrad.diagnosis.fitting import Bases, on_line
from xegrad.diagnosis.hypotheses import (
    _arranged_after_layer,
    _fixed_steps,
    _forms_stored,
    _groups,
    _holds,
    _in_any_order,
    _in_layer,
    _is_paired,
    _is_small,
    _labels_pointed_to,
    _near_in_pairs,
    _near_in_values,
    _near_one_by_one,
    _not_paired,
    _pairs_of_layer,
    _renumbered,
    _rows_pointed_to,
    _stored_pairs,
    ranks,
)
from xegrad.diagnosis.search import FLIPPED, Hypothesis, Search
from xegrad.slips import SLIPS, formulas
from xegrad.slips.formulas import in_format
from xegrad.slips.making import apply

NAMES = ("weights", "bias", "inputs", "logits")


def batch(
    n_rows: int = 4,
    n_inputs: int = 3,
    n_classes: int = 5,
    labels: Any = None,
    classes: Any = None,
    **options: Any,
) -> Problem:
    random = np.random.default_rng(1)
    return Problem(
        random.normal(size=(n_inputs, n_classes)),
        random.normal(size=(n_rows, n_inputs)),
        Targets(np.arange(n_rows) % n_classes if labels is None else labels, **options),
        random.normal(size=n_classes),
        classes,
    )


def right(problem: Problem, name: str = "weights") -> Any:
    return exactly(problem, name).gradients[name]


def search_of(
    problem: Problem, candidate: Any, name: str = "weights", resolution: Any = 0.0, **options: Any
) -> Search:
    exact = exactly(problem, name)
    return Search(problem, exact, np.asarray(candidate), Tolerance(**options), resolution, name)


def made(problem: Problem, *steps: tuple[str, dict[str, Any]], name: str = "weights") -> Any:
    """The gradient with these slips of the layer in it."""
    search = search_of(problem, right(problem, name), name)
    several = tuple((SLIPS[slip], form) for slip, form in steps)
    with np.errstate(all="ignore"):
        return search.predicted(Hypothesis(several)).value.reshape(right(problem, name).shape)


# The ranks.


RANKS: dict[str, tuple[int, Any]] = {
    "sign-flipped": (0, lambda p, g: -g),
    "transposed": (0, lambda p, g: g.T),
    "softmax-twice": (0, lambda p, g: apply(p, ["softmax-twice"])),
    "low-precision": (0, lambda p, g: in_format(g, "float16")),
    "scaled": (0, lambda p, g: 5 * g),
    "classes-permuted": (0, lambda p, g: g[:, [1, 2, 0, 4, 3]]),
    "scaled ": (1, lambda p, g: 1.37 * g),
    "weight-decay-included": (1, lambda p, g: g + 0.03 * p.weights),
    "z-loss-included": (1, lambda p, g: apply(p, ["z-loss-included"])),
    "wrong-label": (1, lambda p, g: made(p, ("wrong-label", {"order": "0 as 3, 1 as 0, 2 as 1, 3 as 2"}))),
    "label-smoothed": (1, lambda p, g: apply(p, ["label-smoothed"])),
    "clipped": (1, lambda p, g: np.clip(g, -0.1, 0.1)),
    "temperature": (1, lambda p, g: apply(p, ["temperature"])),
    "sign-flipped+transposed": (2, lambda p, g: -g.T),
    "classes-permuted+sign-flipped": (2, lambda p, g: -g[:, [1, 2, 0, 4, 3]]),
    "softmax-twice+transposed": (2, lambda p, g: apply(p, ["softmax-twice"]).T),
    "bias-wrong+softmax-twice": (2, lambda p, g: apply(p, ["bias-wrong", "softmax-twice"])),
    "sign-flipped+low-precision": (2, lambda p, g: -g.astype(np.float32).astype(float)),
    "softmax-twice+scaled": (2, lambda p, g: 5 * apply(p, ["softmax-twice"])),
    "softmax-twice+scaled ": (3, lambda p, g: 1.37 * apply(p, ["softmax-twice"])),
    "softmax-twice+weight-decay-included": (3, lambda p, g: apply(p, ["softmax-twice"]) + 0.03 * p.weights),
    "scaled+weight-decay-included": (3, lambda p, g: 5 * g + 0.03 * p.weights),
    "softmax-twice+clipped": (3, lambda p, g: np.clip(apply(p, ["softmax-twice"]), -0.1, 0.1)),
    "label-smoothed+transposed": (3, lambda p, g: apply(p, ["label-smoothed"]).T),
    "bias-wrong+label-smoothed": (3, lambda p, g: apply(p, ["bias-wrong", "label-smoothed"])),
    "softmax-over-wrong-axis+label-smoothed": (
        3,
        lambda p, g: apply(p, ["softmax-over-wrong-axis", "label-smoothed"]),
    ),
}


def rank_of(search: Search, names: tuple[str, ...]) -> int | None:
    """The first in which these slips are proved."""
    with np.errstate(all="ignore"):
        for number, rank in enumerate(ranks(search)):
            for one in rank:
                if {*one.names} == {*names} and is_proved(search, one):
                    return number
    return None


@pytest.mark.parametrize("case", RANKS)
def test_each_slip_and_pair_is_tried_in_its_rank(case: str) -> None:
    """No free number before one, one slip before two."""
    problem, (rank, make) = batch(6, 5), RANKS[case]
    candidate = make(problem, right(problem))
    names = tuple(case.strip().split("+"))
    assert rank_of(search_of(problem, candidate), names) == rank


@pytest.mark.parametrize(
    ("options", "huge", "n_ranks"),
    [
        ({}, 2**20, 4),
        ({"precision": "float32"}, 2**20, 4),
        ({"precision": "float32", "stored_as": "bfloat16"}, 2**20, 2),
        ({"precision": "float16"}, 2**20, 2),
        ({}, 19, 2),
        ({}, 20, 4),
    ],
)
def test_of_few_digits_and_of_huge_problems_two_slips_are_not_sought(
    options: dict[str, str], huge: int, n_ranks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xegrad.diagnosis.search.HUGE", huge)
    noise = np.random.default_rng(3).normal(size=(3, 5))
    with np.errstate(all="ignore"):
        several = [[*rank] for rank in ranks(search_of(batch(), noise, **options))]
    assert len(several) == n_ranks


def test_of_what_a_candidate_was_stored_as_the_first_is_named() -> None:
    """What has three decimals has four, too."""
    search = search_of(batch(), np.round(right(batch()), 3))
    first = [one for one in next(ranks(search)) if one.names == ("low-precision",)]
    assert [one.steps[0][1]["decimals"] for one in first] == [3]


def test_of_a_huge_problem_two_smoothings_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, tried = batch(), []
    wrong = apply(problem, ["label-smoothed"])

    def counted(bases: Any, slip: Any, *form: Any) -> Any:
        tried.append(slip.name)
        return on_line(bases, slip, *form)

    monkeypatch.setattr(module, "on_line", counted)
    monkeypatch.setattr(module, "spreads", lambda search: 5 * [{"spread": "eps/T"}])
    for huge, count in ((20, 5), (19, 2)):
        monkeypatch.setattr("xegrad.diagnosis.search.HUGE", huge)
        tried.clear()
        with np.errstate(all="ignore"):
            first, second = itertools.islice(ranks(search_of(problem, wrong)), 2)
            assert [*first] == [] and len([*second]) >= count
        assert tried.count("label-smoothed") == count


# Slips of the layer.


def test_a_label_of_one_row_is_paired_if_it_is_the_only_row_and_an_order_never() -> None:
    wrong, twice = SLIPS["wrong-label"], SLIPS["softmax-twice"]
    for n_rows, form, expected in (
        (1, {"row": 0, "label": 0, "instead": 1}, True),
        (2, {"row": 0, "label": 0, "instead": 1}, False),
        (1, {"order": "reversed"}, False),
        (2, {"shift": 1}, True),
        (2, {"shift": 1, "ends": "no class"}, False),
    ):
        search = search_of(batch(n_rows), right(batch(n_rows)))
        assert _is_paired(search, (wrong, form)) is expected
        assert _is_paired(search, (twice, {"form": "the shortcut"}))
        assert not _is_paired(search, (SLIPS["rows-left-out"], {"rows": "0", "divisor": "all rows"}))


def test_a_small_problem_has_4096_logits_and_64_entries_for_each_at_most() -> None:
    for n_logits, size, expected in (
        (4096, 4096 * 64, True),
        (4097, 100, False),
        (4096, 4096 * 64 + 1, False),
        (1, 4096 * 64, True),
    ):
        assert _is_small(SimpleNamespace(n_logits=n_logits, values=np.empty(size))) is expected  # type: ignore[arg-type]


LATER: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "bias": [("bias-wrong", {"bias": "left out"}), ("bias-wrong", {"bias": "twice"})],
    "probabilities": [
        ("softmax-over-wrong-axis", {"axis": "rows"}),
        ("sigmoid-instead-of-softmax", {}),
    ],
    "target": [("labels-misaligned", {"k": 1, "ends": "dropped"}), ("target-not-subtracted", {})],
    "residual": [("softmax-twice", {"form": "both derivatives"}), ("squared-error", {"factor": 2})],
    "input": [("input-missing", {}), ("input-missing", {})],
}


@pytest.mark.parametrize(("first", "second"), [*itertools.combinations(LATER, 2)])
def test_two_slips_of_the_layer_act_one_after_the_other(first: str, second: str) -> None:
    problem = batch()
    for one, other in zip(LATER[first], LATER[second], strict=True):
        search = search_of(problem, made(problem, one, other))
        steps = _fixed_steps(search)
        with np.errstate(all="ignore"):
            stages = [_in_layer(search, group) for group in _groups(search, steps)]
            pairs = [tuple(step[0].name for step in pair.steps) for pair in _pairs_of_layer(search, stages)]
        assert (one[0], other[0]) in pairs


@pytest.mark.parametrize("is_large", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_each_slip_of_the_layer_is_made_in_a_stack_as_it_is_alone(
    name: str, is_large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = batch()
    search = search_of(problem, right(problem, name), name)
    with np.errstate(all="ignore"):
        groups = _groups(search, _fixed_steps(search))
        assert len({(steps[0][0].stage, steps[0][0].cell) for steps in groups}) >= 4
        if is_large:
            monkeypatch.setattr("xegrad.bounds.LARGE", 1)
            search = search_of(problem, right(problem, name), name)
        for steps in groups:
            stack = _in_layer(search, steps)
            assert [one.steps for one in stack.hypotheses] == [(step,) for step in steps]
            for value, step in zip(stack.cells.G.value, steps, strict=True):
                alone = search.predicted(Hypothesis((step,))).value
                np.testing.assert_allclose(value, alone, rtol=1e-12, atol=1e-14)
        assert not _in_layer(search, []).hypotheses


def test_of_a_large_problem_those_that_come_near_are_one_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xegrad.bounds.LARGE", 1)
    problem = batch()
    twice = {"form": "the shortcut"}
    for candidate, expected in (
        (apply(problem, ["softmax-twice"]), [[(SLIPS["softmax-twice"], twice)]]),
        (np.random.default_rng(3).normal(size=(3, 5)), []),
    ):
        search = search_of(problem, candidate)
        with np.errstate(all="ignore"):
            assert _groups(search, _fixed_steps(search)) == expected
    over_all = (SLIPS["softmax-over-wrong-axis"], {"axis": "all"})
    assert over_all in _fixed_steps(search)
    monkeypatch.setattr("xegrad.diagnosis.search.AT_A_TIME", 19)
    assert over_all not in _fixed_steps(search) and len(_fixed_steps(search)) > 10
    monkeypatch.setattr("xegrad.bounds.LARGE", 2**15)
    assert over_all in _fixed_steps(search)


def test_labels_that_the_candidate_points_to_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = batch()
    other = replace(problem, targets=Targets([0, 1, 4, 3]))
    form = (SLIPS["wrong-label"], {"row": 2, "label": 2, "instead": 4})
    for most in (256, 0):
        for limited in (module, formulas):
            monkeypatch.setattr(limited, "MOST_LABELS", most)
        steps = _fixed_steps(search_of(problem, right(other)))
        assert steps.count(form) == 1


def test_a_factor_of_a_pair_has_its_name() -> None:
    problem = batch()
    search = search_of(problem, 5 * right(problem) + 0.03 * problem.weights)
    with np.errstate(all="ignore"):
        *_, last = [[*rank] for rank in ranks(search)]
    (pair,) = [
        one for one in last if one.names == ("scaled", "weight-decay-included") and is_proved(search, one)
    ]
    assert pair.steps[0][1] == {"k": 5, "named": "T"}


def test_a_slip_of_the_layer_is_seen_through_a_layout_or_a_sign() -> None:
    problem = batch(n_inputs=5)
    wrong = apply(problem, ["softmax-twice"])
    transposed: Any = (SLIPS["transposed"], {})
    for candidate, last in ((wrong.T, transposed), (-wrong, FLIPPED)):
        search = search_of(problem, candidate)
        arranged = Bases(search, [Hypothesis((step,)) for step in (transposed, FLIPPED)])
        twice = [(SLIPS["softmax-twice"], {"form": form}) for form in ("both derivatives", "the shortcut")]
        found = [*_arranged_after_layer(arranged, _in_layer(search, twice))]
        assert [one.steps for one in found] == [(twice[1], last)]


# What comes near in values alone.


NEAR: list[tuple[str, dict[str, Any]]] = [
    ("rows-left-out", {"rows": "1 3", "divisor": "all rows"}),
    ("rows-left-out", {"rows": "2", "divisor": "the rest"}),
    ("wrong-denominator", {"counted": "padding columns", "k": 3}),
    ("micro-batch-means", {"size": 3, "then": "averaged"}),
    ("probabilities-clipped", {"eps": 1e-3, "derivative": "S - y"}),
]


@pytest.mark.parametrize("is_large", [False, True])
@pytest.mark.parametrize(("slip", "form"), NEAR)
def test_what_is_not_paired_is_kept_where_it_comes_near(
    slip: str, form: dict[str, Any], is_large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xegrad.bounds.LARGE", 1 if is_large else 2**15)
    problem = batch()
    problem = replace(problem, weights=4 * problem.weights)
    wrong = made(problem, (slip, form))
    for candidate, expected in ((wrong, True), (wrong + 1e-9, False), (wrong.T, False)):
        search = search_of(problem, candidate)
        with np.errstate(all="ignore"):
            near = _near_one_by_one(search, []) if is_large else _near_in_values(search)
        assert ((SLIPS[slip], form) in near) is expected
        assert len(near) < 4
    loose = search_of(problem, wrong + 1e-9, resolution=2e-9)
    with np.errstate(all="ignore"):
        near = _near_one_by_one(loose, []) if is_large else _near_in_values(loose)
    assert (SLIPS[slip], form) in near


def test_of_what_is_not_paired_so_many_are_made_as_fit_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = batch()
    search = search_of(problem, made(problem, NEAR[0]))
    steps = _not_paired(search)
    place = steps.index((SLIPS[NEAR[0][0]], NEAR[0][1]))
    for numbers, expected in ((20 * (place + 1), 1), (20 * place + 19, 0), (19, 0)):
        monkeypatch.setattr(module, "MOST_RESIDUALS", numbers)
        with np.errstate(all="ignore"):
            assert len(_near_in_values(search)) == expected
    one = search_of(batch(1), right(batch(1)))
    assert SLIPS["rows-left-out"] not in {slip for slip, _ in _not_paired(one)}


@pytest.mark.parametrize(
    "what", ["transposed", "negative", "scaled", "clipped", "decay", "updated", "something else"]
)
def test_of_a_large_problem_those_are_kept_that_one_more_step_brings_near(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xegrad.bounds.LARGE", 1)
    problem = batch(n_inputs=5)
    steps: Any = [
        *((SLIPS["softmax-twice"], {"form": form}) for form in ("both derivatives", "the shortcut")),
        *((SLIPS["squared-error"], {"factor": factor}) for factor in (1, 2)),
        (SLIPS["wrong-label"], {"row": 0, "label": 0, "instead": 1}),
    ]
    wrong = apply(problem, ["softmax-twice"], form="the shortcut")
    candidate = {
        "transposed": wrong.T,
        "negative": -wrong,
        "scaled": 1.7 * wrong,
        "clipped": np.clip(wrong, -0.05, 0.05),
        "decay": wrong + 0.3 * problem.weights,
        "updated": problem.weights - 0.3 * wrong,
        "something else": wrong + 1e-6,
    }[what]
    search = search_of(problem, candidate)
    arranged = Bases(search, [Hypothesis((step,)) for step in (*search.layouts, FLIPPED)])
    with np.errstate(all="ignore"):
        near = _near_in_pairs(search, arranged, steps)
        assert near == ([] if what == "something else" else [steps[1]])
        assert _near_in_pairs(search, arranged, []) == []
        narrow = search_of(batch(), right(batch()).T)
        assert _near_in_pairs(narrow, Bases(narrow, []), steps) == steps[:4]


# Labels and rows that a candidate points to.


@pytest.mark.parametrize("name", NAMES)
def test_the_labels_that_two_columns_point_to_are_those_of_their_rows(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = batch(5, 3, 6, labels=[0, 1, 3, 3, 1])
    n_labels = 5 * 5
    other = replace(problem, targets=Targets([0, 1, 3, 1, 1]))
    wrong = right(other, name)
    expected = [
        {"row": 1, "label": 1, "instead": 3},
        {"row": 2, "label": 3, "instead": 1},
        {"row": 3, "label": 3, "instead": 1},
        {"row": 4, "label": 1, "instead": 3},
    ]
    for most, rows, forms in ((n_labels - 1, 64, expected), (n_labels, 64, []), (0, 2, expected[:2])):
        monkeypatch.setattr(module, "MOST_LABELS", most)
        monkeypatch.setattr(module, "MOST_ROWS", rows)
        assert _labels_pointed_to(search_of(problem, wrong, name)) == ([] if name == "inputs" else forms)
    third = wrong + 1e-3 * (np.arange(wrong.shape[-1]) == 5)
    assert _labels_pointed_to(search_of(problem, third, name)) == []
    assert _labels_pointed_to(search_of(problem, right(problem, name), name)) == []
    if name != "inputs":
        assert _labels_pointed_to(search_of(problem, third, name, 2e-3)) == expected[:2]
        assert _labels_pointed_to(search_of(problem, wrong + 1e-9, name, 2e-9)) == expected[:2]
    ignoring = replace(problem, targets=Targets([0, 1, -100, 3, 1], ignore_index=-100))
    moved = right(replace(problem, targets=Targets([0, 1, -100, 1, 1], ignore_index=-100)), name)
    found = _labels_pointed_to(search_of(ignoring, moved, name))
    assert {form["row"] for form in found} == (set() if name == "inputs" else {1, 3})


def test_of_rows_whose_label_may_be_wrong_64_are_tried() -> None:
    """Of 70 in two classes, with 70 x 5 labels, which are more than 256."""
    labels = np.arange(70) % 2
    problem, other = batch(70, 3, 6, labels=labels), labels.copy()
    other[69] = 0
    found = _labels_pointed_to(search_of(problem, right(replace(problem, targets=Targets(other)))))
    assert [form["row"] for form in found] == [*range(64)]
    assert all(form["label"] == form["row"] % 2 == 1 - form["instead"] for form in found)


@pytest.mark.parametrize("name", NAMES)
def test_rows_that_a_candidate_holds_less_than_half_of_are_pointed_to(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Least squares tell the part of each row: with as many rows as numbers, exactly."""
    problem = batch(4, 5, 6)
    parts = np.array([1.0, 0.4, 0.0, 0.7])
    residuals = search_of(problem, right(problem)).cells.R.value * parts[:, None]
    candidate = {
        "weights": problem.inputs.T @ residuals,
        "bias": residuals.sum(axis=0),
        "inputs": residuals @ problem.weights.T,
        "logits": residuals,
    }[name]
    search = search_of(problem, candidate, name)
    (mask,) = _rows_pointed_to(search)
    empty = replace(problem, targets=Targets([0, 1, 9, 3], ignore_index=9))
    assert _rows_pointed_to(search_of(empty, candidate, name)) == []
    assert mask.tolist() == [False, True, True, False]
    monkeypatch.setattr(module, "MOST_LABELS", 4)
    assert len(_rows_pointed_to(search)) == 1
    monkeypatch.setattr(module, "MOST_LABELS", 3)
    assert _rows_pointed_to(search) == []


NUMBERED = {"order": "0 as 2, 1 as 4, 2 as 1, 3 as 0"}


@pytest.mark.parametrize(
    ("form", "found"),
    [
        ({"order": "0 as 1, 1 as 0, 2 as 2, 3 as 3"}, True),
        # One label alone, the next or the last class for every row, and the reverse order are other forms.
        *(
            (form, False)
            for form in ({"order": "0 as 4"}, {"shift": 1}, {"shift": -1}, {"order": "reversed"})
        ),
    ],
)
def test_an_order_of_labels_with_a_form_of_its_own_is_not_matched(form: dict[str, Any], found: bool) -> None:
    problem = batch(6, labels=[0, 1, 2, 3, 0, 1])
    search = search_of(problem, made(problem, ("wrong-label", form)))
    assert _renumbered(search) == ([form] if found else [])


def test_labels_in_any_order_are_matched_by_the_columns_of_their_counts() -> None:
    problem = batch(6, labels=[0, 1, 2, 3, 0, 1])
    wrong = made(problem, ("wrong-label", NUMBERED))
    assert _renumbered(search_of(problem, wrong)) == [NUMBERED]
    assert _renumbered(search_of(problem, wrong + 1e-9)) == []
    assert _renumbered(search_of(problem, wrong + 1e-9, resolution=2e-9)) == [NUMBERED]
    assert _renumbered(search_of(problem, right(problem))) == []
    # Not of soft targets or weights, of a single row, or of another gradient.
    for other in (
        replace(problem, targets=Targets([0, 1, 2, 3, 0, 1], class_weights=np.arange(1.0, 6))),
        replace(problem, targets=Targets(soft=np.eye(5)[[0, 1, 2, 3, 0, 1]])),
    ):
        assert _renumbered(search_of(other, made(other, ("wrong-label", {"shift": 1})))) == []
        assert _renumbered(search_of(other, wrong)) == []
    row = batch(1)
    assert _renumbered(search_of(row, made(row, ("wrong-label", {"row": 0, "label": 0, "instead": 2})))) == []
    logits = made(problem, ("wrong-label", NUMBERED), name="logits")
    assert _renumbered(search_of(problem, logits, "logits")) == []
    assert _renumbered(search_of(problem, wrong.T)) == []


@pytest.mark.parametrize("name", ["weights", "bias", "logits"])
def test_columns_in_any_order_are_matched(name: str) -> None:
    problem, order = batch(6, 3, 7), [2, 0, 1, 6, 3, 5, 4]
    columns = right(problem, name)[..., order]
    expected = {"order": " ".join(map(str, order))}
    for resolution in (0.0, 1e-6):
        printed = columns + resolution / 2
        (found,) = _in_any_order(search_of(problem, printed, name, resolution))
        assert found.steps == ((SLIPS["classes-permuted"], expected),)
        (found,) = _in_any_order(search_of(problem, -printed, name, resolution), FLIPPED)
        assert found.steps == ((SLIPS["classes-permuted"], expected), FLIPPED)
        assert not [*_in_any_order(search_of(problem, -printed, name, resolution))]
    for other in (2 * columns, columns * (1 + 1e-6), right(problem, name), right(problem, name)[..., ::-1]):
        assert not [*_in_any_order(search_of(problem, other, name))]
    swapped = columns.copy()
    swapped[..., [0, 1]] += [1e-4, -1e-4]
    assert not [*_in_any_order(search_of(problem, swapped, name))]


def test_no_order_of_classes_is_sought_in_dl_dx_or_another_shape() -> None:
    problem = batch(6, 3, 7)
    inputs = right(problem, "inputs")[:, [2, 0, 1]]
    assert not [*_in_any_order(search_of(problem, inputs, "inputs"))]
    assert not [*_in_any_order(search_of(problem, right(problem).T))]


# Storage.


@pytest.mark.parametrize(
    ("store", "options", "first"),
    [
        (lambda g: np.round(g, 3), {}, {"decimals": 3, "rounded": True}),
        (lambda g: np.round(2 * g, 3), {}, {"decimals": 3, "rounded": False}),
        (lambda g: np.round(g, 12), {}, {"decimals": 12, "rounded": True}),
        (lambda g: in_format(g, "bfloat16"), {}, {"format": "bfloat16", "rounded": True}),
        (lambda g: in_format(g, "float16"), {}, {"format": "float16", "rounded": True}),
        (lambda g: in_format(2 * g, "float32"), {}, {"format": "float32", "rounded": False}),
        (lambda g: in_format(g, "float32"), {"precision": "float32"}, None),
        (lambda g: in_format(g, "bfloat16"), {"precision": "float32", "stored_as": "bfloat16"}, None),
        (lambda g: in_format(g, "float16"), {"precision": "float32"}, {"format": "float16", "rounded": True}),
        (lambda g: g, {}, None),
        (lambda g: np.round(g, 3).T, {}, None),
    ],
)
def test_storage_is_seen_in_every_entry(store: Any, options: dict[str, str], first: Any) -> None:
    problem = batch()
    search = search_of(problem, store(right(problem)), **options)
    assert next(_forms_stored(search), None) == first


def test_decimals_finer_than_the_floats_are_those_of_any_number() -> None:
    """16 u of the largest entry, which is 0.06 of 60,000 in float32; and any of what was printed."""
    problem = batch()
    for scale, decimals, is_held in ((6e4, 4, False), (6e4, 1, True), (1.0, 4, True)):
        numbers = np.round(scale * np.random.default_rng(5).uniform(-1, 1, (3, 5)), decimals)
        search = search_of(problem, numbers, precision="float32")
        forms = [form.get("decimals") for form in _forms_stored(search)]
        assert (decimals in forms) is is_held
    printed = search_of(problem, np.round(right(problem), 3), resolution=0.5e-3)
    assert [form for form in _forms_stored(printed) if "decimals" in form] == []


def test_a_number_is_held_by_a_format_or_within_four_roundings_of_its_decimals() -> None:
    u = 2.0**-24
    for form, value, expected in (
        ({"format": "float16"}, 0.1, False),
        ({"format": "float16"}, float(np.float16(0.1)), True),
        ({"decimals": 2}, 0.25 * (1 + 3.9 * u), True),
        ({"decimals": 2}, 0.25 * (1 + 4.1 * u), False),
        ({"decimals": 2}, -0.25 * (1 - 4.1 * u), False),
        ({"decimals": 1}, 0.25, False),
        ({"decimals": 2}, 0.0, True),
    ):
        assert _holds(form, np.array([0.5, value]), u) is expected


@pytest.mark.parametrize(
    ("store", "form"),
    [
        (lambda g: np.round(g, 6), {"decimals": 6}),
        (lambda g: in_format(g, "float32"), {"format": "float32"}),
        (lambda g: in_format(g, "float16"), None),
        (lambda g: g, None),
    ],
)
def test_a_slip_whose_result_was_stored_is_proved_by_that_measure(store: Any, form: Any) -> None:
    problem = batch()
    for wrong, names in (
        (-right(problem), ("sign-flipped",)),
        (apply(problem, ["softmax-twice"]), ("softmax-twice",)),
        (right(problem) + 0.01, ()),
    ):
        with np.errstate(all="ignore"):
            found = [*_stored_pairs(search_of(problem, store(wrong)))]
        if not names or form is None:
            assert not found
            continue
        assert {one.names for one in found} == {(*names, "low-precision")}
        assert all(one.proved and one.steps[-1][1] == {**form, "rounded": False} for one in found)
