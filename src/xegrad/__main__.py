"""The console script, and `python -m xegrad`: how the process ends, whatever happens to it."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # it is built in, where `signal` imports for milliseconds
import sys
import time

if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    # Python's own handler ends with a traceback; the system's, until `run` is called, without a word.
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)

import os
import signal

TYPE_CHECKING = False  # nothing slow is imported before interruptions are heard
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any, NoReturn

# The signals that ask for an end; the exit status is 128 and the number of the one that came.
ENDINGS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
TO_IMPORT = 2**25  # bytes of addresses that all imports take, up to numpy
ONE_PRESS = 1.0  # seconds in which a second signal is not heard: it would interrupt the tidying up

_heard: list[tuple[int, float]] = []  # the signals, and when they came


def run() -> NoReturn:
    """Run the command line and exit with its status."""
    try:
        for number in ENDINGS:
            # As nohup asks for, or a script that runs it in the background.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _interrupt)
        sys.unraisablehook = _unraisable
        # Else the processes that are started here would import what lies in the current folder.
        os.environ["PYTHONSAFEPATH"] = "1"
        # An import that gets no memory may go on for ever, in Python 3.11. None of these bytes is touched.
        bytes(TO_IMPORT)
        status = _run()
    except BaseException as error:
        status = _unforeseen(error)
    _end(status)


def _interrupt(number: int, _: FrameType | None = None) -> None:
    """Raise KeyboardInterrupt: who ends it leaves no file half written and no process behind."""
    now = time.monotonic()
    if not _heard or now - _heard[-1][1] > ONE_PRESS:
        _heard.append((number, now))
        raise KeyboardInterrupt


def _unraisable(unraisable: Any) -> None:
    """Where Python can raise nothing, nothing is said; an interruption that was lost there comes again."""
    from xegrad import bugs

    if bugs.is_debugging():
        sys.__unraisablehook__(unraisable)
    if issubclass(unraisable.exc_type, KeyboardInterrupt) and hasattr(signal, "setitimer"):
        number, _ = _heard.pop()
        signal.signal(signal.SIGALRM, lambda *_: _interrupt(number))
        signal.setitimer(signal.ITIMER_REAL, 0.001)


def _run() -> int:
    """The exit status of the command line."""
    import gc

    # What is imported lives until the end: the garbage collector would look at it again and again.
    # Seldom while it is imported, and not at all at exit, saves a sixth of a short run.
    gc.set_threshold(100_000, 50, 50)
    if not sys.warnoptions:
        import warnings

        warnings.simplefilter("ignore")  # they speak to programmers

    from xegrad import patience
    from xegrad.cli import TROUBLE, main
    from xegrad.cli.writing import open_streams

    patience.watch(ENDINGS)
    notes = open_streams()
    status = main(sys.argv[1:])
    return max(status, TROUBLE) if notes.is_lost else status


def _unforeseen(error: BaseException) -> int:
    """Say in one line what ended it, and return the exit status."""
    if _heard:  # an import may make another exception of KeyboardInterrupt
        return 128 + _heard[-1][0]
    import errno

    try:
        line, status = _last_words(error)
        if sys.stderr is not None:
            # As `inert` spells it, which may be what cannot be imported.
            spelled = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
            sys.stderr.write(f"xegrad: {spelled}\n")
    except (MemoryError, ImportError, OSError) as another:  # the system gives too little to say even that
        lack, status = b"there is not enough memory to begin", 2
        if getattr(another, "errno", None) in (errno.EMFILE, errno.ENFILE):
            lack = b"no more files may be opened; raise ulimit -n"
        try:  # noqa: SIM105 (nothing can be imported now)
            os.write(2, b"xegrad: " + lack + b"\n")
        except OSError:
            pass
    return status


def _last_words(error: BaseException) -> tuple[str, int]:
    """What is said of an exception that nobody caught, and the exit status for it."""
    from xegrad import bugs

    first = error
    while cause := first.__cause__ or first.__context__:
        first = cause
    if isinstance(error, MemoryError):
        return "there is not enough memory to begin", 2
    if "start new thread" in str(error):
        return "no thread can be started; raise ulimit -v or ulimit -u, or end other processes", 2
    if isinstance(error, ModuleNotFoundError) and not (error.name or "xegrad").startswith("xegrad"):
        return f"{error.name} is not installed; pip install xegrad installs what it needs", 2
    if isinstance(error, ImportError) and ".so" in str(first):
        return f"cannot be started: {first}", 2
    if file := bugs.stray(error):
        return (
            f"{file} was imported in place of another module of its name; rename it, or go to another folder",
            2,
        )
    return bugs.sentence(error), bugs.BUG


def _end(status: int) -> NoReturn:
    """Exit with the status, or that of the signal that was heard."""
    for number in ENDINGS:
        if signal.getsignal(number) is _interrupt:
            signal.signal(number, signal.SIG_DFL)  # all is tidied up: who is impatient sees no traceback
    import gc

    if _heard and status not in (0, 1, 2):
        os._exit(128 + _heard[-1][0])  # at its end Python writes what is left, and may wait for a reader
    gc.freeze()
    sys.exit(status)


if __name__ == "__main__":
    run()
