"""xegrad completion: what a shell reads to complete commands, options and their values."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated, Any

import typer

from xegrad.cli.choices import choice, completing, names_in
from xegrad.errors import UsageError, XegradError, shown

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_XEGRAD_COMPLETE"  # by which the shell asks
LARGEST = 2**20  # bytes of a file that is read while somebody waits for a completion


def command(
    shell: Annotated[
        str,
        typer.Argument(metavar="SHELL", help=f"{', '.join(SHELLS)}.", autocompletion=completing(SHELLS)),
    ],
) -> int:
    """Print the completion script of a shell.

    \b
    source <(xegrad completion bash)    # in ~/.bashrc
    source <(xegrad completion zsh)     # in ~/.zshrc, below compinit
    xegrad completion fish > ~/.config/fish/completions/xegrad.fish
    """
    from typer._completion_shared import get_completion_script

    name = choice(shell, SHELLS, "shell")
    script = get_completion_script(prog_name="xegrad", complete_var=VARIABLE, shell=name)
    sys.stdout.write(f"{script}\n")
    return 0


def know_shells() -> None:
    """Prepare typer for the question of a shell, which it expects of programs alone that install completion.

    In a word --option=value the value is completed, and in bash, which takes = and : for words, their words are joined.

    Raises
    ------
    UsageError
        What asks is no shell that is known.
    """
    question = os.environ[VARIABLE]
    action, _, asked_by = question.partition("_")
    if question and not (action in ("source", "complete") and asked_by in SHELLS):
        known = ", ".join(f"complete_{name}" for name in SHELLS)
        raise UsageError(f"{VARIABLE} is {shown(question)}; one of {known} is expected; unset it")
    from typer import _completion_classes as shells
    from typer._click.shell_completion import add_completion_class

    shells.completion_init()
    # The help is plain text; rich, which would look for markup in it, takes longer to import than all the rest.
    shells._sanitize_help_text = lambda text: text

    def knows_values(shell: Any) -> Any:
        class Complete(shell):  # type: ignore[misc]  # a class that is known at run time only
            def get_completion_args(self) -> tuple[list[str], str]:
                try:
                    return super().get_completion_args()
                except (KeyError, ValueError):
                    asked = f"{VARIABLE} asks for completions"
                    raise UsageError(
                        f"{asked}, and the environment lacks the words of a shell; unset it"
                    ) from None

            def get_completions(self, args: list[str], incomplete: str) -> list[Any]:
                name, equals, _ = incomplete.partition("=")
                before = f"{name}=" if equals and name.startswith("--") else ""
                args, cut = [word for word in args if word != "="], ""
                if args[-1:] == [":"]:
                    *args, cut, _ = args
                    cut += ":"
                elif incomplete == ":":
                    *args, cut = args
                    cut, incomplete = f"{cut}:", ""
                completions = super().get_completions(args, cut + incomplete)
                for completion in completions:
                    completion.value = before + completion.value.removeprefix(cut)
                return completions

        return Complete

    for shell in (shells.BashComplete, shells.ZshComplete, shells.FishComplete):
        add_completion_class(knows_values(shell), shell.name)


def class_names(ctx: Any) -> list[str]:
    """The class names that the line or one of its files gives, and that a shell takes without quotes."""
    names = names_in(ctx.params.get("classes") or ())
    known = [*names] or next(filter(None, _names_in_files(ctx)), [])
    return [name for name in known if shlex.quote(name) == name]


def _names_in_files(ctx: Any) -> Iterator[list[str]]:
    """The class names in each file that may hold some."""
    from xegrad import formats

    problems = (*(ctx.params.get("problem") or ()), *ctx.args)  # args: where an option still lacks its value
    for path, key in [*((path, None) for path in problems), (ctx.params.get("weights"), "W")]:
        with suppress(OSError, ValueError, TypeError, XegradError):
            if os.path.getsize(path) <= LARGEST:  # noqa: PTH202
                raw = formats.read_raw(path, ctx.params.get("input_format"), key)
                yield [*map(str, raw.values.get("classes", ()))]
