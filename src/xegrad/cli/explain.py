"""xegrad explain: read, explain, show."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xegrad.cli import DONE
from xegrad.cli.choices import choices, class_names, completing, option, slip_names
from xegrad.cli.inputs import ProblemOptions
from xegrad.cli.output import OutputOptions
from xegrad.cli.signature import takes_problem
from xegrad.errors import UsageError, nearest, shown
from xegrad.vocabulary import EXPLAINED

MOST_DIGITS = 20  # of an index

if TYPE_CHECKING:
    from xegrad.display.blocks import View
    from xegrad.display.page import PageSettings
    from xegrad.problem import Problem


def _complete_entry(ctx: typer.Context, incomplete: str) -> list[str]:
    """The class, after the comma."""
    return completing(class_names)(ctx, incomplete) if "," in incomplete else []


@takes_problem(without=["top", "all_entries", "entries"], digits=6)
def command(
    *,
    request: ProblemOptions,
    step: Annotated[
        list[str] | None,
        option("--step NAME", "Show these steps only. Commas stand between several.", values=EXPLAINED),
    ] = None,
    entry: Annotated[
        str | None,
        option(
            "--entry J,I",
            "Follow one entry of dL/dW: input J, class I. Each is an index from 0 or a name.",
            autocompletion=_complete_entry,
        ),
    ] = None,
    row: Annotated[int, option("--row B", "Which row of a batch, from 0 (0).", min=0)] = 0,
    slip: Annotated[
        str | None,
        option(
            "--slip NAME",
            "Show what this mistake would do here. xegrad slips lists their names.",
            values=slip_names,
            noun="slip",
        ),
    ] = None,
    output: OutputOptions,
) -> int:
    """Show the chain from W, x and the label to dL/dW, factor by factor, in the problem's own numbers.

    \b
    xegrad explain problem.json
    xegrad explain problem.json --step softmax_jacobian
    xegrad explain problem.json --entry 1,2
    xegrad explain problem.json --slip softmax-twice
    xegrad explain problem.json --json | jq .layer_jacobian

    The steps are logits, probabilities, loss, cross_entropy_jacobian (DXE), softmax_jacobian (DS),
    weighted_sum_jacobian (Dg), layer_jacobian (DL), flat_gradient, gradient, shortcut, comparison and check.
    """
    parts_of_chain = {"--step": step, "--entry": entry, "--slip": slip}
    asked = [name for name, value in parts_of_chain.items() if value is not None]
    if len(asked) > 1:
        raise UsageError(f"{' and '.join(asked)} ask for {len(asked)} things; one of them is shown at a time")
    destination = output.destination()
    if asked and destination.form == "json":
        raise UsageError(f"{asked[0]} is for a table; JSON holds the whole chain, from which jq picks")
    parts = request.read()
    problem = parts.problem()

    from xegrad.display import screen
    from xegrad.explanation import explain

    only = choices(step, EXPLAINED, "step") if step else []
    with screen.watching():
        explanation = explain(problem, row)
    followed = None if entry is None else explanation.entry(*_indices(entry, problem))

    def result() -> Any:
        from xegrad.formats.results import explain_result

        return explain_result(explanation, parts.layout, id=parts.id)

    def view(page: PageSettings) -> View:
        if slip is not None:
            from xegrad.display.slip import slip_view
            from xegrad.slip_page import page_on

            return slip_view(page_on(explanation.computation.problem, slip), page)
        from xegrad.display.explanation import explanation_view

        return explanation_view(
            explanation, page, only=only, entry=followed, transpose=parts.layout.transpose
        )

    destination.write(result=result, view=view, warnings=problem.targets.warnings)
    return DONE


def _indices(text: str, problem: Problem) -> tuple[int, int]:
    """The input and the class on both sides of a comma, which names may have too."""
    named = ("input", problem.input_names or ()), ("class", problem.classes or ())
    for comma in re.finditer(",", text):
        pair = text[: comma.start()].strip(), text[comma.end() :].strip()
        input, class_ = (_index(word, names) for word, (_, names) in zip(pair, named, strict=True))
        if input is not None and class_ is not None:
            return input, class_
    message = f"--entry is {shown(text)}; an input and a class are expected, as in 1,2"
    first, between, rest = text.partition(",")
    for word, (axis, names) in zip((first.strip(), rest.strip()) if between else (), named, strict=False):
        if word and _index(word, names) is None:
            message = f"--entry is {shown(text)}; there is no {axis} {shown(word)}{nearest(word, names)}"
    raise UsageError(message)


def _index(word: str, names: Sequence[str]) -> int | None:
    """That of a name, else the number itself; a name counts before an index."""
    if word in names:
        return names.index(word)
    return int(word) if word.isascii() and word.isdecimal() and len(word) < MOST_DIGITS else None
