"""The mistakes that a gradient of a data set shows without its rows: that all entries are multiplied with one number.

If a claim is k times the gradient G, which is known within w, each of its entries c says between which two values 1/k
lies,

    c / k = G + d, |d| <= w    so 1/k is between (G - w) / c and (G + w) / c        (12.7)

and all of them must have one in common.  The row of an input sums to 0 over the classes, so the last class is no
evidence; nor is one entry, which k is fitted to.

See docs/numerics.md, section 12.3.
"""

from __future__ import annotations

import numpy as np

from xegrad.derivation import Cells
from xegrad.diagnosis import Diagnosis
from xegrad.diagnosis.evidence import AT_MOST, EVIDENCE
from xegrad.diagnosis.findings import explained
from xegrad.diagnosis.search import FLIPPED, Hypothesis
from xegrad.full_batch import Total
from xegrad.judgement import WRONG, Judgement
from xegrad.slips import SLIPS
from xegrad.slips.formulas import factors_by_name


@np.errstate(all="ignore")
def diagnosed(total: Total, judgement: Judgement) -> Diagnosis:
    """What explains a gradient of W or b that is wrong; nothing, of one that no number makes right."""
    against = judgement.comparison
    right, claimed, off = against.reference, against.candidate, against.bound + against.error
    ends = np.sort(np.array([right - off, right + off]) / claimed, axis=0)
    is_zero = claimed == 0  # any multiple of what may be 0 itself, and none of what is not
    ends[:, is_zero] = np.where(
        np.abs(right[is_zero]) <= off[is_zero], [[-np.inf], [np.inf]], [[np.inf], [-np.inf]]
    )
    low, high = float(ends[0].max()), float(ends[1].min())  # of 1/k
    bits = np.clip(np.log2(np.abs(right) / off)[..., :-1], 0, AT_MOST)
    is_one_number = 0 < low <= high or low <= high < 0
    if (
        judgement.outcome != WRONG
        or not is_one_number
        or low <= 1 <= high
        or bits.sum() - bits.max() < EVIDENCE
    ):
        return Diagnosis()
    least, most = 1 / high, 1 / low
    steps = (FLIPPED,)
    if not least <= -1 <= most:
        sign, prefix = (1, "") if least > 0 else (-1, "-")
        counts = {"all rows": float(total.n_rows), "kept rows": float(total.n_kept)}
        if total.asked.is_weighted:
            counts["the sum of weights"] = total.of_mean
        factors = factors_by_name(total.asked.layer, counts, total.of_mean, right)
        named = {prefix + name: sign * k for name, k in factors.items() if least <= sign * k <= most}
        form: dict[str, float | str] = {"k": [*named.values(), (least + most) / 2][0]} | (
            {"named": ", ".join(named)} if named else {}
        )
        if total.asked.is_weighted:
            form["row_weights"] = "those of the data"
        steps = ((SLIPS["scaled"], form),)
    cells = Cells(total.asked.layer, judgement.name)
    return Diagnosis((explained(cells, Hypothesis(steps, {"k": (least, most)}), right.size),))
