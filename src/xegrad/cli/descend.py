"""xegrad descend: read, step downhill, show, save."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

from xegrad import formats
from xegrad.cli import DONE, INTERRUPTED, JUDGED_WRONG
from xegrad.cli.choices import choice, option
from xegrad.cli.inputs import ProblemOptions, takes_problem
from xegrad.cli.output import OutputOptions, refuse_inputs, writer
from xegrad.errors import UsageError
from xegrad.methods import METHODS

if TYPE_CHECKING:
    from xegrad.cli.output import Destination
    from xegrad.descent import Descent, ExactLosses
    from xegrad.display.page import PageSettings
    from xegrad.display.text import View
    from xegrad.formats.raw_problem import RawProblem


@takes_problem(without=["top", "all_entries", "heatmap"])
def command(
    *,
    request: ProblemOptions,
    steps: Annotated[int, option("--steps N", "How many at most.", min=0)] = 1,
    learning_rate: Annotated[
        str, option("--learning-rate R|auto", "auto: a line search that never lets the loss grow.")
    ] = "auto",
    method: Annotated[
        str, option(f"--method {'|'.join(METHODS)}", "By which the gradient is computed.")
    ] = "shortcut",
    tolerance: Annotated[
        float, option("--tolerance G", "The gradient's norm at which to stop.", min=0)
    ] = 0.0,
    exact: Annotated[
        bool | None,
        option("--exact/--no-exact", "The correctly rounded losses too; by default where that is quick."),
    ] = None,
    l2: Annotated[float, option("--l2 LAMBDA", "LAMBDA/2 times the squares of W are added.", min=0)] = 0.0,
    save: Annotated[
        str | None, option("--save FILE|-", "The problem with its new W and b, as JSON or CSV.")
    ] = None,
    output: OutputOptions,
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
    name = choice(method, METHODS, "method")
    destination = output.destination(request.files, is_report=save == "-")
    saving = None if save is None else _saving(save, request.files)
    if save == "-" and destination.form == "json" and destination.path is None:
        raise UsageError("standard output holds one thing, but --json and --save - ask for it")
    raw = request.read()
    problem = raw.problem()

    from xegrad import descent as downhill
    from xegrad.display import screen

    # In a table the exact losses are there if they are asked for.
    wanted: bool | Literal["auto"] = exact if exact is not None else destination.form == "json" and "auto"
    of_exact = METHODS["exact"].memory(problem, ()) if downhill.are_exact(problem, wanted) else 0
    downhill.check_memory(problem, name, rate, of_exact)
    with screen.watching():
        descent = downhill.descend(
            problem, steps=steps, learning_rate=rate, method=name, tolerance=tolerance, l2=l2
        )
    if saving is not None and save is not None:
        with writer(None if save == "-" else save) as write:
            write([saving.module.write_problem(raw.moved(descent.end))])
    with screen.watching():
        losses = downhill.exact_losses(descent, wanted)
    _write(descent, losses, rate, raw, destination)
    if descent.interrupted:
        return INTERRUPTED
    return DONE if descent.diverged_at is None else JUDGED_WRONG


def _write(
    descent: Descent,
    losses: ExactLosses | None,
    rate: float | None,
    raw: RawProblem,
    destination: Destination,
) -> None:
    """The report, with the exact losses where there are any."""

    def result() -> Any:
        from xegrad.formats.results import descend_result

        return descend_result(descent, losses, raw.layout, id=raw.id)

    def view(page: PageSettings) -> View:
        from xegrad.display.descent import descent_view

        return descent_view(descent, rate, page, losses)

    destination.write(result=result, view=view, warnings=descent.start.targets.warnings)


def _saving(target: str, files: list[str]) -> formats.Format:
    """The format of --save, by its suffix; JSON on standard output, or where there is none."""
    if target == "-":
        return formats.FORMATS["json"]
    refuse_inputs(target, files)
    entry = formats.by_suffix(target) or formats.FORMATS["json"]
    if not entry.writes_problem:
        writable = ", ".join(known.name for known in formats.FORMATS.values() if known.writes_problem)
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
