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
from xegrad.judgement import Tolerance
from xegrad.methods import METHODS, Evaluation
from xegrad.numbers import rounded
from xegrad.numbers.arithmetic import UNROUNDED
from xegrad.numbers.rounded import Rounded
from xegrad.problem import Problem
from xegrad.slips import SLIPS, Slip
from xegrad.slips.entry import Parameters
from xegrad.slips.making import apply, chosen_form, with_slip
from xegrad.targets import Array, Targets

TRIES = 32
PROBED = 4096  # entries looked at before all are
EXCESS = 2.0**12  # times what is allowed: no bound of a slip is as wide


@np.errstate(all="ignore")
def blind_spots(
    problem: Problem,
    exact: Evaluation,
    tolerance: Tolerance | None = None,
    with_respect_to: str = "weights",
) -> Mapping[str, tuple[Parameters, ...]]:
    """The slips that this problem could not have caught, by identifier, each with its forms that it hides.

    A form is hidden if its gradient lies within the bound of the right one, or within the slip's own where
    that is wider.  A free number has its canonical value: 1/B, which B = 1 hides.  What has no place in the
    problem (an option that it does not have, a bias) is not hidden by it.
    """
    tolerance = tolerance or Tolerance()
    bound = bounds.stable(problem, (with_respect_to,), precision=tolerance.precision, terms=tolerance.terms)
    reference, error = exact.gradients[with_respect_to], bound.gradients[with_respect_to]
    allowed = tolerance.allowed(reference, error, 0.0)
    right = bounds.cells_of(problem, tolerance.precision, tolerance.terms).of(with_respect_to)
    right = right.replace("G", Rounded(reference, error, right.arithmetic))
    unrounded = Cells(right.problem, with_respect_to, UNROUNDED).replace(
        "G", rounded.exact(reference, UNROUNDED)
    )
    few = slice(max(1, PROBED // problem.n_classes)) if with_respect_to == "weights" else slice(None)

    def is_far(slip: Slip, form: Parameters) -> bool:
        """Whether it differs by so much that its own bound cannot explain it; of a large W, in a few inputs."""
        cells = with_slip(unrounded, slip, form)
        made = cells.gradient(few) if slip.is_in_layer else cells.G
        near = few if slip.is_in_layer else slice(None)
        if made.shape != reference[near].shape:
            return True
        return bool((np.abs(made.value - reference[near]) > EXCESS * allowed[near]).any())

    def is_hidden(slip: Slip, form: Parameters) -> bool:
        if is_far(slip, form):
            return False
        made = with_slip(right, slip, form).G
        wide = allowed if slip.stage == "storage" else np.maximum(allowed, made.error)
        return bool((np.abs(made.value - reference) <= wide).all())

    hidden = {}
    for name, slip in SLIPS.items():
        forms = tuple(form for form in _forms(right, name) if is_hidden(slip, form))
        if forms:
            hidden[name] = forms
    return hidden


def _forms(cells: Cells, name: str) -> Sequence[Parameters]:
    """Those of a slip that are tried: each with the free number of the example."""
    slip = SLIPS[name]
    if name == "scaled":
        return [{"k": 1 / cells.problem.n_rows}]
    forms = slip.forms(cells)
    if slip.free is not None:
        return [chosen_form(cells, slip, form) for form in forms]
    # Of all formats that of the example; and the label of the only row is that of any other.
    if slip.stage == "storage" or (name == "labels-misaligned" and not forms):
        return [slip.example]
    return forms


def problem_without_blind_spots(
    n_rows: int, n_inputs: int, n_classes: int, seed: int
) -> tuple[Problem, tuple[str, ...]]:
    """A random problem of two decimals with as few blind spots as can be, and those that are left.

    W, x and b are normal, W scaled by 1 / sqrt(N) so that logits stay near one; of a few problems the first
    with the fewest blind spots.  B = 1 always hides 1/B, T = 1 everything.
    """
    random = np.random.default_rng(seed)
    best: tuple[Problem, tuple[str, ...]] | None = None
    for _ in range(TRIES if n_inputs * n_classes <= 10_000 else 1):
        problem = Problem(
            weights=np.round(random.normal(scale=1 / np.sqrt(n_inputs), size=(n_inputs, n_classes)), 2) + 0.0,
            inputs=np.round(random.normal(size=(n_rows, n_inputs)), 2) + 0.0,
            targets=Targets(labels=random.integers(n_classes, size=n_rows)),
            bias=np.round(random.normal(size=n_classes), 2) + 0.0,
        )
        remaining = tuple(blind_spots(problem, METHODS["shortcut"].evaluate(problem)))
        if best is None or len(remaining) < len(best[1]):
            best = problem, remaining
        if not remaining:
            break
    assert best is not None
    return best


def problem_with_slips(
    names: Sequence[str], n_rows: int, n_inputs: int, n_classes: int, seed: int
) -> tuple[Problem, str, Array]:
    """A random problem, the gradient in which these slips show, by its name, and that gradient with the slips in it.

    dL/dW where they can be made there, else that of b or x.  For an option that is left out, and for targets that
    do not sum to one, the problem has class weights.

    Raises
    ------
    InputError
        There is no such slip, or none of the gradients of such a problem shows it.
    """
    problem, _ = problem_without_blind_spots(n_rows, n_inputs, n_classes, seed)
    if {"option-ignored", "target-sum-ignored"} & {*names}:
        weights = np.arange(2, n_classes + 2) / 2
        problem = replace(problem, targets=replace(problem.targets, class_weights=weights))
    exact = METHODS["shortcut"].evaluate(problem, ("weights", "bias", "inputs"))
    bound = bounds.stable(problem, ("weights", "bias", "inputs"))
    refusal: InputError | None = None
    for name in ("weights", "bias", "inputs"):
        try:
            wrong = apply(problem, names, name)
        except InputError as error:
            refusal = refusal or error
            continue
        right_one = exact.gradients[name]
        if wrong.shape != right_one.shape or (np.abs(wrong - right_one) > 2 * bound.gradients[name]).any():
            return problem, name, wrong
    raise refusal or InputError(
        f"{' and '.join(names)} cannot be told from a right gradient on such a problem"
    )
