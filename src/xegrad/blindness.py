"""Which slips a problem cannot catch, and problems that catch what can be caught.

See docs/numerics.md, section 10.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from msgspec.structs import replace

from xegrad import bounds
from xegrad.derivation import Cells
from xegrad.errors import InputError
from xegrad.methods import METHODS, Evaluation, exact_if_absent
from xegrad.naming import gradient_name
from xegrad.numbers.arithmetic import UNROUNDED
from xegrad.numbers.rounded import Rounded
from xegrad.problem import Problem
from xegrad.slips import SLIPS, Slip
from xegrad.slips.entry import Parameters
from xegrad.slips.making import apply, with_slip
from xegrad.targets import Array, Targets
from xegrad.tolerance import Tolerance, tolerance_for

TRIES = 32
PROBED = 4096  # entries of a first, quick look
# Of a problem of which they are sought; some 250 gradients are made of it, which takes a second or two at most.
MOST_LOGITS, MOST_ENTRIES = 2**16, 2**20
EXCESS = 2.0**12  # times the tolerance: a form that is further off is not hidden, whatever its own bound


@exact_if_absent
@np.errstate(all="ignore")
def blind_spots(
    problem: Problem,
    exact: Evaluation,
    tolerance: Tolerance | None = None,
    with_respect_to: str = "weights",
) -> Mapping[str, tuple[Parameters, ...]]:
    """The slips that this problem cannot reveal: the name of each, with its forms that stay hidden.

    A form is hidden if every entry of its gradient is within the tolerance of the right one, or within the form's own
    error bound where that is wider.  A slip with a free number is tried with the number of its example; for `scaled`
    that is 1/B, which changes nothing if B = 1.  Slips that need a bias or an option which the problem lacks are left
    out.  `blind_spots(problem)` evaluates the exact values.

    Examples
    --------
    >>> problem = Problem([[1.0, -1.0], [0.5, 2.0]], [[2.0, 3.0]], Targets([0]))
    >>> "scaled" in blind_spots(problem)  # by 1/B, and B is 1
    True
    """
    with_respect_to, tolerance = gradient_name(with_respect_to), tolerance or tolerance_for(problem, None)
    bound = bounds.stable(problem, (with_respect_to,), arithmetic=tolerance.arithmetic)
    reference, error = exact.gradients[with_respect_to], bound.gradients[with_respect_to]
    allowed = tolerance.allowed(reference, error, 0.0) + (exact.errors or {}).get(with_respect_to, 0.0)
    right = bounds.cells_of(problem, tolerance.arithmetic).of(with_respect_to)
    right = right.replace("G", Rounded(reference, error, right.arithmetic))
    unrounded = Cells(right.problem, with_respect_to, UNROUNDED)
    unrounded = unrounded.replace("G", Rounded(reference, 0.0, UNROUNDED))
    few = slice(max(1, PROBED // problem.n_classes)) if with_respect_to == "weights" else slice(None)

    def is_hidden(slip: Slip, form: Parameters) -> bool:
        # Most are far from right in values alone, and in the first inputs of a large W.
        cells = with_slip(unrounded, slip, form)
        seen, made = (few, cells.gradient(few)) if slip.is_in_layer else (slice(None), cells.G)
        near = reference[seen]
        if made.shape != near.shape or (np.abs(made.value - near) > EXCESS * allowed[seen]).any():
            return False
        made = with_slip(right, slip, form).G
        wide = allowed if slip.stage == "storage" else np.maximum(allowed, made.error)
        return bool((np.abs(made.value - reference) <= wide).all())

    hidden = (tuple(form for form in _forms(right, slip) if is_hidden(slip, form)) for slip in SLIPS.values())
    return {name: forms for name, forms in zip(SLIPS, hidden, strict=True) if forms}


def are_sought(problem: Problem) -> bool:
    """Whether a verdict looks for blind spots: not in a large problem, of which a small one tells as much."""
    is_small = problem.n_rows * problem.n_classes <= MOST_LOGITS
    return is_small and problem.n_inputs * problem.n_classes <= MOST_ENTRIES


def memory(problem: Problem, names: Sequence[str]) -> int:
    """The bytes beside the problem that looking for them takes: the cells, and what one form makes of them, as measured
    (tests/test_memory.py)."""
    operands = ("weights", "inputs") if {"weights", "inputs"} & {*names} else ()
    return 52 * problem.nbytes_of(["logits"]) + 14 * problem.nbytes_of(operands)


def _forms(cells: Cells, slip: Slip) -> Sequence[Parameters]:
    """The forms of a slip that are tried, each with the free number of the example."""
    forms = slip.example_forms(cells)
    # Of the formats of storage only the example; and of a single row, which has no other label, the example too.
    if slip.example and (slip.stage == "storage" or not forms):
        return [slip.example]
    return forms


def problem_without_blind_spots(
    n_rows: int, n_inputs: int, n_classes: int, seed: int
) -> tuple[Problem, tuple[str, ...]]:
    """A random problem with two decimals and few blind spots, and the blind spots that are left.

    W, x and b are normal, W scaled by 1 / sqrt(N) so that logits stay near one.  Of a few problems this is
    the first with the fewest blind spots.  B = 1 always hides 1/B, and T = 1 hides every slip.  Of a large problem
    they are not looked for.
    """
    random = np.random.default_rng(seed)

    def drawn() -> tuple[Problem, tuple[str, ...]]:
        problem = Problem(
            weights=np.round(random.normal(scale=1 / np.sqrt(n_inputs), size=(n_inputs, n_classes)), 2) + 0.0,
            inputs=np.round(random.normal(size=(n_rows, n_inputs)), 2) + 0.0,
            targets=Targets(labels=random.integers(n_classes, size=n_rows)),
            bias=np.round(random.normal(size=n_classes), 2) + 0.0,
        )
        if not are_sought(problem):
            return problem, ()
        return problem, tuple(blind_spots(problem, METHODS["shortcut"].evaluate(problem)))

    best = drawn()
    is_small = max(n_rows, n_inputs) * n_classes <= 10_000
    for _ in range(TRIES - 1 if is_small else 0):
        if best[1]:
            best = min(best, drawn(), key=lambda one: len(one[1]))
    return best


def problem_with_slips(
    names: Sequence[str], n_rows: int, n_inputs: int, n_classes: int, seed: int
) -> tuple[Problem, str, Array]:
    """A random problem, the name of a gradient that shows these slips, and that gradient with the slips in it.

    It is dL/dW where it shows them, else dL/db, else dL/dx.  The problem has class weights if a slip is an option
    that is left out or targets that do not sum to one.

    Raises
    ------
    InputError
        There is no such slip, or none of the gradients of such a problem shows it.
    """
    problem, _ = problem_without_blind_spots(n_rows, n_inputs, n_classes, seed)
    if "probabilities-clipped" in names:  # which shows where a probability is next to 0
        problem = replace(problem, weights=problem.weights * 10)
    if "smoothed-otherwise" in names:
        problem = replace(problem, targets=replace(problem.targets, label_smoothing=0.1))
    if {"option-ignored", "target-sum-ignored", "weights-on-logits", "first-row-factor"} & {*names}:
        weights = np.arange(2, n_classes + 2) / 2
        problem = replace(problem, targets=replace(problem.targets, class_weights=weights))
    candidates = ("weights", "bias", "inputs")
    exact, bound = METHODS["shortcut"].evaluate(problem, candidates), bounds.stable(problem, candidates)
    refusal: InputError | None = None
    for name in candidates:
        try:
            wrong = apply(problem, names, name)
        except InputError as error:
            refusal = refusal or error
            continue
        correct = exact.gradients[name]
        # Both are rounded, so they may be two bounds apart.
        if wrong.shape != correct.shape or not (np.abs(wrong - correct) <= 2 * bound.gradients[name]).all():
            return problem, name, wrong
    raise refusal or InputError(
        f"{' and '.join(names)} cannot be told from a right gradient on such a problem"
    )
