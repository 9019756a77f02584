"""A view as a web page: real headings, tables and code, in the colours of the themes, readable on a phone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import partial
from html import escape

from rich.style import Style
from rich.text import Text

from xegrad.display import themes
from xegrad.display.blocks import (
    SIGNS,
    Beside,
    Block,
    Column,
    Figure,
    Formula,
    Heading,
    Listing,
    Paragraph,
    Plot,
    Replacement,
    Table,
    Verdict,
    View,
    with_texts,
)
from xegrad.display.svg import inline
from xegrad.inert import inert

CSS = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 72rem; margin: 0 auto; padding: 1rem; }
table, code, pre { font: .9rem/1.4 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }
section { margin: 1.1rem 0; }
p { margin: .3rem 0; }
h2 { font-size: 1.1rem; margin: 1.8rem 0 .4rem; border-bottom: 1px solid #8886; }
h2 small { font-weight: normal; }
.wide, pre { overflow-x: auto; margin: .3rem 0; }
table { border-collapse: collapse; }
th, td { padding: .15rem .55rem; text-align: right; white-space: nowrap; font-weight: normal; }
thead th { font-weight: bold; }
.left { text-align: left; }
.remark { white-space: normal; text-align: left; font-family: system-ui, sans-serif; }
.verdict { font-size: 1.15rem; }
.indented { padding-left: 2rem; }
.diff code { display: block; white-space: pre-wrap; padding-left: 1.2rem; text-indent: -1.2rem; text-decoration: none; }
.formulas { display: grid; grid-template-columns: auto 1fr; gap: 0 .6ch; padding-left: 2rem; margin: .4rem 0; }
.formulas code { text-align: right; }
.formulas code + code.side { text-align: left; }
.formulas code.whole { grid-column: 1 / 3; text-align: left; }
.diff { padding-left: 1rem; }
.plot { max-width: 40rem; width: 100%; }
.beside { display: flex; flex-wrap: wrap; gap: 0 2rem; }
.beside > div { min-width: 0; max-width: 100%; }
@media (max-width: 30rem) { table, code, pre { font-size: .78rem; } th, td { padding: .1rem .3rem; } }
"""


def page(view: View, theme: str | None = None) -> str:
    """A whole page; in the theme that the reader's browser prefers, or in this one.

    Texts from outside are text in it, and nothing else.
    """
    view = with_texts(view, partial(inert, keeping="\n"))
    if theme is None:
        light, dark = (_rules(one) for one in (themes.LIGHT, themes.DARK))
        looks = f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}"
    else:
        looks = f":root {{ color-scheme: {theme}; }}\n{_rules(theme)}"
    head = (
        '<meta charset="utf-8">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>xegrad</title>\n<style>{CSS}{looks}\n</style>"
    )
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{_sections(view)}\n</body>\n</html>\n'


def _sections(view: View) -> str:
    return "\n".join(f"<section>\n{''.join(map(element, section))}</section>" for section in view if section)


def _rules(theme: str) -> str:
    """The look of each style as CSS."""
    ground, ink, named = themes.PAGE[theme]
    rules = [f"body {{ background: {ground}; color: {ink}; }}"]
    for name, look in themes.styles(theme).items():
        rules.append(f".{name} {{ {'; '.join(_declarations(Style.parse(look), ground, ink, named))}; }}")
    return "\n".join(rules)


def _declarations(style: Style, ground: str, ink: str, named: dict[str, str]) -> Iterator[str]:
    """One style of rich's in CSS."""
    front, behind = (
        None if color is None else named.get(color.name, color.name) for color in (style.color, style.bgcolor)
    )
    if front is not None:
        yield f"color: {front}"
    if behind is not None:
        yield f"background: {behind}"
    if style.bold:
        yield "font-weight: bold"
    if style.dim:
        yield f"color: color-mix(in srgb, {ink} 65%, {ground})"


def element(block: Block) -> str:
    """One block as an element."""
    match block:
        case Verdict():
            word = f'<strong class="{block.kind}">{SIGNS[block.kind][0]} {escape(block.outcome)}</strong>'
            return f'<p class="verdict">{word}{escape(block.sentence[len(block.outcome) :])}</p>\n'
        case Heading():
            note = f" <small>{escape(block.note)}</small>" if block.note else ""
            return f"<h2>{escape(block.title)}{note}</h2>\n"
        case Paragraph():
            label = f"{_label(block)} " if block.label.strip() else ""
            indented = ' class="indented"' if block.label[:1] == " " else ""
            return f"<p{indented}>{label}{marked_up(block.styled)}</p>\n"
        case Formula():
            return f'<div class="formulas">{"".join(itertools.starmap(_equation, block.lines))}</div>\n'
        case Table():
            return _table([*block.labels, *block.columns], len(block.labels))
        case Listing():
            columns = [Column(column.cells, column.heading, left=True) for column in block.columns]
            return _table([*columns, Column(block.remarks, left=True)], len(columns), remarks=True)
        case Replacement():
            codes = [
                f'<code class="{kind}">{sign} {escape(line)}</code>'
                for kind, sign, code in (("removed", "-", block.wrong), ("added", "+", block.right))
                for line in code.splitlines()
            ]
            return f'<div class="diff">{"".join(codes)}</div>\n'
        case Beside():
            halves = (f"<div>{_sections(view)}</div>" for view in (block.left, block.right))
            return f'<div class="beside">{"".join(halves)}</div>\n'
        case Plot():
            return inline(block)
        case Figure():
            lines = "\n".join(map(marked_up, block.lines))
            return f'<pre class="figure">{lines}</pre>\n'


def _label(paragraph: Paragraph) -> str:
    """In the style of the text, or else bold."""
    style, label = paragraph.styled.style, escape(paragraph.label.strip())
    return f'<span class="{style}">{label}</span>' if style else f"<strong>{label}</strong>"


def _equation(style: str, left: str, right: str) -> str:
    """The cells of an equation: both sides of its sign, or one for all of it."""
    if not right:
        return f'<code class="whole {style}">{escape(left)}</code>'
    return f'<code class="{style}">{escape(left)}</code><code class="side {style}">{escape(right.strip())}</code>'


def _table(columns: Sequence[Column], n_labels: int, *, remarks: bool = False) -> str:
    """Headings, if there are any, and rows, whose first cells are labels."""
    rows = []
    if any(column.heading for column in columns):
        cells = "".join(
            f'<th class="left">{escape(column.heading)}</th>'
            if column.left
            else f"<th>{escape(column.heading)}</th>"
            for column in columns
        )
        rows.append(f"<thead><tr>{cells}</tr></thead>")
    for row in zip(*(column.cells for column in columns), strict=True):
        cells = ""
        for k, (cell, column) in enumerate(zip(row, columns, strict=True)):
            tag = "th" if k < n_labels else "td"
            text = cell if isinstance(cell, Text) else Text(cell)
            is_remark = remarks and k == len(columns) - 1
            classes = ["remark"] * is_remark + ["left"] * column.left + [str(text.style)] * bool(text.style)
            attribute = f' class="{" ".join(classes)}"' if classes else ""
            cells += f"<{tag}{attribute}>{marked_up(Text(text.plain.strip(), spans=text.spans))}</{tag}>"
        rows.append(f"<tr>{cells}</tr>")
    return f'<div class="wide"><table>{"".join(rows)}</table></div>\n'


def marked_up(text: Text) -> str:
    """Text with its styles as classes."""
    ends = sorted({0, len(text), *(edge for span in text.spans for edge in (span.start, span.end))})
    parts = []
    for start, end in itertools.pairwise(ends):
        names = [str(span.style) for span in text.spans if span.start <= start and end <= span.end]
        piece = escape(text.plain[start:end])
        parts.append(f'<span class="{" ".join(names)}">{piece}</span>' if names else piece)
    inner = "".join(parts)
    return f'<span class="{text.style}">{inner}</span>' if text.style else inner
