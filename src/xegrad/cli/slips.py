"""xegrad slips: the catalogue of known mistakes."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from xegrad.cli import options


def command(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Explain this one.")] = None,
    json: options.Json = False,
    no_color: options.NoColor = False,
) -> int:
    """List the mistakes that verify can name, or explain one.

    \b
    xegrad slips
    xegrad slips softmax-twice
    xegrad slips --json | jq -r '.[].name'
    xegrad sample --slip softmax-twice | xegrad verify
    """
    from xegrad.display import screen
    from xegrad.slips import SLIPS

    chosen = list(SLIPS) if name is None else [options.choice(name, SLIPS, "slip")]
    if json:
        from xegrad.formats.results import encode, slip_result

        results = [slip_result(SLIPS[one]) for one in chosen]
        sys.stdout.buffer.write(encode(results if name is None else results[0]))
        return 0
    if name is None:
        from xegrad.display.listing import listing

        rows = [(slip.name, slip.sentence) for slip in SLIPS.values()]
        view = listing({"what verify can name; xegrad slips NAME explains one": rows}, screen.width())
    else:
        from xegrad.display.slip import slip_view
        from xegrad.slip_page import page

        view = slip_view(page(chosen[0]), screen.width())
    screen.show(view, color=not no_color)
    return 0
