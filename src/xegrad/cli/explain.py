"""xegrad explain: read, explain, show."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xegrad.cli import options
from xegrad.cli.inputs import Given
from xegrad.errors import UsageError

if TYPE_CHECKING:
    from xegrad.explanation import Explanation


def command(
    context: typer.Context,
    problem: options.Problem = None,
    weights: options.Weights = None,
    inputs: options.Inputs = None,
    bias: options.Bias = None,
    label: options.Label = None,
    transpose: options.Transpose = None,
    input_format: options.InputFormat = None,
    step: Annotated[str | None, typer.Option("--step", metavar="NAME", help="This step only.")] = None,
    entry: Annotated[
        str | None, typer.Option("--entry", metavar="J,I", help="Follow dL/dW of input J and class I.")
    ] = None,
    row: Annotated[int, typer.Option("--row", metavar="B", min=0, help="Which row of a batch.")] = 0,
    hide: Annotated[
        list[str] | None,
        typer.Option("--hide", metavar="NAME", help="Leave the numbers of this step blank, as an exercise."),
    ] = None,
    heatmap: Annotated[bool, typer.Option("--heatmap", help="Draw every matrix as a heat map too.")] = False,
    json: options.Json = False,
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
    xegrad explain problem.json --json | jq .layer_jacobian

    The steps are logits, probabilities, loss, cross_entropy_jacobian (DXE), softmax_jacobian (DS),
    weighted_sum_jacobian (Dg), layer_jacobian (DL), flat_gradient, gradient, shortcut, comparison and check.
    """
    given = Given(problem, weights, inputs, bias, label, transpose, input_format)
    parts = given.read()
    if parts is None:
        sys.stderr.write(f"{context.get_usage()}\nxegrad: no problem was given; see xegrad explain --help\n")
        return 2
    stated = parts.problem()

    from xegrad.display import screen
    from xegrad.explanation import STEPS, explain

    hidden = options.choices(hide or [], STEPS, "step")
    only, *more = options.choices([step], STEPS, "step") if step is not None else [None]
    if more:
        raise UsageError(f"one step is shown, or all; not {step}")
    with screen.progress_bar():
        explanation = explain(stated, row)
    followed = None if entry is None else explanation.entry(*_indices(entry))
    if json and not quiet:
        from xegrad.formats import results

        sys.stdout.buffer.write(
            results.encode(_result(explanation, parts.id, parts.transpose is True, stated.targets.warnings))
        )
        return 0
    for warning in stated.targets.warnings:
        sys.stderr.write(f"xegrad: warning: {warning}\n")
    if not quiet:
        from xegrad.display.explanation import explanation_view

        view = explanation_view(
            explanation,
            only=only,
            hidden=hidden,
            entry=followed,
            heatmaps=heatmap,
            transpose=parts.transpose is True,
            width=screen.width(),
            digits=digits,
            ascii=not is_unicode(),
        )
        screen.show(view, color=not no_color)
    return 0


def is_unicode() -> bool:
    """Whether standard output can write what ASCII cannot."""
    return (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")


def _indices(text: str) -> tuple[int, int]:
    first, comma, second = text.partition(",")
    if not (comma and first.strip().isdecimal() and second.strip().isdecimal()):
        raise UsageError(f"--entry is {text!r}; an input and a class are expected, from zero, as in 1,2")
    return int(first), int(second)


def _result(explanation: Explanation, id: Any, transpose: bool, warnings: list[str]) -> Any:
    """Every array by its name; null where one is too large to be built, or a number is not finite."""
    import msgspec
    import numpy as np
    from msgspec import UNSET, UnsetType

    arrays: dict[str, Any] = {}
    notes = list(warnings)
    for name, array in explanation.arrays.items():
        if array is None:
            notes.append(
                f"{name} is null: {' x '.join(map(str, explanation[name].shape))} numbers are too many"
            )
            arrays[name] = None
            continue
        if not np.isfinite(array).all():
            notes.append(
                f"{name} holds null: {int((~np.isfinite(array)).sum())} of {array.size} are not finite"
            )
        turned = array.T if transpose and name in ("gradient", "scrambled_gradient") else array
        arrays[name] = (turned + 0.0).tolist()
    kind = msgspec.defstruct(
        "ExplainResult",
        [
            ("schema", str),
            ("id", Any, UNSET),
            ("row", int | UnsetType, UNSET),
            *((name, Any, None) for name in arrays),
            ("warnings", list[str], msgspec.field(default_factory=list)),
        ],
    )
    row = explanation.row if explanation.problem.n_rows > 1 else UNSET
    return kind(schema="xegrad/explain/1", id=id, row=row, warnings=notes, **arrays)
