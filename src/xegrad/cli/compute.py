"""xegrad compute: read, evaluate, compare, show."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xegrad.cli import DONE, options, output
from xegrad.cli.inputs import ProblemOptions
from xegrad.display.page import PageSettings
from xegrad.errors import UsageError
from xegrad.methods import METHODS
from xegrad.vocabulary import DEFAULT_METHODS

if TYPE_CHECKING:
    from xegrad.computation import Computation
    from xegrad.display.text import View
    from xegrad.problem import Layout

FORMS = (*output.VIEWS, *output.ARRAYS)


@options.takes_problem
def command(
    context: typer.Context,
    request: ProblemOptions,
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
    then W[j, :], and rows that begin with label (a target) and bias.  NPZ holds arrays under the keys of JSON,
    safetensors the weight and bias of torch.nn.Linear, NDJSON a stream, a problem on each line.  A part is also
    read from NPY, a JSON array, a CSV of plain numbers, or, as FILE:KEY, from NPZ and safetensors.
    """
    methods = None if method is None else options.choices(method, METHODS, "method")
    if exact is False and "exact" in (methods or ()):
        raise UsageError("--no-exact leaves nothing of --method exact; one of them is meant")
    if request.is_stream:
        from xegrad.cli import stream

        stream.refuse(form, "compute")
        chosen = [*(methods or DEFAULT_METHODS), *(["exact"] if exact else [])]
        lines = partial(stream.compute_lines, methods=chosen, with_respect_to=with_respect_to)
        return stream.run(request, lines, path, quiet=quiet)
    destination = output.destination(form, json, path, request.files, FORMS, quiet=quiet, no_color=no_color)
    parts = request.read()
    problem = parts.problem()
    names = options.gradients(with_respect_to, problem.bias is not None)

    from xegrad import computation
    from xegrad.display import screen
    from xegrad.methods.exact import work

    chosen = computation.methods_for(problem, methods, "auto" if exact is None else exact)
    if "exact" in chosen:
        screen.announce(work(problem.n_rows, problem.n_inputs, problem.n_classes))
    with screen.progress_bar():
        computed = computation.compute(problem, chosen, names)

    def result() -> Any:
        from xegrad.formats.results import compute_results

        return compute_results(computed, parts.layout, ids=[parts.id], warnings=[computed.warnings])[0]

    def view(page: PageSettings) -> View:
        from xegrad.display.computation import computation_view

        return computation_view(computed, parts.layout, page)

    destination.write(
        result=result,
        view=view,
        page=PageSettings(top=top, digits=digits, heatmaps=heatmap),
        array=partial(_as_array, computed, parts.layout),
        warnings=problem.targets.warnings,
    )
    return DONE


def _as_array(computed: Computation, layout: Layout, form: str) -> bytes:
    """The only gradient, or that of W, in a format for arrays."""
    from xegrad import formats

    if len(computed.names) > 1 and "weights" not in computed.names:
        raise UsageError(f"{form} holds one gradient; name it with --with-respect-to")
    name = computed.names[0]
    has_classes = name != "inputs" and not (name == "weights" and layout.transpose)
    gradient = layout.of(name, computed.reported.gradients[name]) + 0.0
    columns = computed.problem.classes if has_classes else None
    return formats.FORMATS[form].write_array(gradient, columns)
