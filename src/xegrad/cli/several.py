"""Several problems on one command line: a result for each, under a heading, or as a line of JSON."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from xegrad.cli import INTERRUPTED, print_trouble
from xegrad.cli.inputs import ProblemOptions
from xegrad.cli.output import OutputOptions
from xegrad.errors import UsageError, XegradError
from xegrad.inert import inert
from xegrad.naming import source_name

if TYPE_CHECKING:
    from xegrad.display.blocks import View
    from xegrad.display.page import PageSettings

IN_SERIES = ("table", "json")  # the forms in which one result may follow another


def run(command: Callable[..., int], paths: list[str], arguments: Mapping[str, Any]) -> int:
    """Each problem on its own; the worst of the exit statuses.  One that cannot be read does not stop the others."""
    request, output = arguments["request"], arguments["output"]
    form = "json" if output.json else output.form or "table"
    _check(request, output, form, arguments)
    statuses = []
    for number, path in enumerate(paths):
        if not output.quiet and form == "table":
            _print_heading(path, output, is_first=number == 0)
        try:
            statuses.append(command(**{**arguments, "request": replace(request, problem=[path])}))
        except UsageError:
            raise
        except XegradError as error:
            source = source_name(path)
            message = str(error) if str(error).startswith(inert(source)) else f"{source}: {error}"
            if not output.quiet and form == "json":
                _print_error(source, message)
            statuses.append(print_trouble(message))
        if statuses[-1] == INTERRUPTED:
            break
    return max(statuses)


def _check(request: ProblemOptions, output: OutputOptions, form: str, arguments: Mapping[str, Any]) -> None:
    """Raise UsageError for what holds one result, is of one problem, or can be read once."""
    count = f"there are {len(request.paths)} problems"
    for option, file in {"-o": output.file, "--save": arguments.get("save")}.items():
        if file is not None:
            raise UsageError(f"{option} {file} holds one result, and {count}; give them one at a time")
    if form not in IN_SERIES:
        raise UsageError(f"{form} holds one result, and {count}; --json gives a line for each")
    judging = arguments.get("judging")
    for option in ("gradient", "loss"):
        if getattr(judging, option, None) is not None:
            raise UsageError(f"--{option} is of one problem, and {count}; each may bring its own, beside W")
    request.check_readers()
    for option, text in request.readable.items():
        if text == "-":
            raise UsageError(f"{option} - is read once, and {count}; put it into a file")


def _print_heading(path: str, output: OutputOptions, *, is_first: bool) -> None:
    from xegrad.display.blocks import Heading

    if not is_first:
        sys.stdout.write("\n")
    sys.stdout.flush()
    title = source_name(path)

    def view(page: PageSettings) -> View:
        from xegrad.inert import cells

        longest = page.width - 6  # what the rule leaves
        start = next(k for k in range(len(title) + 1) if cells(title[k:]) <= longest - 3 * bool(k))
        return [[Heading(f"...{title[start:]}" if start else title)]]

    output.destination().write(result=dict, view=view)
    sys.stdout.flush()


def _print_error(source: str, message: str) -> None:
    from xegrad.formats.results import encode, error_result

    sys.stdout.buffer.writelines(encode(error_result(source, message)))
    sys.stdout.flush()
