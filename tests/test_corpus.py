"""Inputs that fuzzing found: the fewest that run the most code, and those that broke a reader once."""

from __future__ import annotations

from pathlib import Path

import pytest

import checks
import corpus
from xegrad.formats import FORMATS


def test_an_input_is_tried_in_a_folder_of_its_own_and_nothing_else_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("kept").write_bytes(b"of somebody")
    for reader in checks.READERS:
        for data in [*corpus.inputs(reader).values()][:1]:
            checks.check(reader, data)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("kept", b"of somebody")]
    assert Path.cwd() == tmp_path


def test_every_format_is_a_reader_whose_corpus_is_kept() -> None:
    assert FORMATS.keys() <= checks.READERS.keys()
    assert {path.stem for path in corpus.FOLDER.iterdir()} == checks.READERS.keys()
    assert sum(path.stat().st_size for path in corpus.FOLDER.iterdir()) < 300_000


@pytest.mark.parametrize("reader", checks.READERS)
def test_a_reader_reads_or_refuses_in_one_plain_line_whatever_it_is_given(reader: str) -> None:
    for name, data in corpus.inputs(reader).items():
        try:
            checks.check(reader, data)
        except Exception as error:
            pytest.fail(f"{name}: {data[:300]!r}: {type(error).__name__}: {error}")
