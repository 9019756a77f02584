"""What people have is read as it was printed, or refused: nothing is misread."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import Run, one_line
from seed import LOSS
from xegrad import METHODS, read
from xegrad.claim import Claim, Claimed, Reading
from xegrad.errors import InputError
from xegrad.formats import claim, printed, resolution
from xegrad.numbers.arithmetic import PRECISIONS
from xegrad.problem import Layout

SEED = "sample_inputs/seed.json"
PROBLEM = read(SEED)
G = METHODS["exact"].evaluate(PROBLEM).gradients["weights"]
LAYOUT = Layout(transpose=False, is_batch=False)

Rows = list[list[Any]]


def text_of(rows: Any, form: str, separator: str = " ", line: str = "\n") -> str:
    return line.join(separator.join(format(cell, form) for cell in row) for row in rows)


def half_units(claimed: Claimed) -> Any:
    """Of each number, in powers of ten: the last place that it was read to."""
    with np.errstate(divide="ignore"):
        return np.log10(2 * np.asarray(claimed.reading.resolution)).round(3).tolist()


def read_claim(value: str | bytes, names: list[str] | None = None, asked: Reading | None = None) -> Claim:
    data = value if isinstance(value, bytes) else value.encode()
    return claim.read(PROBLEM, LAYOUT, names, claim.Written(data, "g"), asked=asked)


# How it was printed.


def test_numbers_with_one_last_decimal_are_read_to_it() -> None:
    claimed = printed.of_text("0.01909135 0.39150833 -10.25416214 0.5")
    assert claimed.reading.decimals == 8
    assert half_units(claimed) == [[-8] * 4]
    assert claimed.others == ()


def test_significant_digits_give_each_number_its_own_last_place() -> None:
    claimed = printed.of_text("1.23457e-05 0.0203531 0.391508 313.207 0")
    assert (claimed.reading.digits, claimed.reading.decimals) == (6, None)
    assert half_units(claimed)[0][:4] == [-10, -7, -6, -3]
    assert np.asarray(claimed.reading.resolution)[0, 4] == 0  # 0 has no digits that were cut


def test_digits_that_are_wider_than_what_is_taken_unasked_are_another_reading() -> None:
    """%g drops the zeros of 0.0629000; to seven decimals that is a tenth of what six digits leave open, of 62.9 all."""
    claimed = printed.of_text("0.0190914 62.9 0.391508 0.0203531 101.766")
    assert claimed.reading.decimals == 7
    assert half_units(claimed) == [[-7, -7, -6, -7, -3]]
    (wider,) = claimed.others
    assert wider.digits == 6
    assert np.log10(2 * np.asarray(wider.resolution)).round(3).tolist() == [[-7, -4, -6, -7, -3]]


@pytest.mark.parametrize("decimals", [1, 2, 3])
def test_few_decimals_are_taken_for_exact_and_may_be_rounded(decimals: int) -> None:
    claimed = printed.of_text(text_of(G, f".{decimals}f"))
    assert claimed.reading.decimals is None
    assert claimed.reading.resolution == 0
    assert claimed.others[0].decimals == decimals


@pytest.mark.parametrize("text", ["[[0.0190913516151566, 0.5, 1e-05]]", "1234567890.123 0.5"])
def test_one_number_of_13_digits_makes_all_of_them_exact(text: str) -> None:
    assert printed.of_text(text).reading.resolution == 0


def test_a_zero_that_is_kept_tells_that_no_other_was_dropped() -> None:
    assert printed.of_text("0.500000 0.25").reading.resolution == 0
    assert printed.of_text("0.500000 0.25").others == ()
    assert printed.of_text("0.500000 0.250000 0").reading.decimals == 6


def test_rounded_numbers_with_python_s_exponents_have_one_last_decimal() -> None:
    claimed = printed.of_text(json.dumps([round(x, 9) for x in (0.0190913456, 1.25e-5, 0.1017657242, 2e-6)]))
    assert claimed.reading.decimals == 9
    assert half_units(claimed) == [-9, -9, -9, -9]


def test_a_number_with_an_exponent_leaves_no_more_open_than_its_fellows() -> None:
    """1e-05 among numbers of five digits is 1.0000e-05, and not anything from 0.5e-05 to 1.5e-05."""
    assert half_units(printed.of_text("1e-05 1.2345e-03 2.3456e-04 3.4567e-05"))[0][0] == -9


def test_what_is_asked_for_is_read_so() -> None:
    text = text_of(G, ".3f")
    assert read_claim(text, asked=Reading(decimals=3)).gradients["weights"].reading.decimals == 3
    assert read_claim(text, asked=Reading(digits=3)).gradients["weights"].reading.digits == 3
    assert (
        half_units(read_claim("1.91e-02," * 14 + "1e-3", asked=Reading(decimals=2)).gradients["weights"])[0][
            0
        ]
        == -4
    )
    exact = read_claim(text_of(G, ".8f"), asked=Reading()).gradients["weights"]
    assert (exact.reading.resolution, exact.others, exact.digits) == (0, (), None)


@pytest.mark.parametrize("text", ["1e-05 0.25 0.1", "0.25 3e-04 1.5"])
def test_a_decimal_that_is_asked_for_is_one_last_place_also_beside_exponents(text: str) -> None:
    """Rounding to 5 decimals moves a number by half of 10^-5, whether Python then prints it as 1e-05 or not."""
    reading, _ = resolution.readings(resolution.written(text.split(), (3,)), Reading(decimals=5))
    assert np.allclose(reading.resolution, 0.5e-5, rtol=1e-9, atol=0)


def test_decimals_that_are_asked_for_behind_a_common_power_are_those_that_are_printed() -> None:
    """MATLAB prints 1.0e+03 * 0.0012: a unit of the fourth decimal is 0.1."""
    text = resolution.written(["0.0012", "1.2345"], (2,), power=3)
    reading, _ = resolution.readings(text, Reading(decimals=4))
    assert np.allclose(reading.resolution, 0.05, rtol=1e-9, atol=0)


def test_numbers_with_more_than_what_is_asked_for_were_printed_otherwise() -> None:
    assert read_claim(text_of(G, ".8f"), asked=Reading(decimals=3)).gradients["weights"].reading.decimals == 8


@pytest.mark.parametrize("n", [4, 6, 8, 9, 12])
@pytest.mark.parametrize("form", ["f", "e", "g"])
def test_the_true_numbers_are_within_what_is_read_or_may_be_read(form: str, n: int) -> None:
    """numpy's own digits: 2000 arrays of numbers of many sizes."""
    chance = np.random.default_rng(n)
    for _ in range(200):
        numbers = chance.normal(size=(3, 4)) * 10.0 ** chance.integers(-4, 3, size=(3, 4))
        claimed = printed.of_text(text_of(numbers, f".{n}{form}"))
        readings = (claimed.reading, *claimed.others)
        assert any((np.abs(claimed.values - numbers) <= one.resolution).all() for one in readings)


def test_the_shortest_text_of_a_float32_is_up_to_half_a_unit_of_it_away() -> None:
    """numpy prints the fewest digits that tell a number from its neighbours."""
    sizes = 10.0 ** np.arange(-10, 10).repeat(200)
    numbers = (np.random.default_rng(1).normal(size=4000) * sizes).astype(np.float32)
    claimed = printed.of_text(" ".join(map(str, numbers)))
    off = np.abs(claimed.values[0] - numbers.astype(np.float64))
    assert (off > claimed.reading.resolution).any()
    assert (off <= np.ravel(claimed.left_open(claimed.reading, PRECISIONS["float32"]))).all()
    assert (off <= 2.0**-24 * np.abs(claimed.values[0]) + 2.0**-149).all()


def test_nothing_is_added_for_numbers_that_are_none_or_have_all_their_digits() -> None:
    infinite = printed.of_text("[Infinity, NaN, 0.5]")
    assert (np.asarray(infinite.left_open(infinite.reading, PRECISIONS["float32"]))[:2] <= 2.0**-149).all()
    long = printed.of_text("0.0190913516151566 0.1")
    assert long.left_open(long.reading, PRECISIONS["float32"]) == 0
    assert printed.of_array(np.ones(2)).left_open(Reading(), PRECISIONS["float32"]) == 0


# In which language.

PRINTS: dict[str, tuple[str, str | None]] = {
    "C": ("{" + text_of(G, ".9g", ", ", "}, {").join(["{", "}"]) + "};", None),
    "C, %a": ("\n".join(" ".join(float.hex(cell) for cell in row) for row in G.tolist()), None),
    "MATLAB": ("\nG =\n\n" + text_of(G, "10.4f") + "\n\n", None),
    "MATLAB, single": ("G =\n\n  3×5 single matrix\n\n" + text_of(G, "10.4f"), "float32"),
    "MATLAB, factor": ("G =\n\n   1.0e-01 *\n\n" + text_of(10 * G, "10.4f"), None),
    "MATLAB, columns": (
        "G =\n\n  Columns 1 through 3\n\n"
        + text_of(G[:, :3], "10.4f")
        + "\n\n  Columns 4 through 5\n\n"
        + text_of(G[:, 3:], "10.4f"),
        None,
    ),
    "numpy, under a name": ("grad =\n[[" + text_of(G, ".8f", " ", "]\n [") + "]]", None),
    "mat2str": ("[" + text_of(G, ".15g", " ", ";") + "]", None),
    "R": (
        "           [,1]       [,2]       [,3]\n"
        + "\n".join(f"[{k + 1},] " + text_of([row], ".8f") for k, row in enumerate(G[:, :3]))
        + "\n           [,4]       [,5]\n"
        + "\n".join(f"[{k + 1},] " + text_of([row], ".8f") for k, row in enumerate(G[:, 3:])),
        None,
    ),
    "Julia": ("3×5 Matrix{Float64}:\n" + text_of(G, ".6g"), "float64"),
    "Julia, old": ("3×5 Array{Float32,2}:\n" + text_of(G, ".6g"), "float32"),
    "Julia, show": (
        "Float32[" + text_of(G, ".6g", " ", "; ").replace("0.0157247", "1.57247f-2") + "]",
        "float32",
    ),
    "Rust": ("[[" + text_of(G, ".9g", ", ", "], [") + "]]", None),
    "ndarray": (
        "[["
        + text_of(G, ".9g", ", ", "],\n [")
        + "]], shape=[3, 5], strides=[5, 1], layout=Cc (0x5), const ndim=2",
        None,
    ),
    "JavaScript": ("[\n  [ " + text_of(G, ".9g", ", ", " ],\n  [ ") + " ]\n]", None),
    "JavaScript, typed": (
        "[\n  Float32Array(5) [ " + text_of(G, ".9g", ", ", " ],\n  Float32Array(5) [ ") + " ]\n]",
        None,
    ),
    "torch": ("tensor([[" + text_of(G, ".4f", ", ", "],\n  [") + "]], dtype=torch.float32)", "float32"),
    "TensorFlow": (
        "tf.Tensor(\n[[" + text_of(G, ".8f", " ", "]\n [") + "]], shape=(3, 5), dtype=float64)",
        "float64",
    ),
    "pandas": (
        "          0         1         2         3         4\n"
        + "\n".join(f"{k}  " + text_of([row], ".6f") for k, row in enumerate(G)),
        None,
    ),
}
PRINTS["C, declared"] = (
    "static const float g[3][5] = {{" + text_of(G, ".9g", "f, ", "f}, {") + "f}};",
    "float32",
)
PRINTS["C, literals on lines"] = (text_of(G, ".9g", "f, ", "f,\n") + "f", "float32")
PRINTS["C, %a of float"] = (PRINTS["C, %a"][0].replace(" ", "f ").replace("\n", "f\n") + "f", "float32")
PRINTS["TensorFlow, repr"] = (
    "<tf.Tensor: shape=(3, 5), dtype=float32, numpy=\narray([["
    + text_of(G, ".8f", ", ", "],\n       [")
    + "]], dtype=float32)>",
    "float32",
)
PRINTS["TensorFlow, variable"] = (
    "<tf.Variable 'w:0' shape=(3, 5) dtype=float64, numpy=\narray([["
    + text_of(G, ".8f", ", ", "],\n [")
    + "]])>",
    "float64",
)


@pytest.mark.parametrize("language", PRINTS)
def test_what_a_language_prints_is_read(language: str) -> None:
    """Within what its last digits leave open, and of the type that it names."""
    text, dtype = PRINTS[language]
    claimed = read_claim(text).gradients["weights"]
    assert (np.abs(claimed.values - G) <= np.maximum(claimed.reading.resolution, 1e-14)).all()
    assert claimed.dtype == dtype


def test_numbers_in_hexadecimal_are_exact() -> None:
    claimed = read_claim(PRINTS["C, %a"][0]).gradients["weights"]
    assert (claimed.values == G).all()
    assert claimed.reading.resolution == 0


@pytest.mark.parametrize(
    "text",
    [
        "tensor(1.52793, grad_fn=<NllLossBackward0>)",
        "[1] 1.52793",
        "loss = 1.52793",
        "np.float64(1.52793)",
        "loss =\n\n    1.5279\n",
        "tf.Tensor(1.52793, shape=(), dtype=float64)",
        "<tf.Tensor: shape=(), dtype=float64, numpy=1.52793>",
        "1.5279347f",
    ],
)
def test_one_number_may_be_printed_as_an_array(run: Run, text: str) -> None:
    assert run("verify", SEED, "--loss", text, "-q").status == 0


def test_a_vector_of_r_has_the_index_of_each_line(run: Run) -> None:
    numbers = [f"{number:.8f}" for number in G.ravel()]
    text = " [1] " + " ".join(numbers[:8]) + "\n [9] " + " ".join(numbers[8:])
    assert half_units(printed.of_text(text)) == [-8] * 15
    with pytest.raises(InputError, match="is not understood"):
        printed.of_text(text.replace("[9]", "[8]"))


MATRIX = "[[1.5, 2.5, 3.5], [4.5, 5.5, 6.5]]"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"array({MATRIX}, shape=(3, 2))", "the text says (3, 2), and has 2 x 3 numbers"),
        (f"array({MATRIX}, shape=(6,))", "the text says (6,)"),
        (f"tf.Tensor({MATRIX}, shape=(), dtype=float32)", "the text says ()"),
        ("float g[3][2] = {{1.5f, 2.5f, 3.5f}, {4.5f, 5.5f, 6.5f}};", "the text says [3][2]"),
        ("double g[2][3] = {{1.5, 2.5, 3.5}, {4.5}};", "all rows must be equally long"),
        ("float g[1] = {1.5f}, h[1] = {2.5f};", "', h[1] = {2.5f};'"),
        ("float g[2] = {1.5f, -h[0]};", "is not understood"),
        ("{{1.5, 2.5}, {3.5, 4.5}} / 2", "'/ 2'"),
        ("-{{1.5, 2.5}}", "'-{{1.5, 2.5}}'"),
        ("{1.5, 2.5", "do not close"),
        ("{[1.5, 2.5]}", "is not understood"),
        ("{1.5ff, 2.5}", "'1.5ff'; a number is expected"),
        ("int g[2] = {1, 2};", "is not understood"),
        ("2×3 Matrix{Float64}:\n 1.5 2.5\n 3.5 4.5", "the text says 2×3"),
        ("2×2 Matrix{Float64}:\n 1.5  …  2.5\n 3.5  …  4.5", "abbreviated with '…'"),
        ("2×2 Matrix{Float64}:\n 1.5 2.5\n ⋮ ⋮\n 3.5 4.5", "abbreviated with '⋮'"),
        ("G =\n\n  3×2 single matrix\n\n 1.5 2.5\n 3.5 4.5", "the text says 3×2"),
        ("G =\n\n  Columns 1 through 2\n\n 1.5 2.5\n\n  Columns 4 through 5\n\n 3.5 4.5", "the columns from 4"),
        ("G =\n\n  Columns 1 through 3\n\n 1.5 2.5\n\n  Columns 4 through 5\n\n 3.5 4.5", "the columns from 1"),
        ("G =\n\n  Columns 1 through 2\n\n 1.5 2.5\n\n  Columns 3 through 4\n\n 3.5 4.5\n 5 6", "the columns from 3"),
        ("G =\n\n   1.0e-03 *\n\n 1.5e-03 2.5", "stands behind a power of ten and has one"),
        ("G =\n\n   2.0e-03 *\n\n 1.5 2.5", "a number is expected"),
        ("G =\n", "has a title and no numbers"),
        ("G = \n\n", "has a title and no numbers"),
        ("     [,1] [,2]\n[1,]  1.5   NA\n[2,]  3.5  4.5", "'NA'; a number is expected"),
        ("     [,1] [,2]\n[1,]  1.5  2.5\n[3,]  3.5  4.5", "'[3,] 3.5 4.5'"),
        ("     [,1] [,3]\n[1,]  1.5  2.5\n[2,]  3.5  4.5", "'[,1] [,3]'"),
        ("     [,1] [,2]\n[1,]  1.5  2.5  3.5\n[2,]  3.5  4.5", "the columns from 1"),
        (f"{MATRIX}, shape=[3, 2], strides=[2, 1], layout=Cc (0x5), const ndim=2", "the text says [3, 2]"),
        (f"{MATRIX}, shape=[2, 3]", "', shape=[2, 3]'"),
        ("[ Float32Array(3) [ 1.5, 2.5 ], Float32Array(3) [ 3.5, 4.5 ] ]", "is said to have 3 numbers"),
        ("Float32Array(3) [ 1.5, 2.5 ]", "the text says 3"),
        ("[1.5, 2.5, ... 98 more items]", "abbreviated with '...'"),
        ("[[1.5f-2 2.5]]", "'1.5f-2'; a number is expected"),
        ("tensor(1.5 + 2)", "is not understood"),
        ("tensor(-1.5) * 2", "'* 2'"),
        ("tensor(1.5", "does not close"),
        ("1.5e" + "9" * 5000, "has an exponent of 5000 digits"),
        ("[[1.5e-" + "9" * 5000 + "]]", "has an exponent of 5001 digits"),
        ("0x1p9999 0x1p0", "is no number of float64"),
        ("0x12 1.5", "'0x12'; a number is expected"),
        ("0x1.8p 1.5", "'0x1.8p'; a number is expected"),
        (f"<tf.Tensor: shape=(3, 2), dtype=float32, numpy=array({MATRIX})>", "the text says (3, 2)"),
        (f"<tf.Tensor: shape=(2, 3), dtype=float32, numpy=array({MATRIX})> * 2", "'* 2'"),
        (f"<tf.Tensor: shape=(2, 3), dtype=int32, numpy=array({MATRIX})>", "is not understood"),
        (f"<tf.Tensor: shape=(2, 3), dtype=float32, numpy=array({MATRIX})", "is not understood"),
        ("1.5f-3 2.5f0", "'1.5f-3'; a number is expected"),
        ("0x1.8p-2f5 1.5", "'0x1.8p-2f5'; a number is expected"),
        ("1.5d-3 2.5d-3", "'1.5d-3'; a number is expected"),
        ("1,5 2,5", "'5 2'; a number is expected"),
        ("1_5 2", "'1_5'; a number is expected"),
        ("(1.5+2j) 3", "a number is expected"),
        ("     a    b\n1  1.5  2.5\n3  3.5  4.5", "a number is expected"),
    ],
)  # fmt: skip
def test_what_is_half_understood_is_refused(run: Run, tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "half.txt"
    path.write_text(text, encoding="utf-8")
    outcome = run("verify", SEED, "--gradient", str(path))
    assert (outcome.status, outcome.out) == (2, "")
    assert said in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_line_of_indices_is_a_header_where_the_other_numbers_are_as_many_as_expected() -> None:
    assert printed.of_text("0 1\n0.25 0.75", size=4).values.tolist() == [[0, 1], [0.25, 0.75]]
    assert printed.of_text("0 1\n0.25 0.75", size=2).values.tolist() == [[0.25, 0.75]]


# Everything that a file holds.


def exact_of(*names: str) -> dict[str, Any]:
    symbols = {"W": "weights", "b": "bias", "x": "inputs", "logits": "logits"}
    found = METHODS["exact"].evaluate(PROBLEM, [symbols[name] for name in names]).gradients
    return {name: found[symbols[name]].tolist() for name in names}


def test_all_that_an_object_holds_is_judged(run: Run) -> None:
    every = exact_of("W", "b", "x", "logits")
    value = json.dumps({"gradients": every, "loss": LOSS})
    outcome = run("verify", SEED, "--gradient", value)
    assert outcome.status == 0
    for symbol in every:
        assert f"dL/d{symbol} " in one_line(outcome)
    wrong = json.dumps({"gradients": {**every, "x": [[9, 9, 9]]}})
    assert run("verify", SEED, "--gradient", wrong, "-q").status == 1
    assert run("verify", SEED, "--gradient", wrong, "--with-respect-to", "W,b", "-q").status == 0
    assert (
        run("verify", SEED, "--gradient", json.dumps({"gradient": every["W"], "loss": 9}), "-q").status == 1
    )


def test_a_gradient_is_of_what_the_file_or_the_option_says() -> None:
    bias = exact_of("b")["b"]
    for value, names in (
        ({"gradient": bias, "with_respect_to": "b"}, None),
        ({"gradient": bias}, ["bias"]),
        ({"gradient": bias, "with_respect_to": "b"}, ["bias"]),
    ):
        assert [*read_claim(json.dumps(value), names).gradients] == ["bias"]


@pytest.mark.parametrize(
    ("value", "names", "said"),
    [
        ({"gradient": [[1]], "b": [9, 9]}, None, "'b' is no gradient, loss or step"),
        ({"gradient": [[1]], "los": 1}, None, "did you mean loss?"),
        ({"gradients": {"w": [[1]]}}, None, "gradients names 'w'; the gradients are W, b, x, logits"),
        ({"gradients": [[1]]}, None, "gradients is no object"),
        ({"gradients": {"W": G.tolist()}, "gradient": (2 * G).tolist()}, None, "gradient and gradients.W differ"),
        ({"gradient": G.tolist()}, ["weights", "bias"], "there is no gradient of b; there is W"),
        ({"gradients": {"b": [0] * 5}, "gradient": G.tolist()}, ["inputs"], "there is no gradient of x; there is W, b"),
        ({"gradient": G.tolist(), "with_respect_to": "b"}, ["weights"], "there is no gradient of W; there is b"),
        ({"gradient": G.tolist(), "with_respect_to": "dW"}, None, "with_respect_to names 'dW'"),
        ({"gradient": G.tolist(), "dtype": "float8"}, None, "dtype is 'float8'"),
        ({"gradients": {"b": [0] * 4}}, None, "gradients.b: the gradient is 4 numbers, but 5 are expected"),
        ({"gradients": {"W": None}}, None, "^g: gradients.W: the gradient is null"),
        ({"gradient": [[1]], "with_respect_to": ["b"]}, None, r"with_respect_to names \['b'\]"),
        ({"gradient": G.tolist(), "dtype": ["float32"]}, None, r"dtype is \['float32'\]; one of"),
        ({"schema": "xegrad/compute/1"}, None, "there is no gradient, loss or step; the keys are schema"),
        ({"gradient": None}, None, "the gradient is null"),
    ],
)  # fmt: skip
def test_what_an_object_does_not_say_clearly_is_refused(value: Any, names: Any, said: str) -> None:
    with pytest.raises(InputError, match=said.replace("?", r"\?")):
        read_claim(json.dumps(value), names)


def test_an_array_called_gradients_does_not_vanish_beside_those_that_have_names(
    run: Run, tmp_path: Path
) -> None:
    path = tmp_path / "two.npz"
    arrays: dict[str, Any] = {"gradients.W": G, "gradients": 2 * G}
    np.savez(path, **arrays)
    outcome = run("verify", SEED, "--gradient", path)
    assert outcome.status == 2 and "gradients is an array" in outcome.err


@pytest.mark.parametrize("nothing", ['{"gradients": {}}', '{"gradients": {}, "dtype": "float32"}'])
def test_no_gradient_at_all_is_not_verified(run: Run, nothing: str) -> None:
    outcome = run("verify", SEED, "--gradient", nothing)
    assert outcome.status == 2 and "there is no gradient, loss or step to judge" in outcome.err


@pytest.mark.parametrize("option", ["--decimals", "--digits-printed"])
def test_a_text_printed_to_more_digits_than_any_float_has_is_what_it_is(run: Run, option: str) -> None:
    assert run("verify", SEED, "--gradient", json.dumps(G.tolist()), option, "9" * 18).status == 0


def test_numbers_of_float64_in_hexadecimal_are_none_of_float32(run: Run) -> None:
    """They leave nothing open, so that a wrong one is not explained by a wider bound."""
    wrong = G.copy()
    wrong[0, 1] *= 1 + 2e-6
    text = " ".join(float(number).hex() for number in wrong.flat)
    outcome = run("verify", SEED, "--gradient", "-", "--dtype", "auto", stdin=text)
    assert outcome.status == 1 and "--dtype float32" not in outcome.out


def test_the_dtype_of_an_object_is_that_of_its_numbers() -> None:
    single = json.dumps({"gradient": G.astype(np.float32).tolist(), "dtype": "float32"})
    assert read_claim(single).dtype == "float32"


def test_all_that_a_npz_holds_is_judged(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "all.npz"
    bias = np.array(exact_of("b")["b"])
    arrays: dict[str, Any] = {"gradients.W": G, "gradients.b": bias, "loss": LOSS}
    np.savez(path, **arrays)
    outcome = run("verify", SEED, "--gradient", str(path))
    assert outcome.status == 0
    assert "dL/db" in outcome.out
    np.savez(path, gradient=bias, with_respect_to="b")
    assert run("verify", SEED, "--gradient", str(path), "-q").status == 0
    np.savez(path, gradient=G, b=bias)
    refused = run("verify", SEED, "--gradient", str(path))
    assert refused.status == 2
    assert "'b' is no gradient, loss or step" in refused.err
    assert run("verify", SEED, "--gradient", f"{path}:gradient", "-q").status == 0


def test_what_xegrad_prints_can_be_judged(run: Run) -> None:
    for command in ("compute", "explain"):
        result = run(command, SEED, "--json").out
        assert run("verify", SEED, "--gradient", "-", "-q", stdin=result).status == 0


# Files of numbers.


def bfloat16(array: Any) -> bytes:
    """Rounded to nearest, ties to even: the upper half of float32 (as torch does)."""
    bits = np.ascontiguousarray(array, dtype=np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()


def safetensors_of(**tensors: tuple[str, list[int], bytes]) -> bytes:
    header, data = {}, b""
    for name, (dtype, shape, numbers) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(numbers)]}
        data += numbers
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize(
    ("dtype", "numbers", "stored"),
    [("BF16", bfloat16(G), "bfloat16"), ("F16", G.astype("<f2").tobytes(), "float16")],
)
def test_half_precision_tensors_are_read_and_say_so(
    run: Run, tmp_path: Path, dtype: str, numbers: bytes, stored: str
) -> None:
    path = tmp_path / "g.safetensors"
    path.write_bytes(safetensors_of(gradient=(dtype, [3, 5], numbers)))
    outcome = run("verify", SEED, "--gradient", str(path))
    assert outcome.status == 0
    assert f"stored as {stored}" in one_line(outcome)


@pytest.mark.parametrize(
    "broken",
    [
        safetensors_of(gradient=("BF16", [3, 5], bfloat16(G)))[:-1],
        safetensors_of(gradient=("BF16", [3, 6], bfloat16(G))),
        safetensors_of(gradient=("BF16", [-3, -5], bfloat16(G))),
        safetensors_of(gradient=("F8_E5M2", [3, 5], bytes(15))),
        struct.pack("<Q", 10**6) + b"{",
    ],
)
def test_safetensors_that_are_broken_are_refused(run: Run, tmp_path: Path, broken: bytes) -> None:
    path = tmp_path / "g.safetensors"
    path.write_bytes(broken)
    outcome = run("verify", SEED, "--gradient", str(path))
    assert (outcome.status, outcome.err.count("\n")) == (2, 1)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_raw_numbers_are_read_in_the_type_that_is_said(run: Run, tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "g.bin"
    path.write_bytes(
        bfloat16(G) if dtype == "bfloat16" else G.astype(np.dtype(dtype).newbyteorder("<")).tobytes()
    )
    arguments = ("verify", SEED, "--gradient", str(path), "--input-format")
    assert run(*arguments, f"raw:{dtype}", "-q").status == 0
    other = "float32" if dtype != "float32" else "float64"
    refused = run(*arguments, f"raw:{other}")
    assert refused.status == 2
    assert f"3 x 5 numbers of {other} have {60 if other == 'float32' else 120}" in refused.err


def test_raw_numbers_are_a_gradient_and_no_problem(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "w.bin"
    path.write_bytes(b"1" * 60)
    refused = run("compute", "-W", str(path), "-x", "1,2,3", "-y", "0", "--input-format", "raw:float32")
    assert refused.status == 2
    assert refused.err.count("\n") == 1


class Evil:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return print, ("it ran",)


@pytest.mark.parametrize("name", ["g.pkl", "g.pt", "g.pth", "g"])
def test_a_pickle_is_never_read_and_the_line_that_converts_it_is_given(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    problem = str(Path(SEED).resolve())
    monkeypatch.chdir(tmp_path)
    for path, named in ((name, name), (f"$(id)'{name}", "FILE"), (f"{'long' * 12}{name}", "FILE")):
        Path(path).write_bytes(pickle.dumps(Evil()))
        outcome = run("verify", problem, "--gradient", path)
        assert (outcome.status, outcome.out, outcome.err.count("\n")) == (2, "", 1)
        assert "numpy.save('gradient.npy', " in outcome.err
        assert f"'{named}'" in outcome.err
        assert "it ran" not in outcome.err


def test_what_torch_saves_is_a_pickle(run: Run, tmp_path: Path) -> None:
    """Its files are ZIP files, with a pickle in them."""
    with zipfile.ZipFile(tmp_path / "g", "w") as archive:
        archive.writestr("g/data.pkl", b"\x80\x02.")
    outcome = run("verify", SEED, "--gradient", str(tmp_path / "g"))
    assert outcome.status == 2
    assert "torch').load(" in outcome.err


def test_what_else_the_file_of_w_holds_is_told(run: Run) -> None:
    linear = "sample_inputs/linear.safetensors"
    told = run("compute", "-W", linear, "-x", "1,2,3,4", "-y", "0")
    assert told.err == f"xegrad: {linear} also holds bias, not used here\n"
    assert told.status == 0
    assert run("compute", "-W", linear, "-b", linear, "-x", "1,2,3,4", "-y", "0").err == ""


def test_decimals_and_digits_are_not_both_said(run: Run) -> None:
    outcome = run("verify", SEED, "--gradient", "[1]", "--decimals", "3", "--digits-printed", "3")
    assert outcome.status == 2
    assert "--decimals and --digits-printed" in outcome.err


# Of a number as it is written: digits from the first that is not 0, those without zeros at the end, decimals, the power
# of ten, and whether it has one of its own, keeps a zero that could have been dropped, and is a decimal number.
WRITTEN: dict[str, tuple[Any, ...]] = {
    "0.0120": (3, 2, 4, 0, False, True, True),
    "-1.5e-3": (2, 2, 1, -3, True, False, True),
    "+100": (3, 1, 0, 0, False, False, True),
    "1.0": (2, 1, 1, 0, False, False, True),
    "12.50E+07": (4, 3, 2, 7, True, True, True),
    "0": (0, 0, 0, 0, False, False, True),
    "0e5": (0, 0, 0, 5, True, False, True),
    "0.000": (0, 0, 3, 0, False, True, True),
    "nan": (0, 0, 0, 0, False, False, False),
    "-inf": (0, 0, 0, 0, False, False, False),
    "0x1.8p+3": (0, resolution.TELLS_ALL, 0, 0, False, False, False),
}


def test_digits_decimals_and_zeros_are_counted_as_they_stand() -> None:
    text = resolution.written([*WRITTEN], (len(WRITTEN),))
    parts = (text.digits, text.significant, text.decimals, text.power)
    flags = (text.has_power, text.keeps_zeros, text.is_decimal)
    assert (
        dict(zip(WRITTEN, zip(*(part.tolist() for part in (*parts, *flags)), strict=True), strict=True))
        == WRITTEN
    )
    assert (text.fixed, text.most_digits, text.most_decimals) == (-4, 4, 4)
    assert resolution.written(["0e-9", "1.5", "nan"], (3,)).fixed == -1
    assert resolution.written(["1.5", "2.25"], (2,), power=-3).fixed == -5


def test_what_printing_leaves_open_is_half_a_unit_and_two_roundings() -> None:
    """10^k / 2 + 2^-52 10^m, where 10^m is more than the number (5.9); of what is no decimal number nothing."""
    text = resolution.written(["0.0120", "-1.5e-3", "100", "0", "0e5", "nan"], (6,))
    expected = [(-4, -1), (-4, -2), (0, 3), (0, 0)]
    halves = [10.0**k / 2 + 2.0**-52 * 10.0**m for k, m in expected]
    np.testing.assert_allclose(text.half_a_unit(text.last), [*halves, 0, 0], rtol=1e-14)
    of_two = [(-3, -1), (-4, -2), (1, 3)]
    halves = [10.0**k / 2 + 2.0**-52 * 10.0**m for k, m in of_two]
    np.testing.assert_allclose(text.to_digits(2), [*halves, 0, 0, 0], rtol=1e-14)
