"""Gradients of the softmax layer with categorical cross-entropy, and how far they can be trusted.

Names resolve on first use, so that importing xegrad imports no numpy.
"""

from __future__ import annotations

TYPE_CHECKING = (
    False  # that of typing, without its 5 ms, in which an interruption of the command would be Python's
)
if TYPE_CHECKING:
    from typing import Any

    from xegrad.assertions import assert_gradient as assert_gradient
    from xegrad.assertions import assert_loss as assert_loss
    from xegrad.assertions import check as check
    from xegrad.blindness import blind_spots as blind_spots
    from xegrad.bounds import Bound as Bound
    from xegrad.claim import Claim as Claim
    from xegrad.comparison import Comparison as Comparison
    from xegrad.comparison import compare as compare
    from xegrad.computation import Computation as Computation
    from xegrad.computation import compute as compute
    from xegrad.descent import Descent as Descent
    from xegrad.descent import descend as descend
    from xegrad.diagnosis import Diagnosis as Diagnosis
    from xegrad.diagnosis import diagnose as diagnose
    from xegrad.errors import InputError as InputError
    from xegrad.errors import XegradError as XegradError
    from xegrad.explanation import Explanation as Explanation
    from xegrad.explanation import explain as explain
    from xegrad.formats import read as read
    from xegrad.intermediates import first_wrong_step as first_wrong_step
    from xegrad.judgement import Judgement as Judgement
    from xegrad.judgement import judge as judge
    from xegrad.memory import max_memory as max_memory
    from xegrad.methods import METHODS as METHODS
    from xegrad.methods import Evaluation as Evaluation
    from xegrad.problem import Problem as Problem
    from xegrad.slips import SLIPS as SLIPS
    from xegrad.targets import Targets as Targets
    from xegrad.tolerance import Tolerance as Tolerance
    from xegrad.verification import Verification as Verification
    from xegrad.verification import verify as verify

__version__ = "0.2.0"

_NAMES = {
    "assertions": ("assert_gradient", "assert_loss", "check"),
    "blindness": ("blind_spots",),
    "claim": ("Claim",),
    "bounds": ("Bound",),
    "comparison": ("Comparison", "compare"),
    "computation": ("Computation", "compute"),
    "descent": ("Descent", "descend"),
    "diagnosis": ("Diagnosis", "diagnose"),
    "errors": ("InputError", "XegradError"),
    "explanation": ("Explanation", "explain"),
    "formats": ("read",),
    "intermediates": ("first_wrong_step",),
    "judgement": ("Judgement", "judge"),
    "memory": ("max_memory",),
    "methods": ("METHODS", "Evaluation"),
    "problem": ("Problem",),
    "slips": ("SLIPS",),
    "targets": ("Targets",),
    "tolerance": ("Tolerance",),
    "verification": ("Verification", "verify"),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"xegrad.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'xegrad' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*_HOMES, "__version__"])
