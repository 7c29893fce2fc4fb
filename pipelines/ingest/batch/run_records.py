"""Run records of ingest: the files read, the batches done, and the check lines = impressions + merged + rejected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from pipelines.ingest.discover.log_file import LogFile
from pipelines.ingest.discover.previous_reads import Known
from pipelines.lake.tables import Lake
from schemas.as_spark import spark_schema
from schemas.errors import ContractError
from schemas.impression import IMPRESSIONS
from schemas.raw_log import INGEST_FILES, INGEST_RUNS, RAW_LOG, REJECT_REASONS, REJECTS
from schemas.table import Table

RULES = ("replayed", "retold", "double_logged", "repeated_news")
RUN_COUNTS = ("files", "lines", "impressions", "merged", "rejected", *RULES, "suppressed")
_FEW, _MANY = 3, 1000  # commits searched for a batch: a new batch has the last one, a killed one an earlier one


def of_source(lake: Lake, table: Table, source: str) -> DataFrame:
    """The table's rows of one source."""
    return lake.read(table).where(F.col("source") == source)


def app_id(table: Table, source: str) -> str:
    """The application id under which Delta records the last batch that reached a table."""
    return f"feedloop.ingest.{table.name}.{source}"


def last_batch(lake: Lake, source: str) -> int:
    """The latest batch in INGEST_RUNS; 0 if there is none."""
    if not lake.exists(INGEST_RUNS):
        return 0
    latest = of_source(lake, INGEST_RUNS, source).agg(F.max("batch").alias("batch")).first()
    return (latest["batch"] or 0) if latest else 0


def pending_batches(lake: Lake, source: str) -> list[int]:
    """Batches of RAW_LOG that INGEST_RUNS does not hold yet, oldest first."""
    if not lake.exists(RAW_LOG):
        return []
    last = last_batch(lake, source)
    later = of_source(lake, RAW_LOG, source).where(F.col("batch") > last).select("batch").distinct()
    noted = [commit.note or {} for commit in lake.commits(RAW_LOG, limit=_FEW)]  # a batch may have no line
    empty = {note["batch"] for note in noted if note.get("source") == source and note["batch"] > last}
    return sorted(empty | {row["batch"] for row in later.collect()})


def known_files(lake: Lake, source: str) -> dict[str, Known]:
    """Each file that was read, as it was at its last read."""
    if not lake.exists(INGEST_FILES):
        return {}
    newest = F.row_number().over(Window.partitionBy("file").orderBy(F.desc("batch"))) == 1
    last_reads = of_source(lake, INGEST_FILES, source).withColumn("_newest", newest).where("_newest")
    facts = [field.name for field in fields(Known)]
    return {row["file"]: Known(**{name: row[name] for name in facts}) for row in last_reads.collect()}


def sums_of(records: Sequence[Mapping[str, int]]) -> tuple[dict[str, Any], dict[str, int]]:
    """The counts of these run records added up; and the number of lines that each reason refused, without zeros."""
    totals = {name: sum(record[name] for record in records) for name in RUN_COUNTS}
    reasons = {name: sum(record[name] for record in records) for name in REJECT_REASONS}
    return totals, {name: count for name, count in reasons.items() if count}


def files_note(files: Sequence[LogFile]) -> list[dict[str, Any]]:
    """The part of RAW_LOG's commit note about the batch's files, from which a killed batch is completed."""
    facts = ["name", "skip", *(field.name for field in fields(Known))]
    return [{name: getattr(file, name) for name in facts} for file in files]


def raw_note(lake: Lake, source: str, batch: int) -> dict[str, Any]:
    """The note of the commit that brought the batch's lines into RAW_LOG; it is among the latest commits."""
    for limit in (_FEW, _MANY):
        found = _notes(lake, RAW_LOG, source, batch, limit)
        if found:
            return found[0]
    raise ContractError(
        f"{lake.path(RAW_LOG)}: the log of this table no longer holds batch {batch} of {source}, which was never "
        "completed. Restore its _delta_log, or start a new --lake from the raw files"
    )


def impression_notes(lake: Lake, source: str, batch: int, *, since: int) -> list[dict[str, Any]]:
    """The notes of the batch's commits to IMPRESSIONS, each with the rows that Delta counted (`measured`).

    `since`: the version of IMPRESSIONS when the batch began, -1 if there was none.
    """
    if not lake.exists(IMPRESSIONS):
        return []
    return _notes(lake, IMPRESSIONS, source, batch, lake.version(IMPRESSIONS) - since)


def write_files(lake: Lake, note: Mapping[str, Any], source: str, batch: int) -> None:
    """Append the batch's rows of INGEST_FILES."""
    columns = INGEST_FILES.column_names[3:]  # an older feedloop may have noted fewer of them
    rows = [(source, file["name"], batch, *(file.get(name) for name in columns)) for file in note["files"]]
    frame = lake.spark.createDataFrame(rows, spark_schema(INGEST_FILES))
    lake.append(INGEST_FILES, frame, app_id=app_id(INGEST_FILES, source), app_version=batch)


def run_record(lake: Lake, plan: Mapping[str, int], note: Mapping[str, Any]) -> dict[str, int]:
    """The batch's counts: lines and rejects counted in the tables, impressions as Delta measured its own commits.

    ContractError if they do not balance with the counts planned from the lines, or with the lines of its files.
    """
    source, batch, since = note["source"], note["batch"], note["impressions_version"]
    ours = F.col("batch") == batch
    raw = of_source(lake, RAW_LOG, source).where(ours).agg(F.count("*"), F.count_distinct("file")).collect()[0]
    reasons = [F.count_if(F.col("reason") == name).alias(name) for name in REJECT_REASONS]
    rejects = of_source(lake, REJECTS, source).where(ours).agg(F.count("*").alias("rejected"), *reasons).collect()[0]
    measured = sum(note["measured"] for note in impression_notes(lake, source, batch, since=since))
    merged = sum(plan[name] for name in RULES[:3])
    record = {"lines": raw[0], "files": raw[1], "impressions": measured, "merged": merged} | rejects.asDict()
    promised = sum(file["lines"] - file.get("skip", 0) for file in note["files"])
    suppressed = note.get("suppressed", 0)
    # Notes of older versions have no `skip`.
    if all("skip" in file for file in note["files"]) and record["lines"] + suppressed != promised:
        raise ContractError(
            f"{lake.path(RAW_LOG)}: batch {batch} of {source} has {record['lines']} lines, and its files had "
            f"{promised} new ones, {suppressed} of them of forgotten users. Report this, for it is a fault of ingest"
        )
    if record["lines"] != measured + merged + record["rejected"]:
        raise ContractError(
            f"{lake.path(INGEST_RUNS)}: batch {batch} of {source} does not balance: {record['lines']} lines, but "
            f"{measured} impressions + {merged} merged + {record['rejected']} rejected. "
            "RAW_LOG still holds its lines; report this, for it is a fault of ingest"
        )
    return record | {name: plan[name] for name in RULES} | {"suppressed": suppressed}


def write_run_record(lake: Lake, record: Mapping[str, int], source: str, batch: int) -> None:
    """Append the batch's row of INGEST_RUNS, which marks it as done."""
    row = {"source": source, "batch": batch} | {name: record[name] for name in RUN_COUNTS}
    frame = lake.spark.range(1).select(
        *(F.lit(value).alias(name) for name, value in row.items()),
        F.current_timestamp().alias("finished_at"),
        F.lit(None).cast("long").alias("forgotten"),
    )
    lake.append(INGEST_RUNS, frame, app_id=app_id(INGEST_RUNS, source), app_version=batch)


def _notes(lake: Lake, table: Table, source: str, batch: int, limit: int) -> list[dict[str, Any]]:
    ours = (source, batch)
    noted = [(commit.note or {}, commit.changes) for commit in lake.commits(table, limit=limit)]
    return [
        note | {"measured": changes.inserted - changes.deleted}
        for note, changes in noted
        if (note.get("source"), note.get("batch")) == ours
    ]
