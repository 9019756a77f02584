"""The fields of a problem, each once: its name, its type in JSON, its kind, its option and what help says of it.

The options of the command line, the JSON object and its schema, the keys of NPZ and their checks, merging, writing
and completion follow from this list.  An option of the loss is a field here and a field of `Targets`.
Imports no numpy, so that --help stays fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

from xegrad.vocabulary import COMPUTED_IN, NAMES, REDUCTIONS


class Kind(msgspec.Struct, frozen=True):
    """What a value may be: its type on the command line, the kinds of its array in NPZ, how messages call it."""

    option: Any
    numpy: str
    expected: str


ARRAY = Kind(str, "fiu", "real numbers")
LABELS = Kind(str, "fiuU", "an index, a name, or a list")
CLASS_NAMES = Kind(list[str], "U", "a list of names")
FLAG = Kind(bool, "b", "true or false")
NUMBER = Kind(float, "fiu", "a number")
WHOLE_NUMBER = Kind(int, "iu", "a whole number")
WORD = Kind(str, "U", "one of")
ANYTHING = Kind(None, "Uiufb", "text or a number")
# A gradient and a loss are kept as they are written, to be read with the decimals that were printed.
CLAIMED_ARRAY = Kind(None, "fiu", "real numbers")
CLAIMED_NUMBER = Kind(None, "fiu", "a number")


class Field(msgspec.Struct, frozen=True):
    """What there is to say of a field beside its name and its type in JSON."""

    kind: Kind
    options: tuple[str, ...] = ()
    metavar: str | None = None
    help: str = ""
    words: tuple[str, ...] = ()  # that a WORD may be
    noun: str = ""  # what messages call such a word
    aliases: tuple[str, ...] = ()  # that people write for the key

    @property
    def option(self) -> str:
        """What messages call the option."""
        return self.options[0].partition("/")[0]

    @property
    def parameter(self) -> str:
        """What Python calls the option: its long name."""
        return self.options[-1].partition("/")[0].removeprefix("--").replace("-", "_")

    @property
    def expected(self) -> str:
        """What messages say is expected."""
        return f"{self.kind.expected} {', '.join(self.words)}" if self.words else self.kind.expected


_VALUE = "A value (0.1,-0.5 or JSON in brackets) or a file, or FILE:KEY."


class ProblemObject(msgspec.Struct, forbid_unknown_fields=True):
    """A problem: W, x and label, with b, the classes' names and the options of the loss.

    x is one example, or rows; the label of one example is an index, a name or a target of T numbers, and
    those of rows are a list of indices or names, or a target for each row.
    """

    W: Annotated[
        list[list[float]] | UnsetType,
        Field(
            ARRAY,
            ("-W", "--weights"),
            "VALUE|FILE",
            f"W, inputs x classes. {_VALUE}",
            aliases=("weight", "weights", "kernel"),
        ),
    ] = UNSET
    x: Annotated[
        list[float | list[float]] | UnsetType,
        Field(
            ARRAY,
            ("-x", "--inputs"),
            "VALUE|FILE",
            f"x, or rows of it. {_VALUE}",
            aliases=("input", "inputs", "features"),
        ),
    ] = UNSET
    label: Annotated[
        int | str | list[int | float | str | list[float]] | UnsetType,
        Field(
            LABELS,
            ("-y", "--label"),
            "INDEX|NAME|LIST",
            "A zero-based index, a class name, or a target as a JSON list. With rows of x, a JSON list of them.",
            aliases=("labels", "y", "target", "targets"),
        ),
    ] = UNSET
    b: Annotated[
        list[float] | UnsetType,
        Field(ARRAY, ("-b", "--bias"), "VALUE|FILE", f"b. {_VALUE}", aliases=("bias",)),
    ] = UNSET
    classes: Annotated[
        list[str] | UnsetType,
        Field(
            CLASS_NAMES,
            ("--classes",),
            "NAMES",
            "The classes, in the order of W's columns.",
            aliases=("class_names", "names"),
        ),
    ] = UNSET
    transpose: Annotated[
        bool | UnsetType,
        Field(
            FLAG,
            ("--transpose/--no-transpose",),
            help="W is stored classes x inputs (or not, whatever the problem says); gradients come out like it.",
            aliases=("transposed",),
        ),
    ] = UNSET
    class_weights: Annotated[
        list[float] | UnsetType,
        Field(
            ARRAY,
            ("--class-weights",),
            "VALUE|FILE",
            "A weight for each class, as in PyTorch.",
            aliases=("weight_of_classes",),
        ),
    ] = UNSET
    label_smoothing: Annotated[
        float | UnsetType,
        Field(
            NUMBER,
            ("--label-smoothing",),
            "EPS",
            "That part of a target is spread over all.",
            aliases=("smoothing",),
        ),
    ] = UNSET
    ignore_index: Annotated[
        int | UnsetType,
        Field(
            WHOLE_NUMBER,
            ("--ignore-index",),
            "LABEL",
            "Rows with this label do not count.",
            aliases=("ignore",),
        ),
    ] = UNSET
    reduction: Annotated[
        Literal["mean", "sum", "none"] | UnsetType,
        Field(
            WORD,
            ("--reduction",),
            "|".join(REDUCTIONS),
            "Of the rows' losses (mean).",
            words=REDUCTIONS,
            noun="reduction",
        ),
    ] = UNSET
    dtype: Annotated[
        Literal["float64", "float32"] | UnsetType,
        Field(
            WORD,
            ("--dtype",),
            "|".join(COMPUTED_IN),
            "The precision of the float computation, or of the candidate (float64, or the file's).",
            words=COMPUTED_IN,
            noun="precision",
            aliases=("precision",),
        ),
    ] = UNSET
    id: Annotated[Any, Field(ANYTHING)] = UNSET
    # What a problem brings for `verify`: a gradient, of what `with_respect_to` says, and a loss.
    gradient: Annotated[Raw | UnsetType, Field(CLAIMED_ARRAY)] = UNSET
    loss: Annotated[Raw | UnsetType, Field(CLAIMED_NUMBER)] = UNSET
    with_respect_to: Annotated[
        Literal["W", "b", "x", "logits"] | UnsetType, Field(WORD, words=tuple(NAMES), noun="gradient")
    ] = UNSET


FIELDS: Mapping[str, Field] = {
    field.name: field.type.__metadata__[0] for field in msgspec.structs.fields(ProblemObject)
}
# Those that are the same for every line of most streams.
SHARED = tuple(key for key, field in FIELDS.items() if field.options and key not in (*NAMES, "label"))
_ALIASES: Mapping[str, str] = {
    alias: key for key, field in FIELDS.items() for alias in (key.lower(), *field.aliases)
}


def unknown_key(key: str) -> str:
    """The keys that there are, and the nearest."""
    near = get_close_matches(key.lower(), _ALIASES, n=1)
    hint = f"; did you mean {_ALIASES[near[0]]!r}?" if near else ""
    return f"unknown key {key!r}; the keys of a problem are {', '.join(FIELDS)}{hint}"
