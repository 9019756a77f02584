"""What would take more memory than is allowed is refused before it begins, and what is allowed takes no more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from conftest import Run, problem_json
from xegrad import (
    METHODS,
    Claim,
    Problem,
    Targets,
    XegradError,
    bounds,
    compute,
    derivation,
    diagnose,
    diagnosis,
    max_memory,
    memory,
    verify,
)
from xegrad.errors import InputError
from xegrad.formats import FORMATS, printed
from xegrad.layer import pull_back
from xegrad.methods import Method
from xegrad.tolerance import Tolerance

GRADIENTS = ("weights", "bias", "inputs", "logits")


def problem(n_rows: int, n_inputs: int, n_classes: int, *, soft: bool = False) -> Problem:
    random = np.random.default_rng(1)
    labels = random.integers(0, n_classes, n_rows)
    distributions = random.dirichlet(np.ones(n_classes), n_rows)
    return Problem(
        random.normal(size=(n_inputs, n_classes)),
        random.normal(size=(n_rows, n_inputs)),
        Targets(soft=distributions) if soft else Targets(labels),
    )


def peak(function: Callable[[Problem], object], one: Problem) -> int:
    """The bytes that it holds at a time, what it returns among them; not those of what the first call imports."""
    function(problem(1, 1, 2))
    tracemalloc.start()
    result = function(one)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del result
    return most


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("method", METHODS.values(), ids=lambda method: method.name)
@pytest.mark.parametrize("shape", [(30, 20, 10), (2, 10, 40), (2, 40, 150)])
def test_no_method_takes_more_than_it_says(method: Method, shape: tuple[int, int, int], soft: bool) -> None:
    one = problem(*shape, soft=soft)
    assert peak(lambda one: method.evaluate(one, GRADIENTS), one) <= method.memory(one, GRADIENTS)


@pytest.mark.parametrize("shape", [(2000, 20, 300), (2, 300, 500)])
@pytest.mark.parametrize("method", ["shortcut", "chain"])
def test_no_bound_takes_more_than_it_says(method: str, shape: tuple[int, int, int]) -> None:
    one = problem(*shape)
    most = peak(lambda one: METHODS[method].bound(one, GRADIENTS), one)
    assert most <= METHODS[method].memory_of_bound(one, GRADIENTS)


@pytest.mark.parametrize("names", [GRADIENTS, ("weights",), ("logits",), ()])
@pytest.mark.parametrize("few", [False, True])  # logits at a time
@pytest.mark.parametrize("shape", [(33, 2, 1000), (3, 300, 5)])
@pytest.mark.parametrize("method", ["shortcut", "chain"])
def test_a_bound_takes_a_third_of_what_it_says_at_least(
    method: str,
    shape: tuple[int, int, int],
    few: bool,
    names: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever of it is largest: the logits, those that exist at a time, W and x, or the gradients."""
    for module in (bounds, derivation) if few else ():
        monkeypatch.setattr(module, "AT_A_TIME", 2**13)
        monkeypatch.setattr(module, "IN_CACHE", 2**11)
    most = peak(lambda one: METHODS[method].bound(one, names), problem(*shape))
    assert most <= METHODS[method].memory_of_bound(problem(*shape), names) <= 3 * most


@pytest.mark.parametrize("names", [("weights",), ("inputs",), ("logits",)])
@pytest.mark.parametrize("shape", [(300, 40, 200), (512, 64, 512), (64, 256, 1024)])
def test_a_claim_in_float32_takes_what_is_asked_for_and_not_much_less(
    shape: tuple[int, int, int], names: tuple[str, ...]
) -> None:
    """No exact values are needed, and none are counted: the limit that is named would do, for a wrong claim too, and a
    quarter would not."""
    one = problem(*shape)
    given = METHODS["shortcut"].evaluate(one, names).gradients
    claim = Claim({name: values.astype(np.float32) for name, values in given.items()})
    with max_memory(1), pytest.raises(XegradError) as error:
        verify(one, claim)
    limit = str(error.value).rpartition(" ")[2]
    asked = 1e6 * float(limit.removesuffix("MB"))
    verify(one, claim)  # imports what it needs
    fresh = problem(*shape)
    tracemalloc.start()
    with max_memory(limit):
        verify(fresh, claim)
    most = one.nbytes + tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most <= asked <= 4 * most


@pytest.mark.parametrize(
    ("mistake", "name"), [("sign", "weights"), ("noise", "weights"), ("axis", "weights"), ("axis", "inputs")]
)
def test_a_mistake_is_named_within_what_is_asked_for(mistake: str, name: str) -> None:
    """The size is one of which not all cells exist at a time."""
    one = problem(96, 16, 512)
    softmax = np.exp(one.inputs @ one.weights)
    softmax /= softmax.sum(axis=0)
    softmax[np.arange(96), one.targets.labels] -= 1
    right = METHODS["shortcut"].evaluate(one, (name,)).gradients[name]
    wrong = {
        "sign": -right,
        "noise": np.random.default_rng(2).normal(size=right.shape),
        "axis": pull_back(one, softmax / 96, name),
    }[mistake]
    claim = Claim({name: wrong.astype(np.float32)})
    verify(problem(96, 16, 512), claim)  # imports what it needs
    tracemalloc.start()
    verdict = verify(one, claim)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert bool(verdict.diagnoses[name].names) == (mistake != "noise")
    assert most <= diagnosis.memory(one, [name]) <= 3 * most


def test_a_mistake_in_many_weights_of_few_logits_is_named_within_what_is_asked_for() -> None:
    one = problem(1, 20_000, 10)
    wrong = 2.5 * METHODS["shortcut"].evaluate(one).gradients["weights"]
    exact = METHODS["exact"].evaluate(one)
    most = peak(lambda one: diagnose(one, exact, wrong) if one.n_inputs > 1 else None, one)
    assert most <= diagnosis.memory(one, ["weights"])


def test_a_claim_that_turns_out_to_need_the_exact_values_is_refused_where_they_do_not_fit() -> None:
    """Float64 cannot tell whether its own numbers are within 1e-30 of the exact ones."""
    one = problem(300, 40, 200)
    claim, tolerance = METHODS["shortcut"].evaluate(one).gradients["weights"], Tolerance(rtol=1e-30)

    def refused(one: Problem) -> None:
        with max_memory("20MB"), pytest.raises(XegradError, match=r"20 MB is allowed: .* --max-memory \d+MB"):
            verify(one, claim, tolerance)

    assert bounds.is_large(one)
    refused(one)
    tracemalloc.start()
    refused(one)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most + one.nbytes <= 20e6


def test_the_shortcut_never_holds_all_logits_of_many_rows() -> None:
    """40 MB of logits; with chunks of 1 MB the peak is a few of these."""
    from xegrad.methods import shortcut

    with pytest.MonkeyPatch.context() as patch:
        for name in ("CHUNK", "PRODUCT"):
            patch.setattr(shortcut, name, 2**20)
        assert peak(METHODS["shortcut"].evaluate, problem(20_000, 2, 250)) < 3 * 2**20


@pytest.mark.parametrize(
    "refused",
    [
        lambda one: METHODS["shortcut"].evaluate(one),
        lambda one: METHODS["shortcut"].bound(one),
        lambda one: METHODS["exact"].evaluate(one),
        compute,
        lambda one: verify(one, one.weights),
    ],
)
def test_what_does_not_fit_is_refused_and_a_limit_that_would_do_is_named(
    refused: Callable[[Problem], object],
) -> None:
    one = problem(4, 5, 6)
    with (
        max_memory("1kB"),
        pytest.raises(XegradError, match=r"and 1 kB is allowed: give fewer rows") as error,
    ):
        refused(one)
    with max_memory(str(error.value).rpartition(" ")[2]):
        refused(one)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("compute", "--method", "shortcut"), "out.json"),
        (("compute", "--method", "shortcut", "--with-respect-to", "W,x,logits"), "out.txt"),
        (("compute", "--method", "shortcut"), "out.npy"),
        (("compute", "--method", "shortcut"), "out.csv"),
        (("compute", "--method", "chain,shortcut,exact"), "out.json"),
        (("descend",), "out.json"),
        (("descend", "--learning-rate", "0.1", "--steps", "2"), "out.txt"),
    ],
)
def test_no_command_takes_more_than_it_says(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], name: str
) -> None:
    """Arrays and texts, from the file that is read to the one that is written; code that is imported is not counted."""
    one, path, out = problem(600, 20, 30), tmp_path / "problem.npz", str(tmp_path / name)
    np.savez(path, W=one.weights, x=one.inputs, label=np.asarray(one.targets.labels))
    run(arguments[0], "-", *arguments[1:], "-o", out, stdin=problem_json())
    asked = run(*arguments, str(path), "-o", out, "--max-memory", "1kB").err.split()[-1]
    with max_memory(asked):
        tracemalloc.start()
        outcome = run(*arguments, str(path), "-o", out, "--max-memory", asked)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert outcome.status == 0
    assert most <= 1e6 * float(asked.removesuffix("MB"))


def test_processes_share_what_is_allowed() -> None:
    """Two of them may take half each; what takes more is no error of the caller, who may have all of it alone."""
    with max_memory("1MB"), memory.shared_among(2):
        memory.check(np.empty(0), 500_000)
        with pytest.raises(memory.CrowdedError):
            memory.check(np.empty(0), 600_000)
        with pytest.raises(
            XegradError, match=r"this takes 1\.2 MB .* 1 MB is allowed: .* --max-memory 1\.2MB"
        ):
            memory.check(np.empty(0), 1_200_000)


def test_what_is_needed_is_what_is_held_and_the_largest_step() -> None:
    with max_memory(100):
        memory.check(np.empty(0), 10, 70, 20, held=30)
        with pytest.raises(XegradError, match="this takes 101 B "):
            memory.check(np.empty(0), 10, 70, 20, held=31)


def test_by_default_it_is_half_of_what_is_available(monkeypatch: pytest.MonkeyPatch) -> None:
    """The inputs are there already: with them, half of that and of what is still to be had."""
    monkeypatch.setattr(memory, "available", lambda: 1000 * 2**20)
    memory.check(np.empty(2**17), 499 * 2**20)
    with pytest.raises(XegradError, match=r"this takes 527 MB with W and x, and 525 MB is half of what is"):
        memory.check(np.empty(2**17), 501 * 2**20)


def test_what_is_little_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: 0)
    assert METHODS["shortcut"].evaluate(problem(4, 5, 6)).loss > 0


def test_where_nobody_says_what_is_available_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_text", lambda path: "")
    monkeypatch.setattr("os.sysconf_names", {})
    assert memory.available() is None
    memory.check(np.empty(1), 2**60)


def test_a_group_of_processes_may_have_less_than_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "/proc/meminfo": "MemTotal: 9 kB\nMemAvailable:  5000 kB\n",
        "/sys/fs/cgroup/memory.max": "1024000\n",
        "/sys/fs/cgroup/memory.current": "24000\n",
    }
    monkeypatch.setattr(memory, "_text", lambda path: files.get(path, ""))
    assert memory.available() == 1_000_000
    files["/sys/fs/cgroup/memory.max"] = "max\n"
    assert memory.available() == 5_120_000


@pytest.mark.parametrize(
    ("text", "refuses"),
    [("2GiB", 2**31), ("1.5 gb", 1_500_000_000), ("100", 100), ("7k", 7000), ("1Mi", 2**20)],
)
def test_a_size_has_a_unit_of_thousands_or_of_1024(text: str, refuses: int) -> None:
    with max_memory(text):
        memory.check(np.empty(0), refuses)
        with pytest.raises(XegradError):
            memory.check(np.empty(0), refuses + 1)


@pytest.mark.parametrize("command", ["compute", "verify"])
def test_the_command_refuses_in_one_line(run: Run, command: str) -> None:
    outcome = run(command, "-", "--max-memory", "500", stdin=problem_json())
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.startswith("xegrad: this takes ") and outcome.err.count("\n") == 1
    assert run(command, "-", "--max-memory", "1GiB", stdin=problem_json()).status == 0


def test_a_size_that_is_none_is_refused(run: Run) -> None:
    outcome = run("compute", "-", "--max-memory", "much", stdin=problem_json())
    assert outcome.status == 2
    assert outcome.err == "xegrad: 'much' is no size of memory; one such as 2GiB or 500MB is expected\n"


def test_pages_that_are_freed_are_kept() -> None:
    """A second large array takes no new page, where the C library is glibc; elsewhere nothing is asked for."""
    script = """
import platform, resource, numpy as np
from xegrad import memory
memory.keep_pages()
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
begun = faults(); np.ones(2**22); first = faults() - begun
begun = faults(); np.ones(2**22); second = faults() - begun
assert platform.libc_ver()[0] != "glibc" or second * 4 <= first, (first, second)
"""
    subprocess.run(
        [sys.executable, "-c", script], check=True, env=os.environ | {"NUMPY_MADVISE_HUGEPAGE": "0"}
    )


def _bytes(limit: str) -> float:
    return {"kB": 1e3, "MB": 1e6}[limit[-2:]] * float(limit[:-2])


ROWS_OF_ONE = "[" + ",".join(["[0]"] * 6_000) + "]"
TEXTS: dict[str, tuple[str, str, Callable[[bytes], object]]] = {
    "rows of one": (
        "json",
        f'{{"W":{ROWS_OF_ONE},"x":[1],"label":0}}',
        lambda text: FORMATS["json"].load(text, "f"),
    ),
    "numbers": (
        "json",
        f'{{"W":[[{",".join(["0"] * 15_000)}]],"x":[1],"label":0}}',
        lambda text: FORMATS["json"].load(text, "f"),
    ),
    "keys of an id": (
        "json",
        f'{{"W":[[1,2]],"x":[1],"label":0,"id":{json.dumps(dict.fromkeys(map(str, range(6_000)), 1))}}}',
        lambda text: FORMATS["json"].load(text, "f"),
    ),
    "a table": ("table", "0\n" * 4_000, lambda text: FORMATS["csv"].load(text, "f", "label")),
    "a claim": ("claim", " 0.5" * 2_500, lambda text: printed.of_text(text.decode(), None, 2_500)),
}


def of_text(
    kind: str, data: bytes, read: Callable[[bytes], object], monkeypatch: pytest.MonkeyPatch
) -> tuple[float, int, int]:
    """The bytes that reading a text is said to take, those that it and its text take, and its own."""
    monkeypatch.setattr(memory, "FREE", 0)
    read(data)  # imports what it needs
    with max_memory(1), pytest.raises(InputError, match="to read it takes") as refused:
        memory.Text(kind).add(data)
    asked = _bytes(str(refused.value).rpartition(" ")[2])
    tracemalloc.start()
    read(data)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return asked, len(data) + most, most


@pytest.mark.parametrize(("kind", "text", "read"), TEXTS.values(), ids=TEXTS)
def test_a_text_takes_no_more_than_is_counted_of_it(
    kind: str, text: str, read: Callable[[bytes], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, taken, most = of_text(kind, text.encode(), read, monkeypatch)
    assert taken <= asked <= 8 * most


def claimed(text: bytes) -> None:
    with pytest.raises(InputError):
        printed.of_text(printed.without_comments(text.decode()))


# What is hardly a number, and takes its memory before it is refused.
OTHERS: dict[str, tuple[str, str, Callable[[bytes], object]]] = {
    "labels of signs": ("table", "!\n" * 4_000, lambda text: FORMATS["csv"].load(text, "f", "label")),
    "long labels": (
        "table",
        f"{'a' * 4_000}\n" * 20,
        lambda text: FORMATS["csv"].load(text, "f", "label"),
    ),
    "signs of a problem": (
        "json",
        f'{{"W":[[1,2]],"x":[[1]],"label":{json.dumps(["!"] * 8_000)}}}',
        lambda text: FORMATS["json"].load(text, "f"),
    ),
    "empty cells of a claim": ("claim", f"1{',' * 8_000}1", claimed),
    "empty rows of a claim": ("claim", f"[1{';' * 8_000}]", claimed),
    "signs of a claim": ("claim", "! " * 8_000, claimed),
    "blank lines of a claim": ("claim", "1 2\n" + "\n" * 20_000 + "3\n", claimed),
}


@pytest.mark.parametrize(("kind", "text", "read"), OTHERS.values(), ids=OTHERS)
def test_what_is_no_number_takes_no_more_than_is_counted_of_it(
    kind: str, text: str, read: Callable[[bytes], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, taken, _ = of_text(kind, text.encode(), read, monkeypatch)
    assert taken <= asked


def test_lines_without_cells_take_no_memory() -> None:
    text = b"a,b\n" + b"\n" * 10_000 + b"1,2\n"
    tracemalloc.start()
    assert FORMATS["csv"].load(text, "f", "W").values["W"].tolist() == [[1.0, 2.0]]
    assert FORMATS["csv"].load(b"cat\n" + b"\n" * 10_000 + b"dog\n", "f", "label")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 20 * len(text)


@pytest.mark.parametrize("sizes", [(1, 100, 200), (200, 100, 3), (1000, 3, 3)])
def test_a_sample_takes_no_more_than_it_says(run: Run, sizes: tuple[int, int, int]) -> None:
    rows, inputs, classes = map(str, sizes)
    arguments = ("sample", "--rows", rows, "--inputs", inputs, "--classes", classes)
    refused = run(*arguments, "--max-memory", "1kB")
    assert (refused.status, refused.out) == (2, "")
    limit = refused.err.split()[-1]
    tracemalloc.start()
    outcome = run(*arguments, "--max-memory", limit)
    most = tracemalloc.get_traced_memory()[1] - 4 * len(outcome.out)
    tracemalloc.stop()
    assert outcome.status == 0
    assert most <= _bytes(limit)


def test_a_sample_that_no_machine_holds_is_refused(run: Run) -> None:
    outcome = run("sample", "--rows", "1000000", "--inputs", "1000000", "--classes", "1000000")
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.startswith("xegrad: this problem takes 361 TB, and ")


def test_a_refusal_says_what_the_whole_text_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "FREE", 0)
    piece = b'{"id": [1, 2, 3, 4]}'
    said = []
    for n_bytes in (0, len(piece), 50 * len(piece)):
        with max_memory(1), pytest.raises(InputError) as refused:
            memory.Text("json", n_bytes).add(piece)
        said.append(_bytes(str(refused.value).rpartition(" ")[2]))
    assert said[0] == said[1]  # nobody knows of more
    assert said[2] == pytest.approx(50 * said[0], rel=0.11)  # one digit behind the point, rounded up
