"""What a claim's text or file is read as: its numbers, and which gradient they are of; or why it is refused."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest

from xegrad import InputError, Problem, Targets
from xegrad.claim import Claim, Claimed
from xegrad.formats import claim, printed, raw
from xegrad.formats.claim import Written
from xegrad.problem import Layout

# A text, how many numbers are expected, and its numbers, whether each column has its own decimals, or the refusal.
LINES: list[tuple[str, int | None, Any]] = [
    ("5 6\n7 8", None, [[5, 6], [7, 8]]),
    ("5,6\n7,8\n", None, [[5, 6], [7, 8]]),
    ("5,6,\n7,8,\n\n", None, [[5, 6], [7, 8]]),
    (' "5", 6\n7 ,"8"', None, [[5, 6], [7, 8]]),
    ("a,b\n1,2\n", None, [[1, 2]]),
    ("a b,c=\n1,2\n", None, "row 0, column 0 is 'a b'; a number is expected"),
    ("a b,c.\n1,2\n", None, [[1, 2]]),
    ("-a,b\n1,2\n", None, "row 0, column 0 is '-a'; a number is expected"),
    ("0,1\n5,6\n", None, [[5, 6]]),
    ("0,1\n5,6\n", 2, [[5, 6]]),
    ("0,1\n5,6\n", 4, [[0, 1], [5, 6]]),
    ("1,2\n5,6\n", None, [[5, 6]]),
    ("2,3\n5,6\n", None, [[2, 3], [5, 6]]),
    ("0 1\n5 6\n", None, [[5, 6]]),
    (",a,b\nu,1,2\nv,3,4\n", None, [[1, 2], [3, 4]]),
    (",0,1\n0,1,2\n1,3,4\n", None, [[1, 2], [3, 4]]),
    (",a,b\n1,1,2\n2,3,4\n", None, [[1, 2], [3, 4]]),
    (",a,b\n3,1,2\n2,3,4\n", None, "row 0, column 0 is ''; a number is expected"),
    (",a,b\nu,1,2\nv,3\n", None, "row 0, column 0 is ''; a number is expected"),
    ("a b\nu 1 2\nv 3 4\n", None, [[1, 2], [3, 4]]),
    ("a b\n0 1 2\n1 3 4\n", None, [[1, 2], [3, 4]]),
    ("a,b\nu,1,2\nv,3,4\n", None, [[1, 2], [3, 4]]),
    ("a b\n5 1 2\n7 3 4\n", None, "row 0, column 0 is 'a'; a number is expected"),
    (
        "1 2\n3\n",
        None,
        "gradient[1] has 1 number, but gradient[0] has 2 numbers; all rows must be equally long",
    ),
    ("# a\n1 2", None, "row 0, column 0 is '#'; a number is expected"),
    (" , \n", None, "is empty; a gradient is expected"),
    ("5", None, [[5]]),
    ("G = 5", None, [5]),
    ("loss: -5e-1", None, [-0.5]),
    ("[[1, 2], [3, 4]]", None, [[1, 2], [3, 4]]),
    ("[1, null]", None, [1, np.nan]),
    ("[1, [2]]", None, "gradient mixes numbers and lists; it is one or the other"),
    ("[[1, [2]]]", None, "row 0, column 1 is a list; the gradient has three dimensions or more"),
    ("[[[1]]]", None, "row 0, column 0 is a list; the gradient has three dimensions or more"),
    ("[]", None, "the gradient is empty; numbers are expected"),
    ('[1, "a"]', None, "row 0, column 1 is 'a'; a number is expected"),
    ("[true]", None, "row 0, column 0 is 'True'; a number is expected"),
    ("[1;2]", None, [[1], [2]]),
    ("[1 2; 3 4]", None, [[1, 2], [3, 4]]),
    ("{1, 2}", None, [1, 2]),
    ("{{1, 2}, {3, 4}}", None, [[1, 2], [3, 4]]),
    ("{{{1}}}", None, "has three dimensions or more; one or two are expected"),
    ("array([[1, 2],\n [3, 4]])", None, [[1, 2], [3, 4]]),
    ("[[1 2] [3 4]]", None, [[1, 2], [3, 4]]),
    ("[[1 2], 3, [4 5]]", None, "', 3,' beside the numbers is not understood"),
    ("[np.float64(1.5), np.float64(2)]", None, [1.5, 2]),
    ("Float64Array(2) [ 1, 2 ]", None, [1, 2]),
    ("a =\n\n  1 2\n  3 4\n", None, [[1, 2], [3, 4]]),
    ("a =\n\n   1.0e+03 *\n\n  1 2.5\n", None, [[1000, 2500]]),
    ("a =\n\n   1.0e+03 *\n\n  NaN -Inf\n", None, [[np.nan, -np.inf]]),
    ("Columns 1 and 2:\n 1 2\n 3 4\n Column 3:\n 5\n 6\n", None, [[1, 2, 5], [3, 4, 6]]),
    ("     [,1] [,2]\n[1,]  1  2\n[2,]  3  4\n", None, [[1, 2], [3, 4]]),
    ("     [,1] [,2]\n[1,]  1  2\n     [,3]\n[1,]  5\n", None, [[1, 2, 5]]),
    ("[1] 1 2\n[3] 3", None, [1, 2, 3]),
]


@pytest.mark.parametrize(("text", "size", "expected"), LINES)
def test_a_text_is_its_numbers(text: str, size: int | None, expected: Any) -> None:
    if isinstance(expected, str):
        with pytest.raises(InputError) as raised:
            printed.of_text(text, None, size)
        assert str(raised.value).startswith(expected)
        return
    found = printed.of_text(text, None, size).values
    np.testing.assert_array_equal(found.reshape(np.shape(expected)), np.array(expected, float))


@pytest.mark.parametrize(
    "text",
    [
        "a b\nu 1.12345 2.1234\nv 3.54321 4.4321\n",
        "     [,1] [,2]\n[1,]  1.12345  2.1234\n[2,]  3.54321  4.4321\n",
        "     [,1]\n[1,]  1.12345\n[2,]  3.54321\n     [,2]\n[1,]  2.1234\n[2,]  4.4321\n",
    ],
)
def test_columns_of_pandas_and_of_r_have_decimals_of_their_own(text: str) -> None:
    found = printed.of_text(text)
    assert found.values.tolist() == [[1.12345, 2.1234], [3.54321, 4.4321]]
    last = np.log10(2 * np.asarray(found.reading.resolution)).round(6).tolist()
    assert (last, found.others) == ([[-5, -4], [-5, -4]], ())


TYPES = {
    "Float32[1f0, 2f-1]": "float32",
    "Float16[1.0, 2.0]": "float16",
    "[np.float32(1.5), 2.5]": "float32",
    "tensor([1., 2.], dtype=torch.bfloat16)": "bfloat16",
    "float g[2] = {1, 2};": "float32",
    "double g[] = {1, 2};": "float64",
    "{1.5f, 2.5f}": "float32",
    "1.5f 2.5f": "float32",
    "G =\n\n  1x2 single matrix\n\n   1   2\n": "float32",
    "array([1., 2.])": None,
    "[1, 2]": None,
}


@pytest.mark.parametrize("text", TYPES)
def test_a_text_that_names_a_type_is_of_it(text: str) -> None:
    found = printed.of_text(text)
    assert found.dtype == TYPES[text] and found.values.size == 2


LAYOUT = Layout(transpose=False, is_batch=True)
PROBLEM = Problem(np.zeros((3, 2)), np.zeros((4, 3)), Targets([0, 1, 0, 1]), np.zeros(2), classes=("u", "v"))
W, B = np.arange(6.0).reshape(3, 2), np.arange(2.0)


def text_of(value: Any) -> bytes:
    if isinstance(value, (bytes, str)):
        return value if isinstance(value, bytes) else value.encode()
    return json.dumps(value, default=lambda array: array.tolist()).encode()


def read(*values: Any, names: list[str] | None = None, **fields: Any) -> Claim | str:
    written = [Written(text_of(value), "g", **fields) for value in values]
    try:
        return claim.read(PROBLEM, LAYOUT, names, *written)
    except InputError as error:
        return str(error)


def gradients(result: Claim | str) -> Any:
    if isinstance(result, str):
        return result
    return {name: one.values.tolist() for name, one in result.gradients.items()}


@pytest.mark.parametrize(
    ("values", "names", "expected"),
    [
        ([W], None, {"weights": W}),
        ([W.T], None, {"weights": W.T}),  # turned: that is for the diagnosis
        ([W.ravel()], None, {"weights": W}),
        ([W.reshape(6, 1)], None, {"weights": W}),
        ([np.zeros((2, 2))], None, "g: the gradient is 2 x 2, but 3 x 2 is expected"),
        ([np.zeros((4, 3))], None, "g: the gradient is 4 x 3, but 3 x 2 is expected; this has the shape of dL/dx: "
         "--with-respect-to x"),
        ([B], ["bias"], {"bias": B}),
        ([B], None, "g: the gradient is 2 numbers, but 3 x 2 is expected; this has the shape of dL/db: "
         "--with-respect-to b"),
        ([{"gradient": B, "with_respect_to": "b"}], None, {"bias": B}),
        ([{"gradient": W, "gradients": {"b": B}}], None, {"weights": W, "bias": B}),
        ([{"gradient": W, "gradients": {"W": W, "b": B}}], None, {"weights": W, "bias": B}),
        ([{"gradient": W, "gradients": {"W": W + 1}}], None, "g: gradient and gradients.W differ; which is meant?"),
        ([{"gradients": {"W": W, "b": B}}], ["bias"], {"bias": B}),
        ([{"gradients": {"W": W}}], ["bias"], "there is no gradient of b; there is W"),
        ([{"loss": 1}], ["bias", "weights"], "there is no gradient of b and W; there is none"),
        ([W, {"gradients": {"W": W + 1, "b": B}}], None, {"weights": W, "bias": B}),  # the first counts
        ([{"gradients": [1]}], None, "g: gradients is no object; one of W, b, x, logits is expected"),
        ([{"gradients": {"bias": B}}], None, "g: gradients names 'bias'; the gradients are W, b, x, logits; did you "
         "mean 'b'?"),
        ([{"gradient": B, "with_respect_to": "weights"}], None, "g: with_respect_to names 'weights'; the gradients are "
         "W, b, x, logits; did you mean 'W'?"),
        ([{"gradient": W, "dtype": "float12"}], None, "g: dtype is 'float12'; one of float64, float32, float16, "
         "bfloat16 is expected"),
        ([{"loss": [1, 2]}], None, "g: the loss is made of 2 numbers; one is expected"),
        ([{"lss": 1}], None, "g: 'lss' is no gradient, loss or step; "),
        ([{"method": "chain"}], None, "g: there is no gradient, loss or step; the keys are method"),
        ([{"gradient": W, "method": "chain", "warnings": []}], None, {"weights": W}),
        ([{"gradients": {"b": [[1], [2]]}}], None, {"bias": [1, 2]}),
        ([{"gradients": {"b": [[1, 2], [3, 4]]}}], None, "g: gradients.b: the gradient is 2 x 2, but 2 numbers are "
         "expected"),
        (["u,v\n0,1\n2,3\n4,5\n"], None, {"weights": W}),
        (["# of xegrad\n0,1\n2,3\n4,5\n"], None, {"weights": W}),
    ],
)  # fmt: skip
def test_gradients_are_read_by_their_names_and_shapes(
    values: list[Any], names: list[str] | None, expected: Any
) -> None:
    found = gradients(read(*values, names=names))
    if isinstance(expected, str):
        assert isinstance(found, str) and found.startswith(expected)
    else:
        assert found == {name: np.asarray(array).tolist() for name, array in expected.items()}


def test_a_shape_that_other_gradients_have_is_told_with_the_numbers() -> None:
    one = Problem(np.zeros((3, 3)), np.zeros((1, 3)), Targets([0]), np.zeros(3))
    single = Layout(transpose=False, is_batch=False)

    def fits(shape: tuple[int, ...], name: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
        found = claim.in_shape(Claimed(np.zeros(shape)), one, single, name)
        return found.fits, found.values.shape

    assert fits((3, 3), "weights") == ((), (3, 3))
    assert fits((3,), "bias") == ((), (3,))
    assert fits((1, 3), "bias")[1] == (3,) and fits((9,), "weights")[1] == (3, 3)
    turned = Problem(np.zeros((2, 3)), np.zeros((3, 2)), Targets([0, 1, 2]), np.zeros(3))
    batch = Layout(transpose=False, is_batch=True)
    found = claim.in_shape(Claimed(np.zeros((3, 2))), turned, batch, "weights")
    assert found.fits == ("inputs",) and found.values.shape == (3, 2)


def npz(**arrays: Any) -> bytes:
    out = io.BytesIO()
    np.savez(out, **{key.replace("__", "."): array for key, array in arrays.items()})
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "key", "expected"),
    [
        (npz(anything=W), None, {"weights": W}),
        (npz(gradient=W, other=B), "other", "g: the gradient is 2 numbers, but 3 x 2"),
        (npz(a=W, b=W), "a", {"weights": W}),
        (npz(gradient=W, method=np.array("chain")), None, {"weights": W}),
        (npz(gradients__W=W, gradients__b=B), None, {"weights": W, "bias": B}),
        (npz(gradient=B, with_respect_to=np.array("b")), None, {"bias": B}),
        (npz(gradient=W, q=B), None, "g: 'q' is no gradient, loss or step; what is read is gradients, gradient, loss, "
         "logits, probabilities"),
        (npz(a=W), "c", "g: there is no array 'c'; the arrays are a, and FILE:KEY names one"),
        (b"0,1\n2,3\n4,5\n", "a", "g: this file has no keys, so 'a' names nothing"),
    ],
)  # fmt: skip
def test_arrays_of_a_file_are_gradients_by_their_keys(data: bytes, key: str | None, expected: Any) -> None:
    found = gradients(read(data, key=key))
    if isinstance(expected, str):
        assert isinstance(found, str) and found.startswith(expected)
    else:
        assert found == {name: np.asarray(array).tolist() for name, array in expected.items()}


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_numbers_in_memory_are_of_the_type_that_is_said(dtype: str) -> None:
    found = read(W.astype(f"<{dtype[0]}{int(dtype[5:]) // 8}").tobytes(), dtype=dtype)
    assert isinstance(found, Claim)
    one = found.gradients["weights"]
    assert one.values.tolist() == W.tolist() and one.dtype == dtype and one.reading.resolution == 0
    assert (
        read(b"12345", dtype=dtype)
        == f"g: has 5 bytes, but 3 x 2 numbers of {dtype} have {6 * int(dtype[5:]) // 8}"
    )
    upper = (W.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
    assert raw.of_shape(upper, "bfloat16", (3, 2)).tolist() == W.tolist()
    assert raw.decoded(b"\0" + upper, "bfloat16", 1).tolist() == W.ravel().tolist()
    assert raw.decoded(b"\0" + W.tobytes(), "float64", 1, 17).tolist() == [0.0, 1.0]


def test_the_type_of_an_object_is_that_of_its_numbers_and_a_loss_may_be_null() -> None:
    found = read({"gradient": W, "loss": 0.5, "dtype": "float32"})
    assert isinstance(found, Claim)
    assert found.gradients["weights"].dtype == "float32" and found.loss is not None
    assert found.loss.dtype == "float32" and found.loss.values.tolist() == [0.5]
    null = read("null", of="loss")
    assert isinstance(null, Claim) and null.loss is not None and np.isnan(null.loss.values).all()
    assert read("x", of="loss") == "g is 'x'; a number is expected"
    plain = read(" 0.25 ", of="loss")
    assert isinstance(plain, Claim) and plain.loss is not None and plain.loss.values.tolist() == [0.25]


def test_what_a_problem_brings_is_read_under_its_keys() -> None:
    brought = Written({"gradient": text_of(W), "loss": b"0.5", "gradients": {"b": B}}, "p")
    found = claim.read(PROBLEM, LAYOUT, None, brought)
    assert {*found.gradients} == {"weights", "bias"} and found.loss is not None
    array = claim.read(PROBLEM, LAYOUT, ["bias"], Written(B, "p"))
    assert array.gradients["bias"].values.tolist() == B.tolist()


def test_a_text_in_json_may_hold_other_ends_of_lines() -> None:
    """U+2028 and U+0085, as json.dumps(..., ensure_ascii=False) leaves them."""
    text = '# a remark\r\n{"gradient": [[1, 2]], "id": "a\u2028# b\x85"}\r# another'
    assert printed.without_comments(text) == '\n{"gradient": [[1, 2]], "id": "a\u2028# b\x85"}\n'


def test_the_lines_of_a_remark_are_counted() -> None:
    text = b'# a\n# b\n{"gradient": [[1 2]]}'
    with pytest.raises(InputError, match=r"^f: line 3, column 18: malformed JSON"):
        claim.read(PROBLEM, LAYOUT, None, Written(text, "f"))
