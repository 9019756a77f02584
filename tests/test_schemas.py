"""Every sample and every output is what its published schema says."""

from __future__ import annotations

import gc
import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from conftest import Run
from xegrad.cli.schema import SCHEMAS
from xegrad.formats.results.tree import each, objects

SAMPLES = sorted(Path("sample_inputs").glob("*.json"))
OPTIONS = [
    (),
    ("--method", "chain"),
    ("--exact", "--with-respect-to", "W,b,x,logits"),
    ("--reduction", "none"),
    ("--no-exact",),
]


@cache
def of_text(schema: str) -> Any:
    jsonschema.Draft202012Validator.check_schema(json.loads(schema))
    return jsonschema.Draft202012Validator(json.loads(schema))


def validator(run: Run, name: str) -> Any:
    return of_text(run("schema", name).out)


def test_there_are_samples() -> None:
    assert len(SAMPLES) >= 4


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_a_sample_is_a_problem(run: Run, path: Path) -> None:
    validator(run, "problem").validate(json.loads(path.read_text()))


@pytest.mark.parametrize("options", OPTIONS, ids=" ".join)
@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_what_compute_prints_is_what_its_schema_says(run: Run, path: Path, options: tuple[str, ...]) -> None:
    result = json.loads(run("compute", str(path), "--json", *options).out)
    validator(run, "compute").validate(result)
    assert result["schema"] == "xegrad/compute/1"


@pytest.mark.parametrize(
    "options", [(), ("--loss", "1.5", "--gradient", "[[0,0],[0,0]]"), ("--loss", "nan")], ids=" ".join
)
@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_what_verify_prints_is_what_its_schema_says(run: Run, path: Path, options: tuple[str, ...]) -> None:
    outcome = run("verify", str(path), "--json", *options)
    if outcome.status == 2:  # the gradient has another shape than this sample's
        assert "is expected" in outcome.err
        return
    result = json.loads(outcome.out)
    validator(run, "verify").validate(result)
    assert result["schema"] == "xegrad/verify/1"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("explain", ("explain",)),
        ("descend", ("descend", "--steps", "3")),
        ("descend", ("descend", "--learning-rate", "1e300", "--steps", "3")),
    ],
)
@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_what_explain_and_descend_print_is_what_their_schemas_say(
    run: Run, path: Path, name: str, arguments: tuple[str, ...]
) -> None:
    outcome = run(*arguments, str(path), "--json")
    result = json.loads(outcome.out)
    validator(run, name).validate(result)
    assert result["schema"] == f"xegrad/{name}/1"


def test_what_slips_prints_is_what_its_schema_says(run: Run) -> None:
    schema = validator(run, "slips")
    for entry in json.loads(run("slips", "--json").out):
        schema.validate(entry)


def test_every_line_of_a_stream_and_its_answer_are_what_the_schemas_say(run: Run) -> None:
    lines = Path("sample_inputs/stream.ndjson").read_text().splitlines()
    found = [json.loads(line) for line in run("compute", "sample_inputs/stream.ndjson").out.splitlines()]
    problem, answer, error = (validator(run, name) for name in ("problem", "compute", "error"))
    for line, result in zip(lines, found, strict=True):
        if "error" in result:
            error.validate(result)
        else:
            problem.validate(json.loads(line))
            answer.validate(result)


def test_a_schema_refuses_what_is_not_so(run: Run) -> None:
    with pytest.raises(jsonschema.ValidationError):
        validator(run, "problem").validate({"W": [[1, "2"]]})
    with pytest.raises(jsonschema.ValidationError):
        validator(run, "problem").validate({"w": [[1, 2]]})
    with pytest.raises(jsonschema.ValidationError):
        validator(run, "compute").validate({"schema": "xegrad/compute/1"})


def test_the_names_are_listed_and_an_unknown_one_is_refused(run: Run) -> None:
    assert all(name in run("schema").out for name in SCHEMAS)
    outcome = run("schema", "computed")
    assert outcome.status == 2
    assert "did you mean compute?" in outcome.err


def test_writing_results_leaves_nothing_for_the_garbage_collector() -> None:
    """It seldom runs: what it alone could free would grow with a stream."""
    tree = {"id": each([1, None]), "loss": np.arange(2.0), "gradients": {"W": np.zeros((2, 3, 4))}}
    gc.collect()
    gc.disable()
    try:
        texts = [b"".join(line) for line in objects(tree)]
        assert gc.collect() == 0
    finally:
        gc.enable()
    assert [json.loads(text).get("id") for text in texts] == [1, None]
