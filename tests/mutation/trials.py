"""Mutants tried: the tests are collected once, and each mutant runs those that reach it in a forked process.

What each test reaches is found first, by marks in the code.  A mutant in a function takes the place of the code of that
function; for one outside of all functions the package and some tests are imported anew.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import gc
import os
import pickle
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType, MappingProxyType
from typing import Any, NamedTuple

import hypothesis
import hypothesis.extra.numpy  # what the tests import, imported before the fork
import mpmath  # noqa: F401
import numpy as np
import pytest
import rich.console  # noqa: F401
import typer  # noqa: F401
from mutants import SOURCE, Mutant, function_code, module_code, with_marks
from numpy.typing import NDArray

EXAMPLES = 25  # of hypothesis at most, always the same
# What runs in processes of its own, where no mutant is, and looks of things.
LEFT_OUT = (
    *("completion", "help", "imports", "pictures", "readme", "stream", "heatmap", "plot", "inert", "width"),
    *("places", "workers", "writing"),
)
COMMAND = [
    *("-m", "not imports", "-s", "--tb=no"),
    *(f"--ignore=tests/test_{name}.py" for name in LEFT_OUT),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
]
SOME_FILES = 3  # of tests, tried before the others where these must be imported anew
UNFINISHED = "unfinished"  # no test noticed in the time there was


class Reached(NamedTuple):
    """What one test reaches."""

    seconds: float
    blocks: frozenset[tuple[str, int]]  # file below src/xegrad, line


Map = dict[str, Reached]  # of the names of the tests


class Index:
    """The same the other way around: the tests that reach a block, or a file."""

    def __init__(self, reached: Map, changed: Set[str] = frozenset()) -> None:
        self.changed = changed
        self.passes_anew: dict[str, bool] = {}  # tests, or files that are imported, without any mutant
        self.names = [*reached]
        self.seconds = np.array([test.seconds for test in reached.values()])
        self.number = {name: k for k, name in enumerate(self.names)}
        of_blocks: dict[tuple[str, int], list[int]] = defaultdict(list)
        of_files: dict[str, Counter[int]] = defaultdict(Counter)
        for k, test in enumerate(reached.values()):
            for block in test.blocks:
                of_blocks[block].append(k)
                of_files[block[0]][k] += 1
        sizes = np.array([max(1, len(test.blocks)) for test in reached.values()])
        self.of_blocks = {block: np.array(tests, dtype=np.uint16) for block, tests in of_blocks.items()}
        # What part of all that a test reaches is in the file.
        self.shares = {file: np.zeros(len(sizes)) for file in of_files}
        for file, counts in of_files.items():
            which = np.array([*counts])
            self.shares[file][which] = np.array([*counts.values()]) / sizes[which]

    def order(self, mutant: Mutant, kills: Mapping[str, int] = MappingProxyType({})) -> list[str]:
        """The tests that reach a mutant, or its file if it is outside of all functions; those first that are likely to
        notice for the time they take: what has caught others of the file, and what reaches little else."""
        promise = self.shares.get(mutant.file, np.ones(len(self.names))).copy()
        which: NDArray[Any] = np.flatnonzero(promise)
        if mutant.function and mutant.file not in self.changed:
            which = self.of_blocks.get((mutant.file, mutant.block), which)
        for name, count in kills.items():
            promise[self.number[name]] += count
        promise /= self.seconds + 0.005
        return [self.names[k] for k in which[np.argsort(-promise[which], kind="stable")]]


Told = Callable[[Mutant, str], None]  # the test that catches a mutant, or "" or UNFINISHED


def what_tests_reach(known: Map) -> Map:
    """Of each test that is not known yet: nothing of one that fails even so, or has processes of its own."""
    more: Map = _in_child(lambda: _session(_Marks(known)).map)
    return known | more


def try_all(mutants: Sequence[Mutant], reached: Map, seconds: float, told: Told, changed: Set[str]) -> None:
    """Each mutant against the tests that reach it, for so many seconds of the processor at most.

    Or against those that reach its file, if that has changed since what they reach was found.
    """
    index = Index(reached, changed)
    in_functions = [mutant for mutant in mutants if mutant.function]
    if in_functions:
        _in_child(lambda: _session(_Trials(in_functions, index, seconds, told)) and None, is_quiet=False)
    for mutant in mutants:
        if not mutant.function:
            told(mutant, _try_anew(mutant, index, seconds))


def _try_anew(mutant: Mutant, index: Index, seconds: float) -> str:
    """The test that catches a mutant outside of all functions: in a process that imports the package with it."""
    order, code = index.order(mutant), module_code(mutant)
    files = list(dict.fromkeys(_file_of(name) for name in order))
    for some in (files[:SOME_FILES], files[SOME_FILES:]):
        while some and (caught := _anew(mutant.file, code, order, some, index, seconds)):
            if caught == UNFINISHED or _passes_anew(caught, some, index):
                return caught
            order.remove(caught)  # a test, and no import: these are the same with any mutant
    return ""


def _passes_anew(name: str, files: Sequence[str], index: Index) -> bool:
    """Whether a test passes in a new process without any mutant too, or the tests are imported, if it is that."""
    is_test = name in index.number
    key = name if is_test else " ".join(files)
    if key not in index.passes_anew:
        tests, files = ([name], [_file_of(name)]) if is_test else ([], files)
        index.passes_anew[key] = not _anew("", None, tests, files, index, 60)
    return index.passes_anew[key]


def _file_of(test: str) -> str:
    return test.split("::")[0]


def _anew(
    file: str, code: CodeType | None, order: list[str], files: Sequence[str], index: Index, seconds: float
) -> str:
    """Which of some tests fails first where the code of a file is another; or that they cannot be imported."""
    usual = SourceFileLoader.get_code

    def get_code(self: SourceFileLoader, name: str) -> Any:
        return code if self.path == str(SOURCE / file) else usual(self, name)

    def trial() -> str:
        SourceFileLoader.get_code = get_code  # type: ignore[assignment, method-assign]
        plugin = _session(_OneTrial(order, index, seconds), files)
        return plugin.caught if plugin.has_run else "an import"

    caught = _in_child(trial)
    return "an import, or time" if caught is None else caught


def _session(plugin: Any, files: Sequence[str] = ()) -> Any:
    sys.argv[1:] = []
    pytest.main([*COMMAND, f"--basetemp={tempfile.mkdtemp()}", *files], plugins=[plugin])
    return plugin


class _Failures:
    """Which test has failed first."""

    caught = ""
    has_run = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.caught = self.caught or report.nodeid

    def run(self, item: pytest.Item) -> bool:
        """Whether it passes."""
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        return not self.caught

    def run_until_caught(self, items: Iterable[pytest.Item], index: Index, seconds: float) -> str:
        self.has_run = True
        began = time.process_time()
        for item in items:
            usual = index.seconds[index.number[item.nodeid]]
            signal.setitimer(signal.ITIMER_PROF, 5 + 10 * usual)  # of the processor
            signal.setitimer(signal.ITIMER_REAL, 60 + 100 * usual)
            if not self.run(item):
                break
            if time.process_time() - began > seconds:
                self.caught = UNFINISHED
                break
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        return self.caught


class _Marks(_Failures):
    """In place of the tests alone: the tests, and the blocks that each reaches."""

    def __init__(self, known: Map) -> None:
        self.known, self.map = known, Map()

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        _few_examples(session.items)
        blocks: set[tuple[str, int]] = set()
        builtins.reached = blocks.add  # type: ignore[attr-defined]
        for (file, name, first_line), functions in _functions().items():
            code = function_code(with_marks(file), name, first_line)
            for function in functions:
                function.__code__ = code
        for item in session.items:
            if item.nodeid in self.known:
                continue
            blocks.clear()
            began, self.caught = time.process_time(), ""
            passed = self.run(item)
            self.map[item.nodeid] = Reached(time.process_time() - began, frozenset(blocks if passed else ()))
        return True


class _OneTrial(_Failures):
    def __init__(self, order: list[str], index: Index, seconds: float) -> None:
        self.order, self.index, self.seconds = order, index, seconds

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        _few_examples(session.items)
        items = {item.nodeid: item for item in session.items}
        self.run_until_caught((items[name] for name in self.order if name in items), self.index, self.seconds)
        return True


class _Trials(_Failures):
    """In place of the tests: each mutant in a process of its own, with the tests that reach it."""

    def __init__(self, mutants: Sequence[Mutant], index: Index, seconds: float, told: Told) -> None:
        self.mutants, self.index, self.seconds, self.told = mutants, index, seconds, told

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        _few_examples(session.items)
        base = session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
        items = {item.nodeid: item for item in session.items}
        functions, caches = _functions(), _caches()
        gc.collect()
        gc.freeze()
        kills: dict[str, Counter[str]] = defaultdict(Counter)
        for mutant in self.mutants:
            order = self.index.order(mutant, kills[mutant.file])
            tests = [items[name] for name in order if name in items]
            module, place = module_code(mutant), (mutant.file, mutant.function, mutant.first_line)
            # And the functions in it that are there already, as a decorator makes them.
            inside = [
                other
                for other in functions
                if other[0] == place[0] and other[1].startswith(f"{place[1]}.<locals>.")
            ]
            codes = {other: function_code(module, *other[1:]) for other in (place, *inside)}

            def trial(codes: Any = codes, tests: list[pytest.Item] = tests) -> str:
                for other, code in codes.items():
                    for function in functions[other]:
                        function.__code__ = code
                for cache in caches:  # what was computed when the tests were imported
                    cache.cache_clear()
                return self.run_until_caught(tests, self.index, self.seconds)

            caught = _in_child(trial)
            if caught in items:
                kills[mutant.file][caught] += 1
            self.told(mutant, "time" if caught is None else caught)
            for path in base.iterdir():
                shutil.rmtree(path, ignore_errors=True)
        return True


def _few_examples(items: Sequence[pytest.Item]) -> None:
    """Hypothesis with few examples, the same ones every time, and none made smaller."""
    for item in items:
        test = getattr(item, "obj", None)
        test = getattr(test, "__func__", test)
        usual = getattr(test, "_hypothesis_internal_use_settings", None)
        if usual is not None:
            test._hypothesis_internal_use_settings = hypothesis.settings(  # type: ignore[union-attr]
                usual,
                max_examples=min(usual.max_examples, EXAMPLES),
                derandomize=True,
                database=None,
                phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
            )


def _functions() -> dict[tuple[str, str, int], list[FunctionType]]:
    """The functions of the package, also those that something wraps, by where they are."""
    functions = defaultdict(list)
    for one in gc.get_objects():
        if isinstance(one, FunctionType) and one.__code__.co_filename.startswith(f"{SOURCE}/"):
            code = one.__code__
            if "<lambda>" in code.co_qualname:  # several may be in one line
                continue
            file = code.co_filename.removeprefix(f"{SOURCE}/")
            functions[file, code.co_qualname, code.co_firstlineno].append(one)
    return functions


def _caches() -> list[Any]:
    """The functions of the package that keep what they return."""
    kept = [one for one in gc.get_objects() if isinstance(one, functools._lru_cache_wrapper)]
    return [one for one in kept if one.__module__.split(".")[0] == SOURCE.name]


def _in_child(work: Callable[[], Any], is_quiet: bool = True) -> Any:
    """What `work` returns in a forked process; None if that ends in any other way."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder, "answer")
        pid = os.fork()
        if not pid:
            _work_and_leave(work, answer, is_quiet)
        _, status = os.waitpid(pid, 0)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        return pickle.loads(answer.read_bytes()) if not status else None


def _work_and_leave(work: Callable[[], Any], answer: Path, is_quiet: bool) -> None:
    status, errors = 1, os.fdopen(os.dup(2), "w")
    try:
        os.setsid()
        if is_quiet:
            for number in (0, 1, 2):
                os.dup2(os.open(os.devnull, os.O_RDWR), number)
        for one in (signal.SIGPROF, signal.SIGALRM):
            signal.signal(one, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))
        answer.write_bytes(pickle.dumps(work()))
        status = 0
    except BaseException:
        traceback.print_exc(file=errors)
        errors.flush()
    finally:
        os._exit(status)
