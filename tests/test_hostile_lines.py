"""Each line of a stream is answered, whatever it holds and whatever is around it."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from conftest import Run
from xegrad import InputError, memory
from xegrad.cli import compute, stream, verify
from xegrad.cli.tally import BAD_LINE, BUG_LINE, DONE_LINE
from xegrad.formats import ndjson, results
from xegrad.formats.ndjson import Chunk, Lines
from xegrad.formats.raw_problem import RawProblem

OPEN = '{"W": [[1, 2], [3, 4]], "x": [1, -1], "label": 0'
GOOD = [
    f"{OPEN}}}",
    '{"W": [[0.25, -1.5, 2], [1, 0.125, 3]], "x": [0.3, 0.7], "label": 2, "b": [1, 2, 3], "gradient": [[0]]}',
    '{"W": [[1, 2], [3, 4]], "x": [[1, -1], [0.1, 0.2]], "label": [0, 1], "loss": 0.5}',
]
DEPTHS = (99, 100, 101, 900, 960, 971, 972, 973, 974, 975, 976, 977, 978, 1000, 5000)


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


def with_field(key: str, value: str) -> str:
    return f'{OPEN}, "{key}": {value}}}'


HOSTILE: list[str | bytes] = [
    # Values that are of no type, or of one that something later would trip over.
    OPEN.replace('"label": 0', '"label": [0, [1, 0]]') + "}",
    '{"W": [[1, 2], 3], "x": [1, -1], "label": 0, "W": 2}',
    with_field("gradient", "[[1e400, 0.1234]]"),
    with_field("gradient", "[[NaN, 1], [Infinity, -Infinity]]"),
    with_field("gradient", f"[[1e{'9' * 5000}, 1], [1, 1]]"),
    with_field("gradient", '{"W": 1}'),
    with_field("gradient", "null"),
    with_field("gradients", '{"Q": [1]}'),
    with_field("loss", "[1, 2]"),
    with_field("logits", '{"a": 1}'),
    with_field("class_weights", "[1e308, 1e308]"),
    with_field("ignore_index", "9" * 5000),
    with_field("classes", '["a", "a"]'),
    with_field("dtype", '"int8"'),
    OPEN.replace('"label": 0', f'"label": {"9" * 5000}') + "}",
    OPEN.replace('"label": 0', '"label": [1e308, 1e308]') + "}",
    OPEN.replace("[1, -1]", "[]") + "}",
    OPEN.replace("[[1, 2], [3, 4]]", "[[]]") + "}",
    OPEN.replace("[[1,", "[[1e999,") + "}",
    # Ids of any kind are repeated, or refused.
    with_field("id", "9" * 5000),
    with_field("id", "9" * 30),
    with_field("id", "1e400"),
    with_field("id", "{" + ", ".join(f'"k{k}": [{k}, null]' for k in range(2000)) + "}"),
    with_field("id", '1, "id": 2'),
    # Texts.
    with_field("id", r'"\ud800"'),
    with_field("id", r'"\ud83d\ude00"'),
    with_field("id", '"a\u2028b\u2029\x85\x0c"'),
    with_field("id", r'"\u001b[31m\u0000"'),
    with_field("k" * 10**5, "1"),
    with_field("W " * 10**4, "1"),
    b'{"W": [[1, 2], [3, 4]], "x": [1, -1], "label": "\xff\xfe"}',
    b'{"W": [[1, 2], [3, 4]], "x": [1, -1], "label": 0, "gradient": "\xff"}',
    b'{"W": [[1, 2], [3, 4]], "x": [1, -1], "label": 0, "id": "\xed\xa0\x80"}',
    bytes(range(11, 256)),
    b"\0",
    "\ufeff" + GOOD[0],
    # What is no object.
    *("null", "[]", "{}", "1", '"a"', "NaN", "-Infinity", "-", '"', "\\", "]", "}", GOOD[0] + GOOD[0]),
    *(f"{GOOD[0]}\r", f"{GOOD[0]}\r{GOOD[0]}", OPEN),
    # Brackets within brackets, in any field.
    *(nested(depth) for depth in DEPTHS),
    *("[" * depth for depth in DEPTHS),
    *('{"id": ' * depth + "1" + "}" * depth for depth in DEPTHS),
    *(
        with_field(key, nested(depth))
        for key in ("id", "b", "gradient", "gradients", "loss", "logits", "unknown")
        for depth in DEPTHS
    ),
    *(OPEN.replace("[[1, 2], [3, 4]]", nested(depth)) + "}" for depth in DEPTHS),
]
LINES = [line.encode() if isinstance(line, str) else line for line in HOSTILE]
WORK = {
    "compute": partial(compute._compute_lines, methods=None, with_respect_to=None, exact=False),
    "verify": partial(verify._verify_lines, judging=verify.JudgingOptions()),
}


def answered(command: str, lines: Sequence[bytes], first: int = 2) -> tuple[list[bytes], Any]:
    """The answers to lines that are computed together, and how they came out."""
    text, (kinds, _) = stream.answered(Chunk(b"\n".join(lines), first), WORK[command], RawProblem())
    return bytes(text).splitlines(keepends=True), kinds


@pytest.mark.parametrize("command", WORK)
def test_lines_are_answered_as_they_would_be_alone_in_any_mix(command: str) -> None:
    """To the bit, whatever is around them: with what breaks a stack, and deeper in the stack of calls."""
    lines = [line.encode() for line in GOOD] + LINES
    alone = []
    for line in lines:
        ((answer,), (kind,)) = answered(command, [line], first=7)
        assert kind != BUG_LINE
        assert (b'"error"' in answer[:40]) == (kind == BAD_LINE)
        alone.append(answer)
    mixes = random.Random(1)
    for size in (2, 3, 10, 40, len(lines)) if command == "compute" else (10,):
        chosen = [
            mixes.randrange(len(lines)) if mixes.random() < 0.5 else mixes.randrange(3) for _ in range(size)
        ]
        answers, _ = answered(command, [lines[k] for k in chosen])
        assert len(answers) == size
        for number, k, answer in zip(range(2, 2 + size), chosen, answers, strict=True):
            assert answer == alone[k].replace(b'{"line":7,', b'{"line":%d,' % number)


@pytest.mark.parametrize("command", WORK)
def test_what_is_said_of_a_line_is_one_short_sentence(command: str) -> None:
    for line in LINES:
        error = json.loads(answered(command, [line])[0][0]).get("error", "fine")
        assert 0 < len(error) <= 300
        assert error.isprintable()
        assert "bug" not in error


def test_a_whole_stream_of_hostile_lines_has_an_answer_for_each(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "hostile.ndjson"
    path.write_bytes(b"\n".join([GOOD[0].encode(), *LINES, b"", GOOD[0].encode()]))
    outcome = run("compute", str(path))
    assert outcome.status == 2
    assert outcome.out.count("\n") == len(LINES) + 2  # a blank line has none
    assert f"xegrad: {len(LINES) + 2} lines: " in outcome.err
    assert outcome.err.count("\n") == 1
    answers = outcome.out.split("\n")
    assert answers[0] == answers[-2]


def test_a_name_of_digits_is_a_name_and_no_index_also_in_many_lines() -> None:
    """The class "1" is the first, and its gradient is that of the label 0."""
    lines = [
        f'{OPEN}, "classes": ["1", "0"]}}'.replace(": 0,", f": {label},").encode() for label in ('"1"', "0")
    ]
    names, indices = (answered("compute", [line] * 3)[0] for line in lines)
    assert names == indices
    assert b'"error"' not in names[0]


def failing(error: Exception, lines: Lines, places: Sequence[int], _: RawProblem) -> Iterator[Any]:
    """What a command might make of lines, if it raised that for each line with the id 3."""
    for place in places:
        if lines.ids[place] == 3:
            raise error
        yield [place], [results.encode(lines.ids[place])], DONE_LINE


@pytest.mark.parametrize(
    ("error", "sentence", "kind"),
    [
        (ZeroDivisionError("1 / 0"), "this is a bug, please report it: ZeroDivisionError at cli/stream.py:", BUG_LINE),
        (RecursionError(), "this is a bug, please report it: RecursionError at cli/stream.py:", BUG_LINE),
        (MemoryError(), "there is not enough memory for a problem of this size", BAD_LINE),
        (InputError("W is wrong"), "W is wrong", BAD_LINE),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), "the text is not UTF-8", BAD_LINE),
    ],
)  # fmt: skip
def test_what_nobody_foresaw_is_the_answer_of_its_line_alone(
    error: Exception, sentence: str, kind: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    chunk = Chunk("\n".join(f'{OPEN}, "id": {k}}}' for k in range(6)).encode(), 1)
    text, (kinds, numbers) = stream.answered(chunk, partial(failing, error), RawProblem())
    answers = [json.loads(line) for line in bytes(text).splitlines()]
    assert answers[:3] + answers[4:] == [0, 1, 2, 4, 5]
    assert answers[3]["error"].startswith(sentence)
    assert (answers[3]["line"], answers[3]["id"]) == (4, 3)
    assert [*zip(numbers, kinds, strict=True)][3] == (4, kind)
    assert {*kinds[:3], *kinds[4:]} == {DONE_LINE}
    assert capsys.readouterr().err == ""


def test_a_debugged_bug_has_its_traceback(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("XEGRAD_DEBUG", "1")
    stream.answered(
        Chunk(with_field("id", "3").encode(), 1), partial(failing, ZeroDivisionError()), RawProblem()
    )
    assert "Traceback" in capsys.readouterr().err


def test_a_line_that_takes_too_much_memory_is_refused_beside_others(run: Run, tmp_path: Path) -> None:
    long = OPEN.replace("[[1, 2], [3, 4]]", f"[[0]{',[0]' * 300_000}]") + "}"
    path = tmp_path / "long.ndjson"
    path.write_text("\n".join([GOOD[0], long, GOOD[0], long]))
    outcome = run("compute", str(path), "--max-memory", "40MB")
    answers = [json.loads(line) for line in outcome.out.splitlines()]
    assert answers[0] == answers[2]
    for answer, number in ((answers[1], 2), (answers[3], 4)):
        assert answer["line"] == number
        assert "to read it takes" in answer["error"]
        assert "and 40 MB is allowed" in answer["error"]
    assert "4 lines: 2 done, 2 bad; the first is line 2" in outcome.err


def test_a_line_without_an_end_is_not_held(tmp_path: Path) -> None:
    """Zeros, as /dev/zero has them: of what is refused nothing is kept."""
    path = tmp_path / "zeros.ndjson"
    with path.open("wb") as file:
        file.truncate(2**25)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with memory.max_memory("20MB"):
            (chunk,) = ndjson.chunks(descriptor)
    finally:
        os.close(descriptor)
    assert (chunk.text, chunk.number) == (b"", 1)
    assert "20 MB is allowed" in chunk.refusal


def test_lines_that_take_too_much_together_are_computed_apart(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "lines.ndjson"
    line = json.dumps({"W": [[0.5] * 50] * 10, "x": [1] * 10, "label": 0})
    path.write_text(f"{line}\n" * 30)
    both = [
        run("compute", str(path), "--method", "shortcut", "--max-memory", limit) for limit in ("60kB", "1GB")
    ]
    assert both[0] == both[1]
    assert both[0].status == 0
    refused = run("compute", str(path), "--method", "shortcut", "--max-memory", "5kB")
    assert refused.err.startswith("xegrad: 30 lines: 0 done, 30 bad")


@pytest.mark.parametrize("n_quotes", [1, 10**6])
def test_brackets_in_a_text_are_none_where_it_does_not_end_either(n_quotes: int) -> None:
    """Were its end sought from each of its quotes, a line of two megabytes would take a day."""
    line = b"[" * 101 + b'"' + b"[" * 50 + b'\\"' * n_quotes
    assert ndjson._depth(line) == 101
    assert ndjson._depth(line + b'"[') == 102
