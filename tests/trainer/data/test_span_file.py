"""A file in pieces reads like the file itself, at any position and length."""

from __future__ import annotations

import io
import os
from io import BufferedReader
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.span_file import SpanFile

CONTENT = bytes(range(256)) * 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pieces")


moves = st.tuples(
    st.sampled_from([os.SEEK_SET, os.SEEK_CUR, os.SEEK_END]), st.integers(-1100, 1100), st.integers(-1, 1200)
)


@given(cuts=st.sets(st.integers(1, 1023)), asked=st.lists(moves, max_size=8))
def test_reads_anywhere(folder: Path, cuts: set[int], asked: list[tuple[int, int, int]]) -> None:
    ends = [*sorted(cuts), 1024]
    starts = [0, *ends[:-1]]

    def opened(number: int) -> BufferedReader:
        path = folder / f"{starts[number]}-{ends[number]}"
        path.write_bytes(CONTENT[starts[number] : ends[number]])
        return path.open("rb")

    plain = io.BytesIO(CONTENT)
    with SpanFile([b - a for a, b in zip(starts, ends, strict=True)], opened) as found:
        for whence, offset, size in asked:
            base = {os.SEEK_SET: 0, os.SEEK_CUR: plain.tell(), os.SEEK_END: 1024}[whence]
            if base + offset < 0:
                continue
            assert found.seek(offset, whence) == plain.seek(base + offset) == found.tell()
            assert found.read(size) == plain.read(size)


def test_a_piece_that_ends_early_is_an_error(folder: Path) -> None:
    path = folder / "short"
    path.write_bytes(b"abc")
    with SpanFile([4], lambda _: path.open("rb")) as found, pytest.raises(EOFError, match="piece 0"):
        found.read(4)
