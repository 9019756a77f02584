"""Nothing is written over what is read, nor two things to one place, by whatever name and by whatever option."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import typer

from conftest import Run, Shell
from xegrad.cli import COMMANDS, app
from xegrad.cli.help import command_and_context
from xegrad.engines import local
from xegrad.errors import one_line
from xegrad.naming import source_name

SEED = "sample_inputs/seed.json"
CONTEXT = typer.main.get_command(app).make_context("xegrad", [], resilient_parsing=True)


def options_of_files(command: str) -> tuple[list[str], list[str]]:
    """The options that read a file, and those that write one, found in the help: "" is PROBLEM."""
    read: list[str] = []
    written: list[str] = []
    chosen, context = command_and_context(CONTEXT, command)
    for parameter in chosen.get_params(context):
        if "PROBLEM" in (parameter.metavar or ""):
            read.append("")
        elif "FILE" in (parameter.metavar or ""):
            is_written = parameter.help.startswith(("Write", "Save"))
            (written if is_written else read).append(parameter.opts[0])
    return read, written


PAIRS = [
    (command, one, other)
    for command in COMMANDS
    for read, written in (options_of_files(command),)
    for other in written
    for one in read
]


def names_of(file: Path, folder: Path) -> Iterator[str]:
    """What else a file is called."""
    (folder / "link.json").symlink_to(file.name)
    (folder / "link-to-link.json").symlink_to("link.json")
    os.link(file, folder / "hard.json")
    (folder / "folder").symlink_to(".")
    yield str(file)
    yield f"{file.parent}/./{file.name}"
    yield os.path.relpath(file)
    yield f"{folder}/folder/../{folder.name}/{file.name}"
    yield from (
        str(folder / name) for name in ("link.json", "link-to-link.json", "hard.json", f"folder/{file.name}")
    )


def test_the_options_that_take_a_file_are_found() -> None:
    assert {command for command, _, _ in PAIRS} == {"compute", "verify", "explain", "descend"}
    assert ("verify", "--gradient", "-o") in PAIRS
    assert options_of_files("descend")[1] == ["--save", "-o"]


def test_nothing_is_written_over_what_is_read(run: Run, tmp_path: Path) -> None:
    """Of every option and by every name; a problem that is read as it was shows that nothing was."""
    file = tmp_path / "file.json"
    file.write_text("kept")
    descriptor = os.open(file, os.O_RDWR)
    names = [*names_of(file, tmp_path), f"/dev/fd/{descriptor}", f"/proc/self/fd/{descriptor}"]
    cases = [*zip(PAIRS, cycle(names), strict=False), *((PAIRS[0], name) for name in names)]
    for number, ((command, read, written), name) in enumerate(cases):
        as_read, as_written = (str(file), name) if number % 2 else (name, str(file))
        key = ":gradient" if read not in ("", "--labels") and number % 3 == 0 else ""
        source = [read, as_read + key] if read else [as_read]
        form = ["--format", "json"] * (written == "-o")
        outcome = run(command, *source, written, as_written, *form, terminal=True)
        assert outcome.status == 2, (command, read, written, name)
        named = source_name(as_read)  # cut where it is long
        sentence = (
            f"{written} {as_written} would be written over {named}, which is read; give it another name"
        )
        assert outcome.err == f"xegrad: {one_line(sentence)}\n"
    os.close(descriptor)
    assert file.read_text() == "kept"
    assert file.stat().st_nlink == 2


def test_nothing_is_written_over_standard_input_nor_read_from_standard_output(
    shell: Shell, tmp_path: Path
) -> None:
    """A stream that reads what it writes would never end."""
    file = tmp_path / "file.ndjson"
    file.write_text("{}\n")
    for line, said in (
        (f"xegrad compute - < {file} -o {file} --json", f"-o {file} would be written over standard input"),
        (f"xegrad compute {file} >> {file}", f"standard output would be written over {file}"),
    ):
        outcome = shell(line)
        assert outcome.status == 2
        assert said in outcome.err
    assert file.read_text() == "{}\n"


@pytest.mark.parametrize(
    ("save", "output"),
    [
        ("{0}/a.json", "{0}/a.json"),
        ("{0}/a.json", "{0}/./a.json"),
        ("{0}/a.json", "{0}/A.json"),  # on some disks
        ("{0}/a.json", "{0}/folder/a.json"),
        ("{0}/link.json", "{0}/to-be.json"),
        ("{0}/there.json", "{0}/twin.json"),
    ],
)
def test_two_outputs_are_two_places(run: Run, tmp_path: Path, save: str, output: str) -> None:
    (tmp_path / "folder").symlink_to(".")
    (tmp_path / "link.json").symlink_to("to-be.json")
    (tmp_path / "there.json").write_text("kept")
    os.link(tmp_path / "there.json", tmp_path / "twin.json")
    names = [name.format(tmp_path) for name in (save, output)]
    outcome = run("descend", SEED, "--save", names[0], "-o", names[1])
    assert outcome.status == 2
    assert outcome.err == (
        f"xegrad: --save {names[0]} and -o {names[1]} are one place; give them two names\n"
    )
    assert (tmp_path / "there.json").read_text() == "kept"
    assert len([*tmp_path.iterdir()]) == 4


def test_what_goes_to_standard_output_has_it_alone(run: Run) -> None:
    """The file that a shell has opened for it would be replaced, and what is written to it lost."""
    name = f"/dev/fd/{sys.stdout.fileno()}"
    outcome = run("descend", SEED, "--save", "-", "-o", name, "--format", "json")
    assert outcome.status == 2
    assert "are one place" in outcome.err


def test_a_device_may_be_named_twice(run: Run) -> None:
    outcome = run("descend", SEED, "--save", os.devnull, "-o", os.devnull, "--format", "json")
    assert outcome == (0, "", "")
    assert run("descend", SEED, "--save", "-", "-o", "-").status == 0


def test_two_streams_of_a_folder_are_answered_in_two_files(run: Run, tmp_path: Path) -> None:
    """Where a link stands in the folder, the answers of one would be written over those of the other."""
    streams = [tmp_path / f"{name}.ndjson" for name in "ab"]
    for stream in streams:
        stream.write_text('{"W": [[1, 2]], "x": [1], "label": 0}\n')
    folder = tmp_path / "answers"
    folder.mkdir()
    (folder / "a.ndjson").write_text("kept")
    (folder / "b.ndjson").symlink_to("a.ndjson")
    outcome = run("compute", *map(str, streams), "-o", str(folder))
    assert outcome.status == 2
    sentence = f"-o {folder}/a.ndjson and -o {folder}/b.ndjson are one place; give them two names"
    assert outcome.err == f"xegrad: {one_line(sentence)}\n"
    assert (folder / "a.ndjson").read_text() == "kept"


def test_the_first_bad_line_is_that_of_the_first_file_whichever_is_answered_first(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Backwards(local.Local):
        def map(self, function: Any, shared: Any, runs: Any, kept: Any = None) -> Iterator[Any]:
            return super().map(function, shared, runs[::-1], kept)

    monkeypatch.setattr(local, "opened", lambda *_: nullcontext(Backwards()))
    for name in "ab":
        (tmp_path / f"{name}.ndjson").write_text("{}\n")
    (tmp_path / "answers").mkdir()
    outcome = run("compute", f"{tmp_path}/a.ndjson", f"{tmp_path}/b.ndjson", "-o", f"{tmp_path}/answers")
    assert outcome.err.endswith(
        f"2 lines: 0 done, 2 bad; the first is line 1 of {source_name(tmp_path / 'a.ndjson')}\n"
    )
