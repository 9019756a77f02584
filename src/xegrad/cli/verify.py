"""xegrad verify: judge a gradient, or a loss, or xegrad's own methods."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from xegrad.cli import inputs, options, output
from xegrad.cli.inputs import Given
from xegrad.errors import InputError, UsageError
from xegrad.methods import METHODS
from xegrad.vocabulary import COMPUTED_IN, NAMES, SYMBOLS

if TYPE_CHECKING:
    from xegrad.cli.stream import Answer
    from xegrad.formats.candidate import Numbers
    from xegrad.formats.ndjson import Line
    from xegrad.formats.parts import Parts
    from xegrad.judgement import Check, Judgement, Tolerance
    from xegrad.problem import Problem
    from xegrad.targets import Array

VERIFIED, JUDGED_WRONG, TROUBLE = 0, 1, 2
FORMS = ("table", "json", "markdown")
STORED = ("bfloat16", "float16", "float32")


class Asked(msgspec.Struct, frozen=True):
    """How a candidate is to be judged: what the options say, beside the problem."""

    with_respect_to: list[str] | None = None
    dtype: str | None = None
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

    @property
    def counted(self) -> tuple[str, ...]:
        """The outcomes that count as verified."""
        return ("right",) if self.strict else ("right", "digits-lost")

    def tolerance(self, stated: Parts, problem: Problem, found: str | None) -> Tolerance:
        """In the precision asked for, else that of the candidate's file, else the problem's.

        A half-precision file was stored so.
        """
        from xegrad.judgement import Tolerance

        precision, stored_as = self.dtype or stated.dtype or found or problem.dtype.name, self.stored_as
        if found in STORED[:2] and stored_as is None:
            precision, stored_as = self.dtype or stated.dtype or "float32", found
        return Tolerance(
            precision=precision if precision in COMPUTED_IN else "float64",
            stored_as=stored_as,
            terms=options.summation(self.summation),
            rtol=self.rtol,
            atol=self.atol,
        )


class Verified(msgspec.Struct, frozen=True, eq=False):
    """What was found of a problem: the judgements of what was given, or the checks of xegrad's own methods."""

    problem: Problem
    parts: Parts
    tolerance: Tolerance
    judgements: dict[str, Judgement]
    checks: list[Check]
    decimals: dict[str, int | None]  # with which each candidate was printed, if it was
    counted: tuple[str, ...]

    @property
    def verified(self) -> bool:
        """Whether every check passed, and every candidate is right."""
        return all(check.passed for check in self.checks if not check.advisory) and all(
            judgement.outcome in self.counted for judgement in self.judgements.values()
        )

    def result(self, warnings: Sequence[str]) -> msgspec.Struct:
        """What --json prints."""
        from xegrad.formats import results

        return results.verify_result(
            self.problem,
            self.checks,
            self.judgements,
            verified=self.verified,
            counted=self.counted,
            id=self.parts.id,
            warnings=warnings,
        )


@options.takes_problem
def command(
    context: typer.Context,
    given: Given,
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
    form: Annotated[
        str | None, typer.Option("--format", metavar="NAME", help="table (by default), json or markdown.")
    ] = None,
    json: options.Json = False,
    path: options.Output = None,
    top: options.Top = 10,
    all_entries: Annotated[bool, typer.Option("--all", help="All wrong entries.")] = False,
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
    asked = Asked(
        with_respect_to=with_respect_to,
        dtype=given.dtype,
        stored_as=stored_as,
        summation=summation,
        rtol=rtol,
        atol=atol,
        decimals=decimals,
        strict=strict,
    )
    asked.check()
    if given.is_stream:
        from xegrad.cli import stream

        stream.refuse(form, "verify")
        if gradient is not None or loss is not None:
            raise UsageError(
                "each line of a stream brings its candidate, as gradient; --gradient and --loss are for one"
            )
        return stream.run(given, partial(_verify_lines, asked=asked), path, quiet=quiet)
    destination = output.destination(
        form, json, path, [*given.files, *([gradient] if gradient else [])], FORMS
    )
    if given.is_nothing and gradient is None and loss is None:
        sys.stderr.write(f"{context.get_usage()}\nxegrad: no problem was given; see xegrad verify --help\n")
        return TROUBLE
    parts = given.read(("--gradient", gradient))

    from xegrad.display import screen

    with screen.progress_bar():
        found = _verify(
            parts, asked, inputs.candidate(gradient, parts), _loss(loss, parts), announce=screen.announce
        )
    warnings = found.problem.targets.warnings
    silent = quiet and destination.path is None
    if destination.form != "json" or silent:
        for warning in warnings:
            sys.stderr.write(f"xegrad: warning: {warning}\n")
    if silent:
        pass
    elif destination.form == "json":
        from xegrad.formats import results

        destination.put(results.encode(found.result(warnings)))
    else:
        from xegrad.display.verification import verification_view

        view = verification_view(
            found.problem,
            found.judgements,
            found.checks,
            found.tolerance,
            found.decimals,
            passed=found.verified,
            width=screen.width(),
            top=None if all_entries else top,
            digits=digits,
        )
        destination.show(view, color=not no_color)
    return VERIFIED if found.verified else JUDGED_WRONG


def _verify(
    parts: Parts,
    asked: Asked,
    gradient: tuple[bytes | Array, str, str | None] | None,
    loss: tuple[str | Array, str] | None,
    announce: Callable[[float], None] = lambda _: None,
) -> Verified:
    """Judge what was given, or else check xegrad's own methods."""
    import numpy as np

    from xegrad.formats import candidate
    from xegrad.judgement import check_methods, judge, judge_loss
    from xegrad.methods.exact import work

    problem = parts.problem()
    names = [NAMES["W"]]
    if asked.with_respect_to or (gradient is None and loss is None):
        names = options.gradients(asked.with_respect_to, problem.bias is not None)
    if gradient is not None and len(names) > 1:
        raise UsageError(
            f"one gradient is judged at a time, not {', '.join(SYMBOLS[name] for name in names)}"
        )
    numbers = None if gradient is None else _candidate(*gradient, parts, problem, names[0], asked.decimals)
    loss_numbers = None if loss is None else candidate.one_number(*loss, asked.decimals)
    dtypes = [given.dtype for given in (numbers, loss_numbers) if given is not None]
    tolerance = asked.tolerance(parts, problem, dtypes[0] if dtypes else None)
    announce(work(problem.n_rows, problem.n_inputs, problem.n_classes))
    exact = METHODS["exact"].evaluate(problem, names)
    judgements: dict[str, Judgement] = {}
    checks: list[Check] = []
    decimals: dict[str, int | None] = {}
    if numbers is not None:
        decimals[names[0]] = numbers.decimals
        judgements[names[0]] = judge(problem, exact, numbers.values, tolerance, numbers.resolution, names[0])
    if loss_numbers is not None:
        decimals["loss"] = loss_numbers.decimals
        resolution = float(np.max(loss_numbers.resolution))
        judgements["loss"] = judge_loss(problem, exact, loss_numbers.values.item(), tolerance, resolution)
    if not judgements:
        checks = check_methods(problem, exact, names)
    return Verified(problem, parts, tolerance, judgements, checks, decimals, asked.counted)


def _verify_lines(lines: Sequence[Line], stated: Parts, *, asked: Asked) -> list[Answer]:
    """The judgement of each line's candidate."""
    from xegrad.cli import stream
    from xegrad.formats import ndjson

    def one(line: Line) -> Answer:
        if line.stated is None:
            return stream.bad(line, line.error)
        try:
            parts = ndjson.parts(line, stated)
            gradient, loss = inputs.candidate(None, parts), _loss(None, parts)
            if gradient is None and loss is None:
                raise InputError("there is no gradient and no loss to judge; each line brings its own")
            found = _verify(parts, asked, gradient, loss)
        except (InputError, UsageError) as error:
            return stream.bad(line, ndjson.shortened(error))
        result = found.result(found.problem.targets.warnings)
        return result, VERIFIED if found.verified else JUDGED_WRONG

    return list(map(one, lines))


def _candidate(
    data: Any, source: str, key: str | None, parts: Parts, problem: Problem, name: str, decimals: str | None
) -> Numbers:
    """The candidate gradient, in the library's layout."""
    from xegrad.formats import candidate

    layout = parts.layout
    n_rows, n_inputs, n_classes = problem.n_rows, problem.n_inputs, problem.n_classes
    whole: dict[str, tuple[int, ...]] = {
        "weights": (n_classes, n_inputs) if layout.transpose else (n_inputs, n_classes),
        "bias": (n_classes,),
        "inputs": (n_rows, n_inputs),
        "logits": (n_rows, n_classes),
    }
    shape = whole[name] if layout.is_batch or name in ("weights", "bias") else whole[name][1:]
    numbers = candidate.in_shape(candidate.read(data, source, decimals, key), shape, source)
    if name == "weights":
        return candidate.transposed(numbers) if layout.transpose else numbers
    return candidate.reshaped(numbers, whole[name])


def _loss(given: str | None, parts: Parts) -> tuple[str | Array, str] | None:
    """The loss to judge, and where it came from: that of --loss, else of the problem itself."""
    if given is not None:
        return given, "--loss"
    return None if parts.loss is None else (parts.loss, parts.sources.get("problem", "loss"))
