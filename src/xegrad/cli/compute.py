"""xegrad compute: read, evaluate, compare, show."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from xegrad.cli import options, output
from xegrad.cli.inputs import Given
from xegrad.errors import UsageError
from xegrad.methods import METHODS

if TYPE_CHECKING:
    from xegrad.cli.output import Destination
    from xegrad.computation import Computation
    from xegrad.formats.parts import Parts

DEFAULT_METHODS = ("chain", "shortcut")
FORMS = (*output.VIEWS, "csv", "npy")
QUICK = 0.05  # seconds


@options.takes_problem
def command(
    context: typer.Context,
    given: Given,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            metavar="NAME",
            help=f"What is computed: {', '.join(METHODS)} ({','.join(DEFAULT_METHODS)} by default).",
        ),
    ] = None,
    exact: Annotated[
        bool | None,
        typer.Option(
            "--exact/--no-exact",
            help="The correctly rounded values too; by default where they take less than about 50 ms.",
        ),
    ] = None,
    with_respect_to: options.WithRespectTo = None,
    form: options.Format = None,
    json: options.Json = False,
    path: options.Output = None,
    top: options.Top = 10,
    heatmap: options.Heatmap = False,
    digits: options.Digits = 8,
    quiet: options.Quiet = False,
    no_color: options.NoColor = False,
) -> int:
    """The loss and its gradients of a softmax layer, by the full Jacobian chain, by the shortcut and exactly.

    \b
    xegrad compute problem.json
    xegrad compute -W '[[1,2],[3,4]]' -x 1,-2 -y 0
    xegrad compute -W W.csv -x iris.csv --label-column species
    xegrad compute layer.safetensors -x x.npy --labels y.npy --label-smoothing 0.1
    xegrad compute problem.json --json | jq .gradient
    xegrad compute problem.json -o gradient.npy
    tail -f log | xegrad compute - --input-format ndjson

    A problem in JSON is {"W": [[...], ...], "x": [...], "label": 2}, W inputs x classes, with b, classes,
    class_weights, label_smoothing, ignore_index, reduction and transpose if you like; x may be rows, and
    label then a list.  In CSV it is one table: a header x and the class names, a row for each input, x_j and
    then W[j, :], and rows that begin with label (a target) and bias.
    """
    chosen = options.choices(method or DEFAULT_METHODS, METHODS, "method")
    if exact is False and "exact" in chosen:
        raise UsageError("--no-exact leaves nothing of --method exact; one of them is meant")
    if given.is_stream:
        from xegrad.cli import stream

        if exact:
            chosen = [*chosen, *(["exact"] if "exact" not in chosen else [])]
        stream.refuse(form, "compute")
        lines = partial(stream.compute_lines, methods=chosen, with_respect_to=with_respect_to)
        return stream.run(given, lines, path, quiet=quiet)
    destination = output.destination(form, json, path, given.files, FORMS)
    parts = given.read()
    stated = parts.problem()
    names = options.gradients(with_respect_to, stated.bias is not None)

    from xegrad import computation
    from xegrad.display import screen
    from xegrad.methods.exact import work

    estimate = work(stated.n_rows, stated.n_inputs, stated.n_classes)  # by the sizes alone, never by a clock
    if exact or (exact is None and method is None and estimate < QUICK):
        chosen = [*(name for name in chosen if name != "exact"), "exact"]
    if "exact" in chosen:
        screen.announce(estimate)
    with screen.progress_bar():
        computed = computation.compute(stated, chosen, names)
    _write(
        computed,
        parts,
        destination,
        quiet=quiet,
        top=top,
        digits=digits,
        heatmaps=heatmap,
        color=not no_color,
    )
    return 0


def _write(
    computed: Computation,
    parts: Parts,
    destination: Destination,
    *,
    quiet: bool,
    top: int,
    digits: int,
    heatmaps: bool,
    color: bool,
) -> None:
    """The result in its form; warnings go to standard error unless JSON carries them."""
    from xegrad.display import screen, verdict

    warnings = computed.problem.targets.warnings
    if not destination.begin(warnings, quiet=quiet):
        return
    if destination.form == "json":
        from xegrad.formats.results import compute_results, encode

        carried = [*warnings, *verdict.nonfinite_warnings(computed)]
        (result,) = compute_results(computed, parts.layout, ids=[parts.id], warnings=[carried])
        destination.put(encode(result))
    elif destination.form in ("csv", "npy"):
        from xegrad import formats

        if len(computed.names) > 1 and "weights" not in computed.names:
            raise UsageError(f"{destination.form} holds one gradient; name it with --with-respect-to")
        name = computed.names[0]
        has_classes = name != "inputs" and not (name == "weights" and parts.layout.transpose)
        gradient = parts.layout.of(name, computed.reported.gradients[name]) + 0.0
        columns = computed.problem.classes if has_classes else None
        destination.put(formats.FORMATS[destination.form].write_array(gradient, columns))
    else:
        from xegrad.display.computation import computation_view

        view = computation_view(
            computed,
            verdict=verdict.compute_verdict(computed),
            layout=parts.layout,
            width=screen.width(),
            top=top,
            digits=digits,
            heatmaps=heatmaps,
            ascii=destination.path is None and not screen.is_unicode(),
        )
        destination.show(view, color=color)
