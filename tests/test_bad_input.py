"""What is wrong is said in one line: where, what was found, what was expected, what to do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from conftest import Run, problem_json

# What stands on standard input, and what the message must say.
PROBLEMS = {
    "nothing": ("", "standard input: is empty"),
    "blank lines": (" \n\n", "standard input: is empty"),
    "cut off": ('{"W": [[1, 2], [3, 4]', "line 1, column 22: the JSON ends here"),
    "a bracket missing": ('{"W": [[1, 2],\n [3, 4], "x": [1, 2]}', "line 2, column 13: malformed JSON"),
    "a trailing comma": ('{"W": [[1, 2],]}', "trailing comma"),
    "single quotes": ("{'W': [[1]]}", "line 1, column 2: malformed JSON: object keys must be strings"),
    "NaN": ('{"W": [[1, NaN]]}', "line 1, column 12: every number must be finite"),
    "Infinity": ('{"W": [[1,\n  -Infinity]]}', "line 2, column 3: every number must be finite"),
    "two problems": (problem_json() + "\n" + problem_json(), "line 2, column 1: a second value begins"),
    "text after the end": (problem_json() + " end", "there is more after the end"),
    "an array": ("[[1, 2]]", "holds a list; an object is expected"),
    "no W": (problem_json(W=None), "there is no W"),
    "no x and no label": (problem_json(x=None, label=None), "there is no x and no label"),
    "an unknown key": (problem_json(lable=2), "unknown key 'lable'"),
    "a doubled key": ('{"x": [1], "W": [[1]], "x": [2], "label": 0}', "the key 'x' is given twice"),
    "a doubled key in disguise": ('{"x": [1], "W": [[1]], "\\u0078": [2], "label": 0}', "'x' is given twice"),
    "a flat W": (problem_json(W=[1, 2]), "$.W[0] is 1; a list is expected"),
    "a ragged W": (problem_json(W=[[1, 2], [3]]), "$.W[1] has 1 number, but $.W[0] has 2 numbers"),
    "text in W": (problem_json(W=[[1, "a"], [3, 4]]), '$.W[0][1] is "a"; a number is expected'),
    "null in W": ('{"W": [[1, null]]}', "$.W[0][1] is null; a number is expected"),
    "true in W": (problem_json(W=[[1, True]]), "$.W[0][1] is true; a number is expected"),
    "a null W": ('{"W": null}', "$.W is null; a list is expected"),
    "a number too large": ('{"W": [[1, 1e999]]}', "$.W[0][1] is too large for float64"),
    "an integer too large": (f'{{"W": [[1, 1{"0" * 400}]]}}', "W[0, 1] is too large for float64"),
    "no inputs": (problem_json(W=[]), "$.W is empty"),
    "no classes": (problem_json(W=[[], []]), "W is 2 x 0; a layer has at least one input and one class"),
    "an empty x": (problem_json(x=[]), "$.x is empty"),
    "a short x": (problem_json(x=[1]), "x has 1 entry but W has 2 rows; W is read as (inputs, classes)"),
    "an x for the other layout": (
        problem_json(x=[1, 2, 3]),
        "If yours is (classes, inputs), add --transpose",
    ),
    "an x against the transposition": (
        problem_json(transpose=True),
        "x has 2 entries but W has 3 columns; W is read as (classes, inputs). If yours is (inputs, classes)",
    ),
    "x in rows": (problem_json(x=[[1, 2], [3, 4]]), "label has 1 row but x has 2"),
    "x mixed": (problem_json(x=[1, [2]]), "$.x mixes numbers and lists"),
    "a long b": (problem_json(b=[1, 2, 3, 4]), "b has 4 numbers but W has 3 classes"),
    "a label too large": (problem_json(label=3), "label 3 is out of range; labels are zero-based: 0 to 2"),
    "a negative label": (problem_json(label=-1), "label -1 is out of range; labels are zero-based"),
    "a huge label": (problem_json(label=10**30), "is out of range; labels are zero-based"),
    "a fractional label": (problem_json(label=1.5), "$.label is 1.5"),
    "a boolean label": (problem_json(label=True), "$.label is true"),
    "a label without names": (problem_json(label="cat"), "the problem names no classes"),
    "an unknown name": (
        problem_json(label="cot", classes=["cat", "dog", "cow"]),
        "label 'cot' is not one of the classes cat, dog, cow; did you mean",
    ),
    "an index as a string": (problem_json(label="1", classes=["a", "b", "c"]), "label '1' is not one of"),
    "names twice": (problem_json(classes=["a", "b", "a"]), "classes 0 and 2 are both named 'a'"),
    "too few names": (problem_json(classes=["a", "b"]), "2 class names for 3 classes"),
    "a short target": (problem_json(label=[0.5, 0.5]), "label has 2 numbers but W has 3 classes"),
    "one class weight": (problem_json(class_weights=[1]), "class_weights has 1 number but W has 3 classes"),
    "a negative target": (problem_json(label=[0.5, -0.5, 1]), "the target of class 1 is -0.5"),
    "CSV without a header": ("1,2,3\n4,5,6\n", "line 1: found '1'; in a problem in CSV the header is x"),
    "CSV with semicolons": ("x;a;b\n1;2;3\n", "found cells separated by semicolons"),
    "a data set in the place of a problem": (
        "length,width,kind\n1,2,a\n",
        "found 'length'; in a problem in CSV the header is x, then the class names; a data set is given with -x FILE",
    ),
    "CSV without classes": ("x\n1\n", "the header names no classes"),
    "CSV with a nameless class": ("x,a,\n1,2,3\n", "line 1, column 3: a class without a name"),
    "CSV without rows": ("x,a,b\nlabel,0,1\n", "there is no row of numbers"),
    "a ragged CSV": ("x,a,b\n1,2,3\n4,5\n", "line 3 has 2 cells, but the header has 3"),
    "a short row in CSV": ("x,a,b\n1,2,3\n4\n", "line 3 has 1 cell, but the header has 3"),
    "a nameless first column in CSV": (
        ",a,b\n1,2,3\n",
        "line 1: found ''; in a problem in CSV the header is x",
    ),
    "text in CSV": ("x,a,b\n1,2,3\n4,5,six\n", "line 3, column 3 is 'six'; a number is expected"),
    "a gap in CSV": ("x,a,b\n1,,3\n", "line 2, column 2 is empty; a number is expected"),
    "NaN in CSV": ("x,a,b\n1,nan,3\n", "line 2, column 2 is 'nan'; every number must be finite"),
    "a CSV number too large": ("x,a,b\n1,1e999,3\n", "line 2, column 2 is too large for float64"),
    "a decimal comma in CSV": ('x,a,b\n1,"1,5",3\n', "a decimal comma?"),
    "two labels in CSV": ("x,a\n1,2\nlabel,1\nlabel,1\n", "line 4: a second row 'label'"),
    "no label in CSV": ("x,a,b\n1,2,3\n", "there is no label"),
    "an open quote in CSV": (
        'x,a,b\n1,"2,3\n',
        "line 2: malformed CSV: a quotation mark begins a cell, and none ends it",
    ),
    "a cell that goes on in CSV": (
        'x,a,b\n1,"2"3,4\n',
        "line 2: malformed CSV: a cell goes on after its last quotation mark",
    ),
    "a long cell in CSV": (
        'x,a,b\n1,"' + "3" * 140_000 + '",4\n',
        "line 2: malformed CSV: a cell has more than 131,072 characters; is a quotation mark missing?",
    ),
    "brackets without end": ("[" * 100_000, "nested too deeply"),
    "JSON told to be CSV": ("\u00a0" + problem_json(), "this looks like JSON"),
    "a misspelt row in CSV": ("x,a\n1,2\nlables,1\n", "begin with label and bias"),
    "names twice in CSV": ("x,a,a\n1,2,3\nlabel,1,0\n", "classes 0 and 1 are both named 'a'"),
}

USAGE = {
    "two problems for one file": (
        ("compute", "a.json", "b.json", "-o", "x.json"),
        "-o x.json holds one result, and there are 2 problems",
    ),
    "two problems in a format that holds one": (
        ("compute", "a.json", "b.json", "--format", "csv"),
        "csv holds one result",
    ),
    "two problems and one gradient": (
        ("verify", "a.json", "b.json", "--gradient", "g.npy"),
        "--gradient is of one problem, and there are 2",
    ),
    "two problems and a part that is read once": (
        ("compute", "a.json", "b.json", "-x", "-"),
        "-x - is read once",
    ),
    "two problems to save": (("descend", "a.json", "b.json", "--save", "-"), "--save - holds one result"),
    "two parts from one place": (("compute", "-W", "-", "-x", "-"), "-W and -x ask for it"),
    "a part and the problem": (("compute", "-", "-x", "-"), "- and -x ask for it"),
    "a missing file": (("compute", "no.json"), "no.json: there is no such file"),
    "a folder": (("compute", "tests"), "tests: is a folder; a file is expected"),
    "an unknown suffix": (("compute", "pyproject.toml"), "the suffix .toml is none of .json, .csv"),
    "an unknown option": (("compute", "--mthod", "x"), "there is no option --mthod; did you mean --method?"),
    "an option without a value": (("compute", "--top"), "option '--top' requires an argument"),
    "an option out of range": (
        ("compute", "--digits", "18"),
        "compute: --digits is '18'; a whole number from 1 to 17 is expected",
    ),
    "an unknown command": (("comptue",), "there is no command 'comptue'; did you mean compute?"),
    "an unknown method": (("compute", "--method", "chian"), "there is no method 'chian'"),
    "an unknown format": (("compute", "--input-format", "xml", "a"), "there is no format 'xml'"),
    "a value that is nothing": (("compute", "-W", "1;2"), "-W: there is no file '1;2', nor is it numbers"),
    "a value of nothing": (("compute", "-W", ""), "-W is empty"),
    "a path of nothing": (("compute", ""), "the path of a file is empty"),
    "a value that is too long for a path": (("compute", "-x", "1 " * 3000), "-x: there is no file '1 1 "),
    "loose digits": (("compute", "-x", "1_000"), "-x: there is no file '1_000'"),
    "bytes that are no text": (("compute", "-W", "[\udcff]"), "-W: line 1, column 2: malformed JSON"),
    "a target without brackets": (
        ("compute", "-W", "[[1,2]]", "-x", "1", "-y", "1,0"),
        "is a JSON list: [1,0]",
    ),
    "a huge index": (("compute", "-W", "[[1,2]]", "-x", "1", "-y", "9" * 30), "is out of range"),
    "a broken value": (("compute", "-W", "[[1,2]"), "-W: line 1, column 7: the JSON ends here"),
    "a flat W": (("compute", "-W", "1,2", "-x", "1", "-y", "0"), "-W: W is a list of 2 numbers"),
    "a label beyond": (("compute", "-W", "[[1,2]]", "-x", "1", "-y", "2"), "-y: label 2 is out of range"),
    "a target that is short": (
        ("compute", "-W", "[[1,2]]", "-x", "1", "-y", "[1]"),
        "-y: label has 1 number but",
    ),
    "no label": (
        ("compute", "-W", "[[1,2]]", "-x", "1"),
        "there is no label; a problem needs W, x and label",
    ),
    "a stream in the place of a problem": (
        ("explain", "sample_inputs/stream.ndjson"),
        "NDJSON is a stream of problems, and one is expected here",
    ),
    "a stream as W": (
        ("compute", "-W", "sample_inputs/stream.ndjson", "-x", "1", "-y", "0"),
        "NDJSON is a stream of problems, not a part of one",
    ),
    "a stream as labels": (
        ("compute", "-W", "[[1,2]]", "-x", "1", "--labels", "sample_inputs/stream.ndjson"),
        "NDJSON is a stream of problems, not labels",
    ),
    "a transposed CSV": (("compute", "sample_inputs/seed.csv", "--transpose"), "--transpose does not apply"),
    "a sample of nothing": (
        ("sample", "--inputs", "0"),
        "sample: --inputs is '0'; a whole number from 1 to 1000000 is expected",
    ),
    "a sample in no format": (("sample", "--format", "xml"), "there is no format 'xml'"),
}


def assert_is_one_line(run: Run, arguments: tuple[str, ...], stdin: str | bytes, expected: str) -> None:
    outcome = run(*arguments, stdin=stdin)
    assert outcome.status == 2
    assert outcome.out == ""
    assert outcome.err.startswith("xegrad: ")
    assert outcome.err.count("\n") == 1
    assert expected in outcome.err


def test_json_that_is_told_to_be_csv_is_recognised(run: Run) -> None:
    expected = "in a problem in CSV the header is x, then the class names; this looks like JSON"
    assert_is_one_line(run, ("compute", "-", "--input-format", "csv"), "[[1, 2], [3, 4]]", expected)


@pytest.mark.parametrize(("stdin", "expected"), PROBLEMS.values(), ids=PROBLEMS.keys())
def test_a_bad_problem_is_refused_in_one_line(run: Run, stdin: str, expected: str) -> None:
    assert_is_one_line(run, ("compute", "-", "--json"), stdin, expected)


@pytest.mark.parametrize(("arguments", "expected"), USAGE.values(), ids=USAGE.keys())
def test_bad_usage_is_refused_in_one_line(run: Run, arguments: tuple[str, ...], expected: str) -> None:
    assert_is_one_line(run, arguments, b"", expected)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("1,2x\n3,4\n", "line 1, column 2 is '2x' among numbers"),
        ("cat,dog\n", "there are no numbers below the header"),
        ("1,2\n3\n", "line 2 has 1 cell, but line 1 has 2"),
        ("a;b\n1;2\n", "line 1: found cells separated by semicolons; commas are expected"),
    ],
    ids=["a bad cell", "a header alone", "a ragged table", "semicolons"],
)
def test_a_table_that_is_no_w_is_refused_by_line_and_column(
    run: Run, tmp_path: Path, table: str, expected: str
) -> None:
    """A bad cell does not turn numbers into a header."""
    (tmp_path / "W.csv").write_text(table)
    arguments = ("compute", "-W", str(tmp_path / "W.csv"), "-x", "5", "-y", "0")
    assert_is_one_line(run, arguments, b"", expected)


def test_the_message_names_the_file_and_the_part(run: Run, tmp_path: Path) -> None:
    bad = tmp_path / "x.json"
    bad.write_text("[1, 2, 3, 4]")
    assert_is_one_line(
        run, ("compute", "sample_inputs/seed.json", "-x", str(bad)), b"", f"xegrad: {bad}: x has 4 entries"
    )


@pytest.mark.parametrize(
    ("data", "kind"), [(problem_json().encode("utf-16"), "UTF-16"), (b'{"W": "\xe9"}', "not UTF-8")]
)
def test_an_unreadable_encoding_is_named(run: Run, data: bytes, kind: str) -> None:
    assert_is_one_line(run, ("compute", "-"), data, f"the text is {kind}; save it as UTF-8")


def test_a_gradient_that_is_no_text_is_told_how_numbers_in_memory_are_read(run: Run, tmp_path: Path) -> None:
    (tmp_path / "g.bin").write_bytes(np.full(15, -0.1).tobytes())
    outcome = run("verify", "sample_inputs/seed.json", "--gradient", str(tmp_path / "g.bin"))
    assert outcome.status == 2 and "as --input-format raw:float32" in outcome.err


def test_no_problem_at_a_terminal_shows_the_usage(run: Run) -> None:
    outcome = run("compute", terminal=True)
    assert outcome.status == 2
    assert outcome.out == ""
    assert outcome.err.startswith("Usage: xegrad compute")


def test_no_command_shows_the_help_on_standard_error(run: Run) -> None:
    outcome = run()
    assert outcome.status == 2
    assert outcome.out == ""
    assert outcome.err.startswith("Usage: xegrad")


SEED = "sample_inputs/seed.json"
BATCH = "sample_inputs/batch.json"
JUDGED = ("verify", SEED, "--loss", "1")


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (("comptue", SEED), "compute"),
        (("compute", SEED, "--mehtod", "chain"), "--method"),
        (("compute", SEED, "--method", "shortct"), "shortcut"),
        (("descend", SEED, "--method", "chian"), "chain"),
        (("compute", SEED, "--with-respect-to", "W,bais"), "bias"),
        (("compute", SEED, "--format", "jsn"), "json"),
        (("compute", SEED, "-o", "x.jsn"), ".json"),
        (("compute", SEED, "--input-format", "jso"), "json"),
        (("compute", SEED, "--theme", "drak"), "dark"),
        (("compute", SEED, "--color", "allways"), "always"),
        (("compute", SEED, "--reduction", "men"), "mean"),
        (("compute", SEED, "--dtype", "float46"), "float64"),
        (("compute", BATCH, "-y", "caw"), "cow"),
        (("compute", SEED, "--labels", "sample_inputs/layer.npz:lable"), "label"),
        ((*JUDGED, "--stored-as", "bfloat61"), "bfloat16"),
        ((*JUDGED, "--summation", "pairwis"), "pairwise"),
        ((*JUDGED, "--summation", "block=3"), "blocked=N"),
        ((*JUDGED, "--recipe", "torch-bf16-autocas"), "torch-bf16-autocast"),
        (("explain", SEED, "--step", "logit"), "logits"),
        (("explain", SEED, "--slip", "softmax-twise"), "softmax-twice"),
        (("explain", BATCH, "--entry", "1,dgo"), "dog"),
        (("slips", "softmax-twise"), "softmax-twice"),
        (("sample", "--slip", "softmax-twise"), "softmax-twice"),
        (("sample", "--format", "cvs"), "csv"),
        (("schema", "comptue"), "compute"),
        (("completion", "bsh"), "bash"),
        (("help", "verfy"), "verify"),
    ],
)
def test_a_word_of_a_list_that_is_misspelt_is_told_the_nearest(
    run: Run, arguments: tuple[str, ...], meant: str
) -> None:
    outcome = run(*arguments)
    assert outcome.status == 2
    assert outcome.err.endswith(f"did you mean {meant}?\n")
    assert len(outcome.err) < 250


def test_several_problems_give_several_results_and_the_worst_status(run: Run) -> None:
    right, no = "sample_inputs/layer.npz", "no.json"
    alone = [run("verify", path).out for path in (SEED, right)]
    both = run("verify", SEED, right)
    assert both.status == 0
    headings = [line for line in both.out.splitlines() if line.startswith("── sample_inputs/")]
    assert [line.split()[1] for line in headings] == [SEED, right]
    assert both.out == f"{headings[0]}\n{alone[0]}\n{headings[1]}\n{alone[1]}"
    with_trouble = run("verify", SEED, no, right, "--json")
    assert with_trouble.status == 2
    assert with_trouble.err == "xegrad: no.json: there is no such file\n"
    first, second, third = map(json.loads, with_trouble.out.splitlines())
    assert first["verified"] and third["verified"]
    assert second == {"file": "no.json", "error": "no.json: there is no such file"}
    assert run("verify", SEED, no, "-q") == (2, "", "xegrad: no.json: there is no such file\n")


def test_the_heading_of_one_of_several_fits_the_page(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    path = f"{'sample_inputs/../' * 3}{SEED}"
    headings = [line for line in run("verify", path, path).out.splitlines() if line.startswith("──")]
    assert [len(line) for line in headings] == [40, 40]
    assert all(SEED in line for line in headings)


def test_a_wrong_one_of_several_is_counted(run: Run, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text(problem_json(loss=7))
    assert run("verify", SEED, str(wrong), "--json").status == 1
    assert run("verify", str(wrong), SEED, "--json").status == 1


def test_a_sample_is_a_file_to_edit_or_a_line_of_a_stream(run: Run, tmp_path: Path) -> None:
    lines = [run("sample", "--seed", seed, "--json").out for seed in "123"]
    assert [line.count("\n") for line in lines] == [1, 1, 1]
    file = run("sample", "--seed", "1").out
    assert file.count("\n") > 3
    assert json.loads(file) == json.loads(lines[0])
    (tmp_path / "problems.ndjson").write_text("".join(lines))
    assert run("compute", str(tmp_path / "problems.ndjson"), "-q").status == 0
    assert run("sample", "--json", "--format", "csv").status == 2


def test_json_is_on_one_line_and_indented_where_that_is_asked_for(run: Run) -> None:
    for arguments in (
        ("compute", SEED, "--json"),
        ("schema", "problem"),
        ("slips", "--json"),
    ):
        compact, pretty = run(*arguments).out, run(*arguments, "--pretty").out
        assert compact.count("\n") == 1
        assert pretty.startswith(('{\n  "', "[\n  {"))
        assert json.loads(compact) == json.loads(pretty)


@pytest.mark.parametrize("number", ["1_0", "١", "１０", "1_0.0"])
def test_numbers_are_written_in_ascii(run: Run, number: str) -> None:
    """In options as in files, where Python would take these for 10, 1 and 10."""
    for command, option in (
        ("descend", "--steps"),
        ("descend", "--l2"),
        ("descend", "--learning-rate"),
        ("verify", "--decimals"),
        ("compute", "--digits"),
        ("verify", "--rtol"),
        ("compute", "--ignore-index"),
        ("compute", "--max-memory"),
    ):
        outcome = run(command, "sample_inputs/seed.json", option, number)
        assert outcome.status == 2, option
        assert outcome.err.count("\n") == 1
        assert "expected" in outcome.err


def test_no_format_is_called_nothing(run: Run) -> None:
    outcome = run("compute", "sample_inputs/seed.json", "--format", "")
    assert (outcome.status, outcome.err[:33]) == (2, "xegrad: there is no format ''; th")
