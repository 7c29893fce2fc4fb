"""A log that brings new columns: they become columns of the tables, null in earlier rows."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from pipelines.ingest.discover.log_file import LogFile
from pipelines.ingest.discover.sources import find_logs, find_new, log_paths
from pipelines.ingest.flow import Dates, append_lines, ingest_logs
from pipelines.ingest.parse.mapping import Extra, LogMapping
from pipelines.ingest.read.readers import raw_lines
from pipelines.lake.tables import Lake
from schemas.errors import InputError
from schemas.impression import IMPRESSIONS
from schemas.raw_log import RAW_LOG
from tests.builders import ARRIVED, json_line, rows, write_logs


def run(lake: Lake, logs: Path, **extra: Extra) -> dict[str, Any]:
    mapping = LogMapping(files="logs/*.jsonl", extra=extra)
    find = partial(find_new, log_paths(logs, "auto", mapping), logs, mapping)
    return ingest_logs(lake, find, source="publisher", arrived_at=ARRIVED)


def test_new_columns_of_a_log_come_into_the_table_by_append_and_by_merge(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))
    write_logs(tmp_path, {"1.jsonl": [json_line("1"), json_line("2", shown=["n3", "n5"])]})
    run(lake, tmp_path)
    later = [
        json_line("1", clicked=["n4"], seconds=7, device="phone"),  # logged again: merged
        json_line("3", shown=["n3", "n6"], seconds="many", device="desk"),
    ]
    write_logs(tmp_path, {"2.jsonl": later})
    added = run(lake, tmp_path, seconds=Extra("seconds", "long"), device=Extra("device"))
    assert [added[name] for name in ("impressions", "merged", "rejected")] == [1, 1, 0]
    write_logs(tmp_path, {"3.jsonl": [json_line("4", shown=["n3", "n7"])]})
    run(lake, tmp_path)  # and without them again
    table = lake.read(IMPRESSIONS)
    assert rows(table, "impression_id", "seconds", "device", "clicked") == [
        ("1", 7, "phone", [True, True]),
        ("2", None, None, [True, False]),
        ("3", None, "desk", [True, False]),
        ("4", None, None, [True, False]),
    ]


def test_a_batch_that_another_run_wrote_meanwhile_is_an_error(spark: SparkSession, tmp_path: Path) -> None:
    """Where no lock separates two runs, as for a URL: both take the same number, and Delta lets one of them in."""
    lake, logs = (
        Lake(spark, str(tmp_path / "lake")),
        write_logs(tmp_path, {"1.jsonl": [json_line("1")], "2.jsonl": [json_line("2")]}),
    )
    files = find_logs(logs).files

    def append(*some: LogFile) -> None:
        columns = (f"TIMESTAMP '{ARRIVED:%Y-%m-%d %H:%M:%S}' AS arrived_at", "'publisher' AS source", "1L AS batch")
        columns += (f"DATE '{ARRIVED.date()}' AS arrived_on",)
        lines = raw_lines(spark, [*some]).selectExpr("*", *columns)
        append_lines(lake, [*some], lines, source="publisher", batch=1, dates=Dates(ARRIVED.date()))

    append(files[0])
    with pytest.raises(InputError, match="another run wrote table raw_log at the same time"):
        append(files[1])
    assert lake.read(RAW_LOG).count() == 1


def test_an_impression_that_gets_another_key_keeps_its_extra_columns(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))
    write_logs(tmp_path, {"1.jsonl": [json_line("1", device="phone")]})
    run(lake, tmp_path, device=Extra("device"))
    write_logs(tmp_path, {"2.jsonl": [json_line("1", time="2026-03-02T09:15:30Z")]})
    run(lake, tmp_path)
    found = rows(lake.read(IMPRESSIONS).selectExpr("date_format(time, 'ss')", "device"))
    assert found == [("30", "phone")]
    write_logs(tmp_path, {"3.jsonl": [json_line("2")]})
    with pytest.raises(InputError, match="extra column device is string there, and long in this run's mapping"):
        run(lake, tmp_path, device=Extra("device", "long"))
    write_logs(tmp_path, {"3.jsonl": [json_line("2", shown=["n3", "n9"], device="desk")]})
    assert run(lake, tmp_path, device=Extra("device"))["impressions"] == 1
