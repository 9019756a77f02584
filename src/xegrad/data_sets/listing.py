"""The files of a data set, their columns and its classes, checked before anything is computed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike

from xegrad.data_sets import File
from xegrad.data_sets.formats import FLOATS, FORMATS, LABELS, NUMBERS, Columns, Format, Names
from xegrad.data_sets.labels import Labels
from xegrad.data_sets.reading import InFiles
from xegrad.data_sets.sources import expanded, mark, named, opened
from xegrad.errors import InputError, listed, shown
from xegrad.naming import classes_in

# What numbers the rows, as pandas writes it: no input unless it is asked for.
_IS_INDEX = re.compile(r"|__index_level_\d+__")

# Types of numbers that are not read: whoever asks for all columns of numbers may mean them.
_NOT_READ = re.compile(r"(decimal|complex|clongdouble|longdouble|float96|float128).*")

Types = Mapping[str, str]  # of columns, by their names


def in_files(
    paths: Sequence[str | PathLike[str]],
    label_column: str,
    n_classes: int,
    *,
    columns: Sequence[str] | None = None,
    weight_column: str | None = None,
    classes: Sequence[str] | None = None,
    ignore_index: int | None = None,
) -> InFiles:
    """The rows of files, in the order of their sorted paths.

    Parameters
    ----------
    paths : of files, or globs or folders of them, here or behind a URL
    label_column, weight_column : str
        Columns by name; of an NPY table by index, also from its end.
    n_classes : int
        T, as W has them.
    columns : sequence of str, optional
        Those that are inputs, in this order; else all columns of numbers but the label and the weight, in the order of
        the first file.
    classes : sequence of str, optional
        The names of the classes; if there are none and the labels are text, all labels are read once.
    ignore_index : int, optional
        A label of rows that do not count.

    Raises
    ------
    InputError
        What names no file, a file that cannot be read, or one whose columns do not fit.
    """
    names = expanded([*map(str, paths)], FORMATS)
    kind = _format(names)
    module = kind.load()
    files, tables = [], {}
    for path in names:
        with opened(path, kind.name) as file:
            listed_as = mark(path)
            found, pieces = module.listed(file)
            tables[path] = _types(found)
        files.append(File(path, listed_as, tuple(piece for piece in pieces if piece.n_rows)))
    with_rows = [file.path for file in files if file.n_rows]
    if not with_rows:
        raise InputError(
            f"no row is in {names[0]}{' or the other files' * (len(names) > 1)}; a data set has one at least"
        )
    first = with_rows[0]
    label = _resolved(label_column, tables[first])
    weight = None if weight_column is None else _resolved(weight_column, tables[first])
    if columns is not None and not columns:
        raise InputError("the inputs are no columns; name one at least")
    if columns is None:
        inputs = tuple(_numbers(tables[first], {label, weight}))
    else:
        inputs = tuple(_resolved(name, tables[first]) for name in columns)
    _check_roles(first, inputs, label, weight)
    has_columns = {path: types for path, types in tables.items() if types}  # a file of no bytes has none
    for path, types in has_columns.items():
        _check(path, types, inputs, label, weight, may_be_float=kind.name == "NPY")
        if columns is None:
            for name, kind_of_column in types.items():
                if name not in (label, weight):
                    _check_is_read(path, name, kind_of_column)
            for name in _numbers(types, {label, weight, *inputs}):
                _check_more(path, name, types[name], first, tables[first].get(name))
    is_single = all(types[name] == "float32" for types in has_columns.values() for name in inputs)
    data = InFiles(
        n_rows=sum(file.n_rows for file in files),
        n_inputs=len(inputs),
        dtype="float32" if is_single else "float64",
        classes=None if classes is None else tuple(classes),
        has_weights=weight is not None,
        files=tuple(files),
        format=kind,
        inputs=inputs,
        label=label,
        weight=weight,
        labels=Labels(n_classes, None if classes is None else tuple(classes), ignore_index),
    )
    return data if classes is not None else _with_classes(data, has_columns)


def _format(paths: Sequence[str]) -> Format:
    """The one format of all files."""
    kinds: dict[Format, str] = {}
    for path in paths:
        suffix = next((suffix for suffix in FORMATS if named(path).endswith(suffix)), None)
        if suffix is None:
            raise InputError(f"{path} ends in none of {listed(FORMATS)}, the formats of data sets")
        kinds.setdefault(FORMATS[suffix], path)
    if len(kinds) > 1:
        (one, path), (other, other_path) = [*kinds.items()][:2]
        raise InputError(
            f"{path} is {one.name} and {other_path} is {other.name}; the files of a data set are of one format"
        )
    return next(iter(kinds))


def _types(columns: Columns) -> Types:
    types: dict[str, str] = {}
    for name, kind in columns:
        if name and name in types:
            raise InputError(f"has two columns named {shown(name)}")
        types[name] = "several columns" if name in types else kind  # that have no name
    return types


def _resolved(name: str, types: Types) -> str:
    """The name of a column; of columns that have indices for names one may be counted from the end."""
    if re.fullmatch(r"-\d{1,9}", name) and name not in types and [*types] == [*map(str, range(len(types)))]:
        index = len(types) + int(name)
        return str(index) if index >= 0 else name
    return name


def _numbers(types: Types, others: set[str | None]) -> Iterator[str]:
    """The columns of numbers but some."""
    for name, kind in types.items():
        if kind in NUMBERS and name not in others and not _IS_INDEX.fullmatch(name):
            yield name


def _check_roles(path: str, inputs: Sequence[str], label: str, weight: str | None) -> None:
    """One column is one thing."""
    roles = [*inputs, label, *([] if weight is None else [weight])]
    if doubled := [name for name, times in Counter(roles).items() if times > 1]:
        raise InputError(
            f"column {shown(doubled[0])} is asked for twice; it is one input, or the label, or the weight"
        )
    if not inputs:
        raise InputError(f"{path} has no column of numbers beside the label; an input is one")


def _check(
    path: str, types: Types, inputs: Sequence[str], label: str, weight: str | None, *, may_be_float: bool
) -> None:
    """The columns that are needed are there, and of the type that they need."""
    labels = LABELS | FLOATS if may_be_float else LABELS
    numbers = [*inputs, *([] if weight is None else [weight])]
    for name, allowed in [(label, labels), *((name, NUMBERS) for name in numbers)]:
        if name not in types:
            raise InputError(f"{path} has no column {shown(name)}; its columns are {listed(types)}")
        if types[name] not in allowed:
            expected = "whole numbers or text" if name == label else "numbers"
            found = "floats" if types[name] == "number" else types[name]
            raise InputError(f"{path}: column {shown(name)} holds {found}; {expected} are expected")


def _check_is_read(path: str, name: str, kind: str) -> None:
    """A column of numbers is not left out without a word."""
    if _NOT_READ.fullmatch(kind):
        raise InputError(
            f"{path}: column {shown(name)} holds {kind}; float64, float32 or float16 and whole numbers are read. "
            "Name the inputs with --columns, or store it as float64"
        )


def _check_more(path: str, name: str, kind: str, first: str, kind_in_first: str | None) -> None:
    """A column of numbers that is no input by default is one that no file has."""
    if kind_in_first is None:
        raise InputError(
            f"{path} has a column {shown(name)}, which {first} has not; name the inputs with --columns"
        )
    if kind != "nothing":
        raise InputError(
            f"{path}: column {shown(name)} holds numbers, and that of {first} {kind_in_first}; "
            "name the inputs with --columns"
        )


def _with_classes(data: InFiles, tables: Mapping[str, Types]) -> InFiles:
    """With the classes that labels of text name, after one pass over all of them."""
    from msgspec.structs import replace

    kinds = {tables[file.path][data.label]: file.path for file in data.files if file.n_rows}
    if "text" not in kinds:
        return data
    if others := [kind for kind in kinds if kind not in ("text", "nothing")]:
        raise InputError(
            f"{kinds['text']}: column {shown(data.label)} holds text, and that of {kinds[others[0]]} whole numbers; "
            "name the classes, in the order of W's columns, with --classes"
        )
    texts: set[str] = set()
    for file in data.files:
        for batch in data.read(file, file.pieces, ()):
            assert isinstance(batch.labels, Names)
            texts.update(label for label in batch.labels.distinct if isinstance(label, str))
    classes = classes_in({text.strip() for text in texts} - {""}, data.labels.n_classes)
    return replace(data, classes=classes, labels=replace(data.labels, classes=classes))
