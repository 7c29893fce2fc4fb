"""Maintains the lake's tables: merges small files, removes old rows, and old versions after their retention."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from deltalake import CommitProperties

from pipelines.delta import log as delta_log
from pipelines.delta.commits import Changes, Mark
from pipelines.delta.log import ZSTD, open_table, spelt_by_spark
from pipelines.delta.table_ddl import TABLES, TABLES_OF
from pipelines.delta.vacuum import vacuum
from pipelines.engine.scratch import sweep_scratch
from pipelines.engine.spark_writer import compact_by_spark
from pipelines.lake.tables import SCRATCH, Lake
from pipelines.maintain.erased_versions import FILES_KEPT, remove_erased
from pipelines.maintain.retention import ExpiryConfig, expire
from pipelines.session import is_embedded, spark_uri
from schemas.errors import InputError
from schemas.impression import HISTORIES, IMPRESSIONS
from schemas.storage.files import bytes_below
from schemas.storage.place import Place
from schemas.table import Table

SAFE_DAYS = 7  # Delta's own limit: it assumes that no reader or writer takes longer
_ZORDER = {IMPRESSIONS.name: ("user_id",), HISTORIES.name: ("user_id",)}  # columns of look-ups
_ZORDERED = {"maintain": "zorder"}  # the note of a commit that ordered a table
_FEATURE = "deletionVectors"


@dataclass(frozen=True, kw_only=True, slots=True)
class MaintenanceConfig:
    """The maintenance of each table."""

    small_file_mb: int = 32  # files below this are put together with others of their partition
    zorder: bool = False  # also lay impressions and histories out by user, where rows have changed since
    purge: bool = False  # write out deletion vectors, so that other readers open the tables until their job runs again
    retention_days: int | None = None  # keep files of old versions so long; by default what the table says, at first 7
    log_days: int | None = None  # keep the log of old versions so long; by default what the table says, at first 30
    below_safe_retention: bool = False  # allow a retention below 7 days, once: only when nobody reads or writes

    def __post_init__(self) -> None:
        if self.small_file_mb < 1:
            raise InputError(f"small_file_mb is {self.small_file_mb}: use 1 or more")
        days = self.retention_days
        if days is not None and (days < 0 or (days < SAFE_DAYS and not self.below_safe_retention)):
            raise InputError(
                f"retention_days is {days}: below {SAFE_DAYS} days, files that a running job reads can go, and old "
                f"versions with them. Use {SAFE_DAYS} or more; or, when nobody reads or writes this lake, add "
                "--below-safe-retention"
            )
        if self.log_days is not None and self.log_days < max(days or SAFE_DAYS, 1):
            raise InputError(
                f"log_days is {self.log_days}, and files are kept {days or SAFE_DAYS} days: a version without its log "
                "cannot be read. Use as many days or more"
            )


def maintain_lake(
    lake: Lake,
    config: MaintenanceConfig,
    expiry: ExpiryConfig = ExpiryConfig(),  # noqa: B008 - frozen
) -> dict[str, dict[str, Any]]:
    """Maintain every contract table that exists; returns per table its state before and after, and the number of rows
    that were removed for their age.
    """
    with exclusive(lake, by="maintain"):
        sweep_scratch(f"{lake.root}/{SCRATCH}")
        for table in TABLES:
            if lake.exists(table):
                _refuse_short_log(lake, table, config)
        expired = expire(lake, expiry, datetime.now(UTC).date())
        found = {table.name: _maintain(lake, table, config) for table in TABLES if lake.exists(table)}
        for name, rows in expired.items():
            found[name]["expired"] = rows
        remove_erased(lake, at_once=config.retention_days == 0)
        return found


def history(lake: Lake, table: Table, *, limit: int) -> list[dict[str, Any]]:
    """The table's latest commits, newest first: version, time in UTC, operation, rows changed."""
    changes = {commit.version: commit.changes for commit in lake.commits(table, limit=limit)}
    return [
        {"version": commit["version"], "time": _utc(commit["timestamp"]), "operation": commit["operation"]}
        | asdict(changes.get(commit["version"], Changes()))
        for commit in delta_log.history(lake.path(table), limit=limit)
    ]


def _utc(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


@contextmanager
def exclusive(lake: Lake, *, by: str) -> Iterator[None]:
    """Inside, the job `by` is the only one that writes tables of this lake."""
    with ExitStack() as held:
        for stage in ("maintain", *TABLES_OF):
            held.enter_context(lake.locked(stage, by=by))
        yield


def _maintain(lake: Lake, table: Table, config: MaintenanceConfig) -> dict[str, Any]:
    before = state_of(lake, table)
    _set_retention(lake, table, config)
    order = _ZORDER.get(table.name, ()) if config.zorder and _changed_since_ordered(lake, table) else ()
    _compact(lake, table, order, small_bytes=config.small_file_mb << 20)
    if config.purge:
        _purge(lake, table)
    _vacuum(lake, table, config)
    return {"before": before, "after": state_of(lake, table)}


def state_of(lake: Lake, table: Table) -> dict[str, int]:
    """The current version with its files, bytes and rows, and the bytes of the folder, with old versions and log."""
    version = lake.version(table)
    files = _files(lake, table)
    return {
        "version": version,
        "files": len(files),
        "bytes": sum(file["size_bytes"] for file in files),
        "rows": lake.read(table).count(),
        "bytes_in_folder": bytes_below(Place.of(lake.path(table))),
    }


def _files(lake: Lake, table: Table) -> list[dict[str, Any]]:
    """The files of the current version: path, size_bytes, num_records and more."""
    listed: list[dict[str, Any]] = pa.table(open_table(lake.path(table)).get_add_actions(flatten=True)).to_pylist()
    return listed


def _set_retention(lake: Lake, table: Table, config: MaintenanceConfig) -> None:
    """Store the retentions in the table's properties. One below the safe retention is for this run only."""
    days = config.retention_days
    wanted = {FILES_KEPT: days if days is not None and days >= SAFE_DAYS else None}
    wanted["delta.logRetentionDuration"] = config.log_days
    lake.set_properties(table, {name: f"interval {days} days" for name, days in wanted.items() if days is not None})


def _refuse_short_log(lake: Lake, table: Table, config: MaintenanceConfig) -> None:
    """InputError where the log would be removed before files whose retention an earlier run has set."""
    kept = re.fullmatch(r"interval (\d+) days", lake.properties(table).get(FILES_KEPT, ""))
    if config.log_days is None or config.retention_days is not None or kept is None:
        return
    if config.log_days < int(kept[1]):
        raise InputError(
            f"log_days is {config.log_days}, and table {table.name} keeps its files {kept[1]} days: a version without "
            "its log cannot be read. Use as many days or more, or name --retention-days too"
        )


def _changed_since_ordered(lake: Lake, table: Table) -> bool:
    """Whether a commit has changed rows since the latest that ordered them."""
    for commit in lake.commits(table, limit=lake.version(table) + 1):
        if commit.note == _ZORDERED:
            return False
        if commit.changes != Changes():
            return True
    return True


def _compact(lake: Lake, table: Table, order: tuple[str, ...], *, small_bytes: int) -> None:
    """Merge small files of a partition; with `order`, rewrite all files, ordered by these columns."""
    at = open_table(lake.path(table))
    spelt = spelt_by_spark(at)
    others = [(name, "!=", value) for name, values in spelt.items() for value in values] or None
    if order:
        noted = Mark(note=_ZORDERED)
        properties = CommitProperties(custom_metadata={"userMetadata": noted.user_metadata()})
        at.optimize.z_order(order, partition_filters=others, writer_properties=ZSTD, commit_properties=properties)
    else:
        noted = Mark()
        at.optimize.compact(partition_filters=others, target_size=small_bytes, writer_properties=ZSTD)
    if spelt and not is_embedded(lake.spark):  # only Spark can merge these
        compact_by_spark(lake.spark, lake.path(table), spelt, order, noted, small_bytes=small_bytes)


def _purge(lake: Lake, table: Table) -> None:
    """Remove rows that are only marked as deleted, so that the files hold exactly the table's rows.

    The protocol still names the feature. Delta 4 can only replace it by another one, which delta-rs cannot write.
    """
    if _FEATURE not in (open_table(lake.path(table)).protocol().reader_features or ()):
        return
    if is_embedded(lake.spark):
        raise InputError(
            f"{lake.path(table)}: Spark has marked rows of table {table.name} as deleted, and only Spark writes such "
            "marks out. Add --engine spark to --purge"
        )
    lake.set_properties(table, {"delta.enableDeletionVectors": "false"})
    lake.spark.sql(f"REORG TABLE delta.`{spark_uri(lake.path(table))}` APPLY (PURGE)")


def _vacuum(lake: Lake, table: Table, config: MaintenanceConfig) -> None:
    unsafe = config.retention_days is not None and config.retention_days < SAFE_DAYS
    hours = config.retention_days * 24 if unsafe and config.retention_days is not None else None
    vacuum(lake.path(table), hours=hours, below_retention=unsafe)
