"""The problem of a command line: PROBLEM, with the parts that options give over it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import msgspec

from xegrad import formats
from xegrad.cli import options
from xegrad.errors import InputError, UsageError

if TYPE_CHECKING:
    from xegrad.formats.parts import Parts
    from xegrad.targets import Array


class Given(msgspec.Struct, frozen=True):
    """What a command line says of its problem."""

    problem: list[str] | None
    weights: str | None
    inputs: str | None
    bias: str | None
    label: str | None
    transpose: bool | None
    input_format: str | None
    gradient: str | None = None

    def read(self) -> Parts | None:
        """The parts; None where nothing was given and standard input is a terminal.

        Raises
        ------
        UsageError
            Two problems, or standard input asked for twice.
        InputError
            A problem or a part that cannot be read.
        """
        from xegrad.formats.parts import Parts

        paths = list(self.problem or [])
        if len(paths) > 1:
            raise UsageError(f"one problem is expected, not {len(paths)}: {' '.join(paths)}")
        arrays = {"-W": self.weights, "-x": self.inputs, "-b": self.bias, "--gradient": self.gradient}
        parts = (self.weights, self.inputs, self.bias, self.label)
        if not paths and all(part is None for part in parts):
            if sys.stdin is None or sys.stdin.isatty():
                return None
            paths = ["-"]
        readers = [path for path in paths if path == "-"]
        readers += [option for option, text in arrays.items() if text == "-"]
        if len(readers) > 1:
            raise UsageError(f"standard input holds one thing, but {' and '.join(readers)} ask for it")
        if self.input_format is not None:
            options.choices([self.input_format], formats.FORMATS, "format")
        stated = formats.read_parts(paths[0], self.input_format) if paths else Parts()
        return self._parts().over(stated)

    def candidate(self, stated: Parts) -> tuple[bytes, str] | None:
        """The text of the gradient to judge, and where it came from: the option, else the problem itself."""
        text = self.gradient
        if text is None:
            return None if stated.gradient is None else (stated.gradient, stated.sources["problem"])
        if text.lstrip()[:1] in ("[", "{") or _is_vector(text):
            return text.encode(errors="replace"), "--gradient"
        if text != "-" and not os.path.lexists(text):
            raise _no_such("--gradient", text)
        data, source = formats.load(text, "a gradient is expected")
        return data, f"--gradient {source}"

    def _parts(self) -> Parts:
        """The parts that the options give."""
        from xegrad.formats.parts import Parts, Text

        arrays: dict[str, Array | None] = {}
        sources: dict[str, str] = {}
        classes = None
        for option, symbol, text in (
            ("-W", "W", self.weights),
            ("-x", "x", self.inputs),
            ("-b", "b", self.bias),
        ):
            arrays[symbol] = None
            if text is None:
                continue
            arrays[symbol], names, sources[symbol] = self._array(option, text)
            if symbol == "W" and names is not None and not self.transpose:
                classes, sources["classes"] = names, sources[symbol]
        label: str | Array | None = None
        if self.label is not None:
            sources["label"] = "-y"
            label = Text(self.label.strip())
            if label.startswith("["):
                label, _ = formats.FORMATS["json"].read_array(label.encode(errors="replace"), "-y")
        return Parts(
            weights=arrays["W"],
            inputs=arrays["x"],
            bias=arrays["b"],
            label=label,
            classes=classes,
            transpose=self.transpose,
            sources=sources,
        )

    def _array(self, option: str, text: str) -> tuple[Array, tuple[str, ...] | None, str]:
        """JSON in brackets, numbers with commas, or else a path."""
        if not text:
            raise InputError(f"{option} is empty; numbers, JSON in brackets, or a file are expected")
        if text.lstrip().startswith("["):
            array, names = formats.FORMATS["json"].read_array(text.encode(errors="replace"), option)
            return array, names, option
        if _is_vector(text):
            array, names = formats.FORMATS["csv"].read_array(text.encode(errors="replace"), option)
            return array.ravel(), names, option
        if text != "-" and not os.path.lexists(text):
            raise _no_such(option, text)
        try:
            return formats.read_array(text, self.input_format)
        except InputError as error:
            raise InputError(f"{option} {error}", error.part) from None


def _no_such(option: str, text: str) -> InputError:
    shown = text if len(text) <= 60 else text[:59] + "…"
    return InputError(
        f"{option}: there is no file {shown!r}, nor is it numbers with commas, nor JSON in brackets"
    )


def _is_vector(text: str) -> bool:
    """Whether a value is numbers with commas between; a file called 3 is ./3."""
    try:
        return text.isascii() and not set(text) & set("_\n") and bool([float(c) for c in text.split(",")])
    except ValueError:
        return False
