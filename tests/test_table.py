"""Every file is in its table, and every line of a table has its file."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

import xegrad
from conftest import Run
from xegrad import METHODS, Targets
from xegrad.cli import COMMANDS
from xegrad.data_sets.formats import FORMATS as DATA_SETS
from xegrad.engines import ENGINES
from xegrad.formats import FORMATS
from xegrad.problem_spec import FIELDS

SOURCE = Path(__file__).parent.parent / "src" / "xegrad"
NOT_LISTED: dict[str, set[str]] = {
    "methods": set(),
    "formats": {
        "claim",
        "labels",
        "measured",
        "printed",
        "raw",
        "raw_problem",
        "resolution",
        "results",
        "tokens",
        "values",
    },
    "cli": {
        "choices",
        "data_set",
        "inputs",
        "interruptions",
        "output",
        "places",
        "processes",
        "several",
        "shards",
        "signature",
        "stream",
        "tally",
        "writing",
    },
    "engines": {"fingerprint", "workers"},
    "data_sets": {"arrow", "formats", "labels", "lines", "listing", "reading", "sources"},
}


@pytest.mark.parametrize(
    ("room", "modules"),
    [
        ("methods", [method.module for method in METHODS.values()]),
        ("formats", [entry.module.__name__ for entry in FORMATS.values()]),
        ("cli", [f"xegrad.cli.{name}" for name in COMMANDS]),
        ("engines", [engine.module for engine in ENGINES.values()]),
        ("data_sets", [f"xegrad.data_sets.{entry.module}" for entry in DATA_SETS.values()]),
    ],
)
def test_files_and_lines_are_the_same(room: str, modules: list[str]) -> None:
    files = {path.stem for path in (SOURCE / room).iterdir() if not path.name.startswith("__")}
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


def test_every_option_of_the_loss_is_a_field_of_a_problem_and_every_field_has_its_option(run: Run) -> None:
    assert set(Targets.__struct_fields__) - {"labels", "soft"} < set(FIELDS)
    shown = run("compute", "--help").out
    for field in FIELDS.values():
        assert all(name in shown for option in field.options for name in option.split("/"))
