"""xegrad sample: a problem to start from."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import msgspec

from xegrad import formats, memory, progress
from xegrad.cli.choices import MaxMemory, choices, option, slip_names
from xegrad.cli.output import Json
from xegrad.errors import UsageError, listed
from xegrad.vocabulary import SYMBOLS

WRITABLE = [entry.name for entry in formats.FORMATS.values() if entry.writes_problem]
MOST = 1_000_000  # inputs or classes
OF_NUMBER, OF_SLIP = 120, 180  # bytes that each number takes at most until it is text (tests/test_memory.py)
SECONDS = 2e-6  # that each takes


def command(
    rows: Annotated[int | None, option("B", "A random problem of B rows (1).", min=1, max=MOST)] = None,
    inputs: Annotated[int | None, option("N", "A random problem of N inputs (3).", min=1, max=MOST)] = None,
    classes: Annotated[int | None, option("T", "A random problem of T classes (5).", min=1, max=MOST)] = None,
    seed: Annotated[int | None, option("S", "Which random problem (0).", min=0)] = None,
    slips: Annotated[
        list[str] | None,
        option(
            "--slip NAME",
            "Add the gradient that this mistake makes. xegrad slips lists them.",
            values=slip_names,
        ),
    ] = None,
    output_format: Annotated[
        str | None,
        option("--format NAME", f"{' or '.join(WRITABLE)} (json).", values=WRITABLE, noun="format"),
    ] = None,
    max_memory: MaxMemory = None,
    json: Json = False,
) -> int:
    """Print a problem to start from: the derivation's own, or a random one of any size.

    \b
    xegrad sample | xegrad compute
    xegrad sample --rows 8 --inputs 20 --classes 10 > problem.json
    xegrad sample --slip softmax-twice | xegrad verify
    xegrad sample --format csv > problem.csv
    xegrad sample --json >> problems.ndjson

    A problem in JSON has a row of W and x on each line, so that it can be edited; --json puts it on one line.
    A random problem can catch as many mistakes as its size allows; the others are named on standard error.
    """
    from xegrad.formats.raw_problem import RawProblem

    if json and output_format not in (None, "json"):
        raise UsageError(f"--json and --format {output_format} ask for two things")
    form = output_format or "json"
    sizes = rows or (4 if slips else 1), inputs or 3, classes or 5, seed or 0
    with memory.max_memory(max_memory):
        _check_size(*sizes[:3], OF_SLIP if slips else OF_NUMBER)
    claim: dict[str, Any] = {}
    if slips:
        from xegrad.blindness import problem_with_slips
        from xegrad.slips import SLIPS

        problem, of, gradient = problem_with_slips(choices(slips, SLIPS, "slip"), *sizes)
        claim = {"gradient": gradient, "with_respect_to": None if of == "weights" else SYMBOLS[of]}
        if form != "json":
            raise UsageError(f"a gradient does not fit into {form}; --slip is written as json")
    elif (rows, inputs, classes, seed) == (None,) * 4:
        from xegrad import slip_page

        problem = slip_page.seed()
    else:
        from xegrad.blindness import are_sought, problem_without_blind_spots
        from xegrad.display import screen

        problem, remaining = problem_without_blind_spots(*sizes)
        if not are_sought(problem):
            screen.announce("the problem is too large to look for mistakes that it cannot catch")
        if remaining:
            screen.announce(f"this problem cannot catch {listed(remaining)}")
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
    written = formats.FORMATS[form].module.write_problem(raw)
    sys.stdout.buffer.write(msgspec.json.format(written.rstrip(), indent=-1) + b"\n" if json else written)
    return 0


def _check_size(n_rows: int, n_inputs: int, n_classes: int, of_number: int) -> None:
    """Refuse a problem that takes too much memory, and say what a large one takes, before it is made."""
    from xegrad.display import screen

    n_numbers = n_inputs * n_classes + n_rows * (n_inputs + n_classes + 1)
    memory.check_making(of_number * n_numbers)
    with progress.heard_by(screen.announce):
        progress.foretell("this problem takes", SECONDS * n_numbers)
