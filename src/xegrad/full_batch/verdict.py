"""A gradient of all rows of a data set, judged: by the sums of one pass, and by some rows exactly.

What is claimed is measured against the sum of all blocks, which is off by its own bound; the bound on the claim is that
of any order of its additions, or of the one that is said.  An entry that this bound exceeds is not right, however near
it is: the outcome is undecided.

See docs/numerics.md, section 12.3.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec.structs import replace

from xegrad.claim import Claim, Claimed
from xegrad.comparison import Comparison
from xegrad.data_sets import DataSet
from xegrad.errors import InputError
from xegrad.full_batch import EXACT_ROW, FullBatch, Total
from xegrad.full_batch.mistakes import diagnosed
from xegrad.judgement import Judgement
from xegrad.methods import Evaluation
from xegrad.numbers.arithmetic import PRECISIONS, Arithmetic
from xegrad.problem import Problem
from xegrad.progress import LONG
from xegrad.tolerance import Tolerance
from xegrad.verification import Check, Verification
from xegrad.vocabulary import LOSS, count


def claimed_in(claim: Claim, tolerance: Tolerance) -> Arithmetic:
    """The arithmetic of a claim, in which bounds are summed.

    Raises
    ------
    InputError
        One with roundings that are known of problems in memory alone, or a claim of steps, which belong to rows.
    """
    if claim.steps:
        step = next(iter(claim.steps))
        raise InputError(f"of a data set gradients and the loss are judged, and no {step}; leave them out")
    if tolerance.is_mixed or tolerance.confidence is not None:
        what = "a confidence" if tolerance.confidence is not None else "mixed precision"
        raise InputError(
            f"of a data set there is no bound for {what}; --dtype, --stored-as, --rtol and --atol are known"
        )
    return PRECISIONS[tolerance.precision]


def decides_exactly(data: DataSet, layer: Problem, *, is_asked: bool) -> bool:
    """Whether blocks are evaluated exactly: where that is asked for, or takes less than 10 s by estimate."""
    return is_asked or FullBatch(data, layer, has_exact=True).work < LONG


def verify(total: Total, claim: Claim, tolerance: Tolerance, *, strict: bool = False) -> Verification:
    """Judge what is claimed of a data set, by the sums over its rows.

    Raises
    ------
    InputError
        A gradient of another size.
    """
    claimed = {**claim.gradients, **({} if claim.loss is None else {LOSS: claim.loss})}
    judgements = {name: judged(total, name, one, tolerance) for name, one in claimed.items()}
    checks = [] if (some := rows_check(total)) is None else [some]
    misshapen = [
        name for name, one in claim.gradients.items() if one.values.shape != total.gradients[name].shape
    ]
    of_shape = judgements.keys() - {LOSS, *misshapen}
    found = {name: diagnosed(total, one) for name, one in judgements.items() if name in of_shape}
    diagnoses = {name: one for name, one in found.items() if one.says_something}
    return Verification(
        total.asked.layer,
        tolerance,
        judgements,
        diagnoses,
        misshapen=misshapen,
        strict=strict,
        checks=checks,
        notes=claim.notes,
    )


def rows_check(total: Total) -> Check | None:
    """dL/dlogits of the rows that were evaluated exactly, too: whether that of the shortcut is within its bound."""
    rows = {int(name.removeprefix(EXACT_ROW)): name for name in total.sums if name.startswith(EXACT_ROW)}
    if not rows:
        return None
    exact, shortcut, bound = np.stack([total.sums[name] for _, name in sorted(rows.items())], axis=1)
    return Check(
        f"dL/dlogits of {count(len(exact), 'row')}, evenly spaced", Comparison(exact, shortcut, bound)
    )


@np.errstate(all="ignore")
def judged(total: Total, name: str, claimed: Claimed, tolerance: Tolerance) -> Judgement:
    """One gradient that is claimed, or a "loss"."""
    asked: FullBatch = total.asked
    reference: Any = np.array([total.loss]) if name == LOSS else total.gradients[name]
    if claimed.values.size != reference.size:
        raise InputError(
            f"the gradient has {claimed.values.size} numbers; {' x '.join(map(str, reference.shape))} are expected"
        )
    opened = claimed.left_open(claimed.reading, PRECISIONS[tolerance.kept_in])
    opened = np.reshape(opened, reference.shape) if np.ndim(opened) else opened
    arithmetic = PRECISIONS[tolerance.precision]
    bound = np.reshape(total.bound(name, tolerance.terms(asked.data.n_rows), arithmetic), reference.shape)
    error = np.reshape(total.error(name), reference.shape) * (1 + tolerance.slope)
    values = claimed.values.reshape(reference.shape).astype(np.float64)
    comparison = Comparison(reference, values, tolerance.allowed(reference, bound, opened), error)
    evaluation = Evaluation(total.loss, np.array([total.loss]), total.gradients)
    reading = replace(claimed.reading, resolution=opened)
    return Judgement(asked.layer, name, comparison, tolerance, evaluation, reading, total.n_rows)
