"""A gradient or a loss asserted in a test: a failure says what `xegrad verify` says.

See docs/python.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypedDict, Unpack

import numpy as np

from xegrad import bounds, verification
from xegrad.arrays import array_of, type_name
from xegrad.claim import Claim, by_name, claimed
from xegrad.errors import InputError, one_line, shown
from xegrad.formats import naming
from xegrad.formats.claim import in_shape
from xegrad.formats.raw_problem import RawProblem
from xegrad.formats.values import checked
from xegrad.naming import gradient_name
from xegrad.problem import Layout, Problem, names_in
from xegrad.problem_spec import FIELDS
from xegrad.tolerance import Tolerance, in_half, tolerance_for
from xegrad.verification import Verification
from xegrad.vocabulary import AUTO

WIDTH = 88  # columns of a report
LABELS = "labels are whole numbers, names of classes, or targets"
CANDIDATE = "candidate"  # the part that an error is about, where the problem is in order
QUOTED_OR = '" or "'
IN_PYTHON = {  # what messages say of an option
    "add --no-transpose": "leave out transpose=True",
    "add --transpose": "add transpose=True",
}


class Options(TypedDict, total=False):
    """The keywords of `check`, which the assertions have too."""

    bias: Any
    with_respect_to: str
    classes: Any
    transpose: bool
    reduction: str
    weight: Any
    class_weights: Any
    label_smoothing: float
    ignore_index: int | None
    dtype: Any
    stored_as: Any
    recipe: str | None
    confidence: float | None
    rtol: float | None
    atol: float | None
    summation: str
    strict: bool


def assert_gradient(
    W: Any, x: Any, labels: Any, gradient: Any, *, loss: Any = None, **options: Unpack[Options]
) -> None:
    """Raise AssertionError with the report of `xegrad verify` unless the gradient is right.

    It has the parameters of `check`, and judges a loss too where one is given.

    Raises
    ------
    AssertionError
        The gradient, or the loss, is wrong or no array of its size, or nothing can be said of it.
    InputError
        The problem makes no sense: its sizes, a label, an option.

    Examples
    --------
    >>> W, x, labels = [[1.0, -1.0], [0.5, 2.0]], [[1.0, 2.0], [0.0, -1.0]], [0, 1]
    >>> Z = np.array(x) @ W
    >>> S = np.exp(Z) / np.exp(Z).sum(axis=1, keepdims=True)
    >>> residual = S - np.eye(2)[labels]
    >>> assert_gradient(W, x, labels, np.transpose(x) @ residual / 2)
    >>> assert_gradient(W, x, labels, residual.sum(axis=0) / 2, with_respect_to="bias")
    >>> assert_gradient(W, x, labels, np.transpose(x) @ residual)
    Traceback (most recent call last):
        ...
    AssertionError: ✗ WRONG: ...
    """
    __tracebackhide__ = True  # of pytest: the line that called is the one to see
    if gradient is None or (isinstance(gradient, Mapping) and not gradient):
        raise AssertionError(f"the gradient is {gradient}; an array is expected")
    _assert(partial(check, W, x, labels, gradient, loss=loss, **options))


def assert_loss(W: Any, x: Any, labels: Any, loss: Any, **options: Unpack[Options]) -> None:
    """Raise AssertionError with the report of `xegrad verify` unless the loss is right.

    It has the parameters of `check`.

    Examples
    --------
    >>> assert_loss([[1.0, -1.0]], [3.0], 0, np.log1p(np.exp(-6.0)))
    >>> assert_loss([[1.0, -1.0]], [3.0], 0, np.log(1 + np.exp(-6.0)), rtol=1e-12)
    >>> assert_loss([[1.0, -1.0]], [3.0], 1, 0.0024756851377304495)
    Traceback (most recent call last):
        ...
    AssertionError: ✗ WRONG: the loss is 6.00247568513773, ...
    """
    __tracebackhide__ = True
    if loss is None:
        raise AssertionError("the loss is None; a number is expected")
    _assert(partial(check, W, x, labels, loss=loss, **options))


def check(
    W: Any,
    x: Any,
    labels: Any,
    gradient: Any = None,
    *,
    loss: Any = None,
    bias: Any = None,
    with_respect_to: str = "weights",
    classes: Any = None,
    transpose: bool = False,
    reduction: str = "mean",
    weight: Any = None,
    class_weights: Any = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    dtype: Any = None,
    stored_as: Any = None,
    recipe: str | None = None,
    confidence: float | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    summation: str = "any",
    strict: bool = False,
) -> Verification:
    """A gradient, a loss or both, judged as `xegrad verify` judges them; nothing is raised for a wrong one.

    Arrays are lists, numpy's, tensors of torch on any device, or what has `__array__` or speaks DLPack.

    Parameters
    ----------
    W : (N, T)
        Or (T, N) with transpose=True, as torch.nn.Linear holds it.
    x : (B, N), or (N,) of one example
    labels : (B,) whole numbers, or names of classes, or (B, T) targets; of one example a number, a name or (T,)
    gradient : in the layout of W, or in that of b, x or the logits (B, T); or a mapping of several by their names
    loss : a number
    bias : (T,)
    with_respect_to : "weights", "bias", "inputs" or "logits", or "W", "b", "x"
        Of which the gradient is.
    classes : T names
    reduction, weight, label_smoothing, ignore_index
        As in torch.nn.functional.cross_entropy, but that no label is ignored by default.  class_weights is another
        name of weight.
    dtype : "float64", "float32", "bfloat16" or "float16", or such a type of numpy or torch
        In which the gradient was computed: by default that of its array.  One in bfloat16 or float16 was computed in
        float32 and then rounded.  "auto": of numbers that have no type, that which they show.
    stored_as : "float32", "bfloat16" or "float16", or such a type
        To which the result was then rounded.
    recipe : a name in docs/recipes.md
        What a framework rounds in mixed precision, as "torch-bf16-linear".
    confidence : float
        A narrower bound for rounding errors that are independent, which fails with this probability.
    rtol, atol : float
        A tolerance in place of the derived error bound.
    summation : "any", "pairwise" or "blocked=N"
        How the sums were formed: the bound of some orders is narrower.
    strict : bool
        Lost digits count as wrong.

    Returns
    -------
    Verification
        Its `verified` says whether all is right, and its `judgements` have the outcome of each by its name.

    Raises
    ------
    InputError
        What is no array of numbers, or of another size; a label out of range; an option that means nothing.

    Examples
    --------
    >>> verdict = check([[1.0, -1.0]], [3.0], 0, [[-0.0074, 0.0074]], loss=0.00247, rtol=0.01)
    >>> verdict.verified
    True
    >>> verdict.judgements["loss"].outcome
    'right'
    """
    if weight is not None and class_weights is not None:
        raise InputError("weight and class_weights are two names of one thing; give one of them")
    for name, flag in (("transpose", transpose), ("strict", strict)):
        if not isinstance(flag, bool | np.bool_):
            raise InputError(f"{name} is {shown(flag)}; True or False is expected")
    dtype, stored_as = in_half(*(None if name is None else type_name(name) for name in (dtype, stored_as)))
    problem, layout = _problem(
        {"W": W, "x": x, "label": labels, "transpose": bool(transpose)}
        | {"reduction": reduction, "label_smoothing": label_smoothing},
        b=bias,
        class_weights=weight if class_weights is None else class_weights,
        classes=classes,
        ignore_index=ignore_index,
        dtype=None if dtype == AUTO else dtype,
    )
    if not isinstance(gradient, Mapping):
        gradient = {} if gradient is None else {gradient_name(with_respect_to): gradient}
    claim = _claim(problem, layout, by_name(gradient), loss)
    tolerance = Tolerance.of_recipe(
        None if recipe is None else str(recipe),
        stored_as=stored_as,
        terms=bounds.by_name(summation),
        rtol=rtol,
        atol=atol,
        confidence=confidence,
    )
    tolerance = tolerance_for(problem, claim.dtype, tolerance)
    return verification.verify(problem, claim, tolerance, strict=strict, auto=dtype == AUTO)


def _problem(values: dict[str, Any], **optional: Any) -> tuple[Problem, Layout]:
    """The problem of these values and of those that are there, and its layout."""
    values |= {key: value for key, value in optional.items() if value is not None}
    for key in ("W", "x", "label", "b", "class_weights"):
        if key in values:
            kinds, expected = ("fiuU", LABELS) if key == "label" else ("fiu", "")
            array = array_of(key, values[key], kinds, expected)
            with naming(key):
                values[key] = checked(array, FIELDS[key])
    for key in ("classes", "input_names"):
        if values.get(key) is not None:
            values[key] = names_in(values[key])
    if values["x"].ndim == 1 and np.shape(values["label"]) == (1,):  # the label of the one example
        values["label"] = np.asarray(values["label"]).item()
    raw = RawProblem(values)
    try:
        return raw.problem(), raw.layout
    except InputError as error:
        raise InputError(_in_python(error), error.part) from None


def _claim(problem: Problem, layout: Layout, gradients: Mapping[str, Any], loss: Any) -> Claim:
    """What is claimed, in the library's layout; what is no array of its size is a fault of the CANDIDATE."""
    in_library = {}
    try:
        if not gradients and loss is None:
            raise InputError("there is no gradient and no loss to judge")
        for name, candidate in gradients.items():
            one = in_shape(claimed("the gradient", candidate), problem, layout, name)
            in_library[name] = one.moved(partial(layout.to_library, name))
        return Claim(in_library, loss)
    except InputError as error:
        raise InputError(_in_python(error), CANDIDATE) from None


def _in_python(error: InputError) -> str:
    """What the error says, with keywords in the place of options."""
    message = str(error)
    for option, keyword in IN_PYTHON.items():
        message = message.replace(option, keyword)
    text, option, symbols = message.partition("--with-respect-to ")
    return text + (f'with_respect_to="{symbols.replace(" or ", QUOTED_OR)}"' if option else "")


def _assert(verdict: Callable[[], Verification]) -> None:
    """Raise AssertionError with the report of what is not verified."""
    __tracebackhide__ = True
    try:
        verified = verdict()
    except InputError as error:
        if error.part != CANDIDATE:
            raise
        raise AssertionError(str(error)) from None
    if not verified.verified:
        from xegrad.display.page import PageSettings
        from xegrad.display.pictures import drawn
        from xegrad.display.verification import verification_view

        report = drawn(verification_view(verified, PageSettings(width=WIDTH, heatmaps=False)), "table", WIDTH)
        warnings = (f"{one_line(f'warning: {sentence}')}\n" for sentence in verified.warnings)
        raise AssertionError("".join((report, *warnings)).rstrip())
