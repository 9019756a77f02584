"""What `help` and `repr` say of the public names."""

from __future__ import annotations

import doctest
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xegrad
from xegrad import METHODS, Claim, Problem, Targets, Tolerance, check, compute, descend, explain

NAMES = {"np": np, **{name: getattr(xegrad, name) for name in xegrad.__all__}}
SETTINGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.mark.parametrize("name", xegrad.__all__)
def test_the_help_on_a_public_name_has_an_example_that_is_true(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    documented: Any = NAMES[name]
    if isinstance(documented, Mapping):  # a table: the module that holds it says what it is
        documented = sys.modules[f"xegrad.{name.lower()}"]
    text = inspect.getdoc(documented) or ""
    example = doctest.DocTestParser().get_doctest(text, dict(NAMES), name, None, None)
    assert example.examples
    failures: list[str] = []
    doctest.DocTestRunner(optionflags=SETTINGS).run(example, out=failures.append)
    assert not failures, "".join(failures)


PROBLEM = Problem(np.ones((2, 3)), np.ones((4, 2)), Targets(np.array([0, 1, 2, 0])), classes=("a", "b", "c"))
VERDICT = check(PROBLEM.weights, PROBLEM.inputs, [0, 1, 2, 0], np.ones((2, 3)), loss=1.0)


@pytest.mark.parametrize(
    "value",
    [
        PROBLEM,
        PROBLEM.targets,
        METHODS["exact"].evaluate(PROBLEM),
        METHODS["chain"].bound(PROBLEM),
        Claim({"W": np.ones((2, 3))}, 1.0),
        Tolerance(),
        VERDICT,
        VERDICT.judgements["weights"],
        VERDICT.judgements["weights"].comparison,
        VERDICT.diagnoses["weights"],
        compute(PROBLEM),
        explain(PROBLEM),
        descend(PROBLEM, steps=9),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_repr_is_one_line_with_sizes(value: Any) -> None:
    line = repr(value)
    assert line.startswith(f"{type(value).__name__}(")
    assert "\n" not in line
    assert "array(" not in line
    assert len(line) < 300


def test_the_repr_of_a_problem_says_what_it_holds() -> None:
    assert repr(PROBLEM) == (
        "Problem(weights=float64[2 x 3], inputs=float64[4 x 2], "
        "targets=Targets(labels=int64[4], label_smoothing=0, reduction='mean'), classes=('a', 'b', 'c'))"
    )
