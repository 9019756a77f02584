"""What is said of an exception that nobody foresaw."""

from __future__ import annotations

BUG = 3  # the exit status


def sentence(error: BaseException) -> str:
    """What is said of it, in one line; with XEGRAD_DEBUG=1 its traceback goes to standard error first."""
    if is_debugging():
        import traceback

        traceback.print_exception(error)
    return f"this is a bug, please report it: {type(error).__name__} at {_place(error)}"


def is_debugging() -> bool:
    """Whether tracebacks are asked for."""
    import os

    return os.environ.get("XEGRAD_DEBUG", "0") != "0"


def _place(error: BaseException) -> str:
    """The file and line of this package through which an exception came first."""
    folder = __file__.removesuffix("bugs.py")
    place, step = "?", error.__traceback__
    while step is not None:
        file = step.tb_frame.f_code.co_filename
        place = f"{file.removeprefix(folder)}:{step.tb_lineno}" if file.startswith(folder) else place
        step = step.tb_next
    return place
