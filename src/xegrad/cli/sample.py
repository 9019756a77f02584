"""xegrad sample: a problem to start from."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

from xegrad import formats
from xegrad.cli.choices import choice, choices, option
from xegrad.errors import UsageError

if TYPE_CHECKING:
    from xegrad.formats.raw_problem import RawProblem
    from xegrad.problem import Problem
    from xegrad.targets import Array


WRITABLE = [entry.name for entry in formats.FORMATS.values() if "problem" in entry.writes]
MOST = 1_000_000  # inputs or classes


def command(
    rows: Annotated[int | None, option("--rows B", "A random one: B rows (1).", min=1, max=MOST)] = None,
    inputs: Annotated[int | None, option("--inputs N", "N inputs (3).", min=1, max=MOST)] = None,
    classes: Annotated[int | None, option("--classes T", "T classes (5).", min=1, max=MOST)] = None,
    seed: Annotated[int | None, option("--seed S", "Which one (0).", min=0)] = None,
    slip: Annotated[
        list[str] | None,
        option("--slip NAME", "With the gradient that these mistakes make; xegrad slips lists them."),
    ] = None,
    output_format: Annotated[
        str, option(f"--format {'|'.join(WRITABLE)}", "What it is written as.")
    ] = "json",
) -> int:
    """Print a problem: the derivation's own, or a random one of any size, with a wrong gradient perhaps.

    \b
    xegrad sample | xegrad compute
    xegrad sample --rows 8 --inputs 20 --classes 10 --seed 1 > problem.json
    xegrad sample --slip softmax-twice | xegrad verify
    xegrad sample --format csv > problem.csv

    A random problem has as few blind spots as can be: what it cannot catch is said on standard error.
    """
    name = choice(output_format, WRITABLE, "format")
    if slip:
        raw = _with_slips(slip, rows or 4, inputs or 3, classes or 5, seed or 0)
        if name != "json":
            raise UsageError(f"a gradient does not fit into {name}; --slip is written as json")
    elif rows is None and inputs is None and classes is None and seed is None:
        from xegrad.slip_page import seed as derivation

        raw = _raw(derivation())
    else:
        raw = _random(rows or 1, inputs or 3, classes or 5, seed or 0)
    sys.stdout.buffer.write(formats.FORMATS[name].write_problem(raw))
    return 0


def _random(n_rows: int, n_inputs: int, n_classes: int, seed: int) -> RawProblem:
    """Normal numbers with two decimals; what the problem cannot catch is said on standard error."""
    from xegrad.blindness import problem_without_blind_spots

    problem, remaining = problem_without_blind_spots(n_rows, n_inputs, n_classes, seed)
    if remaining:
        sys.stderr.write(f"xegrad: this problem cannot catch {', '.join(remaining)}\n")
    return _raw(problem)


def _with_slips(slips: list[str], n_rows: int, n_inputs: int, n_classes: int, seed: int) -> RawProblem:
    """A problem that brings the wrong gradient along."""
    from xegrad.blindness import problem_with_slips
    from xegrad.slips import SLIPS
    from xegrad.vocabulary import SYMBOLS

    names = choices(slips, SLIPS, "slip")
    problem, of, gradient = problem_with_slips(names, n_rows, n_inputs, n_classes, seed)
    return _raw(problem, gradient, None if of == "weights" else SYMBOLS[of])


def _raw(problem: Problem, gradient: Array | None = None, with_respect_to: str | None = None) -> RawProblem:
    """A problem, with a claim perhaps, as it is written."""
    from xegrad.formats.raw_problem import RawProblem

    labels = problem.targets.labels
    assert labels is not None
    single = problem.n_rows == 1
    values = {
        "W": problem.weights,
        "x": problem.inputs[0] if single else problem.inputs,
        "b": problem.bias,
        "label": int(labels[0]) if single else labels,
        "class_weights": problem.targets.class_weights,
        "gradient": gradient,
        "with_respect_to": with_respect_to,
    }
    return RawProblem({key: value for key, value in values.items() if value is not None})
