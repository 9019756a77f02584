"""Labels as indices of classes: whole numbers are that, and text is a class's name if it equals one, else an index."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from xegrad.data_sets.formats import Faults, Names
from xegrad.errors import listed, short, shown
from xegrad.naming import INDEX, index_in


class Labels(msgspec.Struct, frozen=True, dict=True):
    """What labels may be: indices up to T - 1, names of classes, and the index of what is ignored."""

    n_classes: int
    classes: tuple[str, ...] | None = None
    ignore_index: int | None = None

    def indices(self, labels: NDArray[Any] | Names) -> tuple[NDArray[np.intp], Faults]:
        """The index of each label, and why some have none."""
        if isinstance(labels, Names):
            return self._of_names(labels)
        if labels.dtype.kind == "f":  # of a table of floats
            with np.errstate(invalid="ignore"):
                indices = labels.astype(np.intp)
                is_wrong = indices != labels
        else:
            indices = labels.astype(np.intp)
            is_wrong = np.zeros(len(labels), bool)
        is_wrong |= (labels < 0) | (labels >= self.n_classes)
        if self.ignore_index is not None:
            is_wrong &= labels != self.ignore_index
        if not is_wrong.any():
            return indices, {}
        wrong = np.flatnonzero(is_wrong).tolist()
        return np.where(is_wrong, 0, indices), {row: self._no_index(labels[row].item()) for row in wrong}

    def _of_names(self, labels: Names) -> tuple[NDArray[np.intp], Faults]:
        found = [*map(self._of_one, labels.distinct)]
        table = np.array([0 if isinstance(index, str) else index for index in found], np.intp)
        is_wrong = np.array([isinstance(index, str) for index in found])
        faults = {}
        if is_wrong.any():
            faults = {
                row: str(found[labels.codes[row]]) for row in np.flatnonzero(is_wrong[labels.codes]).tolist()
            }
        return table[labels.codes], faults

    def _of_one(self, label: str | int) -> int | str:
        """The index that a label is, or why it is none."""
        if isinstance(label, str):
            return self._of_text(label)
        is_known = label == self.ignore_index or label in range(self.n_classes)
        return label if is_known else self._no_index(label)

    def _of_text(self, text: str) -> int | str:
        if (index := self._places.get(text)) is not None:
            return index
        stripped = text.strip()
        if (index := self._places.get(stripped)) is not None:
            return index
        if INDEX.fullmatch(stripped):
            number = index_in(stripped)
            return self._no_index(stripped) if number is None else self._of_one(number)
        if not stripped:
            return "the label is empty"
        if self.classes is None:
            return f"label {shown(text)} is no index, and no classes are named"
        return f"label {shown(text)} is not one of the classes {listed(self.classes)}"

    @property
    def _places(self) -> dict[str, int]:
        if "places" not in self.__dict__:
            self.__dict__["places"] = {name: index for index, name in enumerate(self.classes or ())}
        return self.__dict__["places"]

    def _no_index(self, label: object) -> str:
        return f"label {short(str(label))} is out of range; labels are zero-based: 0 to {self.n_classes - 1}"
