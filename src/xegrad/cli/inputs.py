"""The problem of a command line: PROBLEM, with the values that options give over it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from xegrad import formats
from xegrad.cli.choices import MaxMemory, option
from xegrad.errors import LONGEST, InputError, UsageError, listed, short
from xegrad.naming import source_name
from xegrad.problem_spec import ARRAY, CLAIMS, FIELDS, LABELS
from xegrad.vocabulary import NAMES

if TYPE_CHECKING:
    from xegrad.formats.claim import Written
    from xegrad.formats.raw_problem import RawProblem


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
        if path is None or is_inline(path):
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

    if is_inline(text):
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


def is_inline(text: str) -> bool:
    """Whether a value is JSON in brackets, or numbers with commas; else it names a file."""
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
