"""Removes rows that are older than the days that are set for their table, in one commit per table.

Ingest's records of files stay, so no file is read again. But an old line that comes again in a new file is a new line:
its rows stay in the tables until they have that age again. RAW_LOG without its oldest lines can no longer be replayed,
and a replay reports that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import date, timedelta

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipelines.delta.table_ddl import literal
from pipelines.lake.tables import Lake
from schemas.errors import InputError
from schemas.impression import ALIASES, HISTORIES, IMPRESSIONS
from schemas.raw_log import INGEST_RUNS, RAW_LOG, REJECTS
from schemas.table import Table

_NOTE = {"maintain": "expired"}


@dataclass(frozen=True, kw_only=True, slots=True)
class ExpiryConfig:
    """The greatest age of rows, by table."""

    raw_log_days: int | None = None  # lines go so many days after the UTC date on which they arrived; no replay then
    rejects_days: int | None = None  # refused lines go so many days after they arrived
    impressions_days: int | None = None  # impressions go so many days after they were shown, with what is theirs alone

    def __post_init__(self) -> None:
        for field in fields(self):
            days = getattr(self, field.name)
            if days is not None and days < 1:
                raise InputError(f"{field.name} is {days}: give 1 or more days, or leave it out to keep all rows")


def expire(lake: Lake, config: ExpiryConfig, today: date) -> dict[str, int]:
    """Remove the rows that are too old; returns the number of removed rows of each configured table.

    Rows of an older feedloop without a date of arrival stay. No other process may write the lake meanwhile.
    """
    if config.raw_log_days is not None and lake.exists(RAW_LOG):
        _refuse_pending(lake, today - timedelta(days=config.raw_log_days))
    lost = dict(_by_arrival(lake, RAW_LOG, config.raw_log_days, today))
    lost |= dict(_by_arrival(lake, REJECTS, config.rejects_days, today))
    if config.impressions_days is not None and lake.exists(IMPRESSIONS):
        lost |= _impressions(lake, today - timedelta(days=config.impressions_days))
    return lost


def _by_arrival(lake: Lake, table: Table, days: int | None, today: date) -> Iterator[tuple[str, int]]:
    if days is not None and lake.exists(table):
        yield table.name, _remove_rows(lake, table, f"arrived_on < DATE '{today - timedelta(days=days)}'")


def _refuse_pending(lake: Lake, first: date) -> None:
    """InputError where lines from before the date belong to a batch that ingest has not completed."""
    old = lake.read(RAW_LOG).where(f"arrived_on < DATE '{first}'").select("source", "batch").distinct()
    if lake.exists(INGEST_RUNS):
        old = old.join(lake.read(INGEST_RUNS), ["source", "batch"], how="left_anti")
    waiting = old.first()
    if waiting is not None:
        raise InputError(
            f"{lake.root}: batch {waiting['batch']} of {waiting['source']} is in raw_log and not yet in the other "
            "tables, for its run was stopped. Run ./feedloop ingest first, so that no line of it is lost"
        )


def _remove_rows(lake: Lake, table: Table, where: str) -> int:
    """Remove the rows for which a condition on partitions holds; returns their number."""
    old = lake.read(table).where(where)
    count = old.count()
    if count:
        lake.overwrite(table, old.limit(0), where=where, note=_NOTE)
    return count


def _impressions(lake: Lake, first: date) -> dict[str, int]:
    """Remove impressions from before the date, then their aliases, and the sequences of users without impressions.

    ALIASES and HISTORIES are cut to the stored IMPRESSIONS, so the next run completes a killed one.
    """
    lost = {IMPRESSIONS.name: _remove_rows(lake, IMPRESSIONS, f"date < DATE '{first}'")}
    there = lake.read(IMPRESSIONS)
    named = (F.col("impression_id").alias("canonical_id"), F.col("time").alias("canonical_time"))
    canonical = there.select("source", "user_id", *named).distinct()
    lost[ALIASES.name] = _remove_orphans(lake, ALIASES, canonical)
    lost[HISTORIES.name] = _remove_orphans(lake, HISTORIES, there.select("source", "user_id").distinct())
    return lost


def _remove_orphans(lake: Lake, table: Table, owners: DataFrame) -> int:
    """Remove the table's rows without an owner; returns their number."""
    if not lake.exists(table):
        return 0
    rows, lost = lake.read(table), 0
    orphans = rows.join(owners, owners.columns, how="left_anti")
    for row in orphans.groupBy("source").agg(F.count("*").alias("rows")).orderBy("source").collect():
        ours = f"source = {literal(row['source'])}"
        lake.overwrite(table, rows.where(ours).join(owners, owners.columns, how="left_semi"), where=ours, note=_NOTE)
        lost += row["rows"]
    return lost
