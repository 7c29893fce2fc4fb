"""Rows by age: what is older than the days that its table was given leaves it, day by day, in one commit a table.

What ingest knows of files stays, so no file is read again for that. But an old line that comes again, in a new file, is
a new line: what it says stands in the tables until it has the age again. RAW_LOG without its oldest lines can no longer
be replayed, and a replay says so.
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
    """How old rows become, by table."""

    raw_log_days: int | None = None  # lines go so many days after the UTC date on which they arrived; no replay then
    rejects_days: int | None = None  # refused lines go so many days after they arrived
    impressions_days: int | None = None  # impressions go so many days after they were shown, with what is theirs alone

    def __post_init__(self) -> None:
        for field in fields(self):
            days = getattr(self, field.name)
            if days is not None and days < 1:
                raise InputError(f"{field.name} is {days}: give 1 or more days, or leave it out to keep all rows")


def expire(lake: Lake, config: ExpiryConfig, today: date) -> dict[str, int]:
    """Take the rows out that are older by now; how many each table lost, of those that were asked for.

    Rows of an older feedloop, which tell no date of arrival, stay. Nobody may write the lake meanwhile.
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
        yield table.name, _leave(lake, table, f"arrived_on < DATE '{today - timedelta(days=days)}'")


def _refuse_pending(lake: Lake, first: date) -> None:
    """InputError where lines from before the date are of a batch that ingest has not brought into the other tables."""
    old = lake.read(RAW_LOG).where(f"arrived_on < DATE '{first}'").select("source", "batch").distinct()
    if lake.exists(INGEST_RUNS):
        old = old.join(lake.read(INGEST_RUNS), ["source", "batch"], how="left_anti")
    waiting = old.first()
    if waiting is not None:
        raise InputError(
            f"{lake.root}: batch {waiting['batch']} of {waiting['source']} is in raw_log and not yet in the other "
            "tables, for its run was stopped. Run ./feedloop ingest first, so that no line of it is lost"
        )


def _leave(lake: Lake, table: Table, where: str) -> int:
    """How many rows there were for which a condition on partitions holds; now there are none."""
    old = lake.read(table).where(where)
    count = old.count()
    if count:
        lake.overwrite(table, old.limit(0), where=where, note=_NOTE)
    return count


def _impressions(lake: Lake, first: date) -> dict[str, int]:
    """Impressions from before the date, then their other ids, and the sequences of users who have none any more.

    ALIASES and HISTORIES are made to fit IMPRESSIONS as they find it, so that a killed run is completed by the next.
    """
    lost = {IMPRESSIONS.name: _leave(lake, IMPRESSIONS, f"date < DATE '{first}'")}
    there = lake.read(IMPRESSIONS)
    named = (F.col("impression_id").alias("canonical_id"), F.col("time").alias("canonical_time"))
    canonical = there.select("source", "user_id", *named).distinct()
    lost[ALIASES.name] = _keep_those_of(lake, ALIASES, canonical)
    lost[HISTORIES.name] = _keep_those_of(lake, HISTORIES, there.select("source", "user_id").distinct())
    return lost


def _keep_those_of(lake: Lake, table: Table, owners: DataFrame) -> int:
    """How many rows of the table had no owner; now there are none."""
    if not lake.exists(table):
        return 0
    rows, lost = lake.read(table), 0
    orphans = rows.join(owners, owners.columns, how="left_anti")
    for row in orphans.groupBy("source").agg(F.count("*").alias("rows")).orderBy("source").collect():
        ours = f"source = {literal(row['source'])}"
        lake.overwrite(table, rows.where(ours).join(owners, owners.columns, how="left_semi"), where=ours, note=_NOTE)
        lost += row["rows"]
    return lost
