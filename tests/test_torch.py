"""PyTorch's cross_entropy and autograd against the exact values, within the bound of a stable computation.

Runs where torch is installed: pip install 'xegrad[test,torch]'.  `pytest -rP` prints the worst errors.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import Run
from torch_layer import EVERY_COMBINATION, NAMES, certified, draw, evaluate, rows, unreduced
from xegrad import METHODS, InputError, Problem, Targets, assert_gradient, bounds, check, layer
from xegrad.judgement import DIGITS_LOST, RIGHT, UNDECIDED, WRONG, judge
from xegrad.tolerance import Tolerance

torch = pytest.importorskip("torch")

torch.set_num_threads(1)  # the layers are tiny

SCALES = (0.1, 1.0, 1.0, 10.0, 100.0)  # of W and b: logits near one, and saturated


def test_what_the_page_on_verify_saves_is_judged_right(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Path("docs/verify.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```py\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    for precision in ("float32", "float64"):
        exec(compile(block.replace("torch.float32", f"torch.{precision}"), "verify.md", "exec"), {})
        assert run("verify", "layer.npz", "-q").status == 0


PYTHON_PAGE = Path("docs/python.md").read_text(encoding="utf-8")


def test_the_module_on_the_page_on_python_is_right_and_a_chunk_left_out_is_told() -> None:
    (block,) = re.findall(r"^```py\n(.*?)^```$", PYTHON_PAGE, flags=re.MULTILINE | re.DOTALL)
    exec(compile(block, "python.md", "exec"), {})
    wrong = block.replace("x.split(8)", "x[:24].split(8)")
    assert wrong != block
    with pytest.raises(AssertionError, match=r"^✗ WRONG: "):
        exec(compile(wrong, "python.md", "exec"), {})


@pytest.mark.parametrize("precision", ["float64", "float32", "bfloat16", "float16"])
def test_tensors_are_judged_in_their_precision_as_they_are(precision: str) -> None:
    """Those in half precision are computed in float32 and then rounded."""
    dtype = getattr(torch, precision)
    computed = torch.float32 if precision in ("bfloat16", "float16") else dtype
    torch.manual_seed(14)
    W, x = (torch.randn(size, dtype=computed, requires_grad=True) for size in ((6, 4), (5, 6)))
    b, labels = torch.randn(4, dtype=computed, requires_grad=True), torch.randint(4, (5,))
    loss = torch.nn.functional.cross_entropy(x @ W + b, labels)
    loss.backward()
    gradients = {"W": W.grad.to(dtype), "b": [*b.grad], "x": x.grad.to(dtype).to_sparse()}
    verdict = check(W, x, labels, gradients, bias=[*b], loss=loss)
    assert verdict.verified
    assert verdict.tolerance.precision == str(computed).removeprefix("torch.")
    assert verdict.tolerance.stored_as == (None if computed is dtype else precision)
    with pytest.raises(AssertionError, match="MISTAKE sign-flipped"):
        assert_gradient(W, x, labels, -gradients["W"], bias=b)
    assert check(W, x, labels, W.grad.double(), bias=b, dtype=computed).verified


def test_a_layer_in_bfloat16_is_right_by_its_recipe_and_wrong_without() -> None:
    torch.manual_seed(15)
    layer = torch.nn.Linear(16, 8, dtype=torch.bfloat16)
    x, labels = torch.randn(12, 16, dtype=torch.bfloat16), torch.randint(8, (12,))
    torch.nn.functional.cross_entropy(layer(x), labels).backward()
    W, b, gradient = layer.weight, layer.bias, layer.weight.grad
    assert_gradient(W, x, labels, gradient, bias=b, transpose=True, recipe="torch-bf16-linear")
    with pytest.raises(AssertionError, match="WRONG"):
        assert_gradient(W, x, labels, gradient, bias=b, transpose=True)
    with pytest.raises(AssertionError, match="WRONG"):
        assert_gradient(W, x, labels, -gradient, bias=b, transpose=True, recipe="torch-bf16-linear")


def test_a_tensor_without_numbers_is_refused_in_one_line() -> None:
    for wrong in (torch.ones(6, 4, device="meta"), torch.ones(6, 4, dtype=torch.complex64)):
        with pytest.raises(InputError, match=r"^W (is not an array|must be made of real numbers).*[^\n]$"):
            assert_gradient(wrong, torch.ones(5, 6), torch.zeros(5, dtype=torch.int64), np.ones((6, 4)))


class Worst:
    """The largest errors seen, by what they are of."""

    def __init__(self) -> None:
        self.error: dict[str, float] = {}
        self.ratio: dict[str, float] = {}  # of an error to its bound

    def hold(self, name: str, exact: Any, computed: Any, bound: Any) -> None:
        """Everywhere, computed is within the bound of exact, and both are finite."""
        error = np.abs(np.asarray(computed, dtype=np.float64) - exact)
        assert np.isfinite(bound).all(), name
        assert (error <= bound).all(), (name, exact, computed, bound)
        self.error[name] = max(self.error.get(name, 0.0), float(np.max(error)))
        ratios = np.divide(error, bound, out=np.zeros_like(error), where=np.asarray(bound) > 0)
        self.ratio[name] = max(self.ratio.get(name, 0.0), float(np.max(ratios)))

    def __str__(self) -> str:
        lines = [
            f"{name:16} {error:.2g} ({self.ratio[name]:.2f} of its bound)"
            for name, error in self.error.items()
        ]
        return "\n".join(lines)


def hold_to_torch(problem: Problem, worst: Worst) -> None:
    computed, exact = evaluate(problem), certified(METHODS["exact"].evaluate(problem, NAMES))
    bound = bounds.stable(problem, NAMES)
    worst.hold("loss", exact.loss, computed.loss, bound.loss)
    for name in NAMES:
        worst.hold(name, exact.gradients[name], computed.gradients[name], bound.gradients[name])
    alone = [certified(METHODS["exact"].evaluate(row)) for row in rows(problem)]
    allowed = np.array([bounds.stable(row).loss for row in rows(problem)])
    worst.hold("losses", np.array([row.loss for row in alone]), computed.losses, allowed)
    # Both are floats here, and each may be off by the bound.
    worst.hold("losses, floats", layer.forward(unreduced(problem)).losses, computed.losses, 2 * allowed)


def test_torch_is_within_the_bound_of_the_exact_values_in_1944_random_cases() -> None:
    """27 problems for each of 72 combinations of the options, a few of them saturated."""
    random = np.random.default_rng(2013)
    worst = {scale: Worst() for scale in SCALES}
    for index in range(27):
        scale = SCALES[index % len(SCALES)]
        for options in EVERY_COMBINATION:
            hold_to_torch(draw(random, options, scale), worst[scale])
    for scale, errors in worst.items():
        print(f"torch {torch.__version__}, float64, W and b near {scale}: worst errors\n{errors}")  # noqa: T201


@pytest.mark.parametrize("form", ["x @ W + b", "linear"])
def test_torch_in_float32_is_never_called_wrong(form: str) -> None:
    """Of 720 problems stated in float64, and so judged by the exact values before any rounding."""
    random = np.random.default_rng(2014)
    outcomes = dict.fromkeys((RIGHT, DIGITS_LOST, UNDECIDED, WRONG), 0)
    for index in range(10):
        for options in EVERY_COMBINATION:
            problem = draw(random, options, SCALES[index % len(SCALES)])
            for outcome in outcomes_in_float32(problem, form):
                outcomes[outcome] += 1
    print(f"torch {torch.__version__}, float32, {form}: {outcomes}")  # noqa: T201
    assert outcomes[WRONG] == 0
    assert outcomes[RIGHT] > outcomes[UNDECIDED] + outcomes[DIGITS_LOST]


def outcomes_in_float32(problem: Problem, form: str) -> list[str]:
    computed, exact = evaluate(problem, "float32", form), METHODS["exact"].evaluate(problem, NAMES)
    tolerance = Tolerance(precision="float32")
    judged = [judge(problem, exact, computed.gradients[name], tolerance, 0.0, name) for name in NAMES]
    judged.append(judge(problem, exact, computed.loss, tolerance, 0.0, "loss"))
    for row, loss in zip(rows(problem), computed.losses.tolist(), strict=True):
        judged.append(judge(row, METHODS["exact"].evaluate(row), loss, tolerance, 0.0, "loss"))
    return [judgement.outcome for judgement in judged]


HARD, SOFT = {"labels": [0, 1]}, {"soft": [[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]]}


def by_torch(**given: Any) -> Any:
    """The loss of logits [[1, 2, 3], [0, 1, 0]] under the mean, and its gradient."""
    logits = torch.tensor([[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    target = given.pop("labels") if "labels" in given else given.pop("soft")
    if "class_weights" in given:
        given["weight"] = torch.tensor(given.pop("class_weights"), dtype=torch.float64)
    dtype = None if isinstance(target[0], int) else torch.float64
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(target, dtype=dtype), **given)
    loss.backward()
    return loss.item(), logits.grad.numpy()


def refuse(**given: Any) -> None:
    with pytest.raises(InputError):
        Problem(np.eye(3), np.array([[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]]), Targets(**given))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_mean_over_no_row_is_nan_in_torch_beside_a_gradient_of_zeros_and_refused_here(
    smoothing: float,
) -> None:
    given = {"labels": [-100, -100], "ignore_index": -100, "label_smoothing": smoothing}
    loss, gradient = by_torch(**given)
    assert np.isnan(loss)
    assert not gradient.any()
    refuse(**given)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_mean_over_weights_that_sum_to_zero_is_nan_in_torch_and_refused_here(smoothing: float) -> None:
    given: dict[str, Any] = {**HARD, "class_weights": [0.0, 0.0, 1.0], "label_smoothing": smoothing}
    loss, gradient = by_torch(**given)
    assert np.isnan(loss)
    assert np.isnan(gradient).all()
    refuse(**given)


def test_soft_targets_with_an_ignored_class_are_an_error_in_both() -> None:
    with pytest.raises(RuntimeError, match="ignore_index is not supported for floating point target"):
        by_torch(**SOFT, ignore_index=1)
    refuse(**SOFT, ignore_index=1)


def test_soft_targets_with_a_negative_ignore_index_are_an_error_only_here() -> None:
    assert by_torch(**SOFT, ignore_index=-1)[0] == by_torch(**SOFT)[0]
    refuse(**SOFT, ignore_index=-1)


@pytest.mark.parametrize("targets", [HARD, SOFT], ids=["labels", "soft"])
def test_a_smoothing_above_one_is_an_error_in_both(targets: dict[str, Any]) -> None:
    with pytest.raises(RuntimeError, match="label_smoothing must be between"):
        by_torch(**targets, label_smoothing=1.1)
    refuse(**targets, label_smoothing=1.1)


@pytest.mark.parametrize("smoothing", [-0.1, float("nan")])
@pytest.mark.parametrize("targets", [HARD, SOFT], ids=["labels", "soft"])
def test_a_smoothing_below_zero_or_nan_is_none_at_all_in_torch_and_refused_here(
    targets: dict[str, Any], smoothing: float
) -> None:
    assert by_torch(**targets, label_smoothing=smoothing)[0] == by_torch(**targets)[0]
    refuse(**targets, label_smoothing=smoothing)


@pytest.mark.parametrize("weights", [[-1.0, 2.0, 1.0], [-1.0, 1.0, 1.0]])
def test_negative_weights_make_a_negative_loss_in_torch_even_an_infinite_one_and_are_refused_here(
    weights: list[float],
) -> None:
    loss, _ = by_torch(**HARD, class_weights=weights)
    assert loss == -np.inf if sum(weights[:2]) == 0 else loss < 0
    refuse(**HARD, class_weights=weights)


def test_torch_ignores_a_label_of_minus_100_unasked_and_it_is_refused_here_with_the_way_to_ask() -> None:
    assert by_torch(labels=[0, -100])[0] == by_torch(labels=[0, -100], ignore_index=-100)[0]
    with pytest.raises(InputError, match="to ignore such rows, as PyTorch does, say ignore_index -100"):
        Problem(np.eye(3), np.ones((2, 3)), Targets(labels=np.array([0, -100])))
