"""Names of log files, whatever they hold: each file is read, or listed as unreadable with the reason."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from pipelines.compressed import with_compressed
from pipelines.ingest.batch.audit import check_lines
from pipelines.ingest.discover.sources import find_logs
from pipelines.ingest.parse.mapping import LogMapping
from pipelines.ingest.read.readers import raw_lines
from tests.builders import json_line, rows, write_logs

AWKWARD = [
    "2026-03-05T10:00:00", "a b", " a", "a ", "a%20b", "%", "%zz", "h#a", "w?", "n\nl", "\t", "é😀", "[x]", "*",
    "{a,b}", "back\\slash", "`q'\"", "+&;=", "~", "x@v1", "day=1", "\x01", "-", "c:", "[c]:*", "\u2028", "e\u0301",
]  # fmt: skip
LETTERS = st.characters(codec="utf-8", exclude_characters="/\0")
NAMES = st.text(st.one_of(st.sampled_from(" :%#?[]{}*\\'\"\n+&=@~;,^$!"), LETTERS), min_size=1, max_size=20)


@settings(max_examples=1, phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow])
@given(names=st.lists(NAMES, min_size=12, max_size=12, unique=True))
def test_a_file_of_any_name_is_read_completely(spark: SparkSession, names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        ends = with_compressed(".jsonl")
        named = [f"{name}{ends[at % len(ends)]}" for at, name in enumerate([*AWKWARD, *names])]
        files = {name: [json_line(str(at))] * 2 for at, name in enumerate(named)}
        found = find_logs(write_logs(Path(scratch), files))
        visible = {f"logs/{name}" for name in files if name[0] not in "._"}
        assert ({file.name for file in found.files}, found.unreadable) == (visible, {})
        lines = raw_lines(spark, found.files)
        check_lines(lines, found.files)
        read = rows(lines.selectExpr("get_json_object(string(line), '$.impression_id') AS id", "file").distinct())
    assert read == sorted(((str(at), f"logs/{name}") for at, name in enumerate(files) if name[0] not in "._"), key=repr)


@pytest.mark.parametrize("suffix", with_compressed(""))
def test_a_name_that_is_no_utf8_is_refused_by_name_and_one_that_is_odd_is_read(tmp_path: Path, suffix: str) -> None:
    odd = f"%2F 10:00#?*[a]\n\\{suffix}.jsonl{suffix}"
    folder = write_logs(tmp_path / "day [1]:*?\n", {odd: [json_line("1")], os.fsdecode(b"\xff.jsonl") + suffix: ["x"]})
    found = find_logs(folder)
    assert [file.name for file in found.files] == [f"logs/{odd}"]
    assert list(found.unreadable) == [f"logs/\\udcff.jsonl{suffix}"]
    assert "no UTF-8" in found.unreadable[f"logs/\\udcff.jsonl{suffix}"]


def test_parquet_of_a_name_with_a_colon_in_a_folder_with_brackets_is_read(spark: SparkSession, tmp_path: Path) -> None:
    folder = tmp_path / "day=[1] a:b"
    folder.mkdir()
    table = pa.table({"impression_id": ["1"], "user_id": ["u"], "time": ["t"], "history": [["a"]], "shown": [["a"]]})
    pq.write_table(table.append_column("clicked", [[["a"]]]), folder / "10:00.parquet")
    found = find_logs(tmp_path, mapping=LogMapping(format="parquet", files="*/*.parquet"))
    lines = raw_lines(spark, found.files)
    check_lines(lines, found.files)
    assert rows(lines, "file", "position") == [("day=[1] a:b/10:00.parquet", 0)]
