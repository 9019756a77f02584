"""The catalogue of known mistakes: a table of maps from a problem to the wrong gradient.

A slip is one entry in the file of its stage.  The order of the table is that in which coincidences are listed:
the commoner first, with N = T `transposed` before `scrambled-reshape`, with T = 2 `sign-flipped` before
`classes-permuted`, with B = 1 `scaled` before `option-ignored` and `log-epsilon`.

See docs/slips.md, and docs/numerics.md, section 8.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from xegrad.slips import forward, gradients, residuals
from xegrad.slips.entry import STAGES as STAGES
from xegrad.slips.entry import Slip as Slip

_FIRST = (
    "softmax-over-wrong-axis",
    "softmax-twice",
    "scaled",
    "jacobian-diagonal",
    "labels-misaligned",
    "wrong-label",
    "weight-decay-included",
    "option-ignored",
    "sign-flipped",
)
_ENTRIES = gradients.SLIPS | forward.SLIPS | residuals.SLIPS

SLIPS: Mapping[str, Slip] = {
    name: replace(_ENTRIES[name], name=name) for name in dict.fromkeys((*_FIRST, *_ENTRIES))
}
