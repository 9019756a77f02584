"""xegrad sample: a problem to start from."""

from __future__ import annotations

import sys
from typing import Annotated, Any

from xegrad import formats
from xegrad.cli.choices import choices, option
from xegrad.errors import UsageError
from xegrad.vocabulary import SYMBOLS

WRITABLE = [entry.name for entry in formats.FORMATS.values() if entry.writes_problem]
MOST = 1_000_000  # inputs or classes


def command(
    rows: Annotated[int | None, option("B", "A random one: B rows (1).", min=1, max=MOST)] = None,
    inputs: Annotated[int | None, option("N", "N inputs (3).", min=1, max=MOST)] = None,
    classes: Annotated[int | None, option("T", "T classes (5).", min=1, max=MOST)] = None,
    seed: Annotated[int | None, option("S", "Which one (0).", min=0)] = None,
    slip: Annotated[
        list[str] | None,
        option("NAME", "With the gradient that these mistakes make; xegrad slips lists them."),
    ] = None,
    output_format: Annotated[
        str, option("--format", "What it is written as.", values=WRITABLE, noun="format")
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
    from xegrad.formats.raw_problem import RawProblem

    sizes = rows or (4 if slip else 1), inputs or 3, classes or 5, seed or 0
    claim: dict[str, Any] = {}
    if slip:
        from xegrad.blindness import problem_with_slips
        from xegrad.slips import SLIPS

        problem, of, gradient = problem_with_slips(choices(slip, SLIPS, "slip"), *sizes)
        claim = {"gradient": gradient, "with_respect_to": None if of == "weights" else SYMBOLS[of]}
        if output_format != "json":
            raise UsageError(f"a gradient does not fit into {output_format}; --slip is written as json")
    elif (rows, inputs, classes, seed) == (None,) * 4:
        from xegrad import slip_page

        problem = slip_page.seed()
    else:
        from xegrad.blindness import problem_without_blind_spots

        problem, remaining = problem_without_blind_spots(*sizes)
        if remaining:
            sys.stderr.write(f"xegrad: this problem cannot catch {', '.join(remaining)}\n")
    labels: Any = problem.targets.labels
    is_single = problem.n_rows == 1
    values = {
        "W": problem.weights,
        "x": problem.inputs[0] if is_single else problem.inputs,
        "b": problem.bias,
        "label": labels.item() if is_single else labels,
        "class_weights": problem.targets.class_weights,
        "label_smoothing": problem.targets.label_smoothing or None,
        **claim,
    }
    raw = RawProblem({key: value for key, value in values.items() if value is not None})
    sys.stdout.buffer.write(formats.FORMATS[output_format].module.write_problem(raw))
    return 0
