"""Help in panels: -h shows the commonest options of each, --help all of them; by what they are about."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from inspect import cleandoc
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

# The options by what they are about, the commonest first: of each panel -h shows so many.
SHOWN = 5
PANELS: Mapping[str, Sequence[str]] = {
    "Problem": (
        "weights", "inputs", "label", "bias", "labels", "label_column", "classes", "transpose", "input_names",
        "input_format",
    ),
    "Loss": ("reduction", "label_smoothing", "class_weights", "ignore_index"),
    "What is judged": ("gradient", "loss", "decimals", "digits_printed"),
    "What is computed": (
        "method", "with_respect_to", "exact", "dtype", "step", "entry", "row", "slip", "steps", "learning_rate",
        "tolerance", "l2", "max_memory",
    ),
    "Tolerance": (
        "stored_as", "rtol", "atol", "recipe", "strict", "summation", "confidence", "inputs_as", "logits_as",
        "residual_as", "accumulate_in",
    ),
    "Output": (
        "json", "path", "form", "quiet", "top", "all_entries", "entries", "digits", "save", "pretty", "heatmap",
        "theme", "color", "no_color",
    ),
}  # fmt: skip
OTHER = "Options"
WIDTH = 80


class Command(TyperCommand):
    """A command with short help and whole help."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Note first which help is asked for."""
        ctx.meta["is_short"] = "-h" in args and "--help" not in args
        return super().parse_args(ctx, args)

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        """All that is said of it, or its first paragraph and its examples."""
        text = cleandoc(self.help or "")
        if ctx.meta.get("is_short"):
            text = "\n\n".join(text.split("\n\n")[:2])
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(text)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """The options by panels."""
        left_out = 0
        for panel, options in by_panel(self, ctx).items():
            shown = options
            if ctx.meta.get("is_short"):
                shown = [(names, _first_sentence(help)) for names, help in options[:SHOWN]]
            left_out += len(options) - len(shown)
            with formatter.section(panel):
                formatter.write_dl(shown)
        if left_out:
            formatter.write_paragraph()
            formatter.write_text(f"{left_out} more options: {ctx.command_path} --help")


def _first_sentence(text: str) -> str:
    """W, inputs x classes."""
    first, *others = re.split(r"\.\s+(?=[A-Z\[])", text, maxsplit=1)
    return f"{first}." if others else first


def by_panel(command: Any, ctx: Any) -> dict[str, list[tuple[str, str]]]:
    """What --help says of each option, by the panel that it is in; the commonest first."""
    place = {name: (panel, k) for panel, names in PANELS.items() for k, name in enumerate(names)}
    panels: dict[str, list[tuple[int, tuple[str, str]]]] = {}
    for parameter in command.get_params(ctx):
        record = parameter.get_help_record(ctx)
        is_argument = parameter.param_type_name == "argument"
        panel, k = place.get(parameter.name, ("Problem", -1) if is_argument else (OTHER, 0))
        if record is not None:
            panels.setdefault(panel, []).append((k, record))
    order = [*PANELS, OTHER]
    return {
        panel: [record for _, record in sorted(panels[panel], key=lambda one: one[0])]
        for panel in sorted(panels, key=order.index)
    }


def command(
    context: typer.Context, name: Annotated[str | None, typer.Argument(metavar="[COMMAND]")] = None
) -> int:
    """Print the help of a command.

    \b
    xegrad help verify
    """
    from xegrad.cli import COMMANDS
    from xegrad.cli.choices import choice

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
