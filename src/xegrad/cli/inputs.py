"""The problem of a command line: PROBLEM, with the values that options give over it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import msgspec
import typer

from xegrad import formats
from xegrad.cli.choices import choice, option
from xegrad.errors import InputError, UsageError
from xegrad.problem_spec import ARRAY, FIELDS, LABELS
from xegrad.vocabulary import NAMES

if TYPE_CHECKING:
    from xegrad.formats.claim import Written
    from xegrad.formats.raw_problem import RawProblem


class ProblemOptions(msgspec.Struct, frozen=True):
    """What a command line says of its problem: `values` are those of the fields' options, by the fields' keys."""

    values: Mapping[str, Any] = {}
    problem: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PROBLEM]",
            help="A file (JSON, CSV, NPZ, safetensors, NDJSON), or - for standard input.",
            show_default=False,
        ),
    ] = None
    labels: Annotated[
        str | None, option("--labels FILE", "The labels, or a row of targets for each row of x.")
    ] = None
    label_column: Annotated[
        str | None, option("--label-column NAME", "The column of a data set (-x data.csv) that is the label.")
    ] = None
    input_format: Annotated[
        str | None,
        option(
            f"--input-format {'|'.join(formats.FORMATS)}",
            "Where the suffix does not say it.",
            values=formats.FORMATS,
        ),
    ] = None

    def __post_init__(self) -> None:
        """Raise UsageError for a word that is none of those an option knows."""
        for key, value in self.values.items():
            if FIELDS[key].words:
                choice(value, FIELDS[key].words, FIELDS[key].noun)
        if self.input_format is not None:
            choice(self.input_format, formats.FORMATS, "format")

    @property
    def paths(self) -> list[str]:
        """The problems; standard input where nothing else was given and it is no terminal."""
        if self.problem:
            return self.problem
        has_parts = self.labels is not None or any(key in self.values for key in (*NAMES, "label"))
        if has_parts or sys.stdin is None or sys.stdin.isatty():
            return []
        return ["-"]

    @property
    def is_stream(self) -> bool:
        """Whether the problems come as a stream, one on each line; raise UsageError where only some of them do."""
        by_suffix = {path: format.name for path in self.paths if (format := formats.by_suffix(path))}
        is_named = self.input_format == "ndjson" and len(by_suffix) < len({*self.paths})
        if not is_named and "ndjson" not in by_suffix.values():
            return False
        for path, name in by_suffix.items():
            if name != "ndjson":
                raise UsageError(f"{path} is {name}, among streams of NDJSON; give it apart")
        return True

    @property
    def _readable(self) -> dict[str, str]:
        """The values that may be files, by their options."""
        arrays = {FIELDS[key].option: text for key, text in self.values.items() if FIELDS[key].kind is ARRAY}
        return arrays | ({} if self.labels is None else {"--labels": self.labels})

    def check_readers(self, *others: tuple[str, str | None]) -> None:
        """Raise UsageError where standard input is asked for twice."""
        readers = [path for path in self.paths if path == "-"]
        readers += [option for option, text in (*self._readable.items(), *others) if text == "-"]
        if len(readers) > 1:
            raise UsageError(f"standard input holds one thing, but {' and '.join(readers)} ask for it")

    @property
    def is_nothing(self) -> bool:
        """Whether nothing was given, and standard input is a terminal."""
        others = (self.labels, self.label_column, self.input_format)
        return not self.paths and not self.values and not any(others)

    @property
    def files(self) -> list[str]:
        """Every value that may be a file, so that nothing is written over it."""
        return [str(formats.with_key(value)[0]) for value in (*self.paths, *self._readable.values())]

    def read(self, *others: tuple[str, str | None]) -> RawProblem:
        """The problem.  `others` are more options that may ask for standard input."""
        paths = self.paths
        if len(paths) > 1:
            raise UsageError(f"one problem is expected, not {len(paths)}: {' '.join(paths)}")
        self.check_readers(*others)
        problem = formats.read_raw(paths[0], self.input_format) if paths else None
        return self.parts() if problem is None else self.parts().over(problem)

    def parts(self) -> RawProblem:
        """What the options give of it."""
        from xegrad.formats.raw_problem import RawProblem

        values = {key: value for key, value in self.values.items() if FIELDS[key].kind not in (ARRAY, LABELS)}
        raw = RawProblem(values, {key: FIELDS[key].option for key in values})
        if self.label_column is not None:
            raw = raw.over(self._data_set(self.label_column))
        for key, text in self.values.items():
            if FIELDS[key].kind is ARRAY and key not in raw.values:
                part = _part(key, text, self.input_format)
                # The columns of a W that is transposed are its inputs.
                raw = raw.over(part.without("classes") if raw.values.get("transpose") else part)
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
            raw = formats.read_raw(self.labels, self.input_format, "label")
            return RawProblem(raw.values, {"label": f"--labels {raw.sources['label']}"})
        if text is None:
            return RawProblem()
        if not text.strip().startswith("["):
            return RawProblem({"label": LabelText(text.strip())}, {"label": "-y"})
        return formats.FORMATS["json"].load(text.strip().encode(errors="replace"), "-y", "label")

    def _data_set(self, label_column: str) -> RawProblem:
        """The rows and labels of -x FILE; a note says which columns were left out."""
        from xegrad.formats import csv

        path = self.values.get("x")
        if path is None or _is_inline(path):
            raise UsageError("--label-column names a column of a data set: give its file with -x data.csv")
        _check_file("-x", path, "a data set in CSV is expected")
        data, source = formats.read_bytes(path, "a data set is expected")
        raw, note = csv.read_data_set(data, source, label_column)
        if note:
            sys.stderr.write(f"xegrad: {source}: {note}\n")
        return raw


# These options come first in the help, those of the other fields after them.
_FIRST = ("problem", "weights", "inputs", "bias", "label", "labels", "label_column")


def problem_annotations() -> dict[str, Any]:
    """The type and the option of every parameter that says something of a problem, in the order of the help."""
    annotations = {
        field.parameter: Annotated[
            field.kind.option | None,
            option(" ".join((*field.options, field.metavar or "")), field.help, values=field.words),
        ]
        for field in FIELDS.values()
        if field.options
    }
    annotations |= get_type_hints(ProblemOptions, include_extras=True)
    return {name: annotations[name] for name in dict.fromkeys((*_FIRST, *annotations)) if name != "values"}


def problem_options(**arguments: Any) -> ProblemOptions:
    """What these arguments say of a problem, by their parameters."""
    values = {key: arguments.pop(field.parameter) for key, field in FIELDS.items() if field.options}
    if values["classes"] is not None:
        values["classes"] = tuple(name.strip() for text in values["classes"] for name in text.split(","))
    return ProblemOptions({key: value for key, value in values.items() if value is not None}, **arguments)


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
        return formats.read_raw(text, input_format, key)
    except InputError as error:
        raise InputError(f"{option} {error}", error.part) from None


def claimed(key: str, text: str | None, raw: RawProblem) -> Written | None:
    """The gradient or the loss to judge: that of its option, else of the problem itself."""
    from xegrad.formats.claim import Written

    if text is None:
        value = raw.values.get(key)
        return None if value is None else Written(value, raw.sources.get("problem", ""))
    if key == "loss" or _is_inline(text):
        return Written(text.encode(errors="replace"), f"--{key}")
    _check_file(f"--{key}", text)
    path, file_key = formats.with_key(text)
    data, source = formats.read_bytes(path, "a gradient is expected")
    return Written(data, f"--{key} {source}", file_key)


def _is_inline(text: str) -> bool:
    return text.lstrip()[:1] in ("[", "{") or _is_vector(text)


def _check_file(
    option: str, text: str, rest: str = "nor is it numbers with commas, nor JSON in brackets"
) -> None:
    """Raise InputError where there is no such file."""
    if text != "-" and not os.path.lexists(formats.with_key(text)[0]):
        shown = text if len(text) <= 60 else text[:59] + "…"
        raise InputError(f"{option}: there is no file {shown!r}, {rest}")


def _is_vector(text: str) -> bool:
    """Whether a value is numbers with commas between; a file called 3 is ./3."""
    try:
        return text.isascii() and not set(text) & set("_\n") and bool([float(c) for c in text.split(",")])
    except ValueError:
        return False
