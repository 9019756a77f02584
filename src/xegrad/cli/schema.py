"""xegrad schema: the JSON Schema of what is read and printed."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from xegrad.cli.choices import choice, completing
from xegrad.formats.schemas import SCHEMAS, schema


def command(
    name: Annotated[
        str | None,
        typer.Argument(metavar=f"[{'|'.join(SCHEMAS)}]", autocompletion=completing(SCHEMAS)),
    ] = None,
) -> int:
    """Print the JSON Schema of a problem, or of what a command prints with --json.

    \b
    xegrad schema compute > compute.schema.json
    xegrad schema                                # the names, and what each is
    """
    import msgspec

    if name is None:
        for known, (_, summary) in SCHEMAS.items():
            sys.stdout.write(f"{known:10}{summary}\n")
        return 0
    described = schema(choice(name, SCHEMAS, "schema"))
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(described), indent=2) + b"\n")
    return 0
