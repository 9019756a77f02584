"""Where a result goes, and in which form."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from xegrad.cli.choices import choice, option
from xegrad.cli.writing import writer
from xegrad.display.page import PageSettings
from xegrad.errors import UsageError, nearest

if TYPE_CHECKING:
    from xegrad.display.blocks import View

# The forms of a result, and the suffix that asks for each.
FORMS = {
    "table": ".txt",
    "json": ".json",
    "markdown": ".md",
    "svg": ".svg",
    "html": ".html",
    "csv": ".csv",
    "npy": ".npy",
}
VIEWS = [form for form in FORMS if form not in ("csv", "npy")]  # these hold one gradient

Json = Annotated[bool, option("--json", "JSON on one line, for scripts.")]
Pretty = Annotated[bool, option("--pretty", "Indent the JSON.")]
Color = Annotated[
    str,
    option(
        "--color WHEN",
        "When to use colours: auto, always or never. auto: on a terminal, unless NO_COLOR is set, and in a pipe "
        "where CLICOLOR_FORCE is.",
        values=("auto", "always", "never"),
        noun="mode",
    ),
]
NoColor = Annotated[bool, option("--no-color", "The same as --color never.")]
Theme = Annotated[
    str | None,
    option(
        "--theme NAME",
        "Colours for a dark or a light background. By default what the terminal says; an HTML page follows its reader.",
        values=("dark", "light"),
        noun="theme",
    ),
]


class OutputOptions(msgspec.Struct, frozen=True):
    """What a command line says of its output."""

    form: Annotated[
        str | None,
        option(
            "--format NAME",
            "table, json, markdown, svg or html (table). compute knows csv and npy too, which hold dL/dW.",
            values=FORMS,
        ),
    ] = None
    json: Json = False
    pretty: Pretty = False
    path: Annotated[
        str | None,
        option(
            "-o, --output FILE",
            "Write to a file, in the format of its suffix. The file is written whole or not at all.",
            writable=True,
        ),
    ] = None
    top: Annotated[int, option("K", "How many of the worst entries are listed (10).", min=1)] = 10
    all_entries: Annotated[bool, option("--all", "List all wrong entries.")] = False
    entries: Annotated[bool, option("--entries", "List every entry, method by method.")] = False
    no_heatmap: Annotated[bool, option("--no-heatmap", "No colours behind the numbers of a matrix.")] = False
    digits: Annotated[
        int,
        option(
            "D",
            "Significant digits of gradients, 1 to 17. By default 8, and 6 in explain. Probabilities, and losses of "
            "compute, have their own.",
            min=1,
            max=17,
        ),
    ] = 8
    quiet: Annotated[bool, option("-q, --quiet", "Print nothing; the exit status tells.")] = False
    color: Color = "auto"
    no_color: NoColor = False
    theme: Theme = None

    @property
    def file(self) -> str | None:
        """The file that is written, or None: standard output."""
        return None if self.path == "-" else self.path

    @property
    def is_silent(self) -> bool:
        """Whether nothing is written."""
        return self.quiet and self.file is None

    def destination(self, forms: Collection[str] = VIEWS, *, is_report: bool = False) -> Destination:
        """What the options come to."""
        if self.json and self.form not in (None, "json"):
            raise UsageError(f"--json and --format {self.form} ask for two things")
        form = "json" if self.json else None if self.form is None else choice(self.form, forms, "format")
        if self.file is not None:
            suffix, known = Path(self.file).suffix.lower(), {FORMS[one]: one for one in forms}
            form = form or known.get(suffix)
            if form is None and not Path(self.file).is_dir():
                what = f"the suffix {suffix} is none of" if suffix else "its name lacks a suffix, one of"
                rest = f"{', '.join(known)}; --format decides, too{nearest(suffix, known)}"
                raise UsageError(f"-o {self.file}: {what} {rest}")
        return Destination(self, form or "table", self.file, is_report)


class Destination(msgspec.Struct, frozen=True):
    """A form, and a file; None is standard output, or standard error where `is_report`."""

    options: OutputOptions
    form: str
    path: str | None
    is_report: bool

    def write(
        self,
        *,
        result: Callable[[], Any],
        view: Callable[[PageSettings], View],
        array: Callable[[str], bytes] | None = None,
        plot: Callable[[str | None], str] | None = None,
        warnings: Sequence[str] = (),
    ) -> None:
        """What the form asks for: the `result` as JSON, the `array` in a format, or else the `view` on the page.

        As SVG, a command that has a `plot` writes that, in the theme that is asked for, or in its reader's.
        Warnings go to standard error first, unless JSON carries them.
        """
        from xegrad.display import screen

        options = self.options
        if self.form != "json" or options.is_silent:
            for warning in warnings:
                screen.announce(f"warning: {warning}")
        if options.is_silent:
            return
        if self.form == "json":
            from xegrad.formats.results import encode

            pieces = encode(result())
            if options.pretty:
                pieces = (indented(b"".join(pieces)),)
        elif array is not None and self.form not in VIEWS:
            pieces = (array(self.form),)
        elif plot is not None and self.form == "svg":
            pieces = (plot(options.theme).encode(),)
        else:
            is_shown = self.path is None and self.form == "table" and not self.is_report
            color = is_shown and screen.has_color("never" if options.no_color else options.color)
            page = self._page(has_grounds=(color and screen.has_grounds()) or self.form in ("svg", "html"))
            blocks = view(page)
            if is_shown:
                screen.show(blocks, page, color=color)
                return
            from xegrad.display.pictures import drawn

            theme = options.theme if self.form == "html" else page.theme
            pieces = (drawn(blocks, self.form, page.width, theme, ascii=page.ascii).encode(),)
        with writer(self.path, is_report=self.is_report) as write:
            write(pieces)

    def _page(self, *, has_grounds: bool) -> PageSettings:
        """How the view is to look."""
        from xegrad.display import screen

        options = self.options
        return PageSettings(
            screen.width(),
            options.digits,
            None if options.all_entries else options.top,
            entries=options.entries,
            heatmaps=has_grounds and not options.no_heatmap,
            theme=options.theme or screen.theme(),
            ascii=self.path is None and not screen.is_unicode(),
        )


def indented(json: bytes) -> bytes:
    """The same JSON in indented lines."""
    return msgspec.json.format(json.strip(), indent=2) + b"\n"
