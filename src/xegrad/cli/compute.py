"""xegrad compute: read, evaluate, compare, show."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from xegrad.cli import options
from xegrad.cli.inputs import Given
from xegrad.methods import METHODS

DEFAULT_METHODS = ("chain", "shortcut")
QUICK = 0.05  # seconds


def command(
    context: typer.Context,
    problem: options.Problem = None,
    weights: options.Weights = None,
    inputs: options.Inputs = None,
    bias: options.Bias = None,
    label: options.Label = None,
    transpose: options.Transpose = None,
    input_format: options.InputFormat = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            metavar="NAME",
            help=f"What is computed: {', '.join(METHODS)} ({','.join(DEFAULT_METHODS)} by default).",
        ),
    ] = None,
    exact: Annotated[
        bool | None,
        typer.Option(
            "--exact/--no-exact",
            help="The correctly rounded values too; by default where they take less than about 50 ms.",
        ),
    ] = None,
    json: options.Json = False,
    top: options.Top = 10,
    digits: options.Digits = 8,
    quiet: options.Quiet = False,
    no_color: options.NoColor = False,
) -> int:
    """The loss and dL/dW of a softmax layer, by the full Jacobian chain, by the shortcut and exactly.

    \b
    xegrad compute problem.json
    xegrad compute -W '[[1,2],[3,4]]' -x 1,-2 -y 0
    xegrad compute -W W.csv -x x.json -y cat --transpose
    xegrad compute problem.json --json | jq .gradient

    A problem in JSON is {"W": [[...], ...], "x": [...], "label": 2}, W inputs x classes, with b, classes
    and transpose if you like.  In CSV it is one table: a header x and the class names, a row for each
    input, x_j and then W[j, :], and rows that begin with label (a target) and bias.
    """
    given = Given(problem, weights, inputs, bias, label, transpose, input_format)
    chosen = options.choices(method or DEFAULT_METHODS, METHODS, "method")
    parts = given.read()
    if parts is None:
        sys.stderr.write(f"{context.get_usage()}\nxegrad: no problem was given; see xegrad compute --help\n")
        return 2
    stated = parts.problem()

    from xegrad import computation
    from xegrad.display import screen, verdict
    from xegrad.methods.exact import work

    estimate = work(stated.n_rows, stated.n_inputs, stated.n_classes)  # by the sizes alone, never by a clock
    if exact or (exact is None and method is None and estimate < QUICK):
        chosen = [*(name for name in chosen if name != "exact"), "exact"]
    elif exact is False:
        chosen = [name for name in chosen if name != "exact"]
    if "exact" in chosen:
        screen.announce(estimate)
    with screen.progress_bar():
        computed = computation.compute(stated, chosen)
    warnings = stated.targets.warnings
    if json and not quiet:
        from xegrad.formats import results

        result = results.compute_result(
            computed,
            transpose=parts.transpose is True,
            id=parts.id,
            warnings=[*warnings, *verdict.nonfinite_warnings(computed)],
        )
        sys.stdout.buffer.write(results.encode(result))
        return 0
    for warning in warnings:
        sys.stderr.write(f"xegrad: warning: {warning}\n")
    if not quiet:
        from xegrad.display.computation import computation_view

        view = computation_view(
            computed,
            verdict=verdict.compute_verdict(computed),
            transpose=parts.transpose is True,
            width=screen.width(),
            top=top,
            digits=digits,
        )
        screen.show(view, color=not no_color)
    return 0
