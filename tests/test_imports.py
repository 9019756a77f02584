"""What a command imports, which is most of what its start takes: a slower start shows in a golden file."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from conftest import Shell

pytestmark = pytest.mark.imports  # coverage imports modules of its own into each process

COMMANDS = {
    "compute-json": ("compute", "sample_inputs/seed.json", "--json"),
    "compute": ("compute", "sample_inputs/seed.json"),
    "help": ("--help",),
}
# Without `site`, so that nothing is imported at start that belongs to how a package was installed.
PYTHON = [sys.executable, "-S", "-E", "-c"]
LOADED = """
names = [name for name, module in sys.modules.items() if getattr(module, "__spec__", None)]
print(*(name for name in names if name not in before), file=sys.stderr)
"""
RUN = f"""
import sys
sys.path[:], sys.argv = sys.argv[1].split("\\n"), ["xegrad", *sys.argv[2:]]
before = {{*sys.modules}}
from xegrad.__main__ import run
try:
    run()
except SystemExit as end:
    assert not end.code
{LOADED}
"""
IMPORT = f"""
import contextlib, importlib, sys
sys.path[:], names = sys.argv[1].split("\\n"), sys.argv[2:]
before = ()
for name in names:
    with contextlib.suppress(ImportError):
        importlib.import_module(name)
{LOADED}
"""


def loaded(script: str, *arguments: str) -> set[str]:
    """The names of the modules that a process has imported at its end."""
    path = "\n".join(path for path in sys.path if path)
    done = subprocess.run(
        [*PYTHON, script, path, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=True,
        text=True,
    )
    return set(done.stderr.split())


def top(name: str) -> str:
    return name.partition(".")[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_imports_what_the_golden_file_lists(
    golden: Callable[[str, str], None], command: str
) -> None:
    """Packages, and the standard modules that these would not import by themselves."""
    modules = loaded(RUN, *COMMANDS[command])
    of_packages = {name for name in modules if top(name) not in {"xegrad", *sys.stdlib_module_names}}
    packages = {top(name) for name in of_packages} - {"typing_extensions"}  # a newer Python needs it less
    standard = (modules & sys.stdlib_module_names) - loaded(IMPORT, *sorted(of_packages))
    lines = ["packages", *indented(packages), "standard modules", *indented(standard)]
    golden(f"imports-{command}", "\n".join(lines) + "\n")


def indented(names: set[str]) -> list[str]:
    """All but private ones, which differ from one Python to the next."""
    return [f"  {name}" for name in sorted(names) if not name.startswith("_")]


@pytest.mark.parametrize("module", ["numpy", "rich", "msgspec"])
def test_version_and_help_import_nothing_large(shell: Shell, module: str) -> None:
    for option in ("--version", "--help"):
        line = f"python -X importtime -m xegrad {option} 2>&1 | grep -c ' {module}$'"
        assert shell(line).out == "0\n"


def test_compute_json_imports_neither_rich_nor_the_csv_reader(shell: Shell) -> None:
    line = "python -X importtime -m xegrad compute sample_inputs/seed.json --json 2>&1 >/dev/null"
    imported = {row.split("|")[-1].strip() for row in shell(line).out.splitlines()}
    assert "numpy" in imported
    assert not imported & {"rich", "rich.table", "csv", "json", "xegrad.display.computation"}


def test_importing_the_library_imports_no_numpy(shell: Shell) -> None:
    for name, imported in (("__version__", "[]"), ("METHODS", "[]"), ("Problem", "['numpy']")):
        look = f"import sys, xegrad; xegrad.{name}; large = ('numpy', 'typer', 'rich')"
        line = f'python -c "{look}; print([name for name in large if name in sys.modules])"'
        assert shell(line).out == f"{imported}\n"
