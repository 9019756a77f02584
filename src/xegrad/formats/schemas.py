"""The JSON Schemas of what is read and printed, from the types that read and print."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import cleandoc
from typing import Any

# name: (type, what it is in a few words).  Imports nothing, so that --help stays fast.
SCHEMAS: Mapping[str, tuple[str, str]] = {
    "problem": ("ProblemObject", "a problem, in a file or on a line of a stream"),
    "compute": ("ComputeResult", "what compute --json prints"),
    "verify": ("VerifyResult", "what verify --json prints"),
    "explain": ("ExplainResult", "what explain --json prints"),
    "descend": ("DescendResult", "what descend --json prints"),
    "slips": ("SlipResult", "what slips NAME --json prints; slips --json prints a list"),
    "error": ("ErrorResult", "what stands in a stream in the place of a bad line"),
}


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of one of these."""
    import msgspec

    from xegrad.formats import json
    from xegrad.formats.results import types

    kind = getattr(json if name == "problem" else types, SCHEMAS[name][0])
    # A field of no known type may hold anything.
    described = msgspec.json.schema(kind, schema_hook=lambda _: {})
    for definition in described["$defs"].values():
        if "description" in definition:
            definition["description"] = cleandoc(definition["description"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"xegrad/{name}/1",
        **described,
    }
