"""The problem of a command line: PROBLEM, with the parts that options give over it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import msgspec

from xegrad import formats
from xegrad.cli.choices import choice
from xegrad.errors import InputError, UsageError
from xegrad.vocabulary import COMPUTED_IN, REDUCTIONS

if TYPE_CHECKING:
    from xegrad.formats.claim import Written
    from xegrad.formats.csv import DataSet
    from xegrad.formats.parts import Parts, Table

# The parts that are arrays: the option, and the symbol, of each.
_ARRAYS = {
    "weights": ("-W", "W"),
    "inputs": ("-x", "x"),
    "bias": ("-b", "b"),
    "class_weights": ("--class-weights", "class_weights"),
}


class Given(msgspec.Struct, frozen=True):
    """What a command line says of its problem."""

    problem: list[str] | None = None
    weights: str | None = None
    inputs: str | None = None
    bias: str | None = None
    label: str | None = None
    labels: str | None = None
    label_column: str | None = None
    classes: list[str] | None = None
    transpose: bool | None = None
    class_weights: str | None = None
    label_smoothing: float | None = None
    ignore_index: int | None = None
    reduction: str | None = None
    dtype: str | None = None
    input_format: str | None = None

    @property
    def paths(self) -> list[str]:
        """The problems; standard input where nothing else was given and it is no terminal.

        Raises
        ------
        UsageError
            A word that is none of those an option knows.
        """
        for given, known, what in (
            (self.reduction, REDUCTIONS, "reduction"),
            (self.dtype, COMPUTED_IN, "precision"),
            (self.input_format, formats.FORMATS, "format"),
        ):
            if given is not None:
                choice(given, known, what)
        if self.problem:
            return list(self.problem)
        parts = (self.weights, self.inputs, self.bias, self.label, self.labels)
        if any(part is not None for part in parts) or sys.stdin is None or sys.stdin.isatty():
            return []
        return ["-"]

    @property
    def is_stream(self) -> bool:
        """Whether the problems come as a stream, one on each line."""
        named = [formats.by_suffix(path) for path in self.paths]
        return any(
            entry.name == "ndjson" if entry is not None else self.input_format == "ndjson" for entry in named
        )

    def check_stream(self) -> None:
        """Raise UsageError unless every path is a stream, and standard input is asked for once."""
        for path in self.paths:
            entry = formats.by_suffix(path)
            if entry is not None and entry.name != "ndjson":
                raise UsageError(f"{path} is {entry.name}, among streams of NDJSON; give it apart")
        self._check_readers()

    def _check_readers(self, *others: tuple[str, str | None]) -> None:
        """Raise UsageError where standard input is asked for twice."""
        given = [(option, getattr(self, name)) for name, (option, _) in _ARRAYS.items()]
        readers = [path for path in self.paths if path == "-"]
        readers += [option for option, text in (*given, ("--labels", self.labels), *others) if text == "-"]
        if len(readers) > 1:
            raise UsageError(f"standard input holds one thing, but {' and '.join(readers)} ask for it")

    @property
    def is_nothing(self) -> bool:
        """Whether nothing was given, and standard input is a terminal."""
        return not self.paths and all(getattr(self, name) is None for name in self.__struct_fields__)

    @property
    def files(self) -> list[str]:
        """Every value that may be a file, so that nothing is written over it."""
        values = [*self.paths, self.weights, self.inputs, self.bias, self.labels, self.class_weights]
        return [str(formats.with_key(value)[0]) for value in values if value is not None]

    def read(self, *others: tuple[str, str | None]) -> Parts:
        """The parts.  `others` are more options that may ask for standard input.

        Raises
        ------
        UsageError
            Two problems, or standard input asked for twice.
        InputError
            A problem or a part that cannot be read.
        """
        from xegrad.formats.parts import Parts

        paths = self.paths
        if len(paths) > 1:
            raise UsageError(f"one problem is expected, not {len(paths)}: {' '.join(paths)}")
        self._check_readers(*others)
        stated = formats.read_parts(paths[0], self.input_format) if paths else Parts()
        return self.parts().over(stated)

    def parts(self) -> Parts:
        """The parts that the options give."""
        from xegrad.formats.parts import Parts

        given: dict[str, Any] = {
            name: value
            for name in ("transpose", "label_smoothing", "ignore_index", "reduction", "dtype")
            if (value := getattr(self, name)) is not None
        }
        sources = {name: f"--{name.replace('_', '-')}" for name in given}
        if self.label_column is not None:
            found, sources["x"] = self._data_set()
            sources["label"] = f"{sources['x']}: {self.label_column}"
            given |= {"inputs": found.inputs, "label": found.labels, "labels_are_a_column": True}
        for name, (option, symbol) in _ARRAYS.items():
            text = getattr(self, name)
            if text is None or name in given:
                continue
            table, sources[symbol] = self._array(option, symbol, text)
            given[name] = table.values
            if symbol == "W":
                if table.transpose is not None:
                    given.setdefault("transpose", table.transpose)
                if table.names is not None and not given.get("transpose"):
                    given["classes"], sources["classes"] = table.names, sources["W"]
        if self.classes is not None:
            given["classes"] = tuple(name.strip() for text in self.classes for name in text.split(","))
            sources["classes"] = "--classes"
        given |= self._labels(sources)
        return Parts(**given, sources=sources)

    def _labels(self, sources: dict[str, str]) -> dict[str, Any]:
        """The one of -y, --labels and --label-column that is there."""
        options = {"-y": self.label, "--labels": self.labels, "--label-column": self.label_column}
        ask = [option for option, value in options.items() if value is not None]
        if len(ask) > 1:
            raise UsageError(f"{' and '.join(ask)} both give the labels; one of them does")
        if self.labels is not None:
            if self.labels != "-" and not os.path.lexists(formats.with_key(self.labels)[0]):
                raise _no_such("--labels", self.labels, "a file is expected; -y takes a value")
            label, source = formats.read_labels(self.labels, self.input_format)
            sources["label"] = f"--labels {source}"
            return {"label": label}
        if self.label is None:
            return {}
        from xegrad.formats.parts import Text

        sources["label"] = "-y"
        text = self.label.strip()
        if not text.startswith("["):
            return {"label": Text(text)}
        return {"label": formats.FORMATS["json"].read_labels(text.encode(errors="replace"), "-y")}

    def _data_set(self) -> tuple[DataSet, str]:
        """The rows and labels of -x FILE; a note says which columns were left out."""
        from xegrad.formats import csv

        if self.inputs is None or _is_inline(self.inputs):
            raise UsageError("--label-column names a column of a data set: give its file with -x data.csv")
        if self.inputs != "-" and not os.path.lexists(self.inputs):
            raise _no_such("-x", self.inputs, "a data set in CSV is expected")
        data, source = formats.load(self.inputs, "a data set is expected")
        assert self.label_column is not None
        found = csv.read_data_set(data, source, self.label_column)
        if found.left_out:
            sys.stderr.write(
                f"xegrad: {source}: x is {', '.join(found.columns)}; left out, since not numbers: "
                f"{', '.join(found.left_out)}\n"
            )
        return found, source

    def _array(self, option: str, symbol: str, text: str) -> tuple[Table, str]:
        """JSON in brackets, numbers with commas, or else a path."""
        from xegrad.formats.parts import Table

        if not text:
            raise InputError(f"{option} is empty; numbers, JSON in brackets, or a file are expected")
        if text.lstrip().startswith("["):
            return formats.FORMATS["json"].read_array(text.encode(errors="replace"), option, symbol), option
        if _is_vector(text):
            table = formats.FORMATS["csv"].read_array(text.encode(errors="replace"), option, symbol)
            return Table(values=table.values.ravel()), option
        if text != "-" and not os.path.lexists(formats.with_key(text)[0]):
            raise _no_such(option, text)
        try:
            return formats.read_array(text, symbol, self.input_format)
        except InputError as error:
            raise InputError(f"{option} {error}", error.part) from None


def claimed_gradient(text: str | None, parts: Parts) -> Written | None:
    """The gradient to judge: that of --gradient, else of the problem itself."""
    from xegrad.formats.claim import Written

    if text is None:
        return None if parts.gradient is None else Written(parts.gradient, parts.sources["problem"])
    if _is_inline(text):
        return Written(text.encode(errors="replace"), "--gradient")
    path, key = formats.with_key(text)
    if text != "-" and not os.path.lexists(path):
        raise _no_such("--gradient", text)
    data, source = formats.load(path, "a gradient is expected")
    return Written(data, f"--gradient {source}", key)


def claimed_loss(text: str | None, parts: Parts) -> Written | None:
    """The loss to judge: that of --loss, else of the problem itself."""
    from xegrad.formats.claim import Written

    if text is not None:
        return Written(text.encode(errors="replace"), "--loss")
    return None if parts.loss is None else Written(parts.loss, parts.sources.get("problem", "loss"))


def _is_inline(text: str) -> bool:
    return text.lstrip()[:1] in ("[", "{") or _is_vector(text)


def _no_such(
    option: str, text: str, rest: str = "nor is it numbers with commas, nor JSON in brackets"
) -> InputError:
    shown = text if len(text) <= 60 else text[:59] + "…"
    return InputError(f"{option}: there is no file {shown!r}, {rest}")


def _is_vector(text: str) -> bool:
    """Whether a value is numbers with commas between; a file called 3 is ./3."""
    try:
        return text.isascii() and not set(text) & set("_\n") and bool([float(c) for c in text.split(",")])
    except ValueError:
        return False
