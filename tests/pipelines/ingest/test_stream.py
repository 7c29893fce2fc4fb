from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from pipelines.ingest.discover.previous_reads import Known
from pipelines.ingest.discover.sources import Found
from pipelines.ingest.flow import ingest_logs
from pipelines.ingest.parse.mapping import LogMapping
from pipelines.ingest.stream import GrowingFolder, ingest_stream, summed
from pipelines.lake.tables import Lake
from schemas.errors import InputError
from schemas.impression import IMPRESSIONS
from schemas.raw_log import INGEST_RUNS, RAW_LOG
from tests.builders import ARRIVED, json_line, rows, write_logs


def stream(lake: Lake, logs: Path, max_files: int = 2) -> dict[str, Any]:
    add = partial(ingest_logs, lake, source="a / source", arrived_at=ARRIVED)
    return ingest_stream(lake, GrowingFolder(logs, "jsonl", None), add, source="a / source", max_files=max_files)


def lines(file: str, count: int) -> list[str]:
    return [json_line(f"{file}-{at}", shown=[f"{file}{at}", "n4"], clicked=["n4"]) for at in range(count)]


def test_a_growing_folder_is_read_some_files_at_a_time_each_line_once(spark: SparkSession, tmp_path: Path) -> None:
    lake, logs = Lake(spark, str(tmp_path / "lake")), tmp_path / "logs [1]"
    write_logs(logs, {"a b+é.jsonl": lines("a", 3), "b.jsonl.gz": lines("b", 2), "c.jsonl": lines("c", 1)})
    write_logs(
        logs, {"10:00:00.txt": ["no log"], "_c.jsonl": lines("no", 9), "bad.jsonl": ["rubbish"], "cut.jsonl.gz": []}
    )
    (logs / "logs" / "cut.jsonl.gz").write_bytes(
        gzip.compress(b"\n".join(line.encode() for line in lines("d", 99)))[:-9]
    )
    first = stream(lake, logs)
    assert [first[name] for name in ("new_files", "files", "lines", "impressions", "rejected")] == [3, 3, 6, 6, 0]
    assert sorted(first["unreadable_files"]) == ["logs/bad.jsonl", "logs/cut.jsonl.gz"]
    assert stream(lake, logs)["lines"] == 0
    write_logs(logs, {"c.jsonl": lines("c", 4), "cut.jsonl.gz": lines("d", 2), "z:0.jsonl": lines("z", 1)})
    again = stream(lake, logs)
    assert [again[name] for name in ("files", "lines")] == [3, 6]
    assert list(again["unreadable_files"]) == ["logs/bad.jsonl"]
    found = lake.read(RAW_LOG).selectExpr("get_json_object(string(line), '$.impression_id')", "file", "position")
    counts = {"a": ("a b+é.jsonl", 3), "b": ("b.jsonl.gz", 2), "c": ("c.jsonl", 4), "d": ("cut.jsonl.gz", 2)}
    counts["z"] = ("z:0.jsonl", 1)
    assert rows(found) == [
        (f"{id}-{at}", f"logs/{name}", at) for id, (name, count) in counts.items() for at in range(count)
    ]
    assert lake.read(IMPRESSIONS).count() == 12
    assert lake.read(INGEST_RUNS).count() >= 4  # two files at a time


def test_new_files_come_in_groups_and_then_all_are_inspected(spark: SparkSession, tmp_path: Path) -> None:
    lake, asked = Lake(spark, str(tmp_path / "lake")), list[list[str]]()
    logs = write_logs(tmp_path / "logs", {f"{name}.jsonl": lines(name, 1) for name in "abcde"})

    def add(find: Callable[[Mapping[str, Known]], Found]) -> dict[str, Any]:
        found = find({})
        asked.append([file.name[-7] for file in found.files])
        if len(asked) == 1:
            write_logs(logs, {"f.jsonl": lines("f", 1)})  # added meanwhile
        return {"inputs": {"t": len(asked)}, "outputs": {}, "unreadable_files": {}, "unfinished_lines": [], "n": 1}

    summary = ingest_stream(lake, GrowingFolder(logs, "jsonl", None), add, source="s", max_files=2)
    assert asked == [["a", "b"], ["c", "d"], ["e"], [*"abcdef"]]
    assert (summary["inputs"], summary["n"]) == ({"t": 1}, 4)


def test_a_second_stream_adds_nothing_twice_and_the_state_of_older_ones_is_left_alone(
    spark: SparkSession, tmp_path: Path
) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))
    logs = write_logs(tmp_path / "logs", {"a.jsonl": lines("a", 2), "b.jsonl": lines("b", 2)})
    stream(lake, logs)
    assert not (tmp_path / "lake" / "_streams").exists()
    (tmp_path / "lake" / "_streams" / "a" / "offsets").mkdir(parents=True)  # an older feedloop's
    assert [stream(lake, logs)[name] for name in ("new_files", "lines")] == [0, 0]


@pytest.mark.parametrize("mapping", [LogMapping(files="**/*.json"), LogMapping(format="delta"), None])
def test_what_cannot_be_streamed_is_refused(tmp_path: Path, mapping: LogMapping | None) -> None:
    logs = tmp_path if mapping else write_logs(tmp_path, {"a.jsonl": lines("a", 1)}) / "logs" / "a.jsonl"
    with pytest.raises(InputError, match=r"a stream reads a folder.*Leave --stream-files out"):
        GrowingFolder(logs, "auto", mapping)


def test_the_numbers_of_runs_are_added_and_their_tables_joined() -> None:
    one = {"lines": 1, "source": "s", "unreadable_files": {"a": "why"}, "by_reason": {"x": 1}}
    other = {"lines": 2, "source": "s", "unreadable_files": {"b": "why"}, "by_reason": {"x": 1, "y": 2}}
    assert summed([one, other]) == {
        "lines": 3,
        "source": "s",
        "unreadable_files": {"a": "why", "b": "why"},
        "by_reason": {"x": 2, "y": 2},
    }
