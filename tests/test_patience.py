"""A signal ends a command soon, whatever code in C it is in; the status is what a shell makes of it."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time

import pytest

from xegrad import patience

BEGIN = """
import signal, sys
from xegrad import patience
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.default_int_handler)
patience.watch([signal.SIGINT, signal.SIGTERM])
print("ready", flush=True)
"""
# Code in C that takes hours: it lets other threads run, or does not.
SHARES = BEGIN + "import hashlib; hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)"
DOES_NOT_SHARE = (
    BEGIN.replace("print", "block = patience.at_once(2**30); block.__enter__(); print") + "sum(range(10**12))"
)
LITTLE = (
    BEGIN
    + "with patience.at_once(10): sys.exit(signal.getsignal(signal.SIGINT) is not signal.default_int_handler)"
)
AFTERWARDS = BEGIN + (
    "with patience.at_once(2**30): was = signal.getsignal(signal.SIGINT)\n"
    "sys.exit((was, signal.getsignal(signal.SIGINT)) != (signal.SIG_DFL, signal.default_int_handler))"
)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("script", [SHARES, DOES_NOT_SHARE])
def test_code_in_c_that_takes_long_does_not_keep_the_process(script: str, number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        status = process.wait(timeout=60)
    # Before it is in C, Python ends it itself: by the signal that was its own, or in a traceback.
    assert status in (128 + number, -number, -signal.SIGINT, 1)


def test_a_process_that_waits_for_a_processor_hears_the_signal_itself() -> None:
    """Of which it sees as little as here, where it sleeps in C and another thread takes the signal."""
    before = "patience.NAPS = 10**6; import ctypes; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])"
    script = BEGIN.replace("print", f"{before}\ntry:\n    print") + (
        "    while True: ctypes.CDLL(None).usleep(300_000)\nexcept KeyboardInterrupt: sys.exit(7)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(0.05)  # or it comes before that sleep, and is heard anyway
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 7


@pytest.mark.parametrize("script", [LITTLE, AFTERWARDS])
def test_where_nothing_takes_long_python_hears_the_signal(script: str) -> None:
    subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL)


def test_a_library_leaves_the_signals_alone() -> None:
    from xegrad import patience

    with patience.at_once(2**30):
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_open_file_of_any_number_is_waited_for() -> None:
    """Those beyond 1024, which a shell or a parent may have left open, too."""
    fcntl = pytest.importorskip("fcntl")
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 1200:
        pytest.skip("no file may have such a number")
    reader, writer = os.pipe()
    high = fcntl.fcntl(reader, fcntl.F_DUPFD, 1100)
    for descriptor in (reader, high):
        assert not patience.wait(descriptor, seconds=0)
    os.write(writer, b"1")
    for descriptor in (reader, high):
        assert patience.wait(descriptor, seconds=0)
    assert patience.wait(fcntl.fcntl(writer, fcntl.F_DUPFD, 1100), to_write=True)
    for descriptor in (reader, writer, high, high + 1):
        os.close(descriptor)
