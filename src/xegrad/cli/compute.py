"""xegrad compute: read, evaluate, compare, show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec.structs import replace

from xegrad import formats
from xegrad.cli import DONE
from xegrad.cli.choices import choices, gradients, option
from xegrad.cli.data_set import DataOptions
from xegrad.cli.inputs import ProblemOptions
from xegrad.cli.output import FORMS, OutputOptions
from xegrad.cli.signature import takes_problem
from xegrad.errors import UsageError
from xegrad.methods import METHODS
from xegrad.vocabulary import DEFAULT_METHODS, NAMES

if TYPE_CHECKING:
    from xegrad.cli.output import Destination
    from xegrad.cli.stream import Answer
    from xegrad.computation import Computation
    from xegrad.display.blocks import View
    from xegrad.display.page import PageSettings
    from xegrad.formats.ndjson import Lines, Stack
    from xegrad.formats.raw_problem import RawProblem
    from xegrad.problem import Layout, Problem

Exact = bool | Literal["auto"]


@takes_problem(without=["all_entries"])
def command(
    *,
    request: ProblemOptions,
    method: Annotated[
        list[str] | None,
        option(
            "NAME",
            f"The methods to compare ({','.join(DEFAULT_METHODS)}). {', '.join(METHODS)}; by default the chain is left "
            "out if it would take more than 10 s.",
            values=METHODS,
        ),
    ] = None,
    exact: Annotated[
        bool | None,
        option(
            "--exact/--no-exact",
            "Always add the exact values, or never. Exact values are correctly rounded. By default they are there "
            "if they take less than about 50 ms, or less than the chain and 10 s.",
        ),
    ] = None,
    with_respect_to: Annotated[
        list[str] | None,
        option(
            "NAMES",
            f"Which gradients: {', '.join(NAMES)}. By default W, and b if there is one.",
            values=NAMES,
        ),
    ] = None,
    timed: Annotated[bool, option("--time", "Show how long each method took.")] = False,
    rows: DataOptions,
    output: OutputOptions,
) -> int:
    """Compute the loss of a softmax layer and its gradients: by the chain, by the shortcut, exactly.

    \b
    xegrad compute problem.json
    xegrad compute -W '[[1,2],[3,4]]' -x 1,-2 -y 0
    xegrad compute -W W.csv -x iris.csv --label-column species
    xegrad compute layer.safetensors -x x.npy --labels y.npy
    xegrad compute a.json b.json --label-smoothing 0.1
    xegrad compute problem.json --json | jq .gradient
    xegrad compute problem.json -o gradient.npy
    tail -f log | xegrad compute - --input-format ndjson

    JSON: {"W": [[...], ...], "x": [...], "label": 2}, where W is inputs x classes.  b, classes, class_weights,
    label_smoothing, ignore_index, reduction and transpose may be added.  x may be rows; then label is a list.

    CSV: one table.  Its header is x and the class names; the row of input j is x_j and then W[j, :].  Rows that
    begin with label (a target) and bias may follow.

    NPZ holds arrays under the keys of JSON; safetensors the weight and bias of torch.nn.Linear; NDJSON a stream,
    a problem on each line.  W, x, b and the labels may also be files of their own: NPY, a JSON array, a CSV of
    plain numbers, or FILE:KEY in NPZ and safetensors.
    """
    methods = None if method is None else choices(method, METHODS, "method")
    if exact is False and "exact" in (methods or ()):
        raise UsageError("--no-exact leaves nothing of --method exact; one of them is meant")
    if request.is_stream:
        from xegrad.cli import stream

        # In a stream the exact values are there if they are asked for.
        wanted: Exact = exact if exact is not None else "auto" if methods else False
        answer = partial(_compute_lines, methods=methods, with_respect_to=with_respect_to, exact=wanted)
        return stream.run("compute", request, output, answer, rows)
    destination = output.destination(FORMS)
    if files := rows.files(request):
        if exact or timed or methods not in (None, ["shortcut"]):
            given = "--exact" if exact else "--time" if timed else f"--method {','.join(methods or ())}"
            raise UsageError(f"{given} is of a problem in memory; a data set is computed by the shortcut")
        return _of_data_set(request, rows, files, with_respect_to, destination)
    parts = request.read()
    computed = _compute(parts.problem(), methods, with_respect_to, exact, destination.form)
    _write(computed, parts, destination, timed=timed)
    return DONE


def _of_data_set(
    request: ProblemOptions,
    rows: DataOptions,
    files: tuple[str, ...],
    with_respect_to: list[str] | None,
    destination: Destination,
) -> int:
    """The loss and the gradients of all rows of a data set."""
    from xegrad.cli import data_set
    from xegrad.full_batch import FullBatch

    asked = data_set.read(request, rows, files, destination.path)
    names = gradients(with_respect_to, asked.layer.bias is not None)
    total, facts = data_set.total(
        FullBatch(asked.data, asked.layer, tuple(names), skip_bad=rows.skip_bad), rows
    )
    layout = asked.parts.layout

    def result() -> Any:
        from xegrad.formats.results import data_set_result

        return data_set_result(total, layout, facts, id=asked.parts.id)

    def view(page: PageSettings) -> View:
        from xegrad.display.full_batch import total_view

        return total_view(total, layout, facts, page)

    array = partial(_array, layout, asked.layer.classes, total.gradients)
    destination.write(
        result=result, view=view, array=array, warnings=[*total.warnings, *asked.warnings(total.n_bad)]
    )
    return DONE


def _compute(
    problem: Problem,
    methods: Sequence[str] | None,
    with_respect_to: list[str] | None,
    exact: bool | None,
    form: str,
) -> Computation:
    """What is asked for, refused before it begins where it or what is written of it takes too much memory."""
    from xegrad import computation
    from xegrad.display import screen

    names = gradients(with_respect_to, problem.bias is not None)
    wanted: Exact = "auto" if exact is None else exact
    chosen = computation.methods_for(problem, methods, wanted)
    computation.check_memory(problem, chosen, names, *_around(problem, chosen, names, form))
    with screen.watching():
        return computation.compute(problem, methods, names, exact=wanted)


def _around(problem: Problem, methods: Sequence[str], names: Sequence[str], form: str) -> tuple[int, int]:
    """The bytes beside the problem that its file takes, and those of what is written: 40 for each number that becomes
    text, of every gradient or of one, and three copies where it does not; and S."""
    of_number = 40 if form in ("json", "csv") else 3 * (8 if "exact" in methods else problem.dtype.itemsize)
    n_gradients = len(methods) if form == "json" else 1
    numbers = (n_gradients * problem.nbytes_of(names) + problem.nbytes_of(["logits"])) // 8
    return problem.nbytes, of_number * numbers


def _write(computed: Computation, parts: RawProblem, destination: Destination, *, timed: bool) -> None:
    """The result as the form asks for it."""

    def result() -> Any:
        from xegrad.formats.results import compute_results

        notes = [computed.warnings]
        return compute_results(computed, parts.layout, ids=[parts.id], warnings=notes, with_time=timed)[0]

    def view(page: PageSettings) -> View:
        from xegrad.display.computation import computation_view

        return computation_view(computed, parts.layout, page, with_time=timed)

    array = partial(_as_array, computed, parts.layout)
    warnings = [*computed.problem.targets.warnings, *filter(None, [computed.left_out])]
    destination.write(result=result, view=view, array=array, warnings=warnings)


def _compute_lines(
    lines: Lines,
    places: Sequence[int],
    overrides: RawProblem,
    *,
    methods: Sequence[str] | None,
    with_respect_to: list[str] | None,
    exact: Exact,
) -> Iterator[Answer]:
    """The loss and the gradients of lines of one shape, computed together."""
    from xegrad.formats import ndjson

    for stack in ndjson.within_memory(ndjson.stack(lines, places, overrides)):
        names = gradients(with_respect_to, stack.problem.bias is not None)
        yield from _computed(stack, lines, methods, names, exact)


def _computed(
    stack: Stack,
    lines: Lines,
    methods: Sequence[str] | None,
    names: Sequence[str],
    exact: Exact,
) -> Iterator[Answer]:
    """The results of the problems of a stack."""
    from xegrad import computation
    from xegrad.cli.tally import DONE_LINE
    from xegrad.formats.results import compute_results

    by = computation.methods_for(stack.problem, methods, exact)
    computation.check_memory(stack.problem, by, names, *_around(stack.problem, by, names, "json"))
    computed = computation.compute(stack.problem, methods, names, exact=exact)
    targets, finite = computed.problem.targets, computed.finite
    if computed.n_problems > 1 and not finite.all():
        # What is not finite is told problem by problem, and the rest together.
        alone, together = (~finite).nonzero()[0].reshape(-1, 1), finite.nonzero()[0]
        for chosen in filter(None, (*alone.tolist(), together.tolist())):
            places = [stack.places[k] for k in chosen]
            part = replace(stack, problem=stack.problem.at(chosen), places=places)
            yield from _computed(part, lines, methods, names, exact)
        return
    if computed.n_problems == 1:
        warnings = [computed.warnings]
    elif targets.soft is None and targets.class_weights is None:
        warnings = [[]] * computed.n_problems  # there is nothing to warn of, and looking takes long
    else:
        warnings = [one.targets.warnings for one in computed.problem.unstacked()]
    ids = [lines.ids[place] for place in stack.places]
    yield stack.places, compute_results(computed, stack.layout, ids=ids, warnings=warnings), DONE_LINE


def _as_array(computed: Computation, layout: Layout, form: str) -> bytes:
    return _array(layout, computed.problem.classes, computed.reported.gradients, form)


def _array(layout: Layout, classes: Sequence[str] | None, of_names: Mapping[str, Any], form: str) -> bytes:
    """The only gradient, or that of W, in a format for arrays."""
    if len(of_names) > 1 and "weights" not in of_names:
        raise UsageError(f"{form} holds one gradient; name it with --with-respect-to")
    name = next(iter(of_names))
    has_classes = name != "inputs" and not (name == "weights" and layout.transpose)
    gradient = layout.of(name, of_names[name]) + 0.0
    written: bytes = formats.FORMATS[form].module.write_array(gradient, classes if has_classes else None)
    return written
