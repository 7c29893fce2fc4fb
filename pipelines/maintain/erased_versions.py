"""Removes for good what forget has erased from the tables: the files of old versions, and their log entries.

Delta's log states the smallest and largest ids of each file, and a commit of Spark repeats them for the files that it
removes. So the log is removed up to and with the commit that erased the rows, behind a checkpoint of a later version.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pyspark.sql import functions as F

from pipelines.delta.log import open_table
from pipelines.delta.table_ddl import TABLES
from pipelines.delta.vacuum import vacuum
from pipelines.lake.tables import Lake
from schemas.as_spark import spark_schema
from schemas.erasure import ERASURES
from schemas.storage.files import below, remove_all
from schemas.storage.place import Place
from schemas.table import Table

FILES_KEPT = "delta.deletedFileRetentionDuration"
_KEPT_AT_FIRST = timedelta(days=7)
_INTERVAL = re.compile(r"interval (\d+) (day|hour|week)s?", re.IGNORECASE)
_OF_VERSION = re.compile(r"\.?(\d{20})\.")  # names of a version's files in the log: commits, checkpoints, sums
_NOTE = "erased"  # a table's note: its first version without the erased rows


def file_retention(lake: Lake, table: Table) -> timedelta:
    """How long the table keeps files that its current version no longer contains."""
    interval = _INTERVAL.fullmatch(lake.properties(table).get(FILES_KEPT, ""))
    return _KEPT_AT_FIRST if interval is None else timedelta(**{f"{interval[2].lower()}s": int(interval[1])})


def remove_erased(lake: Lake, *, at_once: bool = False) -> list[str]:
    """Remove erased rows from old versions where the tables' retention has passed, or at once; returns the names of
    these tables.

    No other process may write the lake meanwhile. The next run completes what a killed run has left.
    """
    if not lake.exists(ERASURES):
        return []
    waiting = lake.read(ERASURES).where(F.col("removed_at").isNull())
    after = F.max("version_after").alias("after")
    due = waiting if at_once else waiting.where(F.col("removable_from") <= F.lit(datetime.now(UTC)))
    versions = {row["table_name"]: row["after"] for row in due.groupBy("table_name").agg(after).collect()}
    done = [table for table in TABLES if table.name in versions and lake.exists(table)]
    for table in done:
        _remove(lake, table, versions[table.name], at_once=at_once)
    if versions:
        _mark_removed(lake, versions)
    return [table.name for table in done]


def _remove(lake: Lake, table: Table, after: int, *, at_once: bool) -> None:
    """Remove the files that hold the erased rows, and the log entries that describe these files."""
    path = lake.path(table)
    if lake.version(table) <= after:
        lake.note(table, _NOTE, str(after))  # a later version, for the checkpoint
    vacuum(path, hours=0 if at_once else None, below_retention=at_once)
    open_table(path).create_checkpoint()
    log = Place.of(path) / "_delta_log"
    versions = {name: _OF_VERSION.match(name) for name, _ in below(log)}
    remove_all([log / name for name, of in versions.items() if of is not None and int(of[1]) <= after])


def _mark_removed(lake: Lake, versions: dict[str, int]) -> None:
    done = F.lit(False)
    for name, after in sorted(versions.items()):
        done |= (F.col("table_name") == name) & (F.col("version_after") <= after)
    now = F.lit(datetime.now(UTC))
    rows = lake.read(ERASURES)
    removed = F.when(F.col("removed_at").isNull() & done, now).otherwise(F.col("removed_at"))
    lake.overwrite(ERASURES, rows.withColumn("removed_at", removed), note={"forget": "removed"})


def write_erasures(lake: Lake, run: str, rows: Sequence[dict[str, Any]]) -> None:
    """Write the run's erasures, in place of those that a stopped part of it wrote."""
    if not rows:
        return
    values = [tuple(row[name] for name in ERASURES.column_names) for row in rows]
    frame = lake.spark.createDataFrame(values, spark_schema(ERASURES))
    if lake.exists(ERASURES):
        frame = lake.read(ERASURES).where(F.col("run") != run).unionByName(frame)
    lake.overwrite(ERASURES, frame, note={"forget": run})
