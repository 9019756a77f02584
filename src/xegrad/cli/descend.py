"""xegrad descend: read, step downhill, show, save."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from msgspec import UNSET
from msgspec.structs import replace

from xegrad import formats
from xegrad.cli import options
from xegrad.cli.explain import is_unicode
from xegrad.cli.inputs import Given
from xegrad.errors import UsageError, XegradError
from xegrad.methods import METHODS

if TYPE_CHECKING:
    from xegrad.descent import Descent
    from xegrad.formats.parts import Parts

DONE, DIVERGED, TROUBLE, INTERRUPTED = 0, 1, 2, 130


class DescendResult(msgspec.Struct):
    """What `descend --json` prints."""

    schema: str
    loss_before: float
    loss_after: float
    losses: list[float]
    steps: int
    converged: bool
    W: list[list[float]]
    b: list[float] | None
    gradient_norm: float | None
    interrupted: bool
    diverged_at: int | None
    id: Any = UNSET
    warnings: list[str] = msgspec.field(default_factory=list)


def command(
    context: typer.Context,
    problem: options.Problem = None,
    weights: options.Weights = None,
    inputs: options.Inputs = None,
    bias: options.Bias = None,
    label: options.Label = None,
    transpose: options.Transpose = None,
    input_format: options.InputFormat = None,
    steps: Annotated[int, typer.Option("--steps", metavar="N", min=0, help="How many at most.")] = 1,
    learning_rate: Annotated[
        str,
        typer.Option(
            "--learning-rate", metavar="R|auto", help="auto: a line search that never lets the loss grow."
        ),
    ] = "auto",
    method: Annotated[
        str, typer.Option("--method", metavar="|".join(METHODS), help="By which the gradient is computed.")
    ] = "shortcut",
    tolerance: Annotated[
        float, typer.Option("--tolerance", metavar="G", min=0, help="The gradient's norm at which to stop.")
    ] = 0.0,
    l2: Annotated[
        float,
        typer.Option("--l2", metavar="LAMBDA", min=0, help="LAMBDA/2 times the squares of W are added."),
    ] = 0.0,
    save: Annotated[
        str | None,
        typer.Option("--save", metavar="FILE|-", help="The problem with its new W and b, as JSON or CSV."),
    ] = None,
    json: options.Json = False,
    digits: options.Digits = 8,
    quiet: options.Quiet = False,
    no_color: options.NoColor = False,
) -> int:
    """Move W, and b where there is one, downhill: full-batch gradient descent, to see and to check.

    \b
    xegrad descend problem.json --steps 100
    xegrad descend problem.json --learning-rate 0.1
    xegrad descend problem.json --save - | xegrad compute -

    Ctrl-C stops after the step, shows and saves what there is.  With --save - the report goes to standard
    error.  The loss shown is with --l2, where that is given.

    Exit status: 0 done, 1 the learning rate makes the loss grow or overflow, 2 trouble, 130 interrupted.
    """
    given = Given(problem, weights, inputs, bias, label, transpose, input_format)
    rate = None if learning_rate == "auto" else _rate(learning_rate)
    name, *more = options.choices([method], METHODS, "method")
    if more:
        raise UsageError(f"one method gives the gradient, not {method}")
    if json and save == "-":
        raise UsageError("standard output holds one thing, but --json and --save - ask for it")
    parts = given.read()
    if parts is None:
        sys.stderr.write(f"{context.get_usage()}\nxegrad: no problem was given; see xegrad descend --help\n")
        return TROUBLE
    stated = parts.problem()

    from xegrad.descent import descend
    from xegrad.display import screen

    with screen.progress_bar():
        descent = descend(stated, steps=steps, learning_rate=rate, method=name, tolerance=tolerance, l2=l2)
    if save is not None:
        _save(descent, parts, save)
    status = DONE
    if descent.interrupted:
        status = INTERRUPTED
    elif descent.diverged_at is not None:
        status = DIVERGED
    if json and not quiet:
        from xegrad.formats import results

        sys.stdout.buffer.write(results.encode(_result(descent, parts, stated.targets.warnings)))
        return status
    for warning in stated.targets.warnings:
        sys.stderr.write(f"xegrad: warning: {warning}\n")
    if not quiet:
        from xegrad.display.descent import descent_view

        view = descent_view(
            descent, learning_rate=rate, width=screen.width(), digits=digits, ascii=not is_unicode()
        )
        if save == "-":
            sys.stderr.write(view.plain + "\n")
        else:
            screen.show(view, color=not no_color)
    return status


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 < rate < math.inf:
        raise UsageError(f"--learning-rate is {text!r}; a positive number or auto is expected")
    return rate


def _weights(descent: Descent, transpose: bool) -> Any:
    return descent.end.weights.T if transpose else descent.end.weights


def _save(descent: Descent, parts: Parts, target: str) -> None:
    """Write the problem with its new W and b, and with everything else that it was given."""
    suffix = Path(target).suffix.lower()
    entry = next(
        (entry for entry in formats.FORMATS.values() if suffix in entry.suffixes), formats.FORMATS["json"]
    )
    if not entry.problems:
        raise UsageError(
            f"--save {target}: a problem cannot be written as {entry.name}; .json and .csv can hold one"
        )
    # In the layout inputs x classes, and saying so, whatever it was read in.
    label = parts.label
    if isinstance(label, str):  # a name, or an index as text
        label = str(label) if label in (parts.classes or ()) else int(label)
    moved = replace(parts, weights=descent.end.weights, bias=descent.end.bias, label=label, transpose=None)
    text = entry.write_problem(moved)
    if target == "-":
        sys.stdout.write(text)
        return
    try:
        Path(target).write_text(text, encoding="utf-8")
    except OSError as error:
        raise XegradError(f"--save {target}: cannot be written: {error.strerror or error}") from None


def _result(descent: Descent, parts: Parts, warnings: list[str]) -> DescendResult:
    end, norm = descent.end, descent.gradient_norm
    notes = [] if math.isfinite(norm) else ["gradient_norm is null: it is not finite"]
    if descent.diverged_at is not None:
        notes.append(
            f"step {descent.diverged_at} was not taken: the loss would grow past the start, or overflow"
        )
    return DescendResult(
        schema="xegrad/descend/1",
        loss_before=descent.losses[0],
        loss_after=descent.losses[-1],
        losses=list(descent.losses),
        steps=descent.steps,
        converged=descent.converged,
        W=_weights(descent, parts.transpose is True).tolist(),
        b=None if end.bias is None else end.bias.tolist(),
        gradient_norm=norm if math.isfinite(norm) else None,
        interrupted=descent.interrupted,
        diverged_at=descent.diverged_at,
        id=parts.id,
        warnings=[*warnings, *notes],
    )
