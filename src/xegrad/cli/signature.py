"""The options of a command, made of the fields of the records that it takes."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import wraps
from typing import Annotated, Any

import msgspec
import typer

from xegrad import formats, memory
from xegrad.cli import TROUBLE, places
from xegrad.cli.choices import class_names, names_in, option
from xegrad.cli.inputs import ProblemOptions, is_inline
from xegrad.errors import UsageError, short
from xegrad.problem_spec import FIELDS, LABELS, LIST_OF_NAMES

Command = Callable[..., int]

# These options come first in the help, those of the other fields after them.
_FIRST = ("problem", "weights", "inputs", "bias", "label", "labels", "label_column")


def takes_problem(*, without: Collection[str] = (), **defaults: Any) -> Callable[[Command], Command]:
    """A command of a `request` and other records, whose signature has the options of their fields in their place.

    A record is a Struct whose fields are annotated with their options; `without` names those that the command does
    not have, and `defaults` gives it others.  Without a problem it says how it is used.
    """

    def decorated(command: Command) -> Command:
        context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
        parameters = [context]
        records: dict[str, tuple[Any, Collection[str]]] = {}  # what makes each, and of which options
        for name, parameter in inspect.signature(command, eval_str=True).parameters.items():
            record = parameter.annotation
            if not (isinstance(record, type) and issubclass(record, msgspec.Struct)):
                parameters.append(parameter)
                continue
            options = {key: one for key, one in _parameters(record).items() if key not in without}
            records[name] = (_problem_options if record is ProblemOptions else record), options.keys()
            parameters += [
                one.replace(kind=context.kind, default=defaults.get(key, one.default))
                for key, one in options.items()
            ]

        read, written = _file_options(parameters)

        @wraps(command)
        def with_options(context: typer.Context, **arguments: Any) -> int:
            has_candidate = arguments.get("gradient") or arguments.get("loss")
            outputs = {option: arguments[key] for key, option in written.items()}
            named = (arguments[key] for key in read if arguments[key])
            texts = (text for name in named for text in ([name] if isinstance(name, str) else name))
            may_be_read = [str(formats.with_key(text)[0]) for text in texts]
            for name, (make, options) in records.items():
                arguments[name] = make(**{option: arguments.pop(option) for option in options})
            request = arguments["request"]
            if request.is_nothing and not has_candidate:
                usage, path = context.get_usage(), context.command_path
                typer.echo(f"{usage}\nxegrad: no problem was given; see {path} -h", err=True)
                return TROUBLE
            paths = request.paths
            if not (request.is_stream and os.path.isdir(outputs["-o"] or "")):  # noqa: PTH112
                places.check([*paths, *may_be_read], outputs.items())
            from xegrad.display import screen

            interruptions = nullcontext() if request.is_stream else _saying_interruptions()
            with screen.keeping_notes(), interruptions, memory.max_memory(request.max_memory):
                if len(paths) < 2 or request.is_stream:
                    return command(**arguments)
                from xegrad.cli import several

                return several.run(command, paths, arguments)

        # `inspect.signature`, by which typer learns of the options, looks for it; functions' type does not list it.
        with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return with_options

    return decorated


def _file_options(parameters: Iterable[inspect.Parameter]) -> tuple[list[str], dict[str, str]]:
    """The parameters whose options take a file to read, and those that take one to write, with their options."""
    options = {
        parameter.name: parameter.annotation.__metadata__[0]
        for parameter in parameters
        if hasattr(parameter.annotation, "__metadata__")
    }
    takes_file = {name: option for name, option in options.items() if "FILE" in (option.metavar or "")}
    # Typer takes the first name of an option for a default, until it has seen that there is another.
    written = {name: option.default for name, option in takes_file.items() if option.writable}
    return [name for name in takes_file if name not in written], written


@contextmanager
def _saying_interruptions() -> Iterator[None]:
    """One line says what ended the command; a stream has its summary for that."""
    try:
        yield
    except KeyboardInterrupt:
        from xegrad.display import screen

        screen.announce("interrupted")
        raise


def _parameters(record: type[msgspec.Struct]) -> dict[str, inspect.Parameter]:
    """The options of a record in the order of the help; the `values` of a problem are those of its fields."""
    parameters = dict(inspect.signature(record, eval_str=True).parameters)
    if record is not ProblemOptions:
        return parameters
    values, _ = parameters.pop("values"), parameters.pop("rows")
    of_fields = {}
    for field in FIELDS.values():
        if field.options:
            name, usage = field.parameter, " ".join((*field.options, field.metavar or ""))
            values_of = class_names if field.kind is LABELS else field.words
            own = option(usage, field.help, values=values_of, noun=field.noun)
            kind = list[str] if field.repeats else field.kind.option
            of_fields[name] = values.replace(name=name, default=None, annotation=Annotated[kind | None, own])
    parameters = of_fields | parameters
    return {name: parameters[name] for name in dict.fromkeys((*_FIRST, *parameters))}


def _problem_options(**arguments: Any) -> ProblemOptions:
    """What these arguments say of a problem, by their parameters."""
    values = {key: arguments.pop(field.parameter) for key, field in FIELDS.items() if field.options}
    for key, field in FIELDS.items():
        if field.kind is LIST_OF_NAMES and values[key] is not None:
            values[key] = names_in(values[key])
    texts, rows = values["x"] or [], ()
    for path in arguments["problem"] or ():
        if formats.by_suffix(path) is None and _has_rows(path, with_labels=False):
            raise UsageError(
                f"{short(path)} holds rows, and no problem: put a pattern in quotes, as -x '*.parquet'"
            )
    with_labels = arguments["label_column"] is not None
    if len(texts) > 1 or any(_is_of_data_set(text, with_labels=with_labels) for text in texts):
        rows, texts = tuple(texts), []
    values["x"] = texts[0] if texts else None
    given = {key: value for key, value in values.items() if value is not None}
    return ProblemOptions(given, rows, **arguments)


def _is_of_data_set(text: str, *, with_labels: bool) -> bool:
    """Whether a value is a pattern of files, an address, a folder, or a file of rows."""
    if is_inline(text):
        return False
    if os.path.isfile(text):  # noqa: PTH113
        return _has_rows(text, with_labels=with_labels)
    return "://" in text or any(mark in text for mark in "*?[") or os.path.isdir(text)  # noqa: PTH112


def _has_rows(path: str, *, with_labels: bool) -> bool:
    """Whether a file is read as rows of a data set, by its suffix."""
    from xegrad.data_sets.formats import FORMATS

    entry = FORMATS.get(os.path.splitext(path)[1].lower())  # noqa: PTH122
    return entry is not None and entry.holds_rows(with_labels=with_labels)
