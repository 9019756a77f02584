"""xegrad completion: what a shell reads to complete commands, options and their values."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from xegrad.cli.choices import choice, completing

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_XEGRAD_COMPLETE"  # by which the shell asks


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
    xegrad completion fish | source     # in ~/.config/fish/config.fish
    """
    from typer._completion_shared import get_completion_script

    name = choice(shell, SHELLS, "shell")
    script = get_completion_script(prog_name="xegrad", complete_var=VARIABLE, shell=name)
    # Most arguments are files, which fish would no longer offer.
    sys.stdout.write(script.replace(" --no-files", "") + "\n")
    return 0
