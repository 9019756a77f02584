"""Inputs that fuzzing found: the fewest that run the most code, and those that broke a reader once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import checks
import corpus
from contract import scratch
from xegrad.formats import FORMATS


@pytest.fixture(scope="module", autouse=True)
def folder() -> Iterator[None]:
    with scratch():
        yield


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
