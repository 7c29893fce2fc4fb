"""The ingest stage whole: new files into RAW_LOG, then each of its batches into the other tables.

Every commit can be replayed: a run that was killed anywhere is completed by the next one, which first finds the batches
of RAW_LOG that INGEST_RUNS does not hold. The row in INGEST_RUNS is written last.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipelines.ingest.dedupe import per_impression, row_changes, united_row
from pipelines.ingest.histories import GONE, history_changes
from pipelines.ingest.parse import keep_rejects, keep_told, with_told
from pipelines.ingest.readers import raw_lines
from pipelines.ingest.sources import LogFile, find_logs, format_of, new_files
from pipelines.session import whole_files
from pipelines.tables import INCOMING, Lake
from schemas.errors import ContractError
from schemas.impression import HISTORIES, IMPRESSIONS
from schemas.raw_log import INGEST_RUNS, RAW_LOG, REJECT_REASONS, REJECTS
from schemas.table import Table

WRITTEN = (RAW_LOG, IMPRESSIONS, HISTORIES, REJECTS, INGEST_RUNS)
_BOOKS = ("files", "lines", "impressions", "merged", "rejected")


def ingest_logs(lake: Lake, *, logs: Path, source: str, format: str, arrived_at: datetime) -> dict[str, Any]:
    """Ingest what is new in `logs`, complete what an earlier run left, and sum up both."""
    files = new_files(find_logs(logs, format), known_files(lake, source))
    if files:
        append_lines(lake, files, source=source, arrived_at=arrived_at)
    books = [ingest_batch(lake, source, batch) for batch in pending_batches(lake, source)]
    totals: dict[str, Any] = {name: sum(book[name] for book in books) for name in _BOOKS}
    reasons = {name: sum(book[name] for book in books) for name in REJECT_REASONS}
    return totals | {
        "source": source,
        "new_files": len(files),
        "rejected_by_reason": {name: count for name, count in reasons.items() if count},
        "table_versions": {table.name: lake.version(table) for table in WRITTEN},
    }


def known_files(lake: Lake, source: str) -> dict[str, bytes]:
    """Each file that RAW_LOG holds for the source, with its first line."""
    if not lake.exists(RAW_LOG):
        return {}
    first = _of_source(lake, RAW_LOG, source).where("position = 0").select("file", "line")
    return {row["file"]: bytes(row["line"]) for row in first.collect()}


def append_lines(lake: Lake, files: list[LogFile], *, source: str, arrived_at: datetime) -> None:
    """Add the files' lines to RAW_LOG as the source's next batch."""
    batch = 1
    if lake.exists(RAW_LOG):
        latest = _of_source(lake, RAW_LOG, source).agg(F.max("batch").alias("batch")).first()
        batch += (latest["batch"] or 0) if latest else 0
    lines = (
        raw_lines(lake.spark, files)
        .withColumn("source", F.lit(source))
        .withColumn("arrived_at", F.lit(arrived_at))
        .withColumn("batch", F.lit(batch))
    )
    with whole_files(lake.spark):
        lake.append(RAW_LOG, lines, app_id=_app("raw_log", source), app_version=batch)


def pending_batches(lake: Lake, source: str) -> list[int]:
    """Batches of RAW_LOG that are not in the books yet, oldest first."""
    told, done = (_batches(lake, table, source) for table in (RAW_LOG, INGEST_RUNS))
    return sorted(told - done)


def ingest_batch(lake: Lake, source: str, batch: int) -> dict[str, int]:
    """Bring one batch of RAW_LOG into the tables, check that no line is lost, and write it into the books."""
    raw = _of_source(lake, RAW_LOG, source).where(F.col("batch") == batch)
    file = raw.select("file").first()
    assert file is not None, f"batch {batch} of {source} is pending, so it has lines"
    judged = with_told(raw, format_of(file["file"])).persist()
    told = keep_told(judged)
    impressions = per_impression(told).persist()
    try:
        book = count_lines(judged)
        merge_histories(lake, told, source, batch)  # first: at no moment does an impression lack its history
        merge_impressions(lake, impressions, source, batch)
        append_rejects(lake, judged if book["rejected"] else None, source, batch)
        book |= count_impressions(lake, impressions, source, batch)
    finally:
        impressions.unpersist()
        judged.unpersist()
    write_book(lake, book, source, batch)
    return book


def count_lines(judged: DataFrame) -> dict[str, int]:
    """Files, lines and rejects of a batch, these also by reason."""
    reasons = [F.count_if(F.col("reason") == name).alias(name) for name in REJECT_REASONS]
    rejected = F.count("reason").alias("rejected")
    row = judged.agg(F.count_distinct("file").alias("files"), F.count("*").alias("lines"), rejected, *reasons).first()
    assert row is not None, "an aggregate without groups has one row"
    return row.asDict()


def merge_impressions(lake: Lake, impressions: DataFrame, source: str, batch: int) -> None:
    """MERGE the batch's impressions; those known already take the union of what is told."""
    lake.merge(
        IMPRESSIONS,
        impressions.drop("lines"),
        set_on_match=united_row(),
        update_when=row_changes(),
        app_id=_app("impressions", source),
        app_version=batch,
    )


def merge_histories(lake: Lake, told: DataFrame, source: str, batch: int) -> None:
    """Insert the batch's longest histories and delete those that they extend, in one commit."""
    stored = _of_source(lake, HISTORIES, source) if lake.exists(HISTORIES) else None
    lake.merge(
        HISTORIES,
        history_changes(told, stored),
        set_on_match=None,
        delete_when=f"{INCOMING}.{GONE}",
        app_id=_app("histories", source),
        app_version=batch,
    )


def append_rejects(lake: Lake, judged: DataFrame | None, source: str, batch: int) -> None:
    """Add the batch's refused lines, if it has any; the table stands either way."""
    lake.create(REJECTS)
    if judged is not None:
        lake.append(REJECTS, keep_rejects(judged), app_id=_app("rejects", source), app_version=batch)


def count_impressions(lake: Lake, impressions: DataFrame, source: str, batch: int) -> dict[str, int]:
    """New impressions and merged lines of a batch, counted in the table.

    A line whose impression is not there is neither, so the book would not balance.
    """
    key = list(IMPRESSIONS.key)
    stored = _of_source(lake, IMPRESSIONS, source).select(*key, F.col("first_batch").alias("_stored_batch"))
    found = impressions.join(stored, key, how="inner").agg(
        F.count_if(F.col("_stored_batch") == batch).alias("impressions"),
        F.coalesce(F.sum("lines"), F.lit(0)).alias("lines"),
    )
    row = found.first()
    assert row is not None, "an aggregate without groups has one row"
    return {"impressions": row["impressions"], "merged": row["lines"] - row["impressions"]}


def write_book(lake: Lake, book: dict[str, int], source: str, batch: int) -> None:
    """The batch's row of INGEST_RUNS, if it balances."""
    if book["lines"] != book["impressions"] + book["merged"] + book["rejected"]:
        raise ContractError(
            f"{lake.path(INGEST_RUNS)}: batch {batch} of {source} does not balance: {book['lines']} lines, but "
            f"{book['impressions']} impressions + {book['merged']} merged + {book['rejected']} rejected. "
            "RAW_LOG still holds its lines; report this, for it is a fault of ingest"
        )
    row = {"source": source, "batch": batch} | {name: book[name] for name in _BOOKS}
    frame = lake.spark.range(1).select(
        *(F.lit(value).alias(name) for name, value in row.items()), F.current_timestamp().alias("finished_at")
    )
    lake.append(INGEST_RUNS, frame, app_id=_app("ingest_runs", source), app_version=batch)


def _batches(lake: Lake, table: Table, source: str) -> set[int]:
    if not lake.exists(table):
        return set()
    return {row["batch"] for row in _of_source(lake, table, source).select("batch").distinct().collect()}


def _of_source(lake: Lake, table: Table, source: str) -> DataFrame:
    return lake.read(table).where(F.col("source") == source)


def _app(table: str, source: str) -> str:
    """The name under which Delta remembers the last batch that reached a table."""
    return f"feedloop.ingest.{table}.{source}"
