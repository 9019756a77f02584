"""The console script, and `python -m xegrad`."""

import gc
import io
import os
import signal
import sys
from typing import NoReturn


def run() -> NoReturn:
    """Run the command line and exit with its status."""
    # What is imported lives until the end: the garbage collector would look at it again and again.
    # Seldom while it is imported, and not at all at exit, saves a sixth of a short run.
    gc.set_threshold(100_000, 50, 50)
    # Who ends it leaves no file half written and no process behind, as who interrupts it.
    endings = (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))
    for ending in endings:
        signal.signal(ending, signal.default_int_handler)
    try:
        from xegrad.cli import main

        _open_streams()
        status = main(sys.argv[1:])
    except KeyboardInterrupt:
        status = 130
    for ending in (signal.SIGINT, *endings):  # all is tidied up: who is impatient sees no traceback
        signal.signal(ending, signal.SIG_DFL)
    gc.freeze()
    sys.exit(status)


def _open_streams() -> None:
    """Streams that can be used: a closed one is nowhere, and what an encoding lacks is spelled out."""
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: SIM115, PTH123
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115, PTH123
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115, PTH123
    if isinstance(raw := getattr(sys.stdout, "buffer", None), io.RawIOBase):
        # With PYTHONUNBUFFERED=1: what writes to the descriptor itself may write a part, and says nothing.
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(raw), sys.stdout.encoding)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    run()
