"""The view of `xegrad verify`: the checks of xegrad's own methods, or a candidate judged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.text import Text

from xegrad.blindness import are_sought
from xegrad.diagnosis import Diagnosis
from xegrad.display import outcome
from xegrad.display.advice import advice
from xegrad.display.heatmap import gradient_map
from xegrad.display.numbers import as_known, decimals_for, in_column
from xegrad.display.outcome import digits_of
from xegrad.display.page import PageSettings
from xegrad.display.right_if import diagnosed_if_sentence, right_if_sentence, steps_right_if_sentence
from xegrad.display.text import GAP, Column, Section, View, code, headed, listing, matrix, wrap
from xegrad.intermediates import Intermediates
from xegrad.judgement import DIGITS_LOST, RIGHT, UNDECIDED, WRONG, Judgement
from xegrad.naming import entry_of, shape_of
from xegrad.problem import Problem
from xegrad.slips import SLIPS
from xegrad.verification import LOSS, Check, Verification, names_no_mistake
from xegrad.vocabulary import SYMBOLS, count

NOT_SOUGHT = (
    "Not looked for: mistakes that this problem could not have caught. It is too large; "
    "xegrad sample makes a small one."
)
WORD = 8  # columns of the word that a line begins with
STEP_STYLES = {"right": "green", "WRONG": "bold red", "follows": "yellow"}
LATER = {  # a step after the first wrong one: whether it is right, and whether it follows from that
    (True, True): ("right", ""),
    (True, False): ("right", "though it does not follow from the wrong one"),
    (False, True): ("follows", "what the wrong one leads to"),
    (False, False): ("WRONG", "does not follow from it either"),
}
STYLES = {RIGHT: "bold green", DIGITS_LOST: "bold yellow", WRONG: "bold red", UNDECIDED: "bold yellow"}


def verification_view(verification: Verification, page: PageSettings) -> View:
    """The outcome: of what is claimed, with the mistakes that make it; or else of xegrad's own methods."""
    if verification.checks:
        style = "bold green" if verification.verified else "bold red"
        sentence = outcome.checks_sentence(verification.checks)
        return [_checks(verification.checks), headed(sentence, style, page.width)]
    view = [] if verification.steps is None else [_steps(verification.steps, page.width)]
    if verification.steps_right_if is not None:
        sentence = steps_right_if_sentence(verification.steps_right_if)
        view.insert(0, headed(sentence, STYLES[UNDECIDED], page.width))
    sentences = outcome.sentences(verification)
    for name in verification.judgements:
        view += _judged(verification, name, sentences[name], page)
    if "both" in sentences:
        view.append(wrap(sentences["both"], page.width))
    for name, judgement in verification.judgements.items():
        if page.heatmaps and name != LOSS:
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
    shown_as = WRONG if name in verification.misshapen else judgement.outcome
    view = [headed(sentence, STYLES[shown_as], page.width)]
    right_if, diagnosis = verification.right_if.get(name), verification.diagnoses.get(name)
    if right_if is not None:
        view.insert(0, headed(right_if_sentence(right_if), STYLES[UNDECIDED], page.width))
    if name in verification.fits:
        view.append(wrap(f"Note: {shape_of(verification.fits[name])}.", page.width))
    is_named = diagnosis is not None and not names_no_mistake(diagnosis.names)
    if name != LOSS and judgement.outcome in (WRONG, DIGITS_LOST) and (right_if is None or is_named):
        view.append(_worst(verification.problem, name, judgement, page))
    if right_if is not None and is_named:
        view.append(wrap("If it was made otherwise, a known mistake makes these numbers:", page.width))
    if name in verification.diagnosed_if:
        view.append(wrap(diagnosed_if_sentence(verification.diagnosed_if[name]), page.width))
    if diagnosis is not None:
        view += _mistakes(diagnosis, page.width)
        is_unknown = shown_as == WRONG and not diagnosis.explanations and right_if is None
        if is_unknown and (text := advice(verification, name)):
            view.append(wrap(text, page.width))
    if verification.blind_spots.get(name):
        names = ", ".join(verification.blind_spots[name])
        view.append(wrap(f"Not ruled out by this problem: {names} (xegrad slips NAME explains).", page.width))
    elif judgement.outcome == RIGHT and name != LOSS and not are_sought(verification.problem):
        view.append(wrap(NOT_SOUGHT, page.width))
    return view


def _worst(problem: Problem, name: str, judgement: Judgement, page: PageSettings) -> Section:
    """The worst entries: the candidate's, the exact ones, and how far they are apart."""
    against, digits = judgement.comparison, page.digits
    bad = judgement.wrong if judgement.outcome == WRONG else judgement.lost
    shown = against.worst(page.top, bad).tolist()
    parts = {"yours": against.candidate, "exact": against.reference, "difference": against.difference}
    values = {heading: (part.ravel()[shown] + 0.0).tolist() for heading, part in parts.items()}
    errors = [0.0] * len(shown) if against.is_exact else np.ravel(against.error)[shown].tolist()
    decimals = decimals_for(values["yours"] + values["exact"], digits)
    columns = [Column([entry_of(problem, name, index) for index in shown], "worst entries", left=True)]
    for heading, column in values.items():
        off = errors if heading != "yours" else [0.0] * len(shown)
        cells = (
            as_known(value, error, in_column(value, decimals, digits))
            for value, error in zip(column, off, strict=True)
        )
        columns.append(Column([*cells], heading))
    lines = matrix(columns)
    if more := int(bad.sum()) - len(shown):
        lines.append(Text(f"and {more} more; --all shows them"))
    return lines


def _mistakes(diagnosis: Diagnosis, width: int) -> View:
    """Every explanation of the best rank that fits."""
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
    return view


def _steps(steps: Intermediates, width: int) -> Section:
    """A line for each step that was claimed: right, the first wrong one, and what follows from it."""
    rows = [("right", "", name) for name in steps.right]
    if steps.wrong is not None:
        rows.append(("WRONG", "the first that is wrong", steps.wrong))
    later = [(*LATER[name in steps.right_later, follows], name) for name, follows in steps.follows.items()]
    longest = max(len(name) for *_, name in rows + later)

    def lines(rows: Sequence[tuple[str, str, str]]) -> Section:
        words = Column([Text(word, style=STEP_STYLES[word]) for word, _, _ in rows], least=WORD)
        names = Column([name for *_, name in rows], least=longest)
        return listing([words, names], [remark for _, remark, _ in rows], width)

    slips = []
    for name in steps.slips:
        sentence = f"MISTAKE {name}: {SLIPS[name].sentence} (xegrad slips {name})"
        slips += wrap(sentence, width, " " * (WORD + GAP))
    return [*lines(rows), *slips, *lines(later)]


def _maps(problem: Problem, judgement: Judgement, page: PageSettings) -> View:
    """The candidate, and how far from the exact values it is."""
    comparison, name = judgement.comparison, judgement.name
    maps = {f"yours, of dL/d{SYMBOLS[name]}": comparison.candidate}
    if judgement.outcome == WRONG:
        apart = np.where(comparison.within, 0, comparison.difference)
        maps["yours minus exact, where that is more than rounding"] = apart
    return [[Text(title), *gradient_map(problem, name, values, page)] for title, values in maps.items()]
