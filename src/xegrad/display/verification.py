"""The view of `xegrad verify`: the checks of xegrad's own methods, or a candidate judged."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from xegrad.diagnosis import Diagnosis
from xegrad.display import outcome
from xegrad.display.computation import wrapped
from xegrad.display.heatmap import gradient_map
from xegrad.display.numbers import decimals_for, in_column
from xegrad.display.outcome import digits_of
from xegrad.display.page import Page
from xegrad.intermediates import Intermediates
from xegrad.judgement import DIGITS_LOST, RIGHT, UNDECIDED, WRONG, Check, Judgement
from xegrad.naming import entries, entry_of
from xegrad.problem import Problem
from xegrad.slips import SLIPS
from xegrad.verification import Verification
from xegrad.vocabulary import SYMBOLS

LOSS = "loss"
_PATTERNS = {"everywhere": "every entry"}
STYLES = {RIGHT: "bold green", DIGITS_LOST: "bold yellow", WRONG: "bold red", UNDECIDED: "bold yellow"}


def verification_view(found: Verification, decimals: Mapping[str, int | None], page: Page) -> RenderableType:
    """What was found: of what is claimed, with the mistakes that make it; or else of xegrad's own methods."""
    width, top, digits = page.width, page.top, page.digits
    if found.checks:
        sentence = outcome.checks_sentence(found.checks)
        return checks_view(found.checks, sentence, passed=found.verified, width=width)
    parts: list[RenderableType] = []
    if found.steps is not None:
        parts += _steps(found.steps, width)
    if found.judgements:
        sentences = outcome.sentences(found, decimals)
        parts += ["", *_judgements(found, sentences, width=width, top=top, digits=digits)]
    if page.heatmaps:
        for name, judged in found.judgements.items():
            if name != LOSS:
                parts += ["", *_maps(found.problem, judged, width, page.ascii)]
    return Group(*(parts if parts[0] != "" else parts[1:]))


def _maps(problem: Problem, judged: Judgement, width: int, ascii: bool) -> Iterator[RenderableType]:
    """What was given, and how far from the exact values it is."""
    comparison = judged.comparison
    yield Text(f"yours, of dL/d{SYMBOLS[judged.name]}")
    yield gradient_map(problem, judged.name, comparison.candidate, width=width, ascii=ascii)
    if judged.outcome == WRONG:
        apart = np.where(comparison.within, 0, comparison.difference)
        yield ""
        yield Text("yours minus exact, where that is more than rounding")
        yield gradient_map(problem, judged.name, apart, width=width, ascii=ascii)


def checks_view(checks: Sequence[Check], sentence: str, *, passed: bool, width: int) -> RenderableType:
    """One line a check: whether it passed, its name, the digits of its worst entry.  The verdict last."""
    lines = []
    longest = max(len(check.name) for check in checks)
    for check in checks:
        word = "passed" if check.passed else "failed"
        lost = int(check.comparison.digits_lost.sum())
        figures = digits_of(check.comparison)
        if lost:
            figures = f"no digit in {lost} of {check.comparison.reference.size}"
        style = "green" if check.passed else "bold red"
        shown = f"({word})" if check.advisory else word
        lines.append(Text.assemble((f"{shown:10}", style), f"{check.name:{longest + 2}}", figures))
    return Group(*lines, "", _headed(sentence, "bold green" if passed else "bold red", width))


def _judgements(
    found: Verification, sentences: Mapping[str, str], *, width: int, top: int | None, digits: int
) -> Iterator[RenderableType]:
    """Each judgement's sentence, the entries that are wrong or have no digit, the worst first, and the mistake."""
    for index, (name, judgement) in enumerate(found.judgements.items()):
        if index:
            yield ""
        outcome_shown = WRONG if found.misshapen and name != LOSS else judgement.outcome
        yield _headed(sentences[name], STYLES[outcome_shown], width)
        if name != LOSS and judgement.outcome in (WRONG, DIGITS_LOST):
            yield ""
            yield from _entries(found.problem, name, judgement, top, digits)
        pattern = LOSS if name == LOSS else judgement.pattern
        if name in found.diagnoses:
            yield from mistakes(found.diagnoses[name], pattern if outcome_shown == WRONG else "", width)
        if name != LOSS and found.blind_spots:
            yield ""
            text = f"This problem could not have caught: {', '.join(found.blind_spots)} (xegrad slips NAME explains)."
            yield wrapped(text, width)
    if "both" in sentences:
        yield ""
        yield wrapped(sentences["both"], width)


def mistakes(diagnosis: Diagnosis, pattern: str, width: int) -> Iterator[RenderableType]:
    """Every explanation of the best rank that fits; where there is none, where the errors are."""
    several = len(diagnosis.explanations) > 1
    if several:
        yield ""
        yield wrapped(
            "Each of these makes exactly these numbers; this problem cannot tell them apart.", width
        )
    for one in diagnosis.explanations:
        yield ""
        if one.slips:
            what = "all" if one.explains == one.entries else f"{one.explains} of"
            count = f"explains {what} {entries(one.entries)}" if one.entries > 1 else "explains it"
            text = wrapped(f"MISTAKE {' + '.join(one.slips)} ({count})", width)
            text.stylize("bold red", 0, len("MISTAKE"))
            yield text
        else:
            yield Text("WHY", style="bold yellow")
        yield _indented(" ".join(one.happened.split()), width, "  ")
        for heading, code in (("instead of", one.wrong), ("write", one.right)):
            for k, line in enumerate(code.splitlines()):
                yield Text(f"    {heading if k == 0 else '':12} {line}")
    if not diagnosis.explanations and pattern:
        yield ""
        where = "" if pattern in (LOSS, "nowhere") else f" What is wrong: {_PATTERNS.get(pattern, pattern)}."
        yield wrapped(f"No known mistake makes {'it' if pattern == LOSS else 'these numbers'}.{where}", width)


def _indented(text: str, width: int, indent: str) -> Text:
    lines = [line for part in text.splitlines() for line in textwrap.wrap(part, width - len(indent)) or [""]]
    return Text("\n".join(indent + line for line in lines))


def _steps(steps: Intermediates, width: int) -> Iterator[RenderableType]:
    """A line for each step that was given: right, the first wrong one, and what follows from it."""
    longest = max(map(len, (*steps.right, steps.wrong or "", *steps.follows)))
    for name in steps.right:
        yield Text.assemble((f"{'right':10}", "green"), name)
    if steps.wrong is None:
        return
    yield Text.assemble((f"{'WRONG':10}", "bold red"), f"{steps.wrong:{longest + 2}}the first that is wrong")
    for name in steps.slips:
        yield _indented(f"MISTAKE {name}: {SLIPS[name].sentence} (xegrad slips {name})", width, " " * 10)
    for name, follows in steps.follows.items():
        if name in steps.right_later:
            word, style, what = (
                "right",
                "green",
                "" if follows else "though it does not follow from the wrong one",
            )
        elif follows:
            word, style, what = "follows", "yellow", "what the wrong one leads to"
        else:
            word, style, what = "WRONG", "bold red", "does not follow from it either"
        yield Text.assemble((f"{word:10}", style), f"{name:{longest + 2}}{what}".rstrip())


def _headed(sentence: str, style: str, width: int) -> Text:
    text = wrapped(sentence, width)
    text.stylize(style, 0, sentence.index(":"))
    return text


def _entries(
    problem: Problem, name: str, judgement: Judgement, top: int | None, digits: int
) -> Iterator[RenderableType]:
    comparison = judgement.comparison
    bad = (judgement.wrong if judgement.outcome == WRONG else comparison.digits_lost).ravel()
    shown = [index for index in comparison.worst_first.tolist() if bad[index]][:top]
    columns = {
        "yours": comparison.candidate.ravel()[shown].tolist(),
        "exact": comparison.reference.ravel()[shown].tolist(),
    }
    decimals = decimals_for([value for column in columns.values() for value in column], digits)
    differences = comparison.difference.ravel()[shown].tolist()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("worst entries", no_wrap=True, overflow="ellipsis")
    for heading in (*columns, "difference"):
        table.add_column(heading, justify="right", no_wrap=True)
    for k, index in enumerate(shown):
        cells = [in_column(column[k], decimals, digits) for column in columns.values()]
        table.add_row(
            Text(entry_of(problem, name, index)), *cells, in_column(differences[k] + 0.0, decimals, digits)
        )
    yield table
    if len(shown) < int(bad.sum()):
        yield Text(f"and {int(bad.sum()) - len(shown)} more; --all shows them")
