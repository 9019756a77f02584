"""Text from outside does nothing, wherever it comes in and goes out; options, fields and forms are found by walking."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import typer

from conftest import ROOT, Outcome, Run, problem_json
from xegrad import InputError, Problem, Targets, assert_gradient, compute, explain
from xegrad.cli import COMMANDS, app
from xegrad.cli.output import FORMS
from xegrad.data_sets.formats import type_of
from xegrad.display import screen
from xegrad.errors import LONGEST_MESSAGE, listed, one_line
from xegrad.formats import FORMATS
from xegrad.inert import cells, cut, from_cell, in_cell, inert, without_hidden
from xegrad.naming import INDEX
from xegrad.problem_spec import CLAIMS, FIELDS

# OSC 52 (which sets the clipboard), C1, DEL, bidi, a joiner, a separator, a tag, a selector, markup, a formula.
HOSTILE = "=1+\x1b]52;c;aGk=\x07\x9b2J\x7f\u202e\u2066\u200d\u2028\U000e0041\ufe0f\r<b>&`|]]>猫"
GROUP: Any = typer.main.get_command(app)
PARAMETERS = {name: GROUP.get_command(None, name).params for name in COMMANDS}
OF_PROBLEMS = [
    name for name, parameters in PARAMETERS.items() if parameters and parameters[0].name == "problem"
]


def assert_does_nothing(outcome: Outcome) -> None:
    """No character that a terminal obeys, or that is not seen, is in what was printed; messages are short lines."""
    for text in outcome.out, outcome.err:
        assert without_hidden(text, keeping="\n") == text
    assert outcome.status in (0, 1, 2)
    if outcome.status == 2:
        assert all(len(line) <= LONGEST_MESSAGE + len("xegrad: ") for line in outcome.err.splitlines())


# The function.


def test_what_is_obeyed_or_unseen_is_spelled_out_and_what_is_written_stays() -> None:
    unseen = [
        *range(0x20),
        *range(0x7F, 0xA0),
        0xAD,
        0x34F,
        0x61C,
        *range(0x200B, 0x2010),
        *range(0x2028, 0x202F),
    ]
    unseen += [
        *range(0x2060, 0x2070),
        0xD800,
        0xDFFF,
        *range(0xFDD0, 0xFDF0),
        0xFE0F,
        0xFEFF,
        0xFFFE,
        0xE0001,
        0xE0041,
    ]
    for code in unseen:
        assert inert(f"a{chr(code)}b").isascii(), hex(code)
    kept = "cat é ß 猫 ねこ кот γάτα قطة חתול แมว बिल्ली 🐱 e\u0301 <b>& ½ … ·"
    assert inert(kept) == kept
    assert inert("two\nlines", keeping="\n") == "two\nlines"


def test_a_mark_stands_on_a_letter_and_few_stand_on_one() -> None:
    assert inert("\u0301a") == "\\u0301a"
    assert inert("a" + "\u0301" * 1000).count("\u0301") < 10
    assert unicodedata.normalize("NFC", inert("e\u0301")) == "é"


@pytest.mark.parametrize(
    ("text", "columns"), [("cat", 3), ("猫", 2), ("🐱", 2), ("e\u0301", 1), ("ｃ", 2), ("", 0)]
)
def test_width_is_in_columns(text: str, columns: int) -> None:
    """As wcwidth of Unicode 15 has them."""
    assert cells(text) == columns


def test_a_name_is_cut_at_a_column_and_never_within_a_number() -> None:
    assert cut("猫猫猫", 5) == "猫猫…"
    assert cut("class 12345", 9) == "class…"
    assert cut("cat 3.25e-7", 8) == "cat…"
    assert cut("a 1.5e-300 b", 9) == cut("a 1.5e+300 b", 6) == "a…"
    assert cut("apple pie", 6) == "apple…"


def test_long_texts_of_digits_are_looked_at_once() -> None:
    """Else each of these would take minutes."""
    digits = 200_000 * "0"
    assert in_cell(f"+{digits}x") == f"'+{digits}x"
    assert in_cell(f"-{digits}") == f"-{digits}"
    assert INDEX.fullmatch(f"{digits}x") is None
    assert type_of(f"{digits}x") == "text"
    for name in ("12", "-0012", "+0", "000"):
        match = INDEX.fullmatch(name)
        assert match is not None and int(match[1] + match[2]) == int(name)
        assert match[2] == str(abs(int(name)))
    assert cut("cat", 3) == "cat"


def test_names_in_cells_of_csv_are_no_formulas_and_are_read_back() -> None:
    for name in (
        "=1",
        "+a",
        "-a",
        "@a",
        "\ta",
        "\r",
        "'=1",
        "'a",
        "a\\b",
        "'a\\u001b",
        HOSTILE,
        "''=\\\\",
        "-1",
        "a",
    ):
        cell = in_cell(name)
        assert from_cell(cell) == name
        assert cell[0] not in "=@\t\r" and (cell[0] not in "+-" or float(cell))
        assert without_hidden(cell) == cell
    assert in_cell("-1.5e-3") == "-1.5e-3"
    assert from_cell("'tis") == "'tis"


# Messages.


def test_a_message_has_a_beginning_an_end_and_the_count_of_what_is_left_out() -> None:
    message = one_line("problem.json: " + "x" * 100_000 + "; add --transpose")
    assert LONGEST_MESSAGE - 5 < len(message) <= LONGEST_MESSAGE
    assert message.startswith("problem.json: xxx") and message.endswith("xxx; add --transpose")
    left_out = message.split(" more characters")[0].rpartition("(")[2]
    shown = message.replace(f" … ({left_out} more characters) … ", "")
    assert len(shown) + int(left_out.replace(",", "")) == 100_000 + len("problem.json: ; add --transpose")


def test_a_list_in_a_message_has_the_first_and_the_count_of_the_rest() -> None:
    text = listed([f"column_{k}" for k in range(100_000)])
    assert text.startswith("column_0, column_1") and len(text) < 160
    first, more = text.removesuffix(" more").rsplit(" and ", 1)
    assert first.count(",") + 1 + int(more.replace(",", "")) == 100_000
    assert listed(["a", "b"]) == "a, b"
    assert listed([]) == ""


def test_errors_in_python_are_short_and_do_nothing() -> None:
    with pytest.raises(InputError) as error:
        Problem([[1.0, 2.0]], [[1.0]], Targets([0]), classes=(HOSTILE * 99, HOSTILE * 99))
    assert len(str(error.value)) <= LONGEST_MESSAGE
    assert inert(str(error.value)) == str(error.value)


# Everything that comes in, by every way in.


# Each option once, with the first command that has it: several share theirs.
WAYS_IN = {
    (parameter.name, parameter.help if parameter.param_type_name == "option" else command): (
        command,
        parameter,
    )
    for command in reversed(COMMANDS)
    for parameter in PARAMETERS[command]
    if not getattr(parameter, "is_flag", False)
}


@pytest.fixture
def hostile_file(tmp_path: Path) -> Path:
    """A file that is called so and holds it, though not as a problem."""
    file = tmp_path / HOSTILE.replace("/", "")
    file.write_text(f"{HOSTILE},b\n{HOSTILE},1\n", newline="", encoding="utf-8")
    return file


@pytest.mark.parametrize(("command", "parameter"), WAYS_IN.values(), ids=[f"{name}" for name, _ in WAYS_IN])
def test_no_option_prints_what_it_is_given_as_it_is(
    command: str, parameter: Any, run: Run, tmp_path: Path, hostile_file: Path
) -> None:
    problem = tmp_path / "p.json"
    problem.write_text(problem_json())
    base = [str(problem)] if command in OF_PROBLEMS and parameter.name != "problem" else []
    for value in (f"{HOSTILE * 50}\udcff", f"{hostile_file}:{HOSTILE}"):
        is_written = parameter.name in ("path", "save")
        words = [parameter.opts[-1]] if parameter.param_type_name == "option" else []
        assert_does_nothing(run(command, *base, *words, f"{value}.zip" if is_written else value))


def test_no_unknown_word_is_printed_as_it_is(run: Run) -> None:
    for words in (
        [HOSTILE],
        [f"--{HOSTILE}"],
        ["compute", f"--{HOSTILE}"],
        ["man", HOSTILE],
        ["verify", "-q", HOSTILE * 9],
    ):
        assert_does_nothing(run(*words))


@pytest.mark.parametrize("key", [*FIELDS, *CLAIMS, HOSTILE])
@pytest.mark.usefixtures("undiagnosed")
def test_no_field_or_key_of_a_file_is_printed_as_it_is(key: str, run: Run, tmp_path: Path) -> None:
    file = tmp_path / f"{HOSTILE}.json"
    for value in (HOSTILE, [HOSTILE, HOSTILE, "a"], {HOSTILE: HOSTILE}):
        file.write_text(problem_json(**{"gradient": [[1, 2, 3]] * 2, key: value}))
        assert_does_nothing(run("verify", str(file)))


@pytest.mark.parametrize(
    "suffix", [suffix for entry in FORMATS.values() for suffix in entry.suffixes] + ["", f".{HOSTILE[3:9]}"]
)
def test_no_file_of_any_suffix_is_printed_as_it_is(suffix: str, run: Run, hostile_file: Path) -> None:
    named = hostile_file.rename(f"{hostile_file}{suffix}")
    assert_does_nothing(run("compute", str(named)))
    assert_does_nothing(run("verify", "sample_inputs/seed.json", "--gradient", str(named)))


def test_a_header_is_not_printed_as_it_is(run: Run, tmp_path: Path) -> None:
    data = tmp_path / f"{HOSTILE}.csv"
    column = HOSTILE.replace("\r", "").replace("\u2028", "")
    data.write_text(f"{column},text,label,b\n1,{column},0,1\n2,x,1,2\n", encoding="utf-8")
    options = ("compute", "-x", str(data), "-W", "[[1,2],[3,4]]")
    good = run(*options, "--label-column", "label")
    assert good.status == 0
    assert "left out, since not numbers: text" in good.err
    for outcome in (good, run(*options, "--label-column", HOSTILE), run(*options, "--label-column", "text")):
        assert_does_nothing(outcome)


def test_a_missing_column_among_many_is_said_in_a_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text(",".join(f"column_{k}" for k in range(20_000)) + "\n")
    outcome = run("compute", "-x", str(tmp_path / "d.csv"), "-W", "[[1]]", "--label-column", "color")
    assert_does_nothing(outcome)
    assert "column_0, column_1" in outcome.err
    assert " more" in outcome.err


# Everything that goes out, in every form.


@pytest.fixture
def hostile_problem(tmp_path: Path) -> Path:
    file = tmp_path / f"{HOSTILE}.json"
    names = [HOSTILE, f"{HOSTILE}2", "-c"]
    file.write_text(
        problem_json(classes=names, input_names=[HOSTILE, "u"], id=HOSTILE, gradient=[[1, 2, 3]] * 2)
    )
    return file


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize("command", OF_PROBLEMS)
def test_no_form_of_a_result_holds_a_name_as_it_is(
    command: str, form: str, run: Run, hostile_problem: Path
) -> None:
    if form == "npy":
        return
    outcome = run(command, str(hostile_problem), "--format", form)
    assert_does_nothing(outcome)
    if outcome.status == 2:
        assert "there is no format" in outcome.err
        return
    assert "\\u001b" in outcome.out or command == "descend"
    if form == "svg":
        ElementTree.fromstring(outcome.out)
        assert "<b>" not in outcome.out
    if form == "html":
        assert not {"b", "script"} & {*_tags(outcome.out)}
    if form == "json" and "classes" in (result := json.loads(outcome.out)):
        assert result["classes"][0] == HOSTILE
    if form == "json":
        assert json.loads(outcome.out)["id"] == HOSTILE


def _tags(page: str) -> list[str]:
    tags: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: tags.append(tag)  # type: ignore[method-assign]
    parser.feed(page)
    return tags


@pytest.mark.parametrize("command", OF_PROBLEMS)
@pytest.mark.parametrize("options", [[], ["--json"]])
@pytest.mark.usefixtures("undiagnosed")
def test_several_problems_have_no_heading_as_it_is(
    command: str, options: list[str], run: Run, hostile_problem: Path, hostile_file: Path
) -> None:
    assert_does_nothing(run(command, str(hostile_problem), str(hostile_file), *options))


@pytest.mark.parametrize("command", ["compute", "verify"])
def test_no_line_of_a_stream_is_answered_with_what_it_holds_as_it_is(
    command: str, run: Run, hostile_problem: Path, tmp_path: Path
) -> None:
    lines = tmp_path / f"{HOSTILE}.ndjson"
    bad = json.dumps({HOSTILE: 1, "id": HOSTILE})
    lines.write_text(f"{hostile_problem.read_text()}\n{bad}\n{HOSTILE!a}\n")
    assert_does_nothing(run(command, str(lines)))


@pytest.mark.parametrize("command", OF_PROBLEMS)
@pytest.mark.usefixtures("undiagnosed")
def test_all_that_a_terminal_obeys_is_colours_of_ours(command: str, run: Run, hostile_problem: Path) -> None:
    coloured = run(command, str(hostile_problem), "--color", "always").out
    assert_does_nothing(Outcome(0, "".join(_without_colours(coloured)), ""))


def _without_colours(text: str) -> Iterator[str]:
    """The text between sequences that set colours, and nothing else that begins with ESC."""
    first, *others = text.split("\x1b[")
    yield first
    for piece in others:
        numbers, m, rest = piece.partition("m")
        assert m and set(numbers) <= set("0123456789;")
        yield rest


def test_saved_problems_and_gradients_read_back_whatever_names_are(
    run: Run, hostile_problem: Path, tmp_path: Path
) -> None:
    for name in ("saved.json", "saved.csv"):
        given = ["-"] if name.endswith("csv") else [str(hostile_problem)]
        stdin = problem_json(classes=[HOSTILE, f"{HOSTILE}2", "-c"])
        assert run("descend", *given, "--save", str(tmp_path / name), stdin=stdin).status == 0
        result = json.loads(run("compute", str(tmp_path / name), "--json").out)
        assert result["classes"] == [HOSTILE, f"{HOSTILE}2", "-c"]
    gradient = str(tmp_path / "g.csv")
    assert run("compute", str(hostile_problem), "-o", gradient).status == 0
    assert without_hidden(Path(gradient).read_text(encoding="utf-8"), keeping="\n").startswith("'=1+\\u001b]")
    assert run("verify", str(hostile_problem), "--gradient", gradient).status == 0


def test_python_shows_no_name_as_it_is() -> None:
    problem = Problem([[1.0, 2.0]], [[1.0]], Targets([0]), classes=(HOSTILE, "b"), input_names=(HOSTILE,))
    for value in (problem, compute(problem), explain(problem)):
        assert without_hidden(repr(value)) == repr(value)
        page = value._repr_html_() if hasattr(value, "_repr_html_") else ""
        assert without_hidden(page, keeping="\n") == page
        assert "<b>&" not in page
    with pytest.raises(AssertionError) as error:
        assert_gradient([[1.0, 2.0]], [1.0], 0, [[1.0, 2.0]], classes=[HOSTILE, "b"])
    assert without_hidden(str(error.value), keeping="\n") == str(error.value)


def test_standard_error_is_written_in_one_place() -> None:
    """All that is said there passes through what makes it inert and short, but for the last words of a process that
    could not be started, or of a bug."""
    sources = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py")}
    writing = {name for name, source in sources.items() if "stderr.write" in source}
    assert writing == {"screen.py", "__main__.py"}


def test_what_takes_long_is_said_in_a_line_that_does_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    screen.announce(HOSTILE * 100)
    line = capsys.readouterr().err
    assert len(line) <= LONGEST_MESSAGE + len("xegrad: \n")
    assert without_hidden(line, keeping="\n") == line
