"""What the README and the pages of docs/ show is what happens."""

from __future__ import annotations

import difflib
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from conftest import ROOT, Run, Shell
from xegrad.formats import FORMATS

README = ROOT / "README.md"
PAGES = [
    README,
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "SECURITY.md",
    ROOT / "sample_inputs" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
TOOLS = ("jq", "git")  # that a command on a page may need


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text(page), flags=re.MULTILINE | re.DOTALL)


class Command(NamedTuple):
    """A line behind a $, and what its page shows below it."""

    page: str
    line_number: int
    line: str
    shown: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line_number}"

    @property
    def missing_tools(self) -> list[str]:
        return [tool for tool in TOOLS if f"{tool} " in self.line and shutil.which(tool) is None]


def commands(page: Path) -> list[Command]:
    found = []
    for block in re.finditer(r"^```console\n(.*?)^```$", text(page), flags=re.MULTILINE | re.DOTALL):
        for match in re.finditer(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block[1], flags=re.MULTILINE):
            line_number = text(page).count("\n", 0, block.start(1) + match.start()) + 1
            found.append(Command(name_of(page), line_number, match[1], match[2]))
    return found


def printed_by(lines: list[str]) -> list[str]:
    """What each line prints on standard output and then on standard error, all run by one shell.

    The shell has this environment's xegrad first on its path, and a folder of its own in the place of /tmp.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as folder:
        script = "\n".join(
            f"(\n{line.replace('/tmp/', folder + '/')}\n) >{folder}/{index}.out 2>{folder}/{index}.err"
            for index, line in enumerate(lines)
        )
        done = subprocess.run(
            ["bash", "-c", script],
            capture_output=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PATH": path},
        )
        assert not done.stderr, done.stderr.decode()
        return [
            "".join(Path(folder, f"{index}.{stream}").read_text("utf-8") for stream in ("out", "err"))
            for index in range(len(lines))
        ]


COMMANDS = [command for page in PAGES for command in commands(page)]


@cache
def printed(page: str) -> dict[Command, str]:
    """What every command of a page prints."""
    runnable = [command for command in COMMANDS if command.page == page and not command.missing_tools]
    return dict(zip(runnable, printed_by([command.line for command in runnable]), strict=True))


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_console_block_prints_what_it_shows(command: Command, request: pytest.FixtureRequest) -> None:
    if command.missing_tools:
        pytest.skip(f"{' and '.join(command.missing_tools)} is not installed")
    if request.config.getoption("--regenerate"):
        page, head = ROOT / command.page, f"$ {command.line}\n"
        page.write_text(
            text(page).replace(head + command.shown, head + printed(command.page)[command]), encoding="utf-8"
        )
        return
    shown, output = (part.splitlines() for part in (command.shown, printed(command.page)[command]))
    if output != shown:
        difference = difflib.unified_diff(shown, output, f"{command} shows", "it prints", lineterm="")
        pytest.fail(f"$ {command.line}\n" + "\n".join(difference), pytrace=False)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name_of)
def test_a_python_block_runs(page: Path) -> None:
    for block in blocks(page, "python"):
        exec(compile(block, name_of(page), "exec"), {})


@pytest.mark.parametrize("language", ["json", "csv"])
def test_the_problems_shown_can_be_read(shell: Shell, language: str) -> None:
    found = [block for page in PAGES for block in blocks(page, language)]
    assert found
    for block in found:
        assert '"agree":true' in shell(f"xegrad compute --json <<'END'\n{block}END\n").out


TOUR = [
    line for page in PAGES for block in blocks(page, "sh") for line in block.splitlines() if ".svg" in line
]


@pytest.mark.parametrize("line", TOUR, ids=lambda line: line.rpartition("/")[2])
def test_a_picture_of_the_tour_is_what_its_command_draws(shell: Shell, tmp_path: Path, line: str) -> None:
    """Its text, that is: how rich draws it may change."""
    name = line.rpartition("/")[2]
    outcome = shell(line.replace("docs/tour", str(tmp_path)))
    assert outcome.status in (0, 1), outcome.err
    assert words(tmp_path / name) == words(Path("docs/tour") / name)


def test_every_picture_has_a_command_and_is_shown() -> None:
    drawn = {line.rpartition("/")[2] for line in TOUR}
    assert drawn == {path.name for path in Path("docs/tour").iterdir()}
    assert drawn == set(re.findall(r"!\[[^]]*\]\(tour/(.*?)\)", text(ROOT / "docs" / "tour.md")))


def words(path: Path) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", path.read_text(encoding="utf-8"))


def test_a_watched_gradient_is_judged(shell: Shell, tmp_path: Path) -> None:
    """What `watch` is given, run once."""
    page = ROOT / "docs" / "recipes.md"
    (line,) = (
        line for block in blocks(page, "sh") for line in block.splitlines() if line.startswith("watch")
    )
    watched = line.split("'")[1]
    np.save(tmp_path / "gradient.npy", np.zeros((3, 5)))
    outcome = shell(watched.replace("gradient.npy", str(tmp_path / "gradient.npy")))
    assert outcome.out.startswith("✗ WRONG: dL/dW is wrong")


def test_the_first_two_sh_blocks_set_up_and_test() -> None:
    run, test = blocks(README, "sh")
    assert run.count("\n") == test.count("\n") == 1
    assert "xegrad compute sample_inputs/" in run
    assert "pytest" in test


def test_the_readme_has_700_words_at_most() -> None:
    assert len(text(README).split()) <= 700


def test_the_table_of_methods_is_what_the_benchmark_prints(shell: Shell) -> None:
    assert shell("python benchmarks/witnesses.py").out in text(ROOT / "docs" / "numerics.md")


def test_the_page_of_slips_is_what_the_catalogue_says() -> None:
    """If it is not: python docs/make.py slips."""
    page = runpy.run_path("docs/make.py")["slips_page"]()
    assert text(ROOT / "docs" / "slips.md") == page


def test_the_page_of_formats_names_each() -> None:
    page = text(ROOT / "docs" / "formats.md")
    for name, entry in FORMATS.items():
        assert f"| `{name}` | {', '.join(f'`{suffix}`' for suffix in entry.suffixes)} |" in page


@pytest.mark.parametrize(
    ("page", "schema"),
    [("formats", "problem")]
    + [("json", name) for name in ("compute", "verify", "explain", "descend", "slips", "error")],
)
def test_every_field_of_a_schema_is_explained(run: Run, page: str, schema: str) -> None:
    parts = json.loads(run("schema", schema).out)["$defs"].values()
    fields = {field for part in parts for field in part.get("properties", {})}
    explained = set(re.findall(r"`(\w+)`", text(ROOT / "docs" / f"{page}.md")))
    assert fields - explained == set()


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(
        r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text(page), flags=re.M | re.S), flags=re.M
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    prose = re.sub(r"^```.*?^```$", "", text(page), flags=re.M | re.S)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    named = re.findall(r"`((?:benchmarks|docs|sample_inputs|tests)/[\w./]+)`", prose)
    broken += [path for path in named if not (ROOT / path).exists()]
    assert not broken
