"""The view of `xegrad verify`: the checks of xegrad's own methods, or a candidate judged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec.structs import replace
from rich.text import Text

from xegrad.blindness import are_sought
from xegrad.diagnosis import Diagnosis
from xegrad.display import blocks, outcome
from xegrad.display.advice import explained_by, what_to_try, what_was_seen
from xegrad.display.blocks import (
    GAP,
    Beside,
    Column,
    Heading,
    Listing,
    Paragraph,
    Replacement,
    Section,
    Table,
    Verdict,
    View,
)
from xegrad.display.heatmap import gradient_map
from xegrad.display.numbers import SHOWS_ALL, alike, as_known, decimals_for, in_column
from xegrad.display.outcome import digits_of
from xegrad.display.page import PageSettings
from xegrad.display.right_if import diagnosed_if_sentence, right_if_sentence, steps_right_if_sentence
from xegrad.display.terminal import width_beside
from xegrad.intermediates import Intermediates
from xegrad.judgement import DIGITS_LOST, RIGHT, UNDECIDED, WRONG, Judgement
from xegrad.naming import class_in_short, entry_of, input_in_short, shape_of
from xegrad.problem import Problem
from xegrad.slips import SLIPS
from xegrad.verification import Check, Verification, names_no_mistake
from xegrad.vocabulary import AXES, LOSS, SYMBOLS, count

NOT_SOUGHT = (
    "Not looked for: mistakes that this problem could not have caught. It is too large; "
    "xegrad sample makes a small one."
)
NOT_COUNTED = "In brackets: not counted, since finite differences have few digits however right all is."
DIGITS_APART = 4  # of a difference
MOST_NAMED = 5  # runs of rows, or of columns, that are wrong in every entry
LEAST_ENTRY = 25  # columns of an entry with its names
SMALL = 9  # entries, of which a map shows no more than their list
WORD = 8  # columns of the word that a line begins with
STEP_STYLES = {"right": "right", "WRONG": "wrong", "follows": "nearly", "open": "nearly"}
OPEN = "open", "the error bound says nothing of it"  # of a step that is not wrong
LATER = {  # a step after the first wrong one: whether it is right, and whether it follows from that
    (True, True): ("right", ""),
    (True, False): ("right", "though it does not follow from the wrong one"),
    (False, True): ("follows", "what the wrong one leads to"),
    (False, False): ("WRONG", "does not follow from it either"),
}
KINDS = {
    RIGHT: blocks.RIGHT,
    DIGITS_LOST: blocks.NEARLY,
    WRONG: blocks.WRONG,
    UNDECIDED: blocks.UNDECIDED,
}


def verification_view(verification: Verification, page: PageSettings) -> View:
    """The outcome: of what is claimed, with the mistakes that make it; or else of xegrad's own methods."""
    if not (verification.judgements or verification.steps):
        kind = blocks.RIGHT if verification.verified else blocks.WRONG
        return [
            [Verdict(kind, outcome.checks_sentence(verification.checks))],
            _checks(verification.checks),
        ]
    view = [_verdicts(verification)]
    if verification.checks:
        view.append(_checks(verification.checks))
    if verification.steps is not None:
        view.append(_steps(verification.steps))
    several = len(verification.judgements) > 1
    for name in verification.judgements:
        evidence = [section for section in _evidence(verification, name, page) if section]
        if several and evidence:
            evidence[0].insert(0, Heading(f"dL/d{SYMBOLS[name]}" if name in SYMBOLS else "the loss"))
        view += evidence
    next_steps = dict.fromkeys(filter(None, (_next(verification, name) for name in verification.judgements)))
    return [*view, [Paragraph(f"{step}.", "Next: ") for step in next_steps]]


def _verdicts(verification: Verification) -> Section:
    """A sentence for each part of the claim; before it, how it must have been made to be right."""
    section: Section = []
    if verification.steps_right_if is not None:
        section.append(Verdict(blocks.NEARLY, steps_right_if_sentence(verification.steps_right_if)))
    if verification.steps is not None:
        kind = blocks.UNDECIDED if verification.steps.undecided else blocks.RIGHT
        kind = kind if verification.steps.wrong is None else blocks.WRONG
        section.append(Verdict(kind, outcome.steps_sentence(verification.steps)))
    sentences = outcome.sentences(verification)
    for name in verification.judgements:
        if name in verification.right_if:
            section.append(Verdict(blocks.NEARLY, right_if_sentence(verification.right_if[name])))
        section.append(Verdict(KINDS[_outcome(verification, name)], sentences[name]))
    if "both" in sentences:
        section.append(Paragraph(sentences["both"], "  "))
    return section


def _outcome(verification: Verification, name: str) -> str:
    """Of a part: a gradient of another shape is wrong, whatever its numbers are."""
    return WRONG if name in verification.misshapen else verification.judgements[name].outcome


def _checks(checks: Sequence[Check]) -> Section:
    """A line for each: whether it passed, its name, the digits of its worst entry."""
    rows, is_aside = [], any(check.advisory for check in checks)
    for check in checks:
        word, style = ("passed", "right") if check.passed else ("failed", "wrong")
        without, total = int(check.comparison.no_correct_digit.sum()), check.comparison.reference.size
        figure = f"no digit in {without} of {total}" if without else digits_of(check.comparison)
        rows.append((Text(f"({word})" if check.advisory else word, style=style), check.name, figure))
    words, names, figures = zip(*rows, strict=True)
    section: Section = [Listing([Column(words, least=WORD), Column(names)], figures)]
    return [*section, Paragraph(NOT_COUNTED)] if is_aside else section


def _evidence(verification: Verification, name: str, page: PageSettings) -> View:
    """Which entries of a part are wrong or have no digit, the worst first, the mistake, and what is not ruled out."""
    judgement = verification.judgements[name]
    view: View = []
    right_if, diagnosis = verification.right_if.get(name), verification.diagnoses.get(name)
    if name in verification.fits:
        view.append([Paragraph(f"Note: {shape_of(verification.fits[name])}.")])
    is_named = diagnosis is not None and not names_no_mistake(diagnosis.names)
    if name != LOSS and judgement.outcome in (WRONG, DIGITS_LOST) and (right_if is None or is_named):
        worst = _worst(verification.problem, name, judgement, page)
        beside = replace(page, width=width_beside([worst], page.width))
        where = _map(verification.problem, judgement, beside)
        view.append([Beside([where], [worst])] if where else worst)
    if right_if is not None and is_named:
        view.append([Paragraph("If it was made otherwise, a known mistake makes these numbers:")])
    if name in verification.diagnosed_if:
        view.append([Paragraph(diagnosed_if_sentence(verification.diagnosed_if[name]))])
    if diagnosis is not None:
        view += _mistakes(diagnosis)
    if _is_unknown(verification, name) and (seen := what_was_seen(verification, name)):
        view.append([Paragraph(seen)])
    if verification.blind_spots.get(name):
        names = ", ".join(verification.blind_spots[name])
        view.append([Paragraph(f"Not ruled out by this problem: {names} (xegrad slips NAME explains).")])
    elif judgement.outcome == RIGHT and name != LOSS and not are_sought(verification.problem):
        view.append([Paragraph(NOT_SOUGHT)])
    return view


def _is_unknown(verification: Verification, name: str) -> bool:
    """Whether a part is wrong, and nothing that was tried makes it so."""
    diagnosis = verification.diagnoses.get(name)
    is_explained = diagnosis is None or diagnosis.explanations or name in verification.right_if
    return _outcome(verification, name) == WRONG and not is_explained


def _next(verification: Verification, name: str) -> str:
    """What to do about a part, if there is anything."""
    if _is_unknown(verification, name):
        return what_to_try(verification, name)
    diagnosis = verification.diagnoses.get(name)
    return "" if diagnosis is None else explained_by(diagnosis)


def _worst(problem: Problem, name: str, judgement: Judgement, page: PageSettings) -> Section:
    """The worst entries: the candidate's, the exact ones, and how far they are apart; digits that differ stand out."""
    against, digits = judgement.comparison, page.digits
    bad = judgement.wrong if judgement.outcome == WRONG else judgement.lost
    shown = against.worst(page.top, bad).tolist()
    parts = {"yours": against.candidate, "exact": against.reference, "error": against.difference}
    values = {heading: (part.ravel()[shown] + 0.0).tolist() for heading, part in parts.items()}
    errors = [0.0] * len(shown) if against.is_exact else np.ravel(against.error)[shown].tolist()
    decimals = decimals_for(values["yours"] + values["exact"], digits)
    apart_digits = digits if digits >= SHOWS_ALL else min(digits, DIGITS_APART)
    formats = dict.fromkeys(("yours", "exact"), (decimals, digits))
    formats["error"] = decimals_for(values["error"], apart_digits), apart_digits
    room = max(LEAST_ENTRY, page.width // 2)
    entries = [entry_of(problem, name, index, room) for index in shown]
    cells: dict[str, list[Text]] = {}
    for heading, column in values.items():
        off = errors if heading != "yours" else [0.0] * len(shown)
        cells[heading] = [
            Text(as_known(value, error, in_column(value, *formats[heading])))
            for value, error in zip(column, off, strict=True)
        ]
    for yours, exact in zip(cells["yours"], cells["exact"], strict=True):
        yours.stylize("wrong", alike(yours.plain, exact.plain))
    columns = [Column(column, heading) for heading, column in cells.items()]
    section: Section = [Table(columns, [Column(entries, "worst entries", left=True)])]
    if more := int(bad.sum()) - len(shown):
        section.append(Paragraph(f"and {more} more; --all shows them"))
    return section


def _mistakes(diagnosis: Diagnosis) -> View:
    """Every explanation of the best rank that fits."""
    view: View = []
    if len(diagnosis.explanations) > 1:
        several = "Each of these makes exactly these numbers; this problem cannot tell them apart."
        view.append([Paragraph(several)])
    for one in diagnosis.explanations:
        title = Text("WHY", style="nearly")
        if one.slips:
            what = "all" if one.explains == one.entries else f"{one.explains} of"
            what = f"{what} {count(one.entries, 'entry')}" if one.entries > 1 else "it"
            title = Text.assemble(("MISTAKE", "wrong"), f" {' + '.join(one.slips)} (explains {what})")
        view.append([Paragraph(title), Paragraph(one.happened, "  "), Replacement(one.wrong, one.right)])
    return view


def _steps(steps: Intermediates) -> Section:
    """A line for each step that was claimed: right, the first wrong one, and what follows from it."""
    rows = [("right", "", name) for name in steps.right]
    rows += [(*OPEN, name) for name in steps.undecided if name not in steps.follows]
    if steps.wrong is not None:
        rows.append(("WRONG", "the first that is wrong", steps.wrong))
    later = [
        (*(OPEN if name in steps.undecided else LATER[name in steps.right_later, follows]), name)
        for name, follows in steps.follows.items()
    ]
    longest = max(len(name) for *_, name in rows + later)

    def listing(rows: Sequence[tuple[str, str, str]]) -> Section:
        if not rows:
            return []
        words = Column([Text(word, style=STEP_STYLES[word]) for word, _, _ in rows], least=WORD)
        names = Column([name for *_, name in rows], least=longest)
        return [Listing([words, names], [remark for _, remark, _ in rows])]

    slips = [
        Paragraph(f"MISTAKE {name}: {SLIPS[name].sentence} (xegrad slips {name})", " " * (WORD + GAP))
        for name in steps.slips
    ]
    return [*listing(rows), *slips, *listing(later)]


def _map(problem: Problem, judgement: Judgement, page: PageSettings) -> Section:
    """How far from the exact values the wrong entries are; rows and columns that are all wrong are marked."""
    comparison, wrong = judgement.comparison, judgement.wrong
    if judgement.outcome != WRONG or wrong.size <= SMALL:
        return []
    n_wrong = int(wrong.sum())
    where = "the wrong entry" if n_wrong == 1 else f"the {n_wrong} wrong entries"
    apart = np.where(wrong, comparison.difference, 0)
    section: Section = [
        Paragraph(f"error (yours minus exact) in {where}:"),
        *gradient_map(problem, judgement.name, apart, page, wrong, "not wrong"),
    ]
    if all_of := _wholly_wrong(problem, judgement):
        section.append(Paragraph(f"wrong in every entry: {all_of}"))
    return section


def _wholly_wrong(problem: Problem, judgement: Judgement) -> str:
    """The rows and columns of which every entry is wrong, where the verdict names none and not all are so."""
    if judgement.pattern != "several entries" or judgement.wrong.ndim != 2:
        return ""
    named = {"class": lambda k: class_in_short(problem, k), "input": lambda k: input_in_short(problem, k)}
    parts = []
    for axis, what in enumerate(AXES[judgement.name]):
        indices = np.flatnonzero(judgement.wrong.all(axis=1 - axis))
        if not indices.size:
            continue
        runs = np.split(indices, np.flatnonzero(np.diff(indices) > 1) + 1)
        called = named.get(what, str)
        texts = [" to ".join(map(called, dict.fromkeys((run[0], run[-1])))) for run in runs[:MOST_NAMED]]
        texts += [f"{len(runs) - MOST_NAMED} more"] * (len(runs) > MOST_NAMED)
        kind = {"class": "classes ", "row": "rows "}.get(what, "") if indices.size > 1 else f"{what} "
        parts.append(f"{'' if what == 'input' else kind}{', '.join(texts)}")
    return "; ".join(parts)
