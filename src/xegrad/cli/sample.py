"""xegrad sample: a problem to start from."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from xegrad import formats
from xegrad.cli import options

if TYPE_CHECKING:
    from xegrad.formats.parts import Parts


WRITABLE = [entry.name for entry in formats.FORMATS.values() if "problem" in entry.writes]
MOST = 1_000_000  # inputs or classes


def command(
    inputs: Annotated[
        int | None, typer.Option("--inputs", metavar="N", min=1, max=MOST, help="A random one: N inputs.")
    ] = None,
    classes: Annotated[
        int | None, typer.Option("--classes", metavar="T", min=1, max=MOST, help="T classes.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="S", min=0, help="Which one (0).")] = None,
    output_format: Annotated[
        str, typer.Option("--format", metavar="|".join(WRITABLE), help="What it is written as.")
    ] = "json",
) -> int:
    """Print a problem: the derivation's own, or a random one of any size.

    \b
    xegrad sample | xegrad compute
    xegrad sample --inputs 20 --classes 10 --seed 1 > problem.json
    xegrad sample --format csv > problem.csv
    """
    name = options.choice(output_format, WRITABLE, "format")
    if inputs is None and classes is None and seed is None:
        parts = _derivation()
    else:
        parts = _random(inputs or 3, classes or 5, seed or 0)
    sys.stdout.buffer.write(formats.FORMATS[name].write_problem(parts))
    return 0


def _derivation() -> Parts:
    """The worked example of the derivation that this project follows."""
    import numpy as np

    from xegrad.formats.parts import Parts

    return Parts(
        weights=np.array(
            [[0.1, 0.2, 0.3, 0.4, 0.5], [0.6, 0.7, 0.8, 0.9, 0.1], [0.11, 0.12, 0.13, 0.14, 0.15]]
        ),
        inputs=np.array([0.1, 0.5, 0.4]),
        label=2,
    )


def _random(n_inputs: int, n_classes: int, seed: int) -> Parts:
    """Normal numbers with two decimals, W scaled by 1 / sqrt(N) so that logits stay near one."""
    import numpy as np

    from xegrad.formats.parts import Parts

    random = np.random.default_rng(seed)
    scale = 1 / np.sqrt(n_inputs)
    return Parts(
        weights=np.round(random.normal(scale=scale, size=(n_inputs, n_classes)), 2) + 0.0,
        inputs=np.round(random.normal(size=n_inputs), 2) + 0.0,
        label=int(random.integers(n_classes)),
    )
