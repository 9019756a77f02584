"""The command line: one file a command, the table of them, and the only place that catches errors."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from xegrad import __version__
from xegrad.cli.choices import of_numbers
from xegrad.errors import UsageError, XegradError, nearest

# Done, or verified; judged wrong, undecided, or diverged; trouble; interrupted.
DONE, JUDGED_WRONG, TROUBLE, INTERRUPTED = 0, 1, 2, 130

NO_MEMORY = "there is not enough memory; give fewer rows, or say with --max-memory what there is"

# What each command does in a few words; it is the function `command` of the module of its name.
COMMANDS = {
    "compute": "Compute the loss and its gradients, and compare methods.",
    "verify": "Say whether a gradient is right, and which mistake was made.",
    "explain": "Show the chain of derivatives, factor by factor, in numbers.",
    "descend": "Move W and b downhill by gradient descent.",
    "slips": "List the mistakes that verify can name, or explain one.",
    "sample": "Print a problem to start from.",
    "schema": "Print the JSON Schema of what is read and printed.",
    "completion": "Print what a shell reads to complete a command line.",
    "man": "Print the manual page.",
    "help": "Print the help of a command.",
}

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 80}
_plain_typer = partial(
    typer.Typer, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
)


class Commands(TyperGroup):
    """Imports a command when it is called, and none of them for --help."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        app = _plain_typer()
        from xegrad.cli.help import Command

        command = import_module(f"xegrad.cli.{cmd_name}").command
        app.command(cmd_name, cls=Command, context_settings=SETTINGS)(command)
        command = typer.main.get_command(app)
        for parameter in command.params:
            of_numbers(parameter)
        return command

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """The commands with what they do, without importing them."""
        from typer._click.shell_completion import CompletionItem

        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        names = (name for name in COMMANDS if name.startswith(incomplete))
        return [CompletionItem(name, help=COMMANDS[name]) for name in names]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        from xegrad.cli.help import row, write_panel

        options = [row(option, ctx) for option in self.get_params(ctx)]
        indent = max(len(names) for names, _ in options)
        write_panel(formatter, "Commands", [*COMMANDS.items()], indent)
        write_panel(formatter, "Options", options, indent)
        formatter.write("\nxegrad COMMAND -h shows the common options, xegrad COMMAND --help all of them.\n")


app = _plain_typer(cls=Commands, context_settings=SETTINGS)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"xegrad {__version__}")  # noqa: T201
        raise typer.Exit(DONE)


@app.callback(invoke_without_command=True)
def _root(
    ctx: typer.Context,
    version: Annotated[
        bool,
        typer.Option("-V", "--version", callback=_print_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Gradients of the softmax layer with categorical cross-entropy, and how far they can be trusted.

    \b
    xegrad sample | xegrad compute
    xegrad verify problem.json --gradient mine.npy

    Exit status: 0 done, or right; 1 wrong, undecided or diverged; 2 trouble; 130, 143 or 129 interrupted.
    """
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help(), err=True)
        raise typer.Exit(TROUBLE)


def main(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit status.  What the library raises becomes one line."""
    try:
        if "_XEGRAD_COMPLETE" in os.environ:
            from xegrad.cli.completion import know_shells

            know_shells()
        if any("\0" in argument for argument in arguments):
            raise UsageError("an argument holds a null byte, which no name and no number has")
        status = app(list(arguments), prog_name="xegrad", standalone_mode=False, color=_color())
        sys.stdout.flush()
    except XegradError as error:
        return print_trouble(str(error))
    except typer.TyperException as error:
        return print_trouble(_usage_message(error))
    except MemoryError:
        return print_trouble(NO_MEMORY)
    except RecursionError:
        return print_trouble(
            "something that was given is nested too deeply; a problem is one of lists of lists"
        )
    except (BrokenPipeError, SystemExit):
        # The reader has gone (typer exits by itself then, and only then): nothing is wrong.
        _abandon_output()
        return DONE
    except OSError as error:
        _abandon_output()
        return print_trouble(_of_system(error))
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    return status if isinstance(status, int) else DONE


def _color() -> bool | None:
    """Whether help is in colours: None leaves it to whether it goes to a terminal."""
    if "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb":
        return False
    return True if os.environ.get("CLICOLOR_FORCE", "0") != "0" else None


def _of_system(error: OSError) -> str:
    """What the system refused: memory, processes and files, or else, where nothing is named, standard output."""
    if error.errno == errno.ENOMEM:
        return NO_MEMORY
    if error.errno == errno.EAGAIN:  # of a fork: what is written waits
        return "no process can be started; raise ulimit -u, or end other processes"
    if error.filename is not None or error.errno in (errno.EMFILE, errno.ENFILE):
        return f"{error.filename or 'cannot go on'}: {error.strerror}"
    return f"standard output cannot be written: {error.strerror or error}"


def _abandon_output() -> None:
    """The interpreter must not flush, at its end, what could not be written."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_trouble(message: str) -> int:
    """Say on standard error what is wrong, in one line, and return the exit status for it."""
    from xegrad.display import screen

    screen.announce(message)
    return TROUBLE


def _usage_message(error: typer.TyperException) -> str:
    """One line and the nearest that exists, in place of typer's usage and hint."""
    context = getattr(error, "ctx", None)
    message = error.format_message().rstrip(".")
    option = getattr(error, "option_name", None)
    if option and message.startswith("No such option"):
        options = [name for parameter in context.command.params for name in parameter.opts] if context else []
        message = f"there is no option {option}{_nearest(option, [*options, '--help'], '--help')}"
    elif message.startswith("No such command"):
        name = message.removeprefix("No such command ")
        message = f"there is no command {name}{_nearest(name[1:-1], [*COMMANDS], 'xegrad --help')}"
    command = f"{context.command_path.removeprefix('xegrad ')}: " if context and context.parent else ""
    return f"{command}{message[:1].lower()}{message[1:]}"


def _nearest(word: str, known: list[str], otherwise: str) -> str:
    return (len(word) > 2 and nearest(word, known)) or f"; try {otherwise}"
