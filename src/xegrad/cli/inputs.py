"""The problem of a command line: PROBLEM, with the values that options give over it."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from xegrad import formats, memory
from xegrad.cli import TROUBLE, places
from xegrad.cli.choices import MaxMemory, class_names, option
from xegrad.errors import LONGEST, InputError, UsageError, listed, short
from xegrad.naming import source_name
from xegrad.problem_spec import ARRAY, CLAIMS, FIELDS, LABELS, LIST_OF_NAMES
from xegrad.vocabulary import NAMES

if TYPE_CHECKING:
    from xegrad.formats.claim import Written
    from xegrad.formats.raw_problem import RawProblem


Command = Callable[..., int]


class ProblemOptions(msgspec.Struct, frozen=True):
    """What a command line says of its problem: `values` are those of the fields' options, by the fields' keys; `rows`
    are the files of a data set."""

    values: Mapping[str, Any] = {}
    rows: tuple[str, ...] = ()
    problem: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PROBLEM]...",
            help="A file, or - for standard input. JSON, CSV, NPZ, safetensors, or NDJSON, a stream of problems. "
            "Several files give several results.",
            show_default=False,
        ),
    ] = None
    labels: Annotated[str | None, option("FILE", "A file with the label, or the target, of each row.")] = None
    label_column: Annotated[
        str | None, option("NAME", "The column of -x data.csv that holds the labels.")
    ] = None
    input_format: Annotated[
        str | None,
        option(
            "--input-format FORMAT",
            f"The format of the files, whatever their suffix. {', '.join(formats.FORMATS)}; or, for a gradient that "
            f"is bytes of memory, {', '.join(formats.RAW)}.",
            values=(*formats.FORMATS, *formats.RAW),
            noun="format",
        ),
    ] = None
    max_memory: MaxMemory = None

    @property
    def paths(self) -> list[str]:
        """The problems; standard input where nothing else was given and it is no terminal."""
        if self.problem:
            return self.problem
        has_parts = self.labels or self.rows or any(key in self.values for key in (*NAMES, "label"))
        return [] if has_parts or sys.stdin.isatty() else ["-"]

    @property
    def is_stream(self) -> bool:
        """Whether the problems come as a stream, one on each line; raise UsageError where only some of them do."""
        unnamed = "ndjson" if self.input_format == "ndjson" else ""
        names = {path: entry.name if (entry := formats.by_suffix(path)) else unnamed for path in self.paths}
        for path, name in names.items():
            if "ndjson" in names.values() and name not in ("ndjson", ""):
                raise UsageError(f"{path} is {name}, among streams of NDJSON; give it apart")
        return "ndjson" in names.values()

    @property
    def readable(self) -> dict[str, str]:
        """The values that may be files, by their options."""
        arrays = {FIELDS[key].option: text for key, text in self.values.items() if FIELDS[key].kind is ARRAY}
        return arrays | ({} if self.labels is None else {"--labels": self.labels})

    def check_readers(self, *others: tuple[str, str | None]) -> None:
        """Raise UsageError where standard input is asked for twice."""
        readers = [path for path in self.paths if path == "-"]
        readers += [option for option, text in (*self.readable.items(), *others) if text == "-"]
        if len(readers) > 1:
            raise UsageError(f"standard input holds one thing, but {' and '.join(readers)} ask for it")

    @property
    def is_nothing(self) -> bool:
        """Whether nothing was given, and standard input is a terminal."""
        given = (self.paths, self.values, self.rows, self.labels, self.label_column, self.input_format)
        return not any(given)

    def read(self, *others: tuple[str, str | None]) -> RawProblem:
        """The problem.  `others` are more options that may ask for standard input."""
        paths = self.paths
        self.check_readers(*others)
        problem = formats.read_raw(paths[0], self.input_format) if paths else None
        return self.parts() if problem is None else self.parts().over(problem)

    def parts(self) -> RawProblem:
        """What the options give of it."""
        from xegrad.formats.raw_problem import RawProblem

        if self.rows:
            raise UsageError(
                f"-x {self.rows[0]}: a data set in many files, or not in CSV, is for compute, verify and descend "
                "of one problem, and for no stream"
            )

        values = {key: value for key, value in self.values.items() if FIELDS[key].kind not in (ARRAY, LABELS)}
        raw = RawProblem(values, {key: FIELDS[key].option for key in values})
        if self.label_column is not None:
            raw = raw.over(self._data_set(self.label_column))
        beside: dict[str, frozenset[str]] = {}
        for key, text in self.values.items():
            if FIELDS[key].kind is ARRAY and key not in raw.values:
                part = _part(key, text, self.input_format)
                file = str(formats.with_key(text)[0])
                beside[file] = part.beside & beside.get(file, part.beside)
                if raw.values.get("transpose"):
                    part = _with_named_inputs(part)
                raw = raw.over(part)
        for file, keys in beside.items():
            if self.labels and file == str(formats.with_key(self.labels)[0]):
                keys -= {"label"}
            if keys and file not in self.paths:
                from xegrad.display import screen

                screen.note(
                    f"{source_name(file)} also holds {listed(sorted(keys), last=' and ')}, not used here"
                )
        return raw.over(self._labels())

    def _labels(self) -> RawProblem:
        """The one of -y, --labels and --label-column that is there."""
        from xegrad.formats.labels import LabelText
        from xegrad.formats.raw_problem import RawProblem

        text = self.values.get("label")
        options = {"-y": text, "--labels": self.labels, "--label-column": self.label_column}
        ask = [option for option, value in options.items() if value is not None]
        if len(ask) > 1:
            raise UsageError(f"{' and '.join(ask)} both give the labels; one of them does")
        if self.labels is not None:
            _check_file("--labels", self.labels, "a file is expected; -y takes a value")
            raw = _with_note(
                formats.read_raw(self.labels, self.input_format, "label"), f"--labels {self.labels}"
            )
            return RawProblem(raw.values, {"label": f"--labels {raw.sources['label']}"})
        if text is None:
            return RawProblem()
        if text.lstrip().startswith("["):
            return _part("label", text.strip(), self.input_format)
        return RawProblem({"label": LabelText(text.strip())}, {"label": "-y"})

    def _data_set(self, label_column: str) -> RawProblem:
        """The rows and labels of -x FILE; a note says which columns were left out."""
        from xegrad.formats import csv

        path = self.values.get("x")
        if path is None or _is_inline(path):
            raise UsageError("--label-column names a column of a data set: give its file with -x data.csv")
        _check_file("-x", path, "a data set in CSV is expected")
        data, source = formats.read_bytes(path, "a data set is expected")
        if (binary := formats.binary_format(data)) is not None:
            raise InputError(f"{source}: this is {binary.name.upper()}; a data set in CSV is expected")
        return _with_note(csv.read_data_set(data, source, label_column), source)


def _with_note(raw: RawProblem, source: str) -> RawProblem:
    """The same; what of its file was left out is said on standard error."""
    if raw.note:
        from xegrad.display import screen

        screen.note(f"{source}: {raw.note}")
    return raw


def _part(key: str, text: str, input_format: str | None) -> RawProblem:
    """JSON in brackets, numbers with commas, or else a path."""
    option = FIELDS[key].option
    if not text:
        raise InputError(f"{option} is empty; numbers, JSON in brackets, or a file are expected")
    if text.lstrip().startswith("["):
        return formats.FORMATS["json"].load(text.encode(errors="replace"), option, key)
    if _is_vector(text):
        part = formats.FORMATS["csv"].load(text.encode(), option, key)
        return msgspec.structs.replace(part, values={key: part.values[key].ravel()})
    _check_file(option, text)
    try:
        return _with_note(formats.read_raw(text, input_format, key), f"{option} {text}")
    except InputError as error:
        raise InputError(f"{option} {error}", error.part) from None


def claims(
    raw: RawProblem, gradient: str | None, loss: str | None, input_format: str | None = None
) -> list[Written]:
    """What there is to judge: the values of --loss and --gradient, and what the problem brings beside them."""
    from xegrad.formats.claim import Written

    written = [] if loss is None else [Written(loss.encode(errors="replace"), "--loss", of="loss")]
    if gradient is not None:
        written.append(_gradient(gradient, input_format))
    # --gradient stands in the place of all of it that leads to a gradient.
    kept = CLAIMS if gradient is None else ("loss",)
    of_problem = {key: raw.values[key] for key in kept if key in raw.values}
    if "gradient" in of_problem and "with_respect_to" in raw.values:
        of_problem["with_respect_to"] = raw.values["with_respect_to"]
    if of_problem:
        written.append(Written(of_problem, raw.sources.get("problem", "")))
    return written


def _gradient(text: str, input_format: str | None) -> Written:
    """The value of --gradient, which may be a file."""
    from xegrad.formats.claim import Written

    if _is_inline(text):
        return Written(text.encode(errors="replace"), "--gradient")
    _check_file("--gradient", text)
    path, key = formats.with_key(text)
    dtype = None if formats.by_suffix(path) else formats.RAW.get(input_format or "")
    or_else = "; if these are bare numbers, say how they lie in memory, as --input-format raw:float32"
    data, source = formats.read_bytes(
        path, "a gradient is expected", is_text=dtype is None, is_claim=True, or_else=or_else
    )
    return Written(data, f"--gradient {source}", key, dtype)


def _with_named_inputs(part: RawProblem) -> RawProblem:
    """A W that is transposed: its columns, which its header names, are inputs."""
    if "classes" not in part.values:
        return part
    values = {**part.without("classes").values, "input_names": part.values["classes"]}
    return msgspec.structs.replace(part, values=values)


def _is_inline(text: str) -> bool:
    return text.lstrip()[:1] in ("[", "{") or _is_vector(text)


def _check_file(
    option: str, text: str, rest: str = "nor is it numbers with commas, nor JSON in brackets"
) -> None:
    """Raise InputError where there is no such file."""
    if text != "-" and not os.path.lexists(formats.with_key(text)[0]):
        raise InputError(f"{option}: there is no file {short(text, LONGEST)!r}, {rest}")


def _is_vector(text: str) -> bool:
    """Whether a value is numbers with commas between; a file called 3 is ./3."""
    try:
        return text.isascii() and not set(text) & set("_\n") and bool([*map(float, text.split(","))])
    except ValueError:
        return False


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
                places.check([*paths, *may_be_read], outputs)
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
            values[key] = tuple(name.strip() for text in values[key] for name in text.split(","))
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
    if _is_inline(text):
        return False
    if os.path.isfile(text):  # noqa: PTH113
        return _has_rows(text, with_labels=with_labels)
    return "://" in text or any(mark in text for mark in "*?[") or os.path.isdir(text)  # noqa: PTH112


def _has_rows(path: str, *, with_labels: bool) -> bool:
    """Whether a file is read as rows of a data set, by its suffix."""
    from xegrad.data_sets.formats import FORMATS

    entry = FORMATS.get(os.path.splitext(path)[1].lower())  # noqa: PTH122
    return entry is not None and entry.holds_rows(with_labels=with_labels)
