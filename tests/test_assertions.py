"""A gradient asserted in Python is judged as the command judges it, whatever holds its numbers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import xegrad
from conftest import Run
from truth import exact
from xegrad import Claim, InputError, Problem, Targets, assert_gradient, assert_loss, check

RANDOM = np.random.default_rng(14)
W, X, B = RANDOM.normal(size=(3, 4)), RANDOM.normal(size=(5, 3)), RANDOM.normal(size=4)
LABELS = [0, 3, 1, 1, 2]
TRUTH = exact(Problem(W, X, Targets(np.array(LABELS)), bias=B))
RIGHT = {name: np.array(TRUTH[name], dtype=float) for name in ("weights", "bias", "inputs", "logits")}
LOSS = float(TRUTH["loss"])


class OnlyArray:
    """What numpy makes an array of, and nothing else."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return self.values


class OnlyDlpack:
    """An array that speaks DLPack, and nothing else."""

    def __init__(self, values: Any) -> None:
        self.values = np.array(values)

    def __dlpack__(self, **wishes: Any) -> Any:
        return self.values.__dlpack__(**wishes)

    def __dlpack_device__(self) -> Any:
        return self.values.__dlpack_device__()


class Elsewhere:
    """An array on a device that numpy does not reach."""

    def __dlpack__(self, **wishes: Any) -> Any:
        raise BufferError("no copy\ncan be made")

    def __dlpack_device__(self) -> Any:
        return (2, 0)


LOOP: list[Any] = []
LOOP.append(LOOP)


@pytest.mark.parametrize("held", [np.array, np.ndarray.tolist, OnlyArray, OnlyDlpack])
def test_whatever_holds_the_numbers_is_judged(held: Callable[[Any], Any]) -> None:
    labels = held(np.array(LABELS))
    assert_gradient(held(W), held(X), labels, held(RIGHT["weights"]), bias=held(B), loss=LOSS)
    with pytest.raises(AssertionError, match=r"^✗ WRONG: dL/dW is wrong for float64 in all 12 entries"):
        assert_gradient(held(W), held(X), labels, held(-RIGHT["weights"]), bias=held(B))


@pytest.mark.parametrize(
    ("names", "gradient"),
    [
        (("weights", "W", "w", "weight"), "weights"),
        (("bias", "b"), "bias"),
        (("inputs", "x", "X"), "inputs"),
        (("logits",), "logits"),
    ],
)
def test_each_gradient_has_its_names(names: tuple[str, ...], gradient: str) -> None:
    for name in names:
        assert_gradient(W, X, LABELS, RIGHT[gradient], bias=B, with_respect_to=name)
        with pytest.raises(AssertionError, match="WRONG"):
            assert_gradient(W, X, LABELS, 2 * RIGHT[gradient], bias=B, with_respect_to=name)


def test_several_gradients_are_judged_at_once() -> None:
    verdict = check(W, X, LABELS, {"W": RIGHT["weights"], "b": 2 * RIGHT["bias"]}, bias=B, loss=LOSS)
    outcomes = {name: judgement.outcome for name, judgement in verdict.judgements.items()}
    assert outcomes == {"weights": "right", "bias": "wrong", "loss": "right"}
    assert not verdict.verified


def test_with_transpose_w_and_its_gradient_are_classes_by_inputs() -> None:
    assert_gradient(W.T, X, LABELS, RIGHT["weights"].T, bias=B, transpose=True)
    with pytest.raises(AssertionError, match="MISTAKE transposed"):
        assert_gradient(W.T, X, LABELS, RIGHT["weights"], bias=B, transpose=True)
    with pytest.raises(InputError, match=r"add transpose=True$"):
        assert_gradient(W.T, X, LABELS, RIGHT["weights"].T, bias=B)


def test_one_example_is_a_vector_and_a_label_a_name_or_a_target() -> None:
    row = exact(Problem(W, X[:1], Targets(np.array([0]))))
    weights, inputs = np.array(row["weights"], dtype=float), np.array(row["inputs"], dtype=float)
    for label in (0, [0], np.array(0), np.int8(0), "a", ["a"], [1.0, 0.0, 0.0, 0.0]):
        assert_gradient(W, X[0], label, weights, classes=list("abcd"))
        assert_gradient(W, X[0], label, inputs[0], classes=list("abcd"), with_respect_to="x")


def test_the_options_have_the_names_of_pytorch() -> None:
    weight = np.array([1.0, 2.0, 0.5, 3.0])
    options: dict[str, Any] = {"label_smoothing": 0.25, "ignore_index": 3, "reduction": "sum"}
    targets = Targets(np.array(LABELS), class_weights=weight, **options)
    truth = exact(Problem(W, X, targets))
    gradient = np.array(truth["weights"], dtype=float)
    assert_gradient(W, X, LABELS, gradient, weight=weight, **options)
    assert_gradient(W, X, LABELS, gradient, class_weights=weight.tolist(), **options)
    assert_loss(W, X, LABELS, float(truth["loss"]), weight=weight, **options)
    with pytest.raises(AssertionError, match="option-ignored"):
        plain = np.array(exact(Problem(W, X, Targets(np.array(LABELS), **options)))["weights"], dtype=float)
        assert_gradient(W, X, LABELS, plain, weight=weight, **options)


@pytest.mark.parametrize("precision", ["float32", np.float32, np.dtype("float32")])
def test_the_precision_is_that_of_the_array_or_the_one_said(precision: Any) -> None:
    rounded = RIGHT["weights"].astype(np.float32)
    assert_gradient(W, X, LABELS, rounded, bias=B)
    with pytest.raises(AssertionError, match="WRONG"):
        assert_gradient(W, X, LABELS, rounded.astype(np.float64), bias=B)
    assert_gradient(W, X, LABELS, rounded.astype(np.float64), bias=B, dtype=precision)
    assert_gradient(W, X, LABELS, RIGHT["weights"].astype(np.float16), bias=B)
    assert_gradient(W, X, LABELS, RIGHT["weights"].astype(np.float16).tolist(), bias=B, stored_as="float16")
    assert_gradient(W, X, LABELS, RIGHT["weights"].astype(np.float16).tolist(), bias=B, dtype="float16")
    assert_gradient(W, X, LABELS, rounded.tolist(), bias=B, dtype="auto")
    with pytest.raises(AssertionError, match="correct if it was computed in float32"):
        assert_gradient(W, X, LABELS, rounded.tolist(), bias=B)
    assert check(W, X, LABELS, rounded, bias=B).tolerance.precision == "float32"
    assert check(W, X, LABELS, RIGHT["weights"].astype(np.float16), bias=B).tolerance.stored_as == "float16"


def test_a_house_rule_and_strictness_are_options() -> None:
    off = RIGHT["weights"] * (1 + 1e-6)
    assert_gradient(W, X, LABELS, off, bias=B, rtol=1e-5)
    assert_gradient(W, X, LABELS, off, bias=B, atol=1e-5)
    with pytest.raises(AssertionError, match=r"beyond the tolerance \(rtol 1e-07\)"):
        assert_gradient(W, X, LABELS, off, bias=B, rtol=1e-7)
    saturated: tuple[Any, ...] = ([[200.0, -200.0]], [[1.0]], [0], [[0.0, 0.0]])
    assert_gradient(*saturated, atol=1e-9)
    with pytest.raises(AssertionError, match="DIGITS LOST"):
        assert_gradient(*saturated, atol=1e-9, strict=True)


def test_how_sums_were_formed_narrows_the_bound() -> None:
    long = np.ones((64, 2)), np.ones((1, 64)), [0], np.zeros((64, 2))
    of_orders = [
        check(*long, summation=order).judgements["weights"].comparison.bound
        for order in ("any", "blocked=8", "pairwise")
    ]
    assert (of_orders[0] > of_orders[1]).all()
    assert (of_orders[1] > of_orders[2]).all()


def test_the_message_is_what_the_command_prints(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong, soft = RIGHT["weights"] * 5, [0.5, 0.25, 0.125, 0.0]
    monkeypatch.setenv("COLUMNS", "88")
    for labels, x in ((LABELS, X.tolist()), (soft, X[0].tolist())):
        given = {"W": W.tolist(), "x": x, "label": labels, "b": B.tolist()}
        given["gradient"] = wrong.tolist()
        command = run("verify", "-", stdin=json.dumps(given))
        with pytest.raises(AssertionError) as raised:
            assert_gradient(W, x, labels, wrong, bias=B)
        report, _, warning = str(raised.value).partition("\nwarning: ")
        assert f"{report}\n" == command.out
        assert warning in command.err
        assert bool(warning) is bool(command.err)


def test_a_gradient_in_the_shape_of_another_is_told_in_words_of_python() -> None:
    with pytest.raises(AssertionError, match=r'this has the shape of dL/dlogits: with_respect_to="logits"$'):
        assert_gradient(W, X, LABELS, RIGHT["logits"], bias=B)


def test_a_loss_is_asserted_alone() -> None:
    assert_loss(W, X, LABELS, LOSS, bias=B)
    assert_loss(W, X, LABELS, np.float32(LOSS), bias=B)
    assert_loss(W, X, LABELS, [[LOSS]], bias=B)
    with pytest.raises(AssertionError, match="WRONG: the loss is "):
        assert_loss(W, X, LABELS, 5 * LOSS, bias=B)


def test_check_raises_nothing_for_what_is_wrong() -> None:
    assert check(W, X, LABELS, RIGHT["weights"], bias=B).verified
    verdict = check(W, X, LABELS, -RIGHT["weights"], bias=B)
    assert not verdict.verified
    assert verdict.diagnoses["weights"].names == (("sign-flipped",),)


MASKED = np.ma.masked_array(X, np.eye(5, 3) > 0)
WIDE = W.astype(np.longdouble) / 3
needs_wide = pytest.mark.skipif(np.longdouble is np.float64, reason="there is no wider float here")
NO_ARRAYS: list[Any] = [
    "much",
    [[1.0, 2.0], [3.0]],
    [[None, 1.0]],
    np.array([[object()]]),
    W.astype(complex),
    np.ones((2, 2), dtype=bool),
    np.array(["2020-01-01"], dtype="datetime64[D]"),
    np.zeros(3, dtype=[("a", float)]),
    {1.0, 2.0},
    lambda: 1.0,
    Elsewhere(),
    LOOP,
    [[10**400]],
]


def said_of(error: BaseException) -> str:
    """The message, which has one line and none of numpy's own words."""
    message = str(error)
    assert message
    assert "\n" not in message
    for word in ("inhomogeneous", "ufunc", "broadcast", "dtype(", "Traceback"):
        assert word not in message
    return message


@pytest.mark.parametrize(
    "wrong", [None, *NO_ARRAYS, MASKED, 1.5, [], np.ones((3, 3)), np.ones((5, 5, 5)), {}]
)
def test_a_candidate_that_is_no_gradient_fails_in_one_line(wrong: Any) -> None:
    for name in ("weights", "bias", "inputs", "logits"):
        with pytest.raises(AssertionError) as raised:
            assert_gradient(W, X, LABELS, wrong, bias=B, with_respect_to=name)
        assert said_of(raised.value).startswith(("the gradient ", "there is no gradient "))
    with pytest.raises(InputError):
        check(W, X, LABELS, wrong, bias=B)


@pytest.mark.parametrize("wrong", [None, *NO_ARRAYS, [], [1.0, 2.0]])
def test_a_candidate_that_is_no_loss_fails_in_one_line(wrong: Any) -> None:
    with pytest.raises(AssertionError) as raised:
        assert_loss(W, X, LABELS, wrong, bias=B)
    assert said_of(raised.value).startswith("the loss ")


@pytest.mark.parametrize("wrong", [*NO_ARRAYS, MASKED, [], np.ones((2, 3, 4)), [[np.nan]]])
def test_a_part_that_makes_no_sense_is_refused_in_one_line(wrong: Any) -> None:
    parts: dict[str, Any] = {"W": W, "x": X, "labels": LABELS, "bias": B, "weight": np.ones(4)}
    for name in parts:
        with pytest.raises(InputError) as raised:
            assert_gradient(gradient=RIGHT["weights"], **(parts | {name: wrong}))
        said_of(raised.value)


@pytest.mark.parametrize("part", ["W", "x", "labels"])
def test_a_part_that_is_missing_is_named(part: str) -> None:
    with pytest.raises(InputError, match=r"^labels are|^[Wx] must be made of real numbers, not objects"):
        parts: dict[str, Any] = {"W": W, "x": X, "labels": LABELS, "gradient": W}
        check(**(parts | {part: None}))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"with_respect_to": "q"}, "there is no gradient with respect to 'q'; there are W, b, x, logits"),
        ({"with_respect_to": None}, "there is no gradient with respect to None"),
        ({"reduction": "max"}, "reduction is 'max'; it is one of mean, sum, none"),
        ({"reduction": None}, "reduction is None"),
        (
            {"reduction": np.ones((2, 2, 2))},
            "reduction is array([[[1., 1.], [1., 1.]], [[1., 1.], [1., 1.]]]);",
        ),
        ({"label_smoothing": "much"}, "label_smoothing is 'much'"),
        ({"ignore_index": 0.5}, "ignore_index is 0.5; a whole number is expected"),
        ({"dtype": "float8"}, "'float8'; it is one of float64, float32, and of bfloat16, float16, auto"),
        (
            {"dtype": "float16", "stored_as": "bfloat16"},
            "dtype float16 is float32, stored as float16, and not as",
        ),
        ({"stored_as": "int8"}, "stored_as is 'int8'; it is one of float64, float32"),
        ({"recipe": "torch"}, "there is no recipe 'torch'; the recipes are torch-bf16-linear"),
        ({"recipe": ["torch"]}, "there is no recipe"),
        ({"confidence": 2.0}, "confidence is 2.0; "),
        ({"dtype": object()}, "it is one of float64, float32"),
        ({"rtol": -1.0}, "rtol is -1.0; a number from 0 is expected"),
        ({"rtol": "small"}, "rtol is 'small'; a number from 0 is expected"),
        ({"atol": float("nan")}, "atol is nan; a number from 0 is expected"),
        ({"summation": "random"}, "summation is 'random'; any, pairwise or blocked=N is expected"),
        ({"transpose": "no"}, "transpose is 'no'; True or False is expected"),
        ({"atol": 10**400}, "a number from 0 is expected"),
        ({"classes": np.array("a")}, "class names must be strings"),
        ({"strict": np.ones(3)}, "strict is array([1., 1., 1.]); True or False is expected"),
        ({"classes": 5}, "class names must be strings"),
        ({"classes": ["a", "b"]}, "2 class names for 4 classes"),
        ({"rtol": True}, "rtol is True; a number from 0 is expected"),
        ({"rtol": np.complex64(1)}, "a number from 0 is expected"),
        ({"confidence": np.complex64(1)}, "a probability such as 1e-9 is expected"),
        ({"weight": B**2, "class_weights": B**2}, "weight and class_weights are two names of one thing"),
    ],
)
def test_an_option_that_means_nothing_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as raised:
        assert_gradient(W, X, LABELS, RIGHT["weights"], **options)
    assert said in said_of(raised.value)


def test_labels_as_pytorch_ignores_them_come_with_the_way_to_say_so() -> None:
    with pytest.raises(InputError, match="say ignore_index -100"):
        assert_gradient(W, X, [0, -100, 1, 1, 2], RIGHT["weights"])


@needs_wide
def test_wider_floats_are_taken_where_float64_has_their_numbers() -> None:
    assert_gradient(W.astype(np.longdouble), X, LABELS, RIGHT["weights"].astype(np.longdouble), bias=B)
    with pytest.raises(InputError, match="float128, which float64 does not hold; round it first"):
        assert_gradient(WIDE, X, LABELS, RIGHT["weights"], bias=B)
    whole = np.full((2, 1), 2**53, np.longdouble) + 1
    with pytest.raises(InputError, match=r"is 9007199254740993\.0 in float128"):
        assert_gradient(whole, X, LABELS, RIGHT["weights"], bias=B)


def test_an_assertion_that_holds_imports_no_terminal() -> None:
    lines = (
        "import sys, xegrad",
        "xegrad.assert_loss([[0.0, 0.0]], [1.0], 0, 0.6931471805599453)",
        "print([name for name in ('rich', 'typer', 'torch') if name in sys.modules])",
    )
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("wrong", [*NO_ARRAYS, None, MASKED, 1.5, np.ones((4, 3)), np.ones(12)])
def test_the_functions_beneath_refuse_the_same_in_one_line(wrong: Any) -> None:
    """But `diagnose` and `verify` take one that is transposed or flat, and name it."""
    problem = Problem(W, X, Targets(np.array(LABELS)), bias=B)
    with pytest.raises(InputError) as raised:
        xegrad.judge(problem, wrong)
    assert said_of(raised.value).startswith("the gradient ")
    if getattr(wrong, "size", 0) != W.size:
        for refuse in (xegrad.diagnose, xegrad.verify):
            with pytest.raises(InputError):
                refuse(problem, wrong)


def test_the_exact_values_may_be_left_out() -> None:
    problem = Problem(W, X, Targets(np.array(LABELS)), bias=B)
    values = xegrad.METHODS["exact"].evaluate(problem, ("weights", "bias"))
    wrong = (-RIGHT["bias"]).tolist()
    tolerance = xegrad.Tolerance()
    for judgement in (
        xegrad.judge(problem, values, wrong, tolerance, 0.0, "bias"),
        xegrad.judge(problem, wrong, tolerance, 0.0, "b"),
        xegrad.judge(problem, wrong, with_respect_to="b"),
        xegrad.judge(problem, exact=values, candidate=wrong, with_respect_to="bias"),
    ):
        assert (judgement.name, judgement.outcome) == ("bias", "wrong")
    assert xegrad.judge(problem, LOSS, with_respect_to="loss").outcome == "right"
    assert xegrad.judge(problem, RIGHT["weights"].astype(np.float32)).outcome == "right"
    assert xegrad.diagnose(problem, wrong, with_respect_to="b").names == (("sign-flipped",),)
    assert xegrad.blind_spots(problem) == xegrad.blind_spots(problem, values)
    logits = X @ W + B
    assert xegrad.first_wrong_step(problem, {"logits": (-logits).tolist()}).wrong == "logits"
    with pytest.raises(InputError, match="the resolution is 3 numbers, but 3 x 4 is expected"):
        xegrad.judge(problem, RIGHT["weights"], resolution=[1.0, 1.0, 1.0])
    with pytest.raises(InputError, match="the resolution must be made of real numbers, not text"):
        xegrad.diagnose(problem, RIGHT["weights"], resolution="fine")
    with pytest.raises(InputError, match="there is no 'inputs' among the gradients weights, bias"):
        xegrad.judge(problem, values, X, with_respect_to="x")


@pytest.mark.parametrize("method", xegrad.METHODS.values(), ids=lambda method: method.name)
def test_a_method_takes_any_name_of_a_gradient(method: Any) -> None:
    problem = Problem(W, X, Targets(np.array(LABELS)), bias=B)
    for make in (method.evaluate, method.bound):
        assert np.array_equal(make(problem, "b").gradients["bias"], make(problem, ["bias"]).gradients["bias"])
        with pytest.raises(InputError, match="there is no gradient with respect to 'q'"):
            make(problem, ["W", "q"])


def test_a_claim_takes_arrays_by_any_name() -> None:
    problem = Problem(W, X, Targets(np.array(LABELS)), bias=B)
    claim: Any = {"W": RIGHT["weights"].tolist(), "bias": RIGHT["bias"].astype(np.float32)}
    loss: Any = np.float32(LOSS)
    verdict = xegrad.verify(problem, xegrad.Claim(claim, loss=loss))
    assert verdict.verified
    assert [*verdict.judgements] == ["weights", "bias", "loss"]
    assert xegrad.verify(problem, RIGHT["weights"]).verified
    with pytest.raises(InputError, match="there is no gradient with respect to 'q'"):
        xegrad.Claim({"q": claim["W"]})
    with pytest.raises(InputError, match="the loss is made of 2 numbers; one is expected"):
        xegrad.Claim(loss=claim["bias"][:2])
    with pytest.raises(InputError, match="what is claimed is given by name"):
        xegrad.Claim(claim["W"])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"precision": "float8"}, "precision is 'float8'; it is one of float64, float32"),
        ({"stored_as": "int8"}, "stored_as is 'int8'; it is one of"),
        ({"rtol": -1}, "rtol is -1; a number from 0 is expected"),
        ({"atol": "x"}, "atol is 'x'; a number from 0 is expected"),
        ({"terms": "pairwise"}, "terms is 'pairwise'; a function is expected"),
        ({"rtol": [1.0]}, r"rtol is \[1.0\]; a number from 0 is expected"),
    ],
)
def test_a_tolerance_that_means_nothing_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        xegrad.Tolerance(**fields)


def test_two_names_of_one_gradient_do_not_hide_each_other() -> None:
    both: Any = {"W": 2 * RIGHT["weights"], "weights": RIGHT["weights"]}
    with pytest.raises(InputError, match="'W' and 'weights' are two names of one gradient"):
        check(W, X, LABELS, both, bias=B)
    with pytest.raises(InputError, match="two names of one gradient"):
        Claim(both)


def test_a_tolerance_may_be_a_float32() -> None:
    rtol: Any = np.float32(1e-3)
    assert check(W, X, LABELS, RIGHT["weights"], bias=B, rtol=rtol).verified


@pytest.mark.parametrize("block", ["9" * 25, "9" * 5000])
def test_a_block_longer_than_any_sum_is_any_order(block: str) -> None:
    assert check(W, X, LABELS, RIGHT["weights"], bias=B, summation=f"blocked={block}").verified
