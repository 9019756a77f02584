"""The JSON Schemas of what is read and printed, from the types that read and print."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import cleandoc
from typing import Any, get_args

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
    from msgspec import UnsetType

    from xegrad import problem_spec
    from xegrad.formats.results import types

    kind = SCHEMAS[name][0]
    printed = getattr(problem_spec if name == "problem" else types, kind)
    described = msgspec.json.schema(printed, schema_hook=lambda _: {})  # Raw is anything
    # What may be unset may be absent, though it has its place among what is not.
    absent = {
        field.encode_name for field in msgspec.structs.fields(printed) if UnsetType in get_args(field.type)
    }
    whole = described["$defs"][kind]
    whole["required"] = [name for name in whole.get("required", []) if name not in absent]
    for definition in described["$defs"].values():
        if "description" in definition:
            definition["description"] = cleandoc(definition["description"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"xegrad/{name}/1",
        **described,
    }
