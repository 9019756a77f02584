"""xegrad descend: read, step downhill, show, save."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from xegrad import formats
from xegrad.cli import DONE, INTERRUPTED, JUDGED_WRONG, data_set
from xegrad.cli.choices import choice, number_in, option
from xegrad.cli.data_set import Asked, DataOptions
from xegrad.cli.inputs import ProblemOptions
from xegrad.cli.output import OutputOptions
from xegrad.cli.signature import takes_problem
from xegrad.cli.writing import writer
from xegrad.errors import UsageError, shown
from xegrad.methods import METHODS
from xegrad.vocabulary import count

if TYPE_CHECKING:
    from xegrad.cli.output import Destination
    from xegrad.descent import Descent, ExactLosses
    from xegrad.display.blocks import View
    from xegrad.display.page import PageSettings
    from xegrad.formats.raw_problem import RawProblem


@takes_problem(without=["top", "all_entries", "no_heatmap", "entries"])
def command(
    *,
    request: ProblemOptions,
    steps: Annotated[int, option("--steps N", "How many steps at most (1).", min=0)] = 1,
    learning_rate: Annotated[
        str,
        option(
            "--learning-rate R|auto",
            "The learning rate (auto). auto is a line search that never lets the loss grow.",
        ),
    ] = "auto",
    method: Annotated[
        str,
        option(
            "--method NAME", f"How the gradient is computed (shortcut). {', '.join(METHODS)}.", values=METHODS
        ),
    ] = "shortcut",
    tolerance: Annotated[
        float, option("--tolerance G", "Stop where the gradient's norm is at most this (0).", min=0)
    ] = 0.0,
    exact: Annotated[
        bool | None,
        option(
            "--exact/--no-exact",
            "Always add the exact losses, or never. By default they are there if that is quick.",
        ),
    ] = None,
    l2: Annotated[
        float, option("--l2 LAMBDA", "Weight decay: add LAMBDA/2 sum(W^2) to the loss.", min=0)
    ] = 0.0,
    save: Annotated[
        str | None,
        option(
            "--save FILE|-",
            "Save the problem with its new W and b. As JSON or CSV; - is standard output, and the report then goes to "
            "standard error.",
            writable=True,
        ),
    ] = None,
    rows: DataOptions,
    output: OutputOptions,
) -> int:
    """Move W and b downhill by gradient descent on the whole batch, and show how the loss falls.

    \b
    xegrad descend problem.json --steps 100
    xegrad descend problem.json --learning-rate 0.1
    xegrad descend problem.json --save - | xegrad compute -

    Ctrl-C stops after the step, and shows and saves what there is.  With --l2 the loss shown includes it.

    Exit status: 0 done, 1 the loss grew or overflowed (the learning rate is too large), 2 trouble,
    130 interrupted.
    """
    rate = None if learning_rate == "auto" else _rate(learning_rate)
    name = choice(method, METHODS, "method")
    destination = output.destination(is_report=save == "-")
    saving = None if save is None else _saving(save)
    if save == "-" and destination.form == "json" and destination.path is None:
        raise UsageError("standard output holds one thing, but --json and --save - ask for it")
    if files := rows.files(request):
        if name != "shortcut" or exact:
            what = "--exact" if exact else f"--method {name}"
            raise UsageError(f"{what} is of a problem in memory; a data set is computed by the shortcut")
        if saving is not None and saving.name != "json":
            raise UsageError(f"--save {save}: W and b without rows are saved as JSON")
        asked = data_set.read(request, rows, files, destination.path, save)
        return _of_data_set(
            asked, rows, destination, save, steps=steps, learning_rate=rate, tolerance=tolerance, l2=l2
        )
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
    if save is not None:
        _save(raw.moved(descent.end), save)
    with screen.watching():
        losses = downhill.exact_losses(descent, wanted)
    _write(descent, losses, rate, raw, destination, problem.targets.warnings)
    return _status(descent, destination)


def _status(descent: Descent, destination: Destination) -> int:
    """The exit status; a line says what ended it where the report, which says it too, is no text on the screen."""
    if descent.interrupted:
        if destination.path is not None or destination.form != "table":
            from xegrad.display import screen

            screen.announce(f"interrupted after {count(descent.steps, 'step')}")
        return INTERRUPTED
    return DONE if descent.diverged_at is None else JUDGED_WRONG


def _of_data_set(
    asked: Asked, options: DataOptions, destination: Destination, save: str | None, **arguments: Any
) -> int:
    """Steps on all rows of a data set; what is saved is W and b, with what else belongs to the layer."""
    from xegrad.descent import descend
    from xegrad.display import screen
    from xegrad.full_batch import FullBatch

    full_batch = FullBatch(asked.data, asked.layer, skip_bad=options.skip_bad)
    with screen.watching(), data_set.downhill(full_batch, options, arguments["steps"]) as (all_rows, engine):
        descent = descend(asked.layer, rows=all_rows, **arguments)
        facts = engine.facts
    if save is not None:
        _save(asked.parts.moved(descent.end), save)

    def beside() -> Mapping[str, Any]:
        from xegrad.formats.results import of_data_set

        return of_data_set(full_batch, all_rows.n_bad, facts)

    warnings = asked.warnings(all_rows.n_bad)
    _write(descent, None, arguments["learning_rate"], asked.parts, destination, warnings, beside)
    return _status(descent, destination)


def _write(
    descent: Descent,
    losses: ExactLosses | None,
    rate: float | None,
    raw: RawProblem,
    destination: Destination,
    warnings: Sequence[str],
    beside: Callable[[], Mapping[str, Any]] = dict,
) -> None:
    """The report, with the exact losses where there are any, and what is said of a data set."""

    def result() -> Any:
        from xegrad.formats.results import descend_result

        return descend_result(descent, losses, raw.layout, id=raw.id, beside=beside())

    def view(page: PageSettings) -> View:
        from xegrad.display.descent import descent_view

        return descent_view(descent, rate, page, losses)

    def plot(theme: str | None) -> str:
        from xegrad.display.blocks import Plot
        from xegrad.display.descent import ending
        from xegrad.display.svg import picture

        _, sentence = ending(descent, rate, destination.options.digits)
        return picture(Plot(descent.losses), sentence, theme)

    destination.write(result=result, view=view, plot=plot, warnings=warnings)


def _save(problem: RawProblem, target: str) -> None:
    """Write a problem where --save says."""
    with writer(None if target == "-" else target) as write:
        write([_saving(target).module.write_problem(problem)])


def _saving(target: str) -> formats.Format:
    """The format of --save, by its suffix; JSON on standard output, or where there is none."""
    if target == "-":
        return formats.FORMATS["json"]
    entry = formats.by_suffix(target) or formats.FORMATS["json"]
    if not entry.writes_problem:
        writable = ", ".join(known.name for known in formats.FORMATS.values() if known.writes_problem)
        raise UsageError(
            f"--save {target}: a problem cannot be written as {entry.name}; {writable} can hold one"
        )
    return entry


def _rate(text: str) -> float:
    rate = number_in(text)
    if not 0 < rate < math.inf:
        raise UsageError(f"--learning-rate is {shown(text)}; a positive number or auto is expected")
    return rate
