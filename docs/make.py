"""Make what the documents show from what the code does.

    python docs/make.py slips     docs/slips.md, from the catalogue
    python docs/make.py tour      docs/tour/*.svg, by the commands in docs/tour.md
    python docs/make.py man       docs/xegrad.1, the manual page that the wheel brings, from what the help says

Without a name it makes them all.  The tests fail where one is stale.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from xegrad import SLIPS
from xegrad.slip_page import page

DOCS = Path(__file__).parent

HEAD = """\
# Slips

A *slip* is a mistake that people make with this gradient. Most were seen in public code; the others are easy to make.
`xegrad verify` names the slip when a gradient is wrong. `xegrad slips NAME` shows the same page with its numbers, and
`xegrad sample --slip NAME` makes a wrong gradient. [Numerics](numerics.md#10-when-a-mistake-gets-a-name) says when a
gradient gets a name, and [the confusion matrix](slips-confusion.md) says how often.

In the formulas, S are the probabilities, Q the targets, q the sum of Q in a row, R = q S - Q the residual and G the
gradient; the [glossary](glossary.md) has the rest. A free number is one that `verify` reads from the wrong gradient.

`docs/make.py` makes this page from the catalogue. Each example is the derivation's own (`sample_inputs/seed.json`)
where the slip shows there, else a batch of four rows.

| slip | made in | free number | what it is |
|---|---|---|---|
"""


def slips_page() -> str:
    """docs/slips.md: a table of the catalogue, and a section on each slip."""
    rows = [
        f"| [{slip.name}](#{slip.name}) | {slip.stage} | {slip.free or ''} | {slip.sentence} |\n"
        for slip in SLIPS.values()
    ]
    return HEAD + "".join(rows) + "".join(line + "\n" for name in SLIPS for line in _section(name))


def _section(name: str) -> Iterator[str]:
    """The lines of one slip's section."""
    shown = page(name)
    slip, explanation = shown.slip, shown.explanation
    yield from ("", f"## {name}", "", slip.sentence, "")
    yield f"- Made in: {slip.stage}"
    yield f"- What is computed: `{shown.formula}`"
    if slip.free is not None:
        yield f"- Free number: {slip.free}" + (", in some forms" if slip.number.example is None else "")
    yield f"- How it comes about: {_one_line(slip.cause)}"
    yield f"- In the example: {_one_line(explanation.happened)}"
    yield f"- Remedy: {_one_line(explanation.remedy)}"
    yield from ("", "```diff")
    for mark, code in (("-", explanation.wrong), ("+", explanation.right)):
        yield from (f"{mark} {line}" for line in code.splitlines())
    yield "```"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def draw_tour() -> None:
    """Run every command in docs/tour.md that writes a picture."""
    for line in re.findall(r"^xegrad .* -o docs/tour/.*$", (DOCS / "tour.md").read_text("utf-8"), flags=re.M):
        folder = Path(sys.executable).parent
        subprocess.run(
            ["bash", "-c", line],
            check=False,  # a gradient that is judged wrong exits with 1
            cwd=DOCS.parent,
            env={**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "80"},
        )


def write_manual() -> None:
    """docs/xegrad.1, as `xegrad man` prints it."""
    written = subprocess.run([sys.executable, "-m", "xegrad", "man"], check=True, stdout=subprocess.PIPE)
    (DOCS / "xegrad.1").write_bytes(written.stdout)


def main(names: list[str]) -> None:
    if "slips" in names:
        (DOCS / "slips.md").write_text(slips_page(), encoding="utf-8")
    if "tour" in names:
        draw_tour()
    if "man" in names:
        write_manual()


if __name__ == "__main__":
    main(sys.argv[1:] or ["slips", "tour", "man"])
