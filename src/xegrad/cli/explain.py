"""xegrad explain: read, explain, show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from xegrad.cli import DONE
from xegrad.cli.choices import choice, option
from xegrad.cli.inputs import ProblemOptions, takes_problem
from xegrad.cli.output import OutputOptions
from xegrad.errors import UsageError

if TYPE_CHECKING:
    from xegrad.display.page import PageSettings
    from xegrad.display.text import View


@takes_problem(without=["top", "all_entries"], digits=6)
def command(
    *,
    request: ProblemOptions,
    step: Annotated[str | None, option("--step NAME", "This step only.")] = None,
    entry: Annotated[str | None, option("--entry J,I", "Follow dL/dW of input J and class I.")] = None,
    row: Annotated[int, option("--row B", "Which row of a batch.", min=0)] = 0,
    slip: Annotated[
        str | None, option("--slip NAME", "Put the derivation with this mistake beside the right one.")
    ] = None,
    output: OutputOptions,
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
    destination = output.destination(request.files)
    parts = request.read()
    problem = parts.problem()

    from xegrad.display import screen
    from xegrad.explanation import explain
    from xegrad.explanation.steps import STEPS

    only = None if step is None else choice(step, STEPS, "step")
    with screen.watching():
        explanation = explain(problem, row)
    followed = None if entry is None else explanation.entry(*_indices(entry))

    def result() -> Any:
        from xegrad.formats.results import explain_result

        return explain_result(explanation, parts.layout, id=parts.id)

    def view(page: PageSettings) -> View:
        if slip is not None:
            from xegrad.display.slip import slip_view
            from xegrad.slip_page import page_on

            return slip_view(page_on(explanation.computation.problem, slip), page.width)
        from xegrad.display.explanation import explanation_view

        return explanation_view(
            explanation, page, only=only, entry=followed, transpose=parts.layout.transpose
        )

    destination.write(result=result, view=view, warnings=problem.targets.warnings)
    return DONE


def _indices(text: str) -> tuple[int, int]:
    first, comma, second = text.partition(",")
    if not (comma and first.strip().isdecimal() and second.strip().isdecimal()):
        raise UsageError(f"--entry is {text!r}; an input and a class are expected, from zero, as in 1,2")
    return int(first), int(second)
