"""xegrad formats: what can be read and written."""

from __future__ import annotations

import sys

from xegrad.cli import options
from xegrad.cli.output import FORMS
from xegrad.formats import FORMATS


def command(json: options.Json = False, no_color: options.NoColor = False) -> int:
    """List the formats of problems and their parts, and the forms of results.

    \b
    xegrad formats
    xegrad formats --json | jq -r '.reads[].name'
    """
    if json:
        import msgspec

        reads = [
            {
                "name": entry.name,
                "suffixes": entry.suffixes,
                "holds": entry.reads,
                "summary": entry.summary,
                "extra": entry.extra,
            }
            for entry in FORMATS.values()
        ]
        writes = [{"name": name, "suffixes": suffixes} for name, suffixes in FORMS.items()]
        sys.stdout.buffer.write(msgspec.json.encode({"reads": reads, "writes": writes}) + b"\n")
        return 0
    from rich.text import Text

    from xegrad.display import screen
    from xegrad.display.text import Column, listing

    rows = [
        (
            entry.name,
            " ".join(entry.suffixes),
            entry.summary + (f" (pip install 'xegrad[{entry.extra}]')" if entry.extra else ""),
        )
        for entry in FORMATS.values()
    ]
    forms = [(name, " ".join(suffixes), "") for name, suffixes in FORMS.items()]
    view = []
    for heading, lines in (("read", rows), ("written, by --format or the suffix of -o", forms)):
        names, suffixes, summaries = zip(*lines, strict=True)
        columns = [Column(names), Column(suffixes)]
        view.append([Text(heading, style="bold"), *listing(columns, summaries, screen.width())])
    screen.show(view, color=not no_color)
    return 0
