"""xegrad descend: read, step downhill, show, save."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec.structs import replace

from xegrad import formats
from xegrad.cli import DONE, INTERRUPTED, JUDGED_WRONG, options, output
from xegrad.cli.inputs import ProblemOptions
from xegrad.display.page import PageSettings
from xegrad.errors import UsageError
from xegrad.methods import METHODS

if TYPE_CHECKING:
    from xegrad.display.text import View


@options.takes_problem
def command(
    context: typer.Context,
    request: ProblemOptions,
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
    form: options.Format = None,
    json: options.Json = False,
    path: options.Output = None,
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
    rate = None if learning_rate == "auto" else _rate(learning_rate)
    name = options.choice(method, METHODS, "method")
    destination = output.destination(form, json, path, request.files, quiet=quiet, no_color=no_color)
    saving = None if save is None else _saving(save, request.files)
    if save == "-" and destination.form == "json" and destination.path is None:
        raise UsageError("standard output holds one thing, but --json and --save - ask for it")
    raw = request.read()
    problem = raw.problem()

    from xegrad.descent import descend
    from xegrad.display import screen

    with screen.progress_bar():
        descent = descend(problem, steps=steps, learning_rate=rate, method=name, tolerance=tolerance, l2=l2)
    if saving is not None and save is not None:
        output.Destination("problem", None if save == "-" else save).put(
            saving.write_problem(raw.moved(descent.end))
        )

    def result() -> Any:
        from xegrad.formats.results import descend_result

        return descend_result(descent, raw.layout, id=raw.id, warnings=problem.targets.warnings)

    def view(page: PageSettings) -> View:
        from xegrad.display.descent import descent_view

        return descent_view(descent, rate, page)

    replace(destination, is_report=save == "-").write(
        result=result, view=view, page=PageSettings(digits=digits), warnings=problem.targets.warnings
    )
    if descent.interrupted:
        return INTERRUPTED
    return DONE if descent.diverged_at is None else JUDGED_WRONG


def _saving(target: str, files: list[str]) -> formats.Format:
    """The format of --save, by its suffix; JSON on standard output, or where there is none."""
    if target == "-":
        return formats.FORMATS["json"]
    output.refuse_inputs(target, files)
    entry = formats.by_suffix(target) or formats.FORMATS["json"]
    if "problem" not in entry.writes:
        writable = ", ".join(known.name for known in formats.FORMATS.values() if "problem" in known.writes)
        raise UsageError(
            f"--save {target}: a problem cannot be written as {entry.name}; {writable} can hold one"
        )
    return entry


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 < rate < math.inf:
        raise UsageError(f"--learning-rate is {text!r}; a positive number or auto is expected")
    return rate
