"""The readers, each with what is done to try it: the formats, claims, values of options and whole command lines.

The first byte of an input says what is asked of the reader; of a command line, its first line does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import typer

from contract import (
    Broken,
    bounded,
    check_array,
    check_integers,
    check_message,
    check_notes,
    check_written,
    decoded,
    goes_far,
    held,
    quiet,
    ran,
    scratch,
)
from xegrad import Diagnosis, cli, formats, memory, slip_page, verification
from xegrad.claim import Reading
from xegrad.cli import compute, inputs, stream, verify
from xegrad.cli.data_set import DataOptions
from xegrad.cli.inputs import ProblemOptions
from xegrad.cli.output import OutputOptions
from xegrad.cli.tally import BAD_LINE, DONE_LINE
from xegrad.data_sets import DataSet, in_files
from xegrad.data_sets import formats as data_sets_formats
from xegrad.errors import one_line
from xegrad.formats import claim, ndjson
from xegrad.formats.raw_problem import RawProblem
from xegrad.formats.results import encode, verify_result
from xegrad.problem import Layout
from xegrad.problem_spec import ARRAY, CLAIMS, FIELDS, LABELS
from xegrad.tolerance import tolerance_for

MANY = 1000  # numbers, at most, of what is put beside a part that was read
FEW = 4  # lines, at most, of a stream that is answered
SMALL = 60  # numbers, at most, of a problem that is computed
COLUMNS, N_CLASSES = (
    ("label", "-1", "0", "a"),
    3,
)  # of rows: one has the labels, and another may have the weights
BLOCKS = (3, 64)  # rows of each block in which rows are read

PARTS = tuple(key for key, field in FIELDS.items() if field.options and field.kind in (ARRAY, LABELS))
KEY = "a"  # of FILE:KEY
PROBLEM = slip_page.seed()  # of which claims are read
READINGS = (None, Reading(), Reading(decimals=3), Reading(digits=6))
NAMES = (None, ["weights"], ["bias"], ["inputs", "logits"])


class Reader(NamedTuple):
    """What is tried with bytes, what these are mutated as, how long it may take, and how many inputs are kept."""

    check: Callable[[bytes], None]
    kind: str
    seconds: float = 1.0  # of the processor
    most: int = 150


def check(reader: str, data: bytes) -> None:
    """Raise Broken, or whatever the reader raises, where these bytes break the contract."""
    with scratch(), quiet():
        READERS[reader].check(data)


def check_timed(reader: str, data: bytes) -> None:
    """The same, of time and memory too; no test depends on these."""
    with bounded(READERS[reader].seconds):
        check(reader, data)


def check_file(entry: formats.Format, data: bytes) -> None:
    """A file in a format, as a problem or as a part of one."""
    which, body = _apart(data)
    part = (None, *PARTS)[which % (1 + len(PARTS))]
    path = Path(f"it{entry.suffixes[0]}")
    path.write_bytes(body)
    has_key = part is not None and entry.has_keys and which // (1 + len(PARTS)) % 2
    raw = held(partial(formats.read_raw, f"{path}:{KEY}" if has_key else path, None, part))
    if raw is None:
        return
    if part is not None:
        check_array(raw.values[part])
        raw = _around(part, raw)
    problem = held(raw.problem)
    if problem is None:
        return
    check_integers(raw, problem)
    check_written(raw, problem)
    if goes_far(data) and problem.weights.size * problem.n_rows <= SMALL and part is None:
        check_commands(str(path), has_claim=not raw.values.keys().isdisjoint(CLAIMS))


def _apart(data: bytes) -> tuple[int, bytes]:
    """What the first byte says, and the others."""
    return data[0] if data else 0, data[1:]


def _around(part: str, raw: RawProblem) -> RawProblem:
    """A small problem that has this part, of the sizes that fit it."""
    value = raw.values[part]
    shape = value.shape if isinstance(value, np.ndarray) else ()
    rows, size = shape if len(shape) == 2 else (None, *(shape or (2,)))
    n_inputs, n_classes = (size, 2) if part == "x" else (2, size)
    if part == "W" and rows is not None:
        n_inputs, n_classes = (size, rows) if raw.values.get("transpose") else (rows, size)
    is_batch = rows is not None and part in ("x", "label")
    others = {
        "W": np.ones((min(n_inputs, MANY), min(n_classes, MANY))),
        "x": np.ones((min(rows or 0, MANY), 2) if is_batch else min(n_inputs, MANY)),
        "label": np.zeros(min(rows or 0, MANY), dtype=int) if is_batch else 0,
    }
    return raw.over(RawProblem(others))


def check_commands(path: str, *, has_claim: bool) -> None:
    """`compute --json`, and `verify --json` of a problem that brings a claim: what is printed is JSON."""
    request, output = ProblemOptions(problem=[path]), OutputOptions(json=True)
    for command in [_COMMANDS[compute], *([_COMMANDS[verify]] if has_claim else [])]:
        printed = held(partial(ran, partial(command, request=request, output=output)))
        if printed is not None:
            check_notes(printed.notes)
            decoded(printed.out)


# What the commands do, below the parser of their options.
_COMMANDS: Mapping[Any, Callable[..., int]] = {
    compute: partial(
        vars(compute.command)["__wrapped__"],
        method=None,
        exact=None,
        with_respect_to=None,
        timed=False,
        rows=DataOptions(),
    ),
    verify: partial(vars(verify.command)["__wrapped__"], judging=verify.JudgingOptions(), rows=DataOptions()),
}


def check_stream(data: bytes) -> None:
    """Each line is read, or it is said what is wrong with it; now and then it is answered too."""
    which, body = _apart(data)
    text, (kinds, _) = stream.answered(ndjson.Chunk(body, 1), _read_only, RawProblem())
    answers = [decoded(line) for line in bytes(text).splitlines()]
    if len(kinds) != len(answers):
        raise Broken(f"{len(kinds)} lines have {len(answers)} answers")
    for answer in answers:
        check_message(answer.get("error", "done"))
    if {*kinds} - {DONE_LINE, BAD_LINE}:
        raise Broken(f"lines are {kinds}: {answers}")
    if goes_far(data) and len(answers) <= FEW:
        check_answers(verify if which % 2 else compute, body)


def _read_only(lines: Any, places: Sequence[int], options: RawProblem) -> Iterator[stream.Answer]:
    """The lines are read as problems, and no more is done with them."""
    ndjson.stack(lines, places, options)
    yield places, [(b"{}\n",)] * len(places), DONE_LINE


def check_answers(module: Any, body: bytes) -> None:
    """Each line is answered once, in order, as it would be alone."""

    def answers(text: bytes) -> list[Any]:
        path = Path("it.ndjson")
        path.write_bytes(text)
        printed = ran(
            partial(_COMMANDS[module], request=ProblemOptions(problem=[str(path)]), output=OutputOptions())
        )
        check_notes(printed.notes)
        return [decoded(line) for line in printed.out.splitlines()]

    together = answers(body)
    lines = enumerate(body.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1)
    numbered = [(number, line) for number, line in lines if line and not line.isspace()]
    if len(numbered) != len(together):
        raise Broken(f"{len(numbered)} lines have {len(together)} answers")
    for (number, line), answer in zip(numbered, together, strict=True):
        if line.startswith(b"\xef\xbb\xbf"):  # which may stand at the beginning, and nowhere else
            continue
        (alone,) = answers(line)
        if "line" in alone:
            alone["line"] = number
        if alone != answer:
            raise Broken(f"line {number} is answered by {answer!r:.300}, and alone by {alone!r:.300}")


def check_claim(data: bytes) -> None:
    """A file as --gradient of a problem."""
    which, body = _apart(data)
    path = Path("claim")
    path.write_bytes(body)
    dtype = [*formats.RAW][which // 16 % len(formats.RAW)] if which >= 128 else None
    _judge(data, which, partial(inputs.claims, RawProblem(), str(path), None, dtype))


def _judge(data: bytes, which: int, written: Callable[[], list[claim.Written]]) -> None:
    """What is claimed is read, judged, and now and then explained, however it is said to be printed."""
    asked, names = READINGS[which % 4], NAMES[which // 4 % 4]
    candidate = held(lambda: claim.read(PROBLEM, Layout(), names, *written(), asked=asked))
    if candidate is None:
        return
    tolerance = tolerance_for(PROBLEM, candidate.dtype)
    with contextlib.nullcontext() if goes_far(data) else _undiagnosed():
        judged = held(lambda: verification.verify(PROBLEM, candidate, tolerance))
    if judged is not None:
        decoded(b"".join(encode(verify_result(judged, id=0))))


@contextlib.contextmanager
def _undiagnosed() -> Iterator[None]:
    """Which mistake it is takes long to find, and so does what a problem cannot catch."""
    with (
        mock.patch.object(verification, "diagnose", lambda *_: Diagnosis()),
        mock.patch.object(verification, "blind_spots", lambda *_: ()),
    ):
        yield


def check_data_set(data: bytes) -> None:
    """A data set in CSV, whose first column or last holds the labels."""
    which, body = _apart(data)
    path = Path("it.csv")
    path.write_bytes(body)
    header = body.removeprefix(b"\xef\xbb\xbf").split(b"\n")[0].decode(errors="replace").split(",")
    column = header[-(which % 2)].strip().strip('"')
    raw = _parts(ProblemOptions(values={"x": str(path)}, label_column=column))
    if raw is None:
        return
    n_inputs, n_classes = raw.values["x"].shape[1], len({*raw.values["label"]})
    whole = raw.over(RawProblem({"W": np.ones((n_inputs, max(n_classes, 2)))}))
    problem = held(whole.problem)
    if problem is not None:
        check_written(whole, problem)


def check_rows(entry: data_sets_formats.Format, data: bytes) -> None:
    """A file of rows, with labels in one of its columns: those that can be read, in blocks of any size."""
    which, body = _apart(data)
    path = f"it{entry.suffixes[0]}"
    Path(path).write_bytes(body)
    weight = COLUMNS[which // 4 % 4] if which >= 64 else None
    found = held(lambda: in_files([path], COLUMNS[which % 4], N_CLASSES, weight_column=weight))
    if found is None or found.n_inputs * found.n_rows > MANY * SMALL:
        return
    several = [held(partial(_rows, found, n_rows)) for n_rows in BLOCKS]
    if any(one != several[0] for one in several):
        raise Broken(f"blocks of {BLOCKS} rows hold {several}")


def _rows(data: DataSet, n_rows: int) -> tuple[bytes, ...]:
    """All rows of blocks of so many, as bytes, and how many could not be read."""
    blocks = [*data.blocks(0, -(-data.n_rows // n_rows), n_rows)]
    n_bad = sum(block.n_bad for block in blocks)
    inputs = np.concatenate([block.inputs for block in blocks])
    labels = np.concatenate([block.labels for block in blocks])
    weights = np.concatenate(
        [block.weights for block in blocks if block.weights is not None] or [np.empty(0)]
    )
    if len(labels) + n_bad != data.n_rows or inputs.shape != (len(labels), data.n_inputs):
        raise Broken(f"{data.n_rows} rows: {len(labels)} are read and {n_bad} bad")
    if not (np.isfinite(inputs).all() and np.isfinite(weights).all() and (weights >= 0).all()):
        raise Broken("a row that is read has a number that is not finite, or a weight below 0")
    if not ((labels >= 0) & (labels < N_CLASSES)).all():
        raise Broken(f"labels {labels} of {N_CLASSES} classes")
    for block in blocks:
        for told in block.bad:
            check_message(one_line(told))
    return inputs.tobytes(), labels.tobytes(), weights.tobytes(), b"%d" % n_bad


def _parts(request: ProblemOptions) -> RawProblem | None:
    """What options give of a problem, or None where they are refused."""
    parts: list[RawProblem] = []

    def read() -> int:
        parts.append(request.parts())
        return 0

    printed = held(partial(ran, read))
    if printed is None:
        return None
    check_notes(printed.notes)
    return parts[0]


def check_value(data: bytes) -> None:
    """The value of an option: a part of a problem, a loss, or a word with a syntax of its own."""
    which, rest = _apart(data)
    text = _as_argument(rest)
    key = [*PARTS, "loss", *WORDS][which % (len(PARTS) + 1 + len(WORDS))]
    if key == "loss":
        _judge(data, 0, partial(inputs.claims, RawProblem(), None, text))
    elif key in WORDS:
        held(partial(WORDS[key], text))
    elif (raw := _parts(ProblemOptions(values={key: text}))) is not None:
        whole = _around(key, raw)
        if (problem := held(whole.problem)) is not None:
            check_written(whole, problem)


def _as_argument(data: bytes) -> str:
    """A word of a command line, which names no file of another folder."""
    return data.replace(b"\0", b"").replace(b"/", b"").decode(errors="surrogateescape")


# What reads a word that has a syntax of its own.
WORDS: Mapping[str, Callable[[str], Any]] = {
    "max_memory": memory.max_memory,
    "decimals": lambda text: verify.JudgingOptions(decimals=text).reading,
    "summation": lambda text: verify.JudgingOptions(summation=text),
    "with_respect_to": lambda text: verify.JudgingOptions(with_respect_to=[text]),
}


def check_option(data: bytes) -> None:
    """A whole command line: on the first line a command and an option or "PROBLEM", below it the value."""
    first, _, rest = data.partition(b"\n")
    command, _, option = first.decode(errors="replace").partition(" ")
    text = _as_argument(rest)
    if option not in OPTIONS.get(command, ()) or (option in COSTLY and len(text) > 3):
        return
    Path("it.json").write_bytes(PROBLEM_IN_JSON)
    given = ["it.json"] if "--inputs" in OPTIONS[command] and "--seed" not in OPTIONS[command] else []
    words = [text] if not option.startswith("-") else [f"{option}={text}"]
    printed = ran(partial(cli.main, [command, *given, *words]))
    if printed.status == 2 and not printed.notes:
        raise Broken("the exit status is 2, and nothing says why")
    if option != "--save":  # which may put the report there
        check_notes(printed.notes)


def _options() -> dict[str, list[str]]:
    """By command, the options that take a value, and its arguments."""
    group: Any = typer.main.get_command(cli.app)
    return {
        name: [
            max(one.opts, key=len)
            for one in group.get_command(None, name).params
            if not getattr(one, "is_flag", False)
        ]
        for name in cli.COMMANDS
    }


OPTIONS = _options()
COSTLY = ("--steps", "--rows", "--inputs", "--classes")  # whose value says how much there is to do
PROBLEM_IN_JSON = (
    b'{"W": [[1, 2, 3], [4, 5, 6]], "x": [0.5, -0.25], "label": 1, "gradient": [[1, 2, 3], [4, 5, 6]]}'
)

READERS: Mapping[str, Reader] = {
    **{entry.name: Reader(partial(check_file, entry), entry.name) for entry in formats.FORMATS.values()},
    "ndjson": Reader(check_stream, "json", most=70),
    "data-set": Reader(check_data_set, "csv"),
    **{
        f"rows-{entry.module}": Reader(
            partial(check_rows, entry), "json" if entry.module == "ndjson" else entry.module, most=100
        )
        for entry in data_sets_formats.FORMATS.values()
    },
    "claim": Reader(check_claim, "claim", most=120),
    "value": Reader(check_value, "claim"),
    "option": Reader(check_option, "option", seconds=20.0, most=8),
}
