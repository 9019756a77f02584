"""What a command line says of a data set: its files, what is what in them, and where it is computed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec.structs import replace

from xegrad import memory, progress
from xegrad.cli import places
from xegrad.cli.choices import choice, names_in, option
from xegrad.engines import ENGINES
from xegrad.errors import InputError, UsageError, listed
from xegrad.formats import RAW
from xegrad.problem_spec import CLAIMS
from xegrad.vocabulary import count

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xegrad.cli.inputs import ProblemOptions
    from xegrad.data_sets.reading import InFiles
    from xegrad.engines import Running
    from xegrad.formats.raw_problem import RawProblem
    from xegrad.full_batch import FullBatch, Total
    from xegrad.full_batch.downhill import OfDataSet
    from xegrad.problem import Problem

LABEL = "label"  # the column of the labels, where nothing else is said


class DataOptions(msgspec.Struct, frozen=True):
    """What is what in the files of a data set, and where it is computed."""

    columns: Annotated[
        list[str] | None,
        option(
            "--columns NAMES",
            "Of a data set, the columns that are x, in that order. By default all columns of numbers but the label "
            "and the weight. A JSON list may hold any names.",
        ),
    ] = None
    weight_column: Annotated[
        str | None, option("NAME", "Of a data set, the column that holds a weight for each row.")
    ] = None
    skip_bad: Annotated[
        bool, option("--skip-bad", "Leave out the rows of a data set that cannot be read, and count them.")
    ] = False
    engine: Annotated[
        str | None,
        option(
            "NAME",
            "Where a data set is computed: local (this process) or dask. What comes out is the same to the bit.",
            values=ENGINES,
            noun="engine",
        ),
    ] = None
    workers: Annotated[
        int | None, option("N", "Compute a data set by so many processes of this machine.", min=1)
    ] = None
    scheduler: Annotated[
        str | None, option("ADDRESS", "Compute a data set on the cluster of Dask with this scheduler.")
    ] = None

    @property
    def has_engine(self) -> bool:
        """Whether any is asked for."""
        return not (self.engine is None and self.workers is None and self.scheduler is None)

    def files(self, request: ProblemOptions) -> tuple[str, ...]:
        """The files of the data set; none where x is read whole.

        Raises
        ------
        UsageError
            An option of data sets without one.
        """
        files, text = request.rows, request.values.get("x")
        if not files and (given := self._given(*self.__struct_fields__)):
            if text is None:
                raise UsageError(f"{given} is about a data set; give its files with -x")
            files = (text,)
        if files and request.input_format not in (None, *RAW):  # of which the gradient is
            raise UsageError(
                "--input-format is of files read whole; of those of a data set the suffix says it"
            )
        if "-" in files:
            raise UsageError("-x -: a data set is read from files, and not from standard input")
        return files

    def check_stream(self) -> None:
        """Raise UsageError for an option of rows, which a stream of problems has not."""
        if given := self._given("columns", "weight_column", "skip_bad"):
            raise UsageError(f"{given} is about a data set, and this is a stream of problems")

    def _given(self, *names: str) -> str:
        """The first of these options that is given, or ""."""
        return next((f"--{name.replace('_', '-')}" for name in names if getattr(self, name)), "")

    @contextmanager
    def opened(self) -> Iterator[Running]:
        """The engine that is asked for."""
        name = "local" if self.engine is None else choice(self.engine, ENGINES, "engine")
        if self.workers is not None or self.scheduler is not None:
            option = "--workers" if self.scheduler is None else "--scheduler"
            if self.engine == "local":
                raise UsageError(f"--engine local is one process; {option} is for dask")
            if self.workers is not None and self.scheduler is not None:
                raise UsageError(
                    "--workers starts processes here, and --scheduler uses those of a cluster; give one"
                )
            name = "dask"
        if self.scheduler is not None and memory.limit() is not None:
            raise UsageError(
                "--max-memory is of this machine; the workers of a scheduler have limits of their own"
            )
        with ENGINES[name].opened(self.workers, self.scheduler) as running:
            yield running


class Asked(msgspec.Struct, frozen=True, eq=False):
    """A data set with the layer that it is for, as the command line gives them."""

    data: InFiles
    layer: Problem
    parts: RawProblem

    def warnings(self, n_bad: int) -> list[str]:
        """How many rows were left out, if some were."""
        were = "was" if n_bad == 1 else "were"
        left_out = f"{count(n_bad, 'row')} of {self.data.n_rows:,} cannot be read and {were} left out"
        return [left_out] if n_bad else []


def read(
    request: ProblemOptions,
    options: DataOptions,
    files: tuple[str, ...],
    output: str | None,
    save: str | None = None,
) -> Asked:
    """The layer, and the files of its rows, with what is what in them, none of which is written over."""
    from xegrad import data_sets

    if request.values.get("label") is not None or request.labels is not None:
        raise UsageError("the labels of a data set are a column of its files; --label-column names it")
    parts = _parts(request)
    layer = _layer(parts)
    data = data_sets.in_files(
        files,
        LABEL if request.label_column is None else request.label_column,
        layer.n_classes,
        columns=None if options.columns is None else names_in(options.columns),
        weight_column=options.weight_column,
        classes=layer.classes,
        ignore_index=layer.targets.ignore_index,
    )
    places.check(data.paths, [("-o", output), ("--save", save)])
    if data.n_inputs != layer.n_inputs:
        wrong = replace(parts.layout, is_batch=True).wrong_length(data.n_inputs, layer.n_inputs)
        raise InputError(f"{wrong}. x is {listed(data.inputs)}; --columns says what it is", "x")
    return Asked(data, replace(layer, classes=data.classes, input_names=_input_names(layer, data)), parts)


def _input_names(layer: Problem, data: InFiles) -> tuple[str, ...] | None:
    """Those that are given, or the columns, unless these are called by their indices."""
    if layer.input_names is not None or data.n_inputs != layer.n_inputs:
        return layer.input_names
    return data.inputs if data.inputs != tuple(map(str, range(data.n_inputs))) else None


def total(asked: FullBatch, options: DataOptions) -> tuple[Total, Mapping[str, Any]]:
    """The sums over all rows, and what the engine says of itself."""
    from xegrad import full_batch
    from xegrad.display import screen

    with screen.watching(), options.opened() as engine:
        _foretell(f"{count(asked.data.n_rows, 'row')} take", asked.data.work + asked.work, engine)
        return full_batch.total(asked, _parts_of(engine, asked)), engine.facts


@contextmanager
def downhill(asked: FullBatch, options: DataOptions, n_steps: int) -> Iterator[tuple[OfDataSet, Running]]:
    """The rows of a data set for several passes, kept in memory where they fit, and the engine."""
    from xegrad.full_batch.downhill import OfDataSet

    with options.opened() as engine:
        runs = asked.data.runs(asked.rows_of_block)
        fits = asked.data.nbytes <= engine.memory
        reading = asked.data.work * (1 if fits else n_steps)
        what = f"{count(n_steps, 'step')} of {count(asked.data.n_rows, 'row')} take"
        _foretell(what, reading + n_steps * asked.work, engine)
        kept = engine.keep(type(asked).load, asked, runs) if fits else None
        yield OfDataSet(asked, lambda one: engine.map(type(one).nodes, one, runs, kept)), engine


def _foretell(what: str, seconds: float, engine: Running) -> None:
    """Say before it begins what takes long by an estimate for one process."""
    facts = engine.facts
    instead = "" if "workers" in facts else "--workers N shares them among processes"
    progress.foretell(what, seconds / facts.get("workers", 1), instead)


def _parts_of(engine: Running, asked: FullBatch) -> Iterator[Any]:
    """The sums of each task; whoever watches hears that it is done."""
    runs = asked.data.runs(asked.rows_of_block)
    for done, part in enumerate(engine.map(type(asked).nodes, asked, runs), start=1):
        yield part
        progress.tell("blocks", done, len(runs))


def _parts(request: ProblemOptions) -> RawProblem:
    """All of the problem but its rows, from PROBLEM and from options."""
    values = {key: value for key, value in request.values.items() if key not in ("x", "label")}
    others = replace(request, values=values, rows=(), label_column=None)
    parts = others.read() if request.problem else others.parts()
    if "W" not in parts.values:
        raise UsageError("there is no W for the rows of -x; give it with -W, or in a file")
    return parts.without("x", "label")


def _layer(parts: RawProblem) -> Problem:
    """The layer, with the options of its loss, as a problem of two rows that stand for any."""
    import numpy as np

    from xegrad.full_batch import label_that_counts

    weights = parts.values["W"]
    if weights.ndim != 2:
        raise UsageError(f"W has {count(weights.ndim, 'dimension')}; it must have two, inputs and classes")
    axes = weights.shape[::-1] if parts.values.get("transpose") else weights.shape
    label = label_that_counts(axes[1], parts.values.get("class_weights"), parts.values.get("ignore_index"))
    rows = {"x": np.zeros((2, axes[0]), weights.dtype), "label": np.array([label, label])}
    return replace(parts, values={**parts.without(*CLAIMS).values, **rows}).problem()
