"""The view of `xegrad descend`: the loss before, on the way and after, and what it was good for."""

from __future__ import annotations

import math

from rich.text import Text

from xegrad.descent import Descent, ExactLosses, accuracy
from xegrad.display.blocks import DONE, NEARLY, RIGHT, WRONG, Column, Listing, Plot, Verdict, View
from xegrad.display.numbers import with_digits
from xegrad.display.page import PageSettings
from xegrad.vocabulary import count


def descent_view(
    descent: Descent, learning_rate: float | None, page: PageSettings, exact: ExactLosses | None = None
) -> View:
    """How it ended, in a sentence, and below it the losses and what became of them, a line each."""
    digits, losses = page.digits, descent.losses
    rows = {"loss before": with_digits(losses[0], digits), "loss after": with_digits(losses[-1], digits)}
    if exact is not None:
        ends = (with_digits(loss, digits) for loss in (exact.loss_before, exact.loss_after))
        rows["exact loss"] = " before, ".join(ends) + f" after{'' if exact.certified else '; not certified'}"
    if len(losses) > 1:
        rows["largest change"] = f"{with_digits(descent.largest_change, digits)} in W"
    if not math.isnan(descent.gradient_norm):
        rows["gradient's norm"] = with_digits(descent.gradient_norm, min(digits, 3))
    labelled = int((descent.end.targets.label_of_rows >= 0).sum()) if descent.in_memory else 0
    before, after = (round((accuracy(problem) or 0) * labelled) for problem in (descent.start, descent.end))
    if labelled:
        rows["rows right"] = f"{before} before, {after} after, of {labelled}"
    names = [Text(name, style="name") for name in rows]
    kind, sentence = ending(descent, learning_rate, digits)
    return [
        [Verdict(kind, sentence)],
        [Listing([Column(names, least=16)], list(rows.values()))],
        [Plot(losses)] if len(losses) > 2 else [],
    ]


def ending(descent: Descent, learning_rate: float | None, digits: int) -> tuple[str, str]:
    """Of which kind the end is, and what is said of it."""
    taken, loss = f"after {count(descent.steps, 'step')}", descent.diverged_to
    if descent.diverged_at is not None:
        word, what = "diverged", "the loss, or a number of W or b, overflows"
        if loss is None:
            word, what = "stopped", "the gradient is not finite, as that of the chain is where S underflows"
        elif not math.isinf(loss):
            what = f"the loss would grow to {with_digits(loss, digits)}, past that of the start"
        cause = "" if loss is None else f". The learning rate {learning_rate:g} is too large"
        sentence = f"{word}: at step {descent.diverged_at} {what}{cause}; W and b are those {taken}."
        return WRONG, sentence
    if descent.interrupted:
        return NEARLY, f"interrupted: {taken}; W and b are those reached."
    if descent.converged:
        why = "the gradient's norm is within the tolerance"
        if descent.at_the_bottom:
            why = "the loss can fall no further in floats"
        elif descent.gradient_norm == 0:
            why = "the gradient is 0"
        return RIGHT, f"converged: {taken} {why}."
    fell = descent.losses[0] - descent.losses[-1]
    how = "has fallen" if fell > 0 else "has grown by rounding" if fell else "is what it was"
    ends = [with_digits(loss, 4) for loss in (descent.losses[0], descent.losses[-1])]
    between = f" from {' to '.join(ends)}" if fell > 0 and ends[0] != ends[1] else ""
    return DONE, f"done: {taken} the loss {how}{between}; more steps may go further."
