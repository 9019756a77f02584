"""The console script, and `python -m xegrad`."""

import gc
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
        from xegrad.cli import TROUBLE, main
        from xegrad.cli.writing import open_streams

        notes = open_streams()
        status = main(sys.argv[1:])
        if notes.is_lost:
            status = max(status, TROUBLE)
    except KeyboardInterrupt:
        status = 130
    for ending in (signal.SIGINT, *endings):  # all is tidied up: who is impatient sees no traceback
        signal.signal(ending, signal.SIG_DFL)
    gc.freeze()
    sys.exit(status)


if __name__ == "__main__":
    run()
