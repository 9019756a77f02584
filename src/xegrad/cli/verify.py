"""xegrad verify: judge a gradient, or a loss, or xegrad's own methods."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec.structs import replace

from xegrad.cli import options
from xegrad.cli.inputs import Given
from xegrad.errors import UsageError
from xegrad.methods import METHODS

if TYPE_CHECKING:
    from xegrad.formats.candidate import Numbers
    from xegrad.formats.parts import Parts
    from xegrad.judgement import Check, Judgement, Tolerance
    from xegrad.problem import Problem

VERIFIED, JUDGED_WRONG, TROUBLE = 0, 1, 2
GRADIENTS = ("W", "b", "x", "logits")
DTYPES = ("float64", "float32")
STORED = ("bfloat16", "float16", "float32")


def command(
    context: typer.Context,
    problem: options.Problem = None,
    weights: options.Weights = None,
    inputs: options.Inputs = None,
    bias: options.Bias = None,
    label: options.Label = None,
    transpose: options.Transpose = None,
    input_format: options.InputFormat = None,
    gradient: Annotated[
        str | None,
        typer.Option(
            "--gradient",
            metavar="VALUE|FILE",
            help="The gradient to judge, in W's layout: JSON, CSV, NPY, what numpy prints, or -.",
        ),
    ] = None,
    loss: Annotated[str | None, typer.Option("--loss", metavar="VALUE", help="The loss to judge.")] = None,
    with_respect_to: Annotated[
        str, typer.Option("--with-respect-to", metavar="|".join(GRADIENTS), help="Which gradient it is.")
    ] = "W",
    dtype: Annotated[
        str | None,
        typer.Option(
            "--dtype", metavar="|".join(DTYPES), help="In which it was computed (float64, or the file's)."
        ),
    ] = None,
    stored_as: Annotated[
        str | None,
        typer.Option("--stored-as", metavar="|".join(STORED), help="To which the result was then rounded."),
    ] = None,
    summation: Annotated[
        str,
        typer.Option("--summation", metavar="any|pairwise|blocked=N", help="How its sums were formed."),
    ] = "any",
    rtol: Annotated[
        float | None,
        typer.Option(
            "--rtol", metavar="R", min=0, help="A relative tolerance, in place of the derived bound."
        ),
    ] = None,
    atol: Annotated[
        float | None, typer.Option("--atol", metavar="A", min=0, help="An absolute one, likewise.")
    ] = None,
    decimals: Annotated[
        str | None,
        typer.Option(
            "--decimals", metavar="D|none", help="How many the text was printed with (found by itself)."
        ),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Lost digits count as wrong.")] = False,
    json: options.Json = False,
    top: options.Top = 10,
    all_entries: Annotated[bool, typer.Option("--all", help="All wrong entries.")] = False,
    digits: options.Digits = 8,
    quiet: options.Quiet = False,
    no_color: options.NoColor = False,
) -> int:
    """Judge a gradient against the exact one, by a bound that is derived.

    \b
    xegrad verify problem.json --gradient mine.npy --dtype float32
    xegrad verify problem.json --gradient printed.txt
    myprogram --json | xegrad verify problem.json --gradient -
    cat one.json | xegrad verify            # a problem with "gradient" beside W, x and label
    xegrad verify problem.json              # xegrad's own methods

    Four outcomes: right; digits-lost (within the bound, but some entries have no correct digit); wrong;
    undecided (the bound says nothing in that precision: --rtol decides).  In the list of worst entries,
    yours is the candidate's number, exact the correctly rounded one, difference yours minus exact.

    Exit status: 0 verified, 1 wrong or undecided, 2 trouble.
    """
    name, *more = options.choices([with_respect_to], GRADIENTS, "gradient")
    if more:
        raise UsageError(f"one gradient is judged at a time, not {with_respect_to}")
    for option, value in (("--rtol", rtol), ("--atol", atol)):
        if value is not None and not math.isfinite(value):
            raise UsageError(f"{option} is {value}; a finite number is expected")
    for given, known in ((dtype, DTYPES), (stored_as, STORED)):
        if given is not None:
            options.choices([given], known, "precision")
    terms = options.summation(summation)
    if decimals is not None and decimals != "none" and not decimals.isdecimal():
        raise UsageError(f"--decimals is {decimals!r}; a whole number or none is expected")
    stated = Given(problem, weights, inputs, bias, label, transpose, input_format, gradient)
    parts = stated.read()
    if parts is None:
        sys.stderr.write(f"{context.get_usage()}\nxegrad: no problem was given; see xegrad verify --help\n")
        return TROUBLE
    layer = parts.problem()

    import numpy as np

    from xegrad.display import screen
    from xegrad.judgement import DIGITS_LOST, RIGHT, Tolerance, check_methods, judge, judge_loss
    from xegrad.methods.exact import work
    from xegrad.vocabulary import SYMBOLS

    gradient_name = next(key for key, symbol in SYMBOLS.items() if symbol == name)
    numbers = _gradient(stated.candidate(parts), parts, layer, gradient_name, decimals)
    loss_numbers = _loss(loss, parts, decimals)
    tolerance = _with_precision(
        Tolerance(stored_as=stored_as, terms=terms, rtol=rtol, atol=atol),
        dtype or parts.dtype,
        numbers.dtype if numbers is not None else None,
    )
    judgements: dict[str, Judgement] = {}
    checks: list[Check] = []
    screen.announce(work(layer.n_rows, layer.n_inputs, layer.n_classes))
    with screen.progress_bar():
        exact = METHODS["exact"].evaluate(layer, (gradient_name,))
        if numbers is not None:
            judgements[gradient_name] = judge(
                layer, exact, numbers.values, tolerance, numbers.resolution, gradient_name
            )
        if loss_numbers is not None:
            judgements["loss"] = judge_loss(
                layer, exact, loss_numbers.values.item(), tolerance, float(np.max(loss_numbers.resolution))
            )
        if not judgements:
            checks = check_methods(layer, exact, gradient_name)
    counted = (RIGHT,) if strict else (RIGHT, DIGITS_LOST)
    verified = all(check.passed for check in checks if not check.advisory) and all(
        judgement.outcome in counted for judgement in judgements.values()
    )
    if json and not quiet:
        from xegrad.formats import results

        result = results.verify_result(
            layer,
            checks,
            judgements,
            verified=verified,
            counted=counted,
            id=parts.id,
            warnings=layer.targets.warnings,
        )
        sys.stdout.buffer.write(results.encode(result))
        return VERIFIED if verified else JUDGED_WRONG
    for warning in layer.targets.warnings:
        sys.stderr.write(f"xegrad: warning: {warning}\n")
    if not quiet:
        from xegrad.display import outcome, verification

        if judgements:
            printed = {gradient_name: numbers, "loss": loss_numbers}
            sentences = outcome.sentences(
                layer,
                judgements,
                tolerance,
                {key: value.decimals for key, value in printed.items() if value is not None},
            )
            view = verification.candidate_view(
                layer,
                judgements,
                sentences,
                width=screen.width(),
                top=None if all_entries else top,
                digits=digits,
            )
        else:
            view = verification.checks_view(
                checks, outcome.checks_sentence(checks), passed=verified, width=screen.width()
            )
        screen.show(view, color=not no_color)
    return VERIFIED if verified else JUDGED_WRONG


def _gradient(
    data: tuple[bytes, str] | None, parts: Parts, problem: Problem, name: str, decimals: str | None
) -> Numbers | None:
    """The candidate gradient, in the library's layout."""
    from xegrad.formats import candidate

    if data is None:
        return None
    n_inputs, n_classes = problem.n_inputs, problem.n_classes
    shape: dict[str, tuple[int, ...]] = {
        "weights": (n_classes, n_inputs) if parts.transpose else (n_inputs, n_classes),
        "bias": (n_classes,),
        "inputs": (n_inputs,),
        "logits": (n_classes,),
    }
    numbers = candidate.in_shape(candidate.read(*data, decimals), shape[name], data[1])
    if name == "weights":
        return candidate.transposed(numbers) if parts.transpose else numbers
    # Gradients of x and the logits have a row for each example.
    return numbers if name == "bias" else candidate.reshaped(numbers, (1, *shape[name]))


def _loss(given: str | None, parts: Parts, decimals: str | None) -> Numbers | None:
    from xegrad.formats import candidate

    text, source = (
        (given, "--loss") if given is not None else (parts.loss, parts.sources.get("problem", "loss"))
    )
    return None if text is None else candidate.one_number(text, source, decimals)


def _with_precision(tolerance: Tolerance, asked: str | None, found: str | None) -> Tolerance:
    """The precision that was asked for, else the file's own; a half-precision file was stored so."""
    precision, stored_as = asked or found or "float64", tolerance.stored_as
    if found in STORED[:2] and stored_as is None:
        precision, stored_as = asked or "float32", found
    return replace(tolerance, precision=precision if precision in DTYPES else "float64", stored_as=stored_as)
