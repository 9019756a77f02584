"""Under which options a candidate that is wrong is right, in a sentence."""

from __future__ import annotations

import numpy as np

from xegrad.comparison import Comparison
from xegrad.display.numbers import agreeing
from xegrad.judgement import RIGHT
from xegrad.verification import Options, Supposition
from xegrad.vocabulary import SYMBOLS, count


def right_if_sentence(right_if: Supposition) -> str:
    """How it must have been made, what is known of it then, and what to write."""
    options, name, known = right_if.options, right_if.judgement.name, []
    if "dtype" in options:
        known.append(_agreement(right_if.judgement.comparison))
    for option, part in ("decimals", ""), ("digits_printed", " of an entry"):
        if option in options:
            least = 0.5 * 10.0 ** -int(options[option])
            known.append(f"an error below {least:g}{part} could not have been caught")
    what = f"dL/d{SYMBOLS[name]}" if name in SYMBOLS else "The loss"
    is_right = "correct" if right_if.judgement.outcome == RIGHT else "within its error bound"
    remarks = "; ".join(known)
    return (
        f"{what} is {is_right} if it was {how_computed(options)} ({remarks}): `{arguments(options)}` says so."
    )


def steps_right_if_sentence(options: Options) -> str:
    """Under which options the steps of a chain are right."""
    return f"The steps are correct if they were {how_computed(options)}: `{arguments(options)}` says so."


def diagnosed_if_sentence(diagnosed_if: Supposition) -> str:
    """How it must have been made to be what the mistake makes that comes below."""
    options = diagnosed_if.options
    return f"If it was {how_computed(options)} (`{arguments(options)}`), its mistake is known:"


def how_computed(options: Options) -> str:
    """The options in words: computed in float32 and printed to 6 digits."""
    ways = []
    if "dtype" in options:
        stored = f" and stored as {options['stored_as']}" if "stored_as" in options else ""
        ways.append(f"computed in {options['dtype']}{stored}")
    for option, noun in ("decimals", "decimal"), ("digits_printed", "digit"):
        if option in options:
            ways.append(f"printed to {count(int(options[option]), noun)}")
    return " and ".join(ways)


def arguments(options: Options) -> str:
    """The options as on a command line."""
    return " ".join(f"--{option.replace('_', '-')} {value}" for option, value in options.items())


def _agreement(comparison: Comparison) -> str:
    """How many digits agree, of the entries that are not 0: in the worst, or else in the median one."""
    digits = np.sort(comparison.correct_digits[comparison.reference != 0])
    if not digits.size:
        return "every exact value is 0"
    median = int(digits[(digits.size - 1) // 2])
    agree = agreeing(median, "no")
    return agree if 0 < median == digits[0] else f"{agree} in the median entry"
