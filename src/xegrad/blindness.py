"""Which slips a problem cannot catch, and problems that catch what can be caught."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from msgspec.structs import replace

from xegrad import bounds
from xegrad.errors import InputError
from xegrad.judgement import Tolerance
from xegrad.methods import METHODS, Evaluation
from xegrad.problem import Problem
from xegrad.slips import SLIPS
from xegrad.slips.draft import Gradient, right, stack
from xegrad.slips.entry import Parameters
from xegrad.slips.gradients import FORMS_OF_STORAGE
from xegrad.slips.making import apply, changed, form
from xegrad.targets import Array, Targets

TRIES = 32
PROBED = 4096  # entries looked at before all are


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
    draft = right(problem, with_respect_to, tolerance.precision, tolerance.terms)
    bound = bounds.stable(problem, (with_respect_to,), precision=tolerance.precision, terms=tolerance.terms)
    reference = exact.gradients[with_respect_to]
    gradient = Gradient(reference, bound.gradients[with_respect_to])
    rows = slice(max(1, PROBED // problem.n_classes))
    where: Any = {"weights": rows, "inputs": (slice(None), rows)}.get(with_respect_to, slice(None))
    hidden: dict[str, tuple[Parameters, ...]] = {}
    for name, slip in SLIPS.items():
        forms: list[Parameters] = [*slip.choices(draft)]
        if name == "scaled":
            forms = [{"k": 1 / problem.n_rows}]
        elif slip.free is not None and forms:
            forms = [form(draft, slip, choice, gradient) for choice in forms]
        elif forms == [*FORMS_OF_STORAGE] or (name == "labels-misaligned" and not forms):
            forms = [slip.canonical]  # the one row's label is its own
        found = []
        for given in forms:
            if slip.draft is not None:
                wrong = stack([slip.draft(draft, given)])
                # Of a large W a few inputs first: what differs there is not hidden.
                few, here = wrong.pull_back(rows), reference[where]
                allowed = np.maximum(tolerance.allowed(here, gradient.bound[where], 0.0), few.bound[0])
                if not (np.abs(few.values[0] - here) <= allowed).all():
                    continue
                pulled = wrong.pull_back()
                made = Gradient(pulled.values[0], pulled.bound[0])
            else:
                made = changed(draft, slip, gradient, given)
            if made.values.shape != reference.shape:
                continue
            own = np.zeros_like(made.bound) if slip.stage == "storage" else made.bound
            allowed = np.maximum(tolerance.allowed(reference, gradient.bound, 0.0), own)
            if (np.abs(made.values - reference) <= allowed).all():
                found.append(given)
        if found:
            hidden[name] = tuple(found)
    return hidden


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
