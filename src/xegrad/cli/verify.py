"""xegrad verify: judge a gradient, or a loss, or xegrad's own methods."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from msgspec.structs import replace

from xegrad.cli import inputs, options, output
from xegrad.cli.inputs import Given
from xegrad.errors import InputError, UsageError
from xegrad.vocabulary import CHAIN, COMPUTED_IN, NAMES, SYMBOLS

if TYPE_CHECKING:
    from xegrad.cli.stream import Answer
    from xegrad.formats.candidate import Numbers
    from xegrad.formats.ndjson import Line
    from xegrad.formats.parts import Parts
    from xegrad.judgement import Tolerance
    from xegrad.problem import Problem
    from xegrad.targets import Array
    from xegrad.verification import Verification

VERIFIED, JUDGED_WRONG, TROUBLE = 0, 1, 2
STORED = ("bfloat16", "float16", "float32")

Written = tuple["bytes | Array", str, str | None]  # a candidate as it was given, its source, and its key


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
        form, json, path, [*given.files, *([gradient] if gradient else [])], output.VIEWS
    )
    parts = given.read(("--gradient", gradient))

    from xegrad.display import screen

    with screen.progress_bar():
        claimed = inputs.candidate(gradient, parts)
        found, printed = _verify(parts, asked, claimed, _loss(loss, parts), announce=screen.announce)
    warnings = found.problem.targets.warnings
    if not destination.begin(warnings, quiet=quiet):
        return VERIFIED if found.verified else JUDGED_WRONG
    if destination.form == "json":
        from xegrad.formats.results import encode, verify_result

        destination.put(encode(verify_result(found, id=parts.id, warnings=warnings)))
    else:
        from xegrad.display.verification import verification_view

        view = verification_view(
            found,
            printed,
            width=screen.width(),
            top=None if all_entries else top,
            digits=digits,
            heatmaps=heatmap,
            ascii=destination.path is None and not screen.is_unicode(),
        )
        destination.show(view, color=not no_color)
    return VERIFIED if found.verified else JUDGED_WRONG


def _verify(
    parts: Parts,
    asked: Asked,
    gradient: Written | None,
    loss: tuple[str | Array, str] | None,
    announce: Callable[[float], None] = lambda _: None,
) -> tuple[Verification, dict[str, int | None]]:
    """Judge what was given, or else check xegrad's own methods; and the decimals that were printed of each."""
    import numpy as np

    from xegrad import verification
    from xegrad.formats import candidate
    from xegrad.methods.exact import work

    problem = parts.problem()
    announce(work(problem.n_rows, problem.n_inputs, problem.n_classes))
    own = [parts.with_respect_to] if parts.with_respect_to is not None else None
    names = options.gradients(asked.with_respect_to or own, problem.bias is not None)
    if gradient is None and loss is None:
        if asked.strict:
            raise UsageError("--strict is for a gradient or a loss that is judged, and none was given")
        return verification.verify_methods(problem, names), {}
    if not asked.with_respect_to and not own:
        names = [NAMES["W"]]
    if gradient is not None and len(names) > 1:
        raise UsageError(
            f"one gradient is judged at a time, not {', '.join(SYMBOLS[name] for name in names)}"
        )
    numbers: dict[str, Numbers] = {}
    steps: dict[str, Numbers] = {}
    if gradient is not None:
        data, source, key = gradient
        if key is None and names == [NAMES["W"]]:
            steps = candidate.read_steps(data, source, CHAIN, asked.decimals)
        if "gradient" in steps:
            numbers[names[0]] = candidate.in_shape(
                steps["gradient"], _shape(parts, problem, names[0]), source
            )
        elif not steps:
            read = candidate.read(data, source, asked.decimals, key, SYMBOLS[names[0]])
            numbers[names[0]] = candidate.in_shape(read, _shape(parts, problem, names[0]), source)
    if loss is not None:
        numbers["loss"] = candidate.one_number(*loss, asked.decimals)
    elif "loss" in steps:
        numbers["loss"] = steps["loss"]
    dtypes = [given.dtype for given in (*numbers.values(), *steps.values())]
    tolerance = asked.tolerance(parts, problem, dtypes[0])
    claimed = verification.Claim(name=names[0])
    if names[0] in numbers:
        turned = _turned(numbers[names[0]], parts, problem, names[0])
        claimed = replace(claimed, gradient=(turned.values, turned.resolution))
    if "loss" in numbers:
        own_loss = numbers["loss"]
        if own_loss.values.size != 1:
            raise InputError(f"the loss is made of {own_loss.values.size} numbers; one is expected")
        claimed = replace(claimed, loss=(own_loss.values.item(), float(np.max(own_loss.resolution))))
    if steps:
        turned_steps = {
            name: _turned(step, parts, problem, "weights") if name == "gradient" else step
            for name, step in steps.items()
        }
        claimed = replace(
            claimed, steps={name: (step.values, step.resolution) for name, step in turned_steps.items()}
        )
    try:
        found = verification.verify(problem, claimed, tolerance, strict=asked.strict)
    except InputError as error:  # a step of another size
        raise InputError(f"{'' if gradient is None else gradient[1] + ': '}{error}") from None
    return found, {name: given.decimals for name, given in numbers.items()}


def _verify_lines(lines: Sequence[Line], stated: Parts, *, asked: Asked) -> list[Answer]:
    """The judgement of each line's candidate."""
    from xegrad.cli import stream
    from xegrad.formats import ndjson
    from xegrad.formats.results import verify_result

    def one(line: Line) -> Answer:
        if line.stated is None:
            return stream.bad(line, line.error)
        try:
            parts = ndjson.parts(line, stated)
            gradient, loss = inputs.candidate(None, parts), _loss(None, parts)
            if gradient is None and loss is None:
                raise InputError("there is no gradient and no loss to judge; each line brings its own")
            found, _ = _verify(parts, asked, gradient, loss)
        except (InputError, UsageError) as error:
            return stream.bad(line, ndjson.shortened(error))
        result = verify_result(found, id=parts.id, warnings=found.problem.targets.warnings)
        return result, VERIFIED if found.verified else JUDGED_WRONG

    return list(map(one, lines))


def _shape(parts: Parts, problem: Problem, name: str) -> tuple[int, ...]:
    """The shape of a gradient in the layout of the file."""
    layout = parts.layout
    n_rows, n_inputs, n_classes = problem.n_rows, problem.n_inputs, problem.n_classes
    whole: dict[str, tuple[int, ...]] = {
        "weights": (n_classes, n_inputs) if layout.transpose else (n_inputs, n_classes),
        "bias": (n_classes,),
        "inputs": (n_rows, n_inputs),
        "logits": (n_rows, n_classes),
    }
    return whole[name] if layout.is_batch or name in ("weights", "bias") else whole[name][1:]


def _turned(numbers: Numbers, parts: Parts, problem: Problem, name: str) -> Numbers:
    """The numbers in the library's layout: W's as it stands there, x's and the logits' with a row for each example."""
    from xegrad.formats import candidate

    if name == "weights":
        return candidate.transposed(numbers) if parts.layout.transpose else numbers
    if name == "bias" or parts.layout.is_batch:
        return numbers
    return candidate.reshaped(numbers, (1, *numbers.values.shape))


def _loss(given: str | None, parts: Parts) -> tuple[str | Array, str] | None:
    """The loss to judge, and where it came from: that of --loss, else of the problem itself."""
    if given is not None:
        return given, "--loss"
    return None if parts.loss is None else (parts.loss, parts.sources.get("problem", "loss"))
