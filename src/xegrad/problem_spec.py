"""The fields of a problem, each once: its key, its type in JSON, its kind, its option and what help says of it.

The options of the command line, the JSON object and its schema, the keys of NPZ and their checks, merging, writing
and completion follow from this list.  An option of the loss is a row here and a field of `Targets`.
Imports no numpy, so that --help stays fast.

See docs/architecture.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Literal, get_args

import msgspec
from msgspec import UNSET, Raw, UnsetType

from xegrad.naming import GRADIENTS, gradient_meant
from xegrad.vocabulary import ALIASES, AUTO, CHAIN, COMPUTED_IN, HALF, NAMES, REDUCTIONS


class Kind(msgspec.Struct, frozen=True):
    """What a value may be: its type on the command line, the kinds of its array in NPZ, how messages call it."""

    option: Any
    numpy: str
    expected: str


ARRAY = Kind(str, "fiu", "real numbers")
ARRAYS = Kind(str, "fiu", "real numbers under each symbol")
LABELS = Kind(str, "fiuU", "an index, a name, or a list of them")
LIST_OF_NAMES = Kind(list[str], "U", "a list of names")
FLAG = Kind(bool, "b", "true or false")
NUMBER = Kind(float, "fiu", "a number")
WHOLE_NUMBER = Kind(int, "iu", "a whole number")
WORD = Kind(str, "U", "one of ")
ANYTHING = Kind(None, "Uiufb", "text or a number")


class Field(msgspec.Struct, frozen=True):
    """A field: `aliases` are what people write for its key; a WORD is one of those of its type, each a `noun`."""

    json: Any
    kind: Kind
    options: tuple[str, ...] = ()
    metavar: str | None = None
    help: str = ""
    aliases: tuple[str, ...] = ()
    noun: str = ""
    repeats: bool = False  # the option may be given several times, for several files

    @property
    def words(self) -> tuple[str, ...]:
        """What a WORD may be."""
        return get_args(self.json) if self.kind is WORD else ()

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
        return self.kind.expected + ", ".join(self.words)


# Whole numbers stay what they are: float64 may not hold them, which is said.
Number = int | float
NUMBERS = list[Number | list[Number]]
LISTED_LABELS = list[Number | str | list[Number]]

_VALUE = "A value (0.1,-0.5 or JSON in brackets), a file, or FILE:KEY."

# fmt: off
FIELDS: Mapping[str, Field] = {
    "W": Field(list[list[Number]], ARRAY, ("-W", "--weights"), "VALUE|FILE",
        f"The weights W, inputs x classes. {_VALUE}", ALIASES["W"]),
    "x": Field(NUMBERS, ARRAY, ("-x", "--inputs"), "VALUE|FILE",
        f"The input x, or rows of it. {_VALUE} Several files, or a pattern such as 'rows/*.parquet', are a data set "
        "for compute, verify and descend.", ALIASES["x"], repeats=True),
    "label": Field(int | str | LISTED_LABELS, LABELS, ("-y", "--label"), "INDEX|NAME|LIST",
        "The label: an index from 0, a name, a list. For one x, a JSON list of T numbers is a target; for rows "
        "of x, a JSON list holds the label or the target of each row.",
        ("labels", "y", "target", "targets")),
    "b": Field(list[Number], ARRAY, ("-b", "--bias"), "VALUE|FILE", f"The bias b. {_VALUE}", ALIASES["b"]),
    "classes": Field(list[str], LIST_OF_NAMES, ("--classes",), "NAMES",
        "The class names, in the order of the columns of W. Commas stand between them; a JSON list "
        "may hold any names.", ("class_names", "names")),
    "input_names": Field(list[str], LIST_OF_NAMES, ("--input-names",), "NAMES",
        "The names of the inputs, in the order of the rows of W. Commas stand between them; a JSON list "
        "may hold any names.", ("feature_names",)),
    "transpose": Field(bool, FLAG, ("--transpose/--no-transpose",), None,
        "W is stored classes x inputs, as PyTorch does. Gradients come out in the same layout. --no-transpose: it is "
        "not, whatever the file says.",
        ("transposed",)),
    "class_weights": Field(list[Number], ARRAY, ("--class-weights",), "VALUE|FILE",
        "A weight for each class, as in PyTorch.", ("weight_of_classes",)),
    "label_smoothing": Field(float, NUMBER, ("--label-smoothing",), "EPS",
        "Label smoothing, from 0 to 1.", ("smoothing",)),
    "ignore_index": Field(int, WHOLE_NUMBER, ("--ignore-index",), "LABEL",
        "Leave out the rows with this label.", ("ignore",)),
    "reduction": Field(Literal[REDUCTIONS], WORD, ("--reduction",), "|".join(REDUCTIONS),
        "How the losses of the rows are combined (mean).", noun="reduction"),
    # A candidate may be in others than `Problem` computes in, which refuses them.
    "dtype": Field(Literal[(*COMPUTED_IN, *HALF, AUTO)], WORD, ("--dtype",), "|".join(COMPUTED_IN),
        "The precision (float64, or that of the files). It is that of the float methods, and in verify that of the "
        f"gradient to judge: there {', '.join(HALF)} and {AUTO} (the one that fits) are known too.",
        ("precision",), "precision"),
    "id": Field(Any, ANYTHING),
    # What a problem brings for `verify`: a gradient, of what `with_respect_to` says, several by their symbols, a loss
    # and steps of the chain.  They are kept as they are written: how they were printed tells the tolerance.
    "gradient": Field(Raw, ARRAY),
    "gradients": Field(Raw, ARRAYS),
    "loss": Field(Raw, NUMBER),
    "with_respect_to": Field(Literal[tuple(NAMES)], WORD),
    **{step: Field(Raw, ARRAY) for step in CHAIN if step not in ("loss", "gradient")},
}
# fmt: on

CLAIMS = tuple(key for key, field in FIELDS.items() if field.json is Raw)

# The object in JSON, with a field for each key; what is absent is UNSET.
ProblemObject: Any = msgspec.defstruct(
    "ProblemObject",
    [
        (key, field.json if field.json is Any else field.json | UnsetType, UNSET)
        for key, field in FIELDS.items()
    ],
    forbid_unknown_fields=True,
    module=__name__,
    namespace={
        "__doc__": """A problem: W, x and label, with b, the classes' names and the options of the loss.

    x is one example, or rows; the label of one example is an index, a name or a target of T numbers, and
    those of rows are a list of indices or names, or a target for each row.
    """
    },
)

_ALIASES: Mapping[str, str] = {
    alias: key for key, field in FIELDS.items() for alias in (key.lower(), *field.aliases)
}


def unknown_key(key: str) -> str:
    """The keys that there are, and the nearest; or the key of a gradient that is meant."""
    if key.lower() not in GRADIENTS and (meant := gradient_meant(key)):
        return f"unknown key {key!r}; {meant}"
    near = get_close_matches(key.lower(), _ALIASES, n=1)
    hint = f"; did you mean {_ALIASES[near[0]]!r}?" if near else ""
    keys = ", ".join(key for key in FIELDS if key not in CHAIN or key in ("gradient", "loss"))
    return f"unknown key {key!r}; the keys of a problem are {keys}, and the steps of the chain{hint}"
