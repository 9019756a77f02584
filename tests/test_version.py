"""One version: that of the code is the newest in the changelog, on the manual page, and of what is installed."""

from __future__ import annotations

import datetime
import re
from importlib.metadata import version

from conftest import ROOT, Run
from xegrad import __version__


def test_the_changelog_begins_with_what_is_not_released_and_then_this_version_with_its_date() -> None:
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.M)
    assert headings[0] == "Unreleased"
    number, dash, date = headings[1].split()
    assert (number, dash) == (__version__, "-")
    assert datetime.date.fromisoformat(date).isoformat() == date


def test_the_command_the_manual_page_and_what_is_installed_say_this_version(run: Run) -> None:
    assert run("--version").out == f"xegrad {__version__}\n"
    assert (
        f'"xegrad {__version__}"' in (ROOT / "docs" / "xegrad.1").read_text(encoding="utf-8").splitlines()[0]
    )
    assert version("xegrad") == __version__
