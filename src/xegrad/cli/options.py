"""How a command takes records of options: a command names the records, and typer sees each of their options."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Collection
from functools import wraps
from typing import Annotated, Any, get_type_hints

import msgspec
import typer

from xegrad.cli import TROUBLE
from xegrad.cli.choices import choices, option
from xegrad.cli.inputs import ProblemOptions, problem_annotations, problem_options
from xegrad.vocabulary import SYMBOLS

WithRespectTo = Annotated[
    list[str] | None,
    option(
        f"--with-respect-to {','.join(SYMBOLS.values())}",
        "Which gradients (W, and b where there is one).",
        values=SYMBOLS.values(),
    ),
]
Command = Callable[..., int]


def takes_problem(*, without: Collection[str] = (), **defaults: Any) -> Callable[[Command], Command]:
    """A command of a `request` and other records, whose signature has the options of their fields in their place.

    A record is a Struct whose fields are annotated with their options; `without` names those that the command does
    not have, and `defaults` gives it others.  Without a problem it says how it is used.
    """

    def decorated(command: Command) -> Command:
        context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
        parameters = [context]
        records: dict[str, tuple[Callable[..., Any], list[str]]] = {}  # what makes each, and of which options
        for name, parameter in inspect.signature(command, eval_str=True).parameters.items():
            record = parameter.annotation
            if not (isinstance(record, type) and issubclass(record, msgspec.Struct)):
                parameters.append(parameter)
                continue
            make: Callable[..., Any] = record
            annotations = get_type_hints(record, include_extras=True)
            if record is ProblemOptions:
                make, annotations = problem_options, problem_annotations()
            preset = dict(zip(record.__struct_fields__, record.__struct_defaults__, strict=True)) | defaults
            options = {key: annotation for key, annotation in annotations.items() if key not in without}
            records[name] = make, [*options]
            parameters += [
                context.replace(name=key, default=preset.get(key), annotation=annotation)
                for key, annotation in options.items()
            ]

        @wraps(command)
        def with_options(context: typer.Context, **arguments: Any) -> int:
            has_candidate = arguments.get("gradient") or arguments.get("loss")
            for name, (make, options) in records.items():
                arguments[name] = make(**{option: arguments.pop(option) for option in options})
            if arguments["request"].is_nothing and not has_candidate:
                usage, path = context.get_usage(), context.command_path
                sys.stderr.write(f"{usage}\nxegrad: no problem was given; see {path} --help\n")
                return TROUBLE
            return command(**arguments)

        # `inspect.signature`, by which typer learns of the options, looks for it; functions' type does not list it.
        with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return with_options

    return decorated


def gradients(symbols: list[str] | None, has_bias: bool) -> list[str]:
    """The names in --with-respect-to, as the library calls them: W, and b where there is one, by default."""
    chosen = choices(symbols or (["W", "b"] if has_bias else ["W"]), SYMBOLS.values(), "gradient")
    return [name for name, symbol in SYMBOLS.items() if symbol in chosen]
