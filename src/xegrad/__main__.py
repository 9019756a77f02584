"""The console script, and `python -m xegrad`."""

import gc
import sys
from typing import NoReturn


def run() -> NoReturn:
    """Run the command line and exit with its status."""
    # What is imported lives until the end: the garbage collector would look at it again and again.
    # Seldom while it is imported, and not at all at exit, saves a sixth of a short run.
    gc.set_threshold(100_000, 50, 50)
    from xegrad.cli import main

    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    status = main(sys.argv[1:])
    gc.freeze()
    sys.exit(status)


if __name__ == "__main__":
    run()
