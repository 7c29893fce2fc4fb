"""Partitions of RAW_LOG and REJECTS: by the day on which lines arrived, or those of an older feedloop."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from pipelines.delta.log import open_table
from pipelines.delta.table_ddl import create_table
from pipelines.ingest.discover.sources import find_logs
from pipelines.ingest.flow import Dates, append_lines
from pipelines.ingest.read.readers import raw_lines
from pipelines.lake.tables import Lake
from schemas.raw_log import RAW_LOG, REJECTS
from schemas.table import Table
from tests.builders import ARRIVED, json_line, rows, write_logs

DAY = date(2026, 3, 10)


def append(lake: Lake, folder: Path, batch: int, day: date = DAY) -> None:
    """A batch of one line."""
    files = find_logs(write_logs(folder / str(batch), {f"{batch}.jsonl": [json_line(str(batch))]})).files
    columns = (f"TIMESTAMP '{ARRIVED:%Y-%m-%d %H:%M:%S}' AS arrived_at", "'publisher' AS source", f"{batch}L AS batch")
    columns += (f"DATE '{day}' AS arrived_on",)
    lines = raw_lines(lake.spark, files).selectExpr("*", *columns)
    append_lines(lake, files, lines, source="publisher", batch=batch, dates=Dates(day))


def reject(lake: Lake, batch: int) -> None:
    frame = lake.spark.createDataFrame(
        [("publisher", "logs/a.jsonl", 0, "x", "not_json", batch, DAY)],
        "source string, file string, position long, line string, reason string, batch long, arrived_on date",
    )
    lake.append(REJECTS, frame, app_id="test", app_version=batch)


def files_of(lake: Lake, table: Table) -> list[str]:
    return sorted(str(path) for path in open_table(lake.path(table)).get_add_actions().column("path").to_pylist())


def test_batches_of_one_day_share_a_partition_so_that_their_files_can_be_merged(
    spark: SparkSession, tmp_path: Path
) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))
    for batch, day in ((1, DAY), (2, DAY), (3, date(2026, 3, 11))):
        append(lake, tmp_path, batch, day)
        reject(lake, batch)
    for table, parts in ((RAW_LOG, 2), (REJECTS, 1)):
        assert len(files_of(lake, table)) == 3
        open_table(lake.path(table)).optimize.compact()
        assert len(files_of(lake, table)) == parts
        assert rows(lake.read(table), "batch") == [(1,), (2,), (3,)]
    assert rows(lake.read(RAW_LOG), "batch", "arrived_on") == [(1, DAY), (2, DAY), (3, date(2026, 3, 11))]


@pytest.mark.parametrize("table", [RAW_LOG, REJECTS], ids=lambda table: table.name)
def test_a_table_that_an_older_feedloop_partitioned_by_batch_keeps_its_partitions(
    spark: SparkSession, tmp_path: Path, table: Table
) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))
    columns = tuple(column for column in table.columns if column.name != "arrived_on")
    older = replace(table, columns=columns, partition_by=("source", "batch"))
    create_table(older, lake.path(table))
    names = {"raw_log": "'2026-03-10' AS arrived_at, 'jsonl' AS format", "rejects": "'not_json' AS reason"}
    row = f"'publisher' AS source, 'a' AS file, 0 AS position, 'x' AS line, 1L AS batch, {names[table.name]}"
    lake.append(older, spark.sql(f"SELECT {row}"), app_id="test", app_version=1)
    if table == RAW_LOG:
        append(lake, tmp_path, 2)
    else:
        reject(lake, 2)
    assert open_table(lake.path(table)).metadata().partition_columns == ["source", "batch"]
    assert rows(lake.read(table), "batch", "arrived_on") == [(1, None), (2, DAY)]
