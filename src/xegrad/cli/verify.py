"""xegrad verify: judge a gradient, or a loss, or xegrad's own methods."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec.structs import replace

from xegrad import formats
from xegrad.cli import DONE, JUDGED_WRONG
from xegrad.cli.choices import choices, gradients, option
from xegrad.cli.data_set import DataOptions
from xegrad.cli.inputs import ProblemOptions, claims
from xegrad.cli.output import OutputOptions
from xegrad.cli.signature import takes_problem
from xegrad.errors import InputError, UsageError, shown
from xegrad.naming import GRADIENTS
from xegrad.problem_spec import CLAIMS
from xegrad.recipes import RECIPES
from xegrad.vocabulary import AUTO, HALF, NAMES

if TYPE_CHECKING:
    from xegrad.claim import Reading
    from xegrad.cli.output import Destination
    from xegrad.cli.stream import Answer
    from xegrad.display.blocks import View
    from xegrad.display.page import PageSettings
    from xegrad.formats.ndjson import Lines
    from xegrad.formats.raw_problem import RawProblem
    from xegrad.tolerance import Tolerance
    from xegrad.verification import Verification

STORED = ("bfloat16", "float16", "float32")
MIXED = ("inputs_as", "logits_as", "residual_as", "accumulate_in", "confidence")
PRECISIONS = (*STORED, "float64")
_STORED = "bfloat16, float16 or float32."
_format = partial(option, values=STORED, noun="precision")
SUMMATIONS = ("any", "pairwise", "blocked=")
MOST_PRINTED = 10_000  # decimals or digits: no float has more


class JudgingOptions(msgspec.Struct, frozen=True):
    """What is judged, and how: what the options say, beside the problem."""

    gradient: Annotated[
        str | None,
        option(
            "VALUE|FILE",
            "The gradient to judge: a value, a file, or -. JSON, CSV, NPY, NPZ, safetensors, or text as "
            "numpy prints it, in the layout of W.",
        ),
    ] = None
    loss: Annotated[str | None, option("VALUE", "The loss to judge.")] = None
    with_respect_to: Annotated[
        list[str] | None,
        option("NAMES", f"Which gradients: {', '.join(NAMES)}. By default all that are given.", values=NAMES),
    ] = None
    stored_as: Annotated[
        str | None, _format("--stored-as DTYPE", f"The result was stored in this precision. {_STORED}")
    ] = None
    inputs_as: Annotated[
        str | None, _format("--inputs-as DTYPE", "W, x and b were first rounded to this precision.")
    ] = None
    logits_as: Annotated[
        str | None, _format("--logits-as DTYPE", "The logits were rounded to this precision.")
    ] = None
    residual_as: Annotated[
        str | None, _format("--residual-as DTYPE", "dL/dlogits was rounded to this precision.")
    ] = None
    accumulate_in: Annotated[
        str | None,
        _format("--accumulate-in DTYPE", "The precision in which products are summed.", values=PRECISIONS),
    ] = None
    recipe: Annotated[
        str | None,
        option(
            "--recipe NAME",
            f"The roundings of a framework. {', '.join(RECIPES)}.",
            values=RECIPES,
            noun="recipe",
        ),
    ] = None
    confidence: Annotated[
        float | None,
        option("P", "A bound that fails with this probability. It holds where roundings are independent."),
    ] = None
    exact: Annotated[
        bool,
        option(
            "--exact",
            "Take as long as the exact values need. By default xegrad gives up after 10 s, and says so.",
        ),
    ] = False
    summation: Annotated[
        str, option("HOW", "How sums were formed: any, pairwise, blocked=N.", values=SUMMATIONS)
    ] = "any"
    rtol: Annotated[float | None, option("R", "A relative tolerance, not the error bound.", min=0)] = None
    atol: Annotated[float | None, option("A", "An absolute tolerance, not the error bound.", min=0)] = None
    decimals: Annotated[
        str | None, option("D|none", "How many decimals it was printed with. By default the text tells.")
    ] = None
    digits_printed: Annotated[
        int | None,
        option("P", "How many significant digits it was printed with. By default the text tells.", min=1),
    ] = None
    strict: Annotated[bool, option("--strict", "digits-lost counts as wrong.")] = False
    exact_rows: Annotated[
        int, option("K", "Of a data set, so many rows, evenly spaced, are evaluated exactly, too (0).", min=0)
    ] = 0

    def __post_init__(self) -> None:
        """Raise UsageError for what means nothing."""
        self.tolerance()
        is_number = (self.decimals or "").isascii() and (self.decimals or "").isdecimal()
        if self.decimals not in (None, "none") and not is_number:
            raise UsageError(f"--decimals is {shown(self.decimals)}; a whole number or none is expected")
        if self.decimals is not None and self.digits_printed is not None:
            both = "--decimals and --digits-printed both"
            raise UsageError(f"{both} say how the text was printed; one of them does")
        if self.with_respect_to:
            choices(self.with_respect_to, NAMES, "gradient", GRADIENTS)

    def tolerance(self, stored_as: str | None = None) -> Tolerance:
        """What is allowed of the claim, in the format in which it was stored."""
        from xegrad import bounds
        from xegrad.tolerance import Tolerance

        with _of_option():
            return Tolerance.of_recipe(
                self.recipe,
                stored_as=stored_as,
                terms=bounds.by_name(self.summation),
                rtol=self.rtol,
                atol=self.atol,
                **{field: getattr(self, field) for field in MIXED},
            )

    @property
    def reading(self) -> Reading | None:
        """How the text was printed, if anything says so."""
        from xegrad.claim import Reading

        if self.digits_printed is not None:
            return Reading(digits=min(self.digits_printed, MOST_PRINTED))
        if self.decimals is None:
            return None
        if self.decimals == "none":
            return Reading()
        return Reading(decimals=int(min(float(self.decimals), MOST_PRINTED)))


@contextmanager
def _of_option() -> Iterator[None]:
    """Errors about a keyword of the library are about the option that is called so."""
    try:
        yield
    except InputError as error:
        keyword = error.part or ""
        message = str(error).replace(keyword, keyword.replace("_", "-"), 1)
        raise UsageError(f"--{message.replace('rtol and atol', '--rtol and --atol')}") from None


@takes_problem(without=["entries"])
def command(
    *, request: ProblemOptions, judging: JudgingOptions, rows: DataOptions, output: OutputOptions
) -> int:
    """Say whether a gradient is right, by an error bound that is derived, and which mistake was made.

    \b
    xegrad verify problem.json --gradient mine.npy --dtype float32
    xegrad verify problem.json --gradient printed.txt --dtype auto
    xegrad verify problem.json --gradient all.json --with-respect-to W,b
    myprogram --json | xegrad verify problem.json --gradient -
    xegrad verify layer.npz           # its own "gradient"
    xegrad verify candidates.ndjson   # a stream, line by line
    xegrad verify problem.json        # xegrad's own methods

    \b
    right        every entry is within the error bound
    digits-lost  so it is, but some entries have no correct digit
    wrong        an entry is beyond the bound
    undecided    the bound says nothing in that precision; --rtol decides

    The error of an entry is yours minus exact.

    Exit status: 0 right or digits-lost, 1 wrong or undecided, 2 trouble.
    """
    if request.is_stream:
        from xegrad.cli import stream

        if judging.gradient is not None or judging.loss is not None:
            raise UsageError(
                "each line of a stream brings its candidate, as gradient; --gradient and --loss are for one"
            )
        return stream.run("verify", request, output, partial(_verify_lines, judging=judging), rows)
    destination = output.destination()
    if files := rows.files(request):
        return _of_data_set(request, judging, rows, files, destination)
    if judging.exact_rows:
        raise UsageError(
            "--exact-rows is about a data set; of a problem in memory all rows are judged exactly"
        )

    from xegrad import memory

    memory.keep_pages()
    raw = request.read(("--gradient", judging.gradient))

    from xegrad.display import screen

    with screen.watching():
        verification = _verify(raw, judging, request.input_format)
    warnings = verification.warnings

    def result() -> Any:
        from xegrad.formats.results import verify_result

        return verify_result(verification, id=raw.id)

    def view(page: PageSettings) -> View:
        from xegrad.display.verification import verification_view

        return verification_view(verification, page)

    destination.write(result=result, view=view, warnings=warnings)
    return DONE if verification.verified else JUDGED_WRONG


def _of_data_set(
    request: ProblemOptions,
    judging: JudgingOptions,
    rows: DataOptions,
    files: tuple[str, ...],
    destination: Destination,
) -> int:
    """Judge the gradient of all rows of a data set, or their loss."""
    from xegrad.cli import data_set
    from xegrad.formats import claim
    from xegrad.full_batch import FullBatch, verdict
    from xegrad.tolerance import in_half, tolerance_for

    dtype, stored_as = request.values.get("dtype"), judging.stored_as
    if dtype == AUTO:
        raise UsageError("--dtype auto is of a problem in memory; of a data set say float64 or float32")
    if dtype in HALF:
        with _of_option():
            computed_in, stored_as = in_half(dtype, stored_as)
        request = replace(request, values={**request.values, "dtype": computed_in})
    asked = data_set.read(request, rows, files, destination.path)
    written = claims(asked.parts, judging.gradient, judging.loss, request.input_format)
    if not written:
        raise UsageError("of a data set a gradient or a loss is judged; give it with --gradient or --loss")
    named = judging.with_respect_to and gradients(judging.with_respect_to, asked.layer.bias is not None)
    FullBatch(asked.data, asked.layer, tuple(named or ()))  # refuses the gradients that a data set has not
    candidate = claim.read(
        asked.layer, asked.parts.layout, named, *written, asked=judging.reading, of_data_set=True
    )
    with _of_option():
        tolerance = tolerance_for(asked.layer, candidate.dtype, judging.tolerance(stored_as))
    arithmetic = verdict.claimed_in(candidate, tolerance)
    names = tuple(candidate.gradients) or ("weights",)
    has_exact = verdict.decides_exactly(asked.data, asked.layer, is_asked=judging.exact)
    full_batch = FullBatch(
        asked.data,
        asked.layer,
        names,
        arithmetic,
        skip_bad=rows.skip_bad,
        n_exact=judging.exact_rows,
        has_exact=has_exact,
    )
    total, facts = data_set.total(full_batch, rows)
    verification = verdict.verify(total, candidate, tolerance, strict=judging.strict)

    def result() -> Any:
        from xegrad.formats.results import of_data_set, verify_result

        return verify_result(
            verification, id=asked.parts.id, beside=of_data_set(total.asked, total.n_bad, facts)
        )

    def view(page: PageSettings) -> View:
        from xegrad.display.full_batch import of_data_set
        from xegrad.display.verification import verification_view

        return [*verification_view(verification, page), of_data_set(total, facts)]

    destination.write(result=result, view=view, warnings=[*verification.notes, *asked.warnings(total.n_bad)])
    return DONE if verification.verified else JUDGED_WRONG


def _verify(
    raw: RawProblem,
    judging: JudgingOptions,
    input_format: str | None = None,
) -> Verification:
    """Judge what is claimed, or else check xegrad's own methods."""
    from xegrad import verification
    from xegrad.formats import claim
    from xegrad.methods.exact import affording
    from xegrad.tolerance import in_half, tolerance_for

    written = claims(raw, judging.gradient, judging.loss, input_format)
    is_judged = bool(written)
    dtype, stored_as = raw.values.get("dtype"), judging.stored_as
    if is_judged and dtype in HALF:
        with _of_option():
            computed_in, stored_as = in_half(dtype, stored_as)
        raw = replace(raw, values={**raw.values, "dtype": computed_in})
    problem = (raw.without("dtype") if is_judged and dtype == AUTO else raw).problem()
    exact_values = affording(math.inf) if judging.exact else nullcontext()
    of_problem = [of] if (of := raw.values.get("with_respect_to")) else None
    names = gradients(judging.with_respect_to or of_problem, problem.bias is not None)
    if not is_judged:
        if judging.strict:
            raise UsageError("--strict is for a gradient or a loss that is judged, and none was given")
        with exact_values:
            return verification.verify_methods(problem, names)
    # A gradient that the problem brings is of what it says itself.
    is_named = judging.with_respect_to or (of_problem and judging.gradient is not None)
    named = names if is_named else None
    candidate = claim.read(problem, raw.layout, named, *written, asked=judging.reading)
    tolerance = tolerance_for(problem, candidate.dtype, judging.tolerance(stored_as))
    of_steps = next((one.source for one in written if one.of != "loss"), "")
    with exact_values, formats.naming(of_steps):  # a step of another size
        return verification.verify(problem, candidate, tolerance, strict=judging.strict, auto=dtype == AUTO)


def _verify_lines(
    lines: Lines, places: Sequence[int], overrides: RawProblem, *, judging: JudgingOptions
) -> Iterator[Answer]:
    """The judgement of each line's candidate."""
    from xegrad.formats import ndjson
    from xegrad.formats.results import verify_result

    for place in places:
        raw = ndjson.raw_problem(lines, place, overrides)
        if raw.values.keys().isdisjoint(CLAIMS):
            raise InputError("there is no gradient and no loss to judge; each line brings its own")
        verification = _verify(raw, judging)
        status = DONE if verification.verified else JUDGED_WRONG
        yield [place], [verify_result(verification, id=raw.id)], (status, _worst(verification))


def _worst(verification: Verification) -> str:
    """The worst of the outcomes of all that is claimed."""
    from xegrad.judgement import DIGITS_LOST, RIGHT, UNDECIDED, WRONG

    if verification.misshapen or (verification.steps is not None and verification.steps.wrong is not None):
        return WRONG
    order = (RIGHT, DIGITS_LOST, UNDECIDED, WRONG)
    outcomes = [judgement.outcome for judgement in verification.judgements.values()]
    if verification.steps is not None and verification.steps.undecided:
        outcomes.append(UNDECIDED)
    return max(outcomes, key=order.index, default=RIGHT)
