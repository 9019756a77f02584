"""The view of `xegrad verify`: the checks of xegrad's own methods, or a candidate judged."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from rich.text import Text

from xegrad.diagnosis import Diagnosis
from xegrad.display import outcome
from xegrad.display.heatmap import gradient_map
from xegrad.display.numbers import decimals_for, in_column
from xegrad.display.outcome import digits_of
from xegrad.display.page import PageSettings
from xegrad.display.text import GAP, Column, Section, View, code, headed, listing, matrix, wrap
from xegrad.intermediates import Intermediates
from xegrad.judgement import DIGITS_LOST, RIGHT, UNDECIDED, WRONG, Judgement
from xegrad.naming import entry_of
from xegrad.problem import Problem
from xegrad.slips import SLIPS
from xegrad.verification import Check, Verification
from xegrad.vocabulary import SYMBOLS, count

LOSS = "loss"
WORD = 8  # columns of the word that a line begins with
_WORDS = (("right", "green"), ("WRONG", "bold red"), ("follows", "yellow"))  # of a step
STYLES = {RIGHT: "bold green", DIGITS_LOST: "bold yellow", WRONG: "bold red", UNDECIDED: "bold yellow"}


def verification_view(
    verification: Verification, decimals: Mapping[str, int | None], page: PageSettings
) -> View:
    """The outcome: of what is claimed, with the mistakes that make it; or else of xegrad's own methods."""
    if verification.checks:
        style = "bold green" if verification.verified else "bold red"
        sentence = outcome.checks_sentence(verification.checks)
        return [_checks(verification.checks), headed(sentence, style, page.width)]
    view = [] if verification.steps is None else [_steps(verification.steps, page.width)]
    sentences = outcome.sentences(verification, decimals)
    for name in verification.judgements:
        view += _judged(verification, name, sentences[name], page)
    if "both" in sentences:
        view.append(wrap(sentences["both"], page.width))
    if page.heatmaps:
        for name, judgement in verification.judgements.items():
            if name != LOSS:
                view += _maps(verification.problem, judgement, page)
    return view


def _checks(checks: Sequence[Check]) -> Section:
    """A line for each: whether it passed, its name, the digits of its worst entry."""
    rows = []
    for check in checks:
        word, style = ("passed", "green") if check.passed else ("failed", "bold red")
        without, total = int(check.comparison.no_correct_digit.sum()), check.comparison.reference.size
        figure = f"no digit in {without} of {total}" if without else digits_of(check.comparison)
        rows.append((Text(f"({word})" if check.advisory else word, style=style), check.name, figure))
    words, *others = zip(*rows, strict=True)
    return matrix([Column(words, left=True, least=WORD), *(Column(cells, left=True) for cells in others)])


def _judged(verification: Verification, name: str, sentence: str, page: PageSettings) -> View:
    """What is judged, the entries that are wrong or have no digit, the worst first, and the mistake."""
    judgement = verification.judgements[name]
    shown_as = WRONG if verification.misshapen and name != LOSS else judgement.outcome
    view = [headed(sentence, STYLES[shown_as], page.width)]
    if name != LOSS and judgement.outcome in (WRONG, DIGITS_LOST):
        view.append(_worst(verification.problem, name, judgement, page))
    if name in verification.diagnoses:
        pattern = LOSS if name == LOSS else judgement.pattern
        view += _mistakes(verification.diagnoses[name], pattern if shown_as == WRONG else "", page.width)
    if name != LOSS and verification.blind_spots:
        names = ", ".join(verification.blind_spots)
        text = f"This problem could not have caught: {names} (xegrad slips NAME explains)."
        view.append(wrap(text, page.width))
    return view


def _worst(problem: Problem, name: str, judgement: Judgement, page: PageSettings) -> Section:
    """The worst entries: the candidate's, the exact ones, and how far they are apart."""
    comparison, digits = judgement.comparison, page.digits
    bad = (judgement.wrong if judgement.outcome == WRONG else comparison.no_correct_digit).ravel()
    shown = [index for index in comparison.worst_first.tolist() if bad[index]][: page.top]
    yours, exact, difference = (
        values.ravel()[shown].tolist()
        for values in (comparison.candidate, comparison.reference, comparison.difference + 0.0)
    )
    decimals = decimals_for(yours + exact, digits)
    lines = matrix(
        [
            Column([in_column(value, decimals, digits) for value in column], heading)
            for heading, column in (("yours", yours), ("exact", exact), ("difference", difference))
        ],
        labels=[Column([entry_of(problem, name, index) for index in shown], "worst entries", left=True)],
    )
    if more := int(bad.sum()) - len(shown):
        lines.append(Text(f"and {more} more; --all shows them"))
    return lines


def _mistakes(diagnosis: Diagnosis, pattern: str, width: int) -> View:
    """Every explanation of the best rank that fits; where there is none, where the errors are."""
    view = []
    if len(diagnosis.explanations) > 1:
        several = "Each of these makes exactly these numbers; this problem cannot tell them apart."
        view.append(wrap(several, width))
    for one in diagnosis.explanations:
        title = [Text("WHY", style="bold yellow")]
        if one.slips:
            what = "all" if one.explains == one.entries else f"{one.explains} of"
            what = f"{what} {count(one.entries, 'entry')}" if one.entries > 1 else "it"
            title = wrap(f"MISTAKE {' + '.join(one.slips)} (explains {what})", width)
            title[0].stylize("bold red", 0, len("MISTAKE"))
        view.append([*title, *wrap(one.happened, width, "  "), *code(one.wrong, one.right, width)])
    if not diagnosis.explanations and pattern:
        what = "it" if pattern == LOSS else "these numbers"
        where = "every entry" if pattern == "everywhere" else pattern
        where = "" if pattern in (LOSS, "nowhere") else f" What is wrong: {where}."
        view.append(wrap(f"No known mistake makes {what}.{where}", width))
    return view


def _steps(steps: Intermediates, width: int) -> Section:
    """A line for each step that was claimed: right, the first wrong one, and what follows from it."""
    right, wrong, following = (Text(word, style=style) for word, style in _WORDS)
    first = [(right, name, "") for name in steps.right]
    later = []
    if steps.wrong is not None:
        first.append((wrong, steps.wrong, "the first that is wrong"))
        for name, follows in steps.follows.items():
            if name in steps.right_later:
                later.append((right, name, "" if follows else "though it does not follow from the wrong one"))
            elif follows:
                later.append((following, name, "what the wrong one leads to"))
            else:
                later.append((wrong, name, "does not follow from it either"))
    longest = max(len(name) for _, name, _ in (*first, *later))

    def lines(rows: Sequence[tuple[Text, str, str]]) -> Section:
        words, names, remarks = zip(*rows, strict=True)
        return listing([Column(words, least=WORD), Column(names, least=longest)], remarks, width)

    slips = [
        wrap(f"MISTAKE {name}: {SLIPS[name].sentence} (xegrad slips {name})", width, " " * (WORD + GAP))
        for name in steps.slips
    ]
    return [*lines(first), *itertools.chain(*slips), *(lines(later) if later else [])]


def _maps(problem: Problem, judgement: Judgement, page: PageSettings) -> View:
    """The candidate, and how far from the exact values it is."""
    comparison, name = judgement.comparison, judgement.name
    title = Text(f"yours, of dL/d{SYMBOLS[name]}")
    view = [[title, *gradient_map(problem, name, comparison.candidate, page)]]
    if judgement.outcome == WRONG:
        apart = np.where(comparison.within, 0, comparison.difference)
        title = Text("yours minus exact, where that is more than rounding")
        view.append([title, *gradient_map(problem, name, apart, page)])
    return view
