"""xegrad explain: read, explain, show."""

from __future__ import annotations

from typing import Annotated

import typer

from xegrad.cli import options, output
from xegrad.cli.inputs import Given
from xegrad.errors import UsageError


@options.takes_problem
def command(
    context: typer.Context,
    given: Given,
    step: Annotated[str | None, typer.Option("--step", metavar="NAME", help="This step only.")] = None,
    entry: Annotated[
        str | None, typer.Option("--entry", metavar="J,I", help="Follow dL/dW of input J and class I.")
    ] = None,
    row: Annotated[int, typer.Option("--row", metavar="B", min=0, help="Which row of a batch.")] = 0,
    hide: Annotated[
        list[str] | None,
        typer.Option("--hide", metavar="NAME", help="Leave the numbers of this step blank, as an exercise."),
    ] = None,
    slip: Annotated[
        str | None,
        typer.Option(
            "--slip", metavar="NAME", help="Put the derivation with this mistake beside the right one."
        ),
    ] = None,
    heatmap: options.Heatmap = False,
    form: options.Format = None,
    json: options.Json = False,
    path: options.Output = None,
    digits: options.Digits = 6,
    quiet: options.Quiet = False,
    no_color: options.NoColor = False,
) -> int:
    """The chain from W, x and the label to dL/dW, factor by factor, in the problem's own numbers.

    \b
    xegrad explain problem.json
    xegrad explain problem.json --step softmax_jacobian
    xegrad explain problem.json --entry 1,2
    xegrad explain problem.json --hide probabilities,shortcut
    xegrad explain problem.json --slip softmax-twice
    xegrad explain problem.json --json | jq .layer_jacobian

    The steps are logits, probabilities, loss, cross_entropy_jacobian (DXE), softmax_jacobian (DS),
    weighted_sum_jacobian (Dg), layer_jacobian (DL), flat_gradient, gradient, shortcut, comparison and check.
    """
    destination = output.destination(form, json, path, given.files, output.VIEWS)
    parts = given.read()
    stated = parts.problem()

    from xegrad.display import screen
    from xegrad.explanation import explain
    from xegrad.explanation.values import STEPS

    hidden = options.choices(hide or [], STEPS, "step")
    only = None if step is None else options.choice(step, STEPS, "step")
    with screen.progress_bar():
        explanation = explain(stated, row)
    followed = None if entry is None else explanation.entry(*_indices(entry))
    if not destination.begin(stated.targets.warnings, quiet=quiet):
        return 0
    if destination.form == "json":
        from xegrad.formats.results import encode, explain_result

        result = explain_result(
            explanation, parts.layout, hidden=hidden, id=parts.id, warnings=stated.targets.warnings
        )
        destination.put(encode(result))
        return 0
    if slip is not None:
        from xegrad.display.slip import slip_view
        from xegrad.slip_page import page_on

        view = slip_view(page_on(explanation.alone, slip), screen.width(), "this problem")
        destination.show(view, color=not no_color)
        return 0
    from xegrad.display.explanation import explanation_view

    view = explanation_view(
        explanation,
        only=only,
        hidden=hidden,
        entry=followed,
        heatmaps=heatmap,
        transpose=parts.layout.transpose,
        width=screen.width(),
        digits=digits,
        ascii=destination.path is None and not screen.is_unicode(),
    )
    destination.show(view, color=not no_color)
    return 0


def _indices(text: str) -> tuple[int, int]:
    first, comma, second = text.partition(",")
    if not (comma and first.strip().isdecimal() and second.strip().isdecimal()):
        raise UsageError(f"--entry is {text!r}; an input and a class are expected, from zero, as in 1,2")
    return int(first), int(second)
