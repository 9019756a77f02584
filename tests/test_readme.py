"""What the README shows is what happens."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from conftest import Shell

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def commands() -> list[tuple[str, str]]:
    """Each line behind a $, and what the README shows below it."""
    return [
        (line, shown)
        for block in blocks("console")
        for line, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, flags=re.MULTILINE)
    ]


@pytest.mark.parametrize(("line", "shown"), commands(), ids=[line for line, _ in commands()])
def test_a_console_block_prints_what_it_shows(shell: Shell, line: str, shown: str) -> None:
    for tool in ("jq", "parallel", "git"):
        if f"{tool} " in line and shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    outcome = shell(line)
    assert outcome.out + outcome.err == shown


TOUR = [line for block in blocks("sh") for line in block.splitlines() if "docs/tour/" in line]


@pytest.mark.parametrize("line", TOUR, ids=lambda line: line.rpartition("/")[2])
def test_a_picture_of_the_tour_is_what_its_command_draws(shell: Shell, tmp_path: Path, line: str) -> None:
    """Its text, that is: how rich draws it may change."""
    name = line.rpartition("/")[2]
    outcome = shell(line.replace("docs/tour", str(tmp_path)))
    assert outcome.status in (0, 1), outcome.err
    assert f"docs/tour/{name}" in README
    assert words(tmp_path / name) == words(Path("docs/tour") / name)


def words(path: Path) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", path.read_text(encoding="utf-8"))


def test_a_watched_gradient_is_judged(shell: Shell, tmp_path: Path) -> None:
    if shutil.which("watch") is None:
        pytest.skip("watch is not installed")
    (line,) = (line for block in blocks("sh") for line in block.splitlines() if line.startswith("watch"))
    gradient = tmp_path / "gradient.json"
    gradient.write_text("[[0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]")
    seen = shell(f"timeout 2 {line.replace('gradient.npy', str(gradient))}", TERM="xterm").out
    assert "WRONG: 15 of 15 entries" in seen


def test_the_python_block_runs() -> None:
    (block,) = blocks("python")
    exec(compile(block, "README.md", "exec"), {})


def test_the_first_two_sh_blocks_are_one_line_each() -> None:
    run, test, *_ = blocks("sh")
    assert run.count("\n") == test.count("\n") == 1
    assert "xegrad compute sample_inputs/" in run
    assert "pytest" in test


@pytest.mark.parametrize("language", ["json", "csv"])
def test_the_problems_shown_can_be_read(shell: Shell, language: str) -> None:
    (block,) = blocks(language)
    line = f"xegrad compute --json <<'END'\n{block}END\n"
    assert '"agree":true' in shell(line).out


def test_the_table_of_witnesses_is_what_the_benchmark_prints(shell: Shell) -> None:
    assert shell("python benchmarks/witnesses.py").out in README
