"""A shell completes commands, options and their values."""

from __future__ import annotations

import shutil

import pytest

from conftest import Run, Shell

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
    [
        ("xegrad ver", {"verify"}),
        ("xegrad compute --reduction s", {"sum"}),
        ("xegrad compute --with-respect-to W,lo", {"W,logits"}),
        ("xegrad schema c", {"compute"}),
    ],
)
def test_a_shell_completes(shell: Shell, name: str, line: str, expected: set[str]) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    words = line.split(" ")
    outcome = shell(ASK[name].format(line=line, words=" ".join(words), last=len(words) - 1))
    assert expected <= set(outcome.out.split()), outcome


def test_an_unknown_shell_is_refused(run: Run) -> None:
    outcome = run("completion", "tcsh")
    assert outcome.status == 2
    assert "bash, zsh, fish" in outcome.err
