"""The same bytes everywhere: whatever threads, locale, hash seed and width are, and read back to the same bits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xegrad
from conftest import ROOT, Run
from test_help import parameters
from test_schemas import validator
from xegrad import formats
from xegrad.cli import COMMANDS
from xegrad.cli.output import FORMS, VIEWS
from xegrad.cli.sample import WRITABLE
from xegrad.cli.schema import SCHEMAS

BATCH = "sample_inputs/batch.json"
SEED = "sample_inputs/seed.json"
HAS_OUTPUT = [command for command in COMMANDS if "path" in parameters(command)]
# A command line of every command, less what becomes of its result.
LINES = {
    "compute": ("compute", BATCH, "--exact", "--with-respect-to", "W"),
    "verify": ("verify", SEED),
    "explain": ("explain", BATCH),
    "descend": ("descend", BATCH, "--steps", "3"),
    "slips": ("slips", "sign-flipped"),
    "sample": ("sample", "--rows", "3"),
    "schema": ("schema", "verify"),
    "completion": ("completion", "bash"),
    "man": ("man",),
    "help": ("help", "compute"),
}


def lines() -> dict[str, tuple[str, ...]]:
    """Every command in every form that it has, less -o."""
    known: dict[str, tuple[str, ...]] = {}
    for command, line in LINES.items():
        forms = (FORMS if command == "compute" else VIEWS) if command in HAS_OUTPUT else []
        known |= {f"{command} {form}": (*line, "--format", form) for form in forms}
        if command not in HAS_OUTPUT:
            known[command] = line
        if command not in HAS_OUTPUT and "json" in parameters(command):
            known[f"{command} --json"] = (*line, "--json")
    return known


def test_every_command_is_tried() -> None:
    assert LINES.keys() == COMMANDS.keys()
    assert len(lines()) >= 7 + 3 * 5 + 2


def test_bytes_depend_on_nothing_around(tmp_path: Path) -> None:
    """Two processes, in which everything differs; a file is in UTF-8, so views differ with the width alone."""
    environments: list[dict[str, str]] = [
        {
            "OPENBLAS_NUM_THREADS": "1",
            "LC_ALL": "C",
            "PYTHONHASHSEED": "0",
            "COLUMNS": "60",
            "PYTHONUTF8": "0",
        },
        {
            "OPENBLAS_NUM_THREADS": "2",
            "LC_ALL": "C.UTF-8",
            "PYTHONHASHSEED": "1",
            "COLUMNS": "200",
            "TZ": "Asia/Tokyo",
        },
    ]
    processes = []
    for number, environment in enumerate(environments):
        folder = tmp_path / str(number)
        folder.mkdir()
        command = [sys.executable, Path(__file__), folder]
        around = {**os.environ, "PYTHONPATH": str(ROOT / "tests"), **environment}
        processes.append(subprocess.Popen([*map(str, command)], env=around, cwd=ROOT))
    assert [process.wait() for process in processes] == [0, 0]
    first, second = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in "01")
    assert first.keys() == second.keys() == {*lines(), "large"}
    for name, data in first.items():
        assert data, name
        assert data == second[name], name


def write_all(folder: Path) -> None:
    """What each line gives, in files; tables at one width, and of a large problem what is certified."""
    import contextlib
    import io

    from xegrad.cli import main

    def printed(*line: str) -> bytes:
        buffer = io.BytesIO()
        with contextlib.redirect_stdout(io.TextIOWrapper(buffer, "utf-8", write_through=True)):
            assert main(line) in (0, 1), line
            return buffer.getvalue()

    width = os.environ["COLUMNS"]
    for name, line in lines().items():
        is_data = "--json" in line or line[-1] in ("json", "csv", "npy")
        os.environ["COLUMNS"] = width if is_data else "80"
        if line[0] in HAS_OUTPUT:
            assert main([*line, "-o", str(folder / name)]) in (0, 1), line
        else:
            (folder / name).write_bytes(printed(*line))
    # So large that the library behind numpy shares the products among threads.
    random = np.random.default_rng(0)
    W, x = random.standard_normal((200, 40)), random.standard_normal((100, 200))
    problem = folder / "large"
    np.savez(folder / "large.npz", W=W, x=x, label=np.arange(100) % 40)
    (folder / "large.npz").rename(problem)
    result = json.loads(printed("compute", str(problem), "--method", "shortcut,exact", "--json"))
    problem.write_text(json.dumps([result[key] for key in ("method", "loss", "gradient", "verdict")]))


@pytest.mark.parametrize("form", ["json", "csv", "npy"])
def test_a_gradient_reads_back_to_the_same_bits(run: Run, tmp_path: Path, form: str) -> None:
    for path in (SEED, BATCH):
        problem = xegrad.read(path)
        for symbol, name in (("W", "weights"), ("b", "bias"), ("x", "inputs"), ("logits", "logits")):
            if symbol == "b" and problem.bias is None:
                continue
            file = tmp_path / f"gradient.{form}"
            asked = ("--method", "shortcut", "--with-respect-to", symbol)
            assert run("compute", path, *asked, "-o", str(file)).status == 0
            if form == "json":
                read: Any = json.loads(file.read_text())
                read = read["gradients"][symbol] if "gradients" in read else read["gradient"]
            else:
                part = "b" if symbol == "b" else "W"
                read = formats.read_raw(file, None, part).values[part]
            expected = xegrad.METHODS["shortcut"].evaluate(problem, [name]).gradients[name] + 0.0
            read = np.asarray(read, dtype=np.float64).reshape(expected.shape)
            assert read.tobytes() == expected.tobytes(), (path, symbol)


@pytest.mark.parametrize("form", WRITABLE)
def test_a_problem_reads_back_to_the_same_bits(run: Run, tmp_path: Path, form: str) -> None:
    moved = tmp_path / f"moved.{form}"
    assert run("descend", SEED, "--steps", "2", "--save", str(moved)).status == 0
    end, read = xegrad.descend(xegrad.read(SEED), steps=2).end, xegrad.read(moved)
    for name in ("weights", "bias", "inputs"):
        one, other = getattr(end, name), getattr(read, name)
        assert one is other is None or one.tobytes() == other.tobytes(), name


@pytest.mark.parametrize("command", [command for command in COMMANDS if "json" in parameters(command)])
def test_what_a_command_prints_as_json_has_a_schema(run: Run, command: str) -> None:
    result = json.loads(run(*LINES[command], "--json").out)
    schema = validator(run, command if command in SCHEMAS else "problem")
    for one in result if isinstance(result, list) else [result]:
        schema.validate(one)


if __name__ == "__main__":
    write_all(Path(sys.argv[1]))
