from __future__ import annotations

import hashlib
from io import BufferedReader, BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.ingest.discover import pieces
from pipelines.ingest.discover.json_fault import is_complete_json, json_fault
from pipelines.ingest.discover.pieces import start_of, text_sha256
from pipelines.ingest.discover.scan import Content, ScanOptions, mind_fault, scan_lines, scan_parquet
from pipelines.ingest.parse.mapping import LogMapping
from schemas.errors import InputError
from tests.builders import json_line, mind_line

JSON = json_fault(LogMapping())
COLUMNS = {"impression_id": ("id",), "shown": ("page", "news")}


def content(path: Path, text: bytes) -> tuple[int, bool, bool]:
    """Lines, whether the last one has a line end, and whether the first line's hash is that of the text."""
    path.write_bytes(text)
    found = scan_lines(path, lambda line: None if line else "is empty", lambda line: True)
    assert found is not None
    first = text.removeprefix(b"\xef\xbb\xbf").splitlines()[0]
    assert start_of(path) == found.first_line_sha256
    assert text_sha256(path, found.text_bytes) == found.text_sha256
    return found.lines, found.whole_lines, found.first_line_sha256 == hashlib.sha256(first).hexdigest()


@pytest.mark.parametrize(
    ("text", "lines", "complete"),
    [
        (b"a\nb\r\nc\rd", 4, False),
        (b"a\r\n", 1, True),
        (b"a\r", 1, True),
        (b"\n\r\n\ra", 4, False),
        (b"\xef\xbb\xbfa\n", 1, True),
        (b"a" * 100, 1, False),
    ],
)
@pytest.mark.parametrize("chunk", [1, 2, 3, 1 << 20])
def test_lines_end_with_line_feed_carriage_return_or_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: bytes, lines: int, complete: bool, chunk: int
) -> None:
    if not (chunk < 3 and text.startswith(b"\xef")):  # the mark stands in one chunk, always
        monkeypatch.setattr(pieces, "_CHUNK_BYTES", chunk)
    assert content(tmp_path / "a", text) == (lines, complete, True)


@pytest.mark.parametrize("chunk", [1, 3, 1 << 20])
def test_the_text_is_hashed_as_lines_whatever_ends_them_and_so_is_its_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(pieces, "_CHUNK_BYTES", chunk)
    first, more = b"a\nbb\nc\n", b"dd\ne\nunended"
    (tmp_path / "a").write_bytes((first + more).replace(b"\n", b"\r\n"))
    found = scan_lines(tmp_path / "a", lambda line: None, lambda line: False, ScanOptions(mark=len(first)))
    assert found is not None
    assert found.begins == hashlib.sha256(first).hexdigest()
    assert found.text_sha256 == hashlib.sha256((first + more).removesuffix(b"unended")).hexdigest()
    assert (found.lines, found.waiting, found.text_bytes) == (5, 7, 12)
    longer = scan_lines(tmp_path / "a", lambda line: None, lambda line: False, ScanOptions(mark=99))
    assert longer is not None
    assert longer.begins is None


@pytest.mark.parametrize(
    ("text", "final", "lines", "waiting"),
    [
        (json_line() + "\n" + json_line(), False, 2, 0),
        (json_line() + "\n" + json_line()[:-1], False, 1, len(json_line()) - 1),
        (json_line() + "\n" + json_line()[:-1], True, 2, 0),
        (json_line() + "\n12", False, 1, 2),
        (json_line() + '\n{"a": NaN}', False, 1, 10),
        (json_line() + "\n" + '{"a":' * 5000 + "1" + "}" * 5000, False, 1, 30_001),
        (json_line()[:-1], False, 0, len(json_line()) - 1),
    ],
)
def test_a_last_json_line_without_a_line_end_counts_if_it_is_complete(
    tmp_path: Path, text: str, final: bool, lines: int, waiting: int
) -> None:
    (tmp_path / "a").write_text(text)
    found = scan_lines(tmp_path / "a", JSON, is_complete_json, ScanOptions(final=final))
    assert found is not None
    assert (found.lines, found.waiting, found.bytes) == (lines, waiting, len(text) - waiting)


PARTS = st.lists(st.sampled_from([b"a", b"bb", b"\r", b"\n", b"\r\n", b"\x00", b"\xe2\x80\xa8"]), max_size=30)


@given(parts=PARTS, chunk=st.integers(1, 7), stop=st.integers(0, 12))
def test_lines_are_cut_the_same_in_pieces_of_any_size(parts: list[bytes], chunk: int, stop: int) -> None:
    text = b"".join(parts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "_CHUNK_BYTES", chunk)
        lines = [*pieces.lines_of(pieces.text_from(BufferedReader(BytesIO(text)), 0, None))]  # type: ignore[arg-type]
        assert lines == text.splitlines()
        some = [*pieces.lines_of(pieces.text_from(BufferedReader(BytesIO(text)), 2, 2 + stop))]  # type: ignore[arg-type]
        assert some == text[2 : 2 + stop].splitlines()


def test_a_parquet_file_is_cut_where_row_groups_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.ingest.discover.scan.CUT_BYTES", 1)
    table = pa.table({"id": list(range(10)), "page": [{"news": ["a"]}] * 10})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=4)
    found = look(tmp_path / "a.parquet")
    assert found is not None
    assert found.cuts == ((1, 4), (2, 8))


def test_a_file_without_bytes_has_no_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    assert scan_lines(tmp_path / "a", JSON, is_complete_json) is None


def test_a_line_that_no_worker_could_hold_makes_the_file_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "_LONGEST_LINE", 3 << 20)
    (tmp_path / "a").write_bytes(json_line().encode() + b"\n" + b"x" * (5 << 20))
    with pytest.raises(InputError, match="a line of over 3 MiB"):
        scan_lines(tmp_path / "a", JSON, is_complete_json)


def test_an_impression_is_distinguished_from_other_lines() -> None:
    assert JSON(json_line().encode()) is None
    assert "is not JSON" in str(JSON(mind_line().encode()))
    assert "is not JSON" in str(JSON(b"[" * 100_000))
    assert "is no JSON object" in str(JSON(b'["n1"]'))
    assert "lacks ['user_id', 'shown']" in str(JSON(json_line(without=("user_id", "shown")).encode()))
    assert (mind_fault(mind_line().encode()), mind_fault(b"a,b")) == (
        None,
        "has 1 tab-separated columns instead of 5",
    )


def test_nested_columns_are_looked_for() -> None:
    columns = {"impression_id": "e.id", "user_id": "u", "time": "t", "shown": "s"}
    fault = json_fault(LogMapping(columns=columns))
    assert fault(b'{"e": {"id": 1}, "u": 1, "t": "x", "s": 1}') is None
    assert "lacks ['e.id']" in str(fault(b'{"e": 5, "u": 1, "t": 1, "s": 1}'))


def look(path: Path) -> Content | None:
    return scan_parquet(path, lambda _: COLUMNS, LogMapping())


def parquet(path: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_a_parquet_file_has_its_rows_and_types(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", id=[1, 2], page=[{"news": ["a"]}, {"news": ["b"]}], other=[1, 2])
    found = look(path)
    assert found is not None
    assert (found.lines, found.whole_lines, found.first_line_sha256) == (2, True, start_of(path))
    none = parquet(tmp_path / "b.parquet", id=pa.array([], "int64"))
    assert scan_parquet(none, lambda _: {"user_id": ("id",)}, LogMapping()) is None


def test_a_parquet_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"rubbish" * 10)
    with pytest.raises(InputError, match="no readable Parquet file"):
        look(tmp_path / "a.parquet")
    complete = parquet(tmp_path / "b.parquet", id=list(range(50_000)), page=[{"news": ["a"]}] * 50_000).read_bytes()
    (tmp_path / "c.parquet").write_bytes(complete[:4] + b"\xff" * 2000 + complete[2004:])  # its footer is complete
    with pytest.raises(InputError, match="no readable Parquet file"):
        look(tmp_path / "c.parquet")


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"id": [1], "pages": [1]}, "no column page.news; it has id, pages"),
        ({"id": [1], "page": [{"other": 1}]}, "no column page.news; it has other"),
        ({"id": [1], "page": [{"news": "a b"}]}, "page.news is string, and shown is read from a list"),
        ({"id": [[1]], "page": [{"news": ["a"]}]}, "impression_id is a single value"),
    ],
)
def test_a_parquet_file_of_another_shape_says_what_it_has(tmp_path: Path, columns: dict[str, object], why: str) -> None:
    with pytest.raises(InputError, match=why):
        look(parquet(tmp_path / "a.parquet", **columns))
