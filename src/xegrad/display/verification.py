"""The view of `xegrad verify`: the checks of xegrad's own methods, or a candidate judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from xegrad.display import outcome
from xegrad.display.computation import wrapped
from xegrad.display.naming import entry_of
from xegrad.display.numbers import decimals_for, in_column
from xegrad.display.outcome import digits_of
from xegrad.judgement import DIGITS_LOST, RIGHT, UNDECIDED, WRONG, Check, Judgement, Tolerance
from xegrad.problem import Problem

STYLES = {RIGHT: "bold green", DIGITS_LOST: "bold yellow", WRONG: "bold red", UNDECIDED: "bold yellow"}


def verification_view(
    problem: Problem,
    judgements: Mapping[str, Judgement],
    checks: Sequence[Check],
    tolerance: Tolerance,
    decimals: Mapping[str, int | None],
    *,
    passed: bool,
    width: int,
    top: int | None,
    digits: int,
) -> RenderableType:
    """What was found: of a candidate, or else of xegrad's own methods."""
    if not judgements:
        return checks_view(checks, outcome.checks_sentence(checks), passed=passed, width=width)
    sentences = outcome.sentences(problem, judgements, tolerance, decimals)
    return candidate_view(problem, judgements, sentences, width=width, top=top, digits=digits)


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


def candidate_view(
    problem: Problem,
    judgements: Mapping[str, Judgement],
    sentences: Mapping[str, str],
    *,
    width: int,
    top: int | None,
    digits: int,
) -> RenderableType:
    """Each judgement's sentence, then the entries that are wrong or have no digit, the worst first."""
    parts: list[RenderableType] = []
    for name, judgement in judgements.items():
        if parts:
            parts.append("")
        parts.append(_headed(sentences[name], STYLES[judgement.outcome], width))
        if name != "loss" and judgement.outcome in (WRONG, DIGITS_LOST):
            parts += ["", *_entries(problem, name, judgement, top, digits)]
    if "both" in sentences:
        parts += ["", wrapped(sentences["both"], width)]
    return Group(*parts)


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
