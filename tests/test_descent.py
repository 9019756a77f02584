"""Steps downhill: torch's own step, scikit-learn's optimum, and what goes wrong told by its step."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

import truth
from conftest import Run
from strategies import problems
from xegrad import (
    Descent,
    Evaluation,
    InputError,
    Problem,
    Targets,
    XegradError,
    bounds,
    descend,
    formats,
    max_memory,
    progress,
    read,
)
from xegrad.descent import ExactLosses, accuracy, exact_losses
from xegrad.methods import shortcut

HERE = Path(__file__).parent
OPTIMUM = json.loads((HERE / "data" / "iris_optimum.json").read_text())
SGD = json.loads((HERE / "data" / "sgd_steps.json").read_text())["cases"]


def iris() -> Problem:
    """All 150, with zero weights."""
    with (HERE.parent / "sample_inputs" / "iris.csv").open() as file:
        _, *rows = csv.reader(file)
    classes = ("setosa", "versicolor", "virginica")
    return Problem(
        weights=np.zeros((4, 3)),
        inputs=np.array([[float(cell) for cell in row[:4]] for row in rows]),
        targets=Targets(labels=np.array([classes.index(row[4]) for row in rows])),
        bias=np.zeros(3),
        classes=classes,
    )


def objective(problem: Problem, l2: float) -> Any:
    """The mean cross-entropy and l2/2 sum W^2, by mpmath at 100 bits."""
    labels, bias = problem.targets.labels, problem.bias
    assert labels is not None
    assert bias is not None
    with mpmath.workprec(100):
        total = mpmath.mpf(0)
        columns = [[mpmath.mpf(w) for w in column] for column in problem.weights.T.tolist()]
        for row, label in zip(problem.inputs.tolist(), labels.tolist(), strict=True):
            logits = [
                mpmath.fdot(zip(map(mpmath.mpf, row), column, strict=True)) + b
                for column, b in zip(columns, map(mpmath.mpf, bias.tolist()), strict=True)
            ]
            total += mpmath.log(mpmath.fsum(map(mpmath.exp, logits))) - logits[label]
        squares = mpmath.fsum(w * w for column in columns for w in column)
        return total / problem.n_rows + mpmath.mpf(l2) / 2 * squares


def test_iris_is_what_fisher_measured() -> None:
    problem = iris()
    assert problem.inputs.shape == (150, 4)
    assert np.bincount(np.asarray(problem.targets.labels)).tolist() == [50, 50, 50]
    # The 35th and the 38th, which are wrong in the copy that the UCI repository spreads.
    assert problem.inputs[[34, 37]].tolist() == [[4.9, 3.1, 1.5, 0.2], [4.9, 3.6, 1.4, 0.1]]


def test_the_line_search_reaches_the_optimum_that_scikit_learn_finds_for_iris() -> None:
    descent = descend(iris(), steps=2000, l2=OPTIMUM["l2"])
    reached = objective(descent.end, OPTIMUM["l2"])
    assert abs(reached - OPTIMUM["loss"]) <= 1e-8 * OPTIMUM["loss"]
    assert abs(descent.losses[-1] - reached) <= 1e-14 * reached
    assert descent.converged
    assert descent.steps < 1500
    right = accuracy(descent.end)
    assert right is not None
    assert round(150 * right) == OPTIMUM["right"]


def test_the_optimum_on_file_is_one() -> None:
    """Its loss by mpmath, and no other point near it is lower: the slope there is next to nothing."""
    there = Problem(
        weights=np.array(OPTIMUM["W"]),
        inputs=iris().inputs,
        targets=iris().targets,
        bias=np.array(OPTIMUM["b"]),
    )
    assert abs(objective(there, OPTIMUM["l2"]) - OPTIMUM["loss"]) <= 1e-15
    assert descend(there, steps=0, l2=OPTIMUM["l2"]).gradient_norm < 1e-10


def test_scikit_learn_finds_that_optimum() -> None:
    pytest.importorskip("sklearn")
    from sklearn.linear_model import LogisticRegression

    problem = iris()
    # It minimises C sum + sum W^2 / 2, ours is the mean + l2/2 sum W^2: the same where C = 1 / (l2 B).
    model = LogisticRegression(C=1 / (OPTIMUM["l2"] * 150), solver="newton-cholesky", tol=1e-12)
    model.fit(problem.inputs, problem.targets.labels)
    there = Problem(model.coef_.T, problem.inputs, problem.targets, model.intercept_)
    assert abs(objective(there, OPTIMUM["l2"]) - OPTIMUM["loss"]) <= 1e-12


def problem_of(case: dict[str, Any]) -> Problem:
    dtype = np.dtype(case["dtype"])
    return Problem(
        weights=np.array(case["W"], dtype=dtype),
        inputs=np.array(case["x"], dtype=dtype),
        targets=Targets(labels=np.array(case["labels"]), **case["options"]),
        bias=None if case["b"] is None else np.array(case["b"], dtype=dtype),
    )


def assert_is_the_step(case: dict[str, Any], weights: Any, bias: Any) -> None:
    """To eta times what rounding can do to both gradients, and the roundings of the step itself."""
    problem = problem_of(case)
    descent = descend(problem, learning_rate=case["learning_rate"], l2=case["l2"])
    u = bounds.PRECISIONS[case["dtype"]].u
    names = ("weights",) if problem.bias is None else ("weights", "bias")
    bounded = bounds.stable(problem, names).gradients
    for name, other in (("weights", weights), ("bias", bias)):
        if name not in names:
            continue
        start, end = getattr(problem, name), getattr(descent.end, name)
        bound = 2 * case["learning_rate"] * bounded[name] + 8 * u * (np.abs(start) + np.abs(other))
        assert (np.abs(end.astype(np.float64) - other) <= bound).all()
    # Its loss is that of the problem and the penalty.
    assert descent.losses[0] == pytest.approx(
        case["loss"] + case["l2"] / 2 * np.sum(problem.weights**2), rel=64 * u
    )


@pytest.mark.parametrize("case", SGD, ids=[case["name"] for case in SGD])
def test_a_step_at_a_fixed_rate_is_that_of_torch(case: dict[str, Any]) -> None:
    assert_is_the_step(case, np.array(case["W_after"]), case["b_after"] and np.array(case["b_after"]))


@pytest.mark.parametrize("case", SGD, ids=[case["name"] for case in SGD])
def test_torch_takes_that_step(case: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    dtype = getattr(torch, case["dtype"])
    weights = torch.tensor(case["W"], dtype=dtype, requires_grad=True)
    groups: list[dict[str, Any]] = [{"params": [weights], "weight_decay": case["l2"]}]
    logits = torch.tensor(case["x"], dtype=dtype) @ weights
    if case["b"] is not None:
        bias = torch.tensor(case["b"], dtype=dtype, requires_grad=True)
        groups.append({"params": [bias]})
        logits = logits + bias
    options = dict(case["options"])
    if "class_weights" in options:
        options["weight"] = torch.tensor(options.pop("class_weights"), dtype=dtype)
    optimizer = torch.optim.SGD(groups, lr=case["learning_rate"])
    torch.nn.functional.cross_entropy(logits, torch.tensor(case["labels"]), **options).backward()
    optimizer.step()
    moved = [part.detach().double().numpy() for group in groups for part in group["params"]]
    assert_is_the_step(case, moved[0], moved[1] if len(moved) > 1 else None)


def test_a_step_on_the_seed_is_w_minus_eta_times_the_gradient_of_the_derivation() -> None:
    from seed import GRADIENT, HALF_A_UNIT

    seed = read("sample_inputs/seed.json")
    moved = descend(seed, learning_rate=0.5).end.weights
    assert np.abs(moved - (seed.weights - 0.5 * np.array(GRADIENT))).max() <= 0.5 * HALF_A_UNIT + 1e-15


@settings(max_examples=40, deadline=None)
@given(problem=problems(), l2=st.sampled_from([0.0, 0.01]), method=st.sampled_from(["shortcut", "chain"]))
def test_the_line_search_never_lets_the_loss_grow_and_no_loss_is_nan(
    problem: Problem, l2: float, method: str
) -> None:
    descent = descend(problem, steps=4, l2=l2, method=method)
    assert np.isfinite(descent.losses).all()
    assert all(after <= before for before, after in zip(descent.losses, descent.losses[1:], strict=False))
    assert len(descent.losses) == descent.steps + 1


def test_every_method_gives_the_step() -> None:
    seed = read("sample_inputs/seed.json")
    ends = {
        method: descend(seed, learning_rate=0.1, method=method).end.weights
        for method in ("finite-difference", "chain", "complex-step", "shortcut", "exact")
    }
    # A tenth of what central differences may be off by: h^2 / 6 sqrt 3 at h = 2^-17, and rounding over h.
    assert all(np.abs(end - ends["exact"]).max() <= 1e-11 for end in ends.values())


def test_a_rate_that_lets_the_loss_grow_past_the_start_is_told_by_its_step() -> None:
    descent = descend(iris(), steps=100, learning_rate=1.0)
    assert descent.diverged_at == 1
    assert descent.diverged_to is not None
    assert descent.diverged_to > descent.losses[0] == pytest.approx(math.log(3), rel=1e-15)
    assert descent.steps == 0
    assert not descent.end.weights.any()


def test_a_rate_that_overflows_is_told_by_its_step_and_never_as_nan() -> None:
    problem = Problem(np.ones((1, 2)), np.array([[1e200]]), Targets(labels=np.array([0])))
    descent = descend(problem, steps=5, learning_rate=1e300)
    assert descent.diverged_at == 1
    assert descent.diverged_to == math.inf
    assert descent.losses[0] == pytest.approx(math.log(2), rel=1e-15)
    assert descent.steps == 0
    assert np.isfinite(descent.end.weights).all()


def test_a_gradient_that_is_not_finite_stops_before_the_step() -> None:
    descent = descend(read("sample_inputs/underflow.json"), steps=3, learning_rate=0.1, method="chain")
    assert descent.diverged_at == 1
    assert descent.diverged_to is None
    assert math.isnan(descent.gradient_norm)
    assert descend(read("sample_inputs/underflow.json"), steps=3, learning_rate=0.1).diverged_at is None


def test_rounding_at_the_bottom_is_no_divergence() -> None:
    """Soft targets that the layer fits at once: then a fixed rate moves by rounding only."""
    problem = Problem(
        np.array([[0.1, 0.7, 0.2]]), np.array([[3.0]]), Targets(soft=np.array([[0.25, 0.5, 0.25]]))
    )
    there = descend(problem, steps=500).end
    assert descend(there, steps=200, learning_rate=0.1).diverged_at is None


def test_an_interrupted_descent_says_so_where_its_report_is_no_text(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupted(*arguments: Any, **options: Any) -> Descent:
        return replace(descend(*arguments, **options), interrupted=True)

    monkeypatch.setattr("xegrad.descent.descend", interrupted)
    command = ("descend", "sample_inputs/seed.json", "--steps", "2")
    outcome = run(*command)
    assert (outcome.status, outcome.err) == (130, "") and "interrupted: after 2 steps" in outcome.out
    for options in (["--json"], ["-o", tmp_path / "report.txt"]):
        outcome = run(*command, *map(str, options))
        assert (outcome.status, outcome.err) == (130, "xegrad: interrupted after 2 steps\n")


def test_an_interrupted_descent_returns_the_steps_that_were_taken() -> None:
    def interrupt(step: int, loss: float) -> None:
        if step == 3:
            raise KeyboardInterrupt

    descent = descend(iris(), steps=100, on_step=interrupt)
    assert descent.interrupted
    assert descent.steps == 3
    assert descent.losses == descend(iris(), steps=3).losses


def test_it_stops_where_the_gradient_is_small_enough() -> None:
    descent = descend(iris(), steps=2000, l2=0.1, tolerance=1e-3)
    assert descent.converged
    assert descent.gradient_norm <= 1e-3
    assert descend(descent.end, steps=5, l2=0.1, tolerance=1e-3).steps == 0


def test_each_point_is_evaluated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a fixed rate there is one point for each step, and the start; loss and gradient are of one evaluation."""
    evaluate, asked = shortcut.evaluate, []

    def counted(problem: Problem, names: Sequence[str]) -> Evaluation:
        asked.append(names)
        return evaluate(problem, names)

    monkeypatch.setattr(shortcut, "evaluate", counted)
    descent = descend(iris(), steps=4, learning_rate=0.01)
    assert descent.steps == 4
    assert asked == [("weights", "bias")] * 5


def test_what_takes_too_much_memory_is_refused_before_the_first_step() -> None:
    with max_memory("10kB"), pytest.raises(XegradError, match="10 kB is allowed"):
        descend(iris())


def test_steps_that_take_long_are_said_before_they_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xegrad.methods.chain.work", lambda *sizes: 30.0)
    heard: list[str] = []
    with progress.heard_by(heard.append):
        descend(iris(), steps=4, method="chain")
    assert heard == ["4 steps by --method chain take about 2 min by estimate"]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("sample_inputs/seed.json", "--tolerance", "0.1"), "the gradient's norm is within the tolerance."),
        (("-W", "[[0,0]]", "-x", "1", "-y", "[0.5,0.5]"), "the gradient is 0."),
        (("sample_inputs/batch.json", "--l2", "1"), "the loss can fall no further in floats."),
    ],
)
def test_a_descent_says_why_it_has_converged(run: Run, options: tuple[str, ...], why: str) -> None:
    first = run("descend", *options, "--steps", "1000").out.partition("\n\n")[0]
    assert "converged: after " in first
    assert " ".join(first.split()).endswith(why)


def test_no_step_is_a_look_at_the_start() -> None:
    descent = descend(read("sample_inputs/seed.json"), steps=0)
    assert (descent.steps, descent.converged, descent.largest_change) == (0, False, 0.0)


def test_a_problem_without_b_keeps_none() -> None:
    descent = descend(read("sample_inputs/seed.json"), steps=2)
    assert descent.end.bias is None
    assert descent.end.targets is descent.start.targets


def test_whoever_watches_hears_of_every_step() -> None:
    heard: list[tuple[str, int, int]] = []
    with progress.watched_by(lambda *told: heard.append(told)):
        descend(iris(), steps=4)
    assert heard == [("descend", step, 4) for step in (1, 2, 3, 4)]


@pytest.mark.parametrize("size", [1e-155, 1e-200, 1e155])
def test_a_curvature_that_is_no_float_ends_all_the_same(size: float) -> None:
    descent = descend(Problem(np.zeros((1, 2)), np.array([[size]]), Targets(labels=np.array([0]))), steps=3)
    assert np.isfinite(descent.losses).all()
    assert np.isfinite(descent.end.weights).all()


def test_rows_without_a_label_have_no_share_that_is_right() -> None:
    soft = Problem(np.zeros((1, 2)), np.ones((1, 1)), Targets(soft=np.array([[0.5, 0.5]])))
    assert accuracy(soft) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": -1}, "-1 steps"),
        ({"learning_rate": 0.0}, "the learning rate is 0.0"),
        ({"learning_rate": math.inf}, "the learning rate is inf"),
        ({"tolerance": -1.0}, "tolerance is -1.0"),
        ({"l2": math.nan}, "l2 is nan"),
        ({"method": "magic"}, "there is no method 'magic'"),
    ],
)
def test_what_means_nothing_is_an_error(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        descend(read("sample_inputs/seed.json"), **options)


def test_a_loss_that_is_not_finite_at_the_start_is_an_error() -> None:
    problem = Problem(np.array([[1e200, 1.0]]), np.array([[1e200]]), Targets(labels=np.array([1])))
    with pytest.raises(InputError, match="the loss is inf before the first step"):
        descend(problem)


def test_a_descent_is_a_value() -> None:
    with pytest.raises(AttributeError):
        # mypy refuses it as well; that it fails when it runs is what is tested.
        descend(read("sample_inputs/seed.json")).losses = ()  # type: ignore[misc]
    assert isinstance(descend(read("sample_inputs/seed.json")), Descent)


def test_the_exact_losses_are_the_nearest_floats_to_those_of_mpmath() -> None:
    descent = descend(read("sample_inputs/batch.json"), steps=3, l2=0.1)
    with mpmath.workprec(53):
        before, after = (float(+truth.exact(problem)["loss"]) for problem in (descent.start, descent.end))
    assert exact_losses(descent) == ExactLosses(before, after, certified=True)
    assert exact_losses(descent, exact=False) is None


def test_descend_gives_exact_losses_in_json_where_that_is_quick_and_in_the_table_if_asked(run: Run) -> None:
    quick = json.loads(run("descend", "sample_inputs/seed.json", "--json").out)
    assert quick["exact"]["certified"] is True
    assert quick["exact"]["loss_before"] == pytest.approx(quick["loss_before"], rel=1e-14)
    assert "exact" not in json.loads(run("descend", "sample_inputs/seed.json", "--no-exact", "--json").out)
    assert "exact loss        1.5279347 before" in run("descend", "sample_inputs/seed.json", "--exact").out
    assert "exact loss" not in run("descend", "sample_inputs/seed.json").out


@pytest.mark.parametrize("type_of_numbers", ["<f4", ">f4", "<f2", "<f8", "<i8", "|i1"])
@pytest.mark.parametrize("transpose", [False, True])
def test_what_is_saved_is_read_back_to_the_bit(
    run: Run, tmp_path: Path, type_of_numbers: str, transpose: bool
) -> None:
    """In its precision and its layout, before and after a step."""
    random = np.random.default_rng(1)
    n_inputs, n_classes = (4, 3) if transpose else (3, 4)
    parts = {
        "W": random.normal(size=(3, 4)),
        "x": random.normal(size=(2, n_inputs)),
        "b": random.normal(size=n_classes),
    }
    path, saved = tmp_path / "problem.npz", tmp_path / "saved.json"
    arrays: dict[str, Any] = {key: (5 * part).astype(type_of_numbers) for key, part in parts.items()}
    np.savez(path, label=np.array([0, 1]), transpose=np.array(transpose), **arrays)
    for steps in (0, 2):
        assert run("descend", str(path), "--steps", str(steps), "--save", str(saved), "-q").status == 0
        expected, back = descend(formats.read(path), steps=steps).end, formats.read(saved)
        assert back.dtype == expected.dtype
        assert formats.read_raw(saved).layout == formats.read_raw(path).layout
        for name in ("weights", "inputs", "bias"):
            assert getattr(back, name).tobytes() == getattr(expected, name).astype(np.float64).tobytes()


def test_a_layer_in_bfloat16_is_saved_to_the_bit(run: Run, tmp_path: Path) -> None:
    """-2.5 and 0.15625 are 0xC020 and 0x3E20 in bfloat16 (the upper half of float32)."""
    header = b'{"weight":{"dtype":"BF16","shape":[2,1],"data_offsets":[0,4]}}'
    layer, saved = tmp_path / "layer.safetensors", tmp_path / "saved.json"
    layer.write_bytes(len(header).to_bytes(8, "little") + header + b"\x20\xc0\x20\x3e")
    arguments = ("-x", "1", "-y", "0", "--steps", "0", "--save", str(saved), "-q")
    assert run("descend", str(layer), *arguments).status == 0
    back = formats.read_raw(saved)
    assert (back.values["W"].tolist(), back.layout.transpose) == ([[-2.5], [0.15625]], True)


@pytest.mark.parametrize("suffix", ["json", "csv"])
def test_what_no_step_has_moved_is_saved_as_it_was(run: Run, tmp_path: Path, suffix: str) -> None:
    """A zero that is negative, and a data set whose labels are indices."""
    data, saved = tmp_path / "data.csv", tmp_path / f"saved.{suffix}"
    data.write_text("a,label\n-0.0,1\n", encoding="utf-8")
    line = ("-W", "[[-0.0, 2]]", "-x", str(data), "--label-column", "label", "--steps", "0", "-q", "--save")
    assert (run("descend", *line, str(saved)).status == 0) == (suffix == "json")  # CSV holds no batch
    problem = tmp_path / "problem.json"
    problem.write_text('{"W": [[-0.0, 2]], "x": [-0.0], "label": 1}', encoding="utf-8")
    assert run("descend", str(problem), "--steps", "0", "-q", "--save", str(saved)).status == 0
    back = formats.read(saved)
    assert np.signbit([back.weights[0, 0], back.inputs[0, 0]]).all()


def test_class_weights_in_a_row_are_saved_as_they_are_read(run: Run, tmp_path: Path) -> None:
    saved = tmp_path / "saved.json"
    line = ("-W", "[[1, 2]]", "-x", "1", "-y", "0", "--class-weights", "[[3, 4]]", "--steps", "0", "-q")
    assert run("descend", *line, "--save", str(saved)).status == 0
    assert np.array_equal(formats.read(saved).targets.class_weights, [3, 4])  # type: ignore[arg-type]
