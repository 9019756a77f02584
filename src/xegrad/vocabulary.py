"""The words that files, options and the library share.  Imports nothing, so that --help stays fast.

See docs/glossary.md.
"""

from collections.abc import Mapping

# What the library calls the parts and their gradients, and what files, JSON and options do.
SYMBOLS: Mapping[str, str] = {"weights": "W", "bias": "b", "inputs": "x", "logits": "logits"}
NAMES: Mapping[str, str] = {symbol: name for name, symbol in SYMBOLS.items()}

LOSS = "loss"  # beside them, of what is judged

# What else people call them.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "W": ("weight", "weights", "kernel"),
    "x": ("input", "inputs", "features"),
    "b": ("bias",),
    "logits": (),
}

# What the indices of an entry of each gradient count.
AXES: Mapping[str, tuple[str, ...]] = {
    "weights": ("input", "class"),
    "bias": ("class",),
    "inputs": ("row", "input"),
    "logits": ("row", "class"),
}

DEFAULT_METHODS = ("chain", "shortcut")  # whether they agree is the question

REDUCTIONS = ("mean", "sum", "none")

# In which the float methods can compute.
COMPUTED_IN = ("float64", "float32")
# In which a gradient is stored, and not computed; and what a candidate may be in besides: whatever its numbers show.
HALF = ("bfloat16", "float16")
AUTO = "auto"

# The steps of the chain, in its order, as people name them in JSON.
CHAIN = (
    "logits",
    "probabilities",
    "loss",
    "cross_entropy_jacobian",
    "softmax_jacobian",
    "weighted_sum_jacobian",
    "layer_jacobian",
    "flat_gradient",
    "gradient",
)
# Those that xegrad explain shows besides.
EXPLAINED = (*CHAIN, "shortcut", "comparison", "check")


def count(number: int, noun: str) -> str:
    """1 entry, 2 entries."""
    plural = {"entry": "entries", "class": "classes"}.get(noun, f"{noun}s")
    return f"{number} {noun if number == 1 else plural}"
