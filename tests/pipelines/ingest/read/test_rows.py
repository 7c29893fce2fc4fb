from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines.ingest.discover import spread
from pipelines.ingest.discover.sources import Found, find_logs
from pipelines.ingest.parse.lines import PARSED_FIELDS, with_parsed
from pipelines.ingest.parse.mapping import Extra, LogMapping
from pipelines.ingest.parse.mapping_file import read_mapping
from pipelines.ingest.read.readers import raw_lines
from pipelines.ingest.read.rows import _parquet_lines, _pieces_of
from tests.builders import ARRIVED, rows
from tests.conftest import REPOSITORY

PRESETS = REPOSITORY / "jobs" / "presets" / "logs"
NINE = datetime(2026, 3, 2, 9, 15, 31, 250_000)  # as Spark returns it: UTC without a zone
GOOD = ("i1", "u1", NINE, ["n1", "n2"], ["n3", "n4"], ["n3"])


def parsed(spark: SparkSession, found: Found) -> DataFrame:
    """The fields of the rows, parsed from the lines that RAW_LOG would hold."""
    lines = raw_lines(spark, found.files).withColumn("arrived_at", F.lit(ARRIVED))
    ((format,),) = rows(lines.select("format").distinct())
    assert format == found.files[0].lines_format
    return with_parsed(lines, format)


def write(path: Path, **columns: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


TWO: dict[str, list[Any]] = {
    "reader": ["u1", "u2"],
    "shown_at": [1772442931250, 1772442931250],
    "slate": [["n3", "n4"], ["n3", "n3"]],
    "postcode": [2100, 2200],
}


def parquet_log(path: Path, **columns: Any) -> Path:
    """Two rows by the parquet preset; the columns given instead of its own."""
    own: dict[str, Any] = TWO | {"view_id": [1, 2], "opened": [["n3"], None]}
    return write(path, **(own | columns))


def test_parquet_by_the_example_mapping(spark: SparkSession, tmp_path: Path) -> None:
    parquet_log(tmp_path / "day=1" / "part-0.parquet")
    parquet_log(tmp_path / "b.parquet", view_id=[3, 4])
    found = find_logs(tmp_path, mapping=read_mapping(PRESETS / "parquet.toml"))
    frame = parsed(spark, found)
    assert rows(frame, "file", "position", *PARSED_FIELDS, "reason") == [
        ("b.parquet", 0, "3", "u1", NINE, [], ["n3", "n4"], ["n3"], None),
        ("b.parquet", 1, "4", "u2", NINE, [], ["n3"], None, None),
        ("day=1/part-0.parquet", 0, "1", "u1", NINE, [], ["n3", "n4"], ["n3"], None),
        ("day=1/part-0.parquet", 1, "2", "u2", NINE, [], ["n3"], None, None),
    ]
    assert not [line for (line,) in rows(frame, "line") if b"2100" in line]


def test_a_parquet_file_is_read_by_several_tasks_and_each_row_keeps_its_number(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.ingest.discover.scan.CUT_BYTES", 1)
    for name in ("_LEAST", "_LEAST_EMBEDDED"):
        monkeypatch.setattr(spread, name, 1)
    table = pa.concat_tables([pq.read_table(parquet_log(tmp_path / "a.parquet"))] * 5)
    ids = pa.array(range(10), pa.int64())
    pq.write_table(table.drop(["view_id"]).append_column("view_id", ids), tmp_path / "a.parquet", row_group_size=3)
    lines = raw_lines(spark, find_logs(tmp_path, mapping=read_mapping(PRESETS / "parquet.toml")).files)
    ids = [(at, json.loads(line)["impression_id"]) for at, line in rows(lines, "position", "line")]
    assert ids == [(at, str(at)) for at in range(10)]
    assert len(rows(lines.selectExpr("spark_partition_id()").distinct())) == 4


def test_a_column_of_times_needs_no_format(spark: SparkSession, tmp_path: Path) -> None:
    aware = pa.array([NINE.replace(tzinfo=UTC)] * 2, pa.timestamp("us", "UTC"))
    local = pa.array([NINE.replace(hour=10)] * 2, pa.timestamp("us"))
    mapping = LogMapping(
        columns=dict(read_mapping(PRESETS / "parquet.toml").columns),
        format="parquet",
        files="*.parquet",
        time_format="epoch_seconds",
        time_zone="Europe/Copenhagen",
    )
    for name, times in (("aware", aware), ("local", local)):
        parquet_log(tmp_path / name / "a.parquet", shown_at=times)
        found = find_logs(tmp_path / name, mapping=mapping)
        assert found.files[0].lines_format == "jsonl"
        assert rows(parsed(spark, found), "time") == [(NINE,), (NINE,)]


def test_rows_without_an_impression_are_refused_and_extra_columns_kept(spark: SparkSession, tmp_path: Path) -> None:
    marks = [[1, 0], [0, 2]]
    parquet_log(tmp_path / "a.parquet", opened=marks, reader=["u1", None], seconds=["1.5", "many"])
    parquet_log(tmp_path / "b.parquet", opened=marks, slate=[[], ["n 1", "n2"]], seconds=["2", None])
    mapping = LogMapping(
        columns=dict(read_mapping(PRESETS / "parquet.toml").columns),
        extra={"seconds": Extra("seconds", "double")},
        format="parquet",
        files="*.parquet",
        time_format="epoch_milliseconds",
        clicked_as="marks",
    )
    frame = parsed(spark, find_logs(tmp_path, mapping=mapping))
    assert rows(frame, "file", "position", "clicked_ids", "seconds", "reason") == [
        ("a.parquet", 0, ["n3"], 1.5, None),
        ("a.parquet", 1, [], None, "missing_field"),
        ("b.parquet", 0, [], 2.0, "nothing_shown"),
        ("b.parquet", 1, [], None, "bad_id"),
    ]


def ebnerd(folder: Path, user: int = 7) -> Path:
    shown = {"article_ids_inview": [[1, 2], [3]], "article_ids_clicked": [[2], []], "gender": [1, None], "age": [33, 3]}
    write(
        folder / "behaviors.parquet",
        impression_id=pa.array([10, 11], "uint32"),
        user_id=pa.array([user, 99], "uint32"),
        impression_time=pa.array([NINE, NINE], pa.timestamp("us")),
        **shown,
    )
    write(folder / "history.parquet", user_id=pa.array([user], "uint32"), article_id_fixed=[[5, 6, 5]], age=[33])
    return folder


def test_ebnerd_gets_each_users_history_and_keeps_nothing_personal(spark: SparkSession, tmp_path: Path) -> None:
    ebnerd(tmp_path / "train")
    ebnerd(tmp_path / "validation", user=8)
    frame = parsed(spark, find_logs(tmp_path))
    assert rows(frame, "file", "position", *PARSED_FIELDS, "reason") == [
        ("train/behaviors.parquet", 0, "10", "7", NINE, ["5", "6", "5"], ["1", "2"], ["2"], None),
        ("train/behaviors.parquet", 1, "11", "99", NINE, [], ["3"], [], None),
        ("validation/behaviors.parquet", 0, "10", "8", NINE, ["5", "6", "5"], ["1", "2"], ["2"], None),
        ("validation/behaviors.parquet", 1, "11", "99", NINE, [], ["3"], [], None),
    ]
    fields = {name for (line,) in rows(frame, "line") for name in json.loads(line)}
    assert fields == {"impression_id", "user_id", "time", "history", "shown", "clicked"}


def test_ebnerd_without_its_history_is_unreadable(tmp_path: Path) -> None:
    ebnerd(tmp_path / "train")
    (ebnerd(tmp_path / "validation") / "history.parquet").unlink()
    found = find_logs(tmp_path)
    assert [file.name for file in found.files] == ["train/behaviors.parquet"]
    assert (
        "its history.parquet is no readable Parquet file (No such file"
        in found.unreadable["validation/behaviors.parquet"]
    )


def test_the_ebnerd_week_is_read_completely(spark: SparkSession, shared_data: Path) -> None:
    frame = parsed(spark, find_logs(shared_data / "ebnerd_demo"))
    counts = frame.selectExpr("count(*)", "count(reason)", "count(distinct user_id)", "count(distinct impression_id)")
    assert rows(counts) == [(24_724, 0, 1_590, 24_724)]
    days = frame.selectExpr(
        "date_format(min(time), 'yyyy-MM-dd HH:mm:ss')",
        "date_format(max(time), 'yyyy-MM-dd HH:mm:ss')",
        "min(size(history))",
        "count(clicked_ids)",
    )
    assert rows(days)[0][:2] == ("2023-05-18 07:00:03", "2023-05-25 06:59:52")
    assert rows(days)[0][2] > 0


def test_the_test_split_of_ebnerd_is_unlabelled(spark: SparkSession, tmp_path: Path) -> None:
    """It has no clicks; its beyond-accuracy rows all have the id 0, and no session."""
    users, times = pa.array([7, 8, 9], "uint32"), pa.array([NINE] * 3, pa.timestamp("us"))
    shown = pa.array([[1, 2], [3, 4], [3, 4]], pa.large_list(pa.int32()))
    kinds = {"session_id": pa.array([1, None, None], "uint32"), "is_beyond_accuracy": [False, True, True]}
    path = tmp_path / "test" / "behaviors.parquet"
    ids = pa.array([10, 0, 0], "uint32")
    write(path, impression_id=ids, user_id=users, impression_time=times, article_ids_inview=shown, **kinds)
    write(path.with_name("history.parquet"), user_id=pa.array([7], "uint32"), article_id_fixed=[[5, 6]])
    ebnerd(tmp_path / "train")
    frame = parsed(spark, find_logs(tmp_path)).where("file LIKE 'test%'")
    assert rows(frame, "position", *PARSED_FIELDS, "reason") == [
        (0, "10", "7", NINE, ["5", "6"], ["1", "2"], None, None),
        (1, "0", "8", NINE, [], ["3", "4"], None, None),
        (2, "0", "9", NINE, [], ["3", "4"], None, None),
    ]


def test_a_single_clicked_news_is_a_list_of_one_and_none_is_none(tmp_path: Path) -> None:
    parquet_log(
        tmp_path / "a.parquet",
        view_id=[1, 2, 3, 4],
        opened=["n3", None, None, "n4"],
        **{name: values * 2 for name, values in TWO.items()},
    )
    columns = dict(read_mapping(PRESETS / "parquet.toml").columns)
    mapping = LogMapping(
        columns=columns, format="parquet", files="*.parquet", time_format="epoch_milliseconds", clicked_as="id"
    )
    (file,) = find_logs(tmp_path, mapping=mapping).files
    (batch,) = _parquet_lines(_pieces_of(file), mapping=mapping)
    clicked = [json.loads(line).get("clicked") for line in batch.column("line").to_pylist()]
    assert clicked == [["n3"], None, None, ["n4"]]
