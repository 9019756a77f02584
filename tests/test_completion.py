"""A shell completes commands, options and their values."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from conftest import Run, Shell, problem_json
from xegrad.cli import app, completion

# What each shell is asked, after it has read its script: the words that would complete the line.
ASK = {
    "bash": """
source <(xegrad completion bash)
COMP_WORDS=({words}) COMP_CWORD={last}
_xegrad_completion xegrad
printf '%s\\n' "${{COMPREPLY[@]}}"
""",
    "fish": """
fish -c 'xegrad completion fish | source; complete -C "{line}"' | cut -f 1
""",
    "zsh": """
zsh -c 'xegrad completion zsh > /dev/null && zsh -n <(xegrad completion zsh)' &&
_TYPER_COMPLETE_ARGS="{line}" _XEGRAD_COMPLETE=complete_zsh xegrad | grep -o '"[^"]*"' | tr -d '"'
""",
}


@pytest.mark.parametrize("name", ASK)
@pytest.mark.parametrize(
    ("line", "expected"),
    [("xegrad ver", "verify"), ("xegrad verify --stored-as b", "bfloat16")],
)
def test_a_shell_completes(shell: Shell, name: str, line: str, expected: str) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    words = line.split(" ")
    outcome = shell(ASK[name].format(line=line, words=" ".join(words), last=len(words) - 1))
    assert expected in outcome.out.split(), outcome


# Lines, and the words with which a shell goes on.
LINES = {
    "xegrad ver": "verify",
    "xegrad --ver": "--version",
    "xegrad compute --reduction s": "sum",
    "xegrad compute --with-respect-to W,lo": "W,logits",
    "xegrad compute --method sh": "shortcut",
    "xegrad schema c": "compute",
    "xegrad help c": "compute completion",
    "xegrad slips rows-l": "rows-left-out",
    "xegrad explain --slip softmax-t": "softmax-twice",
    "xegrad sample --slip first-row-factor,softmax-t": "first-row-factor,softmax-twice",
    "xegrad explain --step lo": "logits loss",
    "xegrad verify --stored-as=b": "--stored-as=bfloat16",
    "xegrad verify --summation p": "pairwise",
    "xegrad verify --recipe torch-b": "torch-bf16-linear torch-bf16-autocast",
    "xegrad compute sample_inputs/batch.json -y ": "cat dog cow",
    "xegrad compute -W sample_inputs/iris_W.csv --label v": "versicolor virginica",
    "xegrad compute --classes up,down -y d": "down",
    "xegrad explain sample_inputs/batch.json --entry 1,d": "1,dog",
    "xegrad compute -W no.csv -y ": "",
    "xegrad compute sample_": "",  # a file, which the shell completes
}


@pytest.mark.parametrize(("line", "words"), LINES.items())
def test_words_of_every_list_are_completed(
    line: str, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As fish is told, which hears a word and what it is."""
    monkeypatch.setenv(completion.VARIABLE, "complete_fish")
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", line)
    completion.know_shells()
    with pytest.raises(SystemExit):
        app([], prog_name="xegrad")
    assert [
        answer.partition("\t")[0] for answer in capsys.readouterr().out.split("\n") if answer
    ] == words.split()


def test_bash_completes_what_it_takes_for_several_words(shell: Shell) -> None:
    for words, last, word in (
        (("--stored-as", "=", "b"), 4, "bfloat16"),
        (("--input-format", "raw", ":", "b"), 5, "bfloat16"),
        (("--input-format", "raw", ":"), 4, "bfloat16"),
    ):
        line = ASK["bash"].format(words=" ".join(("xegrad", "verify", *words)), last=last)
        assert word in shell(line).out.split()


def test_no_class_name_is_offered_that_a_shell_would_run(shell: Shell, tmp_path: Path) -> None:
    problem = tmp_path / "problem.json"
    problem.write_text(problem_json(classes=["$(date)", "a b", "plain"]))
    ask = f'_TYPER_COMPLETE_ARGS="xegrad compute {problem} -y " _XEGRAD_COMPLETE=complete_zsh xegrad'
    assert shell(ask).out == "_arguments '*: :((\"plain\"))'\n"


def test_an_unknown_shell_is_refused(run: Run) -> None:
    outcome = run("completion", "tcsh")
    assert outcome.status == 2
    assert "bash, zsh, fish" in outcome.err


def test_a_question_without_words_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(completion.VARIABLE, "complete_bash")
    monkeypatch.delenv("COMP_WORDS", raising=False)
    outcome = run("compute", "sample_inputs/seed.json")
    assert (outcome.status, outcome.out) == (2, "")
    assert (
        "_XEGRAD_COMPLETE asks for completions, and the environment lacks the words of a shell" in outcome.err
    )


@pytest.mark.parametrize("question", ["junk", "junk_bash", "complete_tcsh", "complete", "bash_complete"])
def test_a_question_of_no_shell_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch, question: str) -> None:
    monkeypatch.setenv(completion.VARIABLE, question)
    known = "one of complete_bash, complete_zsh, complete_fish is expected; unset it"
    assert run("sample") == (2, "", f"xegrad: _XEGRAD_COMPLETE is {question!r}; {known}\n")
