"""xegrad descend: read, step downhill, show, save."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec.structs import replace

from xegrad import formats
from xegrad.cli import options, output
from xegrad.cli.inputs import Given
from xegrad.errors import UsageError
from xegrad.methods import METHODS

if TYPE_CHECKING:
    from xegrad.descent import Descent
    from xegrad.formats.parts import Parts

DONE, DIVERGED, TROUBLE, INTERRUPTED = 0, 1, 2, 130


@options.takes_problem
def command(
    context: typer.Context,
    given: Given,
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
    destination = output.destination(form, json, path, given.files, output.VIEWS)
    saving = None if save is None else _saving(save, given)
    if save == "-" and destination.form == "json" and destination.path is None:
        raise UsageError("standard output holds one thing, but --json and --save - ask for it")
    parts = given.read()
    stated = parts.problem()

    from xegrad.descent import descend
    from xegrad.display import screen

    with screen.progress_bar():
        descent = descend(stated, steps=steps, learning_rate=rate, method=name, tolerance=tolerance, l2=l2)
    if saving is not None and save is not None:
        output.Destination("problem", None if save == "-" else save).put(
            saving.write_problem(_moved(descent, parts))
        )
    status = INTERRUPTED if descent.interrupted else DONE if descent.diverged_at is None else DIVERGED
    if not destination.begin(stated.targets.warnings, quiet=quiet):
        return status
    if destination.form == "json":
        from xegrad.formats.results import descend_result, encode

        result = descend_result(descent, parts.layout, id=parts.id, warnings=stated.targets.warnings)
        destination.put(encode(result))
        return status
    from xegrad.display.descent import descent_view

    ascii = destination.path is None and not screen.is_unicode()
    view = descent_view(descent, learning_rate=rate, width=screen.width(), digits=digits, ascii=ascii)
    if save == "-" and destination.path is None:
        sys.stderr.write(view.plain + "\n")
    else:
        destination.show(view, color=not no_color)
    return status


def _saving(target: str, given: Given) -> formats.Format:
    """The format of --save, by its suffix; JSON on standard output, or where there is none."""
    if target == "-":
        return formats.FORMATS["json"]
    output.refuse_inputs(target, given.files)
    entry = formats.by_suffix(target) or formats.FORMATS["json"]
    if "problem" not in entry.writes:
        writable = ", ".join(known.name for known in formats.FORMATS.values() if "problem" in known.writes)
        raise UsageError(
            f"--save {target}: a problem cannot be written as {entry.name}; {writable} can hold one"
        )
    return entry


def _moved(descent: Descent, parts: Parts) -> Parts:
    """The parts as they were given, with the new W and b in the layout of the old."""
    end, label = descent.end, parts.label
    # Text from a shell or a cell may be a name or an index; a file says which.
    if isinstance(label, list):
        label = [_plain(one, end.classes) for one in label]
    elif isinstance(label, str):
        label = _plain(label, end.classes)
    return replace(
        parts,
        weights=parts.layout.of("weights", end.weights),
        bias=end.bias,
        label=label,
        classes=end.classes,
        gradient=None,
        loss=None,
    )


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 < rate < math.inf:
        raise UsageError(f"--learning-rate is {text!r}; a positive number or auto is expected")
    return rate


def _plain(label: Any, classes: tuple[str, ...] | None) -> Any:
    if not isinstance(label, str):
        return label
    return str(label) if classes and label in classes else int(label)
