"""The first wrong one of the chain's steps, and whether the later ones follow from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import msgspec
import numpy as np
from msgspec.structs import replace

from xegrad import bounds
from xegrad.diagnosis import Diagnosis, diagnose
from xegrad.errors import InputError
from xegrad.judgement import Tolerance
from xegrad.methods import Evaluation
from xegrad.problem import Problem
from xegrad.slips import SLIPS
from xegrad.slips.draft import Draft, Gradient, cross_entropy, ratio, right, stack
from xegrad.targets import Array
from xegrad.vocabulary import CHAIN

OF_A_BATCH = ("logits", "probabilities", "loss", "gradient")


class Intermediates(msgspec.Struct, frozen=True, eq=False):
    """What was found along the chain.  `wrong` is the first step that rounding does not explain, if any."""

    right: tuple[str, ...]  # the steps before it
    wrong: str | None
    slips: tuple[str, ...]  # that make this step as it is
    diagnosis: Diagnosis  # of the gradient, where that is the wrong step
    follows: Mapping[str, bool]  # of each later step, whether it is what the wrong one leads to
    right_later: tuple[str, ...] = ()  # the later steps that are right all the same


@np.errstate(all="ignore")
def first_wrong_step(
    problem: Problem,
    exact: Evaluation,
    steps: Mapping[str, Array],
    tolerance: Tolerance | None = None,
    resolution: Mapping[str, Array | float] | None = None,
) -> Intermediates:
    """Check the steps that are there, some or all, in the order of the chain.

    Parameters
    ----------
    steps : by name
        logits and probabilities (B, T), or (T,) of one example; loss; gradient (N, T); and of one example
        cross_entropy_jacobian (T,), softmax_jacobian (T, T), weighted_sum_jacobian and layer_jacobian
        (T, T*N), flat_gradient (T*N,), the columns class by class.
    resolution : by name, optional
        What printing left open.

    Raises
    ------
    InputError
        A name that is no step of this chain, or a step of another size.
    """
    tolerance, resolution = tolerance or Tolerance(), resolution or {}
    known = CHAIN if problem.n_rows == 1 else OF_A_BATCH
    draft = right(problem, "weights", tolerance.precision, tolerance.terms)
    expected = _chain(draft)
    stable = bounds.stable(problem, precision=tolerance.precision, terms=tolerance.terms)
    gradient = Gradient(exact.gradients["weights"], stable.gradients["weights"])
    expected["loss"] = Gradient(np.array([exact.loss]), np.array([stable.loss]))
    expected["gradient"] = gradient
    if "flat_gradient" in expected:
        expected["flat_gradient"] = Gradient(gradient.values.T.ravel(), gradient.bound.T.ravel())
    given = {}
    for name, values in steps.items():
        if name not in known:
            raise InputError(f"there is no step {name!r} here; there are {', '.join(known)}")
        array = np.asarray(values, dtype=np.float64)
        if array.size != expected[name].values.size and not _is_diagonal(name, array, problem):
            hint = "; of a batch, xegrad explain shows one row" if problem.n_rows > 1 else ""
            count = f"{array.size} number{'' if array.size == 1 else 's'}"
            raise InputError(f"{name} has {count}, not {expected[name].values.size}{hint}")
        given[name] = array

    def within(name: str, reference: Gradient) -> bool:
        values, open_ = given[name], resolution.get(name, 0.0)
        if values.size != reference.values.size:
            return False
        values = values.reshape(reference.values.shape)
        open_ = np.broadcast_to(open_, given[name].shape).reshape(values.shape)
        allowed = tolerance.allowed(reference.values, reference.bound, open_)
        return bool((np.abs(values - reference.values) <= allowed).all())

    present = [name for name in known if name in given]
    wrong = next((name for name in present if not within(name, expected[name])), None)
    if wrong is None:
        return Intermediates(tuple(present), None, (), Diagnosis(), {})
    index = present.index(wrong)
    value, opening = given[wrong], resolution.get(wrong, 0.0)
    diagnosis = Diagnosis()
    if wrong in ("gradient", "flat_gradient"):
        own, open_own = value, np.broadcast_to(opening, value.shape)
        if wrong == "flat_gradient":
            own, open_own = (part.reshape(problem.n_classes, -1).T for part in (own, open_own))
        diagnosis = diagnose(problem, exact, own, tolerance, open_own)
        slips = tuple(dict.fromkeys(name for names in diagnosis.names for name in names))
    else:
        slips = tuple(
            dict.fromkeys(
                name for name, made in _made_by_slips(draft, wrong, expected[wrong]) if within(wrong, made)
            )
        )
    follows = {}
    if value.size == expected[wrong].values.size:
        shape = expected[wrong].values.shape
        own, open_own = value.reshape(shape), np.broadcast_to(opening, value.shape).reshape(shape)
        # What came after it was computed from the number before it was stored.
        taken = Gradient(own, 2 * tolerance.allowed(own, draft.u * np.abs(own), open_own))
        after = _chain(draft, {wrong: taken})
        follows = {name: within(name, after[name]) for name in present[index + 1 :]}
    later = tuple(name for name in present[index + 1 :] if within(name, expected[name]))
    return Intermediates(tuple(present[:index]), wrong, slips, diagnosis, follows, later)


def _is_diagonal(name: str, values: Array, problem: Problem) -> bool:
    return name == "softmax_jacobian" and values.size == problem.n_classes


def _chain(draft: Draft, taken: Mapping[str, Gradient] | None = None) -> dict[str, Gradient]:
    """Every step with its bound, from the right logits on, or from a step that is taken as it is.

    Both the candidate and these numbers are rounded, so each bound is twice what one of them is off by:

        logits             e
        probabilities      dS
        -Q/S               |Q/S| (dS / (S - dS) + 4u)
        S_t (d_ti - S_i)   dS_t |d_ti - S_i| + S_t dS_i + 4u S_t, with S - dS..S + dS inside dS
        dZ/dW              the inputs themselves, 2u |x|
        a product A B      dA |B| + |A| dB + dA dB + (T + 2) u |A| |B|, T terms for each entry
    """
    taken = taken or {}
    u, n_classes = draft.u, draft.problem.n_classes
    steps: dict[str, Gradient] = {}

    def step(name: str, make: Callable[[], tuple[Array, Array]]) -> Gradient:
        steps[name] = taken[name] if name in taken else _twice(*make())
        return steps[name]

    def product(first: Gradient, second: Gradient) -> tuple[Array, Array]:
        # The bounds that come in are of two computations already: half of each is one's own.
        a, b, da, db = first.values, second.values, first.bound / 2, second.bound / 2
        sizes = np.abs(a) @ np.abs(b)
        return a @ b, da @ np.abs(b) + np.abs(a) @ db + da @ db + (n_classes + 2) * u * sizes

    logits = step("logits", lambda: (draft.logits[0], draft.logits_error[0]))
    if "logits" in taken:
        draft = draft.with_logits(logits.values[None], logits.bound[None] / 2)
    made = step("probabilities", lambda: (draft.probabilities[0], draft.probabilities_error[0]))
    if "probabilities" in taken:
        draft = draft.with_probabilities(made.values[None], made.bound[None] / 2)
    step("loss", lambda: _alone(*cross_entropy(draft)))
    if draft.problem.n_rows > 1:
        pulled = stack([draft]).pull_back()
        step("gradient", lambda: (pulled.values[0], pulled.bound[0]))
        return steps
    chances, spread = draft.probabilities[0, 0], draft.probabilities_error[0, 0]
    entropy = step("cross_entropy_jacobian", lambda: _entropy(draft))
    identity = np.eye(n_classes)
    softmax = step(
        "softmax_jacobian",
        lambda: (
            chances[:, None] * (identity - chances),
            spread[:, None] * np.abs(identity - chances)
            + np.abs(chances[:, None]) * (spread + 4 * u)
            + spread[:, None] * spread,
        ),
    )
    inputs = draft.problem.inputs[0]
    spread_out = np.kron(identity, inputs)
    weighted = step("weighted_sum_jacobian", lambda: (spread_out, u * np.abs(spread_out)))
    layer = step("layer_jacobian", lambda: product(softmax, weighted))
    flat = step("flat_gradient", lambda: product(entropy, layer))
    folded = (array.reshape(n_classes, -1).T for array in (flat.values, flat.bound / 2))
    step("gradient", lambda: (next(folded), next(folded)))
    return steps


def _twice(values: Array, bound: Array) -> Gradient:
    return Gradient(values, 2 * bounds.INFLATION * bound)


def _alone(value: float, bound: float) -> tuple[Array, Array]:
    return np.array([value]), np.array([bound])


def _entropy(draft: Draft) -> tuple[Array, Array]:
    values, error = ratio(draft, draft.targets, draft.probabilities, draft.probabilities_error)
    return -values.reshape(-1), error.reshape(-1)


def _made_by_slips(draft: Draft, name: str, expected: Gradient) -> Iterator[tuple[str, Gradient]]:
    """What slips make of a step, by name."""
    if name in ("logits", "probabilities", "loss"):
        for slip in SLIPS.values():
            if (
                slip.draft is not None
                and slip.free is None
                and slip.stage in ("bias", "probabilities", "target")
            ):
                for given in slip.choices(draft):
                    yield slip.name, _chain(slip.draft(draft, given))[name]
    if name == "probabilities":
        again = draft.with_logits(draft.probabilities, draft.probabilities_error)
        yield "softmax-twice", _chain(again)[name]
    if name == "softmax_jacobian":
        values, bound = (np.diag(array) for array in (expected.values, expected.bound))
        yield "jacobian-diagonal", Gradient(np.diag(values), np.diag(bound))
        yield "jacobian-diagonal", Gradient(values, bound)
    if name in ("cross_entropy_jacobian", "softmax_jacobian", "layer_jacobian", "loss"):
        yield "sign-flipped", replace(expected, values=-expected.values)
    if name == "weighted_sum_jacobian":
        # Laid out input by input, as W's memory is, where the columns run class by class.
        n_classes = draft.problem.n_classes
        blocks = expected.values.reshape(n_classes, n_classes, -1).swapaxes(1, 2)
        wide = expected.bound.reshape(n_classes, n_classes, -1).swapaxes(1, 2)
        yield (
            "scrambled-reshape",
            Gradient(blocks.reshape(expected.values.shape), wide.reshape(expected.values.shape)),
        )
