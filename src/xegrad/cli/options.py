"""The options that several commands share: the same name means the same in every one."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Annotated, Any

import typer

from xegrad.cli.choices import choice as choice
from xegrad.cli.choices import choices as choices
from xegrad.cli.choices import completing as completing
from xegrad.cli.inputs import ProblemOptions
from xegrad.errors import UsageError
from xegrad.formats import FORMATS
from xegrad.problem_spec import FIELDS
from xegrad.vocabulary import NAMES, SYMBOLS


def _option(*names: str, metavar: str | None, help: str, values: Iterable[str] = ()) -> Any:
    return typer.Option(
        *names, metavar=metavar, help=help, autocompletion=completing(values) if values else None
    )


# Where a problem is read from, beside the options of its fields.
_SOURCES: dict[str, Any] = {
    "problem": Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PROBLEM]",
            help="A file (JSON, CSV, NPZ, safetensors, NDJSON), or - for standard input.",
            show_default=False,
        ),
    ],
    "labels": Annotated[
        str | None,
        _option("--labels", metavar="FILE", help="The labels, or a row of targets for each row of x."),
    ],
    "label_column": Annotated[
        str | None,
        _option(
            "--label-column", metavar="NAME", help="The column of a data set (-x data.csv) that is the label."
        ),
    ],
    "input_format": Annotated[
        str | None,
        _option(
            "--input-format",
            metavar="|".join(FORMATS),
            help="Where the suffix does not say it.",
            values=FORMATS,
        ),
    ],
}


def _of_problem() -> dict[str, Any]:
    """The type and the help of every option of a problem, by the name of its parameter, in the order of the help."""
    layer: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for key, field in FIELDS.items():
        if field.options:
            option = _option(*field.options, metavar=field.metavar, help=field.help, values=field.words)
            (layer if key in NAMES else others)[field.parameter] = Annotated[field.kind.option | None, option]
    sources = dict(_SOURCES)
    return {
        "problem": sources.pop("problem"),
        **layer,
        "label": others.pop("label"),
        "labels": sources.pop("labels"),
        "label_column": sources.pop("label_column"),
        **others,
        **sources,
    }


WithRespectTo = Annotated[
    list[str] | None,
    _option(
        "--with-respect-to",
        metavar=",".join(SYMBOLS.values()),
        help="Which gradients (W, and b where there is one).",
        values=SYMBOLS.values(),
    ),
]
Format = Annotated[
    str | None,
    _option(
        "--format",
        metavar="NAME",
        help="table (by default), json, markdown, svg, html; of compute csv and npy, which hold dL/dW.",
        values=("table", "json", "markdown", "svg", "html", "csv", "npy"),
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Short for --format json.")]
Output = Annotated[
    str | None,
    typer.Option(
        "-o", "--output", metavar="FILE", help="Write it there, whole or not at all; format from the suffix."
    ),
]
Heatmap = Annotated[bool, typer.Option("--heatmap", help="Draw the matrices as heat maps too.")]
Top = Annotated[int, typer.Option("--top", metavar="K", min=1, help="How many of the worst entries.")]
Digits = Annotated[
    int,
    typer.Option("--digits", metavar="D", min=1, max=17, help="Significant digits; 17 shows raw numbers."),
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Nothing on standard output.")]
NoColor = Annotated[bool, typer.Option("--no-color", help="No colours; NO_COLOR does the same.")]


def takes_problem(command: Callable[..., int]) -> Callable[..., int]:
    """A command(context, request, ...) as one whose signature has, for `request`, every option of a problem.

    Without a problem it says how it is used.
    """
    signature = inspect.signature(command, eval_str=True)
    kind = inspect.Parameter.KEYWORD_ONLY
    context, *rest = [
        parameter.replace(kind=kind) for name, parameter in signature.parameters.items() if name != "request"
    ]
    of_problem = [
        inspect.Parameter(name, kind, default=None, annotation=annotation)
        for name, annotation in _of_problem().items()
    ]

    @wraps(command)
    def taking_all(**arguments: Any) -> int:
        values = {key: arguments.pop(field.parameter) for key, field in FIELDS.items() if field.options}
        request = ProblemOptions(
            values={key: value for key, value in values.items() if value is not None},
            **{name: arguments.pop(name) for name in _SOURCES},
        )
        request.check()
        if request.is_nothing and not any(arguments.get(name) for name in ("gradient", "loss")):
            usage, path = arguments["context"].get_usage(), arguments["context"].command_path
            sys.stderr.write(f"{usage}\nxegrad: no problem was given; see {path} --help\n")
            return 2
        return command(request=request, **arguments)

    parameters = [context, *of_problem, *rest]
    # `inspect.signature`, by which typer learns of the options, looks for it; the type of functions does not list it.
    taking_all.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    taking_all.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return taking_all


def gradients(symbols: list[str] | None, has_bias: bool) -> list[str]:
    """The names in --with-respect-to, as the library calls them: W, and b where there is one, by default."""
    chosen = choices(symbols or (["W", "b"] if has_bias else ["W"]), SYMBOLS.values(), "gradient")
    return [name for name, symbol in SYMBOLS.items() if symbol in chosen]


def summation(text: str) -> Callable[[int], int]:
    """How many roundings a term of a sum goes through, from any, pairwise or blocked=N."""
    from xegrad import bounds

    if text in ("any", "pairwise"):
        return bounds.any_order if text == "any" else bounds.pairwise
    kind, _, size = text.partition("=")
    if kind != "blocked" or not size.isdecimal() or int(size) == 0:
        raise UsageError(
            f"--summation is {text!r}; any, pairwise or blocked=N is expected, N terms to a block"
        )
    return bounds.blocked(int(size))
