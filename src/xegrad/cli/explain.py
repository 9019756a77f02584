"""xegrad explain: read, explain, show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from xegrad.cli import DONE, options, output
from xegrad.cli.inputs import ProblemOptions
from xegrad.display.page import PageSettings
from xegrad.errors import UsageError

if TYPE_CHECKING:
    from xegrad.display.text import View


@options.takes_problem
def command(
    context: typer.Context,
    request: ProblemOptions,
    step: Annotated[str | None, typer.Option("--step", metavar="NAME", help="This step only.")] = None,
    entry: Annotated[
        str | None, typer.Option("--entry", metavar="J,I", help="Follow dL/dW of input J and class I.")
    ] = None,
    row: Annotated[int, typer.Option("--row", metavar="B", min=0, help="Which row of a batch.")] = 0,
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
    xegrad explain problem.json --slip softmax-twice
    xegrad explain problem.json --json | jq .layer_jacobian

    The steps are logits, probabilities, loss, cross_entropy_jacobian (DXE), softmax_jacobian (DS),
    weighted_sum_jacobian (Dg), layer_jacobian (DL), flat_gradient, gradient, shortcut, comparison and check.
    """
    destination = output.destination(form, json, path, request.files, quiet=quiet, no_color=no_color)
    parts = request.read()
    problem = parts.problem()

    from xegrad.display import screen
    from xegrad.explanation import explain
    from xegrad.explanation.texts import STEPS

    only = None if step is None else options.choice(step, STEPS, "step")
    with screen.progress_bar():
        explanation = explain(problem, row)
    followed = None if entry is None else explanation.entry(*_indices(entry))

    def result() -> Any:
        from xegrad.formats.results import explain_result

        return explain_result(explanation, parts.layout, id=parts.id, warnings=problem.targets.warnings)

    def view(page: PageSettings) -> View:
        if slip is not None:
            from xegrad.display.slip import slip_view
            from xegrad.slip_page import page_on

            return slip_view(page_on(explanation.computation.problem, slip), page.width, "this problem")
        from xegrad.display.explanation import explanation_view

        return explanation_view(
            explanation, page, only=only, entry=followed, transpose=parts.layout.transpose
        )

    destination.write(
        result=result,
        view=view,
        page=PageSettings(digits=digits, heatmaps=heatmap),
        warnings=problem.targets.warnings,
    )
    return DONE


def _indices(text: str) -> tuple[int, int]:
    first, comma, second = text.partition(",")
    if not (comma and first.strip().isdecimal() and second.strip().isdecimal()):
        raise UsageError(f"--entry is {text!r}; an input and a class are expected, from zero, as in 1,2")
    return int(first), int(second)
