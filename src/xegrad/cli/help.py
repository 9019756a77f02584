"""Help in panels, by what the options are about: -h has the common options on one screen, --help all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import cleandoc
from textwrap import wrap
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from xegrad.cli import COMMANDS
from xegrad.cli.choices import choice, completing

HELP = "help"  # the option, in the short help too
# fmt: off
# The options of each panel, by their parameters: those that -h shows, and the others.
PANELS: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "Problem": (
        ("problem", "rows", "weights", "inputs", "label", "bias"),
        ("labels", "label_column", "classes", "input_names", "transpose", "input_format", "seed", "slips"),
    ),
    "Data set": ((), ("columns", "weight_column", "skip_bad", "engine", "workers", "scheduler", "exact_rows")),
    "Loss": (("reduction", "label_smoothing"), ("class_weights", "ignore_index")),
    "What is judged": (("gradient", "loss"), ("decimals", "digits_printed")),
    "What is computed": (
        ("method", "with_respect_to", "steps", "learning_rate", "exact", "dtype"),
        ("tolerance", "l2", "max_memory"),
    ),
    "What is shown": (("name", "shell", "step", "entry", "slip"), ("row",)),
    "Tolerance": (
        ("stored_as", "recipe", "rtol", "atol", "strict"),
        ("summation", "confidence", "inputs_as", "logits_as", "residual_as", "accumulate_in"),
    ),
    "Output": (
        ("json", "path", "save", "quiet", "top", "entries"),
        (
            "form", "output_format", "pretty", "digits", "all_entries", "timed",
            "no_heatmap", "theme", "color", "no_color", HELP,
        ),
    ),
}
# fmt: on
FEW = 12  # options of which -h leaves out none
EXAMPLES = 4  # lines of which, at most, -h shows
WIDEST_NAMES = 28  # columns; longer names have a line of their own


Option = tuple[str, str, bool]  # as it is written, what is said of it, and whether it is in the short help


class Command(TyperCommand):
    """A command with short help and whole help."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Note first which help is asked for."""
        if not {"-h", "--help"} & {*args}:
            from xegrad import memory

            memory.check_start()
        has_many = len(self.get_params(ctx)) > FEW
        ctx.meta["is_short"] = has_many and "-h" in args and "--help" not in args
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """The names of options, each with the first sentence about it."""
        completions = super().shell_complete(ctx, incomplete)
        for completion in completions:
            completion.help = _first_sentence(completion.help or "")
        return completions

    def format_usage(self, ctx: Any, formatter: Any) -> None:
        """The usage, its first word in the colour of a heading."""
        pieces = " ".join(self.collect_usage_pieces(ctx))
        formatter.write_usage(ctx.command_path, pieces, typer.style("Usage:", bold=True, fg="green") + " ")

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        """All that is said of it, or its first paragraph and the first examples."""
        texts = paragraphs(self.help)
        if ctx.meta.get("is_short"):
            about, examples = texts[:2]
            lines = examples.splitlines()[: EXAMPLES + 1]  # the first says that these are examples
            texts = [about, "\n".join(lines)]
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text("\n\n".join(texts))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """The options by panels."""
        panels = by_panel(self, ctx)
        everything = [option for options in panels.values() for option in options]
        is_short = ctx.meta.get("is_short")
        shown = [option for option in everything if option[-1] or not is_short]
        indent = min(WIDEST_NAMES, max(len(names) for names, _, _ in shown))
        for panel, options in panels.items():
            rows = [
                (names, _first_sentence(help) if is_short else help)
                for names, help, is_common in options
                if is_common or not is_short
            ]
            write_panel(formatter, panel, rows, indent)
        if left_out := len(everything) - len(shown):
            formatter.write(f"\n{left_out} more options: {ctx.command_path} --help\n")


def paragraphs(help: str | None) -> list[str]:
    """Those of a help text; one that begins with \\b keeps its lines, which are examples."""
    texts = cleandoc(help or "").split("\n\n")
    return [text if text.startswith("\b") else " ".join(text.split()) for text in texts]


def write_panel(formatter: Any, title: str, rows: Sequence[tuple[str, str]], indent: int) -> None:
    """A heading, and below it names with what they are, `indent` columns from them."""
    if not rows:
        return
    # Colours, which typer leaves out where it does not write to a terminal.
    formatter.write(f"\n{typer.style(f'{title}:', bold=True, fg='green')}\n")
    start = indent + 4
    for names, text in rows:
        first, *others = wrap(text, max(20, formatter.width - start), break_on_hyphens=False) or [""]
        padding = " " * (indent - len(names) + 2) if len(names) <= indent else "\n" + " " * start
        formatter.write(f"  {_colored(names)}{padding}{first}".rstrip() + "\n")
        formatter.write("".join(f"{'':{start}}{line}\n" for line in others))


def _colored(names: str) -> str:
    """The options in bold, and what they take beside them."""
    options, takes = options_and_value(names)
    return typer.style(options, bold=True, fg="cyan") + (typer.style(f" {takes}", fg="cyan") if takes else "")


def options_and_value(names: str) -> tuple[str, str]:
    """The options of "-b, --bias VALUE|FILE", and what they take, if they do."""
    options, _, takes = names.rpartition(" ")
    return (names, "") if takes.startswith("-") or not options else (options, takes)


def _first_sentence(text: str) -> str:
    """The first sentence of a help text."""
    first, stop, _ = text.partition(". ")
    return first + stop.strip()


def by_panel(command: Any, ctx: Any) -> dict[str, list[Option]]:
    """The options and arguments of a command by the panel that each is in, the common ones first."""
    parameters = {parameter.name: parameter for parameter in command.get_params(ctx)}
    panels = {
        panel: [
            (*row(parameters[name], ctx), name in (*common, HELP))
            for name in (*common, *rare)
            if name in parameters
        ]
        for panel, (common, rare) in PANELS.items()
    }
    return {panel: options for panel, options in panels.items() if options}


def row(parameter: Any, ctx: Any) -> tuple[str, str]:
    """An option or argument as it is written, "-b, --bias VALUE|FILE", and what is said of it."""
    help = "The common options (-h), or all (--help)." if parameter.name == HELP else parameter.help or ""
    if parameter.param_type_name == "argument":
        return str(parameter.make_metavar(ctx)), help
    names = "/".join(filter(None, (", ".join(sorted(parameter.opts, key=len)), *parameter.secondary_opts)))
    return names if parameter.is_flag else f"{names} {parameter.make_metavar(ctx)}", help


def command(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[COMMAND]",
            help="The command; without one, the list of them.",
            autocompletion=completing(COMMANDS),
        ),
    ] = None,
) -> int:
    """Print the help of a command, as COMMAND --help does.

    \b
    xegrad help verify
    """
    root = context.parent
    assert root is not None
    if name is None:
        typer.echo(root.get_help())
        return 0
    chosen, of_command = command_and_context(root, choice(name, COMMANDS, "command"))
    typer.echo(chosen.get_help(of_command))
    return 0


def command_and_context(root: Any, name: str) -> tuple[Any, Any]:
    """A command, and a context in which it can be asked for its help."""
    chosen = root.command.get_command(root, name)
    return chosen, type(root)(chosen, info_name=name, parent=root, **chosen.context_settings)
