"""What is said of an exception that nobody foresaw."""

from __future__ import annotations

BUG = 3  # the exit status
SCRIPTS = "__main__", "__mp_main__"  # what was started, whose folder is where Python looks first


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


def stray(error: BaseException) -> str:
    """The file that was imported in place of one that was meant, since it lies where Python looks first; or ""."""
    import os
    import sys

    folder = os.path.abspath(sys.path[0])  # noqa: PTH100
    if os.path.dirname(__file__) == f"{folder}{os.sep}xegrad":  # noqa: PTH120
        return ""
    files = [getattr(module, "__file__", None) for name, module in sys.modules.items() if name not in SCRIPTS]
    one: BaseException | None = error
    while one is not None:
        files += [one.filename] if isinstance(one, SyntaxError) else []
        step = one.__traceback__
        while step is not None:
            files.append(step.tb_frame.f_code.co_filename)
            step = step.tb_next
        one = one.__cause__ or one.__context__
    return next((file for file in files if file and os.path.dirname(file) == folder), "")  # noqa: PTH120


def _place(error: BaseException) -> str:
    """The file and line of this package through which an exception came first."""
    folder = __file__.removesuffix("bugs.py")
    place, step = "?", error.__traceback__
    while step is not None:
        file = step.tb_frame.f_code.co_filename
        place = f"{file.removeprefix(folder)}:{step.tb_lineno}" if file.startswith(folder) else place
        step = step.tb_next
    return place
