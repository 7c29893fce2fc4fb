from __future__ import annotations

import gzip
import re
from dataclasses import replace
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from pipelines.ingest.discover import pieces, spread
from pipelines.ingest.discover.sources import Found, find_logs, find_new, log_paths
from pipelines.ingest.parse.mapping import LogMapping
from pipelines.ingest.read import readers
from pipelines.ingest.read.readers import raw_lines
from tests.builders import Line, json_line, mind_line, rows, write_logs
from tests.pipelines.ingest.discover.test_sources import known


def read(spark: SparkSession, found: Found) -> list[tuple[object, ...]]:
    lines = rows(raw_lines(spark, found.files), "file", "position", "line")
    return [(file, at, bytes(line)) for file, at, line in lines]


def bytes_of(line: Line) -> bytes:
    return line if isinstance(line, bytes) else line.encode()


def test_each_line_keeps_its_bytes_file_and_number(spark: SparkSession, tmp_path: Path) -> None:
    odd: list[Line] = [json_line(), b"", b"\xff\xfe no UTF-8", b"\x00\x01", "\u2028 is no line end"]
    found = find_logs(write_logs(tmp_path, {"a b+c%20é&;[1]{2}*?.jsonl": odd, "z.jsonl.gz": odd}))
    assert read(spark, found) == [
        (name, at, bytes_of(line))
        for name in ("logs/a b+c%20é&;[1]{2}*?.jsonl", "logs/z.jsonl.gz")
        for at, line in enumerate(odd)
    ]


def test_mixed_line_ends_separate_lines_and_are_in_none(spark: SparkSession, tmp_path: Path) -> None:
    path = write_logs(tmp_path, {"a.jsonl": []}) / "logs" / "a.jsonl"
    path.write_bytes(json_line().encode() + b"\r\nb\rc\n\r\r\nd")
    found = find_logs(tmp_path, final=True)
    expected = [json_line().encode(), b"b", b"c", b"", b"", b"d"]
    assert read(spark, found) == [("logs/a.jsonl", at, line) for at, line in enumerate(expected)]
    assert found.files[0].lines == len(expected)


def test_numbers_are_exact_in_many_and_in_large_files(spark: SparkSession, tmp_path: Path) -> None:
    files = {
        f"{name}.jsonl": [json_line(f"{name}-{at}") for at in range(3000 if name == 3 else 5)] for name in range(7)
    }
    write_logs(tmp_path, files)
    lines = raw_lines(spark, find_logs(tmp_path).files)
    expected = lines.selectExpr(
        "concat('logs/', get_json_object(string(line), '$.impression_id')) AS expected", "file", "position"
    )
    wrong = expected.where("expected != concat(replace(file, '.jsonl', ''), '-', position)")
    assert (expected.count(), wrong.count()) == (3030, 0)


def test_a_byte_order_mark_is_no_part_of_the_first_line(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + json_line().encode())
    assert read(spark, find_logs(tmp_path)) == [("logs/a.jsonl", 0, json_line().encode())]


def test_only_what_is_new_in_a_grown_file_is_read_and_not_what_comes_meanwhile(
    spark: SparkSession, tmp_path: Path
) -> None:
    lines = [json_line(str(at)) for at in range(4)]
    (file,) = find_logs(write_logs(tmp_path, {"a.jsonl": lines[:1], "b.jsonl.gz": []})).files
    before = {file.name: known(file)}
    write_logs(tmp_path, {"a.jsonl": lines[:3], "b.jsonl.gz": lines[:2]})
    found = find_new(log_paths(tmp_path, "auto", None), tmp_path, None, before)
    write_logs(tmp_path, {"a.jsonl": lines})
    assert [(name, at) for name, at, _ in read(spark, found)] == [
        *(("logs/a.jsonl", at) for at in (1, 2)),
        *(("logs/b.jsonl.gz", at) for at in (0, 1)),
    ]


def test_each_line_says_how_to_read_it(spark: SparkSession, tmp_path: Path) -> None:
    for format, name, line in (("jsonl", "a.jsonl", json_line()), ("mind", "behaviors.tsv", mind_line())):
        found = find_logs(write_logs(tmp_path / format, {name: [line]}))
        assert rows(raw_lines(spark, found.files), "format") == [(format,)]


def test_records_of_an_array_are_lines_with_those_of_other_files(spark: SparkSession, tmp_path: Path) -> None:
    records = [json_line("1"), json_line("2", more={"a": [1, "]"]}), "7"]
    write_logs(
        tmp_path, {"a.json": [f"\ufeff [{records[0]},\n\n {records[1]} , 7]"], "b.json": ["\ufeff" + json_line()]}
    )
    write_logs(tmp_path, {"c.json.gz": ["[", ",".join(records), "]"]})
    found = find_logs(tmp_path, mapping=LogMapping(files="logs/*"))
    assert read(spark, found) == [
        *(("logs/a.json", at, record.encode()) for at, record in enumerate(records)),
        ("logs/b.json", 0, json_line().encode()),
        *(("logs/c.json.gz", at, record.encode()) for at, record in enumerate(records)),
    ]
    skipped = [replace(file, skip=2) for file in found.files if file.name == "logs/a.json"]
    assert read(spark, Found(files=skipped)) == [("logs/a.json", 2, b"7")]


ENDS = (b"\n", b"\r\n", b"\r")


def mixed(count: int) -> tuple[bytes, list[bytes]]:
    """A text of lines of many lengths, empty ones too, with all three line ends; and its lines."""
    lines = [json_line(str(at)).encode() if at % 7 == 0 else b"x" * (at * 37 % 90) for at in range(count)]
    return b"".join(line + ENDS[at * at % 3 if line else 0] for at, line in enumerate(lines)), lines


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_large_file_is_cut_for_several_tasks_and_each_line_keeps_its_number(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: bytes
) -> None:
    monkeypatch.setattr(pieces, "_CHUNK_BYTES", 500)
    monkeypatch.setattr(pieces, "CUT_BYTES", 2_000)
    for name in ("_LEAST", "_LEAST_EMBEDDED"):
        monkeypatch.setattr(spread, name, 3_000)
    text, lines = mixed(1_000)
    path = write_logs(tmp_path, {"a.jsonl": [], "b.jsonl": [json_line()]}) / "logs" / "a.jsonl"
    path.write_bytes(mark + text)
    found = find_logs(tmp_path)
    cuts = found.files[0].cuts
    assert len(cuts) > 10
    assert all(re.search(rb"[\r\n]$", (mark + text)[:at]) for at, _ in cuts)
    assert [line for _, line in cuts] == [len((mark + text)[:at].splitlines()) for at, _ in cuts]
    expected = [("logs/a.jsonl", at, line) for at, line in enumerate(lines)]
    assert sorted(read(spark, found)) == [*expected, ("logs/b.jsonl", 0, json_line().encode())]
    tasks = raw_lines(spark, found.files).selectExpr("spark_partition_id() AS task").distinct()
    assert len(rows(tasks)) > 3
    skip = cuts[5][1] + 1
    assert sorted(read(spark, Found(files=[replace(found.files[0], skip=skip)]))) == expected[skip:]


def test_pieces_that_were_read_before_are_not_opened_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "_CHUNK_BYTES", 500)
    monkeypatch.setattr(pieces, "CUT_BYTES", 2_000)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.jsonl").write_bytes(mixed(1_000)[0])
    (file,) = find_logs(tmp_path).files
    first = readers._pieces_of(replace(file, skip=file.cuts[-1][1]))
    assert [piece.start for piece in first] == [file.cuts[-1][0]]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_batches_do_not_grow_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(pieces, "_CHUNK_BYTES", 2_000)
    text, lines = mixed(1_000)
    path = write_logs(tmp_path, {name: []}) / "logs" / name
    path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    (file,) = find_logs(tmp_path).files
    batches = list(readers._read(readers._pieces_of(file)))
    assert max(batch.column("line").nbytes for batch in batches) < 4_000
    assert [line for batch in batches for line in batch.column("line").to_pylist()] == lines


def test_a_last_line_that_goes_on_after_the_inspection_is_read_as_it_was_then(
    spark: SparkSession, tmp_path: Path
) -> None:
    path = write_logs(tmp_path, {"a.jsonl": []}) / "logs" / "a.jsonl"
    path.write_text(json_line())
    found = find_logs(tmp_path)
    path.write_text(json_line() + " and more\n")
    assert read(spark, found) == [("logs/a.jsonl", 0, json_line().encode())]


def test_tasks_get_shares_of_like_sizes_and_the_embedded_engine_not_too_many(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spread, "is_embedded", lambda _: False)
    mib = 1 << 20
    assert spread.in_shares(spark, [1, 2, 3], [mib, mib, 40 * mib]) == [[1, 2], [3]]
    many = spread.in_shares(spark, range(10_000), [8 * mib] * 10_000)
    assert {len(share) for share in many} == {8}
    monkeypatch.setattr(spread, "is_embedded", lambda _: True)
    monkeypatch.setattr(spread.os, "cpu_count", lambda: 2)
    assert len(spread.in_shares(spark, range(10_000), [8 * mib] * 10_000)) in (8, 9)
