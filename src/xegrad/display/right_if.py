"""Under which options a candidate that is wrong is right, in a sentence."""

from __future__ import annotations

import numpy as np

from xegrad.comparison import Comparison
from xegrad.display.numbers import how_many_correct
from xegrad.verification import LOSS, RightIf
from xegrad.vocabulary import SYMBOLS, count


def right_if_sentence(right_if: RightIf) -> str:
    """How it must have been made, what is known of it then, and what to write."""
    options, name = right_if.options, right_if.judgement.name
    what = "the loss" if name == LOSS else f"dL/d{SYMBOLS[name]}"
    made, known = [], []
    if "dtype" in options:
        stored = f" and stored as {options['stored_as']}" if "stored_as" in options else ""
        made.append(f"computed in {options['dtype']}{stored}")
        known.append(_agreement(right_if.judgement.comparison))
    for option, noun in ("decimals", "decimal"), ("digits_printed", "digit"):
        if option in options:
            number = int(options[option])
            made.append(f"printed to {count(number, noun)}")
            part = " of an entry" if noun == "digit" else ""
            known.append(f"an error below {0.5 * 10.0**-number:g}{part} could not have been caught")
    arguments = " ".join(f"--{option.replace('_', '-')} {value}" for option, value in options.items())
    return f"{what} is correct if it was {' and '.join(made)} ({'; '.join(known)}): `{arguments}` says so."


def _agreement(comparison: Comparison) -> str:
    """How many digits agree, of the entries that are not 0: in the worst, or else in the median one."""
    digits = np.sort(comparison.correct_digits[comparison.reference != 0])
    if not digits.size:
        return "every exact value is 0"
    median = int(digits[(digits.size - 1) // 2])
    agree = f"{how_many_correct(median)} digit{' agrees' if median == 1 else 's agree'}"
    return agree if median == digits[0] else f"{agree} in the median entry"
