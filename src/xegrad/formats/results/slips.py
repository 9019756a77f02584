"""What `slips --json` prints."""

from __future__ import annotations

from typing import Any

import msgspec

from xegrad.slip_page import page
from xegrad.slips import Slip
from xegrad.vocabulary import SYMBOLS


class SlipResult(msgspec.Struct):
    """A known mistake, with what it does to a gradient: that of the derivation's example where it shows there."""

    name: str
    stage: str
    sentence: str
    formula: str
    how: str
    wrong: str
    right: str
    remedy: str
    free: str | None
    of: str
    right_gradient: list[Any]
    wrong_gradient: list[Any]


def slip_result(slip: Slip) -> SlipResult:
    """A slip as data."""
    shown = page(slip.name)
    return SlipResult(
        name=slip.name,
        stage=slip.stage,
        sentence=slip.sentence,
        formula=shown.formula,
        how=slip.cause,
        wrong=shown.explanation.wrong,
        right=shown.explanation.right,
        remedy=shown.explanation.remedy,
        free=slip.free,
        of=SYMBOLS[shown.name],
        right_gradient=shown.right.tolist(),
        wrong_gradient=shown.wrong.tolist(),
    )
