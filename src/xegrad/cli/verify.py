"""xegrad verify: judge a gradient, or a loss, or xegrad's own methods."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from xegrad.cli import DONE, JUDGED_WRONG, inputs, options, output
from xegrad.cli.inputs import ProblemOptions
from xegrad.display.page import PageSettings
from xegrad.errors import InputError, UsageError
from xegrad.vocabulary import NAMES, SYMBOLS

if TYPE_CHECKING:
    from xegrad.cli.stream import Answer
    from xegrad.display.text import View
    from xegrad.formats.claim import Written
    from xegrad.formats.ndjson import Line
    from xegrad.formats.raw_problem import RawProblem
    from xegrad.verification import Verification

STORED = ("bfloat16", "float16", "float32")


class JudgingOptions(msgspec.Struct, frozen=True):
    """How a candidate is to be judged: what the options say, beside the problem."""

    with_respect_to: list[str] | None = None
    stored_as: str | None = None
    summation: str = "any"
    rtol: float | None = None
    atol: float | None = None
    decimals: str | None = None
    strict: bool = False

    def check(self) -> None:
        """Raise UsageError for what means nothing."""
        for option, value in (("--rtol", self.rtol), ("--atol", self.atol)):
            if value is not None and not math.isfinite(value):
                raise UsageError(f"{option} is {value}; a finite number is expected")
        if self.stored_as is not None:
            options.choice(self.stored_as, STORED, "precision")
        options.summation(self.summation)
        if self.decimals is not None and self.decimals != "none" and not self.decimals.isdecimal():
            raise UsageError(f"--decimals is {self.decimals!r}; a whole number or none is expected")
        if self.with_respect_to:
            options.choices(self.with_respect_to, SYMBOLS.values(), "gradient")


@options.takes_problem
def command(
    context: typer.Context,
    request: ProblemOptions,
    gradient: Annotated[
        str | None,
        typer.Option(
            "--gradient",
            metavar="VALUE|FILE",
            help="The gradient to judge, in W's layout: JSON, CSV, NPY, NPZ, what numpy prints, or -.",
        ),
    ] = None,
    loss: Annotated[str | None, typer.Option("--loss", metavar="VALUE", help="The loss to judge.")] = None,
    with_respect_to: Annotated[
        list[str] | None,
        typer.Option(
            "--with-respect-to",
            metavar=",".join(SYMBOLS.values()),
            help="Which gradient it is (W), or which to check.",
        ),
    ] = None,
    stored_as: Annotated[
        str | None,
        typer.Option("--stored-as", metavar="|".join(STORED), help="To which the result was then rounded."),
    ] = None,
    summation: Annotated[
        str,
        typer.Option("--summation", metavar="any|pairwise|blocked=N", help="How its sums were formed."),
    ] = "any",
    rtol: Annotated[
        float | None,
        typer.Option(
            "--rtol", metavar="R", min=0, help="A relative tolerance, in place of the derived bound."
        ),
    ] = None,
    atol: Annotated[
        float | None, typer.Option("--atol", metavar="A", min=0, help="An absolute one, likewise.")
    ] = None,
    decimals: Annotated[
        str | None,
        typer.Option(
            "--decimals", metavar="D|none", help="How many the text was printed with (found by itself)."
        ),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Lost digits count as wrong.")] = False,
    form: options.Format = None,
    json: options.Json = False,
    path: options.Output = None,
    top: options.Top = 10,
    all_entries: Annotated[bool, typer.Option("--all", help="All wrong entries.")] = False,
    heatmap: options.Heatmap = False,
    digits: options.Digits = 8,
    quiet: options.Quiet = False,
    no_color: options.NoColor = False,
) -> int:
    """Judge a gradient against the exact one, by a bound that is derived.

    \b
    xegrad verify problem.json --gradient mine.npy --dtype float32
    xegrad verify problem.json --gradient printed.txt
    xegrad verify layer.npz                 # a problem with "gradient" beside W, x and label
    myprogram --json | xegrad verify problem.json --gradient -
    xegrad verify candidates.ndjson         # a stream, each line with its candidate
    xegrad verify problem.json              # xegrad's own methods

    Four outcomes: right; digits-lost (within the bound, but some entries have no correct digit); wrong;
    undecided (the bound says nothing in that precision: --rtol decides).  In the list of worst entries,
    yours is the candidate's number, exact the correctly rounded one, difference yours minus exact.

    Exit status: 0 verified, 1 wrong or undecided, 2 trouble.
    """
    judging = JudgingOptions(
        with_respect_to=with_respect_to,
        stored_as=stored_as,
        summation=summation,
        rtol=rtol,
        atol=atol,
        decimals=decimals,
        strict=strict,
    )
    judging.check()
    if request.is_stream:
        from xegrad.cli import stream

        stream.refuse(form, "verify")
        if gradient is not None or loss is not None:
            raise UsageError(
                "each line of a stream brings its candidate, as gradient; --gradient and --loss are for one"
            )
        return stream.run(request, partial(_verify_lines, judging=judging), path, quiet=quiet)
    destination = output.destination(
        form,
        json,
        path,
        [*request.files, *([gradient] if gradient else [])],
        quiet=quiet,
        no_color=no_color,
    )
    raw = request.read(("--gradient", gradient))

    from xegrad.display import screen

    with screen.progress_bar():
        verification, printed = _verify(
            raw,
            judging,
            inputs.claimed_gradient(gradient, raw),
            inputs.claimed_loss(loss, raw),
            announce=screen.announce,
        )
    warnings = verification.problem.targets.warnings

    def result() -> Any:
        from xegrad.formats.results import verify_result

        return verify_result(verification, id=raw.id, warnings=warnings)

    def view(page: PageSettings) -> View:
        from xegrad.display.verification import verification_view

        return verification_view(verification, printed, page)

    page = PageSettings(top=None if all_entries else top, digits=digits, heatmaps=heatmap)
    destination.write(result=result, view=view, page=page, warnings=warnings)
    return DONE if verification.verified else JUDGED_WRONG


def _verify(
    raw: RawProblem,
    judging: JudgingOptions,
    gradient: Written | None,
    loss: Written | None,
    announce: Callable[[float], None] = lambda _: None,
) -> tuple[Verification, Mapping[str, int | None]]:
    """Judge what is claimed, or else check xegrad's own methods; and the decimals that were printed of each."""
    from xegrad import verification
    from xegrad.formats import claim
    from xegrad.methods.exact import work

    problem = raw.problem()
    announce(work(problem.n_rows, problem.n_inputs, problem.n_classes))
    symbols = judging.with_respect_to or ([of] if (of := raw.values.get("with_respect_to")) else None)
    names = options.gradients(symbols, problem.bias is not None)
    if gradient is None and loss is None:
        if judging.strict:
            raise UsageError("--strict is for a gradient or a loss that is judged, and none was given")
        return verification.verify_methods(problem, names), {}
    if symbols is None:
        names = [NAMES["W"]]
    if gradient is not None and len(names) > 1:
        raise UsageError(
            f"one gradient is judged at a time, not {', '.join(SYMBOLS[name] for name in names)}"
        )
    claimed = claim.read(
        problem, raw.layout, names[0], gradient=gradient, loss=loss, decimals=judging.decimals
    )
    tolerance = verification.tolerance_for(
        problem,
        claimed,
        stored_as=judging.stored_as,
        terms=options.summation(judging.summation),
        rtol=judging.rtol,
        atol=judging.atol,
    )
    try:
        verified = verification.verify(problem, claimed, tolerance, strict=judging.strict)
    except InputError as error:  # a step of another size
        raise InputError(f"{'' if gradient is None else gradient.source + ': '}{error}") from None
    return verified, claimed.decimals


def _verify_lines(lines: Sequence[Line], overrides: RawProblem, *, judging: JudgingOptions) -> list[Answer]:
    """The judgement of each line's candidate."""
    from xegrad.cli import stream
    from xegrad.formats import ndjson
    from xegrad.formats.results import verify_result

    def one(line: Line) -> Answer:
        if line.fields is None:
            return stream.bad(line, line.error)
        try:
            raw = ndjson.raw_problem(line, overrides)
            gradient, loss = inputs.claimed_gradient(None, raw), inputs.claimed_loss(None, raw)
            if gradient is None and loss is None:
                raise InputError("there is no gradient and no loss to judge; each line brings its own")
            judged, _ = _verify(raw, judging, gradient, loss)
        except (InputError, UsageError) as error:
            return stream.bad(line, ndjson.shortened(error))
        result = verify_result(judged, id=raw.id, warnings=judged.problem.targets.warnings)
        return result, DONE if judged.verified else JUDGED_WRONG

    return list(map(one, lines))
