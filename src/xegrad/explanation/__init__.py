"""The chain of one problem, factor by factor, as values to show.

See docs/tour.md, and docs/numerics.md, section 1.3.
"""

from __future__ import annotations

import msgspec
import numpy as np
from msgspec.structs import replace

from xegrad import computation, notebook
from xegrad.computation import Computation
from xegrad.errors import InputError
from xegrad.explanation.row import WorkedRow, follow
from xegrad.explanation.steps import STEPS
from xegrad.explanation.values import Step, WorkedEntry
from xegrad.problem import Problem
from xegrad.targets import Array, Targets
from xegrad.vocabulary import CHAIN


class Explanation(msgspec.Struct, frozen=True, eq=False):
    """The chain of one row of a problem, step by step, from `explain`.

    Examples
    --------
    >>> explanation = explain(Problem([[1.0, -1.0]], [[3.0]], Targets([0])))
    >>> explanation["probabilities"].value
    array([0.99752738, 0.00247262])
    """

    problem: Problem  # the whole
    row: int
    computation: Computation  # of this row alone
    followed: tuple[int, int]  # the input and the class of the entry that the worked lines follow
    steps: tuple[Step, ...]

    __repr__ = notebook.one_line("problem", "row", "followed")

    def __getitem__(self, name: str) -> Step:
        """The step of this name."""
        for step in self.steps:
            if step.name == name:
                return step
        raise InputError(f"there is no step {name!r}; the steps are {', '.join(STEPS)}")

    @property
    def scrambled_gradient(self) -> Array:
        """The flat gradient cut by reshape(N, T), as the derivation prints it: the right numbers, misplaced."""
        by_class = self.computation.evaluations["chain"].gradients["weights"].T
        return by_class.reshape(self.problem.n_inputs, self.problem.n_classes)

    @property
    def rows_add_up(self) -> str:
        """How this row counts among the others; empty where it is the only one."""
        count = self.problem.n_rows
        if count == 1:
            return ""
        return (
            f"This is row {self.row} of {count}, with its own Q, which holds its share of the reduction "
            f"({self.problem.targets.reduction}). The loss and dL/dW of the batch are the sums of those of its rows."
        )

    @property
    def arrays(self) -> dict[str, Array | None]:
        """Every array by its name; None where it is beyond the budget."""
        return {name: self[name].value for name in CHAIN} | {"scrambled_gradient": self.scrambled_gradient}

    def entry(self, input: int, class_: int) -> WorkedEntry:
        """dL/dW[input, class], followed through every factor.

        Raises
        ------
        InputError
            An index out of range.
        """
        problem = self.problem
        for name, index, size in (("input", input, problem.n_inputs), ("class", class_, problem.n_classes)):
            if not 0 <= index < size:
                raise InputError(f"there is no {name} {index}; they are 0 to {size - 1}")
        with np.errstate(all="ignore"):
            return follow(WorkedRow(self.computation), input, class_)

    def _repr_html_(self) -> str:
        """A table for a notebook."""
        lines = "".join(map(_line, self.steps))
        above = f"<p>{notebook.cell(self.rows_add_up)}</p>" if self.rows_add_up else ""
        return f"{above}<table><tr><th>step</th><th>how</th><th>value</th></tr>{lines}</table>"


def explain(problem: Problem, row: int = 0) -> Explanation:
    """The chain of one row, DXE . DS . Dg, with every factor as numbers, beside the shortcut.

    Of a batch the row's Q holds its share of the reduction, so that rows add up to the batch; as floats, it is the
    target that the exact values are for.  These are there where they are quick (`methods.exact.work`) and certified.
    Of a Jacobian beyond the budget only what is shown is built.

    Raises
    ------
    InputError
        A stack of problems, or a row that there is not.

    Examples
    --------
    >>> explain(Problem([[1.0, -1.0]], [[3.0]], Targets([0])))["weighted_sum_jacobian"].value
    array([[3., 0.],
           [0., 3.]])
    """
    if problem.weights.ndim > 2:
        raise InputError("an explanation is that of one problem, not of a stack")
    if not 0 <= row < problem.n_rows:
        raise InputError(f"there is no row {row}; the rows are 0 to {problem.n_rows - 1}")
    one = problem
    if problem.n_rows > 1:
        soft = problem.targets.effective(problem.n_classes, problem.dtype)[row : row + 1]
        targets = Targets(soft=soft, reduction="sum")
        one = replace(problem, inputs=problem.inputs[row : row + 1], targets=targets)
    # What is explained is the chain, however long it takes.
    methods = None if "chain" in computation.methods_for(one) else ("chain", "shortcut")
    computed = computation.compute(one, methods, ("weights",))
    if any(unsure.any() for unsure in computed.uncertified.values()):
        computed = computation.compute(one, with_respect_to=("weights",), exact=False)
    worked = WorkedRow(computed)
    with np.errstate(all="ignore"):
        steps = tuple(replace(make(worked), name=name) for name, make in STEPS.items())
    return Explanation(problem, row, computed, (worked.input, worked.target), steps)


def _line(step: Step) -> str:
    """A step as a line of the table; of a large array its structure."""
    codes = "".join(
        f"<br><code>{notebook.cell(line)}</code>" for line in (*step.formula.split("\n"), *step.worked)
    )
    lost = f"<br><i>{notebook.cell(step.lost)}</i>" if step.lost else ""
    value = notebook.cell(step.structure)
    if step.value is not None and step.value.size <= notebook.MOST and step.value.ndim <= 2:
        value = notebook.table(np.atleast_2d(step.value).astype(np.float64).tolist())
    return (
        f"<tr><td><b>{notebook.cell(step.symbol)}</b><br>{' × '.join(map(str, step.shape))}</td>"
        f"<td>{notebook.cell(step.rule)}{codes}{lost}</td><td>{value}</td></tr>"
    )
