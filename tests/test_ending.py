"""How the process ends: by a bug, by a signal at any moment, without memory, without standard output."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from conftest import ROOT, Shell
from xegrad import bugs

SEED = "sample_inputs/seed.json"

# The command of sys.argv in children of one process, which saves most of their start.  What happens in each is a line
# of Python, run before; its status and its standard error are printed.
EACH = """
import os, signal, sys
what, *arguments = sys.argv[1:]
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # also where the tests run by nohup
class At:  # where a module begins to be imported
    def __init__(self, name, do):
        self.name, self.do = name, do
    def find_spec(self, name, *_):
        if name == self.name:
            self.do()
def at(name, do):
    sys.meta_path.insert(0, At(name, do))
def kill(number):
    return lambda: os.kill(os.getpid(), number)
def fail(error):
    raise error
for line in what.splitlines():
    ours, theirs = os.pipe()
    if not (child := os.fork()):
        os.dup2(theirs, 2)
        sys.argv = ["xegrad", *arguments]
        exec(line)
        from xegrad.__main__ import run
        run()
    os.close(theirs)
    text = b""
    while more := os.read(ours, 4096):
        text += more
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), ascii(text.decode()))
"""


def ends(what: list[str], *arguments: str) -> list[tuple[int, str]]:
    """The status and standard error of a command for each thing that happens to it."""
    done = subprocess.run(
        [sys.executable, "-c", EACH, "\n".join(what), *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
    )
    lines = [line for line in done.stdout.splitlines() if re.match(r"-?\d+ '|-?\d+ \"", line)]
    return [(int(status), eval(err)) for status, err in (line.split(" ", 1) for line in lines)]


MODULES = (
    "typer",
    "xegrad.cli.compute",
    "msgspec",
    "numpy",
    "numpy.linalg",
    "xegrad.formats.json",
    "rich.console",
)


# What is said of one is a line once the command itself runs, and nothing before.
QUIETLY = ("", "xegrad: interrupted\n")


def test_an_interruption_at_any_import_has_its_status_and_no_traceback() -> None:
    """Numpy makes an ImportError of what interrupts its import, and where it lies in a destructor Python loses it."""
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    cases = [(name, numbers[place % 3]) for place, name in enumerate(MODULES)]
    what = [f"at({name!r}, kill({int(number)}))" for name, number in cases]
    ended = ends(what, "compute", SEED)
    assert [status for status, _ in ended] == [128 + number for _, number in cases]
    assert {said for _, said in ended} == {*QUIETLY}


def test_an_interruption_before_the_command_runs_is_silent_too() -> None:
    """While `signal` is imported, and after the import, where the script that pip writes has more to do."""
    signals = "signal.signal(2, signal.default_int_handler)"
    what = [
        f"{signals}; del sys.modules['signal']; at('signal', kill(2))",
        f"{signals}; import xegrad.__main__; kill(2)()",
        "signal.signal(2, signal.SIG_IGN); import xegrad.__main__; kill(2)()",
    ]
    assert ends(what, "compute", SEED, "-q") == [(-2, ""), (-2, ""), (0, "")]


def test_a_second_signal_does_not_interrupt_the_tidying_up() -> None:
    twice = "os.kill(os.getpid(), 2), os.kill(os.getpid(), 15)"
    lost = "type('Lost', (), {'__del__': lambda _: os.kill(os.getpid(), 2)})()"
    what = [
        f"at('numpy', lambda: ({twice}))",
        f"import xegrad.cli as c; c.main = lambda _: [0 for _ in iter(lambda: c and ({twice}), 1)]",
        f"import xegrad.cli as c, time; c.main = lambda _: ({lost} and 0, time.sleep(9))",
    ]
    ended = ends(what, "compute", SEED)
    assert [status for status, _ in ended] == [130] * 3
    assert {said for _, said in ended} <= {*QUIETLY}


def test_what_nobody_foresaw_is_one_line_that_asks_for_a_report() -> None:
    what = [
        "import xegrad.cli.schema as s; s.choice = None",
        "at('xegrad.cli.schema', lambda: fail(ZeroDivisionError()))",
        "at('xegrad.cli.help', lambda: fail(RuntimeError('two\\nlines')))",
        "at('typer', lambda: fail(SystemError('no traceback')))",
        "import xegrad.cli as c; c.main = None; os.environ['XEGRAD_DEBUG'] = '1'",
        "at('msgspec', lambda: fail(MemoryError()))",
        "at('msgspec', lambda: fail(RecursionError()))",
        "at('typer', lambda: fail(MemoryError()))",
        "at('typer', lambda: fail(MemoryError())), at('xegrad.bugs', lambda: fail(MemoryError()))",
        "at('typer', lambda: fail(MemoryError())), at('xegrad.bugs', lambda: fail(OSError(24, '')))",
        "at('typer', lambda: fail(RuntimeError(\"can't start new thread\")))",
        "at('typer', lambda: fail(ModuleNotFoundError('no', name='typer')))",
        "at('msgspec', lambda: fail(OSError(24, 'Too many open files', 'x.py')))",
        "at('typer', lambda: fail(ImportError('libx.so: failed to map segment from shared object')))",
        "import xegrad.cli as c, errno; "
        "c.app = lambda *_, **__: fail(BlockingIOError(errno.EAGAIN, 'no more'))",
    ]
    report = r"xegrad: this is a bug, please report it: {} at {}:\d+\n"
    expected = [
        (3, report.format("TypeError", "cli/schema.py")),
        (3, report.format("ZeroDivisionError", "cli/__init__.py")),
        (3, report.format("RuntimeError", "cli/__init__.py")),
        (3, report.format("SystemError", "cli/__init__.py")),
        (3, r"Traceback (.|\n)*TypeError: 'NoneType' .*\n" + report.format("TypeError", "__main__.py")),
        (2, "xegrad: there is not enough memory; give fewer rows, or say with --max-memory what there is\n"),
        (2, "xegrad: something that was given is nested too deeply; .*\n"),
        (2, "xegrad: there is not enough memory to begin\n"),
        (2, "xegrad: there is not enough memory to begin\n"),
        (2, "xegrad: no more files may be opened; raise ulimit -n\n"),
        (2, "xegrad: no thread can be started; .*\n"),
        (2, "xegrad: typer is not installed; pip install xegrad installs what it needs\n"),
        (2, "xegrad: x.py: Too many open files\n"),
        (2, "xegrad: cannot be started: libx.so: failed to map segment from shared object\n"),
        (2, "xegrad: no process can be started; raise ulimit -u, or end other processes\n"),
    ]
    for (status, err), (meant, pattern) in zip(ends(what, "schema", "compute"), expected, strict=True):
        assert status == meant
        assert re.fullmatch(pattern, err)


def test_the_script_itself_takes_no_place_of_a_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the name that it has for processes that are started by multiprocessing, too."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    module = ModuleType("random")
    module.__file__ = str(tmp_path / "random.py")
    for name, place in {"__main__": "", "__mp_main__": "", "random": module.__file__}.items():
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, name, module)
            assert bugs.stray(ValueError()) == place


@pytest.mark.imports
def test_a_file_in_place_of_a_module_is_named(tmp_path: Path) -> None:
    """Whether it cannot be run, cannot be read, or lacks what is asked of it; elsewhere it says nothing."""
    for name, text in {"random": "1 / 0", "typer": "def", "msgspec": ""}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.py").write_text(text)
    names = ("random", "typer", "msgspec")
    what = [f"os.chdir({str(tmp_path / name)!r})" for name in names]
    said = "was imported in place of another module of its name; rename it, or go to another folder"
    expected = [(2, f"xegrad: {tmp_path / name / name}.py {said}\n") for name in names]
    assert ends(what, "sample", "--rows", "3") == expected


def test_a_process_that_it_starts_imports_nothing_from_the_current_folder(tmp_path: Path) -> None:
    """As multiprocessing starts them: by -c, where Python looks in the current folder first."""
    (tmp_path / "stray.py").touch()
    start = "subprocess.run([sys.executable, '-c', 'import stray'], stderr=subprocess.DEVNULL).returncode"
    what = f"os.chdir({str(tmp_path)!r}); import subprocess, xegrad.cli as c; c.main = lambda _: {start}"
    assert ends([what], "compute") == [(1, "")]


def test_python_itself_says_nothing_on_standard_error() -> None:
    what = [
        "import warnings; at('msgspec', lambda: warnings.warn('you see this'))",
        "at('msgspec', lambda: type('Bad', (), {'__del__': lambda _: 1 / 0})())",
    ]
    assert ends(what, "schema", "compute") == [(0, "")] * 2


@pytest.mark.skipif(sys.platform != "linux", reason="limits of addresses are those of Linux")
def test_a_limit_of_addresses_is_said_before_anything_is_loaded(shell: Shell) -> None:
    """An OpenBLAS that gets too few ends the process by itself, with status 1 and a line of its own; an import of
    Python 3.11 that gets none may go on for ever."""
    for limit in (*range(30_000, 48_000, 4_000), 100_000, 170_000):
        outcome = shell(f"ulimit -v {limit}; xegrad compute {SEED}")
        assert (outcome.status, outcome.out) == (2, "")
        said = "this process may have .* of addresses, too few for numpy; raise ulimit -v"
        least = f"{said}|there is not enough memory to begin"
        assert re.fullmatch(rf"xegrad: ({said if limit > 50_000 else least})\n", outcome.err)
    assert shell("ulimit -v 100000; xegrad --help").status == 0
    assert shell(f"ulimit -v 300000; OPENBLAS_NUM_THREADS=64 xegrad compute {SEED} --json").status == 0


# What eight threads of the process take of addresses, each of which has memory of its own.
THREADS = """
import re, threading
from xegrad import memory
def size():
    return 1024 * int(re.search(r"VmSize:\\s+([0-9]+)", open("/proc/self/status").read())[1])
def hold():
    held = bytearray(10**5)
    there.wait()
    end.wait()
    del held
memory.check_start()
before, there, end = size(), threading.Barrier(9), threading.Event()
threads = [threading.Thread(target=hold) for _ in range(8)]
[thread.start() for thread in threads]
there.wait()
print(size() - before)
end.set()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of addresses are those of Linux")
def test_threads_take_few_of_the_addresses_that_are_limited(shell: Shell, tmp_path: Path) -> None:
    """Each would have an arena of glibc, which takes 64 MB of them; its stack takes what is said here."""
    (tmp_path / "threads.py").write_text(THREADS)
    outcome = shell(f"ulimit -s 1024; ulimit -v 4000000; {sys.executable} {tmp_path}/threads.py")
    assert (outcome.status, outcome.err) == (0, "")
    assert int(outcome.out) < 8 * 2**25


def test_a_hangup_that_is_ignored_stays_ignored() -> None:
    what = ["signal.signal(signal.SIGHUP, signal.SIG_IGN); at('numpy', kill(1))"]
    assert ends(what, "compute", SEED, "-q") == [(0, "")]


def test_the_last_words_do_nothing_to_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """They hold the name of a folder or a file, from where Python imports."""
    before = signal.getsignal(signal.SIGINT)
    from xegrad import __main__

    signal.signal(signal.SIGINT, before)
    assert __main__._unforeseen(ImportError("é\x1b[31m\u202e.so is none")) == 2
    assert capsys.readouterr().err == "xegrad: cannot be started: é\\x1b[31m\\u202e.so is none\n"
