"""Every file is in its table, and every line of a table has its file."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

import xegrad
from xegrad import METHODS
from xegrad.cli import COMMANDS
from xegrad.formats import FORMATS

SOURCE = Path(__file__).parent.parent / "src" / "xegrad"
NOT_LISTED: dict[str, set[str]] = {
    "methods": set(),
    "formats": {"claim", "labels", "printed", "raw_problem", "schemas", "values"},
    "cli": {"choices", "options", "inputs", "output", "stream"},
}


@pytest.mark.parametrize(
    ("room", "modules"),
    [
        ("methods", [method.module for method in METHODS.values()]),
        ("formats", [entry.module for entry in FORMATS.values()]),
        ("cli", [module for module, _ in COMMANDS.values()]),
    ],
)
def test_files_and_lines_are_the_same(room: str, modules: list[str]) -> None:
    files = {path.stem for path in (SOURCE / room).glob("*.py")} - {"__init__"}
    assert files - NOT_LISTED[room] == {module.rsplit(".", 1)[1] for module in modules}


def test_names_are_what_the_user_types() -> None:
    assert all(name == method.name for name, method in METHODS.items())
    assert all(name == entry.name for name, entry in FORMATS.items())


def test_every_public_name_resolves_and_none_is_a_module_too() -> None:
    for name in xegrad.__all__:
        assert getattr(xegrad, name) is not None
        with pytest.raises(ModuleNotFoundError):
            import_module(f"xegrad.{name}")
    assert set(xegrad.__all__) < set(dir(xegrad))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = xegrad.nothing
