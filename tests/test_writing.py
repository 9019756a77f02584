"""What is written is whole: streams to the last byte, files whole or not at all, and nothing beside them."""

from __future__ import annotations

import errno
import io
import os
import resource
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from conftest import Run, Shell
from xegrad.cli import writing
from xegrad.errors import XegradError

SEED = "sample_inputs/seed.json"
LONG = bytes(range(256)) * 4096  # 1 MiB: more than a pipe holds


@pytest.fixture(params=["without a name until it is whole", "with a name"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of writing a file beside the one that is meant."""
    if request.param == "with a name":
        monkeypatch.setattr(os, "open", partial(_refusing_files_without_a_name, os.open))


def _refusing_files_without_a_name(
    system: Callable[..., int], path: str, flags: int, *rest: Any, **named: Any
) -> int:
    """As NFS does, and macOS in its way."""
    if (tmpfile := getattr(os, "O_TMPFILE", 0)) and flags & tmpfile == tmpfile:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    return system(path, flags, *rest, **named)


class Reader(threading.Thread):
    """Reads all of a file, which may be an open one."""

    def __init__(self, source: Path) -> None:
        super().__init__()
        self.source, self.data = source, b""
        self.start()

    def run(self) -> None:
        self.data = self.source.read_bytes()


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def raising(error: int) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(error, os.strerror(error))

    return fail


def test_streams_that_do_not_wait_get_and_give_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """As node and tmux leave them, and unbuffered, as containers do."""
    ours, theirs = os.pipe(), os.pipe()
    for descriptor in (theirs[0], ours[1]):
        os.set_blocking(descriptor, False)
    for name, descriptor, mode in (("stdin", theirs[0], "r"), ("stdout", ours[1], "w"), ("stderr", 2, "w")):
        raw = io.FileIO(descriptor, mode, closefd=False)
        monkeypatch.setattr(sys, name, io.TextIOWrapper(raw, "latin-1", write_through=True))
    writing.open_streams()
    reader = Reader(Path(f"/dev/fd/{ours[0]}"))

    def feed() -> None:
        os.write(theirs[1], LONG)
        os.close(theirs[1])

    feeder = threading.Thread(target=feed)
    feeder.start()
    read = sys.stdin.buffer.read()
    sys.stdout.buffer.write(read)
    sys.stdout.write("the end \u2713")
    sys.stdout.flush()
    os.close(ours[1])
    reader.join()
    feeder.join()
    os.close(theirs[0])
    os.close(ours[0])
    assert reader.data == LONG + rb"the end \u2713"


def test_a_closed_stream_holds_nothing_and_what_is_written_to_it_is_not_lost_quietly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    notes = writing.open_streams()
    assert sys.stdin.read() == ""
    sys.stderr.write("nothing\n")
    assert not notes.is_lost
    with pytest.raises(OSError, match="Bad file descriptor"):
        sys.stdout.buffer.raw.write(b"a result")  # type: ignore[union-attr]


def test_what_standard_error_loses_is_told_and_stops_nothing() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    reading, broken = os.pipe()
    os.close(reading)
    for descriptor, is_lost in ((full, True), (broken, False)):
        notes = writing.Notes(descriptor)
        assert notes.write(b"a note") == 6
        assert notes.is_lost == is_lost
        os.close(descriptor)


NOTED = """{"W": [[1, 2]], "x": [1], "label": [0.5, 0.4]}"""


@pytest.mark.parametrize(
    ("line", "status"), [("compute <<< '{}' 2> /dev/full", 2), ("compute <<< '{}' 2> >(:)", 0)]
)
def test_a_result_is_whole_whatever_happens_to_the_notes(shell: Shell, line: str, status: int) -> None:
    outcome = shell("xegrad " + line.format(NOTED), PYTHONUNBUFFERED="1")
    assert outcome.status == status
    assert "agree" in outcome.out


def test_a_disk_that_is_full_leaves_what_was_there(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: None
) -> None:
    kept = tmp_path / "kept.json"
    kept.write_text("kept")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    for breaking, said in (
        ("write", errno.EFBIG),
        ("fsync", errno.ENOSPC),
        ("fsync", errno.EIO),
        ("replace", errno.EIO),
    ):
        for path in (kept, tmp_path / "new.json"):
            with monkeypatch.context() as patch:
                if breaking == "write":  # in its middle
                    resource.setrlimit(resource.RLIMIT_FSIZE, (512, limits[1]))
                else:
                    patch.setattr(os, breaking, raising(said))
                outcome = run("compute", SEED, "-o", str(path))
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            assert outcome.err == f"xegrad: {path}: cannot be written: {os.strerror(said)}\n"
            assert outcome.status == 2
    assert kept.read_text() == "kept"
    assert names(tmp_path) == ["kept.json"]


def test_a_full_disk_ends_standard_output_with_2_and_one_line(shell: Shell, tmp_path: Path) -> None:
    line = f"ulimit -f 1; xegrad schema compute > {tmp_path}/half"
    outcome = shell(line, PYTHONUNBUFFERED="1")
    assert outcome.err == "xegrad: standard output cannot be written: File too large\n"
    assert outcome.status == 2


def places(folder: Path) -> Iterator[tuple[Path | str, str]]:
    """Where nothing can be written, and what is said of it."""
    (folder / "loop.json").symlink_to("loop.json")
    (folder / "folder.json").mkdir()
    (folder / "link.json").symlink_to("folder.json")
    (folder / "away.json").symlink_to("nowhere/a.json")
    (folder / "file.json").write_text("")
    yield folder / "loop.json", os.strerror(errno.ELOOP)
    yield folder / "folder.json", "it is a folder; a file is expected"
    yield folder / "link.json", "it is a folder; a file is expected"
    yield f"{folder / 'new'}/", "a name with / at its end is a folder's; a file is expected"
    yield folder / "nowhere" / "a.json", f"there is no folder {folder / 'nowhere'}"
    yield folder / "away.json", f"there is no folder {folder / 'nowhere'}"
    yield folder / "file.json" / "a.json", os.strerror(errno.ENOTDIR)
    yield folder / f"{'a' * 256}.json", os.strerror(errno.ENAMETOOLONG)
    yield Path("/dev/fd/987654"), os.strerror(errno.ENOENT)


def test_a_place_that_cannot_be_written_is_said_before_the_problem_is_read(
    run: Run, tmp_path: Path, way: None
) -> None:
    for place, said in places(tmp_path):
        for option in ("-o", "--save"):
            outcome = run("descend", "-", option, str(place), *["--json"] * (option == "-o"), stdin="{")
            assert (outcome.status, outcome.out) == (2, "")
            assert outcome.err.endswith(f": cannot be written: {said}\n"), place
            assert outcome.err.count("\n") == 1
    assert len(names(tmp_path)) == 5
    descriptor = os.open(os.devnull, os.O_RDONLY)
    with pytest.raises(XegradError, match="Bad file descriptor"):
        writing.check_place(f"/dev/fd/{descriptor}")
    os.close(descriptor)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become someone else")
def test_what_one_may_not_write_is_said(way: None) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "mine.json").write_text("mine")
        (folder / "open").mkdir()
        (folder / "open").chmod(0o777)
        (folder / "open" / "read-only.json").write_text("mine")
        os.mkfifo(folder / "pipe.json", 0o600)
        os.seteuid(65534)
        try:
            for place in ("new.json", "mine.json", "open/read-only.json", "pipe.json"):
                with pytest.raises(XegradError, match="Permission denied"):
                    writing.check_place(str(folder / place))
            writing.check_place(str(folder / "open" / "new.json"))
        finally:
            os.seteuid(0)
        assert names(folder / "open") == ["read-only.json"]


def test_what_is_open_is_appended_to_and_what_is_no_file_stays_what_it_is(
    run: Run, shell: Shell, tmp_path: Path
) -> None:
    log, pipe = tmp_path / "log", tmp_path / "pipe.json"
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT)
    os.write(descriptor, b"before\n")
    (tmp_path / "link").symlink_to(f"/dev/fd/{descriptor}")
    names = [f"/dev/fd/{descriptor}", f"/proc/self/fd/{descriptor}", str(tmp_path / "link")]
    for name in names:
        outcome = run("compute", SEED, "-o", name, "--format", "csv")
        assert outcome == (0, "", "")
    os.close(descriptor)
    csv = run("compute", SEED, "--format", "csv").out
    assert log.read_text() == "before\n" + 3 * csv

    os.mkfifo(pipe)
    reader = Reader(pipe)
    assert run("compute", SEED, "-o", str(pipe), "--format", "csv").status == 0
    reader.join()
    assert reader.data.decode() == csv
    assert pipe.is_fifo()
    assert run("compute", SEED, "-o", os.devnull, "--format", "csv").status == 0
    assert Path(os.devnull).is_char_device()

    line = f"{{ echo before; xegrad compute {SEED} -o /dev/stdout --format csv; echo after; }} >> {log}"
    assert shell(line).err == ""
    assert log.read_text() == "before\n" + 3 * csv + "before\n" + csv + "after\n"


def test_a_file_keeps_its_mode_and_its_links(run: Run, tmp_path: Path, way: None) -> None:
    target, link, dangling, twin = (tmp_path / f"{name}.csv" for name in ("target", "link", "to-be", "twin"))
    link.symlink_to("target.csv")
    dangling.symlink_to("made.csv")
    target.write_text("old")
    target.chmod(0o640)
    os.chown(target, 1234 if os.geteuid() == 0 else -1, -1)
    os.link(target, twin)
    longest = tmp_path / f"{'a' * 251}.csv"
    mask = os.umask(0o027)
    try:
        for path in (link, dangling, longest):
            assert run("compute", SEED, "-o", str(path)).status == 0
    finally:
        os.umask(mask)
    csv = run("compute", SEED, "--format", "csv").out
    assert link.is_symlink() and dangling.is_symlink()
    for path in (target, tmp_path / "made.csv", longest):
        assert path.read_text() == csv
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert target.stat().st_uid == twin.stat().st_uid
    assert twin.read_text() == "old"
    assert len(names(tmp_path)) == 6


def test_a_file_that_nothing_can_replace_is_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: None
) -> None:
    """As one that is lent to a container."""
    (tmp_path / "lent").write_text("old")
    monkeypatch.setattr(os, "replace", raising(errno.EBUSY))
    with writing.writer(str(tmp_path / "lent")) as write:
        write([LONG])
    assert (tmp_path / "lent").read_bytes() == LONG
    assert names(tmp_path) == ["lent"]


PHASES = ("open", "write", "fchmod", "fsync", "link", "replace", "unlink")


@pytest.mark.parametrize("ending", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_no_ending_leaves_a_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, way: None
) -> None:
    """Before and after each thing that the system does."""
    number, path = getattr(signal, ending), tmp_path / "kept"
    handler = signal.signal(number, signal.default_int_handler)
    try:
        for phase in PHASES:
            for is_before in (True, False):
                path.write_text("old")
                done = getattr(os, phase)

                def interrupted(*arguments: object, **named: object) -> object:
                    if is_before:  # noqa: B023
                        signal.raise_signal(number)
                    result = done(*arguments, **named)  # noqa: B023
                    if not is_before:  # noqa: B023
                        signal.raise_signal(number)
                    return result

                try:
                    with writing.writer(str(path)) as write:
                        monkeypatch.setattr(os, phase, interrupted)
                        write([LONG])
                except KeyboardInterrupt:
                    pass
                finally:
                    monkeypatch.setattr(os, phase, done)
                assert path.read_bytes() in (b"old", LONG)
                assert names(tmp_path) == ["kept"], (phase, is_before)
    finally:
        signal.signal(number, handler)


def test_kill_9_in_the_middle_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    path.write_text("old")
    script = (
        "import os, sys; from xegrad.cli import writing\n"
        "with writing.writer(sys.argv[1]) as write: write([b'half']); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", script, path], check=False).returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    if sys.platform == "linux":
        assert names(tmp_path) == ["kept"]


@pytest.mark.parametrize("encoding", ["idna", "punycode", "utf-7", "ascii", "cp037", "latin-1"])
def test_every_encoding_of_a_stream_can_be_written_in(encoding: str) -> None:
    bytes_of = io.BytesIO()
    stream = writing._text(io.TextIOWrapper(io.BytesIO(), encoding), bytes_of)
    stream.write("W ✓ é")
    stream.flush()
    assert bytes_of.getvalue().decode(stream.encoding).startswith("W ")


def test_a_name_that_is_empty_is_no_folder(run: Run) -> None:
    for option in ("-o", "--save"):
        outcome = run("descend", "sample_inputs/seed.json", option, "", "--format", "json")
        assert outcome.status == 2
        assert outcome.err == "xegrad: the name of the file to write to is empty\n"
