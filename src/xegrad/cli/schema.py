"""xegrad schema: the JSON Schema of what is read and printed, from the types that read and print."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from inspect import cleandoc
from typing import Annotated

import typer

from xegrad.cli.choices import choice, completing
from xegrad.cli.output import Pretty, indented

# name: (type, what it is in a few words)
SCHEMAS: Mapping[str, tuple[str, str]] = {
    "problem": ("ProblemObject", "a problem, in a file or on a line of a stream"),
    "compute": ("ComputeResult", "what compute --json prints"),
    "data-set": ("DataSetResult", "what compute --json prints of a data set"),
    "verify": ("VerifyResult", "what verify --json prints"),
    "explain": ("ExplainResult", "what explain --json prints"),
    "descend": ("DescendResult", "what descend --json prints"),
    "slips": ("SlipResult", "what slips NAME --json prints; slips --json prints a list"),
    "error": ("ErrorResult", "what stands in the place of a bad line or file"),
}


def command(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]",
            help=f"{', '.join(SCHEMAS)}; without one, what each is.",
            autocompletion=completing(SCHEMAS),
        ),
    ] = None,
    pretty: Pretty = False,
) -> int:
    """Print the JSON Schema of a problem, or of what a command prints with --json.

    \b
    xegrad schema compute > compute.schema.json
    xegrad schema verify --pretty
    xegrad schema                       # what each is
    """
    if name is None:
        for known, (_, summary) in SCHEMAS.items():
            sys.stdout.write(f"{known:10}{summary}\n")
        return 0
    name = choice(name, SCHEMAS, "schema")

    import msgspec

    from xegrad import problem_spec
    from xegrad.formats.results import types

    kind = getattr(problem_spec if name == "problem" else types, SCHEMAS[name][0])
    # A field of no known type may hold anything.
    described = msgspec.json.schema(kind, schema_hook=lambda _: {})
    for definition in described["$defs"].values():
        if "description" in definition:
            definition["description"] = cleandoc(definition["description"])
    draft = "https://json-schema.org/draft/2020-12/schema"
    schema = {"$schema": draft, "title": f"xegrad/{name}/1", **described}
    written = msgspec.json.encode(schema) + b"\n"
    sys.stdout.buffer.write(indented(written) if pretty else written)
    return 0
