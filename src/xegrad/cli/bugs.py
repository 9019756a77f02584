"""What is said of an exception that nobody foresaw."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

BUG = 3  # the exit status


def sentence(error: BaseException) -> str:
    """The type of an exception and the line of this package that raised it; with XEGRAD_DEBUG=1 a traceback goes to
    standard error."""
    if os.environ.get("XEGRAD_DEBUG", "0") != "0":
        traceback.print_exception(error)
    package = f"{Path(__file__).parent.parent}{os.sep}"
    places = [
        f"{frame.f_code.co_filename.removeprefix(package)}:{line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_filename.startswith(package)
    ]
    return f"this is a bug, please report it: {type(error).__name__} at {places[-1] if places else '?'}"
