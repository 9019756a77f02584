"""Regular expressions mean the same in every Python that is promised."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import xegrad

SOURCES = sorted(Path(xegrad.__file__).parent.rglob("*.py"))
POSSESSIVE_GROUP = re.compile(r"\)(?:[*+?]|\{[0-9,]+\})\+")


@pytest.mark.parametrize("pattern", [r"(?:ab)*+", r"(?:ab)++", r"(a)?+", r"(?:ab){2,3}+"])
def test_a_possessive_group_is_found(pattern: str) -> None:
    assert POSSESSIVE_GROUP.search(pattern)


def test_no_group_is_possessive() -> None:
    """Before 3.11.5 one keeps what it took of a turn that fails (CPython issue 106052); `(?>(?:...)*)` does not."""
    assert not [path for path in SOURCES if POSSESSIVE_GROUP.search(path.read_text(encoding="utf-8"))]
