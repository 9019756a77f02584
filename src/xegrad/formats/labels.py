"""Labels as people write them, and the Targets that they make."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xegrad.errors import InputError, listed, nearest, short, shown
from xegrad.formats.values import array_of_rows, vector
from xegrad.naming import INDEX, index_in
from xegrad.targets import Targets


class LabelText(str):
    """A label from a shell or a cell: a class name if it equals one, else an index."""

    __slots__ = ()


# An index, a class name, text that may be either, a list of these, or targets.
Label = int | str | list[Any] | NDArray[Any]


def targets(
    label: Label,
    n_rows: int | None,
    n_classes: int,
    classes: tuple[str, ...] | None,
    options: Mapping[str, Any],
) -> Targets:
    """The targets of B rows, or of one example, which has no count of rows."""
    if not isinstance(label, list | np.ndarray):
        return Targets(labels=np.array(_indices([label], classes, n_classes)), **options)
    if isinstance(label, np.ndarray):
        are_targets, are_names = label.ndim == 2, False
    else:
        are_targets = any(isinstance(row, list) for row in label)
        are_names = not are_targets and any(isinstance(entry, str) for entry in label)
    if n_rows is None and are_names:
        raise InputError(
            "label is a list of names, but x is one example, which has one label; x of several has two "
            "dimensions: [[1, 2], [3, 4]]",
            "label",
        )
    if n_rows is None or are_targets:
        soft = label if isinstance(label, np.ndarray) else array_of_rows(label, "label", "label")
        return Targets(soft=vector(soft) if n_rows is None else soft, **options)
    if are_names:
        # A column of names may have a header.
        has_header = len(label) == n_rows + 1 and isinstance(label[0], LabelText)
        if has_header and label[0] not in (classes or ()):
            label = label[1:]
        label = _indices(label, classes, n_classes)
    array = np.asarray(label)
    if array.dtype.kind in "Ouf" and isinstance(label, list) and {*map(type, label)} == {int}:
        _indices(label, classes, n_classes)  # one is none that numpy holds as such
    return Targets(labels=array, **options)


def as_written(label: Any, classes: tuple[str, ...] | None) -> Any:
    """A label as a file says it: text from a shell or a cell becomes a name or an index."""
    names = frozenset(classes or ())

    def written(entry: Any) -> Any:
        if not isinstance(entry, str):
            return entry
        return str(entry) if entry in names else _number_in(entry)

    return list(map(written, label)) if isinstance(label, list) else written(label)


def _indices(labels: Iterable[int | str], classes: tuple[str, ...] | None, n_classes: int) -> list[int]:
    """The indices of classes, from themselves or from their names."""
    places = {name: index for index, name in enumerate(classes or ())}

    def index(label: int | str) -> int:
        if isinstance(label, str):
            if (place := places.get(label)) is not None:
                return place
            if not (isinstance(label, LabelText) and INDEX.fullmatch(label)):
                raise InputError(_no_class(label, classes, n_classes), "label")
            label = _number_in(label)
        if not -(2**63) <= label < 2**63:
            raise _out_of_range(str(label))
        return label

    return list(map(index, labels))


def _number_in(text: str) -> int:
    """The number that the text of an index is."""
    if (number := index_in(text)) is None:
        raise _out_of_range(text)
    return number


def _out_of_range(label: str) -> InputError:
    return InputError(f"label {short(label)} is out of range; labels are zero-based indices", "label")


def _no_class(name: str, classes: tuple[str, ...] | None, n_classes: int) -> str:
    if isinstance(name, LabelText) and "," in name:
        return (
            f"label {shown(name)} is no class; a target, or a list of labels, is a JSON list: [{short(name)}]"
        )
    if not classes:
        return (
            f"label {shown(name)} is a class name, but the problem names no classes; give an index from 0 to "
            f"{n_classes - 1}, or the names as classes"
        )
    return f"label {shown(name)} is not one of the classes {listed(classes)}{nearest(name, classes)}"
