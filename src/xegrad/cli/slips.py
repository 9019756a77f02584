"""xegrad slips: the catalogue of known mistakes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from xegrad.cli import DONE
from xegrad.cli.choices import choice, completing, slip_names
from xegrad.cli.output import Color, Json, NoColor, OutputOptions, Pretty

if TYPE_CHECKING:
    from xegrad.display.blocks import View
    from xegrad.display.page import PageSettings


def command(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]",
            help="The mistake to explain; without one, the list of them.",
            autocompletion=completing(slip_names),
        ),
    ] = None,
    json: Json = False,
    pretty: Pretty = False,
    color: Color = "auto",
    no_color: NoColor = False,
) -> int:
    """List the mistakes that verify can name, or explain one in numbers.

    \b
    xegrad slips
    xegrad slips softmax-twice
    xegrad slips --json | jq -r '.[].name'
    xegrad sample --slip softmax-twice | xegrad verify
    """
    from xegrad.slips import SLIPS

    chosen = list(SLIPS) if name is None else [choice(name, SLIPS, "slip")]

    def result() -> Any:
        from xegrad.formats.results import slip_result
        from xegrad.slip_page import page as slip_page

        results = [slip_result(slip_page(one)) for one in chosen]
        return results if name is None else results[0]

    def view(page: PageSettings) -> View:
        from xegrad.display.slip import slip_view, slips_view
        from xegrad.slip_page import page as slip_page

        return slips_view() if name is None else slip_view(slip_page(chosen[0]), page)

    OutputOptions(json=json, pretty=pretty, color=color, no_color=no_color).destination().write(
        result=result, view=view
    )
    return DONE
